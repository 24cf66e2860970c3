//! Loads and stores of vectors and of single lanes.

use cranelift_codegen::ir::types::{F32X4, F64X2, I8X16, I16X8, I32X4, I64X2};
use cranelift_codegen::ir::{self, InstBuilder};
use wasmparser::{MemArg, Operator};

use super::VECTOR;
use crate::memory::LoadOp;
use crate::translation::Translation;
use crate::{FuncEnvironment, WasmResult};

impl<E: FuncEnvironment> Translation<'_, '_, E> {
    /// Translates an operator of vectors.
    pub(crate) fn vector_operator(&mut self, operator: &Operator<'_>) -> WasmResult<()> {
        use Operator as Op;
        match operator {
            Op::V128Load { memarg } => self
                .load(memarg, 16, VECTOR, |ins, ty, at| ins.load(ty, at.flags, at.base, at.offset)),
            Op::V128Store { memarg } => self.store(memarg, 16, |ins, value, at| {
                ins.store(at.flags, value, at.base, at.offset);
            }),

            // Eight bytes, each lane twice as wide as in memory.
            Op::V128Load8x8S { memarg } => {
                self.load_extended(memarg, |ins, _, at| ins.sload8x8(at.flags, at.base, at.offset))
            }
            Op::V128Load8x8U { memarg } => {
                self.load_extended(memarg, |ins, _, at| ins.uload8x8(at.flags, at.base, at.offset))
            }
            Op::V128Load16x4S { memarg } => {
                self.load_extended(memarg, |ins, _, at| ins.sload16x4(at.flags, at.base, at.offset))
            }
            Op::V128Load16x4U { memarg } => {
                self.load_extended(memarg, |ins, _, at| ins.uload16x4(at.flags, at.base, at.offset))
            }
            Op::V128Load32x2S { memarg } => {
                self.load_extended(memarg, |ins, _, at| ins.sload32x2(at.flags, at.base, at.offset))
            }
            Op::V128Load32x2U { memarg } => {
                self.load_extended(memarg, |ins, _, at| ins.uload32x2(at.flags, at.base, at.offset))
            }

            Op::V128Load8Splat { memarg } => self.load_splat(memarg, I8X16),
            Op::V128Load16Splat { memarg } => self.load_splat(memarg, I16X8),
            Op::V128Load32Splat { memarg } => self.load_splat(memarg, I32X4),
            Op::V128Load64Splat { memarg } => self.load_splat(memarg, I64X2),
            Op::V128Load32Zero { memarg } => self.load_first(memarg, F32X4),
            Op::V128Load64Zero { memarg } => self.load_first(memarg, F64X2),

            Op::V128Load8Lane { memarg, lane } => self.load_lane(memarg, I8X16, *lane),
            Op::V128Load16Lane { memarg, lane } => self.load_lane(memarg, I16X8, *lane),
            Op::V128Load32Lane { memarg, lane } => self.load_lane(memarg, I32X4, *lane),
            Op::V128Load64Lane { memarg, lane } => self.load_lane(memarg, I64X2, *lane),
            Op::V128Store8Lane { memarg, lane } => self.store_lane(memarg, I8X16, *lane),
            Op::V128Store16Lane { memarg, lane } => self.store_lane(memarg, I16X8, *lane),
            Op::V128Store32Lane { memarg, lane } => self.store_lane(memarg, I32X4, *lane),
            Op::V128Store64Lane { memarg, lane } => self.store_lane(memarg, I64X2, *lane),
            _ => self.lane_operator(operator),
        }
    }

    /// A load of half a vector, whose lanes become twice as wide.
    fn load_extended(&mut self, memarg: &MemArg, op: LoadOp) -> WasmResult<()> {
        self.load(memarg, 8, VECTOR, op)?;
        let vector = self.stacks.pop();
        self.push_vector(vector);
        Ok(())
    }

    /// Loads a lane of `ty`, which stays on the stack as it is.
    fn load_single(&mut self, memarg: &MemArg, ty: ir::Type) -> WasmResult<()> {
        let lane = ty.lane_type();
        self.load(memarg, lane.bytes() as u8, lane, |ins, ty, at| {
            ins.load(ty, at.flags, at.base, at.offset)
        })
    }

    /// A load of one lane, which becomes every lane.
    fn load_splat(&mut self, memarg: &MemArg, ty: ir::Type) -> WasmResult<()> {
        self.load_single(memarg, ty)?;
        let lane = self.stacks.pop();
        let vector = self.builder.ins().splat(ty, lane);
        self.push_vector(vector);
        Ok(())
    }

    /// A load of the first lane; the others become zero.
    fn load_first(&mut self, memarg: &MemArg, ty: ir::Type) -> WasmResult<()> {
        self.load_single(memarg, ty)?;
        let lane = self.stacks.pop();
        let vector = self.builder.ins().scalar_to_vector(ty, lane);
        self.push_vector(vector);
        Ok(())
    }

    /// A load of one lane into a vector.
    fn load_lane(&mut self, memarg: &MemArg, ty: ir::Type, lane: u8) -> WasmResult<()> {
        let vector = self.pop_vector(ty);
        self.load_single(memarg, ty)?;
        let value = self.stacks.pop();
        let vector = self.builder.ins().insertlane(vector, value, lane);
        self.push_vector(vector);
        Ok(())
    }

    /// A store of one lane.
    fn store_lane(&mut self, memarg: &MemArg, ty: ir::Type, lane: u8) -> WasmResult<()> {
        let vector = self.pop_vector(ty);
        let value = self.builder.ins().extractlane(vector, lane);
        self.stacks.push(value);
        self.store(memarg, ty.lane_type().bytes() as u8, |ins, value, at| {
            ins.store(at.flags, value, at.base, at.offset);
        })
    }
}
