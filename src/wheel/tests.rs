//! Compares the wheel with a sorted list: random deadlines from milliseconds to centuries, moved
//! without the wheel being told, under a clock that is on time, late, or years late.

mod broken;

use super::*;
use crate::rows::{Kept, Link};
use crate::time::{SECOND, Span};
use proptest::prelude::*;
use std::collections::BTreeMap;

const MINUTE: u64 = 60 * SECOND;
const DAY: u64 = 24 * 60 * MINUTE;
const YEAR: u64 = 365 * DAY;

struct Entry {
    link: Link,
    label: u16,
    /// The deadline, which the cache keeps in a node. The wheel never reads it.
    deadline: Tick,
    /// The level on which the row was filed, unless its deadline was moved since.
    level: Option<usize>,
}

impl Default for Entry {
    fn default() -> Self {
        Self { link: Link::LOOSE, label: 0, deadline: Tick::NEVER, level: None }
    }
}

impl Kept for Entry {
    type Memory = Vec<Box<[Self]>>;
}

impl Row for Entry {
    fn link(&self) -> &Link {
        &self.link
    }

    fn link_mut(&mut self) -> &mut Link {
        &mut self.link
    }

    fn label(&self) -> u16 {
        self.label
    }

    fn set_label(&mut self, label: u16) {
        self.label = label;
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

fn seconds(count: u64) -> Span {
    Span::from_nanos(count * SECOND)
}

/// Returns the first second boundary at or after a tick.
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
    /// Whether rows leave when their second is completed, and not as soon as their deadline has
    /// passed.
    strict: bool,
}

impl<const BITS: u32, const LEVELS: usize> Bench<BITS, LEVELS> {
    fn new(now: Tick, strict: bool) -> Self {
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
    fn leaves(&self, deadline: Tick) -> Tick {
        boundary(deadline).max(Tick::start_of(self.wheel.hand + 1))
    }

    fn insert(&mut self, deadline: Tick) -> RowId {
        let row =
            self.rows.insert(Entry { link: Link::LOOSE, label: 0, deadline, level: None }).ok().unwrap();
        self.file(row);
        row
    }

    fn file(&mut self, row: RowId) {
        let deadline = self.rows[row].deadline;
        self.rows[row].level = Some(self.wheel.place(deadline).0);
        self.wheel.file(&mut self.rows, row, deadline);
        self.sorted.insert((self.leaves(deadline), row.index()), row);
    }

    fn unlist(&mut self, row: RowId) {
        let (&key, _) = self.sorted.iter().find(|&(_, &other)| other == row).expect("the row is listed");
        self.sorted.remove(&key);
    }

    fn unfile(&mut self, row: RowId) {
        assert!(self.wheel.is_filed(&self.rows, row));
        self.wheel.unfile(&mut self.rows, row);
        assert!(!self.wheel.is_filed(&self.rows, row));
        self.unlist(row);
        self.idle.push(row);
    }

    /// Gives the row to another entry.
    fn take_over(&mut self, row: RowId, deadline: Tick) {
        self.unlist(row);
        self.rows[row].deadline = deadline;
        self.rows[row].level = Some(self.wheel.place(deadline).0);
        self.wheel.file_anew(&mut self.rows, row, deadline);
        self.sorted.insert((self.leaves(deadline), row.index()), row);
    }

    /// Moves a deadline to a later one without telling the wheel.
    fn touch(&mut self, row: RowId, later: Tick) {
        self.unlist(row);
        self.rows[row].deadline = later;
        self.rows[row].level = None;
        self.sorted.insert((self.leaves(later), row.index()), row);
    }

    /// Takes one row out of the wheel, and files it again if it has not expired, as the cache does.
    /// Returns false when there is no more to do.
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

    /// Handles everything that is due now, and makes the checks that hold afterwards.
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
        self.wheel.check_due_by(self.sorted.values().map(|&row| self.rows[row].deadline));
        assert_eq!(self.wheel.len(), self.sorted.len());
        assert_eq!(self.wheel.len() + self.idle.len(), self.rows.len());
    }

