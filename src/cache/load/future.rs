//! Get, or load once, for callers that are futures.
//!
//! They share flights with callers that are threads. No runtime is needed, and none is known: a call that waits leaves its
//! waker, and whoever ends the flight wakes it. A future that is dropped at any point gives back what it holds (`cache/turn.rs`).

use super::outcome::{Made, Origin};
use super::outcome::{
    fallible, option, optional, result, served, value, wants_option, wants_result, wants_value,
};
use super::refresh::{Renewal, Stale};
use crate::cache::Cache;
use crate::inflight::{Outcome, Wants};
use crate::key_value::{Key, Value};
use crate::sync::Arc;
use equivalent::Equivalent;
use std::future::Future;
use std::hash::{BuildHasher, Hash};
use std::pin::pin;

/// Of the caller's future, which is dropped before its call returns (as `served`), and not before.
pub(in crate::cache) const STILL_THERE: &str = "it is dropped at the end";

/// Load in futures.
impl<K, V, S> Cache<K, V, S>
where
    K: Key,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// As [`get_with`](Self::get_with), for async code: the future makes the value, if there is none.
    ///
    /// The future is polled only if this call is the one that loads. It needs no particular runtime. Callers of
    /// [`get_with`](Self::get_with) and of this wait for each other.
    ///
    /// # Panics
    ///
    /// If the future does; or if it asks the cache to load or compute the same key again, because it would wait for itself.
    ///
    /// # Concurrency
    ///
    /// As [`get_with`](Self::get_with). Cancel safe: a call that is dropped while it waits leaves;
    /// if it is dropped while it loads, the next one that waits loads with its own future. For time
    /// limits, use those of your runtime: `timeout(limit, cache.get_with_async(..))`. For a load
    /// that goes on meanwhile, see [`get_with_detached_async`](Self::get_with_detached_async). A
    /// call that loads, and is kept without being polled, blocks its key until that is written or
    /// removed.
    ///
    /// Async code should not call [`get_with`](Self::get_with) for a key that other async code may
    /// be loading: it would block its thread until that is done, which may need the same thread.
    /// Two loads in one task that wait for each other's keys wait for ever, as with threads.
    ///
    /// ```
    /// # use futures_lite::future::block_on;
    /// let cache = tidewheel::Cache::new(100);
    /// block_on(async {
    ///     assert_eq!(cache.get_with_async("k", async { 7 }).await, 7);
    ///     assert_eq!(cache.get_with_async("k", async { unreachable!("it is there") }).await, 7);
    /// });
    /// ```
    pub async fn get_with_async(&self, key: K, init: impl Future<Output = V>) -> V {
        match self.hit(&key) {
            Ok(value) => served(value, (key, init)),
            Err(stale) => self.load_value_async(key, stale, init).await,
        }
    }

    /// As [`get_with_async`](Self::get_with_async), with a key that is made into an owned one only if it has to be.
    ///
    /// # Panics
    ///
    /// As [`get_with_async`](Self::get_with_async).
    ///
    /// ```
    /// # use futures_lite::future::block_on;
    /// let cache: tidewheel::Cache<String, usize> = tidewheel::Cache::new(100);
    /// assert_eq!(block_on(cache.get_with_by_ref_async("seven", async { 5 })), 5);
    /// ```
    pub async fn get_with_by_ref_async<Q>(&self, key: &Q, init: impl Future<Output = V>) -> V
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        match self.hit(key) {
            Ok(value) => served(value, init),
            Err(stale) => self.load_value_async(key.to_owned(), stale, init).await,
        }
    }

    /// As [`try_get_with`](Self::try_get_with), for async code; see [`get_with_async`](Self::get_with_async).
    ///
    /// # Errors
    ///
    /// As [`try_get_with`](Self::try_get_with).
    ///
    /// # Panics
    ///
    /// As [`get_with_async`](Self::get_with_async).
    ///
    /// ```
    /// # use futures_lite::future::block_on;
    /// let cache = tidewheel::Cache::new(100);
    /// block_on(async {
    ///     let error = cache.try_get_with_async("k", async { "seven".parse::<u32>() }).await.unwrap_err();
    ///     assert_eq!(error.to_string(), "invalid digit found in string");
    ///     assert_eq!(cache.try_get_with_async("k", async { "7".parse::<u32>() }).await, Ok(7));
    /// });
    /// ```
    pub async fn try_get_with_async<E>(
        &self,
        key: K,
        init: impl Future<Output = Result<V, E>>,
    ) -> Result<V, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        match self.hit(&key) {
            Ok(value) => Ok(served(value, (key, init))),
            Err(stale) => self.load_result_async(key, stale, init).await,
        }
    }

    /// As [`try_get_with_async`](Self::try_get_with_async), with a key that is made into an owned one only if it has to be.
    ///
    /// # Errors
    ///
    /// As [`try_get_with`](Self::try_get_with).
    ///
    /// # Panics
    ///
    /// As [`get_with_async`](Self::get_with_async).
    ///
    /// ```
    /// # use futures_lite::future::block_on;
    /// let cache: tidewheel::Cache<String, u32> = tidewheel::Cache::new(100);
    /// assert_eq!(block_on(cache.try_get_with_by_ref_async("7", async { "7".parse::<u32>() })), Ok(7));
    /// ```
    pub async fn try_get_with_by_ref_async<Q, E>(
        &self,
        key: &Q,
        init: impl Future<Output = Result<V, E>>,
    ) -> Result<V, Arc<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
        E: Send + Sync + 'static,
    {
        match self.hit(key) {
            Ok(value) => Ok(served(value, init)),
            Err(stale) => self.load_result_async(key.to_owned(), stale, init).await,
        }
    }

    /// As [`optionally_get_with`](Self::optionally_get_with), for async code; see
    /// [`get_with_async`](Self::get_with_async).
    ///
    /// # Panics
    ///
    /// As [`get_with_async`](Self::get_with_async).
    ///
    /// ```
    /// # use futures_lite::future::block_on;
    /// let cache = tidewheel::Cache::new(100);
    /// block_on(async {
    ///     assert_eq!(cache.optionally_get_with_async("k", async { None }).await, None);
    ///     assert_eq!(cache.optionally_get_with_async("k", async { Some(7) }).await, Some(7));
    /// });
    /// ```
    pub async fn optionally_get_with_async(
        &self,
        key: K,
        init: impl Future<Output = Option<V>>,
    ) -> Option<V> {
        match self.hit(&key) {
            Ok(value) => Some(served(value, (key, init))),
            Err(stale) => self.load_option_async(key, stale, init).await,
        }
    }

    /// As [`optionally_get_with_async`](Self::optionally_get_with_async), with a key that is made into an owned one only
    /// if it has to be.
    ///
    /// # Panics
    ///
    /// As [`get_with_async`](Self::get_with_async).
    ///
    /// ```
    /// # use futures_lite::future::block_on;
    /// let cache: tidewheel::Cache<String, char> = tidewheel::Cache::new(100);
    /// let first = cache.optionally_get_with_by_ref_async("seven", async { "seven".chars().next() });
    /// assert_eq!(block_on(first), Some('s'));
    /// ```
    pub async fn optionally_get_with_by_ref_async<Q>(
        &self,
        key: &Q,
        init: impl Future<Output = Option<V>>,
    ) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        match self.hit(key) {
            Ok(value) => Some(served(value, init)),
            Err(stale) => self.load_option_async(key.to_owned(), stale, init).await,
        }
    }

    pub(crate) async fn load_value_async(
        &self,
        key: K,
        stale: Option<Stale<V>>,
        init: impl Future<Output = V>,
    ) -> V {
        value(self.load_async(key, stale, wants_value(), async { Made::value(init.await) }).await.0)
    }

    pub(crate) async fn load_result_async<E>(
        &self,
        key: K,
        stale: Option<Stale<V>>,
        init: impl Future<Output = Result<V, E>>,
    ) -> Result<V, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        result(self.load_async(key, stale, wants_result::<E>(), async { fallible(init.await) }).await.0)
    }

    pub(crate) async fn load_option_async(
        &self,
        key: K,
        stale: Option<Stale<V>>,
        init: impl Future<Output = Option<V>>,
    ) -> Option<V> {
        option(self.load_async(key, stale, wants_option(), async { optional(init.await) }).await.0)
    }

    /// As `load_entry`.
    pub(crate) async fn load_entry_async<Q>(
        &self,
        lent: &Q,
        owned: impl Fn() -> K,
        wants: Wants,
        init: impl Future<Output = Made<V>>,
    ) -> (Outcome<V>, Origin)
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let (mut init, wants) = (pin!(Some(init)), wants.of_entry());
        let loaded = loop {
            let run = async { init.as_mut().as_pin_mut().expect(STILL_THERE).await };
            let (mut outcome, origin) = self.load_async(owned(), None, wants, run).await;
            if self.share(lent, &mut outcome, origin) {
                break (outcome, origin);
            }
        };
        // As `served`.
        init.set(None);
        loaded
    }

    pub(in crate::cache) async fn load_async(
        &self,
        key: K,
        stale: Option<Stale<V>>,
        wants: Wants,
        init: impl Future<Output = Made<V>>,
    ) -> (Outcome<V>, Origin) {
        // Before the turn, so that it is dropped after it: its destructor may use the cache, this key included.
        let mut init = pin!(Some(init));
        let outcome = if let Some(stale) = stale {
            let outcome = match self.begin_renewal(key, stale) {
                Err(value) => Outcome::Value(value),
                Ok(Renewal { stale, mut turn }) => {
                    let made = turn.drive(init.as_mut().as_pin_mut().expect(STILL_THERE)).await;
                    self.end_renewal(Renewal { stale, turn }, made)
                }
            };
            (outcome, Origin::There)
        } else {
            match self.begin_load(self.asked(key), wants).settle_async(wants).await {
                Ok(outcome) => outcome,
                Err(mut turn) => {
                    let outcome = turn.drive(init.as_mut().as_pin_mut().expect(STILL_THERE)).await;
                    turn.complete(outcome)
                }
            }
        };
        // As `served`.
        init.set(None);
        outcome
    }
}
