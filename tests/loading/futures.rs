//! Get, or load once, for futures: on several executors, beside callers that are threads, and whatever becomes of the
//! one that loads. What a future that is dropped leaves behind: `cancelled.rs`.

use crate::bare::{Bell, Running, block_on, pending, poll};
use crate::threads;
use crate::waiting::until_waiting;
use crate::watchdog::Watchdog;
use async_executor::{Executor, LocalExecutor};
use futures_lite::future;
use std::any::Any;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, Op};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

type Numbers = Cache<u32, u32>;
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs tasks on some executor.
type Runs = fn(Vec<Task>);

/// What runs tasks side by side until all are done. A task's panic comes out.
const EXECUTORS: [(&str, Runs); 6] = [
    ("tokio, four threads", |tasks| {
        on_tokio(&Builder::new_multi_thread().worker_threads(4).build().unwrap(), tasks);
    }),
    ("tokio, this thread", |tasks| on_tokio(&Builder::new_current_thread().build().unwrap(), tasks)),
    ("async-executor, four threads", |tasks| {
        let executor = Executor::new();
        let mut tasks: Vec<_> = tasks.into_iter().map(|task| executor.spawn(task)).collect();
        thread::scope(|scope| {
            while !tasks.is_empty() {
                let mine = tasks.split_off(tasks.len().saturating_sub(4));
                scope.spawn(|| future::block_on(executor.run(all(mine))));
            }
        });
    }),
    ("async-executor, this thread", |tasks| {
        let executor = LocalExecutor::new();
        let tasks = tasks.into_iter().map(|task| executor.spawn(task)).collect();
        future::block_on(executor.run(all(tasks)));
    }),
    ("a bare executor for each", |tasks| {
        thread::scope(|scope| {
            for task in tasks {
                scope.spawn(move || block_on(task));
            }
        });
    }),
    ("one future of them all", |tasks| {
        let mut tasks: Vec<_> = tasks.into_iter().map(Some).collect();
        block_on(poll_fn(move |context| {
            for task in &mut tasks {
                if task.as_mut().is_some_and(|future| future.as_mut().poll(context).is_ready()) {
                    *task = None;
                }
            }
            if tasks.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
        }));
    }),
];

fn on_tokio(runtime: &Runtime, tasks: Vec<Task>) {
    let tasks: Vec<_> = tasks.into_iter().map(|task| runtime.spawn(task)).collect();
    runtime.block_on(async {
        for task in tasks {
            task.await.unwrap();
        }
    });
}

async fn all(tasks: Vec<async_executor::Task<()>>) {
    for task in tasks {
        task.await;
    }
}

/// A load of key 1 that has begun, and goes on at a word.
fn under_way(cache: &Numbers) -> (Running<u32>, oneshot::Sender<u32>) {
    let (cache, (go_on, gate)) = (cache.clone(), oneshot::channel());
    let load = async move {
        let loader = async { gate.await.expect("the loader is told to fail") };
        cache.get_with_async(1, loader).await
    };
    (Running::begun(load), go_on)
}

/// Calls that wait for it. Those that come to load themselves are counted.
fn waiters(cache: &Numbers, count: usize, value: u32, runs: &Arc<AtomicU32>) -> Vec<Running<u32>> {
    let waiter = |_| {
        let (cache, runs) = (cache.clone(), Arc::clone(runs));
        Running::begun(async move {
            let loader = async {
                runs.fetch_add(1, Ordering::Relaxed);
                value
            };
            cache.get_with_async(1, loader).await
        })
    };
    (0..count).map(waiter).collect()
}

/// The same from threads.
fn waiting_threads(cache: &Numbers, count: usize) -> Vec<thread::JoinHandle<u32>> {
    let waiter = |_| {
        let cache = cache.clone();
        thread::spawn(move || cache.get_with(1, || unreachable!("it is being loaded")))
    };
    let before = cache.waiting();
    let threads = (0..count).map(waiter).collect();
    until_waiting(cache, before + count);
    threads
}

fn message(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&str>().unwrap()).to_owned(),
    }
}

