//! A table that becomes smaller while inserts come: between two holds of the reaper's lock, of real sizes. In
//! `src/table/moves.rs` is the same for a table alone, with a burst between every two holds.

use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, ManualClock, RemovalCause, WeakCache};

const SECOND: Duration = Duration::from_secs(1);

/// The key of an entry that is over when the reaper comes to make the table smaller.
const SPARK: u64 = u64::MAX;

/// A shard, and a listener that inserts a burst when the reaper tells it of the spark: the first 512 buckets have moved
/// then, and the rest has not.
struct Furnace {
    clock: ManualClock,
    cache: Cache<u64, u64>,
    burst: Arc<AtomicU64>,
    /// The key after the last one.
    end: Arc<AtomicU64>,
}

impl Furnace {
    fn new() -> Self {
        let clock = ManualClock::new();
        let (burst, end) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let handle: Arc<OnceLock<WeakCache<u64, u64>>> = Arc::default();
        let (own, size, keys) = (Arc::clone(&handle), Arc::clone(&burst), Arc::clone(&end));
        let cache = Cache::builder()
            .shards(1)
            .clock(clock.clone())
            .eviction_listener(move |&key, _, cause| {
                if (key, cause) == (SPARK, RemovalCause::Expired) {
                    let cache = own.get().and_then(WeakCache::upgrade).unwrap();
                    insert(&cache, &keys, size.swap(0, Relaxed));
                    cache.validate();
                }
            })
            .build()
            .unwrap();
        handle.set(cache.downgrade()).unwrap();
        Self { clock, cache, burst, end }
    }

    /// Fills it, and leaves so few that the reaper will make it smaller. Returns the first key that is left.
    fn fill(&self, much: u64, little: u64) -> u64 {
        insert(&self.cache, &self.end, much);
        let first = self.end.load(Relaxed) - little;
        self.cache.retain(|&key, _| key >= first);
        self.clock.advance(SECOND); // the reaper notes how much memory there is
        first
    }

    /// The reaper gives memory back, and meanwhile so many come.
    fn burn(&self, burst: u64) {
        self.burst.store(burst, Relaxed);
        self.cache.insert_with_ttl(SPARK, 0, SECOND);
        self.clock.advance(2 * SECOND);
        assert_eq!(self.burst.load(Relaxed), 0, "the reaper told of no spark");
    }

    /// What is there from this key on, and nothing else.
    fn check(&self, first: u64) {
        self.cache.validate();
        let end = self.end.load(Relaxed);
        assert_eq!(self.cache.entry_count() as u64, end - first);
        let lost = (first..end).find(|key| self.cache.get(key) != Some(*key));
        assert_eq!(lost, None, "of {first} to {end}");
    }
}

fn insert(cache: &Cache<u64, u64>, end: &AtomicU64, count: u64) {
    for _ in 0..count {
        let key = end.fetch_add(1, Relaxed);
        cache.insert(key, key);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// However few entries are left, and however many come: none is lost, and there is a slot for each.
    #[test]
    fn nothing_is_lost_of_what_comes_while_a_table_shrinks(
        rounds in proptest::collection::vec((6_000u64..20_000, 0u64..400, 0u64..6_000), 1..3),
    ) {
        let furnace = Furnace::new();
        for (much, little, burst) in rounds {
            let first = furnace.fill(much, little);
            furnace.burn(burst);
            furnace.check(first);
        }
    }
}

/// Four thousand buckets are about to become a sixteenth of that, and then fewer.
#[test]
fn one_burst_fills_the_smaller_table_many_times_over() {
    let furnace = Furnace::new();
    let first = furnace.fill(40_000, 1);
    furnace.burn(100_000);
    furnace.check(first);
}

/// The same from another thread, whenever it has the lock.
#[test]
fn bursts_from_another_thread_find_room_while_tables_shrink() {
    let furnace = Furnace::new();
    for round in 0..30 {
        let first = furnace.fill(20_000, round);
        let (stop, keys) = (AtomicBool::new(false), Arc::clone(&furnace.end));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    insert(&furnace.cache, &keys, 1 + 10 * round);
                    thread::yield_now();
                }
            });
            furnace.burn(round);
            stop.store(true, Relaxed);
        });
        furnace.check(first);
    }
}
