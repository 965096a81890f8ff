//! Get, or load once, and wait for another call's loader only for a limited time.

use super::outcome::Made;
use super::outcome::{
    fallible, option, optional, result, served, value, wants_option, wants_result, wants_value,
};
use super::refresh::Stale;
use crate::cache::Cache;
use crate::error::{LoadError, TimedOut};
use crate::hash::RandomState;
use crate::inflight::{Outcome, Wants};
use crate::key_value::{Key, Value};
use crate::sync::Alarm;
use equivalent::Equivalent;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// A cache whose loads wait for other calls' loads for a limited time. Made by [`Cache::timeout`].
///
/// The time counts from the call on, on the system's clock, even if the cache has a
/// [`ManualClock`](crate::ManualClock). It limits the wait for another call's closure; a call's own
/// closure may take longer. For entries there is
/// [`EntrySelector::timeout`](crate::EntrySelector::timeout).
///
/// ```
/// use std::time::Duration;
/// use tidewheel::Cache;
///
/// let cache = Cache::new(100);
/// let patient = cache.timeout(Duration::from_secs(1));
/// assert_eq!(patient.get_with("k", || 7), Ok(7));
/// assert_eq!(patient.try_get_with("l", || "8".parse::<i32>()).unwrap(), 8);
/// ```
#[must_use = "to say how long a load may wait does nothing yet"]
pub struct WithTimeout<'c, K, V, S = RandomState> {
    cache: &'c Cache<K, V, S>,
    timeout: Duration,
}

/// Load, and wait for a limited time.
impl<K, V, S> Cache<K, V, S> {
    /// The cache, with loads that wait for another call's closure no longer than this. See [`WithTimeout`].
    ///
    /// The way out where two loads may wait for each other's keys.
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache = tidewheel::Cache::new(100);
    /// let nested = cache.get_with("k", || {
    ///     std::thread::scope(|scope| {
    ///         let other = scope.spawn(|| cache.timeout(Duration::from_millis(1)).get_with("k", || 8));
    ///         other.join().unwrap().map_or(7, |other| other)
    ///     })
    /// });
    /// assert_eq!(nested, 7); // the other call gave up
    /// ```
    pub const fn timeout(&self, timeout: Duration) -> WithTimeout<'_, K, V, S> {
        WithTimeout { cache: self, timeout }
    }
}

