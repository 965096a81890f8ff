//! A reaper that is late: writers do some of its work, each a bounded part.

#[path = "common/counted.rs"]
mod counted;
#[path = "common/watchdog.rs"]
mod watchdog;

use counted::{Count, Counted};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, CacheBuilder, ManualClock, Reaper, RemovalCause, WeakCache};
use watchdog::Watchdog;

const SECOND: Duration = Duration::from_secs(1);
/// Entries that a write takes out at most.
const HELPED: u64 = 64;
const ENTRIES: u64 = 1000;

/// One shard, a clock that is moved by hand, and nobody who sweeps but writers.
fn cache(
    with: impl FnOnce(CacheBuilder<u64, u64>) -> CacheBuilder<u64, u64>,
) -> (ManualClock, Cache<u64, u64>) {
    let clock = ManualClock::new();
    let builder = with(Cache::builder().shards(1).time_to_live(10 * SECOND).clock(clock.clone()));
    let cache = builder.helped_by_writers().build().unwrap();
    (clock, cache)
}

/// The same with a listener that is warned five seconds ahead, and the keys of which it was.
fn warning() -> (ManualClock, Cache<u64, u64>, Arc<Mutex<Vec<u64>>>) {
    let warned = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&warned);
    let (clock, cache) = cache(|builder| {
        builder.expiration_warning_listener(5 * SECOND, move |&key, _| told.lock().unwrap().push(key))
    });
    (clock, cache, warned)
}

/// As many entries that end in a second, and one that does not.
fn fill(cache: &Cache<u64, u64>) {
    (0..ENTRIES).for_each(|key| cache.insert_with_ttl(key, key, SECOND));
    cache.insert(ENTRIES, 0);
}

type Write = fn(&Cache<u64, u64>);

/// Each write that may help, here of one key, so that the number of entries says what it has done besides.
fn writes() -> Vec<(&'static str, Write)> {
    vec![
        ("insert", |cache| cache.insert(ENTRIES, 1)),
        ("try_insert", |cache| {
            assert!(cache.try_insert(ENTRIES + 1, 1).is_ok() && cache.invalidate(&(ENTRIES + 1)));
        }),
        ("replace", |cache| assert!(cache.replace(&ENTRIES, 1).is_ok())),
        ("update", |cache| assert!(cache.update(&ENTRIES, |n| n + 1))),
        ("set_ttl", |cache| assert!(cache.set_ttl(&ENTRIES, 10 * SECOND))),
        ("insert_many", |cache| cache.insert_many([(ENTRIES, 1)])),
        ("get_with", |cache| {
            assert_eq!((cache.get_with(ENTRIES + 1, || 1), cache.remove(&(ENTRIES + 1))), (1, Some(1)));
        }),
        ("and_upsert_with", |cache| assert_eq!(cache.entry(ENTRIES).and_upsert_with(|_| 1).into_value(), 1)),
    ]
}

#[test]
fn a_reaper_that_is_on_time_is_left_to_itself() {
    for (name, write) in writes() {
        let (clock, cache) = cache(|builder| builder);
        fill(&cache);
        // They were due when their second was over, half of one ago.
        clock.advance_without_sweeping(SECOND + SECOND / 2);
        write(&cache);
        assert_eq!(cache.entry_count() as u64, ENTRIES + 1, "{name}");
    }
}

#[test]
fn each_write_takes_out_some_of_what_is_overdue() {
    for (name, write) in writes() {
        let (clock, cache) = cache(|builder| builder);
        fill(&cache);
        clock.advance_without_sweeping(3 * SECOND);
        let mut before = cache.entry_count() as u64;
        write(&cache);
        let after = cache.entry_count() as u64;
        assert!(after < before && after >= before - 2 * HELPED, "{name}: {before} entries, then {after}");
        before = after;
        while cache.entry_count() > 1 {
            write(&cache);
            let after = cache.entry_count() as u64;
            assert!(after < before, "{name}");
            before = after;
        }
        cache.validate();
        // What the reaper finds afterwards is in order.
        cache.run_pending_tasks();
        cache.validate();
        assert!(cache.contains_key(&ENTRIES), "{name}");
    }
}

