//! The places of calls that wait, where turns and flights change hands.

use crate::bare::Running;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, LoadTask, RefreshJob};
use tokio::sync::oneshot;

type Numbers = Cache<u32, u32>;

/// Where an executor puts its task.
type Slot = Arc<Mutex<Option<LoadTask>>>;

/// A load of key 1 that never ends.
fn endless(cache: &Numbers) -> Running<u32> {
    let cache = cache.clone();
    Running::begun(async move { cache.get_with_async(1, pending()).await })
}

fn plain(cache: &Numbers, value: u32) -> Running<u32> {
    let cache = cache.clone();
    Running::begun(async move { cache.get_with_async(1, async move { value }).await })
}

/// A detached load of key 1, whose task nobody runs yet.
fn detached(cache: &Numbers, value: u32) -> (Running<u32>, Slot) {
    let (cache, slot) = (cache.clone(), Slot::default());
    let keep = Arc::clone(&slot);
    let execute = move |task| *keep.lock().unwrap() = Some(task);
    let load = async move { cache.get_with_detached_async(1, async move { value }, execute).await };
    (Running::begun(load), slot)
}

fn lose(slot: &Slot) {
    let task = slot.lock().unwrap().take();
    drop(task);
}

/// A detached call waited longer than the call that began the flight which it comes to lead. Both
/// were given one number, and one of them was never told.
#[test]
fn a_detached_call_that_moved_on_keeps_its_own_place() {
    let cache = Numbers::new(10);
    let first = endless(&cache);
    let (old, old_slot) = detached(&cache, 1);
    cache.invalidate(&1);
    let (new, new_slot) = detached(&cache, 2);
    // The old call moves on, ahead of the new one.
    drop(first);
    lose(&new_slot);
    let mut old = old;
    assert!(old.step().is_pending(), "it has the turn, and hands its task to the executor");
    let task = old_slot.lock().unwrap().take().expect("it loads");
    Running::new(task).step().is_ready().then_some(()).expect("nothing keeps it");
    assert_eq!((old.finish(), new.finish()), (1, 1));
    assert_eq!(cache.waiting(), 0);
    cache.validate();
}

/// The same for a plain call, whose flight is left behind while it has the turn, asleep.
#[test]
fn a_plain_call_that_moved_on_keeps_its_own_place() {
    let cache = Numbers::new(10);
    let first = endless(&cache);
    let mut moved = plain(&cache, 1);
    cache.invalidate(&1);
    let (detached, slot) = detached(&cache, 2);
    drop(first);
    lose(&slot);
    cache.invalidate(&1);
    let (end, ended) = oneshot::channel::<u32>();
    let third = {
        let cache = cache.clone();
        Running::begun(async move { cache.get_with_async(1, async { ended.await.unwrap() }).await })
    };
    assert!(moved.step().is_pending(), "another call loads the key");
    assert_eq!(cache.waiting(), 2);
    end.send(3).unwrap();
    assert_eq!((third.finish(), moved.finish(), detached.finish()), (3, 3, 3));
    cache.validate();
}

/// The end of a load that was left behind tells those that waited for it. Nobody is left who wants
/// the turn of the reload that is under way by then.
#[test]
fn a_load_that_was_left_behind_takes_nothing_from_a_refresh() {
    let jobs = Arc::new(Mutex::new(Vec::<RefreshJob>::new()));
    let queue = Arc::clone(&jobs);
    let may_end = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&may_end);
    let (begins, begun) = channel();
    let cache: Numbers = Cache::builder()
        .refresh_after_write(Duration::from_secs(600))
        .refresh_with(
            move |_, old| {
                begins.send(()).unwrap();
                while !ends.load(Ordering::Acquire) {
                    thread::yield_now();
                }
                Some(old + 1)
            },
            move |job| queue.lock().unwrap().push(job),
        )
        .build()
        .unwrap();
    let (end, ended) = oneshot::channel::<u32>();
    let leading = cache.clone();
    let leader =
        Running::begun(async move { leading.get_with_async(1, async { ended.await.unwrap() }).await });
    let waiter = plain(&cache, 0);
    cache.insert(1, 1);
    assert!(cache.refresh(&1));
    let job = thread::spawn(jobs.lock().unwrap().pop().expect("it was begun"));
    begun.recv().unwrap();
    end.send(7).unwrap();
    assert_eq!((leader.finish(), waiter.finish()), (7, 7));
    may_end.store(true, Ordering::Release);
    job.join().unwrap();
    assert_eq!(cache.get(&1), Some(2));
    cache.validate();
}
