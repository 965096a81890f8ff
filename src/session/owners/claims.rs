//! What a call claims in the index before it stores a session, and sees to when it has.

use super::book::{Owners, has, is_at};
use super::groups::{GroupId, PlaceId};
use super::index::{Arrival, Denied, Ending};
use super::tracks::Doomed;
use crate::key_value::Value;
use crate::session::handle::SessionManager;
use crate::session::id::SessionId;
use crate::session::stored::{Belongs, SessionOwner, Whose};
use crate::sync::Arc;

/// A session that is about to be stored: where it was, and where it will be.
pub(in crate::session) struct Step<'a, O> {
    /// `None` for a new session.
    pub(in crate::session) from: Option<SessionId>,
    pub(in crate::session) to: SessionId,
    /// Whose it was when it was looked at.
    pub(in crate::session) before: Option<&'a Arc<Whose<O>>>,
    /// It is stored only in place of what was looked at.
    pub(in crate::session) is_compared: bool,
    pub(in crate::session) arrival: Arrival,
}

/// One session's claims.
struct Claim {
    origin: SessionId,
    ids: [SessionId; 2],
    /// The owners in whose groups a place is claimed: the one before, and the one after.
    groups: [Option<GroupId>; 2],
    /// The track is held.
    is_held: bool,
}

/// The claims of a call. Released when it is done, or panics.
pub(in crate::session) struct Claims<'m, D: Value, O: SessionOwner> {
    sessions: &'m SessionManager<D, O>,
    made: Vec<Claim>,
}

impl<'m, D: Value, O: SessionOwner> Claims<'m, D, O> {
    pub(in crate::session) fn none(sessions: &'m SessionManager<D, O>) -> Self {
        Self { sessions, made: Vec::new() }
    }

    /// As `add`, for a call whose closure may run again: first releases what the call has claimed
    /// before.
    pub(in crate::session) fn renew(
        &mut self,
        step: &Step<'_, O>,
        data: &D,
    ) -> Result<Option<Arc<Whose<O>>>, Denied> {
        self.release();
        self.add(step, data)
    }

    /// To be called before data is stored, without a lock. Claims what has to be claimed, ends the
    /// sessions that have to end for it, and returns whose the session will be.
    pub(in crate::session) fn add(
        &mut self,
        step: &Step<'_, O>,
        data: &D,
    ) -> Result<Option<Arc<Whose<O>>>, Denied> {
        let Some(owners) = &self.sessions.shared.owners else { return Ok(None) };
        let owner = owners.of(data);
        let from = step.from.unwrap_or(step.to);
        let origin = step.before.map_or(from, |whose| whose.origin);
        let before = step.before.and_then(|whose| whose.belongs.as_ref());
        let is_same = owner.is_some() && before.map(|belongs| &belongs.owner) == owner.as_ref();
        let moves = from != step.to;
        if !moves && is_same && step.is_compared {
            return Ok(step.before.cloned());
        }
        let nobodys = || step.before.map(|_| Arc::new(Whose { origin, belongs: None }));
        if !moves && owner.is_none() {
            return Ok(nobodys());
        }
        // Reserved before anything is claimed: so the pushes below cannot fail, and each claim is released.
        self.made.reserve(1);
        let group = before.map(|belongs| belongs.group);
        if let (false, true, Some(group)) = (moves, is_same, group) {
            // Its place is there, most likely: then nothing has to be looked up by the owner.
            if owners.index.claim_again(group, origin) {
                let (ids, groups) = ([from; 2], [Some(group), None]);
                self.made.push(Claim { origin, ids, groups, is_held: false });
                return Ok(step.before.cloned());
            }
        }
        // (T1) What goes on as nobody's, and always was, has another origin under another id.
        let to = if owner.is_none() && step.before.is_none() { from } else { step.to };
        if !owners.index.tracks.hold(origin, [from, to], owner.is_some()).map_err(Denied::Ending)? {
            return Ok(nobodys());
        }
        let at = self.made.len();
        self.made.push(Claim { origin, ids: [from, step.to], groups: [None; 2], is_held: true });
        // Whosever it was, he may end it while it moves.
        let group = group.filter(|_| moves);
        self.made[at].groups[0] = group.filter(|group| owners.index.claim_again(*group, origin));
        let Some(owner) = owner else { return Ok(nobodys()) };
        if is_same && step.is_compared {
            return Ok(step.before.cloned());
        }
        // No session is displaced for one that is gone.
        if step.from.is_some_and(|from| !self.sessions.cache.contains_key(&from)) {
            return Err(Denied::Gone);
        }
        let group = self.join(owners, &owner, origin, step.arrival, at)?;
        Ok(Some(Arc::new(Whose { origin, belongs: Some(Belongs { owner, group }) })))
    }

    fn join(
        &mut self,
        owners: &Owners<D, O>,
        owner: &O,
        origin: SessionId,
        arrival: Arrival,
        at: usize,
    ) -> Result<GroupId, Denied> {
        let cache = &self.sessions.cache;
        let claimed = owners.index.claim(owner, origin, arrival, |id, place| has(cache, id, place))?;
        self.made[at].groups[1] = Some(claimed.group);
        self.sessions.end_each(claimed.displaced);
        Ok(claimed.group)
    }

    fn release(&mut self) {
        let Some(owners) = &self.sessions.shared.owners else { return };
        let cache = &self.sessions.cache;
        for Claim { origin, ids, groups, is_held } in self.made.drain(..) {
            for group in groups.into_iter().flatten() {
                let place = PlaceId::new(group, origin);
                owners.index.release(place, &ids[1], |id| has(cache, id, place));
            }
            if !is_held {
                continue;
            }
            let doomed = owners.index.tracks.leave(origin, |id| is_at(cache, id, origin));
            if let Some(Doomed { ids: tracked, cause }) = doomed {
                tracked.iter().chain(&ids).for_each(|id| _ = self.sessions.end_for(id, cause));
                owners.index.tracks.release(origin);
            }
        }
    }
}

impl<D: Value, O: SessionOwner> Drop for Claims<'_, D, O> {
    fn drop(&mut self) {
        self.release();
    }
}

impl<D: Value, O: SessionOwner> SessionManager<D, O> {
    /// Ends these sessions; how many there were.
    pub(super) fn end_each(&self, endings: Vec<Ending>) -> usize {
        let Some(owners) = &self.shared.owners else { return 0 };
        let end = |ending: &Ending| {
            let Doomed { ids, cause } = &ending.doomed;
            // Under all of them: it may be moving from one to another.
            let was_there = ids.iter().filter(|id| self.end_for(id, *cause)).count() > 0;
            owners.index.ended(ending, |id| has(&self.cache, id, ending.place));
            was_there
        };
        endings.iter().filter(|ending| end(ending)).count()
    }

    /// Returns the error for the caller. If the session is being ended, this call ends it, too.
    pub(in crate::session) fn denied(&self, id: &SessionId, denied: Denied) -> crate::SessionError {
        match denied {
            Denied::Ending(cause) => {
                self.end_for(id, cause);
                crate::SessionError::NotFound
            }
            Denied::Gone => crate::SessionError::NotFound,
            Denied::Crowded { max } => {
                self.refused();
                crate::SessionError::OwnerFull { max }
            }
        }
    }
}
