//! Which sessions are whose: an index beside the cache, that no interleaving leaves wrong.
//!
//! Knows owners, origins and ids, and neither a session's data nor the cache. To learn whether a
//! session is there, and whose it is, it calls a function of its caller's, under its own locks; that
//! takes no lock and runs no user code. The locks of the groups are taken before those of the tracks.
//!
//! # Why it is right
//!
//! A *place* is a session in the group of an owner. The cache is the truth; a place is a promise
//! about it. (For what is promised of a session that moves, see `tracks.rs`.)
//!
//! - **(O1)** While a session can be found with an owner, the place is there. Who stores data that
//!   gives a session an owner *claims* the place before, and releases it after. (Data that takes
//!   the place of other data of the same session and owner, in one step and under one id, needs no
//!   claim.)
//! - **(O2)** A place goes only when nobody claims it and the session, looked at under the lock, is
//!   not there with that owner. So who stores first and releases then is seen by the look, or sees
//!   to a look himself.
//! - **(O3)** Whoever takes data with an owner away (ends it, replaces it, sweeps it) has the place
//!   looked at afterwards. So no place stays for longer than what it is about.
//! - **(O4)** Who ends an owner's sessions ends the tracks of all of them in one critical section
//!   of the group, and then each session. A place stays until its session is gone, so that nobody
//!   takes it for ended before that.

use super::groups::{Group, GroupId, Groups, PlaceId};
use super::limit::{Most, WhenCrowded};
use super::stripes::Stripes;
use super::tracks::{Doomed, Tracks};
use crate::RandomState;
use crate::process::fork::{Heir, Held, Kept};
use crate::session::cause::EndCause;
use crate::session::id::SessionId;
use crate::session::stored::SessionOwner;
use crate::sync::{Alarm, Arc, catch};
use equivalent::Equivalent;
use std::fmt;
use std::hash::{BuildHasher, Hash};

/// How a session becomes an owner's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::session) enum Arrival {
    /// The owner has one more.
    New,
    /// The session was the owner's already when the snapshot was written.
    #[cfg_attr(not(feature = "serde"), allow(dead_code, reason = "nothing is restored"))]
    Back,
}

/// Why a place cannot be claimed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::session) enum Denied {
    /// The session is being ended, for this reason.
    Ending(EndCause),
    /// The session has ended.
    Gone,
    /// The owner has as many as he may.
    Crowded { max: usize },
}

/// A claimed place, and the sessions that have to end before another is stored there.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) group: GroupId,
    pub(super) displaced: Vec<Ending>,
}

/// A session that is to be ended. Its track is held until [`Index::ended`].
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) place: PlaceId,
    pub(super) doomed: Doomed,
}

pub(super) struct Index<O> {
    groups: Stripes<Groups<O>>,
    pub(super) tracks: Tracks,
    hasher: RandomState,
    most: Option<Most>,
}

impl<O: SessionOwner> Index<O> {
    pub(super) fn new(hasher: &RandomState, most: Option<Most>) -> Self {
        let groups = Stripes::new(|| Groups::new(hasher));
        Self { groups, tracks: Tracks::new(hasher), hasher: hasher.clone(), most }
    }

    /// Before a session is stored with an owner. The caller holds its track. `is_there` says
    /// whether the session of a place can be found under an id.
    pub(super) fn claim(
        &self,
        owner: &O,
        origin: SessionId,
        arrival: Arrival,
        is_there: impl Fn(&SessionId, PlaceId) -> bool,
    ) -> Result<Claimed, Denied> {
        // The user's code, as far as it need not run under the lock.
        let (hash, spare) = (self.hasher.hash_one(owner), owner.clone());
        let most = self.most.filter(|_| arrival == Arrival::New);
        let mut groups = self.groups.lock(hash);
        let (id, spare) = match groups.of(owner, hash) {
            None => (groups.make(spare, hash), None),
            Some(id) => (id, Some(spare)),
        };
        let claimed = groups.get_mut(id).map_or(Ok(Vec::new()), |group| {
            self.claim_in(group, origin, most, |session, origin| is_there(session, PlaceId::new(id, origin)))
        });
        let gone = if claimed.is_err() { groups.remove_if_empty(id) } else { None };
        drop(groups);
        dispose(gone);
        dispose(spare);
        let ending = |(origin, doomed)| Ending { place: PlaceId::new(id, origin), doomed };
        Ok(Claimed { group: id, displaced: claimed?.into_iter().map(ending).collect() })
    }

