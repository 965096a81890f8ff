//! moka: a bounded cache with expiry: once with one time to live for all entries, once with a time to
//! live per entry, which is the nearer relative of ours and the dearer one to insert into.

use super::{Hasher, Reads, TIME_TO_LIVE, Writes, fill, hasher};
use moka::Expiry;
use moka::sync::{Cache, CacheBuilder};
use std::time::{Duration, Instant};

pub(crate) struct Moka(Cache<u64, u64, Hasher>);

impl Reads for Moka {
    const NAME: &'static str = "moka";

    fn filled(entries: u64) -> Self {
        fill(entries)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key)
    }
}

impl Writes for Moka {
    fn empty(expected: u64) -> Self {
        Self(builder(expected).time_to_live(TIME_TO_LIVE).build_with_hasher(hasher()))
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    /// moka has no form that only overwrites.
    #[inline]
    fn replace(&self, key: u64, value: u64) -> bool {
        self.0.insert(key, value);
        true
    }

    fn settle(&self) {
        self.0.run_pending_tasks();
    }
}

pub(crate) struct MokaPerEntry(Cache<u64, u64, Hasher>);

struct EveryEntry;

impl Expiry<u64, u64> for EveryEntry {
    fn expire_after_create(&self, _: &u64, _: &u64, _: Instant) -> Option<Duration> {
        Some(TIME_TO_LIVE)
    }
}

impl Reads for MokaPerEntry {
    const NAME: &'static str = "moka, per entry";

    fn filled(entries: u64) -> Self {
        fill(entries)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key)
    }
}

impl Writes for MokaPerEntry {
    fn empty(expected: u64) -> Self {
        Self(builder(expected).expire_after(EveryEntry).build_with_hasher(hasher()))
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    #[inline]
    fn replace(&self, key: u64, value: u64) -> bool {
        self.0.insert(key, value);
        true
    }

    fn settle(&self) {
        self.0.run_pending_tasks();
    }
}

/// Room for four times what comes: nothing is evicted, and the sketch of frequencies, which moka keeps
/// from half its capacity on, is not charged to it either.
fn builder(expected: u64) -> CacheBuilder<u64, u64, Cache<u64, u64>> {
    Cache::builder().max_capacity(4 * expected.max(1 << 10))
}
