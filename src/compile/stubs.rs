//! What stands between wasm code and the host: stubs of builtins, and trampolines both ways.
//!
//! Whatever leaves wasm writes to the store where it left (frame pointer and return address of
//! the wasm frame) and the fuel counter, and reads the counter back when it returns.

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{
    Function, InstBuilder, MemFlagsData, StackSlotData, StackSlotKind, Type, UserFuncName, Value,
    types,
};

use super::signature::{self, HIDDEN_PARAMS, POINTER, clif_type};
use super::traps;
use crate::types::{FuncType, ValType};
use crate::vm::layout::{Builtin, VMContext, VMHostContext, VMStore, ValRaw};

const TRUSTED: MemFlagsData = MemFlagsData::trusted();

/// A function that is made of one block.
struct Block<'f> {
    cursor: FuncCursor<'f>,
    params: Vec<Value>,
    metered: bool,
}

impl<'f> Block<'f> {
    fn new(func: &'f mut Function, metered: bool) -> Self {
        let block = func.dfg.make_block();
        let types: Vec<Type> = func.signature.params.iter().map(|param| param.value_type).collect();
        let params = types.iter().map(|&ty| func.dfg.append_block_param(block, ty)).collect();
        let mut cursor = FuncCursor::new(func);
        cursor.insert_block(block);
        Self { cursor, params, metered }
    }

    fn load(&mut self, ty: Type, base: Value, offset: usize) -> Value {
        self.cursor.ins().load(ty, TRUSTED, base, offset as i32)
    }

    fn store(&mut self, value: Value, base: Value, offset: usize) {
        self.cursor.ins().store(TRUSTED, value, base, offset as i32);
    }

    /// The store of a context.
    fn store_of(&mut self, context: Value) -> Value {
        self.load(POINTER, context, std::mem::offset_of!(VMContext, store))
    }

    /// Writes where wasm was left, which is this function's caller, and the fuel counter.
    fn leave_wasm(&mut self, store: Value) {
        let own_frame = self.cursor.ins().get_frame_pointer(POINTER);
        let frame = self.load(POINTER, own_frame, 0);
        self.store(frame, store, std::mem::offset_of!(VMStore, exit_fp));
        let address = self.cursor.ins().get_return_address(POINTER);
        self.store(address, store, std::mem::offset_of!(VMStore, exit_pc));
        self.save_fuel(store);
    }

    fn save_fuel(&mut self, store: Value) {
        if self.metered {
            let fuel = self.cursor.ins().get_pinned_reg(types::I64);
            self.store(fuel, store, std::mem::offset_of!(VMStore, fuel));
        }
    }

    fn restore_fuel(&mut self, store: Value) {
        if self.metered {
            let fuel = self.load(types::I64, store, std::mem::offset_of!(VMStore, fuel));
            self.cursor.ins().set_pinned_reg(fuel);
        }
    }

    /// Loads values from an array of [`ValRaw`].
    fn load_values(&mut self, array: Value, types: impl Iterator<Item = ValType>) -> Vec<Value> {
        let at = |index: usize| index * size_of::<ValRaw>();
        types.enumerate().map(|(i, ty)| self.load(clif_type(ty), array, at(i))).collect()
    }

    /// Stores values to an array of [`ValRaw`].
    fn store_values(&mut self, array: Value, values: &[Value]) {
        for (index, &value) in values.iter().enumerate() {
            self.store(value, array, index * size_of::<ValRaw>());
        }
    }
}

