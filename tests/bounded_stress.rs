//! Bounded caches under several threads, and with weighers and listeners that call back, panic or block.
//!
//! Somebody only looks, all the while, and must never see more than the bound. Every test is under a watchdog.

#[path = "common/watchdog.rs"]
mod watchdog;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Barrier, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use tidewheel::{Cache, EvictionPolicy, ManualClock, Reaper, RemovalCause, WeakCache};
use watchdog::Watchdog;

/// For how long the threads run.
const WHILE: Duration = Duration::from_millis(1500);
/// Beginnings and ends of changes of the capacity, at least.
const CHANGES: u64 = 20;

/// Numbers that look random (the multiplier is Knuth's).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What may be seen: even while the capacity is what it says, odd while it is on its way there.
#[derive(Default)]
struct Shown {
    version: AtomicU64,
    bound: AtomicU64,
}

/// Four writers; the first of them changes the capacity too. Somebody looks on.
fn nobody_sees_more(cache: &Cache<u64, u64>, keys: u64, weight: fn(u64) -> u64, capacities: &[u64]) {
    let shown = Shown::default();
    shown.bound.store(cache.policy().max_capacity.unwrap(), Ordering::Relaxed);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for thread in 0..4 {
            let (shown, stop) = (&shown, &stop);
            scope.spawn(move || {
                let mut numbers = Numbers(thread);
                while !stop.load(Ordering::Relaxed) {
                    let (key, value) = (numbers.below(keys), weight(numbers.below(1 << 20)));
                    match numbers.below(10) {
                        0..5 => cache.insert(key, value),
                        5 => drop(cache.replace(&key, value)),
                        6 => drop(cache.update(&key, |_| value)),
                        7 => cache.insert_with_ttl(key, value, Duration::from_millis(numbers.below(300))),
                        8 if numbers.below(4) == 0 => drop(cache.remove(&key)),
                        _ => drop(cache.get(&key)),
                    }
                    // So seldom that one thread alone fills the cache in between: the others may not be let run.
                    if thread == 0 && numbers.below(4000) == 0 {
                        let to = capacities[numbers.below(capacities.len() as u64) as usize];
                        let from = shown.bound.load(Ordering::Acquire);
                        // Whoever sees the version odd sees the larger one.
                        shown.bound.store(from.max(to), Ordering::Release);
                        shown.version.fetch_add(1, Ordering::AcqRel);
                        cache.set_max_capacity(to).unwrap();
                        shown.version.fetch_add(1, Ordering::AcqRel);
                        shown.bound.store(to, Ordering::Release);
                    }
                }
            });
        }
        let (mut seen, mut most, mut version, start) = (0u64, 0, 0, Instant::now());
        let largest = *capacities.iter().max().unwrap();
        let result = catch_unwind(AssertUnwindSafe(|| {
            // As long as it takes to have seen something: what a busy machine lets the writers do is no matter of time.
            while start.elapsed() < WHILE || version < CHANGES || most <= largest / 4 {
                version = shown.version.load(Ordering::Acquire);
                let bound = shown.bound.load(Ordering::Acquire);
                let (weight, count) = (cache.weighted_size(), cache.entry_count() as u64);
                assert!(weight <= largest, "{weight} of {largest} at most");
                most = most.max(weight);
                // Of two loads the first is done first, then: the figures are not from after a change that is not seen.
                fence(Ordering::Acquire);
                if shown.version.load(Ordering::Acquire) == version {
                    seen += 1;
                    assert!(weight <= bound, "{weight} of {bound}, version {version}");
                    assert!(
                        keys != UNIT_KEYS || count <= bound,
                        "{count} entries of {bound}, version {version}"
                    );
                }
            }
        }));
        stop.store(true, Ordering::Relaxed);
        result.unwrap();
        assert!(seen > 100, "seen {seen} times, {most} at most");
    });
    cache.validate();
}

const UNIT_KEYS: u64 = 5000;

