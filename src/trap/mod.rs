//! Traps: why a guest's call has no result.

mod frame;

use std::error::Error;
use std::fmt;
use std::sync::Arc;

pub use frame::FrameInfo;

pub use crate::vm::layout::TrapCode;

impl fmt::Display for TrapCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StackOverflow => "call stack exhausted",
            Self::MemoryOutOfBounds => "out of bounds memory access",
            Self::HeapMisaligned => "misaligned memory access",
            Self::TableOutOfBounds => "undefined element: out of bounds table access",
            Self::IndirectCallToNull => "uninitialized element",
            Self::BadSignature => "indirect call type mismatch",
            Self::IntegerOverflow => "integer overflow",
            Self::IntegerDivisionByZero => "integer divide by zero",
            Self::BadConversionToInteger => "invalid conversion to integer",
            Self::UnreachableCodeReached => "unreachable",
            Self::NullReference => "null reference",
            Self::NullFunctionReference => "null function reference",
            Self::Interrupt => "interrupt",
        })
    }
}

/// Why a guest's call has no result: the guest did what WebAssembly forbids, its fuel is gone, it
/// was interrupted, or a host function failed.
///
/// `Display` prints the reason and, below it, the frames of wasm, the innermost first, with files
/// and lines where [`Config::wasm_backtrace_details`](crate::Config::wasm_backtrace_details) asks
/// for them.
///
/// An error that a host function answered is the [source](Error::source) of the trap, and can be
/// downcast:
///
/// ```
/// use lampwick::Trap;
/// use std::error::Error;
///
/// let trap = Trap::from(anyhow::Error::new(std::fmt::Error));
/// assert!(trap.source().unwrap().is::<std::fmt::Error>());
/// ```
///
/// An error that has a trap among its own sources remains that trap: its exit status, code and
/// frames are still there, and what was put around it precedes the reason.
///
/// ```
/// use anyhow::Context;
/// use lampwick::Trap;
///
/// let error = Err::<(), _>(Trap::i32_exit(3)).context("running a plugin").unwrap_err();
/// let trap = Trap::from(error);
/// assert_eq!(trap.i32_exit_status(), Some(3));
/// assert!(trap.to_string().starts_with("running a plugin: exited with"));
/// ```
///
/// Cloning is cheap.
#[derive(Clone)]
pub struct Trap(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    reason: Reason,
    frames: Vec<FrameInfo>,
}

#[derive(Clone, Debug)]
enum Reason {
    Message(String),
    Exit(i32),
    Code(TrapCode),
    OutOfFuel,
    Host(HostError),
    /// An error around a trap, whose frames the outer trap took over.
    Around(HostError, Trap),
}

/// What a host function failed with.
#[derive(Clone, Debug)]
enum HostError {
    Anyhow(Arc<anyhow::Error>),
    /// Kept apart, because `anyhow` hides what it gets in a box.
    Boxed(Arc<dyn Error + Send + Sync>),
}

impl HostError {
    fn error(&self) -> &(dyn Error + 'static) {
        match self {
            Self::Anyhow(error) => &***error,
            Self::Boxed(error) => &**error,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => f.write_str(message),
            Self::Exit(status) => write!(f, "exited with i32 exit status {status}"),
            Self::Code(code) => write!(f, "wasm trap: {code}"),
            Self::OutOfFuel => f.write_str("all fuel consumed by WebAssembly"),
            Self::Host(error) => write!(f, "{}", error.error()),
            Self::Around(error, trap) => {
                for error in sources(error.error()).take_while(|error| !error.is::<Trap>()) {
                    write!(f, "{error}: ")?;
                }
                trap.0.reason.fmt(f)
            }
        }
    }
}

/// An error, its source, and so on. A chain that is longer than any that one would read may be a
/// circle.
fn sources<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source()).take(1000)
}

/// The first trap among an error and its sources.
pub(crate) fn trap_in<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Trap> {
    sources(error).find_map(|error| error.downcast_ref())
}

impl Trap {
    /// A trap with a message of the host's.
    pub fn new(message: impl Into<String>) -> Self {
        Self::from_reason(Reason::Message(message.into()))
    }

    /// A guest's wish to end with this exit status.
    pub fn i32_exit(status: i32) -> Self {
        Self::from_reason(Reason::Exit(status))
    }

