//! Fuel from outside: what a store does when its own is gone, beyond trapping and injecting, and
//! what handles have it do meanwhile.
//!
//! Most stores have no supply, and one look at a pointer behind each slice is all that they pay.
//! Where there is one, each slice ends here, and with a handle each span of one in which it wants
//! something: what handles want is done, then the store's own fuel is used up, then the tank's. A guest that has to wait does so on its fiber, in one future that
//! handles and tank wake.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::task::{Context, Poll};

use lampwick_tanks::{FuelTank, Tap};

use super::activation::Unwind;
use super::control::{Commands, Control};
use super::fuel::{Fuel, Refill};
use super::store::Store;

/// What a store does when its fuel is gone; for
/// [`FuelHandle::set_policy`](crate::FuelHandle::set_policy).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FuelPolicy {
    /// The guest traps: [`Store::out_of_fuel_trap`](crate::Store::out_of_fuel_trap).
    Trap,
    /// Fuel is added, up to `injections` times, each behind a yield:
    /// [`Store::out_of_fuel_async_yield`](crate::Store::out_of_fuel_async_yield).
    Yield {
        /// How often.
        injections: u64,
        /// How many units each time.
        fuel: u64,
    },
    /// Slices are drawn from a tank:
    /// [`Store::out_of_fuel_async_draw`](crate::Store::out_of_fuel_async_draw).
    Draw {
        /// Where from.
        tank: FuelTank,
        /// Units at a time, at the most.
        slice: u64,
    },
    /// The guest waits until a handle adds fuel:
    /// [`Store::out_of_fuel_async_park`](crate::Store::out_of_fuel_async_park).
    Park,
}

/// See the module's top.
#[derive(Debug, Default)]
pub(super) struct Supply {
    at_end: AtEnd,
    control: Option<Arc<Control>>,
}

/// What happens when the store's own fuel is gone.
#[derive(Debug, Default)]
enum AtEnd {
    /// What [`Fuel`] says: a trap.
    #[default]
    Trap,
    Park,
    Draw {
        tap: Tap,
        slice: u64,
        /// How much of what the store has was drawn.
        lent: u64,
    },
}

/// What a slice's end came to.
enum Step {
    /// See whether that was enough.
    GoOn,
    Yield,
    /// Begin a slice of this much from the tank when it is the guest's turn.
    Turn(u64),
    Wait,
    Pause,
    Fail(anyhow::Error),
    OutOfFuel,
}

impl Supply {
    /// The guest traps when fuel is gone. What a tap had ahead is given back.
    pub(super) fn end(&mut self) {
        self.at_end = AtEnd::Trap;
    }

    /// Notes what was drawn.
    pub(super) fn lend(&mut self, fuel: u64) {
        if let AtEnd::Draw { lent, .. } = &mut self.at_end {
            *lent = fuel;
        }
    }

    /// Fuel is about to be added to `remaining` units. It is the store's own, and burned before what
    /// is left of the tank's.
    pub(super) fn burn_added_first(&mut self, remaining: u64) {
        if let AtEnd::Draw { lent, .. } = &mut self.at_end {
            *lent = remaining.min(*lent);
        }
    }

    /// Gives back what was drawn of the store's `remaining` units; answers how much that is.
    pub(super) fn give_back(&mut self, remaining: u64) -> u64 {
        let AtEnd::Draw { tap, lent, .. } = &mut self.at_end else { return 0 };
        let unused = remaining.min(std::mem::take(lent));
        tap.give_back(unused);
        unused
    }

    /// Has the tank, if there is one, pay for what the store burned beyond its fuel.
    pub(super) fn owe(&mut self, overdrawn: u64) {
        if let AtEnd::Draw { tap, .. } = &mut self.at_end {
            tap.owe(overdrawn);
        }
    }

    /// Whether there is a handle that wants nothing new.
    #[inline]
    pub(super) fn hears_nothing(&self) -> bool {
        self.control.as_ref().is_some_and(|control| !control.has_changed())
    }

    #[inline]
    pub(super) fn control(&self) -> Option<&Arc<Control>> {
        self.control.as_ref()
    }
}

