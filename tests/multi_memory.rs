//! Several memories: each operator does its work in the one that it names, and nowhere else.

use lampwick::{Config, Extern, Instance, Memory, MemoryType, Module, Store, TrapCode};

use crate::support::{engine, trap};

const PAGE: usize = 1 << 16;

/// Memories of the guest, the first imported; the memory at index `n` has `n + 1` pages.
const MEMORIES: u32 = 4;

/// With guards, and with explicit checks of bounds.
const LAYOUTS: [fn(&mut Config); 2] = [
    |_| {},
    |config| {
        config.static_memory_maximum_size(0).static_memory_guard_size(0);
        config.dynamic_memory_guard_size(0).dynamic_memory_reserved_for_growth(0);
    },
];

/// Operators that change a memory, with `M` for its index, at address 32 and behind.
const WRITERS: &[(&str, &str)] = &[
    ("i32.store", "(i32.store M (i32.const 32) (i32.const -1))"),
    ("i64.store8", "(i64.store8 M offset=30 (i32.const 2) (i64.const -1))"),
    ("f64.store", "(f64.store M (i32.const 32) (f64.const 1))"),
    ("v128.store", "(v128.store M (i32.const 32) (v128.const i64x2 -1 -1))"),
    ("v128.store8_lane", "(v128.store8_lane M 3 (i32.const 32) (v128.const i64x2 -1 -1))"),
    ("atomic store", "(i32.atomic.store M (i32.const 32) (i32.const -1))"),
    ("atomic add", "(drop (i64.atomic.rmw.add M (i32.const 32) (i64.const 5)))"),
    (
        "atomic exchange",
        "(drop (i32.atomic.rmw.cmpxchg M (i32.const 32) (i32.const 0) (i32.const 9)))",
    ),
    ("short fill", "(memory.fill M (i32.const 32) (i32.const 7) (i32.const 9))"),
    ("fill", "(memory.fill M (i32.const 32) (i32.const 7) (local.get 0))"),
    ("init", "(memory.init M $words (i32.const 32) (i32.const 1) (i32.const 3))"),
];

/// Operators that read what is at address 16, where each memory has its own index, as an i32.
const READERS: &[(&str, &str)] = &[
    ("i32.load", "(i32.load M (i32.const 16))"),
    ("i32.load8_u", "(i32.load8_u M offset=10 (i32.const 6))"),
    ("f32.load", "(i32.reinterpret_f32 (f32.load M (i32.const 16)))"),
    ("v128.load", "(i32x4.extract_lane 0 (v128.load M (i32.const 16)))"),
    ("v128.load8_splat", "(i8x16.extract_lane_u 9 (v128.load8_splat M (i32.const 16)))"),
    (
        "v128.load32_lane",
        "(i32x4.extract_lane 1 (v128.load32_lane M 1 (i32.const 16) (v128.const i64x2 0 0)))",
    ),
    ("atomic load", "(i32.atomic.load M (i32.const 16))"),
    ("atomic or", "(i32.atomic.rmw.or M (i32.const 16) (i32.const 0))"),
    ("size", "(i32.sub (memory.size M) (i32.const 1))"),
    ("grow", "(i32.sub (memory.grow M (i32.const 0)) (i32.const 1))"),
];

/// A module with each operator on each memory, and copies between all of them.
fn text() -> String {
    let mut text = "(module (import \"\" \"\" (memory $0 1 9))".to_owned();
    for memory in 1..MEMORIES {
        text += &format!("(memory ${memory} (export \"{memory}\") {} 9)", memory + 1);
    }
    text += "(data $words \"abcdef\")";
    for memory in 0..MEMORIES {
        let index = format!("${memory}");
        text += &format!("(data (memory {index}) (i32.const 16) \"\\{memory:02x}\")");
        for (name, operator) in WRITERS {
            let operator = operator.replace('M', &index);
            text += &format!("(func (export \"{name} {memory}\") (param i32) {operator})");
        }
        for (name, operator) in READERS {
            let operator = operator.replace('M', &index);
            text += &format!("(func (export \"{name} {memory}\") (result i32) {operator})");
        }
        text += &format!(
            "(func (export \"load {memory}\") (param i32) (result i32)
                (i32.load8_u {index} (local.get 0)))
            (func (export \"grow by one {memory}\") (result i32)
                (memory.grow {index} (i32.const 1)))"
        );
        for from in 0..MEMORIES {
            text += &format!(
                "(func (export \"short copy {memory} {from}\")
                    (memory.copy {index} ${from} (i32.const 64) (i32.const 16) (i32.const 8)))
                (func (export \"copy {memory} {from}\") (param i32)
                    (memory.copy {index} ${from} (i32.const 64) (i32.const 16) (local.get 0)))"
            );
        }
    }
    text + ")"
}

