//! Artifacts that do not fit, or are none.

use std::fs;

use lampwick::{
    Config, Engine, Module, ModuleLimits, ModuleVersionStrategy, OperatorClass, OperatorCosts,
    OptLevel, PoolLimitError,
};

use crate::pooling::pooling;
use crate::support::{Rng, engine, rounds};

const GUEST: &str = r#"(module (memory 1) (data (i32.const 0) "data")
    (func (export "f") (param i32) (result i32) (i32.load (local.get 0))))"#;

fn artifact(engine: &Engine) -> Vec<u8> {
    engine.precompile_module(GUEST.as_bytes()).unwrap()
}

/// Why bytes are refused; the empty text if they are not.
fn refusal(engine: &Engine, bytes: &[u8]) -> String {
    // SAFETY: what comes from artifacts of ours, or was damaged.
    match unsafe { Module::deserialize(engine, bytes) } {
        Ok(_) => String::new(),
        Err(error) => format!("{error:#}"),
    }
}

/// A change of a configuration.
type Set = fn(&mut Config) -> &mut Config;

fn with(set: Set) -> Engine {
    engine(|config| {
        set(config);
    })
}

fn same(config: &mut Config) -> &mut Config {
    config
}

fn version_one(config: &mut Config) -> &mut Config {
    config.module_version(ModuleVersionStrategy::Custom("one".to_owned())).unwrap()
}

fn version_two(config: &mut Config) -> &mut Config {
    config.module_version(ModuleVersionStrategy::Custom("two".to_owned())).unwrap()
}

fn any_version(config: &mut Config) -> &mut Config {
    config.module_version(ModuleVersionStrategy::None).unwrap()
}

fn without_sse42(config: &mut Config) -> &mut Config {
    // SAFETY: a machine can always do without.
    unsafe { config.cranelift_flag_set("has_sse42", "false") }.unwrap()
}

fn without_alias_analysis(config: &mut Config) -> &mut Config {
    // SAFETY: code is correct without.
    unsafe { config.cranelift_flag_set("enable_alias_analysis", "false") }.unwrap()
}

/// How the engine that makes an artifact differs, how the one that is given it, and what the
/// refusal must say.
const DIFFERENCES: &[(Set, Set, &[&str])] = &[
    (|c| c.consume_fuel(true), same, &["`consume_fuel`", "was `true`", "is `false`"]),
    (same, |c| c.consume_fuel(true), &["`consume_fuel`", "was `false`", "is `true`"]),
    (
        |c| c.consume_fuel(true).operator_cost(OperatorCosts::new().with(OperatorClass::Store, 9)),
        |c| c.consume_fuel(true),
        &["`operator_cost store`", "was `9`", "is `1`"],
    ),
    (|c| c.interruptable(true), same, &["`interruptable`"]),
    (|c| c.epoch_interruption(true), same, &["`epoch_interruption`"]),
    (
        |c| c.static_memory_maximum_size(1 << 20),
        same,
        &["`static_memory_maximum_size`", "`1048576`", "`4294967296`"],
    ),
    (|c| c.static_memory_guard_size(1 << 16), same, &["`static_memory_guard_size`", "`65536`"]),
    (same, |c| c.wasm_reference_types(false), &["`wasm reference_types`"]),
    (same, |c| c.wasm_multi_value(false), &["`wasm multi_value`"]),
    (|c| c.wasm_bulk_memory(false), same, &["`wasm bulk_memory`"]),
    (
        |c| c.cranelift_opt_level(OptLevel::None),
        same,
        &["`cranelift opt_level`", "`none`", "`speed`"],
    ),
    (
        |c| c.cranelift_nan_canonicalization(true),
        same,
        &["`cranelift enable_nan_canonicalization`"],
    ),
    (without_alias_analysis, same, &["`cranelift enable_alias_analysis`"]),
    (same, without_sse42, &["CPU feature `has_sse42`"]),
    (version_one, version_two, &["custom version `one`", "custom version `two`"]),
    (version_one, same, &["custom version `one`", "the engine is Lampwick 0.1.0"]),
    (any_version, same, &["without a name", "the engine is Lampwick 0.1.0"]),
];

#[test]
fn each_difference_is_named() {
    for &(maker, user, words) in DIFFERENCES {
        let refusal = refusal(&with(user), &artifact(&with(maker)));
        assert!(words.iter().all(|word| refusal.contains(word)), "{words:?}: {refusal}");
    }
}

#[test]
fn what_makes_no_difference_is_not_refused() {
    let host: Set = |c| {
        c.async_support(true).parallel_compilation(false).dynamic_memory_guard_size(1 << 20);
        c.cranelift_debug_verifier(false).guard_before_linear_memory(false);
        c.max_wasm_stack(1 << 16).unwrap()
    };
    for (maker, user) in [
        (version_one as Set, version_one as Set),
        (version_one, any_version),
        (same, any_version),
        (without_sse42, same),
        (host, same),
    ] {
        assert_eq!(refusal(&with(user), &artifact(&with(maker))), "");
    }
}

