//! Declared types, as machine code compares them.

use std::ptr;

use crate::types::ConcreteType;

/// A type that modules declare. An engine has one for all that are the same type, so that equal
/// addresses are equal types.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct VMType {
    /// The types above it, the most general first.
    pub(crate) supers: *const *const VMType,
    /// How many there are.
    pub(crate) depth: u32,
    /// The engine's id for the type.
    pub(crate) id: u32,
    /// What tells it from others that had the id before, or have it in other engines.
    pub(crate) stamp: u32,
}

impl VMType {
    /// A type below these, which must outlive it and what is told of it, the slice included.
    pub(crate) fn new(id: u32, stamp: u32, supers: &[*const VMType]) -> Self {
        // Validation bounds the depth by 63.
        Self { supers: supers.as_ptr(), depth: supers.len() as u32, id, stamp }
    }

    /// Whether each value of the type `this` is one of `other`.
    ///
    /// # Safety
    ///
    /// Both types must be alive.
    pub(crate) unsafe fn extends(this: *const Self, other: *const Self) -> bool {
        if ptr::eq(this, other) {
            return true;
        }
        // SAFETY: by contract; a type keeps what is above it.
        let (this, depth) = unsafe { (&*this, (*other).depth) };
        this.above().get(depth as usize).is_some_and(|&above| ptr::eq(above, other))
    }

    /// Whether this is the type of a handle, or below it.
    pub(crate) fn is(&self, ty: ConcreteType) -> bool {
        let same = |this: &Self| (this.id, this.stamp) == (ty.id, ty.stamp);
        // SAFETY: a type keeps what is above it.
        same(self) || self.above().iter().any(|&above| same(unsafe { &*above }))
    }

    /// The types above it, the most general first.
    fn above(&self) -> &[*const VMType] {
        // SAFETY: by the contract of `new` the slice is alive.
        unsafe { std::slice::from_raw_parts(self.supers, self.depth as usize) }
    }
}

// SAFETY: what the pointers lead to does not change while the type is alive.
unsafe impl Send for VMType {}
// SAFETY: as above.
unsafe impl Sync for VMType {}
