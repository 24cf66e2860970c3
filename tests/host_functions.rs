//! Host functions of every kind: their types, their arguments, their callers, their results.

use std::time::{Duration, Instant};

use lampwick::{
    Caller, Engine, Extern, Func, FuncType, Instance, Linker, Module, Store, Trap, Val, ValType,
};

use crate::support::{asynchronous, block_on, engine, pend};

/// Calls a function through a guest that passes all on.
fn through_guest(store: &mut Store<()>, func: Func, args: &[Val]) -> anyhow::Result<Box<[Val]>> {
    let ty = func.ty(&*store);
    let list = |types: Vec<ValType>| types.iter().map(|ty| format!("{ty} ")).collect::<String>();
    let (params, results) = (list(ty.params().collect()), list(ty.results().collect()));
    let gets: String = (0..ty.params().len()).map(|index| format!("local.get {index} ")).collect();
    let wat = format!(
        r#"(module (type $t (func (param {params}) (result {results}))) (import "" "" (func $f (type $t)))
            (func (export "run") (type $t) {gets} call $f))"#
    );
    let module = Module::new(store.engine(), wat).unwrap();
    if store.engine().config_is_async() {
        let imports = [func.into()];
        let instance = block_on(Instance::new_async(&mut *store, &module, &imports)).unwrap();
        let run = instance.get_func(&mut *store, "run").unwrap();
        return block_on(run.call_async(store, args));
    }
    let instance = Instance::new(&mut *store, &module, &[func.into()]).unwrap();
    let run = instance.get_func(&mut *store, "run").unwrap();
    run.call(store, args)
}

/// Whether an engine of these tests is async; the API does not tell.
trait ConfigIsAsync {
    fn config_is_async(&self) -> bool;
}

impl ConfigIsAsync for Engine {
    fn config_is_async(&self) -> bool {
        format!("{:?}", self.config()).contains("async_support: true")
    }
}

fn i64s(values: &[Val]) -> Vec<i64> {
    values.iter().map(Val::unwrap_i64).collect()
}

/// 1, 2 and so on.
fn numbers(count: i64) -> impl Iterator<Item = i64> {
    1..=count
}

macro_rules! arities {
    ($($count:literal $wrap:ident: $($arg:ident)*;)*) => {
        #[test]
        #[allow(clippy::too_many_arguments, clippy::type_complexity)]
        fn every_number_of_parameters() {
            let (sync, asynchronous) = (Engine::default(), asynchronous());
            $({
                let args: Vec<Val> = numbers($count).map(|n| Val::I64(n << 40 | n)).collect();
                // Weights tell one argument from another.
                let weigh = |values: &[i64]| {
                    values.iter().zip(1..).fold(0_i64, |sum, (value, weight)| sum.wrapping_mul(31).wrapping_add(value * weight))
                };
                let expected = vec![weigh(&i64s(&args))];
                let mut store = Store::new(&sync, ());
                let plain = Func::wrap(&mut store, move |$($arg: i64),*| weigh(&[$($arg),*]));
                let with_caller = Func::wrap(&mut store, move |mut caller: Caller<'_, ()>, $($arg: i64),*| -> Result<i64, Trap> {
                    let () = *caller.data_mut();
                    Ok(weigh(&[$($arg),*]))
                });
                for func in [plain, with_caller] {
                    assert_eq!(func.ty(&store).params().len(), $count);
                    assert_eq!(i64s(&through_guest(&mut store, func, &args).unwrap()), expected);
                    assert_eq!(i64s(&func.call(&mut store, &args).unwrap()), expected);
                }
                let mut store = Store::new(&asynchronous, ());
                let func = Func::$wrap(&mut store, move |_: Caller<'_, ()>, $($arg: i64),*| {
                    Box::new(async move {
                        pend(1).await;
                        weigh(&[$($arg),*])
                    })
                });
                assert_eq!(i64s(&through_guest(&mut store, func, &args).unwrap()), expected);
                assert_eq!(i64s(&block_on(func.call_async(&mut store, &args)).unwrap()), expected);
            })*
        }

        #[test]
        fn every_number_of_parameters_in_a_linker() {
            let engine = asynchronous();
            let mut linker = Linker::<()>::new(&engine);
            $(
                linker.func_wrap("sync", stringify!($wrap), |$($arg: f32),*| -> f32 { 0.0 $(+ $arg)* }).unwrap();
            )*
            let mut store = Store::new(&engine, ());
            $({
                let func = linker.get(&mut store, "sync", Some(stringify!($wrap))).and_then(Extern::into_func).unwrap();
                let args: Vec<Val> = numbers($count).map(|n| Val::from(n as f32)).collect();
                let sum = numbers($count).sum::<i64>() as f32;
                assert_eq!(block_on(func.call_async(&mut store, &args)).unwrap()[0].unwrap_f32(), sum);
            })*
        }
    };
}

