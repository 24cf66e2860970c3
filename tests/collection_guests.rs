//! What tests of collections share: values that are counted, engines, and guests that keep values.

use lampwick::{
    Caller, Config, Engine, ExternRef, Instance, Linker, Module, OptLevel, Store, Trap, Val,
};

use crate::support::{Census, Change, Token, block_on, engine};

/// A value that guests refer to.
struct Numbered {
    number: i32,
    _token: Token,
}

/// The host's side.
#[derive(Default)]
pub(crate) struct Host {
    pub(crate) census: Census,
}

impl Host {
    /// A value with this number.
    pub(crate) fn make(&self, number: i32) -> ExternRef {
        ExternRef::new(Numbered { number, _token: self.census.token() })
    }
}

/// The number of a value; -1 is null.
pub(crate) fn number(value: Option<&ExternRef>) -> i32 {
    let value = value.map(|value| value.data().downcast_ref::<Numbered>().expect("one of ours"));
    value.map_or(-1, |value| value.number)
}

fn see(value: Option<ExternRef>, expected: i32) -> Result<(), Trap> {
    match number(value.as_ref()) {
        found if found == expected => Ok(()),
        found => Err(Trap::new(format!("expected value {expected}, found {found}"))),
    }
}

fn expect(mut caller: Caller<'_, Host>, expected: i32) -> Result<(), Trap> {
    caller.gc();
    match caller.data().census.alive() {
        alive if alive == expected as usize => Ok(()),
        alive => Err(Trap::new(format!("expected {expected} values alive, found {alive}"))),
    }
}

/// An engine of [`setups`].
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) name: &'static str,
    pub(crate) engine: Engine,
    pub(crate) is_async: bool,
}

/// Engines that make different machine code, and let it suspend as often as can be.
pub(crate) fn setups() -> Vec<Setup> {
    let changes: [(&str, bool, Change); 6] = [
        ("default", false, |_| {}),
        ("no optimization", false, |config| {
            config.cranelift_opt_level(OptLevel::None);
        }),
        ("metered", false, |config| {
            config.consume_fuel(true);
        }),
        ("slices", true, |config| {
            config.consume_fuel(true);
        }),
        ("slices, no optimization", true, |config| {
            config.consume_fuel(true).cranelift_opt_level(OptLevel::None);
        }),
        ("epochs and interrupts", true, |config| {
            config.epoch_interruption(true).interruptable(true);
        }),
    ];
    let make = |(name, is_async, change): (_, bool, Change)| {
        let engine = engine(|config: &mut Config| change(config.async_support(is_async)));
        Setup { name, engine, is_async }
    };
    changes.into_iter().map(make).collect()
}

/// A guest in its store.
pub(crate) struct Guest {
    pub(crate) store: Store<Host>,
    pub(crate) instance: Instance,
    is_async: bool,
}

/// A linker with `make`, a value with this number; `see`, which fails unless the value has this
/// number; `gc`; and `expect`, which fails unless so many values are alive after a collection.
pub(crate) fn linker(engine: &Engine) -> Linker<Host> {
    let mut linker = Linker::<Host>::new(engine);
    linker
        .func_wrap("", "make", |caller: Caller<'_, Host>, number: i32| {
            Some(caller.data().make(number))
        })
        .unwrap()
        .func_wrap("", "see", see)
        .unwrap()
        .func_wrap("", "gc", |mut caller: Caller<'_, Host>| caller.gc())
        .unwrap()
        .func_wrap("", "expect", expect)
        .unwrap();
    linker
}

/// The imports of [`linker`], and `churn`, which collects and then uses freed indexes again.
pub(crate) const IMPORTS: &str = r#"
    (import "" "make" (func $make (param i32) (result externref)))
    (import "" "see" (func $see (param externref i32)))
    (import "" "gc" (func $gc))
    (import "" "expect" (func $expect (param i32)))"#;
pub(crate) const CHURN: &str = "(func $churn call $gc
    (drop (call $make (i32.const 1001))) (drop (call $make (i32.const 1002)))
    (drop (call $make (i32.const 1003))))";

impl Guest {
    /// Instantiates a module whose fields are [`IMPORTS`], `imports`, [`CHURN`] and `fields`.
    pub(crate) fn new(setup: &Setup, linker: &Linker<Host>, imports: &str, fields: &str) -> Self {
        Self::in_store(store(setup), setup, linker, imports, fields)
    }

    pub(crate) fn in_store(
        mut store: Store<Host>,
        setup: &Setup,
        linker: &Linker<Host>,
        imports: &str,
        fields: &str,
    ) -> Self {
        let is_async = setup.is_async;
        let wat = format!("(module {IMPORTS} {imports} {CHURN} {fields})");
        let module = Module::new(&setup.engine, wat).unwrap();
        let instance = if is_async {
            block_on(linker.instantiate_async(&mut store, &module)).unwrap()
        } else {
            linker.instantiate(&mut store, &module).unwrap()
        };
        Self { store, instance, is_async }
    }

    pub(crate) fn call(&mut self, name: &str, args: &[Val]) -> anyhow::Result<Box<[Val]>> {
        let func = self.instance.get_func(&mut self.store, name).unwrap();
        if self.is_async {
            block_on(func.call_async(&mut self.store, args))
        } else {
            func.call(&mut self.store, args)
        }
    }

    /// How many values are alive after a collection.
    pub(crate) fn alive(&mut self) -> usize {
        self.store.gc();
        self.store.data().census.alive()
    }
}

/// A store whose guests suspend at every check, where they can.
pub(crate) fn store(setup: &Setup) -> Store<Host> {
    let mut store = Store::new(&setup.engine, Host::default());
    if store.add_fuel(1 << 40).is_ok() && setup.is_async {
        store.fuel_async_yield_interval(Some(1)).unwrap();
    }
    if setup.is_async {
        store.epoch_deadline_async_yield_and_update(0);
    }
    store
}
