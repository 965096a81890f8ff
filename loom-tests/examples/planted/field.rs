//! A copy of the crate in which bugs are planted, its programs, and their runs.

use crate::bug::{Bug, Kind, Place, files_under};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A model that takes longer than this to fail is of no use.
const PATIENCE: Duration = Duration::from_secs(120);

/// A copy of the crate to plant bugs in. Kept between runs, so that little is compiled again.
pub(crate) struct Field {
    tree: PathBuf,
    target: PathBuf,
    /// Whether models have their threads run in turn, and if so, whether new ones go first (`in_turn.rs`).
    in_turn: Option<bool>,
}

impl Field {
    pub(crate) fn prepare(package: &Path) -> Self {
        let target = target_of(package);
        Self { tree: target.join("planted-bugs"), target, in_turn: None }
    }

    /// The same, where models have their threads run in turn.
    pub(crate) fn in_turn(self, others_first: bool) -> Self {
        Self { in_turn: Some(others_first), ..self }
    }

    /// Copies everything, sources as `change` makes them.
    pub(crate) fn sow(&self, package: &Path, change: impl Fn(&str, String) -> String) {
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
    pub(crate) fn plant_alone(&self, bug: &Bug, place: &Place, runs: u32) -> Result<(), String> {
        let path = self.tree.join(&place.file);
        let sound = fs::read_to_string(&path).expect("the copy can be read");
        let mut planted = sound.clone();
        planted.replace_range(place.range.clone(), &bug.replacement);
        fs::write(&path, planted).expect("the copy can be written");
        let result = bug.kinds.iter().try_for_each(|&kind| {
            let program = self.build(kind)?;
            bug.models.iter().try_for_each(|model| self.must_fail(&program, model, None, runs))
        });
        fs::write(&path, sound).expect("the copy can be written");
        result
    }

    /// The model must fail, in a program where the bug with this number is waked, or has been planted alone.
    pub(crate) fn must_fail(
        &self,
        program: &Path,
        model: &str,
        bug: Option<usize>,
        runs: u32,
    ) -> Result<(), String> {
        if self.fails(program, model, bug, runs)? { Ok(()) } else { Err(format!("it survives {model}")) }
    }

    /// Whether the model fails; or why that cannot be said.
    pub(crate) fn fails(
        &self,
        program: &Path,
        model: &str,
        bug: Option<usize>,
        runs: u32,
    ) -> Result<bool, String> {
        let number = bug.unwrap_or_default().to_string();
        let Some((status, output)) = self.run_model(program, model, &number, runs) else {
            return Err(format!("{model} did not end in {} s", PATIENCE.as_secs()));
        };
        if !output.contains("running 1 test\n") {
            return Err(format!("there is no model {model}"));
        }
        if output.contains("overflowed its stack") {
            return Err(format!("{model} fails for want of stack, which says nothing"));
        }
        verdict(status)
            .map(|passed| !passed)
            .ok_or_else(|| format!("{model} ends with {status}, which says nothing"))
    }

    /// The numbers of the bugs at whose places the model comes by while all of them are asleep.
    pub(crate) fn asked_in(&self, program: &Path, model: &str, runs: u32) -> Vec<usize> {
        let Some((_, output)) = self.run_model(program, model, "asked", runs) else { return Vec::new() };
        let numbers = output.lines().filter_map(|line| line.strip_prefix("asked for bug "));
        numbers.map(|number| number.parse().expect("it is a number")).collect()
    }

    /// Runs one model; returns how it ended, and what it said. None if it took too long.
    fn run_model(&self, program: &Path, model: &str, bug: &str, runs: u32) -> Option<(ExitStatus, String)> {
        let log = self.tree.join(format!("log-{bug}-{}", model.replace("::", "-")));
        let mut run = Command::new(program);
        if let Some(others_first) = self.in_turn {
            run.env("LOOM_MAX_PREEMPTIONS", "0");
            if others_first {
                run.env("TIDEWHEEL_OTHERS_FIRST", "1");
            }
        }
        run.env("TIDEWHEEL_LOOM", runs.to_string()).env("TIDEWHEEL_STORMS", "20");
        let (status, output) = run_test(run, model, bug, &log, PATIENCE);
        Some((status?, output))
    }

    /// The names of all models of a program.
    pub(crate) fn models_of(program: &Path) -> Vec<String> {
        let output =
            Command::new(program).args(["--list", "--format=terse"]).output().expect("a program starts");
        let list = String::from_utf8_lossy(&output.stdout).into_owned();
        list.lines().filter_map(|line| line.strip_suffix(": test").map(str::to_owned)).collect()
    }

    /// Compiles the models; returns the program.
    pub(crate) fn build(&self, kind: Kind) -> Result<PathBuf, String> {
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

/// Takes the folder that the copies and programs of all plantings lie in, as long as the file is kept open: a second planting
/// waits for its end. Else the number of a bug would be that of another one.
pub(crate) fn lock(package: &Path) -> fs::File {
    let target = target_of(package);
    fs::create_dir_all(&target).expect("a folder can be made");
    let file = fs::File::create(target.join("planting.lock")).expect("the lock's file can be made");
    let ask = |wait: &[&str]| {
        // It locks what it is given as its input, which stays locked when it has ended. (`File::lock` is too new for the
        // `rust-version` of this package.)
        let handle = file.try_clone().expect("a second handle");
        Command::new("flock").args(wait).arg("0").stdin(handle).status().ok()
    };
    match ask(&["--nonblock"]) {
        Some(status) if status.success() => {}
        Some(_) => {
            println!("another planting is in {}: waits for its end", target.display());
            assert!(ask(&[]).is_some_and(|status| status.success()), "the lock can be taken");
        }
        None => println!("no flock here: see to it that nothing else is planted in {}", target.display()),
    }
    file
}

/// Where cargo builds, as an absolute path.
pub(crate) fn target_of(package: &Path) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| package.join("target"), PathBuf::from);
    std::path::absolute(target).expect("an absolute path")
}

/// Whether a test passed that ended so. None if that says nothing of the test: somebody killed it, or had it exit.
pub(crate) fn verdict(status: ExitStatus) -> Option<bool> {
    const FAILED: i32 = 101;
    const ABORT: i32 = 6;
    const SEGMENTATION_FAULT: i32 = 11;
    match (status.code(), status.signal()) {
        (Some(0), _) => Some(true),
        (Some(FAILED), _) | (_, Some(ABORT | SEGMENTATION_FAULT)) => Some(false),
        _ => None,
    }
}

pub(crate) fn write_if_new(path: &Path, content: &[u8]) {
    if fs::read(path).ok().as_deref() != Some(content) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder can be made");
        fs::write(path, content).expect("the copy can be written");
    }
}

/// Runs one test with that bug awake. Returns how it ended, unless that took longer than `patience`, and what it said.
pub(crate) fn run_test(
    mut program: Command,
    test: &str,
    bug: &str,
    log: &Path,
    patience: Duration,
) -> (Option<ExitStatus>, String) {
    let file = fs::File::create(log).expect("the log can be written");
    let run = program
        .args(["--exact", "--nocapture", test])
        .env("TIDEWHEEL_BUG", bug)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("a second handle"))
        .stderr(file)
        .spawn()
        .expect("a test starts");
    let status = ends_in_time(run, patience);
    let output = fs::read(log).expect("the log can be read");
    let _ = fs::remove_file(log);
    (status, String::from_utf8_lossy(&output).into_owned())
}

/// How it ended; nothing if that took longer than `patience`, and it was killed.
fn ends_in_time(mut run: Child, patience: Duration) -> Option<ExitStatus> {
    let started = Instant::now();
    loop {
        if let Some(status) = run.try_wait().expect("a child can be waited for") {
            return Some(status);
        }
        if started.elapsed() > patience {
            let _ = run.kill();
            let _ = run.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
