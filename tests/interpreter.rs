//! Runs the programs of `oracle`: their results, traps, memory, and exact costs.

use lampwick::{OperatorClass, OperatorCosts, TrapCode};

use crate::oracle::{Expr, Function, MAX_PAGES, OPS, Op, PAGE, Program, Stmt, Ty};
use OperatorClass::{
    Branch, Bulk, Call, CallIndirect, Constant, Conversion, Division, FunctionEntry, Grow, Integer,
    Load, Local, Multiplication, Select, Size, Store,
};
use Ty::{I32, I64};

/// Why a function is left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Exit {
    Trap(TrapCode),
    OutOfFuel,
    /// The program runs for too long to be a good test.
    TooLong,
    Branch(usize),
    Return(i32),
}

/// A program's run.
pub(crate) struct Machine<'p> {
    program: &'p Program,
    costs: OperatorCosts,
    pub(crate) memory: Vec<u8>,
    pub(crate) consumed: u64,
    /// What was consumed at each call of the host.
    pub(crate) ticks: Vec<u64>,
    fuel: u64,
    /// The host interrupts the program after so many of its calls.
    interrupt_after: Option<usize>,
}

/// The most that a test's program may cost.
const TOO_LONG: u64 = 100_000;

type Run<T> = Result<T, Exit>;

struct Frame<'p> {
    function: &'p Function,
    locals: Vec<i64>,
}

impl<'p> Machine<'p> {
    pub(crate) fn new(program: &'p Program, fuel: u64) -> Self {
        Self {
            program,
            costs: OperatorCosts::new(),
            memory: vec![0; PAGE],
            consumed: 0,
            ticks: Vec::new(),
            fuel,
            interrupt_after: None,
        }
    }

    /// The same with an interrupt after this call of the host, the first being 1.
    pub(crate) fn interrupted(program: &'p Program, tick: usize) -> Self {
        Self { interrupt_after: Some(tick), ..Self::new(program, u64::MAX) }
    }

    /// The same with other costs.
    pub(crate) fn with_costs(self, costs: &OperatorCosts) -> Self {
        Self { costs: costs.clone(), ..self }
    }

    /// Calls function 0.
    pub(crate) fn run(&mut self, args: (i32, i64)) -> Run<i32> {
        self.call(0, args)
    }

    fn call(&mut self, index: usize, (first, second): (i32, i64)) -> Run<i32> {
        self.pay_for(FunctionEntry)?;
        self.check()?;
        let function = &self.program[index];
        let mut locals = vec![0; function.locals + function.counters];
        (locals[0], locals[1]) = (first.into(), second);
        let mut frame = Frame { function, locals };
        let result = match self.stmts(&mut frame, &function.body) {
            Ok(()) => self.i32(&mut frame, &function.result),
            Err(exit) => Err(exit),
        };
        match result {
            Err(Exit::Return(value)) => Ok(value),
            result => result,
        }
    }

    fn pay(&mut self, cost: u64) -> Run<()> {
        self.consumed += cost;
        if self.consumed > TOO_LONG { Err(Exit::TooLong) } else { Ok(()) }
    }

    /// Pays for an operator.
    fn pay_for(&mut self, class: OperatorClass) -> Run<()> {
        self.pay(self.costs.cost(class).into())
    }

    /// Pays for operators.
    fn pay_for_all<const N: usize>(&mut self, classes: [OperatorClass; N]) -> Run<()> {
        classes.into_iter().try_for_each(|class| self.pay_for(class))
    }

    /// What function entries and loop heads do.
    fn check(&self) -> Run<()> {
        self.check_fuel()?;
        if self.is_interrupted() { Err(Exit::Trap(TrapCode::Interrupt)) } else { Ok(()) }
    }

    fn is_interrupted(&self) -> bool {
        self.interrupt_after.is_some_and(|tick| self.ticks.len() >= tick)
    }

    /// What `memory.grow` does, too.
    fn check_fuel(&self) -> Run<()> {
        if self.consumed > self.fuel { Err(Exit::OutOfFuel) } else { Ok(()) }
    }

    fn stmts(&mut self, frame: &mut Frame<'p>, stmts: &'p [Stmt]) -> Run<()> {
        stmts.iter().try_for_each(|stmt| self.stmt(frame, stmt))
    }

    /// The body of something with a label.
    fn labelled(&mut self, frame: &mut Frame<'p>, stmts: &'p [Stmt]) -> Run<()> {
        match self.stmts(frame, stmts) {
            Err(Exit::Branch(0)) => Ok(()),
            Err(Exit::Branch(label)) => Err(Exit::Branch(label - 1)),
            result => result,
        }
    }

