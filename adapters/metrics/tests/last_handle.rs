//! A cache whose last handle goes while an exporter looks at it: its values are then dropped by the exporter's thread.

#![cfg(feature = "metrics")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};
use tidewheel::Cache;
use tidewheel_metrics::Caches;

/// How often something is tried.
const ROUNDS: u64 = 300;

/// How long a round may take, which takes no time.
const PATIENCE: Duration = Duration::from_secs(60);

/// So long a call of `watch` waits for the handles of looks.
const WATCH_WAITS: Duration = Duration::from_secs(1);

/// Looks at all caches when it is dropped.
struct Looks(Caches);

impl Drop for Looks {
    fn drop(&mut self) {
        self.0.record_to(&metrics::NoopRecorder);
    }
}

/// A look at it takes a while, since it has many shards.
fn cache<V: Send + Sync + 'static>(name: &str) -> Cache<u64, V> {
    Cache::builder().name(name).max_capacity(10_000).shards(256).build().expect("it can be built")
}

/// Raises a flag when it is dropped, so that a failure ends the test.
struct Raised<'f>(&'f AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Calls `look` again and again while there are rounds of `round`, on threads of their own. `round` is given its number, and a function that returns
/// once another look has ended.
fn while_looked_at(look: impl Fn() + Send + Sync + 'static, round: impl Fn(u64, &dyn Fn()) + Send + 'static) {
    let (end, ended) = channel();
    thread::spawn(move || {
        let (looks, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    look();
                    looks.fetch_add(1, Ordering::Relaxed);
                }
            });
            let _over = Raised(&is_over);
            let wait_for_a_look = || {
                let before = looks.load(Ordering::Relaxed);
                while looks.load(Ordering::Relaxed) == before {
                    thread::yield_now();
                }
            };
            for n in 0..ROUNDS {
                round(n, &wait_for_a_look);
                end.send(()).expect("somebody waits for it");
            }
        });
        end.send(()).expect("somebody waits for it");
    });
    // Of each round, and of all when no look is under way any more.
    for n in 0..=ROUNDS {
        assert_eq!(ended.recv_timeout(PATIENCE), Ok(()), "round {n} does not end");
    }
}

/// Watches a cache, whose name is free but for a look. The call gives up after a second, which the machine may stand still for.
fn watch(caches: &Caches, cache: &Cache<u64, u64>) {
    for _ in 0..60 {
        let begun = Instant::now();
        let Err(error) = caches.watch(cache) else { return };
        assert!(begun.elapsed() >= WATCH_WAITS, "it does not wait for a look: {error}");
    }
    panic!("the name is never free");
}

/// Drops caches under a look, whose values look as well.
fn drop_under(caches: Caches, look: impl Fn() + Send + Sync + 'static) {
    while_looked_at(look, move |n, wait_for_a_look| {
        let cache = cache(&format!("pages {n}"));
        cache.insert(1, Looks(caches.clone()));
        caches.watch(&cache).expect("the name is free");
        wait_for_a_look();
        drop(cache);
    });
}

#[test]
fn a_value_may_look_at_the_caches_when_it_is_dropped_by_a_look() {
    let caches = Caches::new();
    drop_under(caches.clone(), move || caches.record_to(&metrics::NoopRecorder));
}

#[test]
fn a_value_may_look_at_the_caches_when_it_is_dropped_by_a_watch() {
    let caches = Caches::new();
    let other = cache::<u64>("other");
    drop_under(caches.clone(), move || drop(caches.watch(&other)));
}

#[test]
fn the_name_of_a_cache_is_free_when_its_user_has_dropped_it() {
    let caches = Caches::new();
    let looked_at = caches.clone();
    let look = move || looked_at.record_to(&metrics::NoopRecorder);
    while_looked_at(look, move |_, wait_for_a_look| {
        let cache = cache::<u64>("pages");
        watch(&caches, &cache);
        wait_for_a_look();
    });
}
