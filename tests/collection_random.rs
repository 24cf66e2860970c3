//! Random programs over references. Beside each reference the program keeps the number that its
//! value must have, and shows both to the host, which collects whenever it likes.

mod writer;

use std::collections::HashSet;

use lampwick::{Caller, Engine, Extern, ExternRef, Instance, Linker, Module, Store, Trap, Val};

use self::writer::{ELEMENTS, GLOBALS, module};
use crate::collection_guests::{Setup, setups};
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
            let mut module = compile(&setup.engine, &wasm);
            if round % 2 == 1 {
                let bytes = module.serialize().unwrap();
                // SAFETY: the engine has just made these bytes.
                module = unsafe { Module::deserialize(&setup.engine, bytes).unwrap() };
            }
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
