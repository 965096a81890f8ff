//! Plants one bug at a time in a copy of the crate and demands that its model fails.
//!
//! A check that cannot fail proves nothing. Each file in `planted/` is one small bug, with the model that
//! must find it. It is an error here if a bug survives its model, if the text to replace is not there
//! exactly once any more, if the bug does not compile, and if a model has no bug at all.
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
//! file: src/reaper.rs
//! model: reaper::park_against_wake
//! with: slots                          (or epoch; more than one line of these is fine)
//! ---- text
//! what to replace, as it stands in the file
//! ---- bug
//! what to put there
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// A model that takes longer than this to fail is of no use.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let bugs = read_bugs(&package.join("planted"));
    let mut problems = Vec::new();
    if wanted.is_empty() {
        problems.extend(models_without_bugs(&package.join("tests"), &bugs));
    }
    let field = Field::prepare(package);
    let started = Instant::now();
    let mut found = 0;
    for bug in &bugs {
        if !wanted.is_empty() && !wanted.iter().any(|part| bug.name.contains(part.as_str())) {
            continue;
        }
        let began = Instant::now();
        let result = field.plant(bug);
        let took = began.elapsed().as_secs_f32();
        match result {
            Ok(()) => {
                found += 1;
                println!("found     {:<44} {took:>5.1} s", bug.name);
            }
            Err(problem) => {
                println!("NOT FOUND {:<44} {took:>5.1} s: {problem}", bug.name);
                problems.push(format!("{}: {problem}", bug.name));
            }
        }
    }
    println!("{found} planted bugs found in {:.0} s", started.elapsed().as_secs_f32());
    for problem in &problems {
        eprintln!("error: {problem}");
    }
    if problems.is_empty() && found > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Bug {
    name: String,
    file: String,
    /// The test binary and the test in it.
    models: Vec<(String, String)>,
    kinds: Vec<Kind>,
    text: String,
    replacement: String,
}

#[derive(Clone, Copy)]
enum Kind {
    Slots,
    Epoch,
}

fn read_bugs(folder: &Path) -> Vec<Bug> {
    let mut paths: Vec<_> = files_under(folder).into_iter().filter(|p| p.extension().is_some()).collect();
    paths.sort();
    paths.iter().map(|path| read_bug(path)).collect()
}

