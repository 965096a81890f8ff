//! Time as the crate sees it: ticks on one monotonic timeline, deadlines, and the clocks that read
//! them.
//!
//! A tick is a nanosecond. Writers read the clock precisely. Readers may use a reading of the same
//! timeline that is a little behind and never ahead. Nothing here knows entries, wheels or the
//! reaper, which passes `now` down as an argument.
//!
//! Readers have two clocks:
//!
//! - *The checked clock* ([`Timeline::recent`]) is read anew each time, and is up to 5 ms behind.
//!   It is the first of these for which the machine qualifies (`src/docs/decisions.md` has the
//!   measurement): a precise reading that is cached in a static and trusted only while the
//!   processor's time-stamp counter says that it is under 4 ms old; the kernel's coarse clock, if
//!   two of its steps are 5 ms or less; the precise clock.
//! - *The kept time* ([`Timeline::shows`]) is one word that a thread writes while a process reads
//!   much (`kept.rs`, `keeper.rs`). A reader trusts it for a few reads in a row, and then checks it
//!   against the other clock.

mod keeper;
mod kept;
mod manual;
mod system;
mod tick;

#[cfg(tidewheel_loom)]
pub(crate) use keeper::Keeper;
pub(crate) use kept::Trust;
pub use manual::ManualClock;
pub(crate) use manual::{Advanced, Watch};
pub(crate) use tick::{Birth, Deadline, SECOND, Span, Tick};

use std::fmt;

/// A clock on which a cache can be built: [`SystemClock`], [`StrictClock`] or [`ManualClock`]. The
/// trait is sealed: promises about time depend on properties of the clock that the crate has to
/// know.
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
/// count. (On Windows it does.)
///
/// Writers read it precisely. Readers may be behind, and are never ahead. So an entry never becomes
/// invisible early, and at most 10 ms late. While a process reads much, a thread of this crate, the
/// *timekeeper*, writes the time into memory every 1 to 2 ms, and a read loads it from there.
/// Otherwise a read uses a cached reading that is fresh by the processor's counter, or else another
/// clock of the system. The timekeeper starts when it pays, from half a million reads a second on, and
/// sleeps when it no longer does.
///
/// The system may not let the timekeeper run, because other processes take all processors or the
/// whole process was stopped for a while. Each thread finds that out by itself: it trusts the time
/// in memory for at most 64 reads in a row, and then reads the clock. So at most 64 reads of a
/// thread are more than 10 ms late. Use the [`StrictClock`] if that is too much. In a cache with a time
/// to idle or an [`Expiry`](crate::Expiry), each read checks the clock, with either of the two.
///
/// ```
/// let cache = tidewheel::Cache::builder().clock(tidewheel::SystemClock).build()?;
/// cache.insert("k", 1);
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    /// Makes one round of the timekeeper on the calling thread: for counts of instructions, where
    /// no timekeeper runs.
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

/// The same clock as [`SystemClock`], but every read checks it: no read is more than 10 ms late,
/// whatever stalls, even right after the process was stopped for a while.
///
/// A read costs more by the time that the check takes: the processor's counter takes some 10 ns,
/// where the kernel uses it for its time (Linux on x86-64); elsewhere a coarse clock of the kernel
/// or the precise clock is read. [`SessionManager`](crate::SessionManager) uses this clock unless
/// it is told otherwise.
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
    /// The manual clock; `None` for the system's.
    manual: Option<ManualClock>,
    /// Whether reads on this timeline do not use the kept time.
    is_strict: bool,
}

/// Whether the process may have a timekeeper. Models, Miri and shuttle have no time that passes by
/// itself, and no thread that nobody waits for.
const IS_KEPT: bool = !cfg!(any(miri, tidewheel_loom, tidewheel_shuttle));

impl Timeline {
    pub(crate) const fn system() -> Self {
        Self { manual: None, is_strict: !IS_KEPT }
    }

    /// Returns this timeline for reads that check the clock every time.
    pub(crate) fn checked(self) -> Self {
        Self { is_strict: true, ..self }
    }

    /// Returns the manual clock behind this timeline, if there is one.
    pub(crate) fn manual(&self) -> Option<&ManualClock> {
        self.manual.as_ref()
    }

    /// Returns the precise time, for writers.
    #[inline]
    pub(crate) fn now(&self) -> Tick {
        match &self.manual {
            None => system::now(),
            Some(clock) => clock.now(),
        }
    }

    /// Returns a time that is at most 5 ms ago and never ahead, for readers.
    #[inline]
    pub(crate) fn recent(&self) -> Tick {
        match &self.manual {
            None => system::recent(),
            Some(clock) => clock.now(),
        }
    }

    /// Returns whether one look shows that a deadline is ahead, or passed at most 10 ms ago, or had
    /// not passed at this thread's latest check, some reads ago. If not, the deadline may be ahead
    /// all the same: then [`after_all`](Self::after_all).
    #[inline]
    pub(crate) fn shows(&self, deadline: Deadline, trust: &Trust) -> bool {
        match &self.manual {
            None if self.is_strict => system::at_hand().is_some_and(|now| !deadline.is_over(now)),
            None => keeper::shows(deadline, trust),
            Some(clock) => !deadline.is_over(clock.now()),
        }
    }

    /// Returns the time, like [`recent`](Self::recent), for a reader whose first look did not show
    /// the deadline to be ahead. With this call a thread checks the kept time, and counts reads
    /// while no thread keeps it.
    pub(crate) fn after_all(&self, trust: &Trust) -> Tick {
        if self.manual.is_some() || self.is_strict { self.recent() } else { keeper::check(trust) }
    }

    /// Returns how far [`recent`](Self::recent) may be behind. A deadline that a reader sets has to
    /// be later by this, so that it is not too early.
    #[inline]
    pub(crate) fn lag(&self) -> Span {
        Span::from_nanos(if self.manual.is_some() { 0 } else { system::MAX_LAG })
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

#[cfg(all(test, not(tidewheel_loom)))]
mod tests;
