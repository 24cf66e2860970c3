//! Values on their way between host and wasm.

use std::any::Any;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};

use crate::exceptions::ExnRef;
use crate::externs::OtherStore;
use crate::func::Func;
use crate::objects::AnyRef;
use crate::types::{HeapType, RefType, ValType};
use crate::vm::externs::Value;
use crate::vm::layout::{Reference, VMFuncRef, ValRaw};
use crate::vm::store::Store;

/// A reference to a value of the host that guests can hold and pass on, but not look into.
///
/// Cloning gives another reference to the same value. What was passed to a store's guests the store
/// refers to, too, once for all of them, until a collection finds that they cannot reach it any
/// more, or until the store is dropped. Collections happen by themselves where a reference is
/// passed to guests, put into a table or into a global, and where [`Store::gc`](crate::Store::gc)
/// is called. A store refers to at most 256 values, or twice as many as its guests could reach at
/// the last collection, and those that are passed in one call; more where its tables are large or
/// its guests' stacks deep, a value for each 64 elements or two frames.
///
/// The value is dropped with its last reference. If that is the store's, its drop code runs in the
/// collection, on the stack of the guest that is running, and a panic of it goes on as if the call
/// which collected had panicked.
///
/// ```
/// use lampwick::{ExternRef, Instance, Module, Store};
///
/// # fn main() -> anyhow::Result<()> {
/// let mut store = Store::<()>::default();
/// let wat = r#"(module (func (export "same") (param externref) (result externref)
///     (local.get 0)))"#;
/// let module = Module::new(store.engine(), wat)?;
/// let instance = Instance::new(&mut store, &module, &[])?;
/// let same = instance.get_typed_func::<_, Option<ExternRef>, _>(&mut store, "same")?;
/// let value = ExternRef::new(String::from("a value of the host"));
/// let back = same.call(&mut store, Some(value.clone()))?.expect("it is not null");
/// assert!(back.ptr_eq(&value));
/// assert_eq!(back.data().downcast_ref::<String>().unwrap(), "a value of the host");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ExternRef(Value);

impl ExternRef {
    /// A reference to this value.
    pub fn new<T: Any + Send + Sync>(value: T) -> Self {
        Self(Arc::new(value))
    }

    /// A reference to a value of a store's.
    pub(crate) fn of(value: Value) -> Self {
        Self(value)
    }

    /// The value. Where a guest has converted a reference of its own to `externref`, that is an
    /// [`AnyRef`].
    pub fn data(&self) -> &dyn Any {
        &*self.0
    }

    /// How many references there are: this one, its clones, and one for each store that refers to
    /// the value. A store may do so for longer than its guests can reach it, until a collection.
    pub fn strong_count(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// Whether both refer to the same value.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(&self.0), Arc::as_ptr(&other.0))
    }
}

impl fmt::Debug for ExternRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExternRef({:p})", Arc::as_ptr(&self.0))
    }
}

/// A value of any type of WebAssembly.
///
/// Floats are their bits, so that values can be compared and NaNs are kept.
///
/// ```
/// use lampwick::{Val, ValType};
///
/// let value = Val::from(0.5_f32);
/// assert_eq!((value.ty(), value.f32(), value.i32()), (ValType::F32, Some(0.5), None));
/// assert_eq!(Val::from(u32::MAX).unwrap_i32(), -1);
/// assert!(Val::null().unwrap_externref().is_none());
/// ```
#[derive(Clone, Debug)]
pub enum Val {
    /// A 32-bit integer.
    I32(i32),
    /// A 64-bit integer.
    I64(i64),
    /// The bits of a single.
    F32(u32),
    /// The bits of a double.
    F64(u64),
    /// A vector.
    V128(u128),
    /// A function, or null.
    FuncRef(Option<Func>),
    /// A value of the host, or null.
    ExternRef(Option<ExternRef>),
    /// What a guest has made, or null.
    AnyRef(Option<AnyRef>),
    /// An exception of a guest, or null.
    ExnRef(Option<ExnRef>),
}

macro_rules! accessors {
    ($($variant:ident($bits:ident) $ty:ty, $get:ident $unwrap:ident, $value:expr;)*) => {
        $(
            #[doc = concat!("The value, if it is an `", stringify!($get), "`.")]
            pub fn $get(&self) -> Option<$ty> {
                match self {
                    Self::$variant($bits) => Some($value),
                    _ => None,
                }
            }

            #[doc = concat!("The value, which must be an `", stringify!($get), "`.")]
            ///
            /// # Panics
            ///
            /// Panics if it is of another type.
            pub fn $unwrap(&self) -> $ty {
                match self.$get() {
                    Some(value) => value,
                    None => panic!(concat!("expected ", stringify!($get), ", found {}"), self.ty()),
                }
            }
        )*
    };
}

impl Val {
    /// A null `externref`.
    pub fn null() -> Self {
        Self::ExternRef(None)
    }

