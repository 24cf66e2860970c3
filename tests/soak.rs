//! Nothing grows: memory and mappings are as before after a great many rounds.
//!
//! Other tests of this binary run at the same time in the same process, so each check runs in a
//! process of its own: this binary again, with one ignored test.

use lampwick::{
    Caller, Engine, ExternRef, Func, Instance, InstanceAllocationStrategy, InstanceLimits, Linker,
    Module, ModuleLimits, PoolingAllocationStrategy, Store, Trap, TrapCode, TypedFunc,
};

use crate::alone;
use crate::matrix::{self, EVENTS, PLACES};
use crate::support::{
    Census, async_metered, asynchronous, block_on, directory, engine, instantiate, pend, poll,
    rounds,
};

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    mappings: usize,
    resident: usize,
    virtual_: usize,
}

impl Held {
    fn now() -> Self {
        let mappings = std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: Vec<usize> = statm.split(' ').map_while(|pages| pages.parse().ok()).collect();
        Self { mappings, resident: pages[1] * 4096, virtual_: pages[0] * 4096 }
    }
}

/// Makes some rounds to fill all pools and caches, then `count`, which must not add anything.
fn check(count: usize, mut round: impl FnMut(usize)) {
    let warm = count.div_ceil(20);
    (0..warm).for_each(&mut round);
    let before = Held::now();
    (0..count).for_each(&mut round);
    let after = Held::now();
    println!("{count} rounds: {before:?}, {after:?}");
    assert!(after.mappings <= before.mappings + 4, "mappings: {before:?}, {after:?}");
    // Less than 16 bytes for each of 100,000 rounds: the allocator's own moods.
    assert!(after.resident <= before.resident + (1 << 20), "resident: {before:?}, {after:?}");
    assert!(after.virtual_ <= before.virtual_ + (64 << 20), "virtual: {before:?}, {after:?}");
}

const GUEST: &str = r#"(module
    (import "" "host" (func $host))
    (memory (export "memory") 2) (data (i32.const 10) "some") (data (i32.const 70000) "data")
    (table 10 funcref) (elem (i32.const 1) $add) (global $g (mut i32) (i32.const 5))
    (func $add (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
    (func (export "run") (param i32) (result i32)
        i32.const 200 i32.const 7 i32.const 5000 memory.fill
        i32.const 0 memory.grow drop call $host
        local.get 0 i32.const 3 i32.const 1 call_indirect (param i32 i32) (result i32)))"#;

#[test]
fn instances_come_and_go() {
    alone::run("soak::instances_come_and_go_alone");
}

#[test]
#[ignore = "run by `instances_come_and_go`"]
fn instances_come_and_go_alone() {
    come_and_go(&engine(|config| {
        config.consume_fuel(true);
    }));
}

#[test]
fn pooled_instances_come_and_go() {
    alone::run("soak::pooled_instances_come_and_go_alone");
}

#[test]
#[ignore = "run by `pooled_instances_come_and_go`"]
fn pooled_instances_come_and_go_alone() {
    come_and_go(&engine(|config| {
        config.consume_fuel(true).allocation_strategy(InstanceAllocationStrategy::Pooling {
            strategy: PoolingAllocationStrategy::Random,
            module_limits: ModuleLimits::default(),
            instance_limits: InstanceLimits { count: 16 },
        });
    }));
}

/// A hundred thousand instances, each with a store of its own.
fn come_and_go(engine: &Engine) {
    let module = Module::new(engine, GUEST).unwrap();
    let mut linker = Linker::<Vec<u8>>::new(engine);
    linker
        .func_wrap("", "host", |mut caller: Caller<'_, Vec<u8>>| caller.data_mut().push(1))
        .unwrap();
    check(rounds(100_000), |round| {
        let mut store = Store::new(engine, Vec::with_capacity(100));
        store.add_fuel(10_000).unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let run = instance.get_typed_func::<i32, i32, _>(&mut store, "run").unwrap();
        assert_eq!(run.call(&mut store, round as i32).unwrap(), round as i32 + 3);
        assert_eq!(store.into_data(), [1]);
    });
}

#[test]
fn instances_with_images_come_and_go() {
    alone::run("soak::instances_with_images_come_and_go_alone");
}

#[test]
#[ignore = "run by `instances_with_images_come_and_go`"]
fn instances_with_images_come_and_go_alone() {
    let text = format!(
        r#"(module (memory (export "memory") 2) (data (i32.const 5) "{}")
            (func (export "run") i32.const 70000 i32.const 1 i32.store))"#,
        "x".repeat(100_000)
    );
    let pooled = engine(|config| {
        config.allocation_strategy(InstanceAllocationStrategy::pooling());
    });
    let modules = [Engine::default(), pooled].map(|engine| Module::new(&engine, &text).unwrap());
    check(rounds(10_000), |round| {
        // Now and then a module is new, with an image of its own.
        let module = &modules[round % 2];
        let module = match round % 500 {
            0 => &Module::new(module.engine(), &text).unwrap(),
            _ => module,
        };
        let mut store = Store::new(module.engine(), ());
        let instance = Instance::new(&mut store, module, &[]).unwrap();
        let run = instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
        run.call(&mut store, ()).unwrap();
    });
}

#[test]
fn async_instances_come_and_go() {
    alone::run("soak::async_instances_come_and_go_alone");
}

#[test]
#[ignore = "run by `async_instances_come_and_go`"]
fn async_instances_come_and_go_alone() {
    let engine = async_metered();
    let module = Module::new(&engine, GUEST).unwrap();
    let mut linker = Linker::<Vec<u8>>::new(&engine);
    linker
        .func_wrap0_async("", "host", |_: Caller<'_, Vec<u8>>| {
            Box::new(async {
                let _held = String::from("something on the heap");
                pend(2).await;
            })
        })
        .unwrap();
    check(rounds(30_000), |round| {
        let mut store = Store::new(&engine, vec![0; 100]);
        store.out_of_fuel_async_yield(100, 50);
        let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
        let run = instance.get_typed_func::<i32, i32, _>(&mut store, "run").unwrap();
        // Every second call is dropped, at one suspension or another.
        let mut call = Box::pin(run.call_async(&mut store, round as i32));
        let polls = if round % 2 == 0 { usize::MAX } else { round / 2 % 4 };
        let ended = (0..polls).any(|_| poll(call.as_mut()).is_ready());
        assert_eq!(ended, polls > 4, "{polls} polls");
    });
}

