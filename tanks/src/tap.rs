//! The end at which one guest draws.

use std::fmt;
use std::task::{Context, Poll};

use crate::ledger::{Drawn, Id};
use crate::sync::Arc;
use crate::tank::{FuelTank, TankClosed};
use crate::tree::{Place, wake};

/// The end of a [`FuelTank`] at which one guest draws. Taps of a tank have equal weight.
///
/// A tap may hold fuel that its guest has not asked for yet. Dropping it gives that back.
pub struct Tap {
    place: Arc<Place>,
    id: Id,
    /// Fuel that was drawn ahead.
    ahead: u64,
}

impl Tap {
    /// A tap of this tank.
    pub fn new(tank: &FuelTank) -> Self {
        let place = tank.place().clone();
        let id = place.tree().lock().ledger.add_tap(place.id);
        Self { place, id, ahead: 0 }
    }

    /// Draws up to `slice` units, at least one, if there are any and nobody waits for them.
    ///
    /// Where it drew ahead before, this costs one look at whether the tank is closed.
    ///
    /// # Errors
    ///
    /// Fails where the tank is closed.
    #[inline]
    pub fn try_draw(&mut self, slice: u64) -> Result<Option<u64>, TankClosed> {
        if self.place.is_closed() {
            return Err(TankClosed);
        }
        if self.ahead == 0 {
            return self.draw_from_tank(slice.max(1), None);
        }
        Ok(Some(self.split(slice)))
    }

    /// As [`try_draw`](Self::try_draw), but waits: the task is woken when there is fuel for it, and
    /// all who came before and have no more than it have theirs. From the first poll that is
    /// pending until [`give_back`](Self::give_back) the tap has its place among those who wait,
    /// whether it is polled or not.
    ///
    /// # Errors
    ///
    /// Fails where the tank is closed.
    ///
    /// # Panics
    ///
    /// In a tokio runtime whose timers are disabled, if a tank with a rate is dry.
    pub fn poll_draw(
        &mut self,
        context: &mut Context<'_>,
        slice: u64,
    ) -> Poll<Result<u64, TankClosed>> {
        if self.place.is_closed() {
            return Poll::Ready(Err(TankClosed));
        }
        if self.ahead > 0 {
            return Poll::Ready(Ok(self.split(slice)));
        }
        match self.draw_from_tank(slice.max(1), Some(context)) {
            Ok(Some(fuel)) => Poll::Ready(Ok(fuel)),
            Ok(None) => Poll::Pending,
            Err(closed) => Poll::Ready(Err(closed)),
        }
    }

    fn split(&mut self, slice: u64) -> u64 {
        let fuel = self.ahead.min(slice.max(1));
        self.ahead -= fuel;
        fuel
    }

    fn draw_from_tank(
        &mut self,
        slice: u64,
        context: Option<&mut Context<'_>>,
    ) -> Result<Option<u64>, TankClosed> {
        // Cloning a waker is foreign code.
        let waker = context.map(|context| context.waker().clone());
        let (mut woken, mut former) = (Vec::new(), None);
        let tree = self.place.tree();
        let now = tree.now();
        let mut state = tree.lock();
        let drawn = state.ledger.draw(self.id, slice, now, &mut woken);
        match (drawn, waker) {
            (Drawn::Dry, Some(waker)) => {
                former = state.ledger.set_waker(self.id, waker);
                tree.arm(state, self.id);
            }
            // It comes back to wait. Until then nobody may be kept waiting behind it.
            (Drawn::Dry, None) => woken.extend(state.ledger.leave(self.id, 0).1),
            (Drawn::Fuel(_) | Drawn::Closed, _) => drop(state),
        }
        drop(former);
        wake(woken);
        match drawn {
            Drawn::Fuel(fuel) => {
                let now = fuel.min(slice);
                self.ahead = fuel - now;
                Ok(Some(now))
            }
            Drawn::Dry => Ok(None),
            Drawn::Closed => Err(TankClosed),
        }
    }

    /// Ends the tap's waiting, if it waits, and gives back what it drew ahead and `unused` units
    /// that it had handed out.
    pub fn give_back(&mut self, unused: u64) {
        let unused = unused.saturating_add(std::mem::take(&mut self.ahead));
        let mut state = self.place.tree().lock();
        let (waker, woken) = state.ledger.leave(self.id, unused);
        drop(state);
        drop(waker);
        wake(woken);
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.give_back(0);
        self.place.tree().lock().ledger.remove_tap(self.id);
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("ahead", &self.ahead).finish_non_exhaustive()
    }
}
