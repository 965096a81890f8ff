//! One key that more threads compute than there are cores, beside moka: ten runs of each, in turns, in one process.
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
const RUNS: usize = 10;

/// How long a call takes.
fn run(call: impl Fn() + Sync) -> Duration {
    let start = Barrier::new(THREADS as usize + 1);
    let began = thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                (0..CALLS).for_each(|_| call());
            });
        }
        start.wait();
        Instant::now()
    });
    began.elapsed() / (THREADS * CALLS)
}

fn tell(name: &str, mut runs: Vec<Duration>) {
    runs.sort_unstable();
    println!("{name:10} median {:?}, worst {:?}", runs[runs.len() / 2], runs[runs.len() - 1]);
}

fn main() {
    let ours: tidewheel::Cache<u64, u64> = tidewheel::Cache::new(1_000);
    let moka: moka::sync::Cache<u64, u64> = moka::sync::Cache::new(1_000);
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
