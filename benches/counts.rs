//! Instructions per operation of each hot path, counted by callgrind: figures that a busy machine does not
//! change, so that CI can hold them to a table (`.ci/counts.sh`, `benches/counts.tsv`). They know nothing of
//! what an instruction costs: a locked one counts as much as any other, a miss nothing. So locked ones (and
//! fences) are counted by themselves as well, and held to the table too. Mispredicted branches and misses of a
//! simulated processor are told beside them, and held to nothing: where code and data happen to lie changes
//! them.
//!
//! ```text
//! cargo bench --bench counts                  # all paths, separated by tabs; needs valgrind
//! cargo bench --bench counts -- touch tick    # those with such a word in their names
//! counts PATH N                               # N operations of one path, under whatever tool one likes
//! valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*callgrind*timed*' counts PATH N
//! ```
//!
//! The last one leaves a file for `callgrind_annotate`. Figures hold the loop as well (`loop-alone`).
//!
//! That counts repeat: the hasher has fixed keys, the shards do not depend on the machine's cores, no thread
//! runs beside, and the clock is a [`ManualClock`]. Of the system's clock valgrind would show a false
//! picture: it hides the kernel's page from which a program otherwise reads the time, so that each
//! write's reading is a system call, and that counts for nothing. A read's reading is the exception: it
//! looks at a kept or a cached value, which is our own work, so that `get-hit-system-clock` and `get-hit-strict-clock` count it as well.

#[path = "support/callgrind.rs"]
mod callgrind;

use callgrind::{COLUMNS, Path, count, run_named, scattered, see, timed, valgrind_is_there};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tidewheel::{Cache, CacheBuilder, Clock, ManualClock, Reaper, StrictClock, SystemClock};

type Numbers = Cache<u64, u64, ahash::RandomState>;

/// Entries in the cache while its paths are counted.
const ENTRIES: u64 = 1 << 14;

/// Entries that are due at a time.
const DUE: u64 = 1_000;

/// Longer than any path moves its clock.
const LONG: Duration = Duration::from_secs(10 * 365 * 86_400);

