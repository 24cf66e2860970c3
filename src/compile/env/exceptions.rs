//! Exceptions: calls that may go on in a landing block, and throwing.
//!
//! A function whose calls are in a `try_table` makes them with a table of exceptions, which becomes
//! a list of handlers for the return address; machine code for the way that does not throw is that
//! of other calls, and keeps as many registers over them where the signature allows it
//! (`signature::wasm_in_try`). What is thrown is put together in the frame, and a builtin does the rest
//! (`vm/exceptions/raise.rs`): it leaves the exception's values where the first word says, the exception
//! itself in the second word, and the fuel counter in its register.

use std::collections::HashMap;

use cranelift_codegen::ir::{
    Block, BlockArg, BlockCall, ExceptionTable, ExceptionTableData, ExceptionTableItem,
    ExceptionTag, ExtFuncData, FuncRef, InstBuilder, MemFlagsData, SigRef, StackSlot,
    StackSlotData, StackSlotKind, Type, Value, types,
};
use cranelift_frontend::FunctionBuilder;
use cranelift_wasm::{Handler, Values};

use super::Env;
use super::calls::{Callee, Code};
use crate::compile::signature::{self, POINTER, clif_type};
use crate::compile::traps;
use crate::types::RefType;
use crate::vm::layout::{Builtin, Clause, ValRaw};

/// The exceptions of a function.
#[derive(Default)]
pub(super) struct Exceptions {
    /// The clauses of the constructs that are open; those of one in the order in which they are
    /// looked at backwards, so that the whole list is.
    handlers: Vec<Handler>,
    /// Where values lie that are thrown, and for how many there is room.
    payload: Option<(StackSlot, usize)>,
    /// The signatures of types for calls that may go on in a landing block.
    signatures: HashMap<u32, SigRef>,
    /// Functions of the text, declared with such a signature.
    functions: HashMap<FuncRef, FuncRef>,
}

impl Exceptions {
    pub(super) fn enter(&mut self, handlers: &[Handler]) {
        self.handlers.extend(handlers.iter().rev());
    }

    pub(super) fn leave(&mut self, handlers: usize) {
        self.handlers.truncate(self.handlers.len() - handlers);
    }

    /// The handlers of a call that is made now, in the order in which they are looked at: none
    /// behind one that catches all.
    pub(super) fn handlers(&self) -> impl Iterator<Item = Handler> + '_ {
        let mut behind = false;
        self.handlers.iter().rev().copied().take_while(move |handler| {
            let is_last = handler.tag.is_none();
            !std::mem::replace(&mut behind, is_last)
        })
    }
}

