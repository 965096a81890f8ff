//! Memory for chunks of rows and nodes: large blocks whose pages come as they are touched, and go in part.
//!
//! Knows nothing of what is kept there. Where the system has no way to give a part of a block back, blocks
//! are given back whole.

use crate::rows::{Booked, ChunkOf, Link, Row};
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;

/// A block of memory, of one owner.
pub(super) struct Block {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: T8: it is memory, and whoever has it has it alone.
unsafe impl Send for Block {}

impl Block {
    /// Memory for so many values of `T`, of which nothing is known.
    pub(super) fn uninit<T>(count: usize) -> Self {
        let layout = Self::layout::<T>(count);
        // SAFETY: T8 begins here: the size is not zero.
        Self::from_raw(unsafe { alloc(layout) }, layout)
    }

    /// Memory for so many values of `T`, all zeros. Large blocks are not touched for that.
    fn zeroed<T>(count: usize) -> Self {
        let layout = Self::layout::<T>(count);
        // SAFETY: T8 begins here: the size is not zero.
        Self::from_raw(unsafe { alloc_zeroed(layout) }, layout)
    }

    fn from_raw(start: *mut u8, layout: Layout) -> Self {
        match NonNull::new(start) {
            Some(start) => Self { start, layout },
            None => handle_alloc_error(layout),
        }
    }

    fn layout<T>(count: usize) -> Layout {
        match Layout::array::<T>(count) {
            Ok(layout) if layout.size() > 0 => layout,
            // A row and a node have a size, and a chunk that does not fit the address space is not asked for.
            _ => panic!("a chunk of {count} is too large"),
        }
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Gives back the pages that lie in `bytes` of this block. They read as before or as zeros.
    ///
    /// # Safety
    ///
    /// T8: nobody needs what is there.
    pub(super) unsafe fn discard(&mut self, bytes: Range<usize>) {
        debug_assert!(bytes.end <= self.layout.size());
        #[cfg(all(target_os = "linux", not(tidewheel_loom)))]
        {
            use rustix::mm::{Advice, madvise};
            let page = rustix::param::page_size();
            let start = self.start.addr().get();
            let first = (start + bytes.start).next_multiple_of(page);
            let end = (start + bytes.end) / page * page;
            if first < end {
                let pages = self.start.as_ptr().map_addr(|_| first).cast();
                // SAFETY: T8: whole pages of this block, whose content nobody needs. If the kernel refuses, they
                // stay.
                let _ = unsafe { madvise(pages, end - first, Advice::LinuxDontNeed) };
            }
        }
        #[cfg(not(all(target_os = "linux", not(tidewheel_loom))))]
        let _ = bytes;
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: T8: allocated with this layout, used by nobody.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// What is a value whatever bytes it is made of.
///
/// # Safety
///
/// T8: every pattern of bytes is a value, and there is nothing to drop.
pub(super) unsafe trait Plain {}

// SAFETY: T8: seven numbers.
unsafe impl Plain for Booked {}

impl Row for Booked {
    type Chunk = Chunk<Self>;

    #[inline]
    fn link(&self) -> &Link {
        &self.wheel
    }

    #[inline]
    fn link_mut(&mut self) -> &mut Link {
        &mut self.wheel
    }
}

/// A chunk of rows.
pub(crate) struct Chunk<T> {
    block: Block,
    count: usize,
    rows: PhantomData<T>,
}

impl<T: Plain> ChunkOf<T> for Chunk<T> {
    fn new(rows: usize) -> Self {
        Self { block: Block::zeroed::<T>(rows), count: rows, rows: PhantomData }
    }

    #[inline]
    fn get(&self, offset: usize) -> &T {
        assert!(offset < self.count, "beyond the chunk");
        // SAFETY: T8: within the block, which holds zeros or what was written; either is a `T`.
        unsafe { self.block.start.cast::<T>().add(offset).as_ref() }
    }

    #[inline]
    fn get_mut(&mut self, offset: usize) -> &mut T {
        assert!(offset < self.count, "beyond the chunk");
        // SAFETY: T8: as in `get`; `&mut self` is the only way in.
        unsafe { self.block.start.cast::<T>().add(offset).as_mut() }
    }

    fn discard(&mut self, rows: Range<usize>) {
        let size = size_of::<T>();
        // SAFETY: T8: whatever is there then is a `T`.
        unsafe { self.block.discard(rows.start * size..rows.end * size) };
    }
}
