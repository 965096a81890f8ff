//! Looking at sessions, one or all, without changing them; and what belongs to a handle.

use super::cause::{EndCause, Leaving, during};
use super::error::SessionError;
use super::handle::SessionManager;
use super::id::SessionId;
use super::stats::SessionStats;
use super::stored::{NoOwner, SessionOwner, Stored};
use crate::cache::Iter;
use crate::key_value::Value;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::iter::FusedIterator;
use std::time::Duration;

impl<D: Value, O: SessionOwner> SessionManager<D, O> {
    /// How long a session lives on if nobody uses it, by its idle time and its maximal age: for a
    /// cookie's `Max-Age`. `Duration::MAX` means for ever. Does not restart the idle time.
    ///
    /// # Errors
    ///
    /// [`NotFound`](SessionError::NotFound) when there is no such session.
    ///
    /// # Concurrency
    ///
    /// Takes no lock.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{ManualClock, SessionManager};
    ///
    /// let clock = ManualClock::new();
    /// let sessions = SessionManager::builder().clock(clock.clone()).build()?;
    /// let id = sessions.create("data")?;
    /// clock.advance(Duration::from_secs(2));
    /// let left = sessions.remaining(&id)?;
    /// let (id, left) = (id.encode(), left.as_secs());
    /// let cookie = format!("sid={id}; Max-Age={left}; Path=/; HttpOnly; Secure; SameSite=Lax");
    /// # assert_eq!(left, 3);
    /// # let _ = cookie;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remaining(&self, id: &SessionId) -> Result<Duration, SessionError> {
        self.cache.remaining_ttl(id).ok_or(SessionError::NotFound)
    }

    /// As [`read`](Self::read), and restarts the idle time: for a request that counts as use and
    /// needs the data.
    ///
    /// # Errors
    ///
    /// [`NotFound`](SessionError::NotFound) when there is no such session (any more).
    ///
    /// # Concurrency
    ///
    /// First as [`touch`](Self::touch), then as `read`. So the data may be newer than the touch.
    /// Where [reads count](crate::SessionManagerBuilder::reads_count), as `read` alone.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{ManualClock, SessionManager};
    ///
    /// let clock = ManualClock::new();
    /// let sessions = SessionManager::builder().clock(clock.clone()).build()?;
    /// let id = sessions.create("data")?;
    /// clock.advance(Duration::from_secs(3));
    /// assert_eq!(sessions.read_and_touch(&id, |data| data.len())?, 4);
    /// clock.advance(Duration::from_secs(3));
    /// assert!(sessions.get(&id).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read_and_touch<R>(&self, id: &SessionId, look: impl FnOnce(&D) -> R) -> Result<R, SessionError> {
        if !self.shared.lives.reads_count {
            // If there is no such session, the look below finds none, and is counted.
            let _ = self.touch(id);
        }
        self.read(id, look)
    }

    /// Ends the sessions for which `keep` returns false.
    ///
    /// # Panics
    ///
    /// If `keep` does, as in [`Cache::retain`](crate::Cache::retain). Sessions for which it had
    /// returned false before stay ended.
    ///
    /// # Concurrency
    ///
    /// `keep` runs outside every lock. If a session is changed after `keep` returned false for it,
    /// `keep` is asked again. A session that comes or goes meanwhile may be met or not. One that is
    /// rotated meanwhile may be met under either id, both or neither. To end all sessions of an
    /// owner, use [`end_all`](Self::end_all), which misses none.
    ///
    /// ```
    /// # use tidewheel::SessionManager;
    /// let sessions = SessionManager::new();
    /// let (ann, ben) = (sessions.create("ann")?, sessions.create("ben")?);
    /// sessions.retain(|_, user| *user != "ann");
    /// assert!(sessions.get(&ann).is_err() && sessions.get(&ben).is_ok());
    /// # Ok::<(), tidewheel::SessionError>(())
    /// ```
    pub fn retain(&self, mut keep: impl FnMut(&SessionId, &D) -> bool) {
        let keep = |id: &SessionId, stored: &Stored<D, O>| keep(id, &stored.data);
        during(Leaving::End(EndCause::Ended), || self.cache.retain(keep));
    }

    /// What the manager has counted; nothing, unless it was built with
    /// [`record_stats`](crate::SessionManagerBuilder::record_stats).
    ///
    /// ```
    /// # use tidewheel::SessionManager;
    /// let sessions = SessionManager::builder().record_stats().build()?;
    /// sessions.create("data")?;
    /// assert_eq!(sessions.stats().created, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> SessionStats {
        let Some(tally) = &self.shared.tally else { return SessionStats::default() };
        let reads = self.cache.stats();
        tally.sum(reads.hits, reads.misses)
    }

    /// Removes what has expired, and drops what nobody reads any more, now and on this thread. For
    /// [`Reaper::manual`](crate::Reaper::manual) and for tests: with any other reaper it happens by
    /// itself.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{ManualClock, SessionManager};
    ///
    /// let clock = ManualClock::new();
    /// let sessions = SessionManager::builder().clock(clock.clone()).build()?;
    /// let id = sessions.create("data").unwrap();
    /// clock.advance_without_sweeping(Duration::from_secs(7));
    /// assert!(sessions.get(&id).is_err());
    /// assert_eq!(sessions.len(), 1);          // refused, and still in memory
    /// sessions.run_pending_tasks();
    /// assert_eq!(sessions.len(), 0);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn run_pending_tasks(&self) {
        self.cache.run_pending_tasks();
    }

    /// Recounts everything; panics where two counts disagree. For tests, after `run_pending_tasks`,
    /// while nobody else calls.
    #[doc(hidden)]
    pub fn validate(&self) {
        self.cache.validate();
        if let Some(permits) = &self.shared.permits {
            assert_eq!(permits.taken(), self.len(), "permits taken, sessions in memory");
        }
        if let Some(owners) = &self.shared.owners {
            let guard = self.cache.read_guard();
            let owned = guard.iter().filter_map(|(id, stored)| Some((*id, &stored.belongs()?.owner)));
            let mut ids: HashMap<&O, Vec<SessionId>> = HashMap::new();
            owned.for_each(|(id, owner)| ids.entry(owner).or_default().push(id));
            for (owner, ids) in &ids {
                let listed: HashSet<_> = self.sessions_of(*owner).iter().map(|info| info.id()).collect();
                assert!(ids.iter().all(|id| listed.contains(id)), "a session that is not listed");
            }
            let owned: usize = ids.values().map(Vec::len).sum();
            assert_eq!(
                owners.figures(),
                (owned, owned),
                "places and tracks in the index, sessions with owners"
            );
        }
    }
}

