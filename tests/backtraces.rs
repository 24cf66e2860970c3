//! Backtraces with functions, files and lines from the guest's own debug information.

use lampwick::{
    Caller, Engine, FrameInfo, FrameSymbol, Func, Instance, Module, Store, Trap,
    WasmBacktraceDetails,
};

use crate::alone;
use crate::support::{Rng, engine, rounds, trap};

/// In C++, with debug information.
const LINES: &[u8] = include_bytes!("guests/lines.wasm");

fn details(details: WasmBacktraceDetails) -> Engine {
    engine(|config| {
        config.wasm_backtrace_details(details);
    })
}

/// The trap of `run`, with these arguments, in a module that is called `guest`.
fn run(engine: &Engine, wasm: &[u8], arguments: &[i32]) -> Trap {
    run_module(&Module::new_with_name(engine, wasm, "guest").unwrap(), arguments)
}

fn run_unnamed(engine: &Engine, wat: &str) -> Trap {
    run_module(&Module::new(engine, wat).unwrap(), &[])
}

fn run_module(module: &Module, arguments: &[i32]) -> Trap {
    let engine = module.engine();
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, module, &[]).unwrap();
    let run = instance.get_func(&mut store, "run").unwrap();
    let arguments: Vec<_> = arguments.iter().map(|argument| (*argument).into()).collect();
    trap(run.call(&mut store, &arguments).unwrap_err())
}

fn parts(symbol: &FrameSymbol) -> (&str, &str, u32) {
    let file = symbol.file().unwrap().rsplit('/').next().unwrap();
    assert!(symbol.column().is_some_and(|column| column < 80));
    (symbol.name().unwrap(), file, symbol.line().unwrap())
}

#[test]
fn symbols_name_inlined_functions_and_lines() {
    let trap = run(&details(WasmBacktraceDetails::Enable), LINES, &[1, 0]);
    let symbols: Vec<Vec<_>> =
        trap.trace().iter().map(|frame| frame.symbols().iter().map(parts).collect()).collect();
    assert_eq!(
        symbols,
        [
            vec![
                ("lines::Fraction::value() const", "lines.cpp", 12),
                ("int lines::doubled<int>(lines::Fraction)", "lines.cpp", 18),
                ("lines::evaluate(lines::Fraction)", "lines.cpp", 23),
            ],
            vec![("lines::evaluate(int, int)", "lines.cpp", 27)],
            vec![("run", "lines.cpp", 33)],
        ]
    );
    let text = trap.to_string();
    let lines: Vec<_> = text.lines().map(str::trim_start).collect();
    assert_eq!(lines[..2], ["wasm trap: integer divide by zero", "wasm backtrace:"]);
    assert!(lines[2].starts_with("0: ") && lines[2].contains(" 0x"), "{text}");
    assert!(lines[2].ends_with("- lines::Fraction::value() const (inlined)"), "{text}");
    assert_eq!(lines[3], "at ./lines.cpp:12:26");
    assert_eq!(lines[4], "int lines::doubled<int>(lines::Fraction) (inlined)");
    assert_eq!(lines[6], "guest!lines::evaluate(lines::Fraction)");
    assert!(lines[8].starts_with("1: ") && lines[8].ends_with("guest!lines::evaluate(int, int)"));
    assert!(lines[10].starts_with("2: ") && lines[10].ends_with("guest!run"), "{text}");
    assert_eq!((lines[11], lines.len()), ("at ./lines.cpp:33:12", 12), "{text}");
}

#[test]
fn symbols_are_there_on_a_small_stack_and_from_many_threads() {
    let trap = run(&details(WasmBacktraceDetails::Enable), LINES, &[1, 0]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(trap.trace()[0].symbols().len(), 3));
        }
    });
}

const HINT: &str = "note: `LAMPWICK_BACKTRACE_DETAILS=1` or `Config::wasm_backtrace_details`";

#[test]
fn without_details_a_hint_says_how_to_have_them() {
    let engine = details(WasmBacktraceDetails::Disable);
    let trap = run(&engine, LINES, &[1, 0]);
    assert!(trap.trace().iter().all(|frame| frame.symbols().is_empty()));
    assert_eq!(trap.to_string().matches(HINT).count(), 1, "{trap}");
    let plain = r#"(module (func (export "run") unreachable))"#;
    let trap = run(&engine, plain.as_bytes(), &[]);
    assert!(!trap.to_string().contains("note:"), "{trap}");
    let trap = run(&details(WasmBacktraceDetails::Enable), plain.as_bytes(), &[]);
    assert!(trap.trace()[0].symbols().is_empty() && !trap.to_string().contains("note:"));
}

#[test]
fn the_environment_asks_for_details() {
    for (value, lines) in [(None, false), (Some("0"), false), (Some("1"), true)] {
        let mut command = alone::command("backtraces::environment_alone");
        command.env_remove("LAMPWICK_BACKTRACE_DETAILS");
        if let Some(value) = value {
            command.env("LAMPWICK_BACKTRACE_DETAILS", value);
        }
        let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
        assert!(output.contains("integer divide by zero"), "{output}");
        assert_eq!(output.contains("lines.cpp:12"), lines, "{value:?}: {output}");
        assert_eq!(output.contains(HINT), !lines, "{value:?}: {output}");
    }
}

