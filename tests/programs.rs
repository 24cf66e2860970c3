//! The compiled programs of `tests/guests`: results known from elsewhere, and the same fuel however
//! they run.

use lampwick::{Config, Engine, Instance, Module, Store, Val};

use crate::support::block_on;

/// A way to make a module.
pub(crate) type Make = fn(&Engine, &[u8]) -> Module;

fn compile(engine: &Engine, wasm: &[u8]) -> Module {
    Module::new(engine, wasm).unwrap()
}

/// A program, a call of it, the result as its bits, and the fuel.
pub(crate) struct Program(&'static str, &'static [u8], &'static str, &'static [i32], u64, u64);

macro_rules! program {
    ($name:literal, $function:literal, $args:expr, $result:expr, $fuel:expr) => {
        Program(
            $name,
            include_bytes!(concat!("guests/", $name, ".wasm")),
            $function,
            $args,
            $result,
            $fuel,
        )
    };
}

/// `tests/guests/expected.py` computes the results without the guests. The fuel of fib, nbody, ray
/// and sort, in which no operator's cost depends on a size, is what wasmtime counts, whose rules
/// are otherwise the same.
pub(crate) fn programs() -> [Program; 8] {
    let i32 = |value: i32| u64::from(value as u32);
    let i64 = |value: i64| value as u64;
    [
        program!("fib", "fib", &[20], i32(6765), 298_108),
        program!("hash", "run", &[1], i32(248_218_895), 146_531_110),
        program!("json", "run", &[1], i64(-5_510_070_295_072_438_863), 2_673_212),
        program!("nbody", "run", &[1000], (-0.169_359_224_236_765_22_f64).to_bits(), 1_515_968),
        program!("ray", "render", &[64, 48], i32(1_219_049_189), 4_238_979),
        program!("sieve", "run", &[100_000], i32(9592), 1_613_509),
        program!("sort", "run", &[1000], i64(-9_101_266_943_687_603_529), 3_100_882),
        program!("x25519", "run", &[1], i32(2_056_137_794), 2_283_001),
    ]
}

fn bits(values: &[Val]) -> u64 {
    match values {
        [Val::I32(value)] => u64::from(*value as u32),
        [Val::I64(value)] => *value as u64,
        [Val::F64(bits)] => *bits,
        other => panic!("{other:?}"),
    }
}

fn args(args: &[i32]) -> Vec<Val> {
    args.iter().map(|&arg| Val::I32(arg)).collect()
}

/// Runs a program without suspensions, and checks its result and fuel.
pub(crate) fn check(config: &mut Config, program: &Program, make: Make) {
    let fuel = run(config, program, make);
    assert!(fuel.is_none_or(|fuel| fuel == program.5), "{}: {fuel:?} fuel", program.0);
}

/// Runs a program without suspensions; answers its fuel.
fn run(config: &mut Config, program: &Program, make: Make) -> Option<u64> {
    let Program(name, wasm, function, arguments, expected, _) = program;
    let engine = Engine::new(config).unwrap();
    let module = make(&engine, wasm);
    let mut store = Store::new(&engine, ());
    // Fails where fuel is not counted, which is one of the cases.
    let _ = store.add_fuel(u64::MAX);
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let function = instance.get_func(&mut store, function).unwrap();
    let results = function.call(&mut store, &args(arguments)).unwrap();
    assert_eq!(bits(&results), *expected, "{name}");
    store.fuel_consumed()
}

/// Runs a program in slices; answers its fuel.
fn run_in_slices(program: &Program, slice: u64) -> Option<u64> {
    let Program(name, wasm, function, arguments, expected, _) = program;
    let engine = Engine::new(Config::new().async_support(true).consume_fuel(true)).unwrap();
    let module = Module::new(&engine, wasm).unwrap();
    let mut store = Store::new(&engine, ());
    store.out_of_fuel_async_yield(u64::MAX, slice);
    block_on(async {
        let instance = Instance::new_async(&mut store, &module, &[]).await.unwrap();
        let function = instance.get_func(&mut store, function).unwrap();
        let results = function.call_async(&mut store, &args(arguments)).await.unwrap();
        assert_eq!(bits(&results), *expected, "{name}");
    });
    store.fuel_consumed()
}

#[test]
fn programs_compute_what_they_should_on_the_same_fuel() {
    for program in programs() {
        let fuel = Some(program.5);
        assert_eq!(run(Config::new().consume_fuel(true), &program, compile), fuel, "{}", program.0);
        assert_eq!(run(&mut Config::new(), &program, compile), None);
        let mut dynamic = Config::new();
        dynamic.consume_fuel(true).static_memory_maximum_size(0);
        assert_eq!(run(&mut dynamic, &program, compile), fuel, "{}", program.0);
        assert_eq!(run_in_slices(&program, 10_007), fuel, "{}", program.0);
    }
}
