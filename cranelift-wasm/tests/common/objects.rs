//! What translations of objects would ask of a runtime.

use cranelift_codegen::ir::Value;
use cranelift_frontend::FunctionBuilder;
use cranelift_wasm::{ArrayRange, ArraySegment, Extension, ObjectEnvironment, WasmResult};
use wasmparser::RefType;

use super::Env;

impl ObjectEnvironment for Env {
    fn fields(&self, _: u32) -> usize {
        unreachable!("no test here makes objects")
    }
    fn struct_new(
        &mut self,
        _: &mut FunctionBuilder<'_>,
        _: u32,
        _: Option<&[Value]>,
    ) -> WasmResult<Value> {
        unreachable!("no test here makes objects")
    }
    fn struct_get(
        &mut self,
        _: &mut FunctionBuilder<'_>,
        _: (u32, u32),
        _: Extension,
        _: Value,
    ) -> WasmResult<Value> {
        unreachable!("no test here makes objects")
    }
    fn struct_set(
        &mut self,
        _: &mut FunctionBuilder<'_>,
        _: (u32, u32),
        _: Value,
        _: Value,
    ) -> WasmResult<()> {
        unreachable!("no test here makes objects")
    }
    fn array_new(
        &mut self,
        _: &mut FunctionBuilder<'_>,
        _: u32,
        _: Option<Value>,
        _: Value,
    ) -> WasmResult<Value> {
        unreachable!("no test here makes objects")
    }
    fn array_new_fixed(
        &mut self,
        _: &mut FunctionBuilder<'_>,
        _: u32,
        _: &[Value],
    ) -> WasmResult<Value> {
        unreachable!("no test here makes objects")
    }
    fn array_new_segment(
        &mut self,
        _: &mut FunctionBuilder<'_>,
        _: u32,
        _: ArraySegment,
        _: Value,
        _: Value,
    ) -> WasmResult<Value> {
        unreachable!("no test here makes objects")
    }
    fn array_init_segment(
        &mut self,
        _: &mut FunctionBuilder<'_>,
        _: ArrayRange,
        _: ArraySegment,
        _: Value,
        _: Value,
    ) -> WasmResult<()> {
        unreachable!("no test here makes objects")
    }
    fn array_get(
        &mut self,
        _: &mut FunctionBuilder<'_>,
        _: u32,
        _: Extension,
        _: ArrayRange,
    ) -> WasmResult<Value> {
        unreachable!("no test here makes objects")
    }
    fn array_set(
        &mut self,
        _: &mut FunctionBuilder<'_>,
        _: u32,
        _: ArrayRange,
        _: Value,
    ) -> WasmResult<()> {
        unreachable!("no test here makes objects")
    }
    fn array_len(&mut self, _: &mut FunctionBuilder<'_>, _: Value) -> WasmResult<Value> {
        unreachable!("no test here makes objects")
    }
    fn array_fill(
        &mut self,
        _: &mut FunctionBuilder<'_>,
        _: u32,
        _: ArrayRange,
        _: Value,
        _: Value,
    ) -> WasmResult<()> {
        unreachable!("no test here makes objects")
    }
    fn array_copy(
        &mut self,
        _: &mut FunctionBuilder<'_>,
        _: ArrayRange,
        _: ArrayRange,
        _: Value,
    ) -> WasmResult<()> {
        unreachable!("no test here makes objects")
    }
    fn ref_i31(&mut self, _: &mut FunctionBuilder<'_>, _: Value) -> WasmResult<Value> {
        unreachable!("no test here makes objects")
    }
    fn i31_get(
        &mut self,
        _: &mut FunctionBuilder<'_>,
        _: Extension,
        _: Value,
    ) -> WasmResult<Value> {
        unreachable!("no test here makes objects")
    }
    fn ref_test(&mut self, _: &mut FunctionBuilder<'_>, _: RefType, _: Value) -> WasmResult<Value> {
        unreachable!("no test here makes objects")
    }
    fn ref_cast(&mut self, _: &mut FunctionBuilder<'_>, _: RefType, _: Value) -> WasmResult<()> {
        unreachable!("no test here makes objects")
    }
}
