//! A column: one value for each row, beside the rows, for data that not every cache needs.
//!
//! It allocates memory only for stretches of rows in which some row was given a value other than
//! the usual one. It knows a row as a number, and does not know whether the row is live: a caller
//! that reuses a number sets its value again.

use crate::rows::RowId;

/// Values in a chunk, as a power of two.
const CHUNK_BITS: u32 = if cfg!(tidewheel_loom) { 2 } else { 9 };
const CHUNK: usize = 1 << CHUNK_BITS;

/// One value for each row.
pub(crate) struct Column<T> {
    chunks: Vec<Option<Box<[T; CHUNK]>>>,
    usual: T,
}

impl<T: Copy + PartialEq> Column<T> {
    /// Creates a column that has `usual` for every row.
    pub(crate) const fn new(usual: T) -> Self {
        Self { chunks: Vec::new(), usual }
    }

    #[inline]
    pub(crate) fn get(&self, row: RowId) -> T {
        if self.chunks.is_empty() {
            return self.usual;
        }
        *self.get_ref(row)
    }

    /// # Complexity
    ///
    /// O(1), amortized; growth copies no value, only the vector of chunk pointers, by an eighth of
    /// it at a time.
    #[inline]
    pub(crate) fn set(&mut self, row: RowId, value: T) {
        if self.chunks.is_empty() && value == self.usual {
            return;
        }
        match self.chunks.get_mut(chunk(row)) {
            Some(Some(values)) => values[offset(row)] = value,
            _ if value == self.usual => {}
            _ => self.add_chunk(row)[offset(row)] = value,
        }
    }

    #[inline]
    pub(crate) fn get_ref(&self, row: RowId) -> &T {
        match self.chunks.get(chunk(row)) {
            Some(Some(values)) => &values[offset(row)],
            _ => &self.usual,
        }
    }

    /// Gives back the memory of `count` vacant rows from `first` on.
    pub(crate) fn forget(&mut self, first: RowId, count: usize) {
        let from = first.dense().div_ceil(CHUNK);
        let end = (first.dense() + count) / CHUNK;
        let end = end.min(self.chunks.len());
        if from < end {
            self.chunks[from..end].fill_with(|| None);
        }
    }

    #[cold]
    fn add_chunk(&mut self, row: RowId) -> &mut [T; CHUNK] {
        let index = chunk(row);
        let length = self.chunks.len();
        if index >= length {
            if index >= self.chunks.capacity() {
                // It grows by an eighth at a time: the unused part stays when the cache has shrunk,
                // because rows do not move.
                self.chunks.reserve_exact((index + 1 - length).max(length / 8));
            }
            self.chunks.resize_with(index + 1, || None);
        }
        let usual = self.usual;
        self.chunks[index].get_or_insert_with(|| Box::new([usual; CHUNK]))
    }
}

const fn chunk(row: RowId) -> usize {
    row.dense() >> CHUNK_BITS
}

const fn offset(row: RowId) -> usize {
    row.dense() & (CHUNK - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::chunk_size;

    #[test]
    fn what_was_not_set_is_usual_and_takes_no_memory() {
        let row = |number| (0..number).fold(RowId::FIRST, |row, _| row.next());
        let mut column = Column::new(7u16);
        column.set(row(100_000), 7);
        assert!(column.chunks.is_empty());
        column.set(row(5000), 8);
        assert_eq!(column.chunks.iter().flatten().count(), 1);
        assert_eq!([4999, 5000, 5001, 0, 300_000].map(|at| column.get(row(at))), [7, 8, 7, 7, 7]);
        column.set(row(5000), 7);
        column.set(row(0), 7);
        assert_eq!(column.chunks.iter().flatten().count(), 1);
        column.set(row(4999), 9);
        assert_eq!([4999, 5000].map(|at| column.get(row(at))), [9, 7]);
    }

    #[test]
    fn what_is_forgotten_takes_no_memory_and_its_neighbours_stay() {
        let row = |number| {
            (0..number).fold(RowId::FIRST, |row: RowId, _| match row.next() {
                next if next.offset() == chunk_size(row.chunk()) => RowId::at(row.chunk() + 1, 0),
                next => next,
            })
        };
        let mut column = Column::new(0u16);
        let marked = [100, 600, 1023, 1024, 2000];
        for at in marked {
            column.set(row(at), 1);
        }
        let chunks = |column: &Column<u16>| column.chunks.iter().flatten().count();
        assert_eq!(chunks(&column), 4);
        // These rows are all but one of the second chunk: the chunk stays.
        column.forget(row(513), 511);
        assert_eq!((column.get(row(600)), chunks(&column)), (1, 4));
        column.forget(row(512), 512);
        assert_eq!(marked.map(|at| column.get(row(at))), [1, 0, 0, 1, 1]);
        assert_eq!(chunks(&column), 3);
        column.forget(row(0), 1 << 20);
        assert_eq!((marked.map(|at| column.get(row(at))), chunks(&column)), ([0; 5], 0));
        column.set(row(2000), 3);
        assert_eq!((column.get(row(2000)), column.get(row(1999)), chunks(&column)), (3, 0, 1));
    }
}
