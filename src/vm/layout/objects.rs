//! Structs and arrays, as machine code and the collector see them.
//!
//! A reference is 32 bits, and its low ones tell what it is to:
//!
//! ```text
//!   0                null
//!   …xxxxxxx1        an i31, in the upper 31 bits
//!   …xxxxxx10        a value of the host, whose index are the upper 30 bits
//!   …xxxx0100        an exception, whose entry are the upper 28 bits
//!   …xxxx0000        an object, at this distance from the start of the store's heap
//! ```
//!
//! so that those of `any` and of `extern` are the same, and to convert one to the other is nothing.

use crate::types::ValType;
use crate::types::composite::{CompositeType, FieldType, StorageType};

use super::VMType;

/// What a reference is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    Null,
    I31(i32),
    /// The value of the host with this index.
    Extern(u32),
    /// The exception with this entry.
    Exception(u32),
    /// The object that begins there.
    Object(u32),
}

/// The most values of the host that references can tell apart.
pub(crate) const MAX_EXTERNS: u32 = (1 << 30) - 1;

impl Reference {
    /// What these bits are.
    #[inline]
    pub(crate) fn of(bits: u32) -> Self {
        match bits {
            0 => Self::Null,
            _ if bits & 1 == 1 => Self::I31((bits as i32) >> 1),
            _ if bits & 2 == 2 => Self::Extern(bits >> 2),
            _ if bits & 4 == 4 => Self::Exception(bits >> 4),
            _ => Self::Object(bits),
        }
    }

    /// The bits; of an i31, the lower 31 bits count.
    #[inline]
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::Null => 0,
            Self::I31(value) => (value as u32) << 1 | 1,
            Self::Extern(index) => index << 2 | 2,
            Self::Exception(entry) => entry << 4 | 4,
            Self::Object(at) => at,
        }
    }
}

/// Objects start at multiples of this, and their sizes are such.
pub(crate) const OBJECT_ALIGN: u32 = 16;

/// What every object begins with.
#[repr(C, align(16))]
#[derive(Debug)]
pub(crate) struct VMObject {
    /// The type of the object; null where there is none.
    pub(crate) ty: *const VMType,
    /// The elements of an array.
    pub(crate) len: u32,
}

/// Where fields and elements begin.
pub(crate) const FIELDS: u32 = size_of::<VMObject>() as u32;

/// What values of a declared type are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum ObjectKind {
    Function,
    Struct,
    Array,
}

/// How objects of a type are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ObjectLayout {
    /// There are none: functions.
    None,
    /// Structs of so many bytes, with references that a collector follows at these offsets.
    Struct { size: u32, references: Box<[u32]> },
    /// Arrays with elements of `1 << shift` bytes, which may be references to follow.
    Array { shift: u8, references: bool },
}

impl ObjectLayout {
    pub(super) fn kind(&self) -> ObjectKind {
        match self {
            Self::None => ObjectKind::Function,
            Self::Struct { .. } => ObjectKind::Struct,
            Self::Array { .. } => ObjectKind::Array,
        }
    }

    /// How objects of a declared type are made.
    pub(crate) fn of(ty: &CompositeType) -> Self {
        match ty {
            CompositeType::Func(_) => Self::None,
            CompositeType::Array(element) => {
                Self::Array { shift: shift(element), references: is_followed(element) }
            }
            CompositeType::Struct(fields) => {
                let mut references = Vec::new();
                let mut end = FIELDS;
                for (field, offset) in fields.iter().zip(offsets(fields)) {
                    end = offset + (1 << shift(field));
                    references.extend(is_followed(field).then_some(offset));
                }
                Self::Struct { size: end, references: references.into() }
            }
        }
    }
}

/// The offsets of a struct's fields. Those of a type are those of the types that extend it, since
/// what is behind a field does not move it.
pub(crate) fn offsets(fields: &[FieldType]) -> impl Iterator<Item = u32> {
    fields.iter().scan(FIELDS, |end, field| {
        let size = 1 << shift(field);
        let offset = end.next_multiple_of(size);
        *end = offset + size;
        Some(offset)
    })
}

/// The size of a field's values, as the logarithm of the number of bytes.
pub(crate) fn shift(field: &FieldType) -> u8 {
    match field.storage {
        StorageType::I8 => 0,
        StorageType::I16 => 1,
        StorageType::Val(ValType::I32 | ValType::F32) => 2,
        StorageType::Val(ValType::I64 | ValType::F64) => 3,
        StorageType::Val(ValType::V128) => 4,
        StorageType::Val(ty) => {
            if ty.is_func_ref() {
                3
            } else {
                2
            }
        }
    }
}

/// Whether a field's values are references that a collector follows.
fn is_followed(field: &FieldType) -> bool {
    matches!(field.storage, StorageType::Val(ty) if ty.is_collected())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(storage: StorageType) -> FieldType {
        FieldType { storage, is_mutable: true }
    }

    #[test]
    fn fields_are_aligned_and_stay_where_they_are_in_subtypes() {
        use ValType::{ExternRef, F64, FuncRef, I32, V128};
        let val = |ty| field(StorageType::Val(ty));
        let fields = [field(StorageType::I8), val(I32), val(ExternRef), val(F64), val(V128)];
        let all: Vec<_> = offsets(&fields).collect();
        assert_eq!(all, [16, 20, 24, 32, 48]);
        for len in 0..fields.len() {
            assert_eq!(offsets(&fields[..len]).collect::<Vec<_>>(), all[..len]);
        }
        let layout = ObjectLayout::of(&CompositeType::Struct(fields.into()));
        assert_eq!(layout, ObjectLayout::Struct { size: 64, references: [24].into() });
        let array = |ty| ObjectLayout::of(&CompositeType::Array(val(ty)));
        assert_eq!(array(FuncRef), ObjectLayout::Array { shift: 3, references: false });
        assert_eq!(array(ExternRef), ObjectLayout::Array { shift: 2, references: true });
    }
}
