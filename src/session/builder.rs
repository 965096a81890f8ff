//! Choices made before a session manager exists.
//!
//! Passes on to the cache's builder what the cache decides, and keeps what it does not know: the limit
//! on the number of sessions.
//!
//! Of its options together: `max_sessions` bounds what `initial_capacity` makes room for; with none allowed, `create` answers
//! that it is full. Of `idle` and `max_age` the first end counts. A manual `clock` and a `reaper` with a thread are an error, as
//! for any cache. The rest is independent.

use super::id::SessionId;
use super::manager::SessionManager;
use super::seats::Seats;
use crate::builder::CacheBuilder;
use crate::cache::Cache;
use crate::error::BuildError;
use crate::listener::RemovalCause;
use crate::reaper::Reaper;
use crate::sync::Arc;
use crate::time::{Clock, StrictClock};
use std::fmt;
use std::time::Duration;

/// How long a session lives in silence unless the builder is told otherwise.
const DEFAULT_IDLE: Duration = Duration::from_secs(5);

/// Builds a [`SessionManager`]; made by [`SessionManager::builder`].
///
/// ```
/// use std::time::Duration;
/// use tidewheel::SessionManager;
///
/// let sessions = SessionManager::<String>::builder()
///     .name("logins")
///     .idle(Duration::from_secs(30 * 60))
///     .max_age(Duration::from_secs(12 * 3600))
///     .max_sessions(1_000_000)
///     .build()?;
/// # assert_eq!(sessions.len(), 0);
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct SessionManagerBuilder<D> {
    cache: CacheBuilder<SessionId, D>,
    max_sessions: Option<usize>,
    initial_capacity: usize,
}

