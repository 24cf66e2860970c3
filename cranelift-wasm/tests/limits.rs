//! Hostile and unsupported bodies: correct code or an error, in bounded time and stack.

mod common;

use common::{Env, error, translate, try_translate};
use cranelift_wasm::WasmError;

fn limited(text: &str) -> &'static str {
    match error(text) {
        WasmError::Limit(what) => what,
        other => panic!("not a limit: {other}"),
    }
}

#[test]
fn an_invalid_body_is_named_with_its_offset() {
    let invalid = error("(module (func (result i32) i64.const 0))");
    assert!(matches!(invalid, WasmError::Invalid(_)));
    assert!(invalid.to_string().contains("type mismatch"), "{invalid}");
    let invalid = error("(module (func (br 1)))");
    assert!(invalid.to_string().contains("offset"), "{invalid}");
}

#[test]
fn other_proposals_are_unsupported() {
    for (what, text) in [
        ("i64_mul_wide_s", "i64.const 1 i64.const 1 i64.mul_wide_s drop drop"),
        ("i64_add128", "i64.const 1 i64.const 1 i64.const 1 i64.const 1 i64.add128 drop drop"),
    ] {
        let error = error(&format!("(module (memory 1) (func {text}))"));
        let text = error.to_string();
        assert!(matches!(error, WasmError::Unsupported { offset: 1.., .. }), "{text}");
        assert!(text.contains(what), "{text}");
    }
}

#[test]
fn a_memory_limit_refuses_what_takes_more_and_changes_nothing_else() {
    let mut translator = cranelift_wasm::FuncTranslator::new();
    let mut translate = |size: usize, limit| {
        let mut env = Env::new();
        translator.set_memory_limit(limit);
        let text =
            format!("(module (func (param i32) {}))", "local.get 0 i32.clz drop ".repeat(size));
        common::translate_with(&mut translator, &mut env, &wat::parse_str(text).unwrap())
    };
    assert!(translate(1000, Some(1 << 30)).is_ok());
    let refused = translate(1000, Some(100_000)).expect_err("too large");
    assert!(matches!(refused, WasmError::Memory(100_000)), "{refused}");
    // One function's size does not count for the next.
    assert!(translate(1, Some(100_000)).is_ok());
    assert!(translate(1000, None).is_ok());
}

#[test]
fn a_translator_survives_an_error() {
    let mut translator = cranelift_wasm::FuncTranslator::new();
    let mut env = Env::new();
    for (text, valid) in [
        (
            "(module (func (param i32) (loop (br_if 0 (local.get 0)) (drop (i64.eqz (local.get 0))))))",
            false,
        ),
        ("(module (func (param i32) (loop (br_if 0 (local.get 0)))))", true),
    ] {
        env.types.clear();
        env.functions.clear();
        let wasm = wat::parse_str(text).unwrap();
        let result = common::translate_with(&mut translator, &mut env, &wasm);
        assert_eq!(result.is_ok(), valid);
    }
}

#[test]
fn many_locals() {
    let locals = "i32 i64 f32 f64 funcref ".repeat(9_999);
    translate(
        &mut Env::new(),
        &format!(
            "(module (func (local {locals}) (loop (local.set 49994 (ref.null func)) (br_if 0 (local.get 49990)))))"
        ),
    );
    let too_many = error(&format!("(module (func (local {locals} {locals})))"));
    assert!(matches!(too_many, WasmError::Invalid(_)));
}

#[test]
fn deep_nesting() {
    let depth = 20_000;
    let mut wasm = vec![];
    for (open, close) in [
        (&[0x02, 0x40][..], &[0x0b][..]),
        (&[0x03, 0x40], &[0x0b]),
        (&[0x41, 0x00, 0x04, 0x40], &[0x0b]),
        (&[0x41, 0x00, 0x04, 0x40], &[0x05, 0x0b]),
    ] {
        for dead in [false, true] {
            wasm.clear();
            wasm.push(0);
            if dead {
                wasm.push(0x00);
            }
            wasm.extend(open.repeat(depth));
            wasm.extend(close.repeat(depth));
            wasm.push(0x0b);
            common::translate_binary(&mut Env::new(), &common::module_of(&wasm)).unwrap();
        }
    }
}

#[test]
fn branches_out_of_deep_nesting() {
    let depth = 5_000;
    let mut body = vec![0];
    body.extend([0x02, 0x40].repeat(depth));
    for label in 0..depth as u64 {
        body.extend([0x41, 0x00, 0x0d]);
        body.extend(common::leb128(label));
    }
    body.extend([0x0b].repeat(depth + 1));
    common::translate_binary(&mut Env::new(), &common::module_of(&body)).unwrap();
}

