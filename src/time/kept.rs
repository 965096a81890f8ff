//! The kept time: one word that a thread writes while a process reads much, so that a reader loads it and is done.
//!
//! Here is what is written and who believes it; `keeper.rs` has the thread. Knows no clock: who writes or checks brings a reading along.
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
//! - **K1 Never ahead.** What is stored was read from the clock before. So whoever finds a deadline ahead of the real time
//!   finds it ahead of the word.
//! - **K2 Nobody is nobody.** The timekeeper alone takes `NOBODY` off. A reader replaces no other word than the one that it has found
//!   to be old, by compare-and-swap: so it brings no reading back where the timekeeper has left meanwhile.
//! - **K3 Checked.** A thread trusts the word for `TRUSTED` reads in a row, whatever it says. Then it compares it with a clock that nobody
//!   keeps. So a stall of the timekeeper, of the process, or of the machine costs each thread so many late reads at most.
//! - **K4 Never back.** A reading is replaced by a later one: by `fetch_max`, or by a compare-and-swap.
//!
//! `NOBODY` is a number after every deadline but "never". So a reader need not ask for it: to whom the word is `NOBODY`, every
//! deadline looks passed, and whoever finds it passed looks again, with a clock of its own.

use super::{Deadline, Tick};
use crate::sync::CachePadded;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::constant;
use std::cell::Cell;
use std::fmt;

/// How many reads in a row a thread trusts the word for.
const TRUSTED: i32 = if cfg!(tidewheel_loom) { 1 } else { 64 };
/// A word that is older than this is replaced by whoever notices, in ticks (4 ms). The clock that he goes by is up to 5 ms behind, so
/// that nobody trusts a word of more than 9 ms after a check.
const OLD: u64 = 4_000_000;
/// Of a word that is older than this nobody knows whether there is somebody to keep it, in ticks (32 ms).
const LOST: u64 = 32_000_000;

/// Nobody keeps the time.
const NOBODY: u64 = Tick::NEVER.as_nanos() - 1;

/// A thread counts so many reads without a kept time before it tells the others.
const BATCH: u32 = 64;
/// So many batches, of all threads, within this time (32 ms), are reads enough: half a million a second.
const MANY: u32 = if cfg!(tidewheel_loom) { 1 } else { 256 };
const WINDOW: u64 = 32_000_000;
/// So many checks between two of the timekeeper's writes are reads enough to go on: 160,000 a second. More are not counted,
/// so that threads that read much do not write to one line.
pub(super) const BUSY: u32 = 4;

/// What a thread knows of its own reads. It lies where a pin looks anyway.
#[derive(Debug)]
pub(crate) struct Trust {
    /// How many reads more it trusts the kept time for. Below zero for a moment: it is to be checked.
    left: Cell<i32>,
    /// Reads without a kept time since it last told the others.
    unkept: Cell<u32>,
}

impl Trust {
    pub(crate) const fn new() -> Self {
        Self { left: Cell::new(0), unkept: Cell::new(0) }
    }

    /// Whether this read may trust the kept time.
    #[inline]
    fn spend(&self) -> bool {
        let left = self.left.get() - 1;
        self.left.set(left);
        left >= 0
    }

    fn renew(&self) {
        self.left.set(TRUSTED);
    }

    /// One more read without a kept time: whether a batch is full.
    fn note(&self) -> bool {
        let unkept = (self.unkept.get() + 1) % BATCH;
        self.unkept.set(unkept);
        unkept == 0
    }
}

/// The word, and the counts by which the timekeeper comes and goes.
pub(crate) struct Kept {
    word: CachePadded<AtomicU64>,
    counts: CachePadded<Counts>,
}

struct Counts {
    /// Checks since the timekeeper's last write, up to `BUSY`.
    checks: AtomicU32,
    /// Batches of reads without a kept time since this tick.
    batches: AtomicU32,
    since: AtomicU64,
}

/// What a check has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// The time.
    Kept(Tick),
    /// Nobody keeps it.
    Unkept,
    /// Nobody does, and it would pay.
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
        // ORDERING: Relaxed; a number that says it all, and of which a thread sees no older one than before.
        self.word.load(Ordering::Relaxed)
    }

    /// Replaces what was seen, and nothing else (K2): or what is there instead.
    fn replace(&self, seen: u64, new: u64) -> Result<(), u64> {
        // ORDERING: Relaxed, both; a number that says it all.
        let replaced = self.word.compare_exchange(seen, new, Ordering::Relaxed, Ordering::Relaxed);
        replaced.map(drop)
    }

    /// For readers: whether a look tells that the deadline is ahead. If not, it may be so all the same: then `check`.
    #[inline]
    pub(crate) fn shows(&self, deadline: Deadline, trust: &Trust) -> bool {
        trust.spend() && !deadline.is_over(Tick::reading(self.load()))
    }

    /// For readers to whom a look has shown nothing: compares the word with `now`, which the reader has looked up.
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
        // Neither is ahead.
        Found::Kept(now.max(Tick::reading(seen)))
    }

    /// Replaces a word that is old at `now`, unless nobody keeps it any more.
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
                // The timekeeper may have written what it has read long ago.
                Err(actual) => seen = actual,
            }
        }
    }

    fn count_check(&self) {
        // ORDERING: Relaxed; a figure. A look, so that threads share the line once they are enough.
        if self.counts.checks.load(Ordering::Relaxed) < BUSY {
            // ORDERING: Relaxed; a figure.
            self.counts.checks.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One more batch of reads: whether they come so fast that it would pay to keep the time.
    #[cold]
    fn are_many(&self, now: Tick) -> bool {
        let Counts { batches, since, .. } = &*self.counts;
        // ORDERING: Relaxed; a figure. One thread alone comes to just this number.
        if batches.fetch_add(1, Ordering::Relaxed) + 1 != MANY {
            return false;
        }
        // ORDERING: Relaxed, both; figures.
        let before = since.swap(now.as_nanos(), Ordering::Relaxed);
        batches.store(0, Ordering::Relaxed);
        now.since(Tick::from_nanos(before)).as_nanos() <= WINDOW
    }

    /// For the timekeeper: the time.
    pub(crate) fn write(&self, now: Tick) {
        // Nobody else takes `NOBODY` off (K2).
        if self.replace(NOBODY, now.as_nanos()).is_err() {
            // ORDERING: Relaxed; a number that says it all. A reader may have put a later one there (K4), or `NOBODY`, until the next time.
            self.word.fetch_max(now.as_nanos(), Ordering::Relaxed);
        }
    }

    /// For the timekeeper: from here on nobody keeps the time. Also for a fork's child, which has none.
    pub(crate) fn leave(&self) {
        // ORDERING: Relaxed, all three; numbers that say it all. (An exchange: loom lets a plain store come before one that it overtook.)
        self.word.swap(NOBODY, Ordering::Relaxed);
        self.counts.checks.store(0, Ordering::Relaxed);
        self.counts.batches.store(0, Ordering::Relaxed);
    }

    /// For the timekeeper: how many checks there were since it last asked, up to `BUSY` and a few.
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
