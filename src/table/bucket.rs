//! A bucket: one cache line of the hash table, and the words that describe its slots.
//!
//! This file knows neither keys nor how buckets follow each other.
//!
//! ```text
//! byte     0                  8             12          13                16
//!         [ tags of 0 to 7 ] [ of 8 to 11 ] [M|ooooooo] [ hits: 3 bytes ] [ twelve numbers of four bytes ]
//! ```
//!
//! A *number* says which node is in a slot; 0 says that there is none. The number alone decides
//! whether an entry is there. A *tag* is a fragment of the hash, by which readers find the slot; 0
//! says that the slot is not to be found. A tag is stored before the number and removed after it.
//! So a reader that found a number by its tag will find it again, as long as the entry stays.
//!
//! `M` marks that the bucket's entries have moved to the next array; after that, all tags are
//! removed. `o` counts the entries that passed this bucket because it was full. It tells a reader
//! whether to look further. Once it has reached 127, it no longer changes.
//!
//! Each field is always loaded and stored by words of one size. (No memory model of the language
//! defines mixed-size atomic accesses. So hits have bytes of their own, and tags do not.)

use super::nodes::Named;
use crate::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::num::NonZeroU8;

/// Slots in a bucket: as many as fit a cache line. Under loom there are two, one for each word of
/// tags, so that small models overflow and move.
pub(super) const SLOTS: usize = if cfg!(tidewheel_loom) { 2 } else { 12 };
/// The bytes that hold the slots' tags, a bit for each byte.
const PLACES: u32 = if cfg!(tidewheel_loom) { 1 | 1 << 8 } else { 0xFFF };

#[repr(C, align(64))]
pub(super) struct Bucket {
    low: AtomicU64,
    high: AtomicU32,
    meta: AtomicU8,
    /// Two bits for each slot, in the order of the slots.
    hits: [AtomicU8; 3],
    numbers: [AtomicU32; SLOTS],
}

