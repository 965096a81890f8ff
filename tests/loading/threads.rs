//! Get, or load once: one loader for a key at a time, whatever becomes of it.

use crate::waiting::until_waiting;
use std::error::Error;
use std::hash::{Hash, Hasher};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;
use tidewheel::{BuildError, Cache, LoadError, TimedOut};

type Numbers = Cache<u32, u32>;

/// A load of key 1 on a thread of its own, which is in its loader when this returns, and goes on at a word.
pub(crate) struct UnderWay {
    pub(crate) go_on: Sender<u32>,
    pub(crate) thread: thread::JoinHandle<u32>,
}

pub(crate) fn under_way(cache: &Numbers) -> UnderWay {
    let (go_on, gate): (_, Receiver<u32>) = channel();
    let (begun, has_begun) = channel();
    let cache = cache.clone();
    let thread = thread::spawn(move || {
        cache.get_with(1, move || {
            begun.send(()).unwrap();
            match gate.recv() {
                Ok(value) => value,
                Err(_) => panic!("the loader is told to fail"),
            }
        })
    });
    has_begun.recv().unwrap();
    UnderWay { go_on, thread }
}

/// Calls of `get_with` on threads of their own.
fn callers(cache: &Numbers, count: usize, value: u32, runs: &Arc<AtomicU32>) -> Vec<thread::JoinHandle<u32>> {
    (0..count)
        .map(|_| {
            let (cache, runs) = (cache.clone(), runs.clone());
            thread::spawn(move || {
                cache.get_with(1, || {
                    runs.fetch_add(1, Ordering::Relaxed);
                    value
                })
            })
        })
        .collect()
}

/// The same, which wait for a load that is under way.
fn waiters(cache: &Numbers, count: usize, value: u32, runs: &Arc<AtomicU32>) -> Vec<thread::JoinHandle<u32>> {
    let before = cache.waiting();
    let threads = callers(cache, count, value, runs);
    until_waiting(cache, before + count);
    threads
}

#[test]
fn sixteen_threads_load_each_key_once() {
    const KEYS: u32 = 2_000;
    let cache = Numbers::builder().build().unwrap();
    let (loads, start) = (AtomicU32::new(0), Barrier::new(16));
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                start.wait();
                for key in 0..KEYS {
                    let value = cache.get_with(key, || {
                        loads.fetch_add(1, Ordering::Relaxed);
                        thread::yield_now();
                        key * 3
                    });
                    assert_eq!(value, key * 3);
                }
            });
        }
    });
    assert_eq!(loads.into_inner(), KEYS);
    assert_eq!(cache.entry_count(), KEYS as usize);
    cache.validate();
}

#[test]
fn who_waits_gets_what_was_loaded() {
    let cache = Numbers::new(10);
    let runs = Arc::default();
    let load = under_way(&cache);
    let waiters = waiters(&cache, 4, 8, &runs);
    load.go_on.send(7).unwrap();
    assert_eq!(load.thread.join().unwrap(), 7);
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), 7);
    }
    assert_eq!(runs.load(Ordering::Relaxed), 0);
    assert_eq!(cache.get(&1), Some(7));
    cache.validate();
}

#[test]
fn the_next_takes_over_from_one_who_panics() {
    let cache = Numbers::new(10);
    let runs = Arc::default();
    let load = under_way(&cache);
    let waiters = waiters(&cache, 4, 8, &runs);
    drop(load.go_on);
    assert!(load.thread.join().is_err());
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), 8);
    }
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    assert_eq!(cache.get(&1), Some(8));
    cache.validate();
}

#[test]
fn what_was_removed_during_a_load_stays_so() {
    for remove in [
        (|cache: &Numbers| assert!(!cache.invalidate(&1))) as fn(&Numbers),
        |cache| assert_eq!(cache.remove(&1), None),
        Cache::invalidate_all,
        |cache| {
            cache.insert(1, 5);
            assert_eq!(cache.remove_if(&1, |_| true), Some(5));
        },
    ] {
        let cache = Numbers::new(10);
        let runs = Arc::default();
        let load = under_way(&cache);
        let before = waiters(&cache, 2, 8, &runs);
        remove(&cache);
        // Asked after the removal: the value that is under way may be older than it, and is not waited for.
        for caller in callers(&cache, 2, 9, &runs) {
            assert_eq!(caller.join().unwrap(), 9);
        }
        load.go_on.send(7).unwrap();
        assert_eq!(load.thread.join().unwrap(), 7);
        for waiter in before {
            assert_eq!(waiter.join().unwrap(), 7);
        }
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        assert_eq!(cache.get(&1), Some(9));
        cache.validate();
    }
}

