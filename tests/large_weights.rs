//! Caches whose entries are large beside what there is room for: a fourth of it, half, all.
//!
//! The room is one, and not cut into as many parts as there are shards: what fits is kept, wherever its key belongs.

#[path = "common/counted.rs"]
mod counted;
#[path = "common/watchdog.rs"]
mod watchdog;

use counted::Count;

use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use tidewheel::{Cache, CacheBuilder, EvictionPolicy, Expiry, Life, ManualClock, RemovalCause, WeakCache};
use watchdog::Watchdog;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Numbers that look random (the multiplier is Knuth's).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn weighed(capacity: u64) -> CacheBuilder<u64, u64> {
    Cache::builder().max_capacity(capacity).weigher(|_, weight| u32::try_from(*weight).unwrap())
}

const POLICIES: [EvictionPolicy; 3] = [EvictionPolicy::Adaptive, EvictionPolicy::Clock, EvictionPolicy::Fifo];

/// Of values of equal weight as many are kept as fit. Eight shards with equal parts kept 8 of 10 of a tenth of the capacity, and
/// refused what was more than an eighth.
#[test]
fn as_many_are_kept_as_fit() {
    for policy in POLICIES {
        for parts in 1..=24 {
            let (capacity, weight) = (4 * MIB, 4 * MIB / parts);
            let cache = weighed(capacity).eviction_policy(policy).build().unwrap();
            for key in 0..20 * parts {
                cache.insert(key, weight);
                assert_eq!(cache.get(&key), Some(weight), "{parts} fit");
                let fit = (key + 1).min(parts);
                assert_eq!((cache.entry_count() as u64, cache.weighted_size()), (fit, fit * weight));
            }
            cache.validate();
        }
    }
    let cache = weighed(4 * MIB).build().unwrap();
    (0..100).for_each(|key| cache.insert(key, 400 * KIB));
    assert_eq!(cache.entry_count(), 10);
}

/// A value of up to all there is room for is taken, and more is refused.
#[test]
fn a_value_of_the_whole_capacity_is_taken() {
    let cache = weighed(4 * MIB).build().unwrap();
    assert!(cache.policy().shards > 1);
    (0..5000).for_each(|key| cache.insert(key, KIB));
    cache.insert(9000, 600 * KIB);
    assert_eq!(cache.get(&9000), Some(600 * KIB));
    for key in 9001..9020 {
        cache.insert(key, 4 * MIB);
        assert_eq!((cache.get(&key), cache.entry_count()), (Some(4 * MIB), 1));
        cache.insert(key + 100, 4 * MIB + 1);
        assert!(!cache.contains_key(&(key + 100)));
        assert_eq!((cache.get(&key), cache.entry_count()), (Some(4 * MIB), 1));
    }
    // In its own place it needs no more than it has.
    assert_eq!(cache.replace(&9019, 4 * MIB - 1), Ok(()));
    assert_eq!(cache.replace(&9019, 4 * MIB), Ok(()));
    cache.insert(9019, 4 * MIB);
    assert!(cache.update(&9019, |weight| weight - 7));
    assert_eq!((cache.get(&9019), cache.weighted_size()), (Some(4 * MIB - 7), 4 * MIB - 7));
    cache.validate();
}

/// How much of the room is used in the mean, once it has been full.
fn used(shards: usize, capacity: u64, least: u64, most: u64) -> f64 {
    const ROUNDS: u64 = 20_000;
    const FULL: u64 = 4_000;
    let cache = weighed(capacity).shards(shards).build().unwrap();
    assert_eq!(cache.policy().shards, shards);
    let (mut numbers, mut used) = (Numbers(7), 0);
    for key in 0..ROUNDS {
        cache.insert(key, least + numbers.below(most - least + 1));
        if key >= FULL {
            used += cache.weighted_size();
        }
        assert!(cache.weighted_size() <= capacity);
    }
    cache.validate();
    used as f64 / (capacity * (ROUNDS - FULL)) as f64
}

