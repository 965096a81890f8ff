//! Entries whose end their caller says, in a cache with an `Expiry` or without: what it says counts as if the `Expiry` had said it.

use super::Cache;
use super::handle::Place;
use crate::key_value::{Key, Value};
use crate::listener::RemovalCause;
use crate::shard::{Lasting, Lifespan, Lookup, NewEntry, Ruled, Ruling};
use crate::table::Pin;
use crate::time::Span;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

impl<K, V, S> Cache<K, V, S>
where
    K: Key,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
    /// As [`try_insert`](Self::try_insert), with two times that may be given: the entry's own time to live, and an end that neither a
    /// touch nor an update moves. Only a cache with an `Expiry` keeps such an end.
    pub(crate) fn try_insert_until(
        &self,
        key: K,
        value: V,
        ttl: Option<Duration>,
        end: Option<Duration>,
    ) -> Result<(), (K, V)> {
        let Place { hash, shard } = self.locate(&key);
        let parts = self.parts();
        let lasting = Lasting::New(ttl.map_or(parts.config.ttl, Span::from_duration));
        let ruling = end.map_or(Ruling::NONE, |end| Ruling::After(Span::from_duration(end)));
        let weight = self.weigh(&key, &value);
        let mut offered = Some((key, value));
        let lifespan = Lifespan { lasting, ruling };
        let new = NewEntry { hash, entry: &mut offered, weight, lifespan };
        if let Some(deferred) = shard.try_insert(self, new) {
            self.conclude(shard, deferred, RemovalCause::Replaced);
        }
        offered.map_or(Ok(()), Err)
    }

    /// Gives a live entry another end, counted from now on, in a cache with an `Expiry`. It does not
    /// count as a use of the entry. False if there is none.
    pub(crate) fn set_end<Q>(&self, key: &Q, end: Duration) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let Place { hash, shard } = self.locate(key);
        let at = Lookup::new(hash, key);
        loop {
            let pin = Pin::new();
            let Some(node) = shard.visible::<false, Q>(at, &pin) else { return false };
            let end = self.parts().clock.now().after(Span::from_duration(end));
            if let Ruled::Done(wake) = shard.set_end(at, node, end) {
                if let Some(at) = wake {
                    self.inner.wake_reaper(at);
                }
                return true;
            }
        }
    }
}
