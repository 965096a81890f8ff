//! The session manager: a cache under random ids, a limit on their number, and an error for each
//! call that it refuses.
//!
//! Each call is one call on the cache, so that what the cache does in one step (compare the
//! deadline, swap the data) is one step here too. A call that gives a session an owner claims a place
//! in the owners' index before, and releases the claim after (`owners/index.rs`). The manager never
//! looks at a clock, and never holds a session's data beside the cache.

use super::cause::{EndCause, Leaving, during};
use super::error::SessionError;
use super::handle::SessionManager;
use super::id::SessionId;
use super::lifetime::{Lifetime, Lives};
use super::owners::{Arrival, Claims, Denied, Step};
use super::stored::{SessionOwner, Stored};
use crate::error::NoRandomness;
use crate::key_value::Value;
use std::time::Duration;

impl<D: Value, O: SessionOwner> SessionManager<D, O> {
    /// Opens a session and returns its id, fresh from the operating system's random generator.
    ///
    /// # Errors
    ///
    /// [`Full`](SessionError::Full) when there are as many sessions as
    /// [`max_sessions`](crate::SessionManagerBuilder::max_sessions) allows;
    /// [`OwnerFull`](SessionError::OwnerFull) when its owner has as many as allowed, and the manager
    /// refuses more; [`NoRandomness`](SessionError::NoRandomness) when no id could be minted. In all of
    /// these cases nothing is created, and `data` is dropped.
    ///
    /// # Complexity
    ///
    /// Constant, and one request to the operating system. Where the owner has as many sessions as
    /// he may, O(n log n) in their number.
    ///
    /// ```
    /// # use tidewheel::SessionManager;
    /// let sessions = SessionManager::new();
    /// let (ann, ben) = (sessions.create("ann")?, sessions.create("ben")?);
    /// assert_ne!(ann, ben);
    /// # Ok::<(), tidewheel::SessionError>(())
    /// ```
    pub fn create(&self, data: D) -> Result<SessionId, SessionError> {
        self.create_with(data, Lifetime::new())
    }

