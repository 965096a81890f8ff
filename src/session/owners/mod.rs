//! Sessions by their owners: what a manager keeps of them, and what it does with all sessions of
//! one.
//!
//! The index says where to look, the cache says what is there. Nothing here runs under the index's
//! locks but looks at the cache; see `owners/index.rs` for why the two agree.

mod book;
mod claims;
mod groups;
mod index;
mod limit;
mod stripes;
mod tracks;

pub(super) use book::{OwnerOf, Owners};
pub(super) use claims::{Claims, Step};
pub(super) use groups::{GroupId, PlaceId};
pub(super) use index::{Arrival, Denied};
pub(super) use limit::Most;
pub use limit::WhenCrowded;

use super::cause::{EndCause, Leaving, during};
use super::error::SessionError;
use super::handle::SessionManager;
use super::id::SessionId;
use super::stored::{SessionOwner, Stored};
use crate::key_value::Value;
use equivalent::Equivalent;
use std::fmt;
use std::hash::Hash;
use std::time::Duration;

/// One of an owner's sessions, as it was when it was looked at. Made by
/// [`SessionManager::sessions_of`].
///
/// `Debug` shows nothing of its id.
///
/// ```
/// use tidewheel::SessionManager;
///
/// let sessions = SessionManager::builder().owner(|user: &&str| Some(*user)).build()?;
/// let id = sessions.create("ada")?;
/// let list = sessions.sessions_of(&"ada");
/// assert_eq!(list[0].id(), id);
/// assert!(!format!("{list:?}").contains(&id.encode()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionInfo {
    id: SessionId,
    age: Duration,
    remaining: Duration,
}

impl SessionInfo {
    /// The session's id. Anyone who has it has the session. So do not show it on the page that lists
    /// where a user is logged in.
    ///
    /// ```
    /// # use tidewheel::SessionManager;
    /// # let sessions = SessionManager::builder().owner(|user: &&str| Some(*user)).build()?;
    /// sessions.create("ada")?;
    /// let id = sessions.sessions_of(&"ada")[0].id();
    /// assert_eq!(sessions.get(&id)?, "ada");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// How long ago it was created. A rotation takes the age along.
    ///
    /// ```
    /// # use tidewheel::{ManualClock, SessionManager};
    /// # let sessions = SessionManager::builder().owner(|user: &&str| Some(*user)).clock(ManualClock::new()).build()?;
    /// sessions.create("ada")?;
    /// assert!(sessions.sessions_of(&"ada")[0].age().is_zero());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn age(&self) -> Duration {
        self.age
    }

    /// How long it lives on if nobody uses it; `Duration::MAX` means for ever.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidewheel::{ManualClock, SessionManager};
    /// # let sessions = SessionManager::builder().owner(|user: &&str| Some(*user)).clock(ManualClock::new()).build()?;
    /// sessions.create("ada")?;
    /// assert_eq!(sessions.sessions_of(&"ada")[0].remaining(), Duration::from_secs(5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn remaining(&self) -> Duration {
        self.remaining
    }
}

impl<D: Value, O: SessionOwner> SessionManager<D, O> {
    /// An owner's sessions with their ids, ages and remaining times, in the order in which they
    /// became the owner's. Does not restart idle times. The owner may be given as another type that is
    /// [equivalent](crate::Equivalent), such as a `str` for a `String`.
    ///
    /// # Complexity
    ///
    /// O(n log n) in the owner's sessions.
    ///
    /// # Concurrency
    ///
    /// A session that is there all the time is listed once. A session that comes, goes or is
    /// rotated meanwhile may be listed or not. Takes the lock of the owner's part of the index, and
    /// of each session's shard, one after the other and for a moment.
    ///
    /// ```
    /// use tidewheel::SessionManager;
    ///
    /// let sessions = SessionManager::builder().owner(|user: &&str| Some(*user)).build()?;
    /// let (laptop, phone) = (sessions.create("ada")?, sessions.create("ada")?);
    /// sessions.create("ben")?;
    /// let ids: Vec<_> = sessions.sessions_of(&"ada").iter().map(|session| session.id()).collect();
    /// assert_eq!(ids, [laptop, phone]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn sessions_of<Q>(&self, owner: &Q) -> Vec<SessionInfo>
    where
        Q: ?Sized + Hash + Equivalent<O>,
    {
        // Without owners, no owner has a value to ask with.
        let Some(owners) = &self.shared.owners else { return Vec::new() };
        let Some((group, origins)) = owners.index.list(owner) else { return Vec::new() };
        let look = |id, place| {
            let guard = self.cache.read_guard();
            let entry = guard.entry(&id).filter(|entry| entry.value().place() == Some(place))?;
            Some(SessionInfo { id, age: entry.age(), remaining: entry.remaining_ttl() })
        };
        let find = |origin| {
            let (ids, place) = (owners.index.tracks.ids(origin), PlaceId::new(group, origin));
            ids.into_iter().find_map(|id| look(id, place))
        };
        origins.into_iter().filter_map(find).collect()
    }

