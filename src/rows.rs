//! Rows: a slab addressed by small numbers, and lists that are linked through its rows.
//!
//! A row is a writer's book-keeping of one entry. It lives in a chunk that never moves, so growth
//! copies no row: only the vector of chunk pointers grows. A list is a ring through the links of its
//! rows and one link of its own, so a row leaves its list in O(1), whoever holds it, and nothing is
//! allocated for it. What a row holds besides its links, and what the lists mean, is not known here.
//!
//! Invariants:
//!
//! 1. Every row is live or vacant. The vacant rows below [`Rows::slots`] form one chain from `free`;
//!    every row above is vacant too. A vacancy is told from the row's own link, so it costs no memory.
//! 2. A link is loose, or vacant, or one stop of a ring: `prev.next == next.prev == self`. Every ring
//!    has exactly one stop that is no row but the list itself, whose number both neighbours hold.
//! 3. A row is removed from the slab only after it has left every list.

use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// Rows in a chunk, as a power of two. (512 rows of 12 bytes: 6 KiB, which an empty shard can afford.)
const CHUNK_BITS: u32 = if cfg!(tidewheel_loom) { 2 } else { 9 };
const CHUNK: usize = 1 << CHUNK_BITS;

/// In a link: this is a list, and the other bits are its number. Without it: a row.
const LIST: u32 = 1 << 31;
/// In `Link::prev`: in no list.
const LOOSE: u32 = u32::MAX;
/// In `Link::prev`: the row is vacant, and `next` is the next vacant one.
const VACANT: u32 = u32::MAX - 1;
/// The end of the chain of vacant rows.
const NIL: u32 = u32::MAX;

/// So many rows fit at most: the indices that the flag leaves free.
const MAX_ROWS: u32 = LIST;
/// So many lists fit at most in one chain.
const MAX_LISTS: usize = (VACANT - LIST) as usize;

/// The number of a row. Small, dense, and used again after the row is gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct RowId(u32);

impl RowId {
    pub(crate) const fn from_index(index: u32) -> Self {
        Self(index)
    }

    pub(crate) const fn index(self) -> u32 {
        self.0
    }

    const fn chunk(self) -> usize {
        (self.0 >> CHUNK_BITS) as usize
    }

    const fn offset(self) -> usize {
        self.0 as usize & (CHUNK - 1)
    }
}

/// What a row must offer so that the slab needs no memory of its own to know the vacant ones.
pub(crate) trait Row {
    /// A row that holds nothing but this link, and that [`link`](Self::link) finds it in.
    fn vacant(link: Link) -> Self;

    /// One of the row's links, always the same.
    fn link(&self) -> &Link;
}

/// A slab of rows.
pub(crate) struct Rows<T> {
    chunks: Vec<Box<[T; CHUNK]>>,
    /// The first vacant row below `slots`, or `NIL`.
    free: u32,
    slots: u32,
    len: u32,
}

impl<T: Row> Rows<T> {
    /// A slab whose vector of chunk pointers has room for `rows` rows at once. The chunks themselves
    /// come one by one, as they are needed.
    pub(crate) fn with_capacity(rows: usize) -> Self {
        let rows = rows.min(MAX_ROWS as usize);
        Self { chunks: Vec::with_capacity(rows.div_ceil(CHUNK)), free: NIL, slots: 0, len: 0 }
    }

    /// Puts `row` into the slab; gives it back if there is no number left for it (2^31 are in use).
    pub(crate) fn insert(&mut self, row: T) -> Result<RowId, T> {
        debug_assert!(!row.link().is_vacant(), "a live row must not look vacant");
        let id = RowId(if self.free == NIL { self.slots } else { self.free });
        if self.free != NIL {
            self.free = self.place(id).link().next;
        } else if self.slots == MAX_ROWS {
            return Err(row);
        } else {
            if id.chunk() == self.chunks.len() {
                self.chunks.push(vacant_chunk());
            }
            self.slots += 1;
        }
        *self.place_mut(id) = row;
        self.len += 1;
        Ok(id)
    }

    /// Takes a row out of the slab. It must have left every list.
    pub(crate) fn remove(&mut self, id: RowId) -> T {
        let vacant = T::vacant(Link { prev: VACANT, next: self.free });
        let place = self.place_mut(id);
        assert!(!place.link().is_vacant(), "row {} was removed twice", id.0);
        debug_assert!(!place.link().is_linked(), "row {} was removed while in a list", id.0);
        let row = std::mem::replace(place, vacant);
        self.free = id.0;
        self.len -= 1;
        row
    }

