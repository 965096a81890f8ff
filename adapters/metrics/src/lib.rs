#![doc = include_str!("../README.md")]

mod caches;
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
