//! Shared memories.

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lampwick_waiters::BATCH;

use crate::engine::Engine;
use crate::trap::Trap;
use crate::types::MemoryType;
use crate::vm;
use crate::vm::memory::GrowError;
use crate::vm::timer::Timer;
use crate::vm::waiting::{self, Expected, WaitResult};

/// A linear memory that stores on many threads use at the same time, if they are of its engine; see
/// [`Config::wasm_threads`](crate::Config::wasm_threads). Clones are the same memory, which exists
/// until the last of them, and the last store that uses it, is gone.
///
/// Sizes are in [pages](MemoryType::page_size) where a method says `pages`, else in bytes.
///
/// ```
/// # fn main() -> anyhow::Result<()> {
/// use std::time::Duration;
/// use lampwick::{
///     Config, Engine, Instance, MemoryType, Module, SharedMemory, Store, WaitResult,
/// };
///
/// let engine = Engine::new(Config::new().wasm_threads(true))?;
/// let memory = SharedMemory::new(&engine, MemoryType::shared(1, 4))?;
/// let module = Module::new(&engine, r#"(module (import "" "memory" (memory 1 4 shared))
///     (func (export "set") (i32.atomic.store (i32.const 8) (i32.const 7))
///         (drop (memory.atomic.notify (i32.const 8) (i32.const 1)))))"#)?;
/// let guest = std::thread::spawn({
///     let memory = memory.clone();
///     move || -> anyhow::Result<()> {
///         let mut store = Store::new(module.engine(), ());
///         let instance = Instance::new(&mut store, &module, &[memory.into()])?;
///         instance.get_typed_func::<(), (), _>(&mut store, "set")?.call(&mut store, ())?;
///         Ok(())
///     }
/// });
/// // The guest may have been here before.
/// let waited = memory.atomic_wait32(8, 0, Some(Duration::from_secs(60)))?;
/// assert_ne!(waited, WaitResult::TimedOut);
/// guest.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SharedMemory {
    engine: Engine,
    memory: Arc<vm::memory::SharedMemory>,
}

impl SharedMemory {
    /// A shared memory of the host with this type, all zeros. All that it may grow to is reserved
    /// at once, as address space, and it never moves.
    ///
    /// It comes neither from a pool nor from the engine's
    /// [memory creator](crate::Config::with_host_memory), and no store's limiter is asked.
    ///
    /// # Errors
    ///
    /// Fails if the type is not shared, if it contradicts itself, if its maximum is more than 16
    /// GiB (and than [`Config::static_memory_maximum_size`](crate::Config::static_memory_maximum_size)),
    /// or if the system has no address space or memory left.
    pub fn new(engine: &Engine, ty: MemoryType) -> Result<Self> {
        ensure!(ty.is_shared(), "a {ty} cannot be shared: its type says that it is not");
        let memory = engine.memories().shared(&ty).map_err(GrowError::report);
        let memory = memory.with_context(|| format!("cannot make a {ty}"))?;
        Ok(Self::of(engine, memory))
    }

    pub(crate) fn of(engine: &Engine, memory: Arc<vm::memory::SharedMemory>) -> Self {
        Self { engine: engine.clone(), memory }
    }

    /// Fails unless the memory was made for this engine, whose machine code relies on its layout.
    pub(crate) fn check_engine(&self, engine: &Engine) -> Result<()> {
        let same = Engine::same(&self.engine, engine);
        ensure!(same, "the shared memory and the store belong to different engines");
        Ok(())
    }

    pub(crate) fn inner(&self) -> &Arc<vm::memory::SharedMemory> {
        &self.memory
    }

    /// The type of the memory; its minimum is the current size.
    pub fn ty(&self) -> MemoryType {
        self.memory.ty()
    }

    /// The size in pages. It may have grown when the answer arrives.
    pub fn size(&self) -> u64 {
        self.memory.pages()
    }

    /// The size in bytes. It may have grown when the answer arrives.
    pub fn data_size(&self) -> usize {
        self.memory.len()
    }

    /// All bytes that the memory has now. Guests may be reading and writing them: whoever accesses
    /// them must do so atomically, or know that no guest is.
    pub fn data(&self) -> &[UnsafeCell<u8>] {
        // SAFETY: so many bytes are accessible and stay so, and never move, while there is a clone;
        // cells may change behind a shared reference.
        unsafe { std::slice::from_raw_parts(self.memory.base().cast(), self.memory.len()) }
    }

    /// Grows the memory by `delta` pages of zeros. Answers the former size in pages. Guests that run
    /// meanwhile see the new size.
    ///
    /// # Errors
    ///
    /// Fails beyond the maximum, or if the system has no memory left; it is then as before.
    pub fn grow(&self, delta: u64) -> Result<u64> {
        self.memory.grow(delta).map_err(GrowError::report)
    }

    /// Wakes at most `count` of those who wait at `address`, first come, first served. Answers how
    /// many.
    ///
    /// # Errors
    ///
    /// Fails, as the guest's operator would trap, if `address` is no multiple of 4, or if 4 bytes
    /// there are not inside of the memory.
    pub fn atomic_notify(&self, address: u64, count: u32) -> Result<u32, Trap> {
        let (address, _) =
            waiting::aligned(&self.memory, Some(address), 4).map_err(Trap::from_code)?;
        let (count, mark) = (u64::from(count), self.memory.waiters.mark());
        let mut woken = 0;
        loop {
            let now = self.memory.waiters.notify(address, count - woken, mark);
            woken += now;
            if now < BATCH {
                // No more than `count`, which has 32 bits.
                return Ok(woken as u32);
            }
        }
    }

    /// Blocks this thread until it is notified, if the 32-bit number at `address` is `expected`; for
    /// `timeout` at most, where there is one. Not for async tasks, which must not block.
    ///
    /// # Errors
    ///
    /// As for [`atomic_notify`](Self::atomic_notify).
    pub fn atomic_wait32(
        &self,
        address: u64,
        expected: u32,
        timeout: Option<Duration>,
    ) -> Result<WaitResult, Trap> {
        self.wait(address, Expected::W32(expected), timeout)
    }

    /// As [`atomic_wait32`](Self::atomic_wait32), with a 64-bit number at a multiple of 8.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn atomic_wait64(
        &self,
        address: u64,
        expected: u64,
        timeout: Option<Duration>,
    ) -> Result<WaitResult, Trap> {
        self.wait(address, Expected::W64(expected), timeout)
    }

    fn wait(
        &self,
        address: u64,
        expected: Expected,
        timeout: Option<Duration>,
    ) -> Result<WaitResult, Trap> {
        let waiter = waiting::join(&self.memory, Some(address), expected);
        let Some(mut waiter) = waiter.map_err(Trap::from_code)? else {
            return Ok(WaitResult::Mismatch);
        };
        let end = timeout.map(Timer::new).and_then(|timer| timer.end());
        let notified = waiting::on_thread(
            |context| {
                if waiter.poll(context).is_ready() {
                    return Poll::Ready(true);
                }
                let is_over = end.is_some_and(|end| Instant::now() >= end);
                if is_over { Poll::Ready(false) } else { Poll::Pending }
            },
            end,
        );
        Ok(if notified || waiter.leave() { WaitResult::Ok } else { WaitResult::TimedOut })
    }
}
