//! Compiled programs, run as a command runs them.

use lampwick::{Config, Engine, Linker, Module, Store};
use lampwick_wasi::{
    DirPerms, FilePerms, I32Exit, MemoryOutputPipe, WasiCtx, WasiCtxBuilder, add_to_linker,
};
use tempfile::{TempDir, tempdir};
use tokio::io::AsyncWriteExt;

use crate::support::engine;

/// What a program printed, and its status.
struct Ended {
    out: String,
    err: String,
    status: i32,
    /// The fuel it burned, in engines that count it.
    fuel: Option<u64>,
}

async fn run(wasm: &[u8], builder: &mut WasiCtxBuilder) -> Ended {
    run_in(&engine(), wasm, builder).await
}

async fn run_in(engine: &Engine, wasm: &[u8], builder: &mut WasiCtxBuilder) -> Ended {
    run_to(MemoryOutputPipe::new(1 << 20), engine, wasm, builder).await
}

async fn run_to(
    out: MemoryOutputPipe,
    engine: &Engine,
    wasm: &[u8],
    builder: &mut WasiCtxBuilder,
) -> Ended {
    run_module(out, engine, &Module::new(engine, wasm).unwrap(), builder).await
}

async fn run_module(
    out: MemoryOutputPipe,
    engine: &Engine,
    module: &Module,
    builder: &mut WasiCtxBuilder,
) -> Ended {
    let err = MemoryOutputPipe::new(1 << 20);
    builder.stdout(out.clone()).stderr(err.clone());
    let mut linker = Linker::new(engine);
    add_to_linker(&mut linker, |ctx: &mut WasiCtx| ctx).unwrap();
    let mut store = Store::new(engine, builder.build());
    if store.add_fuel(0).is_ok() {
        store.out_of_fuel_async_yield(u64::MAX, 1_009);
    }
    let instance = linker.instantiate_async(&mut store, module).await.unwrap();
    let start = instance.get_typed_func::<(), (), _>(&mut store, "_start").unwrap();
    let status = match start.call_async(&mut store, ()).await {
        Ok(()) => 0,
        Err(trap) => I32Exit::of(&trap).unwrap_or_else(|| panic!("{trap}")).0,
    };
    let text = |pipe: MemoryOutputPipe| String::from_utf8(pipe.contents().to_vec()).unwrap();
    Ended { out: text(out), err: text(err), status, fuel: store.fuel_consumed() }
}

#[tokio::test]
async fn a_program_greets() {
    let wasm = include_bytes!("guests/hello.wasm");
    let ended = run(wasm, WasiCtxBuilder::new().arg("hello")).await;
    assert_eq!((&ended.out[..], &ended.err[..], ended.status), ("hello, world\n", "0 lines\n", 0));
    let mut builder = WasiCtxBuilder::new();
    builder.args(&["hello", "3", "zwei"]).env("NAME", "Lampwick").stdin(&b"one\ntwo\n"[..]);
    let ended = run(wasm, &mut builder).await;
    let expected = "hello, Lampwick\nargument 1: 3\nargument 2: zwei\n1: one\n2: two\n";
    assert_eq!((&ended.out[..], &ended.err[..], ended.status), (expected, "2 lines\n", 3));
}

#[tokio::test]
async fn a_program_works_with_files() {
    let dir = tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(dir.path().join("secret"), "secret").unwrap();
    let mut builder = WasiCtxBuilder::new();
    builder.args(&["files", "/data"]);
    builder.preopened_dir(&root, "/data", DirPerms::all(), FilePerms::all()).unwrap();
    // In slices of fuel, so that it is suspended by both, its computing and its waiting.
    let engine = Engine::new(Config::new().async_support(true).consume_fuel(true)).unwrap();
    let ended = run_in(&engine, include_bytes!("guests/files.wasm"), &mut builder).await;
    // The link, 300 files, the numbers, and two for the directories.
    let expected = "last: 99999\nsize: 588890\nnames: 304\nbytes: 0\n1\n";
    assert!(ended.out.starts_with(expected), "{}", ended.out);
    assert!(ended.out[expected.len()..].starts_with("refused: "), "{}", ended.out);
    assert_eq!(ended.status, 0);
    assert_eq!(std::fs::read(root.join("sub/n")).unwrap(), b"0\n1\n");
}