#[test]
fn what_was_inserted_during_a_load_stays() {
    for insert in [
        (|cache: &Numbers| cache.insert(1, 5)) as fn(&Numbers),
        |cache| cache.insert_with_ttl(1, 5, Duration::from_secs(60)),
        |cache| assert_eq!(cache.try_insert(1, 5), Ok(())),
        |cache| cache.insert_many([(1, 5)]),
        |cache| {
            cache.insert(2, 5);
            assert!(cache.rename(&2, 1));
        },
    ] {
        let cache = Numbers::new(10);
        let runs = Arc::default();
        let load = under_way(&cache);
        let before = waiters(&cache, 2, 8, &runs);
        insert(&cache);
        assert_eq!(cache.get_with(1, || unreachable!("it is there")), 5);
        load.go_on.send(7).unwrap();
        assert_eq!(load.thread.join().unwrap(), 7);
        for waiter in before {
            assert_eq!(waiter.join().unwrap(), 7);
        }
        assert_eq!(cache.get(&1), Some(5));
        // The load does not put a second entry beside it.
        assert_eq!(cache.entry_count(), 1);
        cache.validate();
    }
}

#[test]
fn an_error_goes_to_all_who_waited_and_is_not_stored() {
    let cache = Numbers::new(10);
    let (go_on, gate) = channel::<()>();
    let (begun, has_begun) = channel();
    let leader = {
        let cache = cache.clone();
        thread::spawn(move || {
            cache.try_get_with(1, || {
                begun.send(()).unwrap();
                gate.recv().unwrap();
                Err("no".to_string())
            })
        })
    };
    has_begun.recv().unwrap();
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let cache = cache.clone();
            thread::spawn(move || cache.try_get_with(1, || Err("not this one".to_string())))
        })
        .collect();
    // One that knows no such error runs its own loader in the end.
    let other = {
        let cache = cache.clone();
        thread::spawn(move || cache.optionally_get_with(1, || Some(6)))
    };
    until_waiting(&cache, 4);
    go_on.send(()).unwrap();
    let error = leader.join().unwrap().unwrap_err();
    for waiter in waiters {
        assert!(Arc::ptr_eq(&error, &waiter.join().unwrap().unwrap_err()));
    }
    assert_eq!(other.join().unwrap(), Some(6));
    assert_eq!(cache.get(&1), Some(6));
    cache.validate();
}

#[test]
fn none_is_told_and_not_stored() {
    let cache = Numbers::new(10);
    assert_eq!(cache.optionally_get_with(1, || None), None);
    assert_eq!(cache.optionally_get_with_by_ref(&1, || None), None);
    assert_eq!(cache.get(&1), None);
    assert_eq!(cache.optionally_get_with(1, || Some(2)), Some(2));
}

#[test]
fn who_waits_too_long_is_told_so() {
    let cache = Numbers::new(10);
    let load = under_way(&cache);
    let timeout = Duration::from_millis(20);
    let error = cache.timeout(timeout).get_with(1, || 8).unwrap_err();
    assert_eq!(error.timeout, timeout);
    assert_eq!(error.to_string(), "the load or computation of the key was not done within 20ms");
    assert!(cache.timeout(timeout).optionally_get_with(1, || Some(8)).is_err());
    let failed: Result<_, LoadError<u8>> = cache.timeout(timeout).try_get_with(1, || Ok(8));
    assert!(matches!(failed, Err(LoadError::TimedOut(TimedOut { .. }))));
    cache.validate();
    load.go_on.send(7).unwrap();
    assert_eq!(load.thread.join().unwrap(), 7);
    assert_eq!(cache.timeout(timeout).get_with(1, || 8), Ok(7));
}

/// Keys of which all have the same hash.
#[derive(Clone, PartialEq, Eq)]
struct Alike(u32);

impl Hash for Alike {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(0);
    }
}

/// A write invalidates the flights of all keys with its key's hash, whichever began first: it cannot tell, without asking
/// the user, which of them is its own.
#[test]
fn of_two_loads_whose_keys_have_the_same_hash_each_is_overtaken() {
    type Write = fn(&Cache<Alike, u32>, u32);
    let removals: [Write; 4] = [
        |cache, key| assert!(!cache.invalidate(&Alike(key))),
        |cache, key| assert_eq!(cache.remove(&Alike(key)), None),
        |cache, _| cache.invalidate_all(),
        |cache, key| {
            cache.insert(Alike(key), 5);
            assert!(cache.invalidate(&Alike(key)));
        },
    ];
    for removal in removals {
        for key in 1..=3 {
            let cache = Cache::<Alike, u32>::builder().build().unwrap();
            // Three loads under way, one in another.
            cache.get_with(Alike(1), || {
                cache.get_with(Alike(2), || {
                    cache.get_with(Alike(3), || {
                        removal(&cache, key);
                        3
                    })
                })
            });
            assert_eq!(cache.get(&Alike(key)), None, "the load of {key} began before it was removed");
            cache.validate();
        }
    }
}

/// A key that counts how many of them there are.
#[derive(Clone)]
struct Counted(Arc<()>);

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Counted {}

impl Hash for Counted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(0);
    }
}

