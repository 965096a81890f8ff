//! Each rule can be broken: small crates that do, and what is said of them. The lines that break one say so.

use super::breaches;
use super::source::{Crate, File};

/// A crate that keeps the rules.
const TABLE: &str = r##"//! - **T1 Live.** It lives.
fn sound() {
    // SAFETY: T1, and
    // a second line.
    unsafe { x() }
    // ORDERING: Acquire; one comment for one access, over several lines,
    // and a second one of its own.
    match a.compare_exchange(
        old,
        new,
        Ordering::AcqRel,
        Ordering::Acquire,
    ) {}
    // ORDERING: Relaxed, both; nobody
    // looks.
    a.store(1, Ordering::Relaxed);
    b.store(1, Ordering::Relaxed);

    let s = "unsafe // std::sync"; // unsafe, Ordering::Relaxed
    let r = r#"unsafe " Ordering::Relaxed"#;
    fence(Ordering::SeqCst); // ORDERING: a fence
    a.cmp(b) == Ordering::Less
}
#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;
    use std::sync::Mutex;
    fn f() { a.load(Ordering::Relaxed); }
}
"##;
const TIME: &str = "//! Time.\nuse std::sync::OnceLock;\nfn f() { unsafe { x() } }\n";
const WHEEL: &str = "//! A wheel.\nuse crate::time::Tick;\nuse crate::wheel::level::Level;\n";
const MODELS: &str = "//! Models.\n#[test]\nfn found() {}\n";
const STORMS: &str = "//! Storms.\n#[test]\nfn storm() {}\n";

fn bug(model: &str, text: &str) -> String {
    format!("Why.\nmodel: {model}\nwith: slots\n---- text\n{text}\n---- bug\n")
}

fn crate_of(files: &[(&str, String)]) -> Crate {
    Crate { files: files.iter().map(|(path, text)| File::new(path, text)).collect() }
}

/// That crate, with these lines at the ends of its files, and other files besides.
fn with(more: &[(&str, &str)], files: &[(&str, String)]) -> Crate {
    let sound = [
        ("src/table/mod.rs", TABLE),
        ("src/time/system.rs", TIME),
        ("src/wheel/mod.rs", WHEEL),
        ("loom-tests/tests/models/races.rs", MODELS),
        ("loom-tests/shuttle/tests/storms/main.rs", STORMS),
    ];
    let whole = |(path, text): (&'static str, &str)| {
        let more = more.iter().filter(|(file, _)| *file == path).map(|(_, more)| *more);
        (path, text.to_owned() + &more.collect::<String>())
    };
    let mut all: Vec<_> = sound.into_iter().map(whole).collect();
    all.push(("loom-tests/planted/whole.bug", bug("races::found", "//! A wheel.")));
    all.push((
        "loom-tests/planted/of_a_storm.bug",
        bug("storm", "use crate::time::Tick;\nuse crate::wheel::level::Level;"),
    ));
    all.extend(files.iter().cloned());
    crate_of(&all)
}

/// Of each line that says `BREAKS` a breach is told, and of no other.
#[track_caller]
fn each_line_breaks(path: &str, lines: &str) {
    let house = with(&[(path, lines)], &[]);
    let found = breaches(&house);
    let file = house.file(path).unwrap();
    for (at, line) in file.text.lines().enumerate() {
        let is_told = found.iter().any(|breach| breach.starts_with(&format!("{path}:{}:", at + 1)));
        assert_eq!(is_told, line.contains("BREAKS"), "{path}:{}: {line}\n{found:#?}", at + 1);
    }
}

#[test]
fn a_crate_that_keeps_the_rules_has_no_breach() {
    assert_eq!(breaches(&with(&[], &[])), [""; 0]);
}

#[test]
fn comments_that_are_missing_or_say_too_little_are_found() {
    each_line_breaks(
        "src/table/mod.rs",
        "fn unsound() {
    // SAFETY: BREAKS cites nothing
    unsafe { x() }
    // SAFETY: BREAKS cites T2
    unsafe { x() }
    // ORDERING: Relaxed; for the next one only
    a.load(Ordering::Relaxed);
    a.load(Ordering::Acquire, BREAKS);

    // ORDERING: Relaxed, both
    a.load(Ordering::Relaxed);

    a.load(Ordering::Relaxed, BREAKS);
    // ORDERING: none, this is an access
    a.load(Ordering::SeqCst, BREAKS);
    // ORDERING: too far up

    fence(Ordering::SeqCst, BREAKS);
}
",
    );
}

#[test]
fn what_is_named_outside_of_its_room_is_found() {
    each_line_breaks(
        "src/time/system.rs",
        "fn g() { unsafe { x(BREAKS) } }\nuse std::sync::Arc as BREAKS;\n",
    );
    each_line_breaks(
        "src/wheel/mod.rs",
        "fn g() { unsafe { x(BREAKS) } }
use std::{fmt, sync::BREAKS};
use loom::BREAKS;
use crossbeam_epoch as BREAKS;
#[allow(unsafe_code)] fn h(BREAKS: u8) {}
use Ordering::{Relaxed, BREAKS};
use super::BREAKS::*;
",
    );
}

#[test]
fn imports_that_go_up_or_sideways_are_found() {
    each_line_breaks(
        "src/wheel/mod.rs",
        "use crate::table::BREAKS;
use crate::{time::Span, shard::BREAKS};
use crate::BREAKS;
use super::reaper::BREAKS;
use super::time::Fine;
",
    );
    let nested = with(
        &[],
        &[(
            "src/wheel/deep/er.rs",
            "//! Deep.\nuse super::super::super::shard::X;\nuse super::super::x::shard::X;\n".into(),
        )],
    );
    let found = breaches(&nested);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("src/wheel/deep/er.rs:2:"), "{found:?}");
}

