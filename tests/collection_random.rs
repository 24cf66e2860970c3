//! Random programs over references. Beside each reference the program keeps the number that its
//! value must have, and shows both to the host, which collects whenever it likes.

use std::collections::HashSet;
use std::fmt::Write as _;

use lampwick::{Caller, Engine, Extern, ExternRef, Instance, Linker, Module, Store, Trap, Val};

use crate::collection::{Setup, setups};
use crate::support::{Census, Rng, Token, block_on, pend, rounds};

type Pair = (Option<ExternRef>, i32);

/// A value and its number; 0 is null's.
struct Numbered {
    number: i32,
    _token: Token,
}

struct Host {
    rng: Rng,
    census: Census,
    nesting: u32,
}

impl Host {
    fn fresh(&mut self) -> Pair {
        let token = self.census.token();
        let number = self.census.made() as i32;
        (Some(ExternRef::new(Numbered { number, _token: token })), number)
    }
}

fn check((value, number): &Pair) -> Result<(), Trap> {
    let value = value.as_ref().map(|value| value.data().downcast_ref::<Numbered>().unwrap());
    let found = value.map_or(0, |value| value.number);
    if found == *number {
        Ok(())
    } else {
        Err(Trap::new(format!("expected value {number}, found {found}")))
    }
}

fn maybe_collect(caller: &mut Caller<'_, Host>) {
    if caller.data_mut().rng.one_in(3) {
        caller.gc();
    }
}

const MOST_NESTED: u32 = 4;

/// Calls the guest's `f0` with what the guest gave, on another fiber.
macro_rules! nest {
    ($caller:ident, $given:ident, |$inner:ident, $args:ident| $call:expr) => {{
        maybe_collect(&mut $caller);
        check(&$given)?;
        if $caller.data().nesting == MOST_NESTED {
            return Ok($given);
        }
        $caller.data_mut().nesting += 1;
        let (first, second) = ($caller.data_mut().fresh(), $caller.data_mut().fresh());
        let $inner = $caller.get_export("f0").and_then(Extern::into_func).unwrap();
        let $inner =
            $inner.typed::<Args, (Option<ExternRef>, i32, Option<ExternRef>, i32), _>(&$caller)?;
        let $args = ($given.0.clone(), $given.1, first.0, first.1, second.0, second.1);
        let results = $call;
        $caller.data_mut().nesting -= 1;
        let (a, m, b, n) = results?;
        check(&(a, m))?;
        maybe_collect(&mut $caller);
        check(&$given)?;
        Ok((b, n))
    }};
}
type Args = (Option<ExternRef>, i32, Option<ExternRef>, i32, Option<ExternRef>, i32);

fn linker(setup: &Setup) -> Linker<Host> {
    let mut linker = Linker::<Host>::new(&setup.engine);
    linker
        .func_wrap("", "gc", |mut caller: Caller<'_, Host>| caller.gc())
        .unwrap()
        .func_wrap(
            "",
            "see",
            |mut caller: Caller<'_, Host>, value: Option<ExternRef>, number: i32| {
                maybe_collect(&mut caller);
                check(&(value, number))
            },
        )
        .unwrap()
        .func_wrap("", "fresh", |mut caller: Caller<'_, Host>| {
            maybe_collect(&mut caller);
            let ((a, m), (b, n)) = (caller.data_mut().fresh(), caller.data_mut().fresh());
            (a, m, b, n)
        })
        .unwrap();
    if setup.is_async {
        linker
            .func_wrap2_async(
                "",
                "nest",
                |mut caller: Caller<'_, Host>, value: Option<ExternRef>, number: i32| {
                    Box::new(async move {
                        pend(1).await;
                        let given = (value, number);
                        nest!(caller, given, |inner, args| inner
                            .call_async(&mut caller, args)
                            .await)
                    })
                        as Box<dyn Future<Output = Result<Pair, Trap>> + Send + '_>
                },
            )
            .unwrap();
    } else {
        linker
            .func_wrap(
                "",
                "nest",
                |mut caller: Caller<'_, Host>, value: Option<ExternRef>, number: i32| {
                    let given = (value, number);
                    let run = || -> Result<Pair, Trap> {
                        nest!(caller, given, |inner, args| inner.call(&mut caller, args))
                    };
                    run()
                },
            )
            .unwrap();
    }
    linker
}

const FUNCTIONS: u64 = 4;
/// Locals of each kind, the first three of which are parameters.
const LOCALS: u64 = 7;
const GLOBALS: u64 = 3;
const ELEMENTS: u64 = 8;

