//! Fuel from outside, as the embedder sees it: tanks, parking, and handles.

use std::borrow::Borrow;
use std::num::NonZeroU64;
use std::sync::Arc;

use anyhow::{Result, bail};
use lampwick_tanks::FuelTank;

use super::{Store, StoreContextMut, StoreInner};
use crate::vm::control::{Commands, Control};
use crate::vm::supply::FuelPolicy;

/// Refuels, pauses and stops the guests of one store, from any thread, while they run. From
/// [`Store::fuel_handle`].
///
/// A guest hears its handles where its slice of fuel ends, and within 50,000 units, some 10 µs of
/// computing, whatever its slices are: from the first handle on its fuel is handed to it in spans of that
/// length, which show in nothing else. What is charged at once comes on top of that: a straight line of
/// code, a thousand operators at the most, or a part of an operator whose work the guest sizes, such as
/// 32 KiB of `memory.fill`. A guest that waits, for fuel or because it is paused, hears them at once.
/// Where the engine's code looks for interrupts or epochs
/// ([`Config::interruptable`](crate::Config::interruptable),
/// [`Config::epoch_interruption`](crate::Config::epoch_interruption)), a guest pauses and stops at
/// its next function entry or loop head. Host functions are not disturbed.
///
/// Cloning is cheap and gives a handle for the same store, which it does not keep alive. When the
/// store is gone, handles do nothing.
#[derive(Clone, Debug)]
pub struct FuelHandle {
    control: Arc<Control>,
    is_async: bool,
}

impl FuelHandle {
    /// The units of fuel that the store's guests had burned when they last listened.
    pub fn consumed(&self) -> u64 {
        self.control.consumed()
    }

    /// The units of fuel that the store had when its guests last listened, and what handles
    /// [added](Self::add) since. What it may still draw or have injected is not counted.
    pub fn remaining(&self) -> u64 {
        self.control.remaining()
    }

    /// Adds units of fuel to what the store has. A guest that is out of fuel and waits goes on.
    ///
    /// Fuel saturates at its maximum, which no guest lives to burn.
    pub fn add(&self, fuel: u64) {
        self.control.wish(false, |commands| commands.add = commands.add.saturating_add(fuel));
    }

    /// Changes how many units of fuel the guest burns in one poll, whatever its fuel comes from, as
    /// of its next slice; no more than this is left of the present one. It is what it yields behind
    /// ([`Store::fuel_async_yield_interval`]), draws at a time, and has injected at a time. 0 counts
    /// as 1.
    ///
    /// # Panics
    ///
    /// Panics where the store's engine is not async.
    pub fn set_slice(&self, fuel: u64) {
        self.assert_async("yield");
        let slice = NonZeroU64::new(fuel).unwrap_or(NonZeroU64::MIN);
        self.control.wish(false, |commands| commands.slice = Some(slice));
    }

    /// Changes what happens when fuel is gone. Where the store drew from a tank, it gives back what
    /// it drew ahead.
    ///
    /// # Panics
    ///
    /// Panics where the store's engine is not async, but for [`FuelPolicy::Trap`].
    pub fn set_policy(&self, policy: FuelPolicy) {
        if !matches!(policy, FuelPolicy::Trap) {
            self.assert_async("wait for fuel");
        }
        drop(self.control.wish(false, |commands| commands.policy.replace(policy)));
    }

    /// Suspends the guest as soon as it listens, which is within 50,000 units of fuel (see above), or the
    /// next guest if none runs, until [`resume`](Self::resume): the future of its call stays pending and
    /// costs nothing. What it drew from a tank and has not burned goes back, unless it was heard at a
    /// check for interrupts or epochs.
    ///
    /// # Panics
    ///
    /// Panics where the store's engine is not async.
    pub fn pause(&self) {
        self.assert_async("pause");
        self.control.wish(true, |commands| commands.paused = true);
    }

    /// Lets a paused guest go on.
    pub fn resume(&self) {
        self.control.wish(false, |commands| commands.paused = false);
    }

    /// Stops the guest as soon as it listens (see above), or the next guest if none runs: its call
    /// fails with a [`Trap`](crate::Trap) that has `error` as its source. The store can then be used
    /// again.
    ///
    /// Of several errors that no guest has seen, the first one counts.
    pub fn stop(&self, error: impl Into<anyhow::Error>) {
        let error = error.into();
        let late = self.control.wish(true, |commands| {
            let Commands { stop, .. } = commands;
            match stop {
                None => {
                    *stop = Some(error);
                    None
                }
                Some(_) => Some(error),
            }
        });
        drop(late);
    }

    fn assert_async(&self, what: &str) {
        assert!(
            self.is_async,
            "guests of this store cannot {what}: its engine is not async \
             (see `Config::async_support`)"
        );
    }
}

impl<T> StoreInner<T> {
    fn fuel_handle(&mut self) -> Result<FuelHandle> {
        if !self.engine.metered() {
            bail!(
                "guests of this store cannot be refuelled: the engine does not count fuel \
                 (see `Config::consume_fuel`)"
            );
        }
        let deadline = self.vm.interrupts.as_ref().map(|interrupts| interrupts.shared().clone());
        let new = || Control::new(deadline);
        let control = self.vm.fuel.control(&mut self.vm.machine.fuel, new);
        Ok(FuelHandle { control, is_async: self.engine.is_async() })
    }

    fn set_fuel_policy(&mut self, policy: FuelPolicy) {
        assert!(
            self.engine.is_async(),
            "cannot wait when out of fuel: the store's engine is not async \
             (see `Config::async_support`)"
        );
        self.vm.fuel.set_policy(policy);
    }
}

