//! Looking at entries in place: a guard for many reads under one pin, and an entry with its times.

use super::Cache;
use crate::hash::RandomState;
use crate::key_value::{Key, Value};
use crate::shard::Looked;
use crate::table::{Node, Pin};
use crate::time::{Birth, Tick};
use equivalent::Equivalent;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// Many reads under one pin, which lend references instead of cloning; made by [`Cache::read_guard`].
///
/// A look-up through a guard saves the pin. Each look-up sees the cache as it is at that moment: the guard
/// is no snapshot.
///
/// # Concurrency
///
/// A look-up takes a lock only where [`Cache`](Cache#reads-and-locks) says so:
/// [`entry`](Self::entry) does each time.
///
/// While a guard is held, nothing is dropped that was removed since it was made (or since its last
/// [`refresh`](Self::refresh)), in any cache of the process. If much memory waits for it, calls on
/// other threads that store something wait too, for up to a millisecond each ([how
/// much](Cache#memory)). So if you hold a guard for long beside busy writers, refresh it now and
/// then; while the thread holds another guard too, that lets go of nothing. A guard stays on its
/// thread. That thread's own writes never wait.
///
/// ```
/// let cache = tidewheel::Cache::builder().build()?;
/// cache.insert("a", "x".to_string());
/// let guard = cache.read_guard();
/// let value: Option<&String> = guard.get("a");
/// assert_eq!(value.map(String::as_str), Some("x"));
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
pub struct ReadGuard<'c, K, V, S = RandomState> {
    pub(super) pin: Pin,
    pub(super) cache: &'c Cache<K, V, S>,
}

/// Read many times under one guard.
impl<K, V, S> Cache<K, V, S> {
    /// A guard for many reads under one pin, which lends references. See [`ReadGuard`].
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert(1, 'a');
    /// assert_eq!(cache.read_guard().get(&1), Some(&'a'));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[must_use]
    pub fn read_guard(&self) -> ReadGuard<'_, K, V, S> {
        ReadGuard { pin: Pin::new(), cache: self }
    }
}

impl<K, V, S> ReadGuard<'_, K, V, S> {
    /// Lets go of what was removed since, so that it can be dropped. References from before end
    /// with this call.
    ///
    /// # Concurrency
    ///
    /// All guards of a thread share one pin, whatever their caches, and so do the closures in which a
    /// value is looked at. While the thread holds another guard, or runs such a closure, this call does
    /// nothing: what the other one may still look at has to stay. So a thread that holds two guards
    /// for long has to drop one of them before it refreshes the other.
    ///
    /// ```
    /// let cache: tidewheel::Cache<u64, u64> = tidewheel::Cache::builder().build()?;
    /// let mut guard = cache.read_guard();
    /// for key in 0..1000 {
    ///     if key % 100 == 0 {
    ///         guard.refresh();
    ///     }
    ///     assert_eq!(guard.get(&key), None);
    /// }
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn refresh(&mut self) {
        self.pin.renew();
    }
}

