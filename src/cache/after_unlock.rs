//! What an operation leaves to be done after the unlock, and in which order.
//!
//! 1. `start`: wakes the reaper, and begins the grace periods of sealed batches.
//! 2. `notify_at_once`, `notify_of_left`: tells the listener of the removed value, then of what did
//!    not stay. After that, each value is garbage.
//! 3. `Shard::dispose`: drops what was reclaimable under the lock.
//! 4. `drop_reclaimable`: drops some of what is reclaimable in this shard and in others, if the writer
//!    has advanced for a batch's weight or age.
//! 5. `Shard::hold_back`: waits a moment, if readers hold up too much garbage.
//!
//! Others rely on the first step: a writer that finds in the ledger that the reaper is to come does
//! not wake it again. So that step waits for no listener, no destructor, and no waker of somebody
//! else's runtime. An operation that runs user code before it concludes (as one that tells waiters)
//! starts its deferred work itself.

use super::Cache;
use super::visits::VISITED;
use crate::listener::RemovalCause;
use crate::shard::{AtWork, Deferred, Departing, Elsewhere, Left, Shard};
use crate::sync::catch;
use crate::table::{Moment, Sealed, Unlinked};

/// A writer is to wait a moment for what is held up in this shard.
type Due<'c, K, V> = Option<(&'c Shard<K, V>, Moment)>;

impl<K, V, S> Cache<K, V, S> {
    /// After the unlock: what an operation left to do. Unpinned, unless the caller's own caller holds a
    /// guard, since user code runs here. `cause` is why `deferred.removed` went. What is in
    /// `deferred.seldom.left` has causes of its own. Only after `Replaced` does a writer wait for
    /// readers: whoever adds a cause decides that here.
    #[inline]
    pub(super) fn conclude(&self, shard: &Shard<K, V>, deferred: Deferred<K, V>, cause: RemovalCause) {
        if deferred.seldom.is_some() || deferred.removed.is_some() {
            self.conclude_with(shard, deferred, cause);
        }
    }

    #[inline(never)]
    fn conclude_with(&self, shard: &Shard<K, V>, deferred: Deferred<K, V>, cause: RemovalCause) {
        let due = self.conclude_at_once(shard, deferred, cause);
        // A removal does not wait: all removals together make no more garbage than there were entries.
        if let (Some((shard, moment)), RemovalCause::Replaced) = (due, cause) {
            shard.hold_back(&moment);
        }
    }

