//! Plants one bug at a time in a copy of the crate and demands that its model fails.
//!
//! A check that cannot fail proves nothing. Each file in `planted/` is one small bug, with the model that
//! must find it. It is an error here if a bug survives its model, if the text to replace is not there
//! exactly once any more, if the bug does not compile, and if a model has no bug at all.
//!
//! What takes its time is to compile. So all bugs that lie within functions are planted at once: a function's body
//! stands there once for each of its bugs, and once as it should be, and a variable of the environment says which of
//! them runs. Any other bug is compiled by itself; so are all, if they do not compile together.
//!
//! ```text
//! cargo run --release --example planted               all of them
//! cargo run --release --example planted -- seal       those with "seal" in their names
//! ```
//!
//! A bug's file:
//!
//! ```text
//! Why this is a bug, in a sentence or two.
//! model: reaper::park_against_wake
//! with: slots                          (or epoch; more than one line of these is fine; or shuttle, for a storm)
//! ---- text
//! what to replace, as it stands in one place of `src/`, white space aside
//! ---- bug
//! what to put there
//! ```

#[path = "../../tests/common/quote.rs"]
mod quote;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How many runs of a model each number of preemptions may take until the bug is found.
const RUNS: &str = "100000";

/// A model that takes longer than this to fail is of no use.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut bugs = read_bugs(package);
    let mut problems = Vec::new();
    if wanted.is_empty() {
        problems.extend(models_without_bugs(&package.join("tests/models"), &bugs));
    }
    bugs.retain(|bug| wanted.is_empty() || wanted.iter().any(|part| bug.name.contains(part.as_str())));
    let started = Instant::now();
    let mut found = 0;
    let mut report = |bug: &Bug, result: Result<(), String>, took: Duration| {
        let took = took.as_secs_f32();
        match result {
            Ok(()) => {
                found += 1;
                println!("found     {:<48} {took:>5.1} s", bug.name);
            }
            Err(problem) => {
                println!("NOT FOUND {:<48} {took:>5.1} s: {problem}", bug.name);
                problems.push(format!("{}: {problem}", bug.name));
            }
        }
    };
    let alone = plant_together(package, bugs, &mut report);
    // The same tree: cargo takes two trees in one target folder for one package, and looks for changes in the one that it built last.
    let field = Field::prepare(package);
    field.sow(package, |_, source| source);
    for bug in &alone {
        let began = Instant::now();
        let result = bug.file.clone().and_then(|file| field.plant_alone(bug, &file));
        report(bug, result, began.elapsed());
    }
    println!("{found} planted bugs found in {:.0} s", started.elapsed().as_secs_f32());
    for problem in &problems {
        eprintln!("error: {problem}");
    }
    if problems.is_empty() && found > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plants all bugs that lie in the body of a function at once, each asleep, and wakes one at a time. Returns the
