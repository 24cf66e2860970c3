//! Collections that the embedder asks for.

use super::{Store, StoreContextMut};

impl<T> Store<T> {
    /// Drops the values behind [`ExternRef`](crate::ExternRef)s that the store's guests can no
    /// longer reach, as far as nobody else refers to them.
    ///
    /// There is no need to call this: it happens by itself whenever guests have been given so many
    /// values that a collection is worth its time. Call it where values must be dropped soon, for
    /// instance since they hold files.
    ///
    /// A value can be reached as long as it is in an externref table or global of the store, in an
    /// element segment that was not dropped, or in use by a guest that is running, waits for a
    /// host function, or is suspended in a call whose future was forgotten (`mem::forget`). Guests
    /// cannot keep a value by holding on to it where they no longer use it.
    ///
    /// The time it takes grows with the tables of references, the depth of the guests' stacks, and
    /// the number of values. Collections that happen by themselves while an async guest runs let
    /// other tasks run in between; this one does not.
    ///
    /// ```
    /// use lampwick::{Engine, ExternRef, Global, GlobalType, Mutability, Store, Val, ValType};
    ///
    /// # fn main() -> anyhow::Result<()> {
    /// let mut store = Store::new(&Engine::default(), ());
    /// let value = ExternRef::new("some value");
    /// let ty = GlobalType::new(ValType::ExternRef, Mutability::Var);
    /// let global = Global::new(&mut store, ty, value.clone().into())?;
    /// store.gc();
    /// assert_eq!(value.strong_count(), 2);
    /// global.set(&mut store, Val::null())?;
    /// store.gc();
    /// assert_eq!(value.strong_count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// With the panic of a value's drop code; the first one, after all values have been dropped.
    pub fn gc(&mut self) {
        self.inner.vm.collect();
    }
}

impl<T> StoreContextMut<'_, T> {
    /// As [`Store::gc`].
    ///
    /// # Panics
    ///
    /// With the panic of a value's drop code.
    pub fn gc(&mut self) {
        self.0.vm.collect();
    }
}