fn read_bug(path: &Path) -> Bug {
    let whole = fs::read_to_string(path).expect("a bug can be read");
    let complain = |what: &str| -> ! { panic!("{}: {what}", path.display()) };
    let Some((head, rest)) = whole.split_once("---- text\n") else { complain("no `---- text`") };
    let Some((text, replacement)) = rest.split_once("---- bug\n") else { complain("no `---- bug`") };
    let lines = |key: &'static str| head.lines().filter_map(move |line| line.strip_prefix(key));
    let models = lines("model: ").map(|model| match model.split_once("::") {
        Some((binary, test)) => (binary.to_owned(), test.to_owned()),
        None => complain("a model is named file::test"),
    });
    let kinds = lines("with: ").map(|kind| match kind {
        "slots" => Kind::Slots,
        "epoch" => Kind::Epoch,
        _ => complain("`with` is slots or epoch"),
    });
    let bug = Bug {
        name: path.file_stem().expect("a name").to_string_lossy().into_owned(),
        file: lines("file: ").next().unwrap_or_else(|| complain("no `file: `")).to_owned(),
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
    let named: BTreeSet<_> = bugs.iter().flat_map(|bug| bug.models.iter().cloned()).collect();
    let mut missing = Vec::new();
    for path in files_under(tests) {
        let binary = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let source = fs::read_to_string(&path).expect("a model can be read");
        for (mark, _) in source.match_indices("#[test]\n") {
            let line = source[mark..].lines().find_map(|line| line.trim().strip_prefix("fn "));
            let test = line.and_then(|line| line.split_once('(')).map(|(name, _)| name.to_owned());
            let model = (binary.clone(), test.expect("a test has a name"));
            if !named.contains(&model) {
                missing.push(format!("no bug is planted for {}::{}", model.0, model.1));
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
        let root = package.parent().expect("the package lies in the crate");
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| package.join("target"), PathBuf::from);
        let target = std::path::absolute(target).expect("an absolute path");
        let field = Self { tree: target.join("planted-bugs"), target };
        for part in ["src", "loom-tests/tests"] {
            field.mirror(root, part);
        }
        for file in ["Cargo.toml", "Cargo.lock", "build.rs", "standin/Cargo.toml"] {
            let file = Path::new("loom-tests").join(file);
            if let Ok(content) = fs::read(root.join(&file)) {
                write_if_new(&field.tree.join(&file), &content);
            }
        }
        field
    }

    /// Copies the folder `part`, and removes what is no longer there.
    fn mirror(&self, root: &Path, part: &str) {
        let (from, to) = (root.join(part), self.tree.join(part));
        let mut extra: BTreeSet<_> = files_under(&to).into_iter().collect();
        for path in files_under(&from) {
            let copy = to.join(path.strip_prefix(&from).expect("it lies under it"));
            write_if_new(&copy, &fs::read(&path).expect("a source can be read"));
            extra.remove(&copy);
        }
        for path in extra {
            fs::remove_file(path).expect("an old copy can be removed");
        }
    }

    fn plant(&self, bug: &Bug) -> Result<(), String> {
        let path = self.tree.join(&bug.file);
        let sound = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", bug.file))?;
        let times = sound.matches(&bug.text).count();
        if times != 1 {
            return Err(format!("its text is there {times} times in {}, not once", bug.file));
        }
        fs::write(&path, sound.replacen(&bug.text, &bug.replacement, 1)).expect("the copy can be written");
        let result = self.try_models(bug);
        fs::write(&path, sound).expect("the copy can be written");
        result
    }

    fn try_models(&self, bug: &Bug) -> Result<(), String> {
        for (binary, test) in &bug.models {
            for &kind in &bug.kinds {
                self.must_fail(binary, test, kind)?;
            }
        }
        Ok(())
    }

    fn must_fail(&self, binary: &str, test: &str, kind: Kind) -> Result<(), String> {
        let model = self.build(binary, kind)?;
        let log = self.tree.join("log");
        let file = fs::File::create(&log).expect("the log can be written");
        let mut run = Command::new(model)
            .args(["--exact", test])
            .env("TIDEWHEEL_LOOM", "short")
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
                return Err(format!("{binary}::{test} did not end in {} s", PATIENCE.as_secs()));
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let output = fs::read(&log).expect("the log can be read");
        let output = String::from_utf8_lossy(&output);
        if !output.contains("running 1 test\n") {
            return Err(format!("there is no model {binary}::{test}"));
        }
        if output.contains("overflowed its stack") {
            return Err(format!("{binary}::{test} fails for want of stack, which says nothing"));
        }
        if status.success() { Err(format!("it survives {binary}::{test}")) } else { Ok(()) }
    }

    /// Compiles a file of models; returns the program.
    fn build(&self, binary: &str, kind: Kind) -> Result<PathBuf, String> {
        let flags = match kind {
            Kind::Slots => "",
            Kind::Epoch => "--cfg crossbeam_loom",
        };
        let build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["test", "--offline", "--no-run", "--message-format=json-render-diagnostics"])
            .args(["--release", "--test", binary])
            .current_dir(self.tree.join("loom-tests"))
            // Where the models' own run has left its dependencies.
            .env("CARGO_TARGET_DIR", &self.target)
            .env("RUSTFLAGS", flags)
            // Each bug is compiled anew and fails soon: what counts is the time to compile. (But without any
            // optimization, what is moved is copied, and the models' small stacks overflow.)
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
        program.map(|(path, _)| PathBuf::from(path)).ok_or_else(|| format!("there is no file {binary}"))
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
