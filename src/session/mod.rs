//! Sessions: data kept under an unguessable id until its owner has been silent for too long.
//!
//! Built on the cache's public API, and on three calls that the cache has for it alone: an insert
//! that gives the entry an end of its own, a change of that end, and a restore that makes values of
//! what is read. It never knows of shards, wheels, nodes or threads, and it keeps no copy of a
//! session's data. So whatever the cache promises about time and memory holds for sessions, too.

mod builder;
mod cause;
mod error;
mod handle;
mod heir;
mod id;
mod lifetime;
mod looking;
mod manager;
mod owners;
mod permits;
mod shared;
#[cfg(feature = "serde")]
mod snapshot;
mod stats;
mod stored;
#[cfg(all(test, not(tidewheel_loom)))]
mod tests;

pub use builder::SessionManagerBuilder;
pub use cause::EndCause;
pub use error::SessionError;
pub use handle::SessionManager;
pub use id::{ParseSessionIdError, SessionId};
pub use lifetime::Lifetime;
pub use looking::Sessions;
pub use owners::{SessionInfo, WhenCrowded};
pub use stats::SessionStats;
pub use stored::{NoOwner, SessionOwner};