    pub(crate) fn from_code(code: TrapCode) -> Self {
        Self::from_reason(Reason::Code(code))
    }

    pub(crate) fn out_of_fuel() -> Self {
        Self::from_reason(Reason::OutOfFuel)
    }

    fn from_reason(reason: Reason) -> Self {
        Self(Arc::new(Inner { reason, frames: Vec::new() }))
    }

    /// A trap for what a host function failed with.
    fn from_host(error: HostError) -> Self {
        match trap_in(error.error()).cloned() {
            None => Self::from_reason(Reason::Host(error)),
            Some(trap) => {
                let frames = trap.0.frames.clone();
                Self(Arc::new(Inner { reason: Reason::Around(error, trap), frames }))
            }
        }
    }

    /// The same trap with these frames behind those that it has.
    pub(crate) fn with_frames(self, frames: Vec<FrameInfo>) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.0);
        inner.frames.extend(frames);
        Self(Arc::new(inner))
    }

    /// What began it: where errors were put around a trap, the innermost one's reason.
    fn root(&self) -> &Reason {
        let mut reason = &self.0.reason;
        while let Reason::Around(_, trap) = reason {
            reason = &trap.0.reason;
        }
        reason
    }

    /// The exit status, if the trap was made by [`Trap::i32_exit`].
    pub fn i32_exit_status(&self) -> Option<i32> {
        match self.root() {
            Reason::Exit(status) => Some(*status),
            _ => None,
        }
    }

    /// Whether the guest's fuel was gone.
    pub fn is_out_of_fuel(&self) -> bool {
        matches!(self.root(), Reason::OutOfFuel)
    }

    /// The reason without the frames.
    pub fn display_reason(&self) -> impl fmt::Display + '_ {
        &self.0.reason
    }

    /// The frames of wasm, the innermost first; at most 64 for each entry of wasm. Where a host
    /// function called wasm that trapped, the frames that called the host function follow those of
    /// its call.
    pub fn trace(&self) -> &[FrameInfo] {
        &self.0.frames
    }

    /// What the guest did, if WebAssembly itself forbids it; or that it was interrupted.
    pub fn trap_code(&self) -> Option<TrapCode> {
        match self.root() {
            Reason::Code(code) => Some(*code),
            _ => None,
        }
    }
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.reason.fmt(f)?;
        if self.0.frames.is_empty() {
            return Ok(());
        }
        write!(f, "\nwasm backtrace:")?;
        for (index, frame) in self.0.frames.iter().enumerate() {
            frame.fmt_numbered(index, f)?;
        }
        if self.0.frames.iter().any(FrameInfo::could_tell_more) {
            write!(
                f,
                "\nnote: `LAMPWICK_BACKTRACE_DETAILS=1` or `Config::wasm_backtrace_details` adds \
                 files and lines"
            )?;
        }
        Ok(())
    }
}

impl fmt::Debug for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trap")
            .field("reason", &self.0.reason)
            .field("frames", &self.0.frames)
            .finish()
    }
}

impl Error for Trap {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0.reason {
            Reason::Host(error) | Reason::Around(error, _) => Some(error.error()),
            _ => None,
        }
    }
}

impl From<anyhow::Error> for Trap {
    /// The trap that the error is, or a new one with the error as its source.
    ///
    /// What [`Context`](anyhow::Context) put around a trap stays in front of its reason.
    fn from(mut error: anyhow::Error) -> Self {
        let whole: &(dyn Error + 'static) = &*error;
        if whole.is::<Self>() {
            return error.downcast().expect("it was seen to be one");
        }
        // The frames move to the outer trap, so that they are printed once.
        let frames = error.downcast_mut::<Self>().map(|trap| {
            let mut inner = (*trap.0).clone();
            let frames = std::mem::take(&mut inner.frames);
            *trap = Self(Arc::new(inner));
            frames
        });
        let trap = Self::from_host(HostError::Anyhow(Arc::new(error)));
        trap.with_frames(frames.unwrap_or_default())
    }
}

impl From<Box<dyn Error + Send + Sync>> for Trap {
    /// The trap that the error is, or a new one with the error as its source.
    fn from(error: Box<dyn Error + Send + Sync>) -> Self {
        match error.downcast::<Self>() {
            Ok(trap) => *trap,
            Err(error) => Self::from_host(HostError::Boxed(error.into())),
        }
    }
}