impl<K, V, S> WithTimeout<'_, K, V, S>
where
    K: Key,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// As [`Cache::get_with`].
    ///
    /// # Errors
    ///
    /// [`TimedOut`] if another call for the same key was not done by then.
    ///
    /// # Panics
    ///
    /// As [`Cache::get_with`].
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache = tidewheel::Cache::new(100);
    /// assert_eq!(cache.timeout(Duration::from_secs(1)).get_with("k", || 7), Ok(7));
    /// ```
    pub fn get_with(&self, key: K, init: impl FnOnce() -> V) -> Result<V, TimedOut> {
        match self.cache.hit(&key) {
            Ok(value) => Ok(served(value, (key, init))),
            Err(stale) => self.load(key, stale, wants_value(), || Made::value(init())).map(value),
        }
    }

    /// As [`Cache::get_with_by_ref`].
    ///
    /// # Errors
    ///
    /// [`TimedOut`] if another call for the same key was not done by then.
    ///
    /// # Panics
    ///
    /// As [`Cache::get_with`].
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache: tidewheel::Cache<String, usize> = tidewheel::Cache::new(100);
    /// assert_eq!(cache.timeout(Duration::from_secs(1)).get_with_by_ref("seven", || 5), Ok(5));
    /// ```
    pub fn get_with_by_ref<Q>(&self, key: &Q, init: impl FnOnce() -> V) -> Result<V, TimedOut>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        match self.cache.hit(key) {
            Ok(value) => Ok(served(value, init)),
            Err(stale) => self.load(key.to_owned(), stale, wants_value(), || Made::value(init())).map(value),
        }
    }

    /// As [`Cache::try_get_with`].
    ///
    /// # Errors
    ///
    /// [`LoadError::Failed`] with the closure's error; [`LoadError::TimedOut`] if another call for the same key was not
    /// done by then.
    ///
    /// # Panics
    ///
    /// As [`Cache::get_with`].
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache = tidewheel::Cache::new(100);
    /// let loaded = cache.timeout(Duration::from_secs(1)).try_get_with("k", || "7".parse::<u32>());
    /// assert_eq!(loaded.unwrap(), 7);
    /// ```
    pub fn try_get_with<E>(&self, key: K, init: impl FnOnce() -> Result<V, E>) -> Result<V, LoadError<E>>
    where
        E: Send + Sync + 'static,
    {
        match self.cache.hit(&key) {
            Ok(value) => Ok(served(value, (key, init))),
            Err(stale) => self.load_result(key, stale, init),
        }
    }

    /// As [`Cache::try_get_with_by_ref`].
    ///
    /// # Errors
    ///
    /// As [`try_get_with`](Self::try_get_with).
    ///
    /// # Panics
    ///
    /// As [`Cache::get_with`].
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache: tidewheel::Cache<String, u32> = tidewheel::Cache::new(100);
    /// let loaded = cache.timeout(Duration::from_secs(1)).try_get_with_by_ref("7", || "7".parse::<u32>());
    /// assert_eq!(loaded.unwrap(), 7);
    /// ```
    pub fn try_get_with_by_ref<Q, E>(
        &self,
        key: &Q,
        init: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, LoadError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
        E: Send + Sync + 'static,
    {
        match self.cache.hit(key) {
            Ok(value) => Ok(served(value, init)),
            Err(stale) => self.load_result(key.to_owned(), stale, init),
        }
    }

    /// As [`Cache::optionally_get_with`].
    ///
    /// # Errors
    ///
    /// [`TimedOut`] if another call for the same key was not done by then.
    ///
    /// # Panics
    ///
    /// As [`Cache::get_with`].
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache = tidewheel::Cache::new(100);
    /// assert_eq!(cache.timeout(Duration::from_secs(1)).optionally_get_with("k", || Some(7)), Ok(Some(7)));
    /// ```
    pub fn optionally_get_with(
        &self,
        key: K,
        init: impl FnOnce() -> Option<V>,
    ) -> Result<Option<V>, TimedOut> {
        match self.cache.hit(&key) {
            Ok(value) => Ok(Some(served(value, (key, init)))),
            Err(stale) => self.load(key, stale, wants_option(), || optional(init())).map(option),
        }
    }

    /// As [`Cache::optionally_get_with_by_ref`].
    ///
    /// # Errors
    ///
    /// [`TimedOut`] if another call for the same key was not done by then.
    ///
    /// # Panics
    ///
    /// As [`Cache::get_with`].
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache: tidewheel::Cache<String, char> = tidewheel::Cache::new(100);
    /// let first = cache.timeout(Duration::from_secs(1)).optionally_get_with_by_ref("seven", || "seven".chars().next());
    /// assert_eq!(first, Ok(Some('s')));
    /// ```
    pub fn optionally_get_with_by_ref<Q>(
        &self,
        key: &Q,
        init: impl FnOnce() -> Option<V>,
    ) -> Result<Option<V>, TimedOut>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        match self.cache.hit(key) {
            Ok(value) => Ok(Some(served(value, init))),
            Err(stale) => self.load(key.to_owned(), stale, wants_option(), || optional(init())).map(option),
        }
    }

    fn load_result<E>(
        &self,
        key: K,
        stale: Option<Stale<V>>,
        init: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, LoadError<E>>
    where
        E: Send + Sync + 'static,
    {
        let outcome = self.load(key, stale, wants_result::<E>(), || fallible(init()));
        result(outcome?).map_err(LoadError::Failed)
    }

    #[cold]
    fn load(
        &self,
        key: K,
        stale: Option<Stale<V>>,
        wants: Wants,
        init: impl FnOnce() -> Made<V>,
    ) -> Result<Outcome<V>, TimedOut> {
        let timeout = self.timeout;
        let loaded = self.cache.load(key, stale, wants, &Alarm::after(timeout), init);
        loaded.map(|(outcome, _)| outcome).ok_or(TimedOut { timeout })
    }
}

impl<K, V, S> Clone for WithTimeout<'_, K, V, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V, S> Copy for WithTimeout<'_, K, V, S> {}

impl<K, V, S> fmt::Debug for WithTimeout<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithTimeout").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
