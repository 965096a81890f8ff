//! The wheel against a sorted list: random deadlines from milliseconds to centuries, moved behind the
//! wheel's back, under a clock that is on time, late, or years late.

use super::*;
use crate::rows::Link;
use crate::time::{SECOND, Span};
use proptest::prelude::*;
use std::collections::BTreeMap;

const MINUTE: u64 = 60 * SECOND;
const DAY: u64 = 24 * 60 * MINUTE;
const YEAR: u64 = 365 * DAY;

struct Entry {
    link: Link,
    /// What a node's deadline is to the cache: the wheel never reads it.
    deadline: Tick,
    /// The level that it was filed on, unless its deadline was moved since.
    level: Option<usize>,
}

impl Row for Entry {
    fn vacant(link: Link) -> Self {
        Self { link, deadline: Tick::NEVER, level: None }
    }

    fn link(&self) -> &Link {
        &self.link
    }
}

struct ByTime;

impl Chain<Entry> for ByTime {
    fn link(row: &Entry) -> &Link {
        &row.link
    }

    fn link_mut(row: &mut Entry) -> &mut Link {
        &mut row.link
    }
}

/// The wheel as loom sees it: small, so that laps and borders are everywhere.
type Tiny = Wheel<ByTime, 2, 17>;
type Usual = Wheel<ByTime, 6, 6>;

fn seconds(count: u64) -> Span {
    Span::from_nanos(count * SECOND)
}

/// The first second boundary at or after a tick.
fn boundary(tick: Tick) -> Tick {
    Tick::start_of(tick.as_nanos().div_ceil(SECOND))
}

/// A wheel, its rows, and a sorted list of what it should hold.
struct Bench<const BITS: u32, const LEVELS: usize> {
    rows: Rows<Entry>,
    wheel: Wheel<ByTime, BITS, LEVELS>,
    now: Tick,
    /// Filed rows, by the boundary at which they must leave at the latest.
    sorted: BTreeMap<(Tick, u32), RowId>,
    /// Live rows that are not filed.
    idle: Vec<RowId>,
    pops: usize,
    /// Rows go when their second is completed, not as soon as their deadline is over.
    strict: bool,
}

impl<const BITS: u32, const LEVELS: usize> Bench<BITS, LEVELS> {
    fn new(now: Tick, strict: bool) -> Self {
        Self {
            rows: Rows::with_capacity(0),
            wheel: Wheel::new(now),
            now,
            sorted: BTreeMap::new(),
            idle: Vec::new(),
            pops: 0,
            strict,
        }
    }

    /// When a row with this deadline must leave, if it is filed now: at the first boundary at or after
    /// its deadline that the wheel was not told of yet.
    fn leaves(&self, deadline: Tick) -> Tick {
        boundary(deadline).max(Tick::start_of(self.wheel.hand + 1))
    }

    fn insert(&mut self, deadline: Tick) -> RowId {
        let row = self.rows.insert(Entry { link: Link::LOOSE, deadline, level: None }).ok().unwrap();
        self.file(row);
        row
    }

    fn file(&mut self, row: RowId) {
        let deadline = self.rows[row].deadline;
        self.rows[row].level = Some(self.wheel.place(deadline).0);
        self.wheel.file(&mut self.rows, row, deadline);
        self.sorted.insert((self.leaves(deadline), row.index()), row);
    }

    fn unlist(&mut self, row: RowId) -> Tick {
        let (&key, _) = self.sorted.iter().find(|&(_, &other)| other == row).expect("the row is listed");
        self.sorted.remove(&key);
        key.0
    }

    fn unfile(&mut self, row: RowId) {
        assert!(self.wheel.is_filed(&self.rows, row));
        self.wheel.unfile(&mut self.rows, row);
        assert!(!self.wheel.is_filed(&self.rows, row));
        self.unlist(row);
        self.idle.push(row);
    }

    /// Moves a deadline into the future and tells the wheel nothing.
    fn touch(&mut self, row: RowId, by: Span) {
        let later = self.rows[row].deadline.max(self.now).after(by);
        if later < Tick::NEVER {
            let old = self.unlist(row);
            self.rows[row].deadline = later;
            self.rows[row].level = None;
            self.sorted.insert((self.leaves(later).max(old), row.index()), row);
        }
    }

