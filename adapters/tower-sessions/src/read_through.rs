//! A cache in front of a store that is slower: a database, as a rule.
//!
//! What is done to one session is done in turn: loads, saves and deletes of one id wait for each other in this process, by the cache's own
//! turns. So what is cached is what the store behind was last told. It never knows what that store is.
//! Compiled once for each release of tower-sessions-core: see `lib.rs`.

use super::tower_sessions_core::SessionStore;
use super::tower_sessions_core::session::{Id, Record};
use super::tower_sessions_core::session_store::{Error, Result};
use crate::{random, wall};
use async_trait::async_trait;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tidewheel::{BuildError, Cache, CacheBuilder, Clock, Expiry, Op, Reaper, StrictClock};

/// How many sessions are cached unless the builder is told otherwise.
const DEFAULT_CAPACITY: u64 = 10_000;
/// How long a record is served without asking the store behind, unless the builder is told otherwise.
const DEFAULT_CACHED_FOR: Duration = Duration::from_secs(60);

/// A store with a cache in front: sessions are loaded once, served from memory after that, and **a load never brings back what was
/// deleted meanwhile**. Use it instead of `CachingSessionStore`, which caches what it loaded, whatever happened meanwhile.
///
/// - **`load`** asks the store behind for what is not cached; requests that want one session at the same time ask once.
/// - **`create`** always takes a new id, as [`TidewheelStore`](super::TidewheelStore) does.
/// - **`save`** first asks the store behind, whatever is cached, and then saves there. The record is cached once that store has it. A session that
///   is not in the store behind is gone: it is not saved, but counted in [`late_saves`](Self::late_saves). (A store on a database would make a new
///   row for such a save, and the session would be back.) So a save costs one load more.
/// - **`delete`** goes to the store behind; once it returns, nothing is cached, and no load that began before can change that.
/// - **When a call fails or is cancelled**, nothing is cached: the next load asks.
/// - **The cache is bounded** and evicts; what is evicted is in the store behind.
///
/// All that holds for what is done through this store and its clones. What another process does to a session is seen by loads when
/// [`cached_for`](ReadThroughStoreBuilder::cached_for) is over. Saves see at once that it was deleted.
///
/// ```
/// use tidewheel_tower_sessions::{ReadThroughStore, TidewheelStore};
///
/// # let database = TidewheelStore::new();
/// let store = ReadThroughStore::new(database);
/// // let layer = tower_sessions::SessionManagerLayer::new(store);
/// assert_eq!(store.late_saves(), 0);
/// ```
#[derive(Clone)]
pub struct ReadThroughStore<S> {
    store: S,
    cache: Cache<Id, Cached>,
    cached_for: Duration,
    late_saves: Arc<AtomicU64>,
}

/// What is cached of a session.
#[derive(Clone)]
struct Cached {
    record: Record,
    /// How long it is cached, counted from when the cache gets it.
    life: Duration,
}

impl Cached {
    fn is_over(&self) -> bool {
        wall::is_over(self.record.expiry_date)
    }
}

/// Gives each the life that it comes with.
struct ItsOwn;

impl Expiry<Id, Cached> for ItsOwn {
    fn expire_after_create(&self, _: &Id, cached: &Cached) -> Option<Duration> {
        Some(cached.life)
    }

    fn expire_after_update(&self, _: &Id, cached: &Cached, _: Option<Duration>) -> Option<Duration> {
        Some(cached.life)
    }
}

/// Why a load came to no record.
enum Miss {
    Absent,
    Failed(Error),
}

/// Forgets what is cached of a session when it is dropped, unless it was told that all went well: a call may fail, panic, or be
/// cancelled, and nobody knows then what the store behind made of it.
struct Doubt<'c> {
    cache: &'c Cache<Id, Cached>,
    id: Id,
}

impl Doubt<'_> {
    fn settle(self) {
        std::mem::forget(self);
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        self.cache.invalidate(&self.id);
    }
}

impl<S: SessionStore> ReadThroughStore<S> {
    /// A cache for 10,000 sessions, each for a minute, in front of this store.
    ///
    /// # Panics
    ///
    /// As [`TidewheelStore::new`](super::TidewheelStore::new).
    ///
    /// ```
    /// use tidewheel_tower_sessions::{ReadThroughStore, TidewheelStore};
    /// let store = ReadThroughStore::new(TidewheelStore::new());
    /// ```
    #[must_use]
    pub fn new(store: S) -> Self {
        match Self::builder(store).build() {
            Ok(store) => store,
            Err(error) => panic!("no session store: {error:?}"),
        }
    }

