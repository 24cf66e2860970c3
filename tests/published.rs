//! Modules that other people's compilers made and published (`tests/guests/published`), run to
//! results that are known from elsewhere, in slices of fuel too.

use std::collections::HashMap;

use lampwick::{
    Caller, Config, Engine, Extern, ExternType, Instance, Linker, Memory, Module, Store, Val,
};

use crate::support::block_on;

macro_rules! published {
    ($file:literal) => {
        include_bytes!(concat!("guests/published/", $file))
    };
}

/// What the packed files are packed from.
const DOCUMENT: &[u8] = include_bytes!("guests/document.json");

/// Units of fuel between two yields.
const SLICE: u64 = 50_000;

/// Numbers that a guest has told its host.
type Constants = HashMap<String, f64>;

/// An instance of a module, whose calls yield after each slice of fuel, or never.
struct Guest {
    store: Store<Constants>,
    instance: Instance,
    memory: Memory,
}

impl Guest {
    /// An instance; `memory` is what the module calls its memory.
    fn new(wasm: &[u8], memory: &str, sliced: bool) -> Self {
        let mut config = Config::new();
        config.async_support(true).consume_fuel(sliced);
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, wasm).unwrap();
        let mut store = Store::new(&engine, Constants::new());
        if sliced {
            store.out_of_fuel_async_yield(u64::MAX, SLICE);
        }
        let linker = host(&engine, &module);
        let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
        let memory = instance.get_memory(&mut store, memory).unwrap();
        Self { store, instance, memory }
    }

    /// Calls a function that takes and returns integers of 32 bits.
    fn call(&mut self, function: &str, arguments: &[usize]) -> Vec<usize> {
        let function = self.instance.get_func(&mut self.store, function).unwrap();
        let arguments: Vec<Val> = arguments.iter().map(|&value| Val::I32(value as i32)).collect();
        let results = block_on(function.call_async(&mut self.store, &arguments)).unwrap();
        results.iter().map(|value| value.unwrap_i32() as u32 as usize).collect()
    }

    /// The same, for one result.
    fn number(&mut self, function: &str, arguments: &[usize]) -> usize {
        self.call(function, arguments)[0]
    }

    fn read(&self, at: usize, len: usize) -> &[u8] {
        &self.memory.data(&self.store)[at..at + len]
    }

    /// A number of 32 bits in memory.
    fn word(&self, at: usize) -> usize {
        u32::from_le_bytes(self.read(at, 4).try_into().unwrap()) as usize
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        self.memory.write(&mut self.store, at, bytes).unwrap();
    }

    /// Puts bytes where a function of the module has room for them.
    fn place(&mut self, allocate: &str, bytes: &[u8]) -> usize {
        let at = self.number(allocate, &[bytes.len()]);
        self.write(at, bytes);
        at
    }
}

/// What the modules import. Emscripten's embind tells constants by name; other registrations need no
/// answer, and nothing else should be called.
fn host(engine: &Engine, module: &Module) -> Linker<Constants> {
    let mut linker = Linker::new(engine);
    linker.allow_shadowing(true);
    for import in module.imports() {
        let (from, name) = (import.module(), import.name().unwrap());
        let ExternType::Func(ty) = import.ty() else { panic!("{name} is no function") };
        let quiet = name.starts_with("_embind_register_");
        let what = name.to_owned();
        let function = move |_: Caller<'_, Constants>, _: &[Val], _: &mut [Val]| {
            if quiet { Ok(()) } else { Err(lampwick::Trap::new(format!("`{what}` was called"))) }
        };
        linker.func_new(from, name, ty, function).unwrap();
    }
    let copy = |mut caller: Caller<'_, Constants>, to: u32, from: u32, len: u32| {
        let (to, from, len) = (to as usize, from as usize, len as usize);
        memory(&mut caller).data_mut(&mut caller).copy_within(from..from + len, to);
    };
    linker.func_wrap("env", "emscripten_memcpy_big", copy).unwrap();
    linker.func_wrap("env", "emscripten_get_now", || 0.0_f64).unwrap();
    linker.func_wrap("env", "emscripten_resize_heap", resize).unwrap();
    linker.func_wrap("a", "e", resize).unwrap();
    linker.func_wrap("env", "_embind_register_constant", constant).unwrap();
    linker.func_wrap("wbg", "__wbindgen_is_undefined", |_: u32| 1_u32).unwrap();
    linker
}

