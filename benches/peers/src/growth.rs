//! Growing one candidate from nothing: time per insert, quantiles of single inserts, memory. Each runs
//! in a child process of its own, so that no candidate finds memory that another one has warmed up or
//! left behind. The parent's side is in `children.rs`.

use crate::candidates::Writes;
use crate::histogram::Histogram;
use crate::load::share_out;
use crate::quantiles;
use crate::steadiness::Measured;
use std::time::Instant;

/// Bytes of a key and a value, which every candidate has to keep.
pub(crate) const PAYLOAD: f64 = 16.0;

/// Nanoseconds per insert: the time that all threads together took, over the number of inserts.
pub(crate) fn growth<C: Writes>(threads: usize, entries: u64) -> Measured {
    let candidate = C::empty(entries);
    let shared = share_out(threads, entries, |keys| {
        for key in keys {
            candidate.insert(key, key);
        }
    });
    assert!(candidate.get(entries - 1).is_some(), "an insert was lost");
    std::mem::forget(candidate);
    Measured { figures: vec![shared.time.as_nanos() as f64 / entries as f64], waited: shared.waited }
}

/// The same by inserts of many at once.
pub(crate) fn growth_by_many<C: Writes>(threads: usize, entries: u64) -> Measured {
    let candidate = C::empty(entries);
    let shared = share_out(threads, entries, |keys| candidate.insert_all(keys));
    assert!(candidate.get(entries - 1).is_some(), "an insert was lost");
    std::mem::forget(candidate);
    Measured { figures: vec![shared.time.as_nanos() as f64 / entries as f64], waited: shared.waited }
}

/// Quantiles of the time of a single insert, and its maximum, in nanoseconds. Two readings of the clock
/// are part of each.
pub(crate) fn latency<C: Writes>(threads: usize, entries: u64) -> Measured {
    let candidate = C::empty(entries);
    let shared = share_out(threads, entries, |keys| {
        let mut histogram = Histogram::new();
        for key in keys {
            let start = Instant::now();
            candidate.insert(key, key);
            histogram.add(start.elapsed().as_nanos() as u64);
        }
        histogram
    });
    std::mem::forget(candidate);
    let mut all = Histogram::new();
    shared.results.iter().for_each(|histogram| all.merge(histogram));
    let figures = quantiles::figures(&all);
    Measured { figures, waited: shared.waited }
}

/// Resident bytes per entry beyond the payload: when all is in and all book-keeping is done, and at the
/// peak on the way there.
pub(crate) fn memory<C: Writes>(threads: usize, entries: u64) -> Measured {
    let before = resident("VmRSS:");
    let candidate = C::empty(entries);
    share_out(threads, entries, |keys| candidate.insert_all(keys));
    candidate.settle();
    let per_entry = |bytes: f64| (bytes - before) / entries as f64 - PAYLOAD;
    let figures = vec![per_entry(resident("VmRSS:")), per_entry(resident("VmHWM:"))];
    std::mem::forget(candidate);
    // Memory does not mind waiting.
    Measured { figures, waited: 0.0 }
}

/// A line of this process's status, in bytes; not a number where the system has no such file.
pub(crate) fn resident(line: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kibibytes =
        status.lines().find_map(|l| l.strip_prefix(line)?.split_whitespace().next()?.parse().ok());
    kibibytes.map_or(f64::NAN, |kibibytes: f64| kibibytes * 1024.0)
}
