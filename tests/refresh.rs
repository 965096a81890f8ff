//! Loading anew what is old, while the old value is served.

#[cfg(feature = "async")]
#[path = "common/bare.rs"]
#[allow(dead_code, reason = "for those who need all of it")]
mod bare;
#[path = "common/hashers.rs"]
#[allow(dead_code, reason = "for those who need all of it")]
mod hashers;
#[path = "common/waiting.rs"]
mod waiting;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, CacheBuilder, ManualClock, RefreshJob};
use waiting::until_waiting;

const SECOND: Duration = Duration::from_secs(1);

type Numbers = Cache<u32, u32>;

/// Old after ten seconds, gone after sixty.
fn cache(more: impl FnOnce(CacheBuilder<u32, u32>) -> CacheBuilder<u32, u32>) -> (Numbers, ManualClock) {
    let clock = ManualClock::new();
    let builder = Cache::builder().time_to_live(60 * SECOND).refresh_after_write(10 * SECOND).record_stats();
    (more(builder.clock(clock.clone())).build().unwrap(), clock)
}

fn untouched() -> u32 {
    unreachable!("there is nothing to load")
}

#[test]
fn one_that_is_old_is_loaded_anew_by_who_finds_it() {
    let (cache, clock) = cache(|builder| builder);
    assert_eq!(cache.get_with(1, || 1), 1);
    clock.advance(9 * SECOND);
    assert_eq!(cache.get_with(1, untouched), 1);
    clock.advance(2 * SECOND);
    assert_eq!(cache.get(&1), Some(1));
    assert_eq!(cache.get_with(1, || 2), 2);
    assert_eq!(cache.get_with(1, untouched), 2);
    assert_eq!(cache.remaining_ttl(&1), Some(60 * SECOND));
    clock.advance(11 * SECOND);
    assert_eq!(cache.get_with_by_ref(&1, || 3), 3);
    clock.advance(11 * SECOND);
    assert_eq!(cache.try_get_with(1, || Ok::<_, ()>(4)), Ok(4));
    clock.advance(11 * SECOND);
    assert_eq!(cache.optionally_get_with(1, || Some(5)), Some(5));
    clock.advance(11 * SECOND);
    assert_eq!(cache.timeout(SECOND).get_with(1, || 6), Ok(6));
    assert_eq!((cache.stats().refreshes, cache.stats().refresh_failures), (5, 0));
    cache.validate();
}

#[test]
fn a_write_makes_it_fresh_and_a_touch_does_not() {
    let (cache, clock) = cache(|builder| builder);
    for write in [
        (|cache: &Numbers| cache.insert(1, 2)) as fn(&Numbers),
        |cache| assert_eq!(cache.replace(&1, 2), Ok(())),
        |cache| assert!(cache.update(&1, |_| 2)),
        |cache| cache.insert_many([(1, 2)]),
        |cache| assert_eq!(cache.entry(1).and_upsert_with(|_| 2).into_value(), 2),
    ] {
        cache.insert(1, 1);
        clock.advance(11 * SECOND);
        write(&cache);
        assert_eq!(cache.get_with(1, untouched), 2);
        clock.advance(9 * SECOND);
        assert!(cache.touch(&1));
        clock.advance(2 * SECOND);
        assert_eq!(cache.get_with(1, || 3), 3);
    }
}

#[test]
fn one_that_fails_keeps_the_old_value_and_is_tried_again_later() {
    let (cache, clock) = cache(|builder| builder);
    cache.insert(1, 1);
    clock.advance(11 * SECOND);
    assert_eq!(cache.try_get_with(1, || Err("no")), Ok(1));
    assert_eq!(cache.get_with(1, untouched), 1);
    clock.advance(SECOND);
    assert_eq!(cache.optionally_get_with(1, || None), Some(1));
    clock.advance(SECOND);
    let panics = || cache.get_with(1, || panic!("no"));
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    assert_eq!(cache.get_with(1, untouched), 1);
    clock.advance(SECOND);
    assert_eq!(cache.get_with(1, || 2), 2);
    assert_eq!((cache.stats().refreshes, cache.stats().refresh_failures), (1, 3));
    // It had no more time for it than it had.
    cache.insert(2, 1);
    clock.advance(59 * SECOND);
    assert_eq!(cache.try_get_with(2, || Err("no")), Ok(1));
    clock.advance(SECOND);
    assert_eq!(cache.try_get_with(2, || Err("no")).unwrap_err().to_string(), "no");
    cache.validate();
}

