//! What the cache is told, and where it is by default.

use std::fs;
use std::path::{Path, PathBuf};

use lampwick::{Config, Engine};

use crate::alone;
use crate::cache::{Place, files, run};
use crate::support::directory;

#[test]
fn the_default_is_in_the_users_directories() {
    let place = Place::new();
    let (home, other) = (&*place.root, place.root.join("other"));
    let check = |expected: &Path| {
        let mut command =
            alone::command("cache_config::the_default_is_in_the_users_directories_child");
        command.env("HOME", home).env("LAMPWICK_TEST_PLACE", expected);
        command.env("XDG_CONFIG_HOME", home.join("config"));
        command.env("XDG_CACHE_HOME", home.join("caches"));
        alone::passed(command.output().unwrap());
    };
    check(&home.join("caches/lampwick"));
    let directory = home.join("config/lampwick");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("config.toml"), format!("[cache]\ndirectory = {other:?}")).unwrap();
    check(&other);
}

#[test]
#[ignore = "run by `the_default_is_in_the_users_directories`"]
fn the_default_is_in_the_users_directories_child() {
    let directory = PathBuf::from(std::env::var_os("LAMPWICK_TEST_PLACE").unwrap());
    let mut config = Config::new();
    run(&Engine::new(config.cache_config_load_default().unwrap()).unwrap(), 1);
    assert_eq!(files(&directory).len(), 1);
}

#[test]
fn a_cache_may_be_disabled() {
    let place = Place::new();
    run(&place.engine("enabled = false"), 1);
    assert!(!place.directory.exists());
}

#[test]
fn mistakes_in_the_configuration_are_named() {
    let (_directory, directory) = directory();
    let file = directory.join("config.toml");
    let load = |text: &str| {
        fs::write(&file, text).unwrap();
        Config::new().cache_config_load(&file).map(drop)
    };
    for (text, words) in [
        ("[cache]\nfile-limit = 5", "`file-limit`"),
        ("[cash]\nenabled = true", "`cash`"),
        ("", "`cache`"),
        ("[cache]\nenabled = 1", "boolean"),
        ("[cache]\ndirectory = \"here/there\"", "`here/there`"),
        ("[cache]\nfile-count-limit = 0", "`file-count-limit` is 0"),
        ("[cache]\nfile-count-limit = -1", "-1"),
        ("[cache]\nfiles-total-size-limit = 0", "`files-total-size-limit` is 0"),
        ("[cache]\nfiles-total-size-limit = -5", "number of bytes"),
        ("[cache]\nfiles-total-size-limit = \"512Mb\"", "number of bytes"),
        ("[cache]\nfiles-total-size-limit = \"99999999Ti\"", "number of bytes"),
        ("[cache\n", "line 1"),
    ] {
        let error = format!("{:#}", load(text).unwrap_err());
        assert!(error.contains(words) && error.contains(file.to_str().unwrap()), "{text}: {error}");
    }
    for size in ["1000", "\"1000\"", "\"5 K\"", "\"512Mi\"", "\"1Ti\""] {
        let directory = directory.join("cache");
        load(&format!("[cache]\ndirectory = {directory:?}\nfiles-total-size-limit = {size}"))
            .unwrap();
    }
    fs::remove_file(&file).unwrap();
    let error = format!("{:#}", Config::new().cache_config_load(&file).unwrap_err());
    assert!(error.contains("No such file"), "{error}");
}
