//! Counters of loads: by outcome, and by how long they took.
//!
//! A load takes a lock, makes a node and runs a user's closure, so three or four more additions do
//! not matter. So there are a few sets of atomics, which threads share by their numbers, and no lock.
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
    sum: Sum,
}

/// The bits of a nanosecond count below a step: a step is some four seconds.
const STEP_BITS: u32 = 32;

/// The sum of the times. Its first word counts nanoseconds, and wraps: a call for many keys adds its
/// time once for each of them, so that 585 years come within weeks. Its second word says how often
/// the first one has come to a next step, and wraps after 2^64 steps.
///
/// A load adds to the first word, and then to the second one if it has passed steps. A reader may
/// come between the two, or read one word earlier than the other. So it takes the sum from the first
/// word alone, and from the second one only how often the first one has wrapped. For this the
/// second word need not be exact: it may lag or lead by 2^31 steps, which are 292 years. So the words
/// need no order between them, and no reader sees the sum fall: one load takes 146 years at most, since
/// no clock goes on for longer.
struct Sum {
    nanos: AtomicU64,
    steps: AtomicU64,
}

impl Sum {
    fn new() -> Self {
        Self { nanos: AtomicU64::new(0), steps: AtomicU64::new(0) }
    }

    fn add(&self, nanos: u64) {
        // ORDERING: Relaxed; a figure. `Sum::read` needs no order of the two words.
        let before = self.nanos.fetch_add(nanos, Ordering::Relaxed);
        let after = u128::from(before) + u128::from(nanos);
        let passed = (after >> STEP_BITS) as u64 - (before >> STEP_BITS);
        if passed > 0 {
            // ORDERING: Relaxed; as above.
            self.steps.fetch_add(passed, Ordering::Relaxed);
        }
    }

    fn read(&self) -> Duration {
        // ORDERING: Relaxed, both; `Sum::add` stores them in no order that matters here.
        let (nanos, steps) = (self.nanos.load(Ordering::Relaxed), self.steps.load(Ordering::Relaxed));
        total(nanos, steps)
    }
}

/// Returns the sum whose lowest 64 bits are `nanos`, and which is nearest to so many steps.
fn total(nanos: u64, steps: u64) -> Duration {
    const BELOW: u64 = (1 << STEP_BITS) - 1;
    const SECOND: u128 = Duration::from_secs(1).as_nanos();
    let ahead = ((nanos >> STEP_BITS) as u32).wrapping_sub(steps as u32) as i32;
    let steps = steps.wrapping_add_signed(ahead.into());
    let all = u128::from(steps) << STEP_BITS | u128::from(nanos & BELOW);
    let Ok(seconds) = u64::try_from(all / SECOND) else { return Duration::MAX };
    Duration::new(seconds, (all % SECOND) as u32)
}

impl Set {
    fn new() -> Self {
        let none = || AtomicU64::new(0);
        Self {
            ends: std::array::from_fn(|_| none()),
            joined: none(),
            times: std::array::from_fn(|_| none()),
            sum: Sum::new(),
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
        for counter in [end, time] {
            // ORDERING: Relaxed; a figure.
            counter.fetch_add(1, Ordering::Relaxed);
        }
        set.sum.add(nanos);
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
            loads.times.add(set.times.each_ref().map(read), set.sum.read());
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
    fn the_sum_goes_on_where_its_first_word_wraps() {
        let (sum, mut right) = (Sum::new(), 0_u128);
        let some = [1, u64::MAX, 1 << 63, 5, (1 << 32) - 1, u64::MAX, u64::MAX / 3];
        for nanos in some.into_iter().cycle().take(1_000) {
            sum.add(nanos);
            right += u128::from(nanos);
            assert_eq!(sum.read().as_nanos(), right);
        }
    }

    /// What a reader sees that comes between the two additions, or reads one word long before the
    /// other.
    #[test]
    fn the_second_word_may_lag_and_lead() {
        const YEARS_292: u64 = (1 << 31) - 1;
        for wraps in [0_u128, 1, 2, 1_000] {
            for nanos in [0, 1, 1 << 32, 1 << 63, u64::MAX] {
                let right = wraps << 64 | u128::from(nanos);
                let steps = (right >> STEP_BITS) as u64;
                for off in [0, 1, 1_000, YEARS_292] {
                    assert_eq!(total(nanos, steps.saturating_sub(off)).as_nanos(), right);
                    assert_eq!(total(nanos, steps + off).as_nanos(), right);
                }
            }
        }
    }

    #[test]
    fn a_sum_that_no_duration_can_hold_is_the_longest_one() {
        assert_eq!(total(u64::MAX, u64::MAX), Duration::MAX);
        assert_eq!(total(0, 0), Duration::ZERO);
    }

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
