//! What a bounded cache promises, one promise a test: how much it holds, what an entry weighs, what is refused, what is
//! pinned, and what happens when the capacity changes.

#[allow(dead_code)]
#[path = "common/hashers.rs"]
mod hashers;

use hashers::Colliding;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tidewheel::{
    BuildError, Cache, CacheBuilder, CapacityError, EvictionPolicy, Expiry, Life, ManualClock, RemovalCause,
    WeakCache,
};

const POLICIES: [EvictionPolicy; 3] = [EvictionPolicy::Adaptive, EvictionPolicy::Clock, EvictionPolicy::Fifo];

/// An entry that weighs what its value says.
fn weighed(capacity: u64) -> CacheBuilder<u64, u32> {
    Cache::builder().max_capacity(capacity).weigher(|_, weight| *weight).pin_if(|_, weight| *weight == 0)
}

type Reports<V> = Arc<Mutex<Vec<(u64, V, RemovalCause)>>>;

fn heard<V: Copy + Send + Sync + 'static>(
    builder: CacheBuilder<u64, V>,
) -> (CacheBuilder<u64, V>, Reports<V>) {
    let reports = Reports::default();
    let heard = Arc::clone(&reports);
    let builder = builder
        .eviction_listener(move |key, value: &V, cause| heard.lock().unwrap().push((*key, *value, cause)));
    (builder, reports)
}

/// Numbers that look random (the multiplier is Knuth's).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn a_capacity_holds_exactly_so_many_entries() {
    for capacity in [0, 1, 2, 10, 63, 64, 100, 127, 128, 1000] {
        for policy in POLICIES {
            let builder = Cache::builder().max_capacity(capacity).eviction_policy(policy);
            let (builder, reports) = heard(builder.clock(ManualClock::new()));
            let cache = builder.build().unwrap();
            let mut most = 0;
            for key in 0..20 * capacity + 20 {
                cache.insert(key, key);
                most = most.max(cache.entry_count() as u64);
                let there = cache.contains_key(&key);
                assert_eq!(there, capacity != 0, "{key} in {capacity}, just inserted");
            }
            assert_eq!(most, capacity, "{policy:?}");
            assert_eq!((cache.entry_count() as u64, cache.weighted_size()), (capacity, capacity));
            let gone = reports.lock().unwrap().len() as u64;
            assert_eq!(gone, 19 * capacity + 20, "{policy:?}, {capacity}");
            cache.validate();
        }
    }
    assert_eq!(Cache::<u64, u64>::new(17).policy().max_capacity, Some(17));
}

#[test]
fn there_are_as_many_shards_as_have_room_for_64_entries_each() {
    for capacity in [0, 1, 63, 64, 127, 128, 129, 1000, 4095, 4096, 1 << 20, u64::MAX] {
        for asked in [1, 2, 8, 64, 4096] {
            let builder = Cache::<u64, u64>::builder().max_capacity(capacity).shards(asked);
            let shards = builder.build().unwrap().policy().shards;
            assert!(shards as u64 <= (capacity / 64).max(1), "{shards} for {capacity}");
            let as_asked = asked as u64 <= capacity / 64;
            assert!(!as_asked || shards == asked, "{shards} of {asked} for {capacity}");
            assert!(weighed(capacity).shards(asked).build().unwrap().policy().shards <= 8);
        }
    }
}

#[test]
fn nearly_all_of_the_room_is_used() {
    for policy in POLICIES {
        let cache = Cache::builder().max_capacity(10_000).eviction_policy(policy).build().unwrap();
        (0..60_000u64).for_each(|key| cache.insert(key, ()));
        assert!(cache.entry_count() > 9_500, "{} of 10000, {policy:?}", cache.entry_count());

        let cache = weighed(1_000_000).eviction_policy(policy).build().unwrap();
        let (mut numbers, mut used) = (Numbers(3), 0);
        for key in 0..6000 {
            cache.insert(key, 1 + numbers.below(10_000) as u32);
            used += if key >= 2000 { cache.weighted_size() } else { 0 };
        }
        let used = used / 4000;
        assert!(used > 950_000, "{used} of 1000000, {policy:?}");
    }
}

