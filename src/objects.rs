//! Structs and arrays of guests, as the host sees them.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use crate::externs::OtherStore;
use crate::store::{AsContext, AsContextMut};
use crate::types::composite::{CompositeType, FieldType, StorageType};
use crate::types::{CompositeKind, ConcreteType, HeapType};
use crate::values::{ExternRef, Val};
use crate::vm::layout::{self, ObjectLayout, Reference, VMObject, VMType};
use crate::vm::objects::Held;
use crate::vm::store::{Store, StoreId};

/// A reference of type `anyref` that is not null: to an integer of 31 bits, to a struct or array of
/// a store's guests, or to a value of the host.
///
/// It keeps what it refers to from being collected, for as long as it or a clone exists. A struct or
/// array can be used with the store that it belongs to, and with no other.
///
/// ```
/// use lampwick::{Config, Engine, Instance, Module, Store, Val};
///
/// # fn main() -> anyhow::Result<()> {
/// let engine = Engine::new(Config::new().wasm_gc(true))?;
/// let module = Module::new(
///     &engine,
///     r#"(module
///         (type $point (struct (field i32) (field (mut i32))))
///         (func (export "point") (param i32 i32) (result (ref $point))
///             (struct.new $point (local.get 0) (local.get 1))))"#,
/// )?;
/// let mut store = Store::new(&engine, ());
/// let instance = Instance::new(&mut store, &module, &[])?;
/// let point = instance.get_func(&mut store, "point").unwrap();
/// let results = point.call(&mut store, &[Val::I32(3), Val::I32(4)])?;
/// let point = results[0].anyref().unwrap().unwrap();
/// point.set(&mut store, 1, Val::I32(5))?;
/// assert_eq!((point.len(&store)?, point.get(&store, 1)?.i32()), (2, Some(5)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AnyRef(Inner);

#[derive(Clone, Debug)]
enum Inner {
    I31(i32),
    Host(ExternRef),
    Object { store: StoreId, held: Arc<Held>, kind: CompositeKind },
}

impl AnyRef {
    /// A reference to the low 31 bits of an integer.
    pub fn from_i31(value: i32) -> Self {
        Self(Inner::I31(value << 1 >> 1))
    }

    /// A value of the host as guests see it that convert it.
    pub fn from_extern(value: ExternRef) -> Self {
        match value.data().downcast_ref::<Self>() {
            Some(converted) => converted.clone(),
            None => Self(Inner::Host(value)),
        }
    }

    /// The integer, if it is one, with its sign.
    pub fn i31(&self) -> Option<i32> {
        match self.0 {
            Inner::I31(value) => Some(value),
            _ => None,
        }
    }

    /// The value of the host, if it is one.
    pub fn extern_ref(&self) -> Option<&ExternRef> {
        match &self.0 {
            Inner::Host(value) => Some(value),
            _ => None,
        }
    }

    /// Whether it is a struct or an array, if it is one of them.
    pub fn kind(&self) -> Option<CompositeKind> {
        match self.0 {
            Inner::Object { kind, .. } => Some(kind),
            _ => None,
        }
    }

