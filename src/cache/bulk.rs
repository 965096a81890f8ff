//! Many keys in one call. Each is treated as by a call of its own, but memory is fetched, and locks are taken, for many
//! of them together.
//!
//! Knows in which order shards and keys are taken; knows nothing of what is prefetched ahead.

use super::Cache;
use crate::hash::HashBits;
use crate::key_value::{Key, Value};
use crate::listener::RemovalCause;
use crate::shard::{Deferred, OnUse, PendingInsert, Shard};
use crate::table::{Node, Pin, Route};
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};

/// Keys whose buckets and nodes are prefetched together.
const TOGETHER: usize = 64;
/// Entries of one shard that are stored together.
const GROUP: usize = 64;

/// Many keys at once.
impl<K, V, S> Cache<K, V, S>
where
    K: Key,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Clones of the values of many keys, in the keys' order. Each counts as use, as with [`get`](Self::get).
    ///
    /// Where entries are far apart in memory, this is several times as fast as many calls of `get`,
    /// since they are prefetched together.
    ///
    /// # Complexity
    ///
    /// O(keys).
    ///
    /// # Concurrency
    ///
    /// As [`get`](Self::get). Each key is looked up by itself, so what others write meanwhile may
    /// be seen for some keys and not for others. `V::clone` runs while this thread's epoch is
    /// pinned, for up to 64 keys at a time.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("a", 1);
    /// cache.insert("b", 2);
    /// assert_eq!(cache.get_many(["a", "c", "b"]), [Some(1), None, Some(2)]);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn get_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Option<V>>
    where
        Q: ?Sized + Hash + Equivalent<K> + 'q,
        V: Clone,
    {
        // The iterator is user code, and may take its time: nothing is pinned yet.
        let keys: Vec<&Q> = keys.into_iter().collect();
        let mut values = Vec::with_capacity(keys.len());
        let mut pin = Pin::new();
        for some in keys.chunks(TOGETHER) {
            self.used_together(some, &pin, |node| values.push(node.map(|node| node.value().clone())));
            pin.renew();
        }
        values
    }

    /// The values of many keys, under the caller's pin.
    pub(crate) fn used_many<'g, Q>(&'g self, keys: &[&Q], pin: &'g Pin) -> Vec<Option<&'g V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let mut values = Vec::with_capacity(keys.len());
        for some in keys.chunks(TOGETHER) {
            self.used_together(some, pin, |node| values.push(node.map(Node::value)));
        }
        values
    }

    /// Looks up to `TOGETHER` keys up, and tells `each` in their order.
    fn used_together<'g, Q>(&'g self, keys: &[&Q], pin: &'g Pin, mut each: impl FnMut(Option<&'g Node<K, V>>))
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let places: [Option<(HashBits, &Route<K, V>)>; TOGETHER] = std::array::from_fn(|at| {
            let (hash, route) = self.seek(*keys.get(at)?);
            route.prefetch_bucket(hash);
            Some((hash, route))
        });
        for (hash, route) in places.iter().flatten() {
            route.prefetch_first(*hash, pin);
        }
        for (&key, (hash, route)) in keys.iter().zip(places.into_iter().flatten()) {
            each(match self.parts().on_use {
                OnUse::More => self.used_and_noted(key, pin),
                OnUse::CountHit => self.visible_at(hash, route, key, true, pin),
                OnUse::Nothing => self.visible_at(hash, route, key, false, pin),
            });
        }
    }

    /// Stores many entries, each as [`insert`](Self::insert) does. Of equal keys the last one counts.
    ///
    /// Where there are more entries than shards, it takes the lock of a shard once for up to 64 of them. So it
    /// is faster than single inserts, most of all where the cache grows.
    ///
    /// # Complexity
    ///
    /// O(entries). It keeps up to 64 entries for each shard until it stores them. When it returns,
    /// all are stored.
    ///
    /// # Concurrency
    ///
    /// Not atomic: others see some entries before others, and not in the order of the iterator. The iterator, the hasher,
    /// the weigher and the listener run outside every lock. Where the cache has an [`Expiry`](crate::Expiry), entries
    /// are stored one by one.
    ///
    /// # Panics
    ///
    /// As `insert`, and if the iterator does. Then some of what was yielded before may not be stored.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert_many((0..1000).map(|n| (n, n * n)));
    /// assert_eq!(cache.entry_count(), 1000);
    /// assert_eq!(cache.get(&30), Some(900));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn insert_many(&self, entries: impl IntoIterator<Item = (K, V)>) {
        let parts = self.parts();
        if parts.expiry.is_some() {
            return entries.into_iter().for_each(|(key, value)| self.insert(key, value));
        }
        let mut entries = entries.into_iter();
        if entries.size_hint().0 <= parts.shards.len() {
            // Of so few entries, hardly two are for one shard.
            for _ in 0..=parts.shards.len() {
                let Some((key, value)) = entries.next() else { return };
                self.insert(key, value);
            }
        }
        let mask = parts.shards.len() - 1;
        let mut groups: Vec<Vec<PendingInsert<K, V>>> = parts.shards.iter().map(|_| Vec::new()).collect();
        for entry in entries {
            let hash = HashBits::of(&parts.hasher, &entry.0);
            let weight = self.weigh(&entry.0, &entry.1);
            let group = &mut groups[hash.shard(mask)];
            group.push(PendingInsert { hash, entry, weight });
            if group.len() == GROUP {
                self.insert_group(&parts.shards[hash.shard(mask)], group);
            }
        }
        for (shard, group) in parts.shards.iter().zip(&mut groups) {
            self.insert_group(shard, group);
        }
    }

    /// Stores what waits for a shard.
    fn insert_group(&self, shard: &Shard<K, V>, group: &mut Vec<PendingInsert<K, V>>) {
        // It is taken from the end.
        group.reverse();
        let mut are_prefetched = false;
        while !group.is_empty() {
            let mut owed = Owed { cache: self, shard, deferred: Vec::new() };
            shard.insert_some(self, group, &mut owed.deferred, are_prefetched);
            are_prefetched = true;
        }
    }
}

/// What is left to do after some inserts; done also if an `Eq` among them panicked.
pub(super) struct Owed<'c, K, V, S> {
    pub(super) cache: &'c Cache<K, V, S>,
    pub(super) shard: &'c Shard<K, V>,
    pub(super) deferred: Vec<Deferred<K, V>>,
}

impl<K, V, S> Drop for Owed<'_, K, V, S> {
    fn drop(&mut self) {
        // The last of them may have to wake the reaper, and the first has a listener to be told.
        self.deferred.iter_mut().for_each(|deferred| self.cache.start(deferred));
        for deferred in self.deferred.drain(..) {
            self.cache.conclude(self.shard, deferred, RemovalCause::Replaced);
        }
    }
}

/// As [`Cache::insert_many`]. (There is no `FromIterator`: how much a cache may hold, and for how long, has to be said
/// when it is built, and building one can fail.)
///
/// ```
/// let mut cache = tidewheel::Cache::new(100);
/// cache.extend([("a", 1), ("b", 2)]);
/// assert_eq!(cache.entry_count(), 2);
/// ```
impl<K, V, S> Extend<(K, V)> for Cache<K, V, S>
where
    K: Key,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        self.insert_many(entries);
    }
}

/// As [`Cache::insert_many`], through a reference, which is as good as the cache itself.
impl<K, V, S> Extend<(K, V)> for &Cache<K, V, S>
where
    K: Key,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        self.insert_many(entries);
    }
}
