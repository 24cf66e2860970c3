//! Guests that ask for much.

/// What is measured of a guest.
#[derive(Clone, Copy)]
pub(crate) enum What {
    /// Its function `run`.
    Run,
    /// The making of it.
    Instantiation,
}

/// A guest: its name, what is measured, and its text. Imports are made to measure.
pub(crate) struct Guest(pub(crate) &'static str, pub(crate) What, pub(crate) String);

fn calls(name: &'static str, text: impl Into<String>) -> Guest {
    Guest(name, What::Run, text.into())
}

fn makes(name: &'static str, text: impl Into<String>) -> Guest {
    Guest(name, What::Instantiation, text.into())
}

/// Guests that ask for much at once.
pub(crate) fn guests() -> Vec<Guest> {
    let run = |head: &str, body: &str| format!("(module {head} (func (export \"run\") {body}))");
    let many = |count: usize, what: &str| what.repeat(count);
    let bytes = many(1 << 20, "0123456789abcdef");
    vec![
        calls(
            "spin",
            run(
                "",
                "(local i32) (loop (br_if 0 (i32.ne (i32.const 100000000)
            (local.tee 0 (i32.add (local.get 0) (i32.const 1))))))",
            ),
        ),
        calls(
            "straight line of divisions",
            format!(
                "(module (func $line (param i64) (result i64) (local.get 0) {})
            (func (export \"run\") (drop (call $line (i64.const -7)))))",
                many(1_000_000, "(i64.const 3) i64.div_u (i64.const -1) i64.xor "),
            ),
        ),
        calls(
            "memory.fill, 1 GiB",
            run(
                "(memory 16384)",
                "(memory.fill (i32.const 0) (i32.const 7) (i32.const 0x4000_0000))",
            ),
        ),
        calls(
            "memory.copy, 512 MiB",
            run(
                "(memory 16384)",
                "(memory.copy (i32.const 0x2000_0000) (i32.const 0) (i32.const 0x2000_0000))",
            ),
        ),
        calls(
            "memory.init, 16 MiB",
            run(
                &format!("(memory 256) (data $d \"{bytes}\")"),
                "(memory.init $d (i32.const 0) (i32.const 0) (i32.const 0x100_0000))",
            ),
        ),
        calls("memory.grow, 4 GiB", run("(memory 0)", "(drop (memory.grow (i32.const 65536)))")),
        calls(
            "memory.grow, page by page",
            run(
                "(memory 0)",
                "(loop (drop (memory.grow (i32.const 1)))
                (br_if 0 (i32.lt_u (memory.size) (i32.const 65535))))",
            ),
        ),
        calls(
            "memory.grow, refused",
            run(
                "(memory 0 1)",
                "(local i32) (loop (drop (memory.grow (i32.const 2))) (br_if 0 (i32.lt_u
                (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 100000))))",
            ),
        ),
        calls(
            "exceptions",
            run(
                "(tag $tag)",
                "(local i32) (loop (block $caught (try_table (catch $tag $caught) (throw $tag)))
                (br_if 0 (i32.lt_u
                (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 100000))))",
            ),
        ),
        calls(
            "memory.grow, page by page, touched",
            run(
                "(memory 0)",
                "(loop (drop (memory.grow (i32.const 1)))
                (memory.fill (i32.mul (i32.const 65536) (i32.sub (memory.size) (i32.const 1)))
                    (i32.const 1) (i32.const 65536))
                (br_if 0 (i32.lt_u (memory.size) (i32.const 24576))))",
            ),
        ),
        calls(
            "table.grow, 10,000,000",
            run("(table 0 funcref)", "(drop (table.grow (ref.null func) (i32.const 10000000)))"),
        ),
        calls(
            "table.grow, not null",
            run(
                "(table 0 funcref) (elem declare func 0)",
                "(drop (table.grow (ref.func 0) (i32.const 10000000)))",
            ),
        ),
        calls(
            "table.grow, 1,000 at a time",
            run(
                "(table 0 funcref)",
                "(loop (drop (table.grow (ref.null func) (i32.const 1000)))
                (br_if 0 (i32.lt_u (table.size) (i32.const 9000000))))",
            ),
        ),
        calls(
            "table.fill, 10,000,000",
            run(
                "(table 10000000 funcref) (elem declare func 0)",
                "(table.fill (i32.const 0) (ref.func 0) (i32.const 10000000))",
            ),
        ),
        calls(
            "table.copy, 5,000,000",
            run(
                "(table 10000000 funcref)",
                "(table.copy (i32.const 0) (i32.const 5000000) (i32.const 5000000))",
            ),
        ),
        calls(
            "table.init, 1,000,000",
            run(
                &format!("(table 1000000 funcref) (elem $e func {})", many(1_000_000, "0 ")),
                "(table.init $e (i32.const 0) (i32.const 0) (i32.const 1000000)) (elem.drop $e)",
            ),
        ),
        calls("host calls", host_calls("(import \"\" \"nothing\" (func $f))", "(call $f)")),
        calls(
            "host calls, async, ready at once",
            host_calls("(import \"\" \"later\" (func $f))", "(call $f)"),
        ),
        calls(
            "host calls of any type, that take structs",
            host_calls(
                "(import \"\" \"take\" (func $f (param anyref i32) (result i32)))
                (type $s (struct)) (global $s (ref $s) (struct.new $s))",
                "(drop (call $f (global.get $s) (local.get 0)))",
            ),
        ),
        calls(
            "array.new and array.copy, 10,000,000",
            run(
                "(type $a (array (mut i8)))",
                "(local (ref null $a))
                (local.set 0 (array.new $a (i32.const 1) (i32.const 10000000)))
                (array.copy $a $a (local.get 0) (i32.const 1) (local.get 0) (i32.const 0)
                    (i32.const 9999999))",
            ),
        ),
        calls(
            "a collection over a large table",
            run(
                "(import \"\" \"new\" (func $new (result externref))) (table 10000000 externref)",
                "(local i32) (loop (drop (call $new)) (br_if 0 (i32.lt_u (i32.const 1000)
                (local.tee 0 (i32.add (local.get 0) (i32.const 1))))))
             (loop (drop (call $new)) (br_if 0 (i32.lt_u
                (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 1000))))",
            ),
        ),
        calls(
            "a collection of 1,000,000 references",
            run(
                "(import \"\" \"new\" (func $new (result externref))) (table 1000000 externref)",
                "(local i32) (loop (table.set (local.get 0) (call $new)) (br_if 0 (i32.lt_u
                (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 1000000))))",
            ),
        ),
        calls(
            "collections of 1,000,000 references, of each few",
            run(
                "(import \"\" \"new\" (func $new (result externref))) ",
                "(local i32) (loop (drop (call $new)) (br_if 0 (i32.lt_u
                (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 1000000))))",
            ),
        ),
        calls("a collection of 1,000,000 structs in a list", structs("list")),
        calls("a collection of 1,000,000 structs in an array", structs("array")),
        calls("a collection of 1,000,000 structs in a table", structs("table")),
        calls(
            "a collection below a deep recursion",
            "(module
            (import \"\" \"new\" (func $new (result externref)))
            (func $deep (param i32) (result externref) (local externref)
                (if (result externref) (local.get 0)
                    (then (call $deep (i32.sub (local.get 0) (i32.const 1))))
                    (else (loop (drop (call $new))
                        (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1)))
                            (i32.const 1000)))) (call $new))))
            (func (export \"run\") (drop (call $deep (i32.const 8000)))))",
        ),
        makes(
            "a data segment of 16 MiB",
            format!("(module (memory 256) (data (i32.const 0) \"{bytes}\"))"),
        ),
        makes(
            "the same in an imported memory",
            format!(
                "(module (import \"\" \"memory\" (memory 256)) (data (i32.const 0) \"{bytes}\"))"
            ),
        ),
        makes(
            "100,000 data segments in an imported memory",
            format!(
                "(module (import \"\" \"memory\" (memory 256)) {})",
                many(100_000, "(data (i32.const 9) \"abc\")")
            ),
        ),
        makes(
            "an element segment of 1,000,000",
            format!(
                "(module (table 1000000 funcref) (func) (elem (i32.const 0) func {}))",
                many(1_000_000, "0 ")
            ),
        ),
        makes(
            "a passive element segment of 1,000,000",
            format!(
                "(module (table 1000000 funcref) (func) (elem func {}))",
                many(1_000_000, "0 ")
            ),
        ),
        makes(
            "100,000 globals",
            format!("(module {})", many(100_000, "(global i32 (i32.const 1))")),
        ),
        makes(
            "100,000 imported functions",
            format!(
                "(module {})",
                many(100_000, "(import \"\" \"new\" (func (result externref)))")
            ),
        ),
        makes(
            "100,000 imported globals",
            format!("(module {})", many(100_000, "(import \"\" \"global\" (global i32))")),
        ),
        makes(
            "100,000 functions that escape",
            format!(
                "(module {} (elem declare func {}))",
                many(100_000, "(func)"),
                (0..100_000).map(|index| format!("{index} ")).collect::<String>()
            ),
        ),
    ]
}

