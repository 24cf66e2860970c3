//! Tables.

use anyhow::{Result, bail, ensure};

use super::Stored;
use crate::store::{AsContext, AsContextMut};
use crate::types::{TableType, ValType};
use crate::values::Val;
use crate::vm;
use crate::vm::layout::{VMTable, ValRaw};
use crate::vm::store::{Owned, Store};

/// A table of a store. A handle: small, copied freely, valid with the store that it came from.
#[derive(Clone, Copy, Debug)]
pub struct Table(pub(crate) Stored);

impl Table {
    /// A table of the host with this type, filled with a value.
    ///
    /// # Errors
    ///
    /// Fails if the value is not of the elements' type or belongs to another store, if the type contradicts itself,
    /// or without memory. No table has more than 10,000,000 elements.
    pub fn new(mut store: impl AsContextMut, ty: TableType, init: Val) -> Result<Self> {
        let store = &mut store.as_context_mut().0.vm;
        let raw = init.to_raw(store, ty.element())?.to_u64();
        let Some(mut table) = vm::table::Table::new(&ty) else {
            bail!("cannot make a {ty}");
        };
        if raw != 0 {
            table.fill(0, raw, ty.minimum().into()).expect("the whole table");
        }
        let definition = table.definition();
        let index = store.tables.len();
        store.tables.push(Owned::boxed(table, definition));
        Ok(Self(Stored::new(store, index)))
    }

    fn slot<'s>(&self, store: &'s Store) -> &'s Owned<vm::table::Table, VMTable> {
        &store.tables[self.0.index(store)]
    }

    /// The type of the table; its minimum is the current size.
    ///
    /// # Panics
    ///
    /// Panics if it belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> TableType {
        let table = &self.slot(&store.as_context().0.vm).value;
        let ty = table.ty();
        TableType::new(ty.element(), table.len() as u32, ty.maximum())
    }

    /// An element; `None` beyond the end.
    ///
    /// # Panics
    ///
    /// Panics if the table belongs to another store.
    pub fn get(&self, mut store: impl AsContextMut, index: u32) -> Option<Val> {
        let store = &store.as_context_mut().0.vm;
        let table = &self.slot(store).value;
        let raw = ValRaw::from_u64(table.get(index.into())?);
        // SAFETY: the table holds references of this type that belong to the store.
        Some(unsafe { Val::from_raw(store, table.ty().element(), raw) })
    }

    /// The raw form of a value that is to become an element.
    fn element(&self, store: &mut Store, value: &Val) -> Result<u64> {
        let element: ValType = self.slot(store).value.ty().element();
        Ok(value.to_raw(store, element)?.to_u64())
    }

    /// Sets an element.
    ///
    /// # Errors
    ///
    /// Fails beyond the end, or if the value is not of the elements' type or belongs to another store.
    ///
    /// # Panics
    ///
    /// Panics if the table belongs to another store.
    pub fn set(&self, store: impl AsContextMut, index: u32, value: Val) -> Result<()> {
        self.fill(store, index, value, 1)
    }

    /// The number of elements.
    ///
    /// # Panics
    ///
    /// Panics if the table belongs to another store.
    pub fn size(&self, store: impl AsContext) -> u32 {
        self.slot(&store.as_context().0.vm).value.len() as u32
    }

    /// Appends `delta` elements with this value. Answers the former number.
    ///
    /// # Errors
    ///
    /// Fails beyond the maximum (10,000,000 elements where the type has no smaller one), without memory, or if the
    /// value is not of the elements' type or belongs to another store.
    ///
    /// # Panics
    ///
    /// Panics if the table belongs to another store.
    pub fn grow(&self, mut store: impl AsContextMut, delta: u32, init: Val) -> Result<u32> {
        let store = &mut store.as_context_mut().0.vm;
        let raw = self.element(store, &init)?;
        let index = self.0.index(store) as u32;
        match store.grow_table(index, delta.into(), raw) {
            Some(old) => Ok(old as u32),
            None => bail!("cannot grow a {} by {delta} elements", self.slot(store).value.ty()),
        }
    }

    /// Copies `len` elements from `src` to `dst`, which may be the same table.
    ///
    /// # Errors
    ///
    /// Fails, with no element copied, if a range does not lie within its table, or if the tables are of different types.
    ///
    /// # Panics
    ///
    /// Panics if a table belongs to another store.
    pub fn copy(
        mut store: impl AsContextMut,
        dst: &Self,
        dst_index: u32,
        src: &Self,
        src_index: u32,
        len: u32,
    ) -> Result<()> {
        let store = &mut store.as_context_mut().0.vm;
        let (to, from) = (&dst.slot(store).value, &src.slot(store).value);
        let (to, from) = (to.ty().element(), from.ty().element());
        ensure!(to == from, "cannot copy from a table of {from} to a table of {to}");
        let to = (dst.0.index(store) as u32, dst_index.into());
        let from = (src.0.index(store) as u32, src_index.into());
        store.copy_table(to, from, len.into())?;
        Ok(())
    }

    /// Sets `len` elements from `dst` on.
    ///
    /// # Errors
    ///
    /// Fails, with none set, beyond the end, or if the value is not of the elements' type or belongs to another store.
    ///
    /// # Panics
    ///
    /// Panics if the table belongs to another store.
    pub fn fill(&self, mut store: impl AsContextMut, dst: u32, value: Val, len: u32) -> Result<()> {
        let store = &mut store.as_context_mut().0.vm;
        let raw = self.element(store, &value)?;
        let index = self.0.index(store);
        store.tables[index].value.fill(dst.into(), raw, len.into())?;
        Ok(())
    }
}