/// A source that times out takes longer than a tenth of the age: the next attempt waits from then on.
#[test]
fn one_that_fails_late_is_tried_again_a_tenth_later() {
    let (cache, clock) = cache(|builder| builder);
    cache.insert(1, 1);
    clock.advance(11 * SECOND);
    let times_out = || {
        clock.advance(2 * SECOND);
        Err("timed out")
    };
    assert_eq!(cache.try_get_with(1, times_out), Ok(1));
    assert_eq!(cache.get_with(1, untouched), 1);
    clock.advance(SECOND);
    assert_eq!(cache.get_with(1, || 2), 2);
}

/// What is gone by the time that its load fails is not served: neither what was removed, nor what is past its deadline.
#[test]
fn one_that_fails_serves_nothing_that_is_gone() {
    let (cache, clock) = cache(|builder| builder);
    cache.insert(1, 1);
    clock.advance(11 * SECOND);
    let removed = cache.optionally_get_with(1, || {
        cache.invalidate(&1);
        None
    });
    assert_eq!(removed, None);
    cache.insert(1, 1);
    clock.advance(59 * SECOND);
    let over = cache.try_get_with(1, || {
        clock.advance(10 * SECOND);
        Err("no")
    });
    assert_eq!(over.map_err(|error| error.to_string()), Err("no".to_owned()));
    // What was written meanwhile is there.
    cache.insert(1, 1);
    clock.advance(11 * SECOND);
    let written = cache.optionally_get_with(1, || {
        cache.insert(1, 5);
        None
    });
    assert_eq!(written, Some(5));
    cache.validate();
}

/// Who misses a value that expires while it is loaded anew waits for that load, and is told what it comes to. The bug: an error
/// was told to the first caller alone, and all others called their source one after the other.
#[test]
fn one_that_fails_after_the_value_is_gone_fails_for_all_who_wait() {
    let (cache, clock) = cache(|builder| builder);
    cache.insert(1, 1);
    clock.advance(11 * SECOND);
    thread::scope(|scope| {
        let ((begun, has_begun), (go, goes)) = (channel(), channel::<()>());
        let cache = &cache;
        let leader = scope.spawn(move || {
            cache.try_get_with(1, || {
                begun.send(()).unwrap();
                goes.recv().unwrap();
                Err("down")
            })
        });
        has_begun.recv().unwrap();
        clock.advance(50 * SECOND);
        let waiters = [0; 3].map(|_| scope.spawn(|| cache.try_get_with(1, || Err("its own"))));
        until_waiting(cache, 3);
        go.send(()).unwrap();
        let told = |result: Result<u32, Arc<&'static str>>| result.map_err(|error| *error);
        assert_eq!(told(leader.join().unwrap()), Err("down"));
        for waiter in waiters {
            assert_eq!(told(waiter.join().unwrap()), Err("down"));
        }
    });
    let loads = cache.stats().loads;
    assert_eq!((loads.failure, loads.joined), (1, 3));
    cache.validate();
}

/// While a computation has the turn of an old key, one of all hits is told so, and the others ask nobody.
#[test]
fn an_old_value_that_is_being_computed_is_handed_to_the_executor_once() {
    let jobs = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&jobs);
    let (cache, clock) = cache(|builder| {
        builder.refresh_with(
            |_, old| Some(old + 1),
            move |job| {
                count.fetch_add(1, Ordering::Relaxed);
                job();
            },
        )
    });
    cache.insert(1, 1);
    clock.advance(11 * SECOND);
    cache.entry(1).and_upsert_with(|_| {
        let hits = || (0..100).for_each(|_| assert_eq!(cache.get_with(1, untouched), 1));
        thread::scope(|scope| drop(scope.spawn(hits)));
        7
    });
    assert_eq!((cache.get(&1), jobs.load(Ordering::Relaxed)), (Some(7), 1));
    assert_eq!((cache.stats().refreshes, cache.stats().refresh_failures), (0, 0));
}

