//! What an instance defines: functions, memories, tables, globals, tags; and where it has its imports.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Result, bail};
use lampwick_fibers::Cancelled;

use super::constants::Constants;
use super::image;
use crate::compile::{ConstExpr, EntityIndex, ModuleInfo};
use crate::engine::Engine;
use crate::externs::Extern;
use crate::module::Module;
use crate::module::blueprint::{PER_ELEMENT, PER_FUNCTION, PER_GLOBAL, PER_IMPORT, PER_OPERATOR};
use crate::pooling::InstanceSlot;
use crate::vm;
use crate::vm::layout::{VMFuncRef, VMFunctionImport, VMGlobal, ValRaw};
use crate::vm::limits::Resource;
use crate::vm::memory::Memory;
use crate::vm::objects::NoObject;
use crate::vm::pace::{self, Pace};
use crate::vm::store::{Owned, Store, push_exactly};

/// Why memories, tables or globals could not be defined.
pub(super) enum Undefined {
    /// There is no room for it.
    Storage(Resource, anyhow::Error),
    Cancelled(Cancelled),
}

impl From<Cancelled> for Undefined {
    fn from(cancelled: Cancelled) -> Self {
        Self::Cancelled(cancelled)
    }
}

impl From<NoObject> for Undefined {
    fn from(error: NoObject) -> Self {
        match error {
            NoObject::Cancelled => Self::Cancelled(Cancelled),
            error => Self::Storage(Resource::Memory, error.into()),
        }
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
pub(super) struct Building<'a> {
    pub(super) store: &'a mut Store,
    pub(super) instance: vm::instance::Instance,
    pub(super) module: &'a Module,
    pub(super) info: &'a ModuleInfo,
}

impl Building<'_> {
    /// Fills the imports, whose types were checked.
    pub(super) fn import(&mut self, imports: &[Extern], pace: &mut Pace<'_>) -> Result<()> {
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
                    (EntityIndex::Memory(index), Extern::SharedMemory(shared)) => {
                        let memory = Memory::of_shared(shared.inner().clone());
                        let definition = memory.definition();
                        let memory = Owned::boxed(memory, definition);
                        self.instance.imported_memory(index).write(memory.definition.as_ptr());
                        self.instance.memories.push(self.store.memories.len() as u32);
                        push_exactly(&mut self.store.memories, memory);
                    }
                    (EntityIndex::Global(index), Extern::Global(global)) => {
                        let id = global.0.index(self.store);
                        let definition = self.store.globals[id].definition.as_ptr();
                        self.instance.imported_global(index).write(definition);
                        self.instance.globals.push(id as u32);
                    }
                    (EntityIndex::Tag(_), Extern::Tag(tag)) => {
                        self.instance.tags.push(tag.0.index(self.store) as u32);
                    }
                    _ => unreachable!("the kinds were checked"),
                }
            }
        }
        Ok(())
    }

    /// Writes the records of escaping functions.
    pub(super) fn define_functions(&mut self, pace: &mut Pace<'_>) -> Result<()> {
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
    pub(super) fn defined(&self) -> [usize; 3] {
        [self.store.memories.len(), self.store.tables.len(), self.store.globals.len()]
    }

    /// Takes back what was defined since; at once, since the slot of an instance that failed may have
    /// the next owner soon.
    pub(super) fn undefine(&mut self, [memories, tables, globals]: [usize; 3]) {
        self.store.note_storage();
        self.store.memories.truncate(memories);
        self.store.tables.truncate(tables);
        self.store.globals.truncate(globals);
    }

    /// Defines memories, tables and globals.
    pub(super) fn define(
        &mut self,
        engine: &Engine,
        slot: Option<&InstanceSlot>,
        pace: &mut Pace<'_>,
    ) -> Result<(), Undefined> {
        self.define_memories(engine, slot, pace)?;
        self.define_tables(engine).map_err(|error| Undefined::Storage(Resource::Table, error))?;
        self.define_globals(pace)?;
        self.define_tags(pace)?;
        self.fill_tables(pace)
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
    fn define_globals(&mut self, pace: &mut Pace<'_>) -> Result<(), Undefined> {
        let imported = self.info.imported_globals as usize;
        let count = self.info.global_inits.len();
        if pace::is_long(PER_GLOBAL * count) {
            // A list that grows would be copied, as often as it has twice as many.
            self.store.globals.reserve(count);
        }
        let defined = self.info.globals[imported..].iter().zip(&self.info.global_inits);
        for (index, (ty, init)) in defined.enumerate() {
            pace.spend(PER_GLOBAL + PER_OPERATOR * self.info.operators_of(init))?;
            let value = self.evaluate(init, pace)?;
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

    /// Defines tags, each different from all others.
    fn define_tags(&mut self, pace: &mut Pace<'_>) -> Result<(), Cancelled> {
        // Many tags may have one large type.
        let mut types = HashMap::new();
        for &ty in &self.info.tags[self.info.imported_tags as usize..] {
            pace.spend(PER_GLOBAL)?;
            let ty = types.entry(ty).or_insert_with(|| Arc::new(self.info.func_type(ty).clone()));
            let index = self.store.add_tag(ty.clone());
            self.instance.tags.push(index as u32);
        }
        Ok(())
    }

    /// Gives tables with an initial value that value.
    fn fill_tables(&mut self, pace: &mut Pace<'_>) -> Result<(), Undefined> {
        let imported = self.info.imported_tables as usize;
        for (index, init) in self.info.table_inits.iter().enumerate() {
            if *init == ConstExpr::RefNull {
                continue;
            }
            let value = self.evaluate(init, pace)?.to_u64();
            let id = self.instance.tables[imported + index] as usize;
            let table = &mut self.store.tables[id].value;
            pace.parts(table.len(), PER_ELEMENT, |start, len| {
                table.fill(start as u64, value, len as u64).expect("within the table");
            })?;
        }
        Ok(())
    }

    fn evaluate(&mut self, expr: &ConstExpr, pace: &mut Pace<'_>) -> Result<ValRaw, Undefined> {
        let Self { store, instance, module, info } = self;
        let mut constants = Constants { store, instance, module, info };
        Ok(constants.value(expr, pace)?)
    }
}
