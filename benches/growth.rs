//! How long a single insert takes while the cache grows from nothing: the quantiles that tell whether
//! anything copies a whole table. Not a criterion bench, which knows no quantiles: it prints a table.

mod support;

use std::time::Instant;
use support::histogram::Histogram;
use support::{THREADS, empty, share_out, threads_title};

/// Entries at the end, and rounds, of which the median is printed.
const ENTRIES: u64 = 5_000_000;
const ROUNDS: usize = 3;

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

fn main() {
    // As with criterion: under `cargo test`, and when asked for a test, it only shows that it runs.
    let given = |wanted| std::env::args().any(|argument| argument == wanted);
    let measuring = given("--bench") && !given("--test");
    let (entries, rounds) = if measuring { (ENTRIES, ROUNDS) } else { (10_000, 1) };
    println!("A single insert while growing to {entries} entries, ns, median of {rounds} rounds");
    println!("(two readings of the clock are part of each; the mean is of a run without them):\n");
    println!("| | mean | {} | max |", QUANTILES.map(|(name, _)| name).join(" | "));
    println!("|---|{}", "---:|".repeat(QUANTILES.len() + 2));
    for threads in THREADS {
        let rounds: Vec<_> = (0..rounds).map(|_| grow(threads, entries)).collect();
        let medians = (0..QUANTILES.len() + 2).map(|column| {
            let mut figures: Vec<_> = rounds.iter().map(|figures| figures[column]).collect();
            figures.sort_unstable();
            figures[figures.len() / 2].to_string()
        });
        println!("| {} | {} |", threads_title(threads), medians.collect::<Vec<_>>().join(" | "));
    }
}

/// Mean, quantiles and maximum of one growth, in nanoseconds.
fn grow(threads: usize, entries: u64) -> Vec<u64> {
    let cache = empty();
    let (time, _) = share_out(threads, entries, |keys| keys.for_each(|key| cache.insert(key, key)));
    let mean = time.as_nanos() as u64 * threads as u64 / entries;
    drop(cache);

    let cache = empty();
    let (_, histograms) = share_out(threads, entries, |keys| {
        let mut histogram = Histogram::new();
        for key in keys {
            let start = Instant::now();
            cache.insert(key, key);
            histogram.add(start.elapsed().as_nanos() as u64);
        }
        histogram
    });
    let mut all = Histogram::new();
    histograms.iter().for_each(|histogram| all.merge(histogram));
    let mut figures = vec![mean];
    figures.extend(QUANTILES.iter().map(|(_, share)| all.quantile(*share)));
    figures.push(all.max());
    figures
}