    fn stmt(&mut self, frame: &mut Frame<'p>, stmt: &'p Stmt) -> Run<()> {
        match stmt {
            Stmt::Set(local, value) => {
                frame.locals[*local] = self.expr(frame, value)?;
                self.pay_for(Local)
            }
            Stmt::Drop(value) => self.expr(frame, value).map(drop),
            Stmt::Store { ty, offset, address, value } => {
                let address = self.i32(frame, address)?;
                let value = self.expr(frame, value)?;
                self.pay_for(Store)?;
                let len = if *ty == I32 { 4 } else { 8 };
                let place = self.place(address, *offset, len)?;
                self.memory[place..place + len].copy_from_slice(&value.to_le_bytes()[..len]);
                Ok(())
            }
            Stmt::If(condition, then, otherwise) => {
                let condition = self.i32(frame, condition)?;
                self.pay_for(Branch)?;
                self.labelled(frame, if condition != 0 { then } else { otherwise })
            }
            Stmt::Block(body) => self.labelled(frame, body),
            Stmt::Loop(counter, rounds, body) => {
                let counter = frame.function.locals + counter;
                self.pay_for_all([Constant, Local])?;
                frame.locals[counter] = (*rounds).into();
                loop {
                    self.check()?;
                    self.labelled(frame, body)?;
                    self.pay_for_all([Local, Constant, Integer, Local, Branch])?;
                    frame.locals[counter] -= 1;
                    if frame.locals[counter] == 0 {
                        return Ok(());
                    }
                }
            }
            Stmt::Br(label) => {
                self.pay_for(Branch)?;
                Err(Exit::Branch(*label))
            }
            Stmt::BrIf(label, condition) => {
                let condition = self.i32(frame, condition)?;
                self.pay_for(Branch)?;
                if condition != 0 { Err(Exit::Branch(*label)) } else { Ok(()) }
            }
            Stmt::BrTable(targets, index) => {
                let index = self.i32(frame, index)? as u32 as usize;
                self.pay_for(Branch)?;
                Err(Exit::Branch(targets[index.min(targets.len() - 1)]))
            }
            Stmt::Return(value) => Err(Exit::Return(self.i32(frame, value)?)),
            Stmt::Unreachable => Err(Exit::Trap(TrapCode::UnreachableCodeReached)),
            Stmt::Fill(operands) => {
                let [to, byte, len] = self.operands(frame, operands)?;
                self.bulk(len, &[to])?;
                self.memory[to..to + len].fill(byte as u8);
                Ok(())
            }
            Stmt::Copy(operands) => {
                let [to, from, len] = self.operands(frame, operands)?;
                self.bulk(len, &[to, from])?;
                self.memory.copy_within(from..from + len, to);
                Ok(())
            }
            Stmt::Tick => {
                self.pay_for(Call)?;
                self.ticks.push(self.consumed);
                Ok(())
            }
        }
    }

    fn operands(&mut self, frame: &mut Frame<'p>, operands: &'p [Expr; 3]) -> Run<[usize; 3]> {
        let mut values = [0; 3];
        for (value, operand) in values.iter_mut().zip(operands) {
            *value = self.i32(frame, operand)? as u32 as usize;
        }
        Ok(values)
    }

    /// Pays for work on `len` bytes from each start on.
    fn bulk(&mut self, len: usize, starts: &[usize]) -> Run<()> {
        self.pay_for(Bulk)?;
        self.pay(len as u64 / 64)?;
        if self.consumed > self.fuel {
            // Long ones look at the fuel, in chunks, and short ones need not: a good test does not
            // end here.
            return Err(Exit::TooLong);
        }
        if starts.iter().any(|start| start + len > self.memory.len()) {
            return Err(Exit::Trap(TrapCode::MemoryOutOfBounds));
        }
        // Interrupts are heard between chunks, too.
        if len > PAGE / 2 && self.is_interrupted() { Err(Exit::TooLong) } else { Ok(()) }
    }

    fn place(&self, address: i32, offset: u32, len: usize) -> Run<usize> {
        let place = address as u32 as usize + offset as usize;
        if place + len > self.memory.len() {
            return Err(Exit::Trap(TrapCode::MemoryOutOfBounds));
        }
        Ok(place)
    }

    fn i32(&mut self, frame: &mut Frame<'p>, expr: &'p Expr) -> Run<i32> {
        Ok(self.expr(frame, expr)? as i32)
    }

