//! Large values in caches that do not weigh them: how many are in memory that nobody can find any more.
//!
//! The cache does not know what a value takes besides its body. But whoever writes a megabyte takes his time for it, and
//! what was unlinked goes after a moment, however few there are of it. Alone in its process: it needs a quarter of a gigabyte.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tidewheel::Cache;

const MIB: usize = 1 << 20;

/// One measurement at a time.
static ALONE: Mutex<()> = Mutex::new(());
static LIVING: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// A large value, counted while it lives.
struct Page(Vec<u8>);

impl Page {
    /// Each of its bytes written to, as whoever fills a page does.
    fn new(bytes: usize) -> Self {
        let living = LIVING.fetch_add(1, Ordering::Relaxed) + 1;
        MOST.fetch_max(living, Ordering::Relaxed);
        Self(vec![1; bytes])
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        LIVING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many lived at once, at most, while so many threads did this so often; in the best of some tries, for another
/// process may have the processor while a thread is in the middle of something.
fn most_living(threads: usize, rounds: usize, write: impl Fn(usize) + Sync) -> usize {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut least = usize::MAX;
    for _ in 0..3 {
        MOST.store(0, Ordering::Relaxed);
        thread::scope(|scope| {
            for thread in 0..threads {
                let write = &write;
                scope.spawn(move || (0..rounds).for_each(|round| write(round * threads + thread)));
            }
        });
        least = least.min(MOST.load(Ordering::Relaxed));
    }
    println!("{least} lived at once, of which some are in the cache");
    least
}

/// It was 321: five batches of 64 and one more.
#[test]
fn few_large_values_wait_where_one_key_is_replaced() {
    let cache = Cache::builder().build().unwrap();
    let most = most_living(1, 1000, |_| cache.insert(1, Page::new(MIB)));
    assert!(most <= 32, "{most} values of a megabyte");
    assert!(cache.read(&1, |page| page.0.len()) == Some(MIB));
}

#[test]
fn hardly_any_larger_ones_wait() {
    let cache = Cache::builder().build().unwrap();
    let most = most_living(1, 200, |_| cache.insert(1, Page::new(8 * MIB)));
    assert!(most <= 8, "{most} values of eight megabytes");
}

/// It was 1.8 GiB of memory, some 230 of them.
#[test]
fn few_large_values_wait_beside_a_capacity_by_count() {
    let cache = Cache::builder().max_capacity(16).build().unwrap();
    let most = most_living(4, 100, |key| cache.insert(key, Page::new(8 * MIB)));
    // In the cache; in each writer's hands; and what waits.
    assert!(most <= 16 + 4 + 16, "{most} values of eight megabytes");
    cache.validate();
}

/// Of so many shards, a write that has advanced visits some in turn. Its own is always among them.
#[test]
fn a_write_that_comes_alone_drops_what_it_has_replaced_however_many_shards_there_are() {
    const WRITES: usize = 100;
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for shards in [1, 4096] {
        let cache = Cache::builder().shards(shards).build().unwrap();
        let value = Arc::new(());
        let dropped_at_once = |_: &usize| {
            thread::sleep(Duration::from_millis(1));
            cache.insert(1, value.clone());
            Arc::strong_count(&value) == 2
        };
        // Now and then the system, or what another test leaves, may hold it up.
        let dropped = (0..WRITES).filter(dropped_at_once).count();
        assert!(dropped > WRITES / 2, "{dropped} of {WRITES} with {shards} shards");
    }
}

/// Many keys in many shards, and removals.
#[test]
fn few_large_values_wait_where_many_keys_are_removed() {
    let cache = Cache::builder().shards(64).build().unwrap();
    let most = most_living(2, 500, |key| {
        cache.insert(key, Page::new(MIB));
        cache.invalidate(&key);
    });
    assert!(most <= 64 + 64, "{most} values of a megabyte");
}
