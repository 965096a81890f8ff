//! How long, since the tests began, others kept this process from running. Others are:
//!
//! - other processes: the time they ran while no processor was idle and some thread of ours was ready
//!   to run;
//! - the host of a virtual machine: the time it took from our processors;
//! - whatever stopped the machine as a whole: the time by which the sampler's own sleeps were too long.
//!
//! On an idle machine, or one of which this process takes all, the sum stays zero. Sampled ten times a
//! second; where the system does not tell, only the sampler's own sleeps count.

use crate::{MILLI, SECOND, now};
use std::collections::HashMap;
use std::fs;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

/// The time between two samples.
const PERIOD: u64 = 100 * MILLI;
/// What a busy machine may add to each sleep.
const SLACK: u64 = 20 * MILLI;

/// The sum so far, at each sample: (when, nanoseconds).
static SAMPLES: LazyLock<Mutex<Vec<(u64, u64)>>> = LazyLock::new(|| {
    std::thread::Builder::new().name("others".into()).spawn(sample).unwrap();
    Mutex::new(vec![(now(), 0)])
});

pub(crate) fn watch() {
    LazyLock::force(&SAMPLES);
}

/// The sum from `start` to `end`. Waits for the first sample after `end`: until then nobody knows
/// who ran.
pub(crate) fn ran_between(start: u64, end: u64) -> u64 {
    loop {
        let samples = SAMPLES.lock().unwrap();
        let last = samples.partition_point(|(when, _)| *when < end);
        if last < samples.len() {
            // The sample before `start`, and the one after `end`: it is counted too much rather
            // than too little, by a tenth of a second at most.
            let first = samples.partition_point(|(when, _)| *when <= start).saturating_sub(1);
            return samples[last].1.saturating_sub(samples[first].1).min(end.saturating_sub(start));
        }
        drop(samples);
        std::thread::sleep(Duration::from_nanos(10 * MILLI));
    }
}

fn sample() {
    let (mut earlier, mut sum) = (Reading::now(), 0);
    loop {
        std::thread::sleep(Duration::from_nanos(PERIOD));
        let current = Reading::now();
        sum += current.lost_since(&earlier);
        SAMPLES.lock().unwrap().push((current.when, sum));
        earlier = current;
    }
}

struct Reading {
    when: u64,
    processors: [u64; 4],
    waits: HashMap<u64, u64>,
}

impl Reading {
    fn now() -> Self {
        Self { when: now(), processors: processors().unwrap_or_default(), waits: waits().unwrap_or_default() }
    }

    /// How long others kept this process from running between two samples.
    fn lost_since(&self, earlier: &Self) -> u64 {
        let passed = |which: usize| self.processors[which].saturating_sub(earlier.processors[which]);
        let [busy, idle, own, stolen] = [0, 1, 2, 3].map(passed);
        let took = self.when - earlier.when;
        // A sleep that was much too long: the machine stood still.
        let mut lost = stolen + took.saturating_sub(PERIOD + SLACK);
        // Less than a twentieth idle: the readings are coarse.
        if idle < busy / 20 {
            let wait = |(thread, total): (&u64, &u64)| {
                total.saturating_sub(*earlier.waits.get(thread).unwrap_or(&0))
            };
            lost += busy.saturating_sub(own).min(self.waits.iter().map(wait).max().unwrap_or(0));
        }
        lost.min(took)
    }
}

/// Time that all processors were busy, and idle, and busy with this process, and taken by the host,
/// in nanoseconds.
fn processors() -> Option<[u64; 4]> {
    /// What the kernel counts in (`USER_HZ`, 100 on every Linux that Rust runs on).
    const UNIT: u64 = SECOND / 100;
    let all = fs::read_to_string("/proc/stat").ok()?;
    let all: Vec<u64> = all.lines().next()?.split_whitespace().flat_map(str::parse).collect();
    let own = fs::read_to_string("/proc/self/stat").ok()?;
    // The fields after the name, which is in brackets; the 12th and 13th of them are ours.
    let own = own.rsplit(')').next()?.split_whitespace().skip(11).take(2).flat_map(str::parse::<u64>);
    let idle = all.get(3)? + all.get(4)?;
    let busy = all.iter().take(8).sum::<u64>() - idle;
    let stolen = all.get(7).copied().unwrap_or(0);
    Some([busy * UNIT, idle * UNIT, own.sum::<u64>() * UNIT, stolen * UNIT])
}

/// How long each thread of this process has been ready to run and was not running, in nanoseconds.
fn waits() -> Option<HashMap<u64, u64>> {
    let threads = fs::read_dir("/proc/self/task").ok()?.flatten();
    // A thread may end while it is looked at.
    let wait = |thread: fs::DirEntry| {
        let times = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let wait = times.split_whitespace().nth(1)?.parse().ok()?;
        Some((thread.file_name().to_str()?.parse().ok()?, wait))
    };
    Some(threads.filter_map(wait).collect())
}
