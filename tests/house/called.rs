//! Every method of a cache is called from every callback: `tests/reentry/methods.rs` calls it by its name.

use super::source::Crate;
use std::collections::BTreeSet;

/// What is public in those files and is no call of a cache.
const NO_CALLS: [&str; 10] = [
    // Made before there is a cache, or any number of calls.
    "builder",
    "new",
    // Of an entry, or of what came of a computation: no cache is asked.
    "into_entry",
    "into_value",
    "is_fresh",
    "is_old_value_replaced",
    "unwrap",
    // Of an entry under a guard: called with `ReadGuard::entry`, which looks it up.
    "age",
    "key",
    "value",
];

/// The names of public functions in `impl` blocks.
fn public_functions(file: &syn::File) -> impl Iterator<Item = String> {
    let blocks = file.items.iter().filter_map(|item| match item {
        syn::Item::Impl(block) => Some(block),
        _ => None,
    });
    let functions = blocks.flat_map(|block| &block.items).filter_map(|item| match item {
        syn::ImplItem::Fn(function) => Some(function),
        _ => None,
    });
    functions
        .filter(|function| matches!(function.vis, syn::Visibility::Public(_)))
        .map(|function| function.sig.ident.to_string())
}

fn uncalled(names: &BTreeSet<String>, text: &str) -> Vec<String> {
    names.iter().filter(|name| !text.contains(&format!(".{name}("))).cloned().collect()
}

#[test]
fn every_method_is_called_from_every_callback() {
    let house = Crate::here();
    let text = |path| std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let of = |folders: &[&str]| {
        let files = house.library().filter(|file| folders.iter().any(|folder| file.path.starts_with(folder)));
        files.flat_map(|file| public_functions(&file.parsed()).collect::<Vec<_>>()).collect::<BTreeSet<_>>()
    };
    let mut methods = of(&["src/cache/", "src/entry/"]);
    assert!(methods.len() > 80, "the methods were not found: {methods:?}");
    for name in NO_CALLS {
        assert!(methods.remove(name), "there is no {name} any more");
    }
    assert_eq!(uncalled(&methods, &text("tests/reentry/methods.rs")), [""; 0]);
    let mut methods = of(&["src/session/manager.rs", "src/session/looking.rs", "src/session/owners/mod.rs"]);
    assert!(methods.len() > 20, "the methods of sessions were not found: {methods:?}");
    // Of one that is listed; and for tests, where no call is under way.
    for name in ["age", "id", "validate"] {
        assert!(methods.remove(name), "there is no {name} any more");
    }
    assert_eq!(uncalled(&methods, &text("tests/reentry/sessions.rs")), [""; 0]);
}

#[test]
fn a_method_that_is_not_called_is_found() {
    let file = "impl<K> Cache<K> { pub fn get(&self) {} pub fn get_all(&self) {} pub(crate) fn own(&self) {} fn f() {} }";
    let names = public_functions(&syn::parse_file(file).unwrap()).collect();
    assert_eq!(uncalled(&names, "c.get(k), c.own_get_all(), get_all()"), ["get_all"]);
}