    /// The type of what is referred to: [`HeapType::I31`], the type of a struct or array, or
    /// [`HeapType::Any`] for a value of the host.
    ///
    /// # Errors
    ///
    /// When it belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> Result<HeapType> {
        self.type_in(&store.as_context().0.vm)
    }

    /// The number of a struct's fields or of an array's elements; zero for all others.
    ///
    /// # Errors
    ///
    /// When it belongs to another store.
    pub fn len(&self, store: impl AsContext) -> Result<u32> {
        let inner = store.as_context().0;
        let Some(object) = self.object(&inner.vm)? else { return Ok(0) };
        let ty = inner.engine.types().find(object.ty.handle())?;
        Ok(match &ty.ty().composite {
            CompositeType::Struct(fields) => fields.len() as u32,
            _ => object.len,
        })
    }

    /// A field of a struct or element of an array. What is packed is widened with zeros.
    ///
    /// # Errors
    ///
    /// When there is none with this index, or it belongs to another store.
    pub fn get(&self, store: impl AsContext, index: u32) -> Result<Val> {
        let inner = store.as_context().0;
        let object = self.object(&inner.vm)?.context("it is neither a struct nor an array")?;
        let ty = inner.engine.types().find(object.ty.handle())?;
        let (field, address) = object.place(&ty.ty().composite, index)?;
        // SAFETY: the place is that of the field in an object of the store.
        unsafe {
            let mut raw = layout::ValRaw::ZERO;
            let size = 1_usize << layout::shift(&field);
            raw.0.as_mut_ptr().copy_from_nonoverlapping(address, size);
            match field.storage {
                StorageType::Val(ty) => Ok(Val::from_raw(&inner.vm, ty, raw)),
                StorageType::I8 | StorageType::I16 => Ok(Val::I32(raw.to_u64() as i32)),
            }
        }
    }

    /// Sets a field of a struct or element of an array. Of what is packed, the low bits count.
    ///
    /// # Errors
    ///
    /// When there is none with this index, it cannot be set, the value is of another type, or anything
    /// belongs to another store.
    pub fn set(&self, mut store: impl AsContextMut, index: u32, value: Val) -> Result<()> {
        let inner = store.as_context_mut().0;
        let object = self.object(&inner.vm)?.context("it is neither a struct nor an array")?;
        let ty = inner.engine.types().find(object.ty.handle())?;
        let (field, address) = object.place(&ty.ty().composite, index)?;
        ensure!(field.is_mutable, "the field with index {index} is constant");
        let ty = match field.storage {
            StorageType::Val(ty) => ty,
            StorageType::I8 | StorageType::I16 => crate::types::ValType::I32,
        };
        let raw = value.to_raw_alone(&mut inner.vm, ty)?;
        // SAFETY: the place is that of the field in an object of the store, which we hold.
        unsafe {
            address.copy_from_nonoverlapping(raw.0.as_ptr(), 1 << layout::shift(&field));
        }
        Ok(())
    }

    /// Whether both are the same integer, struct, array or value of the host.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Inner::I31(this), Inner::I31(other)) => this == other,
            (Inner::Host(this), Inner::Host(other)) => this.ptr_eq(other),
            (
                Inner::Object { store, held, .. },
                Inner::Object { store: other, held: other_held, .. },
            ) => store == other && held.bits() == other_held.bits(),
            _ => false,
        }
    }

    /// What a reference of a store is to; `None` for null.
    pub(crate) fn from_bits(store: &Store, bits: u32) -> Option<Self> {
        Some(Self(match Reference::of(bits) {
            Reference::Null => return None,
            Reference::I31(value) => Inner::I31(value),
            Reference::Extern(index) => {
                let externs = store.externs.as_ref()?;
                Inner::Host(ExternRef::of(externs.get(index)?.clone()))
            }
            Reference::Exception(_) => unreachable!("validated: no exception"),
            Reference::Object(at) => {
                // SAFETY: what guests of the store refer to is an object of its heap.
                let ty = unsafe { &*(*store.machine.heap.add(at as usize).cast::<VMObject>()).ty };
                let (held, kind) = (Arc::new(store.hold(bits)), ty.handle().kind);
                Inner::Object { store: store.id, held, kind }
            }
        }))
    }

    /// The reference as guests of a store have it. It never collects.
    pub(crate) fn to_bits(&self, store: &mut Store) -> Result<u32> {
        match &self.0 {
            Inner::I31(value) => Ok(Reference::I31(*value).bits()),
            Inner::Host(value) => crate::values::externref_to_bits(store, Some(value)),
            Inner::Object { store: owner, held, .. } => {
                ensure!(*owner == store.id, OtherStore);
                Ok(held.bits())
            }
        }
    }

    /// Whether it takes an entry among the values of the host.
    pub(crate) fn is_host(&self) -> bool {
        matches!(self.0, Inner::Host(_))
    }

    pub(crate) fn type_in(&self, store: &Store) -> Result<HeapType> {
        Ok(match (&self.0, self.object(store)?) {
            (Inner::I31(_), _) => HeapType::I31,
            (_, Some(object)) => HeapType::Concrete(object.ty.handle()),
            _ => HeapType::Any,
        })
    }

    /// Whether it is of a type.
    pub(crate) fn is(&self, store: &Store, ty: HeapType) -> Result<bool> {
        let object = self.object(store)?;
        Ok(match ty {
            HeapType::Any => true,
            HeapType::Eq => !self.is_host(),
            HeapType::I31 => matches!(self.0, Inner::I31(_)),
            HeapType::Struct => self.kind() == Some(CompositeKind::Struct),
            HeapType::Array => self.kind() == Some(CompositeKind::Array),
            HeapType::Concrete(ty) => object.is_some_and(|object| object.ty.is(ty)),
            _ => false,
        })
    }

    fn object<'s>(&self, store: &'s Store) -> Result<Option<Object<'s>>> {
        let Inner::Object { store: owner, held, .. } = &self.0 else { return Ok(None) };
        ensure!(*owner == store.id, OtherStore);
        let at = store.machine.heap.wrapping_add(held.bits() as usize);
        // SAFETY: what is held is an object of the store's heap, whose type the store keeps.
        unsafe {
            let head = at.cast::<layout::VMObject>();
            Ok(Some(Object { ty: &*(*head).ty, len: (*head).len, at }))
        }
    }
}

/// An object of a store.
struct Object<'s> {
    ty: &'s VMType,
    len: u32,
    at: *mut u8,
}

impl Object<'_> {
    /// A field or element, and where it is.
    fn place(&self, ty: &CompositeType, index: u32) -> Result<(FieldType, *mut u8)> {
        let (field, offset) = match ty {
            CompositeType::Struct(fields) => {
                let offset = layout::offsets(fields).nth(index as usize);
                let offset = offset
                    .with_context(|| format!("no field {index} in a struct of {}", fields.len()))?;
                (fields[index as usize], offset as usize)
            }
            CompositeType::Array(element) => {
                ensure!(index < self.len, "no element {index} in an array of {}", self.len);
                let offset = (index as usize) << layout::shift(element);
                (*element, layout::FIELDS as usize + offset)
            }
            CompositeType::Func(_) => unreachable!("functions are no objects"),
        };
        debug_assert!(!matches!(self.ty.layout, ObjectLayout::None));
        Ok((field, self.at.wrapping_add(offset)))
    }
}

impl VMType {
    /// The type as others name it.
    pub(crate) fn handle(&self) -> ConcreteType {
        let kind = match self.kind {
            layout::ObjectKind::Function => CompositeKind::Func,
            layout::ObjectKind::Struct => CompositeKind::Struct,
            layout::ObjectKind::Array => CompositeKind::Array,
        };
        ConcreteType { id: self.id, stamp: self.stamp, kind }
    }
}
