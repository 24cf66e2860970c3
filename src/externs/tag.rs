//! Tags of exceptions.

use std::sync::Arc;

use anyhow::{Result, ensure};

use super::Stored;
use crate::store::{AsContext, AsContextMut};
use crate::types::TagType;
use crate::vm::store::Store;

/// A tag of a store: guests throw exceptions with it, and catch those of the same one. A handle:
/// small, copied freely, valid with the store that it came from. Equal handles are the same tag.
///
/// ```
/// use lampwick::{Exception, FuncType, Instance, Module, Store, Tag, TagType, ValType};
///
/// # fn main() -> anyhow::Result<()> {
/// let mut store = Store::<()>::default();
/// let tag = Tag::new(&mut store, &TagType::new(FuncType::new([ValType::I32], [])))?;
/// let module = Module::new(
///     store.engine(),
///     r#"(module
///         (import "host" "failure" (tag $failure (param i32)))
///         (func (export "run") (throw $failure (i32.const 7))))"#,
/// )?;
/// let instance = Instance::new(&mut store, &module, &[tag.into()])?;
/// let run = instance.get_typed_func::<(), (), _>(&mut store, "run")?;
/// let trap = run.call(&mut store, ()).unwrap_err();
/// let exception = trap.exception().expect("nobody caught it");
/// assert!(exception.tag() == tag);
/// assert_eq!(exception.values()[0].unwrap_i32(), 7);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(pub(crate) Stored);

impl Tag {
    /// A tag of the host. It is different from all others, of the same type, too.
    ///
    /// # Errors
    ///
    /// Fails if the function type has results, or names a type that the engine does not have.
    pub fn new(mut store: impl AsContextMut, ty: &TagType) -> Result<Self> {
        let store = store.as_context_mut().0;
        let results = ty.ty().results().len();
        ensure!(results == 0, "the type of a tag has {results} results, and must have none");
        let handle = store.engine.types().function(ty.ty())?;
        store.types.push(handle.into_group());
        let index = store.vm.add_tag(Arc::new(ty.ty().clone()));
        Ok(Self(Stored::new(&store.vm, index)))
    }

    /// The type of the tag.
    ///
    /// # Panics
    ///
    /// Panics if it belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> TagType {
        self.ty_in(&store.as_context().0.vm)
    }

    fn ty_in(&self, store: &Store) -> TagType {
        let exceptions = store.exceptions.as_ref().expect("there is a tag");
        TagType::new((*exceptions.tags[self.0.index(store)]).clone())
    }
}
