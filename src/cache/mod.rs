//! The cache: shards, and what connects them to hasher, clock, listener and reaper.
//!
//! Knows which shard a key belongs to and in which order things happen around a shard's lock; knows
//! nothing of buckets, rows or wheels. Nothing is defined in this file.
//!
//! # The order of things around a lock
//!
//! First lock, change and unlock, in the shard; then the deferred work, in the order that
//! `after_unlock.rs` gives. The only user code that runs before the unlock is `Eq`. What looks at a
//! stored value runs pinned: closures, clones, an `Expiry`, a weigher in an update, `Serialize`, a
//! listener that warns. So do a key's `Hash` and `Eq` in a read. Other user code runs unpinned.

// In the order of use, which is the one that the documentation of `Cache` has its blocks in.
mod handle;
mod make;

mod lookup;

mod guard;

mod write;

mod remove;
mod rename;

mod bulk;
mod life;

mod load;

mod iter;
mod walk;

#[cfg(feature = "serde")]
mod snapshot;

mod capacity;
mod maintenance;
mod weak;

// What the others are made of.
mod after_unlock;
mod assemble;
mod bound;
mod compute;
#[cfg(feature = "async")]
mod compute_async;
mod expiry;
mod fork;
mod given;
mod later;
mod loading;
mod room;
mod rounds;
mod turn;
mod turn_aside;
#[cfg(feature = "async")]
mod turn_async;
mod turn_loading;
mod visits;

pub(crate) use bound::{Bound, Weigher};
pub use capacity::Policy;
pub use guard::{EntryRef, ReadGuard};
pub use handle::Cache;
pub(crate) use handle::Parts;
pub use iter::{Drain, GuardIter, Iter, Keys};
pub use life::WithLife;
#[cfg(feature = "async")]
pub(crate) use load::Reloading;
pub(crate) use load::{
    Background, Made, Origin, fallible, option, optional, result, served, value, wants_option, wants_place,
    wants_result, wants_value,
};
pub use load::{LoadJob, RefreshJob, WithTimeout};
#[cfg(feature = "async")]
pub use load::{LoadTask, RefreshTask};
pub(crate) use visits::Visits;
pub use weak::WeakCache;
