//! What a directory without permissions allows: nothing of what they are for, on any way.

use lampwick_wasi::{DirPerms, FilePerms, WasiCtxBuilder};
use tempfile::{TempDir, tempdir};

use crate::support::*;

/// A directory with a file, a link, and a directory with a file.
fn tree() -> TempDir {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "contents").unwrap();
    std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    std::fs::write(dir.path().join("sub/file"), "contents").unwrap();
    dir
}

/// All that can be seen of a tree from outside, but for the times of reads.
fn snapshot(dir: &TempDir) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let mut seen = Vec::new();
    let mut left = vec![dir.path().to_owned()];
    while let Some(path) = left.pop() {
        let meta = path.symlink_metadata().unwrap();
        let contents = if meta.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
        seen.push(format!(
            "{path:?} {:?} {contents:?} {times:?} {}",
            meta.file_type(),
            meta.nlink()
        ));
        if meta.is_dir() {
            left.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    seen.sort();
    seen
}

async fn guest(dirs: &[(&TempDir, DirPerms, FilePerms)]) -> Guest {
    let mut builder = WasiCtxBuilder::new();
    for (i, (dir, dir_perms, file_perms)) in dirs.iter().enumerate() {
        builder.preopened_dir(dir.path(), format!("/{i}"), *dir_perms, *file_perms).unwrap();
    }
    Guest::new(&mut builder).await
}

#[tokio::test]
async fn a_tree_that_may_only_be_read_is_the_same_after_all_attempts() {
    let (dir, other) = (tree(), tempdir().unwrap());
    let before = snapshot(&dir);
    let read = (&dir, DirPerms::READ, FilePerms::READ);
    let mut guest = guest(&[read, (&other, DirPerms::all(), FilePerms::all())]).await;
    let sub = guest.open(3, "sub", DIRECTORY, ALL & !WRITE).await.unwrap();
    for (root, file) in [(3, "file"), (3, "sub/file"), (sub, "file"), (3, "link")] {
        for oflags in [CREAT, TRUNC, CREAT | TRUNC, CREAT | EXCL] {
            let opened = guest.open(root, file, oflags, READ).await;
            assert_eq!(opened, Err(errno::NOTCAPABLE), "{file} {oflags}");
        }
        assert_eq!(guest.open(root, file, 0, WRITE).await, Err(errno::NOTCAPABLE));
        assert_eq!(guest.open(root, "new", CREAT, READ).await, Err(errno::NOTCAPABLE));
        // All rights but to write: what is left of them reads.
        let fd = guest.open_with(root, file, 0, ALL & !WRITE, APPEND, 1).await.unwrap();
        assert_eq!(guest.read(fd, 99).await.unwrap(), b"contents");
        attempts_on_file(&mut guest, fd).await;
        for (from, to) in [(root, root), (root, 4)] {
            assert_eq!(guest.rename((from, file), (to, "y")).await, Err(errno::NOTCAPABLE));
            assert_eq!(guest.link((from, file), (to, "y")).await, Err(errno::NOTCAPABLE));
        }
        assert_eq!(guest.at("path_unlink_file", root, file).await, Err(errno::NOTCAPABLE));
        let times = (1, 1, 5);
        assert_eq!(guest.set_times(root, file, times, 1).await, Err(errno::NOTCAPABLE));
        assert_eq!(guest.set_times(root, file, times, 0).await, Err(errno::NOTCAPABLE));
    }
    for root in [3, sub] {
        assert_eq!(guest.at("path_create_directory", root, "new").await, Err(errno::NOTCAPABLE));
        assert_eq!(guest.at("path_remove_directory", root, "sub").await, Err(errno::NOTCAPABLE));
        assert_eq!(guest.symlink("x", root, "new").await, Err(errno::NOTCAPABLE));
        let args = [root, 1, 1, 5];
        assert_eq!(guest.run("fd_filestat_set_times", &args).await, Err(errno::NOTCAPABLE));
    }
    // Into it nothing comes from where all is allowed, either.
    guest.open(4, "mine", CREAT, ALL).await.unwrap();
    assert_eq!(guest.rename((4, "mine"), (3, "y")).await, Err(errno::NOTCAPABLE));
    assert_eq!(guest.link((4, "mine"), (3, "y")).await, Err(errno::NOTCAPABLE));
    assert_eq!(snapshot(&dir), before);
}

async fn attempts_on_file(guest: &mut Guest, fd: i64) {
    assert_eq!(guest.write(fd, b"x").await, Err(errno::NOTCAPABLE));
    assert_eq!(guest.pwrite(fd, b"x", 0).await, Err(errno::NOTCAPABLE));
    for (name, args) in [
        ("fd_allocate", &[fd, 0, 100][..]),
        ("fd_filestat_set_size", &[fd, 0]),
        ("fd_filestat_set_times", &[fd, 1, 1, 5]),
    ] {
        assert_eq!(guest.run(name, args).await, Err(errno::NOTCAPABLE), "{name}");
    }
    let rights = guest.run("fd_fdstat_set_rights", &[fd, ALL, ALL]).await;
    assert_eq!(rights, Err(errno::NOTCAPABLE));
}

#[tokio::test]
async fn files_that_may_only_be_read_do_not_move_to_where_they_may_be_written() {
    let (dir, other) = (tree(), tempdir().unwrap());
    let mutable = (&dir, DirPerms::all(), FilePerms::READ);
    let mut guest = guest(&[mutable, (&other, DirPerms::all(), FilePerms::all())]).await;
    // Names may change within the directory.
    assert_eq!(guest.rename((3, "file"), (3, "renamed")).await, Ok(()));
    assert_eq!(guest.link((3, "renamed"), (3, "again")).await, Ok(()));
    for path in ["renamed", "sub"] {
        assert_eq!(guest.rename((3, path), (4, "x")).await, Err(errno::NOTCAPABLE));
    }
    assert_eq!(guest.link((3, "renamed"), (4, "x")).await, Err(errno::NOTCAPABLE));
    assert_eq!(guest.open(3, "renamed", TRUNC, READ).await, Err(errno::NOTCAPABLE));
    assert_eq!(guest.open(3, "renamed", 0, WRITE).await, Err(errno::NOTCAPABLE));
    assert_eq!(guest.set_times(3, "renamed", (1, 1, 5), 1).await, Err(errno::NOTCAPABLE));
    // The other way nothing is gained.
    guest.open(4, "mine", CREAT, ALL).await.unwrap();
    assert_eq!(guest.rename((4, "mine"), (3, "mine")).await, Ok(()));
    // A file that is made here is empty, and stays so.
    let fd = guest.open(3, "new", CREAT, READ).await.unwrap();
    attempts_on_file(&mut guest, fd).await;
}

#[tokio::test]
async fn files_may_be_written_where_names_may_not_change() {
    let dir = tree();
    let mut guest = guest(&[(&dir, DirPerms::READ, FilePerms::all())]).await;
    let fd = guest.open(3, "file", TRUNC, ALL).await.unwrap();
    assert_eq!(guest.write(fd, b"new").await, Ok(3));
    assert_eq!(guest.run("fd_filestat_set_times", &[fd, 1, 1, 5]).await, Ok(()));
    assert_eq!(guest.open(3, "new", CREAT, ALL).await, Err(errno::NOTCAPABLE));
    assert_eq!(guest.at("path_unlink_file", 3, "file").await, Err(errno::NOTCAPABLE));
    assert_eq!(guest.run("fd_filestat_set_times", &[3, 1, 1, 5]).await, Err(errno::NOTCAPABLE));
    let sub = guest.open(3, "sub", DIRECTORY, ALL).await.unwrap();
    assert_eq!(guest.run("fd_filestat_set_times", &[sub, 1, 1, 5]).await, Err(errno::NOTCAPABLE));
}

#[tokio::test]
async fn a_directory_that_may_not_be_read_shows_nothing() {
    let dir = tree();
    let mut guest = guest(&[(&dir, DirPerms::empty(), FilePerms::all())]).await;
    let out = guest.room(100);
    assert_eq!(guest.open(3, "file", 0, READ).await, Err(errno::NOTCAPABLE));
    assert_eq!(guest.run("fd_readdir", &[3, out, 99, 0, out]).await, Err(errno::NOTCAPABLE));
    assert_eq!(guest.stat(3, "file", true).await, Err(errno::NOTCAPABLE));
    assert_eq!(guest.fstat(3).await, Err(errno::NOTCAPABLE));
    assert_eq!(guest.readlink(3, "link", 9).await, Err(errno::NOTCAPABLE));
}
