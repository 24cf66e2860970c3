//! With NaN canonicalization every NaN that arithmetic answers has the same bits.

use lampwick::{Config, Engine, Instance, OptLevel, Store, Val};

use crate::support::{engine, instantiate};

const CANONICAL_32: u32 = 0x7fc0_0000;
const CANONICAL_64: u64 = 0x7ff8_0000_0000_0000;

/// NaNs: canonical, with either sign and other payloads, quiet and signalling.
const NANS_32: [u32; 7] =
    [0x7fc0_0000, 0xffc0_0000, 0x7fc0_0001, 0xffe1_2345, 0x7f80_0001, 0xff80_0001, 0x7fff_ffff];

fn nans_64() -> impl Iterator<Item = u64> {
    let wide = |nan: u32| {
        let nan = u64::from(nan);
        (nan & 0x8000_0000) << 32 | 0x7ff << 52 | (nan & 0x007f_ffff) << 29 | (nan & 1)
    };
    NANS_32.map(wide).into_iter()
}

/// Operators with a float result, by the number of their operands.
const UNARY: [&str; 5] = ["sqrt", "ceil", "floor", "trunc", "nearest"];
const BINARY: [&str; 6] = ["add", "sub", "mul", "div", "min", "max"];
/// These work on bits and change no NaN's payload.
const BITWISE: [&str; 2] = ["neg", "abs"];

/// A module that exports each operator for each width, on operands that it gets as bits.
fn module() -> String {
    let mut functions = String::new();
    for (float, int) in [("f32", "i32"), ("f64", "i64")] {
        for name in UNARY.iter().chain(&BITWISE) {
            functions += &format!(
                r#"(func (export "{float}.{name}") (param {int}) (result {int})
                    ({int}.reinterpret_{float} ({float}.{name}
                        ({float}.reinterpret_{int} (local.get 0)))))"#
            );
        }
        for name in BINARY.iter().chain(&["copysign"]) {
            functions += &format!(
                r#"(func (export "{float}.{name}") (param {int} {int}) (result {int})
                    ({int}.reinterpret_{float} ({float}.{name}
                        ({float}.reinterpret_{int} (local.get 0))
                        ({float}.reinterpret_{int} (local.get 1)))))"#
            );
        }
    }
    format!(
        r#"(module {functions}
            (func (export "promote") (param i32) (result i64)
                (i64.reinterpret_f64 (f64.promote_f32 (f32.reinterpret_i32 (local.get 0)))))
            (func (export "demote") (param i64) (result i32)
                (i32.reinterpret_f32 (f32.demote_f64 (f64.reinterpret_i64 (local.get 0))))))"#
    )
}

fn engines(change: impl Fn(&mut Config)) -> [Engine; 3] {
    [(OptLevel::None, false), (OptLevel::Speed, false), (OptLevel::Speed, true)].map(
        |(level, fuel)| {
            engine(|config| {
                config.cranelift_opt_level(level).consume_fuel(fuel);
                change(config);
            })
        },
    )
}

struct Operators {
    store: Store<()>,
    instance: Instance,
}

impl Operators {
    fn new(engine: &Engine) -> Self {
        let (mut store, instance) = instantiate(engine, &module());
        let _ = store.add_fuel(u64::MAX);
        Self { store, instance }
    }

    fn call(&mut self, name: &str, operands: &[Val]) -> Val {
        let function = self.instance.get_func(&mut self.store, name).unwrap();
        function.call(&mut self.store, operands).unwrap()[0].clone()
    }

    fn f32(&mut self, name: &str, operands: &[u32]) -> u32 {
        let operands: Vec<_> = operands.iter().map(|bits| Val::I32(*bits as i32)).collect();
        self.call(&format!("f32.{name}"), &operands).unwrap_i32() as u32
    }

    fn f64(&mut self, name: &str, operands: &[u64]) -> u64 {
        let operands: Vec<_> = operands.iter().map(|bits| Val::I64(*bits as i64)).collect();
        self.call(&format!("f64.{name}"), &operands).unwrap_i64() as u64
    }
}

fn canonical() -> [Engine; 3] {
    engines(|config| {
        config.cranelift_nan_canonicalization(true);
    })
}

