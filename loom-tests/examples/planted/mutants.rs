//! Bugs that cargo-mutants thinks up, all of them in one copy of the crate, asked of its tests.
//!
//! Compiled one by one they take hours. So they are woven, as the bugs of `planted/` are. A mutant that does not compile is
//! taken out, by the place of which the compiler complains, until the others compile. One that cannot stand in a function's
//! body (a constant's, that of a function that returns an `impl`) is left to cargo-mutants. A `const fn` is made a plain one,
//! unless a constant needs it.
//!
//! Each test is run once with all mutants asleep, to know which ones it comes by. A mutant is then asked of those tests that
//! come by it, those of its own module first, and the quickest first among these: one has to fail, twice.
//!
//! ```text
//! cargo run --release --example planted -- --mutants LIST FOLDER
//! ```
//!
//! A line of `LIST` is a mutant: its file, the line and column where it begins, those where it ends, what is put there, and its
//! name, with tabs between them. `FOLDER` gets a file of names for each outcome.

use crate::bug::{Bug, Place, Source, files_under};
use crate::field::{self, Field, write_if_new};
use crate::{side_by_side, weave};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A test counts as hung if it takes so much longer than without a mutant, and this long in any case.
const SLOWER: u32 = 10;
const PATIENCE: Duration = Duration::from_secs(20);
/// A mutant is asked of all tests of its own module, and of others that take so long all together.
const ASKED_FOR: Duration = Duration::from_secs(10);
/// A test that takes longer is not asked.
const LONGEST: Duration = Duration::from_secs(30);

/// Test programs that are about a module, and are asked of all its mutants like its own tests.
const ABOUT: [(&str, &[&str]); 3] = [
    ("policy", &["bounded", "bounded_stress", "large_garbage", "large_weights"]),
    ("snapshot", &["snapshot"]),
    ("stats", &["stats"]),
];

/// Test programs that are not asked: they look at the source, measure the process as a whole, or run for minutes.
const NOT_ASKED: [&str; 5] = ["asleep", "house", "process", "soak", "stack"];

/// What became of a mutant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// A test failed, twice.
    Caught,
    /// A test did not end, or not by itself.
    Hung,
    /// All tests passed that were asked, if any comes by.
    Missed,
    /// It does not compile.
    Unviable,
    /// It is for cargo-mutants.
    Alone,
}

impl Outcome {
    const ALL: [(Self, &str); 5] = [
        (Self::Caught, "caught"),
        (Self::Hung, "hung"),
        (Self::Missed, "missed"),
        (Self::Unviable, "unviable"),
        (Self::Alone, "alone"),
    ];
}

pub(crate) fn run(root: &Path, sources: &[Source], list: &Path, folder: &Path) -> ExitCode {
    let began = Instant::now();
    let list = fs::read_to_string(list).expect("the list can be read");
    let mutants: Vec<_> = list.lines().map(|line| parse(line, sources)).collect();
    let nursery = Nursery::new(root);
    let Sown { woven, mut outcomes } = nursery.sow_what_compiles(mutants, sources);
    let programs = nursery.build();
    println!("{} mutants stand in one crate, after {} s", woven.len(), began.elapsed().as_secs());
    let tests = asked(&programs);
    println!("{} tests were asked which they come by, after {} s", tests.len(), began.elapsed().as_secs());
    let judged = Mutex::new(Vec::new());
    side_by_side(woven.len(), |at| {
        let outcome = judge(&tests, &woven[at], at + 1);
        let mut judged = judged.lock().expect("no panic");
        if outcome == Outcome::Missed {
            println!("missed: {}", woven[at].name);
        }
        judged.push((outcome, woven[at].name.clone()));
        if judged.len() % 100 == 0 {
            println!("{} mutants were judged, after {} s", judged.len(), began.elapsed().as_secs());
        }
    });
    outcomes.extend(judged.into_inner().expect("no panic"));
    outcomes.sort();
    fs::create_dir_all(folder).expect("a folder can be made");
    for (outcome, name) in Outcome::ALL {
        let names: Vec<_> = outcomes.iter().filter(|(which, _)| *which == outcome).collect();
        let text: String = names.iter().map(|(_, mutant)| format!("{mutant}\n")).collect();
        fs::write(folder.join(format!("{name}.txt")), text).expect("a file can be written");
        println!("{name}: {}", names.len());
    }
    println!("{} mutants, in {} s", outcomes.len(), began.elapsed().as_secs());
    ExitCode::SUCCESS
}