    fn claim_in(
        &self,
        group: &mut Group<O>,
        origin: SessionId,
        most: Option<Most>,
        is_there: impl Fn(&SessionId, SessionId) -> bool,
    ) -> Result<Vec<(SessionId, Doomed)>, Denied> {
        if let Some(place) = group.places.get_mut(&origin) {
            place.claims += 1;
            return Ok(Vec::new());
        }
        let displaced = most.map_or(Ok(Vec::new()), |most| self.make_room(group, most, is_there))?;
        group.add(origin);
        self.tracks.add_place(origin);
        Ok(displaced)
    }

    /// Makes room for one more session of an owner. Returns the sessions that have to be ended before it is
    /// stored, those included that another call has chosen and may not have ended yet.
    fn make_room(
        &self,
        group: &mut Group<O>,
        Most { max, when }: Most,
        is_there: impl Fn(&SessionId, SessionId) -> bool,
    ) -> Result<Vec<(SessionId, Doomed)>, Denied> {
        if group.places.len() < max {
            return Ok(Vec::new());
        }
        // Some may have expired, and nobody has come by yet.
        group.places.retain(|origin, place| {
            let stays = place.claims > 0 || self.tracks.any(*origin, |id| is_there(id, *origin));
            if !stays {
                self.tracks.remove_place(*origin);
            }
            stays
        });
        let (mut go, mut live) = (Vec::new(), Vec::new());
        for origin in group.in_order(|_| true) {
            if self.tracks.ended(origin).is_some() { go.push(origin) } else { live.push(origin) }
        }
        if live.len() >= max {
            if when == WhenCrowded::Refuse || max == 0 {
                return Err(Denied::Crowded { max });
            }
            go.extend(live.drain(..=live.len() - max));
        }
        let end = |origin| Some((origin, self.tracks.end(origin, EndCause::Displaced)?));
        Ok(go.into_iter().filter_map(end).collect())
    }

    /// Claims the place that a session has, while it moves to another id. Whether it has one: if
    /// not, the session was changed since it was looked at (O1), and whoever looks again will see
    /// that.
    pub(super) fn claim_again(&self, group: GroupId, origin: SessionId) -> bool {
        let mut groups = self.groups.lock(group.hash);
        groups.place_mut(PlaceId::new(group, origin)).map(|place| place.claims += 1).is_some()
    }

    /// After the session was stored under this id, or was not.
    pub(super) fn release(&self, place: PlaceId, id: &SessionId, is_there: impl Fn(&SessionId) -> bool) {
        let mut groups = self.groups.lock(place.group.hash);
        if let Some(place) = groups.place_mut(place) {
            // In a fork's child, `inherit` may have set it to 0.
            place.claims = place.claims.saturating_sub(1);
        }
        let gone = self.look_in(&mut groups, place, id, is_there);
        drop(groups);
        dispose(gone);
    }

    /// After data was taken away from under an id: takes the place away if nobody claims it and the
    /// session is not there (O2).
    pub(super) fn look(&self, place: PlaceId, id: &SessionId, is_there: impl Fn(&SessionId) -> bool) {
        let mut groups = self.groups.lock(place.group.hash);
        let gone = self.look_in(&mut groups, place, id, is_there);
        drop(groups);
        dispose(gone);
    }

    /// Removes the place if nobody claims it and its session is not there. Returns what is to be dropped
    /// after the unlock. If the session is there, it is most likely under `id`.
    fn look_in(
        &self,
        groups: &mut Groups<O>,
        place: PlaceId,
        id: &SessionId,
        is_there: impl Fn(&SessionId) -> bool,
    ) -> Option<Group<O>> {
        let PlaceId { group, origin } = place;
        if groups.place_mut(place)?.claims > 0 || is_there(id) || self.tracks.any(origin, is_there) {
            return None;
        }
        groups.get_mut(group)?.places.remove(&origin);
        self.tracks.remove_place(origin);
        groups.remove_if_empty(group)
    }

