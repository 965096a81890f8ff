//! The reaper in a fork's child: its thread is not there, and starts as soon as somebody is to come.

use crate::child;
use crate::filter;
use crate::forks::{Way, in_a_child};
use std::thread;
use std::time::{Duration, Instant};
use tidewheel::{Cache, Reaper};

/// In a process of its own: `body`.
fn alone(test: &str, body: impl FnOnce()) {
    if child::is_here() { body() } else { drop(child::passes(&format!("reaping::{test}"), 100, || {})) }
}

/// Waits until nothing is left of a cache, with no call that could help.
fn until_empty(cache: &Cache<u64, u64>) {
    let begun = Instant::now();
    while cache.entry_count() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(12), "{} entries stay", cache.entry_count());
        thread::sleep(Duration::from_millis(20));
    }
}

fn lasting(seconds: u64) -> Cache<u64, u64> {
    let life = Duration::from_secs(seconds);
    Cache::builder().shards(1).reaper(Reaper::dedicated()).time_to_live(life).build().unwrap()
}

/// The child swept by itself and found when the inherited entry was due. It took that for an appointment of the reaper, which it
/// did not have; so the next write started none.
#[test]
fn a_child_that_swept_by_itself_has_a_reaper_once_it_writes() {
    alone("a_child_that_swept_by_itself_has_a_reaper_once_it_writes", || {
        let cache = lasting(2);
        cache.insert(1, 1);
        in_a_child("a sweep of its own", Way::Fork, || {
            cache.run_pending_tasks();
            cache.validate();
            thread::sleep(Duration::from_millis(1100));
            cache.insert(2, 2);
            cache.validate();
            until_empty(&cache);
        });
    });
}

/// A cache that is built in the child starts the reaper, which then serves what the child inherited, too.
#[test]
fn a_reaper_that_starts_with_a_new_cache_serves_the_inherited_ones() {
    alone("a_reaper_that_starts_with_a_new_cache_serves_the_inherited_ones", || {
        let reaper = Reaper::dedicated();
        let build = || Cache::builder().shards(1).reaper(reaper.clone());
        let cache: Cache<u64, u64> = build().time_to_live(Duration::from_secs(1)).build().unwrap();
        cache.insert(1, 1);
        in_a_child("another cache is built", Way::Fork, || {
            let another: Cache<u64, u64> = build().build().unwrap();
            until_empty(&cache);
            drop(another);
        });
    });
}

/// The system had no thread to spare when the child's first write needed the reaper. The write after that tries again, although
/// its own entry is due later.
#[test]
fn a_reaper_that_could_not_start_is_started_by_a_later_write() {
    alone("a_reaper_that_could_not_start_is_started_by_a_later_write", || {
        let cache = lasting(1);
        in_a_child("no thread for once", Way::Fork, || {
            thread::scope(|scope| {
                scope.spawn(|| {
                    filter::refuse_here(&[libc::SYS_clone, libc::SYS_clone3], libc::EAGAIN);
                    assert!(thread::Builder::new().spawn(|| {}).is_err());
                    cache.insert(1, 1);
                });
            });
            thread::sleep(Duration::from_millis(100));
            cache.insert_with_ttl(2, 2, Duration::from_secs(3));
            cache.validate();
            until_empty(&cache);
        });
    });
}
