//! Linkers: names for what modules import.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use anyhow::{Result, bail};

use crate::compile::EntityIndex;
use crate::engine::Engine;
use crate::externs::Extern;
use crate::func::{Caller, HostDefinition, IntoFunc};
use crate::instance::{self, Instance};
use crate::module::Module;
use crate::store::{AsContextMut, StoreInner};
use crate::trap::Trap;
use crate::types::FuncType;
use crate::values::Val;

/// What modules may import, by two names.
///
/// Host functions are defined once, without a store, and placed into each store in which a module is instantiated.
///
/// ```
/// # fn main() -> anyhow::Result<()> {
/// use lampwick::{Engine, Linker, Module, Store};
///
/// let engine = Engine::default();
/// let mut linker = Linker::new(&engine);
/// linker.func_wrap("host", "double", |x: i32| x.wrapping_mul(2))?;
/// let module = Module::new(
///     &engine,
///     r#"(module
///         (import "host" "double" (func $double (param i32) (result i32)))
///         (func (export "quadruple") (param i32) (result i32)
///             local.get 0 call $double call $double))"#,
/// )?;
/// let mut store = Store::new(&engine, ());
/// let instance = linker.instantiate(&mut store, &module)?;
/// let quadruple = instance.get_typed_func::<i32, i32, _>(&mut store, "quadruple")?;
/// assert_eq!(quadruple.call(&mut store, 5)?, 20);
/// # Ok(())
/// # }
/// ```
pub struct Linker<T> {
    engine: Engine,
    definitions: HashMap<Box<str>, HashMap<Box<str>, Definition>>,
    allow_shadowing: bool,
    _data: std::marker::PhantomData<fn(&mut T)>,
}

#[derive(Clone)]
enum Definition {
    Extern(Extern),
    Host(Arc<HostDefinition>),
}

impl<T> Clone for Linker<T> {
    /// A copy that goes its own way.
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            definitions: self.definitions.clone(),
            allow_shadowing: self.allow_shadowing,
            _data: self._data,
        }
    }
}

impl<T> Default for Linker<T> {
    /// An empty linker in an engine of its own.
    ///
    /// # Panics
    ///
    /// Panics where [`Engine::new`] fails.
    fn default() -> Self {
        Self::new(&Engine::default())
    }
}

impl<T> fmt::Debug for Linker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self
            .definitions
            .iter()
            .flat_map(|(module, names)| names.keys().map(move |name| format!("{module}::{name}")));
        f.debug_set().entries(names).finish()
    }
}

impl<T> Linker<T> {
    /// An empty linker.
    pub fn new(engine: &Engine) -> Self {
        Self {
            engine: engine.clone(),
            definitions: HashMap::new(),
            allow_shadowing: false,
            _data: std::marker::PhantomData,
        }
    }

    /// The engine that the linker was made with.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Whether a name may be defined again, the last definition being the one that counts. Off by default.
    pub fn allow_shadowing(&mut self, allow: bool) -> &mut Self {
        self.allow_shadowing = allow;
        self
    }

    /// Defines something of a store. Modules can then be instantiated in that store only.
    ///
    /// # Errors
    ///
    /// Fails if the name is taken, unless [shadowing](Self::allow_shadowing) is allowed.
    pub fn define(
        &mut self,
        module: &str,
        name: &str,
        item: impl Into<Extern>,
    ) -> Result<&mut Self> {
        self.insert(module, name, Definition::Extern(item.into()))
    }

    /// Defines a host function of the type `ty`; see [`Func::new`](crate::Func::new).
    ///
    /// # Errors
    ///
    /// Fails if the name is taken, unless [shadowing](Self::allow_shadowing) is allowed.
    pub fn func_new(
        &mut self,
        module: &str,
        name: &str,
        ty: FuncType,
        func: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<(), Trap> + Send + Sync + 'static,
    ) -> Result<&mut Self> {
        self.define_host(module, name, HostDefinition::new(ty, func))
    }

