//! The work of `invalidate_all` on a shard: removes everything, a bounded number of entries in each
//! critical section.
//!
//! It goes through the shard by positions (`table/walk.rs`). At the moment at which it passes a
//! position, the shard has no entry there any more, and no flight that would store one there: what
//! was being loaded or computed by then is invalidated. So no entry from before is there afterwards,
//! nor one that was computed from such an entry.

use super::Shard;
use super::deferred::Deferred;
use crate::process::hand::InHand;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::table::{Cursor, Unlinked};

/// A critical section that has met this many entries, or has visited `LOOKS` groups of buckets, goes
/// no further. So it removes this many entries, and a few more at most.
const REMOVALS: usize = if cfg!(tidewheel_loom) { 2 } else { 128 };
const LOOKS: usize = if cfg!(tidewheel_loom) { 1 } else { 64 };

/// The result of removing some entries.
pub(crate) struct Cleared<K, V> {
    /// Nodes that were alive, if there is a listener.
    pub(crate) removed: Vec<Unlinked<K, V>>,
    pub(crate) deferred: Deferred<K, V>,
}

/// How often the removal of everything from a cache was begun and was done. It serves calls that
/// take an entry out under one key and store it under another, and have it in neither place in
/// between.
///
/// A walk misses such an entry, although it was there when the walk began, only if the entry is
/// taken out before the walk comes by and is stored after the walk has passed. In that case the
/// walk was not done before the entry was taken out, and had begun before it was stored.
#[derive(Debug)]
pub(crate) struct Clearings {
    begun: AtomicU64,
    done: AtomicU64,
    /// Those that were begun and are not done.
    in_hand: InHand,
}

/// A removal of everything, until it is dropped.
#[derive(Debug)]
pub(crate) struct Clearing<'c>(&'c Clearings);

/// An entry was looked up and will be taken out, to be stored under another key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Departure<'c> {
    clearings: &'c Clearings,
    /// How often a removal of everything had been done.
    done: u64,
}

impl Clearings {
    pub(crate) fn new() -> Self {
        let [begun, done] = [(); 2].map(|()| AtomicU64::new(0));
        Self { begun, done, in_hand: InHand::new() }
    }

    /// Begins a removal of everything. Must be called before the first lock is taken for it.
    pub(crate) fn begin(&self) -> Clearing<'_> {
        // ORDERING: Relaxed; a thread that takes a shard's lock after this walk released it sees
        // the store.
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.in_hand.note(1);
        Clearing(self)
    }

    /// In the child of a fork, those of other threads never come to an end: they count as never
    /// begun.
    pub(crate) fn inherit(&self) {
        let own = u64::try_from(self.in_hand.own()).unwrap_or_default();
        // ORDERING: Relaxed, both; this process has one thread.
        self.begun.store(self.done.load(Ordering::Relaxed) + own, Ordering::Relaxed);
    }

    /// Notes a departure. Must be called after the entry was found, so that a walk that was done
    /// before the entry came counts as done, and before the entry is taken out.
    pub(crate) fn depart(&self) -> Departure<'_> {
        // ORDERING: Relaxed; a walk that takes the lock after the entry was taken out counts as
        // done after that. A walk that was done before the entry came is seen by the thread that
        // found the entry (Release in `Bucket::set_named`, Acquire in `Bucket::named`).
        Departure { clearings: self, done: self.done.load(Ordering::Relaxed) }
    }
}

impl Drop for Clearing<'_> {
    /// Counts the removal as done, even if a panic ended it early.
    fn drop(&mut self) {
        // ORDERING: Relaxed; the same reason as in `depart`.
        self.0.done.fetch_add(1, Ordering::Relaxed);
        self.0.in_hand.note(-1);
    }
}

impl Departure<'_> {
    /// Returns whether no walk can have missed the entry. Requires the lock of the shard where the
    /// entry arrives.
    pub(super) fn is_in_order(self) -> bool {
        // ORDERING: Relaxed; the lock shows that a walk which has been in this shard has begun. The
        // same holds for a walk that counts as done.
        self.clearings.begun.load(Ordering::Relaxed) == self.done
    }
}

impl<K, V> Shard<K, V> {
    /// Removes the entries of the next few buckets, and invalidates the flights of their keys.
    pub(crate) fn clear_some(&self, cursor: &mut Cursor) -> Cleared<K, V> {
        let (mut removed, mut met) = (Vec::new(), Vec::new());
        let mut lock = self.lock_and_read();
        let mut txn = lock.txn();
        let mut passed = txn.table.walk(cursor, &mut met);
        let mut looks = 1;
        while looks < LOOKS && met.len() < REMOVALS && !cursor.is_at_end() {
            passed = passed.with_next(txn.table.walk(cursor, &mut met));
            looks += 1;
        }
        met.iter().for_each(|&row| txn.ledger.rows.prefetch(row));
        // Once for all that was passed, since this looks at each of the shard's flights.
        txn.ledger.flights.invalidate_all_of(|home| passed.has_home(home));
        for row in met {
            let place = txn.table.find_row(txn.ledger.home(row), row);
            if txn.table.node(place).kill(txn.now()) {
                let old = txn.take(place);
                if let Some(tally) = &mut txn.ledger.tally {
                    tally.explicit += 1;
                }
                removed.extend(txn.hand_out(old));
            } else {
                txn.bury_expired(place);
            }
        }
        Cleared { removed, deferred: txn.settle_up() }
    }
}
