//! Iteration over what others are changing: what stays is yielded exactly once, however often the table grows
//! and shrinks meanwhile; what expired is not yielded; what is removed is told of once; nobody waits for who looks.

#[path = "common/counted.rs"]
mod counted;
#[path = "common/hashers.rs"]
mod hashers;
#[path = "common/watchdog.rs"]
mod watchdog;

use counted::Count;
use hashers::{Colliding, Identity};
use proptest::prelude::{Just, Strategy, any};
use proptest::test_runner::Config;
use proptest::{collection, prop_oneof, proptest, sample};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tidewheel::{Cache, ManualClock, RandomState, Reaper, RemovalCause};
use watchdog::Watchdog;

/// Each key in it once: as a set.
fn once<K: std::hash::Hash + Eq + Copy + std::fmt::Debug>(keys: impl Iterator<Item = K>) -> HashSet<K> {
    let mut seen = HashSet::new();
    keys.for_each(|key| assert!(seen.insert(key), "{key:?} twice"));
    seen
}

/// Many entries that stay, a walk through them, and four writers who have the table grow to twice its size
/// and shrink to that of those that stay again and again, replacing what stays all the while.
#[test]
fn what_stays_is_yielded_once_under_four_writers() {
    const STAY: u64 = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };
    let watchdog = Watchdog::over("a walk under four writers", 300);
    let cache: Cache<u64, u64> = Cache::builder().shards(4).reaper(Reaper::dedicated()).build().unwrap();
    (0..STAY).for_each(|key| cache.insert(key, key));
    watchdog.feed();
    let (stop, passing) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for writer in 0..4 {
            let (cache, stop, passing) = (&cache, &stop, &passing);
            scope.spawn(move || {
                // Keys of its own, above those that stay.
                let base = STAY * (writer + 1);
                for round in 0.. {
                    for key in base..base + STAY / 2 {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        cache.insert(key, key);
                        passing.fetch_add(1, Ordering::Relaxed);
                        let kept = (key * 7 + round) % STAY;
                        assert!(cache.update(&kept, |value| value + STAY));
                    }
                    (base..base + STAY / 2).for_each(|key| assert!(cache.invalidate(&key)));
                }
            });
        }
        for look in 0..6 {
            let mut seen = vec![0u8; STAY as usize];
            let mut note = |key: u64, value: u64| {
                if key < STAY {
                    assert_eq!(value % STAY, key, "the value of another key");
                    seen[key as usize] += 1;
                }
            };
            match look % 3 {
                0 => cache.iter().for_each(|(key, value)| note(key, value)),
                1 => cache.keys().for_each(|key| note(key, key)),
                _ => cache.read_guard().iter().for_each(|(key, value)| note(*key, *value)),
            }
            let wrong = (0..STAY).filter(|&key| seen[key as usize] != 1).count();
            assert_eq!(wrong, 0, "keys that were not seen exactly once, in look {look}");
            watchdog.feed();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(passing.load(Ordering::Relaxed) > 0);
    cache.validate();
}

/// A table that goes from tiny to large and back, several times, between one step of the iterator and the next.
#[test]
fn what_stays_is_yielded_once_while_the_table_grows_and_shrinks() {
    const STAY: u64 = 1000;
    let clock = ManualClock::new();
    let cache: Cache<u64, u64> = Cache::builder().shards(2).clock(clock.clone()).build().unwrap();
    (0..STAY).for_each(|key| cache.insert(key, key));
    let mut iter = cache.iter();
    let mut seen = Vec::new();
    for round in 0..8 {
        seen.extend(iter.by_ref().take(130).map(|(key, _)| key));
        let more = STAY..STAY + 20_000 * (round % 3 + 1);
        more.clone().for_each(|key| cache.insert(key, key));
        (0..STAY).for_each(|key| assert!(cache.update(&key, |value| value + 1)));
        // In the middle of a move.
        seen.extend(iter.by_ref().take(7).map(|(key, _)| key));
        more.for_each(|key| assert!(cache.invalidate(&key)));
        (0..10).for_each(|_| clock.advance(Duration::from_secs(1)));
        seen.extend(iter.by_ref().take(7).map(|(key, _)| key));
    }
    seen.extend(iter.map(|(key, _)| key));
    let mut stayed: Vec<_> = seen.into_iter().filter(|&key| key < STAY).collect();
    stayed.sort_unstable();
    assert_eq!(stayed, (0..STAY).collect::<Vec<_>>());
    cache.validate();
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Take(usize),
    Insert(u64, u64),
    Remove(u64, u64),
    Replace(u64),
    Pass(Duration),
}

