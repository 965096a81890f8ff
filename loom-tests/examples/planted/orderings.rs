//! Bugs that nobody had to write: each ordering of an atomic access, weakened.
//!
//! A bug of a file names its model. Of these, all models have to be asked that come by, and one has to fail. An ordering
//! that no model misses is told in `planted/orderings.txt`, with the reason: no thread of a model can tell, or the access
//! is not compiled for models.

use crate::bug::{Bug, Kind, Place, Source};
use crate::weave::{bodies, skip};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The weaker orderings that take the place of one.
fn weaker(ordering: &str, is_fence: bool) -> &'static [&'static str] {
    match (ordering, is_fence) {
        ("Acquire" | "Release", _) => &["Relaxed"],
        ("AcqRel", _) => &["Acquire", "Release"],
        // No fence is Relaxed.
        ("SeqCst", true) => &["AcqRel"],
        ("SeqCst", false) => &["AcqRel", "Relaxed"],
        _ => &[],
    }
}

/// Every ordering in the source, weakened in every way. Tests are left out.
pub(crate) fn all(sources: &[Source]) -> Vec<Bug> {
    let is_library = |source: &&Source| !source.name.ends_with("/tests.rs");
    sources.iter().filter(is_library).flat_map(in_source).collect()
}

fn in_source(source: &Source) -> Vec<Bug> {
    const WORD: &str = "Ordering::";
    let text = &source.text;
    let end = text.find("mod tests {").unwrap_or(text.len());
    let bodies = bodies(text);
    let mut bugs = Vec::new();
    // How many orderings there have been in each function.
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut at = 0;
    while at < end {
        let rest = &text[at..];
        if !rest.starts_with(WORD) {
            at += skip(rest).max(rest.chars().next().map_or(1, char::len_utf8));
            continue;
        }
        let start = at + WORD.len();
        let ordering: String = text[start..].chars().take_while(char::is_ascii_alphanumeric).collect();
        let range = start..start + ordering.len();
        at = range.end;
        let around = bodies.iter().filter(|body| body.range.contains(&start));
        let function = around.min_by_key(|body| body.range.len()).map_or("", |body| &body.name);
        let is_fence = text[..start].trim_end_matches(WORD).ends_with("fence(");
        let number = seen.entry(function.to_owned()).or_default();
        *number += 1;
        for to in weaker(&ordering, is_fence) {
            let file = source.name.trim_start_matches("src/");
            bugs.push(Bug {
                name: format!("{file} {function} {number} {ordering} {to}"),
                place: Ok(Place { file: source.name.clone(), range: range.clone() }),
                models: Vec::new(),
                kinds: vec![Kind::Slots, Kind::Epoch],
                replacement: (*to).to_owned(),
            });
        }
    }
    bugs
}

/// One of so many parts, as in `0/4`: every fourth bug, from the first one on.
pub(crate) struct Part {
    number: usize,
    of: usize,
}

impl Part {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (number, of) = text.split_once('/')?;
        let part = Self { number: number.parse().ok()?, of: of.parse().ok()? };
        (part.number < part.of).then_some(part)
    }

    pub(crate) fn of(&self, bugs: Vec<Bug>) -> Vec<Bug> {
        bugs.into_iter().skip(self.number).step_by(self.of).collect()
    }
}

/// Why no model finds the bugs that none can find, by their names.
pub(crate) fn explained(package: &Path) -> BTreeMap<String, String> {
    explained_in(&package.join("planted/orderings.txt"))
}

/// A file of lines `NAME: REASON`, by the names; `#` begins a comment.
pub(crate) fn explained_in(path: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path).expect("the explanations can be read");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pair = |line: &str| {
        let (name, reason) = line.split_once(": ").unwrap_or_else(|| panic!("{}: {line}", path.display()));
        (name.to_owned(), reason.to_owned())
    };
    lines.map(pair).collect()
}

/// Explanations of bugs that are not there.
pub(crate) fn stale(explained: &BTreeMap<String, String>, bugs: &[Bug]) -> Vec<String> {
    let names: BTreeSet<_> = bugs.iter().map(|bug| &bug.name).collect();
    let stale = explained.keys().filter(|name| !names.contains(name));
    stale.map(|name| format!("planted/orderings.txt explains `{name}`, which is not there")).collect()
}
