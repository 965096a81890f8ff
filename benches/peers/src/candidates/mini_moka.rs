//! mini-moka: moka without the background work and the time to live per entry: one time to live for all
//! entries, and expired ones leave when other calls come by.

use super::{Bounded, Expires, Hasher, Mortal, Reads, TIME_TO_LIVE, Walks, Writes, add_up, fill, hasher};
use mini_moka::sync::{Cache, ConcurrentCacheExt};
use std::time::{Duration, Instant};

pub(crate) struct MiniMoka(Cache<u64, u64, Hasher>);

impl Reads for MiniMoka {
    const NAME: &'static str = "mini-moka";

    fn filled(entries: u64) -> Self {
        fill(entries)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key)
    }
}

impl Writes for MiniMoka {
    fn empty(expected: u64) -> Self {
        Self(build(expected, TIME_TO_LIVE))
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    /// mini-moka has no form that only overwrites.
    #[inline]
    fn replace(&self, key: u64, value: u64) -> bool {
        self.0.insert(key, value);
        true
    }

    fn settle(&self) {
        self.0.sync();
    }
}

impl Bounded for MiniMoka {
    fn bounded(room: u64) -> Self {
        Self(Cache::builder().max_capacity(room).time_to_live(TIME_TO_LIVE).build_with_hasher(hasher()))
    }
}

impl Walks for MiniMoka {
    fn walk(&self) -> (u64, u64) {
        add_up(self.0.iter().map(|entry| *entry.value()))
    }
}

/// Its one time to live means that nothing stays, and that the entries expire in the order in which they
/// came, from the deadline on.
pub(crate) struct MiniMokaExpiring(Cache<u64, Mortal, Hasher>);

impl Expires for MiniMokaExpiring {
    const NAME: &'static str = MiniMoka::NAME;

    fn until(deadline: Instant, expected: u64) -> Self {
        Self(build(expected, deadline.saturating_duration_since(Instant::now())))
    }

    fn insert(&self, key: u64, value: Mortal) {
        self.0.insert(key, value);
    }

    fn get(&self, key: u64) -> bool {
        self.0.get(&key).is_some()
    }

    fn count(&self) -> u64 {
        self.0.entry_count()
    }

    fn settle(&self) {
        self.0.sync();
    }
}

/// Room for four times what comes, for the reason given at moka.
fn build<V: Clone + Send + Sync + 'static>(expected: u64, time_to_live: Duration) -> Cache<u64, V, Hasher> {
    Cache::builder()
        .max_capacity(4 * expected.max(1 << 10))
        .time_to_live(time_to_live)
        .build_with_hasher(hasher())
}
