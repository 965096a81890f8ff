//! Hit ratios: access traces replayed on this crate's cache, beside moka, `quick_cache`, LRU and Belady's OPT.
//!
//! ```text
//! cargo bench --bench hit_ratio                                  synthetic traces
//! cargo bench --bench hit_ratio -- --traces DIR [--out DIR]      a directory of traces
//! ```
//!
//! Every access is a get, and on a miss an insert. Five capacities each: 0.1, 1, 5, 10 and 25 % of the unique
//! keys, and at least 100 entries. Prints a table for each trace and a summary for each group of
//! them (a group is what comes before the first `_` in their names), and writes a plot (SVG) for each trace. With
//! `--threads 2` our own cache is replayed by two threads as well, in alternating blocks of 64 accesses. A trace with
//! weights is replayed once more with capacities in weight, and counts what it missed in weight too.
//!
//! | file | what |
//! |---|---|
//! | `main.rs` | the run, and what it prints |
//! | `traces.rs` | traces read from a directory |
//! | `synthetic.rs` | traces drawn from distributions, with fixed seeds |
//! | `replay.rs` | the caches, and how a trace is replayed on them |
//! | `opt.rs` | Belady's OPT |
//! | `plot.rs` | the picture |

mod opt;
mod plot;
mod replay;
mod synthetic;
mod traces;

use replay::{Missed, Rival};
use std::collections::BTreeMap;
use std::path::PathBuf;
use traces::Trace;

/// Parts of the unique keys.
const PARTS: [f64; 5] = [0.001, 0.01, 0.05, 0.1, 0.25];
/// Entries from which on a cache's order of accesses hardly matters.
const LARGE: u64 = 1_000;
/// Entries that a cache has room for at least.
const LEAST: usize = 100;

/// The miss ratios of one capacity, in percent.
pub(crate) struct Cell {
    pub(crate) capacity: u64,
    pub(crate) opt: Option<f64>,
    pub(crate) rivals: Vec<Missed>,
    /// Ours, replayed by several threads.
    pub(crate) threaded: Option<Missed>,
}

impl Cell {
    /// What a rival has missed, in what the capacity counts: entries, or weight.
    fn missed(&self, rival: usize) -> f64 {
        let Missed { objects, weight } = self.rivals[rival];
        weight.unwrap_or(objects)
    }

    /// How much worse ours is than the best of the others, in points.
    fn behind(&self) -> f64 {
        let others = (1..self.rivals.len()).map(|rival| self.missed(rival));
        self.missed(0) - others.fold(f64::INFINITY, f64::min)
    }

    fn is_weighed(&self) -> bool {
        self.rivals[0].weight.is_some()
    }
}

struct Options {
    traces: Option<PathBuf>,
    out: PathBuf,
    only: Option<String>,
    skip: Option<String>,
    threads: usize,
}

fn options() -> Result<Options, String> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let mut options =
        Options { traces: None, out: target.join("hit_ratio"), only: None, skip: None, threads: 1 };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            // What `cargo bench` says to every bench.
            "--bench" => {}
            "--traces" => options.traces = Some(value()?.into()),
            "--out" => options.out = value()?.into(),
            "--only" => options.only = Some(value()?),
            "--skip" => options.skip = Some(value()?),
            "--threads" => {
                options.threads = value()?.parse().map_err(|_| "--threads needs a number".to_string())?;
            }
            other => {
                return Err(format!(
                    "{other} is not known; there are --traces DIR, --out DIR, --only PART, --skip PART, --threads N"
                ));
            }
        }
    }
    Ok(options)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = options()?;
    let has = |name: &str, part: &Option<String>| part.as_ref().map(|part| name.contains(part.as_str()));
    let wanted =
        |name: &str| has(name, &options.only).unwrap_or(true) && !has(name, &options.skip).unwrap_or(false);
    std::fs::create_dir_all(&options.out)?;
    let mut groups: BTreeMap<String, Vec<(String, Vec<Cell>)>> = BTreeMap::new();
    let mut done = |trace: &Trace| -> std::io::Result<()> {
        let cells = replay(trace, options.threads);
        print(trace, &cells);
        std::fs::write(options.out.join(format!("{}.svg", trace.name)), plot::svg(&trace.name, &cells))?;
        groups.entry(trace.group().to_string()).or_default().push((trace.name.clone(), cells));
        Ok(())
    };
    match &options.traces {
        None => {
            for (name, keys) in synthetic::all() {
                if wanted(name) {
                    done(&Trace::new(name.to_string(), keys(), None))?;
                }
            }
        }
        Some(directory) => {
            for path in traces::in_directory(directory)? {
                if wanted(&traces::name_of(&path)) {
                    done(&traces::read(&path)?)?;
                }
            }
        }
    }
    summary(&groups, false);
    if groups.values().flatten().any(|(_, cells)| cells.iter().any(Cell::is_weighed)) {
        summary(&groups, true);
    }
    println!("\nPlots are in {}.", options.out.display());
    Ok(())
}

