//! Refuelling a guest whose counter fell below zero, with the yields before it.

use lampwick_fibers::Departure;

use super::activation::Unwind;
use super::fuel::Refill;
use super::pace::LONG;
use super::store::Store;

/// The most fuel that is charged at a time; nothing that can be done takes as much. A guest that
/// asks for 2^64 of something, which then fails, does not sink its tank.
const MAX_CHARGE: u64 = u32::MAX as u64;

impl Store {
    /// Charges for work that a guest sized, with as many suspensions as that takes.
    ///
    /// # Safety
    ///
    /// As for [`Self::refuel`].
    pub(super) unsafe fn charge(this: *mut Self, cost: u64) -> Result<(), Box<Unwind>> {
        // SAFETY: the store is ours between suspensions.
        unsafe {
            if !(*this).metered {
                return Ok(());
            }
            (*this).machine.fuel -= cost.min(MAX_CHARGE) as i64;
            Self::refuel(this)
        }
    }

    /// Raises the fuel counter above zero again, or says why that cannot be.
    ///
    /// # Safety
    ///
    /// Must be called on a fiber, by a builtin or host function that wasm called. The fiber may
    /// suspend: nothing of the store may be borrowed.
    #[inline(always)]
    pub(super) unsafe fn refuel(this: *mut Self) -> Result<(), Box<Unwind>> {
        // SAFETY: each borrow ends before the fiber suspends; the activation is live since its wasm
        // called us.
        unsafe {
            while (*this).machine.fuel < 0 {
                let Self { fuel, machine, .. } = &mut *this;
                match fuel.refill(&mut machine.fuel) {
                    Refill::Drawn => {}
                    Refill::Yield => Self::yield_now(this)?,
                    Refill::Empty => return Err(Self::out_of_fuel(this)),
                    Refill::Supply => Self::resupply(this)?,
                }
            }
        }
        Ok(())
    }

    /// The same where it is simple, as it mostly is: a slice of the store's own fuel begins, before
    /// which the caller is to leave the fiber. Otherwise `refuel` has yet to do it.
    ///
    /// # Safety
    ///
    /// As for [`Self::refuel`].
    #[inline(always)]
    pub(super) unsafe fn next_slice(this: *mut Self) -> Option<Departure> {
        // SAFETY: by contract; the activation is live since its wasm called us.
        let (Self { fuel, machine, .. }, suspender) =
            unsafe { (&mut *this, &*(*(*this).activation).suspender) };
        let departure = suspender.departure()?;
        fuel.begins_slice(&mut machine.fuel).then_some(departure)
    }

    /// Lets other tasks run, where the fiber can suspend.
    ///
    /// # Safety
    ///
    /// As for [`Self::refuel`].
    #[inline(always)]
    pub(super) unsafe fn yield_now(this: *mut Self) -> Result<(), Box<Unwind>> {
        // SAFETY: by contract; the activation is live since its wasm called us.
        let suspender = unsafe { &*(*(*this).activation).suspender };
        suspender.yield_now().map_err(|_cancelled| Box::new(Unwind::Cancelled))
    }

    /// Takes note of an operator that takes some so many nanoseconds, which are many for its fuel, and
    /// lets others run where that adds up.
    ///
    /// # Safety
    ///
    /// As for [`Self::refuel`].
    #[inline]
    pub(super) unsafe fn took(this: *mut Self, nanoseconds: u32) -> Result<(), Box<Unwind>> {
        // SAFETY: by contract.
        unsafe {
            (*this).held = (*this).held.saturating_add(nanoseconds);
            if u128::from((*this).held) >= LONG.as_nanos() {
                Self::rest(this)?;
            }
        }
        Ok(())
    }

    /// Lets others run, if such operators have run since that was last done.
    ///
    /// # Safety
    ///
    /// As for [`Self::refuel`].
    #[cold]
    pub(super) unsafe fn rest(this: *mut Self) -> Result<(), Box<Unwind>> {
        // SAFETY: by contract.
        unsafe {
            match std::mem::take(&mut (*this).held) {
                0 => Ok(()),
                _ => Self::yield_now(this),
            }
        }
    }
}
