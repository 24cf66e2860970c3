//! Functions, of wasm and of the host.

mod caller;
mod host;
mod ty;
mod typed;
mod wrap;

use std::any::Any;
use std::future::Future;
use std::ptr::NonNull;
use std::sync::Arc;

use anyhow::{Result, bail};

pub use caller::Caller;
pub(crate) use host::{HostDefinition, Placed};
pub use ty::{WasmParams, WasmResults, WasmTy};
pub use typed::TypedFunc;
pub use wrap::{IntoFunc, WasmRet};

use crate::engine::DefinedType;
use crate::store::{AsContext, AsContextMut, Invocation, StoreInner};
use crate::trap::Trap;
use crate::types::{ConcreteType, FuncType};
use crate::values::{Val, make_room};
use crate::vm::layout::{VMFuncRef, ValRaw};
use crate::vm::store::{Store, StoreId};

/// A function of a store: one that an instance exports or hands out, or one of the host.
///
/// A handle: small, copied freely, valid with the store that it came from.
#[derive(Clone, Copy, Debug)]
pub struct Func {
    store: StoreId,
    /// Lives as long as the store.
    record: NonNull<VMFuncRef>,
}

// SAFETY: the record is read only by a thread that has the store.
unsafe impl Send for Func {}
// SAFETY: as above.
unsafe impl Sync for Func {}

impl Func {
    /// A function of the host with the type `ty`, which is checked at each call.
    ///
    /// The closure gets the arguments and a slice for the results, which holds zeros and nulls; it
    /// must put values of the right types there. [`Func::wrap`] is faster and safer where the
    /// type is known.
    ///
    /// ```
    /// use lampwick::{Func, FuncType, Store, Val, ValType};
    ///
    /// # fn main() -> anyhow::Result<()> {
    /// let mut store = Store::<()>::default();
    /// let ty = FuncType::new([ValType::I32, ValType::I32], [ValType::I32]);
    /// let add = Func::new(&mut store, ty, |_caller, args, results| {
    ///     results[0] = Val::I32(args[0].unwrap_i32().wrapping_add(args[1].unwrap_i32()));
    ///     Ok(())
    /// });
    /// let results = add.call(&mut store, &[Val::I32(3), Val::I32(4)])?;
    /// assert_eq!(results[0].unwrap_i32(), 7);
    /// # Ok(())
    /// # }
    /// ```
    /// # Panics
    ///
    /// Panics if there is no memory for the code that calls functions of this type.
    pub fn new<T>(
        mut store: impl AsContextMut<Data = T>,
        ty: FuncType,
        func: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<(), Trap> + Send + Sync + 'static,
    ) -> Self {
        HostDefinition::new(ty, func).place(store.as_context_mut().0)
    }

