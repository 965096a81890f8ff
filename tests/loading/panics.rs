//! Panics of other people's code while a load is told to those who wait: they are nobody else's, and leave nobody waiting.

use crate::waiting::until_waiting;
use crate::watchdog::Watchdog;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread::{self, ThreadId};
use tidewheel::{Cache, ManualClock, WeakCache};

/// A key whose destructor panics, if it is told to.
#[derive(Clone)]
pub(crate) struct Bomb(pub(crate) u32, pub(crate) Option<Arc<AtomicBool>>);

impl Hash for Bomb {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialEq for Bomb {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Bomb {}

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.1.as_ref().is_some_and(|armed| armed.load(Ordering::Relaxed)) && !thread::panicking() {
            resume_unwind(Box::new("a destructor panics"));
        }
    }
}

/// A value whose second clone on the thread where it was made panics.
struct Value(Arc<(ThreadId, AtomicU32)>);

impl Value {
    fn new() -> Self {
        Self(Arc::new((thread::current().id(), AtomicU32::new(0))))
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        if thread::current().id() == self.0.0 && self.0.1.fetch_add(1, Ordering::Relaxed) == 1 {
            resume_unwind(Box::new("a clone panics"));
        }
        Self(self.0.clone())
    }
}

/// One who waits is told, goes, and leaves the last handle of its key to the leader, whose destructor panics.
#[test]
fn a_keys_destructor_panics_while_others_are_told() {
    for _ in 0..20 {
        let _watchdog = Watchdog::over("a call that was not told", 20);
        let cache: Cache<Bomb, u32> = Cache::new(10);
        let armed = Arc::new(AtomicBool::new(false));
        let (begun, has_begun) = channel();
        let (go_on, gate): (_, Receiver<()>) = channel();
        let leader = {
            let cache = cache.clone();
            thread::spawn(move || {
                cache.get_with(Bomb(1, None), || {
                    begun.send(()).unwrap();
                    gate.recv().unwrap();
                    7
                })
            })
        };
        has_begun.recv().unwrap();
        let start = Arc::new(Barrier::new(9));
        let waiters: Vec<_> = (0..8)
            .map(|_| {
                let (cache, armed, start) = (cache.clone(), armed.clone(), start.clone());
                thread::spawn(move || {
                    start.wait();
                    // Its own destructor's panic is its own, if it comes last.
                    let call = || cache.get_with(Bomb(1, Some(armed)), || 8);
                    catch_unwind(AssertUnwindSafe(call)).is_ok_and(|value| value == 7)
                })
            })
            .collect();
        start.wait();
        until_waiting(&cache, 8);
        armed.store(true, Ordering::Relaxed);
        go_on.send(()).unwrap();
        assert_eq!(leader.join().unwrap(), 7, "the panic is not the leader's");
        for waiter in waiters {
            waiter.join().unwrap();
        }
        armed.store(false, Ordering::Relaxed);
        cache.validate();
    }
}

/// The leader's own clone panics once the value is stored: what was left to do is done. Here: the listener is told of what
/// was evicted.
#[test]
fn a_clone_panics_after_the_value_is_stored() {
    let _watchdog = Watchdog::over("a load whose clone panics", 20);
    let (heard, hears) = channel();
    let cache: Cache<u32, Value> = Cache::builder()
        .shards(1)
        .max_capacity(1)
        .clock(ManualClock::new())
        .eviction_listener(move |key: &u32, _: &Value, _| heard.send(*key).unwrap())
        .build()
        .unwrap();
    cache.insert(2, Value::new());
    let (begun, has_begun) = channel();
    let (go_on, gate): (_, Receiver<()>) = channel();
    let leader = {
        let cache = cache.clone();
        thread::spawn(move || {
            let call = || {
                cache.get_with(1, || {
                    begun.send(()).unwrap();
                    gate.recv().unwrap();
                    Value::new()
                })
            };
            // Cloned once to be stored, and once because another call has it, too.
            catch_unwind(AssertUnwindSafe(call)).is_err()
        })
    };
    has_begun.recv().unwrap();
    let waiter = {
        let cache = cache.clone();
        thread::spawn(move || drop(cache.get_with(1, || unreachable!("it is loaded"))))
    };
    until_waiting(&cache, 1);
    go_on.send(()).unwrap();
    assert!(leader.join().unwrap(), "it shares its value with nobody");
    waiter.join().unwrap();
    assert_eq!(hears.try_iter().collect::<Vec<_>>(), [2]);
    cache.validate();
}

/// A value whose weigher panics, and whose destructor asks for the same key then, once.
#[derive(Clone)]
struct Asks(Arc<Plot>);

#[derive(Default)]
struct Plot {
    cache: OnceLock<WeakCache<u32, Asks>>,
    armed: AtomicBool,
    answered: AtomicBool,
}

impl Drop for Asks {
    fn drop(&mut self) {
        if thread::panicking() && self.0.armed.swap(false, Ordering::Relaxed) {
            let cache = self.0.cache.get().and_then(WeakCache::upgrade).expect("the cache is there");
            drop(cache.get_with(1, || Asks(self.0.clone())));
            self.0.answered.store(true, Ordering::Relaxed);
        }
    }
}

/// A value that is dropped because its weigher panics may ask for its own key: the turn was given back by then.
#[test]
fn a_values_destructor_asks_for_the_key_whose_weigher_panics() {
    let _watchdog = Watchdog::over("a load from a destructor", 20);
    let plot = Arc::new(Plot::default());
    let cache: Cache<u32, Asks> = Cache::builder()
        .max_capacity(10)
        .weigher(|_: &u32, value: &Asks| {
            if value.0.armed.load(Ordering::Relaxed) {
                resume_unwind(Box::new("a weigher panics"));
            }
            1
        })
        .build()
        .unwrap();
    plot.cache.set(cache.downgrade()).unwrap();
    plot.armed.store(true, Ordering::Relaxed);
    assert!(catch_unwind(AssertUnwindSafe(|| cache.get_with(1, || Asks(plot.clone())))).is_err());
    assert!(plot.answered.load(Ordering::Relaxed));
    assert!(cache.contains_key(&1));
    cache.validate();
}
