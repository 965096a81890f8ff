//! What the models share: how far each is explored.

// Each file of models takes what it needs.
#![allow(dead_code)]

/// How far a model is explored. The more preemptions in one run, the more runs there are.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// With the stand-in for epoch reclamation.
    pub standin: Preemptions,
    /// With real epochs, whose own steps are part of the model.
    pub epoch: Preemptions,
}

#[derive(Clone, Copy)]
pub enum Preemptions {
    AtMost(usize),
    /// At most so many in the short set, any number otherwise.
    AnyOr(usize),
    /// At most so many in the short set, and so many otherwise.
    ShortLong(usize, usize),
}

/// Two threads, the main one included: every run there is.
pub const TWO: Bounds = Bounds { standin: Preemptions::AnyOr(3), epoch: Preemptions::AnyOr(2) };

/// Three threads.
pub const THREE: Bounds =
    Bounds { standin: Preemptions::ShortLong(2, 3), epoch: Preemptions::ShortLong(1, 2) };

/// Runs `model` in every way within the bounds. Says how many runs there were.
pub fn explore(bounds: Bounds, model: impl Fn() + Sync + Send + 'static) {
    let short = std::env::var_os("TIDEWHEEL_LOOM").is_some_and(|set| set == "short");
    let bound = match if cfg!(tidewheel_standin) { bounds.standin } else { bounds.epoch } {
        Preemptions::AtMost(most) | Preemptions::ShortLong(_, most) if !short => Some(most),
        Preemptions::AnyOr(_) if !short => None,
        Preemptions::AtMost(most) | Preemptions::AnyOr(most) | Preemptions::ShortLong(most, _) => Some(most),
    };
    let mut builder = loom::model::Builder::new();
    if builder.preemption_bound.is_none() {
        builder.preemption_bound = bound;
    }
    builder.max_branches = 50_000;
    let runs = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let started = std::time::Instant::now();
    builder.check({
        let runs = std::sync::Arc::clone(&runs);
        move || {
            runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            model();
        }
    });
    let runs = runs.load(std::sync::atomic::Ordering::Relaxed);
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    println!("{name}: {runs} runs, at most {bound:?} preemptions, {:.1?}", started.elapsed());
}
