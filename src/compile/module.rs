//! Compiles a module: all its functions into one text.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;

use super::Compiler;
use super::code::Code;
use super::env::ModuleScope;
use super::function::Worker;
use super::info::ModuleInfo;
use super::link::Linker;
use super::parse;
use super::stubs;
use super::trampolines::TrampolineCode;
use crate::vm::layout::{
    Builtin, ContextLayout, Handler, SavedRegisters, SiteTable, StackMaps, TrapSite,
};

/// The offsets in a text where another operator begins than the one before, with the operator's
/// offset in the module, or `u32::MAX` where there is none; sorted.
pub(crate) type AddressMap = Vec<(u32, u32)>;

/// A compiled module, in memory that cannot be executed yet: just compiled, or in an artifact's
/// bytes, of which it then keeps parts.
#[derive(Debug)]
pub(crate) struct Artifact {
    /// The entry of a cache that it comes from; empty elsewhere.
    pub(crate) key: Bytes,
    pub(crate) info: ModuleInfo,
    pub(crate) layout: ContextLayout,
    /// The bytes of the data segments, one after the other.
    pub(crate) data: Bytes,
    /// Machine code that can lie at any address.
    pub(crate) text: Bytes,
    /// Where the functions that the module defines are in the text; each starts with its entry
    /// point.
    pub(crate) functions: Vec<std::ops::Range<u32>>,
    /// What is known of addresses in the text.
    pub(crate) sites: SiteTable,
    /// Empty unless the settings want it.
    pub(crate) addresses: AddressMap,
    /// The trampolines of the types of escaping functions, each with its type's index, where they
    /// were compiled already.
    pub(crate) trampolines: Vec<(u32, TrampolineCode)>,
    /// How many functions write their fuel counter through because it could not be located.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests want to know"))]
    pub(crate) write_through: usize,
}

impl Compiler {
    /// Compiles a module.
    ///
    /// # Errors
    ///
    /// When the bytes are no valid module under the settings, with the offset; and when a function
    /// exceeds what the code generator can do, with the function.
    pub(crate) fn compile(&self, wasm: &[u8]) -> Result<Artifact> {
        let parsed = parse::module(wasm, &self.settings)?;
        let layout = parsed.info.context_layout();
        let module = ModuleScope {
            info: &parsed.info,
            types: &parsed.types,
            layout: &layout,
            settings: &self.settings,
            frontend: self.targets.normal.frontend_config(),
            relaxed_simd: self.targets.relaxed_simd,
        };
        let codes = self.compile_bodies(&module, &parsed.bodies)?;
        let write_through = codes.iter().filter(|code| code.fell_back).count();
        let builtins = codes.iter().fold(0, |all, code| all | code.builtins);
        let (linker, sites, addresses) = self.link(codes, builtins)?;
        let (text, functions) = linker.finish()?;
        Ok(Artifact {
            key: Bytes::new(),
            info: parsed.info,
            layout,
            data: parsed.data.into(),
            text: text.into(),
            functions,
            sites,
            addresses,
            trampolines: Vec::new(),
            write_through,
        })
    }

    /// Puts functions and stubs in a row.
    fn link(&self, codes: Vec<Code>, builtins: u64) -> Result<(Linker, SiteTable, AddressMap)> {
        let mut linker = Linker::default();
        let (mut traps, mut calls, mut handlers) = (Vec::new(), Vec::new(), Vec::new());
        let mut saves = Vec::new();
        let mut stack_maps = StackMaps::default();
        let mut addresses = AddressMap::new();
        for code in codes {
            let start = linker.function(&code)?;
            let trap = |site: &TrapSite| TrapSite { pc: site.pc + start, ..*site };
            traps.extend(code.traps.iter().map(trap));
            calls.extend(code.calls.iter().map(|&(pc, wasm)| (pc + start, wasm)));
            let moved = |handler: &Handler| Handler {
                return_address: handler.return_address + start,
                landing: handler.landing + start,
                ..*handler
            };
            handlers.extend(code.handlers.iter().map(moved));
            let saved = code.saved.context("internal error: a frame with unknown registers")?;
            saves.push((start, saved));
            if self.settings.address_map {
                addresses.extend(code.addresses.iter().map(|&(pc, wasm)| (pc + start, wasm)));
            }
            ensure!(stack_maps.append(&code.stack_maps, start), "the module is too large");
        }
        traps.sort_by_key(|site: &TrapSite| site.pc);
        traps.dedup_by_key(|site| site.pc);
        calls.sort_unstable();
        let mut worker = Worker::default();
        for &builtin in
            Builtin::ALL.iter().filter(|&&builtin| builtins & (1 << builtin as u64) != 0)
        {
            let code = if builtin.is_fuel_check() {
                Code { bytes: stubs::jump(builtin), ..Code::default() }
            } else {
                let stub = stubs::builtin(builtin, self.settings.metered);
                worker.compile_clif(&*self.targets.normal, stub)?
            };
            // A throw knows the registers as they are when the builtin begins.
            let keeps_registers = code.saved == Some(SavedRegisters::default());
            ensure!(
                keeps_registers || !builtin.throws(),
                "internal error: the stub of {builtin:?} changes registers"
            );
            linker.stub(builtin, &code)?;
        }
        Ok((linker, SiteTable::new(&traps, &calls, &stack_maps, &handlers, &saves), addresses))
    }
}