#[test]
fn an_eighth_is_kept_whatever_the_number_of_shards() {
    for capacity in [1, 8, 100, 512, 513, 1000, 1023, 4096, 100_001, 1 << 32] {
        for shards in [1, 2, 8, 64, 1024] {
            let cache = weighed(capacity).shards(shards).build().unwrap();
            let eighth = u32::try_from(capacity / 8).unwrap();
            for key in 0..200 {
                cache.insert(key, eighth);
                assert_eq!(cache.get(&key), Some(eighth), "{shards} shards of {capacity}");
                assert!(cache.weighted_size() <= capacity);
            }
            cache.validate();
        }
    }
}

#[test]
fn what_is_too_heavy_is_refused_by_every_call() {
    type Call = fn(&Cache<u64, u32>);
    let calls: [(&str, Call); 5] = [
        ("insert", |cache| cache.insert(1, 11)),
        ("insert_with_ttl", |cache| cache.insert_with_ttl(1, 11, Duration::from_secs(1))),
        ("try_insert", |cache| {
            cache.invalidate(&1);
            assert_eq!(cache.try_insert(1, 11), Ok(()));
        }),
        ("replace", |cache| assert_eq!(cache.replace(&1, 11), Ok(()))),
        ("update", |cache| assert!(cache.update(&1, |weight| weight + 8))),
    ];
    for (name, call) in calls {
        for record in [false, true] {
            let (builder, reports) = heard(weighed(10).clock(ManualClock::new()));
            let cache = if record { builder.record_stats() } else { builder }.build().unwrap();
            cache.insert(1, 3);
            cache.insert(2, 7);
            call(&cache);
            assert_eq!((cache.get(&1), cache.get(&2)), (None, Some(7)), "{name}");
            assert_eq!((cache.weighted_size(), cache.entry_count()), (7, 1), "{name}");
            let mut reports = std::mem::take(&mut *reports.lock().unwrap());
            reports.sort_by_key(|(_, value, _)| *value);
            let before = if name == "try_insert" { RemovalCause::Explicit } else { RemovalCause::Replaced };
            assert_eq!(reports, [(1, 3, before), (1, 11, RemovalCause::Size)], "{name}");
            assert_eq!(cache.stats().refused, u64::from(record), "{name}");
            cache.validate();
            // As heavy as the whole, and it is kept, alone.
            cache.insert(1, 10);
            assert_eq!((cache.get(&1), cache.get(&2)), (Some(10), None), "{name}");
        }
    }
    // Without a listener nothing is served stale either.
    let cache = weighed(10).build().unwrap();
    cache.insert(1, 3);
    cache.insert(1, u32::MAX);
    assert_eq!((cache.get(&1), cache.weighted_size()), (None, 0));
}

#[test]
fn what_is_pinned_is_never_evicted() {
    for policy in POLICIES {
        let cache = weighed(100).eviction_policy(policy).build_with_hasher(Colliding).unwrap();
        (0..50).for_each(|key| cache.insert(key, 0));
        for key in 100..3000 {
            cache.insert(key, 1 + (key % 60) as u32);
            cache.get(&(key - 1));
        }
        cache.set_max_capacity(0).unwrap();
        assert_eq!((cache.entry_count(), cache.weighted_size()), (50, 0), "{policy:?}");
        assert!((0..50).all(|key| cache.contains_key(&key)), "{policy:?}");
        cache.validate();
    }
}

/// Zero counts as one. It was a pin once: a weigher of `page.len()` kept every empty page for ever.
#[test]
fn values_of_weight_zero_are_bounded() {
    for policy in POLICIES {
        let cache = Cache::builder()
            .max_capacity(1 << 14)
            .eviction_policy(policy)
            .weigher(|_: &u64, page: &Vec<u8>| page.len() as u32)
            .build()
            .unwrap();
        (0..100_000).for_each(|key| cache.insert(key, Vec::new()));
        assert_eq!((cache.entry_count(), cache.weighted_size()), (1 << 14, 1 << 14), "{policy:?}");
        // One that is half of it has half of them go.
        cache.insert(0, vec![0; 1 << 13]);
        assert_eq!((cache.entry_count(), cache.weighted_size()), ((1 << 13) + 1, 1 << 14), "{policy:?}");
        cache.validate();
    }
}

