//! Several inserts under one acquisition of the lock. Each does what a single insert does. The
//! lock, the clock reading and the prefetches serve all of them.
//!
//! The times of an entry are counted from a clock reading made when the lock was taken: after the
//! caller asked for the insert, and at most one critical section ago. (See `Txn::written_over` for
//! an entry that replaces another.)

use super::Shard;
use super::credit::{Around, Credit};
use super::deferred::Deferred;
use super::lifespan::{Lasting, Lifespan};
use super::lookup::Lookup;
use super::new_entry::NewEntry;
use crate::hash::HashBits;

/// The largest number of entries that are stored in one critical section.
const INSERTS: usize = if cfg!(tidewheel_loom) { 2 } else { 64 };

/// An entry that waits for the lock of its shard.
pub(crate) struct PendingInsert<K, V> {
    pub(crate) hash: HashBits,
    pub(crate) entry: (K, V),
    pub(crate) weight: u32,
}

impl<K: Eq, V> Shard<K, V> {
    /// Stores some of the waiting entries, from the end of the list, and removes them from it. If
    /// an `Eq` panics, the entries before are stored and the current one is still on the list.
    /// `are_prefetched` says that the buckets of the entries have been prefetched.
    pub(crate) fn insert_some(
        &self,
        around: &impl Around<K, V>,
        waiting: &mut Vec<PendingInsert<K, V>>,
        deferred: &mut Vec<Deferred<K, V>>,
        are_prefetched: bool,
    ) {
        let lifespan = Lifespan::of(Lasting::New(self.config.ttl));
        let mut credit = Credit::none(around);
        let mut lock = self.lock();
        let mut txn = lock.txn();
        if !are_prefetched {
            waiting.iter().for_each(|next| txn.table.prefetch(next.hash.home()));
        }
        txn.read_clock();
        // An entry that has to wait for its room stays the next one, with its credit, until it is stored.
        let mut stored = 0;
        while stored < INSERTS {
            let Some(next) = waiting.last() else { return };
            let at = Lookup::new(next.hash, &next.entry.0);
            let place = txn.find(at);
            txn.invalidate(at, place);
            if let Err(short) = txn.pay_for(place, next.weight, lifespan, &mut credit) {
                drop(lock);
                credit.raise(self, *short);
                lock = self.lock_and_read();
                txn = lock.txn();
                continue;
            }
            let over = txn.freeze(place);
            let Some(PendingInsert { hash, entry, weight }) = waiting.pop() else { return };
            let left = txn.put(over, NewEntry { hash, entry: &mut Some(entry), weight, lifespan });
            stored += 1;
            // Rare deferred work should not wait for the remaining inserts.
            let is_done = left.seldom.is_some();
            if is_done || left.removed.is_some() {
                deferred.push(left);
            }
            if is_done {
                return;
            }
        }
    }
}
