//! What an operation leaves to be done after the unlock: found out under the lock, last of all.
//!
//! Knows no order in which it is done: that is the cache's business.

use super::room::Left;
use super::write::Table;
use super::{Ledger, Shard, boundary};
use crate::policy::Policy;
use crate::sync::thread_local;
use crate::table::{HELP, Moment, Ripe, Sealed, Unlinked, Writing};
use crate::time::{SECOND, Tick};
use std::cell::Cell;

/// What an operation leaves to be done after the lock is released, in this order.
#[must_use]
pub(crate) struct Chores<K, V> {
    pub(crate) seldom: Option<Box<Seldom<K, V>>>,
    /// The listener is to be told, and then it is to be retired.
    pub(crate) removed: Option<Unlinked<K, V>>,
}

/// Of the chores, those that few operations leave.
pub(crate) struct Seldom<K, V> {
    /// The reaper is to come at this tick, earlier than it knew.
    pub(crate) wake: Option<Tick>,
    /// To be started. Both before any code of the user's runs: others rely on it.
    pub(crate) sealed: Option<Sealed>,
    /// The listener is to be told of these too.
    pub(crate) left: Option<Box<Left<K, V>>>,
    /// To be disposed of, after the listener was told.
    pub(crate) ripe: Option<Ripe<K, V>>,
    /// What is ripe anywhere is to be dropped at once, as was seen when `sealed` was started.
    pub(crate) is_heavy: bool,
    /// Last of all, if it stored something: readers hold up so much that it is to wait a moment.
    pub(crate) moment: Option<Moment>,
}

thread_local! {
    /// Whether this thread is dropping ripe values: their destructors may use the cache, but do not drop
    /// further values from within, which could go on for ever.
    static HELPING: Cell<bool> = const { Cell::new(false) };
}

pub(super) fn is_helping() -> bool {
    HELPING.try_with(Cell::get).unwrap_or(true)
}

impl<K, V> Chores<K, V> {
    /// Whether what was to be stored was too heavy for that.
    pub(crate) fn has_refused(&self) -> bool {
        let left = self.seldom.as_ref().and_then(|seldom| seldom.left.as_ref());
        left.is_some_and(|left| left.refused.is_some())
    }

    /// Nothing was changed.
    pub(crate) fn none() -> Self {
        Self { seldom: None, removed: None }
    }
}

impl<K, V> Shard<K, V> {
    /// The end of a writer's operation under the lock: seals what is full, takes what is ripe, and sees
    /// to it that the reaper comes in time (S3), or does some of its work. `deadline` is that of the entry written, if any.
    #[inline]
    pub(super) fn settle(
        &self,
        (table, ledger): (&mut Table<'_, '_, K, V>, &mut Ledger<K, V>),
        (now, deadline): (Tick, Tick),
        removed: Option<Unlinked<K, V>>,
    ) -> Chores<K, V> {
        self.settle_inline::<true>((table, ledger), (now, deadline), removed)
    }

    /// The same, whatever the reaper is late with.
    pub(super) fn settle_alone(
        &self,
        books: (&mut Table<'_, '_, K, V>, &mut Ledger<K, V>),
        times: (Tick, Tick),
        removed: Option<Unlinked<K, V>>,
    ) -> Chores<K, V> {
        self.settle_inline::<false>(books, times, removed)
    }

    #[inline(always)]
    fn settle_inline<const HELPS: bool>(
        &self,
        (table, ledger): (&mut Table<'_, '_, K, V>, &mut Ledger<K, V>),
        (now, deadline): (Tick, Tick),
        removed: Option<Unlinked<K, V>>,
    ) -> Chores<K, V> {
        let deadline = ledger.first_due(deadline);
        // What `settle_further` would come to, without a division: `due` is the start of a second, or past, or `NEVER`.
        let by_next_second = ledger.due.as_nanos() <= now.as_nanos() + SECOND;
        let by_deadline = ledger.due.as_nanos() < deadline.as_nanos() + SECOND;
        let in_time = by_next_second || by_deadline && !table.has_debris();
        let helps = HELPS && ledger.is_neglected(now);
        if !helps && in_time && !table.is_at_stop(now) && ledger.left.is_none() {
            self.publish_size(table, ledger);
            return Chores { seldom: None, removed };
        }
        Chores { seldom: self.settle_further::<HELPS>(table, ledger, now, deadline), removed }
    }

    #[cold]
    #[inline(never)]
    fn settle_further<const HELPS: bool>(
        &self,
        table: &mut Writing<'_, '_, K, V, Ledger<K, V>>,
        ledger: &mut Ledger<K, V>,
        now: Tick,
        deadline: Tick,
    ) -> Option<Box<Seldom<K, V>>> {
        if HELPS && ledger.is_neglected(now) {
            ledger.catch_up(table, now);
        }
        let weight = ledger.policy.as_ref().map_or(0, Policy::weight);
        let (sealed, moment) = table.stop(now, weight);
        let ripe = (sealed.is_some() && !is_helping())
            .then(|| table.take_ripe(Some(HELP)))
            .filter(|ripe| !ripe.is_empty());
        let soon = Tick::start_of(now.second() + 1);
        let mut need = boundary(deadline).max(soon);
        if table.has_debris() {
            need = soon;
        }
        let wake = ledger.expect(need);
        self.publish(table, ledger);
        let left = ledger.left.take();
        (wake.is_some() || sealed.is_some() || left.is_some() || ripe.is_some() || moment.is_some())
            .then(|| Box::new(Seldom { wake, sealed, left, ripe, is_heavy: false, moment }))
    }

    /// Drops ripe values, and makes room of them for the next inserts.
    pub(crate) fn dispose(&self, ripe: Ripe<K, V>) {
        if ripe.is_empty() {
            return;
        }
        let nested = HELPING.try_with(|helping| helping.replace(true)).unwrap_or(true);
        let dropped = self.table.dispose(ripe);
        let _ = HELPING.try_with(|helping| helping.set(nested));
        if !dropped.is_empty() {
            self.table.lock().parts().0.vacate(dropped);
        }
    }
}
