//! The maps and caches that run against each other, one small file each. It never knows what is
//! measured.
//!
//! A new candidate is a file here with a type that implements [`Reads`] and, if it can be written to
//! through `&self`, [`Writes`] and perhaps [`Updates`] and [`Bounded`]; if entries can expire, [`Expires`]; and its name in
//! the lists of `entrants.rs`. What can be iterated over implements [`Walks`].

mod dashmap;
mod foyer;
mod frozen;
mod mini_moka;
mod moka;
mod mortal;
mod papaya;
mod quick_cache;
mod rwlock;
mod scc;
mod stretto;
mod tidewheel;

pub(crate) use self::dashmap::Dashmap;
pub(crate) use self::foyer::Foyer;
pub(crate) use self::frozen::Frozen;
pub(crate) use self::mini_moka::{MiniMoka, MiniMokaExpiring};
pub(crate) use self::moka::{Moka, MokaExpiring, MokaPerEntry, MokaTended};
pub(crate) use self::mortal::Mortal;
pub(crate) use self::papaya::{Papaya, PapayaHeld};
pub(crate) use self::quick_cache::QuickCache;
pub(crate) use self::rwlock::Locked;
pub(crate) use self::scc::Scc;
pub(crate) use self::stretto::{Stretto, StrettoExpiring};
pub(crate) use self::tidewheel::{
    Tidewheel, TidewheelBounded, TidewheelCounted, TidewheelExpiring, TidewheelHeld, TidewheelMany,
};

use std::hint::black_box;
use std::ops::Range;
use std::time::{Duration, Instant};

/// The time to live of every entry whose candidate knows one: long enough that nothing expires while
/// it is measured.
const TIME_TO_LIVE: Duration = Duration::from_secs(3600);

/// The one hasher of all candidates, with fixed keys.
type Hasher = ahash::RandomState;

fn hasher() -> Hasher {
    ahash::RandomState::with_seeds(0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344)
}

/// What one thread does to a candidate, over and over.
pub(crate) trait Operation {
    /// Once; says whether it succeeded.
    fn run(&mut self, key: u64) -> bool;

    /// Between two batches of many.
    fn pause(&mut self) {}
}

impl<F: FnMut(u64) -> bool> Operation for F {
    #[inline]
    fn run(&mut self, key: u64) -> bool {
        self(key)
    }
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

    /// How a thread reads that reads all the time: by one [`get`](Self::get) after the other, unless
    /// there is another way to be shown.
    fn reader(&self) -> impl Operation {
        |key: u64| black_box(self.get(key)).is_some()
    }
}

/// What can also be written from many threads.
pub(crate) trait Writes: Reads {
    /// An empty candidate. `expected` entries will come: a bounded cache must take them all, but none
    /// may make room for them in advance.
    fn empty(expected: u64) -> Self;

    /// Inserts a key that is not there, or overwrites one that is.
    fn insert(&self, key: u64, value: u64);

    /// Inserts many keys, each with itself as value; all of them are in afterwards.
    fn insert_all(&self, keys: Range<u64>) {
        for key in keys {
            self.insert(key, key);
        }
    }

    /// Overwrites the value of a key that is there, and says whether it was.
    fn replace(&self, key: u64, value: u64) -> bool;

    /// Does the book-keeping that was put off, if the candidate puts any off.
    fn settle(&self) {}
}

/// What can also compute a new value from the old one, with nobody in between.
pub(crate) trait Updates: Writes {
    /// Adds one to the value of a key that is there, and says whether it was.
    fn update(&self, key: u64) -> bool;
}

/// What can be iterated over while others write.
pub(crate) trait Walks: Reads {
    /// Adds up all values, in whatever order, and says of how many.
    fn walk(&self) -> (u64, u64);
}

/// Adds up values.
fn add_up(values: impl Iterator<Item = u64>) -> (u64, u64) {
    values.fold((0, 0), |(count, sum), value| (count + 1, sum.wrapping_add(black_box(value))))
}

/// What can also load what it does not have, once for all who ask for it at the same time.
pub(crate) trait Loads: Writes {
    /// The value of a key, which the closure makes if there is none.
    fn get_with(&self, key: u64, load: impl FnOnce() -> u64) -> u64;
}

/// What can also be full.
pub(crate) trait Bounded: Writes {
    /// An empty candidate that holds so many entries and no more, each with a time to live if it knows one.
    fn bounded(room: u64) -> Self;
}

/// What lets entries expire, with values that count themselves.
pub(crate) trait Expires: Send + Sync + 'static {
    const NAME: &'static str;

    /// An empty candidate for so many entries, whose values that expire do so at the deadline, all at
    /// once, if it can be told so.
    fn until(deadline: Instant, expected: u64) -> Self;

    fn insert(&self, key: u64, value: Mortal);

    /// As [`Writes::insert_all`].
    fn insert_all(&self, keys: Range<u64>, value: fn() -> Mortal) {
        for key in keys {
            self.insert(key, value());
        }
    }

    /// Takes the value out as a copy, and says whether there was one.
    fn get(&self, key: u64) -> bool;

    /// The entries in the map, expired and not yet removed ones included.
    fn count(&self) -> u64;

    /// As [`Writes::settle`].
    fn settle(&self) {}
}

