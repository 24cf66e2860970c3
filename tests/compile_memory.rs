//! Memory while compiling stays within `Config::compilation_memory`.
//!
//! What a process has resident is looked at, so each check runs in a process of its own: this
//! binary again, with one ignored test.

use std::sync::mpsc;
use std::time::Duration;

use lampwick::{Engine, Module};

use crate::alone;
use crate::support::engine;

/// What the functions of these tests may take together.
const BOUND: u64 = 32 << 20;

/// For the module itself, what it is compiled to, what threads keep, and the allocator's own.
const SLACK: u64 = 24 << 20;

/// Makes a body that takes much, of a size.
type Shape = fn(usize) -> String;

const SHAPES: [(&str, Shape); 11] = [
    ("loads", |size| "local.get 0 i32.load local.set 0 ".repeat(size)),
    ("branches", |size| "local.get 0 br_if 0 local.get 0 i32.load drop ".repeat(size)),
    ("calls of many results", |size| {
        format!("call $many {}", "drop ".repeat(100)).repeat(size.div_ceil(20))
    }),
    ("values on the stack", |size| {
        let loads = "local.get 0 i32.load ".repeat(size);
        format!("{loads} {}", "local.get 0 if end drop ".repeat(size))
    }),
    ("locals over blocks", |size| {
        let locals = 3 + size / 8;
        let sets: String =
            (3..locals).map(|local| format!("local.get 0 i32.load local.set {local} ")).collect();
        let uses: String = (3..locals).map(|local| format!("local.get {local} drop ")).collect();
        let blocks = "local.get 0 if call $f end ".repeat(size / 4);
        format!("(local {}) {sets} {blocks} {uses}", "i32 ".repeat(locals))
    }),
    ("tables", |size| {
        let targets = "0 ".repeat(size);
        format!("block local.get 0 br_table {targets} end ").repeat(8)
    }),
    // Operators of vectors that no single instruction does.
    ("vectors", |size| {
        let operators = "local.get 0 i8x16.shr_s i8x16.popcnt i32x4.trunc_sat_f32x4_u f64x2.nearest
            i32x4.trunc_sat_f64x2_s_zero i64x2.neg";
        let one = format!("local.get 0 local.get 0 v128.load {operators} v128.store ");
        one.repeat(size)
    }),
    ("shifts of vectors", |size| chain("local.get 0 i8x16.shr_s ", size)),
    ("saturated vectors", |size| chain("i32x4.trunc_sat_f32x4_u ", size)),
    ("constants of vectors", |size| {
        let one = |n| format!("local.get 0 v128.const i32x4 {n} 2 3 {n} v128.store ");
        (0..size).map(one).collect()
    }),
    ("references", |size| "call $make call $f call $use ".repeat(size)),
];

/// Vectors that are made from one another by `operator`, ten times each.
fn chain(operator: &str, size: usize) -> String {
    let operators = operator.repeat(10);
    format!("local.get 0 local.get 0 v128.load {operators} v128.store ").repeat(size.div_ceil(4))
}

/// A module of so many functions with this body.
fn module(body: &str, count: usize) -> Vec<u8> {
    let functions = format!("(func (param i32) (local i32) {body})").repeat(count);
    let results = "i32 ".repeat(100);
    wat::parse_str(format!(
        r#"(module (import "" "make" (func $make (result externref))) (memory 1)
            (func $f) (func $use (param externref))
            (func $many (result {results}) unreachable) {functions})"#
    ))
    .unwrap()
}

fn bounded(metered: bool, bound: Option<u64>) -> Engine {
    engine(|config| {
        config.consume_fuel(metered).cranelift_debug_verifier(false);
        if let Some(bound) = bound {
            config.compilation_memory(bound);
        }
    })
}

