//! What a manager knows of owners: the function that names a session's owner, and the index.

use super::groups::PlaceId;
use super::index::Index;
use super::limit::Most;
use crate::RandomState;
use crate::cache::Cache;
use crate::key_value::Value;
use crate::process::fork;
use crate::session::id::SessionId;
use crate::session::stored::{SessionOwner, Stored};
use crate::sync::{Arc, Weak};

/// Says whose a session is.
pub(in crate::session) type OwnerOf<D, O> = dyn Fn(&D) -> Option<O> + Send + Sync;

pub(in crate::session) struct Owners<D, O> {
    of: Box<OwnerOf<D, O>>,
    pub(super) index: Arc<Index<O>>,
    /// As long as it exists, a fork's child inherits the index intact.
    _heir: fork::Registered,
}

impl<D: Value, O: SessionOwner> Owners<D, O> {
    pub(in crate::session) fn new(of: Box<OwnerOf<D, O>>, hasher: &RandomState, most: Option<Most>) -> Self {
        let index = Arc::new(Index::new(hasher, most));
        let weak: Weak<Index<O>> = Arc::downgrade(&index);
        Self { of, index, _heir: fork::register(0, weak, || {}) }
    }

    /// Whose a session with this data is. The user's code.
    pub(super) fn of(&self, data: &D) -> Option<O> {
        (self.of)(data)
    }

    /// After data was taken away from under an id.
    pub(in crate::session) fn hear(
        &self,
        cache: &Cache<SessionId, Stored<D, O>>,
        place: PlaceId,
        id: &SessionId,
    ) {
        // Most often other data of the same session has taken its place. What goes later is heard of later.
        if !has(cache, id, place) {
            self.index.look(place, id, |id| has(cache, id, place));
        }
    }

    /// Whether the session that first had an owner under this id is there, or may be on its way from
    /// one id to another. One that has expired is not there, swept or not.
    #[cfg_attr(not(feature = "serde"), allow(dead_code, reason = "nothing is restored"))]
    pub(in crate::session) fn knows(
        &self,
        cache: &Cache<SessionId, Stored<D, O>>,
        origin: SessionId,
    ) -> bool {
        self.index.tracks.is_live(origin, |id| is_at(cache, id, origin))
    }

    /// How many places there are, and how many tracks.
    pub(in crate::session) fn figures(&self) -> (usize, usize) {
        (self.index.len(), self.index.tracks.len())
    }
}

/// Whether the session of a place can be found under an id. Another session of the same owner, which
/// was restored under that id, is not it (T1). Takes no lock, and runs no code of the user's.
pub(super) fn has<D: Value, O: SessionOwner>(
    cache: &Cache<SessionId, Stored<D, O>>,
    id: &SessionId,
    place: PlaceId,
) -> bool {
    cache.peek_with(id, |stored| stored.place() == Some(place)).unwrap_or(false)
}

/// Whether the session of an origin can be found under an id, whoever it belongs to. As `has`
/// otherwise.
pub(super) fn is_at<D: Value, O: SessionOwner>(
    cache: &Cache<SessionId, Stored<D, O>>,
    id: &SessionId,
    origin: SessionId,
) -> bool {
    cache.peek_with(id, |stored| stored.origin(*id) == origin).unwrap_or(false)
}
