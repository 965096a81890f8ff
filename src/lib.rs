//! tidewheel
#![deny(unsafe_code)]

mod builder;
mod cache;
mod entry;
mod error;
mod hash;
mod listener;
mod reaper;
mod rows;
mod shard;
mod sync;
mod table;
mod time;
mod wheel;

pub use builder::CacheBuilder;
pub use cache::{Cache, WeakCache};
pub use entry::{EntryRef, ReadGuard};
pub use error::{BuildError, NoRandomness};
pub use hash::{DefaultHasher, RandomState};
pub use listener::RemovalCause;
pub use reaper::Reaper;
pub use time::{Clock, ManualClock, SystemClock};
