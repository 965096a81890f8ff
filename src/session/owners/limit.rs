//! How many sessions an owner may have, and what happens at the limit.

/// What [`max_per_owner`](crate::SessionManagerBuilder::max_per_owner) does when an owner has as
/// many sessions as he may, and another is opened.
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
    /// The new session is refused, with [`OwnerFull`](crate::SessionError::OwnerFull). Somebody who
    /// has the password can then lock the owner out. So can a session that was forgotten elsewhere,
    /// until it expires.
    Refuse,
    /// The session that has been the owner's for the longest time is ended. (A rotated session
    /// keeps its place in that order.)
    EndOldest,
}

/// How many sessions an owner may have.
#[derive(Clone, Copy, Debug)]
pub(in crate::session) struct Most {
    pub(in crate::session) max: usize,
    pub(in crate::session) when: WhenCrowded,
}
