//! What an entry that a call comes back with is: what is stored, or not said to be fresh.
//!
//! The bug that this pins: a value that was made while another one was inserted came back as fresh, and was not in the cache. Callers
//! that shared an `Arc<Mutex<_>>` this way lost what they wrote to it: 25 of 3,000.

use crate::waiting::until_waiting;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, CompResult, Entry, Life, LoadError, ManualClock, Op};

type Numbers = Cache<u32, u32>;

/// Each way to make a value under a key, with what happens meanwhile.
type Make = fn(&Numbers, &dyn Fn()) -> Entry<u32, u32>;

const MAKES: &[(&str, Make)] = &[
    ("or_insert_with", |cache, meanwhile| {
        cache.entry(1).or_insert_with(|| {
            meanwhile();
            7
        })
    }),
    ("or_insert_with, by reference", |cache, meanwhile| {
        cache.entry_by_ref(&1).or_insert_with(|| {
            meanwhile();
            7
        })
    }),
    ("or_insert_with_if", |cache, meanwhile| {
        let make = || {
            meanwhile();
            7
        };
        cache.entry(1).or_insert_with_if(make, |_| false)
    }),
    ("or_optionally_insert_with", |cache, meanwhile| {
        let make = || {
            meanwhile();
            Some(7)
        };
        cache.entry(1).or_optionally_insert_with(make).unwrap()
    }),
    ("or_try_insert_with", |cache, meanwhile| {
        let make = || {
            meanwhile();
            Ok::<_, Infallible>(7)
        };
        cache.entry(1).or_try_insert_with(make).unwrap()
    }),
    #[cfg(feature = "async")]
    ("or_insert_with_async", |cache, meanwhile| {
        let make = async {
            meanwhile();
            7
        };
        crate::bare::block_on(cache.entry(1).or_insert_with_async(make))
    }),
    #[cfg(feature = "async")]
    ("or_insert_with_if_async", |cache, meanwhile| {
        let make = async {
            meanwhile();
            7
        };
        crate::bare::block_on(cache.entry(1).or_insert_with_if_async(make, |_| false))
    }),
    #[cfg(feature = "async")]
    ("or_optionally_insert_with_async", |cache, meanwhile| {
        let make = async {
            meanwhile();
            Some(7)
        };
        crate::bare::block_on(cache.entry(1).or_optionally_insert_with_async(make)).unwrap()
    }),
    #[cfg(feature = "async")]
    ("or_try_insert_with_async", |cache, meanwhile| {
        let make = async {
            meanwhile();
            Ok::<_, Infallible>(7)
        };
        crate::bare::block_on(cache.entry(1).or_try_insert_with_async(make)).unwrap()
    }),
];

#[test]
fn what_was_inserted_meanwhile_is_what_comes_back() {
    for (name, make) in MAKES {
        let cache = Numbers::new(10);
        let undisturbed = make(&cache, &|| {});
        assert_eq!(
            (*undisturbed.value(), undisturbed.is_fresh(), cache.get(&1)),
            (7, true, Some(7)),
            "{name}"
        );
        for write in [
            (|cache: &Numbers| cache.insert(1, 5)) as fn(&Numbers),
            |cache| cache.try_insert(1, 5).unwrap(),
            |cache| cache.insert_many([(1, 5)]),
            |cache| {
                cache.insert(2, 5);
                assert!(cache.rename(&2, 1));
            },
        ] {
            cache.invalidate(&1);
            let made = make(&cache, &|| write(&cache));
            assert_eq!((*made.value(), made.is_fresh(), cache.get(&1)), (5, false, Some(5)), "{name}");
            cache.validate();
        }
    }
}

/// What may be older than a removal is not stored, and is not said to be.
#[test]
fn what_was_made_during_a_removal_is_not_fresh() {
    for (name, make) in MAKES {
        let cache = Numbers::new(10);
        let made = make(&cache, &|| assert!(!cache.invalidate(&1)));
        assert_eq!((*made.value(), made.is_fresh(), cache.get(&1)), (7, false, None), "{name}");
        cache.validate();
    }
}

#[test]
fn what_is_too_heavy_is_not_fresh() {
    for (name, make) in MAKES {
        let cache = Cache::builder().max_capacity(5).shards(1).weigher(|_: &u32, value: &u32| *value);
        let cache = cache.build().unwrap();
        let made = make(&cache, &|| {});
        assert_eq!((*made.value(), made.is_fresh(), cache.get(&1)), (7, false, None), "{name}");
        let made = cache.entry(1).and_upsert_with(|_| 7);
        assert_eq!((*made.value(), made.is_fresh(), cache.get(&1)), (7, false, None));
        cache.insert(1, 3);
        let made = cache.entry(1).and_upsert_with(|_| 7);
        assert_eq!((made.is_fresh(), made.is_old_value_replaced(), cache.get(&1)), (false, true, None));
        let result = cache.entry(1).and_compute_with(|_| Op::Put(7));
        assert!(matches!(result, CompResult::Inserted(made) if !made.is_fresh()));
        assert!(cache.entry(1).and_upsert_with(|_| 4).is_fresh());
    }
}

