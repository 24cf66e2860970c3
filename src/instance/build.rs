//! Making an instance: imports, definitions, segments.

use std::ptr;

use anyhow::{Result, bail};
use lampwick_fibers::Cancelled;

use super::{Instance, func_record, image};
use crate::compile::{ConstExpr, ConstOp, EntityIndex, ModuleInfo, SegmentMode};
use crate::engine::Engine;
use crate::externs::Extern;
use crate::module::Module;
use crate::module::blueprint::{
    PER_ELEMENT, PER_FUNCTION, PER_GLOBAL, PER_IMPORT, PER_OPERATOR, PER_SEGMENT,
};
use crate::pooling::InstanceSlot;
use crate::store::{Counts, Invocation, StoreInner};
use crate::trap::{Trap, TrapCode};
use crate::vm;
use crate::vm::builtins::ENTRY_POINTS;
use crate::vm::interrupts::Interrupts;
use crate::vm::layout::{VMContext, VMDeadline, VMFuncRef, VMFunctionImport, VMGlobal, ValRaw};
use crate::vm::limits::{Growth, Resource};
use crate::vm::pace::Pace;
use crate::vm::store::{Owned, Store, push_exactly};
use crate::vm::table::checked_range;

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
    let index = store.vm.instances.len();
    let deadline = store.vm.interrupts.as_ref().map_or(ptr::null(), Interrupts::machine);
    let instance = new_instance(&raw mut store.vm, deadline, module, index);
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
    apply_segments(&mut store.vm, index, module, pace)?;
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
        types: module.type_records(),
        deadline,
        instance: index + 1,
    };
    vm::instance::Instance::new(head, module.blueprint().local())
}

/// Why memories, tables or globals could not be defined.
enum Undefined {
    /// There is no room for it.
    Storage(Resource, anyhow::Error),
    Cancelled(Cancelled),
}

impl From<Cancelled> for Undefined {
    fn from(cancelled: Cancelled) -> Self {
        Self::Cancelled(cancelled)
    }
}

