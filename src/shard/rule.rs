//! Rulings: what the user's `Expiry` said of an entry, and how a writer or a read has it take effect.
//!
//! The user is asked without a lock, about a node that was looked at; what he said counts only for that one.

use super::Shard;
use super::clear::Departure;
use super::deadline::boundary;
use super::lookup::Lookup;
use super::txn::Txn;
use crate::table::Node;
use crate::time::{Span, Tick};
use equivalent::Equivalent;

/// When an entry ends, as far as an `Expiry` is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ruling {
    /// As was said before.
    Keep,
    /// So long after the write.
    After(Span),
    /// Then.
    At(Tick),
}

impl Ruling {
    /// In a cache without an `Expiry`: never.
    pub(crate) const NONE: Self = Self::At(Tick::NEVER);
}

/// For which state of things a writer's entry is meant.
#[derive(Debug)]
pub(crate) enum Expected<'n, K, V> {
    /// No live entry.
    Absent,
    /// The same, and nobody has the key's turn, who is about to bring one.
    Untaken,
    /// This one, alive.
    This(&'n Node<K, V>),
    /// Whatever is there; but it comes from another key, and not everything was removed meanwhile.
    Arrival(Departure<'n>),
}

/// What became of a read's ruling.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ruled {
    /// It is in effect; the reaper is to come at that tick, if there is one, earlier than it knew.
    Done(Option<Tick>),
    /// Another node is there now, or none, or it is over: look again.
    Stale,
}

impl<K, V> Shard<K, V> {
    /// Has a read's ruling take effect on `expected`: the `Expiry` ends it at `end`, and it was used just now.
    pub(crate) fn rule<Q>(&self, at: Lookup<'_, Q>, expected: &Node<K, V>, end: Tick) -> Ruled
    where
        Q: ?Sized + Equivalent<K>,
    {
        let mut lock = self.lock();
        let mut txn = lock.txn();
        let place = txn.find(at).filter(|&place| std::ptr::eq(txn.table.node(place), expected));
        let Some(place) = place else {
            return Ruled::Stale;
        };
        let now = txn.read_clock();
        let Txn { config, table, ledger, .. } = &mut txn;
        let (node, row) = (table.node(place), table.row(place));
        let ends = config.ends(now.after(config.clock.lag()), ledger.limit(config, row), end);
        // In a cache with an `Expiry` nobody moves a deadline without the lock. (A freeze on a deadline that
        // stays the same would stay too, and send every read here.)
        let deadline = ends.deadline.tick();
        if !node.ends_at(ends.deadline) {
            let frozen = node.freeze();
            if !node.reset(&frozen, now, ends.deadline) {
                return Ruled::Stale;
            }
            ledger.refile(row, frozen.tick(), deadline, now);
        }
        ledger.bind(config, row, ends);
        Ruled::Done(txn.require_reaper_for(deadline))
    }
}

impl<K, V> Txn<'_, '_, K, V> {
    /// Sees to it that the reaper comes in time for a deadline (S3), where nothing else was changed.
    fn require_reaper_for(&mut self, deadline: Tick) -> Option<Tick> {
        let soon = Tick::start_of(self.now().second() + 1);
        let need = match boundary(self.ledger.first_due(deadline)) {
            Tick::NEVER => return None,
            boundary => boundary.max(soon),
        };
        let wake = self.ledger.require_reaper_by(need)?;
        self.shard.gauges.set_due(wake);
        Some(wake)
    }
}
