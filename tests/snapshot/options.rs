//! Entries that are restored into a cache that was built with other options.

use super::{Half, MINUTE, manual, taken};
use std::time::Duration;
use tidewheel::{Cache, Expiry, ManualClock};

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
