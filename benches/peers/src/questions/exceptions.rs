//! What does it cost a guest that calls may throw, and to throw and catch?

use crate::report::Report;
use crate::synchronous;
use anyhow::Result;

/// Calls a function so often, from inside of such a construct, with five values that live across
/// each call.
fn among_values(construct: &str) -> String {
    let step = "(i64.mul (local.get $e) (i64.const 3))";
    calls(
        construct,
        &format!(
            "(local.set $a (i64.add (local.get $a) (local.get $b)))
             (local.set $b (i64.xor (local.get $b) (local.get $c)))
             (local.set $c (i64.add (local.get $c) (local.get $d)))
             (local.set $d (i64.xor (local.get $d) (local.get $e)))
             (local.set $e (i64.add {step} (local.get $value)))"
        ),
    )
}

fn calls(construct: &str, values: &str) -> String {
    format!(
        "(module
           (func $next (param i64) (result i64) (i64.add (local.get 0) (i64.const 1)))
           (func (export \"run\") (param $times i64) (result i64)
             (local $value i64) (local $a i64) (local $b i64) (local $c i64) (local $d i64)
             (local $e i64)
             (block $h
               ({construct}
                 (loop $again
                   (local.set $value (call $next (local.get $value)))
                   {values}
                   (local.set $times (i64.sub (local.get $times) (i64.const 1)))
                   (br_if $again (i64.ne (local.get $times) (i64.const 0))))))
             (i64.add (local.get $a) (local.get $value))))"
    )
}

/// Throws from so many calls further down, and catches.
fn throws(depth: u32) -> String {
    format!(
        "(module
           (tag $t (param i64))
           (func $down (param $depth i32) (param $value i64)
             (if (i32.eqz (local.get $depth)) (then (throw $t (local.get $value))))
             (call $down (i32.sub (local.get $depth) (i32.const 1)) (local.get $value)))
           (func (export \"run\") (param $times i64) (result i64)
             (local $sum i64)
             (loop $again
               (block $h (result i64)
                 (try_table (catch $t $h) (call $down (i32.const {depth}) (local.get $times)))
                 (i64.const 0))
               (local.set $sum (i64.add (local.get $sum)))
               (local.set $times (i64.sub (local.get $times) (i64.const 1)))
               (br_if $again (i64.ne (local.get $times) (i64.const 0))))
             (local.get $sum)))"
    )
}

pub fn run(report: &mut Report) -> Result<()> {
    let in_try = "try_table (catch_all $h)";
    let guests = [
        ("a call", calls("block", "")),
        ("a call in a try_table", calls(in_try, "")),
        ("a call among five values", among_values("block")),
        ("a call among five values in a try_table", among_values(in_try)),
        ("throw and catch", throws(0)),
        ("throw, and catch 20 frames further up", throws(20)),
    ];
    for (work, guest) in guests {
        synchronous::run("exceptions, unmetered", work, &guest, report)?;
    }
    Ok(())
}
