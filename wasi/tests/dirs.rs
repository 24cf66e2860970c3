//! Functions that take paths, and listings.

use tempfile::tempdir;

use crate::support::*;

#[tokio::test]
async fn directories_are_made_and_removed() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::in_dir(&dir).await;
    assert_eq!(guest.at("path_create_directory", 3, "a").await, Ok(()));
    assert_eq!(guest.at("path_create_directory", 3, "a").await, Err(errno::EXIST));
    assert_eq!(guest.at("path_create_directory", 3, "b/c").await, Err(errno::NOENT));
    let a = guest.open(3, "a", DIRECTORY, ALL).await.unwrap();
    assert_eq!(guest.at("path_create_directory", a, "b").await, Ok(()));
    assert_eq!(guest.stat(3, "a/b", true).await.unwrap().filetype, 3);
    assert_eq!(guest.at("path_remove_directory", 3, "a").await, Err(errno::NOTEMPTY));
    assert_eq!(guest.at("path_unlink_file", 3, "a/b").await, Err(errno::ISDIR));
    assert_eq!(guest.at("path_remove_directory", 3, "a/b").await, Ok(()));
    assert_eq!(guest.at("path_remove_directory", 3, "a").await, Ok(()));
    assert_eq!(guest.at("path_remove_directory", 3, "a").await, Err(errno::NOENT));
    // The directory that is gone is still one, with nothing in it.
    assert_eq!(guest.at("path_create_directory", a, "b").await, Err(errno::NOENT));
    for name in ["path_create_directory", "path_remove_directory", "path_unlink_file"] {
        assert_eq!(guest.at(name, 9, "x").await, Err(errno::BADF), "{name}");
        assert_eq!(guest.at(name, 0, "x").await, Err(errno::NOTDIR), "{name}");
        assert_eq!(guest.at(name, 3, "").await, Err(errno::NOENT), "{name}");
    }
}

#[tokio::test]
async fn files_are_renamed_linked_and_unlinked() {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("a"), "a").unwrap();
    std::fs::write(dir.path().join("b"), "b").unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    let mut guest = Guest::in_dir(&dir).await;
    let sub = guest.open(3, "sub", DIRECTORY, ALL).await.unwrap();
    assert_eq!(guest.rename((3, "a"), (sub, "c")).await, Ok(()));
    assert_eq!(std::fs::read(dir.path().join("sub/c")).unwrap(), b"a");
    assert_eq!(guest.rename((3, "a"), (3, "d")).await, Err(errno::NOENT));
    assert_eq!(guest.rename((3, "b"), (3, "sub")).await, Err(errno::ISDIR));
    assert_eq!(guest.rename((9, "b"), (3, "x")).await, Err(errno::BADF));
    assert_eq!(guest.rename((3, "b"), (1, "x")).await, Err(errno::NOTDIR));

    assert_eq!(guest.link((3, "b"), (sub, "d")).await, Ok(()));
    assert_eq!(guest.stat(3, "b", true).await.unwrap().links, 2);
    assert_eq!(guest.link((3, "b"), (sub, "d")).await, Err(errno::EXIST));
    assert_eq!(guest.link((3, "none"), (sub, "e")).await, Err(errno::NOENT));
    assert_eq!(guest.link((9, "b"), (sub, "e")).await, Err(errno::BADF));
    assert_eq!(guest.link((3, "b"), (9, "e")).await, Err(errno::BADF));
    // A link is made to what the path names; where asked, to what a symbolic link there leads to.
    assert_eq!(guest.symlink("sub/../b", 3, "soft").await, Ok(()));
    assert_eq!(guest.link((3, "soft"), (sub, "to-link")).await, Ok(()));
    assert_eq!(guest.stat(sub, "to-link", false).await.unwrap().filetype, 7);
    assert_eq!(guest.link_with(1, (3, "soft"), (sub, "to-file")).await, Ok(()));
    assert_eq!(guest.stat(sub, "to-file", false).await.unwrap().links, 3);
    assert_eq!(guest.link_with(1, (3, "soft"), (sub, "to-file")).await, Err(errno::EXIST));
    assert_eq!(guest.symlink("nowhere", 3, "dangles").await, Ok(()));
    assert_eq!(guest.link_with(1, (3, "dangles"), (sub, "x")).await, Err(errno::NOENT));
    assert_eq!(guest.symlink("round", 3, "round").await, Ok(()));
    assert_eq!(guest.link_with(1, (3, "round"), (sub, "x")).await, Err(errno::LOOP));
    assert_eq!(guest.symlink("sub", 3, "to-sub").await, Ok(()));
    assert_eq!(guest.link_with(1, (3, "to-sub"), (3, "x")).await, Err(errno::PERM));
    for name in ["to-link", "to-file"] {
        assert_eq!(guest.at("path_unlink_file", sub, name).await, Ok(()));
    }

    assert_eq!(guest.at("path_unlink_file", 3, "b").await, Ok(()));
    assert_eq!(guest.at("path_unlink_file", 3, "b").await, Err(errno::NOENT));
    assert_eq!(guest.at("path_remove_directory", 3, "sub/d").await, Err(errno::NOTDIR));
    assert_eq!(guest.stat(sub, "d", true).await.unwrap().links, 1);
}

