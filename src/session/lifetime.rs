//! How long one session lives, where that is other than what the manager was built with.
//!
//! Says what is wanted, and what the manager has to be built with for it. The cache does it.

use super::error::SessionError;
use super::id::SessionId;
use super::manager::SessionManager;
use super::stored::SessionOwner;
use crate::expiry::Expiry;
use crate::key_value::Value;
use std::time::Duration;

/// How long one session lives: an idle time and a maximal age of its own, in place of the
/// manager's. For [`create_with`](SessionManager::create_with).
///
/// A *maximal age* of its own needs a manager that was built with
/// [`own_max_ages`](crate::SessionManagerBuilder::own_max_ages). An *idle time* of its own is
/// possible in any manager, except where [reads count](crate::SessionManagerBuilder::reads_count).
///
/// Both go along when the session is rotated, and are in a snapshot.
///
/// ```
/// use std::time::Duration;
/// use tidewheel::{Lifetime, ManualClock, SessionManager};
///
/// const HOUR: Duration = Duration::from_secs(3600);
/// let clock = ManualClock::new();
/// let sessions = SessionManager::builder()
///     .idle(HOUR)
///     .max_age(8 * HOUR)
///     .own_max_ages()
///     .clock(clock.clone())
///     .build()?;
/// // "Remember me".
/// let id = sessions.create_with("ada", Lifetime::new().idle(24 * HOUR).max_age(48 * HOUR))?;
/// clock.advance(20 * HOUR);
/// sessions.touch(&id)?;
/// clock.advance(20 * HOUR);
/// assert_eq!(sessions.remaining(&id)?, 4 * HOUR);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[must_use]
pub struct Lifetime {
    idle: Option<Duration>,
    max_age: Option<Duration>,
}

impl Lifetime {
    /// The manager's idle time and maximal age.
    ///
    /// ```
    /// assert_eq!(tidewheel::Lifetime::new(), tidewheel::Lifetime::default());
    /// ```
    pub const fn new() -> Self {
        Self { idle: None, max_age: None }
    }

    /// Another idle time.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let week = tidewheel::Lifetime::new().idle(Duration::from_secs(7 * 86_400));
    /// # assert_ne!(week, tidewheel::Lifetime::new());
    /// ```
    pub const fn idle(self, idle: Duration) -> Self {
        Self { idle: Some(idle), ..self }
    }

    /// Another maximal age.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let month = tidewheel::Lifetime::new().max_age(Duration::from_secs(30 * 86_400));
    /// # assert_ne!(month, tidewheel::Lifetime::new());
    /// ```
    pub const fn max_age(self, max_age: Duration) -> Self {
        Self { max_age: Some(max_age), ..self }
    }
}

/// What a manager can do about single sessions' lifetimes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lives {
    /// A read restarts the idle time, which is the same for all then.
    pub(super) reads_count: bool,
    /// A session may have a maximal age of its own.
    pub(super) own_max_ages: bool,
    /// What a session has that has none of its own, where it may have one.
    pub(super) max_age: Option<Duration>,
}

/// Has no opinion. It is there so that the cache keeps ends apart from times to live.
pub(super) struct NoOpinion;

impl<K: 'static, V: 'static> Expiry<K, V> for NoOpinion {}

impl<D: Value, O: SessionOwner> SessionManager<D, O> {
    /// Gives a session another idle time, which begins now.
    ///
    /// # Errors
    ///
    /// [`NotFound`](SessionError::NotFound) when there is no such session (any more);
    /// [`Unsupported`](SessionError::Unsupported) in a manager whose [reads
    /// count](crate::SessionManagerBuilder::reads_count).
    ///
    /// # Concurrency
    ///
    /// Takes the lock of the session's shard. From the first session on that has an idle time of
    /// its own, each [`touch`](Self::touch) takes that lock too; before, it takes none.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{ManualClock, SessionManager};
    ///
    /// let sessions = SessionManager::builder().clock(ManualClock::new()).build()?;
    /// let id = sessions.create("ada")?;
    /// let week = Duration::from_secs(7 * 86_400);
    /// sessions.set_idle(&id, week)?;
    /// assert_eq!(sessions.remaining(&id)?, week);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_idle(&self, id: &SessionId, idle: Duration) -> Result<(), SessionError> {
        self.terms(Lifetime::new().idle(idle))?;
        self.cache.set_ttl(id, idle).then_some(()).ok_or(SessionError::NotFound)
    }

    /// Gives a session another maximal age, counted **from now on**. It ends then, however busy it
    /// is.
    ///
    /// # Errors
    ///
    /// [`NotFound`](SessionError::NotFound) when there is no such session (any more);
    /// [`Unsupported`](SessionError::Unsupported) in a manager that was built without
    /// [`own_max_ages`](crate::SessionManagerBuilder::own_max_ages).
    ///
    /// # Concurrency
    ///
    /// Takes the lock of the session's shard.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{ManualClock, SessionManager};
    ///
    /// let sessions = SessionManager::builder().own_max_ages().clock(ManualClock::new()).build()?;
    /// let id = sessions.create("ada")?;
    /// sessions.set_max_age(&id, Duration::from_secs(2))?;
    /// assert_eq!(sessions.remaining(&id)?, Duration::from_secs(2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_max_age(&self, id: &SessionId, max_age: Duration) -> Result<(), SessionError> {
        self.terms(Lifetime::new().max_age(max_age))?;
        self.cache.set_end(id, max_age).then_some(()).ok_or(SessionError::NotFound)
    }

    /// A new session's own time to live and end, where they are not what the cache gives it.
    pub(super) fn terms(
        &self,
        lifetime: Lifetime,
    ) -> Result<(Option<Duration>, Option<Duration>), SessionError> {
        let Lives { reads_count, own_max_ages, max_age } = self.shared.lives;
        if lifetime.idle.is_some() && reads_count {
            return Err(SessionError::Unsupported { needs: "a manager without `reads_count`" });
        }
        if lifetime.max_age.is_some() && !own_max_ages {
            return Err(SessionError::Unsupported { needs: "a manager built with `own_max_ages`" });
        }
        Ok((lifetime.idle, lifetime.max_age.or(max_age)))
    }
}
