//! An array of buckets: one block of memory, named by one word.
//!
//! The word holds the address of the first bucket, which is aligned to 64 bytes, and the size in
//! the six bits that the alignment leaves free. So a reader gets from the root to its bucket with
//! one load. The highest bits of a home choose its bucket. So the size is stored as a shift: a home
//! that is shifted right by it is the distance of its bucket from the first, in bytes. A header in
//! front of the buckets names the next array. This file does not know what is in the buckets.

use super::bucket::Bucket;
use super::memory::{Block, prefetch};
use crate::sync::Canary;
use crate::sync::atomic::{AtomicPtr, Ordering};
use std::alloc::Layout;
use std::ptr::NonNull;

/// The header, with the size and alignment of one bucket.
#[repr(C, align(64))]
struct Header {
    /// The array to which entries move; null while none do. A tagged address.
    next: AtomicPtr<Bucket>,
    layout: Layout,
    canary: Canary,
}

/// A tagged address of buckets. Copying it copies no ownership; see the invariants in `table`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Array(NonNull<Bucket>);

impl Array {
    const TAG: usize = align_of::<Bucket>() - 1;
    const UNIT: usize = size_of::<Bucket>();
    /// The size of the largest array, as a power of two: it has more buckets than there are rows.
    /// The remaining bits of a home's 32 are the distance of a bucket in bytes.
    pub(super) const MOST_LOG2: u32 = 26;

    /// Allocates an array of 2^`log2` empty buckets. On Linux the time does not depend on the size:
    /// large arrays are zero pages that the system fills in when they are touched. For other Unixes
    /// see `memory`.
    pub(super) fn allocate(log2: u32) -> Self {
        const { assert!(size_of::<Header>() == Self::UNIT && align_of::<Header>() == Self::UNIT) };
        assert!(log2 <= Self::MOST_LOG2);
        // One bucket more, for the header.
        let (start, layout) = Block::zeroed::<Bucket>((1 << log2) + 1).leave();
        let header: NonNull<Header> = start.cast();
        // SAFETY: T1 begins here: the block has room for the header and the buckets, and no other
        // thread knows it yet.
        let buckets = unsafe {
            let next = AtomicPtr::new(std::ptr::null_mut());
            header.write(Header { next, layout, canary: Canary::new() });
            let buckets: NonNull<Bucket> = header.add(1).cast();
            #[cfg(tidewheel_loom)]
            for index in 0..1usize << log2 {
                buckets.add(index).write(Bucket::new());
            }
            buckets
        };
        Self(buckets.map_addr(|addr| addr | (Self::MOST_LOG2 - log2) as usize))
    }

    /// Returns the array with this tagged address.
    ///
    /// # Safety
    ///
    /// T1: `tagged` is null or comes from `tagged()` of an array that lives as long as the result
    /// is used.
    #[inline]
    pub(super) unsafe fn from_tagged(tagged: *mut Bucket) -> Option<Self> {
        NonNull::new(tagged).map(Self)
    }

    pub(super) fn tagged(self) -> *mut Bucket {
        self.0.as_ptr()
    }

    #[inline]
    pub(super) fn mask(self) -> usize {
        ((1 << Self::MOST_LOG2) - 1) >> self.shift()
    }

    #[inline]
    pub(super) fn log2(self) -> u32 {
        Self::MOST_LOG2 - self.shift()
    }

    /// Returns by how many bits a home is shifted to become the distance of its bucket from the
    /// first, in bytes. (Five of the six bits hold it, because it is less than 32.)
    #[inline]
    fn shift(self) -> u32 {
        const { assert!(Self::MOST_LOG2 < u32::BITS && Self::MOST_LOG2 + 6 == u32::BITS) };
        self.0.addr().get() as u32 % u32::BITS
    }

    /// Returns the index of the bucket where the way of a home begins.
    #[inline]
    pub(super) fn start(self, home: u32) -> usize {
        (home >> self.shift() >> 6) as usize
    }

    /// Returns the index of the bucket after `step` steps on the way of a home. The way leads
    /// through all buckets, far from each other. Neighbouring buckets fill together when a table is
    /// filled in the order of homes (which is the order of a walk, as when the entries of one table
    /// are put into another).
    #[inline]
    pub(super) fn way(self, home: u32, step: usize) -> usize {
        let start = self.start(home);
        if step == 0 { start } else { start ^ (step.reverse_bits() >> (usize::BITS - self.log2())) }
    }

    /// Returns the first bucket of that way. The same as `bucket(start(home))`, in fewer steps.
    ///
    /// # Safety
    ///
    /// T1: the array outlives `'a`.
    #[inline(always)]
    pub(super) unsafe fn first_of<'a>(self, home: u32) -> &'a Bucket {
        #[cfg(tidewheel_loom)]
        // SAFETY: T1. (Under loom a bucket has another size.)
        return unsafe { self.bucket(self.start(home)) };
        #[cfg(not(tidewheel_loom))]
        {
            let distance = home >> self.shift() & !(Self::TAG as u32);
            // SAFETY: T1: a home of 32 bits less the shift is within the array.
            unsafe { &*self.first().byte_add(distance as usize) }
        }
    }

