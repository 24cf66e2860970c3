//! Collections: what guests can reach stays, wherever it is; the rest is dropped.
//!
//! `collection_calls.rs` has what calls add: nested, suspended, forgotten, failed ones.

use lampwick::{
    AsContextMut, Engine, Extern, ExternRef, Global, GlobalType, Mutability, Store, Table,
    TableType, Val, ValType,
};

use crate::collection_guests::{Guest, Host, Setup, linker, number, setups, store};
use crate::support::engine;

/// Functions that keep values in one place each while there are collections, show them, and then
/// expect that what they no longer use is gone.
const PLACES: &str = r#"
    (table $t 4 externref) (global $g (mut externref) (ref.null extern))
    (func (export "local") (local externref)
        (local.set 0 (call $make (i32.const 1))) call $churn
        (call $see (local.get 0) (i32.const 1)) (call $expect (i32.const 0)))
    (func (export "operand stack")
        (call $make (i32.const 1)) (call $make (i32.const 2)) call $churn
        (call $expect (i32.const 2))
        i32.const 2 call $see (call $expect (i32.const 1))
        i32.const 1 call $see (call $expect (i32.const 0)))
    (func (export "unused") (local externref externref)
        (local.set 0 (call $make (i32.const 1))) (call $expect (i32.const 0))
        (drop (call $make (i32.const 2))) (call $expect (i32.const 0))
        (local.set 1 (call $make (i32.const 3))) (local.set 1 (call $make (i32.const 4)))
        (call $expect (i32.const 1)) (call $see (local.get 1) (i32.const 4)))
    (func (export "copies") (local externref externref)
        (local.set 0 (local.tee 1 (call $make (i32.const 1)))) call $churn
        (call $see (local.get 0) (i32.const 1)) (local.set 0 (ref.null extern)) call $churn
        (call $see (local.get 1) (i32.const 1)) (call $expect (i32.const 0)))
    (func (export "loop") (local $n i32) (local externref)
        (local.set 1 (call $make (i32.const 50)))
        (call $make (i32.const 100))
        (loop $l (param externref) (result externref)
            call $churn (i32.add (i32.const 100) (local.get $n)) call $see
            (call $expect (i32.const 1))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (call $make (i32.add (i32.const 100) (local.get $n)))
            (br_if $l (i32.lt_u (local.get $n) (i32.const 9))))
        (call $see (i32.const 109)) (call $see (local.get 1) (i32.const 50)))
    (func (export "carried by a loop") (local $n i32) (local $last externref)
        (loop $l
            call $churn
            (if (local.get $n) (then (call $see (local.get $last) (local.get $n))))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (local.set $last (call $make (local.get $n)))
            (br_if $l (i32.lt_u (local.get $n) (i32.const 9))))
        (call $see (local.get $last) (i32.const 9)) (call $expect (i32.const 0)))
    (func $branches (param $which i32) (param $a externref) (param $b externref) (result externref)
        (block $out (result externref)
            (if (result externref) (local.get $which)
                (then call $churn (br $out (local.get $a)))
                (else call $churn (local.get $b))) call $churn)
        call $churn)
    (func (export "branches")
        (call $branches (i32.const 1) (call $make (i32.const 1)) (call $make (i32.const 2)))
        call $churn (call $see (i32.const 1)) (call $expect (i32.const 0))
        (call $branches (i32.const 0) (call $make (i32.const 1)) (call $make (i32.const 2)))
        call $churn (call $see (i32.const 2)) (call $expect (i32.const 0)))
    (func $pick (param $which i32) (local externref externref)
        (local.set 1 (call $make (i32.const 1))) (local.set 2 (call $make (i32.const 2)))
        (select (result externref) (local.get 1) (local.get 2) (local.get $which))
        call $churn (call $expect (i32.const 1))
        (i32.sub (i32.const 2) (local.get $which)) call $see)
    (func (export "select") (call $pick (i32.const 0)) (call $pick (i32.const 1)))
    (func (export "br_table") (local $n i32)
        (loop $again
            (block $b (result externref)
                (block $a (result externref)
                    (br_table $a $b $b (call $make (local.get $n)) (local.get $n)))
                call $churn)
            call $churn (call $see (local.get $n)) (call $expect (i32.const 0))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const 4)))))
    (func (export "global")
        (global.set $g (call $make (i32.const 1))) call $churn
        (call $see (global.get $g) (i32.const 1))
        (global.get $g) (global.set $g (ref.null extern)) call $churn
        (call $see (i32.const 1)) (call $expect (i32.const 0)))
    (func (export "table")
        (table.set $t (i32.const 1) (call $make (i32.const 1)))
        (table.fill $t (i32.const 2) (call $make (i32.const 2)) (i32.const 2)) call $churn
        (table.copy $t $t (i32.const 0) (i32.const 1) (i32.const 3)) call $churn
        (call $see (table.get $t (i32.const 0)) (i32.const 1))
        (call $see (table.get $t (i32.const 3)) (i32.const 2))
        (table.get $t (i32.const 1))
        (table.fill $t (i32.const 0) (ref.null extern) (i32.const 4)) call $churn
        (call $see (i32.const 2)) (call $expect (i32.const 0)))
    (func (export "grown") (local externref)
        (local.set 0 (call $make (i32.const 3)))
        (drop (table.grow $t (local.get 0) (i32.const 20000))) call $churn
        (call $see (local.get 0) (i32.const 3))
        (call $see (table.get $t (i32.sub (table.size $t) (i32.const 1))) (i32.const 3))
        (call $expect (i32.const 1))
        (table.fill $t (i32.const 0) (ref.null extern) (table.size $t))
        (call $expect (i32.const 0)))
    (func $many (param externref externref externref externref externref externref externref)
        (param externref externref externref externref)
        (result externref externref externref externref externref externref externref externref)
        call $churn (call $expect (i32.const 11))
        (call $see (local.get 0) (i32.const 0)) (call $see (local.get 4) (i32.const 4))
        (call $see (local.get 10) (i32.const 10)) (call $expect (i32.const 8))
        local.get 9 local.get 8 local.get 7 local.get 6 local.get 5 local.get 3 local.get 2
        local.get 1)
    (func (export "arguments and results")
        (call $many (call $make (i32.const 0)) (call $make (i32.const 1))
            (call $make (i32.const 2)) (call $make (i32.const 3)) (call $make (i32.const 4))
            (call $make (i32.const 5)) (call $make (i32.const 6)) (call $make (i32.const 7))
            (call $make (i32.const 8)) (call $make (i32.const 9)) (call $make (i32.const 10)))
        call $churn
        i32.const 1 call $see i32.const 2 call $see i32.const 3 call $see i32.const 5 call $see
        i32.const 6 call $see i32.const 7 call $see (call $expect (i32.const 2))
        i32.const 8 call $see i32.const 9 call $see (call $expect (i32.const 0)))
    (func $deep (param $depth i32) (param $above externref) (local $own externref)
        (local.set $own (call $make (local.get $depth)))
        (if (local.get $depth)
            (then (call $deep (i32.sub (local.get $depth) (i32.const 1)) (local.get $own)))
            (else call $churn (call $expect (i32.const 101))))
        (call $see (local.get $above) (i32.add (local.get $depth) (i32.const 1)))
        (call $see (local.get $own) (local.get $depth)))
    (func (export "deep recursion")
        (call $deep (i32.const 99) (call $make (i32.const 100))) (call $expect (i32.const 0)))
    (func (export "dead code") (param externref) (local externref)
        (local.set 1 (call $make (i32.const 1)))
        (block (call $churn) (br 0) (call $see (local.get 1) (i32.const 1)))
        (call $expect (i32.const 0)))
    (func (export "among numbers") (local i32 i64 f64 externref i32)
        (local.set 0 (i32.const 1)) (local.set 1 (i64.const 2)) (local.set 4 (i32.const 3))
        (local.set 3 (call $make (i32.const 7))) (drop (call $make (i32.const 8)))
        (drop (call $make (i32.const 9))) (call $expect (i32.const 1))
        (call $see (local.get 3) (i32.add (local.get 0) (i32.mul (local.get 4)
            (i32.wrap_i64 (local.get 1)))))
        (call $expect (i32.const 0))
        (drop (i32.add (local.get 0) (local.get 4))))"#;