const PATHS: [Path; 23] = [
    Path { name: "loop-alone", operations: 20_000, run: |n| over_entries(n, |_, key| see(key)) },
    Path { name: "get-hit", operations: 20_000, run: |n| over_entries(n, |c, key| see(c.get(&key))) },
    Path {
        name: "get-with-hit",
        operations: 20_000,
        run: |n| over_entries(n, |c, key| see(c.get_with(key, || key))),
    },
    Path { name: "get-hit-system-clock", operations: 20_000, run: get_hit_system_clock },
    Path { name: "get-hit-strict-clock", operations: 20_000, run: get_hit_strict_clock },
    Path { name: "get-hit-bounded", operations: 20_000, run: get_hit_bounded },
    Path { name: "get-hit-stats", operations: 20_000, run: get_hit_stats },
    Path {
        name: "get-miss",
        operations: 20_000,
        run: |n| over_entries(n, |c, key| see(c.get(&(key + ENTRIES)))),
    },
    Path {
        name: "read-hit",
        operations: 20_000,
        run: |n| over_entries(n, |c, key| see(c.read(&key, |value| *value))),
    },
    Path { name: "guard-alone", operations: 20_000, run: |n| over_entries(n, |c, _| see(c.read_guard())) },
    Path { name: "guard-held-hit", operations: 20_000, run: guard_held_hit },
    Path { name: "get-with-cold", operations: 1 << 15, run: get_with_cold },
    Path { name: "insert-new", operations: 1 << 15, run: insert_new },
    Path { name: "insert-new-growing", operations: 1 << 16, run: insert_new_growing },
    Path { name: "insert-evicting", operations: 1 << 15, run: insert_evicting },
    Path { name: "insert-over", operations: 20_000, run: |n| over_entries(n, |c, key| c.insert(key, key)) },
    Path {
        name: "replace",
        operations: 20_000,
        run: |n| over_entries(n, |c, key| see(c.replace(&key, key))),
    },
    Path {
        name: "update",
        operations: 20_000,
        run: |n| over_entries(n, |c, key| see(c.update(&key, |value| value ^ key))),
    },
    Path { name: "touch", operations: 20_000, run: |n| over_entries(n, |c, key| see(c.touch(&key))) },
    Path { name: "remove-insert", operations: 20_000, run: remove_insert },
    Path { name: "tick-idle", operations: 1_000, run: tick_idle },
    Path { name: "tick-due", operations: 20 * DUE, run: tick_due },
    Path { name: "tick-refiled", operations: ENTRIES, run: tick_refiled },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if run_named(&PATHS, &arguments) {
        return ExitCode::SUCCESS;
    }
    // As with criterion: under `cargo test`, and when asked for a test, it only shows that it runs.
    let given = |wanted| arguments.iter().any(|argument| argument == wanted);
    if !given("--bench") || given("--test") {
        PATHS.iter().for_each(|path| (path.run)(DUE));
        return ExitCode::SUCCESS;
    }
    if !valgrind_is_there() {
        eprintln!("there is no valgrind: nothing is counted");
        return ExitCode::SUCCESS;
    }
    let words: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |path: &&Path| words.is_empty() || words.iter().any(|word| path.name.contains(*word));
    println!("operation\t{}", COLUMNS.map(|(title, _)| title).join("\t"));
    for path in PATHS.iter().filter(wanted) {
        match count(path) {
            Ok(figures) => {
                println!("{}\t{}", path.name, figures.map(|figure| format!("{figure:.1}")).join("\t"));
            }
            Err(reason) => {
                eprintln!("{reason}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn over_entries(operations: u64, operation: impl Fn(&Numbers, u64)) {
    let (cache, _clock) = filled(ENTRIES, LONG);
    timed(|| {
        for number in 0..operations {
            operation(&cache, scattered(number, ENTRIES));
        }
    });
    cache.validate();
}

fn guard_held_hit(operations: u64) {
    let (cache, _clock) = filled(ENTRIES, LONG);
    let guard = cache.read_guard();
    timed(|| {
        for number in 0..operations {
            see(guard.get(&scattered(number, ENTRIES)));
        }
    });
}

/// With the kept time. Under valgrind no thread gets to write it in time, nor would it start: so that is done here, between some hundreds of
/// reads. One read in 64 checks it.
fn get_hit_system_clock(operations: u64) {
    let cache = on_a_real_clock(SystemClock);
    for first in (0..operations).step_by(250) {
        SystemClock::keep_once();
        timed(|| {
            for number in first..operations.min(first + 250) {
                see(cache.get(&scattered(number, ENTRIES)));
            }
        });
    }
}

/// The cached reading is refreshed every 4 ms, which under valgrind are some hundreds of reads.
fn get_hit_strict_clock(operations: u64) {
    let cache = on_a_real_clock(StrictClock);
    timed(|| {
        for number in 0..operations {
            see(cache.get(&scattered(number, ENTRIES)));
        }
    });
}

/// Filled, and read for long enough for the rate of the processor's counter to be known (`src/time/system.rs`).
fn on_a_real_clock(clock: impl Clock) -> Numbers {
    let cache = build(settings(LONG).clock(clock).reaper(Reaper::manual()));
    (0..ENTRIES).for_each(|key| cache.insert(key, key));
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(100) {
        see(cache.get(&0));
    }
    cache
}

/// Every entry has been hit as often as is counted, as most hits find it.
fn get_hit_bounded(operations: u64) {
    let (cache, _clock) = filled_with(ENTRIES, settings(LONG).max_capacity(2 * ENTRIES));
    for _ in 0..3 {
        (0..ENTRIES).for_each(|key| see(cache.get(&key)));
    }
    timed(|| {
        for number in 0..operations {
            see(cache.get(&scattered(number, ENTRIES)));
        }
    });
}

fn get_hit_stats(operations: u64) {
    let (cache, _clock) = filled_with(ENTRIES, settings(LONG).record_stats());
    timed(|| {
        for number in 0..operations {
            see(cache.get(&scattered(number, ENTRIES)));
        }
    });
}

/// A full cache, and each time a key that it has never seen. A quarter of what is in it was hit.
fn insert_evicting(operations: u64) {
    let cache = build(settings(LONG).clock(ManualClock::new()).max_capacity(ENTRIES));
    let insert = |key| {
        cache.insert(key, key);
        if key % 4 == 0 {
            see((cache.get(&key), cache.get(&key)));
        }
    };
    (0..4 * ENTRIES).for_each(insert);
    timed(|| (4 * ENTRIES..4 * ENTRIES + operations).for_each(|key| cache.insert(key, key)));
    assert_eq!(cache.entry_count() as u64, ENTRIES);
    cache.validate();
}

/// There is room for all, with some to spare in each shard.
fn insert_new(operations: u64) {
    let cache = build(settings(LONG).clock(ManualClock::new()).initial_capacity(2 * operations as usize));
    timed(|| (0..operations).for_each(|key| cache.insert(key, key)));
    assert_eq!(cache.entry_count() as u64, operations);
}

/// As `insert_new`, each key loaded, with nobody else who wants it.
fn get_with_cold(operations: u64) {
    let cache = build(settings(LONG).clock(ManualClock::new()).initial_capacity(2 * operations as usize));
    timed(|| (0..operations).for_each(|key| see(cache.get_with(key, || key))));
    assert_eq!(cache.entry_count() as u64, operations);
}

/// Growth from nothing is part of it.
fn insert_new_growing(operations: u64) {
    let (cache, _clock) = filled(0, LONG);
    timed(|| (0..operations).for_each(|key| cache.insert(key, key)));
    assert_eq!(cache.entry_count() as u64, operations);
}

/// Both together are one operation.
fn remove_insert(operations: u64) {
    over_entries(operations, |cache, key| {
        see(cache.remove(&key));
        cache.insert(key, key);
    });
}

/// A second goes by, and of the entries none is due.
fn tick_idle(operations: u64) {
    let (cache, clock) = filled(ENTRIES, LONG);
    for _ in 0..operations {
        clock.advance_without_sweeping(Duration::from_secs(1));
        timed(|| cache.run_pending_tasks());
    }
    assert_eq!(cache.entry_count() as u64, ENTRIES);
}

/// A thousand entries are due, among others that are not: they leave, and their values are dropped. An
/// operation is one such entry.
fn tick_due(operations: u64) {
    let (cache, clock) = filled(ENTRIES, LONG);
    for _ in 0..operations / DUE {
        (ENTRIES..ENTRIES + DUE).for_each(|key| cache.insert_with_ttl(key, key, Duration::from_secs(1)));
        clock.advance_without_sweeping(Duration::from_secs(2));
        timed(|| cache.run_pending_tasks());
        assert_eq!(cache.entry_count() as u64, ENTRIES);
    }
}

/// Every row's slot comes due, but each entry was touched, so that it is filed again.
fn tick_refiled(operations: u64) {
    let (cache, clock) = filled(operations, Duration::from_secs(5));
    clock.advance(Duration::from_secs(3));
    (0..operations).for_each(|key| assert!(cache.touch(&key)));
    clock.advance_without_sweeping(Duration::from_secs(4));
    timed(|| cache.run_pending_tasks());
    assert_eq!(cache.entry_count() as u64, operations);
}

/// The keys `0..entries`, each with itself as value, and nothing left to do.
fn filled(entries: u64, time_to_live: Duration) -> (Numbers, ManualClock) {
    filled_with(entries, settings(time_to_live))
}

fn filled_with(entries: u64, settings: CacheBuilder<u64, u64>) -> (Numbers, ManualClock) {
    let clock = ManualClock::new();
    let cache = build(settings.clock(clock.clone()));
    (0..entries).for_each(|key| cache.insert(key, key));
    cache.run_pending_tasks();
    (cache, clock)
}

/// As many shards as a machine with two processors gets.
fn settings(time_to_live: Duration) -> CacheBuilder<u64, u64> {
    Cache::builder().time_to_live(time_to_live).shards(8)
}

fn build(settings: CacheBuilder<u64, u64>) -> Numbers {
    settings.build_with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4)).expect("a valid configuration")
}