impl Fuel {
    /// Lets a store do what `policy` says when its fuel is gone.
    pub(crate) fn set_policy(&mut self, policy: FuelPolicy) {
        match policy {
            FuelPolicy::Trap => self.trap_when_gone(),
            FuelPolicy::Yield { injections, fuel } => self.inject_when_gone(injections, fuel),
            FuelPolicy::Park => {
                self.trap_when_gone();
                self.make_supply().at_end = AtEnd::Park;
            }
            FuelPolicy::Draw { tank, slice } => {
                self.trap_when_gone();
                let at_end = AtEnd::Draw { tap: Tap::new(&tank), slice, lent: 0 };
                self.make_supply().at_end = at_end;
            }
        }
    }

    /// The control that a store shares with its handles, made by `new` if there is none.
    pub(crate) fn control(
        &mut self,
        counter: &mut i64,
        new: impl FnOnce() -> Arc<Control>,
    ) -> Arc<Control> {
        let control = self.make_supply().control.get_or_insert_with(new).clone();
        self.begin_to_hear(counter);
        self.publish(*counter);
        control
    }

    /// Tells handles how much there is.
    #[inline]
    pub(super) fn publish(&self, counter: i64) {
        if let Some(control) = self.supply_ref().and_then(Supply::control) {
            control.publish(self.consumed(counter), self.remaining_units(counter));
        }
    }

    /// Does what handles want, and raises the counter if that can be done at once.
    fn step(&mut self, counter: &mut i64) -> Step {
        let commands = self.supply().and_then(|supply| supply.control()?.take());
        if let Some(commands) = commands {
            if let Err(step) = self.obey(counter, commands) {
                return step;
            }
            if *counter >= 0 {
                return Step::GoOn;
            }
        }
        match self.refill_own(counter) {
            Refill::Drawn => Step::GoOn,
            Refill::Yield => Step::Yield,
            Refill::Empty | Refill::Supply => self.draw(counter),
        }
    }

    fn obey(&mut self, counter: &mut i64, commands: Commands) -> Result<(), Step> {
        let Commands { add, policy, slice, paused, stop } = commands;
        if let Some(policy) = policy {
            self.set_policy(policy);
        }
        if let Some(slice) = slice {
            self.set_slice(counter, slice);
            self.set_drawn_slice(slice);
        }
        self.add(counter, add);
        match stop {
            Some(error) => Err(Step::Fail(error)),
            None if paused => Err(Step::Pause),
            None => Ok(()),
        }
    }

    fn set_drawn_slice(&mut self, to: NonZeroU64) {
        if let Some(Supply { at_end: AtEnd::Draw { slice, .. }, .. }) = self.supply() {
            *slice = to.get();
        }
    }

    fn draw(&mut self, counter: &mut i64) -> Step {
        let Some(supply) = self.supply() else { return Step::OutOfFuel };
        let AtEnd::Draw { tap, slice, .. } = &mut supply.at_end else {
            return if matches!(supply.at_end, AtEnd::Park) { Step::Wait } else { Step::OutOfFuel };
        };
        match tap.try_draw(*slice) {
            Ok(Some(fuel)) => {
                self.begin_with(counter, fuel);
                Step::Turn(fuel)
            }
            Ok(None) => Step::Wait,
            Err(closed) => Step::Fail(closed.into()),
        }
    }

    /// Waits for the turn to burn what was drawn.
    fn poll_turn(&mut self, context: &mut Context<'_>, fuel: u64) -> Poll<()> {
        match self.supply() {
            Some(Supply { at_end: AtEnd::Draw { tap, .. }, .. }) => tap.poll_turn(context, fuel),
            _ => Poll::Ready(()),
        }
    }

    /// Waits for whatever may let the guest go on. What it was is for the next step to find out,
    /// fuel from the tank aside.
    fn poll_supply(&mut self, counter: &mut i64, context: &mut Context<'_>) -> Poll<()> {
        let Some(supply) = self.supply() else { return Poll::Ready(()) };
        if let Some(control) = &supply.control
            && control.poll_commands(context).is_ready()
        {
            return Poll::Ready(());
        }
        match &mut supply.at_end {
            AtEnd::Draw { tap, slice, .. } => match tap.poll_draw(context, *slice) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(drawn) => {
                    // An error comes again when it is asked for in the next step.
                    if let Ok(fuel) = drawn {
                        self.begin_with(counter, fuel);
                    }
                    Poll::Ready(())
                }
            },
            AtEnd::Park => Poll::Pending,
            AtEnd::Trap => Poll::Ready(()),
        }
    }
}

