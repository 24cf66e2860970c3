//! Every public item has a test: `rows.txt` names them side by side.
//!
//! The items are found by parsing the sources, so that one without a row is seen; the tests, too,
//! so that a row cannot name one that is gone, or that lies in a file which never mentions the
//! item.

mod items;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const ROWS: &str = include_str!("rows.txt");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rows: an item, or a promise in quotes, and the test that is named beside it.
fn rows() -> Vec<(&'static str, &'static str)> {
    let lines = ROWS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let row = |line: &'static str| line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
    lines.map(row).map(|(item, test)| (item.trim_end(), test)).collect()
}

/// The source of a topic and the names of its tests.
struct Topic {
    source: String,
    tests: BTreeSet<String>,
}

fn topic(name: &str) -> Topic {
    let file = |path: PathBuf| std::fs::read_to_string(path).ok();
    let tests = root().join("tests");
    let source =
        file(tests.join(format!("{name}.rs"))).or_else(|| file(tests.join(name).join("mod.rs")));
    let source = source.unwrap_or_else(|| panic!("there is no topic {name}"));
    let parsed = syn::parse_file(&source).unwrap();
    let tests = parsed.items.iter().filter_map(|item| match item {
        syn::Item::Fn(function) if is_test(function) => Some(function.sig.ident.to_string()),
        _ => None,
    });
    Topic { tests: tests.collect(), source }
}

/// Whether the harness runs a function: one that is ignored is run by another test only.
fn is_test(function: &syn::ItemFn) -> bool {
    let is = |name: &str| {
        let last =
            |attribute: &syn::Attribute| attribute.path().segments.last().unwrap().ident == name;
        function.attrs.iter().any(last)
    };
    is("test") && !is("ignore")
}

#[test]
fn every_public_item_has_a_row() {
    let rows: BTreeSet<_> = rows().into_iter().map(|(item, _)| item).collect();
    let items = items::public(&root().join("src"));
    assert!(items.len() > 150, "the sources were not read: {items:?}");
    let missing: Vec<_> = items.iter().filter(|item| !rows.contains(item.as_str())).collect();
    assert!(missing.is_empty(), "without a row in rows.txt: {missing:#?}");
}

#[test]
fn every_row_names_a_test_that_mentions_the_item() {
    let mut topics = BTreeMap::new();
    let mut wrong = Vec::new();
    for (item, test) in rows() {
        let (name, function) = test.split_once("::").expect(test);
        let topic = topics.entry(name).or_insert_with(|| topic(name));
        let word = item.rsplit("::").next().unwrap();
        if !topic.tests.contains(function) {
            wrong.push(format!("{item}: there is no test {test}"));
        }
        if !item.starts_with('"') && !topic.source.contains(word) {
            wrong.push(format!("{item}: the file of {test} does not mention it"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_row_stands_twice() {
    let mut seen = BTreeSet::new();
    let twice: Vec<_> = rows().into_iter().filter(|(item, _)| !seen.insert(*item)).collect();
    assert!(twice.is_empty(), "{twice:#?}");
}
