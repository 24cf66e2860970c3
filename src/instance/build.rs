//! Making an instance: imports, definitions, segments.

use std::ptr;

use anyhow::{Context, Result, bail};
use thin_vec::ThinVec;

use super::{Instance, func_record, image};
use crate::compile::{ConstExpr, EntityIndex, ModuleInfo, SegmentMode};
use crate::engine::Engine;
use crate::externs::Extern;
use crate::module::Module;
use crate::pooling::InstanceSlot;
use crate::store::{Counts, Invocation, StoreInner};
use crate::trap::{Trap, TrapCode};
use crate::vm;
use crate::vm::builtins::ENTRY_POINTS;
use crate::vm::interrupts::Interrupts;
use crate::vm::layout::{VMContext, VMDeadline, VMFuncRef, VMFunctionImport, VMGlobal, ValRaw};
use crate::vm::limits::{Growth, Resource};
use crate::vm::memory::GrowError;
use crate::vm::store::{Owned, Store, push_exactly};
use crate::vm::table::RawRef;

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
) -> Result<(Instance, Option<Invocation>)> {
    let index = store.vm.instances.len();
    let deadline = store.vm.interrupts.as_ref().map_or(ptr::null(), Interrupts::machine);
    let instance = new_instance(&raw mut store.vm, deadline, module, index);
    let mut building = Building { store: &mut store.vm, instance, module, info: module.info() };
    building.import(given)?;
    building.define_functions()?;
    let (memories, tables) = (building.store.memories.len(), building.store.tables.len());
    if let Err((resource, error)) = building.define_storage(&store.engine, slot.as_ref()) {
        store.vm.note_storage();
        // The slot is given back now, so that nothing may be left in it.
        store.vm.memories.truncate(memories);
        store.vm.tables.truncate(tables);
        store.grow_failed(resource, &error);
        return Err(error);
    }
    building.define_globals();
    building.fill_tables();
    building.evaluate_elements();
    let Building { instance, .. } = building;
    let start = module.info().start.map(|start| Invocation {
        function: func_record(&instance, module.info(), start),
        values: std::ptr::dangling_mut(),
    });
    store.vm.code.insert(module.code());
    store.vm.instances.push(instance);
    store.modules.push(module.local());
    store.slots.extend(slot);
    apply_segments(&mut store.vm, index, module)?;
    Ok((Instance::at(&store.vm, index), start))
}

fn new_instance(
    store: *mut Store,
    deadline: *const VMDeadline,
    module: &Module,
    index: usize,
) -> vm::instance::Instance {
    let head = VMContext {
        store: store.cast(),
        builtins: ENTRY_POINTS.as_ptr(),
        type_ids: module.type_ids().as_ptr(),
        deadline,
        instance: index + 1,
    };
    vm::instance::Instance::new(head, module.blueprint().local())
}

/// An instance that is not yet in its store.
struct Building<'a> {
    store: &'a mut Store,
    instance: vm::instance::Instance,
    module: &'a Module,
    info: &'a ModuleInfo,
}