    /// As [`create`](Self::create), with a lifetime of its own: "remember me".
    ///
    /// # Errors
    ///
    /// As `create`, and [`Unsupported`](SessionError::Unsupported) for a lifetime that the manager
    /// was not built for: see [`Lifetime`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{Lifetime, ManualClock, SessionManager};
    ///
    /// let sessions = SessionManager::builder().clock(ManualClock::new()).build()?;
    /// let week = Duration::from_secs(7 * 86_400);
    /// let id = sessions.create_with("ada", Lifetime::new().idle(week))?;
    /// assert_eq!(sessions.remaining(&id)?, week);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create_with(&self, data: D, lifetime: Lifetime) -> Result<SessionId, SessionError> {
        let (idle, end) = self.terms(lifetime)?;
        let permit = match &self.shared.permits {
            None => None,
            Some(permits) => Some(permits.take().ok_or_else(|| {
                self.refused();
                SessionError::Full { max: permits.max() }
            })?),
        };
        let id = self.mint()?;
        let mut claims = Claims::none(self);
        let step = Step { from: None, to: id, before: None, is_compared: false, arrival: Arrival::New };
        let whose = claims.add(&step, &data).map_err(|denied| self.denied(&id, denied))?;
        let stored = Stored { data, whose };
        // Not `insert`: a repeated id must not put one user's data into another's session.
        if self.cache.try_insert_until(id, stored, idle, end).is_err() {
            return Err(repeated());
        }
        if let Some(permit) = permit {
            permit.keep();
        }
        if let Some(tally) = &self.shared.tally {
            tally.created();
        }
        Ok(id)
    }

    /// Looks at a session's data in place, without cloning it, and returns what `look` makes of it.
    /// Does not restart the idle time, unless [reads count](crate::SessionManagerBuilder::reads_count).
    ///
    /// `look` may call the manager. The data stays in memory until `look` returns, even if the
    /// session ends meanwhile.
    ///
    /// # Errors
    ///
    /// [`NotFound`](SessionError::NotFound) when there is no such session.
    ///
    /// # Concurrency
    ///
    /// Takes no lock, and reads of one session from many threads do not slow each other, unless
    /// [reads count](crate::SessionManagerBuilder::reads_count): what they cost then is said there.
    ///
    /// ```
    /// # let sessions = tidewheel::SessionManager::new();
    /// let id = sessions.create(String::from("https://example.org"))?;
    /// assert_eq!(sessions.read(&id, |website| website.len())?, 19);
    /// # Ok::<(), tidewheel::SessionError>(())
    /// ```
    pub fn read<R>(&self, id: &SessionId, look: impl FnOnce(&D) -> R) -> Result<R, SessionError> {
        self.cache.read(id, |stored| look(&stored.data)).ok_or(SessionError::NotFound)
    }

    /// Stores other data for a session and restarts its idle time.
    ///
    /// Of two calls at once, the later one wins. Where the new data depends on the old, use
    /// [`update`](Self::update) or [`modify`](Self::modify).
    ///
    /// # Errors
    ///
    /// [`NotFound`](SessionError::NotFound) when there is no such session (any more). `data` is
    /// dropped then: a late call does not bring a session back.
    /// [`OwnerFull`](SessionError::OwnerFull) when the data belongs to another owner than before,
    /// and that owner has as many sessions as allowed.
    ///
    /// ```
    /// # use tidewheel::SessionManager;
    /// let sessions = SessionManager::new();
    /// let id = sessions.create("old")?;
    /// sessions.replace(&id, "new")?;
    /// assert_eq!(sessions.get(&id)?, "new");
    /// # Ok::<(), tidewheel::SessionError>(())
    /// ```
    pub fn replace(&self, id: &SessionId, data: D) -> Result<(), SessionError> {
        let mut claims = Claims::none(self);
        let whose = match &self.shared.owners {
            None => None,
            Some(_) => {
                // No session is displaced for one that is gone.
                let before = self.cache.peek_with(id, |stored| stored.whose.clone());
                let before = before.ok_or(SessionError::NotFound)?;
                let (before, arrival) = (before.as_ref(), Arrival::New);
                let step = Step { from: Some(*id), to: *id, before, is_compared: false, arrival };
                claims.add(&step, &data).map_err(|denied| self.denied(id, denied))?
            }
        };
        self.cache.replace(id, Stored { data, whose }).map_err(|_| SessionError::NotFound)
    }

    /// Computes a session's new data from the old, stores it in one step, and restarts the idle
    /// time.
    ///
    /// If somebody else changes the session while `compute` runs, it runs again, on the changed
    /// data. So no change is lost, but whatever else `compute` does must be harmless when repeated. No
    /// lock is held while it runs, so it may call the manager. If it panics, the session stays as
    /// it was. To return something, or to change a copy in place, use [`modify`](Self::modify).
    ///
    /// The session keeps its id. A change that makes the session worth more (a log-in, new rights)
    /// should be made with [`rotate_with`](Self::rotate_with).
    ///
    /// # Panics
    ///
    /// If `compute` does, or if it itself writes the same session, each time that it runs: that
    /// would never end.
    ///
    /// # Errors
    ///
    /// As [`modify`](Self::modify).
    ///
    /// ```
    /// # use tidewheel::SessionManager;
    /// let sessions = SessionManager::new();
    /// let id = sessions.create(41)?;
    /// sessions.update(&id, |clicks| clicks + 1)?;
    /// assert_eq!(sessions.get(&id)?, 42);
    /// # Ok::<(), tidewheel::SessionError>(())
    /// ```
    pub fn update(&self, id: &SessionId, mut compute: impl FnMut(&D) -> D) -> Result<(), SessionError> {
        self.change(id, |old| (compute(old), ()))
    }

    /// Ends a session (a log-out). The id is worthless from then on. To have its data back, use
    /// [`remove`](Self::remove).
    ///
    /// # Errors
    ///
    /// [`NotFound`](SessionError::NotFound) when there is no such session (any more). Of two that end
    /// one session at once, one gets this error.
    ///
    /// ```
    /// # use tidewheel::{SessionError, SessionManager};
    /// struct Secret(u64); // no clone of it is made
    /// let sessions = SessionManager::new();
    /// let id = sessions.create(Secret(7))?;
    /// sessions.end(&id)?;
    /// assert!(matches!(sessions.end(&id), Err(SessionError::NotFound)));
    /// # Ok::<(), SessionError>(())
    /// ```
    pub fn end(&self, id: &SessionId) -> Result<(), SessionError> {
        self.end_for(id, EndCause::Ended).then_some(()).ok_or(SessionError::NotFound)
    }

    /// Stores what a closure makes of a session's data, and returns what else the closure returned.
    fn change<R>(&self, id: &SessionId, mut compute: impl FnMut(&D) -> (D, R)) -> Result<R, SessionError> {
        let (mut claims, mut denied) = (Claims::none(self), None);
        let changed = self.cache.optionally_update_with(id, |old| {
            let (data, result) = compute(&old.data);
            let before = old.whose.as_ref();
            let step = Step { from: Some(*id), to: *id, before, is_compared: true, arrival: Arrival::New };
            let whose = claims.renew(&step, &data).map_err(|no| denied = Some(no)).ok()?;
            Some((Stored { data, whose }, result))
        });
        changed.ok_or_else(|| self.refusal(id, denied))
    }

    /// Why a change was not made: for this reason, or because there is no such session.
    fn refusal(&self, id: &SessionId, denied: Option<Denied>) -> SessionError {
        denied.map_or(SessionError::NotFound, |denied| self.denied(id, denied))
    }

    /// Restarts a session's idle time and leaves its data alone.
    ///
    /// # Errors
    ///
    /// [`NotFound`](SessionError::NotFound) when there is no such session (any more).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{ManualClock, SessionManager};
    ///
    /// let clock = ManualClock::new();
    /// let sessions = SessionManager::builder().clock(clock.clone()).build()?;
    /// let id = sessions.create("data")?;
    /// clock.advance(Duration::from_secs(3));
    /// sessions.touch(&id)?;
    /// clock.advance(Duration::from_secs(3));
    /// assert!(sessions.get(&id).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn touch(&self, id: &SessionId) -> Result<(), SessionError> {
        self.cache.touch(id).then_some(()).ok_or(SessionError::NotFound)
    }

    /// An id that no session has.
    pub(super) fn mint(&self) -> Result<SessionId, SessionError> {
        let id = SessionId::mint(self.random).map_err(NoRandomness::new)?;
        // 128 bits do not repeat; a generator that is out of order does. It must not be trusted with a
        // session, and least of all with somebody else's.
        if self.cache.contains_key(&id) { Err(repeated()) } else { Ok(id) }
    }

    pub(super) fn refused(&self) {
        if let Some(tally) = &self.shared.tally {
            tally.refused();
        }
    }
}

