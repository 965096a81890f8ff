//! What a held guard delays: the drop of what was removed, and nothing else.
//!
//! A test program of its own with one test at a time, because a guard that is held delays the drops of
//! every cache in the process.

#[path = "common/counted.rs"]
mod counted;
#[path = "common/watchdog.rs"]
mod watchdog;

use counted::{Count, Counted};
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, Expiry, ManualClock, Op, ReadGuard, RemovalCause};
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

/// A guard that a thread leaves to its thread-local destructors: the crate's own may have run before. It protects until
/// it is dropped, though other threads come that have no slot yet; and nothing of it stays when the thread is gone.
#[test]
fn a_guard_that_ends_with_its_thread_protects_until_then_and_no_longer() {
    struct Last {
        _guard: ReadGuard<'static, u64, Counted>,
        reached: Sender<()>,
        go_on: Receiver<()>,
    }
    impl Drop for Last {
        fn drop(&mut self) {
            let _ = self.reached.send(());
            let _ = self.go_on.recv();
        }
    }
    thread_local! {
        static EARLY: RefCell<Option<Last>> = const { RefCell::new(None) };
        static LATE: RefCell<Option<Last>> = const { RefCell::new(None) };
    }
    // A leak check finds them here.
    static FOR_EVER: Mutex<Vec<&Cache<u64, Counted>>> = Mutex::new(Vec::new());
    let _turn = alone();
    let _watchdog = Watchdog::over("a guard at its thread's end", 120);
    for is_early in [true, false] {
        let (clock, cache, count) = cache();
        // For ever, as a guard in a thread-local has to be of one that is there for ever.
        let cache: &'static Cache<u64, Counted> = Box::leak(Box::new(cache));
        FOR_EVER.lock().unwrap().push(cache);
        cache.insert(1, count.value(1));
        let (reached, is_reached) = mpsc::channel();
        let (open, go_on) = mpsc::channel();
        let thread = thread::spawn(move || {
            // Its destructor is registered before the thread's first pin, or after that.
            let place = if is_early { &EARLY } else { &LATE };
            if is_early {
                place.set(None);
            }
            place.set(Some(Last { _guard: cache.read_guard(), reached, go_on }));
        });
        is_reached.recv().unwrap();
        assert!(cache.invalidate(&1));
        for _ in 0..2 {
            thread::spawn(|| drop(cache.read_guard())).join().unwrap();
        }
        insist(&clock, cache);
        assert_eq!(count.alive(), 1, "the guard is still held; early: {is_early}");
        open.send(()).unwrap();
        thread.join().unwrap();
        insist(&clock, cache);
        assert_eq!(count.alive(), 0, "the thread is gone; early: {is_early}");
    }
}

/// Finds out whether this thread is pinned: then nothing that is removed is dropped.
struct Probe {
    cache: Cache<u64, Counted>,
    count: Count,
    looks: AtomicU64,
    pinned: AtomicU64,
}

impl Probe {
    fn new() -> Arc<Self> {
        let (_, cache, count) = cache();
        Arc::new(Self { cache, count, looks: AtomicU64::new(0), pinned: AtomicU64::new(0) })
    }

    fn look(&self) {
        self.cache.insert(0, self.count.value(0));
        assert!(self.cache.invalidate(&0));
        self.cache.run_pending_tasks();
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.pinned.fetch_add(u64::from(self.count.alive() > 0), Ordering::Relaxed);
    }
}

/// A value that has its destructor look.
#[derive(Clone)]
struct Looks(Arc<Probe>);

impl Drop for Looks {
    fn drop(&mut self) {
        self.0.look();
    }
}

/// As long as this lives, too.
struct Alike;

impl Expiry<u64, Looks> for Alike {
    fn expire_after_update(&self, _: &u64, _: &Looks, _: Option<Duration>) -> Option<Duration> {
        Some(Duration::from_secs(60))
    }
}

