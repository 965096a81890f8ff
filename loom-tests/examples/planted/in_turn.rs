//! Which bugs are found without a race, and which models are shown to meet one.
//!
//! A model that is about a race may fail with a bug all the same where its threads run one after the other: then the bug
//! shows that the model looks at the result, and not that it meets the race. So each model with "against" in its name wants
//! a bug that it finds, and does not find without a preemption. What has none is told in `planted/in_turn.txt`, with the
//! reason.
//!
//! In turn means: a thread runs until it ends or waits for another, and each load sees the latest store. Loom tries no
//! preemption then, and each ordering of the copy is made SeqCst, since a load of another ordering may see an older store
//! without any. Each model runs so twice: those that start threads go on, or have the new thread go first.
//!
//! (The reaper's own thread goes second in both, since it is started under a lock. So of a bug that is said to need a race
//! there, it may be enough that the reaper goes first.)

use crate::bug::{self, Bug, Kind, Source};
use crate::field::Field;
use crate::orderings::explained_in;
use crate::{RUNS, models_in, side_by_side, weave};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;

/// A bug that was asked for, a model of it, and whether that fails in turn.
type Answer = (String, String, Result<bool, String>);

/// Asks all bugs with one of those parts in their names.
pub(crate) fn run(package: &Path, sources: &[Source], wanted: &[String]) -> ExitCode {
    let mut bugs = bug::read_all(package, sources);
    bugs.retain(|bug| wanted.is_empty() || wanted.iter().any(|part| bug.name.contains(part.as_str())));
    let (bugs, others): (Vec<_>, Vec<_>) = bugs.into_iter().partition(|bug| can_be_asked(bug, sources));
    if bugs.is_empty() {
        eprintln!("error: there is no such bug");
        return ExitCode::FAILURE;
    }
    let answers = match ask(package, &bugs) {
        Ok(answers) => answers,
        Err(problem) => {
            eprintln!("error: {problem}");
            return ExitCode::FAILURE;
        }
    };
    let mut need_a_race = BTreeSet::new();
    let mut problems = Vec::new();
    for (bug, model, answer) in answers {
        match answer {
            Ok(true) => println!("in turn   {bug:<48} {model}"),
            Ok(false) => {
                println!("by a race {bug:<48} {model}");
                need_a_race.insert(model);
            }
            Err(problem) => problems.push(format!("{bug}: {problem}")),
        }
    }
    println!("{} bugs asked; {} are compiled by themselves, or no bugs of slots", bugs.len(), others.len());
    if wanted.is_empty() {
        problems.extend(not_shown(package, &need_a_race));
    }
    for problem in &problems {
        eprintln!("error: {problem}");
    }
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Those that all stand in one program; those of crossbeam's epochs have too many ways even without preemptions.
fn can_be_asked(bug: &Bug, sources: &[Source]) -> bool {
    bug.kinds.contains(&Kind::Slots) && weave::can_be_woven(bug, sources)
}

/// Has each bug's models run in turn with it.
fn ask(package: &Path, bugs: &[Bug]) -> Result<Vec<Answer>, String> {
    let field = Field::prepare(package).in_turn(false);
    let others_first = Field::prepare(package).in_turn(true);
    field.sow(package, |name, source| in_order(name, weave::weave(name, source, bugs)));
    let program = field.build(Kind::Slots)?;
    // Else what fails would not say whose fault it is.
    crate::all_pass(&program)?;
    let answers = Mutex::new(Vec::new());
    side_by_side(bugs.len(), |at| {
        for model in &bugs[at].models {
            let fails = |field: &Field| field.fails(&program, model, Some(at + 1), RUNS);
            let answer = fails(&field).and_then(|does| if does { Ok(true) } else { fails(&others_first) });
            answers.lock().expect("no panic").push((bugs[at].name.clone(), model.clone(), answer));
        }
    });
    let mut answers = answers.into_inner().expect("no panic");
    answers.sort_by(|one, other| (&one.0, &one.1).cmp(&(&other.0, &other.1)));
    Ok(answers)
}

/// The source with the strongest orderings; and models in which whoever starts a thread lets it go first if the
/// environment says so.
fn in_order(name: &str, source: String) -> String {
    const ORDERINGS: [&str; 4] = ["Relaxed", "Acquire", "Release", "AcqRel"];
    if name.starts_with("src/") {
        let strengthen =
            |source: String, weak| source.replace(&format!("Ordering::{weak}"), "Ordering::SeqCst");
        return ORDERINGS.into_iter().fold(source, strengthen);
    }
    if !name.starts_with("loom-tests/tests/") {
        return source;
    }
    let mut source = source.replace("thread::spawn(", "crate::common::start(");
    if name.ends_with("models/common/mod.rs") {
        source += START;
    }
    source
}

const START: &str = r#"
#[allow(warnings)]
pub fn start<R: 'static>(run: impl FnOnce() -> R + 'static) -> loom::thread::JoinHandle<R> {
    let other = loom::thread::spawn(run);
    if std::env::var_os("TIDEWHEEL_OTHERS_FIRST").is_some() {
        loom::thread::yield_now();
    }
    other
}
"#;

/// What is wrong with the models of races: those that no bug shows to meet one, and whose reason is not told; and reasons
/// that are told for nothing.
fn not_shown(package: &Path, need_a_race: &BTreeSet<String>) -> Vec<String> {
    let explained = explained_in(&package.join("planted/in_turn.txt"));
    let models = models_in(&package.join("tests/models"));
    let is_of_a_race = |model: &&String| model.contains("against") && !need_a_race.contains(*model);
    let missing = models.iter().filter(is_of_a_race).filter(|model| !explained.contains_key(*model));
    let stale = explained.keys().filter(|model| !models.contains(model) || need_a_race.contains(*model));
    let missing = missing.map(|model| format!("no bug shows that {model} meets a race"));
    missing.chain(stale.map(|model| format!("planted/in_turn.txt explains {model} for nothing"))).collect()
}