/// However many readers: one loads, and the others are served meanwhile.
#[test]
fn one_loads_and_nobody_waits() {
    const KEYS: u32 = 200;
    let (cache, clock) = cache(|builder| builder);
    let loads = AtomicUsize::new(0);
    for round in 1..=5 {
        (0..KEYS).for_each(|key| cache.insert(key, 1));
        clock.advance(11 * SECOND);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for key in 0..KEYS {
                        let value = cache.get_with(key, || {
                            loads.fetch_add(1, Ordering::Relaxed);
                            thread::yield_now();
                            2
                        });
                        assert!(value == 1 || value == 2);
                    }
                });
            }
        });
        assert_eq!(loads.load(Ordering::Relaxed), round * KEYS as usize);
        (0..KEYS).for_each(|key| assert_eq!(cache.get(&key), Some(2)));
    }
    cache.validate();
}

#[test]
fn readers_are_served_while_it_is_loaded_and_not_past_the_deadline() {
    let (cache, clock) = cache(|builder| builder);
    cache.insert(1, 1);
    clock.advance(11 * SECOND);
    let (begun, has_begun) = channel();
    let (go_on, gate) = channel();
    let load = {
        let cache = cache.clone();
        thread::spawn(move || {
            cache.get_with(1, || {
                begun.send(()).unwrap();
                gate.recv().unwrap()
            })
        })
    };
    has_begun.recv().unwrap();
    assert_eq!(cache.get_with(1, untouched), 1);
    assert_eq!(cache.get_many_with([1], |_| -> Vec<_> { unreachable!("it is there") }), [Some(1)]);
    clock.advance(50 * SECOND);
    // Past its deadline: who asks now waits for what is being loaded.
    assert_eq!(cache.get(&1), None);
    let late = {
        let cache = cache.clone();
        thread::spawn(move || cache.get_with(1, || 9))
    };
    until_waiting(&cache, 1);
    go_on.send(2).unwrap();
    assert_eq!((load.join().unwrap(), late.join().unwrap()), (2, 2));
    assert_eq!(cache.get(&1), Some(2));
    cache.validate();
}

#[test]
fn what_comes_between_wins() {
    for (write, left) in [
        ((|cache: &Numbers| cache.insert(1, 5)) as fn(&Numbers), Some(5)),
        (|cache| assert!(cache.invalidate(&1)), None),
        (Cache::invalidate_all, None),
        (|cache| assert!(cache.update(&1, |old| old + 7)), Some(8)),
    ] {
        let (cache, clock) = cache(|builder| builder);
        cache.insert(1, 1);
        clock.advance(11 * SECOND);
        let loaded = cache.get_with(1, || {
            write(&cache);
            2
        });
        assert_eq!((loaded, cache.get(&1)), (2, left));
        cache.validate();
    }
}

/// From within a computation of the same key the old value is served, and nobody waits for himself.
#[test]
fn a_computation_of_the_key_is_served_the_old_value() {
    let (cache, clock) = cache(|builder| builder);
    cache.insert(1, 1);
    clock.advance(11 * SECOND);
    let entry = cache.entry(1).and_upsert_with(|_| cache.get_with(1, untouched) + 1);
    assert_eq!(entry.into_value(), 2);
    cache.insert(1, 1);
    clock.advance(11 * SECOND);
    assert_eq!(cache.get_with(1, || cache.get_with(1, untouched) + 1), 2);
    cache.validate();
}

