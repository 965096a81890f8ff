//! What a session manager answers when it cannot do what it was asked.
//!
//! Knows the cases, never how they come about. No variant carries an id or a session's data, so
//! that an error can be logged as it is.

use crate::error::NoRandomness;
use std::error::Error;
use std::fmt;

/// Why a call on a [`SessionManager`](crate::SessionManager) did not succeed.
///
/// ```
/// use tidewheel::{SessionError, SessionManager};
///
/// let sessions = SessionManager::<u32>::builder().max_sessions(1).build()?;
/// let id = sessions.create(7)?;
/// assert!(matches!(sessions.create(8), Err(SessionError::Full { max: 1, .. })));
/// sessions.remove(&id)?;
/// assert!(matches!(sessions.get(&id), Err(SessionError::NotFound)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SessionError {
    /// There is no such session: it has expired, was removed or rotated, or never existed. The
    /// error does not say which, because nobody who holds a dead id has a right to know.
    NotFound,
    /// The manager holds as many sessions as it may, and it never ends a live one to make room.
    #[non_exhaustive]
    Full {
        /// The limit that the manager was built with.
        max: usize,
    },
    /// The owner has as many sessions as allowed, and the manager was built to refuse more:
    /// [`WhenCrowded::Refuse`](crate::WhenCrowded::Refuse). Nothing was created or changed.
    #[non_exhaustive]
    OwnerFull {
        /// How many sessions an owner may have.
        max: usize,
    },
    /// The manager was built without what the call needs. That is a mistake in the program, not one of
    /// its users.
    #[non_exhaustive]
    Unsupported {
        /// What is needed for the call.
        needs: &'static str,
    },
    /// No id could be minted: the operating system's random generator did not answer, or repeated
    /// itself. Nothing was created or changed.
    NoRandomness(NoRandomness),
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("no such session: it has expired, was ended or never existed"),
            Self::Full { max } => {
                write!(f, "no room for another session: {max} are allowed, and no live one is ended for it")
            }
            Self::OwnerFull { max } => {
                write!(
                    f,
                    "no room for another session of this owner: {max} are allowed, and none is ended for it"
                )
            }
            Self::Unsupported { needs } => {
                write!(f, "not possible in this session manager: it needs {needs}")
            }
            Self::NoRandomness(_) => f.write_str("no session id could be minted"),
        }
    }
}

impl Error for SessionError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoRandomness(source) => Some(source),
            _ => None,
        }
    }
}

impl From<NoRandomness> for SessionError {
    fn from(source: NoRandomness) -> Self {
        Self::NoRandomness(source)
    }
}
