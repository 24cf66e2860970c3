//! Errors of the host as the numbers that guests know.

use std::io;

use rustix::io::Errno as HostErrno;
use wiggle::GuestError;

use crate::bindings::types::{Errno, Error};

/// What a function of preview 1 answers: a value, a number for the guest, or a trap.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl wiggle::GuestErrorType for Errno {
    fn success() -> Self {
        Self::Success
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Errno::from(&error).into()
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(error: rustix::io::Errno) -> Self {
        Errno::from(&io::Error::from(error)).into()
    }
}

impl From<GuestError> for Error {
    /// What is wrong with a guest's arguments is told to the guest; it is not a trap.
    fn from(error: GuestError) -> Self {
        let errno = match error {
            GuestError::PtrOverflow | GuestError::PtrOutOfBounds(_) => Errno::Fault,
            GuestError::InvalidUtf8(_) => Errno::Ilseq,
            GuestError::InFunc { err, .. } => return Self::from(*err),
            GuestError::InvalidFlagValue(_)
            | GuestError::InvalidEnumValue(_)
            | GuestError::TryFromIntError(_)
            | GuestError::PtrNotAligned(..)
            | GuestError::SliceLengthsDiffer => Errno::Inval,
        };
        errno.into()
    }
}

impl From<&io::Error> for Errno {
    fn from(error: &io::Error) -> Self {
        if let Some(errno) = HostErrno::from_io_error(error) {
            return from_host(errno);
        }
        match error.kind() {
            io::ErrorKind::NotFound => Self::Noent,
            // What `cap-std` says of paths that lead out of their directory.
            io::ErrorKind::PermissionDenied => Self::Perm,
            io::ErrorKind::AlreadyExists => Self::Exist,
            io::ErrorKind::InvalidInput => Self::Inval,
            io::ErrorKind::InvalidData => Self::Ilseq,
            io::ErrorKind::WouldBlock => Self::Again,
            io::ErrorKind::TimedOut => Self::Timedout,
            io::ErrorKind::Interrupted => Self::Intr,
            io::ErrorKind::BrokenPipe | io::ErrorKind::WriteZero => Self::Pipe,
            io::ErrorKind::ConnectionReset => Self::Connreset,
            io::ErrorKind::ConnectionAborted => Self::Connaborted,
            io::ErrorKind::NotConnected => Self::Notconn,
            io::ErrorKind::OutOfMemory => Self::Nomem,
            io::ErrorKind::StorageFull => Self::Nospc,
            io::ErrorKind::FileTooLarge => Self::Fbig,
            io::ErrorKind::Unsupported => Self::Notsup,
            io::ErrorKind::NotADirectory => Self::Notdir,
            io::ErrorKind::IsADirectory => Self::Isdir,
            _ => Self::Io,
        }
    }
}

macro_rules! same_names {
    ($($host:ident => $guest:ident,)*) => {
        fn from_host(errno: HostErrno) -> Errno {
            match errno {
                $(HostErrno::$host => Errno::$guest,)*
                _ => Errno::Io,
            }
        }
    };
}

same_names! {
    TOOBIG => TooBig,
    ACCESS => Acces,
    ADDRINUSE => Addrinuse,
    ADDRNOTAVAIL => Addrnotavail,
    AFNOSUPPORT => Afnosupport,
    AGAIN => Again,
    ALREADY => Already,
    BADF => Badf,
    BADMSG => Badmsg,
    BUSY => Busy,
    CANCELED => Canceled,
    CHILD => Child,
    CONNABORTED => Connaborted,
    CONNREFUSED => Connrefused,
    CONNRESET => Connreset,
    DEADLK => Deadlk,
    DESTADDRREQ => Destaddrreq,
    DOM => Dom,
    DQUOT => Dquot,
    EXIST => Exist,
    FAULT => Fault,
    FBIG => Fbig,
    HOSTUNREACH => Hostunreach,
    IDRM => Idrm,
    ILSEQ => Ilseq,
    INPROGRESS => Inprogress,
    INTR => Intr,
    INVAL => Inval,
    IO => Io,
    ISCONN => Isconn,
    ISDIR => Isdir,
    LOOP => Loop,
    MFILE => Mfile,
    MLINK => Mlink,
    MSGSIZE => Msgsize,
    NAMETOOLONG => Nametoolong,
    NETDOWN => Netdown,
    NETRESET => Netreset,
    NETUNREACH => Netunreach,
    NFILE => Nfile,
    NOBUFS => Nobufs,
    NODEV => Nodev,
    NOENT => Noent,
    NOLCK => Nolck,
    NOMEM => Nomem,
    NOSPC => Nospc,
    NOSYS => Nosys,
    NOTCONN => Notconn,
    NOTDIR => Notdir,
    NOTEMPTY => Notempty,
    NOTSOCK => Notsock,
    NOTTY => Notty,
    NXIO => Nxio,
    OPNOTSUPP => Notsup,
    OVERFLOW => Overflow,
    PERM => Perm,
    PIPE => Pipe,
    PROTO => Proto,
    RANGE => Range,
    ROFS => Rofs,
    SPIPE => Spipe,
    SRCH => Srch,
    STALE => Stale,
    TIMEDOUT => Timedout,
    TXTBSY => Txtbsy,
    // Names that lead to another file system, and beneath which `openat2` refuses to leave.
    XDEV => Xdev,
}
