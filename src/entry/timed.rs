//! A selected key whose calls wait for others for a limited time.

use super::key::{EntryKey, OwnedKey};
use super::selector::EntrySelector;
use super::{CompResult, Entry, Op};
use crate::error::{LoadError, TimedOut};
use crate::hash::RandomState;
use crate::key_value::{Key, Value};
use crate::life::Life;
use std::fmt;
use std::hash::BuildHasher;
use std::time::Duration;

impl<'c, K, V, S, G> EntrySelector<'c, K, V, S, G> {
    /// The same selector, with a limit to how long its call waits for other calls of the key. See
    /// [`TimedEntrySelector`].
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache = tidewheel::Cache::new(100);
    /// let entry = cache.entry("k").timeout(Duration::from_secs(1)).and_upsert_with(|_| 7)?;
    /// assert_eq!(entry.into_value(), 7);
    /// # Ok::<(), tidewheel::TimedOut>(())
    /// ```
    pub fn timeout(self, timeout: Duration) -> TimedEntrySelector<'c, K, V, S, G> {
        TimedEntrySelector { timeout, selector: Self { limit: Some(timeout), ..self } }
    }
}

/// A key of a cache, selected for a call that waits for a limited time: made by
/// [`EntrySelector::timeout`], with the same methods.
///
/// The time counts from the call on, on the system's clock, even if the cache has a
/// [`ManualClock`](crate::ManualClock). It limits the wait for other calls that load or compute the
/// key. A call's own closure may take longer. A call that timed out has not run the closure that
/// makes the value, and has changed nothing. (A `replace_if` may have been asked, and what it was asked
/// about was used, as by a read.)
///
/// Futures have no such forms: use the time limits of your runtime.
///
/// ```
/// use std::time::Duration;
/// use tidewheel::Cache;
///
/// let cache = Cache::new(100);
/// let short = Duration::from_millis(1);
/// let entry = cache.entry("k").or_insert_with(|| {
///     std::thread::scope(|scope| {
///         let other = scope.spawn(|| cache.entry("k").timeout(short).or_insert_with(|| 8));
///         assert_eq!(other.join().unwrap().unwrap_err().timeout, short);
///     });
///     7
/// });
/// assert_eq!(entry.into_value(), 7);
/// ```
#[must_use = "to select a key does nothing yet"]
pub struct TimedEntrySelector<'c, K, V, S = RandomState, G = OwnedKey<K>> {
    timeout: Duration,
    selector: EntrySelector<'c, K, V, S, G>,
}

impl<K, V, S, G> TimedEntrySelector<'_, K, V, S, G> {
    /// As [`EntrySelector::with_life`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{Cache, Life, ManualClock};
    ///
    /// let (second, cache) = (Duration::from_secs(1), Cache::builder().clock(ManualClock::new()).build()?);
    /// assert!(cache.entry("k").timeout(second).with_life(Life::Ttl(second)).or_insert(7).is_ok());
    /// assert_eq!(cache.remaining_ttl("k"), Some(second));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn with_life(self, life: Life) -> Self {
        Self { selector: self.selector.with_life(life), ..self }
    }
}

