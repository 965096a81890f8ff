//! papaya: a lock-free hash map. Knows no expiry. Each operation pins for itself, as ours do.

use super::{Hasher, Reads, Updates, Writes, fill, hasher};
use papaya::HashMap;

pub(crate) struct Papaya(HashMap<u64, u64, Hasher>);

impl Reads for Papaya {
    const NAME: &'static str = "papaya";

    fn filled(entries: u64) -> Self {
        fill(entries)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.pin().get(&key).copied()
    }
}

impl Writes for Papaya {
    fn empty(_: u64) -> Self {
        Self(HashMap::with_hasher(hasher()))
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.0.pin().insert(key, value);
    }

    #[inline]
    fn replace(&self, key: u64, value: u64) -> bool {
        self.0.pin().update(key, |_| value).is_some()
    }
}

impl Updates for Papaya {
    #[inline]
    fn update(&self, key: u64) -> bool {
        self.0.pin().update(key, |value| value + 1).is_some()
    }
}
