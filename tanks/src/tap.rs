//! The end at which one guest draws.

use std::fmt;
use std::task::{Context, Poll, Waker};

use crate::ledger::{Drawn, Id};
use crate::sync::Arc;
use crate::tank::{FuelTank, TankClosed};
use crate::tree::{Place, Sleeper, wake};

/// The end of a [`FuelTank`] at which one guest draws. Taps of a tank have equal weight.
///
/// A tap may hold fuel that its guest has not asked for yet. Dropping it gives that back.
pub struct Tap {
    place: Arc<Place>,
    id: Id,
    /// Fuel that was drawn ahead.
    ahead: u64,
    /// What may still be burned in this turn.
    turn: u64,
    stage: Stage,
    ticket: Option<Waker>,
}

/// Where a tap is between two slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    /// Its turn goes on when the task is polled again.
    Yielded,
    /// It waits for its turn.
    InLine,
}

impl Tap {
    /// A tap of this tank.
    pub fn new(tank: &FuelTank) -> Self {
        let place = tank.place().clone();
        let id = place.tree().lock().ledger.add_tap(place.id);
        Self { place, id, ahead: 0, turn: 0, stage: Stage::Running, ticket: None }
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
        let sleeper = context.map(|context| Sleeper::of(context));
        let (mut woken, mut former) = (Vec::new(), None);
        let tree = self.place.tree();
        let now = tree.now();
        let mut state = tree.lock();
        let drawn = state.ledger.draw(self.id, slice, now, &mut woken);
        match (drawn, sleeper) {
            (Drawn::Dry, Some(sleeper)) => {
                former = state.ledger.set_waker(self.id, sleeper);
                tree.arm(state, self.id);
            }
            // It comes back to wait. Until then nobody may be kept waiting behind it.
            (Drawn::Dry, None) => {
                woken.extend(state.ledger.leave(self.id, 0).1);
                drop(state);
            }
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

    /// Lets others run before the `fuel` units that were drawn last are burned, for one poll at least:
    /// ready when it is the tap's turn.
    ///
    /// Turns are by weight, as fuel is where that is short. A tap that has a turn of several small
    /// slices only yields between them. Where all tanks have no other tap, and when the tank was
    /// closed, there is nobody to wait for. From the first poll until its turn, or until
    /// [`give_back`](Self::give_back), the tap has its place among those who wait; if it is not polled
    /// when its turn comes, the others have theirs nevertheless.
    pub fn poll_turn(&mut self, context: &mut Context<'_>, fuel: u64) -> Poll<()> {
        match self.stage {
            Stage::Running => {
                self.begin_turn(context, fuel);
                return Poll::Pending;
            }
            Stage::InLine if self.is_in_line(context) => return Poll::Pending,
            Stage::InLine | Stage::Yielded => {}
        }
        self.stage = Stage::Running;
        Poll::Ready(())
    }

    fn begin_turn(&mut self, context: &Context<'_>, fuel: u64) {
        let Sleeper { waker, queue } = Sleeper::of(context);
        if fuel <= self.turn {
            self.turn -= fuel;
            self.stage = Stage::Yielded;
            return match queue {
                Some(queue) => queue.push_first(waker),
                None => waker.wake(),
            };
        }
        let tree = self.place.tree();
        let sleeper = Sleeper { waker, queue: queue.clone() };
        let mut state = tree.lock();
        let burst = state.ledger.burst(fuel);
        let waits = state.ledger.wait_to_run(self.id, burst, sleeper);
        drop(state);
        self.turn = burst - fuel;
        match waits {
            Ok(former) => {
                drop(former);
                self.stage = Stage::InLine;
                let ticket = self.ticket.get_or_insert_with(|| tree.ticket()).clone();
                match queue {
                    Some(queue) => queue.push_alone(ticket),
                    None => ticket.wake(),
                }
            }
            Err(sleeper) => {
                self.stage = Stage::Yielded;
                wake(vec![sleeper]);
            }
        }
    }

    /// Whether it still waits for its turn, and if so for whoever polls now.
    fn is_in_line(&self, context: &Context<'_>) -> bool {
        let sleeper = Sleeper::of(context);
        let is_closed = self.place.is_closed();
        let mut state = self.place.tree().lock();
        let waits = !is_closed && state.ledger.waits_to_run(self.id);
        let former = match waits {
            true => state.ledger.set_waker(self.id, sleeper),
            false => state.ledger.stop_waiting_to_run(self.id),
        };
        drop(state);
        drop(former);
        waits
    }

    /// Ends the tap's waiting, if it waits, and gives back what it drew ahead and `unused` units
    /// that it had handed out.
    pub fn give_back(&mut self, unused: u64) {
        let unused = unused.saturating_add(std::mem::take(&mut self.ahead));
        (self.turn, self.stage) = (0, Stage::Running);
        let mut state = self.place.tree().lock();
        let (waker, woken) = state.ledger.leave(self.id, unused);
        drop(state);
        drop(waker);
        wake(woken);
    }
}

impl Tap {
    /// Takes what was burned beyond what was drawn from the tank, which may come to owe it: what then
    /// comes in pays for that first.
    pub fn owe(&mut self, overdrawn: u64) {
        self.place.tree().lock().ledger.owe(self.id, overdrawn);
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
