//! A bucket: one cache line of the hash table, and the word that describes its slots.
//!
//! Knows neither keys nor how buckets follow each other.
//!
//! ```text
//! byte      0    1    2    3    4    5    6    7
//! meta   [tag][tag][tag][tag][tag][tag][tag][M|ooooooo]    then seven node pointers
//! ```
//!
//! A tag is a fragment of the hash, 0 for an empty slot. `M`: the bucket's entries have moved on to the
//! next array. `o`: how many entries passed this bucket because it was full, so that a reader knows
//! whether to look further; at 127 it sticks.

use super::node::Node;
use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// Slots in a bucket: what fits a cache line. Two under loom, so that small models overflow and move.
pub(super) const SLOTS: usize = if cfg!(tidewheel_loom) { 2 } else { 7 };

#[repr(C, align(64))]
pub(super) struct Bucket<K, V> {
    meta: AtomicU64,
    nodes: [AtomicPtr<Node<K, V>>; SLOTS],
}

impl<K, V> Bucket<K, V> {
    /// An empty bucket. With std's atomics this is all zeros, which `Array::allocate` relies on.
    #[cfg(tidewheel_loom)]
    pub(super) fn new() -> Self {
        Self { meta: AtomicU64::new(0), nodes: std::array::from_fn(|_| AtomicPtr::new(std::ptr::null_mut())) }
    }

    /// For readers.
    #[inline]
    pub(super) fn meta(&self) -> Meta {
        // ORDERING: Acquire; pairs with Release in `Bucket::set_meta`: a tag brings its node pointer with
        // it, and `moved` brings the next array and what was put there.
        Meta(self.meta.load(Ordering::Acquire))
    }

    /// For the writer, who alone stores it.
    pub(super) fn own_meta(&self) -> Meta {
        // ORDERING: Relaxed; the lock orders writers among themselves.
        Meta(self.meta.load(Ordering::Relaxed))
    }

    /// For the writer.
    pub(super) fn set_meta(&self, meta: Meta) {
        // ORDERING: Release; pairs with Acquire in `Bucket::meta`.
        self.meta.store(meta.0, Ordering::Release);
    }

    /// For readers, of a slot whose tag they saw in a bucket that had not moved.
    #[inline]
    pub(super) fn node(&self, slot: usize) -> *mut Node<K, V> {
        // ORDERING: Acquire; pairs with Release in `Bucket::set_node`: the node's contents.
        self.nodes[slot].load(Ordering::Acquire)
    }

    /// For the writer, who alone stores it.
    pub(super) fn own_node(&self, slot: usize) -> *mut Node<K, V> {
        // ORDERING: Relaxed; the lock orders writers among themselves.
        self.nodes[slot].load(Ordering::Relaxed)
    }

    /// For the writer.
    pub(super) fn set_node(&self, slot: usize, node: *mut Node<K, V>) {
        // ORDERING: Release; pairs with Acquire in `Bucket::node`.
        self.nodes[slot].store(node, Ordering::Release);
    }
}

/// The first word of a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Meta(u64);

impl Meta {
    const MOVED: u64 = 1 << 63;
    const OVERFLOW_SHIFT: u32 = 56;
    const OVERFLOW: u64 = 0x7F << Self::OVERFLOW_SHIFT;
    /// The lowest bit of every tag.
    const EACH: u64 = 0x0001_0101_0101_0101 & ((1 << (8 * SLOTS)) - 1);
    const LOW_BITS: u64 = Self::EACH * 0x7F;
    const HIGH_BITS: u64 = Self::EACH << 7;

    #[cfg(test)]
    const EMPTY: Self = Self(0);

    /// The slots that carry `tag`.
    #[inline]
    pub(super) fn matches(self, tag: u8) -> Slots {
        // A byte of `differs` is 0 where the tag matches. Adding 0x7F to its low seven bits carries into
        // its highest bit exactly if one of them is set, and never into the next byte.
        let differs = self.0 ^ (Self::EACH * u64::from(tag));
        let nonzero = ((differs & Self::LOW_BITS) + Self::LOW_BITS) | differs;
        Slots(!nonzero & Self::HIGH_BITS)
    }

