//! Shares of tanks: by weight, at a rate, and to the last unit under random histories.

use std::time::Duration;

use lampwick::{FuelTank, Instance, Store};

use crate::support::{Rng, async_metered, rounds};
use crate::tanks::{SEGMENT, SLICE, drawing, forever};

/// What guests that draw from these tanks got in a second of a stopped clock.
async fn second_of(tanks: Vec<FuelTank>) -> Vec<u64> {
    let engine = async_metered();
    let guests: Vec<_> = tanks
        .iter()
        .map(|tank| {
            let (mut store, run) = drawing(&engine, tank, SLICE);
            let handle = store.fuel_handle().unwrap();
            let task = tokio::spawn(async move { run.call_async(&mut store, &[]).await.map(drop) });
            (handle, task)
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let got = guests.iter().map(|(handle, _)| handle.consumed()).collect();
    for (_, task) in guests {
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }
    got
}

const RATE: u64 = 20_000_000;

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn equal_guests_get_equal_fuel() {
    let machine = FuelTank::with_rate(RATE, RATE / 10);
    let got = second_of(vec![machine.clone(); 7]).await;
    let all: u64 = got.iter().sum();
    assert!(all.abs_diff(RATE) <= RATE / 50, "{all} of {RATE}");
    assert!(got.iter().all(|fuel| fuel.abs_diff(all / 7) <= all / 7 / 50), "{got:?}");
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn tenants_get_fuel_by_weight_whatever_their_number_of_guests() {
    let machine = FuelTank::with_rate(RATE, RATE / 10);
    let (large, small) = (machine.child(3), machine.child(1));
    // The small one's many guests gain nothing, and an idle tenant costs nothing.
    let _idle = machine.child(100);
    let mut tanks = vec![small; 9];
    tanks.push(large);
    let got = second_of(tanks).await;
    let small: u64 = got[..9].iter().sum();
    assert!((small + got[9]).abs_diff(RATE) <= RATE / 50, "{got:?}");
    assert!(got[9].abs_diff(3 * small) <= 3 * small / 20, "{got:?}");
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_rate_that_changes_wakes_who_waits() {
    let tank = FuelTank::with_rate(0, u64::MAX);
    let (mut store, run) = drawing(&async_metered(), &tank, SLICE);
    let handle = store.fuel_handle().unwrap();
    let task = tokio::spawn(async move { run.call_async(&mut store, &[]).await.map(drop) });
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(handle.consumed(), 1);
    for rate in [1_000, 100_000, 10_000_000] {
        let before = handle.consumed();
        tank.set_rate(rate);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let burned = handle.consumed() - before;
        assert!(burned.abs_diff(rate) <= rate / 50 + SLICE, "{burned} of {rate}");
    }
    task.abort();
}

#[test]
fn fuel_is_conserved_under_random_drops_and_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).build().unwrap();
    let mut rng = Rng::new("fuel_is_conserved_under_random_drops_and_threads");
    let module = forever();
    for _ in 0..rounds(5) {
        let machine = FuelTank::new(u64::MAX);
        let tenants = [machine.child(1), machine.child(3), machine.child(0)];
        let (mut added, mut drained, mut tasks) = (0, 0, Vec::new());
        for index in 0..300 {
            let mut store = Store::new(module.engine(), ());
            store.out_of_fuel_async_draw(&tenants[index % 3], 1 + rng.below(20_000));
            let (module, handle) = (module.clone(), store.fuel_handle().unwrap());
            let task = runtime.spawn(async move {
                let instance = Instance::new_async(&mut store, &module, &[]).await.unwrap();
                let run = instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
                run.call_async(&mut store, ()).await.unwrap_err()
            });
            tasks.push((handle, task));
            match rng.below(8) {
                0 => drained += tenants[index % 3].drain() + machine.drain(),
                1 => tasks[rng.below(tasks.len() as u64) as usize].1.abort(),
                2 => tasks[rng.below(tasks.len() as u64) as usize].0.pause(),
                _ => {
                    let fuel = rng.below(1_000_000);
                    let tank = [&machine, &tenants[index % 3]][index % 2];
                    added += fuel - tank.add(fuel);
                }
            }
        }
        // The slices that they burned are exactly what is missing in the end, but for what each may
        // have overdrawn behind its last check.
        let count = tasks.len() as u64;
        let handles: Vec<_> = tasks.iter().map(|(handle, _)| handle.clone()).collect();
        runtime.block_on(async {
            for (_, task) in tasks {
                task.abort();
                drop(task.await);
            }
        });
        drop(tenants);
        let consumed: u64 = handles.iter().map(|handle| handle.consumed()).sum();
        let missing = added - drained - machine.level();
        assert!(
            (missing..=missing + count * SEGMENT).contains(&consumed),
            "{consumed} burned, {missing} missing"
        );
    }
}