struct Guest {
    store: Store<()>,
    instance: Instance,
    memories: Vec<Memory>,
}

fn modules() -> [Module; 2] {
    LAYOUTS.map(|layout| {
        let engine = engine(|config| {
            layout(config.wasm_multi_memory(true).wasm_threads(true));
        });
        Module::new(&engine, text()).unwrap()
    })
}

impl Guest {
    fn new(module: &Module) -> Self {
        let mut store = Store::new(module.engine(), ());
        let first = Memory::new(&mut store, MemoryType::new(1, Some(9))).unwrap();
        let instance = Instance::new(&mut store, module, &[Extern::Memory(first)]).unwrap();
        let mut memories = vec![first];
        for memory in 1..MEMORIES {
            memories.push(instance.get_memory(&mut store, &memory.to_string()).unwrap());
        }
        Self { store, instance, memories }
    }

    /// All bytes of all memories.
    fn bytes(&self) -> Vec<Vec<u8>> {
        self.memories.iter().map(|memory| memory.data(&self.store).to_vec()).collect()
    }

    fn answer(&mut self, name: &str) -> i32 {
        let func = self.instance.get_typed_func::<(), i32, _>(&mut self.store, name).unwrap();
        func.call(&mut self.store, ()).unwrap()
    }

    fn act(&mut self, name: &str, length: i32) {
        let func = self.instance.get_typed_func::<i32, (), _>(&mut self.store, name).unwrap();
        func.call(&mut self.store, length).unwrap();
    }
}

#[test]
fn who_writes_changes_the_memory_it_names() {
    for module in modules() {
        for (name, _) in WRITERS {
            let mut guest = Guest::new(&module);
            for memory in 0..MEMORIES {
                let before = guest.bytes();
                guest.act(&format!("{name} {memory}"), 3);
                for (other, (before, after)) in before.iter().zip(guest.bytes()).enumerate() {
                    let changed = before.iter().zip(&after).position(|(old, new)| old != new);
                    let named = other == memory as usize;
                    assert_eq!(changed.is_some(), named, "{name} {memory} changed {other}");
                    assert!(changed.is_none_or(|at| (32..48).contains(&at)), "{name}: {changed:?}");
                }
            }
        }
    }
}

#[test]
fn who_reads_finds_what_the_memory_it_names_has() {
    for module in modules() {
        let mut guest = Guest::new(&module);
        for (name, _) in READERS {
            for memory in 0..MEMORIES {
                assert_eq!(guest.answer(&format!("{name} {memory}")), memory as i32, "{name}");
            }
        }
    }
}

#[test]
fn growth_is_that_of_the_memory_it_names() {
    for module in modules() {
        let mut guest = Guest::new(&module);
        let mut expected: Vec<usize> = (1..=MEMORIES as usize).map(|pages| pages * PAGE).collect();
        for memory in (0..MEMORIES).rev() {
            let former = guest.answer(&format!("grow by one {memory}"));
            assert_eq!(former as u32, memory + 1);
            expected[memory as usize] += PAGE;
            assert_eq!(guest.bytes().iter().map(Vec::len).collect::<Vec<_>>(), expected);
        }
    }
}

#[test]
fn copies_lead_from_the_second_memory_to_the_first() {
    for module in modules() {
        for (to, from) in (0..MEMORIES).flat_map(|to| (0..MEMORIES).map(move |from| (to, from))) {
            for short in [true, false] {
                let mut guest = Guest::new(&module);
                let mut expected = guest.bytes();
                expected[to as usize][64] = from as u8;
                match short {
                    true => {
                        let name = format!("short copy {to} {from}");
                        let func =
                            guest.instance.get_typed_func::<(), (), _>(&mut guest.store, &name);
                        func.unwrap().call(&mut guest.store, ()).unwrap();
                    }
                    false => guest.act(&format!("copy {to} {from}"), 5_000),
                }
                assert!(guest.bytes() == expected, "to {to} from {from}");
            }
        }
    }
}

/// Where memories have different sizes, the wrong one's size lets an access out.
#[test]
fn bounds_are_those_of_the_memory_named() {
    for module in modules() {
        let mut guest = Guest::new(&module);
        for memory in 0..MEMORIES {
            let name = format!("load {memory}");
            let load =
                guest.instance.get_typed_func::<u32, u32, _>(&mut guest.store, &name).unwrap();
            let size = (memory + 1) * PAGE as u32;
            assert_eq!(load.call(&mut guest.store, size - 1).unwrap(), 0);
            for outside in [size, size + PAGE as u32, u32::MAX] {
                let error = load.call(&mut guest.store, outside).unwrap_err();
                let code = trap(error.into()).trap_code();
                assert_eq!(code, Some(TrapCode::MemoryOutOfBounds), "{name} {outside}");
            }
        }
    }
}
