#![doc = include_str!("../README.md")]
// Each of the two modules is a crate's worth of types of its own: that is what it is for.
#![allow(clippy::duplicate_mod)]

#[cfg(not(any(feature = "core-0-14", feature = "core-0-15")))]
compile_error!(
    "choose the tower-sessions that you have: the feature `core-0-15` (the default), `core-0-14`, or both"
);

mod permits;
mod random;
mod seldom;
mod wall;

// One source for each release of tower-sessions-core: the two modules name the same files, in which `super::tower_sessions_core` is
// another crate each time. Two features of one module would exclude each other, and cargo unites features. A macro would do the same
// with worse messages.
// The examples in their documentation use the root's names. So without those they are not tested.
#[cfg(all(feature = "core-0-14", not(all(doctest, not(feature = "core-0-15")))))]
pub mod v0_14;
#[cfg(feature = "core-0-15")]
pub mod v0_15;

#[cfg(feature = "core-0-15")]
pub use v0_15::{ReadThroughStore, ReadThroughStoreBuilder, TidewheelStore, TidewheelStoreBuilder};
