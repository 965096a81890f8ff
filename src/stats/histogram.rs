//! Histograms of durations: the number of durations between one power of two of a unit and the
//! next, and their sum.
//!
//! Their size is known at compile time. They are plain numbers, and do not know who counts what in
//! them.

use std::fmt;
use std::iter::FusedIterator;
use std::time::Duration;

/// Counts of durations, in units of `UNIT` nanoseconds: bucket `b` has those of less than 2^b units
/// that are not in an earlier bucket. The last bucket has all others.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Buckets<const N: usize, const UNIT: u64> {
    counts: [u64; N],
    sum: Duration,
}

impl<const N: usize, const UNIT: u64> Buckets<N, UNIT> {
    const NONE: Self = Self { counts: [0; N], sum: Duration::ZERO };

    fn bucket(time: Duration) -> usize {
        let units = (time.as_nanos() / u128::from(UNIT)).min(u128::from(u64::MAX)) as u64;
        ((u64::BITS - units.leading_zeros()) as usize).min(N - 1)
    }

    fn note(&mut self, time: Duration) {
        self.counts[Self::bucket(time)] += 1;
        self.sum = self.sum.saturating_add(time);
    }

    fn add(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    fn since(&self, earlier: &Self) -> Self {
        let counts = std::array::from_fn(|bucket| self.counts[bucket].saturating_sub(earlier.counts[bucket]));
        Self { counts, sum: self.sum.saturating_sub(earlier.sum) }
    }

    fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn limits(&self) -> HistogramBuckets {
        let mut counts = [0; LOAD_BUCKETS];
        counts[..N].copy_from_slice(&self.counts);
        HistogramBuckets { counts, unit: UNIT, next: 0, len: N }
    }

    fn at_most(&self, part: f64) -> Option<Duration> {
        let wanted = rank(self.count(), part);
        let mut seen = 0;
        self.limits().find_map(|(limit, count)| {
            seen += count;
            (seen >= wanted).then_some(limit)
        })
    }
}

/// Returns how many of so many this part of them is: the lowest number from one on that, divided by
/// all, is not less than `part`. The product alone would be one too many for 0.55 of 100: it is
/// 55.00000000000001. (What is not a number counts as zero.)
fn rank(all: u64, part: f64) -> u64 {
    let part = part.clamp(0.0, 1.0).max(0.0);
    let near = (all as f64 * part).ceil() as u64;
    (near.saturating_sub(1).max(1)..all).find(|&rank| rank as f64 / all as f64 >= part).unwrap_or(all.max(1))
}

impl<const N: usize, const UNIT: u64> Default for Buckets<N, UNIT> {
    fn default() -> Self {
        Self::NONE
    }
}

/// The buckets of a histogram, the shortest times first: made by [`Lateness::buckets`] and
/// [`LoadTimes::buckets`]. Each is a limit, and the number of times below it that are not in an
/// earlier bucket.
///
/// ```
/// let mut buckets = tidewheel::LoadTimes::default().buckets();
/// assert_eq!(buckets.len(), 27);
/// assert_eq!(buckets.next().map(|(limit, count)| (limit.as_micros(), count)), Some((1, 0)));
/// assert_eq!(buckets.len(), 26);
/// ```
#[derive(Clone)]
#[must_use = "an iterator does nothing unless it is asked"]
pub struct HistogramBuckets {
    /// Those of the histogram, and nothing behind them.
    counts: [u64; LOAD_BUCKETS],
    /// What the first limit is, in nanoseconds.
    unit: u64,
    next: usize,
    len: usize,
}

impl Iterator for HistogramBuckets {
    type Item = (Duration, u64);

    fn next(&mut self) -> Option<Self::Item> {
        let bucket = self.next;
        let count = *self.counts[..self.len].get(bucket)?;
        self.next += 1;
        let is_last = self.next == self.len;
        Some((if is_last { Duration::MAX } else { Duration::from_nanos(self.unit << bucket) }, count))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.len - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for HistogramBuckets {}
impl FusedIterator for HistogramBuckets {}

impl fmt::Debug for HistogramBuckets {
    /// Shows the buckets that have not been taken yet.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

/// A histogram of how long after their deadlines entries were removed.
///
/// An entry whose expiry a reader or writer noticed before the reaper came does not count here: its
/// deadline is not known any more. Nor does an entry that was never visible.
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
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Lateness(Buckets<14, 1_000_000>);

impl Lateness {
    pub(crate) fn note(&mut self, late: Duration) {
        self.0.note(late);
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.0.add(&other.0);
    }

    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self(self.0.since(&earlier.0))
    }

    /// Returns how many entries were counted.
    ///
    /// ```
    /// assert_eq!(tidewheel::Lateness::default().count(), 0);
    /// ```
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.count()
    }

    /// Returns the sum of their delays. Divided by [`count`](Self::count) it is the mean.
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
        self.0.sum
    }

