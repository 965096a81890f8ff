//! When an entry ends: how its time to live, its age, its time to idle and its `Expiry` combine.
//!
//! The earliest of these ends is the deadline in the node, and nothing else decides whether the
//! entry is alive. A read moves the part that comes from idleness, and has to know how far it may
//! move the deadline. If idleness is the only end, there is no limit, and the read uses
//! compare-and-swap alone. Otherwise the limit is in columns beside the rows, under the lock. A
//! flag in the deadline says that the deadline has reached this limit. This file knows no node.

use super::config::Config;
use crate::column::Column;
use crate::rows::RowId;
use crate::time::{Birth, Deadline, SECOND, Span, Tick};

/// The times of an entry that survive a replacement of its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Times {
    /// The entry's own time to live; `ENDLESS` if it has none.
    pub(crate) ttl: Span,
    /// When the entry was created.
    pub(crate) born: Birth,
}

/// When an entry ends, with the parts of the deadline that reads do not move.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) deadline: Deadline,
    /// The end by time to live and age.
    pub(super) limit: Tick,
    /// The end by the cache's `Expiry`.
    pub(super) expiry: Tick,
}

impl Ends {
    /// Returns whether the entry is over from the start.
    #[inline]
    pub(super) fn are_past(&self) -> bool {
        self.deadline.tick() == Tick::LONG_AGO
    }

    /// Returns the deadline of an entry that must not end earlier than `before`.
    pub(super) fn not_before(self, before: Deadline, config: &Config) -> Deadline {
        let tick = self.deadline.tick().max(before.tick());
        let is_fixed = if config.effects.moves_deadline {
            // The entry may have reached its bound before. If the bound has moved on, reads may
            // move the deadline again.
            tick >= self.limit.min(self.expiry)
        } else {
            before.is_fixed()
        };
        if is_fixed { Deadline::fixed_at(tick) } else { Deadline::at(tick) }
    }
}

/// The bounds of each entry, in caches where a bound can differ from the deadline: those with a
/// time to idle or an `Expiry`.
pub(super) struct Bounds {
    pub(super) limits: Column<Tick>,
    pub(super) expiries: Column<Tick>,
}

impl Bounds {
    /// Gives back the memory of vacant rows.
    pub(super) fn forget(&mut self, first: RowId, count: usize) {
        self.limits.forget(first, count);
        self.expiries.forget(first, count);
    }

    pub(super) const fn new() -> Self {
        Self { limits: Column::new(Tick::NEVER), expiries: Column::new(Tick::NEVER) }
    }
}

impl Times {
    /// Returns when time to live and age end an entry that is touched at `now`.
    pub(super) fn limit(self, now: Tick, config: &Config) -> Tick {
        now.after(self.ttl).min(self.born.after(config.max_age))
    }
}

impl Config {
    /// Returns the cache's maximum age, if it has one.
    #[inline]
    pub(super) fn ages(&self) -> Option<Span> {
        Some(self.max_age).filter(|age| *age != Span::ENDLESS)
    }

    /// Returns the ends of an entry that is written or touched at `now`.
    #[inline]
    pub(super) fn ends(&self, now: Tick, limit: Tick, expiry: Tick) -> Ends {
        self.ends_if_idle_for(self.tti, now, limit, expiry)
    }

    /// Returns the ends of an entry whose remaining time to idle is `idle`.
    #[inline]
    pub(super) fn ends_if_idle_for(&self, idle: Span, now: Tick, limit: Tick, expiry: Tick) -> Ends {
        let mut deadline = Deadline::at(limit);
        if self.effects.moves_deadline {
            let (idle, bound) = (now.after(idle), limit.min(expiry));
            deadline = if bound <= idle { Deadline::fixed_at(bound) } else { Deadline::at(idle) };
        }
        // An entry that is over from the start must be over by the readers' clock, too, which may
        // lag. So its deadline is long ago.
        if deadline.is_over(now) {
            deadline = Deadline::at(Tick::LONG_AGO);
        }
        Ends { deadline, limit, expiry }
    }

    /// Returns the deadline that `set_ttl` sets for an entry with this time to live. If touches move
    /// deadlines without the lock, and go by another time to live, it has a flag: a touch that has begun
    /// before does not take it for the deadline that it has seen.
    ///
    /// In a cache with a time to idle it has none. There a touch that has begun before, and is fooled, sets a
    /// deadline that lies no more than the clock's lag beyond this one's bound.
    pub(super) fn flagged(&self, deadline: Deadline, ttl: Span) -> Deadline {
        let is_flagged = !self.effects.moves_deadline && ttl != self.ttl && !deadline.is_never();
        if is_flagged { Deadline::fixed_at(deadline.tick()) } else { deadline }
    }

    /// Returns the deadline that a read at `now` sets if nothing but idleness ends the entry. `now`
    /// is a reading of the readers' clock, which may lag. The deadline is later by the largest lag,
    /// so that the entry does not end early.
    #[inline]
    pub(super) fn idle_deadline(&self, now: Tick) -> Tick {
        now.after(self.clock.lag()).after(self.tti)
    }
}

/// Returns whether a filed row may stay in its slot when its deadline moves. It may if the deadline
/// moves later: when the slot comes due, the row is filed again.
#[inline]
pub(super) fn stays(before: Tick, after: Tick) -> bool {
    before <= after && after < Tick::NEVER
}

/// Returns the first start of a second at or after `tick`. What is due then can be drained.
#[inline]
pub(super) fn boundary(tick: Tick) -> Tick {
    if tick == Tick::NEVER { tick } else { Tick::start_of(tick.as_nanos().div_ceil(SECOND)) }
}
