//! What a host function gets of its caller.

use std::borrow::Borrow;
use std::fmt;
use std::time::Duration;

use lampwick_tanks::FuelTank;

use crate::engine::Engine;
use crate::externs::Extern;
use crate::instance::Instance;
use crate::store::{
    AsContext, AsContextMut, FuelHandle, InterruptHandle, StoreContext, StoreContextMut,
    StoreInner, StoreStats,
};
use crate::vm::host::HostCaller;

/// The store, and the instance that called a host function.
///
/// ```
/// use lampwick::{Caller, Engine, Linker, Module, Store, Trap};
///
/// # fn main() -> anyhow::Result<()> {
/// let engine = Engine::default();
/// let mut linker = Linker::new(&engine);
/// // A guest passes text as an address and a length in its memory.
/// linker.func_wrap("host", "log", |mut caller: Caller<'_, String>, at: u32, len: u32| {
///     let memory = caller.get_export("memory").and_then(|export| export.into_memory());
///     let memory = memory.ok_or_else(|| Trap::new("the guest has no `memory`"))?;
///     let mut text = vec![0; len.min(1024) as usize];
///     memory.read(&caller, at as usize, &mut text).map_err(anyhow::Error::from)?;
///     caller.data_mut().push_str(&String::from_utf8_lossy(&text));
///     Ok(())
/// })?;
/// let wat = r#"(module (import "host" "log" (func $log (param i32 i32)))
///     (memory (export "memory") 1) (data (i32.const 8) "hello")
///     (func (export "run") (call $log (i32.const 8) (i32.const 5))))"#;
/// let mut store = Store::new(&engine, String::new());
/// let instance = linker.instantiate(&mut store, &Module::new(&engine, wat)?)?;
/// instance.get_typed_func::<(), (), _>(&mut store, "run")?.call(&mut store, ())?;
/// assert_eq!(store.data(), "hello");
/// # Ok(())
/// # }
/// ```
pub struct Caller<'a, T> {
    store: StoreContextMut<'a, T>,
    instance: Option<usize>,
}

impl<'a, T> Caller<'a, T> {
    /// # Safety
    ///
    /// The store must hold data of type `T`, and nothing of it may be borrowed while the caller is
    /// used.
    pub(super) unsafe fn new(call: &HostCaller) -> Self {
        // SAFETY: a store begins with what the pointer is to; by contract we have it for ourselves.
        let store = unsafe { &mut *call.store().cast::<StoreInner<T>>() };
        Self { store: StoreContextMut(store), instance: call.instance() }
    }

    /// What the calling instance exports under this name; `None` also if the host itself called.
    pub fn get_export(&mut self, name: &str) -> Option<Extern> {
        Instance::at(&self.store.0.vm, self.instance?).get_export(&mut self.store, name)
    }

    /// The host's data.
    pub fn data(&self) -> &T {
        self.store.data()
    }

    /// The host's data.
    pub fn data_mut(&mut self) -> &mut T {
        self.store.data_mut()
    }

    /// The engine that the store was made with.
    pub fn engine(&self) -> &Engine {
        self.store.engine()
    }

    /// As [`Store::gc`](crate::Store::gc); what the calling guests have in use stays.
    ///
    /// # Panics
    ///
    /// With the panic of a value's drop code.
    pub fn gc(&mut self) {
        self.store.gc();
    }

    /// As [`Store::stats`](crate::Store::stats); this call of the host is counted, and the fuel that
    /// the guest burned up to it.
    pub fn stats(&self) -> StoreStats {
        self.store.stats()
    }