/// A line of the list.
fn parse(line: &str, sources: &[Source]) -> Bug {
    let fields: Vec<_> = line.split('\t').collect();
    let [file, line, column, end_line, end_column, replacement, name] = fields[..] else {
        panic!("a mutant has seven fields: {line}")
    };
    let source = sources.iter().find(|source| source.name == file).expect("the file is there");
    let at = |line: &str, column: &str| {
        let number = |text: &str| text.parse::<usize>().expect("a number") - 1;
        offset(&source.text, number(line), number(column))
    };
    let range = at(line, column)..at(end_line, end_column);
    Bug {
        name: name.to_owned(),
        place: Ok(Place { file: file.to_owned(), range }),
        models: Vec::new(),
        kinds: Vec::new(),
        replacement: unescaped(replacement),
    }
}

/// A field as it was before `jq` wrote it with tabs between fields.
fn unescaped(field: &str) -> String {
    let mut text = String::new();
    let mut chars = field.chars();
    while let Some(next) = chars.next() {
        text.push(match next {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some(other) => other,
                None => '\\',
            },
            other => other,
        });
    }
    text
}

/// Where a column of a line is, both counted from 0.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let columns = text[start..].char_indices().map(|(at, _)| start + at);
    columns.chain([text.len()]).nth(column).expect("the line is as long")
}

/// The same source, where a `const fn` is a plain one unless its name is among these. All else stays where it is.
fn without_consts(source: &Source, constant: &BTreeSet<String>) -> Source {
    const WORDS: &str = "const fn ";
    let mut text = String::new();
    let mut rest = source.text.as_str();
    while let Some((before, after)) = rest.split_once(WORDS) {
        let name: String = after.chars().take_while(|next| next.is_alphanumeric() || *next == '_').collect();
        text += before;
        // A macro's function has its name from elsewhere.
        let stays = name.is_empty() || constant.contains(&name);
        text += if stays { WORDS } else { "      fn " };
        rest = after;
    }
    text += rest;
    Source { name: source.name.clone(), text }
}

/// The name of the function of which the compiler says that a constant needs it.
fn needed_in_constants(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("cannot call non-const ")?;
    let (path, _) = rest.split_once('`')?.1.split_once('`')?;
    path.rsplit("::").find(|part| !part.starts_with('<') && !part.ends_with('>'))
}

/// The mutants that stand in the copy, and what has become of the others.
struct Sown {
    woven: Vec<Bug>,
    outcomes: Vec<(Outcome, String)>,
}

/// A copy of the crate with its tests.
struct Nursery {
    root: PathBuf,
    tree: PathBuf,
    target: PathBuf,
}

impl Nursery {
    fn new(root: &Path) -> Self {
        let target = field::target_of(root);
        Self { root: root.to_owned(), tree: target.join("planted-mutants"), target }
    }

