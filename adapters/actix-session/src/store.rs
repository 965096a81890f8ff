//! Sessions of actix-session that live in this process.
//!
//! Each call is one call on a cache under ids of 128 random bits, so that what the cache does in one step is one step here. It never
//! knows cookies or requests.

use crate::permits::Permits;
use actix_session::storage::{LoadError, SaveError, SessionKey, SessionStore, UpdateError};
use actix_web::cookie::time;
use anyhow::anyhow;
use base64ct::{Base64UrlUnpadded, Encoding};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tidewheel::{BuildError, Cache, CacheBuilder, Clock, Life, Reaper, RemovalCause, SessionId, StrictClock};

/// What actix-session keeps of a session: texts (JSON) by names.
type State = HashMap<String, String>;

/// A session store in memory: a session ends when its time to live is over, by itself, and never comes back.
///
/// A handle: clones share the sessions. Make one before the server and move a clone into the closure that makes the apps: each worker
/// calls that, and a store made inside would be a store for each worker.
///
/// - **`save`** makes a new session under an id of 128 bits from the operating system's random generator, which no other one has.
/// - **`update`** only ever changes a session that is there. One that has expired or was deleted meanwhile stays gone; the update is
///   accepted, and counted in [`late_updates`](Self::late_updates). (actix-session's store for Redis saves it under a new key instead:
///   a request that was under way at a log-out logs its user in again.) `update_ttl` does the same.
/// - **`load`** finds a session until its end, 10 ms late at most. With a key that is not an id it finds nothing.
/// - **Memory** of a session that has ended is given back within two seconds, with no call from anyone.
/// - **A full store** refuses to `save`, and ends no live session to make room: see [`max_sessions`](TidewheelStoreBuilder::max_sessions).
///
/// ```
/// use actix_session::SessionMiddleware;
/// use actix_web::{App, cookie::Key};
/// use tidewheel_actix_session::TidewheelStore;
///
/// let store = TidewheelStore::builder().max_sessions(1_000_000).build()?;
/// let key = Key::generate();
/// let app = move || App::new().wrap(SessionMiddleware::new(store.clone(), key.clone()));
/// # let _ = app();
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[derive(Clone)]
pub struct TidewheelStore {
    cache: Cache<SessionId, State>,
    /// Only with a limit.
    permits: Option<Arc<Permits>>,
    late_updates: Arc<AtomicU64>,
}

impl TidewheelStore {
    /// A store without a limit.
    ///
    /// # Panics
    ///
    /// When the reaper's thread cannot be started, or the operating system's random generator does not answer.
    /// [`builder`](Self::builder)`().build()` returns these as errors.
    ///
    /// ```
    /// let store = tidewheel_actix_session::TidewheelStore::new();
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
    /// let store = tidewheel_actix_session::TidewheelStore::builder().name("logins").build()?;
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn builder() -> TidewheelStoreBuilder {
        let cache = Cache::builder().clock(StrictClock);
        TidewheelStoreBuilder { cache, max_sessions: None }
    }

    /// How many sessions are in memory; those included that have ended less than two seconds ago. Exact while nobody writes.
    ///
    /// ```
    /// assert_eq!(tidewheel_actix_session::TidewheelStore::new().len(), 0);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.cache.entry_count()
    }

    /// Whether there is none in memory.
    ///
    /// ```
    /// assert!(tidewheel_actix_session::TidewheelStore::new().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many updates, of data or of the time to live, came after their session's end, and changed nothing: of requests that were under
    /// way when their session was ended elsewhere or expired.
    ///
    /// ```
    /// assert_eq!(tidewheel_actix_session::TidewheelStore::new().late_updates(), 0);
    /// ```
    #[must_use]
    pub fn late_updates(&self) -> u64 {
        // ORDERING: Relaxed; a number to look at.
        self.late_updates.load(Ordering::Relaxed)
    }

    /// Ends every session whose state satisfies `is_over`: all of one user, say, who logs out everywhere. Values are JSON, as
    /// actix-session stores them.
    ///
    /// A session that is saved or updated meanwhile is looked at, or not, as if the call had come earlier or later. `is_over` may be
    /// asked twice about one session, after an update; it runs outside every lock.
    ///
    /// # Complexity
    ///
    /// O(sessions).
    ///
    /// ```
    /// # let store = tidewheel_actix_session::TidewheelStore::new();
    /// store.end_where(|state| state.get("user").is_some_and(|user| user == "\"Ada\""));
    /// ```
    pub fn end_where(&self, mut is_over: impl FnMut(&HashMap<String, String>) -> bool) {
        self.cache.retain(|_, state| !is_over(state));
    }

    /// Removes what has ended, and drops what nobody reads any more, now and on this thread. For [`Reaper::manual`] and for tests: with
    /// any other reaper it happens by itself.
    ///
    /// ```
    /// tidewheel_actix_session::TidewheelStore::new().run_pending_tasks();
    /// ```
    pub fn run_pending_tasks(&self) {
        self.cache.run_pending_tasks();
    }

    /// Counts an update that came too late.
    fn count(&self, is_done: bool) {
        if !is_done {
            // ORDERING: Relaxed; as in `late_updates`.
            self.late_updates.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Stores a state under an id that no live session has.
    fn store_new(&self, state: State, ttl: Duration) -> Result<SessionId, anyhow::Error> {
        let id = mint()?;
        // 128 bits do not repeat; a generator that is out of order does. It must not be trusted with a session, and least of all with
        // somebody else's.
        match self.cache.with_life(Life::Ttl(ttl)).try_insert(id, state) {
            Ok(()) => Ok(id),
            Err(_) => Err(anyhow!("the operating system's random generator repeats itself")),
        }
    }
}

/// A fresh id.
fn mint() -> Result<SessionId, anyhow::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("no session id could be minted: {error}"))?;
    Ok(Base64UrlUnpadded::encode_string(&bytes).parse()?)
}

