//! The work of the reaper on a shard: a bounded number of entries in each critical section.

use super::Shard;
use super::deadline::boundary;
use super::ledger::Ledger;
use super::refresh::RefreshTimes;
use super::txn::Txn;
use crate::rows::RowId;
use crate::sync::{nap, pause};
use crate::table::{Node, Pin, Reclaimable, Sealed, Unlinked, Writing};
use crate::time::{SECOND, Span, Tick};

/// The number of rows that are handled in the first critical section, and the largest number.
const FIRST_DRAIN: usize = if cfg!(tidewheel_loom) { 2 } else { 128 };
const LARGEST_DRAIN: usize = if cfg!(tidewheel_loom) { 2 } else { 1024 };

/// How long a shard must have been sparse before its memory is given back (2 s), because it may fill
/// again. It is also how long a move of its table may take before the reaper completes it.
const UNTIDY_FOR: Span = Span::from_nanos(2 * SECOND);
/// The number of buckets that move, and of rows that are inspected, in one critical section.
const MOVES: usize = if cfg!(tidewheel_loom) { 1 } else { 512 };
const TRIMMED: usize = if cfg!(tidewheel_loom) { 64 } else { 16_384 };

/// The number of rows whose buckets are prefetched together.
const HANDFUL: usize = if cfg!(tidewheel_loom) { 1 } else { 16 };

/// Once a sweep has taken out this many expired nodes, or up to a hold's more, it tells the listener of
/// them together, and goes on. Until then they stay in memory.
const BATCH: usize = if cfg!(tidewheel_loom) { 2 } else { 4096 };

/// The receiver of the reaper's notifications. It is called outside every lock, and lets no panic
/// through.
pub(crate) trait Listens<K, V> {
    /// Tells that these nodes have expired. Called unpinned.
    fn expired(&self, nodes: &[Unlinked<K, V>]);
    /// Warns that this entry is about to expire. Called pinned.
    fn expiring(&self, key: &K, value: &V);
}

impl<K, V> Shard<K, V> {
    /// Removes what is due, and seals garbage so that it can be dropped. Returns when there is next
    /// something to do, and how late this visit was. Takes no lock and reads no clock if nothing is
    /// due at `now`.
    pub(crate) fn sweep(&self, now: Tick, listener: Option<&dyn Listens<K, V>>) -> (Tick, Span) {
        let lag = if self.due() <= now { self.sweep_at_once(listener) } else { Span::NONE };
        (self.due(), lag)
    }

    /// Sweeps like `sweep`, but takes the lock in any case, so that garbage of the current second
    /// is sealed, too. It goes by a time of its own: a listener may have blocked for long since the
    /// round began, in a shard or a cache that was visited before. Returns how late it was.
    pub(crate) fn sweep_at_once(&self, listener: Option<&dyn Listens<K, V>>) -> Span {
        let now = self.config.clock.now();
        let mut sweep = ShardSweep { now, hold: FIRST_DRAIN, was_due: None, expired: Vec::new() };
        loop {
            // Entries that are about to expire are lent while the listener is warned of them.
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
            // The listener is told once for the whole visit, or for some thousands of entries.
            if is_drained || sweep.expired.len() >= BATCH {
                self.notify(std::mem::take(&mut sweep.expired), listener);
            }
            self.dispose(reclaimable);
            if is_finished {
                return sweep.lag();
            }
            // Other threads may take the lock as fast as they can, so the reaper handles more rows
            // each time that it has the lock. Then it pauses for the threads that wait for the
            // lock. It does not yield: on a busy machine a yield costs the reaper the processor for
            // milliseconds, a thousand times over.
            sweep.hold = (2 * sweep.hold).min(LARGEST_DRAIN);
            // The reaper may be late because the system does not let it run while it has the lock.
            // In that case it leaves the lock to the threads that sleep for it: they do the rest.
            if is_late && self.table.is_wanted() { nap() } else { pause() }
        }
    }

    /// Tells the listener of expired nodes, unpinned and without a lock, and then makes them
    /// garbage. A listener that blocks holds up these nodes and the reaper, but no grace period.
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

    /// Notes that the reaper was to be woken and will not come: there is none.
    #[cold]
    pub(crate) fn rely_on_no_reaper(&self) {
        self.lock().txn().ledger.rely_on_no_reaper();
    }

    /// Drops what is reclaimable. Returns whether there was any, and whether garbage still waits to
    /// become reclaimable.
    pub(crate) fn reclaim(&self) -> (bool, bool) {
        if !self.is_waiting() {
            return (false, false);
        }
        // Drops as much as there was at first, so that this ends however fast more comes.
        let (mut any, mut left) = (false, None);
        loop {
            let (reclaimable, waiting) = {
                let mut lock = self.lock();
                let mut txn = lock.txn();
                let before = txn.table.garbage();
                let reclaimable = txn.table.take_reclaimable(None);
                left = Some(left.unwrap_or(before).saturating_sub(before - txn.table.garbage()));
                txn.publish();
                (reclaimable, txn.table.has_sealed_garbage())
            };
            let has_more = reclaimable.has_more();
            any |= has_more || !reclaimable.is_empty();
            self.dispose(reclaimable);
            if !has_more || left == Some(0) {
                return (any, waiting);
            }
            pause();
        }
    }

    /// Returns how many entries are in slots of the wheel that begin within this time from now.
    pub(crate) fn expiring_within(&self, within: Span) -> usize {
        let mut lock = self.lock_and_read();
        let txn = lock.txn();
        let (now, ledger) = (txn.now(), txn.ledger);
        // Without this, a hand that was left behind would count due entries as not due.
        ledger.wheel.advance(&mut ledger.rows, now);
        ledger.wheel.due_by(now.after(within))
    }
}

