//! Entries that are computed from what is there.
//!
//! | file | what |
//! |---|---|
//! | `fresh.rs` | whether what comes back is what is stored |
//! | `ready.rs` | values that are ready |
//! | `threads.rs` | by threads |
//! | `futures.rs` | by futures, and in turn with threads |

#[cfg(feature = "async")]
#[path = "../common/bare.rs"]
#[allow(dead_code, reason = "for those who need all of it")]
mod bare;
mod fresh;
#[cfg(feature = "async")]
mod futures;
mod ready;
mod threads;
#[path = "../common/waiting.rs"]
mod waiting;
