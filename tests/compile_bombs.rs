//! Modules that are made to cost the compiler: time and stack stay within bounds.

use std::time::{Duration, Instant};

use lampwick::{Caller, Engine, Func, Instance, Module, Store, Trap, TrapCode, Val};

use crate::support::{asynchronous, block_on, engine, instantiate, metered, pend};

/// Compiles a function with this body, in far less time than it would take if that grew with a
/// power of its size.
fn compiles_soon(name: &str, body: &str) {
    for metered in [false, true] {
        // Cranelift's checks of its own code are not what is measured.
        let engine = engine(|config| {
            config.consume_fuel(metered).cranelift_debug_verifier(false);
        });
        let wasm = wat::parse_str(format!(
            "(module (func $make (import \"\" \"make\") (result externref)) (memory 1) (func $f)
                (func $use (param externref)) (func (export \"run\") (param i32) (local i32) {body}))"
        ));
        let start = Instant::now();
        let result = Module::from_binary(&engine, &wasm.unwrap());
        let took = start.elapsed();
        if let Err(error) = &result {
            let text = format!("{error:#}");
            assert!(!text.contains("internal error"), "{name}: {text}");
        }
        assert!(took < Duration::from_secs(20), "{name}, metered: {metered}: {took:?}");
    }
}

#[test]
fn nests_of_loops_compile() {
    // A thousand nested loops took 1.2 s, and each doubling eight times as long.
    let depth = 3000;
    compiles_soon(
        "loops",
        &format!("{}{}", "loop ".repeat(depth), "local.get 0 br_if 0 end ".repeat(depth)),
    );
    let head = "loop local.get 1 i32.const 1 i32.add local.set 1 ".repeat(depth);
    compiles_soon(
        "loops with a local",
        &format!("{head}{}", "local.get 0 br_if 0 end ".repeat(depth)),
    );
}

#[test]
fn nests_of_blocks_compile() {
    let depth = 20_000;
    compiles_soon(
        "blocks",
        &format!("{}{}", "block ".repeat(depth), "local.get 0 i32.load drop end ".repeat(depth)),
    );
    let ifs = "local.get 0 if ".repeat(1000);
    compiles_soon("ifs", &format!("{ifs}{}", "end ".repeat(1000)));
    let targets: String = (0..depth).map(|label| format!("{label} ")).collect();
    let nest = "block ".repeat(depth);
    compiles_soon(
        "br_table",
        &format!("{nest} local.get 0 br_table {targets} {}", "end ".repeat(depth)),
    );
}

#[test]
fn long_functions_compile() {
    compiles_soon("a chain", &"local.get 0 br_if 0 local.get 0 i32.load drop ".repeat(3000));
    compiles_soon("calls", &"call $f local.get 0 i32.load drop ".repeat(3000));
    compiles_soon(
        "constants",
        &format!("{}{}", "i32.const 1 ".repeat(20_000), "drop ".repeat(20_000)),
    );
    compiles_soon("a sum", &format!("i32.const 1 {} drop", "local.get 0 i32.add ".repeat(20_000)));
}

#[test]
fn long_functions_of_vectors_compile() {
    let distinct = |make: &dyn Fn(usize) -> String, count| (0..count).map(make).collect::<String>();
    let constant = |n| format!("local.get 0 v128.const i32x4 {n} {n} 7 9 v128.store ");
    compiles_soon("constants of vectors", &distinct(&constant, 20_000));
    let shuffle = |n: usize| {
        let lanes: String = (0..16).map(|lane| format!("{} ", (n >> lane) * 7 % 32)).collect();
        format!(
            "local.get 0 local.get 0 v128.load local.get 0 v128.load i8x16.shuffle {lanes} v128.store "
        )
    };
    compiles_soon("shuffles", &distinct(&shuffle, 5_000));
    let chain = "local.get 0 i8x16.shr_s i8x16.popcnt i32x4.trunc_sat_f64x2_u_zero i64x2.abs ";
    compiles_soon(
        "a chain of vectors",
        &format!("local.get 0 local.get 0 v128.load {} v128.store", chain.repeat(5_000)),
    );
    // Each stays alive until the end.
    let stack = "local.get 0 v128.load ".repeat(5_000);
    compiles_soon(
        "vectors on the stack",
        &format!("local.get 0 {stack} {} v128.store", "i8x16.add ".repeat(4_999)),
    );
    let locals = "v128 ".repeat(2_000);
    let sets = |n: usize| format!("local.get 0 v128.load local.set {} local.get 0 br_if 0 ", 2 + n);
    compiles_soon("locals of vectors", &format!("(local {locals}) {}", distinct(&sets, 2_000)));
}

#[test]
fn functions_with_many_references_compile() {
    compiles_soon("a chain of references", &"call $make call $f call $use ".repeat(5_000));
    let stack = format!("{}{}", "call $make ".repeat(1000), "call $use ".repeat(1000));
    compiles_soon("references on the stack", &stack);
    for (name, refs, depth) in [("few", 1, 1500), ("some", 100, 300), ("many", 1000, 100)] {
        let locals = "externref ".repeat(refs);
        let (mut sets, mut uses) = (String::new(), String::new());
        for local in 2..refs + 2 {
            sets += &format!("call $make local.set {local} ");
            uses += &format!("local.get {local} call $use ");
        }
        let heads = "loop call $make call $use ".repeat(depth);
        let ends = "call $f local.get 0 br_if 0 end ".repeat(depth);
        let ifs = "local.get 0 if call $f end ".repeat(3 * depth);
        let nest = format!("(local {locals}) {sets} {heads} {ends} {uses}");
        compiles_soon(&format!("{name} references over loops"), &nest);
        let flat = format!("(local {locals}) {sets} {ifs} {uses}");
        compiles_soon(&format!("{name} references over branches"), &flat);
    }
}

#[test]
fn a_function_too_large_to_optimize_runs_on_the_same_fuel() {
    let count = 30_000;
    let part = "local.get 0 if local.get 1 i32.const 3 i32.add local.set 1 end ".repeat(count);
    let text = format!(
        "(module (func (export \"run\") (param i32) (result i32) (local i32) {part} local.get 1))"
    );
    // Every value has a place of its own on the stack.
    let engine = engine(|config| {
        config.consume_fuel(true).cranelift_debug_verifier(false);
        config.max_wasm_stack(32 << 20).unwrap().async_stack_size(64 << 20).unwrap();
    });
    let start = Instant::now();
    let (mut store, instance) = instantiate(&engine, &text);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    store.add_fuel(u64::MAX).unwrap();
    let run = instance.get_typed_func::<i32, i32, _>(&mut store, "run").unwrap();
    assert_eq!(run.call(&mut store, 1).unwrap(), 3 * count as i32);
    assert_eq!(store.fuel_consumed(), Some(2 + 6 * count as u64));
    assert_eq!(run.call(&mut store, 0).unwrap(), 0);
    assert_eq!(store.fuel_consumed(), Some(4 + 8 * count as u64));
}

/// A module of `count` functions, each of them called by another one, named, and mostly of `nop`s.
fn many_functions(count: usize, nops: usize) -> Vec<u8> {
    let nops = "nop ".repeat(nops);
    let functions: String = (0..count)
        .map(|index| {
            let callee = (index + count / 2) % count;
            format!("(func $f{index} (export \"{index}\") call $f{callee} {nops})")
        })
        .collect();
    wat::parse_str(format!("(module (memory 1) {functions})")).unwrap()
}

/// What this thread takes to compile a module by itself, in seconds.
fn compile_time(wasm: &[u8]) -> f64 {
    let engine = engine(|config| {
        config.parallel_compilation(false).cranelift_debug_verifier(false);
        config.cranelift_opt_level(lampwick::OptLevel::None);
    });
    let now = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let start = now();
    Module::from_binary(&engine, wasm).unwrap();
    now() - start
}

#[test]
fn time_grows_with_the_number_of_functions() {
    let small = many_functions(1_000, 480);
    let large = many_functions(20_000, 480);
    assert!(large.len() > 10_000_000, "{}", large.len());
    let ratio = compile_time(&large) / compile_time(&small);
    // A step that looks at all pairs of functions would make it 400.
    assert!(ratio < 60.0, "20 times the functions took {ratio} times as long");
}

#[test]
fn text_cannot_nest_without_end() {
    let engine = Engine::default();
    for wat in [
        "(".repeat(100_000),
        format!("(module (func {}", "(block ".repeat(100_000)),
        format!("(;{}", "(;".repeat(100_000)),
    ] {
        assert!(Module::new(&engine, wat).is_err());
    }
}

/// A function type with as many parameters and results as can be.
#[test]
fn a_thousand_parameters_and_results() {
    for engine in [Engine::default(), metered()] {
        let list = "i64 ".repeat(1000);
        let gets: String = (0..1000).rev().map(|index| format!("local.get {index} ")).collect();
        let wat = format!(
            r#"(module (type $t (func (param {list}) (result {list}))) (import "" "host" (func $host (type $t)))
                (func $reverse (export "reverse") (type $t) {gets})
                (func (export "twice") (type $t) {gets} call $host {gets} call $reverse unreachable)
                (func (export "host") (type $t) {gets} call $host)
                (func $forever (export "forever") (type $t) {gets} call $forever))"#
        );
        let module = Module::new(&engine, wat).unwrap();
        let mut store = Store::new(&engine, ());
        let _ = store.add_fuel(1_000_000_000);
        let ty = module.imports().next().unwrap().ty().unwrap_func().clone();
        let host = Func::new(&mut store, ty, |_, params, results| {
            results.clone_from_slice(params);
            Ok(())
        });
        let instance = Instance::new(&mut store, &module, &[host.into()]).unwrap();
        let args: Vec<_> = (0..1000).map(Val::I64).collect();
        for name in ["reverse", "host"] {
            let run = instance.get_func(&mut store, name).unwrap();
            let results = run.call(&mut store, &args).unwrap();
            let reversed = results
                .iter()
                .rev()
                .enumerate()
                .all(|(index, value)| value.unwrap_i64() == index as i64);
            assert!(reversed, "{name}");
        }
        for (name, code) in
            [("forever", TrapCode::StackOverflow), ("twice", TrapCode::UnreachableCodeReached)]
        {
            let run = instance.get_func(&mut store, name).unwrap();
            let trap = crate::support::trap(run.call(&mut store, &args).unwrap_err());
            assert_eq!(trap.trap_code(), Some(code), "{name}");
        }
        let text = Module::new(&engine, format!("(module (func (param {list} i32)))")).unwrap_err();
        assert!(format!("{text:#}").contains("offset"), "{text:#}");
    }
}

/// Uses this much of the stack, visibly.
#[inline(never)]
fn use_stack<const BYTES: usize>() -> u8 {
    let mut bytes = [0_u8; BYTES];
    std::hint::black_box(&mut bytes)[BYTES / 2] = 1;
    bytes[BYTES / 2]
}

#[test]
fn the_host_finds_its_reserve_at_any_depth() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, 0);
    let host = Func::wrap(&mut store, |mut caller: Caller<'_, i32>| {
        *caller.data_mut() += i32::from(use_stack::<{ 1 << 20 }>());
    });
    let module = r#"(module (import "" "" (func $host)) (memory 1)
        (func $f (export "run") call $host
            i32.const 0 i32.const 1 i32.const 100 memory.fill call $f))"#;
    let module = Module::new(&engine, module).unwrap();
    let instance = Instance::new(&mut store, &module, &[host.into()]).unwrap();
    let run = instance.get_func(&mut store, "run").unwrap();
    let trap = crate::support::trap(run.call(&mut store, &[]).unwrap_err());
    assert_eq!(trap.trap_code(), Some(TrapCode::StackOverflow));
    assert!(*store.data() > 1000, "{}", store.data());
}

