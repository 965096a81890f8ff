//! What readers held up is dropped by others a bounded part at a time, once they are gone.

use std::cell::Cell;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tidewheel::{Cache, Reaper};

std::thread_local! {
    static DROPS: Cell<usize> = const { Cell::new(0) };
}

struct Counted;

impl Drop for Counted {
    fn drop(&mut self) {
        DROPS.set(DROPS.get() + 1);
    }
}

/// A guard was held for long, and nobody sweeps. The first write that found the guard gone dropped
/// all that had been removed meanwhile, in all shards, before it returned.
#[test]
fn one_write_drops_a_bounded_number_of_what_a_guard_held_up() {
    const ALL: usize = 100_000;
    let cache: Cache<usize, Counted> = Cache::builder().shards(8).reaper(Reaper::manual()).build().unwrap();
    (0..ALL).for_each(|key| cache.insert(key, Counted));
    let guard = cache.read_guard();
    cache.invalidate_all();
    drop(guard);
    let (mut most, mut writes, start) = (0, 0, Instant::now());
    while DROPS.get() < ALL {
        sleep(Duration::from_millis(1));
        let before = DROPS.get();
        cache.insert(0, Counted);
        writes += 1;
        most = most.max(DROPS.get() - before);
        assert!(start.elapsed() < Duration::from_secs(60), "{} of {ALL} after {writes} writes", DROPS.get());
    }
    assert!(most <= 8_192, "one insert ran {most} destructors");
}
