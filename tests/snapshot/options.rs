//! Entries that are restored into a cache that was built with other options.

use super::{Half, MINUTE, Watchdog, manual, taken};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tidewheel::{Cache, Expiry, ManualClock, WeakCache};

/// Says nothing of any end.
struct Silent;

impl Expiry<u64, u64> for Silent {}

/// What idleness would have ended lives for as long as it had left; a touch restarts the time to live that it has instead.
#[test]
fn a_time_to_live_takes_the_place_of_idleness_beside_an_expiry() {
    let clock = ManualClock::new();
    let cache = manual(&clock).time_to_idle(3 * MINUTE).build().unwrap();
    (0..2).for_each(|key| cache.insert(key, key));
    clock.advance(MINUTE);
    let other: Cache<u64, u64> =
        manual(&clock).time_to_live(5 * MINUTE).expire_after(Silent).build().unwrap();
    assert_eq!(other.restore(&taken(&cache)[..], Duration::ZERO).unwrap(), 2);
    assert_eq!(other.remaining_ttl(&0), Some(2 * MINUTE));
    clock.advance(MINUTE);
    assert!(other.touch(&1));
    assert_eq!(other.get(&0), Some(0), "reads restart nothing here");
    assert_eq!([0, 1].map(|key| other.remaining_ttl(&key)), [Some(MINUTE), Some(5 * MINUTE)]);
    clock.advance(MINUTE);
    assert_eq!([0, 1].map(|key| other.get(&key)), [None, Some(1)]);
    clock.advance(4 * MINUTE);
    assert_eq!(other.get(&1), None, "five minutes after the touch");
}

/// Five minutes more with each read.
struct Longer;

impl Expiry<u64, u64> for Longer {
    fn expire_after_read(&self, _: &u64, _: &u64, _: Option<Duration>) -> Option<Duration> {
        Some(5 * MINUTE)
    }
}

#[test]
fn an_end_that_an_expiry_set_is_not_taken_for_idleness() {
    let cache = manual(&ManualClock::new()).expire_after(Half).build().unwrap();
    cache.insert(1, 1);
    let other: Cache<u64, u64> = manual(&ManualClock::new()).expire_after(Longer).build().unwrap();
    assert_eq!(other.restore(&taken(&cache)[..], Duration::ZERO).unwrap(), 1);
    assert_eq!(other.remaining_ttl(&1), Some(MINUTE / 2));
    assert_eq!(other.get(&1), Some(1));
    assert_eq!(other.remaining_ttl(&1), Some(5 * MINUTE));
}

/// A restored entry is as heavy as all that is there, and a listener stores whenever there is room: it has none before the
/// heavy one is stored.
#[test]
fn a_heavy_entry_keeps_its_room_until_it_is_restored() {
    let _watchdog = Watchdog::over("a heavy entry that is restored", 60);
    let source = manual(&ManualClock::new()).build().unwrap();
    source.insert(50_000, 20_000);
    let (own, told) = (Arc::new(OnceLock::<WeakCache<u64, u32>>::new()), Arc::new(AtomicU64::new(0)));
    let (slot, heard) = (own.clone(), told.clone());
    let cache = manual(&ManualClock::new())
        .max_capacity(20_000)
        .shards(1)
        .weigher(|_: &u64, weight: &u32| *weight)
        .eviction_listener(move |_, _, _| {
            let number = heard.fetch_add(1, Ordering::Relaxed);
            let cache = slot.get().and_then(WeakCache::upgrade).unwrap();
            if number < 100_000 && cache.weighted_size() < 20_000 {
                cache.insert(1_000_000 + number, 1);
            }
        })
        .build()
        .unwrap();
    own.set(cache.downgrade()).unwrap();
    cache.insert_many((0..20_000).map(|key| (key, 1)));
    assert_eq!(cache.restore(&taken(&source)[..], Duration::ZERO).unwrap(), 1);
    assert_eq!((cache.get(&50_000), cache.entry_count()), (Some(20_000), 1));
    assert_eq!(told.load(Ordering::Relaxed), 20_000);
    cache.validate();
}
