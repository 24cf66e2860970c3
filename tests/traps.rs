//! Every trap code through real code, its text, and the frames that it names.

use std::error::Error;

use lampwick::{Caller, Engine, Func, Instance, Module, Store, Trap, TrapCode, Val};

use crate::support::{async_metered, block_on, engine, instantiate, metered, pend, trap};

/// For each trap code its text and bodies of functions that meet it.
const CODES: &[(TrapCode, &str, &[&str])] = &[
    (TrapCode::StackOverflow, "call stack exhausted", &["call $recurse", "call $recurse_far"]),
    (
        TrapCode::MemoryOutOfBounds,
        "out of bounds memory access",
        &[
            "i32.const 65536 i32.load8_u drop",
            "i32.const 65533 i32.load drop",
            "i32.const -1 i64.load drop",
            "i32.const -1 i32.load offset=0xffffffff drop",
            "i32.const 0 i32.load offset=0x80000000 drop",
            "i32.const 65536 i32.const 1 i32.store8",
            "i32.const -8 f64.const 1 f64.store offset=1",
            "i32.const 65536 i32.const 0 i32.const 1 memory.fill",
            "i32.const 0 i32.const 65536 i32.const 1 memory.copy",
            "i32.const 65537 i32.const 0 i32.const 0 memory.copy",
            "i32.const 0 i32.const 4 i32.const 0 memory.init $data",
            "data.drop $data i32.const 0 i32.const 0 i32.const 1 memory.init $data",
        ],
    ),
    (
        TrapCode::TableOutOfBounds,
        "undefined element: out of bounds table access",
        &[
            "i32.const 10 call_indirect (type $nothing)",
            "i32.const -1 call_indirect (type $nothing)",
            "i32.const 10 table.get 0 drop",
            "i32.const 10 ref.null func table.set 0",
            "i32.const 9 ref.null func i32.const 2 table.fill 0",
            "i32.const 0 i32.const 10 i32.const 1 table.copy",
            "i32.const 0 i32.const 2 i32.const 0 table.init $elem",
            "elem.drop $elem i32.const 0 i32.const 0 i32.const 1 table.init $elem",
        ],
    ),
    (
        TrapCode::IndirectCallToNull,
        "uninitialized element",
        &["i32.const 0 call_indirect (type $nothing)"],
    ),
    (
        TrapCode::BadSignature,
        "indirect call type mismatch",
        &["i64.const 0 i32.const 1 call_indirect (type $other)"],
    ),
    (
        TrapCode::IntegerOverflow,
        "integer overflow",
        &[
            "i32.const 0x80000000 i32.const -1 i32.div_s drop",
            "i64.const 0x8000000000000000 i64.const -1 i64.div_s drop",
            "f32.const 2147483648 i32.trunc_f32_s drop",
            "f64.const -1 i32.trunc_f64_u drop",
            "f64.const 1e300 i64.trunc_f64_s drop",
            "f32.const inf i64.trunc_f32_u drop",
        ],
    ),
    (
        TrapCode::IntegerDivisionByZero,
        "integer divide by zero",
        &[
            "i32.const 1 i32.const 0 i32.div_s drop",
            "i32.const 1 i32.const 0 i32.div_u drop",
            "i32.const 1 i32.const 0 i32.rem_s drop",
            "i64.const 1 i64.const 0 i64.rem_u drop",
        ],
    ),
    (
        TrapCode::BadConversionToInteger,
        "invalid conversion to integer",
        &["f32.const nan i32.trunc_f32_s drop", "f64.const nan i64.trunc_f64_u drop"],
    ),
    (
        TrapCode::UnreachableCodeReached,
        "unreachable",
        &["unreachable", "i32.const 1 if unreachable end"],
    ),
];

const PRELUDE: &str = r#"
    (type $nothing (func)) (type $other (func (param i64)))
    (memory 1) (data $data "abc")
    (table 10 funcref) (elem (i32.const 1) $empty) (elem $elem func $empty)
    (func $empty) (func $recurse call $recurse)
    (func $recurse_far (local i64 i64 i64 i64)
        call $recurse_far call $recurse_far)
"#;

fn engines() -> [Engine; 5] {
    [
        Engine::default(),
        metered(),
        engine(|config| {
            config.static_memory_maximum_size(0);
        }),
        engine(|config| {
            config.cranelift_opt_level(lampwick::OptLevel::None);
        }),
        // Every operator has a source location then.
        engine(|config| {
            config.debug_info(true).consume_fuel(true);
        }),
    ]
}

