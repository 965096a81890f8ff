//! Refresh times: from when on a value is old enough to be loaded anew, and which reader loads it.
//!
//! Each node has a word, beside the nodes and outside the lock: the tick from which its value is
//! due. A reader that finds an entry due claims it by compare-and-swap. So one of all readers loads
//! the value, and the others get the old value without a lock. Only caches with a
//! `refresh_after_write` have these words. This file knows nodes only as numbers, and loads
//! nothing.
//!
//! A number belongs to one node until no thread can look at that node any more, so a reader's claim
//! concerns the node that it saw. A late write to the word of a number that has been reused is
//! possible and harmless: a value is loaded a little too early, or once more.

use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::table::{Named, Words};
use crate::time::{Span, Tick, Timeline};

/// When values are due, and at which age they become due.
pub(crate) struct RefreshTimes {
    after: Span,
    /// The time until a value is due again after a failed load.
    again_after: Span,
    clock: Timeline,
    /// For each node the tick from which its value is due, or one of the two below.
    due: Words,
    /// How many loads came to no value.
    failures: AtomicU64,
}

/// The word of a number that no node has had since its memory was given back.
const UNUSED: u64 = 0;

/// The word of a value that a thread is loading.
const CLAIMED: u64 = u64::MAX;

/// The word of a value that is due at once.
const DUE: u64 = 1;

impl RefreshTimes {
    /// Creates the times. A value is due at the age `after`. If loading it fails, it is due again
    /// after a tenth of that.
    pub(crate) fn new(after: Span, clock: Timeline) -> Self {
        Self {
            after,
            again_after: Span::from_nanos(after.as_nanos() / 10),
            clock,
            due: Words::new(),
            failures: AtomicU64::new(0),
        }
    }

    /// Returns how many loads came to no value.
    pub(super) fn failures(&self) -> u64 {
        // ORDERING: Relaxed; a figure.
        self.failures.load(Ordering::Relaxed)
    }

    /// Returns the words, whose memory goes with that of the nodes.
    pub(super) fn words(&self) -> &Words {
        &self.due
    }

    /// Sets when a value that is written at `now` is due. Requires the lock, and comes before the
    /// node can be found.
    pub(super) fn start(&self, named: Named, now: Tick) {
        // ORDERING: Relaxed; a reader has the number from a node that it found with Acquire
        // (`Bucket::named`), and that node is published with Release after this.
        self.due.get_or_make(named).store(now.after(self.after).as_nanos(), Ordering::Relaxed);
    }

    /// Makes every claimed value due, in the child of a fork: the claiming thread may not exist
    /// there.
    pub(super) fn disown(&self) {
        for word in self.due.all() {
            // ORDERING: Relaxed, both; this process has one thread.
            if word.load(Ordering::Relaxed) == CLAIMED {
                word.store(DUE, Ordering::Relaxed);
            }
        }
    }

    /// Claims a node's value, if it is due. Of all threads that ask at the same time, one gets the
    /// claim.
    pub(super) fn claim(self: &Arc<Self>, named: Named, now: Tick) -> Option<Claim> {
        self.claim_due(named, |due| due <= now.as_nanos() && due != UNUSED)
    }

    /// Claims a node's value, due or not, unless it is claimed.
    pub(super) fn claim_at_once(self: &Arc<Self>, named: Named) -> Option<Claim> {
        self.claim_due(named, |due| ![CLAIMED, UNUSED].contains(&due))
    }

    #[inline]
    fn claim_due(self: &Arc<Self>, named: Named, is_due: impl FnOnce(u64) -> bool) -> Option<Claim> {
        let word = self.due.get(named)?;
        // ORDERING: Relaxed; the load orders nothing but the word itself. See `start`.
        let due = word.load(Ordering::Relaxed);
        // ORDERING: Relaxed, both; the word alone decides who has the claim.
        let is_ours =
            is_due(due) && word.compare_exchange(due, CLAIMED, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        is_ours.then(|| Claim { refresh_times: Arc::clone(self), named, is_begun: false, is_done: false })
    }
}

/// The right to load a value anew. If it is dropped, the value becomes due again some time later. If
/// the load had begun, it has failed then: its closure failed or panicked, or it was given up. If it
/// had not, another call has the key's turn, or the job was dropped.
pub(crate) struct Claim {
    refresh_times: Arc<RefreshTimes>,
    named: Named,
    is_begun: bool,
    is_done: bool,
}

impl Claim {
    /// Returns whether the node is still the one that was claimed. Requires the lock. (It may also
    /// be a node that took the number over and was claimed itself; that one is old, too.)
    pub(super) fn is_of(&self, named: Named) -> bool {
        // ORDERING: Relaxed; the load orders nothing but the word itself, and the lock orders it
        // after `start`.
        named == self.named
            && self.refresh_times.due.get(named).is_some_and(|word| word.load(Ordering::Relaxed) == CLAIMED)
    }

    /// Notes that the load begins.
    pub(crate) fn begin(&mut self) {
        self.is_begun = true;
    }

    /// Ends the claim when another value took the place of the claimed one, or the claimed one is
    /// gone.
    pub(crate) fn done(mut self) {
        (self.is_done, self.is_begun) = (true, false);
    }

    /// Ends the claim when a value was loaded and not stored. If the claimed one is still there, it
    /// becomes due again some time later.
    pub(crate) fn loaded_in_vain(mut self) {
        self.is_begun = false;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.is_begun {
            // ORDERING: Relaxed; a figure.
            self.refresh_times.failures.fetch_add(1, Ordering::Relaxed);
        }
        if let (Some(word), false) = (self.refresh_times.due.get(self.named), self.is_done) {
            // From now on, since the load may have taken long.
            let again = self.refresh_times.clock.now().after(self.refresh_times.again_after);
            // ORDERING: Relaxed, both; as in `claim`. If the word has changed, the number has been
            // reused.
            let _ = word.compare_exchange(CLAIMED, again.as_nanos(), Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}
