//! How it works inside: pages for those who change the crate, or want to know why to trust it.
//!
//! - [`architecture`]: the parts, who may know whom, and what happens in an operation.
//! - [`orderings`]: every pair of atomic accesses, and the loom model that fails without it.
//! - [`decisions`]: what was decided and why, with the figures, the losers included.
//!
//! One for those who read or write snapshots (feature `serde`): `format`, byte by byte.
//!
//! And one for those who use another cache so far:
//!
//! - [`migration`]: from moka and from quick_cache, name by name.

#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = include_str!("orderings.md")]
pub mod orderings {}

#[doc = include_str!("decisions.md")]
pub mod decisions {}

#[cfg(feature = "serde")]
#[doc = include_str!("format.md")]
pub mod format {}

#[doc = include_str!("migration.md")]
pub mod migration {}
