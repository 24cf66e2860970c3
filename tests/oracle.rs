//! Random structured programs, and an interpreter that tells what each computes and costs.
//!
//! Functions call only those behind them, and every loop has a counter of its own, so that programs
//! end.

use crate::support::Rng;

/// Bytes of a page of memory.
pub(crate) const PAGE: usize = 1 << 16;
/// The most pages that a program's memory may have.
pub(crate) const MAX_PAGES: usize = 3;

/// The type of a local or an expression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ty {
    I32,
    I64,
}
use Ty::{I32, I64};

impl Ty {
    pub(crate) fn name(self) -> &'static str {
        if self == I32 { "i32" } else { "i64" }
    }

    /// Even locals are i32, odd ones i64.
    pub(crate) fn of_local(local: usize) -> Self {
        if local.is_multiple_of(2) { I32 } else { I64 }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Add,
    Sub,
    Mul,
    Xor,
    And,
    Shl,
    DivS,
    DivU,
    RemS,
    RemU,
}

/// The operators of [`Expr::Binary`], by their place there.
pub(crate) const OPS: [(Op, &str); 10] = [
    (Op::Add, "add"),
    (Op::Sub, "sub"),
    (Op::Mul, "mul"),
    (Op::Xor, "xor"),
    (Op::And, "and"),
    (Op::Shl, "shl"),
    (Op::DivS, "div_s"),
    (Op::DivU, "div_u"),
    (Op::RemS, "rem_s"),
    (Op::RemU, "rem_u"),
];

/// Expressions; each operator costs 1.
#[derive(Debug)]
pub(crate) enum Expr {
    Const(Ty, i64),
    Local(usize),
    Tee(usize, Box<Expr>),
    Binary(Ty, usize, Box<[Expr; 2]>),
    LessThan(Ty, Box<[Expr; 2]>),
    Eqz(Ty, Box<Expr>),
    /// To the other type, from this one.
    Convert(Ty, Box<Expr>),
    /// Through a double, with a trap beyond the range: `trunc_f64_s` of `convert_i64_s`.
    Truncate(Box<Expr>),
    Load {
        ty: Ty,
        offset: u32,
        address: Box<Expr>,
    },
    Select(Box<[Expr; 3]>),
    /// A function behind this one; it takes an i32 and an i64 and gives an i32.
    Call(usize, Box<[Expr; 2]>),
    /// The same through the table.
    CallIndirect(usize, Box<[Expr; 2]>),
    MemorySize,
    MemoryGrow(Box<Expr>),
}

#[derive(Debug)]
pub(crate) enum Stmt {
    Set(usize, Expr),
    Drop(Expr),
    Store {
        ty: Ty,
        offset: u32,
        address: Expr,
        value: Expr,
    },
    If(Expr, Vec<Stmt>, Vec<Stmt>),
    Block(Vec<Stmt>),
    /// A counter, how often, and what; a branch out of it by the inner label goes on with the next
    /// round.
    Loop(usize, u32, Vec<Stmt>),
    /// A label, as its distance in labels that can be branched to.
    Br(usize),
    BrIf(usize, Expr),
    BrTable(Vec<usize>, Expr),
    Return(Expr),
    Unreachable,
    Fill([Expr; 3]),
    Copy([Expr; 3]),
    Tick,
}

/// A function of (i32, i64) to i32.
#[derive(Debug)]
pub(crate) struct Function {
    /// Parameters included; the counters of loops lie behind them.
    pub(crate) locals: usize,
    pub(crate) counters: usize,
    pub(crate) body: Vec<Stmt>,
    pub(crate) result: Expr,
}

pub(crate) type Program = Vec<Function>;

/// Makes programs.
pub(crate) struct Maker<'r> {
    rng: &'r mut Rng,
    functions: usize,
    current: usize,
    locals: usize,
    counters: usize,
}

impl<'r> Maker<'r> {
    pub(crate) fn program(rng: &'r mut Rng) -> Program {
        let functions = 1 + rng.below(3) as usize;
        let mut maker = Self { rng, functions, current: 0, locals: 0, counters: 0 };
        (0..functions).map(|index| maker.function(index)).collect()
    }

    fn function(&mut self, index: usize) -> Function {
        // Many locals do not fit the registers, so that the counter is sometimes spilled.
        let locals =
            if self.rng.one_in(3) { 24 + self.rng.below(16) } else { 2 + self.rng.below(6) };
        (self.current, self.locals, self.counters) = (index, locals as usize, 0);
        let mut body = self.stmts(4, 0);
        if locals > 20 {
            // Locals that live through the whole body.
            let (mut first, mut last) = (Vec::new(), Vec::new());
            for local in 2..self.locals {
                let ty = Ty::of_local(local);
                first.push(Stmt::Set(
                    local,
                    Expr::Load {
                        ty,
                        offset: 8 * local as u32,
                        address: Box::new(Expr::Const(I32, 0)),
                    },
                ));
                let sum = Box::new([Expr::Local(ty as usize), Expr::Local(local)]);
                last.push(Stmt::Set(ty as usize, Expr::Binary(ty, 3, sum)));
            }
            first.append(&mut body);
            first.append(&mut last);
            body = first;
        }
        let result = self.expr(I32, 2);
        Function { locals: self.locals, counters: self.counters, body, result }
    }

    fn stmts(&mut self, depth: u32, labels: usize) -> Vec<Stmt> {
        let count = 1 + self.rng.below(5);
        (0..count).map(|_| self.stmt(depth, labels)).collect()
    }

    fn local(&mut self, ty: Ty) -> usize {
        2 * self.rng.below(self.locals as u64 / 2) as usize + ty as usize
    }

