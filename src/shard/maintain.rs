//! What the reaper does to a shard: many entries, a bounded number of them each time the lock is held.

use super::Shard;
use super::deadline::boundary;
use super::ledger::Ledger;
use super::txn::Txn;
use crate::rows::RowId;
use crate::sync::{nap, pause};
use crate::table::{Node, Pin, Reclaimable, Sealed, Unlinked, Writing};
use crate::time::{SECOND, Span, Tick};

/// Rows that are handled the first time the lock is held, and at most.
const FIRST_DRAIN: usize = if cfg!(tidewheel_loom) { 2 } else { 128 };
const LARGEST_DRAIN: usize = if cfg!(tidewheel_loom) { 2 } else { 1024 };

/// For so long a shard must have been sparse before its memory is given back, in ticks (2 s): it may fill again. And for so long a move
/// of its table may take.
const UNTIDY_FOR: Span = Span::from_nanos(2 * SECOND);
/// Buckets that move, and rows that are looked at, each time the lock is held for that.
const MOVES: usize = if cfg!(tidewheel_loom) { 1 } else { 512 };
const TRIMMED: usize = if cfg!(tidewheel_loom) { 64 } else { 16_384 };

/// Rows whose buckets are prefetched at once.
const HANDFUL: usize = if cfg!(tidewheel_loom) { 1 } else { 16 };

/// Expired nodes that are told of at once, at most: they wait for it in memory.
const BATCH: usize = if cfg!(tidewheel_loom) { 2 } else { 4096 };

/// Who is told of what the reaper does: outside every lock, and no panic comes back.
pub(crate) trait Listens<K, V> {
    /// These have expired. Unpinned.
    fn expired(&self, nodes: &[Unlinked<K, V>]);
    /// This one is about to. Pinned.
    fn expiring(&self, key: &K, value: &V);
}

impl<K, V> Shard<K, V> {
    /// Removes what is due at `now`, and seals garbage so that it can be dropped. Returns when there is
    /// next something to do. Takes no lock if there is nothing.
    pub(crate) fn sweep(&self, now: Tick, listener: Option<&dyn Listens<K, V>>) -> Tick {
        if self.due() <= now {
            self.sweep_at_once(now, listener);
        }
        self.due()
    }

    /// The same, with the lock taken in any case, so that garbage of the running second is sealed too.
    pub(crate) fn sweep_at_once(&self, now: Tick, listener: Option<&dyn Listens<K, V>>) {
        let mut sweep = ShardSweep { now, hold: FIRST_DRAIN, was_due: None, expired: Vec::new() };
        loop {
            // What is about to expire is lent while it is told of.
            let pin = listener.filter(|_| self.config.warn_before != Span::NONE).map(|_| Pin::new());
            let Swept { warned, reclaimable, sealed, is_drained, is_finished, is_late } =
                sweep.hold_once(self, pin.as_ref());
            if let Some(sealed) = sealed {
                let _ = sealed.start();
            }
            if let Some(listener) = listener {
                warned.into_iter().for_each(|node| listener.expiring(node.key(), node.value()));
            }
            drop(pin);
            // Told once for the whole visit, or for some thousands of entries.
            if is_drained || sweep.expired.len() >= BATCH {
                self.notify(std::mem::take(&mut sweep.expired), listener);
            }
            self.dispose(reclaimable);
            if is_finished {
                break;
            }
            // Against threads that take the lock as fast as they can: more rows each time it is ours. And a
            // moment for those who wait for it. Not a yield: on a busy machine that costs the reaper its
            // turn for milliseconds, a thousand times over.
            sweep.hold = (2 * sweep.hold).min(LARGEST_DRAIN);
            // But where it is late, and may be so because the system does not let it run while it has the lock, it leaves the lock
            // to those who sleep for it: they do the rest.
            if is_late && self.table.is_wanted() { nap() } else { pause() }
        }
    }

    /// Tells of expired nodes, unpinned and without a lock: a listener that blocks keeps these nodes and
    /// the reaper, and holds up nobody's reclamation. Then they are garbage.
    fn notify(&self, expired: Vec<Unlinked<K, V>>, listener: Option<&dyn Listens<K, V>>) {
        if expired.is_empty() {
            return;
        }
        if let Some(listener) = listener {
            listener.expired(&expired);
        }
        let mut expired = expired.into_iter();
        while expired.len() > 0 {
            let mut lock = self.lock();
            let mut txn = lock.txn();
            for old in expired.by_ref().take(FIRST_DRAIN) {
                txn.table.retire(old);
            }
            let sealed = txn.table.seal();
            txn.publish();
            drop(lock);
            if let Some(sealed) = sealed {
                let _ = sealed.start();
            }
        }
    }