fn step() -> impl Strategy<Value = Step> {
    let range = || (0u64..400, 1u64..200);
    prop_oneof![
        6 => (1usize..30).prop_map(Step::Take),
        4 => range().prop_map(|(from, count)| Step::Insert(from, count)),
        4 => range().prop_map(|(from, count)| Step::Remove(from, count)),
        3 => (0u64..400).prop_map(Step::Replace),
        3 => sample::select(vec![0u64, 1, 900, 2500, 70_000]).prop_map(|ms| Step::Pass(Duration::from_millis(ms))),
    ]
}

/// An iterator between whose steps anything may happen, against a map that knows since when each key has been there.
/// Keys that are multiples of five live for ten seconds, all others for ever.
fn walk_among(hasher: impl BuildHasher + Send + Sync + 'static, guard: bool, before: u64, steps: &[Step]) {
    let clock = ManualClock::new();
    let builder = Cache::<u64, u64>::builder().shards(2).clock(clock.clone());
    let cache = builder.build_with_hasher(hasher).unwrap();
    let ttl = |key: u64| if key % 5 == 0 { Duration::from_secs(10) } else { Duration::MAX };
    let mut deadlines = HashMap::new();
    let insert = |key: u64, deadlines: &mut HashMap<u64, Duration>| {
        cache.insert_with_ttl(key, key, ttl(key));
        deadlines.insert(key, clock.elapsed().saturating_add(ttl(key)));
    };
    (0..before).for_each(|key| insert(key, &mut deadlines));
    let is_alive = |key: u64, deadlines: &HashMap<u64, Duration>| {
        deadlines.get(&key).is_some_and(|deadline| *deadline > clock.elapsed())
    };
    let mut stayed: HashSet<u64> = (0..before).collect();
    // How often a key came anew: so much more often it may be yielded.
    let mut came: HashMap<u64, usize> = HashMap::new();
    let mut yielded: HashMap<u64, usize> = HashMap::new();
    let guarded = cache.read_guard();
    let mut iter: Box<dyn Iterator<Item = u64>> = if guard {
        Box::new(guarded.iter().map(|(key, _)| *key))
    } else {
        Box::new(cache.iter().map(|(key, _)| key))
    };
    let mut take = |count: usize, deadlines: &HashMap<u64, Duration>| {
        for key in iter.by_ref().take(count) {
            // A guard shows what was there some entries ago; but nothing that has expired.
            assert!(guard && !deadlines.contains_key(&key) || is_alive(key, deadlines), "{key} is not there");
            *yielded.entry(key).or_default() += 1;
        }
    };
    for &step in steps {
        match step {
            Step::Take(count) => take(count, &deadlines),
            Step::Insert(from, count) => {
                for key in from..from + count {
                    if !is_alive(key, &deadlines) {
                        *came.entry(key).or_default() += 1;
                    }
                    insert(key, &mut deadlines);
                }
            }
            Step::Remove(from, count) => {
                for key in from..from + count {
                    assert_eq!(cache.invalidate(&key), is_alive(key, &deadlines));
                    deadlines.remove(&key);
                }
            }
            Step::Replace(key) => {
                if is_alive(key, &deadlines) {
                    insert(key, &mut deadlines);
                }
            }
            Step::Pass(time) => {
                clock.advance(time);
                deadlines.retain(|_, deadline| *deadline > clock.elapsed());
            }
        }
        stayed.retain(|key| is_alive(*key, &deadlines));
    }
    take(usize::MAX, &deadlines);
    for key in &stayed {
        assert_eq!(yielded.get(key), Some(&1), "{key} stayed");
    }
    for (key, times) in &yielded {
        let most = usize::from(*key < before) + came.get(key).copied().unwrap_or(0);
        assert!(*times <= most, "{key} was yielded {times} times, and came {most} times");
    }
    cache.validate();
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn like_a_map_that_knows_who_stayed(guard in any::<bool>(), before in 0u64..300,
                                        steps in collection::vec(step(), 1..40)) {
        walk_among(RandomState::new().unwrap(), guard, before, &steps);
    }

    #[test]
    fn the_same_when_every_key_hashes_to_itself(guard in any::<bool>(), before in 0u64..300,
                                                steps in collection::vec(step(), 1..40)) {
        walk_among(Identity, guard, before, &steps);
    }

    #[test]
    fn the_same_when_all_keys_collide(guard in Just(false), before in 0u64..100,
                                      steps in collection::vec(step(), 1..12)) {
        walk_among(Colliding, guard, before, &steps);
    }
}

