//! What guests that never rest leave to others: timers and sockets beside them, and processors among
//! themselves.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use lampwick::{FuelHandle, FuelTank, Instance, Module, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep_until;

use crate::tanks::forever;

fn on_one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn on_two_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A store with a policy, and a task that runs a guest in it for ever.
fn spawn(module: &Module, policy: impl FnOnce(&mut Store<()>)) -> FuelHandle {
    let mut store = Store::new(module.engine(), ());
    policy(&mut store);
    let (handle, module) = (store.fuel_handle().unwrap(), module.clone());
    tokio::spawn(async move {
        let instance = Instance::new_async(&mut store, &module, &[]).await.unwrap();
        let run = instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
        run.call_async(&mut store, ()).await
    });
    handle
}

/// A tank whose fuel nobody lives to burn.
fn plenty() -> FuelTank {
    let tank = FuelTank::new(u64::MAX);
    tank.add(u64::MAX);
    tank
}

fn burned(handles: &[FuelHandle]) -> u64 {
    handles.iter().map(FuelHandle::consumed).sum()
}

/// All guests have begun.
async fn settled(handles: &[FuelHandle]) {
    while handles.iter().any(|handle| handle.consumed() < 100_000) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What guests that compute for ever burn beside each other, each with a tank and a slice.
fn shares(runtime: &Runtime, guests: &[(&FuelTank, u64)], time: Duration) -> Vec<u64> {
    let module = forever();
    runtime.block_on(async {
        let spawn = |&(tank, slice): &(&FuelTank, u64)| {
            spawn(&module, |store| store.out_of_fuel_async_draw(tank, slice))
        };
        let handles: Vec<_> = guests.iter().map(spawn).collect();
        settled(&handles).await;
        // Those who began earlier may be owed something.
        tokio::time::sleep(time / 5).await;
        let before: Vec<_> = handles.iter().map(FuelHandle::consumed).collect();
        tokio::time::sleep(time).await;
        let after = handles.iter().map(FuelHandle::consumed);
        after.zip(before).map(|(after, before)| after - before).collect()
    })
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn equal_guests_burn_equal_fuel_where_processors_are_short() {
    for (runtime, guests) in [(on_one_thread(), 2), (on_one_thread(), 9), (on_two_threads(), 9)] {
        let tank = plenty();
        let got = shares(&runtime, &vec![(&tank, 10_000); guests], SECOND);
        let mean = got.iter().sum::<u64>() / guests as u64;
        // Within 2 % where the system leaves the workers alone; `cargo bench --bench fairness` tells.
        assert!(got.iter().all(|fuel| fuel.abs_diff(mean) <= mean / 10), "{got:?}");
        runtime.shutdown_background();
    }
}

#[test]
fn weights_hold_where_processors_are_short() {
    for runtime in [on_one_thread(), on_two_threads()] {
        for slices in [[10_000, 10_000], [1_000, 1_000], [200_000, 5_000]] {
            let machine = plenty();
            let tenants = [machine.child(3), machine.child(1)];
            // The many guests of the small one gain nothing.
            let guests: Vec<_> = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
                .iter()
                .map(|&tenant: &usize| (&tenants[tenant], slices[tenant]))
                .collect();
            let got = shares(&runtime, &guests, SECOND);
            let (large, small) = (got[..4].iter().sum::<u64>(), got[4..].iter().sum::<u64>());
            assert!(large.abs_diff(3 * small) <= 3 * small / 10, "{got:?} in {slices:?}");
            machine.close();
        }
        runtime.shutdown_background();
    }
}

/// Enough guests for a round of all to take much longer than what they may keep others waiting.
const CROWD: u64 = 300;
const SLICE: u64 = 1_000_000;

/// What a guest does behind each slice.
type Policy = fn(&mut Store<()>, &FuelTank);

const POLICIES: [(&str, Policy); 3] = [
    ("injected", |store, _| store.out_of_fuel_async_yield(u64::MAX, SLICE)),
    ("its own", |store, _| {
        store.add_fuel(u64::MAX).unwrap();
        store.fuel_async_yield_interval(Some(SLICE)).unwrap();
    }),
    ("drawn", |store, tank| store.out_of_fuel_async_draw(tank, SLICE)),
];

async fn crowd(policy: Policy) -> Vec<FuelHandle> {
    let (module, tank) = (forever(), plenty());
    let handles: Vec<_> =
        (0..CROWD).map(|_| spawn(&module, |store| policy(store, &tank))).collect();
    settled(&handles).await;
    handles
}

fn median<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values[values.len() / 2]
}

/// How late timers fire, and how long guests take to burn a slice each.
async fn timers_beside(policy: Policy) -> (Duration, Duration) {
    let handles = crowd(policy).await;
    let (start, before) = (Instant::now(), burned(&handles));
    let mut late = Vec::new();
    for _ in 0..50 {
        let due = tokio::time::Instant::now() + Duration::from_millis(2);
        sleep_until(due).await;
        late.push(due.elapsed());
    }
    let rounds = (burned(&handles) - before) as f64 / (CROWD * SLICE) as f64;
    (median(late), start.elapsed().div_f64(rounds))
}

#[test]
fn timers_do_not_wait_for_all_guests() {
    for (name, policy) in POLICIES {
        for runtime in [on_one_thread(), on_two_threads()] {
            let timers = runtime.spawn(timers_beside(policy));
            let (late, round) = runtime.block_on(timers).unwrap();
            // A slice is a part of a round that is smaller than the resolution of timers.
            assert!(late < round / 4 + Duration::from_millis(1), "{name}: {late:?} of {round:?}");
            runtime.shutdown_background();
        }
    }
}

async fn echo(listener: TcpListener) -> std::io::Result<()> {
    let (mut stream, _) = listener.accept().await?;
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte).await?;
        stream.write_all(&byte).await?;
    }
}

/// What guests burn meanwhile, for each of many round trips.
fn round_trips(address: SocketAddr, handles: &[FuelHandle]) -> Vec<u64> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut trip = || {
        let before = burned(handles);
        stream.write_all(b"?").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        burned(handles) - before
    };
    (0..50).map(|_| trip()).collect()
}

#[test]
fn sockets_do_not_wait_for_all_guests() {
    for (name, policy) in POLICIES {
        for runtime in [on_one_thread(), on_two_threads()] {
            let burned = runtime.block_on(async {
                let handles = crowd(policy).await;
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                tokio::spawn(echo(listener));
                let client = move || round_trips(address, &handles);
                tokio::task::spawn_blocking(client).await.unwrap()
            });
            let slices = median(burned) / SLICE;
            assert!(slices < CROWD / 4, "{name}: {slices} slices for a round trip");
            runtime.shutdown_background();
        }
    }
}
