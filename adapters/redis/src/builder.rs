//! What a near cache is built with. Knows how to check it, and nothing of how it is used.

use crate::NearCache;
use crate::codec::Codec;
use crate::error::Error;
use crate::keeper::{Line, Slot, keep};
use crate::lease::{Lease, LinkNumber};
use crate::link::{Tracking, with_resp3, within};
use crate::local::{Fill, Key, Local};
use crate::near::{Near, Terms};
use crate::stats::State;
use redis::Client;
use std::error::Error as _;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;
use tidewheel::{BuildError, Cache};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

/// What a read does while there is no telling how old the local entries are.
///
/// ```
/// use tidewheel_redis::CutOff;
/// assert_eq!(CutOff::default(), CutOff::Bypass);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum CutOff {
    /// It asks the server each time, with one question for each key at a time. If the server does not answer, that is an error.
    #[default]
    Bypass,
    /// It is an error at once: [`Error::CutOff`].
    Fail,
    /// It gets what is here, for this long after the lease ran out: no older than the lease and this time together. What is not here is asked for.
    ServeStale(Duration),
}

/// Builds a [`NearCache`]: see [`NearCache::builder`].
#[must_use = "nothing is connected until `connect`"]
pub struct NearCacheBuilder<K: ?Sized, V> {
    codec: Option<Arc<dyn Codec<V>>>,
    prefix: Option<Vec<u8>>,
    max_capacity: u64,
    max_age: Duration,
    negative: Duration,
    lease: Duration,
    patience: Duration,
    cut_off: CutOff,
    key: PhantomData<fn(&K)>,
}

impl<K: ?Sized, V> fmt::Debug for NearCacheBuilder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NearCacheBuilder")
            .field("lease", &self.lease)
            .field("cut_off", &self.cut_off)
            .finish_non_exhaustive()
    }
}

/// The shortest lease: below it, the system's own delays would cut it off all the time.
const LEAST_LEASE: Duration = Duration::from_millis(10);