#[test]
fn nobody_sees_more_entries_than_the_capacity() {
    let _watchdog = Watchdog::over("writers and one who looks", 60);
    for policy in [EvictionPolicy::Adaptive, EvictionPolicy::Clock] {
        let cache = Cache::builder()
            .max_capacity(1000)
            .shards(8)
            .eviction_policy(policy)
            .reaper(Reaper::dedicated())
            .build()
            .unwrap();
        nobody_sees_more(&cache, UNIT_KEYS, |_| 0, &[1000, 1000, 300, 2000, 8, 0]);
    }
}

#[test]
fn nobody_sees_more_weight_than_the_capacity() {
    let _watchdog = Watchdog::over("writers and one who looks", 60);
    let cache = Cache::builder()
        .max_capacity(100_000)
        .weigher(|_: &u64, weight: &u64| *weight as u32)
        .reaper(Reaper::dedicated())
        .build()
        .unwrap();
    // Some too heavy, some that weigh nothing.
    nobody_sees_more(&cache, 3000, |random| random % 1000 * (random % 17), &[100_000, 30_000, 200_000, 8]);
}

/// One writer, and a reader who counts what is there while one call runs: the key that the call brings first, so that he
/// cannot see it come after he saw another that went for it.
#[test]
fn a_reader_never_finds_more_than_the_capacity() {
    const KEYS: u64 = 12;
    const CAPACITY: usize = 4;
    let _watchdog = Watchdog::over("one who counts", 60);
    let cache = Cache::builder().max_capacity(CAPACITY as u64).build().unwrap();
    let (stop, calls, key) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let (mut counted, mut full) = (0u64, 0u64);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut numbers = Numbers(5);
            while !stop.load(Ordering::Relaxed) {
                let next = numbers.below(KEYS);
                key.store(next, Ordering::Release);
                calls.fetch_add(1, Ordering::AcqRel);
                cache.insert(next, next);
                calls.fetch_add(1, Ordering::AcqRel);
            }
        });
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| {
            // On until he has found it full often enough; the watchdog ends it if that never comes.
            while start.elapsed() < WHILE || full <= 100 {
                let call = calls.load(Ordering::Acquire);
                let first = key.load(Ordering::Acquire);
                let others = (1..KEYS).map(|step| (first + step) % KEYS);
                let there = [first].into_iter().chain(others).filter(|key| cache.contains_key(key)).count();
                if call == calls.load(Ordering::Acquire) && key.load(Ordering::Acquire) == first {
                    counted += 1;
                    full += u64::from(there == CAPACITY);
                    assert!(there <= CAPACITY, "{there} found");
                }
            }
        }));
        stop.store(true, Ordering::Relaxed);
        result.unwrap();
    });
    println!("counted {counted} times, full {full} times");
}