#[tokio::test]
async fn symbolic_links_are_made_read_and_followed_where_asked() {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "12345").unwrap();
    let mut guest = Guest::in_dir(&dir).await;
    assert_eq!(guest.symlink("file", 3, "link").await, Ok(()));
    assert_eq!(guest.symlink("file", 3, "link").await, Err(errno::EXIST));
    assert_eq!(guest.symlink("file", 9, "link").await, Err(errno::BADF));
    assert_eq!(guest.readlink(3, "link", 100).await.unwrap(), "file");
    assert_eq!(guest.readlink(3, "link", 2).await.unwrap(), "fi");
    assert_eq!(guest.readlink(3, "link", 0).await.unwrap(), "");
    assert_eq!(guest.readlink(3, "file", 9).await, Err(errno::INVAL));
    assert_eq!(guest.readlink(3, "none", 9).await, Err(errno::NOENT));
    let followed = guest.stat(3, "link", true).await.unwrap();
    assert_eq!((followed.filetype, followed.size), (4, 5));
    assert_eq!(guest.stat(3, "link", false).await.unwrap().filetype, 7);
    assert_eq!(guest.stat(3, "none", true).await, Err(errno::NOENT));

    assert!(guest.open_with(3, "link", 0, READ, 0, 1).await.is_ok());
    assert_eq!(guest.open_with(3, "link", 0, READ, 0, 0).await, Err(errno::LOOP));
    assert_eq!(guest.symlink("round", 3, "round").await, Ok(()));
    assert_eq!(guest.open(3, "round", 0, READ).await, Err(errno::LOOP));
    assert_eq!(guest.stat(3, "round/x", true).await, Err(errno::LOOP));

    let times = (7, 8, 1 | 4);
    assert_eq!(guest.set_times(3, "link", times, 0).await, Ok(()));
    assert_eq!(guest.stat(3, "link", false).await.unwrap().modified, 8);
    assert_ne!(guest.stat(3, "link", true).await.unwrap().modified, 8);
    assert_eq!(guest.set_times(3, "link", (5, 6, 1 | 4), 1).await, Ok(()));
    assert_eq!(guest.stat(3, "file", true).await.unwrap().modified, 6);
    assert_eq!(guest.stat(3, "link", false).await.unwrap().modified, 8);
    assert_eq!(guest.set_times(3, "none", times, 1).await, Err(errno::NOENT));
    assert_eq!(guest.set_times(3, "file", (0, 0, 3), 1).await, Err(errno::INVAL));
    assert_eq!(guest.set_times(9, "file", times, 1).await, Err(errno::BADF));
}

#[tokio::test]
async fn opening_tells_what_is_wrong() {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "12345").unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    let mut guest = Guest::in_dir(&dir).await;
    assert_eq!(guest.open(3, "none", 0, READ).await, Err(errno::NOENT));
    assert_eq!(guest.open(3, "", CREAT, ALL).await, Err(errno::NOENT));
    assert_eq!(guest.open(3, "file", DIRECTORY, READ).await, Err(errno::NOTDIR));
    assert_eq!(guest.open(3, "sub", 0, READ | WRITE).await, Err(errno::ISDIR));
    assert_eq!(guest.open(3, "file/x", 0, READ).await, Err(errno::NOTDIR));
    assert_eq!(guest.open(3, "file/", 0, READ).await, Err(errno::NOTDIR));
    assert!(guest.open(3, "new/", CREAT, ALL).await.is_err());
    assert!(!dir.path().join("new").exists());
    assert_eq!(guest.open(3, "sub", DIRECTORY | CREAT, ALL).await, Err(errno::INVAL));
    assert_eq!(guest.open(3, "file", 1 << 7, READ).await, Err(errno::INVAL));
    assert_eq!(guest.open(3, "fi\0le", 0, READ).await, Err(errno::INVAL));
    assert_eq!(guest.open(1, "file", 0, READ).await, Err(errno::NOTDIR));
    assert_eq!(guest.open(9, "file", 0, READ).await, Err(errno::BADF));
    assert_eq!(guest.open(3, &"x".repeat(256), 0, READ).await, Err(errno::NAMETOOLONG));
    let long = "x/".repeat(3000);
    assert_eq!(guest.open(3, &long, 0, READ).await, Err(errno::NAMETOOLONG));
    let (at, out) = (guest.put(b"\xff\xfe"), guest.room(4));
    let args = [3, 0, at, 2, 0, READ, 0, 0, out];
    assert_eq!(guest.run("path_open", &args).await, Err(errno::ILSEQ));

    let sub = guest.open(3, "sub", 0, ALL & !(WRITE | ALLOCATE | SET_SIZE)).await.unwrap();
    assert_eq!(guest.fstat(sub).await.unwrap().filetype, 3);
    let fd = guest.open(3, "file", TRUNC, ALL).await.unwrap();
    assert_eq!(guest.fstat(fd).await.unwrap().size, 0);
}

