//! What `invalidate_all` does to a shard: takes out everything, a bounded number of entries each time the lock is held.
//!
//! It goes by positions (`table/walk.rs`). At the moment at which it passes a position, there is neither an entry with that position any
//! more, nor a flight that would make one: whatever was loaded or computed until then is invalidated. So nothing of what was
//! there before, and nothing that was made of it in place, is there afterwards.

use super::Shard;
use super::deferred::Deferred;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::table::{Cursor, Unlinked};

/// Entries that are taken out each time the lock is held, or some more; and handfuls of buckets that are looked at.
const REMOVALS: usize = if cfg!(tidewheel_loom) { 2 } else { 128 };
const LOOKS: usize = if cfg!(tidewheel_loom) { 1 } else { 64 };

/// What became of some entries that had to go.
pub(crate) struct Cleared<K, V> {
    /// Nodes that were alive, if somebody listens.
    pub(crate) removed: Vec<Unlinked<K, V>>,
    pub(crate) deferred: Deferred<K, V>,
}

/// How often everything was to be removed from a cache: begun, and done. For who takes an entry out under one key and stores
/// it under another, and meanwhile has it in neither place.
///
/// Such an entry was there when a walk began, and is missed by it, only if it is taken out before the walk comes by, and is
/// stored after that. Then the walk was done with neither before the one, nor still to begin at the other.
#[derive(Debug)]
pub(crate) struct Clearings {
    begun: AtomicU64,
    done: AtomicU64,
}

/// As long as it is there, everything is being removed.
#[derive(Debug)]
pub(crate) struct Clearing<'c>(&'c Clearings);

/// An entry was looked at, and will be taken out, to be stored under another key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Departure<'c> {
    clearings: &'c Clearings,
    /// How often it had been done.
    done: u64,
}

impl Clearings {
    pub(crate) fn new() -> Self {
        Self { begun: AtomicU64::new(0), done: AtomicU64::new(0) }
    }

    /// Before the first lock is taken for it.
    pub(crate) fn begin(&self) -> Clearing<'_> {
        // ORDERING: Relaxed; whoever has a shard's lock after this walk has had it sees it.
        self.begun.fetch_add(1, Ordering::Relaxed);
        Clearing(self)
    }

    /// After the entry was found, so that a walk which was done before the entry came counts as done; and before
    /// it is taken out.
    pub(crate) fn depart(&self) -> Departure<'_> {
        // ORDERING: Relaxed; a walk that has the lock after the entry was taken out counts as done after that. One that
        // was done before the entry came is seen by whoever found that (Release in `Bucket::set_named`, Acquire in
        // `Bucket::named`).
        Departure { clearings: self, done: self.done.load(Ordering::Relaxed) }
    }
}

impl Drop for Clearing<'_> {
    /// Also if a listener's trouble ended it early.
    fn drop(&mut self) {
        // ORDERING: Relaxed; as in `depart`.
        self.0.done.fetch_add(1, Ordering::Relaxed);
    }
}

impl Departure<'_> {
    /// Under the lock of the shard where it arrives: whether no walk can have missed it.
    pub(super) fn is_in_order(self) -> bool {
        // ORDERING: Relaxed; a walk that has been here, has begun, says the lock. So has one that counts as done.
        self.clearings.begun.load(Ordering::Relaxed) == self.done
    }
}

impl<K, V> Shard<K, V> {
    /// Takes out the entries of the next few buckets, and invalidates the flights of their keys.
    pub(crate) fn clear_some(&self, cursor: &mut Cursor) -> Cleared<K, V> {
        let (mut removed, mut met) = (Vec::new(), Vec::new());
        let mut lock = self.lock_and_read();
        let mut txn = lock.txn();
        let mut gone = 0;
        for _ in 0..LOOKS {
            let passed = txn.table.walk(cursor, &mut met);
            met.iter().for_each(|&row| txn.ledger.rows.prefetch(row));
            txn.ledger.flights.invalidate_all_of(|home| passed.has_home(home));
            gone += met.len();
            for row in met.drain(..) {
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
            if gone >= REMOVALS || cursor.is_at_end() {
                break;
            }
        }
        Cleared { removed, deferred: txn.settle_up() }
    }
}
