//! Exceptions of guests, as the host sees them.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::externs::{Stored, Tag};
use crate::values::Val;
use crate::vm::exceptions::Thrown;
use crate::vm::store::Store;

/// An exception of a guest that no guest has caught: the [source](Error::source) of the
/// [`Trap`](crate::Trap) that a call answers, see [`Trap::exception`](crate::Trap::exception).
///
/// Exceptions unwind frames of wasm only. If a host function calls a guest that throws, it gets this
/// as an error, and what it answers its own caller is an error, too, and nothing that a guest
/// could catch.
#[derive(Clone, Debug)]
pub struct Exception {
    tag: Tag,
    values: Arc<[Val]>,
}

impl Exception {
    /// The exception that left the wasm of a store.
    pub(crate) fn new(store: &Store, thrown: &Thrown) -> Self {
        let tag = tag_of(thrown);
        let tags = &store.exceptions.as_ref().expect("there is a tag").tags;
        let values = thrown.values(&tags[tag.0.index(store)]);
        // SAFETY: they are of these types, and of the store, which has them as long as the exception.
        let values: Vec<_> =
            values.map(|(ty, raw)| unsafe { Val::from_raw(store, ty, raw) }).collect();
        Self { tag, values: values.into() }
    }

    /// The tag with which it was thrown.
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// Its values, of the types of the tag's parameters.
    pub fn values(&self) -> &[Val] {
        &self.values
    }
}

fn tag_of(thrown: &Thrown) -> Tag {
    let (store, tag) = thrown.tag();
    Tag(Stored::of(store, tag))
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        f.write_str("an exception of the guest that nobody caught")?;
        for (index, value) in self.values.iter().take(SHOWN).enumerate() {
            write!(f, "{}{value:?}", if index == 0 { ": " } else { ", " })?;
        }
        f.write_str(if self.values.len() > SHOWN { ", ..." } else { "" })
    }
}

impl Error for Exception {}

/// A reference to an exception that guests hold, pass on, and throw again. Cloning gives another
/// reference to the same one.
#[derive(Clone)]
pub struct ExnRef(pub(crate) Arc<Thrown>);

impl ExnRef {
    /// The tag with which it was thrown.
    pub fn tag(&self) -> Tag {
        tag_of(&self.0)
    }

    /// Whether both refer to the same exception.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether it belongs to this store.
    pub(crate) fn is_of(&self, store: &Store) -> bool {
        self.0.tag().0 == store.id
    }
}

impl fmt::Debug for ExnRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExnRef({:p})", Arc::as_ptr(&self.0))
    }
}