#[test]
fn sixteen_tasks_load_each_key_once_on_every_executor() {
    const KEYS: u32 = 500;
    let watchdog = Watchdog::over("sixteen tasks that load", 300);
    for (name, run) in EXECUTORS {
        let (cache, loads) = (Numbers::builder().build().unwrap(), Arc::new(AtomicU32::new(0)));
        let task = |number: u32| -> Task {
            let (cache, loads) = (cache.clone(), Arc::clone(&loads));
            Box::pin(async move {
                for key in 0..KEYS {
                    let loader = async {
                        loads.fetch_add(1, Ordering::Relaxed);
                        pending(1 + (key + number) % 3).await;
                        key * 3
                    };
                    assert_eq!(cache.get_with_async(key, loader).await, key * 3);
                }
            })
        };
        run((0..16).map(task).collect());
        assert_eq!(loads.load(Ordering::Relaxed), KEYS, "{name}");
        assert_eq!(cache.entry_count(), KEYS as usize, "{name}");
        cache.validate();
        watchdog.feed();
    }
}

#[test]
fn tasks_and_threads_load_each_key_once_together() {
    const KEYS: u32 = 2_000;
    let watchdog = Watchdog::over("tasks and threads that load", 300);
    let (cache, loads) = (Numbers::builder().build().unwrap(), Arc::new(AtomicU32::new(0)));
    let runtime = Builder::new_multi_thread().worker_threads(4).build().unwrap();
    let task = |_| -> Task {
        let (cache, loads) = (cache.clone(), Arc::clone(&loads));
        Box::pin(async move {
            for key in 0..KEYS {
                let loader = async {
                    loads.fetch_add(1, Ordering::Relaxed);
                    // A thread may wait for it and keep its core: no task of this runtime needs that core.
                    pending(2).await;
                    key + 1
                };
                assert_eq!(cache.get_with_async(key, loader).await, key + 1);
            }
        })
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for key in 0..KEYS {
                    let value = cache.get_with(key, || {
                        loads.fetch_add(1, Ordering::Relaxed);
                        thread::yield_now();
                        key + 1
                    });
                    assert_eq!(value, key + 1);
                    watchdog.feed();
                }
            });
        }
        on_tokio(&runtime, (0..12).map(task).collect());
    });
    assert_eq!(loads.load(Ordering::Relaxed), KEYS);
    cache.validate();
}

#[test]
fn who_waits_gets_what_was_loaded_and_is_woken_for_it() {
    let cache = Numbers::new(10);
    let runs = Arc::default();
    let (load, go_on) = under_way(&cache);
    let waiters = waiters(&cache, 4, 8, &runs);
    go_on.send(7).unwrap();
    assert!(!waiters.iter().any(Running::is_woken), "nothing is loaded yet");
    assert_eq!(load.finish(), 7);
    for waiter in waiters {
        assert_eq!(waiter.finish(), 7);
    }
    assert_eq!(runs.load(Ordering::Relaxed), 0);
    assert_eq!(cache.get(&1), Some(7));
    cache.validate();
}

#[test]
fn threads_wait_for_a_future() {
    let _watchdog = Watchdog::over("threads that wait for a future", 60);
    let cache = Numbers::new(10);
    let (load, go_on) = under_way(&cache);
    let threads = waiting_threads(&cache, 3);
    go_on.send(7).unwrap();
    assert_eq!(load.finish(), 7);
    for thread in threads {
        assert_eq!(thread.join().unwrap(), 7);
    }
    cache.validate();
}

#[test]
fn futures_wait_for_a_thread() {
    let _watchdog = Watchdog::over("futures that wait for a thread", 60);
    let (cache, runs) = (Numbers::new(10), Arc::default());
    let load = threads::under_way(&cache);
    let waiters = waiters(&cache, 3, 8, &runs);
    load.go_on.send(7).unwrap();
    assert_eq!(load.thread.join().unwrap(), 7);
    for waiter in waiters {
        assert_eq!(waiter.finish(), 7);
    }
    assert_eq!(runs.load(Ordering::Relaxed), 0);
    cache.validate();
}

