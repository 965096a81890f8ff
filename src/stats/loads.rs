//! Counters of loads: by outcome, and by how long they took.
//!
//! A load takes a lock, makes a node and runs a user's closure, so three more additions do not
//! matter. So there are a few sets of atomics, which threads share by their numbers, and no lock.
//! This file knows neither keys nor flights.

use super::Stats;
use super::histogram::{LOAD_BUCKETS, LoadTimes};
use super::reads::number_of_thread;
use crate::sync::CachePadded;
use crate::sync::atomic::{AtomicU64, Ordering};
use std::fmt;
use std::time::Duration;

/// The number of sets of counters. Threads that load at the same time nearly always use different
/// ones.
const SETS: usize = if cfg!(tidewheel_loom) { 2 } else { 16 };

/// How a load ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LoadEnd {
    Success,
    Absent,
    Failure,
    Panic,
    Cancelled,
    Invalidated,
}

const ENDS: usize = 6;

impl LoadEnd {
    /// Returns the name that spans and dashboards use.
    #[inline]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Absent => "absent",
            Self::Failure => "failure",
            Self::Panic => "panic",
            Self::Cancelled => "cancelled",
            Self::Invalidated => "invalidated",
        }
    }
}

/// The loads of a cache: how many there were, by how they ended, and how long they took. A part of
/// [`Stats`].
///
/// A load is one run of a closure, or of a future, that is to produce the value of one key. These
/// are loads: [`get_with`](crate::Cache::get_with) in all its forms, an entry's
/// [`or_insert_with`](crate::EntrySelector::or_insert_with) in all its forms,
/// [`get_many_with`](crate::Cache::get_many_with) (one load for each key that is passed to the
/// closure, each as long as the call), and every reload of an old value. Each is counted once, when
/// it ends, before any call is told the outcome. A computation
/// ([`and_compute_with`](crate::EntrySelector::and_compute_with) and others), which computes
/// something from the current entry, is not a load.
///
/// ```
/// let cache = tidewheel::Cache::builder().record_stats().build()?;
/// cache.get_with(1, || 'a');
/// cache.get_with(1, || unreachable!("it is there"));
/// let _ = cache.try_get_with(2, || Err::<char, _>("no connection"));
/// cache.optionally_get_with(3, || None);
/// let loads = cache.stats().loads;
/// assert_eq!((loads.success, loads.failure, loads.absent), (1, 1, 1));
/// assert_eq!(loads.count(), loads.times.count());
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Loads {
    /// The load produced a value, which was stored unless it alone was too heavy.
    pub success: u64,
    /// The load answered that there is no value.
    pub absent: u64,
    /// The load returned an error.
    pub failure: u64,
    /// The load panicked: the closure or future, or the weigher, `Expiry` or `Clone` that was
    /// called for its value.
    pub panic: u64,
    /// The load did not finish: the future was dropped before it was ready, or an executor dropped
    /// the job.
    pub cancelled: u64,
    /// The load produced a value that was not stored, because something else happened to the key
    /// meanwhile: it was written or removed; or, if an old value was being loaded anew in the
    /// background, that one had expired or been evicted, or another call wanted the key's turn.
    /// Calls that waited for the load were told its value.
    pub invalidated: u64,
    /// How often a call waited for another call's load and took its outcome, so that it did not
    /// have to load anything itself. Not counted: a call that waited and got a value that no load
    /// had just brought, such as one that was inserted or computed; and an entry's call that was
    /// told a value that was not stored, and asked again.
    pub joined: u64,
    /// How long loads took, whatever their outcome: from when a call took the key's turn until its
    /// outcome was stored, by the cache's clock. (Cancelled loads are included: otherwise a source
    /// that is too slow for its callers would seem fast.)
    pub times: LoadTimes,
}

impl Loads {
    /// Returns the number of loads that have ended, whatever their outcome.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().record_stats().build()?;
    /// cache.get_with(1, || 'a');
    /// assert_eq!(cache.stats().loads.count(), 1);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.success + self.absent + self.failure + self.panic + self.cancelled + self.invalidated
    }

    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self {
            success: self.success.saturating_sub(earlier.success),
            absent: self.absent.saturating_sub(earlier.absent),
            failure: self.failure.saturating_sub(earlier.failure),
            panic: self.panic.saturating_sub(earlier.panic),
            cancelled: self.cancelled.saturating_sub(earlier.cancelled),
            invalidated: self.invalidated.saturating_sub(earlier.invalidated),
            joined: self.joined.saturating_sub(earlier.joined),
            times: self.times.since(&earlier.times),
        }
    }
}

