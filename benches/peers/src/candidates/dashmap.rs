//! dashmap: a hash map in shards, each under a read-write lock. Knows no expiry.

use super::{Hasher, Reads, Updates, Walks, Writes, add_up, fill, hasher};
use dashmap::DashMap;

pub(crate) struct Dashmap(DashMap<u64, u64, Hasher>);

impl Reads for Dashmap {
    const NAME: &'static str = "dashmap";

    fn filled(entries: u64) -> Self {
        fill(entries)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key).map(|value| *value)
    }
}

impl Writes for Dashmap {
    fn empty(_: u64) -> Self {
        Self(DashMap::with_hasher(hasher()))
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    #[inline]
    fn replace(&self, key: u64, value: u64) -> bool {
        self.0.get_mut(&key).map(|mut old| *old = value).is_some()
    }
}

impl Updates for Dashmap {
    #[inline]
    fn update(&self, key: u64) -> bool {
        self.0.get_mut(&key).map(|mut value| *value += 1).is_some()
    }
}

/// Under each shard's read lock: writers wait.
impl Walks for Dashmap {
    fn walk(&self) -> (u64, u64) {
        add_up(self.0.iter().map(|entry| *entry.value()))
    }
}
