//! Code of the user's that blocks where a call runs it: whatever else that holds up, the reaper has been woken before.
//!
//! The bug: who landed a load told those who waited for it before it woke the reaper, and so did computations. A waker is code of
//! somebody else's runtime. While one blocked, the ledger said that the reaper would come, so other writers did not wake it, and
//! nothing that they stored was ever removed.
#![cfg(feature = "async")]

#[path = "common/naps.rs"]
mod naps;
#[path = "common/watchdog.rs"]
mod watchdog;

use naps::nap_until;
use std::future::Future;
use std::pin::pin;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, Reaper};
use watchdog::Watchdog;

type Value = Arc<u64>;

const TTL: Duration = Duration::from_millis(300);
/// The longest that a value may outlive its deadline, and what a busy machine may add.
const GONE: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_secs(1);

/// Blocks who comes by, until the test opens.
struct Gate {
    reached: Mutex<Sender<()>>,
    open: Mutex<Receiver<()>>,
}

impl Gate {
    fn new() -> (Arc<Self>, Receiver<()>, Sender<()>) {
        let ((reached, is_reached), (open, is_open)) = (mpsc::channel(), mpsc::channel());
        (Arc::new(Self { reached: Mutex::new(reached), open: Mutex::new(is_open) }), is_reached, open)
    }

    fn pass(&self) {
        let _ = self.reached.lock().unwrap().send(());
        let _ = self.open.lock().unwrap().recv();
    }
}

/// A waker whose runtime takes its time.
impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.pass();
    }
}

fn cache() -> Cache<u64, Value> {
    // A reaper that nobody else wakes, and a shard for all keys.
    Cache::builder().shards(1).time_to_live(TTL).reaper(Reaper::dedicated()).build().unwrap()
}

/// While somebody is blocked, others store values: they go in time.
fn others_values_go(cache: &Cache<u64, Value>) {
    let stored: Vec<Weak<u64>> = (10..15)
        .map(|key| {
            let value = Arc::new(key);
            let weak = Arc::downgrade(&value);
            cache.insert(key, value);
            weak
        })
        .collect();
    let limit = TTL + GONE + SLACK;
    let left = || stored.iter().filter(|value| value.strong_count() != 0).count();
    let is_gone = nap_until(limit, || cache.entry_count() == 0 && left() == 0);
    let (entries, left) = (cache.entry_count(), left());
    assert!(is_gone, "{entries} entries and {left} values are left after {limit:?}");
}

/// A call that leads, one that waits for it and whose waker blocks, and then the others.
fn while_a_waker_blocks<F: Future>(
    what: &'static str,
    lead: impl FnOnce(&Cache<u64, Value>, &dyn Fn()) + Send,
    wait: impl FnOnce(Cache<u64, Value>) -> F,
) {
    let _watchdog = Watchdog::over(what, 30);
    let cache = cache();
    let (gate, reached, open) = Gate::new();
    let ((begun, has_begun), (joined, has_joined)) = (mpsc::channel(), mpsc::channel());
    thread::scope(|scope| {
        let leader = scope.spawn(|| {
            let (begun, has_joined) = (begun, has_joined);
            lead(&cache, &|| {
                begun.send(()).unwrap();
                has_joined.recv().unwrap();
            });
        });
        has_begun.recv().unwrap();
        let mut waits = pin!(wait(cache.clone()));
        let waker = Waker::from(gate);
        assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        joined.send(()).unwrap();
        reached.recv().unwrap();
        others_values_go(&cache);
        drop(open);
        leader.join().unwrap();
    });
    cache.validate();
}

#[test]
fn who_lands_a_load_wakes_the_reaper_before_those_who_wait() {
    while_a_waker_blocks(
        "a load whose waiter's waker blocks",
        |cache, meet| {
            cache.get_with(1, || {
                meet();
                Arc::new(1)
            });
        },
        |cache| async move { cache.get_with_async(1, async { unreachable!("it is told") }).await },
    );
}

#[test]
fn who_has_computed_wakes_the_reaper_before_who_is_next() {
    while_a_waker_blocks(
        "a computation whose follower's waker blocks",
        |cache, meet| {
            cache.entry(1).and_upsert_with(|_| {
                meet();
                Arc::new(1)
            });
        },
        |cache| async move { cache.entry(1).and_upsert_with_async(|_| async { Arc::new(2) }).await },
    );
}

/// So it was always, where a listener or a destructor blocks.
#[test]
fn who_replaces_a_value_wakes_the_reaper_before_the_listener() {
    let _watchdog = Watchdog::over("a listener that blocks", 30);
    let (gate, reached, open) = Gate::new();
    let cache = Cache::<u64, Value>::builder()
        .shards(1)
        .reaper(Reaper::dedicated())
        .eviction_listener(move |key: &u64, _, _| {
            if *key == 1 {
                gate.pass();
            }
        })
        .build()
        .unwrap();
    cache.insert(1, Arc::new(1));
    thread::scope(|scope| {
        // Its own deadline is what the reaper is to come for, by then.
        let writer = scope.spawn(|| cache.insert_with_ttl(1, Arc::new(2), TTL));
        reached.recv().unwrap();
        let stored: Vec<Weak<u64>> = (10..15)
            .map(|key| {
                let value = Arc::new(key);
                let weak = Arc::downgrade(&value);
                cache.insert_with_ttl(key, value, TTL);
                weak
            })
            .collect();
        // Those of the reaper's batch wait for the same listener; they are out of the map.
        let is_empty = nap_until(TTL + GONE + SLACK, || cache.entry_count() == 0);
        assert!(is_empty, "{} entries are left", cache.entry_count());
        drop(open);
        writer.join().unwrap();
        let is_gone = || stored.iter().all(|value| value.strong_count() == 0);
        assert!(nap_until(GONE + SLACK, is_gone), "values are left");
    });
    cache.validate();
}
