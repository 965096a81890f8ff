//! The kept time: one word that a thread writes while a process reads much, so that a reader only
//! has to load it.
//!
//! This file defines the word and how far readers trust it. `keeper.rs` has the thread. This file
//! knows no clock: a caller that writes or checks passes a reading.
//!
//! # The word
//!
//! ```text
//!              write (the timekeeper, every 1 to 2 ms); catch up (a reader that finds it old)
//!                   +-----------------------------------+
//!                   v                                   |
//!   NOBODY ---> a reading ---> a later reading ---> ... +
//!     ^  write       |
//!     +--------------+  leave (the timekeeper); disown (a reader that finds it very old, a fork's child)
//! ```
//!
//! - **K1 Never ahead.** A stored value was read from the clock before it was stored. So a deadline
//!   that is ahead of the real time is ahead of the word.
//! - **K2 Only the timekeeper begins.** Only the timekeeper replaces `NOBODY` by a reading. A
//!   reader replaces only the word that it has found to be old, by compare-and-swap. So it restores
//!   no reading after the timekeeper has left.
//! - **K3 Checked.** A thread trusts the word for `TRUSTED` reads in a row, whatever it says. Then
//!   it compares the word with a clock that needs no timekeeper. So if the timekeeper, the process
//!   or the machine stalls, each thread has at most that many late reads.
//! - **K4 Never back.** A reading is replaced by a later one: by `fetch_max`, or by a
//!   compare-and-swap.
//!
//! `NOBODY` is a number after every deadline except "never". So a reader need not test for it: if
//! the word is `NOBODY`, every deadline appears to have passed, and a reader that finds a deadline
//! passed looks again, with a clock of its own.

use super::{Deadline, Tick};
use crate::sync::CachePadded;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::constant;
use std::cell::Cell;
use std::fmt;

/// How many reads in a row a thread trusts the word for.
const TRUSTED: i32 = if cfg!(tidewheel_loom) { 1 } else { 64 };
/// A reader replaces a word that is older than this, in ticks (4 ms). The reader's clock is up to 5
/// ms behind, so no reader trusts a word of more than 9 ms after a check.
const OLD: u64 = 4_000_000;
/// If the word is older than this, in ticks (32 ms), the timekeeper may be gone.
const LOST: u64 = 32_000_000;

/// The value of the word while no thread keeps the time.
const NOBODY: u64 = Tick::NEVER.as_nanos() - 1;

/// A thread counts this many reads without a kept time before it adds them to the shared count.
const BATCH: u32 = 64;
/// This many batches, of all threads, within this time (32 ms) are enough reads: half a million a
/// second.
const MANY: u32 = if cfg!(tidewheel_loom) { 1 } else { 256 };
const WINDOW: u64 = 32_000_000;
/// This many checks between two writes of the timekeeper are enough reads to go on: 160,000 a
/// second. More are not counted, so that threads that read much do not write to one cache line.
pub(super) const BUSY: u32 = 4;

/// What a thread knows of its own reads. It is next to the state of its pins, which every read
/// accesses.
#[derive(Debug)]
pub(crate) struct Trust {
    /// For how many more reads the thread trusts the kept time. Below zero for a moment when a
    /// check is due.
    left: Cell<i32>,
    /// The number of reads without a kept time that are not in the shared count yet.
    unkept: Cell<u32>,
}

impl Trust {
    pub(crate) const fn new() -> Self {
        Self { left: Cell::new(0), unkept: Cell::new(0) }
    }

    /// Returns whether this read may trust the kept time.
    #[inline]
    fn spend(&self) -> bool {
        let left = self.left.get() - 1;
        self.left.set(left);
        left >= 0
    }

    fn renew(&self) {
        self.left.set(TRUSTED);
    }

    /// Counts one more read without a kept time. Returns whether a batch is full.
    fn note(&self) -> bool {
        let unkept = (self.unkept.get() + 1) % BATCH;
        self.unkept.set(unkept);
        unkept == 0
    }
}

/// The word, and the counts that decide when the timekeeper starts and parks.
pub(crate) struct Kept {
    word: CachePadded<AtomicU64>,
    counts: CachePadded<Counts>,
}

struct Counts {
    /// Checks since the timekeeper's last write, up to `BUSY`.
    checks: AtomicU32,
    /// Batches of reads without a kept time since the tick `since`.
    batches: AtomicU32,
    since: AtomicU64,
}

/// The result of a check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// The time.
    Kept(Tick),
    /// No thread keeps the time.
    Unkept,
    /// No thread keeps the time, and keeping it would pay.
    Wanted,
}