/// Nineteen of twenty parts of the room are used with values of up to a quarter of it, if there are eight shards: of what is next in
/// each, that goes which is just enough. Was 92 %, what one queue leaves in which whatever is next goes: half a value or so.
#[test]
fn the_room_is_used() {
    let quarters = used(8, 8 * MIB, 10 * KIB, 2 * MIB);
    assert!(quarters > 0.95, "{quarters}");
    let eighths = used(8, 4 * MIB, 1, MIB / 2);
    assert!(eighths > 0.97, "{eighths}");
    let mixed = used(8, 8 * MIB, 10 * KIB, 610 * KIB);
    assert!(mixed > 0.98, "{mixed}");
    let small = used(8, 4 * MIB, 1, 4 * KIB);
    assert!(small > 0.99, "{small}");
    // Fewer shards, fewer to choose from.
    let four = used(4, 8 * MIB, 10 * KIB, 2 * MIB);
    assert!(four > 0.94, "{four}");
    let one = used(1, 8 * MIB, 10 * KIB, 2 * MIB);
    assert!(one > 0.90, "{one}");
}

/// A value that never fits best goes all the same, and so do those behind it in its shard.
#[test]
fn nothing_stays_because_it_fits_badly() {
    for weight in [1, MIB] {
        let cache = weighed(4 * MIB).shards(8).eviction_policy(EvictionPolicy::Fifo).build().unwrap();
        cache.insert(0, weight);
        let others = 4 * MIB / 31;
        let full = (4 * MIB - weight) / others;
        // Without a limit it would go once all of the others are in its shard, after two hundred or so.
        (1..=full + 60).for_each(|key| cache.insert(key, others));
        assert!(!cache.contains_key(&0), "one of {weight} has stayed");
        assert!(cache.entry_count() as u64 >= 29);
        cache.validate();
    }
}

/// A smaller capacity later is a capacity as good as any: less than what a shard was built for.
#[test]
fn a_smaller_capacity_still_takes_large_values() {
    let cache = weighed(4 * MIB).build().unwrap();
    (0..10).for_each(|key| cache.insert(key, 400 * KIB));
    cache.set_max_capacity(MIB).unwrap();
    assert_eq!((cache.entry_count(), cache.weighted_size()), (2, 800 * KIB));
    for key in 0..50 {
        cache.insert(key, 400 * KIB);
        assert_eq!((cache.get(&key), cache.entry_count()), (Some(400 * KIB), 2));
    }
    // Less than a unit for each shard.
    cache.set_max_capacity(3).unwrap();
    assert_eq!(cache.weighted_size(), 0);
    for key in 0..50 {
        cache.insert(key, 1);
        assert_eq!((cache.get(&key), cache.entry_count() as u64), (Some(1), (key + 1).min(3)));
    }
    cache.set_max_capacity(0).unwrap();
    cache.insert(1, 1);
    assert_eq!(cache.entry_count(), 0);
    cache.set_max_capacity(8 * MIB).unwrap();
    (0..100).for_each(|key| cache.insert(key, 400 * KIB));
    assert_eq!(cache.entry_count(), 20);
    cache.validate();
}

/// Every way to bring a value has other shards give, and every value is told of once.
#[test]
fn all_ways_to_store_take_room_from_other_shards() {
    let heard: Arc<Mutex<Vec<(u64, u64, RemovalCause)>>> = Arc::default();
    let told = Arc::clone(&heard);
    let cache = weighed(16 * KIB)
        .shards(8)
        .clock(ManualClock::new())
        .eviction_listener(move |key, value, cause| told.lock().unwrap().push((*key, *value, cause)))
        .build()
        .unwrap();
    assert_eq!(cache.policy().shards, 8);
    let refill = || {
        cache.invalidate_all();
        (0..16).for_each(|key| cache.insert(key, KIB));
        assert_eq!(cache.entry_count(), 16);
        heard.lock().unwrap().clear();
    };
    // All but the last of what was there goes, and is told of.
    let check = |name: &str, stored: u64, at: u64| {
        assert_eq!(cache.get(&at), Some(stored), "{name}");
        assert_eq!((cache.entry_count(), cache.weighted_size()), (2, 16 * KIB), "{name}");
        let heard = heard.lock().unwrap();
        let evicted = heard.iter().filter(|(.., cause)| *cause == RemovalCause::Size).count();
        let replaced = heard.iter().filter(|(.., cause)| *cause == RemovalCause::Replaced).count();
        assert_eq!((evicted + replaced, replaced), (15, usize::from(at < 16)), "{name}: {heard:?}");
        cache.validate();
    };
    let large = 15 * KIB;
    for round in 0..8 {
        let (new, old) = (100 + round, round);
        refill();
        cache.insert(new, large);
        check("insert", large, new);
        refill();
        cache.insert(old, large);
        check("insert over", large, old);
        refill();
        cache.try_insert(new, large).unwrap();
        check("try_insert", large, new);
        refill();
        cache.replace(&old, large).unwrap();
        check("replace", large, old);
        refill();
        assert!(cache.update(&old, |_| large));
        check("update", large, old);
        refill();
        assert_eq!(cache.get_with(new, || large), large);
        check("get_with", large, new);
        refill();
        let _ = cache.entry(new).and_upsert_with(|_| large);
        check("and_upsert_with", large, new);
        refill();
        let _ = cache.entry(old).and_upsert_with(|_| large);
        check("and_upsert_with over", large, old);
        refill();
        cache.insert_many([(new, large)]);
        check("insert_many", large, new);
        refill();
        assert!(cache.try_insert(old, large).is_err() && cache.replace(&new, large).is_err());
        assert!(!cache.update(&new, |_| large));
        assert_eq!((cache.entry_count(), heard.lock().unwrap().len()), (16, 0), "nothing went for nothing");
    }
}