/// The line of `/proc/self/status` with this name, in bytes.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Runs one of the ignored tests below in a process of its own, with eight threads that compile.
fn with_threads(test: &str, shape: &str) {
    let test = format!("compile_memory::{test}");
    let output = alone::command(&test)
        .env("RAYON_NUM_THREADS", "8")
        // The allocator gives back what is freed, so that what is resident is what is in use.
        .env("MALLOC_ARENA_MAX", "1")
        .env("MALLOC_TRIM_THRESHOLD_", "131072")
        .env("MALLOC_MMAP_THRESHOLD_", "131072")
        .env("SHAPE", shape)
        .output();
    alone::passed(output.unwrap());
}

#[test]
fn no_function_takes_more_than_the_bound() {
    for (shape, _) in SHAPES {
        with_threads("one_function_grows_alone", shape);
    }
}

#[test]
#[ignore = "run by `no_function_takes_more_than_the_bound`"]
fn one_function_grows_alone() {
    let name = std::env::var("SHAPE").unwrap();
    let (_, shape) = SHAPES.into_iter().find(|(shape, _)| *shape == name).unwrap();
    let engine = bounded(true, Some(BOUND));
    let base = status("VmRSS");
    let (mut accepted, mut size) = (0, 200);
    let error = loop {
        match Module::from_binary(&engine, &module(&shape(size), 1)) {
            Ok(_) if accepted == 30 => panic!("{name}: a size of {size} is not refused"),
            Ok(_) => (accepted, size) = (accepted + 1, size * 5 / 4),
            Err(error) => break format!("{error:#}"),
        }
    };
    let peak = status("VmHWM") - base;
    println!("{name}: refused at {size}, {} MiB", peak >> 20);
    assert!(accepted > 1, "{name}: {error}");
    assert!(error.contains("compiling function 4: "), "{name}: {error}");
    assert!(error.contains(&format!("{BOUND} bytes of `Config::compilation_memory`")), "{error}");
    assert!(peak < BOUND + SLACK, "{name}: {peak}");
}

#[test]
fn functions_together_take_no_more_than_the_bound() {
    with_threads("many_functions_alone", "");
}

#[test]
#[ignore = "run by `functions_together_take_no_more_than_the_bound`"]
fn many_functions_alone() {
    let base = status("VmRSS");
    let body = format!("call $many {}", "drop ".repeat(100)).repeat(200);
    let wasm = module(&body, 12);
    let compile = |bound| Module::from_binary(&bounded(true, bound), &wasm).unwrap();
    let within = compile(Some(BOUND));
    let peak = status("VmHWM") - base;
    let without = compile(None);
    let unbounded = status("VmHWM") - base;
    println!("{} MiB, without a bound {} MiB", peak >> 20, unbounded >> 20);
    assert!(peak < BOUND + SLACK, "{peak}");
    assert!(unbounded > BOUND + SLACK, "nothing was bounded: {unbounded}");
    // The bound changes no code.
    assert_eq!(within.serialize().unwrap(), without.serialize().unwrap());
}

#[test]
fn modules_share_the_memory_of_their_engine() {
    // Each needs more than half of it, some only after a first attempt with too little.
    let engine = bounded(true, Some(8 << 20));
    let (sender, receiver) = mpsc::channel();
    for thread in 0..6 {
        let (engine, sender) = (engine.clone(), sender.clone());
        std::thread::spawn(move || {
            let body = "local.get 0 i32.load local.set 0 ".repeat(500 + 50 * (thread % 3));
            sender.send(Module::from_binary(&engine, &module(&body, 8)).map(drop)).unwrap();
        });
    }
    for _ in 0..6 {
        receiver.recv_timeout(Duration::from_secs(120)).expect("nobody waits forever").unwrap();
    }
    // A function that is refused gives back what it was granted.
    let large = module(&"local.get 0 i32.load local.set 0 ".repeat(50_000), 3);
    Module::from_binary(&engine, &large).unwrap_err();
    Module::from_binary(&engine, &module("", 100)).unwrap();
}
