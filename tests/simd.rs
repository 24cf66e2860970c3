//! Vectors wherever a value can be: between host and wasm, in globals, over calls and yields.

use std::pin::pin;
use std::task::Poll;

use lampwick::{
    Caller, Config, Engine, Func, FuncType, Global, GlobalType, Instance, Linker, Module,
    Mutability, OptLevel, Store, Val, ValType,
};

use crate::support::{
    Change, Rng, async_metered, block_on, count_pending, engine, instantiate, instantiate_async,
    pend, poll,
};

/// A vector whose bytes all differ, and differ between numbers.
fn vector(number: u64) -> u128 {
    let mut rng = Rng::seeded(number);
    u128::from(rng.next()) << 64 | u128::from(rng.next())
}

const CHANGES: [Change; 5] = [
    |_| {},
    |config| {
        config.consume_fuel(true).interruptable(true);
    },
    |config| {
        config.cranelift_opt_level(OptLevel::None);
    },
    |config| {
        config.consume_fuel(true).static_memory_maximum_size(0);
    },
    // Without AVX places in memory must be aligned.
    without_avx,
];

fn without_avx(config: &mut Config) {
    for feature in ["has_avx", "has_avx2", "has_fma", "has_avx512f", "has_avx512vl"] {
        // SAFETY: a machine can always do without.
        unsafe { config.cranelift_flag_set(feature, "false") }.unwrap();
    }
}

fn engines() -> impl Iterator<Item = Engine> {
    CHANGES.into_iter().map(engine)
}

#[test]
fn vectors_are_parameters_and_results() {
    // More of them than registers, between values of other types.
    let types = "i32 v128 f32 v128 i64 ".repeat(8);
    let wat = format!(
        r#"(module (type $t (func (param {types}) (result {types})))
            (table 1 funcref) (elem (i32.const 0) $same)
            (func $same (type $t) {gets})
            (func (export "direct") (type $t) {gets} call $same)
            (func (export "indirect") (type $t) {gets} i32.const 0 call_indirect (type $t)))"#,
        gets = (0..40).map(|local| format!("local.get {local} ")).collect::<String>(),
    );
    let args: Vec<Val> = (0..40)
        .map(|number| match number % 5 {
            0 => Val::I32(number as i32),
            1 | 3 => Val::V128(vector(number)),
            2 => Val::F32(number as u32),
            _ => Val::I64(-(number as i64)),
        })
        .collect();
    for engine in engines() {
        let (mut store, instance) = instantiate(&engine, &wat);
        let _ = store.add_fuel(1_000_000);
        for name in ["direct", "indirect"] {
            let function = instance.get_func(&mut store, name).unwrap();
            let results = function.call(&mut store, &args).unwrap();
            assert_eq!(format!("{results:?}"), format!("{args:?}"), "{name}");
        }
    }
}

#[test]
fn a_function_takes_and_gives_a_thousand_vectors() {
    const COUNT: u64 = 1000;
    let types = "v128 ".repeat(COUNT as usize);
    let gets: String = (0..COUNT).rev().map(|local| format!("local.get {local} ")).collect();
    let wat = format!(
        r#"(module (type $t (func (param {types}) (result {types})))
            (import "" "host" (func $host (type $t)))
            (func $turn (type $t) {gets})
            (func (export "run") (type $t) {gets} call $turn call $host call $turn))"#
    );
    let args: Vec<Val> = (0..COUNT).map(|number| Val::V128(vector(number))).collect();
    for engine in engines() {
        let mut store = Store::new(&engine, ());
        let _ = store.add_fuel(100_000);
        let ty = FuncType::new(vec![ValType::V128; 1000], vec![ValType::V128; 1000]);
        let host = Func::new(&mut store, ty, |_, args, results| {
            results.clone_from_slice(args);
            Ok(())
        });
        let module = Module::new(&engine, &wat).unwrap();
        let instance = Instance::new(&mut store, &module, &[host.into()]).unwrap();
        let run = instance.get_func(&mut store, "run").unwrap();
        let results = run.call(&mut store, &args).unwrap();
        let turned = results.iter().rev().map(Val::unwrap_v128);
        assert!(turned.eq(args.iter().map(Val::unwrap_v128)));
    }
}