/// Who waited for a loader, and was told what it made in vain, has what is stored.
#[test]
fn who_waited_gets_what_is_stored() {
    let clock = ManualClock::new();
    let cache = Cache::builder().max_capacity(10).clock(clock).build().unwrap();
    let shared = |number: u32| Arc::new(Mutex::new(number));
    for removed in [false, true] {
        cache.invalidate(&1);
        let both = Barrier::new(2);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                both.wait();
                cache.entry(1).or_insert_with(|| shared(8))
            });
            let leader = cache.entry(1).or_insert_with(|| {
                both.wait();
                until_waiting(&cache, 1);
                cache.insert(1, shared(5));
                if removed {
                    cache.invalidate(&1);
                }
                shared(7)
            });
            let waiter = waiter.join().unwrap();
            let stored = cache.get(&1).unwrap();
            assert!(Arc::ptr_eq(waiter.value(), &stored), "it is not what is stored");
            if removed {
                // The leader looks once its turn is over. By then, the waiter may have stored its own.
                let is_own = *leader.value().lock().unwrap() == 7;
                assert!(is_own || Arc::ptr_eq(leader.value(), &stored), "neither its own nor what is stored");
                assert!(!leader.is_fresh() && waiter.is_fresh() && *stored.lock().unwrap() == 8);
            } else {
                assert!(Arc::ptr_eq(leader.value(), &stored) && !leader.is_fresh() && !waiter.is_fresh());
            }
        });
        cache.validate();
    }
}

/// Callers that share what they find or make, and one who inserts in between: nothing that is written to it is lost.
#[test]
fn what_callers_share_is_one_for_all() {
    const ROUNDS: u32 = 3_000;
    let cache: Cache<u32, Arc<AtomicU32>> = Cache::builder().build().unwrap();
    let (start, fresh) = (Barrier::new(3), AtomicU32::new(0));
    let mut lost = 0;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for key in 0..ROUNDS {
                    start.wait();
                    let entry = cache.entry(key).or_insert_with(|| {
                        thread::yield_now();
                        Arc::default()
                    });
                    fresh.fetch_add(u32::from(entry.is_fresh()), Ordering::Relaxed);
                    entry.into_value().fetch_add(1, Ordering::Relaxed);
                    start.wait();
                }
            });
        }
        for key in 0..ROUNDS {
            start.wait();
            // It comes first, or between, or finds theirs.
            let is_inserted = cache.try_insert(key, Arc::default()).is_ok();
            start.wait();
            let stored = cache.get(&key).unwrap();
            let is_one = fresh.swap(0, Ordering::Relaxed) == u32::from(!is_inserted);
            lost += u32::from(!is_one || stored.load(Ordering::Relaxed) != 2);
        }
    });
    assert_eq!(lost, 0, "of {ROUNDS}");
    cache.validate();
}

/// A timeout that nobody comes to changes nothing: what was made is fresh, and lives as it would without.
#[test]
fn with_a_timeout_each_selector_says_what_it_made_and_how_long_that_lives() {
    let seconds = Duration::from_secs;
    let cache: Cache<u32, u32> =
        Cache::builder().clock(ManualClock::new()).time_to_live(seconds(100)).build().unwrap();
    let entry = |key| cache.entry(key).timeout(Duration::ZERO);
    let said = |made: Entry<u32, u32>| (made.is_fresh(), *made.value(), cache.remaining_ttl(made.key()));
    let usual = Some(seconds(100));
    assert_eq!(said(entry(1).or_insert(5).unwrap()), (true, 5, usual));
    assert_eq!(said(entry(1).or_insert(6).unwrap()), (false, 5, usual));
    assert_eq!(said(entry(2).or_default().unwrap()), (true, 0, usual));
    assert_eq!(said(entry(1).or_default().unwrap()), (false, 5, usual));
    assert_eq!(entry(3).or_optionally_insert_with(|| None), Ok(None));
    assert_eq!(said(entry(3).or_optionally_insert_with(|| Some(7)).unwrap().unwrap()), (true, 7, usual));
    assert_eq!(said(entry(3).or_optionally_insert_with(|| None).unwrap().unwrap()), (false, 7, usual));
    assert!(
        matches!(entry(4).or_try_insert_with(|| Err("no")), Err(LoadError::Failed(error)) if *error == "no")
    );
    assert_eq!(said(entry(4).or_try_insert_with(|| Ok::<_, ()>(8)).unwrap()), (true, 8, usual));
    assert_eq!(said(entry(4).or_try_insert_with(|| Err("no")).unwrap()), (false, 8, usual));

    let short = Life::Ttl(seconds(9));
    assert_eq!(said(entry(5).with_life(short).or_insert(9).unwrap()), (true, 9, Some(seconds(9))));
    assert_eq!(said(entry(6).with_life(Life::Endless).or_default().unwrap()), (true, 0, Some(Duration::MAX)));
    // Who finds something changes nothing of its life.
    assert_eq!(said(entry(5).with_life(Life::Endless).or_insert(1).unwrap()), (false, 9, Some(seconds(9))));
    cache.validate();
}