#[test]
fn an_executor_is_given_the_job() {
    let jobs = Arc::<Mutex<VecDeque<RefreshJob>>>::default();
    let queue = jobs.clone();
    let (cache, clock) = cache(|builder| {
        builder.refresh_with(
            |key: &u32, old: &u32| (*key != 3).then(|| old + key),
            move |job| queue.lock().unwrap().push_back(job),
        )
    });
    let next = || jobs.lock().unwrap().pop_front();
    cache.insert_many([(1, 10), (2, 20), (3, 30)]);
    clock.advance(11 * SECOND);
    for _ in 0..3 {
        for key in 1..=3 {
            assert_eq!(cache.get_with(key, untouched), key * 10);
        }
    }
    assert_eq!(jobs.lock().unwrap().len(), 3);
    next().unwrap()();
    assert_eq!(cache.get_with(1, untouched), 11);
    // One that is dropped was never begun, one that fails comes again.
    drop(next());
    next().unwrap()();
    assert_eq!((cache.get(&2), cache.get(&3)), (Some(20), Some(30)));
    clock.advance(2 * SECOND);
    assert_eq!((cache.get_with(2, untouched), cache.get_with(3, untouched)), (20, 30));
    assert_eq!(jobs.lock().unwrap().len(), 2);
    // What is not there any more is not loaded.
    cache.invalidate(&2);
    next().unwrap()();
    assert_eq!(cache.get(&2), None);
    assert_eq!((cache.stats().refreshes, cache.stats().refresh_failures), (1, 1));
    cache.validate();
    // And a job keeps no cache alive.
    drop(cache);
    next().unwrap()();
}

#[test]
fn an_executor_that_panics_is_served_the_old_value() {
    let (cache, clock) =
        cache(|builder| builder.refresh_with(|_: &u32, _: &u32| None, |_| panic!("no thread to be had")));
    cache.insert(1, 1);
    clock.advance(11 * SECOND);
    assert_eq!(cache.get_with(1, untouched), 1);
    cache.validate();
}

/// A job that was queued for a while, and meanwhile the value was written or removed: it has nothing to load anew. (It overwrote
/// what was inserted after it was queued, with what it had made of that.)
#[test]
fn a_queued_job_leaves_alone_what_came_since() {
    let jobs = Arc::<Mutex<VecDeque<RefreshJob>>>::default();
    let queue = jobs.clone();
    let (cache, clock) = cache(|builder| {
        builder.refresh_with(
            |_: &u32, old: &u32| Some(old + 100),
            move |job| queue.lock().unwrap().push_back(job),
        )
    });
    let run = || jobs.lock().unwrap().pop_front().expect("a job")();
    for (write, left) in [
        ((|cache: &Numbers| cache.insert(1, 5)) as fn(&Numbers), Some(5)),
        (|cache| assert!(cache.update(&1, |old| old + 7)), Some(8)),
        (|cache| assert_eq!(cache.replace(&1, 5), Ok(())), Some(5)),
        (|cache| assert_eq!(cache.entry(1).and_upsert_with(|_| 6).into_value(), 6), Some(6)),
        (|cache| assert!(cache.invalidate(&1)), None),
        (
            |cache| {
                cache.invalidate(&1);
                assert_eq!(cache.get_with(1, || 9), 9);
            },
            Some(9),
        ),
    ] {
        cache.insert(1, 1);
        clock.advance(11 * SECOND);
        assert_eq!(cache.get_with(1, untouched), 1);
        write(&cache);
        run();
        assert_eq!(cache.get(&1), left);
        cache.validate();
    }
    // And what came since gets old in its time.
    clock.advance(11 * SECOND);
    assert_eq!(cache.get_with(1, untouched), 9);
    run();
    assert_eq!(cache.get(&1), Some(109));
}

/// A write to another key of the same hash was taken for one to the key that is loaded anew: what was brought was not kept, and the
/// old value was never due again.
#[test]
fn a_write_to_another_key_of_the_same_hash_takes_nothing_from_a_reload() {
    let clock = ManualClock::new();
    let builder = Cache::builder().refresh_after_write(10 * SECOND).clock(clock.clone());
    let cache = builder.build_with_hasher(hashers::Colliding).unwrap();
    cache.insert(1u64, 1);
    clock.advance(11 * SECOND);
    let loaded = cache.get_with(1, || {
        cache.insert(3, 3);
        2
    });
    assert_eq!((loaded, cache.get(&1), cache.get(&3)), (2, Some(2), Some(3)));
    assert_eq!(cache.get_with(1, || unreachable!("it was just loaded")), 2);
    clock.advance(11 * SECOND);
    assert_eq!((cache.get_with(1, || 4), cache.get(&1)), (4, Some(4)));
    cache.validate();
}