    fn picked(&self, pick: usize) -> Option<RowId> {
        self.sorted.values().nth(pick % self.sorted.len().max(1)).copied()
    }
}

#[derive(Clone, Debug)]
enum Op {
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

/// Spans of every magnitude that matters, and the borders of seconds and laps.
fn span() -> impl Strategy<Value = Span> {
    let nanos = prop_oneof![
        1 => Just(0),
        2 => 1..SECOND,
        4 => (0_u64..200).prop_map(|count| count * SECOND),
        4 => 0..5 * MINUTE,
        3 => 0..3 * DAY,
        2 => 0..2 * YEAR,
        1 => 0..125 * YEAR,
        2 => (0_u32..35, -2_i64..=2, -1_i64..=1).prop_map(|(power, off, nano)| {
            let seconds = (1_i64 << power).min(100 * (YEAR / SECOND) as i64) + off;
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
        3 => (pick, span()).prop_map(|(row, by)| Op::TakeOver(row, by)),
        2 => (span(), 0_usize..4).prop_map(|(by, budget)| Op::Late(by, budget)),
        2 => span().prop_map(Op::Advance),
        1 => span().prop_map(Op::Told),
        2 => (1_u64..150).prop_map(Op::Tick),
        2 => Just(Op::Sleep),
    ]
}

fn run<const BITS: u32, const LEVELS: usize>(start: Span, strict: bool, ops: Vec<Op>) {
    let mut bench = Bench::<BITS, LEVELS>::new(Tick::start_of(1).after(start), strict);
    // This is late enough for the longest times to live, and early enough for rows that are overdue
    // then.
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
                if let Some(row) = bench.picked(pick) {
                    let later = bench.rows[row].deadline.max(bench.now).after(by);
                    if later < end {
                        bench.touch(row, later);
                    }
                }
            }
            Op::TakeOver(pick, by) => {
                if let Some(row) = bench.picked(pick).filter(|_| bench.now.after(by) < end) {
                    bench.take_over(row, bench.now.after(by));
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

proptest! {
    #[test]
    fn usual_wheel_agrees_with_a_sorted_list(start in span(), strict: bool, ops in prop::collection::vec(op(), 1..60)) {
        run::<6, 6>(start, strict, ops);
    }

    /// The wheel of loom: four slots a level, so that laps and borders are frequent.
    #[test]
    fn tiny_wheel_agrees_with_a_sorted_list(start in span(), strict: bool, ops in prop::collection::vec(op(), 1..60)) {
        run::<2, 17>(start, strict, ops);
    }
}

/// Advances second by second from `start` until the row is gone. Returns when that was, and how
/// often the row moved.
fn gone_at<const BITS: u32, const LEVELS: usize>(start: Tick, time_to_live: Span) -> (Tick, usize) {
    let mut bench = Bench::<BITS, LEVELS>::new(start, true);
    bench.insert(start.after(time_to_live));
    bench.now = boundary(start);
    loop {
        bench.drain();
        if bench.rows.len() == 0 {
            return (bench.now, bench.pops);
        }
        bench.now = bench.now.after(seconds(1));
    }
}

#[test]
fn each_time_to_live_is_on_time_to_the_second() {
    // The fraction of a second at the start, and the fraction in the time to live.
    let (half, last) = (SECOND / 2, SECOND - 1);
    let fractions = [(0, 0), (0, 1), (1, 0), (half, half), (half, last), (last, 1), (last, last)];
    for start in [0, 1, 63, 64, 4096 + 37].map(|second| Tick::start_of(1 + second)) {
        for time_to_live in (0..80).chain([127, 128, 129, 4095, 4096, 4097]) {
            for (early, late) in fractions {
                let start = start.after(Span::from_nanos(early));
                let time_to_live = Span::from_nanos(time_to_live * SECOND + late);
                let expected = boundary(start.after(time_to_live)).max(Tick::start_of(start.second() + 1));
                assert_eq!(gone_at::<6, 6>(start, time_to_live).0, expected, "{start:?} {time_to_live:?}");
                assert_eq!(gone_at::<2, 17>(start, time_to_live).0, expected, "{start:?} {time_to_live:?}");
            }
        }
    }
}

#[test]
fn up_to_a_minute_a_row_is_filed_once_and_popped_once() {
    for start in 1..200 {
        for time_to_live in [0, 1, 5, 60, 63] {
            let (_, pops) = gone_at::<6, 6>(Tick::start_of(start), seconds(time_to_live));
            assert_eq!(pops, 1, "{time_to_live} s from second {start}");
        }
    }
}

/// Sleeps until exactly the time that the wheel names, each time. Returns the number of wake-ups.
fn sleep_until_empty(bench: &mut Bench<6, 6>) -> usize {
    let mut wakes = 0;
    while bench.wheel.next_due() != Tick::NEVER {
        bench.now = bench.now.max(bench.wheel.next_due());
        bench.drain();
        wakes += 1;
        assert!(wakes < 100, "the wheel names times at which it has nothing");
    }
    wakes
}

#[test]
fn two_weeks_cost_four_moves_and_four_wake_ups() {
    for start in [1, 64, 1_000_003, 262_144 * 3 - 1] {
        let mut bench = Bench::<6, 6>::new(Tick::start_of(start), true);
        let deadline = bench.now.after(Span::from_nanos(14 * DAY + 1));
        bench.insert(deadline);
        let wakes = sleep_until_empty(&mut bench);
        assert!(bench.pops <= 4 && wakes <= 4, "{} moves and {wakes} wake-ups from {start}", bench.pops);
        assert_eq!(bench.now, boundary(deadline));
    }
}

#[test]
fn a_session_touched_each_minute_moves_once_in_days() {
    let mut bench = Bench::<6, 6>::new(Tick::start_of(1), true);
    let two_weeks = Span::from_nanos(14 * DAY);
    let row = bench.insert(bench.now.after(two_weeks));
    for _ in 0..365 * 24 * 60 {
        bench.now = bench.now.after(Span::from_nanos(MINUTE));
        bench.touch(row, bench.now.after(two_weeks));
        bench.drain();
    }
    assert!(bench.pops <= 365 / 11 + 1, "{} moves in a year", bench.pops);
}

/// A typical bug of this structure: `deadline - now` as an unsigned number is huge for an overdue
/// row, and sends it into the coarsest slot.
#[test]
fn an_overdue_row_is_not_sent_a_lap_round() {
    for over in [0, 1, SECOND - 1, SECOND, 64 * SECOND, DAY, 100 * YEAR] {
        let start = Tick::start_of(120 * YEAR / SECOND).after(Span::from_nanos(SECOND / 3));
        let mut bench = Bench::<6, 6>::new(start, true);
        bench.insert(Tick::from_nanos(start.as_nanos() - over));
        assert!(!bench.step(), "only completed seconds are drained");
        bench.now = Tick::start_of(start.second() + 1);
        assert_eq!(bench.wheel.next_due(), bench.now);
        bench.drain();
        assert_eq!(bench.rows.len(), 0, "{over} ns over");
    }
}

/// Advancing through 125 years second by second would take minutes.
#[test]
fn a_late_tick_jumps_over_empty_stretches() {
    let mut bench = Bench::<6, 6>::new(Tick::start_of(1), true);
    let spans = [0, SECOND, MINUTE, DAY, 100 * DAY, 10 * YEAR, 124 * YEAR];
    for span in spans {
        bench.insert(bench.now.after(Span::from_nanos(span)));
    }
    let centuries = bench.insert(bench.now.after(Span::from_nanos(140 * YEAR)));
    bench.now = bench.now.after(Span::from_nanos(125 * YEAR));
    bench.drain();
    // Each row is popped once. The row that lives on is popped at most once more.
    assert!(bench.pops <= spans.len() + 1);
    assert_eq!(bench.rows.len(), 1);
    assert!(bench.rows.contains(centuries));
    bench.check();
}

#[test]
fn a_budget_can_stop_anywhere() {
    let mut bench = Bench::<6, 6>::new(Tick::start_of(1), true);
    for second in 0..500 {
        bench.insert(bench.now.after(seconds(second)));
    }
    bench.now = Tick::start_of(400);
    let mut stops = 0;
    while bench.wheel.next_due() <= bench.now {
        for _ in 0..7 {
            bench.step();
        }
        // Between two critical sections other threads proceed: a session comes, another goes.
        bench.insert(bench.now.after(seconds(5)));
        let last = *bench.sorted.last_key_value().unwrap().1;
        bench.unfile(last);
        bench.check();
        stops += 1;
    }
    assert!(stops > 50);
    bench.drain();
}

#[test]
fn a_row_can_be_unfiled_after_it_came_due() {
    let mut bench = Bench::<6, 6>::new(Tick::start_of(1), true);
    let rows = [0, 1, 2].map(|second| bench.insert(bench.now.after(seconds(second))));
    bench.now = Tick::start_of(10);
    assert!(bench.step());
    for row in [rows[2], rows[1]] {
        bench.unfile(row);
        bench.check();
    }
    assert!(!bench.step());
    assert_eq!(bench.wheel.next_due(), Tick::NEVER);
}

/// The row is behind all other due rows, and still filed: it can be popped again, and unfiled.
#[test]
fn a_row_that_was_popped_can_be_put_back() {
    let mut bench = Bench::<6, 6>::new(Tick::start_of(0), true);
    let rows: Vec<RowId> = (0..3).map(|_| bench.insert(Tick::start_of(1))).collect();
    bench.now = Tick::start_of(2);
    assert_eq!(bench.wheel.pop(&mut bench.rows, bench.now), Some(rows[0]));
    bench.wheel.put_back(&mut bench.rows, rows[0]);
    bench.check();
    assert_eq!(bench.wheel.pop(&mut bench.rows, bench.now), Some(rows[1]));
    bench.wheel.put_back(&mut bench.rows, rows[1]);
    bench.unfile(rows[0]);
    bench.check();
    assert!(bench.step() && bench.step() && !bench.step());
    bench.check();
}

#[test]
fn what_was_never_filed_can_be_unfiled() {
    let mut bench = Bench::<6, 6>::new(Tick::start_of(1), true);
    let row = bench
        .rows
        .insert(Entry { link: Link::LOOSE, label: 0, deadline: Tick::NEVER, level: None })
        .ok()
        .unwrap();
    bench.wheel.unfile(&mut bench.rows, row);
    assert_eq!(bench.wheel.len(), 0);
}

#[test]
fn a_coarse_slot_may_come_due_before_a_fine_one() {
    let mut bench = Bench::<6, 6>::new(Tick::start_of(1), true);
    bench.insert(Tick::start_of(131));
    assert_eq!(bench.wheel.next_due(), Tick::start_of(128));
    bench.now = Tick::start_of(100);
    bench.drain();
    bench.insert(Tick::start_of(160));
    assert_eq!(bench.wheel.next_due(), Tick::start_of(128));
    sleep_until_empty(&mut bench);
    assert_eq!((bench.now, bench.pops), (Tick::start_of(160), 3));
}

/// The reaper of an idle cache sleeps, so the hand stands still. Once told the time, the wheel
/// files as if the hand had moved.
#[test]
fn a_hand_left_behind_costs_one_move_unless_it_is_told() {
    for (told, pops) in [(true, 1), (false, 2)] {
        let mut bench = Bench::<6, 6>::new(Tick::start_of(1), true);
        bench.now = bench.now.after(Span::from_nanos(YEAR));
        if told {
            bench.wheel.advance(&mut bench.rows, bench.now);
        }
        bench.insert(bench.now.after(seconds(5)));
        assert_eq!(bench.wheel.next_due() > bench.now, told);
        sleep_until_empty(&mut bench);
        assert_eq!(bench.pops, pops);
    }
}

#[test]
fn the_last_second_of_the_timeline_is_never_completed() {
    let mut bench = Bench::<6, 6>::new(Tick::start_of(1), true);
    bench.insert(Tick::from_nanos(Tick::NEVER.as_nanos() - 1));
    bench.now = Tick::start_of(Tick::NEVER.second() - 1);
    bench.drain();
    bench.check();
    bench.now = Tick::from_nanos(Tick::NEVER.as_nanos() - 1);
    while bench.step() {}
    assert_eq!(bench.wheel.next_due(), Tick::NEVER);
    assert_eq!(bench.wheel.len(), 1);
    bench.check();
}

#[test]
fn time_does_not_go_back() {
    let mut bench = Bench::<6, 6>::new(Tick::start_of(100), true);
    bench.insert(Tick::start_of(105));
    bench.now = Tick::start_of(50);
    bench.drain();
    assert_eq!(bench.wheel.next_due(), Tick::start_of(105));
}

#[test]
fn a_row_that_is_taken_over_stays_where_it_would_go_again() {
    let mut bench = Bench::<6, 6>::new(Tick::start_of(100), false);
    let row = bench.insert(Tick::start_of(130));
    bench.insert(Tick::start_of(130));
    let anew = |bench: &mut Bench<6, 6>, deadline| bench.wheel.file_anew(&mut bench.rows, row, deadline);
    assert!(anew(&mut bench, Tick::start_of(130)), "the same second");
    assert!(!anew(&mut bench, Tick::start_of(131)), "another one");
    assert!(!anew(&mut bench, Tick::start_of(1000)), "another level");
    assert!(anew(&mut bench, Tick::start_of(1001)), "a coarse slot");
    // A due row has the label of a slot that may come round.
    bench.wheel.advance(&mut bench.rows, Tick::start_of(140));
    assert!(!anew(&mut bench, Tick::start_of(1001)), "another row is due");
    bench.wheel.check(&bench.rows, |_| Tick::start_of(1001));
}
