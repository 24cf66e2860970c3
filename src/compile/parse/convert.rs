//! The validator's types as ours.

use anyhow::{Context as _, Result, bail};
use wasmparser::CompositeInnerType;

use crate::types::composite::{CompositeType, FieldType, StorageType, SubType};
use crate::types::{
    CompositeKind, ConcreteType, FuncType, GlobalType, HeapType, MemoryType, Mutability, RefType,
    TableType, ValType,
};

/// The kinds of the types that a module has declared so far: what reads a type needs to know, since a
/// reference does not tell what it refers to.
pub(super) type Kinds = [CompositeKind];

/// A value type.
pub(super) fn val_type(ty: wasmparser::ValType, kinds: &Kinds) -> Result<ValType> {
    Ok(match ty {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => ValType::V128,
        wasmparser::ValType::Ref(ty) => ref_type(ty, kinds)?.into(),
    })
}

/// A reference type.
pub(super) fn ref_type(ty: wasmparser::RefType, kinds: &Kinds) -> Result<RefType> {
    use wasmparser::AbstractHeapType as Abstract;
    let heap = match ty.heap_type() {
        wasmparser::HeapType::Concrete(index) => HeapType::Concrete(concrete(index, kinds)?),
        wasmparser::HeapType::Abstract { shared: false, ty: heap } => match heap {
            Abstract::Func => HeapType::Func,
            Abstract::NoFunc => HeapType::NoFunc,
            Abstract::Extern => HeapType::Extern,
            Abstract::NoExtern => HeapType::NoExtern,
            Abstract::Any => HeapType::Any,
            Abstract::Eq => HeapType::Eq,
            Abstract::I31 => HeapType::I31,
            Abstract::Struct => HeapType::Struct,
            Abstract::Array => HeapType::Array,
            Abstract::None => HeapType::None,
            Abstract::Exn => HeapType::Exn,
            Abstract::NoExn => HeapType::NoExn,
            _ => bail!("unsupported: the reference type {ty}"),
        },
        _ => bail!("unsupported: the reference type {ty}"),
    };
    Ok(RefType::new(ty.is_nullable(), heap))
}

/// A type that is named by its index.
fn concrete(index: wasmparser::UnpackedIndex, kinds: &Kinds) -> Result<ConcreteType> {
    let index = index.as_module_index().context("internal error: a type without its index")?;
    let kind = kinds.get(index as usize).context("a type that is not declared")?;
    Ok(ConcreteType::at_index(index, *kind))
}

/// The kind of a declared type.
pub(super) fn kind(ty: &wasmparser::SubType) -> Result<CompositeKind> {
    Ok(match ty.composite_type.inner {
        CompositeInnerType::Func(_) => CompositeKind::Func,
        CompositeInnerType::Struct(_) => CompositeKind::Struct,
        CompositeInnerType::Array(_) => CompositeKind::Array,
        CompositeInnerType::Cont(_) => bail!("unsupported: the type {ty}"),
    })
}

/// A declared type. The kinds of all types of its group must be known.
pub(super) fn sub_type(ty: &wasmparser::SubType, kinds: &Kinds) -> Result<SubType> {
    let wasmparser::SubType { is_final, supertype_idxs, composite_type } = ty;
    if composite_type.shared
        || composite_type.descriptor_idx.is_some()
        || composite_type.describes_idx.is_some()
        || supertype_idxs.len() > 1
    {
        bail!("unsupported: the type {ty}");
    }
    let supertype = supertype_idxs.first().map(|index| concrete(index.unpack(), kinds));
    let composite = match &composite_type.inner {
        CompositeInnerType::Func(ty) => CompositeType::Func(func_type(ty, kinds)?),
        CompositeInnerType::Struct(ty) => {
            let fields = ty.fields.iter().map(|field| field_type(field, kinds));
            CompositeType::Struct(fields.collect::<Result<_>>()?)
        }
        CompositeInnerType::Array(ty) => CompositeType::Array(field_type(&ty.0, kinds)?),
        CompositeInnerType::Cont(_) => bail!("unsupported: the type {ty}"),
    };
    Ok(SubType { is_final: *is_final, supertype: supertype.transpose()?, composite })
}

fn field_type(field: &wasmparser::FieldType, kinds: &Kinds) -> Result<FieldType> {
    let storage = match field.element_type {
        wasmparser::StorageType::I8 => StorageType::I8,
        wasmparser::StorageType::I16 => StorageType::I16,
        wasmparser::StorageType::Val(ty) => StorageType::Val(val_type(ty, kinds)?),
    };
    Ok(FieldType { storage, is_mutable: field.mutable })
}

fn func_type(ty: &wasmparser::FuncType, kinds: &Kinds) -> Result<FuncType> {
    let all = |types: &[wasmparser::ValType]| {
        types.iter().map(|&ty| val_type(ty, kinds)).collect::<Result<Vec<_>>>()
    };
    Ok(FuncType::new(all(ty.params())?, all(ty.results())?))
}

pub(super) fn table_type(ty: wasmparser::TableType, kinds: &Kinds) -> Result<TableType> {
    if ty.shared {
        bail!("unsupported: shared tables");
    }
    let element = ref_type(ty.element_type, kinds)?;
    Ok(TableType::with_limits(element.into(), ty.initial, ty.maximum, ty.table64))
}

pub(super) fn memory_type(ty: wasmparser::MemoryType) -> Result<MemoryType> {
    if ty.shared {
        bail!("unsupported: shared memories");
    }
    let kind = if ty.memory64 { MemoryType::new64(0, None) } else { MemoryType::new(0, None) };
    let page_size = 1_u64.checked_shl(ty.page_size_log2.unwrap_or(16)).unwrap_or(0);
    kind.with_limits(ty.initial, ty.maximum).with_page_size(page_size)
}

pub(super) fn global_type(ty: wasmparser::GlobalType, kinds: &Kinds) -> Result<GlobalType> {
    if ty.shared {
        bail!("unsupported: shared globals");
    }
    let mutability = if ty.mutable { Mutability::Var } else { Mutability::Const };
    Ok(GlobalType::new(val_type(ty.content_type, kinds)?, mutability))
}
