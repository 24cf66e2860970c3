//! A module made of the fuzzer's bytes, or a few operators by themselves, do on both sides the same.
#![no_main]

use std::sync::LazyLock;

use arbitrary::{Result, Unstructured};
use lampwick_differential::{Outcome, Way, compare, generate, operators, ways, ways_alone};
use libfuzzer_sys::{Corpus, fuzz_target};

/// What the module's own counter begins with; less than in the test, since the fuzzer is after modules
/// that are different rather than long.
const FUEL: u32 = 100;

static WAYS: LazyLock<Vec<Way>> =
    LazyLock::new(|| ways().into_iter().chain(ways_alone()).collect());

/// Whether to print what is run, which is set for a single input.
static PRINTS: LazyLock<bool> = LazyLock::new(|| std::env::var_os("PRINT").is_some());

fuzz_target!(|data: &[u8]| -> Corpus {
    match outcome(&mut Unstructured::new(data)) {
        Ok((_, Outcome::Agreed(_))) => Corpus::Keep,
        Ok((_, Outcome::Limited(_))) | Err(_) => Corpus::Reject,
        Ok((way, Outcome::Differed(difference))) => panic!("{}: {difference}", way.name),
    }
});

/// What comes of the fuzzer's bytes, and in which way; fails if they make no module.
fn outcome(bytes: &mut Unstructured<'_>) -> Result<(&'static Way, Outcome)> {
    let (way, seed) = (bytes.choose(&WAYS)?, bytes.arbitrary()?);
    let of_operators = bytes.ratio(1, 4)?;
    let wasm = match of_operators {
        true => operators::some(bytes)?,
        false => generate::module(way.family(), bytes, FUEL)?,
    };
    if *PRINTS {
        let text = wasmprinter::print_bytes(&wasm).expect("the generator's modules are valid");
        eprintln!("{text}\nway: {}, seed: {seed}", way.name);
    }
    let outcome = match of_operators {
        true => operators::compare(&wasm, way),
        false => compare(&wasm, way, seed),
    };
    Ok((way, outcome))
}
