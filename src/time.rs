//! Time as the crate sees it: ticks on one monotonic timeline, deadlines, and the clocks that read them.
//!
//! A tick is a nanosecond. Writers read the clock precisely; readers may take a reading of the same
//! timeline that is a little behind and never ahead. Nothing here knows of entries, wheels or the reaper, which
//! passes `now` down as an argument.
//!
//! Readers have two clocks:
//!
//! - *The checked clock* ([`Timeline::recent`]) answers every question anew, and is up to 5 ms behind. In the order in which a
//!   machine qualifies for it (`src/docs/decisions.md` has the measurement): a precise reading cached in a static and
//!   trusted only while the processor's time-stamp counter says that it is under 4 ms old; the kernel's coarse clock,
//!   where two of its steps are 5 ms or less; the precise clock.
//! - *The kept time* ([`Timeline::shows`]): one word that a thread writes while a process reads much (`kept.rs`,
//!   `keeper.rs`). It is trusted for a few reads in a row, and then checked against the other.

mod keeper;
mod kept;
mod manual;
mod tick;

#[cfg(tidewheel_loom)]
pub(crate) use keeper::Keeper;
pub(crate) use keeper::inherit;
pub(crate) use kept::Trust;
pub use manual::ManualClock;
pub(crate) use manual::{Advanced, Watch};
pub(crate) use tick::{Birth, Deadline, SECOND, Span, Tick};

use std::fmt;
/// How far the checked clock may lag behind the precise one, in ticks (5 ms).
#[cfg(all(target_os = "linux", not(any(miri, tidewheel_loom))))]
const MAX_LAG: u64 = 5_000_000;
/// Elsewhere readers take the precise clock.
#[cfg(not(all(target_os = "linux", not(any(miri, tidewheel_loom)))))]
const MAX_LAG: u64 = 0;

/// A clock that a cache can be built on: [`SystemClock`], [`StrictClock`] or [`ManualClock`]. Sealed: promises about
/// time rest on properties of the clock that the crate has to know.
///
/// ```
/// use std::time::Duration;
/// use tidewheel::{Cache, ManualClock};
///
/// let clock = ManualClock::new();
/// let cache = Cache::builder()
///     .time_to_live(Duration::from_secs(5))
///     .clock(clock.clone())
///     .build()?;
/// cache.insert("k", 1);
/// clock.advance(Duration::from_secs(5));
/// assert_eq!(cache.get("k"), None);
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
pub trait Clock: sealed::Sealed {}

pub(crate) mod sealed {
    pub trait Sealed {
        #[doc(hidden)]
        fn timeline(self) -> super::Timeline;
    }
}

/// The operating system's monotonic clock: the default. Time that the machine is suspended does not
/// count.
///
/// Writers read it precisely. Readers may be behind, and never ahead: so an entry is never invisible early, and up
/// to 10 ms late. While a process reads much, a thread of the crate's, the *timekeeper*, writes the time
/// into memory every 1 to 2 ms, and a read loads it from there; otherwise a read takes a cached reading that the processor says is fresh, or
/// what stands in for it. The timekeeper starts when that pays, from half a million reads a second on, and
/// sleeps when it does not any more.
///
/// Should the system not let the timekeeper run, because all processors are taken by others or the whole process was stopped
/// for a while, each thread finds out by itself: it trusts what is in memory for 64 reads in a row at most, and then looks at the clock. So no more than
/// 64 reads of a thread are later than 10 ms. Whom that is too much for takes the [`StrictClock`]. Reads that restart a
/// time to idle look at the clock every time, whichever of the two it is.
///
/// ```
/// let cache = tidewheel::Cache::builder().clock(tidewheel::SystemClock).build()?;
/// cache.insert("k", 1);
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    /// One round of the timekeeper's, by whoever calls: for counts of instructions, where no thread keeps up.
    #[doc(hidden)]
    pub fn keep_once() {
        keeper::keep_once();
    }
}

impl Clock for SystemClock {}
impl sealed::Sealed for SystemClock {
    fn timeline(self) -> Timeline {
        Timeline::system()
    }
}

