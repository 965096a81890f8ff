//! Get, or load once, where the loader says how long its value lives.
//!
//! As `load/mod.rs` and `load/future.rs` otherwise.

use super::outcome::Made;
use super::outcome::{
    NO_ALARM, failed, option, result, served, value, wants_option, wants_result, wants_value,
};
use crate::cache::Cache;
use crate::inflight::Outcome;
use crate::key_value::{Key, Value};
use crate::life::Life;
use crate::sync::{Alarm, Arc};
use std::hash::BuildHasher;
use std::time::Duration;

/// A value, and how long it lives.
fn lasting<V>(made: (V, Duration)) -> Made<V> {
    let (value, ttl) = made;
    Made::value(value).with_life(Life::Ttl(ttl))
}

fn lasting_if<V>(made: Option<(V, Duration)>) -> Made<V> {
    made.map_or_else(|| Made::plain(Outcome::Nothing), lasting)
}

fn lasting_or_failed<V, E: Send + Sync + 'static>(made: Result<(V, Duration), E>) -> Made<V> {
    made.map_or_else(failed, lasting)
}

/// Load, and say how long the value lives.
impl<K, V, S> Cache<K, V, S>
where
    K: Key,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// A clone of a key's value. If there is none, the closure makes it and says how long it lives,
    /// and it is stored as [`insert_with_ttl`](Self::insert_with_ttl) would. For values that come
    /// with a time of their own: a token, a lease, a response with a `max-age`.
    ///
    /// As [`get_with`](Self::get_with) otherwise. The time counts from when the value is stored.
    /// With [`Duration::MAX`] it has no time to live. With zero it is returned to all who wait for
    /// it, and not kept. A value that is loaded again
    /// ([`refresh_after_write`](crate::CacheBuilder::refresh_after_write)) has the time that is
    /// returned with it, and the age of its entry.
    ///
    /// # Panics
    ///
    /// As [`get_with`](Self::get_with).
    ///
    /// # Concurrency
    ///
    /// As [`get_with`](Self::get_with).
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache = tidewheel::Cache::new(100);
    /// let token = cache.get_with_ttl("service", || ("token", Duration::from_secs(60)));
    /// assert_eq!(token, "token");
    /// assert!(cache.remaining_ttl("service").is_some_and(|left| left <= Duration::from_secs(60)));
    /// ```
    pub fn get_with_ttl(&self, key: K, init: impl FnOnce() -> (V, Duration)) -> V {
        match self.hit(&key) {
            Ok(value) => served(value, (key, init)),
            Err(stale) => {
                let loaded = self.load(key, stale, wants_value(), &Alarm::NEVER, || lasting(init()));
                value(loaded.expect(NO_ALARM).0)
            }
        }
    }

    /// As [`get_with_ttl`](Self::get_with_ttl), with a closure that may fail.
    ///
    /// # Errors
    ///
    /// As [`try_get_with`](Self::try_get_with).
    ///
    /// # Panics
    ///
    /// As [`get_with`](Self::get_with).
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache = tidewheel::Cache::new(100);
    /// let load = |text: &str| text.parse::<u32>().map(|number| (number, Duration::from_secs(60)));
    /// assert!(cache.try_get_with_ttl("k", || load("seven")).is_err());
    /// assert_eq!(cache.try_get_with_ttl("k", || load("7")), Ok(7));
    /// ```
    pub fn try_get_with_ttl<E>(
        &self,
        key: K,
        init: impl FnOnce() -> Result<(V, Duration), E>,
    ) -> Result<V, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        match self.hit(&key) {
            Ok(value) => Ok(served(value, (key, init))),
            Err(stale) => {
                let init = || lasting_or_failed(init());
                let loaded = self.load(key, stale, wants_result::<E>(), &Alarm::NEVER, init);
                result(loaded.expect(NO_ALARM).0)
            }
        }
    }

    /// As [`get_with_ttl`](Self::get_with_ttl), with a closure that may say that there is no value.
    ///
    /// # Panics
    ///
    /// As [`get_with`](Self::get_with).
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache = tidewheel::Cache::new(100);
    /// assert_eq!(cache.optionally_get_with_ttl("k", || None), None);
    /// assert_eq!(cache.optionally_get_with_ttl("k", || Some((7, Duration::from_secs(60)))), Some(7));
    /// ```
    pub fn optionally_get_with_ttl(&self, key: K, init: impl FnOnce() -> Option<(V, Duration)>) -> Option<V> {
        match self.hit(&key) {
            Ok(value) => Some(served(value, (key, init))),
            Err(stale) => {
                let init = || lasting_if(init());
                option(self.load(key, stale, wants_option(), &Alarm::NEVER, init).expect(NO_ALARM).0)
            }
        }
    }
}

