//! The operators of the threads proposal: atomic accesses, waiting and notifying.

use cranelift_codegen::ir::types::{I8, I16, I32, I64};
use cranelift_codegen::ir::{AtomicRmwOp, InstBuilder, Type, Value};
use wasmparser::{MemArg, MemArgTarget, Operator};

use crate::memory_environ::{AtomicAddress, HeapAccess, WaitWidth};
use crate::translation::Translation;
use crate::{FuncEnvironment, WasmError, WasmResult};

/// What an atomic access does.
#[derive(Clone, Copy)]
enum Access {
    Load,
    Store,
    Rmw(AtomicRmwOp),
    Cmpxchg,
}

/// An atomic access: what it does, the operator's type, and the type in memory, which is no wider.
type Row<'m> = (Access, Type, Type, &'m MemArg);

/// Rows of operators that differ in their types alone.
macro_rules! accesses {
    ($operator:expr; $($access:expr, [$($op:ident $ty:ident $narrow:ident),* $(,)?];)*) => {
        match $operator {
            $($(Operator::$op { memarg } => Some(($access, $ty, $narrow, memarg)),)*)*
            _ => None,
        }
    };
}

fn access<'m>(operator: &'m Operator<'_>) -> Option<Row<'m>> {
    accesses! { operator;
        Access::Load, [
            I32AtomicLoad I32 I32, I64AtomicLoad I64 I64, I32AtomicLoad8U I32 I8,
            I32AtomicLoad16U I32 I16, I64AtomicLoad8U I64 I8, I64AtomicLoad16U I64 I16,
            I64AtomicLoad32U I64 I32,
        ];
        Access::Store, [
            I32AtomicStore I32 I32, I64AtomicStore I64 I64, I32AtomicStore8 I32 I8,
            I32AtomicStore16 I32 I16, I64AtomicStore8 I64 I8, I64AtomicStore16 I64 I16,
            I64AtomicStore32 I64 I32,
        ];
        Access::Rmw(AtomicRmwOp::Add), [
            I32AtomicRmwAdd I32 I32, I64AtomicRmwAdd I64 I64, I32AtomicRmw8AddU I32 I8,
            I32AtomicRmw16AddU I32 I16, I64AtomicRmw8AddU I64 I8, I64AtomicRmw16AddU I64 I16,
            I64AtomicRmw32AddU I64 I32,
        ];
        Access::Rmw(AtomicRmwOp::Sub), [
            I32AtomicRmwSub I32 I32, I64AtomicRmwSub I64 I64, I32AtomicRmw8SubU I32 I8,
            I32AtomicRmw16SubU I32 I16, I64AtomicRmw8SubU I64 I8, I64AtomicRmw16SubU I64 I16,
            I64AtomicRmw32SubU I64 I32,
        ];
        Access::Rmw(AtomicRmwOp::And), [
            I32AtomicRmwAnd I32 I32, I64AtomicRmwAnd I64 I64, I32AtomicRmw8AndU I32 I8,
            I32AtomicRmw16AndU I32 I16, I64AtomicRmw8AndU I64 I8, I64AtomicRmw16AndU I64 I16,
            I64AtomicRmw32AndU I64 I32,
        ];
        Access::Rmw(AtomicRmwOp::Or), [
            I32AtomicRmwOr I32 I32, I64AtomicRmwOr I64 I64, I32AtomicRmw8OrU I32 I8,
            I32AtomicRmw16OrU I32 I16, I64AtomicRmw8OrU I64 I8, I64AtomicRmw16OrU I64 I16,
            I64AtomicRmw32OrU I64 I32,
        ];
        Access::Rmw(AtomicRmwOp::Xor), [
            I32AtomicRmwXor I32 I32, I64AtomicRmwXor I64 I64, I32AtomicRmw8XorU I32 I8,
            I32AtomicRmw16XorU I32 I16, I64AtomicRmw8XorU I64 I8, I64AtomicRmw16XorU I64 I16,
            I64AtomicRmw32XorU I64 I32,
        ];
        Access::Rmw(AtomicRmwOp::Xchg), [
            I32AtomicRmwXchg I32 I32, I64AtomicRmwXchg I64 I64, I32AtomicRmw8XchgU I32 I8,
            I32AtomicRmw16XchgU I32 I16, I64AtomicRmw8XchgU I64 I8, I64AtomicRmw16XchgU I64 I16,
            I64AtomicRmw32XchgU I64 I32,
        ];
        Access::Cmpxchg, [
            I32AtomicRmwCmpxchg I32 I32, I64AtomicRmwCmpxchg I64 I64,
            I32AtomicRmw8CmpxchgU I32 I8, I32AtomicRmw16CmpxchgU I32 I16,
            I64AtomicRmw8CmpxchgU I64 I8, I64AtomicRmw16CmpxchgU I64 I16,
            I64AtomicRmw32CmpxchgU I64 I32,
        ];
    }
}