/// A key whose comparisons can be made to panic.
#[derive(Clone, Debug)]
struct Bomb(u64);

impl Hash for Bomb {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// Comparisons of equal keys that go well from now on.
static GOOD: AtomicU64 = AtomicU64::new(u64::MAX);

impl PartialEq for Bomb {
    fn eq(&self, other: &Self) -> bool {
        if self.0 == other.0 && self.0 >= 1000 {
            let good = GOOD.load(Ordering::Relaxed);
            assert_ne!(good, 0, "as was asked for");
            GOOD.store(good.saturating_sub(1), Ordering::Relaxed);
        }
        self.0 == other.0
    }
}

impl Eq for Bomb {}

/// The room that an operation has got from other shards is given back when it panics, and what went for it is told of.
#[test]
fn a_panic_gives_back_what_it_had() {
    let count = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&count);
    let cache = Cache::builder()
        .max_capacity(16 * KIB)
        .shards(8)
        .weigher(|_: &Bomb, weight: &u64| u32::try_from(*weight).unwrap())
        .eviction_listener(move |_, _, _| {
            told.fetch_add(1, Ordering::Relaxed);
        })
        .clock(ManualClock::new())
        .build()
        .unwrap();
    let mut panicked = 0;
    for key in 1000..1016 {
        cache.insert(Bomb(key), KIB);
        (0..15).for_each(|key| cache.insert(Bomb(key), KIB));
        let (there, before) = (cache.entry_count() as u64, count.load(Ordering::Relaxed));
        // Found once; then, when it has room, once more.
        GOOD.store(1, Ordering::Relaxed);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            cache.insert(Bomb(key), 12 * KIB);
        }));
        GOOD.store(u64::MAX, Ordering::Relaxed);
        panicked += u64::from(result.is_err());
        cache.validate();
        let gone = count.load(Ordering::Relaxed) - before;
        assert_eq!(cache.entry_count() as u64, there - gone + u64::from(result.is_ok()));
        cache.insert(Bomb(key), 16 * KIB);
        assert_eq!((cache.entry_count(), cache.weighted_size()), (1, 16 * KIB), "all of it is there");
        cache.invalidate_all();
    }
    assert!(panicked > 8, "{panicked}");
}

std::thread_local! {
    /// After so many comparisons by this thread, one says "unequal".
    static UNEQUAL_IN: std::cell::Cell<u32> = const { std::cell::Cell::new(u32::MAX) };
}

/// A key that is not found once. So it looks to a call whose key another thread removes while the call gets room, and then
/// stores again.
#[derive(Clone, Eq, Debug)]
struct Missed(u64);

impl Hash for Missed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialEq for Missed {
    fn eq(&self, other: &Self) -> bool {
        let left = UNEQUAL_IN.get();
        UNEQUAL_IN.set(left.wrapping_sub(1));
        left != 0 && self.0 == other.0
    }
}

struct Same;

impl Expiry<Missed, u64> for Same {}

