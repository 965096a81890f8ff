//! Under which ids each session with an owner may be found, and whether it is being ended.
//!
//! A rotation gives a session another id, and a change of its data another owner. What it keeps is
//! its *origin*: the id under which it first had an owner. What has to hold whatever becomes of a
//! session is written to the *track* of its origin.
//!
//! Knows ids, and neither owners, data nor the cache. To learn whether a session is there, it calls a
//! function of its caller's, under its own lock; that takes no lock and runs no user code.
//!
//! # Why no session escapes its end
//!
//! - **(T1)** All data that is stored under one id has one origin, until data is restored there.
//!   Data with an owner has it written beside it, and so has data that had an owner before. The
//!   origin of other data is its id. A snapshot has no origins: what is restored has its id as its
//!   origin, and what was under that id before may have had another, and may not be heard of yet.
//!   So whoever asks whether a session is under an id asks for its origin too. Who ends a session
//!   does not: whatever is found under its ids ends with it.
//! - **(T2)** While a session with an owner can be found under an id, its track has the id. Who
//!   moves a session *holds* its track, and adds the new id, before he stores it there. No id goes
//!   from a track that somebody else holds.
//! - **(T3)** An ended track stays ended, and takes no more ids.
//! - **(T4)** Who ends a track holds it until he has ended the session under each of the ids that
//!   the track had then. Who moves a session looks at the track once more when he has stored it,
//!   and if it was ended meanwhile, ends the session himself. So when nobody holds an ended track,
//!   the session is gone.
//! - **(T5)** A track goes when nobody holds it and no owner has a place for its session.

use super::groups::shrink;
use super::stripes::Stripes;
use crate::RandomState;
use crate::process::fork::{Held, Kept};
use crate::session::cause::EndCause;
use crate::session::id::SessionId;
use crate::sync::{Alarm, Arc};
use std::collections::HashMap;
use std::hash::BuildHasher;

#[derive(Default)]
pub(super) struct Track {
    ids: Vec<SessionId>,
    ended: Option<EndCause>,
    /// How many owners have a place for the session: one, or for a moment two.
    places: u32,
    /// How many calls hold it.
    calls: u32,
}

pub(super) type Part = HashMap<SessionId, Track, RandomState>;

pub(super) struct Tracks {
    parts: Stripes<Part>,
    hasher: RandomState,
}

/// A session that is to be ended, under whichever of these ids it can be found.
#[derive(Debug)]
pub(super) struct Doomed {
    pub(super) ids: Vec<SessionId>,
    pub(super) cause: EndCause,
}

impl Track {
    fn add(&mut self, id: SessionId) {
        if !self.ids.contains(&id) {
            // Most have one id for ever.
            self.ids.reserve_exact(1);
            self.ids.push(id);
        }
    }

    fn is_idle(&self) -> bool {
        self.places == 0 && self.calls == 0
    }

    fn doomed(&self) -> Option<Doomed> {
        self.ended.map(|cause| Doomed { ids: self.ids.clone(), cause })
    }
}

impl Tracks {
    pub(super) fn new(hasher: &RandomState) -> Self {
        Self { parts: Stripes::new(|| HashMap::with_hasher(hasher.clone())), hasher: hasher.clone() }
    }

    fn with<R>(&self, origin: SessionId, run: impl FnOnce(&mut Part) -> R) -> R {
        run(&mut self.parts.lock(self.hasher.hash_one(origin)))
    }

    /// Holds a session's track, before the session is stored under one of these ids. Returns whether there
    /// is a track; a new one is made only if `make`. If the track has ended, returns the cause as error.
    pub(super) fn hold(&self, origin: SessionId, ids: [SessionId; 2], make: bool) -> Result<bool, EndCause> {
        self.with(origin, |part| {
            if !make && !part.contains_key(&origin) {
                return Ok(false);
            }
            let track = part.entry(origin).or_default();
            if let Some(cause) = track.ended {
                return Err(cause);
            }
            ids.into_iter().for_each(|id| track.add(id));
            track.calls += 1;
            Ok(true)
        })
    }

