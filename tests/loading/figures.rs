//! What loads count as in the statistics: each once, by what it came to, and for how long.

use crate::bare::{Running, block_on};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, CacheBuilder, Life, LoadJob, LoadTask, Loads, ManualClock, Op};
use tokio::sync::oneshot;

const LONG: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

pub(crate) type Numbers = Cache<u32, u32>;

pub(crate) fn built(
    more: impl FnOnce(CacheBuilder<u32, u32>) -> CacheBuilder<u32, u32>,
) -> (Numbers, ManualClock) {
    let clock = ManualClock::new();
    let builder = more(Cache::builder().max_capacity(1_000).clock(clock.clone()).record_stats());
    (builder.build().unwrap(), clock)
}

/// Counts of each end, and of calls that joined a load.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Ends {
    pub(crate) success: u64,
    pub(crate) absent: u64,
    pub(crate) failure: u64,
    pub(crate) panic: u64,
    pub(crate) cancelled: u64,
    pub(crate) invalidated: u64,
    pub(crate) joined: u64,
}

pub(crate) const NONE: Ends =
    Ends { success: 0, absent: 0, failure: 0, panic: 0, cancelled: 0, invalidated: 0, joined: 0 };

/// The counts; and that each load has a time.
pub(crate) fn ends(cache: &Numbers) -> Ends {
    let Loads { success, absent, failure, panic, cancelled, invalidated, joined, times, .. } =
        cache.stats().loads;
    assert_eq!(times.count(), cache.stats().loads.count(), "each load has one time");
    Ends { success, absent, failure, panic, cancelled, invalidated, joined }
}

fn panics<R>(call: impl FnOnce() -> R) {
    assert!(catch_unwind(AssertUnwindSafe(|| drop(call()))).is_err(), "it was to panic");
}

fn inline(job: LoadJob) {
    job();
}

fn inline_task(task: LoadTask) {
    block_on(task);
}

/// Whatever came of it.
fn done<R>(_: R) {}

/// Loads in some form, with a load that takes so long by the clock.
type Form = fn(&Numbers, &dyn Fn() -> u32);

/// The forms that threads call, by their names.
const FORMS: [(&str, Form); 12] = [
    ("get_with", |cache, load| done(cache.get_with(1, load))),
    ("get_with_by_ref", |cache, load| done(cache.get_with_by_ref(&1, load))),
    ("timeout, get_with", |cache, load| done(cache.timeout(LONG).get_with(1, load))),
    ("get_with_ttl", |cache, load| done(cache.get_with_ttl(1, || (load(), LONG)))),
    ("try_get_with", |cache, load| done(cache.try_get_with(1, || Ok::<_, ()>(load())))),
    ("timeout, try_get_with", |cache, load| {
        done(cache.timeout(LONG).try_get_with(1, || Ok::<_, ()>(load())));
    }),
    ("optionally_get_with", |cache, load| done(cache.optionally_get_with(1, || Some(load())))),
    ("or_insert_with", |cache, load| done(cache.entry(1).or_insert_with(load))),
    ("or_insert_with_if", |cache, load| done(cache.entry(1).or_insert_with_if(load, |_| true))),
    ("or_try_insert_with", |cache, load| {
        done(cache.entry_by_ref(&1).or_try_insert_with(|| Ok::<_, ()>(load())));
    }),
    ("or_optionally_insert_with", |cache, load| {
        done(cache.entry(1).with_life(Life::Keep).or_optionally_insert_with(|| Some(load())));
    }),
    ("get_many_with", |cache, load| done(cache.get_many_with([1], |_| [(1, load())]))),
];

