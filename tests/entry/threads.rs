//! Entries that are computed from what is there: one after the other, and never over a write that came between.

use crate::waiting::until_waiting;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tidewheel::{
    Cache, CompResult, Entry, Expiry, Life, LoadError, ManualClock, Op, Reaper, RemovalCause, TimedOut,
};

type Numbers = Cache<u32, u64>;

/// What a closure is shown, as a number.
fn shown(found: Option<Entry<u32, u64>>) -> Option<u64> {
    found.map(Entry::into_value)
}

fn value_of(result: CompResult<u32, u64>) -> u64 {
    result.unwrap().into_value()
}

/// A computation of key 1 that does `between` while its closure runs for the first time, and then stores what it was
/// shown and ten. What it was shown, each time, and what came of it.
fn disturbed(cache: &Numbers, between: impl Fn(&Numbers)) -> (Vec<Option<u64>>, CompResult<u32, u64>) {
    let mut seen = Vec::new();
    let result = cache.entry(1).and_compute_with(|found| {
        let found = shown(found);
        seen.push(found);
        if seen.len() == 1 {
            between(cache);
        }
        Op::Put(found.unwrap_or(0) + 10)
    });
    cache.validate();
    (seen, result)
}

#[test]
fn each_answer_to_each_state() {
    let cache = Numbers::new(10);
    let compute = |op: Op<u64>| {
        let mut seen = None;
        let result = cache.entry(1).and_compute_with(|found| {
            assert!(found.as_ref().is_none_or(|found| *found.key() == 1 && !found.is_fresh()));
            seen = shown(found);
            op.clone()
        });
        (seen, result)
    };
    assert_eq!(compute(Op::Nop), (None, CompResult::StillNone(1)));
    assert_eq!(compute(Op::Remove), (None, CompResult::StillNone(1)));
    let (seen, inserted) = compute(Op::Put(5));
    let CompResult::Inserted(entry) = inserted else { panic!("{inserted:?}") };
    assert_eq!((seen, entry.is_fresh(), entry.is_old_value_replaced()), (None, true, false));
    let (seen, replaced) = compute(Op::Put(6));
    let CompResult::ReplacedWith(entry) = replaced else { panic!("{replaced:?}") };
    assert_eq!((seen, *entry.value()), (Some(5), 6));
    assert!(entry.is_fresh() && entry.is_old_value_replaced());
    let (seen, unchanged) = compute(Op::Nop);
    let CompResult::Unchanged(entry) = unchanged else { panic!("{unchanged:?}") };
    assert_eq!((seen, *entry.value(), entry.is_fresh()), (Some(6), 6, false));
    let (_, removed) = compute(Op::Remove);
    let CompResult::Removed(entry) = removed else { panic!("{removed:?}") };
    assert_eq!((*entry.value(), cache.get(&1)), (6, None));
    cache.validate();
}

#[test]
fn the_selectors_that_only_fill() {
    let cache = Numbers::new(10);
    assert!(cache.entry(1).or_insert(3).is_fresh());
    assert!(!cache.entry_by_ref(&1).or_insert_with(|| unreachable!("it is there")).is_fresh());
    assert_eq!(cache.entry(2).or_default().into_value(), 0);
    assert_eq!(cache.entry_by_ref(&3).or_optionally_insert_with(|| None), None);
    assert_eq!(cache.entry(3).or_optionally_insert_with(|| Some(4)).map(Entry::into_value), Some(4));
    assert_eq!(*cache.entry(4).or_try_insert_with(|| Err::<u64, _>("no")).unwrap_err(), "no");
    assert_eq!(cache.entry(4).or_try_insert_with(|| Ok::<_, ()>(5)).unwrap().into_value(), 5);
    let kept = cache.entry(4).or_insert_with_if(|| unreachable!("it is good"), |old| *old == 6);
    assert_eq!((kept.is_fresh(), kept.into_value()), (false, 5));
    let anew = cache.entry_by_ref(&4).or_insert_with_if(|| 6, |old| *old == 5);
    assert_eq!((anew.is_fresh(), anew.is_old_value_replaced(), anew.into_value()), (true, true, 6));
    let first = cache.entry(5).or_insert_with_if(|| 7, |_| unreachable!("there is none"));
    assert_eq!((first.is_fresh(), first.is_old_value_replaced(), first.into_value()), (true, false, 7));
    assert_eq!(cache.get(&4), Some(6));
    cache.validate();
}

