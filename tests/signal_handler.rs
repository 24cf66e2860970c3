//! A store's own signal handler is asked about faults below its calls, and about no others.

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lampwick::unix::StoreExt;
use lampwick::{Caller, Engine, Extern, Func, Instance, Memory, Module, Store, TrapCode};

use crate::alone;
use crate::support::{async_metered, block_on, instantiate, metered, pend};

const GUEST: &str = r#"(module (memory (export "memory") 2)
    (func (export "load") (param i32) (result i32) local.get 0 i32.load)
    (func (export "fill") (param i32)
        local.get 0 i32.const 9 i32.const 8192 memory.fill)
    (func (export "bad") i32.const -1 i32.load drop))"#;

const LEN: usize = 2 << 16;
/// Where the part of the memory lies that the tests take away.
const HIDDEN: usize = 16 << 10;

fn protect(place: usize, protection: libc::c_int) {
    // SAFETY: the place is a page of a memory that the test has.
    let status = unsafe { libc::mprotect(place as *mut libc::c_void, 4096, protection) };
    assert_eq!(status, 0);
}

/// Makes four pages of a memory inaccessible until somebody touches them, and counts how often that
/// happens.
fn hide<T>(store: &mut Store<T>, memory: Memory) -> Arc<AtomicUsize> {
    let base = memory.data_ptr(&*store) as usize;
    (0..4).for_each(|page| protect(base + HIDDEN + page * 4096, libc::PROT_NONE));
    let faults = Arc::new(AtomicUsize::new(0));
    let count = faults.clone();
    // SAFETY: the handler makes a page accessible that is the guest's, by a system call that may be
    // made in a signal handler.
    unsafe {
        store.set_signal_handler(move |signal, info, context| {
            assert!(!context.is_null() && signal == libc::SIGSEGV);
            let address = (*info).si_addr() as usize;
            let ours = (base..base + LEN).contains(&address);
            if ours {
                protect(address & !4095, libc::PROT_READ | libc::PROT_WRITE);
                count.fetch_add(1, Ordering::Relaxed);
            }
            ours
        });
    }
    faults
}

#[test]
fn a_guest_goes_on_after_its_page_was_made_accessible() {
    for engine in [Engine::default(), metered()] {
        let (mut store, instance) = instantiate(&engine, GUEST);
        let _ = store.add_fuel(1_000_000);
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        memory.data_mut(&mut store)[HIDDEN] = 77;
        let load = instance.get_typed_func::<i32, i32, _>(&mut store, "load").unwrap();
        assert_eq!(load.call(&mut store, 0).unwrap(), 0);
        let fuel = store.fuel_consumed();
        let faults = hide(&mut store, memory);
        assert_eq!(load.call(&mut store, HIDDEN as i32).unwrap(), 77);
        assert_eq!(faults.load(Ordering::Relaxed), 1);
        assert_eq!(store.fuel_consumed(), fuel.map(|fuel| 2 * fuel), "as much as without a fault");
        assert_eq!(load.call(&mut store, HIDDEN as i32).unwrap(), 77);
        assert_eq!(faults.load(Ordering::Relaxed), 1);
        // The runtime meets the next two pages on the guest's behalf.
        let fill = instance.get_typed_func::<i32, (), _>(&mut store, "fill").unwrap();
        fill.call(&mut store, HIDDEN as i32 + 4096).unwrap();
        assert_eq!(faults.load(Ordering::Relaxed), 3);
        // What the handler does not know is a trap as ever.
        let bad = instance.get_typed_func::<(), (), _>(&mut store, "bad").unwrap();
        let code = bad.call(&mut store, ()).unwrap_err().trap_code();
        assert_eq!(code, Some(TrapCode::MemoryOutOfBounds));
        assert_eq!(load.call(&mut store, HIDDEN as i32 + 3 * 4096).unwrap(), 0);
        assert_eq!(faults.load(Ordering::Relaxed), 4);
    }
}

/// Counts what it is asked, and has no answer.
fn count<T>(store: &mut Store<T>) -> Arc<AtomicUsize> {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    // SAFETY: the handler only counts.
    unsafe {
        store.set_signal_handler(move |_, _, _| {
            counter.fetch_add(1, Ordering::Relaxed);
            false
        });
    }
    asked
}