    /// A value; i32 ones are sign-extended.
    fn expr(&mut self, frame: &mut Frame<'p>, expr: &'p Expr) -> Run<i64> {
        Ok(match expr {
            Expr::Const(_, value) => {
                self.pay_for(Constant)?;
                *value
            }
            Expr::Local(local) => {
                self.pay_for(Local)?;
                frame.locals[*local]
            }
            Expr::Tee(local, inner) => {
                let value = self.expr(frame, inner)?;
                self.pay_for(Local)?;
                frame.locals[*local] = value;
                value
            }
            Expr::Binary(ty, op, inner) => {
                let [a, b] = self.pair(frame, inner)?;
                self.pay_for(match OPS[*op].0 {
                    Op::Mul => Multiplication,
                    Op::DivS | Op::DivU | Op::RemS | Op::RemU => Division,
                    _ => Integer,
                })?;
                match ty {
                    I32 => binary_i32(OPS[*op].0, a as i32, b as i32)?.into(),
                    I64 => binary_i64(OPS[*op].0, a, b)?,
                }
            }
            Expr::LessThan(_, inner) => {
                let [a, b] = self.pair(frame, inner)?;
                self.pay_for(Integer)?;
                (a < b).into()
            }
            Expr::Eqz(_, inner) => {
                let value = self.expr(frame, inner)?;
                self.pay_for(Integer)?;
                (value == 0).into()
            }
            Expr::Convert(from, inner) => {
                let value = self.expr(frame, inner)?;
                self.pay_for(Conversion)?;
                if *from == I64 { (value as i32).into() } else { value }
            }
            Expr::Truncate(inner) => {
                let value = self.expr(frame, inner)? as f64;
                self.pay_for_all([Conversion, Conversion])?;
                if value >= 2_147_483_648.0 || value <= -2_147_483_649.0 {
                    return Err(Exit::Trap(TrapCode::IntegerOverflow));
                }
                (value as i32).into()
            }
            Expr::Load { ty, offset, address } => {
                let address = self.i32(frame, address)?;
                self.pay_for(Load)?;
                let len = if *ty == I32 { 4 } else { 8 };
                let place = self.place(address, *offset, len)?;
                let mut bytes = [0; 8];
                bytes[..len].copy_from_slice(&self.memory[place..place + len]);
                let value = i64::from_le_bytes(bytes);
                if *ty == I32 { (value as i32).into() } else { value }
            }
            Expr::Select(inner) => {
                let a = self.expr(frame, &inner[0])?;
                let b = self.expr(frame, &inner[1])?;
                let condition = self.i32(frame, &inner[2])?;
                self.pay_for(Select)?;
                if condition != 0 { a } else { b }
            }
            Expr::Call(callee, inner) => {
                let [a, b] = self.pair(frame, inner)?;
                self.pay_for(Call)?;
                self.call(*callee, (a as i32, b))?.into()
            }
            Expr::CallIndirect(callee, inner) => {
                let [a, b] = self.pair(frame, inner)?;
                self.pay_for_all([Constant, CallIndirect])?;
                self.call(*callee, (a as i32, b))?.into()
            }
            Expr::MemorySize => {
                self.pay_for(Size)?;
                (self.memory.len() / PAGE) as i64
            }
            Expr::MemoryGrow(inner) => {
                let delta = self.i32(frame, inner)? as u32 as usize;
                self.pay_for(Grow)?;
                self.pay(delta as u64)?;
                self.check_fuel()?;
                let old = self.memory.len() / PAGE;
                if old + delta > MAX_PAGES {
                    return Ok(-1);
                }
                self.memory.resize((old + delta) * PAGE, 0);
                old as i64
            }
        })
    }

    fn pair(&mut self, frame: &mut Frame<'p>, inner: &'p [Expr; 2]) -> Run<[i64; 2]> {
        Ok([self.expr(frame, &inner[0])?, self.expr(frame, &inner[1])?])
    }
}

macro_rules! binary {
    ($name:ident $int:ty, $unsigned:ty) => {
        fn $name(op: Op, a: $int, b: $int) -> Run<$int> {
            let divides = matches!(op, Op::DivS | Op::DivU | Op::RemS | Op::RemU);
            if divides && b == 0 {
                return Err(Exit::Trap(TrapCode::IntegerDivisionByZero));
            }
            Ok(match op {
                Op::Add => a.wrapping_add(b),
                Op::Sub => a.wrapping_sub(b),
                Op::Mul => a.wrapping_mul(b),
                Op::Xor => a ^ b,
                Op::And => a & b,
                Op::Shl => a.wrapping_shl(b as u32),
                Op::DivS => a.checked_div(b).ok_or(Exit::Trap(TrapCode::IntegerOverflow))?,
                Op::DivU => (a as $unsigned / b as $unsigned) as $int,
                Op::RemS => a.wrapping_rem(b),
                Op::RemU => (a as $unsigned % b as $unsigned) as $int,
            })
        }
    };
}

binary!(binary_i32 i32, u32);
binary!(binary_i64 i64, u64);