/// Half of the threads count by computing and half by `update`: none of them loses what another one counted. Where
/// the cache forgets entries, each life of the counter is told by the listener, or by whoever ends it.
fn count_together(cache: &Numbers, forgets: bool, lost: &Mutex<u64>) {
    const THREADS: u64 = 8;
    const EACH: u64 = 3_000;
    let updates = Mutex::new(0);
    let start = Barrier::new(THREADS as usize);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (start, updates) = (&start, &updates);
            scope.spawn(move || {
                start.wait();
                for round in 0..EACH {
                    if thread % 2 == 0 {
                        cache.entry(1).and_upsert_with(|found| shown(found).unwrap_or(0) + 1);
                    } else if cache.update(&1, |n| n + 1) {
                        *updates.lock().unwrap() += 1;
                    }
                    if forgets && round % 16 == 0 {
                        // Others want room, too.
                        cache.insert((2 + thread * EACH + round) as u32, 0);
                    }
                }
            });
        }
    });
    let expected = THREADS / 2 * EACH + *updates.lock().unwrap();
    let last = cache.entry(1).and_compute_with(|_| Op::Remove).into_entry().map_or(0, Entry::into_value);
    // That is told of, too; or it had expired, and whoever puts something in its place comes across it.
    cache.insert(1, 0);
    cache.run_pending_tasks();
    let told = *lost.lock().unwrap();
    assert_eq!(if forgets { told } else { last }, expected);
    cache.validate();
}

/// Sums the lives of key 1 that were not followed by another value.
fn ledger_of_lives() -> (Arc<Mutex<u64>>, impl Fn(&u32, &u64, RemovalCause) + Send + Sync + 'static) {
    let lost = Arc::new(Mutex::new(0));
    let sum = lost.clone();
    let listener = move |key: &u32, value: &u64, cause| {
        if *key == 1 && cause != RemovalCause::Replaced {
            *sum.lock().unwrap() += value;
        }
    };
    (lost, listener)
}

#[test]
fn no_count_is_lost() {
    count_together(&Numbers::builder().build().unwrap(), false, &Mutex::new(0));
}

#[test]
fn no_count_is_lost_where_entries_are_evicted() {
    let (lost, listener) = ledger_of_lives();
    let cache = Numbers::builder().max_capacity(2).shards(1).eviction_listener(listener).build().unwrap();
    count_together(&cache, true, &lost);
}

#[test]
fn no_count_is_lost_where_entries_expire() {
    let (lost, listener) = ledger_of_lives();
    // So short that it ends between a look and the end of a turn.
    let life = Duration::from_micros(30);
    let cache = Numbers::builder()
        .shards(1)
        .time_to_live(life)
        .reaper(Reaper::manual())
        .eviction_listener(listener)
        .build()
        .unwrap();
    count_together(&cache, true, &lost);
}

#[test]
fn closures_of_one_key_run_one_at_a_time_and_those_of_others_beside() {
    let cache = Numbers::new(100);
    let inside = AtomicU32::new(0);
    let start = Barrier::new(6);
    let alone = |work: u64| {
        assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0, "two at once");
        thread::yield_now();
        inside.fetch_sub(1, Ordering::Relaxed);
        work
    };
    thread::scope(|scope| {
        for thread in 0..6 {
            let (cache, alone, start) = (&cache, &alone, &start);
            scope.spawn(move || {
                start.wait();
                for round in 0..500 {
                    match (thread + round) % 5 {
                        0 => drop(cache.entry(1).and_upsert_with(|_| alone(1))),
                        1 => drop(
                            cache
                                .entry(1)
                                .and_compute_with(|_| [Op::Nop, Op::Remove][alone(0) as usize].clone()),
                        ),
                        2 => drop(cache.entry(1).and_try_compute_with(|_| Err::<Op<u64>, _>(alone(1)))),
                        // What loads may run beside them, once it was invalidated.
                        3 => drop(cache.entry(1).or_insert_with_if(|| 1, |_| true)),
                        _ => {
                            cache.invalidate(&1);
                            cache.get_with(1, || 1);
                        }
                    }
                }
            });
        }
    });
    // A closure of key 1 that lasts as long as that of key 2 has not ended: they meet, or neither ends.
    let meeting = Barrier::new(2);
    thread::scope(|scope| {
        for key in [1, 2] {
            let (cache, meeting) = (&cache, &meeting);
            scope.spawn(move || {
                let mut has_met = false;
                cache.entry(key).and_upsert_with(|_| {
                    if !std::mem::replace(&mut has_met, true) {
                        meeting.wait();
                    }
                    u64::from(key)
                })
            });
        }
    });
    cache.validate();
}

