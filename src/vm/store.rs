//! A store as machine code and its builtins see it: everything but the embedder's `T`.

use std::cell::Cell;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use lampwick_waiters::Waiter;
use smallvec::SmallVec;
use thin_vec::ThinVec;

use super::accounts::Accounts;
use super::activation::{self, Activation, Unwind};
use super::backtrace::Backtrace;
use super::code::CodeMap;
use super::current::Way;
use super::exceptions::Exceptions;
use super::externs::Externs;
use super::fuel::Fuel;
use super::hooks::Hook;
use super::host::{Detour, HostFunction};
use super::instance::Instance;
use super::interrupts::Interrupts;
use super::layout::{TrapCode, VMGlobal, VMMemory, VMStore, VMTable};
use super::limits::LimiterHooks;
use super::memory::{GrowError, Memory};
use super::objects::Objects;
use super::signals;
use super::table::{self, RawRef, Table};

/// Tells stores apart. Never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StoreId(u64);

impl StoreId {
    /// Never inlined, since a fiber may go on with another thread after the call.
    #[inline(never)]
    fn next() -> Self {
        /// How many ids a thread takes at a time.
        const BLOCK: u64 = 1024;
        static NEXT: AtomicU64 = AtomicU64::new(0);
        thread_local!(static MINE: Cell<Range<u64>> = const { Cell::new(0..0) });
        MINE.with(|mine| {
            let mut ids = mine.take();
            let id = ids.next().unwrap_or_else(|| {
                let first = NEXT.fetch_add(BLOCK, Ordering::Relaxed);
                ids = first + 1..first + BLOCK;
                first
            });
            mine.set(ids);
            Self(id)
        })
    }
}

/// Something of a store that machine code reads through `definition`, which lies in the context of
/// the instance that defines it, or in a box where the host does.
#[derive(Debug)]
pub(crate) struct Owned<V, D> {
    pub(crate) value: V,
    pub(crate) definition: NonNull<D>,
    /// Whether `definition` is a box of ours.
    boxed: bool,
}

// SAFETY: the definition belongs to the store, like the value.
unsafe impl<V: Send, D: Send> Send for Owned<V, D> {}
// SAFETY: as above.
unsafe impl<V: Sync, D: Sync> Sync for Owned<V, D> {}

impl<V, D> Owned<V, D> {
    /// A thing of the host.
    pub(crate) fn boxed(value: V, definition: D) -> Self {
        Self { value, definition: NonNull::from(Box::leak(Box::new(definition))), boxed: true }
    }

    /// A thing of an instance, whose definition is written.
    ///
    /// # Safety
    ///
    /// `definition` must point into the context of an instance that lives as long as the store.
    pub(crate) unsafe fn of_instance(value: V, definition: NonNull<D>) -> Self {
        Self { value, definition, boxed: false }
    }
}

impl<V, D> Drop for Owned<V, D> {
    fn drop(&mut self) {
        if self.boxed {
            // SAFETY: `boxed` leaked this box, and machine code no longer runs.
            drop(unsafe { Box::from_raw(self.definition.as_ptr()) });
        }
    }
}

/// Appends to a list of a store's. Most have one element, for which alone the first allocation is.
pub(crate) fn push_exactly<T>(list: &mut ThinVec<T>, value: T) {
    if list.capacity() == 0 {
        list.reserve_exact(1);
    }
    list.push(value);
}

/// A store without its data. It is kept small: a process may have a hundred thousand.
#[repr(C)]
pub struct Store {
    /// First, so that a pointer to it is a pointer to the store.
    pub(crate) machine: VMStore,
    /// The innermost activation, or null.
    pub(super) activation: *mut Activation,
    /// Calls look at this alone.
    pub(super) way: Way,
    /// Whether fuel is counted.
    pub(super) metered: bool,
    /// Whether a guest has run.
    pub(super) has_run: bool,
    /// For how many nanoseconds operators that are watched (`pace::Watch`) have held the worker since
    /// they last let others run.
    pub(super) held: u32,
    /// What runs when control crosses the border between wasm and the host.
    #[cfg(feature = "call-hook")]
    call_hook: Option<Hook>,
    /// Where the engine keeps accounts. Host functions are told when they come to the store.
    pub(crate) accounts: Option<Box<Accounts>>,
    /// What is asked about a signal before we look at it ourselves.
    pub(crate) signal_handler: Option<signals::Handler>,
    /// How the embedder's limiter is asked, if there is one.
    pub(crate) limiter: Option<&'static LimiterHooks>,
    pub(crate) code: CodeMap,
    pub(crate) fuel: Fuel,
    /// Where guests can be interrupted or have deadlines.
    pub(crate) interrupts: Option<Interrupts>,
    pub(crate) id: StoreId,
    /// Most stores have one.
    pub(crate) instances: SmallVec<[Instance; 1]>,
    pub(crate) memories: ThinVec<Owned<Memory, VMMemory>>,
    pub(crate) tables: ThinVec<Owned<Table, VMTable>>,
    /// The values lie in the definitions.
    pub(crate) globals: ThinVec<Owned<crate::types::GlobalType, VMGlobal>>,
    /// Boxed, since machine code holds their addresses.
    host_functions: ThinVec<Box<HostFunction>>,
    /// Made with the first value.
    pub(crate) externs: Option<Box<Externs>>,
    /// Structs and arrays, where a module has such types.
    pub(crate) objects: Option<Box<Objects>>,
    /// Made with the first tag.
    pub(crate) exceptions: Option<Box<Exceptions>>,
    /// The place of a guest that waits at an address of a shared memory.
    pub(super) waiter: Option<Box<Waiter>>,
}

