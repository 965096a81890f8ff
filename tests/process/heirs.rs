//! Forks, while other threads have something in hand that is counted: the child counts it no longer, and what the forking
//! thread has in hand itself it still does.

use crate::child;
use crate::forks::{Way, in_a_child};
use std::hash::{Hash, Hasher};
use std::thread;
use std::time::Duration;
use tidewheel::Cache;

/// In a process of its own: `body`.
fn alone(test: &str, body: impl FnOnce()) {
    if child::is_here() { body() } else { drop(child::passes(&format!("heirs::{test}"), 200, || {})) }
}

/// A key whose `Eq` takes four seconds, for one of them.
#[derive(Clone)]
struct Slow(u64, bool);

impl PartialEq for Slow {
    fn eq(&self, other: &Self) -> bool {
        if self.1 || other.1 {
            thread::sleep(Duration::from_secs(4));
        }
        self.0 == other.0
    }
}

impl Eq for Slow {}

impl Hash for Slow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        7u64.hash(state);
    }
}

/// A lock that a thread of the child holds is one that somebody is going to open, however long that takes: of a cache that
/// was inherited, and of one that was not.
#[test]
fn a_child_waits_for_locks_that_its_own_threads_hold() {
    alone("a_child_waits_for_locks_that_its_own_threads_hold", || {
        let build = || {
            let cache = Cache::builder().shards(1).build().unwrap();
            cache.insert(Slow(1, false), 1);
            cache
        };
        let inherited = build();
        in_a_child("a slow comparison", Way::Fork, || {
            let both = [inherited.clone(), build()].map(|cache| {
                thread::spawn(move || {
                    let slow = {
                        let cache = cache.clone();
                        thread::spawn(move || cache.insert(Slow(1, true), 2))
                    };
                    thread::sleep(Duration::from_millis(200));
                    cache.insert(Slow(2, false), 2);
                    slow.join().unwrap();
                    assert_eq!(cache.entry_count(), 2);
                })
            });
            both.into_iter().for_each(|thread| thread.join().unwrap());
        });
    });
}