    /// An async function of the host with the type `ty`, which is checked at each call.
    ///
    /// While its future is pending the guest's fiber is suspended. If the call of wasm is
    /// dropped meanwhile, the future is dropped with it.
    ///
    /// ```
    /// use lampwick::{Config, Engine, Func, FuncType, Store, Val, ValType};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> anyhow::Result<()> {
    /// let engine = Engine::new(Config::new().async_support(true))?;
    /// let mut store = Store::new(&engine, 5);
    /// let ty = FuncType::new([], [ValType::I32]);
    /// let later = Func::new_async(&mut store, ty, |caller, _args, results| {
    ///     Box::new(async move {
    ///         tokio::task::yield_now().await;
    ///         results[0] = Val::I32(*caller.data());
    ///         Ok(())
    ///     })
    /// });
    /// assert_eq!(later.call_async(&mut store, &[]).await?[0].unwrap_i32(), 5);
    /// # Ok(())
    /// # }
    /// ```
    /// # Panics
    ///
    /// Panics if the store's engine is not async, or if there is no memory for the code that calls
    /// functions of this type.
    pub fn new_async<T, F>(mut store: impl AsContextMut<Data = T>, ty: FuncType, func: F) -> Self
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
        let store = store.as_context_mut().0;
        store.assert_async(true, "Func::new");
        HostDefinition::new_async(ty, func).place(store)
    }

    /// A function of the host whose type is that of the closure.
    ///
    /// It takes up to 16 parameters, before them a [`Caller`] if wanted, and answers nothing, a
    /// value, a tuple, or a `Result` of one of these with a [`Trap`].
    ///
    /// ```
    /// use lampwick::{Caller, Func, Store};
    ///
    /// let mut store = Store::<u32>::default();
    /// let add = Func::wrap(&mut store, |a: i32, b: i32| a.wrapping_add(b));
    /// let count = Func::wrap(&mut store, |mut caller: Caller<'_, u32>| *caller.data_mut() += 1);
    /// # let _ = (add, count);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if there is no memory for the code that calls functions of this type.
    pub fn wrap<T, Params, Results>(
        mut store: impl AsContextMut<Data = T>,
        func: impl IntoFunc<T, Params, Results>,
    ) -> Self {
        func.into_definition().place(store.as_context_mut().0)
    }

    /// The type of the function.
    ///
    /// # Panics
    ///
    /// Panics if the function belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> FuncType {
        let store = store.as_context().0;
        self.ty_in(store).unwrap_or_else(|error| panic!("{error}")).clone()
    }

    /// The type of the function, if it belongs to this store.
    fn ty_in<'a, T>(&self, store: &'a StoreInner<T>) -> Result<&'a FuncType> {
        let record = self.record(store)?;
        // SAFETY: records live as long as their store, which keeps the types of its functions, too.
        Ok(unsafe { DefinedType::of(record.as_ref().ty) }.func())
    }

    /// Calls the function and waits for it.
    ///
    /// # Errors
    ///
    /// Fails, without a call, if arguments are of the wrong number or types, or belong to another
    /// store; fails with a [`Trap`] (by `downcast`) if the guest traps.
    ///
    /// # Panics
    ///
    /// Panics if the store is async, and with the panic of a host function.
    pub fn call(&self, mut store: impl AsContextMut, params: &[Val]) -> Result<Box<[Val]>> {
        let store = store.as_context_mut().0;
        store.assert_async(false, "Func::call");
        make_room(&mut store.vm, params);
        let (function, ty, mut values) = self.prepare(store, params)?;
        // SAFETY: `prepare` checked the arguments and made room for the results.
        unsafe { store.call(Invocation { function, values: values.as_mut_ptr() })? };
        // SAFETY: the function left its results.
        Ok(unsafe { results(store, &ty, &values) })
    }

    /// Calls the function on a fiber of its own, which suspends where the guest has to wait or has
    /// burned its slice of fuel.
    ///
    /// Dropping the future ends the call: values of host functions are dropped, the guest goes no
    /// further, and the store can be used again. *Forgetting* an unfinished future
    /// (`mem::forget`) leaks its stack for good; a store whose futures were forgotten 128 times
    /// refuses further calls.
    ///
    /// # Errors
    ///
    /// As for [`Func::call`].
    ///
    /// # Panics
    ///
    /// The future panics if the store is not async, and with the panic of a host function.
    pub async fn call_async<T: Send>(
        &self,
        mut store: impl AsContextMut<Data = T>,
        params: &[Val],
    ) -> Result<Box<[Val]>> {
        let store = store.as_context_mut().0;
        store.assert_async(true, "Func::call");
        let (function, ty, mut values) = self.prepare(store, params)?;
        let invocation = Invocation { function, values: values.as_mut_ptr() };
        // SAFETY: as in `call`.
        let store = unsafe { store.call_async(invocation, params.len()).await? };
        // SAFETY: as in `call`.
        Ok(unsafe { results(store, &ty, &values) })
    }

    /// The same function with its types known to the compiler, which makes calls fast.
    ///
    /// # Errors
    ///
    /// Fails if the function is of another type, or belongs to another store.
    pub fn typed<Params, Results, S>(&self, store: S) -> Result<TypedFunc<Params, Results>>
    where
        Params: WasmParams,
        Results: WasmResults,
        S: AsContext,
    {
        let store = store.as_context().0;
        let ty = self.ty_in(store)?;
        let types = store.engine.types();
        let fits = types.vals_match(Params::types(), ty.params())
            && types.vals_match(ty.results(), Results::types());
        if !fits {
            let asked = FuncType::new(Params::types(), Results::types());
            bail!("the function has type {ty}, not {asked}");
        }
        // SAFETY: what is passed is of the function's types, and what comes back of those asked for.
        Ok(unsafe { TypedFunc::new_unchecked(*self) })
    }

    /// # Safety
    ///
    /// The record must belong to this store.
    pub(crate) unsafe fn from_record(store: &Store, record: NonNull<VMFuncRef>) -> Self {
        Self { store: store.id, record }
    }

    /// The function's record, if it belongs to this store.
    #[inline]
    pub(crate) fn record(&self, store: &Store) -> Result<NonNull<VMFuncRef>> {
        if self.store != store.id {
            bail!("a function was used with another store than its own");
        }
        Ok(self.record)
    }

    /// Whether the function is of a declared type, or of one below it.
    pub(crate) fn is(&self, store: &Store, ty: ConcreteType) -> Result<bool> {
        let record = self.record(store)?;
        // SAFETY: records live as long as their store, which keeps the types of its functions, too.
        Ok(unsafe { (*record.as_ref().ty).is(ty) })
    }

    fn prepare<T>(
        &self,
        store: &mut StoreInner<T>,
        params: &[Val],
    ) -> Result<(NonNull<VMFuncRef>, FuncType, Vec<ValRaw>)> {
        let record = self.record(store)?;
        let ty = self.ty(crate::store::StoreContext(store));
        if params.len() != ty.params().len() {
            bail!("expected {} arguments, found {}", ty.params().len(), params.len());
        }
        let mut values = vec![ValRaw::ZERO; params.len().max(ty.results().len())];
        for (index, ((slot, param), ty)) in
            values.iter_mut().zip(params).zip(ty.params()).enumerate()
        {
            *slot = param
                .to_raw(&mut store.vm, ty)
                .map_err(|error| error.context(format!("argument {index}")))?;
        }
        Ok((record, ty, values))
    }
}

/// The results of a call.
///
/// # Safety
///
/// `values` must hold results of type `ty` that belong to the store.
unsafe fn results<T>(store: &StoreInner<T>, ty: &FuncType, values: &[ValRaw]) -> Box<[Val]> {
    let pairs = ty.results().zip(values);
    // SAFETY: by contract.
    pairs.map(|(ty, &value)| unsafe { Val::from_raw(&store.vm, ty, value) }).collect()
}

/// A closure of the host's, of the type that its `HostCall` was made for.
type Closure = Arc<dyn Any + Send + Sync>;
