//! Memory comes back after a mass expiry: what the process holds, as the kernel counts it. Each scenario in a process
//! of its own, so that nothing else is counted.
#![cfg(target_os = "linux")]

use std::process::Command;
use std::time::Duration;
use tidewheel::{Cache, ManualClock};

const MANY: u64 = 5_000_000;
const FEW: u64 = 1_000;
const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(3600);

/// Resident bytes that belong to no file.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<i64>().unwrap() * 1024
}

fn cache(clock: &ManualClock) -> Cache<u64, u64> {
    Cache::builder().shards(8).time_to_live(SHORT).clock(clock.clone()).build().unwrap()
}

/// Ten seconds in which nobody calls.
fn silence(clock: &ManualClock) {
    for _ in 0..10 {
        clock.advance(Duration::from_secs(1));
    }
}

/// Has the allocator give back what nobody uses: what it keeps of small blocks, for later, is its own business.
fn give_back_the_heap() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> i32;
        }
        // SAFETY: it may be called at any time.
        unsafe { malloc_trim(0) };
    }
}

/// A cache of so many entries of which a few stay: what it holds after the silence, and held at its peak.
fn fallen(entries: u64, stays: impl Fn(u64) -> bool) -> (i64, i64) {
    give_back_the_heap();
    let before = resident();
    let clock = ManualClock::new();
    let cache = cache(&clock);
    for key in 0..entries {
        cache.insert_with_ttl(key, key, if stays(key) { LONG } else { SHORT });
    }
    let peak = resident() - before;
    silence(&clock);
    assert_eq!(cache.entry_count() as u64, FEW);
    let untrimmed = resident() - before;
    give_back_the_heap();
    let after = resident() - before;
    println!("{after} bytes, {untrimmed} with what the allocator keeps");
    assert!((0..entries).filter(|&key| stays(key)).all(|key| cache.get(&key) == Some(key)));
    cache.validate();
    (after, peak)
}

const SCENARIO: &str = "TIDEWHEEL_MEMORY_SCENARIO";

/// Runs a scenario in a process of its own, where no memory is left from another.
fn in_a_process(scenario: &str) -> (i64, i64) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_cache_that_fell_holds_little_more_than_a_fresh_one", "--nocapture"])
        .env(SCENARIO, scenario)
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout).into_owned();
    let numbers = output.lines().find_map(|line| line.split_once("holds: ")).expect("the child has answered").1;
    let (after, peak) = numbers.split_once(' ').unwrap();
    (after.parse().unwrap(), peak.parse().unwrap())
}

#[test]
fn a_cache_that_fell_holds_little_more_than_a_fresh_one() {
    if let Ok(scenario) = std::env::var(SCENARIO) {
        let (after, peak) = match scenario.as_str() {
            "fresh" => fallen(FEW, |_| true),
            "the first stay" => fallen(MANY, |key| key < FEW),
            "the last stay" => fallen(MANY, |key| key >= MANY - FEW),
            _ => fallen(MANY, |key| key % (MANY / FEW) == 0),
        };
        println!("\nholds: {after} {peak}");
        return;
    }
    let [(fresh, _), (first, peak), (last, _), (spread, _)] =
        ["fresh", "the first stay", "the last stay", "some stay here and there"].map(in_a_process);
    println!("fresh {fresh}; of {MANY} the first stay {first}, the last {last}, spread {spread}; peak {peak}");

    assert!(first <= 2 * fresh, "{first} bytes after {peak}, where a fresh one holds {fresh}");
    assert!(last <= 2 * fresh, "{last} bytes after {peak}, where a fresh one holds {fresh}");
    // Nodes do not move, so entries that are far from each other hold a page each, and so do their rows.
    let pages = 2 * FEW as i64 * 4096 + 2 * fresh;
    assert!(spread <= pages, "{spread} bytes after {peak}, where a page each is {pages}");
}