    /// Weaves the mutants in, and takes out those that do not compile, until the others do.
    fn sow_what_compiles(&self, mut woven: Vec<Bug>, sources: &[Source]) -> Sown {
        let mut outcomes = Vec::new();
        let mut constant = BTreeSet::new();
        loop {
            let plain: Vec<_> = sources.iter().map(|source| without_consts(source, &constant)).collect();
            let alone;
            (woven, alone) = woven.into_iter().partition(|bug| weave::can_be_woven(bug, &plain));
            outcomes.extend(alone.into_iter().map(|bug| (Outcome::Alone, bug.name)));
            self.sow(&woven, &constant);
            let check = self.cargo(&["check", "--profile", "test", "--message-format", "short"]);
            if check.status.success() {
                return Sown { woven, outcomes };
            }
            let log = String::from_utf8_lossy(&check.stderr).into_owned();
            let needed = log.lines().filter_map(needed_in_constants);
            let before = constant.len();
            constant.extend(needed.map(str::to_owned));
            if constant.len() > before {
                println!("{} functions are needed in constants", constant.len());
                continue;
            }
            let mut numbers = self.complained_of(&log);
            numbers.sort_unstable();
            numbers.dedup();
            assert!(!numbers.is_empty(), "the crate does not compile, and by no mutant's fault:\n{log}");
            println!("{} mutants do not compile", numbers.len());
            let unviable = numbers.iter().rev().map(|number| woven.remove(number - 1));
            outcomes.extend(unviable.map(|bug| (Outcome::Unviable, bug.name)));
        }
    }

    fn sow(&self, woven: &[Bug], constant: &BTreeSet<String>) {
        let listed = Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard", "--"])
            .args(["Cargo.toml", "Cargo.lock", "src", "benches", "examples", "tests"])
            .current_dir(&self.root)
            .output();
        let listed = listed.expect("git runs").stdout;
        let mut extra: BTreeSet<_> = files_under(&self.tree).into_iter().collect();
        for name in String::from_utf8_lossy(&listed).lines() {
            // What was deleted is listed too.
            let Ok(content) = fs::read(self.root.join(name)) else { continue };
            let content = match String::from_utf8(content) {
                Ok(text) if name.starts_with("src/") => {
                    let source = without_consts(&Source { name: name.to_owned(), text }, constant);
                    weave::weave(name, source.text, woven).into_bytes()
                }
                Ok(text) => text.into_bytes(),
                Err(other) => other.into_bytes(),
            };
            let copy = self.tree.join(name);
            write_if_new(&copy, &content);
            extra.remove(&copy);
        }
        // A test that is gone catches nothing.
        for path in extra {
            fs::remove_file(path).expect("an old copy can be removed");
        }
    }

    /// The numbers of the mutants of which the compiler complains: those in whose copies of a function its places lie.
    fn complained_of(&self, log: &str) -> Vec<usize> {
        let mut sources = BTreeMap::new();
        let complaint = |line: &str| {
            let (place, _) = line.split_once(": error")?;
            let mut parts = place.split(':');
            let (file, line, column) = (parts.next()?, parts.next()?, parts.next()?);
            let text: &String = sources
                .entry(file.to_owned())
                .or_insert_with(|| fs::read_to_string(self.tree.join(file)).expect("the copy can be read"));
            let at = offset(text, line.parse::<usize>().ok()? - 1, column.parse::<usize>().ok()? - 1);
            weave::number_around(text, at)
        };
        log.lines().filter_map(complaint).collect()
    }

    /// The programs of all tests that are asked.
    fn build(&self) -> Vec<PathBuf> {
        let build = self.cargo(&["test", "--no-run", "--message-format", "json-render-diagnostics"]);
        let log = String::from_utf8_lossy(&build.stderr);
        assert!(build.status.success(), "what was checked does not compile:\n{log}");
        let messages = String::from_utf8_lossy(&build.stdout);
        let named = messages.split("\"executable\":\"").skip(1).filter_map(|rest| rest.split_once('"'));
        named.map(|(path, _)| PathBuf::from(path)).collect()
    }

    /// `--lib`, and `--test NAME` for each test program that is asked.
    fn targets(&self) -> Vec<String> {
        let mut targets = vec!["--lib".to_owned()];
        for entry in fs::read_dir(self.tree.join("tests")).expect("there are tests").flatten() {
            let path = entry.path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let is_program =
                path.join("main.rs").is_file() || path.extension().is_some_and(|end| end == "rs");
            if is_program && !NOT_ASKED.contains(&name.as_str()) {
                targets.extend(["--test".to_owned(), name]);
            }
        }
        targets
    }

