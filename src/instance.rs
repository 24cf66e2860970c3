//! Instances: modules brought to life in a store.

use std::ptr::NonNull;

use anyhow::{Context, Result, anyhow, bail};

use crate::compile::{ConstExpr, EntityIndex, Import, ModuleInfo, SegmentMode};
use crate::engine::Engine;
use crate::externs::{Extern, Global, Memory, Stored, Table};
use crate::func::{Func, TypedFunc, WasmParams, WasmResults};
use crate::module::Module;
use crate::store::{
    AsContext, AsContextMut, Invocation, StoreContext, StoreContextMut, StoreInner,
};
use crate::trap::{Trap, TrapCode};
use crate::types::ExternType;
use crate::vm;
use crate::vm::builtins::ENTRY_POINTS;
use crate::vm::layout::{VMContext, VMFuncRef, VMFunctionImport, VMGlobal, ValRaw};
use crate::vm::store::{Owned, Store};
use crate::vm::table::RawRef;

/// A module brought to life in a store. A handle: small, copied freely, valid with the store that it came from.
#[derive(Clone, Copy, Debug)]
pub struct Instance(Stored);

/// Something that an instance exports.
#[derive(Clone, Debug)]
pub struct Export<'instance> {
    name: &'instance str,
    item: Extern,
}

impl<'instance> Export<'instance> {
    /// The name of the export.
    pub fn name(&self) -> &'instance str {
        self.name
    }

    /// The type of what is exported.
    ///
    /// # Panics
    ///
    /// Panics if it belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> ExternType {
        self.item.ty(store)
    }

    /// What is exported.
    pub fn into_extern(self) -> Extern {
        self.item
    }

    /// The function, if this is one.
    pub fn into_func(self) -> Option<Func> {
        self.item.into_func()
    }

    /// The global, if this is one.
    pub fn into_global(self) -> Option<Global> {
        self.item.into_global()
    }

    /// The table, if this is one.
    pub fn into_table(self) -> Option<Table> {
        self.item.into_table()
    }

    /// The memory, if this is one.
    pub fn into_memory(self) -> Option<Memory> {
        self.item.into_memory()
    }
}

impl Instance {
    /// Instantiates a module with these imports, in the order of [`Module::imports`], and runs its start function.
    ///
    /// # Errors
    ///
    /// Fails if imports are missing, of other types than expected or of another store, if a limit is met, or, with a
    /// [`Trap`], if a segment does not fit or the start function traps. What an instance did before it
    /// failed stays done.
    ///
    /// # Panics
    ///
    /// Panics if the store is async, and with the panic of a host function.
    pub fn new(
        mut store: impl AsContextMut,
        module: &Module,
        imports: &[Extern],
    ) -> Result<Self> {
        let store = store.as_context_mut().0;
        store.assert_async(false, "Instance::new");
        let (instance, start) = instantiate(store, module, imports)?;
        if let Some(start) = start {
            // SAFETY: a start function has neither parameters nor results, and belongs to this store.
            unsafe { store.call(start)? };
        }
        Ok(instance)
    }

    /// As [`Instance::new`], for async stores: the start function may suspend.
    ///
    /// # Errors
    ///
    /// As for [`Instance::new`].
    ///
    /// # Panics
    ///
    /// The future panics if the store is not async, and with the panic of a host function.
    pub async fn new_async<T: Send>(
        mut store: impl AsContextMut<Data = T>,
        module: &Module,
        imports: &[Extern],
    ) -> Result<Self> {
        let store = store.as_context_mut().0;
        store.assert_async(true, "Instance::new");
        let (instance, start) = instantiate(store, module, imports)?;
        if let Some(start) = start {
            // SAFETY: as in `new`.
            unsafe { store.call_async(start).await? };
        }
        Ok(instance)
    }

    /// The instance at a place in the store.
    pub(crate) fn at(store: &Store, index: usize) -> Self {
        Self(Stored::new(store, index))
    }

