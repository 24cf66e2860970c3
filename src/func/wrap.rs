//! Closures as host functions, of the type that their parameters and results say.

use std::future::Future;

use anyhow::Result;

use super::host::{HostDefinition, block_on, store_of};
use super::ty::for_each_arity;
use super::ty::sealed::{Raw, RawList};
use super::{Caller, Func, WasmResults, WasmTy};
use crate::linker::Linker;
use crate::store::AsContextMut;
use crate::trap::Trap;
use crate::types::FuncType;
use crate::vm::host::{self, HostCaller, HostError};
use crate::vm::layout::{VMContext, VMHostContext, ValRaw};

/// What a host function may answer: [`WasmResults`], or a `Result` of them with a [`Trap`].
pub trait WasmRet: sealed::Ret + Send {}

/// Closures that can be host functions; see [`Func::wrap`].
pub trait IntoFunc<T, Params, Results>: Send + Sync + 'static {
    #[doc(hidden)]
    fn into_definition(self) -> HostDefinition;
}

mod sealed {
    use super::*;

    /// An answer that becomes results or a trap.
    pub trait Ret {
        /// What it is without a trap.
        #[doc(hidden)]
        type Results: WasmResults;

        #[doc(hidden)]
        fn into_results(self) -> Result<Self::Results, Trap>;
    }
}
use sealed::Ret;

impl<R: WasmResults> Ret for R {
    type Results = R;

    #[inline]
    fn into_results(self) -> Result<R, Trap> {
        Ok(self)
    }
}

impl<R: WasmResults> WasmRet for R {}

impl<R: WasmResults> Ret for Result<R, Trap> {
    type Results = R;

    #[inline]
    fn into_results(self) -> Self {
        self
    }
}

impl<R: WasmResults> WasmRet for Result<R, Trap> {}

/// Puts a host function's results where its trampoline finds them.
///
/// # Safety
///
/// `values` must have room for them, and nothing of the store may be borrowed.
#[inline]
pub(super) unsafe fn finish<T, R: Ret>(
    call: &HostCaller,
    answer: R,
    values: *mut ValRaw,
) -> Result<(), HostError> {
    let results = answer.into_results()?;
    // SAFETY: by contract.
    unsafe {
        if R::Results::EXTERNS > 0 {
            call.make_room(R::Results::EXTERNS)?;
        }
        results.store_raw(&mut store_of::<T>(call).vm, values)?;
    }
    Ok(())
}

/// The value at the front of the arguments, which are moved on behind it.
///
/// # Safety
///
/// There must be one more argument, of this type, that belongs to the store.
#[inline]
unsafe fn next<T, A: Raw>(call: &HostCaller, values: &mut *const ValRaw) -> A {
    // SAFETY: by contract.
    unsafe {
        let value = A::from_raw(&store_of::<T>(call).vm, values.read());
        *values = values.add(1);
        value
    }
}

/// Takes note of arguments whose conversion may take long.
///
/// # Safety
///
/// Nothing of the store may be borrowed.
#[inline]
pub(super) unsafe fn note<P: RawList>(call: &HostCaller) -> Result<(), HostError> {
    match P::EXTERNS {
        0 => Ok(()),
        // SAFETY: by contract.
        externs => unsafe { call.converts(externs) },
    }
}

fn type_of<P: super::WasmParams, R: super::WasmParams>() -> FuncType {
    FuncType::new(P::types(), R::types())
}

