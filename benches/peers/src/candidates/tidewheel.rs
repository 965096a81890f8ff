//! Ours: default clock, default reaper, a finite time to live on every entry; with a pin per operation,
//! and, where it only reads, also under a guard that is held.

use super::{
    Bounded, Expires, Hasher, Loads, Mortal, Operation, Reads, TIME_TO_LIVE, Updates, Walks, Writes, add_up,
    fill, hasher,
};
use std::hash::Hash;
use std::hint::black_box;
use std::ops::Range;
use std::time::Instant;
use tidewheel::{Cache, ReadGuard};

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
        Self(build())
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

impl Bounded for Tidewheel {
    fn bounded(room: u64) -> Self {
        let cache =
            Cache::builder().max_capacity(room).time_to_live(TIME_TO_LIVE).build_with_hasher(hasher());
        Self(cache.expect("the reaper's thread starts"))
    }
}

/// The same with a bound, and room for everything, as quick_cache and moka have it.
pub(crate) struct TidewheelBounded(Tidewheel);

impl Reads for TidewheelBounded {
    const NAME: &'static str = "tidewheel, bounded";

    fn filled(entries: u64) -> Self {
        fill(entries)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(key)
    }
}

impl Writes for TidewheelBounded {
    fn empty(expected: u64) -> Self {
        Self(Tidewheel::bounded(4 * expected))
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    #[inline]
    fn replace(&self, key: u64, value: u64) -> bool {
        self.0.replace(key, value)
    }

    fn settle(&self) {
        self.0.settle();
    }
}

impl Loads for Tidewheel {
    #[inline]
    fn get_with(&self, key: u64, load: impl FnOnce() -> u64) -> u64 {
        self.0.get_with(key, load)
    }
}

impl Updates for Tidewheel {
    #[inline]
    fn update(&self, key: u64) -> bool {
        self.0.update(&key, |value| value + 1)
    }
}

impl Walks for Tidewheel {
    fn walk(&self) -> (u64, u64) {
        add_up(self.0.iter().map(|(_, value)| value))
    }
}

/// The same, with many keys in one call.
pub(crate) struct TidewheelMany(Tidewheel);

/// Keys that are read in one call.
const MANY: usize = 64;

impl Reads for TidewheelMany {
    const NAME: &'static str = "tidewheel, 64 at a time";

    fn filled(entries: u64) -> Self {
        fill(entries)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(key)
    }

    fn reader(&self) -> impl Operation {
        let mut keys = Vec::with_capacity(MANY);
        move |key: u64| {
            keys.push(key);
            if keys.len() < MANY {
                return true;
            }
            let found = black_box(self.0.0.get_many(&keys));
            keys.clear();
            found.iter().all(Option::is_some)
        }
    }
}

impl Writes for TidewheelMany {
    fn empty(expected: u64) -> Self {
        Self(Tidewheel::empty(expected))
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    fn insert_all(&self, keys: Range<u64>) {
        self.0.0.insert_many(keys.map(|key| (key, key)));
    }

    #[inline]
    fn replace(&self, key: u64, value: u64) -> bool {
        self.0.replace(key, value)
    }

    fn settle(&self) {
        self.0.settle();
    }
}

/// The same with statistics.
pub(crate) struct TidewheelCounted(Tidewheel);

impl Reads for TidewheelCounted {
    const NAME: &'static str = "tidewheel, statistics";

    fn filled(entries: u64) -> Self {
        let cache = Cache::builder().time_to_live(TIME_TO_LIVE).record_stats().build_with_hasher(hasher());
        let cache = Tidewheel(cache.expect("the reaper's thread starts"));
        cache.insert_all(0..entries);
        cache.settle();
        Self(cache)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(key)
    }
}

/// The same under one guard for each reader, held all the time and refreshed between batches.
pub(crate) struct TidewheelHeld(Tidewheel);

impl Reads for TidewheelHeld {
    const NAME: &'static str = "tidewheel, guard held";

    fn filled(entries: u64) -> Self {
        Self(Tidewheel::filled(entries))
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(key)
    }

    fn reader(&self) -> impl Operation {
        Held(self.0.0.read_guard())
    }
}

impl Walks for TidewheelHeld {
    fn walk(&self) -> (u64, u64) {
        add_up(self.0.0.read_guard().iter().map(|(_, value)| *value))
    }
}

struct Held<'c>(ReadGuard<'c, u64, u64, Hasher>);

impl Operation for Held<'_> {
    #[inline]
    fn run(&mut self, key: u64) -> bool {
        black_box(self.0.get(&key).copied()).is_some()
    }

    fn pause(&mut self) {
        self.0.refresh();
    }
}

pub(crate) struct TidewheelExpiring {
    cache: Cache<u64, Mortal, Hasher>,
    deadline: Instant,
}

impl Expires for TidewheelExpiring {
    const NAME: &'static str = Tidewheel::NAME;

    fn until(deadline: Instant, _: u64) -> Self {
        Self { cache: build(), deadline }
    }

    fn insert(&self, key: u64, value: Mortal) {
        let ttl = value.time_to_live(self.deadline);
        self.cache.insert_with_ttl(key, value, ttl);
    }

    fn get(&self, key: u64) -> bool {
        self.cache.get(&key).is_some()
    }

    fn count(&self) -> u64 {
        self.cache.entry_count() as u64
    }

    fn settle(&self) {
        self.cache.run_pending_tasks();
    }
}

fn build<K: Hash + Eq + Send + Sync + 'static, V: Send + Sync + 'static>() -> Cache<K, V, Hasher> {
    let cache = Cache::builder().time_to_live(TIME_TO_LIVE).build_with_hasher(hasher());
    cache.expect("the reaper's thread starts")
}
