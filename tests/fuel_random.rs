//! Random programs cost, compute and trap exactly as an interpreter says, interrupted or not.

use lampwick::{Caller, Engine, Linker, Module, OptLevel, Store, TrapCode};

use crate::interpreter::{Exit, Machine};
use crate::oracle::{Maker, Program};
use crate::oracle_text::text;
use crate::support::{Change, Rng, block_on, engine, rounds};

/// What can be seen of a run.
#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) exit: Result<i32, Exit>,
    pub(crate) consumed: u64,
    ticks: Vec<u64>,
    memory: Vec<u8>,
}

fn interpret(program: &Program, args: (i32, i64), fuel: u64) -> Seen {
    seen(Machine::new(program, fuel), args)
}

pub(crate) fn seen(mut machine: Machine<'_>, args: (i32, i64)) -> Seen {
    let exit = machine.run(args);
    Seen { exit, consumed: machine.consumed, ticks: machine.ticks, memory: machine.memory }
}

/// How the runtime is to run a program.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    Fuel(u64),
    /// With a yield for each slice; and at each check, if the engine has epochs.
    Slices(u64),
    /// With an interrupt after this call of the host, and enough fuel.
    Interrupted(usize),
}

/// The host's side of a run.
#[derive(Default)]
struct Host {
    ticks: Vec<u64>,
    interrupt_after: Option<usize>,
}

pub(crate) fn execute(engine: &Engine, module: &Module, args: (i32, i64), mode: Mode) -> Seen {
    let mut linker = Linker::<Host>::new(engine);
    linker
        .func_wrap("", "tick", |mut caller: Caller<'_, Host>| {
            let consumed = caller.fuel_consumed().unwrap();
            caller.data_mut().ticks.push(consumed);
            if caller.data().interrupt_after == Some(caller.data().ticks.len()) {
                caller.interrupt_handle().unwrap().interrupt();
            }
        })
        .unwrap();
    let mut store = Store::new(engine, Host::default());
    let (instance, result) = match mode {
        Mode::Fuel(_) | Mode::Interrupted(_) => {
            match mode {
                Mode::Fuel(fuel) => store.add_fuel(fuel).unwrap(),
                Mode::Interrupted(tick) => {
                    store.add_fuel(u64::MAX).unwrap();
                    store.data_mut().interrupt_after = Some(tick);
                }
                Mode::Slices(_) => unreachable!(),
            }
            store.set_epoch_deadline(u64::MAX);
            let instance = linker.instantiate(&mut store, module).unwrap();
            let run = instance.get_typed_func::<(i32, i64), i32, _>(&mut store, "run").unwrap();
            (instance, run.call(&mut store, args))
        }
        Mode::Slices(slice) => {
            store.out_of_fuel_async_yield(u64::MAX, slice);
            store.epoch_deadline_async_yield_and_update(0);
            let instance = block_on(linker.instantiate_async(&mut store, module)).unwrap();
            let run = instance.get_typed_func::<(i32, i64), i32, _>(&mut store, "run").unwrap();
            (instance, block_on(run.call_async(&mut store, args)))
        }
    };
    let exit = result.map_err(|trap| match trap.trap_code() {
        Some(code) => Exit::Trap(code),
        None => {
            assert!(trap.to_string().contains("all fuel consumed"), "{trap}");
            Exit::OutOfFuel
        }
    });
    let consumed = store.fuel_consumed().unwrap();
    let memory = instance.get_memory(&mut store, "memory").unwrap().data(&store).to_vec();
    Seen { exit, consumed, ticks: store.into_data().ticks, memory }
}

/// Engines that make different machine code, with their names; each synchronous and async.
fn engines() -> Vec<(String, [Engine; 2])> {
    let changes: [(&str, Change); 6] = [
        ("default", |_| {}),
        ("no optimization", |config| {
            config.cranelift_opt_level(OptLevel::None);
        }),
        ("dynamic memory", |config| {
            config.static_memory_maximum_size(0).dynamic_memory_reserved_for_growth(0);
        }),
        ("small code", |config| {
            config.cranelift_opt_level(OptLevel::SpeedAndSize);
        }),
        ("interrupts and epochs", |config| {
            config.interruptable(true).epoch_interruption(true);
        }),
        // Every operator has a source location then.
        ("debugger", |config| {
            config.debug_info(true);
        }),
    ];
    let make = |(name, change): (&str, Change)| {
        let engines = [false, true].map(|is_async| {
            engine(|config| change(config.consume_fuel(true).async_support(is_async)))
        });
        (name.to_owned(), engines)
    };
    changes.into_iter().map(make).collect()
}

