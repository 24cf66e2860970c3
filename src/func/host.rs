//! Host functions, defined once and placed into stores.

use std::any::Any;
use std::future::Future;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};

use super::wrap::{finish, note};
use super::{Caller, Closure, Func, WasmParams, WasmRet};
use crate::engine::{Engine, TypeHandle};
use crate::store::StoreInner;
use crate::trap::Trap;
use crate::types::{FuncType, ValType};
use crate::values::{Val, externs_among};
use crate::vm::externs::ByAddress;
use crate::vm::host::{self, HostCall, HostCaller, HostError, HostFunction};
use crate::vm::layout::{VMContext, VMHostContext, ValRaw};

/// A function of the host before it is in a store.
#[derive(Clone)]
pub struct HostDefinition {
    ty: FuncType,
    call: HostCall,
    closure: Closure,
    /// The type in the first engine that the function was placed in, which for nearly all is the only
    /// one.
    known: OnceLock<TypeHandle>,
}

impl HostDefinition {
    /// A function whose closure `call` knows how to call.
    pub(super) fn from_parts<F: Any + Send + Sync>(ty: FuncType, call: HostCall, func: F) -> Self {
        Self { ty, call, closure: Arc::new(func), known: OnceLock::new() }
    }

    /// A function that takes and gives values of any type.
    pub(crate) fn new<T, F>(ty: FuncType, func: F) -> Self
    where
        F: Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<(), Trap> + Send + Sync + 'static,
    {
        Self::from_parts(ty.clone(), call_untyped::<T, F>, Untyped::new(ty, func))
    }

    /// The same for an async function.
    pub(crate) fn new_async<T, F>(ty: FuncType, func: F) -> Self
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
        Self::from_parts(ty.clone(), call_untyped_async::<T, F>, Untyped::new(ty, func))
    }

    /// An async function whose parameters come as one: a value or a tuple.
    pub(crate) fn wrap_async<T, F, Params, R>(func: F) -> Self
    where
        F: for<'a> Fn(Caller<'a, T>, Params) -> Box<dyn Future<Output = R> + Send + 'a>
            + Send
            + Sync
            + 'static,
        Params: WasmParams,
        R: WasmRet,
    {
        let ty = FuncType::new(Params::types(), R::Results::types());
        Self::from_parts(ty, call_tuple_async::<T, F, Params, R>, func)
    }

    /// The type of the function.
    pub(crate) fn ty(&self) -> &FuncType {
        &self.ty
    }

    /// The function in a store.
    ///
    /// # Panics
    ///
    /// Panics if there is no memory for the trampolines of its type, or if that names a type which
    /// the engine does not have.
    pub(crate) fn place<T>(&self, store: &mut StoreInner<T>) -> Func {
        self.try_place(store).unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// The function in a store.
    pub(crate) fn try_place<T>(&self, store: &mut StoreInner<T>) -> Result<Func> {
        let failed = || format!("cannot make a host function of type {}", self.ty);
        let ty = self.type_in(&store.engine).with_context(failed)?;
        let trampolines = ty.trampolines(&store.engine).with_context(failed)?;
        let code = (trampolines.enter, trampolines.exit);
        let vm = &raw mut store.vm;
        // SAFETY: the function is kept in this store, and so is its type with the trampolines; `call`
        // was made for the closure, which is of that type.
        let mut function =
            unsafe { HostFunction::new(vm, self.call, self.closure.clone(), code, ty.record()) };
        store.types.push(ty.into_group());
        let record = NonNull::new(function.func_ref()).expect("in a box");
        store.vm.add_host_function(function);
        // SAFETY: the record is in this store.
        Ok(unsafe { Func::from_record(&store.vm, record) })
    }

    /// The type in an engine. Looking it up would hash it, and lock what all workers share.
    fn type_in(&self, engine: &Engine) -> Result<TypeHandle> {
        if let Some(known) = self.known.get()
            && known.is_of(engine.types())
        {
            return Ok(known.clone());
        }
        let found = engine.types().function(&self.ty)?;
        // Another engine may have been first.
        let _ = self.known.set(found.clone());
        Ok(found)
    }

    /// The function in a store, where it has one place however often it is asked for.
    pub(crate) fn place_once<T>(self: &Arc<Self>, store: &mut StoreInner<T>) -> Result<Func> {
        let address = Arc::as_ptr(self) as usize;
        if let Some((_, func)) = store.placed.0.as_ref().and_then(|map| map.get(&address)) {
            return Ok(*func);
        }
        let func = self.try_place(store)?;
        store.placed.0.get_or_insert_default().insert(address, (self.clone(), func));
        Ok(func)
    }
}

/// The definitions that have their place in a store, by address. They are kept, so that no address
/// comes again.
#[derive(Default)]
pub(crate) struct Placed(Option<Box<Places>>);

type Places = ByAddress<(Arc<HostDefinition>, Func)>;

/// A closure that takes and gives values of any type.
struct Untyped<F> {
    ty: FuncType,
    /// What is converted with some work: the lists of values, and references.
    conversions: usize,
    func: F,
}

