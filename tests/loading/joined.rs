//! Which calls count as having joined another call's load: those that waited for it and took its outcome.

use crate::bare::Running;
use crate::figures::{Ends, NONE, built, ends};
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidewheel::{LoadTask, Op};
use tokio::sync::oneshot;

#[test]
fn who_waits_and_is_told_has_joined_and_who_gives_up_has_not() {
    let (cache, _clock) = built(|builder| builder);
    let (end, ended) = oneshot::channel::<u32>();
    let waiter = |_| {
        let cache = cache.clone();
        Running::begun(async move { cache.get_with_async(1, async { unreachable!("it waits") }).await })
    };
    let leading = cache.clone();
    let mut leader =
        Running::begun(async move { leading.get_with_async(1, async { ended.await.unwrap() }).await });
    let waiters: Vec<_> = (0..3).map(waiter).collect();
    let gives_up = waiter(3);
    drop(gives_up);
    assert!(cache.timeout(Duration::from_millis(1)).get_with(1, || unreachable!("it waits")).is_err());
    let many = cache.clone();
    let many = Running::begun(async move { many.get_many_with_async([1, 2], |_| async { [(2, 2)] }).await });
    assert_eq!(ends(&cache), Ends { success: 1, ..NONE }, "that of key 2");
    end.send(7).unwrap();
    assert!(leader.step().is_ready());
    assert!(waiters.into_iter().all(|waiter| waiter.finish() == 7));
    assert_eq!(many.finish(), [Some(7), Some(2)]);
    assert_eq!(ends(&cache), Ends { success: 2, joined: 4, ..NONE });
}

/// The job of a detached load is dropped after its flight was left behind. The call moves on to the
/// next flight, and what it is told there is another call's. It did not count as joined.
#[test]
fn who_lost_its_own_load_and_is_told_of_anothers_has_joined() {
    let (cache, _clock) = built(|builder| builder);
    let slot = Arc::new(Mutex::new(None::<LoadTask>));
    let (detaching, keep) = (cache.clone(), Arc::clone(&slot));
    let detached = Running::begun(async move {
        let execute = |task| *keep.lock().unwrap() = Some(task);
        detaching.get_with_detached_async(1, async { unreachable!("it is dropped") }, execute).await
    });
    cache.invalidate(&1);
    let (end, ended) = oneshot::channel::<u32>();
    let leading = cache.clone();
    let leader =
        Running::begun(async move { leading.get_with_async(1, async { ended.await.unwrap() }).await });
    let task = slot.lock().unwrap().take();
    drop(task);
    end.send(7).unwrap();
    assert_eq!((leader.finish(), detached.finish()), (7, 7));
    assert_eq!(ends(&cache), Ends { success: 1, cancelled: 1, joined: 1, ..NONE });
    cache.validate();
}

#[test]
fn who_finds_the_value_in_its_turn_has_neither_loaded_nor_joined() {
    let (cache, _clock) = built(|builder| builder);
    let leading = cache.clone();
    let leader = Running::begun(async move { leading.get_with_async(1, std::future::pending()).await });
    let waiting = cache.clone();
    let waiter = Running::begun(async move { waiting.get_with_async(1, async { unreachable!() }).await });
    cache.insert(1, 5);
    drop(leader);
    assert_eq!(waiter.finish(), 5);
    assert_eq!(ends(&cache), Ends { cancelled: 1, ..NONE });
}

#[test]
fn an_entrys_call_that_is_told_what_is_not_stored_loads_and_has_not_joined() {
    let (cache, _clock) = built(|builder| builder);
    let (end, ended) = oneshot::channel::<u32>();
    let (leading, waiting) = (cache.clone(), cache.clone());
    let leader = Running::begun(async move {
        leading.entry(1).or_insert_with_async(async { ended.await.unwrap() }).await.into_value()
    });
    let waiter =
        Running::begun(async move { waiting.entry(1).or_insert_with_async(async { 2 }).await.into_value() });
    cache.invalidate(&1);
    end.send(1).unwrap();
    assert_eq!(leader.finish(), 1);
    assert_eq!(waiter.finish(), 2);
    assert_eq!(ends(&cache), Ends { success: 1, invalidated: 1, ..NONE });
    // Another call returns what it is told, and has joined.
    let (end, ended) = oneshot::channel::<u32>();
    let (leading, waiting) = (cache.clone(), cache.clone());
    let leader =
        Running::begun(async move { leading.get_with_async(3, async { ended.await.unwrap() }).await });
    let waiter = Running::begun(async move { waiting.get_with_async(3, async { unreachable!() }).await });
    cache.invalidate(&3);
    end.send(3).unwrap();
    assert_eq!((leader.finish(), waiter.finish()), (3, 3));
    assert_eq!(ends(&cache), Ends { success: 1, invalidated: 2, joined: 1, ..NONE });
}

#[test]
fn who_is_told_a_value_that_no_load_brought_has_not_joined() {
    let (cache, _clock) = built(|builder| builder);
    let compute = || {
        let cache = cache.clone();
        Running::begun(async move { cache.entry(1).and_compute_with_async(|_| pending::<Op<u32>>()).await })
    };
    let waiters = || {
        [(); 3].map(|()| {
            let cache = cache.clone();
            Running::begun(async move { cache.get_with_async(1, async { unreachable!() }).await })
        })
    };
    // One of them finds what was inserted, and tells the others.
    let (computing, waiting) = (compute(), waiters());
    cache.insert(1, 5);
    drop(computing);
    assert_eq!(waiting.map(Running::finish), [5; 3]);
    assert_eq!(ends(&cache), NONE);
    // One has its value from the start.
    cache.invalidate(&1);
    let computing = compute();
    let placing = cache.clone();
    let ready = Running::begun(async move { placing.entry(1).or_insert_async(6).await.into_value() });
    let waiting = waiters();
    drop(computing);
    assert_eq!((ready.finish(), waiting.map(Running::finish)), (6, [6; 3]));
    assert_eq!(ends(&cache), NONE);
}
