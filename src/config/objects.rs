//! The heaps of stores' structs and arrays.

use super::Config;

impl Config {
    /// The most bytes that the structs and arrays of a store take together, heads of 16 bytes and
    /// what is lost between them included; rounded down to whole blocks of 64 KiB, of which there is
    /// at least one. 4 GiB by default, which is what references reach, and the most.
    ///
    /// So much address space is reserved for each store that instantiates a module with such types.
    /// A guest that needs more traps with
    /// [`TrapCode::HeapExhausted`](crate::TrapCode::HeapExhausted), when a collection has not helped.
    pub fn gc_heap_maximum_size(&mut self, bytes: u64) -> &mut Self {
        self.objects.maximum = bytes;
        self
    }

    /// Whether each struct and array is made behind a collection. It shows where something is
    /// collected that is still needed, and is very slow.
    #[doc(hidden)]
    pub fn gc_stress(&mut self, enable: bool) -> &mut Self {
        self.objects.stress = enable;
        self
    }
}
