//! What threads keep apart: a cache line that two of them write to costs each of them more than
//! most of what is done with it.
//!
//! Each thread belongs to one of a few groups, of which there are more than processors; threads that
//! were started one after the other, as workers are, belong to different ones.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread::available_parallelism;

/// The most groups.
const MAX_GROUPS: usize = 32;

/// A number for this thread, from zero in the order in which threads ask first.
///
/// Never inlined, since a fiber may go on with another thread after the call.
#[inline(never)]
fn number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    const UNKNOWN: usize = usize::MAX;
    thread_local!(static NUMBER: Cell<usize> = const { Cell::new(UNKNOWN) });
    NUMBER.with(|number| {
        if number.get() == UNKNOWN {
            number.set(NEXT.fetch_add(1, Relaxed));
        }
        number.get()
    })
}

/// How many groups there are, a power of two.
fn groups() -> usize {
    static GROUPS: OnceLock<usize> = OnceLock::new();
    *GROUPS.get_or_init(|| {
        let processors = available_parallelism().map_or(1, usize::from);
        (2 * processors).next_power_of_two().min(MAX_GROUPS)
    })
}

/// A value for each group of threads, none of which shares a cache line with another.
pub struct PerWorker<T>(Box<[Apart<T>]>);

/// Two cache lines, since processors fetch them in pairs.
#[repr(align(128))]
struct Apart<T>(T);

impl<T> PerWorker<T> {
    /// Values made by `make`.
    pub fn new(mut make: impl FnMut() -> T) -> Self {
        Self((0..groups()).map(|_| Apart(make())).collect())
    }

    /// The value of this thread's group. Other threads may be using it, too.
    #[inline]
    #[must_use]
    pub fn mine(&self) -> &T {
        &self.0[number() & (self.0.len() - 1)].0
    }

    /// The values of all groups.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &T> {
        self.0.iter().map(|apart| &apart.0)
    }
}

impl<T> fmt::Debug for PerWorker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerWorker").field("groups", &self.0.len()).finish_non_exhaustive()
    }
}

/// A value that is dropped with its last handle, as with an [`Arc`]; but threads that make handles
/// by [`local`](Self::local) and drop them again do not count in the same place.
///
/// ```
/// use lampwick_fibers::Shared;
///
/// let first = Shared::new(String::from("value"));
/// let second = first.local();
/// assert!(Shared::ptr_eq(&first, &second));
/// drop(first);
/// assert_eq!(*second, "value");
/// ```
pub struct Shared<T>(Arc<Apart<Handle<T>>>);

/// What some handles share: their count.
struct Handle<T> {
    value: Arc<T>,
    /// The handles of the groups, which the first handle makes and keeps.
    groups: Option<PerWorker<OnceLock<Shared<T>>>>,
}

impl<T> Shared<T> {
    /// The first handle of a value.
    #[must_use]
    pub fn new(value: T) -> Self {
        let handle = Handle { value: Arc::new(value), groups: Some(PerWorker::new(OnceLock::new)) };
        Self(Arc::new(Apart(handle)))
    }

    /// A handle that is counted where this thread's others are, if this is the first handle or a
    /// clone of it; else a clone.
    #[inline]
    #[must_use]
    pub fn local(&self) -> Self {
        let Handle { value, groups } = &self.0.0;
        match groups {
            None => self.clone(),
            Some(groups) => groups
                .mine()
                .get_or_init(|| {
                    Self(Arc::new(Apart(Handle { value: value.clone(), groups: None })))
                })
                .clone(),
        }
    }

    /// Whether these are handles of the same value.
    #[inline]
    #[must_use]
    pub fn ptr_eq(a: &Self, b: &Self) -> bool {
        Arc::ptr_eq(&a.0.0.value, &b.0.0.value)
    }
}

impl<T> Clone for Shared<T> {
    #[inline]
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0.0.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_follow_each_other_are_of_different_groups() {
        let each = PerWorker::new(|| 0_u8);
        let mine = || std::ptr::from_ref(each.mine()).addr();
        let own = mine();
        assert_eq!(own, mine());
        let others = std::thread::scope(|scope| {
            let ask = || scope.spawn(mine).join().unwrap();
            // Another test's thread may come between.
            (0..8).map(|_| ask()).collect::<Vec<_>>()
        });
        assert!(others.iter().any(|&other| other != own));
    }

    #[test]
    fn the_last_handle_of_whatever_thread_drops_the_value() {
        let value = Arc::new(());
        let first = Shared::new(value.clone());
        let handles: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| [first.local(), first.local().local()])).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let clone = first.clone();
        drop(first);
        assert_eq!(Arc::strong_count(&value), 2);
        drop(clone);
        assert_eq!(Arc::strong_count(&value), 2, "handles of other threads are left");
        drop(handles);
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
