//! Stores: where instances live, and the host's data beside them.

mod account;
mod call;
mod context;
mod fuel;
mod gc;
mod home;
#[cfg(feature = "call-hook")]
mod hook;
mod interrupts;
mod limiter;
mod limits;
mod pace;
mod report;
mod slots;
mod span;
mod stats;
mod supply;

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use anyhow::Result;
use lampwick_fibers::Resident;
use smallvec::SmallVec;
use thin_vec::ThinVec;

pub(crate) use call::Invocation;
pub use context::{AsContext, AsContextMut, StoreContext, StoreContextMut};
pub use interrupts::InterruptHandle;
pub(crate) use limiter::Counts;
pub use limits::{ResourceLimiter, ResourceLimiterAsync, StoreLimits, StoreLimitsBuilder};
pub use report::{CallEnd, CallReport};
pub use stats::StoreStats;
pub use supply::FuelHandle;

use crate::engine::{Engine, Group};
use crate::func::Placed;
use crate::module::Module;
use crate::pooling::InstanceSlot;
use crate::types::ValType;
use crate::vm;
use home::Home;
use limiter::Limiter;

/// Instances, what they share with the host, and data of the host's of type `T`.
///
/// Everything that a guest does happens in a store, and everything that is created in a store lives
/// until it is dropped, but for the values behind [`ExternRef`](crate::ExternRef)s, which are
/// collected: give each guest a store of its own. Handles such as [`Func`](crate::Func)
/// and [`Memory`](crate::Memory) are small copies that mean something only together with the store
/// that they came from; every method takes it.
///
/// A store belongs to one task at a time, but may move between threads, with suspended calls in it.
///
/// ```
/// use lampwick::{Caller, Engine, Func, Instance, Module, Store};
///
/// # fn main() -> anyhow::Result<()> {
/// let engine = Engine::default();
/// let mut store = Store::new(&engine, Vec::new());
/// let note = Func::wrap(&mut store, |mut caller: Caller<'_, Vec<i32>>, x: i32| {
///     caller.data_mut().push(x);
/// });
/// let wat = r#"(module (import "" "note" (func (param i32))) (func (export "run")
///     (call 0 (i32.const 3)) (call 0 (i32.const 4))))"#;
/// let instance = Instance::new(&mut store, &Module::new(&engine, wat)?, &[note.into()])?;
/// instance.get_typed_func::<(), (), _>(&mut store, "run")?.call(&mut store, ())?;
/// assert_eq!(store.into_data(), [3, 4]);
/// # Ok(())
/// # }
/// ```
pub struct Store<T> {
    inner: Home<T>,
}

/// What a store holds. Machine code and its builtins see `vm`, by the address of which host
/// functions find the rest.
#[repr(C)]
pub(crate) struct StoreInner<T> {
    /// First, so that a pointer to it is a pointer to the whole.
    pub(crate) vm: vm::store::Store,
    pub(crate) engine: Engine,
    /// The modules of the instances; each once.
    pub(crate) modules: SmallVec<[Module; 1]>,
    /// The types of what the host has made.
    pub(crate) types: ThinVec<Arc<Group>>,
    /// Where the host functions of linkers are.
    pub(crate) placed: Placed,
    /// The slots of the instances, where the engine has a pool. Behind `vm`, and so dropped after
    /// the memories that are in them.
    pub(crate) slots: ThinVec<InstanceSlot>,
    /// The fiber of the last call, for the next one; at first that of the store's home.
    fiber: Option<Box<Resident>>,
    limiter: Limiter<T>,
    /// What the guest is called.
    name: Box<str>,
    #[cfg(feature = "call-hook")]
    hook: Option<Box<hook::Hook<T>>>,
    pub(crate) data: T,
}

impl<T> Deref for StoreInner<T> {
    type Target = vm::store::Store;

    fn deref(&self) -> &Self::Target {
        &self.vm
    }
}

impl<T> DerefMut for StoreInner<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.vm
    }
}

impl<T> Store<T> {
    /// An empty store with this data.
    ///
    /// It has no fuel, where the engine counts it; see [`Store::add_fuel`]. Its deadline is now,
    /// where the engine has epochs; see [`Store::set_epoch_deadline`]. It may have 10,000
    /// instances, tables and memories; see [`Store::limiter`].
    pub fn new(engine: &Engine, data: T) -> Self {
        Self {
            inner: Home::new(engine.stacks(), |fiber| StoreInner {
                vm: vm::store::Store::new(engine.metered(), engine.interrupts(), engine.account()),
                engine: engine.local(),
                modules: SmallVec::new(),
                types: ThinVec::new(),
                placed: Placed::default(),
                slots: ThinVec::new(),
                fiber,
                limiter: Limiter::None,
                name: Box::default(),
                #[cfg(feature = "call-hook")]
                hook: None,
                data,
            }),
        }
    }

    /// The host's data.
    pub fn data(&self) -> &T {
        &self.inner.data
    }

    /// The host's data.
    pub fn data_mut(&mut self) -> &mut T {
        &mut self.inner.data
    }

    /// Drops the store and all that it holds but the host's data.
    pub fn into_data(self) -> T {
        self.inner.into_inner().data
    }

    /// The engine that the store was made with.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }
}

impl<T: Default> Default for Store<T> {
    /// A store with default data in an engine of its own with the default configuration.
    ///
    /// # Panics
    ///
    /// Panics where [`Engine::new`] fails.
    fn default() -> Self {
        Self::new(&Engine::default(), T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Store<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("data", &self.inner.data).finish_non_exhaustive()
    }
}

impl<T> StoreInner<T> {
    /// Keeps the declared type that a table or global of the host is of, as long as the store lives.
    pub(crate) fn keep_type(&mut self, ty: ValType) -> Result<()> {
        if let Some(declared) = ty.concrete() {
            let ty = self.engine.types().find(declared)?;
            self.types.push(ty.into_group());
        }
        Ok(())
    }
}