impl<E: FuncEnvironment> Translation<'_, '_, E> {
    /// Translates an operator of the threads proposal; answers whether it is one.
    pub(crate) fn atomic_operator(&mut self, operator: &Operator<'_>) -> WasmResult<bool> {
        match operator {
            Operator::AtomicFence { .. } => {
                self.builder.ins().fence();
            }
            Operator::MemoryAtomicNotify { memarg } => self.atomic_notify(memarg)?,
            Operator::MemoryAtomicWait32 { memarg } => self.atomic_wait(memarg, WaitWidth::W32)?,
            Operator::MemoryAtomicWait64 { memarg } => self.atomic_wait(memarg, WaitWidth::W64)?,
            operator => match access(operator) {
                Some(row) => self.atomic_access(row)?,
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    fn atomic_access(&mut self, (access, ty, narrow, memarg): Row<'_>) -> WasmResult<()> {
        let operands = match access {
            Access::Load => (None, None),
            Access::Store | Access::Rmw(_) => (Some(self.stacks.pop()), None),
            Access::Cmpxchg => {
                let (expected, new) = self.stacks.pop2();
                (Some(expected), Some(new))
            }
        };
        let kind = match access {
            Access::Load => HeapAccess::Load,
            _ => HeapAccess::Store,
        };
        let at = self.atomic_address(memarg)?;
        let size = narrow.bytes() as u8;
        let heap = self.env.atomic_address(&mut self.builder, at, size, kind)?;
        let distance = self.builder.ins().iconst(I64, i64::from(heap.offset));
        let address = self.builder.ins().iadd(heap.base, distance);
        let mut low = |value: Option<Value>| {
            let value = value.expect("the operator has the operand");
            if ty == narrow { value } else { self.builder.ins().ireduce(narrow, value) }
        };
        let former = match access {
            Access::Load => self.builder.ins().atomic_load(narrow, heap.flags, address),
            Access::Store => {
                let value = low(operands.0);
                self.builder.ins().atomic_store(heap.flags, value, address);
                return Ok(());
            }
            Access::Rmw(op) => {
                let value = low(operands.0);
                self.builder.ins().atomic_rmw(narrow, heap.flags, op, address, value)
            }
            Access::Cmpxchg => {
                let (expected, new) = (low(operands.0), low(operands.1));
                self.builder.ins().atomic_cas(heap.flags, address, expected, new)
            }
        };
        let former = if ty == narrow { former } else { self.builder.ins().uextend(ty, former) };
        self.stacks.push(former);
        Ok(())
    }

    fn atomic_wait(&mut self, memarg: &MemArg, width: WaitWidth) -> WasmResult<()> {
        let (expected, timeout) = self.stacks.pop2();
        let at = self.atomic_address(memarg)?;
        let result = self.env.atomic_wait(&mut self.builder, at, width, expected, timeout)?;
        self.stacks.push(result);
        Ok(())
    }

    fn atomic_notify(&mut self, memarg: &MemArg) -> WasmResult<()> {
        let count = self.stacks.pop();
        let at = self.atomic_address(memarg)?;
        let woken = self.env.atomic_notify(&mut self.builder, at, count)?;
        self.stacks.push(woken);
        Ok(())
    }

    fn atomic_address(&mut self, memarg: &MemArg) -> WasmResult<AtomicAddress> {
        let index = self.stacks.pop();
        let MemArgTarget::Memory(memory) = memarg.target else {
            return Err(WasmError::Unsupported {
                offset: self.offset,
                what: "an atomic access to an array".to_owned(),
            });
        };
        Ok(AtomicAddress { memory, index, offset: memarg.offset })
    }
}