    /// Drops what is reclaimable: whether there was any, and whether garbage still waits to become reclaimable.
    pub(crate) fn reclaim(&self) -> (bool, bool) {
        if !self.is_waiting() {
            return (false, false);
        }
        let (reclaimable, waiting) = {
            let mut lock = self.lock();
            let mut txn = lock.txn();
            let reclaimable = txn.table.take_reclaimable(None);
            txn.publish();
            (reclaimable, txn.table.has_sealed_garbage())
        };
        let any = !reclaimable.is_empty();
        self.dispose(reclaimable);
        (any, waiting)
    }

    /// How many entries stand in slots of the wheel that begin within this time from now.
    pub(crate) fn expiring_within(&self, within: Span) -> usize {
        let mut lock = self.lock_and_read();
        let txn = lock.txn();
        let (now, ledger) = (txn.now(), txn.ledger);
        // A hand that was left behind would have what is due look as if it were not.
        ledger.wheel.advance(&mut ledger.rows, now);
        ledger.wheel.due_by(now.after(within))
    }
}

impl<K, V> Ledger<K, V> {
    /// A move of the table is under way, which somebody has to end should no inserts come that do. Returns when the reaper has to be
    /// here for it.
    #[cold]
    pub(super) fn tidy_later(&mut self, now: Tick) -> Tick {
        boundary(self.untidy_since.get_or_insert(now).after(UNTIDY_FOR))
    }

    /// Ends what move of the table has been under way for a while, and gives back some of the memory that nothing is in, once there
    /// has been much of it for a while. Returns when to come for more: at once, later, or never.
    fn tidy(&mut self, table: &mut Writing<'_, '_, K, V, Self>, now: Tick) -> Tick {
        let Some(since) = self.untidy_since else {
            let is_untidy =
                table.is_moving() || table.is_sparse() || table.has_sparse_nodes() || self.rows.is_sparse();
            return if is_untidy { self.tidy_later(now) } else { Tick::NEVER };
        };
        if now.since(since) < UNTIDY_FOR {
            return boundary(since.after(UNTIDY_FOR));
        }
        if table.shrink(MOVES) {
            return now;
        }
        if !self.trimmed_rows {
            self.trimmed_rows = !self.trim_rows();
            return now;
        }
        if table.trim(TRIMMED) {
            return now;
        }
        if let Some(policy) = &mut self.policy {
            policy.trim();
        }
        (self.untidy_since, self.trimmed_rows) = (None, false);
        Tick::NEVER
    }

    /// Gives back the memory of rows that are gone, and of what is kept beside them. False when there is no more to give.
    fn trim_rows(&mut self) -> bool {
        let Self { rows, ttls, bounds, policy, .. } = self;
        rows.trim(TRIMMED, |chunk, stretch| {
            let first = RowId::at(chunk, stretch.start);
            ttls.forget(first, stretch.len());
            bounds.forget(first, stretch.len());
            if let Some(policy) = policy {
                policy.forget(chunk, stretch);
            }
        })
    }
}

/// A reaper's visit to a shard.
struct ShardSweep<K, V> {
    /// When it began. It takes out what is due by then.
    now: Tick,
    /// Rows that it handles the next time that it holds the lock.
    hold: usize,
    /// When it should have come.
    was_due: Option<Tick>,
    /// What it has taken out, and told nobody of yet.
    expired: Vec<Unlinked<K, V>>,
}

/// What came of holding the lock once.
struct Swept<'g, K, V> {
    /// What is about to expire.
    warned: Vec<&'g Node<K, V>>,
    reclaimable: Reclaimable<K, V>,
    sealed: Option<Sealed>,
    /// Nothing is due by the sweep's time any more.
    is_drained: bool,
    /// The visit is finished: there is nothing else to do at once.
    is_finished: bool,
    /// There is more to do, and it should have been done long ago.
    is_late: bool,
}

