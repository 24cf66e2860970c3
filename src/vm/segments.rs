//! Element segments. Instances of a module share them: what an element is in an instance is found
//! when it goes to a table.
//!
//! That it may be later than the instance was made changes nothing, since the globals that elements
//! can name are constant.

use super::instance::Instance;
use super::layout::ValRaw;
use super::store::Store;
use super::table::{OutOfBounds, RawRef, checked_range};

/// An element of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentElement {
    Null,
    /// A function that is imported, by its index.
    Import(u32),
    /// A function that the module defines, by the slot of its record.
    Function(u32),
    /// The value of a global, by its index.
    Global(u32),
}

impl Store {
    /// Writes elements of a segment of an instance to a table of the store.
    pub(crate) fn init_table(
        &mut self,
        (table, dst): (u32, u64),
        (instance, segment): (usize, u32),
        src: u64,
        len: u64,
    ) -> Result<(), OutOfBounds> {
        let instance = &self.instances[instance];
        let elements = instance.elements(segment);
        let elements = &elements[checked_range(src, len, elements.len())?];
        let values: smallvec::SmallVec<[RawRef; 32]> =
            elements.iter().map(|element| self.element(instance, element)).collect();
        self.tables[table as usize].value.write(dst, values.into_iter())
    }

    /// What an element of a segment is in an instance of the store.
    pub(super) fn element(&self, instance: &Instance, element: &SegmentElement) -> RawRef {
        match *element {
            SegmentElement::Null => 0,
            SegmentElement::Import(function) => import(instance, function),
            SegmentElement::Function(slot) => instance.func_ref(slot).as_ptr() as RawRef,
            SegmentElement::Global(global) => {
                let id = instance.globals[global as usize] as usize;
                // SAFETY: definitions are live with the store, and machine code is not running.
                ValRaw(unsafe { self.globals[id].definition.read() }.0).to_u64()
            }
        }
    }
}

/// The record of an imported function.
fn import(instance: &Instance, function: u32) -> RawRef {
    // SAFETY: imports are filled when an instance is made.
    unsafe { instance.imported_function(function).read() }.func_ref as RawRef
}