/// What a slow consumer has before it is looked up when it is its turn.
#[test]
fn no_entry_is_yielded_that_expired_while_the_consumer_slept() {
    let clock = ManualClock::new();
    let cache = Cache::<u64, u64>::builder().shards(1).clock(clock.clone()).build().unwrap();
    for key in 0..200 {
        cache.insert_with_ttl(key, key, Duration::from_secs(10));
    }
    let (mut iter, mut keys, guard) = (cache.iter(), cache.keys(), cache.read_guard());
    let mut lent = guard.iter();
    assert!(iter.next().is_some() && keys.next().is_some() && lent.next().is_some());
    // One is made to live longer, one shorter.
    assert!(cache.persist(&7) && cache.set_ttl(&8, Duration::from_secs(1)));
    clock.advance_without_sweeping(Duration::from_secs(9));
    assert!(iter.by_ref().take(50).all(|(key, _)| key != 8));
    clock.advance_without_sweeping(Duration::from_secs(1));
    assert!(iter.all(|(key, _)| key == 7) && keys.all(|key| key == 7) && lent.all(|(key, _)| *key == 7));
}

/// An hour between two calls holds up nobody's memory.
#[test]
fn a_slow_consumer_delays_no_drop() {
    let clock = ManualClock::new();
    let count = Count::default();
    let cache = Cache::builder().clock(clock.clone()).build().unwrap();
    (0..1000u64).for_each(|key| cache.insert(key, count.value(key)));
    let mut iter = cache.iter();
    drop(iter.next());
    cache.invalidate_all();
    // A test beside this one may have its thread pinned, for a moment.
    let start = Instant::now();
    while count.alive() > 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "{} alive", count.alive());
        cache.run_pending_tasks();
        thread::yield_now();
    }
    assert!(iter.next().is_none());
}

/// The loop's body does whatever it likes with the cache, and so do closures.
#[test]
fn the_cache_may_be_used_while_iterating() {
    let _watchdog = Watchdog::over("the use of a cache in a loop over it", 60);
    let heard = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&heard);
    let cache = Cache::<u64, u64>::builder()
        .shards(1)
        .eviction_listener(move |_, _, _| {
            told.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .unwrap();
    (0..500).for_each(|key| cache.insert(key, key));
    for (key, value) in &cache {
        assert_eq!(cache.get(&key), Some(value));
        cache.insert(key, value);
        cache.insert(key + 1000, value);
        assert!(cache.invalidate(&key));
        assert!(cache.iter().count() > 0);
        if cache.entry_count() > 3000 {
            break;
        }
    }
    cache.retain(|key, _| {
        cache.retain(|other, _| other % 3 != 0 || other == key);
        cache.insert(*key, 1);
        assert_eq!(cache.get(key), Some(1));
        true
    });
    cache.retain(|key, _| {
        // It takes away what it is asked about, and what it will be asked about.
        cache.invalidate(key);
        cache.drain().for_each(drop);
        false
    });
    assert_eq!(cache.entry_count(), 0);
    cache.validate();
}

type Report = (u64, u64, RemovalCause);

fn heard() -> (Cache<u64, u64>, Arc<Mutex<Vec<Report>>>) {
    let reports = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&reports);
    let cache = Cache::<u64, u64>::builder()
        .record_stats()
        .eviction_listener(move |key, value, cause| listener.lock().unwrap().push((*key, *value, cause)))
        .build()
        .unwrap();
    (cache, reports)
}

/// Four who drain, two who write: each value that was stored is drained once, or replaced, or there at the end.
#[test]
fn every_value_goes_to_one_drainer_and_the_listener_hears_of_it_once() {
    const KEYS: u64 = 20_000;
    let _watchdog = Watchdog::over("four drainers", 60);
    let (cache, reports) = heard();
    (0..KEYS).for_each(|key| cache.insert(key, key));
    let next = AtomicU64::new(KEYS);
    let drained: Vec<(u64, u64)> = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for key in 0..KEYS {
                    cache.insert(key % 1000, next.fetch_add(1, Ordering::Relaxed));
                }
            });
        }
        let drainers: Vec<_> = (0..4).map(|_| scope.spawn(|| cache.drain().collect::<Vec<_>>())).collect();
        drainers.into_iter().flat_map(|drainer| drainer.join().unwrap()).collect()
    });
    let of_cause = |cause| {
        let reports = reports.lock().unwrap();
        let values = reports.iter().filter(|report| report.2 == cause).map(|report| report.1);
        once(values)
    };
    let drained = once(drained.into_iter().map(|(_, value)| value));
    let explicit = of_cause(RemovalCause::Explicit);
    assert_eq!(drained, explicit);
    let replaced = of_cause(RemovalCause::Replaced);
    let left = once(cache.iter().map(|(_, value)| value));
    assert_eq!((drained.len() + replaced.len() + left.len()) as u64, next.into_inner());
    assert_eq!(cache.stats().explicit, drained.len() as u64);
    assert!((1000..KEYS).all(|value| drained.contains(&value)), "what stayed was drained");
}