/// Names of a directory, with the kinds, read through a buffer of this size.
async fn list(guest: &mut Guest, fd: i64, len: usize) -> Result<Vec<(String, u8)>, i32> {
    let (mut cookie, mut names) = (0, Vec::new());
    loop {
        let (at, out) = (guest.room(len), guest.room(4));
        guest.run("fd_readdir", &[fd, at, len as i64, cookie, out]).await?;
        let filled = guest.u32(out) as usize;
        let bytes = guest.bytes(at, filled);
        let mut rest = &bytes[..];
        while rest.len() >= 24 {
            let name = u32::from_le_bytes(rest[16..20].try_into().unwrap()) as usize;
            let Some(name) = rest.get(24..24 + name) else { break };
            names.push((String::from_utf8(name.to_vec()).unwrap(), rest[20]));
            cookie = i64::from_le_bytes(rest[..8].try_into().unwrap());
            rest = &rest[24 + name.len()..];
        }
        if filled < len {
            return Ok(names);
        }
    }
}

#[tokio::test]
async fn a_directory_is_listed_whatever_the_buffer() {
    let dir = tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
    let mut expected =
        vec![(".".into(), 3), ("..".into(), 3), ("sub".into(), 3), ("link".into(), 7)];
    for i in 0..500 {
        let name = format!("{i}-{}", "n".repeat(i % 200));
        std::fs::write(dir.path().join(&name), "").unwrap();
        expected.push((name, 4));
    }
    expected.sort();
    let mut guest = Guest::in_dir(&dir).await;
    for len in [300, 4096, 100_000] {
        let mut names = list(&mut guest, 3, len).await.unwrap();
        assert_eq!(names[..2], [(".".into(), 3), ("..".into(), 3)]);
        names.sort();
        assert_eq!(names, expected, "a buffer of {len} bytes");
    }
    // Files that came meanwhile are there when it begins anew.
    std::fs::write(dir.path().join("zz"), "").unwrap();
    assert_eq!(list(&mut guest, 3, 9999).await.unwrap().len(), expected.len() + 1);
    // From a cookie that was not the last one.
    let (at, out) = (guest.room(100), guest.room(4));
    guest.run("fd_readdir", &[3, at, 100, 1, out]).await.unwrap();
    assert_eq!(guest.bytes(at + 24, 2), b"..");
    guest.run("fd_readdir", &[3, at, 100, -1, out]).await.unwrap();
    assert_eq!(guest.u32(out), 0);
    guest.run("fd_readdir", &[3, at, 0, 0, out]).await.unwrap();
    assert_eq!(guest.u32(out), 0);
    assert_eq!(list(&mut guest, 1, 100).await, Err(errno::NOTDIR));
    assert_eq!(list(&mut guest, 9, 100).await, Err(errno::BADF));
}

#[tokio::test]
async fn preopened_directories_are_found_by_their_names() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::in_dir(&dir).await;
    let out = guest.room(8);
    guest.run("fd_prestat_get", &[3, out]).await.unwrap();
    assert_eq!((guest.bytes(out, 1), guest.u32(out + 4)), (vec![0], 1));
    guest.run("fd_prestat_dir_name", &[3, out, 1]).await.unwrap();
    assert_eq!(guest.bytes(out, 1), b"/");
    assert_eq!(guest.run("fd_prestat_dir_name", &[3, out, 0]).await, Err(errno::NAMETOOLONG));
    let opened = guest.open(3, ".", DIRECTORY, ALL).await.unwrap();
    for fd in [0, opened, 9] {
        assert_eq!(guest.run("fd_prestat_get", &[fd, out]).await, Err(errno::BADF));
        assert_eq!(guest.run("fd_prestat_dir_name", &[fd, out, 9]).await, Err(errno::BADF));
    }
}
