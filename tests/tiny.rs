//! Programs of a few lines that use the crate from several threads, small enough for Miri, which checks every access.
//!
//! Each ends as a program should there: its caches are dropped, and their reaper is joined.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, ManualClock, Reaper, SessionManager};

/// How often something is done.
const ROUNDS: u64 = if cfg!(miri) { 12 } else { 5000 };

/// Counts those that live.
struct Counted(u64, Arc<AtomicUsize>);

impl Counted {
    fn new(number: u64, living: &Arc<AtomicUsize>) -> Self {
        living.fetch_add(1, Ordering::Relaxed);
        Self(number, living.clone())
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::new(self.0, &self.1)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Nodes are read, replaced and removed at the same time, and their numbers and places are used again.
#[test]
fn readers_and_writers() {
    let living = Arc::new(AtomicUsize::new(0));
    let cache = Cache::builder().shards(1).reaper(Reaper::manual()).build().unwrap();
    cache.insert(0, Counted::new(0, &living));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    let key = round % 3;
                    assert!(cache.get(&key).is_none_or(|value| value.0 % 3 == key));
                    let guard = cache.read_guard();
                    assert!(guard.get(&key).is_none_or(|value| value.0 % 3 == key));
                }
            });
        }
        scope.spawn(|| {
            for round in 0..ROUNDS {
                cache.insert(round % 3, Counted::new(round, &living));
                if round % 4 == 0 {
                    drop(cache.remove(&(round % 3)));
                    cache.run_pending_tasks();
                }
            }
        });
    });
    cache.validate();
    drop(cache);
    assert_eq!(living.load(Ordering::Relaxed), 0);
}

/// What expires is dropped by a thread.
#[test]
fn a_reaper() {
    let living = Arc::new(AtomicUsize::new(0));
    let reaper = Reaper::dedicated();
    let cache = Cache::builder()
        .shards(1)
        .max_capacity(8)
        .time_to_live(Duration::from_millis(20))
        .reaper(reaper.clone())
        .build()
        .unwrap();
    (0..ROUNDS).for_each(|key| cache.insert(key, Counted::new(key, &living)));
    while cache.entry_count() > 0 || living.load(Ordering::Relaxed) > 0 {
        thread::sleep(Duration::from_millis(20));
    }
    drop(cache);
    reaper.join();
}

/// A table grows under its readers, whose pins keep what they look at.
#[test]
fn growth() {
    let cache = Cache::builder().shards(1).reaper(Reaper::manual()).build().unwrap();
    let keys = if cfg!(miri) { 120 } else { 20_000 };
    cache.insert(0u64, "nought".to_string());
    thread::scope(|scope| {
        scope.spawn(|| {
            let guard = cache.read_guard();
            let nought = guard.get(&0).unwrap();
            (0..ROUNDS).for_each(|_| assert!(guard.get(&0).is_some()));
            assert_eq!(nought, "nought");
        });
        scope.spawn(|| (1..keys).for_each(|key| cache.insert(key, key.to_string())));
    });
    assert_eq!(cache.iter().count(), usize::try_from(keys).unwrap());
    cache.retain(|key, _| key % 2 == 0);
    cache.invalidate_all();
    cache.run_pending_tasks();
    cache.validate();
}

/// Loads and computations of one key, by several threads.
#[test]
fn loads() {
    let cache = Cache::builder().shards(1).reaper(Reaper::manual()).build().unwrap();
    let calls = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..ROUNDS / 4 {
                    cache.get_with("loaded", || calls.fetch_add(1, Ordering::Relaxed));
                    cache.entry("counted").and_upsert_with(|old| old.map_or(0, |old| old.into_value()) + 1);
                }
            });
        }
    });
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(cache.get("counted"), Some(usize::try_from(3 * (ROUNDS / 4)).unwrap()));
}

/// Times, moved by hand; and the session manager.
#[test]
fn times_and_sessions() {
    let clock = ManualClock::new();
    let cache =
        Cache::builder().shards(1).clock(clock.clone()).time_to_idle(Duration::from_secs(5)).build().unwrap();
    cache.insert(1, "one".to_string());
    clock.advance(Duration::from_secs(4));
    assert!(cache.touch(&1) && cache.get(&1).is_some());
    clock.advance(Duration::from_secs(6));
    assert_eq!((cache.get(&1), cache.entry_count()), (None, 0));

    let reaper = Reaper::dedicated();
    let sessions = SessionManager::builder().reaper(reaper.clone()).build().unwrap();
    let id = sessions.create("anonymous".to_string()).unwrap();
    sessions.replace(&id, "Ada".to_string()).unwrap();
    let id = sessions.rotate(&id).unwrap();
    assert_eq!(sessions.remove(&id).unwrap(), "Ada");
    drop(sessions);
    reaper.join();
}

/// Keys lie in all shards, and each is found from there.
#[test]
fn several_shards() {
    let cache = Cache::builder().shards(4).reaper(Reaper::manual()).build().unwrap();
    (0..40).for_each(|key| cache.insert(key, key));
    (0..40).for_each(|key| assert_eq!(cache.get(&key), Some(key)));
}
