//! The two contexts: a store, borrowed.

use super::{Store, StoreInner};
use crate::engine::Engine;

/// A store, borrowed to read.
#[derive(Debug)]
#[repr(transparent)]
pub struct StoreContext<'a, T>(pub(crate) &'a StoreInner<T>);

/// A store, borrowed to change.
#[derive(Debug)]
#[repr(transparent)]
pub struct StoreContextMut<'a, T>(pub(crate) &'a mut StoreInner<T>);

impl<T> std::fmt::Debug for StoreInner<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl<T> Clone for StoreContext<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for StoreContext<'_, T> {}

impl<'a, T> StoreContext<'a, T> {
    /// The host's data.
    pub fn data(&self) -> &'a T {
        &self.0.data
    }

    /// The engine that the store was made with.
    pub fn engine(&self) -> &'a Engine {
        &self.0.engine
    }
}

impl<T> StoreContextMut<'_, T> {
    /// The host's data.
    pub fn data(&self) -> &T {
        &self.0.data
    }

    /// The host's data.
    pub fn data_mut(&mut self) -> &mut T {
        &mut self.0.data
    }

    /// The engine that the store was made with.
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }
}

/// What a store can be read through: the store itself, a context, a [`Caller`](crate::Caller), or a
/// reference to one of these.
pub trait AsContext {
    /// The host's data in the store.
    type Data;

    /// The store.
    fn as_context(&self) -> StoreContext<'_, Self::Data>;
}

/// What a store can be changed through.
///
/// ```
/// use lampwick::{AsContextMut, Caller, Func, Memory, MemoryType, Store};
///
/// /// For the host with its store, and for host functions with their caller.
/// fn clear(mut store: impl AsContextMut, memory: Memory) {
///     memory.data_mut(&mut store).fill(0);
/// }
///
/// # fn main() -> anyhow::Result<()> {
/// let mut store = Store::<()>::default();
/// let memory = Memory::new(&mut store, MemoryType::new(1, None))?;
/// clear(&mut store, memory);
/// Func::wrap(&mut store, move |mut caller: Caller<'_, ()>| clear(&mut caller, memory));
/// # Ok(())
/// # }
/// ```
pub trait AsContextMut: AsContext {
    /// The store.
    fn as_context_mut(&mut self) -> StoreContextMut<'_, Self::Data>;
}

impl<T> AsContext for Store<T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        StoreContext(&self.inner)
    }
}

impl<T> AsContextMut for Store<T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        StoreContextMut(&mut self.inner)
    }
}

impl<T> AsContext for StoreContext<'_, T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        *self
    }
}

impl<T> AsContext for StoreContextMut<'_, T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        StoreContext(self.0)
    }
}

impl<T> AsContextMut for StoreContextMut<'_, T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        StoreContextMut(self.0)
    }
}

impl<S: AsContext> AsContext for &S {
    type Data = S::Data;

    fn as_context(&self) -> StoreContext<'_, S::Data> {
        S::as_context(self)
    }
}

impl<S: AsContext> AsContext for &mut S {
    type Data = S::Data;

    fn as_context(&self) -> StoreContext<'_, S::Data> {
        S::as_context(self)
    }
}

impl<S: AsContextMut> AsContextMut for &mut S {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, S::Data> {
        S::as_context_mut(self)
    }
}

impl<'a, S: AsContext> From<&'a S> for StoreContext<'a, S::Data> {
    fn from(store: &'a S) -> Self {
        S::as_context(store)
    }
}

impl<'a, S: AsContext> From<&'a mut S> for StoreContext<'a, S::Data> {
    fn from(store: &'a mut S) -> Self {
        S::as_context(store)
    }
}

impl<'a, S: AsContextMut> From<&'a mut S> for StoreContextMut<'a, S::Data> {
    fn from(store: &'a mut S) -> Self {
        S::as_context_mut(store)
    }
}
