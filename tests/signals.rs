//! Faults that are no guest's: they must not be taken for traps. Each runs in a process of its own.

use std::os::unix::process::ExitStatusExt;

use lampwick::{Engine, Func, Instance, Module, Store, TrapCode};

use crate::alone;
use crate::support::instantiate;

/// A guest that calls `host`.
fn call_through_guest(host: impl Fn() + Send + Sync + 'static) {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let host = Func::wrap(&mut store, host);
    let module =
        r#"(module (import "" "" (func $host)) (memory 1) (func (export "run") call $host))"#;
    let module = Module::new(&engine, module).unwrap();
    let instance = Instance::new(&mut store, &module, &[host.into()]).unwrap();
    let run = instance.get_func(&mut store, "run").unwrap();
    let result = run.call(&mut store, &[]);
    println!("the call went on: {result:?}");
}

fn fault() {
    let nowhere = std::hint::black_box(16) as *const u8;
    // SAFETY: there is none; the process is meant to end here.
    println!("{}", unsafe { nowhere.read_volatile() });
}

#[test]
fn a_fault_of_the_host_ends_the_process() {
    let output = alone::command("signals::a_fault_of_the_host_alone").output().unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("before the fault") && !text.contains("went on"), "{text}");
}

#[test]
#[ignore = "run by `a_fault_of_the_host_ends_the_process`"]
fn a_fault_of_the_host_alone() {
    call_through_guest(|| {
        println!("before the fault");
        fault();
    });
}

#[test]
fn the_handler_that_was_there_before_gets_what_is_not_ours() {
    let output = alone::command("signals::a_handler_before_ours_alone").output().unwrap();
    assert_eq!(output.status.code(), Some(42), "{output:?}");
}

extern "C" fn exit_42(_: libc::c_int) {
    // SAFETY: `_exit` may be called in a signal handler.
    unsafe { libc::_exit(42) }
}

#[test]
#[ignore = "run by `the_handler_that_was_there_before_gets_what_is_not_ours`"]
fn a_handler_before_ours_alone() {
    // SAFETY: the action is filled, and its handler only ends the process.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_flags = libc::SA_ONSTACK;
        action.sa_sigaction = exit_42 as *const () as usize;
        assert_eq!(libc::sigaction(libc::SIGSEGV, &action, std::ptr::null_mut()), 0);
    }
    let (mut store, instance) = instantiate(
        &Engine::default(),
        r#"(module (memory 1) (func (export "run") i32.const -1 i32.load drop))"#,
    );
    let run = instance.get_func(&mut store, "run").unwrap();
    for _ in 0..10 {
        let trap = crate::support::trap(run.call(&mut store, &[]).unwrap_err());
        assert_eq!(trap.trap_code(), Some(TrapCode::MemoryOutOfBounds), "a guest's fault is ours");
    }
    call_through_guest(fault);
}