/// What went for room that was not needed after all is told of as all else is: by a thread that protects nothing, so that
/// garbage can be dropped while the listener takes its time.
#[test]
fn the_listener_of_an_operation_that_stores_nothing_delays_no_memory() {
    type Call = fn(&Cache<Missed, u64>, Missed);
    let calls: [(&str, bool, Call); 5] = [
        ("update", false, |cache, key| {
            cache.update(&key, |_| 12 * KIB);
        }),
        ("swap", false, |cache, key| {
            let _ = cache.swap(key, 12 * KIB);
        }),
        ("entry", false, |cache, key| {
            let _ = cache.entry(key).and_upsert_with(|_| 12 * KIB);
        }),
        ("insert with an Expiry", true, |cache, key| cache.insert(key, 12 * KIB)),
        ("replace with an Expiry", true, |cache, key| {
            let _ = cache.replace(&key, 12 * KIB);
        }),
    ];
    // Whether the thread can have something dropped.
    let garbage = Cache::builder().clock(ManualClock::new()).build().unwrap();
    let is_free = move || {
        let count = Count::default();
        garbage.insert((), count.value(0));
        garbage.invalidate(&());
        // Each sweep waits for other threads' pins, ten milliseconds at most.
        (0..300).any(|_| {
            garbage.run_pending_tasks();
            count.alive() == 0
        })
    };
    let held_up = Arc::new(AtomicBool::new(false));
    for (name, is_ruled, call) in calls {
        let (free, flag) = (is_free.clone(), held_up.clone());
        let mut builder = Cache::builder()
            .max_capacity(16 * KIB)
            .shards(8)
            .weigher(|_: &Missed, weight: &u64| u32::try_from(*weight).unwrap())
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size && !flag.load(Ordering::Relaxed) && !free() {
                    flag.store(true, Ordering::Relaxed);
                }
            })
            .clock(ManualClock::new());
        if is_ruled {
            builder = builder.expire_after(Same);
        }
        let cache = builder.build().unwrap();
        for unequal_in in 0..6 {
            for key in 1000..1004 {
                cache.insert(Missed(key), KIB);
                (0..15).for_each(|key| cache.insert(Missed(key), KIB));
                UNEQUAL_IN.set(unequal_in);
                call(&cache, Missed(key));
                UNEQUAL_IN.set(u32::MAX);
                assert!(!held_up.load(Ordering::Relaxed), "{name}: the listener ran under a pin");
                cache.invalidate_all();
            }
        }
    }
}

/// Four writers of values of up to all there is room for, while the capacity changes. Who looks on adds up what he sees, and
/// the cache's own figure is never more than the capacity.
///
/// The bug besides: who needed room asked the shards once what each would give. Where none of them had anything then, and others stored in
/// one of them meanwhile, he waited for ever for what he would have got.
#[test]
fn nobody_sees_more_than_the_capacity_though_room_moves() {
    const CAPACITY: u64 = 1000;
    let cache = weighed(CAPACITY).shards(8).build().unwrap();
    let stop = AtomicBool::new(false);
    let _watchdog = Watchdog::over("room that moves between writers", 120);
    let began = std::time::Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (cache, stop) = (&cache, &stop);
            scope.spawn(move || {
                let mut numbers = Numbers(thread);
                while !stop.load(Ordering::Relaxed) {
                    let key = numbers.below(40);
                    let weight = match numbers.below(10) {
                        0 => 1 + numbers.below(CAPACITY),
                        1..4 => 1 + numbers.below(CAPACITY / 4),
                        _ => 1 + numbers.below(30),
                    };
                    match numbers.below(8) {
                        0..4 => cache.insert(key, weight),
                        4 => drop(cache.replace(&key, weight)),
                        5 => drop(cache.update(&key, |_| weight)),
                        6 => drop(cache.get_with(key, || weight)),
                        _ => drop(cache.remove(&key)),
                    }
                    if thread == 0 && numbers.below(50) == 0 {
                        cache.set_max_capacity(CAPACITY / (1 + numbers.below(3))).unwrap();
                    }
                }
            });
        }
        let (mut looks, mut most) = (0, 0);
        // On until there were enough looks, and one at a cache that was half full; the watchdog ends it if that never comes.
        while began.elapsed().as_millis() < 1500 || looks <= 1000 || most <= CAPACITY / 2 {
            let size = cache.weighted_size();
            most = most.max(size);
            looks += 1;
            assert!(size <= CAPACITY, "{size}");
        }
        stop.store(true, Ordering::Relaxed);
        println!("{looks} looks, {most} at most");
    });
    cache.validate();
    cache.set_max_capacity(CAPACITY).unwrap();
    cache.insert(1, CAPACITY);
    assert_eq!((cache.weighted_size(), cache.entry_count()), (CAPACITY, 1));
}

