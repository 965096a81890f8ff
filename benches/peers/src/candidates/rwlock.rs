//! `RwLock<HashMap>`: what one writes without any crate. Knows no expiry.

use super::{Hasher, Reads, Updates, Writes, fill, hasher};
use std::collections::HashMap;
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

pub(crate) struct Locked(RwLock<HashMap<u64, u64, Hasher>>);

impl Locked {
    #[inline]
    fn read(&self) -> RwLockReadGuard<'_, HashMap<u64, u64, Hasher>> {
        self.0.read().expect("nobody panics under this lock")
    }

    #[inline]
    fn write(&self) -> RwLockWriteGuard<'_, HashMap<u64, u64, Hasher>> {
        self.0.write().expect("nobody panics under this lock")
    }
}

impl Reads for Locked {
    const NAME: &'static str = "RwLock<HashMap>";

    fn filled(entries: u64) -> Self {
        fill(entries)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.read().get(&key).copied()
    }
}

impl Writes for Locked {
    fn empty(_: u64) -> Self {
        Self(RwLock::new(HashMap::with_hasher(hasher())))
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.write().insert(key, value);
    }

    #[inline]
    fn replace(&self, key: u64, value: u64) -> bool {
        self.write().get_mut(&key).map(|old| *old = value).is_some()
    }
}

impl Updates for Locked {
    #[inline]
    fn update(&self, key: u64) -> bool {
        self.write().get_mut(&key).map(|value| *value += 1).is_some()
    }
}
