//! Functions that take a path. None of them names anything outside of the directory it begins in;
//! `cap-std` sees to that, also while others rename what is on the way.

use std::os::unix::ffi::OsStringExt;

use wiggle::{GuestMemory, GuestPtr};

use crate::bindings::types::{
    Errno, Fd, Fdflags, Filestat, Fstflags, Lookupflags, Oflags, Rights, Size, Timestamp,
};
use crate::ctx::WasiCtx;
use crate::dir::{Directory, HowToOpen};
use crate::errno::Result;
use crate::filestat::{self, Times};
use crate::lists;
use crate::perms;
use crate::table::{Descriptor, Kind};

/// Rights that need a host's descriptor that can write.
const WRITING: Rights =
    Rights::FD_WRITE.union(Rights::FD_ALLOCATE).union(Rights::FD_FILESTAT_SET_SIZE);

impl WasiCtx {
    /// The directory that a path begins in, if it may be used like this, and the path.
    fn lookup(
        &self,
        memory: &GuestMemory<'_>,
        fd: Fd,
        path: GuestPtr<str>,
        rights: Rights,
    ) -> Result<(&Directory, String)> {
        let (directory, _) = self.table.directory(fd, rights)?;
        Ok((directory, lists::path(memory, path, &self.limits)?))
    }

    pub(crate) async fn open_path(
        &mut self,
        fd: Fd,
        path: String,
        follow: bool,
        oflags: Oflags,
        (base, inheriting): (Rights, Rights),
        flags: Fdflags,
    ) -> Result<Fd> {
        let mut required = Rights::PATH_OPEN;
        if oflags.contains(Oflags::CREAT) {
            required |= Rights::PATH_CREATE_FILE;
        }
        if oflags.contains(Oflags::TRUNC) {
            required |= Rights::PATH_FILESTAT_SET_SIZE;
        }
        if oflags.contains(Oflags::DIRECTORY)
            && oflags.intersects(Oflags::CREAT | Oflags::EXCL | Oflags::TRUNC)
        {
            return Err(Errno::Inval.into());
        }
        let (directory, descriptor) = self.table.directory(fd, required)?;
        // Libraries ask for rights by the dozen and expect what there is of them, but reading and
        // writing a file are what the program wants.
        let missing = base - descriptor.inheriting;
        if missing.intersects(Rights::FD_READ | Rights::FD_WRITE)
            && !oflags.contains(Oflags::DIRECTORY)
        {
            return Err(Errno::Notcapable.into());
        }
        let base = base & descriptor.inheriting;
        let inheriting = inheriting & descriptor.inheriting;
        self.table.check_room()?;
        let how = HowToOpen {
            read: base.intersects(Rights::FD_READ | Rights::FD_READDIR),
            // A directory is asked for with rights to what is in it.
            write: base.intersects(WRITING) && !oflags.contains(Oflags::DIRECTORY),
            follow,
            oflags,
            flags,
        };
        let kind = directory.open(path, how).await?;
        let (base, inheriting) = match kind {
            Kind::Directory(_) => (base & perms::OF_DIRECTORIES, inheriting),
            _ => (base & perms::OF_FILES, Rights::empty()),
        };
        self.table.insert(Descriptor { kind, base, inheriting, flags })
    }

    pub(crate) async fn create_directory(
        &mut self,
        memory: &GuestMemory<'_>,
        fd: Fd,
        path: GuestPtr<str>,
    ) -> Result<()> {
        let (directory, path) = self.lookup(memory, fd, path, Rights::PATH_CREATE_DIRECTORY)?;
        directory.with(|dir| dir.create_dir(path)).await
    }

    pub(crate) async fn remove_directory(
        &mut self,
        memory: &GuestMemory<'_>,
        fd: Fd,
        path: GuestPtr<str>,
    ) -> Result<()> {
        let (directory, path) = self.lookup(memory, fd, path, Rights::PATH_REMOVE_DIRECTORY)?;
        directory.with(|dir| dir.remove_dir(path)).await
    }

    pub(crate) async fn unlink_file(
        &mut self,
        memory: &GuestMemory<'_>,
        fd: Fd,
        path: GuestPtr<str>,
    ) -> Result<()> {
        let (directory, path) = self.lookup(memory, fd, path, Rights::PATH_UNLINK_FILE)?;
        directory.with(|dir| dir.remove_file(path)).await
    }