#[test]
fn one_is_loaded_anew_on_demand() {
    let jobs = Arc::<Mutex<VecDeque<RefreshJob>>>::default();
    let queue = jobs.clone();
    let (cache, clock) = cache(|builder| {
        builder.refresh_with(
            |_: &u32, old: &u32| (*old < 3).then(|| old + 1),
            move |job| queue.lock().unwrap().push_back(job),
        )
    });
    let run = || jobs.lock().unwrap().pop_front().expect("a job")();
    assert!(!cache.refresh(&1), "there is none");
    cache.insert(1, 1);
    let before = cache.stats();
    assert!(cache.refresh(&1));
    assert!(!cache.refresh(&1), "somebody is at it");
    assert_eq!(cache.peek(&1), Some(1));
    run();
    assert_eq!(cache.peek(&1), Some(2));
    assert_eq!((cache.stats().hits, cache.stats().misses), (before.hits, before.misses));
    // Nor is it old by now, for all that.
    assert_eq!(cache.get_with(1, untouched), 2);
    assert!(jobs.lock().unwrap().is_empty());
    // One that fails comes again, in its time; and before that, on demand.
    assert!(cache.refresh(&1));
    run();
    assert!(cache.refresh(&1));
    run();
    assert_eq!((cache.peek(&1), cache.stats().refreshes, cache.stats().refresh_failures), (Some(3), 2, 1));
    // One that is dropped was never begun.
    assert!(cache.refresh(&1));
    jobs.lock().unwrap().clear();
    assert!(cache.refresh(&1));
    // What is written since wins.
    cache.insert(1, 7);
    run();
    assert_eq!(cache.peek(&1), Some(7));
    // What is over is not loaded.
    clock.advance_without_sweeping(60 * SECOND);
    assert!(!cache.refresh(&1));
    cache.validate();
}

/// Where a call has the key's turn, whose value is the newer one, nothing is begun; it said that something was.
#[test]
fn one_whose_turn_is_taken_is_not_begun() {
    let (cache, clock) = cache(|builder| builder.refresh_with(|_, old| Some(old + 1), |job| job()));
    cache.insert(1, 1);
    let begun = |run: &dyn Fn() -> u32| {
        let value = cache.entry(1).or_insert_with_if(run, |_| true).into_value();
        assert_eq!(cache.stats().refreshes + cache.stats().refresh_failures, 0);
        value
    };
    assert_eq!(begun(&|| if cache.refresh(&1) { 9 } else { 2 }), 2);
    // It was not claimed either, and is as young as before.
    clock.advance(9 * SECOND);
    assert_eq!(cache.get_with(1, untouched), 2);
    assert!(cache.refresh(&1));
    assert_eq!(cache.peek(&1), Some(3));
    cache.validate();
}

#[test]
fn without_a_reload_there_is_nothing_to_demand() {
    let (cache, _clock) = cache(|builder| builder);
    cache.insert(1, 1);
    assert!(!cache.refresh(&1));
    assert!(!Cache::<u32, u32>::new(10).refresh(&1));
}

#[cfg(feature = "async")]
mod tasks {
    use super::*;
    use crate::bare::{Bell, poll};
    use std::pin::Pin;
    use std::task::Poll;
    use tidewheel::RefreshTask;
    use tokio::sync::oneshot;

    type Tasks = Arc<Mutex<VecDeque<RefreshTask>>>;
    type Gates = Arc<Mutex<VecDeque<oneshot::Sender<Option<u32>>>>>;

    /// A cache whose reloads wait for a word each, as tasks that are polled by hand.
    fn with_tasks() -> (Numbers, ManualClock, Tasks, Gates) {
        let (tasks, gates) = (Tasks::default(), Gates::default());
        let (queue, opened) = (tasks.clone(), gates.clone());
        let (cache, clock) = cache(|builder| {
            builder.refresh_with_async(
                move |_: &u32, old: &u32| {
                    let (gate, wait) = oneshot::channel::<Option<u32>>();
                    opened.lock().unwrap().push_back(gate);
                    let old = *old;
                    async move { wait.await.expect("the reload is told to fail").map(|more| old + more) }
                },
                move |task| queue.lock().unwrap().push_back(task),
            )
        });
        cache.insert(1, 1);
        clock.advance(11 * SECOND);
        assert_eq!(cache.get_with(1, untouched), 1);
        (cache, clock, tasks, gates)
    }

