//! What the generator may use: the proposals that the interpreter implements, too, and those that only
//! we do.

/// A proposal, and how it is turned on.
pub struct Proposal {
    /// Its name.
    pub name: &'static str,
    /// Lets the generator use it.
    pub generate: fn(&mut wasm_smith::Config),
    /// Lets our engines accept it.
    pub ours: fn(&mut lampwick::Config) -> &mut lampwick::Config,
    /// Lets the interpreter accept it.
    pub theirs: fn(&mut wasmi::Config) -> &mut wasmi::Config,
}

/// All of them. A module uses some, which ones is up to its bytes; engines accept all.
///
/// A proposal that is on by default needs nothing in `ours` and `theirs`.
pub const PROPOSALS: &[Proposal] = &[
    Proposal {
        name: "saturating conversions",
        generate: |config| config.saturating_float_to_int_enabled = true,
        ours: |config| config,
        theirs: |config| config,
    },
    Proposal {
        name: "sign extension",
        generate: |config| config.sign_extension_ops_enabled = true,
        ours: |config| config,
        theirs: |config| config,
    },
    Proposal {
        name: "multi-value",
        generate: |config| config.multi_value_enabled = true,
        ours: |config| config,
        theirs: |config| config,
    },
    Proposal {
        name: "bulk memory",
        generate: |config| config.bulk_memory_enabled = true,
        ours: |config| config,
        theirs: |config| config,
    },
    Proposal {
        name: "reference types",
        generate: |config| {
            config.reference_types_enabled = true;
            config.max_tables = 3;
        },
        ours: |config| config,
        theirs: |config| config,
    },
    Proposal {
        name: "vectors",
        generate: |config| config.simd_enabled = true,
        ours: |config| config,
        theirs: |config| config.wasm_simd(true),
    },
    Proposal {
        name: "several memories",
        generate: |config| config.max_memories = 3,
        ours: |config| config.wasm_multi_memory(true),
        theirs: |config| config.wasm_multi_memory(true),
    },
    Proposal {
        name: "tail calls",
        generate: |config| config.tail_call_enabled = true,
        ours: |config| config,
        theirs: |config| config.wasm_tail_call(true),
    },
    Proposal {
        name: "extended constant expressions",
        generate: |config| config.extended_const_enabled = true,
        ours: |config| config.wasm_extended_const(true),
        theirs: |config| config.wasm_extended_const(true),
    },
    Proposal {
        name: "64-bit memories and tables",
        generate: |config| config.memory64_enabled = true,
        ours: |config| config.wasm_memory64(true),
        theirs: |config| config.wasm_memory64(true),
    },
    Proposal {
        name: "custom page sizes",
        generate: |config| config.custom_page_sizes_enabled = true,
        ours: |config| config.wasm_custom_page_sizes(true),
        theirs: |config| config.wasm_custom_page_sizes(true),
    },
    Proposal {
        name: "relaxed vectors, of the deterministic profile",
        generate: |config| config.relaxed_simd_enabled = true,
        ours: |config| config.wasm_relaxed_simd(true).relaxed_simd_deterministic(true),
        theirs: |config| config.wasm_relaxed_simd(true),
    },
];

/// A proposal that the interpreter has not.
pub struct Own {
    /// Its name.
    pub name: &'static str,
    /// Lets the generator use it.
    pub generate: fn(&mut wasm_smith::Config),
    /// Lets our engines accept it.
    pub ours: fn(&mut lampwick::Config) -> &mut lampwick::Config,
}

/// All of them.
pub const OWN: &[Own] = &[
    Own {
        name: "typed references, structs and arrays",
        generate: |config| {
            // The generator wants references of any kind with them.
            config.reference_types_enabled = true;
            config.gc_enabled = true;
            config.max_types = 20;
        },
        ours: |config| config.wasm_function_references(true).wasm_gc(true),
    },
    Own {
        name: "exceptions",
        generate: |config| {
            config.exceptions_enabled = true;
            config.max_tags = 4;
        },
        ours: |config| config.wasm_exceptions(true),
    },
    Own {
        name: "atomic accesses",
        generate: |config| config.threads_enabled = true,
        ours: |config| config.wasm_threads(true),
    },
];

/// A generator's configuration without any of them.
pub(crate) fn none() -> wasm_smith::Config {
    wasm_smith::Config {
        saturating_float_to_int_enabled: false,
        sign_extension_ops_enabled: false,
        multi_value_enabled: false,
        bulk_memory_enabled: false,
        reference_types_enabled: false,
        simd_enabled: false,
        relaxed_simd_enabled: false,
        tail_call_enabled: false,
        extended_const_enabled: false,
        memory64_enabled: false,
        threads_enabled: false,
        exceptions_enabled: false,
        gc_enabled: false,
        compact_imports_enabled: false,
        wide_arithmetic_enabled: false,
        max_memories: 1,
        max_tables: 1,
        ..wasm_smith::Config::default()
    }
}
