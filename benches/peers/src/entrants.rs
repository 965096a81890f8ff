//! Which candidates run in which kind of measurement, with their types forgotten: the loops are
//! compiled for each candidate, so that no operation in them is a virtual call.

use crate::candidates::Tidewheel;
use crate::candidates::{Dashmap, Frozen, Moka, MokaPerEntry, Papaya, QuickCache, Reads, Writes};
use crate::growth;
use crate::keys::{OneKey, Uniform};
use crate::load::{Drive, rate};
use crate::steadiness::Measured;
use std::hint::black_box;

/// The name of the candidate that all others are compared with.
pub(crate) const OURS: &str = "tidewheel";

/// A filled candidate under one kind of load: million operations per second.
pub(crate) type Driven = Box<dyn Fn(Drive) -> Measured>;

/// A candidate in a measurement of rates; `fill` makes it and fills it with that many entries.
pub(crate) struct Entrant {
    pub(crate) name: &'static str,
    pub(crate) fill: fn(u64) -> Driven,
}

/// A candidate in a measurement that grows it from nothing, in a process of its own.
pub(crate) struct Grower {
    pub(crate) name: &'static str,
    /// Threads and entries; nanoseconds per insert.
    pub(crate) growth: fn(usize, u64) -> Measured,
    /// Threads and entries; quantiles of a single insert, in nanoseconds.
    pub(crate) latency: fn(usize, u64) -> Measured,
    /// Entries; bytes per entry beyond the payload, at rest and at the peak.
    pub(crate) memory: fn(usize, u64) -> Measured,
}

/// Readers of one key out of a thousand.
pub(crate) fn hot() -> Vec<Entrant> {
    fn fill<C: Reads>(entries: u64) -> Driven {
        let candidate = C::filled(entries);
        Box::new(move |drive| {
            rate(drive, &OneKey(entries / 2), |key| black_box(candidate.get(key)).is_some())
        })
    }
    fn entrant<C: Reads>() -> Entrant {
        Entrant { name: C::NAME, fill: fill::<C> }
    }
    vec![
        entrant::<Tidewheel>(),
        entrant::<Dashmap>(),
        entrant::<Papaya>(),
        entrant::<QuickCache>(),
        entrant::<Moka>(),
        entrant::<Frozen>(),
    ]
}

/// Readers of all keys alike.
pub(crate) fn uniform() -> Vec<Entrant> {
    fn fill<C: Reads>(entries: u64) -> Driven {
        let candidate = C::filled(entries);
        Box::new(move |drive| rate(drive, &Uniform(entries), |key| black_box(candidate.get(key)).is_some()))
    }
    fn entrant<C: Reads>() -> Entrant {
        Entrant { name: C::NAME, fill: fill::<C> }
    }
    vec![
        entrant::<Tidewheel>(),
        entrant::<Dashmap>(),
        entrant::<Papaya>(),
        entrant::<QuickCache>(),
        entrant::<Moka>(),
        entrant::<Frozen>(),
    ]
}

/// Writers that overwrite all keys alike.
pub(crate) fn replacing() -> Vec<Entrant> {
    fn fill<C: Writes>(entries: u64) -> Driven {
        let candidate = C::filled(entries);
        Box::new(move |drive| {
            rate(drive, &Uniform(entries), |key| candidate.replace(key, black_box(key + drive.round as u64)))
        })
    }
    fn entrant<C: Writes>() -> Entrant {
        Entrant { name: C::NAME, fill: fill::<C> }
    }
    vec![
        entrant::<Tidewheel>(),
        entrant::<Dashmap>(),
        entrant::<Papaya>(),
        entrant::<QuickCache>(),
        entrant::<Moka>(),
    ]
}

/// Writers that insert new keys.
pub(crate) fn growing() -> Vec<Grower> {
    fn grower<C: Writes>() -> Grower {
        Grower {
            name: C::NAME,
            growth: growth::growth::<C>,
            latency: growth::latency::<C>,
            memory: growth::memory::<C>,
        }
    }
    vec![
        grower::<Tidewheel>(),
        grower::<Dashmap>(),
        grower::<Papaya>(),
        grower::<QuickCache>(),
        grower::<Moka>(),
        grower::<MokaPerEntry>(),
    ]
}