impl Building<'_> {
    /// Fills the imports, whose types were checked.
    fn import(&mut self, imports: &[Extern]) -> Result<()> {
        for (import, item) in self.info.imports.iter().zip(imports) {
            // SAFETY: each write is to the place of this import; what is imported lives as long as
            // the store.
            unsafe {
                match (import.entity, item) {
                    (EntityIndex::Function(index), Extern::Func(func)) => {
                        let func_ref = func.record(self.store)?.as_ptr();
                        let VMFuncRef { code, context, .. } = *func_ref;
                        let import = VMFunctionImport { code, context, func_ref };
                        self.instance.imported_function(index).write(import);
                    }
                    (EntityIndex::Table(index), Extern::Table(table)) => {
                        let id = table.0.index(self.store);
                        let definition = self.store.tables[id].definition.as_ptr();
                        self.instance.imported_table(index).write(definition);
                        self.instance.tables.push(id as u32);
                    }
                    (EntityIndex::Memory(index), Extern::Memory(memory)) => {
                        let id = memory.0.index(self.store);
                        let definition = self.store.memories[id].definition.as_ptr();
                        self.instance.imported_memory(index).write(definition);
                        self.instance.memories.push(id as u32);
                    }
                    (EntityIndex::Global(index), Extern::Global(global)) => {
                        let id = global.0.index(self.store);
                        let definition = self.store.globals[id].definition.as_ptr();
                        self.instance.imported_global(index).write(definition);
                        self.instance.globals.push(id as u32);
                    }
                    _ => unreachable!("the kinds were checked"),
                }
            }
        }
        Ok(())
    }

    /// Writes the records of escaping functions.
    fn define_functions(&mut self) -> Result<()> {
        let context = self.instance.context().as_ptr();
        for (slot, &function) in self.info.escaping.iter().enumerate() {
            if function < self.info.imported_functions {
                continue;
            }
            let (code, enter) = self.module.function(function)?;
            let type_id = self.module.type_ids()[self.info.functions[function as usize] as usize];
            // SAFETY: this is the place of the record.
            unsafe {
                let record = VMFuncRef { code, context, enter, type_id };
                self.instance.func_ref(slot as u32).write(record);
            }
        }
        Ok(())
    }

    /// Defines memories and tables; an error comes with what it is about.
    fn define_storage(
        &mut self,
        engine: &Engine,
        slot: Option<&InstanceSlot>,
    ) -> Result<(), (Resource, anyhow::Error)> {
        self.define_memories(engine, slot).map_err(|error| (Resource::Memory, error))?;
        self.define_tables(engine).map_err(|error| (Resource::Table, error))
    }

    fn define_memories(&mut self, engine: &Engine, slot: Option<&InstanceSlot>) -> Result<()> {
        let defined = &self.info.memories[self.info.imported_memories as usize..];
        let first = slot.zip(engine.pool()).map_or(0, |(slot, pool)| pool.first_memory(slot));
        for (index, ty) in defined.iter().enumerate() {
            let image = if self.info.imported_memories as usize + index == 0 {
                image::of(self.module)
            } else {
                None
            };
            let memory = engine.memories().memory_of_instance(ty, first + index, image);
            let memory =
                memory.map_err(GrowError::report).with_context(|| format!("cannot make a {ty}"))?;
            let place = self.instance.memory(index as u32);
            self.instance.memories.push(self.store.memories.len() as u32);
            // SAFETY: the place is in the context of the instance, which the store will keep; if
            // it does not come to that, nothing that could reach the memory does.
            unsafe {
                place.write(memory.definition());
                push_exactly(&mut self.store.memories, Owned::of_instance(memory, place));
            }
        }
        Ok(())
    }

    fn define_tables(&mut self, engine: &Engine) -> Result<()> {
        let defined = &self.info.tables[self.info.imported_tables as usize..];
        for (index, ty) in defined.iter().enumerate() {
            let Some(mut table) = vm::table::Table::new(ty) else { bail!("cannot make a {ty}") };
            if let Some(pool) = engine.pool() {
                table.limit(pool.limits.elements());
            }
            let place = self.instance.table(index as u32);
            self.instance.tables.push(self.store.tables.len() as u32);
            // SAFETY: as for memories.
            unsafe {
                place.write(table.definition());
                push_exactly(&mut self.store.tables, Owned::of_instance(table, place));
            }
        }
        Ok(())
    }

    /// Defines globals in order, since each may use those before it.
    fn define_globals(&mut self) {
        let imported = self.info.imported_globals as usize;
        let defined = self.info.globals[imported..].iter().zip(&self.info.global_inits);
        for (index, (ty, init)) in defined.enumerate() {
            let value = self.evaluate(init);
            let place = self.instance.global(index as u32);
            self.instance.globals.push(self.store.globals.len() as u32);
            // SAFETY: as for memories.
            unsafe {
                place.write(VMGlobal(value.0));
                push_exactly(&mut self.store.globals, Owned::of_instance(ty.clone(), place));
            }
        }
    }

    /// Gives tables with an initial value that value.
    fn fill_tables(&mut self) {
        let imported = self.info.imported_tables as usize;
        for (index, init) in self.info.table_inits.iter().enumerate() {
            if *init == ConstExpr::RefNull {
                continue;
            }
            let value = self.evaluate(init).to_u64();
            let id = self.instance.tables[imported + index] as usize;
            let table = &mut self.store.tables[id].value;
            table.fill(0, value, table.len() as u64).expect("the whole table");
        }
    }

    fn evaluate_elements(&mut self) {
        let segments = self.info.elements.iter().map(|segment| match segment.mode {
            SegmentMode::Declared => Box::default(),
            _ => segment.items.iter().map(|item| self.evaluate(item).to_u64()).collect(),
        });
        let elements: ThinVec<Box<[RawRef]>> = segments.collect();
        self.instance.set_elements(elements);
    }

    fn evaluate(&self, expr: &ConstExpr) -> ValRaw {
        evaluate(self.store, &self.instance, self.info, expr)
    }
}

