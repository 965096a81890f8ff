//! foyer-memory: the in-memory half of foyer, a bounded cache in shards, each with an eviction list that
//! a read moves its entry in (its default: least recently used, eight shards). It hands out counted
//! references. Knows no expiry.

use super::{Bounded, Hasher, Reads, Writes, fill, hasher};
use foyer_memory::{Cache, CacheBuilder, CacheProperties};

pub(crate) struct Foyer(Cache<u64, u64, Hasher, CacheProperties>);

impl Reads for Foyer {
    const NAME: &'static str = "foyer-memory";

    fn filled(entries: u64) -> Self {
        fill(entries)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key).map(|entry| *entry.value())
    }
}

impl Writes for Foyer {
    fn empty(expected: u64) -> Self {
        // Twice what comes, because each shard has a share of its own and no shard may evict.
        let capacity = 2 * expected.max(1 << 10);
        Self(CacheBuilder::new(capacity as usize).with_hash_builder(hasher()).build())
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    /// foyer has no form that only overwrites.
    #[inline]
    fn replace(&self, key: u64, value: u64) -> bool {
        self.0.insert(key, value);
        true
    }
}

impl Bounded for Foyer {
    fn bounded(room: u64) -> Self {
        Self(CacheBuilder::new(room as usize).with_hash_builder(hasher()).build())
    }
}