    /// The type of the value.
    pub fn ty(&self) -> ValType {
        match self {
            Self::I32(_) => ValType::I32,
            Self::I64(_) => ValType::I64,
            Self::F32(_) => ValType::F32,
            Self::F64(_) => ValType::F64,
            Self::V128(_) => ValType::V128,
            Self::FuncRef(_) => ValType::FuncRef,
            Self::ExternRef(_) => ValType::ExternRef,
            Self::AnyRef(_) => ValType::Ref(RefType::ANYREF),
            Self::ExnRef(_) => ValType::Ref(RefType::EXNREF),
        }
    }

    accessors! {
        I32(value) i32, i32 unwrap_i32, *value;
        I64(value) i64, i64 unwrap_i64, *value;
        F32(bits) f32, f32 unwrap_f32, f32::from_bits(*bits);
        F64(bits) f64, f64 unwrap_f64, f64::from_bits(*bits);
        V128(value) u128, v128 unwrap_v128, *value;
        FuncRef(func) Option<&Func>, funcref unwrap_funcref, func.as_ref();
        ExternRef(reference) Option<ExternRef>, externref unwrap_externref, reference.clone();
        AnyRef(reference) Option<AnyRef>, anyref unwrap_anyref, reference.clone();
    }

    /// [`Self::to_raw`] of a value that goes to its place alone.
    pub(crate) fn to_raw_alone(&self, store: &mut Store, ty: ValType) -> Result<ValRaw> {
        make_room(store, std::slice::from_ref(self));
        self.to_raw(store, ty)
    }

    /// The value as machine code takes it, if it is of this type and belongs to this store.
    ///
    /// It never collects: [`make_room`] is for that, before the first of several values is
    /// converted.
    pub(crate) fn to_raw(&self, store: &mut Store, ty: ValType) -> Result<ValRaw> {
        self.check(store, ty)?;
        Ok(match self {
            Self::I32(value) => ValRaw::from_u64((*value as u32).into()),
            Self::I64(value) => ValRaw::from_u64(*value as u64),
            Self::F32(bits) => ValRaw::from_u64((*bits).into()),
            Self::F64(bits) => ValRaw::from_u64(*bits),
            Self::V128(value) => ValRaw(value.to_le_bytes()),
            Self::FuncRef(None)
            | Self::ExternRef(None)
            | Self::AnyRef(None)
            | Self::ExnRef(None) => ValRaw::ZERO,
            Self::FuncRef(Some(func)) => ValRaw::from_u64(func.record(store)?.as_ptr() as u64),
            Self::ExternRef(value) => {
                ValRaw::from_u64(externref_to_bits(store, value.as_ref())?.into())
            }
            Self::AnyRef(Some(value)) => ValRaw::from_u64(value.to_bits(store)?.into()),
            Self::ExnRef(Some(exception)) => {
                ensure!(exception.is_of(store), OtherStore);
                ValRaw::from_u64(exception.0.reference().bits().into())
            }
        })
    }

    /// Checks that the value is of a type.
    #[inline]
    fn check(&self, store: &Store, ty: ValType) -> Result<()> {
        match ty {
            ValType::Ref(ty) => self.check_ref(store, ty),
            _ if self.ty() != ty => bail!("expected a value of type {ty}, found {}", self.ty()),
            _ => Ok(()),
        }
    }

    fn check_ref(&self, store: &Store, ty: RefType) -> Result<()> {
        let (top, heap) = (ty.heap_type().top(), ty.heap_type());
        let is_null = match (self, top) {
            (Self::FuncRef(func), HeapType::Func) => func.is_none(),
            (Self::ExternRef(value), HeapType::Extern) => value.is_none(),
            (Self::AnyRef(value), HeapType::Any) => value.is_none(),
            (Self::ExnRef(exception), HeapType::Exn) => exception.is_none(),
            _ => bail!("expected a value of type {ty}, found {}", self.ty()),
        };
        if is_null {
            ensure!(ty.is_nullable(), "expected a value of type {ty}, found null");
            return Ok(());
        }
        match (self, heap) {
            _ if heap.is_bottom() => bail!("expected null, the only {ty}, found {}", self.ty()),
            (Self::FuncRef(Some(func)), HeapType::Concrete(ty)) if !func.is(store, ty)? => {
                bail!("expected a function of type {heap}, found one of another type")
            }
            (Self::AnyRef(Some(value)), _) if !value.is(store, heap)? => {
                let found = value.type_in(store)?;
                bail!("expected a value of type {ty}, found one of type (ref {found})")
            }
            _ => Ok(()),
        }
    }

