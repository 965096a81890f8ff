//! Which sessions are whose: an index beside the cache, that no interleaving leaves wrong.
//!
//! Knows owners and ids. It never knows a session's data nor the cache: whether a session is there, and whose it is, it asks, under its own
//! lock, and the answer takes no lock and runs no code but the owner's `Eq`.
//!
//! # Why it is right
//!
//! A *place* is an owner and an id. The cache is the truth; a place is a promise about it.
//!
//! - **(O1)** While a session can be found with an owner, the place is there. Who stores data that gives a session an owner *claims* the place
//!   before, and releases it after. (Data that takes the place of other data of the same owner, in one step, needs no claim.)
//! - **(O2)** A place goes only when nobody claims it and the session, looked at under the lock, is not there with that owner. So who
//!   stores first and releases then is seen by the look, or sees to a look himself.
//! - **(O3)** Whoever takes data with an owner away (ends it, replaces it, sweeps it) has the place looked at afterwards. So no place stays
//!   for longer than what it is about.
//! - **(O4)** To end an owner's sessions, their places are *doomed* in one critical section, and then each session is ended by its id. A doomed
//!   place stays until its session is gone, so that nobody takes it for ended before that. Who releases a doomed place ends the session once more: it may
//!   have been stored after it was ended.
//! - **(O5)** A session that moves to another id claims the new place beside the old one, in the critical section in which it sees that the old one
//!   is not doomed. So of a move, either both places are doomed or the move knows.

use super::cause::EndCause;
use super::id::SessionId;
use super::stored::SessionOwner;
use crate::RandomState;
use crate::process::fork::{Heir, Held, Kept};
use crate::sync::{Alarm, Arc, CachePadded, Mutex, MutexGuard};
use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher;

/// Locks: so many that threads seldom meet at one.
const STRIPES: usize = if cfg!(tidewheel_loom) { 1 } else { 64 };

/// What [`max_per_owner`](crate::SessionManagerBuilder::max_per_owner) does when an owner has as many sessions as he may, and
/// another is opened.
///
/// ```
/// use tidewheel::{SessionManager, WhenCrowded};
///
/// let sessions = SessionManager::builder()
///     .owner(|user: &&str| Some(*user))
///     .max_per_owner(1, WhenCrowded::EndOldest)
///     .build()?;
/// let first = sessions.create("ada")?;
/// let second = sessions.create("ada")?;
/// assert!(sessions.get(&first).is_err());
/// assert!(sessions.get(&second).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum WhenCrowded {
    /// The new session is refused, with [`OwnerFull`](crate::SessionError::OwnerFull). Whoever has the password can then lock the owner out, and a session
    /// that was forgotten elsewhere does so until it expires.
    Refuse,
    /// The session ends that has been the owner's for the longest time. (A rotated session keeps its place in that order.)
    EndOldest,
}

/// How many sessions an owner may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    pub(super) max: usize,
    pub(super) when: WhenCrowded,
}

/// How a session comes to a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Arrival {
    /// The owner has one more.
    New,
    /// As `New`, but it was his already when it was written down.
    #[cfg_attr(not(feature = "serde"), allow(dead_code, reason = "nothing is restored"))]
    Back,
    /// It moves from this id, and is his already.
    From(SessionId),
}

/// Why a place cannot be claimed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Denied {
    /// The session is being ended, for this reason.
    Doomed(EndCause),
    /// The owner has as many as he may.
    Crowded { max: usize },
}

/// What a claim comes to.
#[derive(Debug)]
pub(super) struct Claimed {
    /// Whether there is something to release.
    pub(super) made: bool,
    /// Sessions that have to end first.
    pub(super) displaced: Vec<SessionId>,
}

/// An owner and an id: what there is to know of them.
struct Place {
    /// How many are about to store a session here, or have just done so.
    claims: u32,
    /// The order in which sessions became the owner's.
    joined: u64,
    /// The id that the session comes from, as long as it moves.
    from: Option<SessionId>,
    /// Why the session is being ended, if it is.
    doom: Option<EndCause>,
}

type Places = HashMap<SessionId, Place, RandomState>;

/// The owners that lie under one lock.
struct Stripe<O> {
    owners: HashMap<O, Places, RandomState>,
    /// The last number that `joined` was given.
    joined: u64,
    hasher: RandomState,
}

pub(super) struct Index<O> {
    stripes: Box<[CachePadded<Mutex<Stripe<O>>>]>,
    hasher: RandomState,
    most: Option<Most>,
}

impl<O: SessionOwner> Index<O> {
    pub(super) fn new(hasher: &RandomState, most: Option<Most>) -> Self {
        let stripe = |_| {
            let owners = HashMap::with_hasher(hasher.clone());
            CachePadded::new(Mutex::new(Stripe { owners, joined: 0, hasher: hasher.clone() }))
        };
        Self { stripes: (0..STRIPES).map(stripe).collect(), hasher: hasher.clone(), most }
    }

