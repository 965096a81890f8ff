//! Which shards a writer visits that has advanced, if there are many.
//!
//! Knows their number alone.

use crate::sync::atomic::{AtomicUsize, Ordering};
use std::ops::Range;

/// The number of shards that a writer visits after it has advanced, a power of two: as many as a
/// machine with 64 processors has by default. Of more, it visits as many in turn. To look at 65,536
/// would take longer than the 0.2 ms that lie between two advances.
pub(super) const VISITED: usize = 256;

/// Which shards are visited next.
pub(crate) struct Visits(AtomicUsize);

impl Visits {
    pub(crate) fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Returns the shards that are visited next, of this number of shards, a power of two.
    pub(super) fn next(&self, shards: usize) -> Range<usize> {
        if shards <= VISITED {
            return 0..shards;
        }
        // ORDERING: Relaxed; each call gets other shards than the one before, and nothing is published.
        let first = self.0.fetch_add(VISITED, Ordering::Relaxed) & (shards - 1);
        first..first + VISITED
    }
}
