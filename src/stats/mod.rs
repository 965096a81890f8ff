//! Statistics: counts, durations and gauges of a cache.
//!
//! Each figure is counted where that is cheap. Each thread has its own counters of reads
//! (`reads.rs`). Writers count under their shard's lock, in [`Tally`]. Loads count without a lock, in a
//! few sets of atomics (`loads.rs`). Refreshes that fail take no lock to count, either (`shard/refresh.rs`).
//! Removals are counted by cause; this file does not import `RemovalCause`, and knows no entries.

mod histogram;
mod loads;
mod reads;

pub use histogram::{HistogramBuckets, Lateness, LoadTimes};
pub use loads::Loads;
pub(crate) use loads::{LoadCounters, LoadEnd};
pub(crate) use reads::{Reads, inherit};

use std::time::Duration;

/// The counts that are made under a shard's lock.
#[derive(Clone, Default, Debug)]
pub(crate) struct Tally {
    pub(crate) inserts: u64,
    pub(crate) replacements: u64,
    pub(crate) expired: u64,
    pub(crate) explicit: u64,
    pub(crate) evicted: u64,
    pub(crate) refused: u64,
    pub(crate) evicted_weight: u64,
    pub(crate) refreshes: u64,
    pub(crate) lag: Duration,
    pub(crate) lateness: Lateness,
}

/// What a cache has counted since it was built, if it was built with
/// [`record_stats`](crate::CacheBuilder::record_stats). It is a snapshot and does not change any
/// more.
///
/// Each figure is exact once no other thread uses the cache; while others do, figures that belong
/// together may be from slightly different moments.
///
/// ```
/// let cache = tidewheel::Cache::builder().max_capacity(100).record_stats().build()?;
/// cache.insert(1, 'a');
/// cache.get(&1);
/// cache.get(&2);
/// let stats = cache.stats();
/// assert_eq!((stats.hits, stats.misses, stats.inserts), (1, 1, 1));
/// assert_eq!(stats.hit_rate(), 0.5);
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Reads that count as use ([`get`](crate::Cache::get), [`read`](crate::Cache::read) and a
    /// guard's) and found a live entry.
    pub hits: u64,
    /// Reads that count as use and found none.
    pub misses: u64,
    /// Entries stored under keys that had no live one.
    pub inserts: u64,
    /// Live values that were removed because another value was stored in their place, or was to be
    /// and was too heavy.
    pub replacements: u64,
    /// Entries removed because their deadline had passed.
    pub expired: u64,
    /// Entries removed by a call.
    pub explicit: u64,
    /// Entries removed to make room.
    pub evicted: u64,
    /// Entries that were not stored, because each alone was too heavy.
    pub refused: u64,
    /// The weight of what was removed to make room, in the weigher's unit; without a weigher, the
    /// number of entries.
    pub evicted_weight: u64,
    /// Values that were loaded anew because they were old, whether or not they were stored:
    /// [`Loads::invalidated`] says when they are not.
    pub refreshes: u64,
    /// Attempts to load a value anew that produced none: the closure failed, answered that there is
    /// none, or panicked, or its future was dropped. The old value stayed. A job that
    /// [`refresh_with`](crate::CacheBuilder::refresh_with) gave to an executor does not count unless
    /// it was run.
    pub refresh_failures: u64,
    /// Runs of closures and futures that were to produce values.
    pub loads: Loads,
    /// Values that were removed and are not dropped yet, since a reader may still look at them. A
    /// value is not among them until the listener has been told of its removal.
    pub garbage: usize,
    /// How late the reaper was at its last visit: the time from when something was due until it
    /// came. It is taken for each shard, up to when the reaper came to it; this is the longest. So it
    /// includes the time for which a shard waited behind a listener that blocked.
    pub reaper_lag: Duration,
    /// How long after its deadline each expired entry was removed, except those that a reader or a
    /// writer had found expired before: see [`Lateness`].
    pub lateness: Lateness,
}

impl Stats {
    /// Returns hits divided by reads: from 0.0 to 1.0; 1.0 if nothing was read.
    ///
    /// ```
    /// let cache: tidewheel::Cache<u64, u64> = tidewheel::Cache::builder().record_stats().build()?;
    /// assert_eq!(cache.stats().hit_rate(), 1.0);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        match self.hits + self.misses {
            0 => 1.0,
            reads => self.hits as f64 / reads as f64,
        }
    }

    /// Returns what was counted between an earlier moment and this one: each count, and each bucket
    /// of a histogram, minus its value then, or zero if that was more. Values that are no counts
    /// ([`garbage`](Self::garbage) and [`reaper_lag`](Self::reaper_lag)) are those of this moment.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().record_stats().build()?;
    /// cache.insert(1, 'a');
    /// cache.get(&1);
    /// let earlier = cache.stats();
    /// cache.get(&2);
    /// let since = cache.stats().since(&earlier);
    /// assert_eq!((since.hits, since.misses, since.inserts), (0, 1, 0));
    /// assert_eq!(since.hit_rate(), 0.0); // of late, that is
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            hits: self.hits.saturating_sub(earlier.hits),
            misses: self.misses.saturating_sub(earlier.misses),
            inserts: self.inserts.saturating_sub(earlier.inserts),
            replacements: self.replacements.saturating_sub(earlier.replacements),
            expired: self.expired.saturating_sub(earlier.expired),
            explicit: self.explicit.saturating_sub(earlier.explicit),
            evicted: self.evicted.saturating_sub(earlier.evicted),
            refused: self.refused.saturating_sub(earlier.refused),
            evicted_weight: self.evicted_weight.saturating_sub(earlier.evicted_weight),
            refreshes: self.refreshes.saturating_sub(earlier.refreshes),
            refresh_failures: self.refresh_failures.saturating_sub(earlier.refresh_failures),
            loads: self.loads.since(&earlier.loads),
            garbage: self.garbage,
            reaper_lag: self.reaper_lag,
            lateness: self.lateness.since(&earlier.lateness),
        }
    }

    pub(crate) fn add_reads(&mut self, [misses, hits]: [u64; 2]) {
        self.hits += hits;
        self.misses += misses;
    }

    pub(crate) fn add(&mut self, tally: &Tally, garbage: usize) {
        self.inserts += tally.inserts;
        self.replacements += tally.replacements;
        self.expired += tally.expired;
        self.explicit += tally.explicit;
        self.evicted += tally.evicted;
        self.refused += tally.refused;
        self.evicted_weight += tally.evicted_weight;
        self.refreshes += tally.refreshes;
        self.garbage += garbage;
        self.reaper_lag = self.reaper_lag.max(tally.lag);
        self.lateness.add(&tally.lateness);
    }
}
