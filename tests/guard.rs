//! What a held guard delays: the drop of what was removed, and nothing else.
//!
//! A test program of its own with one test at a time, because a guard that is held delays the drops of
//! every cache in the process.

#[path = "common/counted.rs"]
mod counted;
#[path = "common/watchdog.rs"]
mod watchdog;

use counted::{Count, Counted};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, ManualClock, RemovalCause};
use watchdog::Watchdog;

/// One test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn cache() -> (ManualClock, Cache<u64, Counted>, Count) {
    let clock = ManualClock::new();
    let cache =
        Cache::builder().clock(clock.clone()).shards(2).time_to_live(Duration::from_secs(5)).build().unwrap();
    (clock, cache, Count::default())
}

/// Everything that could get a value dropped, again and again.
fn insist(clock: &ManualClock, cache: &Cache<u64, Counted>) {
    for _ in 0..10 {
        cache.run_pending_tasks();
        clock.advance(Duration::from_millis(200));
    }
}

#[test]
fn a_value_that_a_guard_may_see_is_not_dropped_and_all_else_goes_on() {
    let _turn = alone();
    let _watchdog = Watchdog::over("a held guard", 20);
    let (clock, cache, count) = cache();
    for key in 0..4 {
        cache.insert(key, count.value(key));
    }
    let guard = cache.read_guard();
    let seen: Vec<_> = (0..4).map(|key| guard.get(&key).unwrap()).collect();
    let entry = guard.entry(&3).unwrap();

    // One is removed, one replaced, one updated, and one expires.
    assert!(cache.invalidate(&0));
    cache.insert(1, count.value(11));
    assert!(cache.update(&2, |_| count.value(12)));
    clock.advance(Duration::from_secs(6));
    insist(&clock, &cache);
    assert_eq!((count.dropped(), cache.entry_count()), (0, 0));
    for (key, value) in seen.iter().enumerate() {
        assert_eq!(value.id, key as u64);
    }
    assert_eq!((*entry.key(), entry.value().id), (3, 3));
    // The guard is no snapshot: what is gone is gone for it too, and what is new is there.
    assert!((0..4).all(|key| guard.get(&key).is_none()));
    cache.insert(1, count.value(21));
    assert_eq!(guard.get(&1).map(|value| value.id), Some(21));
    // Nor does it keep others from writing and reading.
    thread::scope(|scope| {
        scope.spawn(|| {
            for key in 100..200 {
                cache.insert(key, count.value(key));
                assert!(cache.contains_key(&key));
            }
        });
    });
    assert_eq!(count.dropped(), 0);

    drop(guard);
    insist(&clock, &cache);
    assert_eq!(count.alive(), cache.entry_count() as u64);
    cache.validate();
}

#[test]
fn a_guard_begun_after_the_removal_delays_nothing_for_long() {
    let _turn = alone();
    let (clock, cache, count) = cache();
    cache.insert(1, count.value(1));
    assert!(cache.invalidate(&1));
    let mut guard = cache.read_guard();
    // One refresh a sweep, as a reader does that goes on for ever.
    for _ in 0..20 {
        clock.advance(Duration::from_millis(10));
        guard.refresh();
    }
    assert_eq!(count.dropped(), 1);
}

#[test]
fn refresh_lets_go_of_what_was_seen_and_sees_on() {
    let _turn = alone();
    let (clock, cache, count) = cache();
    cache.insert(1, count.value(1));
    cache.insert(2, count.value(2));
    let mut guard = cache.read_guard();
    assert!(guard.get(&1).is_some());
    assert!(cache.invalidate(&1));
    insist(&clock, &cache);
    assert_eq!(count.dropped(), 0);
    for _ in 0..20 {
        guard.refresh();
        cache.run_pending_tasks();
    }
    assert_eq!(count.dropped(), 1);
    assert_eq!((guard.get(&1).is_none(), guard.get(&2).map(|value| value.id)), (true, Some(2)));
}

/// However much a guard has held up, it goes as soon as the guard does.
#[test]
fn what_a_guard_held_up_goes_at_once() {
    const MANY: u64 = 600_000;
    let _turn = alone();
    let (_, cache, count) = cache();
    let guard = cache.read_guard();
    (0..MANY).for_each(|key| cache.insert(key, count.value(key)));
    cache.invalidate_all();
    cache.run_pending_tasks();
    assert_eq!((count.dropped(), cache.entry_count()), (0, 0));
    drop(guard);
    // Three times, for what it may have left when it gave way to others.
    (0..3).for_each(|_| cache.run_pending_tasks());
    assert_eq!(count.dropped(), MANY);
}

#[test]
fn a_guard_sees_time_go_by() {
    let _turn = alone();
    let (clock, cache, count) = cache();
    cache.insert(1, count.value(1));
    let guard = cache.read_guard();
    clock.advance_without_sweeping(Duration::from_secs(5) - Duration::from_nanos(1));
    let entry = guard.entry(&1).unwrap();
    assert_eq!(entry.remaining_ttl(), Duration::from_nanos(1));
    clock.advance_without_sweeping(Duration::from_nanos(1));
    assert!(guard.get(&1).is_none() && guard.entry(&1).is_none());
}

