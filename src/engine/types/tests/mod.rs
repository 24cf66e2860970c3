//! Types that come and go, in groups and alone; those of modules are in `modules`.

mod modules;

use std::sync::Arc;

use super::*;
use crate::types::composite::{CompositeType, FieldType, StorageType};
use crate::types::{CompositeKind, HeapType, RefType, ValType};
use crate::vm::layout::VMType;

fn func(params: &[ValType]) -> FuncType {
    FuncType::new(params.iter().copied(), [])
}

fn to(ty: ConcreteType) -> ValType {
    RefType::new(false, HeapType::Concrete(ty)).into()
}

/// The type at this place of the same group.
fn sibling(index: u32) -> ConcreteType {
    ConcreteType::at_index(index, CompositeKind::Func)
}

fn open(supertype: Option<ConcreteType>, ty: FuncType) -> SubType {
    SubType { is_final: false, supertype, composite: CompositeType::Func(ty) }
}

fn ids_in_use(registry: &Registry) -> usize {
    let entries = registry.lock();
    entries.by_id.len() - entries.free.len()
}

#[test]
fn ids_are_shared_while_in_use_and_reused_after() {
    let registry = Arc::new(Registry::default());
    let types = [ValType::I32, ValType::I64].map(|ty| func(&[ty]));
    let first = registry.function(&types[0]).unwrap();
    assert_eq!(first.handle(), registry.function(&types[0]).unwrap().handle());
    let second = registry.function(&types[1]).unwrap();
    assert_ne!(first.handle(), second.handle());
    let handle = first.handle();
    drop(first);
    let third = registry.function(&func(&[])).unwrap();
    assert_eq!(third.handle().id, handle.id);
    assert_ne!(third.handle(), handle, "the id has another stamp");
    registry.find(handle).unwrap_err();
}

#[test]
fn handles_of_other_engines_and_of_the_dead_are_refused() {
    let (ours, theirs) = (Arc::new(Registry::default()), Arc::new(Registry::default()));
    let (here, there) = (ours.function(&func(&[])).unwrap(), theirs.function(&func(&[])).unwrap());
    assert_eq!(here.handle().id, there.handle().id);
    let error = ours.function(&func(&[to(there.handle())])).unwrap_err().to_string();
    assert!(error.contains("belongs to another engine"), "{error}");
    let user = ours.function(&func(&[to(here.handle())])).unwrap();
    let handle = here.handle();
    drop(here);
    assert!(ours.find(handle).is_ok(), "what is named is kept");
    drop(user);
    ours.find(handle).unwrap_err();
    assert_eq!(ids_in_use(&ours), 0);
}

#[test]
fn groups_are_equal_up_to_names() {
    let registry = Arc::new(Registry::default());
    let pair =
        |first: ValType, second: ValType| [open(None, func(&[first])), open(None, func(&[second]))];
    let group = |types: &[SubType]| registry.group(types).unwrap();
    let there_and_back = group(&pair(to(sibling(1)), to(sibling(0))));
    assert!(Arc::ptr_eq(&there_and_back, &group(&pair(to(sibling(1)), to(sibling(0))))));
    let others = [
        group(&pair(to(sibling(0)), to(sibling(1)))),
        group(&pair(to(sibling(1)), to(there_and_back.types()[0].handle()))),
        group(&pair(to(sibling(1)), to(sibling(1)))),
        group(&pair(to(sibling(1)), to(sibling(0))).map(|ty| SubType { is_final: true, ..ty })),
        group(
            &[pair(to(sibling(1)), to(sibling(0))), pair(to(sibling(1)), to(sibling(0)))].concat(),
        ),
    ];
    let mut handles: Vec<_> = others.iter().map(|group| group.types()[0].handle()).collect();
    handles.push(there_and_back.types()[0].handle());
    handles.sort_unstable_by_key(|handle| handle.id);
    handles.dedup();
    assert_eq!(handles.len(), 6);
    drop((there_and_back, others));
    assert_eq!(ids_in_use(&registry), 0);
}