/// A condition that is true every second time.
const COIN: &str = "(i32.and (i32.shr_u (local.tee $x (i32.add (i32.mul (local.get $x)
    (i32.const 1103515245)) (i32.const 12345))) (i32.const 16)) (i32.const 1))";

/// Writes functions. `$r0`… are references and `$s0`… their numbers.
struct Writer<'r> {
    rng: &'r mut Rng,
    text: String,
    function: u64,
    depth: u32,
}

impl Writer<'_> {
    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).unwrap();
        self.text.push('\n');
    }

    fn local(&mut self) -> u64 {
        self.rng.below(LOCALS)
    }

    fn statements(&mut self) {
        for _ in 0..1 + self.rng.below(5) {
            self.statement();
        }
    }

    fn statement(&mut self) {
        let kinds = if self.depth > 3 { 11 } else { 18 };
        self.depth += 1;
        let (a, b) = (self.local(), self.local());
        match self.rng.below(kinds) {
            0 | 1 => self.write(format_args!(
                "call $fresh local.set $s{a} local.set $r{a} local.set $s{b} local.set $r{b}"
            )),
            2 => self.write(format_args!(
                "(local.set $r{a} (local.get $r{b})) (local.set $s{a} (local.get $s{b}))"
            )),
            3 => self.write(format_args!(
                "(local.set $r{a} (ref.null extern)) (local.set $s{a} (i32.const 0))"
            )),
            4 | 5 => self.write(format_args!("(call $see (local.get $r{a}) (local.get $s{a}))")),
            6 => {
                let g = self.rng.below(GLOBALS);
                if self.rng.one_in(2) {
                    self.write(format_args!(
                        "(global.set $r{g} (local.get $r{a})) (global.set $s{g} (local.get $s{a}))"
                    ));
                } else {
                    self.write(format_args!(
                        "(local.set $r{a} (global.get $r{g})) (local.set $s{a} (global.get $s{g}))"
                    ));
                }
            }
            7 => self.element(a),
            8 => self.write(format_args!("call $gc")),
            9 => self.write(format_args!(
                "local.get $r{a} local.get $s{a} call $nest local.set $s{b} local.set $r{b}"
            )),
            10 => {
                let (to, from) = (self.rng.below(ELEMENTS), self.rng.below(ELEMENTS));
                let len = self.rng.below(ELEMENTS - to.max(from) + 1);
                self.write(format_args!(
                    "(table.copy (i32.const {to}) (i32.const {from}) (i32.const {len}))
                    (memory.copy (i32.const {}) (i32.const {}) (i32.const {}))",
                    4 * to,
                    4 * from,
                    4 * len
                ));
            }
            11 => {
                // Kept on the operand stack.
                let global = self.rng.below(GLOBALS);
                match self.rng.below(3) {
                    0 => self.write(format_args!("local.get $r{a} local.get $s{a}")),
                    1 => self.write(format_args!("global.get $r{global} global.get $s{global}")),
                    _ => self.write(format_args!("call $fresh call $see")),
                }
                self.statements();
                self.write(format_args!("call $see"));
            }
            12 => {
                self.write(format_args!("{} if", COIN));
                self.statements();
                self.write(format_args!("else"));
                self.statements();
                self.write(format_args!("end"));
            }
            13 => self.loop_(a, b),
            14 => {
                self.write(format_args!("block (result externref i32)"));
                self.statements();
                self.write(format_args!("local.get $r{a} local.get $s{a} {} br_if 0", COIN));
                self.write(format_args!("local.set $s{a} local.set $r{a}"));
                self.statements();
                self.write(format_args!(
                    "local.get $r{b} local.get $s{b} end local.set $s{a} local.set $r{a}"
                ));
            }
            15 => self.write(format_args!(
                "(if {coin} (then (local.set $c (i32.const 1))) (else (local.set $c (i32.const 0))))
                (select (result externref) (local.get $r{a}) (local.get $r{b}) (local.get $c))
                (select (local.get $s{a}) (local.get $s{b}) (local.get $c))
                local.set $s{a} local.set $r{a}",
                coin = COIN
            )),
            16 => self.call(a, b),
            _ => self.leave(a, b),
        }
        self.depth -= 1;
    }

    /// Reads or writes an element, whose number is in memory.
    fn element(&mut self, a: u64) {
        let at = self.rng.below(ELEMENTS);
        let shadow = 4 * at;
        if self.rng.one_in(2) {
            self.write(format_args!(
                "(table.set (i32.const {at}) (local.get $r{a}))
                (i32.store (i32.const {shadow}) (local.get $s{a}))"
            ));
        } else {
            self.write(format_args!(
                "(local.set $r{a} (table.get (i32.const {at})))
                (local.set $s{a} (i32.load (i32.const {shadow})))"
            ));
        }
    }

    /// A loop that a pair goes around in.
    fn loop_(&mut self, a: u64, b: u64) {
        let times = 1 + self.rng.below(4);
        self.write(format_args!(
            "local.get $n i32.const {times} local.set $n local.get $r{a} local.get $s{a}
            loop (param externref i32) (result externref i32)"
        ));
        if self.rng.one_in(2) {
            self.write(format_args!("local.set $s{b} local.set $r{b}"));
            self.statements();
            self.write(format_args!("local.get $r{a} local.get $s{a}"));
        } else {
            self.statements();
        }
        // A call in the body has a counter of its own.
        self.write(format_args!(
            "local.get $n i32.const 1 i32.sub local.tee $n i32.const 0 i32.gt_s br_if 0 end
            local.set $s{b} local.set $r{b} local.set $n"
        ));
    }

    /// Calls a later function, directly or through the table of functions.
    fn call(&mut self, a: u64, b: u64) {
        let c = self.local();
        let callee = self.function + 1 + self.rng.below(FUNCTIONS);
        let (a, b) = if a == b { (a, (b + 1) % LOCALS) } else { (a, b) };
        self.write(format_args!(
            "local.get $r{a} local.get $s{a} local.get $r{b} local.get $s{b} local.get $r{c} local.get $s{c}"
        ));
        if callee >= FUNCTIONS {
            self.write(format_args!("call $last"));
        } else if self.rng.one_in(2) {
            self.write(format_args!("call $f{callee}"));
        } else {
            self.write(format_args!("i32.const {callee} call_indirect $functions (type $f)"));
        }
        self.write(format_args!("local.set $s{b} local.set $r{b} local.set $s{a} local.set $r{a}"));
    }

    /// Returns or traps, sometimes.
    fn leave(&mut self, a: u64, b: u64) {
        let coin = COIN;
        let rare = format!("(i32.and {coin} (i32.and {coin} {coin}))");
        if self.rng.one_in(4) {
            self.write(format_args!("(if (i32.and {rare} {rare}) (then unreachable))"));
        } else {
            self.write(format_args!(
                "(if {rare} (then
                    (return (local.get $r{a}) (local.get $s{a}) (local.get $r{b}) (local.get $s{b}))))"
            ));
        }
    }

    fn function(&mut self, index: u64) {
        self.function = index;
        self.write(format_args!(
            "(func $f{index} (export \"f{index}\") (type $f)
            (param $r0 externref) (param $s0 i32) (param $r1 externref) (param $s1 i32)
            (param $r2 externref) (param $s2 i32) (result externref i32 externref i32)
            (local $x i32) (local $n i32) (local $c i32)"
        ));
        for local in 3..LOCALS {
            self.write(format_args!("(local $r{local} externref) (local $s{local} i32)"));
        }
        let salt = self.rng.below(1 << 31);
        self.write(format_args!(
            "(if (i32.eqz (global.get $budget)) (then
                (return (local.get $r0) (local.get $s0) (local.get $r1) (local.get $s1))))
            (global.set $budget (i32.sub (global.get $budget) (i32.const 1)))
            (local.set $x (i32.add (global.get $budget) (i32.const {salt})))"
        ));
        for _ in 0..3 {
            self.statements();
        }
        let (a, b) = (self.local(), self.local());
        self.write(format_args!(
            "local.get $r{a} local.get $s{a} local.get $r{b} local.get $s{b})"
        ));
    }
}

