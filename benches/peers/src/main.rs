//! tidewheel beside dashmap, papaya, quick_cache and moka: medians, spreads and ratios as Markdown
//! tables, and the goals beside what was reached.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- [--quick] [workload ...]
//! ```
//!
//! The rules: one hasher for all, with fixed keys; `u64` keys and values; our default clock and a finite
//! time to live on every entry of ours; a pin per operation; peers as their documents recommend them,
//! the bounded ones with room for everything; rounds interleaved over the candidates; ratios taken
//! within a round. It reports and never asserts a time.

mod candidates;
mod children;
mod entrants;
mod goals;
mod growth;
#[path = "../../support/histogram.rs"]
mod histogram;
#[path = "../../support/keys.rs"]
mod keys;
mod load;
mod samples;
mod steadiness;
mod table;
mod workloads;

use std::process::ExitCode;
use std::time::Duration;
use steadiness::Others;
use workloads::{Plan, Workload};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((children::FLAG, rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest))
    {
        children::answer(rest, &entrants::growing());
        return ExitCode::SUCCESS;
    }
    match parse(arguments) {
        Ok((plan, workloads)) => {
            run(&plan, &workloads);
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}\n\n{}", usage());
            ExitCode::FAILURE
        }
    }
}

fn run(plan: &Plan, workloads: &[&Workload]) {
    println!("{}\n", machine());
    let mut tables = Vec::new();
    for workload in workloads {
        let others = Others::start();
        for table in workload.run(plan) {
            println!("{table}");
            tables.push(table);
        }
        if let Some(share) = others.share() {
            println!("Other processes took {:.0} % of the machine meanwhile.\n", share * 100.0);
        }
    }
    if let Some(goals) = goals::report(&tables) {
        println!("{goals}");
    }
}

fn parse(arguments: Vec<String>) -> Result<(Plan, Vec<&'static Workload>), String> {
    let cores = cores();
    let mut plan = Plan {
        threads: [1, 2, 4, 8, 16].into_iter().filter(|threads| *threads <= cores).collect(),
        rounds: 7,
        span: Duration::from_millis(200),
        large: 5_000_000,
        candidates: Vec::new(),
    };
    let mut chosen = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} wants a value"));
        match argument.as_str() {
            "--quick" => {
                plan.rounds = 5;
                plan.span = Duration::from_millis(40);
                plan.large = 500_000;
            }
            "--rounds" => plan.rounds = number(&value()?)?,
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
    Ok((plan, chosen))
}

/// A number from one on.
fn number<N: std::str::FromStr + PartialOrd + From<u8>>(text: &str) -> Result<N, String> {
    text.parse().ok().filter(|number| *number >= N::from(1)).ok_or_else(|| format!("{text} is no count"))
}

fn usage() -> String {
    let workloads: String =
        workloads::ALL.iter().map(|workload| format!("  {:12} {}\n", workload.name, workload.what)).collect();
    format!(
        "usage: tidewheel-peers [--quick] [--rounds N] [--entries N] [--threads N,N] \
         [--candidates NAME;NAME] [workload ...]\n\
         --entries is for the large workloads; without a workload all run:\n{workloads}"
    )
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What figures without which are worth little: the machine, and how busy it was with other things.
fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, m)| m));
    let load = read("/proc/loadavg");
    format!(
        "{} cores, {}; load before the start: {}",
        cores(),
        model.unwrap_or("unknown processor"),
        load.split_whitespace().next().unwrap_or("unknown")
    )
}
