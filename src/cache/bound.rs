//! The bound: capacity, weights, and what a cache tells of itself.

use super::{Cache, Parts};
use crate::error::CapacityError;
use crate::listener::RemovalCause;
use crate::policy::EvictionPolicy;
use crate::shard::Shard;
use crate::stats::Stats;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::time::Span;
use std::time::Duration;

/// What an entry weighs, as the user says.
pub(crate) type Weigher<K, V> = dyn Fn(&K, &V) -> u32 + Send + Sync;

/// How much a cache may hold.
#[derive(Debug)]
pub(crate) struct Bound {
    /// In all, as was asked for last.
    wanted: AtomicU64,
    /// What holds by now: more than is wanted while not all shards have heard of it.
    holds: AtomicU64,
    policy: EvictionPolicy,
}

impl Bound {
    pub(crate) fn new(capacity: u64, policy: EvictionPolicy) -> Self {
        Self { wanted: AtomicU64::new(capacity), holds: AtomicU64::new(capacity), policy }
    }

    fn capacity(&self) -> u64 {
        // ORDERING: Relaxed; a figure.
        self.holds.load(Ordering::Relaxed)
    }

    /// What a shard may hold: an equal part, as near as can be. The parts are the whole.
    pub(crate) fn part(capacity: u64, shard: usize, shards: usize) -> u64 {
        let (shard, shards) = (shard as u64, shards as u64);
        capacity / shards + u64::from(shard < capacity % shards)
    }
}

/// What a cache was built with, and was set to since. From [`Cache::policy`].
///
/// ```
/// use std::time::Duration;
/// let cache: tidewheel::Cache<u64, u64> =
///     tidewheel::Cache::builder().max_capacity(1_000).time_to_live(Duration::from_secs(60)).build()?;
/// let settings = cache.policy();
/// assert_eq!(settings.max_capacity, Some(1_000));
/// assert_eq!(settings.time_to_live, Some(Duration::from_secs(60)));
/// assert_eq!(settings.time_to_idle, None);
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// How much the cache may hold, in the weigher's unit, or in entries without one; `None` if it is not bounded.
    pub max_capacity: Option<u64>,
    /// Which entry goes when it is full; `None` if it is not bounded.
    pub eviction_policy: Option<EvictionPolicy>,
    /// How long an entry lives after it was written or touched; `None` for ever.
    pub time_to_live: Option<Duration>,
    /// How long an entry lives after it was last used; `None` for ever.
    pub time_to_idle: Option<Duration>,
    /// How long an entry lives in all; `None` for ever.
    pub max_age: Option<Duration>,
    /// How many shards there are.
    pub shards: usize,
}

impl<K, V, S> Cache<K, V, S> {
    /// What the entries weigh, expired and not yet removed ones included: in the weigher's unit, or their number
    /// without one. Never more than the capacity, whoever looks and whenever. Exact while no writer runs.
    ///
    /// # Complexity
    ///
    /// O(shards).
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder()
    ///     .max_capacity(1_000)
    ///     .weigher(|_: &u64, text: &String| text.len() as u32)
    ///     .build()?;
    /// cache.insert(1, "twelve bytes".to_string());
    /// assert_eq!(cache.weighted_size(), 12);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[must_use]
    pub fn weighted_size(&self) -> u64 {
        if self.parts().bound.is_none() {
            return self.entry_count() as u64;
        }
        self.parts().shards.iter().map(Shard::weight).sum()
    }

    /// What the cache was built with, and was set to since.
    ///
    /// ```
    /// let cache: tidewheel::Cache<u64, u64> = tidewheel::Cache::new(100);
    /// assert_eq!(cache.policy().max_capacity, Some(100));
    /// ```
    #[must_use]
    pub fn policy(&self) -> Settings {
        let Parts { terms, bound, shards, .. } = self.parts();
        let length = |span: Span| (span != Span::ENDLESS).then(|| span.as_duration());
        Settings {
            max_capacity: bound.as_ref().map(Bound::capacity),
            eviction_policy: bound.as_ref().map(|bound| bound.policy),
            time_to_live: length(terms.ttl),
            time_to_idle: length(terms.tti),
            max_age: length(terms.max_age),
            shards: shards.len(),
        }
    }

    /// What was counted since the cache was built; all zeros if it was built without
    /// [`record_stats`](crate::CacheBuilder::record_stats).
    ///
    /// # Complexity
    ///
    /// O(shards + threads).
    ///
    /// # Concurrency
    ///
    /// Takes each shard's lock in turn, briefly.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().record_stats().build()?;
    /// cache.insert(1, 'a');
    /// assert_eq!(cache.get(&1), Some('a'));
    /// assert_eq!(cache.stats().hits, 1);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        let Parts { reads, shards, .. } = self.parts();
        let mut stats = Stats::default();
        if let Some(reads) = reads {
            stats.add_reads(reads.sum());
            shards.iter().for_each(|shard| shard.add_to(&mut stats));
        }
        stats
    }

    /// Changes how much the cache may hold, in the unit that it was built with. Returns when no more than that is in it.
    /// Until then the larger of the old and the new bound holds.
    ///
    /// The number of shards stays as it is, and each has an equal part. So of a cache that was built for much, and may
    /// hold only a few entries for each shard, some may be evicted while others have room.
    ///
    /// # Errors
    ///
    /// [`CapacityError`], and nothing is changed, if the cache was built without a capacity, or the new one
    /// would leave some shards, but not all, without any.
    ///
    /// # Complexity
    ///
    /// O(entries evicted).
    ///
    /// # Concurrency
    ///
    /// Readers are not held up. Each shard's lock is taken for a bounded number of entries at a time. Of several callers
    /// the last one's capacity holds in the end. The listener is told of what is evicted, by this thread.
    ///
    /// ```
    /// let cache = tidewheel::Cache::new(100);
    /// (0..100).for_each(|key| cache.insert(key, ()));
    /// cache.set_max_capacity(10)?;
    /// assert_eq!(cache.entry_count(), 10);
    /// # Ok::<(), tidewheel::CapacityError>(())
    /// ```
    pub fn set_max_capacity(&self, capacity: u64) -> Result<(), CapacityError> {
        let Parts { bound, shards, terms, .. } = self.parts();
        let Some(bound) = bound else { return Err(CapacityError::Unbounded) };
        let least = shards.len() as u64;
        if capacity != 0 && capacity < least {
            return Err(CapacityError::TooSmall { given: capacity, least });
        }
        // ORDERING: Relaxed, all here and below; figures, but for `wanted`, which is loaded under each shard's lock: whoever has the
        // lock last has loaded what was stored last.
        bound.holds.fetch_max(capacity, Ordering::Relaxed);
        // ORDERING: Relaxed; as above.
        bound.wanted.store(capacity, Ordering::Relaxed);
        for (number, shard) in shards.iter().enumerate() {
            // ORDERING: Relaxed; as above.
            let part = || Bound::part(bound.wanted.load(Ordering::Relaxed), number, shards.len());
            loop {
                let (done, chores) = shard.set_capacity(terms, part);
                self.conclude(shard, chores, RemovalCause::Size);
                if done {
                    break;
                }
            }
        }
        // ORDERING: Relaxed, both; as above.
        bound.holds.store(bound.wanted.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(())
    }

    /// What an entry weighs.
    #[inline]
    pub(super) fn weigh(&self, key: &K, value: &V) -> u32 {
        self.parts().weigher.as_ref().map_or(1, |weigher| weigher(key, value))
    }
}
