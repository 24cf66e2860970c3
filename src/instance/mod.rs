//! Instances: modules brought to life in a store.

mod build;
mod constants;
mod definitions;
mod image;
mod imports;
mod pre;
mod segments;

use std::ptr::NonNull;

use anyhow::{Context, Result, anyhow};

use crate::compile::{EntityIndex, ModuleInfo};
use crate::externs::{Extern, Global, Memory, SharedMemory, Stored, Table, Tag};
use crate::func::{Func, TypedFunc, WasmParams, WasmResults};
use crate::module::Module;
use crate::store::{AsContext, AsContextMut, StoreContextMut, StoreInner};
use crate::types::ExternType;
use crate::vm;
use crate::vm::layout::VMFuncRef;
use crate::vm::pace::Pace;
use crate::vm::store::Store;

use build::{check, initial_sizes, instantiate};
pub use pre::InstancePre;

/// A module brought to life in a store. A handle: small, copied freely, valid with the store that
/// it came from.
#[derive(Clone, Copy, Debug)]
pub struct Instance(Stored);

/// Something that an instance exports.
#[derive(Clone, Debug)]
pub struct Export<'instance> {
    name: &'instance str,
    item: Extern,
}

impl<'instance> Export<'instance> {
    /// The name of the export.
    pub fn name(&self) -> &'instance str {
        self.name
    }

    /// The type of what is exported.
    ///
    /// # Panics
    ///
    /// Panics if it belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> ExternType {
        self.item.ty(store)
    }

    /// What is exported.
    pub fn into_extern(self) -> Extern {
        self.item
    }

    /// The function, if this is one.
    pub fn into_func(self) -> Option<Func> {
        self.item.into_func()
    }

    /// The global, if this is one.
    pub fn into_global(self) -> Option<Global> {
        self.item.into_global()
    }

    /// The tag, if this is one.
    pub fn into_tag(self) -> Option<Tag> {
        self.item.into_tag()
    }

    /// The table, if this is one.
    pub fn into_table(self) -> Option<Table> {
        self.item.into_table()
    }

    /// The memory, if this is one.
    pub fn into_memory(self) -> Option<Memory> {
        self.item.into_memory()
    }
}

impl Instance {
    /// Instantiates a module with these imports, in the order of [`Module::imports`], and runs its
    /// start function.
    ///
    /// ```
    /// use lampwick::{Global, GlobalType, Instance, Module, Mutability, Store, Val, ValType};
    ///
    /// # fn main() -> anyhow::Result<()> {
    /// let mut store = Store::<()>::default();
    /// let wat = r#"(module (import "host" "count" (global $count (mut i32)))
    ///     (func $start (global.set $count (i32.add (global.get $count) (i32.const 1))))
    ///     (start $start))"#;
    /// let module = Module::new(store.engine(), wat)?;
    /// let ty = GlobalType::new(ValType::I32, Mutability::Var);
    /// let count = Global::new(&mut store, ty, Val::I32(4))?;
    /// Instance::new(&mut store, &module, &[count.into()])?;
    /// assert_eq!(count.get(&mut store).unwrap_i32(), 5);
    /// # Ok(())
    /// # }
    /// ```
    /// # Errors
    ///
    /// Fails if imports are missing, of other types than expected or of another store, if the store
    /// may not have as many instances, tables or memories, if its
    /// [limiter](crate::Store::limiter) refuses an initial size, with a
    /// [`PoolExhausted`](crate::PoolExhausted) if the engine's pool has no slot free, or, with a
    /// [`Trap`](crate::Trap), if a segment does not fit or the start function traps. What an
    /// instance did before it failed stays done.
    ///
    /// # Panics
    ///
    /// Panics if the store is async, and with the panic of a host function.
    pub fn new(mut store: impl AsContextMut, module: &Module, imports: &[Extern]) -> Result<Self> {
        let store = store.as_context_mut().0;
        store.assert_async(false, "Instance::new");
        imports::check(store, module, imports, &mut Pace::straight())?;
        // SAFETY: they were checked.
        unsafe { Self::of_checked(store, module, imports) }
    }

