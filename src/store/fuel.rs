//! Fuel, as the embedder sees it.

use std::num::NonZeroU64;

use anyhow::{Result, anyhow, bail, ensure};

use super::{Store, StoreContext, StoreContextMut, StoreInner};

impl<T> StoreInner<T> {
    fn metered(&self, what: &str) -> Result<()> {
        if self.engine.metered() {
            return Ok(());
        }
        bail!("cannot {what} fuel: the engine does not count it (see `Config::consume_fuel`)")
    }

    fn fuel_consumed(&self) -> Option<u64> {
        self.engine.metered().then(|| self.vm.fuel.consumed(self.vm.machine.fuel))
    }

    fn add_fuel(&mut self, fuel: u64) -> Result<()> {
        self.metered("add")?;
        self.vm.fuel.add(&mut self.vm.machine.fuel, fuel);
        Ok(())
    }

    fn consume_fuel(&mut self, fuel: u64) -> Result<u64> {
        self.metered("consume")?;
        let remaining = self.vm.fuel.remaining(self.vm.machine.fuel);
        let taken = self.vm.fuel.take(&mut self.vm.machine.fuel, fuel);
        taken.ok_or_else(|| anyhow!("cannot consume {fuel} of {remaining} units of fuel"))
    }

    fn set_fuel(&mut self, fuel: u64) -> Result<()> {
        self.metered("set")?;
        self.vm.fuel.set(&mut self.vm.machine.fuel, fuel);
        Ok(())
    }

    fn get_fuel(&self) -> Result<u64> {
        self.metered("get")?;
        let remaining = self.vm.fuel.remaining(self.vm.machine.fuel).max(0);
        Ok(u64::try_from(remaining).unwrap_or(u64::MAX))
    }

    fn fuel_async_yield_interval(&mut self, interval: Option<u64>) -> Result<()> {
        self.metered("yield by")?;
        ensure!(
            self.engine.is_async(),
            "cannot yield by fuel: the store's engine is not async (see `Config::async_support`)"
        );
        ensure!(interval != Some(0), "cannot yield each 0 units of fuel: 1 is the least");
        let interval = interval.and_then(NonZeroU64::new);
        self.vm.fuel.yield_every(&mut self.vm.machine.fuel, interval);
        Ok(())
    }

    fn out_of_fuel_async_yield(&mut self, injections: u64, slice: u64) {
        assert!(
            self.engine.is_async(),
            "cannot yield when out of fuel: the store's engine is not async \
             (see `Config::async_support`)"
        );
        self.vm.fuel.inject_when_gone(injections, slice);
    }
}

