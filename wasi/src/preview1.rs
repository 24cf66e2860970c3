//! The 46 functions of preview 1 in the order of the standard. Each is here in a line or a few, and
//! done where its topic is.

use wiggle::{GuestMemory, GuestPtr};

use crate::bindings::types::*;
use crate::bindings::wasi_snapshot_preview1::WasiSnapshotPreview1;
use crate::ctx::{self, WasiCtx};
use crate::errno::Result;
use crate::lists;

#[wiggle::async_trait]
impl WasiSnapshotPreview1 for WasiCtx {
    async fn args_get(
        &mut self,
        memory: &mut GuestMemory<'_>,
        argv: GuestPtr<GuestPtr<u8>>,
        buffer: GuestPtr<u8>,
    ) -> Result<()> {
        self.args.write(memory, argv, buffer)
    }

    async fn args_sizes_get(&mut self, _: &mut GuestMemory<'_>) -> Result<(Size, Size)> {
        self.args.sizes()
    }

    async fn environ_get(
        &mut self,
        memory: &mut GuestMemory<'_>,
        environ: GuestPtr<GuestPtr<u8>>,
        buffer: GuestPtr<u8>,
    ) -> Result<()> {
        self.env.write(memory, environ, buffer)
    }

    async fn environ_sizes_get(&mut self, _: &mut GuestMemory<'_>) -> Result<(Size, Size)> {
        self.env.sizes()
    }

    async fn clock_res_get(&mut self, _: &mut GuestMemory<'_>, id: Clockid) -> Result<Timestamp> {
        self.clocks.resolution(id)
    }

    async fn clock_time_get(
        &mut self,
        _: &mut GuestMemory<'_>,
        id: Clockid,
        _precision: Timestamp,
    ) -> Result<Timestamp> {
        self.clocks.now(id)
    }

    async fn fd_advise(
        &mut self,
        _: &mut GuestMemory<'_>,
        fd: Fd,
        offset: Filesize,
        len: Filesize,
        advice: Advice,
    ) -> Result<()> {
        self.table.get_mut(fd)?.file(Rights::FD_ADVISE)?.advise(offset, len, advice).await
    }

    async fn fd_allocate(
        &mut self,
        _: &mut GuestMemory<'_>,
        fd: Fd,
        offset: Filesize,
        len: Filesize,
    ) -> Result<()> {
        self.table.get_mut(fd)?.file(Rights::FD_ALLOCATE)?.allocate(offset, len).await
    }

    async fn fd_close(&mut self, _: &mut GuestMemory<'_>, fd: Fd) -> Result<()> {
        self.close(fd).await
    }

    async fn fd_datasync(&mut self, _: &mut GuestMemory<'_>, fd: Fd) -> Result<()> {
        self.sync(fd, true).await
    }

    async fn fd_fdstat_get(&mut self, _: &mut GuestMemory<'_>, fd: Fd) -> Result<Fdstat> {
        Ok(self.table.get(fd)?.fdstat())
    }

    async fn fd_fdstat_set_flags(
        &mut self,
        _: &mut GuestMemory<'_>,
        fd: Fd,
        flags: Fdflags,
    ) -> Result<()> {
        self.set_flags(fd, flags)
    }

    async fn fd_fdstat_set_rights(
        &mut self,
        _: &mut GuestMemory<'_>,
        fd: Fd,
        base: Rights,
        inheriting: Rights,
    ) -> Result<()> {
        self.set_rights(fd, base, inheriting)
    }

    async fn fd_filestat_get(&mut self, _: &mut GuestMemory<'_>, fd: Fd) -> Result<Filestat> {
        self.stat(fd).await
    }

    async fn fd_filestat_set_size(
        &mut self,
        _: &mut GuestMemory<'_>,
        fd: Fd,
        size: Filesize,
    ) -> Result<()> {
        self.table.get_mut(fd)?.file(Rights::FD_FILESTAT_SET_SIZE)?.set_size(size).await
    }

    async fn fd_filestat_set_times(
        &mut self,
        _: &mut GuestMemory<'_>,
        fd: Fd,
        atim: Timestamp,
        mtim: Timestamp,
        which: Fstflags,
    ) -> Result<()> {
        self.set_times(fd, atim, mtim, which).await
    }

    async fn fd_pread(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        iovs: IovecArray,
        offset: Filesize,
    ) -> Result<Size> {
        self.read(memory, fd, iovs, Some(offset)).await
    }

    async fn fd_prestat_get(&mut self, _: &mut GuestMemory<'_>, fd: Fd) -> Result<Prestat> {
        let pr_name_len = self.preopened(fd)?.len() as Size;
        Ok(Prestat::Dir(PrestatDir { pr_name_len }))
    }

    async fn fd_prestat_dir_name(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        path: GuestPtr<u8>,
        len: Size,
    ) -> Result<()> {
        let name = self.preopened(fd)?.as_bytes();
        if (len as usize) < name.len() {
            return Err(Errno::Nametoolong.into());
        }
        Ok(memory.copy_from_slice(name, path.as_array(name.len() as u32))?)
    }

    async fn fd_pwrite(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        iovs: CiovecArray,
        offset: Filesize,
    ) -> Result<Size> {
        self.write(memory, fd, iovs, Some(offset)).await
    }

    async fn fd_read(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        iovs: IovecArray,
    ) -> Result<Size> {
        self.read(memory, fd, iovs, None).await
    }