    pub(crate) async fn stat_path(
        &mut self,
        memory: &GuestMemory<'_>,
        fd: Fd,
        flags: Lookupflags,
        path: GuestPtr<str>,
    ) -> Result<Filestat> {
        let (directory, path) = self.lookup(memory, fd, path, Rights::PATH_FILESTAT_GET)?;
        let follow = flags.contains(Lookupflags::SYMLINK_FOLLOW);
        let metadata = directory
            .with(move |dir| if follow { dir.metadata(path) } else { dir.symlink_metadata(path) })
            .await?;
        Ok(filestat::filestat(&metadata))
    }

    pub(crate) async fn set_path_times(
        &mut self,
        memory: &GuestMemory<'_>,
        fd: Fd,
        flags: Lookupflags,
        path: GuestPtr<str>,
        (atim, mtim, which): (Timestamp, Timestamp, Fstflags),
    ) -> Result<()> {
        let (directory, path) = self.lookup(memory, fd, path, Rights::PATH_FILESTAT_SET_TIMES)?;
        let times = Times::new(&self.clocks, atim, mtim, which)?;
        directory.set_times_at(path, flags.contains(Lookupflags::SYMLINK_FOLLOW), times).await
    }

    pub(crate) async fn read_link(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        path: GuestPtr<str>,
        buffer: GuestPtr<[u8]>,
    ) -> Result<Size> {
        let (directory, path) = self.lookup(memory, fd, path, Rights::PATH_READLINK)?;
        let target = directory.with(|dir| dir.read_link(path)).await?.into_os_string().into_vec();
        // What does not fit is cut off, as by `readlink`.
        let len = buffer.len().min(u32::try_from(target.len()).unwrap_or(u32::MAX));
        let buffer = buffer.get_range(0..len).ok_or(Errno::Fault)?;
        memory.copy_from_slice(&target[..len as usize], buffer)?;
        Ok(len)
    }

    pub(crate) async fn make_symlink(
        &mut self,
        memory: &GuestMemory<'_>,
        target: GuestPtr<str>,
        fd: Fd,
        path: GuestPtr<str>,
    ) -> Result<()> {
        let (directory, path) = self.lookup(memory, fd, path, Rights::PATH_SYMLINK)?;
        let target = lists::path(memory, target, &self.limits)?;
        directory.with(|dir| dir.symlink(target, path)).await
    }

    pub(crate) async fn link(
        &mut self,
        memory: &GuestMemory<'_>,
        old: (Fd, Lookupflags, GuestPtr<str>),
        new: (Fd, GuestPtr<str>),
    ) -> Result<()> {
        let (old_fd, flags, old_path) = old;
        let (from, old_path) = self.lookup(memory, old_fd, old_path, Rights::PATH_LINK_SOURCE)?;
        let (to, new_path) = self.lookup(memory, new.0, new.1, Rights::PATH_LINK_TARGET)?;
        self.check_move(old_fd, new.0)?;
        let follow = flags.contains(Lookupflags::SYMLINK_FOLLOW);
        let to = to.share();
        from.with(move |from| {
            // Whoever puts another link in the way meanwhile gets a link to that: each of the two
            // steps stays within the directory by itself.
            let old_path = if follow { from.canonicalize(old_path)? } else { old_path.into() };
            from.hard_link(old_path, &to, new_path)
        })
        .await
    }

    pub(crate) async fn rename(
        &mut self,
        memory: &GuestMemory<'_>,
        old: (Fd, GuestPtr<str>),
        new: (Fd, GuestPtr<str>),
    ) -> Result<()> {
        let (from, old_path) = self.lookup(memory, old.0, old.1, Rights::PATH_RENAME_SOURCE)?;
        let (to, new_path) = self.lookup(memory, new.0, new.1, Rights::PATH_RENAME_TARGET)?;
        self.check_move(old.0, new.0)?;
        let to = to.share();
        from.with(move |from| from.rename(old_path, &to, new_path)).await
    }

    /// Refuses to give a file a name in a directory where more may be done with it: a file that can
    /// only be read could else be moved to where it can be written.
    fn check_move(&self, from: Fd, to: Fd) -> Result<()> {
        let (from, to) = (self.table.get(from)?, self.table.get(to)?);
        if !from.inheriting.contains(to.inheriting) {
            return Err(Errno::Notcapable.into());
        }
        Ok(())
    }
}
