//! What native debuggers find in the process, by the interface that gdb defines. Each test looks
//! at a process of its own, since the list is one for the process.

use std::sync::atomic::Ordering;

use lampwick::{Engine, Instance, Module, Store};
use object::LittleEndian;
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSymbol};

use crate::alone;
use crate::support::{Rng, engine, note_faults};

/// In C++, with debug information.
const LINES: &[u8] = include_bytes!("guests/lines.wasm");

/// `struct jit_code_entry`.
#[repr(C)]
struct Entry {
    next: *const Entry,
    prev: *const Entry,
    file: *const u8,
    len: u64,
}

/// `struct jit_descriptor`.
#[repr(C)]
struct Descriptor {
    version: u32,
    action: u32,
    relevant: *const Entry,
    first: *const Entry,
}

unsafe extern "C" {
    static __jit_debug_descriptor: Descriptor;
}

/// The object files that a debugger would find. Nobody must be making modules meanwhile.
fn files() -> Vec<&'static [u8]> {
    let mut files = Vec::new();
    // SAFETY: the entries are live, and so are their files until the caller drops a module.
    unsafe {
        let list = &raw const __jit_debug_descriptor;
        assert_eq!(((*list).version, (*list).action), (1, 0));
        assert!((*list).relevant.is_null());
        let (mut entry, mut prev) = ((*list).first, std::ptr::null());
        while !entry.is_null() {
            assert_eq!((*entry).prev, prev, "both directions agree");
            files.push(std::slice::from_raw_parts((*entry).file, (*entry).len as usize));
            (prev, entry) = (entry, (*entry).next);
        }
    }
    files
}

fn debugged() -> Engine {
    engine(|config| {
        config.debug_info(true);
    })
}

#[test]
fn a_module_is_described_while_it_lives() {
    alone::run("debugger::description_alone");
}

#[test]
#[ignore = "run by `a_module_is_described_while_it_lives`"]
fn description_alone() {
    let plain = Module::new(&Engine::default(), LINES).unwrap();
    assert!(files().is_empty(), "only where it is asked for");
    drop(plain);
    let engine = debugged();
    let module = Module::new_with_name(&engine, LINES, "guest").unwrap();
    let address = divide_by_zero(&module);
    let text = |file: &ElfFile64<'_, LittleEndian>| {
        let section = file.section_by_name(".text").unwrap();
        section.address()..section.address() + section.size()
    };
    let found = files().into_iter().map(|file| ElfFile64::parse(file).unwrap());
    let holders: Vec<_> = found.filter(|file| text(file).contains(&address)).collect();
    let [file] = &holders[..] else { panic!("{} files hold {address:#x}", holders.len()) };
    let symbols = file
        .symbols()
        .filter(|symbol| (symbol.address()..symbol.address() + symbol.size()).contains(&address));
    let names: Vec<_> = symbols.map(|symbol| symbol.name().unwrap()).collect();
    assert_eq!(names, ["guest!lines::evaluate(lines::Fraction)"]);
    let dwarf = gimli::Dwarf::load(|id| {
        let section = file.section_by_name(id.name());
        let bytes = section.map_or(&[][..], |section| section.data().unwrap());
        Ok::<_, gimli::Error>(gimli::EndianSlice::new(bytes, gimli::LittleEndian))
    });
    let context = addr2line::Context::from_dwarf(dwarf.unwrap()).unwrap();
    let mut frames = context.find_frames(address).skip_all_loads().unwrap();
    let frame = frames.next().unwrap().unwrap();
    let name = frame.function.unwrap();
    assert_eq!(name.raw_name().unwrap(), "lines::evaluate(lines::Fraction)");
    let location = frame.location.unwrap();
    assert!(location.file.unwrap().ends_with("lines.cpp"));
    assert_eq!(location.line, Some(12));
    // The first instruction has a line, too.
    let start = file.symbols().find(|symbol| symbol.name() == Ok("guest!run")).unwrap().address();
    let location = context.find_location(start).unwrap().unwrap();
    assert_eq!(location.line, Some(33));
    drop(engine);
    let before = files().len();
    drop(module);
    assert!(before > 0 && files().is_empty(), "{before} before, {} after", files().len());
}

/// The address of the instruction that traps.
fn divide_by_zero(module: &Module) -> u64 {
    let mut store = Store::new(module.engine(), ());
    let pc = note_faults(&mut store);
    let instance = Instance::new(&mut store, module, &[]).unwrap();
    let run = instance.get_typed_func::<(i32, i32), i32, _>(&mut store, "run").unwrap();
    run.call(&mut store, (1, 0)).unwrap_err();
    pc.load(Ordering::Relaxed)
}

#[test]
fn many_threads_make_and_drop_modules() {
    alone::run("debugger::threads_alone");
}

#[test]
#[ignore = "run by `many_threads_make_and_drop_modules`"]
fn threads_alone() {
    let engine = debugged();
    let kept = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let engine = &engine;
                let mut rng = Rng::new("threads_alone");
                scope.spawn(move || {
                    let mut modules = Vec::new();
                    for number in 0..50 {
                        let wat = format!("(module $m{thread}_{number} (func (export \"f\")))");
                        modules.push(Module::new(engine, wat).unwrap());
                        if rng.one_in(2) {
                            modules.swap_remove(rng.below(modules.len() as u64) as usize);
                        }
                    }
                    modules
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let mut names: Vec<_> =
        kept.iter().map(|module| format!("{}!", module.name().unwrap())).collect();
    let mut found: Vec<String> = files()
        .into_iter()
        .filter_map(|file| {
            let file = ElfFile64::<LittleEndian>::parse(file).unwrap();
            let name = file.symbols().next().unwrap().name().unwrap().to_owned();
            name.strip_suffix("<wasm function 0>").map(str::to_owned)
        })
        .collect();
    names.sort_unstable();
    found.sort_unstable();
    assert!(!names.is_empty() && names == found, "{names:?}, {found:?}");
    drop((kept, engine));
    assert!(files().is_empty());
}

#[test]
fn a_guest_cannot_make_a_description_fail() {
    let engine = debugged();
    let mut rng = Rng::new("a_guest_cannot_make_a_description_fail");
    for name in ["", "\u{0}", "a\nb", "é\u{2028}", &"n".repeat(100_000)] {
        let wat = r#"(module (func (export "f")))"#;
        Module::new_with_name(&engine, wat, name).unwrap();
    }
    // The sections are at the end, but for a few bytes.
    let start = LINES.windows(6).position(|it| it == b".debug").unwrap();
    for _ in 0..crate::support::rounds(50) {
        let mut wasm = LINES.to_vec();
        for _ in 0..4 {
            let place = start + rng.below((wasm.len() - start) as u64) as usize;
            wasm[place] = rng.next() as u8;
        }
        // Where sections begin and end is part of the format.
        if Module::validate(&engine, &wasm).is_ok() {
            Module::new(&engine, wasm).unwrap();
        }
    }
}
