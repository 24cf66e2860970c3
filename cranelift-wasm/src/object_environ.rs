//! What a translator asks of the runtime about structs, arrays and casts.

use cranelift_codegen::ir::Value;
use cranelift_frontend::FunctionBuilder;
use wasmparser::RefType;

use crate::WasmResult;

/// How a field or element that is narrower than its value is widened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// It is as wide.
    None,
    /// With its sign.
    Signed,
    /// With zeros.
    Unsigned,
}

/// What an array is made from, or initialized with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArraySegment {
    /// A data segment.
    Data(u32),
    /// An element segment.
    Elements(u32),
}

/// Some elements of an array.
#[derive(Clone, Copy, Debug)]
pub struct ArrayRange {
    /// The array, which may be null.
    pub array: Value,
    /// The first element.
    pub start: Value,
}

/// The part of a [`FuncEnvironment`](crate::FuncEnvironment) that makes code for objects.
///
/// Type indices are those of the type section, and of the kind that the operator wants. References
/// to objects may be null, which the environment sees to.
pub trait ObjectEnvironment {
    /// How many fields a struct type has.
    fn fields(&self, ty: u32) -> usize;

    /// `struct.new`, with these values, or `struct.new_default`.
    fn struct_new(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        fields: Option<&[Value]>,
    ) -> WasmResult<Value>;

    /// `struct.get`, `struct.get_s` or `struct.get_u`.
    fn struct_get(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        field: (u32, u32),
        extension: Extension,
        object: Value,
    ) -> WasmResult<Value>;

    /// `struct.set`.
    fn struct_set(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        field: (u32, u32),
        object: Value,
        value: Value,
    ) -> WasmResult<()>;

    /// `array.new`, with this value, or `array.new_default`.
    fn array_new(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        value: Option<Value>,
        len: Value,
    ) -> WasmResult<Value>;

    /// `array.new_fixed`.
    fn array_new_fixed(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        values: &[Value],
    ) -> WasmResult<Value>;

    /// `array.new_data` or `array.new_elem`.
    fn array_new_segment(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        segment: ArraySegment,
        start: Value,
        len: Value,
    ) -> WasmResult<Value>;

    /// `array.init_data` or `array.init_elem`.
    fn array_init_segment(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        dst: ArrayRange,
        segment: ArraySegment,
        start: Value,
        len: Value,
    ) -> WasmResult<()>;

    /// `array.get`, `array.get_s` or `array.get_u`.
    fn array_get(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        extension: Extension,
        element: ArrayRange,
    ) -> WasmResult<Value>;

    /// `array.set`.
    fn array_set(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        element: ArrayRange,
        value: Value,
    ) -> WasmResult<()>;

    /// `array.len`.
    fn array_len(&mut self, builder: &mut FunctionBuilder<'_>, array: Value) -> WasmResult<Value>;

    /// `array.fill`.
    fn array_fill(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        dst: ArrayRange,
        value: Value,
        len: Value,
    ) -> WasmResult<()>;

    /// `array.copy`.
    fn array_copy(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        dst: ArrayRange,
        src: ArrayRange,
        len: Value,
    ) -> WasmResult<()>;

    /// `ref.i31`.
    fn ref_i31(&mut self, builder: &mut FunctionBuilder<'_>, value: Value) -> WasmResult<Value>;

    /// `i31.get_s` or `i31.get_u`.
    fn i31_get(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        extension: Extension,
        value: Value,
    ) -> WasmResult<Value>;

    /// `ref.test`: an i8 or i32 that is zero unless the reference is of the type.
    fn ref_test(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: RefType,
        value: Value,
    ) -> WasmResult<Value>;

    /// `ref.cast`: traps unless the reference is of the type.
    fn ref_cast(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: RefType,
        value: Value,
    ) -> WasmResult<()>;
}
