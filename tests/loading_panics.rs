//! Panics of other people's code while a load is told to those who wait: they are nobody else's, and leave nobody waiting.

#[path = "common/watchdog.rs"]
mod watchdog;

use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, ManualClock};
use watchdog::Watchdog;

/// A key whose destructor panics, if it is told to.
struct Key(u32, Option<Arc<AtomicBool>>);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Drop for Key {
    fn drop(&mut self) {
        if self.1.as_ref().is_some_and(|armed| armed.load(Ordering::Relaxed)) && !thread::panicking() {
            resume_unwind(Box::new("a destructor panics"));
        }
    }
}

/// A value whose clone panics after so many.
struct Value(Arc<AtomicU32>);

impl Clone for Value {
    fn clone(&self) -> Self {
        if self.0.fetch_sub(1, Ordering::Relaxed) == 1 {
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
        let cache: Cache<Key, u32> = Cache::new(10);
        let armed = Arc::new(AtomicBool::new(false));
        let (begun, has_begun) = channel();
        let (go_on, gate): (_, Receiver<()>) = channel();
        let leader = {
            let cache = cache.clone();
            thread::spawn(move || {
                cache.get_with(Key(1, None), || {
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
                    let call = || cache.get_with(Key(1, Some(armed)), || 8);
                    catch_unwind(AssertUnwindSafe(call)).is_ok_and(|value| value == 7)
                })
            })
            .collect();
        start.wait();
        thread::sleep(Duration::from_millis(10));
        armed.store(true, Ordering::Relaxed);
        go_on.send(()).unwrap();
        assert_eq!(leader.join().unwrap(), 7, "the panic is not the leader's");
        waiters.into_iter().for_each(|waiter| drop(waiter.join().unwrap()));
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
    cache.insert(2, Value(Arc::new(AtomicU32::new(100))));
    let (begun, has_begun) = channel();
    let (go_on, gate): (_, Receiver<()>) = channel();
    // Cloned to be stored; and then, by the two who share it, in either order.
    let clones = Arc::new(AtomicU32::new(3));
    let leader = {
        let (cache, clones) = (cache.clone(), clones.clone());
        thread::spawn(move || {
            let call = || {
                cache.get_with(1, || {
                    begun.send(()).unwrap();
                    gate.recv().unwrap();
                    Value(clones)
                })
            };
            catch_unwind(AssertUnwindSafe(call)).is_ok()
        })
    };
    has_begun.recv().unwrap();
    let waiter = {
        let cache = cache.clone();
        thread::spawn(move || {
            catch_unwind(AssertUnwindSafe(|| cache.get_with(1, || unreachable!("it is loaded")))).is_ok()
        })
    };
    thread::sleep(Duration::from_millis(50));
    go_on.send(()).unwrap();
    let (leads, waits) = (leader.join().unwrap(), waiter.join().unwrap());
    assert!(leads != waits, "one of the clones panics: {leads}, {waits}");
    assert_eq!(hears.try_iter().collect::<Vec<_>>(), [2]);
    cache.validate();
}