macro_rules! closures {
    ($len:literal: $($name:ident)*) => {
        impl<T, F, $($name,)* R> IntoFunc<T, ($($name,)*), R> for F
        where
            F: Fn($($name),*) -> R + Send + Sync + 'static,
            $($name: WasmTy,)*
            R: WasmRet,
        {
            fn into_definition(self) -> HostDefinition {
                unsafe extern "C" fn call<T, F, $($name,)* R>(
                    context: *mut VMHostContext,
                    caller: *mut VMContext,
                    values: *mut ValRaw,
                ) where
                    F: Fn($($name),*) -> R + 'static,
                    $($name: WasmTy,)*
                    R: WasmRet,
                {
                    // SAFETY: the exit trampoline passes a context whose closure is an `F`, and
                    // arguments of its type with room for its results.
                    unsafe {
                        host::run(context, caller, |func: &F, call| {
                            note::<($($name,)*)>(&call)?;
                            let mut _args = values.cast_const();
                            let answer = func($(next::<T, $name>(&call, &mut _args)),*);
                            finish::<T, R>(&call, answer, values)
                        });
                    }
                }
                let ty = type_of::<($($name,)*), R::Results>();
                HostDefinition::from_parts(ty, call::<T, F, $($name,)* R>, self)
            }
        }

        impl<T, F, $($name,)* R> IntoFunc<T, (Caller<'_, T>, $($name,)*), R> for F
        where
            F: Fn(Caller<'_, T>, $($name),*) -> R + Send + Sync + 'static,
            $($name: WasmTy,)*
            R: WasmRet,
        {
            fn into_definition(self) -> HostDefinition {
                unsafe extern "C" fn call<T, F, $($name,)* R>(
                    context: *mut VMHostContext,
                    caller: *mut VMContext,
                    values: *mut ValRaw,
                ) where
                    F: Fn(Caller<'_, T>, $($name),*) -> R + 'static,
                    $($name: WasmTy,)*
                    R: WasmRet,
                {
                    // SAFETY: as above; the caller is the only one to borrow the store.
                    unsafe {
                        host::run(context, caller, |func: &F, call| {
                            note::<($($name,)*)>(&call)?;
                            let mut _args = values.cast_const();
                            $(let $name = next::<T, $name>(&call, &mut _args);)*
                            let answer = func(Caller::new(&call), $($name),*);
                            finish::<T, R>(&call, answer, values)
                        });
                    }
                }
                let ty = type_of::<($($name,)*), R::Results>();
                HostDefinition::from_parts(ty, call::<T, F, $($name,)* R>, self)
            }
        }
    };
}

#[allow(non_snake_case, reason = "the names of types serve for their values")]
mod sync {
    use super::*;
    for_each_arity!(closures);
}

macro_rules! async_closures {
    ($($wrap:ident $linker_wrap:ident ($($name:ident)*);)*) => { $(
        impl Func {
            /// An async function of the host whose type is that of the closure, which takes the [`Caller`] and as
            /// many parameters as the name says, and answers a future in a box.
            ///
            /// While the future is pending the guest's fiber is suspended. If the call of wasm is
            /// dropped meanwhile, the future is dropped with it.
            ///
            /// # Panics
            ///
            /// Panics if the store's engine is not async.
            pub fn $wrap<T, $($name,)* R>(
                mut store: impl AsContextMut<Data = T>,
                func: impl for<'a> Fn(
                    Caller<'a, T>, $($name),*
                ) -> Box<dyn Future<Output = R> + Send + 'a> + Send + Sync + 'static,
            ) -> Self
            where
                $($name: WasmTy,)*
                R: WasmRet,
            {
                let store = store.as_context_mut().0;
                store.assert_async(true, "Func::wrap");
                HostDefinition::$wrap(func).place(store)
            }
        }

        impl HostDefinition {
            pub(crate) fn $wrap<T, F, $($name,)* R>(func: F) -> Self
            where
                F: for<'a> Fn(
                    Caller<'a, T>, $($name),*
                ) -> Box<dyn Future<Output = R> + Send + 'a> + Send + Sync + 'static,
                $($name: WasmTy,)*
                R: WasmRet,
            {
                unsafe extern "C" fn call<T, F, $($name,)* R>(
                    context: *mut VMHostContext,
                    caller: *mut VMContext,
                    values: *mut ValRaw,
                ) where
                    F: for<'a> Fn(
                        Caller<'a, T>, $($name),*
                    ) -> Box<dyn Future<Output = R> + Send + 'a> + 'static,
                    $($name: WasmTy,)*
                    R: WasmRet,
                {
                    // SAFETY: the exit trampoline passes a context whose closure is an `F`, and
                    // arguments of its type with room for its results; the caller is the only one to borrow the store.
                    unsafe {
                        host::run(context, caller, |func: &F, call| {
                            note::<($($name,)*)>(&call)?;
                            let mut _args = values.cast_const();
                            $(let $name = next::<T, $name>(&call, &mut _args);)*
                            let answer = block_on(&call, func(Caller::new(&call), $($name),*))?;
                            finish::<T, R>(&call, answer, values)
                        });
                    }
                }
                let ty = type_of::<($($name,)*), R::Results>();
                Self::from_parts(ty, call::<T, F, $($name,)* R>, func)
            }
        }

        impl<T> Linker<T> {
            /// Defines an async function of the host; see [`Func`]'s method of the like name.
            ///
            /// # Errors
            ///
            /// Fails if the name is taken, unless [shadowing](Self::allow_shadowing) is allowed.
            ///
            /// # Panics
            ///
            /// Panics if the engine is not async.
            pub fn $linker_wrap<$($name,)* R>(
                &mut self,
                module: &str,
                name: &str,
                func: impl for<'a> Fn(
                    Caller<'a, T>, $($name),*
                ) -> Box<dyn Future<Output = R> + Send + 'a> + Send + Sync + 'static,
            ) -> Result<&mut Self>
            where
                $($name: WasmTy,)*
                R: WasmRet,
            {
                self.assert_async(stringify!($linker_wrap));
                self.define_host(module, name, HostDefinition::$wrap(func))
            }
        }
    )* };
}

#[allow(non_snake_case, reason = "the names of types serve for their values")]
mod asynchronous {
    use super::*;

    async_closures! {
        wrap0_async func_wrap0_async ();
        wrap1_async func_wrap1_async (A1);
        wrap2_async func_wrap2_async (A1 A2);
        wrap3_async func_wrap3_async (A1 A2 A3);
        wrap4_async func_wrap4_async (A1 A2 A3 A4);
        wrap5_async func_wrap5_async (A1 A2 A3 A4 A5);
        wrap6_async func_wrap6_async (A1 A2 A3 A4 A5 A6);
        wrap7_async func_wrap7_async (A1 A2 A3 A4 A5 A6 A7);
        wrap8_async func_wrap8_async (A1 A2 A3 A4 A5 A6 A7 A8);
        wrap9_async func_wrap9_async (A1 A2 A3 A4 A5 A6 A7 A8 A9);
        wrap10_async func_wrap10_async (A1 A2 A3 A4 A5 A6 A7 A8 A9 A10);
        wrap11_async func_wrap11_async (A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11);
        wrap12_async func_wrap12_async (A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12);
        wrap13_async func_wrap13_async (A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13);
        wrap14_async func_wrap14_async (A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14);
        wrap15_async func_wrap15_async (A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14 A15);
        wrap16_async func_wrap16_async (A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14 A15 A16);
    }
}
