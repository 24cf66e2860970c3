//! Listing a directory in parts, from wherever the guest wants to go on.

use std::collections::VecDeque;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirEntryExt;

use cap_std::fs::{Dir, DirEntry, FileTypeExt, MetadataExt, ReadDir};

use crate::bindings::types::Filetype;
use crate::dir::Directory;
use crate::errno::Result;
use crate::file::blocking;

/// Bytes of an entry before its name.
const HEAD: usize = 24;

/// How many entries are read from the host at a time.
const BATCH: usize = 128;

struct Entry {
    ino: u64,
    filetype: Filetype,
    name: Vec<u8>,
}

/// A listing that has begun. A cookie is the number of an entry; `.` and `..` are 0 and 1.
pub(crate) struct Listing {
    rest: ReadDir,
    /// Entries that were read and may still be asked for; the first has the number `first`.
    ahead: VecDeque<Entry>,
    first: u64,
    ended: bool,
}

impl Listing {
    fn begin(dir: &Dir) -> io::Result<Self> {
        let own = || -> io::Result<u64> { Ok(dir.dir_metadata()?.ino()) };
        let ino = own()?;
        let dots = [&b"."[..], b".."].map(|name| Entry {
            ino,
            filetype: Filetype::Directory,
            name: name.to_vec(),
        });
        Ok(Self { rest: dir.entries()?, ahead: dots.into(), first: 0, ended: false })
    }

    /// Reads some more entries.
    fn advance(&mut self) -> io::Result<()> {
        for _ in 0..BATCH {
            match self.rest.next() {
                Some(entry) => self.ahead.push_back(to_entry(entry?)?),
                None => {
                    self.ended = true;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Forgets what is before an entry, which is then in front unless the listing ends before.
    fn skip_to(&mut self, cookie: u64) -> io::Result<()> {
        while self.first < cookie {
            if self.ahead.is_empty() {
                if self.ended {
                    break;
                }
                self.advance()?;
            } else {
                self.ahead.pop_front();
                self.first += 1;
            }
        }
        Ok(())
    }

    /// Entries in the guest's form, of `len` bytes at most: all that fit, and if it may be cut, the
    /// front of the next. Also the cookie behind the last whole one.
    fn write(&mut self, len: usize, may_cut: bool) -> io::Result<(Vec<u8>, u64)> {
        let mut bytes = Vec::with_capacity(len);
        let mut index = 0;
        while bytes.len() < len {
            if index == self.ahead.len() {
                if self.ended {
                    break;
                }
                self.advance()?;
                continue;
            }
            let entry = &self.ahead[index];
            if bytes.len() + HEAD + entry.name.len() > len && !may_cut {
                break;
            }
            index += 1;
            bytes.extend((self.first + index as u64).to_le_bytes());
            bytes.extend(entry.ino.to_le_bytes());
            bytes.extend((entry.name.len() as u32).to_le_bytes());
            bytes.extend([entry.filetype as u8, 0, 0, 0]);
            bytes.extend(&entry.name);
        }
        bytes.truncate(len);
        Ok((bytes, self.first + index as u64))
    }
}

fn to_entry(entry: DirEntry) -> io::Result<Entry> {
    let kind = entry.file_type()?;
    let filetype = if kind.is_file() {
        Filetype::RegularFile
    } else if kind.is_dir() {
        Filetype::Directory
    } else if kind.is_symlink() {
        Filetype::SymbolicLink
    } else if kind.is_char_device() {
        Filetype::CharacterDevice
    } else if kind.is_block_device() {
        Filetype::BlockDevice
    } else if kind.is_socket() {
        Filetype::SocketStream
    } else {
        Filetype::Unknown
    };
    Ok(Entry { ino: entry.ino(), filetype, name: entry.file_name().into_vec() })
}

/// Some entries of a directory from a cookie on, and the cookie to go on with; none at the end. Only
/// if it may be cut the last one can be.
pub(crate) async fn read(
    directory: &mut Directory,
    cookie: u64,
    len: usize,
    may_cut: bool,
) -> Result<(Vec<u8>, u64)> {
    let dir = directory.share();
    // A call that is dropped meanwhile loses the listing, and the next one begins it again. So does
    // one that asks for the beginning, which may by now be another.
    let listing = directory.listing.take().filter(|listing| listing.first <= cookie && cookie > 0);
    let work = move || {
        let mut listing = match listing {
            Some(listing) => listing,
            None => Listing::begin(&dir)?,
        };
        listing.skip_to(cookie)?;
        let written = listing.write(len, may_cut)?;
        Ok((listing, written))
    };
    let (listing, written) = blocking(work).await?;
    directory.listing = Some(listing);
    Ok(written)
}

/// Bytes in which any entry fits: names have 255 at most.
pub(crate) const ANY_ENTRY: usize = HEAD + 255;