    pub(super) fn buckets(self) -> usize {
        self.mask() + 1
    }

    /// Returns how many entries the array takes before a larger one is due: five of six slots.
    pub(super) fn room(self) -> usize {
        room(self.log2())
    }

    #[inline]
    fn first(self) -> *mut Bucket {
        self.0.as_ptr().map_addr(|addr| addr & !Self::TAG)
    }

    /// Returns the bucket at `index`, which is taken modulo the number of buckets.
    ///
    /// # Safety
    ///
    /// T1: the array outlives `'a`.
    #[inline]
    pub(super) unsafe fn bucket<'a>(self, index: usize) -> &'a Bucket {
        // SAFETY: T1, and the index is within the array. Buckets are only ever changed through
        // atomics.
        unsafe {
            self.header().canary.look();
            &*self.first().add(index & self.mask())
        }
    }

    /// Prefetches the bucket where the way of a home begins. A hint, and no access.
    #[inline]
    pub(super) fn prefetch(self, home: u32) {
        let distance = home >> self.shift() & !(Self::TAG as u32);
        prefetch(self.first().wrapping_byte_add(distance as usize));
    }

    /// # Safety
    ///
    /// T1: the array outlives `'a`.
    #[inline]
    unsafe fn header<'a>(self) -> &'a Header {
        // SAFETY: T1; the header is one unit in front of the buckets.
        unsafe { &*self.first().cast::<Header>().sub(1) }
    }

    /// Returns the array to which entries of this one move.
    ///
    /// # Safety
    ///
    /// T1: this array is alive. The result is protected by the same pin or lock (T3).
    pub(super) unsafe fn next(self) -> Option<Self> {
        // ORDERING: Acquire; pairs with Release in `Array::set_next`: the new array's contents.
        // SAFETY: T1.
        unsafe { Self::from_tagged(self.header().next.load(Ordering::Acquire)) }
    }

    /// # Safety
    ///
    /// T1: this array is alive.
    pub(super) unsafe fn set_next(self, next: Self) {
        // ORDERING: Release; pairs with Acquire in `Array::next`.
        // SAFETY: T1.
        unsafe { self.header().next.store(next.tagged(), Ordering::Release) };
    }

    /// Replaces `free` in models: a thread that looks at the array from now on fails, soundly,
    /// because the memory stays.
    ///
    /// # Safety
    ///
    /// The same as for `free`.
    #[cfg(tidewheel_loom)]
    pub(super) unsafe fn spoil(self) {
        // SAFETY: T4, by contract.
        unsafe { self.header().canary.kill() };
    }

    /// Gives the memory back. The nodes stay.
    ///
    /// # Safety
    ///
    /// T4: no thread uses this array any more, nor will.
    pub(super) unsafe fn free(self) {
        // SAFETY: T4; the header's layout is that of the block, which begins with it. Atomics need
        // no drop.
        unsafe {
            let layout = self.header().layout;
            drop(Block::reclaim(NonNull::new_unchecked(self.first()).sub(1).cast(), layout));
        }
    }
}

/// Returns the room of an array of 2^`log2` buckets.
pub(super) fn room(log2: u32) -> usize {
    ((super::bucket::SLOTS << log2) * 5).div_ceil(6)
}

/// The pages about which `is_first` was asked: a bit for each. A page is 4 KiB here; a larger page
/// of the system counts as several.
pub(super) struct Pages(Vec<u64>);

impl Pages {
    /// The number of buckets in a page, or in the part of a page that is common to all systems.
    const BUCKETS: usize = 4096 / size_of::<Bucket>();
    const WORD: usize = u64::BITS as usize;

    /// Creates the set for an array of this many buckets.
    pub(super) fn of(buckets: usize) -> Self {
        Self(vec![0; buckets.div_ceil(Self::BUCKETS * Self::WORD)])
    }

    /// Returns whether this bucket's page has not been asked about before.
    #[inline]
    pub(super) fn is_first(&mut self, bucket: usize) -> bool {
        let page = bucket / Self::BUCKETS;
        let bit = 1 << (page % Self::WORD);
        match self.0.get_mut(page / Self::WORD) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                true
            }
            _ => false,
        }
    }
}

/// Returns the size of the smallest array with this much room, as a power of two.
pub(super) fn log2_for(entries: usize) -> u32 {
    (0..Array::MOST_LOG2).find(|&log2| room(log2) >= entries).unwrap_or(Array::MOST_LOG2)
}