    /// A value that machine code left.
    ///
    /// # Safety
    ///
    /// `raw` must hold a value of type `ty` that belongs to this store.
    pub(crate) unsafe fn from_raw(store: &Store, ty: ValType, raw: ValRaw) -> Self {
        let bits = raw.to_u64();
        match ty {
            ValType::I32 => Self::I32(bits as i32),
            ValType::I64 => Self::I64(bits as i64),
            ValType::F32 => Self::F32(bits as u32),
            ValType::F64 => Self::F64(bits),
            ValType::V128 => Self::V128(u128::from_le_bytes(raw.0)),
            ty if ty.is_func_ref() => {
                let record = NonNull::new(bits as usize as *mut VMFuncRef);
                // SAFETY: a reference that is not null is a record of this store.
                Self::FuncRef(record.map(|record| unsafe { Func::from_record(store, record) }))
            }
            ValType::Ref(ty) if ty.heap_type().top() == HeapType::Any => {
                Self::AnyRef(AnyRef::from_bits(store, bits as u32))
            }
            ValType::Ref(ty) if ty.heap_type().top() == HeapType::Exn => {
                let exceptions = store.exceptions.as_ref();
                Self::ExnRef(match (Reference::of(bits as u32), exceptions) {
                    (Reference::Exception(entry), Some(exceptions)) => {
                        Some(ExnRef(exceptions.get(entry)))
                    }
                    _ => None,
                })
            }
            ValType::FuncRef | ValType::ExternRef | ValType::Ref(_) => {
                Self::ExternRef(externref_from_bits(store, bits as u32))
            }
        }
    }

    /// Zero, or null, even where the type has none.
    pub(crate) fn default_of(ty: ValType) -> Self {
        match ty {
            ValType::I32 => Self::I32(0),
            ValType::I64 => Self::I64(0),
            ValType::F32 => Self::F32(0),
            ValType::F64 => Self::F64(0),
            ValType::V128 => Self::V128(0),
            ty if ty.is_func_ref() => Self::FuncRef(None),
            ValType::Ref(ty) if ty.heap_type().top() == HeapType::Any => Self::AnyRef(None),
            ValType::Ref(ty) if ty.heap_type().top() == HeapType::Exn => Self::ExnRef(None),
            ValType::FuncRef | ValType::ExternRef | ValType::Ref(_) => Self::ExternRef(None),
        }
    }
}

/// The reference of a store with these bits; zero is null.
#[inline]
pub(crate) fn externref_from_bits(store: &Store, bits: u32) -> Option<ExternRef> {
    match Reference::of(bits) {
        Reference::Null => None,
        Reference::Extern(index) => store.externs.as_ref()?.get(index).cloned().map(ExternRef),
        // A guest has converted it.
        _ => AnyRef::from_bits(store, bits).map(ExternRef::new),
    }
}

/// The reference as guests of a store have it; null is zero. It never collects.
#[inline]
pub(crate) fn externref_to_bits(store: &mut Store, value: Option<&ExternRef>) -> Result<u32> {
    let Some(value) = value else { return Ok(0) };
    if let Some(converted) = value.data().downcast_ref::<AnyRef>() {
        return converted.to_bits(store);
    }
    let index = store.externs.get_or_insert_default().index(&value.0)?;
    Ok(Reference::Extern(index).bits())
}

/// Lets a collection make room for values that are then converted.
///
/// # Panics
///
/// With the panic of the drop code of a value that was collected.
pub(crate) fn make_room(store: &mut Store, values: &[Val]) {
    let externs = externs_among(values);
    if externs > 0 {
        store.make_room(externs);
    }
}

/// How many values are references to values of the host.
pub(crate) fn externs_among(values: &[Val]) -> usize {
    let is_extern = |value: &&Val| match value {
        Val::ExternRef(Some(_)) => true,
        Val::AnyRef(Some(value)) => value.is_host(),
        _ => false,
    };
    values.iter().filter(is_extern).count()
}

impl ValRaw {
    /// A value whose low bits are these and whose others are zero.
    pub(crate) fn from_u64(bits: u64) -> Self {
        Self(u128::from(bits).to_le_bytes())
    }

    /// The low bits.
    pub(crate) fn to_u64(self) -> u64 {
        u128::from_le_bytes(self.0) as u64
    }
}

macro_rules! from {
    ($($ty:ty: |$value:ident| $val:expr;)*) => {
        $(
            impl From<$ty> for Val {
                fn from($value: $ty) -> Self {
                    $val
                }
            }
        )*
    };
}

from! {
    i32: |value| Self::I32(value);
    u32: |value| Self::I32(value as i32);
    i64: |value| Self::I64(value);
    u64: |value| Self::I64(value as i64);
    f32: |value| Self::F32(value.to_bits());
    f64: |value| Self::F64(value.to_bits());
    u128: |value| Self::V128(value);
    Func: |func| Self::FuncRef(Some(func));
    Option<Func>: |func| Self::FuncRef(func);
    ExternRef: |value| Self::ExternRef(Some(value));
    Option<ExternRef>: |value| Self::ExternRef(value);
    AnyRef: |value| Self::AnyRef(Some(value));
    Option<AnyRef>: |value| Self::AnyRef(value);
}
