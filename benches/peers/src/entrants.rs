//! Which candidates run in which kind of measurement, with their types forgotten: the loops are
//! compiled for each candidate, so that no operation in them is a virtual call.

use crate::candidates::{Bounded, Expires, Loads, Reads, Updates, Walks, Writes};
use crate::candidates::{
    Dashmap, Foyer, Frozen, Locked, MiniMoka, MiniMokaExpiring, Moka, MokaExpiring, MokaPerEntry, MokaTended,
    Papaya, PapayaHeld, QuickCache, Scc, Stretto, StrettoExpiring, Tidewheel, TidewheelBounded,
    TidewheelCounted, TidewheelExpiring, TidewheelHeld, TidewheelMany,
};
use crate::children::{Child, Kind};
use crate::keys::{Keys, OneKey, Uniform, Zipf};
use crate::load::{Drive, rate, walks};
use crate::loading::Order;
use crate::steadiness::Measured;
use crate::{bounded, expiry, growth, loading};
use std::hint::black_box;

/// The name of the candidate that all others are compared with.
pub(crate) const OURS: &str = "tidewheel";

/// The name of ours where it only reads what it could load.
pub(crate) const PLAIN: &str = "tidewheel, get";

/// A filled candidate under one kind of load: million operations per second.
pub(crate) type Driven = Box<dyn Fn(Drive) -> Measured>;

/// A candidate in a measurement of rates; `fill` makes it and fills it with that many entries.
pub(crate) struct Entrant {
    pub(crate) name: &'static str,
    pub(crate) fill: fn(u64) -> Driven,
}

/// What a function makes of each of some types.
macro_rules! each {
    ($make:ident: $($candidate:ty),+) => { vec![$($make::<$candidate>()),+] };
    ($make:ident<$number:ident>: $($candidate:ty),+) => { vec![$($make::<$candidate, $number>()),+] };
}

/// Readers of one key out of a thousand.
pub(crate) fn hot() -> Vec<Entrant> {
    fn entrant<C: Reads>() -> Entrant {
        Entrant { name: C::NAME, fill: |entries| reading::<C>(entries, OneKey(entries / 2)) }
    }
    each!(entrant: Tidewheel, TidewheelBounded, TidewheelCounted, TidewheelHeld, Dashmap, Papaya, PapayaHeld, Scc, QuickCache, Moka, MiniMoka, Foyer,
        Stretto, Locked, Frozen)
}

/// Readers of all keys alike.
pub(crate) fn uniform() -> Vec<Entrant> {
    fn entrant<C: Reads>() -> Entrant {
        Entrant { name: C::NAME, fill: |entries| reading::<C>(entries, Uniform(entries)) }
    }
    each!(entrant: Tidewheel, TidewheelBounded, TidewheelMany, TidewheelHeld, Dashmap, Papaya, PapayaHeld, Scc, QuickCache, Moka, MiniMoka, Foyer,
        Stretto, Locked, Frozen)
}

/// Those who iterate over all there is.
pub(crate) fn walking() -> Vec<Entrant> {
    fn fill<C: Walks>(entries: u64) -> Driven {
        let candidate = C::filled(entries);
        Box::new(move |drive| walks(drive, entries, || candidate.walk()))
    }
    fn entrant<C: Walks>() -> Entrant {
        Entrant { name: C::NAME, fill: fill::<C> }
    }
    each!(entrant: Tidewheel, TidewheelHeld, Dashmap, Papaya, Scc, QuickCache, Moka, MiniMoka)
}

fn reading<C: Reads>(entries: u64, keys: impl Keys + Sync + 'static) -> Driven {
    let candidate = C::filled(entries);
    Box::new(move |drive| rate(drive, &keys, |_| candidate.reader()))
}

