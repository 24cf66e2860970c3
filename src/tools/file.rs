//! Files with names that anybody can guess, in directories that anybody may write to.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Creates a file, or empties the one that is there, if it is one of ours: a process that had the
/// same id may have left it. Whoever put a link there wants something else to be overwritten.
///
/// # Errors
///
/// Fails if the file cannot be created, or if what is there is no file, belongs to another user,
/// or has another name.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        // A pipe must not keep us waiting.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    let owner = rustix::process::geteuid().as_raw();
    if !metadata.is_file() || metadata.uid() != owner || metadata.nlink() != 1 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "what is there is no file of this user's",
        ));
    }
    file.set_len(0)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_what_is_ours_is_overwritten() {
        let folder = std::env::temp_dir().join(format!("lampwick-file-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = |name: &str| folder.join(name);
        fs::write(path("victim"), "precious").unwrap();
        symlink(path("victim"), path("link")).unwrap();
        symlink(path("nothing"), path("dangling")).unwrap();
        fs::hard_link(path("victim"), path("second name")).unwrap();
        fs::create_dir(path("folder")).unwrap();
        for name in ["link", "dangling", "second name", "folder"] {
            create(&path(name)).expect_err(name);
        }
        assert_eq!(fs::read_to_string(path("victim")).unwrap(), "precious");
        assert!(!path("nothing").exists());

        create(&path("new")).unwrap().write_all(b"old and long").unwrap();
        create(&path("new")).unwrap().write_all(b"new").unwrap();
        assert_eq!(fs::read_to_string(path("new")).unwrap(), "new");
        assert_eq!(fs::metadata(path("new")).unwrap().mode() & 0o777, 0o600);
        fs::remove_dir_all(&folder).unwrap();
    }
}