#[test]
fn every_code_is_reached_and_says_what_it_is() {
    for engine in engines() {
        for (code, text, bodies) in CODES {
            for body in *bodies {
                let wat = format!("(module {PRELUDE} (func $run (export \"run\") {body}))");
                let (mut store, instance) = instantiate(&engine, &wat);
                let _ = store.add_fuel(u64::MAX);
                let run = instance.get_func(&mut store, "run").unwrap();
                // Twice, because the first must leave the store as it was.
                for _ in 0..2 {
                    let trap = trap(run.call(&mut store, &[]).unwrap_err());
                    assert_eq!(trap.trap_code(), Some(*code), "{body}");
                    assert_eq!(trap.display_reason().to_string(), format!("wasm trap: {text}"));
                    assert_eq!(code.to_string(), *text);
                    assert!(trap.source().is_none() && trap.i32_exit_status().is_none());
                    if *code != TrapCode::StackOverflow {
                        assert_eq!(trap.trace().len(), 1, "{trap}");
                        assert_eq!(trap.trace()[0].func_name(), Some("run"));
                    }
                }
            }
        }
    }
}

#[test]
fn segments_that_do_not_fit_are_traps() {
    let engine = Engine::default();
    for (wat, code) in [
        ("(module (memory 1) (data (i32.const 65535) \"ab\"))", TrapCode::MemoryOutOfBounds),
        ("(module (memory 1) (data (i32.const -1) \"\"))", TrapCode::MemoryOutOfBounds),
        (
            "(module (table 1 funcref) (func $f) (elem (i32.const 1) $f))",
            TrapCode::TableOutOfBounds,
        ),
    ] {
        let module = Module::new(&engine, wat).unwrap();
        let error = Instance::new(Store::new(&engine, ()), &module, &[]).unwrap_err();
        assert_eq!(trap(error).trap_code(), Some(code), "{wat}");
    }
}

const FRAMES: &str = r#"(module $guest
    (func $inner (param i32) local.get 0 i32.const 0 i32.div_u drop)
    (func (param i32) local.get 0 call $inner)
    (func $outer (export "run") i32.const 7 call 1))"#;

#[test]
fn a_backtrace_names_functions_and_offsets() {
    let wasm = wat::parse_str(FRAMES).unwrap();
    for engine in engines() {
        let mut store = Store::new(&engine, ());
        let _ = store.add_fuel(1000);
        let module = Module::new(&engine, &wasm).unwrap();
        assert_eq!(module.name(), Some("guest"));
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let run = instance.get_func(&mut store, "run").unwrap();
        let trap = trap(run.call(&mut store, &[]).unwrap_err());
        let frames: Vec<_> = trap.trace().iter().collect();
        let names: Vec<_> = frames.iter().map(|frame| frame.func_name()).collect();
        assert_eq!(names, [Some("inner"), None, Some("outer")]);
        let indexes: Vec<_> = frames.iter().map(|frame| frame.func_index()).collect();
        assert_eq!(indexes, [0, 1, 2]);
        assert!(frames.iter().all(|frame| frame.module_name() == Some("guest")));
        // The bytes there are the operators: i32.div_u, and calls of functions 0 and 1.
        let at = |frame: &lampwick::FrameInfo| &wasm[frame.module_offset()..][..2];
        assert_eq!(at(frames[0])[0], 0x6e);
        assert_eq!((at(frames[1]), at(frames[2])), (&[0x10, 0][..], &[0x10, 1][..]));
        for frame in &frames {
            let start = frame.module_offset() - frame.func_offset();
            assert!(start < frame.module_offset() && frame.func_offset() < 16, "{frame:?}");
        }
        let text = trap.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..2], ["wasm trap: integer divide by zero", "wasm backtrace:"]);
        for (line, (number, name)) in lines[2..].iter().zip([
            ("0: ", "guest!inner"),
            ("1: ", "guest!<wasm function 1>"),
            ("2: ", "guest!outer"),
        ]) {
            assert!(line.trim_start().starts_with(number) && line.ends_with(name), "{line}");
            assert!(line.contains(" 0x"), "{line}");
        }
    }
}

#[test]
fn a_backtrace_is_as_long_as_the_host_allows() {
    let (mut store, instance) = instantiate(
        &Engine::default(),
        r#"(module (func $f (export "run") (param i32)
            local.get 0 i32.eqz if unreachable end local.get 0 i32.const 1 i32.sub call $f))"#,
    );
    let run = instance.get_typed_func::<i32, (), _>(&mut store, "run").unwrap();
    for (depth, frames) in [(0, 1), (10, 11), (63, 64), (64, 64), (5000, 64)] {
        assert_eq!(run.call(&mut store, depth).unwrap_err().trace().len(), frames, "{depth}");
    }
}

#[test]
fn a_backtrace_goes_through_imports_of_other_modules() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let inner =
        Module::new(&engine, r#"(module $a (func $bad (export "f") unreachable))"#).unwrap();
    let outer = r#"(module $b (import "" "" (func $f)) (func $run (export "run") call $f))"#;
    let outer = Module::new(&engine, outer).unwrap();
    let inner = Instance::new(&mut store, &inner, &[]).unwrap();
    let import = inner.get_export(&mut store, "f").unwrap();
    let outer = Instance::new(&mut store, &outer, &[import]).unwrap();
    let run = outer.get_func(&mut store, "run").unwrap();
    let text = run.call(&mut store, &[]).unwrap_err().to_string();
    assert!(text.contains("a!bad") && text.contains("b!run"), "{text}");
}

