//! Which module may know which: imports go down only.
//!
//! A module of floor 1 knows floor 0 and itself, and no other of its floor. Above that, a module knows its own floor and those below. Sessions are
//! built on the public API alone.

use super::source::File;

const FLOORS: [&[&str]; 5] = [
    &["process", "sync", "time", "trace", "key_value", "hash", "error", "stats", "rows", "column", "roster"],
    &["wheel", "policy", "inflight", "reaper", "table"],
    &["shard"],
    &["cache", "builder", "entry", "expiry", "life", "listener", "snapshot"],
    &["session"],
];

/// What is not for sessions.
const PRIVATE: [&str; 9] =
    ["hash", "rows", "column", "roster", "wheel", "policy", "inflight", "table", "shard"];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

fn may_know(from: &str, to: &str) -> bool {
    let (Some(mine), Some(other)) = (floor(from), floor(to)) else { return false };
    match mine {
        _ if from == to => true,
        4 => !PRIVATE.contains(&to),
        1 => other == 0,
        _ => other <= mine,
    }
}

pub(crate) fn breaches(file: &File) -> Vec<String> {
    let module = file.module();
    let Some(&room) = module.first().filter(|room| **room != "docs") else { return Vec::new() };
    if floor(room).is_none() {
        return vec![format!("{}: the module `{room}` has no floor in tests/house/imports.rs", file.path)];
    }
    let mut found = Vec::new();
    for at in 0..file.tokens.len() {
        let Some(names) = names_from_the_root(file, at, &module) else { continue };
        for name in names {
            // What begins with a capital is one of the names at the root of the crate: for those who are near it.
            let is_public = name.starts_with(char::is_uppercase);
            if if is_public { floor(room) < Some(3) } else { !may_know(room, &name) } {
                found.push(file.breach(file.tokens[at].line, "imports from a room that it must not know"));
            }
        }
    }
    found
}

/// The names that a path which begins here takes from the root: after `crate::`, or after as many `super::` as lead there.
fn names_from_the_root(file: &File, at: usize, module: &[&str]) -> Option<Vec<String>> {
    let mut next = at;
    if file.reads(at, &["crate", "::"]) {
        next += 2;
    } else if file.reads(at, &["super", "::"]) && !(at > 0 && file.tokens[at - 1].text == "::") {
        let mut ups = 0;
        while file.reads(next, &["super", "::"]) {
            next += 2;
            ups += 1;
        }
        if ups < module.len() + file.tokens[at].depth {
            return None;
        }
    } else {
        return None;
    }
    if !file.reads(next, &["{"]) {
        return Some(vec![file.tokens.get(next)?.text.clone()]);
    }
    let (mut names, mut depth) = (Vec::new(), 0);
    for (token, before) in file.tokens[next..].iter().skip(1).zip(&file.tokens[next..]) {
        match before.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && ["{", ","].contains(&before.text.as_str()) && token.text != "}" {
            names.push(token.text.clone());
        }
    }
    Some(names)
}