// SAFETY: the raw pointers are to things that the store owns, and to the activation of a fiber that
// its user moves between threads together with the store.
unsafe impl Send for Store {}
// SAFETY: nothing behind a shared reference is changed without `&mut`.
unsafe impl Sync for Store {}

impl Store {
    pub(crate) fn new(
        metered: bool,
        interrupts: Option<Interrupts>,
        accounts: Option<Box<Accounts>>,
    ) -> Self {
        Self {
            machine: VMStore {
                stack_limit: usize::MAX,
                fuel: 0,
                exit_fp: 0,
                exit_pc: 0,
                heap: ptr::null_mut(),
                cells: ptr::null_mut(),
            },
            activation: ptr::null_mut(),
            way: if accounts.is_some() { Way::WATCHED } else { Way::STRAIGHT },
            metered,
            has_run: false,
            held: 0,
            #[cfg(feature = "call-hook")]
            call_hook: None,
            accounts,
            signal_handler: None,
            limiter: None,
            code: CodeMap::default(),
            fuel: Fuel::default(),
            interrupts,
            id: StoreId::next(),
            instances: SmallVec::new(),
            memories: ThinVec::new(),
            tables: ThinVec::new(),
            globals: ThinVec::new(),
            host_functions: ThinVec::new(),
            externs: None,
            objects: None,
            exceptions: None,
            waiter: None,
        }
    }

    /// The call hook; there is none in a build that cannot have one.
    ///
    /// # Safety
    ///
    /// The store must be live.
    #[inline(always)]
    pub(crate) unsafe fn call_hook(_this: *const Self) -> Option<Hook> {
        #[cfg(feature = "call-hook")]
        // SAFETY: by contract.
        return unsafe { (*_this).call_hook };
        #[cfg(not(feature = "call-hook"))]
        None
    }

    /// Lets `hook` run when control crosses the border between wasm and the host.
    ///
    /// # Safety
    ///
    /// The hook must be made for this store.
    #[cfg(feature = "call-hook")]
    pub(crate) unsafe fn set_call_hook(&mut self, hook: Hook) {
        (self.call_hook, self.way) = (Some(hook), Way::WATCHED);
        for function in &mut self.host_functions {
            function.lead_through(Detour::Hook);
        }
    }

    /// Keeps a host function of this store.
    pub(crate) fn add_host_function(&mut self, mut function: Box<HostFunction>) {
        // SAFETY: the store is live.
        if unsafe { Self::call_hook(self) }.is_some() {
            function.lead_through(Detour::Hook);
        } else if self.accounts.is_some() {
            function.lead_through(Detour::Count);
        }
        self.host_functions.push(function);
    }

    /// Grows a memory and tells machine code.
    pub(crate) fn grow_memory(&mut self, index: u32, delta: u64) -> Result<u64, GrowError> {
        let memory = &mut self.memories[index as usize];
        let old = memory.value.grow(delta)?;
        // SAFETY: the definition is live as long as the store, and machine code is not running.
        unsafe { memory.definition.write(memory.value.definition()) };
        Ok(old)
    }

    /// Grows a table and tells machine code.
    pub(crate) fn grow_table(
        &mut self,
        index: u32,
        delta: u64,
        value: RawRef,
    ) -> Result<u64, table::GrowError> {
        self.change_table(index, |table| table.grow(delta, value))
    }

    /// Changes where a table lies or how long it is, and tells machine code.
    pub(super) fn change_table<R>(
        &mut self,
        index: u32,
        change: impl FnOnce(&mut Table) -> R,
    ) -> R {
        let table = &mut self.tables[index as usize];
        let result = change(&mut table.value);
        // SAFETY: as above.
        unsafe { table.definition.write(table.value.definition()) };
        result
    }

    /// Copies elements between tables, or within one.
    pub(crate) fn copy_table(
        &mut self,
        (dst_table, dst): (u32, u64),
        (src_table, src): (u32, u64),
        len: u64,
    ) -> Result<(), super::table::OutOfBounds> {
        if dst_table == src_table {
            return self.tables[dst_table as usize].value.copy_within(dst, src, len);
        }
        let values = self.tables[src_table as usize].value.read(src, len)?;
        self.tables[dst_table as usize].value.write(dst, values.into_iter())
    }

    /// Lets memories know whether a guest may have written to them, before they go.
    pub(super) fn note_guests(&self) {
        if self.has_run {
            self.memories.iter().for_each(|memory| memory.value.note_exposed());
        }
    }

    /// A trap of the guest whose builtin is running.
    ///
    /// # Safety
    ///
    /// Must be called by a builtin or host function that wasm called.
    #[cold]
    pub(super) unsafe fn trap(this: *mut Self, code: TrapCode) -> Box<Unwind> {
        // SAFETY: by contract.
        Box::new(Unwind::Trap(code, unsafe { Self::backtrace(this) }))
    }

    /// # Safety
    ///
    /// As for [`Self::trap`].
    #[cold]
    pub(super) unsafe fn out_of_fuel(this: *mut Self) -> Box<Unwind> {
        // SAFETY: by contract.
        Box::new(Unwind::OutOfFuel(unsafe { Self::backtrace(this) }))
    }

    /// The wasm frames that called the host.
    ///
    /// # Safety
    ///
    /// As for [`Self::trap`].
    pub(super) unsafe fn backtrace(this: *mut Self) -> Backtrace {
        // SAFETY: by contract.
        unsafe { activation::capture(this) }
    }
}
