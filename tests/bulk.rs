//! `memory.copy` and `memory.fill` of lengths that only the guest knows: code does the short ones
//! itself where the memory has reservation and guard, and a builtin does the rest. They must agree.

use lampwick::{Engine, Memory, Module, Store, TypedFunc};

use crate::support::{Change, engine};

const GUEST: &str = r#"(module
    (memory (export "memory") 2)
    (func (export "copy") (param i32 i32 i32)
        (memory.copy (local.get 0) (local.get 1) (local.get 2)))
    (func (export "fill") (param i32 i32 i32)
        (memory.fill (local.get 0) (local.get 1) (local.get 2))))"#;

const SIZE: i64 = 2 << 16;

/// A guest on an engine of one kind.
struct Guest {
    store: Store<()>,
    memory: Memory,
    /// What is in it before each operator.
    before: Vec<u8>,
    copy: TypedFunc<(i32, i32, i32), ()>,
    fill: TypedFunc<(i32, i32, i32), ()>,
}

impl Guest {
    fn new(engine: &Engine) -> Self {
        let mut store = Store::new(engine, ());
        let module = Module::new(engine, GUEST).unwrap();
        let instance = lampwick::Instance::new(&mut store, &module, &[]).unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        let copy = instance.get_typed_func(&mut store, "copy").unwrap();
        let fill = instance.get_typed_func(&mut store, "fill").unwrap();
        let before = (0..SIZE).map(|at| (at * 7 + at / 251) as u8).collect();
        Self { store, memory, before, copy, fill }
    }

    /// Runs an operator on a memory in a known state with some fuel: how it ended, what it burned,
    /// and the memory then.
    fn run(&mut self, copy: bool, operands: (i32, i32, i32), fuel: u64) -> (String, u64, Vec<u8>) {
        self.memory.data_mut(&mut self.store).copy_from_slice(&self.before);
        self.store.set_fuel(fuel).unwrap();
        let before = self.store.fuel_consumed().unwrap();
        let func = if copy { self.copy } else { self.fill };
        let end = match func.call(&mut self.store, operands) {
            Ok(()) => "returned".into(),
            Err(trap) => format!("{:?}", trap.trap_code()),
        };
        let burned = self.store.fuel_consumed().unwrap() - before;
        (end, burned, self.memory.data(&self.store).to_vec())
    }
}

#[test]
fn short_work_is_done_as_long_work_is() {
    let guest = |change: Change| Guest::new(&engine(|config| change(config.consume_fuel(true))));
    let mut in_code = guest(|_| {});
    let mut in_builtin = guest(|config| {
        config.static_memory_maximum_size(0);
    });
    let lengths = [0, 1, 63, 64, 65, 129, 4096, 65_535, 65_536, 65_537, 100_000, SIZE, 1 << 31];
    let starts = |len: i64| [0, 1, 1000, SIZE - len, SIZE - len + 1, SIZE, SIZE + 1, -1];
    for len in lengths {
        for to in starts(len) {
            for from in [0, 1, to - 1, SIZE - len, SIZE - len + 1, -1] {
                let operands = (to as i32, from as i32, len as i32);
                for copy in [true, false] {
                    let cost = 5 + len as u64 / 64;
                    for fuel in [cost - 1, cost, cost + 1, u64::MAX / 4] {
                        let [one, other] = [&mut in_code, &mut in_builtin]
                            .map(|guest| guest.run(copy, operands, fuel));
                        let what = format!("copy: {copy}, {operands:?} with {fuel}");
                        assert_eq!((&one.0, one.1), (&other.0, other.1), "{what}");
                        assert!(one.2 == other.2, "{what}: memories differ");
                    }
                }
            }
        }
    }
}
