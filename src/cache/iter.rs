//! Iterators over all entries of a cache: clones, keys, what is removed, or references under a guard.
//!
//! They use only the cache's walk and its look-ups. A few keys are fetched at a time, and each entry is looked up
//! again when its turn comes. So what is yielded is alive, and is what is stored at that moment.

use super::guard::ReadGuard;
use super::handle::Cache;
use super::walk::Progress;
use crate::hash::{HashBits, RandomState};
use crate::key_value::{Key, Value};
use crate::table::{Met, Pin};
use std::fmt;
use std::hash::BuildHasher;
use std::iter::FusedIterator;

/// Keys that are about to be looked up, with their hashes.
struct Ahead<'c, K, V, S> {
    cache: &'c Cache<K, V, S>,
    progress: Progress,
    keys: Vec<(HashBits, K)>,
}

impl<'c, K, V, S> Ahead<'c, K, V, S> {
    fn new(cache: &'c Cache<K, V, S>) -> Self {
        Self { cache, progress: Progress::START, keys: Vec::new() }
    }
}

impl<K, V, S> Ahead<'_, K, V, S>
where
    K: Key + Clone,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
    fn next(&mut self) -> Option<(HashBits, K)> {
        loop {
            if let Some(next) = self.keys.pop() {
                return Some(next);
            }
            if !self.fetch() {
                return None;
            }
        }
    }

    /// Clones the keys of a few buckets; false at the end. A clone that panics leaves everything as it was.
    fn fetch(&mut self) -> bool {
        let (mut progress, mut met, pin) = (self.progress, Vec::new(), Pin::new());
        if !self.cache.walk(&mut progress, &mut met, &pin) {
            return false;
        }
        let mut keys = std::mem::take(&mut self.keys);
        keys.extend(met.iter().map(|&(hash, node)| (hash, node.key().clone())));
        (self.progress, self.keys) = (progress, keys);
        true
    }
}

/// Iterate.
impl<K, V, S> Cache<K, V, S>
where
    K: Key,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Iterates over clones of all keys and values.
    ///
    /// Each key that is present throughout is yielded exactly once, however much the cache grows
    /// and shrinks meanwhile. A key that comes or goes meanwhile may be yielded or not; one that
    /// goes and comes again may be yielded twice. A value is the one that is stored when it is
    /// yielded, and no entry is yielded that has expired by then. None of this counts as use. The
    /// order is that of hashes, so do not rely on it.
    ///
    /// Where clones of values are expensive, see [`ReadGuard::iter`](crate::ReadGuard::iter).
    ///
    /// # Complexity
    ///
    /// O(1) for each entry, and for each stretch of the table that is empty. It keeps clones of the keys of a few
    /// buckets, some forty.
    ///
    /// # Concurrency
    ///
    /// Takes no lock: it delays no writer, and no writer delays it. Between two calls of `next`
    /// nothing is pinned. So a loop that stops for an hour in between keeps no memory from being
    /// freed. The loop's body may use the cache as it likes.
    ///
    /// # Panics
    ///
    /// If a clone panics. The cache and the iterator stay intact: the iterator goes on with the
    /// next entry if it was a value's clone, and with the same bucket again if it was a key's.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("a", 1);
    /// cache.insert("b", 2);
    /// let mut all: Vec<_> = cache.iter().collect();
    /// all.sort();
    /// assert_eq!(all, [("a", 1), ("b", 2)]);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn iter(&self) -> Iter<'_, K, V, S> {
        Iter::new(self)
    }

    /// Iterates over clones of all keys, as [`iter`](Self::iter) does, without a clone of a value.
    ///
    /// # Complexity
    ///
    /// As [`iter`](Self::iter).
    ///
    /// # Concurrency
    ///
    /// As [`iter`](Self::iter).
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("a", 1);
    /// assert_eq!(cache.keys().collect::<Vec<_>>(), ["a"]);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn keys(&self) -> Keys<'_, K, V, S> {
        Keys::new(self)
    }

    /// Removes all entries one by one, and yields clones of what it removes.
    ///
    /// It removes an entry when it yields it. So an iterator that is dropped half-way leaves the
    /// rest where it is. (To remove all entries, there is
    /// [`invalidate_all`](Self::invalidate_all).) What is inserted meanwhile may stay or go. Every
    /// key that was there before is removed, by this iterator or by another call.
    ///
    /// # Complexity
    ///
    /// As [`iter`](Self::iter), and a removal for each entry.
    ///
    /// # Concurrency
    ///
    /// As [`iter`](Self::iter), and takes a lock for each removal. Of several calls that remove the
    /// same value, one gets it. The listener is told of each value before it is yielded, with the
    /// cause [`Explicit`](crate::RemovalCause::Explicit).
    ///
    /// # Panics
    ///
    /// If a value's clone panics; its entry stays.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("a", 1);
    /// assert_eq!(cache.drain().collect::<Vec<_>>(), [("a", 1)]);
    /// assert_eq!(cache.entry_count(), 0);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn drain(&self) -> Drain<'_, K, V, S> {
        Drain::new(self)
    }
}

