//! The wheel and a sorted list, driven side by side, under a clock that is on time, late, or years late; with deadlines that move behind the wheel's
//! back.
//!
//! Knows neither who chooses the operations (a property test, a fuzzer) nor the cache: the rows are its own.

use super::Wheel;
use crate::rows::{Chain, Kept, Link, Row, RowId, Rows};
use crate::time::{SECOND, Span, Tick};
use std::collections::BTreeMap;

pub(super) struct Entry {
    pub(super) link: Link,
    pub(super) live: bool,
    pub(super) label: u16,
    /// The deadline, which the cache keeps in a node. The wheel never reads it.
    pub(super) deadline: Tick,
    /// The level on which the row was filed, unless its deadline was moved since.
    pub(super) level: Option<usize>,
}

impl Default for Entry {
    fn default() -> Self {
        Self { link: Link::LOOSE, live: false, label: 0, deadline: Tick::NEVER, level: None }
    }
}

impl Kept for Entry {
    type Memory = Vec<Box<[Self]>>;
}

impl Row for Entry {
    fn is_live(&self) -> bool {
        self.live
    }

    fn set_live(&mut self, live: bool) {
        self.live = live;
    }

    fn label(&self) -> u16 {
        self.label
    }

    fn set_label(&mut self, label: u16) {
        self.label = label;
    }
}

pub(super) struct ByTime;

impl Chain<Entry> for ByTime {
    fn link(row: &Entry) -> &Link {
        &row.link
    }

    fn link_mut(row: &mut Entry) -> &mut Link {
        &mut row.link
    }
}

pub(super) fn seconds(count: u64) -> Span {
    Span::from_nanos(count * SECOND)
}

/// Returns the first second boundary at or after a tick.
pub(super) fn boundary(tick: Tick) -> Tick {
    Tick::start_of(tick.as_nanos().div_ceil(SECOND))
}

/// A wheel, its rows, and a sorted list of what it should hold.
pub(super) struct Bench<const BITS: u32, const LEVELS: usize> {
    pub(super) rows: Rows<Entry>,
    pub(super) wheel: Wheel<ByTime, BITS, LEVELS>,
    pub(super) now: Tick,
    /// Filed rows, by the boundary at which they must leave at the latest.
    pub(super) sorted: BTreeMap<(Tick, u32), RowId>,
    /// Live rows that are not filed.
    pub(super) idle: Vec<RowId>,
    pub(super) pops: usize,
    /// Whether rows leave when their second is completed, and not as soon as their deadline has
    /// passed.
    pub(super) strict: bool,
}

impl<const BITS: u32, const LEVELS: usize> Bench<BITS, LEVELS> {
    pub(super) fn new(now: Tick, strict: bool) -> Self {
        Self {
            rows: Rows::new(),
            wheel: Wheel::new(now),
            now,
            sorted: BTreeMap::new(),
            idle: Vec::new(),
            pops: 0,
            strict,
        }
    }

    /// Returns when a row with this deadline must leave, if it is filed now: at the first boundary
    /// at or after its deadline of which the wheel has not been told yet.
    pub(super) fn leaves(&self, deadline: Tick) -> Tick {
        boundary(deadline).max(Tick::start_of(self.wheel.hand + 1))
    }

    pub(super) fn insert(&mut self, deadline: Tick) -> RowId {
        let row = self
            .rows
            .insert(Entry { link: Link::LOOSE, live: false, label: 0, deadline, level: None })
            .ok()
            .unwrap();
        self.file(row);
        row
    }

    pub(super) fn file(&mut self, row: RowId) {
        let deadline = self.rows[row].deadline;
        self.rows[row].level = Some(self.wheel.place(deadline).level);
        self.wheel.file(&mut self.rows, row, deadline);
        self.sorted.insert((self.leaves(deadline), row.index()), row);
    }

    pub(super) fn unlist(&mut self, row: RowId) {
        let (&key, _) = self.sorted.iter().find(|&(_, &other)| other == row).expect("the row is listed");
        self.sorted.remove(&key);
    }

    pub(super) fn unfile(&mut self, row: RowId) {
        assert!(self.wheel.is_filed(&self.rows, row));
        self.wheel.unfile(&mut self.rows, row);
        assert!(!self.wheel.is_filed(&self.rows, row));
        self.unlist(row);
        self.idle.push(row);
    }

