//! The head of an artifact: what is checked before anything else is looked at.

use anyhow::{Context as _, Result, bail, ensure};
use twox_hash::xxhash3_128::Hasher;

use super::origin::Origin;

/// Where the head is: right behind the ELF header.
pub(super) const OFFSET: usize = 64;

const MAGIC: &[u8; 8] = b"lampwick";

/// The places, from the start of the artifact, of its magic number, its length in bytes, the
/// checksum, and the origin.
const MAGIC_AT: usize = OFFSET;
const LENGTH_AT: usize = MAGIC_AT + 8;
const CHECKSUM_AT: usize = LENGTH_AT + 8;
const ORIGIN_AT: usize = CHECKSUM_AT + 16;

/// What some bytes appear to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A module in one of WebAssembly's formats.
    Wasm,
    /// An artifact.
    Artifact,
    Unknown,
}

/// What bytes appear to be, from how they begin.
pub(crate) fn kind(bytes: &[u8]) -> Kind {
    if bytes.starts_with(b"\0asm") || bytes.trim_ascii_start().starts_with(b"(") {
        Kind::Wasm
    } else if bytes.starts_with(b"\x7fELF") && bytes.get(MAGIC_AT..LENGTH_AT) == Some(MAGIC) {
        Kind::Artifact
    } else {
        Kind::Unknown
    }
}

/// A head without length and checksum, which are not known yet.
pub(super) fn unfinished(origin: &Origin) -> Result<Vec<u8>> {
    let mut head = vec![0; ORIGIN_AT - OFFSET];
    head[..MAGIC.len()].copy_from_slice(MAGIC);
    head.extend_from_slice(&origin.to_bytes()?);
    Ok(head)
}

/// Completes the head of an artifact.
pub(super) fn finish(artifact: &mut [u8]) -> Result<()> {
    ensure!(kind(artifact) == Kind::Artifact, "internal error: the head is not where it must be");
    let length = artifact.len() as u64;
    artifact[LENGTH_AT..CHECKSUM_AT].copy_from_slice(&length.to_le_bytes());
    let checksum = checksum(artifact);
    artifact[CHECKSUM_AT..ORIGIN_AT].copy_from_slice(&checksum);
    Ok(())
}

/// Checks that these are the bytes of a whole and undamaged artifact that fits an engine of this
/// origin.
///
/// The checksum comes first, so that damage is not taken for a difference.
pub(super) fn check(bytes: &[u8], engine: &Origin) -> Result<()> {
    match kind(bytes) {
        Kind::Artifact => {}
        Kind::Wasm => {
            bail!(
                "this is a WebAssembly module, not an artifact of one: compile it (`Module::new`)"
            )
        }
        Kind::Unknown => bail!("these {} bytes are no artifact of Lampwick", bytes.len()),
    }
    let (Some(length), Some(expected), Some(origin)) = (
        bytes.get(LENGTH_AT..CHECKSUM_AT),
        bytes.get(CHECKSUM_AT..ORIGIN_AT),
        bytes.get(ORIGIN_AT..),
    ) else {
        bail!("damaged artifact: it ends in its head, after {} bytes", bytes.len());
    };
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
    if length != bytes.len() as u64 {
        bail!("damaged artifact: it has {} bytes, but should have {length}", bytes.len());
    }
    ensure!(checksum(bytes) == expected, "damaged artifact: its checksum is wrong");
    engine.check(origin).context("the artifact does not fit the engine")
}

/// The checksum (XXH3, 128 bits) of all bytes but its own.
fn checksum(artifact: &[u8]) -> [u8; 16] {
    let mut hasher = Hasher::new();
    hasher.write(&artifact[..CHECKSUM_AT]);
    hasher.write(&artifact[ORIGIN_AT..]);
    hasher.finish_128().to_le_bytes()
}
