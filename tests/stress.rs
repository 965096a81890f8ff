//! Threads at full speed on few keys: no update is lost, no value turns up under another key or out of
//! order, what must have one winner has one, and every value that was made is dropped once.

#[path = "common/counted.rs"]
mod counted;
#[path = "common/watchdog.rs"]
mod watchdog;

use counted::{Count, Counted};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tidewheel::{Cache, CacheBuilder, ManualClock, Reaper};
use watchdog::Watchdog;

const THREADS: u64 = 4;
/// How long the runs against the clock take.
const RUN: Duration = Duration::from_secs(3);

/// Numbers that look random (xorshift).
struct Numbers(u64);

impl Numbers {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// A key and a version in one value, so that a mix-up shows.
fn pack(key: u64, version: u64) -> u64 {
    key << 48 | version
}

fn unpack(key: u64, value: u64) -> u64 {
    assert_eq!(value >> 48, key, "the value of another key");
    value & ((1 << 48) - 1)
}

/// Values that show it when they are read after their end, or half-written.
#[derive(Debug)]
struct Guarded {
    inner: Counted,
    twin: u64,
}

impl Guarded {
    fn new(count: &Count, id: u64) -> Self {
        Self { inner: count.value(id), twin: !id }
    }

    fn id(&self) -> u64 {
        assert_eq!(self.inner.id, !self.twin, "a value that is over");
        self.inner.id
    }
}

impl Clone for Guarded {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), twin: !self.id() }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        assert_eq!(self.inner.id, !self.twin, "dropped twice");
        *std::hint::black_box(&mut self.twin) = self.inner.id;
    }
}

fn settle(count: &Count) {
    let start = Instant::now();
    while count.alive() > 0 {
        assert!(start.elapsed() < Duration::from_secs(5), "{} values are never dropped", count.alive());
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(count.made(), count.dropped());
}

/// Every thread counts what it was told had succeeded; in the end the values agree. Entries expire and
/// are swept all the while under other keys of the same shards, and buckets move.
#[test]
fn no_update_is_lost() {
    const KEYS: u64 = 4;
    let _watchdog = Watchdog::over("updates", 30);
    let count = Count::default();
    let cache = Cache::<u64, Guarded>::builder()
        .reaper(Reaper::dedicated())
        .shards(2)
        .initial_capacity(1)
        .time_to_live(Duration::from_secs(3600))
        .build()
        .unwrap();
    for key in 0..KEYS {
        cache.insert(key, Guarded::new(&count, pack(key, 0)));
    }
    let updates: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for seed in 0..THREADS {
            let (cache, updates, count, stop) = (&cache, &updates, &count, &stop);
            scope.spawn(move || {
                let mut numbers = Numbers::new(seed);
                let mut seen = [0; KEYS as usize];
                let mut noise = 1000 + seed * 1_000_000;
                while !stop.load(Ordering::Relaxed) {
                    let key = numbers.below(KEYS);
                    let at = usize::try_from(key).unwrap();
                    match numbers.below(10) {
                        0..=3 => {
                            let mut made = 0;
                            let success = cache.update(&key, |old| {
                                made = unpack(key, old.id()) + 1;
                                Guarded::new(count, pack(key, made))
                            });
                            assert!(success);
                            updates[at].fetch_add(1, Ordering::Relaxed);
                            assert!(made > seen[at], "version {made} after {}", seen[at]);
                            seen[at] = made;
                        }
                        4 => assert!(cache.touch(&key)),
                        5 => assert!(cache.set_ttl(&key, Duration::from_secs(3600 + numbers.below(9)))),
                        6 => {
                            // One that is gone at the next sweep.
                            noise += 1;
                            let ttl = Duration::from_millis(numbers.below(900));
                            cache.insert_with_ttl(noise, Guarded::new(count, noise), ttl);
                        }
                        _ => {
                            let value = match numbers.below(3) {
                                0 => cache.get(&key).unwrap().id(),
                                1 => cache.read(&key, Guarded::id).unwrap(),
                                _ => cache.read_guard().get(&key).unwrap().id(),
                            };
                            let version = unpack(key, value);
                            assert!(version >= seen[at], "version {version} after {}", seen[at]);
                            seen[at] = version;
                        }
                    }
                }
            });
        }
        thread::sleep(RUN);
        stop.store(true, Ordering::Relaxed);
    });
    for (key, updates) in (0..).zip(&updates) {
        let version = unpack(key, cache.get(&key).unwrap().id());
        assert_eq!(version, updates.load(Ordering::Relaxed), "key {key}");
        assert!(version > 1000, "hardly any updates: {version}");
    }
    cache.validate();
    drop(cache);
    settle(&count);
}