#[test]
fn what_is_written_meanwhile_is_computed_from() {
    let there: &[fn(&Numbers)] = &[
        |cache| cache.insert(1, 5),
        |cache| cache.insert_with_ttl(1, 5, Duration::from_secs(60)),
        |cache| assert_eq!(cache.replace(&1, 5), Ok(())),
        |cache| assert!(cache.update(&1, |n| n + 4)),
        |cache| {
            cache.insert(2, 5);
            assert!(cache.rename(&2, 1));
        },
        |cache| {
            assert!(cache.invalidate(&1));
            assert_eq!(cache.try_insert(1, 5), Ok(()));
        },
        |cache| {
            cache.invalidate_all();
            cache.insert(1, 5);
        },
    ];
    let gone: &[fn(&Numbers)] = &[
        |cache| assert!(cache.invalidate(&1)),
        |cache| assert_eq!(cache.remove(&1), Some(1)),
        |cache| assert_eq!(cache.remove_if(&1, |n| *n == 1), Some(1)),
        |cache| assert!(cache.rename(&1, 2)),
        Cache::invalidate_all,
    ];
    for (betweens, then) in [(there, Some(5)), (gone, None)] {
        for between in betweens {
            let cache = Numbers::builder().build().unwrap();
            cache.insert(1, 1);
            let (seen, result) = disturbed(&cache, between);
            assert_eq!(seen, [Some(1), then]);
            assert_eq!(matches!(result, CompResult::ReplacedWith(_)), then.is_some());
            assert_eq!(value_of(result), then.unwrap_or(0) + 10);
            assert_eq!(cache.get(&1), Some(then.unwrap_or(0) + 10));
        }
    }
    // Where there was nothing.
    for between in [(|cache: &Numbers| cache.insert(1, 5)) as fn(&Numbers), |cache| {
        assert_eq!(cache.try_insert(1, 5), Ok(()));
    }] {
        let cache = Numbers::builder().build().unwrap();
        let (seen, result) = disturbed(&cache, between);
        assert_eq!((seen, value_of(result)), (vec![None, Some(5)], 15));
    }
    // The same value again is another one.
    let cache = Numbers::builder().build().unwrap();
    cache.insert(1, 1);
    let (seen, _) = disturbed(&cache, |cache| cache.insert(1, 1));
    assert_eq!(seen, [Some(1), Some(1)]);
}

#[test]
fn what_leaves_the_value_is_no_reason_to_compute_again() {
    let clock = ManualClock::new();
    let ttl = Duration::from_secs(5);
    for between in [
        (|cache: &Numbers| assert!(cache.touch(&1))) as fn(&Numbers),
        |cache| assert!(cache.set_ttl(&1, Duration::from_secs(9))),
        |cache| assert!(cache.persist(&1)),
        |cache| assert_eq!(cache.get(&1), Some(1)),
        |cache| cache.insert(2, 2),
        |cache| assert!(cache.invalidate(&2)),
        |cache| assert_eq!(cache.entry(2).or_insert(3).into_value(), 2),
    ] {
        let cache = Numbers::builder().time_to_live(ttl).clock(clock.clone()).build().unwrap();
        cache.insert(1, 1);
        cache.insert(2, 2);
        let (seen, result) = disturbed(&cache, between);
        assert_eq!((seen, value_of(result)), (vec![Some(1)], 11));
    }
    // The times are those at the end.
    let cache = Numbers::builder().time_to_live(ttl).clock(clock.clone()).build().unwrap();
    cache.insert(1, 1);
    disturbed(&cache, |cache| assert!(cache.set_ttl(&1, Duration::from_secs(9))));
    assert_eq!(cache.remaining_ttl(&1), Some(Duration::from_secs(9)));
}

#[test]
fn what_expires_meanwhile_is_not_revived() {
    let clock = ManualClock::new();
    for (sweeps, ends) in [(true, false), (false, false), (false, true)] {
        let (heard, listener) = heard();
        let cache = Numbers::builder()
            .time_to_live(Duration::from_secs(5))
            .clock(clock.clone())
            .eviction_listener(listener)
            .build()
            .unwrap();
        cache.insert(1, 1);
        clock.advance(Duration::from_secs(3));
        let (seen, result) = disturbed(&cache, |cache| match (sweeps, ends) {
            (true, _) => clock.advance(Duration::from_secs(3)),
            (false, false) => clock.advance_without_sweeping(Duration::from_secs(3)),
            (false, true) => assert!(cache.set_ttl(&1, Duration::ZERO)),
        });
        assert_eq!(seen, [Some(1), None]);
        assert!(matches!(&result, CompResult::Inserted(_)));
        assert_eq!(value_of(result), 10);
        // A new one: with an age of its own.
        let guard = cache.read_guard();
        assert_eq!(guard.entry(&1).unwrap().age(), Duration::ZERO);
        drop(guard);
        clock.advance(Duration::from_secs(1));
        assert_eq!(*heard.lock().unwrap(), [(1, 1, RemovalCause::Expired)]);
        cache.validate();
    }
}

#[test]
fn what_is_evicted_meanwhile_is_gone() {
    let cache = Numbers::builder().max_capacity(1).shards(1).build().unwrap();
    cache.insert(1, 1);
    let (seen, result) = disturbed(&cache, |cache| {
        for key in 2..100 {
            cache.insert(key, 0);
        }
        assert!(!cache.contains_key(&1));
    });
    assert_eq!((seen, value_of(result)), (vec![Some(1), None], 10));
    // And what comes back after it is another one.
    let cache = Numbers::builder().max_capacity(1).shards(1).build().unwrap();
    cache.insert(1, 1);
    let (seen, _) = disturbed(&cache, |cache| {
        (2..100).for_each(|key| cache.insert(key, 0));
        assert!(!cache.contains_key(&1));
        cache.insert(1, 1);
    });
    assert_eq!(seen, [Some(1), Some(1)]);
    let cache = Numbers::builder().max_capacity(1).shards(1).build().unwrap();
    cache.insert(1, 1);
    let (seen, _) = disturbed(&cache, |cache| cache.set_max_capacity(0).unwrap());
    assert_eq!(seen, [Some(1), None]);
    assert_eq!(cache.get(&1), None);
}

