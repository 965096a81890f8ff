//! The reaper sleeps while there is nothing to do: it does not wake up, not once.
//!
//! A test program of its own with a single test, because all caches of a process share the reaper.
#![cfg(target_os = "linux")]

use std::fs;
use std::thread;
use std::time::{Duration, Instant};
use tidewheel::Cache;

/// How often the process's only reaper has stopped running, by itself or because somebody else had to run.
fn switches() -> u64 {
    let threads = fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path());
    let reapers: Vec<_> = threads
        .filter(|path| {
            fs::read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with("tidewheel-reap"))
        })
        .collect();
    let [reaper] = &reapers[..] else { panic!("{} reapers", reapers.len()) };
    let status = fs::read_to_string(reaper.join("status")).unwrap();
    let counts = status.lines().filter_map(|line| line.split_once("ctxt_switches:"));
    counts.map(|(_, count)| count.trim().parse::<u64>().unwrap()).sum()
}

#[test]
fn the_reaper_sleeps_while_there_is_nothing_to_do() {
    let cache = Cache::builder().max_capacity(1000).build().unwrap();
    (0..5000u64).for_each(|key| cache.insert(key, format!("value {key}")));
    let begun = Instant::now();
    while cache.stats().garbage > 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "what was evicted stays in memory");
        thread::sleep(Duration::from_millis(10));
    }
    // Long enough for the memory that nothing is in to be given back. In many naps: time for which the machine stands still
    // is no time for the reaper.
    (0..600).for_each(|_| thread::sleep(Duration::from_millis(10)));
    let before = switches();
    assert!(before > 0, "nothing was counted");
    thread::sleep(Duration::from_secs(10));
    assert_eq!(switches() - before, 0, "it woke up, and had nothing to do");
    assert_eq!(cache.entry_count(), 1000);
}