impl<D: Value + Clone, O: SessionOwner> SessionManager<D, O> {
    /// A copy of a session's data. Does not restart the idle time, unless [reads
    /// count](crate::SessionManagerBuilder::reads_count).
    ///
    /// It is a copy: changing it does not change the session. That is what
    /// [`replace`](Self::replace), [`update`](Self::update) and [`modify`](Self::modify) are for.
    ///
    /// # Errors
    ///
    /// [`NotFound`](SessionError::NotFound) when there is no such session.
    ///
    /// # Concurrency
    ///
    /// Takes no lock, and reads of one session from many threads do not slow each other, unless
    /// [reads count](crate::SessionManagerBuilder::reads_count): what they cost then is said there.
    ///
    /// ```
    /// # use tidewheel::SessionManager;
    /// let sessions = SessionManager::new();
    /// let id = sessions.create(vec![1, 2])?;
    /// let mut copy = sessions.get(&id)?;
    /// copy.push(3);
    /// assert_eq!(sessions.get(&id)?, [1, 2]);
    /// # Ok::<(), tidewheel::SessionError>(())
    /// ```
    pub fn get(&self, id: &SessionId) -> Result<D, SessionError> {
        self.read(id, D::clone)
    }

    /// Changes a session's data in one step, restarts its idle time, and returns what `change`
    /// returned.
    ///
    /// `change` gets a copy of the data, which then takes the place of the old. If somebody else
    /// changes the session in between, it runs again, on a copy of the changed data. So no change
    /// is lost, and effects that `change` has outside the copy must be harmless when repeated.
    /// Readers see the old data or the new, never something in between. No lock is held while it
    /// runs, so it may call the manager. If it panics, the session stays as it was.
    ///
    /// The session keeps its id. A change that makes the session worth more (a log-in, new rights)
    /// should be made with [`rotate_with`](Self::rotate_with). Otherwise it also benefits anyone who
    /// already knows the id.
    ///
    /// # Panics
    ///
    /// If `change` does, or if it itself writes the same session, each time that it runs: that
    /// would never end.
    ///
    /// # Errors
    ///
    /// [`NotFound`](SessionError::NotFound) when there is no such session (any more). If it ended
    /// while `change` ran, the changed copy is dropped and the session stays ended.
    /// [`OwnerFull`](SessionError::OwnerFull) when the change gives it to another owner, who has as
    /// many sessions as allowed; nothing has changed then.
    ///
    /// ```
    /// # let sessions = tidewheel::SessionManager::new();
    /// let id = sessions.create(41)?;
    /// let before = sessions.modify(&id, |clicks| {
    ///     *clicks += 1;
    ///     *clicks - 1
    /// })?;
    /// assert_eq!((before, sessions.get(&id)?), (41, 42));
    /// # Ok::<(), tidewheel::SessionError>(())
    /// ```
    pub fn modify<R>(&self, id: &SessionId, mut change: impl FnMut(&mut D) -> R) -> Result<R, SessionError> {
        self.change(id, |old| {
            let mut data = old.clone();
            let result = change(&mut data);
            (data, result)
        })
    }

