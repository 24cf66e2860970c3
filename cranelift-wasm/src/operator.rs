//! The table of operators: which method translates which.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F64, I8, I16, I32, I64};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData};
use wasmparser::Operator;

use crate::numeric::Division;
use crate::translation::Translation;
use crate::{FuncEnvironment, WasmResult};

impl<E: FuncEnvironment> Translation<'_, '_, E> {
    /// Translates a reachable operator.
    ///
    /// Operators that differ in nothing but the type of their operands share a row: CLIF's
    /// instructions take it from the operands.
    pub(crate) fn operator(&mut self, operator: &Operator<'_>) -> WasmResult<()> {
        use Operator as Op;
        match *operator {
            // Control.
            Op::Unreachable => self.unreachable()?,
            Op::Nop => {}
            Op::Block { blockty } => self.block(blockty),
            Op::Loop { blockty } => self.loop_(blockty)?,
            Op::If { blockty } => self.if_(blockty),
            Op::Else => self.else_()?,
            Op::End => self.end()?,
            Op::Br { relative_depth } => self.br(relative_depth)?,
            Op::BrIf { relative_depth } => self.br_if(relative_depth)?,
            Op::BrTable { ref targets } => self.br_table(targets)?,
            Op::Return => self.return_()?,
            Op::Call { function_index } => self.call(function_index)?,
            Op::CallIndirect { type_index, table_index } => {
                self.call_indirect(type_index, table_index)?
            }
            Op::ReturnCall { function_index } => self.return_call(function_index)?,
            Op::ReturnCallIndirect { type_index, table_index } => {
                self.return_call_indirect(type_index, table_index)?
            }

            Op::CallRef { type_index } => self.call_ref(type_index)?,
            Op::BrOnNull { relative_depth } => self.br_on_null(relative_depth)?,
            Op::BrOnNonNull { relative_depth } => self.br_on_non_null(relative_depth)?,

            // Parametric and variables.
            Op::Drop => self.drop(),
            Op::Select => self.select(None),
            Op::TypedSelect { ty } => self.select(Some(ty)),
            Op::LocalGet { local_index } => self.local_get(local_index),
            Op::LocalSet { local_index } => self.local_set(local_index),
            Op::LocalTee { local_index } => self.local_tee(local_index),
            Op::GlobalGet { global_index } => self.global_get(global_index)?,
            Op::GlobalSet { global_index } => self.global_set(global_index)?,

            // References and tables.
            Op::RefNull { hty } => self.ref_null(hty)?,
            Op::RefIsNull => self.ref_is_null()?,
            Op::RefAsNonNull => self.ref_as_non_null()?,
            Op::RefFunc { function_index } => self.ref_func(function_index)?,
            Op::TableGet { table } => self.table_get(table)?,
            Op::TableSet { table } => self.table_set(table)?,
            Op::TableSize { table } => self.table_size(table)?,
            Op::TableGrow { table } => self.table_grow(table)?,
            Op::TableFill { table } => self.table_fill(table)?,
            Op::TableCopy { dst_table, src_table } => self.table_copy(dst_table, src_table)?,
            Op::TableInit { elem_index, table } => self.table_init(table, elem_index)?,
            Op::ElemDrop { elem_index } => self.elem_drop(elem_index)?,

            Op::MemorySize { mem } => self.memory_size(mem)?,
            Op::MemoryGrow { mem } => self.memory_grow(mem)?,
            Op::MemoryFill { mem } => self.memory_fill(mem)?,
            Op::MemoryCopy { dst_mem, src_mem } => self.memory_copy(dst_mem, src_mem)?,
            Op::MemoryInit { data_index, mem } => self.memory_init(mem, data_index)?,
            Op::DataDrop { data_index } => self.data_drop(data_index)?,

            _ => return self.access_operator(operator),
        }
        Ok(())
    }

