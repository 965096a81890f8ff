//! What a call that waited finds in its turn, and tells to the others: it was there when each of them asked.
//!
//! The bug that this pins: a waiter got the turn, read the value without a lock, and cloned it. Meanwhile the value was over or
//! evicted, others saw that there was none, and who asked then joined the flight, was told that value, and its loader never ran.

use crate::bare::Running;
use crate::waiting::until_waiting;
use std::cell::RefCell;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, ManualClock};

/// A value whose clones wait on threads that say so.
#[derive(Debug, PartialEq, Eq)]
struct Value(u32);

thread_local! {
    /// Says that a clone has begun, and waits for a word.
    static GATE: RefCell<Option<(Sender<()>, Receiver<()>)>> = const { RefCell::new(None) };
}

impl Clone for Value {
    fn clone(&self) -> Self {
        // Once: the next clone of this thread is none that anybody waits for.
        if let Some((begun, go_on)) = GATE.take() {
            begun.send(()).unwrap();
            go_on.recv().unwrap();
        }
        Self(self.0)
    }
}

type Values = Cache<u32, Value>;

/// How the waiting call asks.
type Ask = fn(&Values) -> Value;

const ASKS: &[(&str, Ask)] = &[
    ("get_with", |cache| cache.get_with(1, || unreachable!("it finds what was computed"))),
    ("get_with_async", |cache| crate::bare::block_on(cache.get_with_async(1, std::future::pending()))),
    ("get_many_with", |cache| {
        let values = cache.get_many_with([1], |_| -> Vec<_> { unreachable!("it finds what was computed") });
        values.into_iter().next().flatten().unwrap()
    }),
    ("or_insert_with", |cache| {
        let entry = cache.entry(1).or_insert_with(|| unreachable!("it finds what was computed"));
        assert!(!entry.is_fresh());
        entry.into_value()
    }),
];

/// How a value goes, with nobody who writes or removes it.
type Go = fn(&Values, &ManualClock);

const WAYS: &[(&str, Go)] = &[
    ("time passes", |_, clock| clock.advance_without_sweeping(Duration::from_secs(3600))),
    ("it is swept", |_, clock| clock.advance(Duration::from_secs(3600))),
    ("set_ttl", |cache, _| assert!(cache.set_ttl(&1, Duration::ZERO))),
    ("set_max_capacity", |cache, _| cache.set_max_capacity(0).unwrap()),
    ("another one takes its room", |cache, _| (2..50).for_each(|key| cache.insert(key, Value(key)))),
    ("invalidate", |cache, _| assert!(cache.invalidate(&1))),
    ("retain", |cache, _| cache.retain(|_, _| false)),
    ("invalidate_all", |cache, _| cache.invalidate_all()),
];

/// A call waits for a computation, has the turn, and is cloning what was computed; that goes; another one asks.
fn gone_while_it_is_looked_at(ask: Ask, go: Go) -> (Value, Value) {
    let clock = ManualClock::new();
    let cache = Cache::builder().max_capacity(1).shards(1).time_to_live(Duration::from_secs(5));
    let cache: Values = cache.clock(clock.clone()).build().unwrap();
    let (compute, computed) = channel::<()>();
    let (computes, is_computing) = channel();
    let computing = cache.clone();
    let computation = thread::spawn(move || {
        let _ = computing.entry(1).and_upsert_with(|_| {
            computes.send(()).unwrap();
            computed.recv().unwrap();
            Value(188)
        });
    });
    is_computing.recv().unwrap();
    let (clones, is_cloning) = channel();
    let (clone, cloned) = channel();
    let asking = cache.clone();
    let waiter = thread::spawn(move || {
        GATE.set(Some((clones, cloned)));
        ask(&asking)
    });
    until_waiting(&cache, 1);
    compute.send(()).unwrap();
    computation.join().unwrap();
    is_cloning.recv_timeout(Duration::from_secs(20)).expect("it looks at what was computed");
    go(&cache, &clock);
    assert_eq!(cache.peek(&1), None);
    let late = cache.clone();
    let mut late = Running::new(async move { late.get_with_async(1, async { Value(2) }).await });
    let at_once = late.step();
    clone.send(()).unwrap();
    let told = waiter.join().unwrap();
    let late = match at_once {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => late.finish(),
    };
    cache.validate();
    (told, late)
}

#[test]
fn nobody_is_told_what_was_gone_when_it_asked() {
    for (ask_name, ask) in ASKS {
        for (way, go) in WAYS {
            let (told, late) = gone_while_it_is_looked_at(*ask, *go);
            assert_eq!((told, late), (Value(188), Value(2)), "{ask_name}, {way}");
        }
    }
}