impl<K, V> NearCacheBuilder<K, V>
where
    K: ?Sized + AsRef<[u8]>,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn new() -> Self {
        Self {
            codec: None,
            prefix: None,
            max_capacity: 10_000,
            max_age: Duration::from_secs(600),
            negative: Duration::ZERO,
            lease: Duration::from_millis(500),
            patience: Duration::from_secs(5),
            cut_off: CutOff::Bypass,
            key: PhantomData,
        }
    }

    /// How values are written and read. There is no default.
    ///
    /// ```no_run
    /// # #[cfg(feature = "json")]
    /// # async fn example(client: tidewheel_redis::redis::Client) -> Result<(), tidewheel_redis::Error> {
    /// use tidewheel_redis::{Error, Json, NearCache};
    ///
    /// let error = NearCache::<str, u64>::builder().connect(client.clone()).await.unwrap_err();
    /// assert!(matches!(error, Error::Settings { .. })); // no codec
    /// let near = NearCache::<str, u64>::builder().codec(Json).connect(client).await?;
    /// near.put("index", &7, None).await?;
    /// assert_eq!(near.get("index").await?, Some(7));
    /// # Ok(())
    /// # }
    /// ```
    pub fn codec(self, codec: impl Codec<V>) -> Self {
        Self { codec: Some(Arc::new(codec)), ..self }
    }

    /// What the keys in Redis begin with; pass keys to calls without it. The server then reports all changes under that prefix, whatever was
    /// asked for (*broadcasting mode*). It remembers nothing for this client, and reports keys that are not here, too.
    ///
    /// Without a prefix the server remembers which keys were asked for, and tells of these alone (*opt-in mode*).
    ///
    /// ```no_run
    /// # #[cfg(feature = "json")]
    /// # async fn example(client: tidewheel_redis::redis::Client) -> Result<(), tidewheel_redis::Error> {
    /// use tidewheel_redis::{Json, NearCache, redis};
    ///
    /// let near = NearCache::<str, u64>::builder().codec(Json).prefix("visits:").connect(client.clone()).await?;
    /// near.put("index", &7, None).await?;
    /// let mut connection = client.get_multiplexed_async_connection().await?;
    /// let there: String = redis::cmd("GET").arg("visits:index").query_async(&mut connection).await?;
    /// assert_eq!(there, "7");
    /// # Ok(())
    /// # }
    /// ```
    pub fn prefix(self, prefix: impl AsRef<[u8]>) -> Self {
        Self { prefix: Some(prefix.as_ref().to_vec()), ..self }
    }

    /// How many entries there are at most. Default: 10,000.
    ///
    /// ```no_run
    /// # #[cfg(feature = "json")]
    /// # async fn example(client: tidewheel_redis::redis::Client) -> Result<(), tidewheel_redis::Error> {
    /// use tidewheel_redis::{Json, NearCache};
    ///
    /// let near = NearCache::<str, u64>::builder().codec(Json).max_capacity(2).connect(client).await?;
    /// near.get_many(["a", "b", "c"]).await?;
    /// assert!(near.stats().entries <= 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_capacity(self, entries: u64) -> Self {
        Self { max_capacity: entries, ..self }
    }

    /// How long an entry is served at most, whatever the server says. If the server has a shorter time for the key, that counts. Default: ten minutes.
    ///
    /// ```no_run
    /// # #[cfg(feature = "json")]
    /// # async fn example(client: tidewheel_redis::redis::Client) -> Result<(), tidewheel_redis::Error> {
    /// use std::time::Duration;
    /// use tidewheel_redis::{Json, NearCache};
    ///
    /// let second = Duration::from_secs(1);
    /// let near = NearCache::<str, u64>::builder().codec(Json).max_age(second).connect(client).await?;
    /// near.get("index").await?;
    /// tokio::time::sleep(second).await;
    /// assert_eq!(near.peek_local("index"), None); // whatever it was
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_age(self, age: Duration) -> Self {
        Self { max_age: age, ..self }
    }

    /// How long it is remembered that the server has no value for a key. Zero, the default: not at all. What is written to the key
    /// meanwhile ends that, like any entry.
    ///
    /// ```no_run
    /// # #[cfg(feature = "json")]
    /// # async fn example(client: tidewheel_redis::redis::Client) -> Result<(), tidewheel_redis::Error> {
    /// use std::time::Duration;
    /// use tidewheel_redis::{Json, NearCache};
    ///
    /// let builder = NearCache::<str, u64>::builder().codec(Json).negative(Duration::from_secs(5));
    /// let near = builder.connect(client).await?;
    /// assert_eq!(near.get("nobody's").await?, None); // asks Redis
    /// assert_eq!(near.get("nobody's").await?, None); // does not
    /// assert_eq!(near.stats().fills, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn negative(self, age: Duration) -> Self {
        Self { negative: age, ..self }
    }

    /// How old a served value may be: no hit misses a write that the server acknowledged longer ago than this. Every quarter of it a PING
    /// is sent. For hits without a break it must be twice as long as an answer takes; with a [prefix](Self::prefix), three times as long, since
    /// the lease then counts from the PING before the one that was answered. For any hits at all it must be longer than one answer takes; with a
    /// prefix, longer than two.
    /// Default: 500 ms; 10 ms at least.
    ///
    /// ```no_run
    /// # #[cfg(feature = "json")]
    /// # async fn example(client: tidewheel_redis::redis::Client) -> Result<(), tidewheel_redis::Error> {
    /// use std::time::Duration;
    /// use tidewheel_redis::{Error, Json, NearCache};
    ///
    /// let builder = || NearCache::<str, u64>::builder().codec(Json);
    /// assert!(builder().lease(Duration::from_millis(100)).connect(client.clone()).await.is_ok());
    /// let error = builder().lease(Duration::from_millis(1)).connect(client).await.unwrap_err();
    /// assert!(matches!(error, Error::Settings { .. })); // 10 ms is the least
    /// # Ok(())
    /// # }
    /// ```
    pub fn lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// How long the server is given for an answer, or for a connection, until the call fails with [`Error::TimedOut`]; a connection whose PING is not
    /// answered for so long is given up, and made anew. Default: 5 s; not less than the lease.
    ///
    /// ```no_run
    /// # #[cfg(feature = "json")]
    /// # async fn example(client: tidewheel_redis::redis::Client) -> Result<(), tidewheel_redis::Error> {
    /// use std::time::Duration;
    /// use tidewheel_redis::{Error, Json, NearCache};
    ///
    /// let builder = || NearCache::<str, u64>::builder().codec(Json);
    /// assert!(builder().patience(Duration::from_secs(1)).connect(client.clone()).await.is_ok());
    /// let error = builder().patience(Duration::from_millis(1)).connect(client).await.unwrap_err();
    /// assert!(matches!(error, Error::Settings { .. })); // shorter than the lease
    /// # Ok(())
    /// # }
    /// ```
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// What reads do while it is not known how old the local entries are. Default: [`CutOff::Bypass`].
    ///
    /// ```no_run
    /// # #[cfg(feature = "json")]
    /// # async fn example(client: tidewheel_redis::redis::Client) -> Result<(), tidewheel_redis::Error> {
    /// use tidewheel_redis::{CutOff, Error, Json, NearCache, State};
    ///
    /// let near = NearCache::<str, u64>::builder().codec(Json).when_cut_off(CutOff::Fail).connect(client).await?;
    /// if let (State::CutOff { .. }, Err(error)) = (near.state(), near.get("index").await) {
    ///     assert!(matches!(error, Error::CutOff { .. }));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn when_cut_off(self, what: CutOff) -> Self {
        Self { cut_off: what, ..self }
    }

    /// Connects, and returns once the server has agreed to tell of changes and has answered: from then on hits are served. It speaks RESP3, whatever the client's settings say.
    ///
    /// The connection is kept by a task on the tokio runtime that this is called on. It needs a runtime with time and network. If that runtime ends, the
    /// near cache is cut off.
    ///
    /// # Errors
    ///
    /// [`Error::Settings`] if a setting is missing or not allowed; also if the system gives the local cache no random keys, or no thread.
    /// [`Error::Refused`] if the server knows no RESP3 or no tracking, or does not let this user send
    /// a command that the near cache needs. [`Error::TimedOut`] if an answer takes longer than the patience, or always longer than
    /// the lease (with a prefix: than half of it). [`Error::Redis`] if each PING was answered with an error until the patience was over: the last one. Others if there is no connection.
    ///
    /// # Panics
    ///
    /// If it is not called on a tokio runtime.
    pub async fn connect(self, client: Client) -> Result<NearCache<K, V>, Error> {
        let codec = self.checked()?;
        let client = with_resp3(&client)?;
        let tracking = match &self.prefix {
            Some(prefix) => Tracking::Broadcast(prefix.as_slice().into()),
            None => Tracking::OptIn,
        };
        let (cache, asks, loads) = (self.cache()?, flights()?, flights()?);
        let local = Arc::new(Local::new(cache, asks, Lease::new(self.lease), tracking.prefix().into()));
        let slot = watch::Sender::new(Slot::Connecting(None));
        let (patience, runtime, renewed) = (self.patience, Handle::current(), Notify::new());
        let line = Arc::new(Line { local, client, tracking, patience, slot, runtime, renewed });
        let link = line.open(LinkNumber::FIRST).await?;
        if let Some(answer) = link.refusal() {
            return Err(Error::Refused { answer: answer.clone() });
        }
        line.put_up(&link);
        let keeper = tokio::spawn(keep(Arc::clone(&line), link)).abort_handle();
        let terms = Terms { codec, max_age: self.max_age, negative: self.negative, cut_off: self.cut_off };
        let under_way = Arc::default();
        let near = NearCache::new(Near { line, loads, under_way, terms, keeper });
        let fresh = async {
            near.fresh().await;
            Ok(())
        };
        match (within(self.patience, fresh).await, near.state()) {
            (Ok(()), _) => Ok(near),
            // The server was not silent, or there is no connection any more.
            (Err(_), State::CutOff { cause: Some(cause), .. }) => Err(cause),
            (Err(late), _) => Err(late),
        }
    }

    fn checked(&self) -> Result<Arc<dyn Codec<V>>, Error> {
        let wrong = |what: String| Err(Error::Settings { what });
        if self.lease < LEAST_LEASE {
            return wrong(format!("a lease of {:?}, where {LEAST_LEASE:?} is the least", self.lease));
        }
        if self.patience < self.lease {
            return wrong(format!(
                "a patience of {:?}, shorter than the lease of {:?}",
                self.patience, self.lease
            ));
        }
        if self.max_age.is_zero() {
            return wrong("a maximal age of nothing: no entry would ever be served".into());
        }
        self.codec.clone().ok_or_else(|| Error::Settings { what: "no codec: how are values written?".into() })
    }

    fn cache(&self) -> Result<Cache<Key, Fill<V>>, Error> {
        let builder =
            Cache::builder().max_capacity(self.max_capacity).time_to_live(self.max_age).record_stats();
        builder.build().map_err(|error| not_built(&error))
    }
}

/// A cache for its flights alone: nothing is ever kept in it.
fn flights<V: Clone + Send + Sync + 'static>() -> Result<Cache<Key, Fill<V>>, Error> {
    Cache::builder().max_capacity(0).shards(1).build().map_err(|error| not_built(&error))
}

/// Of a cache, with the reason behind it.
fn not_built(error: &BuildError) -> Error {
    let why = error.source().map_or(String::new(), |source| format!(": {source}"));
    Error::Settings { what: format!("{error}{why}") }
}
