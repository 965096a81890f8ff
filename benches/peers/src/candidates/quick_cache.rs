//! quick_cache: a bounded cache in shards, each under a read-write lock. Knows no expiry.

use super::{Bounded, Hasher, Loads, Reads, Updates, Walks, Writes, add_up, fill, hasher};
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle, EntryAction, EntryResult};
use std::convert::Infallible;

pub(crate) struct QuickCache(Cache<u64, u64, UnitWeighter, Hasher>);

impl Reads for QuickCache {
    const NAME: &'static str = "quick_cache";

    fn filled(entries: u64) -> Self {
        fill(entries)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key)
    }
}

impl Writes for QuickCache {
    fn empty(expected: u64) -> Self {
        // Twice what comes, because each shard has a share of its own and no shard may evict. This
        // reserves no memory.
        let capacity = 2 * expected.max(1 << 10);
        Self(Cache::with(capacity as usize, capacity, UnitWeighter, hasher(), DefaultLifecycle::default()))
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    #[inline]
    fn replace(&self, key: u64, value: u64) -> bool {
        self.0.replace(key, value, false).is_ok()
    }
}

impl Bounded for QuickCache {
    fn bounded(room: u64) -> Self {
        Self(Cache::with(room as usize, room, UnitWeighter, hasher(), DefaultLifecycle::default()))
    }
}

impl Loads for QuickCache {
    #[inline]
    fn get_with(&self, key: u64, load: impl FnOnce() -> u64) -> u64 {
        let Ok(value) = self.0.get_or_insert_with(&key, || Ok::<_, Infallible>(load()));
        value
    }
}

impl Walks for QuickCache {
    fn walk(&self) -> (u64, u64) {
        add_up(self.0.iter().map(|(_, value)| value))
    }
}

impl Updates for QuickCache {
    #[inline]
    fn update(&self, key: u64) -> bool {
        let updated = self.0.entry(&key, None, |_, value| {
            *value += 1;
            EntryAction::Retain(())
        });
        matches!(updated, EntryResult::Retained(()))
    }
}
