//! What a near cache says of itself.

use crate::error::Error;
use std::time::Duration;

/// Whether hits are served from here.
///
/// ```
/// use tidewheel_redis::State;
///
/// fn is_healthy(state: &State) -> bool {
///     matches!(state, State::Fresh { .. })
/// }
/// # let _ = is_healthy;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum State {
    /// They are.
    #[non_exhaustive]
    Fresh {
        /// How long ago that PING was sent which the lease counts from: no hit misses a write that was acknowledged before that.
        age: Duration,
    },
    /// They are not: see [`CutOff`](crate::CutOff).
    #[non_exhaustive]
    CutOff {
        /// For how long.
        lasting: Duration,
        /// Why, if that is known. Nothing is known of a server that is silent.
        cause: Option<Error>,
    },
}

/// What happened since it was connected.
///
/// ```
/// let stats = tidewheel_redis::Stats::default();
/// assert_eq!(stats.fills, 0);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Reads that were served from here.
    pub hits: u64,
    /// Answers of the server to reads, one for each key, whether or not they could be decoded.
    pub fills: u64,
    /// Of those, the ones that were not kept: errors, the answer that there is no value (where that is not remembered), values with no time left, all
    /// answers while the server is cut off or does not track, and what [`get_or_load`](crate::NearCache::get_or_load) reads when another process has
    /// stored first.
    pub unkept: u64,
    /// Keys that the server said were changed, whether or not they were here.
    pub invalidations: u64,
    /// How often everything was thrown away: the server said so, or there was a new connection.
    pub flushes: u64,
    /// Reads that were served something old while it was cut off ([`CutOff::ServeStale`](crate::CutOff::ServeStale)).
    pub stale: u64,
    /// How often it was cut off.
    pub cuts: u64,
    /// For how long in all, up to now.
    pub cut_off: Duration,
    /// How long ago that PING was sent which the lease counts from.
    pub lease_age: Duration,
    /// How many entries there are, those included that have ended and have not left memory yet.
    pub entries: u64,
}
