//! Sessions: data kept under an unguessable id until its owner has been silent for too long.
//!
//! Built on the cache's public API alone. It never knows of shards, wheels, nodes or threads, and it
//! keeps no copy of a session's data: whatever the cache promises about time and memory holds for
//! sessions because there is nothing else to wait for.

mod builder;
mod error;
mod id;
mod manager;
mod seats;

pub use builder::SessionManagerBuilder;
pub use error::SessionError;
pub use id::{ParseSessionIdError, SessionId};
pub use manager::SessionManager;