impl<K, V> ShardSweep<K, V> {
    fn hold_once<'g>(&mut self, shard: &'g Shard<K, V>, pin: Option<&'g Pin>) -> Swept<'g, K, V> {
        let now = self.now;
        let mut warned = Vec::new();
        let mut lock = shard.lock();
        let mut txn = lock.txn();
        txn.go_by(now);
        let due = *self.was_due.get_or_insert(txn.ledger.due.min(txn.ledger.inherited));
        if let (Some(tally), true) = (&mut txn.ledger.tally, due <= now) {
            tally.lag = now.since(due).as_duration();
        }
        let is_drained = txn.drain(self.hold, pin, &mut self.expired, &mut warned);
        let Txn { table, ledger, .. } = &mut txn;
        // What this same sweep unlinked a moment ago, mostly: so that it does not pile up.
        let reclaimable = table.take_reclaimable(None);
        let sealed = if is_drained { table.seal() } else { table.seal_full(now) };
        if is_drained {
            let due = ledger.wheel.next_due().min(ledger.tidy(table, now));
            ledger.set_due(due);
            ledger.inherited = Tick::NEVER;
        }
        txn.publish();
        let ledger = txn.ledger;
        let is_late = !is_drained && ledger.is_neglected(shard.config.clock.now());
        // As of here: whoever makes something due after the unlock wakes the reaper.
        let is_finished = is_drained && ledger.due > now;
        Swept { warned, reclaimable, sealed, is_drained, is_finished, is_late }
    }
}

impl<'s, K, V> Txn<'_, 's, K, V> {
    /// Takes up to `hold` due rows out of the wheel; whether that was all. What somebody is to be told of comes to `expired`, and what
    /// somebody is to be warned of, if there is a pin for it, to `warned`.
    fn drain<'g>(
        &mut self,
        hold: usize,
        pin: Option<&'g Pin>,
        expired: &mut Vec<Unlinked<K, V>>,
        warned: &mut Vec<&'g Node<K, V>>,
    ) -> bool
    where
        's: 'g,
    {
        // A handful at a time, so that their buckets, which are far from each other, are prefetched at once.
        let mut due = [RowId::FIRST; HANDFUL];
        for _ in 0..hold.div_ceil(HANDFUL) {
            let mut count = 0;
            while let Some(row) = due.get_mut(count) {
                let now = self.now();
                let Some(popped) = self.ledger.wheel.pop(&mut self.ledger.rows, now) else { break };
                self.table.prefetch(self.ledger.home(popped));
                *row = popped;
                count += 1;
            }
            for &row in &due[..count] {
                // Not `extend`, which makes room first.
                if let Some(old) = self.take_out(row, pin, warned) {
                    expired.push(old);
                }
            }
            if count < HANDFUL {
                return true;
            }
        }
        false
    }

    /// Takes out the entry of a row that was due, if it is over, or files it again. What somebody is to be told of is handed
    /// back.
    fn take_out<'g>(
        &mut self,
        row: RowId,
        pin: Option<&'g Pin>,
        warned: &mut Vec<&'g Node<K, V>>,
    ) -> Option<Unlinked<K, V>>
    where
        's: 'g,
    {
        let now = self.now();
        let Self { config, table, ledger, .. } = self;
        let place = table.find_row(ledger.home(row), row);
        // A writer may have seen a later time than this sweep, and have made rows due by it: filed again
        // they would stay for a second too long.
        let now = now.max(ledger.wheel.reached());
        match table.node(place).reap(now) {
            Ok(deadline) => {
                if let (Some(tally), true) = (&mut ledger.tally, deadline > Tick::LONG_AGO) {
                    tally.lateness.note(config.clock.now().since(deadline).as_duration());
                }
                let old = self.take_expired(place);
                return self.hand_out(old);
            }
            // It was touched since it was filed, or comes from a coarse slot.
            Err(deadline) => {
                if config.warn_before != Span::NONE {
                    let is_soon = deadline != Tick::NEVER && deadline.before(config.warn_before) <= now;
                    if let (true, 0, Some(pin)) = (is_soon, ledger.rows[row].warned, pin) {
                        warned.push(table.lend(place, pin));
                    }
                    ledger.rows[row].warned = u16::from(is_soon);
                }
                ledger.file(row, deadline, now);
            }
        }
        None
    }
}
