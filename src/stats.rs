//! Statistics: counters of reads, striped over threads, and what a cache tells of itself in all.
//!
//! A counter of reads is touched by every read of every thread. So there is one for each thread, as long as there are
//! not too many of them: a thread has a number, which is its own until it ends, and the counters of that number are
//! written by nobody else, with a load and a store. What writers count they count under their shard's lock, in
//! [`Tally`]. Knows neither entries nor causes by name.

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{CachePadded, lasting, thread_local};
use std::cell::Cell;
use std::fmt;
use std::time::Duration;

/// Threads that have counters of their own; the others share one pair.
const OWN: usize = if cfg!(tidewheel_loom) { 2 } else { 64 };

lasting! {
    /// A bit for each number that a thread has.
    static TAKEN: AtomicU64 = AtomicU64::new(0);
}

thread_local! {
    /// This thread's number and one; 0 before it has asked for one. Without a destructor, so that a look at it is a
    /// look and no more.
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}
thread_local! {
    static LEAVE: Leave = const { Leave };
}

/// Gives the number back when the thread ends.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        let number = NUMBER.try_with(|number| number.replace(OWN + 1)).unwrap_or(OWN + 1);
        if (1..=OWN).contains(&number) {
            // ORDERING: Release; pairs with Acquire in `number`: whoever has the number next goes on from our counts.
            TAKEN.fetch_and(!(1 << (number - 1)), Ordering::Release);
        }
    }
}

/// A number for this thread: one of its own if there is one left.
#[cold]
fn number() -> usize {
    // A thread that is ending has no use for one of its own.
    if LEAVE.try_with(|_| ()).is_err() {
        return OWN + 1;
    }
    // ORDERING: Relaxed; what is decided is decided by the exchange.
    let mut taken = TAKEN.load(Ordering::Relaxed);
    let number = loop {
        let free = taken.trailing_ones() as usize;
        if free >= OWN {
            break OWN + 1;
        }
        // ORDERING: Acquire; pairs with Release in `Leave::drop`. Relaxed on failure; as the load.
        match TAKEN.compare_exchange(taken, taken | 1 << free, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => break free + 1,
            Err(actual) => taken = actual,
        }
    };
    let _ = NUMBER.try_with(|own| own.set(number));
    number
}

/// In a fork's child: the numbers of threads that are not there are for others.
pub(crate) fn inherit() {
    let own = NUMBER.try_with(Cell::get).unwrap_or(OWN + 1);
    let taken = if (1..=OWN).contains(&own) { 1 << (own - 1) } else { 0 };
    // ORDERING: Relaxed; this process has one thread.
    TAKEN.store(taken, Ordering::Relaxed);
}

/// Counters of reads: of each thread's own, and the ones that the others share.
pub(crate) struct Reads(Box<[CachePadded<[AtomicU64; 2]>; OWN + 1]>);

impl Reads {
    pub(crate) fn new() -> Self {
        let none = |_| CachePadded::new([AtomicU64::new(0), AtomicU64::new(0)]);
        Self(Box::new(std::array::from_fn(none)))
    }

    /// Counts a read.
    #[inline]
    pub(crate) fn count(&self, hit: bool) {
        let own = NUMBER.try_with(Cell::get).unwrap_or(OWN + 1);
        // One comparison for all: nought has no number before it.
        let Some(counters) = self.0[..OWN].get(own.wrapping_sub(1)) else {
            return self.count_shared(own, hit);
        };
        let counter = &counters[usize::from(hit)];
        // ORDERING: Relaxed, both; a figure. A counter of a thread's own is written by that thread alone.
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// For a thread that has no number of its own, or none yet.
    #[cold]
    #[inline(never)]
    fn count_shared(&self, own: usize, hit: bool) {
        if own == 0 && number() <= OWN {
            return self.count(hit);
        }
        // ORDERING: Relaxed; a figure.
        self.0[OWN][usize::from(hit)].fetch_add(1, Ordering::Relaxed);
    }

    /// Misses and hits.
    pub(crate) fn sum(&self) -> [u64; 2] {
        // ORDERING: Relaxed; figures.
        [0, 1].map(|kind| self.0.iter().map(|counters| counters[kind].load(Ordering::Relaxed)).sum())
    }
}

impl fmt::Debug for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reads").field(&self.sum()).finish()
    }
}