#[cfg(feature = "async")]
impl<K, V, S> Cache<K, V, S>
where
    K: Key,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// As [`get_with_ttl`](Self::get_with_ttl), for async code.
    ///
    /// # Panics
    ///
    /// As [`get_with_async`](Self::get_with_async).
    ///
    /// # Concurrency
    ///
    /// As [`get_with_async`](Self::get_with_async), cancel safety included.
    ///
    /// ```
    /// # use futures_lite::future::block_on;
    /// use std::time::Duration;
    /// let cache = tidewheel::Cache::new(100);
    /// block_on(async {
    ///     assert_eq!(cache.get_with_ttl_async("k", async { (7, Duration::from_secs(60)) }).await, 7);
    /// });
    /// ```
    pub async fn get_with_ttl_async(&self, key: K, init: impl Future<Output = (V, Duration)>) -> V {
        match self.hit(&key) {
            Ok(value) => served(value, (key, init)),
            Err(stale) => {
                let init = async { lasting(init.await) };
                value(self.load_async(key, stale, wants_value(), init).await.0)
            }
        }
    }

    /// As [`try_get_with_ttl`](Self::try_get_with_ttl), for async code.
    ///
    /// # Errors
    ///
    /// As [`try_get_with`](Self::try_get_with).
    ///
    /// # Panics
    ///
    /// As [`get_with_async`](Self::get_with_async).
    ///
    /// # Concurrency
    ///
    /// As [`get_with_async`](Self::get_with_async), cancel safety included.
    ///
    /// ```
    /// # use futures_lite::future::block_on;
    /// use std::time::Duration;
    /// let cache: tidewheel::Cache<_, u32> = tidewheel::Cache::new(100);
    /// let load = async { "7".parse::<u32>().map(|number| (number, Duration::from_secs(60))) };
    /// assert_eq!(block_on(cache.try_get_with_ttl_async("k", load)), Ok(7));
    /// ```
    pub async fn try_get_with_ttl_async<E>(
        &self,
        key: K,
        init: impl Future<Output = Result<(V, Duration), E>>,
    ) -> Result<V, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        match self.hit(&key) {
            Ok(value) => Ok(served(value, (key, init))),
            Err(stale) => {
                let init = async { lasting_or_failed(init.await) };
                result(self.load_async(key, stale, wants_result::<E>(), init).await.0)
            }
        }
    }

    /// As [`optionally_get_with_ttl`](Self::optionally_get_with_ttl), for async code.
    ///
    /// # Panics
    ///
    /// As [`get_with_async`](Self::get_with_async).
    ///
    /// # Concurrency
    ///
    /// As [`get_with_async`](Self::get_with_async), cancel safety included.
    ///
    /// ```
    /// # use futures_lite::future::block_on;
    /// let cache: tidewheel::Cache<_, u32> = tidewheel::Cache::new(100);
    /// assert_eq!(block_on(cache.optionally_get_with_ttl_async("k", async { None })), None);
    /// ```
    pub async fn optionally_get_with_ttl_async(
        &self,
        key: K,
        init: impl Future<Output = Option<(V, Duration)>>,
    ) -> Option<V> {
        match self.hit(&key) {
            Ok(value) => Some(served(value, (key, init))),
            Err(stale) => {
                let init = async { lasting_if(init.await) };
                option(self.load_async(key, stale, wants_option(), init).await.0)
            }
        }
    }
}