fn module(rng: &mut Rng) -> String {
    let mut writer = Writer { rng, text: String::new(), function: 0, depth: 0 };
    writer.write(format_args!(
        r#"(module (type $f (func (param externref i32 externref i32 externref i32)
                (result externref i32 externref i32)))
        (import "" "gc" (func $gc)) (import "" "see" (func $see (param externref i32)))
        (import "" "fresh" (func $fresh (result externref i32 externref i32)))
        (import "" "nest" (func $nest (param externref i32) (result externref i32)))
        (memory (export "memory") 1) (table (export "table") {ELEMENTS} externref)
        (global $budget (export "budget") (mut i32) (i32.const 0))
        (func $last (type $f) (call $see (local.get 2) (local.get 3))
            local.get 4 local.get 5 local.get 0 local.get 1)"#
    ));
    for global in 0..GLOBALS {
        writer.write(format_args!(
            r#"(global $r{global} (export "r{global}") (mut externref) (ref.null extern))
            (global $s{global} (export "s{global}") (mut i32) (i32.const 0))"#
        ));
    }
    (0..FUNCTIONS).for_each(|index| writer.function(index));
    let names: String = (0..FUNCTIONS).map(|index| format!(" $f{index}")).collect();
    writer.write(format_args!("(table $functions funcref (elem{names})))"));
    writer.text
}