pub(crate) fn first_difference(got: &Seen, expected: &Seen) -> Option<String> {
    if got.exit != expected.exit || got.consumed != expected.consumed {
        let (got, expected) = ((got.exit, got.consumed), (expected.exit, expected.consumed));
        return Some(format!("got {got:?}, expected {expected:?}"));
    }
    if got.ticks != expected.ticks {
        return Some(format!("got ticks {:?}, expected {:?}", got.ticks, expected.ticks));
    }
    (got.memory != expected.memory).then(|| "memories differ".to_owned())
}

#[test]
fn random_programs_agree_with_the_interpreter() {
    let mut rng = Rng::new("random_programs_agree_with_the_interpreter");
    let engines = engines();
    let programs = rounds(300);
    let (mut done, mut trapped) = (0, 0);
    while done < programs {
        let program = Maker::program(&mut rng);
        let args = (rng.next() as i32, rng.next() as i64);
        let expected = interpret(&program, args, u64::MAX);
        // Neither programs that do next to nothing nor those that go on and on.
        if expected.exit == Err(Exit::TooLong) || expected.consumed < 20 && done % 10 != 0 {
            continue;
        }
        trapped += usize::from(expected.exit.is_err());
        let wat = text(&program);
        let (name, [sync, asynchronous]) = &engines[done % engines.len()];
        let check = |mode: Mode, got: &Seen, expected: &Seen| {
            if let Some(difference) = first_difference(got, expected) {
                panic!("{name}, {mode:?}, {args:?}: {difference}\n{wat}");
            }
        };
        let module = Module::new(sync, &wat).unwrap_or_else(|error| panic!("{error:?}\n{wat}"));
        let enough = Mode::Fuel(u64::MAX);
        check(enough, &execute(sync, &module, args, enough), &expected);
        for _ in 0..3 {
            let fuel = rng.below(expected.consumed + 1);
            let expected = interpret(&program, args, fuel);
            if expected.exit != Err(Exit::TooLong) {
                check(Mode::Fuel(fuel), &execute(sync, &module, args, Mode::Fuel(fuel)), &expected);
            }
        }
        let module = Module::new(asynchronous, &wat).unwrap();
        let slices = Mode::Slices(1 + rng.below(100));
        check(slices, &execute(asynchronous, &module, args, slices), &expected);
        done += 1;
    }
    println!("{done} programs, {trapped} of which trap");
    assert!(trapped > programs / 20 && trapped < programs, "{trapped} programs trap");
}

/// Engines whose guests can be interrupted, with names.
fn interruptable() -> Vec<(String, Engine)> {
    let changes: [(&str, Change); 3] = [
        ("default", |_| {}),
        ("epochs, too", |config| {
            config.epoch_interruption(true);
        }),
        ("no optimization", |config| {
            config.cranelift_opt_level(OptLevel::None);
        }),
    ];
    let make = |(name, change): (&str, Change)| {
        let engine = engine(|config| change(config.consume_fuel(true).interruptable(true)));
        (name.to_owned(), engine)
    };
    changes.into_iter().map(make).collect()
}

#[test]
fn interrupted_programs_agree_with_the_interpreter() {
    let mut rng = Rng::new("interrupted_programs_agree_with_the_interpreter");
    let engines = interruptable();
    let (mut done, mut interrupted) = (0, 0);
    while done < rounds(100) {
        let program = Maker::program(&mut rng);
        let args = (rng.next() as i32, rng.next() as i64);
        let uninterrupted = interpret(&program, args, u64::MAX);
        if uninterrupted.exit == Err(Exit::TooLong) || uninterrupted.ticks.is_empty() {
            continue;
        }
        let wat = text(&program);
        let (name, engine) = &engines[done % engines.len()];
        let module = Module::new(engine, &wat).unwrap_or_else(|error| panic!("{error:?}\n{wat}"));
        for _ in 0..3 {
            let tick = 1 + rng.below(uninterrupted.ticks.len() as u64) as usize;
            let expected = seen(Machine::interrupted(&program, tick), args);
            if expected.exit == Err(Exit::TooLong) {
                continue;
            }
            interrupted += usize::from(expected.exit == Err(Exit::Trap(TrapCode::Interrupt)));
            let got = execute(engine, &module, args, Mode::Interrupted(tick));
            if let Some(difference) = first_difference(&got, &expected) {
                panic!("{name}, interrupted after tick {tick}, {args:?}: {difference}\n{wat}");
            }
        }
        done += 1;
    }
    println!("{done} programs, {interrupted} of {} runs interrupted", 3 * done);
    assert!(interrupted > done / 2, "{interrupted} runs were interrupted");
}
