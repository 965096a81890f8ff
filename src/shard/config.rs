//! The configuration of a cache that operations on a shard consult. It does not change after the
//! cache is built, except for one flag.

use super::jitter::Jitter;
use crate::process::hand::InHand;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::time::{Span, Tick, Timeline};

/// The configuration that every operation consults.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) clock: Timeline,
    pub(crate) ttl: Span,
    pub(crate) tti: Span,
    pub(crate) max_age: Span,
    /// How long before its deadline a warning of an entry's expiry is due; `NONE` if nobody is
    /// warned.
    pub(crate) warn_before: Span,
    /// The age from which on a value is loaded anew; `None` if values are not refreshed.
    pub(crate) refresh: Option<Span>,
    /// Whether every entry has the cache's time to live and no other end, or the cache's time to
    /// idle and no other end. If so, a touch or a read computes the new deadline without the
    /// ledger. Once false, it stays false.
    uniform: AtomicBool,
    pub(crate) jitter: Jitter,
    pub(crate) effects: ReadEffects,
    /// Whether the cache has an `Expiry`.
    #[cfg_attr(not(feature = "serde"), allow(dead_code, reason = "nothing is restored"))]
    pub(crate) ruled: bool,
    /// Whether a listener is told of removed entries.
    pub(crate) listened: bool,
    /// Whether writers do some of the reaper's work when the reaper is late.
    pub(crate) helped: bool,
    /// Whether entries have weights. If so, a few entries may fill the cache.
    pub(crate) weighed: bool,
    /// Set if the owner of the cache counts its entries, as a session manager with a limit does. Each
    /// thread notes there how many more rows it has taken out than added.
    pub(crate) in_hand: Option<InHand>,
}

/// What a read that counts as use does besides finding its entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ReadEffects {
    /// The read restarts the time to idle, because the cache has one.
    pub(crate) restarts_idle: bool,
    /// The read moves a deadline, because the cache has a time to idle or an `Expiry`.
    pub(crate) moves_deadline: bool,
    /// The read counts a hit for the policy.
    pub(crate) counts_hit: bool,
    /// The read counts in the statistics.
    pub(crate) counts_in_stats: bool,
}

/// Selects the code path of a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OnUse {
    Nothing,
    /// The read counts a hit for the policy.
    CountHit,
    /// The cache has a time to idle, an `Expiry`, or statistics. Only the first two may make a read
    /// take the lock.
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
    /// Creates a configuration. `jitter` is from 0.0 to 1.0. `ruled` says whether the cache has an
    /// `Expiry`.
    pub(crate) fn new(clock: Timeline, lengths: Lengths, jitter: f64, ruled: bool, listened: bool) -> Self {
        let Lengths { ttl, tti, max_age } = lengths;
        let idles = tti != Span::ENDLESS;
        let two_ends = ruled || idles && ttl != Span::ENDLESS || max_age != Span::ENDLESS;
        let moves_deadline = idles || ruled;
        Self {
            // A deadline that a read sets is later by the lag of the checked clock. With the lag of
            // the kept time on top, a look would find the entry for longer than is promised.
            clock: if moves_deadline { clock.checked() } else { clock },
            ttl,
            tti,
            max_age,
            warn_before: Span::NONE,
            refresh: None,
            uniform: AtomicBool::new(!two_ends),
            jitter: Jitter::new(jitter),
            effects: ReadEffects {
                restarts_idle: idles,
                moves_deadline,
                counts_hit: false,
                counts_in_stats: false,
            },
            ruled,
            listened,
            helped: false,
            weighed: false,
            in_hand: None,
        }
    }

    /// Returns whether every entry ends by the cache's time to live alone, or by its time to idle
    /// alone.
    #[inline]
    pub(super) fn is_uniform(&self) -> bool {
        // ORDERING: Relaxed; the touch or read has loaded the deadline with Acquire before, from a
        // node that it found with Acquire. An entry with a time to live of its own is published
        // with Release after `Config::note` (as a node by `Bucket::set_named`, as a deadline by
        // `Node::exchange`).
        self.uniform.load(Ordering::Relaxed)
    }

    /// Returns the deadline that a touch at `now` sets, if it does not depend on the entry.
    #[inline]
    pub(super) fn uniform_deadline(&self, now: Tick) -> Option<Tick> {
        self.is_uniform().then_some(self.touched_at(now))
    }

    /// Returns the deadline that a touch at `now` sets, provided that it does not depend on the
    /// entry. (A read that restarts a time to idle sets a later one.)
    #[inline]
    fn touched_at(&self, now: Tick) -> Tick {
        now.after(if self.effects.restarts_idle { self.tti } else { self.ttl })
    }

    /// Notes that an entry gets this time to live. Requires the lock, and comes before the entry
    /// gets it.
    #[inline]
    pub(super) fn note(&self, ttl: Span) {
        if ttl != self.ttl {
            self.note_bound();
        }
    }

    /// Notes that an entry gets an end that other entries lack. Requires the lock, and comes before
    /// the entry gets it.
    #[inline]
    pub(super) fn note_bound(&self) {
        // ORDERING: Relaxed; see `is_uniform`.
        self.uniform.store(false, Ordering::Relaxed);
    }
}
