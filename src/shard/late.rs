//! What writers do where others are late: readers, which hold up what is to be dropped, or the reaper.
//!
//! Always a bounded part of it, beside what they came for.

use super::Shard;
use super::config::Config;
use super::ledger::Ledger;
use super::settle::is_helping;
use super::txn::Txn;
use crate::rows::RowId;
use crate::sync::thread_local;
use crate::table::{CATCH_UP, Moment, Pin};
use crate::time::{SECOND, Span, Tick};
use std::cell::Cell;

/// So long after something was due, whoever writes begins to do it.
const LATE: Span = Span::from_nanos(SECOND / 2);
/// Rows that a writer takes out of the wheel with each write.
const HELPED: usize = if cfg!(tidewheel_loom) { 1 } else { 64 };

thread_local! {
    /// Whether this thread is a reaper's, or does a part of its work. The listeners that it tells may write: that neither makes it do
    /// more, which could go on for ever, nor has it wait, for others may wait for it.
    static AT_WORK: Cell<bool> = const { Cell::new(false) };
}

/// As long as it is there, this thread is at a reaper's work.
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
    is_helping() || AT_WORK.try_with(Cell::get).unwrap_or(true)
}

impl Config {
    /// How long after something was due writers wait for the reaper: for ever, where its owner calls for it.
    pub(super) fn patience(&self) -> Span {
        if self.helped { LATE } else { Span::ENDLESS }
    }
}

impl<K, V> Ledger<K, V> {
    /// Whether the reaper should have been here long ago.
    #[inline]
    pub(super) fn is_neglected(&self, now: Tick) -> bool {
        self.late_at < now
    }

    /// The reaper is to come then.
    pub(super) fn set_due(&mut self, due: Tick) {
        (self.due, self.late_at) = (due, due.after(self.patience));
    }

    /// As in a sweep; but to warn takes a pin, and is left to the reaper.
    fn is_to_be_warned_of(&mut self, row: RowId, deadline: Tick, now: Tick) -> bool {
        if self.warn_before == Span::NONE {
            return false;
        }
        let is_soon = self.first_due(deadline) <= now;
        let was_warned = self.rows[row].warned != 0;
        self.rows[row].warned = u16::from(is_soon && was_warned);
        is_soon && !was_warned
    }
}

impl<K, V> Txn<'_, '_, K, V> {
    /// A writer does some of what the reaper is late with. When it was to come stays as it is, so that it finds the rest, and
    /// whatever else there is to do.
    #[cold]
    #[inline(never)]
    pub(super) fn catch_up(&mut self) {
        if is_at_work() {
            return;
        }
        for _ in 0..HELPED {
            let now = self.now();
            let Self { table, ledger, .. } = self;
            let Some(row) = ledger.wheel.pop(&mut ledger.rows, now) else { return };
            let place = table.find_row(ledger.home(row), row);
            // As in a sweep.
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
    /// Drops what is reclaimable, on a writer's thread that has just made some.
    #[cold]
    pub(crate) fn help(&self) {
        if !is_helping() {
            self.reclaim();
        }
    }

    /// Has a writer wait a moment for readers, and drop some of what they held up, as far as they have gone on. But not one that would
    /// wait for itself; nor one that was called by a destructor or by a listener, for whom others may wait.
    #[cold]
    pub(crate) fn hold_back(&self, moment: &Moment) {
        if Pin::is_held() || is_at_work() {
            return;
        }
        moment.wait();
        let reclaimable = {
            let mut lock = self.lock();
            let mut txn = lock.txn();
            let reclaimable = txn.table.take_reclaimable(Some(CATCH_UP));
            txn.publish();
            reclaimable
        };
        self.dispose(reclaimable);
    }
}
