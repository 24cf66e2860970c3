//! The types of a module, in its engine.

use anyhow::{Context, Result};

use crate::compile::ModuleInfo;
use crate::engine::{DefinedType, Engine, TypeHandle};
use crate::types::composite::SubType;
use crate::types::{ConcreteType, GlobalType, TableType};
use crate::vm::layout::VMType;

/// The engine's entry for each type of a module.
#[derive(Debug)]
pub(super) struct ModuleTypes {
    handles: Box<[TypeHandle]>,
    /// Their records, as machine code finds them.
    records: Box<[Record]>,
    /// What [`ModuleInfo`] had before types were named by handles, where it makes a difference.
    declared: Option<Box<Declared>>,
}

/// The address of a type's record.
#[repr(transparent)]
#[derive(Debug)]
struct Record(*const VMType);

// SAFETY: the record stays with the handle beside it, and does not change.
unsafe impl Send for Record {}
// SAFETY: as above.
unsafe impl Sync for Record {}

/// What names types by their index.
#[derive(Debug)]
struct Declared {
    types: Vec<SubType>,
    tables: Vec<TableType>,
    globals: Vec<GlobalType>,
}

impl ModuleTypes {
    /// Finds the entry for each type that a module declares, and names types by handles from then
    /// on.
    pub(super) fn resolve(engine: &Engine, info: &mut ModuleInfo) -> Result<Self> {
        let handles = entries(engine, info).context("cannot declare the types of the module")?;
        let declared = names_types(info).then(|| name_by_handles(info, &handles));
        let records = handles.iter().map(|ty| Record(ty.record())).collect();
        Ok(Self { handles: handles.into(), records, declared: declared.map(Box::new) })
    }

    /// The type at this index.
    pub(super) fn get(&self, index: u32) -> &DefinedType {
        &self.handles[index as usize]
    }

    /// The record of the type at this index.
    pub(super) fn record(&self, index: u32) -> *const VMType {
        self.records[index as usize].0
    }

    /// The addresses of the records of all types, in order.
    pub(super) fn records(&self) -> *const *const VMType {
        self.records.as_ptr().cast()
    }

    /// What the module declares, with types named by index, as artifacts have it; `None` if that
    /// is what the module has.
    pub(super) fn as_declared(&self, info: &ModuleInfo) -> Option<ModuleInfo> {
        let Declared { types, tables, globals } = &**self.declared.as_ref()?;
        let (types, tables, globals) = (types.clone(), tables.clone(), globals.clone());
        Some(ModuleInfo { types, tables, globals, ..info.clone() })
    }
}

/// The entry of each type, group by group.
fn entries(engine: &Engine, info: &ModuleInfo) -> Result<Vec<TypeHandle>> {
    let types = engine.types();
    let mut handles: Vec<TypeHandle> = Vec::with_capacity(info.types.len());
    let mut groups = info.groups.iter().copied().peekable();
    while handles.len() < info.types.len() {
        let start = handles.len() as u32;
        // Groups of no type begin where the next one does.
        while groups.next_if(|&group| group == (start, 0)).is_some() {}
        let len = groups.next_if(|&(first, _)| first == start).map_or(1, |(_, len)| len);
        let declared = &info.types[start as usize..][..len as usize];
        if let [ty] = declared
            && let Some(ty) = alone(ty, start, &handles)
        {
            handles.push(types.function(ty.func().expect("it is a function"))?);
            continue;
        }
        let name = |ty: ConcreteType| match ty.index().expect("named by index") {
            index if index < start => handles[index as usize].handle(),
            index => ConcreteType::at_index(index - start, ty.kind()),
        };
        let declared: Vec<_> = declared.iter().map(|ty| ty.map(name)).collect();
        let group = types.group(&declared)?;
        handles.extend((0..len).map(|index| TypeHandle::new(group.clone(), index)));
    }
    Ok(handles)
}

/// The type with its names as handles, if it is a function that extends nothing, that nothing may
/// extend, and that does not name itself.
fn alone<'t>(
    ty: &'t SubType,
    index: u32,
    handles: &[TypeHandle],
) -> Option<std::borrow::Cow<'t, SubType>> {
    if !ty.is_final || ty.supertype.is_some() || ty.func().is_none() {
        return None;
    }
    let (mut names, mut itself) = (false, false);
    ty.for_each_concrete(|ty| {
        names = true;
        itself |= ty.index() == Some(index);
    });
    match (names, itself) {
        (_, true) => None,
        (false, _) => Some(std::borrow::Cow::Borrowed(ty)),
        (true, _) => Some(std::borrow::Cow::Owned(ty.map(|ty| by_handle(ty, handles)))),
    }
}

fn by_handle(ty: ConcreteType, handles: &[TypeHandle]) -> ConcreteType {
    ty.index().map_or(ty, |index| handles[index as usize].handle())
}

/// Whether anything in a module's types needs a handle.
fn names_types(info: &ModuleInfo) -> bool {
    let in_type = |ty: &SubType| {
        let mut names = !ty.is_final || ty.supertype.is_some() || ty.func().is_none();
        ty.for_each_concrete(|_| names = true);
        names
    };
    !info.groups.is_empty()
        || info.types.iter().any(in_type)
        || info.tables.iter().any(|ty| ty.element().concrete().is_some())
        || info.globals.iter().any(|ty| ty.content().concrete().is_some())
}

/// Names types by handles; answers what was there before.
fn name_by_handles(info: &mut ModuleInfo, handles: &[TypeHandle]) -> Declared {
    let name = |ty| by_handle(ty, handles);
    let tables = info.tables.iter().map(|ty| ty.map(name)).collect();
    let globals = info.globals.iter().map(|ty| ty.map(name)).collect();
    let types = handles.iter().map(|handle| handle.ty().clone()).collect();
    Declared {
        types: std::mem::replace(&mut info.types, types),
        tables: std::mem::replace(&mut info.tables, tables),
        globals: std::mem::replace(&mut info.globals, globals),
    }
}