impl<F> Untyped<F> {
    fn new(ty: FuncType, func: F) -> Self {
        let references =
            ty.params().filter(|ty| matches!(ty, ValType::Ref(_) | ValType::ExternRef));
        Self { conversions: 1 + references.count(), ty, func }
    }

    /// # Safety
    ///
    /// `values` must hold arguments of the function's type.
    unsafe fn arguments<T>(&self, caller: &Caller<'_, T>, values: *const ValRaw) -> Vec<Val> {
        let store = crate::store::AsContext::as_context(caller).0;
        let param = |(index, ty)| {
            // SAFETY: by contract.
            unsafe { Val::from_raw(&store.vm, ty, values.add(index).read()) }
        };
        self.ty.params().enumerate().map(param).collect()
    }

    fn empty_results(&self) -> Vec<Val> {
        self.ty.results().map(Val::default_of).collect()
    }

    /// # Safety
    ///
    /// `values` must have room for the results, and nothing of the store may be borrowed.
    unsafe fn store_results<T>(
        &self,
        call: &HostCaller,
        results: &[Val],
        values: *mut ValRaw,
    ) -> Result<(), HostError> {
        // SAFETY: by contract.
        let store = unsafe {
            call.make_room(externs_among(results))?;
            store_of::<T>(call)
        };
        for (index, (ty, result)) in self.ty.results().zip(results).enumerate() {
            let raw = result
                .to_raw(&mut store.vm, ty)
                .with_context(|| format!("result {index} of a host function"))?;
            // SAFETY: by contract.
            unsafe { values.add(index).write(raw) };
        }
        Ok(())
    }
}

/// Calls an [`Untyped`] closure.
unsafe extern "C" fn call_untyped<T, F>(
    context: *mut VMHostContext,
    caller: *mut VMContext,
    values: *mut ValRaw,
) where
    F: Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<(), Trap> + 'static,
{
    // SAFETY: the exit trampoline passes a context whose closure is this one and arguments of its
    // type.
    unsafe {
        host::run(context, caller, |this: &Untyped<F>, call| {
            call.converts(this.conversions)?;
            let caller = Caller::<T>::new(&call);
            let params = this.arguments(&caller, values);
            let mut results = this.empty_results();
            (this.func)(caller, &params, &mut results)?;
            this.store_results::<T>(&call, &results, values)
        });
    }
}

/// Calls an [`Untyped`] async closure.
unsafe extern "C" fn call_untyped_async<T, F>(
    context: *mut VMHostContext,
    caller: *mut VMContext,
    values: *mut ValRaw,
) where
    F: for<'a> Fn(
            Caller<'a, T>,
            &'a [Val],
            &'a mut [Val],
        ) -> Box<dyn Future<Output = Result<(), Trap>> + Send + 'a>
        + 'static,
{
    // SAFETY: as above.
    unsafe {
        host::run(context, caller, |this: &Untyped<F>, call| {
            call.converts(this.conversions)?;
            let caller = Caller::<T>::new(&call);
            let params = this.arguments(&caller, values);
            let mut results = this.empty_results();
            block_on(&call, (this.func)(caller, &params, &mut results))??;
            this.store_results::<T>(&call, &results, values)
        });
    }
}

/// Calls an async closure that takes its parameters as one.
unsafe extern "C" fn call_tuple_async<T, F, Params, R>(
    context: *mut VMHostContext,
    caller: *mut VMContext,
    values: *mut ValRaw,
) where
    F: for<'a> Fn(Caller<'a, T>, Params) -> Box<dyn Future<Output = R> + Send + 'a> + 'static,
    Params: WasmParams,
    R: WasmRet,
{
    // SAFETY: as above.
    unsafe {
        host::run(context, caller, |func: &F, call| {
            note::<Params>(&call)?;
            let params = Params::load_raw(&store_of::<T>(&call).vm, values);
            let answer = block_on(&call, func(Caller::new(&call), params))?;
            finish::<T, R>(&call, answer, values)
        });
    }
}

/// Waits for a host function's future by suspending the fiber.
///
/// # Safety
///
/// Must be called by the host function that `call` is the call of.
pub(super) unsafe fn block_on<R>(
    call: &HostCaller,
    future: Box<dyn Future<Output = R> + Send + '_>,
) -> Result<R, HostError> {
    let mut future = Box::into_pin(future);
    // SAFETY: the call is running.
    let suspender = unsafe { call.suspender() };
    suspender.block_on_pinned(future.as_mut()).map_err(|_cancelled| HostError::Cancelled)
}

/// The store of a call.
///
/// # Safety
///
/// It must hold data of type `T`, and nothing of it may be borrowed while the answer is used.
pub(super) unsafe fn store_of<'a, T>(call: &HostCaller) -> &'a mut StoreInner<T> {
    // SAFETY: by contract.
    unsafe { &mut *call.store().cast() }
}

impl From<Trap> for HostError {
    fn from(trap: Trap) -> Self {
        Self::Error(trap.into())
    }
}

impl From<anyhow::Error> for HostError {
    fn from(error: anyhow::Error) -> Self {
        Self::Error(error)
    }
}