impl<K, V> Ledger<K, V> {
    /// Notes that the table is moving. The reaper has to end the move if no inserts do. Returns
    /// when it has to come for that.
    #[cold]
    pub(super) fn tidy_later(&mut self, now: Tick) -> Tick {
        boundary(self.untidy_since.get_or_insert(now).after(UNTIDY_FOR))
    }

    /// Ends a move of the table that has lasted for a while, and gives back some vacant memory once
    /// there has been much of it for a while. Returns when to come for more: at once, later, or
    /// never.
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
        if table.trim(TRIMMED, self.refresh_times.as_deref().map(RefreshTimes::words)) {
            return now;
        }
        if let Some(policy) = &mut self.policy {
            policy.trim();
        }
        (self.untidy_since, self.trimmed_rows) = (None, false);
        Tick::NEVER
    }

    /// Gives back the memory of vacant rows and of their columns. Returns false if there is no more
    /// to give back.
    fn trim_rows(&mut self) -> bool {
        let Self { rows, ttls, bounds, warned_of, policy, .. } = self;
        rows.trim(TRIMMED, |chunk, stretch| {
            let first = RowId::at(chunk, stretch.start);
            ttls.forget(first, stretch.len());
            warned_of.forget(first, stretch.len());
            bounds.forget(first, stretch.len());
            if let Some(policy) = policy {
                policy.forget(chunk, stretch);
            }
        })
    }
}

/// A visit of the reaper to a shard.
struct ShardSweep<K, V> {
    /// When the visit began. It removes what is due by then.
    now: Tick,
    /// The number of rows for the next critical section.
    hold: usize,
    /// When the reaper should have come.
    was_due: Option<Tick>,
    /// Nodes that the visit has removed and of which it has not told the listener yet.
    expired: Vec<Unlinked<K, V>>,
}

/// The result of one critical section.
struct Swept<'g, K, V> {
    /// Entries that are about to expire.
    warned: Vec<&'g Node<K, V>>,
    reclaimable: Reclaimable<K, V>,
    sealed: Option<Sealed>,
    /// Nothing is due by the sweep's time any more.
    is_drained: bool,
    /// There is also nothing else to do at once.
    is_finished: bool,
    /// There is more to do, and it should have been done long ago.
    is_late: bool,
}

impl<K, V> ShardSweep<K, V> {
    /// Returns how late the visit was for what was due.
    fn lag(&self) -> Span {
        self.was_due.map_or(Span::NONE, |due| self.now.since(due))
    }

    fn hold_once<'g>(&mut self, shard: &'g Shard<K, V>, pin: Option<&'g Pin>) -> Swept<'g, K, V> {
        let now = self.now;
        let mut warned = Vec::new();
        let mut lock = shard.lock();
        let mut txn = lock.txn();
        txn.go_by(now);
        let due = *self.was_due.get_or_insert(txn.ledger.due.min(txn.ledger.inherited));
        if let (Some(tally), true) = (&mut txn.ledger.tally, due <= now) {
            tally.lag = self.lag().as_duration();
        }
        let is_drained = txn.drain(self.hold, pin, &mut self.expired, &mut warned);
        let Txn { table, ledger, .. } = &mut txn;
        // This is mostly what the same sweep unlinked a moment ago. Taking it keeps garbage from
        // piling up. (If there is more, the reaper comes for that when the sweep is done.)
        let reclaimable = table.take_reclaimable(None);
        let sealed = if is_drained { table.seal() } else { table.seal_full(now) };
        let next = is_drained.then(|| ledger.wheel.next_due().min(ledger.tidy(table, now)));
        if let Some(next) = next {
            ledger.put_off(next);
        }
        txn.publish();
        let is_late = !is_drained && txn.ledger.is_neglected(shard.config.clock.now());
        // `is_finished` holds as of now: a thread that makes something due after the unlock wakes
        // the reaper.
        let is_finished = next.is_some_and(|next| next > now);
        Swept { warned, reclaimable, sealed, is_drained, is_finished, is_late }
    }
}

impl<'s, K, V> Txn<'_, 's, K, V> {
    /// Takes up to `hold` due rows out of the wheel. Returns whether these were all. Adds to
    /// `expired` the nodes of which the listener is to be told, and to `warned`, if there is a pin,
    /// the entries of which it is to be warned.
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
        // The buckets of due rows are far from each other, so a handful of them is prefetched
        // together.
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
                // `push`, because `extend` would reserve memory first.
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

    /// Removes the entry of a due row if it has expired, or files the row again. Returns the node
    /// if the listener is to be told of it.
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
        // A writer may have read a later time than this sweep, and may have made rows due by it.
        // Filed by the earlier time, they would stay a second too long.
        let now = now.max(ledger.wheel.reached());
        match table.node(place).reap(now) {
            Ok(deadline) => {
                if let (Some(tally), true) = (&mut ledger.tally, deadline > Tick::LONG_AGO) {
                    tally.lateness.note(config.clock.now().since(deadline).as_duration());
                }
                let old = self.take_expired(place);
                return self.hand_out(old);
            }
            // The entry was touched after its row was filed, or the row comes from a coarse slot.
            Err(deadline) => {
                if config.warn_before != Span::NONE {
                    let is_soon = ledger.first_due(deadline) <= now;
                    let was_warned = ledger.is_warned_of(row, deadline);
                    if let (true, false, Some(pin)) = (is_soon, was_warned, pin) {
                        warned.push(table.lend(place, pin));
                    }
                    ledger.note_warning(row, deadline, is_soon);
                }
                ledger.file(row, deadline, now);
            }
        }
        None
    }
}
