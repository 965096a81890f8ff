//! Pages to read: for those who use the crate, and for those who change it or want to know why to trust it.
//!
//! To use it:
//!
//! - [`guide`]: examples by task.
//! - [`examples`]: whole programs.
//! - [`migration`]: from moka and from quick_cache, name by name.
//! - [`limitations`]: what is not promised, and what to mind.
//! - `format`: snapshots, byte by byte (feature `serde`).
//!
//! How it works inside:
//!
//! - [`guarantees`]: each promise, exactly; its exceptions, and the checks that fail if it is broken.
//! - [`architecture`]: the parts, who may know whom, and what happens in an operation.
//! - [`orderings`]: every pair of atomic accesses, and the loom model that fails without it.
//! - [`decisions`]: short records of what was decided and why, and of what lost.

#[doc = include_str!("guide.md")]
pub mod guide {}

/// The short programs of the folder `examples/`. `cargo run --example NAME` runs one of them.
///
/// There is a longer one, too: `cargo run --release --example sessions` runs a million sessions, and shows how late they ended.
///
/// # rate_limiter
///
/// ```ignore
#[doc = include_str!("../../examples/rate_limiter.rs")]
/// ```
///
/// # read_through
///
/// ```ignore
#[doc = include_str!("../../examples/read_through.rs")]
/// ```
///
/// # read_through_async, with the feature `async`
///
/// ```ignore
#[doc = include_str!("../../examples/read_through_async.rs")]
/// ```
///
/// # warm_restart, with the feature `serde`
///
/// ```ignore
#[doc = include_str!("../../examples/warm_restart.rs")]
/// ```
pub mod examples {}

#[doc = include_str!("limitations.md")]
pub mod limitations {}

#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = include_str!("guarantees.md")]
pub mod guarantees {}

#[doc = include_str!("orderings.md")]
pub mod orderings {}

// The logs that the page links to are not in the package. Of two definitions of a link the first one counts: so here they lead to
// the list at the page's end, and on a code host to the files.
#[doc = "[log-nodes]: #measurement-logs"]
#[doc = "[log-memory]: #measurement-logs"]
#[doc = "[log-growth]: #measurement-logs"]
#[doc = "[log-clocks]: #measurement-logs"]
#[doc = "[log-reads]: #measurement-logs"]
#[doc = "[log-writes]: #measurement-logs"]
#[doc = "[log-evictions]: #measurement-logs"]
#[doc = "[log-policy]: #measurement-logs"]
#[doc = "[log-garbage]: #measurement-logs"]
#[doc = "[log-loads]: #measurement-logs"]
#[doc = "[log-walks]: #measurement-logs"]
#[doc = "[log-sessions]: #measurement-logs"]
#[doc = "[log-stacks]: #measurement-logs"]
#[doc = include_str!("decisions.md")]
pub mod decisions {}

#[cfg(feature = "serde")]
#[doc = include_str!("format.md")]
pub mod format {}

#[doc = include_str!("migration.md")]
pub mod migration {}