/// Two who retain with the same closure, and writers: what the closure says no to is gone, told of once.
#[test]
fn retain_takes_what_it_says_and_the_listener_hears_of_it_once() {
    const KEYS: u64 = 20_000;
    let _watchdog = Watchdog::over("two who retain", 60);
    let (cache, reports) = heard();
    (0..KEYS).for_each(|key| cache.insert(key, 2 * key));
    thread::scope(|scope| {
        for _ in 0..2 {
            // Even values are bad. Writers make values odd, and add bad ones of keys that come anew.
            scope.spawn(|| cache.retain(|_, value| value % 2 == 1));
        }
        scope.spawn(|| {
            for key in 0..KEYS / 2 {
                cache.update(&key, |value| value | 1);
            }
        });
        scope.spawn(|| (KEYS..2 * KEYS).for_each(|key| cache.insert(key, 2 * key + 1)));
    });
    assert!(cache.iter().all(|(_, value)| value % 2 == 1), "a bad value is left");
    assert_eq!(cache.keys().filter(|key| *key >= KEYS).count() as u64, KEYS);
    let reports = reports.lock().unwrap();
    let explicit = once(reports.iter().filter(|r| r.2 == RemovalCause::Explicit).map(|r| r.1));
    assert!(explicit.iter().all(|value| value % 2 == 0), "a good value was taken");
    let replaced = once(reports.iter().filter(|r| r.2 == RemovalCause::Replaced).map(|r| r.1));
    assert!(explicit.is_disjoint(&replaced));
    assert_eq!(explicit.len() + cache.keys().filter(|key| *key < KEYS).count(), KEYS as usize);
}

/// The other entry is replaced after its bucket was looked at.
#[test]
fn retain_shows_what_is_stored() {
    let cache: Cache<i32, char> = Cache::builder().shards(1).build().unwrap();
    cache.insert(1, 'a');
    cache.insert(2, 'a');
    let mut first = true;
    cache.retain(|key, value| {
        if std::mem::take(&mut first) {
            cache.insert(3 - key, 'b');
        }
        *value != 'b'
    });
    assert!(cache.iter().all(|(_, value)| value != 'b'), "{:?}", cache.iter().collect::<Vec<_>>());
}

/// The other entry is replaced and then removed after its bucket was looked at.
#[test]
fn retain_asks_about_nothing_that_is_gone() {
    let cache: Cache<i32, char> = Cache::builder().shards(1).build().unwrap();
    cache.insert(1, 'a');
    cache.insert(2, 'a');
    let mut asked = Vec::new();
    cache.retain(|key, _| {
        if asked.is_empty() {
            cache.insert(3 - key, 'b');
            cache.invalidate(&(3 - key));
        }
        asked.push(*key);
        true
    });
    assert_eq!(asked.len(), 1);
}

/// A closure that panics: what it said before is done and told of; the rest stays.
#[test]
fn a_panic_of_retains_closure_leaves_the_rest() {
    let (cache, reports) = heard();
    (0..300).for_each(|key| cache.insert(key, key));
    let mut asked = Vec::new();
    let result = catch_unwind(AssertUnwindSafe(|| {
        cache.retain(|key, _| {
            assert!(asked.len() < 100, "enough");
            asked.push(*key);
            false
        });
    }));
    assert!(result.is_err());
    let told = once(reports.lock().unwrap().iter().map(|report| report.0));
    assert_eq!(told, once(asked.into_iter()));
    assert_eq!((told.len(), cache.entry_count()), (100, 200));
    cache.validate();
    cache.retain(|_, _| false);
    assert_eq!(cache.entry_count(), 0);
}

/// A value or a key that panics at every seventh clone.
#[derive(Debug)]
struct Fragile(u64, Arc<AtomicU64>);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert!(self.1.fetch_add(1, Ordering::Relaxed) % 7 != 3, "a clone that panics");
        Self(self.0, Arc::clone(&self.1))
    }
}

