//! What guests have cost, where their engine keeps accounts.
//!
//! Fuel and slices are counted anyway, and sizes are looked up when somebody asks. The rest is counted
//! here, in a box that stores of other engines do not have: host calls by a function that is put in
//! front of them, time by two looks at the clock in each *turn*, which is a poll of a call's future or
//! a whole synchronous call. Calls that host functions make belong to the turn that they are in.
//!
//! No guest chooses how much is kept: an account is a few numbers, which saturate.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};
use std::time::Duration;

use lampwick_fibers::{PerWorker, Shared};
use quanta::Clock;

use super::activation;
use super::store::Store;

/// What turns are measured with. It takes about a millisecond to make.
static CLOCK: LazyLock<Clock> = LazyLock::new(Clock::new);

/// How many guests an engine has. Each thread counts with its group; only the sums mean something.
#[derive(Debug)]
pub(crate) struct Gauges(PerWorker<Gauge>);

#[derive(Debug, Default)]
struct Gauge {
    guests: AtomicIsize,
    suspended: AtomicIsize,
}

impl Gauges {
    pub(crate) fn new() -> Self {
        LazyLock::force(&CLOCK);
        Self(PerWorker::new(Gauge::default))
    }

    /// How many guests there are.
    pub(crate) fn guests(&self) -> usize {
        self.sum(|gauge| &gauge.guests)
    }

    /// How many of them are suspended.
    pub(crate) fn suspended(&self) -> usize {
        self.sum(|gauge| &gauge.suspended)
    }

    fn sum(&self, of: fn(&Gauge) -> &AtomicIsize) -> usize {
        let sum: isize = self.0.iter().map(|gauge| of(gauge).load(Relaxed)).sum();
        // A guest that changes threads meanwhile may be seen to go and not to come.
        sum.max(0) as usize
    }

    fn mine(&self) -> &Gauge {
        self.0.mine()
    }
}

/// What guests did in some turns.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Costs {
    pub(crate) host_calls: u64,
    pub(crate) parks: u64,
    pub(crate) turns: u64,
    /// In ticks of the clock, as below.
    busy: u64,
    longest_turn: u64,
}

impl Costs {
    pub(crate) fn and(self, later: Self) -> Self {
        Self {
            host_calls: self.host_calls.saturating_add(later.host_calls),
            parks: self.parks.saturating_add(later.parks),
            turns: self.turns.saturating_add(later.turns),
            busy: self.busy.saturating_add(later.busy),
            longest_turn: self.longest_turn.max(later.longest_turn),
        }
    }
}

/// A store's account. What each turn writes to comes first, in one cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Accounts {
    /// Of the last call of the host, which may be under way.
    pub(crate) call: Costs,
    /// The most bytes of stack that wasm was seen to take.
    pub(crate) peak_stack: usize,
    /// When the turn that is under way began, in ticks of the clock; 0 if none is.
    turn_began: u64,
    clock: &'static Clock,
    /// Whether `gauges` count this guest among the suspended.
    is_suspended: bool,
    /// Of all calls of the host but the last.
    earlier: Costs,
    /// Fuel that was consumed, and slices that were begun, before that call.
    before_call: (u64, u64),
    /// The most bytes of memories and tables that the store had before it lost some.
    pub(crate) peak_memory: u64,
    gauges: Shared<Gauges>,
}

impl Accounts {
    /// The account of a new guest.
    pub(crate) fn new(gauges: &Shared<Gauges>) -> Box<Self> {
        let gauges = gauges.local();
        gauges.mine().guests.fetch_add(1, Relaxed);
        Box::new(Self {
            gauges,
            earlier: Costs::default(),
            call: Costs::default(),
            before_call: (0, 0),
            peak_stack: 0,
            peak_memory: 0,
            turn_began: 0,
            clock: &CLOCK,
            is_suspended: false,
        })
    }

    /// Whether a poll or a synchronous call is under way.
    pub(crate) fn in_turn(&self) -> bool {
        self.turn_began != 0
    }

    /// The host begins a call, with so much fuel consumed and so many slices begun.
    pub(crate) fn begin_call(&mut self, fuel: u64, slices: u64) {
        self.earlier = self.total();
        self.call = Costs::default();
        self.before_call = (fuel, slices);
    }

    /// Fuel consumed and slices begun in this call.
    pub(crate) fn since_call_began(&self, fuel: u64, slices: u64) -> (u64, u64) {
        let (fuel_before, slices_before) = self.before_call;
        (fuel.saturating_sub(fuel_before), slices.saturating_sub(slices_before))
    }

    /// How long that was in all, and the longest turn.
    pub(crate) fn times(&self, costs: Costs) -> (Duration, Duration) {
        let time = |ticks| Duration::from_nanos(CLOCK.delta_as_nanos(0, ticks));
        (time(costs.busy), time(costs.longest_turn))
    }

    /// The time of all turns so far, that which is under way included.
    pub(crate) fn busy(&self) -> Duration {
        let now = match self.turn_began {
            0 => 0,
            began => self.clock.raw().saturating_sub(began),
        };
        let ticks = self.total().busy.saturating_add(now);
        Duration::from_nanos(CLOCK.delta_as_nanos(0, ticks))
    }

    /// Of all calls.
    pub(crate) fn total(&self) -> Costs {
        self.earlier.and(self.call)
    }

    /// Notes how much stack wasm takes between its entry and a frame.
    #[inline(always)]
    fn note_stack(&mut self, entry_sp: usize, fp: usize) {
        self.peak_stack = self.peak_stack.max(entry_sp.saturating_sub(fp));
    }