/// The forms that are futures.
const FUTURES: [(&str, Form); 7] = [
    ("get_with_async", |cache, load| done(block_on(cache.get_with_async(1, async { load() })))),
    ("get_with_ttl_async", |cache, load| {
        block_on(cache.get_with_ttl_async(1, async { (load(), LONG) }));
    }),
    ("try_get_with_async", |cache, load| {
        done(block_on(cache.try_get_with_async(1, async { Ok::<_, ()>(load()) })));
    }),
    ("optionally_get_with_async", |cache, load| {
        block_on(cache.optionally_get_with_async(1, async { Some(load()) }));
    }),
    ("or_insert_with_async", |cache, load| {
        block_on(cache.entry(1).or_insert_with_async(async { load() }));
    }),
    ("or_insert_with_if_async", |cache, load| {
        block_on(cache.entry(1).or_insert_with_if_async(async { load() }, |_| true));
    }),
    ("get_many_with_async", |cache, load| {
        block_on(cache.get_many_with_async([1], |_| async { [(1, load())] }));
    }),
];

#[test]
fn each_form_is_one_load_that_takes_its_time() {
    for (name, form) in FORMS.into_iter().chain(FUTURES) {
        let (cache, clock) = built(|builder| builder);
        form(&cache, &|| {
            clock.advance(3 * SECOND);
            7
        });
        assert_eq!(ends(&cache), Ends { success: 1, ..NONE }, "{name}");
        assert_eq!(cache.stats().loads.times.sum(), 3 * SECOND, "{name}");
        assert_eq!(cache.get(&1), Some(7), "{name}");
    }
}

#[test]
fn each_form_that_panics_is_one_panic() {
    for (name, form) in FORMS.into_iter().chain(FUTURES) {
        let (cache, clock) = built(|builder| builder);
        panics(|| {
            form(&cache, &|| {
                clock.advance(3 * SECOND);
                panic!("on purpose")
            });
        });
        assert_eq!(ends(&cache), Ends { panic: 1, ..NONE }, "{name}");
        assert_eq!(cache.stats().loads.times.sum(), 3 * SECOND, "{name}");
    }
}

#[test]
fn each_form_that_is_overtaken_is_told_so_once() {
    for (name, form) in FORMS.into_iter().chain(FUTURES) {
        let (cache, _clock) = built(|builder| builder);
        form(&cache, &|| {
            cache.insert(1, 5);
            7
        });
        assert_eq!(ends(&cache), Ends { invalidated: 1, ..NONE }, "{name}");
        assert_eq!(cache.get(&1), Some(5), "{name}");
    }
}

#[test]
fn nothing_is_counted_where_nobody_asked_for_it() {
    let cache = Numbers::new(10);
    FORMS.into_iter().for_each(|(_, form)| form(&cache, &|| 7));
    cache.insert(1, 5);
    assert_eq!(cache.stats().loads, Loads::default());
}

#[test]
fn what_is_no_load_is_not_counted() {
    let (cache, _clock) = built(|builder| builder);
    cache.insert(1, 5);
    let unused: &dyn Fn() -> u32 = &|| unreachable!("it is there");
    for (name, form) in FORMS.into_iter().chain(FUTURES).filter(|(name, _)| !name.contains("_if")) {
        form(&cache, unused);
        assert_eq!(ends(&cache), NONE, "{name}");
    }
    cache.entry(1).or_insert_with_if(unused, |_| false);
    cache.entry(2).or_insert(6);
    cache.entry(2).and_upsert_with(|found| found.map_or(0, |found| found.into_value()) + 1);
    cache.entry(3).and_compute_with(|_| Op::Put(1));
    cache.entry(3).and_compute_with(|_| Op::Remove);
    panics(|| cache.entry(3).and_compute_with(|_| panic!("on purpose")));
    block_on(cache.entry(4).and_compute_with_async(|_| async { Op::Put(1) }));
    drop(Running::begun({
        let cache = cache.clone();
        async move { cache.entry(4).and_compute_with_async(|_| std::future::pending()).await }
    }));
    assert!(cache.update(&4, |old| old + 1));
    assert_eq!(ends(&cache), NONE);
}

