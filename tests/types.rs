//! Reference types, and the types that modules declare.

use lampwick::{
    CompositeKind, Config, Engine, Extern, Func, FuncType, Global, GlobalType, HeapType, Instance,
    Module, Mutability, RefType, Store, Table, TableType, Val, ValType,
};

use crate::support::engine;

fn references() -> Engine {
    engine(|config| {
        config.wasm_function_references(true);
    })
}

#[test]
fn references_have_the_names_of_the_text_format() {
    let names = [
        (HeapType::Func, "funcref", "(ref func)"),
        (HeapType::NoFunc, "nullfuncref", "(ref nofunc)"),
        (HeapType::Extern, "externref", "(ref extern)"),
        (HeapType::NoExtern, "nullexternref", "(ref noextern)"),
        (HeapType::Any, "anyref", "(ref any)"),
        (HeapType::None, "nullref", "(ref none)"),
        (HeapType::Exn, "exnref", "(ref exn)"),
    ];
    for (heap, nullable, other) in names {
        for (is_nullable, name) in [(true, nullable), (false, other)] {
            let ty = RefType::new(is_nullable, heap);
            assert_eq!((ty.is_nullable(), ty.heap_type()), (is_nullable, heap));
            assert_eq!(ValType::from(ty).ref_type(), Some(ty));
            assert!(ValType::from(ty).is_ref() && !ValType::from(ty).is_num());
            assert_eq!(ValType::Ref(ty).to_string(), name);
        }
    }
    assert_eq!(ValType::I32.ref_type(), None);
}

#[test]
fn two_types_have_two_forms() {
    for (old, new) in
        [(ValType::FuncRef, RefType::FUNCREF), (ValType::ExternRef, RefType::EXTERNREF)]
    {
        assert_eq!(ValType::Ref(new), old);
        let func = FuncType::new([ValType::Ref(new)], []);
        assert_eq!(func, FuncType::new([old], []));
        assert!(std::collections::HashSet::from([func]).contains(&FuncType::new([old], [])));
        assert_ne!(ValType::Ref(RefType::new(false, new.heap_type())), old);
        // Whatever is given, what comes back can be matched.
        let table = TableType::new(ValType::Ref(new), 0, None);
        let global = GlobalType::new(ValType::Ref(new), Mutability::Const);
        for ty in [table.element(), *global.content()] {
            assert!(matches!(ty, ValType::FuncRef | ValType::ExternRef));
        }
    }
}

#[test]
fn modules_show_the_types_that_they_declare() {
    let text = r#"(module (type $t (func (param i32))) (type $same (func (param i32)))
        (type $other (func (param (ref $t)) (result (ref null $same))))
        (import "" "g" (global (ref null $same)))
        (import "" "t" (table 1 (ref null $t)))
        (func (export "f") (type $other) (ref.null $t)))"#;
    let module = Module::new(&references(), text).unwrap();
    let func = module.get_export("f").unwrap().unwrap_func().clone();
    let [param, result] =
        [func.params().next(), func.results().next()].map(|ty| ty.unwrap().ref_type().unwrap());
    assert_eq!((param.is_nullable(), result.is_nullable()), (false, true));
    assert_eq!(param.heap_type(), result.heap_type(), "the types are equal");
    let HeapType::Concrete(declared) = param.heap_type() else { panic!("{param}") };
    assert_eq!(declared.kind(), CompositeKind::Func);
    let mut imports = module.imports().map(|import| import.ty());
    let global = *imports.next().unwrap().unwrap_global().content();
    assert_eq!(global, result.into());
    assert_eq!(imports.next().unwrap().unwrap_table().element(), global);
}

#[test]
fn imports_match_by_what_their_types_are() {
    let engine = references();
    let mut store = Store::new(&engine, ());
    // The one module declares the type elsewhere than the other.
    let exporter = r#"(module (type (func)) (type $t (func (param i32)))
        (elem declare func $f) (func $f (export "f") (type $t))
        (global (export "g") (ref $t) (ref.func $f))
        (global (export "v") (mut (ref null $t)) (ref.null $t)))"#;
    let exporter = Module::new(&engine, exporter).unwrap();
    let exporter = Instance::new(&mut store, &exporter, &[]).unwrap();
    let mut fits = |export: &str, import: &str| {
        let text = format!(
            r#"(module (type $t (func (param i32))) (type $other (func (param i64)))
            (import "" "" (global {import})))"#
        );
        let module = Module::new(&engine, text).unwrap();
        let export: Extern = exporter.get_export(&mut store, export).unwrap();
        match Instance::new(&mut store, &module, &[export]) {
            Ok(_) => true,
            Err(error) => {
                assert!(format!("{error:#}").contains("incompatible import type"), "{error:#}");
                false
            }
        }
    };
    for ty in ["(ref $t)", "(ref null $t)", "(ref func)", "funcref"] {
        assert!(fits("g", ty), "{ty}");
        assert!(!fits("g", &format!("(mut {ty})")), "{ty}");
        let same = ty == "(ref null $t)";
        assert_eq!(fits("v", &format!("(mut {ty})")), same, "what can be set is of one type");
        assert!(!fits("v", ty));
    }
    for ty in ["(ref $other)", "(ref null $other)", "externref", "i32"] {
        assert!(!fits("g", ty), "{ty}");
    }
}

#[test]
fn hosts_of_one_engine_cannot_use_types_of_another() {
    let text = r#"(module (type $t (func)) (global (export "g") (ref null $t) (ref.null $t)))"#;
    let content = |engine: &Engine| {
        let module = Module::new(engine, text).unwrap();
        let ty = module.get_export("g").unwrap().unwrap_global().clone();
        (ty, module)
    };
    let (ours, theirs) = (references(), references());
    let ((our_type, _ours), (their_type, _theirs)) = (content(&ours), content(&theirs));
    let mut store = Store::new(&ours, ());
    Global::new(&mut store, our_type.clone(), Val::FuncRef(None)).unwrap();
    let refused = Global::new(&mut store, their_type.clone(), Val::FuncRef(None));
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("belongs to another engine"), "{error}");
    let ty = TableType::new(*their_type.content(), 1, None);
    assert!(Table::new(&mut store, ty, Val::FuncRef(None)).is_err());
    // A function's type is of the right engine, or there is no function.
    let func = FuncType::new([*our_type.content()], []);
    let func = Func::new(&mut store, func, |_, _, _| Ok(()));
    func.call(&mut store, &[Val::FuncRef(None)]).unwrap();
    let func = FuncType::new([*their_type.content()], []);
    let mut linker = lampwick::Linker::<()>::new(&ours);
    linker.func_new("", "f", func, |_, _, _| Ok(())).unwrap();
    let wants_it = r#"(module (type $t (func)) (import "" "f" (func (param (ref null $t)))))"#;
    let wants_it = Module::new(&ours, wants_it).unwrap();
    let error = format!("{:#}", linker.instantiate(&mut store, &wants_it).unwrap_err());
    assert!(error.contains("incompatible import type"), "{error}");
}

#[test]
fn proposals_that_build_on_others_need_them() {
    let mut config = Config::new();
    config.wasm_function_references(true).wasm_reference_types(false);
    Engine::new(&config).expect("both are off");
    config.wasm_function_references(true);
    let error = Engine::new(&config).unwrap_err().to_string();
    assert!(
        error.contains("`function-references` is enabled without `reference-types`"),
        "{error}"
    );
}
