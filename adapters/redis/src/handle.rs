//! The near cache as its users hold it. All that it does is in `near.rs`.

use crate::NearCacheBuilder;
use crate::error::Error;
use crate::local::Key;
use crate::near::Near;
use crate::stats::{State, Stats};
use redis::Value;
use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// A near cache: what was read from Redis or Valkey is kept here, and served from here until the server says that it was changed.
///
/// No hit misses a write that the server acknowledged more than one [lease](NearCacheBuilder::lease) before the call. It is not
/// linearizable: within a lease, two readers may see two values. A write by a handle is seen by every read that begins on it after that.
///
/// Cloning it clones a handle. The task and the connection end with the last one.
///
/// Keys are whatever is bytes: strings, vectors, arrays. They are bytes in Redis, too, behind the [prefix](NearCacheBuilder::prefix).
///
/// # Concurrency
///
/// Every call may be dropped at any await. Others that wait for the same key are served all the same; a write may then have been made, or not. Calls
/// need a tokio runtime with time.
///
/// ```no_run
/// # #[cfg(feature = "json")]
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use tidewheel_redis::{Json, NearCache, redis};
///
/// let client = redis::Client::open("redis://127.0.0.1/")?;
/// let near = NearCache::<String, u64>::builder().codec(Json).prefix("visits:").connect(client).await?;
/// let page = "index".to_string();
/// near.put(&page, &7, Some(Duration::from_secs(60))).await?;
/// assert_eq!(near.get(&page).await?, Some(7)); // asks Redis
/// assert_eq!(near.get(&page).await?, Some(7)); // does not
/// # Ok(())
/// # }
/// ```
pub struct NearCache<K: ?Sized, V> {
    near: Arc<Near<V>>,
    key: PhantomData<fn(&K)>,
}

impl<K: ?Sized, V> Clone for NearCache<K, V> {
    fn clone(&self) -> Self {
        Self { near: Arc::clone(&self.near), key: PhantomData }
    }
}

impl<K: ?Sized, V> fmt::Debug for NearCache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NearCache").field("state", &self.near.state()).finish_non_exhaustive()
    }
}

