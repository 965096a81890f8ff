//! A bucket: one cache line of the hash table, and the words that describe its slots.
//!
//! Knows neither keys nor how buckets follow each other.
//!
//! ```text
//! byte       0         1    2    3    4    5    6    7
//! word 0   [M|ooooooo][tag][tag][tag][tag][tag][tag][tag]
//! word 1   [   tag   ][tag][tag][tag][tag][ - ][ - ][ - ]       then twelve numbers of rows, of four bytes
//! ```
//!
//! A tag is a fragment of the hash, 0 for an empty slot. `M`: the bucket's entries have moved on to the
//! next array. `o`: how many entries passed this bucket because it was full, so that a reader knows
//! whether to look further; at 127 it sticks. The tags are in a row, so that the place of a tag among
//! the sixteen bytes says by itself where the number is.

use crate::rows::RowId;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Slots in a bucket: what fits a cache line. Two under loom, one in each word, so that small models overflow
/// and move.
pub(super) const SLOTS: usize = if cfg!(tidewheel_loom) { 2 } else { 12 };
/// The bytes that hold their tags, a bit each.
const PLACES: u32 = if cfg!(tidewheel_loom) { 1 << 1 | 1 << 8 } else { 0x1FFE };

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

    /// For readers: the slots that carry `tag`, in a bucket whose word 0 was `meta`.
    #[inline]
    pub(super) fn matches(&self, meta: Meta, tag: u8) -> Slots {
        // ORDERING: Acquire; pairs with Release in `Bucket::set_tag`: as `meta`.
        Slots::of(meta, self.words[1].load(Ordering::Acquire), tag)
    }

    /// For readers: the tag that a slot carries now.
    #[inline]
    pub(super) fn tag(&self, slot: Slot) -> u8 {
        // ORDERING: Acquire; pairs with Release in `Bucket::set_tag`: as `meta`.
        (self.words[slot.word()].load(Ordering::Acquire) >> slot.shift()) as u8
    }

    /// For the writer, who alone stores it.
    #[inline]
    pub(super) fn own_meta(&self) -> Meta {
        // ORDERING: Relaxed; the lock orders writers among themselves.
        Meta(self.words[0].load(Ordering::Relaxed))
    }

    /// For the writer, as `matches`.
    #[inline]
    pub(super) fn own_matches(&self, meta: Meta, tag: u8) -> Slots {
        // ORDERING: Relaxed; as `own_meta`.
        Slots::of(meta, self.words[1].load(Ordering::Relaxed), tag)
    }

    /// For the writer.
    #[inline]
    pub(super) fn set_meta(&self, meta: Meta) {
        // ORDERING: Release; pairs with Acquire in `Bucket::meta`.
        self.words[0].store(meta.0, Ordering::Release);
    }

    /// For the writer: a write that changes nothing. To a page that nobody has written to yet: a page that is read
    /// first is one of zeros that all share, and the write that follows makes another of it, which costs as much again,
    /// and an interrupt of every thread of the process.
    pub(super) fn touch(&self) {
        // ORDERING: Relaxed, both; it stores what is there, or nothing.
        let _ = self.words[0].compare_exchange(0, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// For the writer: 0 makes the slot empty.
    #[inline]
    pub(super) fn set_tag(&self, slot: Slot, tag: u8) {
        // ORDERING: Relaxed; the lock orders writers among themselves.
        let before = self.words[slot.word()].load(Ordering::Relaxed);
        let after = before & !(0xFF << slot.shift()) | u64::from(tag) << slot.shift();
        self.store(slot.word(), after);
    }

    /// For the writer. Of hits counted since it loaded the word, none is kept.
    #[inline]
    fn store(&self, word: usize, value: u64) {
        if cfg!(tidewheel_loom) && word == 1 {
            // Loom does not know that nothing comes between what an exchange finds and what it stores, and would have
            // a plain store come before one of `count_hit` that found an older word.
            // ORDERING: Release; pairs with Acquire in `Bucket::meta`, `Bucket::matches` and `Bucket::tag`.
            self.words[word].swap(value, Ordering::Release);
        } else {
            // ORDERING: Release; as above.
            self.words[word].store(value, Ordering::Release);
        }
    }

    /// For the writer: a tag for an empty slot, of an entry that was hit so often.
    #[inline]
    pub(super) fn set_tag_and_hits(&self, slot: Slot, tag: u8, hits: u8) {
        if self.hits(slot) != hits {
            self.set_hits(slot, hits);
        }
        self.set_tag(slot, tag);
    }

    /// For the writer: how often a slot's entry was hit, up to three.
    #[inline]
    pub(super) fn hits(&self, slot: Slot) -> u8 {
        // ORDERING: Relaxed; a figure.
        (self.words[1].load(Ordering::Relaxed) >> hits_shift(slot)) as u8 & MOST_HITS
    }

    /// For the writer. A hit that is counted at the same time may be lost.
    fn set_hits(&self, slot: Slot, hits: u8) {
        // ORDERING: Relaxed; the lock orders writers among themselves, and a hit that is missed is missed.
        let before = self.words[1].load(Ordering::Relaxed);
        let mask = u64::from(MOST_HITS) << hits_shift(slot);
        let after = before & !mask | u64::from(hits) << hits_shift(slot);
        // With Release: the word's tags are stored once more, and bring the same with them.
        self.store(1, after);
    }

    /// For the writer: lowers how often a slot's entry was hit by up to `by`, and returns what it was.
    #[inline]
    pub(super) fn lower_hits(&self, slot: Slot, by: u8) -> u8 {
        let hits = self.hits(slot);
        if hits != 0 {
            self.set_hits(slot, hits.saturating_sub(by));
        }
        hits
    }

    /// For readers: the entry of a slot was hit. Stores nothing once it was hit three times. If the slot
    /// has another entry by now, that one has a hit more than it should.
    #[inline]
    pub(super) fn count_hit(&self, slot: Slot) {
        // ORDERING: Relaxed, all; a figure. The exchange fails where a writer has stored a tag meanwhile, so none is
        // lost; and whoever reads what it stored sees what came with the tags before it (a release sequence).
        let mut word = self.words[1].load(Ordering::Relaxed);
        while (word >> hits_shift(slot)) as u8 & MOST_HITS < MOST_HITS {
            let more = word + (1 << hits_shift(slot));
            // ORDERING: Relaxed, both; as above.
            match self.words[1].compare_exchange_weak(word, more, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(actual) => word = actual,
            }
        }
    }

    /// For the writer: an empty slot.
    #[inline]
    pub(super) fn vacant(&self) -> Option<Slot> {
        self.own_matches(self.own_meta(), 0).next()
    }

    /// For the writer: the slots that hold entries, with their tags.
    pub(super) fn occupied(&self) -> impl Iterator<Item = (Slot, u8)> + use<> {
        // ORDERING: Relaxed, both; the lock orders writers among themselves.
        tagged([self.words[0].load(Ordering::Relaxed), self.words[1].load(Ordering::Relaxed)])
    }

    /// For readers: the slots that hold entries, with their tags, in a bucket whose word 0 was `meta`.
    pub(super) fn held(&self, meta: Meta) -> impl Iterator<Item = (Slot, u8)> + use<> {
        // ORDERING: Acquire; pairs with Release in `Bucket::set_tag`: as `meta`.
        tagged([meta.0, self.words[1].load(Ordering::Acquire)])
    }

    /// For readers, of a slot whose tag they saw in a bucket that had not moved.
    #[inline]
    pub(super) fn row(&self, slot: Slot) -> RowId {
        // ORDERING: Acquire; pairs with Release in `Bucket::set_row`: the node's contents.
        RowId::from_index(self.rows[slot.index()].load(Ordering::Acquire))
    }

    /// For the writer, who alone stores it.
    #[inline]
    pub(super) fn own_row(&self, slot: Slot) -> RowId {
        // ORDERING: Relaxed; the lock orders writers among themselves.
        RowId::from_index(self.rows[slot.index()].load(Ordering::Relaxed))
    }

    /// For the writer: the slot that holds the entry of a row. All slots are compared, whichever it is: which
    /// one that is, no processor can guess.
    #[inline]
    pub(super) fn slot_of(&self, row: RowId) -> Option<Slot> {
        let equal = self.equal_rows(row);
        // An empty slot may still have the number of whoever was there.
        Slots(equal & PLACES).find(|&slot| self.own_tag(slot) != 0)
    }

    /// The slots that name a row, empty or not.
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2", not(tidewheel_loom)))]
    #[inline]
    #[allow(unused_unsafe, reason = "compilers since 1.87 know that it is safe")]
    fn equal_rows(&self, row: RowId) -> u32 {
        use std::arch::x86_64::{
            __m128i, _mm_cmpeq_epi32, _mm_load_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_packs_epi32,
            _mm_set1_epi32, _mm_setzero_si128,
        };
        // SAFETY: T6: only a writer stores numbers, and this is one, so that they are as good as plain ones here; a
        // bucket's begin at its 16th byte, and a bucket at a multiple of 64. And the processor has SSE2.
        let mask = unsafe {
            let rows: *const __m128i = self.rows.as_ptr().cast();
            let wanted = _mm_set1_epi32(row.index() as i32);
            let [first, second, third] =
                [0, 1, 2].map(|four| _mm_cmpeq_epi32(_mm_load_si128(rows.add(four)), wanted));
            let halves = [_mm_packs_epi32(first, second), _mm_packs_epi32(third, _mm_setzero_si128())];
            _mm_movemask_epi8(_mm_packs_epi16(halves[0], halves[1]))
        };
        // The place of a slot is one more than its index.
        (mask as u32) << 1
    }

    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse2", not(tidewheel_loom))))]
    fn equal_rows(&self, row: RowId) -> u32 {
        Slot::all().filter(|&slot| self.own_row(slot) == row).fold(0, |set, slot| set | 1 << slot.0)
    }

    /// For the writer: as `tag`.
    #[inline]
    fn own_tag(&self, slot: Slot) -> u8 {
        // ORDERING: Relaxed; as `own_meta`.
        (self.words[slot.word()].load(Ordering::Relaxed) >> slot.shift()) as u8
    }

    /// For the writer.
    #[inline]
    pub(super) fn set_row(&self, slot: Slot, row: RowId) {
        // ORDERING: Release; pairs with Acquire in `Bucket::row`.
        self.rows[slot.index()].store(row.index(), Ordering::Release);
    }
}

/// The slots that have a tag in these words.
fn tagged(words: [u64; 2]) -> impl Iterator<Item = (Slot, u8)> {
    let tags = Slot::all().map(move |slot| (slot, (words[slot.word()] >> slot.shift()) as u8));
    tags.filter(|&(_, tag)| tag != 0)
}

/// Where a slot's hits are in word 1: two bits, in the order of the slots.
#[inline]
const fn hits_shift(slot: Slot) -> usize {
    40 + 2 * slot.index()
}

/// Where hits are counted no further.
const MOST_HITS: u8 = 3;

/// Word 0 of a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Meta(u64);

/// A slot, by the byte that holds its tag: one of `PLACES`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot(u32);

impl Slot {
    fn all() -> impl Iterator<Item = Self> {
        Slots(PLACES)
    }

    #[inline]
    const fn place(self) -> usize {
        // SAFETY: T5: slots come out of `Slots` alone, where there are no other places.
        unsafe { std::hint::assert_unchecked(self.0 > 0 && self.0 < 13) };
        self.0 as usize
    }

    #[inline]
    const fn word(self) -> usize {
        self.place() / 8
    }

    #[inline]
    const fn shift(self) -> usize {
        self.place() % 8 * 8
    }

    #[inline]
    const fn index(self) -> usize {
        if cfg!(tidewheel_loom) { self.word() } else { self.place() - 1 }
    }
}

/// A set of slots, a bit for the place of each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slots(u32);

impl Slots {
    /// The slots that carry `tag`.
    #[inline]
    fn of(meta: Meta, more: u64, tag: u8) -> Self {
        #[cfg(all(target_arch = "x86_64", target_feature = "sse2", not(tidewheel_loom)))]
        let equal = equal_at_once([meta.0, more], tag);
        #[cfg(not(all(target_arch = "x86_64", target_feature = "sse2", not(tidewheel_loom))))]
        let equal = equal([meta.0, more], tag);
        Self(equal & PLACES)
    }
}

/// Which of sixteen bytes are equal to one: a bit for each.
#[cfg(any(test, not(all(target_arch = "x86_64", target_feature = "sse2", not(tidewheel_loom)))))]
#[inline]
fn equal(words: [u64; 2], byte: u8) -> u32 {
    const LOW: u64 = 0x7F7F_7F7F_7F7F_7F7F;
    let [first, second] = words.map(|word| {
        let differs = word ^ (0x0101_0101_0101_0101 * u64::from(byte));
        // The highest bit of each byte that is 0, and of no other: no sum reaches into the next byte.
        let marks = !(((differs & LOW) + LOW) | differs | LOW);
        // The product brings the marks together in the highest byte, in their order.
        ((marks >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
    });
    first | second << 8
}

/// As `equal`, in half as many instructions: every processor of this kind compares sixteen bytes at a time.
#[cfg(all(target_arch = "x86_64", target_feature = "sse2", not(tidewheel_loom)))]
#[inline]
#[allow(unused_unsafe, reason = "compilers since 1.87 know that it is safe")]
fn equal_at_once([first, second]: [u64; 2], byte: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    // SAFETY: no memory is touched, so it takes none of T1 to T9; and the processor has SSE2.
    unsafe {
        let bytes = _mm_set_epi64x(second as i64, first as i64);
        _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8))) as u32
    }
}