    fn next(tasks: &Tasks) -> RefreshTask {
        tasks.lock().unwrap().pop_front().expect("a task")
    }

    fn step(task: &mut RefreshTask) -> Poll<()> {
        poll(Pin::new(task), &Bell::new())
    }

    #[test]
    fn a_task_brings_the_new_value() {
        let (cache, _clock, tasks, gates) = with_tasks();
        let mut task = next(&tasks);
        assert!(step(&mut task).is_pending());
        assert_eq!(cache.get_with(1, untouched), 1);
        gates.lock().unwrap().pop_front().unwrap().send(Some(5)).unwrap();
        assert!(step(&mut task).is_ready());
        assert_eq!((cache.get(&1), cache.stats().refreshes), (Some(6), 1));
        cache.validate();
    }

    #[test]
    fn one_that_comes_to_nothing_keeps_the_old_value() {
        type End = fn(RefreshTask, oneshot::Sender<Option<u32>>);
        let ends: [(End, u64); 3] = [
            (
                |mut task, gate| {
                    gate.send(None).unwrap();
                    assert!(step(&mut task).is_ready());
                },
                1,
            ),
            (|task, _| drop(task), 1),
            (
                |mut task, gate| {
                    drop(gate);
                    assert!(catch_unwind(AssertUnwindSafe(|| step(&mut task).is_ready())).is_err());
                },
                1,
            ),
        ];
        for (end, failures) in ends {
            let (cache, clock, tasks, gates) = with_tasks();
            let mut task = next(&tasks);
            assert!(step(&mut task).is_pending());
            let gate = gates.lock().unwrap().pop_front().unwrap();
            end(task, gate);
            assert_eq!((cache.get(&1), cache.stats().refresh_failures), (Some(1), failures));
            assert_eq!(cache.entry(1).and_upsert_with(|old| old.unwrap().into_value()).into_value(), 1);
            clock.advance(11 * SECOND);
            assert_eq!(cache.get_with(1, untouched), 1);
            assert_eq!(tasks.lock().unwrap().len(), 1, "another attempt");
            cache.validate();
        }
    }

    #[test]
    fn nobody_waits_for_a_task_and_what_comes_between_wins() {
        let (cache, clock, tasks, gates) = with_tasks();
        let mut task = next(&tasks);
        assert!(step(&mut task).is_pending());
        clock.advance(60 * SECOND);
        assert_eq!(cache.timeout(Duration::ZERO).get_with(1, || 2), Ok(2));
        gates.lock().unwrap().pop_front().unwrap().send(Some(5)).unwrap();
        assert!(step(&mut task).is_ready());
        assert_eq!(cache.get(&1), Some(2));
        // And one that was not polled yet leaves alone what came since.
        clock.advance(11 * SECOND);
        assert_eq!(cache.get_with(1, untouched), 2);
        cache.insert(1, 8);
        assert!(step(&mut next(&tasks)).is_ready());
        assert_eq!((cache.get(&1), gates.lock().unwrap().len()), (Some(8), 0));
        cache.validate();
        // Nor does one that waits to be polled keep a cache alive.
        clock.advance(11 * SECOND);
        assert_eq!(cache.get_with(1, untouched), 8);
        let weak = cache.downgrade();
        drop(cache);
        assert!(weak.upgrade().is_none());
        assert!(step(&mut next(&tasks)).is_ready());
    }
}

std::thread_local! {
    /// How many clones of a `Fragile` this thread makes before one panics; 0 for any number.
    static CLONES_TO_GO: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

struct Fragile(u32);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        let to_go = CLONES_TO_GO.get();
        CLONES_TO_GO.set(to_go.saturating_sub(1));
        assert!(to_go != 1, "this clone panics");
        Self(self.0)
    }
}

