//! Tables.

use anyhow::{Result, anyhow, ensure};

use super::Stored;
use crate::store::{AsContext, AsContextMut, Counts, StoreInner};
use crate::types::{TableType, ValType};
use crate::values::Val;
use crate::vm;
use crate::vm::layout::{VMTable, ValRaw};
use crate::vm::limits::{Growth, Resource};
use crate::vm::store::{Owned, Store};
use crate::vm::table::RawRef;

/// A table of a store. A handle: small, copied freely, valid with the store that it came from.
///
/// ```
/// use lampwick::{ExternRef, Store, Table, TableType, Val, ValType};
///
/// # fn main() -> anyhow::Result<()> {
/// let mut store = Store::<()>::default();
/// let ty = TableType::new(ValType::ExternRef, 2, Some(8));
/// let table = Table::new(&mut store, ty, Val::null())?;
/// table.set(&mut store, 1, ExternRef::new("a value of the host").into())?;
/// assert_eq!(table.grow(&mut store, 3, Val::null())?, 2);
/// assert_eq!(table.size(&store), 5);
/// assert!(table.get(&mut store, 1).unwrap().unwrap_externref().is_some());
/// assert!(table.get(&mut store, 5).is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Table(pub(crate) Stored);

impl Table {
    /// A table of the host with this type, filled with a value.
    ///
    /// # Errors
    ///
    /// Fails if the value is not of the elements' type or belongs to another store, if the type
    /// contradicts itself or names one that the engine does not have, if the store may not have another table or its
    /// [limiter](crate::Store::limiter) refuses one of this size, or without memory. No table
    /// has more than 10,000,000 elements.
    ///
    /// # Panics
    ///
    /// Panics if the store's limiter is async.
    pub fn new(mut store: impl AsContextMut, ty: TableType, init: Val) -> Result<Self> {
        let store = store.as_context_mut().0;
        let raw = init.to_raw_alone(&mut store.vm, ty.element())?.to_u64();
        store.check_counts(ANOTHER)?;
        store.permit(Growth::to_new_table(&ty), "Table::new")?;
        Self::make(store, &ty, raw)
    }

    /// As [`Table::new`], for stores whose limiter is async. It works with every store.
    ///
    /// # Errors
    ///
    /// As for [`Table::new`].
    pub async fn new_async<T: Send>(
        mut store: impl AsContextMut<Data = T>,
        ty: TableType,
        init: Val,
    ) -> Result<Self> {
        let store = store.as_context_mut().0;
        let raw = init.to_raw_alone(&mut store.vm, ty.element())?.to_u64();
        store.check_counts(ANOTHER)?;
        store.permit_async(Growth::to_new_table(&ty)).await?;
        Self::make(store, &ty, raw)
    }

    /// Makes a table that was permitted.
    fn make<T>(store: &mut StoreInner<T>, ty: &TableType, raw: u64) -> Result<Self> {
        store.keep_type(ty.element())?;
        let Some(mut table) = vm::table::Table::new(ty) else {
            let error = anyhow!("cannot make a {ty}");
            store.grow_failed(Resource::Table, &error);
            return Err(error);
        };
        let store = &mut store.vm;
        if raw != 0 {
            table.fill(0, raw, ty.minimum64()).expect("the whole table");
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
        TableType::with_limits(ty.element(), table.len() as u64, ty.maximum64(), ty.is_64())
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
        let element: ValType = store.tables[self.0.try_index(store)?].value.ty().element();
        Ok(value.to_raw_alone(store, element)?.to_u64())
    }

    /// Sets an element.
    ///
    /// # Errors
    ///
    /// Fails beyond the end, if the value is not of the elements' type, or if value or table belong
    /// to another store.
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
    /// Fails beyond the maximum (10,000,000 elements where the type has no smaller one), if the
    /// store's [limiter](crate::Store::limiter) refuses, without memory, if the value is not of the
    /// elements' type, or if value or table belong to another store.
    ///
    /// # Panics
    ///
    /// Panics if the store's limiter is async.
    pub fn grow(&self, mut store: impl AsContextMut, delta: u32, init: Val) -> Result<u32> {
        let store = store.as_context_mut().0;
        let raw = self.element(&mut store.vm, &init)?;
        let index = self.0.index(&store.vm) as u32;
        if delta > 0 {
            store.permit(store.vm.table_growth(index, delta.into()), "Table::grow")?;
        }
        grow(store, index, delta, raw)
    }

    /// As [`Table::grow`], for stores whose limiter is async. It works with every store.
    ///
    /// Nothing has grown where the future is dropped unfinished.
    ///
    /// # Errors
    ///
    /// As for [`Table::grow`].
    pub async fn grow_async<T: Send>(
        &self,
        mut store: impl AsContextMut<Data = T>,
        delta: u32,
        init: Val,
    ) -> Result<u32> {
        let store = store.as_context_mut().0;
        let raw = self.element(&mut store.vm, &init)?;
        let index = self.0.index(&store.vm) as u32;
        if delta > 0 {
            store.permit_async(store.vm.table_growth(index, delta.into())).await?;
        }
        grow(store, index, delta, raw)
    }

    /// Copies `len` elements from `src` to `dst`, which may be the same table.
    ///
    /// # Errors
    ///
    /// Fails, with no element copied, if a range does not lie within its table, if an element of
    /// `src` may be none of `dst` by their types, or if one belongs to another store.
    pub fn copy(
        mut store: impl AsContextMut,
        dst: &Self,
        dst_index: u32,
        src: &Self,
        src_index: u32,
        len: u32,
    ) -> Result<()> {
        let store = store.as_context_mut().0;
        let types = store.engine.types().clone();
        let store = &mut store.vm;
        let (to, from) = (dst.0.try_index(store)?, src.0.try_index(store)?);
        let element = |table: usize| store.tables[table].value.ty().element();
        ensure!(
            types.val_matches(element(from), element(to)),
            "cannot copy from a table of {} to a table of {}",
            element(from),
            element(to)
        );
        let (to, from) = ((to as u32, dst_index.into()), (from as u32, src_index.into()));
        store.copy_table(to, from, len.into())?;
        Ok(())
    }

    /// Sets `len` elements from `dst` on.
    ///
    /// # Errors
    ///
    /// Fails, with none set, beyond the end, if the value is not of the elements' type, or if value
    /// or table belong to another store.
    pub fn fill(&self, mut store: impl AsContextMut, dst: u32, value: Val, len: u32) -> Result<()> {
        let store = &mut store.as_context_mut().0.vm;
        let raw = self.element(store, &value)?;
        let index = self.0.index(store);
        store.tables[index].value.fill(dst.into(), raw, len.into())?;
        Ok(())
    }
}

const ANOTHER: Counts = Counts { instances: 0, tables: 1, memories: 0 };

/// Grows a table, which was permitted.
fn grow<T>(store: &mut StoreInner<T>, index: u32, delta: u32, init: RawRef) -> Result<u32> {
    match store.vm.grow_table(index, delta.into(), init) {
        Ok(old) => Ok(old as u32),
        Err(error) => {
            let error = error.report();
            store.grow_failed(Resource::Table, &error);
            Err(error)
        }
    }
}
