//! Ways out of a preopened directory that open for a moment, between a check and its use.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use lampwick_wasi::{DirPerms, FilePerms, WasiCtxBuilder};
use tempfile::{TempDir, tempdir};

use crate::support::*;

/// A directory `inside` with `way/secret`, beside a directory `outside` with a file of that name.
fn jail() -> (TempDir, PathBuf) {
    let dir = tempdir().unwrap();
    let inside = dir.path().join("inside");
    for (path, text) in [(inside.join("way"), "public"), (dir.path().join("outside"), "secret")] {
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("secret"), text).unwrap();
    }
    (dir, inside)
}

async fn prisoner(inside: &Path) -> Guest {
    let mut builder = WasiCtxBuilder::new();
    builder.preopened_dir(inside, "/", DirPerms::all(), FilePerms::all()).unwrap();
    Guest::new(&mut builder).await
}

/// A thread that changes something, and back, all the time.
struct Swapper {
    stop: Arc<AtomicBool>,
    turns: Arc<AtomicU32>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Swapper {
    fn new(mut turn: impl FnMut() + Send + 'static) -> Self {
        let (stop, turns) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default());
        let thread = std::thread::spawn({
            let (stop, turns) = (stop.clone(), turns.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    turn();
                    turns.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { stop, turns, thread: Some(thread) }
    }

    fn turns(&self) -> u32 {
        self.turns.load(Ordering::Relaxed)
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("it ends once").join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

/// Puts a link that leads outside where a directory was, and the directory back.
fn swap_directory(inside: &Path) -> Swapper {
    let (way, aside) = (inside.join("way"), inside.join("aside"));
    Swapper::new(move || {
        std::fs::rename(&way, &aside).unwrap();
        symlink("../outside", &way).unwrap();
        std::fs::remove_file(&way).unwrap();
        std::fs::rename(&aside, &way).unwrap();
    })
}

/// So often something is changed at least, and this many calls meet each of both states.
const TURNS: u32 = 300;
const MET: u32 = 30;

/// Nothing outside was changed, made, or removed, and no file there has a second name.
fn assert_untouched(dir: &TempDir) {
    use std::os::unix::fs::MetadataExt;
    let outside = dir.path().join("outside");
    let names: Vec<_> =
        outside.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["secret"]);
    assert_eq!(std::fs::read(outside.join("secret")).unwrap(), b"secret");
    let metadata = outside.join("secret").metadata().unwrap();
    assert_eq!(metadata.nlink(), 1);
    assert_ne!(metadata.mtime_nsec(), 7);
}

/// What the guest opens by way of the directory is the file inside, or nothing.
#[tokio::test]
async fn what_is_opened_is_inside() {
    let (dir, inside) = jail();
    let swapper = swap_directory(&inside);
    let mut guest = prisoner(&inside).await;
    let (mut opened, mut refused) = (0, 0);
    while opened < MET || refused < MET || swapper.turns() < TURNS {
        match guest.open(3, "way/secret", 0, READ).await {
            Ok(fd) => {
                assert_eq!(guest.read(fd, 99).await.unwrap(), b"public");
                guest.close(fd).await.unwrap();
                opened += 1;
            }
            Err(_) => refused += 1,
        }
        if let Ok(fd) = guest.open(3, "way/new", CREAT | TRUNC, ALL).await {
            guest.write(fd, b"x").await.unwrap();
            guest.close(fd).await.unwrap();
        }
        // A directory that was opened stays the one that it was.
        if let Ok(way) = guest.open(3, "way", DIRECTORY, ALL).await {
            let fd = guest.open(way, "secret", 0, READ).await.unwrap();
            assert_eq!(guest.read(fd, 99).await.unwrap(), b"public");
            guest.close(fd).await.unwrap();
            guest.close(way).await.unwrap();
        }
    }
    drop(swapper);
    assert_untouched(&dir);
}

/// Functions that change something where a path leads change it inside, or nothing.
#[tokio::test]
async fn what_is_changed_is_inside() {
    let (dir, inside) = jail();
    std::fs::write(inside.join("mine"), "mine").unwrap();
    let swapper = swap_directory(&inside);
    let mut guest = prisoner(&inside).await;
    let (mut done, mut refused) = (0, 0);
    while done < MET || refused < MET || swapper.turns() < TURNS {
        match guest.at("path_create_directory", 3, "way/made").await {
            Ok(()) => done += 1,
            Err(_) => refused += 1,
        }
        let _ = guest.at("path_remove_directory", 3, "way/made").await;
        let _ = guest.symlink("mine", 3, "way/soft").await;
        let _ = guest.at("path_unlink_file", 3, "way/soft").await;
        let _ = guest.link((3, "mine"), (3, "way/hard")).await;
        let _ = guest.at("path_unlink_file", 3, "way/hard").await;
        let _ = guest.rename((3, "mine"), (3, "way/moved")).await;
        let _ = guest.rename((3, "way/moved"), (3, "mine")).await;
        let _ = guest.set_times(3, "way/secret", (7, 7, 5), 1).await;
        let _ = guest.set_times(3, "way/secret", (7, 7, 5), 0).await;
        if let Ok(stat) = guest.stat(3, "way/secret", true).await {
            assert_eq!(stat.size, 6);
        }
    }
    drop(swapper);
    assert_untouched(&dir);
}

/// Neither a directory on the way to a link's target nor the link itself may change what a new name
/// is for, once it was seen to be inside.
#[tokio::test]
async fn what_is_linked_is_inside() {
    let (dir, inside) = jail();
    symlink("way/secret", inside.join("soft")).unwrap();
    let directory = swap_directory(&inside);
    let link = Swapper::new({
        let (soft, other) = (inside.join("soft"), inside.join("other"));
        move || {
            for target in ["../outside/secret", "way/secret"] {
                symlink(target, &other).unwrap();
                std::fs::rename(&other, &soft).unwrap();
            }
        }
    });
    let mut guest = prisoner(&inside).await;
    let (mut linked, mut refused) = (0, 0);
    while linked < MET || refused < MET || directory.turns().min(link.turns()) < TURNS {
        for path in ["soft", "way/secret"] {
            match guest.link_with(1, (3, path), (3, "hard")).await {
                Ok(()) => linked += 1,
                Err(_) => refused += 1,
            }
            if let Ok(text) = std::fs::read(inside.join("hard")) {
                // Where the host finds the secret by a link, the new name is for the link.
                let is_link = inside.join("hard").symlink_metadata().unwrap().is_symlink();
                assert!(is_link || text == b"public", "{text:?}");
                let _ = guest.at("path_unlink_file", 3, "hard").await;
            }
        }
        let _ = guest.at("path_unlink_file", 3, "hard").await;
    }
    drop((directory, link));
    assert_untouched(&dir);
}

/// Lists and looks where a directory was a moment ago.
#[tokio::test]
async fn what_is_seen_is_inside() {
    let (dir, inside) = jail();
    symlink("secret", inside.join("way/link-inside")).unwrap();
    symlink("secret", dir.path().join("outside/link-outside")).unwrap();
    let swapper = swap_directory(&inside);
    let mut guest = prisoner(&inside).await;
    let (mut seen, mut refused) = (0, 0);
    while seen < MET || refused < MET || swapper.turns() < TURNS {
        assert!(guest.readlink(3, "way/link-outside", 99).await.is_err());
        assert!(guest.stat(3, "way/link-outside", false).await.is_err());
        match guest.readlink(3, "way/link-inside", 99).await {
            Ok(target) => {
                assert_eq!(target, "secret");
                seen += 1;
            }
            Err(_) => refused += 1,
        }
        if let Ok(way) = guest.open(3, "way", DIRECTORY, ALL).await {
            let (at, out) = (guest.room(4096), guest.room(4));
            guest.run("fd_readdir", &[way, at, 4096, 0, out]).await.unwrap();
            let len = guest.u32(out) as usize;
            let bytes = guest.bytes(at, len);
            let names = String::from_utf8_lossy(&bytes).into_owned();
            assert!(names.contains("link-inside") && !names.contains("link-outside"), "{names}");
            guest.close(way).await.unwrap();
        }
    }
    drop(swapper);
    std::fs::remove_file(dir.path().join("outside/link-outside")).unwrap();
    assert_untouched(&dir);
}