    /// A builder of a cache in front of this store.
    ///
    /// ```
    /// use tidewheel_tower_sessions::{ReadThroughStore, TidewheelStore};
    /// let store = ReadThroughStore::builder(TidewheelStore::new()).max_capacity(100_000).build()?;
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn builder(store: S) -> ReadThroughStoreBuilder<S> {
        let cache = Cache::builder().clock(StrictClock).expire_after(ItsOwn);
        ReadThroughStoreBuilder { store, cache, capacity: DEFAULT_CAPACITY, cached_for: DEFAULT_CACHED_FOR }
    }

    /// The store behind.
    ///
    /// ```
    /// use tidewheel_tower_sessions::{ReadThroughStore, TidewheelStore};
    /// let store = ReadThroughStore::new(TidewheelStore::new());
    /// assert!(store.behind().is_empty());
    /// ```
    pub const fn behind(&self) -> &S {
        &self.store
    }

    /// How many saves came after their session's end, and changed nothing.
    ///
    /// ```
    /// use tidewheel_tower_sessions::{ReadThroughStore, TidewheelStore};
    /// assert_eq!(ReadThroughStore::new(TidewheelStore::new()).late_saves(), 0);
    /// ```
    #[must_use]
    pub fn late_saves(&self) -> u64 {
        // ORDERING: Relaxed; a number to look at.
        self.late_saves.load(Ordering::Relaxed)
    }

    /// What is to be cached of a record, for which the store behind was asked at `asked`. The answer may lack what another process has done since
    /// then. So the life in the cache counts from the question.
    fn to_cache(&self, record: Record, asked: Instant) -> Cached {
        let life = self.cached_for.saturating_sub(asked.elapsed());
        Cached { life: life.min(wall::remaining(record.expiry_date)), record }
    }

    /// What is cached of a session, unless the calendar says that it is over: the store behind may know of a later date.
    fn cached(&self, id: &Id) -> Option<Record> {
        let found = self.cache.read(id, |cached| (!cached.is_over()).then(|| cached.record.clone()));
        if let Some(None) = found {
            self.cache.remove_if(id, Cached::is_over);
        }
        found.flatten()
    }

    async fn fetch(&self, id: &Id) -> std::result::Result<Cached, Miss> {
        let asked = Instant::now();
        match self.store.load(id).await {
            Ok(Some(record)) if !wall::is_over(record.expiry_date) => Ok(self.to_cache(record, asked)),
            Ok(_) => Err(Miss::Absent),
            Err(error) => Err(Miss::Failed(error)),
        }
    }

    /// Saves a record, in its session's turn, and says so in `saved`; what is to be cached then. The core runs this again if a plain write
    /// of the session comes between.
    async fn save_in_turn(&self, record: &Record, saved: &OnceLock<()>) -> Result<Op<Cached>> {
        if saved.get().is_some() {
            // Somebody is in doubt about the session: the next load asks.
            return Ok(Op::Remove);
        }
        // Asked even if it is cached: another process may have deleted it, and a save would make it again.
        let behind = self.store.load(&record.id).await?;
        if behind.is_none_or(|behind| wall::is_over(behind.expiry_date)) {
            return Ok(Op::Remove);
        }
        let asked = Instant::now();
        self.store.save(record).await?;
        saved.get_or_init(|| ());
        Ok(Op::Put(self.to_cache(record.clone(), asked)))
    }
}

#[async_trait]
impl<S: SessionStore> SessionStore for ReadThroughStore<S> {
    async fn create(&self, record: &mut Record) -> Result<()> {
        // Not under its own id: see `store_new` of the store in memory.
        record.id = Id(random::id().map_err(Error::Backend)?);
        let asked = Instant::now();
        self.store.create(record).await?;
        // So nobody else knows the id yet.
        self.cache.insert(record.id, self.to_cache(record.clone(), asked));
        Ok(())
    }

    async fn save(&self, record: &Record) -> Result<()> {
        let doubt = Doubt { cache: &self.cache, id: record.id };
        let turn = self.cache.entry(record.id);
        let saved = OnceLock::new();
        turn.and_try_compute_with_async(|_| self.save_in_turn(record, &saved)).await?;
        doubt.settle();
        if saved.get().is_none() {
            // ORDERING: Relaxed; as in `late_saves`.
            self.late_saves.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        if let Some(record) = self.cached(id) {
            return Ok(Some(record));
        }
        match self.cache.try_get_with_async(*id, self.fetch(id)).await {
            Ok(cached) => Ok(Some(cached.record)),
            Err(miss) => match &*miss {
                Miss::Absent => Ok(None),
                Miss::Failed(error) => Err(same(error)),
            },
        }
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        let _doubt = Doubt { cache: &self.cache, id: *id };
        let turn = self.cache.entry(*id);
        turn.and_try_compute_with_async(|_| async {
            self.store.delete(id).await?;
            Ok::<_, Error>(Op::Remove)
        })
        .await?;
        Ok(())
    }
}

/// An error for each of those who waited for one load.
fn same(error: &Error) -> Error {
    match error {
        Error::Encode(text) => Error::Encode(text.clone()),
        Error::Decode(text) => Error::Decode(text.clone()),
        Error::Backend(text) => Error::Backend(text.clone()),
    }
}

impl<S> fmt::Debug for ReadThroughStore<S> {
    /// Without ids and data, and so without the store behind, whose `Debug` may have them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadThroughStore")
            .field("name", &self.cache.name())
            .field("cached", &self.cache.entry_count())
            .finish_non_exhaustive()
    }
}

