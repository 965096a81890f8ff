//! tidewheel
#![deny(unsafe_code)]

mod error;
mod hash;
#[cfg(tidewheel_loom)]
#[doc(hidden)]
pub mod model;
mod reaper;
mod sync;
mod time;

pub use error::{BuildError, NoRandomness};
pub use hash::{DefaultHasher, RandomState};
pub use reaper::Reaper;
pub use time::{Clock, ManualClock, SystemClock};
