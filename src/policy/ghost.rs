//! The ghost: which keys were evicted a while ago, and how long ago, in four bytes each.
//!
//! A table of fingerprints in buckets of eight, for the ghost queue of S3-FIFO (Yang et al., SOSP
//! 2023). The slots of a bucket are in order, the youngest first and empty ones last, and the last
//! makes room for the next. The ghost knows hashes, not keys: now and then it mistakes one key for
//! another, which costs an admission that was not earned, and nothing else.
//!
//! ```text
//! slot   [ fingerprint, 15 bits ][ from main, 1 bit ][ stamp, 16 bits ]      0: empty
//! ```
//!
//! A stamp is a time in steps of several misses, and wraps around. The steps are so long that a
//! slot is overwritten long before the stamps wrap, as long as keys come evenly. An older slot
//! looks younger, which does no other harm.

/// Slots in a bucket: half a cache line.
const WAYS: usize = 8;
/// The number of keys that are remembered for each entry for which there is room.
const PER_ENTRY: usize = 2;

const FINGERPRINT_SHIFT: u32 = 17;
const FROM_MAIN: u32 = 1 << 16;
const STAMP: u32 = 0xFFFF;

/// What the ghost remembers of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Remembered {
    pub(super) from_main: bool,
    /// The approximate number of misses since the key was evicted.
    pub(super) age: u32,
}

pub(super) struct Ghost {
    slots: Vec<u32>,
    /// The index of the first slot of the first bucket. It is chosen so that no bucket spans two
    /// cache lines.
    first: usize,
    buckets: usize,
    /// The binary logarithm of the number of misses in a step of a stamp.
    step_bits: u32,
}