    /// Everything that the instance exports, in the order of its module.
    ///
    /// # Panics
    ///
    /// Panics if the instance belongs to another store.
    pub fn exports<'a, T: 'a>(
        &self,
        store: impl Into<StoreContextMut<'a, T>>,
    ) -> impl ExactSizeIterator<Item = Export<'a>> {
        let store: &'a StoreInner<T> = store.into().0;
        let index = self.0.index(&store.vm);
        let exports = store.modules[index].info().exports.iter();
        exports.map(move |export| Export {
            name: &export.name,
            item: entity(store, index, export.entity),
        })
    }

    /// What the instance exports under this name.
    ///
    /// # Panics
    ///
    /// Panics if the instance belongs to another store.
    pub fn get_export(&self, mut store: impl AsContextMut, name: &str) -> Option<Extern> {
        let store = &*store.as_context_mut().0;
        let index = self.0.index(&store.vm);
        let exports = &store.modules[index].info().exports;
        let export = exports.iter().find(|export| export.name == name)?;
        Some(entity(store, index, export.entity))
    }

    /// The function that the instance exports under this name.
    ///
    /// # Panics
    ///
    /// Panics if the instance belongs to another store.
    pub fn get_func(&self, store: impl AsContextMut, name: &str) -> Option<Func> {
        self.get_export(store, name)?.into_func()
    }

    /// The table that the instance exports under this name.
    ///
    /// # Panics
    ///
    /// Panics if the instance belongs to another store.
    pub fn get_table(&self, store: impl AsContextMut, name: &str) -> Option<Table> {
        self.get_export(store, name)?.into_table()
    }

    /// The memory that the instance exports under this name.
    ///
    /// # Panics
    ///
    /// Panics if the instance belongs to another store.
    pub fn get_memory(&self, store: impl AsContextMut, name: &str) -> Option<Memory> {
        self.get_export(store, name)?.into_memory()
    }

    /// The global that the instance exports under this name.
    ///
    /// # Panics
    ///
    /// Panics if the instance belongs to another store.
    pub fn get_global(&self, store: impl AsContextMut, name: &str) -> Option<Global> {
        self.get_export(store, name)?.into_global()
    }

    /// The function that the instance exports under this name, with its type known to the compiler.
    ///
    /// # Errors
    ///
    /// Fails if there is no such function, or if it is of another type.
    ///
    /// # Panics
    ///
    /// Panics if the instance belongs to another store.
    pub fn get_typed_func<Params, Results, S>(
        &self,
        mut store: S,
        name: &str,
    ) -> Result<TypedFunc<Params, Results>>
    where
        Params: WasmParams,
        Results: WasmResults,
        S: AsContextMut,
    {
        let func = self.get_func(store.as_context_mut(), name);
        let func = func.ok_or_else(|| anyhow!("the instance exports no function `{name}`"))?;
        func.typed(store.as_context_mut()).with_context(|| format!("function `{name}`"))
    }
}

/// An entry of an instance's index spaces.
fn entity<T>(store: &StoreInner<T>, instance: usize, entity: EntityIndex) -> Extern {
    let this = &store.vm.instances[instance];
    let stored = |index: u32| Stored::new(&store.vm, index as usize);
    match entity {
        EntityIndex::Function(index) => {
            let record = func_record(this, store.modules[instance].info(), index);
            // SAFETY: the record belongs to an instance of this store.
            unsafe { Func::from_record(&store.vm, record) }.into()
        }
        EntityIndex::Table(index) => Table(stored(this.tables[index as usize])).into(),
        EntityIndex::Memory(index) => Memory(stored(this.memories[index as usize])).into(),
        EntityIndex::Global(index) => Global(stored(this.globals[index as usize])).into(),
    }
}

/// The record of a function that escapes.
fn func_record(
    instance: &vm::instance::Instance,
    info: &ModuleInfo,
    function: u32,
) -> NonNull<VMFuncRef> {
    if function < info.imported_functions {
        // SAFETY: the import was filled before anything could ask for it.
        let import = unsafe { instance.imported_function(function).read() };
        return NonNull::new(import.func_ref).expect("imports are filled");
    }
    instance.func_ref(info.func_ref_slot(function).expect("the function escapes"))
}

/// Makes an instance, up to its start function.
fn instantiate<T>(
    store: &mut StoreInner<T>,
    module: &Module,
    imports: &[Extern],
) -> Result<(Instance, Option<Invocation>)> {
    if !Engine::same(module.engine(), &store.engine) {
        bail!("the module and the store belong to different engines");
    }
    check_imports(store, module, imports)?;
    let index = store.vm.instances.len();
    let instance = new_instance(&raw mut store.vm, module, index);
    let mut building = Building { store: &mut store.vm, instance, module, info: module.info() };
    building.import(imports)?;
    building.define_functions();
    building.define_memories(store.engine.memories())?;
    building.define_tables()?;
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
    store.modules.push(module.clone());
    apply_segments(&mut store.vm, index, module.info())?;
    Ok((Instance::at(&store.vm, index), start))
}

