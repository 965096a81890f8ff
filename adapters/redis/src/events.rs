//! Events for `tracing`, where that is wanted. Knows nothing but what it is told.

use crate::error::Error;
use redis::RedisError;

#[cfg_attr(not(feature = "tracing"), expect(unused_variables))]
pub(crate) fn cut_off(cause: Option<&Error>) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "tidewheel_redis", cause = cause.map(tracing::field::display), "cut off");
}

#[cfg_attr(not(feature = "tracing"), expect(unused_variables))]
pub(crate) fn refused(answer: &RedisError) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "tidewheel_redis", %answer, "tracking refused");
}

pub(crate) fn fresh() {
    #[cfg(feature = "tracing")]
    tracing::info!(target: "tidewheel_redis", "fresh");
}

pub(crate) fn emptied() {
    #[cfg(feature = "tracing")]
    tracing::info!(target: "tidewheel_redis", "emptied: the server has said that everything is changed");
}
