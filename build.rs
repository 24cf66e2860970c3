//! Tells the crate what it was built from, so that an artifact which another state of the sources
//! made is not taken for one's own.

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    let mut hasher = DefaultHasher::new();
    // The translator is published by itself, with a version of its own; here it is beside us.
    for directory in ["src", "cranelift-wasm/src"] {
        let directory = Path::new(directory);
        if !directory.is_dir() {
            continue;
        }
        println!("cargo::rerun-if-changed={}", directory.display());
        for file in sources(directory)? {
            hasher.write(file.to_string_lossy().as_bytes());
            hasher.write(&fs::read(&file)?);
        }
    }
    println!("cargo::rustc-env=LAMPWICK_SOURCES={:016x}", hasher.finish());
    Ok(())
}

/// The files in a directory and below it, in order.
fn sources(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(sources(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
