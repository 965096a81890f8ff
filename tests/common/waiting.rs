//! Tests that want calls to wait wait for that, and not for a while.

use std::thread;
use std::time::{Duration, Instant};
use tidewheel::Cache;

/// Returns once so many calls wait for others of their keys.
pub(crate) fn until_waiting<K, V, S>(cache: &Cache<K, V, S>, calls: usize)
where
    K: std::hash::Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: std::hash::BuildHasher + Send + Sync + 'static,
{
    let start = Instant::now();
    while cache.waiting() != calls {
        assert!(start.elapsed() < Duration::from_secs(60), "{} calls wait, not {calls}", cache.waiting());
        thread::yield_now();
    }
}
