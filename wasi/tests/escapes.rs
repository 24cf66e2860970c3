//! Ways out of a preopened directory, all of which are closed.

use std::os::unix::fs::symlink;

use tempfile::{TempDir, tempdir};

use crate::support::*;

/// A directory `inside`, with a file beside it that must never be seen.
fn jail() -> (TempDir, std::path::PathBuf) {
    let dir = tempdir().unwrap();
    let inside = dir.path().join("inside");
    std::fs::create_dir_all(inside.join("sub/deep")).unwrap();
    std::fs::write(dir.path().join("secret"), "secret").unwrap();
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    std::fs::write(inside.join("file"), "public").unwrap();
    (dir, inside)
}

async fn prisoner(inside: &std::path::Path) -> Guest {
    use lampwick_wasi::{DirPerms, FilePerms, WasiCtxBuilder};
    let mut builder = WasiCtxBuilder::new();
    builder.preopened_dir(inside, "/", DirPerms::all(), FilePerms::all()).unwrap();
    Guest::new(&mut builder).await
}

/// Tries each function on a path that leads to something outside.
async fn refused_everywhere(guest: &mut Guest, root: i64, path: &str) {
    let refused = |what: &str, result: Result<(), i32>| {
        assert!(
            matches!(
                result,
                Err(errno::PERM | errno::NOENT | errno::NOTDIR | errno::LOOP | errno::ISDIR)
            ),
            "{what} {path}: {result:?}"
        );
    };
    for oflags in [0, DIRECTORY, CREAT, TRUNC, CREAT | EXCL] {
        for rights in [READ, READ | WRITE] {
            let opened = guest.open(root, path, oflags, rights).await.map(drop);
            // Where a link itself is what there already is.
            if oflags & EXCL == 0 || opened != Err(errno::EXIST) {
                refused("open", opened);
            }
        }
    }
    refused("stat", guest.stat(root, path, true).await.map(drop));
    refused("times", guest.set_times(root, path, (1, 1, 5), 1).await);
}

/// Functions that do not follow a link at the end, so that only the way there can lead outside.
async fn refused_by_name(guest: &mut Guest, root: i64, path: &str) {
    refused_everywhere(guest, root, path).await;
    let denied = Err(errno::PERM);
    assert_eq!(guest.at("path_create_directory", root, path).await, denied, "{path}");
    assert_eq!(guest.at("path_unlink_file", root, path).await, denied, "{path}");
    assert_eq!(guest.at("path_remove_directory", root, path).await, denied, "{path}");
    assert_eq!(guest.rename((root, path), (3, "x")).await, denied, "{path}");
    assert_eq!(guest.rename((3, "file"), (root, path)).await, denied, "{path}");
    assert_eq!(guest.link((root, path), (3, "x")).await, denied, "{path}");
    assert_eq!(guest.link((3, "file"), (root, path)).await, denied, "{path}");
    assert_eq!(guest.symlink("file", root, path).await, denied, "{path}");
    assert_eq!(guest.readlink(root, path, 99).await, Err(errno::PERM), "{path}");
    assert_eq!(guest.stat(root, path, false).await, Err(errno::PERM), "{path}");
    assert_eq!(guest.set_times(root, path, (1, 1, 5), 0).await, denied, "{path}");
}

#[tokio::test]
async fn no_name_leads_outside() {
    let (dir, inside) = jail();
    let mut guest = prisoner(&inside).await;
    let sub = guest.open(3, "sub", DIRECTORY, ALL).await.unwrap();
    for path in [
        "../secret",
        "../empty",
        "sub/../../secret",
        "sub/deep/../../../secret",
        "./.././secret",
        "..//secret",
        "sub/../sub/../../secret",
        "/etc/passwd",
        "/proc/self/environ",
        "//etc/passwd",
    ] {
        refused_by_name(&mut guest, 3, path).await;
    }
    let secret = dir.path().join("secret");
    refused_by_name(&mut guest, 3, secret.to_str().unwrap()).await;
    // A directory that was opened is no better a start, and does not lead to the first one.
    for path in ["../file", "../../secret", "deep/../../file", "/file"] {
        refused_by_name(&mut guest, sub, path).await;
    }
    for path in ["..", "../", "../.", "../inside", "../inside/file"] {
        assert_eq!(guest.open(3, path, 0, READ).await, Err(errno::PERM), "{path}");
        assert_eq!(guest.stat(3, path, false).await, Err(errno::PERM), "{path}");
    }
    assert_eq!(std::fs::read(secret).unwrap(), b"secret");
    assert_eq!(guest.open(3, "sub/deep/../../file", 0, READ).await, Ok(5));
}

