//! No circle of imports: whoever reads a file can read first what it relies on.
//!
//! A file is a module here, and a folder is none: `cache/mod.rs` and `cache/load.rs` are two, for each is read by itself. A file relies on another
//! one if it names something that is defined there, in a `use` or by a path. Two things are no reliance: that a module declares its children, and that
//! it shows what they define (`pub use child::Name`), which is its face; whoever takes a name from that face relies on the child. What a method
//! relies on is not seen where nothing of it is named.

use super::source::{Crate, File};
use std::collections::{BTreeMap, BTreeSet};
use syn::visit::{self, Visit};
use syn::{ItemUse, UseTree, Visibility};

/// A path from the root, as `["cache", "load", "served"]`.
type Path = Vec<String>;

/// What a file's `use` says.
struct Import {
    /// Under which name.
    name: String,
    path: Path,
    /// Whether a module only shows by it what a child of its own defines.
    is_face: bool,
}

struct Module<'c> {
    file: &'c File,
    at: Path,
    imports: Vec<Import>,
    children: BTreeSet<String>,
}

pub(crate) fn breaches(house: &Crate) -> Vec<String> {
    let modules: BTreeMap<Path, Module<'_>> = house
        .library()
        .filter(|file| !file.path.starts_with("src/docs/"))
        .map(|file| (owned(&file.module()), Module::new(file)))
        .collect();
    let is_looked_at = |module: &&Module<'_>| !module.at.is_empty();
    let mut reliances: Reliances<'_> = BTreeMap::new();
    for module in modules.values().filter(is_looked_at) {
        let imported =
            module.imports.iter().filter(|import| !import.is_face).map(|import| import.path.clone());
        let others = imported.chain(module.named()).filter_map(|path| definer(&modules, &path, 0));
        for other in others.filter(is_looked_at).filter(|other| other.at != module.at) {
            reliances.entry(&module.file.path).or_default().insert(&other.file.path);
        }
    }
    circles(reliances).iter().map(|circle| format!("a circle of imports: {}", circle.join(" -> "))).collect()
}

/// The module that defines what a path leads to: through faces, and through what a parent has imported.
fn definer<'m, 'c>(
    modules: &'m BTreeMap<Path, Module<'c>>,
    path: &[String],
    faces: usize,
) -> Option<&'m Module<'c>> {
    let length = (0..=path.len()).rev().find(|length| modules.contains_key(&path[..*length]))?;
    let (module, rest) = (&modules[&path[..length]], &path[length..]);
    let shown = rest.first().and_then(|name| module.imports.iter().find(|import| import.name == *name));
    match shown {
        Some(import) if faces < 8 => definer(modules, &[&import.path, &rest[1..]].concat(), faces + 1),
        // The root defines nothing.
        _ => Some(module).filter(|_| length > 0),
    }
}

impl<'c> Module<'c> {
    fn new(file: &'c File) -> Self {
        let mut found = Found::default();
        found.visit_file(&file.parsed());
        let mut module =
            Self { file, at: owned(&file.module()), imports: Vec::new(), children: found.children };
        for Use { words, name, is_shown, depth } in found.uses {
            let Some(path) = module.absolute(depth, &words) else { continue };
            let is_own = path.len() > module.at.len() + 1
                && path.starts_with(&module.at)
                && module.children.contains(&path[module.at.len()]);
            module.imports.push(Import { name, is_face: is_shown && is_own, path });
        }
        module
    }

    /// What paths in code name, but for those in a `use`.
    fn named(&self) -> Vec<Path> {
        let (tokens, mut found, mut is_use) = (&self.file.tokens, Vec::new(), false);
        let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.text == text);
        for (at, token) in tokens.iter().enumerate() {
            is_use = token.text == "use" || is_use && token.text != ";";
            // `pub(in crate::time)` names who may see something, and relies on nobody.
            let is_of_visibility = at > 2 && is(at - 3, "pub") && is(at - 1, "in");
            if is_use || is_of_visibility || !is(at + 1, "::") || (at > 0 && is(at - 1, "::")) {
                continue;
            }
            let mut words = vec![token.text.clone()];
            while is(at + 2 * words.len() - 1, "::") {
                let word = tokens.get(at + 2 * words.len()).filter(|word| is_name(&word.text));
                let Some(word) = word else { break };
                words.push(word.text.clone());
            }
            found.extend(self.absolute(token.depth, &words));
        }
        found
    }

    /// A path as it is from the root, if it leads into the crate. `depth` is how many modules within the file are around it.
    fn absolute(&self, depth: usize, words: &[String]) -> Option<Path> {
        let ups = words.iter().take_while(|word| *word == "super").count();
        let (base, rest) = match words[0].as_str() {
            "crate" => (Vec::new(), &words[1..]),
            "self" => (self.at.clone(), &words[1..]),
            "super" => {
                (self.at[..self.at.len().saturating_sub(ups.saturating_sub(depth))].to_vec(), &words[ups..])
            }
            child if self.children.contains(child) => (self.at.clone(), words),
            name => (self.imports.iter().find(|import| import.name == name)?.path.clone(), &words[1..]),
        };
        Some([base.as_slice(), rest].concat())
    }
}

fn owned(words: &[&str]) -> Path {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// The declarations of a file.
#[derive(Default)]
struct Found {
    uses: Vec<Use>,
    children: BTreeSet<String>,
    depth: usize,
}

/// One name that a `use` brings.
struct Use {
    words: Path,
    name: String,
    is_shown: bool,
    depth: usize,
}

impl Found {
    fn leaves(&mut self, tree: &UseTree, before: &[String], is_shown: bool) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        let (words, name) = match tree {
            UseTree::Path(path) => return self.leaves(&path.tree, &with(&path.ident), is_shown),
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.leaves(tree, before, is_shown));
            }
            UseTree::Name(name) if name.ident == "self" => {
                (before.to_vec(), before.last().cloned().unwrap_or_default())
            }
            UseTree::Name(name) => (with(&name.ident), name.ident.to_string()),
            UseTree::Rename(rename) => (with(&rename.ident), rename.rename.to_string()),
            UseTree::Glob(_) => (before.to_vec(), String::new()),
        };
        self.uses.push(Use { words, name, is_shown, depth: self.depth });
    }
}

impl<'ast> Visit<'ast> for Found {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if module.content.is_none() {
            self.children.insert(module.ident.to_string());
        }
        self.depth += 1;
        visit::visit_item_mod(self, module);
        self.depth -= 1;
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.leaves(&item.tree, &[], !matches!(item.vis, Visibility::Inherited));
    }
}

type Reliances<'c> = BTreeMap<&'c str, BTreeSet<&'c str>>;

/// Of each knot of files that rely on each other a shortest way around in it.
fn circles(reliances: Reliances<'_>) -> Vec<Vec<&str>> {
    let (mut found, mut told) = (Vec::new(), BTreeSet::new());
    for start in reliances.keys() {
        if told.contains(start) {
            continue;
        }
        if let Some(circle) = way_back(&reliances, start) {
            told.extend(circle.iter().copied());
            found.push(circle);
        }
    }
    found
}

/// The shortest way from a file back to itself.
fn way_back<'c>(reliances: &Reliances<'c>, start: &'c str) -> Option<Vec<&'c str>> {
    let (mut ways, mut seen) = (vec![vec![start]], BTreeSet::new());
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in reliances.get(way.last()?).into_iter().flatten() {
                if *next == start {
                    return Some([way, vec![start]].concat());
                }
                if seen.insert(*next) {
                    longer.push([way.clone(), vec![*next]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}
