//! A bucket: one cache line of the hash table, and the words that describe its slots.
//!
//! Knows neither keys nor how buckets follow each other.
//!
//! ```text
//! byte       0    1    2    3    4    5    6    7
//! word 0   [tag][tag][tag][tag][tag][tag][tag][M|ooooooo]
//! word 1   [tag][tag][tag][tag][tag][ -  ][ -  ][ -  ]       then twelve numbers of rows, of four bytes
//! ```
//!
//! A tag is a fragment of the hash, 0 for an empty slot. `M`: the bucket's entries have moved on to the
//! next array. `o`: how many entries passed this bucket because it was full, so that a reader knows
//! whether to look further; at 127 it sticks.

use crate::rows::RowId;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Slots in a bucket: what fits a cache line. Two under loom, one in each word, so that small models overflow
/// and move.
pub(super) const SLOTS: usize = if cfg!(tidewheel_loom) { 2 } else { 12 };
/// Those that word 0 describes.
const IN_FIRST: usize = if cfg!(tidewheel_loom) { 1 } else { 7 };

#[repr(C, align(64))]
pub(super) struct Bucket {
    words: [AtomicU64; 2],
    rows: [AtomicU32; SLOTS],
}

impl Bucket {
    /// An empty bucket. With std's atomics this is all zeros, which `Array::allocate` relies on.
    #[cfg(tidewheel_loom)]
    pub(super) fn new() -> Self {
        Self {
            words: std::array::from_fn(|_| AtomicU64::new(0)),
            rows: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    /// For readers.
    #[inline]
    pub(super) fn meta(&self) -> Meta {
        // ORDERING: Acquire; pairs with Release in `Bucket::set_meta` and `Bucket::set_tag`: a tag brings its
        // row's number with it, and `moved` brings the next array and what was put there.
        Meta(self.words[0].load(Ordering::Acquire))
    }

    /// For readers: the tags that word 0 has no room for.
    #[inline]
    pub(super) fn more(&self) -> More {
        // ORDERING: Acquire; pairs with Release in `Bucket::set_tag`: as `meta`.
        More(self.words[1].load(Ordering::Acquire))
    }

    /// For readers.
    #[inline]
    pub(super) fn has_tag(&self, slot: usize, tag: u8) -> bool {
        if slot < IN_FIRST { self.meta().tag(slot) == tag } else { self.more().tag(slot) == tag }
    }

    /// For the writer, who alone stores it.
    #[inline]
    pub(super) fn own_meta(&self) -> Meta {
        // ORDERING: Relaxed; the lock orders writers among themselves.
        Meta(self.words[0].load(Ordering::Relaxed))
    }

    /// For the writer, who alone stores it.
    #[inline]
    pub(super) fn own_more(&self) -> More {
        // ORDERING: Relaxed; as `own_meta`.
        More(self.words[1].load(Ordering::Relaxed))
    }

    /// For the writer.
    #[inline]
    pub(super) fn set_meta(&self, meta: Meta) {
        // ORDERING: Release; pairs with Acquire in `Bucket::meta`.
        self.words[0].store(meta.0, Ordering::Release);
    }

    /// For the writer: 0 makes the slot empty.
    #[inline]
    pub(super) fn set_tag(&self, slot: usize, tag: u8) {
        let (word, at) = if slot < IN_FIRST { (0, slot) } else { (1, slot - IN_FIRST) };
        // ORDERING: Relaxed; the lock orders writers among themselves.
        let before = self.words[word].load(Ordering::Relaxed);
        let after = before & !(0xFF << (8 * at)) | u64::from(tag) << (8 * at);
        // ORDERING: Release; pairs with Acquire in `Bucket::meta` and `Bucket::more`.
        self.words[word].store(after, Ordering::Release);
    }

    /// For the writer: the lowest empty slot.
    #[inline]
    pub(super) fn vacant(&self) -> Option<usize> {
        self.own_meta().matches(0).next().or_else(|| self.own_more().matches(0).next())
    }

    /// For the writer: the slots that hold entries, with their tags.
    pub(super) fn occupied(&self) -> impl Iterator<Item = (usize, u8)> + use<> {
        let (meta, more) = (self.own_meta(), self.own_more());
        let tags =
            (0..SLOTS).map(move |slot| (slot, if slot < IN_FIRST { meta.tag(slot) } else { more.tag(slot) }));
        tags.filter(|&(_, tag)| tag != 0)
    }

    /// For readers, of a slot whose tag they saw in a bucket that had not moved.
    #[inline]
    pub(super) fn row(&self, slot: usize) -> RowId {
        // ORDERING: Acquire; pairs with Release in `Bucket::set_row`: the node's contents.
        RowId::from_index(self.rows[slot].load(Ordering::Acquire))
    }

    /// For the writer, who alone stores it.
    #[inline]
    pub(super) fn own_row(&self, slot: usize) -> RowId {
        // ORDERING: Relaxed; the lock orders writers among themselves.
        RowId::from_index(self.rows[slot].load(Ordering::Relaxed))
    }

    /// For the writer.
    #[inline]
    pub(super) fn set_row(&self, slot: usize, row: RowId) {
        // ORDERING: Release; pairs with Acquire in `Bucket::row`.
        self.rows[slot].store(row.index(), Ordering::Release);
    }
}

/// Word 0 of a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Meta(u64);

/// Word 1 of a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct More(u64);

/// The lowest bit of so many bytes.
const fn each(bytes: usize) -> u64 {
    0x0101_0101_0101_0101 & ((1 << (8 * bytes)) - 1)
}

/// The bytes of `word` that are `tag`, among those that `each` has bits in, by their highest bits.
#[inline]
fn matching(word: u64, each: u64, tag: u8) -> u64 {
    // A byte of `differs` is 0 where the tag matches. Adding 0x7F to its low seven bits carries into
    // its highest bit exactly if one of them is set, and never into the next byte.
    let low = each * 0x7F;
    let differs = word ^ (each * u64::from(tag));
    let nonzero = ((differs & low) + low) | differs;
    !nonzero & (each << 7)
}

impl More {
    const EACH: u64 = each(SLOTS - IN_FIRST);

    /// The slots that carry `tag`.
    #[inline]
    pub(super) fn matches(self, tag: u8) -> Slots {
        Slots { bytes: matching(self.0, Self::EACH, tag), first: IN_FIRST }
    }

    #[inline]
    fn tag(self, slot: usize) -> u8 {
        (self.0 >> (8 * (slot - IN_FIRST))) as u8
    }
}

impl Meta {
    const MOVED: u64 = 1 << 63;
    const OVERFLOW_SHIFT: u32 = 56;
    const OVERFLOW: u64 = 0x7F << Self::OVERFLOW_SHIFT;
    const EACH: u64 = each(IN_FIRST);

    #[cfg(test)]
    const EMPTY: Self = Self(0);

    /// The slots of word 0 that carry `tag`.
    #[inline]
    pub(super) fn matches(self, tag: u8) -> Slots {
        Slots { bytes: matching(self.0, Self::EACH, tag), first: 0 }
    }

    #[inline]
    fn tag(self, slot: usize) -> u8 {
        (self.0 >> (8 * slot)) as u8
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

/// A set of slots of one word, lowest first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slots {
    /// The highest bit of the byte of each.
    bytes: u64,
    first: usize,
}

impl Iterator for Slots {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.bytes == 0 {
            return None;
        }
        let slot = self.first + self.bytes.trailing_zeros() as usize / 8;
        self.bytes &= self.bytes - 1;
        Some(slot)
    }
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bucket_is_one_cache_line() {
        assert_eq!(size_of::<Bucket>(), 64);
        assert_eq!(align_of::<Bucket>(), 64);
    }

    fn bucket(words: [u64; 2]) -> Bucket {
        Bucket { words: words.map(AtomicU64::new), rows: std::array::from_fn(|_| AtomicU32::new(0)) }
    }

    proptest! {
        /// Against the plain reading of the bytes, for every pair of words there is.
        #[test]
        fn slots_are_found_as_if_looked_at_one_by_one(words: [u64; 2], tag: u8) {
            let bucket = bucket(words);
            let mut bytes = words[0].to_le_bytes()[..7].to_vec();
            bytes.extend_from_slice(&words[1].to_le_bytes()[..5]);
            let plain = |tag: u8| (0..SLOTS).filter(|&slot| bytes[slot] == tag).collect::<Vec<_>>();
            let found: Vec<_> = bucket.meta().matches(tag).chain(bucket.more().matches(tag)).collect();
            prop_assert_eq!(&found, &plain(tag));
            prop_assert!(found.iter().all(|&slot| bucket.has_tag(slot, tag)));
            prop_assert_eq!(bucket.vacant(), plain(0).first().copied());
            let occupied: Vec<_> = bucket.occupied().collect();
            let expected: Vec<_> = (0..SLOTS).filter(|&s| bytes[s] != 0).map(|s| (s, bytes[s])).collect();
            prop_assert_eq!(occupied, expected);
        }

        #[test]
        fn fields_do_not_disturb_each_other(words: [u64; 2], slot in 0..SLOTS, tag: u8) {
            let bucket = bucket(words);
            let before: Vec<_> = (0..SLOTS).map(|slot| (0..=255).find(|&tag| bucket.has_tag(slot, tag))).collect();
            let meta = bucket.meta();
            bucket.set_tag(slot, tag);
            for (other, &tag_before) in before.iter().enumerate() {
                let tag = if other == slot { Some(tag) } else { tag_before };
                prop_assert!(bucket.has_tag(other, tag.unwrap()));
            }
            prop_assert_eq!(bucket.meta().overflow(), meta.overflow());
            prop_assert_eq!(bucket.meta().is_moved(), meta.is_moved());
            bucket.set_meta(bucket.meta().moved());
            prop_assert!(bucket.meta().is_moved() && bucket.has_tag(slot, tag));
            let passed = bucket.meta().one_more_passed();
            prop_assert_eq!(passed.overflow(), (meta.overflow() + 1).min(Meta::STUCK));
            bucket.set_meta(passed);
            prop_assert!(bucket.has_tag(slot, tag));
        }
    }

    #[test]
    fn an_overflow_that_was_full_once_is_never_taken_for_empty() {
        let full = (0..300).fold(Meta::EMPTY, |meta, _| meta.one_more_passed());
        let after = (0..300).fold(full, |meta, _| meta.one_less_passed());
        assert!(after.has_overflow());
    }
}
