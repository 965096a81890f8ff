//! Evictions that are told of once a turn is over.
//!
//! A load or a computation that stores something heavy may make others give up room first, and then
//! store nothing after all: the key has changed, or user code panics. The listener and destructors
//! may ask for the key of that call. So the call keeps these evictions until its turn is over.

use super::Cache;
use crate::policy::Account;
use crate::shard::{Around, Deferred, Elsewhere, Held, Shard};
use std::cell::Cell;

/// The deferred work of such evictions, which is done when this is dropped. A call declares it
/// before its turn, so that the turn is given back first, even if user code panics or a future is
/// dropped.
pub(super) struct Later<'c, K, V, S> {
    cache: &'c Cache<K, V, S>,
    evicted: Cell<Vec<Elsewhere<K, V>>>,
}

impl<'c, K, V, S> Later<'c, K, V, S> {
    #[inline]
    pub(super) fn new(cache: &'c Cache<K, V, S>) -> Self {
        Self { cache, evicted: Cell::new(Vec::new()) }
    }

    /// Keeps what an operation on a shard has left to do and the cache has started.
    pub(super) fn keep(&self, shard: &Shard<K, V>, deferred: Deferred<K, V>) {
        if deferred.seldom.is_some() || deferred.removed.is_some() {
            Around::conclude(self, vec![shard.elsewhere(deferred)]);
        }
    }

    /// Does what was kept, for a call whose turn is over.
    #[inline]
    pub(super) fn conclude_now(&self) {
        let evicted = self.evicted.take();
        if !evicted.is_empty() {
            Around::conclude(self.cache, evicted);
        }
    }
}

impl<K, V, S> Around<K, V> for Later<'_, K, V, S> {
    fn account(&self) -> Option<&Account> {
        self.cache.account()
    }

    fn start(&self, evicted: &mut Deferred<K, V>) {
        self.cache.start(evicted);
    }

    fn raise(&self, credit: &mut Held<'_, K, V>) {
        self.cache.raise(credit);
    }

    fn conclude(&self, evicted: Vec<Elsewhere<K, V>>) {
        let mut all = self.evicted.take();
        all.extend(evicted);
        self.evicted.set(all);
    }
}

impl<K, V, S> Drop for Later<'_, K, V, S> {
    #[inline]
    fn drop(&mut self) {
        self.conclude_now();
    }
}
