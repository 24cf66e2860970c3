//! The compilation cache: found again, replaced when it cannot be believed, bounded.

use std::fs::{self, File, Permissions};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lampwick::{Config, Engine, Instance, Module, OperatorClass, OperatorCosts, Store};
use tempfile::TempDir;

use crate::alone;
use crate::support::{Rng, directory};

/// A cache's directory, within one that is deleted in the end.
pub(crate) struct Place {
    _deleted: TempDir,
    pub(crate) root: PathBuf,
    pub(crate) directory: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let (_deleted, root) = directory();
        // Neither exists yet.
        let directory = root.join("some/cache");
        Self { _deleted, root, directory }
    }

    /// A configuration whose cache is here, with more lines.
    fn config(&self, lines: &str) -> Config {
        let file = self.root.join("config.toml");
        fs::write(&file, format!("[cache]\ndirectory = {:?}\n{lines}", self.directory)).unwrap();
        let mut config = Config::new();
        config.cache_config_load(file).unwrap();
        config
    }

    pub(crate) fn engine(&self, lines: &str) -> Engine {
        Engine::new(&self.config(lines)).unwrap()
    }

    /// All files, with their sizes.
    fn files(&self) -> Vec<(PathBuf, u64)> {
        files(&self.directory)
    }

    /// The only file.
    fn entry(&self) -> PathBuf {
        let files = self.files();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].0.clone()
    }

    fn mode(&self, path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }
}

