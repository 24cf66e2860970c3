//! What can be said of compiled code without running it.

use std::collections::BTreeSet;

use super::*;
use crate::vm::layout::{FuelAt, TrapCode};

fn compiler(metered: bool) -> Compiler {
    compiler_with(|settings| settings.metered = metered)
}

fn compiler_with(change: impl FnOnce(&mut Settings)) -> Compiler {
    let mut settings = Settings::default();
    change(&mut settings);
    Compiler::new(settings).expect("the host is supported")
}

fn compile(compiler: &Compiler, text: &str) -> Artifact {
    compiler.compile(&wat::parse_str(text).expect("valid text")).expect("a valid module")
}

fn error(wasm: &[u8]) -> String {
    format!("{:#}", compiler(false).compile(wasm).expect_err("an invalid module"))
}

const MANY: &str = r#"(module
    (import "host" "f" (func $f (param i32) (result i32)))
    (memory 1) (table 4 funcref) (global $g (mut i64) (i64.const 1))
    (elem (i32.const 0) $f $loads)
    (func $loads (export "loads") (param i32) (result i32) (local i64 i64 i64)
        (loop $again
            (local.set 1 (i64.add (local.get 1) (i64.load (local.get 0))))
            (local.set 2 (i64.xor (local.get 2) (i64.load offset=8 (local.get 0))))
            (i64.store offset=16 (local.get 0) (i64.add (local.get 1) (local.get 2)))
            (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 8)))))
        (i32.add (i32.load offset=4 (local.get 0)) (i32.wrap_i64 (local.get 1))))
    (func $calls (export "calls") (param i32) (result i32)
        (drop (memory.grow (i32.const 1)))
        (i32.div_s
            (call $f (call $loads (local.get 0)))
            (call_indirect (param i32) (result i32) (local.get 0) (i32.const 1))))
    (func (export "recursion") (param i32) (result i32)
        (if (i32.eqz (local.get 0)) (then unreachable))
        (call $calls (i32.trunc_f32_u (f32.convert_i32_s (local.get 0))))))"#;

#[test]
fn output_does_not_depend_on_threads() {
    for metered in [false, true] {
        let one = compile(&compiler_with(|s| (s.metered, s.parallel) = (metered, false)), MANY);
        let many = compile(&compiler(metered), MANY);
        assert_eq!(one.text, many.text);
        assert_eq!(one.sites.parts(), many.sites.parts());
    }
}

#[test]
fn sites_are_sorted_and_lie_in_functions() {
    for metered in [false, true] {
        let artifact = compile(&compiler(metered), MANY);
        assert!(artifact.sites.traps().is_sorted_by(|one, other| one.pc < other.pc));
        assert!(artifact.sites.calls().is_sorted_by(|one, other| one.0 < other.0));
        let inside = |pc: u32| artifact.functions.iter().any(|range| range.contains(&pc));
        assert!(artifact.sites.traps().all(|site| inside(site.pc)));
        assert!(artifact.sites.calls().all(|(pc, _)| inside(pc - 1)));
        assert!(artifact.sites.calls().all(|(_, operator)| operator != u32::MAX));
    }
}

#[test]
fn metered_trap_sites_know_the_fuel() {
    let artifact = compile(&compiler(true), MANY);
    assert!(artifact.sites.traps().all(|site| site.fuel != FuelAt::Unmetered));
    let accesses = artifact.sites.traps();
    let accesses = accesses.filter(|site| site.code == TrapCode::MemoryOutOfBounds);
    let operators: BTreeSet<u32> = accesses.map(|site| site.wasm).collect();
    assert_eq!(operators.len(), 4);
}

#[test]
fn counters_of_plain_loops_are_located() {
    assert_eq!(compile(&compiler(true), MANY).write_through, 0);
}

#[test]
fn written_through_counters_are_in_the_pinned_register() {
    let change = |s: &mut Settings| {
        (s.metered, s.fuel_tracking) = (true, FuelTracking::WriteThrough);
    };
    let artifact = compile(&compiler_with(change), MANY);
    let pinned = FuelAt::Register { register: 15, delta: 0 };
    assert!(artifact.sites.traps().all(|site| site.fuel == pinned));
}

#[test]
fn counters_are_located_before_unreachable() {
    let text = r#"(module (memory 1) (func (param i32)
        (if (local.get 0) (then
            (i32.store (local.get 0) (i32.load offset=4 (local.get 0)))
            unreachable))))"#;
    assert_eq!(compile(&compiler(true), text).write_through, 0);
}

