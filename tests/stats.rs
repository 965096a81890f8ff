//! Statistics: each figure against what was done, on a clock moved by hand, and in sum over several threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tidewheel::{Cache, ManualClock, Reaper, Stats};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn every_figure_is_exact() {
    let clock = ManualClock::new();
    let cache = Cache::builder()
        .max_capacity(100)
        .weigher(|_: &u64, weight: &u32| *weight)
        .record_stats()
        .clock(clock.clone())
        .build()
        .unwrap();
    let mut expected = Stats::default();
    let check = |expected: &Stats, what: &str| {
        let mut stats = cache.stats();
        // These have tests of their own.
        (stats.garbage, stats.reaper_lag, stats.lateness) = Default::default();
        assert_eq!(stats, *expected, "{what}");
    };
    check(&expected, "nothing");

    (1..=5).for_each(|key| cache.insert(key, 20));
    expected.inserts = 5;
    check(&expected, "insert");
    cache.insert(1, 20);
    assert!(cache.replace(&2, 20).is_ok() && cache.update(&3, |_| 20));
    expected.replacements = 3;
    check(&expected, "replace");
    assert!(cache.replace(&99, 1).is_err() && !cache.update(&99, |_| 1));
    assert!(cache.try_insert(4, 1).is_err());
    check(&expected, "what was not stored");

    // Three reads that count, and many that do not.
    assert_eq!((cache.get(&1), cache.read(&1, |weight| *weight), cache.get(&99)), (Some(20), Some(20), None));
    {
        let guard = cache.read_guard();
        assert_eq!((guard.get(&1), guard.get(&99)), (Some(&20), None));
        assert!(guard.entry(&1).is_some());
    }
    let _ = (cache.peek(&1), cache.contains_key(&99), cache.remaining_ttl(&1), cache.touch(&1));
    (expected.hits, expected.misses) = (3, 2);
    check(&expected, "reads");
    assert_eq!(cache.stats().hit_rate(), 0.6);

    assert!(cache.invalidate(&5) && cache.remove(&4).is_some() && cache.remove_if(&3, |_| true).is_some());
    assert!(!cache.invalidate(&5) && cache.remove(&4).is_none() && cache.remove_if(&2, |_| false).is_none());
    expected.explicit = 3;
    check(&expected, "remove");
    assert!(cache.rename(&2, 3));
    (expected.explicit, expected.inserts) = (4, 6);
    check(&expected, "rename");

    // 40 are left. 75 more need 15 of them: one entry goes.
    cache.insert(6, 75);
    (expected.inserts, expected.evicted, expected.evicted_weight) = (7, 1, 20);
    check(&expected, "evict");
    cache.insert(7, 101);
    expected.refused = 1;
    check(&expected, "refuse");
    cache.insert(6, 101);
    (expected.refused, expected.replacements) = (2, 4);
    check(&expected, "refuse in the place of another");
    assert!(cache.try_insert(8, 101).is_ok());
    expected.refused = 3;
    check(&expected, "refuse by try_insert");

    // One of 20 is left. Four expire: one is swept, and one each is found over by an insert, one that is refused, and a
    // removal.
    (20..24).for_each(|key| cache.insert_with_ttl(key, 1, Duration::from_millis(100)));
    expected.inserts += 4;
    clock.advance_without_sweeping(Duration::from_millis(200));
    check(&expected, "expired, and nobody has looked");
    cache.insert(20, 1);
    (expected.inserts, expected.expired) = (expected.inserts + 1, 1);
    check(&expected, "insert over what has expired");
    cache.insert(21, 101);
    (expected.refused, expected.expired) = (4, 2);
    check(&expected, "refuse in the place of what has expired");
    assert!(!cache.invalidate(&22));
    expected.expired = 3;
    check(&expected, "a removal of what has expired");
    clock.advance(2 * SECOND);
    expected.expired = 4;
    check(&expected, "sweep");

    cache.set_max_capacity(20).unwrap();
    (expected.evicted, expected.evicted_weight) = (2, expected.evicted_weight + 20);
    let stats = cache.stats();
    // It is for the policy to say whether the light one goes, or the heavy one.
    if stats.evicted_weight == 21 {
        expected.evicted_weight = 21;
    }
    check(&expected, "another capacity");
    cache.invalidate_all();
    expected.explicit += expected.inserts - expected.expired - expected.evicted - expected.explicit - 1;
    // (One insert's value went by a replacement that was refused.)
    check(&expected, "invalidate_all");
    assert_eq!(cache.entry_count(), 0);
}