    fn cargo(&self, arguments: &[&str]) -> Output {
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(arguments)
            .args(["--offline", "--all-features"])
            .args(self.targets())
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.target)
            // What a mutant leaves unused is no error.
            .env("RUSTFLAGS", "--cap-lints=allow")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .stdin(Stdio::null())
            .output()
            .expect("cargo runs")
    }
}

struct Test {
    program: PathBuf,
    name: String,
    took: Duration,
    /// The mutants that it comes by, by their numbers.
    numbers: Vec<usize>,
}

impl Test {
    fn is_about(&self, module: &[&str]) -> bool {
        // A program's name ends in `-` and a hash.
        let program = self.program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let program = program.rsplit_once('-').map_or(program, |(name, _)| name);
        ABOUT.iter().any(|(about, programs)| module.first() == Some(about) && programs.contains(&program))
    }

    /// How many names of its path are those of that module.
    fn in_common_with(&self, module: &[&str]) -> usize {
        self.name.split("::").zip(module).take_while(|(name, other)| name == *other).count()
    }
}

/// All tests that pass within [`LONGEST`], each run once with all mutants asleep; the quickest first.
fn asked(programs: &[PathBuf]) -> Vec<Test> {
    let mut names = Vec::new();
    for program in programs {
        names.extend(Field::models_of(program).into_iter().map(|name| (program.clone(), name)));
    }
    let tests = Mutex::new(Vec::new());
    side_by_side(names.len(), |at| {
        let (program, name) = names[at].clone();
        let began = Instant::now();
        let (status, said) = run_test(&program, &name, "asked", LONGEST);
        assert!(status != Some(false), "{name} fails without a mutant:\n{said}");
        let numbers = said.lines().filter_map(|line| line.strip_prefix("asked for bug "));
        let numbers = numbers.filter_map(|number| number.parse().ok()).collect();
        if status.is_some() {
            let test = Test { program, name, took: began.elapsed(), numbers };
            tests.lock().expect("no panic").push(test);
        }
    });
    let mut tests = tests.into_inner().expect("no panic");
    tests.sort_by_key(|test| test.took);
    tests
}

/// The names that the path of a file's module consists of.
fn module_of(file: &str) -> Vec<&str> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    path.split('/').filter(|&name| name != "mod").collect()
}

fn judge(tests: &[Test], bug: &Bug, number: usize) -> Outcome {
    let module = bug.place.as_ref().map(|place| module_of(&place.file)).unwrap_or_default();
    let (mut own, others): (Vec<_>, Vec<_>) = tests
        .iter()
        .filter(|test| test.numbers.contains(&number))
        .partition(|test| test.in_common_with(&module) > 0 || test.is_about(&module));
    // Stable: the quickest stay first.
    own.sort_by_key(|test| Reverse(test.in_common_with(&module)));
    let mut asked_for = Duration::ZERO;
    let others = others.into_iter().take_while(|test| {
        asked_for += test.took;
        asked_for <= ASKED_FOR
    });
    let number = number.to_string();
    for test in own.into_iter().chain(others) {
        let patience = PATIENCE.max(test.took * SLOWER);
        let passes = || run_test(&test.program, &test.name, &number, patience).0;
        match passes() {
            Some(true) => {}
            None => return Outcome::Hung,
            // Not by chance.
            Some(false) if passes() != Some(true) => return Outcome::Caught,
            Some(false) => {}
        }
    }
    Outcome::Missed
}

/// Runs one test with that mutant awake. Returns whether it passed, if it ended by itself and in time, and what it said.
fn run_test(program: &Path, test: &str, mutant: &str, patience: Duration) -> (Option<bool>, String) {
    let mut log = program.as_os_str().to_owned();
    log.push(format!("-{}-{mutant}.log", test.replace("::", "-")));
    let (status, said) = field::run_test(Command::new(program), test, mutant, Path::new(&log), patience);
    (status.and_then(field::verdict), said)
}