    #[inline(always)]
    fn set_suspended(&mut self, is_suspended: bool) {
        if is_suspended != self.is_suspended {
            self.change_suspended(is_suspended);
        }
    }

    #[cold]
    fn change_suspended(&mut self, is_suspended: bool) {
        self.is_suspended = is_suspended;
        let change = if is_suspended { 1 } else { -1 };
        self.gauges.mine().suspended.fetch_add(change, Relaxed);
    }

    #[inline(always)]
    fn end_turn(&mut self, is_suspended: bool) {
        // Processors need not agree on the time to the last tick.
        let took = self.clock.raw().saturating_sub(self.turn_began);
        let Costs { turns, busy, longest_turn, .. } = &mut self.call;
        // One by one it never wraps.
        *turns = turns.wrapping_add(1);
        *busy = busy.saturating_add(took);
        *longest_turn = took.max(*longest_turn);
        self.turn_began = 0;
        self.set_suspended(is_suspended);
    }
}

impl Drop for Accounts {
    fn drop(&mut self) {
        self.set_suspended(false);
        self.gauges.mine().guests.fetch_sub(1, Relaxed);
    }
}

/// A turn that is under way. It ends when this is dropped, by a panic, too.
pub(crate) struct Turn {
    store: *mut Store,
}

impl Turn {
    /// Begins a turn, if the store has an account and is not in one already.
    ///
    /// # Safety
    ///
    /// The store must outlive the turn. When the turn begins and ends nothing of it may be borrowed.
    #[inline(always)]
    pub(crate) unsafe fn begin(store: *mut Store) -> Option<Self> {
        // SAFETY: by contract.
        let accounts = unsafe { (*store).accounts.as_mut() }?;
        if accounts.in_turn() {
            return None;
        }
        // A tick more or less keeps it from being 0.
        accounts.turn_began = accounts.clock.raw() | 1;
        Some(Self { store })
    }
}

impl Drop for Turn {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: by contract of `begin`. Where the turn has left an activation its wasm has called
        // the host, which suspended it; or an earlier call was forgotten, as its wasm is still.
        unsafe {
            let Some(accounts) = &mut (*self.store).accounts else { return };
            let entry_sp = activation::entry_sp(self.store);
            if let Some(entry_sp) = entry_sp {
                accounts.note_stack(entry_sp, (*self.store).machine.exit_fp);
            }
            accounts.end_turn(entry_sp.is_some());
        }
    }
}

impl Store {
    /// Counts a call of a host function.
    ///
    /// # Safety
    ///
    /// Wasm of the store must just have called the host, and nothing of the store may be borrowed.
    #[inline]
    pub(super) unsafe fn count_host_call(this: *mut Self) {
        // SAFETY: by contract.
        unsafe {
            if let Some(accounts) = &mut (*this).accounts {
                accounts.call.host_calls = accounts.call.host_calls.saturating_add(1);
                Self::note_exit(this);
            }
        }
    }

    /// Counts a guest's wait for fuel, or for the end of a pause.
    pub(super) fn count_park(&mut self) {
        if let Some(accounts) = &mut self.accounts {
            accounts.call.parks = accounts.call.parks.saturating_add(1);
        }
    }

    /// Notes how much stack wasm of the innermost activation takes up to where it called the host.
    ///
    /// # Safety
    ///
    /// That wasm must have called the host, and nothing of the store may be borrowed.
    #[inline(always)]
    pub(super) unsafe fn note_exit(this: *mut Self) {
        // SAFETY: by contract.
        unsafe { Self::note_frame(this, (*this).machine.exit_fp) }
    }

    /// The same up to a frame of it.
    ///
    /// # Safety
    ///
    /// As above, but for the call of the host.
    #[inline(always)]
    pub(super) unsafe fn note_frame(this: *mut Self, fp: usize) {
        // SAFETY: by contract.
        unsafe {
            if let Some(entry_sp) = activation::entry_sp(this)
                && let Some(accounts) = &mut (*this).accounts
            {
                accounts.note_stack(entry_sp, fp);
            }
        }
    }

    /// Bytes of all memories and tables, and of the heap of structs and arrays.
    fn storage(&self) -> u64 {
        let memories = self.memories.iter().map(|memory| memory.value.bytes());
        let tables = self.tables.iter().map(|table| table.value.bytes());
        let objects = self.objects.iter().map(|objects| objects.heap.size() as u64);
        memories.chain(tables).chain(objects).fold(0, u64::saturating_add)
    }

    /// Notes what memories and tables take, some of which are about to go.
    pub(crate) fn note_storage(&mut self) {
        let now = self.storage();
        if let Some(accounts) = &mut self.accounts {
            accounts.peak_memory = accounts.peak_memory.max(now);
        }
    }

    /// The most bytes that memories, tables and objects ever took. They never shrink.
    pub(crate) fn peak_storage(&self) -> u64 {
        let noted = self.accounts.as_ref().map_or(0, |accounts| accounts.peak_memory);
        self.storage().max(noted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_saturate() {
        let most = Costs {
            host_calls: u64::MAX,
            parks: u64::MAX,
            turns: u64::MAX,
            busy: u64::MAX,
            longest_turn: u64::MAX,
        };
        let Costs { host_calls, parks, turns, busy, longest_turn } = most.and(most);
        assert_eq!((host_calls, parks, turns), (u64::MAX, u64::MAX, u64::MAX));
        assert_eq!((busy, longest_turn), (u64::MAX, u64::MAX));
    }

    #[test]
    fn a_gauge_that_is_seen_to_sink_below_zero_says_zero() {
        let gauges = Gauges::new();
        gauges.mine().guests.fetch_sub(1, Relaxed);
        assert_eq!(gauges.guests(), 0);
    }
}
