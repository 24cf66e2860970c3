//! The public items of the crate, read from its sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::{ImplItem, Item, TraitItem, UseTree, Visibility};

/// Everything that the crate's root exports: `Type::method` for the methods of types and traits,
/// and those without methods by their name.
///
/// What macros make is not seen; their rows stand in the table all the same.
pub(crate) fn public(src: &Path) -> BTreeSet<String> {
    let exported = exported(&parse(&src.join("lib.rs")));
    let mut items = BTreeSet::new();
    let mut files = Vec::new();
    sources(src, &mut files);
    for file in &files {
        for item in all_items(file) {
            add(item, &exported, &mut items);
        }
    }
    // What has methods is named by them.
    let has_methods = |name: &String| {
        items
            .range(format!("{name}::")..)
            .next()
            .is_some_and(|item| item.starts_with(&format!("{name}::")))
    };
    let others: Vec<String> = exported.into_values().filter(|name| !has_methods(name)).collect();
    items.extend(others);
    items
}

fn parse(path: &Path) -> syn::File {
    let source = std::fs::read_to_string(path).unwrap();
    syn::parse_file(&source).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sources(folder: &Path, files: &mut Vec<syn::File>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(parse(&path));
        }
    }
}

/// The items of a file and of the modules in it.
fn all_items(file: &syn::File) -> Vec<&Item> {
    let mut items: Vec<&Item> = file.items.iter().collect();
    let mut next = 0;
    while let Some(item) = items.get(next) {
        if let Item::Mod(syn::ItemMod { content: Some((_, inner)), .. }) = item {
            items.extend(inner);
        }
        next += 1;
    }
    items
}

/// The names that the root re-exports: as the sources call them, and as users do.
fn exported(root: &syn::File) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for item in all_items(root) {
        if let Item::Use(item) = item
            && matches!(item.vis, Visibility::Public(_))
        {
            leaves(&item.tree, &mut names);
        }
    }
    names
}

fn leaves(tree: &UseTree, names: &mut BTreeMap<String, String>) {
    match tree {
        UseTree::Path(path) => leaves(&path.tree, names),
        UseTree::Name(name) => drop(names.insert(name.ident.to_string(), name.ident.to_string())),
        UseTree::Rename(rename) => {
            names.insert(rename.ident.to_string(), rename.rename.to_string());
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, names)),
        UseTree::Glob(_) => panic!("the root re-exports each name by itself"),
    }
}

fn add(item: &Item, exported: &BTreeMap<String, String>, items: &mut BTreeSet<String>) {
    let mut method = |owner: &syn::Ident, name: &syn::Ident| {
        if let Some(owner) = exported.get(&owner.to_string()) {
            items.insert(format!("{owner}::{name}"));
        }
    };
    match item {
        Item::Impl(block) if block.trait_.is_none() => {
            let syn::Type::Path(owner) = &*block.self_ty else { return };
            let owner = &owner.path.segments.last().unwrap().ident;
            for item in &block.items {
                if let ImplItem::Fn(function) = item
                    && matches!(function.vis, Visibility::Public(_))
                {
                    method(owner, &function.sig.ident);
                }
            }
        }
        Item::Trait(block) => {
            for item in &block.items {
                if let TraitItem::Fn(function) = item
                    && !is_hidden(&function.attrs)
                {
                    method(&block.ident, &function.sig.ident);
                }
            }
        }
        _ => {}
    }
}

/// Whether an item is none of the documented API.
fn is_hidden(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("doc")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "hidden")
    })
}