impl<K, V> NearCache<K, V>
where
    K: ?Sized + AsRef<[u8]>,
    V: Clone + Send + Sync + 'static,
{
    /// Builds one.
    ///
    /// ```no_run
    /// # #[cfg(feature = "message-pack")]
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use tidewheel_redis::{CutOff, MessagePack, NearCache, redis};
    ///
    /// let near = NearCache::<String, String>::builder()
    ///     .codec(MessagePack)
    ///     .max_capacity(100_000)
    ///     .max_age(Duration::from_secs(600))
    ///     .negative(Duration::from_secs(5))
    ///     .lease(Duration::from_millis(500))
    ///     .when_cut_off(CutOff::Fail)
    ///     .connect(redis::Client::open("redis://127.0.0.1/")?)
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> NearCacheBuilder<K, V> {
        NearCacheBuilder::new()
    }

    pub(crate) fn new(near: Near<V>) -> Self {
        Self { near: Arc::new(near), key: PhantomData }
    }

    /// A key's value: from here, or else from the server. Of all calls that ask for a key that is not here, one asks the server.
    ///
    /// # Errors
    ///
    /// If the value is not here, and the server does not answer, or answers with an error, or with bytes that do not decode. While the near
    /// cache is cut off, [`CutOff`](crate::CutOff) says what is an error.
    ///
    /// # Complexity
    ///
    /// A hit: a look at the clock, and a read of the core's, with a clone of the value.
    ///
    /// ```no_run
    /// # async fn example(near: tidewheel_redis::NearCache<str, u64>) -> Result<(), tidewheel_redis::Error> {
    /// near.put("index", &7, None).await?;
    /// assert_eq!(near.get("index").await?, Some(7));
    /// assert_eq!(near.get("nobody's").await?, None);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get(&self, key: &K) -> Result<Option<V>, Error> {
        let (key, local) = (key.as_ref(), &*self.near.line.local);
        // In this order: see `lease.rs`.
        let asked = local.lease.now();
        if local.lease.is_fresh(asked)
            && let Some(found) = local.find(key, asked)
        {
            return Ok(found);
        }
        Box::pin(self.near.ask(key, asked)).await
    }

    /// The values of many keys, in their order. What is not here is asked for in one pipeline, except what other calls are asking for already.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get): the first error. The answers for the other keys are kept.
    ///
    /// # Complexity
    ///
    /// O(keys).
    ///
    /// ```no_run
    /// # async fn example(near: tidewheel_redis::NearCache<str, u64>) -> Result<(), tidewheel_redis::Error> {
    /// near.put("index", &7, None).await?;
    /// assert_eq!(near.get_many(["nobody's", "index"]).await?, [None, Some(7)]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_many<'k>(&self, keys: impl IntoIterator<Item = &'k K>) -> Result<Vec<Option<V>>, Error>
    where
        K: 'k,
    {
        let asked = self.near.line.local.lease.now();
        let keys: Vec<Key> = keys.into_iter().map(|key| key.as_ref().into()).collect();
        Box::pin(self.near.ask_many(keys, asked)).await
    }

    /// A key's value; if the server has none, the loader makes it, and says how long it lives in Redis. Of all calls that ask this near cache for the
    /// key at the same time, one loads. Its value is put into Redis if there is still none there; otherwise the value that is there is returned.
    ///
    /// A write by this near cache overtakes the loads of its key that began before it: calls after it join none of them, and what those loads make is
    /// not put into Redis. If the connection breaks while a loaded value is on its way, the value may arrive late, as any write may.
    ///
    /// A [`remove`](Self::remove) does not reach loaders in other processes. A loader that read its source before the change for which you remove the key
    /// may write the old value afterwards. Where that matters, [`put`](Self::put) the new value, or give it a short life.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); [`Error::Load`] if the loader fails, for all who wait for it. That the value could not be written to Redis is no error.
    ///
    /// # Panics
    ///
    /// If the loader does, or asks this near cache to load the same key.
    ///
    /// ```no_run
    /// # async fn example(near: tidewheel_redis::NearCache<str, u64>) -> Result<(), tidewheel_redis::Error> {
    /// use std::time::Duration;
    ///
    /// let minute = Duration::from_secs(60);
    /// let load = || async { Ok::<_, std::io::Error>((7, Some(minute))) };
    /// assert_eq!(near.get_or_load("index", load).await?, 7);
    /// assert_eq!(near.get("index").await?, Some(7)); // for a minute
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_or_load<F, E>(&self, key: &K, load: impl FnOnce() -> F) -> Result<V, Error>
    where
        F: Future<Output = Result<(V, Option<Duration>), E>>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let mut load = Some(load);
        let asked = self.near.line.local.lease.now();
        loop {
            if let Some(value) = self.get(key).await? {
                return Ok(value);
            }
            let run = async {
                let load = load.take().expect("it has not run, or this call would have returned");
                self.near.load(key.as_ref(), load).await
            };
            let fill = Box::pin(self.near.loads.get_with_async(key.as_ref().into(), run)).await;
            if self.near.counts_for(asked, &fill) {
                match fill.answer {
                    Ok(Some(value)) => return Ok(value),
                    Ok(None) => {}
                    Err(error) => return Err(*error),
                }
            }
        }
    }

    /// Writes a key, for all. Without a time to live it stays until it is removed. So it does with one that is longer than Redis can count,
    /// as [`Duration::MAX`] is.
    ///
    /// # Errors
    ///
    /// If it does not encode, or the time to live is less than a millisecond: then nothing was sent. If the server does not answer, or the connection breaks: then it
    /// may have been written. It is not sent twice.
    ///
    /// ```no_run
    /// # async fn example(near: tidewheel_redis::NearCache<str, u64>) -> Result<(), tidewheel_redis::Error> {
    /// use std::time::Duration;
    ///
    /// near.put("index", &7, Some(Duration::from_secs(60))).await?;
    /// assert_eq!(near.get("index").await?, Some(7));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn put(&self, key: &K, value: &V, ttl: Option<Duration>) -> Result<(), Error> {
        let key = key.as_ref();
        let command = self.near.set(key, value, ttl)?;
        self.near.write(key, &command).await.map(drop)
    }

    /// Removes a key, for all clients. Returns whether it was there.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    ///
    /// ```no_run
    /// # async fn example(near: tidewheel_redis::NearCache<str, u64>) -> Result<(), tidewheel_redis::Error> {
    /// near.put("index", &7, None).await?;
    /// assert!(near.remove("index").await?);
    /// assert_eq!(near.get("index").await?, None);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove(&self, key: &K) -> Result<bool, Error> {
        let key = key.as_ref();
        let mut command = redis::cmd("DEL");
        command.arg(self.near.name(key));
        let answer = self.near.write(key, &command).await?;
        Ok(matches!(answer, Value::Int(1..)))
    }

    /// What [`get`](Self::get) would serve from here, without asking anybody; while it is cut off, what it would serve with
    /// [`CutOff::ServeStale`](crate::CutOff::ServeStale). Also `None` where it is remembered that the server has no value. It does not count as a read, neither
    /// in the figures nor for what is evicted.
    ///
    /// ```no_run
    /// # async fn example(near: tidewheel_redis::NearCache<str, u64>) -> Result<(), tidewheel_redis::Error> {
    /// assert_eq!(near.peek_local("index"), None); // nobody has asked
    /// let visits = near.get("index").await?;
    /// assert_eq!(near.peek_local("index"), visits);
    /// # Ok(())
    /// # }
    /// ```
    pub fn peek_local(&self, key: &K) -> Option<V> {
        self.near.peek(key.as_ref())
    }

    /// Waits until hits are served: after a cut, until the server answers again.
    ///
    /// ```no_run
    /// # async fn example(near: tidewheel_redis::NearCache<str, u64>) -> Result<(), tidewheel_redis::Error> {
    /// near.fresh().await;
    /// assert!(matches!(near.state(), tidewheel_redis::State::Fresh { .. }));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn fresh(&self) {
        self.near.line.fresh().await;
    }

    /// Whether hits are served from here; if not, since when and why.
    ///
    /// ```no_run
    /// # async fn example(near: tidewheel_redis::NearCache<str, u64>) -> Result<(), tidewheel_redis::Error> {
    /// use tidewheel_redis::State;
    ///
    /// match near.state() {
    ///     State::Fresh { age, .. } => println!("nothing is older than {age:?}"),
    ///     State::CutOff { lasting, cause, .. } => println!("cut off for {lasting:?}: {cause:?}"),
    ///     _ => {}
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn state(&self) -> State {
        self.near.state()
    }

    /// What happened so far.
    ///
    /// ```no_run
    /// # async fn example(near: tidewheel_redis::NearCache<str, u64>) -> Result<(), tidewheel_redis::Error> {
    /// near.put("index", &7, None).await?;
    /// near.get("index").await?; // asks Redis
    /// near.get("index").await?; // does not
    /// assert!(near.stats().hits >= 1 && near.stats().fills >= 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.near.stats()
    }

    /// A number that no other near cache of this process has, as long as this one is there or somebody [`watch`](Self::watch)es it. Handles of one near cache
    /// have the same.
    ///
    /// ```
    /// use tidewheel_redis::NearCache;
    ///
    /// fn are_the_same(one: &NearCache<String, u32>, other: &NearCache<String, u32>) -> bool {
    ///     one.id() == other.id()
    /// }
    /// ```
    #[must_use]
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.near).addr()
    }

    /// A function that returns the [`stats`](Self::stats) whenever it is called. It does not keep the near cache alive, and returns `None` once the
    /// last handle is dropped. For exporters of figures (`tidewheel-metrics` has one).
    pub fn watch(&self) -> impl Fn() -> Option<Stats> + Send + Sync + use<K, V> {
        let near = Arc::downgrade(&self.near);
        move || near.upgrade().map(|near| near.stats())
    }
}
