//! What comments have to say: at each atomic access its partner, at each `unsafe` the invariant that it stands on.

use super::source::{Crate, File};
use std::collections::BTreeSet;

const ORDERINGS: [&str; 5] = ["Relaxed", "Acquire", "Release", "AcqRel", "SeqCst"];

/// A comment speaks for so many lines of code below it at most.
const REACH: usize = 12;

pub(crate) fn breaches(file: &File, house: &Crate) -> Vec<String> {
    let mut found = orderings(file);
    found.extend(safety(file, house));
    found
}

/// Each access has an `// ORDERING:` over it, or at its end. Such a comment speaks for one statement; one that says "both", "all three" or "all four"
/// for all down to the next blank line.
fn orderings(file: &File) -> Vec<String> {
    // What counts something for statistics says so once, at the top.
    if file.path == "src/stats/mod.rs" {
        return Vec::new();
    }
    let lines: Vec<_> = file.text.lines().collect();
    let named = |at: usize| {
        file.reads(at, &["Ordering", "::"])
            && file.tokens.get(at + 2).is_some_and(|name| ORDERINGS.contains(&name.text.as_str()))
    };
    let accesses: BTreeSet<_> =
        (0..file.tokens.len()).filter(|&at| named(at)).map(|at| file.tokens[at].line).collect();
    accesses
        .into_iter()
        .filter(|&line| !is_covered(&lines, line - 1))
        .map(|line| file.breach(line, "no '// ORDERING:' at this access"))
        .collect()
}

fn is_covered(lines: &[&str], access: usize) -> bool {
    if lines[access].contains("// ORDERING:") {
        return true;
    }
    let (mut code, mut statements) = (0, 0);
    for at in (0..access).rev() {
        let line = lines[at].trim();
        if line.starts_with("// ORDERING:") {
            let comment = lines[at..].iter().take_while(|line| line.trim().starts_with("//"));
            let speaks_for_more = comment
                .clone()
                .any(|line| ["both", "all three", "all four"].iter().any(|word| line.contains(word)));
            return statements == 0 || speaks_for_more;
        }
        if line.starts_with("//") {
            continue;
        }
        code += 1;
        statements += usize::from(line.ends_with(';'));
        if line.is_empty() || code >= REACH {
            return false;
        }
    }
    false
}

/// Each `// SAFETY:` cites an invariant that is listed at the top of its room.
fn safety(file: &File, house: &Crate) -> Vec<String> {
    let (letter, room) = match file.path.as_str() {
        path if path.starts_with("src/table/") => ('T', "src/table/mod.rs"),
        path if path.starts_with("src/process") => ('P', "src/process/mod.rs"),
        _ => return Vec::new(),
    };
    let known: BTreeSet<_> = house.file(room).map(|room| invariants(&room.text, letter)).unwrap_or_default();
    let lines: Vec<_> = file.text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.trim().starts_with("// SAFETY:")) {
        let comment =
            lines[at..].iter().take_while(|line| line.trim().starts_with("//")).map(|line| line.trim());
        let cited = cited(&comment.collect::<Vec<_>>().join(" "), letter);
        if cited.is_empty() {
            found.push(format!("{}:{}: cites no invariant of {room}: {}", file.path, at + 1, line.trim()));
        }
        for unknown in cited.difference(&known) {
            found.push(format!("{}:{}: cites {unknown}, which {room} does not list", file.path, at + 1));
        }
    }
    found
}

/// `//! - **(T1) ..` and `//! - **T1 ..`.
fn invariants(text: &str, letter: char) -> BTreeSet<String> {
    let heads = text.lines().filter_map(|line| line.strip_prefix("//! - **"));
    heads.filter_map(|head| cited(head.split(['.', ' ']).next()?, letter).pop_first()).collect()
}

/// The words that are the letter and a number.
fn cited(text: &str, letter: char) -> BTreeSet<String> {
    let words = text.split(|char: char| !char.is_alphanumeric() && char != '_');
    let is_number = |rest: &str| !rest.is_empty() && rest.chars().all(|char| char.is_ascii_digit());
    words.filter(|word| word.strip_prefix(letter).is_some_and(is_number)).map(str::to_owned).collect()
}
