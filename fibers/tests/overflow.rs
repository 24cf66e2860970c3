//! A stack that overflows meets its own guard, before it reaches anything else.
//!
//! Each case runs in a child: this same binary, told by the environment which case it is.

#![cfg(target_os = "linux")]

mod common;

use lampwick_fibers::{Guards, Resident, StackPoolConfig};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const CASE: &str = "LAMPWICK_FIBERS_OVERFLOW";

#[inline(never)]
fn overflow(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    if depth == u64::MAX {
        return 0;
    }
    overflow(depth + 1) + frame[(depth % 64) as usize]
}

/// One frame larger than the whole stack.
#[inline(never)]
fn leap() -> u8 {
    let frame = std::hint::black_box([1_u8; 1 << 20]);
    frame[frame.len() / 2]
}

/// The guard that should be met.
static GUARD: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

const IN_GUARD: i32 = 42;
const ELSEWHERE: i32 = 43;

/// Ends the child with a code that says where the fault was.
extern "C" fn on_fault(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the system passes a valid record to a handler with SA_SIGINFO, and `_exit` may be
    // called in one.
    unsafe {
        let address = (*info).si_addr().addr();
        let met = (GUARD[0].load(Relaxed)..GUARD[1].load(Relaxed)).contains(&address);
        libc::_exit(if met { IN_GUARD } else { ELSEWHERE });
    }
}

fn watch_faults() {
    // SAFETY: a zeroed record is a valid one; the handler makes only calls that it may make, and
    // runs on the alternate stack that every Rust thread has.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_fault as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        assert_eq!(libc::sigaction(libc::SIGSEGV, &action, std::ptr::null_mut()), 0);
    }
}

/// What the child does: overflows the middle one of three stacks.
fn child(case: &str) {
    let guards = if case.contains("protected") { Guards::Protected } else { Guards::Automatic };
    let config = StackPoolConfig::new().stack_size(64 << 10).guard_size(8 << 10);
    let pool = config.guards(guards).max_warm(0).build().unwrap();
    let stacks: Vec<_> = (0..3).map(|_| pool.take().unwrap()).collect();
    // A second life: guards must survive that the stacks' pages were given back.
    drop(stacks);
    let mut stacks: Vec<_> = (0..3).map(|_| pool.take().unwrap()).collect();
    stacks.sort_by_key(|stack| stack.bottom());
    let bottom = stacks[1].bottom().addr();
    GUARD[0].store(bottom - (8 << 10), Relaxed);
    GUARD[1].store(bottom, Relaxed);
    let mut fibers: Vec<_> = stacks.into_iter().map(Resident::new).collect();
    if !case.contains("unwatched") {
        watch_faults();
    }
    let answer = match case {
        "harmless" => 0,
        case if case.contains("leap") => fibers[1].run_blocking(|_| u64::from(leap())),
        _ => fibers[1].run_blocking(|_| overflow(0)),
    };
    println!("the child lives: {answer}");
}

fn status_of(case: &str) -> ExitStatus {
    let test = "overflow_meets_the_guard";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CASE, case)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.contains("the child lives"), case == "harmless", "{case}: {text}");
    output.status
}

#[test]
fn overflow_meets_the_guard() {
    if let Ok(case) = std::env::var(CASE) {
        return child(&case);
    }
    assert!(status_of("harmless").success());
    for case in ["automatic", "automatic leap", "protected", "protected leap"] {
        assert_eq!(status_of(case).code(), Some(IN_GUARD), "{case}");
    }
    for case in ["unwatched automatic", "unwatched protected"] {
        assert_eq!(status_of(case).signal(), Some(libc::SIGSEGV), "{case}");
    }
}
