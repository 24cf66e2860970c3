//! Recursive groups: types that may name one another.

use std::sync::Arc;

use super::Registry;
use super::defined::{DefinedType, TypeHandle};
use crate::types::composite::{CompositeType, SubType};
use crate::types::{ConcreteType, FuncType};

/// Types that are declared together, and live as long as one of them is used.
pub(crate) struct Group {
    /// They stay where they are: machine code and records of functions have their addresses.
    types: Vec<DefinedType>,
    key: Key,
    /// The other groups that these types name.
    uses: Vec<Arc<Group>>,
    registry: Arc<Registry>,
}

/// By what a group is found.
pub(super) enum Key {
    /// A function that stands alone.
    Function(FuncType),
    Group(Arc<[SubType]>),
}

impl Group {
    /// A group of types that name others of the group by index, and all else by handle. `find` has
    /// the records of the latter, and `uses` their groups.
    pub(super) fn new(
        types: &[SubType],
        ids: &[u32],
        stamp: u32,
        key: Key,
        uses: Vec<Arc<Group>>,
        registry: Arc<Registry>,
        find: impl Fn(ConcreteType) -> TypeHandle,
    ) -> Self {
        let handle =
            |index: usize| ConcreteType { id: ids[index], stamp, kind: types[index].kind() };
        let declared = matches!(key, Key::Group(_));
        let mut defined: Vec<DefinedType> = Vec::with_capacity(types.len());
        // Where the types will stay: there is room for all.
        let first = defined.as_ptr();
        for (index, ty) in types.iter().enumerate() {
            let supers = match ty.supertype.map(|above| (above, above.index())) {
                None => Box::default(),
                // Validation sees to it that it is declared before.
                Some((_, Some(above))) => {
                    let above = above as usize;
                    defined[above].above_subtypes(first.wrapping_add(above))
                }
                Some((above, None)) => {
                    let above = find(above);
                    above.above_subtypes(&raw const *above)
                }
            };
            let mut ty = ty.map(|ty| ty.index().map_or(ty, |index| handle(index as usize)));
            if let (CompositeType::Func(func), true) = (&mut ty.composite, declared) {
                func.declare(handle(index));
            }
            defined.push(DefinedType::new(ty, handle(index), supers));
        }
        Self { types: defined, key, uses, registry }
    }

    /// The types, in their order.
    pub(super) fn types(&self) -> &[DefinedType] {
        &self.types
    }

    /// Whether the group is one of these.
    pub(super) fn is_of(&self, registry: &Registry) -> bool {
        std::ptr::eq(&*self.registry, registry)
    }

    /// The id of the first type.
    pub(super) fn first_id(&self) -> u32 {
        self.types[0].handle().id
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.registry.remove(&self.key, self.types.iter().map(|ty| ty.handle().id));
        // A module may declare a million groups, each of which uses the one before: too many for
        // the stack, if each were dropped within the next.
        let mut unused = std::mem::take(&mut self.uses);
        while let Some(group) = unused.pop() {
            if let Some(mut group) = Arc::into_inner(group) {
                unused.append(&mut group.uses);
            }
        }
    }
}
