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
    if ty.table64 || ty.shared {
        bail!("unsupported: tables that are shared or have 64-bit indices");
    }
    let bound = |elements: u64| u32::try_from(elements).unwrap_or(u32::MAX);
    Ok(TableType::new(ref_type(ty.element_type)?, bound(ty.initial), ty.maximum.map(bound)))
}

pub(super) fn memory_type(ty: wasmparser::MemoryType) -> Result<MemoryType> {
    if ty.memory64 || ty.shared || ty.page_size_log2.is_some() {
        bail!("unsupported: memories that are shared, have 64-bit addresses or other page sizes");
    }
    // Validation bounds both by 65,536.
    let bound = |pages: u64| u32::try_from(pages).unwrap_or(u32::MAX);
    Ok(MemoryType::new(bound(ty.initial), ty.maximum.map(bound)))
}

pub(super) fn global_type(ty: wasmparser::GlobalType) -> Result<GlobalType> {
    if ty.shared {
        bail!("unsupported: shared globals");
    }
    let mutability = if ty.mutable { Mutability::Var } else { Mutability::Const };
    Ok(GlobalType::new(val_type(ty.content_type)?, mutability))
}
