//! Functions of a module as machine code, for people and tools that look into it.

use super::Module;
use crate::compile::EntityIndex;

/// A function that a module defines, as machine code: [`Module::functions`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FunctionCode<'module> {
    /// The function's index in its module; imported functions come before all that are defined.
    pub index: u32,
    /// The function's name in the module's name section, as the guest's compiler wrote it.
    pub name: Option<&'module str>,
    /// The names under which the module exports it.
    pub exports: Vec<&'module str>,
    /// Where the function's body starts in the module, in bytes.
    pub body_offset: usize,
    /// Where the machine code starts in the text of the module, in bytes. Code refers to other
    /// functions by the distance in that text.
    pub text_offset: usize,
    /// The machine code, for the processor of this machine.
    pub code: &'module [u8],
    /// Where in the text which operator begins, from the start of the function to its end or beyond.
    addresses: &'module [(u32, u32)],
}

impl<'module> FunctionCode<'module> {
    /// Where in the [code](Self::code) another operator's instructions begin, and where in the module
    /// that operator is, both in bytes; `None` for instructions that belong to no operator, such as
    /// the prologue. In the order of the code, in which an operator may come more than once, and those
    /// that need no instructions do not come at all.
    ///
    /// Empty unless the module was compiled for debuggers or profilers, as under
    /// [`Config::debug_info`](crate::Config::debug_info).
    pub fn operators(&self) -> impl Iterator<Item = (usize, Option<usize>)> + 'module {
        let &Self { text_offset, code, addresses, .. } = self;
        let places = addresses.iter().map(move |&(at, operator)| {
            let operator = (operator != u32::MAX).then_some(operator as usize);
            (at as usize - text_offset, operator)
        });
        places.take_while(move |(at, _)| *at < code.len())
    }
}

impl Module {
    /// The functions that the module defines, in order, as machine code.
    ///
    /// ```
    /// use lampwick::{Config, Engine, Module};
    ///
    /// # fn main() -> anyhow::Result<()> {
    /// let engine = Engine::new(Config::new().debug_info(true))?;
    /// let text = "(module (func $double (export \"twice\") (param i32) (result i32) \
    ///     (i32.add (local.get 0) (local.get 0))))";
    /// let module = Module::new(&engine, text)?;
    /// let double = module.functions().next().expect("one function");
    /// assert_eq!((double.index, double.name), (0, Some("double")));
    /// assert_eq!(double.exports, ["twice"]);
    /// assert!(!double.code.is_empty());
    /// // Below the prologue is the addition; the `local.get`s need no code.
    /// let operators: Vec<_> = double.operators().filter_map(|(_, operator)| operator).collect();
    /// assert!(operators.iter().all(|&operator| operator > double.body_offset));
    /// # Ok(())
    /// # }
    /// ```
    pub fn functions(&self) -> impl ExactSizeIterator<Item = FunctionCode<'_>> {
        let info = &self.0.info;
        let addresses = &self.0.addresses;
        let mut exports: Vec<_> = info
            .exports
            .iter()
            .filter_map(|export| match export.entity {
                EntityIndex::Function(index) => Some((index, export.name.as_str())),
                _ => None,
            })
            .collect();
        exports.sort_by_key(|&(index, _)| index);
        let imported = exports.partition_point(|&(index, _)| index < info.imported_functions);
        let mut exports = exports.into_iter().skip(imported).peekable();
        self.0.functions.iter().enumerate().map(move |(defined, range)| {
            let index = info.imported_functions + defined as u32;
            let names = std::iter::from_fn(|| exports.next_if(|&(exported, _)| exported == index));
            let names = names.map(|(_, name)| name).collect();
            let first = addresses.partition_point(|&(at, _)| at < range.start);
            FunctionCode {
                index,
                name: info.function_name(index),
                exports: names,
                body_offset: info.body_offsets[defined] as usize,
                text_offset: range.start as usize,
                code: &self.0.code.text()[range.start as usize..range.end as usize],
                addresses: &addresses[first..],
            }
        })
    }
}
