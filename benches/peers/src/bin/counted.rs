//! Instructions, mispredicted branches and cache misses per operation of each hot path of ours, and of
//! the peers where it helps to compare, counted by callgrind on a simulated processor: figures that a
//! busy machine does not change. They know nothing of locked instructions, which cost more than others.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml --bin counted            # the table
//! counted PATH N                                                                       # N operations of one path
//! valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*counted*timed*' counted PATH N
//! ```
//!
//! The last one leaves a file for `callgrind_annotate`. Only what runs inside [`timed`] is counted.

// What it shares with the timed runs, it takes from them, and does not need all of it.
#[allow(dead_code, unused_imports, reason = "a part of it is for the timed runs")]
#[path = "../candidates/mod.rs"]
mod candidates;

use candidates::{Dashmap, Frozen, Papaya, QuickCache, Reads, Tidewheel, Writes};
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::time::Duration;
use tidewheel::{Cache, ManualClock, Reaper};

type Numbers = Cache<u64, u64, ahash::RandomState>;

/// One hot path: its name, how often it runs in the table, and how it runs.
struct Path {
    name: &'static str,
    operations: u64,
    run: fn(u64),
}

/// Entries in the cache while its paths are counted.
const ENTRIES: u64 = 1 << 14;

/// Entries where it matters that they do not fit a core's cache.
const MANY: u64 = 1 << 17;

const PATHS: [Path; 25] = [
    Path { name: "loop-alone", operations: 100_000, run: |n| over_entries(n, |_, key| see(key)) },
    Path { name: "get-hit", operations: 100_000, run: |n| over_entries(n, |c, key| see(c.get(&key))) },
    Path {
        name: "get-miss",
        operations: 100_000,
        run: |n| over_entries(n, |c, key| see(c.get(&(key + ENTRIES)))),
    },
    Path {
        name: "read-hit",
        operations: 100_000,
        run: |n| over_entries(n, |c, key| see(c.read(&key, |value| *value))),
    },
    Path { name: "guard-hit", operations: 100_000, run: guard_hit },
    Path { name: "guard-alone", operations: 100_000, run: |n| over_entries(n, |c, _| see(c.read_guard())) },
    Path { name: "insert-new", operations: 1 << 17, run: insert_new },
    Path { name: "insert-over", operations: 100_000, run: |n| over_entries(n, |c, key| c.insert(key, key)) },
    Path {
        name: "replace",
        operations: 100_000,
        run: |n| over_entries(n, |c, key| see(c.replace(&key, key))),
    },
    Path {
        name: "update",
        operations: 100_000,
        run: |n| over_entries(n, |c, key| see(c.update(&key, |value| value ^ key))),
    },
    Path { name: "touch", operations: 100_000, run: |n| over_entries(n, |c, key| see(c.touch(&key))) },
    Path {
        name: "invalidate",
        operations: ENTRIES,
        run: |n| over_entries(n, |c, key| see(c.invalidate(&key))),
    },
    Path { name: "tick-due", operations: 1 << 17, run: tick_due },
    Path { name: "tick-refiled", operations: 1 << 17, run: tick_refiled },
    Path { name: "tick-idle", operations: 1_000, run: tick_idle },
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
    match arguments.as_slice() {
        [] => {
            table();
            ExitCode::SUCCESS
        }
        [name, operations] => {
            let path = PATHS.iter().find(|path| path.name == name);
            let (Some(path), Ok(operations)) = (path, operations.parse()) else {
                eprintln!("paths: {}", PATHS.map(|path| path.name).join(", "));
                return ExitCode::FAILURE;
            };
            (path.run)(operations);
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: counted [PATH OPERATIONS]");
            ExitCode::FAILURE
        }
    }
}

/// Makes the compiler believe that a result is used.
#[inline(always)]
fn see<T>(result: T) {
    black_box(result);
}

/// The markers: callgrind counts from the entry into this function to its return.
#[inline(never)]
fn timed(work: impl FnOnce()) {
    work();
}

fn over_entries(operations: u64, operation: impl Fn(&Numbers, u64)) {
    let cache = filled(ENTRIES);
    timed(|| {
        for number in 0..operations {
            operation(&cache, scattered(number, ENTRIES));
        }
    });
}

fn guard_hit(operations: u64) {
    let cache = filled(ENTRIES);
    let guard = cache.read_guard();
    timed(|| {
        for number in 0..operations {
            black_box(guard.get(&scattered(number, ENTRIES)));
        }
    });
}

/// Meets every key below `entries`, a power of two, and no two neighbours in turn.
fn scattered(number: u64, entries: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9) % entries
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
    let cache = filled(MANY);
    timed(|| (MANY..MANY + operations).for_each(|key| cache.insert(key, key)));
}

