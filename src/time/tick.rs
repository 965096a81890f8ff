//! Ticks, spans, and the word in a node that says when its entry expires.
//!
//! These are plain numbers with names. Nothing here reads a clock.

use std::time::Duration;

/// Ticks in a second.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// A point in time: nanoseconds on the timeline of one clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Tick(u64);

impl Tick {
    /// A tick after every point that a deadline can name: what happens at `NEVER` does not happen.
    /// It is 146 years after the timeline's start, because a deadline has two flags beside its
    /// tick.
    pub(crate) const NEVER: Self = Self(u64::MAX >> 2);
    /// A tick before every clock reading: timelines start at one second.
    pub(crate) const LONG_AGO: Self = Self(1);

    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        if nanos > Self::NEVER.0 { Self::NEVER } else { Self(nanos) }
    }

    /// Creates a tick from a clock reading, which is before `NEVER`.
    pub(crate) const fn reading(nanos: u64) -> Self {
        debug_assert!(nanos < Self::NEVER.0);
        Self(nanos)
    }

    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the second that contains this tick.
    pub(crate) const fn second(self) -> u64 {
        self.0 / SECOND
    }

    /// Returns the first tick of `second`, or `NEVER` if that is out of range.
    pub(crate) const fn start_of(second: u64) -> Self {
        Self::from_nanos(second.saturating_mul(SECOND))
    }

    /// Returns the tick `span` later. `NEVER` stays `NEVER`.
    pub(crate) const fn after(self, span: Span) -> Self {
        Self::from_nanos(self.0.saturating_add(span.0))
    }

    pub(crate) const fn before(self, span: Span) -> Self {
        Self::from_nanos(self.0.saturating_sub(span.0))
    }

    /// Returns the time from `earlier` to this tick, or zero if `earlier` is later.
    pub(crate) const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

/// A length of time in ticks. `ENDLESS` is longer than any timeline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Span(u64);

impl Span {
    pub(crate) const ENDLESS: Self = Self(u64::MAX);
    pub(crate) const NONE: Self = Self(0);

    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Converts a duration. The result is exact up to 146 years; anything longer is `ENDLESS`.
    pub(crate) const fn from_duration(duration: Duration) -> Self {
        let nanos = duration.as_nanos();
        if nanos >= Tick::NEVER.0 as u128 { Self::ENDLESS } else { Self(nanos as u64) }
    }

    pub(crate) const fn as_duration(self) -> Duration {
        if self.0 >= Tick::NEVER.0 { Duration::MAX } else { Duration::from_nanos(self.0) }
    }
}

/// When an entry was created: a tick, or a moment before the timeline began. A clock begins with
/// its machine, and an entry may come from a process on a machine that had run longer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Birth(i64);

impl Birth {
    pub(crate) const fn at(tick: Tick) -> Self {
        // A tick has 62 bits.
        Self(tick.0 as i64)
    }

    /// Returns the birth at this age before `now`.
    #[cfg(feature = "serde")]
    pub(crate) const fn before(now: Tick, age: Span) -> Self {
        let age = if age.0 > Tick::NEVER.0 { Tick::NEVER.0 } else { age.0 };
        Self(now.0 as i64 - age as i64)
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits as i64)
    }

    pub(crate) const fn to_bits(self) -> u64 {
        self.0 as u64
    }

    /// Returns the age at `now`, or zero if the birth is later.
    pub(crate) const fn age(self, now: Tick) -> Span {
        let age = (now.0 as i64).saturating_sub(self.0);
        Span(if age < 0 { 0 } else { age as u64 })
    }

    /// Returns the tick at which this age is reached, or the first tick that is not `DEAD` if that
    /// is before the timeline began.
    #[inline]
    pub(crate) const fn after(self, age: Span) -> Tick {
        if age.0 >= Tick::NEVER.0 {
            return Tick::NEVER;
        }
        let tick = self.0.saturating_add(age.0 as i64);
        if tick <= 0 { Tick::LONG_AGO } else { Tick::from_nanos(tick as u64) }
    }
}

/// The word in a node that decides whether its entry is visible.
///
/// It is a tick, `NEVER` or `DEAD`, with two flags that the comparison with the clock ignores.
/// `FROZEN` makes a thread that would move the deadline without the shard's lock take the lock.
/// `FIXED` says that no thread moves the deadline without the lock. In caches with a time to idle or an
/// `Expiry`, something other than idleness ends the entry at this tick, so a read need not try to move it. In
/// others, the entry has got a time to live of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Deadline(u64);

impl Deadline {
    const FROZEN: u64 = 1 << 63;
    const FIXED: u64 = 1 << 62;
    /// The bits without the flags. The same number as `NEVER`, so that a read loads one constant
    /// for both.
    const TICK: u64 = Tick::NEVER.0;