    /// As [`Instance::new`], for async stores: the start function may suspend. Where no slot of the
    /// engine's pool is free it waits for one, if the engine is
    /// [told to](crate::Config::wait_for_instance_slot).
    ///
    /// # Errors
    ///
    /// As for [`Instance::new`].
    ///
    /// # Panics
    ///
    /// The future panics if the store is not async, and with the panic of a host function.
    pub async fn new_async<T: Send>(
        mut store: impl AsContextMut<Data = T>,
        module: &Module,
        imports: &[Extern],
    ) -> Result<Self> {
        let store = store.as_context_mut().0;
        store.assert_async(true, "Instance::new");
        if module.has_many_imports() {
            store.paced(|store, pace| imports::check(store, module, imports, pace)).await?;
        } else {
            imports::check(store, module, imports, &mut Pace::straight())?;
        }
        // SAFETY: they were checked.
        unsafe { Self::of_checked_async(store, module, imports).await }
    }

    /// An instance whose start function has run.
    ///
    /// # Safety
    ///
    /// The imports must be of this store and of the types that the module expects.
    unsafe fn of_checked<T>(
        store: &mut StoreInner<T>,
        module: &Module,
        imports: &[Extern],
    ) -> Result<Self> {
        check(store, module)?;
        let slot = store.take_slot()?;
        for growth in initial_sizes(module.info()) {
            store.permit(growth, "Instance::new")?;
        }
        let pace = &mut Pace::straight();
        // SAFETY: by contract.
        let (instance, start) = unsafe { instantiate(store, module, imports, slot, pace)? };
        if let Some(start) = start {
            // SAFETY: a start function has neither parameters nor results, and belongs to this
            // store.
            unsafe { store.call(start)? };
        }
        Ok(instance)
    }

    /// The same for async stores.
    ///
    /// # Safety
    ///
    /// As for [`Self::of_checked`].
    async unsafe fn of_checked_async<T: Send>(
        store: &mut StoreInner<T>,
        module: &Module,
        imports: &[Extern],
    ) -> Result<Self> {
        check(store, module)?;
        // Before the limiter is asked, which is not told of permissions that come to nothing.
        let slot = match store.pool_waits() {
            true => Box::pin(store.wait_for_slot()).await?,
            false => store.take_slot()?,
        };
        // Boxed, as what is rare here: each guest's future would have the room for it.
        if store.limiter_waits() {
            Box::pin(async {
                for growth in initial_sizes(module.info()) {
                    store.permit_async(growth).await?;
                }
                anyhow::Ok(())
            })
            .await?;
        } else {
            for growth in initial_sizes(module.info()) {
                store.permit(growth, "Instance::new")?;
            }
        }
        // SAFETY: by contract.
        let (instance, start) = unsafe {
            if module.takes_long() {
                store.paced(|store, pace| instantiate(store, module, imports, slot, pace)).await?
            } else {
                instantiate(store, module, imports, slot, &mut Pace::straight())?
            }
        };
        if let Some(start) = start {
            // SAFETY: as in `of_checked`.
            unsafe { Box::pin(store.call_async(start, 0)).await? };
        }
        Ok(instance)
    }

    /// The instance at a place in the store.
    pub(crate) fn at(store: &Store, index: usize) -> Self {
        Self(Stored::new(store, index))
    }

    /// Fails if the instance belongs to another store.
    pub(crate) fn check_store(&self, store: &Store) -> Result<()> {
        Ok(self.0.try_index(store).map(drop)?)
    }

