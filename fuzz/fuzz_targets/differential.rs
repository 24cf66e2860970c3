//! A module made of the fuzzer's bytes does on both sides the same.
#![no_main]

use std::sync::LazyLock;

use arbitrary::Unstructured;
use lampwick_differential::{Outcome, Way, compare, generate, ways};
use libfuzzer_sys::{Corpus, fuzz_target};

static WAYS: LazyLock<Vec<Way>> = LazyLock::new(ways);

fuzz_target!(|data: &[u8]| -> Corpus {
    let mut bytes = Unstructured::new(data);
    let Ok((way, seed)) =
        bytes.choose_index(WAYS.len()).and_then(|way| Ok((way, bytes.arbitrary()?)))
    else {
        return Corpus::Reject;
    };
    let Ok(wasm) = generate::module(&mut bytes) else {
        return Corpus::Reject;
    };
    match compare(&wasm, &WAYS[way], seed) {
        Outcome::Agreed(_) => Corpus::Keep,
        Outcome::Limited(_) => Corpus::Reject,
        Outcome::Differed(difference) => panic!("{}: {difference}", WAYS[way].name),
    }
});