fn new_instance(store: *mut Store, module: &Module, index: usize) -> vm::instance::Instance {
    let head = VMContext {
        store: store.cast(),
        builtins: ENTRY_POINTS.as_ptr(),
        type_ids: module.type_ids().as_ptr(),
        instance: index + 1,
    };
    vm::instance::Instance::new(module.layout(), head, module.data().clone())
}

/// That an import is of the type that the module expects.
fn check_imports<T>(store: &StoreInner<T>, module: &Module, imports: &[Extern]) -> Result<()> {
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
        (ExternType::Memory(expected), ExternType::Memory(found)) => limits(
            (expected.minimum(), expected.maximum()),
            (found.minimum(), found.maximum()),
        ),
        _ => false,
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
    fn import(&mut self, imports: &[Extern]) -> Result<()> {
        for (import, item) in self.info.imports.iter().zip(imports) {
            // SAFETY: each write is to the place of this import; what is imported lives as long as the store.
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
    fn define_functions(&mut self) {
        let context = self.instance.context().as_ptr();
        for (slot, &function) in self.info.escaping.iter().enumerate() {
            if function < self.info.imported_functions {
                continue;
            }
            let (code, enter) = self.module.function(function);
            let type_id = self.module.type_ids()[self.info.functions[function as usize] as usize];
            // SAFETY: this is the place of the record.
            unsafe {
                let record = VMFuncRef { code, context, enter, type_id };
                self.instance.func_ref(slot as u32).write(record);
            }
        }
    }

    fn define_memories(&mut self, pool: &std::sync::Arc<vm::memory::MemoryPool>) -> Result<()> {
        let defined = &self.info.memories[self.info.imported_memories as usize..];
        for (index, ty) in defined.iter().enumerate() {
            let memory = vm::memory::Memory::new(pool, ty.minimum(), ty.maximum())
                .with_context(|| format!("cannot make a {ty}"))?;
            let place = self.instance.memory(index as u32);
            self.instance.memories.push(self.store.memories.len() as u32);
            // SAFETY: the place is in the context of the instance, which the store will keep; if
            // it does not come to that, nothing that could reach the memory does.
            unsafe {
                place.write(memory.definition());
                self.store.memories.push(Owned::of_instance(memory, place));
            }
        }
        Ok(())
    }

    fn define_tables(&mut self) -> Result<()> {
        let defined = &self.info.tables[self.info.imported_tables as usize..];
        for (index, ty) in defined.iter().enumerate() {
            let Some(mut table) = vm::table::Table::new(ty) else { bail!("cannot make a {ty}") };
            let place = self.instance.table(index as u32);
            self.instance.tables.push(self.store.tables.len() as u32);
            // SAFETY: as for memories.
            unsafe {
                place.write(table.definition());
                self.store.tables.push(Owned::of_instance(table, place));
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
                self.store.globals.push(Owned::of_instance(ty.clone(), place));
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
        let elements: Vec<Box<[RawRef]>> = segments.collect();
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

/// Copies the active segments, element segments first, each in order; they are dropped then, like those that only declare.
fn apply_segments(store: &mut Store, index: usize, info: &ModuleInfo) -> Result<(), Trap> {
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
    for (segment, data) in info.data.iter().enumerate() {
        if let SegmentMode::Active { target, offset } = &data.mode {
            let instance = &store.instances[index];
            let start = evaluate(store, instance, info, offset).to_u64();
            let memory = instance.memories[*target as usize] as usize;
            let (data, range) = instance.data(segment as u32);
            let bytes = &data.bytes[range];
            let definition = store.memories[memory].value.definition();
            vm::table::checked_range(start, bytes.len() as u64, definition.len)
                .map_err(|_| Trap::from_code(TrapCode::MemoryOutOfBounds))?;
            // SAFETY: the range was checked, and neither a guest nor a slice of the host's is using the memory.
            unsafe {
                let to = definition.base.add(start as usize);
                to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            }
            store.instances[index].drop_data(segment as u32);
        }
    }
    Ok(())
}
