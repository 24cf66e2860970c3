//! Files, and what else a path may lead to that is read and written.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use cap_std::fs::Metadata;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::bindings::types::{Advice, Errno, Fdflags, Filesize, Filetype, Whence};
use crate::errno::Result;
use crate::filestat;

/// Runs what may block on the runtime's pool for that. If the guest is dropped meanwhile, the work
/// ends by itself; it owns all that it uses.
pub(crate) async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> io::Result<R> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(io::Error::other(error)),
        },
    }
}

/// An open file, which the guest's calls on the blocking pool share.
pub(crate) struct OpenFile {
    file: Arc<File>,
    filetype: Filetype,
    /// Where the next read or write of a regular file begins. Kept here and not in the kernel, so
    /// that a call that is dropped moves it not at all.
    position: u64,
}

impl OpenFile {
    /// The file must have been opened so that it does not block: pipes and devices wait here.
    pub(crate) fn new(file: File, filetype: Filetype) -> Self {
        Self { file: Arc::new(file), filetype, position: 0 }
    }

    pub(crate) fn filetype(&self) -> Filetype {
        self.filetype
    }

    pub(crate) fn is_regular(&self) -> bool {
        matches!(self.filetype, Filetype::RegularFile | Filetype::BlockDevice)
    }

    fn check_regular(&self) -> Result<()> {
        if !self.is_regular() {
            return Err(Errno::Spipe.into());
        }
        Ok(())
    }

    /// Some bytes, at most `len`, from a position or the file's own; none at the end.
    pub(crate) async fn read(
        &mut self,
        len: usize,
        at: Option<u64>,
        nonblocking: bool,
    ) -> Result<Bytes> {
        let file = self.file.clone();
        if self.is_regular() {
            let from = at.unwrap_or(self.position);
            let bytes = blocking(move || {
                let mut bytes = vec![0; len];
                let n = retrying(|| file.read_at(&mut bytes, from))?;
                bytes.truncate(n);
                Ok(bytes)
            })
            .await?;
            if at.is_none() {
                self.position += bytes.len() as u64;
            }
            return Ok(bytes.into());
        }
        if at.is_some() {
            return Err(Errno::Spipe.into());
        }
        let bytes = self
            .when_ready(Interest::READABLE, nonblocking, move |file| {
                let mut bytes = vec![0; len];
                let n = retrying(|| (&*file).read(&mut bytes))?;
                bytes.truncate(n);
                Ok(bytes)
            })
            .await?;
        Ok(bytes.into())
    }

    /// Writes some of the bytes, to a position or the file's own.
    pub(crate) async fn write(
        &mut self,
        bytes: Bytes,
        at: Option<u64>,
        flags: Fdflags,
    ) -> Result<usize> {
        let file = self.file.clone();
        if !self.is_regular() {
            if at.is_some() {
                return Err(Errno::Spipe.into());
            }
            let nonblocking = flags.contains(Fdflags::NONBLOCK);
            let written = self.when_ready(Interest::WRITABLE, nonblocking, move |file| {
                retrying(|| (&*file).write(&bytes))
            });
            return written.await;
        }
        let to = at.unwrap_or(self.position);
        let append = flags.contains(Fdflags::APPEND);
        let (n, end) = blocking(move || {
            let n = retrying(|| file.write_at(&bytes, to))?;
            // The kernel appends wherever `to` is.
            let end = if append { file.metadata()?.len() } else { to + n as u64 };
            Ok((n, end))
        })
        .await?;
        if at.is_none() {
            self.position = end;
        }
        Ok(n)
    }

