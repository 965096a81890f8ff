//! The system's clock, precise or a little behind: whatever of it this machine has.

use super::tick::{SECOND, Tick};

/// How far the checked clock may lag behind the precise one, in ticks (5 ms).
#[cfg(all(target_os = "linux", not(any(miri, tidewheel_loom))))]
pub(super) const MAX_LAG: u64 = 5_000_000;
/// Elsewhere readers use the precise clock.
#[cfg(not(all(target_os = "linux", not(any(miri, tidewheel_loom)))))]
pub(super) const MAX_LAG: u64 = 0;

pub(super) use kernel::{at_hand, now, recent};
#[cfg(all(test, target_os = "linux", not(any(miri, tidewheel_loom))))]
pub(super) use kernel::{cheap, is_fine_enough};

/// The system's clock where the kernel has a cheap coarse one.
#[cfg(all(target_os = "linux", not(any(miri, tidewheel_loom))))]
mod kernel {
    use super::{MAX_LAG, SECOND, Tick};
    use crate::sync::atomic::{AtomicU8, Ordering};
    use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

    fn tick(time: Timespec) -> Tick {
        // Both fields are never negative on a monotonic clock. One second is added because
        // timelines start at one second.
        Tick::from_nanos((time.tv_sec.unsigned_abs() + 1) * SECOND + nanos(time))
    }

    fn nanos(time: Timespec) -> u64 {
        // The field has 32 bits on some systems, and is below a billion.
        time.tv_nsec as u64
    }

    #[inline]
    pub(in crate::time) fn now() -> Tick {
        tick(clock_gettime(ClockId::Monotonic))
    }

    #[inline]
    pub(in crate::time) fn at_hand() -> Option<Tick> {
        #[cfg(target_arch = "x86_64")]
        return super::counter::at_hand();
        #[cfg(not(target_arch = "x86_64"))]
        Some(cheap())
    }

    #[inline]
    pub(in crate::time) fn recent() -> Tick {
        #[cfg(target_arch = "x86_64")]
        return super::counter::at_hand().unwrap_or_else(super::counter::refresh);
        #[cfg(not(target_arch = "x86_64"))]
        cheap()
    }

    /// Returns the time of the clock that runs on while the machine is suspended.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn since_boot() -> Tick {
        tick(clock_gettime(ClockId::Boottime))
    }

    /// Returns the kernel's coarse clock, or the precise one if the coarse lags by more than the
    /// promise. The coarse clock moves in whole steps. At worst it is one step behind the
    /// interrupt, which is itself a step old just before the next one.
    pub(in crate::time) fn cheap() -> Tick {
        // ORDERING: Relaxed; the number is complete by itself.
        let fine_enough = match FINE_ENOUGH.load(Ordering::Relaxed) {
            UNKNOWN => ask_how_fine(),
            answer => answer == YES,
        };
        if fine_enough { tick(clock_gettime(ClockId::MonotonicCoarse)) } else { now() }
    }

    /// Not a `OnceLock`: in the child of a fork, no thread would complete one that was being
    /// initialized.
    static FINE_ENOUGH: AtomicU8 = AtomicU8::new(UNKNOWN);
    const UNKNOWN: u8 = 0;
    const NO: u8 = 1;
    const YES: u8 = 2;

    #[cold]
    fn ask_how_fine() -> bool {
        let fine_enough = is_fine_enough(clock_getres(ClockId::MonotonicCoarse));
        // ORDERING: Relaxed; all threads that ask get the same answer.
        FINE_ENOUGH.store(if fine_enough { YES } else { NO }, Ordering::Relaxed);
        fine_enough
    }

    /// Returns whether a coarse clock of this step is never further behind than the promise.
    pub(in crate::time) fn is_fine_enough(step: Timespec) -> bool {
        step.tv_sec == 0 && 2 * nanos(step) <= MAX_LAG
    }
}

