//! What is known about files: their kind, size and times.

use std::fs::FileTimes;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cap_std::fs::{Metadata, MetadataExt};
use rustix::fs::{FileType, Timespec, Timestamps, UTIME_OMIT};

use crate::bindings::types::{Clockid, Errno, Error, Filestat, Filetype, Fstflags, Timestamp};
use crate::clocks::Clocks;
use crate::errno::Result;

pub(crate) fn filetype(file_type: FileType) -> Filetype {
    match file_type {
        FileType::RegularFile => Filetype::RegularFile,
        FileType::Directory => Filetype::Directory,
        FileType::Symlink => Filetype::SymbolicLink,
        FileType::CharacterDevice => Filetype::CharacterDevice,
        FileType::BlockDevice => Filetype::BlockDevice,
        FileType::Socket => Filetype::SocketStream,
        _ => Filetype::Unknown,
    }
}

pub(crate) fn of_metadata(metadata: &Metadata) -> Filetype {
    filetype(FileType::from_raw_mode(metadata.mode()))
}

pub(crate) fn filestat(metadata: &Metadata) -> Filestat {
    Filestat {
        dev: metadata.dev(),
        ino: metadata.ino(),
        filetype: of_metadata(metadata),
        nlink: metadata.nlink(),
        size: metadata.size(),
        atim: timestamp(metadata.atime(), metadata.atime_nsec()),
        mtim: timestamp(metadata.mtime(), metadata.mtime_nsec()),
        ctim: timestamp(metadata.ctime(), metadata.ctime_nsec()),
    }
}

/// What there is to tell of a stream.
pub(crate) fn of_stream(filetype: Filetype) -> Filestat {
    Filestat { dev: 0, ino: 0, filetype, nlink: 0, size: 0, atim: 0, mtim: 0, ctim: 0 }
}

/// A time before 1970 is told as its beginning: guests' times have no sign.
fn timestamp(seconds: i64, nanoseconds: i64) -> Timestamp {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    let nanoseconds = u64::try_from(nanoseconds).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

/// The times that a guest wants a file to have; `None` leaves one as it is.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    accessed: Option<SystemTime>,
    modified: Option<SystemTime>,
}

impl Times {
    /// “Now” is what the guest's own clock says.
    pub(crate) fn new(
        clocks: &Clocks,
        atim: Timestamp,
        mtim: Timestamp,
        flags: Fstflags,
    ) -> Result<Self> {
        let time = |given: Timestamp, is_given: Fstflags, is_now: Fstflags| {
            let nanoseconds = match (flags.contains(is_given), flags.contains(is_now)) {
                (true, true) => return Err(Error::from(Errno::Inval)),
                (true, false) => given,
                (false, true) => clocks.now(Clockid::Realtime)?,
                (false, false) => return Ok(None),
            };
            // All that fits the number is less than 600 years, and fits the host's clock.
            Ok(Some(UNIX_EPOCH + Duration::from_nanos(nanoseconds)))
        };
        Ok(Self {
            accessed: time(atim, Fstflags::ATIM, Fstflags::ATIM_NOW)?,
            modified: time(mtim, Fstflags::MTIM, Fstflags::MTIM_NOW)?,
        })
    }

    pub(crate) fn of_file(self) -> FileTimes {
        let mut times = FileTimes::new();
        if let Some(accessed) = self.accessed {
            times = times.set_accessed(accessed);
        }
        if let Some(modified) = self.modified {
            times = times.set_modified(modified);
        }
        times
    }

    pub(crate) fn of_path(self) -> Timestamps {
        let timespec = |time: Option<SystemTime>| match time {
            None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            Some(time) => {
                let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
                let tv_sec = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
                Timespec { tv_sec, tv_nsec: since.subsec_nanos().into() }
            }
        };
        Timestamps {
            last_access: timespec(self.accessed),
            last_modification: timespec(self.modified),
        }
    }
}
