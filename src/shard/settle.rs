//! The end of an operation under the lock: its last step determines the deferred work.

use super::Shard;
use super::deadline::boundary;
use super::deferred::{Deferred, Seldom};
use super::txn::Txn;
use crate::policy::Policy;
use crate::sync::thread_local;
use crate::table::{BATCHES_AT_A_SEAL, Reclaimable, Unlinked};
use crate::time::{SECOND, Tick};
use std::cell::Cell;

thread_local! {
    /// Whether this thread is dropping reclaimable values. Their destructors may use the cache, but
    /// do not drop further values from within: that could recurse without end.
    static DROPPING: Cell<bool> = const { Cell::new(false) };
}

pub(super) fn is_dropping() -> bool {
    DROPPING.try_with(Cell::get).unwrap_or(true)
}

impl<K, V> Txn<'_, '_, K, V> {
    /// Ends a writer's operation under the lock. Seals full batches, takes reclaimable garbage, and
    /// makes sure that the reaper comes in time (S3) or does some of its work. `deadline` is the
    /// deadline of the written entry, if any. `removed` is the node of which the listener is told
    /// first.
    #[inline]
    pub(super) fn settle(&mut self, deadline: Tick, removed: Option<Unlinked<K, V>>) -> Deferred<K, V> {
        self.settle_inline::<true>(deadline, removed)
    }

    /// Ends an operation that stored nothing.
    #[inline]
    pub(super) fn settle_up(&mut self) -> Deferred<K, V> {
        self.settle(Tick::NEVER, None)
    }

    /// Ends an operation that stored nothing, without doing work that the reaper is late with.
    pub(super) fn settle_alone(&mut self) -> Deferred<K, V> {
        self.settle_inline::<false>(Tick::NEVER, None)
    }

    /// `HELPS` says whether this operation does some of the work with which the reaper is late.
    #[inline(always)]
    fn settle_inline<const HELPS: bool>(
        &mut self,
        deadline: Tick,
        removed: Option<Unlinked<K, V>>,
    ) -> Deferred<K, V> {
        let (now, ledger) = (self.now(), &mut *self.ledger);
        let deadline = ledger.first_due(deadline);
        // This is the result of `settle_further` without a division. `due` is the start of a
        // second, or past, or `NEVER`.
        let by_next_second = ledger.due.as_nanos() <= now.as_nanos() + SECOND;
        let by_deadline = ledger.due.as_nanos() < deadline.as_nanos() + SECOND;
        let in_time = by_next_second || by_deadline && !self.table.has_garbage();
        let helps = HELPS && ledger.is_neglected(now);
        if !helps && in_time && !self.table.is_at_stop(now) && ledger.left.is_none() {
            self.publish_size();
            return Deferred { seldom: None, removed };
        }
        Deferred { seldom: self.settle_further::<HELPS>(deadline), removed }
    }

    #[cold]
    #[inline(never)]
    fn settle_further<const HELPS: bool>(&mut self, deadline: Tick) -> Option<Box<Seldom<K, V>>> {
        let now = self.now();
        if HELPS && self.ledger.is_neglected(now) {
            self.help_reaper();
        }
        let Self { table, ledger, .. } = self;
        let weight = ledger.policy.as_ref().map_or(0, Policy::weight);
        let (sealed, moment) = table.stop(now, weight);
        let reclaimable = (sealed.is_some() && !is_dropping())
            .then(|| table.take_reclaimable(Some(BATCHES_AT_A_SEAL)))
            .filter(|reclaimable| !reclaimable.is_empty());
        let soon = Tick::start_of(now.second() + 1);
        let mut need = boundary(deadline).max(soon);
        if table.has_garbage() {
            need = soon;
        }
        let wake = ledger.require_reaper_by(need);
        let left = ledger.left.take();
        self.publish();
        (wake.is_some() || sealed.is_some() || left.is_some() || reclaimable.is_some() || moment.is_some())
            .then(|| Box::new(Seldom { wake, sealed, left, reclaimable, drops_in_shards: false, moment }))
    }

    /// Publishes the state of the ledger in the gauges. This is the last step under the lock.
    pub(super) fn publish(&mut self) {
        let gauges = &self.shard.gauges;
        gauges.set_due(self.ledger.due.min(self.ledger.inherited));
        gauges.set_waiting(self.table.has_sealed_garbage());
        self.publish_size();
    }

    #[inline]
    fn publish_size(&mut self) {
        let gauges = &self.shard.gauges;
        gauges.set_len(self.table.len());
        if let Some(policy) = &mut self.ledger.policy {
            policy.give_back();
            gauges.set_weight(policy.weight());
        }
    }
}

impl<K, V> Shard<K, V> {
    /// Drops reclaimable values, and frees their memory for the next inserts.
    pub(crate) fn dispose(&self, reclaimable: Reclaimable<K, V>) {
        if reclaimable.is_empty() {
            return;
        }
        let nested = DROPPING.try_with(|dropping| dropping.replace(true)).unwrap_or(true);
        let dropped = self.table.dispose(reclaimable);
        let _ = DROPPING.try_with(|dropping| dropping.set(nested));
        if !dropped.is_empty() {
            self.table.lock().parts().0.vacate(dropped);
        }
    }
}