/// Entries that were touched, or are far from their end, come due too, and are filed again.
#[test]
fn what_is_not_over_stays() {
    let (clock, cache) = cache(|builder| builder);
    (0..ENTRIES).for_each(|key| cache.insert_with_ttl(key, key, 5 * SECOND));
    (0..ENTRIES).for_each(|key| cache.insert_with_ttl(ENTRIES + 1 + key, key, 100 * SECOND));
    clock.advance_without_sweeping(4 * SECOND);
    assert!((0..ENTRIES / 2).all(|key| cache.touch(&key)));
    let writes_at = |second: u64, left: u64| {
        clock.advance_without_sweeping(Duration::from_secs(second) - clock.elapsed());
        (0..100).for_each(|_| cache.insert(ENTRIES, 2));
        assert_eq!(cache.entry_count() as u64, left + 1, "at {second} seconds");
        cache.validate();
    };
    writes_at(8, ENTRIES / 2 + ENTRIES);
    assert!((0..ENTRIES / 2).all(|key| cache.contains_key(&key)));
    writes_at(12, ENTRIES);
    writes_at(90, ENTRIES);
    assert!((0..ENTRIES).all(|key| cache.contains_key(&(ENTRIES + 1 + key))));
    writes_at(200, 0);
}

/// By the writer, before it returns, as expired, and once.
#[test]
fn the_listener_is_told_of_each() {
    let told = Arc::new(Mutex::new(HashMap::new()));
    let (clock, cache) = cache(|builder| {
        let told = Arc::clone(&told);
        builder.eviction_listener(move |&key, _, cause| {
            *told.lock().unwrap().entry((key, cause)).or_insert(0) += 1;
        })
    });
    fill(&cache);
    clock.advance_without_sweeping(3 * SECOND);
    assert!(cache.set_ttl(&ENTRIES, 10 * SECOND));
    assert_eq!(told.lock().unwrap().len() as u64, HELPED);
    (0..100).for_each(|_| assert!(cache.set_ttl(&ENTRIES, 10 * SECOND)));
    let told = told.lock().unwrap();
    assert_eq!(told.len() as u64, ENTRIES);
    assert!(told.iter().all(|((_, cause), times)| (*cause, *times) == (RemovalCause::Expired, 1)));
}