/// After a collection exactly what tables and globals hold is left.
fn check_left(store: &mut Store<Host>, instance: Instance) {
    store.gc();
    let mut left: HashSet<i32> = HashSet::new();
    let memory = instance.get_memory(&mut *store, "memory").unwrap();
    let shadows = memory.data(&*store)[..4 * ELEMENTS as usize].to_vec();
    let table = instance.get_table(&mut *store, "table").unwrap();
    for (index, shadow) in shadows.chunks(4).enumerate() {
        let number = i32::from_le_bytes(shadow.try_into().unwrap());
        let value = table.get(&mut *store, index as u32).unwrap().unwrap_externref();
        check(&(value, number)).unwrap();
        left.insert(number);
    }
    for global in 0..GLOBALS {
        let mut get =
            |name: String| instance.get_global(&mut *store, &name).unwrap().get(&mut *store);
        let (value, number) = (get(format!("r{global}")), get(format!("s{global}")));
        check(&(value.unwrap_externref(), number.unwrap_i32())).unwrap();
        left.insert(number.unwrap_i32());
    }
    left.remove(&0);
    assert_eq!(store.data().census.alive(), left.len());
}

/// Runs a program a few times in one store, and checks what is left. Answers how many values there
/// were, and how often it trapped.
fn run(setup: &Setup, module: &Module, seed: Rng) -> (usize, u32) {
    let linker = linker(setup);
    let mut store =
        Store::new(&setup.engine, Host { rng: seed, census: Census::default(), nesting: 0 });
    if store.add_fuel(1 << 40).is_ok() && setup.is_async {
        let slice = 1 + store.data_mut().rng.below(20);
        store.fuel_async_yield_interval(Some(slice)).unwrap();
    }
    let instance = if setup.is_async {
        store.epoch_deadline_async_yield_and_update(0);
        block_on(linker.instantiate_async(&mut store, module)).unwrap()
    } else {
        linker.instantiate(&mut store, module).unwrap()
    };
    let run = instance.get_func(&mut store, "f0").unwrap();
    let budget = instance.get_global(&mut store, "budget").unwrap();
    let mut traps = 0;
    for _ in 0..4 {
        budget.set(&mut store, Val::I32(60)).unwrap();
        store.data_mut().nesting = 0;
        let args: Vec<Val> = (0..3)
            .flat_map(|_| {
                let (value, number) = store.data_mut().fresh();
                [Val::ExternRef(value), Val::I32(number)]
            })
            .collect();
        let result = if setup.is_async {
            block_on(run.call_async(&mut store, &args))
        } else {
            run.call(&mut store, &args)
        };
        drop(args);
        match result {
            Ok(results) => {
                for pair in results.chunks(2) {
                    check(&(pair[0].unwrap_externref(), pair[1].unwrap_i32())).unwrap();
                }
            }
            Err(error) => {
                traps += 1;
                let text = format!("{error:#}");
                assert!(text.contains("unreachable"), "{text}");
            }
        }
        check_left(&mut store, instance);
    }
    (store.data().census.made(), traps)
}

#[test]
fn random_programs_see_the_values_that_they_should() {
    let mut rng = Rng::new("random_programs_see_the_values_that_they_should");
    let setups = setups();
    let (mut made, mut traps) = (0, 0);
    for round in 0..rounds(8) {
        let text = module(&mut rng);
        let wasm = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        for setup in &setups {
            let module = compile(&setup.engine, &wasm);
            let seed = Rng::seeded(rng.next());
            let run = std::panic::AssertUnwindSafe(|| run(setup, &module, seed));
            let result = std::panic::catch_unwind(run);
            let (more, trapped) = result.unwrap_or_else(|_| {
                panic!("{} in round {round}:\n{text}", setup.name);
            });
            made += more;
            traps += trapped;
        }
    }
    println!("{made} values, {traps} traps");
    assert!(made > 1000, "{made} values");
}

fn compile(engine: &Engine, wasm: &[u8]) -> Module {
    Module::from_binary(engine, wasm).unwrap()
}