impl<K, V, S> ReadGuard<'_, K, V, S>
where
    K: Key,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
    /// A key's value, lent until the guard is refreshed or dropped. It stays good that long even if the
    /// entry is removed or expires.
    ///
    /// # Complexity
    ///
    /// O(1).
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert(1, 'a');
    /// let guard = cache.read_guard();
    /// let kept = guard.get(&1);
    /// cache.invalidate(&1);
    /// assert_eq!(kept, Some(&'a'));
    /// assert_eq!(guard.get(&1), None);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.cache.used(key, &self.pin).map(Node::value)
    }

    /// The values of many keys, lent as [`get`](Self::get) lends them, in the keys' order. Faster than
    /// many calls of `get` where entries are far apart in memory; see [`Cache::get_many`].
    ///
    /// # Complexity
    ///
    /// O(keys).
    ///
    /// # Concurrency
    ///
    /// As [`Cache::get`].
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert(1, 'a');
    /// let guard = cache.read_guard();
    /// assert_eq!(guard.get_many(&[1, 2]), [Some(&'a'), None]);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn get_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Option<&V>>
    where
        Q: ?Sized + Hash + Equivalent<K> + 'q,
    {
        self.cache.used_many(&keys.into_iter().collect::<Vec<_>>(), &self.pin)
    }

    /// A key's entry with its times. Unlike [`get`](Self::get) it does not count as use: it restarts no
    /// idle time, asks no [`Expiry`](crate::Expiry), and tells neither the policy nor the statistics.
    ///
    /// # Concurrency
    ///
    /// Takes the lock of the key's shard, once, since an entry's age is in the writers' metadata.
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache = tidewheel::Cache::builder().time_to_live(Duration::from_secs(60)).build()?;
    /// cache.insert("k", 7);
    /// let guard = cache.read_guard();
    /// let entry = guard.entry("k").unwrap();
    /// assert_eq!((entry.key(), entry.value()), (&"k", &7));
    /// assert!(entry.remaining_ttl() <= Duration::from_secs(60));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn entry<Q>(&self, key: &Q) -> Option<EntryRef<'_, K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let Looked { node, now, until, times } = self.cache.look(key, &self.pin)?;
        Some(EntryRef { node, now, until, born: times.born })
    }
}

impl<K, V, S> fmt::Debug for ReadGuard<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadGuard").finish_non_exhaustive()
    }
}

/// An entry, lent by a [`ReadGuard`], with its times as they were when it was looked up.
///
/// ```
/// let cache = tidewheel::Cache::builder().build()?;
/// cache.insert("k", 7);
/// let guard = cache.read_guard();
/// assert_eq!(guard.entry("k").map(|entry| *entry.value()), Some(7));
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
pub struct EntryRef<'g, K, V> {
    node: &'g Node<K, V>,
    now: Tick,
    until: Tick,
    born: Birth,
}

impl<'g, K, V> EntryRef<'g, K, V> {
    /// The key as it is stored.
    ///
    /// ```
    /// # let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("k".to_string(), 7);
    /// assert_eq!(cache.read_guard().entry("k").unwrap().key(), "k");
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[must_use]
    pub fn key(&self) -> &'g K {
        self.node.key()
    }

    /// The value.
    ///
    /// ```
    /// # let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("k", 7);
    /// assert_eq!(cache.read_guard().entry("k").unwrap().value(), &7);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[must_use]
    pub fn value(&self) -> &'g V {
        self.node.value()
    }

    /// How long the entry would live on from the moment of the look-up, if nobody wrote or touched it;
    /// `Duration::MAX` for ever.
    ///
    /// ```
    /// # let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("k", 7);
    /// assert_eq!(cache.read_guard().entry("k").unwrap().remaining_ttl(), std::time::Duration::MAX);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[must_use]
    pub fn remaining_ttl(&self) -> Duration {
        remaining(self.until, self.now)
    }

    /// How old the entry was at the moment of the look-up: the time since it was inserted, whatever
    /// replaced its value since.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let clock = tidewheel::ManualClock::new();
    /// let cache = tidewheel::Cache::builder().clock(clock.clone()).build()?;
    /// cache.insert("k", 7);
    /// clock.advance(Duration::from_secs(3));
    /// cache.update("k", |n| n + 1);
    /// assert_eq!(cache.read_guard().entry("k").unwrap().age(), Duration::from_secs(3));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[must_use]
    pub fn age(&self) -> Duration {
        self.born.age(self.now).as_duration()
    }
}

impl<K, V> Clone for EntryRef<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for EntryRef<'_, K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for EntryRef<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryRef")
            .field("key", self.key())
            .field("value", self.value())
            .field("remaining_ttl", &self.remaining_ttl())
            .field("age", &self.age())
            .finish()
    }
}

/// The time from `now` to `until`; `Duration::MAX` if that is never.
pub(super) fn remaining(until: Tick, now: Tick) -> Duration {
    if until == Tick::NEVER { Duration::MAX } else { until.since(now).as_duration() }
}