    /// The same, except for the wait. Returns the moment that the writer has to wait when all is done: one for all of its deferred work.
    fn conclude_at_once<'c>(
        &'c self,
        shard: &'c Shard<K, V>,
        mut deferred: Deferred<K, V>,
        cause: RemovalCause,
    ) -> Due<'c, K, V> {
        self.start(&mut deferred);
        let Deferred { seldom, removed } = deferred;
        let mut due = None;
        if let Some(removed) = removed {
            due = self.notify_at_once(shard, removed, cause);
        }
        let Some(seldom) = seldom else { return due };
        if let Some(left) = seldom.left {
            due = self.notify_of_left(shard, *left).or(due);
        }
        if let Some(reclaimable) = seldom.reclaimable {
            shard.dispose(reclaimable);
        }
        if seldom.drops_in_shards {
            self.drop_reclaimable(shard);
        }
        seldom.moment.map(|moment| (shard, moment)).or(due)
    }

    /// Drops some of what is reclaimable, on the thread of a writer that has just advanced.
    #[cold]
    fn drop_reclaimable(&self, own: &Shard<K, V>) {
        self.visited(own).for_each(Shard::drop_reclaimable);
    }

    /// Returns the shards that a writer visits. Of many shards, its own is the first, so that a write that
    /// comes alone drops what it has unlinked itself. What is left in others waits for the next such write,
    /// or for the reaper.
    fn visited<'c>(&'c self, own: &'c Shard<K, V>) -> impl Iterator<Item = &'c Shard<K, V>> {
        let (shards, visits) = (&self.parts().shards, &self.parts().visits);
        let own = (shards.len() > VISITED).then_some(own);
        own.into_iter().chain(&shards[visits.next(shards.len())])
    }

    /// Wakes the reaper and begins grace periods, if that has not been done yet. Runs no code of the user's, and may be called while pinned.
    #[inline]
    pub(super) fn start(&self, deferred: &mut Deferred<K, V>) {
        if deferred.seldom.is_some() {
            self.start_seldom(deferred);
        }
    }

    #[cold]
    fn start_seldom(&self, deferred: &mut Deferred<K, V>) {
        let Some(seldom) = &mut deferred.seldom else { return };
        if let Some(at) = seldom.wake.take() {
            self.inner.wake_reaper(at);
        }
        seldom.drops_in_shards |= seldom.sealed.take().is_some_and(Sealed::start);
        // Of other shards, which gave up room.
        let elsewhere = seldom.left.iter_mut().flat_map(|left| &mut left.elsewhere);
        elsewhere.for_each(|there| self.start(&mut there.deferred));
    }

    /// Tells the listener of what did not stay.
    #[cold]
    fn notify_of_left<'c>(&'c self, shard: &'c Shard<K, V>, left: Left<K, V>) -> Due<'c, K, V> {
        let Left { unlinked, declined, is_past, elsewhere } = left;
        let mut due = None;
        // The listener is told of these first, because they went first.
        for Elsewhere { shard, deferred } in elsewhere {
            let shard = &self.parts().shards[shard];
            due = self.conclude_at_once(shard, deferred, RemovalCause::Size).or(due);
        }
        let _work = AtWork::begin();
        for Departing { node, was_alive } in unlinked {
            let cause = if was_alive { RemovalCause::Size } else { RemovalCause::Expired };
            due = self.notify_at_once(shard, node, cause).or(due);
        }
        if let Some((key, value)) = declined {
            let cause = if is_past { RemovalCause::Expired } else { RemovalCause::Size };
            if let Some(listener) = &self.parts().listener {
                listener.notify(&key, &value, cause);
            }
            // Each by itself: if one destructor panics the other still runs, and the panic is not this call's.
            catch(|| drop(key));
            catch(|| drop(value));
        }
        due
    }

    /// Tells the listener of a removed value, and hands the value back to its shard.
    pub(super) fn notify(&self, shard: &Shard<K, V>, removed: Unlinked<K, V>, cause: RemovalCause) {
        let _ = self.notify_at_once(shard, removed, cause);
    }

    fn notify_at_once<'c>(
        &'c self,
        shard: &'c Shard<K, V>,
        removed: Unlinked<K, V>,
        cause: RemovalCause,
    ) -> Due<'c, K, V> {
        if let Some(listener) = &self.parts().listener {
            listener.notify(removed.node().key(), removed.node().value(), cause);
        }
        let deferred = shard.retire(removed);
        if deferred.seldom.is_none() && deferred.removed.is_none() {
            return None;
        }
        self.conclude_at_once(shard, deferred, cause)
    }
}

#[cfg(all(test, not(any(tidewheel_loom, tidewheel_shuttle))))]
mod tests {
    use super::*;
    use crate::reaper::Reaper;

    fn cache(shards: usize) -> Cache<u64, u64> {
        let builder = Cache::builder().shards(shards).reaper(Reaper::manual());
        builder.build().expect("nothing is refused")
    }

    /// Returns which shards one write after the other visits.
    fn visits(cache: &Cache<u64, u64>, own: usize) -> Vec<usize> {
        let shards = &cache.parts().shards;
        let place = |shard: &Shard<u64, u64>| shards.iter().position(|other| std::ptr::eq(other, shard));
        cache.visited(&shards[own]).filter_map(place).collect()
    }

    #[test]
    fn of_many_shards_a_write_visits_its_own_and_others_in_turn() {
        let many = cache(4 * VISITED);
        let mut visited = Vec::new();
        for write in 0..8 {
            let shards = visits(&many, 700);
            assert_eq!((shards[0], shards.len()), (700, 1 + VISITED), "write {write}");
            visited.extend_from_slice(&shards[1..]);
        }
        let twice: Vec<_> = (0..2).flat_map(|_| 0..4 * VISITED).collect();
        assert_eq!(visited, twice);
    }

    #[test]
    fn of_few_shards_a_write_visits_each_once() {
        for shards in [1, 64, VISITED] {
            let few = cache(shards);
            for _ in 0..2 {
                assert!(visits(&few, shards - 1).into_iter().eq(0..shards));
            }
        }
    }
}