pub(crate) fn files(directory: &Path) -> Vec<(PathBuf, u64)> {
    // Other processes may remove some while we look.
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter_map(|path| Some((path.clone(), fs::symlink_metadata(path).ok()?.len())))
        .collect()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A guest that answers this number.
fn guest(number: i32) -> String {
    format!(r#"(module (func (export "f") (result i32) i32.const {number}))"#)
}

/// The same as a binary, with so much data that it takes some time to write it.
fn large_guest(number: i32) -> Vec<u8> {
    let data = format!(r#"(data "{}")"#, "x".repeat(100_000));
    wat::parse_str(guest(number).replacen("(module", &format!("(module {data}"), 1)).unwrap()
}

/// Makes a guest's module, and checks what it answers.
pub(crate) fn run(engine: &Engine, number: i32) -> Module {
    run_bytes(engine, guest(number).as_bytes(), number)
}

fn run_bytes(engine: &Engine, guest: &[u8], number: i32) -> Module {
    let module = Module::new(engine, guest).unwrap();
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let f = instance.get_typed_func::<(), i32, _>(&mut store, "f").unwrap();
    assert_eq!(f.call(&mut store, ()).unwrap(), number);
    module
}

/// Whether a guest's module comes from this file: a mapped artifact, not one just compiled.
fn is_mapped(engine: &Engine, number: i32, entry: &Path) -> bool {
    let _module = run(engine, number);
    // The name of a file that was replaced ends differently.
    let entry = entry.to_str().unwrap();
    fs::read_to_string("/proc/self/maps").unwrap().lines().any(|line| line.ends_with(entry))
}

#[test]
fn what_was_compiled_once_is_found_again() {
    let place = Place::new();
    let first = place.engine("");
    assert_eq!(place.files(), []);
    run(&first, 5);
    let entry = place.entry();
    assert!(is_mapped(&first, 5, &entry));
    // By other engines, and from the binary format, too.
    assert!(is_mapped(&place.engine(""), 5, &entry));
    Module::new(&first, wat::parse_str(guest(5)).unwrap()).unwrap();
    assert_eq!(place.entry(), entry);
    assert!(!is_mapped(&Engine::default(), 5, &entry), "without a cache");
}

#[test]
fn each_module_and_configuration_has_its_own_entry() {
    let place = Place::new();
    let engine = place.engine("");
    run(&engine, 1);
    run(&engine, 2);
    assert_eq!(place.files().len(), 2);
    let other = Engine::new(place.config("").epoch_interruption(true)).unwrap();
    Module::new(&other, guest(1)).unwrap();
    assert_eq!(place.files().len(), 3);
    let metered = |costs| {
        let mut config = place.config("");
        Engine::new(config.consume_fuel(true).operator_cost(costs)).unwrap()
    };
    let dear = OperatorCosts::new().with(OperatorClass::Call, 9);
    for (costs, entries) in [(OperatorCosts::new(), 4), (dear.clone(), 5), (dear, 5)] {
        Module::new(&metered(costs), guest(1)).unwrap();
        assert_eq!(place.files().len(), entries);
    }
    // What compiled code does not depend on makes no difference.
    let same = Engine::new(place.config("").async_support(true)).unwrap();
    Module::new(&same, guest(1)).unwrap();
    assert!(Module::new(&same, "(module (func i32.add))").is_err());
    assert_eq!(place.files().len(), 5);
}

#[test]
fn the_files_are_their_owners_alone() {
    let place = Place::new();
    run(&place.engine(""), 1);
    assert_eq!(place.mode(&place.directory), 0o700);
    assert_eq!(place.mode(&place.entry()), 0o600);
}

#[test]
fn directories_that_others_may_write_to_are_refused() {
    let place = Place::new();
    fs::create_dir_all(&place.directory).unwrap();
    for mode in [0o777, 0o720, 0o702, 0o1777] {
        set_mode(&place.directory, mode);
        let error = format!("{:#}", Engine::new(&place.config("")).unwrap_err());
        let words = [place.directory.to_str().unwrap(), &format!("mode {mode:04o}")];
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    set_mode(&place.directory, 0o755);
    run(&place.engine(""), 1);
    fs::remove_dir_all(&place.directory).unwrap();
    fs::write(&place.directory, "").unwrap();
    let error = format!("{:#}", Engine::new(&place.config("")).unwrap_err());
    assert!(error.contains("cannot make the directory"), "{error}");
}

#[test]
fn entries_that_others_may_write_to_are_replaced() {
    let place = Place::new();
    let engine = place.engine("");
    run(&engine, 1);
    let entry = place.entry();
    for mode in [0o620, 0o602] {
        set_mode(&entry, mode);
        assert!(!is_mapped(&engine, 1, &entry));
        assert_eq!(place.mode(&entry), 0o600);
        assert!(is_mapped(&engine, 1, &entry));
    }
    // One that leads elsewhere, even to a good one.
    let elsewhere = place.root.join("elsewhere");
    fs::rename(&entry, &elsewhere).unwrap();
    symlink(&elsewhere, &entry).unwrap();
    assert!(!is_mapped(&engine, 1, &elsewhere));
    assert!(is_mapped(&engine, 1, &entry));
    // Another user's; only root can give files away.
    if std::os::unix::fs::chown(&entry, Some(12_345), None).is_ok() {
        assert!(!is_mapped(&engine, 1, &entry));
        assert!(is_mapped(&engine, 1, &entry));
    }
}

#[test]
fn damaged_and_foreign_entries_are_replaced() {
    let place = Place::new();
    let engine = place.engine("");
    run(&engine, 1);
    let entry = place.entry();
    let good = fs::read(&entry).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let foreign = crate::support::metered().precompile_module(guest(1).as_bytes()).unwrap();
    let cut = &good[..good.len() - 1];
    for bad in [&flipped[..], cut, b"", b"\0asm\x01\0\0\0", &foreign] {
        // In a file of its own: what is mapped must not change.
        fs::remove_file(&entry).unwrap();
        fs::write(&entry, bad).unwrap();
        set_mode(&entry, 0o600);
        let mut former = File::open(&entry).unwrap();
        assert!(!is_mapped(&engine, 1, &entry));
        assert!(fs::read(&entry).unwrap() == good);
        // Nor does the cache change what somebody may have mapped.
        let mut bytes = Vec::new();
        former.read_to_end(&mut bytes).unwrap();
        assert!(bytes == bad);
    }
}

#[test]
fn entries_under_other_names_are_replaced() {
    let place = Place::new();
    let engine = place.engine("");
    run(&engine, 1);
    let first = place.entry();
    run(&engine, 2);
    let second = place.files().into_iter().map(|(path, _)| path).find(|path| *path != first);
    let second = second.unwrap();
    fs::rename(&first, &second).unwrap();
    // They answer different numbers.
    run(&engine, 2);
    run(&engine, 1);
    assert!(is_mapped(&engine, 1, &first) && is_mapped(&engine, 2, &second));
    // What comes from a cache is an artifact like any other.
    let module = Module::new(&engine, guest(1)).unwrap();
    assert!(module.serialize().unwrap() == engine.precompile_module(guest(1).as_bytes()).unwrap());
}

#[test]
fn what_goes_wrong_with_files_does_not_matter() {
    let place = Place::new();
    let engine = place.engine("");
    run(&engine, 1);
    let entry = place.entry();
    // Something that cannot be replaced by a file.
    fs::remove_file(&entry).unwrap();
    fs::create_dir(&entry).unwrap();
    run(&engine, 1);
    assert_eq!(place.entry(), entry);
    // Root writes here all the same.
    set_mode(&place.directory, 0o500);
    run(&engine, 2);
    set_mode(&place.directory, 0o700);
    fs::remove_dir_all(&place.directory).unwrap();
    run(&engine, 1);
    assert!(!place.directory.exists());
}

#[test]
fn what_was_used_longest_ago_is_evicted() {
    let place = Place::new();
    let engine = place.engine("file-count-limit = 10");
    let mut entries: Vec<PathBuf> = Vec::new();
    for number in 0..10 {
        run(&engine, number);
        let is_new = |path: &PathBuf| !entries.contains(path);
        let new = place.files().into_iter().map(|(path, _)| path).find(is_new).unwrap();
        let used = SystemTime::now() - Duration::from_secs(1000 - number as u64);
        File::open(&new).unwrap().set_modified(used).unwrap();
        entries.push(new);
    }
    // Using the oldest makes it the youngest; then there is one too many, and 7 of 10 are left.
    run(&engine, 0);
    run(&engine, 10);
    assert_eq!(place.files().len(), 7);
    let left = |number: usize| entries[number].exists();
    assert!(left(0) && (1..=4).all(|number| !left(number)) && (5..10).all(left));
}

#[test]
fn sizes_are_bounded() {
    let place = Place::new();
    run(&place.engine(""), 0);
    let size = place.files()[0].1;
    let limit = 5 * size;
    let engine = place.engine(&format!("files-total-size-limit = {limit}"));
    for number in 1..30 {
        run(&engine, number);
        let total: u64 = place.files().iter().map(|(_, size)| size).sum();
        assert!(total <= limit && total > 0, "{total} bytes");
    }
    // What is larger than the whole cache is not kept, and nothing is evicted for it.
    let before = place.files();
    let large =
        format!(r#"(module (memory 10) (data (i32.const 0) "{}"))"#, "x".repeat(limit as usize));
    Module::new(&engine, large).unwrap();
    assert_eq!(place.files(), before);
}

#[test]
fn only_files_of_the_cache_are_removed() {
    let place = Place::new();
    let engine = place.engine("file-count-limit = 1");
    run(&engine, 1);
    let old = SystemTime::now() - Duration::from_secs(4000);
    for (name, used) in
        [(".unfinished-old", old), (".unfinished-new", SystemTime::now()), ("notes", old)]
    {
        let path = place.directory.join(name);
        fs::write(&path, "something").unwrap();
        File::open(path).unwrap().set_modified(used).unwrap();
    }
    run(&engine, 2);
    let exists = |name: &str| place.directory.join(name).exists();
    assert!(!exists(".unfinished-old") && exists(".unfinished-new") && exists("notes"));
    assert_eq!(place.files().len(), 3);
}

#[test]
fn threads_may_compile_the_same_at_a_time() {
    let place = Place::new();
    let engine = place.engine("file-count-limit = 3");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let engine = &engine;
            scope.spawn(move || (0..40).for_each(|round| drop(run(engine, (round + thread) % 5))));
        }
    });
    assert!(place.files().len() <= 3 + 4, "{:?}", place.files());
}

const LIMIT: usize = 4;
const PROCESSES: usize = 4;

#[test]
fn processes_may_share_a_cache() {
    let place = Place::new();
    place.config(&format!("file-count-limit = {LIMIT}"));
    let children: Vec<_> = (0..PROCESSES)
        .map(|_| {
            let mut command = alone::command("cache::processes_may_share_a_cache_child");
            command.env("LAMPWICK_TEST_PLACE", &place.root);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    for child in children {
        alone::passed(child.wait_with_output().unwrap());
    }
    let files = place.files();
    assert!(files.len() <= LIMIT + PROCESSES, "{files:?}");
    // All are whole, and nothing unfinished is left.
    let engine = Engine::default();
    for (path, _) in files {
        // SAFETY: nobody changes it any more.
        unsafe { Module::deserialize_file(&engine, path) }.unwrap();
    }
}

#[test]
#[ignore = "run by `processes_may_share_a_cache`"]
fn processes_may_share_a_cache_child() {
    let root = PathBuf::from(std::env::var_os("LAMPWICK_TEST_PLACE").unwrap());
    let mut config = Config::new();
    config.cache_config_load(root.join("config.toml")).unwrap();
    let engine = Engine::new(&config).unwrap();
    let mut random = Rng::new("processes_may_share_a_cache");
    let mut living: Vec<Module> = Vec::new();
    let guests: Vec<Vec<u8>> = (0..12).map(large_guest).collect();
    for _ in 0..60 {
        let number = random.below(12) as usize;
        living.push(run_bytes(&engine, &guests[number], number as i32));
        if living.len() > 5 {
            living.remove(random.below(5) as usize);
        }
        // One for each process that is between making room and filling it, or writing.
        let files = files(&root.join("some/cache"));
        assert!(files.len() <= LIMIT + 2 * PROCESSES, "{files:?}");
        // Whenever an entry is there, all of it is.
        let is_entry = |path: &PathBuf| !path.to_str().unwrap().contains(".unfinished-");
        for path in files.into_iter().map(|(path, _)| path).filter(is_entry) {
            // Unless it was just evicted.
            let Ok(entry) = fs::read(path) else { continue };
            // SAFETY: an artifact of ours.
            unsafe { Module::deserialize(&engine, entry) }.unwrap();
        }
    }
}
