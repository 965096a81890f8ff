//! stretto: a bounded cache with expiry, after ristretto: shards under read-write locks, and a thread
//! that does the book-keeping. It keeps no keys, so its documents have integers taken as they are; our
//! hasher serves its maps.
//!
//! When its thread cannot follow, it drops batches of inserts of new keys, by design: [`Stretto`] is
//! filled again and again until all is in, and takes no part where inserts are timed.

use super::{Expires, Hasher, Mortal, Reads, TIME_TO_LIVE, Updates, Writes, fill, hasher};
use std::ops::Range;
use std::time::{Duration, Instant};
use stretto::{
    Cache, CacheBuilder, DefaultCacheCallback, DefaultCoster, DefaultUpdateValidator, TransparentKeyBuilder,
};

type Built<V> = Cache<
    u64,
    V,
    TransparentKeyBuilder<u64>,
    DefaultCoster<V>,
    DefaultUpdateValidator<V>,
    DefaultCacheCallback<V>,
    Hasher,
>;

pub(crate) struct Stretto(Built<u64>);

impl Reads for Stretto {
    const NAME: &'static str = "stretto";

    fn filled(entries: u64) -> Self {
        fill(entries)
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key).map(|value| *value.value())
    }
}

impl Writes for Stretto {
    fn empty(expected: u64) -> Self {
        Self(build(expected))
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.0.insert_with_ttl(key, value, 1, TIME_TO_LIVE);
    }

    fn insert_all(&self, keys: Range<u64>) {
        insert_all(&self.0, keys, |key| self.insert(key, key));
    }

    #[inline]
    fn replace(&self, key: u64, value: u64) -> bool {
        self.0.get_mut(&key).map(|mut old| *old.value_mut() = value).is_some()
    }

    fn settle(&self) {
        settle(&self.0);
    }
}

impl Updates for Stretto {
    #[inline]
    fn update(&self, key: u64) -> bool {
        self.0.get_mut(&key).map(|mut value| *value.value_mut() += 1).is_some()
    }
}

pub(crate) struct StrettoExpiring {
    cache: Built<Mortal>,
    deadline: Instant,
}

impl Expires for StrettoExpiring {
    const NAME: &'static str = Stretto::NAME;

    fn until(deadline: Instant, expected: u64) -> Self {
        Self { cache: build(expected), deadline }
    }

    fn insert(&self, key: u64, value: Mortal) {
        let ttl = value.time_to_live(self.deadline);
        self.cache.insert_with_ttl(key, value, 1, ttl);
    }

    fn insert_all(&self, keys: Range<u64>, value: fn() -> Mortal) {
        insert_all(&self.cache, keys, |key| self.insert(key, value()));
    }

    fn get(&self, key: u64) -> bool {
        // As with the others, the value is copied out.
        self.cache.get(&key).map(|value| value.value().clone()).is_some()
    }

    fn count(&self) -> u64 {
        self.cache.len() as u64
    }

    fn settle(&self) {
        settle(&self.cache);
    }
}

/// Ten counters for each entry, as its documents advise, and room for twice what comes. Expired entries
/// are looked for as often as ours are: every second, not every two.
fn build<V: Send + Sync + 'static>(expected: u64) -> Built<V> {
    let expected = expected.max(1 << 10);
    let builder = CacheBuilder::new_with_key_builder(
        10 * expected as usize,
        2 * expected as i64,
        TransparentKeyBuilder::default(),
    );
    let builder = builder.set_hasher(hasher()).set_cleanup_duration(Duration::from_secs(1));
    builder.finalize().expect("the cache's threads start")
}

/// Few at a time, so that its thread can follow; and once more what it dropped nevertheless.
fn insert_all<V: Send + Sync + 'static>(cache: &Built<V>, keys: Range<u64>, insert: impl Fn(u64)) {
    let mut missing: Vec<u64> = keys.collect();
    while !missing.is_empty() {
        for batch in missing.chunks(1 << 10) {
            batch.iter().copied().for_each(&insert);
            settle(cache);
        }
        missing.retain(|key| cache.get(key).is_none());
    }
}

fn settle<V: Send + Sync + 'static>(cache: &Built<V>) {
    cache.wait().expect("the cache's thread runs");
}
