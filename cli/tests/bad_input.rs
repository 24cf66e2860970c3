//! Bad input gets a clear line, a hint where there is one, and exit code 2.

use crate::support::{MODULE, Workplace};

#[test]
fn unknown_commands_and_flags_are_misuse() {
    let place = Workplace::new();
    place.run(&[]).failed(2, &["Usage: lampwick <COMMAND>", "Examples:"]);
    place.run(&["rnu"]).failed(2, &["unrecognized subcommand 'rnu'"]);
    place.run(&["inspect", "--jsn", "x"]).failed(2, &["'--jsn'", "tip:", "'--json'"]);
    place.run(&["run", "--fule", "3", "x.wasm"]).failed(2, &["no option `--fule`", "--help"]);
    place.run(&["run", "-z", "x.wasm"]).failed(2, &["no option `-z`"]);
    for command in ["run", "serve"] {
        let words = ["'100000' for '--workers <COUNT>'", "1..=1024"];
        place.run(&[command, "--workers", "100000", "x"]).failed(2, &words);
    }
    place.run(&["run", "--timeout", "101years", "x"]).failed(2, &["100 years at most"]);
    place.run(&["run", "--timeout", "soon", "x"]).failed(2, &["'soon' for '--timeout"]);
    place.run(&["serve", "--prot", "3", "."]).failed(2, &["unexpected argument '--prot'"]);
    place.run(&["compile"]).failed(2, &["<MODULE>"]);
}

#[test]
fn files_that_are_missing_or_no_wasm_are_named() {
    let place = Workplace::new().with("notes.txt", "wick and wax").with("empty", "");
    for command in ["compile", "inspect"] {
        place
            .run(&[command, "gone"])
            .failed(2, &["cannot read `gone`", "No such file", "`gone.wasm`?"]);
        place.run(&[command, "."]).failed(2, &["cannot read `.`", "directory"]);
        place
            .run(&[command, "notes.txt"])
            .failed(2, &["`notes.txt` is no WebAssembly", "\"wick and\"", "hint:", "\\0asm"]);
        place.run(&[command, "empty"]).failed(2, &["`empty` is no WebAssembly"]);
    }
    place.run(&["wast", "gone.wast"]).failed(2, &["cannot read `gone.wast`", "No such file"]);
}

#[test]
fn modules_that_cannot_be_compiled_are_refused_with_the_place() {
    let place = Workplace::new()
        .with("text.wat", "(module (func (result i32)\n  (bogus)))")
        .with("invalid.wat", "(module (func (result i32)))")
        .with("cut.wasm", b"\0asm\x01\0\0\0\x01\xff");
    place.run(&["compile", "text.wat"]).failed(2, &["cannot compile `text.wat`", ":2:4"]);
    place.run(&["compile", "invalid.wat"]).failed(2, &["`invalid.wat`", "type mismatch", "offset"]);
    place.run(&["inspect", "cut.wasm"]).failed(2, &["`cut.wasm`", "offset 0x"]);
}

#[test]
fn a_cause_is_printed_once() {
    let place = Workplace::new().with("invalid.wat", "(module (func (result i32)))");
    let ran = place.run(&["compile", "invalid.wat"]);
    assert_eq!(ran.stderr.matches("type mismatch").count(), 1, "{ran:?}");
    assert!(ran.stderr.starts_with("error: cannot compile `invalid.wat`: "), "{ran:?}");
}

#[test]
fn artifacts_that_were_damaged_are_refused() {
    let place = Workplace::new().with("m.wat", MODULE);
    place.run(&["compile", "m.wat"]).succeeded();
    let artifact = place.path("m.lampwick");
    let mut bytes = std::fs::read(&artifact).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&artifact, &bytes).unwrap();
    place.run(&["inspect", "m.lampwick"]).failed(2, &["`m.lampwick`", "checksum"]);
}

#[test]
fn artifacts_of_another_build_are_refused_with_a_hint() {
    use std::io::Write as _;
    let place = Workplace::new().with("m.wat", MODULE);
    place.run(&["compile", "m.wat"]).succeeded();
    let mut bytes = std::fs::read(place.path("m.lampwick")).unwrap();
    // The version's text begins with that of the package, behind checksum and length.
    let version = format!("{}+", env!("CARGO_PKG_VERSION"));
    let at = bytes.windows(version.len()).position(|it| it == version.as_bytes()).unwrap();
    bytes[at] ^= 1;
    let checksum = twox_hash_of(&bytes);
    bytes[80..96].copy_from_slice(&checksum);
    std::fs::File::create(place.path("m.lampwick")).unwrap().write_all(&bytes).unwrap();
    place.run(&["inspect", "m.lampwick"]).failed(
        2,
        &["`m.lampwick`", "was made by Lampwick", "hint: it is from another build", "compile"],
    );
}

/// The checksum that an artifact of these bytes has: of all but itself.
fn twox_hash_of(bytes: &[u8]) -> [u8; 16] {
    let mut hasher = twox_hash::xxhash3_128::Hasher::new();
    hasher.write(&bytes[..80]);
    hasher.write(&bytes[96..]);
    hasher.finish_128().to_le_bytes()
}

#[test]
fn programs_that_are_none_of_preview_1_are_told_what_they_are() {
    let thread = r#"(module (import "wasi" "thread-spawn" (func (param i32) (result i32)))
        (func (export "_start")))"#;
    let shared = r#"(module (import "env" "memory" (memory 1 2 shared)) (func (export "_start")))"#;
    let place = Workplace::new()
        .with("thread.wat", thread)
        .with("shared.wat", shared)
        .with("part.wasm", b"\0asm\x0d\0\x01\0");
    for command in ["run", "compile", "inspect"] {
        let words = ["`thread.wat` is a program of several threads", "`wasi::thread-spawn`"];
        place.run(&[command, "thread.wat"]).failed(2, &words);
        let words =
            ["`shared.wat` is a program", "a shared memory, `env::memory`", "wasm32-wasip1"];
        place.run(&[command, "shared.wat"]).failed(2, &words);
        let words = ["`part.wasm` is no module: it is a component", "hint:", "wasm32-wasip1"];
        place.run(&[command, "part.wasm"]).failed(2, &words);
    }
    let any = "127.0.0.1:0";
    let serve = ["serve", ".", "--listen", any, "--admin", any];
    place.run(&serve).failed(2, &["`./", "wasm32-wasip1"]);
}
