//! What the benches share: keys, a filled cache, threads that start together, a histogram.
#![allow(dead_code, reason = "each bench is a crate of its own and uses a part")]

pub(crate) mod histogram;
pub(crate) mod keys;

use criterion::Criterion;
use std::ops::Range;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};
use tidewheel::Cache;

/// Long enough that nothing expires while it is measured.
pub(crate) const TIME_TO_LIVE: Duration = Duration::from_secs(3600);

/// Thread counts that every bench of operations runs with.
pub(crate) const THREADS: [usize; 2] = [1, 2];

pub(crate) type Numbers = Cache<u64, u64>;

/// A cache on the default clock, with a finite time to live on every entry.
pub(crate) fn empty() -> Numbers {
    Cache::builder().time_to_live(TIME_TO_LIVE).build().expect("the reaper's thread starts")
}

/// The same with the keys `0..entries`, each with itself as value.
pub(crate) fn filled(entries: u64) -> Numbers {
    let cache = empty();
    for key in 0..entries {
        cache.insert(key, key);
    }
    cache.run_pending_tasks();
    cache
}

/// Samples that are short: all benches together take minutes, not hours.
pub(crate) fn short() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

/// How a bench of so many threads is called.
pub(crate) fn threads_title(threads: usize) -> String {
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}

/// Gives each thread the number of its operations, all at once, and returns the time from the first
/// start to the last end. What scales keeps its time per operation as threads are added.
pub(crate) fn together(threads: usize, operations: u64, work: impl Fn(usize, u64) + Sync) -> Duration {
    timed(threads, |thread| work(thread, operations)).0
}

/// Splits `0..total` over the threads.
pub(crate) fn share_out<R: Send>(
    threads: usize,
    total: u64,
    work: impl Fn(Range<u64>) -> R + Sync,
) -> (Duration, Vec<R>) {
    let bound = |thread: usize| total * thread as u64 / threads as u64;
    timed(threads, |thread| work(bound(thread)..bound(thread + 1)))
}

fn timed<R: Send>(threads: usize, work: impl Fn(usize) -> R + Sync) -> (Duration, Vec<R>) {
    let barrier = Barrier::new(threads);
    let worker = |thread: usize| {
        barrier.wait();
        let start = Instant::now();
        let result = work(thread);
        (start, Instant::now(), result)
    };
    let worker = &worker;
    let ended: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || worker(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a worker panicked")).collect()
    });
    let start = ended.iter().map(|(start, ..)| *start).min().expect("there is a thread");
    let end = ended.iter().map(|(_, end, _)| *end).max().expect("there is a thread");
    (end - start, ended.into_iter().map(|(.., result)| result).collect())
}
