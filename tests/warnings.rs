//! Who hears of what is about to expire, and of what has, many at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidewheel::{Cache, CacheBuilder, Expiry, ManualClock, RemovalCause};

const SECOND: Duration = Duration::from_secs(1);

/// Warnings by key, each with the time that the entry had left.
struct Warned {
    clock: ManualClock,
    cache: Cache<u64, u64>,
    times: Arc<Mutex<HashMap<u64, Vec<u64>>>>,
    /// In seconds.
    now: u64,
}

impl Warned {
    fn new(lead: u64, more: impl FnOnce(CacheBuilder<u64, u64>) -> CacheBuilder<u64, u64>) -> Self {
        let (clock, times) = (ManualClock::new(), Arc::<Mutex<HashMap<_, Vec<_>>>>::default());
        let heard = times.clone();
        let builder = Cache::builder().clock(clock.clone()).expiration_warning_listener(
            Duration::from_secs(lead),
            move |key: &u64, value: &u64| {
                heard.lock().unwrap().entry(*key).or_default().push(*value);
            },
        );
        Self { cache: more(builder).build().unwrap(), clock, times, now: 0 }
    }

    fn pass(&mut self, seconds: u64) {
        (0..seconds).for_each(|_| self.pass_one());
        self.cache.validate();
    }

    fn pass_one(&mut self) {
        self.clock.advance(SECOND);
        self.now += 1;
    }

    /// Values that a key was warned of.
    fn of(&self, key: u64) -> Vec<u64> {
        self.times.lock().unwrap().get(&key).cloned().unwrap_or_default()
    }
}

#[test]
fn an_entry_is_told_of_once_and_in_time() {
    let mut warned = Warned::new(10, |builder| builder.time_to_live(60 * SECOND));
    warned.cache.insert(1, 1);
    warned.pass(49);
    assert_eq!(warned.of(1), []);
    warned.pass(3);
    assert_eq!(warned.of(1), [1]);
    assert_eq!(warned.cache.get(&1), Some(1));
    warned.pass(10);
    assert_eq!(warned.of(1), [1]);
    assert_eq!(warned.cache.entry_count(), 0);
}

/// Through every level of the wheel: a row that comes from a coarse slot was not warned of for that.
#[test]
fn so_it_is_with_every_time_to_live_and_lead() {
    for lead in [1, 2, 59, 64, 600, 4_000] {
        let mut warned = Warned::new(lead, |builder| builder);
        let ttls = [1, 2, 3, 5, 58, 64, 65, 130, 700, 3_601, 4_096, 4_500, 9_000];
        for ttl in ttls {
            warned.cache.insert_with_ttl(ttl, ttl, ttl as u32 * SECOND);
        }
        for now in 1..=9_010_u64 {
            warned.pass_one();
            // Unoptimized, to look at all lists of the wheels takes longer than all else.
            if now % 61 == 0 || !cfg!(debug_assertions) {
                warned.cache.validate();
            }
            for ttl in ttls {
                let due = ttl.saturating_sub(lead);
                let told = warned.of(ttl).len();
                if now < due {
                    assert_eq!(told, 0, "lead {lead}, time to live {ttl}: too early, at {now}");
                }
                // One that lives no longer than the reaper takes to come by may go unannounced.
                if now >= due + 2 && ttl > 2 && lead > 1 {
                    assert_eq!(told, 1, "lead {lead}, time to live {ttl}, at {now}");
                }
                assert!(told <= 1, "lead {lead}, time to live {ttl}: told again, at {now}");
            }
        }
        assert_eq!(warned.cache.entry_count(), 0);
        warned.cache.validate();
    }
}

#[test]
fn another_deadline_is_warned_of_anew() {
    for write in [
        (|cache: &Cache<u64, u64>| cache.insert(1, 2)) as fn(&Cache<u64, u64>),
        |cache| assert_eq!(cache.replace(&1, 2), Ok(())),
        |cache| assert!(cache.update(&1, |_| 2)),
    ] {
        let mut warned = Warned::new(40, |builder| builder.time_to_live(60 * SECOND));
        warned.cache.insert(1, 1);
        warned.pass(22);
        assert_eq!(warned.of(1), [1]);
        write(&warned.cache);
        warned.pass(18);
        assert_eq!(warned.of(1), [1], "the new value has 42 s left");
        warned.pass(4);
        assert_eq!(warned.of(1), [1, 2], "and now 38");
        warned.pass(40);
        assert_eq!((warned.of(1).len(), warned.cache.entry_count()), (2, 0));
    }
    let mut warned = Warned::new(10, |builder| builder.time_to_live(60 * SECOND));
    warned.cache.insert(1, 1);
    warned.pass(52);
    assert!(warned.cache.touch(&1));
    warned.pass(48);
    assert_eq!(warned.of(1), [1]);
    warned.pass(4);
    assert_eq!(warned.of(1), [1, 1], "a touch wins a minute");
    warned.cache.set_ttl(&1, 11 * SECOND);
    warned.pass(3);
    assert_eq!(warned.of(1), [1, 1, 1]);
    warned.cache.persist(&1);
    warned.pass(100);
    assert_eq!((warned.of(1).len(), warned.cache.get(&1)), (3, Some(1)));
}

