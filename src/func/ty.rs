//! Rust types that are values of wasm.

use anyhow::Result;
use std::ptr::NonNull;

use super::Func;
use crate::types::ValType;
use crate::values::{ExternRef, externref_from_bits, externref_to_bits};
use crate::vm::layout::{VMFuncRef, ValRaw};
use crate::vm::store::Store;

/// How the types below become machine values. Private, so that nobody else implements the traits.
pub(crate) mod sealed {
    use super::*;

    /// One value.
    pub trait Raw: Sized {
        /// Whether it can be a reference to a value of the host.
        #[doc(hidden)]
        const IS_EXTERN: bool = false;

        /// The value as machine code takes it; fails if it belongs to another store.
        #[doc(hidden)]
        fn into_raw(self, store: &mut Store) -> Result<ValRaw>;

        /// # Safety
        ///
        /// `raw` must hold a value of this type that belongs to the store.
        #[doc(hidden)]
        unsafe fn from_raw(store: &Store, raw: ValRaw) -> Self;
    }

    /// Several values.
    pub trait RawList: Sized {
        /// Room for them.
        #[doc(hidden)]
        type Slots: Copy;

        #[doc(hidden)]
        const LEN: usize;

        /// How many can be references to values of the host.
        #[doc(hidden)]
        const EXTERNS: usize;

        /// It never collects: that is to be done before, or when all are where they are found.
        ///
        /// # Safety
        ///
        /// There must be room for `LEN` values.
        #[doc(hidden)]
        unsafe fn store_raw(self, store: &mut Store, slots: *mut ValRaw) -> Result<()>;

        /// # Safety
        ///
        /// `slots` must hold values of these types that belong to the store.
        #[doc(hidden)]
        unsafe fn load_raw(store: &Store, slots: *const ValRaw) -> Self;
    }
}
use sealed::{Raw, RawList};

/// A Rust type that is a value of wasm: `i32`, `u32`, `i64`, `u64`, `f32`, `f64`, `u128`,
/// `Option<Func>` and `Option<ExternRef>`.
pub trait WasmTy: Raw + Send {
    /// The type of the value.
    fn valtype() -> ValType;
}

/// The parameters of a function: nothing, a [`WasmTy`], or a tuple of up to 16 of them.
pub trait WasmParams: RawList + Send {
    /// Their types.
    fn types() -> impl ExactSizeIterator<Item = ValType>;
}

/// The results of a function: nothing, a [`WasmTy`], or a tuple of up to 16 of them.
pub trait WasmResults: WasmParams {}

impl<P: WasmParams> WasmResults for P {}

macro_rules! numbers {
    ($($ty:ty: $valtype:ident, |$value:ident| $into:expr, |$bits:ident| $from:expr;)*) => {
        $(
            impl Raw for $ty {
                #[inline]
                fn into_raw(self, _: &mut Store) -> Result<ValRaw> {
                    let $value = self;
                    Ok(ValRaw::from_u64($into))
                }

                #[inline]
                unsafe fn from_raw(_: &Store, raw: ValRaw) -> Self {
                    let $bits = raw.to_u64();
                    $from
                }
            }

            impl WasmTy for $ty {
                fn valtype() -> ValType {
                    ValType::$valtype
                }
            }
        )*
    };
}

numbers! {
    i32: I32, |value| (value as u32).into(), |bits| bits as i32;
    u32: I32, |value| value.into(), |bits| bits as u32;
    i64: I64, |value| value as u64, |bits| bits as i64;
    u64: I64, |value| value, |bits| bits;
    f32: F32, |value| value.to_bits().into(), |bits| f32::from_bits(bits as u32);
    f64: F64, |value| value.to_bits(), |bits| f64::from_bits(bits);
}

impl Raw for u128 {
    fn into_raw(self, _: &mut Store) -> Result<ValRaw> {
        Ok(ValRaw(self.to_le_bytes()))
    }

    unsafe fn from_raw(_: &Store, raw: ValRaw) -> Self {
        Self::from_le_bytes(raw.0)
    }
}

impl WasmTy for u128 {
    fn valtype() -> ValType {
        ValType::V128
    }
}

impl Raw for Option<Func> {
    fn into_raw(self, store: &mut Store) -> Result<ValRaw> {
        Ok(match self {
            None => ValRaw::ZERO,
            Some(func) => ValRaw::from_u64(func.record(store)?.as_ptr() as u64),
        })
    }