#[derive(Debug, thiserror::Error, PartialEq)]
#[error("my error {0}")]
struct MyError(u32);

/// What `run`, which calls a host function that answers `answer()`, ends with.
fn host_answer(answer: impl Fn() -> Result<(), Trap> + Send + Sync + 'static) -> Trap {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let host = Func::wrap(&mut store, answer);
    let module = r#"(module (import "" "" (func $host)) (func $run (export "run") call $host))"#;
    let module = Module::new(&engine, module).unwrap();
    let instance = Instance::new(&mut store, &module, &[host.into()]).unwrap();
    let run = instance.get_func(&mut store, "run").unwrap();
    trap(run.call(&mut store, &[]).unwrap_err())
}

#[test]
fn an_error_of_a_host_function_is_the_source() {
    let trap = host_answer(|| Err(anyhow::Error::new(MyError(7)).into()));
    assert_eq!(trap.source().unwrap().downcast_ref(), Some(&MyError(7)));
    assert!(trap.to_string().starts_with("my error 7\nwasm backtrace:"), "{trap}");
    assert_eq!(trap.trap_code(), None);

    let boxed: fn() -> Box<dyn Error + Send + Sync> = || Box::new(MyError(8));
    let trap = host_answer(move || Err(boxed().into()));
    assert_eq!(trap.source().unwrap().downcast_ref(), Some(&MyError(8)));
}

#[test]
fn a_trap_of_a_host_function_stays_the_same() {
    let trap = host_answer(|| Err(Trap::i32_exit(42)));
    assert_eq!(trap.i32_exit_status(), Some(42));
    let trap = host_answer(|| Err(Trap::new("enough")));
    assert!(trap.to_string().starts_with("enough\nwasm backtrace:"), "{trap}");
    assert!(trap.to_string().contains("run"), "{trap}");
    let trap = host_answer(|| Err(anyhow::Error::from(Trap::i32_exit(3)).into()));
    assert_eq!(trap.i32_exit_status(), Some(3), "through anyhow");
}

#[test]
fn a_trap_of_a_nested_call_keeps_its_code_and_names_both_entries() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let host = Func::wrap(&mut store, |mut caller: Caller<'_, ()>| -> Result<(), Trap> {
        let inner = caller.get_export("inner").unwrap().into_func().unwrap();
        inner.call(&mut caller, &[]).map(drop).map_err(Trap::from)
    });
    let module = r#"(module (import "" "" (func $host)) (memory 1)
        (func $inner (export "inner") i32.const -1 i32.load drop)
        (func $outer (export "run") call $host))"#;
    let module = Module::new(&engine, module).unwrap();
    let instance = Instance::new(&mut store, &module, &[host.into()]).unwrap();
    let run = instance.get_func(&mut store, "run").unwrap();
    let trap = trap(run.call(&mut store, &[]).unwrap_err());
    assert_eq!(trap.trap_code(), Some(TrapCode::MemoryOutOfBounds));
    let names: Vec<_> = trap.trace().iter().map(|frame| frame.func_name()).collect();
    assert_eq!(names, [Some("inner"), Some("outer")]);
}

#[test]
fn an_async_host_function_traps_after_a_suspension() {
    let engine = async_metered();
    let mut store = Store::new(&engine, ());
    store.add_fuel(100).unwrap();
    let host = Func::wrap0_async(&mut store, |_: Caller<'_, ()>| {
        Box::new(async {
            pend(3).await;
            Err::<(), Trap>(anyhow::Error::new(MyError(9)).into())
        })
    });
    let module = r#"(module (import "" "" (func $host)) (func $run (export "run") call $host))"#;
    let module = Module::new(&engine, module).unwrap();
    let imports = [host.into()];
    let instance = block_on(Instance::new_async(&mut store, &module, &imports)).unwrap();
    let run = instance.get_func(&mut store, "run").unwrap();
    let trap = trap(block_on(run.call_async(&mut store, &[])).unwrap_err());
    assert_eq!(trap.source().unwrap().downcast_ref(), Some(&MyError(9)));
    assert_eq!(trap.trace()[0].func_name(), Some("run"));
}

#[test]
fn results_of_the_wrong_type_are_errors() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let ty = lampwick::FuncType::new([], [lampwick::ValType::I32]);
    let wrong = Func::new(&mut store, ty, |_, _, results| {
        results[0] = Val::F32(0);
        Ok(())
    });
    let error = wrong.call(&mut store, &[]).unwrap_err();
    let text = format!("{error:#} {:?}", error.source().map(ToString::to_string));
    assert!(text.contains("result 0") && text.contains("i32") && text.contains("f32"), "{text}");
}
