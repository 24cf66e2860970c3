//! What is said of a call when it is over.

use std::fmt;

use super::StoreStats;
use crate::trap::{Trap, TrapCode, trap_in};
use crate::vm::activation::Unwind;

/// The account of a call that is over, for
/// [`Config::call_reports`](crate::Config::call_reports).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CallReport<'a> {
    /// What the guest is called: [`Store::set_name`](crate::Store::set_name).
    pub guest: &'a str,
    /// How the call ended.
    pub end: CallEnd,
    /// What it took: fuel, slices, parks, host calls and time of this call alone; memory and stack
    /// of all that its store did so far.
    pub stats: StoreStats,
}

/// How a call of a guest ended.
///
/// Displayed it is one of a few fixed texts, fit for the label of a metric: statuses, of which a guest
/// could pick a new one at each exit, are not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallEnd {
    /// With results.
    Returned,
    /// The guest did what WebAssembly forbids, or was interrupted.
    Trapped(TrapCode),
    /// Its fuel was gone.
    OutOfFuel,
    /// It wished to end, with this status: [`Trap::i32_exit`](crate::Trap::i32_exit).
    Exited(i32),
    /// The guest threw an exception that nobody caught.
    Threw,
    /// A host function failed, a call hook did, or somebody stopped the guest.
    Failed,
    /// A host function panicked.
    Panicked,
    /// The future of the call was dropped.
    Dropped,
}

impl CallEnd {
    pub(super) fn of(result: &Result<(), Box<Unwind>>) -> Self {
        match result {
            Ok(()) => Self::Returned,
            Err(unwind) => match &**unwind {
                Unwind::Trap(code, _) => Self::Trapped(*code),
                Unwind::OutOfFuel(_) => Self::OutOfFuel,
                Unwind::Exception(..) => Self::Threw,
                Unwind::Host(error, _) => Self::of_error(error),
                Unwind::Panic(_) => Self::Panicked,
                Unwind::Cancelled => Self::Dropped,
            },
        }
    }

    /// A host function may have failed with the trap of a guest that it called.
    fn of_error(error: &anyhow::Error) -> Self {
        let trap = error.downcast_ref::<Trap>().or_else(|| trap_in(&**error));
        let Some(trap) = trap else { return Self::Failed };
        if let Some(code) = trap.trap_code() {
            Self::Trapped(code)
        } else if let Some(status) = trap.i32_exit_status() {
            Self::Exited(status)
        } else if trap.is_out_of_fuel() {
            Self::OutOfFuel
        } else {
            Self::Failed
        }
    }

    /// Whether somebody should know that the call has no result.
    #[cfg(feature = "tracing")]
    pub(super) fn is_trap(self) -> bool {
        matches!(
            self,
            Self::Trapped(_) | Self::OutOfFuel | Self::Threw | Self::Failed | Self::Panicked
        )
    }
}

impl fmt::Display for CallEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Returned => f.write_str("returned"),
            Self::Trapped(code) => write!(f, "trapped: {code}"),
            Self::OutOfFuel => f.write_str("out of fuel"),
            Self::Exited(_) => f.write_str("exited"),
            Self::Threw => f.write_str("threw"),
            Self::Failed => f.write_str("failed"),
            Self::Panicked => f.write_str("panicked"),
            Self::Dropped => f.write_str("dropped"),
        }
    }
}