/// Of a call that waits no more, nothing stays, though the load that it waited for goes on: neither its place among those
/// who wait, nor its key.
#[test]
fn who_leaves_takes_all_of_it_along() {
    let cache = Cache::<Counted, u32>::builder().build().unwrap();
    let key = Counted(Arc::new(()));
    let (go_on, gate) = channel::<()>();
    let (begun, has_begun) = channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            cache.get_with(key.clone(), move || {
                begun.send(()).unwrap();
                gate.recv().unwrap();
                7
            })
        });
        // In here, so that the load ends if something fails.
        let go_on = go_on;
        has_begun.recv().unwrap();
        let keys = Arc::strong_count(&key.0);
        for _ in 0..10 {
            let timeout = Duration::from_millis(1);
            assert!(cache.timeout(timeout).get_with(key.clone(), || 8).is_err());
            assert!(cache.entry(key.clone()).timeout(timeout).and_upsert_with(|_| 8).is_err());
            #[cfg(feature = "async")]
            for _ in 0..2 {
                drop(crate::bare::Running::begun({
                    let (cache, key) = (cache.clone(), key.clone());
                    async move { cache.get_with_async(key, async { 8 }).await }
                }));
            }
            assert_eq!((cache.waiting(), Arc::strong_count(&key.0)), (0, keys));
        }
        go_on.send(()).unwrap();
    });
    assert_eq!(cache.get(&key), Some(7));
    cache.validate();
}

#[test]
fn a_loader_may_load_other_keys_and_not_its_own() {
    let cache = Numbers::new(10);
    assert_eq!(cache.get_with(1, || cache.get_with(2, || cache.get_with(3, || 4) + 1) + 1), 6);
    let nested = catch_unwind(AssertUnwindSafe(|| cache.get_with(5, || cache.get_with(5, || 1))));
    let message = *nested.unwrap_err().downcast::<&str>().unwrap();
    assert!(message.contains("would wait for itself"), "{message}");
    assert_eq!(cache.get_with(5, || 7), 7);
    cache.validate();
}

/// A log that prints the text alone loses nothing, and one that prints the chain has nothing twice.
#[test]
fn a_loaders_error_reads_as_it_does_without_a_limit() {
    let cache = Numbers::new(10);
    let load = || Err::<u32, _>(BuildError::Reaper(io::Error::other("no thread is left")));
    let (plain, timed) =
        (cache.try_get_with(1, load), cache.timeout(Duration::from_secs(60)).try_get_with(1, load));
    let chain = |error: &dyn Error| {
        let all = std::iter::successors(Some(error), |&error| error.source());
        all.map(|error| error.to_string()).collect::<Vec<_>>()
    };
    let (plain, timed) = (chain(&*plain.unwrap_err()), chain(&timed.unwrap_err()));
    assert_eq!((plain.len(), timed), (2, plain));
}

/// With a timeout and a borrowed key: what is loaded, found, not there, and told of who takes too long.
#[test]
fn who_borrows_the_key_and_waits_for_a_time() {
    let cache = Numbers::new(10);
    let timeout = Duration::from_millis(20);
    let timed = cache.timeout(timeout);
    let no_load = || -> u32 { unreachable!("it is there, or somebody else's turn") };
    let no_try = || -> Result<u32, &str> { Ok(no_load()) };
    let no_option = || Some(no_load());
    assert_eq!(timed.get_with_by_ref(&2, || 5), Ok(5));
    assert_eq!(timed.get_with_by_ref(&2, no_load), Ok(5));
    let refused = timed.try_get_with_by_ref(&3, || Err("no"));
    assert!(matches!(refused, Err(LoadError::Failed(error)) if *error == "no"));
    assert_eq!(timed.try_get_with_by_ref(&3, || Ok::<_, &str>(6)).ok(), Some(6));
    assert_eq!(timed.try_get_with_by_ref(&3, no_try).ok(), Some(6));
    assert_eq!(timed.optionally_get_with_by_ref(&4, || None), Ok(None));
    assert_eq!(timed.optionally_get_with_by_ref(&4, || Some(7)), Ok(Some(7)));
    assert_eq!(timed.optionally_get_with_by_ref(&4, no_option), Ok(Some(7)));
    assert_eq!([1, 2, 3, 4].map(|key| cache.get(&key)), [None, Some(5), Some(6), Some(7)]);

    let UnderWay { go_on, thread } = under_way(&cache);
    assert!(
        matches!(timed.get_with_by_ref(&1, no_load), Err(TimedOut { timeout: told, .. }) if told == timeout)
    );
    let late = timed.try_get_with_by_ref(&1, no_try);
    assert!(matches!(late, Err(LoadError::TimedOut(told)) if told.timeout == timeout));
    assert!(timed.optionally_get_with_by_ref(&1, no_option).is_err());
    let passed_on = || -> Result<u32, LoadError<&str>> { Ok(timed.get_with_by_ref(&1, no_load)?) };
    assert!(matches!(passed_on(), Err(LoadError::TimedOut(told)) if told.timeout == timeout));
    go_on.send(9).unwrap();
    assert_eq!(thread.join().unwrap(), 9);
    assert_eq!(timed.get_with_by_ref(&1, no_load), Ok(9));
    cache.validate();
}
