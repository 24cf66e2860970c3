//! Linkers: names for what modules import.

mod modules;
mod names;

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use anyhow::{Result, bail};

use crate::compile::Import;
use crate::engine::Engine;
use crate::externs::{Definition, Extern};
use crate::func::{Caller, HostDefinition, IntoFunc, WasmParams, WasmRet};
use crate::instance::{Instance, InstancePre};
use crate::module::Module;
use crate::store::{AsContextMut, StoreInner};
use crate::trap::Trap;
use crate::types::FuncType;
use crate::values::Val;
use crate::vm::pace::Pace;

use names::Names;

/// What modules may import, by two names.
///
/// Host functions are defined once, without a store; each gets one place in every store in which it
/// is used. What belongs to a store can be defined, too, and is refused in other stores.
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
    names: Names,
    allow_unknown_exports: bool,
    /// What [`get_default`](Self::get_default) answers for want of anything better.
    nothing: Arc<HostDefinition>,
    _data: PhantomData<fn(&mut T)>,
}

impl<T> Clone for Linker<T> {
    /// A copy that goes its own way: what is defined in one is not seen by the other, and each
    /// works without the other.
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            names: self.names.clone(),
            allow_unknown_exports: self.allow_unknown_exports,
            nothing: self.nothing.clone(),
            _data: PhantomData,
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
        self.names.fmt(f)
    }
}

impl<T> Linker<T> {
    /// An empty linker.
    pub fn new(engine: &Engine) -> Self {
        Self {
            engine: engine.clone(),
            names: Names::default(),
            allow_unknown_exports: false,
            nothing: Arc::new(IntoFunc::<T, (), ()>::into_definition(|| ())),
            _data: PhantomData,
        }
    }

    /// The engine that the linker was made with.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Whether a name may be defined again, the last definition being the one that counts. Off by
    /// default.
    pub fn allow_shadowing(&mut self, allow: bool) -> &mut Self {
        self.names.allow_shadowing = allow;
        self
    }

    /// Whether [`module`](Self::module) passes over exports of a command that are no functions and
    /// that it does not know. Off by default: they are errors.
    pub fn allow_unknown_exports(&mut self, allow: bool) -> &mut Self {
        self.allow_unknown_exports = allow;
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
        self.names.insert(module, Some(name), Definition::Extern(item.into()))?;
        Ok(self)
    }

    /// Defines something of a store under one name instead of two.
    ///
    /// The imports of modules always have two names, so that none of them sees it: it is there for
    /// [`get`](Self::get) with this name and no second one.
    ///
    /// # Errors
    ///
    /// Fails if the name is taken, unless [shadowing](Self::allow_shadowing) is allowed.
    pub fn define_name(&mut self, name: &str, item: impl Into<Extern>) -> Result<&mut Self> {
        self.names.insert(name, None, Definition::Extern(item.into()))?;
        Ok(self)
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

    /// Defines an async host function of the type `ty`; see
    /// [`Func::new_async`](crate::Func::new_async).
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

    /// Defines a host function whose type is that of the closure; see
    /// [`Func::wrap`](crate::Func::wrap).
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

    /// Defines an async host function that takes the [`Caller`] and its parameters as one: a tuple,
    /// or a single value. See [`Func::wrap1_async`](crate::Func::wrap1_async) and its like.
    ///
    /// ```
    /// # fn main() -> anyhow::Result<()> {
    /// use lampwick::{Caller, Config, Engine, Linker};
    ///
    /// let engine = Engine::new(Config::new().async_support(true))?;
    /// let mut linker = Linker::<i32>::new(&engine);
    /// linker.func_wrap_async("host", "add", |caller: Caller<'_, i32>, (a, b): (i32, i32)| {
    ///     Box::new(async move { a + b + *caller.data() })
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Fails if the name is taken, unless [shadowing](Self::allow_shadowing) is allowed.
    ///
    /// # Panics
    ///
    /// Panics if the engine is not async.
    pub fn func_wrap_async<F, Params, R>(
        &mut self,
        module: &str,
        name: &str,
        func: F,
    ) -> Result<&mut Self>
    where
        F: for<'a> Fn(Caller<'a, T>, Params) -> Box<dyn Future<Output = R> + Send + 'a>
            + Send
            + Sync
            + 'static,
        Params: WasmParams,
        R: WasmRet,
    {
        self.assert_async("func_wrap_async");
        self.define_host(module, name, HostDefinition::wrap_async(func))
    }

    /// Instantiates a module with what is defined, and runs its start function.
    ///
    /// # Errors
    ///
    /// Fails if something is not defined, of another type or of another store, if a limit is met,
    /// or, with a [`Trap`], if a segment does not fit or the start function traps.
    ///
    /// # Panics
    ///
    /// Panics if the store is async, and with the panic of a host function.
    pub fn instantiate(
        &self,
        mut store: impl AsContextMut<Data = T>,
        module: &Module,
    ) -> Result<Instance> {
        let store = store.as_context_mut();
        store.0.assert_async(false, "Linker::instantiate");
        self.resolve(store.0, module, &mut Pace::straight())?.instantiate(store)
    }

    /// As [`instantiate`](Self::instantiate), for async stores.
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
        module: &Module,
    ) -> Result<Instance>
    where
        T: Send,
    {
        let store = store.as_context_mut();
        store.0.assert_async(true, "Linker::instantiate");
        let pre = if module.has_many_imports() {
            store.0.paced(|store, pace| self.resolve(store, module, pace)).await?
        } else {
            self.resolve(store.0, module, &mut Pace::straight())?
        };
        pre.instantiate_async(store).await
    }

    /// Finds what a module imports and checks the types, once for any number of instances.
    ///
    /// The store is the one of which definitions may be; see [`InstancePre`] for those that are of
    /// none.
    ///
    /// # Errors
    ///
    /// Fails if something is not defined, of another type, or of another store.
    pub fn instantiate_pre(
        &self,
        mut store: impl AsContextMut<Data = T>,
        module: &Module,
    ) -> Result<InstancePre<T>> {
        self.resolve(store.as_context_mut().0, module, &mut Pace::straight())
    }

    fn resolve(
        &self,
        store: &StoreInner<T>,
        module: &Module,
        pace: &mut Pace<'_>,
    ) -> Result<InstancePre<T>> {
        if !Engine::same(&self.engine, &store.engine) {
            bail!("the linker and the store belong to different engines");
        }
        let find = |import: &Import| self.names.get(&import.module, Some(&import.name));
        InstancePre::new(store, module, find, pace)
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
        self.names.insert(module, Some(name), Definition::Host(Arc::new(definition)))?;
        Ok(self)
    }
}
