//! One key that more threads compute than there are cores, beside moka: eleven runs of each, in turns, in one process.
//!
//! ```text
//! cargo bench --bench hot_key
//! ```
//!
//! What is told is the time of a run by the number of its calls, all threads' together: the median of the runs, and the worst.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

const THREADS: u32 = 4;
const CALLS: u32 = 20_000;
const RUNS: usize = 11;

/// How long a call takes: from the first thread's start to the last one's end.
fn run(call: impl Fn() + Sync) -> Duration {
    let barrier = Barrier::new(THREADS as usize);
    let work = || {
        barrier.wait();
        let start = Instant::now();
        (0..CALLS).for_each(|_| call());
        (start, Instant::now())
    };
    let times: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread panicked")).collect()
    });
    let start = times.iter().map(|(start, _)| *start).min().expect("there is a thread");
    let end = times.iter().map(|(_, end)| *end).max().expect("there is a thread");
    (end - start) / (THREADS * CALLS)
}

fn tell(name: &str, mut runs: Vec<Duration>) {
    runs.sort_unstable();
    println!("{name:10} median {:?}, worst {:?}", runs[runs.len() / 2], runs[runs.len() - 1]);
}

fn main() {
    let ours = tidewheel::Cache::builder().max_capacity(1_000);
    let ours =
        ours.build_with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4)).expect("the capacity is allowed");
    // Both with the same hasher.
    let moka = moka::sync::Cache::builder()
        .max_capacity(1_000)
        .build_with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4));
    let (mut of_ours, mut of_moka) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        of_ours.push(run(|| {
            ours.entry(1).and_upsert_with(|old| old.map_or(0, |old| old.into_value() + 1));
        }));
        of_moka.push(run(|| {
            moka.entry(1).and_upsert_with(|old| old.map_or(0, |old| old.into_value() + 1));
        }));
    }
    let all = u64::from(THREADS * CALLS) * RUNS as u64;
    assert_eq!((ours.get(&1), moka.get(&1)), (Some(all - 1), Some(all - 1)), "a call was lost");
    tell("tidewheel", of_ours);
    tell("moka", of_moka);
}
