//! The text of the programs of `oracle`.

use std::fmt::Write;

use crate::oracle::{Expr, Function, MAX_PAGES, OPS, Program, Stmt, Ty};
use Ty::{I32, I64};

/// The program as text. It imports `tick`, and exports its memory and function 0 as `run`.
pub(crate) fn text(program: &Program) -> String {
    let mut out = format!(
        "(module (type $t (func (param i32 i64) (result i32))) (import \"\" \"tick\" (func $tick))
         (memory (export \"memory\") 1 {MAX_PAGES}) (table {0} {0} funcref) (elem (i32.const 0) ",
        program.len(),
    );
    (0..program.len()).for_each(|index| write!(out, "$f{index} ").unwrap());
    out.push_str(")(export \"run\" (func $f0))\n");
    for (index, function) in program.iter().enumerate() {
        write!(out, "(func $f{index} (type $t) (local").unwrap();
        (2..function.locals)
            .for_each(|local| write!(out, " {}", Ty::of_local(local).name()).unwrap());
        (0..function.counters).for_each(|_| out.push_str(" i32"));
        out.push_str(")\n");
        let mut writer = Writer { out: &mut out, function, labels: Vec::new() };
        writer.stmts(&function.body);
        writer.expr(&function.result);
        out.push_str(")\n");
    }
    out.push(')');
    out
}

struct Writer<'a> {
    out: &'a mut String,
    function: &'a Function,
    /// Whether each label, the outermost first, is one that programs branch to.
    labels: Vec<bool>,
}

impl Writer<'_> {
    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.out.write_fmt(text).unwrap();
        self.out.push('\n');
    }

    fn label(&self, distance: usize) -> usize {
        let own = self.labels.iter().rev().enumerate().filter(|(_, own)| **own);
        own.map(|(index, _)| index).nth(distance).unwrap()
    }

    fn nested(&mut self, own: bool, stmts: &[Stmt]) {
        self.labels.push(own);
        self.stmts(stmts);
        self.labels.pop();
    }

    fn stmts(&mut self, stmts: &[Stmt]) {
        stmts.iter().for_each(|stmt| self.stmt(stmt));
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Set(local, value) => {
                self.expr(value);
                self.put(format_args!("local.set {local}"));
            }
            Stmt::Drop(value) => {
                self.expr(value);
                self.put(format_args!("drop"));
            }
            Stmt::Store { ty, offset, address, value } => {
                self.expr(address);
                self.expr(value);
                self.put(format_args!("{}.store offset={offset}", ty.name()));
            }
            Stmt::If(condition, then, otherwise) => {
                self.expr(condition);
                self.put(format_args!("if"));
                self.nested(true, then);
                if !otherwise.is_empty() {
                    self.put(format_args!("else"));
                    self.nested(true, otherwise);
                }
                self.put(format_args!("end"));
            }
            Stmt::Block(body) => {
                self.put(format_args!("block"));
                self.nested(true, body);
                self.put(format_args!("end"));
            }
            Stmt::Loop(counter, rounds, body) => {
                let counter = self.function.locals + counter;
                self.put(format_args!("i32.const {rounds} local.set {counter} loop block"));
                self.labels.push(false);
                self.nested(true, body);
                self.labels.pop();
                self.put(format_args!(
                    "end local.get {counter} i32.const 1 i32.sub local.tee {counter} br_if 0 end"
                ));
            }
            Stmt::Br(label) => {
                let label = self.label(*label);
                self.put(format_args!("br {label}"));
            }
            Stmt::BrIf(label, condition) => {
                self.expr(condition);
                let label = self.label(*label);
                self.put(format_args!("br_if {label}"));
            }
            Stmt::BrTable(targets, index) => {
                self.expr(index);
                let targets: Vec<_> =
                    targets.iter().map(|&label| self.label(label).to_string()).collect();
                self.put(format_args!("br_table {}", targets.join(" ")));
            }
            Stmt::Return(value) => {
                self.expr(value);
                self.put(format_args!("return"));
            }
            Stmt::Unreachable => self.put(format_args!("unreachable")),
            Stmt::Fill(operands) => {
                operands.iter().for_each(|operand| self.expr(operand));
                self.put(format_args!("memory.fill"));
            }
            Stmt::Copy(operands) => {
                operands.iter().for_each(|operand| self.expr(operand));
                self.put(format_args!("memory.copy"));
            }
            Stmt::Tick => self.put(format_args!("call $tick")),
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Const(ty, value) => return self.put(format_args!("{}.const {value}", ty.name())),
            Expr::Local(local) => return self.put(format_args!("local.get {local}")),
            Expr::Tee(_, inner)
            | Expr::Eqz(_, inner)
            | Expr::Convert(_, inner)
            | Expr::Truncate(inner)
            | Expr::MemoryGrow(inner)
            | Expr::Load { address: inner, .. } => self.expr(inner),
            Expr::Binary(_, _, inner)
            | Expr::LessThan(_, inner)
            | Expr::Call(_, inner)
            | Expr::CallIndirect(_, inner) => inner.iter().for_each(|inner| self.expr(inner)),
            Expr::Select(inner) => inner.iter().for_each(|inner| self.expr(inner)),
            Expr::MemorySize => {}
        }
        match expr {
            Expr::Tee(local, _) => self.put(format_args!("local.tee {local}")),
            Expr::Eqz(ty, _) => self.put(format_args!("{}.eqz", ty.name())),
            Expr::Convert(I32, _) => self.put(format_args!("i64.extend_i32_s")),
            Expr::Convert(I64, _) => self.put(format_args!("i32.wrap_i64")),
            Expr::Truncate(_) => self.put(format_args!("f64.convert_i64_s i32.trunc_f64_s")),
            Expr::MemoryGrow(_) => self.put(format_args!("memory.grow")),
            Expr::Load { ty, offset, .. } => {
                self.put(format_args!("{}.load offset={offset}", ty.name()))
            }
            Expr::Binary(ty, op, _) => self.put(format_args!("{}.{}", ty.name(), OPS[*op].1)),
            Expr::LessThan(ty, _) => self.put(format_args!("{}.lt_s", ty.name())),
            Expr::Call(callee, _) => self.put(format_args!("call $f{callee}")),
            Expr::CallIndirect(callee, _) => {
                self.put(format_args!("i32.const {callee} call_indirect (type $t)"));
            }
            Expr::Select(..) => self.put(format_args!("select")),
            Expr::MemorySize => self.put(format_args!("memory.size")),
            Expr::Const(..) | Expr::Local(_) => unreachable!("written above"),
        }
    }
}
