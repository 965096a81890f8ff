//! What an operation leaves to be done after the unlock. Knows no order in which it is done: that is the cache's business.

use crate::table::{Moment, Reclaimable, Sealed, Unlinked};
use crate::time::Tick;

/// What an operation leaves to be done after the lock is released, in this order.
#[must_use]
pub(crate) struct Deferred<K, V> {
    pub(crate) seldom: Option<Box<Seldom<K, V>>>,
    /// The listener is to be told, and then it is to be retired.
    pub(crate) removed: Option<Unlinked<K, V>>,
}

/// Of the deferred work, those that few operations leave.
pub(crate) struct Seldom<K, V> {
    /// The reaper is to come at this tick, earlier than it knew.
    pub(crate) wake: Option<Tick>,
    /// To be started. Both before any code of the user's runs: others rely on it.
    pub(crate) sealed: Option<Sealed>,
    /// The listener is to be told of these too.
    pub(crate) left: Option<Box<Left<K, V>>>,
    /// To be disposed of, after the listener was told.
    pub(crate) reclaimable: Option<Reclaimable<K, V>>,
    /// What is reclaimable anywhere is to be dropped at once, as was seen when `sealed` was started.
    pub(crate) is_heavy: bool,
    /// Last of all, if it stored something: readers hold up so much that it is to wait a moment.
    pub(crate) moment: Option<Moment>,
}

/// What did not stay, for the caller, who tells the listener.
pub(crate) struct Left<K, V> {
    /// Evicted, or expired before a writer came across them. If somebody listens.
    pub(crate) unlinked: Vec<Departing<K, V>>,
    /// Too heavy to be kept at all.
    pub(crate) refused: Option<(K, V)>,
    /// What evictions in other shards have left to do.
    pub(crate) elsewhere: Vec<Elsewhere<K, V>>,
}

/// An entry that had to go.
pub(crate) struct Departing<K, V> {
    pub(crate) node: Unlinked<K, V>,
    /// When it went. If not, it had expired before.
    pub(crate) was_alive: bool,
}

/// What is left to do in another shard, which gave up room.
pub(crate) struct Elsewhere<K, V> {
    /// The number of that shard.
    pub(crate) shard: usize,
    pub(crate) deferred: Deferred<K, V>,
}

impl<K, V> Default for Left<K, V> {
    fn default() -> Self {
        Self { unlinked: Vec::new(), refused: None, elsewhere: Vec::new() }
    }
}

impl<K, V> Deferred<K, V> {
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
