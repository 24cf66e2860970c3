//! A program's descriptors: what each number stands for, and what it may be used for.

use std::collections::{BTreeMap, BTreeSet};

use crate::bindings::types::{Errno, Fd, Fdflags, Fdstat, Filetype, Rights};
use crate::dir::Directory;
use crate::errno::Result;
use crate::file::OpenFile;
use crate::socket::{Listener, Stream};
use crate::stdio::{Input, Output};

/// What a descriptor stands for.
pub(crate) enum Kind {
    Input(Input),
    Output(Output),
    File(OpenFile),
    Directory(Directory),
    Listener(Listener),
    Stream(Stream),
}

pub(crate) struct Descriptor {
    pub(crate) kind: Kind,
    /// What may be done with it. Shrinks, never grows.
    pub(crate) base: Rights,
    /// What may be done with what is opened by it; likewise.
    pub(crate) inheriting: Rights,
    pub(crate) flags: Fdflags,
}

impl Descriptor {
    pub(crate) fn new(kind: Kind, base: Rights) -> Self {
        Self { kind, base, inheriting: Rights::empty(), flags: Fdflags::empty() }
    }

    pub(crate) fn require(&self, rights: Rights) -> Result<()> {
        if !self.base.contains(rights) {
            return Err(Errno::Notcapable.into());
        }
        Ok(())
    }

    /// Whether an operation that cannot be done at once is refused instead of waited for.
    pub(crate) fn is_nonblocking(&self) -> bool {
        self.flags.contains(Fdflags::NONBLOCK)
    }

    pub(crate) fn fdstat(&self) -> Fdstat {
        Fdstat {
            fs_filetype: self.filetype(),
            fs_flags: self.flags,
            fs_rights_base: self.base,
            fs_rights_inheriting: self.inheriting,
        }
    }

    pub(crate) fn filetype(&self) -> Filetype {
        match &self.kind {
            Kind::Input(input) => terminal_or_unknown(input.is_terminal()),
            Kind::Output(output) => terminal_or_unknown(output.is_terminal()),
            Kind::File(file) => file.filetype(),
            Kind::Directory(_) => Filetype::Directory,
            Kind::Stream(stream) if stream.is_datagrams() => Filetype::SocketDgram,
            Kind::Listener(_) | Kind::Stream(_) => Filetype::SocketStream,
        }
    }

    /// The file, if it is one and may be used like this.
    pub(crate) fn file(&mut self, rights: Rights) -> Result<&mut OpenFile> {
        let Kind::File(_) = self.kind else {
            return Err(Errno::Badf.into());
        };
        self.require(rights)?;
        match &mut self.kind {
            Kind::File(file) => Ok(file),
            _ => unreachable!("it was seen to be a file"),
        }
    }
}

fn terminal_or_unknown(is_terminal: bool) -> Filetype {
    if is_terminal { Filetype::CharacterDevice } else { Filetype::Unknown }
}

/// The descriptors of a program. New ones get the least number that is free, as programs expect
/// that close a standard stream to replace it.
pub(crate) struct Table {
    open: BTreeMap<u32, Descriptor>,
    /// Free numbers below `end`.
    free: BTreeSet<u32>,
    end: u32,
    limit: usize,
}

impl Table {
    pub(crate) fn new(limit: usize) -> Self {
        Self { open: BTreeMap::new(), free: BTreeSet::new(), end: 0, limit }
    }

    /// Whether one more fits. To be asked before work is done that would have to be undone.
    pub(crate) fn check_room(&self) -> Result<()> {
        if self.open.len() >= self.limit {
            return Err(Errno::Mfile.into());
        }
        Ok(())
    }

    pub(crate) fn insert(&mut self, descriptor: Descriptor) -> Result<Fd> {
        self.check_room()?;
        let number = match self.free.pop_first() {
            Some(number) => number,
            None => {
                // Numbers are reused, so that there are as many as were ever open at once.
                self.end += 1;
                self.end - 1
            }
        };
        self.open.insert(number, descriptor);
        Ok(Fd::from(number))
    }

    pub(crate) fn get(&self, fd: Fd) -> Result<&Descriptor> {
        self.open.get(&u32::from(fd)).ok_or_else(|| Errno::Badf.into())
    }

    pub(crate) fn get_mut(&mut self, fd: Fd) -> Result<&mut Descriptor> {
        self.open.get_mut(&u32::from(fd)).ok_or_else(|| Errno::Badf.into())
    }

    /// The directory, if it is one and may be used like this.
    pub(crate) fn directory(&self, fd: Fd, rights: Rights) -> Result<(&Directory, &Descriptor)> {
        let descriptor = self.get(fd)?;
        let Kind::Directory(directory) = &descriptor.kind else {
            return Err(Errno::Notdir.into());
        };
        descriptor.require(rights)?;
        Ok((directory, descriptor))
    }

    pub(crate) fn remove(&mut self, fd: Fd) -> Result<Descriptor> {
        let number = u32::from(fd);
        let descriptor = self.open.remove(&number).ok_or(Errno::Badf)?;
        self.free.insert(number);
        Ok(descriptor)
    }

    /// Gives a descriptor the number of another one, which is closed. Both must be open.
    pub(crate) fn renumber(&mut self, from: Fd, to: Fd) -> Result<Option<Descriptor>> {
        self.get(from)?;
        self.get(to)?;
        if u32::from(from) == u32::from(to) {
            return Ok(None);
        }
        let descriptor = self.remove(from)?;
        Ok(self.open.insert(u32::from(to), descriptor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Descriptor {
        Descriptor::new(
            Kind::Output(Output::new(Box::new(tokio::io::sink()), false)),
            Rights::empty(),
        )
    }

    #[test]
    fn the_least_free_number_is_used_and_the_limit_holds() {
        let mut table = Table::new(3);
        let mut fds = (0..3).map(|_| u32::from(table.insert(stream()).unwrap()));
        assert_eq!([fds.next(), fds.next(), fds.next()], [Some(0), Some(1), Some(2)]);
        drop(fds);
        assert!(matches!(table.insert(stream()).unwrap_err().downcast(), Ok(Errno::Mfile)));
        table.remove(Fd::from(1)).unwrap();
        table.remove(Fd::from(0)).unwrap();
        assert_eq!(u32::from(table.insert(stream()).unwrap()), 0);
        assert_eq!(u32::from(table.insert(stream()).unwrap()), 1);
        assert!(table.renumber(Fd::from(2), Fd::from(0)).unwrap().is_some());
        assert!(table.get(Fd::from(2)).is_err());
        assert!(table.renumber(Fd::from(0), Fd::from(0)).unwrap().is_none());
        assert!(table.renumber(Fd::from(0), Fd::from(7)).is_err());
        assert!(table.get(Fd::from(0)).is_ok());
    }
}
