//! The registers that a C function must preserve, checked by hand on both sides of a switch.
//!
//! Compiled code keeps live values wherever it likes; these functions leave it no choice.

#![cfg(target_arch = "x86_64")]

mod common;

use lampwick_fibers::switch::{Fiber, NAME, Parent, Word};
use std::arch::naked_asm;
use std::cell::Cell;
use std::ptr;

/// Resumes the fiber with every callee-saved register set to a value of its own; answers how many
/// of them changed.
#[unsafe(naked)]
unsafe extern "sysv64" fn resume_and_compare(fiber: *mut Fiber) -> usize {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8", // rsp is a multiple of 16
        "mov ebx, 101",
        "mov ebp, 102",
        "mov r12d, 103",
        "mov r13d, 104",
        "mov r14d, 105",
        "mov r15d, 106",
        "call {resume}",
        "xor eax, eax", // eax = how many differ
        "cmp rbx, 101",
        "setne cl",
        "add al, cl",
        "cmp rbp, 102",
        "setne cl",
        "add al, cl",
        "cmp r12, 103",
        "setne cl",
        "add al, cl",
        "cmp r13, 104",
        "setne cl",
        "add al, cl",
        "cmp r14, 105",
        "setne cl",
        "add al, cl",
        "cmp r15, 106",
        "setne cl",
        "add al, cl",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
        resume = sym resume,
    )
}

unsafe extern "sysv64" fn resume(fiber: *mut Fiber) {
    // SAFETY: the test's own fiber, which is suspended.
    unsafe { (*fiber).resume(ptr::without_provenance_mut(8)) };
}

/// A fiber's base that has -1 in every callee-saved register when it suspends, and dies when it
/// finds another value there afterwards.
#[unsafe(naked)]
unsafe extern "C" fn spoil(parent: Parent, first: Word) {
    naked_asm!(
        "push rdi", // rsp points to the parent, and is a multiple of 16
        "mov rbx, -1",
        "mov rbp, -1",
        "mov r12, -1",
        "mov r13, -1",
        "mov r14, -1",
        "mov r15, -1",
        "2:",
        "mov rdi, rsp", // rdi = the parent, rsi = the word
        "call {suspend}",
        "mov rsi, rax",
        "mov rcx, rbx",
        "and rcx, rbp",
        "and rcx, r12",
        "and rcx, r13",
        "and rcx, r14",
        "and rcx, r15",
        "cmp rcx, -1",
        "jne 3f",
        "test rsi, rsi",
        "jne 2b",
        "pop rdi",
        "ret",
        "3:",
        "ud2",
        suspend = sym suspend,
    )
}

unsafe extern "C" fn suspend(parent: &Parent, word: Word) -> Word {
    // SAFETY: this is the fiber whose parent it is.
    unsafe { parent.suspend(word) }
}

#[test]
fn callee_saved_registers_survive_a_resume() {
    let pool = common::pool();
    let stack = pool.take().unwrap();
    // SAFETY: the stack is ours and outlives the fiber; `spoil` returns when given null.
    unsafe {
        let mut fiber = Fiber::new(stack.bottom(), stack.top(), spoil);
        for _ in 0..3 {
            assert_eq!(resume_and_compare(&mut fiber), 0, "registers changed");
        }
        fiber.close();
    }
}

thread_local! {
    static BASE_POINTER: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// A fiber's base that reports the frame pointer that it was entered with.
#[unsafe(naked)]
unsafe extern "C" fn report(parent: Parent, first: Word) {
    naked_asm!("mov rdx, rbp", "jmp {report}", report = sym report_base_pointer)
}

unsafe extern "C" fn report_base_pointer(parent: Parent, first: Word, base_pointer: usize) {
    BASE_POINTER.set(base_pointer);
    // SAFETY: this is the fiber whose parent it is. It is resumed again to be closed, if at all.
    unsafe { parent.suspend(first) };
}

/// Who follows frame pointers up a fiber must find an end, not the frames of some former parent.
#[test]
fn the_chain_of_frame_pointers_ends_at_the_base() {
    if NAME != "x86_64" {
        return; // the portable switch keeps a chain of its own
    }
    let pool = common::pool();
    let stack = pool.take().unwrap();
    // SAFETY: the stack is ours and outlives the fiber; `report` returns when resumed again.
    unsafe {
        let mut fiber = Fiber::new(stack.bottom(), stack.top(), report);
        let word = ptr::without_provenance_mut(8);
        assert_eq!(fiber.resume(word), word);
        fiber.close();
    }
    assert_eq!(BASE_POINTER.get(), 0);
}
