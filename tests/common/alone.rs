//! Who runs a loader of a key: nobody else does, unless the key was written or removed since he asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The loaders of a key that run, and what may invalidate them.
#[derive(Debug, Default)]
pub(crate) struct Alone {
    /// Those that run, each with what `ask` answered when it was asked for.
    running: Mutex<Vec<u64>>,
    /// Writes and removals that have begun, and those that have ended.
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Alone {
    /// Of a call that begins, for its loader.
    pub(crate) fn ask(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }

    /// A loader begins. Each that runs must have been invalidated since its call began. Or this one, which may have been stopped when it
    /// had the turn and had not begun to load: then it loads beside whoever asked after that.
    pub(crate) fn enter(&self, asked: u64) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // Once, and no sooner: a write that comes after that is not between the two.
        let begun = self.begun.load(Ordering::SeqCst);
        assert!(asked < begun || running.iter().all(|other| *other < begun), "two loaders of one key");
        running.push(asked);
    }

    pub(crate) fn leave(&self, asked: u64) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let place = running.iter().position(|other| *other == asked).expect("a loader that ran");
        running.swap_remove(place);
    }

    /// Runs a write or a removal of the key.
    pub(crate) fn invalidate<R>(&self, write: impl FnOnce() -> R) -> R {
        self.begin();
        let result = write();
        self.end();
        result
    }

    /// A write or a removal begins.
    pub(crate) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
    }

    /// And ends.
    pub(crate) fn end(&self) {
        self.ended.fetch_add(1, Ordering::SeqCst);
    }
}
