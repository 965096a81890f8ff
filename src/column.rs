//! A column: one value for each row, beside the rows, for what not every cache needs in them.
//!
//! Holds memory only for stretches of rows of which one was given another value than the usual one. Knows
//! a row as a number, and not whether it is live: whoever uses a number again, sets its value again.

use crate::rows::RowId;

/// Values in a chunk, as a power of two.
const CHUNK_BITS: u32 = if cfg!(tidewheel_loom) { 2 } else { 9 };
const CHUNK: usize = 1 << CHUNK_BITS;
/// Chunks in a group, as a power of two: so that a chunk by itself at a high number costs the pointers of its group, and
/// not of all chunks before it.
const GROUP_BITS: u32 = if cfg!(tidewheel_loom) { 1 } else { 6 };
const GROUP: usize = 1 << GROUP_BITS;

/// One value for each row.
pub(crate) struct Column<T> {
    /// A group is there where one of its chunks is.
    groups: Vec<Option<Box<Group<T>>>>,
    usual: T,
}

type Group<T> = [Option<Box<[T; CHUNK]>>; GROUP];

impl<T: Copy + PartialEq> Column<T> {
    /// A column that has `usual` for every row.
    pub(crate) const fn new(usual: T) -> Self {
        Self { groups: Vec::new(), usual }
    }

    #[inline]
    pub(crate) fn get(&self, row: RowId) -> T {
        *self.get_ref(row)
    }

    /// # Complexity
    ///
    /// O(1); growth copies no value, only the vector of group pointers: eight bytes for 32,768 rows.
    #[inline]
    pub(crate) fn set(&mut self, row: RowId, value: T) {
        if let Some(values) = self.chunk_mut(row) {
            values[offset(row)] = value;
        } else if value != self.usual {
            self.add_chunk(row)[offset(row)] = value;
        }
    }

    #[inline]
    pub(crate) fn get_ref(&self, row: RowId) -> &T {
        match self.groups.get(group(row)) {
            Some(Some(chunks)) => match &chunks[chunk(row) % GROUP] {
                Some(values) => &values[offset(row)],
                None => &self.usual,
            },
            _ => &self.usual,
        }
    }

    /// Where the row's value is, to be changed. Takes memory for its stretch.
    #[inline]
    pub(crate) fn get_mut(&mut self, row: RowId) -> &mut T {
        if self.chunk_mut(row).is_none() {
            self.add_chunk(row);
        }
        match self.chunk_mut(row) {
            Some(values) => &mut values[offset(row)],
            None => unreachable!("the chunk was just added"),
        }
    }

    /// Gives back the memory of rows that are vacant: `count` from `first` on.
    pub(crate) fn forget(&mut self, first: RowId, count: usize) {
        let from = first.dense().div_ceil(CHUNK);
        let end = (first.dense() + count) / CHUNK;
        let end = end.min(self.groups.len() * GROUP);
        let mut at = from;
        while at < end {
            // To the end of the group, or of what is forgotten.
            let next = (at / GROUP + 1).saturating_mul(GROUP).min(end);
            let group = &mut self.groups[at / GROUP];
            if let Some(chunks) = group {
                chunks[at % GROUP..][..next - at].fill_with(|| None);
                if chunks.iter().all(Option::is_none) {
                    *group = None;
                }
            }
            at = next;
        }
    }

    #[inline]
    fn chunk_mut(&mut self, row: RowId) -> Option<&mut [T; CHUNK]> {
        let chunks = self.groups.get_mut(group(row))?.as_mut()?;
        chunks[chunk(row) % GROUP].as_deref_mut()
    }

    #[cold]
    fn add_chunk(&mut self, row: RowId) -> &mut [T; CHUNK] {
        let index = group(row);
        if index >= self.groups.len() {
            self.groups.resize_with(index + 1, || None);
        }
        let usual = self.usual;
        let group = self.groups[index].get_or_insert_with(|| Box::new([const { None }; GROUP]));
        group[chunk(row) % GROUP].get_or_insert_with(|| Box::new([usual; CHUNK]))
    }
}

const fn group(row: RowId) -> usize {
    chunk(row) >> GROUP_BITS
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
        assert!(column.groups.is_empty());
        column.set(row(5000), 8);
        assert_eq!(chunks(&column), (1, 1));
        assert_eq!([4999, 5000, 5001, 0, 300_000].map(|at| column.get(row(at))), [7, 8, 7, 7, 7]);
        column.set(row(5000), 7);
        column.set(row(4999), 9);
        assert_eq!([4999, 5000].map(|at| column.get(row(at))), [9, 7]);
    }

    /// Groups and chunks that are there.
    fn chunks(column: &Column<u16>) -> (usize, usize) {
        let groups = column.groups.iter().flatten();
        (groups.clone().count(), groups.flat_map(|chunks| chunks.iter()).flatten().count())
    }

    #[test]
    fn what_is_forgotten_takes_no_memory_and_its_neighbours_stay() {
        // The row with this number without gaps; the last one tried is in the third group.
        let row = |number| {
            (0..27).find_map(|chunk| {
                let before = chunk_size(chunk) - chunk_size(0);
                (number < before + chunk_size(chunk)).then(|| RowId::at(chunk, number - before))
            })
        };
        let row = |number| row(number).unwrap();
        let mut column = Column::new(0u16);
        let marked = [100, 600, 32_767, 32_768, 33_300, 70_000];
        for at in marked {
            column.set(row(at), 1);
        }
        assert_eq!(chunks(&column), (3, 6));
        // All of the second chunk but one row: the chunk stays.
        column.forget(row(513), 511);
        assert_eq!((column.get(row(600)), chunks(&column)), (1, (3, 6)));
        column.forget(row(512), 512);
        assert_eq!((column.get(row(600)), column.get(row(100)), chunks(&column)), (0, 1, (3, 5)));
        // Over a border of groups, and then the rest of the second group.
        column.forget(row(32_256), 1_024);
        assert_eq!(marked.map(|at| column.get(row(at))), [1, 0, 0, 0, 1, 1]);
        assert_eq!(chunks(&column), (3, 3));
        column.forget(row(33_280), 4_096);
        assert_eq!(chunks(&column), (2, 2));
        column.forget(row(0), 1 << 20);
        assert_eq!(chunks(&column), (0, 0));
        assert!(marked.iter().all(|&at| column.get(row(at)) == 0));
        *column.get_mut(row(70_000)) = 3;
        assert_eq!((column.get(row(70_000)), chunks(&column)), (3, (1, 1)));
    }
}
