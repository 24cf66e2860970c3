//! Writes the programs.

use std::fmt::Write as _;

use crate::support::Rng;

const FUNCTIONS: u64 = 4;
/// Locals of each kind, the first three of which are parameters.
const LOCALS: u64 = 7;
pub(super) const GLOBALS: u64 = 3;
pub(super) const ELEMENTS: u64 = 8;

/// A condition that is true every second time.
const COIN: &str = "(i32.and (i32.shr_u (local.tee $x (i32.add (i32.mul (local.get $x)
    (i32.const 1103515245)) (i32.const 12345))) (i32.const 16)) (i32.const 1))";

/// Writes functions. `$r0`… are references and `$s0`… their numbers.
struct Writer<'r> {
    rng: &'r mut Rng,
    text: String,
    function: u64,
    depth: u32,
}

impl Writer<'_> {
    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).unwrap();
        self.text.push('\n');
    }

    fn local(&mut self) -> u64 {
        self.rng.below(LOCALS)
    }

    fn statements(&mut self) {
        for _ in 0..1 + self.rng.below(5) {
            self.statement();
        }
    }

    fn statement(&mut self) {
        let kinds = if self.depth > 3 { 11 } else { 18 };
        self.depth += 1;
        let (a, b) = (self.local(), self.local());
        match self.rng.below(kinds) {
            0 | 1 => self.write(format_args!(
                "call $fresh local.set $s{a} local.set $r{a} local.set $s{b} local.set $r{b}"
            )),
            2 => self.write(format_args!(
                "(local.set $r{a} (local.get $r{b})) (local.set $s{a} (local.get $s{b}))"
            )),
            3 => self.write(format_args!(
                "(local.set $r{a} (ref.null extern)) (local.set $s{a} (i32.const 0))"
            )),
            4 | 5 => self.write(format_args!("(call $see (local.get $r{a}) (local.get $s{a}))")),
            6 => {
                let g = self.rng.below(GLOBALS);
                if self.rng.one_in(2) {
                    self.write(format_args!(
                        "(global.set $r{g} (local.get $r{a})) (global.set $s{g} (local.get $s{a}))"
                    ));
                } else {
                    self.write(format_args!(
                        "(local.set $r{a} (global.get $r{g})) (local.set $s{a} (global.get $s{g}))"
                    ));
                }
            }
            7 => self.element(a),
            8 => self.write(format_args!("call $gc")),
            9 => self.write(format_args!(
                "local.get $r{a} local.get $s{a} call $nest local.set $s{b} local.set $r{b}"
            )),
            10 => {
                let (to, from) = (self.rng.below(ELEMENTS), self.rng.below(ELEMENTS));
                let len = self.rng.below(ELEMENTS - to.max(from) + 1);
                self.write(format_args!(
                    "(table.copy (i32.const {to}) (i32.const {from}) (i32.const {len}))
                    (memory.copy (i32.const {}) (i32.const {}) (i32.const {}))",
                    4 * to,
                    4 * from,
                    4 * len
                ));
            }
            11 => {
                // Kept on the operand stack.
                let global = self.rng.below(GLOBALS);
                match self.rng.below(3) {
                    0 => self.write(format_args!("local.get $r{a} local.get $s{a}")),
                    1 => self.write(format_args!("global.get $r{global} global.get $s{global}")),
                    _ => self.write(format_args!("call $fresh call $see")),
                }
                self.statements();
                self.write(format_args!("call $see"));
            }
            12 => {
                self.write(format_args!("{} if", COIN));
                self.statements();
                self.write(format_args!("else"));
                self.statements();
                self.write(format_args!("end"));
            }
            13 => self.loop_(a, b),
            14 => {
                self.write(format_args!("block (result externref i32)"));
                self.statements();
                self.write(format_args!("local.get $r{a} local.get $s{a} {} br_if 0", COIN));
                self.write(format_args!("local.set $s{a} local.set $r{a}"));
                self.statements();
                self.write(format_args!(
                    "local.get $r{b} local.get $s{b} end local.set $s{a} local.set $r{a}"
                ));
            }
            15 => self.write(format_args!(
                "(if {coin} (then (local.set $c (i32.const 1))) (else (local.set $c (i32.const 0))))
                (select (result externref) (local.get $r{a}) (local.get $r{b}) (local.get $c))
                (select (local.get $s{a}) (local.get $s{b}) (local.get $c))
                local.set $s{a} local.set $r{a}",
                coin = COIN
            )),
            16 => self.call(a, b),
            _ => self.leave(a, b),
        }
        self.depth -= 1;
    }

    /// Reads or writes an element, whose number is in memory.
    fn element(&mut self, a: u64) {
        let at = self.rng.below(ELEMENTS);
        let shadow = 4 * at;
        if self.rng.one_in(2) {
            self.write(format_args!(
                "(table.set (i32.const {at}) (local.get $r{a}))
                (i32.store (i32.const {shadow}) (local.get $s{a}))"
            ));
        } else {
            self.write(format_args!(
                "(local.set $r{a} (table.get (i32.const {at})))
                (local.set $s{a} (i32.load (i32.const {shadow})))"
            ));
        }
    }

    /// A loop that a pair goes around in.
    fn loop_(&mut self, a: u64, b: u64) {
        let times = 1 + self.rng.below(4);
        self.write(format_args!(
            "local.get $n i32.const {times} local.set $n local.get $r{a} local.get $s{a}
            loop (param externref i32) (result externref i32)"
        ));
        if self.rng.one_in(2) {
            self.write(format_args!("local.set $s{b} local.set $r{b}"));
            self.statements();
            self.write(format_args!("local.get $r{a} local.get $s{a}"));
        } else {
            self.statements();
        }
        // A call in the body has a counter of its own.
        self.write(format_args!(
            "local.get $n i32.const 1 i32.sub local.tee $n i32.const 0 i32.gt_s br_if 0 end
            local.set $s{b} local.set $r{b} local.set $n"
        ));
    }

    /// Calls a later function, directly or through the table of functions.
    fn call(&mut self, a: u64, b: u64) {
        let c = self.local();
        let callee = self.function + 1 + self.rng.below(FUNCTIONS);
        let (a, b) = if a == b { (a, (b + 1) % LOCALS) } else { (a, b) };
        self.write(format_args!(
            "local.get $r{a} local.get $s{a} local.get $r{b} local.get $s{b} local.get $r{c} local.get $s{c}"
        ));
        if callee >= FUNCTIONS {
            self.write(format_args!("call $last"));
        } else if self.rng.one_in(2) {
            self.write(format_args!("call $f{callee}"));
        } else {
            self.write(format_args!("i32.const {callee} call_indirect $functions (type $f)"));
        }
        self.write(format_args!("local.set $s{b} local.set $r{b} local.set $s{a} local.set $r{a}"));
    }

    /// Returns or traps, sometimes.
    fn leave(&mut self, a: u64, b: u64) {
        let coin = COIN;
        let rare = format!("(i32.and {coin} (i32.and {coin} {coin}))");
        if self.rng.one_in(4) {
            self.write(format_args!("(if (i32.and {rare} {rare}) (then unreachable))"));
        } else {
            self.write(format_args!(
                "(if {rare} (then
                    (return (local.get $r{a}) (local.get $s{a}) (local.get $r{b}) (local.get $s{b}))))"
            ));
        }
    }

    fn function(&mut self, index: u64) {
        self.function = index;
        self.write(format_args!(
            "(func $f{index} (export \"f{index}\") (type $f)
            (param $r0 externref) (param $s0 i32) (param $r1 externref) (param $s1 i32)
            (param $r2 externref) (param $s2 i32) (result externref i32 externref i32)
            (local $x i32) (local $n i32) (local $c i32)"
        ));
        for local in 3..LOCALS {
            self.write(format_args!("(local $r{local} externref) (local $s{local} i32)"));
        }
        let salt = self.rng.below(1 << 31);
        self.write(format_args!(
            "(if (i32.eqz (global.get $budget)) (then
                (return (local.get $r0) (local.get $s0) (local.get $r1) (local.get $s1))))
            (global.set $budget (i32.sub (global.get $budget) (i32.const 1)))
            (local.set $x (i32.add (global.get $budget) (i32.const {salt})))"
        ));
        for _ in 0..3 {
            self.statements();
        }
        let (a, b) = (self.local(), self.local());
        self.write(format_args!(
            "local.get $r{a} local.get $s{a} local.get $r{b} local.get $s{b})"
        ));
    }
}

