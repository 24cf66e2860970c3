//! The clock by which rates make fuel: tokio's, which tests can stop, or else the system's.

#[cfg(not(feature = "tokio"))]
pub(crate) use std::time::Instant;
#[cfg(feature = "tokio")]
pub(crate) use tokio::time::Instant;
