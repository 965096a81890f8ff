//! What the cache holds under a session's id, and who a session may belong to.
//!
//! Knows neither the cache nor what the index of owners does with it.

use super::id::SessionId;
use super::owners::{GroupId, PlaceId};
use crate::sync::Arc;
use std::hash::Hash;

/// An owner of sessions: what `SessionManagerBuilder::owner` makes of a session's data, such as the
/// number of a user. Every type that can be hashed, compared, cloned and sent is one.
///
/// Its `Eq`, and the [`Equivalent`](crate::Equivalent) of what it is looked up by, run under a lock of
/// the manager's index, so they must not call the manager.
///
/// ```
/// fn may_own(_: impl tidewheel::SessionOwner) {}
/// may_own(7_u64);
/// may_own(String::from("ada"));
/// ```
pub trait SessionOwner: Hash + Eq + Clone + Send + Sync + 'static {}

impl<O: Hash + Eq + Clone + Send + Sync + 'static> SessionOwner for O {}

/// The type of owners in a manager without owners: it has no values. A manager that is built without
/// [`owner`](crate::SessionManagerBuilder::owner) is a `SessionManager<D, NoOwner>`, which may be
/// written `SessionManager<D>`.
///
/// ```
/// use tidewheel::{NoOwner, SessionManager};
/// let sessions: SessionManager<String, NoOwner> = SessionManager::new();
/// # assert!(sessions.is_empty());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NoOwner {}

/// A session's data, and whose it is. (In a manager without owners that is a word with nothing in
/// it.)
#[derive(Clone)]
pub(super) struct Stored<D, O> {
    pub(super) data: D,
    /// Shared by all data that the session has had since it became its owner's.
    pub(super) whose: Option<Arc<Whose<O>>>,
}

/// Whose a session is, if it has ever been anybody's.
pub(super) struct Whose<O> {
    /// The id under which it first had an owner.
    pub(super) origin: SessionId,
    /// `None` if it belongs to nobody any more.
    pub(super) belongs: Option<Belongs<O>>,
}

/// Who a session belongs to.
pub(super) struct Belongs<O> {
    pub(super) owner: O,
    /// The owner's sessions in the index.
    pub(super) group: GroupId,
}

impl<D, O> Stored<D, O> {
    pub(super) fn belongs(&self) -> Option<&Belongs<O>> {
        self.whose.as_ref()?.belongs.as_ref()
    }

    pub(super) fn group(&self) -> Option<GroupId> {
        self.belongs().map(|belongs| belongs.group)
    }

    /// Its session's origin. This is the id under which it is stored.
    pub(super) fn origin(&self, id: SessionId) -> SessionId {
        self.whose.as_ref().map_or(id, |whose| whose.origin)
    }

    /// Where the index has it, if it belongs to somebody.
    pub(super) fn place(&self) -> Option<PlaceId> {
        Some(PlaceId::new(self.group()?, self.whose.as_ref()?.origin))
    }
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;

    #[test]
    fn no_owner_takes_one_word() {
        assert_eq!(size_of::<Stored<[u64; 3], NoOwner>>(), size_of::<[u64; 3]>() + size_of::<usize>());
    }
}