impl Iterator for Slots {
    type Item = Slot;

    #[inline]
    fn next(&mut self) -> Option<Slot> {
        if self.0 == 0 {
            return None;
        }
        let slot = Slot(self.0.trailing_zeros());
        self.0 &= self.0 - 1;
        Some(slot)
    }
}

impl Meta {
    const MOVED: u64 = 0x80;
    const OVERFLOW: u64 = 0x7F;

    #[cfg(test)]
    const EMPTY: Self = Self(0);

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
        self.0 & Self::OVERFLOW
    }

    pub(super) fn one_more_passed(self) -> Self {
        if self.0 & Self::OVERFLOW == Self::OVERFLOW { self } else { Self(self.0 + 1) }
    }

    /// Once the count stood at its highest it is not known any more, and stays.
    pub(super) fn one_less_passed(self) -> Self {
        debug_assert!(self.has_overflow());
        if self.0 & Self::OVERFLOW == Self::OVERFLOW { self } else { Self(self.0 - 1) }
    }

    /// The count at which it sticks.
    pub(super) const STUCK: u64 = 127;
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

    #[test]
    fn slots_have_a_row_each() {
        let indices: Vec<_> = Slot::all().map(Slot::index).collect();
        assert_eq!(indices, (0..SLOTS).collect::<Vec<_>>());
    }

    proptest! {
        /// Against the plain reading of the bytes, for every pair of words there is.
        #[test]
        fn slots_are_found_as_if_looked_at_one_by_one(words: [u64; 2], tag: u8) {
            let bucket = bucket(words);
            let mut bytes = words[0].to_le_bytes()[1..].to_vec();
            bytes.extend_from_slice(&words[1].to_le_bytes()[..5]);
            prop_assert!(Slot::all().all(|slot| bucket.tag(slot) == bytes[slot.index()]));

            let found: Vec<_> = bucket.matches(bucket.meta(), tag).collect();
            prop_assert_eq!(&found, &bucket.own_matches(bucket.own_meta(), tag).collect::<Vec<_>>());
            let right: Vec<_> = Slot::all().filter(|slot| bytes[slot.index()] == tag).collect();
            prop_assert_eq!(found, right);
            #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
            prop_assert_eq!(equal(words, tag), equal_at_once(words, tag));

            for slot in Slot::all() {
                let row = RowId::from_index(7 + slot.index() as u32);
                bucket.set_row(slot, row);
                let found = bucket.slot_of(row);
                prop_assert_eq!(found, (bytes[slot.index()] != 0).then_some(slot));
                bucket.set_row(slot, RowId::FIRST);
            }
            prop_assert!(bucket.vacant().is_none_or(|slot| bytes[slot.index()] == 0));
            prop_assert_eq!(bucket.vacant().is_none(), !bytes.contains(&0));
            let occupied: Vec<_> = bucket.occupied().map(|(slot, tag)| (slot.index(), tag)).collect();
            let expected: Vec<_> = (0..SLOTS).filter(|&s| bytes[s] != 0).map(|s| (s, bytes[s])).collect();
            prop_assert_eq!(occupied, expected);
        }

        #[test]
        fn fields_do_not_disturb_each_other(words: [u64; 2], at in 0..SLOTS, tag: u8) {
            let bucket = bucket(words);
            let slot = Slot::all().nth(at).unwrap();
            let before: Vec<_> = Slot::all().map(|slot| bucket.tag(slot)).collect();
            let meta = bucket.meta();
            bucket.set_tag(slot, tag);
            for other in Slot::all() {
                prop_assert_eq!(bucket.tag(other), if other == slot { tag } else { before[other.index()] });
            }
            prop_assert_eq!(bucket.meta().overflow(), meta.overflow());
            prop_assert_eq!(bucket.meta().is_moved(), meta.is_moved());
            bucket.set_meta(bucket.meta().moved());
            prop_assert!(bucket.meta().is_moved() && bucket.tag(slot) == tag);
            let passed = bucket.meta().one_more_passed();
            prop_assert_eq!(passed.overflow(), (meta.overflow() + 1).min(Meta::STUCK));
            bucket.set_meta(passed);
            prop_assert_eq!(bucket.tag(slot), tag);
        }
    }

    #[test]
    fn an_overflow_that_was_full_once_is_never_taken_for_empty() {
        let full = (0..300).fold(Meta::EMPTY, |meta, _| meta.one_more_passed());
        let after = (0..300).fold(full, |meta, _| meta.one_less_passed());
        assert!(after.has_overflow());
    }
}
