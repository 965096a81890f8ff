//! Ours: default clock, default reaper, a finite time to live on every entry, a pin per operation.

use super::{Hasher, Reads, TIME_TO_LIVE, Writes, fill, hasher};
use tidewheel::Cache;

pub(crate) struct Tidewheel(Cache<u64, u64, Hasher>);

impl Reads for Tidewheel {
    const NAME: &'static str = "tidewheel";

    fn filled(entries: u64) -> Self {
        fill(entries)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key)
    }
}

impl Writes for Tidewheel {
    fn empty(_: u64) -> Self {
        let cache = Cache::builder().time_to_live(TIME_TO_LIVE).build_with_hasher(hasher());
        Self(cache.expect("the reaper's thread starts"))
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    #[inline]
    fn replace(&self, key: u64, value: u64) -> bool {
        self.0.replace(&key, value).is_ok()
    }

    fn settle(&self) {
        self.0.run_pending_tasks();
    }
}
