//! `lampwick inspect`.

use serde_json::Value;

use crate::support::{MODULE, Workplace};

#[test]
fn a_module_shows_what_it_consists_of() {
    let place = Workplace::new().with("m.wat", MODULE);
    let text = place.run(&["inspect", "m.wat"]).succeeded();
    for line in [
        "m.wat: module, called \"sample\"",
        "  function  env.log  (i32) -> ()",
        "  memory    memory  2..=8 pages",
        "  global    level  (mut i64)",
        "  function  quadruple  (i32) -> (i32)",
        "functions: 2, with ",
        "  code\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn an_artifact_shows_the_same_but_sections() {
    let place = Workplace::new().with("m.wat", MODULE);
    place.run(&["compile", "m.wat"]).succeeded();
    let json = |file| -> Value {
        serde_json::from_str(&place.run(&["inspect", "--json", file]).succeeded()).unwrap()
    };
    let (module, artifact) = (json("m.wat"), json("m.lampwick"));
    assert_eq!((&module["kind"], &artifact["kind"]), (&"module".into(), &"artifact".into()));
    for key in ["name", "imports", "exports", "functions"] {
        assert_eq!(module[key], artifact[key]);
    }
    assert_eq!(module["exports"][2]["type"], "(i32) -> (i32)");
    assert_eq!(module["functions"][1]["exports"][0], "quadruple");
    assert_eq!(artifact["sizes"]["sections"].as_array().unwrap().len(), 0);
    assert_eq!(module["sizes"]["machine_code"], artifact["sizes"]["machine_code"]);
}

#[test]
fn code_is_shown_beside_its_wasm() {
    let place = Workplace::new().with("m.wat", MODULE);
    for name in ["quadruple", "2"] {
        let text = place.run(&["inspect", "--code", name, "m.wat"]).succeeded();
        assert!(text.starts_with("function 2 quadruple: "), "{text}");
        let (wasm, code) = text.split_once("  call $double\n").expect("the call's wasm");
        assert!(wasm.contains("push %rbp"), "{text}");
        assert!(code.contains("call double\n"), "{text}");
    }
    let text = place.run(&["inspect", "--code", "double", "m.wat"]).succeeded();
    assert!(text.contains("  i32.add\n"), "{text}");
}

#[test]
fn every_byte_of_the_code_is_shown_once() {
    let place = Workplace::new().with("m.wat", MODULE);
    let json = place.run(&["inspect", "--json", "--code", "double", "m.wat"]).succeeded();
    let listing: Value = serde_json::from_str(&json).unwrap();
    let parts = listing["parts"].as_array().unwrap();
    let instructions = parts.iter().flat_map(|part| part["instructions"].as_array().unwrap());
    let offsets: Vec<u64> = instructions.map(|it| it["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets[0], 0);
    assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
    // No instruction of x86 is longer than 15 bytes.
    let gaps = offsets.windows(2).all(|pair| pair[1] - pair[0] <= 15);
    let end = listing["machine_code"].as_u64().unwrap();
    assert!(gaps && end - offsets.last().unwrap() <= 15, "{offsets:?} of {end}");
}

#[test]
fn an_artifact_shows_its_code_alone() {
    let place = Workplace::new().with("m.wat", MODULE);
    place.run(&["compile", "m.wat"]).succeeded();
    let text = place.run(&["inspect", "--code", "quadruple", "m.lampwick"]).succeeded();
    assert!(text.contains("an artifact has no wasm") && text.contains("--wasm"), "{text}");
    assert!(text.contains("call double"), "{text}");
}

#[test]
fn an_artifact_shows_its_code_beside_the_module_that_it_was_made_of() {
    let other = MODULE.replace("(i32.add (local.get 0)", "(i32.sub (local.get 0)");
    let less = r#"(module (func (export "quadruple")))"#;
    let place = Workplace::new().with("m.wat", MODULE).with("other.wat", other);
    let place = place.with("less.wat", less);
    place.run(&["compile", "m.wat"]).succeeded();
    let inspect = |args: &[&str]| place.run(&[&["inspect"], args].concat());
    for name in ["quadruple", "double"] {
        let beside = inspect(&["--code", name, "--wasm", "m.wat", "m.lampwick"]).succeeded();
        assert_eq!(beside, inspect(&["--code", name, "m.wat"]).succeeded());
    }
    // Its machine code is what counts, not its name or size.
    let words = ["`m.lampwick` was not made of `other.wat`", "the code of function 1 differs"];
    inspect(&["--wasm", "other.wat", "m.lampwick"]).failed(2, &words);
    let words = ["it has 2 functions, the module 1"];
    inspect(&["--wasm", "less.wat", "m.lampwick"]).failed(2, &words);
    inspect(&["--wasm", "m.wat", "m.wat"]).failed(2, &["`m.wat` is a module"]);
    inspect(&["--wasm", "m.lampwick", "m.lampwick"]).failed(2, &["is an artifact, not the module"]);
    // The whole of it is still told as what it is.
    let text = inspect(&["--wasm", "m.wat", "m.lampwick"]).succeeded();
    assert!(text.starts_with("m.lampwick: artifact") && text.contains("sections:"), "{text}");
}

#[test]
fn a_function_that_there_is_not_is_named() {
    let place = Workplace::new().with("m.wat", MODULE);
    for name in ["triple", "7", "0"] {
        place
            .run(&["inspect", "--code", name, "m.wat"])
            .failed(2, &[&format!("`{name}`"), "defines 2 functions, from index 1", "--json"]);
    }
}

#[test]
fn names_cannot_write_lines_of_their_own() {
    let wat = r#"(module (func (export "a\n\1b[31mb")))"#;
    let place = Workplace::new().with("m.wat", wat);
    for args in [["inspect", "m.wat"].as_slice(), &["inspect", "--code", "0", "m.wat"]] {
        let text = place.run(args).succeeded();
        assert!(text.contains(r"a\n\u{1b}[31mb") && !text.contains('\u{1b}'), "{text}");
    }
}
