//! Many keys at once, those that are missing loaded with one call.

use crate::threads::{UnderWay, under_way};
use crate::waiting::until_waiting;
use crate::watchdog::Watchdog;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, mpsc};
use std::thread;
use tidewheel::Cache;

type Numbers = Cache<u32, u32>;

fn ten_times(keys: &[&u32]) -> Vec<(u32, u32)> {
    keys.iter().map(|&&key| (key, key * 10)).collect()
}

#[test]
fn one_call_brings_all_that_is_missing() {
    let cache = Numbers::new(100);
    cache.insert(2, 7);
    let mut calls = Vec::new();
    let values = cache.get_many_with([1, 2, 3, 1, 4, 3], |keys| {
        calls.push(keys.iter().map(|&&key| key).collect::<Vec<_>>());
        // One more than was asked for, and one less.
        vec![(3, 30), (99, 990), (1, 10)]
    });
    assert_eq!(values, [Some(10), Some(7), Some(30), Some(10), None, Some(30)]);
    assert_eq!(calls, [[1, 3, 4]]);
    assert_eq!((cache.get(&1), cache.get(&4), cache.get(&99)), (Some(10), None, None));
    assert_eq!(cache.get_many_with([1, 2, 3], |_| -> Vec<_> { unreachable!("all are there") }).len(), 3);
    assert!(cache.get_many_with([], |_| -> Vec<_> { unreachable!("none is asked for") }).is_empty());
    cache.validate();
}

/// In whatever order they ask for the same keys: each is loaded once, and nobody waits for ever.
#[test]
fn calls_that_overlap_load_each_key_once() {
    const KEYS: u32 = 64;
    for round in 0..200_u32 {
        let (cache, loads) = (Numbers::new(1_000), Mutex::new(HashMap::new()));
        let start = Barrier::new(6);
        thread::scope(|scope| {
            for who in 0..6_u32 {
                let (cache, loads, start) = (&cache, &loads, &start);
                scope.spawn(move || {
                    let mut keys: Vec<u32> =
                        (0..KEYS).map(|n| (n * (2 * who + 1) + round * who) % KEYS).collect();
                    if who % 2 == 0 {
                        keys.reverse();
                    }
                    start.wait();
                    if who == 5 {
                        for key in keys {
                            let load = || *loads.lock().unwrap().entry(key).or_insert(0) += 1;
                            assert_eq!(cache.get_with(key, || (load(), key * 10).1), key * 10);
                        }
                        return;
                    }
                    let values = cache.get_many_with(keys.iter().copied(), |missing| {
                        missing.iter().for_each(|&&key| *loads.lock().unwrap().entry(key).or_insert(0) += 1);
                        thread::yield_now();
                        ten_times(missing)
                    });
                    assert!(values.iter().zip(&keys).all(|(value, key)| *value == Some(key * 10)));
                });
            }
        });
        assert!(loads.into_inner().unwrap().values().all(|&loads| loads == 1));
        cache.validate();
    }
}

/// One who waits for several others that fail, brings what they did not.
#[test]
fn what_others_fail_to_load_is_loaded() {
    let cache = Numbers::new(100);
    let (begun, has_begun) = mpsc::channel();
    let gates: Vec<_> = (1..=3)
        .map(|key| {
            let (go, gate) = mpsc::channel::<()>();
            let (cache, begun) = (cache.clone(), begun.clone());
            let load = move || {
                cache.get_with(key, || {
                    begun.send(()).unwrap();
                    gate.recv().expect("told to fail");
                    unreachable!()
                })
            };
            (go, thread::spawn(load))
        })
        .collect();
    (0..3).for_each(|_| has_begun.recv().unwrap());
    let calls = AtomicUsize::new(0);
    let values = thread::scope(|scope| {
        let many = scope.spawn(|| {
            cache.get_many_with([1, 2, 3, 4], |keys| {
                calls.fetch_add(1, Ordering::Relaxed);
                ten_times(keys)
            })
        });
        until_waiting(&cache, 3);
        for (go, leader) in gates {
            drop(go);
            assert!(leader.join().is_err());
        }
        many.join().unwrap()
    });
    assert_eq!(values, [Some(10), Some(20), Some(30), Some(40)]);
    assert!((2..=4).contains(&calls.into_inner()));
    cache.validate();
}

#[test]
fn a_panic_leaves_all_keys_to_others() {
    let cache = Numbers::new(100);
    let load = || cache.get_many_with([1, 2, 3], |_| -> Vec<_> { panic!("no") });
    assert!(catch_unwind(AssertUnwindSafe(load)).is_err());
    assert_eq!(cache.get_many_with([3, 2, 1], ten_times), [Some(30), Some(20), Some(10)]);
    let nested = || {
        cache.get_many_with([4, 5], |keys| {
            assert_eq!(cache.get_with(6, || 60), 60, "another key");
            cache.get_with(5, || 50);
            ten_times(keys)
        })
    };
    let message = *catch_unwind(AssertUnwindSafe(nested)).unwrap_err().downcast::<&str>().unwrap();
    assert!(message.contains("would wait for itself"), "{message}");
    assert_eq!(cache.get_many_with([4, 5], ten_times), [Some(40), Some(50)]);
    cache.validate();
}