/// Writers that overwrite all keys alike.
pub(crate) fn replacing() -> Vec<Entrant> {
    fn fill<C: Writes>(entries: u64) -> Driven {
        let candidate = C::filled(entries);
        Box::new(move |drive| {
            let (candidate, round) = (&candidate, drive.seed as u64);
            rate(drive, &Uniform(entries), |_| move |key: u64| candidate.replace(key, black_box(key + round)))
        })
    }
    fn entrant<C: Writes>() -> Entrant {
        Entrant { name: C::NAME, fill: fill::<C> }
    }
    each!(entrant: Tidewheel, TidewheelBounded, Dashmap, Papaya, Scc, QuickCache, Moka, MiniMoka, Foyer, Stretto, Locked)
}

/// Writers that compute a new value from the old one, of all keys alike.
pub(crate) fn updating() -> Vec<Entrant> {
    fn fill<C: Updates>(entries: u64) -> Driven {
        let candidate = C::filled(entries);
        Box::new(move |drive| {
            let candidate = &candidate;
            rate(drive, &Uniform(entries), |_| move |key: u64| candidate.update(key))
        })
    }
    fn entrant<C: Updates>() -> Entrant {
        Entrant { name: C::NAME, fill: fill::<C> }
    }
    each!(entrant: Tidewheel, Dashmap, Papaya, Scc, QuickCache, Moka, Stretto, Locked)
}

/// Threads that read, and insert over what is there in so many cases of a hundred; some keys come more
/// often than others.
pub(crate) fn mixed<const INSERTS: u64>() -> Vec<Entrant> {
    fn fill<C: Writes, const INSERTS: u64>(entries: u64) -> Driven {
        let candidate = C::filled(entries);
        Box::new(move |drive| {
            let candidate = &candidate;
            rate(drive, &Zipf, |thread| {
                // A generator apart from that of the keys: else it would be the same keys that are written.
                let mut die = Uniform(100).seeded(drive.seed, thread + 1000);
                move |key: u64| {
                    if die() < INSERTS {
                        candidate.insert(key, black_box(key));
                        true
                    } else {
                        black_box(candidate.get(key)).is_some()
                    }
                }
            })
        })
    }
    fn entrant<C: Writes, const INSERTS: u64>() -> Entrant {
        Entrant { name: C::NAME, fill: fill::<C, INSERTS> }
    }
    each!(entrant<INSERTS>: Tidewheel, Dashmap, Papaya, Scc, QuickCache, Moka, MiniMoka, Foyer, Stretto,
        Locked)
}

/// Threads that read, and insert what they miss, in a cache that is full. The number is the room.
pub(crate) fn reading_through() -> Vec<Entrant> {
    fn entrant<C: Bounded>() -> Entrant {
        Entrant { name: C::NAME, fill: bounded::reading_through::<C> }
    }
    each!(entrant: Tidewheel, QuickCache, Moka, MiniMoka, Foyer)
}

/// As [`mixed`], in a cache that is full. The number is the room.
pub(crate) fn bounded_mixed<const INSERTS: u64>() -> Vec<Entrant> {
    fn entrant<C: Bounded, const INSERTS: u64>() -> Entrant {
        Entrant { name: C::NAME, fill: bounded::mixed::<C, INSERTS> }
    }
    each!(entrant<INSERTS>: Tidewheel, QuickCache, Moka, MiniMoka, Foyer)
}

/// Hits through the call that would load; and ours through a plain read beside them.
pub(crate) fn hitting_one() -> Vec<Entrant> {
    fn entrant<C: Loads>() -> Entrant {
        Entrant { name: C::NAME, fill: |entries| loading::hits::<C>(entries, OneKey(entries / 2)) }
    }
    let fill = |entries| loading::reads::<Tidewheel>(entries, OneKey(entries / 2));
    let mut entrants = each!(entrant: Tidewheel, QuickCache, Moka);
    entrants.insert(1, Entrant { name: PLAIN, fill });
    entrants
}