impl Store {
    /// One step towards a counter above zero, where the store has a supply.
    ///
    /// # Safety
    ///
    /// As for [`Self::refuel`].
    #[cold]
    pub(super) unsafe fn resupply(this: *mut Self) -> Result<(), Box<Unwind>> {
        // SAFETY: each borrow ends before the fiber suspends.
        let step = unsafe {
            let Self { fuel, machine, .. } = &mut *this;
            let step = fuel.step(&mut machine.fuel);
            fuel.publish(machine.fuel);
            step
        };
        // SAFETY: by contract; nothing is borrowed.
        let suspended = unsafe {
            match step {
                Step::GoOn => return Ok(()),
                Step::Yield => Self::yield_now(this),
                Step::Turn(fuel) => Self::wait_for_turn(this, fuel),
                Step::Wait => Self::wait_for_supply(this),
                Step::Pause => {
                    // Who pauses does not keep others waiting.
                    (*this).give_fuel_back();
                    Self::attend_handles(this)
                }
                Step::Fail(error) => return Err(Self::failure(this, error)),
                Step::OutOfFuel => return Err(Self::out_of_fuel(this)),
            }
        };
        // SAFETY: nothing is borrowed, and the fiber is ours again.
        suspended.inspect_err(|_| unsafe { (*this).give_fuel_back() })
    }

    /// # Safety
    ///
    /// As for [`Self::refuel`].
    unsafe fn wait_for_supply(this: *mut Self) -> Result<(), Box<Unwind>> {
        // SAFETY: by contract.
        unsafe {
            let mut parked = false;
            Self::wait(this, |store, context| {
                let polled = store.fuel.poll_supply(&mut store.machine.fuel, context);
                if polled.is_pending() && !std::mem::replace(&mut parked, true) {
                    store.count_park();
                }
                polled
            })
        }
    }

    /// # Safety
    ///
    /// As for [`Self::refuel`].
    unsafe fn wait_for_turn(this: *mut Self, drawn: u64) -> Result<(), Box<Unwind>> {
        // SAFETY: by contract.
        unsafe { Self::wait(this, |store, context| store.fuel.poll_turn(context, drawn)) }
    }

    /// Suspends until `poll` is ready.
    ///
    /// # Safety
    ///
    /// As for [`Self::refuel`].
    unsafe fn wait(
        this: *mut Self,
        mut poll: impl FnMut(&mut Self, &mut Context<'_>) -> Poll<()>,
    ) -> Result<(), Box<Unwind>> {
        // SAFETY: the call borrows the store as long as its future exists, and who polls that polls
        // us, on the fiber; the borrow ends with the poll.
        let poll = |context: &mut Context<'_>| poll(unsafe { &mut *this }, context);
        // SAFETY: the activation is live since its wasm called us.
        let suspender = unsafe { &*(*(*this).activation).suspender };
        let waited = suspender.block_on(std::future::poll_fn(poll));
        waited.map_err(|_cancelled| Box::new(Unwind::Cancelled))
    }

    /// Does what handles want of a guest in the midst of a slice: to wait, or to stop. The fuel
    /// counter stays as it is.
    ///
    /// # Safety
    ///
    /// As for [`Self::refuel`].
    pub(super) unsafe fn attend_handles(this: *mut Self) -> Result<(), Box<Unwind>> {
        // SAFETY: each borrow ends before the fiber suspends, but for the control, which is shared;
        // the activation is live since its wasm called us.
        unsafe {
            let Some(control) = (&*this).fuel.supply_ref().and_then(Supply::control).cloned()
            else {
                return Ok(());
            };
            loop {
                if let Some(error) = control.take_stop() {
                    return Err(Self::failure(this, error));
                }
                if !control.is_paused() {
                    return Ok(());
                }
                (*this).count_park();
                let suspender = &*(*(*this).activation).suspender;
                let resumed = suspender.block_on(control.pause_ended());
                resumed.map_err(|_cancelled| Box::new(Unwind::Cancelled))?;
            }
        }
    }

    /// A trap of the guest with this error as its source.
    ///
    /// # Safety
    ///
    /// As for [`Self::trap`].
    #[cold]
    unsafe fn failure(this: *mut Self, error: anyhow::Error) -> Box<Unwind> {
        // SAFETY: by contract.
        Box::new(Unwind::Host(error, unsafe { Self::backtrace(this) }))
    }

    /// Gives back what was drawn and not burned, and tells handles what was.
    pub(crate) fn give_fuel_back(&mut self) {
        self.fuel.give_back(&mut self.machine.fuel);
        self.fuel.publish(self.machine.fuel);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.give_fuel_back();
        self.fuel.settle(self.machine.fuel);
        self.note_guests();
    }
}
