//! Entries that are computed from what is there.
//!
//! | file | what |
//! |---|---|
//! | `threads.rs` | by threads |
//! | `futures.rs` | by futures, and in turn with threads |

#[cfg(feature = "async")]
mod futures;
mod threads;
