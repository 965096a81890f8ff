//! Several inserts while the lock is held once. Each is what an insert by itself is; the lock, the clock and the
//! way to memory are had once for all of them.
//!
//! An entry's times go by a clock reading from the moment when the lock was taken: at most a hold ago, and after
//! the caller asked for it (see `Txn::written_over` for one that takes another's place).

use super::Shard;
use super::credit::{Around, Credit};
use super::deferred::Deferred;
use super::lifespan::{Lasting, Lifespan};
use super::lookup::Lookup;
use super::new_entry::NewEntry;
use crate::hash::HashBits;

/// Entries that are stored while the lock is held once, at most.
const INSERTS: usize = if cfg!(tidewheel_loom) { 2 } else { 64 };

/// An entry that waits for its shard.
pub(crate) struct PendingInsert<K, V> {
    pub(crate) hash: HashBits,
    pub(crate) entry: (K, V),
    pub(crate) weight: u32,
}

impl<K: Eq, V> Shard<K, V> {
    /// Stores some of the entries that wait, from the end of the list on, and takes them off it. If an `Eq` panics,
    /// those before it are stored, and it is still on the list. `are_prefetched` says that their buckets were prefetched before.
    pub(crate) fn insert_some(
        &self,
        around: &impl Around<K, V>,
        waiting: &mut Vec<PendingInsert<K, V>>,
        deferred: &mut Vec<Deferred<K, V>>,
        are_prefetched: bool,
    ) {
        let mut credit = Credit::none(around);
        let mut lock = self.lock();
        let mut txn = lock.txn();
        if !are_prefetched {
            waiting.iter().for_each(|next| txn.table.prefetch(next.hash.home()));
        }
        txn.read_clock();
        for _ in 0..INSERTS {
            let Some(next) = waiting.last() else { return };
            let at = Lookup::new(next.hash, &next.entry.0);
            let place = txn.find(at);
            txn.invalidate(at, place);
            if let Err(short) = txn.pay(place, next.weight, &mut credit) {
                drop(lock);
                credit.raise(self, *short);
                lock = self.lock_and_read();
                txn = lock.txn();
                continue;
            }
            let over = txn.freeze(place);
            let Some(PendingInsert { hash, entry, weight }) = waiting.pop() else { return };
            let (mut entry, lifespan) = (Some(entry), Lifespan::of(Lasting::New(self.config.ttl)));
            let left = txn.put(over, NewEntry { hash, entry: &mut entry, weight, lifespan });
            // What comes seldom should not wait for the rest.
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