#[test]
fn a_removed_one_is_not_told_of() {
    let mut warned = Warned::new(10, |builder| builder.time_to_live(60 * SECOND));
    warned.cache.insert(1, 1);
    warned.cache.insert(2, 2);
    warned.cache.invalidate(&1);
    warned.pass(65);
    assert_eq!((warned.of(1), warned.of(2)), (vec![], vec![2]));
}

/// A cache whose listener touches whatever it is warned of so many seconds ahead, but for the key 2.
fn kept_by_touches(lead: u32) -> (ManualClock, Cache<u64, u64>) {
    let clock = ManualClock::new();
    let slot = Arc::new(Mutex::new(None::<tidewheel::WeakCache<u64, u64>>));
    let own = slot.clone();
    let cache = Cache::builder()
        .clock(clock.clone())
        .time_to_live(60 * SECOND)
        .expiration_warning_listener(lead * SECOND, move |key: &u64, _: &u64| {
            let cache = own.lock().unwrap().as_ref().and_then(tidewheel::WeakCache::upgrade).unwrap();
            assert!(*key != 2, "one that is not looked after");
            assert!(cache.touch(key));
        })
        .build()
        .unwrap();
    *slot.lock().unwrap() = Some(cache.downgrade());
    (clock, cache)
}

#[test]
fn a_warning_may_give_more_time_and_may_panic() {
    let (clock, cache) = kept_by_touches(10);
    cache.insert(1, 1);
    cache.insert(2, 2);
    for _ in 0..300 {
        clock.advance(SECOND);
    }
    assert_eq!((cache.get(&1), cache.get(&2)), (Some(1), None));
    cache.validate();
}

#[test]
fn idle_ones_are_told_of_too() {
    let mut warned = Warned::new(5, |builder| builder.time_to_idle(20 * SECOND));
    warned.cache.insert(1, 1);
    for _ in 0..10 {
        warned.pass(10);
        assert_eq!(warned.cache.get(&1), Some(1));
    }
    assert_eq!(warned.of(1), []);
    warned.pass(17);
    assert_eq!(warned.of(1), [1]);
    warned.pass(10);
    assert_eq!((warned.of(1).len(), warned.cache.entry_count()), (1, 0));
}

#[test]
fn what_expired_is_told_of_in_batches_and_once() {
    const ENTRIES: u64 = 20_000;
    let clock = ManualClock::new();
    let (sizes, each) = (Arc::<Mutex<Vec<usize>>>::default(), Arc::<Mutex<Vec<u64>>>::default());
    let (seen, keys) = (sizes.clone(), Arc::<Mutex<Vec<u64>>>::default());
    let (batch, single) = (keys.clone(), each.clone());
    let cache = Cache::builder()
        .clock(clock.clone())
        .shards(1)
        .time_to_live(5 * SECOND)
        .expiration_listener(move |entries: &[(&u64, &u64)]| {
            seen.lock().unwrap().push(entries.len());
            batch.lock().unwrap().extend(entries.iter().map(|(key, _)| **key));
            assert!(entries.len() % 2 == 0, "some of them panic");
        })
        .eviction_listener(move |key: &u64, _: &u64, cause| {
            if cause == RemovalCause::Expired {
                single.lock().unwrap().push(*key);
            }
        })
        .build()
        .unwrap();
    (0..ENTRIES).for_each(|key| cache.insert(key, key));
    cache.invalidate(&7);
    clock.advance(7 * SECOND);
    let mut told = std::mem::take(&mut *keys.lock().unwrap());
    told.sort_unstable();
    assert!(told.iter().copied().eq((0..ENTRIES).filter(|&key| key != 7)), "{} of them", told.len());
    let mut single = each.lock().unwrap().clone();
    single.sort_unstable();
    assert_eq!(single, told);
    let sizes = sizes.lock().unwrap();
    assert!(sizes.len() <= 6 && sizes.iter().all(|&size| (1..=5_120).contains(&size)), "{sizes:?}");
    cache.validate();
}