    /// Ends a session (a log-out) and returns its data. The id is worthless from then on. Where nobody
    /// wants the data, [`end`](Self::end) does without the copy.
    ///
    /// What is returned is a copy; the stored data is dropped as soon as nobody reads it, at most 2
    /// seconds later.
    ///
    /// # Errors
    ///
    /// [`NotFound`](SessionError::NotFound) when there is no such session (any more). Of two that
    /// remove one session at once, one gets the data and the other this error.
    ///
    /// ```
    /// # use tidewheel::{SessionError, SessionManager};
    /// let sessions = SessionManager::new();
    /// let id = sessions.create("data")?;
    /// assert_eq!(sessions.remove(&id)?, "data");
    /// assert!(matches!(sessions.remove(&id), Err(SessionError::NotFound)));
    /// # Ok::<(), SessionError>(())
    /// ```
    pub fn remove(&self, id: &SessionId) -> Result<D, SessionError> {
        let removed = during(Leaving::End(EndCause::Ended), || self.cache.remove(id));
        removed.map(|stored| stored.data).ok_or(SessionError::NotFound)
    }

    /// Gives a session a new id and makes the old one worthless, so that an id that somebody saw
    /// before is of no use afterwards. The data stays as it is; where it changes as well, at a
    /// log-in above all, [`rotate_with`](Self::rotate_with) does both.
    ///
    /// Do not call [`modify`](Self::modify) and then `rotate`: in between, the *old* id has the
    /// changed data. An attacker who planted that id in somebody's browser, or has seen it, is then
    /// logged in as well, if only for a moment (session fixation).
    ///
    /// The session keeps its data (as a copy; the old data is dropped like that of a removed session)
    /// and its age. The idle time restarts. The call also succeeds in a full manager.
    ///
    /// # Errors
    ///
    /// [`NotFound`](SessionError::NotFound) when there is no such session (any more): of two
    /// rotations at once one wins and the other gets this.
    /// [`NoRandomness`](SessionError::NoRandomness) when no id could be minted; the session then
    /// keeps its old one.
    ///
    /// ```
    /// # use tidewheel::{SessionError, SessionManager};
    /// let sessions = SessionManager::new();
    /// let before = sessions.create("data")?;
    /// let after = sessions.rotate(&before)?;
    /// assert_eq!(sessions.get(&after)?, "data");
    /// assert!(matches!(sessions.get(&before), Err(SessionError::NotFound)));
    /// # Ok::<(), SessionError>(())
    /// ```
    pub fn rotate(&self, id: &SessionId) -> Result<SessionId, SessionError> {
        self.move_to_new_id(id, |_| ()).map(|(new, ())| new)
    }