    /// Ends all sessions of an owner: "log out everywhere", for a changed password or a stolen
    /// laptop. Returns how many there were. The owner is given as to
    /// [`sessions_of`](Self::sessions_of).
    ///
    /// # Complexity
    ///
    /// O(n log n) in the owner's sessions.
    ///
    /// # Concurrency
    ///
    /// Every session that was the owner's when the call began is ended when it returns, even if it
    /// has another id or another owner by then. A session that is created, or becomes the owner's, during
    /// the call may live or end; one for which that happens after the call lives. A session that is rotated
    /// at that moment ends before `rotate` returns. Until then [`iter`](Self::iter) and a snapshot
    /// may meet it, under an id that nobody has been given. Takes the lock of the owner's part of
    /// the index, and each session's locks, one after the other.
    ///
    /// ```
    /// use tidewheel::SessionManager;
    ///
    /// let sessions = SessionManager::builder().owner(|user: &&str| Some(*user)).build()?;
    /// let (laptop, phone) = (sessions.create("ada")?, sessions.create("ada")?);
    /// let other = sessions.create("ben")?;
    /// assert_eq!(sessions.end_all(&"ada"), 2);
    /// assert!(sessions.get(&laptop).is_err() && sessions.get(&phone).is_err());
    /// assert!(sessions.get(&other).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn end_all<Q>(&self, owner: &Q) -> usize
    where
        Q: ?Sized + Hash + Equivalent<O>,
    {
        // As in `sessions_of`.
        let Some(owners) = &self.shared.owners else { return 0 };
        self.end_each(owners.index.end_all(owner, EndCause::AllEnded))
    }

    /// Ends all sessions of an owner but this one: "log out all other devices". Returns how many
    /// there were. Where the session belongs to nobody, none is ended.
    ///
    /// # Errors
    ///
    /// [`NotFound`](SessionError::NotFound) when there is no such session (any more). Then none was
    /// ended: a dead id ends nobody's sessions. [`Unsupported`](SessionError::Unsupported) in a
    /// manager without an [`owner`](crate::SessionManagerBuilder::owner).
    ///
    /// # Concurrency
    ///
    /// As [`end_all`](Self::end_all). The session that stays may be rotated meanwhile, and stays.
    ///
    /// ```
    /// use tidewheel::SessionManager;
    ///
    /// let sessions = SessionManager::builder().owner(|user: &&str| Some(*user)).build()?;
    /// let (laptop, phone) = (sessions.create("ada")?, sessions.create("ada")?);
    /// assert_eq!(sessions.end_others(&phone)?, 1);
    /// assert!(sessions.get(&laptop).is_err());
    /// assert!(sessions.get(&phone).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn end_others(&self, id: &SessionId) -> Result<usize, SessionError> {
        let owners = self.shared.owners.as_ref();
        let owners = owners.ok_or(SessionError::Unsupported { needs: "a manager built with `owner`" })?;
        loop {
            let place = self.cache.peek_with(id, Stored::place).ok_or(SessionError::NotFound)?;
            let Some(PlaceId { group, origin }) = place else { return Ok(0) };
            if let Some(endings) = owners.index.end_others(group, origin, EndCause::AllEnded) {
                return Ok(self.end_each(endings));
            }
            // It is being ended, or has become somebody else's. In the first case the call that ends it still runs.
            if let Some(cause) = owners.index.tracks.ended(origin) {
                self.end_for(id, cause);
            }
        }
    }

    /// Ends a session; whether there was one.
    pub(in crate::session) fn end_for(&self, id: &SessionId, cause: EndCause) -> bool {
        during(Leaving::End(cause), || self.cache.invalidate(id))
    }
}

impl<D, O> fmt::Debug for Owners<D, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owners").field("index", &self.index).finish_non_exhaustive()
    }
}
