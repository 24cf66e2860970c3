//! The types that an engine's modules and host functions use, each once.
//!
//! Types are equal where the specification says so: a type is its place in a recursive group, and
//! groups are equal if they are the same up to the names of what is in them. A group is therefore
//! found by its types, in which others of the group are indexes and all else are handles. A record
//! and its id are given out again only after everything that uses the type is gone, so that modules
//! which come and go, each with types of its own, leave nothing behind.
//!
//! Nearly all types are functions that stand alone and extend nothing: they are found by their
//! parameters and results.

mod defined;
mod group;
mod matching;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

pub(crate) use defined::{DefinedType, TypeHandle};
pub(crate) use group::Group;
use group::Key;

use crate::types::composite::SubType;
use crate::types::{ConcreteType, FuncType};

/// The types in use.
#[derive(Default)]
pub(crate) struct Registry(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    /// Functions that stand alone, by type.
    functions: HashMap<FuncType, u32>,
    /// The id of the first type of each other group.
    groups: HashMap<Arc<[SubType]>, u32>,
    by_id: Vec<Slot>,
    free: Vec<u32>,
}

/// Who has an id.
#[derive(Default)]
struct Slot {
    stamp: u32,
    /// One that cannot be upgraded is being dropped.
    group: Weak<Group>,
    /// The place of the type in the group.
    index: u32,
}

/// A type was given to an engine that does not have it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "the engine has no type {0:?}: it belongs to another engine, or all modules that declare it are \
     gone"
)]
pub(crate) struct UnknownType(ConcreteType);

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The record of a function type.
    ///
    /// # Errors
    ///
    /// When it names a type that the engine does not have.
    pub(crate) fn function(self: &Arc<Self>, ty: &FuncType) -> Result<TypeHandle, UnknownType> {
        if let Some(declared) = ty.declared() {
            return self.find(declared);
        }
        // Dropped behind the lock, which the last owner of a group takes.
        let mut users = Vec::new();
        let mut entries = self.lock();
        let known = entries.functions.get(ty).and_then(|&id| entries.group_of(id));
        if let Some(group) = known {
            return Ok(TypeHandle::new(group, 0));
        }
        let types = [SubType::of_func(ty.clone())];
        entries.uses(&types, &mut users)?;
        let group = self.insert(&mut entries, &types, Key::Function(ty.clone()), users);
        entries.functions.insert(ty.clone(), group.first_id());
        Ok(TypeHandle::new(group, 0))
    }

    /// The record of a group of types, in which those of the group itself are indexes.
    ///
    /// # Errors
    ///
    /// When one names a type that the engine does not have.
    pub(crate) fn group(self: &Arc<Self>, types: &[SubType]) -> Result<Arc<Group>, UnknownType> {
        // Dropped behind the lock, which the last owner of a group takes.
        let mut users = Vec::new();
        let mut entries = self.lock();
        let known = entries.groups.get(types).and_then(|&id| entries.group_of(id));
        if let Some(group) = known {
            return Ok(group);
        }
        entries.uses(types, &mut users)?;
        let key: Arc<[SubType]> = types.into();
        let group = self.insert(&mut entries, types, Key::Group(key.clone()), users);
        entries.groups.insert(key, group.first_id());
        Ok(group)
    }

    /// The record of a type that the engine has.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub(crate) fn find(&self, ty: ConcreteType) -> Result<TypeHandle, UnknownType> {
        let entries = self.lock();
        let (group, index) = entries.find(ty)?;
        Ok(TypeHandle::new(group, index))
    }

    fn insert(
        self: &Arc<Self>,
        entries: &mut Entries,
        types: &[SubType],
        key: Key,
        uses: Vec<Arc<Group>>,
    ) -> Arc<Group> {
        let stamp = new_stamp();
        let ids: Vec<u32> = types.iter().map(|_| entries.new_id()).collect();
        let find = |ty| {
            // `uses` has the group, too, so that it is not the last owner who lets it go here.
            let (group, index) = entries.find(ty).expect("what types name was found");
            TypeHandle::new(group, index)
        };
        let group = Arc::new(Group::new(types, &ids, stamp, key, uses, self.clone(), find));
        for (index, id) in ids.into_iter().enumerate() {
            let group = Arc::downgrade(&group);
            entries.by_id[id as usize] = Slot { stamp, group, index: index as u32 };
        }
        group
    }

    /// Forgets a group that nobody uses any more.
    fn remove(&self, key: &Key, ids: impl ExactSizeIterator<Item = u32> + Clone) {
        let mut entries = self.lock();
        let first = ids.clone().next();
        // The types may have come back under other ids meanwhile.
        match key {
            Key::Function(ty) if entries.functions.get(ty).copied() == first => {
                entries.functions.remove(ty);
            }
            Key::Group(types) if entries.groups.get(types).copied() == first => {
                entries.groups.remove(types);
            }
            _ => {}
        }
        for id in ids {
            entries.by_id[id as usize] = Slot::default();
            entries.free.push(id);
        }
    }
}

impl Entries {
    fn new_id(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.by_id.push(Slot::default());
            u32::try_from(self.by_id.len() - 1).expect("fewer than 2^32 types in use")
        })
    }

    fn group_of(&self, id: u32) -> Option<Arc<Group>> {
        self.by_id[id as usize].group.upgrade()
    }

    fn find(&self, ty: ConcreteType) -> Result<(Arc<Group>, u32), UnknownType> {
        let slot = self.by_id.get(ty.id as usize).filter(|slot| slot.stamp == ty.stamp);
        let found = slot.and_then(|slot| Some((slot.group.upgrade()?, slot.index)));
        found.filter(|_| ty.index().is_none()).ok_or(UnknownType(ty))
    }

    /// Adds the groups that types name, but for their own, to `groups`, each once.
    fn uses(&self, types: &[SubType], groups: &mut Vec<Arc<Group>>) -> Result<(), UnknownType> {
        let mut named = Vec::new();
        for ty in types {
            ty.for_each_concrete(|ty| named.extend(ty.index().is_none().then_some(ty)));
        }
        named.sort_unstable_by_key(|ty| (ty.id, ty.stamp));
        named.dedup();
        for ty in named {
            groups.push(self.find(ty)?.0);
        }
        groups.sort_unstable_by_key(|group| Arc::as_ptr(group) as usize);
        groups.dedup_by(|a, b| Arc::ptr_eq(a, b));
        Ok(())
    }
}

/// A stamp that no type has which could be mistaken for the new one.
fn new_stamp() -> u32 {
    static LAST: AtomicU32 = AtomicU32::new(0);
    loop {
        let stamp = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        if stamp != 0 {
            return stamp;
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The lock is given back before a group, which might be the last of its kind, is dropped.
        let slots = |entries: &Entries| -> Vec<_> {
            let slots = entries.by_id.iter();
            slots.filter_map(|slot| Some((slot.group.upgrade()?, slot.index))).collect()
        };
        let types = slots(&self.lock());
        let types = types.into_iter().map(|(group, index)| TypeHandle::new(group, index));
        f.debug_list().entries(types).finish()
    }
}