#[tokio::test]
async fn the_same_program_fails_cleanly_where_it_may_only_read() {
    let dir = tempdir().unwrap();
    let mut builder = WasiCtxBuilder::new();
    builder.args(&["files", "/data"]);
    builder.preopened_dir(dir.path(), "/data", DirPerms::READ, FilePerms::READ).unwrap();
    let ended = run(include_bytes!("guests/files.wasm"), &mut builder).await;
    assert!(ended.out.starts_with("fopen: "), "{}", ended.out);
    assert_eq!(ended.status, 1);
    assert!(dir.path().read_dir().unwrap().next().is_none());
}

#[tokio::test]
async fn a_program_in_rust_finds_what_its_library_expects() {
    let dir = tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(dir.path().join("secret"), "secret").unwrap();
    std::fs::write(root.join("given"), "text").unwrap();
    let wasm = include_bytes!("guests/library.wasm");
    let seen = "1 variables\ngiven: Ok(\"text\")\nsecret: Err(PermissionDenied)\n";
    // First where it may only read.
    let mut builder = WasiCtxBuilder::new();
    builder.args(&["library", "/data"]).env("A", "1");
    builder.preopened_dir(&root, "/data", DirPerms::READ, FilePerms::READ).unwrap();
    let ended = run(wasm, &mut builder).await;
    assert_eq!((&ended.out[..], ended.status), (&format!("{seen}failed: Uncategorized\n")[..], 9));
    let mut builder = WasiCtxBuilder::new();
    builder.args(&["library", "/data"]).env("A", "1");
    builder.preopened_dir(&root, "/data", DirPerms::all(), FilePerms::all()).unwrap();
    let ended = run(wasm, &mut builder).await;
    let done = "read 10 of 200000\n[\"a\", \"copy\", \"given\", \"linked\", \"moved\"]\n\"xxxxxend\"\ndone\n";
    assert_eq!((&ended.out[..], ended.status), (&format!("{seen}{done}")[..], 0), "{}", ended.err);
}

#[tokio::test]
async fn a_program_waits() {
    let (mut feed, stdin) = tokio::io::duplex(64);
    let mut builder = WasiCtxBuilder::new();
    builder.stdin(stdin);
    let (engine, out) = (engine(), MemoryOutputPipe::new(1000));
    let wasm = include_bytes!("guests/wait.wasm");
    let (ended, ()) = tokio::join!(run_to(out.clone(), &engine, wasm, &mut builder), async {
        // Both of its timeouts are over when it has said so.
        while !out.contents().ends_with(b"nothing: 0\n") {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        feed.write_all(b"input").await.unwrap();
    });
    assert_eq!(ended.out, "slept: 1\nnothing: 0\nready: 1, read: input\n");
}

/// A guest's fuel does not depend on how long it waits, nor on the host's clock.
#[tokio::test]
async fn a_program_burns_the_same_fuel_each_time() {
    let engine = Engine::new(Config::new().async_support(true).consume_fuel(true)).unwrap();
    let mut fuel = Vec::new();
    for pauses in [0, 1, 20] {
        let (mut feed, stdin) = tokio::io::duplex(1);
        let mut builder = WasiCtxBuilder::new();
        builder.args(&["hello", "5"]).stdin(stdin);
        let wasm = include_bytes!("guests/hello.wasm");
        // Its input comes byte by byte, and it waits for each.
        let (ended, ()) = tokio::join!(run_in(&engine, wasm, &mut builder), async {
            for byte in b"some input" {
                for _ in 0..pauses {
                    tokio::task::yield_now().await;
                }
                feed.write_all(&[*byte]).await.unwrap();
            }
            drop(feed);
        });
        assert_eq!((&ended.err[..], ended.status), ("1 lines\n", 5));
        fuel.push(ended.fuel.unwrap());
    }
    assert!(fuel[0] > 0 && fuel.iter().all(|&burned| burned == fuel[0]), "{fuel:?}");
}

#[tokio::test]
async fn a_program_of_others_computes() {
    let mut builder = WasiCtxBuilder::new();
    builder.args(&["icepll", "-i", "12", "-o", "48"]);
    let ended = run(include_bytes!("guests/icepll.wasm"), &mut builder).await;
    assert_eq!(ended.status, 0, "{}", ended.err);
    for line in ["F_PLLIN:    12.000 MHz (given)", "F_PLLOUT:   48.000 MHz (requested)"] {
        assert!(ended.out.contains(line), "{}", ended.out);
    }
    // 12 MHz * 64 = 768 MHz, divided by 16.
    for line in ["DIVR:  0 (4'b0000)", "DIVF: 63 (7'b0111111)", "DIVQ:  4 (3'b100)"] {
        assert!(ended.out.contains(line), "{}", ended.out);
    }
    let mut builder = WasiCtxBuilder::new();
    let ended = run(include_bytes!("guests/icepll.wasm"), builder.args(&["icepll", "-x"])).await;
    assert_eq!(ended.status, 1);
    assert!(ended.err.contains("unrecognized option"), "{}{}", ended.out, ended.err);
}

/// Tools of a chip's makers, which have one directory.
struct Tools {
    engine: Engine,
    place: TempDir,
}

impl Tools {
    fn tool(&self, wasm: &[u8]) -> Module {
        Module::new(&self.engine, wasm).unwrap()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.place.path().join(name)).unwrap()
    }

    fn write(&self, name: &str, contents: &str) {
        std::fs::write(self.place.path().join(name), contents).unwrap();
    }

    /// Runs a tool, and checks its status.
    async fn run(&self, tool: &Module, args: &[&str], input: &str, status: i32) -> Ended {
        let mut builder = WasiCtxBuilder::new();
        builder.arg("tool").args(args).stdin(std::io::Cursor::new(input.to_owned()));
        builder.preopened_dir(&self.place, "/", DirPerms::all(), FilePerms::all()).unwrap();
        let out = MemoryOutputPipe::new(1 << 20);
        let ended = run_module(out, &self.engine, tool, &mut builder).await;
        assert_eq!(ended.status, status, "{args:?}: {}{}", ended.out, ended.err);
        ended
    }
}