    /// After the session was stored, or was not: forgets the ids under which it cannot be found,
    /// unless somebody else holds the track: he may be about to store the session under one of
    /// them (T2), and the last who leaves forgets them all. If the session was ended meanwhile
    /// (T4), it has to be ended once more, and the track is held until
    /// [`release`](Self::release). Otherwise it is released here.
    pub(super) fn leave(&self, origin: SessionId, is_there: impl Fn(&SessionId) -> bool) -> Option<Doomed> {
        self.with(origin, |part| {
            let track = part.get_mut(&origin)?;
            // In a fork's child nobody else does.
            if track.calls <= 1 {
                track.ids.retain(is_there);
            }
            let doomed = track.doomed();
            if doomed.is_none() {
                release(part, origin);
            }
            doomed
        })
    }

    /// Ends the track, unless it has ended already. Returns the session, which the caller has to end. The
    /// track is held until [`release`](Self::release).
    pub(super) fn end(&self, origin: SessionId, cause: EndCause) -> Option<Doomed> {
        self.with(origin, |part| {
            let track = part.get_mut(&origin)?;
            track.ended.get_or_insert(cause);
            track.calls += 1;
            track.doomed()
        })
    }

    pub(super) fn release(&self, origin: SessionId) {
        self.with(origin, |part| release(part, origin));
    }

    /// An owner has a place for the session. The caller holds the track.
    pub(super) fn add_place(&self, origin: SessionId) {
        self.with(origin, |part| part.entry(origin).or_default().places += 1);
    }

    pub(super) fn remove_place(&self, origin: SessionId) {
        self.with(origin, |part| {
            if let Some(track) = part.get_mut(&origin) {
                track.places = track.places.saturating_sub(1);
                remove_if_idle(part, origin);
            }
        });
    }

    /// Whether somebody holds the track, so that the session may be between two ids (T2), or it can
    /// be found.
    pub(super) fn is_live(&self, origin: SessionId, is_there: impl Fn(&SessionId) -> bool) -> bool {
        let live = |track: &Track| track.calls > 0 || track.ids.iter().any(is_there);
        self.with(origin, |part| part.get(&origin).is_some_and(live))
    }

    /// Why the session is being ended, if it is.
    pub(super) fn ended(&self, origin: SessionId) -> Option<EndCause> {
        self.with(origin, |part| part.get(&origin)?.ended)
    }

    /// Where the session may be found, unless it is being ended.
    pub(super) fn ids(&self, origin: SessionId) -> Vec<SessionId> {
        let live = |track: &&Track| track.ended.is_none();
        self.with(origin, |part| part.get(&origin).filter(live).map(|track| track.ids.clone()))
            .unwrap_or_default()
    }

    /// Whether this holds of one of the ids.
    pub(super) fn any(&self, origin: SessionId, is_there: impl Fn(&SessionId) -> bool) -> bool {
        self.with(origin, |part| part.get(&origin).is_some_and(|track| track.ids.iter().any(is_there)))
    }

    /// How many there are. For tests.
    pub(super) fn len(&self) -> usize {
        self.parts.sum(HashMap::len)
    }

    /// The locks, for a fork.
    pub(super) fn keep<A: Send + Sync + 'static>(
        owner: &Arc<A>,
        tracks: fn(&A) -> &Self,
        patience: &Alarm,
    ) -> Vec<Box<dyn Held>> {
        let keep = |number| {
            let kept = Kept::new(owner, |owner: &A| tracks(owner).parts.number(number), patience)?;
            Some(Box::new(kept) as Box<dyn Held>)
        };
        Stripes::<Part>::numbers().filter_map(keep).collect()
    }
}

fn release(part: &mut Part, origin: SessionId) {
    if let Some(track) = part.get_mut(&origin) {
        // In a fork's child, `inherit` may have set it to 0.
        track.calls = track.calls.saturating_sub(1);
        remove_if_idle(part, origin);
    }
}

fn remove_if_idle(part: &mut Part, origin: SessionId) {
    if part.get(&origin).is_some_and(Track::is_idle) {
        part.remove(&origin);
        shrink(part);
    }
}

impl<A: Send + Sync> Held for Kept<A, Part> {
    /// Those who held tracks, and those who were ending sessions, are not there.
    fn inherit(&mut self) {
        self.content().retain(|_, track| {
            (track.calls, track.ended) = (0, None);
            !track.is_idle()
        });
    }
}