    /// The row, unless it is vacant.
    pub(crate) fn get(&self, id: RowId) -> Option<&T> {
        let row = &self.chunks.get(id.chunk())?[id.offset()];
        (!row.link().is_vacant()).then_some(row)
    }

    pub(crate) fn contains(&self, id: RowId) -> bool {
        self.get(id).is_some()
    }

    /// The number of live rows.
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// Every live row's index is below this: to visit all, try each.
    pub(crate) fn slots(&self) -> u32 {
        self.slots
    }

    /// Recounts the rows.
    ///
    /// # Panics
    ///
    /// Panics where the chain of vacant rows and the rows themselves disagree.
    pub(crate) fn check(&self) {
        let all = self.chunks.len() * CHUNK;
        assert!(self.slots as usize <= all, "{} rows counted, {all} allocated", self.slots);
        let live = (0..self.slots).filter(|&index| self.contains(RowId(index))).count();
        assert_eq!(live, self.len(), "live rows found, live rows counted");
        let mut vacant = self.slots as usize - live;
        let mut free = self.free;
        while free != NIL {
            assert!(free < self.slots && !self.contains(RowId(free)), "row {free} is chained as vacant");
            assert!(vacant > 0, "the chain of vacant rows is longer than their number");
            vacant -= 1;
            free = self.place(RowId(free)).link().next;
        }
        assert_eq!(vacant, 0, "vacant rows that the chain does not reach");
    }

    fn place(&self, id: RowId) -> &T {
        &self.chunks[id.chunk()][id.offset()]
    }

    fn place_mut(&mut self, id: RowId) -> &mut T {
        &mut self.chunks[id.chunk()][id.offset()]
    }
}

/// Made on the heap: a whole chunk does not belong on the stack.
fn vacant_chunk<T: Row>() -> Box<[T; CHUNK]> {
    let rows: Vec<T> = (0..CHUNK).map(|_| T::vacant(Link { prev: VACANT, next: NIL })).collect();
    match rows.try_into() {
        Ok(chunk) => chunk,
        Err(_) => unreachable!("a chunk is made of {CHUNK} rows"),
    }
}

impl<T: Row> Index<RowId> for Rows<T> {
    type Output = T;

    #[inline]
    fn index(&self, id: RowId) -> &T {
        let row = self.place(id);
        debug_assert!(!row.link().is_vacant(), "row {} is vacant", id.0);
        row
    }
}

impl<T: Row> IndexMut<RowId> for Rows<T> {
    #[inline]
    fn index_mut(&mut self, id: RowId) -> &mut T {
        let row = self.place_mut(id);
        debug_assert!(!row.link().is_vacant(), "row {} is vacant", id.0);
        row
    }
}

/// A row's place in one list: who comes before it and who after.
///
/// A row carries one link for each kind of list that it can be in. It starts as [`Link::LOOSE`] and
/// is never copied: a second stop of the same ring would break it.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Link {
    prev: u32,
    next: u32,
}

impl Link {
    /// In no list.
    pub(crate) const LOOSE: Self = Self { prev: LOOSE, next: LOOSE };

    /// Whether this is a stop of some list.
    #[inline]
    pub(crate) const fn is_linked(&self) -> bool {
        self.prev < VACANT
    }

    const fn is_vacant(&self) -> bool {
        self.prev == VACANT
    }
}

/// Which of a row's links a list runs through. Implemented by empty types, one for each kind of list.
pub(crate) trait Chain<T> {
    fn link(row: &T) -> &Link;
    fn link_mut(row: &mut T) -> &mut Link;
}

/// A fixed number of lists that run through the same link of the rows, so that a row is in one of them
/// at most. Numbered from 0.
///
/// Every operation is O(1) and says so by having no loop; [`check`](Self::check) alone walks.
pub(crate) struct Lists<C> {
    /// The stop of each ring that is no row: `next` is the first row, `prev` the last.
    ends: Box<[Link]>,
    chain: PhantomData<fn() -> C>,
}

impl<C> Lists<C> {
    /// So many empty lists.
    pub(crate) fn new(count: usize) -> Self {
        assert!(count <= MAX_LISTS, "too many lists for one chain");
        let ends = (0..count as u32).map(|list| Link { prev: LIST | list, next: LIST | list }).collect();
        Self { ends, chain: PhantomData }
    }

