//! Which class each operator belongs to.

use wasmparser::Operator::{self, *};

use super::OperatorClass;
use super::atomic::is_atomic;
use super::vector::class_of_vector;

/// The class of an operator, if it is in one.
pub(in crate::compile) fn class_of(operator: &Operator<'_>) -> Option<OperatorClass> {
    let class = match operator {
        I32Const { .. } | I64Const { .. } | F32Const { .. } | F64Const { .. } => {
            OperatorClass::Constant
        }
        LocalGet { .. } | LocalSet { .. } | LocalTee { .. } => OperatorClass::Local,
        GlobalGet { .. } | GlobalSet { .. } => OperatorClass::Global,
        Select | TypedSelect { .. } => OperatorClass::Select,
        If { .. }
        | Br { .. }
        | BrIf { .. }
        | BrTable { .. }
        | BrOnNull { .. }
        | BrOnNonNull { .. }
        | BrOnCast { .. }
        | BrOnCastFail { .. } => OperatorClass::Branch,
        Call { .. } | ReturnCall { .. } => OperatorClass::Call,
        Throw { .. } | ThrowRef => OperatorClass::Throw,
        CallIndirect { .. } | CallRef { .. } | ReturnCallIndirect { .. } | ReturnCallRef { .. } => {
            OperatorClass::CallIndirect
        }
        RefNull { .. } | RefIsNull | RefFunc { .. } | RefAsNonNull => OperatorClass::Reference,
        TableGet { .. } | TableSet { .. } => OperatorClass::Table,
        MemorySize { .. } | TableSize { .. } => OperatorClass::Size,
        MemoryGrow { .. } | TableGrow { .. } => OperatorClass::Grow,
        MemoryInit { .. }
        | MemoryCopy { .. }
        | MemoryFill { .. }
        | DataDrop { .. }
        | TableInit { .. }
        | TableCopy { .. }
        | TableFill { .. }
        | ElemDrop { .. } => OperatorClass::Bulk,
        RefEq
        | RefI31
        | I31GetS
        | I31GetU
        | AnyConvertExtern
        | ExternConvertAny
        | RefTestNonNull { .. }
        | RefTestNullable { .. }
        | RefCastNonNull { .. }
        | RefCastNullable { .. } => OperatorClass::Reference,
        _ => {
            return object(operator)
                .or_else(|| numeric(operator))
                .or_else(|| access(operator))
                .or_else(|| class_of_vector(operator))
                .or_else(|| is_atomic(operator).then_some(OperatorClass::Atomic));
        }
    };
    Some(class)
}

/// Whether an operator only tells where others stand, and does no work.
pub(in crate::compile) fn is_idle(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Nop | Drop
            | Block { .. }
            | Loop { .. }
            | TryTable { .. }
            | Else
            | End
            | Unreachable
            | Return
    )
}

fn object(operator: &Operator<'_>) -> Option<OperatorClass> {
    Some(match operator {
        StructGet { .. }
        | StructGetS { .. }
        | StructGetU { .. }
        | StructSet { .. }
        | ArrayGet { .. }
        | ArrayGetS { .. }
        | ArrayGetU { .. }
        | ArraySet { .. }
        | ArrayLen => OperatorClass::Field,
        StructNew { .. }
        | StructNewDefault { .. }
        | ArrayNew { .. }
        | ArrayNewDefault { .. }
        | ArrayNewFixed { .. }
        | ArrayNewData { .. }
        | ArrayNewElem { .. } => OperatorClass::Allocation,
        ArrayFill { .. } | ArrayCopy { .. } | ArrayInitData { .. } | ArrayInitElem { .. } => {
            OperatorClass::Bulk
        }
        _ => return None,
    })
}

fn numeric(operator: &Operator<'_>) -> Option<OperatorClass> {
    Some(match operator {
        I32Eqz | I32Eq | I32Ne | I32LtS | I32LtU | I32GtS | I32GtU | I32LeS | I32LeU | I32GeS
        | I32GeU | I32Clz | I32Ctz | I32Popcnt | I32Add | I32Sub | I32And | I32Or | I32Xor
        | I32Shl | I32ShrS | I32ShrU | I32Rotl | I32Rotr | I32Extend8S | I32Extend16S | I64Eqz
        | I64Eq | I64Ne | I64LtS | I64LtU | I64GtS | I64GtU | I64LeS | I64LeU | I64GeS | I64GeU
        | I64Clz | I64Ctz | I64Popcnt | I64Add | I64Sub | I64And | I64Or | I64Xor | I64Shl
        | I64ShrS | I64ShrU | I64Rotl | I64Rotr | I64Extend8S | I64Extend16S | I64Extend32S => {
            OperatorClass::Integer
        }
        I32Mul | I64Mul => OperatorClass::Multiplication,
        I32DivS | I32DivU | I32RemS | I32RemU | I64DivS | I64DivU | I64RemS | I64RemU => {
            OperatorClass::Division
        }
        F32Eq | F32Ne | F32Lt | F32Gt | F32Le | F32Ge | F32Abs | F32Neg | F32Ceil | F32Floor
        | F32Trunc | F32Nearest | F32Add | F32Sub | F32Mul | F32Min | F32Max | F32Copysign
        | F64Eq | F64Ne | F64Lt | F64Gt | F64Le | F64Ge | F64Abs | F64Neg | F64Ceil | F64Floor
        | F64Trunc | F64Nearest | F64Add | F64Sub | F64Mul | F64Min | F64Max | F64Copysign => {
            OperatorClass::Float
        }
        F32Div | F32Sqrt | F64Div | F64Sqrt => OperatorClass::FloatDivision,
        I32WrapI64 | I64ExtendI32S | I64ExtendI32U | F32DemoteF64 | F64PromoteF32
        | I32ReinterpretF32 | I64ReinterpretF64 | F32ReinterpretI32 | F64ReinterpretI64
        | I32TruncF32S | I32TruncSatF32S | F32ConvertI32S | I32TruncF32U | I32TruncSatF32U
        | F32ConvertI32U | I32TruncF64S | I32TruncSatF64S | F64ConvertI32S | I32TruncF64U
        | I32TruncSatF64U | F64ConvertI32U | I64TruncF32S | I64TruncSatF32S | F32ConvertI64S
        | I64TruncF32U | I64TruncSatF32U | F32ConvertI64U | I64TruncF64S | I64TruncSatF64S
        | F64ConvertI64S | I64TruncF64U | I64TruncSatF64U | F64ConvertI64U => {
            OperatorClass::Conversion
        }
        _ => return None,
    })
}

fn access(operator: &Operator<'_>) -> Option<OperatorClass> {
    Some(match operator {
        I32Load { .. }
        | I64Load { .. }
        | F32Load { .. }
        | F64Load { .. }
        | I32Load8S { .. }
        | I32Load8U { .. }
        | I32Load16S { .. }
        | I32Load16U { .. }
        | I64Load8S { .. }
        | I64Load8U { .. }
        | I64Load16S { .. }
        | I64Load16U { .. }
        | I64Load32S { .. }
        | I64Load32U { .. } => OperatorClass::Load,
        I32Store { .. }
        | I64Store { .. }
        | F32Store { .. }
        | F64Store { .. }
        | I32Store8 { .. }
        | I32Store16 { .. }
        | I64Store8 { .. }
        | I64Store16 { .. }
        | I64Store32 { .. } => OperatorClass::Store,
        _ => return None,
    })
}