/// The same clock as [`SystemClock`], which every read looks at: no read is later than 10 ms, whatever stalls, also right after the
/// process was stopped for a while.
///
/// A read costs more by what it takes to look: the processor's counter, some 10 ns, where the kernel keeps time by it
/// (Linux on x86-64), a coarse clock of the kernel's, or the precise one. [`SessionManager`](crate::SessionManager) uses this clock unless it
/// is told otherwise.
///
/// ```
/// use std::time::Duration;
/// use tidewheel::{Cache, StrictClock};
///
/// let codes = Cache::builder().time_to_live(Duration::from_secs(30)).clock(StrictClock).build()?;
/// codes.insert("alice", 271_828);
/// assert_eq!(codes.get("alice"), Some(271_828));
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct StrictClock;

impl Clock for StrictClock {}
impl sealed::Sealed for StrictClock {
    fn timeline(self) -> Timeline {
        Timeline { is_strict: true, ..Timeline::system() }
    }
}

/// The one timeline of a cache, and the ways to read it.
#[derive(Clone)]
pub struct Timeline {
    /// Else it is the system's.
    manual: Option<ManualClock>,
    /// Whether the kept time is not for it.
    is_strict: bool,
}

/// Models, Miri and shuttle have no time that passes by itself, and no thread that nobody waits for.
const IS_KEPT: bool = !cfg!(any(miri, tidewheel_loom, tidewheel_shuttle));

impl Timeline {
    pub(crate) const fn system() -> Self {
        Self { manual: None, is_strict: !IS_KEPT }
    }

    /// The manual clock behind this timeline, if there is one.
    pub(crate) fn manual(&self) -> Option<&ManualClock> {
        self.manual.as_ref()
    }

    /// The time, precisely: for writers.
    #[inline]
    pub(crate) fn now(&self) -> Tick {
        match &self.manual {
            None => system::now(),
            Some(clock) => clock.now(),
        }
    }

    /// The time, at most 5 ms ago and never ahead: for readers.
    #[inline]
    pub(crate) fn recent(&self) -> Tick {
        match &self.manual {
            None => system::recent(),
            Some(clock) => clock.now(),
        }
    }

    /// Whether a look tells that a deadline is ahead, or was up to 10 ms ago, or was at the latest check of this thread, some reads
    /// ago. If not, it may be ahead all the same: then [`after_all`](Self::after_all).
    #[inline]
    pub(crate) fn shows(&self, deadline: Deadline, trust: &Trust) -> bool {
        match &self.manual {
            None if self.is_strict => system::at_hand().is_some_and(|now| !deadline.is_over(now)),
            None => keeper::shows(deadline, trust),
            Some(clock) => !deadline.is_over(clock.now()),
        }
    }

    /// The time for a reader to whom a look has shown nothing: as [`recent`](Self::recent). With this a thread checks the
    /// kept time, and counts where nobody keeps it.
    pub(crate) fn after_all(&self, trust: &Trust) -> Tick {
        if self.manual.is_some() || self.is_strict { self.recent() } else { keeper::check(trust) }
    }

    /// How far [`recent`](Self::recent) may be behind: a time that a reader sets has to be later by this,
    /// so that it is not too early.
    #[inline]
    pub(crate) fn lag(&self) -> Span {
        Span::from_nanos(if self.manual.is_some() { 0 } else { MAX_LAG })
    }
}

impl fmt::Debug for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.manual {
            Some(clock) => clock.fmt(f),
            None if self.is_strict => StrictClock.fmt(f),
            None => SystemClock.fmt(f),
        }
    }
}

/// The system's clock where the kernel has a cheap coarse one.
#[cfg(all(target_os = "linux", not(any(miri, tidewheel_loom))))]
mod system {
    use super::{MAX_LAG, SECOND, Tick};
    use crate::sync::atomic::{AtomicU8, Ordering};
    use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

    fn tick(time: Timespec) -> Tick {
        // Both fields are never negative on a monotonic clock. One second is added as everywhere
        // (timelines start at one).
        Tick::from_nanos((time.tv_sec.unsigned_abs() + 1) * SECOND + time.tv_nsec.unsigned_abs())
    }

