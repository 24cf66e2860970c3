//! Whether instances of a module start with an image of their memory.

use std::sync::Arc;

use crate::compile::{ConstExpr, ModuleInfo, SegmentMode};
use crate::vm::instance::Blueprint;
use crate::vm::layout::WASM_PAGE_SIZE;
use crate::vm::memory::MemoryImage;
use crate::vm::store::Store;

/// Less data is copied: an image costs each instance a mapping, and system calls to make and remove
/// it. Copies are dear as soon as they take more pages than an ended guest's memory keeps
/// (`vm/memory/touched.rs`), to which the pages come that guests write
/// (`cargo bench --bench instances`).
const MIN_DATA: usize = 48 << 10;

/// No image spans more of a memory, in bytes.
const MAX_SPAN: usize = 256 << 20;

/// Lets the memory of a new instance, which nothing but its element segments has seen yet, start
/// with the module's active data. Answers whether it does; if not, nothing has changed.
pub(super) fn start(store: &mut Store, index: usize, info: &ModuleInfo) -> bool {
    let instance = &store.instances[index];
    let data = instance.blueprint().local();
    let Some(image) = data.image.get_or_init(|| image(info, &data)) else { return false };
    let memory = instance.memories[0] as usize;
    store.memories[memory].value.start_with(image)
}

/// The image of a module's own memory, if all active data is for it, is known to fit, and is worth
/// an image. What fails here is decided again by copying.
fn image(info: &ModuleInfo, data: &Blueprint) -> Option<Arc<MemoryImage>> {
    if info.imported_memories > 0 || info.memories.is_empty() {
        return None;
    }
    let size = usize::try_from(info.memories[0].minimum().checked_mul(WASM_PAGE_SIZE)?).ok()?;
    let mut parts = Vec::new();
    for (segment, range) in info.data.iter().zip(&data.ranges) {
        let SegmentMode::Active { target, offset } = &segment.mode else { continue };
        let ConstExpr::I32(offset) = *offset else { return None };
        let (start, bytes) = (offset as u32 as usize, &data.bytes[range.clone()]);
        if *target != 0 || start + bytes.len() > size {
            return None;
        }
        if !bytes.is_empty() {
            parts.push((start, bytes));
        }
    }
    let first = parts.iter().map(|(start, _)| *start).min()?;
    let last = parts.iter().map(|(start, bytes)| start + bytes.len()).max()?;
    let len: usize = parts.iter().map(|(_, bytes)| bytes.len()).sum();
    if len < MIN_DATA || last - first > MAX_SPAN {
        return None;
    }
    MemoryImage::new(parts.into_iter()).ok().map(Arc::new)
}