impl Bucket {
    /// Creates an empty bucket. With std's atomics it is all zeros, on which `Array::allocate`
    /// relies.
    #[cfg(any(test, tidewheel_loom))]
    pub(super) fn new() -> Self {
        Self {
            low: AtomicU64::new(0),
            high: AtomicU32::new(0),
            meta: AtomicU8::new(0),
            hits: std::array::from_fn(|_| AtomicU8::new(0)),
            numbers: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    /// For readers: returns all tags.
    #[inline]
    fn tags(&self) -> [u64; 2] {
        // ORDERING: Acquire, both; pairs with Release in `Bucket::wipe`: a reader that finds no
        // tags because the entries have moved finds the mark that says so; and with Release in
        // `Bucket::set_tag`: it sees that the slot was empty before.
        [self.low.load(Ordering::Acquire), u64::from(self.high.load(Ordering::Acquire))]
    }

    /// For the writer, which alone stores them: returns all tags.
    #[inline]
    fn own_tags(&self) -> [u64; 2] {
        // ORDERING: Relaxed, both; the lock orders writers among themselves.
        [self.low.load(Ordering::Relaxed), u64::from(self.high.load(Ordering::Relaxed))]
    }

    /// For readers: returns the slots that carry `tag`. Must be called before `meta`.
    #[inline]
    pub(super) fn matches(&self, tag: NonZeroU8) -> Slots {
        Slots::of(self.tags(), tag)
    }

    /// For the writer: returns the slots that carry `tag`.
    #[inline]
    pub(super) fn own_matches(&self, tag: NonZeroU8) -> Slots {
        Slots::of(self.own_tags(), tag)
    }

    /// For readers, after the tags: returns the meta byte. If it has no moved mark, the bucket had
    /// not moved when the tags were loaded.
    #[inline]
    pub(super) fn meta(&self) -> Meta {
        // ORDERING: Acquire; pairs with Release in `Bucket::set_meta`: a reader that sees `moved`
        // sees the next array and what was put there.
        Meta(self.meta.load(Ordering::Acquire))
    }

    /// For the writer, which alone stores it: returns the meta byte.
    #[inline]
    pub(super) fn own_meta(&self) -> Meta {
        // ORDERING: Relaxed; the lock orders writers among themselves.
        Meta(self.meta.load(Ordering::Relaxed))
    }

    /// For the writer: stores the meta byte.
    #[inline]
    pub(super) fn set_meta(&self, meta: Meta) {
        // ORDERING: Release; pairs with Acquire in `Bucket::meta`.
        self.meta.store(meta.0, Ordering::Release);
    }

    /// For the writer: writes to the bucket without changing it, before a page is used that has not
    /// been written to yet. If such a page is read first, the system maps a shared page of zeros, and
    /// the write that follows replaces it. That costs as much again, and interrupts every thread of
    /// the process.
    pub(super) fn touch(&self) {
        // ORDERING: Relaxed, both; it stores what is there, or nothing.
        let _ = self.low.compare_exchange(0, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// For the writer: puts a node with its tag and hits into an empty slot. Returns false if there
    /// is none.
    #[inline]
    pub(super) fn fill(&self, tag: NonZeroU8, named: Named, hits: u8) -> bool {
        let empty = Slots(equal_bytes(self.own_tags(), 0) & PLACES).next();
        let Some(slot) = empty else { return false };
        // ORDERING: Relaxed; a figure.
        if hits | self.hits_byte(slot).load(Ordering::Relaxed) != 0 {
            self.set_hits(slot, hits);
        }
        self.set_tag(slot, tag.get());
        self.set_named(slot, named);
        true
    }

    /// For the writer: empties a slot.
    #[inline]
    pub(super) fn vacate(&self, slot: Slot) {
        // ORDERING: Release; pairs with Acquire in `Bucket::named`: a reader that finds the entry gone
        // sees what its writer did before, such as to insert another entry.
        self.numbers[slot.index()].store(0, Ordering::Release);
        self.set_tag(slot, 0);
    }

    #[inline]
    fn set_tag(&self, slot: Slot, tag: u8) {
        // ORDERING: Relaxed, both loads; the lock orders writers among themselves. Release, both
        // stores; pairs with Acquire in `Bucket::tags`: a reader that sees a new tag, in this store
        // or a later one of its word, sees that the slot had been emptied, and does not follow its
        // previous number.
        if slot.place() < 8 {
            let shift = 8 * slot.place();
            let others = self.low.load(Ordering::Relaxed) & !(0xFF << shift);
            self.low.store(others | u64::from(tag) << shift, Ordering::Release);
        } else {
            let shift = 8 * (slot.place() - 8);
            let others = self.high.load(Ordering::Relaxed) & !(0xFF << shift);
            self.high.store(others | u32::from(tag) << shift, Ordering::Release);
        }
    }

    /// For the writer, on a bucket that is marked moved: removes all tags, so that a reader checks
    /// the mark only if it finds no tag.
    pub(super) fn wipe(&self) {
        let [low, high] = self.own_tags();
        // ORDERING: Release, both; pairs with Acquire in `Bucket::tags`: the mark. A word without
        // tags needs no store.
        if low != 0 {
            self.low.store(0, Ordering::Release);
        }
        if high != 0 {
            self.high.store(0, Ordering::Release);
        }
    }

    /// For the writer: returns how often a slot's entry was hit, up to three.
    #[inline]
    pub(super) fn hits(&self, slot: Slot) -> u8 {
        // ORDERING: Relaxed; a figure.
        self.hits_byte(slot).load(Ordering::Relaxed).rotate_right(slot.hits_shift()) & MOST_HITS
    }

    /// For the writer: stores a slot's hits. If readers count hits in the same byte (of four slots)
    /// at the same time, some of those may be lost, or one may bring the previous value back.
    #[inline]
    fn set_hits(&self, slot: Slot, hits: u8) {
        let byte = self.hits_byte(slot);
        // ORDERING: Relaxed, both; a figure.
        let before = byte.load(Ordering::Relaxed).rotate_right(slot.hits_shift());
        if before & MOST_HITS != hits {
            byte.store((before & !MOST_HITS | hits).rotate_left(slot.hits_shift()), Ordering::Relaxed);
        }
    }

    /// For the writer: lowers a slot's hits by up to `by`. Returns the previous value.
    #[inline]
    pub(super) fn lower_hits(&self, slot: Slot, by: u8) -> u8 {
        let hits = self.hits(slot);
        self.set_hits(slot, hits - hits.min(by));
        hits
    }

    /// For readers: counts a hit of a slot's entry. Stores nothing once there are three. If the
    /// slot holds another entry by now, that entry has a hit too many. Of two hits that are counted
    /// in one byte at the same time, one may be lost. Neither matters to the purpose of the hits
    /// (`src/docs/decisions.md`); the cost of a locked instruction would.
    #[inline]
    pub(super) fn count_hit(&self, slot: Slot) {
        let byte = self.hits_byte(slot);
        // ORDERING: Relaxed, both; a figure.
        let before = byte.load(Ordering::Relaxed).rotate_right(slot.hits_shift());
        if before & MOST_HITS != MOST_HITS {
            byte.store((before + 1).rotate_left(slot.hits_shift()), Ordering::Relaxed);
        }
    }

    #[inline]
    fn hits_byte(&self, slot: Slot) -> &AtomicU8 {
        &self.hits[slot.index() / 4]
    }

    /// For the writer: returns the slots that hold entries, with their tags. A moved bucket has
    /// none.
    pub(super) fn occupied(&self) -> impl Iterator<Item = (Slot, NonZeroU8)> + use<> {
        tagged(self.own_tags())
    }

    /// For readers: returns the slots that have tags. Must be called before `meta`.
    pub(super) fn tagged(&self) -> impl Iterator<Item = Slot> + use<> {
        tagged(self.tags()).map(|(slot, _)| slot)
    }

    /// For readers that saw a slot's tag: returns the number of the node in the slot, if there is
    /// one.
    #[inline]
    pub(super) fn named(&self, slot: Slot) -> Option<Named> {
        // ORDERING: Acquire; pairs with Release in `Bucket::set_named`: the node's contents, and
        // the tag; and with Release in `Bucket::vacate`: what was done before the entry went.
        Named::from_bits(self.numbers[slot.index()].load(Ordering::Acquire))
    }

    /// For the writer, which alone stores it: returns the number of the node in a slot that is not
    /// empty.
    #[inline]
    pub(super) fn own_named(&self, slot: Slot) -> Named {
        // ORDERING: Relaxed; the lock orders writers among themselves.
        let named = Named::from_bits(self.numbers[slot.index()].load(Ordering::Relaxed));
        debug_assert!(named.is_some());
        // SAFETY: T5: under the lock, a slot that is not empty has a number.
        unsafe { named.unwrap_unchecked() }
    }

    /// For the writer: puts a node into a slot that has a tag.
    #[inline]
    pub(super) fn set_named(&self, slot: Slot, named: Named) {
        // ORDERING: Release; pairs with Acquire in `Bucket::named`.
        self.numbers[slot.index()].store(named.bits(), Ordering::Release);
    }
}

/// Returns the slots that have a tag in these words.
fn tagged(words: [u64; 2]) -> impl Iterator<Item = (Slot, NonZeroU8)> {
    Slot::all().filter_map(move |slot| {
        let tag = words[slot.place() / 8] >> (slot.place() % 8 * 8);
        Some((slot, NonZeroU8::new(tag as u8)?))
    })
}

/// The largest number of hits that is counted.
const MOST_HITS: u8 = 3;

/// The state of a bucket: the moved mark and the overflow count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Meta(u8);

/// A slot, by the index of the byte that holds its tag: one of `PLACES`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot(u32);

impl Slot {
    #[inline]
    pub(super) const fn bits(self) -> u32 {
        self.0
    }

    /// Recreates a slot from what `bits` returned.
    #[inline]
    pub(super) const fn again(bits: u32) -> Self {
        debug_assert!(PLACES >> bits & 1 == 1);
        Self(bits)
    }

    fn all() -> impl Iterator<Item = Self> {
        Slots(PLACES)
    }

    #[inline]
    const fn place(self) -> usize {
        // SAFETY: T5: slots come out of `Slots` alone, which has no other places, and are kept
        // unchanged.
        unsafe { std::hint::assert_unchecked(self.0 < 12) };
        self.0 as usize
    }

    #[inline]
    const fn index(self) -> usize {
        if cfg!(tidewheel_loom) { self.place() / 8 } else { self.place() }
    }

    /// Returns the position of the slot's hits in their byte. (A byte is rotated by this modulo
    /// eight.)
    #[inline]
    const fn hits_shift(self) -> u32 {
        2 * self.index() as u32
    }
}

/// A set of slots: a bit for the place of each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slots(u32);

impl Slots {
    /// Returns the slots that carry `tag`. (Bytes that are no places are 0, which is no tag.)
    #[inline]
    fn of(tags: [u64; 2], tag: NonZeroU8) -> Self {
        let equal = equal_bytes(tags, tag.get());
        debug_assert!(equal & !PLACES == 0);
        Self(equal)
    }
}

#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2", not(tidewheel_loom))))]
use equal as equal_bytes;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2", not(tidewheel_loom)))]
use equal_at_once as equal_bytes;

/// Returns which of sixteen bytes are equal to `byte`: a bit for each.
#[cfg(any(test, not(all(target_arch = "x86_64", target_feature = "sse2", not(tidewheel_loom)))))]
#[inline]
fn equal(words: [u64; 2], byte: u8) -> u32 {
    const LOW: u64 = 0x7F7F_7F7F_7F7F_7F7F;
    let [first, second] = words.map(|word| {
        let differs = word ^ (0x0101_0101_0101_0101 * u64::from(byte));
        // The highest bit of each byte that is 0, and of no other byte: no sum carries into the
        // next byte.
        let marks = !(((differs & LOW) + LOW) | differs | LOW);
        // The product collects the marks in the highest byte, in their order.
        ((marks >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
    });
    first | second << 8
}

/// Does the same as `equal` in half as many instructions: every processor of this kind compares
/// sixteen bytes at once.
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
    const MOVED: u8 = 0x80;
    const OVERFLOW: u8 = 0x7F;

    #[cfg(test)]
    const EMPTY: Self = Self(0);

    /// Returns whether an entry whose way leads through this bucket is here or nowhere: no entry is
    /// behind the bucket, and it has not moved.
    #[inline]
    pub(super) fn is_the_end(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(super) fn is_moved(self) -> bool {
        self.0 & Self::MOVED != 0
    }

    pub(super) fn moved(self) -> Self {
        Self(self.0 | Self::MOVED)
    }

    /// Returns whether some entry whose way led through this bucket is behind it.
    #[inline]
    pub(super) fn has_overflow(self) -> bool {
        self.0 & Self::OVERFLOW != 0
    }

    pub(super) fn overflow(self) -> u64 {
        u64::from(self.0 & Self::OVERFLOW)
    }

    pub(super) fn one_more_passed(self) -> Self {
        if self.0 & Self::OVERFLOW == Self::OVERFLOW { self } else { Self(self.0 + 1) }
    }

    /// Lowers the count by one. Once the count has reached its maximum it is unknown, and stays.
    pub(super) fn one_less_passed(self) -> Self {
        debug_assert!(self.has_overflow());
        if self.0 & Self::OVERFLOW == Self::OVERFLOW { self } else { Self(self.0 - 1) }
    }

    /// The largest overflow count. Once it is reached, it no longer changes.
    pub(super) const STUCK: u64 = Self::OVERFLOW as u64;
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;
    use crate::rows::RowId;
    use proptest::prelude::*;

    #[test]
    fn a_bucket_is_one_cache_line() {
        assert_eq!(size_of::<Bucket>(), 64);
        assert_eq!(align_of::<Bucket>(), 64);
    }

    /// Creates a bucket with these tags, and with node numbers from 7 on and hits by slot.
    fn bucket(tags: [u8; SLOTS]) -> Bucket {
        let bucket = Bucket::new();
        for (slot, tag) in Slot::all().zip(tags) {
            let named = named(7 + slot.index() as u32);
            assert!(bucket.fill(NonZeroU8::new(tag).unwrap_or(NonZeroU8::MIN), named, hits_of(slot)));
        }
        let vacant = Slot::all().zip(tags).filter(|&(_, tag)| tag == 0);
        vacant.for_each(|(slot, _)| bucket.vacate(slot));
        bucket
    }

    fn named(number: u32) -> Named {
        Named::of(RowId::from_index(number))
    }

    fn hits_of(slot: Slot) -> u8 {
        slot.index() as u8 % (MOST_HITS + 1)
    }

    /// Returns what every thread sees of each slot.
    fn seen(bucket: &Bucket) -> Vec<(Option<u8>, Option<Named>, u8)> {
        let tags: Vec<_> = bucket.occupied().collect();
        let tag = |slot| tags.iter().find(|&&(other, _)| other == slot).map(|(_, tag)| tag.get());
        Slot::all().map(|slot| (tag(slot), bucket.named(slot), bucket.hits(slot))).collect()
    }

    #[test]
    fn slots_have_a_number_each() {
        let indices: Vec<_> = Slot::all().map(Slot::index).collect();
        assert_eq!(indices, (0..SLOTS).collect::<Vec<_>>());
    }

    proptest! {
        /// Against the plain reading of the bytes, few of which are different.
        #[test]
        fn slots_are_found_as_if_looked_at_one_by_one(tags: [u8; SLOTS], few: bool, tag in 1u8..) {
            let tags = tags.map(|tag| if few { tag % 4 } else { tag });
            let tag = NonZeroU8::new(if few { tag % 3 + 1 } else { tag }).unwrap();
            let bucket = bucket(tags);
            let found: Vec<_> = bucket.matches(tag).map(Slot::index).collect();
            let own: Vec<_> = bucket.own_matches(tag).map(Slot::index).collect();
            let right: Vec<_> = (0..SLOTS).filter(|&at| tags[at] == tag.get()).collect();
            prop_assert_eq!(&found, &right);
            prop_assert_eq!(&own, &right);
            let right: Vec<_> = (0..SLOTS).filter(|&at| tags[at] != 0).collect();
            let occupied: Vec<_> = bucket.occupied().map(|(slot, _)| slot.index()).collect();
            prop_assert_eq!(&occupied, &right);
            let tagged: Vec<_> = bucket.tagged().map(Slot::index).collect();
            prop_assert_eq!(&tagged, &right);
            for slot in Slot::all() {
                let there = tags[slot.index()] != 0;
                prop_assert_eq!(bucket.named(slot), there.then(|| named(7 + slot.index() as u32)));
            }
        }

        #[test]
        #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
        fn bytes_are_compared_at_once_as_by_words(words: [u64; 2], byte: u8, at in 0usize..16) {
            prop_assert_eq!(equal(words, byte), equal_at_once(words, byte));
            let byte = (words[at / 8] >> (at % 8 * 8)) as u8;
            prop_assert!(equal(words, byte) & 1 << at != 0);
            prop_assert_eq!(equal(words, byte), equal_at_once(words, byte));
        }

        #[test]
        fn fields_do_not_disturb_each_other(
            tags: [u8; SLOTS], passed in 0u8..=127, at in 0..SLOTS, tag in 1u8.., times in 0u8..5, by in 0u8..5,
        ) {
            let bucket = bucket(tags);
            bucket.set_meta(Meta(passed));
            let slot = Slot::all().nth(at).unwrap();
            let mut right = seen(&bucket);
            for _ in 0..times {
                bucket.count_hit(slot);
                right[at].2 = (right[at].2 + 1).min(MOST_HITS);
                prop_assert_eq!(&seen(&bucket), &right);
            }
            prop_assert_eq!(bucket.lower_hits(slot, by), right[at].2);
            right[at].2 = right[at].2.saturating_sub(by);
            prop_assert_eq!(&seen(&bucket), &right);
            bucket.vacate(slot);
            right[at] = (None, None, right[at].2);
            prop_assert_eq!(&seen(&bucket), &right);
            let first = named(99);
            while let Some(at) = right.iter().position(|(tag, ..)| tag.is_none()) {
                prop_assert!(bucket.fill(NonZeroU8::new(tag).unwrap(), first, times.min(MOST_HITS)));
                right[at] = (Some(tag), Some(first), times.min(MOST_HITS));
                prop_assert_eq!(&seen(&bucket), &right);
            }
            prop_assert!(!bucket.fill(NonZeroU8::MIN, first, 0));
            prop_assert_eq!(&seen(&bucket), &right);
            let second = named(98);
            bucket.set_named(slot, second);
            right[at].1 = Some(second);
            prop_assert_eq!(&seen(&bucket), &right);
            prop_assert_eq!(bucket.meta(), Meta(passed));
            let more = bucket.meta().one_more_passed();
            prop_assert_eq!(more.overflow(), (u64::from(passed) + 1).min(Meta::STUCK));
            bucket.set_meta(more.moved());
            prop_assert!(bucket.meta().is_moved() && bucket.meta().overflow() == more.overflow());
            prop_assert_eq!(&seen(&bucket), &right);
            bucket.wipe();
            prop_assert!(bucket.tagged().next().is_none() && bucket.meta() == more.moved());
        }
    }

    #[test]
    fn an_overflow_that_was_full_once_is_never_taken_for_empty() {
        let full = (0..300).fold(Meta::EMPTY, |meta, _| meta.one_more_passed());
        let after = (0..300).fold(full, |meta, _| meta.one_less_passed());
        assert!(after.has_overflow());
    }
}