impl<D: Value + Clone, O: SessionOwner> SessionManager<D, O> {
    /// As [`get`](Self::get), and restarts the idle time: what a request that counts as use does,
    /// in one call.
    ///
    /// # Errors
    ///
    /// [`NotFound`](SessionError::NotFound) when there is no such session (any more).
    ///
    /// # Concurrency
    ///
    /// As [`read_and_touch`](Self::read_and_touch).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{ManualClock, SessionManager};
    ///
    /// let clock = ManualClock::new();
    /// let sessions = SessionManager::builder().clock(clock.clone()).build()?;
    /// let id = sessions.create("data")?;
    /// for _ in 0..10 {
    ///     clock.advance(Duration::from_secs(3));
    ///     assert_eq!(sessions.get_and_touch(&id)?, "data");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_and_touch(&self, id: &SessionId) -> Result<D, SessionError> {
        self.read_and_touch(id, D::clone)
    }

    /// Iterates over the ids of all sessions and copies of their data. Does not restart idle times.
    ///
    /// A session that is there all the time, under the same id, is yielded exactly once. None is
    /// yielded that has expired by then. One that comes, goes or is rotated meanwhile may be
    /// yielded or not.
    ///
    /// # Concurrency
    ///
    /// As [`Cache::iter`](crate::Cache::iter): it blocks nobody.
    ///
    /// ```
    /// # use tidewheel::SessionManager;
    /// let sessions = SessionManager::new();
    /// let id = sessions.create("ann")?;
    /// assert_eq!(sessions.iter().collect::<Vec<_>>(), [(id, "ann")]);
    /// # Ok::<(), tidewheel::SessionError>(())
    /// ```
    pub fn iter(&self) -> Sessions<'_, D, O> {
        Sessions(self.cache.iter())
    }
}

/// An iterator over sessions; made by [`SessionManager::iter`].
///
/// ```
/// # use tidewheel::SessionManager;
/// let sessions = SessionManager::new();
/// sessions.create("ann")?;
/// for (_, user) in &sessions {
///     assert_eq!(user, "ann");
/// }
/// # Ok::<(), tidewheel::SessionError>(())
/// ```
#[must_use = "iterators do nothing unless they are consumed"]
pub struct Sessions<'m, D, O = NoOwner>(Iter<'m, SessionId, Stored<D, O>>);

impl<D: Value + Clone, O: SessionOwner> Iterator for Sessions<'_, D, O> {
    type Item = (SessionId, D);

    fn next(&mut self) -> Option<(SessionId, D)> {
        self.0.next().map(|(id, stored)| (id, stored.data))
    }
}

impl<D: Value + Clone, O: SessionOwner> FusedIterator for Sessions<'_, D, O> {}

impl<'m, D: Value + Clone, O: SessionOwner> IntoIterator for &'m SessionManager<D, O> {
    type Item = (SessionId, D);
    type IntoIter = Sessions<'m, D, O>;

    fn into_iter(self) -> Sessions<'m, D, O> {
        self.iter()
    }
}

impl<D, O> fmt::Debug for Sessions<'_, D, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl<D, O> SessionManager<D, O> {
    /// The number of sessions in memory. It includes those that have expired and are not yet
    /// removed. Exact while nobody creates or ends one.
    ///
    /// ```
    /// # use tidewheel::SessionManager;
    /// let sessions = SessionManager::new();
    /// sessions.create("data")?;
    /// assert_eq!(sessions.len(), 1);
    /// # Ok::<(), tidewheel::SessionError>(())
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.cache.entry_count()
    }

    /// Whether [`len`](Self::len) is zero.
    ///
    /// ```
    /// assert!(tidewheel::SessionManager::<u32>::new().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name that the manager was built with.
    ///
    /// ```
    /// # use tidewheel::SessionManager;
    /// let sessions = SessionManager::<u32>::builder().name("logins").build()?;
    /// assert_eq!(sessions.name(), Some("logins"));
    /// assert_eq!(SessionManager::<u32>::new().name(), None);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.cache.name()
    }
}
