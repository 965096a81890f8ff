//! The stores for tower-sessions 0.14.

use tower_sessions_core_0_14 as tower_sessions_core;

#[path = "memory.rs"]
mod memory;
#[path = "read_through.rs"]
mod read_through;

pub use memory::{TidewheelStore, TidewheelStoreBuilder};
pub use read_through::{ReadThroughStore, ReadThroughStoreBuilder};
