//! Choices made before a session manager exists.
//!
//! Passes on to the cache's builder what the cache decides, and keeps what it does not know: the
//! limit on the number of sessions.
//!
//! How options act together: `max_sessions` bounds what `initial_capacity` makes room for; if it is 0,
//! `create` always answers `Full`. A session ends by `idle` or by `max_age`, whichever comes first.
//! `max_per_owner` without an `owner` is an error. With `reads_count` no session can have an idle time
//! of its own, and to ask for one is an error. A manual `clock` and a `reaper` with a thread
//! are an error, as for any cache. The rest is independent.

use super::cause::EndCause;
use super::handle::SessionManager;
use super::id::{RandomSource, SessionId};
use super::lifetime::{Lives, NoOpinion};
use super::owners::{Most, OwnerOf, Owners, WhenCrowded};
use super::permits::Permits;
use super::shared::{OnEnd, Shared};
use super::stats::Tally;
use super::stored::{NoOwner, SessionOwner, Stored};
use crate::RandomState;
use crate::builder::CacheBuilder;
use crate::cache::Cache;
use crate::error::BuildError;
use crate::key_value::Value;
use crate::process::fork;
use crate::reaper::Reaper;
use crate::sync::{Arc, OnceLock, Weak};
use crate::time::{Clock, StrictClock};
use std::fmt;
use std::time::Duration;

/// How long a session lives in silence unless the builder is told otherwise.
const DEFAULT_IDLE: Duration = Duration::from_secs(5);
/// What suits a log-in: half an hour of silence, and a working day in all.
const LOGIN_IDLE: Duration = Duration::from_secs(30 * 60);
const LOGIN_MAX_AGE: Duration = Duration::from_secs(8 * 3600);

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
pub struct SessionManagerBuilder<D, O = NoOwner> {
    cache: CacheBuilder<SessionId, Stored<D, O>>,
    idle: Duration,
    max_age: Option<Duration>,
    reads_count: bool,
    own_max_ages: bool,
    max_sessions: Option<usize>,
    initial_capacity: usize,
    owner: Option<Box<OwnerOf<D, O>>>,
    most: Option<Most>,
    end_listener: Option<Box<OnEnd<D>>>,
    counted: bool,
}

/// Make one.
impl<D: Value> SessionManager<D> {
    /// A manager with an idle time of 5 seconds and no limits.
    ///
    /// # Panics
    ///
    /// When the reaper's thread cannot be started, or the operating system's random generator does
    /// not answer. [`builder`](Self::builder)`().build()` returns these as errors.
    ///
    /// ```
    /// let sessions = tidewheel::SessionManager::new();
    /// let id = sessions.create("data")?;
    /// # Ok::<(), tidewheel::SessionError>(())
    /// ```
    #[must_use]
    // Not `Default`: what starts a thread and can panic for it should be seen in the source.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        match Self::builder().build() {
            Ok(sessions) => sessions,
            Err(error) => panic!("no session manager: {error:?}"),
        }
    }

    /// A builder with an idle time of 5 seconds and no limits.
    ///
    /// ```
    /// use std::time::Duration;
    /// let sessions = tidewheel::SessionManager::<String>::builder()
    ///     .idle(Duration::from_secs(20 * 60))
    ///     .build()?;
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn builder() -> SessionManagerBuilder<D> {
        SessionManagerBuilder::new()
    }
}

impl<D: Value> SessionManagerBuilder<D> {
    pub(super) fn new() -> Self {
        Self {
            cache: Cache::builder().clock(StrictClock),
            idle: DEFAULT_IDLE,
            max_age: None,
            reads_count: false,
            own_max_ages: false,
            max_sessions: None,
            initial_capacity: 0,
            owner: None,
            most: None,
            end_listener: None,
            counted: false,
        }
    }