#[test]
fn counters_are_located_at_accesses_of_vectors() {
    let operators = [
        "v128.load",
        "v128.load8x8_s",
        "v128.load32x2_u",
        "v128.load8_splat",
        "v128.load64_splat",
        "v128.load32_zero",
        "v128.load64_zero",
    ];
    let lanes =
        ["v128.load8_lane 3", "v128.load16_lane 1", "v128.load32_lane 2", "v128.load64_lane 1"];
    // At different addresses, or one load would serve two operators.
    let plain = operators.iter().enumerate().map(|(place, load)| {
        format!("(local.set 1 (i32x4.add (local.get 1) ({load} offset={place}00 (local.get 0)))) ")
    });
    let lanes = lanes.iter().enumerate().map(|(place, load)| {
        let (load, lane) = load.split_once(' ').expect("the number of a lane");
        format!("(local.set 1 ({load} offset={place}50 {lane} (local.get 0) (local.get 1))) ")
    });
    let loads: String = plain.chain(lanes).collect();
    let stores = "(v128.store (local.get 0) (local.get 1))
        (v128.store16_lane 5 (local.get 0) (local.get 1))";
    let text = format!(
        "(module (memory 1) (func (param i32) (local v128)
            (loop {loads} {stores} (br_if 0 (local.tee 0 (i32.add (local.get 0) (i32.const 8)))))))"
    );
    for opt_level in [OptLevel::None, OptLevel::Speed] {
        let change = |s: &mut Settings| (s.metered, s.opt_level) = (true, opt_level);
        let artifact = compile(&compiler_with(change), &text);
        assert_eq!(artifact.write_through, 0, "{opt_level:?}");
        let sites = artifact.sites.traps().filter(|site| site.code == TrapCode::MemoryOutOfBounds);
        let mut operators: Vec<u32> = sites.map(|site| site.wasm).collect();
        operators.sort_unstable();
        operators.dedup();
        assert_eq!(operators.len(), 13, "{opt_level:?}");
    }
}

#[test]
fn metered_accesses_are_never_merged() {
    let increment = r#"(module (memory 1) (func (param i32)
        (i32.store (local.get 0) (i32.add (i32.load (local.get 0)) (i32.const 1)))))"#;
    let artifact = compile(&compiler(true), increment);
    let accesses = artifact.sites.traps();
    let accesses = accesses.filter(|site| site.code == TrapCode::MemoryOutOfBounds);
    let mut operators: Vec<u32> = accesses.map(|site| site.wasm).collect();
    operators.dedup();
    assert_eq!(operators.len(), 2);
}

#[test]
fn one_check_stands_at_each_entry_and_loop_head() {
    // Three functions and a loop.
    for (metered, interruptable, epochs, checks) in [
        (false, true, false, 4),
        (false, false, true, 4),
        (false, true, true, 4),
        (true, true, true, 4),
        (false, false, false, 0),
    ] {
        let calls = |interruptable, epochs| {
            let change = |s: &mut Settings| {
                (s.metered, s.interruptable, s.epochs) = (metered, interruptable, epochs);
            };
            compile(&compiler_with(change), MANY).sites.calls().count()
        };
        let (with, without) = (calls(interruptable, epochs), calls(false, false));
        assert_eq!(with - without, checks, "{metered} {interruptable} {epochs}");
    }
}

#[test]
fn short_loops_are_written_in_rounds() {
    let conversions = |operators: &str, change: fn(&mut Settings)| {
        let text = format!(
            "(module (memory 1) (table 1 funcref) (type $f (func))
                (global $g (mut i32) (i32.const 0)) (func (param i32)
                    (loop (local.set 0 (i32.trunc_f32_u (f32.convert_i32_s (local.get 0))))
                        {operators} (br_if 0 (local.get 0)))))"
        );
        let artifact = compile(&compiler_with(change), &text);
        artifact.sites.traps().filter(|it| it.code == TrapCode::BadConversionToInteger).count()
    };
    let one_by_one = conversions("", |_| {});
    // Three in a row, and one by itself.
    assert_eq!(conversions("", |s| s.metered = true), 4 * one_by_one);
    let others: [fn(&mut Settings); 3] = [
        |s| (s.metered, s.interruptable) = (true, true),
        |s| (s.metered, s.epochs) = (true, true),
        |s| (s.metered, s.opt_level) = (true, OptLevel::None),
    ];
    for change in others {
        assert_eq!(conversions("", change), one_by_one);
    }
    // What takes longer than a look at the counter, or may do anything.
    for operators in [
        "(drop (i32.load (local.get 0)))",
        "(i32.store (local.get 0) (local.get 0))",
        "(drop (i32.div_u (local.get 0) (local.get 0)))",
        "(global.set $g (local.get 0))",
        "(call 0 (local.get 0))",
        "(call_indirect (type $f) (local.get 0))",
        "(drop (memory.grow (local.get 0)))",
        "(drop (table.get (local.get 0)))",
        "(loop)",
    ] {
        assert_eq!(conversions(operators, |s| s.metered = true), one_by_one, "{operators}");
    }
}

