//! Instructions, locked ones among them, mispredicted branches and cache misses per operation of ours and of
//! the peers, counted by callgrind on a simulated processor: figures that a busy machine does not change.
//! (Each hot path of ours alone: `benches/counts.rs`.)
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml --bin counted            # the table
//! counted PATH N                                                                       # N operations of one path
//! valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*callgrind*timed*' counted PATH N
//! ```
//!
//! The last one leaves a file for `callgrind_annotate`. Only what runs inside [`timed`] is counted.

#[path = "../../../support/callgrind.rs"]
mod callgrind;
// What it shares with the timed runs, it takes from them, and does not need all of it.
#[allow(dead_code, unused_imports, reason = "a part of it is for the timed runs")]
#[path = "../candidates/mod.rs"]
mod candidates;

use callgrind::{COLUMNS, Path, count, run_named, scattered, see, timed};
use candidates::{Dashmap, Frozen, Papaya, QuickCache, Reads, Tidewheel, Writes};
use std::process::ExitCode;

/// Entries that do not fit a core's cache.
const MANY: u64 = 1 << 17;

const PATHS: [Path; 10] = [
    Path { name: "get-many", operations: MANY, run: get_many::<Tidewheel> },
    Path { name: "get-many-dashmap", operations: MANY, run: get_many::<Dashmap> },
    Path { name: "get-many-papaya", operations: MANY, run: get_many::<Papaya> },
    Path { name: "get-many-quick_cache", operations: MANY, run: get_many::<QuickCache> },
    Path { name: "get-many-frozen", operations: MANY, run: get_many::<Frozen> },
    Path { name: "replace-many", operations: MANY, run: replace_many::<Tidewheel> },
    Path { name: "replace-many-dashmap", operations: MANY, run: replace_many::<Dashmap> },
    Path { name: "replace-many-papaya", operations: MANY, run: replace_many::<Papaya> },
    Path { name: "replace-many-quick_cache", operations: MANY, run: replace_many::<QuickCache> },
    Path { name: "growth", operations: 1 << 18, run: growth },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.is_empty() {
        table();
    } else if !run_named(&PATHS, &arguments) {
        eprintln!("usage: counted [PATH OPERATIONS]\npaths: {}", PATHS.map(|path| path.name).join(", "));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Runs each path under callgrind and prints what it counted, per operation.
fn table() {
    println!("| path | {} |", COLUMNS.map(|(title, _)| title).join(" | "));
    println!("|---|{}", "---:|".repeat(COLUMNS.len()));
    for path in &PATHS {
        let line = match count(path) {
            Ok(figures) => figures.map(|figure| format!("{figure:.2}")).join(" | "),
            Err(reason) => reason,
        };
        println!("| {} | {line} |", path.name);
    }
}

/// Every key is read once before, so that a miss is one for want of room.
fn get_many<C: Reads>(operations: u64) {
    let candidate = C::filled(MANY);
    (0..MANY).for_each(|key| see(candidate.get(key)));
    timed(|| (0..operations).for_each(|number| see(candidate.get(scattered(number, MANY)))));
}

fn replace_many<C: Writes>(operations: u64) {
    let candidate = C::filled(MANY);
    timed(|| (0..operations).for_each(|number| see(candidate.replace(scattered(number, MANY), number))));
}

/// Growth on from where the caches have long overflowed.
fn growth(operations: u64) {
    let candidate = Tidewheel::filled(MANY);
    timed(|| (MANY..MANY + operations).for_each(|key| candidate.insert(key, key)));
}