/// A block of memory as a bitstream's text has it: 16 lines of 16 words, the last word first.
fn block(hex: &str) -> String {
    let words: Vec<&str> = hex.split_whitespace().collect();
    let line = |words: &[&str]| words.iter().rev().copied().collect::<String>() + "\n";
    words.chunks(16).map(line).collect()
}

/// One after the other: new contents for a memory, the bitstream of it, an image of two bitstreams.
#[tokio::test]
async fn programs_of_others_hand_files_on() {
    let tools = Tools { engine: engine(), place: tempdir().unwrap() };
    let icebram = tools.tool(include_bytes!("guests/icebram.wasm"));
    // Random contents, which are the same for the same seed.
    let mut contents = Vec::new();
    for (name, seed) in [("from", "1"), ("to", "2"), ("again", "1")] {
        let made = tools.run(&icebram, &["-g", "-s", seed, "16", "256"], "", 0).await.out;
        assert_eq!(made.split_whitespace().count(), 256, "{made}");
        tools.write(name, &made);
        contents.push(made);
    }
    assert!(contents[0] == contents[2] && contents[0] != contents[1]);
    let text = |hex| format!(".device 1k\n.ram_data 3 1\n{}", block(hex));
    let replaced = tools.run(&icebram, &["/from", "/to"], &text(&contents[0]), 0).await.out;
    assert_eq!(replaced, text(&contents[1]));

    // As a bitstream, and back. The whole chip is in the second text, so that it stays as it is.
    let icepack = tools.tool(include_bytes!("guests/icepack.wasm"));
    tools.write("a.asc", &replaced);
    tools.run(&icepack, &["/a.asc", "/a.bin"], "", 0).await;
    tools.run(&icepack, &["-u", "/a.bin", "/b.asc"], "", 0).await;
    let unpacked = String::from_utf8(tools.read("b.asc")).unwrap();
    assert!(unpacked.contains(&format!(".ram_data 3 1\n{}", block(&contents[1]))));
    tools.run(&icepack, &["/b.asc", "/b.bin"], "", 0).await;
    tools.run(&icepack, &["-u", "/b.bin", "/c.asc"], "", 0).await;
    assert!(tools.read("c.asc") == unpacked.as_bytes());

    // A header of 160 bytes, and both images after it.
    let icemulti = tools.tool(include_bytes!("guests/icemulti.wasm"));
    let args = ["-v", "-o", "/both", "-p0", "/a.bin", "/b.bin"];
    let said = tools.run(&icemulti, &args, "", 0).await.err;
    assert!(said.contains("Place image 0 at 0000a0 .. 007e78 (`/a.bin')"), "{said}");
    let both = tools.read("both");
    let images = [tools.read("a.bin"), tools.read("b.bin")].concat();
    assert!(both[160..] == images, "{} and {} bytes", both.len(), images.len());

    tools.write("bad.asc", ".device 9k\n");
    let said = tools.run(&icepack, &["/bad.asc", "/d.bin"], "", 1).await.err;
    assert!(said.contains("Error: Unsupported chip type '9k'."), "{said}");
    let said = tools.run(&icepack, &["/none.asc"], "", 1).await.err;
    assert!(said.contains("Error: Failed to open input file."), "{said}");
}