/// A caller that needs the room before the reaper comes tells of it itself.
#[test]
fn what_made_room_is_a_batch_of_its_own() {
    let clock = ManualClock::new();
    let sizes = Arc::<Mutex<Vec<usize>>>::default();
    let seen = sizes.clone();
    let cache = Cache::builder()
        .clock(clock.clone())
        .max_capacity(1)
        .expiration_listener(move |entries: &[(&u64, &u64)]| seen.lock().unwrap().push(entries.len()))
        .build()
        .unwrap();
    cache.insert(1, 1);
    assert!(cache.set_ttl(&1, Duration::ZERO));
    assert_eq!(*sizes.lock().unwrap(), [0; 0], "it is in its place, and over");
    cache.insert(2, 2);
    assert_eq!(*sizes.lock().unwrap(), [1]);
}

/// A touch does not tell the wheel. So when the row comes up by its old deadline, the reaper has to know of which deadline it
/// warned. (The bug: it knew that it had warned, and so warned of no deadline that is at most a lead later.)
#[test]
fn a_deadline_that_is_touched_by_less_than_the_lead_is_warned_of() {
    // In seconds. The last ones are in coarse slots: old and new deadline in different ones, and in the same one.
    for (ttl, lead, touched) in [(60, 40, 25), (60, 59, 30), (600, 500, 130), (600, 580, 25)] {
        let mut warned = Warned::new(lead, |builder| builder.time_to_live(ttl * SECOND));
        warned.cache.insert(1, 1);
        warned.pass(touched);
        assert_eq!(warned.of(1), [1], "{ttl}, {lead}");
        assert!(warned.cache.touch(&1));
        warned.pass(u64::from(ttl) - 2);
        assert_eq!((warned.cache.get(&1), warned.of(1).len()), (Some(1), 2), "{ttl}, {lead}");
        warned.pass(4);
        assert_eq!((warned.cache.entry_count(), warned.of(1).len()), (0, 2), "{ttl}, {lead}");
    }
}

/// A listener that touches whatever it is warned of keeps it, though each new deadline is nearer than the lead is long.
#[test]
fn a_warning_may_give_more_time_again_and_again() {
    let (clock, cache) = kept_by_touches(40);
    cache.insert(1, 1);
    for second in 0..300 {
        clock.advance(SECOND);
        assert_eq!(cache.get(&1), Some(1), "{second}");
    }
    cache.validate();
}

#[test]
fn a_time_to_live_that_changes_nothing_is_not_warned_of_again() {
    let mut warned = Warned::new(40, |builder| builder.time_to_live(60 * SECOND));
    warned.cache.insert(1, 1);
    warned.pass(22);
    assert_eq!(warned.of(1), [1]);
    assert!(warned.cache.set_ttl(&1, 38 * SECOND));
    warned.pass(3);
    assert_eq!(warned.of(1), [1], "it ends when it did");
    assert!(warned.cache.set_ttl(&1, 20 * SECOND));
    warned.pass(3);
    assert_eq!(warned.of(1), [1, 1], "it ends earlier now");
    warned.pass(20);
    assert_eq!((warned.cache.entry_count(), warned.of(1).len()), (0, 2));
}

/// An `Expiry` sets a deadline like anybody else.
#[test]
fn a_deadline_that_a_read_sets_is_warned_of() {
    struct Shorter;

    impl Expiry<u64, u64> for Shorter {
        fn expire_after_create(&self, _: &u64, _: &u64) -> Option<Duration> {
            Some(60 * SECOND)
        }

        fn expire_after_read(&self, _: &u64, _: &u64, _: Option<Duration>) -> Option<Duration> {
            Some(20 * SECOND)
        }
    }

    let mut warned = Warned::new(40, |builder| builder.expire_after(Shorter));
    warned.cache.insert(1, 1);
    warned.pass(22);
    assert_eq!(warned.of(1), [1]);
    assert_eq!(warned.cache.get(&1), Some(1));
    warned.pass(3);
    assert_eq!(warned.of(1), [1, 1]);
    warned.pass(20);
    assert_eq!((warned.cache.entry_count(), warned.of(1).len()), (0, 2));
}
