//! Rows by their numbers, in chunks of memory. This file does not know where the memory comes from.

use super::ids::RowId;
#[cfg(any(test, fuzzing))]
use super::ids::chunk_size;
use super::link::Link;
use super::numbers::Numbers;
use std::fmt;
use std::ops::{Index, IndexMut, Range};

/// Data that is stored by the numbers of rows.
pub(crate) trait Kept: Sized {
    type Memory: Memory<Self>;
}

/// A row.
pub(crate) trait Row: Kept {
    /// Returns whether the row is live. A row of zeros is not.
    fn is_live(&self) -> bool;
    fn set_live(&mut self, live: bool);

    /// Returns the label, which says which list the link is in, as far as a few bits can. The owner
    /// of the list uses it.
    fn label(&self) -> u16;
    fn set_label(&mut self, label: u16);
}

/// Chunks of rows. A row that was not written yet is zeros. A discarded row is as it was, or zeros.
pub(crate) trait Memory<T> {
    fn new() -> Self;
    fn has_chunk(&self, chunk: usize) -> bool;
    /// Adds memory for a whole chunk. On Linux the time does not depend on the size.
    fn add_chunk(&mut self, chunk: usize);
    /// Gives back the memory of vacant rows: the whole chunk if these are all of it.
    fn discard(&mut self, chunk: usize, rows: Range<usize>);
    /// # Panics
    ///
    /// Panics if there is no such chunk.
    fn get(&self, row: RowId) -> &T;
    /// # Panics
    ///
    /// Panics if there is no such chunk.
    fn get_mut(&mut self, row: RowId) -> &mut T;
    /// Prefetches a row. A hint, and no access.
    fn prefetch(&self, _: RowId) {}
}

/// A writer's bookkeeping of an entry: what readers do not need, so that it does not burden them.
/// All fields are numbers, so that any bytes are a valid value.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Metadata {
    /// The home, which gives the home bucket in a table of any size.
    pub(crate) home: u32,
    pub(crate) wheel: Link,
    /// When the entry was created, as the ledger packs it: in halves, so that a row takes 24 bytes.
    pub(crate) born: [u32; 2],
    pub(crate) label: u16,
    /// Whether a warning was given that the entry is about to expire: 1 if so, 0 if not. The ledger
    /// keeps of which deadline.
    pub(crate) warned: u8,
    /// Whether the row is live: 1 if so, 0 if not.
    pub(crate) live: u8,
}

/// A row's place in the policy's queues. It is beside the rows, since not every cache has a policy.
/// All fields are numbers, too.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Queued {
    pub(crate) link: Link,
    /// When the row entered its queue, as the policy packs it.
    pub(crate) since: u32,
}

/// A slab of rows.
pub(crate) struct Rows<T: Row> {
    memory: T::Memory,
    numbers: Numbers,
    live: usize,
}

impl<T: Row> Rows<T> {
    pub(crate) fn new() -> Self {
        Self { memory: T::Memory::new(), numbers: Numbers::new(), live: 0 }
    }

    /// Adds `row` to the slab. Returns it if there is no number left for it (2^27 - 64 are in use).
    #[inline]
    pub(crate) fn insert(&mut self, mut row: T) -> Result<RowId, T> {
        let Some(id) = self.take() else { return Err(row) };
        row.set_live(true);
        *self.memory.get_mut(id) = row;
        self.live += 1;
        Ok(id)
    }

    #[inline]
    fn take(&mut self) -> Option<RowId> {
        self.numbers.take().or_else(|| self.gather())
    }

    #[cold]
    fn gather(&mut self) -> Option<RowId> {
        // All of them belong to one chunk.
        let first = *self.numbers.gather().first()?;
        if !self.memory.has_chunk(first.chunk()) {
            self.memory.add_chunk(first.chunk());
        }
        self.numbers.take()
    }

    /// Removes a row whose entry is gone. The row must have left every list. Its number is vacant.
    #[inline]
    pub(crate) fn remove(&mut self, id: RowId) {
        let row = self.memory.get_mut(id);
        assert!(row.is_live(), "row {} was removed twice", id.0);
        row.set_live(false);
        self.live -= 1;
        self.numbers.give(id);
    }