    pub(crate) fn is_empty(&self, list: usize) -> bool {
        self.ends[list].next & LIST != 0
    }

    /// Puts a row that is in no list of this chain behind the last row of `list`.
    pub(crate) fn push_back<T: Row>(&mut self, rows: &mut Rows<T>, list: usize, row: RowId)
    where
        C: Chain<T>,
    {
        let end = LIST | list as u32;
        let last = self.ends[list].prev;
        let link = C::link_mut(&mut rows[row]);
        assert!(!link.is_linked(), "row {} is in a list already", row.0);
        *link = Link { prev: last, next: end };
        self.stop(rows, last).next = row.0;
        self.ends[list].prev = row.0;
    }

    /// Takes the first row out of `list`.
    pub(crate) fn pop_front<T: Row>(&mut self, rows: &mut Rows<T>, list: usize) -> Option<RowId>
    where
        C: Chain<T>,
    {
        let first = self.ends[list].next;
        if first & LIST != 0 {
            return None;
        }
        self.unlink(rows, RowId(first));
        Some(RowId(first))
    }

    /// Takes a row out of the list that it is in, if any. Returns the list that this made empty.
    pub(crate) fn unlink<T: Row>(&mut self, rows: &mut Rows<T>, row: RowId) -> Option<usize>
    where
        C: Chain<T>,
    {
        let link = C::link_mut(&mut rows[row]);
        if !link.is_linked() {
            return None;
        }
        let Link { prev, next } = std::mem::replace(link, Link::LOOSE);
        self.stop(rows, prev).next = next;
        self.stop(rows, next).prev = prev;
        // Only the stop that is no row can be on both sides of the row.
        (prev == next && prev & LIST != 0).then_some((prev & !LIST) as usize)
    }

    /// Moves all rows of `from`, in their order, behind the last row of `to`.
    pub(crate) fn append<T: Row>(&mut self, rows: &mut Rows<T>, from: usize, to: usize)
    where
        C: Chain<T>,
    {
        debug_assert_ne!(from, to, "a list cannot be appended to itself");
        if self.is_empty(from) {
            return;
        }
        let (own, end) = (LIST | from as u32, LIST | to as u32);
        let Link { prev: last, next: first } =
            std::mem::replace(&mut self.ends[from], Link { prev: own, next: own });
        let before = std::mem::replace(&mut self.ends[to].prev, last);
        self.stop(rows, before).next = first;
        self.stop(rows, first).prev = before;
        self.stop(rows, last).next = end;
    }

    /// Walks `list`, front to back, and returns its length.
    ///
    /// # Panics
    ///
    /// Panics where a link and its neighbour disagree, or where a vacant row is met.
    pub(crate) fn check<T: Row>(&self, rows: &Rows<T>, list: usize, mut visit: impl FnMut(RowId)) -> usize
    where
        C: Chain<T>,
    {
        let end = LIST | list as u32;
        let (mut before, mut at, mut count) = (end, self.ends[list].next, 0);
        while at & LIST == 0 {
            let row = rows.get(RowId(at)).unwrap_or_else(|| panic!("list {list} holds vacant row {at}"));
            let link = C::link(row);
            assert_eq!(
                link.prev, before,
                "list {list}, row {at}: what it thinks comes before it, and what does"
            );
            count += 1;
            assert!(count <= rows.len(), "list {list} goes round and round");
            visit(RowId(at));
            (before, at) = (at, link.next);
        }
        assert_eq!(at, end, "list {list} runs into another list");
        assert_eq!(self.ends[list].prev, before, "list {list}: what it thinks is its last row, and what is");
        count
    }