    /// Translates a load or store.
    fn access_operator(&mut self, operator: &Operator<'_>) -> WasmResult<()> {
        use Operator as Op;
        match operator {
            Op::I32Load { memarg } => self.load(memarg, 4, I32, load::whole),
            Op::I64Load { memarg } => self.load(memarg, 8, I64, load::whole),
            Op::F32Load { memarg } => self.load(memarg, 4, F32, load::whole),
            Op::F64Load { memarg } => self.load(memarg, 8, F64, load::whole),
            Op::I32Load8S { memarg } => self.load(memarg, 1, I32, load::i8_s),
            Op::I32Load8U { memarg } => self.load(memarg, 1, I32, load::i8_u),
            Op::I32Load16S { memarg } => self.load(memarg, 2, I32, load::i16_s),
            Op::I32Load16U { memarg } => self.load(memarg, 2, I32, load::i16_u),
            Op::I64Load8S { memarg } => self.load(memarg, 1, I64, load::i8_s),
            Op::I64Load8U { memarg } => self.load(memarg, 1, I64, load::i8_u),
            Op::I64Load16S { memarg } => self.load(memarg, 2, I64, load::i16_s),
            Op::I64Load16U { memarg } => self.load(memarg, 2, I64, load::i16_u),
            Op::I64Load32S { memarg } => self.load(memarg, 4, I64, load::i32_s),
            Op::I64Load32U { memarg } => self.load(memarg, 4, I64, load::i32_u),
            Op::I32Store { memarg } | Op::F32Store { memarg } => {
                self.store(memarg, 4, store::whole)
            }
            Op::I64Store { memarg } | Op::F64Store { memarg } => {
                self.store(memarg, 8, store::whole)
            }
            Op::I32Store8 { memarg } | Op::I64Store8 { memarg } => {
                self.store(memarg, 1, store::low8)
            }
            Op::I32Store16 { memarg } | Op::I64Store16 { memarg } => {
                self.store(memarg, 2, store::low16)
            }
            Op::I64Store32 { memarg } => self.store(memarg, 4, store::low32),
            _ => self.numeric_operator(operator),
        }
    }

    /// Translates a constant, or an operator that computes values of values.
    fn numeric_operator(&mut self, operator: &Operator<'_>) -> WasmResult<()> {
        use Operator as Op;
        match *operator {
            Op::I32Const { value } => self.i32_const(value),
            Op::I64Const { value } => self.i64_const(value),
            Op::F32Const { value } => self.f32_const(value),
            Op::F64Const { value } => self.f64_const(value),

            // Comparisons.
            Op::I32Eqz | Op::I64Eqz => self.eqz(),
            Op::I32Eq | Op::I64Eq => self.icmp(IntCC::Equal),
            Op::I32Ne | Op::I64Ne => self.icmp(IntCC::NotEqual),
            Op::I32LtS | Op::I64LtS => self.icmp(IntCC::SignedLessThan),
            Op::I32LtU | Op::I64LtU => self.icmp(IntCC::UnsignedLessThan),
            Op::I32GtS | Op::I64GtS => self.icmp(IntCC::SignedGreaterThan),
            Op::I32GtU | Op::I64GtU => self.icmp(IntCC::UnsignedGreaterThan),
            Op::I32LeS | Op::I64LeS => self.icmp(IntCC::SignedLessThanOrEqual),
            Op::I32LeU | Op::I64LeU => self.icmp(IntCC::UnsignedLessThanOrEqual),
            Op::I32GeS | Op::I64GeS => self.icmp(IntCC::SignedGreaterThanOrEqual),
            Op::I32GeU | Op::I64GeU => self.icmp(IntCC::UnsignedGreaterThanOrEqual),
            Op::F32Eq | Op::F64Eq => self.fcmp(FloatCC::Equal),
            Op::F32Ne | Op::F64Ne => self.fcmp(FloatCC::NotEqual),
            Op::F32Lt | Op::F64Lt => self.fcmp(FloatCC::LessThan),
            Op::F32Gt | Op::F64Gt => self.fcmp(FloatCC::GreaterThan),
            Op::F32Le | Op::F64Le => self.fcmp(FloatCC::LessThanOrEqual),
            Op::F32Ge | Op::F64Ge => self.fcmp(FloatCC::GreaterThanOrEqual),

            // Integers.
            Op::I32Clz | Op::I64Clz => self.unary(|ins, x| ins.clz(x)),
            Op::I32Ctz | Op::I64Ctz => self.unary(|ins, x| ins.ctz(x)),
            Op::I32Popcnt | Op::I64Popcnt => self.unary(|ins, x| ins.popcnt(x)),
            Op::I32Add | Op::I64Add => self.binary(|ins, x, y| ins.iadd(x, y)),
            Op::I32Sub | Op::I64Sub => self.binary(|ins, x, y| ins.isub(x, y)),
            Op::I32Mul | Op::I64Mul => self.binary(|ins, x, y| ins.imul(x, y)),
            Op::I32DivS | Op::I64DivS => self.divide(Division::DivS),
            Op::I32DivU | Op::I64DivU => self.divide(Division::DivU),
            Op::I32RemS | Op::I64RemS => self.divide(Division::RemS),
            Op::I32RemU | Op::I64RemU => self.divide(Division::RemU),
            Op::I32And | Op::I64And => self.binary(|ins, x, y| ins.band(x, y)),
            Op::I32Or | Op::I64Or => self.binary(|ins, x, y| ins.bor(x, y)),
            Op::I32Xor | Op::I64Xor => self.binary(|ins, x, y| ins.bxor(x, y)),
            Op::I32Shl | Op::I64Shl => self.binary(|ins, x, y| ins.ishl(x, y)),
            Op::I32ShrS | Op::I64ShrS => self.binary(|ins, x, y| ins.sshr(x, y)),
            Op::I32ShrU | Op::I64ShrU => self.binary(|ins, x, y| ins.ushr(x, y)),
            Op::I32Rotl | Op::I64Rotl => self.binary(|ins, x, y| ins.rotl(x, y)),
            Op::I32Rotr | Op::I64Rotr => self.binary(|ins, x, y| ins.rotr(x, y)),
            Op::I32Extend8S | Op::I64Extend8S => self.extend_low(I8),
            Op::I32Extend16S | Op::I64Extend16S => self.extend_low(I16),
            Op::I64Extend32S => self.extend_low(I32),

            // Floats.
            Op::F32Abs | Op::F64Abs => self.unary(|ins, x| ins.fabs(x)),
            Op::F32Neg | Op::F64Neg => self.unary(|ins, x| ins.fneg(x)),
            Op::F32Ceil | Op::F64Ceil => self.unary(|ins, x| ins.ceil(x)),
            Op::F32Floor | Op::F64Floor => self.unary(|ins, x| ins.floor(x)),
            Op::F32Trunc | Op::F64Trunc => self.unary(|ins, x| ins.trunc(x)),
            Op::F32Nearest | Op::F64Nearest => self.unary(|ins, x| ins.nearest(x)),
            Op::F32Sqrt | Op::F64Sqrt => self.unary(|ins, x| ins.sqrt(x)),
            Op::F32Add | Op::F64Add => self.binary(|ins, x, y| ins.fadd(x, y)),
            Op::F32Sub | Op::F64Sub => self.binary(|ins, x, y| ins.fsub(x, y)),
            Op::F32Mul | Op::F64Mul => self.binary(|ins, x, y| ins.fmul(x, y)),
            Op::F32Div | Op::F64Div => self.binary(|ins, x, y| ins.fdiv(x, y)),
            Op::F32Min | Op::F64Min => self.binary(|ins, x, y| ins.fmin(x, y)),
            Op::F32Max | Op::F64Max => self.binary(|ins, x, y| ins.fmax(x, y)),
            Op::F32Copysign | Op::F64Copysign => self.binary(|ins, x, y| ins.fcopysign(x, y)),

            _ => return self.conversion_operator(operator),
        }
        Ok(())
    }

