//! How it works inside: pages for those who change the crate, or want to know why to trust it.
//!
//! - [`architecture`]: the parts, who may know whom, and what happens in an operation.
//! - [`guarantees`]: each promise, exactly; its exceptions, and the checks that fail if it is broken.
//! - [`orderings`]: every pair of atomic accesses, and the loom model that fails without it.
//! - [`decisions`]: short records of what was decided and why, and of what lost.
//!
//! One for those who read or write snapshots (feature `serde`): `format`, byte by byte.
//!
//! And one for those who use another cache so far:
//!
//! - [`migration`]: from moka and from quick_cache, name by name.

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
