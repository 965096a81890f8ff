//! Memory for chunks of rows and nodes and for arrays of buckets: blocks whose pages come as they are touched,
//! and go in part.
//!
//! Large blocks come from the system itself where that is Linux: they are zeros without being touched, and what
//! is given back is given back (an allocator may clear old memory, which takes its time, and may keep what it
//! is given). Small ones, and all of them elsewhere, come from the global allocator. Knows nothing of what is
//! kept there.

use crate::rows::{CHUNKS, Kept, Link, Memory, Metadata, Queued, Row, RowId, chunk_size};
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::Range;
use std::ptr::NonNull;

/// The alignment of every block: a cache line.
const ALIGN: usize = 64;

/// A block of memory of one owner.
#[derive(Debug)]
pub(super) struct Block {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: T8: it is memory, and whoever has it has it alone.
unsafe impl Send for Block {}

impl Block {
    /// Memory for so many values of `T`, of zeros.
    pub(super) fn zeroed<T>(count: usize) -> Self {
        Self::obtain::<T>(count, true)
    }

    /// Memory for so many values of `T`, of whatever. (Zeros under loom, whose models have readers that look too early.)
    pub(super) fn new<T>(count: usize) -> Self {
        Self::obtain::<T>(count, cfg!(tidewheel_loom))
    }