/// Many guards on one thread, of one cache and of several; they end in any order.
#[test]
fn guards_may_be_nested_and_end_in_any_order() {
    let _turn = alone();
    let (clock, cache, count) = cache();
    let (other_clock, other, other_count) = self::cache();
    cache.insert(1, count.value(1));
    other.insert(1, other_count.value(1));
    let first = cache.read_guard();
    let second = other.read_guard();
    let third = cache.read_guard();
    let values = (first.get(&1).unwrap(), second.get(&1).unwrap(), third.get(&1).unwrap());
    assert_eq!((values.0.id, values.1.id, values.2.id), (1, 1, 1));
    cache.invalidate_all();
    other.invalidate_all();
    drop(first);
    insist(&clock, &cache);
    insist(&other_clock, &other);
    assert_eq!((count.dropped(), other_count.dropped()), (0, 0));
    drop(third);
    drop(second);
    insist(&clock, &cache);
    insist(&other_clock, &other);
    assert_eq!((count.dropped(), other_count.dropped()), (1, 1));
}

/// A refresh under an older guard of the same thread must not take away what that one sees.
#[test]
fn refresh_of_one_guard_leaves_another_of_the_thread_alone() {
    let _turn = alone();
    let (clock, cache, count) = cache();
    cache.insert(1, count.value(1));
    let old = cache.read_guard();
    let seen = old.get(&1).unwrap();
    let mut young = cache.read_guard();
    assert!(cache.invalidate(&1));
    for _ in 0..20 {
        young.refresh();
        clock.advance(Duration::from_millis(10));
    }
    assert_eq!((count.dropped(), seen.id), (0, 1));
    drop(old);
    for _ in 0..20 {
        young.refresh();
        clock.advance(Duration::from_millis(10));
    }
    assert_eq!(count.dropped(), 1);
}

/// A `read` closure holds what it was shown, as long as it runs, and no longer.
#[test]
fn a_read_closure_holds_its_value() {
    let _turn = alone();
    let _watchdog = Watchdog::over("a read closure", 20);
    let (clock, cache, count) = cache();
    cache.insert(1, count.value(1));
    let (entered, wait_entered) = mpsc::channel();
    let (leave, wait_leave) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let (cache, count) = (&cache, &count);
        scope.spawn(move || {
            let id = cache.read(&1, |value| {
                entered.send(()).unwrap();
                wait_leave.recv().unwrap();
                assert_eq!(count.dropped(), 0);
                value.id
            });
            assert_eq!(id, Some(1));
        });
        wait_entered.recv().unwrap();
        assert!(cache.invalidate(&1));
        insist(&clock, cache);
        assert_eq!(count.dropped(), 0);
        leave.send(()).unwrap();
    });
    insist(&clock, &cache);
    assert_eq!(count.dropped(), 1);
}

/// A guard of one cache, and the last handle of another goes: its values wait for the guard, the one
/// who drops does not.
#[test]
fn dropping_a_cache_does_not_wait_for_guards() {
    let _turn = alone();
    let _watchdog = Watchdog::over("the drop of a cache while a guard is held", 20);
    let (_, mine, my_count) = cache();
    mine.insert(1, my_count.value(1));
    let guard = mine.read_guard();
    let seen = guard.get(&1).unwrap();
    let (clock, other, count) = cache();
    for key in 0..1000 {
        other.insert(key, count.value(key));
    }
    assert!(other.invalidate(&1));
    drop(other);
    assert_eq!((seen.id, my_count.dropped()), (1, 0));
    drop(guard);
    clock.advance(Duration::from_secs(1));
    let (helper_clock, helper, _) = cache();
    insist(&helper_clock, &helper);
    assert_eq!(count.alive(), 0);
}

/// The listener is told in good time, though the value cannot be dropped yet.
#[test]
fn a_guard_delays_no_report() {
    let _turn = alone();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let clock = ManualClock::new();
    let cache = Cache::builder()
        .clock(clock.clone())
        .eviction_listener({
            let heard = Arc::clone(&heard);
            move |key: &u64, value: &u64, cause| heard.lock().unwrap().push((*key, *value, cause))
        })
        .build()
        .unwrap();
    cache.insert(1, 10);
    cache.insert_with_ttl(2, 20, Duration::from_secs(1));
    let guard = cache.read_guard();
    assert_eq!((guard.get(&1), guard.get(&2)), (Some(&10), Some(&20)));
    assert!(cache.invalidate(&1));
    assert_eq!(*heard.lock().unwrap(), [(1, 10, RemovalCause::Explicit)]);
    clock.advance(Duration::from_secs(2));
    assert_eq!(heard.lock().unwrap()[1..], [(2, 20, RemovalCause::Expired)]);
    drop(guard);
}