    async fn fd_readdir(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        buffer: GuestPtr<u8>,
        len: Size,
        cookie: Dircookie,
    ) -> Result<Size> {
        self.read_directory(memory, fd, buffer.as_array(len), cookie).await
    }

    async fn fd_renumber(&mut self, _: &mut GuestMemory<'_>, from: Fd, to: Fd) -> Result<()> {
        self.renumber(from, to).await
    }

    async fn fd_seek(
        &mut self,
        _: &mut GuestMemory<'_>,
        fd: Fd,
        offset: Filedelta,
        whence: Whence,
    ) -> Result<Filesize> {
        self.seek(fd, offset, whence).await
    }

    async fn fd_sync(&mut self, _: &mut GuestMemory<'_>, fd: Fd) -> Result<()> {
        self.sync(fd, false).await
    }

    async fn fd_tell(&mut self, _: &mut GuestMemory<'_>, fd: Fd) -> Result<Filesize> {
        self.tell(fd)
    }

    async fn fd_write(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        iovs: CiovecArray,
    ) -> Result<Size> {
        self.write(memory, fd, iovs, None).await
    }

    async fn path_create_directory(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        path: GuestPtr<str>,
    ) -> Result<()> {
        self.create_directory(memory, fd, path).await
    }

    async fn path_filestat_get(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        flags: Lookupflags,
        path: GuestPtr<str>,
    ) -> Result<Filestat> {
        self.stat_path(memory, fd, flags, path).await
    }

    async fn path_filestat_set_times(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        flags: Lookupflags,
        path: GuestPtr<str>,
        atim: Timestamp,
        mtim: Timestamp,
        which: Fstflags,
    ) -> Result<()> {
        self.set_path_times(memory, fd, flags, path, (atim, mtim, which)).await
    }

    async fn path_link(
        &mut self,
        memory: &mut GuestMemory<'_>,
        old_fd: Fd,
        flags: Lookupflags,
        old_path: GuestPtr<str>,
        new_fd: Fd,
        new_path: GuestPtr<str>,
    ) -> Result<()> {
        self.link(memory, (old_fd, flags, old_path), (new_fd, new_path)).await
    }

    async fn path_open(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        lookup: Lookupflags,
        path: GuestPtr<str>,
        oflags: Oflags,
        base: Rights,
        inheriting: Rights,
        flags: Fdflags,
    ) -> Result<Fd> {
        let path = lists::path(memory, path, &self.limits)?;
        let follow = lookup.contains(Lookupflags::SYMLINK_FOLLOW);
        self.open_path(fd, path, follow, oflags, (base, inheriting), flags).await
    }

    async fn path_readlink(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        path: GuestPtr<str>,
        buffer: GuestPtr<u8>,
        len: Size,
    ) -> Result<Size> {
        self.read_link(memory, fd, path, buffer.as_array(len)).await
    }

    async fn path_remove_directory(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        path: GuestPtr<str>,
    ) -> Result<()> {
        self.remove_directory(memory, fd, path).await
    }

    async fn path_rename(
        &mut self,
        memory: &mut GuestMemory<'_>,
        old_fd: Fd,
        old_path: GuestPtr<str>,
        new_fd: Fd,
        new_path: GuestPtr<str>,
    ) -> Result<()> {
        self.rename(memory, (old_fd, old_path), (new_fd, new_path)).await
    }

    async fn path_symlink(
        &mut self,
        memory: &mut GuestMemory<'_>,
        target: GuestPtr<str>,
        fd: Fd,
        path: GuestPtr<str>,
    ) -> Result<()> {
        self.make_symlink(memory, target, fd, path).await
    }

    async fn path_unlink_file(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        path: GuestPtr<str>,
    ) -> Result<()> {
        self.unlink_file(memory, fd, path).await
    }

    async fn poll_oneoff(
        &mut self,
        memory: &mut GuestMemory<'_>,
        subscriptions: GuestPtr<Subscription>,
        events: GuestPtr<Event>,
        len: Size,
    ) -> Result<Size> {
        self.poll(memory, subscriptions, events, len).await
    }

    async fn proc_exit(
        &mut self,
        _: &mut GuestMemory<'_>,
        status: Exitcode,
    ) -> wiggle::anyhow::Error {
        ctx::exit(status as i32)
    }

    async fn proc_raise(&mut self, _: &mut GuestMemory<'_>, signal: Signal) -> Result<()> {
        ctx::raise(signal)
    }

    async fn sched_yield(&mut self, _: &mut GuestMemory<'_>) -> Result<()> {
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn random_get(
        &mut self,
        memory: &mut GuestMemory<'_>,
        buffer: GuestPtr<u8>,
        len: Size,
    ) -> Result<()> {
        self.fill_random(memory, buffer.as_array(len)).await
    }

    async fn sock_accept(&mut self, _: &mut GuestMemory<'_>, fd: Fd, flags: Fdflags) -> Result<Fd> {
        self.accept(fd, flags).await
    }

    async fn sock_recv(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        iovs: IovecArray,
        how: Riflags,
    ) -> Result<(Size, Roflags)> {
        self.receive(memory, fd, iovs, how).await
    }

    async fn sock_send(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        iovs: CiovecArray,
        _flags: Siflags,
    ) -> Result<Size> {
        self.send(memory, fd, iovs).await
    }

    async fn sock_shutdown(&mut self, _: &mut GuestMemory<'_>, fd: Fd, how: Sdflags) -> Result<()> {
        self.shut_down(fd, how)
    }
}