fn memory(caller: &mut Caller<'_, Constants>) -> Memory {
    let memory = caller.get_export("memory").or_else(|| caller.get_export("f"));
    memory.and_then(Extern::into_memory).unwrap()
}

/// Grows the memory to so many bytes; 1 if it could.
fn resize(mut caller: Caller<'_, Constants>, bytes: u32) -> u32 {
    let memory = memory(&mut caller);
    let missing = u64::from(bytes).div_ceil(1 << 16).saturating_sub(memory.size(&caller));
    u32::from(memory.grow(&mut caller, missing).is_ok())
}

fn constant(mut caller: Caller<'_, Constants>, name: u32, _type: u32, value: f64) {
    let bytes = &memory(&mut caller).data(&caller)[name as usize..];
    let bytes = bytes.split(|&byte| byte == 0).next().unwrap();
    let name = String::from_utf8(bytes.to_vec()).unwrap();
    caller.data_mut().insert(name, value);
}

/// Whether calls yield.
const BOTH: [bool; 2] = [false, true];

#[test]
fn gofmt_from_tinygo_formats_go() {
    for sliced in BOTH {
        let mut guest = Guest::new(published!("gofmt.wasm"), "memory", sliced);
        guest.call("_initialize", &[]);
        let source =
            b"package  main\nimport \"fmt\"\nfunc main( ) {\nx:=[]int {1,2}\nfmt.Println( x )}\n";
        guest.place("alloc", source);
        assert_eq!(guest.number("format", &[]), 1);
        let (at, len) = (guest.number("output_ptr", &[]), guest.number("output_len", &[]));
        let expected = "package main\n\nimport \"fmt\"\n\nfunc main() {\n\tx := []int{1, 2}\n\t\
            fmt.Println(x)\n}\n";
        assert_eq!(String::from_utf8_lossy(guest.read(at, len)), expected);
        guest.call("dispose", &[]);

        guest.place("alloc", b"package main\nfunc {");
        assert_eq!(guest.number("format", &[]), 2);
        let (at, len) = (guest.number("output_ptr", &[]), guest.number("output_len", &[]));
        assert!(String::from_utf8_lossy(guest.read(at, len)).contains("2:6: expected 'IDENT'"));
    }
}

#[test]
fn zig_fmt_from_zig_formats_zig() {
    for sliced in BOTH {
        let mut guest = Guest::new(published!("zig_fmt.wasm"), "memory", sliced);
        let source = b"const std=@import(\"std\");\npub fn main() void {const x:u32=1 ;\n_=x; }\n";
        let at = guest.place("alloc", source);
        let result = guest.call("format", &[at, source.len()]);
        let expected = "const std = @import(\"std\");\npub fn main() void {\n    \
            const x: u32 = 1;\n    _ = x;\n}\n";
        assert_eq!(String::from_utf8_lossy(guest.read(result[0], result[1])), expected);
        guest.call("free_all", &[]);
    }
}

#[test]
fn brotli_from_rust_unpacks_what_c_packed() {
    for sliced in BOTH {
        let mut guest = Guest::new(published!("brotli.wasm"), "memory", sliced);
        let packed = published!("document.json.br");
        assert_eq!(brotli(&mut guest, "decompress", packed, &[]), DOCUMENT);
        // Its options are `undefined`.
        let packed = brotli(&mut guest, "compress", DOCUMENT, &[0]);
        assert!(packed.len() < DOCUMENT.len() / 5, "{} bytes", packed.len());
        assert_eq!(brotli(&mut guest, "decompress", &packed, &[]), DOCUMENT);
    }
}