/// Pinned by key, and by value, with and without weights: neither evicted nor counted, and gone when it is removed, replaced or over.
#[test]
fn what_is_pinned_takes_no_room() {
    let builder =
        || Cache::builder().max_capacity(10).pin_if(|key: &u64, value: &u64| *key < 5 || *value == 7);
    let clock = ManualClock::new();
    let asked = Arc::new(AtomicU64::new(0));
    let weighs = Arc::clone(&asked);
    let weighed = builder().weigher(move |_, _| {
        weighs.fetch_add(1, Ordering::Relaxed);
        1
    });
    for builder in [builder(), weighed] {
        let cache = builder.clock(clock.clone()).build().unwrap();
        (0..5).for_each(|key| cache.insert(key, key));
        assert_eq!(asked.load(Ordering::Relaxed), 0, "what is pinned is not weighed");
        (100..200).for_each(|key| cache.insert(key, if key % 10 == 0 { 7 } else { 1 }));
        assert_eq!((cache.entry_count(), cache.weighted_size()), (25, 10));
        assert!((0..5).chain((100..200).step_by(10)).all(|key| cache.contains_key(&key)));
        // By its value, it is not any more; and then it is again.
        assert!(cache.update(&100, |_| 1));
        assert_eq!((cache.entry_count(), cache.weighted_size()), (24, 10));
        assert!(cache.update(&110, |_| 7));
        cache.set_max_capacity(0).unwrap();
        assert_eq!((cache.entry_count(), cache.weighted_size()), (14, 0));
        assert_eq!(cache.remove(&0), Some(0));
        cache.insert_with_ttl(1, 1, Duration::from_secs(1));
        clock.advance(Duration::from_secs(2));
        assert_eq!(cache.entry_count(), 12);
        cache.validate();
    }
    let error = Cache::<u64, u64>::builder().pin_if(|_, _| true).build().unwrap_err();
    assert!(matches!(error, BuildError::PinWithoutCapacity), "{error}");
    assert_eq!(error.to_string(), "pin_if was given and no maximal capacity; give both, or neither");
}

/// A pinned row's place in the queues was from another time, in a queue that the policy does not have.
#[test]
fn an_entry_that_was_pinned_can_be_evicted_once_it_weighs_something() {
    for policy in POLICIES {
        for capacity in [10, 1000] {
            let cache = weighed(capacity).shards(1).eviction_policy(policy).build().unwrap();
            cache.insert(0, 0);
            assert!(cache.replace(&0, 1).is_ok());
            (1..6 * capacity).for_each(|key| cache.insert(key, 1));
            // Adaptive keeps what it has against a scan.
            let goes = policy == EvictionPolicy::Adaptive || !cache.contains_key(&0);
            assert!(goes, "{policy:?}, {capacity}");

            // And the other way: what weighs nothing any more stays.
            let last = 6 * capacity - 1;
            assert!(cache.update(&last, |_| 0));
            (1..6 * capacity).for_each(|key| cache.insert(key + last, 1));
            assert!(cache.contains_key(&last), "{policy:?}, {capacity}");
            assert_eq!(cache.weighted_size(), capacity);
            cache.validate();
            cache.set_max_capacity(0).unwrap();
            assert_eq!((cache.entry_count(), cache.contains_key(&0)), (1, false), "{policy:?}, {capacity}");
        }
    }
}

#[test]
fn the_oldest_goes_from_a_fifo_though_it_was_pinned_for_a_while() {
    let cache = weighed(100).shards(1).eviction_policy(EvictionPolicy::Fifo).build().unwrap();
    (1..=50).for_each(|key| cache.insert(key, 1));
    cache.insert(0, 0);
    cache.insert(0, 1);
    (51..=99).for_each(|key| cache.insert(key, 1));
    for key in 1..=50 {
        cache.insert(1000 + key, 1);
        assert!(!cache.contains_key(&key), "{key} is the oldest");
        assert_eq!(cache.entry_count(), 100);
    }
    assert!(cache.contains_key(&0), "it came after the first fifty");
    cache.insert(2000, 1);
    assert!(!cache.contains_key(&0), "and before the others");
}

#[test]
fn another_weight_in_the_same_place_keeps_the_sum_right() {
    for policy in POLICIES {
        let cache = weighed(1000).shards(1).eviction_policy(policy).build_with_hasher(Colliding).unwrap();
        let mut numbers = Numbers(11);
        for _ in 0..20_000 {
            let (key, weight) = (numbers.below(30), numbers.below(120) as u32);
            match numbers.below(3) {
                0 => cache.insert(key, weight),
                1 => drop(cache.replace(&key, weight)),
                _ => drop(cache.update(&key, |_| weight)),
            }
            let sum: u64 = (0..30).filter_map(|key| cache.peek(&key)).map(u64::from).sum();
            assert_eq!(cache.weighted_size(), sum, "{policy:?}");
            assert!(sum <= 1000);
            assert!(numbers.below(64) != 0 || cache.contains_key(&key) || cache.replace(&key, 1).is_err());
        }
        cache.validate();
    }
}

