//! One thread for any number of caches, and none when there are none.
//!
//! A test program of its own with a single test, because it counts the threads of the process.

#[path = "common/watchdog.rs"]
mod watchdog;

use std::fs;
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, ManualClock, Reaper};
use watchdog::Watchdog;

fn threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// Threads start and end in their own time; this waits until there are as many as there should be.
fn wait_for(expected: usize, what: &str) {
    for _ in 0..1000 {
        if threads() == expected {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{what}: {} threads, not {expected}", threads());
}

fn caches(number: u64, reaper: &Reaper) -> Vec<Cache<u64, u64>> {
    (0..number)
        .map(|n| {
            let builder = Cache::builder().reaper(reaper.clone()).shards(2);
            let cache = builder.time_to_live(Duration::from_millis(n)).build().unwrap();
            for key in 0..10 {
                cache.insert(key, key);
            }
            cache
        })
        .collect()
}

#[test]
fn hundreds_of_caches_have_one_thread_and_it_ends_after_the_last() {
    if threads() == 0 {
        return; // no /proc here
    }
    let _watchdog = Watchdog::over("counting threads", 60);
    let none = threads();

    // The shared reaper, twice: it starts again after its end.
    for _ in 0..2 {
        let mut many = caches(300, &Reaper::shared());
        assert_eq!(threads(), none + 1, "300 caches");
        while many.iter().map(Cache::entry_count).sum::<usize>() > 0 {
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(threads(), none + 1, "300 caches that are empty by now");
        many.truncate(1);
        many[0].insert_with_ttl(1, 1, Duration::from_millis(1));
        while many[0].entry_count() > 0 {
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(threads(), none + 1, "one cache is left");
        drop(many);
        wait_for(none, "after the last cache");
    }

    // A dedicated one: another thread, ended for certain by `join`, and it may be used again.
    let shared = caches(2, &Reaper::shared());
    let dedicated = Reaper::dedicated();
    assert_eq!(threads(), none + 1, "a reaper without a cache");
    for _ in 0..2 {
        let many = caches(100, &dedicated);
        assert_eq!(threads(), none + 2, "two reapers");
        drop(many);
        dedicated.join();
        wait_for(none + 1, "after a join");
    }
    drop(shared);
    Reaper::shared().join();
    wait_for(none, "after both");

    // Neither a manual reaper nor a manual clock has a thread.
    let manual = caches(10, &Reaper::manual());
    let clocked = Cache::<u64, u64>::builder().clock(ManualClock::new()).build().unwrap();
    clocked.insert(1, 1);
    assert_eq!(threads(), none, "manual");
    drop((manual, clocked));

    // Built and dropped as fast as can be: at no time more than one, and those that are about to end; in the end none.
    let mut most = 0;
    for _ in 0..500 {
        let one = Cache::<u64, u64>::builder().shards(1).build().unwrap();
        one.insert_with_ttl(1, 1, Duration::from_millis(1));
        // Not by its name, which a thread gives itself once it runs.
        most = most.max(threads() - none);
        drop(one);
    }
    assert!((1..=10).contains(&most), "{most} reapers at a time");
    wait_for(none, "after five hundred short lives");
}
