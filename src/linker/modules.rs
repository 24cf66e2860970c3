//! Whole modules in a linker: instances, reactors and commands.

use std::sync::Arc;

use anyhow::{Context, Result, bail};

use super::Linker;
use crate::externs::{Definition, Extern};
use crate::func::{Caller, Func, HostDefinition, TypedFunc};
use crate::instance::{Instance, InstancePre};
use crate::module::Module;
use crate::store::{AsContextMut, StoreInner};
use crate::trap::Trap;
use crate::types::{ExternType, FuncType};
use crate::values::Val;
use crate::vm::pace::Pace;

const START: &str = "_start";
const INITIALIZE: &str = "_initialize";

/// How long an instance of a module lives, by the convention of WASI.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// For one call.
    Command,
    /// As long as its store.
    Reactor,
}

impl Kind {
    fn of(module: &Module) -> Result<Self> {
        let function = |name| match module.get_export(name) {
            None => Ok(false),
            Some(ExternType::Func(_)) => Ok(true),
            Some(other) => bail!("the export `{name}` must be a function, but it is a {other}"),
        };
        match (function(START)?, function(INITIALIZE)?) {
            (true, true) => bail!(
                "a module cannot be both a command and a reactor: it exports `{START}` and `{INITIALIZE}`"
            ),
            (true, false) => Ok(Self::Command),
            (false, _) => Ok(Self::Reactor),
        }
    }
}

impl<T> Linker<T> {
    /// Defines everything that an instance exports, under one module name.
    ///
    /// # Errors
    ///
    /// Fails, with nothing defined, if a name is taken, unless [shadowing](Self::allow_shadowing)
    /// is allowed, and if the instance belongs to another store.
    pub fn instance(
        &mut self,
        mut store: impl AsContextMut<Data = T>,
        module: &str,
        instance: Instance,
    ) -> Result<&mut Self> {
        instance.check_store(&store.as_context_mut().0.vm)?;
        let exports = instance.exports(store.as_context_mut());
        let items = exports
            .map(|export| (export.name().to_owned(), Definition::Extern(export.into_extern())))
            .collect();
        self.names.insert_all(module, items)?;
        Ok(self)
    }

    /// Defines what a module exports, under the name `module_name`. What the module imports must be
    /// defined before.
    ///
    /// - A *command*, which exports a function `_start`, gets a new instance for each call of one
    ///   of its functions, so that no call finds what another left behind. The store keeps these
    ///   instances as it keeps all. Only functions are defined. Of other exports, those that
    ///   compilers add by habit are passed over (`memory`, `table`, `__indirect_function_table`,
    ///   `__data_end`, `__heap_base`, `__dso_handle`, `__rtti_base`); the rest are errors unless
    ///   [allowed](Self::allow_unknown_exports). If all that it imports are host functions, its
    ///   functions can be used in every store.
    /// - A *reactor*, which exports a function `_initialize`, is instantiated now, and
    ///   `_initialize` is called.
    /// - Any other module is instantiated now.
    ///
    /// ```
    /// # fn main() -> anyhow::Result<()> {
    /// use lampwick::{Engine, Linker, Module, Store};
    ///
    /// let engine = Engine::default();
    /// let guest = r#"(module
    ///     (global $calls (mut i32) (i32.const 0))
    ///     (func (export "count") (result i32)
    ///         (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    ///         (global.get $calls))
    ///     (func (export "KIND")))"#;
    /// let mut store = Store::new(&engine, ());
    /// for (kind, expected) in [("_start", [1, 1, 1]), ("_initialize", [1, 2, 3])] {
    ///     let mut linker = Linker::new(&engine);
    ///     let module = Module::new(&engine, guest.replace("KIND", kind))?;
    ///     linker.module(&mut store, "guest", &module)?;
    ///     let count = linker.get(&mut store, "guest", Some("count")).unwrap().into_func().unwrap();
    ///     let count = count.typed::<(), i32, _>(&store)?;
    ///     for calls in expected {
    ///         assert_eq!(count.call(&mut store, ())?, calls);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Fails, with nothing defined, if a name is taken and [shadowing](Self::allow_shadowing) is
    /// not allowed, if the module is both a command and a reactor, if one of the two functions
    /// is not one or `_initialize` is not of type `[] -> []`, and as
    /// [`instantiate`](Self::instantiate); with a [`Trap`] if `_initialize` traps.
    ///
    /// # Panics
    ///
    /// Panics if the store is async, and with the panic of a host function.
    pub fn module(
        &mut self,
        mut store: impl AsContextMut<Data = T>,
        module_name: &str,
        module: &Module,
    ) -> Result<&mut Self>
    where
        T: 'static,
    {
        let mut store = store.as_context_mut();
        store.0.assert_async(false, "Linker::module");
        if Kind::of(module)? == Kind::Command {
            return self.command(store.0, module_name, module, command);
        }
        self.check_exports(module_name, module)?;
        let instance = self.instantiate(&mut store, module)?;
        if let Some(initialize) = initialize(&mut store, instance)? {
            initialize.call(&mut store, ()).with_context(|| failed(module_name))?;
        }
        self.instance(store, module_name, instance)
    }

