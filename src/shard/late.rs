//! The work of writers when others are late: readers, who delay the dropping of garbage, or the
//! reaper.
//!
//! A writer does a bounded part of that work, beside its own operation.

use super::Shard;
use super::config::Config;
use super::ledger::Ledger;
use super::settle::is_dropping;
use super::txn::Txn;
use crate::rows::RowId;
use crate::sync::thread_local;
use crate::table::{BATCHES_AFTER_A_MOMENT, BATCHES_AT_A_SEAL, Moment, Pin};
use crate::time::{SECOND, Span, Tick};
use std::cell::Cell;

/// How long after something was due writers begin to do it.
const LATE: Span = Span::from_nanos(SECOND / 2);
/// The number of rows that a writer takes out of the wheel with each write to help the reaper.
const HELPED: usize = if cfg!(tidewheel_loom) { 1 } else { 64 };

thread_local! {
    /// Whether this thread is a reaper's, or does a part of the reaper's work. The listeners that
    /// it calls may write. Such a write neither does more of the work, which could recurse without
    /// end, nor waits, because others may wait for it.
    static AT_WORK: Cell<bool> = const { Cell::new(false) };
}

/// A mark that this thread does the reaper's work, until it is dropped.
#[must_use]
pub(crate) struct AtWork {
    was_at_work: bool,
}

impl AtWork {
    pub(crate) fn begin() -> Self {
        Self { was_at_work: AT_WORK.try_with(|at_work| at_work.replace(true)).unwrap_or(true) }
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let _ = AT_WORK.try_with(|at_work| at_work.set(self.was_at_work));
    }
}

fn is_at_work() -> bool {
    is_dropping() || AT_WORK.try_with(Cell::get).unwrap_or(true)
}

impl Config {
    /// Returns how long writers wait for the reaper after something was due: for ever, if the owner
    /// runs the reaper's work by itself.
    pub(super) fn patience(&self) -> Span {
        if self.helped { LATE } else { Span::ENDLESS }
    }
}

impl<K, V> Ledger<K, V> {
    /// Returns whether the reaper should have come long ago.
    #[inline]
    pub(super) fn is_neglected(&self, now: Tick) -> bool {
        self.late_at < now
    }

    /// Sets when the reaper has to come, and when it would have to if it knew of the shard.
    pub(super) fn set_due(&mut self, due: Tick, inherited: Tick) {
        (self.due, self.inherited) = (due, inherited);
        self.late_at = due.min(inherited).after(self.patience);
    }

    /// Returns whether the warning of an entry is due and was not given, as in a sweep. To warn
    /// takes a pin, so it is left to the reaper.
    fn is_to_be_warned_of(&mut self, row: RowId, deadline: Tick, now: Tick) -> bool {
        if self.warn_before == Span::NONE {
            return false;
        }
        let is_soon = self.first_due(deadline) <= now;
        let was_warned = self.is_warned_of(row, deadline);
        self.note_warning(row, deadline, is_soon && was_warned);
        is_soon && !was_warned
    }
}

impl<K, V> Txn<'_, '_, K, V> {
    /// Does some of the work with which the reaper is late. Leaves the reaper's appointment
    /// unchanged, so that the reaper finds the rest and any other work.
    #[cold]
    #[inline(never)]
    pub(super) fn help_reaper(&mut self) {
        if is_at_work() {
            return;
        }
        for _ in 0..HELPED {
            let now = self.now();
            let Self { table, ledger, .. } = self;
            let Some(row) = ledger.wheel.pop(&mut ledger.rows, now) else { return };
            let place = table.find_row(ledger.home(row), row);
            // The same as in a sweep.
            let now = now.max(ledger.wheel.reached());
            match table.node(place).reap(now) {
                Ok(deadline) => {
                    if let (Some(tally), true) = (&mut ledger.tally, deadline > Tick::LONG_AGO) {
                        tally.lateness.note(now.since(deadline).as_duration());
                    }
                    self.bury_expired(place);
                }
                Err(deadline) if ledger.is_to_be_warned_of(row, deadline, now) => {
                    ledger.wheel.put_back(&mut ledger.rows, row);
                }
                Err(deadline) => ledger.file(row, deadline, now),
            }
        }
    }
}

impl<K, V> Shard<K, V> {
    /// Drops some of what is reclaimable, on the thread of a writer that has just made some garbage
    /// reclaimable. The rest, where a thread was pinned for long, is the reaper's.
    #[cold]
    pub(crate) fn drop_reclaimable(&self) {
        if self.is_waiting() && !is_dropping() {
            self.drop_batches(BATCHES_AT_A_SEAL);
        }
    }

    fn drop_batches(&self, most: usize) {
        let reclaimable = {
            let mut lock = self.lock();
            let mut txn = lock.txn();
            let reclaimable = txn.table.take_reclaimable(Some(most));
            txn.publish();
            reclaimable
        };
        self.dispose(reclaimable);
    }

    /// Makes a writer wait a moment for readers, and drops some of the garbage that they have
    /// released. Returns at once on a thread that would wait for itself, and on one that runs a
    /// destructor or a listener, for which others may wait.
    #[cold]
    pub(crate) fn hold_back(&self, moment: &Moment) {
        if Pin::is_held() || is_at_work() {
            return;
        }
        moment.wait();
        self.drop_batches(BATCHES_AFTER_A_MOMENT);
    }
}
