//! From which age on values are loaded anew, and by whom.

use super::CacheBuilder;
use crate::cache::{Background, RefreshJob};
#[cfg(feature = "async")]
use crate::cache::{RefreshTask, Reloading};
use crate::sync::Arc;
use crate::time::Span;
use std::time::Duration;

impl<K, V> CacheBuilder<K, V> {
    /// The age from which on a value is loaded again, while the old one is served ("stale while
    /// revalidate"). Default: never.
    ///
    /// It must be more than zero, and less than the time to live and the maximal age, if there are
    /// any. Otherwise it is an error of [`build`](Self::build), because values would be gone before
    /// they are old. (Some values may still be gone before: where a
    /// [`ttl_jitter`](Self::ttl_jitter) shortens their time to live, or they have a shorter one of
    /// their own.)
    ///
    /// The value is loaded by a call of [`get_with`](crate::Cache::get_with) or its like (by value,
    /// by reference, with a [timeout](crate::Cache::timeout) or async) that finds it older than
    /// that. The call runs its own closure, and returns what it loaded. One call at a time does so
    /// for a key. All others get the old value until then, and wait for nothing.
    ///
    /// If the closure fails, says that there is no value, panics or is dropped, the old value
    /// stays, and the next attempt comes after a tenth of this time. The caller gets what is there
    /// by then. If nothing is there any more, it gets what its closure came to, as in a call that
    /// found nothing. The entry's deadline stays as it was until the new value is there, so no
    /// value is served past it. If the key is written or removed meanwhile, the loaded value is not
    /// stored, as with any load. A call that finds the key being computed gets the old value, and
    /// the next attempt comes after a tenth of this time, too.
    ///
    /// The age counts from the last write of the value; a touch does not renew it. A
    /// [`rename`](crate::Cache::rename) counts as a write under the new key. The new value
    /// takes the old one's place as by [`replace`](crate::Cache::replace): an entry's own time to
    /// live starts again, its [`max_age`](Self::max_age) goes on, and an [`Expiry`](crate::Expiry)
    /// is asked as about any update. The key that is stored is the one that the call was given. Other
    /// reads ([`get`](crate::Cache::get), entries, many keys at once) have no closure to load with,
    /// and load nothing.
    ///
    /// It takes eight bytes for each entry, and a second look
    /// at the entry for each hit of `get_with`.
    ///
    /// ```
    /// use std::time::Duration;
    /// let clock = tidewheel::ManualClock::new();
    /// let cache = tidewheel::Cache::builder()
    ///     .time_to_live(Duration::from_secs(60))
    ///     .refresh_after_write(Duration::from_secs(10))
    ///     .clock(clock.clone())
    ///     .build()?;
    /// assert_eq!(cache.get_with("k", || 1), 1);
    /// clock.advance(Duration::from_secs(11));
    /// assert_eq!(cache.try_get_with("k", || Err("not now")), Ok(1)); // better old than none
    /// clock.advance(Duration::from_secs(1));
    /// assert_eq!(cache.get_with("k", || 2), 2);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn refresh_after_write(mut self, age: Duration) -> Self {
        self.refresh = Some(Span::from_duration(age));
        self
    }

    /// Has old values loaded in the background, so that no caller waits for that. `executor` is
    /// given a job, to run wherever it likes. The job asks `reload` for the new value of a key, and
    /// passes it the old one. With `None` the old one stays. Without a
    /// [`refresh_after_write`](Self::refresh_after_write) this is an error of
    /// [`build`](Self::build). Default: the caller that finds the value old loads it.
    ///
    /// # Concurrency
    ///
    /// The executor is called on the thread of the caller that found the value old, under no lock.
    /// If it panics, the caller is served the old value all the same, and nothing counts the panic. A job
    /// that is dropped before it has run (by an executor that panics, too) delays the next attempt like
    /// a failure, but is not counted as one. A job keeps no cache alive. `reload` runs where the job
    /// does. It may use the cache, but not load or compute the same key: that panics, since it would wait
    /// for itself.
    ///
    /// Nobody waits for a job. Once the old value has expired, the next call loads with its own
    /// closure. The value that a job brings replaces the old value. It is discarded if the old
    /// value has expired by then, or was evicted, written or removed since it was found old. If
    /// that happened before the job began, `reload` is not asked at all.
    ///
    /// ```
    /// use std::time::Duration;
    /// let clock = tidewheel::ManualClock::new();
    /// let cache = tidewheel::Cache::builder()
    ///     .refresh_after_write(Duration::from_secs(10))
    ///     .refresh_with(|_: &&str, old: &i32| Some(old + 1), |job| drop(std::thread::spawn(job)))
    ///     .clock(clock.clone())
    ///     .build()?;
    /// assert_eq!(cache.get_with("k", || 1), 1);
    /// clock.advance(Duration::from_secs(11));
    /// assert_eq!(cache.get_with("k", || unreachable!("it is there")), 1); // and somebody is at it
    /// while cache.peek("k") == Some(1) {
    ///     std::thread::yield_now();
    /// }
    /// assert_eq!(cache.get("k"), Some(2));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn refresh_with(
        mut self,
        reload: impl Fn(&K, &V) -> Option<V> + Send + Sync + 'static,
        executor: impl Fn(RefreshJob) + Send + Sync + 'static,
    ) -> Self {
        self.background = Some(Background::Jobs { reload: Arc::new(reload), executor: Box::new(executor) });
        self
    }

    /// As [`refresh_with`](Self::refresh_with), for async code: `reload` returns a future that
    /// makes the new value, and `executor` is given a task to spawn. If both are set, the last one
    /// counts.
    ///
    /// The future is `'static`. So it has to take clones of what it needs of the key and of the old
    /// value.
    ///
    /// # Concurrency
    ///
    /// As [`refresh_with`](Self::refresh_with). If a task is dropped, at whatever point, the old
    /// value stays, and another attempt comes later. So an executor that can only panic where it is
    /// called (`tokio::spawn` on a thread outside the runtime) refreshes nothing: give it a handle of the
    /// runtime.
    ///
    /// ```
    /// use std::time::Duration;
    /// # use futures_lite::future::block_on;
    /// async fn fetch(key: &str, version: i32) -> Option<i32> {
    ///     (key == "k").then_some(version + 1)
    /// }
    ///
    /// let clock = tidewheel::ManualClock::new();
    /// let cache = tidewheel::Cache::builder()
    ///     .refresh_after_write(Duration::from_secs(10))
    ///     .refresh_with_async(
    ///         |key: &&str, old: &i32| fetch(*key, *old),
    ///         |task| block_on(task), // with tokio: |task| drop(tokio::spawn(task))
    ///     )
    ///     .clock(clock.clone())
    ///     .build()?;
    /// assert_eq!(cache.get_with("k", || 1), 1);
    /// clock.advance(Duration::from_secs(11));
    /// assert_eq!(cache.get_with("k", || unreachable!("it is there")), 1);
    /// assert_eq!(cache.get("k"), Some(2));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[cfg(feature = "async")]
    pub fn refresh_with_async<F>(
        mut self,
        reload: impl Fn(&K, &V) -> F + Send + Sync + 'static,
        executor: impl Fn(RefreshTask) + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Option<V>> + Send + 'static,
    {
        let reload = Arc::new(move |key: &K, old: &V| Box::pin(reload(key, old)) as Reloading<V>);
        self.background = Some(Background::Tasks { reload, executor: Box::new(executor) });
        self
    }
}
