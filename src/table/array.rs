//! An array of buckets: one allocation, named by one word.
//!
//! The word is the address of the first bucket, which is aligned to 64 bytes, with the logarithm of the
//! number of buckets in the six bits that this leaves free: a reader gets from the root to its bucket
//! with one load. In front of the buckets lies a header: the array that takes this one's place. Knows
//! nothing of what is in the buckets.

use super::bucket::Bucket;
use crate::sync::atomic::{AtomicPtr, Ordering};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// The header, of one bucket's size and alignment.
#[repr(C, align(64))]
struct Header {
    /// The array that entries move to; null while none do. A tagged address.
    next: AtomicPtr<Bucket>,
    /// What the allocator handed out, for giving it back.
    block: *mut u8,
}

/// A tagged address of buckets. Copying it copies no ownership; see the invariants in `table`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Array(NonNull<Bucket>);

impl Array {
    const TAG: usize = align_of::<Bucket>() - 1;
    const UNIT: usize = size_of::<Bucket>();

    /// An array of 2^`log2` empty buckets.
    ///
    /// Large ones come from the operating system as zero pages that are filled in as they are touched,
    /// so the time does not grow with the size. (A request for 64-byte alignment would take that away:
    /// the allocator then clears the memory itself. Hence the alignment by hand.)
    pub(super) fn allocate(log2: u32) -> Self {
        const { assert!(size_of::<Header>() == Self::UNIT && align_of::<Header>() == Self::UNIT) };
        let layout = Self::layout(log2);
        // SAFETY: the size is not zero, whatever the array (T1 begins here).
        let block = unsafe { alloc_zeroed(layout) };
        if block.is_null() {
            handle_alloc_error(layout);
        }
        let header: *mut Header = block.map_addr(|addr| addr.next_multiple_of(Self::UNIT)).cast();
        // SAFETY: T1. `header` is aligned and lies in the block, which has room for the alignment, the
        // header and the buckets; nobody else knows the block yet.
        let buckets = unsafe {
            header.write(Header { next: AtomicPtr::new(std::ptr::null_mut()), block });
            let buckets: *mut Bucket = header.add(1).cast();
            #[cfg(tidewheel_loom)]
            for index in 0..1usize << log2 {
                buckets.add(index).write(Bucket::new());
            }
            buckets
        };
        let tagged = buckets.map_addr(|addr| addr | log2 as usize);
        // It is an address behind a header, so it is not null.
        Self(NonNull::new(tagged).expect("an array is never at address zero"))
    }

    /// The array with this tagged address.
    ///
    /// # Safety
    ///
    /// T1: `tagged` is null or comes from `tagged()` of an array that lives as long as the result is used.
    #[inline]
    pub(super) unsafe fn from_tagged(tagged: *mut Bucket) -> Option<Self> {
        NonNull::new(tagged).map(Self)
    }

    pub(super) fn tagged(self) -> *mut Bucket {
        self.0.as_ptr()
    }

    #[inline]
    pub(super) fn mask(self) -> usize {
        (1 << self.log2()) - 1
    }

    #[inline]
    pub(super) fn log2(self) -> u32 {
        (self.0.addr().get() & Self::TAG) as u32
    }

    pub(super) fn buckets(self) -> usize {
        self.mask() + 1
    }

    /// How many entries it takes before a larger one is due: five of six slots.
    pub(super) fn room(self) -> usize {
        room(self.log2())
    }

    #[inline]
    fn first(self) -> *mut Bucket {
        self.0.as_ptr().map_addr(|addr| addr & !Self::TAG)
    }

    /// The bucket at `index`, which is taken modulo the number of buckets.
    ///
    /// # Safety
    ///
    /// T1: the array outlives `'a`.
    #[inline]
    pub(super) unsafe fn bucket<'a>(self, index: usize) -> &'a Bucket {
        // SAFETY: T1, and the index is within the array. Buckets are only ever changed through atomics.
        unsafe { &*self.first().add(index & self.mask()) }
    }

    /// # Safety
    ///
    /// T1: the array outlives `'a`.
    #[inline]
    unsafe fn header<'a>(self) -> &'a Header {
        // SAFETY: T1; the header lies one unit in front of the buckets.
        unsafe { &*self.first().cast::<Header>().sub(1) }
    }

    /// The array that entries of this one move to.
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

    /// Gives the memory back. Nodes stay.
    ///
    /// # Safety
    ///
    /// T4: nobody uses this array any more, nor will.
    pub(super) unsafe fn free(self) {
        // SAFETY: T4; `block` and the layout are those of `allocate`. Atomics need no drop.
        unsafe {
            let block = self.header().block;
            dealloc(block, Self::layout(self.log2()));
        }
    }

    fn layout(log2: u32) -> Layout {
        // Alignment slack, header, buckets.
        let size = (1usize << log2).checked_add(2).and_then(|units| units.checked_mul(Self::UNIT));
        size.and_then(|size| Layout::from_size_align(size, 16).ok())
            .expect("more buckets than memory has addresses")
    }
}

/// The room of an array of 2^`log2` buckets.
pub(super) fn room(log2: u32) -> usize {
    ((super::bucket::SLOTS << log2) * 5).div_ceil(6)
}