#[test]
fn hosts_take_and_give_vectors() {
    let wat = r#"(module
        (import "" "typed" (func $typed (param i32 v128 v128) (result v128)))
        (import "" "untyped" (func $untyped (param v128) (result v128 i32)))
        (func (export "typed") (param v128 v128) (result v128)
            i32.const 7 local.get 0 local.get 1 call $typed)
        (func (export "untyped") (param v128) (result v128 i32) local.get 0 call $untyped))"#;
    for engine in engines() {
        let mut linker = Linker::<u128>::new(&engine);
        linker
            .func_wrap("", "typed", |mut caller: Caller<'_, u128>, a: i32, b: u128, c: u128| {
                *caller.data_mut() ^= b;
                b.rotate_left(a as u32) ^ c
            })
            .unwrap();
        let ty = FuncType::new([ValType::V128], [ValType::V128, ValType::I32]);
        linker
            .func_new("", "untyped", ty, |_, args, results| {
                results[0] = Val::V128(!args[0].unwrap_v128());
                results[1] = Val::I32(5);
                Ok(())
            })
            .unwrap();
        let mut store = Store::new(&engine, 0);
        let _ = store.add_fuel(10_000);
        let module = Module::new(&engine, wat).unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let typed = instance.get_typed_func::<(u128, u128), u128, _>(&mut store, "typed").unwrap();
        let untyped =
            instance.get_typed_func::<u128, (u128, i32), _>(&mut store, "untyped").unwrap();
        let (a, b) = (vector(1), vector(2));
        assert_eq!(typed.call(&mut store, (a, b)).unwrap(), a.rotate_left(7) ^ b);
        assert_eq!(untyped.call(&mut store, a).unwrap(), (!a, 5));
        assert_eq!(*store.data(), a);
        assert!(instance.get_typed_func::<u64, (u128, i32), _>(&mut store, "untyped").is_err());
        let wrong = instance.get_func(&mut store, "untyped").unwrap();
        let error = wrong.call(&mut store, &[Val::I64(1)]).unwrap_err();
        assert!(
            format!("{error:#}").contains("expected a value of type v128, found i64"),
            "{error:#}"
        );
    }
}

#[test]
fn functions_of_the_host_are_called_with_vectors() {
    let mut store = Store::<()>::default();
    let swap = Func::wrap(&mut store, |a: u128, b: u128| (b, a));
    let results = swap.call(&mut store, &[vector(1).into(), vector(2).into()]).unwrap();
    assert_eq!([results[0].unwrap_v128(), results[1].unwrap_v128()], [vector(2), vector(1)]);
    let swap = swap.typed::<(u128, u128), (u128, u128), _>(&store).unwrap();
    assert_eq!(swap.call(&mut store, (vector(3), vector(4))).unwrap(), (vector(4), vector(3)));
}

#[test]
fn globals_hold_vectors() {
    let wat = r#"(module
        (import "" "const" (global $const v128))
        (import "" "var" (global $var (mut v128)))
        (global $flag i32 (i32.const 1))
        (global $own (export "own") (mut v128) (v128.const i32x4 1 2 3 4))
        (global $copy (export "copy") v128 (global.get $const))
        (func (export "sum") (result v128)
            (i64x2.add (i64x2.add (global.get $const) (global.get $var))
                (i64x2.add (global.get $own) (global.get $copy))))
        (func (export "move") (global.set $var (global.get $own)) (global.set $own (global.get $const))))"#;
    let add = |a: u128, b: u128| {
        let low = (a as u64).wrapping_add(b as u64);
        let high = ((a >> 64) as u64).wrapping_add((b >> 64) as u64);
        u128::from(high) << 64 | u128::from(low)
    };
    let own = 0x0000_0004_0000_0003_0000_0002_0000_0001;
    for engine in engines() {
        let mut store = Store::new(&engine, ());
        let _ = store.add_fuel(10_000);
        let global = |store: &mut Store<()>, mutability, value: u128| {
            Global::new(store, GlobalType::new(ValType::V128, mutability), value.into()).unwrap()
        };
        let constant = global(&mut store, Mutability::Const, vector(5));
        let var = global(&mut store, Mutability::Var, vector(6));
        let module = Module::new(&engine, wat).unwrap();
        let instance = Instance::new(&mut store, &module, &[constant.into(), var.into()]).unwrap();
        let sum = instance.get_typed_func::<(), u128, _>(&mut store, "sum").unwrap();
        let expected = add(add(vector(5), vector(6)), add(own, vector(5)));
        assert_eq!(sum.call(&mut store, ()).unwrap(), expected);
        let run = instance.get_typed_func::<(), (), _>(&mut store, "move").unwrap();
        run.call(&mut store, ()).unwrap();
        let mut get = |name| {
            let global = instance.get_global(&mut store, name).unwrap();
            global.get(&mut store).unwrap_v128()
        };
        assert_eq!([get("own"), get("copy")], [vector(5), vector(5)]);
        assert_eq!(var.get(&mut store).unwrap_v128(), own);
        assert!(var.set(&mut store, Val::I64(0)).is_err());
        var.set(&mut store, Val::V128(vector(7))).unwrap();
        let sum = sum.call(&mut store, ()).unwrap();
        assert_eq!(sum, add(add(vector(5), vector(7)), add(vector(5), vector(5))));
    }
}