/// The value was loaded and stored, and others were told of it. Only the caller's own clone of it
/// panicked. That counted as a refresh that failed, and the new value was due again soon.
#[test]
fn one_that_is_stored_has_not_failed_where_its_callers_clone_panics() {
    let clock = ManualClock::new();
    let cache: Cache<u32, Fragile> = Cache::builder()
        .time_to_live(60 * SECOND)
        .refresh_after_write(10 * SECOND)
        .record_stats()
        .clock(clock.clone())
        .build()
        .unwrap();
    cache.insert(1, Fragile(1));
    clock.advance(11 * SECOND);
    let renewed = catch_unwind(AssertUnwindSafe(|| {
        let (joining, mut joined) = (cache.clone(), None);
        let renewed = cache.get_with(1, || {
            // The old value is over by now, so another call waits for this load.
            clock.advance_without_sweeping(60 * SECOND);
            joined = Some(thread::spawn(move || joining.get_with(1, || unreachable!("it waits")).0));
            until_waiting(&cache, 1);
            // The first clone is stored.
            CLONES_TO_GO.set(2);
            Fragile(2)
        });
        assert_eq!(joined.unwrap().join().unwrap(), 2);
        renewed.0
    }));
    CLONES_TO_GO.set(0);
    assert!(renewed.is_err(), "its own clone panics");
    assert_eq!(cache.get(&1).map(|found| found.0), Some(2));
    assert_eq!((cache.stats().refreshes, cache.stats().refresh_failures), (1, 0));
    clock.advance(9 * SECOND);
    assert_eq!(cache.get_with(1, || unreachable!("it is young")).0, 2);
    cache.validate();
}

/// A job that brings its value when the old one is over, by its own time to live or by an eviction.
/// Nobody asked for it. It was stored as a new entry, which did not have the old one's time to live,
/// and so lived for ever.
#[test]
fn a_job_brings_nothing_back() {
    let jobs = Arc::new(Mutex::new(VecDeque::<RefreshJob>::new()));
    let (queue, clock) = (Arc::clone(&jobs), ManualClock::new());
    let ends = Arc::new(Mutex::new(Box::new(|| ()) as Box<dyn FnMut() + Send>));
    let end = Arc::clone(&ends);
    let cache: Numbers = Cache::builder()
        .max_capacity(64)
        .shards(1)
        .refresh_after_write(3 * SECOND)
        .refresh_with(
            move |_, old| {
                end.lock().unwrap()();
                Some(old + 1)
            },
            move |job| queue.lock().unwrap().push_back(job),
        )
        .record_stats()
        .clock(clock.clone())
        .build()
        .unwrap();
    let run = || {
        cache.insert_with_ttl(1, 1, 5 * SECOND);
        clock.advance(4 * SECOND);
        assert_eq!(cache.get_with(1, untouched), 1);
        jobs.lock().unwrap().pop_front().expect("the value is old")();
        assert_eq!(cache.remaining_ttl(&1), None, "it came back");
        assert_eq!(cache.peek(&1), None);
        cache.validate();
    };
    let slow = clock.clone();
    *ends.lock().unwrap() = Box::new(move || slow.advance(2 * SECOND));
    run();
    let slow = clock.clone();
    *ends.lock().unwrap() = Box::new(move || slow.advance_without_sweeping(2 * SECOND));
    run();
    let evicting = cache.clone();
    *ends.lock().unwrap() = Box::new(move || {
        for key in (2..).take_while(|_| evicting.contains_key(&1)) {
            evicting.insert(key, 0);
        }
    });
    run();
    assert_eq!(cache.stats().refresh_failures, 0);
    // While the old value is there, it is replaced, and its time to live begins again.
    *ends.lock().unwrap() = Box::new(|| ());
    cache.insert_with_ttl(1, 1, 5 * SECOND);
    clock.advance(4 * SECOND);
    assert_eq!(cache.get_with(1, untouched), 1);
    jobs.lock().unwrap().pop_front().expect("the value is old")();
    assert_eq!((cache.peek(&1), cache.remaining_ttl(&1)), (Some(2), Some(5 * SECOND)));
}