/// The same of all keys alike.
pub(crate) fn hitting() -> Vec<Entrant> {
    fn entrant<C: Loads>() -> Entrant {
        Entrant { name: C::NAME, fill: |entries| loading::hits::<C>(entries, Uniform(entries)) }
    }
    let fill = |entries| loading::reads::<Tidewheel>(entries, Uniform(entries));
    let mut entrants = each!(entrant: Tidewheel, QuickCache, Moka);
    entrants.insert(1, Entrant { name: PLAIN, fill });
    entrants
}

/// Those that take part in a measurement in a process of its own.
pub(crate) fn children(kind: Kind) -> Vec<Child> {
    match kind {
        Kind::Growth => growing(),
        Kind::Latency => growing_timed(),
        Kind::Memory => weighed(),
        Kind::BoundedLatency => bounded_timed(),
        Kind::BoundedMemory => bounded_weighed(),
        Kind::LoadCold => loading(),
        Kind::LoadColdOwn => loading_apart(),
        Kind::Expiry => expiring(),
        Kind::ExpiryRead => expiring_read(),
    }
}

/// Without stretto, which drops inserts that come too fast.
fn growing() -> Vec<Child> {
    fn child<C: Writes>() -> Child {
        Child { name: C::NAME, run: growth::growth::<C> }
    }
    let mut children = each!(child: Tidewheel, Dashmap, Papaya, Scc, QuickCache, Moka, MokaPerEntry, MiniMoka, Foyer, Locked);
    // Next to the one that it is compared with, on a machine that others use too.
    children.insert(1, Child { name: TidewheelMany::NAME, run: growth::growth_by_many::<TidewheelMany> });
    children
}

fn growing_timed() -> Vec<Child> {
    fn child<C: Writes>() -> Child {
        Child { name: C::NAME, run: growth::latency::<C> }
    }
    each!(child: Tidewheel, Dashmap, Papaya, Scc, QuickCache, Moka, MokaPerEntry, MiniMoka, Foyer, Locked)
}

fn weighed() -> Vec<Child> {
    fn child<C: Writes>() -> Child {
        Child { name: C::NAME, run: growth::memory::<C> }
    }
    each!(child: Tidewheel, Dashmap, Papaya, Scc, QuickCache, Moka, MokaPerEntry, MiniMoka, Foyer, Stretto,
        Locked)
}

fn bounded_timed() -> Vec<Child> {
    fn child<C: Bounded>() -> Child {
        Child { name: C::NAME, run: bounded::latency::<C> }
    }
    each!(child: Tidewheel, QuickCache, Moka, MiniMoka, Foyer)
}

fn bounded_weighed() -> Vec<Child> {
    fn child<C: Bounded>() -> Child {
        Child { name: C::NAME, run: bounded::memory::<C> }
    }
    each!(child: Tidewheel, QuickCache, Moka, MiniMoka, Foyer)
}

fn loading() -> Vec<Child> {
    fn child<C: Loads>() -> Child {
        Child { name: C::NAME, run: |threads, keys| loading::cold_twice::<C>(threads, keys, Order::Same) }
    }
    each!(child: Tidewheel, QuickCache, Moka)
}

fn loading_apart() -> Vec<Child> {
    fn child<C: Loads>() -> Child {
        Child { name: C::NAME, run: |threads, keys| loading::cold_twice::<C>(threads, keys, Order::Own) }
    }
    each!(child: Tidewheel, QuickCache, Moka)
}

fn expiring() -> Vec<Child> {
    fn child<C: Expires>() -> Child {
        Child { name: C::NAME, run: expiry::silent::<C> }
    }
    let mut children = each!(child: TidewheelExpiring, MokaExpiring, MokaTended, StrettoExpiring);
    let run = expiry::silent_alone::<MiniMokaExpiring>;
    children.push(Child { name: MiniMokaExpiring::NAME, run });
    children
}

/// Without mini-moka, in which nothing can stay for the reader.
fn expiring_read() -> Vec<Child> {
    fn child<C: Expires>() -> Child {
        Child { name: C::NAME, run: expiry::read_meanwhile::<C> }
    }
    each!(child: TidewheelExpiring, MokaExpiring, MokaTended, StrettoExpiring)
}
