//! Memory comes back after a mass expiry: what the cache asks of the allocator, and the pages it maps by itself. Each scenario in a process
//! of its own, so that nothing else is counted.
#![cfg(target_os = "linux")]

#[path = "common/allocator.rs"]
mod allocator;

use allocator::asked;
#[cfg(feature = "async")]
use std::pin::pin;
use std::process::Command;
#[cfg(feature = "async")]
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
#[cfg(feature = "async")]
use std::task::{Context, Poll, Waker};
use std::thread::sleep;
use std::time::Duration;
use tidewheel::{Cache, CacheBuilder, ManualClock, Reaper};

/// Fewer in unoptimized code, where five million take a minute.
const MANY: u64 = if cfg!(debug_assertions) { 1_000_000 } else { 5_000_000 };
const FEW: u64 = 1_000;
const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(3600);

/// Bytes that are held: what was asked of the allocator (which keeps more for later, and that is its own business),
/// and the resident pages of what the crate maps by itself.
fn held() -> i64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let (mut counts, mut mapped) = (false, 0);
    for line in maps.lines() {
        if let Some(resident) = line.strip_prefix("Rss:") {
            let resident: i64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
            mapped += if counts { resident * 1024 } else { 0 };
        } else if line
            .split_whitespace()
            .nth(1)
            .is_some_and(|access| access.len() == 4 && access.ends_with('p'))
        {
            // Without a name, which the allocator's own one has.
            counts = line.contains(" rw-p ") && line.split_whitespace().count() == 5;
        }
    }
    asked() + mapped
}

fn builder(clock: &ManualClock) -> CacheBuilder<u64, u64> {
    Cache::builder().shards(8).time_to_live(SHORT).clock(clock.clone())
}

fn cache(clock: &ManualClock) -> Cache<u64, u64> {
    builder(clock).build().unwrap()
}

/// Ten seconds in which nobody calls.
fn silence(clock: &ManualClock) {
    for _ in 0..10 {
        clock.advance(Duration::from_secs(1));
    }
}

/// A cache of so many entries of which a few stay: what it holds after the silence, and held at its peak.
fn fallen(entries: u64, stays: impl Fn(u64) -> bool) -> (i64, i64) {
    fallen_of(cache, entries, stays)
}

fn fallen_of(
    made: impl FnOnce(&ManualClock) -> Cache<u64, u64>,
    entries: u64,
    stays: impl Fn(u64) -> bool,
) -> (i64, i64) {
    let before = held();
    let clock = ManualClock::new();
    let cache = made(&clock);
    for key in 0..entries {
        cache.insert_with_ttl(key, key, if stays(key) { LONG } else { SHORT });
    }
    let peak = held() - before;
    silence(&clock);
    assert_eq!(cache.entry_count() as u64, FEW);
    let after = held() - before;
    assert!((0..entries).filter(|&key| stays(key)).all(|key| cache.get(&key) == Some(key)));
    cache.validate();
    (after, peak)
}

const SCENARIO: &str = "TIDEWHEEL_MEMORY_SCENARIO";

/// Runs a scenario of a test in a process of its own, where no memory is left from another.
fn in_a_process(test: &str, scenario: &str) -> (i64, i64) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(SCENARIO, scenario)
        // The allocator's memory then has a name, so that it can be told from ours.
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout).into_owned();
    // It looks at more after it has answered.
    assert!(child.status.success(), "{output}{}", String::from_utf8_lossy(&child.stderr));
    let numbers =
        output.lines().find_map(|line| line.split_once("holds: ")).expect("the child has answered").1;
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
        ["fresh", "the first stay", "the last stay", "some stay here and there"]
            .map(|scenario| in_a_process("a_cache_that_fell_holds_little_more_than_a_fresh_one", scenario));
    println!(
        "fresh {fresh}; of {MANY} the first stay {first}, the last {last}, spread {spread}; peak {peak}"
    );

    // The lists of the wheel come with the first row that needs them, and stay: a cache that fell has had them all.
    let lists = 8 * 6 * 1024;
    let most = 2 * fresh + lists;
    assert!(first <= most, "{first} bytes after {peak}, where a fresh one holds {fresh}");
    assert!(last <= most, "{last} bytes after {peak}, where a fresh one holds {fresh}");
    // Nodes do not move, so an entry that is far from every other holds a page or two, and so does its row.
    let pages = 4 * FEW as i64 * 4096 + 2 * fresh;
    assert!(spread <= pages, "{spread} bytes after {peak}, where two pages each are {pages}");
}

