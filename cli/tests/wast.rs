//! `lampwick wast`.

use crate::support::Workplace;

const GOOD: &str = r#"(module (func (export "f") (param i32) (result i32)
        (i32.div_u (i32.const 6) (local.get 0))))
    (assert_return (invoke "f" (i32.const 3)) (i32.const 2))
    (assert_trap (invoke "f" (i32.const 0)) "integer divide by zero")"#;

#[test]
fn assertions_are_counted_over_all_files() {
    let place = Workplace::new().with("a.wast", GOOD).with("b.wast", GOOD);
    let text = place.run(&["wast", "a.wast", "b.wast"]).succeeded();
    assert_eq!(text, "4 passed, 0 failed\n");
    let text = place.run(&["wast", "--slices", "a.wast"]).succeeded();
    assert_eq!(text, "6 passed, 0 failed\n");
}

#[test]
fn what_does_not_hold_is_named_by_its_line() {
    let bad = format!("{GOOD}\n(assert_return (invoke \"f\" (i32.const 1)) (i32.const 5))");
    let place = Workplace::new().with("a.wast", GOOD).with("bad.wast", bad);
    let ran = place.run(&["wast", "bad.wast", "a.wast"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(ran.stdout, "4 passed, 1 failed\n");
    assert!(ran.stderr.contains("bad.wast (fuel off):5: result 0: expected I32(5)"), "{ran:?}");
}

#[test]
fn what_is_no_script_is_misuse() {
    let place = Workplace::new().with("text.wast", "(module)\n(wick)");
    place.run(&["wast", "text.wast"]).failed(2, &["`text.wast` is no script: line 2, column 2"]);
}
