//! Eviction: a bounded shard makes room before a new entry is stored.
//!
//! The policy chooses the row of the victim. This file removes the victim's entry before the new
//! one is published. So the shard never holds more than its capacity. This file knows causes, and
//! does not know the order of rows.

use super::Shard;
use super::deadline::Ends;
use super::deferred::{Deferred, Departing, Left};
use super::ledger::{Ledger, batch_weight};
use super::txn::Txn;
use crate::policy::{Bid, Entries, Policy};
use crate::rows::{Metadata, RowId, Rows};
use crate::table::{Place, Writing, prefetch};
use crate::time::Tick;

/// The number of entries that are evicted in one critical section, when more than one new entry
/// needs their room.
pub(super) const EVICTIONS: usize = if cfg!(tidewheel_loom) { 1 } else { 128 };

/// The entries, as the policy may query them.
struct InTable<'r, 'a, 't, K, V> {
    table: &'r Writing<'a, 't, K, V, Ledger<K, V>>,
    rows: &'r Rows<Metadata>,
    /// The row that was queried last, and the place of its entry. It is nearly always the victim.
    last: Option<(RowId, Place<K, V>)>,
}

impl<K, V> Entries for InTable<'_, '_, '_, K, V> {
    fn hash(&self, row: RowId) -> u32 {
        self.rows[row].home
    }

    #[inline]
    fn lower(&mut self, row: RowId, by: u8) -> u8 {
        let place = self.table.find_row(self.rows[row].home, row);
        self.last = Some((row, place));
        self.table.lower_hits(place, by)
    }
}

impl<K, V> Ledger<K, V> {
    /// Returns whether the new entry, of this weight, is heavier than all of the capacity: that of the
    /// shard or, with an account, that of the cache.
    #[inline]
    pub(super) fn is_too_heavy(&self, weight: u32) -> bool {
        self.policy.as_ref().is_some_and(|policy| policy.is_too_heavy(weight))
    }

    /// Returns whether an entry of this weight and with these ends is not stored: it is too heavy, or
    /// it is over from the start. (In a shard without a bound, an entry of the second kind is stored
    /// and leaves like others: nothing has to make room for it.)
    #[inline]
    pub(super) fn declines(&self, weight: u32, ends: &Ends) -> bool {
        self.policy.as_ref().is_some_and(|policy| policy.is_too_heavy(weight) || ends.are_past())
    }

    #[inline]
    pub(super) fn weight_of(&self, row: RowId) -> u32 {
        self.policy.as_ref().map_or(0, |policy| policy.weight_of(row))
    }

    pub(super) fn left(&mut self) -> &mut Left<K, V> {
        self.left.get_or_insert_default()
    }
}

impl<K, V> Txn<'_, '_, K, V> {
    /// Evicts until there is room for `more`. Returns the row of the last victim, for the new
    /// entry. The row belongs to no entry and is still in the wheel. It need not move if the new
    /// entry belongs in the same slot.
    #[inline(always)]
    pub(super) fn evict_for(&mut self, more: u32) -> Option<RowId> {
        if !self.is_too_much(more) {
            return None;
        }
        let row = self.evict_one();
        // One victim suffices in a cache without weights.
        if self.is_too_much(more) { self.evict_more_for(more, row?) } else { row }
    }

    #[inline(always)]
    fn is_too_much(&self, more: u32) -> bool {
        self.ledger.policy.as_ref().is_some_and(|policy| policy.is_too_much(more))
    }

    #[cold]
    #[inline(never)]
    fn evict_more_for(&mut self, more: u32, mut left: RowId) -> Option<RowId> {
        while self.is_too_much(more) {
            let Some(row) = self.evict_one() else { break };
            self.ledger.give_up(std::mem::replace(&mut left, row));
        }
        Some(left)
    }

    /// Makes room for the new weight of an entry that is about to be replaced. The entry itself
    /// stays.
    #[inline(always)]
    pub(super) fn evict_for_replacement(&mut self, row: RowId, weight: u32) {
        let Some(policy) = &self.ledger.policy else { return };
        // In a cache without weights, `more` is not 0 only for an entry that was pinned and is not
        // any more. Such an entry is in no queue, so it is not chosen as a victim.
        let more = weight.saturating_sub(policy.weight_of(row));
        if more != 0 && policy.is_too_much(more) {
            if let Some(left) = self.evict_for(more) {
                self.ledger.give_up(left);
            }
        }
    }

    /// Evicts at most `most` entries while `is_too_much` holds. Returns false if that was not
    /// enough.
    #[inline(never)]
    pub(super) fn evict_some(
        &mut self,
        most: usize,
        is_too_much: &mut dyn FnMut(&mut Policy) -> bool,
    ) -> bool {
        for _ in 0..most {
            let Some(policy) = &mut self.ledger.policy else { return true };
            if !is_too_much(policy) {
                return true;
            }
            let Some(row) = self.evict_one() else { return true };
            self.ledger.give_up(row);
        }
        // The last eviction may have been enough.
        self.ledger.policy.as_mut().is_none_or(|policy| !is_too_much(policy))
    }

    /// Returns the bid for the next victim, provided that the row `staying` stays.
    #[inline(never)]
    pub(super) fn bid(&mut self, staying: Option<RowId>) -> Bid {
        let Self { table, ledger: Ledger { policy: Some(policy), rows, .. }, .. } = self else {
            return Bid::default();
        };
        policy.bid(&mut InTable { table, rows, last: None }, staying)
    }

