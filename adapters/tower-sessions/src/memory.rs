//! Sessions that live in this process and nowhere else.
//!
//! Each call is one call on a cache, so that what the cache does in one step is one step here. It never knows cookies or requests.
//! Compiled once for each release of tower-sessions-core: see `lib.rs`.

use super::tower_sessions_core::SessionStore;
use super::tower_sessions_core::session::{Id, Record};
use super::tower_sessions_core::session_store::{Error, Result};
use crate::permits::Permits;
use crate::seldom::Seldom;
use crate::{random, wall};
use async_trait::async_trait;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tidewheel::{BuildError, Cache, CacheBuilder, Clock, Life, Reaper, RemovalCause, StrictClock};

/// A session store in memory: a session ends when its record says, by itself, and never comes back.
///
/// A handle: clones share the sessions.
///
/// - **`create`** always takes a new id of 128 bits from the operating system's random generator, whatever id the record has. (A
///   request that calls `flush` and then goes on comes with the id that it has just deleted, which other requests still know.)
/// - **`save`** only ever changes a session that is there. One that has expired or was deleted meanwhile stays gone; the save is accepted,
///   and counted in [`late_saves`](Self::late_saves). (An error would turn a log-out in another window into a 500 here.)
/// - **`load`** finds a session until its `expiry_date`, by the clock that never jumps and by the calendar, whichever comes first: a
///   machine that was suspended finds no session that ended meanwhile. 10 ms late at most.
/// - **Memory** of a session that has ended is given back within two seconds, with no call from anyone. (If the calendar alone has ended
///   it, that happens at a load of it, at a `create` that would be refused otherwise, or when the clock reaches its end.)
/// - **A full store** refuses to `create`, and ends no live session to make room. (A request that changes its session's id may then lose
///   the session.) See [`max_sessions`](TidewheelStoreBuilder::max_sessions).
///
/// ```
/// use tidewheel_tower_sessions::TidewheelStore;
///
/// let store = TidewheelStore::builder().max_sessions(1_000_000).build()?;
/// // let layer = tower_sessions::SessionManagerLayer::new(store.clone());
/// assert!(store.is_empty());
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[derive(Clone)]
pub struct TidewheelStore {
    cache: Cache<Id, Record>,
    /// Only with a limit.
    permits: Option<Arc<Permits>>,
    /// Limits how often a full store looks for sessions that the calendar has ended and the clock has not.
    looks: Arc<Seldom>,
    late_saves: Arc<AtomicU64>,
}

/// So often a full store looks at all of its sessions at most.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