/// The system's clock elsewhere: always precise.
#[cfg(not(all(target_os = "linux", not(any(miri, tidewheel_loom)))))]
mod kernel {
    use super::{SECOND, Tick};
    use std::sync::LazyLock;
    use std::time::Instant;

    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

    pub(in crate::time) fn now() -> Tick {
        #[allow(clippy::disallowed_methods)] // this file is where the clock is read
        let elapsed = Instant::now().saturating_duration_since(*ORIGIN);
        Tick::from_nanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX).saturating_add(SECOND))
    }

    pub(in crate::time) fn recent() -> Tick {
        now()
    }

    pub(in crate::time) fn at_hand() -> Option<Tick> {
        Some(now())
    }
}

/// A cached reading of the precise clock, trusted only while the processor's counter says that it
/// is fresh.
///
/// A reader that finds it old refreshes it. No thread is needed to keep it up to date, so none can
/// let it go stale. The counter is used only where the kernel itself uses it for its time (then it
/// is invariant and runs alike on all cores), and only as long as the kernel does so, which is
/// looked up once a minute. Should the counter run backwards nevertheless, the difference wraps to
/// a huge number and the reader uses the precise clock.
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(any(miri, tidewheel_loom))))]
mod counter {
    use super::{Tick, kernel};
    use crate::sync::atomic::{AtomicU64, Ordering};
    use crate::sync::{CachePadded, Mutex, lasting};

    /// The age up to which a cached reading is trusted, in ticks: 1 ms below the promise.
    const FRESH: u64 = super::MAX_LAG - 1_000_000;
    /// The counter's rate is measured over at least this many ticks (20 ms).
    const CALIBRATION: u64 = 20_000_000;
    /// If the machine was suspended during a measurement for longer than this, in ticks (1 ms), the
    /// measurement begins anew. A shorter suspension makes a reading at most a twentieth older.
    const NEGLIGIBLE: u64 = 1_000_000;

    /// How long the kernel's answer about the counter is trusted, in ticks (a minute).
    const TRUST: u64 = 60 * super::SECOND;

    struct Cached {
        /// The latest precise reading. It never decreases.
        tick: AtomicU64,
        /// A counter value that was read before a reading that is in `tick` or was invalidated
        /// there.
        stamp: AtomicU64,
        /// For how many counts a reading stays fresh; 0 while the rate or the kernel's answer is
        /// missing.
        window: AtomicU64,
        /// Until when the kernel's answer is trusted.
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

        /// Returns the reading, if it is under 4 ms old by the counter. Reads the counter only if
        /// something can be fresh.
        #[inline]
        fn fresh(&self, count: impl FnOnce() -> u64) -> Option<Tick> {
            // ORDERING: Relaxed; any value that is not 0 is right, and with 0 nothing is fresh.
            let window = self.window.load(Ordering::Relaxed);
            if window == 0 {
                return None;
            }
            // ORDERING: Acquire; pairs with Release in `publish`: a thread that sees a stamp sees
            // its reading.
            let stamp = self.stamp.load(Ordering::Acquire);
            if count().wrapping_sub(stamp) < window {
                // ORDERING: Relaxed; after the Acquire above, so at least as new as the stamp's
                // reading.
                return Some(Tick::reading(self.tick.load(Ordering::Relaxed)));
            }
            None
        }

        /// Publishes a reading, with a counter value that was read before it.
        fn publish(&self, stamp: u64, now: Tick) {
            // ORDERING: Relaxed; published by the Release below. `fetch_max`: a slow thread must
            // not put an older reading under a newer stamp.
            self.tick.fetch_max(now.as_nanos(), Ordering::Relaxed);
            // ORDERING: Release; pairs with Acquire in `fresh`.
            self.stamp.store(stamp, Ordering::Release);
        }

