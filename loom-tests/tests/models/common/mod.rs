//! What the models share: how far each is explored, and caches whose values notice every mistake.

#![allow(unreachable_pub)]

#[path = "../../../../tests/common/alone.rs"]
pub mod alone;
pub mod cache;
pub mod loads;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How far a model is explored. The more preemptions in one run, the more runs there are.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// With the slots of `src/table/epoch.rs`.
    pub slots: Preemptions,
    /// With crossbeam-epoch, whose own steps are part of the model.
    pub epoch: Preemptions,
}

#[derive(Clone, Copy)]
pub struct Preemptions {
    /// In the short set.
    pub short: usize,
    /// Otherwise; any number if there is none.
    pub long: Option<usize>,
}

/// Any number; `short` of them in the short set.
pub const fn any_or(short: usize) -> Preemptions {
    Preemptions { short, long: None }
}

/// So many in the short set, and so many otherwise.
pub const fn at_most(short: usize, long: usize) -> Preemptions {
    Preemptions { short, long: Some(long) }
}

/// Two threads, the main one included.
pub const TWO: Bounds = Bounds { slots: any_or(5), epoch: at_most(2, 3) };

/// Two threads, one of which does the reaper's work: it pins often, and crossbeam's epochs have many steps.
pub const REAPING: Bounds = Bounds { slots: any_or(4), epoch: at_most(1, 2) };

/// Three threads. (Crossbeam's epochs branch on what each relaxed load may see too, without any preemption.)
pub const THREE: Bounds = Bounds { slots: at_most(2, 3), epoch: at_most(0, 1) };

/// Runs `model` in every way within the bounds. Says how many runs there were.
///
/// The environment's `TIDEWHEEL_LOOM` may ask for less: `short` for the short set's bounds; a number, for as many seconds at
/// most within the long ones, and then, if there were more ways left, for the short ones to their end.
pub fn explore(bounds: Bounds, model: impl Fn() + Sync + Send + 'static) {
    let asked = std::env::var("TIDEWHEEL_LOOM").ok();
    let seconds = asked.as_deref().and_then(|asked| asked.parse().ok()).map(Duration::from_secs);
    let preemptions = if cfg!(crossbeam_loom) { bounds.epoch } else { bounds.slots };
    let (short, long) = (Some(preemptions.short), preemptions.long);
    let model = Arc::new(model);
    let is_short = asked.as_deref() == Some("short");
    if is_short || explore_within(long, seconds, &model) == Explored::InPart {
        explore_within(short, None, &model);
    }
}

/// How many runs of a model there are between two looks at the time.
const LOOK: u64 = 200;

#[derive(PartialEq, Eq)]
enum Explored {
    Whole,
    InPart,
}

fn explore_within(
    preemptions: Option<usize>,
    time: Option<Duration>,
    model: &Arc<impl Fn() + Sync + Send + 'static>,
) -> Explored {
    let mut builder = loom::model::Builder::new();
    // Loom's own variables win.
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    builder.max_duration = builder.max_duration.or(time);
    let bound = builder.preemption_bound.map_or("any number of".to_owned(), |most| format!("at most {most}"));
    builder.max_branches = 20_000;
    // After so many runs it looks at the time.
    builder.checkpoint_interval = LOOK as usize;
    let runs = Arc::new(AtomicU64::new(0));
    let (counted, model) = (Arc::clone(&runs), Arc::clone(model));
    let started = Instant::now();
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        model();
    });
    let (took, runs) = (started.elapsed(), runs.load(Relaxed));
    let is_cut_off = builder.max_duration.is_some_and(|most| took >= most) && runs % LOOK == LOOK - 1;
    let (explored, end) =
        if is_cut_off { (Explored::InPart, ", and there are more") } else { (Explored::Whole, "") };
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default();
    println!("{name}: {runs} runs with {bound} preemptions in {took:.1?}{end}");
    explored
}