/// A set of counters.
struct Set {
    ends: [AtomicU64; ENDS],
    joined: AtomicU64,
    times: [AtomicU64; LOAD_BUCKETS],
    /// The sum of the times in nanoseconds. It suffices for centuries.
    nanos: AtomicU64,
}

impl Set {
    fn new() -> Self {
        let none = || AtomicU64::new(0);
        Self {
            ends: std::array::from_fn(|_| none()),
            joined: none(),
            times: std::array::from_fn(|_| none()),
            nanos: none(),
        }
    }
}

/// The counters of a cache's loads.
pub(crate) struct LoadCounters(Box<[CachePadded<Set>; SETS]>);

impl LoadCounters {
    pub(crate) fn new() -> Self {
        Self(Box::new(std::array::from_fn(|_| CachePadded::new(Set::new()))))
    }

    fn own(&self) -> &Set {
        &self.0[number_of_thread() % self.0.len()]
    }

    /// Counts a load that has ended.
    pub(crate) fn note(&self, end: LoadEnd, took: Duration) {
        let set = self.own();
        let nanos = took.as_nanos().min(u128::from(u64::MAX)) as u64;
        let (end, time) = (&set.ends[end as usize], &set.times[LoadTimes::bucket(took)]);
        for (counter, more) in [(end, 1), (time, 1), (&set.nanos, nanos)] {
            // ORDERING: Relaxed; a figure.
            counter.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// Counts a call that was told the outcome of another call's load.
    pub(crate) fn note_joined(&self) {
        // ORDERING: Relaxed; a figure.
        self.own().joined.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_to(&self, stats: &mut Stats) {
        // ORDERING: Relaxed; figures.
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let loads = &mut stats.loads;
        for set in self.0.iter() {
            let [success, absent, failure, panic, cancelled, invalidated] = set.ends.each_ref().map(read);
            loads.success += success;
            loads.absent += absent;
            loads.failure += failure;
            loads.panic += panic;
            loads.cancelled += cancelled;
            loads.invalidated += invalidated;
            loads.joined += read(&set.joined);
            loads.times.add(set.times.each_ref().map(read), Duration::from_nanos(read(&set.nanos)));
        }
    }
}

impl fmt::Debug for LoadCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut stats = Stats::default();
        self.add_to(&mut stats);
        f.debug_tuple("LoadCounters").field(&stats.loads).finish()
    }
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;

    #[test]
    fn counts_of_many_threads_are_all_there() {
        const EACH: u64 = 1_000;
        const THREADS: u64 = 40;
        let counters = LoadCounters::new();
        let all = [LoadEnd::Success, LoadEnd::Absent, LoadEnd::Failure];
        let all = all.into_iter().chain([LoadEnd::Panic, LoadEnd::Cancelled, LoadEnd::Invalidated]);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                let all = all.clone();
                scope.spawn(|| {
                    for (times, end) in (1..).zip(all) {
                        (0..EACH * times).for_each(|_| counters.note(end, Duration::from_micros(3)));
                    }
                    counters.note_joined();
                });
            }
        });
        let mut stats = Stats::default();
        counters.add_to(&mut stats);
        let loads = stats.loads;
        let ends =
            [loads.success, loads.absent, loads.failure, loads.panic, loads.cancelled, loads.invalidated];
        assert_eq!(ends, [1, 2, 3, 4, 5, 6].map(|times| times * EACH * THREADS));
        assert_eq!(loads.joined, THREADS);
        assert_eq!(loads.count(), 21 * EACH * THREADS);
        let full: Vec<_> = loads.times.buckets().filter(|(_, count)| *count != 0).collect();
        assert_eq!(full, [(Duration::from_micros(4), 21 * EACH * THREADS)]);
        assert_eq!(loads.times.sum(), Duration::from_micros(3) * (21 * EACH * THREADS) as u32);
    }
}