/// While nobody stores or removes anything, the size is what it is, whatever the capacity is by now.
#[test]
fn the_size_stays_while_the_capacity_changes() {
    let _watchdog = Watchdog::over("a look at the size while the capacity changes", 120);
    let cache = weighed(1_000_000).build().unwrap();
    (0..10).for_each(|key| cache.insert(key, 1_000));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..50_000 {
                cache.set_max_capacity(20_000).unwrap();
                cache.set_max_capacity(1_000_000).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        let mut others = std::collections::BTreeSet::new();
        while !done.load(Ordering::Relaxed) {
            others.insert(cache.weighted_size());
        }
        others.remove(&10_000);
        assert!(others.is_empty(), "{others:?}");
    });
}

/// After so many comparisons by a thread, one says so and waits.
struct Wait {
    left: u32,
    reached: mpsc::Sender<()>,
    go: mpsc::Receiver<()>,
}

std::thread_local! {
    static WAIT: std::cell::RefCell<Option<Wait>> = const { std::cell::RefCell::new(None) };
}

/// A key whose comparison may wait.
#[derive(Clone, Eq, Debug)]
struct Slow(u64);

impl Hash for Slow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialEq for Slow {
    fn eq(&self, other: &Self) -> bool {
        WAIT.with_borrow_mut(|wait| match wait {
            Some(Wait { left: 0, reached, go }) => {
                reached.send(()).unwrap();
                go.recv().unwrap();
                *wait = None;
            }
            Some(Wait { left, .. }) => *left -= 1,
            None => {}
        });
        self.0 == other.0
    }
}

