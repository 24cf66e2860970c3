//! Who is below whom: tests, casts and calls, for every pair of a family of types. An answer that is
//! wrong for one pair lets a guest take an object for another.

use std::fmt::Write as _;

use lampwick::{Func, Instance, Module, Store, TrapCode, Val};

use crate::support::{engine, instantiate, trap};

/// Types, each with the one that it extends. Two have the same depth, and two the same fields.
const FAMILY: [(&str, Option<&str>); 7] = [
    ("a", None),
    ("b", Some("a")),
    ("c", Some("b")),
    ("d", Some("a")),
    ("e", Some("d")),
    ("other", None),
    ("below_other", Some("other")),
];

fn is_below(name: &str, other: &str) -> bool {
    let above = FAMILY.iter().find(|(found, _)| *found == name).and_then(|(_, above)| *above);
    name == other || above.is_some_and(|above| is_below(above, other))
}

/// Each type of the family with this content; none is final.
fn declarations(content: &str) -> String {
    // One group, so that types with the same fields are not one.
    let types = FAMILY.iter().map(|(name, above)| {
        let above = above.map_or(String::new(), |above| format!("${above} "));
        format!("(type ${name} (sub {above}{content})) ")
    });
    format!("(rec {})", types.collect::<String>())
}

/// Functions that ask, for each type, whether a reference below `top` is of it: `1` if so.
fn questions(top: &str) -> String {
    let mut text = String::new();
    for (name, _) in FAMILY {
        write!(
            text,
            r#"(func (export "test {name}") (param {top}) (result i32)
                (ref.test (ref ${name}) (local.get 0)))
            (func (export "test null {name}") (param {top}) (result i32)
                (ref.test (ref null ${name}) (local.get 0)))
            (func (export "branch {name}") (param {top}) (result i32)
                (block $is (result (ref ${name}))
                    (drop (br_on_cast $is {top} (ref ${name}) (local.get 0)))
                    (return (i32.const 0)))
                (return (drop) (i32.const 1)))
            (func (export "branch fail {name}") (param {top}) (result i32)
                (block $not (result {top})
                    (drop (br_on_cast_fail $not {top} (ref ${name}) (local.get 0)))
                    (return (i32.const 1)))
                (return (drop) (i32.const 0)))
            (func (export "cast {name}") (param {top}) (result i32)
                (drop (ref.cast (ref ${name}) (local.get 0))) (i32.const 1))
            (func (export "cast null {name}") (param {top}) (result i32)
                (drop (ref.cast (ref null ${name}) (local.get 0))) (i32.const 1))
            "#
        )
        .unwrap();
    }
    text
}

struct Guest {
    store: Store<()>,
    instance: Instance,
}

impl Guest {
    fn new(wat: &str) -> Self {
        let (store, instance) = instantiate(&engine(|_| {}), wat);
        Self { store, instance }
    }

    fn func(&mut self, name: &str) -> Func {
        self.instance.get_func(&mut self.store, name).unwrap()
    }

    /// Whether a function answers 1, rather than 0 or a failed cast.
    fn asks(&mut self, name: &str, value: &Val) -> bool {
        match self.func(name).call(&mut self.store, std::slice::from_ref(value)) {
            Ok(answer) => answer[0].unwrap_i32() == 1,
            Err(error) => {
                assert!(name.starts_with("cast"), "{name}: {error:#}");
                assert_eq!(trap(error).trap_code(), Some(TrapCode::CastFailure), "{name}");
                false
            }
        }
    }

    /// Asks all questions about a reference of the type, or about null.
    fn check(&mut self, value: &Val, of: Option<&str>) {
        for (name, _) in FAMILY {
            let is = of.is_some_and(|of| is_below(of, name));
            for question in ["test", "branch", "branch fail", "cast"] {
                let answer = self.asks(&format!("{question} {name}"), value);
                assert_eq!(answer, is, "{question} {name} of {of:?}");
            }
            for question in ["test null", "cast null"] {
                let answer = self.asks(&format!("{question} {name}"), value);
                assert_eq!(answer, is || of.is_none(), "{question} {name} of {of:?}");
            }
        }
    }
}

