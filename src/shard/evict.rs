//! Room: what a bounded shard gives up before something comes.
//!
//! The policy says which row goes; here its entry goes, before the one that needs the room is published. So at
//! no moment does the shard hold more than it may. Knows causes; knows no order of rows.

use super::Shard;
use super::deferred::{Deferred, Departing, Left};
use super::ledger::{Ledger, batch_weight};
use super::txn::Txn;
use crate::policy::{Bid, Entries, Policy};
use crate::rows::{Metadata, RowId, Rows};
use crate::table::{Place, Writing, prefetch};
use crate::time::Tick;

/// Entries that are evicted each time the lock is held, when others than one new entry need their room.
pub(super) const EVICTIONS: usize = if cfg!(tidewheel_loom) { 1 } else { 128 };

/// What the policy may ask of the entries.
struct InTable<'r, 'a, 't, K, V> {
    table: &'r Writing<'a, 't, K, V, Ledger<K, V>>,
    rows: &'r Rows<Metadata>,
    /// The row that was asked about last, and where its entry is: nearly always the one that goes.
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
    /// Whether an entry of this weight is more than the shard may hold, by itself.
    #[inline]
    pub(super) fn is_too_heavy(&self, weight: u32) -> bool {
        self.policy.as_ref().is_some_and(|policy| policy.is_too_heavy(weight))
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
    /// Evicts until there is room for so much more. The row of the last one that went is for the newcomer: it is nobody's, and still in
    /// the wheel, where it need not move if that is where it would go again.
    #[inline(always)]
    pub(super) fn evict_for(&mut self, more: u32) -> Option<RowId> {
        if self.ledger.policy.as_ref().is_some_and(|policy| policy.is_too_much(more)) {
            self.evict_for_now(more)
        } else {
            None
        }
    }

    #[inline(never)]
    fn evict_for_now(&mut self, more: u32) -> Option<RowId> {
        let mut left = None;
        while self.ledger.policy.as_ref().is_some_and(|policy| policy.is_too_much(more)) {
            let Some(row) = self.evict_one() else { break };
            if let Some(other) = left.replace(row) {
                self.ledger.give_up(other);
            }
        }
        left
    }

    /// Makes room for another weight of an entry that is about to be replaced. The entry itself stays.
    #[inline(always)]
    pub(super) fn evict_for_replacement(&mut self, row: RowId, weight: u32) {
        let Some(policy) = &self.ledger.policy else { return };
        // Without a weigher: if it was pinned and is not any more. So it is in no queue, and is not chosen.
        let more = weight.saturating_sub(policy.weight_of(row));
        if more != 0 && policy.is_too_much(more) {
            if let Some(left) = self.evict_for_now(more) {
                self.ledger.give_up(left);
            }
        }
    }

    /// Evicts while it is too much, so many entries at most. False if that was not enough.
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
        // The last one may have been enough.
        self.ledger.policy.as_mut().is_none_or(|policy| !is_too_much(policy))
    }

    /// What would go next, if that row stays.
    #[inline(never)]
    pub(super) fn bid(&mut self, staying: Option<RowId>) -> Bid {
        let Self { table, ledger: Ledger { policy: Some(policy), rows, .. }, .. } = self else {
            return Bid::default();
        };
        policy.bid(&mut InTable { table, rows, last: None }, staying)
    }

    /// Evicts whatever is to go next, and leaves its row; none if there is nothing. On its own, and the only one that asks for a victim: so all of it is in
    /// one place, as the compiler sees it.
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
        // If it was over, it is told of here all the same: what waits for the reaper is not bounded.
        if let Some(node) = self.hand_out(old) {
            self.ledger.left().unlinked.push(Departing { node, was_alive });
        }
    }

    /// Has prefetched what an insert will write to that is not near yet, apart from what an eviction before it leaves: each is a miss else,
    /// one after the other.
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

    /// The same of the next three victims. Of the first it is what its bucket leads to, and that was asked for an eviction ago; of the second its
    /// bucket, to which its row leads; and the row of the third.
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

    /// An entry that is too heavy is not kept, and what it was to replace goes.
    #[cold]
    pub(super) fn refuse(&mut self, entry: &mut Option<(K, V)>, over: Option<Place<K, V>>) -> Deferred<K, V> {
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
        self.ledger.left().refused = entry.take();
        if let Some(tally) = &mut self.ledger.tally {
            tally.refused += 1;
            tally.replacements += u64::from(was_alive);
        }
        self.settle(Tick::NEVER, removed)
    }
}

impl<K, V> Shard<K, V> {
    /// Another capacity, asked for under the lock, or as much less as can be had at once: false if it is not all. Where there is
    /// an account, that holds, and this is the shard's part of it.
    pub(crate) fn set_capacity(&self, capacity: impl Fn() -> u64) -> (bool, Deferred<K, V>) {
        let mut lock = self.lock_and_read();
        let mut txn = lock.txn();
        let capacity = capacity();
        // Evicted first, then allowed no more than is left: so it only ever becomes less.
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