arities! {
    0 wrap0_async: ;
    1 wrap1_async: a;
    2 wrap2_async: a b;
    3 wrap3_async: a b c;
    4 wrap4_async: a b c d;
    5 wrap5_async: a b c d e;
    6 wrap6_async: a b c d e f;
    7 wrap7_async: a b c d e f g;
    8 wrap8_async: a b c d e f g h;
    9 wrap9_async: a b c d e f g h i;
    10 wrap10_async: a b c d e f g h i j;
    11 wrap11_async: a b c d e f g h i j k;
    12 wrap12_async: a b c d e f g h i j k l;
    13 wrap13_async: a b c d e f g h i j k l m;
    14 wrap14_async: a b c d e f g h i j k l m n;
    15 wrap15_async: a b c d e f g h i j k l m n o;
    16 wrap16_async: a b c d e f g h i j k l m n o p;
}

#[test]
fn values_of_every_type_keep_their_bits() {
    let mut store = Store::<()>::default();
    let func =
        Func::wrap(&mut store, |a: i32, b: u32, c: i64, d: u64, e: f32, f: f64| (f, e, d, c, b, a));
    let nan = f32::from_bits(0x7fa0_1234);
    let args = [
        Val::I32(-1),
        Val::from(u32::MAX - 1),
        Val::I64(i64::MIN),
        Val::from(u64::MAX),
        Val::from(nan),
        Val::F64(0xfff0_0000_0000_0001),
    ];
    let results = through_guest(&mut store, func, &args).unwrap();
    let reversed: Vec<_> = args.iter().rev().map(|value| format!("{value:?}")).collect();
    let results: Vec<_> = results.iter().map(|value| format!("{value:?}")).collect();
    assert_eq!(results, reversed);
    assert_eq!(
        func.ty(&store).to_string(),
        "[i32 i32 i64 i64 f32 f64] -> [f64 f32 i64 i64 i32 i32]"
    );
}

#[test]
fn results_of_every_shape() {
    let mut store = Store::<()>::default();
    let nothing = Func::wrap(&mut store, || ());
    let one = Func::wrap(&mut store, || 1);
    let fallible = Func::wrap(&mut store, |fail: i32| -> Result<(i32, f64), Trap> {
        if fail != 0 { Err(Trap::new("asked to")) } else { Ok((5, 2.5)) }
    });
    assert_eq!(through_guest(&mut store, nothing, &[]).unwrap().len(), 0);
    assert_eq!(through_guest(&mut store, one, &[]).unwrap()[0].unwrap_i32(), 1);
    let results = through_guest(&mut store, fallible, &[Val::I32(0)]).unwrap();
    assert_eq!((results[0].unwrap_i32(), results[1].unwrap_f64()), (5, 2.5));
    assert!(
        through_guest(&mut store, fallible, &[Val::I32(1)])
            .unwrap_err()
            .to_string()
            .contains("asked to")
    );
    let typed = fallible.typed::<i32, (i32, f64), _>(&store).unwrap();
    assert_eq!(typed.call(&mut store, 0).unwrap(), (5, 2.5));
    assert!(typed.call(&mut store, 1).is_err());
}

#[test]
fn untyped_functions_get_slots_with_zeros() {
    let mut store = Store::<()>::default();
    let types = [
        ValType::I32,
        ValType::I64,
        ValType::F32,
        ValType::F64,
        ValType::FuncRef,
        ValType::ExternRef,
    ];
    let func = Func::new(&mut store, FuncType::new([ValType::I32], types), |_, params, results| {
        assert_eq!((params.len(), params[0].unwrap_i32()), (1, 3));
        let found: Vec<_> = results.iter().map(|value| format!("{value:?}")).collect();
        assert_eq!(
            found,
            ["I32(0)", "I64(0)", "F32(0)", "F64(0)", "FuncRef(None)", "ExternRef(None)"]
        );
        results[1] = Val::I64(9);
        Ok(())
    });
    let results = through_guest(&mut store, func, &[Val::I32(3)]).unwrap();
    assert_eq!((results[0].unwrap_i32(), results[1].unwrap_i64()), (0, 9));
    assert!(results[5].unwrap_externref().is_none());
}

