//! Whether what is given for a module's imports is what it expects.

use anyhow::{Context, Result, anyhow, bail};

use crate::compile::Import;
use crate::externs::{Extern, Global, Memory, Table};
use crate::module::Module;
use crate::store::{StoreContext, StoreInner};
use crate::types::ExternType;

/// That an import is of the type that the module expects.
pub(super) fn check<T>(store: &StoreInner<T>, module: &Module, imports: &[Extern]) -> Result<()> {
    let info = module.info();
    if imports.len() != info.imports.len() {
        bail!("the module has {} imports, but {} were given", info.imports.len(), imports.len());
    }
    for (import, item) in info.imports.iter().zip(imports) {
        let place = || format!("import `{}::{}`", import.module, import.name);
        match item {
            Extern::Func(func) => drop(func.record(&store.vm).with_context(place)?),
            Extern::Global(Global(stored))
            | Extern::Table(Table(stored))
            | Extern::Memory(Memory(stored)) => {
                stored.try_index(&store.vm).with_context(place)?;
            }
        }
        let (expected, found) = (info.entity_type(import.entity), item.ty(StoreContext(store)));
        if !matches(&expected, &found) {
            return Err(mismatch(import, &expected, &found));
        }
    }
    Ok(())
}

/// The error for an import of the wrong type.
pub(crate) fn mismatch(
    import: &Import,
    expected: &ExternType,
    found: &ExternType,
) -> anyhow::Error {
    anyhow!(
        "incompatible import type: the module expects `{}::{}` to be a {expected}, but it is a {found}",
        import.module,
        import.name,
    )
}

/// Whether something of type `found` can stand where `expected` is imported (core specification, 3.3 "Import matching").
fn matches(expected: &ExternType, found: &ExternType) -> bool {
    fn limits<L: PartialOrd>(expected: (L, Option<L>), found: (L, Option<L>)) -> bool {
        found.0 >= expected.0
            && match (expected.1, found.1) {
                (None, _) => true,
                (Some(expected), Some(found)) => found <= expected,
                (Some(_), None) => false,
            }
    }
    match (expected, found) {
        (ExternType::Func(expected), ExternType::Func(found)) => expected == found,
        (ExternType::Global(expected), ExternType::Global(found)) => expected == found,
        (ExternType::Table(expected), ExternType::Table(found)) => {
            expected.element() == found.element()
                && limits(
                    (expected.minimum(), expected.maximum()),
                    (found.minimum(), found.maximum()),
                )
        }
        (ExternType::Memory(expected), ExternType::Memory(found)) => {
            limits((expected.minimum(), expected.maximum()), (found.minimum(), found.maximum()))
        }
        _ => false,
    }
}