#[test]
fn an_answer_that_changes_nothing_is_about_what_is_there_in_the_end() {
    for op in [Op::Nop, Op::Remove] {
        let cache = Numbers::builder().build().unwrap();
        let mut seen = Vec::new();
        let result = cache.entry(1).and_compute_with(|found| {
            seen.push(shown(found));
            if seen.len() == 1 {
                cache.insert(1, 5);
            }
            op.clone()
        });
        assert_eq!((&seen[..], value_of(result)), (&[None, Some(5)][..], 5));
        assert_eq!(cache.contains_key(&1), op == Op::Nop);
    }
}

type Heard = Arc<Mutex<Vec<(u32, u64, RemovalCause)>>>;

fn heard() -> (Heard, impl Fn(&u32, &u64, RemovalCause) + Send + Sync + 'static) {
    let heard = Heard::default();
    let sink = heard.clone();
    (heard, move |key: &u32, value: &u64, cause| sink.lock().unwrap().push((*key, *value, cause)))
}

#[test]
fn the_listener_hears_of_each_value_once() {
    let (heard, listener) = heard();
    let cache = Numbers::builder().eviction_listener(listener).build().unwrap();
    cache.entry(1).and_upsert_with(|_| 1);
    cache.entry(1).and_upsert_with(|_| 2);
    let _ = cache.entry(1).and_compute_with(|_| Op::Nop);
    let _ = cache.entry(1).and_compute_with(|_| Op::Put(3));
    let _ = cache.entry(1).and_compute_with(|_| Op::Remove);
    let _ = cache.entry(1).and_compute_with(|_| Op::Remove);
    cache.entry(1).or_insert(4);
    cache.entry(1).or_insert_with_if(|| 5, |_| true);
    use RemovalCause::{Explicit, Replaced};
    let told = [(1, 1, Replaced), (1, 2, Replaced), (1, 3, Explicit), (1, 4, Replaced)];
    assert_eq!(*heard.lock().unwrap(), told);
    // What was computed in vain was never there.
    heard.lock().unwrap().clear();
    disturbed(&cache, |cache| cache.insert(1, 6));
    assert_eq!(*heard.lock().unwrap(), [(1, 5, Replaced), (1, 6, Replaced)]);
}

#[test]
fn a_listener_may_compute_the_same_key() {
    let cache = Arc::new(Mutex::new(None::<tidewheel::WeakCache<u32, u64>>));
    let inner = cache.clone();
    let counted = Numbers::builder()
        .eviction_listener(move |key: &u32, value: &u64, _| {
            if *value < 3 {
                let cache = inner.lock().unwrap().clone().unwrap().upgrade().unwrap();
                cache.entry(*key).and_upsert_with(|found| shown(found).unwrap() + 10);
            }
        })
        .build()
        .unwrap();
    *cache.lock().unwrap() = Some(counted.downgrade());
    counted.insert(1, 1);
    counted.entry(1).and_upsert_with(|_| 5);
    assert_eq!(counted.get(&1), Some(15));
}

#[test]
fn weights_are_those_of_what_is_stored() {
    let weigher = |_: &u32, value: &u64| u32::try_from(*value).unwrap();
    let (heard, listener) = heard();
    let cache =
        Numbers::builder().max_capacity(100).shards(1).weigher(weigher).eviction_listener(listener).build();
    let cache = cache.unwrap();
    cache.entry(1).and_upsert_with(|_| 30);
    cache.entry(2).and_upsert_with(|_| 30);
    assert_eq!(cache.weighted_size(), 60);
    cache.entry(1).and_upsert_with(|found| shown(found).unwrap() + 20);
    assert_eq!(cache.weighted_size(), 80);
    cache.entry(1).and_upsert_with(|found| shown(found).unwrap() + 40);
    assert_eq!((cache.weighted_size(), cache.get(&2)), (90, None));
    // Too heavy: told, and not kept, and what it was to replace goes.
    heard.lock().unwrap().clear();
    let entry = cache.entry(1).and_upsert_with(|_| 101);
    assert_eq!((entry.value(), entry.is_old_value_replaced()), (&101, true));
    let entry = cache.entry(3).and_upsert_with(|_| 102);
    assert_eq!((entry.value(), entry.is_old_value_replaced()), (&102, false));
    assert_eq!((cache.weighted_size(), cache.entry_count()), (0, 0));
    use RemovalCause::{Replaced, Size};
    assert_eq!(*heard.lock().unwrap(), [(1, 90, Replaced), (1, 101, Size), (3, 102, Size)]);
    cache.validate();
}