    /// Returns the number that the next row will probably have.
    #[inline]
    pub(crate) fn next_new(&self) -> Option<RowId> {
        self.numbers.next()
    }

    /// Prefetches a row that will be used soon.
    #[inline]
    pub(crate) fn prefetch(&self, id: RowId) {
        self.memory.prefetch(id);
    }

    /// Returns the row, if it is live.
    pub(crate) fn get(&self, id: RowId) -> Option<&T> {
        (self.numbers.is_taken(id) && self.memory.get(id).is_live()).then(|| self.memory.get(id))
    }

    pub(crate) fn contains(&self, id: RowId) -> bool {
        self.get(id).is_some()
    }

    /// Returns the number of live rows.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// Returns the lowest row from `from` on that is live, or vacant and on the free list.
    pub(crate) fn next_taken(&self, from: RowId) -> Option<RowId> {
        self.numbers.next_taken(from)
    }

    /// Returns all live rows, in the order of their numbers.
    pub(crate) fn ids(&self) -> impl Iterator<Item = RowId> {
        let next = |id: &RowId| self.next_taken(id.next());
        std::iter::successors(self.next_taken(RowId::FIRST), next).filter(|&id| self.contains(id))
    }

    /// Returns whether `trim` would give much memory back.
    pub(crate) fn is_sparse(&self) -> bool {
        self.numbers.is_sparse()
    }

    /// Gives memory back: whole chunks, or vacant stretches of them, at most `most` rows at a time.
    /// Calls `also` for each stretch; a stretch that is all of a chunk means that the chunk itself
    /// is gone. Returns false if there is no more to give back.
    pub(crate) fn trim(&mut self, most: usize, mut also: impl FnMut(usize, Range<usize>)) -> bool {
        let memory = &mut self.memory;
        self.numbers.trim(most, |chunk, rows| {
            memory.discard(chunk, rows.clone());
            also(chunk, rows);
        })
    }

    /// Recounts the rows.
    ///
    /// # Panics
    ///
    /// Panics where numbers and rows disagree.
    pub(crate) fn check(&self) {
        self.numbers.check();
        assert_eq!(self.ids().count(), self.live, "live rows found, live rows counted");
    }
}

impl<T: Row> Index<RowId> for Rows<T> {
    type Output = T;

    #[inline]
    fn index(&self, id: RowId) -> &T {
        let row = self.memory.get(id);
        debug_assert!(row.is_live(), "row {} is not live", id.0);
        row
    }
}

impl<T: Row> IndexMut<RowId> for Rows<T> {
    #[inline]
    fn index_mut(&mut self, id: RowId) -> &mut T {
        let row = self.memory.get_mut(id);
        debug_assert!(row.is_live(), "row {} is not live", id.0);
        row
    }
}

impl<T: Row> fmt::Debug for Rows<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("live", &self.live).finish_non_exhaustive()
    }
}

/// Chunks on the heap, for tests.
#[cfg(any(test, fuzzing))]
impl<T: Default> Memory<T> for Vec<Box<[T]>> {
    fn new() -> Self {
        Self::new()
    }

    fn has_chunk(&self, chunk: usize) -> bool {
        <[_]>::get(self, chunk).is_some_and(|chunk| !chunk.is_empty())
    }

    fn add_chunk(&mut self, chunk: usize) {
        if chunk >= self.len() {
            self.resize_with(chunk + 1, || Box::new([]));
        }
        self[chunk] = (0..chunk_size(chunk)).map(|_| T::default()).collect();
    }

    fn discard(&mut self, chunk: usize, rows: Range<usize>) {
        if rows.len() == chunk_size(chunk) {
            self[chunk] = Box::new([]);
        } else {
            self[chunk][rows].fill_with(T::default);
        }
    }

    fn get(&self, row: RowId) -> &T {
        &self[row.chunk()][row.offset()]
    }

    fn get_mut(&mut self, row: RowId) -> &mut T {
        &mut self[row.chunk()][row.offset()]
    }
}
