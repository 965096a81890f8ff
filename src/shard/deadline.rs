//! When an entry ends: how its time to live, its age, its time to idle and its `Expiry` combine.
//!
//! The earliest of them is the deadline, in the node, and nothing else decides. A read moves the part that is
//! idleness; how far it may go, it has to know. Where idleness is all there is, it goes as far as it likes,
//! by compare-and-swap. Otherwise what bounds it is in columns beside the rows, under the lock, and the
//! deadline itself says (by a flag) that it has come to its bound. Knows no node.

use super::config::Config;
use crate::column::Column;
use crate::rows::RowId;
use crate::time::{Birth, Deadline, SECOND, Span, Tick};

/// The times of an entry that outlive a replacement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Times {
    /// The entry's own time to live; `ENDLESS` for none.
    pub(crate) ttl: Span,
    /// When it was created.
    pub(crate) born: Birth,
}

/// When an entry ends, and the parts of it that reads do not move.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) deadline: Deadline,
    /// By its time to live and its age.
    pub(super) limit: Tick,
    /// By the cache's `Expiry`.
    pub(super) expiry: Tick,
}

impl Ends {
    /// The deadline of an entry that must not lose what it had.
    pub(super) fn not_before(self, before: Tick, config: &Config) -> Deadline {
        let tick = self.deadline.tick().max(before);
        // It had come to its bound, perhaps, and the bound has moved on: then reads may go on too.
        let is_fixed = config.effects.moves_deadline && tick >= self.limit.min(self.expiry);
        if is_fixed { Deadline::fixed_at(tick) } else { Deadline::at(tick) }
    }
}

/// What bounds each entry, where that can be something else than the deadline: in caches with a time to
/// idle or an `Expiry`.
pub(super) struct Bounds {
    pub(super) limits: Column<Tick>,
    pub(super) expiries: Column<Tick>,
}

impl Bounds {
    /// Gives back the memory of rows that are vacant.
    pub(super) fn forget(&mut self, first: RowId, count: usize) {
        self.limits.forget(first, count);
        self.expiries.forget(first, count);
    }

    pub(super) const fn new() -> Self {
        Self { limits: Column::new(Tick::NEVER), expiries: Column::new(Tick::NEVER) }
    }
}

impl Times {
    /// Where time to live and age end an entry that is touched at `now`.
    pub(super) fn limit(self, now: Tick, config: &Config) -> Tick {
        now.after(self.ttl).min(self.born.after(config.max_age))
    }
}

impl Config {
    /// The age that ends an entry, if one does.
    #[inline]
    pub(super) fn ages(&self) -> Option<Span> {
        Some(self.max_age).filter(|age| *age != Span::ENDLESS)
    }

    /// The end of an entry that is written or touched at `now`.
    #[inline]
    pub(super) fn ends(&self, now: Tick, limit: Tick, expiry: Tick) -> Ends {
        self.ends_if_idle_for(self.tti, now, limit, expiry)
    }

    /// The end of an entry of which so much time to idle is left.
    #[inline]
    pub(super) fn ends_if_idle_for(&self, idle: Span, now: Tick, limit: Tick, expiry: Tick) -> Ends {
        let mut deadline = Deadline::at(limit);
        if self.effects.moves_deadline {
            let (idle, bound) = (now.after(idle), limit.min(expiry));
            deadline = if bound <= idle { Deadline::fixed_at(bound) } else { Deadline::at(idle) };
        }
        // What is over from the start is over by the readers' clock too, which may lag.
        if deadline.is_over(now) {
            deadline = Deadline::at(Tick::LONG_AGO);
        }
        Ends { deadline, limit, expiry }
    }

    /// How long a read at `now` makes an entry live that nothing but idleness ends. By the readers' clock,
    /// which may lag: so as not to end it early, it lives longer by as much as that can be.
    #[inline]
    pub(super) fn idle_deadline(&self, now: Tick) -> Tick {
        now.after(self.clock.lag()).after(self.tti)
    }
}

/// Whether a row that is filed stays where it is when its deadline moves. Later is nobody's business: the slot comes
/// due, and the row is filed again then.
#[inline]
pub(super) fn stays(before: Tick, after: Tick) -> bool {
    before <= after && after < Tick::NEVER
}

/// The first start of a second at or after `tick`: what is due then can be drained.
#[inline]
pub(super) fn boundary(tick: Tick) -> Tick {
    if tick == Tick::NEVER { tick } else { Tick::start_of(tick.as_nanos().div_ceil(SECOND)) }
}
