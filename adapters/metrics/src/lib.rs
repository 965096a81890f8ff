#![doc = include_str!("../README.md")]

mod caches;
// Without an exporter nobody is told.
#[cfg_attr(
    not(any(feature = "metrics", feature = "opentelemetry", feature = "prometheus-client")),
    allow(dead_code)
)]
mod families;

#[cfg(feature = "metrics")]
mod facade;
#[cfg(feature = "opentelemetry")]
mod instruments;
#[cfg(feature = "redis")]
mod near;
#[cfg(feature = "prometheus-client")]
mod scrape;

pub use caches::{Caches, WatchError};
#[cfg(feature = "redis")]
pub use near::NearCaches;
