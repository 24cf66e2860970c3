//! What guests can reach, as far as it has been found.

use std::ptr::NonNull;

use crate::vm::exceptions::{self, Exceptions};
use crate::vm::externs;
use crate::vm::heap::{self, Heap};
use crate::vm::layout::Reference;
use crate::vm::store::Store;

/// What guests can reach.
pub(super) struct Marks {
    pub(super) externs: externs::Marks,
    pub(super) objects: heap::Marks,
    pub(super) exceptions: exceptions::Marks,
    /// What the last two are of.
    all: All,
}

/// What refers to others: the store, and with it these, stays as it is while it is marked.
#[derive(Clone, Copy)]
struct All {
    heap: Option<NonNull<Heap>>,
    exceptions: Option<NonNull<Exceptions>>,
}

impl All {
    fn heap<'a>(self) -> Option<&'a Heap> {
        // SAFETY: as the type says; marks do not outlive the collection.
        self.heap.map(|heap| unsafe { heap.as_ref() })
    }

    fn exceptions<'a>(self) -> Option<&'a Exceptions> {
        // SAFETY: as above.
        self.exceptions.map(|exceptions| unsafe { exceptions.as_ref() })
    }

    fn mark_object(self, marks: &mut heap::Marks, at: u32) {
        if let Some(heap) = self.heap() {
            marks.mark(heap, at);
        }
    }

    fn mark_exception(self, marks: &mut exceptions::Marks, entry: u32) {
        if let Some(exceptions) = self.exceptions() {
            marks.mark(exceptions, entry);
        }
    }
}

impl Marks {
    pub(super) fn new(store: &Store) -> Self {
        let heap = store.objects.as_ref().map(|objects| &objects.heap);
        let exceptions = store.exceptions.as_deref();
        Self {
            externs: store
                .externs
                .as_ref()
                .map_or_else(Default::default, |externs| externs.marks()),
            objects: heap::Marks::new(heap),
            exceptions: exceptions.map_or_else(Default::default, Exceptions::marks),
            all: All { heap: heap.map(NonNull::from), exceptions: exceptions.map(NonNull::from) },
        }
    }

    /// Notes a reference.
    #[inline]
    pub(super) fn mark(&mut self, reference: u32) {
        match Reference::of(reference) {
            Reference::Extern(index) => self.externs.mark(index),
            _ => self.mark_if_any(reference),
        }
    }

    /// Notes what may be a reference, or anything else.
    pub(super) fn mark_if_any(&mut self, number: u32) {
        let Self { externs, objects, exceptions, all } = self;
        match Reference::of(number) {
            Reference::Extern(index) => externs.mark_if_any(index),
            Reference::Exception(entry) => all.mark_exception(exceptions, entry),
            Reference::Object(at) => all.mark_object(objects, at),
            Reference::Null | Reference::I31(_) => {}
        }
    }

    /// Notes what an exception, or a part of an object, refers to. Answers how much that was, or `None`
    /// when nothing is left to look into.
    ///
    /// What was found by a number that happens to be its reference may be garbage, and refer to what an
    /// earlier collection has freed that was not done.
    pub(super) fn follow(&mut self) -> Option<usize> {
        let Self { externs, objects, exceptions, all } = self;
        let followed = all.heap().and_then(|heap| {
            objects.follow(heap, |objects, reference| match Reference::of(reference) {
                Reference::Extern(index) => externs.mark_if_any(index),
                Reference::Exception(entry) => all.mark_exception(exceptions, entry),
                Reference::Object(at) => objects.mark(heap, at),
                Reference::Null | Reference::I31(_) => {}
            })
        });
        followed.or_else(|| {
            let thrown = all.exceptions()?;
            exceptions.follow(thrown, |exceptions, reference| match Reference::of(reference) {
                Reference::Extern(index) => externs.mark_if_any(index),
                Reference::Exception(entry) => exceptions.mark(thrown, entry),
                Reference::Object(at) => all.mark_object(objects, at),
                Reference::Null | Reference::I31(_) => {}
            })
        })
    }
}
