//! Freshness: from when on a value is old enough to be loaded anew, and who does it.
//!
//! A word for each node, beside the nodes and outside the lock: the tick from which its value is due. Whoever reads an entry
//! that is, claims it by compare-and-swap, so that of all readers one loads it, and the others are served the old value
//! without so much as a lock. In caches with a `refresh_after_write` alone. Knows nodes as numbers, and loads nothing.
//!
//! A number goes with one node until nobody looks at that any more, so a reader's claim is about the node that it saw.
//! A late word about a number that has been used again is possible, and does no harm: a value is loaded a little too
//! early, or once more.

use crate::rows::{CHUNKS, chunk_size};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, OnceLock};
use crate::table::Named;
use crate::time::{Span, Tick};

/// When values are due, and by which age.
pub(crate) struct RefreshTimes {
    after: Span,
    /// After a load that failed.
    again_after: Span,
    due: [OnceLock<Box<[AtomicU64]>>; CHUNKS],
}

/// Somebody is at it.
const CLAIMED: u64 = u64::MAX;

impl RefreshTimes {
    /// A value is due once it is so old. If it cannot be loaded then, it is due again after a tenth of that.
    pub(crate) fn new(after: Span) -> Self {
        Self {
            after,
            again_after: Span::from_nanos(after.as_nanos() / 10),
            due: [const { OnceLock::new() }; CHUNKS],
        }
    }

    fn word(&self, named: Named) -> Option<&AtomicU64> {
        self.due[named.chunk()].get()?.get(named.offset())
    }

    /// A value is written at `now`. Under the lock, before its node can be found.
    pub(super) fn start(&self, named: Named, now: Tick) {
        let chunk = self.due[named.chunk()]
            .get_or_init(|| (0..chunk_size(named.chunk())).map(|_| AtomicU64::new(CLAIMED)).collect());
        // ORDERING: Relaxed; a reader has the number from a node that it found with Acquire (`Bucket::named`), and
        // that is published with Release after this.
        chunk[named.offset()].store(now.after(self.after).as_nanos(), Ordering::Relaxed);
    }

    /// In a fork's child: what somebody is at may be what nobody is at any more. It is due. (So are numbers that nothing is
    /// under, until something is.)
    pub(super) fn disown(&self) {
        for word in self.due.iter().filter_map(OnceLock::get).flatten() {
            // ORDERING: Relaxed, both; this process has one thread.
            if word.load(Ordering::Relaxed) == CLAIMED {
                word.store(Tick::LONG_AGO.as_nanos(), Ordering::Relaxed);
            }
        }
    }

    /// Claims a node's value, if it is due. One of all who ask at the same time has it.
    pub(super) fn claim(self: &Arc<Self>, named: Named, now: Tick) -> Option<Claim> {
        self.claim_due(named, now, |due| due <= now.as_nanos())
    }

    /// The same, due or not.
    pub(super) fn claim_at_once(self: &Arc<Self>, named: Named, now: Tick) -> Option<Claim> {
        self.claim_due(named, now, |due| due != CLAIMED)
    }

    #[inline]
    fn claim_due(
        self: &Arc<Self>,
        named: Named,
        now: Tick,
        is_due: impl FnOnce(u64) -> bool,
    ) -> Option<Claim> {
        let word = self.word(named)?;
        // ORDERING: Relaxed; nothing but the word itself is read by it. See `start`.
        let due = word.load(Ordering::Relaxed);
        // ORDERING: Relaxed, both; who has the claim is decided by the word alone.
        let is_ours =
            is_due(due) && word.compare_exchange(due, CLAIMED, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        is_ours.then(|| Claim { refresh_times: Arc::clone(self), named, again: now.after(self.again_after) })
    }
}

/// The right to load a value anew. Dropped, it is due again some time later.
pub(crate) struct Claim {
    refresh_times: Arc<RefreshTimes>,
    named: Named,
    again: Tick,
}

impl Claim {
    /// Whether the node is still the one that was claimed. (Or one that took its number and was claimed in its turn: that is
    /// old, too.) Under the lock.
    pub(super) fn is_of(&self, named: Named) -> bool {
        // ORDERING: Relaxed; nothing but the word itself is read by it, and the lock orders it after `start`.
        named == self.named
            && self.refresh_times.word(named).is_some_and(|word| word.load(Ordering::Relaxed) == CLAIMED)
    }

    /// Another value took its place, or it is gone.
    pub(crate) fn done(mut self) {
        self.again = Tick::NEVER;
    }

    /// Somebody else has the key's turn, who may bring another value. If not, it is due at once.
    pub(crate) fn leave(mut self) {
        self.again = Tick::LONG_AGO;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let (Some(word), true) = (self.refresh_times.word(self.named), self.again != Tick::NEVER) {
            // ORDERING: Relaxed, both; as in `claim`. If there is another word by now, the number has been used again.
            let _ =
                word.compare_exchange(CLAIMED, self.again.as_nanos(), Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}
