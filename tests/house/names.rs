//! What may be named only in its room: `unsafe`, threads and atomics, and memory orderings that are stronger than an access needs.

use super::source::File;

/// Where there may be `unsafe`; `src/time/system.rs` has one line of it.
fn may_be_unsafe(path: &str) -> bool {
    path.starts_with("src/table/") || path.starts_with("src/process")
}

pub(crate) fn breaches(file: &File) -> Vec<String> {
    let mut found = unsafe_code(file);
    found.extend(concurrency(file));
    for (at, token) in file.tokens.iter().enumerate() {
        if token.text == "SeqCst" && !is_in_fence(file, at) {
            found.push(file.breach(token.line, "SeqCst on an access"));
        }
        if file.reads(at, &["Ordering", "::"]) && is_import(file, at) {
            found.push(file.breach(token.line, "an ordering under a shorter name"));
        }
        let is_glob = file.reads(at, &["*", ";"]) && is_import(file, at);
        if is_glob && file.path != "src/sync/mod.rs" {
            found.push(file.breach(token.line, "a glob import"));
        }
    }
    let stem = file.path.rsplit('/').next().unwrap_or_default();
    if ["util", "helper", "common", "misc"].iter().any(|word| stem.starts_with(word)) {
        found.push(format!("{}: a file whose name says nothing", file.path));
    }
    found
}

/// Whether the token stands in a `use`.
fn is_import(file: &File, at: usize) -> bool {
    let is_part =
        |text: &str| ["::", "{", "}", ",", "*"].contains(&text) || text.starts_with(char::is_alphabetic);
    let before =
        file.tokens[..at].iter().rev().map(|token| token.text.as_str()).take_while(|text| is_part(text));
    before.take_while(|text| !["fn", "let", "return"].contains(text)).any(|text| text == "use")
}

fn unsafe_code(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    let lines: Vec<_> =
        file.tokens.iter().filter(|token| token.text == "unsafe").map(|token| token.line).collect();
    let allowed = if file.path == "src/time/system.rs" { 1 } else { 0 };
    if !may_be_unsafe(&file.path) {
        found
            .extend(lines.iter().skip(allowed).map(|line| file.breach(*line, "unsafe outside of its rooms")));
    }
    let may_allow =
        may_be_unsafe(&file.path) || ["src/lib.rs", "src/time/system.rs"].contains(&file.path.as_str());
    for (at, token) in file.tokens.iter().enumerate() {
        if token.text == "unsafe_code"
            && file.tokens[..at]
                .iter()
                .rev()
                .take_while(|token| token.text != "[")
                .any(|token| token.text == "allow")
            && !may_allow
        {
            found.push(file.breach(token.line, "unsafe code allowed outside of its rooms"));
        }
    }
    found
}

fn is_in_fence(file: &File, at: usize) -> bool {
    // `fence(Ordering::SeqCst)`
    at >= 4 && ["fence", "compiler_fence"].contains(&file.tokens[at - 4].text.as_str())
}

/// Threads, locks and atomics come from `src/sync/mod.rs`, which loom and shuttle can exchange.
fn concurrency(file: &File) -> Vec<String> {
    if file.path == "src/sync/mod.rs" {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (at, token) in file.tokens.iter().enumerate() {
        let std = ["std", "core", "alloc"].iter().any(|root| {
            let in_list = || {
                file.reads(at, &[root, "::", "{"])
                    && file.tokens[at..]
                        .iter()
                        .take_while(|token| token.text != ";")
                        .any(|token| ["sync", "thread"].contains(&token.text.as_str()))
            };
            file.reads(at, &[root, "::", "sync"]) || file.reads(at, &[root, "::", "thread"]) || in_list()
        });
        let other = ["loom", "shuttle"].contains(&token.text.as_str()) || token.text.starts_with("crossbeam");
        let is_path =
            file.reads(at + 1, &["::"]) || file.reads(at + 1, &["as"]) || file.reads(at + 1, &[";"]);
        if (std || (other && is_path)) && !is_constant_of_the_machine(file, at) {
            found.push(file.breach(token.line, "named outside of src/sync/mod.rs"));
        }
    }
    found
}

/// `src/time/system.rs` keeps what it found out about the machine, once for the process, and the number of cores is one such thing: loom has nothing to
/// explore there.
fn is_constant_of_the_machine(file: &File, at: usize) -> bool {
    let end = file.tokens[at..].iter().position(|token| token.text == ";").unwrap_or_default();
    let words: Vec<_> = file.tokens[at..at + end].iter().map(|token| token.text.as_str()).collect();
    file.path == "src/time/system.rs"
        && ["std::sync::OnceLock", "std::sync::LazyLock", "std::sync::{LazyLock,OnceLock}"]
            .contains(&words.concat().as_str())
        || file.reads(at, &["std", "::", "thread", "::", "available_parallelism"])
}