    /// Gives the row to another entry.
    pub(super) fn take_over(&mut self, row: RowId, deadline: Tick) {
        self.unlist(row);
        self.rows[row].deadline = deadline;
        self.rows[row].level = Some(self.wheel.place(deadline).level);
        self.wheel.file_anew(&mut self.rows, row, deadline);
        self.sorted.insert((self.leaves(deadline), row.index()), row);
    }

    /// Moves a deadline to a later one without telling the wheel.
    pub(super) fn touch(&mut self, row: RowId, later: Tick) {
        self.unlist(row);
        self.rows[row].deadline = later;
        self.rows[row].level = None;
        self.sorted.insert((self.leaves(later), row.index()), row);
    }

    /// Takes one row out of the wheel, and files it again if it has not expired, as the cache does.
    /// Returns false when there is no more to do.
    pub(super) fn step(&mut self) -> bool {
        let Some(row) = self.wheel.pop(&mut self.rows, self.now) else { return false };
        self.pops += 1;
        assert!(!self.wheel.is_filed(&self.rows, row));
        self.unlist(row);
        let Entry { deadline, level, .. } = self.rows[row];
        let completed = boundary(deadline) <= self.now;
        assert!(completed || level != Some(0), "popped before its deadline's second was completed");
        if completed || deadline <= self.now && !self.strict {
            self.rows.remove(row);
            return true;
        }
        self.file(row);
        let finer = level.is_none_or(|level| self.rows[row].level < Some(level));
        assert!(finer, "popped and filed again where it was");
        true
    }

    /// Handles everything that is due now, and makes the checks that hold afterwards.
    pub(super) fn drain(&mut self) {
        let filed = self.wheel.len();
        let pops = self.pops;
        while self.step() {}
        assert!(self.pops - pops <= filed, "a row was popped twice at the same tick");
        if let Some((&(leaves, row), _)) = self.sorted.first_key_value() {
            assert!(leaves > self.now, "row {row} should have left at {leaves:?}, it is {:?}", self.now);
        }
        let due = self.wheel.next_due();
        assert!(due > self.now, "all is drained, yet something is due");
        let event = self.sorted.first_key_value().map_or(Tick::NEVER, |(&(leaves, _), _)| leaves);
        assert!(due <= event, "due at {due:?}, the next event is at {event:?}");
        assert_eq!(due == Tick::NEVER, event == Tick::NEVER);
    }

    pub(super) fn check(&self) {
        self.rows.check();
        self.wheel.check(&self.rows, |row| self.rows[row].deadline);
        self.wheel.check_due_by(self.sorted.values().map(|&row| self.rows[row].deadline));
        assert_eq!(self.wheel.len(), self.sorted.len());
        assert_eq!(self.wheel.len() + self.idle.len(), self.rows.len());
    }

    pub(super) fn picked(&self, pick: usize) -> Option<RowId> {
        self.sorted.values().nth(pick % self.sorted.len().max(1)).copied()
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    /// File a new row whose deadline is this far from now.
    Insert(Span),
    /// File a new row whose deadline has passed.
    Overdue(Span),
    Unfile(usize),
    /// File a row that was unfiled, with its old deadline.
    Refile(usize),
    Touch(usize, Span),
    /// Give a filed row to another entry, with a deadline this far from now.
    TakeOver(usize, Span),
    /// Let time pass, then pop at most this many rows.
    Late(Span, usize),
    /// Let time pass, then drain.
    Advance(Span),
    /// Tell the wheel the time, and pop no row.
    Told(Span),
    /// Let this many seconds pass, and drain after each.
    Tick(u64),
    /// Sleep until exactly the time that the wheel names, and drain.
    Sleep,
}

impl<const BITS: u32, const LEVELS: usize> Bench<BITS, LEVELS> {
    /// Late enough for the longest times to live, and early enough for what is overdue then.
    fn end() -> Tick {
        Tick::start_of(Tick::NEVER.second() - 1)
    }

    fn later(&self, by: Span) -> Tick {
        self.now.after(by).min(Self::end())
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Insert(by) => {
                if self.now.after(by) < Self::end() {
                    self.insert(self.now.after(by));
                }
            }
            Op::Overdue(by) => {
                self.insert(Tick::from_nanos(self.now.as_nanos().saturating_sub(by.as_nanos())));
            }
            Op::Refile(pick) => {
                if !self.idle.is_empty() {
                    let row = self.idle.swap_remove(pick % self.idle.len());
                    self.file(row);
                }
            }
            Op::Unfile(pick) | Op::Touch(pick, _) | Op::TakeOver(pick, _) => {
                if let Some(row) = self.picked(pick) {
                    self.apply_to(row, op);
                }
            }
            Op::Late(..) | Op::Advance(_) | Op::Told(_) | Op::Tick(_) | Op::Sleep => self.pass(op),
        }
    }