#[test]
fn what_grows_in_its_place_is_kept_and_others_go() {
    for policy in POLICIES {
        let cache = weighed(10).eviction_policy(policy).build().unwrap();
        for _ in 0..30 {
            (0..10).for_each(|key| cache.insert(key, 1));
            assert!(cache.replace(&3, 9).is_ok());
            assert_eq!(cache.get(&3), Some(9), "{policy:?}");
            assert_eq!((cache.weighted_size(), cache.entry_count()), (10, 2), "{policy:?}");
            assert!(cache.replace(&3, 10).is_ok());
            assert_eq!((cache.get(&3), cache.entry_count()), (Some(10), 1), "{policy:?}");
            assert!(cache.replace(&3, 1).is_ok());
            assert_eq!(cache.weighted_size(), 1, "{policy:?}");
        }
        cache.validate();
    }
}

#[test]
fn an_entry_that_was_hit_stays_where_one_that_was_not_goes() {
    /// What becomes of the oldest of four after it was replaced, hit before that or not, and another comes.
    fn stays(policy: EvictionPolicy, hit: bool, weight: u32, idle: bool) -> bool {
        let builder = weighed(40).shards(1).eviction_policy(policy).clock(ManualClock::new());
        let builder = if idle { builder.time_to_idle(Duration::from_secs(60)) } else { builder };
        let cache = builder.build().unwrap();
        (1..=4).for_each(|key| cache.insert(key, 9));
        if hit {
            assert_eq!([1, 1, 1].map(|key| cache.get(&key)), [Some(9); 3]);
        }
        cache.insert(1, weight);
        // Two go, for nothing was hit but the first.
        (5..=6).for_each(|key| cache.insert(key, 9));
        cache.contains_key(&1)
    }
    for idle in [false, true] {
        for weight in [9, 8, 10] {
            assert!(stays(EvictionPolicy::Clock, true, weight, idle), "{weight}, idle {idle}");
            assert!(!stays(EvictionPolicy::Clock, false, weight, idle), "{weight}, idle {idle}");
            assert!(!stays(EvictionPolicy::Fifo, true, weight, idle), "{weight}, idle {idle}");
            assert!(stays(EvictionPolicy::Adaptive, true, weight, idle), "{weight}, idle {idle}");
            assert!(!stays(EvictionPolicy::Adaptive, false, weight, idle), "{weight}, idle {idle}");
        }
    }
}

/// Says how long what it is told of lives, and that a read adds nothing to that.
struct Seconds(u64);

impl Expiry<u64, u32> for Seconds {
    fn expire_after_create(&self, _: &u64, _: &u32) -> Option<Duration> {
        Some(Duration::from_secs(self.0))
    }
}

#[test]
fn the_weigher_is_asked_once_for_each_value_that_is_stored() {
    for ruled in [false, true] {
        let asked = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&asked);
        let builder = Cache::<u64, u32>::builder().max_capacity(100).weigher(move |_, weight| {
            counter.fetch_add(1, Ordering::Relaxed);
            *weight
        });
        let builder = if ruled { builder.expire_after(Seconds(60)) } else { builder };
        let cache = builder.build().unwrap();
        let since = |what: &str, times: u64| {
            assert_eq!(asked.swap(0, Ordering::Relaxed), times, "{what}, with an expiry: {ruled}");
        };
        cache.insert(1, 1);
        since("insert", 1);
        cache.insert(1, 2);
        since("insert over another", 1);
        cache.insert(1, 101);
        since("insert of what is refused", 1);
        cache.insert_with_ttl(1, 1, Duration::from_secs(1));
        since("insert_with_ttl", 1);
        assert!(cache.try_insert(2, 1).is_ok());
        since("try_insert", 1);
        assert!(cache.replace(&1, 5).is_ok());
        since("replace", 1);
        assert!(cache.replace(&99, 5).is_err());
        since("replace of nothing", 0);
        assert!(cache.update(&1, |weight| weight + 1));
        since("update", 1);
        assert!(cache.rename(&1, 3));
        since("rename", 1);
        let _ = (cache.get(&3), cache.remove(&3), cache.touch(&2), cache.set_max_capacity(10));
        since("what stores nothing", 0);
    }
}

