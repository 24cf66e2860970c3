//! What a guest may ask for.

use crate::bindings::types::Errno;
use crate::errno::Result;

/// Bounds of what one program may hold and ask for; see
/// [`WasiCtxBuilder::limits`](crate::WasiCtxBuilder::limits).
///
/// ```
/// use lampwick_wasi::{WasiCtxBuilder, WasiLimits};
///
/// let limits = WasiLimits { open_files: 16, ..WasiLimits::default() };
/// let ctx = WasiCtxBuilder::new().limits(limits).build();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WasiLimits {
    /// Descriptors at a time, those of the start among them; more are `EMFILE`. 1,024 by default.
    pub open_files: usize,
    /// Bytes that the host holds for one call, and the work that is done of it at a time; longer
    /// reads and writes are done in parts. At least 1. 64 KiB by default.
    pub buffered_bytes: usize,
    /// Buffers of one read or write, and subscriptions of one `poll_oneoff`; more are `EINVAL`.
    /// 1,024 by default.
    pub list_length: usize,
    /// Bytes of a path; longer ones are `ENAMETOOLONG`. 4,096 by default.
    pub path_length: usize,
}

impl Default for WasiLimits {
    fn default() -> Self {
        Self { open_files: 1024, buffered_bytes: 64 << 10, list_length: 1024, path_length: 4096 }
    }
}

impl WasiLimits {
    /// Checks the length of a list before anything is made of it.
    pub(crate) fn check_list(&self, len: u32) -> Result<()> {
        if len as usize > self.list_length {
            return Err(Errno::Inval.into());
        }
        Ok(())
    }
}