    /// Translates an operator that converts a value to another type.
    fn conversion_operator(&mut self, operator: &Operator<'_>) -> WasmResult<()> {
        use Operator as Op;
        match operator {
            Op::I32WrapI64 => self.convert(I32, |ins, ty, x| ins.ireduce(ty, x)),
            Op::I64ExtendI32S => self.convert(I64, |ins, ty, x| ins.sextend(ty, x)),
            Op::I64ExtendI32U => self.convert(I64, |ins, ty, x| ins.uextend(ty, x)),
            Op::F32DemoteF64 => self.convert(F32, |ins, ty, x| ins.fdemote(ty, x)),
            Op::F64PromoteF32 => self.convert(F64, |ins, ty, x| ins.fpromote(ty, x)),

            Op::I32TruncF32S | Op::I32TruncF64S => {
                self.convert(I32, |ins, ty, x| ins.fcvt_to_sint(ty, x));
            }
            Op::I32TruncF32U | Op::I32TruncF64U => {
                self.convert(I32, |ins, ty, x| ins.fcvt_to_uint(ty, x));
            }
            Op::I64TruncF32S | Op::I64TruncF64S => {
                self.convert(I64, |ins, ty, x| ins.fcvt_to_sint(ty, x));
            }
            Op::I64TruncF32U | Op::I64TruncF64U => {
                self.convert(I64, |ins, ty, x| ins.fcvt_to_uint(ty, x));
            }
            Op::I32TruncSatF32S | Op::I32TruncSatF64S => {
                self.convert(I32, |ins, ty, x| ins.fcvt_to_sint_sat(ty, x));
            }
            Op::I32TruncSatF32U | Op::I32TruncSatF64U => {
                self.convert(I32, |ins, ty, x| ins.fcvt_to_uint_sat(ty, x));
            }
            Op::I64TruncSatF32S | Op::I64TruncSatF64S => {
                self.convert(I64, |ins, ty, x| ins.fcvt_to_sint_sat(ty, x));
            }
            Op::I64TruncSatF32U | Op::I64TruncSatF64U => {
                self.convert(I64, |ins, ty, x| ins.fcvt_to_uint_sat(ty, x));
            }
            Op::F32ConvertI32S | Op::F32ConvertI64S => {
                self.convert(F32, |ins, ty, x| ins.fcvt_from_sint(ty, x));
            }
            Op::F32ConvertI32U | Op::F32ConvertI64U => {
                self.convert(F32, |ins, ty, x| ins.fcvt_from_uint(ty, x));
            }
            Op::F64ConvertI32S | Op::F64ConvertI64S => {
                self.convert(F64, |ins, ty, x| ins.fcvt_from_sint(ty, x));
            }
            Op::F64ConvertI32U | Op::F64ConvertI64U => {
                self.convert(F64, |ins, ty, x| ins.fcvt_from_uint(ty, x));
            }

            // A bitcast of scalars has no lanes, so no byte order.
            Op::I32ReinterpretF32 => {
                self.convert(I32, |ins, ty, x| ins.bitcast(ty, MemFlagsData::new(), x));
            }
            Op::I64ReinterpretF64 => {
                self.convert(I64, |ins, ty, x| ins.bitcast(ty, MemFlagsData::new(), x));
            }
            Op::F32ReinterpretI32 => {
                self.convert(F32, |ins, ty, x| ins.bitcast(ty, MemFlagsData::new(), x));
            }
            Op::F64ReinterpretI64 => {
                self.convert(F64, |ins, ty, x| ins.bitcast(ty, MemFlagsData::new(), x));
            }
            _ => return self.vector_operator(operator),
        }
        Ok(())
    }
}

