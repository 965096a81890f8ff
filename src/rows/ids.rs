//! The number of a row: its chunk, and its place in the chunk.

/// Rows in the first chunk, as a power of two.
const FIRST_BITS: u32 = if cfg!(tidewheel_loom) { 1 } else { 6 };
/// The bits of a number that are the place in the chunk.
const OFFSET_BITS: u32 = 26;
/// The largest number of chunks. The last one has as many rows as a place has values.
pub(crate) const CHUNKS: usize = (OFFSET_BITS - FIRST_BITS + 1) as usize;

/// The number of a row. It is small, and reused after the row is vacant. The highest bit is free.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct RowId(pub(super) u32);

impl RowId {
    pub(crate) const fn from_index(index: u32) -> Self {
        Self(index)
    }

    /// Returns the number itself, which orders chunks and places, with gaps.
    pub(crate) const fn index(self) -> u32 {
        self.0
    }

    pub(crate) const FIRST: Self = Self(0);

    /// Returns the number of a place in a chunk.
    pub(crate) const fn at(chunk: usize, offset: usize) -> Self {
        Self::new(chunk, offset)
    }

    /// Returns the number after this one. There may be no such row.
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    #[inline]
    pub(super) const fn new(chunk: usize, offset: usize) -> Self {
        Self((chunk as u32) << OFFSET_BITS | offset as u32)
    }

    #[inline]
    pub(crate) const fn chunk(self) -> usize {
        (self.0 >> OFFSET_BITS) as usize
    }

    /// Returns the place in the chunk.
    #[inline]
    pub(crate) const fn offset(self) -> usize {
        self.0 as usize & ((1 << OFFSET_BITS) - 1)
    }

    /// Returns how many numbers come before this one, gaps not counted.
    #[inline]
    pub(crate) const fn dense(self) -> usize {
        chunk_size(self.chunk()) - chunk_size(0) + self.offset()
    }
}

/// Returns the number of rows in a chunk.
#[inline]
pub(crate) const fn chunk_size(chunk: usize) -> usize {
    1 << (FIRST_BITS as usize + chunk)
}