#[test]
fn stacks_overflow_again_and_again() {
    alone::run("soak::stacks_overflow_again_and_again_alone");
}

#[test]
#[ignore = "run by `stacks_overflow_again_and_again`"]
fn stacks_overflow_again_and_again_alone() {
    let engine = engine(|config| {
        config.max_wasm_stack(16 << 10).unwrap();
    });
    let (mut store, instance) = instantiate(
        &engine,
        r#"(module (func $f (export "run") (param i32) (result i32) local.get 0 call $f i32.const 1 i32.add)
            (func (export "one") (result i32) i32.const 1))"#,
    );
    let run = instance.get_typed_func::<i32, i32, _>(&mut store, "run").unwrap();
    let one = instance.get_typed_func::<(), i32, _>(&mut store, "one").unwrap();
    check(rounds(100_000), |_| {
        let trap = run.call(&mut store, 0).unwrap_err();
        assert_eq!(trap.trap_code(), Some(TrapCode::StackOverflow));
    });
    assert_eq!(one.call(&mut store, ()).unwrap(), 1);
}

#[test]
fn the_matrix_gives_all_back() {
    alone::run("soak::the_matrix_gives_all_back_alone");
}

#[test]
#[ignore = "run by `the_matrix_gives_all_back`"]
fn the_matrix_gives_all_back_alone() {
    std::panic::set_hook(Box::new(|_| {}));
    let maker = matrix::Maker::new();
    let ends = matrix::ends();
    // Rounds that are a multiple of the matrix's size cover each field as often as any other.
    let fields = EVENTS.len() * ends.len();
    check(rounds(1000).next_multiple_of(fields), |round| {
        let (event, end) = (EVENTS[round % EVENTS.len()], ends[round / EVENTS.len() % ends.len()]);
        matrix::field(&maker, event, end, PLACES[if round % 10 == 0 { 2 } else { 0 }]);
    });
}

#[test]
fn traps_and_failures_give_all_back() {
    alone::run("soak::traps_and_failures_give_all_back_alone");
}

#[test]
#[ignore = "run by `traps_and_failures_give_all_back`"]
fn traps_and_failures_give_all_back_alone() {
    std::panic::set_hook(Box::new(|_| {}));
    let engine = Engine::default();
    let guests = [
        r#"(module (func $host (import "" "host")) (func (export "run") unreachable))"#,
        r#"(module (func $host (import "" "host")) (memory 1)
            (func (export "run") i32.const -1 i32.load drop))"#,
        r#"(module (func $host (import "" "host")) (func (export "run") call $host))"#,
        r#"(module (func $host (import "" "host")) (memory 1) (data (i32.const 65536) "x"))"#,
        r#"(module (func $host (import "" "host")) (table 1 funcref) (elem (i32.const 1) $host))"#,
        r#"(module (func $host (import "" "host")) (memory 1) (start $host))"#,
        r#"(module (func $host (import "" "other")) (memory 1))"#,
    ];
    let modules = guests.map(|wat| Module::new(&engine, wat).unwrap());
    check(rounds(20_000), |round| {
        let mut store = Store::new(&engine, ());
        let host = Func::wrap(&mut store, move || -> Result<(), Trap> {
            assert!(!round.is_multiple_of(5), "every fifth time the host panics");
            Err(anyhow::anyhow!("else it fails").into())
        });
        let module = &modules[round % modules.len()];
        let run = std::panic::AssertUnwindSafe(|| {
            let instance = Instance::new(&mut store, module, &[host.into()])?;
            let run = instance.get_typed_func::<(), (), _>(&mut store, "run")?;
            anyhow::Ok(run.call(&mut store, ())?)
        });
        assert!(!matches!(std::panic::catch_unwind(run), Ok(Ok(()))));
    });
}

