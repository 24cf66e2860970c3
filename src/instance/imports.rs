//! Whether what is given for a module's imports is what it expects.

use anyhow::{Context, Result, anyhow, bail};

use crate::compile::{EntityIndex, Import, ModuleInfo};
use crate::engine::Registry;
use crate::externs::{Definition, Extern, Global, Memory, Table};
use crate::module::Module;
use crate::module::blueprint::PER_IMPORT;
use crate::store::{StoreContext, StoreInner};
use crate::types::{ExternType, Mutability};
use crate::vm::pace::Pace;

/// That each import is of this store and of the type that the module expects.
pub(super) fn check<T>(
    store: &StoreInner<T>,
    module: &Module,
    imports: &[Extern],
    pace: &mut Pace<'_>,
) -> Result<()> {
    let info = module.info();
    if imports.len() != info.imports.len() {
        bail!("the module has {} imports, but {} were given", info.imports.len(), imports.len());
    }
    info.imports.iter().zip(imports).try_for_each(|(import, item)| {
        pace.spend(PER_IMPORT)?;
        check_extern(store, info, import, item)
    })
}

/// The same for one import that may not be in a store yet.
pub(super) fn check_definition<T>(
    store: &StoreInner<T>,
    info: &ModuleInfo,
    import: &Import,
    definition: &Definition,
) -> Result<()> {
    match (definition, import.entity) {
        (Definition::Extern(item), _) => check_extern(store, info, import, item),
        (Definition::Host(host), EntityIndex::Function(index))
            if store.engine.types().func_matches(host.ty(), info.function_type(index)) =>
        {
            Ok(())
        }
        (Definition::Host(host), entity) => {
            Err(mismatch(import, &info.entity_type(entity), &host.ty().clone().into()))
        }
    }
}

fn check_extern<T>(
    store: &StoreInner<T>,
    info: &ModuleInfo,
    import: &Import,
    item: &Extern,
) -> Result<()> {
    check_store(store, import, item)?;
    let (expected, found) = (info.entity_type(import.entity), item.ty(StoreContext(store)));
    if !matches(store.engine.types(), &expected, &found) {
        return Err(mismatch(import, &expected, &found));
    }
    Ok(())
}

/// That what is given for an import is of this store.
pub(super) fn check_store<T>(store: &StoreInner<T>, import: &Import, item: &Extern) -> Result<()> {
    match item {
        Extern::Func(func) => func.record(&store.vm).map(drop),
        Extern::Global(Global(stored))
        | Extern::Table(Table(stored))
        | Extern::Memory(Memory(stored)) => {
            stored.try_index(&store.vm).map(drop).map_err(Into::into)
        }
    }
    .with_context(|| format!("import `{}::{}`", import.module, import.name))
}

/// The error for an import of the wrong type.
fn mismatch(import: &Import, expected: &ExternType, found: &ExternType) -> anyhow::Error {
    anyhow!(
        "incompatible import type: the module expects `{}::{}` to be a {expected}, but it is a {found}",
        import.module,
        import.name,
    )
}

/// Whether something of type `found` can stand where `expected` is imported (core specification,
/// 3.3 "Import matching").
fn matches(types: &Registry, expected: &ExternType, found: &ExternType) -> bool {
    fn limits<L: PartialOrd>(expected: (L, Option<L>), found: (L, Option<L>)) -> bool {
        found.0 >= expected.0
            && match (expected.1, found.1) {
                (None, _) => true,
                (Some(expected), Some(found)) => found <= expected,
                (Some(_), None) => false,
            }
    }
    match (expected, found) {
        (ExternType::Func(expected), ExternType::Func(found)) => {
            types.func_matches(found, expected)
        }
        (ExternType::Global(expected), ExternType::Global(found)) => {
            expected == found
                || (expected.mutability(), found.mutability())
                    == (Mutability::Const, Mutability::Const)
                    && types.val_matches(*found.content(), *expected.content())
        }
        (ExternType::Table(expected), ExternType::Table(found)) => {
            expected.element() == found.element()
                && expected.is_64() == found.is_64()
                && limits(
                    (expected.minimum64(), expected.maximum64()),
                    (found.minimum64(), found.maximum64()),
                )
        }
        (ExternType::Memory(expected), ExternType::Memory(found)) => {
            expected.is_64() == found.is_64()
                && expected.page_size() == found.page_size()
                && limits(
                    (expected.minimum(), expected.maximum()),
                    (found.minimum(), found.maximum()),
                )
        }
        _ => false,
    }
}