#[test]
fn a_type_extends_what_is_above_it() {
    let registry = Arc::new(Registry::default());
    // In one group, and one group each: the deepest chain that validation lets through.
    let chain: Vec<_> =
        (0..63_u32).map(|index| open(index.checked_sub(1).map(sibling), func(&[]))).collect();
    let group = registry.group(&chain).unwrap();
    let mut alone = vec![registry.group(&[open(None, func(&[]))]).unwrap()];
    for _ in 1..63 {
        let above = alone.last().unwrap().types()[0].handle();
        alone.push(registry.group(&[open(Some(above), func(&[]))]).unwrap());
    }
    let of_group: Vec<_> = group.types().iter().collect();
    let of_alone: Vec<_> = alone.iter().map(|group| &group.types()[0]).collect();
    for types in [of_group, of_alone] {
        for (depth, ty) in types.iter().enumerate() {
            for (other_depth, other) in types.iter().enumerate() {
                // SAFETY: both are kept.
                let extends = unsafe { VMType::extends(ty.record(), other.record()) };
                assert_eq!(extends, other_depth <= depth);
                let heap = |ty: &DefinedType| HeapType::Concrete(ty.handle());
                let [found, expected] =
                    [ty, other].map(|ty| ValType::from(RefType::new(true, heap(ty))));
                assert_eq!(registry.val_matches(found, expected), other_depth <= depth);
                // SAFETY: it is kept.
                assert_eq!(unsafe { &*ty.record() }.is(other.handle()), other_depth <= depth);
            }
        }
    }
    // The two chains have nothing in common but what their types look like.
    // SAFETY: both are kept.
    assert!(!unsafe { VMType::extends(group.types()[62].record(), alone[0].types()[0].record()) });
    let last = alone.pop().unwrap();
    drop((alone, group));
    assert_eq!(ids_in_use(&registry), 63, "the last of a chain keeps what is above it");
    drop(last);
    assert_eq!(ids_in_use(&registry), 0);
}

#[test]
fn many_types_that_use_one_another_end() {
    const COUNT: usize = 50_000;
    let registry = Arc::new(Registry::default());
    let mut last = registry.function(&func(&[])).unwrap();
    for _ in 0..COUNT {
        last = registry.function(&func(&[to(last.handle())])).unwrap();
    }
    assert_eq!(ids_in_use(&registry), COUNT + 1);
    // A stack as small as those of threads that servers start.
    let dropping = std::thread::Builder::new().stack_size(1 << 16).spawn(move || drop(last));
    dropping.unwrap().join().unwrap();
    assert_eq!(ids_in_use(&registry), 0);
}

#[test]
fn fields_are_part_of_a_type() {
    let registry = Arc::new(Registry::default());
    let field = |storage, is_mutable| FieldType { storage, is_mutable };
    let storage = [
        StorageType::I8,
        StorageType::I16,
        StorageType::Val(ValType::I32),
        StorageType::Val(ValType::ExternRef),
    ];
    let fields = storage.map(|storage| [true, false].map(|mutable| field(storage, mutable)));
    let fields = fields.as_flattened();
    let all = |types: Vec<CompositeType>| -> Vec<Arc<Group>> {
        let ty = |composite| SubType { is_final: true, supertype: None, composite };
        types.into_iter().map(|composite| registry.group(&[ty(composite)]).unwrap()).collect()
    };
    let arrays = || fields.iter().map(|field| CompositeType::Array(*field));
    let structs = || fields.iter().map(|field| CompositeType::Struct([*field].into()));
    let kept = [all(arrays().collect()), all(structs().collect())];
    assert_eq!(ids_in_use(&registry), 16);
    let again = [all(arrays().collect()), all(structs().collect())];
    assert_eq!(ids_in_use(&registry), 16);
    drop((kept, again));
    assert_eq!(ids_in_use(&registry), 0);
}

/// Whoever lets the last of a type go does so while others ask for it again.
#[test]
fn types_come_and_go_on_many_threads() {
    let registry = Arc::new(Registry::default());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..2_000_u32 {
                    let base = registry.function(&func(&[ValType::I32])).unwrap();
                    let user = registry.function(&func(&[to(base.handle())])).unwrap();
                    let above = registry.group(&[open(None, func(&[to(user.handle())]))]).unwrap();
                    let handle = above.types()[0].handle();
                    // One that fails lets go what it had found already.
                    let stale = ConcreteType { stamp: u32::MAX, ..handle };
                    registry.function(&func(&[to(handle), to(stale)])).unwrap_err();
                    let below = registry.group(&[open(Some(handle), func(&[]))]).unwrap();
                    drop((base, user, above));
                    // SAFETY: it is kept.
                    let record = unsafe { &*below.types()[0].record() };
                    assert!(record.is(handle), "round {round}");
                }
            });
        }
    });
    assert_eq!(ids_in_use(&registry), 0);
}
