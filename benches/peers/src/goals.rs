//! The goals, each beside the figure that was reached. Reported, never asserted: a busy machine is no
//! error.

use crate::entrants::OURS;
use crate::samples::Samples;
use crate::table::{Figure, Spread, Table};
use crate::workloads::threads_title;

struct Goal {
    what: &'static str,
    /// Our figure: workload and threads.
    ours: (&'static str, usize),
    /// What it is divided by: candidate and threads.
    over: (&'static str, usize),
    bound: Bound,
}

enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

const GOALS: [Goal; 6] = [
    Goal {
        what: "one hot key, 2 threads: x dashmap",
        ours: ("hot", 2),
        over: ("dashmap", 2),
        bound: Bound::AtLeast(4.5),
    },
    Goal {
        what: "one hot key, 2 threads: x our own one-thread figure",
        ours: ("hot", 2),
        over: (OURS, 1),
        bound: Bound::AtLeast(1.6),
    },
    Goal {
        what: "1e5 uniform keys, 2 threads: x dashmap",
        ours: ("read-1e5", 2),
        over: ("dashmap", 2),
        bound: Bound::AtLeast(1.7),
    },
    Goal {
        what: "1e5 uniform keys, 1 thread: x dashmap",
        ours: ("read-1e5", 1),
        over: ("dashmap", 1),
        bound: Bound::AtLeast(0.6),
    },
    Goal {
        what: "growth, 2 threads: x the time of moka with a time to live per entry",
        ours: ("growth", 2),
        over: ("moka, per entry", 2),
        bound: Bound::AtMost(0.25),
    },
    Goal {
        what: "growth, 2 threads: x the time of moka with one time to live",
        ours: ("growth", 2),
        over: ("moka", 2),
        bound: Bound::AtMost(0.25),
    },
];

/// The goals whose figures are in `tables`, as a Markdown table; nothing if there are none.
pub(crate) fn report(tables: &[Table]) -> Option<String> {
    let lines: Vec<_> = GOALS.iter().filter_map(|goal| Some(line(goal, &reached(goal, tables)?))).collect();
    (!lines.is_empty()).then(|| {
        format!("### Goals\n\n| | wanted | reached | holds |\n|---|---:|---:|---|\n{}\n", lines.join("\n"))
    })
}

fn reached(goal: &Goal, tables: &[Table]) -> Option<Samples> {
    let (workload, threads) = goal.ours;
    let table = tables.iter().find(|table| table.workload == workload)?;
    let ours = table.figures(OURS, &threads_title(threads))?;
    let other = table.figures(goal.over.0, &threads_title(goal.over.1))?;
    Some(ours.over(other))
}

fn line(goal: &Goal, reached: &Samples) -> String {
    let median = reached.median();
    // How far off the figure is, as a share of the bound: above zero is a miss.
    let (wanted, off) = match goal.bound {
        Bound::AtLeast(bound) => (format!("at least {bound}"), 1.0 - median / bound),
        Bound::AtMost(bound) => (format!("at most {bound}"), median / bound - 1.0),
    };
    let verdict = if off <= 0.0 { "yes".to_owned() } else { format!("**no**, by {} %", Figure(off * 100.0)) };
    format!("| {} | {wanted} | {} | {verdict} |", goal.what, Spread(reached))
}