impl<D: Send + Sync + 'static> SessionManagerBuilder<D> {
    pub(super) fn new() -> Self {
        let cache = Cache::builder().time_to_live(DEFAULT_IDLE).clock(StrictClock);
        Self { cache, max_sessions: None, initial_capacity: 0 }
    }

    /// How long a session may be silent: from this long after its last successful
    /// [`create`](SessionManager::create), [`update`](SessionManager::update),
    /// [`modify`](SessionManager::modify), [`touch`](SessionManager::touch),
    /// [`rotate`](SessionManager::rotate) or [`rotate_with`](SessionManager::rotate_with), it is refused. The default is 5 seconds.
    ///
    /// Zero is allowed: such a session is never found. [`Duration::MAX`], and all beyond 146 years, is
    /// for ever.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidewheel::SessionManager;
    /// let sessions = SessionManager::builder().idle(Duration::ZERO).build()?;
    /// let id = sessions.create("never seen").unwrap();
    /// assert!(sessions.get(&id).is_err());
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn idle(self, idle: Duration) -> Self {
        Self { cache: self.cache.time_to_live(idle), ..self }
    }

    /// How long a session may live at all, however busy it is. Counts from its
    /// [`create`](SessionManager::create), and nothing moves it: a [`rotate`](SessionManager::rotate)
    /// or [`rotate_with`](SessionManager::rotate_with) takes the age along. Without it there is no such limit.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{ManualClock, SessionManager};
    ///
    /// let clock = ManualClock::new();
    /// let sessions = SessionManager::builder()
    ///     .max_age(Duration::from_secs(8))
    ///     .clock(clock.clone())
    ///     .build()?;
    /// let id = sessions.create("busy").unwrap();
    /// clock.advance(Duration::from_secs(4));
    /// sessions.touch(&id).unwrap();
    /// clock.advance(Duration::from_secs(4));
    /// assert!(sessions.get(&id).is_err());        // 4 s of silence, but 8 s of age
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn max_age(self, max_age: Duration) -> Self {
        Self { cache: self.cache.max_age(max_age), ..self }
    }

    /// How many sessions there may be at once. [`create`](SessionManager::create) answers
    /// [`SessionError::Full`](crate::SessionError::Full) beyond that and never ends a live session to make room:
    /// otherwise whoever can open sessions could log everybody else out. Without it there is no limit;
    /// zero allows none at all.
    ///
    /// An expired session counts until it is out of memory, at most 2 seconds later, and a
    /// [`rotate`](SessionManager::rotate) or [`rotate_with`](SessionManager::rotate_with) counts twice while it runs, so `create` may answer `Full` a
    /// little too often. There are never more sessions than the limit but for the rotations that run.
    ///
    /// ```
    /// use tidewheel::{SessionError, SessionManager};
    ///
    /// let sessions = SessionManager::builder().max_sessions(1).build()?;
    /// let first = sessions.create(1)?;
    /// assert!(matches!(sessions.create(2), Err(SessionError::Full { max: 1 })));
    /// sessions.remove(&first)?;
    /// assert!(sessions.create(2).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn max_sessions(self, max_sessions: usize) -> Self {
        Self { max_sessions: Some(max_sessions), ..self }
    }

    /// A name for the manager, shown by `Debug` and [`SessionManager::name`].
    ///
    /// ```
    /// # use tidewheel::SessionManager;
    /// let sessions = SessionManager::<u32>::builder().name("logins").build()?;
    /// assert_eq!(sessions.name(), Some("logins"));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { cache: self.cache.name(name), ..self }
    }

    /// How many sessions to make room for at once, so that the table need not grow up to there; no more than
    /// [`max_sessions`](Self::max_sessions), if there is such a limit.
    ///
    /// ```
    /// # use tidewheel::SessionManager;
    /// let sessions = SessionManager::<u32>::builder().initial_capacity(10_000).build()?;
    /// # assert!(sessions.is_empty());
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn initial_capacity(self, sessions: usize) -> Self {
        Self { initial_capacity: sessions, ..self }
    }

    /// How many shards to split the sessions into: a power of two from 1 to 65,536. More shards let
    /// more threads write at once. The default suits the machine.
    ///
    /// ```
    /// # use tidewheel::{BuildError, SessionManager};
    /// assert!(SessionManager::<u32>::builder().shards(64).build().is_ok());
    /// let error = SessionManager::<u32>::builder().shards(0).build().unwrap_err();
    /// assert!(matches!(error, BuildError::Shards { given: 0 }));
    /// ```
    pub fn shards(self, shards: usize) -> Self {
        Self { cache: self.cache.shards(shards), ..self }
    }

    /// The clock that sessions age by. The default is the [`StrictClock`], by which a session is refused 10 ms after its end
    /// at most, whatever stalls. By the [`SystemClock`](crate::SystemClock) reads are cheaper, and after the process
    /// was stopped for a while 64 of a thread may be later than that. A [`ManualClock`](crate::ManualClock) lets a test decide when
    /// time passes.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{ManualClock, SessionManager};
    ///
    /// let clock = ManualClock::new();
    /// let sessions = SessionManager::builder().clock(clock.clone()).build()?;
    /// let id = sessions.create("data").unwrap();
    /// clock.advance(Duration::from_secs(5));
    /// assert!(sessions.get(&id).is_err());
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn clock(self, clock: impl Clock) -> Self {
        Self { cache: self.cache.clock(clock), ..self }
    }

    /// Who removes expired sessions from memory. The default is the one thread that all caches of the
    /// process share.
    ///
    /// ```
    /// # use tidewheel::{Reaper, SessionManager};
    /// let sessions = SessionManager::<u32>::builder().reaper(Reaper::dedicated()).build()?;
    /// # assert!(sessions.is_empty());
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn reaper(self, reaper: Reaper) -> Self {
        Self { cache: self.cache.reaper(reaper), ..self }
    }

    /// The manager.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] when the number of shards is not allowed, the operating system's random
    /// generator does not answer, the reaper's thread cannot be started, or a manual clock is combined
    /// with a reaper that has a thread.
    ///
    /// ```
    /// # use tidewheel::SessionManager;
    /// let sessions = SessionManager::<u32>::builder().build()?;
    /// # assert!(sessions.is_empty());
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn build(self) -> Result<SessionManager<D>, BuildError> {
        let seats = self.max_sessions.map(|max| Arc::new(Seats::new(max)));
        let most = self.max_sessions.unwrap_or(usize::MAX);
        let cache = self.cache.initial_capacity(self.initial_capacity.min(most));
        let cache = match &seats {
            None => cache,
            // A session leaves in three ways: it expires, it is removed, or it is rotated. The last
            // two are `Explicit`. A replaced value leaves its session, and the seat, where they are.
            Some(seats) => {
                let seats = Arc::clone(seats);
                cache.eviction_listener(move |_: &SessionId, _: &D, cause| match cause {
                    RemovalCause::Expired | RemovalCause::Explicit => seats.give_back(),
                    RemovalCause::Replaced => {}
                    // The cache has no capacity: a live session is never evicted.
                    RemovalCause::Size => {}
                })
            }
        };
        Ok(SessionManager::over(cache.build()?, seats))
    }
}

impl<D> fmt::Debug for SessionManagerBuilder<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionManagerBuilder")
            .field("cache", &self.cache)
            .field("max_sessions", &self.max_sessions)
            .field("initial_capacity", &self.initial_capacity)
            .finish()
    }
}
