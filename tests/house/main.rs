//! The rules of the house that no compiler knows, held against the source: where `unsafe` and threads may be named, what a comment at an atomic
//! access has to say, which module may import which, how long a file may be, and whether each planted bug can be planted.
//!
//! The source is parsed, and tests in it are left out. `broken.rs` shows of each rule that it can be broken.

mod broken;
mod called;
mod circles;
mod comments;
mod imports;
mod named;
mod names;
mod packages;
mod params;
mod paths;
mod planted;
#[path = "../common/quote.rs"]
mod quote;
mod size;
mod source;

use source::Crate;

/// What breaks a rule: where, and which one.
fn breaches(house: &Crate) -> Vec<String> {
    let mut found = Vec::new();
    for file in house.library() {
        found.extend(names::breaches(file));
        found.extend(comments::breaches(file, house));
        found.extend(imports::breaches(file));
        found.extend(params::breaches(file));
        found.extend(size::breaches(file, house));
    }
    found.extend(circles::breaches(house));
    found.extend(planted::breaches(house));
    found
}

#[test]
fn the_rules_of_the_house_are_kept() {
    let house = Crate::here();
    assert!(house.library().count() > 100, "the source was not found");
    let found = breaches(house);
    assert!(found.is_empty(), "{} breaches:\n{}", found.len(), found.join("\n"));
}