#[test]
fn tuples_that_a_function_takes_apart_are_found() {
    each_line_breaks(
        "src/wheel/mod.rs",
        "fn one((a, b): (BREAKS, u8)) {}
fn two(pair: (u8, u8), Slot { a, b }: Slot) {
    pairs.map(|(a, b)| a + b);
}
impl Wheel {
    fn three(&self, a: u8,
        (b, c): (u8, BREAKS)) {}
}
",
    );
}

#[test]
fn circles_of_imports_are_found() {
    const CACHE: &str =
        "//! A cache.\nmod one;\nmod two;\npub use one::One;\npub(crate) use two::Two;\npub struct Cache;\n";
    const ONE: &str = "//! One.\nuse super::{Cache, Two};\npub struct One(Two);\n";
    const TWO: &str = "//! Two.\nuse super::Cache;\npub(crate) struct Two;\nimpl Cache {}\n";
    let circles = |cache: &str, one: &str, two: &str| {
        let file = |path, text: &str, more: &str| (path, format!("{text}{more}"));
        let files = [
            file("src/cache/mod.rs", CACHE, cache),
            file("src/cache/one.rs", ONE, one),
            file("src/cache/two.rs", TWO, two),
        ];
        breaches(&with(&[], &files))
    };
    // What a module shows of its children is no reliance on them.
    assert_eq!(circles("", "", ""), [""; 0]);
    let a_path_in_code = circles("", "", "fn f(_: super::One) {}\n");
    assert_eq!(
        a_path_in_code,
        ["a circle of imports: src/cache/one.rs -> src/cache/two.rs -> src/cache/one.rs"]
    );
    let of_mother_and_child =
        ["a circle of imports: src/cache/mod.rs -> src/cache/two.rs -> src/cache/mod.rs"];
    assert_eq!(circles("fn f() { two::help(); }\n", "", "pub(super) fn help() {}\n"), of_mother_and_child);
    assert_eq!(circles("use two::help;\n", "", "pub(super) fn help() {}\n"), of_mother_and_child);
    let from_outside = circles("mod inner { fn f(_: super::super::builder::Builder) {} }\n", "", "");
    assert_eq!(from_outside, [""; 0], "a builder that is not there");
    let builder =
        ("src/builder.rs", "//! A builder.\nuse crate::cache::Cache;\npub struct Builder;\n".to_owned());
    let files = [
        (
            "src/cache/mod.rs",
            CACHE.replace(
                "mod one;\nmod two;\npub use one::One;\npub(crate) use two::Two;\n",
                "use crate::builder::Builder;\n",
            ),
        ),
        builder,
    ];
    assert_eq!(
        breaches(&with(&[], &files)),
        ["a circle of imports: src/builder.rs -> src/cache/mod.rs -> src/builder.rs"]
    );
}

#[test]
fn files_that_are_too_long_or_say_nothing_are_found() {
    let long =
        format!("fn first() {{}}\n{}fn long() {{\n{}}}\n", "//\n".repeat(600), "    x();\n".repeat(60));
    let files = [
        ("src/helpers.rs", long),
        ("src/shard/tests.rs", "fn no_head() {}\n".into()),
        ("src/rows.rs", "//! Rows.\n".into()),
        ("src/rows/lists.rs", "//! Lists.\n".into()),
    ];
    let found = breaches(&with(&[], &files));
    let told = [
        "name says nothing",
        "has no floor",
        "does not say what it is",
        "663 lines",
        "`long` has 62 lines",
        "src/rows.rs: is not in its folder",
    ];
    assert_eq!(found.len(), told.len(), "{found:?}");
    for what in told {
        assert!(found.iter().any(|breach| breach.contains(what)), "{what}: {found:?}");
    }
}

#[test]
fn bugs_that_cannot_be_planted_and_models_without_bugs_are_found() {
    let wheel = "src/wheel/mod.rs";
    let whole = bug("races::found", "//! A wheel.");
    let bugs = [
        ("loom-tests/planted/twice.bug", bug("races::found", "use crate::time::Span;")),
        ("loom-tests/planted/gone.bug", bug("races::found", "//! A cog.")),
        ("loom-tests/planted/misnamed.bug", bug("races::lost", "//! A wheel.")),
        ("loom-tests/planted/unnamed.bug", whole.replace("model: races::found\n", "")),
        ("loom-tests/planted/half.bug", whole.replace("---- bug\n", "")),
    ];
    let model = ("loom-tests/tests/models/races.rs", "#[test]\nfn found_by_nobody() {}\n");
    let house = with(&[model, (wheel, "use crate::time::Span;\nuse crate::time::Span;\n")], &bugs);
    let found: Vec<_> =
        breaches(&house).into_iter().map(|breach| breach.replace("loom-tests/planted/", "")).collect();
    let expected = [
        "twice.bug: its text is there 2 times, not once",
        "gone.bug: its text is there 0 times, not once",
        "misnamed.bug: there is no model races::lost",
        "unnamed.bug: names no model",
        "half.bug: no '---- text' with a '---- bug' after it",
        "loom-tests: no bug is planted for races::found_by_nobody",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for what in expected {
        assert!(found.iter().any(|breach| breach == what), "{what}: {found:#?}");
    }
}