#[test]
fn the_capacity_goes_up_and_down_and_to_nothing_and_back() {
    for policy in POLICIES {
        let (builder, reports) = heard(Cache::builder().max_capacity(1000).shards(8).eviction_policy(policy));
        let cache = builder.clock(ManualClock::new()).build().unwrap();
        assert_eq!(cache.policy().shards, 8);
        let mut stored = 0;
        for capacity in [1000, 100, 8, 5000, 0, 64, 1003, 0, 9, 1000] {
            cache.set_max_capacity(capacity).unwrap();
            assert_eq!(cache.policy().max_capacity, Some(capacity));
            assert!(cache.entry_count() as u64 <= capacity, "{} of {capacity}", cache.entry_count());
            cache.validate();
            for key in stored..stored + 30_000 {
                cache.insert(key, ());
            }
            stored += 30_000;
            assert_eq!(cache.entry_count() as u64, capacity, "{policy:?}");
            cache.validate();
        }
        let mut reports = reports.lock().unwrap();
        assert!(reports.iter().all(|(_, (), cause)| *cause == RemovalCause::Size));
        reports.sort_by_key(|(key, ..)| *key);
        reports.dedup_by_key(|(key, ..)| *key);
        assert_eq!(reports.len() as u64, stored - 1000);
    }
}

#[test]
fn a_capacity_that_cannot_be_is_an_error_and_changes_nothing() {
    let cache = Cache::<u64, u64>::builder().build().unwrap();
    cache.insert(1, 1);
    assert_eq!(cache.set_max_capacity(10), Err(CapacityError::Unbounded));
    assert_eq!((cache.policy().max_capacity, cache.policy().eviction_policy), (None, None));
    assert_eq!((cache.weighted_size(), cache.entry_count()), (1, 1));

    let cache = Cache::builder().max_capacity(1000).shards(8).build().unwrap();
    (0..10_000u64).for_each(|key| cache.insert(key, ()));
    for capacity in 1..8 {
        let error = cache.set_max_capacity(capacity).unwrap_err();
        assert!(
            matches!(error, CapacityError::TooSmall { given, least: 8, .. } if given == capacity),
            "{error}"
        );
        assert_eq!((cache.policy().max_capacity, cache.entry_count()), (Some(1000), 1000));
    }
    // What has one shard can be as small as it likes.
    let cache = Cache::builder().max_capacity(100).build().unwrap();
    (0..100u64).for_each(|key| cache.insert(key, ()));
    assert_eq!(cache.set_max_capacity(1), Ok(()));
    assert_eq!(cache.entry_count(), 1);
}

#[test]
fn what_has_expired_gives_its_room_back() {
    let clock = ManualClock::new();
    let (builder, reports) = heard(weighed(100).shards(1).clock(clock.clone()));
    let cache = builder.build().unwrap();
    for key in 0..10 {
        cache.insert_with_ttl(key, 9, Duration::from_secs(1));
    }
    cache.insert(10, 10);
    assert_eq!(cache.weighted_size(), 100);
    clock.advance(Duration::from_secs(2));
    assert_eq!((cache.weighted_size(), cache.entry_count()), (10, 1));
    (20..30).for_each(|key| cache.insert(key, 9));
    assert!(cache.contains_key(&10), "there was room");
    let reports = std::mem::take(&mut *reports.lock().unwrap());
    assert_eq!(reports.len(), 10);
    assert!(reports.iter().all(|(key, _, cause)| *key < 10 && *cause == RemovalCause::Expired));
}

/// What has expired and was not swept yet is told of as expired when it makes room, and never as evicted.
#[test]
fn what_has_expired_makes_room_and_is_not_evicted() {
    let clock = ManualClock::new();
    let builder = Cache::builder().max_capacity(10).eviction_policy(EvictionPolicy::Fifo);
    let builder = builder.record_stats().clock(clock.clone());
    let (builder, reports) = heard(builder);
    let cache = builder.build().unwrap();
    (0..10).for_each(|key| cache.insert_with_ttl(key, 0u32, Duration::from_millis(10)));
    clock.advance_without_sweeping(Duration::from_millis(20));
    // Whoever wants the room tells of what had expired there.
    (10..20).for_each(|key| cache.insert(key, 0));
    assert!(!reports.lock().unwrap().is_empty());
    clock.advance(Duration::from_secs(2));
    assert!((10..20).all(|key| cache.contains_key(&key)));
    let reports = std::mem::take(&mut *reports.lock().unwrap());
    assert_eq!(reports.len(), 10);
    assert!(reports.iter().all(|(key, _, cause)| *key < 10 && *cause == RemovalCause::Expired));
    assert_eq!((cache.stats().expired, cache.stats().evicted), (10, 0));
}