    #[inline]
    pub(super) fn now() -> Tick {
        tick(clock_gettime(ClockId::Monotonic))
    }

    #[inline]
    pub(super) fn at_hand() -> Option<Tick> {
        #[cfg(target_arch = "x86_64")]
        return super::counter::at_hand();
        #[cfg(not(target_arch = "x86_64"))]
        Some(cheap())
    }

    #[inline]
    pub(super) fn recent() -> Tick {
        #[cfg(target_arch = "x86_64")]
        return super::counter::at_hand().unwrap_or_else(super::counter::refresh);
        #[cfg(not(target_arch = "x86_64"))]
        cheap()
    }

    /// The kernel's coarse clock, or the precise one where the coarse lags by more than we promise: it moves by
    /// whole steps, one behind the interrupt at worst, which is itself a step old just before the next.
    pub(super) fn cheap() -> Tick {
        // ORDERING: Relaxed; a number that says it all.
        let fine_enough = match FINE_ENOUGH.load(Ordering::Relaxed) {
            UNKNOWN => ask_how_fine(),
            answer => answer == YES,
        };
        if fine_enough { tick(clock_gettime(ClockId::MonotonicCoarse)) } else { now() }
    }

    /// Not a `OnceLock`: in a fork's child nobody would ever come back to one that was being made.
    static FINE_ENOUGH: AtomicU8 = AtomicU8::new(UNKNOWN);
    const UNKNOWN: u8 = 0;
    const NO: u8 = 1;
    const YES: u8 = 2;

    #[cold]
    fn ask_how_fine() -> bool {
        let step = clock_getres(ClockId::MonotonicCoarse);
        let fine_enough = step.tv_sec == 0 && 2 * step.tv_nsec.unsigned_abs() <= MAX_LAG;
        // ORDERING: Relaxed; all who ask get the same answer.
        FINE_ENOUGH.store(if fine_enough { YES } else { NO }, Ordering::Relaxed);
        fine_enough
    }
}

/// The system's clock elsewhere: always precise.
#[cfg(not(all(target_os = "linux", not(any(miri, tidewheel_loom)))))]
mod system {
    use super::{SECOND, Tick};
    use std::sync::LazyLock;
    use std::time::Instant;

    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

    pub(super) fn now() -> Tick {
        #[allow(clippy::disallowed_methods)] // this file is where the clock is read
        let elapsed = Instant::now().saturating_duration_since(*ORIGIN);
        Tick::from_nanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX).saturating_add(SECOND))
    }

    pub(super) fn recent() -> Tick {
        now()
    }

    pub(super) fn at_hand() -> Option<Tick> {
        Some(now())
    }
}

/// A cached reading of the precise clock, trusted only while the processor's counter says it is fresh.
///
/// Whoever finds it old refreshes it; no thread keeps it up to date, so none can let it go stale. The
/// counter is used only where the kernel itself keeps time by it (then it is invariant and runs alike
/// on all cores), and only as long as it does, which is looked up once a minute; should it run backwards
/// nevertheless, the difference wraps to something huge and the reader takes the precise clock.
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(any(miri, tidewheel_loom))))]
mod counter {
    use super::{Tick, system};
    use crate::sync::CachePadded;
    use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    /// Age up to which a cached reading is trusted, in ticks: 1 ms below the promise.
    const FRESH: u64 = super::MAX_LAG - 1_000_000;
    /// The counter's rate is measured over at least this many ticks (20 ms).
    const CALIBRATION: u64 = 20_000_000;

    /// How long the kernel's word is taken for it, in ticks (a minute).
    const TRUST: u64 = 60 * super::SECOND;

    struct Cached {
        /// The latest precise reading. Only ever grows.
        tick: AtomicU64,
        /// A counter value read before a reading that is in `tick` or was invalidated there.
        stamp: AtomicU64,
        /// How many counts a reading stays fresh; 0 while the rate or the kernel's word is missing.
        window: AtomicU64,
        /// Until when the kernel's word is taken for the counter.
        trusted_until: AtomicU64,
    }

    static CACHED: CachePadded<Cached> = CachePadded::new(Cached::new());

