//! The machine code of a function, beside its wasm.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use iced_x86::{
    Decoder, DecoderOptions, Formatter as _, GasFormatter, Instruction as X86, SymbolResolver,
    SymbolResult,
};
use lampwick::{FunctionCode, Module};
use serde::Serialize;

use super::Subject;

/// A function's code, as JSON has it.
#[derive(Serialize)]
pub(super) struct Listing {
    pub(super) index: u32,
    pub(super) name: Option<String>,
    /// The size of the machine code, in bytes.
    pub(super) machine_code: usize,
    /// What the reader must know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<&'static str>,
    /// In the order of the machine code, in which an operator may come more than once.
    pub(super) parts: Vec<Part>,
}

/// Instructions of one operator.
#[derive(Serialize)]
pub(super) struct Part {
    /// Where the operator is in the module; nowhere for the function's prologue and the like.
    pub(super) offset: Option<usize>,
    pub(super) wasm: Option<String>,
    pub(super) instructions: Vec<Instruction>,
}

/// A machine instruction.
#[derive(Serialize)]
pub(super) struct Instruction {
    /// From the start of the function, in bytes.
    pub(super) offset: u64,
    pub(super) text: String,
}

impl Listing {
    pub(super) fn new(subject: &Subject, function: &FunctionCode<'_>) -> Result<Self> {
        let lines = subject.wasm.as_deref().map(text_by_offset).transpose()?.unwrap_or_default();
        let mut instructions = disassemble(&subject.module, function).into_iter().peekable();
        let mut starts: Vec<(usize, Option<usize>)> = function.operators().collect();
        // An artifact does not tell its operators.
        if starts.first().is_none_or(|&(at, _)| at > 0) {
            starts.insert(0, (0, None));
        }
        let ends = starts.iter().skip(1).map(|&(at, _)| at).chain([usize::MAX]);
        let parts = starts.iter().zip(ends).map(|(&(_, operator), end)| {
            let part = std::iter::from_fn(|| instructions.next_if(|it| it.offset < end as u64));
            Part {
                offset: operator,
                wasm: operator.and_then(|at| lines.get(&(at as u64)).cloned()),
                instructions: part.collect(),
            }
        });
        Ok(Self {
            index: function.index,
            name: function.name.or(function.exports.first().copied()).map(str::to_owned),
            machine_code: function.code.len(),
            note: subject.wasm.is_none().then_some(
                "an artifact has no wasm to show beside it: `--wasm MODULE` names the one it was made of",
            ),
            parts: parts.filter(|part| !part.instructions.is_empty()).collect(),
        })
    }
}

/// The lines of the module's text, by the offset of what they show.
fn text_by_offset(wasm: &[u8]) -> Result<BTreeMap<u64, String>> {
    let mut storage = String::new();
    let lines = wasmprinter::Config::new()
        .offsets_and_lines(wasm, &mut storage)
        .context("cannot print the module as text")?;
    Ok(lines.filter_map(|(at, line)| Some((at?, line.trim().to_owned()))).collect())
}

/// The functions of a module, as targets of calls and jumps.
struct Symbols(BTreeMap<u64, String>);

impl SymbolResolver for Symbols {
    fn symbol(
        &mut self,
        instruction: &X86,
        _: u32,
        _: Option<u32>,
        address: u64,
        _: u32,
    ) -> Option<SymbolResult<'_>> {
        let branches = instruction.is_call_near() || instruction.is_jmp_short_or_near();
        self.0.get(&address).filter(|_| branches).map(|name| SymbolResult::with_str(address, name))
    }
}

fn disassemble(module: &Module, function: &FunctionCode<'_>) -> Vec<Instruction> {
    // Addresses count from the start of the function; others lie before and behind it.
    let start = function.text_offset as u64;
    let names = module.functions().map(|it| {
        let name = it.name.map(str::to_owned).unwrap_or_else(|| format!("function[{}]", it.index));
        ((it.text_offset as u64).wrapping_sub(start), name.escape_debug().to_string())
    });
    let mut formatter = GasFormatter::with_options(Some(Box::new(Symbols(names.collect()))), None);
    let options = formatter.options_mut();
    options.set_branch_leading_zeros(false);
    options.set_uppercase_hex(false);
    let decoder = Decoder::with_ip(64, function.code, 0, DecoderOptions::NONE);
    let instruction = |instruction: X86| {
        let mut text = String::new();
        formatter.format(&instruction, &mut text);
        Instruction { offset: instruction.ip(), text }
    };
    decoder.into_iter().map(instruction).collect()
}