/// Such a cache has a word for each node besides. It kept the words of the most entries that there had ever been.
#[test]
fn a_cache_that_loads_anew_and_fell_holds_little_more_than_a_fresh_one() {
    if let Ok(scenario) = std::env::var(SCENARIO) {
        let refreshing = |clock: &ManualClock| builder(clock).refresh_after_write(SHORT / 2).build().unwrap();
        let entries = if scenario == "fresh" { FEW } else { MANY / 5 };
        let (after, peak) = fallen_of(refreshing, entries, |key| key < FEW);
        println!("\nholds: {after} {peak}");
        return;
    }
    let [(fresh, _), (fallen, peak)] = ["fresh", "the first stay"].map(|scenario| {
        in_a_process("a_cache_that_loads_anew_and_fell_holds_little_more_than_a_fresh_one", scenario)
    });
    println!("fresh {fresh}; fallen {fallen}; peak {peak}");
    // The lists of the wheel, as above. And the words of a chunk below 64 KiB are the allocator's, who keeps them.
    let most = 2 * fresh + 8 * (6 * 1024 + 64 * 1024);
    assert!(fallen <= most, "{fallen} bytes after {peak}, where a fresh one holds {fresh}");
}

/// Entries that are there at any time, and how many come and go.
const KEYS: u64 = 100;
const COME: u64 = 60_000;

type Deed<V> = fn(&Cache<u64, V>, u64, V);

/// What a cache holds in which entries have come and gone: replaced, removed, evicted or expired.
fn churned<V: Clone + Send + Sync + 'static>(how: &str, value: fn(u64) -> V) -> i64 {
    let deed: Deed<V> = match how {
        "replaced" => |cache, key, value| cache.insert(key, value),
        "updated" => |cache, key, value| {
            if !cache.update(&key, |_| value.clone()) {
                cache.insert(key, value);
            }
        },
        "removed" => |cache, key, value| {
            cache.insert(key, value);
            cache.invalidate(&key);
        },
        "computed" => |cache, key, value| drop(cache.entry(key).and_upsert_with(|_| value.clone())),
        _ => |cache, key, value| cache.insert(key, value),
    };
    let before = held();
    let clock = ManualClock::new();
    let builder = Cache::builder().shards(2).clock(clock.clone());
    let cache = match how {
        "evicted" => builder.max_capacity(KEYS).build().unwrap(),
        "expired" => builder.time_to_live(SHORT).build().unwrap(),
        _ => builder.build().unwrap(),
    };
    let are_new = matches!(how, "evicted" | "expired");
    for step in 0..COME {
        deed(&cache, if are_new { step } else { step % KEYS }, value(step));
        if how == "expired" && step % KEYS == 0 {
            clock.advance(SHORT * 2);
        }
    }
    clock.advance(Duration::from_secs(1));
    cache.validate();
    assert!(cache.entry_count() as u64 <= 2 * KEYS);
    held() - before
}

/// An entry's number is used again once its value is dropped: whatever ended it, by whomever it was dropped, and
/// whether it takes dropping or not.
#[test]
fn entries_that_come_and_go_take_no_more_room_than_those_that_are_there() {
    if let Ok(scenario) = std::env::var(SCENARIO) {
        let (what, how) = scenario.split_once(' ').unwrap();
        let held = match what {
            "texts" => churned(how, |number| format!("{number}, and something after it")),
            _ => churned(how, |number| number),
        };
        println!("\nholds: {held} 0");
        return;
    }
    for what in ["texts", "numbers"] {
        for how in ["replaced", "updated", "removed", "computed", "evicted", "expired"] {
            let scenario = format!("{what} {how}");
            let test = "entries_that_come_and_go_take_no_more_room_than_those_that_are_there";
            let (held, _) = in_a_process(test, &scenario);
            println!("{scenario}: {held}");
            // What came would take more than three times that.
            assert!(held < 1 << 20, "{scenario}: {held} bytes");
        }
    }
}