impl TidewheelStore {
    /// A store without a limit.
    ///
    /// # Panics
    ///
    /// When the reaper's thread cannot be started, or the operating system's random generator does not answer.
    /// [`builder`](Self::builder)`().build()` returns these as errors.
    ///
    /// ```
    /// let store = tidewheel_tower_sessions::TidewheelStore::new();
    /// assert_eq!(store.len(), 0);
    /// ```
    #[must_use]
    // Not `Default`: what starts a thread and can panic for it should be seen in the source.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        match Self::builder().build() {
            Ok(store) => store,
            Err(error) => panic!("no session store: {error:?}"),
        }
    }

    /// A builder of a store without a limit.
    ///
    /// ```
    /// let store = tidewheel_tower_sessions::TidewheelStore::builder().name("logins").build()?;
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn builder() -> TidewheelStoreBuilder {
        let cache = Cache::builder().clock(StrictClock);
        TidewheelStoreBuilder { cache, max_sessions: None }
    }

    /// How many sessions are in memory; those included that have ended less than two seconds ago. Exact while nobody writes.
    ///
    /// ```
    /// assert_eq!(tidewheel_tower_sessions::TidewheelStore::new().len(), 0);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.cache.entry_count()
    }

    /// Whether there is none in memory.
    ///
    /// ```
    /// assert!(tidewheel_tower_sessions::TidewheelStore::new().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many saves came after their session's end, and changed nothing: of requests that were under way when their session was
    /// ended elsewhere or expired.
    ///
    /// ```
    /// assert_eq!(tidewheel_tower_sessions::TidewheelStore::new().late_saves(), 0);
    /// ```
    #[must_use]
    pub fn late_saves(&self) -> u64 {
        // ORDERING: Relaxed; a number to look at.
        self.late_saves.load(Ordering::Relaxed)
    }

    /// Ends every session whose record satisfies `is_over`: all of one user, say, who logs out everywhere.
    ///
    /// A session that is created or saved meanwhile is looked at, or not, as if the call had come earlier or later. `is_over` may be
    /// asked twice about one session, after a save; it runs outside every lock.
    ///
    /// # Complexity
    ///
    /// O(sessions).
    ///
    /// ```
    /// # let store = tidewheel_tower_sessions::TidewheelStore::new();
    /// store.end_where(|record| record.data.get("user").is_some_and(|user| user == "Ada"));
    /// ```
    pub fn end_where(&self, mut is_over: impl FnMut(&Record) -> bool) {
        self.cache.retain(|_, record| !is_over(record));
    }

    /// Removes what has ended, and drops what nobody reads any more, now and on this thread. For [`Reaper::manual`] and for tests: with
    /// any other reaper it happens by itself.
    ///
    /// ```
    /// tidewheel_tower_sessions::TidewheelStore::new().run_pending_tasks();
    /// ```
    pub fn run_pending_tasks(&self) {
        self.cache.run_pending_tasks();
    }

    /// Takes a permit for a new session, if there is a limit.
    fn take_permit(&self) -> Result<()> {
        let Some(permits) = &self.permits else { return Ok(()) };
        if permits.take() {
            return Ok(());
        }
        if self.looks.is_due() {
            self.cache.retain(|_, record| !wall::is_over(record.expiry_date));
            if permits.take() {
                return Ok(());
            }
        }
        let max = permits.max();
        Err(Error::Backend(format!(
            "no room for another session: {max} are allowed, and no live one is ended for it"
        )))
    }

    /// Stores a record under an id that nobody knows, and returns the id.
    ///
    /// The record's own id is not used. After `Session::flush` it is the id of the session that was ended: a request that loaded that session
    /// would save it into the new one.
    fn store_new(&self, record: Record) -> Result<Id> {
        let id = Id(random::id().map_err(Error::Backend)?);
        let lasting = self.cache.with_life(Life::Ttl(wall::remaining(record.expiry_date)));
        // 128 bits do not repeat; a generator that is out of order does. It must not be trusted with a session, and least of all with
        // somebody else's.
        match lasting.try_insert(id, Record { id, ..record }) {
            Ok(()) => Ok(id),
            Err(_) => Err(Error::Backend("the operating system's random generator repeats itself".into())),
        }
    }
}

#[async_trait]
impl SessionStore for TidewheelStore {
    async fn create(&self, record: &mut Record) -> Result<()> {
        let copy = record.clone();
        self.take_permit()?;
        record.id = self.store_new(copy).inspect_err(|_| {
            if let Some(permits) = &self.permits {
                permits.give_back();
            }
        })?;
        Ok(())
    }

    async fn save(&self, record: &Record) -> Result<()> {
        let id = &record.id;
        let is_live = self.cache.read(id, |old| !wall::is_over(old.expiry_date)) == Some(true);
        let lasting = self.cache.with_life(Life::Ttl(wall::remaining(record.expiry_date)));
        if !is_live || lasting.replace(id, record.clone()).is_err() {
            // ORDERING: Relaxed; as in `late_saves`.
            self.late_saves.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let found =
            self.cache.read(id, |record| (!wall::is_over(record.expiry_date)).then(|| record.clone()));
        if let Some(None) = found {
            // The calendar says so first: the machine slept, or its date was set.
            self.cache.remove_if(id, |record| wall::is_over(record.expiry_date));
        }
        Ok(found.flatten())
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        self.cache.invalidate(id);
        Ok(())
    }
}

impl fmt::Debug for TidewheelStore {
    /// Without ids and data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TidewheelStore")
            .field("name", &self.cache.name())
            .field("len", &self.len())
            .field("max_sessions", &self.permits.as_ref().map(|permits| permits.max()))
            .finish()
    }
}

