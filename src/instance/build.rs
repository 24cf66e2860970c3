//! Making an instance: what is checked first, and in which order it gets what it has.

use std::ptr;

use anyhow::{Context, Result, bail};
use lampwick_fibers::Cancelled;

use super::definitions::{Building, Undefined};
use super::{Instance, func_record, segments};
use crate::compile::ModuleInfo;
use crate::engine::Engine;
use crate::externs::Extern;
use crate::module::Module;
use crate::pooling::InstanceSlot;
use crate::store::{Counts, Invocation, StoreInner};
use crate::vm;
use crate::vm::builtins::ENTRY_POINTS;
use crate::vm::interrupts::Interrupts;
use crate::vm::layout::{VMContext, VMDeadline};
use crate::vm::limits::Growth;
use crate::vm::pace::Pace;
use crate::vm::store::Store;

/// Checks that the store may have one more instance, with what it defines, but for what the store's
/// limiter says of [`initial_sizes`].
pub(super) fn check<T>(store: &mut StoreInner<T>, module: &Module) -> Result<()> {
    if !Engine::same(module.engine(), &store.engine) {
        bail!("the module and the store belong to different engines");
    }
    let info = module.info();
    store.check_counts(Counts {
        instances: 1,
        tables: info.tables.len() - info.imported_tables as usize,
        memories: info.memories.len() - info.imported_memories as usize,
    })
}

/// What the limiter is asked about before a module is instantiated.
pub(super) fn initial_sizes(info: &ModuleInfo) -> impl Iterator<Item = Growth> + Send {
    let memories = &info.memories[info.imported_memories as usize..];
    let tables = &info.tables[info.imported_tables as usize..];
    let memories = memories.iter().map(Growth::to_new_memory);
    memories.chain(tables.iter().map(Growth::to_new_table))
}

/// Makes an instance, up to its start function, of a module that was checked and sizes that were
/// permitted. In a pooling engine it gets the slot.
///
/// # Safety
///
/// What is given must be of this store and of the types that the module expects.
pub(super) unsafe fn instantiate<T>(
    store: &mut StoreInner<T>,
    module: &Module,
    given: &[Extern],
    slot: Option<InstanceSlot>,
    pace: &mut Pace<'_>,
) -> Result<(Instance, Option<Invocation>)> {
    if module.info().types.iter().any(|ty| ty.func().is_none()) {
        let settings = store.engine.config().objects;
        store
            .vm
            .prepare_objects(settings)
            .context("cannot reserve addresses for structs and arrays")?;
    }
    let index = store.vm.instances.len();
    let deadline = store.vm.interrupts.as_ref().map_or(ptr::null(), Interrupts::machine);
    let instance = new_instance(&raw mut store.vm, deadline, module, index, pace)?;
    let mut building = Building { store: &mut store.vm, instance, module, info: module.info() };
    building.import(given, pace)?;
    building.define_functions(pace)?;
    let before = building.defined();
    if let Err(error) = building.define(&store.engine, slot.as_ref(), pace) {
        building.undefine(before);
        if let Undefined::Storage(resource, error) = &error {
            store.grow_failed(*resource, error);
        }
        return Err(error.into());
    }
    let Building { instance, .. } = building;
    let start = module.info().start.map(|start| Invocation {
        function: func_record(&instance, module.info(), start),
        values: std::ptr::dangling_mut(),
    });
    store.vm.code.insert(module.code());
    store.vm.instances.push(instance);
    store.modules.push(module.local());
    store.slots.extend(slot);
    segments::apply(&mut store.vm, index, module, pace)?;
    Ok((Instance::at(&store.vm, index), start))
}

fn new_instance(
    store: *mut Store,
    deadline: *const VMDeadline,
    module: &Module,
    index: usize,
    pace: &mut Pace<'_>,
) -> Result<vm::instance::Instance, Cancelled> {
    let head = VMContext {
        store: store.cast(),
        builtins: ENTRY_POINTS.as_ptr(),
        types: module.type_records(),
        deadline,
        instance: index + 1,
    };
    vm::instance::Instance::new(head, module.blueprint().local(), pace)
}
