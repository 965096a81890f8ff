//! Planted bugs and models: each bug can be planted, each names a model that is there, and each model has a bug.

use super::quote;
use super::source::{Crate, File};
use std::collections::BTreeSet;

pub(crate) fn breaches(house: &Crate) -> Vec<String> {
    let models: BTreeSet<_> = house.files.iter().flat_map(models).collect();
    let mut found = Vec::new();
    let mut bugged = BTreeSet::new();
    let library = house.files.iter().filter(|file| file.path.starts_with("src/"));
    let sources: Vec<_> = library.map(|file| quote::Source::new(&file.text)).collect();
    for bug in house.files.iter().filter(|file| file.path.ends_with(".bug")) {
        let (head, rest) = bug.text.split_once("---- text\n").unwrap_or((&bug.text, ""));
        let Some((text, _)) = rest.split_once("---- bug\n") else {
            found.push(format!("{}: no '---- text' with a '---- bug' after it", bug.path));
            continue;
        };
        let times: usize = sources.iter().map(|source| source.places(text).len()).sum();
        if times != 1 {
            found.push(format!("{}: its text is there {times} times, not once", bug.path));
        }
        let named: BTreeSet<_> =
            head.lines().filter_map(|line| line.strip_prefix("model: ")).map(str::to_owned).collect();
        if named.is_empty() {
            found.push(format!("{}: names no model", bug.path));
        }
        found.extend(
            named.difference(&models).map(|model| format!("{}: there is no model {model}", bug.path)),
        );
        bugged.extend(named);
    }
    // A storm is named by itself, and need not have one.
    let without = models.difference(&bugged).filter(|model| model.contains("::"));
    found.extend(without.map(|model| format!("loom-tests: no bug is planted for {model}")));
    found
}

/// A test in `FILE.rs` is the model `FILE::TEST`; one in `main.rs`, a storm, is the model `TEST`.
pub(crate) fn models(file: &File) -> Vec<String> {
    if !file.path.starts_with("loom-tests/") || !file.path.ends_with(".rs") {
        return Vec::new();
    }
    let stem = file.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
    let parsed = syn::parse_file(&file.text).expect("it was parsed before");
    let tests = parsed.items.iter().filter_map(|item| match item {
        syn::Item::Fn(function)
            if function.attrs.iter().any(|attribute| attribute.path().is_ident("test")) =>
        {
            Some(function.sig.ident.to_string())
        }
        _ => None,
    });
    tests.map(|test| if stem == "main" { test } else { format!("{stem}::{test}") }).collect()
}