#[test]
fn what_was_counted_since_is_the_difference_of_each_count() {
    let clock = ManualClock::new();
    let builder = Cache::builder().max_capacity(1_000).weigher(|_: &u64, weight: &u32| *weight);
    let builder = builder.refresh_after_write(5 * SECOND).shards(1).clock(clock.clone()).record_stats();
    let cache = builder.build().unwrap();
    // Does each thing that is counted so often.
    let work = |times: u64| {
        for _ in 0..times {
            cache.insert_with_ttl(1, 10, 60 * SECOND);
            cache.insert_with_ttl(1, 10, 60 * SECOND);
            let _ = (cache.get(&1), cache.get(&99));
            clock.advance(6 * SECOND);
            cache.get_with(1, || 20);
            clock.advance(6 * SECOND);
            assert_eq!(cache.optionally_get_with(1, || None), Some(20));
            let _ = cache.try_get_with(2, || {
                clock.advance(SECOND);
                Err::<u32, _>("no connection")
            });
            cache.invalidate(&1);
            cache.insert(3, 2_000);
            cache.insert_with_ttl(4, 1, SECOND / 2);
            clock.advance(2 * SECOND);
            (10..14).for_each(|key| cache.insert(key, 400));
            (10..14).for_each(|key| {
                cache.invalidate(&key);
            });
        }
    };
    work(1);
    let first = cache.stats();
    work(3);
    let since = cache.stats().since(&first);
    for (name, of) in FIGURES {
        assert!(of(&first) > 0, "{name} is not told apart from nothing");
        assert_eq!(of(&since), 3 * of(&first), "{name}");
    }
    let now = cache.stats();
    assert_eq!((since.garbage, since.reaper_lag), (now.garbage, now.reaper_lag));
    // Of another cache, that has counted more.
    let none = Stats::default().since(&now);
    assert_eq!(none, Stats::default());
}

/// A call for many keys is one load for each of them, as long as the call. So a sum of more than 2^64 nanoseconds,
/// which are 585 years, comes within weeks where calls are for ten thousand keys.
#[test]
fn the_sum_of_the_times_of_loads_goes_on_beyond_585_years() {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
    let clock = ManualClock::new();
    let cache = Cache::builder().record_stats().clock(clock.clone()).build().unwrap();
    let load = |keys: std::ops::Range<u64>, time| {
        let before = cache.stats();
        let values = cache.get_many_with(keys, |keys| {
            clock.advance(time);
            keys.iter().map(|&&key| (key, key)).collect::<Vec<_>>()
        });
        assert!(values.iter().all(Option::is_some));
        let now = cache.stats();
        (now.loads.times.sum(), now.since(&before).loads.times.sum())
    };
    assert_eq!(load(0..5, CENTURY), (5 * CENTURY, 5 * CENTURY));
    assert_eq!(load(5..9, CENTURY / 4), (6 * CENTURY, CENTURY));
    assert_eq!(load(9..10, CENTURY / 8), (6 * CENTURY + CENTURY / 8, CENTURY / 8));
    assert_eq!(cache.stats().loads.times.count(), 10);

    // In one call.
    let clock = ManualClock::new();
    let cache = Cache::builder().record_stats().clock(clock.clone()).build().unwrap();
    cache.get_many_with(0..6, |keys| {
        clock.advance(CENTURY);
        keys.iter().map(|&&key| (key, key)).collect::<Vec<_>>()
    });
    assert_eq!(cache.stats().loads.times.sum(), 6 * CENTURY);
}

/// A count of the statistics.
type Figure = fn(&Stats) -> u64;

