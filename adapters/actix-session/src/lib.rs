#![doc = include_str!("../README.md")]

mod permits;
mod store;

pub use store::{TidewheelStore, TidewheelStoreBuilder};