    /// The entry has expired, finally. It is earlier than every clock reading, so that the
    /// comparison with the clock needs no special case.
    pub(crate) const DEAD: Self = Self(0);
    /// The entry does not expire.
    pub(crate) const NEVER: Self = Self(Tick::NEVER.0);

    /// Returns the deadline at `tick`. (Timelines start at one second, so a tick is never mistaken
    /// for `DEAD`.)
    pub(crate) const fn at(tick: Tick) -> Self {
        debug_assert!(tick.0 != 0);
        Self(tick.0)
    }

    /// Returns the deadline at `tick` that no read moves.
    pub(crate) const fn fixed_at(tick: Tick) -> Self {
        debug_assert!(tick.0 != 0);
        Self(tick.0 | Self::FIXED)
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) const fn to_bits(self) -> u64 {
        self.0
    }

    pub(crate) const fn is_dead(self) -> bool {
        self.0 & Self::TICK == Self::DEAD.0
    }

    pub(crate) const fn is_never(self) -> bool {
        self.0 & Self::TICK == Self::NEVER.0
    }

    pub(crate) const fn is_frozen(self) -> bool {
        self.0 & Self::FROZEN != 0
    }

    /// Returns whether no thread moves the deadline without the lock.
    pub(crate) const fn is_fixed(self) -> bool {
        self.0 & Self::FIXED != 0
    }

    pub(crate) const fn frozen(self) -> Self {
        Self(self.0 | Self::FROZEN)
    }

    pub(crate) const fn unfrozen(self) -> Self {
        Self(self.0 & !Self::FROZEN)
    }

    /// Returns the tick from which the entry is invisible, without the flags: `NEVER` for never, 0
    /// for `DEAD`.
    pub(crate) const fn tick(self) -> Tick {
        Tick(self.0 & Self::TICK)
    }

    /// Returns whether an entry with this deadline is invisible at `now`.
    pub(crate) const fn is_over(self, now: Tick) -> bool {
        now.0 >= self.0 & Self::TICK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_read_may_move_ends_on_the_same_nanosecond() {
        for tick in [Tick::from_nanos(6), Tick::from_nanos(7), Tick::NEVER] {
            let (fixed, free) = (Deadline::fixed_at(tick), Deadline::at(tick));
            assert!(fixed.is_fixed() && fixed.frozen().is_fixed());
            assert!(!free.is_fixed() && !free.frozen().is_fixed());
            assert_eq!((fixed.tick(), fixed.frozen().tick()), (tick, tick));
            assert_eq!(fixed.frozen().unfrozen(), fixed);
            assert!(!fixed.is_dead() && fixed.is_never() == (tick == Tick::NEVER));
            assert!(fixed.is_over(tick) && free.is_over(tick));
        }
        assert!(!Deadline::fixed_at(Tick::from_nanos(7)).is_over(Tick::from_nanos(6)));
        assert!(!Deadline::DEAD.is_fixed() && !Deadline::NEVER.is_fixed());
    }

    #[test]
    fn a_birth_may_be_before_the_timeline() {
        let (now, seconds) = (Tick::start_of(3), |count: u64| Span::from_nanos(count * SECOND));
        let here = Birth::at(Tick::start_of(1));
        assert_eq!((here.age(now), here.age(Tick::LONG_AGO)), (seconds(2), Span::NONE));
        assert_eq!((here.after(seconds(5)), here.after(Span::ENDLESS)), (Tick::start_of(6), Tick::NEVER));
        let before = Birth::from_bits(Birth(-7 * (SECOND as i64)).to_bits());
        assert_eq!((before.age(now), before.after(seconds(5))), (seconds(10), Tick::LONG_AGO));
        assert_eq!((before.after(seconds(9)), before.after(Span::ENDLESS)), (Tick::start_of(2), Tick::NEVER));
        let longest = Span::from_nanos(Tick::NEVER.as_nanos() - 1);
        assert_eq!(here.after(longest), Tick::NEVER);
    }

    #[test]
    fn deadlines_compare_whatever_their_flag() {
        let at = Deadline::at(Tick::from_nanos(100));
        assert!(!at.is_over(Tick::from_nanos(99)));
        assert!(at.is_over(Tick::from_nanos(100)));
        assert!(!at.frozen().is_over(Tick::from_nanos(99)));
        assert!(at.frozen().is_over(Tick::from_nanos(100)));
        assert_eq!(at.frozen().tick(), at.tick());
        assert!(Deadline::NEVER.is_never() && Deadline::NEVER.frozen().is_never());
        assert!(Deadline::DEAD.is_over(Tick::from_nanos(1)));
        assert!(Deadline::DEAD.is_dead() && Deadline::DEAD.frozen().is_dead());
        assert!(!at.is_dead() && !at.frozen().is_dead() && !Deadline::NEVER.is_dead());
        assert!(!Deadline::NEVER.is_over(Tick::from_nanos(u64::MAX >> 3)));
    }
}