    /// Changes a session's data and gives it a new id, in one step: **the way to log somebody in**,
    /// and to change his rights. Returns the new id, and what `change` returned.
    ///
    /// The old id ends before the changed data can be found at all. So nobody who holds the old id
    /// ever reads what the session has become: not with a read that runs meanwhile, nor with one
    /// that comes later.
    ///
    /// `change` gets a copy of the data, as in [`modify`](Self::modify). If somebody else changes
    /// the session in between, it runs again, on a copy of the changed data. So no change is lost,
    /// and effects that `change` has outside the copy must be harmless when repeated. No lock is
    /// held while it runs. If it panics, the session stays as it was, under its old id. (A copy is
    /// a clone. Where `D` only refers to its data, as an `Arc<Mutex<_>>` does, the clone refers to the
    /// same data, and a reader that got it under the old id still sees it.)
    ///
    /// The session keeps its age. The idle time restarts. The call also succeeds in a full manager.
    ///
    /// # Panics
    ///
    /// As [`modify`](Self::modify).
    ///
    /// # Errors
    ///
    /// As [`rotate`](Self::rotate): with [`NotFound`](SessionError::NotFound) and
    /// [`NoRandomness`](SessionError::NoRandomness) nothing has changed, with one exception: a
    /// session that ends after `change` has run may have displaced another, as
    /// [`max_per_owner`](crate::SessionManagerBuilder::max_per_owner) says. Of two calls at once one
    /// wins and the other gets `NotFound`, and what its `change` made is dropped.
    /// [`OwnerFull`](SessionError::OwnerFull) when the change gives the session to another owner,
    /// who has as many as allowed; nothing has changed then.
    ///
    /// ```
    /// use tidewheel::{SessionError, SessionManager};
    ///
    /// #[derive(Clone, Default)]
    /// struct Visit {
    ///     user: Option<String>,
    ///     basket: Vec<u32>,
    /// }
    ///
    /// let sessions = SessionManager::new();
    /// let planted = sessions.create(Visit { basket: vec![7], ..Visit::default() })?;
    /// // The password was right:
    /// let (id, items) = sessions.rotate_with(&planted, |visit| {
    ///     visit.user = Some("Ada".into());
    ///     visit.basket.len()
    /// })?;
    /// assert_eq!(items, 1);
    /// assert_eq!(sessions.get(&id)?.user.as_deref(), Some("Ada"));
    /// assert!(matches!(sessions.get(&planted), Err(SessionError::NotFound)));
    /// # Ok::<(), SessionError>(())
    /// ```
    pub fn rotate_with<R>(
        &self,
        id: &SessionId,
        change: impl FnMut(&mut D) -> R,
    ) -> Result<(SessionId, R), SessionError> {
        self.move_to_new_id(id, change)
    }

    /// Mints an id and has a session move there.
    fn move_to_new_id<R>(
        &self,
        id: &SessionId,
        mut change: impl FnMut(&mut D) -> R,
    ) -> Result<(SessionId, R), SessionError> {
        let new = self.mint()?;
        // Old and new are both counted for a moment: the old one's permit comes back by the listener.
        let permit = self.shared.permits.as_ref().map(|permits| permits.take_regardless());
        let (mut claims, mut denied) = (Claims::none(self), None);
        let moved = during(Leaving::Move, || {
            self.cache.optionally_rename_with(id, new, |old| {
                let mut data = old.data.clone();
                let result = change(&mut data);
                let before = old.whose.as_ref();
                let step =
                    Step { from: Some(*id), to: new, before, is_compared: true, arrival: Arrival::New };
                let whose = claims.renew(&step, &data).map_err(|no| denied = Some(no)).ok()?;
                Some((Stored { data, whose }, result))
            })
        });
        let result = moved.ok_or_else(|| self.refusal(id, denied))?;
        if let Some(permit) = permit {
            permit.keep();
        }
        Ok((new, result))
    }
}

/// Give one session a lifetime of its own.
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
    /// Takes the lock of the session's shard. Once any session has been given an idle time of its own,
    /// each [`touch`](Self::touch) takes the lock of its session's shard, too. (Where there is a maximal
    /// age, it always does.)
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
    /// is. More than 100 years counts as 100 years.
    ///
    /// Does not restart the idle time. There is one exception, where [reads
    /// count](crate::SessionManagerBuilder::reads_count): if the session's end by age was to come
    /// before its end by idleness, the manager does not know when the latter was to come, and the
    /// idle time restarts.
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
        self.cache.set_end(id, max_age.min(CENTURY)).then_some(()).ok_or(SessionError::NotFound)
    }

    /// A new session's own time to live and end, where they are not what the cache gives it.
    pub(super) fn terms(
        &self,
        lifetime: Lifetime,
    ) -> Result<(Option<Duration>, Option<Duration>), SessionError> {
        let Lives { reads_count, own_max_ages, max_age, .. } = self.shared.lives;
        if lifetime.idle.is_some() && reads_count {
            return Err(SessionError::Unsupported { needs: "a manager without `reads_count`" });
        }
        if lifetime.max_age.is_some() && !own_max_ages {
            return Err(SessionError::Unsupported { needs: "a manager built with `own_max_ages`" });
        }
        Ok((lifetime.idle, lifetime.max_age.map(|own| own.min(CENTURY)).or(max_age)))
    }
}

/// The longest maximal age that a session may have of its own. It has to be a real end: in a snapshot,
/// a session that ends "never" would look like one without an end of its own, which gets the manager's.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

/// What a generator that repeats itself is answered with.
fn repeated() -> SessionError {
    SessionError::NoRandomness(NoRandomness::repeated())
}