#[test]
fn a_handler_that_declines_leaves_the_trap() {
    let wat = r#"(module (memory 1)
        (func (export "0") unreachable)
        (func (export "1") i32.const 1 i32.const 0 i32.div_u drop)
        (func (export "2") i32.const -1 i32.load drop))"#;
    let (mut store, instance) = instantiate(&Engine::default(), wat);
    let first = count(&mut store);
    let second = count(&mut store);
    for (number, code) in [
        TrapCode::UnreachableCodeReached,
        TrapCode::IntegerDivisionByZero,
        TrapCode::MemoryOutOfBounds,
    ]
    .into_iter()
    .enumerate()
    {
        let run = instance.get_typed_func::<(), (), _>(&mut store, &number.to_string()).unwrap();
        assert_eq!(run.call(&mut store, ()).unwrap_err().trap_code(), Some(code));
        assert_eq!(second.load(Ordering::Relaxed), number + 1);
    }
    assert_eq!(first.load(Ordering::Relaxed), 0, "it was replaced");
    assert_eq!(Arc::strong_count(&first), 1, "and dropped");
    drop(store);
    assert_eq!(Arc::strong_count(&second), 1);
}

#[test]
fn only_the_store_whose_wasm_runs_is_asked() {
    let engine = Engine::default();
    let (mut inner, instance) = instantiate(&engine, GUEST);
    let inner_asked = count(&mut inner);
    let bad = instance.get_typed_func::<(), (), _>(&mut inner, "bad").unwrap();
    let (mut third, _) = instantiate(&engine, GUEST);
    let third_asked = count(&mut third);

    let mut outer = Store::new(&engine, (inner, bad));
    let outer_asked = count(&mut outer);
    let host = Func::wrap(&mut outer, |mut caller: Caller<'_, (Store<()>, _)>| {
        let (inner, bad): &mut (Store<()>, lampwick::TypedFunc<(), ()>) = caller.data_mut();
        assert!(bad.call(inner, ()).is_err());
    });
    let wat = r#"(module (import "" "" (func $host)) (memory 1)
        (func (export "run") (param i32) (result i32) call $host local.get 0 i32.load))"#;
    let module = Module::new(&engine, wat).unwrap();
    let instance = Instance::new(&mut outer, &module, &[host.into()]).unwrap();
    let run = instance.get_typed_func::<i32, i32, _>(&mut outer, "run").unwrap();
    let asked = || [&outer_asked, &inner_asked, &third_asked].map(|it| it.load(Ordering::Relaxed));
    run.call(&mut outer, 0).unwrap();
    assert_eq!(asked(), [0, 1, 0]);
    run.call(&mut outer, -1).unwrap_err();
    assert_eq!(asked(), [1, 2, 0]);
}

#[test]
fn a_handler_goes_with_its_store_from_thread_to_thread() {
    let engine = async_metered();
    let wat = r#"(module (import "" "" (func $wait)) (memory (export "memory") 2)
        (func (export "run") (result i32) (local i32)
            (local.set 0 (i32.load (i32.const 16384))) call $wait
            (i32.add (local.get 0) (i32.load (i32.const 20480))) call $wait
            (i32.add (i32.load (i32.const 24576)))))"#;
    let module = Module::new(&engine, wat).unwrap();
    let guests = (0..8).map(|_| {
        let mut store = Store::new(&engine, ());
        store.add_fuel(1000).unwrap();
        let wait = Func::wrap0_async(&mut store, |_: Caller<'_, ()>| Box::new(pend(1)));
        let instance = block_on(Instance::new_async(&mut store, &module, &[wait.into()])).unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        (1..4).for_each(|page| memory.data_mut(&mut store)[HIDDEN + (page - 1) * 4096] = 1);
        let faults = hide(&mut store, memory);
        let run = instance.get_typed_func::<(), i32, _>(&mut store, "run").unwrap();
        let future = Box::pin(async move {
            let sum = run.call_async(&mut store, ()).await.unwrap();
            // What was not touched must be accessible when the memory is given back.
            memory.data_mut(&mut store);
            protect(memory.data_ptr(&store) as usize + HIDDEN + 3 * 4096, 3);
            sum
        });
        (future, faults)
    });
    let mut guests: Vec<_> = guests.collect();
    for poll in 1..=3 {
        // Each poll on threads that have not seen the guests before.
        std::thread::scope(|scope| {
            for (future, faults) in &mut guests {
                scope.spawn(move || {
                    let result = crate::support::poll(future.as_mut());
                    assert_eq!(result.is_ready(), poll == 3);
                    assert_eq!(faults.load(Ordering::Relaxed), poll);
                    if let std::task::Poll::Ready(sum) = result {
                        assert_eq!(sum, 3);
                    }
                });
            }
        });
    }
}