        /// Returns whether the kernel uses the counter for its time. Asks the kernel once a minute.
        fn is_trusted(&self, now: Tick, ask: impl FnOnce() -> bool) -> bool {
            let now = now.as_nanos();
            // ORDERING: Relaxed; two threads may ask the kernel at the same time, and get the same
            // answer.
            let until = self.trusted_until.load(Ordering::Relaxed);
            // The lowest bit is the answer.
            if now < until {
                return until & 1 == 1;
            }
            let yes = ask();
            // ORDERING: Relaxed; the same reason.
            self.trusted_until.store((now + TRUST) & !1 | u64::from(yes), Ordering::Relaxed);
            if !yes {
                // ORDERING: Relaxed; a reader that misses it for a moment uses a reading under 4 ms
                // old.
                self.window.store(0, Ordering::Relaxed);
            }
            yes
        }
    }

    #[inline]
    #[allow(unsafe_code)]
    fn count() -> u64 {
        // SAFETY: the instruction exists on every x86-64 processor and touches no memory, and Linux
        // leaves it available to user code. `is_trusted` decides whether its result is meaningful.
        unsafe { core::arch::x86_64::_rdtsc() }
    }

    /// Returns the cached reading, if it is under 4 ms old.
    #[inline]
    pub(in crate::time) fn at_hand() -> Option<Tick> {
        CACHED.fresh(count)
    }

    /// Returns a new reading. Uses the cheapest other clock if the counter is not to be trusted.
    #[cold]
    pub(in crate::time) fn refresh() -> Tick {
        let cheap = kernel::cheap();
        if !CACHED.is_trusted(cheap, keeps_time_by_the_counter) {
            return cheap;
        }
        // ORDERING: Relaxed; any thread may publish the rate, and every published rate is right.
        // Nothing can be fresh before the rate is known, so a shared reading would only cause
        // writes to its cache line.
        if CACHED.window.load(Ordering::Relaxed) == 0 && !measure(cheap) {
            return cheap;
        }
        let stamp = count();
        let now = kernel::now();
        CACHED.publish(stamp, now);
        now
    }

    /// The counter and two of the kernel's clocks, at one moment.
    #[derive(Clone, Copy)]
    struct Moment {
        count: u64,
        /// Of the clock that stands while the machine is suspended.
        tick: u64,
        /// Of the clock that runs on.
        boot: u64,
    }

    impl Moment {
        /// Reads them for the beginning of a measurement. What is read last here is read first at
        /// its end. So a thread that is preempted in between takes the counter to be slower than it
        /// is, which only makes a reading age faster, or takes the machine to have been suspended.
        fn first() -> Self {
            let boot = kernel::since_boot().as_nanos();
            let tick = kernel::now().as_nanos();
            Self { count: count(), tick, boot }
        }

        /// Reads them for the end of a measurement.
        fn last() -> Self {
            let count = count();
            let tick = kernel::now().as_nanos();
            Self { count, tick, boot: kernel::since_boot().as_nanos() }
        }

        /// Returns for how many counts a reading stays fresh, by the counts since `first`. Returns
        /// `None` if the machine was suspended since then: the counter may have run on, or begun
        /// anew.
        fn window_since(self, first: Self) -> Option<u64> {
            let elapsed = self.tick.saturating_sub(first.tick);
            let suspended = self.boot.saturating_sub(first.boot).saturating_sub(elapsed);
            if elapsed < CALIBRATION || suspended > NEGLIGIBLE {
                return None;
            }
            let counts = u128::from(self.count.checked_sub(first.count)?);
            let window = counts * u128::from(FRESH) / u128::from(elapsed);
            u64::try_from(window).ok().filter(|window| *window != 0)
        }
    }

    lasting! {
        /// The beginning of the measurement of the counter's rate.
        static BEGUN: Mutex<Option<Moment>> = Mutex::new(None);
    }