/// Growth from nothing is part of it.
fn insert_new(operations: u64) {
    let cache = filled(0);
    timed(|| (0..operations).for_each(|key| cache.insert(key, key)));
}

/// Every entry is due: it leaves and its value is dropped.
fn tick_due(operations: u64) {
    let (cache, clock) = manual(operations, Duration::from_secs(1));
    clock.advance_without_sweeping(Duration::from_secs(2));
    timed(|| cache.run_pending_tasks());
    assert_eq!(cache.entry_count(), 0);
}

/// Every row's slot comes due, but each entry was touched: it is filed again.
fn tick_refiled(operations: u64) {
    let (cache, clock) = manual(operations, Duration::from_secs(5));
    clock.advance(Duration::from_secs(3));
    (0..operations).for_each(|key| assert!(cache.touch(&key)));
    clock.advance_without_sweeping(Duration::from_secs(4));
    timed(|| cache.run_pending_tasks());
    assert_eq!(cache.entry_count() as u64, operations);
}

/// Ticks with nothing due, entries waiting.
fn tick_idle(operations: u64) {
    let (cache, clock) = manual(ENTRIES, Duration::from_secs(1 << 30));
    timed(|| {
        for _ in 0..operations {
            clock.advance_without_sweeping(Duration::from_secs(1));
            cache.run_pending_tasks();
        }
    });
}

/// On the default clock, but without a thread beside: what it did would not be counted every time alike.
fn filled(entries: u64) -> Numbers {
    let cache = Cache::builder()
        .time_to_live(Duration::from_secs(3600))
        .reaper(Reaper::manual())
        .build_with_hasher(hasher())
        .expect("a valid configuration");
    (0..entries).for_each(|key| cache.insert(key, key));
    cache.run_pending_tasks();
    cache
}

fn manual(entries: u64, time_to_live: Duration) -> (Numbers, ManualClock) {
    let clock = ManualClock::new();
    let cache = Cache::builder()
        .time_to_live(time_to_live)
        .clock(clock.clone())
        .build_with_hasher(hasher())
        .expect("a valid configuration");
    (0..entries).for_each(|key| cache.insert(key, key));
    (cache, clock)
}

fn hasher() -> ahash::RandomState {
    ahash::RandomState::with_seeds(1, 2, 3, 4)
}

/// The simulated caches: a core's first and second level.
const CACHES: [&str; 3] = ["--I1=32768,8,64", "--D1=32768,8,64", "--LL=1048576,8,64"];

/// Columns of the table: the title, and the events of callgrind that are added up in it.
const COLUMNS: [(&str, &[&str]); 4] = [
    ("instructions", &["Ir"]),
    ("mispredicted branches", &["Bcm", "Bim"]),
    ("misses of 32 KiB", &["D1mr", "D1mw"]),
    ("misses of 1 MiB", &["DLmr", "DLmw"]),
];

/// Runs each path under callgrind and prints what it counted, per operation.
fn table() {
    println!("| path | {} |", COLUMNS.map(|(title, _)| title).join(" | "));
    println!("|---|{}", "---:|".repeat(COLUMNS.len()));
    for path in &PATHS {
        let line = match count(path) {
            Ok(events) => {
                COLUMNS.map(|(_, wanted)| per_operation(&events, wanted, path.operations)).join(" | ")
            }
            Err(reason) => reason,
        };
        println!("| {} | {line} |", path.name);
    }
}

fn per_operation(events: &[(String, u64)], wanted: &[&str], operations: u64) -> String {
    let sum: u64 = events.iter().filter(|(event, _)| wanted.contains(&event.as_str())).map(|(_, n)| n).sum();
    format!("{:.2}", sum as f64 / operations as f64)
}

/// The events of one run, by callgrind's names.
fn count(path: &Path) -> Result<Vec<(String, u64)>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .args(["--toggle-collect=*counted*timed*", "--branch-sim=yes", "--cache-sim=yes"])
        .args(CACHES)
        .arg(program)
        .args([path.name, &path.operations.to_string()])
        .output()
        .map_err(|error| format!("valgrind does not start: {error}"))?;
    let report = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("failed: {}", report.lines().next_back().unwrap_or_default()));
    }
    let line = |label: &str| {
        let rest = report.lines().find_map(|line| line.split_once(label)?.1.trim_start().strip_prefix(':'));
        rest.map(str::split_whitespace).ok_or_else(|| format!("valgrind said nothing of {label}"))
    };
    let counts = line("Collected")?.flat_map(str::parse);
    Ok(line("Events")?.map(str::to_owned).zip(counts).collect())
}
