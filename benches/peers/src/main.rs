//! tidewheel beside the maps and caches that one would otherwise take: medians, spreads and ratios as
//! Markdown tables, and the goals beside what was reached; with `--report` also as a folder with the same
//! in Markdown and JSON, and a chart of each table.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- [--quick] [--report FOLDER] [workload ...]
//! ```
//!
//! The rules: one hasher for all, with fixed keys; `u64` keys and values; our default clock and a finite
//! time to live on every entry of ours; a pin per operation, except where a held guard is a candidate of
//! its own; peers as their documents recommend them, the bounded ones with room for everything; rounds
//! interleaved over the candidates; ratios taken within a round. It reports and never asserts a time.

mod bounded;
mod candidates;
mod chart;
mod children;
mod entrants;
mod expiry;
mod goals;
mod growth;
#[path = "../../support/histogram.rs"]
mod histogram;
#[path = "../../support/keys.rs"]
mod keys;
mod load;
mod loading;
mod machine;
mod quantiles;
mod report;
mod samples;
mod steadiness;
mod table;
mod workloads;

use machine::Machine;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use steadiness::Others;
use workloads::{Plan, Workload};

/// What was asked for.
struct Asked {
    plan: Plan,
    workloads: Vec<&'static Workload>,
    report: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((children::FLAG, rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest))
    {
        children::answer(rest, entrants::children);
        return ExitCode::SUCCESS;
    }
    let asked = match parse(arguments) {
        Ok(asked) => asked,
        Err(message) => {
            eprintln!("{message}\n\n{}", usage());
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = run(&asked) {
        eprintln!("the report cannot be written: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn run(asked: &Asked) -> std::io::Result<()> {
    let machine = Machine::here();
    println!("{machine}\n");
    let mut tables = Vec::new();
    for workload in &asked.workloads {
        let others = Others::start();
        for table in workload.run(&asked.plan) {
            println!("{table}");
            tables.push(table);
        }
        if let Some(share) = others.share() {
            println!("Other processes took {:.0} % of the machine meanwhile.\n", share * 100.0);
        }
        // After each workload: a run that is stopped leaves what it has.
        if let Some(folder) = &asked.report {
            report::write(folder, &machine, &asked.plan, &tables)?;
        }
    }
    if let Some(goals) = goals::report(&goals::reached(&tables)) {
        println!("{goals}");
    }
    Ok(())
}

fn parse(arguments: Vec<String>) -> Result<Asked, String> {
    let cores = machine::cores();
    let mut plan = Plan {
        quick: false,
        threads: [1, 2, 4, 8, 16].into_iter().filter(|threads| *threads <= cores).collect(),
        rounds: 7,
        span: Duration::from_millis(200),
        large: 5_000_000,
        expiring: 2_000_000,
        expiry_rounds: 5,
        candidates: Vec::new(),
    };
    let mut chosen = Vec::new();
    let mut report = None;
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} wants a value"));
        match argument.as_str() {
            "--quick" => {
                plan.quick = true;
                plan.rounds = 5;
                plan.span = Duration::from_millis(40);
                plan.large = 500_000;
                plan.expiry_rounds = 1;
            }
            "--report" => report = Some(PathBuf::from(value()?)),
            "--rounds" => {
                plan.rounds = number(&value()?)?;
                plan.expiry_rounds = plan.rounds;
            }
            "--entries" => plan.large = number(&value()?)?,
            "--threads" => plan.threads = value()?.split(',').map(number).collect::<Result<_, _>>()?,
            "--candidates" => plan.candidates = value()?.split(';').map(str::to_owned).collect(),
            name => chosen.push(
                workloads::ALL
                    .iter()
                    .find(|workload| workload.name == name)
                    .ok_or_else(|| format!("there is no workload and no option {name}"))?,
            ),
        }
    }
    if chosen.is_empty() {
        chosen.extend(&workloads::ALL);
    }
    Ok(Asked { plan, workloads: chosen, report })
}

/// A number from one on.
fn number<N: std::str::FromStr + PartialOrd + From<u8>>(text: &str) -> Result<N, String> {
    text.parse().ok().filter(|number| *number >= N::from(1)).ok_or_else(|| format!("{text} is no count"))
}

fn usage() -> String {
    let workloads: String =
        workloads::ALL.iter().map(|workload| format!("  {:12} {}\n", workload.name, workload.what)).collect();
    format!(
        "usage: tidewheel-peers [--quick] [--report FOLDER] [--rounds N] [--entries N] [--threads N,N] \
         [--candidates NAME;NAME] [workload ...]\n\
         --entries is for the large workloads; without a workload all run:\n{workloads}"
    )
}
