//! Keeps a cache within its limits.
//!
//! Every process does this for itself, without a lock: that a file is gone already is what was wanted.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::{CacheSettings, UNFINISHED};

/// How full a cache is left when something was evicted, in hundredths of its limits: not every
/// module should have to evict one.
const LEFT: u64 = 70;

/// A file that was not finished after this time never will be.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// A file of a cache.
struct CacheFile {
    path: PathBuf,
    size: u64,
    used: SystemTime,
    unfinished: bool,
}

/// If all files, unfinished ones included, exceed a limit, removes entries, those that were used
/// longest ago first.
pub(super) fn make_room(settings: &CacheSettings) -> io::Result<()> {
    let now = SystemTime::now();
    let mut files = files(settings)?;
    files.retain(|file| {
        let age = now.duration_since(file.used).unwrap_or_default();
        let abandoned = file.unfinished && age > ABANDONED;
        !(abandoned && fs::remove_file(&file.path).is_ok())
    });
    let mut count = files.len() as u64;
    let mut size: u64 = files.iter().map(|file| file.size).sum();
    if count <= settings.count_limit && size <= settings.size_limit {
        return Ok(());
    }
    let left = |limit: u64| (u128::from(limit) * u128::from(LEFT) / 100) as u64;
    // The file that makes us do this must have a place.
    let (left_count, left_size) = (left(settings.count_limit).max(1), left(settings.size_limit));
    files.sort_by_key(|file| file.used);
    for file in files.iter().filter(|file| !file.unfinished) {
        if count <= left_count && size <= left_size {
            break;
        }
        match fs::remove_file(&file.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {}
            _ => (count, size) = (count - 1, size - file.size),
        }
    }
    Ok(())
}

/// The files of a cache. What else is in its directory is somebody else's.
fn files(settings: &CacheSettings) -> io::Result<Vec<CacheFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(&settings.directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let unfinished = name.starts_with(UNFINISHED);
        if !unfinished && !is_key(name) {
            continue;
        }
        // Others may have removed it meanwhile.
        let Ok(metadata) = entry.metadata() else { continue };
        let used = metadata.modified()?;
        files.push(CacheFile { path: entry.path(), size: metadata.len(), used, unfinished });
    }
    Ok(files)
}

/// Whether this could be the name of an entry.
fn is_key(name: &str) -> bool {
    name.len() == 2 * blake3::OUT_LEN && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}
