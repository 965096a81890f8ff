//! Memory for chunks of rows, nodes and words, and for arrays of buckets: blocks that begin as zeros
//! if the caller asks for that, and that can be given back in part.
//!
//! On Linux, large blocks come from the system directly. They read as zeros without being cleared,
//! their pages are allocated when they are first touched, and what is given back goes to the system.
//! (An allocator may clear old memory, which takes time, and may keep what is freed.)
//!
//! Small blocks, and all blocks elsewhere, come from the global allocator. On other Unixes, std's
//! `alloc_zeroed` clears blocks of this alignment by hand. So there the time that a block of zeros
//! takes, under the shard's lock, depends on its size, and its pages are allocated at once.
//!
//! This file knows nothing of the contents.

use crate::rows::{CHUNKS, Kept, Memory, Metadata, Queued, Row, RowId, chunk_size};
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::Range;
use std::ptr::NonNull;

/// The alignment of every block: a cache line.
const ALIGN: usize = 64;

/// A block of memory with one owner.
#[derive(Debug)]
pub(super) struct Block {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: T8: a block is memory with one owner.
unsafe impl Send for Block {}

impl Block {
    /// Allocates memory for `count` values of `T`, filled with zeros.
    pub(super) fn zeroed<T>(count: usize) -> Self {
        Self::obtain::<T>(count, true)
    }

    /// Allocates uninitialized memory for `count` values of `T`. (It is zeros under loom, whose
    /// models have readers that look too early.)
    pub(super) fn new<T>(count: usize) -> Self {
        Self::obtain::<T>(count, cfg!(tidewheel_loom))
    }

    fn obtain<T>(count: usize, zeroed: bool) -> Self {
        match layout_of::<T>(count) {
            Some(layout) => Self { start: system::obtain(layout, zeroed), layout },
            // The values have a size, and a block that exceeds the address space is not requested.
            None => panic!("a block of {count} is too large"),
        }
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Leaves the block to a caller that will call `reclaim`.
    pub(super) fn leave(self) -> (NonNull<u8>, Layout) {
        let block = std::mem::ManuallyDrop::new(self);
        (block.start, block.layout)
    }

    /// Takes back a block that was left.
    ///
    /// # Safety
    ///
    /// T8: called once for each block.
    pub(super) unsafe fn reclaim(start: NonNull<u8>, layout: Layout) -> Self {
        Self { start, layout }
    }

    /// Gives back the pages within `bytes` of this block. They then read as before or as zeros.
    ///
    /// # Safety
    ///
    /// T8: nothing needs the contents.
    pub(super) unsafe fn discard(&mut self, bytes: Range<usize>) {
        debug_assert!(bytes.end <= self.layout.size());
        if system::is_mapped(self.layout) {
            // SAFETY: T8: within this block; by contract nothing needs it.
            unsafe { system::give_back(self.start.as_ptr().add(bytes.start), bytes.len()) };
        }
    }
}

/// Returns the layout of a block of `count` values of `T`, if there can be such a block.
pub(super) fn layout_of<T>(count: usize) -> Option<Layout> {
    let layout = Layout::array::<T>(count).and_then(|layout| layout.align_to(ALIGN)).ok()?;
    (layout.size() > 0).then_some(layout)
}

/// Gives back the pages within a part of a block of `count` values. They then read as before or as
/// zeros. Other threads may use them meanwhile.
///
/// # Safety
///
/// T8: the values are atomic numbers, and nothing needs what they are.
pub(super) unsafe fn discard_shared<T>(part: &[T], count: usize) {
    if layout_of::<T>(count).is_some_and(system::is_mapped) {
        // SAFETY: T8, by contract. To other threads it is a store of zeros, or nothing.
        unsafe { system::give_back(part.as_ptr().cast_mut().cast(), size_of_val(part)) };
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: T8: obtained with this layout, and not used any more.
        unsafe { system::release(self.start, self.layout) };
    }
}

/// Allocates from the global allocator.
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

    /// Blocks of at least this size are mapped.
    const LARGE: usize = 64 * 1024;

    pub(super) fn is_mapped(layout: Layout) -> bool {
        layout.size() >= LARGE && layout.align() <= 4096
    }

    pub(super) fn obtain(layout: Layout, zeroed: bool) -> NonNull<u8> {
        if !is_mapped(layout) {
            return allocate(layout, zeroed);
        }
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: T8 begins here: a new mapping, at any address.
        let mapped =
            unsafe { mmap_anonymous(std::ptr::null_mut(), layout.size(), access, MapFlags::PRIVATE) };
        match mapped.ok().and_then(|start| NonNull::new(start.cast::<u8>())) {
            Some(start) => start,
            None => handle_alloc_error(layout),
        }
    }