    #[inline]
    fn stop<'a, T: Row>(&'a mut self, rows: &'a mut Rows<T>, stop: u32) -> &'a mut Link
    where
        C: Chain<T>,
    {
        if stop & LIST == 0 {
            C::link_mut(&mut rows[RowId(stop)])
        } else {
            &mut self.ends[(stop & !LIST) as usize]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, VecDeque};

    /// A row with two links, as an entry's will have.
    struct Pair {
        first: Link,
        second: Link,
        value: u32,
    }

    impl Pair {
        fn of(value: u32) -> Self {
            Self { first: Link::LOOSE, second: Link::LOOSE, value }
        }
    }

    impl Row for Pair {
        fn vacant(link: Link) -> Self {
            Self { first: link, second: Link::LOOSE, value: 0 }
        }

        fn link(&self) -> &Link {
            &self.first
        }
    }

    struct First;
    struct Second;

    impl Chain<Pair> for First {
        fn link(row: &Pair) -> &Link {
            &row.first
        }

        fn link_mut(row: &mut Pair) -> &mut Link {
            &mut row.first
        }
    }

    impl Chain<Pair> for Second {
        fn link(row: &Pair) -> &Link {
            &row.second
        }

        fn link_mut(row: &mut Pair) -> &mut Link {
            &mut row.second
        }
    }

    struct Small {
        link: Link,
        hash: u32,
    }

    impl Row for Small {
        fn vacant(link: Link) -> Self {
            Self { link, hash: 0 }
        }

        fn link(&self) -> &Link {
            &self.link
        }
    }

    #[test]
    fn a_vacancy_costs_no_memory() {
        assert_eq!(size_of::<Link>(), 8);
        assert_eq!(size_of::<Small>(), 12);
        // What the slab allocates is chunks of rows and nothing else.
        assert_eq!(size_of_val(&*vacant_chunk::<Small>()), 12 * CHUNK);
        assert_eq!(vacant_chunk::<Small>()[0].hash, 0);
    }

    #[test]
    fn growth_moves_no_row() {
        let mut rows = Rows::with_capacity(0);
        let first = rows.insert(Pair::of(7)).ok().unwrap();
        let home: *const Pair = &rows[first];
        for value in 0..20 * CHUNK as u32 {
            rows.insert(Pair::of(value)).ok().unwrap();
        }
        assert!(std::ptr::eq(home, &rows[first]));
        assert_eq!(rows[first].value, 7);
        assert_eq!(rows.slots() as usize, 20 * CHUNK + 1);
        rows.check();
    }

    #[test]
    fn a_full_slab_gives_the_row_back() {
        let mut rows = Rows::with_capacity(1);
        let only = rows.insert(Pair::of(1)).ok().unwrap();
        // As if 2^31 rows had been inserted, of which one was removed.
        rows.slots = MAX_ROWS;
        rows.remove(only);
        let again = rows.insert(Pair::of(2)).ok().unwrap();
        assert_eq!(again, only);
        let refused = rows.insert(Pair::of(3)).err().map(|row| row.value);
        assert_eq!(refused, Some(3));
        assert_eq!(rows.len(), 1);
    }

    #[test]
    #[should_panic(expected = "removed twice")]
    fn a_second_removal_is_noticed() {
        let mut rows = Rows::with_capacity(4);
        let row = rows.insert(Pair::of(1)).ok().unwrap();
        rows.remove(row);
        rows.remove(row);
    }

    #[test]
    #[should_panic(expected = "in a list already")]
    fn a_row_cannot_be_in_two_lists_of_a_chain() {
        let mut rows = Rows::with_capacity(4);
        let mut lists = Lists::<First>::new(2);
        let row = rows.insert(Pair::of(1)).ok().unwrap();
        lists.push_back(&mut rows, 0, row);
        lists.push_back(&mut rows, 1, row);
    }

    #[test]
    fn links_leave_room_for_every_row_and_list() {
        // The greatest row number, the greatest list number and the marks are all told apart.
        let greatest_list = LIST | (MAX_LISTS - 1) as u32;
        assert!(!(Link { prev: MAX_ROWS - 1, next: 0 }).is_vacant());
        const { assert!((MAX_ROWS - 1) & LIST == 0) };
        assert!(Link { prev: greatest_list, next: 0 }.is_linked());
        assert!(!Link { prev: greatest_list, next: 0 }.is_vacant());
        assert!(!Link::LOOSE.is_linked() && !Link::LOOSE.is_vacant());
    }

    const LISTS: usize = 3;

    #[derive(Clone, Debug)]
    enum Op {
        Insert,
        Remove(usize),
        Push(usize, usize, bool),
        Unlink(usize, bool),
        Pop(usize, bool),
        Append(usize, usize, bool),
    }

    fn op() -> impl Strategy<Value = Op> {
        let (pick, list) = (any::<usize>(), 0..LISTS);
        prop_oneof![
            3 => Just(Op::Insert),
            1 => pick.prop_map(Op::Remove),
            4 => (pick, list.clone(), any::<bool>()).prop_map(|(row, list, which)| Op::Push(row, list, which)),
            2 => (pick, any::<bool>()).prop_map(|(row, which)| Op::Unlink(row, which)),
            1 => (list.clone(), any::<bool>()).prop_map(|(list, which)| Op::Pop(list, which)),
            1 => (list.clone(), list, any::<bool>()).prop_map(|(from, to, which)| Op::Append(from, to, which)),
        ]
    }

    /// One chain and what it should hold.
    struct Side<C> {
        lists: Lists<C>,
        model: Vec<VecDeque<RowId>>,
    }

    impl<C: Chain<Pair>> Side<C> {
        fn new() -> Self {
            Self { lists: Lists::new(LISTS), model: vec![VecDeque::new(); LISTS] }
        }

        fn push(&mut self, rows: &mut Rows<Pair>, list: usize, row: RowId) {
            if !C::link(&rows[row]).is_linked() {
                self.lists.push_back(rows, list, row);
                self.model[list].push_back(row);
            }
        }

        fn unlink(&mut self, rows: &mut Rows<Pair>, row: RowId) {
            let list = self.model.iter().position(|list| list.contains(&row));
            assert_eq!(C::link(&rows[row]).is_linked(), list.is_some());
            let emptied = self.lists.unlink(rows, row);
            if let Some(list) = list {
                self.model[list].retain(|&other| other != row);
            }
            assert_eq!(emptied, list.filter(|&list| self.model[list].is_empty()));
        }

        fn pop(&mut self, rows: &mut Rows<Pair>, list: usize) {
            assert_eq!(self.lists.pop_front(rows, list), self.model[list].pop_front());
        }

        fn append(&mut self, rows: &mut Rows<Pair>, from: usize, to: usize) {
            if from != to {
                self.lists.append(rows, from, to);
                let moved = std::mem::take(&mut self.model[from]);
                self.model[to].extend(moved);
            }
        }

        fn check(&self, rows: &Rows<Pair>) {
            for (list, model) in self.model.iter().enumerate() {
                let mut found = VecDeque::new();
                let count = self.lists.check(rows, list, |row| found.push_back(row));
                assert_eq!((count, &found), (model.len(), model));
                assert_eq!(self.lists.is_empty(list), model.is_empty());
            }
        }
    }

    proptest! {
        #[test]
        fn slab_and_lists_agree_with_std(ops in prop::collection::vec(op(), 1..200)) {
            let mut rows = Rows::with_capacity(0);
            let mut live = BTreeMap::new();
            let (mut first, mut second) = (Side::<First>::new(), Side::<Second>::new());
            for (step, op) in ops.into_iter().enumerate() {
                let picked = |pick: usize| live.keys().nth(pick % live.len().max(1)).copied().map(RowId);
                match op {
                    Op::Insert => {
                        let row = rows.insert(Pair::of(step as u32)).ok().unwrap();
                        assert_eq!(live.insert(row.index(), step as u32), None);
                    }
                    Op::Remove(pick) => if let Some(row) = picked(pick) {
                        first.unlink(&mut rows, row);
                        second.unlink(&mut rows, row);
                        assert_eq!(Some(rows.remove(row).value), live.remove(&row.index()));
                    }
                    Op::Push(pick, list, which) => if let Some(row) = picked(pick) {
                        if which { first.push(&mut rows, list, row) } else { second.push(&mut rows, list, row) }
                    }
                    Op::Unlink(pick, which) => if let Some(row) = picked(pick) {
                        if which { first.unlink(&mut rows, row) } else { second.unlink(&mut rows, row) }
                    }
                    Op::Pop(list, which) => {
                        if which { first.pop(&mut rows, list) } else { second.pop(&mut rows, list) }
                    }
                    Op::Append(from, to, which) => {
                        if which { first.append(&mut rows, from, to) } else { second.append(&mut rows, from, to) }
                    }
                }
                rows.check();
                first.check(&rows);
                second.check(&rows);
                assert_eq!(rows.len(), live.len());
                let found: BTreeMap<u32, u32> = (0..rows.slots())
                    .filter_map(|index| Some((index, rows.get(RowId::from_index(index))?.value)))
                    .collect();
                assert_eq!(&found, &live);
            }
        }
    }
}
