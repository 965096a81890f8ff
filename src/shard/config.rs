//! The config of a cache: what every operation on a shard needs to know of it, and does not change, but for one flag.

use super::jitter::Jitter;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::time::{Span, Tick, Timeline};

/// What every operation needs to know of the cache.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) clock: Timeline,
    pub(crate) ttl: Span,
    pub(crate) tti: Span,
    pub(crate) max_age: Span,
    /// How long before it expires somebody is to be warned of an entry; none if nobody is.
    pub(crate) warn_before: Span,
    /// From which age on a value is loaded anew, if it is.
    pub(crate) refresh: Option<Span>,
    /// Whether every entry has the same one of these and no other (or none), so that a touch or a read knows
    /// the new deadline without the ledger. Once false, false for ever.
    uniform: AtomicBool,
    pub(crate) jitter: Jitter,
    pub(crate) effects: ReadEffects,
    /// Whether somebody is to be told of expired entries.
    pub(crate) listened: bool,
    /// Whether writers do some of the reaper's work where that is late.
    pub(crate) helped: bool,
    /// Whether entries have weights, so that few of them may be much.
    pub(crate) weighed: bool,
}

/// What a read that counts as use does besides finding its entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ReadEffects {
    /// It restarts the time to idle: there is one.
    pub(crate) restarts_idle: bool,
    /// It moves a deadline: there is a time to idle or an `Expiry`.
    pub(crate) moves_deadline: bool,
    /// It counts a hit, for the policy.
    pub(crate) counts_hit: bool,
    /// It counts in the statistics.
    pub(crate) counts_in_stats: bool,
}

/// Which way a read goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OnUse {
    Nothing,
    /// It counts a hit, for the policy.
    CountHit,
    /// There is a time to idle, an `Expiry`, or statistics.
    More,
}

impl ReadEffects {
    pub(crate) const fn on_use(self) -> OnUse {
        match self {
            Self { moves_deadline: true, .. } | Self { counts_in_stats: true, .. } => OnUse::More,
            Self { counts_hit: true, .. } => OnUse::CountHit,
            _ => OnUse::Nothing,
        }
    }
}

/// How long entries live.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths {
    pub(crate) ttl: Span,
    pub(crate) tti: Span,
    pub(crate) max_age: Span,
}

impl Config {
    /// `jitter` is from 0.0 to 1.0; `ruled` says that there is an `Expiry`.
    pub(crate) fn new(clock: Timeline, lengths: Lengths, jitter: f64, ruled: bool, listened: bool) -> Self {
        let Lengths { ttl, tti, max_age } = lengths;
        let idles = tti != Span::ENDLESS;
        let two_ends = ruled || idles && ttl != Span::ENDLESS || max_age != Span::ENDLESS;
        Self {
            clock,
            ttl,
            tti,
            max_age,
            warn_before: Span::NONE,
            refresh: None,
            uniform: AtomicBool::new(!two_ends),
            jitter: Jitter::new(jitter),
            effects: ReadEffects {
                restarts_idle: idles,
                moves_deadline: idles || ruled,
                counts_hit: false,
                counts_in_stats: false,
            },
            listened,
            helped: false,
            weighed: false,
        }
    }

    /// Whether every entry ends by the cache's time to live alone, or by its time to idle alone.
    #[inline]
    pub(super) fn is_uniform(&self) -> bool {
        // ORDERING: Relaxed; a touch or a read has loaded the deadline with Acquire before, from a node that it
        // found with Acquire. An entry with a time to live of its own is published with Release after
        // `Config::note` (as a node by `Bucket::set_named`, as a deadline by `Node::exchange`).
        self.uniform.load(Ordering::Relaxed)
    }

    /// The deadline of a touch at `now`, where it does not depend on the entry.
    #[inline]
    pub(super) fn uniform_deadline(&self, now: Tick) -> Option<Tick> {
        self.is_uniform().then_some(self.touched_at(now))
    }

    /// The deadline that a touch at `now` sets where it does not depend on the entry. (A read that restarts a time to idle sets a later one.)
    #[inline]
    fn touched_at(&self, now: Tick) -> Tick {
        now.after(if self.effects.restarts_idle { self.tti } else { self.ttl })
    }

    /// Under the lock, before an entry gets this time to live.
    #[inline]
    pub(super) fn note(&self, ttl: Span) {
        if ttl != self.ttl {
            self.note_bound();
        }
    }

    /// Under the lock, before an entry is bound by what others are not.
    #[inline]
    pub(super) fn note_bound(&self) {
        // ORDERING: Relaxed; see `is_uniform`.
        self.uniform.store(false, Ordering::Relaxed);
    }
}
