//! Many bugs in one source: a function's body stands there once for each of its bugs, and once as it should be.

use crate::bug::{Bug, Place, Source};
use std::collections::BTreeMap;
use std::ops::Range;

/// A source with the bugs that belong there, each behind a question whether it is awake. (Their numbers are their places
/// in `bugs`, from 1 on.)
pub(crate) fn weave(name: &str, mut source: String, bugs: &[Bug]) -> String {
    // By where the bodies begin: where they end, and the bugs with their numbers.
    let mut bodies_with_bugs = BTreeMap::new();
    let bodies = bodies(&source);
    for (at, bug) in bugs.iter().enumerate() {
        let Some(place) = bug.place.as_ref().ok().filter(|place| place.file == name) else { continue };
        let body = innermost(&bodies, &place.range).expect("it was there a moment ago");
        let here = bodies_with_bugs.entry(body.start).or_insert((body.end, Vec::new()));
        here.1.push(Woven { number: at + 1, range: place.range.clone(), replacement: &bug.replacement });
    }
    // From the end on, so that places before stay where they are.
    for (start, (end, bugs)) in outermost(bodies_with_bugs).into_iter().rev() {
        let sound = source[start..end].to_owned();
        let mut woven = String::new();
        for Woven { number, range, replacement } in bugs {
            let mut planted = sound.clone();
            planted.replace_range(range.start - start..range.end - start, replacement);
            woven += &format!("if crate::planted::is_awake({number}) {{{planted}}} else ");
        }
        source.replace_range(start..end, &format!("{woven}{{{sound}}}"));
    }
    if name == "src/lib.rs" {
        source += &AWAKE.replace("MOST", &(bugs.len() + 1).to_string());
    }
    source
}

/// Where a function with bugs lies in another one with bugs, they are all those of the other one.
fn outermost(bodies: BTreeMap<usize, (usize, Vec<Woven<'_>>)>) -> BTreeMap<usize, (usize, Vec<Woven<'_>>)> {
    let mut outer: BTreeMap<usize, (usize, Vec<_>)> = BTreeMap::new();
    for (start, (end, bugs)) in bodies {
        match outer.last_entry() {
            Some(mut around) if around.get().0 > start => around.get_mut().1.extend(bugs),
            _ => drop(outer.insert(start, (end, bugs))),
        }
    }
    outer
}

/// The number of the bug in whose copy of a body that place of a woven source lies.
pub(crate) fn number_around(woven: &str, at: usize) -> Option<usize> {
    const QUESTION: &str = "if crate::planted::is_awake(";
    let question = woven[..at].rfind(QUESTION)?;
    let (number, _) = woven[question + QUESTION.len()..].split_once(')')?;
    let mut rest = question + woven[question..].find('{')?;
    let mut depth = 0_usize;
    loop {
        match woven[rest..].chars().next()? {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (at < rest).then(|| number.parse().ok()).flatten();
        }
        rest += skip(&woven[rest..]).max(woven[rest..].chars().next().map_or(1, char::len_utf8));
    }
}

struct Woven<'a> {
    number: usize,
    range: Range<usize>,
    replacement: &'a str,
}

/// Whether the bug lies in a function's body that can stand there twice.
pub(crate) fn can_be_woven(bug: &Bug, sources: &[Source]) -> bool {
    let Ok(Place { file, range }) = &bug.place else { return false };
    let source = sources.iter().find(|source| source.name == *file);
    source.is_some_and(|source| innermost(&bodies(&source.text), range).is_some())
}

/// `TIDEWHEEL_BUG` is the number of the bug that is awake; with "asked" there is none, and each that is asked for is named once.
const AWAKE: &str = r#"
#[allow(warnings)]
mod planted {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, Ordering::*};

    static AWAKE: OnceLock<u32> = OnceLock::new();
    static ASKED: [AtomicBool; MOST] = [const { AtomicBool::new(false) }; MOST];

    pub(crate) fn is_awake(bug: u32) -> bool {
        let awake = *AWAKE.get_or_init(|| match std::env::var("TIDEWHEEL_BUG").as_deref() {
            Ok("asked") => u32::MAX,
            Ok(bug) => bug.parse().unwrap(),
            Err(_) => 0,
        });
        // The load first: it costs next to nothing, and nearly all are there not for the first time.
        let asked = &ASKED[bug as usize];
        if awake == u32::MAX && !asked.load(Relaxed) && !asked.swap(true, Relaxed) {
            // In one piece, on a line of its own: the test's name may stand before it, without a line's end.
            eprint!("{}", format!("\nasked for bug {bug}\n"));
        }
        awake == bug
    }
}
"#;

fn innermost(bodies: &[Body], range: &Range<usize>) -> Option<Range<usize>> {
    let around = bodies.iter().filter(|body| body.range.start <= range.start && range.end <= body.range.end);
    around.filter(|body| !body.is_single).map(|body| body.range.clone()).min_by_key(Range::len)
}

/// What stands between the braces of a function.
pub(crate) struct Body {
    pub(crate) range: Range<usize>,
    /// The function's name.
    pub(crate) name: String,
    /// It is `const`, or returns an `impl`, of which there can be only one.
    is_single: bool,
}

/// The bodies of all functions.
pub(crate) fn bodies(source: &str) -> Vec<Body> {
    let mut found = Vec::new();
    // Of each brace that is open where it is, and whose it is.
    let mut open: Vec<(usize, Option<(String, bool)>)> = Vec::new();
    // Where the words began that lead to the next brace.
    let mut head = 0;
    // A semicolon in brackets is that of an array's type, as in `-> [u64; 2]`.
    let mut brackets = 0_usize;
    let mut rest = 0;
    while let Some(next) = source[rest..].chars().next() {
        let at = rest;
        rest += skip(&source[at..]).max(next.len_utf8());
        match next {
            '{' => {
                let words = &source[head..at];
                let mut after = words.split_whitespace().skip_while(|&word| word != "fn").skip(1);
                let is_single = words.contains("const fn") || words.contains("-> impl");
                let name = |word: &str| word.split(['(', '<']).next().unwrap_or_default().to_owned();
                open.push((rest, after.next().map(|word| (name(word), is_single))));
                head = rest;
            }
            '}' => {
                if let Some((start, Some((name, is_single)))) = open.pop() {
                    found.push(Body { range: start..at, name, is_single });
                }
                head = rest;
            }
            '[' => brackets += 1,
            ']' => brackets -= 1,
            ';' if brackets == 0 => head = rest,
            _ => {}
        }
    }
    found
}

/// How long the comment or the literal is that stands here; 0 if there is none.
pub(crate) fn skip(text: &str) -> usize {
    let until =
        |start: usize, end: &str| text[start..].find(end).map_or(text.len(), |at| start + at + end.len());
    if text.starts_with("//") {
        return until(2, "\n");
    }
    if text.starts_with("r#\"") {
        return until(3, "\"#");
    }
    let quote = match text.chars().next() {
        Some('"') => '"',
        // Not a lifetime.
        Some('\'') if text[1..].starts_with('\\') || text[1..].chars().nth(1) == Some('\'') => '\'',
        _ => return 0,
    };
    let mut escaped = false;
    for (at, next) in text.char_indices().skip(1) {
        match next {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if next == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}