    fn obtain<T>(count: usize, zeroed: bool) -> Self {
        let layout = Layout::array::<T>(count).and_then(|layout| layout.align_to(ALIGN));
        match layout {
            Ok(layout) if layout.size() > 0 => Self { start: system::obtain(layout, zeroed), layout },
            // What is kept here has a size, and what does not fit the address space is not asked for.
            _ => panic!("a block of {count} is too large"),
        }
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// The block is somebody else's business, who calls `reclaim`.
    pub(super) fn leave(self) -> (NonNull<u8>, Layout) {
        let block = std::mem::ManuallyDrop::new(self);
        (block.start, block.layout)
    }

    /// A block that was left.
    ///
    /// # Safety
    ///
    /// T8: once for each block.
    pub(super) unsafe fn reclaim(start: NonNull<u8>, layout: Layout) -> Self {
        Self { start, layout }
    }

    /// Gives back the pages that lie in `bytes` of this block. They read as before or as zeros.
    ///
    /// # Safety
    ///
    /// T8: nobody needs what is there.
    pub(super) unsafe fn discard(&mut self, bytes: Range<usize>) {
        debug_assert!(bytes.end <= self.layout.size());
        if system::is_mapped(self.layout) {
            // SAFETY: T8: within this block, by contract needed by nobody.
            unsafe { system::give_back(self.start.as_ptr().add(bytes.start), bytes.len()) };
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: T8: obtained with this layout, used by nobody.
        unsafe { system::release(self.start, self.layout) };
    }
}

/// From the global allocator.
fn allocate(layout: Layout, zeroed: bool) -> NonNull<u8> {
    // SAFETY: T8 begins here: the size is not zero.
    match NonNull::new(unsafe { if zeroed { alloc_zeroed(layout) } else { alloc(layout) } }) {
        Some(start) => start,
        None => handle_alloc_error(layout),
    }
}

#[cfg(all(target_os = "linux", not(any(miri, tidewheel_loom))))]
mod system {
    use super::{Layout, NonNull, allocate, dealloc, handle_alloc_error};
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

    /// Blocks from this size on are mapped.
    const LARGE: usize = 64 * 1024;

    pub(super) fn is_mapped(layout: Layout) -> bool {
        layout.size() >= LARGE && layout.align() <= 4096
    }

    pub(super) fn obtain(layout: Layout, zeroed: bool) -> NonNull<u8> {
        if !is_mapped(layout) {
            return allocate(layout, zeroed);
        }
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: T8 begins here: a new mapping, at no particular place.
        let mapped =
            unsafe { mmap_anonymous(std::ptr::null_mut(), layout.size(), access, MapFlags::PRIVATE) };
        match mapped.ok().and_then(|start| NonNull::new(start.cast::<u8>())) {
            Some(start) => start,
            None => handle_alloc_error(layout),
        }
    }

    /// # Safety
    ///
    /// T8: it was obtained with this layout, and nobody uses it.
    pub(super) unsafe fn release(start: NonNull<u8>, layout: Layout) {
        if is_mapped(layout) {
            // SAFETY: T8, by contract. It fails for no mapping that is there.
            let _ = unsafe { munmap(start.as_ptr().cast(), layout.size()) };
        } else {
            // SAFETY: T8, by contract.
            unsafe { dealloc(start.as_ptr(), layout) };
        }
    }

    /// Gives whole pages back.
    ///
    /// # Safety
    ///
    /// T8: it is within a mapped block, and nobody needs what is there.
    pub(super) unsafe fn give_back(start: *mut u8, size: usize) {
        let page = rustix::param::page_size();
        let first = start.addr().next_multiple_of(page);
        let end = (start.addr() + size) / page * page;
        if first < end {
            // SAFETY: T8: whole pages of it. If the kernel refuses, they stay.
            let _ = unsafe { madvise(start.map_addr(|_| first).cast(), end - first, Advice::LinuxDontNeed) };
        }
    }
}

#[cfg(not(all(target_os = "linux", not(any(miri, tidewheel_loom)))))]
mod system {
    use super::{Layout, NonNull, allocate, dealloc};

    pub(super) fn is_mapped(_: Layout) -> bool {
        false
    }

    pub(super) fn obtain(layout: Layout, zeroed: bool) -> NonNull<u8> {
        allocate(layout, zeroed)
    }

    /// # Safety
    ///
    /// T8: it was obtained with this layout, and nobody uses it.
    pub(super) unsafe fn release(start: NonNull<u8>, layout: Layout) {
        // SAFETY: T8, by contract.
        unsafe { dealloc(start.as_ptr(), layout) };
    }

    /// # Safety
    ///
    /// Never called: nothing is mapped.
    pub(super) unsafe fn give_back(_: *mut u8, _: usize) {}
}

/// Asks the processor to bring near what is at an address. A hint, and no access.
#[inline]
pub(super) fn prefetch<T>(at: *const T) {
    #[cfg(all(target_arch = "x86_64", not(any(miri, tidewheel_loom))))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: T8: an address in a block; and it would do no harm whatever it was.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast::<i8>()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(any(miri, tidewheel_loom)))))]
    let _ = at;
}

/// What is a value whatever bytes it is made of.
///
/// # Safety
///
/// T8: every pattern of bytes is a value, and there is nothing to drop.
pub(super) unsafe trait Plain {}

// SAFETY: T8: numbers throughout.
unsafe impl Plain for Metadata {}
// SAFETY: T8: as above.
unsafe impl Plain for Queued {}

impl Kept for Metadata {
    type Memory = Chunks<Self>;
}

impl Kept for Queued {
    type Memory = Chunks<Self>;
}

impl Row for Metadata {
    #[inline]
    fn link(&self) -> &Link {
        &self.wheel
    }

    #[inline]
    fn link_mut(&mut self) -> &mut Link {
        &mut self.wheel
    }

    #[inline]
    fn label(&self) -> u16 {
        self.label
    }

    #[inline]
    fn set_label(&mut self, label: u16) {
        self.label = label;
    }
}

/// Keeps the block of a chunk, whatever chunks there were before.
pub(super) fn keep(blocks: &mut Vec<Option<Block>>, chunk: usize, block: Block) {
    if blocks.len() <= chunk {
        // There are few of them, and an empty cache has none.
        blocks.reserve_exact(chunk + 1 - blocks.len());
        blocks.resize_with(chunk + 1, || None);
    }
    blocks[chunk] = Some(block);
}

/// Chunks of rows.
pub(crate) struct Chunks<T> {
    /// The first row of each chunk, and how many there are: none where there is no chunk.
    chunks: [(NonNull<T>, usize); NAMES],
    /// The chunks' memory, of as many as there have been.
    blocks: Vec<Option<Block>>,
}

// SAFETY: T8: it owns its blocks, and what is in them are numbers.
unsafe impl<T: Plain + Send> Send for Chunks<T> {}

/// As many chunks as a number can name, so that no look-up needs a check.
const NAMES: usize = 32;

impl<T> Chunks<T> {
    /// The address of a row.
    #[inline]
    fn place(&self, row: RowId) -> NonNull<T> {
        let (first, count) = self.chunks[row.chunk() % NAMES];
        assert!(row.offset() < count, "there is no such row");
        // SAFETY: T8: within the block.
        unsafe { first.add(row.offset()) }
    }
}

impl<T: Plain> Memory<T> for Chunks<T> {
    fn new() -> Self {
        const { assert!(CHUNKS <= NAMES) };
        Self { chunks: [(NonNull::dangling(), 0); NAMES], blocks: Vec::new() }
    }

    #[inline]
    fn has_chunk(&self, chunk: usize) -> bool {
        self.chunks[chunk % NAMES].1 > 0
    }

    #[cold]
    fn add_chunk(&mut self, chunk: usize) {
        let block = Block::zeroed::<T>(chunk_size(chunk));
        self.chunks[chunk] = (block.start().cast(), chunk_size(chunk));
        keep(&mut self.blocks, chunk, block);
    }

    fn discard(&mut self, chunk: usize, rows: Range<usize>) {
        if rows.len() == chunk_size(chunk) {
            self.chunks[chunk] = (NonNull::dangling(), 0);
            self.blocks[chunk] = None;
        } else if let Some(Some(block)) = self.blocks.get_mut(chunk) {
            let size = size_of::<T>();
            // SAFETY: T8: whatever is there then is a `T`.
            unsafe { block.discard(rows.start * size..rows.end * size) };
        }
    }

    #[inline]
    fn get(&self, row: RowId) -> &T {
        // SAFETY: T8: zeros or what was written; either is a `T`.
        unsafe { self.place(row).as_ref() }
    }

    #[inline]
    fn prefetch(&self, row: RowId) {
        let (first, _) = self.chunks[row.chunk() % NAMES];
        prefetch(first.as_ptr().wrapping_add(row.offset()));
    }

    #[inline]
    fn get_mut(&mut self, row: RowId) -> &mut T {
        // SAFETY: T8: as in `get`; `&mut self` is the only way in.
        unsafe { self.place(row).as_mut() }
    }
}
