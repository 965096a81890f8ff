//! scc: a hash map with a lock for each bucket, grown bit by bit. Knows no expiry.

use super::{Hasher, Reads, Updates, Walks, Writes, fill, hasher};
use scc::HashMap;
use std::hint::black_box;

pub(crate) struct Scc(HashMap<u64, u64, Hasher>);

impl Reads for Scc {
    const NAME: &'static str = "scc";

    fn filled(entries: u64) -> Self {
        fill(entries)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.read_sync(&key, |_, value| *value)
    }
}

impl Writes for Scc {
    fn empty(_: u64) -> Self {
        Self(HashMap::with_hasher(hasher()))
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.0.upsert_sync(key, value);
    }

    #[inline]
    fn replace(&self, key: u64, value: u64) -> bool {
        self.0.update_sync(&key, |_, old| *old = value).is_some()
    }
}

impl Walks for Scc {
    fn walk(&self) -> (u64, u64) {
        let (mut count, mut sum) = (0, 0u64);
        self.0.iter_sync(|_, value| {
            count += 1;
            sum = sum.wrapping_add(black_box(*value));
            true
        });
        (count, sum)
    }
}

impl Updates for Scc {
    #[inline]
    fn update(&self, key: u64) -> bool {
        self.0.update_sync(&key, |_, value| *value += 1).is_some()
    }
}