/// The instructions of loads.
mod load {
    use cranelift_codegen::ir::{InstBuilder, Type, Value};
    use cranelift_frontend::FuncInstBuilder as Ins;

    use crate::HeapAddress;

    pub(super) fn whole(ins: Ins<'_, '_>, ty: Type, at: HeapAddress) -> Value {
        ins.load(ty, at.flags, at.base, at.offset)
    }

    pub(super) fn i8_s(ins: Ins<'_, '_>, ty: Type, at: HeapAddress) -> Value {
        ins.sload8(ty, at.flags, at.base, at.offset)
    }

    pub(super) fn i8_u(ins: Ins<'_, '_>, ty: Type, at: HeapAddress) -> Value {
        ins.uload8(ty, at.flags, at.base, at.offset)
    }

    pub(super) fn i16_s(ins: Ins<'_, '_>, ty: Type, at: HeapAddress) -> Value {
        ins.sload16(ty, at.flags, at.base, at.offset)
    }

    pub(super) fn i16_u(ins: Ins<'_, '_>, ty: Type, at: HeapAddress) -> Value {
        ins.uload16(ty, at.flags, at.base, at.offset)
    }

    /// Always an i64: no other type is wider.
    pub(super) fn i32_s(ins: Ins<'_, '_>, _: Type, at: HeapAddress) -> Value {
        ins.sload32(at.flags, at.base, at.offset)
    }

    /// Always an i64: no other type is wider.
    pub(super) fn i32_u(ins: Ins<'_, '_>, _: Type, at: HeapAddress) -> Value {
        ins.uload32(at.flags, at.base, at.offset)
    }
}

/// The instructions of stores.
mod store {
    use cranelift_codegen::ir::{InstBuilder, Value};
    use cranelift_frontend::FuncInstBuilder as Ins;

    use crate::HeapAddress;

    pub(super) fn whole(ins: Ins<'_, '_>, value: Value, at: HeapAddress) {
        ins.store(at.flags, value, at.base, at.offset);
    }

    pub(super) fn low8(ins: Ins<'_, '_>, value: Value, at: HeapAddress) {
        ins.istore8(at.flags, value, at.base, at.offset);
    }

    pub(super) fn low16(ins: Ins<'_, '_>, value: Value, at: HeapAddress) {
        ins.istore16(at.flags, value, at.base, at.offset);
    }

    pub(super) fn low32(ins: Ins<'_, '_>, value: Value, at: HeapAddress) {
        ins.istore32(at.flags, value, at.base, at.offset);
    }
}

/// The name of an operator in errors, such as `i32x4_add`.
pub(crate) fn name(operator: &Operator<'_>) -> &'static str {
    macro_rules! names {
        ($(@$proposal:ident $op:ident $({ $($arg:ident: $ty:ty),* })? => $visit:ident ($($arity:tt)*))*) => {
            match operator {
                $(Operator::$op { .. } => stringify!($visit),)*
                _ => "visit_unknown",
            }
        };
    }
    let method = wasmparser::for_each_operator!(names);
    method.strip_prefix("visit_").unwrap_or(method)
}
