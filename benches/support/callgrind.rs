//! One hot path at a time under callgrind, on a simulated processor: the function in which is counted, the
//! program started once more under valgrind, and what valgrind then reports. It never knows what the
//! paths do, nor which figures are good.

use std::hint::black_box;
use std::process::Command;

/// One hot path: its name, how often it runs to be counted, and how it runs so many times.
pub(crate) struct Path {
    pub(crate) name: &'static str,
    pub(crate) operations: u64,
    pub(crate) run: fn(u64),
}

/// The events that are told of each path: the title, and callgrind's events that are added up in it.
pub(crate) const COLUMNS: [(&str, &[&str]); 5] = [
    ("instructions", &["Ir"]),
    // And fences: all that has to agree with the other processors.
    ("locked instructions", &["Ge"]),
    ("mispredicted branches", &["Bcm", "Bim"]),
    ("misses of 32 KiB", &["D1mr", "D1mw"]),
    ("misses of 1 MiB", &["DLmr", "DLmw"]),
];

/// The simulated caches, a core's first and second level: the same on every machine.
const CACHES: [&str; 3] = ["--I1=32768,8,64", "--D1=32768,8,64", "--LL=1048576,8,64"];

/// Where counting begins and ends. A pattern, since each path has a [`timed`] of its own.
const TOGGLE: &str = "--toggle-collect=*callgrind*timed*";

/// The markers: callgrind counts from the entry into this function to its return. A path may come here
/// several times.
#[inline(never)]
pub(crate) fn timed(work: impl FnOnce()) {
    work();
}

/// Makes the compiler believe that a result is used.
#[inline(always)]
pub(crate) fn see<T>(result: T) {
    black_box(result);
}

/// Meets every key below `entries`, a power of two, and no two neighbours in turn.
#[inline(always)]
pub(crate) fn scattered(number: u64, entries: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9) % entries
}

/// Runs the path that this program's arguments name, as often as they say, if that is what they do:
/// `PATH OPERATIONS`. So it is started by [`count`].
pub(crate) fn run_named(paths: &[Path], arguments: &[String]) -> bool {
    let [name, operations] = arguments else { return false };
    let path = paths.iter().find(|path| path.name == name);
    let (Some(path), Ok(operations)) = (path, operations.parse()) else { return false };
    (path.run)(operations);
    true
}

/// Whether [`count`] has a chance.
#[allow(dead_code, reason = "who does not ask is told by `count`")]
pub(crate) fn valgrind_is_there() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// What callgrind counts of the path, per operation, in the order of [`COLUMNS`].
pub(crate) fn count(path: &Path) -> Result<[f64; COLUMNS.len()], String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no", TOGGLE])
        .args(["--branch-sim=yes", "--cache-sim=yes", "--collect-bus=yes"])
        .args(CACHES)
        .arg(program)
        .args([path.name, &path.operations.to_string()])
        .output()
        .map_err(|error| format!("valgrind does not start: {error}"))?;
    let report = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{} under valgrind: {}\n{report}", path.name, output.status));
    }
    let line = |label: &str| {
        let rest = report.lines().find_map(|line| line.split_once(label)?.1.trim_start().strip_prefix(':'));
        rest.map(str::split_whitespace).ok_or_else(|| format!("valgrind said nothing of {label}:\n{report}"))
    };
    let counts = line("Collected")?.flat_map(str::parse::<u64>);
    let events: Vec<_> = line("Events")?.zip(counts).collect();
    let figures = COLUMNS.map(|(_, wanted)| {
        let sum: u64 =
            events.iter().filter(|(event, _)| wanted.contains(event)).map(|(_, count)| count).sum();
        sum as f64 / path.operations as f64
    });
    // With another name for `timed`, valgrind would be content and count nothing.
    if figures[0] > 0.0 { Ok(figures) } else { Err(format!("{}: nothing was counted", path.name)) }
}