fn exit_42<T>(store: &mut Store<T>) {
    // SAFETY: `_exit` may be called in a signal handler.
    unsafe { store.set_signal_handler(|_, _, _| libc::_exit(42)) };
}

fn fault() {
    let nowhere = std::hint::black_box(16) as *const u8;
    // SAFETY: there is none; the process is meant to end here.
    println!("{}", unsafe { nowhere.read_volatile() });
}

#[test]
fn faults_outside_of_calls_are_not_the_handlers() {
    let output = alone::command("signal_handler::a_fault_outside_alone").output().unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{output:?}");
    let output =
        alone::command("signal_handler::a_fault_of_a_host_function_alone").output().unwrap();
    assert_eq!(output.status.code(), Some(42), "{output:?}");
}

#[test]
#[ignore = "run by `faults_outside_of_calls_are_not_the_handlers`"]
fn a_fault_outside_alone() {
    let (mut store, instance) = instantiate(&Engine::default(), GUEST);
    exit_42(&mut store);
    let load = instance.get_typed_func::<i32, i32, _>(&mut store, "load").unwrap();
    load.call(&mut store, 0).unwrap();
    fault();
}

#[test]
#[ignore = "run by `faults_outside_of_calls_are_not_the_handlers`"]
fn a_fault_of_a_host_function_alone() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    exit_42(&mut store);
    Func::wrap(&mut store, fault).call(&mut store, &[]).unwrap();
}

#[test]
fn a_host_function_reads_a_page_that_the_handler_brings() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let host = Func::wrap(&mut store, |mut caller: Caller<'_, ()>| -> i32 {
        let memory = caller.get_export("memory").and_then(Extern::into_memory).unwrap();
        memory.data(&caller)[HIDDEN..].iter().map(|byte| i32::from(*byte)).sum()
    });
    let wat = r#"(module (import "" "" (func $host (result i32))) (memory (export "memory") 2)
        (func (export "run") (result i32) call $host))"#;
    let module = Module::new(&engine, wat).unwrap();
    let instance = Instance::new(&mut store, &module, &[host.into()]).unwrap();
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    memory.data_mut(&mut store)[HIDDEN + 5000] = 5;
    let faults = hide(&mut store, memory);
    let run = instance.get_typed_func::<(), i32, _>(&mut store, "run").unwrap();
    assert_eq!(run.call(&mut store, ()).unwrap(), 5);
    assert_eq!(faults.load(Ordering::Relaxed), 4);
}

#[test]
fn a_thread_can_be_prepared() {
    let stack = || {
        let mut stack = std::mem::MaybeUninit::<libc::stack_t>::uninit();
        // SAFETY: only queries.
        unsafe {
            assert_eq!(libc::sigaltstack(std::ptr::null(), stack.as_mut_ptr()), 0);
            stack.assume_init().ss_size
        }
    };
    std::thread::spawn(move || {
        for _ in 0..2 {
            Engine::tls_eager_initialize().unwrap();
            assert!(stack() >= 64 << 10);
        }
        let (mut store, instance) = instantiate(&Engine::default(), GUEST);
        let bad = instance.get_typed_func::<(), (), _>(&mut store, "bad").unwrap();
        assert!(bad.call(&mut store, ()).unwrap_err().trap_code().is_some());
    })
    .join()
    .unwrap();
}