#[test]
fn a_capacity_goes_together_with_every_time() {
    for policy in POLICIES {
        let clock = ManualClock::new();
        let cache = weighed(1000)
            .shards(1)
            .eviction_policy(policy)
            .time_to_live(Duration::from_secs(20))
            .time_to_idle(Duration::from_secs(5))
            .max_age(Duration::from_secs(30))
            .expire_after(Seconds(10))
            .clock(clock.clone())
            .build()
            .unwrap();
        (0..1000).for_each(|key| cache.insert(key, 10));
        assert_eq!((cache.weighted_size(), cache.entry_count()), (1000, 100), "{policy:?}");
        let kept: Vec<u64> = (0..1000).filter(|key| cache.contains_key(key)).collect();
        assert_eq!(kept.len(), 100);
        for second in 1..10 {
            // Every other one is used, and so lives on.
            kept.iter()
                .step_by(2)
                .for_each(|key| assert_eq!(cache.get(key), Some(10), "{policy:?} at {second}"));
            clock.advance(Duration::from_secs(1));
            let idle = if second < 5 { 50 } else { 0 };
            let there = kept.iter().filter(|&key| cache.contains_key(key)).count();
            assert_eq!(there, 50 + idle, "{policy:?} at {second}");
            cache.validate();
        }
        clock.advance(Duration::from_secs(1));
        assert!(kept.iter().all(|key| !cache.contains_key(key)), "{policy:?}");
        clock.advance(Duration::from_secs(1));
        assert_eq!((cache.weighted_size(), cache.entry_count()), (0, 0));
    }
}

/// While it becomes less, nobody meets a capacity below what was asked for: what fits into that is kept.
#[test]
fn a_capacity_that_shrinks_is_never_below_what_was_asked_for() {
    let handle: Arc<OnceLock<WeakCache<u64, u32>>> = Arc::default();
    let kept: Arc<Mutex<Vec<bool>>> = Arc::default();
    let (own, seen) = (Arc::clone(&handle), Arc::clone(&kept));
    let cache = weighed(1_000_000)
        .shards(1)
        .eviction_policy(EvictionPolicy::Fifo)
        .eviction_listener(move |key: &u64, _: &u32, cause| {
            // The heavy one, the last that goes the first time that the lock is held: told of after that.
            if (*key, cause) == (127, RemovalCause::Size) {
                let cache = own.get().and_then(WeakCache::upgrade).expect("the cache is there");
                cache.insert(5000, 400);
                seen.lock().unwrap().push(cache.contains_key(&5000));
            }
        })
        .build()
        .unwrap();
    assert!(handle.set(cache.downgrade()).is_ok());
    (0..127).for_each(|key| cache.insert(key, 1));
    cache.insert(127, 900_000);
    cache.insert(128, 100);
    cache.set_max_capacity(1000).unwrap();
    assert_eq!(*kept.lock().unwrap(), [true]);
    cache.validate();
}