/// Those that each round of the test above moves by as much.
const FIGURES: [(&str, Figure); 16] = [
    ("hits", |stats| stats.hits),
    ("misses", |stats| stats.misses),
    ("inserts", |stats| stats.inserts),
    ("replacements", |stats| stats.replacements),
    ("expired", |stats| stats.expired),
    ("explicit", |stats| stats.explicit),
    ("evicted", |stats| stats.evicted),
    ("refused", |stats| stats.refused),
    ("evicted_weight", |stats| stats.evicted_weight),
    ("refreshes", |stats| stats.refreshes),
    ("refresh_failures", |stats| stats.refresh_failures),
    ("loads", |stats| stats.loads.count()),
    ("success, absent, failure", |stats| {
        let loads = &stats.loads;
        loads.success + 100 * loads.absent + 10_000 * loads.failure
    }),
    ("times of loads", |stats| {
        let slow = |(limit, count)| if limit > SECOND { count } else { 0 };
        let nanos = stats.loads.times.sum().as_nanos() as u64;
        nanos + stats.loads.times.buckets().map(slow).sum::<u64>()
    }),
    ("lateness", |stats| stats.lateness.count()),
    ("sum of lateness", |stats| stats.lateness.sum().as_nanos() as u64),
];

#[test]
fn without_a_word_nothing_is_counted() {
    let clock = ManualClock::new();
    let cache = Cache::builder().max_capacity(10).clock(clock.clone()).build().unwrap();
    (0..100u64).for_each(|key| cache.insert_with_ttl(key, key, SECOND));
    assert!((0..100).filter(|key| cache.get(key).is_some()).count() <= 10);
    clock.advance(3 * SECOND);
    assert_eq!(cache.stats(), Stats::default());
    assert_eq!(cache.stats().hit_rate(), 1.0);
}

/// Reads are counted in every kind of cache.
#[test]
fn reads_are_counted_whatever_else_a_read_does() {
    for idle in [false, true] {
        for capacity in [None, Some(100)] {
            let mut builder = Cache::builder().record_stats().clock(ManualClock::new());
            if idle {
                builder = builder.time_to_idle(60 * SECOND).time_to_live(600 * SECOND);
            }
            if let Some(capacity) = capacity {
                builder = builder.max_capacity(capacity);
            }
            let cache = builder.build().unwrap();
            (0..50u64).for_each(|key| cache.insert(key, key));
            for key in 0..70 {
                let _ = (cache.get(&key), cache.read(&key, |_| ()), cache.read_guard().get(&key).is_some());
            }
            let stats = cache.stats();
            assert_eq!((stats.hits, stats.misses, stats.inserts), (150, 60, 50), "{idle}, {capacity:?}");
        }
    }
}

#[test]
fn several_threads_are_counted_in_sum() {
    const EACH: u64 = 20_000;
    // More of them than have counters of their own.
    const THREADS: u64 = 80;
    let cache = Cache::builder().max_capacity(500).record_stats().build().unwrap();
    let [hits, misses, stored, removed] = [const { AtomicU64::new(0) }; 4];
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (cache, hits, misses, stored, removed) = (&cache, &hits, &misses, &stored, &removed);
            scope.spawn(move || {
                let mut own = [0; 4];
                for step in 0..EACH / 8 {
                    let key = (step * 7919 + thread * 104_729) % 1500;
                    own[usize::from(cache.get(&key).is_some())] += 1;
                    if step % 3 == 0 {
                        cache.insert(key, key);
                        own[2] += 1;
                    }
                    if step % 17 == 0 {
                        own[3] += u64::from(cache.invalidate(&(key + 1)));
                    }
                }
                misses.fetch_add(own[0], Ordering::Relaxed);
                hits.fetch_add(own[1], Ordering::Relaxed);
                stored.fetch_add(own[2], Ordering::Relaxed);
                removed.fetch_add(own[3], Ordering::Relaxed);
            });
        }
    });
    let stats = cache.stats();
    let sum = |count: &AtomicU64| count.load(Ordering::Relaxed);
    assert_eq!((stats.hits, stats.misses), (sum(&hits), sum(&misses)));
    assert_eq!(stats.inserts + stats.replacements, sum(&stored));
    assert_eq!(stats.explicit, sum(&removed));
    assert_eq!((stats.expired, stats.refused), (0, 0));
    assert_eq!(stats.inserts, stats.explicit + stats.evicted + cache.entry_count() as u64);
    assert_eq!(stats.evicted, stats.evicted_weight);
    assert!(
        [stats.hits, stats.misses, stats.evicted, stats.replacements, stats.explicit]
            .iter()
            .all(|&n| n > 100)
    );
}