    /// Returns the buckets: a limit, and the number of entries that were less late than it and not
    /// less than the previous limit. The limits are 1 ms, 2 ms, 4 ms, and so on to 4.096 s; the
    /// last is [`Duration::MAX`].
    ///
    /// ```
    /// let limits: Vec<_> = tidewheel::Lateness::default().buckets().map(|(limit, _)| limit).collect();
    /// assert_eq!(limits[0].as_millis(), 1);
    /// assert_eq!(limits.len(), 14);
    /// ```
    pub fn buckets(&self) -> HistogramBuckets {
        self.0.limits()
    }

    /// Returns the lowest limit of a bucket that this part of the entries (from 0.0 to 1.0) stayed below,
    /// or `None` if there are none. So `at_most(0.99)` is the 99th percentile, rounded up to a limit.
    ///
    /// ```
    /// assert_eq!(tidewheel::Lateness::default().at_most(0.5), None);
    /// ```
    #[must_use]
    pub fn at_most(&self, part: f64) -> Option<Duration> {
        self.0.at_most(part)
    }
}

/// The number of buckets for the times of loads: up to 33 s, and one for anything longer. No
/// histogram has more.
pub(super) const LOAD_BUCKETS: usize = 27;

type OfLoads = Buckets<LOAD_BUCKETS, 1_000>;

/// A histogram of how long loads took.
///
/// ```
/// use std::time::Duration;
/// let clock = tidewheel::ManualClock::new();
/// let cache = tidewheel::Cache::builder().clock(clock.clone()).record_stats().build()?;
/// cache.get_with("k", || {
///     clock.advance(Duration::from_millis(30));
///     7
/// });
/// let times = cache.stats().loads.times;
/// assert_eq!((times.count(), times.sum()), (1, Duration::from_millis(30)));
/// assert_eq!(times.at_most(0.99), Some(Duration::from_micros(32_768)));
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LoadTimes(OfLoads);

impl LoadTimes {
    /// Returns the bucket of a time.
    pub(super) fn bucket(time: Duration) -> usize {
        OfLoads::bucket(time)
    }

    pub(super) fn add(&mut self, counts: [u64; LOAD_BUCKETS], sum: Duration) {
        self.0.add(&Buckets { counts, sum });
    }

    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self(self.0.since(&earlier.0))
    }