    impl Cached {
        const fn new() -> Self {
            Self {
                tick: AtomicU64::new(0),
                stamp: AtomicU64::new(0),
                window: AtomicU64::new(0),
                trusted_until: AtomicU64::new(0),
            }
        }

        /// The reading, if it is under 4 ms old by the counter. That is read only if something can be fresh.
        #[inline]
        fn fresh(&self, count: impl FnOnce() -> u64) -> Option<Tick> {
            // ORDERING: Relaxed; a number that is right whenever it is not 0, and with which nothing is fresh if it is.
            let window = self.window.load(Ordering::Relaxed);
            if window == 0 {
                return None;
            }
            // ORDERING: Acquire; pairs with Release in `publish`: a stamp brings its reading with it.
            let stamp = self.stamp.load(Ordering::Acquire);
            if count().wrapping_sub(stamp) < window {
                // ORDERING: Relaxed; after the Acquire above, so at least as new as the stamp's reading.
                return Some(Tick::reading(self.tick.load(Ordering::Relaxed)));
            }
            None
        }

        /// A reading for others, with a counter value that was read before it.
        fn publish(&self, stamp: u64, now: Tick) {
            // ORDERING: Relaxed; published by the Release below. `fetch_max`: a slow thread must not put
            // an older reading under a newer stamp.
            self.tick.fetch_max(now.as_nanos(), Ordering::Relaxed);
            // ORDERING: Release; pairs with Acquire in `fresh`.
            self.stamp.store(stamp, Ordering::Release);
        }

        /// Whether the kernel keeps time by the counter. It is asked once a minute.
        fn is_trusted(&self, now: Tick, ask: impl FnOnce() -> bool) -> bool {
            let now = now.as_nanos();
            // ORDERING: Relaxed; two threads may ask the kernel at a time, and get the same answer.
            let until = self.trusted_until.load(Ordering::Relaxed);
            // The lowest bit is the answer.
            if now < until {
                return until & 1 == 1;
            }
            let yes = ask();
            // ORDERING: Relaxed; as above.
            self.trusted_until.store((now + TRUST) & !1 | u64::from(yes), Ordering::Relaxed);
            if !yes {
                // ORDERING: Relaxed; a reader that misses it for a moment uses a reading under 4 ms old.
                self.window.store(0, Ordering::Relaxed);
            }
            yes
        }
    }

    #[inline]
    #[allow(unsafe_code)]
    fn count() -> u64 {
        // SAFETY: the instruction exists on every x86-64 processor and touches no memory, and Linux
        // leaves it available to user code. Whether what it says means anything, `is_trusted` knows.
        unsafe { core::arch::x86_64::_rdtsc() }
    }

    /// The cached reading, if it is under 4 ms old.
    #[inline]
    pub(super) fn at_hand() -> Option<Tick> {
        CACHED.fresh(count)
    }

    /// A new reading; of the cheapest other clock where the counter is not to be trusted.
    #[cold]
    pub(super) fn refresh() -> Tick {
        let cheap = system::cheap();
        if !CACHED.is_trusted(cheap, keeps_time_by_the_counter) {
            return cheap;
        }
        let Some((first_count, first_tick)) = origin() else { return cheap };
        // ORDERING: Relaxed; any thread may publish the rate, and all publish a right one.
        let is_measured = CACHED.window.load(Ordering::Relaxed) != 0;
        // Nothing can be fresh before the rate is known: no use in a reading for others, each of whom would write it.
        if !is_measured && cheap.as_nanos().saturating_sub(first_tick) < CALIBRATION {
            return cheap;
        }
        let stamp = count();
        let now = system::now();
        if !is_measured {
            // `CALIBRATION` or more: the cheap clock has come that far, and is never ahead.
            let elapsed = now.as_nanos().saturating_sub(first_tick);
            let counts = u128::from(stamp.wrapping_sub(first_count));
            let window = u64::try_from(counts * u128::from(FRESH) / u128::from(elapsed)).unwrap_or(0);
            // ORDERING: Relaxed; as above.
            CACHED.window.store(window, Ordering::Relaxed);
        }
        CACHED.publish(stamp, now);
        now
    }