#[test]
fn an_update_restarts_the_time_to_live_and_keeps_the_age() {
    let clock = ManualClock::new();
    let ttl = Duration::from_secs(5);
    let cache = Numbers::builder()
        .time_to_live(ttl)
        .max_age(Duration::from_secs(60))
        .clock(clock.clone())
        .build()
        .unwrap();
    cache.insert(1, 1);
    cache.insert_with_ttl(2, 1, Duration::from_secs(9));
    clock.advance(Duration::from_secs(3));
    for key in [1, 2] {
        cache.entry(key).and_upsert_with(|found| shown(found).unwrap() + 1);
    }
    let _ = cache.entry(3).and_compute_with(|_| Op::Put(0));
    let guard = cache.read_guard();
    for (key, left, age) in [(1, 5, 3), (2, 9, 3), (3, 5, 0)] {
        let entry = guard.entry(&key).unwrap();
        assert_eq!(entry.remaining_ttl(), Duration::from_secs(left), "{key}");
        assert_eq!(entry.age(), Duration::from_secs(age), "{key}");
    }
    drop(guard);
    clock.advance(Duration::from_secs(1));
    let _ = cache.entry(1).and_compute_with(|_| Op::Nop);
    assert_eq!(cache.remaining_ttl(&1), Some(Duration::from_secs(4)), "nothing is done");
}

/// Answers with a second more than the value, and notes what it is asked.
struct Asked(Arc<Mutex<Vec<Question>>>);

