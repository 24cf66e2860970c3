//! Calls that take the place of the function that makes them.

use crate::translation::Translation;
use crate::{FuncEnvironment, WasmResult};

impl<E: FuncEnvironment> Translation<'_, '_, E> {
    /// `return_call`.
    pub(crate) fn return_call(&mut self, function: u32) -> WasmResult<()> {
        let params = self.env.type_of_function(function).params().len();
        self.limits.work(params)?;
        let args = self.stacks.peek(params);
        self.env.return_call(&mut self.builder, function, args)?;
        self.stacks.reachable = false;
        Ok(())
    }

    /// `return_call_indirect`.
    pub(crate) fn return_call_indirect(&mut self, ty: u32, table: u32) -> WasmResult<()> {
        let callee = self.stacks.pop();
        let params = self.env.type_at(ty).params().len();
        self.limits.work(params)?;
        let args = self.stacks.peek(params);
        self.env.return_call_indirect(&mut self.builder, table, ty, callee, args)?;
        self.stacks.reachable = false;
        Ok(())
    }
}