fn evaluate(
    store: &Store,
    instance: &vm::instance::Instance,
    info: &ModuleInfo,
    expr: &ConstExpr,
) -> ValRaw {
    match *expr {
        ConstExpr::I32(value) => ValRaw::from_u64((value as u32).into()),
        ConstExpr::I64(value) => ValRaw::from_u64(value as u64),
        ConstExpr::F32(bits) => ValRaw::from_u64(bits.into()),
        ConstExpr::F64(bits) => ValRaw::from_u64(bits),
        ConstExpr::RefNull => ValRaw::ZERO,
        ConstExpr::RefFunc(function) => {
            ValRaw::from_u64(func_record(instance, info, function).as_ptr() as u64)
        }
        ConstExpr::GlobalGet(index) => {
            let id = instance.globals[index as usize];
            // SAFETY: definitions are live with the store.
            ValRaw(unsafe { store.globals[id as usize].definition.read() }.0)
        }
    }
}

/// Copies the active segments, element segments first, each in order, but for data that the memory
/// has by its image; they are dropped then, like those that only declare.
fn apply_segments(store: &mut Store, index: usize, module: &Module) -> Result<(), Trap> {
    let (info, blueprint) = (module.info(), module.blueprint());
    for (segment, element) in info.elements.iter().enumerate() {
        if let SegmentMode::Active { target, offset } = &element.mode {
            let instance = &store.instances[index];
            let start = evaluate(store, instance, info, offset).to_u64();
            let table = instance.tables[*target as usize] as usize;
            let elements = instance.elements(segment as u32);
            store.tables[table]
                .value
                .write(start, elements)
                .map_err(|_| Trap::from_code(TrapCode::TableOutOfBounds))?;
            store.instances[index].drop_elements(segment as u32);
        }
    }
    // Which is the first of the module's memories.
    let memory = store.instances[index].memories.first().map(|&memory| memory as usize);
    let has_image = info.imported_memories == 0
        && memory.is_some_and(|memory| store.memories[memory].value.has_image());
    for (segment, data) in info.data.iter().enumerate() {
        if let SegmentMode::Active { target, offset } = &data.mode {
            if has_image {
                store.instances[index].drop_data(segment as u32);
                continue;
            }
            let instance = &store.instances[index];
            let start = evaluate(store, instance, info, offset).to_u64();
            let memory = instance.memories[*target as usize] as usize;
            let bytes = &blueprint.bytes[blueprint.ranges[segment].clone()];
            let definition = store.memories[memory].value.definition();
            vm::table::checked_range(start, bytes.len() as u64, definition.len)
                .map_err(|_| Trap::from_code(TrapCode::MemoryOutOfBounds))?;
            // SAFETY: the range was checked, and neither a guest nor a slice of the host's is using
            // the memory.
            unsafe {
                let to = definition.base.add(start as usize);
                to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            }
            store.instances[index].drop_data(segment as u32);
        }
    }
    Ok(())
}