    /// Defines an async host function of the type `ty`; see [`Func::new_async`](crate::Func::new_async).
    ///
    /// # Errors
    ///
    /// Fails if the name is taken, unless [shadowing](Self::allow_shadowing) is allowed.
    ///
    /// # Panics
    ///
    /// Panics if the engine is not async.
    pub fn func_new_async<F>(
        &mut self,
        module: &str,
        name: &str,
        ty: FuncType,
        func: F,
    ) -> Result<&mut Self>
    where
        F: for<'a> Fn(
                Caller<'a, T>,
                &'a [Val],
                &'a mut [Val],
            ) -> Box<dyn Future<Output = Result<(), Trap>> + Send + 'a>
            + Send
            + Sync
            + 'static,
    {
        self.assert_async("func_new_async");
        self.define_host(module, name, HostDefinition::new_async(ty, func))
    }

    /// Defines a host function whose type is that of the closure; see [`Func::wrap`](crate::Func::wrap).
    ///
    /// # Errors
    ///
    /// Fails if the name is taken, unless [shadowing](Self::allow_shadowing) is allowed.
    pub fn func_wrap<Params, Results>(
        &mut self,
        module: &str,
        name: &str,
        func: impl IntoFunc<T, Params, Results>,
    ) -> Result<&mut Self> {
        self.define_host(module, name, func.into_definition())
    }

    /// Defines everything that an instance exports, under one module name.
    ///
    /// # Errors
    ///
    /// Fails if a name is taken, unless [shadowing](Self::allow_shadowing) is allowed.
    pub fn instance(
        &mut self,
        mut store: impl AsContextMut<Data = T>,
        module: &str,
        instance: Instance,
    ) -> Result<&mut Self> {
        let exports: Vec<_> = instance
            .exports(store.as_context_mut())
            .map(|export| (export.name().to_owned(), export.into_extern()))
            .collect();
        for (name, item) in exports {
            self.define(module, &name, item)?;
        }
        Ok(self)
    }

    /// Instantiates a module with what is defined, and runs its start function.
    ///
    /// # Errors
    ///
    /// Fails if something is not defined or of another type, if a limit is met, or, with a [`Trap`], if a segment
    /// does not fit or the start function traps.
    ///
    /// # Panics
    ///
    /// Panics if the store is async.
    pub fn instantiate(
        &self,
        mut store: impl AsContextMut<Data = T>,
        module: &Module,
    ) -> Result<Instance> {
        let imports = self.imports(store.as_context_mut().0, module)?;
        Instance::new(store, module, &imports)
    }

    /// As [`instantiate`](Self::instantiate), for async stores.
    ///
    /// # Errors
    ///
    /// As for [`instantiate`](Self::instantiate).
    ///
    /// # Panics
    ///
    /// The future panics if the store is not async.
    pub async fn instantiate_async(
        &self,
        mut store: impl AsContextMut<Data = T>,
        module: &Module,
    ) -> Result<Instance>
    where
        T: Send,
    {
        let imports = self.imports(store.as_context_mut().0, module)?;
        Instance::new_async(store, module, &imports).await
    }

    /// What is defined under these names; a host function is placed into the store.
    pub fn get(
        &self,
        mut store: impl AsContextMut<Data = T>,
        module: &str,
        name: Option<&str>,
    ) -> Option<Extern> {
        let definition = self.definitions.get(module)?.get(name?)?;
        definition.resolve(store.as_context_mut().0).ok()
    }

    pub(crate) fn assert_async(&self, method: &str) {
        assert!(
            self.engine.is_async(),
            "cannot use `{method}` with an engine that is not async (see `Config::async_support`)"
        );
    }

    pub(crate) fn define_host(
        &mut self,
        module: &str,
        name: &str,
        definition: HostDefinition,
    ) -> Result<&mut Self> {
        self.insert(module, name, Definition::Host(Arc::new(definition)))
    }

    fn insert(&mut self, module: &str, name: &str, item: Definition) -> Result<&mut Self> {
        if !self.definitions.contains_key(module) {
            self.definitions.insert(module.into(), HashMap::new());
        }
        let names = self.definitions.get_mut(module).expect("just inserted");
        if !self.allow_shadowing && names.contains_key(name) {
            bail!("`{module}::{name}` is defined already");
        }
        names.insert(name.into(), item);
        Ok(self)
    }

    /// Everything that a module imports, in order.
    fn imports(&self, store: &mut StoreInner<T>, module: &Module) -> Result<Vec<Extern>> {
        if !Engine::same(&self.engine, &store.engine) {
            bail!("the linker and the store belong to different engines");
        }
        let info = module.info();
        let mut imports = Vec::with_capacity(info.imports.len());
        for import in &info.imports {
            let names = self.definitions.get(import.module.as_str());
            let Some(definition) = names.and_then(|names| names.get(import.name.as_str())) else {
                bail!(
                    "unknown import: the module expects `{}::{}` to be a {}, and nothing is defined under \
                     that name",
                    import.module,
                    import.name,
                    info.entity_type(import.entity),
                );
            };
            // A function of the wrong type is refused before it takes a place in the store.
            if let (Definition::Host(host), EntityIndex::Function(index)) =
                (definition, import.entity)
            {
                let (expected, found) = (info.function_type(index), host.ty());
                if expected != found {
                    let (expected, found) = (expected.clone().into(), found.clone().into());
                    return Err(instance::mismatch(import, &expected, &found));
                }
            }
            imports.push(definition.resolve(store)?);
        }
        Ok(imports)
    }
}

impl Definition {
    fn resolve<T>(&self, store: &mut StoreInner<T>) -> Result<Extern> {
        Ok(match self {
            Self::Extern(item) => *item,
            Self::Host(definition) => definition.try_place(store)?.into(),
        })
    }
}