    pub(super) fn vacant(self) -> Slots {
        self.matches(0)
    }

    pub(super) fn occupied(self) -> Slots {
        Slots(!self.vacant().0 & Self::HIGH_BITS)
    }

    #[inline]
    pub(super) fn tag(self, slot: usize) -> u8 {
        (self.0 >> (8 * slot)) as u8
    }

    pub(super) fn with_tag(self, slot: usize, tag: u8) -> Self {
        Self(self.0 & !(0xFF << (8 * slot)) | u64::from(tag) << (8 * slot))
    }

    #[inline]
    pub(super) fn is_moved(self) -> bool {
        self.0 & Self::MOVED != 0
    }

    pub(super) fn moved(self) -> Self {
        Self(self.0 | Self::MOVED)
    }

    /// Whether some entry whose way led through this bucket lies behind it.
    #[inline]
    pub(super) fn has_overflow(self) -> bool {
        self.0 & Self::OVERFLOW != 0
    }

    pub(super) fn overflow(self) -> u64 {
        (self.0 & Self::OVERFLOW) >> Self::OVERFLOW_SHIFT
    }

    pub(super) fn one_more_passed(self) -> Self {
        if self.0 & Self::OVERFLOW == Self::OVERFLOW {
            self
        } else {
            Self(self.0 + (1 << Self::OVERFLOW_SHIFT))
        }
    }

    /// Once the count stood at its highest it is not known any more, and stays.
    pub(super) fn one_less_passed(self) -> Self {
        debug_assert!(self.has_overflow());
        if self.0 & Self::OVERFLOW == Self::OVERFLOW {
            self
        } else {
            Self(self.0 - (1 << Self::OVERFLOW_SHIFT))
        }
    }

    /// The count at which it sticks.
    pub(super) const STUCK: u64 = 127;
}

/// A set of slots, lowest first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slots(u64);

impl Iterator for Slots {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = self.0.trailing_zeros() as usize / 8;
        self.0 &= self.0 - 1;
        Some(slot)
    }
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bucket_is_one_cache_line() {
        assert_eq!(size_of::<Bucket<String, String>>(), 64);
        assert_eq!(align_of::<Bucket<String, String>>(), 64);
    }

    proptest! {
        /// Against the plain reading of the bytes, for every word there is.
        #[test]
        fn slots_are_found_as_if_looked_at_one_by_one(word: u64, tag: u8) {
            let meta = Meta(word);
            let plain = |tag: u8| (0..SLOTS).filter(|&slot| word.to_le_bytes()[slot] == tag).collect::<Vec<_>>();
            prop_assert_eq!(meta.matches(tag).collect::<Vec<_>>(), plain(tag));
            prop_assert_eq!(meta.vacant().collect::<Vec<_>>(), plain(0));
            prop_assert_eq!(meta.occupied().count(), SLOTS - plain(0).len());
        }

        #[test]
        fn fields_do_not_disturb_each_other(word: u64, slot in 0..SLOTS, tag: u8) {
            let meta = Meta(word);
            let tagged = meta.with_tag(slot, tag);
            prop_assert_eq!(tagged.tag(slot), tag);
            prop_assert_eq!(tagged.overflow(), meta.overflow());
            prop_assert_eq!(tagged.is_moved(), meta.is_moved());
            let moved = tagged.moved();
            prop_assert!(moved.is_moved());
            prop_assert_eq!(moved.tag(slot), tag);
            let passed = moved.one_more_passed();
            prop_assert_eq!(passed.overflow(), (moved.overflow() + 1).min(Meta::STUCK));
            prop_assert_eq!(passed.tag(slot), tag);
        }
    }

    #[test]
    fn an_overflow_that_was_full_once_is_never_taken_for_empty() {
        let full = (0..300).fold(Meta::EMPTY, |meta, _| meta.one_more_passed());
        let after = (0..300).fold(full, |meta, _| meta.one_less_passed());
        assert!(after.has_overflow());
    }
}