    fn ty(&mut self) -> Ty {
        if self.rng.one_in(2) { I32 } else { I64 }
    }

    fn stmt(&mut self, depth: u32, labels: usize) -> Stmt {
        let ty = self.ty();
        match self.rng.below(if depth > 0 { 20 } else { 11 }) {
            0..4 => Stmt::Set(self.local(ty), self.expr(ty, 3)),
            4 => Stmt::Drop(self.expr(ty, 3)),
            5 => {
                let (address, value) = (self.address(), self.expr(ty, 2));
                Stmt::Store { ty, offset: self.rng.below(32) as u32, address, value }
            }
            6 => Stmt::Tick,
            7 if labels > 0 => {
                let label = self.rng.below(labels as u64) as usize;
                Stmt::BrIf(label, self.expr(I32, 2))
            }
            8 if labels > 0 && self.rng.one_in(3) => {
                Stmt::Br(self.rng.below(labels as u64) as usize)
            }
            8 if labels > 0 => {
                let targets =
                    (0..1 + self.rng.below(4)).map(|_| self.rng.below(labels as u64) as usize);
                let targets = targets.collect();
                Stmt::BrTable(targets, self.expr(I32, 2))
            }
            9 => match self.rng.below(12) {
                0 => Stmt::Return(self.expr(I32, 2)),
                1 => Stmt::Unreachable,
                _ => Stmt::Drop(self.expr(ty, 4)),
            },
            10 | 7 | 8 => {
                // Short constant lengths are compiled in another way.
                let len = match self.rng.below(3) {
                    0 => Expr::Const(I32, self.rng.below(140) as i64),
                    _ => self.address(),
                };
                let operands = [self.address(), self.address(), len];
                if self.rng.one_in(2) { Stmt::Fill(operands) } else { Stmt::Copy(operands) }
            }
            11..15 => {
                let condition = self.expr(I32, 2);
                let then = self.stmts(depth - 1, labels + 1);
                let otherwise =
                    if self.rng.one_in(3) { Vec::new() } else { self.stmts(depth - 1, labels + 1) };
                Stmt::If(condition, then, otherwise)
            }
            15 => Stmt::Block(self.stmts(depth - 1, labels + 1)),
            _ => {
                let counter = self.counters;
                self.counters += 1;
                let rounds = 1 + self.rng.below(6) as u32;
                Stmt::Loop(counter, rounds, self.stmts(depth - 1, labels + 1))
            }
        }
    }

    /// Mostly inside of a memory of one page.
    fn address(&mut self) -> Expr {
        let inner = self.expr(I32, 2);
        if self.rng.one_in(60) {
            return inner;
        }
        let mask = if self.rng.one_in(20) { 0x1_ffff } else { 0xfff };
        Expr::Binary(I32, 4, Box::new([inner, Expr::Const(I32, mask)]))
    }

    fn expr(&mut self, ty: Ty, depth: u32) -> Expr {
        let inner = depth.saturating_sub(1);
        match self.rng.below(if depth > 0 { 16 } else { 3 }) {
            0 => Expr::Const(ty, self.constant(ty)),
            1..3 => Expr::Local(self.local(ty)),
            3 => Expr::Tee(self.local(ty), Box::new(self.expr(ty, inner))),
            4..9 => {
                // Mostly without divisions, which trap too often.
                let ops = if self.rng.one_in(8) { OPS.len() } else { 6 };
                let op = self.rng.below(ops as u64) as usize;
                Expr::Binary(ty, op, Box::new([self.expr(ty, inner), self.expr(ty, inner)]))
            }
            9 if ty == I32 => {
                let of = self.ty();
                Expr::LessThan(of, Box::new([self.expr(of, inner), self.expr(of, inner)]))
            }
            10 if ty == I32 => {
                let of = self.ty();
                Expr::Eqz(of, Box::new(self.expr(of, inner)))
            }
            9..11 => Expr::Convert(I32, Box::new(self.expr(I32, inner))),
            11 if ty == I32 => Expr::Convert(I64, Box::new(self.expr(I64, inner))),
            11 | 12 => {
                let address = Box::new(self.address());
                Expr::Load { ty, offset: self.rng.below(64) as u32, address }
            }
            13 => Expr::Select(Box::new([
                self.expr(ty, inner),
                self.expr(ty, inner),
                self.expr(I32, inner),
            ])),
            14 if ty == I32 && self.current + 1 < self.functions => {
                let behind = self.functions - self.current - 1;
                let callee = self.current + 1 + self.rng.below(behind as u64) as usize;
                let args = Box::new([self.expr(I32, inner), self.expr(I64, inner)]);
                if self.rng.one_in(2) {
                    Expr::Call(callee, args)
                } else {
                    Expr::CallIndirect(callee, args)
                }
            }
            15 if ty == I32 => match self.rng.below(10) {
                0 => Expr::Truncate(Box::new(self.expr(I64, inner))),
                1 => Expr::MemoryGrow(Box::new(Expr::Binary(
                    I32,
                    4,
                    Box::new([self.expr(I32, inner), Expr::Const(I32, 3)]),
                ))),
                _ => Expr::MemorySize,
            },
            _ => Expr::Local(self.local(ty)),
        }
    }

    fn constant(&mut self, ty: Ty) -> i64 {
        let value = match self.rng.below(4) {
            0 => self.rng.next() as i64,
            1 => [i64::MIN, i32::MIN.into(), -1, 0][self.rng.below(4) as usize],
            _ => self.rng.below(100) as i64,
        };
        if ty == I32 { (value as i32).into() } else { value }
    }
}