impl<K, V, S> ReadGuard<'_, K, V, S>
where
    K: Key,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Iterates over references to all keys and values, lent as [`get`](Self::get) lends them.
    ///
    /// Each key that is present throughout is yielded exactly once, as with [`Cache::iter`]. A
    /// value is the one that is stored when it is yielded, and no entry is yielded that has expired
    /// by then. None of this counts as use.
    ///
    /// # Complexity
    ///
    /// O(1) for each entry, and for each stretch of the table that is empty. Nothing is cloned.
    ///
    /// # Concurrency
    ///
    /// Takes no lock. While the guard is held, nothing that is removed meanwhile is dropped. For a
    /// loop that takes long, use [`Cache::iter`].
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert(1, "one".to_string());
    /// cache.insert(2, "two".to_string());
    /// let guard = cache.read_guard();
    /// assert!(guard.iter().all(|(_, text)| text.len() == 3));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn iter(&self) -> GuardIter<'_, K, V, S> {
        GuardIter::new(self.cache, &self.pin)
    }
}

/// An iterator over clones of keys and values; made by [`Cache::iter`].
///
/// ```
/// let cache = tidewheel::Cache::builder().build()?;
/// cache.insert("a", 1);
/// for (key, value) in &cache {
///     assert_eq!((key, value), ("a", 1));
/// }
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[must_use = "iterators do nothing unless they are consumed"]
pub struct Iter<'c, K, V, S = RandomState>(Ahead<'c, K, V, S>);

/// An iterator over clones of keys; made by [`Cache::keys`].
///
/// ```
/// let cache = tidewheel::Cache::builder().build()?;
/// cache.insert("a", 1);
/// assert_eq!(cache.keys().next(), Some("a"));
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[must_use = "iterators do nothing unless they are consumed"]
pub struct Keys<'c, K, V, S = RandomState>(Ahead<'c, K, V, S>);

/// An iterator that removes what it yields; made by [`Cache::drain`].
///
/// ```
/// let cache = tidewheel::Cache::builder().build()?;
/// (0..10).for_each(|n| cache.insert(n, ()));
/// let taken = cache.drain().take(3).count();
/// assert_eq!((taken, cache.entry_count()), (3, 7));
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[must_use = "iterators do nothing unless they are consumed"]
pub struct Drain<'c, K, V, S = RandomState>(Ahead<'c, K, V, S>);

/// An iterator over references to keys and values; made by [`ReadGuard::iter`].
///
/// ```
/// let cache = tidewheel::Cache::builder().build()?;
/// cache.insert("a", "long text".to_string());
/// let guard = cache.read_guard();
/// assert_eq!(guard.iter().map(|(_, text)| text.len()).sum::<usize>(), 9);
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[must_use = "iterators do nothing unless they are consumed"]
pub struct GuardIter<'g, K, V, S = RandomState> {
    cache: &'g Cache<K, V, S>,
    pin: &'g Pin,
    progress: Progress,
    met: Vec<Met<'g, K, V>>,
}

