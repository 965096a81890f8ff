//! What the models share: how far each is explored, and caches whose values notice every mistake.

#![allow(unreachable_pub)]

#[path = "../../../../tests/common/alone.rs"]
pub mod alone;
pub mod cache;
pub mod loads;

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
pub fn explore(bounds: Bounds, model: impl Fn() + Sync + Send + 'static) {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    let short = std::env::var_os("TIDEWHEEL_LOOM").is_some_and(|set| set == "short");
    let preemptions = if cfg!(crossbeam_loom) { bounds.epoch } else { bounds.slots };
    let mut builder = loom::model::Builder::new();
    // Loom's own variable wins.
    if builder.preemption_bound.is_none() {
        builder.preemption_bound = if short { Some(preemptions.short) } else { preemptions.long };
    }
    let bound = builder.preemption_bound.map_or("any number of".to_owned(), |most| format!("at most {most}"));
    builder.max_branches = 20_000;
    let runs = std::sync::Arc::new(AtomicU64::new(0));
    let counted = std::sync::Arc::clone(&runs);
    let started = std::time::Instant::now();
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        model();
    });
    let thread = std::thread::current();
    let (name, took) = (thread.name().unwrap_or_default(), started.elapsed());
    println!("{name}: {} runs with {bound} preemptions in {took:.1?}", runs.load(Relaxed));
}