#[test]
fn garbage_falls_to_nothing() {
    let clock = ManualClock::new();
    let cache =
        Cache::builder().max_capacity(100).shards(1).record_stats().clock(clock.clone()).build().unwrap();
    let guard = cache.read_guard();
    (0..130).for_each(|key| cache.insert(key, Arc::new(key)));
    assert_eq!(cache.stats().garbage, 30);
    assert!(cache.replace(&129, Arc::new(0)).is_ok());
    assert_eq!(cache.stats().garbage, 31);
    clock.advance(SECOND);
    assert_eq!(cache.stats().garbage, 31, "a guard is held");
    drop(guard);
    // Guards of this process's other tests may hold it up.
    let start = Instant::now();
    while cache.stats().garbage != 0 {
        assert!(start.elapsed() < 10 * SECOND, "{:?}", cache.stats());
        cache.run_pending_tasks();
    }
}

#[test]
fn garbage_falls_to_nothing_by_itself() {
    let cache =
        Cache::builder().max_capacity(1000).record_stats().reaper(Reaper::dedicated()).build().unwrap();
    (0..20_000u64).for_each(|key| cache.insert(key, key.to_string()));
    let start = Instant::now();
    while cache.stats().garbage != 0 {
        assert!(start.elapsed() < 10 * SECOND, "{:?}", cache.stats());
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(cache.stats().evicted, 19_000);
}

/// What waits behind a listener is late by as long as that blocks: here it moves the clock.
#[test]
fn the_lag_of_the_reaper_counts_until_it_comes_to_a_shard() {
    let clock = ManualClock::new();
    let (moved, has_moved) = (clock.clone(), AtomicU64::new(0));
    let cache = Cache::builder()
        .shards(2)
        .record_stats()
        .clock(clock.clone())
        .expiration_listener(move |_| {
            if has_moved.fetch_add(1, Ordering::Relaxed) == 0 {
                moved.advance_without_sweeping(10 * SECOND);
            }
        })
        .build()
        .unwrap();
    (0..100u64).for_each(|key| cache.insert_with_ttl(key, key, SECOND));
    clock.advance(SECOND);
    assert_eq!(cache.stats().expired, 100);
    assert_eq!(cache.stats().reaper_lag, 10 * SECOND);
    // The next time it comes in time to both, once it has done what was due while the clock was moved.
    cache.run_pending_tasks();
    (0..100u64).for_each(|key| cache.insert_with_ttl(key, key, SECOND));
    clock.advance(SECOND);
    assert_eq!(cache.stats().reaper_lag, Duration::ZERO);
}

#[test]
fn lateness_is_how_long_after_its_deadline_an_entry_went() {
    let clock = ManualClock::new();
    let cache = Cache::builder().shards(1).record_stats().clock(clock.clone()).build().unwrap();
    // Due at 1 s and swept then: 999, 500, 1 and 0 ms late. What was never visible has no deadline to be late for.
    for millis in [0, 1, 500, 999, 1000] {
        cache.insert_with_ttl(millis, millis, Duration::from_millis(millis));
    }
    clock.advance(SECOND);
    let full = |cache: &Cache<u64, u64>| {
        let lateness = cache.stats().lateness;
        let buckets = lateness.buckets().filter(|(_, count)| *count != 0);
        buckets.map(|(limit, count)| (limit.as_millis(), count)).collect::<Vec<_>>()
    };
    assert_eq!(full(&cache), [(1, 1), (2, 1), (512, 1), (1024, 1)]);
    let lateness = cache.stats().lateness;
    assert_eq!((lateness.count(), cache.stats().expired), (4, 5));
    assert_eq!(lateness.at_most(0.25), Some(Duration::from_millis(1)));
    assert_eq!(lateness.at_most(0.75), Some(Duration::from_millis(512)));
    assert_eq!(lateness.at_most(1.0), Some(Duration::from_millis(1024)));

    // A reaper that comes an hour too late says so. What a reader found over before it is not known to be late.
    cache.insert_with_ttl(1, 1, SECOND);
    cache.insert_with_ttl(2, 2, SECOND);
    clock.advance_without_sweeping(3600 * SECOND);
    assert_eq!(cache.get(&2), None);
    cache.run_pending_tasks();
    assert_eq!((cache.stats().lateness.count(), cache.stats().expired), (5, 7));
    assert_eq!(cache.stats().lateness.at_most(1.0), Some(Duration::MAX));
    assert_eq!(cache.stats().reaper_lag, 3599 * SECOND);
    cache.insert_with_ttl(3, 3, SECOND);
    clock.advance(SECOND);
    assert_eq!(cache.stats().reaper_lag, Duration::ZERO);
}