/// The function through which wasm code calls a builtin.
pub(super) fn builtin(builtin: Builtin, metered: bool) -> Function {
    let signature = signature::builtin(builtin);
    let mut func = Function::with_name_signature(UserFuncName::default(), signature.clone());
    let target = func.import_signature(signature);
    let mut block = Block::new(&mut func, metered);
    let params = block.params.clone();
    let store = block.store_of(params[0]);
    block.leave_wasm(store);
    let table = block.load(POINTER, params[0], std::mem::offset_of!(VMContext, builtins));
    let code = block.load(POINTER, table, builtin as usize * size_of::<*const u8>());
    let call = block.cursor.ins().call_indirect(target, code, &params);
    if builtin.throws() {
        // Nothing is kept over the call, so that no register changes that callees preserve.
        block.cursor.ins().trap(traps::UNREACHABLE);
        return func;
    }
    let results = block.cursor.func.dfg.inst_results(call).to_vec();
    block.restore_fuel(store);
    block.cursor.ins().return_(&results);
    func
}

/// The stub of a check for fuel, whose entry point (`vm/arch`) does itself what other stubs do. It begins
/// that one's frame and jumps there: a call more between wasm and the place where the fiber is left would
/// cost more than the switch.
pub(super) fn jump(builtin: Builtin) -> Vec<u8> {
    let table = std::mem::offset_of!(VMContext, builtins) as u32;
    let entry = builtin as u32 * size_of::<*const u8>() as u32;
    let mut code = vec![
        0x55, // push rbp
        0x48, 0x89, 0xe5, // mov rbp, rsp
        0x50, // push rax
        0x48, 0x8b, 0x87, // mov rax, [rdi + table]; rdi: the context
    ];
    code.extend(table.to_le_bytes());
    code.extend([0xff, 0xa0]); // jmp [rax + entry]
    code.extend(entry.to_le_bytes());
    code
}

/// The function through which the host calls wasm functions of a type: an `EnterTrampoline`.
///
/// The pinned register belongs to the host, so that it is put back. A trap does not come back
/// through here: whoever unwinds to the caller restores the registers that callees preserve.
pub(super) fn enter(ty: &FuncType, metered: bool) -> Function {
    let mut func = Function::with_name_signature(UserFuncName::default(), signature::enter());
    let target = func.import_signature(signature::wasm(ty));
    let mut block = Block::new(&mut func, metered);
    let [callee, caller, code, values] = block.params[..] else {
        unreachable!("the signature has four parameters")
    };
    let store = block.store_of(callee);
    let pinned = metered.then(|| block.cursor.ins().get_pinned_reg(types::I64));
    let mut args = vec![callee, caller];
    args.extend(block.load_values(values, ty.params()));
    block.restore_fuel(store);
    let call = block.cursor.ins().call_indirect(target, code, &args);
    let results = block.cursor.func.dfg.inst_results(call).to_vec();
    block.save_fuel(store);
    if let Some(pinned) = pinned {
        block.cursor.ins().set_pinned_reg(pinned);
    }
    block.store_values(values, &results);
    block.cursor.ins().return_(&[]);
    func
}

/// The function through which wasm code calls host functions of a type.
pub(super) fn exit(ty: &FuncType, metered: bool) -> Function {
    let mut func = Function::with_name_signature(UserFuncName::default(), signature::wasm(ty));
    let target = func.import_signature(signature::exit_target());
    let values = ty.params().len().max(ty.results().len()) * size_of::<ValRaw>();
    let align = align_of::<ValRaw>().trailing_zeros() as u8;
    let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, values as u32, align);
    let slot = func.create_sized_stack_slot(slot);
    let mut block = Block::new(&mut func, metered);
    let (context, caller) = (block.params[0], block.params[1]);
    let args = block.params[HIDDEN_PARAMS..].to_vec();
    let array = block.cursor.ins().stack_addr(POINTER, slot, 0);
    block.store_values(array, &args);
    let store = block.store_of(context);
    block.leave_wasm(store);
    let code = block.load(POINTER, context, std::mem::offset_of!(VMHostContext, call));
    block.cursor.ins().call_indirect(target, code, &[context, caller, array]);
    block.restore_fuel(store);
    let results = block.load_values(array, ty.results());
    block.cursor.ins().return_(&results);
    func
}
