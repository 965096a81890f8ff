//! The target between small and main: which part of the room is small's. All shards of a cache
//! share one.
//!
//! A key that comes back soon after its eviction moves the target: if it was evicted from small,
//! small is too small; if from main, main is. The target knows neither queues nor ghosts.

use crate::sync::atomic::{AtomicU32, Ordering};

/// The whole room.
const ALL: u64 = 1 << 32;
const START: u32 = (ALL / 20) as u32;
const LEAST: u64 = ALL / 100;
const MOST: u64 = ALL / 10 * 9;

pub(crate) struct Target(AtomicU32);

impl Target {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(START))
    }

    /// Returns small's part of this much room, at least 1.
    #[inline]
    pub(super) fn part_of(&self, room: u64) -> u64 {
        // ORDERING: Relaxed; a figure. A thread that misses a step is wrong by an entry, for a
        // while.
        let part = u128::from(self.0.load(Ordering::Relaxed));
        ((u128::from(room) * part / u128::from(ALL)) as u64).max(1)
    }

    /// Moves the target by about an entry of `all`: down by one and a half; up by one, or by less
    /// the larger small's part is. Of two concurrent steps one may be lost.
    pub(super) fn step(&self, down: bool, all: u64) {
        let entry = (ALL / all.max(1)).max(1);
        // ORDERING: Relaxed, both; see `part_of`.
        let part = u64::from(self.0.load(Ordering::Relaxed));
        let part = if down {
            part.saturating_sub(entry + entry / 2).max(LEAST)
        } else {
            // Rounded up, so that the target moves even if an entry is a tiny part of the room.
            let step = u128::from(entry) * u128::from(ALL - part);
            (part + step.div_ceil(u128::from(ALL)) as u64).min(MOST)
        };
        self.0.store(part as u32, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;

    #[test]
    fn it_starts_at_a_twentieth_and_stays_within_its_limits() {
        let target = Target::new();
        assert_eq!(target.part_of(1000), 49);
        assert_eq!(target.part_of(1), 1);
        assert_eq!(target.part_of(u64::MAX) / (u64::MAX / 1000), 49);
        target.step(false, 1000);
        target.step(true, 1000);
        assert_eq!(target.part_of(100_000), 4945, "5 % + 0.095 % - 0.15 %, rounded down");
        (0..100).for_each(|_| target.step(true, 1000));
        assert_eq!(target.part_of(10_000), 99);
        (0..1_000).for_each(|_| target.step(false, 1000));
        assert!((6300..6400).contains(&target.part_of(10_000)), "up ever more slowly");
        (0..10_000).for_each(|_| target.step(false, 1000));
        assert_eq!(target.part_of(10_000), 8999);
        target.step(false, u64::MAX);
        target.step(true, 0);
        assert_eq!(target.part_of(10_000), 99);
    }
}