#[test]
fn untyped_async_functions_suspend() {
    let engine = asynchronous();
    let mut store = Store::new(&engine, ());
    let ty = FuncType::new([ValType::I32, ValType::F64], [ValType::F64]);
    let func = Func::new_async(&mut store, ty, |_, params, results| {
        Box::new(async move {
            pend(3).await;
            results[0] = Val::from(params[1].unwrap_f64() * f64::from(params[0].unwrap_i32()));
            Ok(())
        })
    });
    let results = through_guest(&mut store, func, &[Val::I32(3), Val::from(1.5)]).unwrap();
    assert_eq!(results[0].unwrap_f64(), 4.5);
}

#[test]
fn a_caller_sees_its_instance_and_the_data() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, Vec::new());
    let read = Func::wrap(
        &mut store,
        |mut caller: Caller<'_, Vec<u8>>, at: u32, len: u32| -> Result<(), Trap> {
            let memory = caller.get_export("memory").and_then(Extern::into_memory);
            let memory = memory.ok_or_else(|| Trap::new("no memory"))?;
            let (bytes, data) = memory.data_and_store_mut(&mut caller);
            data.extend_from_slice(
                bytes
                    .get(at as usize..)
                    .and_then(|rest| rest.get(..len as usize))
                    .ok_or_else(|| Trap::new("outside"))?,
            );
            assert!(caller.get_export("private").is_none() && caller.fuel_consumed().is_none());
            Ok(())
        },
    );
    let module = r#"(module (import "" "" (func $read (param i32 i32))) (memory (export "memory") 1)
        (global $private i32 (i32.const 1)) (data (i32.const 16) "from the guest")
        (func (export "run") (param i32 i32) local.get 0 local.get 1 call $read))"#;
    let module = Module::new(&engine, module).unwrap();
    let instance = Instance::new(&mut store, &module, &[read.into()]).unwrap();
    let run = instance.get_typed_func::<(u32, u32), (), _>(&mut store, "run").unwrap();
    run.call(&mut store, (21, 9)).unwrap();
    assert_eq!(store.data(), b"the guest");
    let trap = run.call(&mut store, (65530, 100)).unwrap_err();
    assert!(trap.to_string().contains("outside"), "{trap}");
}

#[test]
fn a_closure_lives_as_long_as_it_is_needed() {
    let census = crate::support::Census::default();
    let engine = Engine::default();
    let mut linker = Linker::<()>::new(&engine);
    let token = census.token();
    linker.func_wrap("", "", move || assert!(token.is_alive())).unwrap();
    let module =
        Module::new(&engine, r#"(module (import "" "" (func)) (export "run" (func 0)))"#).unwrap();
    let mut stores: Vec<_> = (0..3).map(|_| Store::new(&engine, ())).collect();
    let runs: Vec<_> = stores
        .iter_mut()
        .map(|store| {
            let instance = linker.instantiate(&mut *store, &module).unwrap();
            instance.get_typed_func::<(), (), _>(store, "run").unwrap()
        })
        .collect();
    drop(linker);
    for (store, run) in stores.iter_mut().zip(runs) {
        run.call(store, ()).unwrap();
    }
    assert_eq!(census.alive(), 1);
    drop(stores);
    assert_eq!(census.alive(), 0);
}

#[test]
fn a_guest_in_the_host_is_told_its_time_up_to_now() {
    let accounted = engine(|config| {
        config.accounts(true);
    });
    let mut store = Store::new(&accounted, ());
    let times = Func::wrap(&mut store, |caller: Caller<'_, ()>| {
        // The poll that is under way counts, which `stats` leaves out.
        let began = Instant::now();
        let before = caller.busy().unwrap();
        while began.elapsed() < Duration::from_millis(2) {
            std::hint::spin_loop();
        }
        let after = caller.busy().unwrap();
        assert!(after - before >= Duration::from_millis(1), "{before:?}, {after:?}");
        assert!(caller.stats().busy <= before);
    });
    for _ in 0..2 {
        let before = store.stats().busy;
        times.call(&mut store, &[]).unwrap();
        assert!(store.stats().busy - before >= Duration::from_millis(2));
    }
    let mut store = Store::new(&Engine::default(), ());
    let none = Func::wrap(&mut store, |caller: Caller<'_, ()>| {
        assert_eq!(caller.busy(), None);
    });
    none.call(&mut store, &[]).unwrap();
}
