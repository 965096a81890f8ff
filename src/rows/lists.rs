//! Lists that are linked through the rows they hold.
//!
//! A list is a ring through the links of its rows and one link of its own. So a row leaves its list
//! in O(1), whichever list that is, and lists allocate nothing for a row. This file does not know
//! what the lists mean.
//!
//! Invariants:
//!
//! 1. A link of a live row is loose, or is one stop of a ring: `prev.next == next.prev == self`.
//!    Every ring has exactly one stop that is not a row but the list itself. Both neighbours of
//!    that stop hold the list's number.
//! 2. A row is removed only after it has left every list.

use super::ids::RowId;
use super::link::{LIST, LOOSE, Link};
use super::slab::{Row, Rows};
use std::marker::PhantomData;

/// The largest number of lists in one chain.
const MAX_LISTS: usize = (LOOSE - LIST) as usize;

/// Which of a row's links a list runs through. Implemented by empty types, one for each kind of
/// list.
pub(crate) trait Chain<T> {
    fn link(row: &T) -> &Link;
    fn link_mut(row: &mut T) -> &mut Link;
}

/// The links of a chain, in the rows or beside them.
pub(crate) trait Linked<C> {
    fn link(&self, row: RowId) -> &Link;
    fn link_mut(&mut self, row: RowId) -> &mut Link;
    /// Returns the same as `link`, if the row may be in a list.
    fn live_link(&self, row: RowId) -> Option<&Link>;
}

impl<T: Row, C: Chain<T>> Linked<C> for Rows<T> {
    #[inline]
    fn link(&self, row: RowId) -> &Link {
        C::link(&self[row])
    }

    #[inline]
    fn link_mut(&mut self, row: RowId) -> &mut Link {
        C::link_mut(&mut self[row])
    }

    fn live_link(&self, row: RowId) -> Option<&Link> {
        self.get(row).map(C::link)
    }
}

/// Lists that run through the same link of the rows, so that a row is in at most one of them. They
/// are numbered from 0.
///
/// Every operation is O(1), as the absence of loops shows. Only [`check`](Self::check) walks.
pub(crate) struct Lists<C> {
    /// The stop of each ring that is not a row: `next` is the first row, `prev` the last.
    ends: Vec<Link>,
    chain: PhantomData<fn() -> C>,
}

impl<C> Lists<C> {
    /// Creates `count` empty lists.
    pub(crate) fn new(count: usize) -> Self {
        let mut lists = Self { ends: Vec::new(), chain: PhantomData };
        lists.grow(count);
        lists
    }

    /// Returns the number of lists.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.ends.len()
    }

    /// Increases the number of lists to `count`. The new ones are empty.
    #[cold]
    pub(crate) fn grow(&mut self, count: usize) {
        assert!(count <= MAX_LISTS, "too many lists for one chain");
        self.ends.reserve_exact(count.saturating_sub(self.ends.len()));
        let new = self.ends.len() as u32..count as u32;
        self.ends.extend(new.map(|list| Link { prev: LIST | list, next: LIST | list }));
    }

    pub(crate) fn is_empty(&self, list: usize) -> bool {
        self.ends[list].next & LIST != 0
    }

    /// Returns the first row of `list`.
    #[inline]
    pub(crate) fn front(&self, list: usize) -> Option<RowId> {
        let first = self.ends[list].next;
        (first & LIST == 0).then_some(RowId::from_index(first))
    }

    /// Returns the row after one that is in a list.
    #[inline]
    pub(crate) fn after(&self, rows: &impl Linked<C>, row: RowId) -> Option<RowId> {
        let next = rows.link(row).next;
        (next & LIST == 0).then_some(RowId::from_index(next))
    }

    /// Appends a row that is in no list of this chain to `list`.
    #[inline(always)]
    pub(crate) fn push_back(&mut self, rows: &mut impl Linked<C>, list: usize, row: RowId) {
        let end = &mut self.ends[list];
        let last = std::mem::replace(&mut end.prev, row.index());
        if last & LIST != 0 {
            end.next = row.index();
        } else {
            rows.link_mut(RowId::from_index(last)).next = row.index();
        }
        let link = rows.link_mut(row);
        assert!(!link.is_linked(), "row {} is in a list already", row.index());
        *link = Link { prev: last, next: LIST | list as u32 };
    }

    /// Removes the first row from `list`, and returns it.
    #[inline]
    pub(crate) fn pop_front(&mut self, rows: &mut impl Linked<C>, list: usize) -> Option<RowId> {
        let first = self.front(list)?;
        let link = rows.link_mut(first);
        let next = link.next;
        *link = Link::LOOSE;
        self.ends[list].next = next;
        self.stop(rows, next).prev = LIST | list as u32;
        Some(first)
    }

    /// Removes a row from its list, if it is in one. Returns the list that this made empty.
    #[inline]
    pub(crate) fn unlink(&mut self, rows: &mut impl Linked<C>, row: RowId) -> Option<usize> {
        let link = rows.link_mut(row);
        if !link.is_linked() {
            return None;
        }
        let link = std::mem::replace(link, Link::LOOSE);
        self.close(rows, link)
    }

    /// Closes the gap of a row that had this link and does not use it any more. Returns the list
    /// that this made empty.
    #[inline(always)]
    pub(crate) fn close(&mut self, rows: &mut impl Linked<C>, link: Link) -> Option<usize> {
        let Link { prev, next } = link;
        if prev & LIST == 0 {
            rows.link_mut(RowId::from_index(prev)).next = next;
        } else {
            let list = (prev & !LIST) as usize;
            let end = &mut self.ends[list];
            end.next = next;
            if next == prev {
                end.prev = prev;
                return Some(list);
            }
        }
        self.stop(rows, next).prev = prev;
        None
    }

    /// Prefetches the neighbours of a row.
    #[inline]
    pub(crate) fn prefetch<T: Row>(rows: &Rows<T>, row: RowId)
    where
        C: Chain<T>,
    {
        let &Link { prev, next } = C::link(&rows[row]);
        for stop in [prev, next] {
            if stop & LIST == 0 {
                rows.prefetch(RowId::from_index(stop));
            }
        }
    }

    /// Appends all rows of `from`, in their order, to `to`.
    pub(crate) fn append(&mut self, rows: &mut impl Linked<C>, from: usize, to: usize) {
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
    /// Panics where a link and its neighbour disagree, or where a visited row is not live.
    pub(crate) fn check(&self, rows: &impl Linked<C>, list: usize, mut visit: impl FnMut(RowId)) -> usize {
        let end = LIST | list as u32;
        let (mut before, mut at, mut count) = (end, self.ends[list].next, 0);
        while at & LIST == 0 {
            let link = rows
                .live_link(RowId::from_index(at))
                .unwrap_or_else(|| panic!("list {list} holds row {at}, which is not live"));
            // This also ends a list that runs in a circle: where it closes, two rows claim the same
            // successor.
            assert_eq!(
                link.prev, before,
                "list {list}, row {at}: what it thinks comes before it, and what does"
            );
            count += 1;
            visit(RowId::from_index(at));
            (before, at) = (at, link.next);
        }
        assert_eq!(at, end, "list {list} runs into another list");
        assert_eq!(self.ends[list].prev, before, "list {list}: what it thinks is its last row, and what is");
        count
    }

    #[inline]
    fn stop<'a>(&'a mut self, rows: &'a mut impl Linked<C>, stop: u32) -> &'a mut Link {
        if stop & LIST == 0 {
            rows.link_mut(RowId::from_index(stop))
        } else {
            &mut self.ends[(stop & !LIST) as usize]
        }
    }
}
