//! Traps: why a guest's call has no result.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

pub use crate::vm::layout::TrapCode;

impl fmt::Display for TrapCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StackOverflow => "call stack exhausted",
            Self::MemoryOutOfBounds => "out of bounds memory access",
            Self::TableOutOfBounds => "undefined element: out of bounds table access",
            Self::IndirectCallToNull => "uninitialized element",
            Self::BadSignature => "indirect call type mismatch",
            Self::IntegerOverflow => "integer overflow",
            Self::IntegerDivisionByZero => "integer divide by zero",
            Self::BadConversionToInteger => "invalid conversion to integer",
            Self::UnreachableCodeReached => "unreachable",
            Self::Interrupt => "interrupt",
        })
    }
}

/// Why a guest's call has no result: the guest did what WebAssembly forbids, its fuel is gone, it
/// was interrupted, or a host function failed.
///
/// `Display` prints the reason and, below it, the frames of wasm.
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
    Host(Arc<anyhow::Error>),
    /// Kept apart, because `anyhow` hides what it gets in a box.
    Boxed(Arc<dyn Error + Send + Sync>),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => f.write_str(message),
            Self::Exit(status) => write!(f, "exited with i32 exit status {status}"),
            Self::Code(code) => write!(f, "wasm trap: {code}"),
            Self::OutOfFuel => f.write_str("all fuel consumed by WebAssembly"),
            Self::Host(error) => error.fmt(f),
            Self::Boxed(error) => error.fmt(f),
        }
    }
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

    /// The same trap with these frames behind those that it has.
    pub(crate) fn with_frames(self, frames: Vec<FrameInfo>) -> Self {
        let mut inner = Arc::try_unwrap(self.0).unwrap_or_else(|shared| (*shared).clone());
        inner.frames.extend(frames);
        Self(Arc::new(inner))
    }

    /// The exit status, if the trap was made by [`Trap::i32_exit`].
    pub fn i32_exit_status(&self) -> Option<i32> {
        match self.0.reason {
            Reason::Exit(status) => Some(status),
            _ => None,
        }
    }

    /// The reason without the frames.
    pub fn display_reason(&self) -> impl fmt::Display + '_ {
        &self.0.reason
    }

    /// The frames of wasm, the innermost first; at most 64 for each entry of wasm.
    pub fn trace(&self) -> &[FrameInfo] {
        &self.0.frames
    }

    /// What the guest did, if WebAssembly itself forbids it; or that it was interrupted.
    pub fn trap_code(&self) -> Option<TrapCode> {
        match self.0.reason {
            Reason::Code(code) => Some(code),
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
            write!(f, "\n  {index:>3}: {:#8x} - {frame}", frame.module_offset)?;
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
            Reason::Host(error) => Some(&***error),
            Reason::Boxed(error) => Some(&**error),
            _ => None,
        }
    }
}

impl From<anyhow::Error> for Trap {
    /// The trap that the error is, or a new one with the error as its source.
    fn from(error: anyhow::Error) -> Self {
        error.downcast().unwrap_or_else(|error| Self::from_reason(Reason::Host(Arc::new(error))))
    }
}

impl From<Box<dyn Error + Send + Sync>> for Trap {
    fn from(error: Box<dyn Error + Send + Sync>) -> Self {
        match error.downcast::<Self>() {
            Ok(trap) => *trap,
            Err(error) => Self::from_reason(Reason::Boxed(error.into())),
        }
    }
}

/// A frame of wasm in a [`Trap`].
#[derive(Clone, Debug)]
pub struct FrameInfo {
    pub(crate) module_name: Option<String>,
    pub(crate) func_index: u32,
    pub(crate) func_name: Option<String>,
    pub(crate) func_start: usize,
    pub(crate) module_offset: usize,
}

impl FrameInfo {
    /// The function's index in its module.
    pub fn func_index(&self) -> u32 {
        self.func_index
    }

    /// The name of the module, if it has one.
    pub fn module_name(&self) -> Option<&str> {
        self.module_name.as_deref()
    }

    /// The name of the function, if the module's name section has one.
    pub fn func_name(&self) -> Option<&str> {
        self.func_name.as_deref()
    }

    /// The offset of the operator in the module, in bytes.
    pub fn module_offset(&self) -> usize {
        self.module_offset
    }

    /// The offset of the operator from the start of its function's body, in bytes.
    pub fn func_offset(&self) -> usize {
        self.module_offset.saturating_sub(self.func_start)
    }
}

impl fmt::Display for FrameInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}!", self.module_name().unwrap_or("<unknown>"))?;
        match self.func_name() {
            Some(name) => f.write_str(name),
            None => write!(f, "<wasm function {}>", self.func_index),
        }
    }
}