/// Keeps sixteen vectors alive over loops, calls of functions and of the host; answers their sums.
fn keeper(count: usize) -> String {
    let locals = "v128 ".repeat(count);
    let fill: String = (1..=count)
        .map(|local| format!("(local.set {local} (i32x4.splat (i32.const {})))", 1000 * local))
        .collect();
    let add: String = (1..=count)
        .map(|local| {
            format!(
                "(local.set {local} (i32x4.add (local.get {local}) (i32x4.splat (local.get 0))))"
            )
        })
        .collect();
    let sum = "i32x4.add ".repeat(count - 1);
    let gets: String = (1..=count).map(|local| format!("local.get {local} ")).collect();
    format!(
        r#"(module (import "" "wait" (func $wait (param v128) (result v128)))
            (func $leaf (param v128) (result v128) (i32x4.add (local.get 0) (v128.const i32x4 1 1 1 1)))
            (func (export "run") (param i32) (result v128) (local {locals})
                {fill}
                loop
                    {add}
                    (local.set 1 (call $leaf (local.get 1)))
                    (local.set 2 (call $wait (local.get 2)))
                    (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))
                end
                {gets} {sum}))"#
    )
}

#[test]
fn vectors_survive_yields_and_waits() {
    for engine in [
        async_metered(),
        engine(|config| without_avx(config.async_support(true).consume_fuel(true))),
    ] {
        check_yields_and_waits(&engine);
    }
}

fn check_yields_and_waits(engine: &Engine) {
    const ROUNDS: u32 = 20;
    let mut linker = Linker::<()>::new(engine);
    linker
        .func_wrap1_async("", "wait", |_: Caller<'_, ()>, value: u128| {
            Box::new(async move {
                pend((value % 3) as u32).await;
                value
            })
        })
        .unwrap();
    // As many as there are registers, and more than that.
    for count in [2, 16, 40] {
        let module = Module::new(engine, keeper(count)).unwrap();
        let each = 1000 * (count * (count + 1) / 2) as u32;
        let lane = each + count as u32 * (1..=ROUNDS).sum::<u32>() + ROUNDS;
        let expected = (0..4).fold(0_u128, |vector, _| vector << 32 | u128::from(lane));
        for slice in [1, 10, 1000] {
            let mut store = Store::new(engine, ());
            store.out_of_fuel_async_yield(u64::MAX, slice);
            let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
            let run = instance.get_typed_func::<u32, u128, _>(&mut store, "run").unwrap();
            let (pending, result) = count_pending(run.call_async(&mut store, ROUNDS));
            assert_eq!(result.unwrap(), expected, "{count} vectors, slices of {slice}");
            assert!(pending > 0);
        }
    }
}

/// Fills all vector registers with ones, as any code of the host may.
fn disturb() {
    // SAFETY: the registers are declared.
    unsafe {
        std::arch::asm!(
            "pcmpeqd xmm0, xmm0", "pcmpeqd xmm1, xmm1", "pcmpeqd xmm2, xmm2", "pcmpeqd xmm3, xmm3",
            "pcmpeqd xmm4, xmm4", "pcmpeqd xmm5, xmm5", "pcmpeqd xmm6, xmm6", "pcmpeqd xmm7, xmm7",
            "pcmpeqd xmm8, xmm8", "pcmpeqd xmm9, xmm9", "pcmpeqd xmm10, xmm10",
            "pcmpeqd xmm11, xmm11", "pcmpeqd xmm12, xmm12", "pcmpeqd xmm13, xmm13",
            "pcmpeqd xmm14, xmm14", "pcmpeqd xmm15, xmm15",
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
        );
    }
}