    /// Begins to measure the counter's rate, or ends it if it has gone on for long enough. Returns
    /// whether the rate is known now.
    ///
    /// No thread waits for another that does the same: in the child of a fork that thread may not
    /// exist. In that case no rate is measured, and the cheap clock is used.
    fn measure(cheap: Tick) -> bool {
        let Some(mut begun) = BEGUN.try_lock() else { return false };
        let window = match *begun {
            // The cheap clock is never ahead.
            Some(first) if cheap.as_nanos().saturating_sub(first.tick) < CALIBRATION => return false,
            Some(first) => Moment::last().window_since(first),
            None => None,
        };
        let Some(window) = window else {
            *begun = Some(Moment::first());
            return false;
        };
        // Should the rate be forgotten, it is measured from then on.
        *begun = None;
        // ORDERING: Relaxed; the same reason as in `refresh`.
        CACHED.window.store(window, Ordering::Relaxed);
        true
    }

    /// Returns whether the kernel uses the counter for its time. The kernel has checked the counter
    /// more thoroughly than this crate could, and goes on watching it.
    fn keeps_time_by_the_counter() -> bool {
        let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        std::fs::read_to_string(source).is_ok_and(|source| source.trim() == "tsc")
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// A thread is delayed between its reading and the publication, and then between the two
        /// stores of that, while another thread publishes a later reading. No thread takes the
        /// older one for fresh.
        #[test]
        fn a_reading_that_comes_late_hides_no_later_one() {
            let cached = Cached::new();
            cached.window.store(100, Ordering::Relaxed);
            let [early, late] = [1_000, 2_000].map(Tick::from_nanos);
            cached.publish(5_000, late);
            let later_stamp = cached.stamp.load(Ordering::Relaxed);
            cached.publish(1_000, early);
            // The late thread has stored only the first word so far.
            cached.stamp.store(later_stamp, Ordering::Relaxed);
            assert_eq!(cached.fresh(|| 5_050), Some(late));
            // It has stored both: now nothing is fresh.
            cached.publish(1_000, early);
            assert_eq!(cached.fresh(|| 5_050), None);
        }

        /// The kernel finds the counter unfit while the process runs, and switches to another
        /// clock. So does this code, within a minute, and no cached reading is fresh from then on.
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
            // The counter ran backwards.
            assert_eq!(cached.fresh(|| 6), None);
        }

        const MS: u64 = 1_000_000;
        const HOUR: u64 = 3600 * crate::time::SECOND;
        /// The beginning of a measurement, after three hours of which the machine slept for two.
        const FIRST: Moment = Moment { count: 9 * HOUR, tick: HOUR, boot: 3 * HOUR };

        /// What is read so long after `FIRST`, in ticks, with three counts in each.
        fn later(awake: u64, suspended: u64) -> Moment {
            let all = awake + suspended;
            Moment { count: FIRST.count + 3 * all, tick: FIRST.tick + awake, boot: FIRST.boot + all }
        }

        #[test]
        fn the_rate_is_measured_over_long_enough() {
            assert_eq!(later(20 * MS, 0).window_since(FIRST), Some(3 * FRESH));
            assert_eq!(later(HOUR, 0).window_since(FIRST), Some(3 * FRESH));
            assert_eq!(later(20 * MS - 1, 0).window_since(FIRST), None);
        }

        /// The counter ran on for eight hours in which the clock stood. By that rate, a reading
        /// would be fresh for an hour and a half.
        #[test]
        fn the_rate_is_not_measured_across_a_suspension() {
            for awake in [20 * MS, HOUR] {
                for suspended in [2 * MS, 8 * HOUR] {
                    assert_eq!(later(awake, suspended).window_since(FIRST), None);
                }
                // Whatever is neglected leaves a reading under 5 ms old.
                let window = later(awake, MS).window_since(FIRST).unwrap();
                assert!((3 * FRESH..3 * super::super::MAX_LAG).contains(&window), "{window}");
            }
            // It began anew with the machine.
            let anew = Moment { count: 5, ..later(20 * MS, 0) };
            assert_eq!(anew.window_since(FIRST), None);
        }
    }
}
