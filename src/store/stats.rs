//! A store's account and its name, as the embedder sees them.

use std::time::Duration;

use super::{Store, StoreContext, StoreContextMut, StoreInner};
use crate::vm::accounts::Costs;

/// What the guests of a store have taken: [`Store::stats`].
///
/// Numbers saturate; none can be made to wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Units of fuel that were burned, as of now; zero where the engine does not count fuel.
    pub fuel: u64,
    /// Slices of fuel that guests were given, each behind a yield or a wait.
    pub slices: u64,
    /// How often a guest had to wait for fuel, or was paused. Zero without
    /// [`Config::accounts`](crate::Config::accounts), as are all below but memory.
    pub parks: u64,
    /// Calls of host functions.
    pub host_calls: u64,
    /// Polls of calls; a synchronous call is one. The one that is under way is not counted, nor is
    /// its time.
    pub polls: u64,
    /// Time that guests spent on workers, host functions included: from the start of each poll
    /// to its end. Where the system took the worker away for a while, that is included, too.
    /// Instantiation is not, but for start functions.
    pub busy: Duration,
    /// The longest of these polls.
    pub longest_poll: Duration,
    /// The most bytes that memories and tables together had at a time, touched or not.
    pub peak_memory: u64,
    /// The most bytes of stack that frames of wasm were seen to take on one stack: guests are looked
    /// at when they call a host function, are suspended, or trap. Deeper calls that came back in
    /// between are not seen.
    pub peak_stack: u64,
}

impl<T> StoreInner<T> {
    /// Fuel that was consumed, and slices that were given.
    pub(super) fn burned(&self) -> (u64, u64) {
        (self.vm.fuel.consumed(self.vm.machine.fuel), self.vm.fuel.slices())
    }

    fn stats(&self) -> StoreStats {
        let costs = self.vm.accounts.as_ref().map_or_else(Costs::default, |it| it.total());
        self.stats_of(costs, self.burned())
    }

    /// What was counted elsewhere, and what the store has.
    pub(super) fn stats_of(&self, costs: Costs, (fuel, slices): (u64, u64)) -> StoreStats {
        let Costs { host_calls, parks, turns, .. } = costs;
        let accounts = self.vm.accounts.as_ref();
        let (busy, longest_poll) = accounts.map_or_else(Default::default, |it| it.times(costs));
        StoreStats {
            fuel,
            slices,
            parks,
            host_calls,
            polls: turns,
            busy,
            longest_poll,
            peak_memory: self.vm.peak_storage(),
            peak_stack: accounts.map_or(0, |it| it.peak_stack as u64),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

macro_rules! mirror {
    ($($ty:ty: $field:tt;)*) => { $(
        /// Accounts, and the name under which they appear.
        impl<T> $ty {
            /// What the guests of this store have taken so far.
            ///
            /// ```
            /// use lampwick::{Config, Engine, Func, Instance, Module, Store};
            ///
            /// # fn main() -> anyhow::Result<()> {
            /// let engine = Engine::new(Config::new().consume_fuel(true).accounts(true))?;
            /// let wat = r#"(module (import "" "host" (func $host)) (memory 2)
            ///     (func (export "run") (call $host) (call $host)))"#;
            /// let mut store = Store::new(&engine, ());
            /// store.add_fuel(1_000)?;
            /// let host = Func::wrap(&mut store, || {});
            /// let instance = Instance::new(&mut store, &Module::new(&engine, wat)?, &[host.into()])?;
            /// instance.get_typed_func::<(), (), _>(&mut store, "run")?.call(&mut store, ())?;
            ///
            /// let stats = store.stats();
            /// assert_eq!((stats.fuel, stats.host_calls, stats.polls), (3, 2, 1));
            /// assert_eq!(stats.peak_memory, 2 * 65536);
            /// assert!(stats.longest_poll <= stats.busy);
            /// # Ok(())
            /// # }
            /// ```
            pub fn stats(&self) -> StoreStats {
                self.$field.stats()
            }

            /// What the guest is called; empty unless [set](Store::set_name).
            pub fn name(&self) -> &str {
                self.$field.name()
            }
        }
    )* };
}

mirror! {
    Store<T>: inner;
    StoreContext<'_, T>: 0;
    StoreContextMut<'_, T>: 0;
}

impl<T> Store<T> {
    /// Gives the guest a name, for spans and [reports](crate::CallReport) of calls that begin from
    /// now on. It is the embedder's to choose: nothing shortens it, and no guest can change it.
    pub fn set_name(&mut self, name: impl Into<Box<str>>) {
        self.inner.name = name.into();
    }
}

impl<T> StoreContextMut<'_, T> {
    /// As [`Store::set_name`].
    pub fn set_name(&mut self, name: impl Into<Box<str>>) {
        self.0.name = name.into();
    }
}
