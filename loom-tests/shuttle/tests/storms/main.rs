//! Storms: several threads that load a few keys, in all ways, while others remove, write, and let time pass, at random.
//!
//! Whatever happens: no two loaders of one key run at once, unless the key was written or removed in between; every call returns; a value that was loaded is no older than the
//! last removal or write that had returned when it was asked for, and was not over then; and at the end the ledger agrees, no flight is left,
//! and every value is dropped. A schedule that fails is printed, and can be played again (`shuttle::replay`).

mod world;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use world::{Action, TTL, World};

/// Runs a scenario for a few seconds: half of them with threads drawn at random, half with priorities that change seldom,
/// which meets what takes few but particular switches.
fn storm(scenario: impl Fn() + Send + Sync + 'static) {
    let seconds = std::env::var("TIDEWHEEL_STORMS").ok().and_then(|text| text.parse().ok()).unwrap_or(3.0);
    let scenario = Arc::new(scenario);
    let run = |scheduler: Box<dyn Scheduler + Send>| {
        let mut config = Config::new();
        config.max_time = Some(Duration::from_secs_f64(seconds / 2.0));
        config.stack_size = 0x1_0000;
        config.silence_warnings = true;
        let (scenario, runs) = (Arc::clone(&scenario), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&runs);
        Runner::new(scheduler, config).run(move || {
            counted.fetch_add(1, Relaxed);
            scenario();
        });
        runs.load(Relaxed)
    };
    let began = Instant::now();
    let many = usize::MAX;
    let runs = run(Box::new(RandomScheduler::new(many))) + run(Box::new(PctScheduler::new(3, many)));
    let thread = std::thread::current();
    let (name, took) = (thread.name().unwrap_or_default(), began.elapsed().as_secs_f64());
    println!("{name}: {runs} schedules in {took:.1} s, {:.0} a second", runs as f64 / took);
}

/// As many as can come at once ask for one key, which is removed meanwhile.
#[test]
fn many_callers_of_one_key() {
    storm(|| {
        World::lasting().storm(1, 8, 1, &[Action::Load, Action::Load, Action::Load, Action::Invalidate])
    });
}

/// Loaders that fail, panic, say that there is nothing; callers that are out of time, or cancelled.
#[test]
fn loaders_that_fail() {
    const DEEDS: &[Action] = &[
        Action::Load,
        Action::Fail,
        Action::Panic,
        Action::Nothing,
        Action::OutOfTime,
        Action::Await,
        Action::Cancel,
    ];
    storm(|| World::lasting().storm(1, 5, 3, DEEDS));
}

/// As many as can come at once compute one key; some of them are cancelled, and the key is loaded, and removed meanwhile.
#[test]
fn many_who_compute_one_key() {
    const DEEDS: &[Action] = &[
        Action::Compute,
        Action::Compute,
        Action::AwaitCompute,
        Action::CancelCompute,
        Action::Load,
        Action::Invalidate,
    ];
    storm(|| World::lasting().storm(1, 5, 3, DEEDS));
}

/// Everything at once, over two keys.
#[test]
fn loads_removals_and_writes() {
    storm(|| World::lasting().storm(2, 4, 4, Action::ALL));
}

/// The same where entries expire.
#[test]
fn what_expires() {
    storm(|| World::build(|builder| builder.time_to_live(TTL)).storm(2, 4, 4, Action::ALL));
}

/// The same where entries expire at once.
#[test]
fn what_expires_at_once() {
    storm(|| World::build(|builder| builder.time_to_live(Duration::ZERO)).storm(2, 4, 3, Action::ALL));
}

/// The same with room for one entry, of three keys.
#[test]
fn what_is_evicted() {
    storm(|| World::build(|builder| builder.max_capacity(1)).storm(3, 4, 4, Action::ALL));
}

/// Loaders that load other keys, each of which may load the first: a cycle. Time limits are the way out of it.
#[test]
fn a_cycle_of_loads_with_a_time_limit() {
    storm(|| {
        let world = World::lasting();
        let threads = [(0, 1), (1, 0)].map(|(first, second)| {
            world.spawn(move |world| {
                let inner = |world: &World| world.get_out_of_time(second, |_| {}).unwrap_or(7);
                world.get_out_of_time(first, |world| {
                    inner(world);
                })
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        world.end();
    });
}
