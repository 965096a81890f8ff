//! What the models share: how each is explored, and caches whose values notice every mistake.

#![allow(unreachable_pub)]

#[path = "../../../../tests/common/alone.rs"]
pub mod alone;
pub mod cache;
pub mod loads;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// How many runs of a model one number of preemptions may take, where `TIDEWHEEL_LOOM` says nothing else. (With crossbeam's epochs
/// each takes three times as long, and most are about those.)
const RUNS: usize = if cfg!(crossbeam_loom) { 20_000 } else { 100_000 };

/// So many preemptions are explored to their end, whatever that takes. (Crossbeam's epochs branch on what each relaxed load may
/// see too, without any preemption.)
const LEAST: usize = if cfg!(crossbeam_loom) { 0 } else { 1 };

/// How many runs there are between two looks at their number.
const LOOK: usize = 200;

/// Runs `model` in every way with no preemption, then with at most one, at most two, and so on, until there are no more ways, or
/// until so many preemptions have more than `RUNS`: most faults need few (Musuvathi and Qadeer, "Iterative Context Bounding for
/// Systematic Testing of Multithreaded Programs", PLDI 2007). Says how far it came.
///
/// The environment's `TIDEWHEEL_LOOM` is another number of runs. Loom's own `LOOM_MAX_PREEMPTIONS` asks for that number
/// of preemptions, and no other.
pub fn explore(model: impl Fn() + Sync + Send + 'static) {
    let asked = std::env::var("TIDEWHEEL_LOOM").ok();
    let most = asked.map_or(RUNS, |asked| asked.parse().expect("TIDEWHEEL_LOOM is a number of runs"));
    let model = Arc::new(model);
    if std::env::var_os("LOOM_MAX_PREEMPTIONS").is_some() {
        explore_within(None, usize::MAX, &model);
        return;
    }
    let started = Instant::now();
    let mut whole = Explored::default();
    let reached = (0..)
        .find_map(|preemptions| {
            let most = if preemptions <= LEAST { usize::MAX } else { most };
            let explored = explore_within(Some(preemptions), most, &model);
            if !explored.is_whole {
                return Some(format!(
                    "at most {} preemptions, and there are more than {most} with {preemptions}",
                    preemptions - 1
                ));
            }
            // There are few that take more, so to try them all is no more than to go on.
            let are_few = preemptions >= LEAST && explored.runs < whole.runs + whole.runs / 2;
            whole = explored;
            let all = are_few.then(|| explore_within(None, most, &model)).filter(|all| all.is_whole)?;
            whole = all;
            Some("any number of preemptions".to_owned())
        })
        .expect("it ends");
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default();
    println!("{name}: {} runs with {reached}; {:.1?}", whole.runs, started.elapsed());
}

#[derive(Default)]
struct Explored {
    runs: usize,
    is_whole: bool,
}

/// Explores one number of preemptions, or any number, in `most` runs.
fn explore_within(
    preemptions: Option<usize>,
    most: usize,
    model: &Arc<impl Fn() + Sync + Send + 'static>,
) -> Explored {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions.or(builder.preemption_bound);
    builder.max_branches = 20_000;
    builder.max_permutations = Some(most);
    builder.checkpoint_interval = LOOK;
    let runs = Arc::new(AtomicUsize::new(0));
    let (counted, model) = (Arc::clone(&runs), Arc::clone(model));
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        model();
    });
    let runs = runs.load(Relaxed);
    // It looks before each run whose number is a multiple of `LOOK`, and stops there if there were enough.
    let is_whole = runs + 1 < most || runs % LOOK != LOOK - 1;
    Explored { runs, is_whole }
}