    /// A function that tells from a session's data whose it is: the number of the user who is logged
    /// in, say, or `None` if nobody is yet. It enables [`sessions_of`](SessionManager::sessions_of),
    /// [`end_all`](SessionManager::end_all) ("log out everywhere"),
    /// [`end_others`](SessionManager::end_others) and [`max_per_owner`](Self::max_per_owner).
    ///
    /// It is called whenever data is stored. So a session always belongs to the owner that its data
    /// names: a [`rotate_with`](SessionManager::rotate_with) that logs a user in gives the session to
    /// that user in the same step. The answer must depend on nothing but the data.
    ///
    /// # Complexity
    ///
    /// Reads cost nothing more. A call that gives a session an owner, or takes it from him, takes
    /// the lock of a part of an index for a moment. A call that leaves the session with its owner
    /// takes no such lock, except `replace` and rotations. With numbers for owners, a session takes
    /// some 330 bytes more where each owner has one session, and 100 where each has twenty.
    ///
    /// # Concurrency
    ///
    /// Called outside every lock, by the call that stores data. [`modify`](SessionManager::modify)
    /// and `rotate_with` call it as often as their closures run. If it panics, nothing is changed.
    ///
    /// ```
    /// use tidewheel::SessionManager;
    ///
    /// #[derive(Clone, Default)]
    /// struct Visit {
    ///     user: Option<u64>,
    /// }
    ///
    /// let sessions = SessionManager::builder().owner(|visit: &Visit| visit.user).build()?;
    /// let id = sessions.create(Visit::default())?;
    /// assert_eq!(sessions.sessions_of(&7).len(), 0);
    /// let (id, ()) = sessions.rotate_with(&id, |visit| visit.user = Some(7))?;
    /// assert_eq!(sessions.sessions_of(&7)[0].id(), id);
    /// assert_eq!(sessions.end_all(&7), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn owner<O: SessionOwner>(
        self,
        owner: impl Fn(&D) -> Option<O> + Send + Sync + 'static,
    ) -> SessionManagerBuilder<D, O> {
        SessionManagerBuilder {
            cache: self.cache.for_other_entries(),
            idle: self.idle,
            max_age: self.max_age,
            reads_count: self.reads_count,
            own_max_ages: self.own_max_ages,
            max_sessions: self.max_sessions,
            initial_capacity: self.initial_capacity,
            owner: Some(Box::new(owner)),
            most: self.most,
            end_listener: self.end_listener,
            counted: self.counted,
        }
    }
}