/// others.
fn plant_together(
    package: &Path,
    bugs: Vec<Bug>,
    report: &mut (impl FnMut(&Bug, Result<(), String>, Duration) + Send),
) -> Vec<Bug> {
    let root = package.parent().expect("the package lies in the crate");
    let (mut together, mut alone): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
    for bug in bugs {
        let source = bug.file.as_ref().ok().and_then(|file| fs::read_to_string(root.join(file)).ok());
        let body = source.and_then(|source| bug.body(&source));
        if body.is_some() { together.push(bug) } else { alone.push(bug) }
    }
    if together.is_empty() {
        return alone;
    }
    let began = Instant::now();
    let field = Field::prepare(package);
    field.sow(package, |name, source| weave(name, source, &together));
    let mut programs = Vec::new();
    for kind in [Kind::Slots, Kind::Epoch, Kind::Shuttle] {
        if !together.iter().any(|bug| bug.kinds.contains(&kind)) {
            continue;
        }
        match field.build(kind).and_then(|program| all_pass(&program).map(|()| program)) {
            Ok(program) => programs.push((kind, program)),
            Err(problem) => {
                // Whose fault it is comes out when each is planted alone.
                println!("all at once: {problem}");
                together.append(&mut alone);
                return together;
            }
        }
    }
    println!("{} bugs planted at once in {:.0} s", together.len(), began.elapsed().as_secs_f32());
    let (next, report) = (AtomicUsize::new(0), Mutex::new(report));
    let work = || {
        while let Some((at, bug)) =
            Some(next.fetch_add(1, Relaxed)).and_then(|at| Some((at, together.get(at)?)))
        {
            let began = Instant::now();
            let result =
                programs.iter().filter(|(kind, _)| bug.kinds.contains(kind)).try_for_each(|(_, program)| {
                    bug.models.iter().try_for_each(|model| field.must_fail(program, model, Some(at + 1)))
                });
            (report.lock().expect("no panic"))(bug, result, began.elapsed());
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    alone
}

/// While all bugs are asleep, the models pass: what fails later fails because of a bug. (A few interleavings of each
/// will do, for the code is the same.)
fn all_pass(program: &Path) -> Result<(), String> {
    let mut run = Command::new(program);
    run.envs([("LOOM_MAX_PREEMPTIONS", "0"), ("TIDEWHEEL_STORMS", "0.2")]).stdin(Stdio::null());
    let output = run.output().expect("a model starts");
    if output.status.success() {
        return Ok(());
    }
    Err(format!("a model fails without a bug:\n{}", String::from_utf8_lossy(&output.stdout)))
}

/// A source with the bugs that belong there, each behind a question whether it is awake. (Their numbers are their
/// places in `bugs`, from 1 on.)
fn weave(name: &str, mut source: String, bugs: &[Bug]) -> String {
    // By where the bodies begin: where they end, and the bugs with their numbers.
    let mut bodies = BTreeMap::new();
    for (at, bug) in bugs.iter().enumerate().filter(|(_, bug)| bug.is_for(name)) {
        let body = bug.body(&source).expect("it was there a moment ago");
        bodies.entry(body.start).or_insert((body.end, Vec::new())).1.push((at + 1, bug));
    }
    // From the end on, so that places before stay where they are.
    for (start, (end, bugs)) in bodies.into_iter().rev() {
        let sound = source[start..end].to_owned();
        let mut woven = String::new();
        for (number, bug) in bugs {
            let planted = sound.replacen(&bug.text, &bug.replacement, 1);
            woven += &format!("if crate::planted::is_awake({number}) {{{planted}}} else ");
        }
        source.replace_range(start..end, &format!("{woven}{{{sound}}}"));
    }
    if name == "src/lib.rs" {
        source += AWAKE;
    }
    source
}

const AWAKE: &str = r#"
#[allow(warnings)]
mod planted {
    pub(crate) fn is_awake(bug: u32) -> bool {
        static AWAKE: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
        let read = || std::env::var("TIDEWHEEL_BUG").ok().and_then(|bug| bug.parse().ok()).unwrap_or(0);
        *AWAKE.get_or_init(read) == bug
    }
}
"#;

struct Bug {
    name: String,
    /// The file that it is planted in; or why it cannot be planted.
    file: Result<String, String>,
    /// As the test is called: the file, and the model in it.
    models: Vec<String>,
    kinds: Vec<Kind>,
    /// As it stands in the file.
    text: String,
    replacement: String,
}

impl Bug {
    /// Finds where it is to be planted.
    fn find(&mut self, sources: &[(String, String)]) {
        let places = |(file, source): &'_ (String, String)| {
            let found = quote::places(source, &self.text);
            found.into_iter().map(|place| (file.clone(), source[place].to_owned())).collect::<Vec<_>>()
        };
        let mut found: Vec<_> = sources.iter().flat_map(places).collect();
        match found.len() {
            1 => {
                let (file, text) = found.remove(0);
                (self.file, self.text) = (Ok(file), text);
            }
            times => self.file = Err(format!("its text is there {times} times, not once")),
        }
    }

    fn is_for(&self, file: &str) -> bool {
        self.file.as_ref().is_ok_and(|own| own == file)
    }

    /// The body of the function that it lies in, if it can stand there twice.
    fn body(&self, source: &str) -> Option<Range<usize>> {
        let start = source.find(&self.text)?;
        let end = start + self.text.len();
        bodies(source)
            .into_iter()
            .filter(|body| body.start <= start && end <= body.end)
            .min_by_key(Range::len)
    }
}

/// What stands between the braces of functions; those aside that are `const`, or return an `impl`, of which
/// there can be only one.
fn bodies(source: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    // Of each brace that is open where it is, and whether it is a function's.
    let mut open = Vec::new();
    // Where the words began that lead to the next brace.
    let mut head = 0;
    let mut rest = 0;
    while let Some(next) = source[rest..].chars().next() {
        let at = rest;
        rest += skip(&source[at..]).max(next.len_utf8());
        match next {
            '{' => {
                let words = &source[head..at];
                let is_function = words.split_whitespace().any(|word| word == "fn");
                let is_single = words.contains("const fn") || words.contains("-> impl");
                open.push((rest, is_function && !is_single));
                head = rest;
            }
            '}' => {
                if let Some((start, true)) = open.pop() {
                    found.push(start..at);
                }
                head = rest;
            }
            ';' => head = rest,
            _ => {}
        }
    }
    found
}

/// How long the comment or the literal is that stands here; 0 if there is none.
fn skip(text: &str) -> usize {
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Slots,
    Epoch,
    /// Not loom at all: the storms in `shuttle/`.
    Shuttle,
}

fn read_bugs(package: &Path) -> Vec<Bug> {
    let root = package.parent().expect("the package lies in the crate");
    let source = |path: PathBuf| {
        let name = path.strip_prefix(root).expect("it lies under it").to_string_lossy().into_owned();
        (name, fs::read_to_string(&path).expect("a source can be read"))
    };
    let is_rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    let sources: Vec<_> = files_under(&root.join("src")).into_iter().filter(is_rust).map(source).collect();
    let mut paths: Vec<_> =
        files_under(&package.join("planted")).into_iter().filter(|p| p.extension().is_some()).collect();
    paths.sort();
    let mut bugs: Vec<_> = paths.iter().map(|path| read_bug(path)).collect();
    bugs.iter_mut().for_each(|bug| bug.find(&sources));
    bugs
}

fn read_bug(path: &Path) -> Bug {
    let whole = fs::read_to_string(path).expect("a bug can be read");
    let complain = |what: &str| -> ! { panic!("{}: {what}", path.display()) };
    let Some((head, rest)) = whole.split_once("---- text\n") else { complain("no `---- text`") };
    let Some((text, replacement)) = rest.split_once("---- bug\n") else { complain("no `---- bug`") };
    let lines = |key: &'static str| head.lines().filter_map(move |line| line.strip_prefix(key));
    let models = lines("model: ").map(str::to_owned);
    let kinds = lines("with: ").map(|kind| match kind {
        "slots" => Kind::Slots,
        "epoch" => Kind::Epoch,
        "shuttle" => Kind::Shuttle,
        _ => complain("`with` is slots, epoch or shuttle"),
    });
    let bug = Bug {
        name: path.file_stem().expect("a name").to_string_lossy().into_owned(),
        file: Err("nobody has looked for it".to_owned()),
        models: models.collect(),
        kinds: kinds.collect(),
        text: text.to_owned(),
        replacement: replacement.to_owned(),
    };
    if bug.models.is_empty() || bug.kinds.is_empty() || bug.text == bug.replacement {
        complain("a bug needs a model, a kind, and a difference");
    }
    bug
}

/// Every `#[test]` in the models' files must be named by a bug.
fn models_without_bugs(tests: &Path, bugs: &[Bug]) -> Vec<String> {
    let named: BTreeSet<_> = bugs.iter().flat_map(|bug| &bug.models).collect();
    let mut missing = Vec::new();
    for path in files_under(tests) {
        let file = path.file_stem().expect("a name").to_string_lossy();
        let source = fs::read_to_string(&path).expect("a model can be read");
        for (mark, _) in source.match_indices("#[test]\n") {
            let line = source[mark..].lines().find_map(|line| line.trim().strip_prefix("fn "));
            let test = line.and_then(|line| line.split_once('(')).map(|(name, _)| name);
            let model = format!("{file}::{}", test.expect("a test has a name"));
            if !named.contains(&model) {
                missing.push(format!("no bug is planted for {model}"));
            }
        }
    }
    missing
}

/// A copy of the crate to plant bugs in. Kept between runs, so that little is compiled again.
struct Field {
    tree: PathBuf,
    target: PathBuf,
}

impl Field {
    fn prepare(package: &Path) -> Self {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| package.join("target"), PathBuf::from);
        let target = std::path::absolute(target).expect("an absolute path");
        Self { tree: target.join("planted-bugs"), target }
    }

    /// Copies everything, sources as `change` makes them.
    fn sow(&self, package: &Path, change: impl Fn(&str, String) -> String) {
        let root = package.parent().expect("the package lies in the crate");
        // What models and tests have in common is among the tests; the docs show examples.
        for part in ["src", "examples", "tests/common", "loom-tests/tests", "loom-tests/shuttle/tests"] {
            self.mirror(root, part, &change);
        }
        let shuttle = ["shuttle/Cargo.toml", "shuttle/Cargo.lock", "shuttle/build.rs"];
        for file in ["Cargo.toml", "Cargo.lock", "build.rs"].into_iter().chain(shuttle) {
            let file = Path::new("loom-tests").join(file);
            write_if_new(&self.tree.join(&file), &fs::read(root.join(&file)).expect("it can be read"));
        }
    }

    /// Copies the folder `part`, and removes what is no longer there.
    fn mirror(&self, root: &Path, part: &str, change: &impl Fn(&str, String) -> String) {
        let (from, to) = (root.join(part), self.tree.join(part));
        let mut extra: BTreeSet<_> = files_under(&to).into_iter().collect();
        for path in files_under(&from) {
            let copy = to.join(path.strip_prefix(&from).expect("it lies under it"));
            let name = path.strip_prefix(root).expect("it lies under it").to_string_lossy();
            let source = change(&name, fs::read_to_string(&path).expect("a source can be read"));
            if name == "src/lib.rs" {
                // Always as new: to cargo the trees are one package, so that what it built of another one since
                // would do for this one, too, if all of this one's files were older.
                let _ = fs::remove_file(&copy);
            }
            write_if_new(&copy, source.as_bytes());
            extra.remove(&copy);
        }
        for path in extra {
            fs::remove_file(path).expect("an old copy can be removed");
        }
    }

    /// Plants one bug and no other, and has its models find it.
    fn plant_alone(&self, bug: &Bug, file: &str) -> Result<(), String> {
        let path = self.tree.join(file);
        let sound = fs::read_to_string(&path).expect("the copy can be read");
        fs::write(&path, sound.replacen(&bug.text, &bug.replacement, 1)).expect("the copy can be written");
        let result = bug.kinds.iter().try_for_each(|&kind| {
            let program = self.build(kind)?;
            bug.models.iter().try_for_each(|model| self.must_fail(&program, model, None))
        });
        fs::write(&path, sound).expect("the copy can be written");
        result
    }

    /// The model must fail, in a program where the bug with this number is waked, or has been planted alone.
    fn must_fail(&self, program: &Path, model: &str, bug: Option<usize>) -> Result<(), String> {
        let log = self.tree.join(format!("log-{}", bug.unwrap_or_default()));
        let file = fs::File::create(&log).expect("the log can be written");
        let mut run = Command::new(program)
            .args(["--exact", model])
            .env("TIDEWHEEL_LOOM", RUNS)
            .env("TIDEWHEEL_STORMS", "20")
            .env("TIDEWHEEL_BUG", bug.unwrap_or_default().to_string())
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .spawn()
            .expect("a model starts");
        let started = Instant::now();
        let status = loop {
            if let Some(status) = run.try_wait().expect("a child can be waited for") {
                break status;
            }
            if started.elapsed() > PATIENCE {
                let _ = run.kill();
                let _ = run.wait();
                return Err(format!("{model} did not end in {} s", PATIENCE.as_secs()));
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let output = fs::read(&log).expect("the log can be read");
        let output = String::from_utf8_lossy(&output);
        if !output.contains("running 1 test\n") {
            return Err(format!("there is no model {model}"));
        }
        if output.contains("overflowed its stack") {
            return Err(format!("{model} fails for want of stack, which says nothing"));
        }
        if status.success() { Err(format!("it survives {model}")) } else { Ok(()) }
    }

    /// Compiles the models; returns the program.
    fn build(&self, kind: Kind) -> Result<PathBuf, String> {
        let (package, tests, flags) = match kind {
            Kind::Slots => ("loom-tests", "models", ""),
            Kind::Epoch => ("loom-tests", "models", "--cfg crossbeam_loom"),
            Kind::Shuttle => ("loom-tests/shuttle", "storms", ""),
        };
        let build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["test", "--offline", "--no-run", "--message-format=json-render-diagnostics"])
            .args(["--release", "--test", tests])
            .current_dir(self.tree.join(package))
            // Where the models' own run has left its dependencies.
            .env("CARGO_TARGET_DIR", &self.target)
            .env("RUSTFLAGS", flags)
            // A bug fails its model soon: what counts is the time to compile. (But without any optimization, what is
            // moved is copied, and the models' small stacks overflow.)
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_INCREMENTAL", "true")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .stdin(Stdio::null())
            .output()
            .expect("cargo runs");
        if !build.status.success() {
            let log = String::from_utf8_lossy(&build.stderr).into_owned();
            let error = log.find("error").map_or("", |start| &log[start..]);
            let error = error.lines().take(12).collect::<Vec<_>>().join("\n    ");
            return Err(format!("it does not compile:\n    {error}"));
        }
        let messages = String::from_utf8_lossy(&build.stdout);
        let program = messages.rsplit_once("\"executable\":\"").and_then(|(_, rest)| rest.split_once('"'));
        program.map(|(path, _)| PathBuf::from(path)).ok_or_else(|| "cargo names no program".to_owned())
    }
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_under(&path));
        } else {
            files.push(path);
        }
    }
    files
}

fn write_if_new(path: &Path, content: &[u8]) {
    if fs::read(path).ok().as_deref() != Some(content) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder can be made");
        fs::write(path, content).expect("the copy can be written");
    }
}
