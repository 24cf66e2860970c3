//! Several values at once: parameters and results of typed calls, blocks, branches.

use lampwick::{Engine, Func, Instance, Module, Store, Val};

use crate::support::{asynchronous, block_on, instantiate, instantiate_async, metered};

const GUEST: &str = r#"(module
    (func (export "swap") (param i32 f64) (result f64 i32) local.get 1 local.get 0)
    (func (export "sixteen")
        (param i32 i64 f32 f64 i32 i64 f32 f64 i32 i64 f32 f64 i32 i64 f32 f64)
        (result f64 f32 i64 i32 f64 f32 i64 i32 f64 f32 i64 i32 f64 f32 i64 i32)
        local.get 15 local.get 14 local.get 13 local.get 12 local.get 11 local.get 10 local.get 9
        local.get 8 local.get 7 local.get 6 local.get 5 local.get 4 local.get 3 local.get 2
        local.get 1 local.get 0)
    (func $divide (export "divide") (param i32 i32) (result i32 i32)
        local.get 0 local.get 1 i32.div_u local.get 0 local.get 1 i32.rem_u)
    (func (export "blocks") (param i32) (result i32 i32 i32)
        local.get 0 i32.const 3
        block (param i32 i32) (result i32 i32) call $divide end
        (block (result i32 i32) i32.const 10 i32.const 20 local.get 0 br_if 0 drop i32.const 30) i32.add)
    (func (export "loop") (param i32) (result i32 i64)
        i32.const 0 i64.const 1
        loop (param i32 i64) (result i32 i64)
            i64.const 2 i64.mul (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
            (call $bump)
            local.get 0 br_if 0
        end)
    (func $bump (param i32 i64) (result i32 i64) local.get 0 i32.const 1 i32.add local.get 1)
    (func (export "early") (param i32) (result i32 i64)
        local.get 0 if i32.const 1 i64.const 2 return end i32.const 3 i64.const 4))"#;

type Sixteen = (i32, i64, f32, f64, i32, i64, f32, f64, i32, i64, f32, f64, i32, i64, f32, f64);
type Reversed = (f64, f32, i64, i32, f64, f32, i64, i32, f64, f32, i64, i32, f64, f32, i64, i32);

const ARGS: Sixteen = (1, 2, 3.0, 4.0, 5, 6, 7.0, 8.0, 9, 10, 11.0, 12.0, 13, 14, 15.0, 16.0);
const REVERSED: Reversed = (16.0, 15.0, 14, 13, 12.0, 11.0, 10, 9, 8.0, 7.0, 6, 5, 4.0, 3.0, 2, 1);

#[test]
fn typed_calls_take_and_give_tuples() {
    for engine in [Engine::default(), metered()] {
        let (mut store, instance) = instantiate(&engine, GUEST);
        let _ = store.add_fuel(100_000);
        let swap =
            instance.get_typed_func::<(i32, f64), (f64, i32), _>(&mut store, "swap").unwrap();
        assert_eq!(swap.call(&mut store, (7, 1.5)).unwrap(), (1.5, 7));
        let sixteen =
            instance.get_typed_func::<Sixteen, Reversed, _>(&mut store, "sixteen").unwrap();
        let got = sixteen.call(&mut store, ARGS).unwrap();
        // Tuples of more than twelve know no equality.
        let first = (got.0, got.1, got.2, got.3, got.4, got.5, got.6, got.7);
        let second = (got.8, got.9, got.10, got.11, got.12, got.13, got.14, got.15);
        let r = REVERSED;
        assert_eq!(first, (r.0, r.1, r.2, r.3, r.4, r.5, r.6, r.7));
        assert_eq!(second, (r.8, r.9, r.10, r.11, r.12, r.13, r.14, r.15));
        let one = instance.get_typed_func::<(i32,), (i32, i64), _>(&mut store, "early").unwrap();
        assert_eq!(one.call(&mut store, (1,)).unwrap(), (1, 2));
        assert_eq!(one.call(&mut store, (0,)).unwrap(), (3, 4));
        assert_eq!(one.func().ty(&store).to_string(), "[i32] -> [i32 i64]");
    }
}

#[test]
fn blocks_and_loops_pass_several_values() {
    let (mut store, instance) = instantiate(&Engine::default(), GUEST);
    let blocks = instance.get_typed_func::<i32, (i32, i32, i32), _>(&mut store, "blocks").unwrap();
    assert_eq!(blocks.call(&mut store, 17).unwrap(), (5, 2, 30));
    assert_eq!(blocks.call(&mut store, 0).unwrap(), (0, 0, 40));
    let run = instance.get_typed_func::<i32, (i32, i64), _>(&mut store, "loop").unwrap();
    assert_eq!(run.call(&mut store, 10).unwrap(), (10, 1024));
}

#[test]
fn untyped_calls_have_as_many_results() {
    let (mut store, instance) = instantiate_async(&asynchronous(), GUEST);
    let sixteen = instance.get_func(&mut store, "sixteen").unwrap();
    let args: Vec<Val> = (0..4)
        .flat_map(|n| {
            [Val::I32(n), Val::I64(n.into()), Val::from(n as f32), Val::from(f64::from(n))]
        })
        .collect();
    let results = block_on(sixteen.call_async(&mut store, &args)).unwrap();
    let expected: Vec<_> = args.iter().rev().map(|value| format!("{value:?}")).collect();
    let results: Vec<_> = results.iter().map(|value| format!("{value:?}")).collect();
    assert_eq!(results, expected);
}

#[test]
fn more_results_than_parameters_and_the_reverse() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let many = Func::wrap(&mut store, || (1, 2_i64, 3.0_f32, 4.0_f64, 5, 6, 7, 8));
    let few =
        Func::wrap(&mut store, |a: i32, b: i64, c: f32, d: f64, e: i32, f: i32, g: i32, h: i32| {
            i64::from(a + e + f + g + h) + b + c as i64 + d as i64
        });
    let module = Module::new(
        &engine,
        r#"(module (import "" "" (func $many (result i32 i64 f32 f64 i32 i32 i32 i32)))
            (import "" "" (func $few (param i32 i64 f32 f64 i32 i32 i32 i32) (result i64)))
            (func (export "run") (result i64) call $many call $few))"#,
    );
    let imports = [many.into(), few.into()];
    let instance = Instance::new(&mut store, &module.unwrap(), &imports).unwrap();
    let run = instance.get_typed_func::<(), i64, _>(&mut store, "run").unwrap();
    assert_eq!(run.call(&mut store, ()).unwrap(), 36);
}
