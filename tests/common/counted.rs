//! Values that can be counted: how many are alive. Know nothing of caches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many values of one kind were made (clones included) and how many were dropped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    made: AtomicU64,
    dropped: AtomicU64,
}

impl Count {
    pub(crate) fn value(&self, id: u64) -> Counted {
        self.0.made.fetch_add(1, Ordering::AcqRel);
        Counted { id, count: self.clone() }
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Acquire)
    }

    pub(crate) fn made(&self) -> u64 {
        self.0.made.load(Ordering::Acquire)
    }

    pub(crate) fn alive(&self) -> u64 {
        let dropped = self.dropped();
        self.made() - dropped
    }
}

/// A value that knows when it is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) id: u64,
    count: Count,
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.count.value(self.id)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.count.0.dropped.fetch_add(1, Ordering::AcqRel);
    }
}
