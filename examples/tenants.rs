//! Three tenants share a machine by weight: what one leaves, the others have.
//!
//! One is greedy and has many guests, one works in bursts, one is idle until the last second. Each
//! second their shares of the machine's fuel are printed.

use std::time::Duration;

use lampwick::{Config, Engine, FuelHandle, FuelTank, Instance, Module, Store, Trap};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

/// Units of fuel a second: a part of what a core burns.
const RATE: u64 = 100_000_000;
const SLICE: u64 = 10_000;

/// Burns somewhat more than four units a round.
const GUEST: &str = r#"(module (func (export "work") (param $rounds i32)
    (loop (br_if 0 (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))))"#;

/// A guest that works, and rests in between.
fn guest(module: &Module, tank: &FuelTank, rounds: i32, rest: Duration) -> anyhow::Result<Guest> {
    let mut store = Store::new(module.engine(), ());
    store.out_of_fuel_async_draw(tank, SLICE);
    let (handle, module) = (store.fuel_handle()?, module.clone());
    let task = tokio::spawn(async move {
        let instance = Instance::new_async(&mut store, &module, &[]).await?;
        let work = instance.get_typed_func::<i32, (), _>(&mut store, "work")?;
        loop {
            work.call_async(&mut store, rounds).await?;
            sleep(rest).await;
        }
    });
    Ok(Guest { handle, task })
}

struct Guest {
    handle: FuelHandle,
    task: JoinHandle<Result<(), Trap>>,
}

struct Tenant {
    name: &'static str,
    guests: Vec<Guest>,
    reported: u64,
}

impl Tenant {
    /// What its guests burned since the last report.
    fn burned(&mut self) -> u64 {
        let sum: u64 = self.guests.iter().map(|guest| guest.handle.consumed()).sum();
        sum - std::mem::replace(&mut self.reported, sum)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let engine = Engine::new(Config::new().async_support(true).consume_fuel(true))?;
    let module = Module::new(&engine, GUEST)?;
    let machine = FuelTank::with_rate(RATE, RATE / 100);
    let [greedy, bursty, idle] = [1, 1, 2].map(|weight| machine.child(weight));

    let forever = (i32::MAX, Duration::ZERO);
    let greedy: anyhow::Result<_> =
        (0..8).map(|_| guest(&module, &greedy, forever.0, forever.1)).collect();
    // Three million units, three times a second at the most.
    let burst = guest(&module, &bursty, 750_000, Duration::from_millis(300))?;
    let tenant = |name, guests| Tenant { name, guests, reported: 0 };
    let mut tenants = [
        tenant("greedy, weight 1", greedy?),
        tenant("bursty, weight 1", vec![burst]),
        tenant("idle, weight 2", Vec::new()),
    ];
    let start = Instant::now();
    for second in 1..=3 {
        if second == 3 {
            println!("the idle one wakes up:");
            tenants[2].guests.push(guest(&module, &idle, forever.0, forever.1)?);
        }
        sleep_until(start + Duration::from_secs(second)).await;
        let burned = tenants.each_mut().map(Tenant::burned);
        let all: u64 = burned.iter().sum();
        for (tenant, burned) in tenants.iter().zip(burned) {
            println!(
                "{second} s  {:<16}  {:>5.1} %",
                tenant.name,
                100. * burned as f64 / all as f64
            );
        }
    }
    // A closed tank ends its guests with a trap that says so.
    machine.close();
    for guest in tenants.into_iter().flat_map(|tenant| tenant.guests) {
        let trap = guest.task.await?.expect_err("guests work for ever");
        assert!(trap.to_string().contains("the fuel tank that the guest draws from is closed"));
    }
    Ok(())
}
