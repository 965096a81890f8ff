//! What the cache holds under a session's id, and who a session may belong to.
//!
//! Knows neither the cache nor the index of owners.

use std::hash::Hash;

/// Whoever sessions belong to: what `SessionManagerBuilder::owner` makes of a session's data, such as the number of a user. Every type that
/// can be looked up, cloned and sent is one.
///
/// Its `Hash` and `Eq` run under a lock of the manager's index, so they must not call the manager.
///
/// ```
/// fn may_own(_: impl tidewheel::SessionOwner) {}
/// may_own(7_u64);
/// may_own(String::from("ada"));
/// ```
pub trait SessionOwner: Hash + Eq + Clone + Send + Sync + 'static {}

impl<O: Hash + Eq + Clone + Send + Sync + 'static> SessionOwner for O {}

/// The owner of sessions that belong to nobody: there is none. A manager without
/// [`owner`](crate::SessionManagerBuilder::owner) is a `SessionManager<D, NoOwner>`, which may be written `SessionManager<D>`.
///
/// ```
/// use tidewheel::{NoOwner, SessionManager};
/// let sessions: SessionManager<String, NoOwner> = SessionManager::new();
/// # assert!(sessions.is_empty());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NoOwner {}

/// A session's data, and whose it is. (Where sessions have no owners, that takes no room.)
#[derive(Clone)]
pub(super) struct Stored<D, O> {
    pub(super) data: D,
    pub(super) owner: Option<O>,
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;

    #[test]
    fn no_owner_takes_no_room() {
        assert_eq!(size_of::<Stored<[u64; 3], NoOwner>>(), size_of::<[u64; 3]>());
    }
}
