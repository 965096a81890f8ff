//! Loads that go on without the calls that began them.

use crate::bare::{Running, block_on};
use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, LoadError, LoadJob, LoadTask, ManualClock, TimedOut};
use tokio::sync::oneshot;

const LONG: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

type Numbers = Cache<u32, u32>;

fn inline(job: LoadJob) {
    job();
}

fn unused(_: LoadJob) {
    unreachable!("another call loads, or nobody")
}

/// Five who are in a hurry: the source is asked once, and what it answers is cached.
#[test]
fn who_gives_up_leaves_a_load_that_goes_on() {
    let cache = Numbers::new(10);
    let calls = Arc::new(AtomicU32::new(0));
    let (answer, question) = channel::<u32>();
    let mut question = Some(question);
    let (threads, started) = channel();
    for _ in 0..5 {
        let (calls, question, threads) = (calls.clone(), question.take(), threads.clone());
        let load = move || {
            calls.fetch_add(1, Ordering::Relaxed);
            question.expect("the source is asked once").recv().unwrap()
        };
        let run = move |job: LoadJob| threads.send(thread::spawn(job)).unwrap();
        let hurried = cache.get_with_detached(1, Duration::from_millis(5), load, run);
        assert!(matches!(hurried, Err(TimedOut { timeout, .. }) if timeout == Duration::from_millis(5)));
    }
    let waiting = cache.clone();
    let waiter = Running::begun(async move { waiting.get_with_async(1, async { unreachable!() }).await });
    answer.send(7).unwrap();
    started.recv().unwrap().join().unwrap();
    assert!(started.try_recv().is_err(), "one was started");
    assert_eq!((cache.get(&1), waiter.finish(), calls.load(Ordering::Relaxed)), (Some(7), 7, 1));
    assert_eq!(cache.get_with_detached(1, Duration::ZERO, || unreachable!("it is there"), unused), Ok(7));
    cache.validate();
}

/// There is no other call: what is late is this call's own job.
#[test]
fn who_gives_up_on_its_own_load_is_told_of_no_other_call() {
    let cache = Numbers::new(10);
    let hurry = Duration::from_millis(5);
    let (answer, question) = channel::<u32>();
    let mut threads = Vec::new();
    let load = move || question.recv().unwrap();
    let late = cache.get_with_detached(1, hurry, load, |job| threads.push(thread::spawn(job)));
    assert_eq!(late.unwrap_err().to_string(), "the load or computation of the key was not done within 5ms");
    // The next one waits for that job, and is told the same.
    let late = cache.try_get_with_detached(1, hurry, || Err::<u32, _>("no"), unused);
    assert_eq!(late.unwrap_err().to_string(), "the load or computation of the key was not done within 5ms");
    answer.send(7).unwrap();
    threads.pop().unwrap().join().unwrap();
    assert_eq!(cache.get(&1), Some(7));
    cache.validate();
}

#[test]
fn what_it_comes_to_is_told() {
    let cache = Numbers::new(10);
    assert_eq!(cache.get_with_detached(1, LONG, || 1, inline), Ok(1));
    assert_eq!(cache.get_with_detached(2, LONG, || 2, |job| drop(thread::spawn(job))), Ok(2));
    assert_eq!(cache.optionally_get_with_detached(3, LONG, || None, inline), Ok(None));
    assert_eq!(cache.optionally_get_with_detached(3, LONG, || Some(3), inline), Ok(Some(3)));
    let failed = cache.try_get_with_detached(4, LONG, || Err("no"), inline);
    assert!(matches!(failed, Err(LoadError::Failed(error)) if *error == "no"));
    assert_eq!(cache.try_get_with_detached(4, LONG, || Ok::<_, ()>(4), inline).unwrap(), 4);
    let hurried =
        cache.try_get_with_detached(5, Duration::ZERO, || Err("no"), |job| drop(thread::spawn(job)));
    assert!(matches!(hurried, Err(LoadError::TimedOut(_) | LoadError::Failed(_))));
    assert_eq!([1, 2, 3, 4].map(|key| cache.get(&key)), [1, 2, 3, 4].map(Some));
    cache.validate();
}

fn is_lost<R>(call: impl FnOnce() -> R) {
    let panic = catch_unwind(AssertUnwindSafe(|| drop(call()))).unwrap_err();
    let text = panic.downcast_ref::<&str>().expect("a panic that says why");
    assert!(text.contains("its executor has dropped it"), "{text}");
}

/// The job is dropped, or panics, or the executor does: the call is told so, and others who wait load by themselves.
#[test]
fn a_job_that_is_lost_takes_nobody_else_along() {
    let executors: [fn(LoadJob); 3] =
        [drop, |_| panic!("no thread to be had"), |job| drop(catch_unwind(AssertUnwindSafe(job)))];
    for executor in executors {
        let cache = Numbers::new(10);
        let mut others = Vec::new();
        is_lost(|| {
            cache.get_with_detached(
                1,
                LONG,
                || panic!("on purpose"),
                |job| {
                    let waiting = cache.clone();
                    others.push(Running::begun(async move { waiting.get_with_async(1, async { 8 }).await }));
                    executor(job);
                },
            )
        });
        assert_eq!(others.pop().unwrap().finish(), 8);
        assert_eq!(cache.get(&1), Some(8));
        cache.validate();
    }
}