    /// Something for one filed row.
    fn apply_to(&mut self, row: RowId, op: Op) {
        match op {
            Op::Touch(_, by) => {
                let later = self.rows[row].deadline.max(self.now).after(by);
                if later < Self::end() {
                    self.touch(row, later);
                }
            }
            Op::TakeOver(_, by) => {
                if self.now.after(by) < Self::end() {
                    self.take_over(row, self.now.after(by));
                }
            }
            _ => self.unfile(row),
        }
    }

    /// Lets time pass.
    fn pass(&mut self, op: Op) {
        match op {
            Op::Late(by, budget) => {
                self.now = self.later(by);
                for _ in 0..budget {
                    self.step();
                }
            }
            Op::Told(by) => {
                self.now = self.later(by);
                self.wheel.advance(&mut self.rows, self.now);
            }
            Op::Advance(by) => {
                self.now = self.later(by);
                self.drain();
            }
            Op::Tick(count) => {
                for _ in 0..count {
                    self.now = self.later(seconds(1));
                    self.drain();
                }
            }
            _ => {
                let due = self.wheel.next_due();
                if due < Self::end() {
                    self.now = self.now.max(due);
                    self.drain();
                }
            }
        }
    }
}

pub(super) fn run<const BITS: u32, const LEVELS: usize>(start: Span, strict: bool, ops: Vec<Op>) {
    let mut bench = Bench::<BITS, LEVELS>::new(Tick::start_of(1).after(start), strict);
    for op in ops {
        bench.apply(op);
        bench.check();
    }
    // Nothing was lost: the remaining rows come out in order when each sleep lasts until the named
    // time.
    while let Some((&(leaves, _), _)) = bench.sorted.first_key_value() {
        let due = bench.wheel.next_due();
        assert!(due <= leaves.max(bench.now), "sleeping until {due:?} is too long for {leaves:?}");
        bench.now = bench.now.max(due);
        bench.drain();
    }
    assert_eq!(bench.wheel.next_due(), Tick::NEVER);
    bench.check();
}

/// What a fuzzer's bytes are taken for: two for the start, then three to an operation.
#[cfg(fuzzing)]
pub fn fuzz(input: &[u8]) {
    let Some((&[start, flags], rest)) = input.split_first_chunk::<2>() else { return };
    let ops = rest.chunks_exact(3).take(400).map(|bytes| op(bytes[0], bytes[1], bytes[2])).collect();
    if flags & 2 == 0 {
        run::<6, 6>(span(start, flags >> 2), flags & 1 == 1, ops);
    } else {
        run::<2, 17>(span(start, flags >> 2), flags & 1 == 1, ops);
    }
}

#[cfg(fuzzing)]
fn op(code: u8, first: u8, second: u8) -> Op {
    let (row, by) = (usize::from(first), span(second, code >> 4));
    match code % 16 {
        0..5 => Op::Insert(span(first, second)),
        5 => Op::Overdue(span(first, second)),
        6 => Op::Unfile(row),
        7 => Op::Refile(row),
        8 | 9 => Op::Touch(row, by),
        10 | 11 => Op::TakeOver(row, by),
        12 => Op::Late(by, row % 4),
        13 => Op::Advance(by),
        14 if first & 1 == 0 => Op::Told(by),
        14 => Op::Tick(u64::from(second)),
        _ => Op::Sleep,
    }
}

/// From nothing to 125 years; many of them near the border of a slot.
#[cfg(fuzzing)]
fn span(scale: u8, count: u8) -> Span {
    let nanos = match scale & 3 {
        0 => u64::from(count) * SECOND / 16,
        1 => u64::from(count) * SECOND,
        // A power of two seconds, give or take some.
        2 => (SECOND << (scale >> 2).min(32))
            .saturating_add_signed((i64::from(count) - 128) * (SECOND as i64 / 2)),
        _ => (u64::from(count) << 24) << (scale >> 2).min(29),
    };
    Span::from_nanos(nanos.min(125 * 365 * 86_400 * SECOND))
}
