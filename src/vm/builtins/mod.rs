//! The functions of ours that machine code calls.
//!
//! What a guest sizes is charged by that size before it is done, in chunks between which the fiber
//! may suspend. While it is suspended anything may happen that the store's owner can do without the
//! store, and nothing to the store itself; even so every chunk reads bases and sizes anew.

mod memory;
mod objects;
mod tables;

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};

use lampwick_fibers::switch::Word;
use lampwick_fibers::{Cancelled, Departure, Suspender};
use memory::*;
use objects::*;
use tables::*;

use super::activation::{self, Unwind};
use super::arch;
use super::exceptions::{throw, throw_ref};
use super::instance::Instance;
use super::layout::{Builtin, TrapCode, VMContext, for_each_builtin};
use super::pace::Watch;
use super::store::Store;

/// Bytes that are moved between two looks at the fuel: eight pages. Between two looks at the clock it
/// is one at the least (`Watch::pages`).
const PAGES_PER_LOOK: u64 = 8;
const BYTES_PER_LOOK: u64 = 32 << 10;

/// The result of a builtin, or why wasm is left.
pub(super) type Result<T> = std::result::Result<T, Box<Unwind>>;

/// A call of a builtin that is running: the store and the calling instance.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub(super) store: *mut Store,
    pub(super) context: *mut VMContext,
}

/// Runs a builtin's body; a trap or a bug's panic unwinds wasm.
///
/// # Safety
///
/// Must be called with the context that machine code passed, as the last thing that the builtin
/// does and with nothing left to drop.
pub(super) unsafe fn run<R>(context: *mut VMContext, body: impl FnOnce(Call) -> Result<R>) -> R {
    // SAFETY: the context is that of an instance in a store.
    unsafe {
        let store = (*context).store.cast::<Store>();
        let call = Call { store, context };
        let unwind = match catch_unwind(AssertUnwindSafe(|| body(call))) {
            Ok(Ok(result)) => return result,
            Ok(Err(unwind)) => unwind,
            Err(panic) => Box::new(Unwind::Panic(panic)),
        };
        activation::unwind_with(store, unwind)
    }
}

macro_rules! entry_points {
    ($($(#[$doc:meta])* $name:ident($($param:ident),*) -> $result:tt;)*) => {
        /// The entry points, in the order of [`Builtin`].
        pub(crate) static ENTRY_POINTS: EntryPoints = EntryPoints([
            $($name as *const u8,)*
        ]);
    };
}
for_each_builtin!(entry_points);

/// Addresses of functions.
pub(crate) struct EntryPoints([*const u8; Builtin::ALL.len()]);

// SAFETY: the addresses of functions can be read from anywhere.
unsafe impl Sync for EntryPoints {}

impl EntryPoints {
    /// What contexts hold.
    pub(crate) fn as_ptr(&'static self) -> *const *const u8 {
        self.0.as_ptr()
    }
}

arch::refuelling!(out_of_fuel, out_of_fuel_scalar: refuel, go_on);
arch::attending!(interrupted, interrupted_scalar: attend);

/// Refuels, up to where the fiber is to be left if that is known here.
unsafe extern "C" fn refuel(context: *mut VMContext) -> Departure {
    // SAFETY: machine code called; the context is that of an instance in a store.
    unsafe {
        let departure = Store::next_slice((*context).store.cast());
        departure.unwrap_or_else(|| refuel_otherwise(context))
    }
}

#[cold]
#[inline(never)]
unsafe fn refuel_otherwise(context: *mut VMContext) -> Departure {
    // SAFETY: machine code called; `refuel` has no borrow across a suspension.
    unsafe { run(context, |call| Store::refuel(call.store)) };
    Departure::NONE
}

/// Goes on when the fiber that was left has been resumed.
unsafe extern "C" fn go_on(context: *mut VMContext, sp: *mut u8, word: Word) -> Departure {
    // SAFETY: machine code called, and assembly has made the switch of the suspender's departure; the
    // context is that of an instance in a store.
    unsafe {
        let call = Call { store: (*context).store.cast(), context };
        if call.suspender().arrive(sp, word).is_err() {
            leave_cancelled(context);
        }
        // What a slice is may be less than what the last one overdrew.
        if (*call.store).machine.fuel < 0 { refuel(context) } else { Departure::NONE }
    }
}

#[cold]
#[inline(never)]
unsafe fn leave_cancelled(context: *mut VMContext) -> ! {
    // SAFETY: as above; nothing is left to drop.
    match unsafe { run::<Infallible>(context, |_| Err(cancelled(Cancelled))) } {}
}

unsafe extern "C" fn attend(context: *mut VMContext) {
    // SAFETY: machine code called; `attend` has no borrow across a suspension.
    unsafe { run(context, |call| Store::attend(call.store)) }
}

/// Every method requires that the call is running on the guest's fiber, in a builtin.
impl Call {
    /// How the guest's fiber is suspended, for as long as the builtin runs.
    pub(super) unsafe fn suspender<'s>(self) -> &'s Suspender {
        // SAFETY: the activation whose wasm called is live, and so is the suspender of its fiber.
        unsafe { &*(*(*self.store).activation).suspender }
    }

    /// The instance that called.
    pub(super) unsafe fn instance(self) -> *mut Instance {
        // SAFETY: the context is that of an instance in the store; both are live while its builtin
        // runs.
        unsafe { &raw mut (&mut (*self.store).instances)[(*self.context).instance - 1] }
    }

    /// Charges for an operator that will not be done, and traps.
    pub(super) unsafe fn out_of_bounds(self, cost: u64, code: TrapCode) -> Result<()> {
        // SAFETY: nothing of the store is borrowed.
        unsafe {
            Store::charge(self.store, cost)?;
            Err(Store::trap(self.store, code))
        }
    }

    /// Charges for each chunk, then does it. The last chunk's rest below a whole unit is free, so
    /// that the cost is that of the whole length: chunks are whole numbers of units.
    pub(super) unsafe fn in_chunks(
        self,
        len: u64,
        chunk: u64,
        per_fuel: u64,
        mut work: impl FnMut(u64, u64),
    ) -> Result<()> {
        let page = chunk / PAGES_PER_LOOK;
        // SAFETY: nothing of the store is borrowed; the activation is live since its wasm called us.
        let mut watch =
            unsafe { (len > page).then(|| Watch::new(self.suspender(), (*self.store).held)) };
        let mut done = 0;
        while done < len {
            // However slow it is: how far a guest comes with its fuel must not depend on the clock.
            let end = done + chunk.min(len - done);
            // SAFETY: as above.
            let waited = unsafe {
                if done > 0 && (*self.store).interrupts.is_some() {
                    // The guest's own checks are as far apart as the length says.
                    Store::attend(self.store)?;
                }
                let slices = (*self.store).fuel.slices();
                Store::charge(self.store, (end - done) / per_fuel)?;
                (*self.store).fuel.slices() != slices
            };
            let Some(watch) = &mut watch else {
                work(done, end - done);
                return Ok(());
            };
            if waited {
                watch.restart();
            }
            while done < end {
                let now = (page * watch.pages()).min(end - done);
                work(done, now);
                done += now;
                watch.look().map_err(cancelled)?;
                // SAFETY: as above.
                unsafe { (*self.store).held = watch.held() };
            }
        }
        Ok(())
    }
}

fn cancelled(_: Cancelled) -> Box<Unwind> {
    Box::new(Unwind::Cancelled)
}
