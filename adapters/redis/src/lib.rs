#![doc = include_str!("../README.md")]

mod builder;
mod codec;
mod error;
mod events;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzed;
mod handle;
mod keeper;
mod lease;
#[cfg(feature = "message-pack")]
mod lengths;
mod link;
mod local;
mod near;
mod stats;
mod under_way;

pub use builder::{CutOff, NearCacheBuilder};
#[cfg(feature = "json")]
pub use codec::Json;
#[cfg(feature = "message-pack")]
pub use codec::MessagePack;
pub use codec::{Codec, CodecError};
pub use error::Error;
pub use handle::NearCache;
/// The client that it connects with.
pub use redis;
pub use stats::{State, Stats};
