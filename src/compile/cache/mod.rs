//! A directory of artifacts, by what they were compiled from.
//!
//! Each entry is a file whose name is a hash of a module's bytes and of all that its artifact depends
//! on. Entries are never changed: each is written beside its place and renamed, so that other
//! processes see all of it or nothing, and what is mapped stays as it is when an entry is replaced or
//! removed. An entry is believed only if nobody but us can have written it, and then as any artifact
//! in a file. The cache is a help and no more: what goes wrong with it costs time.

mod evict;

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};

use super::Compiler;

/// Where a cache is, and how large it may become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CacheSettings {
    /// An absolute path.
    pub(crate) directory: PathBuf,
    /// The most bytes of all files together.
    pub(crate) size_limit: u64,
    /// The most files.
    pub(crate) count_limit: u64,
}

/// The name of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key(String);

impl Key {
    /// The key as it is in the artifact, so that an entry under another's name is not taken for it.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// An open cache.
#[derive(Debug)]
pub(crate) struct Cache(CacheSettings);

/// The start of the names of files that will become entries.
const UNFINISHED: &str = ".unfinished-";

/// Permission bits that let others than the owner write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

impl Compiler {
    /// The place in a cache of a module that this compiler would compile.
    pub(crate) fn cache_key(&self, wasm: &[u8]) -> Result<Key> {
        let origin = self.origin.identity()?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(origin.len() as u64).to_le_bytes()).update(&origin).update(wasm);
        Ok(Key(hasher.finalize().to_hex().to_string()))
    }
}

impl Cache {
    /// Opens a cache, whose directory is made if there is none; only its owner may then enter it.
    ///
    /// # Errors
    ///
    /// When there is no directory and none can be made, and when others could write to it.
    pub(crate) fn open(settings: &CacheSettings) -> Result<Self> {
        let directory = &settings.directory;
        let show = directory.display();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .with_context(|| format!("cannot make the directory `{show}` of the cache"))?;
        let metadata = fs::metadata(directory)
            .with_context(|| format!("cannot look at the directory `{show}` of the cache"))?;
        let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
        if !is_private(&metadata) {
            bail!(
                "the directory `{show}` of the cache belongs to user {owner} and has mode \
                 {mode:04o}; it must belong to user {}, and nobody else may write to it, since \
                 what is in it is executed",
                us(),
            );
        }
        Ok(Self(settings.clone()))
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.0.directory.join(&key.0)
    }

    /// The file with the artifact of a module, if it is there and can be believed to be ours. It
    /// counts as used now.
    pub(crate) fn find(&self, key: &Key) -> Option<File> {
        let file = OpenOptions::new()
            .read(true)
            // Nobody can make us wait, or lead us elsewhere.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(self.path(key))
            .ok()?;
        let metadata = file.metadata().ok()?;
        if !metadata.is_file() || !is_private(&metadata) {
            return None;
        }
        // If this fails the entry is evicted too early, no more.
        let _ = file.set_modified(SystemTime::now());
        Some(file)
    }

    /// Makes an artifact an entry, in place of a former one, and evicts others as is needed to stay
    /// within the limits. It is not kept if that fails, or if it is larger than the whole cache may
    /// be.
    pub(crate) fn insert(&self, key: &Key, artifact: &[u8]) {
        if artifact.len() as u64 <= self.0.size_limit {
            let _ = self.try_insert(&self.path(key), artifact);
        }
    }

    fn try_insert(&self, path: &Path, artifact: &[u8]) -> io::Result<()> {
        let directory = &self.0.directory;
        // Readable and writable by its owner only. If we fail it is deleted.
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(directory)?;
        file.write_all(artifact)?;
        evict::make_room(&self.0)?;
        file.persist(path)?;
        Ok(())
    }
}

/// Whether nobody but us can write to something.
fn is_private(metadata: &Metadata) -> bool {
    metadata.uid() == us() && metadata.mode() & WRITABLE_BY_OTHERS == 0
}

/// The user as whom this process acts.
fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}
