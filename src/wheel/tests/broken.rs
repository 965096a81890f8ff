//! The faults that `check` finds in wheels that were broken on purpose.

use super::*;

/// Returns a wheel with a few rows on several levels, in which `check` is to find faults.
fn to_be_broken() -> Bench<6, 6> {
    let mut bench = Bench::<6, 6>::new(Tick::start_of(1), true);
    for span in [3 * SECOND, 3 * SECOND, 3 * SECOND, 2 * MINUTE, DAY] {
        bench.insert(bench.now.after(Span::from_nanos(span)));
    }
    bench.check();
    bench
}

#[test]
#[should_panic(expected = "on level 1 comes due at second 256, its deadline needs 100")]
fn check_sees_a_row_that_would_leave_late() {
    let mut bench = Bench::<6, 6>::new(Tick::start_of(1), true);
    let row = bench.insert(Tick::start_of(300));
    bench.rows[row].deadline = Tick::start_of(100);
    bench.check();
}

#[test]
#[should_panic(expected = "occupancy of level 0")]
fn check_sees_a_lost_bit() {
    let mut bench = to_be_broken();
    bench.wheel.occupancy[0] = 0;
    bench.check();
}

#[test]
#[should_panic(expected = "occupancy of level 2")]
fn check_sees_a_bit_too_many() {
    let mut bench = to_be_broken();
    bench.wheel.occupancy[2] |= 1 << 40;
    bench.check();
}

#[test]
#[should_panic(expected = "rows found in slots, rows counted")]
fn check_sees_a_wrong_count() {
    let mut bench = to_be_broken();
    bench.wheel.len += 1;
    bench.check();
}

#[test]
#[should_panic(expected = "has begun, and it holds rows")]
fn check_sees_a_span_that_began_unnoticed() {
    let mut bench = Bench::<6, 6>::new(Tick::start_of(1), true);
    bench.insert(Tick::start_of(100));
    bench.wheel.hand = 64;
    bench.check();
}

#[test]
#[should_panic(expected = "what it thinks comes before it, and what does")]
fn check_sees_a_broken_list() {
    let mut bench = to_be_broken();
    let rows: Vec<RowId> = bench.sorted.values().copied().collect();
    // The first two rows of one slot change their links.
    let link = std::mem::replace(&mut bench.rows[rows[0]].link, Link::LOOSE);
    bench.rows[rows[0]].link = std::mem::replace(&mut bench.rows[rows[1]].link, link);
    bench.check();
}

#[test]
#[should_panic(expected = "rows that believe to be filed, rows counted")]
fn check_sees_a_row_of_another_wheel() {
    let mut bench = to_be_broken();
    let row = bench
        .rows
        .insert(Entry { link: Link::LOOSE, live: true, label: 0, deadline: bench.now, level: None })
        .ok()
        .unwrap();
    Wheel::<ByTime>::new(bench.now).file(&mut bench.rows, row, bench.now);
    bench.check();
}