#[test]
fn absence_and_failure_are_counted_as_such() {
    let (cache, clock) = built(|builder| builder);
    let late = || clock.advance(SECOND);
    assert_eq!(cache.optionally_get_with(1, || (late(), None).1), None);
    assert_eq!(block_on(cache.optionally_get_with_async(1, async { (late(), None).1 })), None);
    assert!(cache.entry(1).or_optionally_insert_with(|| (late(), None).1).is_none());
    assert_eq!(cache.get_many_with([1, 2], |_| (late(), [(2, 2)]).1), [None, Some(2)]);
    assert_eq!(ends(&cache), Ends { absent: 4, success: 1, ..NONE });
    // One call for two keys: two loads, each of which took as long.
    assert_eq!(cache.stats().loads.times.sum(), 5 * SECOND);
    assert!(cache.try_get_with(1, || Err::<u32, _>((late(), "no").1)).is_err());
    assert!(block_on(cache.try_get_with_async(1, async { Err::<u32, _>((late(), "no").1) })).is_err());
    assert!(cache.entry(1).or_try_insert_with(|| Err::<u32, _>((late(), "no").1)).is_err());
    assert!(cache.try_get_many_with([1, 3], |_| Err::<Vec<_>, _>((late(), "no").1)).is_err());
    assert_eq!(ends(&cache), Ends { absent: 4, success: 1, failure: 5, ..NONE });
    assert_eq!(cache.stats().loads.times.sum(), 10 * SECOND);
}

/// What a write during the load does to one that brings no value is nothing.
#[test]
fn a_load_that_fails_beside_a_write_is_a_failure() {
    let (cache, _clock) = built(|builder| builder);
    let failed = cache.try_get_with(1, || {
        cache.insert(1, 5);
        Err::<u32, _>("no")
    });
    assert!(failed.is_err());
    cache.invalidate(&1);
    cache.optionally_get_with(1, || {
        cache.insert(1, 5);
        None
    });
    assert_eq!(ends(&cache), Ends { failure: 1, absent: 1, ..NONE });
}

#[test]
fn what_is_too_heavy_was_loaded_all_the_same() {
    let (cache, _clock) = built(|builder| builder.weigher(|_, weight| *weight));
    assert_eq!(cache.get_with(1, || 5_000), 5_000);
    cache.entry(2).or_insert_with_if(|| 5_000, |_| true);
    assert_eq!(ends(&cache), Ends { success: 2, ..NONE });
    assert_eq!(cache.stats().refused, 2);
}

#[test]
fn what_panics_about_a_loaded_value_is_a_panic_of_its_load() {
    let (cache, _clock) = built(|builder| builder.weigher(|_, _| panic!("on purpose")));
    panics(|| cache.get_with(1, || 7));
    panics(|| block_on(cache.get_with_async(1, async { 7 })));
    panics(|| cache.entry(1).or_insert_with_if(|| 7, |_| true));
    panics(|| cache.get_many_with([1, 2], |_| [(1, 7), (2, 7)]));
    assert_eq!(ends(&cache), Ends { panic: 5, ..NONE });
}

#[test]
fn a_call_for_many_is_a_load_of_each_key_whatever_becomes_of_it() {
    let (cache, _clock) = built(|builder| builder);
    panics(|| cache.get_many_with([1, 2, 3, 3], |_| -> Vec<_> { panic!("on purpose") }));
    panics(|| {
        block_on(cache.get_many_with_async([1, 2], |_| async { panic!("on purpose") as Vec<(u32, u32)> }))
    });
    assert_eq!(ends(&cache), Ends { panic: 5, ..NONE });
    drop(Running::begun({
        let cache = cache.clone();
        async move { cache.get_many_with_async([1, 2], |_| std::future::pending::<Vec<_>>()).await }
    }));
    assert_eq!(ends(&cache), Ends { panic: 5, cancelled: 2, ..NONE });
}

/// A call for many that has the turn of one key is told an error of another: it loads nothing.
#[test]
fn a_turn_of_many_that_is_given_back_unused_is_no_load() {
    let (cache, _clock) = built(|builder| builder);
    let (panicking, failing) = (cache.clone(), cache.clone());
    let (panic, panicked) = oneshot::channel::<u32>();
    let (fail, failed) = oneshot::channel::<&str>();
    let mut panicking =
        Running::begun(async move { panicking.get_with_async(1, async { panicked.await.unwrap() }).await });
    let failing = Running::begun(async move {
        failing.try_get_with_async(2, async { Err(failed.await.unwrap()) }).await.is_err()
    });
    let many = cache.clone();
    let many = Running::begun(async move {
        let load = async |_| -> Result<Vec<_>, &str> { unreachable!("its turn is given back") };
        many.try_get_many_with_async([1, 2], load).await.is_err()
    });
    drop(panic);
    panics(|| panicking.step());
    fail.send("no").unwrap();
    assert!(failing.finish() && many.finish());
    assert_eq!(ends(&cache), Ends { panic: 1, failure: 1, joined: 1, ..NONE });
    assert_eq!(cache.timeout(Duration::ZERO).get_with(1, || 7), Ok(7));
}

