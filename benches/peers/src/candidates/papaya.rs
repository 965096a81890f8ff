//! papaya: a lock-free hash map. Knows no expiry. Each operation pins for itself, as ours do.

use super::{Hasher, Operation, Reads, Updates, Walks, Writes, add_up, fill, hasher};
use papaya::{Guard, HashMap, LocalGuard};
use std::hint::black_box;

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

impl Walks for Papaya {
    fn walk(&self) -> (u64, u64) {
        add_up(self.0.pin().iter().map(|(_, value)| *value))
    }
}

/// The same under one pin for each reader, held all the time and renewed between batches, as "tidewheel, guard held" is.
pub(crate) struct PapayaHeld(Papaya);

impl Reads for PapayaHeld {
    const NAME: &'static str = "papaya, pin held";

    fn filled(entries: u64) -> Self {
        Self(Papaya::filled(entries))
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(key)
    }

    fn reader(&self) -> impl Operation {
        let map = &self.0.0;
        Held { map, guard: map.guard() }
    }
}

struct Held<'m> {
    map: &'m HashMap<u64, u64, Hasher>,
    guard: LocalGuard<'m>,
}

impl Operation for Held<'_> {
    #[inline]
    fn run(&mut self, key: u64) -> bool {
        black_box(self.map.get(&key, &self.guard).copied()).is_some()
    }

    fn pause(&mut self) {
        self.guard.refresh();
    }
}

impl Updates for Papaya {
    #[inline]
    fn update(&self, key: u64) -> bool {
        self.0.pin().update(key, |value| value + 1).is_some()
    }
}
