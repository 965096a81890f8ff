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

    /// A loader begins. Each that runs must have been invalidated since its call began.
    pub(crate) fn enter(&self, asked: u64) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = self.begun.load(Ordering::SeqCst);
        assert!(running.iter().all(|other| *other < begun), "two loaders of one key");
        running.push(asked);
    }

    /// As `enter`, for a loader on a thread of the system's, which may be stopped when it has the turn and has not begun to load: if
    /// its key is written there, it loads beside whoever asks after that. So it may be either of the two that was invalidated.
    #[allow(dead_code, reason = "not every user has threads of the system's")]
    pub(crate) fn enter_late(&self, asked: u64) {
        if asked < self.begun.load(Ordering::SeqCst) {
            self.running.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        } else {
            self.enter(asked);
        }
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