pub(super) fn module(rng: &mut Rng) -> String {
    let mut writer = Writer { rng, text: String::new(), function: 0, depth: 0 };
    writer.write(format_args!(
        r#"(module (type $f (func (param externref i32 externref i32 externref i32)
                (result externref i32 externref i32)))
        (import "" "gc" (func $gc)) (import "" "see" (func $see (param externref i32)))
        (import "" "fresh" (func $fresh (result externref i32 externref i32)))
        (import "" "nest" (func $nest (param externref i32) (result externref i32)))
        (memory (export "memory") 1) (table (export "table") {ELEMENTS} externref)
        (global $budget (export "budget") (mut i32) (i32.const 0))
        (func $last (type $f) (call $see (local.get 2) (local.get 3))
            local.get 4 local.get 5 local.get 0 local.get 1)"#
    ));
    for global in 0..GLOBALS {
        writer.write(format_args!(
            r#"(global $r{global} (export "r{global}") (mut externref) (ref.null extern))
            (global $s{global} (export "s{global}") (mut i32) (i32.const 0))"#
        ));
    }
    (0..FUNCTIONS).for_each(|index| writer.function(index));
    let names: String = (0..FUNCTIONS).map(|index| format!(" $f{index}")).collect();
    writer.write(format_args!("(table $functions funcref (elem{names})))"));
    writer.text
}