#[tokio::test]
async fn no_link_leads_outside() {
    let (dir, inside) = jail();
    let secret = dir.path().join("secret");
    symlink("../secret", inside.join("up")).unwrap();
    symlink(&secret, inside.join("absolute")).unwrap();
    symlink("..", inside.join("parent")).unwrap();
    symlink("sub/../../secret", inside.join("winding")).unwrap();
    symlink("up", inside.join("chain")).unwrap();
    symlink("/proc/self/root/etc/passwd", inside.join("proc")).unwrap();
    symlink("/", inside.join("root")).unwrap();
    let mut guest = prisoner(&inside).await;
    for path in ["up", "absolute", "winding", "chain", "proc", "up/", "absolute/"] {
        refused_everywhere(&mut guest, 3, path).await;
    }
    for path in ["parent/secret", "parent/new", "root/etc/passwd", "proc/x", "chain/x"] {
        refused_everywhere(&mut guest, 3, path).await;
        assert!(guest.at("path_create_directory", 3, path).await.is_err(), "{path}");
        assert!(guest.at("path_unlink_file", 3, path).await.is_err(), "{path}");
        assert!(guest.rename((3, path), (3, "x")).await.is_err(), "{path}");
        assert!(guest.rename((3, "file"), (3, path)).await.is_err(), "{path}");
        assert!(guest.link((3, path), (3, "x")).await.is_err(), "{path}");
    }
    // Where an absolute link leads the guest does not even learn.
    assert_eq!(guest.readlink(3, "absolute", 99).await, Err(errno::PERM));
    // Links that it makes itself are worth no more.
    assert_eq!(guest.symlink("/etc", 3, "mine").await, Err(errno::PERM));
    assert_eq!(guest.symlink("../secret", 3, "sub/mine").await, Ok(()));
    assert_eq!(guest.symlink("../../secret", 3, "sub/out").await, Ok(()));
    assert_eq!(guest.open(3, "sub/mine", 0, READ).await, Err(errno::NOENT));
    refused_everywhere(&mut guest, 3, "sub/out").await;
    // A link moved up leads further up.
    assert_eq!(guest.rename((3, "sub/mine"), (3, "moved")).await, Ok(()));
    refused_everywhere(&mut guest, 3, "moved").await;
    // The link itself may be moved, removed, or replaced.
    assert_eq!(guest.at("path_unlink_file", 3, "up").await, Ok(()));
    assert_eq!(guest.rename((3, "file"), (3, "chain")).await, Ok(()));
    assert_eq!(std::fs::read(secret).unwrap(), b"secret");
    assert!(dir.path().join("empty").read_dir().unwrap().next().is_none());
}

#[tokio::test]
async fn a_directory_of_proc_is_no_way_to_what_is_open() {
    use lampwick_wasi::{DirPerms, FilePerms, WasiCtxBuilder};
    let secret = tempdir().unwrap();
    std::fs::write(secret.path().join("secret"), "secret").unwrap();
    let open = std::fs::File::open(secret.path().join("secret")).unwrap();
    let mut builder = WasiCtxBuilder::new();
    builder.preopened_dir("/proc/self", "/", DirPerms::READ, FilePerms::READ).unwrap();
    let mut guest = Guest::new(&mut builder).await;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&open);
    // These links lead to open files, whatever their text says.
    for path in [&format!("fd/{fd}")[..], "root", "cwd", "exe", "root/etc/passwd"] {
        assert!(guest.open(3, path, 0, READ).await.is_err(), "{path}");
        assert!(guest.stat(3, path, true).await.is_err(), "{path}");
    }
    assert!(guest.open(3, "status", 0, READ).await.is_ok());
}
