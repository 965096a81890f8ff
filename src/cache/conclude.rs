//! What an operation leaves to be done after the unlock, and in which order: see `cache.rs`.

use super::Cache;
use crate::listener::RemovalCause;
use crate::shard::{Chores, Left, Seldom, Shard};
use crate::sync::catch;
use crate::table::{Ripe, Sealed, Unlinked};

/// What comes after the listener was told of what was replaced or removed, and whether what is ripe is to be dropped at once.
type After<K, V> = (Option<Box<Left<K, V>>>, Option<Ripe<K, V>>, bool);

impl<K, V, S> Cache<K, V, S> {
    /// After the unlock: what an operation left to do. Unpinned, unless the caller's own caller holds a
    /// guard, since user code runs here.
    #[inline]
    pub(super) fn conclude(&self, shard: &Shard<K, V>, chores: Chores<K, V>, cause: RemovalCause) {
        if chores.seldom.is_some() || chores.removed.is_some() {
            self.conclude_with(shard, chores, cause);
        }
    }

    #[inline(never)]
    fn conclude_with(&self, shard: &Shard<K, V>, chores: Chores<K, V>, cause: RemovalCause) {
        let Chores { seldom, removed } = chores;
        let (left, ripe, heavy) = seldom.map_or((None, None, false), |seldom| self.start(*seldom));
        if let Some(removed) = removed {
            self.tell(shard, removed, cause);
        }
        if let Some(left) = left {
            self.tell_of_left(shard, *left);
        }
        if let Some(ripe) = ripe {
            shard.dispose(ripe);
        }
        if heavy {
            self.help();
        }
    }

    /// Drops what is ripe, on a writer's thread that has just pushed.
    #[cold]
    pub(super) fn help(&self) {
        self.parts().shards.iter().for_each(Shard::help);
    }

    /// What comes before the listener is told. What comes after is handed back.
    #[cold]
    pub(super) fn start(&self, mut seldom: Seldom<K, V>) -> After<K, V> {
        let elsewhere = seldom.left.iter_mut().flat_map(|left| &mut left.elsewhere);
        let heavy = elsewhere.fold(false, |heavy, (_, chores)| self.start_early(chores) | heavy);
        if let (Some(at), Some(registration)) = (seldom.wake, self.inner.registration.get()) {
            registration.wake(at);
        }
        let heavy = seldom.sealed.is_some_and(Sealed::start) | heavy;
        (seldom.left, seldom.ripe, heavy)
    }

    /// Starts what others rely on, where the rest has to wait: the reaper is woken, and debris begins to ripen.
    #[cold]
    pub(super) fn start_early(&self, chores: &mut Chores<K, V>) -> bool {
        let Some(seldom) = &mut chores.seldom else { return false };
        let (wake, sealed) = (seldom.wake.take(), seldom.sealed.take());
        let (.., heavy) = self.start(Seldom { wake, sealed, left: None, ripe: None });
        heavy
    }

    /// Tells the listener of what did not stay.
    #[cold]
    fn tell_of_left(&self, shard: &Shard<K, V>, left: Left<K, V>) {
        let Left { evicted, refused, elsewhere } = left;
        // Those went first.
        for (number, chores) in elsewhere {
            self.conclude(&self.parts().shards[number], chores, RemovalCause::Size);
        }
        for (old, was_alive) in evicted {
            let cause = if was_alive { RemovalCause::Size } else { RemovalCause::Expired };
            self.tell(shard, old, cause);
        }
        if let Some((key, value)) = refused {
            if let Some(listener) = &self.parts().listener {
                listener.tell(&key, &value, RemovalCause::Size);
            }
            // Each by itself: if one destructor panics the other still runs, and the panic is not this call's.
            catch(|| drop(key));
            catch(|| drop(value));
        }
    }

    /// Tells the listener of a removed value, and hands the value back to its shard.
    pub(super) fn tell(&self, shard: &Shard<K, V>, removed: Unlinked<K, V>, cause: RemovalCause) {
        if let Some(listener) = &self.parts().listener {
            listener.tell(removed.node().key(), removed.node().value(), cause);
        }
        self.conclude(shard, shard.retire(&self.parts().terms, removed), cause);
    }
}
