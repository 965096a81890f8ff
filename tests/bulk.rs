//! Many keys in one call: whatever single calls would have done, `get_many` and `insert_many` do too.

#[path = "common/hashers.rs"]
mod hashers;

use hashers::{Colliding, Identity};
use std::cell::Cell;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, CacheBuilder, Expiry, ManualClock, RandomState, RemovalCause};

type Report = (u64, u64, RemovalCause);

/// What a cache can be asked about.
#[derive(PartialEq, Debug)]
struct Face {
    pairs: Vec<(u64, Option<u64>, Option<Duration>)>,
    reports: Vec<Report>,
    hits: u64,
    misses: u64,
    inserts: u64,
    replacements: u64,
    weight: u64,
}

/// The same done by single calls and by many at once: entries, times, reports and statistics must be the same.
fn same<S: BuildHasher + Clone + Send + Sync + 'static>(
    hasher: &S,
    with: impl Fn(CacheBuilder<u64, u64>) -> CacheBuilder<u64, u64>,
) {
    let face = |many: bool| {
        let clock = ManualClock::new();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&heard);
        let builder = with(Cache::builder().shards(2).clock(clock.clone()).record_stats());
        let builder =
            builder.eviction_listener(move |k, v, cause| told.lock().unwrap().push((*k, *v, cause)));
        let cache = builder.build_with_hasher(hasher.clone()).unwrap();
        let insert = |entries: &mut dyn Iterator<Item = (u64, u64)>| {
            if many { cache.insert_many(entries) } else { entries.for_each(|(k, v)| cache.insert(k, v)) }
        };
        let get = |keys: &[u64]| -> Vec<Option<u64>> {
            if many { cache.get_many(keys) } else { keys.iter().map(|key| cache.get(key)).collect() }
        };
        insert(&mut (0..300).map(|n| (n, n)));
        clock.advance(Duration::from_secs(3));
        // Some of them twice, and new ones among them.
        insert(&mut (200..500).chain(250..300).map(|n| (n, n + 1000)));
        let keys: Vec<u64> = (100..700).chain(100..110).collect();
        let mut found = get(&keys);
        clock.advance(Duration::from_secs(3));
        found.extend(get(&keys[..130]));
        clock.advance(Duration::from_secs(3));
        found.extend(get(&keys));
        let left = |key: u64| (key, cache.peek(&key), cache.remaining_ttl(&key));
        let mut pairs: Vec<_> = (0..700).map(left).collect();
        pairs.extend(found.iter().map(|found| (0, *found, None)));
        let mut reports = heard.lock().unwrap().clone();
        reports.sort_by_key(|(key, value, _)| (*key, *value));
        cache.validate();
        let stats = cache.stats();
        Face {
            pairs,
            reports,
            hits: stats.hits,
            misses: stats.misses,
            inserts: stats.inserts,
            replacements: stats.replacements,
            weight: cache.weighted_size(),
        }
    };
    assert_eq!(face(true), face(false));
}

#[test]
fn many_at_once_are_as_many_one_by_one() {
    let hasher = RandomState::new().unwrap();
    same(&hasher, |builder| builder);
    same(&hasher, |builder| builder.time_to_live(Duration::from_secs(5)));
    same(&hasher, |builder| builder.time_to_idle(Duration::from_secs(5)));
    same(&hasher, |builder| {
        builder.time_to_idle(Duration::from_secs(5)).max_age(Duration::from_secs(8)).initial_capacity(1000)
    });
    // In one shard: what is evicted in one depends on what others were told, and so on the order among them.
    same(&hasher, |builder| builder.max_capacity(150).shards(1));
    same(&hasher, |builder| builder.max_capacity(150_000).shards(1).weigher(|_, value| *value as u32));
    same(&Colliding, |builder| builder.time_to_live(Duration::from_secs(5)));
    same(&Identity, |builder| builder.max_capacity(400).shards(1));
}

/// Seven seconds after an insert, two more after a read.
struct Ruled;

impl Expiry<u64, u64> for Ruled {
    fn expire_after_create(&self, _: &u64, _: &u64) -> Option<Duration> {
        Some(Duration::from_secs(7))
    }

    fn expire_after_read(&self, _: &u64, _: &u64, left: Option<Duration>) -> Option<Duration> {
        left.map(|left| left + Duration::from_secs(2))
    }
}

#[test]
fn an_expiry_is_asked_about_each() {
    same(&RandomState::new().unwrap(), |builder| builder.expire_after(Ruled));
}

#[test]
fn a_guard_lends_many() {
    let cache = Cache::builder().build().unwrap();
    cache.insert_many((0..1000u64).map(|n| (n, n.to_string())));
    let guard = cache.read_guard();
    let keys: Vec<u64> = (0..1500).collect();
    let lent = guard.get_many(&keys);
    cache.invalidate_all();
    for (key, value) in keys.iter().zip(lent) {
        assert_eq!(value.cloned(), (*key < 1000).then(|| key.to_string()));
    }
    let none: [u64; 0] = [];
    assert!(guard.get_many(&none).is_empty() && cache.get_many(&none).is_empty());
    cache.insert_many([]);
}