std::thread_local! {
    /// How many evictions this thread was told of.
    static TOLD: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// Another call has room in hand, and waits. Meanwhile the capacity is to be halved, and a value comes that is heavier than
/// half. It was not too heavy when it came, and is when its turn for room comes: it is refused. No shard gives anything for it.
#[test]
fn no_shard_gives_for_what_is_refused() {
    let _watchdog = Watchdog::over("a value that becomes too heavy while it waits", 60);
    let mut refused = 0;
    for _ in 0..100 {
        let cache: Cache<Slow, u64> = Cache::builder()
            .max_capacity(1_000)
            .shards(8)
            .weigher(|_, weight| u32::try_from(*weight).unwrap())
            .eviction_listener(|_, _, _| TOLD.set(TOLD.get() + 1))
            .record_stats()
            .build()
            .unwrap();
        (0..100).for_each(|key| cache.insert(Slow(key), 10));
        let ((reached, is_reached), (go, goes)) = (mpsc::channel(), mpsc::channel());
        let evicted = std::thread::scope(|scope| {
            let cache = &cache;
            scope.spawn(move || {
                // Found once; then, when it has room, once more.
                WAIT.set(Some(Wait { left: 1, reached, go: goes }));
                cache.insert(Slow(99), 500);
                WAIT.set(None);
            });
            let waits = is_reached.recv().is_ok();
            scope.spawn(|| cache.set_max_capacity(500).unwrap());
            std::thread::sleep(Duration::from_millis(10));
            let heavy = scope.spawn(|| {
                cache.insert(Slow(1_000), 600);
                TOLD.get()
            });
            std::thread::sleep(Duration::from_millis(10));
            if waits {
                go.send(()).unwrap();
            }
            heavy.join().unwrap()
        });
        cache.validate();
        if cache.stats().refused == 1 {
            // Who evicts is told of it, and who is refused is told of that.
            assert_eq!(evicted, 1, "itself alone");
            refused += 1;
        }
        if refused == 6 {
            break;
        }
    }
    assert!(refused > 0, "the capacity was never halved in time");
}

/// An update whose entry ends while its closure runs stored nothing, and had made room for what it did not store.
#[test]
fn what_is_over_by_the_time_of_the_write_evicts_nothing() {
    type Write = fn(&Cache<u64, u64>, &dyn Fn()) -> bool;
    let writes: [(&str, Write); 3] = [
        ("update", |cache, end| {
            cache.update(&0, |_| {
                end();
                50
            })
        }),
        ("modify", |cache, end| {
            let modified = cache.modify(&0, |value| {
                end();
                *value = 50;
            });
            modified.is_some()
        }),
        ("replace with a life", |cache, end| {
            end();
            cache.with_life(Life::Keep).replace(&0, 50).is_ok()
        }),
    ];
    for (name, write) in writes {
        for is_loading in [false, true] {
            let clock = ManualClock::new();
            let cache = weighed(100).shards(1).clock(clock.clone()).build().unwrap();
            cache.insert_with_ttl(0, 1, Duration::from_secs(60));
            (1..100).for_each(|key| cache.insert(key, 1));
            let mut is_done = true;
            let mut run = || {
                is_done = write(&cache, &|| clock.advance_without_sweeping(Duration::from_secs(61)));
            };
            // While a key is being loaded, a writer looks at what else it has to do for that.
            if is_loading {
                let none = cache.optionally_get_with(1_000, || {
                    run();
                    None
                });
                assert_eq!(none, None);
            } else {
                run();
            }
            assert!(!is_done, "{name}");
            assert_eq!((1..100).filter(|key| cache.contains_key(key)).count(), 99, "{name}, {is_loading}");
            cache.validate();
        }
    }
}

/// An insert of which the `Expiry` is asked as of an update, and whose entry ends then, made room before it asked again.
#[test]
fn a_panic_of_an_expiry_that_is_asked_again_evicts_nothing() {
    struct Ends(ManualClock);

    impl Expiry<u64, u64> for Ends {
        fn expire_after_create(&self, key: &u64, weight: &u64) -> Option<Duration> {
            assert!(*weight == 1, "on purpose");
            (*key == 0).then_some(Duration::from_secs(60))
        }

        fn expire_after_update(&self, _: &u64, _: &u64, left: Option<Duration>) -> Option<Duration> {
            self.0.advance_without_sweeping(Duration::from_secs(61));
            left
        }
    }

    let clock = ManualClock::new();
    let builder = weighed(100).shards(1).clock(clock.clone());
    let cache = builder.expire_after(Ends(clock)).build().unwrap();
    (0..100).for_each(|key| cache.insert(key, 1));
    let inserted = catch_unwind(AssertUnwindSafe(|| cache.insert(0, 50)));
    assert!(inserted.is_err());
    assert_eq!((1..100).filter(|key| cache.contains_key(key)).count(), 99);
    cache.validate();
}

/// What has expired and is still in memory is nothing that a new value goes on from: with a time to live of zero that is over
/// from the start, and evicts nothing.
#[test]
fn what_is_over_from_the_start_evicts_nothing_where_the_old_value_is_over() {
    type Write = fn(&Cache<u64, u64>);
    let writes: [(&str, Write); 3] = [
        ("insert with a life", |cache| cache.with_life(Life::Keep).insert(2, 5)),
        ("get_with", |cache| assert_eq!(cache.get_with(2, || 5), 5)),
        ("entry", |cache| {
            let _ = cache.entry(2).and_upsert_with(|_| 5);
        }),
    ];
    for (name, write) in writes {
        let clock = ManualClock::new();
        let cache = weighed(10).shards(1).time_to_live(Duration::ZERO).clock(clock.clone()).build().unwrap();
        cache.insert_with_ttl(1, 9, Duration::MAX);
        cache.insert_with_ttl(2, 1, Duration::from_secs(1));
        clock.advance_without_sweeping(Duration::from_secs(2));
        write(&cache);
        assert_eq!((cache.get(&1), cache.get(&2)), (Some(9), None), "{name}");
        cache.validate();
    }
}

/// Among many, one is as heavy as all that is there, and a listener stores whenever there is room: it has none before the heavy
/// one is stored. The bug: after 64 times 128 evictions what it had was given away, and it began again.
#[test]
fn one_of_many_keeps_its_room_until_it_is_stored() {
    let _watchdog = Watchdog::over("a heavy one of many", 60);
    let (own, told) = (Arc::new(Mutex::new(None::<WeakCache<u64, u64>>)), Arc::new(AtomicU64::new(0)));
    let (slot, heard) = (own.clone(), told.clone());
    let cache = weighed(20_000)
        .shards(1)
        .clock(ManualClock::new())
        .eviction_listener(move |_, _, _| {
            let number = heard.fetch_add(1, Ordering::Relaxed);
            let cache = slot.lock().unwrap().as_ref().and_then(WeakCache::upgrade).unwrap();
            if number < 100_000 && cache.weighted_size() < 20_000 {
                cache.insert(1_000_000 + number, 1);
            }
        })
        .build()
        .unwrap();
    *own.lock().unwrap() = Some(cache.downgrade());
    cache.insert_many((0..20_000).map(|key| (key, 1)));
    cache.insert_many([(50_000, 20_000)]);
    assert_eq!((cache.get(&50_000), cache.entry_count()), (Some(20_000), 1));
    assert_eq!(told.load(Ordering::Relaxed), 20_000);
    cache.validate();
}
