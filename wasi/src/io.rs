//! Functions that read and write descriptors, and that move in them.

use wiggle::{GuestMemory, GuestPtr};

use crate::bindings::types::{
    CiovecArray, Dircookie, Errno, Fd, Fdflags, Filedelta, Filesize, Filestat, Fstflags,
    IovecArray, Riflags, Rights, Roflags, Sdflags, Size, Timestamp, Whence,
};
use crate::ctx::WasiCtx;
use crate::errno::Result;
use crate::filestat::{self, Times};
use crate::lists::Buffers;
use crate::pace;
use crate::readdir;
use crate::socket::Received;
use crate::table::{Descriptor, Kind};

/// What has been done counts, if it is anything: the guest meets the error with its next call.
fn unless_begun<T>(done: usize, result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        // A trap is not for the guest.
        Err(error) if done > 0 && error.downcast_ref().is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

impl WasiCtx {
    /// Reads until the buffers are full or a file ends; of streams, what there is.
    pub(crate) async fn read(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        iovs: IovecArray,
        at: Option<Filesize>,
    ) -> Result<Size> {
        let part = self.limits.buffered_bytes.max(1);
        let descriptor = self.table.get_mut(fd)?;
        descriptor.check_kind(at.is_some())?;
        descriptor.require(Rights::FD_READ | rights_at(at))?;
        let buffers = Buffers::to_fill(memory, iovs, &self.limits)?;
        let (flags, mut done) = (descriptor.flags, 0);
        while done < buffers.len() {
            let len = part.min(buffers.len() - done);
            let nonblocking = flags.contains(Fdflags::NONBLOCK);
            let bytes = match &mut descriptor.kind {
                Kind::File(file) => {
                    let at = at.map(|at| at.saturating_add(done as u64));
                    file.read(len, at, nonblocking).await
                }
                Kind::Input(input) => input.read(len, nonblocking).await,
                Kind::Stream(stream) => {
                    stream.read(len, flags, false).await.map(|received| received.bytes)
                }
                _ => Err(Errno::Badf.into()),
            };
            let Some(bytes) = unless_begun(done, bytes)? else { break };
            buffers.scatter(memory, done, &bytes)?;
            pace::bytes(bytes.len()).await;
            done += bytes.len();
            // Only a regular file can be known to have more without waiting for it.
            let has_more = matches!(&descriptor.kind, Kind::File(file) if file.is_regular());
            if bytes.len() < len || !has_more {
                break;
            }
        }
        Ok(done as Size)
    }

    /// Writes all, unless that fails on the way. A datagram is written as a whole or not at all.
    pub(crate) async fn write(
        &mut self,
        memory: &GuestMemory<'_>,
        fd: Fd,
        iovs: CiovecArray,
        at: Option<Filesize>,
    ) -> Result<Size> {
        let part = self.limits.buffered_bytes.max(1);
        let descriptor = self.table.get_mut(fd)?;
        descriptor.check_kind(at.is_some())?;
        descriptor.require(Rights::FD_WRITE | rights_at(at))?;
        let buffers = Buffers::to_take(memory, iovs, &self.limits)?;
        let (flags, mut done) = (descriptor.flags, 0);
        if let Kind::Stream(stream) = &descriptor.kind
            && stream.is_datagrams()
        {
            if buffers.len() > part {
                return Err(Errno::Msgsize.into());
            }
            let bytes = buffers.gather(memory, 0, part)?;
            return Ok(stream.write(&bytes, flags).await? as Size);
        }
        while done < buffers.len() {
            let bytes = buffers.gather(memory, done, part)?;
            let n = match &mut descriptor.kind {
                Kind::File(file) => {
                    let at = at.map(|at| at.saturating_add(done as u64));
                    file.write(bytes, at, flags).await
                }
                Kind::Output(output) => {
                    output.write(bytes, flags.contains(Fdflags::NONBLOCK)).await
                }
                Kind::Stream(stream) => stream.write(&bytes, flags).await,
                _ => Err(Errno::Badf.into()),
            };
            let Some(n) = unless_begun(done, n)? else { break };
            if n == 0 {
                break;
            }
            done += n;
            pace::bytes(n).await;
        }
        Ok(done as Size)
    }

    pub(crate) async fn receive(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        iovs: IovecArray,
        how: Riflags,
    ) -> Result<(Size, Roflags)> {
        let descriptor = self.table.get(fd)?;
        let Kind::Stream(stream) = &descriptor.kind else {
            return Err(Errno::Notsock.into());
        };
        descriptor.require(Rights::FD_READ)?;
        let buffers = Buffers::to_fill(memory, iovs, &self.limits)?;
        let part = self.limits.buffered_bytes.max(1);
        let peek = how.contains(Riflags::RECV_PEEK);
        let (mut done, mut about) = (0, Roflags::empty());
        // Even where nothing fits a datagram is waited for, and taken.
        while done < buffers.len() || stream.is_datagrams() {
            let len = part.min(buffers.len() - done);
            let received = stream.read(len, descriptor.flags, peek).await;
            let Some(Received { bytes, is_cut }) = unless_begun(done, received)? else { break };
            about.set(Roflags::RECV_DATA_TRUNCATED, is_cut);
            buffers.scatter(memory, done, &bytes)?;
            pace::bytes(bytes.len()).await;
            done += bytes.len();
            let waits = how.contains(Riflags::RECV_WAITALL) && !stream.is_datagrams();
            if bytes.is_empty() || peek || !waits {
                break;
            }
        }
        Ok((done as Size, about))
    }

    pub(crate) async fn send(
        &mut self,
        memory: &GuestMemory<'_>,
        fd: Fd,
        iovs: CiovecArray,
    ) -> Result<Size> {
        let Kind::Stream(_) = self.table.get(fd)?.kind else {
            return Err(Errno::Notsock.into());
        };
        self.write(memory, fd, iovs, None).await
    }

    pub(crate) fn shut_down(&self, fd: Fd, how: Sdflags) -> Result<()> {
        let descriptor = self.table.get(fd)?;
        let Kind::Stream(stream) = &descriptor.kind else {
            return Err(Errno::Notsock.into());
        };
        descriptor.require(Rights::SOCK_SHUTDOWN)?;
        stream.shutdown(how)
    }

    pub(crate) async fn seek(
        &mut self,
        fd: Fd,
        offset: Filedelta,
        whence: Whence,
    ) -> Result<Filesize> {
        let descriptor = self.table.get_mut(fd)?;
        descriptor.check_kind(true)?;
        let only_tells = offset == 0 && matches!(whence, Whence::Cur);
        let rights = if only_tells { Rights::FD_TELL } else { Rights::FD_SEEK };
        descriptor.file(rights)?.seek(offset, whence).await
    }

    pub(crate) fn tell(&mut self, fd: Fd) -> Result<Filesize> {
        let descriptor = self.table.get_mut(fd)?;
        descriptor.check_kind(true)?;
        descriptor.file(Rights::FD_TELL)?.tell()
    }

    pub(crate) async fn stat(&mut self, fd: Fd) -> Result<Filestat> {
        let descriptor = self.table.get(fd)?;
        descriptor.require(Rights::FD_FILESTAT_GET)?;
        Ok(match &descriptor.kind {
            Kind::File(file) => filestat::filestat(&file.metadata().await?),
            Kind::Directory(directory) => filestat::filestat(&directory.metadata().await?),
            _ => filestat::of_stream(descriptor.filetype()),
        })
    }

    pub(crate) async fn set_times(
        &mut self,
        fd: Fd,
        atim: Timestamp,
        mtim: Timestamp,
        which: Fstflags,
    ) -> Result<()> {
        let times = Times::new(&self.clocks, atim, mtim, which)?;
        let descriptor = self.table.get(fd)?;
        match &descriptor.kind {
            Kind::File(file) => {
                descriptor.require(Rights::FD_FILESTAT_SET_TIMES)?;
                file.set_times(times).await
            }
            Kind::Directory(directory) => {
                descriptor.require(Rights::PATH_FILESTAT_SET_TIMES)?;
                directory.set_times(times).await
            }
            _ => Err(Errno::Badf.into()),
        }
    }

    pub(crate) async fn sync(&mut self, fd: Fd, data_only: bool) -> Result<()> {
        let descriptor = self.table.get(fd)?;
        descriptor.require(if data_only { Rights::FD_DATASYNC } else { Rights::FD_SYNC })?;
        match &descriptor.kind {
            Kind::File(file) => file.sync(data_only).await,
            Kind::Directory(directory) => directory.sync().await,
            _ => Err(Errno::Inval.into()),
        }
    }

    pub(crate) fn set_flags(&mut self, fd: Fd, flags: Fdflags) -> Result<()> {
        let descriptor = self.table.get_mut(fd)?;
        descriptor.require(Rights::FD_FDSTAT_SET_FLAGS)?;
        // Whether writes wait for the disk is settled when a file is opened.
        let fixed = Fdflags::DSYNC | Fdflags::RSYNC | Fdflags::SYNC;
        if (flags ^ descriptor.flags).intersects(fixed) {
            return Err(Errno::Notsup.into());
        }
        if let Kind::File(file) = &descriptor.kind {
            file.set_append(flags.contains(Fdflags::APPEND))?;
        }
        descriptor.flags = flags;
        Ok(())
    }

    /// Fills the buffer with entries; what is cut off at its end the guest asks for again.
    pub(crate) async fn read_directory(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        buffer: GuestPtr<[u8]>,
        mut cookie: Dircookie,
    ) -> Result<Size> {
        let part = self.limits.buffered_bytes.max(readdir::ANY_ENTRY);
        let part = u32::try_from(part).unwrap_or(u32::MAX);
        self.table.directory(fd, Rights::FD_READDIR)?;
        memory.as_slice(buffer)?;
        let Kind::Directory(directory) = &mut self.table.get_mut(fd)?.kind else {
            return Err(Errno::Notdir.into());
        };
        let mut done = 0;
        while done < buffer.len() {
            let left = buffer.len() - done;
            let (bytes, next) =
                readdir::read(directory, cookie, left.min(part) as usize, left <= part).await?;
            if bytes.is_empty() {
                break;
            }
            let end = done + bytes.len() as u32;
            let range = buffer.get_range(done..end).ok_or(Errno::Fault)?;
            memory.copy_from_slice(&bytes, range)?;
            (done, cookie) = (end, next);
            pace::bytes(bytes.len()).await;
        }
        Ok(done)
    }
}

/// What else is needed to read or write somewhere else than where the last call ended.
fn rights_at(at: Option<Filesize>) -> Rights {
    if at.is_some() { Rights::FD_SEEK } else { Rights::empty() }
}

impl Descriptor {
    /// Refuses directories, and streams where a position is given: programs tell by that what they
    /// have.
    fn check_kind(&self, positioned: bool) -> Result<()> {
        match &self.kind {
            Kind::File(_) => Ok(()),
            Kind::Directory(_) => Err(Errno::Isdir.into()),
            _ if positioned => Err(Errno::Spipe.into()),
            _ => Ok(()),
        }
    }
}
