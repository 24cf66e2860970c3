//! Tanks, as an embedder sees them.

use std::fmt;

use crate::sync::Arc;
use crate::tree::{Place, Tree};

/// A reservoir of fuel that many guests draw from, on any threads.
///
/// Cloning is cheap and gives the same tank. A new tank is empty: [`add`](Self::add) fills it, or a
/// [rate](Self::with_rate) does. Guests that find it dry wait, and are served in turn when there is
/// fuel again.
///
/// ```
/// # use lampwick_tanks::FuelTank;
/// let machine = FuelTank::new(1_000_000);
/// assert_eq!(machine.add(1_200_000), 200_000, "what does not fit is refused");
/// assert_eq!(machine.level(), 1_000_000);
///
/// // Three quarters for one tenant and a quarter for the other, as long as both want fuel.
/// let (large, small) = (machine.child(3), machine.child(1));
/// # drop((large, small));
/// assert_eq!(machine.drain(), 1_000_000);
/// ```
///
/// # Shares
///
/// Tanks form trees: a [`child`](Self::child) has what is added to it, and beyond that draws from
/// its parent. As long as there is fuel, guests get it as they come. Where it is short, those who
/// wait share it: at each tank its children by weight, and the guests that draw from it directly as
/// children of weight one. Those who are equal in this are served first come, first served. Who
/// does not wait leaves its share to the others, and is not owed it later.
///
/// Where there is enough fuel but not enough workers to burn it, guests of a tokio runtime share
/// these in the same way: each waits behind its slice until it is its turn by weight. Of one
/// who sleeps in a host function, or is gone, the others notice nothing. No guest runs on more than
/// one worker at a time, so that one guest does not get three quarters of two.
///
/// # What guests hold
///
/// A guest draws up to a slice at a time. Where there is plenty, or where the shares of those who
/// wait demand it, it draws ahead, which [`level`](Self::level) then no longer shows: up to 8
/// slices, or what the rate makes in 4 ms, if that is more; and where there is plenty what it burns in
/// a turn, up to 64 slices and 640,000 units. It gives back what it has not used when
/// its future is dropped while it waits or yields, and when its store is dropped, to the tank that
/// it came from.
#[derive(Clone)]
pub struct FuelTank(Arc<Place>);

impl FuelTank {
    /// An empty tank that holds up to `capacity` units.
    pub fn new(capacity: u64) -> Self {
        Self(Tree::with_root(capacity))
    }

    /// A tank that is empty now, gets `fuel_per_second` units each second, evenly, and keeps up to
    /// `burst` of them for those who come later: a token bucket.
    ///
    /// Its level is computed when somebody looks. There is a timer only while a guest waits for
    /// it: inside a tokio runtime a task there, which goes by the runtime's clock; elsewhere, and
    /// without the feature `tokio`, a thread. It ticks each millisecond at the most, and what the rate
    /// makes between two ticks is not lost to those who wait, even where it exceeds `burst`. At a rate
    /// a guest is woken for a whole slice, or for less after 10 ms.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lampwick_tanks::FuelTank;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let tank = FuelTank::with_rate(1_000_000, 50_000);
    /// tokio::time::sleep(Duration::from_millis(20)).await;
    /// assert_eq!(tank.level(), 20_000);
    /// tokio::time::sleep(Duration::from_millis(200)).await;
    /// assert_eq!(tank.level(), 50_000);
    /// # }
    /// ```
    pub fn with_rate(fuel_per_second: u64, burst: u64) -> Self {
        let tank = Self::new(burst);
        tank.set_rate(fuel_per_second);
        tank
    }

    /// Gives the tank another rate from now on, in units a second. Zero, that of a tank from
    /// [`new`](Self::new), makes nothing.
    pub fn set_rate(&self, fuel_per_second: u64) {
        self.0.with(|ledger, id, now| ((), ledger.set_rate(id, fuel_per_second, now)));
    }

    /// A tank under this one, which is empty, has no rate, and holds whatever is added to it.
    ///
    /// Fuel of its own it uses first. Then it has a share of this one's: where that is short,
    /// `weight` parts of it against its siblings' weights. With weight 0 it gets what its siblings
    /// leave. What it has when its last guest and handle are gone becomes this one's.
    #[must_use = "a tank that nobody has is gone"]
    pub fn child(&self, weight: u32) -> Self {
        Self(self.0.child(weight))
    }

    /// Adds fuel. Those who wait are served first; what then exceeds the capacity is refused, and
    /// its amount answered. A closed tank refuses all.
    pub fn add(&self, fuel: u64) -> u64 {
        self.0.with(|ledger, id, now| ledger.add(id, fuel, now))
    }

    /// Takes out all that the tank itself holds, and answers how much that was.
    pub fn drain(&self) -> u64 {
        self.0.with(|ledger, id, now| ledger.drain(id, now))
    }

    /// The units that the tank itself holds: neither what its parent does, nor what guests have
    /// drawn.
    pub fn level(&self) -> u64 {
        self.0.with(|ledger, id, now| ledger.level(id, now))
    }

    /// Closes the tank and all under it, for good. Their guests end with [`TankClosed`]: those who
    /// wait at once, the others when their slice is gone. What it holds can still be drained.
    pub fn close(&self) {
        self.0.close();
    }

    /// Whether it, or a tank above it, was closed.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    pub(crate) fn place(&self) -> &Arc<Place> {
        &self.0
    }
}

impl fmt::Debug for FuelTank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FuelTank").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

/// Why a guest ended: the tank that it drew its fuel from is closed. The source of its trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the fuel tank that the guest draws from is closed")]
pub struct TankClosed;
