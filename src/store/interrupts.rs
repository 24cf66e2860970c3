//! Interrupts and deadlines, as the embedder sees them.

use std::sync::Arc;

use anyhow::{Result, bail};

use super::{Store, StoreContext, StoreContextMut, StoreInner};
use crate::vm::interrupts::{AtDeadline, Deadline};

/// Interrupts the guests of one store, from any thread. From [`Store::interrupt_handle`].
///
/// Cloning is cheap and gives a handle for the same store, which it does not keep alive.
#[derive(Clone, Debug)]
pub struct InterruptHandle(Arc<Deadline>);

impl InterruptHandle {
    /// Sends an interrupt: the store's guest traps with
    /// [`TrapCode::Interrupt`](crate::TrapCode::Interrupt) at its next function entry or loop
    /// head.
    ///
    /// The first check that sees an interrupt consumes it; the store's next call runs as usual. An
    /// interrupt that no guest is there to see waits for the next one, and those that are sent
    /// meanwhile are one with it. When the store is gone this does nothing.
    ///
    /// It never waits, and may be called in a signal handler.
    pub fn interrupt(&self) {
        self.0.interrupt();
    }
}

impl<T> StoreInner<T> {
    fn interrupt_handle(&self) -> Result<InterruptHandle> {
        match &self.vm.interrupts {
            Some(interrupts) if self.engine.interruptable() => {
                Ok(InterruptHandle(interrupts.shared().clone()))
            }
            _ => bail!(
                "guests of this store cannot be interrupted: the engine's code does not look for it \
                 (see `Config::interruptable`)"
            ),
        }
    }

    fn set_epoch_deadline(&mut self, ticks: u64) {
        if let Some(interrupts) = &mut self.vm.interrupts {
            interrupts.set_deadline(ticks);
        }
    }

    fn at_deadline(&mut self, action: AtDeadline) {
        if let Some(interrupts) = &mut self.vm.interrupts {
            interrupts.at_deadline(action);
        }
    }

    fn epoch_deadline_async_yield_and_update(&mut self, delta: u64) {
        assert!(
            self.engine.is_async(),
            "cannot yield at a deadline: the store's engine is not async \
             (see `Config::async_support`)"
        );
        self.at_deadline(AtDeadline::Yield(delta));
    }
}

macro_rules! mirror {
    ($($ty:ty: $field:tt;)*) => { $(
        /// Interrupts and deadlines: how to stop a guest from outside.
        impl<T> $ty {
            /// A handle with which any thread can interrupt this store's guests, at any time.
            ///
            /// A guest looks for interrupts when it enters a function and at the head of each loop. Host functions are
            /// not interrupted, nor are operators whose work a guest sizes, such as `memory.fill`: the guest traps
            /// at the first check behind them. Give host functions that may take long an end of their own.
            ///
            /// ```
            /// # fn main() -> anyhow::Result<()> {
            /// use lampwick::{Config, Engine, Instance, Module, Store, TrapCode};
            ///
            /// let engine = Engine::new(Config::new().interruptable(true))?;
            /// let module = Module::new(&engine, r#"(module (func (export "run") (loop (br 0))))"#)?;
            /// let mut store = Store::new(&engine, ());
            /// let instance = Instance::new(&mut store, &module, &[])?;
            /// let run = instance.get_typed_func::<(), (), _>(&mut store, "run")?;
            ///
            /// let handle = store.interrupt_handle()?;
            /// std::thread::spawn(move || handle.interrupt());
            /// let trap = run.call(&mut store, ()).unwrap_err();
            /// assert_eq!(trap.trap_code(), Some(TrapCode::Interrupt));
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// Fails where [`Config::interruptable`](crate::Config::interruptable) is off.
            pub fn interrupt_handle(&self) -> Result<InterruptHandle> {
                self.$field.interrupt_handle()
            }

            /// Sets the deadline of this store's guests to so many epochs after the engine's present one. Zero is now.
            ///
            /// [`Engine::increment_epoch`](crate::Engine::increment_epoch) begins the next epoch, for all stores of an engine at
            /// once. A guest compares epoch and deadline when it enters a function and at the head of each loop; from the deadline on
            /// it traps with [`TrapCode::Interrupt`](crate::TrapCode::Interrupt), or yields after
            /// [`epoch_deadline_async_yield_and_update`](Self::epoch_deadline_async_yield_and_update). The deadline stays where it is until this is called
            /// again. The host's own code is not stopped by it.
            ///
            /// The deadline of a new store is the epoch in which it was made, so that its guests do
            /// nothing before this was called. It saturates at the last epoch, which never comes.
            ///
            /// Where [`Config::epoch_interruption`](crate::Config::epoch_interruption) is off there are no deadlines, and this does nothing.
            ///
            /// ```
            /// # fn main() -> anyhow::Result<()> {
            /// use lampwick::{Config, Engine, Instance, Module, Store};
            ///
            /// let engine = Engine::new(Config::new().epoch_interruption(true))?;
            /// let module = Module::new(&engine, r#"(module (func (export "run") (loop (br 0))))"#)?;
            /// let mut store = Store::new(&engine, ());
            /// store.set_epoch_deadline(1);
            /// let instance = Instance::new(&mut store, &module, &[])?;
            /// let run = instance.get_typed_func::<(), (), _>(&mut store, "run")?;
            ///
            /// // A server would do this every few milliseconds.
            /// std::thread::spawn(move || engine.increment_epoch());
            /// let trap = run.call(&mut store, ()).unwrap_err();
            /// assert!(trap.to_string().contains("wasm trap: interrupt"));
            /// # Ok(())
            /// # }
            /// ```
            pub fn set_epoch_deadline(&mut self, ticks_beyond_current: u64) {
                self.$field.set_epoch_deadline(ticks_beyond_current);
            }

            /// Lets guests trap at the deadline: the default.
            pub fn epoch_deadline_trap(&mut self) {
                self.$field.at_deadline(AtDeadline::Trap);
            }

            /// Lets guests yield at the deadline: the future of the call answers `Poll::Pending`, having arranged to be
            /// polled again, and when the guest goes on its deadline is `delta` epochs after that moment's.
            ///
            /// A `delta` of zero makes it yield at every check. How much a guest burns between two yields depends on
            /// the machine; fuel is the means that does not, see
            /// [`out_of_fuel_async_yield`](Self::out_of_fuel_async_yield).
            ///
            /// # Panics
            ///
            /// Panics where the engine is not async.
            pub fn epoch_deadline_async_yield_and_update(&mut self, delta: u64) {
                self.$field.epoch_deadline_async_yield_and_update(delta);
            }
        }
    )* };
}

mirror! {
    Store<T>: inner;
    StoreContextMut<'_, T>: 0;
}

impl<T> StoreContext<'_, T> {
    /// As [`Store::interrupt_handle`].
    ///
    /// # Errors
    ///
    /// Fails where guests cannot be interrupted.
    pub fn interrupt_handle(&self) -> Result<InterruptHandle> {
        self.0.interrupt_handle()
    }
}