    unsafe fn from_raw(store: &Store, raw: ValRaw) -> Self {
        let record = NonNull::new(raw.to_u64() as usize as *mut VMFuncRef);
        // SAFETY: by contract the record is one of this store.
        record.map(|record| unsafe { Func::from_record(store, record) })
    }
}

impl WasmTy for Option<Func> {
    fn valtype() -> ValType {
        ValType::FuncRef
    }
}

impl Raw for Option<ExternRef> {
    const IS_EXTERN: bool = true;

    #[inline]
    fn into_raw(self, store: &mut Store) -> Result<ValRaw> {
        Ok(ValRaw::from_u64(externref_to_bits(store, self.as_ref())?.into()))
    }

    #[inline]
    unsafe fn from_raw(store: &Store, raw: ValRaw) -> Self {
        externref_from_bits(store, raw.to_u64() as u32)
    }
}

impl WasmTy for Option<ExternRef> {
    fn valtype() -> ValType {
        ValType::ExternRef
    }
}

impl<V: WasmTy> RawList for V {
    type Slots = [ValRaw; 1];
    const LEN: usize = 1;
    const EXTERNS: usize = V::IS_EXTERN as usize;

    #[inline]
    unsafe fn store_raw(self, store: &mut Store, slots: *mut ValRaw) -> Result<()> {
        // SAFETY: by contract there is room for one.
        unsafe { slots.write(self.into_raw(store)?) };
        Ok(())
    }

    #[inline]
    unsafe fn load_raw(store: &Store, slots: *const ValRaw) -> Self {
        // SAFETY: by contract.
        unsafe { V::from_raw(store, slots.read()) }
    }
}

impl<V: WasmTy> WasmParams for V {
    fn types() -> impl ExactSizeIterator<Item = ValType> {
        [V::valtype()].into_iter()
    }
}

macro_rules! tuple {
    ($len:literal: $($name:ident)*) => {
        #[allow(non_snake_case, reason = "the names of types serve for their values")]
        impl<$($name: WasmTy),*> RawList for ($($name,)*) {
            type Slots = [ValRaw; $len];
            const LEN: usize = $len;
            const EXTERNS: usize = 0 $(+ $name::IS_EXTERN as usize)*;

            #[inline]
            unsafe fn store_raw(self, _store: &mut Store, _slots: *mut ValRaw) -> Result<()> {
                let ($($name,)*) = self;
                let mut _next = _slots;
                // SAFETY: by contract there is room for all.
                $(unsafe {
                    _next.write($name.into_raw(_store)?);
                    _next = _next.add(1);
                })*
                Ok(())
            }

            #[inline]
            #[allow(clippy::unused_unit, reason = "the empty tuple")]
            unsafe fn load_raw(_store: &Store, _slots: *const ValRaw) -> Self {
                let mut _next = _slots;
                // SAFETY: by contract.
                $(let $name = unsafe {
                    let value = $name::from_raw(_store, _next.read());
                    _next = _next.add(1);
                    value
                };)*
                ($($name,)*)
            }
        }

        impl<$($name: WasmTy),*> WasmParams for ($($name,)*) {
            fn types() -> impl ExactSizeIterator<Item = ValType> {
                let types: [ValType; $len] = [$($name::valtype()),*];
                types.into_iter()
            }
        }
    };
}

/// Calls a macro with every number of parameters from 0 to 16, and as many names.
macro_rules! for_each_arity {
    ($with:ident) => {
        $with!(0:);
        $with!(1: A1);
        $with!(2: A1 A2);
        $with!(3: A1 A2 A3);
        $with!(4: A1 A2 A3 A4);
        $with!(5: A1 A2 A3 A4 A5);
        $with!(6: A1 A2 A3 A4 A5 A6);
        $with!(7: A1 A2 A3 A4 A5 A6 A7);
        $with!(8: A1 A2 A3 A4 A5 A6 A7 A8);
        $with!(9: A1 A2 A3 A4 A5 A6 A7 A8 A9);
        $with!(10: A1 A2 A3 A4 A5 A6 A7 A8 A9 A10);
        $with!(11: A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11);
        $with!(12: A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12);
        $with!(13: A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13);
        $with!(14: A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14);
        $with!(15: A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14 A15);
        $with!(16: A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14 A15 A16);
    };
}
pub(crate) use for_each_arity;

for_each_arity!(tuple);
