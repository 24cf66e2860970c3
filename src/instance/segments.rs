//! Active segments of an instance that is being made.

use anyhow::Result;

use super::constants::evaluate;
use crate::compile::{ConstExpr, ModuleInfo, SegmentMode};
use crate::module::Module;
use crate::module::blueprint::{PER_ELEMENT, PER_OPERATOR, PER_SEGMENT};
use crate::trap::{Trap, TrapCode};
use crate::vm::memory::racy;
use crate::vm::pace::Pace;
use crate::vm::store::Store;
use crate::vm::table::checked_range;

/// Copies the active segments, element segments first, each in order, but for data that the memory
/// has by its image; they are dropped then, like those that only declare.
pub(super) fn apply(
    store: &mut Store,
    index: usize,
    module: &Module,
    pace: &mut Pace<'_>,
) -> Result<()> {
    apply_elements(store, index, module.info(), pace)?;
    apply_data(store, index, module, pace)
}

/// Where an active segment starts.
fn start(store: &Store, index: usize, info: &ModuleInfo, offset: &ConstExpr) -> u64 {
    evaluate(store, &store.instances[index], info, offset).to_u64()
}

fn apply_elements(
    store: &mut Store,
    index: usize,
    info: &ModuleInfo,
    pace: &mut Pace<'_>,
) -> Result<()> {
    for (segment, element) in info.elements.iter().enumerate() {
        let SegmentMode::Active { target, offset } = &element.mode else { continue };
        pace.spend(PER_SEGMENT + PER_OPERATOR * info.operators_of(offset))?;
        let start = start(store, index, info, offset);
        let table = store.instances[index].tables[*target as usize];
        let len = element.items.len();
        checked_range(start, len as u64, store.tables[table as usize].value.len())
            .map_err(|_| Trap::from_code(TrapCode::TableOutOfBounds))?;
        pace.parts(len, PER_ELEMENT, |from, len| {
            let (to, from) = ((table, start + from as u64), from as u64);
            store
                .init_table(to, (index, segment as u32), from, len as u64)
                .expect("the range was checked");
        })?;
        store.instances[index].drop_elements(segment as u32);
    }
    Ok(())
}

fn apply_data(store: &mut Store, index: usize, module: &Module, pace: &mut Pace<'_>) -> Result<()> {
    let (info, blueprint) = (module.info(), module.blueprint());
    // Which is the first of the module's memories.
    let memory = store.instances[index].memories.first().map(|&memory| memory as usize);
    let has_image = info.imported_memories == 0
        && memory.is_some_and(|memory| store.memories[memory].value.has_image());
    for (segment, data) in info.data.iter().enumerate() {
        let SegmentMode::Active { target, offset } = &data.mode else { continue };
        pace.spend(PER_SEGMENT + PER_OPERATOR * info.operators_of(offset))?;
        if !has_image {
            let start = start(store, index, info, offset);
            let memory = store.instances[index].memories[*target as usize] as usize;
            let bytes = &blueprint.bytes[blueprint.ranges[segment].clone()];
            write(store, memory, start, bytes, pace)?;
        }
        store.instances[index].drop_data(segment as u32);
    }
    Ok(())
}

/// Writes a segment's bytes to a memory of the store.
fn write(
    store: &mut Store,
    memory: usize,
    start: u64,
    bytes: &[u8],
    pace: &mut Pace<'_>,
) -> Result<()> {
    let memory = &store.memories[memory].value;
    checked_range(start, bytes.len() as u64, memory.len())
        .map_err(|_| Trap::from_code(TrapCode::MemoryOutOfBounds))?;
    let start = start as usize;
    memory.note_written(start..start + bytes.len());
    pace.parts(bytes.len(), 1, |from, len| {
        let bytes = &bytes[from..from + len];
        let to = memory.base().wrapping_add(start + from);
        // SAFETY: the range was checked, and nothing moves or shrinks a memory while we have the
        // store. Unless it is shared neither a guest nor a slice of the host's is using it.
        unsafe {
            match memory.as_shared() {
                Some(_) => racy::copy(to, bytes.as_ptr(), bytes.len()),
                None => to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()),
            }
        }
    })?;
    Ok(())
}