impl<K, V, S, G> TimedEntrySelector<'_, K, V, S, G>
where
    G: EntryKey<K>,
    K: Key + Clone,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// As [`EntrySelector::or_insert`].
    ///
    /// # Errors
    ///
    /// [`TimedOut`] if another call for the same key was not done by then.
    ///
    /// # Panics
    ///
    /// As [`EntrySelector::or_insert`].
    ///
    /// ```
    /// # let second = std::time::Duration::from_secs(1);
    /// let cache = tidewheel::Cache::new(100);
    /// assert_eq!(cache.entry("k").timeout(second).or_insert(7)?.into_value(), 7);
    /// # Ok::<(), tidewheel::TimedOut>(())
    /// ```
    pub fn or_insert(self, value: V) -> Result<Entry<K, V>, TimedOut> {
        self.selector.or_insert_in_time(value)
    }

    /// As [`EntrySelector::or_default`].
    ///
    /// # Errors
    ///
    /// As [`or_insert`](Self::or_insert).
    ///
    /// # Panics
    ///
    /// As [`EntrySelector::or_insert_with`].
    ///
    /// ```
    /// # let second = std::time::Duration::from_secs(1);
    /// let cache: tidewheel::Cache<_, u32> = tidewheel::Cache::new(100);
    /// assert_eq!(cache.entry("k").timeout(second).or_default()?.into_value(), 0);
    /// # Ok::<(), tidewheel::TimedOut>(())
    /// ```
    pub fn or_default(self) -> Result<Entry<K, V>, TimedOut>
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }

    /// As [`EntrySelector::or_insert_with`].
    ///
    /// # Errors
    ///
    /// As [`or_insert`](Self::or_insert).
    ///
    /// # Panics
    ///
    /// As [`EntrySelector::or_insert_with`].
    ///
    /// ```
    /// # let second = std::time::Duration::from_secs(1);
    /// let cache = tidewheel::Cache::new(100);
    /// assert!(cache.entry("k").timeout(second).or_insert_with(|| 7)?.is_fresh());
    /// # Ok::<(), tidewheel::TimedOut>(())
    /// ```
    pub fn or_insert_with(self, init: impl FnOnce() -> V) -> Result<Entry<K, V>, TimedOut> {
        self.selector.or_insert_with_in_time(init)
    }

    /// As [`EntrySelector::or_insert_with_if`].
    ///
    /// # Errors
    ///
    /// As [`or_insert`](Self::or_insert).
    ///
    /// # Panics
    ///
    /// As [`EntrySelector::or_insert_with_if`].
    ///
    /// ```
    /// # let second = std::time::Duration::from_secs(1);
    /// let cache = tidewheel::Cache::new(100);
    /// cache.insert("k", 7);
    /// assert!(cache.entry("k").timeout(second).or_insert_with_if(|| 8, |old| *old < 8)?.is_fresh());
    /// # Ok::<(), tidewheel::TimedOut>(())
    /// ```
    pub fn or_insert_with_if(
        self,
        init: impl FnOnce() -> V,
        replace_if: impl FnMut(&V) -> bool,
    ) -> Result<Entry<K, V>, TimedOut> {
        self.selector.or_insert_with_if_in_time(init, replace_if)
    }

    /// As [`EntrySelector::or_optionally_insert_with`].
    ///
    /// # Errors
    ///
    /// As [`or_insert`](Self::or_insert).
    ///
    /// # Panics
    ///
    /// As [`EntrySelector::or_insert_with`].
    ///
    /// ```
    /// # let second = std::time::Duration::from_secs(1);
    /// let cache: tidewheel::Cache<_, u32> = tidewheel::Cache::new(100);
    /// assert_eq!(cache.entry("k").timeout(second).or_optionally_insert_with(|| None), Ok(None));
    /// ```
    pub fn or_optionally_insert_with(
        self,
        init: impl FnOnce() -> Option<V>,
    ) -> Result<Option<Entry<K, V>>, TimedOut> {
        self.selector.or_optionally_insert_with_in_time(init)
    }

    /// As [`EntrySelector::or_try_insert_with`].
    ///
    /// # Errors
    ///
    /// [`LoadError::Failed`] with the closure's error; [`LoadError::TimedOut`] if another call for
    /// the same key was not done by then.
    ///
    /// # Panics
    ///
    /// As [`EntrySelector::or_insert_with`].
    ///
    /// ```
    /// # let second = std::time::Duration::from_secs(1);
    /// let cache: tidewheel::Cache<_, u32> = tidewheel::Cache::new(100);
    /// assert_eq!(cache.entry("k").timeout(second).or_try_insert_with(|| "7".parse())?.into_value(), 7);
    /// # Ok::<(), tidewheel::LoadError<std::num::ParseIntError>>(())
    /// ```
    pub fn or_try_insert_with<E>(
        self,
        init: impl FnOnce() -> Result<V, E>,
    ) -> Result<Entry<K, V>, LoadError<E>>
    where
        E: Send + Sync + 'static,
    {
        let made = self.selector.or_try_insert_with_in_time(init)?;
        made.map_err(LoadError::Failed)
    }

    /// As [`EntrySelector::and_upsert_with`].
    ///
    /// # Errors
    ///
    /// As [`or_insert`](Self::or_insert).
    ///
    /// # Panics
    ///
    /// As [`EntrySelector::and_upsert_with`].
    ///
    /// ```
    /// # let second = std::time::Duration::from_secs(1);
    /// let cache = tidewheel::Cache::new(100);
    /// assert_eq!(cache.entry("k").timeout(second).and_upsert_with(|_| 7)?.into_value(), 7);
    /// # Ok::<(), tidewheel::TimedOut>(())
    /// ```
    pub fn and_upsert_with(
        self,
        compute: impl FnMut(Option<Entry<K, V>>) -> V,
    ) -> Result<Entry<K, V>, TimedOut> {
        self.selector.and_upsert_with_in_time(compute)
    }

    /// As [`EntrySelector::and_compute_with`].
    ///
    /// # Errors
    ///
    /// As [`or_insert`](Self::or_insert).
    ///
    /// # Panics
    ///
    /// As [`EntrySelector::and_upsert_with`].
    ///
    /// ```
    /// # let second = std::time::Duration::from_secs(1);
    /// use tidewheel::{Cache, Op};
    /// let cache = Cache::new(100);
    /// let result = cache.entry("k").timeout(second).and_compute_with(|_| Op::Put(7))?;
    /// assert_eq!(result.unwrap().into_value(), 7);
    /// # Ok::<(), tidewheel::TimedOut>(())
    /// ```
    pub fn and_compute_with(
        self,
        compute: impl FnMut(Option<Entry<K, V>>) -> Op<V>,
    ) -> Result<CompResult<K, V>, TimedOut> {
        self.selector.and_compute_with_in_time(compute)
    }

    /// As [`EntrySelector::and_try_compute_with`].
    ///
    /// # Errors
    ///
    /// [`TimedOut`] if another call for the same key was not done by then. Else the result, which
    /// may be the closure's own error.
    ///
    /// # Panics
    ///
    /// As [`EntrySelector::and_upsert_with`].
    ///
    /// ```
    /// # let second = std::time::Duration::from_secs(1);
    /// use tidewheel::{Cache, Op};
    /// let cache: Cache<_, u32> = Cache::new(100);
    /// let result = cache.entry("k").timeout(second).and_try_compute_with(|_| "7".parse().map(Op::Put));
    /// assert!(matches!(result, Ok(Ok(_))));
    /// ```
    pub fn and_try_compute_with<E>(
        self,
        compute: impl FnMut(Option<Entry<K, V>>) -> Result<Op<V>, E>,
    ) -> Result<Result<CompResult<K, V>, E>, TimedOut> {
        self.selector.and_try_compute_with_in_time(compute)
    }
}

impl<K, V, S, G> fmt::Debug for TimedEntrySelector<'_, K, V, S, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedEntrySelector").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
