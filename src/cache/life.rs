//! Writes that say what becomes of the time to live, and writes that give something back.

use super::Cache;
use super::handle::Place;
use crate::hash::RandomState;
use crate::key_value::{Key, Value};
use crate::life::Life;
use crate::listener::RemovalCause;
use equivalent::Equivalent;
use std::fmt;
use std::hash::{BuildHasher, Hash};

/// A cache whose writes treat the time to live as a [`Life`] says. Made by [`Cache::with_life`].
///
/// In everything else these writes are as the cache's own. For computations and loads there is
/// [`EntrySelector::with_life`](crate::EntrySelector::with_life). A [`rename`](Cache::rename) has no
/// such form.
///
/// ```
/// use std::time::Duration;
/// use tidewheel::{Cache, Life, ManualClock};
///
/// let clock = ManualClock::new();
/// let codes = Cache::builder().time_to_live(Duration::from_secs(600)).clock(clock.clone()).build()?;
/// codes.insert("ann", ("4711", 0));
/// clock.advance(Duration::from_secs(200));
/// // However often it is tried, the code ends when it would have ended.
/// codes.with_life(Life::Keep).update("ann", |(code, tries)| (*code, tries + 1));
/// assert_eq!(codes.remaining_ttl("ann"), Some(Duration::from_secs(400)));
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[must_use = "to say how long entries live does nothing yet"]
pub struct WithLife<'c, K, V, S = RandomState> {
    cache: &'c Cache<K, V, S>,
    life: Life,
}

/// Write, and choose what becomes of the time to live.
impl<K, V, S> Cache<K, V, S> {
    /// Returns the cache with writes that treat the time to live as `life` says. See [`WithLife`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{Cache, Life, ManualClock};
    ///
    /// let cache = Cache::builder().clock(ManualClock::new()).build()?;
    /// let short = cache.with_life(Life::Ttl(Duration::from_secs(5)));
    /// assert!(short.try_insert("k", 1).is_ok());
    /// assert_eq!(cache.remaining_ttl("k"), Some(Duration::from_secs(5)));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub const fn with_life(&self, life: Life) -> WithLife<'_, K, V, S> {
        WithLife { cache: self, life }
    }
}

