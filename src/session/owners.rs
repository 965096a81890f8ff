//! Sessions by their owners: what a manager keeps of them, and what it does with all sessions of one.
//!
//! The index says which ids to look at, the cache says what is there. Nothing here runs under the index's lock but looks at
//! the cache; see `index.rs` for why the two agree.

use super::cause::{EndCause, Leaving, during};
use super::error::SessionError;
use super::id::SessionId;
use super::index::{Arrival, Denied, Index, Most};
use super::manager::SessionManager;
use super::stored::{SessionOwner, Stored};
use crate::RandomState;
use crate::cache::Cache;
use crate::process::fork;
use crate::sync::{Arc, Weak};
use std::fmt;
use std::time::Duration;

/// Says whose a session is.
pub(super) type OwnerOf<D, O> = dyn Fn(&D) -> Option<O> + Send + Sync;

pub(super) struct Owners<D, O> {
    of: Box<OwnerOf<D, O>>,
    index: Arc<Index<O>>,
    /// As long as it is there, a fork's child inherits the index whole.
    _heir: fork::Registered,
}

impl<D: Send + Sync + 'static, O: SessionOwner> Owners<D, O> {
    pub(super) fn new(of: Box<OwnerOf<D, O>>, hasher: &RandomState, most: Option<Most>) -> Self {
        let index = Arc::new(Index::new(hasher, most));
        let weak: Weak<Index<O>> = Arc::downgrade(&index);
        Self { of, index, _heir: fork::register(0, weak, || {}) }
    }

    /// Whose a session with this data is. The user's code.
    pub(super) fn of(&self, data: &D) -> Option<O> {
        (self.of)(data)
    }

    /// After data with this owner was taken away from under an id.
    pub(super) fn hear(&self, cache: &Cache<SessionId, Stored<D, O>>, owner: &O, id: SessionId) {
        // Most often other data of the same owner has taken its place. What goes later is heard of later.
        if !has(cache, &id, owner) {
            self.index.hear(owner, id, || has(cache, &id, owner));
        }
    }

    pub(super) fn places(&self) -> usize {
        self.index.len()
    }
}

/// Whether a session can be found with this owner. Takes no lock.
fn has<D: Send + Sync + 'static, O: SessionOwner>(
    cache: &Cache<SessionId, Stored<D, O>>,
    id: &SessionId,
    owner: &O,
) -> bool {
    cache.peek_with(id, |stored| stored.owner.as_ref() == Some(owner)).unwrap_or(false)
}

/// The places that a call has claimed. Released when it is done, or panics.
pub(super) struct Claims<'m, D: Send + Sync + 'static, O: SessionOwner> {
    sessions: &'m SessionManager<D, O>,
    made: Vec<(O, SessionId)>,
}

impl<'m, D: Send + Sync + 'static, O: SessionOwner> Claims<'m, D, O> {
    pub(super) fn none(sessions: &'m SessionManager<D, O>) -> Self {
        Self { sessions, made: Vec::new() }
    }

    /// As `claim`, for a closure that may run again, and claims once.
    pub(super) fn add(&mut self, owner: &O, id: SessionId, arrival: Arrival) -> Result<(), Denied> {
        if self.made.iter().any(|(other, place)| *place == id && other == owner) {
            return Ok(());
        }
        self.claim(owner, id, arrival)
    }

    /// Before data is stored under an id with an owner. Ends what has to end for it. Not to be called with a lock.
    pub(super) fn claim(&mut self, owner: &O, id: SessionId, arrival: Arrival) -> Result<(), Denied> {
        let Some(owners) = &self.sessions.shared.owners else { return Ok(()) };
        // Before the claim: what is claimed is released.
        self.made.reserve(1);
        let mine = owner.clone();
        let cache = &self.sessions.cache;
        let claimed = owners.index.claim(owner, id, arrival, |id| has(cache, id, owner))?;
        if claimed.made {
            self.made.push((mine, id));
        }
        for id in claimed.displaced {
            self.sessions.end(&id, EndCause::Displaced);
        }
        Ok(())
    }
}

impl<D: Send + Sync + 'static, O: SessionOwner> Drop for Claims<'_, D, O> {
    fn drop(&mut self) {
        let Some(owners) = &self.sessions.shared.owners else { return };
        let cache = &self.sessions.cache;
        for (owner, id) in self.made.drain(..) {
            if let Some(cause) = owners.index.release(&owner, id, || has(cache, &id, &owner)) {
                self.sessions.end(&id, cause);
            }
        }
    }
}

/// One of an owner's sessions, as it was when it was looked at. Made by [`SessionManager::sessions_of`].
///
/// It prints nothing of its id.
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
#[derive(Clone, Copy, Debug)]
pub struct SessionInfo {
    id: SessionId,
    age: Duration,
    remaining: Duration,
}