    /// Does something with a pipe or device as soon as it can be done.
    async fn when_ready<R: Send + 'static>(
        &self,
        interest: Interest,
        nonblocking: bool,
        work: impl Fn(Arc<File>) -> io::Result<R> + Clone + Send + 'static,
    ) -> Result<R> {
        loop {
            let (file, work) = (self.file.clone(), work.clone());
            match blocking(move || work(file)).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !nonblocking => {
                    let ready = self.readiness(interest)?.ok_or(Errno::Again)?;
                    drop(ready.ready(interest).await?);
                }
                result => return Ok(result?),
            }
        }
    }

    /// What tells when the file can be read or written; `None` if it always can.
    pub(crate) fn readiness(&self, interest: Interest) -> Result<Option<AsyncFd<Arc<File>>>> {
        // What shares the file keeps its descriptor open, which is all that the newer function makes
        // one promise, and that is unsafe.
        #[expect(deprecated)]
        match AsyncFd::with_interest(self.file.clone(), interest) {
            Ok(ready) => Ok(Some(ready)),
            // Regular files and some devices are never waited for.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// How many bytes lie before the end.
    pub(crate) async fn bytes_left(&self) -> Result<u64> {
        let file = self.file.clone();
        let len = blocking(move || Ok(file.metadata()?.len())).await?;
        Ok(len.saturating_sub(self.position))
    }

    pub(crate) async fn seek(&mut self, offset: i64, whence: Whence) -> Result<Filesize> {
        self.check_regular()?;
        let base = match whence {
            Whence::Set => 0,
            Whence::Cur => self.position,
            Whence::End => {
                let file = self.file.clone();
                blocking(move || Ok(file.metadata()?.len())).await?
            }
        };
        let position = base.checked_add_signed(offset).ok_or(Errno::Inval)?;
        if i64::try_from(position).is_err() {
            return Err(Errno::Inval.into());
        }
        self.position = position;
        Ok(position)
    }

    pub(crate) fn tell(&self) -> Result<Filesize> {
        self.check_regular()?;
        Ok(self.position)
    }

    pub(crate) async fn metadata(&self) -> Result<Metadata> {
        let file = self.file.clone();
        Ok(blocking(move || Metadata::from_file(&file)).await?)
    }

    pub(crate) async fn set_times(&self, times: filestat::Times) -> Result<()> {
        let file = self.file.clone();
        Ok(blocking(move || file.set_times(times.of_file())).await?)
    }

    pub(crate) async fn set_size(&self, size: Filesize) -> Result<()> {
        let file = self.file.clone();
        Ok(blocking(move || file.set_len(size)).await?)
    }

    pub(crate) async fn allocate(&self, offset: Filesize, len: Filesize) -> Result<()> {
        let file = self.file.clone();
        let how = rustix::fs::FallocateFlags::empty();
        Ok(blocking(move || Ok(rustix::fs::fallocate(&*file, how, offset, len)?)).await?)
    }

    pub(crate) async fn advise(
        &self,
        offset: Filesize,
        len: Filesize,
        advice: Advice,
    ) -> Result<()> {
        use rustix::fs::Advice as Host;
        let advice = match advice {
            Advice::Normal => Host::Normal,
            Advice::Sequential => Host::Sequential,
            Advice::Random => Host::Random,
            Advice::Willneed => Host::WillNeed,
            Advice::Dontneed => Host::DontNeed,
            Advice::Noreuse => Host::NoReuse,
        };
        if i64::try_from(offset).is_err() || i64::try_from(len).is_err() {
            return Err(Errno::Inval.into());
        }
        let len = std::num::NonZeroU64::new(len);
        let file = self.file.clone();
        Ok(blocking(move || Ok(rustix::fs::fadvise(&*file, offset, len, advice)?)).await?)
    }

    pub(crate) async fn sync(&self, data_only: bool) -> Result<()> {
        let file = self.file.clone();
        Ok(blocking(move || if data_only { file.sync_data() } else { file.sync_all() }).await?)
    }

    /// Whether writes append from now on.
    pub(crate) fn set_append(&self, append: bool) -> Result<()> {
        let mut flags = fcntl_getfl(&*self.file)?;
        flags.set(OFlags::APPEND, append);
        Ok(fcntl_setfl(&*self.file, flags)?)
    }
}

/// Tries again for as long as signals interrupt it.
fn retrying<R>(mut work: impl FnMut() -> io::Result<R>) -> io::Result<R> {
    loop {
        match work() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
