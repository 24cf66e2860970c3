//! A module made of the fuzzer's bytes does on both sides the same.
#![no_main]

use std::sync::LazyLock;

use arbitrary::Unstructured;
use lampwick_differential::{Outcome, Way, compare, generate, ways, ways_alone};
use libfuzzer_sys::{Corpus, fuzz_target};

/// What the module's own counter begins with; less than in the test, since the fuzzer is after modules
/// that are different rather than long.
const FUEL: u32 = 100;

static WAYS: LazyLock<Vec<Way>> = LazyLock::new(|| ways().into_iter().chain(ways_alone()).collect());

/// Whether to print what is run, which is set for a single input.
static PRINTS: LazyLock<bool> = LazyLock::new(|| std::env::var_os("PRINT").is_some());

fuzz_target!(|data: &[u8]| -> Corpus {
    let mut bytes = Unstructured::new(data);
    let Ok((way, seed)) =
        bytes.choose_index(WAYS.len()).and_then(|way| Ok((&WAYS[way], bytes.arbitrary()?)))
    else {
        return Corpus::Reject;
    };
    let Ok(wasm) = generate::module(way.family(), &mut bytes, FUEL) else {
        return Corpus::Reject;
    };
    if *PRINTS {
        let text = wasmprinter::print_bytes(&wasm).expect("the generator's modules are valid");
        eprintln!("{text}\nway: {}, seed: {seed}", way.name);
    }
    match compare(&wasm, way, seed) {
        Outcome::Agreed(_) => Corpus::Keep,
        Outcome::Limited(_) => Corpus::Reject,
        Outcome::Differed(difference) => panic!("{}: {difference}", way.name),
    }
});