/// On what occasion, the value, and what was left in seconds.
type Question = (&'static str, u64, Option<u64>);

impl Expiry<u32, u64> for Asked {
    fn expire_after_create(&self, _: &u32, value: &u64) -> Option<Duration> {
        self.0.lock().unwrap().push(("created", *value, None));
        Some(Duration::from_secs(value + 1))
    }

    fn expire_after_update(&self, _: &u32, value: &u64, left: Option<Duration>) -> Option<Duration> {
        self.0.lock().unwrap().push(("updated", *value, left.map(|left| left.as_secs())));
        Some(Duration::from_secs(value + 1))
    }
}

#[test]
fn an_expiry_is_asked_about_what_is_stored() {
    let clock = ManualClock::new();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let cache = Numbers::builder().expire_after(Asked(asked.clone())).clock(clock.clone()).build().unwrap();
    cache.entry(1).and_upsert_with(|_| 4);
    assert_eq!(cache.remaining_ttl(&1), Some(Duration::from_secs(5)));
    clock.advance(Duration::from_secs(2));
    cache.entry(1).and_upsert_with(|_| 8);
    assert_eq!(cache.remaining_ttl(&1), Some(Duration::from_secs(9)));
    cache.entry(1).or_insert_with_if(|| 9, |_| true);
    assert_eq!(cache.remaining_ttl(&1), Some(Duration::from_secs(10)));
    let _ = cache.entry(1).and_compute_with(|_| Op::Nop);
    let _ = cache.entry(1).and_compute_with(|_| Op::Remove);
    let told = [("created", 4, None), ("updated", 8, Some(3)), ("updated", 9, Some(9))];
    assert_eq!(*asked.lock().unwrap(), told);
    // What is there at the end counts.
    cache.insert(1, 1);
    asked.lock().unwrap().clear();
    disturbed(&cache, |_| clock.advance(Duration::from_secs(2)));
    assert_eq!(*asked.lock().unwrap(), [("created", 10, None)]);
}

/// An `Expiry` that writes to the key which it is asked about, once.
struct Meddling(Mutex<Option<tidewheel::WeakCache<u32, u64>>>);

impl Expiry<u32, u64> for Meddling {
    fn expire_after_update(&self, key: &u32, _: &u64, left: Option<Duration>) -> Option<Duration> {
        if let Some(cache) = self.0.lock().unwrap().take() {
            cache.upgrade().unwrap().invalidate(key);
        }
        left
    }
}

#[test]
fn a_write_after_the_closure_is_seen_too() {
    let meddling = Arc::new(Meddling(Mutex::new(None)));
    struct Shared(Arc<Meddling>);
    impl Expiry<u32, u64> for Shared {
        fn expire_after_update(&self, key: &u32, value: &u64, left: Option<Duration>) -> Option<Duration> {
            self.0.expire_after_update(key, value, left)
        }
    }
    let cache = Numbers::builder().expire_after(Shared(meddling.clone())).build().unwrap();
    cache.insert(1, 1);
    *meddling.0.lock().unwrap() = Some(cache.downgrade());
    let (seen, result) = disturbed(&cache, |_| {});
    assert_eq!((seen, value_of(result)), (vec![Some(1), None], 10));
}

#[test]
fn a_panic_or_an_error_changes_nothing_and_gives_the_turn_back() {
    let (heard, listener) = heard();
    let cache = Numbers::builder().eviction_listener(listener).build().unwrap();
    cache.insert(1, 1);
    let (go_on, gate): (_, Receiver<()>) = channel();
    let (begun, has_begun) = channel();
    let first = {
        let cache = cache.clone();
        thread::spawn(move || {
            cache.entry(1).and_upsert_with(|_| {
                begun.send(()).unwrap();
                gate.recv().unwrap();
                panic!("the closure is told to fail")
            })
        })
    };
    has_begun.recv().unwrap();
    let others: Vec<_> = (0..3)
        .map(|_| {
            let cache = cache.clone();
            thread::spawn(move || {
                cache.entry(1).and_try_compute_with(|found| Err::<Op<u64>, _>(shown(found)))
            })
        })
        .collect();
    until_waiting(&cache, 3);
    // Reads and plain writes wait for none of them.
    assert_eq!(cache.get(&1), Some(1));
    cache.insert(1, 2);
    go_on.send(()).unwrap();
    assert!(first.join().is_err());
    for other in others {
        assert_eq!(other.join().unwrap(), Err(Some(2)));
    }
    assert_eq!(cache.get(&1), Some(2));
    assert_eq!(*heard.lock().unwrap(), [(1, 1, RemovalCause::Replaced)]);
    cache.validate();
}

#[test]
fn who_asks_for_the_same_key_from_within_is_told_so() {
    let cache = Numbers::new(10);
    let ways: &[fn(&Numbers) -> u64] = &[
        |cache| cache.entry(1).and_upsert_with(|_| 1).into_value(),
        |cache| cache.entry(1).or_insert(1).into_value(),
        |cache| cache.get_with(1, || 1),
        |cache| cache.entry(1).or_insert_with_if(|| 1, |_| true).into_value(),
    ];
    for inner in ways {
        for outer in 0..3 {
            cache.invalidate(&1);
            let nested = catch_unwind(AssertUnwindSafe(|| match outer {
                0 => cache.entry(1).and_upsert_with(|_| inner(&cache)).into_value(),
                1 => cache.entry(1).or_insert_with(|| inner(&cache)).into_value(),
                _ => cache.entry(1).or_insert_with_if(|| inner(&cache), |_| true).into_value(),
            }));
            let message = *nested.unwrap_err().downcast::<&str>().unwrap();
            assert!(message.contains("would wait for itself"), "{message}");
            cache.validate();
        }
    }
    // Other keys are fine.
    let sum = cache.entry(1).and_upsert_with(|_| 1 + cache.entry(2).and_upsert_with(|_| 2).into_value());
    assert_eq!(sum.into_value(), 3);
}

/// A value whose clones are counted, and which asks for its own key when it is dropped or cloned.
struct Needy {
    cache: tidewheel::WeakCache<u32, Needy>,
    on_drop: bool,
    on_clone: bool,
}

impl Needy {
    fn ask(&self) {
        if let Some(cache) = self.cache.upgrade() {
            cache.entry(1).and_upsert_with(|_| Self {
                cache: cache.downgrade(),
                on_drop: false,
                on_clone: false,
            });
        }
    }
}

impl Clone for Needy {
    fn clone(&self) -> Self {
        if self.on_clone {
            self.ask();
        }
        Self { cache: self.cache.clone(), on_drop: false, on_clone: false }
    }
}

impl Drop for Needy {
    fn drop(&mut self) {
        if self.on_drop && !thread::panicking() {
            self.ask();
        }
    }
}

#[test]
fn user_code_beside_the_closure_does_not_wait_for_itself_either() {
    let cache: Cache<u32, Needy> = Cache::builder().build().unwrap();
    let value = |on_clone, on_drop| Needy { cache: cache.downgrade(), on_clone, on_drop };
    let nested = |run: &dyn Fn()| {
        let message = *catch_unwind(AssertUnwindSafe(run)).unwrap_err().downcast::<&str>().unwrap();
        assert!(message.contains("would wait for itself"), "{message}");
        cache.validate();
    };
    // The clone that is shown, and that which is told.
    cache.insert(1, value(true, false));
    nested(&|| drop(cache.entry(1).and_compute_with(|_| Op::Nop)));
    cache.insert(1, value(false, false));
    nested(&|| drop(cache.entry(1).and_upsert_with(|_| value(true, false))));
    // What was computed in vain, as it is dropped.
    nested(&|| {
        let mut runs = 0;
        let _ = cache.entry(1).and_compute_with(|_| {
            runs += 1;
            cache.insert(1, value(false, false));
            Op::Put(value(false, true))
        });
    });
    assert!(cache.contains_key(&1));
}

#[test]
fn what_was_made_over_is_not_stored_over_a_write_that_came_between() {
    let load = |cache: &Numbers, between: fn(&Numbers), (value, is_fresh)| {
        let mut runs = 0;
        let init = || {
            runs += 1;
            between(cache);
            7
        };
        let entry = cache.entry(1).or_insert_with_if(init, |old| *old < 5);
        assert_eq!((runs, entry.is_fresh(), *entry.value()), (1, is_fresh, value));
        cache.validate();
        entry.is_old_value_replaced()
    };
    let with = |value| {
        let cache = Numbers::builder().max_capacity(1).shards(1).build().unwrap();
        cache.insert(1, value);
        cache
    };
    let cache = with(1);
    assert!(load(&cache, |_| {}, (7, true)));
    assert_eq!(cache.get(&1), Some(7));
    let cache = with(1);
    assert!(!load(&cache, |cache| cache.insert(1, 6), (6, false)));
    assert_eq!(cache.get(&1), Some(6));
    let cache = with(1);
    assert!(!load(&cache, |cache| assert!(cache.invalidate(&1)), (7, false)));
    assert_eq!(cache.get(&1), None, "it may be older than the removal");
    // That it went by itself says nothing against the new one.
    let cache = with(1);
    assert!(!load(&cache, |cache| (2..50).for_each(|key| cache.insert(key, 0)), (7, true)));
    assert_eq!(cache.get(&1), Some(7));
}

#[test]
fn of_many_who_find_it_out_of_date_one_makes_it_anew() {
    let cache = Numbers::new(10);
    cache.insert(1, 1);
    let (runs, start) = (AtomicU32::new(0), Barrier::new(8));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                let init = || {
                    thread::sleep(Duration::from_millis(20));
                    runs.fetch_add(1, Ordering::Relaxed);
                    7
                };
                assert_eq!(cache.entry(1).or_insert_with_if(init, |old| *old < 7).into_value(), 7);
            });
        }
    });
    assert_eq!(runs.into_inner(), 1);
}