    /// The time that the guests of the store have spent on workers, as [`StoreStats::busy`], but up
    /// to now; `None` without [`Config::accounts`](crate::Config::accounts).
    ///
    /// ```
    /// use lampwick::{Caller, Config, Engine, Func, Store};
    ///
    /// # fn main() -> anyhow::Result<()> {
    /// let engine = Engine::new(Config::new().accounts(true))?;
    /// let mut store = Store::new(&engine, ());
    /// let busy = Func::wrap(&mut store, |caller: Caller<'_, ()>| {
    ///     caller.busy().map_or(-1, |time| time.as_nanos() as i64)
    /// });
    /// let nanoseconds = busy.call(&mut store, &[])?[0].unwrap_i64();
    /// assert!(nanoseconds >= 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn busy(&self) -> Option<Duration> {
        self.store.0.vm.accounts.as_ref().map(|accounts| accounts.busy())
    }

    /// As [`Store::name`](crate::Store::name).
    pub fn name(&self) -> &str {
        self.store.name()
    }

    /// As [`Store::set_name`](crate::Store::set_name).
    pub fn set_name(&mut self, name: impl Into<Box<str>>) {
        self.store.set_name(name);
    }

    /// As [`Store::fuel_consumed`](crate::Store::fuel_consumed); what the guest burned up to this
    /// call is counted.
    pub fn fuel_consumed(&self) -> Option<u64> {
        self.store.fuel_consumed()
    }

    /// As [`Store::add_fuel`](crate::Store::add_fuel).
    ///
    /// # Errors
    ///
    /// Fails where the engine does not count fuel.
    pub fn add_fuel(&mut self, fuel: u64) -> anyhow::Result<()> {
        self.store.add_fuel(fuel)
    }

    /// As [`Store::consume_fuel`](crate::Store::consume_fuel).
    ///
    /// # Errors
    ///
    /// Fails where no less than `fuel` is left, or where the engine does not count fuel.
    pub fn consume_fuel(&mut self, fuel: u64) -> anyhow::Result<u64> {
        self.store.consume_fuel(fuel)
    }

    /// As [`Store::set_fuel`](crate::Store::set_fuel): what the calling guest may still burn.
    ///
    /// # Errors
    ///
    /// Fails where the engine does not count fuel.
    pub fn set_fuel(&mut self, fuel: u64) -> anyhow::Result<()> {
        self.store.set_fuel(fuel)
    }

    /// As [`Store::get_fuel`](crate::Store::get_fuel); what the guest burned up to this call is
    /// gone.
    ///
    /// # Errors
    ///
    /// Fails where the engine does not count fuel.
    pub fn get_fuel(&self) -> anyhow::Result<u64> {
        self.store.get_fuel()
    }

    /// As [`Store::fuel_async_yield_interval`](crate::Store::fuel_async_yield_interval).
    ///
    /// # Errors
    ///
    /// Fails where the engine does not count fuel or is not async, and if `interval` is 0.
    pub fn fuel_async_yield_interval(&mut self, interval: Option<u64>) -> anyhow::Result<()> {
        self.store.fuel_async_yield_interval(interval)
    }

    /// As [`Store::out_of_fuel_trap`](crate::Store::out_of_fuel_trap).
    pub fn out_of_fuel_trap(&mut self) {
        self.store.out_of_fuel_trap();
    }

    /// As [`Store::out_of_fuel_async_yield`](crate::Store::out_of_fuel_async_yield).
    ///
    /// # Panics
    ///
    /// Panics where the engine is not async.
    pub fn out_of_fuel_async_yield(&mut self, injection_count: u64, fuel_to_inject: u64) {
        self.store.out_of_fuel_async_yield(injection_count, fuel_to_inject);
    }

    /// As [`Store::out_of_fuel_async_draw`](crate::Store::out_of_fuel_async_draw).
    ///
    /// # Panics
    ///
    /// Panics where the engine is not async.
    pub fn out_of_fuel_async_draw(&mut self, tank: impl Borrow<FuelTank>, slice: u64) {
        self.store.out_of_fuel_async_draw(tank, slice);
    }

    /// As [`Store::out_of_fuel_async_park`](crate::Store::out_of_fuel_async_park).
    ///
    /// # Panics
    ///
    /// Panics where the engine is not async.
    pub fn out_of_fuel_async_park(&mut self) {
        self.store.out_of_fuel_async_park();
    }

    /// As [`Store::fuel_handle`](crate::Store::fuel_handle).
    ///
    /// # Errors
    ///
    /// Fails where the engine does not count fuel.
    pub fn fuel_handle(&mut self) -> anyhow::Result<FuelHandle> {
        self.store.fuel_handle()
    }

    /// As [`Store::interrupt_handle`](crate::Store::interrupt_handle).
    ///
    /// # Errors
    ///
    /// Fails where guests cannot be interrupted.
    pub fn interrupt_handle(&self) -> anyhow::Result<InterruptHandle> {
        self.store.interrupt_handle()
    }

    /// As [`Store::set_epoch_deadline`](crate::Store::set_epoch_deadline); the guest that called
    /// has the new deadline at once.
    pub fn set_epoch_deadline(&mut self, ticks_beyond_current: u64) {
        self.store.set_epoch_deadline(ticks_beyond_current);
    }

    /// As [`Store::epoch_deadline_trap`](crate::Store::epoch_deadline_trap).
    pub fn epoch_deadline_trap(&mut self) {
        self.store.epoch_deadline_trap();
    }

    /// As [`Store::epoch_deadline_async_yield_and_update`](crate::Store::epoch_deadline_async_yield_and_update).
    ///
    /// # Panics
    ///
    /// Panics where the engine is not async.
    pub fn epoch_deadline_async_yield_and_update(&mut self, delta: u64) {
        self.store.epoch_deadline_async_yield_and_update(delta);
    }
}

impl<T> fmt::Debug for Caller<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl<T> AsContext for Caller<'_, T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        self.store.as_context()
    }
}

impl<T> AsContextMut for Caller<'_, T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        self.store.as_context_mut()
    }
}