/// An executor that drops the job may load the key itself: its caller does not have the turn.
#[test]
fn an_executor_that_drops_the_job_may_ask_for_the_key() {
    let _watchdog = crate::watchdog::Watchdog::over("an executor that asks", 60);
    let cache = Numbers::new(10);
    let executor = |job: LoadJob| {
        drop(job);
        assert_eq!(cache.get_with(1, || 5), 5);
    };
    let call = cache.get_with_detached(1, LONG, || unreachable!("the job is dropped"), executor);
    assert_eq!(call, Ok(5), "it finds what was loaded in its place");
    let executor = |task: LoadTask| {
        drop(task);
        assert_eq!(cache.get_with(2, || 6), 6);
    };
    assert_eq!(block_on(cache.get_with_detached_async(2, std::future::pending(), executor)), 6);
    cache.validate();
}

thread_local! {
    static WHEN_CLONED: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// A waker that does once what this thread has asked for, when it is cloned: that is after an executor has returned, and
/// before the call listens.
fn does_when_cloned() -> Waker {
    const TABLE: RawWakerVTable = RawWakerVTable::new(
        |data| {
            if let Some(run) = WHEN_CLONED.take() {
                run();
            }
            RawWaker::new(data, &TABLE)
        },
        |_| {},
        |_| {},
        |_| {},
    );
    // SAFETY: the functions do nothing with the pointer.
    unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &TABLE)) }
}

/// A task is lost after its executor has returned, and before its call listens: the call finds what was loaded instead, or
/// is told so. It panicked for a reason that was not to be.
#[test]
fn a_task_that_is_lost_before_its_call_listens_is_told_of() {
    let _watchdog = crate::watchdog::Watchdog::over("a task that is lost early", 60);
    for loads in [true, false] {
        let cache = Numbers::new(10);
        let other = cache.clone();
        let executor = |task: LoadTask| {
            WHEN_CLONED.set(Some(Box::new(move || {
                drop(task);
                if loads {
                    assert_eq!(other.get_with(1, || 5), 5);
                }
            })));
        };
        let mut call = pin!(cache.get_with_detached_async(1, std::future::pending(), executor));
        let mut poll = || call.as_mut().poll(&mut Context::from_waker(&does_when_cloned()));
        if loads {
            assert_eq!(poll(), Poll::Ready(5));
        } else {
            is_lost(poll);
        }
        cache.validate();
    }
}

/// A job that panics on another thread, whenever that is: the call is told why.
#[test]
fn a_job_that_panics_on_another_thread_is_told_of() {
    for _ in 0..1_000 {
        let cache = Numbers::new(10);
        let mut thread = None;
        let executor = |job: LoadJob| thread = Some(thread::spawn(|| catch_unwind(AssertUnwindSafe(job))));
        is_lost(|| cache.get_with_detached(1, LONG, || resume_unwind(Box::new("on purpose")), executor));
        assert!(thread.unwrap().join().unwrap().is_err());
        cache.validate();
    }
}

#[test]
fn what_is_removed_meanwhile_stays_so() {
    let cache = Numbers::new(10);
    let jobs = Mutex::new(Vec::new());
    assert!(cache.get_with_detached(1, Duration::ZERO, || 1, |job| jobs.lock().unwrap().push(job)).is_err());
    cache.invalidate(&1);
    // And who asks after that does not wait for it.
    assert_eq!(cache.get_with_detached(1, Duration::ZERO, || 2, inline), Ok(2));
    jobs.into_inner().unwrap().pop().unwrap()();
    assert_eq!(cache.get(&1), Some(2));
    cache.validate();
}

#[test]
fn it_may_load_other_keys_and_not_its_own() {
    let cache = Numbers::new(10);
    let inner = cache.clone();
    let load = move || inner.get_with(2, || 20) + 1;
    assert_eq!(cache.get_with_detached(1, LONG, load, inline), Ok(21));
    let inner = cache.clone();
    is_lost(|| {
        cache.get_with_detached(
            3,
            LONG,
            move || inner.get_with(3, || 1),
            |job| {
                let panic = catch_unwind(AssertUnwindSafe(job)).unwrap_err();
                assert!(panic.downcast_ref::<&str>().unwrap().contains("would wait for itself"));
            },
        )
    });
    assert_eq!(cache.get_with(3, || 3), 3);
    cache.validate();
}

