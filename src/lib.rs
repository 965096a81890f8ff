//! tidewheel
#![deny(unsafe_code)]

#[allow(dead_code)]
mod contain;
mod error;
mod hash;
#[cfg(tidewheel_loom)]
#[doc(hidden)]
pub mod model;
mod reaper;
#[allow(dead_code)]
mod rows;
mod sync;
mod time;
#[allow(dead_code)]
mod wheel;

pub use error::{BuildError, NoRandomness};
pub use hash::{DefaultHasher, RandomState};
pub use reaper::Reaper;
pub use time::{Clock, ManualClock, SystemClock};