/// Listeners and destructors may take their time: while one runs, nobody's memory waits for its thread. So no call
/// runs them pinned, though most look at a node before.
#[test]
fn listeners_and_destructors_run_unpinned_whatever_calls_them() {
    type Call = fn(&Cache<u64, Looks>, &ManualClock, &dyn Fn() -> Looks);
    const KEYS: u64 = 70;
    let one_by_one: &[(&str, Call)] = &[
        ("insert", |cache, _, value| (0..KEYS).for_each(|key| cache.insert(key, value()))),
        ("insert_many", |cache, _, value| cache.insert_many((0..KEYS).map(|key| (key, value())))),
        ("replace", |cache, _, value| {
            (0..KEYS).for_each(|key| assert!(cache.replace(&key, value()).is_ok()));
        }),
        ("update", |cache, _, value| (0..KEYS).for_each(|key| assert!(cache.update(&key, |_| value())))),
        ("invalidate", |cache, _, _| (0..KEYS).for_each(|key| assert!(cache.invalidate(&key)))),
        ("remove", |cache, _, _| (0..KEYS).for_each(|key| assert!(cache.remove(&key).is_some()))),
        ("remove_if", |cache, _, _| {
            (0..KEYS).for_each(|key| assert!(cache.remove_if(&key, |_| true).is_some()));
        }),
        ("rename", |cache, _, _| (0..KEYS).for_each(|key| assert!(cache.rename(&key, key + KEYS)))),
        ("retain", |cache, _, _| cache.retain(|_, _| false)),
        ("drain", |cache, _, _| assert_eq!(cache.drain().count() as u64, KEYS)),
        ("invalidate_all", |cache, _, _| cache.invalidate_all()),
        ("set_max_capacity", |cache, _, _| cache.set_max_capacity(0).unwrap()),
        ("insert that evicts", |cache, _, value| (0..KEYS).for_each(|key| cache.insert(KEYS + key, value()))),
        ("get_with that evicts", |cache, _, value| {
            (0..KEYS).for_each(|key| drop(cache.get_with(KEYS + key, value)));
        }),
        ("and_upsert_with", |cache, _, value| {
            (0..KEYS).for_each(|key| drop(cache.entry(key).and_upsert_with(|_| value())));
        }),
        ("and_compute_with", |cache, _, _| {
            (0..KEYS).for_each(|key| drop(cache.entry(key).and_compute_with(|_| Op::Remove)));
        }),
        ("a sweep", |_, clock, _| clock.advance(Duration::from_secs(100))),
    ];
    let _turn = alone();
    let watchdog = Watchdog::over("looking for pins", 300);
    for (is_listened, is_ruled) in [(false, false), (true, false), (true, true)] {
        for (name, call) in one_by_one {
            let (probe, clock) = (Probe::new(), ManualClock::new());
            let mut builder = Cache::builder()
                .clock(clock.clone())
                .shards(1)
                .max_capacity(KEYS)
                .time_to_live(Duration::from_secs(60));
            if is_listened {
                builder = builder.eviction_listener(|_, value: &Looks, _| value.0.look());
            }
            if is_ruled {
                builder = builder.expire_after(Alike);
            }
            let cache = builder.build().unwrap();
            let value = || Looks(Arc::clone(&probe));
            (0..KEYS).for_each(|key| cache.insert(key, value()));
            call(&cache, &clock, &value);
            clock.advance(Duration::from_secs(1));
            let [looks, pinned] = [&probe.looks, &probe.pinned].map(|count| count.load(Ordering::Relaxed));
            assert!(looks >= KEYS, "{name}: {looks} looks");
            assert_eq!(pinned, 0, "{name}: pinned in so many of {looks}; {is_listened} {is_ruled}");
            watchdog.feed();
        }
    }
}

/// Its node was replaced by one that ends earlier, after its bucket was looked at.
#[test]
fn a_guards_iteration_yields_nothing_that_has_expired() {
    let _turn = alone();
    let clock = ManualClock::new();
    let cache: Cache<i32, char> = Cache::builder().shards(1).clock(clock.clone()).build().unwrap();
    cache.insert_with_ttl(1, 'a', Duration::from_secs(100));
    cache.insert_with_ttl(2, 'a', Duration::from_secs(100));
    let guard = cache.read_guard();
    let mut all = guard.iter();
    let other = 3 - *all.next().unwrap().0;
    cache.insert_with_ttl(other, 'b', Duration::from_secs(1));
    clock.advance(Duration::from_secs(2));
    assert_eq!(guard.get(&other), None);
    assert_eq!(all.next(), None);
}

/// Its node was replaced after its bucket was looked at, and so was not there to be removed.
#[test]
fn a_guards_iteration_finds_nothing_after_invalidate_all() {
    let _turn = alone();
    let cache: Cache<i32, char> = Cache::builder().shards(1).build().unwrap();
    cache.insert(1, 'a');
    cache.insert(2, 'a');
    let guard = cache.read_guard();
    let mut all = guard.iter();
    let other = 3 - *all.next().unwrap().0;
    cache.insert(other, 'b');
    cache.invalidate_all();
    assert_eq!(cache.entry_count(), 0);
    assert_eq!(all.next(), None);
}