/// What is counted under a shard's lock.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Tally {
    pub(crate) inserts: u64,
    pub(crate) replacements: u64,
    pub(crate) expired: u64,
    pub(crate) explicit: u64,
    pub(crate) evicted: u64,
    pub(crate) refused: u64,
    pub(crate) evicted_weight: u64,
    pub(crate) refreshes: u64,
    pub(crate) refresh_failures: u64,
    pub(crate) lag: Duration,
    pub(crate) lateness: Lateness,
}

/// What a cache has counted since it was built, if it was built with
/// [`record_stats`](crate::CacheBuilder::record_stats). A snapshot: it does not change any more.
///
/// Each figure is exact once no other thread uses the cache; while others do, figures that belong together may be
/// from slightly different moments.
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
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Reads that count as use ([`get`](crate::Cache::get), [`read`](crate::Cache::read) and a guard's) and found a live
    /// entry.
    pub hits: u64,
    /// Reads that count as use and found none.
    pub misses: u64,
    /// Entries stored under keys that had no live one.
    pub inserts: u64,
    /// Live values that went because another was stored in their place, or was too heavy for it.
    pub replacements: u64,
    /// Entries removed because their deadline had passed.
    pub expired: u64,
    /// Entries removed by a call.
    pub explicit: u64,
    /// Entries removed to make room.
    pub evicted: u64,
    /// Entries that were not kept, because they alone were too heavy.
    pub refused: u64,
    /// The weight of what was removed to make room, in the weigher's unit; in entries without one.
    pub evicted_weight: u64,
    /// Values that were loaded anew because they were old.
    pub refreshes: u64,
    /// Attempts at that which brought no value: the old one stayed.
    pub refresh_failures: u64,
    /// Values that are out of the cache, and not dropped yet.
    pub debris: usize,
    /// How long after the time at which something was due the reaper came, the last time it did; the longest over the
    /// shards.
    pub reaper_lag: Duration,
    /// How long after its deadline each expired entry was out of memory's books.
    pub lateness: Lateness,
}

impl Stats {
    /// Hits by reads: from 0.0 to 1.0; 1.0 if nothing was read.
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

    pub(crate) fn add_reads(&mut self, [misses, hits]: [u64; 2]) {
        self.hits += hits;
        self.misses += misses;
    }

    pub(crate) fn add(&mut self, tally: &Tally, debris: usize) {
        self.inserts += tally.inserts;
        self.replacements += tally.replacements;
        self.expired += tally.expired;
        self.explicit += tally.explicit;
        self.evicted += tally.evicted;
        self.refused += tally.refused;
        self.evicted_weight += tally.evicted_weight;
        self.refreshes += tally.refreshes;
        self.refresh_failures += tally.refresh_failures;
        self.debris += debris;
        self.reaper_lag = self.reaper_lag.max(tally.lag);
        self.lateness.add(&tally.lateness);
    }
}

const BUCKETS: usize = 14;

/// How long after their deadlines entries were removed: a histogram.
///
/// An entry whose end a reader or writer noticed before the reaper came does not count here: its deadline
/// is not known any more. Nor does one that was never visible.
///
/// ```
/// use std::time::Duration;
/// let clock = tidewheel::ManualClock::new();
/// let cache = tidewheel::Cache::builder().clock(clock.clone()).record_stats().build()?;
/// cache.insert_with_ttl(1, 'a', Duration::from_millis(900));
/// clock.advance(Duration::from_secs(1));
/// let lateness = cache.stats().lateness;
/// assert_eq!(lateness.count(), 1);
/// assert_eq!(lateness.at_most(0.99), Some(Duration::from_millis(128)));
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Lateness {
    counts: [u64; BUCKETS],
    sum: Duration,
}

impl Lateness {
    pub(crate) fn note(&mut self, late: Duration) {
        let millis = late.as_millis().min(u128::from(u64::MAX)) as u64;
        let bucket = (u64::BITS - millis.leading_zeros()) as usize;
        self.counts[bucket.min(BUCKETS - 1)] += 1;
        self.sum = self.sum.saturating_add(late);
    }