macro_rules! mirror {
    ($($ty:ty: $field:tt;)*) => { $(
        /// Fuel from outside: shared tanks, and refuelling of guests that run.
        impl<T> $ty {
            /// Lets guests draw from a tank when their fuel is gone: up to `slice` units, after which they yield, as
            /// behind [`out_of_fuel_async_yield`](Self::out_of_fuel_async_yield). Where the tank is dry the future of the call stays
            /// pending until the guest has its turn and there is fuel; see [`FuelTank`] for the order.
            ///
            /// One poll burns no more than `slice` units and those of the straight-line code behind the last check, which
            /// are taken off the next slice. What the store has itself ([`add_fuel`](Self::add_fuel)) is burned first. A `slice` of 0 counts as 1.
            ///
            /// What was drawn and not burned goes back to the tank when the call's future is dropped while the guest waits for fuel or
            /// yields, when the store is dropped, and with [`set_fuel`](Self::set_fuel); after a call that ended otherwise the store's next
            /// call goes on with it. When the tank is closed the guest traps, with [`TankClosed`](crate::TankClosed) as the source.
            ///
            /// ```
            /// use lampwick::{Config, Engine, FuelTank, Instance, Module, Store, TankClosed};
            /// use std::error::Error;
            ///
            /// # #[tokio::main(flavor = "current_thread")]
            /// # async fn main() -> anyhow::Result<()> {
            /// let engine = Engine::new(Config::new().async_support(true).consume_fuel(true))?;
            /// let module = Module::new(&engine, r#"(module (func (export "forever") (loop (br 0))))"#)?;
            /// let tank = FuelTank::new(1_000_000);
            /// let mut store = Store::new(&engine, ());
            /// store.out_of_fuel_async_draw(&tank, 10_000);
            /// let instance = Instance::new_async(&mut store, &module, &[]).await?;
            /// let forever = instance.get_typed_func::<(), (), _>(&mut store, "forever")?;
            /// let guest = tokio::spawn(async move { forever.call_async(&mut store, ()).await });
            ///
            /// tank.add(500_000);
            /// while tank.level() > 0 {
            ///     tokio::task::yield_now().await;
            /// }
            /// tank.close();
            /// let trap = guest.await?.unwrap_err();
            /// assert!(trap.source().unwrap().is::<TankClosed>());
            /// # Ok(())
            /// # }
            /// ```
            /// # Panics
            ///
            /// Panics where the engine is not async.
            pub fn out_of_fuel_async_draw(&mut self, tank: impl Borrow<FuelTank>, slice: u64) {
                let tank = tank.borrow().clone();
                self.$field.set_fuel_policy(FuelPolicy::Draw { tank, slice });
            }

            /// Lets guests wait when their fuel is gone: the future of the call stays pending until a
            /// [`FuelHandle`] adds fuel, or changes this. Together with a timeout it is a pause, not an end.
            ///
            /// ```
            /// use lampwick::{Config, Engine, Instance, Module, Store};
            ///
            /// # #[tokio::main(flavor = "current_thread")]
            /// # async fn main() -> anyhow::Result<()> {
            /// let engine = Engine::new(Config::new().async_support(true).consume_fuel(true))?;
            /// let wat = r#"(module (func (export "run") (param i32)
            ///     (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"#;
            /// let module = Module::new(&engine, wat)?;
            /// let mut store = Store::new(&engine, ());
            /// store.out_of_fuel_async_park();
            /// let handle = store.fuel_handle()?;
            /// let instance = Instance::new_async(&mut store, &module, &[]).await?;
            /// let run = instance.get_typed_func::<i32, (), _>(&mut store, "run")?;
            /// let guest = tokio::spawn(async move { run.call_async(&mut store, 1_000).await });
            ///
            /// handle.add(5_000);
            /// guest.await??;
            /// # Ok(())
            /// # }
            /// ```
            /// # Panics
            ///
            /// Panics where the engine is not async.
            pub fn out_of_fuel_async_park(&mut self) {
                self.$field.set_fuel_policy(FuelPolicy::Park);
            }

            /// A handle with which any thread can refuel, pause and stop this store's guests while they run.
            ///
            /// ```
            /// use lampwick::{Config, Engine, Instance, Module, Store};
            ///
            /// # #[derive(Debug)]
            /// # struct Evicted;
            /// # impl std::fmt::Display for Evicted {
            /// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("evicted") }
            /// # }
            /// # impl std::error::Error for Evicted {}
            /// # fn main() -> anyhow::Result<()> {
            /// let engine = Engine::new(Config::new().consume_fuel(true))?;
            /// let module = Module::new(&engine, r#"(module (func (export "forever") (loop (br 0))))"#)?;
            /// let mut store = Store::new(&engine, ());
            /// store.add_fuel(u64::MAX)?;
            /// let handle = store.fuel_handle()?;
            /// let instance = Instance::new(&mut store, &module, &[])?;
            /// let forever = instance.get_typed_func::<(), (), _>(&mut store, "forever")?;
            ///
            /// let watch = std::thread::spawn(move || {
            ///     while handle.consumed() < 10_000_000 {
            ///         std::thread::yield_now();
            ///     }
            ///     handle.stop(Evicted);
            /// });
            /// let error = anyhow::Error::from(forever.call(&mut store, ()).unwrap_err());
            /// assert!(error.chain().any(|error| error.is::<Evicted>()));
            /// # watch.join().unwrap();
            /// # Ok(())
            /// # }
            /// ```
            /// # Errors
            ///
            /// Fails where the engine does not count fuel.
            pub fn fuel_handle(&mut self) -> Result<FuelHandle> {
                self.$field.fuel_handle()
            }
        }
    )* };
}

mirror! {
    Store<T>: inner;
    StoreContextMut<'_, T>: 0;
}