impl Kept {
    constant! {
        pub(crate) fn new() -> Self {
            Self {
                word: CachePadded::new(AtomicU64::new(NOBODY)),
                counts: CachePadded::new(Counts {
                    checks: AtomicU32::new(0),
                    batches: AtomicU32::new(0),
                    since: AtomicU64::new(0),
                }),
            }
        }
    }

    #[inline]
    fn load(&self) -> u64 {
        // ORDERING: Relaxed; the number is complete by itself, and a thread never sees an older one
        // than before.
        self.word.load(Ordering::Relaxed)
    }

    /// Replaces the word that was seen, and no other (K2). Otherwise returns the actual word.
    fn replace(&self, seen: u64, new: u64) -> Result<(), u64> {
        // ORDERING: Relaxed, both; the number is complete by itself.
        let replaced = self.word.compare_exchange(seen, new, Ordering::Relaxed, Ordering::Relaxed);
        replaced.map(drop)
    }

    /// For readers: returns whether one look shows that the deadline is ahead. If not, it may be
    /// ahead all the same: then `check`.
    #[inline]
    pub(crate) fn shows(&self, deadline: Deadline, trust: &Trust) -> bool {
        trust.spend() && !deadline.is_over(Tick::reading(self.load()))
    }

    /// For readers whose first look did not show the deadline to be ahead: compares the word with
    /// `now`, which the reader has read.
    pub(super) fn check(&self, trust: &Trust, now: Tick) -> Found {
        let is_due = trust.left.get() < 0;
        trust.renew();
        let seen = self.load();
        if seen == NOBODY {
            return if trust.note() && self.are_many(now) { Found::Wanted } else { Found::Unkept };
        }
        if is_due {
            self.count_check();
        }
        self.catch_up(seen, now);
        // Neither of the two is ahead of the real time.
        Found::Kept(now.max(Tick::reading(seen)))
    }

    /// Replaces a word that is old at `now`, unless it is `NOBODY`.
    #[inline]
    fn catch_up(&self, mut seen: u64, now: Tick) {
        while seen != NOBODY {
            let old = now.since(Tick::reading(seen)).as_nanos();
            if old <= OLD {
                return;
            }
            let new = if old <= LOST { now.as_nanos() } else { NOBODY };
            match self.replace(seen, new) {
                Ok(()) => return,
                // The timekeeper may have written a reading that it made long ago.
                Err(actual) => seen = actual,
            }
        }
    }

    fn count_check(&self) {
        // ORDERING: Relaxed; a figure. It is only loaded once there are enough, so that threads
        // share the cache line.
        if self.counts.checks.load(Ordering::Relaxed) < BUSY {
            // ORDERING: Relaxed; a figure.
            self.counts.checks.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts one more batch of reads. Returns whether batches come so fast that keeping the time
    /// would pay.
    #[cold]
    fn are_many(&self, now: Tick) -> bool {
        let Counts { batches, since, .. } = &*self.counts;
        // ORDERING: Relaxed; a figure. Exactly one thread reaches this number.
        if batches.fetch_add(1, Ordering::Relaxed) + 1 != MANY {
            return false;
        }
        // ORDERING: Relaxed, both; figures.
        let before = since.swap(now.as_nanos(), Ordering::Relaxed);
        batches.store(0, Ordering::Relaxed);
        now.since(Tick::from_nanos(before)).as_nanos() <= WINDOW
    }

    /// For the timekeeper: writes the time.
    pub(crate) fn write(&self, now: Tick) {
        // No other thread replaces `NOBODY` (K2).
        if self.replace(NOBODY, now.as_nanos()).is_err() {
            // ORDERING: Relaxed; the number is complete by itself. A reader may have stored a later
            // one (K4), or `NOBODY`; then the next write replaces it.
            self.word.fetch_max(now.as_nanos(), Ordering::Relaxed);
        }
    }

    /// For the timekeeper: from here on no thread keeps the time. Also for the child of a fork,
    /// which has no timekeeper.
    pub(crate) fn leave(&self) {
        // ORDERING: Relaxed, all three; the numbers are complete by themselves. (An exchange,
        // because loom lets a plain store come before one that it overtook.)
        self.word.swap(NOBODY, Ordering::Relaxed);
        self.counts.checks.store(0, Ordering::Relaxed);
        self.counts.batches.store(0, Ordering::Relaxed);
    }

    /// For the timekeeper: takes the number of checks since the last call, at most a few more than
    /// `BUSY`.
    pub(super) fn take_checks(&self) -> u32 {
        // ORDERING: Relaxed; a figure.
        self.counts.checks.swap(0, Ordering::Relaxed)
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests;
