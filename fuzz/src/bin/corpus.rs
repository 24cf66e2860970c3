//! Writes a corpus to begin with: random inputs, which are the same each time.
//!
//! The fuzzer would have to find out by itself that a module takes thousands of bytes.

use std::path::PathBuf;

/// Few enough to be run in half a minute, and enough for most operators.
const INPUTS: u64 = 1_000;

fn main() -> std::io::Result<()> {
    let directory = PathBuf::from(std::env::args_os().nth(1).expect("usage: corpus DIRECTORY"));
    for seed in 0..INPUTS {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut bytes = vec![0; rng.usize(1_000..8_000)];
        rng.fill(&mut bytes);
        std::fs::write(directory.join(format!("seed-{seed}")), bytes)?;
    }
    Ok(())
}