#[test]
fn every_removed_value_is_told_of_once_with_its_cause() {
    const THREADS: u64 = 4;
    const EACH: u64 = 30_000;
    let _watchdog = Watchdog::over("a listener that counts", 60);
    let reports: Arc<Mutex<HashMap<u64, Vec<RemovalCause>>>> = Arc::default();
    let heard = Arc::clone(&reports);
    let cache = Cache::builder()
        .max_capacity(2000)
        .weigher(|_: &u64, value: &u64| (value % 40) as u32)
        .reaper(Reaper::dedicated())
        .record_stats()
        .eviction_listener(move |_, value, cause| {
            heard.lock().unwrap().entry(*value).or_default().push(cause);
        })
        .build()
        .unwrap();
    let (stored, removed) = (Mutex::new(Vec::new()), AtomicU64::new(0));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (cache, stored, removed) = (&cache, &stored, &removed);
            scope.spawn(move || {
                let (mut numbers, mut own) = (Numbers(thread), Vec::new());
                for step in 0..EACH {
                    let (key, value) = (numbers.below(400), step * THREADS + thread);
                    let kept = match numbers.below(10) {
                        0..4 => {
                            cache.insert(key, value);
                            true
                        }
                        4 => cache.try_insert(key, value).is_ok(),
                        5 => cache.replace(&key, value).is_ok(),
                        6 => cache.update(&key, |_| value),
                        7 => {
                            cache.insert_with_ttl(key, value, Duration::from_millis(numbers.below(100)));
                            true
                        }
                        8 => {
                            removed.fetch_add(u64::from(cache.invalidate(&key)), Ordering::Relaxed);
                            false
                        }
                        _ => {
                            if thread == 0 && numbers.below(50) == 0 {
                                cache.set_max_capacity(8 * 40 + numbers.below(4000)).unwrap();
                            }
                            false
                        }
                    };
                    if kept {
                        own.push(value);
                    }
                }
                stored.lock().unwrap().extend(own);
            });
        }
    });
    // The reaper may come by between the two figures.
    let (left, before) = loop {
        let before = cache.stats();
        let left = cache.entry_count() as u64;
        if cache.stats() == before {
            break (left, before);
        }
    };
    let gone = before.expired + before.explicit + before.evicted;
    assert_eq!(before.inserts, left + gone, "{before:?}");
    cache.invalidate_all();
    let stored = stored.into_inner().unwrap();
    let start = Instant::now();
    while reports.lock().unwrap().len() < stored.len() && start.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(10));
    }
    let reports = reports.lock().unwrap();
    assert_eq!(reports.len(), stored.len());
    assert!(stored.iter().all(|value| reports.get(value).is_some_and(|causes| causes.len() == 1)));
    let told = |cause| reports.values().filter(|causes| causes[0] == cause).count() as u64;
    let stats = cache.stats();
    assert_eq!(told(RemovalCause::Explicit), stats.explicit);
    assert_eq!(told(RemovalCause::Expired), stats.expired);
    assert_eq!(told(RemovalCause::Replaced), stats.replacements);
    assert_eq!((told(RemovalCause::Size), stats.refused), (stats.evicted, 0));
    assert!(stats.explicit >= removed.load(Ordering::Relaxed));
    assert!(
        [stats.explicit, stats.expired, stats.replacements, stats.evicted].iter().all(|&count| count > 100)
    );
    assert_eq!((cache.entry_count(), cache.weighted_size()), (0, 0));
    cache.validate();
}

