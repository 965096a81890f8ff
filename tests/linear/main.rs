//! Linearizability: what threads really saw of a key can be put in one order, in which each call takes place between its beginning and
//! its end, and answers as a map would that forgets entries when their time is over.
//!
//! Threads work on a few keys, and write down what they were answered and when; the order is looked for afterwards (`order.rs`), key by key, since a
//! history is linearizable if each key's is (Herlihy and Wing, 1990). Beside it they let the table grow and shrink.
//!
//! `TIDEWHEEL_LINEAR` says how many calls each thread makes: 40,000 unless it is set.

#[path = "../common/watchdog.rs"]
mod watchdog;

mod broken;
mod calls;
mod history;
mod order;

use calls::Subject;
use history::{Load, record};
use order::{Rules, check};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tidewheel::{Cache, CacheBuilder, RemovalCause, StrictClock};
use watchdog::Watchdog;

/// Those who are on time for readers are this late at most.
const LATE: Duration = Duration::from_millis(10);

fn calls() -> usize {
    std::env::var("TIDEWHEEL_LINEAR").ok().and_then(|calls| calls.parse().ok()).unwrap_or(40_000)
}

/// Nobody finds an order: that is told with what was seen around there.
#[track_caller]
fn must_be_in_order(what: &str, subject: &impl Subject, load: Load, rules: Rules) {
    let _watchdog = Watchdog::over(what.to_owned(), 3600);
    let keys = record(subject, load);
    let calls: usize = keys.iter().map(Vec::len).sum();
    for (key, events) in keys.iter().enumerate() {
        if let Err(window) = check(events, rules) {
            panic!("{what}: of {} calls on key {key} no order explains these:\n{window}", events.len());
        }
    }
    println!("{what}: {calls} calls in order");
}

fn built(choose: impl FnOnce(CacheBuilder<u64, u64>) -> CacheBuilder<u64, u64>) -> Cache<u64, u64> {
    // More than one shard, and the keys in all of them.
    choose(Cache::builder().clock(StrictClock).shards(4)).build().unwrap()
}

#[test]
fn calls_on_a_plain_cache_are_in_order() {
    let load = Load { calls: calls(), ..Load::USUAL };
    must_be_in_order("plain", &built(|builder| builder), load, Rules::PLAIN);
}

#[test]
fn calls_on_one_key_are_in_order() {
    let load = Load { calls: calls(), keys: 1, ..Load::USUAL };
    must_be_in_order("one key", &built(|builder| builder), load, Rules::PLAIN);
}

#[test]
fn calls_on_entries_that_expire_are_in_order() {
    let ttl = Duration::from_millis(3);
    let rules = Rules { ttl: Some((ttl, LATE)), ..Rules::PLAIN };
    // So seldom that what is not written again in time is looked at after its end.
    let load = Load { calls: calls() / 20, keys: 64, pauses: true, ..Load::USUAL };
    must_be_in_order("expiring", &built(|builder| builder.time_to_live(ttl)), load, rules);
}

#[test]
fn calls_on_entries_that_are_evicted_are_in_order() {
    let rules = Rules { vanishes: true, ..Rules::PLAIN };
    // Twice as many keys as there is room for: whatever the policy likes best, some of them go. A smaller capacity gets fewer shards.
    let load = Load { calls: calls(), keys: 512, ..Load::USUAL };
    let evicted = Arc::new(AtomicU64::new(0));
    let cache = built(|builder| {
        let evicted = Arc::clone(&evicted);
        builder.max_capacity(256).eviction_listener(move |key, _, cause| {
            if cause == RemovalCause::Size && *key < load.keys {
                evicted.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    assert_eq!(cache.policy().shards, 4);
    must_be_in_order("bounded", &cache, load, rules);
    let evicted = evicted.load(Ordering::Relaxed);
    assert!(evicted > load.keys, "{evicted} entries of {} keys were evicted", load.keys);
}
