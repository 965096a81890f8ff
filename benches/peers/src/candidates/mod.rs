//! The maps and caches that run against each other, one small file each. It never knows what is
//! measured.
//!
//! A new candidate is a file here with a type that implements [`Reads`] and, if it can be written to
//! through `&self`, [`Writes`]; and a line in the lists of `entrants.rs`.

mod dashmap;
mod frozen;
mod moka;
mod papaya;
mod quick_cache;
mod tidewheel;

pub(crate) use self::dashmap::Dashmap;
pub(crate) use self::frozen::Frozen;
pub(crate) use self::moka::{Moka, MokaPerEntry};
pub(crate) use self::papaya::Papaya;
pub(crate) use self::quick_cache::QuickCache;
pub(crate) use self::tidewheel::Tidewheel;

use std::time::Duration;

/// The time to live of every entry whose candidate knows one: long enough that nothing expires while
/// it is measured.
const TIME_TO_LIVE: Duration = Duration::from_secs(3600);

/// The one hasher of all candidates, with fixed keys.
type Hasher = ahash::RandomState;

fn hasher() -> Hasher {
    ahash::RandomState::with_seeds(0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344)
}

/// What can be read from many threads.
pub(crate) trait Reads: Sized + Send + Sync + 'static {
    /// The name in the tables and on the command line.
    const NAME: &'static str;

    /// A candidate that holds the keys `0..entries`, each with itself as value, and has no book-keeping
    /// left to do.
    fn filled(entries: u64) -> Self;

    /// One read, with whatever pin or lock it takes.
    fn get(&self, key: u64) -> Option<u64>;
}

/// What can also be written from many threads.
pub(crate) trait Writes: Reads {
    /// An empty candidate. `expected` entries will come: a bounded cache must take them all, but none
    /// may make room for them in advance.
    fn empty(expected: u64) -> Self;

    /// Inserts a key that is not there.
    fn insert(&self, key: u64, value: u64);

    /// Overwrites the value of a key that is there, and says whether it was.
    fn replace(&self, key: u64, value: u64) -> bool;

    /// Does the book-keeping that was put off, if the candidate puts any off.
    fn settle(&self) {}
}

/// `Reads::filled` of everything that can be written.
fn fill<C: Writes>(entries: u64) -> C {
    let candidate = C::empty(entries);
    for key in 0..entries {
        candidate.insert(key, key);
    }
    candidate.settle();
    candidate
}
