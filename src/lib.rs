//! tidewheel
#![deny(unsafe_code)]

mod error;
mod hash;
#[allow(dead_code)]
mod rows;
mod sync;
mod time;
#[allow(dead_code)]
mod wheel;

pub use error::{BuildError, NoRandomness};
pub use hash::{DefaultHasher, RandomState};
pub use time::{Clock, ManualClock, SystemClock};
