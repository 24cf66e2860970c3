//! Tail calls: the callee takes the place of its caller, in the frame and in the chain of returns.
//!
//! All functions have the convention that this needs, host functions' trampolines included, whoever
//! calls them how: it costs other calls nothing. The callee's entry is what bounds a loop of
//! tail calls: it compares the stack pointer, charges at least one unit, and looks at fuel,
//! interrupts and deadlines.

use cranelift_codegen::ir::{InstBuilder, Value};
use cranelift_frontend::FunctionBuilder;

use super::Env;
use super::calls::{Callee, Code};

impl Env<'_> {
    /// Lets function `function` of the index space take the place of this one; terminates the
    /// current block.
    pub(super) fn direct_tail_call(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        function: u32,
        args: &[Value],
    ) {
        let callee = self.function_to_call(builder, function);
        let ty = self.module.info.functions[function as usize];
        self.give_way(builder, callee, ty, args);
    }

    /// The same for the function in element `callee` of `table`, which must have type `ty`.
    pub(super) fn tail_call_through_table(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        ty: u32,
        callee: Value,
        args: &[Value],
    ) {
        let callee = self.element_to_call(builder, table, ty, callee);
        self.give_way(builder, callee, ty, args);
    }

    /// Lets a function of type `ty` take the place of this one. The fuel counter, which was handed
    /// over to it, does not come back.
    pub(super) fn give_way(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        callee: Callee,
        ty: u32,
        args: &[Value],
    ) {
        let args = self.with_contexts(callee.context, args);
        match callee.code {
            Code::Known(function) => builder.ins().return_call(function, &args),
            Code::Loaded(code) => {
                let signature = self.signature(builder, ty);
                builder.ins().return_call_indirect(signature, code, &args)
            }
        };
        self.keep_fuel();
    }
}