macro_rules! mirror {
    ($($ty:ty: $field:tt;)*) => { $(
        /// Fuel: what a guest may spend on computing, where [`Config::consume_fuel`](crate::Config::consume_fuel) is on.
        impl<T> $ty {
            /// The units of fuel that guests of this store and [`consume_fuel`](Self::consume_fuel) have
            /// burned so far; `None` where the engine does not count fuel.
            ///
            /// It is exact whenever the host can look: in a host function, after a call, and after a trap.
            pub fn fuel_consumed(&self) -> Option<u64> {
                self.$field.fuel_consumed()
            }

            /// Adds fuel for guests to burn. A new store has none.
            ///
            /// Entering a function costs one unit, and so does every operator but `nop`, `drop`, `block`, `loop`, `else`,
            /// `end`, `unreachable` and `return`, which are free. Operators whose work a guest sizes cost
            /// more, whatever comes of them: `memory.init`, `memory.copy` and `memory.fill` one for each whole 64 bytes,
            /// `table.init`, `table.copy`, `table.fill` and `table.grow` one for each whole 8 elements,
            /// `memory.grow` one for each page.
            ///
            /// Fuel saturates at its maximum, which no guest lives to burn.
            ///
            /// ```
            /// use lampwick::{Config, Engine, Instance, Module, Store};
            ///
            /// # fn main() -> anyhow::Result<()> {
            /// let engine = Engine::new(Config::new().consume_fuel(true))?;
            /// let module = Module::new(&engine, r#"(module (func (export "forever") (loop (br 0))))"#)?;
            /// let mut store = Store::new(&engine, ());
            /// store.add_fuel(10_000)?;
            /// let instance = Instance::new(&mut store, &module, &[])?;
            /// let forever = instance.get_typed_func::<(), (), _>(&mut store, "forever")?;
            /// let trap = forever.call(&mut store, ()).unwrap_err();
            /// assert!(trap.to_string().contains("all fuel consumed by WebAssembly"));
            /// assert!(store.fuel_consumed().unwrap() >= 10_000);
            /// # Ok(())
            /// # }
            /// ```
            /// # Errors
            ///
            /// Fails where the engine does not count fuel.
            pub fn add_fuel(&mut self, fuel: u64) -> Result<()> {
                self.$field.add_fuel(fuel)
            }

            /// Burns fuel for work that the host did for a guest, and answers what is left.
            ///
            /// ```
            /// # use lampwick::{Config, Engine, Store};
            /// # fn main() -> anyhow::Result<()> {
            /// # let engine = Engine::new(Config::new().consume_fuel(true))?;
            /// # let mut store = Store::new(&engine, ());
            /// store.add_fuel(100)?;
            /// assert_eq!(store.consume_fuel(60)?, 40);
            /// assert!(store.consume_fuel(40).is_err());
            /// assert_eq!(store.fuel_consumed(), Some(60));
            /// # Ok(())
            /// # }
            /// ```
            /// # Errors
            ///
            /// Fails, without burning any, where no less than `fuel` is left, or where the engine does not count fuel.
            pub fn consume_fuel(&mut self, fuel: u64) -> Result<u64> {
                self.$field.consume_fuel(fuel)
            }

            /// Sets what guests may still burn, in units of fuel, whatever was left. A new store has none. What was
            /// [consumed](Self::fuel_consumed) so far stays as it is.
            ///
            /// # Errors
            ///
            /// Fails where the engine does not count fuel.
            pub fn set_fuel(&mut self, fuel: u64) -> Result<()> {
                self.$field.set_fuel(fuel)
            }

            /// What guests may still burn, in units of fuel; 0 where they have burned all, or a bit more with the
            /// straight-line code behind the last check. What
            /// [`out_of_fuel_async_yield`](Self::out_of_fuel_async_yield) has yet to inject is not counted.
            ///
            /// # Errors
            ///
            /// Fails where the engine does not count fuel.
            pub fn get_fuel(&self) -> Result<u64> {
                self.$field.get_fuel()
            }

            /// Lets guests yield whenever they have burned `interval` units of the fuel that the store has, from now on:
            /// the future of the call answers `Poll::Pending`, having arranged to be polled again, and the guest then
            /// goes on. No fuel is added. `None`, the default, ends it.
            ///
            /// One poll thus burns no more than `interval` units and those of the straight-line code behind
            /// the last check. Slices go on from one call to the next, and where fuel is added or set.
            /// When the store's fuel is gone the guest traps, or gets what
            /// [`out_of_fuel_async_yield`](Self::out_of_fuel_async_yield) injects, which is then cut into slices, too.
            ///
            /// ```
            /// # use lampwick::{Config, Engine, Store};
            /// # fn main() -> anyhow::Result<()> {
            /// let engine = Engine::new(Config::new().async_support(true).consume_fuel(true))?;
            /// let mut store = Store::new(&engine, ());
            /// // A guest may burn a million units, and no more than 10,000 of them in one poll.
            /// store.set_fuel(1_000_000)?;
            /// store.fuel_async_yield_interval(Some(10_000))?;
            /// # Ok(())
            /// # }
            /// ```
            /// # Errors
            ///
            /// Fails where the engine does not count fuel or is not async, and if `interval` is 0.
            pub fn fuel_async_yield_interval(&mut self, interval: Option<u64>) -> Result<()> {
                self.$field.fuel_async_yield_interval(interval)
            }

            /// Lets guests trap when their fuel is gone: the default.
            ///
            /// The trap's text contains `all fuel consumed by WebAssembly`.
            pub fn out_of_fuel_trap(&mut self) {
                self.$field.vm.fuel.trap_when_gone();
            }

            /// Lets guests yield when their fuel is gone: up to `injection_count` times
            /// `fuel_to_inject` is added, the future of the call answers `Poll::Pending`, having arranged to be polled again, and
            /// the guest then goes on. After that it traps.
            ///
            /// One poll thus burns no more than `fuel_to_inject` units and those of the
            /// straight-line code behind the last check; checks are at function entries, at
            /// loop heads, and wherever a thousand operators come in a row.
            ///
            /// Inside tokio, guests that yield wait for one another in a line of the runtime's: timers
            /// and sockets wait for about two of their slices, however many they are.
            ///
            /// ```
            /// use lampwick::{Config, Engine, Instance, Module, Store};
            ///
            /// # #[tokio::main(flavor = "current_thread")]
            /// # async fn main() -> anyhow::Result<()> {
            /// let engine = Engine::new(Config::new().async_support(true).consume_fuel(true))?;
            /// let module = Module::new(&engine, r#"(module (func (export "forever") (loop (br 0))))"#)?;
            /// let mut store = Store::new(&engine, ());
            /// store.out_of_fuel_async_yield(9, 10_000);
            /// let instance = Instance::new_async(&mut store, &module, &[]).await?;
            /// let forever = instance.get_typed_func::<(), (), _>(&mut store, "forever")?;
            /// // Other tasks run nine times meanwhile.
            /// forever.call_async(&mut store, ()).await.unwrap_err();
            /// assert!((90_000..90_100).contains(&store.fuel_consumed().unwrap()));
            /// # Ok(())
            /// # }
            /// ```
            /// # Panics
            ///
            /// Panics where the engine is not async.
            pub fn out_of_fuel_async_yield(&mut self, injection_count: u64, fuel_to_inject: u64) {
                self.$field.out_of_fuel_async_yield(injection_count, fuel_to_inject);
            }
        }
    )* };
}

mirror! {
    Store<T>: inner;
    StoreContextMut<'_, T>: 0;
}

impl<T> StoreContext<'_, T> {
    /// As [`Store::fuel_consumed`].
    pub fn fuel_consumed(&self) -> Option<u64> {
        self.0.fuel_consumed()
    }

    /// As [`Store::get_fuel`].
    ///
    /// # Errors
    ///
    /// Fails where the engine does not count fuel.
    pub fn get_fuel(&self) -> Result<u64> {
        self.0.get_fuel()
    }
}
