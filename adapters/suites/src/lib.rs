//! Nothing: the frameworks' own suites and examples are in `tests/`, and `build.rs` says where they come from.
