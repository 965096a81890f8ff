//! Rulings: what the user's `Expiry` said about an entry, and how a write or a read applies it.
//!
//! The `Expiry` runs without a lock, about a node that was looked up. Its ruling counts only for
//! that node.

use super::Shard;
use super::clear::Departure;
use super::deadline::{Ends, boundary};
use super::lookup::Lookup;
use super::txn::Txn;
use crate::rows::RowId;
use crate::table::Node;
use crate::time::{Span, Tick};
use equivalent::Equivalent;

/// When the `Expiry` ends an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ruling {
    /// At the time that was set before.
    Keep,
    /// This long after the write.
    After(Span),
    /// At this tick.
    At(Tick),
}

impl Ruling {
    /// The ruling in a cache without an `Expiry`: never.
    pub(crate) const NONE: Self = Self::At(Tick::NEVER);
}

/// The state that a writer requires for its entry to be stored.
#[derive(Debug)]
pub(crate) enum Expected<'n, K, V> {
    /// The key has no live entry.
    Absent,
    /// The key has no live entry, and no call has the key's turn.
    Untaken,
    /// The key has this entry, alive.
    This(&'n Node<K, V>),
    /// Any state of the key. The entry comes from another key, and everything must not have been
    /// removed meanwhile.
    Arrival(Departure<'n>),
}

/// The result of a read's ruling.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ruled {
    /// The ruling is in effect. If there is a tick, the reaper has to come then, earlier than it
    /// expected.
    Done(Option<Tick>),
    /// The key has another node, or none, or an expired one, or the node has another deadline than
    /// the `Expiry` was told of. The caller looks again.
    Stale,
}

impl<K, V> Shard<K, V> {
    /// Applies a read's ruling to `expected`: the `Expiry` ends it at `end`, and it was used just
    /// now. If there is a `told`, the ruling counts only for that deadline: a read that came later
    /// may have set another.
    pub(crate) fn rule<Q>(
        &self,
        at: Lookup<'_, Q>,
        expected: &Node<K, V>,
        told: Option<Tick>,
        end: Tick,
    ) -> Ruled
    where
        Q: ?Sized + Equivalent<K>,
    {
        self.set_expiry(at, expected, |txn, row, before| {
            if told.is_some_and(|told| told != before) {
                return None;
            }
            let (config, now) = (txn.config, txn.now());
            // Only the end by idleness is later by the lag. Whether the entry is over is decided by
            // `now` itself.
            let idle = config.idle_deadline(now).since(now);
            Some(config.ends_if_idle_for(idle, now, txn.ledger.limit(config, row), end))
        })
    }

    /// Has the `Expiry` end `expected` at `end`. That does not count as use of the entry: its time to
    /// idle goes on. But if another end was to come first, the deadline does not show since when the
    /// entry is idle, and the time to idle starts anew.
    pub(crate) fn set_end<Q>(&self, at: Lookup<'_, Q>, expected: &Node<K, V>, end: Tick) -> Ruled
    where
        Q: ?Sized + Equivalent<K>,
    {
        self.set_expiry(at, expected, |txn, row, before| {
            let (config, now) = (txn.config, txn.now());
            let idle = if before < txn.ledger.bound(row) { before.since(now) } else { config.tti };
            Some(config.ends_if_idle_for(idle, now, txn.ledger.limit(config, row), end))
        })
    }

    /// Gives `expected` the ends that `ends` computes from its row and its deadline, if any.
    fn set_expiry<Q>(
        &self,
        at: Lookup<'_, Q>,
        expected: &Node<K, V>,
        ends: impl FnOnce(&Txn<'_, '_, K, V>, RowId, Tick) -> Option<Ends>,
    ) -> Ruled
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
        let (row, before) = (txn.table.row(place), txn.table.node(place).deadline());
        let Some(ends) = ends(&txn, row, before) else {
            return Ruled::Stale;
        };
        let Txn { config, table, ledger, .. } = &mut txn;
        let node = table.node(place);
        // In a cache with an `Expiry`, no thread moves a deadline without the lock.
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
    /// Makes sure that the reaper comes in time for a deadline (S3), where nothing else was
    /// changed. Returns when to wake it, if necessary.
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