impl<K, V, S> WithLife<'_, K, V, S>
where
    K: Key,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
    /// As [`Cache::insert`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{Cache, Life, ManualClock};
    /// let cache = Cache::builder().clock(ManualClock::new()).build()?;
    /// cache.insert_with_ttl("k", 1, Duration::from_secs(5));
    /// cache.with_life(Life::Keep).insert("k", 2);
    /// assert_eq!(cache.remaining_ttl("k"), Some(Duration::from_secs(5)));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn insert(&self, key: K, value: V) {
        let lasting = self.life.of_insert(self.cache.parts().config.ttl);
        self.cache.store(self.cache.locate(&key), &mut Some((key, value)), lasting);
    }

    /// As [`Cache::insert_many`]; entries are stored one by one.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{Cache, Life, ManualClock};
    /// let cache = Cache::builder().clock(ManualClock::new()).build()?;
    /// cache.with_life(Life::Ttl(Duration::from_secs(5))).insert_many([("a", 1), ("b", 2)]);
    /// assert_eq!(cache.remaining_ttl("b"), Some(Duration::from_secs(5)));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn insert_many(&self, entries: impl IntoIterator<Item = (K, V)>) {
        entries.into_iter().for_each(|(key, value)| self.insert(key, value));
    }

    /// As [`Cache::try_insert`]: where it stores, there is no live entry, so that [`Life::Keep`] has nothing to keep.
    ///
    /// # Errors
    ///
    /// Hands key and value back if there is a live entry.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{Cache, Life, ManualClock};
    /// let cache = Cache::builder().clock(ManualClock::new()).build()?;
    /// let lock = cache.with_life(Life::Ttl(Duration::from_secs(30)));
    /// assert!(lock.try_insert("job", "worker 1").is_ok());
    /// assert!(lock.try_insert("job", "worker 2").is_err());
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn try_insert(&self, key: K, value: V) -> Result<(), (K, V)> {
        self.cache.try_store(key, value, self.life.of_insert(self.cache.parts().config.ttl))
    }

    /// As [`Cache::replace`].
    ///
    /// # Errors
    ///
    /// Hands the value back if there is no live entry.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{Cache, Life, ManualClock};
    /// let cache = Cache::builder().clock(ManualClock::new()).build()?;
    /// cache.insert("k", 1);
    /// assert_eq!(cache.with_life(Life::Ttl(Duration::from_secs(5))).replace("k", 2), Ok(()));
    /// assert_eq!(cache.remaining_ttl("k"), Some(Duration::from_secs(5)));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn replace<Q>(&self, key: &Q, value: V) -> Result<(), V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        K: Clone,
    {
        self.cache.replace_lasting(key, value, self.life)
    }

    /// As [`Cache::update`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{Cache, Life, ManualClock};
    /// let cache = Cache::builder().clock(ManualClock::new()).build()?;
    /// cache.insert_with_ttl("k", 1, Duration::from_secs(5));
    /// assert!(cache.with_life(Life::Endless).update("k", |n| n + 1));
    /// assert_eq!(cache.remaining_ttl("k"), Some(Duration::MAX));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn update<Q>(&self, key: &Q, mut compute: impl FnMut(&V) -> V) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
        K: Clone,
    {
        self.cache.update_lasting(key, |old| Some((compute(old), ())), self.life).is_some()
    }

    /// As [`Cache::update_with`].
    ///
    /// ```
    /// use tidewheel::{Cache, Life};
    /// let cache = Cache::builder().build()?;
    /// cache.insert("k", 1);
    /// assert_eq!(cache.with_life(Life::Keep).update_with("k", |n| (n + 1, *n)), Some(1));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn update_with<Q, R>(&self, key: &Q, mut compute: impl FnMut(&V) -> (V, R)) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        K: Clone,
    {
        self.cache.update_lasting(key, |old| Some(compute(old)), self.life)
    }

    /// As [`Cache::optionally_update_with`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{Cache, Life, ManualClock};
    /// // Two requests a minute, counted from the first one.
    /// let cache = Cache::builder().clock(ManualClock::new()).build()?;
    /// cache.insert_with_ttl("ann", 1, Duration::from_secs(60));
    /// let kept = cache.with_life(Life::Keep);
    /// let take = || kept.optionally_update_with("ann", |left| (*left > 0).then(|| (left - 1, ())));
    /// assert_eq!((take(), take()), (Some(()), None));
    /// assert_eq!(cache.remaining_ttl("ann"), Some(Duration::from_secs(60)));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn optionally_update_with<Q, R>(
        &self,
        key: &Q,
        compute: impl FnMut(&V) -> Option<(V, R)>,
    ) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        K: Clone,
    {
        self.cache.update_lasting(key, compute, self.life)
    }

    /// As [`Cache::modify`].
    ///
    /// ```
    /// use tidewheel::{Cache, Life};
    /// let cache = Cache::builder().build()?;
    /// cache.insert("k", vec![1]);
    /// assert_eq!(cache.with_life(Life::Keep).modify("k", |list| list.pop()), Some(Some(1)));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn modify<Q, R>(&self, key: &Q, mut change: impl FnMut(&mut V) -> R) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        K: Clone,
        V: Clone,
    {
        self.cache.update_lasting(key, |old| Some(changed(old, &mut change)), self.life)
    }

    /// As [`Cache::swap`].
    ///
    /// ```
    /// use tidewheel::{Cache, Life};
    /// let cache = Cache::builder().build()?;
    /// assert_eq!(cache.with_life(Life::Endless).swap("k", 1), None);
    /// assert_eq!(cache.with_life(Life::Keep).swap("k", 2), Some(1));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn swap(&self, key: K, value: V) -> Option<V>
    where
        V: Clone,
    {
        self.cache.swap_lasting(self.cache.locate(&key), &mut Some((key, value)), self.life)
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Key,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
    /// As [`insert`](Self::insert), and returns a clone of the live value that it replaced, if
    /// there was one. Of several calls that write the key, each gets the value that it replaced
    /// itself, so no value is returned twice.
    ///
    /// # Panics
    ///
    /// As `insert`. Also if the clone does: nothing is changed then.
    ///
    /// # Concurrency
    ///
    /// The clone is made outside every lock, before anything is changed. If another write to the
    /// key comes first, that write's value is cloned instead.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// assert_eq!(cache.swap("k", 1), None);
    /// assert_eq!(cache.swap("k", 2), Some(1));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn swap(&self, key: K, value: V) -> Option<V>
    where
        V: Clone,
    {
        self.swap_lasting(self.locate(&key), &mut Some((key, value)), Life::Restart)
    }

    pub(super) fn swap_lasting(
        &self,
        Place { hash, shard }: Place<'_, K, V>,
        offered: &mut Option<(K, V)>,
        life: Life,
    ) -> Option<V>
    where
        V: Clone,
    {
        let lasting = life.of_insert(self.parts().config.ttl);
        let (old, deferred) = self.insert_seen(Place { hash, shard }, offered, lasting, V::clone);
        self.conclude(shard, deferred, RemovalCause::Replaced);
        old
    }
}

/// A changed copy, and what the change says.
pub(super) fn changed<V: Clone, R>(old: &V, change: &mut impl FnMut(&mut V) -> R) -> (V, R) {
    let mut value = old.clone();
    let answer = change(&mut value);
    (value, answer)
}

impl<K, V, S> Clone for WithLife<'_, K, V, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V, S> Copy for WithLife<'_, K, V, S> {}

impl<K, V, S> fmt::Debug for WithLife<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithLife").field("life", &self.life).finish_non_exhaustive()
    }
}
