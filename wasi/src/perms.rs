//! Permissions of preopened directories, and the rights that guests have by them.
//!
//! Rights are all that decides: a directory's descriptor has those that its permissions give, what is
//! opened beneath it at most those that it may pass on, and every function asks for the ones it needs.

use bitflags::bitflags;

use crate::bindings::types::Rights;

bitflags! {
    /// What a program may do with a preopened directory and the directories in it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct DirPerms: u8 {
        /// Look up names, list them, and open what they name.
        const READ = 1;
        /// Make, rename, link and remove what is in it, and set times.
        const MUTATE = 2;
    }

    /// What a program may do with the files in a preopened directory.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct FilePerms: u8 {
        /// Read them.
        const READ = 1;
        /// Write, resize and truncate them, and set their times.
        const WRITE = 2;
    }
}

const DIR_READ: Rights = Rights::PATH_OPEN
    .union(Rights::FD_READDIR)
    .union(Rights::PATH_READLINK)
    .union(Rights::PATH_FILESTAT_GET)
    .union(Rights::FD_FILESTAT_GET)
    .union(Rights::FD_FDSTAT_SET_FLAGS)
    .union(Rights::FD_SYNC)
    .union(Rights::FD_DATASYNC);

const DIR_MUTATE: Rights = Rights::PATH_CREATE_DIRECTORY
    .union(Rights::PATH_CREATE_FILE)
    .union(Rights::PATH_LINK_SOURCE)
    .union(Rights::PATH_LINK_TARGET)
    .union(Rights::PATH_RENAME_SOURCE)
    .union(Rights::PATH_RENAME_TARGET)
    .union(Rights::PATH_SYMLINK)
    .union(Rights::PATH_REMOVE_DIRECTORY)
    .union(Rights::PATH_UNLINK_FILE);

const FILE_ANY: Rights = Rights::FD_SEEK
    .union(Rights::FD_TELL)
    .union(Rights::FD_FDSTAT_SET_FLAGS)
    .union(Rights::FD_FILESTAT_GET)
    .union(Rights::FD_ADVISE)
    .union(Rights::POLL_FD_READWRITE);

const FILE_WRITE: Rights = Rights::FD_WRITE
    .union(Rights::FD_ALLOCATE)
    .union(Rights::FD_FILESTAT_SET_SIZE)
    .union(Rights::FD_FILESTAT_SET_TIMES)
    .union(Rights::FD_SYNC)
    .union(Rights::FD_DATASYNC);

/// All that a directory's descriptor can be used for.
pub(crate) const OF_DIRECTORIES: Rights = DIR_READ
    .union(DIR_MUTATE)
    .union(Rights::PATH_FILESTAT_SET_SIZE)
    .union(Rights::PATH_FILESTAT_SET_TIMES);

/// All that a file's descriptor can be used for.
pub(crate) const OF_FILES: Rights = FILE_ANY.union(FILE_WRITE).union(Rights::FD_READ);

/// A stream from or to the host. It can neither seek nor tell, by which C libraries know terminals.
pub(crate) const OF_INPUT: Rights = Rights::FD_READ
    .union(Rights::FD_FDSTAT_SET_FLAGS)
    .union(Rights::FD_FILESTAT_GET)
    .union(Rights::POLL_FD_READWRITE);
pub(crate) const OF_OUTPUT: Rights = OF_INPUT.difference(Rights::FD_READ).union(Rights::FD_WRITE);

pub(crate) const OF_SOCKETS: Rights = OF_INPUT.union(Rights::FD_WRITE).union(Rights::SOCK_SHUTDOWN);

pub(crate) const OF_LISTENERS: Rights =
    OF_INPUT.difference(Rights::FD_READ).union(Rights::SOCK_ACCEPT);

/// What a preopened directory may be used for, and what it may pass on to what is opened in it.
pub(crate) fn of_preopened(dir: DirPerms, file: FilePerms) -> (Rights, Rights) {
    let mut base = Rights::empty();
    let mut files = Rights::empty();
    if dir.contains(DirPerms::READ) {
        base |= DIR_READ;
        files |= FILE_ANY;
    }
    if dir.contains(DirPerms::MUTATE) {
        base |= DIR_MUTATE;
    }
    if file.contains(FilePerms::READ) {
        files |= Rights::FD_READ;
    }
    if file.contains(FilePerms::WRITE) {
        files |= FILE_WRITE;
        base |= Rights::PATH_FILESTAT_SET_SIZE;
    }
    // A path may name a file or a directory, so that its times need both permissions.
    if dir.contains(DirPerms::MUTATE) && file.contains(FilePerms::WRITE) {
        base |= Rights::PATH_FILESTAT_SET_TIMES;
    }
    (base, base | files)
}
