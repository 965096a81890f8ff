//! Full caches: what is asked for does not all fit, so that something goes whenever something comes. How
//! fast that is, and how often a read still hits; single inserts; memory. The rates are measured here in this
//! process, the others in a child process, as what is in `growth.rs`.
//!
//! The keys are Zipf's million, with room for a tenth. A cache is full, and has seen many more keys than it
//! holds, before anything is measured.

use crate::candidates::Bounded;
use crate::growth::{PAYLOAD, resident};
use crate::histogram::Histogram;
use crate::keys::{Keys, Uniform, Zipf};
use crate::load::{Drive, rate_and_hits, share_out};
use crate::quantiles;
use crate::steadiness::Measured;
use std::hint::black_box;
use std::time::Instant;

/// Room for a tenth of the keys.
pub(crate) const ROOM: u64 = Zipf::KEYS / 10;

/// Reads until a cache is full and its policy has settled.
const WARM_UP: u64 = 2_000_000;

/// A full cache with so much room.
fn full<C: Bounded>(room: u64) -> C {
    let candidate = C::bounded(room);
    let mut next = Zipf.seeded(usize::MAX >> 1, 0);
    for _ in 0..WARM_UP {
        read_through(&candidate, next());
    }
    candidate.settle();
    candidate
}

/// A read, and an insert if it found nothing; says whether it did.
fn read_through<C: Bounded>(candidate: &C, key: u64) -> bool {
    let hit = black_box(candidate.get(key)).is_some();
    if !hit {
        candidate.insert(key, black_box(key));
    }
    hit
}

/// Reads that insert what they miss: million reads per second, and how many of a hundred hit.
pub(crate) fn reading_through<C: Bounded>(room: u64) -> Box<dyn Fn(Drive) -> Measured> {
    let candidate = full::<C>(room);
    Box::new(move |drive| rate_and_hits(drive, &Zipf, |_| |key| Some(read_through(&candidate, key))))
}

/// Reads, and in so many cases of a hundred an insert, whether the key is there or not.
pub(crate) fn mixed<C: Bounded, const INSERTS: u64>(room: u64) -> Box<dyn Fn(Drive) -> Measured> {
    let candidate = full::<C>(room);
    Box::new(move |drive| {
        let candidate = &candidate;
        rate_and_hits(drive, &Zipf, |thread| {
            // A generator apart from that of the keys: else it would be the same keys that are written.
            let mut die = Uniform(100).seeded(drive.seed, thread + 1000);
            move |key| {
                if die() < INSERTS {
                    candidate.insert(key, black_box(key));
                    return None;
                }
                Some(black_box(candidate.get(key)).is_some())
            }
        })
    })
}

/// Quantiles of a single insert of what a read missed, in nanoseconds, two readings of the clock included.
/// Of so many reads.
pub(crate) fn latency<C: Bounded>(threads: usize, reads: u64) -> Measured {
    let candidate = full::<C>(ROOM);
    let shared = share_out(threads, reads, |share| {
        let mut histogram = Histogram::new();
        let mut next = Zipf.seeded(1, share.start as usize);
        for _ in share {
            let key = next();
            if black_box(candidate.get(key)).is_none() {
                let start = Instant::now();
                candidate.insert(key, black_box(key));
                histogram.add(start.elapsed().as_nanos() as u64);
            }
        }
        histogram
    });
    std::mem::forget(candidate);
    let mut all = Histogram::new();
    shared.results.iter().for_each(|histogram| all.merge(histogram));
    Measured { figures: quantiles::figures(&all), waited: shared.waited }
}

/// Resident bytes per entry beyond the payload, of a cache with room for so many entries that was given three
/// times as many, some of which were read, so that whatever a policy keeps is there: when all book-keeping is
/// done, and at the peak on the way there.
pub(crate) fn memory<C: Bounded>(threads: usize, room: u64) -> Measured {
    let before = resident("VmRSS:");
    let candidate = C::bounded(room);
    share_out(threads, 3 * room, |keys| {
        for key in keys {
            candidate.insert(key, key);
            if key % 4 == 0 {
                // Twice: enough for a policy that wants to see more than one use.
                black_box((candidate.get(key), candidate.get(key)));
            }
        }
    });
    candidate.settle();
    let per_entry = |bytes: f64| (bytes - before) / room as f64 - PAYLOAD;
    let figures = vec![per_entry(resident("VmRSS:")), per_entry(resident("VmHWM:"))];
    std::mem::forget(candidate);
    // Memory does not mind waiting.
    Measured { figures, waited: 0.0 }
}
