//! Adding, replacing and removing an entry, in the table and in the ledger at once.
//!
//! Every path that changes a shard consists of these functions. They know neither the reason of a
//! change nor the deferred work.

use super::config::Config;
use super::deadline::{Ends, Times, stays};
use super::deferred::Departing;
use super::lifespan::Written;
use super::new_entry::NewEntry;
use super::txn::Txn;
use crate::table::{NewNode, Place, Unlinked};
use crate::time::Tick;

impl<K, V> Txn<'_, '_, K, V> {
    /// Adds a row and a node for a new entry, with at least `hits` hits. The key must not be in the
    /// table. Returns when the reaper has to come.
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
            None => {
                note_in_hand(config, -1);
                ledger.add_row(hash.home(), times)
            }
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

    /// Replaces a node by a new one. The old deadline was `before`. The row stays, and is not
    /// accessed if nothing in it changes.
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
        // This may panic, so it comes before any change.
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
        // A deadline that stays the same leads to no second warning.
        let is_renewed = before != deadline && ledger.renew(row);
        // An entry that could expire is in the wheel (S2).
        let never_did = before == Tick::NEVER && deadline == Tick::NEVER;
        if is_renewed || !(never_did || stays(before, deadline)) {
            ledger.file_again(row, deadline, now);
        }
        debug_assert!(deadline == Tick::NEVER || ledger.wheel.is_filed(&ledger.rows, row), "S2");
        old
    }

    /// Hands out an unlinked node. If there is a listener, returns the node, so that the caller
    /// tells it; otherwise makes the node garbage.
    #[inline]
    pub(super) fn hand_out(&mut self, old: Unlinked<K, V>) -> Option<Unlinked<K, V>> {
        if self.config.listened {
            return Some(old);
        }
        self.table.retire(old);
        None
    }

    /// Hands out an unlinked node that had expired before a writer found it: to the caller if there
    /// is a listener, otherwise as garbage. The caller tells the listener before it returns. So
    /// nobody hears later that a key has expired that was written meanwhile (S4).
    pub(super) fn bury(&mut self, old: Unlinked<K, V>) {
        if let Some(old) = self.hand_out(old) {
            self.ledger.left().unlinked.push(Departing { node: old, was_alive: false });
        }
    }

    /// Removes an expired entry that a writer has found.
    pub(super) fn bury_expired(&mut self, place: Place<K, V>) {
        let old = self.take_expired(place);
        self.bury(old);
    }

    /// Removes an expired entry from the table and the ledger.
    pub(super) fn take_expired(&mut self, place: Place<K, V>) -> Unlinked<K, V> {
        if let Some(tally) = &mut self.ledger.tally {
            tally.expired += 1;
        }
        self.take(place)
    }

    /// Removes an entry from the table and the ledger, for any cause.
    #[inline(always)]
    pub(super) fn take(&mut self, place: Place<K, V>) -> Unlinked<K, V> {
        let row = self.table.row(place);
        let old = self.table.unlink(place).weighing(self.ledger.weight_of(row));
        self.ledger.leave(row);
        self.ledger.give_up(row);
        note_in_hand(self.config, 1);
        old
    }
}

/// Notes that this thread has so many rows more in hand, if anybody counts them.
#[inline(always)]
fn note_in_hand(config: &Config, more: isize) {
    if let Some(in_hand) = config.in_hand {
        in_hand.note(more);
    }
}