    /// Returns how many loads were counted: all that have ended.
    ///
    /// ```
    /// assert_eq!(tidewheel::LoadTimes::default().count(), 0);
    /// ```
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.count()
    }

    /// Returns the sum of their times. Divided by [`count`](Self::count) it is the mean.
    ///
    /// ```
    /// assert!(tidewheel::LoadTimes::default().sum().is_zero());
    /// ```
    #[must_use]
    pub const fn sum(&self) -> Duration {
        self.0.sum
    }

    /// Returns the buckets: a limit, and the number of loads that took less than it and not less
    /// than the previous limit. The limits are 1 µs, 2 µs, 4 µs, and so on to 33.554432 s; the last
    /// is [`Duration::MAX`].
    ///
    /// ```
    /// let limits: Vec<_> = tidewheel::LoadTimes::default().buckets().map(|(limit, _)| limit).collect();
    /// assert_eq!(limits[0].as_micros(), 1);
    /// assert_eq!(limits[25].as_micros(), 1 << 25);
    /// assert_eq!(limits.len(), 27);
    /// ```
    pub fn buckets(&self) -> HistogramBuckets {
        self.0.limits()
    }

    /// Returns the lowest limit of a bucket that this part of the loads (from 0.0 to 1.0) stayed below, or
    /// `None` if there were none. So `at_most(0.99)` is the 99th percentile, rounded up to a limit.
    ///
    /// ```
    /// assert_eq!(tidewheel::LoadTimes::default().at_most(0.5), None);
    /// ```
    #[must_use]
    pub fn at_most(&self, part: f64) -> Option<Duration> {
        self.0.at_most(part)
    }
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;

    /// Returns the buckets that are not empty, by their limits in units; the last one's limit is
    /// `u64::MAX`.
    fn full<const N: usize, const UNIT: u64>(times: &[u64]) -> Vec<(u64, u64)> {
        let mut buckets = Buckets::<N, UNIT>::NONE;
        for &units in times {
            buckets.note(Duration::from_nanos(UNIT).saturating_mul(units.min(u32::MAX.into()) as u32));
        }
        let units = |limit: Duration| {
            if limit == Duration::MAX { u64::MAX } else { limit.as_nanos() as u64 / UNIT }
        };
        buckets
            .limits()
            .filter(|(_, count)| *count != 0)
            .map(|(limit, count)| (units(limit), count))
            .collect()
    }

    #[test]
    fn a_time_is_in_the_bucket_that_ends_above_it() {
        let expected = [(1, 1), (2, 1), (4, 1), (1024, 1), (2048, 1), (4096, 1), (u64::MAX, 2)];
        assert_eq!(full::<14, 1_000_000>(&[0, 1, 3, 1000, 2000, 4095, 4096, u64::MAX]), expected);
        let last = 1 << (LOAD_BUCKETS - 2);
        let expected = [(1, 1), (2, 1), (last, 1), (u64::MAX, 2)];
        assert_eq!(full::<LOAD_BUCKETS, 1_000>(&[0, 1, last - 1, last, u64::MAX]), expected);
        assert_eq!(OfLoads::bucket(Duration::MAX), LOAD_BUCKETS - 1);
        assert_eq!(OfLoads::bucket(Duration::from_nanos(999)), 0);
    }

    #[test]
    fn a_part_is_at_most_the_limit_of_the_bucket_that_it_ends_in() {
        let mut lateness = Lateness::default();
        for millis in [0, 1, 3, 1000, 2000, 4095, 4096, u64::MAX] {
            lateness.note(Duration::from_millis(millis));
        }
        assert_eq!(lateness.at_most(0.5), Some(Duration::from_millis(1024)));
        assert_eq!(lateness.at_most(0.0), Some(Duration::from_millis(1)));
        assert_eq!(lateness.at_most(1.0), Some(Duration::MAX));
    }

    #[test]
    fn a_part_that_is_a_fraction_is_exactly_as_many() {
        for all in 1..=1_000_u64 {
            for some in 1..=all {
                assert_eq!(rank(all, some as f64 / all as f64), some, "of {all}");
            }
        }
        assert_eq!((rank(0, 0.5), rank(7, 0.0), rank(7, f64::NAN), rank(7, -1.0)), (1, 1, 1, 1));
        assert_eq!((rank(7, 2.0), rank(7, f64::INFINITY), rank(100, 0.551)), (7, 7, 56));
        assert!(rank(u64::MAX, 1.0) >= u64::MAX - 2048);
    }

    #[test]
    fn so_many_fast_ones_make_a_part_fast() {
        let (mut lateness, mut times) = (Lateness::default(), LoadTimes::default());
        for (count, time) in [(55, 3), (45, 1_000)] {
            for _ in 0..count {
                lateness.note(Duration::from_millis(time));
                times.0.note(Duration::from_micros(time));
            }
        }
        let fast = (lateness.at_most(0.55), times.at_most(0.55));
        assert_eq!(fast, (Some(Duration::from_millis(4)), Some(Duration::from_micros(4))));
        let slow = (lateness.at_most(0.551), times.at_most(0.551));
        assert_eq!(slow, (Some(Duration::from_millis(1024)), Some(Duration::from_micros(1024))));
    }

    #[test]
    fn a_part_of_the_loads_took_at_most_so_long() {
        let mut times = LoadTimes::default();
        for micros in [0, 1, 3, 1000] {
            times.0.note(Duration::from_micros(micros));
        }
        assert_eq!(times.at_most(0.75), Some(Duration::from_micros(4)));
        assert_eq!(times.at_most(1.0), Some(Duration::from_micros(1024)));
    }

    #[test]
    fn buckets_are_counted_and_end_for_good() {
        let mut lateness = Lateness::default();
        lateness.note(Duration::from_secs(5));
        let mut buckets = lateness.buckets();
        for left in (0..14).rev() {
            assert_eq!(buckets.clone().count(), left + 1);
            assert!(buckets.next().is_some());
            assert_eq!(buckets.len(), left);
        }
        assert_eq!((buckets.next(), buckets.next(), buckets.len()), (None, None, 0));
        assert_eq!(lateness.buckets().last(), Some((Duration::MAX, 1)));
        assert!(format!("{:?}", lateness.buckets()).starts_with("[(1ms, 0), (2ms, 0), "));
    }

    #[test]
    fn what_came_since_is_the_difference_and_never_less_than_nothing() {
        let mut earlier = Lateness::default();
        earlier.note(Duration::from_millis(3));
        let mut later = earlier.clone();
        later.note(Duration::from_millis(3));
        later.note(Duration::from_millis(100));
        let since = later.since(&earlier);
        let full: Vec<_> = since.buckets().filter(|(_, count)| *count != 0).collect();
        assert_eq!(full, [(Duration::from_millis(4), 1), (Duration::from_millis(128), 1)]);
        assert_eq!(since.sum(), Duration::from_millis(103));
        assert_eq!(earlier.since(&later), Lateness::default());
    }
}
