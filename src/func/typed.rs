//! Functions whose type the compiler knows.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::ty::sealed::RawList;
use super::{Func, WasmParams, WasmResults};
use crate::store::{AsContextMut, Invocation};
use crate::trap::Trap;
use crate::vm::layout::ValRaw;

/// A [`Func`] whose parameters and results are known to the Rust compiler, so that a call checks
/// nothing and allocates nothing. Made by [`Func::typed`] and
/// [`Instance::get_typed_func`](crate::Instance::get_typed_func).
///
/// ```
/// use lampwick::{Instance, Module, Store, TypedFunc};
///
/// # fn main() -> anyhow::Result<()> {
/// let mut store = Store::<()>::default();
/// let wat = r#"(module (func (export "swap") (param i32 i64) (result i64 i32)
///     (local.get 1) (local.get 0)))"#;
/// let module = Module::new(store.engine(), wat)?;
/// let instance = Instance::new(&mut store, &module, &[])?;
/// let swap: TypedFunc<(i32, i64), (i64, i32)> = instance.get_typed_func(&mut store, "swap")?;
/// assert_eq!(swap.call(&mut store, (1, 2))?, (2, 1));
/// assert!(instance.get_typed_func::<(), (), _>(&mut store, "swap").is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TypedFunc<Params, Results> {
    func: Func,
    _type: PhantomData<fn(Params) -> Results>,
}

impl<Params, Results> Clone for TypedFunc<Params, Results> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Params, Results> Copy for TypedFunc<Params, Results> {}

/// Room for the parameters and then the results of a call.
union Slots<P: RawList, R: RawList> {
    params: MaybeUninit<P::Slots>,
    #[expect(dead_code, reason = "it makes the union large enough")]
    results: MaybeUninit<R::Slots>,
}

impl<P: RawList, R: RawList> Slots<P, R> {
    fn new() -> Self {
        Self { params: MaybeUninit::uninit() }
    }

    fn as_mut_ptr(&mut self) -> *mut ValRaw {
        (&raw mut *self).cast()
    }
}

impl<Params: WasmParams, Results: WasmResults> TypedFunc<Params, Results> {
    /// A function with a type that is not checked; [`Func::typed`] checks it.
    ///
    /// # Safety
    ///
    /// The function must be of this type.
    pub unsafe fn new_unchecked(func: Func) -> Self {
        Self { func, _type: PhantomData }
    }

    /// The function, without its type.
    pub fn func(&self) -> &Func {
        &self.func
    }

    /// Calls the function and waits for it.
    ///
    /// # Errors
    ///
    /// Fails if the guest traps, or if the function or an argument belongs to another store.
    ///
    /// # Panics
    ///
    /// Panics if the store is async, and with the panic of a host function.
    #[inline]
    pub fn call(&self, mut store: impl AsContextMut, params: Params) -> Result<Results, Trap> {
        let store = store.as_context_mut().0;
        store.assert_async(false, "TypedFunc::call");
        let function = self.func.record(store)?;
        let mut slots = Slots::<Params, Results>::new();
        // SAFETY: there is room for both lists; the function is of this type.
        unsafe {
            store.vm.make_room(Params::EXTERNS);
            params.store_raw(&mut store.vm, slots.as_mut_ptr())?;
            store.call(Invocation { function, values: slots.as_mut_ptr() })?;
            Ok(Results::load_raw(&store.vm, slots.as_mut_ptr()))
        }
    }

    /// Calls the function on a fiber, which suspends where the guest has to wait or has burned its
    /// slice of fuel.
    ///
    /// Dropping the future ends the call: values of host functions are dropped, the guest goes no
    /// further, and the store can be used again. *Forgetting* an unfinished future
    /// (`mem::forget`) leaks its stack for good; a store whose futures were forgotten 128 times
    /// refuses further calls.
    ///
    /// # Errors
    ///
    /// As for [`TypedFunc::call`].
    ///
    /// # Panics
    ///
    /// The future panics if the store is not async, and with the panic of a host function.
    #[inline]
    pub async fn call_async<T: Send>(
        &self,
        mut store: impl AsContextMut<Data = T>,
        params: Params,
    ) -> Result<Results, Trap> {
        let store = store.as_context_mut().0;
        store.assert_async(true, "TypedFunc::call");
        let function = self.func.record(store)?;
        let mut slots = Slots::<Params, Results>::new();
        // SAFETY: as in `call`; the slots stay in the future, which is pinned while it exists.
        unsafe {
            params.store_raw(&mut store.vm, slots.as_mut_ptr())?;
            let invocation = Invocation { function, values: slots.as_mut_ptr() };
            let references = if Params::EXTERNS > 0 { Params::LEN } else { 0 };
            let store = store.call_async(invocation, references).await?;
            Ok(Results::load_raw(&store.vm, slots.as_mut_ptr()))
        }
    }
}