impl SessionInfo {
    /// The session's id. Whoever has it has the session: it is not for the page on which a user sees where he is logged in.
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

    /// How long it lives on if nobody uses it; `Duration::MAX` for ever.
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

impl<D: Send + Sync + 'static, O: SessionOwner> SessionManager<D, O> {
    /// An owner's sessions, in the order in which they became his: with their ids, ages and remaining times. Does not restart their idle times.
    ///
    /// # Complexity
    ///
    /// O(n log n) in the owner's sessions.
    ///
    /// # Concurrency
    ///
    /// What is there all the time is listed once. A session that comes, goes or is rotated meanwhile may be listed or not. Takes the lock of
    /// the owner's part of the index, and of each session's shard, one after the other and for a moment.
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
    pub fn sessions_of(&self, owner: &O) -> Vec<SessionInfo> {
        let Some(owners) = &self.shared.owners else { return Vec::new() };
        let look = |id| {
            let guard = self.cache.read_guard();
            let entry = guard.entry(&id).filter(|entry| entry.value().owner.as_ref() == Some(owner))?;
            Some(SessionInfo { id, age: entry.age(), remaining: entry.remaining_ttl() })
        };
        owners.index.list(owner).into_iter().filter_map(look).collect()
    }

    /// Ends all sessions of an owner: "log out everywhere", for a changed password or a stolen laptop. How many there were.
    ///
    /// # Complexity
    ///
    /// O(n log n) in the owner's sessions.
    ///
    /// # Concurrency
    ///
    /// Every session that was the owner's when it began is ended when it returns, under whatever id it is by then and whosever it has become
    /// meanwhile. One that is created, or becomes his, meanwhile, may live or end; one that does so after it returned lives. A session that is
    /// rotated at that moment ends before `rotate` returns; until then [`iter`](Self::iter) may meet it, under an id that nobody has been given.
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
    pub fn end_all(&self, owner: &O) -> usize {
        let Some(owners) = &self.shared.owners else { return 0 };
        let doomed = owners.index.doom(owner, None, EndCause::AllEnded).unwrap_or_default();
        self.end_each(&doomed)
    }

    /// Ends all sessions of an owner but this one: "log out all other devices". How many there were. A session that belongs to nobody has no others.
    ///
    /// # Errors
    ///
    /// [`NotFound`](SessionError::NotFound) when there is no such session (any more), and nothing was ended then: so whoever holds a dead id ends
    /// nobody's sessions.
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
        loop {
            let owner =
                self.cache.peek_with(id, |stored| stored.owner.clone()).ok_or(SessionError::NotFound)?;
            let (Some(owner), Some(owners)) = (owner, &self.shared.owners) else { return Ok(0) };
            if let Some(doomed) = owners.index.doom(&owner, Some(*id), EndCause::AllEnded) {
                return Ok(self.end_each(&doomed));
            }
            // It is being ended, or has become somebody else's. In the first case whoever does it is not done.
            if owners.index.is_doomed(&owner, *id) {
                self.end(id, EndCause::AllEnded);
            }
        }
    }

    fn end_each(&self, ids: &[SessionId]) -> usize {
        ids.iter().filter(|id| self.end(id, EndCause::AllEnded)).count()
    }

    /// Ends a session; whether there was one.
    pub(super) fn end(&self, id: &SessionId, cause: EndCause) -> bool {
        during(Leaving::End(cause), || self.cache.invalidate(id))
    }

    /// What is to be stored under an id in the place of what is there, or beside it under another id: claims what has to be claimed.
    pub(super) fn owned(
        &self,
        claims: &mut Claims<'_, D, O>,
        (old_id, id): (Option<SessionId>, SessionId),
        old: Option<&Stored<D, O>>,
        data: D,
    ) -> Result<Stored<D, O>, Denied> {
        let Some(owners) = &self.shared.owners else { return Ok(Stored { data, owner: None }) };
        let owner = owners.of(&data);
        let before = old.and_then(|old| old.owner.as_ref());
        // Whosever it was, he may end it while it moves.
        if let (Some(before), Some(old_id)) = (before, old_id) {
            claims.add(before, id, Arrival::From(old_id))?;
        }
        if let Some(owner) = &owner {
            if before != Some(owner) {
                claims.add(owner, id, Arrival::New)?;
            }
        }
        Ok(Stored { data, owner })
    }

    /// What the caller is told. A session that is being ended is ended.
    pub(super) fn denied(&self, id: &SessionId, denied: Denied) -> SessionError {
        match denied {
            Denied::Doomed(cause) => {
                self.end(id, cause);
                SessionError::NotFound
            }
            Denied::Crowded { max } => {
                self.refused();
                SessionError::OwnerFull { max }
            }
        }
    }
}

impl<D, O> fmt::Debug for Owners<D, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owners").field("index", &self.index).finish_non_exhaustive()
    }
}
