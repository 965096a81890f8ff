//! The stores, as tower-sessions 0.15 calls them.
#![cfg(feature = "core-0-15")]
#![allow(clippy::duplicate_mod)]

use tidewheel_tower_sessions::v0_15 as stores;
use tower_sessions_core_0_15 as core;

#[path = "cases/memory.rs"]
mod memory;
#[path = "cases/races.rs"]
mod races;
#[path = "cases/read_through.rs"]
mod read_through;
#[path = "cases/records.rs"]
mod records;

/// Of each race: adapters-load.sh has ten thousand, of requests over a network.
const ROUNDS: u32 = 2_000;