impl Ghost {
    /// Creates a ghost that remembers nothing and takes no memory.
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), first: 0, buckets: 0, step_bits: 0 }
    }

    /// Returns the number of entries for which the ghost is sized. It remembers twice as many keys.
    pub(super) const fn entries(&self) -> usize {
        self.buckets * WAYS / PER_ENTRY
    }

    /// Resizes the ghost for this many entries. Everything that it remembered is forgotten.
    pub(super) fn resize(&mut self, entries: usize) {
        let buckets = entries.saturating_mul(PER_ENTRY).div_ceil(WAYS);
        // The old memory is released before the new is allocated, so that both never exist
        // together.
        *self = Self::new();
        if buckets == 0 {
            return;
        }
        let slots = vec![0; (buckets + 1) * WAYS];
        let first = slots.as_ptr().align_offset(WAYS * size_of::<u32>()).min(WAYS);
        // The stamps wrap no sooner than after eight times as many misses as there are slots.
        let steps = (8 * buckets * WAYS) >> STAMP.count_ones();
        let step_bits = usize::BITS - steps.leading_zeros();
        *self = Self { slots, first, buckets, step_bits };
    }

    /// Returns the first slot of the bucket of a hash, and its fingerprint. The fingerprint is never
    /// 0. The high half of a product maps a number into a range, after D. Lemire, "Fast Random
    /// Integer Generation in an Interval" (2019).
    #[inline]
    fn locate(&self, hash: u32) -> (usize, u32) {
        let mixed = u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let bucket = (((mixed >> 32) * self.buckets as u64) >> 32) as usize;
        (self.first + bucket * WAYS, (mixed as u32 >> FINGERPRINT_SHIFT).max(1))
    }

    /// Returns the bucket and the fingerprint of a hash, if there is any bucket.
    #[inline]
    fn bucket(&mut self, hash: u32) -> Option<(&mut [u32; WAYS], u32)> {
        let (first, fingerprint) = self.locate(hash);
        let slots = self.slots.get_mut(first..)?.first_chunk_mut()?;
        Some((slots, fingerprint))
    }

    /// Returns the first slot of a hash's bucket.
    #[inline]
    pub(super) fn memory_of(&self, hash: u32) -> Option<&u32> {
        // The index is in bounds if there is any bucket.
        self.slots.get(self.locate(hash).0)
    }

    /// # Panics
    ///
    /// Panics where an empty slot of a bucket is not among the last.
    pub(super) fn check(&self) {
        let buckets = self.slots.get(self.first..).unwrap_or_default().chunks_exact(WAYS);
        for bucket in buckets.take(self.buckets) {
            assert!(
                bucket.is_sorted_by_key(|slot| *slot == 0),
                "a gap in a bucket of the ghost: {bucket:x?}"
            );
        }
    }

    const fn stamp(&self, now: u32) -> u32 {
        now >> self.step_bits & STAMP
    }

    /// Remembers a key that is evicted at the `now`th miss.
    pub(super) fn remember(&mut self, hash: u32, from_main: bool, now: u32) {
        let stamp = self.stamp(now);
        let Some((slots, fingerprint)) = self.bucket(hash) else { return };
        slots.copy_within(..WAYS - 1, 1);
        slots[0] = fingerprint << FINGERPRINT_SHIFT | if from_main { FROM_MAIN } else { 0 } | stamp;
    }

    /// Returns what is remembered of a key that comes again, and forgets it.
    pub(super) fn recall(&mut self, hash: u32, now: u32) -> Option<Remembered> {
        let (stamp, step_bits) = (self.stamp(now), self.step_bits);
        let (slots, fingerprint) = self.bucket(hash)?;
        let is_it = |slot: &u32| slot >> FINGERPRINT_SHIFT == fingerprint;
        // All slots are compared in any case: most keys are not here.
        if !slots.iter().fold(false, |any, slot| any | is_it(slot)) {
            return None;
        }
        let place = slots.iter().position(is_it)?;
        let found = slots[place];
        slots.copy_within(place + 1.., place);
        slots[WAYS - 1] = 0;
        let age = (stamp.wrapping_sub(found) & STAMP) << step_bits;
        Some(Remembered { from_main: found & FROM_MAIN != 0, age })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_recalled_once() {
        let mut ghost = Ghost::new();
        assert_eq!(ghost.recall(1, 0), None);
        ghost.remember(1, true, 0);
        assert_eq!(ghost.recall(1, 0), None, "it has no room yet");
        ghost.resize(1000);
        ghost.remember(1, true, 10);
        ghost.remember(2, false, 20);
        assert_eq!(ghost.recall(2, 50), Some(Remembered { from_main: false, age: 30 }));
        assert_eq!(ghost.recall(2, 50), None);
        assert_eq!(ghost.recall(1, 50), Some(Remembered { from_main: true, age: 40 }));
    }

    #[test]
    fn two_for_each_entry_are_remembered_and_the_oldest_go_first() {
        const ENTRIES: u32 = 10_000;
        let mut ghost = Ghost::new();
        ghost.resize(ENTRIES as usize);
        assert_eq!(ghost.entries(), ENTRIES as usize);
        for key in 0..100 * ENTRIES {
            ghost.remember(key.wrapping_mul(0x85EB_CA6B), false, key);
        }
        let now = 100 * ENTRIES;
        let recalled = |ghost: &mut Ghost, ages: std::ops::Range<u32>| {
            let total = ages.len();
            let found = ages.filter(|age| {
                let key = now - 1 - age;
                // Within the steps of a stamp.
                ghost.recall(key.wrapping_mul(0x85EB_CA6B), now).is_some_and(|it| it.age.abs_diff(*age) < 64)
            });
            found.count() as f64 / total as f64
        };
        assert!(recalled(&mut ghost, 0..ENTRIES) > 0.98, "the younger half");
        let older = recalled(&mut ghost, ENTRIES..2 * ENTRIES);
        assert!(older > 0.6, "of the older half, most: {older}");
        let oldest = recalled(&mut ghost, 4 * ENTRIES..5 * ENTRIES);
        assert!(oldest < 0.01, "of what is much older, what was taken for another: {oldest}");
    }

    #[test]
    fn a_bucket_is_in_one_cache_line() {
        for entries in [1, 4, 100, 5000] {
            let mut ghost = Ghost::new();
            ghost.resize(entries);
            let (bucket, _) = ghost.locate(u32::MAX);
            assert_eq!(ghost.slots[bucket..].as_ptr() as usize % 32, 0);
            assert_eq!(ghost.locate(0).0, ghost.first);
        }
    }

    #[test]
    fn stamps_are_as_fine_as_the_count_allows() {
        let mut ghost = Ghost::new();
        for (entries, bits) in [(1, 0), (4000, 0), (4096, 1), (1 << 20, 9)] {
            ghost.resize(entries);
            assert_eq!(ghost.step_bits, bits, "{entries} entries");
        }
    }
}
