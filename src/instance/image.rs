//! Whether instances of a module start with an image of their memory.

use lampwick_fibers::{Cancelled, Shared};

use crate::compile::{ConstExpr, ModuleInfo, SegmentMode};
use crate::module::Module;
use crate::vm::instance::Blueprint;
use crate::vm::memory::{MemoryImage, MemorySource};
use crate::vm::pace::Pace;

/// Less data is copied: an image costs a file, and the first instances a mapping each. Copies are
/// dear as soon as they take more pages than an ended guest's memory keeps
/// (`vm/memory/touched.rs`), to which the pages come that guests write
/// (`cargo bench --bench instances`).
const MIN_DATA: usize = 48 << 10;

/// No image spans more of a memory, in bytes.
const MAX_SPAN: usize = 256 << 20;

/// What the module's own memory starts with, if instances of the module start with an image.
pub(super) fn of<'m>(
    module: &'m Module,
    pace: &mut Pace<'_>,
) -> Result<Option<&'m Shared<MemoryImage>>, Cancelled> {
    let blueprint: &Blueprint = module.blueprint();
    if let Some(image) = blueprint.image.get() {
        return Ok(image.as_ref());
    }
    // Others may be making one, too. Nobody waits for them, who may be suspended.
    let image = make(module.info(), blueprint, module.engine().memories(), pace)?;
    Ok(blueprint.image.get_or_init(|| image).as_ref())
}

/// The image, if all active data is for the module's own memory, is known to fit, and is worth an
/// image, and nothing that comes before the data can fail. What is not known here is decided by
/// copying.
fn make(
    info: &ModuleInfo,
    data: &Blueprint,
    memories: &MemorySource,
    pace: &mut Pace<'_>,
) -> Result<Option<Shared<MemoryImage>>, Cancelled> {
    let Some(parts) = parts(info, data) else { return Ok(None) };
    if !memories.maps_images(&info.memories[0]) {
        return Ok(None);
    }
    Ok(memories.image(parts.into_iter(), pace)?.ok())
}

/// Where in the memory which bytes are, if there is to be an image.
fn parts<'d>(info: &ModuleInfo, data: &'d Blueprint) -> Option<Vec<(usize, &'d [u8])>> {
    if info.imported_memories > 0 || info.memories.is_empty() || !elements_fit(info) {
        return None;
    }
    let size = usize::try_from(info.memories[0].minimum_bytes()).ok()?;
    let mut parts = Vec::new();
    for (segment, range) in info.data.iter().zip(&data.ranges) {
        let SegmentMode::Active { target, offset } = &segment.mode else { continue };
        let (start, bytes) = (known(offset)? as usize, &data.bytes[range.clone()]);
        if *target != 0 || start.checked_add(bytes.len()).is_none_or(|end| end > size) {
            return None;
        }
        if !bytes.is_empty() {
            parts.push((start, bytes));
        }
    }
    let first = parts.iter().map(|(start, _)| *start).min()?;
    let last = parts.iter().map(|(start, bytes)| start + bytes.len()).max()?;
    let len: usize = parts.iter().map(|(_, bytes)| bytes.len()).sum();
    (len >= MIN_DATA && last - first <= MAX_SPAN).then_some(parts)
}

/// Whether all active element segments are known to fit: one that does not ends the instantiation
/// before the data is there, and functions of it may be in an imported table by then.
fn elements_fit(info: &ModuleInfo) -> bool {
    info.elements.iter().all(|segment| match &segment.mode {
        SegmentMode::Active { target, offset } => {
            let size = info.tables[*target as usize].minimum64();
            let end = known(offset).and_then(|start| start.checked_add(segment.items.len() as u64));
            end.is_some_and(|end| end <= size)
        }
        _ => true,
    })
}

/// An offset that does not depend on globals.
fn known(offset: &ConstExpr) -> Option<u64> {
    match *offset {
        ConstExpr::I32(offset) => Some((offset as u32).into()),
        ConstExpr::I64(offset) => Some(offset as u64),
        _ => None,
    }
}
