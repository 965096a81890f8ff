//! The counts of slots, against the slots.

use crate::rows::{Chain, Kept, Link, Row, RowId, Rows};
use crate::time::{SECOND, Span, Tick};
use crate::wheel::Wheel;

struct Lone {
    link: Link,
    live: bool,
    label: u16,
}

impl Default for Lone {
    fn default() -> Self {
        Self { link: Link::LOOSE, live: false, label: 0 }
    }
}

impl Kept for Lone {
    type Memory = Vec<Box<[Self]>>;
}

impl Row for Lone {
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

struct Only;

impl Chain<Lone> for Only {
    fn link(row: &Lone) -> &Link {
        &row.link
    }

    fn link_mut(row: &mut Lone) -> &mut Link {
        &mut row.link
    }
}

fn at(seconds: u64, nanos: u64) -> Tick {
    Tick::from_nanos(seconds * SECOND + nanos)
}

struct Bench {
    rows: Rows<Lone>,
    wheel: Wheel<Only, 6, 6>,
}

impl Bench {
    /// Creates a wheel at second 100 with rows of these deadlines.
    fn with(deadlines: &[Tick]) -> (Self, Vec<RowId>) {
        let mut bench = Self { rows: Rows::new(), wheel: Wheel::new(at(100, 0)) };
        let rows = deadlines.iter().map(|&deadline| bench.file(deadline)).collect();
        (bench, rows)
    }

    fn file(&mut self, deadline: Tick) -> RowId {
        let row = self.rows.insert(Lone::default()).ok().unwrap();
        self.wheel.file(&mut self.rows, row, deadline);
        row
    }

    fn counts(&self, untils: &[Tick]) -> Vec<usize> {
        self.wheel.check(&self.rows, |_| Tick::NEVER);
        untils.iter().map(|&until| self.wheel.due_by(until)).collect()
    }
}

/// Up to a minute ahead, the count is exact to the second.
#[test]
fn exact_to_the_second_within_the_finest_level() {
    let (bench, _) = Bench::with(&[at(101, 0), at(101, 1), at(102, 0), at(105, 5), at(163, 0)]);
    let untils = [at(100, 0), at(100, 1), at(101, 0), at(101, 1), at(102, 0), at(105, 5), at(163, 0)];
    assert_eq!(bench.counts(&untils), [1, 1, 1, 3, 3, 4, 5]);
}

/// Farther ahead it counts whole slots, as soon as one of their deadlines may be included.
#[test]
fn a_coarse_slot_counts_as_a_whole() {
    let (bench, _) = Bench::with(&[at(200, 0), at(250, 0), at(300, 0)]);
    assert_eq!(bench.counts(&[at(191, 0), at(192, 1), at(255, 0), at(256, 1)]), [0, 2, 2, 3]);
}

#[test]
fn what_leaves_is_counted_off_wherever_it_stands() {
    let (mut bench, rows) = Bench::with(&[at(101, 0), at(110, 0), at(110, 0), at(500, 0), at(101, 0)]);
    bench.wheel.unfile(&mut bench.rows, rows[1]);
    assert_eq!(bench.counts(&[at(101, 0), at(110, 0), at(600, 0)]), [2, 3, 4]);
    // Two rows become due, and a lap later other rows are in the same slots.
    bench.wheel.advance(&mut bench.rows, at(105, 0));
    bench.file(at(165, 0));
    bench.wheel.unfile(&mut bench.rows, rows[0]);
    assert_eq!(bench.counts(&[at(105, 0), at(110, 0), at(165, 0), at(600, 0)]), [1, 2, 3, 4]);
    assert_eq!(bench.wheel.pop(&mut bench.rows, at(105, 0)), Some(rows[4]));
    assert_eq!(bench.counts(&[at(105, 0), at(110, 0), at(165, 0), at(600, 0)]), [0, 1, 2, 3]);
}

/// Labels come round when there is no sweep for hours. The count is then a little too high at
/// worst, and right again afterwards.
#[test]
fn labels_that_come_round_do_not_make_it_too_low() {
    let (mut bench, rows) = Bench::with(&[at(101, 0)]);
    let later = at(100, 0).after(Span::from_nanos(8192 * SECOND));
    bench.wheel.advance(&mut bench.rows, later);
    let young = bench.file(later.after(Span::from_nanos(1)));
    bench.wheel.unfile(&mut bench.rows, rows[0]);
    assert!(bench.wheel.due_by(later.after(Span::from_nanos(SECOND))) >= 1);
    bench.wheel.check(&bench.rows, |_| Tick::NEVER);
    bench.wheel.unfile(&mut bench.rows, young);
    assert_eq!(bench.wheel.due_by(Tick::NEVER), 0);
}
