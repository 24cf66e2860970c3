//! Memories whose bytes the embedder provides.

use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use anyhow::{Result, bail};
use lampwick::{
    Config, Engine, Instance, InstanceAllocationStrategy, LinearMemory, Memory, MemoryCreator,
    MemoryType, Module, ResourceLimiter, Store, TrapCode,
};
use rustix::mm::{self, MapFlags, MprotectFlags, ProtFlags};

use crate::support::{instantiate, panic_of};

const PAGE: usize = 1 << 16;

/// How a memory breaks its contract, or fails to grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fault {
    #[default]
    None,
    NotMade,
    Null,
    Short,
    GrowthRefused,
    GrowthPanics,
    GrowthForgotten,
    Moves,
}

/// Makes memories with `mmap`, and remembers what it was told.
#[derive(Default)]
pub(crate) struct Creator {
    fault: Fault,
    /// The greatest size of its memories in bytes.
    maximum: Option<usize>,
    told: Mutex<Vec<String>>,
    alive: Arc<AtomicUsize>,
}

/// An engine with this creator.
pub(crate) fn engine_with(creator: Arc<Creator>, change: impl FnOnce(&mut Config)) -> Engine {
    crate::support::engine(|config| {
        change(config.with_host_memory(creator));
    })
}

/// A mapping, accessible in its first part.
struct Mapping(Range<usize>);

impl Mapping {
    fn new(len: usize, accessible: usize) -> Self {
        // SAFETY: a fresh mapping overlaps nothing.
        let start = unsafe {
            let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
            mm::mmap_anonymous(ptr::null_mut(), len.max(1), ProtFlags::empty(), flags)
        };
        let start = start.unwrap() as usize;
        let this = Self(start..start + len.max(1));
        this.open(accessible);
        this
    }

    fn open(&self, accessible: usize) {
        assert!(accessible <= self.0.len());
        if accessible > 0 {
            let flags = MprotectFlags::READ | MprotectFlags::WRITE;
            // SAFETY: the range is within the mapping.
            unsafe { mm::mprotect(self.0.start as *mut _, accessible, flags) }.unwrap();
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours.
        unsafe { mm::munmap(self.0.start as *mut _, self.0.len()) }.unwrap();
    }
}

struct Mapped {
    mapping: Mapping,
    size: usize,
    is_static: bool,
    guard: usize,
    maximum: Option<usize>,
    fault: Fault,
    alive: Arc<AtomicUsize>,
}

// SAFETY: static memories lie in a mapping of all that was asked for, of which only the size is
// accessible; the others have their own mapping for each size. Memories that break the contract on
// purpose are found out before a guest can use them.
unsafe impl MemoryCreator for Creator {
    fn new_memory(
        &self,
        ty: MemoryType,
        minimum: usize,
        maximum: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let told = format!("{} {minimum} {maximum:?} {reserved:?} {guard}", ty.minimum());
        self.told.lock().unwrap().push(told);
        if self.fault == Fault::NotMade {
            return Err("no memory today".to_owned());
        }
        self.alive.fetch_add(1, SeqCst);
        Ok(Box::new(Mapped {
            mapping: Mapping::new(reserved.unwrap_or(minimum) + guard, minimum),
            size: minimum,
            is_static: reserved.is_some(),
            guard,
            maximum: self.maximum,
            fault: self.fault,
            alive: self.alive.clone(),
        }))
    }
}

// SAFETY: as above.
unsafe impl LinearMemory for Mapped {
    fn byte_size(&self) -> usize {
        if self.fault == Fault::Short { self.size.saturating_sub(1) } else { self.size }
    }

    fn maximum_byte_size(&self) -> Option<usize> {
        self.maximum
    }

    fn grow_to(&mut self, new_size: usize) -> Result<()> {
        assert!(new_size > self.size || self.fault == Fault::Moves);
        match self.fault {
            Fault::GrowthRefused => bail!("the host is out of pages"),
            Fault::GrowthPanics => panic!("the host's memory panics"),
            Fault::GrowthForgotten => return Ok(()),
            _ => {}
        }
        if self.is_static && self.fault != Fault::Moves {
            self.mapping.open(new_size);
        } else {
            let new = Mapping::new(new_size + self.guard, new_size);
            let (from, to) = (self.mapping.0.start as *const u8, new.0.start as *mut u8);
            // SAFETY: both mappings have as many accessible bytes.
            unsafe { to.copy_from_nonoverlapping(from, self.size) };
            self.mapping = new;
        }
        self.size = new_size;
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        match self.fault {
            Fault::Null => ptr::null_mut(),
            _ => self.mapping.0.start as *mut u8,
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, SeqCst);
    }
}

const GUEST: &str = r#"(module (memory (export "memory") 1 5)
    (func (export "grow") (param i32) (result i32) local.get 0 memory.grow)
    (func (export "load") (param i32) (result i32) local.get 0 i32.load offset=3))"#;

