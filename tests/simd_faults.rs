//! Accesses of vectors that fault, at every place and under every layout: exact fuel, and nothing
//! written.

use lampwick::{Engine, OperatorClass, OperatorCosts, OptLevel, Store, TrapCode, Val};

use crate::simd_operators::{Case, all};
use crate::support::{Change, block_on, engine, instantiate, instantiate_async, trap};

const PAGE: i32 = 1 << 16;

/// Configurations that change the code of accesses.
const CHANGES: [Change; 6] = [
    |_| {},
    |config| {
        config.cranelift_opt_level(OptLevel::None);
    },
    |config| {
        config.static_memory_maximum_size(0).dynamic_memory_reserved_for_growth(0);
    },
    |config| {
        config.static_memory_maximum_size(1 << 16).static_memory_guard_size(0);
    },
    |config| {
        config.debug_info(true);
    },
    |config| {
        config.interruptable(true).epoch_interruption(true);
    },
];

/// The accesses, and how many bytes each takes.
fn accesses() -> Vec<(Case, i32)> {
    let access = |case: &Case| {
        let name = case.operator.split(' ').next().unwrap();
        let rest = name.strip_prefix("v128.load").or_else(|| name.strip_prefix("v128.store"))?;
        Some(match rest {
            "" => 16,
            _ if rest.contains('x') => 8,
            _ => rest.split('_').next().unwrap().parse::<i32>().unwrap() / 8,
        })
    };
    let cases = all(false).into_iter();
    cases.filter_map(|case| access(&case).map(|bytes| (case, bytes))).collect()
}

#[test]
fn accesses_end_where_the_memory_does() {
    let accesses = accesses();
    // Each of the lanes' twice.
    assert_eq!(accesses.len(), 30);
    for change in CHANGES {
        let functions: String = accesses
            .iter()
            .enumerate()
            .map(|(index, (case, _))| case.function(&index.to_string()))
            .collect();
        let wat = format!("(module (memory (export \"m\") 1 1) {functions})");
        let engine = engine(change);
        let (mut store, instance) = instantiate(&engine, &wat);
        store.set_epoch_deadline(u64::MAX);
        let memory = instance.get_memory(&mut store, "m").unwrap();
        memory.data_mut(&mut store).fill(0x5a);
        for (index, (case, bytes)) in accesses.iter().enumerate() {
            let run = instance.get_func(&mut store, &index.to_string()).unwrap();
            let call = |store: &mut Store<()>, address: i32| {
                let args = [Val::I32(address), Val::V128(0)];
                run.call(store, &args[..case.params.len()])
            };
            let outside = [PAGE - bytes + 1, PAGE, PAGE + 4096, i32::MIN, -16, -1];
            for address in outside {
                let trap = trap(call(&mut store, address).expect_err("it is outside"));
                let code = trap.trap_code();
                assert_eq!(code, Some(TrapCode::MemoryOutOfBounds), "{case:?} {address}");
            }
            // A store that is partly outside writes nothing.
            assert!(memory.data(&store).iter().all(|byte| *byte == 0x5a), "{case:?}");
            call(&mut store, PAGE - bytes).unwrap();
            call(&mut store, 1).unwrap();
            memory.data_mut(&mut store).fill(0x5a);
        }
    }
}

/// A loop that accesses each 16th kilobyte until it faults in the fifth round, with arithmetic of
/// vectors around the access; and what it costs, if accesses cost so much.
fn until_it_faults(case: &Case, cost: u64) -> (String, u64) {
    let operator = case.operator.replacen(' ', " offset=8 ", 1);
    let operator = match operator.contains(' ') {
        true => operator,
        false => format!("{operator} offset=8"),
    };
    let (before, after) = match (case.params.len(), case.result) {
        (1, _) => ("", "local.get 1 i32x4.add local.set 1"),
        (_, Some(_)) => ("local.get 1", "local.get 1 i32x4.add local.set 1"),
        (_, None) => ("local.get 1", ""),
    };
    let body = format!(
        "(local i32 v128) loop
            local.get 0 {before} {operator} {after}
            local.get 1 local.get 1 i64x2.sub local.set 1
            local.get 0 i32.const 16384 i32.add local.set 0
            br 0 end"
    );
    let to_access = 1 + before.split_whitespace().count() as u64 / 2;
    let after = if after.is_empty() { 0 } else { 3 };
    let round = to_access + cost + after + 4 + 4 + 1;
    (body, 1 + 4 * round + to_access + cost)
}

#[test]
fn fuel_is_exact_where_an_access_faults() {
    let dear = OperatorCosts::new().with(OperatorClass::Load, 70).with(OperatorClass::Store, 70);
    for (costs, cost) in [(OperatorCosts::new(), 1), (dear, 70)] {
        let functions: Vec<(String, u64)> =
            accesses().iter().map(|(case, _)| until_it_faults(case, cost)).collect();
        let bodies: String = functions
            .iter()
            .enumerate()
            .map(|(index, (body, _))| format!("(func (export \"{index}\") {body})\n"))
            .collect();
        let wat = format!("(module (memory 1 1) {bodies})");
        for change in CHANGES {
            let make = |is_async: bool| -> Engine {
                engine(|config| {
                    change(config.consume_fuel(true).operator_cost(costs.clone()));
                    config.async_support(is_async);
                })
            };
            let (mut store, instance) = instantiate(&make(false), &wat);
            store.add_fuel(u64::MAX).unwrap();
            store.set_epoch_deadline(u64::MAX);
            let (mut sliced, sliced_instance) = instantiate_async(&make(true), &wat);
            sliced.out_of_fuel_async_yield(u64::MAX, 3);
            sliced.epoch_deadline_async_yield_and_update(1);
            for (index, (body, expected)) in functions.iter().enumerate() {
                let name = index.to_string();
                let before = store.fuel_consumed().unwrap();
                let run = instance.get_func(&mut store, &name).unwrap();
                let trap = trap(run.call(&mut store, &[]).unwrap_err());
                assert_eq!(trap.trap_code(), Some(TrapCode::MemoryOutOfBounds), "{body}");
                assert_eq!(store.fuel_consumed().unwrap() - before, *expected, "{body}");
                let before = sliced.fuel_consumed().unwrap();
                let run = sliced_instance.get_func(&mut sliced, &name).unwrap();
                block_on(run.call_async(&mut sliced, &[])).unwrap_err();
                let burned = sliced.fuel_consumed().unwrap() - before;
                assert_eq!(burned, *expected, "in slices: {body}");
            }
        }
    }
}