#[test]
fn the_next_takes_over_from_one_that_panics_and_from_one_that_is_dropped() {
    for fail in [
        (|mut load: Running<u32>, go_on: oneshot::Sender<u32>| {
            drop(go_on);
            let panic = catch_unwind(AssertUnwindSafe(|| load.step().is_ready())).unwrap_err();
            assert!(message(panic).contains("the loader is told to fail"));
        }) as fn(_, _),
        |load, _go_on| drop(load),
    ] {
        let (cache, runs) = (Numbers::new(10), Arc::default());
        let (load, go_on) = under_way(&cache);
        let waiters = waiters(&cache, 4, 8, &runs);
        fail(load, go_on);
        assert_eq!(waiters.iter().filter(|waiter| waiter.is_woken()).count(), 1, "one has the turn");
        for waiter in waiters {
            assert_eq!(waiter.finish(), 8);
        }
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        assert_eq!(cache.get(&1), Some(8));
        cache.validate();
    }
}

#[test]
fn what_was_written_or_removed_during_a_load_wins() {
    // What the write leaves, and what those find who ask after it.
    type Write = fn(&Numbers);
    let writes: [(Write, Option<u32>); 6] = [
        (|cache| assert!(!cache.invalidate(&1)), None),
        (|cache| assert_eq!(cache.remove(&1), None), None),
        (Cache::invalidate_all, None),
        (
            |cache| {
                cache.insert(1, 5);
                assert_eq!(cache.remove(&1), Some(5));
            },
            None,
        ),
        (|cache| cache.insert(1, 5), Some(5)),
        (|cache| assert_eq!(cache.try_insert(1, 5), Ok(())), Some(5)),
    ];
    for (write, left) in writes {
        let (cache, runs) = (Numbers::new(10), Arc::default());
        let (load, go_on) = under_way(&cache);
        let before = waiters(&cache, 2, 8, &runs);
        write(&cache);
        // The value that is under way may be older than the removal: who comes after it has it loaded anew, at once.
        let after = async {
            assert_eq!(left, None, "it is there");
            9
        };
        assert_eq!(block_on(cache.get_with_async(1, after)), left.unwrap_or(9));
        go_on.send(7).unwrap();
        assert_eq!(load.finish(), 7);
        for waiter in before {
            assert_eq!(waiter.finish(), 7);
        }
        assert_eq!(runs.load(Ordering::Relaxed), 0);
        assert_eq!(cache.get(&1), left.or(Some(9)));
        cache.validate();
    }
}

#[test]
fn an_error_goes_to_all_who_waited_and_is_not_stored() {
    let _watchdog = Watchdog::over("calls that wait for an error", 60);
    let cache = Numbers::new(10);
    let (go_on, gate) = oneshot::channel::<()>();
    let call = |loader: Pin<Box<dyn Future<Output = Result<u32, String>> + Send>>| {
        let cache = cache.clone();
        async move { cache.try_get_with_async(1, loader).await }
    };
    let leader = Running::begun(call(Box::pin(async {
        gate.await.unwrap();
        Err("no".to_owned())
    })));
    let waiters: Vec<_> =
        (0..3).map(|_| Running::begun(call(Box::pin(async { Err("not this one".to_owned()) })))).collect();
    let thread = {
        let cache = cache.clone();
        thread::spawn(move || cache.try_get_with(1, || Err("nor this one".to_owned())))
    };
    until_waiting(&cache, 4);
    // One that knows no such error runs its own loader in the end.
    let other = cache.clone();
    let other = Running::begun(async move { other.optionally_get_with_async(1, async { Some(6) }).await });
    go_on.send(()).unwrap();
    let error = leader.finish().unwrap_err();
    assert_eq!(*error, "no");
    for waiter in waiters {
        assert!(Arc::ptr_eq(&error, &waiter.finish().unwrap_err()));
    }
    assert!(Arc::ptr_eq(&error, &thread.join().unwrap().unwrap_err()));
    assert_eq!(other.finish(), Some(6));
    assert_eq!(cache.get(&1), Some(6));
    cache.validate();
}