/// A guest that does nothing but call the host.
fn host_calls(head: &str, call: &str) -> String {
    format!(
        "(module {head} (func (export \"run\") (local i32) (loop {call} (br_if 0 (i32.lt_u
            (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 1000000))))))"
    )
}

/// A guest that makes a million structs, keeps them, and makes others until all were collected some times.
fn structs(kept: &str) -> String {
    let keep = match kept {
        "list" => "(global.set $list (struct.new $link (global.get $list) (i64.const 1)))",
        "array" => {
            "(array.set $links (local.get 1) (local.get 0)
                (struct.new $link (ref.null $link) (i64.const 1)))"
        }
        _ => "(table.set (local.get 0) (struct.new $link (ref.null $link) (i64.const 1)))",
    };
    format!(
        r#"(module
            (type $link (struct (field (ref null $link)) (field i64)))
            (type $links (array (mut (ref null $link))))
            (global $list (mut (ref null $link)) (ref.null $link))
            (table 1000000 (ref null $link))
            (func (export "run") (local i32 (ref null $links))
                (local.set 1 (array.new_default $links (i32.const 1000000)))
                (loop {keep}
                    (br_if 0 (i32.lt_u
                        (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 1000000))))
                (loop (drop (struct.new $link (ref.null $link) (i64.const 1)))
                    (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                (drop (array.len (local.get 1)))))"#
    )
}