impl<'c, K, V, S> Iter<'c, K, V, S> {
    fn new(cache: &'c Cache<K, V, S>) -> Self {
        Self(Ahead::new(cache))
    }
}

impl<'c, K, V, S> Keys<'c, K, V, S> {
    fn new(cache: &'c Cache<K, V, S>) -> Self {
        Self(Ahead::new(cache))
    }
}

impl<'c, K, V, S> Drain<'c, K, V, S> {
    fn new(cache: &'c Cache<K, V, S>) -> Self {
        Self(Ahead::new(cache))
    }
}

impl<'g, K, V, S> GuardIter<'g, K, V, S> {
    fn new(cache: &'g Cache<K, V, S>, pin: &'g Pin) -> Self {
        Self { cache, pin, progress: Progress::START, met: Vec::new() }
    }
}

impl<K, V, S> Iterator for Iter<'_, K, V, S>
where
    K: Key + Clone,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        loop {
            let (hash, key) = self.0.next()?;
            let pin = Pin::new();
            if let Some(node) = self.0.cache.visible_now(hash, &key, &pin) {
                let value = node.value().clone();
                return Some((key, value));
            }
        }
    }
}

impl<K, V, S> Iterator for Keys<'_, K, V, S>
where
    K: Key + Clone,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
    type Item = K;

    fn next(&mut self) -> Option<K> {
        loop {
            let (hash, key) = self.0.next()?;
            if self.0.cache.visible_now(hash, &key, &Pin::new()).is_some() {
                return Some(key);
            }
        }
    }
}

impl<K, V, S> Iterator for Drain<'_, K, V, S>
where
    K: Key + Clone,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        loop {
            let (_, key) = self.0.next()?;
            if let Some(value) = self.0.cache.remove(&key) {
                return Some((key, value));
            }
        }
    }
}

impl<'g, K, V, S> Iterator for GuardIter<'g, K, V, S>
where
    K: Key,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
    type Item = (&'g K, &'g V);

    fn next(&mut self) -> Option<(&'g K, &'g V)> {
        loop {
            while let Some((hash, node)) = self.met.pop() {
                if let Some(node) = self.cache.visible_from(hash, node, self.pin) {
                    return Some((node.key(), node.value()));
                }
            }
            // A hash that panics leaves the bucket to be walked again, and nothing of it here.
            let (mut progress, mut met) = (self.progress, std::mem::take(&mut self.met));
            if !self.cache.walk(&mut progress, &mut met, self.pin) {
                return None;
            }
            (self.progress, self.met) = (progress, met);
        }
    }
}

impl<K, V, S> FusedIterator for Iter<'_, K, V, S> where Self: Iterator {}
impl<K, V, S> FusedIterator for Keys<'_, K, V, S> where Self: Iterator {}
impl<K, V, S> FusedIterator for Drain<'_, K, V, S> where Self: Iterator {}
impl<K, V, S> FusedIterator for GuardIter<'_, K, V, S> where Self: Iterator {}

impl<'c, K, V, S> IntoIterator for &'c Cache<K, V, S>
where
    K: Key + Clone,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    type Item = (K, V);
    type IntoIter = Iter<'c, K, V, S>;

    fn into_iter(self) -> Iter<'c, K, V, S> {
        self.iter()
    }
}

impl<'g, K, V, S> IntoIterator for &'g ReadGuard<'_, K, V, S>
where
    K: Key,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
    type Item = (&'g K, &'g V);
    type IntoIter = GuardIter<'g, K, V, S>;

    fn into_iter(self) -> GuardIter<'g, K, V, S> {
        self.iter()
    }
}

impl<K, V, S> fmt::Debug for Iter<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").finish_non_exhaustive()
    }
}

impl<K, V, S> fmt::Debug for Keys<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl<K, V, S> fmt::Debug for Drain<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").finish_non_exhaustive()
    }
}

impl<K, V, S> fmt::Debug for GuardIter<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardIter").finish_non_exhaustive()
    }
}