#[test]
fn none_is_told_and_not_stored() {
    let cache = Numbers::new(10);
    let (go_on, gate) = oneshot::channel::<()>();
    let leader = cache.clone();
    let leader = Running::begun(async move {
        let loader = async {
            gate.await.unwrap();
            None
        };
        leader.optionally_get_with_async(1, loader).await
    });
    let waiter = cache.clone();
    let waiter =
        Running::begun(async move { waiter.optionally_get_with_by_ref_async(&1, async { Some(3) }).await });
    go_on.send(()).unwrap();
    assert_eq!((leader.finish(), waiter.finish()), (None, None));
    assert_eq!(cache.get(&1), None);
    cache.validate();
}

#[test]
fn every_form_hits_loads_and_stores() {
    let cache: Cache<String, u32> = Cache::new(10);
    let key = || "k".to_owned();
    block_on(async {
        assert_eq!(cache.get_with_by_ref_async("k", async { 1 }).await, 1);
        assert_eq!(cache.get_with_async(key(), async { unreachable!() }).await, 1);
        assert_eq!(cache.get_with_by_ref_async("k", async { unreachable!() }).await, 1);
        assert_eq!(cache.try_get_with_async(key(), async { Err(2_u8) }).await, Ok(1));
        assert_eq!(cache.try_get_with_by_ref_async("k", async { Err(2_u8) }).await, Ok(1));
        assert_eq!(cache.optionally_get_with_async(key(), async { None }).await, Some(1));
        assert_eq!(cache.optionally_get_with_by_ref_async("k", async { None }).await, Some(1));
        cache.invalidate_all();
        assert_eq!(cache.try_get_with_async(key(), async { Err(2_u8) }).await, Err(Arc::new(2)));
        assert_eq!(cache.try_get_with_by_ref_async("k", async { Ok::<_, u8>(3) }).await, Ok(3));
        cache.invalidate_all();
        assert_eq!(cache.optionally_get_with_async(key(), async { Some(4) }).await, Some(4));
    });
    assert_eq!(cache.get("k"), Some(4));
}

#[test]
fn a_loader_may_load_other_keys_and_not_its_own() {
    let cache = Numbers::new(10);
    block_on(async {
        let inner = async {
            pending(1).await;
            cache.get_with(3, || 4) + 1
        };
        let middle = async { cache.get_with_async(2, inner).await + 1 };
        assert_eq!(cache.get_with_async(1, middle).await, 6);
    });
    // The same key: as a future, as a closure, and from within the load of another.
    let as_future = async { cache.get_with_async(5, async { 1 }).await };
    let as_closure = async { cache.get_with(5, || 1) };
    let in_another =
        async { cache.get_with_async(6, async { cache.get_with_async(5, async { 1 }).await }).await };
    let loaders: [Pin<Box<dyn Future<Output = u32>>>; 3] =
        [Box::pin(as_future), Box::pin(as_closure), Box::pin(in_another)];
    for loader in loaders {
        let nested = catch_unwind(AssertUnwindSafe(|| block_on(cache.get_with_async(5, loader))));
        let message = message(nested.unwrap_err());
        assert!(message.contains("would wait for itself"), "{message}");
        assert!(cache.get(&5).is_none() && cache.get(&6).is_none());
        cache.validate();
    }
    assert_eq!(block_on(cache.get_with_async(5, async { 7 })), 7);
    // Between two polls of its loader, its own thread may wait for it.
    let (mut load, go_on) = {
        cache.invalidate(&1);
        under_way(&cache)
    };
    assert!(cache.timeout(Duration::from_millis(1)).get_with(1, || 8).is_err());
    go_on.send(7).unwrap();
    assert_eq!(load.step(), Poll::Ready(7));
}