#[test]
fn vectors_in_registers_survive_checks() {
    // Nothing but vectors in the loop, so that they stay in registers.
    let count = 12;
    let locals = "v128 ".repeat(count);
    let add: String = (1..=count)
        .map(|local| {
            let next = local % count + 1;
            format!("(local.set {local} (i64x2.add (local.get {local}) (local.get {next})))")
        })
        .collect();
    let gets: String = (1..=count).map(|local| format!("local.get {local} ")).collect();
    let xor = "v128.xor ".repeat(count - 1);
    let wat = format!(
        r#"(module (func (export "run") (param i32) (result v128) (local {locals})
            (local.set 1 (v128.const i32x4 1 2 3 4))
            loop {add}
                (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))
            end
            {gets} {xor}))"#
    );
    let (mut store, instance) = instantiate(&Engine::default(), &wat);
    let run = instance.get_typed_func::<u32, u128, _>(&mut store, "run").unwrap();
    let expected = run.call(&mut store, 1000).unwrap();
    for epochs in [false, true] {
        let engine = engine(|config| {
            config.async_support(true).consume_fuel(!epochs).epoch_interruption(epochs);
        });
        let (mut store, instance) = instantiate_async(&engine, &wat);
        if epochs {
            // Each check yields.
            store.epoch_deadline_async_yield_and_update(0);
        } else {
            store.out_of_fuel_async_yield(u64::MAX, 20);
        }
        let run = instance.get_typed_func::<u32, u128, _>(&mut store, "run").unwrap();
        let mut call = pin!(run.call_async(&mut store, 1000));
        let mut pending = 0;
        let result = loop {
            disturb();
            match poll(call.as_mut()) {
                Poll::Ready(result) => break result.unwrap(),
                Poll::Pending => pending += 1,
            }
        };
        assert_eq!((result, pending >= 1000), (expected, true), "{pending}");
    }
}

#[test]
fn vectors_survive_interrupts_that_yield() {
    let engine = engine(|config| {
        config.async_support(true).epoch_interruption(true);
    });
    let mut linker = Linker::<()>::new(&engine);
    linker
        .func_wrap("", "wait", |mut caller: Caller<'_, ()>, value: u128| {
            caller.engine().increment_epoch();
            let _ = caller.data_mut();
            value
        })
        .unwrap();
    let module = Module::new(&engine, keeper(16)).unwrap();
    let mut store = Store::new(&engine, ());
    store.epoch_deadline_async_yield_and_update(1);
    let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
    let run = instance.get_typed_func::<u32, u128, _>(&mut store, "run").unwrap();
    let (pending, result) = count_pending(run.call_async(&mut store, 10));
    let lane = u128::from(136_000 + 16 * 55 + 10_u32);
    assert_eq!(result.unwrap(), lane << 96 | lane << 64 | lane << 32 | lane);
    assert!(pending >= 8, "{pending}");
}

#[test]
fn a_function_too_large_to_optimize_computes_with_vectors() {
    let blocks = "(block (br_if 0 (local.get 0)) (local.set 1 (i8x16.sub (local.get 1) (v128.const i64x2 1 1))))";
    let wat = format!(
        r#"(module (func (export "run") (param i32 v128) (result v128) {} (local.get 1)))"#,
        blocks.repeat(30_000)
    );
    let engine = engine(|config| {
        config.consume_fuel(true).cranelift_debug_verifier(false);
        // Every value has a place in the frame then.
        config.max_wasm_stack(16 << 20).unwrap().async_stack_size(17 << 20).unwrap();
    });
    let (mut store, instance) = instantiate(&engine, &wat);
    store.add_fuel(u64::MAX).unwrap();
    let run = instance.get_typed_func::<(u32, u128), u128, _>(&mut store, "run").unwrap();
    assert_eq!(run.call(&mut store, (1, vector(1))).unwrap(), vector(1));
    let expected = 0xd0_u128 << 64 | 0xd0;
    // 30,000 is 0x7530.
    assert_eq!(run.call(&mut store, (0, 0)).unwrap(), expected);
}

#[test]
fn without_simd_there_are_no_vectors() {
    let engine = engine(|config: &mut Config| {
        config.wasm_simd(false);
    });
    for wat in ["(module (func (param v128)))", "(module (global v128 (v128.const i64x2 0 0)))"] {
        let text = format!("{:#}", Module::new(&engine, wat).unwrap_err());
        assert!(text.contains("SIMD"), "{text}");
    }
    let text = Engine::new(Config::new().wasm_simd(false).wasm_relaxed_simd(true)).unwrap_err();
    assert!(text.to_string().contains("`relaxed-simd` is enabled without `simd`"), "{text}");
    // A host has vectors all the same, and a guest none that could take them.
    let mut store = Store::new(&engine, ());
    let ty = GlobalType::new(ValType::V128, Mutability::Var);
    Global::new(&mut store, ty, Val::V128(1)).unwrap();
}