impl PartialEq for Fragile {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Fragile {}

impl std::hash::Hash for Fragile {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// Goes on after each panic, to the end: what was yielded, and how many panics there were.
fn in_spite_of_panics<T>(mut iter: impl Iterator<Item = T>) -> (Vec<T>, usize) {
    let (mut yielded, mut panics) = (Vec::new(), 0);
    loop {
        match catch_unwind(AssertUnwindSafe(|| iter.next())) {
            Ok(Some(item)) => yielded.push(item),
            Ok(None) => return (yielded, panics),
            Err(_) => panics += 1,
        }
    }
}

#[test]
fn an_iterator_goes_on_after_a_clone_that_panicked() {
    let count = Arc::new(AtomicU64::new(0));
    let values = Cache::builder().shards(2).build().unwrap();
    (0..200u64).for_each(|key| values.insert(key, Fragile(key, Arc::clone(&count))));
    let (pairs, panics) = in_spite_of_panics(values.iter());
    let seen = once(pairs.iter().map(|(key, _)| *key));
    assert!(panics > 0 && seen.len() + panics == 200, "{} and {panics}", seen.len());
    // What was not removed because its clone panicked is still there.
    let (pairs, panics) = in_spite_of_panics(values.drain());
    assert_eq!((pairs.len() + panics, values.entry_count()), (200, panics));
    values.validate();

    // With two entries a bucket, so that some bucket's keys are cloned in one go.
    let keys = Cache::builder().shards(1).initial_capacity(400).build().unwrap();
    (0..20u64).for_each(|key| keys.insert(Fragile(key, Arc::clone(&count)), key));
    let (yielded, panics) = in_spite_of_panics(keys.keys());
    assert!(panics > 0);
    assert_eq!(once(yielded.iter().map(|key| key.0)).len(), 20);
    keys.validate();
}

/// A key that counts how often keys are compared.
#[derive(Clone, Debug)]
struct Compared(u64);

thread_local! {
    static COMPARED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

impl PartialEq for Compared {
    fn eq(&self, other: &Self) -> bool {
        COMPARED.set(COMPARED.get() + 1);
        self.0 == other.0
    }
}

impl Eq for Compared {}

impl std::hash::Hash for Compared {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

std::thread_local! {
    /// After so many hashes by this thread, one panics.
    static GOOD: Cell<u32> = const { Cell::new(u32::MAX) };
}

/// A key whose hash panics once.
#[derive(PartialEq, Eq)]
struct Touchy(u32);

impl std::hash::Hash for Touchy {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let left = GOOD.replace(GOOD.get().wrapping_sub(1));
        assert!(left != 0, "hashed once too often");
        self.0.hash(state);
    }
}

/// A walk hashes the keys that it meets. If one of the hashes panics, the bucket is walked again, and what was met in
/// it before is not yielded besides.
#[test]
fn a_guards_iteration_yields_each_once_although_a_hash_panics() {
    let cache: Cache<Touchy, ()> = Cache::builder().shards(1).build().unwrap();
    (0..5).for_each(|key| cache.insert(Touchy(key), ()));
    let guard = cache.read_guard();
    let mut all = guard.iter();
    GOOD.set(3);
    assert!(catch_unwind(AssertUnwindSafe(|| all.next())).is_err());
    GOOD.set(u32::MAX);
    assert_eq!(once(all.map(|(key, ())| key.0)), HashSet::from_iter(0..5));
}

/// Entries that are put into another cache in the order of a walk, forwards or backwards, come in the order of their buckets: while that cache is
/// small, many belong into a few of its buckets. Each found its place at the end of a row of full ones, and looked at all of them.
#[test]
fn to_copy_in_the_order_of_a_walk_is_not_quadratic() {
    const COUNT: u64 = 60_000;
    let hasher = RandomState::new().unwrap();
    let empty = || {
        let builder = Cache::<Compared, u64>::builder().shards(1).reaper(Reaper::manual());
        builder.build_with_hasher(hasher.clone()).unwrap()
    };
    let from = empty();
    (0..COUNT).for_each(|key| from.insert(Compared(key), key));
    let mut entries: Vec<_> = from.iter().collect();
    for _ in 0..2 {
        let to = empty();
        COMPARED.set(0);
        entries.iter().for_each(|(key, value)| to.insert(key.clone(), *value));
        let compared = COMPARED.get();
        assert!(compared < COUNT, "{compared} comparisons for {COUNT} keys, of which no two are equal");
        to.validate();
        entries.reverse();
    }
}
