//! moka: a bounded cache with expiry: once with one time to live for all entries, once with a time to
//! live per entry, which is the nearer relative of ours and the dearer one to insert into. It has no
//! thread of its own: expired entries leave when other calls come by, or when somebody tends it.

use super::{
    Bounded, Expires, Hasher, Loads, Mortal, Reads, TIME_TO_LIVE, Updates, Walks, Writes, add_up, fill,
    hasher,
};
use moka::Expiry;
use moka::sync::{Cache, CacheBuilder};
use std::thread;
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

impl Bounded for Moka {
    fn bounded(room: u64) -> Self {
        Self(Cache::builder().max_capacity(room).time_to_live(TIME_TO_LIVE).build_with_hasher(hasher()))
    }
}

impl Loads for Moka {
    #[inline]
    fn get_with(&self, key: u64, load: impl FnOnce() -> u64) -> u64 {
        self.0.get_with(key, load)
    }
}

impl Updates for Moka {
    #[inline]
    fn update(&self, key: u64) -> bool {
        let count = |old: Option<moka::Entry<u64, u64>>| old.map_or(0, |old| old.into_value() + 1);
        self.0.entry(key).and_upsert_with(count).is_old_value_replaced()
    }
}

impl Walks for Moka {
    fn walk(&self) -> (u64, u64) {
        add_up(self.0.iter().map(|(_, value)| value))
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

/// A time to live per entry, and nobody who tends it.
pub(crate) struct MokaExpiring(Cache<u64, Mortal, Hasher>);

struct At(Instant);

impl Expiry<u64, Mortal> for At {
    fn expire_after_create(&self, _: &u64, value: &Mortal, _: Instant) -> Option<Duration> {
        Some(value.time_to_live(self.0))
    }
}

impl Expires for MokaExpiring {
    const NAME: &'static str = Moka::NAME;

    fn until(deadline: Instant, expected: u64) -> Self {
        Self(builder(expected).expire_after(At(deadline)).build_with_hasher(hasher()))
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
        self.0.run_pending_tasks();
    }
}

/// The same with a thread that tends it every tenth of a second: what one adds who wants its memory back.
pub(crate) struct MokaTended(MokaExpiring);

impl Expires for MokaTended {
    const NAME: &'static str = "moka, tended";

    fn until(deadline: Instant, expected: u64) -> Self {
        let cache = MokaExpiring::until(deadline, expected);
        let tended = cache.0.clone();
        // It ends with the process, which is one of its own.
        thread::spawn(move || {
            loop {
                thread::sleep(Duration::from_millis(100));
                tended.run_pending_tasks();
            }
        });
        Self(cache)
    }

    fn insert(&self, key: u64, value: Mortal) {
        self.0.insert(key, value);
    }

    fn get(&self, key: u64) -> bool {
        self.0.get(key)
    }

    fn count(&self) -> u64 {
        self.0.count()
    }

    fn settle(&self) {
        self.0.settle();
    }
}

/// Room for four times what comes: nothing is evicted, and the sketch of frequencies, which moka keeps
/// from half its capacity on, is not charged to it either.
fn builder<V: Clone + Send + Sync + 'static>(expected: u64) -> CacheBuilder<u64, V, Cache<u64, V>> {
    Cache::builder().max_capacity(4 * expected.max(1 << 10))
}