    /// Everything that the instance exports, in the order of its module.
    ///
    /// # Panics
    ///
    /// Panics if the instance belongs to another store.
    pub fn exports<'a, T: 'a>(
        &self,
        store: impl Into<StoreContextMut<'a, T>>,
    ) -> impl ExactSizeIterator<Item = Export<'a>> {
        let store: &'a StoreInner<T> = store.into().0;
        let index = self.0.index(&store.vm);
        let exports = store.modules[index].info().exports.iter();
        exports.map(move |export| Export {
            name: &export.name,
            item: entity(store, index, export.entity),
        })
    }

    /// What the instance exports under this name.
    ///
    /// # Panics
    ///
    /// Panics if the instance belongs to another store.
    pub fn get_export(&self, mut store: impl AsContextMut, name: &str) -> Option<Extern> {
        let store = &*store.as_context_mut().0;
        let index = self.0.index(&store.vm);
        let exports = &store.modules[index].info().exports;
        let export = exports.iter().find(|export| export.name == name)?;
        Some(entity(store, index, export.entity))
    }

    /// The function that the instance exports under this name.
    ///
    /// # Panics
    ///
    /// Panics if the instance belongs to another store.
    pub fn get_func(&self, store: impl AsContextMut, name: &str) -> Option<Func> {
        self.get_export(store, name)?.into_func()
    }

    /// The table that the instance exports under this name.
    ///
    /// # Panics
    ///
    /// Panics if the instance belongs to another store.
    pub fn get_table(&self, store: impl AsContextMut, name: &str) -> Option<Table> {
        self.get_export(store, name)?.into_table()
    }

    /// The memory that the instance exports under this name.
    ///
    /// # Panics
    ///
    /// Panics if the instance belongs to another store.
    pub fn get_memory(&self, store: impl AsContextMut, name: &str) -> Option<Memory> {
        self.get_export(store, name)?.into_memory()
    }

    /// The shared memory that the instance exports under this name.
    ///
    /// # Panics
    ///
    /// Panics if the instance belongs to another store.
    pub fn get_shared_memory(&self, store: impl AsContextMut, name: &str) -> Option<SharedMemory> {
        self.get_export(store, name)?.into_shared_memory()
    }

    /// The global that the instance exports under this name.
    ///
    /// # Panics
    ///
    /// Panics if the instance belongs to another store.
    pub fn get_global(&self, store: impl AsContextMut, name: &str) -> Option<Global> {
        self.get_export(store, name)?.into_global()
    }

    /// The tag that the instance exports under this name.
    ///
    /// # Panics
    ///
    /// Panics if the instance belongs to another store.
    pub fn get_tag(&self, store: impl AsContextMut, name: &str) -> Option<Tag> {
        self.get_export(store, name)?.into_tag()
    }

    /// The function that the instance exports under this name, with its type known to the compiler.
    ///
    /// # Errors
    ///
    /// Fails if there is no such function, if it is of another type, or if the instance belongs to
    /// another store.
    pub fn get_typed_func<Params, Results, S>(
        &self,
        mut store: S,
        name: &str,
    ) -> Result<TypedFunc<Params, Results>>
    where
        Params: WasmParams,
        Results: WasmResults,
        S: AsContextMut,
    {
        self.check_store(&store.as_context_mut().0.vm)?;
        let func = self.get_func(store.as_context_mut(), name);
        let func = func.ok_or_else(|| anyhow!("the instance exports no function `{name}`"))?;
        func.typed(store.as_context_mut()).with_context(|| format!("function `{name}`"))
    }
}

/// An entry of an instance's index spaces.
fn entity<T>(store: &StoreInner<T>, instance: usize, entity: EntityIndex) -> Extern {
    let this = &store.vm.instances[instance];
    let stored = |index: u32| Stored::new(&store.vm, index as usize);
    match entity {
        EntityIndex::Function(index) => {
            let record = func_record(this, store.modules[instance].info(), index);
            // SAFETY: the record belongs to an instance of this store.
            unsafe { Func::from_record(&store.vm, record) }.into()
        }
        EntityIndex::Table(index) => Table(stored(this.tables[index as usize])).into(),
        EntityIndex::Memory(index) => {
            let index = this.memories[index as usize];
            match store.vm.memories[index as usize].value.as_shared() {
                Some(memory) => SharedMemory::of(&store.engine, memory.clone()).into(),
                None => Memory(stored(index)).into(),
            }
        }
        EntityIndex::Global(index) => Global(stored(this.globals[index as usize])).into(),
        EntityIndex::Tag(index) => Tag(stored(this.tags[index as usize])).into(),
    }
}

/// The record of a function that escapes.
fn func_record(
    instance: &vm::instance::Instance,
    info: &ModuleInfo,
    function: u32,
) -> NonNull<VMFuncRef> {
    if function < info.imported_functions {
        // SAFETY: the import was filled before anything could ask for it.
        let import = unsafe { instance.imported_function(function).read() };
        return NonNull::new(import.func_ref).expect("imports are filled");
    }
    instance.func_ref(info.func_ref_slot(function).expect("the function escapes"))
}