#[test]
fn modules_are_compiled_inside_of_host_functions() {
    let compile = |engine: &Engine| {
        Module::new(
            engine,
            r#"(module (func (export "five") (result i32) i32.const 2 i32.const 3 i32.add))"#,
        )
        .unwrap()
    };
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let host = Func::wrap(&mut store, move |mut caller: Caller<'_, ()>| -> Result<i32, Trap> {
        let module = compile(caller.engine());
        let instance = Instance::new(&mut caller, &module, &[])?;
        instance.get_typed_func::<(), i32, _>(&mut caller, "five")?.call(&mut caller, ())
    });
    assert_eq!(host.call(&mut store, &[]).unwrap()[0].unwrap_i32(), 5);

    let engine = asynchronous();
    let mut store = Store::new(&engine, ());
    let host = Func::wrap0_async(&mut store, move |mut caller: Caller<'_, ()>| {
        Box::new(async move {
            pend(1).await;
            let module = compile(caller.engine());
            let instance = Instance::new_async(&mut caller, &module, &[]).await?;
            let five = instance.get_typed_func::<(), i32, _>(&mut caller, "five")?;
            five.call_async(&mut caller, ()).await
        })
    });
    assert_eq!(block_on(host.call_async(&mut store, &[])).unwrap()[0].unwrap_i32(), 5);
}

#[test]
fn many_threads_share_an_engine() {
    let engine = metered();
    let wat = r#"(module (memory 1) (func (export "run") (param i32) (result i32)
        i32.const 8 local.get 0 i32.store i32.const 8 i32.load))"#;
    let shared = Module::new(&engine, wat).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (engine, shared) = (&engine, &shared);
            scope.spawn(move || {
                for round in 0..50 {
                    // Types that no other thread has seen yet, and some that all see at once.
                    let params = "i64 ".repeat((round % 10) as usize);
                    let own = format!("(module (func (export \"f\") (param {params})))");
                    let (mut other, instance) = instantiate(engine, &own);
                    assert!(instance.get_func(&mut other, "f").is_some());
                    let mut store = Store::new(engine, ());
                    store.add_fuel(100).unwrap();
                    let instance = Instance::new(&mut store, shared, &[]).unwrap();
                    let run = instance.get_typed_func::<i32, i32, _>(&mut store, "run").unwrap();
                    let value = thread * 1000 + round;
                    assert_eq!(run.call(&mut store, value).unwrap(), value);
                }
            });
        }
    });
}