impl<D: Value, O: SessionOwner> SessionManagerBuilder<D, O> {
    /// What suits a log-in on the web: an idle time of 30 minutes and a maximal age of 8 hours. The
    /// [OWASP cheat sheet on
    /// sessions](https://cheatsheetseries.owasp.org/cheatsheets/Session_Management_Cheat_Sheet.html)
    /// names them for applications of low risk. (For a bank: 2 to 5 minutes.) Let each request that
    /// counts as use call [`touch`](SessionManager::touch) or
    /// [`get_and_touch`](SessionManager::get_and_touch).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{ManualClock, SessionManager};
    ///
    /// let sessions = SessionManager::builder().for_logins().clock(ManualClock::new()).build()?;
    /// let id = sessions.create("ada")?;
    /// assert_eq!(sessions.remaining(&id)?, Duration::from_secs(30 * 60));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn for_logins(self) -> Self {
        self.idle(LOGIN_IDLE).max_age(LOGIN_MAX_AGE)
    }

    /// Makes reads count as use: [`get`](SessionManager::get) and [`read`](SessionManager::read) then
    /// restart the idle time, as [`touch`](SessionManager::touch) does. By default they do not.
    ///
    /// | | restarts the idle time |
    /// |---|---|
    /// | `create`, `replace`, `update`, `modify`, `touch`, `rotate`, `rotate_with`, `set_idle`, `get_and_touch`, `read_and_touch` | always |
    /// | `get`, `read` | with `reads_count` |
    /// | `set_max_age`, `remaining`, `iter`, `retain`, `sessions_of`, `end_others`, `len`, `snapshot` | never |
    ///
    /// (For one exception, see [`set_max_age`](SessionManager::set_max_age).)
    ///
    /// With this option no session can have an idle time of [its own](crate::Lifetime).
    ///
    /// # Concurrency
    ///
    /// It is the cache's [`time_to_idle`](crate::CacheBuilder::time_to_idle). A read makes at most
    /// one compare-and-swap for each session and step of the clock. Where there is a maximal age,
    /// it takes the lock of the session's shard instead, as rarely.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{ManualClock, SessionManager};
    ///
    /// let clock = ManualClock::new();
    /// let sessions = SessionManager::builder().reads_count().clock(clock.clone()).build()?;
    /// let id = sessions.create("ada")?;
    /// for _ in 0..10 {
    ///     clock.advance(Duration::from_secs(3));
    ///     assert!(sessions.get(&id).is_ok());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reads_count(self) -> Self {
        Self { reads_count: true, ..self }
    }

    /// Lets single sessions have a maximal age of their own, shorter or longer than
    /// [`max_age`](Self::max_age): by [`create_with`](SessionManager::create_with) and
    /// [`set_max_age`](SessionManager::set_max_age).
    ///
    /// A session takes 16 bytes more then. A read does more work, still without a lock. A
    /// [`touch`](SessionManager::touch) takes the lock of the session's shard.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{Lifetime, ManualClock, SessionManager};
    ///
    /// const DAY: Duration = Duration::from_secs(86_400);
    /// let sessions = SessionManager::builder()
    ///     .idle(30 * DAY).max_age(DAY).own_max_ages().clock(ManualClock::new()).build()?;
    /// let id = sessions.create("ada")?;
    /// assert_eq!(sessions.remaining(&id)?, DAY);
    /// let id = sessions.create_with("ben", Lifetime::new().max_age(7 * DAY))?;
    /// assert_eq!(sessions.remaining(&id)?, 7 * DAY);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn own_max_ages(self) -> Self {
        Self { own_max_ages: true, ..self }
    }

    /// How many sessions an owner may have at once, and what happens when another is opened. Default:
    /// no limit. Needs an [`owner`](Self::owner). Sessions that have no owner are not counted.
    ///
    /// An expired session does not count. A session that is rotated counts once. With a limit of 0
    /// only sessions without an owner can be opened, whatever `when` says.
    ///
    /// # Concurrency
    ///
    /// However many sessions are opened at once, no more of them stay than the limit allows. A session
    /// that has to end for another one is ended before that one is stored.
    ///
    /// A session may be displaced while the call that opens it, or gives it to the owner, still
    /// runs. Then it is ended before that call returns; until then it may be found beside the
    /// others. A session that ends while a call gives it to the owner displaces none, if it ends
    /// before the call makes room for it. If it ends after that, the session that was displaced is
    /// gone all the same.
    ///
    /// At the limit, opening another session takes O(n log n) in the number of the owner's sessions,
    /// under the lock of the owner's part of the index.
    ///
    /// ```
    /// use tidewheel::{SessionError, SessionManager, WhenCrowded};
    ///
    /// let sessions = SessionManager::builder()
    ///     .owner(|user: &&str| Some(*user))
    ///     .max_per_owner(1, WhenCrowded::Refuse)
    ///     .build()?;
    /// let first = sessions.create("ada")?;
    /// assert!(matches!(sessions.create("ada"), Err(SessionError::OwnerFull { max: 1, .. })));
    /// assert!(sessions.create("ben").is_ok());
    /// sessions.remove(&first)?;
    /// assert!(sessions.create("ada").is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn max_per_owner(self, max: usize, when: WhenCrowded) -> Self {
        Self { most: Some(Most { max, when }), ..self }
    }

    /// A function that is called once for each session that ends, with its data and the cause: to
    /// write a log, or to free what belongs to it.
    ///
    /// A rotation is not an end. The function is not called for sessions that are still there when the
    /// manager's last handle is dropped.
    ///
    /// # Concurrency
    ///
    /// Called outside every lock. The call that ends a session calls it before it returns. For an
    /// expired session it is called up to 2 seconds after the end, by what removes the session: the
    /// reaper, a call that comes across it, or any call that writes while the reaper is late.
    ///
    /// It may use the manager. But if it captures a handle, the manager is never dropped: send the
    /// work through a channel instead. A panic is caught, and the function stays installed. A
    /// function that blocks delays the release of memory, never a session's end.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    /// use tidewheel::{EndCause, ManualClock, SessionManager};
    ///
    /// let clock = ManualClock::new();
    /// let (sender, ends) = mpsc::channel();
    /// let sessions = SessionManager::builder()
    ///     .end_listener(move |_, user: &&str, cause| sender.send((*user, cause)).unwrap())
    ///     .clock(clock.clone())
    ///     .build()?;
    /// let id = sessions.create("ada")?;
    /// sessions.create("ben")?;
    /// let id = sessions.rotate(&id)?;             // no end
    /// sessions.remove(&id)?;
    /// clock.advance(Duration::from_secs(7));
    /// assert_eq!(ends.try_iter().collect::<Vec<_>>(), [("ada", EndCause::Ended), ("ben", EndCause::Expired)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn end_listener(
        self,
        end_listener: impl Fn(&SessionId, &D, EndCause) + Send + Sync + 'static,
    ) -> Self {
        Self { end_listener: Some(Box::new(end_listener)), ..self }
    }

    /// Has the manager count what it does: see [`SessionStats`](crate::SessionStats). A read then
    /// raises a counter of its own thread.
    ///
    /// ```
    /// # use tidewheel::SessionManager;
    /// let sessions = SessionManager::builder().record_stats().build()?;
    /// let id = sessions.create("data")?;
    /// sessions.get(&id)?;
    /// assert_eq!(sessions.stats().found, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn record_stats(self) -> Self {
        Self { counted: true, ..self }
    }

    /// How long a session may be silent. It is not found any more once this time has passed since its last
    /// [`create`](SessionManager::create), [`replace`](SessionManager::replace),
    /// [`update`](SessionManager::update), [`modify`](SessionManager::modify),
    /// [`touch`](SessionManager::touch) (with a read or without), [`rotate`](SessionManager::rotate),
    /// `rotate_with` or [`set_idle`](SessionManager::set_idle) that succeeded. Default: 5 seconds.
    ///
    /// Zero is allowed: such a session is never found. [`Duration::MAX`], and anything beyond 146
    /// years, means for ever.
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
        Self { idle, ..self }
    }

    /// How long a session may live at all, however busy it is. It counts from
    /// [`create`](SessionManager::create), and no use moves it: a session keeps its age in a
    /// [`rotate`](SessionManager::rotate) or [`rotate_with`](SessionManager::rotate_with). Default:
    /// no such limit.
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
        Self { max_age: Some(max_age), ..self }
    }

    /// How many sessions there may be at once. Beyond that, [`create`](SessionManager::create) answers
    /// [`SessionError::Full`](crate::SessionError::Full). It never ends a live session to make room:
    /// otherwise anyone who can open sessions could log everybody else out. Default: no limit. Zero
    /// allows no session at all.
    ///
    /// An expired session counts until it is out of memory, at most 2 seconds later. A
    /// [`rotate`](SessionManager::rotate) or [`rotate_with`](SessionManager::rotate_with) counts
    /// twice while it runs. So `create` may answer `Full` a little too often. There are never more
    /// sessions than the limit, except for the rotations that run.
    ///
    /// ```
    /// use tidewheel::{SessionError, SessionManager};
    ///
    /// let sessions = SessionManager::builder().max_sessions(1).build()?;
    /// let first = sessions.create(1)?;
    /// assert!(matches!(sessions.create(2), Err(SessionError::Full { max: 1, .. })));
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

    /// How many sessions to make room for at once, so that the table need not grow up to there; no
    /// more than [`max_sessions`](Self::max_sessions), if there is such a limit.
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
    /// assert!(matches!(error, BuildError::Shards { given: 0, .. }));
    /// ```
    pub fn shards(self, shards: usize) -> Self {
        Self { cache: self.cache.shards(shards), ..self }
    }

    /// The clock that sessions age by. The default is the [`StrictClock`]: no session is found more
    /// than 10 ms after its end, whatever stalls. With the [`SystemClock`](crate::SystemClock)
    /// reads are cheaper; but after the process was stopped for a while, 64 reads of each thread
    /// may still find it. With a [`ManualClock`](crate::ManualClock) a test decides when time
    /// passes.
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

    /// Who removes expired sessions from memory. The default is the one thread that all caches of
    /// the process share.
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
    /// A [`BuildError`] when the number of shards or the initial capacity is not allowed, the
    /// operating system's random generator does not answer, the reaper's thread cannot be started, a
    /// manual clock is combined with a reaper that has a thread, or there is a limit for each owner
    /// and no owner.
    ///
    /// ```
    /// # use tidewheel::SessionManager;
    /// let sessions = SessionManager::<u32>::builder().build()?;
    /// # assert!(sessions.is_empty());
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn build(self) -> Result<SessionManager<D, O>, BuildError> {
        self.build_with(getrandom::fill)
    }

    /// With ids from another source, for the loom models.
    #[cfg(tidewheel_loom)]
    #[doc(hidden)]
    pub fn build_for_models(self) -> SessionManager<D, O> {
        super::id::begin_row();
        self.shards(1).build_with(super::id::in_a_row).expect("a manager for a model")
    }

    fn build_with(self, random: RandomSource) -> Result<SessionManager<D, O>, BuildError> {
        let Self { mut cache, idle, max_age, most, .. } = self;
        if most.is_some() && self.owner.is_none() {
            return Err(BuildError::LimitWithoutOwner);
        }
        // Without `reads_count` only writes and touches restart it: that is the cache's time to live.
        cache = if self.reads_count { cache.time_to_idle(idle) } else { cache.time_to_live(idle) };
        cache = match max_age {
            _ if self.own_max_ages => cache.expire_after(NoOpinion),
            Some(max_age) => cache.max_age(max_age),
            None => cache,
        };
        if self.counted {
            cache = cache.record_stats();
        }
        let rooms = self.initial_capacity.min(self.max_sessions.unwrap_or(usize::MAX));
        let owners = match self.owner {
            None => None,
            Some(of) => Some(Owners::new(of, &RandomState::new()?, most)),
        };
        let shared = Arc::new(Shared {
            lives: Lives {
                idle,
                reads_count: self.reads_count,
                own_max_ages: self.own_max_ages,
                max_age: max_age.filter(|_| self.own_max_ages),
            },
            permits: self.max_sessions.map(Permits::new),
            owners,
            end_listener: self.end_listener,
            tally: self.counted.then(Tally::new),
            cache: OnceLock::new(),
            heir: OnceLock::new(),
        });
        if let Some(permits) = &shared.permits {
            cache = cache.in_hand(permits.in_hand());
        }
        if shared.listens() {
            let shared = Arc::clone(&shared);
            cache = cache.eviction_listener(move |id: &SessionId, stored: &Stored<D, O>, cause| {
                shared.hear(id, stored, cause);
            });
        }
        let cache = cache.initial_capacity(rooms).build()?;
        // It was just made, so it is not set.
        let _ = shared.cache.set(cache.downgrade());
        if shared.permits.is_some() {
            let weak: Weak<Shared<D, O>> = Arc::downgrade(&shared);
            let _ = shared.heir.set(fork::register(0, weak, || {}));
        }
        Ok(SessionManager { cache, shared, random })
    }
}

impl<D, O> fmt::Debug for SessionManagerBuilder<D, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionManagerBuilder")
            .field("cache", &self.cache)
            .field("idle", &self.idle)
            .field("max_age", &self.max_age)
            .field("reads_count", &self.reads_count)
            .field("own_max_ages", &self.own_max_ages)
            .field("max_sessions", &self.max_sessions)
            .field("initial_capacity", &self.initial_capacity)
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}