/// Keys that are equal modulo this many hold each other's values.
const KEYS: u64 = 6;

#[test]
fn every_call_at_once_on_the_real_clock() {
    let _watchdog = Watchdog::over("every call at once", 30);
    every_call_at_once(Cache::builder().reaper(Reaper::dedicated()), || thread::sleep(RUN / 10));
}

/// A second goes by in a moment, so that sweeps and coarse slots are met all the time.
#[test]
fn every_call_at_once_while_time_flies() {
    let _watchdog = Watchdog::over("every call at once while time flies", 30);
    let clock = ManualClock::new();
    let mut numbers = Numbers::new(3);
    every_call_at_once(Cache::builder().clock(clock.clone()), || {
        let until = Instant::now() + RUN / 10;
        while Instant::now() < until {
            clock.advance(Duration::from_micros(numbers.below(40_000)));
            if numbers.below(1000) == 0 {
                clock.advance_without_sweeping(Duration::from_secs(numbers.below(100)));
            }
        }
    });
}

/// Every kind of call at once, while `wait` passes the time, for ten times. Each value carries its key's
/// number, and each that went in is reported once and dropped once.
fn every_call_at_once(builder: CacheBuilder<u64, Guarded>, mut wait: impl FnMut()) {
    let count = Count::default();
    let heard = Arc::new(AtomicU64::new(0));
    let cache = builder
        .shards(1)
        .initial_capacity(1)
        .time_to_live(Duration::from_millis(40))
        .max_age(Duration::from_millis(400))
        .eviction_listener({
            let heard = Arc::clone(&heard);
            move |key: &u64, value: &Guarded, _| {
                // Panics are caught there, so a mix-up is only counted as a report that never came.
                if value.id() >> 48 == *key % KEYS {
                    heard.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
        .build()
        .unwrap();
    let stop = AtomicBool::new(false);
    let version = AtomicU64::new(1);
    let put = AtomicU64::new(0);
    thread::scope(|scope| {
        for seed in 0..THREADS {
            let (cache, count, stop, version, put) = (&cache, &count, &stop, &version, &put);
            scope.spawn(move || {
                let mut numbers = Numbers::new(seed + 99);
                // Values come back from the cache with their key's number in them.
                let fresh =
                    |key: u64| Guarded::new(count, pack(key % KEYS, version.fetch_add(1, Ordering::Relaxed)));
                let right = |key: u64, value: &Guarded| {
                    unpack(key % KEYS, value.id());
                };
                let done = || {
                    put.fetch_add(1, Ordering::Relaxed);
                };
                while !stop.load(Ordering::Relaxed) {
                    let key = numbers.below(KEYS * 3);
                    match numbers.below(20) {
                        0 | 1 => {
                            cache.insert(key, fresh(key));
                            done();
                        }
                        2 => {
                            let ttl = Duration::from_micros(numbers.below(5000));
                            cache.insert_with_ttl(key, fresh(key), ttl);
                            done();
                        }
                        3 | 4 => match cache.try_insert(key, fresh(key)) {
                            Ok(()) => done(),
                            Err((same, value)) => {
                                assert_eq!(same, key);
                                right(key, &value);
                            }
                        },
                        5 => match cache.replace(&key, fresh(key)) {
                            Ok(()) => done(),
                            Err(value) => right(key, &value),
                        },
                        6 | 7 => {
                            let updated = cache.update(&key, |old| {
                                right(key, old);
                                fresh(key)
                            });
                            if updated {
                                done();
                            }
                        }
                        8 | 9 => drop(cache.touch(&key)),
                        10 => drop(cache.set_ttl(&key, Duration::from_micros(numbers.below(90_000)))),
                        11 => drop(cache.persist(&key)),
                        12 => drop(cache.invalidate(&key)),
                        13 => drop(cache.remove(&key).map(|value| right(key, &value))),
                        14 => drop(cache.remove_if(&key, |value| value.id() % 2 == 0)),
                        15 => {
                            // It leaves one key and goes in at another.
                            if cache.rename(&key, (key + KEYS) % (KEYS * 3)) {
                                done();
                            }
                        }
                        16 if numbers.below(500) == 0 => cache.invalidate_all(),
                        16 if numbers.below(500) == 0 => cache.run_pending_tasks(),
                        17 => drop(cache.get(&key).map(|value| right(key, &value))),
                        18 => {
                            let mut guard = cache.read_guard();
                            for other in 0..KEYS * 3 {
                                if let Some(entry) = guard.entry(&other) {
                                    assert_eq!(*entry.key(), other);
                                    right(other, entry.value());
                                    assert!(entry.age() < Duration::from_secs(20));
                                }
                            }
                            guard.refresh();
                        }
                        _ => drop(cache.read(&key, |value| right(key, value))),
                    }
                }
            });
        }
        (0..10).for_each(|_| wait());
        stop.store(true, Ordering::Relaxed);
    });
    cache.validate();
    cache.invalidate_all();
    assert_eq!(cache.entry_count(), 0);
    cache.validate();
    // Each value that went in came out and was reported once, whatever the cause; the last that expired
    // are the reaper's to report. Each wait takes three tenths of a second, or longer.
    let mut waits = 0;
    while heard.load(Ordering::Relaxed) < put.load(Ordering::Relaxed) {
        assert!(waits < 14, "{heard:?} reports of {put:?} values");
        wait();
        waits += 1;
    }
    drop(cache);
    settle(&count);
    assert_eq!(heard.load(Ordering::Relaxed), put.load(Ordering::Relaxed));
}

/// The table is torn down and built up again all the time, while readers insist on what must be there.
#[test]
fn what_is_there_is_found_while_buckets_move() {
    const STAY: u64 = 64;
    let watchdog = Watchdog::over("reading while buckets move", 30);
    let stop = AtomicBool::new(false);
    let mut rounds = 0;
    while rounds < 30 {
        let cache = Cache::<u64, u64>::builder()
            .reaper(Reaper::manual())
            .shards(1)
            .initial_capacity(1)
            .build()
            .unwrap();
        for key in 0..STAY {
            cache.insert(key, key);
        }
        stop.store(false, Ordering::Relaxed);
        thread::scope(|scope| {
            for seed in 0..2 {
                let (cache, stop) = (&cache, &stop);
                scope.spawn(move || {
                    let mut numbers = Numbers::new(seed);
                    let mut version = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let key = numbers.below(STAY);
                        assert_eq!(cache.get(&key).map(|value| value & 0xff), Some(key));
                        assert!(cache.touch(&key));
                        assert!(!cache.contains_key(&(u64::MAX - key)));
                        // A replacement is no hole either.
                        let last = cache.get(&0).unwrap() >> 8;
                        assert!(last >= version, "{last} after {version}");
                        version = last;
                    }
                });
            }
            for key in STAY..20_000 {
                cache.insert(key, key);
                if key % 8 == 0 {
                    cache.insert(0, key << 8);
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(cache.entry_count(), 20_000);
        cache.validate();
        rounds += 1;
        watchdog.feed();
    }
}

/// All threads at the same door: runs `attempt` on each of them at once, many times over, and returns
/// how many of them succeeded each time. The watchdog is fed with each time.
fn races(
    watchdog: &Watchdog,
    rounds: u64,
    prepare: impl Fn(u64) + Sync,
    attempt: impl Fn(u64, u64) -> bool + Sync,
) -> Vec<u64> {
    let door = Barrier::new(usize::try_from(THREADS).unwrap());
    let winners: Vec<AtomicU64> = (0..rounds).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (door, winners, prepare, attempt) = (&door, &winners, &prepare, &attempt);
            scope.spawn(move || {
                for (round, winners) in (0..).zip(winners) {
                    if door.wait().is_leader() {
                        watchdog.feed();
                        prepare(round);
                    }
                    door.wait();
                    if attempt(round, thread) {
                        winners.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    winners.into_iter().map(AtomicU64::into_inner).collect()
}

fn plain() -> Cache<u64, u64> {
    Cache::builder().reaper(Reaper::manual()).shards(1).initial_capacity(1).build().unwrap()
}

#[test]
fn of_many_try_inserts_one_wins_and_its_value_stays() {
    let watchdog = Watchdog::over("try_insert races", 20);
    let cache = plain();
    let won: Mutex<HashMap<u64, u64>> = Mutex::default();
    // Every other round finds an expired entry in its place.
    let prepare = |round| {
        if round % 2 == 0 {
            cache.insert_with_ttl(round, u64::MAX, Duration::ZERO);
        }
    };
    let winners = races(&watchdog, 5_000, prepare, |round, thread| {
        let success = cache.try_insert(round, thread).is_ok();
        if success {
            won.lock().unwrap().insert(round, thread);
        }
        success
    });
    assert!(winners.iter().all(|winners| *winners == 1));
    let won = won.into_inner().unwrap();
    assert!((0..5_000).all(|round| cache.get(&round) == won.get(&round).copied()));
    cache.validate();
}

#[test]
fn of_many_removals_one_gets_the_value() {
    let watchdog = Watchdog::over("removal races", 20);
    let cache = plain();
    let prepare = |round| cache.insert(1, round);
    let winners = races(&watchdog, 5_000, prepare, |round, thread| match thread {
        0 => cache.invalidate(&1),
        1 => cache.remove_if(&1, |value| *value == round) == Some(round),
        2 => cache.rename(&1, 1_000_000 + round),
        _ => cache.remove(&1) == Some(round),
    });
    assert!(winners.iter().all(|winners| *winners == 1));
    assert!(!cache.contains_key(&1));
    cache.validate();
}

/// An update against a removal: whichever comes second, nothing comes back.
#[test]
fn nothing_comes_back() {
    let watchdog = Watchdog::over("updates against removals", 20);
    let cache = plain();
    let prepare = |round| cache.insert(1, round);
    let winners = races(&watchdog, 5_000, prepare, |round, thread| match thread {
        0 => cache.remove(&1).is_some(),
        1 => {
            cache.update(&1, |old| old + 1_000_000);
            false
        }
        2 => {
            let _ = cache.replace(&1, round);
            false
        }
        _ => {
            cache.touch(&1);
            cache.set_ttl(&1, Duration::from_secs(60));
            cache.persist(&1);
            false
        }
    });
    assert!(winners.iter().all(|winners| *winners == 1));
    assert!(!cache.contains_key(&1));
    assert_eq!(cache.entry_count(), 0);
    cache.validate();
}

/// One thread keeps an entry alive and moves the clock, by a little less than the time to live each time.
/// Others sweep, replace, update and set the same time to live: none of it undoes a touch that succeeded.
#[test]
fn a_touch_that_succeeded_is_not_undone() {
    const TTL: Duration = Duration::from_secs(10);
    let _watchdog = Watchdog::over("touches against everything", 30);
    let clock = ManualClock::new();
    let cache =
        Cache::<u64, u64>::builder().clock(clock.clone()).shards(1).time_to_live(TTL).build().unwrap();
    cache.insert(1, 0);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        type Call = fn(&Cache<u64, u64>) -> bool;
        let calls: [Call; 4] = [
            |cache| {
                cache.run_pending_tasks();
                true
            },
            |cache| cache.replace(&1, 1).is_ok(),
            |cache| cache.update(&1, |old| old + 1) && cache.set_ttl(&1, TTL),
            |cache| cache.get(&1).is_some() && cache.touch(&1) && cache.remaining_ttl(&1).is_some(),
        ];
        for call in calls {
            let (cache, stop) = (&cache, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // An alarm here would not be one: this thread may stand still for as long as it likes
                    // between the halves of a call, but what it is told must be true when it is.
                    assert!(call(cache), "gone, though it was touched in time");
                }
            });
        }
        let start = Instant::now();
        let mut touches = 0u64;
        while start.elapsed() < RUN {
            assert!(cache.touch(&1), "gone after {touches} touches");
            touches += 1;
            clock.advance_without_sweeping(TTL - Duration::from_nanos(1));
        }
        stop.store(true, Ordering::Relaxed);
        assert!(touches > 1000, "{touches}");
    });
    cache.validate();
}

/// Two keys change places at once, again and again: no entry is lost or doubled, and there is no
/// deadlock between the two shards.
#[test]
fn renames_across_shards_neither_lose_nor_hang() {
    let watchdog = Watchdog::over("renames", 20);
    let cache = Cache::<u64, u64>::builder().reaper(Reaper::manual()).shards(8).build().unwrap();
    let names = 64;
    for entry in 0..8 {
        cache.insert(entry, entry);
    }
    thread::scope(|scope| {
        for seed in 0..THREADS {
            let (cache, watchdog) = (&cache, &watchdog);
            scope.spawn(move || {
                let mut numbers = Numbers::new(seed + 5);
                for round in 0..20_000 {
                    if round % 1000 == 0 {
                        watchdog.feed();
                    }
                    // A name that is taken would cost its entry, so each thread has names of its own to
                    // move to, and takes from anyone.
                    let to = names + (numbers.below(names) * THREADS + seed);
                    if !cache.contains_key(&to) {
                        cache.rename(&numbers.below(names * 5), to);
                    }
                }
            });
        }
    });
    let found: Vec<u64> = (0..names * 6).filter_map(|name| cache.get(&name)).collect();
    let mut sorted = found.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..8).collect::<Vec<_>>(), "{found:?}");
    assert_eq!(cache.entry_count(), 8);
    cache.validate();
}
