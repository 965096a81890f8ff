//! Compares the wheel with a sorted list, on random operations; and checks what it costs on chosen cases.

mod broken;
mod counts;

use super::trial::{Bench, ByTime, Entry, Op, boundary, run, seconds};
use super::*;
use crate::rows::Link;
use crate::time::{SECOND, Span};
use proptest::prelude::*;

const MINUTE: u64 = 60 * SECOND;
const DAY: u64 = 24 * 60 * MINUTE;
const YEAR: u64 = 365 * DAY;

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
        .insert(Entry { link: Link::LOOSE, live: false, label: 0, deadline: Tick::NEVER, level: None })
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
