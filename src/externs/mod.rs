//! What instances import and export.

mod definition;
mod global;
mod memory;
mod shared;
mod table;
mod tag;

pub(crate) use definition::Definition;
pub use global::Global;
pub use memory::{Memory, MemoryAccessError};
pub use shared::SharedMemory;
pub use table::Table;
pub use tag::Tag;

use crate::func::Func;
use crate::store::{AsContext, StoreContext};
use crate::types::ExternType;
use crate::vm::store::{Store, StoreId};

/// Something that an instance imports or exports.
#[derive(Clone, Debug)]
pub enum Extern {
    /// A function.
    Func(Func),
    /// A global.
    Global(Global),
    /// A table.
    Table(Table),
    /// A linear memory.
    Memory(Memory),
    /// A tag of exceptions.
    Tag(Tag),
    /// A linear memory that other stores may use, too.
    SharedMemory(SharedMemory),
}

macro_rules! variants {
    ($($variant:ident $noun:literal $into:ident;)*) => {
        impl Extern {
            $(
                #[doc = concat!("The ", $noun, ", if this is one.")]
                pub fn $into(self) -> Option<$variant> {
                    match self {
                        Self::$variant(item) => Some(item),
                        _ => None,
                    }
                }
            )*
        }
        $(
            impl From<$variant> for Extern {
                fn from(item: $variant) -> Self {
                    Self::$variant(item)
                }
            }
        )*
    };
}

variants! {
    Func "function" into_func;
    Global "global" into_global;
    Table "table" into_table;
    Memory "memory" into_memory;
    Tag "tag" into_tag;
    SharedMemory "shared memory" into_shared_memory;
}

impl Extern {
    /// The type of the thing; for memories and tables the minimum is the current size.
    ///
    /// # Panics
    ///
    /// Panics if it belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> ExternType {
        let store = store.as_context();
        self.ty_in(store)
    }

    fn ty_in<T>(&self, store: StoreContext<'_, T>) -> ExternType {
        match self {
            Self::Func(func) => func.ty(store).into(),
            Self::Global(global) => global.ty(store).into(),
            Self::Table(table) => table.ty(store).into(),
            Self::Memory(memory) => memory.ty(store).into(),
            Self::Tag(tag) => tag.ty(store).into(),
            Self::SharedMemory(memory) => memory.ty().into(),
        }
    }
}

/// Where a store keeps a thing: the handle behind the API's types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    store: StoreId,
    index: u32,
}

impl Stored {
    pub(crate) fn new(store: &Store, index: usize) -> Self {
        Self { store: store.id, index: u32::try_from(index).expect("fewer than 2^32 things") }
    }

    /// What is at a place of a store.
    pub(crate) fn of(store: StoreId, index: u32) -> Self {
        Self { store, index }
    }

    /// The place of the thing in this store.
    ///
    /// # Panics
    ///
    /// Panics if it belongs to another one: what the place means there would be something else.
    pub(crate) fn index(self, store: &Store) -> usize {
        self.try_index(store).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The place of the thing, if it is in this store.
    pub(crate) fn try_index(self, store: &Store) -> Result<usize, OtherStore> {
        if self.store != store.id {
            return Err(OtherStore);
        }
        Ok(self.index as usize)
    }
}

/// A handle means nothing in a store that it did not come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("something was used with another store than its own")]
pub(crate) struct OtherStore;
