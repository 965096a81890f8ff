//! The workloads by name, and the rounds over them: A B C D A B C D ..., so that what disturbs the
//! machine for a while disturbs all candidates alike.

use crate::bounded;
use crate::children::{self, Child, Kind};
use crate::entrants::{self, Entrant};
use crate::keys::{SEEDS_OF_A_ROUND, Zipf};
use crate::load::Drive;
use crate::loading::COLD;
use crate::quantiles;
use crate::steadiness::{Measured, steady};
use crate::table::{Better, Table};
use std::ops::Range;
use std::time::Duration;

/// How often a disturbed measurement is tried: the short ones more often than the long ones.
const RATE_ATTEMPTS: usize = 4;
const CHILD_ATTEMPTS: usize = 2;

/// What a run was asked for.
pub(crate) struct Plan {
    pub(crate) quick: bool,
    /// The thread counts, each measured in every round.
    pub(crate) threads: Vec<usize>,
    pub(crate) rounds: usize,
    /// How long a rate is measured each time.
    pub(crate) span: Duration,
    /// Entries of the large workloads.
    pub(crate) large: u64,
    /// Entries that expire at once, and rounds of that: they are long ones.
    pub(crate) expiring: u64,
    pub(crate) expiry_rounds: usize,
    /// The candidates to run; empty for all.
    pub(crate) candidates: Vec<String>,
}

impl Plan {
    fn wants(&self, name: &str) -> bool {
        self.candidates.is_empty() || self.candidates.iter().any(|wanted| wanted == name)
    }

    /// Those of a kind who take part.
    fn children(&self, kind: Kind) -> Vec<Child> {
        let mut children = entrants::children(kind);
        children.retain(|child| self.wants(child.name));
        children
    }

