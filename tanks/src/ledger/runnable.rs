//! Those who have fuel, and wait for a processor to burn it.
//!
//! The ledger does not know how many processors there are, nor who runs. Whoever waits leaves a
//! *ticket* in a line elsewhere; when a ticket's turn comes, the one runs whose turn it is here. There
//! is a ticket for each who waits, so that nobody depends on somebody else's going on.

use super::{Id, Ledger, Scarce};

/// Small slices are burned several in a turn: as many as this many units make, some 30 us, but 100 at
/// the most, which take as long where a slice is so small that yielding is most of it.
const TURN: u64 = 160_000;
const SLICES_IN_TURN: u64 = 100;

/// Turns are longer, up to 4 times, where there are more than so many taps: there each turn takes the
/// ledger longer, for which others wait, and a tap waits long for its turn anyway.
const MANY: usize = 250;
const LONGER: usize = 4;

impl<W> Ledger<W> {
    /// What a turn is that begins with a slice of so many units.
    pub(crate) fn burst(&self, slice: u64) -> u64 {
        let longer = (self.taps.len() / MANY).clamp(1, LONGER) as u64;
        slice.saturating_mul((TURN * longer / slice.max(1)).clamp(1, SLICES_IN_TURN * longer))
    }

    /// Has a tap wait for a turn in which it may burn `burst` units. Answers the former waker.
    ///
    /// # Errors
    ///
    /// Gives the waker back where no tank has another tap, and there is nobody to wait for.
    pub(crate) fn wait_to_run(&mut self, tap: Id, burst: u64, waker: W) -> Result<Option<W>, W> {
        if self.taps.len() == 1 {
            return Err(waker);
        }
        self.taps[tap].burst = burst;
        self.enqueue(Scarce::Processor, tap);
        Ok(self.taps[tap].waker.replace(waker))
    }

    pub(crate) fn waits_to_run(&self, tap: Id) -> bool {
        self.taps[tap].member.standing[Scarce::Processor].turn.is_some()
    }

    /// Ends that, whether it was its turn or not. Answers its waker.
    pub(crate) fn stop_waiting_to_run(&mut self, tap: Id) -> Option<W> {
        self.dequeue(Scarce::Processor, tap);
        self.taps[tap].waker.take()
    }

    /// Gives the next turn, if somebody waits for it. Names whom to wake; somebody who is awake has left
    /// no waker.
    pub(crate) fn run_next(&mut self) -> Option<Option<W>> {
        // Tickets may outlive the tanks.
        let root = self.tanks.get(self.root)?;
        if root.lines[Scarce::Processor].queue.is_empty() {
            return None;
        }
        let tap = self.head(Scarce::Processor, self.root);
        self.dequeue(Scarce::Processor, tap);
        self.charge(Scarce::Processor, tap, self.root, self.taps[tap].burst.into());
        Some(self.taps[tap].waker.take())
    }
}