/// What is over from the start was stored until its second was over, and what was alive went for it.
#[test]
fn what_is_never_visible_evicts_nothing() {
    const NEVER: Duration = Duration::ZERO;

    /// For keys from 100 on.
    struct Never;

    impl Expiry<u64, u32> for Never {
        fn expire_after_create(&self, key: &u64, _: &u32) -> Option<Duration> {
            (*key >= 100).then_some(NEVER)
        }
    }

    type Adjust = fn(CacheBuilder<u64, u32>) -> CacheBuilder<u64, u32>;
    type Write = fn(&Cache<u64, u32>, u64);
    let kinds: [(&str, Adjust); 5] = [
        ("plain", |builder| builder),
        ("with weights", |builder| builder.weigher(|_, _| 1)),
        ("with an Expiry", |builder| builder.expire_after(Never)),
        ("with both", |builder| builder.weigher(|_, _| 1).expire_after(Never)),
        ("with a listener", |builder| builder.eviction_listener(|_, _, _| ())),
    ];
    let writes: [(&str, Write); 6] = [
        ("get_with_ttl", |cache, key| assert_eq!(cache.get_with_ttl(key, || (1, NEVER)), 1)),
        ("insert_with_ttl", |cache, key| cache.insert_with_ttl(key, 1, NEVER)),
        ("insert_with_ttl twice", |cache, key| {
            cache.insert_with_ttl(key, 1, NEVER);
            cache.insert_with_ttl(key, 1, NEVER);
        }),
        ("a computation", |cache, key| {
            cache.entry(key).with_life(Life::Ttl(NEVER)).and_upsert_with(|_| 1);
        }),
        ("or_insert", |cache, key| {
            assert!(cache.entry(key).with_life(Life::Ttl(NEVER)).or_insert(1).is_fresh());
        }),
        ("swap", |cache, key| assert_eq!(cache.with_life(Life::Ttl(NEVER)).swap(key, 1), None)),
    ];
    for policy in POLICIES {
        for (kind, adjust) in kinds {
            for (name, write) in writes {
                let builder = Cache::builder().max_capacity(10).eviction_policy(policy);
                let cache = adjust(builder.shards(1).clock(ManualClock::new())).build().unwrap();
                (0..10).for_each(|key| cache.insert(key, 1));
                (100..110).for_each(|key| write(&cache, key));
                let left = (0..10).filter(|key| cache.contains_key(key)).count();
                assert_eq!((left, cache.entry_count()), (10, 10), "{policy:?}, {kind}, {name}");
                cache.validate();
            }
        }
    }
    // Where all that has no time of its own is over from the start.
    for is_weighed in [false, true] {
        let builder =
            Cache::builder().max_capacity(10).time_to_live(NEVER).shards(1).clock(ManualClock::new());
        let cache = if is_weighed { builder.weigher(|_, _| 1) } else { builder }.build().unwrap();
        (0..10).for_each(|key| cache.insert_with_ttl(key, 1, Duration::MAX));
        for key in 100..110 {
            cache.insert(key, 1);
            assert_eq!(cache.try_insert(key, 1), Ok(()));
            assert_eq!(cache.get_with(key, || 1), 1);
            assert_eq!(*cache.entry(key).or_insert(1).value(), 1);
            cache.insert_many([(key, 1)]);
        }
        assert_eq!((0..10).filter(|key| cache.contains_key(key)).count(), 10, "{is_weighed}");
        cache.validate();
    }
}

/// The listener hears that it expired, from the call that wrote it, after what was there before.
#[test]
fn what_is_never_visible_is_told_of_at_once() {
    let build = |is_weighed| {
        let builder = Cache::builder().max_capacity(10).record_stats().clock(ManualClock::new());
        let (builder, reports) = heard(builder);
        let cache =
            if is_weighed { builder.weigher(|_, weight: &u32| *weight) } else { builder }.build().unwrap();
        (cache, reports)
    };
    for is_weighed in [false, true] {
        let (cache, reports) = build(is_weighed);
        cache.insert_with_ttl(1, 1, Duration::ZERO);
        assert_eq!(std::mem::take(&mut *reports.lock().unwrap()), [(1, 1, RemovalCause::Expired)]);
        cache.insert(1, 2);
        cache.insert_with_ttl(1, 3, Duration::ZERO);
        let both = [(1, 2, RemovalCause::Replaced), (1, 3, RemovalCause::Expired)];
        assert_eq!(std::mem::take(&mut *reports.lock().unwrap()), both);
        cache.insert(1, 4);
        assert_eq!(cache.with_life(Life::Ttl(Duration::ZERO)).replace(&1, 5), Ok(()));
        let both = [(1, 4, RemovalCause::Replaced), (1, 5, RemovalCause::Expired)];
        assert_eq!(std::mem::take(&mut *reports.lock().unwrap()), both);
        assert_eq!((cache.get(&1), cache.entry_count()), (None, 0));
        let stats = cache.stats();
        assert_eq!((stats.inserts, stats.replacements, stats.expired, stats.refused), (3, 2, 3, 0));
        cache.validate();
    }
    // What is too heavy besides is refused.
    let (cache, reports) = build(true);
    cache.insert_with_ttl(1, 11, Duration::ZERO);
    assert_eq!(*reports.lock().unwrap(), [(1, 11, RemovalCause::Size)]);
}