#[test]
fn a_future_that_is_dropped_is_one_that_was_cancelled() {
    let (cache, clock) = built(|builder| builder);
    let pending = |cache: &Numbers| {
        let cache = cache.clone();
        Running::begun(async move { cache.get_with_async(1, std::future::pending()).await })
    };
    let running = pending(&cache);
    assert_eq!(ends(&cache), NONE);
    clock.advance(5 * SECOND);
    drop(running);
    assert_eq!(ends(&cache), Ends { cancelled: 1, ..NONE });
    assert_eq!(cache.stats().loads.times.sum(), 5 * SECOND);
    // By somebody else's panic.
    panics(|| {
        let _running = pending(&cache);
        panic!("on purpose");
    });
    assert_eq!(ends(&cache), Ends { cancelled: 2, ..NONE });
    let by_entry = cache.clone();
    drop(Running::begun(async move {
        by_entry.entry(1).or_insert_with_if_async(std::future::pending(), |_| true).await
    }));
    assert_eq!(ends(&cache), Ends { cancelled: 3, ..NONE });
}

#[test]
fn the_one_after_a_panic_loads_and_that_is_a_load_of_its_own() {
    let (cache, clock) = built(|builder| builder);
    let (end, ended) = oneshot::channel::<u32>();
    let (leading, waiting, late) = (cache.clone(), cache.clone(), clock.clone());
    let mut leader =
        Running::begun(async move { leading.get_with_async(1, async { ended.await.unwrap() }).await });
    let load = async move { (late.advance(SECOND), 2).1 };
    let waiter = Running::begun(async move { waiting.get_with_async(1, load).await });
    clock.advance(4 * SECOND);
    drop(end);
    panics(|| leader.step());
    drop(leader);
    // Its own time begins when it takes its turn.
    clock.advance(30 * SECOND);
    assert_eq!(waiter.finish(), 2);
    assert_eq!(ends(&cache), Ends { panic: 1, success: 1, ..NONE });
    assert_eq!(cache.stats().loads.times.sum(), 5 * SECOND);
}

#[test]
fn jobs_count_when_they_end_and_their_callers_do_not_join() {
    let (cache, clock) = built(|builder| builder);
    assert_eq!(cache.get_with_detached(1, LONG, || 1, inline), Ok(1));
    assert_eq!(block_on(cache.get_with_detached_async(2, async { 2 }, inline_task)), 2);
    assert_eq!(ends(&cache), Ends { success: 2, ..NONE });
    // One that is in a hurry.
    let (jobs, queue) = channel();
    let hurried = cache.get_with_detached(3, Duration::ZERO, || 3, |job| jobs.send(job).unwrap());
    assert!(hurried.is_err());
    assert_eq!(ends(&cache), Ends { success: 2, ..NONE });
    clock.advance(2 * SECOND);
    queue.recv().unwrap()();
    assert_eq!(ends(&cache), Ends { success: 3, ..NONE });
    assert_eq!(cache.stats().loads.times.sum(), 2 * SECOND, "the queue's time is the load's");
    // Jobs that are dropped, that panic, and an executor that does.
    panics(|| cache.get_with_detached(4, LONG, || 4, drop));
    panics(|| cache.get_with_detached(4, LONG, || 4, |_| panic!("no thread to be had")));
    assert_eq!(ends(&cache), Ends { success: 3, cancelled: 2, ..NONE });
    panics(|| cache.get_with_detached(4, LONG, || panic!("on purpose"), inline));
    panics(|| {
        let load = async { panic!("on purpose") };
        block_on(cache.get_with_detached_async(4, load, inline_task))
    });
    assert_eq!(ends(&cache), Ends { success: 3, cancelled: 2, panic: 2, ..NONE });
    assert!(cache.try_get_with_detached(4, LONG, || Err::<u32, _>("no"), inline).is_err());
    assert_eq!(cache.optionally_get_with_detached(4, LONG, || None, inline), Ok(None));
    let expected = Ends { success: 3, cancelled: 2, panic: 2, failure: 1, absent: 1, ..NONE };
    assert_eq!(ends(&cache), expected);
}