    fn lock_number(&self, number: usize) -> &Mutex<Stripe<O>> {
        &self.stripes[number]
    }

    fn stripe(&self, owner: &O) -> MutexGuard<'_, Stripe<O>> {
        // The map goes by the lowest bits and by the highest.
        let number = (self.hasher.hash_one(owner) >> 32) as usize % self.stripes.len();
        self.lock_number(number).lock()
    }

    /// Before a session is stored under an id with an owner who it did not have. `is_there` says whether a session can be found with the owner.
    pub(super) fn claim(
        &self,
        owner: &O,
        id: SessionId,
        arrival: Arrival,
        is_there: impl Fn(&SessionId) -> bool,
    ) -> Result<Claimed, Denied> {
        // Cloned, and dropped if there is one already, outside the lock.
        let mut spare = Some(owner.clone());
        let mut stripe = self.stripe(owner);
        match arrival {
            Arrival::From(from) => stripe.claim_beside(owner, id, from),
            Arrival::New => stripe.claim_new(owner, &mut spare, id, self.most, is_there),
            Arrival::Back => stripe.claim_new(owner, &mut spare, id, None, is_there),
        }
    }

    /// After the session was stored, or was not. If the place is doomed, the session has to be ended (once more).
    pub(super) fn release(
        &self,
        owner: &O,
        id: SessionId,
        is_there: impl FnOnce() -> bool,
    ) -> Option<EndCause> {
        let _gone;
        let mut stripe = self.stripe(owner);
        let place = stripe.owners.get_mut(owner)?.get_mut(&id)?;
        place.from = None;
        // A fork's child may have been told that nobody claims anything.
        place.claims = place.claims.saturating_sub(1);
        let doom = place.doom;
        _gone = stripe.look(owner, id, is_there);
        doom
    }

    /// After data with this owner was taken away from under an id.
    pub(super) fn hear(&self, owner: &O, id: SessionId, is_there: impl FnOnce() -> bool) {
        let _gone;
        let mut stripe = self.stripe(owner);
        _gone = stripe.look(owner, id, is_there);
    }

    /// The ids of an owner's sessions, the oldest first. Some may be gone, or not be there yet.
    pub(super) fn list(&self, owner: &O) -> Vec<SessionId> {
        let mut ids = Vec::new();
        if let Some(places) = self.stripe(owner).owners.get(owner) {
            ids.extend(
                places
                    .iter()
                    .filter(|(_, place)| place.doom.is_none())
                    .map(|(id, place)| (place.joined, *id)),
            );
        }
        in_order(ids)
    }

    /// Dooms an owner's places, but for one and what comes from it, and says which sessions are to be ended: the oldest first. `None` if the
    /// one that is to stay is none of his, or is doomed itself.
    pub(super) fn doom(&self, owner: &O, but: Option<SessionId>, cause: EndCause) -> Option<Vec<SessionId>> {
        let mut stripe = self.stripe(owner);
        let Some(places) = stripe.owners.get_mut(owner) else { return but.is_none().then(Vec::new) };
        if but.is_some_and(|but| places.get(&but).is_none_or(|place| place.doom.is_some())) {
            return None;
        }
        let mut ids = Vec::new();
        for (&id, place) in places.iter_mut() {
            if but.is_some_and(|but| id == but || place.from == Some(but)) {
                continue;
            }
            place.doom.get_or_insert(cause);
            ids.push((place.joined, id));
        }
        Some(in_order(ids))
    }

    /// Whether a session is being ended, with others of its owner.
    pub(super) fn is_doomed(&self, owner: &O, id: SessionId) -> bool {
        let stripe = self.stripe(owner);
        let place = stripe.owners.get(owner).and_then(|places| places.get(&id));
        place.is_some_and(|place| place.doom.is_some())
    }

    /// All places, whoever's they are. For tests.
    pub(super) fn len(&self) -> usize {
        let count = |stripe: &CachePadded<Mutex<Stripe<O>>>| {
            stripe.lock().owners.values().map(HashMap::len).sum::<usize>()
        };
        self.stripes.iter().map(count).sum()
    }
}

fn in_order(mut ids: Vec<(u64, SessionId)>) -> Vec<SessionId> {
    ids.sort_unstable_by_key(|&(joined, _)| joined);
    ids.into_iter().map(|(_, id)| id).collect()
}