#[test]
fn what_is_written_meanwhile_wins() {
    let cache = Numbers::new(100);
    let values = cache.get_many_with([1, 2, 3], |keys| {
        cache.insert(1, 5);
        cache.invalidate(&2);
        ten_times(keys)
    });
    assert_eq!(values, [Some(10), Some(20), Some(30)]);
    assert_eq!(cache.get_many(&[1, 2, 3]), [Some(5), None, Some(30)]);
    cache.validate();
}

/// What a call brings for nobody is not taken for the answer of the next, which is asked for another key.
#[test]
fn what_nobody_asked_for_is_not_kept_for_later() {
    let cache = Numbers::new(100);
    let UnderWay { go_on, thread } = under_way(&cache);
    let (mut go_on, mut calls) = (Some(go_on), Vec::new());
    let values = cache.get_many_with([1, 2], |missing| {
        calls.push(missing.iter().map(|&&key| key).collect::<Vec<_>>());
        // The other load fails, and its key is this call's to load.
        match go_on.take() {
            Some(_) => vec![(1, 99), (2, 20)],
            None => Vec::new(),
        }
    });
    assert!(thread.join().is_err());
    assert_eq!(values, [None, Some(20)]);
    assert_eq!(calls, [[2], [1]]);
    assert_eq!(cache.get(&1), None);
    cache.validate();
}

#[test]
fn an_error_goes_to_all_who_wait_for_one_of_the_keys() {
    let _watchdog = Watchdog::over("a call that waits before it loads", 60);
    let cache = Numbers::new(100);
    cache.insert(1, 10);
    let (begun, has_begun) = mpsc::channel();
    let (go_on, gate) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let cache = &cache;
        let many = scope.spawn(move || {
            cache.try_get_many_with([1, 2, 3], |keys| {
                assert_eq!(keys, [&2, &3]);
                begun.send(()).unwrap();
                gate.recv().unwrap();
                Err::<Vec<_>, _>("no")
            })
        });
        has_begun.recv().unwrap();
        // Before it waits, it loads what nobody else does. So its own call fails first, and it waits for nobody.
        let both = cache.try_get_many_with([4, 3], |_| Err::<Vec<_>, _>("nor this"));
        assert_eq!(*both.unwrap_err(), "nor this");
        let one = scope.spawn(|| cache.try_get_with(2, || Err("not this one")));
        // One that knows no such error loads by itself.
        let other = scope.spawn(|| cache.get_with(3, || 33));
        until_waiting(cache, 2);
        go_on.send(()).unwrap();
        assert_eq!(*many.join().unwrap().unwrap_err(), "no");
        assert_eq!(*one.join().unwrap().unwrap_err(), "no");
        assert_eq!(other.join().unwrap(), 33);
    });
    cache.validate();
    let values = cache.try_get_many_with([1, 2, 3, 2], |keys| Ok::<_, ()>(ten_times(keys)));
    assert_eq!(values, Ok(vec![Some(10), Some(20), Some(33), Some(20)]));
    cache.validate();
}

/// A key that another call loads in vain fails the call that waits for it; what that one loaded itself is kept.
#[test]
fn an_error_of_another_call_is_an_error_of_this_one() {
    let cache = Numbers::new(100);
    let (begun, has_begun) = mpsc::channel();
    let (go_on, gate) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let cache = &cache;
        let one = scope.spawn(move || {
            cache.try_get_with(1, || {
                begun.send(()).unwrap();
                gate.recv().unwrap();
                Err("no")
            })
        });
        has_begun.recv().unwrap();
        let many = scope.spawn(|| {
            cache.try_get_many_with([1, 2], |keys| {
                assert_eq!(keys, [&2]);
                go_on.send(()).unwrap();
                Ok::<_, &str>(ten_times(keys))
            })
        });
        assert!(one.join().unwrap().is_err());
        assert_eq!(*many.join().unwrap().unwrap_err(), "no");
    });
    assert_eq!((cache.get(&1), cache.get(&2)), (None, Some(20)));
    cache.validate();
}

#[cfg(feature = "async")]
mod futures {
    use super::*;
    use crate::bare::{Running, block_on, pending};
    use std::time::Duration;
    use tokio::sync::oneshot;

    type Pairs = Vec<(u32, u32)>;

    async fn query(keys: Vec<u32>) -> Pairs {
        pending(2).await;
        keys.into_iter().map(|key| (key, key * 10)).collect()
    }

