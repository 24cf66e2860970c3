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
        println!("cargo::rerun-if-changed={directory}");
        for file in sources(Path::new(directory))? {
            hasher.write(file.to_string_lossy().as_bytes());
            hasher.write(&fs::read(&file)?);
        }
    }
    println!("cargo::rustc-env=LAMPWICK_SOURCES={:016x}", hasher.finish());
    Ok(())
}

/// The files in a directory and below it, in order; none if there is no such directory.
fn sources(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if !directory.is_dir() {
        return Ok(files);
    }
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