/// The names of the functions in a text that are exported without parameters.
fn names(fields: &str) -> Vec<&str> {
    fields.split("(func (export \"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

#[test]
fn values_survive_in_every_place_as_long_as_they_are_used() {
    for setup in setups() {
        let mut guest = Guest::new(&setup, &linker(&setup.engine), "", PLACES);
        assert_eq!(names(PLACES).len(), 16);
        for name in names(PLACES) {
            let args = if name == "dead code" { vec![Val::null()] } else { vec![] };
            // Twice: indexes are others the second time.
            for round in 0..2 {
                let result = guest.call(name, &args);
                result.unwrap_or_else(|error| panic!("{}, {name}, {round}: {error}", setup.name));
            }
        }
        assert_eq!(guest.alive(), 0);
        assert!(guest.store.data().census.made() > 100);
    }
}

#[test]
fn what_the_host_made_is_searched_too() {
    const FIELDS: &str = r#"
        (elem $e externref (global.get $const))
        (func (export "fill") (table.init $t $e (i32.const 1) (i32.const 0) (i32.const 1))
            (global.set $var (call $make (i32.const 2))) call $churn)
        (func (export "show") call $churn (call $see (table.get $t (i32.const 0)) (i32.const 5))
            (call $see (table.get $t (i32.const 1)) (i32.const 1))
            (call $see (global.get $var) (i32.const 2))
            (call $see (global.get $const) (i32.const 1)))"#;
    const MORE: &str = r#"(import "" "table" (table $t 2 externref))
        (import "" "const" (global $const externref))
        (import "" "var" (global $var (mut externref)))"#;
    for setup in setups() {
        let mut store = store(&setup);
        let mut linker = linker(&setup.engine);
        let one = store.data().make(1);
        let ty = |mutability| GlobalType::new(ValType::ExternRef, mutability);
        let constant = Global::new(&mut store, ty(Mutability::Const), one.into()).unwrap();
        let variable = Global::new(&mut store, ty(Mutability::Var), Val::null()).unwrap();
        let init = store.data().make(5);
        let table = TableType::new(ValType::ExternRef, 2, None);
        let table = Table::new(&mut store, table, init.into()).unwrap();
        for (name, item) in
            [("table", Extern::from(table)), ("const", constant.into()), ("var", variable.into())]
        {
            linker.define("", name, item).unwrap();
        }
        let mut guest = Guest::in_store(store, &setup, &linker, MORE, FIELDS);
        for name in ["fill", "show", "show"] {
            guest.call(name, &[]).unwrap_or_else(|error| panic!("{}: {error}", setup.name));
        }
        assert_eq!(guest.alive(), 3);
        table.fill(&mut guest.store, 0, Val::null(), 2).unwrap();
        assert_eq!(guest.alive(), 2, "one is constant");
        variable.set(&mut guest.store, Val::null()).unwrap();
        assert_eq!(guest.alive(), 1);
        let shown = constant.get(&mut guest.store).unwrap_externref();
        assert_eq!(number(shown.as_ref()), 1);
        let census = guest.store.data().census.clone();
        drop(guest);
        assert_eq!(census.alive(), 1);
        drop(shown);
        assert_eq!(census.alive(), 0);
    }
}

#[test]
fn counts_tell_who_refers_to_a_value() {
    let setup = &setups()[0];
    let mut guest = Guest::new(
        setup,
        &linker(&setup.engine),
        "",
        r#"(table (export "t") 3 externref)
        (func (export "keep") (param externref) (table.set 0 (i32.const 0) (local.get 0)))"#,
    );
    let value = ExternRef::new("value");
    assert_eq!(value.strong_count(), 1);
    for _ in 0..3 {
        guest.call("keep", &[value.clone().into()]).unwrap();
        assert_eq!(value.strong_count(), 2, "one for the store, however often it is passed");
        guest.alive();
        assert_eq!(value.strong_count(), 2, "the table holds it");
    }
    guest.call("keep", &[Val::null()]).unwrap();
    assert_eq!(value.strong_count(), 2, "until a collection");
    guest.alive();
    assert_eq!(value.strong_count(), 1);
    // A store of its own has a reference of its own.
    let mut other =
        Guest::new(setup, &linker(&setup.engine), "", r#"(table (export "t") 1 externref)"#);
    for guest in [&mut guest, &mut other] {
        let table = guest.instance.get_table(&mut guest.store, "t").unwrap();
        table.set(&mut guest.store, 0, value.clone().into()).unwrap();
    }
    assert_eq!(value.strong_count(), 3);
    drop(guest);
    assert_eq!(value.strong_count(), 2);
    drop(other);
    assert_eq!(value.strong_count(), 1);
}

#[test]
fn every_context_collects() {
    let setup = &setups()[0];
    let fields = r#"(func (export "make") (drop (call $make (i32.const 1))))
        (func (export "gc") call $gc)"#;
    let mut guest = Guest::new(setup, &linker(&setup.engine), "", fields);
    for context in 0..3 {
        guest.call("make", &[]).unwrap();
        assert_eq!(guest.store.data().census.alive(), 1);
        match context {
            0 => guest.store.gc(),
            1 => guest.store.as_context_mut().gc(),
            _ => drop(guest.call("gc", &[]).unwrap()),
        }
        assert_eq!(guest.store.data().census.alive(), 0);
    }
}

#[test]
fn tables_and_globals_of_the_host_collect_when_there_is_much_to_collect() {
    let mut store = Store::new(&Engine::default(), Host::default());
    let global = GlobalType::new(ValType::ExternRef, Mutability::Var);
    let global = Global::new(&mut store, global, Val::null()).unwrap();
    let table = TableType::new(ValType::ExternRef, 1, None);
    let table = Table::new(&mut store, table, Val::null()).unwrap();
    for number in 0..10_000 {
        let value = store.data().make(number);
        global.set(&mut store, value.into()).unwrap();
        let value = store.data().make(-number - 2);
        table.set(&mut store, 0, value.into()).unwrap();
        assert!(store.data().census.alive() <= 257, "{}", store.data().census.alive());
        let kept = global.get(&mut store).unwrap_externref();
        assert_eq!(self::number(kept.as_ref()), number);
    }
    store.gc();
    assert_eq!(store.data().census.alive(), 2);
}

#[test]
fn fuel_is_exact_beside_references() {
    const FIELDS: &str = r#"(memory 1)
        (func (export "run") (param i32 i32) (local externref i32)
            (local.set 2 (call $make (i32.const 3)))
            (loop
                (call $see (local.get 2) (i32.const 3))
                (local.set 3 (i32.add (local.get 3) (i32.load (local.get 1))))
                (local.set 1 (i32.add (local.get 1) (local.get 3)))
                (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
            (drop (i32.load (i32.const -1))) (call $see (local.get 2) (i32.const 3)))"#;
    for setup in setups().into_iter().filter(|setup| setup.name != "default") {
        let mut guest = Guest::new(&setup, &linker(&setup.engine), "", FIELDS);
        for (times, first, cost) in [
            // One for the entry, three to make the value; seventeen for each round, after which two
            // fault. In the last case the second operand of the first sum does.
            (10, 0, 4 + 10 * 17 + 2),
            (1, 0, 4 + 17 + 2),
            (1, -1, 4 + 3 + 3),
        ] {
            let Some(before) = guest.store.fuel_consumed() else { continue };
            let error = guest.call("run", &[Val::I32(times), Val::I32(first)]).unwrap_err();
            assert!(error.to_string().contains("out of bounds memory access"), "{error}");
            let consumed = guest.store.fuel_consumed().unwrap() - before;
            assert_eq!(consumed, cost, "{}: {times}, {first}", setup.name);
        }
    }
}

#[test]
fn references_are_found_in_functions_too_large_to_optimize() {
    let part = "local.get 0 if local.get 1 i32.const 3 i32.add local.set 1 end ".repeat(26_000);
    let fields = format!(
        r#"(func (export "run") (param i32) (local i32 externref)
            (local.set 2 (call $make (i32.const 1))) (call $make (i32.const 2)) {part}
            call $churn i32.const 2 call $see (call $expect (i32.const 1))
            (call $see (local.get 2) (i32.const 1)) (call $expect (i32.const 0)))"#
    );
    let engine = engine(|config| {
        config.consume_fuel(true).cranelift_debug_verifier(false);
        config.max_wasm_stack(32 << 20).unwrap().async_stack_size(64 << 20).unwrap();
    });
    let setup = Setup { name: "large", engine, is_async: false };
    let mut guest = Guest::new(&setup, &linker(&setup.engine), "", &fields);
    guest.call("run", &[Val::I32(1)]).unwrap();
    assert_eq!(guest.alive(), 0);
}
