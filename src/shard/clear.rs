//! What `invalidate_all` does to a shard: takes out everything, a bounded number of entries each time the lock is held.
//!
//! It goes by turns (`table/walk.rs`). At the moment at which it passes a turn, there is neither an entry with that turn any
//! more, nor a flight that would make one: whatever was loaded or computed until then is overtaken. So nothing of what was
//! there before, and nothing that was made of it in place, is there afterwards.

use super::write::{drop_expired, hand_out, take};
use super::{Chores, Shard, Terms};
use crate::table::{Cursor, Unlinked};
use crate::time::Tick;

/// Entries that are taken out each time the lock is held, or some more; and handfuls of buckets that are looked at.
const HOLD: usize = if cfg!(tidewheel_loom) { 2 } else { 128 };
const LOOKS: usize = if cfg!(tidewheel_loom) { 1 } else { 64 };

/// What became of some entries that had to go.
pub(crate) struct Cleared<K, V> {
    /// Nodes that were alive, if somebody listens.
    pub(crate) removed: Vec<Unlinked<K, V>>,
    pub(crate) chores: Chores<K, V>,
}

impl<K, V> Shard<K, V> {
    /// Takes out the entries of the next few buckets, and overtakes the flights of their keys.
    pub(crate) fn clear_some(&self, terms: &Terms, cursor: &mut Cursor) -> Cleared<K, V> {
        let (mut removed, mut met) = (Vec::new(), Vec::new());
        let mut locked = self.table.lock();
        let (mut table, ledger) = locked.parts();
        let now = terms.clock.now();
        let mut gone = 0;
        for _ in 0..LOOKS {
            let rows = &ledger.rows;
            let passed = table.walk(cursor, |row| rows[row].home, |row| rows.fetch(row), &mut met);
            ledger.flights.overtake_all(|home| passed.has_home(home));
            gone += met.len();
            for row in met.drain(..) {
                let place = table.find_row(ledger.home(row), row);
                if table.node(place).kill(now) {
                    let old = take(&mut table, ledger, place);
                    if let Some(tally) = &mut ledger.tally {
                        tally.explicit += 1;
                    }
                    removed.extend(hand_out(terms, &mut table, old));
                } else {
                    drop_expired(terms, &mut table, ledger, place);
                }
            }
            if gone >= HOLD || cursor.is_at_end() {
                break;
            }
        }
        let chores = self.settle((&mut table, ledger), (now, Tick::NEVER), None);
        Cleared { removed, chores }
    }
}
