//! Directories that a program holds.

use std::sync::Arc;

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, Metadata, OpenOptions, OpenOptionsExt};
use rustix::fs::{AtFlags, OFlags};

use crate::bindings::types::{Fdflags, Filetype, Oflags};
use crate::errno::Result;
use crate::file::{OpenFile, blocking};
use crate::filestat::{self, Times};
use crate::readdir::Listing;
use crate::table::Kind;

pub(crate) struct Directory {
    /// The capability: nothing outside of it can be named by it.
    dir: Arc<Dir>,
    /// The name by which the program finds it, if it was there at the start.
    pub(crate) preopened_as: Option<String>,
    /// Where the listing of it is, once it has begun.
    pub(crate) listing: Option<Listing>,
}

/// How a path is to be opened.
pub(crate) struct HowToOpen {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) follow: bool,
    pub(crate) oflags: Oflags,
    pub(crate) flags: Fdflags,
}

impl HowToOpen {
    fn options(&self) -> OpenOptions {
        let mut options = OpenOptions::new();
        let create = self.oflags.contains(Oflags::CREAT);
        let truncate = self.oflags.contains(Oflags::TRUNC);
        // The host's descriptor must be able to write for the file to be made or cut, whatever the
        // guest's may do later.
        let write = self.write || create || truncate;
        options.read(self.read || !write).write(write).truncate(truncate);
        if create && self.oflags.contains(Oflags::EXCL) {
            options.create_new(true);
        } else {
            options.create(create);
        }
        options.follow(if self.follow { FollowSymlinks::Yes } else { FollowSymlinks::No });
        // To open a pipe must not hold a thread, nor may a terminal become the host's own.
        let mut more = OFlags::NONBLOCK | OFlags::NOCTTY;
        more.set(OFlags::DIRECTORY, self.oflags.contains(Oflags::DIRECTORY));
        more.set(OFlags::APPEND, self.flags.contains(Fdflags::APPEND));
        more.set(OFlags::DSYNC, self.flags.contains(Fdflags::DSYNC));
        more.set(OFlags::SYNC, self.flags.intersects(Fdflags::SYNC | Fdflags::RSYNC));
        options.custom_flags(more.bits() as i32);
        options
    }
}

impl Directory {
    pub(crate) fn new(dir: Dir, preopened_as: Option<String>) -> Self {
        Self { dir: Arc::new(dir), preopened_as, listing: None }
    }

    /// Does something with it on the blocking pool.
    pub(crate) async fn with<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Dir) -> std::io::Result<R> + Send + 'static,
    ) -> Result<R> {
        let dir = self.dir.clone();
        Ok(blocking(move || work(&dir)).await?)
    }

    pub(crate) fn share(&self) -> Arc<Dir> {
        self.dir.clone()
    }

    pub(crate) async fn open(&self, path: String, how: HowToOpen) -> Result<Kind> {
        self.with(move |dir| {
            let file = dir.open_with(&path, &how.options())?.into_std();
            let metadata = Metadata::from_file(&file)?;
            Ok(match filestat::of_metadata(&metadata) {
                Filetype::Directory => Kind::Directory(Self::new(Dir::from_std_file(file), None)),
                filetype => Kind::File(OpenFile::new(file, filetype)),
            })
        })
        .await
    }

    pub(crate) async fn metadata(&self) -> Result<Metadata> {
        self.with(Dir::dir_metadata).await
    }

    pub(crate) async fn set_times(&self, times: Times) -> Result<()> {
        self.set_times_at(".".into(), true, times).await
    }

    pub(crate) async fn set_times_at(
        &self,
        path: String,
        follow: bool,
        times: Times,
    ) -> Result<()> {
        self.with(move |dir| {
            // A descriptor for the name alone: opening a pipe could wait for its other end, and a
            // device could notice.
            let mut options = OpenOptions::new();
            options.read(true).custom_flags(OFlags::PATH.bits() as i32);
            options.follow(if follow { FollowSymlinks::Yes } else { FollowSymlinks::No });
            let file = dir.open_with(path, &options)?;
            Ok(rustix::fs::utimensat(&file, "", &times.of_path(), AtFlags::EMPTY_PATH)?)
        })
        .await
    }

    pub(crate) async fn sync(&self) -> Result<()> {
        self.with(|dir| dir.open(".")?.sync_all()).await
    }
}