#[test]
fn functions_of_short_loops_do_not_grow_much() {
    let body = "(loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 4)))))".repeat(500);
    let text = format!("(module (func (param i32) {body}))");
    let size = |interruptable| {
        let change = |s: &mut Settings| (s.metered, s.interruptable) = (true, interruptable);
        compile(&compiler_with(change), &text).text.len()
    };
    // Interruptable code has one check more in each loop, and no rounds.
    let (rounds, one_by_one) = (size(false), size(true));
    assert!(rounds < 2 * one_by_one, "{rounds} bytes instead of {one_by_one}");
}

#[test]
fn counters_of_interruptable_loops_are_located() {
    let change = |s: &mut Settings| (s.metered, s.interruptable, s.epochs) = (true, true, true);
    let artifact = compile(&compiler_with(change), MANY);
    assert_eq!(artifact.write_through, 0);
    assert!(artifact.sites.traps().all(|site| site.fuel != FuelAt::Unmetered));
}

#[test]
fn every_trap_of_the_language_has_a_site() {
    let artifact = compile(&compiler(false), MANY);
    for code in [
        TrapCode::StackOverflow,
        TrapCode::MemoryOutOfBounds,
        TrapCode::TableOutOfBounds,
        TrapCode::IndirectCallToNull,
        TrapCode::BadSignature,
        TrapCode::IntegerOverflow,
        TrapCode::IntegerDivisionByZero,
        TrapCode::BadConversionToInteger,
        TrapCode::UnreachableCodeReached,
    ] {
        assert!(artifact.sites.traps().any(|site| site.code == code), "{code:?}");
    }
}

#[test]
fn artifacts_hold_the_trampolines_of_what_escapes() {
    let compiler = compiler(true);
    let text = r#"(module (type $a (func (param i32))) (type $same (func (param i32)))
        (type $b (func (result i64))) (type $inner (func (param f32)))
        (func (export "a") (type $a)) (func (export "same") (type $same)) (func (type $inner))
        (func (export "b") (type $b) (i64.const 1)))"#;
    let artifact = compiler.write_artifact(compile(&compiler, text).parts()).expect("an artifact");
    let artifact = compiler.read_artifact(&artifact.into()).expect("the same");
    let indexes: Vec<u32> = artifact.trampolines.iter().map(|&(ty, _)| ty).collect();
    assert_eq!(indexes, [0, 2], "each type once, and no others");
    for (ty, trampolines) in &artifact.trampolines {
        let ty = artifact.info.func_type(*ty);
        let again = compiler.compile_trampolines(ty).expect("trampolines");
        assert_eq!((&trampolines.text, trampolines.enter), (&again.text, again.enter));
    }
}

#[test]
fn trampolines_stand_alone() {
    use crate::types::{FuncType, ValType};
    for metered in [false, true] {
        let ty = FuncType::new([ValType::I32; 20], [ValType::F64; 20]);
        let code = compiler(metered).compile_trampolines(&ty).expect("trampolines");
        assert_eq!((code.enter % 32, code.exit % 32), (0, 0));
        assert!(code.enter < code.exit && (code.exit as usize) < code.text.len());
    }
}

#[test]
fn errors_name_place_and_cause() {
    assert!(error(b"\0asm").contains("offset 0x4"), "{}", error(b"\0asm"));
    let component = error(b"\0asm\x0d\0\x01\0");
    assert!(component.contains("component"), "{component}");
    let text = "(module (func $sum (result i32) i32.const 1 i64.add))";
    let mut wasm = wat::parse_str(text).expect("valid text");
    let invalid = error(&wasm);
    assert!(invalid.contains("function 0 (`sum`)") && invalid.contains("offset 0x"), "{invalid}");
    wasm.truncate(wasm.len() - 3);
    assert!(error(&wasm).contains("offset 0x"), "{}", error(&wasm));
}

