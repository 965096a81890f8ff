//! A value that is ready, for a key that may have one: there is no closure to run, and so no turn to take.

use crate::cache::expiry::created;
use crate::cache::handle::Place;
use crate::cache::{Cache, Parts};
use crate::key_value::{Key, Value};
use crate::life::Life;
use crate::listener::RemovalCause;
use crate::shard::{Expected, Lifespan, NewEntry, Ruling};
use std::hash::BuildHasher;

impl<K, V, S> Cache<K, V, S>
where
    K: Key,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Stores a clone of a value if the key has no live entry, and no call has its turn. Returns whether the value is kept: it
    /// may be too heavy. Returns `None`, and does nothing, if another value has come or is about to.
    pub(crate) fn store_ready(&self, key: K, value: &V, life: Life) -> Option<bool> {
        let Place { hash, shard } = self.locate(&key);
        let Parts { config, expiry, .. } = self.parts();
        let ruling = expiry.as_deref().map_or(Ruling::NONE, |expiry| created(expiry, &key, value));
        let weight = self.weigh(&key, value);
        let mut offered = Some((key, value.clone()));
        let lifespan = Lifespan { lasting: life.of_insert(config.ttl), ruling };
        let new = NewEntry { hash, entry: &mut offered, weight, lifespan };
        let stored = shard.insert_if(self, new, &Expected::Untaken);
        let is_kept = stored.as_ref().ok().map(|deferred| !deferred.has_refused());
        let (Ok(deferred) | Err(deferred)) = stored;
        self.conclude(shard, deferred, RemovalCause::Replaced);
        is_kept
    }
}
