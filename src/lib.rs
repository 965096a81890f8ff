//! tidewheel
#![deny(unsafe_code)]

mod error;
mod hash;
mod sync;
mod time;

pub use error::{BuildError, NoRandomness};
pub use hash::{DefaultHasher, RandomState};
pub use time::{Clock, ManualClock, SystemClock};
