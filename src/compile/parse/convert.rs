//! The validator's types as ours.

use anyhow::{Result, bail};

use crate::types::{FuncType, GlobalType, MemoryType, Mutability, TableType, ValType};

/// A value type.
pub(super) fn val_type(ty: wasmparser::ValType) -> Result<ValType> {
    Ok(match ty {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => ValType::V128,
        wasmparser::ValType::Ref(ty) => ref_type(ty)?,
    })
}

/// A reference type: one of the two that are not typed function references.
pub(super) fn ref_type(ty: wasmparser::RefType) -> Result<ValType> {
    match ty {
        wasmparser::RefType::FUNCREF => Ok(ValType::FuncRef),
        wasmparser::RefType::EXTERNREF => Ok(ValType::ExternRef),
        _ => bail!("unsupported: the reference type {ty}"),
    }
}

pub(super) fn func_type(ty: &wasmparser::FuncType) -> Result<FuncType> {
    let all = |types: &[wasmparser::ValType]| {
        types.iter().map(|&ty| val_type(ty)).collect::<Result<Vec<_>>>()
    };
    Ok(FuncType::new(all(ty.params())?, all(ty.results())?))
}

pub(super) fn table_type(ty: wasmparser::TableType) -> Result<TableType> {
    if ty.shared {
        bail!("unsupported: shared tables");
    }
    let element = ref_type(ty.element_type)?;
    Ok(TableType::with_limits(element, ty.initial, ty.maximum, ty.table64))
}

pub(super) fn memory_type(ty: wasmparser::MemoryType) -> Result<MemoryType> {
    if ty.shared {
        bail!("unsupported: shared memories");
    }
    let kind = if ty.memory64 { MemoryType::new64(0, None) } else { MemoryType::new(0, None) };
    let page_size = 1_u64.checked_shl(ty.page_size_log2.unwrap_or(16)).unwrap_or(0);
    kind.with_limits(ty.initial, ty.maximum).with_page_size(page_size)
}

pub(super) fn global_type(ty: wasmparser::GlobalType) -> Result<GlobalType> {
    if ty.shared {
        bail!("unsupported: shared globals");
    }
    let mutability = if ty.mutable { Mutability::Var } else { Mutability::Const };
    Ok(GlobalType::new(val_type(ty.content_type)?, mutability))
}
