//! Why a memory was not made, or did not grow.

use std::io;

use super::scarcity::Scarcity;
use crate::pooling::PoolLimitError;

/// Why a memory did not grow; the making of one is a growth from nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GrowError {
    /// It may not be that large.
    #[error("a memory of {pages} pages cannot grow by {delta}: its maximum is {maximum}")]
    Maximum { pages: u64, delta: u64, maximum: u64 },
    /// The pool does not have memories that large.
    #[error(transparent)]
    Limit(#[from] PoolLimitError),
    /// The system refused.
    #[error("the system refuses memory: {limit}")]
    System {
        limit: Scarcity,
        #[source]
        error: io::Error,
    },
    /// The embedder's memory refused.
    #[error("{0:#}")]
    Host(anyhow::Error),
}

impl GrowError {
    /// The system refused to map so many bytes, or a part of as many.
    pub(super) fn system(error: io::Error, len: usize) -> Self {
        Self::System { limit: Scarcity::behind(&error, len), error }
    }

    /// The error as the embedder gets it, who may want to downcast what lies inside.
    pub(crate) fn report(self) -> anyhow::Error {
        match self {
            Self::Limit(error) => error.into(),
            Self::Host(error) => error,
            other => other.into(),
        }
    }
}