#[test]
fn objects_are_of_their_types_and_those_above() {
    for (content, new) in [
        ("(struct (field i32) (field (mut i64)))", "struct.new_default"),
        ("(array (mut i16))", "array.new_default"),
    ] {
        let mut text = format!("(module {} {}", declarations(content), questions("anyref"));
        let length = if new.starts_with("array") { "(i32.const 3)" } else { "" };
        for (name, _) in FAMILY {
            write!(text, "(func (export \"new {name}\") (result anyref) ({new} ${name} {length}))")
                .unwrap();
        }
        let mut guest = Guest::new(&(text + ")"));
        for (name, _) in FAMILY {
            let new = guest.func(&format!("new {name}"));
            let object = new.call(&mut guest.store, &[]).unwrap()[0].clone();
            guest.check(&object, Some(name));
        }
        guest.check(&Val::AnyRef(None), None);
        for (name, _) in FAMILY {
            let small = Val::from(lampwick::AnyRef::from_i31(5));
            assert!(!guest.asks(&format!("test null {name}"), &small), "{name}");
        }
    }
}

/// A module with a function of each type in a table, and calls through it as each type.
fn functions() -> String {
    let mut text =
        format!("(module {} {}", declarations("(func (result i32))"), questions("funcref"));
    for (number, (name, _)) in FAMILY.into_iter().enumerate() {
        write!(
            text,
            r#"(func $of_{name} (export "of {name}") (type ${name}) (i32.const {number}))
            (func (export "as {name}") (param i32) (result i32)
                (call_indirect (type ${name}) (local.get 0)))
            (func (export "tail as {name}") (param i32) (result i32)
                (return_call_indirect (type ${name}) (local.get 0)))"#
        )
        .unwrap();
    }
    let elements: String = FAMILY.iter().map(|(name, _)| format!("$of_{name} ")).collect();
    text + &format!("(table funcref (elem {elements})))")
}

#[test]
fn functions_are_of_their_types_and_those_above() {
    let mut guest = Guest::new(&functions());
    for (name, _) in FAMILY {
        let function = guest.func(&format!("of {name}"));
        guest.check(&Val::FuncRef(Some(function)), Some(name));
    }
    guest.check(&Val::FuncRef(None), None);
}

#[test]
fn functions_are_called_as_their_types_and_those_above() {
    let mut guest = Guest::new(&functions());
    for (number, (name, _)) in FAMILY.into_iter().enumerate() {
        for (other, _) in FAMILY {
            for call in ["as", "tail as"] {
                let call = guest.func(&format!("{call} {other}"));
                let answer = call.call(&mut guest.store, &[(number as i32).into()]);
                match answer {
                    Ok(answer) => {
                        assert!(is_below(name, other), "{name} was called as {other}");
                        assert_eq!(answer[0].unwrap_i32(), number as i32);
                    }
                    Err(error) => {
                        assert!(!is_below(name, other), "{name} as {other}: {error:#}");
                        assert_eq!(trap(error).trap_code(), Some(TrapCode::BadSignature));
                    }
                }
            }
        }
    }
}

/// What the host gives to a function goes by the same rule.
#[test]
fn arguments_are_of_their_parameters_types_or_below() {
    let mut text = format!("(module {}", declarations("(struct (field i32))"));
    for (name, _) in FAMILY {
        write!(
            text,
            r#"(func (export "new {name}") (result anyref) (struct.new_default ${name}))
            (func (export "take {name}") (param (ref ${name})))"#
        )
        .unwrap();
    }
    let mut guest = Guest::new(&(text + ")"));
    for (name, _) in FAMILY {
        let new = guest.func(&format!("new {name}"));
        let object = new.call(&mut guest.store, &[]).unwrap()[0].clone();
        for (other, _) in FAMILY {
            let take = guest.func(&format!("take {other}"));
            let taken = take.call(&mut guest.store, std::slice::from_ref(&object));
            assert_eq!(taken.is_ok(), is_below(name, other), "{name} as {other}: {taken:?}");
        }
    }
}

/// And what a module imports.
#[test]
fn imports_are_of_their_types_or_below() {
    let mut guest = Guest::new(&functions());
    for (other, _) in FAMILY {
        let declarations = declarations("(func (result i32))");
        let text = format!("(module {declarations} (import \"\" \"\" (func (type ${other}))))");
        let module = Module::new(guest.store.engine(), text).unwrap();
        for (name, _) in FAMILY {
            let function = guest.func(&format!("of {name}"));
            let made = Instance::new(&mut guest.store, &module, &[function.into()]);
            assert_eq!(made.is_ok(), is_below(name, other), "{name} as {other}");
        }
    }
}