#[test]
fn loading_anew_is_loading() {
    let (cache, clock) = built(|builder| builder.refresh_after_write(10 * SECOND));
    cache.insert(1, 0);
    let old = || clock.advance(11 * SECOND);
    old();
    assert_eq!(cache.get_with(1, || (clock.advance(SECOND), 1).1), 1);
    assert_eq!(cache.stats().loads.times.sum(), SECOND);
    old();
    assert_eq!(block_on(cache.get_with_async(1, async { 2 })), 2);
    old();
    assert_eq!(cache.try_get_with(1, || Err::<u32, _>("no")), Ok(2));
    old();
    assert_eq!(cache.optionally_get_with(1, || None), Some(2));
    old();
    panics(|| cache.get_with(1, || panic!("on purpose")));
    old();
    let pending = cache.clone();
    drop(Running::begun(async move { pending.get_with_async(1, std::future::pending()).await }));
    old();
    assert_eq!(cache.get_with(1, || (cache.insert(1, 9), 3).1), 3);
    old();
    assert_eq!(cache.get_with_detached(1, LONG, || 4, inline), Ok(9));
    assert_eq!(
        ends(&cache),
        Ends { success: 3, failure: 1, absent: 1, panic: 1, cancelled: 1, invalidated: 1, joined: 0 }
    );
    assert_eq!((cache.stats().refreshes, cache.stats().refresh_failures), (4, 4));
}

#[test]
fn loading_anew_in_the_background_is_loading() {
    let job: fn(&u32, &u32) -> Option<u32> = |_, old| match old {
        3 => panic!("on purpose"),
        2 => None,
        _ => Some(old + 1),
    };
    let anew =
        |builder: CacheBuilder<u32, u32>| builder.refresh_after_write(LONG).refresh_with(job, |job| job());
    let task = |builder: CacheBuilder<u32, u32>| {
        let load = move |key: &u32, old: &u32| {
            let (key, old) = (*key, *old);
            Box::pin(async move { job(&key, &old) }) as std::pin::Pin<Box<dyn Future<Output = _> + Send>>
        };
        builder.refresh_after_write(LONG).refresh_with_async(load, block_on)
    };
    for (cache, _clock) in [built(anew), built(task)] {
        for old in [0, 2, 3] {
            cache.insert(1, old);
            assert!(cache.refresh(&1));
        }
        assert_eq!(ends(&cache), Ends { success: 1, absent: 1, panic: 1, ..NONE });
    }
}

/// Whatever becomes of it, an attempt that leaves the old value where it is has failed.
#[test]
fn loading_anew_fails_too_by_a_panic_or_if_it_is_given_up() {
    let (cache, clock) = built(|builder| builder.refresh_after_write(10 * SECOND));
    cache.insert(1, 0);
    let mut failed = 0;
    let mut fails = |attempt: &dyn Fn()| {
        clock.advance(11 * SECOND);
        attempt();
        failed += 1;
        assert_eq!((cache.stats().refreshes, cache.stats().refresh_failures), (0, failed));
        assert_eq!(cache.get(&1), Some(0));
    };
    fails(&|| panics(|| cache.get_with(1, || panic!("on purpose"))));
    let pending = || {
        let cache = cache.clone();
        Running::begun(async move { cache.get_with_async(1, std::future::pending()).await })
    };
    fails(&|| drop(pending()));
    fails(&|| _ = cache.get_with_detached(1, LONG, || 1, drop));
    fails(&|| _ = cache.get_with_detached(1, LONG, || panic!("on purpose"), panics));
    fails(&|| _ = cache.try_get_with(1, || Err::<u32, _>("no")));
    let (cache, _clock) =
        built(|builder| builder.refresh_after_write(LONG).refresh_with(|_, _| panic!("on purpose"), panics));
    cache.insert(1, 0);
    assert!(cache.refresh(&1));
    assert_eq!((cache.stats().refreshes, cache.stats().refresh_failures), (0, 1));
    // What comes between is no failure: there is a newer value.
    let (cache, clock) = built(|builder| builder.refresh_after_write(10 * SECOND));
    cache.insert(1, 0);
    clock.advance(11 * SECOND);
    assert_eq!(cache.get_with(1, || (cache.insert(1, 9), 3).1), 3);
    assert_eq!(cache.stats().refresh_failures, 0);
}