/// Calls as wasm-bindgen does: the result is where its first argument points to.
fn brotli(guest: &mut Guest, function: &str, bytes: &[u8], more: &[usize]) -> Vec<u8> {
    let result = guest.number("__wbindgen_add_to_stack_pointer", &[16_usize.wrapping_neg()]);
    let at = guest.place("__wbindgen_malloc", bytes);
    guest.call(function, &[&[result, at, bytes.len()], more].concat());
    let failed = guest.word(result + 12);
    assert_eq!(failed, 0, "{function}");
    let bytes = guest.read(guest.word(result), guest.word(result + 4)).to_vec();
    guest.call("__wbindgen_add_to_stack_pointer", &[16]);
    bytes
}

#[test]
fn zstd_from_emscripten_unpacks_what_the_command_packed() {
    // The names that its minifier gave to what zstd's interface calls otherwise.
    let (initialize, bound, compress, decompress, allocate) = ("g", "i", "m", "r", "s");
    for sliced in BOTH {
        let mut guest = Guest::new(published!("zstd.wasm"), "f", sliced);
        guest.call(initialize, &[]);
        let packed = published!("document.json.zst");
        let from = guest.place(allocate, packed);
        let to = guest.number(allocate, &[DOCUMENT.len()]);
        let len = guest.number(decompress, &[to, DOCUMENT.len(), from, packed.len()]);
        assert_eq!(guest.read(to, len), DOCUMENT);

        let room = guest.number(bound, &[DOCUMENT.len()]);
        let packed = guest.number(allocate, &[room]);
        let len = guest.number(compress, &[packed, room, to, DOCUMENT.len(), 19]);
        assert!(len < DOCUMENT.len() / 5, "{len} bytes");
        guest.write(to, &vec![0; DOCUMENT.len()]);
        assert_eq!(guest.number(decompress, &[to, DOCUMENT.len(), packed, len]), DOCUMENT.len());
        assert_eq!(guest.read(to, DOCUMENT.len()), DOCUMENT);
    }
}

#[test]
fn oniguruma_from_emscripten_finds_what_matches() {
    for sliced in BOTH {
        let mut guest = Guest::new(published!("oniguruma.wasm"), "memory", sliced);
        guest.call("__wasm_call_ctors", &[]);
        guest.call("_embind_initialize_bindings", &[]);
        let syntax = guest.store.data()["ONIG_SYNTAX_DEFAULT"] as usize;
        let options = guest.store.data()["ONIG_OPTION_CAPTURE_GROUP"] as usize;

        let patterns: [&[u8]; 2] = [br"(\d+)-(?<last>\p{Lu}+)", br"(?<=x)y{2,3}"];
        let (mut places, mut lengths) = (Vec::new(), Vec::new());
        for pattern in patterns {
            places.extend((guest.place("omalloc", pattern) as u32).to_le_bytes());
            lengths.extend((pattern.len() as u32).to_le_bytes());
        }
        let places = guest.place("omalloc", &places);
        let lengths = guest.place("omalloc", &lengths);
        let scanner =
            guest.number("createOnigScanner", &[places, lengths, patterns.len(), options, syntax]);
        assert_ne!(scanner, 0);

        let text = "über xyyyy 12-AB".as_bytes();
        let at = guest.place("omalloc", text);
        let mut find = |from: usize| {
            let found = guest
                .number("findNextOnigScannerMatch", &[scanner, 1, at, text.len(), from, options]);
            if found == 0 {
                return None;
            }
            let groups = 0..guest.word(found + 4);
            let groups = groups.map(|group| {
                let at = found + 8 + 8 * group;
                (guest.word(at), guest.word(at + 4))
            });
            let groups: Vec<_> = groups.collect();
            Some((guest.word(found), groups))
        };
        assert_eq!(find(0), Some((1, vec![(7, 10)])));
        assert_eq!(find(9), Some((0, vec![(12, 17), (12, 14), (15, 17)])));
        assert_eq!(find(14), None);
    }
}