#[test]
fn who_waits_too_long_for_a_turn_is_told_so() {
    let cache = Numbers::new(10);
    let timeout = Duration::from_millis(20);
    // Two who compute, each with a look at the other's key: the way out of it.
    let meeting = Barrier::new(2);
    let outcomes: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = [(1, 2), (2, 1)]
            .map(|(mine, other)| {
                let (cache, meeting) = (&cache, &meeting);
                scope.spawn(move || {
                    let mut outcome = None;
                    cache.entry(mine).and_upsert_with(|_| {
                        meeting.wait();
                        let began = Instant::now();
                        let result = cache.entry(other).timeout(timeout).and_upsert_with(|_| 5);
                        assert!(result.is_ok() || began.elapsed() >= timeout);
                        outcome = Some(result.map(Entry::into_value));
                        meeting.wait();
                        7
                    });
                    outcome.unwrap()
                })
            })
            .into();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for outcome in outcomes {
        assert!(matches!(outcome, Err(TimedOut { timeout: told, .. }) if told == timeout));
    }
    assert_eq!((cache.get(&1), cache.get(&2)), (Some(7), Some(7)));
    let late = |cache: &Numbers| {
        assert!(cache.entry(1).timeout(timeout).and_compute_with(|_| Op::Put(1)).is_err());
        assert!(cache.entry(1).timeout(timeout).and_try_compute_with(|_| Ok::<_, ()>(Op::Put(1))).is_err());
    };
    cache.entry(1).and_upsert_with(|_| {
        thread::scope(|scope| scope.spawn(|| late(&cache)).join().unwrap());
        8
    });
    assert_eq!(cache.get(&1), Some(8));
    assert!(cache.entry(1).timeout(timeout).and_compute_with(|_| Op::Nop).is_ok());
    cache.validate();
}

#[test]
fn who_waits_too_long_for_a_value_is_told_so() {
    let cache = Numbers::new(10);
    let timeout = Duration::from_millis(20);
    let of_other = || -> u64 { unreachable!("it is not its turn") };
    let late = || {
        let entry = || cache.entry(1).timeout(timeout);
        let began = Instant::now();
        assert!(matches!(entry().or_insert(1), Err(TimedOut { timeout: told, .. }) if told == timeout));
        assert!(entry().or_default().is_err());
        assert!(entry().with_life(Life::Keep).or_insert_with(of_other).is_err());
        assert!(entry().or_insert_with_if(of_other, |_| true).is_err());
        assert!(entry().or_optionally_insert_with(|| Some(of_other())).is_err());
        let loaded: Result<_, LoadError<()>> = entry().or_try_insert_with(|| Ok(of_other()));
        assert!(matches!(loaded, Err(LoadError::TimedOut(told)) if told.timeout == timeout));
        assert!(cache.entry_by_ref(&1).timeout(timeout).or_insert_with(of_other).is_err());
        assert!(began.elapsed() >= 7 * timeout);
    };
    let loaded = cache.entry(1).or_insert_with(|| {
        thread::scope(|scope| scope.spawn(late).join().unwrap());
        7
    });
    assert!(loaded.is_fresh());
    // Who has nobody to wait for is not told so, however short the time.
    let entry = |key| cache.entry(key).timeout(Duration::ZERO);
    assert_eq!(entry(1).or_insert_with(of_other).map(Entry::into_value), Ok(7));
    assert_eq!(entry(2).or_insert(8).map(Entry::into_value), Ok(8));
    assert_eq!(entry(3).or_insert_with(|| 9).map(Entry::into_value), Ok(9));
    assert_eq!(entry(3).or_insert_with_if(|| 10, |old| *old < 10).map(Entry::into_value), Ok(10));
    assert_eq!(entry(4).or_optionally_insert_with(|| None), Ok(None));
    let failed = entry(4).or_try_insert_with(|| Err("none"));
    assert!(matches!(failed, Err(LoadError::Failed(error)) if *error == "none"));
    cache.validate();
}