impl From<Undefined> for anyhow::Error {
    fn from(error: Undefined) -> Self {
        match error {
            Undefined::Storage(_, error) => error,
            Undefined::Cancelled(cancelled) => cancelled.into(),
        }
    }
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
    fn import(&mut self, imports: &[Extern], pace: &mut Pace<'_>) -> Result<()> {
        for (import, item) in self.info.imports.iter().zip(imports) {
            pace.spend(PER_IMPORT)?;
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
    fn define_functions(&mut self, pace: &mut Pace<'_>) -> Result<()> {
        let context = self.instance.context().as_ptr();
        for (slot, &function) in self.info.escaping.iter().enumerate() {
            pace.spend(PER_FUNCTION)?;
            if function < self.info.imported_functions {
                continue;
            }
            let (code, enter) = self.module.function(function)?;
            let ty = self.module.type_record(self.info.functions[function as usize]);
            // SAFETY: this is the place of the record.
            unsafe {
                let record = VMFuncRef { code, context, enter, ty };
                self.instance.func_ref(slot as u32).write(record);
            }
        }
        Ok(())
    }

    /// How many memories, tables and globals the store has.
    fn defined(&self) -> [usize; 3] {
        [self.store.memories.len(), self.store.tables.len(), self.store.globals.len()]
    }

    /// Takes back what was defined since; at once, since the slot of an instance that failed may have
    /// the next owner soon.
    fn undefine(&mut self, [memories, tables, globals]: [usize; 3]) {
        self.store.note_storage();
        self.store.memories.truncate(memories);
        self.store.tables.truncate(tables);
        self.store.globals.truncate(globals);
    }

    /// Defines memories, tables and globals.
    fn define(
        &mut self,
        engine: &Engine,
        slot: Option<&InstanceSlot>,
        pace: &mut Pace<'_>,
    ) -> Result<(), Undefined> {
        self.define_memories(engine, slot, pace)?;
        self.define_tables(engine).map_err(|error| Undefined::Storage(Resource::Table, error))?;
        self.define_globals(pace)?;
        Ok(self.fill_tables(pace)?)
    }

    fn define_memories(
        &mut self,
        engine: &Engine,
        slot: Option<&InstanceSlot>,
        pace: &mut Pace<'_>,
    ) -> Result<(), Undefined> {
        let defined = &self.info.memories[self.info.imported_memories as usize..];
        let first = slot.zip(engine.pool()).map_or(0, |(slot, pool)| pool.first_memory(slot));
        for (index, ty) in defined.iter().enumerate() {
            let image = if self.info.imported_memories as usize + index == 0 {
                image::of(self.module, pace)?
            } else {
                None
            };
            let memory = engine.memories().memory_of_instance(ty, first + index, image);
            let memory = memory.map_err(|error| {
                let error = error.report().context(format!("cannot make a {ty}"));
                Undefined::Storage(Resource::Memory, error)
            })?;
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
    fn define_globals(&mut self, pace: &mut Pace<'_>) -> Result<(), Cancelled> {
        let imported = self.info.imported_globals as usize;
        let defined = self.info.globals[imported..].iter().zip(&self.info.global_inits);
        for (index, (ty, init)) in defined.enumerate() {
            pace.spend(PER_GLOBAL + PER_OPERATOR * self.info.operators_of(init))?;
            let value = self.evaluate(init);
            let place = self.instance.global(index as u32);
            self.instance.globals.push(self.store.globals.len() as u32);
            // SAFETY: as for memories.
            unsafe {
                place.write(VMGlobal(value.0));
                push_exactly(&mut self.store.globals, Owned::of_instance(ty.clone(), place));
            }
        }
        Ok(())
    }

    /// Gives tables with an initial value that value.
    fn fill_tables(&mut self, pace: &mut Pace<'_>) -> Result<(), Cancelled> {
        let imported = self.info.imported_tables as usize;
        for (index, init) in self.info.table_inits.iter().enumerate() {
            if *init == ConstExpr::RefNull {
                continue;
            }
            let value = self.evaluate(init).to_u64();
            let id = self.instance.tables[imported + index] as usize;
            let table = &mut self.store.tables[id].value;
            pace.parts(table.len(), PER_ELEMENT, |start, len| {
                table.fill(start as u64, value, len as u64).expect("within the table");
            })?;
        }
        Ok(())
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
        ConstExpr::V128(value) => ValRaw(value.to_le_bytes()),
        ConstExpr::Arithmetic(index) => {
            let ops = &info.arithmetic[index as usize];
            let read = |value: &_| evaluate(store, instance, info, value).to_u64();
            ValRaw::from_u64(ConstOp::evaluate(ops, read))
        }
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
fn apply_segments(
    store: &mut Store,
    index: usize,
    module: &Module,
    pace: &mut Pace<'_>,
) -> Result<()> {
    let (info, blueprint) = (module.info(), module.blueprint());
    for (segment, element) in info.elements.iter().enumerate() {
        if let SegmentMode::Active { target, offset } = &element.mode {
            pace.spend(PER_SEGMENT + PER_OPERATOR * info.operators_of(offset))?;
            let instance = &store.instances[index];
            let start = evaluate(store, instance, info, offset).to_u64();
            let (table, len) = (instance.tables[*target as usize], element.items.len());
            checked_range(start, len as u64, store.tables[table as usize].value.len())
                .map_err(|_| Trap::from_code(TrapCode::TableOutOfBounds))?;
            pace.parts(len, PER_ELEMENT, |from, len| {
                let (to, from) = ((table, start + from as u64), from as u64);
                store
                    .init_table(to, (index, segment as u32), from, len as u64)
                    .expect("the range was checked");
            })?;
            store.instances[index].drop_elements(segment as u32);
        }
    }
    // Which is the first of the module's memories.
    let memory = store.instances[index].memories.first().map(|&memory| memory as usize);
    let has_image = info.imported_memories == 0
        && memory.is_some_and(|memory| store.memories[memory].value.has_image());
    for (segment, data) in info.data.iter().enumerate() {
        if let SegmentMode::Active { target, offset } = &data.mode {
            pace.spend(PER_SEGMENT + PER_OPERATOR * info.operators_of(offset))?;
            if has_image {
                store.instances[index].drop_data(segment as u32);
                continue;
            }
            let instance = &store.instances[index];
            let start = evaluate(store, instance, info, offset).to_u64();
            let memory = instance.memories[*target as usize] as usize;
            let bytes = &blueprint.bytes[blueprint.ranges[segment].clone()];
            let definition = store.memories[memory].value.definition();
            checked_range(start, bytes.len() as u64, definition.len)
                .map_err(|_| Trap::from_code(TrapCode::MemoryOutOfBounds))?;
            let end = start as usize + bytes.len();
            store.memories[memory].value.note_written(start as usize..end);
            pace.parts(bytes.len(), 1, |from, len| {
                let bytes = &bytes[from..from + len];
                // SAFETY: the range was checked, and nothing moves or shrinks a memory while we
                // have the store; neither a guest nor a slice of the host's is using it.
                unsafe {
                    let to = definition.base.add(start as usize + from);
                    to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                }
            })?;
            store.instances[index].drop_data(segment as u32);
        }
    }
    Ok(())
}
