//! Functions of a module as machine code.

use lampwick::{Config, Engine, FunctionCode, Module};

const MODULE: &str = r#"(module
    (import "" "host" (func))
    (func $double (param i32) (result i32) (i32.add (local.get 0) (local.get 0)))
    (func (export "b") (export "a") (param i32) (result i32) (call $double (local.get 0)))
    (func unreachable))"#;

fn debugged() -> Engine {
    Engine::new(Config::new().debug_info(true)).unwrap()
}

#[test]
fn functions_are_told_with_their_names_and_places() {
    let engine = Engine::default();
    let module = Module::new(&engine, MODULE).unwrap();
    assert_eq!(module.functions().len(), 3);
    let functions: Vec<_> = module.functions().collect();
    let told: Vec<_> = functions.iter().map(|it| (it.index, it.name, &*it.exports)).collect();
    assert_eq!(told, [(1, Some("double"), &[][..]), (2, None, &["b", "a"][..]), (3, None, &[])]);
    for pair in functions.windows(2) {
        assert!(pair[0].text_offset + pair[0].code.len() <= pair[1].text_offset);
        assert!(pair[0].body_offset < pair[1].body_offset);
    }
    assert!(functions.iter().all(|function| !function.code.is_empty()));
}

#[test]
fn an_artifact_has_the_same_functions() {
    let engine = Engine::default();
    let module = Module::new(&engine, MODULE).unwrap();
    let artifact = module.serialize().unwrap();
    // SAFETY: it was just serialized.
    let loaded = unsafe { Module::deserialize(&engine, &artifact) }.unwrap();
    let told = |it: FunctionCode<'_>| (it.index, it.body_offset, it.text_offset, it.code.to_vec());
    assert!(module.functions().map(told).eq(loaded.functions().map(told)));
}

#[test]
fn operators_are_told_where_code_is_made_for_debuggers() {
    let wasm = wat::parse_str(MODULE).unwrap();
    let module = Module::new(&debugged(), &wasm).unwrap();
    // The opcodes that the functions consist of, but for those that need no code.
    for (function, opcode) in module.functions().zip([0x6a, 0x10, 0x00]) {
        let places: Vec<_> = function.operators().collect();
        assert!(places.is_sorted_by(|(a, _), (b, _)| a < b), "{places:?}");
        assert!(places.iter().all(|&(at, _)| at < function.code.len()), "{places:?}");
        let operators: Vec<u8> = places.iter().filter_map(|&(_, at)| Some(wasm[at?])).collect();
        assert!(operators.contains(&opcode), "{operators:x?}");
        assert!(places.iter().filter_map(|it| it.1).all(|at| at > function.body_offset));
    }
    let module = Module::new(&Engine::default(), &wasm).unwrap();
    assert!(module.functions().all(|function| function.operators().next().is_none()));
}
