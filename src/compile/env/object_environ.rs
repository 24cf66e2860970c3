//! What the translator asks of the runtime about objects; what the methods do stands in `objects` and
//! `casts`.

use cranelift_codegen::ir::Value;
use cranelift_frontend::FunctionBuilder;
use cranelift_wasm::{ArrayRange, ArraySegment, Extension, ObjectEnvironment, WasmResult};
use wasmparser::RefType;

use super::Env;

impl ObjectEnvironment for Env<'_> {
    fn fields(&self, ty: u32) -> usize {
        self.struct_fields(ty).len()
    }

    fn struct_new(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        fields: Option<&[Value]>,
    ) -> WasmResult<Value> {
        Ok(self.new_struct(builder, ty, fields))
    }

    fn struct_get(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        field: (u32, u32),
        extension: Extension,
        object: Value,
    ) -> WasmResult<Value> {
        Ok(self.read_struct(builder, field, extension, object))
    }

    fn struct_set(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        field: (u32, u32),
        object: Value,
        value: Value,
    ) -> WasmResult<()> {
        self.write_struct(builder, field, object, value);
        Ok(())
    }

    fn array_new(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        value: Option<Value>,
        len: Value,
    ) -> WasmResult<Value> {
        Ok(self.new_array(builder, ty, value, len))
    }

    fn array_new_fixed(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        values: &[Value],
    ) -> WasmResult<Value> {
        Ok(self.new_array_of(builder, ty, values))
    }

    fn array_new_segment(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        segment: ArraySegment,
        start: Value,
        len: Value,
    ) -> WasmResult<Value> {
        Ok(self.new_array_from(builder, ty, segment, (start, len)))
    }

    fn array_init_segment(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        dst: ArrayRange,
        segment: ArraySegment,
        start: Value,
        len: Value,
    ) -> WasmResult<()> {
        self.init_array(builder, dst, segment, (start, len));
        Ok(())
    }

    fn array_get(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        extension: Extension,
        element: ArrayRange,
    ) -> WasmResult<Value> {
        Ok(self.read_array(builder, ty, extension, element))
    }

    fn array_set(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        element: ArrayRange,
        value: Value,
    ) -> WasmResult<()> {
        self.write_array(builder, ty, element, value);
        Ok(())
    }

    fn array_len(&mut self, builder: &mut FunctionBuilder<'_>, array: Value) -> WasmResult<Value> {
        Ok(self.len_of_array(builder, array))
    }

    fn array_fill(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        _ty: u32,
        dst: ArrayRange,
        value: Value,
        len: Value,
    ) -> WasmResult<()> {
        self.fill_array(builder, dst, value, len);
        Ok(())
    }

    fn array_copy(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        dst: ArrayRange,
        src: ArrayRange,
        len: Value,
    ) -> WasmResult<()> {
        self.copy_array(builder, dst, src, len);
        Ok(())
    }

    fn ref_i31(&mut self, builder: &mut FunctionBuilder<'_>, value: Value) -> WasmResult<Value> {
        Ok(self.make_i31(builder, value))
    }

    fn i31_get(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        extension: Extension,
        value: Value,
    ) -> WasmResult<Value> {
        Ok(self.read_i31(builder, extension, value))
    }

    fn ref_test(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: RefType,
        value: Value,
    ) -> WasmResult<Value> {
        Ok(self.test(builder, ty, value))
    }

    fn ref_cast(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: RefType,
        value: Value,
    ) -> WasmResult<()> {
        self.cast(builder, ty, value);
        Ok(())
    }
}