/// An old value is served at once, and loaded anew behind the call.
#[test]
fn an_old_value_is_served() {
    let clock = ManualClock::new();
    let builder = Cache::builder().refresh_after_write(10 * SECOND).clock(clock.clone()).record_stats();
    let cache: Numbers = builder.build().unwrap();
    let jobs = Mutex::new(Vec::new());
    cache.insert(1, 1);
    clock.advance(11 * SECOND);
    let queue = |job: LoadJob| jobs.lock().unwrap().push(job);
    assert_eq!(cache.get_with_detached(1, Duration::ZERO, || 2, queue), Ok(1));
    assert_eq!(
        cache.get_with_detached(1, Duration::ZERO, || unreachable!("somebody is at it"), unused),
        Ok(1)
    );
    jobs.lock().unwrap().pop().unwrap()();
    assert_eq!((cache.get(&1), cache.stats().refreshes), (Some(2), 1));
    // One that is lost leaves it as it is.
    clock.advance(11 * SECOND);
    assert_eq!(cache.get_with_detached(1, Duration::ZERO, || 3, drop), Ok(2));
    clock.advance(2 * SECOND);
    assert_eq!(block_on(cache.get_with_detached_async(1, async { 3 }, block_on)), 2);
    assert_eq!(cache.get(&1), Some(3));
    cache.validate();
}

/// A call that is dropped leaves a task that goes on.
#[test]
fn a_future_that_is_dropped_leaves_a_task_that_goes_on() {
    let cache = Numbers::new(10);
    let (end, ended) = oneshot::channel::<u32>();
    let tasks = Arc::new(Mutex::new(Vec::<LoadTask>::new()));
    let (asking, queue) = (cache.clone(), tasks.clone());
    let hurried = Running::begun(async move {
        let spawn = |task| queue.lock().unwrap().push(task);
        asking.get_with_detached_async(1, async { ended.await.unwrap() }, spawn).await
    });
    let waiting = cache.clone();
    let waiter = Running::begun(async move {
        waiting.get_with_detached_async(1, async { unreachable!() }, |_| unreachable!("it is loaded")).await
    });
    let mut task = Running::begun(tasks.lock().unwrap().pop().unwrap());
    drop(hurried);
    assert!(!waiter.is_woken());
    end.send(7).unwrap();
    assert_eq!(task.step(), Poll::Ready(()));
    assert_eq!((waiter.finish(), cache.get(&1)), (7, Some(7)));
    cache.validate();
}

/// A task that is dropped at whatever point: the call is told so, and the next who waits loads.
#[test]
fn a_task_that_is_lost_takes_nobody_else_along() {
    for polls in 0..2 {
        let cache = Numbers::new(10);
        let tasks = Arc::new(Mutex::new(Vec::<LoadTask>::new()));
        let (asking, queue) = (cache.clone(), tasks.clone());
        let mut call = Running::begun(async move {
            let spawn = |task| queue.lock().unwrap().push(task);
            asking.get_with_detached_async(1, std::future::pending(), spawn).await
        });
        let waiting = cache.clone();
        let waiter = Running::begun(async move { waiting.get_with_async(1, async { 8 }).await });
        let mut task = Running::new(tasks.lock().unwrap().pop().unwrap());
        assert!((0..polls).all(|_| task.step().is_pending()));
        drop(task);
        is_lost(|| call.step());
        drop(call);
        assert_eq!((waiter.finish(), cache.get(&1)), (8, Some(8)));
        cache.validate();
    }
}

#[test]
fn futures_fail_or_come_to_nothing_like_others() {
    let cache = Numbers::new(10);
    let spawn = |task| block_on::<LoadTask>(task);
    assert_eq!(block_on(cache.get_with_detached_async(1, async { 1 }, spawn)), 1);
    let failed = block_on(cache.try_get_with_detached_async(2, async { Err("no") }, spawn));
    assert_eq!(*failed.unwrap_err(), "no");
    assert_eq!(block_on(cache.optionally_get_with_detached_async(2, async { None }, spawn)), None);
    assert_eq!(block_on(cache.optionally_get_with_detached_async(2, async { Some(2) }, spawn)), Some(2));
    cache.validate();
}

/// What a job has in hand is dropped after its turn was given back, and may ask for the key.
#[test]
fn the_destructor_of_a_loader_may_ask_for_the_key() {
    struct Asks(Numbers);

    impl Drop for Asks {
        fn drop(&mut self) {
            assert_eq!(self.0.timeout(SECOND).get_with(1, || 5), Ok(5));
        }
    }

    let _watchdog = crate::watchdog::Watchdog::over("a destructor that asks", 20);
    let cache = Numbers::new(10);
    let asks = Asks(cache.clone());
    let load = move || {
        let _ = &asks;
        7
    };
    // Nobody waits any more by the time that it is dropped: this call is out of time.
    let mut jobs = Vec::new();
    assert!(cache.get_with_detached(1, Duration::ZERO, load, |job| jobs.push(job)).is_err());
    drop(jobs);
    assert_eq!(cache.get(&1), Some(5));
    cache.invalidate(&1);
    let asks = Asks(cache.clone());
    let load = async move {
        let _asks = asks;
        std::future::pending().await
    };
    let mut tasks = Vec::new();
    {
        let mut call = std::pin::pin!(cache.get_with_detached_async(1, load, |task| tasks.push(task)));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(call.as_mut().poll(&mut context).is_pending());
    }
    let task = Running::begun(tasks.pop().unwrap());
    drop(task);
    assert_eq!(cache.get(&1), Some(5));
    cache.validate();
}