#[test]
#[ignore = "run by `the_environment_asks_for_details`"]
fn environment_alone() {
    println!("{}", run(&Engine::default(), LINES, &[1, 0]));
}

#[test]
fn mangled_names_are_shown_as_written() {
    let name = "_ZN5plain4main17h0123456789abcdefE";
    let wat = format!(r#"(module $guest (func ${name} (export "run") unreachable))"#);
    let trap = run(&Engine::default(), wat.as_bytes(), &[]);
    assert_eq!(trap.trace()[0].func_name(), Some(name));
    assert!(trap.to_string().ends_with("guest!plain::main"), "{trap}");
}

/// The places of the contents of custom sections with DWARF.
fn debug_sections(wasm: &[u8]) -> Vec<std::ops::Range<usize>> {
    let names = [".debug_abbrev", ".debug_info", ".debug_ranges", ".debug_str", ".debug_line"];
    let place = |name: &str| {
        let start = wasm.windows(name.len()).position(|it| it == name.as_bytes()).unwrap();
        start + name.len()
    };
    // The next section begins with its id and size.
    let mut starts: Vec<_> = names.iter().map(|name| place(name)).collect();
    starts.sort_unstable();
    let ends = starts[1..].iter().map(|next| next - 20).chain([starts[4] + 100]);
    starts.iter().zip(ends).map(|(start, end)| *start..end).collect()
}

#[test]
fn damaged_debug_information_does_no_harm() {
    let engine = details(WasmBacktraceDetails::Enable);
    let mut rng = Rng::new("damaged_debug_information_does_no_harm");
    let sections = debug_sections(LINES);
    let (mut whole, mut none) = (0, 0);
    for _ in 0..rounds(150) {
        let mut wasm = LINES.to_vec();
        for _ in 0..=rng.below(8) {
            let section = &sections[rng.below(sections.len() as u64) as usize];
            let place = section.start + rng.below(section.len() as u64) as usize;
            wasm[place] = match rng.below(4) {
                0 => 0,
                1 => 0xff,
                2 => wasm[place] ^ (1 << rng.below(8)),
                _ => rng.next() as u8,
            };
        }
        let trap = run(&engine, &wasm, &[1, 0]);
        let symbols: usize = trap.trace().iter().map(|frame| frame.symbols().len()).sum();
        whole += usize::from(symbols == 5);
        none += usize::from(symbols == 0);
        assert!(trap.to_string().starts_with("wasm trap: integer divide by zero\n"));
    }
    assert!(whole > 0 && none > 0, "{whole} whole, {none} without symbols");
}

/// A module with one function that traps, and these sections.
fn with_dwarf(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let escape =
        |bytes: &[u8]| bytes.iter().map(|byte| format!("\\{byte:02x}")).collect::<String>();
    let custom: String = sections
        .iter()
        .map(|(name, bytes)| format!("(@custom \"{name}\" \"{}\")", escape(bytes)))
        .collect();
    wat::parse_str(format!(r#"(module (func (export "run") unreachable) {custom})"#)).unwrap()
}

/// `DW_TAG_compile_unit` (1) and `DW_TAG_subprogram` (2) with `DW_AT_low_pc` and `DW_AT_high_pc`,
/// the former with `DW_AT_stmt_list`, the latter with a name; `DW_TAG_inlined_subroutine` (3).
const ABBREVIATIONS: &[u8] = &[
    1, 0x11, 1, 0x11, 1, 0x12, 6, 0x10, 0x17, 0, 0, // addr, data4, sec_offset
    2, 0x2e, 1, 0x11, 1, 0x12, 6, 0x03, 8, 0, 0, // addr, data4, string
    3, 0x1d, 1, 0x11, 1, 0x12, 6, 0x03, 8, 0, 0, // addr, data4, string
    0,
];

/// A unit over all addresses with these entries.
fn unit(entries: &[u8]) -> Vec<u8> {
    let head = [4, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0];
    let len = (head.len() + entries.len()) as u32;
    [&len.to_le_bytes()[..], &head, entries].concat()
}

/// An entry of [`ABBREVIATIONS`] over all addresses, whose children follow.
fn entry(abbreviation: u8, name: &str) -> Vec<u8> {
    let head = [abbreviation, 0, 0, 0, 0, 0xff, 0xff, 0, 0];
    [&head[..], name.as_bytes(), &[0]].concat()
}

/// A table of lines that has no rows; every opcode would be a special one.
const NO_LINES: &[u8] = &[14, 0, 0, 0, 4, 0, 8, 0, 0, 0, 1, 1, 1, 0, 1, 1, 0, 0];

fn names(info: &[u8], line: &[u8]) -> Vec<String> {
    let sections = [(".debug_abbrev", ABBREVIATIONS), (".debug_info", info), (".debug_line", line)];
    let trap = run(&details(WasmBacktraceDetails::Enable), &with_dwarf(&sections), &[]);
    let name = |symbol: &FrameSymbol| symbol.name().unwrap_or_default().to_owned();
    trap.trace().iter().flat_map(FrameInfo::symbols).map(name).collect()
}

#[test]
fn functions_nested_without_end_give_no_symbols() {
    let nest = |depth: usize| {
        let entries = [entry(2, "outer"), entry(3, "inlined").repeat(depth), vec![0; depth + 2]];
        names(&unit(&entries.concat()), NO_LINES)
    };
    assert_eq!(nest(2), ["inlined", "inlined", "outer"]);
    let kept = nest(500);
    assert_eq!((kept.len(), &*kept[62], &*kept[63]), (64, "inlined", "outer"));
    assert!(nest(100_000).is_empty());
}

#[test]
fn tables_that_all_units_share_are_paid_for_each_time() {
    // Each opcode adds a row; there is no end of a sequence.
    let mut lines = NO_LINES.to_vec();
    lines.extend([2; 20_000]);
    let len = lines.len() as u32 - 4;
    lines[..4].copy_from_slice(&len.to_le_bytes());
    let answer = unit(&[entry(2, "answer"), vec![0; 2]].concat());
    let names = |units: usize| {
        let info = [unit(&[0]).repeat(units), answer.clone()].concat();
        names(&info, &lines)
    };
    assert_eq!(names(2), ["answer"]);
    assert!(names(1000).is_empty(), "20 million rows were not read");
}

#[test]
fn names_without_end_are_cut() {
    let long = "n".repeat(1 << 20);
    let names = names(&unit(&[entry(2, &long), vec![0; 2]].concat()), NO_LINES);
    assert!(names == ["n".repeat(1 << 10)], "{} names", names.len());
}

#[test]
fn names_cannot_write_lines_of_their_own() {
    let wat = r#"(module $"guest\0a  1: forged" (func $"f\0d\0a  2: \1b[31m" (export "run") unreachable))"#;
    let trap = run_unnamed(&Engine::default(), wat);
    assert_eq!(trap.to_string().lines().count(), 3, "{trap}");
    assert!(trap.to_string().ends_with("guest?  1: forged!f??  2: ?[31m"), "{trap}");
    assert_eq!(trap.trace()[0].func_name(), Some("f\r\n  2: \x1b[31m"), "as it is");
}

#[test]
fn long_names_are_not_copied_for_each_frame() {
    let name = "n".repeat(1 << 20);
    let wat = format!(
        r#"(module (func ${name} (export "run") (param i32)
            (if (i32.eqz (local.get 0)) (then unreachable))
            (call ${name} (i32.sub (local.get 0) (i32.const 1)))))"#
    );
    let trap = run(&Engine::default(), wat.as_bytes(), &[1000]);
    let frames = trap.trace();
    assert_eq!(frames.len(), 64);
    let names: Vec<_> = frames.iter().map(|frame| frame.func_name().unwrap()).collect();
    assert!(names.iter().all(|it| std::ptr::eq(*it, names[0]) && it.len() == 1 << 20));
    assert!(trap.to_string().len() < 100_000);
}

#[test]
fn a_host_function_shows_traps_on_the_smallest_stack() {
    let nested = [entry(2, "outer"), entry(3, "inlined").repeat(900), vec![0; 902]].concat();
    let sections = [
        (".debug_abbrev", ABBREVIATIONS),
        (".debug_info", &unit(&nested)),
        (".debug_line", NO_LINES),
    ];
    let wasm = with_dwarf(&sections);
    let engine = engine(|config| {
        config.wasm_backtrace_details(WasmBacktraceDetails::Enable);
        config.max_wasm_stack(64 << 10).unwrap().async_stack_size(128 << 10).unwrap();
    });
    let mut store = Store::new(&engine, None);
    let module = Module::new(&engine, wasm).unwrap();
    let inner = Instance::new(&mut store, &module, &[]).unwrap();
    let host = Func::wrap(&mut store, move |mut caller: Caller<'_, Option<String>>| {
        let run = inner.get_func(&mut caller, "run").unwrap();
        let error = run.call(&mut caller, &[]).unwrap_err();
        *caller.data_mut() = Some(error.to_string());
    });
    host.call(&mut store, &[]).unwrap();
    let text = store.into_data().unwrap();
    assert_eq!(text.matches("inlined").count(), 2 * 63, "{text}");
}

#[test]
fn artifacts_keep_debug_information_and_fit_engines_that_want_none() {
    let [with, without] =
        [WasmBacktraceDetails::Enable, WasmBacktraceDetails::Disable].map(details);
    for (from, to, symbols) in
        [(&with, &with, 3), (&with, &without, 0), (&without, &with, 0), (&without, &without, 0)]
    {
        let artifact = Module::new(from, LINES).unwrap().serialize().unwrap();
        // SAFETY: these are the bytes that `serialize` gave us.
        let module = unsafe { Module::deserialize(to, &artifact).unwrap() };
        let trap = run_module(&module, &[1, 0]);
        assert_eq!(trap.trace()[0].symbols().len(), symbols);
    }
}