    /// Evicts the next victim, and returns its row, or `None` if there is no victim. This separate
    /// function is the only caller of `Policy::victim`, so that the compiler keeps all of eviction
    /// in one place.
    #[inline(never)]
    fn evict_one(&mut self) -> Option<RowId> {
        let Self { table, ledger: Ledger { policy: Some(policy), rows, .. }, .. } = self else { return None };
        let mut entries = InTable { table, rows, last: None };
        let row = policy.victim(&mut entries)?;
        let place = match entries.last {
            Some((asked, place)) if asked == row => place,
            _ => table.find_row(rows[row].home, row),
        };
        self.evict(row, place);
        self.prefetch_for_eviction();
        Some(row)
    }

    fn evict(&mut self, row: RowId, place: Place<K, V>) {
        let was_alive = self.table.node(place).kill(self.now());
        let weight = self.ledger.weight_of(row);
        if let Some(tally) = &mut self.ledger.tally {
            if was_alive {
                tally.evicted += 1;
                tally.evicted_weight += u64::from(weight);
            } else {
                tally.expired += 1;
            }
        }
        let old = self.table.unlink(place).weighing(weight);
        self.ledger.leave(row);
        // This call tells the listener of an expired victim, too. If that were left to the reaper,
        // there would be no bound on how many nodes wait for it.
        if let Some(node) = self.hand_out(old) {
            self.ledger.left().unlinked.push(Departing { node, was_alive });
        }
    }

    /// Prefetches the memory that an insert will write to and that is not in the processor's cache
    /// yet, except for memory that a preceding eviction touches. Otherwise each access is a cache
    /// miss, one after the other.
    #[inline]
    pub(super) fn prefetch_for_insert(&self, home: u32, weight: u32) {
        let Self { table, ledger: Ledger { policy: Some(policy), rows, .. }, .. } = self else { return };
        if let Some(memory) = policy.memory_of(home) {
            prefetch(memory);
        }
        table.prefetch_new_node();
        if let (false, Some(row)) = (policy.is_too_much(weight), rows.next_new()) {
            rows.prefetch(row);
            policy.prefetch(row);
        }
    }

    /// Prefetches for the next three victims. For the first: the node to which its bucket leads;
    /// the bucket was prefetched one eviction ago. For the second: the bucket to which its row
    /// leads. For the third: the row.
    #[inline]
    fn prefetch_for_eviction(&self) {
        let Self { table, ledger, .. } = self;
        let Ledger { policy: Some(policy), rows, .. } = &**ledger else { return };
        let Some(first) = policy.next_out() else { return };
        let home = rows[first].home;
        table.prefetch_node_at(home);
        if !ledger.stays {
            ledger.prefetch_neighbours(first);
        }
        if let Some(memory) = policy.memory_of(home) {
            prefetch(memory);
        }
        let Some(second) = policy.after(first) else { return };
        table.prefetch_bucket(rows[second].home);
        if let Some(third) = policy.after(second) {
            rows.prefetch(third);
            policy.prefetch(third);
        }
    }

    /// Hands out an entry that is not stored. If it is too heavy, it is refused; otherwise it was over
    /// from the start, and has expired. Removes the entry that it was to replace.
    #[cold]
    pub(super) fn decline(
        &mut self,
        entry: &mut Option<(K, V)>,
        weight: u32,
        over: Option<Place<K, V>>,
    ) -> Deferred<K, V> {
        let mut was_alive = false;
        let removed = over.and_then(|place| {
            if !self.table.node(place).kill(self.now()) {
                self.bury_expired(place);
                return None;
            }
            was_alive = true;
            let old = self.take(place);
            self.hand_out(old)
        });
        let is_too_heavy = self.ledger.is_too_heavy(weight);
        let left = self.ledger.left();
        (left.declined, left.is_past) = (entry.take(), !is_too_heavy);
        if let Some(tally) = &mut self.ledger.tally {
            tally.refused += u64::from(is_too_heavy);
            tally.replacements += u64::from(was_alive);
            tally.inserts += u64::from(!is_too_heavy && !was_alive);
            tally.expired += u64::from(!is_too_heavy);
        }
        self.settle(Tick::NEVER, removed)
    }
}

impl<K, V> Shard<K, V> {
    /// Sets the capacity that `capacity` returns under the lock. Where that needs more evictions
    /// than one critical section allows, lowers the capacity as far as possible and returns false.
    /// In a cache with an account, the account enforces the capacity, and this value is only the
    /// shard's part of it.
    pub(crate) fn set_capacity(&self, capacity: impl Fn() -> u64) -> (bool, Deferred<K, V>) {
        let mut lock = self.lock_and_read();
        let mut txn = lock.txn();
        let capacity = capacity();
        // Evict first, then set the capacity to what is left. So the capacity only decreases.
        let done =
            txn.evict_some(EVICTIONS, &mut |policy| policy.account().is_none() && policy.weight() > capacity);
        if let Some(policy) = &mut txn.ledger.policy {
            policy.set_capacity(if done { capacity } else { policy.weight().max(capacity) });
            policy.trim();
            if self.config.weighed {
                txn.table.set_batch_weight(batch_weight(policy.capacity()));
            }
        }
        (done, txn.settle_up())
    }
}