    fn threads_titles(&self) -> Vec<String> {
        self.threads.iter().map(|threads| threads_title(*threads)).collect()
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

pub(crate) const ALL: [Workload; 21] = [
    Workload {
        name: "hot",
        what: "reads of one hot key",
        run: |workload, plan| rates(workload, plan, entrants::hot(), 1_000),
    },
    Workload {
        name: "read-1e5",
        what: "reads of 1e5 keys, uniform",
        run: |workload, plan| rates(workload, plan, entrants::uniform(), 100_000),
    },
    Workload {
        name: "read-large",
        what: "reads of a large set of keys, uniform",
        run: |workload, plan| rates(workload, plan, entrants::uniform(), plan.large),
    },
    Workload {
        name: "walk",
        what: "iteration over 1e6 entries",
        run: |workload, plan| rates(workload, plan, entrants::walking(), 1_000_000),
    },
    Workload {
        name: "mixed-95",
        what: "95 reads and 5 inserts over entries, zipf 0.99",
        run: |workload, plan| rates(workload, plan, entrants::mixed::<5>(), Zipf::KEYS),
    },
    Workload {
        name: "mixed-75",
        what: "75 reads and 25 inserts over entries, zipf 0.99",
        run: |workload, plan| rates(workload, plan, entrants::mixed::<25>(), Zipf::KEYS),
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
        name: "update-1e5",
        what: "updates (read, compute, write, as one) of 1e5 keys, uniform",
        run: |workload, plan| rates(workload, plan, entrants::updating(), 100_000),
    },
    Workload {
        name: "growth",
        what: "inserts with a time to live, from nothing to a large set of entries",
        run: growth,
    },
    Workload { name: "latency", what: "the same, each insert timed by itself", run: latency },
    Workload { name: "memory", what: "resident memory of the same", run: memory },
    Workload {
        name: "bounded-95",
        what: "95 reads and 5 inserts, zipf 0.99 over a million keys, room for a tenth",
        run: |workload, plan| full_rates(workload, plan, entrants::bounded_mixed::<5>()),
    },
    Workload {
        name: "bounded-75",
        what: "75 reads and 25 inserts, zipf 0.99 over a million keys, room for a tenth",
        run: |workload, plan| full_rates(workload, plan, entrants::bounded_mixed::<25>()),
    },
    Workload {
        name: "read-through",
        what: "reads that insert what they miss, zipf 0.99 over a million keys, room for a tenth",
        run: |workload, plan| full_rates(workload, plan, entrants::reading_through()),
    },
    Workload {
        name: "bounded-latency",
        what: "inserts of what reads miss into a full cache, each timed by itself",
        run: bounded_latency,
    },
    Workload { name: "bounded-memory", what: "resident memory of a full cache", run: bounded_memory },
    Workload {
        name: "load-hit",
        what: "hits of one hot key through the call that would load it",
        run: |workload, plan| rates(workload, plan, entrants::hitting_one(), 1_000),
    },
    Workload {
        name: "load-hit-1e5",
        what: "hits of 1e5 keys, uniform, through the call that would load them",
        run: |workload, plan| rates(workload, plan, entrants::hitting(), 100_000),
    },
    Workload {
        name: "load-cold",
        what: "keys that nobody has, loaded while all threads ask for them",
        run: load_cold,
    },
    Workload { name: "expiry", what: "many entries that expire at once", run: expiry },
];

/// How a number of threads is called in tables.
pub(crate) fn threads_title(threads: usize) -> String {
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}

/// The rows in the order of a round: each round begins with another one, so that none always comes after the same.
fn turn(rows: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..rows).map(move |place| (place + round) % rows)
}

/// Seeds that no other round and column has. There are no more of them than attempts.
fn seeds(round: usize, column: usize) -> Range<usize> {
    let first = round * SEEDS_OF_A_ROUND + column * RATE_ATTEMPTS;
    let seeds = first..first + RATE_ATTEMPTS;
    assert!(seeds.end <= (round + 1) * SEEDS_OF_A_ROUND, "there are too many numbers of threads");
    seeds
}

fn drive(plan: &Plan, threads: usize, seed: Option<usize>, lead_in: u64) -> Drive {
    let seed = seed.expect("there is a seed for each attempt");
    Drive { threads, span: plan.span, seed, lead_in }
}

fn rates(workload: &Workload, plan: &Plan, mut entrants: Vec<Entrant>, entries: u64) -> Vec<Table> {
    entrants.retain(|entrant| plan.wants(entrant.name));
    let title = format!("{} ({entries} entries)", workload.what);
    let unit = ("million operations per second, all threads together", Better::More);
    let names = entrants.iter().map(|entrant| entrant.name);
    let mut table = Table::new(workload.name, title, unit, plan.threads_titles(), names);
    table.lead = plan.threads.len() - 1;
    progress(workload, "filling");
    let driven: Vec<_> = entrants.iter().map(|entrant| (entrant.fill)(entries)).collect();
    // Round 0 warms up and does not count.
    for round in 0..=plan.rounds {
        progress(workload, &format!("round {round} of {}", plan.rounds));
        for (column, threads) in plan.threads.iter().enumerate() {
            for row in turn(driven.len(), round) {
                let mut seeds = seeds(round, column);
                let mut measure = || driven[row](drive(plan, *threads, seeds.next(), 2 * entries));
                if round == 0 {
                    measure();
                } else {
                    table.push(row, column, &steady(RATE_ATTEMPTS, measure));
                }
            }
        }
    }
    vec![table]
}

/// As [`rates`], of caches that are full, and how often their reads hit.
fn full_rates(workload: &Workload, plan: &Plan, mut entrants: Vec<Entrant>) -> Vec<Table> {
    entrants.retain(|entrant| plan.wants(entrant.name));
    let table = |id: String, title: String, unit| {
        let names = entrants.iter().map(|entrant| entrant.name);
        let mut table = Table::new(id, title, (unit, Better::More), plan.threads_titles(), names);
        table.lead = plan.threads.len() - 1;
        table
    };
    let unit = "million operations per second, all threads together";
    let mut rates = table(workload.name.to_owned(), workload.what.to_owned(), unit);
    let title = format!("{}: hits", workload.what);
    let mut hits = table(format!("{}-hits", workload.name), title, "hits in a hundred reads");
    progress(workload, "filling");
    let driven: Vec<_> = entrants.iter().map(|entrant| (entrant.fill)(bounded::ROOM)).collect();
    // Round 0 warms up and does not count.
    for round in 0..=plan.rounds {
        progress(workload, &format!("round {round} of {}", plan.rounds));
        for (column, threads) in plan.threads.iter().enumerate() {
            for row in turn(driven.len(), round) {
                let mut seeds = seeds(round, column);
                let mut measure = || driven[row](drive(plan, *threads, seeds.next(), 2 * bounded::ROOM));
                if round == 0 {
                    measure();
                    continue;
                }
                let Measured { figures, waited } = steady(RATE_ATTEMPTS, measure);
                let [rate, share] = figures[..] else { unreachable!("two figures are measured") };
                rates.push(row, column, &Measured { figures: vec![rate], waited });
                hits.push(row, column, &Measured { figures: vec![share], waited });
            }
        }
    }
    vec![rates, hits]
}

/// With sixteen threads too, however few cores there are: those who wait sleep.
fn load_cold(workload: &Workload, plan: &Plan) -> Vec<Table> {
    const THREADS: [usize; 3] = [1, 2, 16];
    const TIME: &str = "nanoseconds per key, time of all threads over keys";
    let mut tables = Vec::new();
    for (kind, id, how) in [
        (Kind::LoadCold, "", "all in the same order"),
        (Kind::LoadColdOwn, "-own", "each in an order of its own"),
    ] {
        let children = plan.children(kind);
        let table = |id: String, title: String, unit| {
            let columns = THREADS.map(threads_title).to_vec();
            let names = children.iter().map(|child| child.name);
            let mut table = Table::new(id, title, (unit, Better::Less), columns, names);
            table.lead = THREADS.len() - 1;
            table
        };
        let id = format!("{}{id}", workload.name);
        let title = format!("{COLD} keys that nobody has, asked for by every thread, {how}");
        let mut times = table(id.clone(), title.clone(), TIME);
        let mut first_times =
            table(format!("{id}-first"), format!("{title}, the first time in a process"), TIME);
        let mut loads = table(format!("{id}-loads"), format!("{title}: loads"), "loads per key");
        for round in 1..=plan.rounds {
            progress(workload, &format!("{how}, round {round} of {}", plan.rounds));
            for (column, threads) in THREADS.into_iter().enumerate() {
                for (row, child) in children.iter().enumerate() {
                    let Measured { figures, waited } = children::measure(kind, child.name, threads, COLD);
                    let [first, time, share] = figures[..] else { unreachable!("three are measured") };
                    first_times.push(row, column, &Measured { figures: vec![first], waited });
                    times.push(row, column, &Measured { figures: vec![time], waited });
                    loads.push(row, column, &Measured { figures: vec![share], waited });
                }
            }
        }
        tables.extend([times, first_times, loads]);
    }
    tables
}

fn growth(workload: &Workload, plan: &Plan) -> Vec<Table> {
    let title = format!("inserts with a time to live, from nothing to {} entries", plan.large);
    let unit = ("nanoseconds per insert, time of all threads over inserts", Better::Less);
    let children = plan.children(Kind::Growth);
    let names = children.iter().map(|child| child.name);
    let mut table = Table::new(workload.name, title, unit, plan.threads_titles(), names);
    table.lead = plan.threads.len() - 1;
    for round in 1..=plan.rounds {
        progress(workload, &format!("round {round} of {}", plan.rounds));
        for (column, threads) in plan.threads.iter().enumerate() {
            for (row, child) in children.iter().enumerate() {
                let measure = || children::measure(Kind::Growth, child.name, *threads, plan.large);
                table.push(row, column, &steady(CHILD_ATTEMPTS, measure));
            }
        }
    }
    vec![table]
}

fn latency(workload: &Workload, plan: &Plan) -> Vec<Table> {
    let unit = ("nanoseconds, two readings of the clock included", Better::Less);
    let children = plan.children(Kind::Latency);
    let table = |threads: &usize| {
        let threads_title = threads_title(*threads);
        let title = format!("a single insert while growing to {} entries, {threads_title}", plan.large);
        let id = format!("{}-{}", workload.name, threads_title.replace(' ', "-"));
        let names = children.iter().map(|child| child.name);
        let mut table = Table::new(id, title, unit, quantiles::columns(), names);
        // The quantile that the goals look at.
        table.lead = quantiles::COUNT - 2;
        for round in 1..=plan.rounds {
            progress(workload, &format!("{threads_title}, round {round} of {}", plan.rounds));
            for (row, child) in children.iter().enumerate() {
                let measure = || children::measure(Kind::Latency, child.name, *threads, plan.large);
                table.push(row, 0, &steady(CHILD_ATTEMPTS, measure));
            }
        }
        table
    };
    plan.threads.iter().map(table).collect()
}

/// With two threads, whatever else is measured with.
fn bounded_latency(workload: &Workload, plan: &Plan) -> Vec<Table> {
    let reads = 2 * plan.large;
    let unit = ("nanoseconds, two readings of the clock included", Better::Less);
    let children = plan.children(Kind::BoundedLatency);
    let title =
        format!("a single insert of what {reads} reads miss, into a full cache, {}", threads_title(2));
    let names = children.iter().map(|child| child.name);
    let mut table = Table::new(workload.name, title, unit, quantiles::columns(), names);
    // The quantile that the goal looks at.
    table.lead = quantiles::COUNT - 3;
    for round in 1..=plan.rounds {
        progress(workload, &format!("round {round} of {}", plan.rounds));
        for (row, child) in children.iter().enumerate() {
            let measure = || children::measure(Kind::BoundedLatency, child.name, 2, reads);
            table.push(row, 0, &steady(CHILD_ATTEMPTS, measure));
        }
    }
    vec![table]
}

fn memory(workload: &Workload, plan: &Plan) -> Vec<Table> {
    let title = format!("resident memory beyond 16 bytes of key and value, {} entries", plan.large);
    weigh(workload, plan, Kind::Memory, title)
}

fn bounded_memory(workload: &Workload, plan: &Plan) -> Vec<Table> {
    let title =
        format!("resident memory beyond 16 bytes of key and value, a full cache of {} entries", plan.large);
    weigh(workload, plan, Kind::BoundedMemory, title)
}

fn weigh(workload: &Workload, plan: &Plan, kind: Kind, title: String) -> Vec<Table> {
    let unit = ("bytes per entry", Better::Less);
    let children = plan.children(kind);
    let columns = ["at rest", "at the peak"].map(str::to_owned).to_vec();
    let names = children.iter().map(|child| child.name);
    let mut table = Table::new(workload.name, title, unit, columns, names);
    for round in 1..=plan.rounds {
        progress(workload, &format!("round {round} of {}", plan.rounds));
        for (row, child) in children.iter().enumerate() {
            table.push(row, 0, &children::measure(kind, child.name, 1, plan.large));
        }
    }
    vec![table]
}

fn expiry(workload: &Workload, plan: &Plan) -> Vec<Table> {
    let entries = plan.expiring;
    let (silent, read) = (plan.children(Kind::Expiry), plan.children(Kind::ExpiryRead));
    let title = format!("{entries} entries of one deadline: out of the map and dropped");
    let columns = ["silent", "read meanwhile"].map(str::to_owned).to_vec();
    let unit = ("seconds after the deadline", Better::Less);
    let mut lags = Table::new(workload.name, title, unit, columns, silent.iter().map(|child| child.name));
    let title = format!("a single read before {entries} entries expire at once, and meanwhile");
    let unit = ("nanoseconds, two readings of the clock included", Better::Less);
    let names =
        read.iter().flat_map(|child| ["before", "meanwhile"].map(|when| format!("{}, {when}", child.name)));
    let id = format!("{}-reader", workload.name);
    let mut reads = Table::new(id, title, unit, quantiles::columns(), names);
    reads.compared = false;
    reads.lead = quantiles::COUNT - 2;
    for round in 1..=plan.expiry_rounds {
        progress(workload, &format!("round {round} of {}", plan.expiry_rounds));
        for (row, child) in silent.iter().enumerate() {
            let measure = || children::measure(Kind::Expiry, child.name, 1, entries);
            lags.push(row, 0, &steady(CHILD_ATTEMPTS, measure));
        }
        for (row, child) in read.iter().enumerate() {
            let measured =
                steady(CHILD_ATTEMPTS, || children::measure(Kind::ExpiryRead, child.name, 1, entries));
            let part = |from: usize, to: usize| Measured {
                figures: measured.figures[from..to].to_vec(),
                waited: measured.waited,
            };
            if let Some(row) = silent.iter().position(|silent| silent.name == child.name) {
                lags.push(row, 1, &part(0, 1));
            }
            reads.push(2 * row, 0, &part(1, 1 + quantiles::COUNT));
            reads.push(2 * row + 1, 0, &part(1 + quantiles::COUNT, 1 + 2 * quantiles::COUNT));
        }
    }
    vec![lags, reads]
}

fn progress(workload: &Workload, doing: &str) {
    eprintln!("{}: {doing}", workload.name);
}