impl<O: SessionOwner> Stripe<O> {
    /// Claims the place that a session moves to, beside the one that it has.
    fn claim_beside(&mut self, owner: &O, id: SessionId, from: SessionId) -> Result<Claimed, Denied> {
        let nothing = Claimed { made: false, displaced: Vec::new() };
        // If it is not there, the session was changed or ended since it was looked at (O1), and whoever looks again will see that.
        let Some(places) = self.owners.get_mut(owner) else { return Ok(nothing) };
        let Some(old) = places.get(&from) else { return Ok(nothing) };
        if let Some(cause) = old.doom {
            return Err(Denied::Doomed(cause));
        }
        let joined = old.joined;
        places.insert(id, Place { claims: 1, joined, from: Some(from), doom: None });
        Ok(Claimed { made: true, ..nothing })
    }

    fn claim_new(
        &mut self,
        owner: &O,
        spare: &mut Option<O>,
        id: SessionId,
        most: Option<Most>,
        is_there: impl Fn(&SessionId) -> bool,
    ) -> Result<Claimed, Denied> {
        let mut claimed = Claimed { made: true, displaced: Vec::new() };
        if let Some(places) = self.owners.get_mut(owner) {
            if let Some(place) = places.get_mut(&id) {
                if let Some(cause) = place.doom {
                    return Err(Denied::Doomed(cause));
                }
                place.claims += 1;
                return Ok(claimed);
            }
            if let Some(most) = most {
                claimed.displaced = make_room(places, most, is_there)?;
            }
        } else if let Some(Most { max: max @ 0, .. }) = most {
            return Err(Denied::Crowded { max });
        }
        self.joined += 1;
        let place = Place { claims: 1, joined: self.joined, from: None, doom: None };
        match self.owners.get_mut(owner) {
            Some(places) => drop(places.insert(id, place)),
            None => {
                let mut places = HashMap::with_hasher(self.hasher.clone());
                places.insert(id, place);
                self.owners.extend(spare.take().map(|owner| (owner, places)));
            }
        }
        Ok(claimed)
    }

    /// Takes a place away if nobody claims it and there is no session (O2). What is to be dropped outside the lock, if it was the owner's last.
    fn look(&mut self, owner: &O, id: SessionId, is_there: impl FnOnce() -> bool) -> Option<(O, Places)> {
        let places = self.owners.get_mut(owner)?;
        if places.get(&id)?.claims > 0 || is_there() {
            return None;
        }
        places.remove(&id);
        if places.is_empty() {
            return self.owners.remove_entry(owner);
        }
        if places.capacity() > 64 && places.len() < places.capacity() / 8 {
            places.shrink_to(places.len() * 2);
        }
        None
    }
}

/// Has an owner's places make room for one more: the sessions that have to end for it, which are doomed.
fn make_room(
    places: &mut Places,
    Most { max, when }: Most,
    is_there: impl Fn(&SessionId) -> bool,
) -> Result<Vec<SessionId>, Denied> {
    if count(places) < max {
        return Ok(Vec::new());
    }
    // Some may have expired, and nobody has come by yet.
    places.retain(|id, place| place.claims > 0 || is_there(id));
    let mut displaced = Vec::new();
    while count(places) >= max {
        let oldest =
            places.iter().filter(|(_, place)| place.doom.is_none()).min_by_key(|(_, place)| place.joined);
        let oldest = oldest.filter(|_| when == WhenCrowded::EndOldest && max > 0).map(|(id, _)| *id);
        let Some(oldest) = oldest else { return Err(Denied::Crowded { max }) };
        // Wherever it is moving to, too.
        for (&id, place) in places.iter_mut() {
            if id == oldest || place.from == Some(oldest) {
                place.doom.get_or_insert(EndCause::Displaced);
                displaced.push(id);
            }
        }
    }
    Ok(displaced)
}

/// How many sessions there are: one that moves counts once, and one that is being ended does not.
fn count(places: &Places) -> usize {
    let is_moving = |place: &Place| {
        place.from.is_some_and(|from| places.get(&from).is_some_and(|from| from.doom.is_none()))
    };
    places.values().filter(|place| place.doom.is_none() && !is_moving(place)).count()
}

impl<O: SessionOwner> Heir for Index<O> {
    fn hold(self: Arc<Self>, patience: &Alarm) -> Vec<Box<dyn Held>> {
        let held = |number| {
            let kept = Kept::new(&self, |index: &Self| index.lock_number(number), patience)?;
            Some(Box::new(kept) as Box<dyn Held>)
        };
        (0..STRIPES).filter_map(held).collect()
    }
}

impl<O: SessionOwner> Held for Kept<Index<O>, Stripe<O>> {
    /// Those who claimed places are not there.
    fn inherit(&mut self) {
        let places = self.content().owners.values_mut().flat_map(HashMap::values_mut);
        places.for_each(|place| place.claims = 0);
    }
}

impl<O> fmt::Debug for Index<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("most", &self.most).finish_non_exhaustive()
    }
}
