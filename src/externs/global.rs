//! Globals.

use anyhow::{Result, bail};

use super::Stored;
use crate::store::{AsContext, AsContextMut};
use crate::types::{GlobalType, Mutability};
use crate::values::Val;
use crate::vm::layout::{VMGlobal, ValRaw};
use crate::vm::store::{Owned, Store};

/// A global of a store. A handle: small, copied freely, valid with the store that it came from.
///
/// ```
/// use lampwick::{Global, GlobalType, Mutability, Store, Val, ValType};
///
/// # fn main() -> anyhow::Result<()> {
/// let mut store = Store::<()>::default();
/// let ty = GlobalType::new(ValType::I64, Mutability::Var);
/// let global = Global::new(&mut store, ty, Val::I64(1))?;
/// global.set(&mut store, Val::I64(2))?;
/// assert_eq!(global.get(&mut store).unwrap_i64(), 2);
/// assert!(global.set(&mut store, Val::I32(3)).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Global(pub(crate) Stored);

impl Global {
    /// A global of the host with this type and value.
    ///
    /// # Errors
    ///
    /// Fails if the value is not of the type, or belongs to another store, or if the type names one
    /// that the engine does not have.
    pub fn new(mut store: impl AsContextMut, ty: GlobalType, value: Val) -> Result<Self> {
        let store = store.as_context_mut().0;
        let raw = value.to_raw_alone(&mut store.vm, *ty.content())?;
        store.keep_type(*ty.content())?;
        let index = store.vm.globals.len();
        store.vm.globals.push(Owned::boxed(ty, VMGlobal(raw.0)));
        Ok(Self(Stored::new(&store.vm, index)))
    }

    fn slot<'s>(&self, store: &'s Store) -> &'s Owned<GlobalType, VMGlobal> {
        &store.globals[self.0.index(store)]
    }

    /// The type of the global.
    ///
    /// # Panics
    ///
    /// Panics if it belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> GlobalType {
        self.slot(&store.as_context().0.vm).value.clone()
    }

    /// The value.
    ///
    /// # Panics
    ///
    /// Panics if the global belongs to another store.
    pub fn get(&self, mut store: impl AsContextMut) -> Val {
        let store = &store.as_context_mut().0.vm;
        let slot = self.slot(store);
        // SAFETY: the definition is live with the store, and holds a value of this type that
        // belongs to it.
        unsafe { Val::from_raw(store, *slot.value.content(), ValRaw(slot.definition.read().0)) }
    }

    /// Sets the value.
    ///
    /// # Errors
    ///
    /// Fails if the global is constant, if the value is not of its type, or if value or global
    /// belong to another store.
    pub fn set(&self, mut store: impl AsContextMut, value: Val) -> Result<()> {
        let store = &mut store.as_context_mut().0.vm;
        self.0.try_index(store)?;
        let ty = self.slot(store).value.clone();
        if ty.mutability() == Mutability::Const {
            bail!("a constant global cannot be set");
        }
        let raw = value.to_raw_alone(store, *ty.content())?;
        let definition = self.slot(store).definition;
        // SAFETY: the definition is live with the store, which is ours for now.
        unsafe { definition.write(VMGlobal(raw.0)) };
        Ok(())
    }
}
