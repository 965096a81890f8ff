//! The slab and its lists against std's collections.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

/// A row with two links, as the row of an entry has.
struct Pair {
    first: Link,
    second: Link,
    live: bool,
    value: u32,
}

impl Pair {
    fn of(value: u32) -> Self {
        Self { first: Link::LOOSE, second: Link::LOOSE, live: false, value }
    }
}

impl Default for Pair {
    fn default() -> Self {
        Self::of(0)
    }
}

impl Kept for Pair {
    type Memory = Vec<Box<[Self]>>;
}

impl Row for Pair {
    fn is_live(&self) -> bool {
        self.live
    }

    fn set_live(&mut self, live: bool) {
        self.live = live;
    }

    fn label(&self) -> u16 {
        0
    }

    fn set_label(&mut self, _: u16) {}
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

#[test]
fn growth_moves_no_row() {
    let mut rows = Rows::new();
    let first = rows.insert(Pair::of(7)).ok().unwrap();
    let home: *const Pair = &rows[first];
    for value in 0..10_000 {
        rows.insert(Pair::of(value)).ok().unwrap();
    }
    assert!(std::ptr::eq(home, &rows[first]));
    assert_eq!(rows[first].value, 7);
    rows.check();
}

#[test]
fn numbers_have_no_gaps_but_those_between_chunks() {
    let mut rows = Rows::new();
    for count in 0..20_000 {
        let row = rows.insert(Pair::of(0)).ok().unwrap();
        assert_eq!(row.dense(), count);
        assert!(row.offset() < chunk_size(row.chunk()) && row.index() >> 31 == 0);
    }
    let last = RowId::new(CHUNKS - 1, chunk_size(CHUNKS - 1) - 1);
    assert!(last.index() >> 31 == 0);
    assert_eq!(last.dense(), (1 << 27) - 65);
    assert_eq!((last.chunk(), last.offset()), (CHUNKS - 1, chunk_size(CHUNKS - 1) - 1));
}

#[test]
fn a_number_is_taken_again_soon() {
    let mut rows = Rows::new();
    let ids: Vec<_> = (0..9000).map(|value| rows.insert(Pair::of(value)).ok().unwrap()).collect();
    for &at in &[8000, 70, 4500] {
        rows.remove(ids[at]);
        rows.check();
    }
    let again: Vec<_> = (0..3).map(|_| rows.insert(Pair::of(0)).ok().unwrap()).collect();
    assert_eq!(again, [ids[4500], ids[70], ids[8000]]);
}

/// Rows that are removed and added again repeatedly do not stay in high chunks.
#[test]
fn high_chunks_empty() {
    let mut rows = Rows::new();
    let mut ids: Vec<_> = (0..100_000).map(|value| rows.insert(Pair::of(value)).ok().unwrap()).collect();
    for id in ids.drain(..99_900) {
        rows.remove(id);
    }
    for _ in 0..10 {
        for id in &mut ids {
            let new = rows.insert(Pair::of(0)).ok().unwrap();
            rows.remove(*id);
            *id = new;
        }
        rows.check();
    }
    assert!(ids.iter().all(|id| id.dense() < 1000), "{ids:?}");
}

#[test]
fn what_is_vacant_is_given_back_and_can_be_taken_again() {
    let mut rows = Rows::new();
    let ids: Vec<_> = (0..100_000).map(|value| rows.insert(Pair::of(value)).ok().unwrap()).collect();
    let stays = |at: usize| at < 10 || at == 50_000 || at >= 99_990;
    for (at, &id) in ids.iter().enumerate() {
        if !stays(at) {
            rows.remove(id);
        }
    }
    assert!(rows.is_sparse());
    let mut given = 0;
    let mut calls = 0;
    while rows.trim(1000, |chunk, range| {
        assert!(range.end <= chunk_size(chunk));
        given += range.len();
    }) {
        calls += 1;
        rows.check();
    }
    assert!(given > 99_000 && calls >= 24, "{given} in {calls} calls");
    assert!(!rows.is_sparse());
    rows.check();
    for (at, &id) in ids.iter().enumerate() {
        assert_eq!(rows.get(id).map(|row| row.value), stays(at).then_some(at as u32));
    }
    // There is nothing more to give back.
    while rows.trim(1000, |_, _| panic!("given back twice")) {}
    for value in 0..100_000 {
        rows.insert(Pair::of(value)).ok().unwrap();
    }
    rows.check();
    for (at, &id) in ids.iter().enumerate().filter(|&(at, _)| stays(at)) {
        assert_eq!(rows[id].value, at as u32);
    }
}

#[test]
#[should_panic(expected = "removed twice")]
fn a_second_removal_is_noticed() {
    let mut rows = Rows::new();
    let row = rows.insert(Pair::of(1)).ok().unwrap();
    rows.remove(row);
    rows.remove(row);
}

#[test]
#[should_panic(expected = "in a list already")]
fn a_row_cannot_be_in_two_lists_of_a_chain() {
    let mut rows = Rows::new();
    let mut lists = Lists::<First>::new(2);
    let row = rows.insert(Pair::of(1)).ok().unwrap();
    lists.push_back(&mut rows, 0, row);
    lists.push_back(&mut rows, 1, row);
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
    Trim(usize),
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
        1 => (0..200usize).prop_map(Op::Trim),
    ]
}

/// One chain, and what it should hold.
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
            let after = |row: &RowId| self.lists.after(rows, *row);
            assert!(std::iter::successors(self.lists.front(list), after).eq(model.iter().copied()));
        }
    }
}

proptest! {
    #[test]
    fn slab_and_lists_agree_with_std(ops in prop::collection::vec(op(), 1..200)) {
        let mut rows = Rows::new();
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
                    assert_eq!(Some(rows[row].value), live.remove(&row.index()));
                    rows.remove(row);
                    assert!(!rows.contains(row));
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
                Op::Trim(most) => {
                    rows.trim(most, |_, _| {});
                }
            }
            rows.check();
            first.check(&rows);
            second.check(&rows);
            assert_eq!(rows.len(), live.len());
            let found: BTreeMap<u32, u32> = rows.ids().map(|id| (id.index(), rows[id].value)).collect();
            assert_eq!(&found, &live);
        }
    }
}
