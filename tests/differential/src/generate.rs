//! Bytes → a module.

use arbitrary::{Error, Result, Unstructured};
use wasm_smith::{InstructionKind as Kind, InstructionKinds};
use wasmparser::{Parser, Payload};

use crate::{host, proposals};

/// Whom a module is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Both us and the interpreter.
    Common,
    /// Only us: it may use what the interpreter has not.
    Own,
}

/// The fuel of a seed's module.
const FUEL: u32 = 400;

/// Bytes of which the generator makes a module, for each seed.
const BYTES: usize = 8_000;

/// The module of a seed: of the first bytes that make one.
pub fn from_seed(family: Family, seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    loop {
        let mut bytes = vec![0; BYTES];
        rng.fill(&mut bytes);
        if let Ok(module) = module(family, &mut Unstructured::new(&bytes), FUEL) {
            return module;
        }
    }
}

/// The module that some bytes make.
///
/// Its fuel is how many functions may be entered, turns of loops made, and bytes or elements moved in
/// bulk, before it traps. That bounds recursion, too, so that no stack is exhausted.
///
/// # Errors
///
/// Fails if these bytes make no module, or one with a memory that is shared.
pub fn module(family: Family, bytes: &mut Unstructured<'_>, fuel: u32) -> Result<Vec<u8>> {
    let mut config = shape(family, bytes)?;
    if family == Family::Own {
        own(bytes, &mut config)?;
    }
    for proposal in proposals::PROPOSALS {
        if bytes.ratio(3, 4)? {
            (proposal.generate)(&mut config);
        }
    }
    let mut module = wasm_smith::Module::new(config, bytes)?;
    module.ensure_termination(fuel).expect("all functions are the generator's");
    let module = module.to_bytes();
    if has_shared_memory(&module) { Err(Error::IncorrectFormat) } else { Ok(module) }
}

/// Lets a module use what only we have, and makes that frequent.
fn own(bytes: &mut Unstructured<'_>, config: &mut wasm_smith::Config) -> Result<()> {
    for proposal in proposals::OWN {
        if bytes.ratio(3, 4)? {
            (proposal.generate)(config);
        }
    }
    // What does not fit any heap is no trap there.
    config.limit_arrays_in_const_exprs = true;
    let objects = [Kind::Aggregate, Kind::Reference, Kind::Variable];
    config.allowed_instructions = match bytes.int_in_range(0..=6)? {
        0 => InstructionKinds::new(&[Kind::Memory, Kind::Control, Kind::Variable]),
        1 | 2 => InstructionKinds::all(),
        3 => InstructionKinds::new(&[&objects[..], &[Kind::Control]].concat()),
        4 => InstructionKinds::new(&[&objects[..], &[Kind::NumericInt]].concat()),
        _ => InstructionKinds::new(&objects),
    };
    Ok(())
}

/// Whether a guest could wait at a memory until another one comes.
fn has_shared_memory(wasm: &[u8]) -> bool {
    Parser::new(0).parse_all(wasm).any(|payload| match payload {
        Ok(Payload::MemorySection(memories)) => {
            memories.into_iter().any(|memory| memory.is_ok_and(|memory| memory.shared))
        }
        _ => false,
    })
}

/// Limits that keep a module small, and what it may import.
fn shape(family: Family, bytes: &mut Unstructured<'_>) -> Result<wasm_smith::Config> {
    const PAGE: u64 = 1 << 16;
    let pages = bytes.int_in_range(1..=4)?;
    Ok(wasm_smith::Config {
        allowed_instructions: kinds(bytes)?,
        available_imports: bytes.ratio(2, 3)?.then(|| host::imports(family)),
        max_imports: 0,
        canonicalize_nans: true,
        // Without traps all of a function is executed, with them what leads to one.
        disallow_traps: bytes.arbitrary()?,
        export_everything: true,
        min_funcs: 4,
        max_funcs: bytes.int_in_range(4..=12)?,
        max_instructions: bytes.int_in_range(20..=300)?,
        max_globals: 8,
        max_types: 10,
        // Too small a number makes the generator fail, rather than stop.
        max_type_size: 100_000,
        max_data_segments: 4,
        max_element_segments: 4,
        max_elements: 10,
        memory_max_size_required: true,
        max_memory32_bytes: pages * PAGE,
        max_memory64_bytes: u128::from(pages * PAGE),
        table_max_size_required: true,
        max_table_elements: 40,
        ..proposals::none()
    })
}

/// Which operators a module has. Where all kinds are allowed, few operators find two vectors on the
/// stack.
fn kinds(bytes: &mut Unstructured<'_>) -> Result<InstructionKinds> {
    Ok(match bytes.int_in_range(0..=4)? {
        0 => InstructionKinds::new(&[Kind::Vector, Kind::Variable]),
        1 => InstructionKinds::new(&[Kind::Numeric, Kind::Variable, Kind::Parametric]),
        2 => InstructionKinds::new(&[Kind::Vector, Kind::Memory, Kind::Control]),
        _ => InstructionKinds::all(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// How often operators are in modules of our own family, by the beginning of their names.
    #[test]
    fn our_own_modules_have_what_is_ours() {
        let wanted = [
            "StructNew",
            "StructGet",
            "StructSet",
            "ArrayNew",
            "ArrayGet",
            "ArrayLen",
            "RefTest",
            "RefCast",
            "BrOnCast",
            "RefI31",
            "CallRef",
            "TryTable",
            "Throw",
            "I32AtomicRmw",
            "ReturnCall",
        ];
        let mut found: BTreeMap<&str, u32> = wanted.into_iter().map(|name| (name, 0)).collect();
        for seed in 0..200 {
            let wasm = from_seed(Family::Own, seed);
            for payload in Parser::new(0).parse_all(&wasm) {
                let Payload::CodeSectionEntry(body) = payload.unwrap() else { continue };
                for operator in body.get_operators_reader().unwrap() {
                    let text = format!("{:?}", operator.unwrap());
                    let names = found.iter_mut().filter(|(name, _)| text.starts_with(**name));
                    names.for_each(|(_, number)| *number += 1);
                }
            }
        }
        println!("{found:?}");
        assert!(found.values().all(|number| *number >= 5), "{found:?}");
    }
}