/// A listener that does on `Size` whatever it likes with the cache it hears of.
fn calling_back(call: fn(&Cache<u64, u64>, u64)) -> (Cache<u64, u64>, Arc<AtomicU64>) {
    thread_local!(static INSIDE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
    let (own, called) = (Arc::new(OnceLock::<WeakCache<u64, u64>>::new()), Arc::new(AtomicU64::new(0)));
    let (weak, counter) = (Arc::clone(&own), Arc::clone(&called));
    let cache = Cache::builder()
        .max_capacity(512)
        .shards(8)
        .weigher(|_, value: &u64| (value % 100) as u32)
        .record_stats()
        .eviction_listener(move |key, _, cause| {
            if cause == RemovalCause::Size && !INSIDE.replace(true) {
                if let Some(cache) = weak.get().and_then(WeakCache::upgrade) {
                    call(&cache, *key);
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                INSIDE.set(false);
            }
        })
        .build()
        .unwrap();
    assert!(own.set(cache.downgrade()).is_ok());
    (cache, called)
}

#[test]
fn a_listener_may_use_the_cache_that_evicts() {
    let watchdog = Watchdog::over("a listener that calls back", 60);
    type Call = fn(&Cache<u64, u64>, u64);
    let calls: [Call; 6] = [
        |cache, key| cache.insert(key, 30),
        |cache, key| cache.insert(key, 99),
        |cache, key| cache.set_max_capacity(512 + key % 100).unwrap(),
        |cache, key| {
            let _ = cache.contains_key(&key);
            let stats = cache.stats();
            assert!(stats.evicted + stats.refused > 0 && cache.policy().shards == 8);
        },
        |cache, _| cache.invalidate_all(),
        |cache, _| cache.set_max_capacity(0).and(cache.set_max_capacity(512)).unwrap(),
    ];
    for (number, call) in calls.into_iter().enumerate() {
        let (cache, called) = calling_back(call);
        thread::scope(|scope| {
            for thread in 0..2 {
                let cache = &cache;
                scope.spawn(move || {
                    let mut numbers = Numbers(thread);
                    for _ in 0..5000 {
                        cache.insert(numbers.below(200), numbers.below(100));
                        assert!(cache.weighted_size() <= 612);
                    }
                    if thread == 0 {
                        cache.set_max_capacity(100).unwrap();
                        cache.set_max_capacity(512).unwrap();
                    }
                });
            }
        });
        assert!(called.load(Ordering::Relaxed) > 20, "call {number}: {called:?}");
        cache.validate();
        watchdog.feed();
    }
}

struct Planted;

/// Panics with nothing to say: what the hook prints is the test harness's to swallow.
fn plant() -> ! {
    std::panic::resume_unwind(Box::new(Planted))
}

#[test]
fn a_listener_that_panics_does_no_harm() {
    let heard = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&heard);
    let cache = Cache::builder()
        .max_capacity(100)
        .weigher(|_, weight: &u32| *weight)
        .eviction_listener(move |_: &u64, _, _| {
            counter.fetch_add(1, Ordering::Relaxed);
            plant();
        })
        .build()
        .unwrap();
    (0..1000).for_each(|key| cache.insert(key, 10));
    assert_eq!((heard.load(Ordering::Relaxed), cache.entry_count()), (990, 10));
    cache.insert(1000, 101);
    cache.insert(1001, 100);
    assert_eq!((heard.load(Ordering::Relaxed), cache.entry_count()), (1001, 1));
    cache.set_max_capacity(99).unwrap();
    assert_eq!((heard.load(Ordering::Relaxed), cache.weighted_size()), (1002, 0));
    cache.validate();
}

#[test]
fn a_weigher_that_panics_changes_nothing() {
    let armed = Arc::new(AtomicBool::new(false));
    let weigher_is_armed = Arc::clone(&armed);
    let reports = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&reports);
    let cache = Cache::builder()
        .max_capacity(10)
        .weigher(
            move |_: &u64, weight: &u32| {
                if weigher_is_armed.load(Ordering::Relaxed) { plant() } else { *weight }
            },
        )
        .eviction_listener(move |_, _, _| {
            counter.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .unwrap();
    (1..=5).for_each(|key| cache.insert(key, 2));
    armed.store(true, Ordering::Relaxed);
    let calls: [fn(&Cache<u64, u32>); 8] = [
        |cache| cache.insert(1, 1),
        |cache| cache.insert(9, 1),
        |cache| cache.insert_with_ttl(1, 1, Duration::from_secs(1)),
        |cache| assert!(cache.try_insert(9, 1).is_err(), "the weigher panics"),
        |cache| assert!(cache.replace(&1, 1).is_err(), "the weigher panics"),
        |cache| assert!(!cache.update(&1, |_| 1), "the weigher panics"),
        |cache| assert!(!cache.rename(&1, 9), "the weigher panics"),
        |cache| assert_eq!(cache.rename_with(&1, 9, |_| (1, ())), None, "the weigher panics"),
    ];
    for (number, call) in calls.into_iter().enumerate() {
        let panic = catch_unwind(AssertUnwindSafe(|| call(&cache))).expect_err("its caller hears of it");
        assert!(panic.is::<Planted>(), "call {number}");
        assert!((1..=5).all(|key| cache.get(&key) == Some(2)), "call {number}");
        assert_eq!((cache.weighted_size(), cache.entry_count()), (10, 5), "call {number}");
        cache.validate();
    }
    armed.store(false, Ordering::Relaxed);
    assert_eq!(reports.load(Ordering::Relaxed), 0);
    cache.insert(9, 10);
    assert_eq!((cache.entry_count(), reports.load(Ordering::Relaxed)), (1, 5));
}

#[test]
fn a_weigher_may_use_the_cache() {
    let _watchdog = Watchdog::over("a weigher that calls back", 30);
    let own = Arc::new(OnceLock::<WeakCache<u64, u64>>::new());
    let weak = Arc::clone(&own);
    let cache = Cache::builder()
        .max_capacity(100)
        .weigher(move |key: &u64, value: &u64| {
            if *key < 1000 {
                let cache = weak.get().and_then(WeakCache::upgrade).unwrap();
                // The key that is on its way, another, and everything.
                cache.insert(key + 1000, 1);
                let _ = (cache.get(key), cache.invalidate(key), cache.weighted_size(), cache.stats());
                cache.set_max_capacity(100).unwrap();
                cache.run_pending_tasks();
            }
            *value as u32
        })
        .build()
        .unwrap();
    assert!(own.set(cache.downgrade()).is_ok());
    for key in 0..300 {
        cache.insert(key, 7);
        assert_eq!(cache.get(&key), Some(7));
        assert_eq!(cache.replace(&key, 9), Err(9), "the weigher has removed what was to be replaced");
        assert!(cache.try_insert(key, 5).is_ok());
        assert!(cache.weighted_size() <= 100);
    }
    cache.validate();
}

#[test]
fn neither_readers_nor_writers_wait_for_a_capacity_that_changes() {
    let _watchdog = Watchdog::over("a change of capacity", 30);
    let (evicting, evicted) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let (evicting, wait) = (Mutex::new(Some(evicting)), Mutex::new(wait));
    let cache = Cache::builder()
        .max_capacity(1000)
        .shards(1)
        .clock(ManualClock::new())
        .eviction_listener(move |_: &u64, _: &u64, _| {
            let first = evicting.lock().unwrap().take();
            if let Some(evicting) = first {
                evicting.send(()).unwrap();
                // Until the others are done.
                wait.lock().unwrap().recv().unwrap();
            }
        })
        .build()
        .unwrap();
    (0..1000).for_each(|key| cache.insert(key, key));
    thread::scope(|scope| {
        let resizing = scope.spawn(|| cache.set_max_capacity(10));
        evicted.recv().unwrap();
        let there = (0..1000).filter(|key| cache.get(key).is_some()).count();
        assert!((10..1000).contains(&there), "{there} are left in the middle of it");
        (2000..3000).for_each(|key| cache.insert(key, key));
        assert!(cache.entry_count() <= 1000 && cache.contains_key(&2999));
        go_on.send(()).unwrap();
        resizing.join().unwrap().unwrap();
    });
    assert_eq!(cache.entry_count(), 10);
    cache.validate();
}

#[test]
fn of_two_who_change_the_capacity_one_is_the_last() {
    let _watchdog = Watchdog::over("two changes of capacity", 60);
    let cache = Cache::builder().max_capacity(256).shards(4).build().unwrap();
    let start = Instant::now();
    for round in 0..3000u64 {
        let both = Barrier::new(2);
        thread::scope(|scope| {
            for capacity in [100 + round % 7, 300] {
                let (cache, both) = (&cache, &both);
                scope.spawn(move || {
                    both.wait();
                    cache.set_max_capacity(capacity).unwrap();
                });
            }
        });
        let capacity = cache.policy().max_capacity.unwrap();
        assert!(capacity == 300 || capacity == 100 + round % 7);
        (0..2000).for_each(|key| cache.insert(round * 2000 + key, ()));
        assert_eq!(cache.entry_count() as u64, capacity, "round {round}");
        if start.elapsed() > WHILE {
            break;
        }
    }
    cache.validate();
}
