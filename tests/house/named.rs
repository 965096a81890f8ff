//! What the page of guarantees names is there: tests by their paths, models by file and name.

use super::planted::models;
use super::source::Crate;
use std::collections::BTreeSet;
use std::path::Path;

/// What stands between backticks and is the name of a test or a model that is not there.
fn missing(text: &str, exists: impl Fn(&str) -> bool, models: &BTreeSet<String>) -> Vec<String> {
    let words = text.split('`').skip(1).step_by(2);
    let is_there = |word: &&str| match word.split_once("::") {
        _ if word.starts_with("tests/") => exists(word),
        Some((file, "*")) => models.iter().any(|model| model.starts_with(&format!("{file}::"))),
        // `Reaper::dedicated()` is none.
        Some((file, _)) if file.starts_with(char::is_lowercase) && !word.ends_with(')') => {
            models.contains(*word)
        }
        _ => true,
    };
    words.filter(|word| !is_there(word)).map(str::to_owned).collect()
}

#[test]
fn what_the_guarantees_name_is_there() {
    let root: &Path = env!("CARGO_MANIFEST_DIR").as_ref();
    let house = Crate::here();
    let text = std::fs::read_to_string(root.join("src/docs/guarantees.md")).unwrap();
    let models: BTreeSet<_> = house.files.iter().flat_map(models).collect();
    assert!(!models.is_empty() && text.contains("tests/"), "nothing was read");
    assert_eq!(missing(&text, |file| root.join(file).exists(), &models), [""; 0]);
}

#[test]
fn a_name_of_nothing_is_found() {
    let models = BTreeSet::from(["races::found".to_owned()]);
    let text = "`tests/a.rs`, `tests/b.rs`, `races::found`, `races::lost`, `races::*`, `cogs::*`, `file::model`, `Reaper::manual()`";
    let found = missing(text, |file| file == "tests/a.rs", &models);
    assert_eq!(found, ["tests/b.rs", "races::lost", "cogs::*", "file::model"]);
}
