//! The bound: capacity, weights, and what a cache tells of itself.

use super::bound::Bound;
use super::{Cache, Parts};
use crate::error::CapacityError;
use crate::listener::RemovalCause;
use crate::policy::EvictionPolicy;
use crate::shard::Shard;
use crate::stats::Stats;
use crate::sync::atomic::Ordering;
use crate::time::Span;
use std::time::Duration;

/// Some of a cache's settings: its bound, its times and its shards, as they are now. From
/// [`Cache::policy`].
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
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Policy {
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

/// Capacity, and what the cache tells of itself.
impl<K, V, S> Cache<K, V, S> {
    /// The number of entries in memory. It includes those that have expired and are not yet
    /// removed. Exact while no writer runs.
    ///
    /// # Complexity
    ///
    /// O(shards).
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert(1, 'a');
    /// assert_eq!(cache.entry_count(), 1);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[doc(alias = "len")]
    #[doc(alias = "is_empty")]
    #[must_use]
    pub fn entry_count(&self) -> usize {
        self.inner.parts.shards.iter().map(Shard::len).sum()
    }

    /// How many entries would expire within this time, at most, if nobody used them. It is an estimate
    /// from the reaper's timing wheel, for planning a refill or a prefetch.
    ///
    /// It counts every entry that will end by then unless it is used. It also counts some that will not:
    ///
    /// - An entry that was touched, or read where there is a time to idle, counts by its old deadline
    ///   until the reaper comes by and files it again.
    /// - Entries are kept in slots: of one second up to a minute ahead, of 64 seconds up to an hour, of 68
    ///   minutes up to three days, of three days up to half a year. A slot counts as a whole, as soon as
    ///   it begins within the time.
    /// - What has expired and is still in memory counts, and so does what expires in the current second.
    ///
    /// So it is exact for times that end on a whole second of the cache's clock, up to a minute ahead, where nothing was
    /// touched since it was filed. With `Duration::MAX`: all entries that can expire.
    ///
    /// # Complexity
    ///
    /// O(shards × slots), whatever the number of entries: some 384 slots a shard.
    ///
    /// # Concurrency
    ///
    /// Takes the lock of one shard after the other, briefly.
    ///
    /// ```
    /// use std::time::Duration;
    /// let clock = tidewheel::ManualClock::new();
    /// let cache = tidewheel::Cache::builder().clock(clock.clone()).build()?;
    /// for second in 1..=60 {
    ///     cache.insert_with_ttl(second, "page", Duration::from_secs(second));
    /// }
    /// assert_eq!(cache.expiring_within(Duration::from_secs(10)), 10);
    /// assert_eq!(cache.expiring_within(Duration::MAX), 60);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[must_use]
    pub fn expiring_within(&self, within: Duration) -> usize {
        let within = Span::from_duration(within);
        self.parts().shards.iter().map(|shard| shard.expiring_within(within)).sum()
    }

    /// What the entries weigh, in the weigher's unit; without a weigher, their number. It includes
    /// those that have expired and are not yet removed. Nobody ever sees more than the capacity.
    /// Exact while no writer runs, even while the capacity changes.
    ///
    /// # Complexity
    ///
    /// O(shards).
    ///
    /// # Concurrency
    ///
    /// Takes no lock of a shard. With a weigher, it briefly takes a lock that
    /// [`set_max_capacity`](Self::set_max_capacity) takes too.
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
        let Some(bound) = &self.parts().bound else { return self.entry_count() as u64 };
        bound.taken().unwrap_or_else(|| self.parts().shards.iter().map(Shard::weight).sum())
    }

    /// Whether the shards' parts are the capacity together, and what was taken from the account is what the entries weigh.
    /// For tests, while no writer runs.
    ///
    /// # Panics
    ///
    /// Panics if it is not so.
    pub(super) fn validate_bound(&self, parts: u64) {
        let Some(bound) = &self.parts().bound else { return };
        let settled = bound.settled();
        assert!(settled.is_none_or(|capacity| capacity == parts), "{parts} in all parts of {settled:?}");
        let (Some(account), Some(taken)) = (bound.account(), bound.taken()) else { return };
        let limit = account.limit();
        assert!(settled.is_none_or(|capacity| capacity == limit), "the account has {limit} of {settled:?}");
        let weight: u64 = self.parts().shards.iter().map(Shard::weight).sum();
        assert_eq!(taken, weight, "the account against the shards");
        assert!(weight <= limit, "{weight} of {limit}");
    }

    /// Some of the cache's settings, as they are now: see [`Policy`].
    ///
    /// ```
    /// let cache: tidewheel::Cache<u64, u64> = tidewheel::Cache::new(100);
    /// assert_eq!(cache.policy().max_capacity, Some(100));
    /// ```
    #[must_use]
    pub fn policy(&self) -> Policy {
        let Parts { config, bound, shards, .. } = self.parts();
        let length = |span: Span| (span != Span::ENDLESS).then(|| span.as_duration());
        Policy {
            max_capacity: bound.as_ref().map(Bound::capacity),
            eviction_policy: bound.as_ref().map(|bound| bound.policy),
            time_to_live: length(config.ttl),
            time_to_idle: length(config.tti),
            max_age: length(config.max_age),
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
    /// Takes the lock of one shard after the other, briefly.
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
        let Parts { reads, loads, shards, .. } = self.parts();
        let mut stats = Stats::default();
        if let Some(loads) = loads {
            loads.add_to(&mut stats);
        }
        if let Some(reads) = reads {
            stats.add_reads(reads.sum());
            shards.iter().for_each(|shard| shard.add_to(&mut stats));
        }
        stats
    }

    /// Changes how much the cache may hold, in the unit that it was built with. When it returns,
    /// the cache holds no more than that. Until then the larger of the old and the new bound holds.
    ///
    /// The number of shards stays as it is; without a weigher each has an equal part. So where a
    /// cache was built for much, and may now hold only a few entries for each shard, some may be
    /// evicted while others have room.
    ///
    /// # Errors
    ///
    /// [`CapacityError`], if the cache was built without a capacity; or if it has no weigher and
    /// the new capacity would leave some shards without any, but not all. Nothing is changed then.
    ///
    /// # Complexity
    ///
    /// O(entries evicted).
    ///
    /// # Concurrency
    ///
    /// Readers are not delayed. Each shard's lock is taken for a bounded number of entries at a
    /// time. With a weigher, it waits for a call that makes room for a heavy entry. Of several
    /// callers, the last one's capacity holds in the end. The listener is told of what is evicted, by
    /// this thread.
    ///
    /// ```
    /// let cache = tidewheel::Cache::new(100);
    /// (0..100).for_each(|key| cache.insert(key, ()));
    /// cache.set_max_capacity(10)?;
    /// assert_eq!(cache.entry_count(), 10);
    /// # Ok::<(), tidewheel::CapacityError>(())
    /// ```
    pub fn set_max_capacity(&self, capacity: u64) -> Result<(), CapacityError> {
        let Parts { bound, shards, .. } = self.parts();
        let Some(bound) = bound else { return Err(CapacityError::Unbounded) };
        let least = shards.len() as u64;
        if bound.account.is_none() && capacity != 0 && capacity < least {
            return Err(CapacityError::TooSmall { given: capacity, least });
        }
        bound.begin(capacity);
        if let Some(account) = &bound.account {
            self.fit(bound, account);
        }
        for (number, shard) in shards.iter().enumerate() {
            // ORDERING: Relaxed; see `Bound::begin`.
            let part = || Bound::part(bound.wanted.load(Ordering::Relaxed), number, shards.len());
            loop {
                let (done, deferred) = shard.set_capacity(part);
                self.conclude(shard, deferred, RemovalCause::Size);
                if done {
                    break;
                }
            }
        }
        bound.end();
        Ok(())
    }

    /// What an offered entry weighs.
    #[inline]
    pub(super) fn weigh_offer(&self, offered: &Option<(K, V)>) -> u32 {
        let weigher = self.parts().weigher.as_ref().zip(offered.as_ref());
        weigher.map_or(1, |(weigher, (key, value))| weigher(key, value))
    }

    /// What an entry weighs.
    #[inline]
    pub(super) fn weigh(&self, key: &K, value: &V) -> u32 {
        self.parts().weigher.as_ref().map_or(1, |weigher| weigher(key, value))
    }
}