#[test]
fn a_nan_operand_gives_the_canonical_nan() {
    for engine in canonical() {
        let mut operators = Operators::new(&engine);
        for nan in NANS_32 {
            for name in UNARY {
                assert_eq!(operators.f32(name, &[nan]), CANONICAL_32, "{name} {nan:#x}");
            }
            for name in BINARY {
                let others = [1.5_f32, -0.0, f32::INFINITY].map(f32::to_bits);
                for other in others.into_iter().chain(NANS_32) {
                    for operands in [[nan, other], [other, nan]] {
                        let bits = operators.f32(name, &operands);
                        assert_eq!(bits, CANONICAL_32, "{name} {operands:#x?}");
                    }
                }
            }
            let promoted = operators.call("promote", &[Val::I32(nan as i32)]);
            assert_eq!(promoted.unwrap_i64() as u64, CANONICAL_64, "{nan:#x}");
        }
        for nan in nans_64() {
            for name in UNARY {
                assert_eq!(operators.f64(name, &[nan]), CANONICAL_64, "{name} {nan:#x}");
            }
            for name in BINARY {
                let others = [1.5_f64, -0.0, f64::INFINITY].map(f64::to_bits);
                for other in others.into_iter().chain(nans_64()) {
                    for operands in [[nan, other], [other, nan]] {
                        let bits = operators.f64(name, &operands);
                        assert_eq!(bits, CANONICAL_64, "{name} {operands:#x?}");
                    }
                }
            }
            let demoted = operators.call("demote", &[Val::I64(nan as i64)]);
            assert_eq!(demoted.unwrap_i32() as u32, CANONICAL_32, "{nan:#x}");
        }
    }
}

/// What has no result among numbers.
const INVALID: [(&str, f32, f32); 6] = [
    ("div", 0.0, 0.0),
    ("div", f32::INFINITY, f32::NEG_INFINITY),
    ("sub", f32::INFINITY, f32::INFINITY),
    ("add", f32::INFINITY, f32::NEG_INFINITY),
    ("mul", 0.0, f32::INFINITY),
    ("mul", f32::NEG_INFINITY, -0.0),
];

#[test]
fn what_has_no_result_is_the_canonical_nan() {
    for engine in canonical() {
        let mut operators = Operators::new(&engine);
        for (name, a, b) in INVALID {
            let narrow = operators.f32(name, &[a.to_bits(), b.to_bits()]);
            let wide = [a, b].map(|it| f64::from(it).to_bits());
            let wide = operators.f64(name, &wide);
            assert_eq!((narrow, wide), (CANONICAL_32, CANONICAL_64), "{name} {a} {b}");
        }
        assert_eq!(operators.f32("sqrt", &[(-1_f32).to_bits()]), CANONICAL_32);
        assert_eq!(operators.f64("sqrt", &[(-1_f64).to_bits()]), CANONICAL_64);
    }
}

#[test]
fn constants_are_no_exception() {
    for engine in canonical() {
        for (name, a, b) in INVALID {
            let wat = format!(
                r#"(module (func (export "run") (result i32 i64)
                    (i32.reinterpret_f32 (f32.{name} (f32.const {a}) (f32.const {b})))
                    (i64.reinterpret_f64 (f64.{name} (f64.const {a}) (f64.const {b})))))"#
            );
            let (mut store, instance) = instantiate(&engine, &wat);
            let _ = store.add_fuel(1000);
            let run = instance.get_typed_func::<(), (u32, u64), _>(&mut store, "run").unwrap();
            assert_eq!(run.call(&mut store, ()).unwrap(), (CANONICAL_32, CANONICAL_64), "{wat}");
        }
    }
}

#[test]
fn numbers_and_bits_stay_as_they_are() {
    for engine in canonical() {
        let mut operators = Operators::new(&engine);
        let f32s = [2.25_f32, -0.0, f32::INFINITY, f32::MIN_POSITIVE, 1e-45];
        for a in f32s {
            assert_eq!(operators.f32("add", &[a.to_bits(), 0]), (a + 0.0).to_bits());
            assert_eq!(operators.f32("min", &[a.to_bits(), a.to_bits()]), a.to_bits());
            assert_eq!(operators.f32("floor", &[a.to_bits()]), a.floor().to_bits());
            let promoted = operators.call("promote", &[Val::I32(a.to_bits() as i32)]);
            assert_eq!(promoted.unwrap_i64() as u64, f64::from(a).to_bits());
        }
        for nan in NANS_32 {
            assert_eq!(operators.f32("neg", &[nan]), nan ^ (1 << 31));
            assert_eq!(operators.f32("abs", &[nan]), nan & !(1 << 31));
            assert_eq!(operators.f32("copysign", &[nan, 1 << 31]), nan | (1 << 31));
        }
        for nan in nans_64() {
            assert_eq!(operators.f64("neg", &[nan]), nan ^ (1 << 63));
            assert_eq!(operators.f64("abs", &[nan]), nan & !(1 << 63));
            assert_eq!(operators.f64("copysign", &[nan, 1 << 63]), nan | (1 << 63));
        }
    }
}

#[test]
fn without_canonicalization_the_machine_decides() {
    for engine in engines(|_| {}) {
        let mut operators = Operators::new(&engine);
        // x86-64 answers a negative NaN for an invalid operation, and keeps a payload.
        assert_eq!(operators.f32("div", &[0, 0]), 0xffc0_0000);
        assert_eq!(operators.f32("add", &[0x7fc0_0001, 0]), 0x7fc0_0001);
    }
}