#[test]
fn a_load_may_be_polled_by_one_thread_after_the_other() {
    let cache = Numbers::new(10);
    let other = cache.clone();
    let mut load = Running::new(async move {
        let loader = async {
            let mut threads = vec![thread::current().id()];
            for _ in 0..5 {
                pending(1).await;
                threads.push(thread::current().id());
            }
            threads.dedup();
            // Wherever it is polled, its own key is its own.
            let nested = catch_unwind(AssertUnwindSafe(|| other.get_with(1, || 1)));
            assert!(message(nested.unwrap_err()).contains("would wait for itself"));
            threads.len() as u32
        };
        other.get_with_async(1, loader).await
    });
    let threads = loop {
        match thread::scope(|scope| scope.spawn(|| load.step()).join().unwrap()) {
            Poll::Ready(threads) => break threads,
            // Where it was polled before, it is not running now.
            Poll::Pending => assert!(cache.timeout(Duration::ZERO).get_with(1, || 8).is_err()),
        }
    };
    assert_eq!(threads, 6);
    assert_eq!(cache.get(&1), Some(6));
    cache.validate();
}

#[test]
fn the_waker_of_the_last_poll_is_the_one_that_is_woken() {
    let cache = Numbers::new(10);
    let (load, go_on) = under_way(&cache);
    let (first, last) = (Bell::new(), Bell::new());
    let mut waiter = Box::pin(cache.get_with_async(1, async { unreachable!("it is being loaded") }));
    for bell in [&first, &last] {
        assert!(poll(waiter.as_mut(), bell).is_pending());
    }
    go_on.send(7).unwrap();
    assert_eq!(load.finish(), 7);
    assert!(!first.take() && last.take());
    assert_eq!(poll(waiter.as_mut(), &last), Poll::Ready(7));
}

#[test]
fn calls_are_send_if_their_loaders_are() {
    fn is_send<T: Send>(_: &T) {}
    // A handle of a task's own, a key that is borrowed for long, and one that is not.
    async fn generic<K, V>(cache: Cache<K, V>, key: K, load: impl Future<Output = V> + Send) -> V
    where
        K: std::hash::Hash + Eq + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
    {
        cache.get_with_async(key, load).await
    }
    let (cache, text) = (Cache::<String, u32>::new(10), "k".to_owned());
    is_send(&generic(cache.clone(), text.clone(), async { 1 }));
    is_send(&cache.get_with_async(text.clone(), pending_one()));
    is_send(&cache.get_with_by_ref_async(text.as_str(), pending_one()));
    is_send(&cache.try_get_with_async(text.clone(), async { Err(String::new()) }));
    is_send(&cache.try_get_with_by_ref_async(text.as_str(), async { Err(String::new()) }));
    is_send(&cache.optionally_get_with_async(text.clone(), async { None }));
    is_send(&cache.optionally_get_with_by_ref_async(text.as_str(), async { None }));
    is_send(&cache.entry(text.clone()).or_insert_with_if_async(async { 1 }, |_| true));
    is_send(&cache.entry(text.clone()).and_compute_with_async(|_| async { Op::Nop }));

    // One that is not runs all the same, where it stays.
    let count = Rc::new(Cell::new(0));
    let executor = LocalExecutor::new();
    let task = |number: u32| {
        let (cache, count) = (cache.clone(), Rc::clone(&count));
        executor.spawn(async move {
            let loader = async {
                pending(3).await;
                count.set(count.get() + 1);
                number
            };
            assert_eq!(cache.get_with_by_ref_async("rc", loader).await, 0);
        })
    };
    let tasks: Vec<_> = (0..4).map(task).collect();
    future::block_on(executor.run(async {
        for task in tasks {
            task.await;
        }
    }));
    assert_eq!(count.get(), 1);
}

async fn pending_one() -> u32 {
    pending(1).await;
    1
}

#[test]
fn a_call_may_race_with_another_one_of_the_same_task() {
    let cache = Numbers::new(10);
    // Both of one key: the first leads, and the second waits for it, until the first is dropped because of the other.
    let raced = block_on(future::or(
        cache.get_with_async(1, future::pending()),
        future::or(cache.get_with_async(1, future::pending()), async {
            pending(2).await;
            9
        }),
    ));
    assert_eq!(raced, 9);
    let both = block_on(future::zip(
        cache.get_with_async(1, async {
            pending(2).await;
            5
        }),
        cache.get_with_async(1, async { unreachable!("the other one loads") }),
    ));
    assert_eq!(both, (5, 5));
    cache.validate();
}