#[test]
fn the_creator_is_told_what_machine_code_relies_on() {
    let creator = Arc::new(Creator::default());
    let small = |config: &mut Config| {
        config.static_memory_maximum_size(4 << 16).static_memory_guard_size(2 << 16);
        config.dynamic_memory_guard_size(3 << 16);
    };
    let engine = engine_with(creator.clone(), small);
    let (mut store, _) = instantiate(&engine, GUEST);
    for (minimum, maximum) in [(2, Some(4)), (0, None), (1, Some(u32::MAX))] {
        Memory::new(&mut store, MemoryType::new(minimum, maximum)).unwrap();
    }
    let told = creator.told.lock().unwrap().join("; ");
    let expected = "1 65536 Some(327680) None 196608; 2 131072 Some(262144) Some(262144) 131072; \
                    0 0 None None 196608; 1 65536 Some(4294967296) None 196608";
    assert_eq!(told, expected);
    assert_eq!(creator.alive.load(SeqCst), 4);
    drop(store);
    assert_eq!(creator.alive.load(SeqCst), 0, "memories are dropped with their store");
}

#[test]
fn guards_of_the_host_make_traps() {
    for static_maximum in [1 << 32, 8 << 16, 0] {
        let engine = engine_with(Arc::default(), |config| {
            config.static_memory_maximum_size(static_maximum);
        });
        let (mut store, instance) = instantiate(&engine, GUEST);
        let load = instance.get_typed_func::<i32, i32, _>(&mut store, "load").unwrap();
        let page = PAGE as i32;
        load.call(&mut store, page - 7).unwrap();
        for outside in [page - 6, page, 5 * page, 8 * page - 7, 8 * page, i32::MAX, -8, -1] {
            let trap = load.call(&mut store, outside).unwrap_err();
            assert_eq!(trap.trap_code(), Some(TrapCode::MemoryOutOfBounds), "at {outside}");
        }
    }
}

#[test]
fn memories_that_break_their_contract_are_found_out() {
    for (fault, expected) in [
        (Fault::NotMade, "the memory creator made no memory: no memory today"),
        (Fault::Null, "its address is null"),
        (Fault::Short, "it says that it has 65535 bytes instead of 65536"),
    ] {
        let creator = Arc::new(Creator { fault, ..Creator::default() });
        let engine = engine_with(creator.clone(), |_| {});
        let mut store = Store::new(&engine, Told::default());
        store.limiter(|told| told);
        let module = Module::new(&engine, GUEST).unwrap();
        let error = Instance::new(&mut store, &module, &[]).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains(expected), "{fault:?}: {text}");
        assert_eq!(store.data().0, [text]);
        let error = Memory::new(&mut store, MemoryType::new(1, None)).unwrap_err();
        assert!(format!("{error:#}").contains(expected), "{fault:?}: {error:#}");
        assert_eq!(creator.alive.load(SeqCst), 0);
    }
}

/// What a limiter was told of failed growth.
#[derive(Default)]
struct Told(Vec<String>);

impl ResourceLimiter for Told {
    fn memory_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> bool {
        true
    }

    fn memory_grow_failed(&mut self, error: &anyhow::Error) {
        self.0.push(format!("{error:#}"));
    }

    fn table_growing(&mut self, _: u32, _: u32, _: Option<u32>) -> bool {
        true
    }
}

#[test]
fn failed_growth_is_told_and_changes_nothing() {
    for (fault, expected) in [
        (Fault::GrowthRefused, "the host is out of pages"),
        (Fault::GrowthForgotten, "it says that it has 65536 bytes instead of 131072"),
        (Fault::Moves, "although it is static"),
        (Fault::None, "has at most 98304 bytes, and cannot grow to 131072"),
    ] {
        let creator = Creator { fault, maximum: Some(PAGE * 3 / 2), ..Creator::default() };
        let creator = match fault {
            Fault::None => creator,
            _ => Creator { maximum: None, ..creator },
        };
        let engine = engine_with(Arc::new(creator), |_| {});
        let mut store = Store::new(&engine, Told::default());
        store.limiter(|told| told);
        let module = Module::new(&engine, GUEST).unwrap();
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let grow = instance.get_typed_func::<i32, i32, _>(&mut store, "grow").unwrap();
        assert_eq!(grow.call(&mut store, 1).unwrap(), -1, "{fault:?}");
        assert!(store.data().0[0].contains(expected), "{fault:?}: {:?}", store.data().0);
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        let error = memory.grow(&mut store, 1).unwrap_err();
        assert!(!format!("{error:#}").is_empty());
        assert_eq!(store.data().0.len(), 2);
        assert_eq!((memory.size(&store), grow.call(&mut store, 0).unwrap()), (1, 1));
    }
}

#[test]
fn a_panic_of_the_host_arrives_where_the_guest_was_called() {
    let fault = Fault::GrowthPanics;
    let engine = engine_with(Arc::new(Creator { fault, ..Creator::default() }), |_| {});
    let (mut store, instance) = instantiate(&engine, GUEST);
    let grow = instance.get_typed_func::<i32, i32, _>(&mut store, "grow").unwrap();
    let load = instance.get_typed_func::<i32, i32, _>(&mut store, "load").unwrap();
    assert_eq!(panic_of(|| grow.call(&mut store, 1)), "the host's memory panics");
    assert_eq!(load.call(&mut store, 0).unwrap(), 0);
}

#[test]
fn it_cannot_be_combined_with_pooling() {
    let mut config = Config::new();
    config.with_host_memory(Arc::new(Creator::default()));
    config.allocation_strategy(InstanceAllocationStrategy::pooling());
    let text = Engine::new(&config).unwrap_err().to_string();
    for name in ["`Config::with_host_memory`", "pooling (`Config::allocation_strategy`)"] {
        assert!(text.contains(name), "{text}");
    }
}
