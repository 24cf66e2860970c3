//! What do structs and arrays cost a guest, collections included?

use crate::report::Report;
use crate::synchronous;
use anyhow::Result;

/// A guest that does something so many times.
fn again(definitions: &str, before: &str, step: &str) -> String {
    format!(
        "(module
           (type $node (sub (struct (field $value (mut i64)) (field $next (mut (ref null any))))))
           (type $leaf (sub $node
             (struct (field $value (mut i64)) (field $next (mut (ref null any))))))
           (type $numbers (array (mut i64)))
           {definitions}
           (func (export \"run\") (param $times i64) (result i64)
             (local $node (ref null $node)) (local $array (ref null $numbers)) (local $sum i64)
             {before}
             (loop $again
               {step}
               (local.set $times (i64.sub (local.get $times) (i64.const 1)))
               (br_if $again (i64.ne (local.get $times) (i64.const 0))))
             (local.get $sum)))"
    )
}

/// Makes something that nobody has a reference to any more when the next one is made.
fn makes(step: &str) -> String {
    again("", "", step)
}

/// Goes around in a circle of a thousand leaves, which are made at first; each node names the next
/// one as anything.
fn walks(step: &str) -> String {
    let list = "
        (global $list (mut (ref null $node)) (ref.null $node))
        (func $make (local $i i64) (local $first (ref null $node)) (local $last (ref null $node))
          (local.set $first (struct.new $leaf (i64.const 0) (ref.null any)))
          (local.set $last (local.get $first))
          (loop $more
            (local.set $last
              (struct.new $leaf (local.get $i) (local.get $last)))
            (local.set $i (i64.add (local.get $i) (i64.const 1)))
            (br_if $more (i64.lt_u (local.get $i) (i64.const 999))))
          (struct.set $node $next (local.get $first) (local.get $last))
          (global.set $list (local.get $first)))";
    let before = "
        (if (ref.is_null (global.get $list)) (then (call $make)))
        (local.set $node (global.get $list))";
    again(list, before, step)
}

pub fn run(report: &mut Report) -> Result<()> {
    let next =
        "(local.set $node (ref.cast (ref $node) (struct.get $node $next (local.get $node))))";
    let guests = [
        (
            "struct.new of two fields",
            makes("(local.set $node (struct.new $node (local.get $times) (ref.null any)))"),
        ),
        (
            "array.new of 16 numbers",
            makes("(local.set $array (array.new $numbers (local.get $times) (i32.const 16)))"),
        ),
        (
            "array.new of 1,000 numbers",
            makes("(local.set $array (array.new $numbers (local.get $times) (i32.const 1000)))"),
        ),
        ("struct.get and ref.cast to the next of a list", walks(next)),
        (
            "the same, and struct.get and struct.set there",
            walks(&format!(
                "{next}
                 (struct.set $node $value (local.get $node)
                   (i64.add (struct.get $node $value (local.get $node)) (local.get $times)))"
            )),
        ),
    ];
    for (work, guest) in guests {
        synchronous::run("objects, unmetered", work, &guest, report)?;
    }
    Ok(())
}