#[test]
fn thousands_of_values() {
    let types = "i32 i64 f32 f64 ".repeat(250);
    let results = format!("(param {types}) (result {types})");
    let gets: String = (0..1_000).map(|i| format!("(local.get {i})")).collect();
    translate(
        &mut Env::new(),
        &format!(
            "(module (func {results} {gets}
                (block {results} (br_if 0 (i32.const 1)) (loop {results} (br_if 1 (i32.const 0))))
                (if {results} (i32.const 0) (then))
                (br_table 0 0 0 (i32.const 0))))"
        ),
    );
}

#[test]
fn branches_with_many_values_are_limited() {
    let types = "i64 ".repeat(1_000);
    let values = "(i64.const 0)".repeat(1_000);
    let branches = "(br_if 0 (i32.const 0))".repeat(20_000);
    let what = limited(&format!("(module (func (result {types}) {values} {branches}))"));
    assert!(what.contains("arguments"), "{what}");
}

#[test]
fn values_of_calls_are_limited() {
    let types = "i64 ".repeat(1_000);
    let calls = "(call $f)".repeat(5_000);
    let what = limited(&format!(
        "(module (func $f (result {types}) unreachable) (func {calls} unreachable))"
    ));
    assert!(what.contains("2^22"), "{what}");
    // In dead code they are on the validator's stack alone.
    let what = limited(&format!(
        "(module (func $f (result {types}) unreachable) (func unreachable {calls}))"
    ));
    assert!(what.contains("operand stack"), "{what}");
}

#[test]
fn tables_are_limited() {
    // The last target is the default, which is no entry.
    let targets = "0 ".repeat(1 << 18);
    let table = |more| format!("(module (func (br_table {targets} {more} (i32.const 0))))");
    translate(&mut Env::new(), &table("0"));
    let what = limited(&table("0 0"));
    assert!(what.contains("br_table"), "{what}");
}

#[test]
fn locals_times_blocks_are_limited() {
    let locals = "i32 ".repeat(40_000);
    let uses: String = (0..40_000).map(|i| format!("(local.set {i} (i32.const 1))")).collect();
    let blocks = "(if (i32.const 0) (then))".repeat(10_000);
    let what = limited(&format!("(module (func (local {locals}) {blocks} {uses}))"));
    assert!(what.contains("locals"), "{what}");
}

#[test]
fn references_are_declared_for_stack_maps() {
    let mut env = Env::new();
    env.collect = true;
    let functions = try_translate(
        &mut env,
        "(module (func $f) (func (param externref i32) (result externref)
            (block (result externref)
                (select (result externref) (local.get 0) (ref.null extern) (local.get 1))
                (br_if 0 (local.get 1))
                (call $f))
            (call $f)))",
    )
    .unwrap();
    assert!(functions[1].display().to_string().contains("stack_map"));
}

#[test]
fn references_times_blocks_and_calls_are_limited() {
    let function = |refs: usize, depth: usize, calls: usize| {
        let locals = "externref ".repeat(refs);
        let uses: String = (0..refs).map(|i| format!("(call $use (local.get {i}))")).collect();
        let (loops, calls) = ("(loop ".repeat(depth), "(call $f)".repeat(calls));
        let ends = ")".repeat(depth);
        format!(
            "(module (func $f) (func $use (param externref))
                (func (local {locals}) {loops} {calls} {ends} {uses}))"
        )
    };
    let collecting = |text: &str| {
        let mut env = Env::new();
        env.collect = true;
        try_translate(&mut env, text).map(drop)
    };
    for (refs, depth, calls) in [(1000, 1, 6000), (1000, 20, 0), (10, 1000, 0)] {
        let text = function(refs, depth, calls);
        assert!(collecting(&text).is_ok(), "{refs} {depth} {calls}");
    }
    for (refs, depth, calls) in [(1000, 1, 8000), (1000, 300, 0), (200, 1000, 0)] {
        let text = function(refs, depth, calls);
        let Err(WasmError::Limit(what)) = collecting(&text) else {
            panic!("{refs} {depth} {calls}: no limit")
        };
        assert!(what.contains("references"), "{what}");
        // Where nothing collects, nothing is searched.
        assert!(try_translate(&mut Env::new(), &text).is_ok());
    }
}
