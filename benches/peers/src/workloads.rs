//! The workloads by name, and the rounds over them: A B C D A B C D ..., so that what disturbs the
//! machine for a while disturbs all candidates alike.

use crate::children::{self, Growing};
use crate::entrants::{self, Entrant, Grower};
use crate::growth::QUANTILES;
use crate::load::Drive;
use crate::steadiness::steady;
use crate::table::Table;
use std::time::Duration;

/// How often a disturbed measurement is tried: the short ones more often than the long ones.
const RATE_ATTEMPTS: usize = 4;
const CHILD_ATTEMPTS: usize = 2;

/// What a run was asked for.
pub(crate) struct Plan {
    /// The thread counts, each measured in every round.
    pub(crate) threads: Vec<usize>,
    pub(crate) rounds: usize,
    /// How long a rate is measured each time.
    pub(crate) span: Duration,
    /// Entries of the large workloads.
    pub(crate) large: u64,
    /// The candidates to run; empty for all.
    pub(crate) candidates: Vec<String>,
}

impl Plan {
    fn wants(&self, name: &str) -> bool {
        self.candidates.is_empty() || self.candidates.iter().any(|wanted| wanted == name)
    }
}

pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    run: fn(&Workload, &Plan) -> Vec<Table>,
}

impl Workload {
    pub(crate) fn run(&self, plan: &Plan) -> Vec<Table> {
        (self.run)(self, plan)
    }
}

pub(crate) const ALL: [Workload; 8] = [
    Workload {
        name: "hot",
        what: "reads of one key",
        run: |workload, plan| rates(workload, plan, entrants::hot(), 1_000),
    },
    Workload {
        name: "read-1e5",
        what: "reads of 1e5 keys, uniform",
        run: |workload, plan| rates(workload, plan, entrants::uniform(), 100_000),
    },
    Workload {
        name: "read-large",
        what: "reads of a large set of keys (5e6), uniform",
        run: |workload, plan| rates(workload, plan, entrants::uniform(), plan.large),
    },
    Workload {
        name: "replace-1e3",
        what: "replacements of 1e3 keys, uniform",
        run: |workload, plan| rates(workload, plan, entrants::replacing(), 1_000),
    },
    Workload {
        name: "replace-1e5",
        what: "replacements of 1e5 keys, uniform",
        run: |workload, plan| rates(workload, plan, entrants::replacing(), 100_000),
    },
    Workload {
        name: "growth",
        what: "inserts with a time to live, from nothing to a large set of entries (5e6)",
        run: growth,
    },
    Workload { name: "latency", what: "the same, each insert timed by itself", run: latency },
    Workload { name: "memory", what: "resident memory of the same", run: memory },
];

/// How a number of threads is called in tables.
pub(crate) fn threads_title(threads: usize) -> String {
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}

fn rates(workload: &Workload, plan: &Plan, mut entrants: Vec<Entrant>, entries: u64) -> Vec<Table> {
    entrants.retain(|entrant| plan.wants(entrant.name));
    let title = format!(
        "{} ({entries} entries), million per second, median of {} rounds (least to most)",
        workload.what, plan.rounds
    );
    let columns = plan.threads.iter().map(|threads| threads_title(*threads)).collect();
    let mut table = Table::new(workload.name, title, columns, entrants.iter().map(|entrant| entrant.name));
    progress(workload, "filling");
    let driven: Vec<_> = entrants.iter().map(|entrant| (entrant.fill)(entries)).collect();
    // Round 0 warms up and does not count.
    for round in 0..=plan.rounds {
        progress(workload, &format!("round {round} of {}", plan.rounds));
        for (column, threads) in plan.threads.iter().enumerate() {
            for (row, driven) in driven.iter().enumerate() {
                let drive = Drive { threads: *threads, span: plan.span, round };
                if round == 0 {
                    driven(drive);
                } else {
                    table.push(row, column, &steady(RATE_ATTEMPTS, || driven(drive)));
                }
            }
        }
    }
    vec![table]
}

fn growers(plan: &Plan) -> Vec<Grower> {
    let mut growers = entrants::growing();
    growers.retain(|grower| plan.wants(grower.name));
    growers
}

fn growth(workload: &Workload, plan: &Plan) -> Vec<Table> {
    let growers = growers(plan);
    let title = format!(
        "inserts with a time to live from nothing to {} entries, time of all threads over inserts, \
         nanoseconds, median of {} rounds (least to most)",
        plan.large, plan.rounds
    );
    let columns = plan.threads.iter().map(|threads| threads_title(*threads)).collect();
    let mut table = Table::new(workload.name, title, columns, growers.iter().map(|grower| grower.name));
    for round in 1..=plan.rounds {
        progress(workload, &format!("round {round} of {}", plan.rounds));
        for (column, threads) in plan.threads.iter().enumerate() {
            for (row, grower) in growers.iter().enumerate() {
                let measure = || children::measure(Growing::Growth, grower.name, *threads, plan.large);
                table.push(row, column, &steady(CHILD_ATTEMPTS, measure));
            }
        }
    }
    vec![table]
}

fn latency(workload: &Workload, plan: &Plan) -> Vec<Table> {
    let growers = growers(plan);
    plan.threads
        .iter()
        .map(|threads| {
            let title = format!(
                "a single insert while growing to {} entries, {}, nanoseconds (two readings of the clock \
                 included), median of {} rounds (least to most)",
                plan.large,
                threads_title(*threads),
                plan.rounds
            );
            let columns = QUANTILES.iter().map(|(_, name)| *name).chain(["max"]).map(str::to_owned).collect();
            measured(workload, plan, Growing::Latency, &growers, title, columns, *threads)
        })
        .collect()
}

fn memory(workload: &Workload, plan: &Plan) -> Vec<Table> {
    let title = format!(
        "resident bytes per entry beyond 16 bytes of payload, {} entries, median of {} rounds (least to most)",
        plan.large, plan.rounds
    );
    let columns = vec!["at rest".to_owned(), "at the peak".to_owned()];
    vec![measured(workload, plan, Growing::Memory, &growers(plan), title, columns, 1)]
}

/// A table with one column for each figure that a child answers.
fn measured(
    workload: &Workload,
    plan: &Plan,
    growing: Growing,
    growers: &[Grower],
    title: String,
    columns: Vec<String>,
    threads: usize,
) -> Table {
    let mut table = Table::new(workload.name, title, columns, growers.iter().map(|grower| grower.name));
    for round in 1..=plan.rounds {
        progress(workload, &format!("{}, round {round} of {}", threads_title(threads), plan.rounds));
        for (row, grower) in growers.iter().enumerate() {
            table.push(
                row,
                0,
                &steady(CHILD_ATTEMPTS, || children::measure(growing, grower.name, threads, plan.large)),
            );
        }
    }
    table
}

fn progress(workload: &Workload, doing: &str) {
    eprintln!("{}: {doing}", workload.name);
}