/// Builds a [`TidewheelStore`]; made by [`TidewheelStore::builder`].
///
/// ```
/// let store = tidewheel_tower_sessions::TidewheelStore::builder().name("logins").max_sessions(100_000).build()?;
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct TidewheelStoreBuilder {
    cache: CacheBuilder<Id, Record>,
    max_sessions: Option<usize>,
}

impl TidewheelStoreBuilder {
    /// A name, for logs and `Debug`. Default: none.
    ///
    /// ```
    /// let store = tidewheel_tower_sessions::TidewheelStore::builder().name("logins").build()?;
    /// assert!(format!("{store:?}").contains("logins"));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { cache: self.cache.name(name), ..self }
    }

    /// How many sessions there may be at once. Default: any number.
    ///
    /// Beyond that `create` is an error (`Error::Backend`), which tower-sessions answers with a 500. No live session is ended to make
    /// room: otherwise whoever can open sessions could log everybody else out. The limit is on sessions, not on bytes: how large one
    /// gets is up to what your handlers put in.
    ///
    /// A session counts until it is out of memory, two seconds after its end at most. The clock may have stood still while the machine was
    /// suspended, so that the calendar alone says that sessions are over. Before `create` refuses, it looks at all sessions for such ones,
    /// once a second at most; that costs O(sessions).
    ///
    /// A request that calls `Session::cycle_id` may be refused although it has a session. tower-sessions deletes
    /// the old session at once, and creates the new one after the handler. If the store is full, somebody else may take the place in
    /// between. Then the request is answered with a 500, and its session is gone. Call `save` directly after `cycle_id`: that leaves the
    /// shortest time for it.
    ///
    /// ```
    /// let store = tidewheel_tower_sessions::TidewheelStore::builder().max_sessions(1_000_000).build()?;
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn max_sessions(self, max_sessions: usize) -> Self {
        Self { max_sessions: Some(max_sessions), ..self }
    }

    /// The clock that sessions age by, beside the calendar. Default: the [`StrictClock`].
    ///
    /// ```
    /// use tidewheel::ManualClock;
    /// let store = tidewheel_tower_sessions::TidewheelStore::builder().clock(ManualClock::new()).build()?;
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn clock(self, clock: impl Clock) -> Self {
        Self { cache: self.cache.clock(clock), ..self }
    }

    /// Who removes ended sessions from memory. Default: the one thread that all caches of the process share.
    ///
    /// ```
    /// use tidewheel::Reaper;
    /// let store = tidewheel_tower_sessions::TidewheelStore::builder().reaper(Reaper::dedicated()).build()?;
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn reaper(self, reaper: Reaper) -> Self {
        Self { cache: self.cache.reaper(reaper), ..self }
    }

    /// The store.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] when the operating system's random generator does not answer, the reaper's thread cannot be started, or a
    /// manual clock is combined with a reaper that has a thread.
    ///
    /// ```
    /// assert!(tidewheel_tower_sessions::TidewheelStore::builder().build().is_ok());
    /// ```
    pub fn build(self) -> std::result::Result<TidewheelStore, BuildError> {
        let Self { mut cache, max_sessions } = self;
        let permits = max_sessions.map(|max| Arc::new(Permits::new(max)));
        if let Some(permits) = &permits {
            let permits = Arc::clone(permits);
            // A session leaves by expiring or by being deleted. A record that is replaced leaves its session, and the permit, where
            // they are; and the cache has no capacity that it would evict for.
            cache = cache.eviction_listener(move |_: &Id, _: &Record, cause| {
                if matches!(cause, RemovalCause::Expired | RemovalCause::Explicit) {
                    permits.give_back();
                }
            });
        }
        let looks = Arc::new(Seldom::new(BETWEEN_LOOKS));
        Ok(TidewheelStore { cache: cache.build()?, permits, looks, late_saves: Arc::default() })
    }
}

impl fmt::Debug for TidewheelStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TidewheelStoreBuilder")
            .field("max_sessions", &self.max_sessions)
            .finish_non_exhaustive()
    }
}
