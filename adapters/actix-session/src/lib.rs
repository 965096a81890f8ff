#![doc = include_str!("../README.md")]

mod seats;
mod store;

pub use store::{TidewheelStore, TidewheelStoreBuilder};