impl Env<'_> {
    /// Whether a call that throws may go on in this function.
    pub(super) fn is_in_try(&self) -> bool {
        !self.exceptions.handlers.is_empty()
    }

    /// Calls a function of type `ty`, to which the fuel counter was handed over, in a `try_table`.
    pub(super) fn call_in_try(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        callee: Callee,
        ty: u32,
        args: &[Value],
    ) -> Values {
        let args = self.with_contexts(callee.context, args);
        let signature = self.signature_in_try(builder, ty);
        let results = self.module.info.func_type(ty).results();
        let results: Vec<Type> = results.map(clif_type).collect();
        let returned = builder.create_block();
        let table = self.exception_table(builder, signature, returned, results.len());
        match callee.code {
            Code::Known(function) => {
                let function = self.function_in_try(builder, function, signature);
                builder.ins().try_call(function, &args, table)
            }
            Code::Loaded(code) => builder.ins().try_call_indirect(code, &args, table),
        };
        for ty in results {
            builder.append_block_param(returned, ty);
        }
        builder.switch_to_block(returned);
        builder.seal_block(returned);
        self.take_back_fuel(builder);
        let results = Values::from(builder.block_params(returned));
        for (ty, &value) in self.module.info.func_type(ty).results().zip(&results) {
            self.declare(builder, ty, value);
        }
        results
    }

    /// How a function of type `ty` is called in a `try_table`.
    fn signature_in_try(&mut self, builder: &mut FunctionBuilder<'_>, ty: u32) -> SigRef {
        *self.exceptions.signatures.entry(ty).or_insert_with(|| {
            builder.import_signature(signature::wasm_in_try(self.module.info.func_type(ty)))
        })
    }

    /// A function of the text as it is called in a `try_table`, with its signature there.
    fn function_in_try(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        function: FuncRef,
        signature: SigRef,
    ) -> FuncRef {
        *self.exceptions.functions.entry(function).or_insert_with(|| {
            let declared = builder.func.dfg.ext_funcs[function].clone();
            builder.import_function(ExtFuncData { signature, ..declared })
        })
    }

    /// The table of a call that returns to a block with so many parameters.
    fn exception_table(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        signature: SigRef,
        returned: Block,
        results: usize,
    ) -> ExceptionTable {
        let dfg = &mut builder.func.dfg;
        let words = [0, 1].map(BlockArg::TryCallExn);
        // The walk finds by the context which tags the numbers mean.
        let mut items = vec![ExceptionTableItem::Context(self.context)];
        for Handler { tag, by_reference, landing } in self.exceptions.handlers() {
            let landing = BlockCall::new(landing, words, &mut dfg.value_lists);
            let tag = ExceptionTag::from_u32(Clause { tag, by_reference }.number());
            items.push(ExceptionTableItem::Tag(tag, landing));
        }
        let results = (0..results as u32).map(BlockArg::TryCallRet);
        let returned = BlockCall::new(returned, results, &mut dfg.value_lists);
        dfg.exception_tables.push(ExceptionTableData::new(signature, returned, items))
    }

    /// The values of an exception that was caught, at the start of a landing block.
    pub(super) fn values_caught(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        [values, exception]: [Value; 2],
        tag: Option<u32>,
        by_reference: bool,
    ) -> Values {
        self.take_back_fuel(builder);
        let mut caught = Values::new();
        if let Some(tag) = tag {
            let params = self.module.info.tag_type(tag).params();
            for (index, ty) in params.enumerate() {
                let offset = index * size_of::<ValRaw>();
                let flags = MemFlagsData::trusted();
                let value = builder.ins().load(clif_type(ty), flags, values, offset as i32);
                self.declare(builder, ty, value);
                caught.push(value);
            }
        }
        if by_reference {
            let exception = builder.ins().ireduce(types::I32, exception);
            self.declare(builder, RefType::EXNREF.into(), exception);
            caught.push(exception);
        }
        caught
    }

    /// Throws; terminates the current block.
    pub(super) fn throw_values(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        tag: u32,
        args: &[Value],
    ) {
        let slot = self.payload(builder, args.len());
        let values = builder.ins().stack_addr(POINTER, slot, 0);
        for (index, &arg) in args.iter().enumerate() {
            let offset = index * size_of::<ValRaw>();
            builder.ins().store(MemFlagsData::trusted(), arg, values, offset as i32);
        }
        let tag = builder.ins().iconst(types::I32, i64::from(tag));
        self.raise(builder, Builtin::throw, &[tag, values]);
    }

    /// Throws an exception again, or traps if it is null; terminates the current block.
    pub(super) fn throw_again(&mut self, builder: &mut FunctionBuilder<'_>, exception: Value) {
        self.raise(builder, Builtin::throw_ref, &[exception]);
    }

    /// Where so many values can lie until they are thrown.
    fn payload(&mut self, builder: &mut FunctionBuilder<'_>, values: usize) -> StackSlot {
        let bytes = |values: usize| (values * size_of::<ValRaw>()) as u32;
        match &mut self.exceptions.payload {
            Some((slot, room)) => {
                *room = values.max(*room);
                builder.func.sized_stack_slots[*slot].size = bytes(*room);
                *slot
            }
            none => {
                let align = align_of::<ValRaw>().trailing_zeros() as u8;
                let kind = StackSlotKind::ExplicitSlot;
                let data = StackSlotData::new(kind, bytes(values), align);
                let slot = builder.create_sized_stack_slot(data);
                *none = Some((slot, values));
                slot
            }
        }
    }

    /// Calls a builtin that does not return; terminates the current block.
    fn raise(&mut self, builder: &mut FunctionBuilder<'_>, builtin: Builtin, operands: &[Value]) {
        self.locate(builder);
        self.hand_over_fuel(builder);
        let stub = self.stub(builder, builtin);
        let args: Values = std::iter::once(self.context).chain(operands.iter().copied()).collect();
        if self.is_in_try() {
            let signature = builder.func.dfg.ext_funcs[stub].signature;
            let returned = builder.create_block();
            let table = self.exception_table(builder, signature, returned, 0);
            builder.ins().try_call(stub, &args, table);
            builder.switch_to_block(returned);
            builder.seal_block(returned);
            builder.set_cold_block(returned);
        } else {
            builder.ins().call(stub, &args);
        }
        builder.ins().trap(traps::UNREACHABLE);
        self.keep_fuel();
    }
}