/// A job that was queued for so long that the value is not there any more loads nothing.
#[test]
fn what_is_not_loaded_anew_after_all_is_no_load() {
    let (jobs, queue) = channel();
    let jobs = std::sync::Mutex::new(jobs);
    let (cache, _clock) = built(|builder| {
        builder.refresh_after_write(LONG).refresh_with(
            |_, old| Some(old + 1),
            move |job| {
                jobs.lock().unwrap().send(job).unwrap();
            },
        )
    });
    cache.insert(1, 0);
    assert!(cache.refresh(&1));
    cache.invalidate(&1);
    queue.recv().unwrap()();
    assert_eq!(ends(&cache), NONE);
}

/// Whatever many threads do to a few keys, by calls that load, fail, panic, give up and write: each closure that ran to its end, or
/// panicked, and each future that was dropped once it was begun, is one load.
#[test]
fn under_threads_each_load_is_counted_once() {
    const CALLS: u32 = 4_000;
    let (cache, _clock) = built(|builder| builder);
    let begun: [AtomicU64; 6] = Default::default();
    let [success, absent, failure, panic, cancelled, all] = &begun;
    let add = |counter: &AtomicU64| {
        all.fetch_add(1, Ordering::Relaxed);
        counter.fetch_add(1, Ordering::Relaxed);
    };
    thread::scope(|scope| {
        for thread in 0..4u32 {
            let cache = cache.clone();
            scope.spawn(move || {
                for call in 0..CALLS {
                    let key = call.wrapping_mul(thread + 7) % 5;
                    match (call + thread) % 8 {
                        0 => done(cache.get_with(key, || (add(success), 1).1)),
                        1 => done(cache.optionally_get_with(key, || (add(absent), None).1)),
                        2 => done(cache.try_get_with(key, || (add(failure), Err::<u32, _>("no")).1)),
                        3 => {
                            let loaded = AssertUnwindSafe(|| {
                                cache.get_with(key, || {
                                    add(panic);
                                    panic!("on purpose")
                                })
                            });
                            let _ = catch_unwind(loaded);
                        }
                        4 => {
                            let cache = cache.clone();
                            let is_begun = Arc::new(AtomicU64::new(0));
                            let begins = is_begun.clone();
                            let mut running = Running::new(async move {
                                let hang = async {
                                    begins.fetch_add(1, Ordering::Relaxed);
                                    std::future::pending::<u32>().await
                                };
                                cache.get_with_async(key, hang).await
                            });
                            let _ = running.step();
                            drop(running);
                            if is_begun.load(Ordering::Relaxed) == 1 {
                                add(cancelled);
                            }
                        }
                        5 => cache.insert(key, 2),
                        _ => done(cache.invalidate(&key)),
                    }
                }
            });
        }
    });
    let ended = ends(&cache);
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    assert_eq!(cache.stats().loads.count(), read(all));
    assert_eq!([ended.absent, ended.failure, ended.panic], [read(absent), read(failure), read(panic)]);
    assert_eq!(ended.success + ended.invalidated, read(success));
    // One that was told the turn when it was about to be dropped has begun nothing.
    assert_eq!(ended.cancelled, read(cancelled));
    assert!(read(cancelled) > 0 && read(panic) > 0, "{ended:?}");
}