    fn add(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// How many entries it knows of.
    ///
    /// ```
    /// assert_eq!(tidewheel::Lateness::default().count(), 0);
    /// ```
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How late they were, all together: by [`count`](Self::count) the mean.
    ///
    /// ```
    /// use std::time::Duration;
    /// let clock = tidewheel::ManualClock::new();
    /// let cache = tidewheel::Cache::builder().clock(clock.clone()).record_stats().build()?;
    /// cache.insert_with_ttl(1, 'a', Duration::from_millis(900));
    /// cache.insert_with_ttl(2, 'b', Duration::from_millis(1_000));
    /// clock.advance(Duration::from_secs(1));
    /// assert_eq!(cache.stats().lateness.sum(), Duration::from_millis(100));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[must_use]
    pub const fn sum(&self) -> Duration {
        self.sum
    }

    /// The buckets: how many entries were less than so late, and not less than the bucket before. The limits are 1 ms,
    /// 2 ms, 4 ms, and so on to 4.096 s; the last is [`Duration::MAX`].
    ///
    /// ```
    /// let limits: Vec<_> = tidewheel::Lateness::default().buckets().map(|(limit, _)| limit).collect();
    /// assert_eq!(limits[0].as_millis(), 1);
    /// assert_eq!(limits.len(), 14);
    /// ```
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + use<> {
        let limit = |bucket| {
            if bucket == BUCKETS - 1 { Duration::MAX } else { Duration::from_millis(1u64 << bucket) }
        };
        self.counts.into_iter().enumerate().map(move |(bucket, count)| (limit(bucket), count))
    }

    /// The limit that this part of the entries, from 0.0 to 1.0, was not later than; `None` if there are none.
    ///
    /// ```
    /// assert_eq!(tidewheel::Lateness::default().at_most(0.5), None);
    /// ```
    #[must_use]
    pub fn at_most(&self, part: f64) -> Option<Duration> {
        let wanted = (self.count() as f64 * part.clamp(0.0, 1.0)).ceil().max(1.0) as u64;
        let mut seen = 0;
        let mut buckets = self.buckets();
        buckets.find_map(|(limit, count)| {
            seen += count;
            (seen >= wanted).then_some(limit)
        })
    }
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;

    #[test]
    fn counts_of_more_threads_than_have_their_own_are_all_there() {
        let reads = Reads::new();
        for _ in 0..3 {
            std::thread::scope(|scope| {
                for _ in 0..OWN + 20 {
                    scope.spawn(|| (0..1000).for_each(|read| reads.count(read % 4 != 0)));
                }
            });
        }
        let threads = 3 * (OWN as u64 + 20);
        assert_eq!(reads.sum(), [250 * threads, 750 * threads]);
    }

    #[test]
    fn numbers_come_back_when_threads_end() {
        let reads = Reads::new();
        for _ in 0..10 * OWN {
            std::thread::scope(|scope| {
                scope.spawn(|| reads.count(true));
            });
        }
        // The other tests of this process have some; had none come back, there would be none left.
        let own: u64 = reads.0[..OWN].iter().map(|counters| counters[1].load(Ordering::Relaxed)).sum();
        assert!(
            own > 5 * OWN as u64,
            "{own} of {} were counted by threads with a number of their own",
            10 * OWN
        );
    }

    #[test]
    fn lateness_is_in_the_bucket_that_ends_above_it() {
        let mut lateness = Lateness::default();
        for millis in [0, 1, 3, 1000, 2000, 4095, 4096, u64::MAX] {
            lateness.note(Duration::from_millis(millis));
        }
        let full: Vec<_> = lateness.buckets().filter(|(_, count)| *count != 0).collect();
        let expected = [(1, 1), (2, 1), (4, 1), (1024, 1), (2048, 1), (4096, 1)];
        let expected = expected.map(|(millis, count)| (Duration::from_millis(millis), count));
        assert_eq!(full[..6], expected);
        assert_eq!(full[6], (Duration::MAX, 2));
        assert_eq!(lateness.at_most(0.5), Some(Duration::from_millis(1024)));
        assert_eq!(lateness.at_most(0.0), Some(Duration::from_millis(1)));
        assert_eq!(lateness.at_most(1.0), Some(Duration::MAX));
    }
}