    /// Where an owner's sessions may be found, the oldest first. Some may be gone, or not be there
    /// yet.
    pub(super) fn list<Q>(&self, owner: &Q) -> Option<(GroupId, Vec<SessionId>)>
    where
        Q: ?Sized + Hash + Equivalent<O>,
    {
        let hash = self.hasher.hash_one(owner);
        let groups = self.groups.lock(hash);
        let id = groups.of(owner, hash)?;
        Some((id, groups.get(id)?.in_order(|_| true)))
    }

    /// Ends the tracks of all of an owner's sessions. Returns the sessions, which the caller has to end.
    pub(super) fn end_all<Q>(&self, owner: &Q, cause: EndCause) -> Vec<Ending>
    where
        Q: ?Sized + Hash + Equivalent<O>,
    {
        let hash = self.hasher.hash_one(owner);
        let groups = self.groups.lock(hash);
        let group = groups.of(owner, hash);
        group.map_or(Vec::new(), |group| self.end_group(&groups, group, |_| true, cause))
    }

    /// As `end_all`, except for one session. `None` if that one is not the owner's, or is being ended
    /// itself.
    pub(super) fn end_others(&self, group: GroupId, but: SessionId, cause: EndCause) -> Option<Vec<Ending>> {
        let groups = self.groups.lock(group.hash);
        groups.get(group)?.places.get(&but)?;
        if self.tracks.ended(but).is_some() {
            return None;
        }
        Some(self.end_group(&groups, group, |origin| *origin != but, cause))
    }

    fn end_group(
        &self,
        groups: &Groups<O>,
        id: GroupId,
        choose: impl Fn(&SessionId) -> bool,
        cause: EndCause,
    ) -> Vec<Ending> {
        let chosen = groups.get(id).map_or(Vec::new(), |group| group.in_order(choose));
        let end = |origin| {
            Some(Ending { place: PlaceId::new(id, origin), doomed: self.tracks.end(origin, cause)? })
        };
        chosen.into_iter().filter_map(end).collect()
    }

    /// After a session was ended.
    pub(super) fn ended(&self, ending: &Ending, is_there: impl Fn(&SessionId) -> bool) {
        self.look(ending.place, &ending.place.origin, is_there);
        self.tracks.release(ending.place.origin);
    }

    /// All places, whoever's they are. For tests.
    pub(super) fn len(&self) -> usize {
        self.groups.sum(Groups::places)
    }
}

/// Drops an owner, or a group with its owner, outside every lock. A panic of the destructor ends
/// here: else it would cut the caller off from what it has yet to record, release or report.
fn dispose<T>(gone: Option<T>) {
    catch(|| drop(gone));
}

impl<O: SessionOwner> Heir for Index<O> {
    fn hold(self: Arc<Self>, patience: &Alarm) -> Vec<Box<dyn Held>> {
        let keep = |number| {
            let kept = Kept::new(&self, |index: &Self| index.groups.number(number), patience)?;
            Some(Box::new(kept) as Box<dyn Held>)
        };
        // In the order in which the index takes them.
        let mut held: Vec<_> = Stripes::<Groups<O>>::numbers().filter_map(keep).collect();
        held.extend(Tracks::keep(&self, |index: &Self| &index.tracks, patience));
        held
    }
}

impl<O: SessionOwner> Held for Kept<Index<O>, Groups<O>> {
    /// Those who claimed places are not there. (What is left of them goes when somebody counts, or
    /// ends, the owner's sessions.)
    fn inherit(&mut self) {
        let places = self.content().iter_mut().flat_map(|group| group.places.values_mut());
        places.for_each(|place| place.claims = 0);
    }
}

impl<O> fmt::Debug for Index<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("most", &self.most).finish_non_exhaustive()
    }
}
