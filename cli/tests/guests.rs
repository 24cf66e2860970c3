//! Programs in the text format.

/// The functions that they import, and a memory whose first bytes describe one buffer.
const HEAD: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
    (memory (export "memory") 2)
    (func $write (param $fd i32) (param $at i32) (param $len i32) (result i32)
        (i32.store (i32.const 0) (local.get $at))
        (i32.store (i32.const 4) (local.get $len))
        (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
    (func $read (result i32)
        (i32.store (i32.const 0) (i32.const 4096))
        (i32.store (i32.const 4) (i32.const 4096))
        (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
        (i32.load (i32.const 8)))
    (func $copy (local $len i32)
        (loop $again
            (local.set $len (call $read))
            (if (local.get $len) (then
                (drop (call $write (i32.const 1) (i32.const 4096) (local.get $len)))
                (br $again)))))"#;

/// A program with some text at address 16, which `$say` writes.
fn program(text: &str, body: &str) -> String {
    let bytes: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let len = text.len();
    format!(
        r#"{HEAD}
        (data (i32.const 16) "{bytes}")
        (func $say (drop (call $write (i32.const 1) (i32.const 16) (i32.const {len}))))
        (func (export "_start") {body}))"#
    )
}

/// Says a text and exits with a code.
pub(crate) fn says(text: &str, code: u32) -> String {
    program(text, &format!("(call $say) (call $exit (i32.const {code}))"))
}

/// Says a text, and then does what wasm forbids.
pub(crate) fn traps(text: &str) -> String {
    program(text, "(call $say) (call $fails)")
        .replace("(func (export \"_start\")", "(func $fails unreachable) (func (export \"_start\")")
}

/// Says a text, and then never ends.
pub(crate) fn loops(text: &str) -> String {
    program(text, "(call $say) (loop $l (br $l))")
}

/// Says a text again and again, and complains on its standard error when it cannot.
pub(crate) fn says_forever(text: &str) -> String {
    let len = text.len();
    let write = format!("(call $write (i32.const 1) (i32.const 16) (i32.const {len}))");
    let complain = format!("(drop (call $write (i32.const 2) (i32.const 16) (i32.const {len})))");
    program(
        text,
        &format!("(loop $l (br_if $l (i32.eqz {write}))) {complain} (call $exit (i32.const 1))"),
    )
}

/// Says a text, and then what it reads.
pub(crate) fn copies(text: &str) -> String {
    program(text, "(call $say) (call $copy)")
}

/// Says a text, and then its environment, with zeros behind the variables.
pub(crate) fn tells_environment(text: &str) -> String {
    program(
        text,
        "(call $say)
         (drop (call $environ_sizes (i32.const 1024) (i32.const 1028)))
         (drop (call $environ (i32.const 2048) (i32.const 8192)))
         (drop (call $write (i32.const 1) (i32.const 8192) (i32.load (i32.const 1028))))",
    )
}

/// Says its arguments, with zeros behind them.
pub(crate) fn tells_arguments() -> String {
    program(
        "",
        "(drop (call $args_sizes (i32.const 1024) (i32.const 1028)))
         (drop (call $args (i32.const 2048) (i32.const 8192)))
         (drop (call $write (i32.const 1) (i32.const 8192) (i32.load (i32.const 1028))))",
    )
}

/// Makes the directory `made` in the first that it was given, and exits with the error number.
pub(crate) fn makes_a_directory() -> String {
    program("made", "(call $exit (call $mkdir (i32.const 3) (i32.const 16) (i32.const 4)))")
}

/// Takes all memory that it gets, and exits with how many pages it has.
pub(crate) fn takes_memory() -> String {
    program(
        "",
        "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
         (call $exit (memory.size))",
    )
}

/// Writes many lines to its standard error, then says a text.
pub(crate) fn complains(text: &str) -> String {
    program(
        text,
        "(local $i i32)
         (i64.store (i32.const 4096) (i64.const 0x0a_67_1b_6e_6f_72_77))
         (loop $l
            (drop (call $write (i32.const 2) (i32.const 4096) (i32.const 7)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $l (i32.lt_u (local.get $i) (i32.const 500))))
         (call $say)",
    )
}
