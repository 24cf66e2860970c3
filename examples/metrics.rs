//! Guests' accounts as metrics for Prometheus: what calls took is added up as they end, what the
//! engine holds is looked up when somebody asks. It asks itself over the loopback interface, and ends.

use std::time::Duration;

use lampwick::{CallReport, Config, Engine, Linker, Module, Store};
use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Works for some rounds, each of which calls the host; and traps if it is told to.
const GUEST: &str = r#"(module (import "host" "rest" (func $rest)) (memory 2)
    (func (export "serve") (param $rounds i32) (param $trap i32) (local $i i32)
        (loop $round
            (call $rest)
            (local.set $i (i32.const 5000))
            (loop $work (br_if $work (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
            (br_if $round
                (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))
        (if (local.get $trap) (then unreachable))))"#;

/// Runs when a call is over, on the thread on which it ended. Labels are few: the names of tenants,
/// and the ways in which a call can end.
fn count(report: &CallReport<'_>) {
    let tenant = report.guest.to_owned();
    let stats = report.stats;
    let labels = [("tenant", tenant.clone()), ("end", report.end.to_string())];
    counter!("guest_calls_total", &labels).increment(1);
    let labels = [("tenant", tenant)];
    counter!("guest_fuel_total", &labels).increment(stats.fuel);
    counter!("guest_host_calls_total", &labels).increment(stats.host_calls);
    histogram!("guest_busy_seconds", &labels).record(stats.busy);
    histogram!("guest_longest_poll_seconds", &labels).record(stats.longest_poll);
    gauge!("guest_memory_bytes", &labels).set(stats.peak_memory as f64);
}

/// What the engine holds now.
fn look_up(engine: &Engine) {
    let stats = engine.stats();
    gauge!("guests").set(stats.guests as f64);
    gauge!("guests_suspended").set(stats.suspended as f64);
    gauge!("guest_stacks").set(stats.stacks as f64);
    counter!("modules_compiled_total").absolute(stats.modules_compiled);
    gauge!("compile_seconds_total").set(stats.compile_time.as_secs_f64());
}

/// Answers each request with all metrics.
async fn exporter(listener: TcpListener, engine: Engine, metrics: PrometheusHandle) {
    while let Ok((mut socket, _)) = listener.accept().await {
        let _ = socket.read(&mut [0; 1024]).await;
        look_up(&engine);
        let body = metrics.render();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        let _ = socket.write_all((head + &body).as_bytes()).await;
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let mut config = Config::new();
    config.async_support(true).consume_fuel(true).call_reports(count);
    let engine = Engine::new(&config)?;
    let module = Module::new(&engine, GUEST)?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap0_async("host", "rest", |_| {
        Box::new(tokio::time::sleep(Duration::from_millis(1)))
    })?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(exporter(listener, engine.clone(), metrics));

    let guests = [("red", 5, 0), ("red", 10, 1), ("blue", 20, 0)].map(|(tenant, rounds, trap)| {
        let (linker, module) = (linker.clone(), module.clone());
        tokio::spawn(async move {
            let mut store = Store::new(module.engine(), ());
            store.set_name(tenant);
            store.out_of_fuel_async_yield(u64::MAX, 10_000);
            let instance = linker.instantiate_async(&mut store, &module).await?;
            let serve = instance.get_typed_func::<(i32, i32), (), _>(&mut store, "serve")?;
            anyhow::Ok(serve.call_async(&mut store, (rounds, trap)).await?)
        })
    });
    for guest in guests {
        if let Err(trap) = guest.await? {
            eprintln!("{trap}");
        }
    }
    let mut answer = String::new();
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await?;
    socket.read_to_string(&mut answer).await?;
    println!("{answer}");
    assert!(answer.contains(r#"guest_host_calls_total{tenant="blue"} 20"#));
    assert!(answer.contains(r#"tenant="red",end="trapped: unreachable"} 1"#));
    Ok(())
}