    /// A value of the counter, and the clock then: from these on the rate is measured. `None` while there are none yet.
    ///
    /// Nobody waits for whoever notes them: in a fork's child that may be a thread that is not there. Then nothing is measured, and
    /// the cheap clock does.
    fn origin() -> Option<(u64, u64)> {
        static TICK: AtomicU64 = AtomicU64::new(0);
        static COUNT: AtomicU64 = AtomicU64::new(0);
        static CLAIMED: AtomicBool = AtomicBool::new(false);
        // ORDERING: Acquire; pairs with Release below: a tick brings its count with it.
        let tick = TICK.load(Ordering::Acquire);
        if tick != 0 {
            // ORDERING: Relaxed; after the Acquire above.
            return Some((COUNT.load(Ordering::Relaxed), tick));
        }
        // ORDERING: Relaxed; who is first is all there is to know.
        if !CLAIMED.swap(true, Ordering::Relaxed) {
            // The origin's clock is read before its counter, and in `refresh` the counter before the clock: a
            // thread that is preempted in between then underestimates the rate, which only makes a
            // reading age faster.
            let tick = system::now().as_nanos();
            // ORDERING: Relaxed; published by the Release below.
            COUNT.store(count(), Ordering::Relaxed);
            // ORDERING: Release; pairs with Acquire above.
            TICK.store(tick, Ordering::Release);
        }
        None
    }

    /// The kernel has checked the counter better than we could, and goes on watching it: whether it keeps
    /// time by it.
    fn keeps_time_by_the_counter() -> bool {
        let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        std::fs::read_to_string(source).is_ok_and(|source| source.trim() == "tsc")
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// A thread is held up between its reading and its publication, and then between the two words of that, while
        /// another publishes a later reading: nobody takes the older one for fresh.
        #[test]
        fn a_reading_that_comes_late_hides_no_later_one() {
            let cached = Cached::new();
            cached.window.store(100, Ordering::Relaxed);
            let [early, late] = [1_000, 2_000].map(Tick::from_nanos);
            cached.publish(5_000, late);
            let later_stamp = cached.stamp.load(Ordering::Relaxed);
            cached.publish(1_000, early);
            // The late thread has stored the first word alone, as yet.
            cached.stamp.store(later_stamp, Ordering::Relaxed);
            assert_eq!(cached.fresh(|| 5_050), Some(late));
            // And both: then nothing is.
            cached.publish(1_000, early);
            assert_eq!(cached.fresh(|| 5_050), None);
        }

        /// The kernel finds the counter unfit while we run, and takes another clock: so do we, within a minute, and no
        /// reading that was cached is fresh from then on.
        #[test]
        fn a_kernel_that_changes_its_clock_source_is_followed() {
            let cached = Cached::new();
            let second = |seconds: u64| Tick::from_nanos(seconds * crate::time::SECOND);
            assert!(cached.is_trusted(second(1), || true));
            cached.window.store(1_000, Ordering::Relaxed);
            cached.publish(5_000, second(60));
            assert!(cached.is_trusted(second(60), || unreachable!("it was asked within a minute")));
            assert_eq!(cached.fresh(|| 5_050), Some(second(60)));
            assert!(!cached.is_trusted(second(62), || false));
            assert_eq!(cached.fresh(|| 5_050), None);
            assert!(!cached.is_trusted(second(121), || unreachable!("it was asked within a minute")));
            // And back.
            assert!(cached.is_trusted(second(122), || true));
        }

        #[test]
        fn the_counter_is_not_read_where_nothing_can_be_fresh() {
            let cached = Cached::new();
            assert_eq!(cached.fresh(|| unreachable!("there is nothing to compare")), None);
            cached.publish(7, Tick::from_nanos(9));
            cached.window.store(10, Ordering::Relaxed);
            assert_eq!(cached.fresh(|| 16), Some(Tick::from_nanos(9)));
            assert_eq!(cached.fresh(|| 17), None);
            // It ran backwards.
            assert_eq!(cached.fresh(|| 6), None);
        }
    }
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests;
