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
//! cargo run --release --example planted                         all of them
//! cargo run --release --example planted -- freeze               those with "freeze" in their names
//! cargo run --release --example planted -- --orderings          each ordering of the source, weakened (`orderings.rs`)
//! cargo run --release --example planted -- --orderings epoch    those with "epoch" in their names
//! cargo run --release --example planted -- --orderings 0/4      every fourth, from the first one on
//! cargo run --release --example planted -- --in-turn            which bugs are found without a race (`in_turn.rs`)
//! cargo run --release --example planted -- --mutants LIST OUT   what the crate's tests miss (`mutants.rs`)
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

mod bug;
mod field;
mod in_turn;
mod mutants;
mod orderings;
#[path = "../../../tests/common/quote.rs"]
mod quote;
mod weave;

use bug::{Bug, Kind, Source, files_under};
use field::Field;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How many runs of a model each number of preemptions may take until the bug is found.
const RUNS: u32 = 100_000;
/// The same where all models are asked that come by a place, and how many runs tell which do.
const RUNS_OF_MANY: u32 = 5000;
const RUNS_TO_COME_BY: u32 = 400;

fn main() -> ExitCode {
    let mut wanted: Vec<String> = std::env::args().skip(1).collect();
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let _lock = field::lock(package);
    let sources = bug::sources(package.parent().expect("the package lies in the crate"));
    if wanted.first().is_some_and(|first| first == "--in-turn") {
        return in_turn::run(package, &sources, &wanted[1..]);
    }
    if let [first, list, folder] = &wanted[..] {
        if first == "--mutants" {
            let root = package.parent().expect("the package lies in the crate");
            return mutants::run(root, &sources, Path::new(list), Path::new(folder));
        }
    }
    let weakens = wanted.first().is_some_and(|first| first == "--orderings");
    let mut problems = Vec::new();
    let mut bugs;
    if weakens {
        wanted.remove(0);
        let explained = orderings::explained(package);
        bugs = orderings::all(&sources);
        problems.extend(orderings::stale(&explained, &bugs));
        println!("{} orderings weakened, {} of them explained", bugs.len(), explained.len());
        bugs.retain(|bug| !explained.contains_key(&bug.name));
        if let Some(part) = wanted.first().and_then(|part| orderings::Part::parse(part)) {
            wanted.remove(0);
            bugs = part.of(bugs);
            println!("{} of them in this part", bugs.len());
        }
    } else {
        bugs = bug::read_all(package, &sources);
        if wanted.is_empty() {
            problems.extend(models_without_bugs(&package.join("tests/models"), &bugs));
        }
    }
    bugs.retain(|bug| wanted.is_empty() || wanted.iter().any(|part| bug.name.contains(part.as_str())));
    let started = Instant::now();
    let mut found = 0;
    let mut report = |bug: &Bug, result: Result<String, String>, took: Duration| {
        let took = took.as_secs_f32();
        match result {
            Ok(model) => {
                found += 1;
                println!("found     {:<48} {took:>5.1} s {model}", bug.name);
            }
            Err(problem) => {
                println!("NOT FOUND {:<48} {took:>5.1} s: {problem}", bug.name);
                problems.push(format!("{}: {problem}", bug.name));
            }
        }
    };
    let alone = plant_together(package, &sources, bugs, &mut report);
    // The same tree: cargo takes two trees in one target folder for one package, and looks for changes in the one that it built last.
    let field = Field::prepare(package);
    field.sow(package, |_, source| source);
    if let Err(problem) = passes_without(&field, &alone) {
        eprintln!("error: {problem}");
        return ExitCode::FAILURE;
    }
    for bug in &alone {
        let began = Instant::now();
        let planted = |place| field.plant_alone(bug, &place, RUNS);
        let is_possible = if bug.models.is_empty() {
            Err("it lies in no function that can stand there twice".into())
        } else {
            Ok(())
        };
        let result = is_possible.and_then(|()| bug.place.clone()).and_then(planted);
        report(bug, result.map(|()| String::new()), began.elapsed());
    }
    println!("{found} planted bugs found in {:.0} s", started.elapsed().as_secs_f32());
    for problem in &problems {
        eprintln!("error: {problem}");
    }
    if problems.is_empty() && found > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Without any bug, the models pass that these bugs are for, which are compiled by themselves.
fn passes_without(field: &Field, alone: &[Bug]) -> Result<(), String> {
    for kind in [Kind::Slots, Kind::Epoch, Kind::Shuttle] {
        if alone.iter().any(|bug| !bug.models.is_empty() && bug.kinds.contains(&kind)) {
            all_pass(&field.build(kind)?)?;
        }
    }
    Ok(())
}

/// Plants all bugs that lie in the body of a function at once, each asleep, and wakes one at a time. Returns the
/// others.
fn plant_together(
    package: &Path,
    sources: &[Source],
    bugs: Vec<Bug>,
    report: &mut (impl FnMut(&Bug, Result<String, String>, Duration) + Send),
) -> Vec<Bug> {
    let (mut together, mut alone): (Vec<_>, Vec<_>) =
        bugs.into_iter().partition(|bug| weave::can_be_woven(bug, sources));
    if together.is_empty() {
        return alone;
    }
    let began = Instant::now();
    let field = Field::prepare(package);
    field.sow(package, |name, source| weave::weave(name, source, &together));
    let mut programs = Vec::new();
    for kind in [Kind::Slots, Kind::Epoch, Kind::Shuttle] {
        if !together.iter().any(|bug| bug.kinds.contains(&kind)) {
            continue;
        }
        match field.build(kind).and_then(|program| all_pass(&program).map(|()| program)) {
            Ok(path) => programs.push(Program { kind, path, asked: Vec::new() }),
            Err(problem) => {
                // Whose fault it is comes out when each is planted alone.
                println!("all at once: {problem}");
                together.append(&mut alone);
                return together;
            }
        }
    }
    println!("{} bugs planted at once in {:.0} s", together.len(), began.elapsed().as_secs_f32());
    if together.iter().any(|bug| bug.models.is_empty()) {
        programs.iter_mut().for_each(|program| program.ask(&field));
        println!("asked which models come by where, after {:.0} s", began.elapsed().as_secs_f32());
    }
    let report = Mutex::new(report);
    side_by_side(together.len(), |at| {
        let (bug, began) = (&together[at], Instant::now());
        let named = |program: &Program| {
            bug.models.iter().try_for_each(|model| field.must_fail(&program.path, model, Some(at + 1), RUNS))
        };
        let result = if bug.models.is_empty() {
            one_fails(&field, &programs, at + 1)
        } else {
            programs
                .iter()
                .filter(|program| bug.kinds.contains(&program.kind))
                .try_for_each(named)
                .map(|()| String::new())
        };
        (report.lock().expect("no panic"))(bug, result, began.elapsed());
    });
    alone
}

/// Calls `work` with each number below `count`, on as many threads as there are processors.
fn side_by_side(count: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(at) = Some(next.fetch_add(1, Relaxed)).filter(|&at| at < count) {
            work(at);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
}

/// The models with all bugs in them, asleep.
struct Program {
    kind: Kind,
    path: PathBuf,
    /// Of each model, the numbers of the bugs that it comes by. Filled if somebody wants to know.
    asked: Vec<(String, Vec<usize>)>,
}

impl Program {
    fn ask(&mut self, field: &Field) {
        let models = Field::models_of(&self.path);
        let asked = Mutex::new(Vec::new());
        side_by_side(models.len(), |at| {
            let numbers = field.asked_in(&self.path, &models[at], RUNS_TO_COME_BY);
            asked.lock().expect("no panic").push((models[at].clone(), numbers));
        });
        self.asked = asked.into_inner().expect("no panic");
        // Those that come by fewest places first: they are the smallest.
        self.asked.sort_by_key(|(_, numbers)| numbers.len());
    }
}

/// Returns the first model that fails with that bug, of all that come by it.
fn one_fails(field: &Field, programs: &[Program], bug: usize) -> Result<String, String> {
    let mut survived = 0;
    for program in programs {
        for (model, _) in program.asked.iter().filter(|(_, numbers)| numbers.contains(&bug)) {
            if field.must_fail(&program.path, model, Some(bug), RUNS_OF_MANY).is_ok() {
                return Ok(model.clone());
            }
            survived += 1;
        }
    }
    if survived == 0 {
        Err("no model comes by".into())
    } else {
        Err(format!("it survives {survived} models"))
    }
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

/// Every `#[test]` in the models' files must be named by a bug.
fn models_without_bugs(tests: &Path, bugs: &[Bug]) -> Vec<String> {
    let named: BTreeSet<_> = bugs.iter().flat_map(|bug| &bug.models).collect();
    let missing = models_in(tests).into_iter().filter(|model| !named.contains(model));
    missing.map(|model| format!("no bug is planted for {model}")).collect()
}

/// Every `#[test]` in the models' files, as tests are called.
fn models_in(tests: &Path) -> Vec<String> {
    let mut models = Vec::new();
    for path in files_under(tests) {
        let file = path.file_stem().expect("a name").to_string_lossy();
        let source = fs::read_to_string(&path).expect("a model can be read");
        for (mark, _) in source.match_indices("#[test]\n") {
            let line = source[mark..].lines().find_map(|line| line.trim().strip_prefix("fn "));
            let test = line.and_then(|line| line.split_once('(')).map(|(name, _)| name);
            models.push(format!("{file}::{}", test.expect("a test has a name")));
        }
    }
    models
}
