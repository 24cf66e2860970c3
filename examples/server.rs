//! A TCP server whose guests call async host functions: one guest for each connection, a few
//! threads for all. It serves itself over the loopback interface, and ends.

use lampwick::{Caller, Config, Engine, Extern, Linker, Memory, Module, Store, Trap};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Answers all that it reads in capitals. It looks synchronous; where it waits, its fiber is
/// suspended.
const GUEST: &str = r#"(module
    (import "socket" "read" (func $read (param $at i32) (param $len i32) (result i32)))
    (import "socket" "write" (func $write (param $at i32) (param $len i32)))
    (memory (export "memory") 1)
    (func (export "serve") (local $len i32) (local $at i32)
        (loop $request
            (local.set $len (call $read (local.tee $at (i32.const 0)) (i32.const 1024)))
            (if (i32.eqz (local.get $len)) (then return))
            (loop $byte
                (if (i32.lt_u (i32.sub (i32.load8_u (local.get $at)) (i32.const 97)) (i32.const 26))
                    (then (i32.store8 (local.get $at)
                        (i32.and (i32.load8_u (local.get $at)) (i32.const 0x5f)))))
                (local.set $at (i32.add (local.get $at) (i32.const 1)))
                (br_if $byte (i32.lt_u (local.get $at) (local.get $len))))
            (call $write (i32.const 0) (local.get $len))
            (br $request))))"#;

fn memory(caller: &mut Caller<'_, TcpStream>) -> Result<Memory, Trap> {
    let memory = caller.get_export("memory").and_then(Extern::into_memory);
    memory.ok_or_else(|| Trap::new("the guest exports no memory"))
}

/// A range of a guest's memory, of which nothing is to be believed.
fn slice(memory: &mut [u8], at: u32, len: u32) -> Result<&mut [u8], Trap> {
    let bytes = memory.get_mut(at as usize..).and_then(|rest| rest.get_mut(..len as usize));
    bytes.ok_or_else(|| Trap::new("the guest gave a range outside of its memory"))
}

async fn read(mut caller: Caller<'_, TcpStream>, at: u32, len: u32) -> Result<u32, Trap> {
    let (memory, socket) = memory(&mut caller)?.data_and_store_mut(&mut caller);
    let read = socket.read(slice(memory, at, len)?).await;
    Ok(read.map_err(anyhow::Error::new)? as u32)
}

async fn write(mut caller: Caller<'_, TcpStream>, at: u32, len: u32) -> Result<(), Trap> {
    let (memory, socket) = memory(&mut caller)?.data_and_store_mut(&mut caller);
    let written = socket.write_all(slice(memory, at, len)?).await;
    Ok(written.map_err(anyhow::Error::new)?)
}

/// Runs a guest for one connection; answers the fuel that it burned.
async fn serve(shared: &(Linker<TcpStream>, Module), socket: TcpStream) -> anyhow::Result<u64> {
    let (linker, module) = shared;
    let mut store = Store::new(linker.engine(), socket);
    // A thousand slices at most, with a yield to other tasks after each.
    store.out_of_fuel_async_yield(1_000, 10_000);
    let instance = linker.instantiate_async(&mut store, module).await?;
    let serve = instance.get_typed_func::<(), (), _>(&mut store, "serve")?;
    serve.call_async(&mut store, ()).await?;
    Ok(store.fuel_consumed().expect("the engine counts fuel"))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let engine = Engine::new(Config::new().async_support(true).consume_fuel(true))?;
    let mut linker = Linker::new(&engine);
    linker
        .func_wrap_async("socket", "read", |caller, (at, len)| Box::new(read(caller, at, len)))?;
    linker
        .func_wrap_async("socket", "write", |caller, (at, len)| Box::new(write(caller, at, len)))?;
    let shared = Arc::new((linker, Module::new(&engine, GUEST)?));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (mut clients, mut guests) = (JoinSet::new(), JoinSet::new());
    for number in 0..20 {
        clients.spawn(async move {
            let mut socket = TcpStream::connect(address).await?;
            for request in [format!("client {number}: hello\n"), "äöü and z\n".repeat(20)] {
                socket.write_all(request.as_bytes()).await?;
                let mut answer = vec![0; request.len()];
                socket.read_exact(&mut answer).await?;
                assert_eq!(String::from_utf8(answer)?, request.to_ascii_uppercase());
            }
            anyhow::Ok(())
        });
        let ((socket, _), shared) = (listener.accept().await?, shared.clone());
        guests.spawn(async move { serve(&shared, socket).await });
    }
    clients.join_all().await.into_iter().collect::<anyhow::Result<Vec<()>>>()?;
    let burned = guests.join_all().await.into_iter().collect::<anyhow::Result<Vec<u64>>>()?;
    println!("{} guests burned {} units of fuel", burned.len(), burned.iter().sum::<u64>());
    Ok(())
}
