//! `invalidate_all` against threads that write what is there meanwhile. Nobody inserts a key that is new: so when it has
//! returned, nothing is there, however often each entry was replaced while it went on.
//!
//! It went by the numbers of rows, and a replacement takes another number, perhaps behind it: of 20,000 entries that two
//! threads only updated, some were left in every sixth round, up to thousands (an application that keeps its sessions in a plain cache, and logs everybody out, missed the active ones).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;
use tidewheel::{Cache, Op, RemovalCause, WeakCache};

const ENTRIES: u64 = 10_000;
const ROUNDS: usize = 10;

/// What a thread does to an entry that is there.
type Write = fn(&Cache<u64, u64>, u64);

/// Fills a cache, has two threads write to what is there, and clears it meanwhile.
fn clear_against(write: Write) {
    for round in 0..ROUNDS {
        let told = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&told);
        let listener = move |_: &u64, _: &u64, cause| {
            counted.fetch_add(u64::from(cause == RemovalCause::Explicit), Relaxed);
        };
        let cache = Cache::builder().shards(4).eviction_listener(listener).build().unwrap();
        (0..ENTRIES).for_each(|key| cache.insert(key, key));
        let (stop, begin) = (AtomicBool::new(false), Barrier::new(3));
        thread::scope(|scope| {
            for thread in 0..2 {
                let (cache, stop, begin) = (&cache, &stop, &begin);
                scope.spawn(move || {
                    begin.wait();
                    let mut key = thread * ENTRIES / 2;
                    while !stop.load(Relaxed) {
                        key = (key + 1) % ENTRIES;
                        write(cache, key);
                    }
                });
            }
            begin.wait();
            cache.invalidate_all();
            let left = cache.iter().count();
            stop.store(true, Relaxed);
            assert_eq!(left, 0, "left in round {round}");
        });
        assert_eq!(cache.entry_count(), 0, "left in round {round}");
        assert_eq!(told.load(Relaxed), ENTRIES, "told of as removed");
        cache.validate();
    }
}

/// The same without a second thread: the listener, of what has gone, updates what has still to go.
#[test]
fn what_a_listener_updates_meanwhile_is_gone_too() {
    let own: Arc<OnceLock<WeakCache<u64, u64>>> = Arc::default();
    let (handle, told) = (Arc::clone(&own), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&told);
    let cache = Cache::builder()
        .shards(1)
        .eviction_listener(move |&key: &u64, _, cause| {
            if cause == RemovalCause::Explicit {
                counted.fetch_add(1, Relaxed);
                let cache = handle.get().and_then(WeakCache::upgrade).unwrap();
                (1..5).for_each(|step| _ = cache.update(&((key + 251 * step) % 1_000), |value| value + 1));
            }
        })
        .build()
        .unwrap();
    own.set(cache.downgrade()).unwrap();
    (0..1_000).for_each(|key| cache.insert(key, 0));
    cache.invalidate_all();
    assert_eq!((cache.entry_count(), told.load(Relaxed)), (0, 1_000));
    cache.validate();
}

#[test]
fn what_is_only_updated_is_gone_when_all_was_invalidated() {
    clear_against(|cache, key| _ = cache.update(&key, |value| value + 1));
}

#[test]
fn what_is_only_replaced_is_gone_when_all_was_invalidated() {
    clear_against(|cache, key| _ = cache.replace(&key, 1));
}

#[test]
fn what_is_only_computed_from_what_is_there_is_gone_when_all_was_invalidated() {
    clear_against(|cache, key| {
        cache.entry(key).and_compute_with(|entry| match entry {
            Some(entry) => Op::Put(entry.into_value() + 1),
            None => Op::Nop,
        });
    });
}

/// A rename takes an entry out under one key and stores it under another: from before the walk to behind it, though it was
/// there when `invalidate_all` was called. (A session whose id is rotated while everybody is logged out.)
#[test]
fn what_is_only_renamed_is_gone_when_all_was_invalidated() {
    let (moved, mut round) = (AtomicU64::new(0), 0);
    // More rounds where the machine was so busy that all was over before another thread ran.
    while round < ROUNDS || moved.load(Relaxed) == 0 && round < 100 * ROUNDS {
        let cache = Cache::builder().shards(4).build().unwrap();
        (0..ENTRIES).for_each(|key| cache.insert(key, key));
        let (stop, begin) = (AtomicBool::new(false), Barrier::new(3));
        thread::scope(|scope| {
            for half in 0..2 {
                let (cache, stop, begin, moved) = (&cache, &stop, &begin, &moved);
                scope.spawn(move || {
                    let mut keys: Vec<_> = (half * ENTRIES / 2..(half + 1) * ENTRIES / 2).collect();
                    begin.wait();
                    while !stop.load(Relaxed) {
                        for key in &mut keys {
                            if cache.rename(key, *key + ENTRIES) {
                                moved.fetch_add(1, Relaxed);
                                *key += ENTRIES;
                            }
                        }
                    }
                });
            }
            begin.wait();
            cache.invalidate_all();
            let left = cache.iter().count();
            stop.store(true, Relaxed);
            assert_eq!(left, 0, "left in round {round}");
        });
        assert_eq!(cache.entry_count(), 0, "left in round {round}");
        cache.validate();
        round += 1;
    }
    assert_ne!(moved.load(Relaxed), 0, "nothing was renamed");
}

/// Who has been told that all was invalidated, and inserts then, does not lose that to a rename: of two calls after another,
/// the second has nothing to do with the first.
#[test]
fn what_comes_afterwards_is_renamed_as_ever() {
    let cache = Cache::builder().build().unwrap();
    for round in 0..100 {
        cache.invalidate_all();
        cache.insert(round, 'a');
        assert!(cache.rename(&round, round + 1));
        assert_eq!((cache.get(&(round + 1)), cache.entry_count()), (Some('a'), 1));
    }
}