/// `Reads::filled` of everything that can be written.
fn fill<C: Writes>(entries: u64) -> C {
    let candidate = C::empty(entries);
    candidate.insert_all(0..entries);
    candidate.settle();
    candidate
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeps_what_it_is_given<C: Writes>() {
        let candidate: C = fill(1_000);
        assert!((0..1_000).all(|key| candidate.get(key) == Some(key)), "{}", C::NAME);
        assert_eq!(candidate.get(1_000), None, "{}", C::NAME);
        assert!(candidate.replace(5, 77), "{}", C::NAME);
        assert_eq!(candidate.get(5), Some(77), "{}", C::NAME);
        candidate.insert(5, 78);
        assert_eq!(candidate.get(5), Some(78), "{}", C::NAME);
        assert!(candidate.reader().run(5), "{}", C::NAME);
    }

    fn adds_one<C: Updates>() {
        let candidate: C = fill(10);
        assert!(candidate.update(3) && candidate.update(3), "{}", C::NAME);
        assert_eq!((candidate.get(3), candidate.get(4)), (Some(5), Some(4)), "{}", C::NAME);
    }

    fn holds_no_more_than_it_may<C: Bounded>() {
        let candidate = C::bounded(10_000);
        candidate.insert_all(0..30_000);
        candidate.settle();
        let held = (0..30_000).filter(|key| candidate.get(*key).is_some()).count();
        assert!((8_000..=10_000).contains(&held), "{}: {held}", C::NAME);
    }

    #[test]
    fn bounded_ones_hold_no_more_than_they_may() {
        holds_no_more_than_it_may::<Tidewheel>();
        holds_no_more_than_it_may::<QuickCache>();
        holds_no_more_than_it_may::<Moka>();
        holds_no_more_than_it_may::<MiniMoka>();
        holds_no_more_than_it_may::<Foyer>();
    }

    fn holds_until_the_deadline<C: Expires>() {
        let candidate = C::until(Instant::now() + TIME_TO_LIVE, 1_000);
        candidate.insert_all(0..1_000, Mortal::staying);
        candidate.settle();
        assert_eq!(candidate.count(), 1_000, "{}", C::NAME);
        assert!(candidate.get(999) && !candidate.get(1_000), "{}", C::NAME);
    }

    #[test]
    fn all_keep_what_they_are_given() {
        keeps_what_it_is_given::<Tidewheel>();
        keeps_what_it_is_given::<TidewheelBounded>();
        keeps_what_it_is_given::<Dashmap>();
        keeps_what_it_is_given::<Papaya>();
        keeps_what_it_is_given::<Scc>();
        keeps_what_it_is_given::<QuickCache>();
        keeps_what_it_is_given::<Moka>();
        keeps_what_it_is_given::<MokaPerEntry>();
        keeps_what_it_is_given::<MiniMoka>();
        keeps_what_it_is_given::<Foyer>();
        keeps_what_it_is_given::<Stretto>();
        keeps_what_it_is_given::<Locked>();
    }

    #[test]
    fn updates_see_the_old_value() {
        adds_one::<Tidewheel>();
        adds_one::<Dashmap>();
        adds_one::<Papaya>();
        adds_one::<Scc>();
        adds_one::<QuickCache>();
        adds_one::<Moka>();
        adds_one::<Stretto>();
        adds_one::<Locked>();
    }

    fn walks_all<C: Walks>() {
        assert_eq!(C::filled(100).walk(), (100, (0..100).sum()), "{}", C::NAME);
    }

    #[test]
    fn those_that_can_be_iterated_over_yield_all() {
        walks_all::<Tidewheel>();
        walks_all::<TidewheelHeld>();
        walks_all::<Dashmap>();
        walks_all::<Papaya>();
        walks_all::<Scc>();
        walks_all::<QuickCache>();
        walks_all::<Moka>();
        walks_all::<MiniMoka>();
    }

    #[test]
    fn many_at_once_read_and_insert_the_same() {
        let many = TidewheelMany::filled(1000);
        let mut reader = many.reader();
        assert!((0..128).all(|key| reader.run(key)));
        assert_eq!(many.get(999), Some(999));
    }

    #[test]
    fn those_that_expire_hold_until_the_deadline() {
        holds_until_the_deadline::<TidewheelExpiring>();
        holds_until_the_deadline::<MokaExpiring>();
        holds_until_the_deadline::<MokaTended>();
        holds_until_the_deadline::<StrettoExpiring>();
        holds_until_the_deadline::<MiniMokaExpiring>();
    }

    #[test]
    fn a_held_guard_reads_the_same() {
        fn reads<C: Reads>() {
            let held = C::filled(10);
            let mut reader = held.reader();
            assert!(reader.run(9), "{}", C::NAME);
            reader.pause();
            assert!(reader.run(0) && !reader.run(10), "{}", C::NAME);
        }
        reads::<TidewheelHeld>();
        reads::<PapayaHeld>();
    }

    #[test]
    fn the_last_death_is_noted() {
        // The only test in which any expire: they are counted over the whole process.
        let first = Mortal::expiring();
        let second = first.clone();
        drop((first, Mortal::staying()));
        assert_eq!((Mortal::alive(), Mortal::extinct_since()), (1, None));
        drop(second);
        assert!(Mortal::extinct_since().is_some());
    }
}
