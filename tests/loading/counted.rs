//! What a call that loads counts as: one read, whatever it takes to bring the value.
//!
//! The bug that this pins: a call that waited counted a second miss when it looked in its turn. A leader that panicked and a
//! waiter that loaded were three misses, five calls that all failed were nine.

use crate::bare::Running;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tidewheel::{Cache, ManualClock};
use tokio::sync::oneshot;

type Numbers = Cache<u32, u32>;

fn counted() -> Numbers {
    Cache::builder().max_capacity(10).record_stats().clock(ManualClock::new()).build().unwrap()
}

fn reads(cache: &Numbers) -> (u64, u64) {
    (cache.stats().hits, cache.stats().misses)
}

#[test]
fn a_leader_that_panics_and_one_who_loads_are_two_misses() {
    let cache = counted();
    let (end, ended) = oneshot::channel::<u32>();
    let (leading, waiting) = (cache.clone(), cache.clone());
    let mut leader =
        Running::begun(async move { leading.get_with_async(1, async { ended.await.unwrap() }).await });
    let waiter = Running::begun(async move { waiting.get_with_async(1, async { 2 }).await });
    drop(end);
    assert!(catch_unwind(AssertUnwindSafe(|| leader.step().is_ready())).is_err());
    drop(leader);
    assert_eq!(waiter.finish(), 2);
    assert_eq!(reads(&cache), (0, 2));
}

#[test]
fn five_calls_that_fail_are_five_misses() {
    let cache = counted();
    let (end, ended) = oneshot::channel::<u32>();
    let leading = cache.clone();
    let leader = Running::begun(async move { leading.try_get_with_async(1, ended).await });
    let waiters: Vec<_> = (0..4u8)
        .map(|number| {
            let cache = cache.clone();
            // Each of a type of its own, as it were: nobody has a use for another one's error.
            Running::begun(async move {
                match number {
                    0 => cache.try_get_with_async(1, async { Err("no") }).await.is_err(),
                    1 => cache.try_get_with_async(1, async { Err('n') }).await.is_err(),
                    2 => cache.optionally_get_with_async(1, async { None }).await.is_none(),
                    _ => cache.try_get_with_async(1, async { Err(0u8) }).await.is_err(),
                }
            })
        })
        .collect();
    drop(end);
    assert!(leader.finish().is_err());
    assert!(waiters.into_iter().all(Running::finish));
    assert_eq!(reads(&cache), (0, 5));
}

/// One who waited and finds in its turn what was written meanwhile.
#[test]
fn who_finds_it_in_its_turn_counts_once() {
    let cache = counted();
    let leading = cache.clone();
    let leader = Running::begun(async move { leading.get_with_async(1, std::future::pending()).await });
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let cache = cache.clone();
            Running::begun(async move { cache.get_with_async(1, async { 2 }).await })
        })
        .collect();
    cache.insert(1, 5);
    drop(leader);
    assert!(waiters.into_iter().all(|waiter| waiter.finish() == 5));
    assert_eq!(reads(&cache), (0, 4));
    assert_eq!(cache.get_with(1, || 6), 5);
    assert_eq!(cache.entry(1).or_insert(6).into_value(), 5);
    assert_eq!(cache.get_many_with([1, 2], |_| [(2, 7)]), [Some(5), Some(7)]);
    assert_eq!(reads(&cache), (3, 5));
}

/// A value that is ready is one read, and no load: whether its call had to wait or not.
#[test]
fn what_is_ready_counts_as_no_load_where_it_waited() {
    let cache = counted();
    let leading = cache.clone();
    let leader = Running::begun(async move { leading.get_with_async(1, std::future::pending()).await });
    let waiting = cache.clone();
    let waiter = Running::begun(async move { waiting.entry(1).or_insert_async(9).await.is_fresh() });
    assert_eq!(reads(&cache), (0, 2));
    drop(leader);
    assert!(waiter.finish());
    assert_eq!((reads(&cache), cache.stats().loads.success), ((0, 2), 0));
    std::thread::scope(|scope| {
        let mut waiter = None;
        let found = cache.optionally_get_with(2, || {
            waiter = Some(scope.spawn(|| cache.entry(2).or_insert(6).into_value()));
            crate::waiting::until_waiting(&cache, 1);
            None
        });
        assert_eq!((found, waiter.map(|waiter| waiter.join().unwrap())), (None, Some(6)));
    });
    assert_eq!((reads(&cache), cache.stats().loads.success), ((0, 4), 0));
    cache.validate();
}