/// The id that a key spells, if it spells one.
fn id_of(key: &SessionKey) -> Option<SessionId> {
    key.as_ref().parse().ok()
}

/// A time to live; below zero is none.
fn length(ttl: &time::Duration) -> Duration {
    Duration::try_from(*ttl).unwrap_or(Duration::ZERO)
}

impl SessionStore for TidewheelStore {
    async fn load(&self, session_key: &SessionKey) -> Result<Option<State>, LoadError> {
        Ok(id_of(session_key).and_then(|id| self.cache.get(&id)))
    }

    async fn save(&self, state: State, ttl: &time::Duration) -> Result<SessionKey, SaveError> {
        if let Some(permits) = self.permits.as_ref().filter(|permits| !permits.take()) {
            let max = permits.max();
            return Err(SaveError::Other(anyhow!(
                "no room for another session: {max} are allowed, and no live one is ended for it"
            )));
        }
        let stored = self.store_new(state, length(ttl)).inspect_err(|_| {
            if let Some(permits) = &self.permits {
                permits.give_back();
            }
        });
        let key = stored.and_then(|id| Ok(id.encode().try_into()?));
        key.map_err(SaveError::Other)
    }

    async fn update(
        &self,
        session_key: SessionKey,
        state: State,
        ttl: &time::Duration,
    ) -> Result<SessionKey, UpdateError> {
        let lasting = self.cache.with_life(Life::Ttl(length(ttl)));
        let id = id_of(&session_key);
        self.count(id.is_some_and(|id| lasting.replace(&id, state).is_ok()));
        Ok(session_key)
    }

    async fn update_ttl(&self, session_key: &SessionKey, ttl: &time::Duration) -> Result<(), anyhow::Error> {
        self.count(id_of(session_key).is_some_and(|id| self.cache.set_ttl(&id, length(ttl))));
        Ok(())
    }

    async fn delete(&self, session_key: &SessionKey) -> Result<(), anyhow::Error> {
        if let Some(id) = id_of(session_key) {
            self.cache.invalidate(&id);
        }
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
/// let store = tidewheel_actix_session::TidewheelStore::builder().name("logins").max_sessions(100_000).build()?;
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct TidewheelStoreBuilder {
    cache: CacheBuilder<SessionId, State>,
    max_sessions: Option<usize>,
}

impl TidewheelStoreBuilder {
    /// A name, for logs and `Debug`. Default: none.
    ///
    /// ```
    /// let store = tidewheel_actix_session::TidewheelStore::builder().name("logins").build()?;
    /// assert!(format!("{store:?}").contains("logins"));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { cache: self.cache.name(name), ..self }
    }

    /// How many sessions there may be at once. Default: any number.
    ///
    /// Beyond that `save` is an error (`SaveError::Other`), which actix-session answers with a 500. No live session is ended to make room:
    /// otherwise whoever can open sessions could log everybody else out. A session counts until it is out of memory, two seconds
    /// after its end at most. The limit is on sessions, not on bytes: how large one gets is up to what your handlers put in.
    ///
    /// A request that calls `Session::renew` may be refused although it has a session. actix-session deletes the
    /// old session and then saves a new one. If the store is full, another thread may take the place in between. Then the request is
    /// answered with a 500, and its session is gone.
    ///
    /// ```
    /// let store = tidewheel_actix_session::TidewheelStore::builder().max_sessions(1_000_000).build()?;
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn max_sessions(self, max_sessions: usize) -> Self {
        Self { max_sessions: Some(max_sessions), ..self }
    }

    /// The clock that sessions age by. Default: the [`StrictClock`].
    ///
    /// ```
    /// use tidewheel::ManualClock;
    /// let store = tidewheel_actix_session::TidewheelStore::builder().clock(ManualClock::new()).build()?;
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn clock(self, clock: impl Clock) -> Self {
        Self { cache: self.cache.clock(clock), ..self }
    }

    /// Who removes ended sessions from memory. Default: the one thread that all caches of the process share.
    ///
    /// ```
    /// use tidewheel::Reaper;
    /// let store = tidewheel_actix_session::TidewheelStore::builder().reaper(Reaper::dedicated()).build()?;
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
    /// assert!(tidewheel_actix_session::TidewheelStore::builder().build().is_ok());
    /// ```
    pub fn build(self) -> Result<TidewheelStore, BuildError> {
        let Self { mut cache, max_sessions } = self;
        let permits = max_sessions.map(|max| Arc::new(Permits::new(max)));
        if let Some(permits) = &permits {
            let permits = Arc::clone(permits);
            // A session leaves by expiring or by being deleted. A state that is replaced leaves its session, and the permit, where
            // they are; and the cache has no capacity that it would evict for.
            cache = cache.eviction_listener(move |_: &SessionId, _: &State, cause| {
                if matches!(cause, RemovalCause::Expired | RemovalCause::Explicit) {
                    permits.give_back();
                }
            });
        }
        Ok(TidewheelStore { cache: cache.build()?, permits, late_updates: Arc::default() })
    }
}

impl fmt::Debug for TidewheelStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TidewheelStoreBuilder")
            .field("max_sessions", &self.max_sessions)
            .finish_non_exhaustive()
    }
}
