//! The work that an operation leaves to be done after the unlock. Its order is up to the cache
//! (`cache/after_unlock.rs`).

use crate::table::{Moment, Reclaimable, Sealed, Unlinked};
use crate::time::Tick;

/// The deferred work of one operation.
#[must_use]
pub(crate) struct Deferred<K, V> {
    pub(crate) seldom: Option<Box<Seldom<K, V>>>,
    /// A node of which the listener is told. Then the node is retired.
    pub(crate) removed: Option<Unlinked<K, V>>,
}

/// The parts of the deferred work that few operations have.
pub(crate) struct Seldom<K, V> {
    /// The reaper has to come at this tick, earlier than it expected.
    pub(crate) wake: Option<Tick>,
    /// A sealed batch whose grace period has to be started. Waking the reaper and this step both
    /// come before any user code: other threads rely on them.
    pub(crate) sealed: Option<Sealed>,
    /// Further entries of which the listener is told.
    pub(crate) left: Option<Box<Left<K, V>>>,
    /// Garbage to be dropped after the listener was told.
    pub(crate) reclaimable: Option<Reclaimable<K, V>>,
    /// Whether the operation drops some of what is reclaimable in its shard and in others. It does if it
    /// has sealed a batch for its weight, or has advanced because of a batch's age. That is known once
    /// `sealed` is started.
    pub(crate) drops_in_shards: bool,
    /// How long an operation that stored something waits, as its last step, because readers hold up
    /// too much garbage.
    pub(crate) moment: Option<Moment>,
}

/// Entries that were not kept, for the caller, who tells the listener.
pub(crate) struct Left<K, V> {
    /// Entries that were evicted, or that had expired before a writer found them. Filled if there
    /// is a listener.
    pub(crate) unlinked: Vec<Departing<K, V>>,
    /// An entry that was not stored.
    pub(crate) declined: Option<(K, V)>,
    /// Whether that entry was over from the start. Otherwise it was too heavy.
    pub(crate) is_past: bool,
    /// The deferred work of evictions in other shards.
    pub(crate) elsewhere: Vec<Elsewhere<K, V>>,
}

/// An entry that was evicted or found expired.
pub(crate) struct Departing<K, V> {
    pub(crate) node: Unlinked<K, V>,
    /// Whether the entry was alive when it was removed. Otherwise it had expired before.
    pub(crate) was_alive: bool,
}

/// The deferred work in another shard that gave up room.
pub(crate) struct Elsewhere<K, V> {
    /// The number of that shard.
    pub(crate) shard: usize,
    pub(crate) deferred: Deferred<K, V>,
}

impl<K, V> Default for Left<K, V> {
    fn default() -> Self {
        Self { unlinked: Vec::new(), declined: None, is_past: false, elsewhere: Vec::new() }
    }
}

impl<K, V> Deferred<K, V> {
    /// Returns whether the entry was too heavy to be stored.
    pub(crate) fn has_refused(&self) -> bool {
        let left = self.seldom.as_ref().and_then(|seldom| seldom.left.as_ref());
        left.is_some_and(|left| left.declined.is_some() && !left.is_past)
    }

    /// Returns the deferred work of an operation that made other shards evict and stored nothing.
    pub(super) fn of_elsewhere(elsewhere: Vec<Elsewhere<K, V>>) -> Self {
        let left = Some(Box::new(Left { elsewhere, ..Left::default() }));
        let (wake, sealed, reclaimable, moment) = (None, None, None, None);
        let seldom = Seldom { wake, sealed, left, reclaimable, drops_in_shards: false, moment };
        Self { seldom: Some(Box::new(seldom)), removed: None }
    }

    /// Returns the deferred work of an operation that changed nothing.
    pub(crate) fn none() -> Self {
        Self { seldom: None, removed: None }
    }
}