/// A listener that writes for each is no more work for each: it would call itself again and again.
#[test]
fn a_listener_that_writes_takes_out_no_more() {
    let handle = Arc::new(OnceLock::<WeakCache<u64, u64>>::new());
    let deepest = Arc::new(AtomicUsize::new(0));
    let (clock, cache) = cache(|builder| {
        let (handle, deepest, depth) = (Arc::clone(&handle), Arc::clone(&deepest), AtomicUsize::new(0));
        builder.eviction_listener(move |&key, _, _| {
            deepest.fetch_max(depth.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
            if key < ENTRIES {
                handle.get().unwrap().upgrade().unwrap().insert(ENTRIES + 1 + key, 1);
            }
            depth.fetch_sub(1, Ordering::Relaxed);
        })
    });
    handle.set(cache.downgrade()).unwrap();
    fill(&cache);
    clock.advance_without_sweeping(3 * SECOND);
    assert!(cache.set_ttl(&ENTRIES, 10 * SECOND));
    assert_eq!(deepest.load(Ordering::Relaxed), 0);
    assert_eq!((0..ENTRIES).filter(|key| cache.contains_key(&(ENTRIES + 1 + key))).count() as u64, HELPED);
    cache.validate();
}

/// Whom somebody is to be warned of, the reaper warns of; what has expired goes all the same.
#[test]
fn a_warning_is_left_to_the_reaper() {
    let (clock, cache, warned) = warning();
    cache.insert_with_ttl(1, 1, 7 * SECOND);
    cache.insert_with_ttl(2, 2, SECOND);
    cache.insert_with_ttl(3, 3, 60 * SECOND);
    clock.advance_without_sweeping(4 * SECOND);
    (0..10).for_each(|_| cache.insert(4, 4));
    assert!(warned.lock().unwrap().is_empty());
    assert_eq!(cache.entry_count(), 3);
    cache.validate();
    cache.run_pending_tasks();
    assert_eq!(*warned.lock().unwrap(), [1]);
    cache.validate();
}

/// Of another deadline, which a touch gave it after the warning, somebody is warned again.
#[test]
fn who_was_warned_is_warned_of_the_next_deadline_too() {
    let (clock, cache, warned) = warning();
    cache.insert_with_ttl(1, 1, 7 * SECOND);
    clock.advance(3 * SECOND);
    assert_eq!(*warned.lock().unwrap(), [1]);
    clock.advance_without_sweeping(Duration::from_millis(3900));
    assert!(cache.touch(&1));
    clock.advance_without_sweeping(Duration::from_millis(1100));
    (0..10).for_each(|_| cache.insert_with_ttl(2, 2, 100 * SECOND));
    cache.validate();
    clock.advance(2 * SECOND);
    assert_eq!(*warned.lock().unwrap(), [1, 1]);
    cache.validate();
}

/// The same where the new deadline is so near that its warning is due when the row comes up by the old one.
#[test]
fn a_writer_leaves_the_warning_of_a_touched_entry_to_the_reaper() {
    let (clock, cache, warned) = warning();
    cache.insert_with_ttl(1, 1, 7 * SECOND);
    clock.advance(3 * SECOND);
    assert_eq!(*warned.lock().unwrap(), [1]);
    assert!(cache.touch(&1));
    clock.advance_without_sweeping(Duration::from_millis(5900));
    (0..10).for_each(|_| cache.insert_with_ttl(2, 2, 100 * SECOND));
    cache.validate();
    cache.run_pending_tasks();
    assert_eq!(*warned.lock().unwrap(), [1, 1]);
    assert!(cache.contains_key(&1));
    clock.advance(2 * SECOND);
    assert_eq!((warned.lock().unwrap().len(), cache.entry_count()), (2, 1));
}

#[test]
fn who_sweeps_by_hand_is_left_to_it() {
    let clock = ManualClock::new();
    let cache = Cache::builder().shards(1).time_to_live(SECOND).clock(clock.clone()).build().unwrap();
    (0..ENTRIES).for_each(|key| cache.insert(key, key));
    clock.advance_without_sweeping(9 * SECOND);
    cache.insert(ENTRIES, 1);
    assert_eq!(cache.entry_count() as u64, ENTRIES + 1);
}

/// A listener of another cache blocks the reaper; whoever writes sees to it that what is over goes on time. Nothing of it
/// went before.
#[test]
fn values_go_on_time_under_a_reaper_that_is_held_up_while_others_write() {
    let _watchdog = Watchdog::over("a reaper that is held up", 60);
    let (open, gate) = mpsc::channel::<()>();
    let (reached, wait_reached) = mpsc::channel();
    let (reached, gate) = (Mutex::new(reached), Mutex::new(gate));
    let reaper = Reaper::dedicated();
    let blocking = Cache::builder()
        .reaper(reaper.clone())
        .time_to_live(Duration::from_millis(1))
        .eviction_listener(move |_: &u64, _: &u64, _| {
            let _ = reached.lock().unwrap().send(());
            let _ = gate.lock().unwrap().recv();
        })
        .build()
        .unwrap();
    let count = Count::default();
    let cache: Cache<u64, Counted> = Cache::builder().reaper(reaper).shards(1).build().unwrap();
    blocking.insert(1, 1);
    wait_reached.recv().unwrap();
    let ttl = Duration::from_millis(100);
    (0..10_000).for_each(|key| cache.insert_with_ttl(key, count.value(key), ttl));
    // Time in which this thread could write: not that for which a busy machine kept it from that.
    let (nap, mut napped) = (Duration::from_millis(5), Duration::ZERO);
    // The entries that are over, and what was replaced a moment ago.
    while count.alive() > 700 && napped < ttl + Duration::from_millis(2700) {
        (0..64).for_each(|_| cache.insert_with_ttl(u64::MAX, count.value(0), Duration::from_secs(3600)));
        thread::sleep(nap);
        napped += nap;
    }
    let left = count.alive();
    drop(open);
    assert!(left <= 700, "{left} values are there {napped:?} after they were written");
}
