//! The listeners: who is told of values that left a cache, and warned of entries that are about to
//! expire.

use super::CacheBuilder;
use crate::listener::RemovalCause;
use crate::time::Span;
use std::time::Duration;

impl<K, V> CacheBuilder<K, V> {
    /// A function that is called for every removed value, once. Default: none.
    ///
    /// The call that removes a value calls it, before it returns. Such a call replaces, removes or
    /// evicts the value, or it writes to a key, or is about to load it, and finds an expired value
    /// there. All other expired values are removed by the reaper, which calls it with
    /// [`Expired`](RemovalCause::Expired). While the reaper is late, each write removes some of
    /// them, and calls it.
    ///
    /// # Concurrency
    ///
    /// Called outside every lock, on the thread that has removed the value. Calls on different
    /// threads come in no particular order. It may use the cache. But a listener that answers each
    /// eviction from a full cache with an insert of something new never comes to an end. A panic is
    /// caught, and the listener stays installed. A listener that blocks on the reaper's thread
    /// delays the release of memory, never visibility. If it captures its own cache, the cache
    /// never goes away: capture a [`WeakCache`](crate::WeakCache). It is not called for what is in
    /// the cache when the cache is dropped.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    /// use std::sync::Arc;
    ///
    /// let removed = Arc::new(AtomicUsize::new(0));
    /// let count = removed.clone();
    /// let cache = tidewheel::Cache::builder()
    ///     .eviction_listener(move |_: &u64, _: &u64, _| { count.fetch_add(1, Ordering::Relaxed); })
    ///     .build()?;
    /// cache.insert(1, 1);
    /// cache.invalidate(&1);
    /// assert_eq!(removed.load(Ordering::Relaxed), 1);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    ///
    /// # To keep an index by key
    ///
    /// A call says that a value has left, and not that its key has. Of two threads that replace a
    /// value one after the other, the second may be the first to call. And when the reaper reports
    /// an expired value, another thread may just have stored a new one under its key.
    ///
    /// So if you keep something by key beside a cache that several threads use, do not go by the
    /// cause. Treat a call as a hint, and look at what is in the cache: under the index's own lock,
    /// and after each of your own writes too. Then the last look sees the last change, whatever the
    /// order of the calls.
    ///
    /// ```
    /// use std::collections::HashSet;
    /// use std::sync::{Arc, Mutex, OnceLock};
    /// use tidewheel::{Cache, WeakCache};
    ///
    /// #[derive(Default)]
    /// struct Index {
    ///     keys: Mutex<HashSet<u64>>,
    ///     cache: OnceLock<WeakCache<u64, String>>,
    /// }
    ///
    /// impl Index {
    ///     fn look(&self, key: u64) {
    ///         let cache = self.cache.get().and_then(WeakCache::upgrade);
    ///         let mut keys = self.keys.lock().unwrap();
    ///         // A look takes no lock of the cache's.
    ///         if cache.as_ref().is_some_and(|cache| cache.contains_key(&key)) {
    ///             keys.insert(key);
    ///         } else {
    ///             keys.remove(&key);
    ///         }
    ///     }
    /// }
    ///
    /// let index = Arc::new(Index::default());
    /// let heard = index.clone();
    /// let cache = Cache::builder()
    ///     .eviction_listener(move |&key: &u64, _: &String, _| heard.look(key))
    ///     .build()?;
    /// let _ = index.cache.set(cache.downgrade());
    ///
    /// cache.insert(7, "seven".to_string());
    /// index.look(7);                          // after the write, not before it
    /// assert!(index.keys.lock().unwrap().contains(&7));
    /// cache.invalidate(&7);
    /// assert!(!index.keys.lock().unwrap().contains(&7));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn eviction_listener(
        mut self,
        listener: impl Fn(&K, &V, RemovalCause) + Send + Sync + 'static,
    ) -> Self {
        self.listener.on_removed(Box::new(listener));
        self
    }

    /// A function that is called for every expired value, once, with many values at a time: for
    /// instance to delete many rows of a database with one statement. Default: none. If there is an
    /// [`eviction_listener`](Self::eviction_listener) as well, it is called for the same values
    /// first, one by one.
    ///
    /// There is one call for all that expires in a shard in one second. If that is more than 4,096
    /// entries, there is one for each few thousand of them. A batch is never empty, and has at most
    /// 5,120 entries. An expired value that a call removed (it needed the room, wrote to the key,
    /// or did some of a late reaper's work) is a batch of its own.
    ///
    /// # Concurrency
    ///
    /// Like an [`eviction_listener`](Self::eviction_listener) that is called with
    /// [`Expired`](RemovalCause::Expired). It is told of values, not of keys: while the reaper
    /// reports a batch, other threads may store new values under these keys. The docs
    /// [there](Self::eviction_listener) show how to keep an index all the same.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    ///
    /// let (sender, batches) = mpsc::channel();
    /// let clock = tidewheel::ManualClock::new();
    /// let cache = tidewheel::Cache::builder()
    ///     .shards(1)
    ///     .time_to_live(Duration::from_secs(5))
    ///     .expiration_listener(move |entries: &[(&u64, &char)]| {
    ///         sender.send(entries.iter().map(|(key, _)| **key).collect::<Vec<_>>()).unwrap();
    ///     })
    ///     .clock(clock.clone())
    ///     .build()?;
    /// (0..100).for_each(|key| cache.insert(key, 'a'));
    /// clock.advance(Duration::from_secs(6));
    /// assert_eq!(batches.try_iter().map(|keys| keys.len()).collect::<Vec<_>>(), [100]);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn expiration_listener(mut self, batches: impl Fn(&[(&K, &V)]) + Send + Sync + 'static) -> Self {
        self.listener.on_expired(Box::new(batches));
        self
    }

    /// A function that is called for an entry some time before it expires: to save it, to ask its
    /// owner, or to load it again. Default: none.
    ///
    /// It is called once for each deadline, between `lead` and `lead` less two seconds before it.
    /// For an entry whose whole time to live is shorter than that, it is called within two seconds
    /// after the entry was written, if the entry is still there. A replaced entry has a new
    /// deadline. So has one that was touched, or read where there is a time to idle. But the reaper
    /// does not learn of these at once: if it has warned of the entry before, the next warning may
    /// come as late as the old deadline.
    ///
    /// A lead of less than two seconds may be too short for a warning: then there is none.
    ///
    /// With it, [`expiring_within`](crate::Cache::expiring_within) counts an entry from its warning
    /// on.
    ///
    /// # Concurrency
    ///
    /// Called on the reaper's thread (or that of
    /// [`run_pending_tasks`](crate::Cache::run_pending_tasks)), outside every lock. So another
    /// thread may have replaced or removed the entry a moment ago. It may use the cache, the entry
    /// included: a touch gives the entry more time. While it runs, nothing that is removed
    /// meanwhile is dropped, in any cache of the process. A function that blocks delays the release
    /// of memory, never visibility. A panic is caught.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    ///
    /// let (sender, warnings) = mpsc::channel();
    /// let clock = tidewheel::ManualClock::new();
    /// let cache = tidewheel::Cache::builder()
    ///     .time_to_live(Duration::from_secs(60))
    ///     .expiration_warning_listener(Duration::from_secs(10), move |key: &&str, _: &i32| sender.send(*key).unwrap())
    ///     .clock(clock.clone())
    ///     .build()?;
    /// cache.insert("k", 1);
    /// clock.advance(Duration::from_secs(49));
    /// assert!(warnings.try_recv().is_err());
    /// clock.advance(Duration::from_secs(2));
    /// assert_eq!(warnings.try_recv(), Ok("k"));
    /// assert_eq!(cache.get("k"), Some(1));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn expiration_warning_listener(
        mut self,
        lead: Duration,
        warned: impl Fn(&K, &V) + Send + Sync + 'static,
    ) -> Self {
        // No lead at all would be no warning.
        self.warn_before = Span::from_duration(lead.max(Duration::from_nanos(1)));
        self.listener.on_expiring(Box::new(warned));
        self
    }
}