#[test]
fn pools_refuse_artifacts_beyond_their_limits() {
    let pool = |memory_pages| {
        let limits = ModuleLimits { memory_pages, ..ModuleLimits::default() };
        engine(|config| {
            config.allocation_strategy(pooling(2, limits));
        })
    };
    let artifact = artifact(&Engine::default());
    assert_eq!(refusal(&pool(1), &artifact), "");
    // SAFETY: an artifact of ours.
    let error = unsafe { Module::deserialize(&pool(0), &artifact) }.unwrap_err();
    assert!(error.is::<PoolLimitError>(), "{error:#}");
    assert!(format!("{error:#}").contains("memory_pages"), "{error:#}");
    // Nor does an engine compile what it could not use.
    assert!(pool(0).precompile_module(GUEST.as_bytes()).is_err());
}

#[test]
fn long_version_names_are_refused() {
    let name = |len| ModuleVersionStrategy::Custom("v".repeat(len));
    assert!(Config::new().module_version(name(255)).is_ok());
    let error = Config::new().module_version(name(256)).unwrap_err().to_string();
    assert!(error.contains("256 bytes") && error.contains("255"), "{error}");
}

#[test]
fn code_is_made_for_the_host_only() {
    for triple in ["x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl", "x86_64-linux"] {
        assert!(Config::new().target(triple).is_ok(), "{triple}");
    }
    for triple in ["aarch64-unknown-linux-gnu", "x86_64-pc-windows-msvc", "i686-unknown-linux-gnu"]
    {
        let error = Config::new().target(triple).unwrap_err().to_string();
        assert!(error.contains(triple) && error.contains("x86_64-unknown-linux"), "{error}");
    }
    let error = Config::new().target("commodore-64").unwrap_err().to_string();
    assert!(error.contains("commodore"), "{error}");
}

#[test]
fn modules_and_artifacts_are_told_apart() {
    let engine = Engine::default();
    let artifact = artifact(&engine);
    let wasm = b"\0asm\x01\0\0\0";
    for module in [&wasm[..], b"(module)", b"\n  (module)"] {
        let refusal = refusal(&engine, module);
        assert!(refusal.contains("`Module::new`"), "{refusal}");
    }
    for nothing in [&b""[..], b"\x7fELF", b"lampwick", &[0; 1000]] {
        let refusal = refusal(&engine, nothing);
        assert!(refusal.contains("no artifact of Lampwick"), "{refusal}");
    }
    // A text that holds our magic number where artifacts do.
    let text = format!(";;{:62}lampwick\n(module)", "");
    assert_eq!(text.find("lampwick"), Some(64));
    Module::new(&engine, text).unwrap();
    let errors = [
        Module::new(&engine, &artifact).unwrap_err(),
        Module::from_binary(&engine, &artifact).unwrap_err(),
        Module::validate(&engine, &artifact).unwrap_err(),
        engine.precompile_module(&artifact).unwrap_err(),
    ];
    for error in errors {
        assert!(format!("{error:#}").contains("`Module::deserialize`"), "{error:#}");
    }
}

#[test]
fn files_that_are_none_are_refused() {
    let engine = Engine::default();
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty");
    fs::write(&empty, "").unwrap();
    for (path, words) in [
        (empty.as_path(), "empty"),
        (directory.path(), "not a regular file"),
        (&directory.path().join("none"), "No such file"),
        (std::path::Path::new("/dev/zero"), "not a regular file"),
    ] {
        // SAFETY: there is no artifact.
        let error = unsafe { Module::deserialize_file(&engine, path) }.unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains(words) && error.contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn artifacts_cut_anywhere_are_refused() {
    let engine = Engine::default();
    let artifact = artifact(&engine);
    for len in 0..artifact.len() {
        assert_ne!(refusal(&engine, &artifact[..len]), "", "cut to {len} bytes");
    }
    let longer = [&artifact[..], b"\0"].concat();
    let refusal = refusal(&engine, &longer);
    let words = format!("has {} bytes, but should have {}", longer.len(), artifact.len());
    assert!(refusal.contains(&words), "{refusal}");
}

#[test]
fn damage_anywhere_is_found() {
    let engine = Engine::default();
    let mut artifact = artifact(&engine);
    for index in 0..artifact.len() {
        for bits in [1, 0xff] {
            artifact[index] ^= bits;
            assert_ne!(refusal(&engine, &artifact), "", "byte {index}");
            artifact[index] ^= bits;
        }
    }
    let mut random = Rng::new("damage_anywhere_is_found");
    for _ in 0..rounds(200) {
        let mut damaged = artifact.clone();
        for _ in 0..1 + random.below(20) {
            let index = random.below(damaged.len() as u64) as usize;
            damaged[index] = random.next() as u8;
        }
        let refusal = refusal(&engine, &damaged);
        assert!(!refusal.is_empty() || damaged == artifact);
    }
    assert_eq!(refusal(&engine, &artifact), "");
}