#[test]
fn who_loads_waits_for_who_computes_and_the_other_way_round() {
    let cache = Numbers::new(10);
    let (begun, has_begun) = channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            cache.entry(1).and_upsert_with(|found| {
                assert_eq!(shown(found), None);
                begun.send(()).unwrap();
                until_waiting(&cache, 1);
                1
            });
        });
        has_begun.recv().unwrap();
        assert_eq!(cache.get_with(1, || unreachable!("it is being computed")), 1);
    });
    cache.invalidate(&1);
    thread::scope(|scope| {
        scope.spawn(|| {
            cache.get_with(1, || {
                begun.send(()).unwrap();
                until_waiting(&cache, 1);
                1
            })
        });
        has_begun.recv().unwrap();
        assert_eq!(cache.entry(1).and_upsert_with(|found| shown(found).unwrap() + 1).into_value(), 2);
    });
    // One that computes to nothing leaves who loads to load.
    cache.invalidate(&1);
    thread::scope(|scope| {
        scope.spawn(|| {
            cache.entry(1).and_compute_with(|_| {
                begun.send(()).unwrap();
                until_waiting(&cache, 1);
                Op::Nop
            })
        });
        has_begun.recv().unwrap();
        assert_eq!(cache.get_with(1, || 9), 9);
    });
    cache.validate();
}

#[test]
fn the_key_that_is_stored_stays() {
    let cache: Cache<Arc<str>, u32> = Cache::builder().build().unwrap();
    let first: Arc<str> = "k".into();
    cache.insert(first.clone(), 1);
    cache.entry("k".into()).and_upsert_with(|_| 2);
    assert!(Arc::ptr_eq(cache.read_guard().entry("k").unwrap().key(), &first));
    let second: Arc<str> = "other".into();
    let made = cache.entry(second.clone()).and_upsert_with(|_| 3);
    assert!(Arc::ptr_eq(made.key(), &second));
    drop((made, cache));
    // Nothing keeps a key that is not needed.
    assert_eq!(Arc::strong_count(&second), 1);
}

/// A plain map beside many threads: what each closure was shown, and what it made of it, makes one chain for each key.
#[test]
fn all_that_was_computed_makes_one_chain() {
    const KEYS: u32 = 3;
    let cache = Numbers::builder().max_capacity(1_000).build().unwrap();
    let steps = Mutex::new(Vec::new());
    let start = Barrier::new(6);
    thread::scope(|scope| {
        for thread in 0..6u64 {
            let (cache, steps, start) = (&cache, &steps, &start);
            scope.spawn(move || {
                start.wait();
                for round in 0..1_000 {
                    let key = (round % u64::from(KEYS)) as u32;
                    let mine = (thread + 1) << 32 | round;
                    let mut from = None;
                    if (thread + round) % 4 == 3 {
                        if cache.update(&key, |old| {
                            from = Some(*old);
                            mine
                        }) {
                            steps.lock().unwrap().push((key, from, Some(mine)));
                        }
                        continue;
                    }
                    let removes = round % 7 == 0;
                    let result = cache.entry(key).and_compute_with(|found| {
                        from = shown(found);
                        if removes { Op::Remove } else { Op::Put(mine) }
                    });
                    let to = if removes { None } else { Some(mine) };
                    match result {
                        CompResult::Inserted(_) => assert_eq!(from, None),
                        CompResult::ReplacedWith(_) => assert!(from.is_some()),
                        CompResult::Removed(old) => assert_eq!(Some(old.into_value()), from),
                        CompResult::StillNone(_) => continue,
                        other => unreachable!("{other:?}"),
                    }
                    steps.lock().unwrap().push((key, from, to));
                }
            });
        }
    });
    let steps = steps.into_inner().unwrap();
    for key in 0..KEYS {
        // Each value is made once and used up once, and as many lives begin as end.
        let mut balance: HashMap<Option<u64>, i64> = HashMap::new();
        for (_, from, to) in steps.iter().filter(|(other, ..)| *other == key) {
            *balance.entry(*to).or_default() += 1;
            *balance.entry(*from).or_default() -= 1;
        }
        balance.retain(|_, count| *count != 0);
        let last = cache.get(&key);
        let expected = if last.is_none() { HashMap::new() } else { HashMap::from([(last, 1), (None, -1)]) };
        assert_eq!(balance, expected, "{key}");
    }
    cache.validate();
}
