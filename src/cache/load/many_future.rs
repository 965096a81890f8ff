//! Get many, or load those that are missing with one future.
//!
//! The same steps as in `many.rs`. The user's future is polled with all the turns in hand marked, and dropped after them.

use super::many::{BegunMany, Brought, Hand, Many, listen, the_error, wants_many};
use super::outcome::{NOT_ASKED, served, wants_option};
use crate::cache::Cache;
use crate::inflight::{Failure, Group, Wants, Who};
use crate::key_value::{Key, Value};
use crate::sync::Arc;
use std::future::poll_fn;
use std::hash::BuildHasher;
use std::pin::{Pin, pin};
use std::task::{Poll, Waker};

/// Load many keys, in a future.
impl<K, V, S> Cache<K, V, S>
where
    K: Key + Clone,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// As [`get_many_with`](Self::get_many_with), for async code: the closure is given clones of
    /// the keys that it has to bring, and returns a future, which brings them.
    ///
    /// # Panics
    ///
    /// As [`get_many_with`](Self::get_many_with), of the future, too.
    ///
    /// # Complexity
    ///
    /// O(n log n) for n keys, with two clones of each missing key; and O(n) more for each poll while
    /// it waits for other calls, but O(1) for each poll of the closure's future.
    ///
    /// # Concurrency
    ///
    /// As [`get_many_with`](Self::get_many_with). Cancel safe: if this call is dropped while it loads, others who wait for its keys load
    /// them. This future is `Send` if all is that it holds: `keys`, the closure, its future, and the iterator of the pairs.
    ///
    /// ```
    /// # use futures_lite::future::block_on;
    /// async fn query(keys: Vec<u32>) -> Vec<(u32, String)> {
    ///     keys.into_iter().map(|key| (key, key.to_string())).collect()
    /// }
    ///
    /// let cache = tidewheel::Cache::new(100);
    /// cache.insert(1, "one".to_string());
    /// let values = block_on(cache.get_many_with_async([1, 2], query));
    /// assert_eq!(values, [Some("one".to_string()), Some("2".to_string())]);
    /// ```
    pub async fn get_many_with_async<I, F>(
        &self,
        keys: impl IntoIterator<Item = K>,
        mut init: impl FnMut(Vec<K>) -> F,
    ) -> Vec<Option<V>>
    where
        I: IntoIterator<Item = (K, V)>,
        F: Future<Output = I>,
    {
        let mut asked = self.ask_many(keys);
        let sure = |keys| {
            let pairs = init(keys);
            async { Ok(pairs.await) }
        };
        let loaded = self.load_many_async(&mut asked, wants_option(), sure).await;
        loaded.unwrap_or_else(|_| unreachable!("{NOT_ASKED}"));
        served(asked.answer(), init)
    }

    /// As [`try_get_many_with`](Self::try_get_many_with), for async code: the closure is given
    /// clones of the keys that it has to bring, and returns a future, which brings them, or fails.
    ///
    /// # Errors
    ///
    /// As [`try_get_many_with`](Self::try_get_many_with).
    ///
    /// # Panics
    ///
    /// As [`get_many_with_async`](Self::get_many_with_async).
    ///
    /// # Complexity
    ///
    /// As [`get_many_with_async`](Self::get_many_with_async).
    ///
    /// # Concurrency
    ///
    /// As [`get_many_with_async`](Self::get_many_with_async), cancel safety included.
    ///
    /// ```
    /// # use futures_lite::future::block_on;
    /// let cache: tidewheel::Cache<u32, u32> = tidewheel::Cache::new(100);
    /// let failed = block_on(cache.try_get_many_with_async([1, 2], |_| async { Err::<Vec<_>, _>("no connection") }));
    /// assert_eq!(*failed.unwrap_err(), "no connection");
    /// ```
    pub async fn try_get_many_with_async<I, F, E>(
        &self,
        keys: impl IntoIterator<Item = K>,
        mut init: impl FnMut(Vec<K>) -> F,
    ) -> Result<Vec<Option<V>>, Arc<E>>
    where
        I: IntoIterator<Item = (K, V)>,
        F: Future<Output = Result<I, E>>,
        E: Send + Sync + 'static,
    {
        let mut asked = self.ask_many(keys);
        let fallible = |keys| {
            let pairs = init(keys);
            async { pairs.await.map_err(|error| Arc::new(error) as Failure) }
        };
        let loaded = self.load_many_async(&mut asked, wants_many::<E>(), fallible).await;
        served(loaded.map_err(the_error).map(|()| asked.answer()), init)
    }

    async fn load_many_async<I, F>(
        &self,
        asked: &mut Many<K, V>,
        wants: Wants,
        mut init: impl FnMut(Vec<K>) -> F,
    ) -> Result<(), Failure>
    where
        I: IntoIterator<Item = (K, V)>,
        F: Future<Output = Result<I, Failure>>,
    {
        // Before the turns, so that they are dropped after them.
        let mut brought = Brought::nothing();
        let mut running = pin!(None);
        let BegunMany { hand, mut waits } = self.begin_many(asked, wants);
        // As in `load_many`.
        let mut hand = hand;
        let values = &mut asked.values;
        hand.load_async(values, &mut brought, &mut init, running.as_mut()).await?;
        while !waits.is_empty() {
            let told = |waker: &Waker| listen(&waits, || Who::Task(waker.clone()));
            poll_fn(|context| if told(context.waker()) { Poll::Ready(()) } else { Poll::Pending }).await;
            hand = self.hear(values, wants, &mut waits)?;
            hand.load_async(values, &mut brought, &mut init, running.as_mut()).await?;
        }
        // As `served`.
        running.set(None);
        Ok(())
    }
}

impl<K, V, S> Hand<'_, K, V, S>
where
    K: Key + Clone,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// As `load`.
    async fn load_async<I, F>(
        &mut self,
        values: &mut [Option<V>],
        brought: &mut Brought<K, V, I::IntoIter>,
        init: &mut impl FnMut(Vec<K>) -> F,
        mut running: Pin<&mut Option<F>>,
    ) -> Result<(), Failure>
    where
        I: IntoIterator<Item = (K, V)>,
        F: Future<Output = Result<I, Failure>>,
    {
        if self.turns.is_empty() {
            return Ok(());
        }
        self.is_loading = true;
        let group = Group::of(self.turns.iter().filter_map(|(_, turn)| turn.hold.ticket));
        {
            // The future of the last time goes here, too, and all of the closure's doings are marked.
            let _marks = group.enter();
            let keys = self.turns.iter().map(|(_, turn)| turn.key().clone()).collect();
            running.set(Some(init(keys)));
        }
        let pairs = poll_fn(|context| {
            self.is_waiting = false;
            let marks = group.enter();
            let poll = || running.as_mut().as_pin_mut().expect("it was just put there").poll(context);
            let polled = self.turns[0].1.loading.span.within(poll);
            drop(marks);
            self.is_waiting = polled.is_pending();
            polled
        })
        .await;
        let marks = self.mark();
        let made = pairs.map(|pairs| brought.take(pairs.into_iter()));
        self.complete(values, brought, marks, made)
    }
}
