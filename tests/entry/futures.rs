//! Entries that futures compute from what is there: in turn with threads, and whatever becomes of the futures.

use crate::bare::{block_on, pending};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};
use std::thread;
use tidewheel::{Cache, CompResult, Entry, Op};

type Numbers = Cache<u32, u64>;

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn shown(found: Option<Entry<u32, u64>>) -> Option<u64> {
    found.map(Entry::into_value)
}

#[test]
fn each_answer_to_each_state() {
    let cache = Numbers::new(10);
    block_on(async {
        let compute =
            |op: Op<u64>| cache.entry(1).and_compute_with_async(move |_| std::future::ready(op.clone()));
        assert_eq!(compute(Op::Nop).await, CompResult::StillNone(1));
        assert!(matches!(compute(Op::Put(5)).await, CompResult::Inserted(new) if *new.value() == 5));
        assert!(matches!(compute(Op::Put(6)).await, CompResult::ReplacedWith(new) if *new.value() == 6));
        assert!(matches!(compute(Op::Nop).await, CompResult::Unchanged(old) if *old.value() == 6));
        assert!(matches!(compute(Op::Remove).await, CompResult::Removed(old) if *old.value() == 6));
        let failed =
            cache.entry_by_ref(&1).and_try_compute_with_async(async |_| Err::<Op<u64>, _>("no")).await;
        assert_eq!(failed, Err("no"));

        assert!(cache.entry(1).or_insert_async(3).await.is_fresh());
        assert!(!cache.entry(1).or_insert_with_async(async { unreachable!("it is there") }).await.is_fresh());
        assert_eq!(cache.entry(2).or_default_async().await.into_value(), 0);
        assert_eq!(cache.entry(3).or_optionally_insert_with_async(async { None }).await, None);
        let none = cache.entry(3).or_try_insert_with_async(async { Err::<u64, _>("no") }).await;
        assert_eq!(*none.unwrap_err(), "no");
        let anew = cache.entry(1).or_insert_with_if_async(async { 4 }, |old| *old == 3).await;
        assert_eq!((anew.is_old_value_replaced(), anew.into_value()), (true, 4));
        let kept = cache.entry(1).or_insert_with_if_async(async { unreachable!() }, |old| *old == 3).await;
        assert_eq!((kept.is_fresh(), kept.into_value()), (false, 4));
    });
    cache.validate();
}

#[test]
fn threads_and_futures_count_together() {
    const EACH: u64 = 2_000;
    let cache = Numbers::builder().build().unwrap();
    let (inside, updates) = (AtomicU32::new(0), AtomicU32::new(0));
    let next = |found| {
        assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0, "two at once");
        shown(found).unwrap_or(0) + 1
    };
    let leave = || inside.fetch_sub(1, Ordering::Relaxed);
    thread::scope(|scope| {
        for kind in 0..6 {
            let (cache, next, leave, updates) = (&cache, &next, &leave, &updates);
            scope.spawn(move || {
                for _ in 0..EACH {
                    match kind % 3 {
                        0 => drop(cache.entry(1).and_upsert_with(|found| {
                            let value = next(found);
                            leave();
                            value
                        })),
                        1 => drop(block_on(cache.entry(1).and_upsert_with_async(async |found| {
                            let value = next(found);
                            pending(1).await;
                            leave();
                            value
                        }))),
                        _ => {
                            if cache.update(&1, |n| n + 1) {
                                updates.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                }
            });
        }
    });
    assert_eq!(cache.get(&1), Some(4 * EACH + u64::from(updates.into_inner())));
    cache.validate();
}

#[test]
fn what_is_written_meanwhile_is_computed_from() {
    for between in
        [(|cache: &Numbers| cache.insert(1, 5)) as fn(&Numbers), |cache| assert!(cache.invalidate(&1))]
    {
        let cache = Numbers::new(10);
        cache.insert(1, 1);
        let seen = Mutex::new(Vec::new());
        let mut computing = pin!(cache.entry(1).and_upsert_with_async(|found| {
            let found = shown(found);
            seen.lock().unwrap().push(found);
            async move {
                pending(1).await;
                found.unwrap_or(0) + 10
            }
        }));
        assert!(poll_once(computing.as_mut()).is_pending());
        between(&cache);
        let then = cache.get(&1);
        let entry = block_on(computing);
        assert_eq!(*seen.lock().unwrap(), [Some(1), then]);
        assert_eq!(*entry.value(), then.unwrap_or(0) + 10);
        cache.validate();
    }
}

#[test]
fn one_that_is_dropped_gives_its_turn_back() {
    let cache = Numbers::new(10);
    cache.insert(1, 1);
    let stuck = |_| std::future::pending::<u64>();
    let mut first = Box::pin(cache.entry(1).and_upsert_with_async(stuck));
    assert!(poll_once(first.as_mut()).is_pending());
    // These wait: one of them until it is dropped.
    let mut second = Box::pin(cache.entry(1).and_upsert_with_async(stuck));
    assert!(poll_once(second.as_mut()).is_pending());
    let (told, is_told) = channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut third =
                pin!(cache.entry(1).and_upsert_with_async(async |found| shown(found).unwrap() + 1));
            assert!(poll_once(third.as_mut()).is_pending());
            told.send(()).unwrap();
            assert_eq!(block_on(third).into_value(), 2);
        });
        is_told.recv().unwrap();
        drop(second);
        assert_eq!(cache.get(&1), Some(1));
        drop(first);
    });
    assert_eq!(cache.get(&1), Some(2));
    cache.validate();
}

