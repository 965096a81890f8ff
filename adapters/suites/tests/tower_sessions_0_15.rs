//! tower-sessions 0.15's own suite of routes and its published examples, on our store.

use tidewheel_tower_sessions::v0_15 as stores;
use tower_sessions as sessions;

/// Its suite, as it has it for each of its stores.
#[macro_use]
#[allow(warnings, clippy::all)]
mod common {
    include!(concat!(env!("OUT_DIR"), "/routes-0.15.rs"));
}

#[allow(warnings, clippy::all)]
mod counter {
    include!(concat!(env!("OUT_DIR"), "/counter-0.15.rs"));
}

#[allow(warnings, clippy::all)]
mod counter_extractor {
    include!(concat!(env!("OUT_DIR"), "/counter-extractor-0.15.rs"));
}

#[allow(warnings, clippy::all)]
mod signed {
    include!(concat!(env!("OUT_DIR"), "/signed-0.15.rs"));
}

#[allow(warnings, clippy::all)]
mod strongly_typed {
    include!(concat!(env!("OUT_DIR"), "/strongly-typed-0.15.rs"));
}

#[path = "cases/mod.rs"]
mod cases;
