//! Instances to be: a module with its imports found and checked.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use anyhow::{Result, bail};

use super::{Instance, imports};
use crate::compile::Import;
use crate::engine::Engine;
use crate::externs::{Definition, Extern};
use crate::module::Module;
use crate::module::blueprint::PER_IMPORT;
use crate::store::{AsContextMut, StoreInner};
use crate::vm::pace::Pace;

/// A module whose imports are found and their types checked, so that instances of it are made
/// quickly. Made by [`Linker::instantiate_pre`](crate::Linker::instantiate_pre).
///
/// Later changes of the linker change nothing here. Cloning is cheap. Where all imports are host
/// functions, instances can be made in every store of the engine; what belongs to a store binds it
/// to that store.
///
/// ```
/// # fn main() -> anyhow::Result<()> {
/// use lampwick::{Caller, Engine, Linker, Module, Store};
///
/// let engine = Engine::default();
/// let mut linker = Linker::new(&engine);
/// linker.func_wrap("host", "id", |caller: Caller<'_, i32>| *caller.data())?;
/// let module = Module::new(
///     &engine,
///     r#"(module (import "host" "id" (func $id (result i32))) (export "id" (func $id)))"#,
/// )?;
/// let pre = linker.instantiate_pre(Store::new(&engine, 0), &module)?;
/// for id in 1..4 {
///     let mut store = Store::new(&engine, id);
///     let instance = pre.instantiate(&mut store)?;
///     let func = instance.get_typed_func::<(), i32, _>(&mut store, "id")?;
///     assert_eq!(func.call(&mut store, ())?, id);
/// }
/// # Ok(())
/// # }
/// ```
pub struct InstancePre<T> {
    module: Module,
    /// One for each import, in order, of the type that the module expects. What is checked stays
    /// true: the only types that change are those of memories and tables, and these only grow.
    imports: Arc<[Definition]>,
    _data: PhantomData<fn(&mut T)>,
}

impl<T> Clone for InstancePre<T> {
    fn clone(&self) -> Self {
        Self { module: self.module.clone(), imports: self.imports.clone(), _data: PhantomData }
    }
}

impl<T> fmt::Debug for InstancePre<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstancePre").field("module", &self.module.name()).finish_non_exhaustive()
    }
}

impl<T> InstancePre<T> {
    /// A module with what `find` finds for its imports, which is checked.
    pub(crate) fn new<'d>(
        store: &StoreInner<T>,
        module: &Module,
        find: impl Fn(&Import) -> Option<&'d Definition>,
        pace: &mut Pace<'_>,
    ) -> Result<Self> {
        if !Engine::same(module.engine(), &store.engine) {
            bail!("the module and the store belong to different engines");
        }
        let info = module.info();
        let definition = |import: &Import| {
            pace.spend(PER_IMPORT)?;
            let Some(definition) = find(import) else {
                bail!(
                    "unknown import: the module expects `{}::{}` to be a {}, and nothing is defined under \
                     that name",
                    import.module,
                    import.name,
                    info.entity_type(import.entity),
                );
            };
            imports::check_definition(store, info, import, definition)?;
            Ok(definition.clone())
        };
        let imports = info.imports.iter().map(definition).collect::<Result<_>>()?;
        Ok(Self { module: module.clone(), imports, _data: PhantomData })
    }

    /// Whether an import binds it to one store.
    pub(crate) fn is_bound(&self) -> bool {
        self.imports.iter().any(|import| matches!(import, Definition::Extern(_)))
    }

    /// Instantiates the module, and runs its start function.
    ///
    /// # Errors
    ///
    /// Fails if the store is of another engine, or another than the one to which an import belongs,
    /// if a limit is met, or, with a [`Trap`](crate::Trap), if a segment does not fit or the
    /// start function traps.
    ///
    /// # Panics
    ///
    /// Panics if the store is async, and with the panic of a host function.
    pub fn instantiate(&self, mut store: impl AsContextMut<Data = T>) -> Result<Instance> {
        let store = store.as_context_mut().0;
        store.assert_async(false, "InstancePre::instantiate");
        let imports = self.place(store, &mut Pace::straight())?;
        // SAFETY: the types were checked by `new`, the store by `place`.
        unsafe { Instance::of_checked(store, &self.module, &imports) }
    }

    /// As [`instantiate`](Self::instantiate), for async stores: the start function may suspend.
    ///
    /// # Errors
    ///
    /// As for [`instantiate`](Self::instantiate).
    ///
    /// # Panics
    ///
    /// The future panics if the store is not async, and with the panic of a host function.
    pub async fn instantiate_async(
        &self,
        mut store: impl AsContextMut<Data = T>,
    ) -> Result<Instance>
    where
        T: Send,
    {
        let store = store.as_context_mut().0;
        store.assert_async(true, "InstancePre::instantiate");
        let imports = if self.module.has_many_imports() {
            store.paced(|store, pace| self.place(store, pace)).await?
        } else {
            self.place(store, &mut Pace::straight())?
        };
        // SAFETY: as in `instantiate`.
        unsafe { Instance::of_checked_async(store, &self.module, &imports).await }
    }

    /// The imports in this store, none of which is of another one.
    fn place(&self, store: &mut StoreInner<T>, pace: &mut Pace<'_>) -> Result<Vec<Extern>> {
        if !Engine::same(self.module.engine(), &store.engine) {
            bail!("the module and the store belong to different engines");
        }
        let imports = self.module.info().imports.iter().zip(&*self.imports);
        // Before anything takes a place in the store.
        for (import, definition) in imports {
            pace.spend(PER_IMPORT)?;
            if let Definition::Extern(item) = definition {
                imports::check_store(store, import, item)?;
            }
        }
        let place = |definition: &Definition| {
            pace.spend(PER_IMPORT)?;
            definition.place(store)
        };
        self.imports.iter().map(place).collect()
    }
}
