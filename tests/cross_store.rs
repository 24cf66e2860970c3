//! What belongs to one store, used with another: every function that has a `Result` refuses it.
//!
//! `hostile` has the functions that have none, and panic.

use anyhow::{Error, Result};
use lampwick::{
    Caller, Engine, Extern, Func, FuncType, Global, GlobalType, Instance, Linker, Memory,
    MemoryType, Module, Mutability, Store, Table, TableType, Trap, TypedFunc, Val, ValType,
};

use crate::support::{asynchronous, block_on};

/// Exports one of everything; `take` and `give` pass a reference through.
const GUEST: &str = r#"(module
    (memory (export "memory") 1 4)
    (table (export "table") 4 8 funcref)
    (global (export "global") (mut funcref) (ref.null func))
    (func (export "take") (param funcref))
    (func (export "give") (result funcref) ref.null func))"#;

const IMPORTS: [(&str, &str); 4] = [
    ("memory", r#"(module (import "m" "memory" (memory 1)))"#),
    ("table", r#"(module (import "m" "table" (table 1 funcref)))"#),
    ("global", r#"(module (import "m" "global" (global (mut funcref))))"#),
    ("take", r#"(module (import "m" "take" (func (param funcref))))"#),
];

/// An instance of [`GUEST`] and what it exports.
struct Things {
    instance: Instance,
    memory: Memory,
    table: Table,
    global: Global,
    take: Func,
    typed: TypedFunc<Option<Func>, ()>,
}

impl Things {
    fn new(store: &mut Store<Option<Func>>, instance: Instance) -> Self {
        let take = instance.get_func(&mut *store, "take").unwrap();
        Self {
            instance,
            memory: instance.get_memory(&mut *store, "memory").unwrap(),
            table: instance.get_table(&mut *store, "table").unwrap(),
            global: instance.get_global(&mut *store, "global").unwrap(),
            take,
            typed: take.typed(&*store).unwrap(),
        }
    }

    fn export(&self, name: &str) -> Extern {
        match name {
            "memory" => self.memory.into(),
            "table" => self.table.into(),
            "global" => self.global.into(),
            _ => self.take.into(),
        }
    }

    /// Nothing has changed.
    fn check(&self, store: &mut Store<Option<Func>>) {
        assert_eq!(self.memory.size(&*store), 1);
        assert!(self.memory.data(&*store).iter().all(|byte| *byte == 0));
        assert_eq!(self.table.size(&*store), 4);
        for index in 0..4 {
            let element = self.table.get(&mut *store, index).unwrap();
            assert!(element.unwrap_funcref().is_none(), "element {index}");
        }
        assert!(self.global.get(&mut *store).unwrap_funcref().is_none());
    }
}

type Stores = [(Store<Option<Func>>, Things); 2];

fn two_stores() -> Stores {
    let engine = Engine::default();
    let module = Module::new(&engine, GUEST).unwrap();
    [(), ()].map(|()| {
        let mut store = Store::new(&engine, None);
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let things = Things::new(&mut store, instance);
        (store, things)
    })
}

fn two_async_stores() -> Stores {
    let engine = asynchronous();
    let module = Module::new(&engine, GUEST).unwrap();
    [(), ()].map(|()| {
        let mut store = Store::new(&engine, None);
        let instance = block_on(Instance::new_async(&mut store, &module, &[])).unwrap();
        let things = Things::new(&mut store, instance);
        (store, things)
    })
}

fn assert_refused(results: Vec<(String, Result<()>)>) {
    for (what, result) in results {
        let error = result.err().unwrap_or_else(|| panic!("{what} was accepted"));
        let text = format!("{error:#}");
        assert!(text.contains("another store than its own"), "{what}: {text}");
    }
}

fn refused<R>(what: &str, result: Result<R, impl Into<Error>>) -> (String, Result<()>) {
    (what.to_owned(), result.map(drop).map_err(Into::into))
}

/// A function of another store as a value.
fn value(things: &Things) -> Val {
    Val::FuncRef(Some(things.take))
}

#[test]
fn handles_are_refused_where_they_are_used() {
    let [(mut a, ours), (mut b, theirs)] = two_stores();
    let null = || Val::FuncRef(None);
    assert_refused(vec![
        refused("Memory::read", ours.memory.read(&b, 0, &mut [0])),
        refused("Memory::write", ours.memory.write(&mut b, 0, &[1])),
        refused("Memory::grow", ours.memory.grow(&mut b, 1)),
        refused("Memory::grow by nothing", ours.memory.grow(&mut b, 0)),
        refused("Memory::grow_async", block_on(ours.memory.grow_async(&mut b, 1))),
        refused("Table::set", ours.table.set(&mut b, 0, null())),
        refused("Table::fill", ours.table.fill(&mut b, 0, null(), 0)),
        refused("Table::grow", ours.table.grow(&mut b, 1, null())),
        refused("Table::grow_async", block_on(ours.table.grow_async(&mut b, 1, null()))),
        refused("Table::copy to", Table::copy(&mut b, &ours.table, 0, &theirs.table, 0, 1)),
        refused("Table::copy from", Table::copy(&mut b, &theirs.table, 0, &ours.table, 0, 1)),
        refused("Global::set", ours.global.set(&mut b, null())),
        refused("Func::call", ours.take.call(&mut b, &[null()])),
        refused("Func::typed", ours.take.typed::<Option<Func>, (), _>(&b)),
        refused("TypedFunc::call", ours.typed.call(&mut b, None)),
        refused(
            "Instance::get_typed_func",
            ours.instance.get_typed_func::<Option<Func>, (), _>(&mut b, "take"),
        ),
    ]);
    ours.check(&mut a);
    theirs.check(&mut b);
}

#[test]
fn values_are_refused_where_they_are_stored() {
    let [(mut a, ours), (mut b, theirs)] = two_stores();
    let table_type = TableType::new(ValType::FuncRef, 1, None);
    let global_type = GlobalType::new(ValType::FuncRef, Mutability::Var);
    let table = || table_type.clone();
    let alien = || value(&ours);
    assert_refused(vec![
        refused("an argument", theirs.take.call(&mut b, &[alien()])),
        refused("a typed argument", theirs.typed.call(&mut b, Some(ours.take))),
        refused("Global::new", Global::new(&mut b, global_type, alien())),
        refused("Global::set", theirs.global.set(&mut b, alien())),
        refused("Table::new", Table::new(&mut b, table(), alien())),
        refused("Table::new_async", block_on(Table::new_async(&mut b, table(), alien()))),
        refused("Table::set", theirs.table.set(&mut b, 0, alien())),
        refused("Table::fill", theirs.table.fill(&mut b, 0, alien(), 4)),
        refused("Table::grow", theirs.table.grow(&mut b, 1, alien())),
        refused("Table::grow_async", block_on(theirs.table.grow_async(&mut b, 1, alien()))),
    ]);
    ours.check(&mut a);
    theirs.check(&mut b);
}

#[test]
fn async_calls_refuse_both() {
    let [(mut a, ours), (mut b, theirs)] = two_async_stores();
    let null = [Val::FuncRef(None)];
    assert_refused(vec![
        refused("Func::call_async", block_on(ours.take.call_async(&mut b, &null))),
        refused("an argument", block_on(theirs.take.call_async(&mut b, &[value(&ours)]))),
        refused("TypedFunc::call_async", block_on(ours.typed.call_async(&mut b, None))),
        refused("typed argument", block_on(theirs.typed.call_async(&mut b, Some(ours.take)))),
    ]);
    let module = Module::new(a.engine(), IMPORTS[0].1).unwrap();
    let imports = [ours.memory.into()];
    assert_refused(vec![refused(
        "Instance::new_async",
        block_on(Instance::new_async(&mut b, &module, &imports)),
    )]);
    ours.check(&mut a);
    theirs.check(&mut b);
}

#[test]
fn host_functions_cannot_answer_a_value_of_another_store() {
    let [(a, ours), (mut b, _theirs)] = two_stores();
    let engine = a.engine().clone();
    *b.data_mut() = Some(ours.take);
    let ty = FuncType::new([], [ValType::FuncRef]);
    let untyped = Func::new(&mut b, ty, |caller: Caller<'_, Option<Func>>, _, results| {
        results[0] = Val::FuncRef(*caller.data());
        Ok(())
    });
    let typed = Func::wrap(&mut b, |caller: Caller<'_, Option<Func>>| *caller.data());
    let wat = r#"(module (import "" "" (func $host (result funcref)))
        (func (export "run") call $host drop))"#;
    let module = Module::new(&engine, wat).unwrap();
    for (what, host) in [("Func::new", untyped), ("Func::wrap", typed)] {
        let instance = Instance::new(&mut b, &module, &[host.into()]).unwrap();
        let run = instance.get_func(&mut b, "run").unwrap();
        assert_refused(vec![
            refused(what, run.call(&mut b, &[])),
            refused(what, host.call(&mut b, &[])),
        ]);
    }
    drop(a);
    // The function is gone; its handle is as good as before.
    assert_refused(vec![refused("a dead store's", ours.take.call(&mut b, &[Val::FuncRef(None)]))]);
}

#[test]
fn host_functions_are_refused_what_belongs_elsewhere() {
    let [(mut a, ours), (mut b, theirs)] = two_stores();
    let (memory, table, global, take) = (ours.memory, ours.table, ours.global, ours.take);
    let host =
        Func::wrap(&mut b, move |mut caller: Caller<'_, Option<Func>>| -> Result<(), Trap> {
            let null = || Val::FuncRef(None);
            assert_refused(vec![
                refused("Memory::read", memory.read(&caller, 0, &mut [0])),
                refused("Memory::write", memory.write(&mut caller, 0, &[1])),
                refused("Memory::grow", memory.grow(&mut caller, 1)),
                refused("Table::set", table.set(&mut caller, 0, null())),
                refused("Global::set", global.set(&mut caller, null())),
                refused("Func::call", take.call(&mut caller, &[null()])),
            ]);
            Ok(())
        });
    host.call(&mut b, &[]).unwrap();
    ours.check(&mut a);
    theirs.check(&mut b);
}

#[test]
fn imports_are_refused_by_every_way_of_instantiation() {
    let [(mut a, ours), (mut b, theirs)] = two_stores();
    let engine = a.engine().clone();
    let host = Memory::new(&mut a, MemoryType::new(1, None)).unwrap();
    for (name, wat) in IMPORTS {
        let module = Module::new(&engine, wat).unwrap();
        let import = ours.export(name);
        Instance::new(&mut a, &module, std::slice::from_ref(&import)).unwrap();
        let mut linker = Linker::new(&engine);
        linker.define("m", name, import.clone()).unwrap();
        let pre = linker.instantiate_pre(&mut a, &module).unwrap();
        pre.instantiate(&mut a).unwrap();
        linker.instantiate(&mut a, &module).unwrap();
        assert_refused(vec![
            refused(name, Instance::new(&mut b, &module, std::slice::from_ref(&import))),
            refused(name, linker.instantiate(&mut b, &module)),
            refused(name, linker.instantiate_pre(&mut b, &module)),
            refused(name, pre.instantiate(&mut b)),
            refused(name, linker.module(&mut b, "command", &module)),
        ]);
    }
    let module = Module::new(&engine, IMPORTS[0].1).unwrap();
    let mut linker = Linker::new(&engine);
    assert_refused(vec![
        refused("a host's memory", Instance::new(&mut b, &module, &[host.into()])),
        refused("Linker::instance", linker.instance(&mut b, "m", ours.instance)),
    ]);
    assert!(linker.get(&mut a, "m", Some("memory")).is_none(), "nothing was defined");
    linker.instance(&mut a, "m", ours.instance).unwrap();
    ours.check(&mut a);
    theirs.check(&mut b);
}
