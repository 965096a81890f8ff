//! The same for async code: closures that answer with futures, and calls that wait without a
//! thread.
//!
//! Callers that are threads and callers that are futures take turns with each other. No runtime is
//! needed, and none is known.

use super::key::EntryKey;
use super::selector::{EntrySelector, sure};
use super::{CompResult, Entry, Op};
use crate::cache::{
    Made, Origin, fallible, option, optional, result, served, value, wants_option, wants_place, wants_result,
    wants_value,
};
use crate::inflight::{Outcome, Wants};
use crate::key_value::{Key, Value};
use crate::sync::Arc;
use std::future::Future;
use std::hash::BuildHasher;

impl<K, V, S, G> EntrySelector<'_, K, V, S, G>
where
    G: EntryKey<K>,
    K: Key + Clone,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// As [`or_insert`](Self::or_insert), for async code: a task that waits blocks no thread.
    ///
    /// # Panics
    ///
    /// As [`or_insert`](Self::or_insert).
    ///
    /// # Concurrency
    ///
    /// Cancel safe. Waits only while another call loads or computes the same key.
    ///
    /// ```
    /// # fn block_on<T>(future: impl Future<Output = T>) -> T {
    /// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     let mut future = std::pin::pin!(future);
    /// #     loop {
    /// #         if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
    /// #             return output;
    /// #         }
    /// #     }
    /// # }
    /// let cache = tidewheel::Cache::new(100);
    /// assert_eq!(block_on(cache.entry("k").or_insert_async(7)).into_value(), 7);
    /// ```
    pub async fn or_insert_async(self, value: V) -> Entry<K, V> {
        if let Some(found) = self.cache.get(self.key.lent()) {
            return served(Entry::found(self.key.into_owned(), found), value);
        }
        if let Some(is_fresh) = self.cache.store_ready(self.key.owned(), &value, self.life) {
            return self.told(value, is_fresh);
        }
        self.or_insert_in_turn_async(value).await
    }

    /// As `or_insert_in_turn`.
    async fn or_insert_in_turn_async(self, made: V) -> Entry<K, V> {
        let (outcome, origin) = self.load_async(wants_place(), async { Made::value(made) }).await;
        self.told(value(outcome), origin.is_own())
    }

    /// As [`or_default`](Self::or_default), for async code: a task that waits blocks no thread.
    ///
    /// # Panics
    ///
    /// As [`or_insert`](Self::or_insert).
    ///
    /// # Concurrency
    ///
    /// As [`or_insert_async`](Self::or_insert_async).
    ///
    /// ```
    /// # fn block_on<T>(future: impl Future<Output = T>) -> T {
    /// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     let mut future = std::pin::pin!(future);
    /// #     loop {
    /// #         if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
    /// #             return output;
    /// #         }
    /// #     }
    /// # }
    /// let cache: tidewheel::Cache<_, u32> = tidewheel::Cache::new(100);
    /// assert_eq!(block_on(cache.entry("k").or_default_async()).into_value(), 0);
    /// ```
    pub async fn or_default_async(self) -> Entry<K, V>
    where
        V: Default,
    {
        self.or_insert_with_async(async { V::default() }).await
    }

    /// As [`or_insert_with`](Self::or_insert_with), for async code: the future makes the value, if
    /// there is none.
    ///
    /// # Panics
    ///
    /// If the future does; or if it asks the cache to load or compute the same key, because it
    /// would wait for itself.
    ///
    /// # Concurrency
    ///
    /// As [`Cache::get_with_async`](crate::Cache::get_with_async), cancel safety included.
    ///
    /// ```
    /// # fn block_on<T>(future: impl Future<Output = T>) -> T {
    /// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     let mut future = std::pin::pin!(future);
    /// #     loop {
    /// #         if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
    /// #             return output;
    /// #         }
    /// #     }
    /// # }
    /// let cache = tidewheel::Cache::new(100);
    /// assert!(block_on(cache.entry("k").or_insert_with_async(async { 7 })).is_fresh());
    /// ```
    pub async fn or_insert_with_async(self, init: impl Future<Output = V>) -> Entry<K, V> {
        if let Some(value) = self.cache.get(self.key.lent()) {
            return served(Entry::found(self.key.into_owned(), value), init);
        }
        let init = async { Made::value(init.await) };
        let (outcome, origin) = self.load_async(wants_value(), init).await;
        self.told(value(outcome), origin.is_own())
    }

    /// As [`or_insert_with_if`](Self::or_insert_with_if), for async code: the future makes the
    /// value, if it has to be made.
    ///
    /// # Panics
    ///
    /// As [`or_insert_with_async`](Self::or_insert_with_async); also if `replace_if` does.
    ///
    /// # Concurrency
    ///
    /// As [`or_insert_with_if`](Self::or_insert_with_if). Cancel safe: nothing is changed then, and
    /// the next call has its turn.
    ///
    /// ```
    /// # fn block_on<T>(future: impl Future<Output = T>) -> T {
    /// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     let mut future = std::pin::pin!(future);
    /// #     loop {
    /// #         if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
    /// #             return output;
    /// #         }
    /// #     }
    /// # }
    /// let cache = tidewheel::Cache::new(100);
    /// cache.insert("k", 1);
    /// let entry = block_on(cache.entry("k").or_insert_with_if_async(async { 7 }, |old| *old < 7));
    /// assert_eq!(entry.into_value(), 7);
    /// ```
    pub async fn or_insert_with_if_async(
        self,
        init: impl Future<Output = V>,
        mut replace_if: impl FnMut(&V) -> bool,
    ) -> Entry<K, V> {
        if let Some(value) = self.cache.get(self.key.lent()) {
            if !replace_if(&value) {
                return served(Entry::found(self.key.into_owned(), value), (init, replace_if));
            }
        }
        self.cache.load_unless_async(self.key.into_owned(), self.life, init, replace_if).await
    }

    /// As [`or_optionally_insert_with`](Self::or_optionally_insert_with), for async code: the
    /// future makes the value, or says that there is none.
    ///
    /// # Panics
    ///
    /// As [`or_insert_with_async`](Self::or_insert_with_async).
    ///
    /// # Concurrency
    ///
    /// As [`or_insert_with_async`](Self::or_insert_with_async).
    ///
    /// ```
    /// # fn block_on<T>(future: impl Future<Output = T>) -> T {
    /// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     let mut future = std::pin::pin!(future);
    /// #     loop {
    /// #         if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
    /// #             return output;
    /// #         }
    /// #     }
    /// # }
    /// let cache: tidewheel::Cache<_, u32> = tidewheel::Cache::new(100);
    /// assert_eq!(block_on(cache.entry("k").or_optionally_insert_with_async(async { None })), None);
    /// ```
    pub async fn or_optionally_insert_with_async(
        self,
        init: impl Future<Output = Option<V>>,
    ) -> Option<Entry<K, V>> {
        if let Some(value) = self.cache.get(self.key.lent()) {
            return Some(served(Entry::found(self.key.into_owned(), value), init));
        }
        let (outcome, origin) = self.load_async(wants_option(), async { optional(init.await) }).await;
        Some(self.told(option(outcome)?, origin.is_own()))
    }

    /// As [`or_try_insert_with`](Self::or_try_insert_with), for async code: the future makes the
    /// value, and may fail.
    ///
    /// # Errors
    ///
    /// As [`or_try_insert_with`](Self::or_try_insert_with).
    ///
    /// # Panics
    ///
    /// As [`or_insert_with_async`](Self::or_insert_with_async).
    ///
    /// # Concurrency
    ///
    /// As [`or_insert_with_async`](Self::or_insert_with_async).
    ///
    /// ```
    /// # fn block_on<T>(future: impl Future<Output = T>) -> T {
    /// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     let mut future = std::pin::pin!(future);
    /// #     loop {
    /// #         if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
    /// #             return output;
    /// #         }
    /// #     }
    /// # }
    /// let cache: tidewheel::Cache<_, u32> = tidewheel::Cache::new(100);
    /// let entry = block_on(cache.entry("k").or_try_insert_with_async(async { "7".parse() }))?;
    /// assert_eq!(entry.into_value(), 7);
    /// # Ok::<(), std::sync::Arc<std::num::ParseIntError>>(())
    /// ```
    pub async fn or_try_insert_with_async<E>(
        self,
        init: impl Future<Output = Result<V, E>>,
    ) -> Result<Entry<K, V>, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        if let Some(value) = self.cache.get(self.key.lent()) {
            return Ok(served(Entry::found(self.key.into_owned(), value), init));
        }
        let (outcome, origin) = self.load_async(wants_result::<E>(), async { fallible(init.await) }).await;
        match result(outcome) {
            Ok(value) => Ok(self.told(value, origin.is_own())),
            Err(error) => Err(served(error, self)),
        }
    }

    /// As [`and_upsert_with`](Self::and_upsert_with), for async code: the closure returns a future,
    /// which makes the value.
    ///
    /// # Panics
    ///
    /// If the closure or its future does; or if one of them asks the cache to load or compute the
    /// same key, because it would wait for itself.
    ///
    /// # Concurrency
    ///
    /// As [`and_upsert_with`](Self::and_upsert_with). Cancel safe: a call that is dropped while it
    /// waits leaves; if it is dropped while it computes, nothing is changed, and the next call has
    /// its turn. For time limits, use those of your runtime.
    ///
    /// ```
    /// # fn block_on<T>(future: impl Future<Output = T>) -> T {
    /// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     let mut future = std::pin::pin!(future);
    /// #     loop {
    /// #         if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
    /// #             return output;
    /// #         }
    /// #     }
    /// # }
    /// let cache = tidewheel::Cache::new(100);
    /// let count = || cache.entry("k").and_upsert_with_async(async |old| old.map_or(0, |old| old.into_value()) + 1);
    /// block_on(count());
    /// assert_eq!(block_on(count()).into_value(), 2);
    /// ```
    pub async fn and_upsert_with_async<F>(
        self,
        mut compute: impl FnMut(Option<Entry<K, V>>) -> F,
    ) -> Entry<K, V>
    where
        F: Future<Output = V>,
    {
        let compute = move |found| {
            let value = compute(found);
            async { Ok(Op::Put(value.await)) }
        };
        sure(self.cache.compute_async(self.key.into_owned(), self.life, compute).await).unwrap()
    }

    /// As [`and_compute_with`](Self::and_compute_with), for async code: the closure returns a
    /// future, which says what is to be done.
    ///
    /// # Panics
    ///
    /// As [`and_upsert_with_async`](Self::and_upsert_with_async).
    ///
    /// # Concurrency
    ///
    /// As [`and_upsert_with_async`](Self::and_upsert_with_async).
    ///
    /// ```
    /// # fn block_on<T>(future: impl Future<Output = T>) -> T {
    /// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     let mut future = std::pin::pin!(future);
    /// #     loop {
    /// #         if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
    /// #             return output;
    /// #         }
    /// #     }
    /// # }
    /// use tidewheel::{Cache, CompResult, Op};
    /// let cache = Cache::new(100);
    /// let result = block_on(cache.entry("k").and_compute_with_async(|_| async { Op::Put(7) }));
    /// assert!(matches!(result, CompResult::Inserted(entry) if *entry.value() == 7));
    /// ```
    pub async fn and_compute_with_async<F>(
        self,
        mut compute: impl FnMut(Option<Entry<K, V>>) -> F,
    ) -> CompResult<K, V>
    where
        F: Future<Output = Op<V>>,
    {
        let compute = move |found| {
            let op = compute(found);
            async { Ok(op.await) }
        };
        sure(self.cache.compute_async(self.key.into_owned(), self.life, compute).await)
    }

    /// As [`and_try_compute_with`](Self::and_try_compute_with), for async code: the closure returns
    /// a future, which says what is to be done, or fails.
    ///
    /// # Errors
    ///
    /// As [`and_try_compute_with`](Self::and_try_compute_with).
    ///
    /// # Panics
    ///
    /// As [`and_upsert_with_async`](Self::and_upsert_with_async).
    ///
    /// # Concurrency
    ///
    /// As [`and_upsert_with_async`](Self::and_upsert_with_async).
    ///
    /// ```
    /// # fn block_on<T>(future: impl Future<Output = T>) -> T {
    /// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     let mut future = std::pin::pin!(future);
    /// #     loop {
    /// #         if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
    /// #             return output;
    /// #         }
    /// #     }
    /// # }
    /// use tidewheel::{Cache, Op};
    /// let cache = Cache::<_, u32>::new(100);
    /// let result = block_on(cache.entry("k").and_try_compute_with_async(|_| async { "7".parse().map(Op::Put) }))?;
    /// assert_eq!(result.unwrap().into_value(), 7);
    /// # Ok::<(), std::num::ParseIntError>(())
    /// ```
    pub async fn and_try_compute_with_async<E, F>(
        self,
        compute: impl FnMut(Option<Entry<K, V>>) -> F,
    ) -> Result<CompResult<K, V>, E>
    where
        F: Future<Output = Result<Op<V>, E>>,
    {
        self.cache.compute_async(self.key.into_owned(), self.life, compute).await
    }

    async fn load_async(&self, wants: Wants, init: impl Future<Output = Made<V>>) -> (Outcome<V>, Origin) {
        let init = async { init.await.with_life(self.life) };
        self.cache.load_entry_async(self.key.lent(), || self.key.owned(), wants, init).await
    }
}