/// Threads that insert the same and other keys, in a table that grows, while others look.
#[test]
fn many_at_once_from_several_threads() {
    const KEYS: u64 = 50_000;
    let cache = Cache::<u64, u64>::builder().shards(2).build().unwrap();
    let keys: Vec<u64> = (0..KEYS).collect();
    thread::scope(|scope| {
        for thread in 0..3 {
            let cache = &cache;
            scope.spawn(move || cache.insert_many((0..KEYS).map(|n| (n, n * 10 + thread))));
        }
        for _ in 0..2 {
            scope.spawn(|| {
                for (key, value) in keys.iter().zip(cache.get_many(&keys)) {
                    assert!(value.is_none_or(|value| value / 10 == *key), "the value of another key");
                }
            });
        }
    });
    assert!(cache.get_many(&keys).iter().all(Option::is_some));
    assert_eq!(cache.entry_count() as u64, KEYS);
    cache.validate();
}

/// At no moment is there more in the cache than may be.
#[test]
fn many_at_once_are_no_more_than_fit() {
    let cache = Cache::<u64, u64>::builder().max_capacity(500).shards(4).build().unwrap();
    let most = AtomicU64::new(0);
    thread::scope(|scope| {
        let writer = scope.spawn(|| cache.insert_many((0..200_000).map(|n| (n, n))));
        while !writer.is_finished() {
            most.fetch_max(cache.weighted_size(), Ordering::Relaxed);
        }
    });
    assert!(most.into_inner() <= 500 && cache.entry_count() <= 500);
    cache.validate();
}

thread_local! {
    static FUSE: Cell<Option<u32>> = const { Cell::new(None) };
}

/// A key whose `Eq` panics when the fuse has burned down.
#[derive(Clone, Copy, Debug, Eq)]
struct Touchy(u64);

impl PartialEq for Touchy {
    fn eq(&self, other: &Self) -> bool {
        FUSE.with(|fuse| match fuse.get() {
            Some(0) => panic!("the fuse has burned down"),
            left => fuse.set(left.map(|left| left - 1)),
        });
        self.0 == other.0
    }
}

impl std::hash::Hash for Touchy {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// An `Eq` that panics under the lock: what came before is stored, and the listener hears of what it replaced.
#[test]
fn a_panic_of_eq_leaves_the_cache_whole() {
    for burn in 0..20 {
        let heard = Arc::new(Mutex::new(HashMap::new()));
        let told = Arc::clone(&heard);
        let cache = Cache::builder()
            .shards(1)
            .eviction_listener(move |key: &Touchy, value: &u64, _| {
                assert!(told.lock().unwrap().insert(key.0, *value).is_none(), "told of twice");
            })
            .build()
            .unwrap();
        (0..20).for_each(|n| cache.insert(Touchy(n), n));
        FUSE.set(Some(burn));
        let many = || cache.insert_many((0..20).map(|n| (Touchy(n), n + 100)));
        assert!(catch_unwind(AssertUnwindSafe(many)).is_err());
        FUSE.set(None);
        cache.validate();
        let replaced = (0..20).filter(|n| cache.get(&Touchy(*n)) == Some(n + 100)).count();
        assert!(replaced <= burn as usize);
        let heard = heard.lock().unwrap();
        assert_eq!(heard.len(), replaced);
        assert!(heard.iter().all(|(key, value)| key == value && cache.get(&Touchy(*key)) == Some(key + 100)));
    }
}

#[test]
fn a_panic_of_the_iterator_leaves_the_cache_whole() {
    let cache = Cache::<u64, u64>::builder().shards(2).build().unwrap();
    let entries = (0..1000).map(|n| {
        assert!(n < 700, "the iterator's own trouble");
        (n, n)
    });
    assert!(catch_unwind(AssertUnwindSafe(|| cache.insert_many(entries))).is_err());
    assert!(cache.entry_count() <= 700);
    assert!(cache.iter().all(|(key, value)| key == value && key < 700));
    cache.validate();
    let keys = (0..1000).collect::<Vec<_>>();
    let asked = keys.iter().inspect(|n| assert!(**n < 700, "again"));
    assert!(catch_unwind(AssertUnwindSafe(|| cache.get_many(asked))).is_err());
}

/// The iterator, the weigher and the listener may use the cache.
#[test]
fn the_cache_may_be_used_meanwhile() {
    let slot: Arc<Mutex<Option<tidewheel::WeakCache<u64, u64>>>> = Arc::default();
    let (weigh, hear) = (Arc::clone(&slot), Arc::clone(&slot));
    let use_it = |slot: &Mutex<Option<tidewheel::WeakCache<u64, u64>>>| {
        let cache = slot.lock().unwrap().as_ref().and_then(tidewheel::WeakCache::upgrade);
        cache.is_some_and(|cache| cache.get(&1).is_some())
    };
    let cache = Cache::<u64, u64>::builder()
        .max_capacity(10_000)
        .weigher(move |_, _| if use_it(&weigh) { 1 } else { 2 })
        .eviction_listener(move |_, _, _| {
            use_it(&hear);
        })
        .build()
        .unwrap();
    *slot.lock().unwrap() = Some(cache.downgrade());
    cache.insert_many((0..2000).map(|n| {
        cache.insert(n + 5000, n);
        (n % 500, cache.get_many(&[n, n + 5000]).len() as u64)
    }));
    cache.validate();
    let mut handle = cache.clone();
    handle.extend([(1, 1)]);
    (&cache).extend([(2, 2)]);
    assert_eq!(cache.get_many(&[1, 2]), [Some(1), Some(2)]);
}
