//! What a name in a linker stands for.

use std::sync::Arc;

use anyhow::Result;

use super::Extern;
use crate::func::HostDefinition;
use crate::store::StoreInner;

/// Something that can be imported: a thing of one store, or a host function for any.
#[derive(Clone)]
pub(crate) enum Definition {
    Extern(Extern),
    Host(Arc<HostDefinition>),
}

impl Definition {
    /// The thing in this store; one of another store stays what it is, and is refused where it is
    /// used.
    pub(crate) fn place<T>(&self, store: &mut StoreInner<T>) -> Result<Extern> {
        Ok(match self {
            Self::Extern(item) => item.clone(),
            Self::Host(definition) => definition.place_once(store)?.into(),
        })
    }
}