    /// # Safety
    ///
    /// T8: the block was obtained with this layout, and is not used any more.
    pub(super) unsafe fn release(start: NonNull<u8>, layout: Layout) {
        if is_mapped(layout) {
            // SAFETY: T8, by contract. The call fails for no existing mapping.
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
    /// T8: the range is within a mapped block, and nothing needs the contents.
    pub(super) unsafe fn give_back(start: *mut u8, size: usize) {
        let page = rustix::param::page_size();
        let first = start.addr().next_multiple_of(page);
        let end = (start.addr() + size) / page * page;
        if first < end {
            // SAFETY: T8: whole pages of the block. If the kernel refuses, they stay.
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
    /// T8: the block was obtained with this layout, and is not used any more.
    pub(super) unsafe fn release(start: NonNull<u8>, layout: Layout) {
        // SAFETY: T8, by contract.
        unsafe { dealloc(start.as_ptr(), layout) };
    }

    /// # Safety
    ///
    /// Never called: nothing is mapped.
    pub(super) unsafe fn give_back(_: *mut u8, _: usize) {}
}

/// Prefetches what is at an address. A hint, and no access.
#[inline]
pub(super) fn prefetch<T>(at: *const T) {
    #[cfg(all(target_arch = "x86_64", not(any(miri, tidewheel_loom))))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: T8: an address in a block. A prefetch of any address would be harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast::<i8>()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(any(miri, tidewheel_loom)))))]
    let _ = at;
}

/// A type of which any bytes are a value.
///
/// # Safety
///
/// T8: every pattern of bytes is a value, and there is nothing to drop.
pub(super) unsafe trait Plain {}

// SAFETY: T8: all fields are numbers.
unsafe impl Plain for Metadata {}
// SAFETY: T8: all fields are numbers.
unsafe impl Plain for Queued {}

impl Kept for Metadata {
    type Memory = Chunks<Self>;
}

impl Kept for Queued {
    type Memory = Chunks<Self>;
}

impl Row for Metadata {
    #[inline]
    fn is_live(&self) -> bool {
        self.live != 0
    }

    #[inline]
    fn set_live(&mut self, live: bool) {
        self.live = u8::from(live);
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

/// Stores the block of a chunk, whatever chunks existed before.
pub(super) fn keep(blocks: &mut Vec<Option<Block>>, chunk: usize, block: Block) {
    if blocks.len() <= chunk {
        // There are few chunks, and an empty cache has none.
        blocks.reserve_exact(chunk + 1 - blocks.len());
        blocks.resize_with(chunk + 1, || None);
    }
    blocks[chunk] = Some(block);
}

/// Where the rows of a chunk are. It takes a row's number and one comparison to get from here to
/// the row's address.
#[derive(Clone, Copy)]
struct Chunk<T> {
    /// The address that the row of number 0 would have, if it belonged to this chunk.
    zeroth: *mut T,
    /// The number after that of the chunk's last row; 0 if there is no chunk.
    end: u32,
}

impl<T> Chunk<T> {
    const NONE: Self = Self { zeroth: std::ptr::null_mut(), end: 0 };
}

/// Chunks of rows.
pub(crate) struct Chunks<T> {
    chunks: [Chunk<T>; NAMES],
    /// The memory of the chunks. The list is as long as the highest chunk so far.
    blocks: Vec<Option<Block>>,
}

// SAFETY: T8: it owns its blocks, whose contents are numbers.
unsafe impl<T: Plain + Send> Send for Chunks<T> {}

/// As many chunks as a number can name, so that a lookup needs no check.
const NAMES: usize = 32;

impl<T> Chunks<T> {
    /// Returns the address of a row.
    #[inline]
    fn place(&self, row: RowId) -> *mut T {
        let Chunk { zeroth, end } = self.chunks[row.chunk() % NAMES];
        // A number of this chunk is not below its first row's.
        assert!(row.index() < end, "there is no such row");
        zeroth.wrapping_add(row.index() as usize)
    }
}

impl<T: Plain> Memory<T> for Chunks<T> {
    fn new() -> Self {
        const { assert!(CHUNKS <= NAMES) };
        Self { chunks: [const { Chunk::NONE }; NAMES], blocks: Vec::new() }
    }

    #[inline]
    fn has_chunk(&self, chunk: usize) -> bool {
        self.chunks[chunk % NAMES].end > 0
    }

    #[cold]
    fn add_chunk(&mut self, chunk: usize) {
        let block = Block::zeroed::<T>(chunk_size(chunk));
        let first = RowId::at(chunk, 0).index();
        let zeroth = block.start().cast::<T>().as_ptr().wrapping_sub(first as usize);
        self.chunks[chunk] = Chunk { zeroth, end: first + chunk_size(chunk) as u32 };
        keep(&mut self.blocks, chunk, block);
    }

    fn discard(&mut self, chunk: usize, rows: Range<usize>) {
        if rows.len() == chunk_size(chunk) {
            self.chunks[chunk] = Chunk::NONE;
            self.blocks[chunk] = None;
        } else if let Some(Some(block)) = self.blocks.get_mut(chunk) {
            let size = size_of::<T>();
            // SAFETY: T8: any contents afterwards are a `T`.
            unsafe { block.discard(rows.start * size..rows.end * size) };
        }
    }

    #[inline]
    fn get(&self, row: RowId) -> &T {
        // SAFETY: T8: within the block; zeros or what was written. Either is a `T`.
        unsafe { &*self.place(row) }
    }

    #[inline]
    fn prefetch(&self, row: RowId) {
        prefetch(self.chunks[row.chunk() % NAMES].zeroth.wrapping_add(row.index() as usize));
    }

    #[inline]
    fn get_mut(&mut self, row: RowId) -> &mut T {
        // SAFETY: T8: as in `get`; `&mut self` is the only access.
        unsafe { &mut *self.place(row) }
    }
}
