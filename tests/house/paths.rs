//! The walks through the code that `architecture.md` tells as lists of functions: each function is in its file, and is named in the body of the one
//! above it.
//!
//! A list is a block of text that begins with "```paths". A line is a function and its file; what it calls is indented below it.

use super::source::Crate;
use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use syn::visit::{self, Visit};

/// By file and name of a function: the names in its body. Functions of one name in one file are taken together.
type Bodies = BTreeMap<(String, String), BTreeSet<String>>;

struct Functions<'f> {
    file: &'f str,
    bodies: Bodies,
}

impl Functions<'_> {
    fn note(&mut self, signature: &syn::Signature, body: TokenStream) {
        let names = self.bodies.entry((self.file.to_owned(), signature.ident.to_string())).or_default();
        collect(body, names);
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.note(&function.sig, function.block.to_token_stream());
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.note(&function.sig, function.block.to_token_stream());
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.note(&function.sig, function.default.to_token_stream());
        visit::visit_trait_item_fn(self, function);
    }
}

fn collect(body: TokenStream, names: &mut BTreeSet<String>) {
    for tree in body {
        match tree {
            TokenTree::Group(group) => collect(group.stream(), names),
            TokenTree::Ident(name) => drop(names.insert(name.to_string())),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

fn bodies(house: &Crate) -> Bodies {
    let mut all = Bodies::new();
    for file in house.library() {
        let mut functions = Functions { file: &file.path, bodies: Bodies::new() };
        functions.visit_file(&syn::parse_file(&file.text).unwrap());
        all.append(&mut functions.bodies);
    }
    all
}

/// What the lists of a text say that is not so, and how many functions they name.
fn wrong(text: &str, bodies: &Bodies) -> (Vec<String>, usize) {
    let (mut found, mut count) = (Vec::new(), 0);
    for list in text.split("```paths\n").skip(1) {
        let mut above: Vec<(String, String)> = Vec::new();
        for line in list.lines().take_while(|line| *line != "```") {
            let depth = (line.len() - line.trim_start().len()) / 2;
            let mut words = line.split_whitespace();
            let (Some(name), Some(file)) = (words.next(), words.next()) else {
                found.push(format!("no function and file: {line}"));
                continue;
            };
            count += 1;
            let this = (format!("src/{file}"), name.to_owned());
            above.truncate(depth);
            if !bodies.contains_key(&this) {
                found.push(format!("there is no function {name} in src/{file}"));
            }
            if depth > above.len() {
                found.push(format!("below nothing: {line}"));
            } else if let Some(caller) = above.last() {
                if bodies.get(caller).is_some_and(|names| !names.contains(name)) {
                    found.push(format!("{} in {} does not name {name}", caller.1, caller.0));
                }
            }
            above.push(this);
        }
    }
    (found, count)
}

#[test]
fn the_walks_through_the_code_are_as_they_are_told() {
    let root: &Path = env!("CARGO_MANIFEST_DIR").as_ref();
    let text = std::fs::read_to_string(root.join("src/docs/architecture.md")).unwrap();
    let (found, count) = wrong(&text, &bodies(Crate::here()));
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(count >= 60, "only {count} functions are named");
}

#[test]
fn a_walk_that_is_not_so_is_found() {
    let file = super::source::File::new("src/a.rs", "//! A.\nfn a() { b() }\nfn b() {}\nfn c() { b() }\n");
    let bodies = bodies(&Crate { files: vec![file] });
    let text = "```paths\na a.rs\n  b a.rs   a comment\nc a.rs\n  b a.rs\n```\n";
    assert_eq!(wrong(text, &bodies), (vec![], 4));
    let text = "```paths\na a.rs\n  c a.rs\n  d a.rs\n      b a.rs\nb b.rs\nb\n```\n";
    let expected = [
        "a in src/a.rs does not name c",
        "there is no function d in src/a.rs",
        "a in src/a.rs does not name d",
        "below nothing:       b a.rs",
        "there is no function b in src/b.rs",
        "no function and file: b",
    ];
    assert_eq!(wrong(text, &bodies).0, expected);
}
