//! The goals, each beside the figure that was reached. Reported, never asserted: a busy machine is no
//! error. It never knows how a figure came about.

use crate::samples::Samples;
use crate::table::{Figure, Spread, Table};

/// What is wanted, in words, then as figures: one over the other, round by round, or one by itself.
struct Goal {
    what: &'static str,
    of: Place,
    over: Option<Place>,
    bound: Bound,
    judged: Judged,
}

/// Table, row and column.
struct Place(&'static str, &'static str, &'static str);

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// Which round decides.
#[derive(Clone, Copy, PartialEq)]
enum Judged {
    Median,
    /// A promise about time is as good as its worst round.
    Worst,
}

use Bound::{AtLeast, AtMost};

const ONE: &str = "1 thread";
const TWO: &str = "2 threads";
const SIXTEEN: &str = "16 threads";
const PLAIN: &str = crate::entrants::PLAIN;
const US: &str = crate::entrants::OURS;
const HELD: &str = "tidewheel, guard held";
const MANY: &str = "tidewheel, 64 at a time";
const COUNTED: &str = "tidewheel, statistics";
const FLOOR: &str = "frozen map";

/// A ratio of rates is the inverse one of times: where a time is wanted, the other's rate stands first.
const fn ratio(what: &'static str, of: Place, over: Place, bound: Bound) -> Goal {
    Goal { what, of, over: Some(over), bound, judged: Judged::Median }
}

/// Our rate over another's, both with two threads.
const fn rate(what: &'static str, table: &'static str, other: &'static str, bound: Bound) -> Goal {
    ratio(what, Place(table, US, TWO), Place(table, other, TWO), bound)
}

/// Our time over another's, where sixteen threads load.
const fn cold(what: &'static str, table: &'static str, other: &'static str, bound: Bound) -> Goal {
    ratio(what, Place(table, US, SIXTEEN), Place(table, other, SIXTEEN), bound)
}

const fn figure(what: &'static str, of: Place, bound: Bound, judged: Judged) -> Goal {
    Goal { what, of, over: None, bound, judged }
}

const GOALS: [Goal; 64] = [
    rate("one hot key: x dashmap", "hot", "dashmap", AtLeast(5.0)),
    rate("one hot key: x quick_cache", "hot", "quick_cache", AtLeast(5.0)),
    rate("one hot key: x papaya", "hot", "papaya", AtLeast(1.1)),
    rate("one hot key: x moka", "hot", "moka", AtLeast(30.0)),
    ratio("one hot key: two threads x one", Place("hot", US, TWO), Place("hot", US, ONE), AtLeast(1.8)),
    ratio(
        "one hot key, guard held: x the floor's time",
        Place("hot", FLOOR, TWO),
        Place("hot", HELD, TWO),
        AtMost(2.5),
    ),
    rate("1e5 keys: x dashmap", "read-1e5", "dashmap", AtLeast(2.2)),
    rate("1e5 keys: x quick_cache", "read-1e5", "quick_cache", AtLeast(2.4)),
    rate("1e5 keys: x papaya", "read-1e5", "papaya", AtLeast(1.35)),
    rate("1e5 keys: x moka", "read-1e5", "moka", AtLeast(50.0)),
    ratio(
        "1e5 keys, one thread: x dashmap",
        Place("read-1e5", US, ONE),
        Place("read-1e5", "dashmap", ONE),
        AtLeast(0.65),
    ),
    ratio(
        "1e5 keys, one thread: x papaya",
        Place("read-1e5", US, ONE),
        Place("read-1e5", "papaya", ONE),
        AtLeast(1.4),
    ),
    rate("large set of keys: x dashmap", "read-large", "dashmap", AtLeast(0.9)),
    rate("large set of keys: x papaya", "read-large", "papaya", AtLeast(0.9)),
    rate("large set of keys: x quick_cache", "read-large", "quick_cache", AtLeast(1.3)),
    ratio(
        "large set of keys: x the floor's time",
        Place("read-large", FLOOR, TWO),
        Place("read-large", US, TWO),
        AtMost(2.6),
    ),
    ratio(
        "large set of keys, 64 in a call: x one by one",
        Place("read-large", MANY, ONE),
        Place("read-large", US, ONE),
        AtLeast(1.8),
    ),
    ratio(
        "replace, 1e3 keys, one thread: x quick_cache's time",
        Place("replace-1e3", "quick_cache", ONE),
        Place("replace-1e3", US, ONE),
        AtMost(1.0 / 0.45),
    ),
    ratio(
        "replace, 1e5 keys, one thread: x quick_cache's time",
        Place("replace-1e5", "quick_cache", ONE),
        Place("replace-1e5", US, ONE),
        AtMost(1.0 / 0.6),
    ),
    ratio(
        "replace, 1e3 keys: two threads x one",
        Place("replace-1e3", US, TWO),
        Place("replace-1e3", US, ONE),
        AtLeast(1.3),
    ),
    ratio(
        "replace, 1e5 keys: two threads x one",
        Place("replace-1e5", US, TWO),
        Place("replace-1e5", US, ONE),
        AtLeast(1.3),
    ),
    rate("growth: x the time of moka, per entry", "growth", "moka, per entry", AtMost(0.2)),
    rate("growth: x the time of moka", "growth", "moka", AtMost(0.2)),
    rate("growth: x the time of quick_cache", "growth", "quick_cache", AtMost(1.35)),
    ratio(
        "growth by many inserts in a call: x the rate one by one",
        Place("growth", US, ONE),
        Place("growth", MANY, ONE),
        AtLeast(1.4),
    ),
    ratio(
        "growth, p99.99 of an insert: x quick_cache's",
        Place("latency-2-threads", US, "p99.99"),
        Place("latency-2-threads", "quick_cache", "p99.99"),
        AtMost(1.0),
    ),
    figure(
        "memory: resident bytes per entry beyond key and value",
        Place("memory", US, "at rest"),
        AtMost(56.0),
        Judged::Median,
    ),
    figure(
        "mass expiry, silent: seconds after the deadline, worst round",
        Place("expiry", US, "silent"),
        AtMost(1.3),
        Judged::Worst,
    ),
    figure(
        "mass expiry, read meanwhile: seconds after the deadline, worst round",
        Place("expiry", US, "read meanwhile"),
        AtMost(1.3),
        Judged::Worst,
    ),
    ratio(
        "mass expiry, a reader's p99.9: x what it was before",
        Place("expiry-reader", "tidewheel, meanwhile", "p99.9"),
        Place("expiry-reader", "tidewheel, before", "p99.9"),
        AtMost(1.2),
    ),
    ratio(
        "mass expiry, a reader's p99.99: x what it was before",
        Place("expiry-reader", "tidewheel, meanwhile", "p99.99"),
        Place("expiry-reader", "tidewheel, before", "p99.99"),
        AtMost(3.0),
    ),
    rate("full, 95 reads of 100: x moka", "bounded-95", "moka", AtLeast(6.0)),
    rate("full, 95 reads of 100: x quick_cache", "bounded-95", "quick_cache", AtLeast(1.3)),
    rate("full, 95 reads of 100: x moka's hits", "bounded-95-hits", "moka", AtLeast(1.0)),
    rate("full, 95 reads of 100: x quick_cache's hits", "bounded-95-hits", "quick_cache", AtLeast(1.0)),
    rate("full, 75 reads of 100: x moka", "bounded-75", "moka", AtLeast(6.0)),
    rate("full, 75 reads of 100: x quick_cache", "bounded-75", "quick_cache", AtLeast(1.0)),
    rate("full, 75 reads of 100: x moka's hits", "bounded-75-hits", "moka", AtLeast(1.0)),
    rate("full, 75 reads of 100: x quick_cache's hits", "bounded-75-hits", "quick_cache", AtLeast(1.0)),
    rate("full, read through: x moka", "read-through", "moka", AtLeast(6.0)),
    rate("full, read through: x quick_cache", "read-through", "quick_cache", AtLeast(0.9)),
    rate("full, read through: x moka's hits", "read-through-hits", "moka", AtLeast(1.0)),
    rate("full, read through: x quick_cache's hits", "read-through-hits", "quick_cache", AtLeast(1.0)),
    ratio(
        "full, p99.9 of an insert: x quick_cache's",
        Place("bounded-latency", US, "p99.9"),
        Place("bounded-latency", "quick_cache", "p99.9"),
        AtMost(1.0),
    ),
    figure(
        "full, memory: resident bytes per entry beyond key and value",
        Place("bounded-memory", US, "at rest"),
        AtMost(72.0),
        Judged::Median,
    ),
    ratio(
        "one hot key, with statistics: x the time without",
        Place("hot", US, TWO),
        Place("hot", COUNTED, TWO),
        AtMost(1.15),
    ),
    cold("cold loads, same order: x moka's time", "load-cold", "moka", AtMost(1.0 / 3.0)),
    cold("cold loads, same order: x quick_cache's time", "load-cold", "quick_cache", AtMost(1.0)),
    cold("cold loads, own orders: x moka's time", "load-cold-own", "moka", AtMost(1.0 / 3.0)),
    cold("cold loads, own orders: x quick_cache's time", "load-cold-own", "quick_cache", AtMost(1.0)),
    cold("first loads, same order: x moka's time", "load-cold-first", "moka", AtMost(1.0 / 3.0)),
    cold("first loads, same order: x quick_cache's time", "load-cold-first", "quick_cache", AtMost(1.0)),
    cold("first loads, own orders: x moka's time", "load-cold-own-first", "moka", AtMost(1.0 / 3.0)),
    cold("first loads, own orders: x quick_cache's time", "load-cold-own-first", "quick_cache", AtMost(1.0)),
    figure(
        "cold loads, same order: loads per key, worst round",
        Place("load-cold-loads", US, SIXTEEN),
        AtMost(1.0),
        Judged::Worst,
    ),
    figure(
        "cold loads, own orders: loads per key, worst round",
        Place("load-cold-own-loads", US, SIXTEEN),
        AtMost(1.0),
        Judged::Worst,
    ),
    ratio(
        "a hit through get_with, one hot key: x the time of get",
        Place("load-hit", PLAIN, TWO),
        Place("load-hit", US, TWO),
        AtMost(1.15),
    ),
    ratio(
        "a hit through get_with, 1e5 keys: x the time of get",
        Place("load-hit-1e5", PLAIN, TWO),
        Place("load-hit-1e5", US, TWO),
        AtMost(1.15),
    ),
    rate("first goal, one hot key: x dashmap", "hot", "dashmap", AtLeast(4.5)),
    ratio(
        "first goal, one hot key: two threads x one",
        Place("hot", US, TWO),
        Place("hot", US, ONE),
        AtLeast(1.6),
    ),
    rate("first goal, 1e5 keys: x dashmap", "read-1e5", "dashmap", AtLeast(1.7)),
    ratio(
        "first goal, 1e5 keys, one thread: x dashmap",
        Place("read-1e5", US, ONE),
        Place("read-1e5", "dashmap", ONE),
        AtLeast(0.6),
    ),
    rate("first goal, growth: x the time of moka, per entry", "growth", "moka, per entry", AtMost(0.25)),
    rate("first goal, growth: x the time of moka", "growth", "moka", AtMost(0.25)),
];

/// A goal whose figures are there.
pub(crate) struct Reached {
    pub(crate) what: &'static str,
    pub(crate) wanted: String,
    pub(crate) figures: Samples,
    /// How far off the deciding figure is, as a share of the bound: above zero is a miss.
    pub(crate) off: f64,
}

/// The goals whose figures are in `tables`.
pub(crate) fn reached(tables: &[Table]) -> Vec<Reached> {
    GOALS.iter().filter_map(|goal| goal.reached(tables)).collect()
}

impl Goal {
    fn reached(&self, tables: &[Table]) -> Option<Reached> {
        let figures = match &self.over {
            Some(over) => self.of.find(tables)?.over(over.find(tables)?),
            None => self.of.find(tables)?.clone(),
        };
        if figures.is_empty() {
            return None;
        }
        let (wanted, off) = match self.bound {
            AtLeast(bound) => {
                let decides = if self.judged == Judged::Worst { figures.min() } else { figures.median() };
                (format!("at least {bound}"), 1.0 - decides / bound)
            }
            AtMost(bound) => {
                let decides = if self.judged == Judged::Worst { figures.max() } else { figures.median() };
                (format!("at most {bound}"), decides / bound - 1.0)
            }
        };
        Some(Reached { what: self.what, wanted, figures, off })
    }
}

impl Place {
    fn find<'t>(&self, tables: &'t [Table]) -> Option<&'t Samples> {
        let Self(table, row, column) = self;
        tables.iter().find(|found| found.id == *table)?.figures(row, column)
    }
}

impl Reached {
    pub(crate) fn holds(&self) -> bool {
        self.off <= 0.0
    }
}

/// As a Markdown table; nothing if there are none.
pub(crate) fn report(goals: &[Reached]) -> Option<String> {
    let lines: Vec<_> = goals.iter().map(line).collect();
    (!lines.is_empty()).then(|| {
        format!(
            "### Goals\n\nWith two threads where nothing else is said; ratios taken within a round.\n\n\
             | | wanted | reached | holds |\n|---|---:|---:|---|\n{}\n",
            lines.join("\n")
        )
    })
}

fn line(goal: &Reached) -> String {
    let verdict = if goal.holds() {
        "yes".to_owned()
    } else if goal.off.is_finite() {
        format!("**no**, by {} %", Figure(goal.off * 100.0))
    } else {
        "**no**".to_owned()
    };
    format!("| {} | {} | {} | {verdict} |", goal.what, goal.wanted, Spread(&goal.figures))
}