/// Builds a [`ReadThroughStore`]; made by [`ReadThroughStore::builder`].
///
/// ```
/// use std::time::Duration;
/// use tidewheel_tower_sessions::{ReadThroughStore, TidewheelStore};
///
/// # let database = TidewheelStore::new();
/// let store = ReadThroughStore::builder(database)
///     .max_capacity(100_000)
///     .cached_for(Duration::from_secs(10))
///     .build()?;
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct ReadThroughStoreBuilder<S> {
    store: S,
    cache: CacheBuilder<Id, Cached>,
    capacity: u64,
    cached_for: Duration,
}

impl<S: SessionStore> ReadThroughStoreBuilder<S> {
    /// A name, for logs and `Debug`. Default: none.
    ///
    /// ```
    /// # use tidewheel_tower_sessions::{ReadThroughStore, TidewheelStore};
    /// let store = ReadThroughStore::builder(TidewheelStore::new()).name("logins").build()?;
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { cache: self.cache.name(name), ..self }
    }

    /// How many sessions are cached at once. Default: 10,000. What does not fit is loaded again when it is asked for.
    ///
    /// ```
    /// # use tidewheel_tower_sessions::{ReadThroughStore, TidewheelStore};
    /// let store = ReadThroughStore::builder(TidewheelStore::new()).max_capacity(100_000).build()?;
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn max_capacity(self, sessions: u64) -> Self {
        Self { capacity: sessions, ..self }
    }

    /// How long a record is served without asking the store behind again. That counts from the moment at which the store behind was asked
    /// to load or save it, and not from the answer. Default: a minute; zero caches nothing. For this long at most, loads here do not see that
    /// another process has deleted or saved a session. (A load that joins one under way gets what that one reads, or has read, however long
    /// the answer takes.)
    ///
    /// ```
    /// use std::time::Duration;
    /// # use tidewheel_tower_sessions::{ReadThroughStore, TidewheelStore};
    /// let store = ReadThroughStore::builder(TidewheelStore::new()).cached_for(Duration::from_secs(5)).build()?;
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn cached_for(self, time: Duration) -> Self {
        Self { cached_for: time, ..self }
    }

    /// The clock that cached records age by, beside the calendar. Default: the [`StrictClock`].
    ///
    /// ```
    /// # use tidewheel_tower_sessions::{ReadThroughStore, TidewheelStore};
    /// let clock = tidewheel::ManualClock::new();
    /// let store = ReadThroughStore::builder(TidewheelStore::new()).clock(clock).build()?;
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn clock(self, clock: impl Clock) -> Self {
        Self { cache: self.cache.clock(clock), ..self }
    }

    /// Who removes what has ended from memory. Default: the one thread that all caches of the process share.
    ///
    /// ```
    /// # use tidewheel_tower_sessions::{ReadThroughStore, TidewheelStore};
    /// let reaper = tidewheel::Reaper::dedicated();
    /// let store = ReadThroughStore::builder(TidewheelStore::new()).reaper(reaper).build()?;
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn reaper(self, reaper: Reaper) -> Self {
        Self { cache: self.cache.reaper(reaper), ..self }
    }

    /// The store.
    ///
    /// # Errors
    ///
    /// As [`TidewheelStoreBuilder::build`](super::TidewheelStoreBuilder::build).
    ///
    /// ```
    /// # use tidewheel_tower_sessions::{ReadThroughStore, TidewheelStore};
    /// assert!(ReadThroughStore::builder(TidewheelStore::new()).build().is_ok());
    /// ```
    pub fn build(self) -> std::result::Result<ReadThroughStore<S>, BuildError> {
        let Self { store, cache, capacity, cached_for } = self;
        let cache = cache.max_capacity(capacity).build()?;
        Ok(ReadThroughStore { store, cache, cached_for, late_saves: Arc::default() })
    }
}

impl<S> fmt::Debug for ReadThroughStoreBuilder<S> {
    /// As that of [`ReadThroughStore`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadThroughStoreBuilder")
            .field("max_capacity", &self.capacity)
            .field("cached_for", &self.cached_for)
            .finish_non_exhaustive()
    }
}