    #[test]
    fn one_future_brings_all_that_is_missing() {
        let cache = Numbers::new(100);
        cache.insert(2, 7);
        let mut calls = Vec::new();
        let values = block_on(cache.get_many_with_async([1, 2, 3, 1, 4, 3], |keys| {
            calls.push(keys);
            async { vec![(3, 30), (99, 990), (1, 10)] }
        }));
        assert_eq!(values, [Some(10), Some(7), Some(30), Some(10), None, Some(30)]);
        assert_eq!(calls, [[1, 3, 4]]);
        assert_eq!((cache.get(&4), cache.get(&99)), (None, None));
        let none = |_| async { unreachable!("nothing is missing") };
        let there: Vec<_> = block_on(cache.get_many_with_async::<Pairs, _>([1, 2, 3], none));
        assert_eq!(there.len(), 3);
        cache.validate();
    }

    /// Two that overlap, in different orders, and each waits for what the other one loads.
    #[test]
    fn calls_wait_for_what_others_load() {
        let cache = Numbers::new(100);
        let (end, ended) = oneshot::channel::<()>();
        let first = cache.clone();
        let mut ended = Some(ended);
        let first = Running::begun(async move {
            let load = |keys: Vec<u32>| {
                let ended = ended.take();
                async move {
                    if let Some(ended) = ended {
                        ended.await.unwrap();
                    }
                    keys.into_iter().map(|key| (key, key * 10)).collect::<Pairs>()
                }
            };
            first.get_many_with_async([1, 2], load).await
        });
        let second = cache.clone();
        let second = Running::begun(async move { second.get_many_with_async([3, 2, 1], query).await });
        let third = cache.clone();
        let third = Running::begun(async move { third.get_with_async(2, async { unreachable!() }).await });
        end.send(()).unwrap();
        assert_eq!(first.finish(), [Some(10), Some(20)]);
        assert_eq!(third.finish(), 20);
        assert_eq!(second.finish(), [Some(30), Some(20), Some(10)]);
        cache.validate();
    }

    /// At whatever point a call is dropped, or panics, others load what it had taken upon itself.
    #[test]
    fn one_that_is_dropped_or_panics_hands_over() {
        for panics in [false, true] {
            for polls in 1..5 {
                let cache = Numbers::new(100);
                let mine = cache.clone();
                let mut call = Running::new(async move {
                    let load = |keys| async move {
                        let pairs = query(keys).await;
                        assert!(!panics, "on purpose");
                        pairs
                    };
                    mine.get_many_with_async([1, 2, 3], load).await
                });
                let polled = catch_unwind(AssertUnwindSafe(|| (0..polls).any(|_| call.step().is_ready())));
                let theirs = cache.clone();
                let other = (!matches!(polled, Ok(true)) && polled.is_ok())
                    .then(|| Running::begun(async move { theirs.get_many_with_async([3, 1], query).await }));
                drop(call);
                if let Some(other) = other {
                    assert_eq!(other.finish(), [Some(30), Some(10)]);
                }
                cache.validate();
                assert_eq!(cache.timeout(Duration::ZERO).get_with(2, || 20), Ok(20));
            }
        }
    }

    #[test]
    fn an_error_is_told_and_not_stored() {
        let cache = Numbers::new(100);
        let (end, ended) = oneshot::channel::<()>();
        let (first, second) = (cache.clone(), cache.clone());
        let mut ended = Some(ended);
        let first = Running::begun(async move {
            let load = |_| {
                let ended = ended.take().unwrap();
                async move {
                    ended.await.unwrap();
                    Err::<Pairs, _>("no")
                }
            };
            first.try_get_many_with_async([1, 2], load).await
        });
        let load = |keys| async { Ok::<_, &str>(query(keys).await) };
        let second = Running::new(async move { second.try_get_many_with_async([3, 2], load).await });
        let mut second = second;
        assert!((0..5).all(|_| second.step().is_pending()), "it waits for key 2");
        end.send(()).unwrap();
        assert_eq!(*first.finish().unwrap_err(), "no");
        assert_eq!(*second.finish().unwrap_err(), "no");
        assert_eq!((cache.get(&1), cache.get(&2), cache.get(&3)), (None, None, Some(30)));
        cache.validate();
    }

    /// From inside it one may load other keys, and not its own.
    #[test]
    fn a_future_that_asks_for_a_key_of_its_own_panics() {
        let cache = Numbers::new(100);
        let nested = |keys: Vec<u32>| {
            let cache = &cache;
            async move {
                assert_eq!(cache.get_with_async(5, async { 50 }).await, 50);
                cache.get_with_async(keys[0], async { 1 }).await;
                Pairs::new()
            }
        };
        let call = catch_unwind(AssertUnwindSafe(|| block_on(cache.get_many_with_async([1, 2], nested))));
        assert!(call.is_err(), "it would wait for itself");
        assert_eq!(cache.timeout(Duration::ZERO).get_with(2, || 20), Ok(20));
        cache.validate();
    }
}