    /// As [`module`](Self::module), for async stores.
    ///
    /// # Errors
    ///
    /// As for [`module`](Self::module).
    ///
    /// # Panics
    ///
    /// The future panics if the store is not async, and with the panic of a host function.
    pub async fn module_async(
        &mut self,
        mut store: impl AsContextMut<Data = T>,
        module_name: &str,
        module: &Module,
    ) -> Result<&mut Self>
    where
        T: Send + 'static,
    {
        let mut store = store.as_context_mut();
        store.0.assert_async(true, "Linker::module");
        if Kind::of(module)? == Kind::Command {
            return self.command(store.0, module_name, module, command_async);
        }
        self.check_exports(module_name, module)?;
        let instance = self.instantiate_async(&mut store, module).await?;
        if let Some(initialize) = initialize(&mut store, instance)? {
            initialize.call_async(&mut store, ()).await.with_context(|| failed(module_name))?;
        }
        self.instance(store, module_name, instance)
    }

    /// The function to call where a module is to be run: what is defined as its `_start`, else what
    /// is defined under the empty name, else a function that does nothing.
    ///
    /// ```
    /// # use lampwick::{Engine, Linker, Module, Store};
    /// # fn main() -> anyhow::Result<()> {
    /// # let engine = Engine::default();
    /// let mut store = Store::new(&engine, ());
    /// let mut linker = Linker::new(&engine);
    /// let program = Module::new(&engine, r#"(module (func (export "_start")))"#)?;
    /// linker.module(&mut store, "program", &program)?;
    /// let start = linker.get_default(&mut store, "program")?;
    /// start.typed::<(), (), _>(&store)?.call(&mut store, ())?;
    /// # Ok(())
    /// # }
    /// ```
    /// # Errors
    ///
    /// Fails if what is defined is not a function.
    ///
    /// # Panics
    ///
    /// As [`get`](Self::get).
    pub fn get_default(
        &self,
        mut store: impl AsContextMut<Data = T>,
        module: &str,
    ) -> Result<Func> {
        for name in [START, ""] {
            match self.get(&mut store, module, Some(name)) {
                Some(Extern::Func(func)) => return Ok(func),
                Some(_) => bail!("`{module}::{name}` is not a function"),
                None => {}
            }
        }
        self.nothing.place_once(store.as_context_mut().0)
    }

    /// That the names of a module's exports can be defined.
    fn check_exports(&self, module_name: &str, module: &Module) -> Result<()> {
        module
            .exports()
            .try_for_each(|export| self.names.check_vacant(module_name, Some(export.name())))
    }

    /// Defines the functions of a command, which `make` makes.
    fn command(
        &mut self,
        store: &mut StoreInner<T>,
        module_name: &str,
        module: &Module,
        make: impl Fn(InstancePre<T>, FuncType, &str) -> HostDefinition,
    ) -> Result<&mut Self> {
        let pre = self.resolve(store, module, &mut Pace::straight())?;
        let mut functions = Vec::new();
        for export in module.exports() {
            match export.ty() {
                ExternType::Func(ty) => {
                    self.names.check_vacant(module_name, Some(export.name()))?;
                    let definition = Arc::new(make(pre.clone(), ty, export.name()));
                    functions.push((export.name().to_owned(), Definition::Host(definition)));
                }
                ty if self.allow_unknown_exports || is_habit(export.name(), &ty) => {}
                ty => bail!(
                    "a command may export functions only, but `{}` is a {ty} (see \
                     `Linker::allow_unknown_exports`)",
                    export.name()
                ),
            }
        }
        if pre.is_bound() {
            // In another store it would fail when it is called; so it is refused when it is
            // imported.
            for (_, definition) in &mut functions {
                *definition = Definition::Extern(definition.place(store)?);
            }
        }
        self.names.insert_all(module_name, functions)?;
        Ok(self)
    }
}

/// A function that makes an instance and calls its export of this name.
fn command<T: 'static>(pre: InstancePre<T>, ty: FuncType, export: &str) -> HostDefinition {
    let export = export.to_owned();
    let call = move |mut caller: Caller<'_, T>, params: &[Val], results: &mut [Val]| {
        let instance = pre.instantiate(&mut caller)?;
        let func = instance.get_func(&mut caller, &export).expect("the module exports it");
        results.clone_from_slice(&func.call(&mut caller, params)?);
        Ok(())
    };
    HostDefinition::new(ty, call)
}

/// The same for async stores.
fn command_async<T: Send + 'static>(
    pre: InstancePre<T>,
    ty: FuncType,
    export: &str,
) -> HostDefinition {
    let export: Arc<str> = export.into();
    HostDefinition::new_async(ty, move |mut caller: Caller<'_, T>, params, results| {
        let (pre, export) = (pre.clone(), export.clone());
        Box::new(async move {
            let instance = pre.instantiate_async(&mut caller).await?;
            let func = instance.get_func(&mut caller, &export).expect("the module exports it");
            results.clone_from_slice(&func.call_async(&mut caller, params).await?);
            Ok::<_, Trap>(())
        })
    })
}

/// A reactor's function that is to be called first.
fn initialize(
    mut store: impl AsContextMut,
    instance: Instance,
) -> Result<Option<TypedFunc<(), ()>>> {
    let func = instance.get_func(store.as_context_mut(), INITIALIZE);
    func.map(|func| func.typed(store.as_context_mut()))
        .transpose()
        .with_context(|| format!("function `{INITIALIZE}`"))
}

fn failed(module_name: &str) -> String {
    format!("`{INITIALIZE}` of the reactor `{module_name}` failed")
}

/// Whether compilers export this from commands, for no use.
fn is_habit(name: &str, ty: &ExternType) -> bool {
    match ty {
        ExternType::Memory(_) => name == "memory",
        ExternType::Table(_) => matches!(name, "table" | "__indirect_function_table"),
        ExternType::Global(_) => {
            matches!(name, "__data_end" | "__heap_base" | "__dso_handle" | "__rtti_base")
        }
        ExternType::Func(_) | ExternType::Tag(_) => false,
    }
}