/// Computes the key when it is dropped.
struct Parting<'c>(&'c Numbers);

impl Drop for Parting<'_> {
    fn drop(&mut self) {
        self.0.entry(1).and_upsert_with(|found| shown(found).unwrap_or(0) + 100);
    }
}

#[test]
fn what_a_dropped_future_owns_may_compute_the_key() {
    let cache = Numbers::new(10);
    let computing = cache.entry(1).and_upsert_with_async(|_| {
        let parting = Parting(&cache);
        async move {
            std::future::pending::<()>().await;
            drop(parting);
            1
        }
    });
    let mut computing = Box::pin(computing);
    assert!(poll_once(computing.as_mut()).is_pending());
    drop(computing);
    assert_eq!(cache.get(&1), Some(100));
    let parting = Parting(&cache);
    let init = async move {
        std::future::pending::<()>().await;
        drop(parting);
        1
    };
    let mut loading = Box::pin(cache.entry(1).or_insert_with_if_async(init, |_| true));
    assert!(poll_once(loading.as_mut()).is_pending());
    drop(loading);
    assert_eq!(cache.get(&1), Some(200));
    cache.validate();
}

#[test]
fn a_panic_gives_the_turn_back_and_a_nested_call_is_one() {
    let cache = Numbers::new(10);
    let nested: [fn(&Numbers) -> u64; 3] = [
        |cache| {
            let inner = async |_| cache.entry(1).and_upsert_with_async(async |_| 1).await.into_value();
            block_on(cache.entry(1).and_upsert_with_async(inner)).into_value()
        },
        // In the closure, before there is a future.
        |cache| {
            let inner = |_| std::future::ready(cache.entry(1).or_insert(1).into_value());
            block_on(cache.entry(1).and_upsert_with_async(inner)).into_value()
        },
        |cache| {
            let inner = async { cache.get_with_async(1, async { 1 }).await };
            block_on(cache.entry(1).or_insert_with_if_async(inner, |_| true)).into_value()
        },
    ];
    for nested in nested {
        let message = catch_unwind(AssertUnwindSafe(|| nested(&cache))).unwrap_err();
        let message = *message.downcast::<&str>().unwrap();
        assert!(message.contains("would wait for itself"), "{message}");
        assert_eq!(cache.get(&1), None);
    }
    let panics = cache.entry(1).and_upsert_with_async(async |_| {
        pending(1).await;
        panic!("the future is told to fail")
    });
    assert!(catch_unwind(AssertUnwindSafe(|| block_on(panics))).is_err());
    assert!(cache.entry(1).or_insert(7).is_fresh());
    cache.validate();
}

#[test]
fn the_futures_may_move_to_other_threads() {
    fn on_another<T: Send>(future: impl Future<Output = T> + Send) -> T {
        let mut future = Box::pin(future);
        assert!(poll_once(future.as_mut()).is_pending());
        thread::scope(|scope| scope.spawn(|| block_on(future)).join().unwrap())
    }
    let cache = Numbers::new(10);
    let later = |value| async move {
        pending(1).await;
        value
    };
    assert!(on_another(cache.entry(1).or_insert_with_async(later(1))).is_fresh());
    assert_eq!(on_another(cache.entry(1).and_upsert_with_async(|_| later(2))).into_value(), 2);
    assert_eq!(on_another(cache.entry(1).or_insert_with_if_async(later(3), |_| true)).into_value(), 3);
    let removed = on_another(cache.entry_by_ref(&1).and_compute_with_async(|_| async {
        pending(1).await;
        Op::Remove
    }));
    assert_eq!(removed.unwrap().into_value(), 3);
    let failed = on_another(cache.entry(1).and_try_compute_with_async(|_| async {
        pending(1).await;
        Err::<Op<u64>, _>(4)
    }));
    assert_eq!(failed, Err(4));
}

#[test]
fn each_call_is_one_read_or_none() {
    let cache = Numbers::builder().record_stats().build().unwrap();
    let read = || (cache.stats().hits, cache.stats().misses);
    block_on(async {
        cache.entry(1).or_insert_async(1).await;
        assert_eq!(read(), (0, 1));
        cache.entry(1).or_insert_async(1).await;
        assert_eq!(read(), (1, 1));
        cache.entry(1).and_upsert_with_async(async |_| 2).await;
    });
    cache.entry(1).and_upsert_with(|_| 3);
    cache.entry(2).or_insert(4);
    assert_eq!(read(), (1, 2));
}