/// Each trace on each cache at each capacity.
fn replay(trace: &Trace, threads: usize) -> Vec<Cell> {
    let cell = |capacity: u64, weighed: bool| Cell {
        capacity,
        opt: (!weighed).then(|| opt::misses(trace, capacity as usize)),
        rivals: Rival::ALL.map(|rival| rival.replay(trace, capacity, weighed)).into(),
        threaded: (threads > 1).then(|| replay::ours_with_threads(trace, capacity, weighed, threads)),
    };
    let mut cells: Vec<_> =
        PARTS.map(|part| cell(((trace.unique as f64 * part) as usize).max(LEAST) as u64, false)).into();
    if let Some(weights) = &trace.weights {
        let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        cells.extend(PARTS.map(|part| cell((total as f64 * part) as u64, true)));
    }
    cells
}

fn print(trace: &Trace, cells: &[Cell]) {
    println!("\n{}: {} accesses, {} keys; miss ratio in %", trace.name, trace.keys.len(), trace.unique);
    print!("{:>14} {:>8}", "capacity", "OPT");
    Rival::ALL.iter().for_each(|rival| print!(" {:>17}", rival.name()));
    println!(" {:>8} {:>10}", "behind", "threaded");
    for cell in cells {
        print!("{:>14} {:>8}", cell.capacity, cell.opt.map_or("-".to_string(), |opt| format!("{opt:.2}")));
        for missed in &cell.rivals {
            let weight = missed.weight.map_or(String::new(), |weight| format!(" ({weight:.2})"));
            print!(" {:>17}", format!("{:.2}{weight}", missed.objects));
        }
        let threaded = cell.threaded.map_or("-".to_string(), |missed| format!("{:.2}", missed.objects));
        println!(" {:>+8.2} {threaded:>10}", cell.behind());
    }
}

/// Means of the cells with capacities in entries, or of those with capacities in weight.
fn summary(groups: &BTreeMap<String, Vec<(String, Vec<Cell>)>>, weighed: bool) {
    let unit = if weighed { "weight" } else { "entries" };
    println!(
        "\nMean miss ratio in %, capacities in {unit}; behind: against the best of the others in each cell"
    );
    print!("{:<14} {:>6} {:>8}", "group", "cells", "OPT");
    Rival::ALL.iter().for_each(|rival| print!(" {:>12}", rival.name()));
    println!(" {:>8}  furthest behind", "behind");
    let all = groups.values().flatten().collect();
    let named = groups.iter().map(|(group, traces)| (group.as_str(), traces.iter().collect()));
    for (group, traces) in named.chain([("all", all)]) {
        let traces: Vec<&(String, Vec<Cell>)> = traces;
        let cells: Vec<_> = traces
            .iter()
            .flat_map(|(name, cells)| cells.iter().map(move |cell| (name, cell)))
            .filter(|(_, cell)| cell.is_weighed() == weighed)
            .collect();
        if cells.is_empty() {
            continue;
        }
        let mean = |of: &dyn Fn(&Cell) -> f64| {
            cells.iter().map(|(_, cell)| of(cell)).sum::<f64>() / cells.len() as f64
        };
        print!("{group:<14} {:>6} {:>8.2}", cells.len(), mean(&|cell| cell.opt.unwrap_or(0.0)));
        for rival in 0..Rival::ALL.len() {
            print!(" {:>12.2}", mean(&|cell| cell.missed(rival)));
        }
        let worst = cells.iter().max_by(|(_, a), (_, b)| a.behind().total_cmp(&b.behind()));
        let worst = worst.map_or(String::new(), |(name, cell)| {
            format!("{name} at {}: {:+.2}", cell.capacity, cell.behind())
        });
        println!(" {:>+8.2}  {worst}", mean(&Cell::behind));
        // Where as much is in a cache as the threads are apart, their order makes another trace of it.
        let large = cells.iter().filter(|(_, cell)| cell.capacity >= LARGE);
        let apart = large.filter_map(|(_, cell)| Some(cell.threaded?.objects - cell.rivals[0].objects));
        let apart: Vec<f64> = apart.collect();
        if let Some(furthest) = apart.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs())) {
            let mean = apart.iter().sum::<f64>() / apart.len() as f64;
            println!(
                "{:<14} by several threads, {} cells of {LARGE} entries and more: {mean:+.2} points, {furthest:+.2} at most",
                "",
                apart.len(),
            );
        }
    }
}