    /// One row out of the wheel, and back into it if it is not over, as the cache does. False when there
    /// is no more to do.
    fn step(&mut self) -> bool {
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

    /// Everything that is due now, and the checks that hold afterwards.
    fn drain(&mut self) {
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

    fn check(&self) {
        self.rows.check();
        self.wheel.check(&self.rows, |row| self.rows[row].deadline);
        assert_eq!(self.wheel.len(), self.sorted.len());
        assert_eq!(self.wheel.len() + self.idle.len(), self.rows.len());
    }

    fn picked(&self, pick: usize) -> Option<RowId> {
        self.sorted.values().nth(pick % self.sorted.len().max(1)).copied()
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// File a new row whose deadline is so far from now.
    Insert(Span),
    /// File a new row whose deadline is over already.
    Overdue(Span),
    Unfile(usize),
    /// File a row that was unfiled, with its old deadline.
    Refile(usize),
    Touch(usize, Span),
    /// Let time pass, then pop at most so many rows.
    Late(Span, usize),
    /// Let time pass, then drain.
    Advance(Span),
    /// Tell the wheel the time, and pop nothing.
    Told(Span),
    /// Let so many seconds pass, and drain each.
    Tick(u64),
    /// Sleep until exactly the time that the wheel names, and drain.
    Sleep,
}

/// Spans of every magnitude that matters, and the borders of seconds and laps.
fn span() -> impl Strategy<Value = Span> {
    let nanos = prop_oneof![
        1 => Just(0),
        2 => 1..SECOND,
        4 => (0_u64..200).prop_map(|count| count * SECOND),
        4 => 0..5 * MINUTE,
        3 => 0..3 * DAY,
        2 => 0..2 * YEAR,
        1 => 0..250 * YEAR,
        2 => (0_u32..35, -2_i64..=2, -1_i64..=1).prop_map(|(power, off, nano)| {
            let seconds = (1_i64 << power).min(200 * (YEAR / SECOND) as i64) + off;
            (seconds * SECOND as i64 + nano).max(0) as u64
        }),
    ];
    nanos.prop_map(Span::from_nanos)
}

fn op() -> impl Strategy<Value = Op> {
    let pick = any::<usize>();
    prop_oneof![
        6 => span().prop_map(Op::Insert),
        1 => span().prop_map(Op::Overdue),
        1 => pick.prop_map(Op::Unfile),
        1 => pick.prop_map(Op::Refile),
        3 => (pick, span()).prop_map(|(row, by)| Op::Touch(row, by)),
        2 => (span(), 0_usize..4).prop_map(|(by, budget)| Op::Late(by, budget)),
        2 => span().prop_map(Op::Advance),
        1 => span().prop_map(Op::Told),
        2 => (1_u64..150).prop_map(Op::Tick),
        2 => Just(Op::Sleep),
    ]
}

fn run<const BITS: u32, const LEVELS: usize>(start: Span, strict: bool, ops: Vec<Op>) {
    let mut bench = Bench::<BITS, LEVELS>::new(Tick::start_of(1).after(start), strict);
    // Late enough for the longest times to live, and early enough for what is overdue then.
    let end = Tick::start_of(Tick::NEVER.second() - 1);
    for op in ops {
        let later = |by: Span| bench.now.after(by).min(end);
        match op {
            Op::Insert(by) if bench.now.after(by) < end => {
                bench.insert(bench.now.after(by));
            }
            Op::Overdue(by) => {
                bench.insert(Tick::from_nanos(bench.now.as_nanos().saturating_sub(by.as_nanos())));
            }
            Op::Unfile(pick) => {
                if let Some(row) = bench.picked(pick) {
                    bench.unfile(row);
                }
            }
            Op::Refile(pick) if !bench.idle.is_empty() => {
                let row = bench.idle.swap_remove(pick % bench.idle.len());
                bench.file(row);
            }
            Op::Touch(pick, by) => {
                if let Some(row) =
                    bench.picked(pick).filter(|&row| bench.rows[row].deadline.max(bench.now).after(by) < end)
                {
                    bench.touch(row, by);
                }
            }
            Op::Late(by, budget) => {
                bench.now = later(by);
                for _ in 0..budget {
                    bench.step();
                }
            }
            Op::Advance(by) => {
                bench.now = later(by);
                bench.drain();
            }
            Op::Told(by) => {
                bench.now = later(by);
                bench.wheel.advance(&mut bench.rows, bench.now);
            }
            Op::Tick(count) => {
                for _ in 0..count {
                    bench.now = bench.now.after(seconds(1)).min(end);
                    bench.drain();
                }
            }
            Op::Sleep => {
                let due = bench.wheel.next_due();
                if due < end {
                    bench.now = bench.now.max(due);
                    bench.drain();
                }
            }
            Op::Insert(_) | Op::Refile(_) => {}
        }
        bench.check();
    }
    // Nothing was lost: the rest comes out in order, by sleeping until the named time each time.
    while let Some((&(leaves, _), _)) = bench.sorted.first_key_value() {
        let due = bench.wheel.next_due();
        assert!(due <= leaves.max(bench.now), "sleeping until {due:?} is too long for {leaves:?}");
        bench.now = bench.now.max(due);
        bench.drain();
    }
    assert_eq!(bench.wheel.next_due(), Tick::NEVER);
    bench.check();
}

proptest! {
    #[test]
    fn usual_wheel_agrees_with_a_sorted_list(start in span(), strict: bool, ops in prop::collection::vec(op(), 1..60)) {
        run::<6, 6>(start, strict, ops);
    }

    #[test]
    fn tiny_wheel_agrees_with_a_sorted_list(start in span(), strict: bool, ops in prop::collection::vec(op(), 1..60)) {
        run::<2, 17>(start, strict, ops);
    }
}
