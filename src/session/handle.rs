//! The session manager as a handle to its sessions: a clone is another one.

use super::id::{RandomSource, SessionId};
use super::shared::Shared;
use super::stored::{NoOwner, Stored};
use crate::cache::Cache;
use crate::sync::Arc;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// Keeps sessions: data of type `D` under an unguessable [`SessionId`], until the session has been
/// silent for its idle time (5 seconds unless the [`builder`](Self::builder) is told otherwise).
///
/// # For a log-in on the web
///
/// [`new`](Self::new) has an idle time of 5 seconds, which is too short for people. Choose:
///
/// - [`builder`](Self::builder)`()`[`.for_logins()`](crate::SessionManagerBuilder::for_logins): 30 minutes
///   of silence, 8 hours in all;
/// - [`max_sessions`](crate::SessionManagerBuilder::max_sessions), as many as the memory has room for:
///   whoever can send requests can open sessions;
/// - [`owner`](crate::SessionManagerBuilder::owner), for "log out everywhere" ([`end_all`](Self::end_all))
///   and a limit for each user;
/// - for a request, [`get_and_touch`](Self::get_and_touch), and [`remaining`](Self::remaining) for
///   the cookie's `Max-Age`; or [`reads_count`](crate::SessionManagerBuilder::reads_count), by which each
///   read restarts the idle time;
/// - "remember me": [`create_with`](Self::create_with) or [`set_idle`](Self::set_idle).
///
/// # What is promised
///
/// **Silence** counts from the last successful [`create`](Self::create),
/// [`replace`](Self::replace), [`update`](Self::update), [`modify`](Self::modify),
/// [`touch`](Self::touch) (with a read or without), [`rotate`](Self::rotate),
/// [`rotate_with`](Self::rotate_with) or [`set_idle`](Self::set_idle).
/// [`get`](Self::get) and [`read`](Self::read) do not end it, unless the manager was built with
/// [`reads_count`](crate::SessionManagerBuilder::reads_count). A session is readable until its idle time
/// is over, and not found from then on, at most 10 ms late. At most 2 seconds after that it is out of
/// memory and its data dropped, with no call from anyone.
///
/// **A success is never undone.** A `replace`, `update`, `modify` or `touch` that returned `Ok`
/// cannot lose to the reaper; one that came too late says [`NotFound`](crate::SessionError::NotFound). A
/// session that has expired or was removed never comes back.
///
/// **Names mean what they mean in a [`Cache`].** Each of these calls restarts the idle time, and
/// says whether the session lives. [`replace`](Self::replace) stores new data,
/// [`update`](Self::update) computes it from the old data, [`modify`](Self::modify) changes a copy
/// in place, and [`touch`](Self::touch) leaves the data alone. What other session stores call
/// `update(id, data)` is `replace`.
///
/// **A log-in is a [`rotate_with`](Self::rotate_with)**: the session gets its user and a new id in
/// one step, so that an id that somebody planted or saw before never has the user's data.
///
/// **Sessions have owners**, if the builder is told whose they are. The type of an owner is `O`.
/// Without owners it is [`NoOwner`], and need not be written.
///
/// The manager is a handle: clones share the same sessions, and cost two reference counts. Dropping
/// the last one drops the sessions with it.
///
/// Large data, or data that cannot be cloned, goes into an `Arc`, or is only looked at with
/// [`read`](Self::read). `get`, `get_and_touch`, `modify`, `remove`, `rotate`, `rotate_with` and `iter`
/// need `D: Clone`; the rest does not.
///
/// ```
/// use tidewheel::{SessionError, SessionManager};
///
/// #[derive(Clone, Default)]
/// struct Visit {
///     user: Option<String>,
///     website: String,
/// }
///
/// let sessions = SessionManager::new();
/// let id = sessions.create(Visit::default())?;
/// sessions.modify(&id, |visit| visit.website = "https://example.org".into())?;
/// // A log-in: the user and a new id, in one step.
/// let (id, ()) = sessions.rotate_with(&id, |visit| visit.user = Some("Ada".into()))?;
/// assert_eq!(sessions.get(&id)?.website, "https://example.org");
///
/// sessions.remove(&id)?;
/// assert!(matches!(sessions.get(&id), Err(SessionError::NotFound)));
/// # Ok::<(), SessionError>(())
/// ```
pub struct SessionManager<D, O = NoOwner> {
    pub(super) cache: Cache<SessionId, Stored<D, O>>,
    pub(super) shared: Arc<Shared<D, O>>,
    pub(super) random: RandomSource,
}

// As those of `Cache`.
impl<D: RefUnwindSafe, O: RefUnwindSafe> UnwindSafe for SessionManager<D, O> {}
impl<D: RefUnwindSafe, O: RefUnwindSafe> RefUnwindSafe for SessionManager<D, O> {}

impl<D, O> Clone for SessionManager<D, O> {
    /// Another handle to the same sessions.
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), shared: Arc::clone(&self.shared), random: self.random }
    }
}

impl<D, O> fmt::Debug for SessionManager<D, O> {
    /// Shows neither ids nor data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionManager")
            .field("name", &self.name())
            .field("sessions", &self.len())
            .field("max_sessions", &self.shared.permits.as_ref().map(|permits| permits.max()))
            .finish_non_exhaustive()
    }
}