#[test]
fn broken_name_sections_are_ignored() {
    let mut wasm = wat::parse_str("(module (func))").expect("valid text");
    wasm.extend_from_slice(b"\0\x09\x04name\x01\x7f\x05\x01");
    let artifact = compiler(false).compile(&wasm).expect("a valid module");
    assert!(artifact.info.function_names.is_empty());
}

#[test]
fn unknown_flags_are_errors() {
    let mut settings = Settings::default();
    settings.flags.push(("warp_drive".to_owned(), None));
    let error = Compiler::new(settings).expect_err("an unknown flag");
    assert!(format!("{error:#}").contains("warp_drive"), "{error:#}");
}

#[test]
fn hostile_functions_end() {
    let blocks = 2_000;
    let nested = format!(
        "(module (memory 1) (func (param i32) {} (br_table {} (local.get 0)) {}))",
        "(block ".repeat(blocks),
        (0..blocks).map(|depth| depth.to_string()).collect::<Vec<_>>().join(" "),
        ")".repeat(blocks),
    );
    let locals = format!(
        "(module (func {} (loop (local.set 49000 (i64.add (local.get 3) (i64.const 1))) (br 0))))",
        "(local i64 i64 i64 i64 i64 i64 i64 i64 i64 i64)".repeat(4_950),
    );
    let long = format!(
        "(module (memory 1) (func (param i32) {}))",
        "(i32.store (local.get 0) (i32.load offset=4 (local.get 0)))".repeat(4_000),
    );
    for text in [nested, locals, long] {
        for metered in [false, true] {
            let wasm = wat::parse_str(&text).expect("valid text");
            if let Err(error) = compiler(metered).compile(&wasm) {
                assert!(!format!("{error:#}").contains("internal"), "{error:#}");
            }
        }
    }
}

/// Functions with references, over whose calls some of them live, and one without.
const REFERENCES: &str = r#"(module
    (import "host" "make" (func $make (result externref)))
    (import "host" "take" (func $take (param externref)))
    (memory 1)
    (func $holds (param i32 externref) (result i32) (local externref)
        (local.set 2 (call $make))
        (loop $again
            (call $take (local.get 2))
            (local.set 0 (i32.add (local.get 0) (i32.load (local.get 0))))
            (br_if $again (i32.load offset=4 (local.get 0))))
        (call $take (local.get 1))
        (local.get 0))
    (func $passes (param externref) (call $take (local.get 0)))
    (func $none (param i32) (result i32) (call $holds (local.get 0) (ref.null extern))))"#;

#[test]
fn references_are_mapped_where_they_are_live() {
    for metered in [false, true] {
        for opt_level in [OptLevel::None, OptLevel::Speed] {
            let change = |s: &mut Settings| (s.metered, s.opt_level) = (metered, opt_level);
            let artifact = compile(&compiler_with(change), REFERENCES);
            let maps = artifact.sites.stack_maps();
            let live = |function: usize| -> Vec<usize> {
                let range = &artifact.functions[function];
                let calls = artifact.sites.calls().map(|(pc, _)| pc);
                let calls = calls.filter(|&pc| range.contains(&(pc - 1)));
                calls.map(|pc| maps.distances(pc).count()).collect()
            };
            // The calls of `make` and of `take`; slow paths of checks come last.
            let holds = live(0);
            assert_eq!(holds[..3], [1, 2, 0], "{metered} {opt_level:?}");
            assert_eq!(holds[3..], [1, 2][..if metered { 2 } else { 0 }]);
            assert_eq!(live(1), [0, 1][..if metered { 2 } else { 1 }]);
            assert!(live(2).iter().all(|&count| count == 0));
            assert_eq!(artifact.write_through, 0, "counters are located beside references");
            let again = compile(&compiler_with(change), REFERENCES);
            assert_eq!((&artifact.text, maps), (&again.text, again.sites.stack_maps()));
        }
    }
}

#[test]
fn counters_of_programs_are_located() {
    for (name, wasm) in [
        ("x25519", &include_bytes!("../../tests/guests/x25519.wasm")[..]),
        ("sort", include_bytes!("../../tests/guests/sort.wasm")),
        ("json", include_bytes!("../../tests/guests/json.wasm")),
        ("ray", include_bytes!("../../tests/guests/ray.wasm")),
    ] {
        let artifact = compiler(true).compile(wasm).expect("a valid module");
        assert_eq!(artifact.write_through, 0, "{name} of {}", artifact.functions.len());
    }
}