#[test]
fn artifacts_come_and_go() {
    alone::run("soak::artifacts_come_and_go_alone");
}

#[test]
#[ignore = "run by `artifacts_come_and_go`"]
fn artifacts_come_and_go_alone() {
    let engine = Engine::default();
    let artifact = engine.precompile_module(GUEST.as_bytes()).unwrap();
    let (_directory, path) = directory();
    let file = path.join("artifact");
    std::fs::write(&file, &artifact).unwrap();
    check(rounds(2_000), |round| {
        // SAFETY: our own artifact, which nobody changes.
        let modules = unsafe {
            let mapped = Module::deserialize_file(&engine, &file).unwrap();
            [mapped, Module::deserialize(&engine, &artifact).unwrap()]
        };
        let mut store = Store::new(&engine, ());
        let host = Func::wrap(&mut store, || {});
        for module in modules {
            let instance = Instance::new(&mut store, &module, &[host.into()]).unwrap();
            let run = instance.get_typed_func::<i32, i32, _>(&mut store, "run").unwrap();
            assert_eq!(run.call(&mut store, round as i32).unwrap(), round as i32 + 3);
        }
    });
}

#[test]
fn modules_and_engines_come_and_go() {
    alone::run("soak::modules_and_engines_come_and_go_alone");
}

#[test]
#[ignore = "run by `modules_and_engines_come_and_go`"]
fn modules_and_engines_come_and_go_alone() {
    let shared = Engine::default();
    check(rounds(400), |round| {
        let own = if round % 4 == 0 { asynchronous() } else { shared.clone() };
        let module = Module::new(&own, GUEST).unwrap();
        assert_eq!(module.imports().len(), 1);
        assert!(Module::new(&own, "(module (func i32.add))").is_err());
    });
}

/// Runs a guest that passes references on, whose host may have no more than `most` values alive, and
/// answers how many there were.
fn pass_references(engine: &Engine, is_async: bool, calls: usize, most: usize) -> usize {
    let mut linker = Linker::<Census>::new(engine);
    linker
        .func_wrap("", "make", move |caller: Caller<'_, Census>| {
            let alive = caller.data().alive();
            assert!(alive <= most, "{alive} values are alive");
            Some(ExternRef::new(caller.data().token()))
        })
        .unwrap()
        .func_wrap("", "take", |value: Option<ExternRef>| value)
        .unwrap();
    let mut store = Store::new(engine, Census::default());
    if is_async {
        store.add_fuel(u64::MAX).unwrap();
        store.fuel_async_yield_interval(Some(10_000)).unwrap();
    }
    let module = Module::new(engine, REFERENCES).unwrap();
    let instance = block_on(async {
        if is_async {
            linker.instantiate_async(&mut store, &module).await.unwrap()
        } else {
            linker.instantiate(&mut store, &module).unwrap()
        }
    });
    let run: TypedFunc<i32, ()> = instance.get_typed_func(&mut store, "run").unwrap();
    check(calls / 1000, |_| {
        if is_async {
            block_on(run.call_async(&mut store, 500)).unwrap();
        } else {
            run.call(&mut store, 500).unwrap();
        }
    });
    store.gc();
    let census = store.data().clone();
    assert_eq!(census.alive(), 101, "what is in the table and the global");
    drop(store);
    assert_eq!(census.alive(), 0);
    census.made()
}

const REFERENCES: &str = r#"(module
    (func $make (import "" "make") (result externref))
    (func $take (import "" "take") (param externref) (result externref))
    (table $t 100 externref) (global $g (mut externref) (ref.null extern)) (global $at (mut i32) (i32.const 0))
    (func (export "run") (param i32) (local externref)
        (loop
            (local.set 1 (call $take (call $make)))
            (table.set $t (global.get $at) (local.get 1))
            (global.set $at (i32.rem_u (i32.add (global.get $at) (i32.const 1)) (i32.const 100)))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (global.set $g (call $make))))"#;

#[test]
fn references_come_and_go() {
    alone::run("soak::references_come_and_go_alone");
}

#[test]
#[ignore = "run by `references_come_and_go`"]
fn references_come_and_go_alone() {
    // Each call of the guest calls the host 1,001 times.
    let calls = rounds(1_200_000);
    for (engine, is_async) in [(Engine::default(), false), (async_metered(), true)] {
        let made = pass_references(&engine, is_async, calls, 256);
        assert!(made >= calls / 2, "{made} values");
    }
}