/// Buckets of 64 bytes each, and the entries that there is room for in them: with one more the table begins to move to twice as many.
const BUCKETS: i64 = 256;
const ROOM: u64 = 2_560;

/// Inserts that stop in the middle of a move leave two arrays, through both of which readers go. The reaper ends the move, and
/// comes for that, though nothing expires.
#[test]
fn a_table_does_not_stay_half_moved() {
    if std::env::var(SCENARIO).is_ok() {
        let cache: Cache<u64, u64> = Cache::builder().shards(1).build().unwrap();
        (0..ROOM - 20).for_each(|key| cache.insert(key, key));
        // Until smaller arrays are gone.
        cache.run_pending_tasks();
        sleep(4 * SHORT);
        (ROOM - 20..ROOM + 20).for_each(|key| cache.insert(key, key));
        let begun = asked();
        let is_there = || asked() > begun - 60 * BUCKETS;
        for _ in 0..100 {
            if is_there() {
                sleep(SHORT / 5);
            }
        }
        println!("\nholds: {} {begun}", asked());
        assert!((0..ROOM + 20).all(|key| cache.get(&key) == Some(key)));
        cache.validate();
        return;
    }
    let (after, begun) = in_a_process("a_table_does_not_stay_half_moved", "half moved");
    // Something else may have come meanwhile.
    assert!(after <= begun - 60 * BUCKETS, "{after} bytes, of {begun} in the middle of the move");
}

/// The bug: a thread kept a place for each key of the largest call that it had ever made.
#[test]
fn a_call_for_many_keys_leaves_nothing_on_its_thread() {
    if std::env::var(SCENARIO).is_ok() {
        // Each shard keeps a little room for calls: however many processors there are, it is that of eight.
        let cache: Cache<u64, u64> = Cache::builder().shards(8).reaper(Reaper::manual()).build().unwrap();
        // What comes with the first call stays.
        cache.get_many_with([0], |_| Vec::new());
        let before = asked();
        let mut peak = 0;
        let values = cache.get_many_with(0..100_000, |_| {
            peak = asked() - before;
            Vec::new()
        });
        assert!(values.iter().all(Option::is_none));
        drop(values);
        println!("\nholds: {} {peak}", asked() - before);
        return;
    }
    let (after, peak) = in_a_process("a_call_for_many_keys_leaves_nothing_on_its_thread", "many keys");
    assert!(after < 100_000, "{after} bytes, of {peak} while it ran");
}

/// The bug: each poll of a call that loads many keys asked for memory for each of them.
#[cfg(feature = "async")]
#[test]
fn a_poll_of_a_load_of_many_keys_asks_for_no_memory() {
    if std::env::var(SCENARIO).is_ok() {
        let cache: Cache<u64, u64> = Cache::builder().reaper(Reaper::manual()).build().unwrap();
        let (before, during) = (&AtomicI64::new(0), &AtomicI64::new(0));
        let load = |keys: Vec<u64>| {
            let mut pairs: Vec<_> = keys.into_iter().map(|key| (key, key)).collect();
            let mut polls = 0;
            std::future::poll_fn(move |_| {
                during.fetch_max(asked() - before.load(Relaxed), Relaxed);
                polls += 1;
                if polls < 4 { Poll::Pending } else { Poll::Ready(std::mem::take(&mut pairs)) }
            })
        };
        let mut call = pin!(cache.get_many_with_async(0..10_000, load));
        let mut poll = || {
            before.store(asked(), Relaxed);
            during.store(0, Relaxed);
            call.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        };
        // The first poll begins the load.
        assert!(poll().is_pending());
        let peaks = [(); 2].map(|()| {
            assert!(poll().is_pending());
            during.load(Relaxed)
        });
        println!("\nholds: {} {}", peaks[0], peaks[1]);
        return;
    }
    let peaks = in_a_process("a_poll_of_a_load_of_many_keys_asks_for_no_memory", "polls");
    assert!(peaks.0 < 1_000 && peaks.1 < 1_000, "{peaks:?} bytes for a poll");
}
