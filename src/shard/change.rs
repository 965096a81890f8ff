//! How an entry comes, is replaced, and goes: in the table and in the ledger at once.
//!
//! What every path that changes a shard is made of. Knows neither why it is called nor what is done after the unlock.

use super::deadline::{Ends, Times, stays};
use super::deferred::Departing;
use super::lifespan::Written;
use super::new_entry::NewEntry;
use super::txn::Txn;
use crate::table::{NewNode, Place, Unlinked};
use crate::time::Tick;

impl<K, V> Txn<'_, '_, K, V> {
    /// A row and a node for a new entry, hit so often at least. Its key must not be in the table. Returns when the reaper has to come.
    #[inline(always)]
    pub(super) fn add(&mut self, new: NewEntry<'_, K, V>, ends: Ends, times: Times, hits: u8) -> Tick {
        let NewEntry { hash, entry, weight, .. } = new;
        let now = self.now();
        let named = self.table.new_node();
        self.prefetch_for_insert(hash.home(), weight);
        let reused = self.evict_for(weight);
        let Self { config, table, ledger, .. } = self;
        let row = match reused {
            Some(row) => ledger.reuse_row(row, hash.home(), times),
            None => ledger.add_row(hash.home(), times),
        };
        if let Some(refresh_times) = &ledger.refresh_times {
            refresh_times.start(named, now);
        }
        let hits =
            ledger.policy.as_mut().map_or(0, |policy| policy.admit(row, hash.home(), weight).max(hits));
        if let Some(tally) = &mut ledger.tally {
            tally.inserts += 1;
        }
        table.insert(hash, NewNode { named, row, deadline: ends.deadline, hits }, entry);
        ledger.bind(config, row, ends);
        let deadline = ends.deadline.tick();
        ledger.file_new(row, deadline, now);
        if table.is_moving() { deadline.min(ledger.tidy_later(now)) } else { deadline }
    }

    /// Puts a new node in the place of another, whose deadline was `before`. The row stays, and is not looked at where nothing of it changes.
    #[inline(always)]
    pub(super) fn exchange(
        &mut self,
        place: Place<K, V>,
        entry: &mut Option<(K, V)>,
        weight: u32,
        before: Tick,
        written: Written,
    ) -> Unlinked<K, V> {
        let Written { ttl, ends, .. } = written;
        let now = self.now();
        let row = self.table.row(place);
        // Before anything is changed.
        let named = self.table.new_node();
        self.evict_for_replacement(row, weight);
        let Self { config, table, ledger, .. } = self;
        let weighed = ledger.weight_of(row);
        ledger.update_row(row, ttl, weight);
        if let Some(refresh_times) = &ledger.refresh_times {
            refresh_times.start(named, now);
        }
        let old = table.replace(place, named, entry, ends.deadline).weighing(weighed);
        ledger.bind(config, row, ends);
        let deadline = ends.deadline.tick();
        // Of the same deadline nobody is warned again.
        let is_renewed = before != deadline && ledger.renew(row);
        // What could expire is in the wheel (S2).
        let never_did = before == Tick::NEVER && deadline == Tick::NEVER;
        if is_renewed || !(never_did || stays(before, deadline)) {
            ledger.file_again(row, deadline, now);
        }
        debug_assert!(deadline == Tick::NEVER || ledger.wheel.is_filed(&ledger.rows, row), "S2");
        old
    }

    /// An unlinked node: for the caller, who tells the listener, if there is one; else it is garbage at once.
    #[inline]
    pub(super) fn hand_out(&mut self, old: Unlinked<K, V>) -> Option<Unlinked<K, V>> {
        if self.config.listened {
            return Some(old);
        }
        self.table.retire(old);
        None
    }

    /// An unlinked node that had expired before a writer came across it: for the caller too, or else garbage at once. He tells
    /// before he returns, so that nobody hears later that a key has expired which was written meanwhile (S4).
    pub(super) fn bury(&mut self, old: Unlinked<K, V>) {
        if let Some(old) = self.hand_out(old) {
            self.ledger.left().unlinked.push(Departing { node: old, was_alive: false });
        }
    }

    /// Takes out an entry that is over, and that a writer has come across.
    pub(super) fn bury_expired(&mut self, place: Place<K, V>) {
        let old = self.take_expired(place);
        self.bury(old);
    }

    /// Takes out an entry that is over.
    pub(super) fn take_expired(&mut self, place: Place<K, V>) -> Unlinked<K, V> {
        if let Some(tally) = &mut self.ledger.tally {
            tally.expired += 1;
        }
        self.take(place)
    }

    /// Takes out an entry, for whatever reason.
    #[inline(always)]
    pub(super) fn take(&mut self, place: Place<K, V>) -> Unlinked<K, V> {
        let row = self.table.row(place);
        let old = self.table.unlink(place).weighing(self.ledger.weight_of(row));
        self.ledger.leave(row);
        self.ledger.give_up(row);
        old
    }
}
