//! How long one session lives, where that is other than what the manager was built with.
//!
//! Says what is wanted, and what the manager has to be built with for it. The cache does it.

use crate::expiry::Expiry;
use std::time::Duration;

/// How long one session lives: an idle time and a maximal age of its own, in place of the
/// manager's. For [`create_with`](crate::SessionManager::create_with).
///
/// A *maximal age* of its own needs a manager that was built with
/// [`own_max_ages`](crate::SessionManagerBuilder::own_max_ages). An *idle time* of its own is
/// possible in any manager, except where [reads count](crate::SessionManagerBuilder::reads_count).
///
/// A session that is rotated keeps both. Both are in a snapshot, the idle time only where it differs
/// from the manager's. (`restore` says what becomes of them in a manager that was built with other
/// options.)
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
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[must_use]
pub struct Lifetime {
    pub(super) idle: Option<Duration>,
    pub(super) max_age: Option<Duration>,
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

    /// Another maximal age. More than 100 years counts as 100 years.
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
    /// The idle time of a session that has none of its own.
    #[cfg_attr(not(feature = "serde"), allow(dead_code, reason = "nothing is restored"))]
    pub(super) idle: Duration,
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
