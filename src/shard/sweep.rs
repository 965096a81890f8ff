//! What the reaper does to a shard, and what `invalidate_all` does: many entries, a bounded number of
//! them each time the lock is held.

use super::{Chores, Ledger, Shard, Terms};
use crate::rows::RowId;
use crate::sync::thread;
use crate::table::{Node, Pin, Unlinked, Writing};
use crate::time::Tick;

/// Rows that are handled each time the lock is held.
const HOLD: usize = if cfg!(tidewheel_loom) { 2 } else { 128 };

/// Who is told of expired entries.
pub(crate) type Told<'a, K, V> = Option<&'a dyn Fn(&K, &V)>;

impl<K, V> Shard<K, V> {
    /// Removes what is due at `now`, and seals debris so that it can be dropped. Returns when there is
    /// next something to do. Takes no lock if there is nothing.
    pub(crate) fn sweep(&self, terms: &Terms, now: Tick, told: Told<'_, K, V>) -> Tick {
        if self.due() <= now {
            self.sweep_at_once(terms, now, told);
        }
        self.due()
    }

    /// The same, with the lock taken in any case, so that debris of the running second is sealed too, and
    /// expired nodes that writers came across in it are told of.
    pub(crate) fn sweep_at_once(&self, terms: &Terms, now: Tick, told: Told<'_, K, V>) {
        loop {
            let pin = Pin::new();
            let mut locked = self.table.lock();
            let (mut table, ledger) = locked.parts();
            let done = self.drain(&mut table, ledger, terms, now, &pin);
            let expired = std::mem::take(&mut ledger.expired);
            let sealed = table.seal(done);
            if done {
                ledger.due = ledger.wheel.next_due();
            }
            self.publish(&table, ledger.due);
            drop(locked);
            if let Some(sealed) = sealed {
                sealed.start(&pin);
            }
            drop(pin);
            self.tell(expired, told);
            if done && self.due() > now {
                break;
            }
            // Writers who wait for the lock get their turn.
            thread::yield_now();
        }
    }

    /// Takes a bounded number of due rows out of the wheel; whether that was all.
    fn drain(
        &self,
        table: &mut Writing<'_, '_, K, V, Ledger<K, V>>,
        ledger: &mut Ledger<K, V>,
        terms: &Terms,
        now: Tick,
        pin: &Pin,
    ) -> bool {
        for _ in 0..HOLD {
            let Some(row) = ledger.wheel.pop(&mut ledger.rows, now) else {
                return true;
            };
            let home = ledger.home(row);
            let place = table.find_row(home, row);
            // A writer may have seen a later time than this sweep, and have made rows due by it: filed again
            // they would stay for a second too long.
            let now = now.max(ledger.wheel.reached());
            if let Err(deadline) = table.node(place).reap(now) {
                // It was touched since it was filed, or comes from a coarse slot.
                ledger.file(row, deadline, now);
                continue;
            }
            let old = table.unlink(place, home);
            ledger.forget(row);
            if terms.listened {
                ledger.expired.push(old);
            } else {
                table.retire(old, pin);
            }
        }
        false
    }

    /// Tells of expired nodes, unpinned and without a lock: a listener that blocks keeps these nodes and
    /// the reaper, and holds up nobody's reclamation. Then they are debris.
    fn tell(&self, expired: Vec<Unlinked<K, V>>, told: Told<'_, K, V>) {
        if expired.is_empty() {
            return;
        }
        if let Some(told) = told {
            for old in &expired {
                told(old.node().key(), old.node().value());
            }
        }
        let mut expired = expired.into_iter();
        while expired.len() > 0 {
            let pin = Pin::new();
            let mut locked = self.table.lock();
            let (mut table, ledger) = locked.parts();
            for old in expired.by_ref().take(HOLD) {
                table.retire(old, &pin);
            }
            let sealed = table.seal(true);
            self.publish(&table, ledger.due);
            drop(locked);
            if let Some(sealed) = sealed {
                sealed.start(&pin);
            }
        }
    }

    /// Drops what is ripe; whether debris still waits to ripen.
    pub(crate) fn reclaim(&self) -> bool {
        if !self.is_waiting() {
            return false;
        }
        let (ripe, waiting) = {
            let mut locked = self.table.lock();
            let (mut table, ledger) = locked.parts();
            let ripe = table.take_ripe(true);
            self.publish(&table, ledger.due);
            (ripe, table.has_sealed_debris())
        };
        self.dispose(ripe);
        waiting
    }

    /// Takes out the entries of up to `HOLD` rows, beginning with number `first`. Returns the nodes that
    /// were alive, and the number to go on with.
    pub(crate) fn clear_some<'g>(
        &'g self,
        terms: &Terms,
        first: u32,
        pin: &'g Pin,
    ) -> (Vec<&'g Node<K, V>>, u32, Chores<K, V>) {
        let mut locked = self.table.lock();
        let (mut table, ledger) = locked.parts();
        let now = terms.clock.now();
        let end = ledger.rows.slots().min(first.saturating_add(HOLD as u32));
        let mut removed = Vec::new();
        for index in first..end {
            let row = RowId::from_index(index);
            if !ledger.rows.contains(row) {
                continue;
            }
            let home = ledger.home(row);
            let place = table.find_row(home, row);
            let alive = table.node(place).kill(now);
            let old = table.unlink(place, home);
            ledger.forget(row);
            if alive || !terms.listened {
                let old = table.retire(old, pin);
                if alive {
                    removed.push(old);
                }
            } else {
                ledger.expired.push(old);
            }
        }
        let chores = self.settle(&mut table, ledger, now, Tick::NEVER);
        (removed, first.saturating_add(HOLD as u32), chores)
    }

    /// How many rows there are for `clear_some` to go through.
    pub(crate) fn slots(&self) -> u32 {
        self.table.lock().parts().1.rows.slots()
    }

    /// The last words of a cache: tells of what had expired, and had not been told of yet.
    pub(crate) fn tell_the_rest(&self, told: Told<'_, K, V>) {
        let expired = std::mem::take(&mut self.table.lock().parts().1.expired);
        self.tell(expired, told);
    }
}
