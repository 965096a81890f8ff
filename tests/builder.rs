//! What the builder refuses, what it accepts, and what the public types can be relied on to be.

#[path = "common/hashers.rs"]
mod hashers;

use hashers::{Colliding, Identity};
use std::error::Error;
use std::fmt::Debug;
use std::time::Duration;
use tidewheel::{
    BuildError, Cache, CacheBuilder, Clock, EntryRef, ManualClock, RandomState, ReadGuard, Reaper,
    RemovalCause, SystemClock, WeakCache,
};

fn builder() -> CacheBuilder<u64, String> {
    Cache::builder().clock(ManualClock::new())
}

#[test]
fn a_number_of_shards_that_is_no_power_of_two_from_1_to_65536_is_refused() {
    for given in [0, 3, 5, 6, 7, 9, 63, 65, 1000, 65_535, 65_537, 131_072, usize::MAX, usize::MAX / 2 + 1] {
        let error = builder().shards(given).build().unwrap_err();
        assert!(matches!(error, BuildError::Shards { given: named } if named == given), "{error:?}");
        let said = error.to_string();
        assert!(said.contains(&given.to_string()) && said.contains("65536"), "{said}");
        assert!(error.source().is_none());
        let error = builder().shards(given).build_with_hasher(Identity).unwrap_err();
        assert!(matches!(error, BuildError::Shards { given: named } if named == given), "{error:?}");
    }
}

#[test]
fn every_power_of_two_up_to_65536_works() {
    for shift in [0, 1, 2, 5, 10, 15, 16] {
        let cache = builder().shards(1 << shift).build().unwrap();
        for key in 0..100 {
            cache.insert(key, key.to_string());
        }
        assert!((0..100).all(|key| cache.get(&key) == Some(key.to_string())));
        assert_eq!(cache.entry_count(), 100);
        cache.validate();
        cache.invalidate_all();
        assert_eq!(cache.entry_count(), 0);
    }
}

#[test]
fn a_manual_clock_and_a_reaper_with_a_thread_do_not_go_together() {
    for reaper in [Reaper::dedicated(), Reaper::shared(), Reaper::default()] {
        for clock_first in [true, false] {
            let builder = Cache::<u64, u64>::builder();
            let builder = if clock_first {
                builder.clock(ManualClock::new()).reaper(reaper.clone())
            } else {
                builder.reaper(reaper.clone()).clock(ManualClock::new())
            };
            let error = builder.build().unwrap_err();
            assert!(matches!(error, BuildError::ManualClockWithThread), "{error:?}");
            assert!(error.to_string().contains("Reaper::manual()"), "{error}");
        }
        // Nothing was left behind that one would have to wait for.
        reaper.join();
    }
    let cache =
        Cache::<u64, u64>::builder().clock(ManualClock::new()).reaper(Reaper::manual()).build().unwrap();
    cache.insert(1, 1);
    assert_eq!(cache.get(&1), Some(1));
}

#[test]
fn a_manual_reaper_leaves_the_work_to_its_owner() {
    let reaper = Reaper::manual();
    let cache = Cache::<u64, u64>::builder()
        .clock(SystemClock)
        .reaper(reaper.clone())
        .time_to_live(Duration::ZERO)
        .build()
        .unwrap();
    cache.insert(1, 1);
    assert_eq!((cache.get(&1), cache.entry_count()), (None, 1));
    drop(cache);
    reaper.join();
}

#[test]
fn a_name_is_kept_and_there_is_none_by_default() {
    assert_eq!(builder().build().unwrap().name(), None);
    for name in ["", "sessions", "späße 🦀\n"] {
        let cache = builder().name(name).build().unwrap();
        assert_eq!(cache.name(), Some(name));
        assert_eq!(cache.clone().name(), Some(name));
        assert_eq!(cache.downgrade().upgrade().unwrap().name(), Some(name));
        assert_eq!(builder().name(String::from(name)).build().unwrap().name(), Some(name));
    }
    assert_eq!(builder().name("first").name("second").build().unwrap().name(), Some("second"));
}

#[test]
fn any_initial_capacity_will_do() {
    for capacity in [0, 1, 2, 7, 8, 1000, 1_000_000] {
        let cache = builder().initial_capacity(capacity).shards(2).build().unwrap();
        for key in 0..500 {
            cache.insert(key, key.to_string());
        }
        assert_eq!(cache.entry_count(), 500);
        assert!((0..500).all(|key| cache.contains_key(&key)));
        cache.validate();
    }
}

#[test]
fn a_capacity_that_no_shard_can_hold_is_refused() {
    for (given, shards) in [(usize::MAX, 1), (usize::MAX, 65_536), (usize::MAX / 2, 8), ((1 << 27) + 1, 1)] {
        let error = builder().initial_capacity(given).shards(shards).build().unwrap_err();
        assert!(matches!(error, BuildError::InitialCapacity { given: named } if named == given), "{error:?}");
        assert!(error.to_string().contains(&given.to_string()), "{error}");
    }
}

#[test]
fn any_hasher_will_do() {
    let cache = builder().build_with_hasher(Colliding).unwrap();
    for key in 0..300 {
        cache.insert(key, key.to_string());
    }
    assert!((0..300).all(|key| cache.get(&key) == Some(key.to_string())));
    assert!((300..600).all(|key| !cache.contains_key(&key)));
    cache.validate();
    let cache = builder().build_with_hasher(std::hash::RandomState::new()).unwrap();
    cache.insert(1, "one".to_owned());
    assert_eq!(cache.get(&1).as_deref(), Some("one"));
}

#[test]
fn a_key_is_found_by_what_it_borrows_as() {
    let cache = Cache::<String, u64>::builder().clock(ManualClock::new()).build().unwrap();
    cache.insert("k".to_owned(), 1);
    assert_eq!((cache.get("k"), cache.get(&"k".to_owned())), (Some(1), Some(1)));
    assert!(cache.update("k", |old| old + 1));
    assert!(cache.rename("k", "other".to_owned()));
    assert_eq!(cache.read_guard().entry("other").map(|entry| *entry.value()), Some(2));
    assert_eq!(cache.remove("other"), Some(2));
}

/// Neither trait is asked of keys and values, but where the design says so.
#[test]
fn keys_and_values_need_not_be_clone() {
    #[derive(PartialEq, Eq, Hash, Debug)]
    struct Plain(u64);
    let cache = Cache::<Plain, Plain>::builder().clock(ManualClock::new()).build().unwrap();
    cache.insert(Plain(1), Plain(10));
    cache.insert_with_ttl(Plain(2), Plain(20), Duration::from_secs(1));
    assert_eq!(cache.try_insert(Plain(1), Plain(11)), Err((Plain(1), Plain(11))));
    assert_eq!(cache.read(&Plain(1), |value| value.0), Some(10));
    assert!(cache.contains_key(&Plain(2)) && cache.touch(&Plain(2)) && cache.persist(&Plain(2)));
    assert!(cache.set_ttl(&Plain(2), Duration::from_secs(5)) && cache.invalidate(&Plain(2)));
    assert_eq!(cache.read_guard().get(&Plain(1)), Some(&Plain(10)));
    let _ = (cache.remaining_ttl(&Plain(1)), cache.clone(), cache.downgrade());
    cache.invalidate_all();
    cache.run_pending_tasks();
    assert_eq!(cache.entry_count(), 0);
}

/// Values of no size and large ones, keys of no size.
#[test]
fn sizes_do_not_matter() {
    let cache = Cache::<(), ()>::builder().clock(ManualClock::new()).build().unwrap();
    cache.insert((), ());
    assert_eq!(cache.get(&()), Some(()));
    assert_eq!(cache.try_insert((), ()), Err(((), ())));
    assert_eq!((cache.remove(&()), cache.entry_count()), (Some(()), 0));

    #[repr(align(128))]
    #[derive(Clone, Debug, PartialEq)]
    struct Wide([u8; 5000]);
    let cache = Cache::<u8, Wide>::builder().clock(ManualClock::new()).build().unwrap();
    for key in 0..=255 {
        cache.insert(key, Wide([key; 5000]));
    }
    for key in 0..=255 {
        let guard = cache.read_guard();
        let value = guard.get(&key).unwrap();
        assert_eq!(std::ptr::from_ref(value).addr() % 128, 0);
        assert_eq!(value.0, [key; 5000]);
    }
    cache.validate();
}

#[test]
fn debug_tells_something_and_demands_nothing_of_keys_and_values() {
    #[derive(PartialEq, Eq, Hash)]
    struct Silent;
    fn shows(what: &impl Debug) -> String {
        format!("{what:?}")
    }
    let cache = Cache::<Silent, Silent>::builder().clock(ManualClock::new()).name("mute").build().unwrap();
    cache.insert(Silent, Silent);
    assert!(shows(&cache).contains("mute"), "{cache:?}");
    assert!(shows(&cache.downgrade()).starts_with("WeakCache"));
    assert!(shows(&cache.read_guard()).starts_with("ReadGuard"));
    assert!(shows(&Cache::<Silent, Silent>::builder()).starts_with("CacheBuilder"));
    for reaper in [Reaper::shared(), Reaper::dedicated(), Reaper::manual()] {
        assert!(!shows(&reaper).is_empty());
    }
    assert!(shows(&ManualClock::new()).contains("elapsed"));
    assert_eq!(shows(&RemovalCause::Expired), "Expired");
}

#[test]
fn the_public_types_can_be_sent_shared_and_cloned() {
    fn shared<T: Send + Sync>() {}
    fn handle<T: Clone + Send + Sync + 'static>() {}
    fn plain<T: Copy + Eq + Debug + Send + Sync + 'static>() {}
    fn error<T: Error + Send + Sync + 'static>() {}
    fn clock<T: Clock + Debug + Send + Sync + 'static>() {}

    handle::<Cache<String, Vec<u8>>>();
    handle::<Cache<String, Vec<u8>, Identity>>();
    handle::<WeakCache<String, Vec<u8>>>();
    handle::<Reaper>();
    handle::<ManualClock>();
    handle::<RandomState>();
    plain::<RemovalCause>();
    error::<BuildError>();
    clock::<ManualClock>();
    clock::<SystemClock>();
    shared::<CacheBuilder<String, Vec<u8>>>();
}

/// A guard may borrow as long as its cache is borrowed, an entry as long as its guard.
#[test]
fn references_live_as_long_as_their_guard() {
    fn value_of<'a>(guard: &'a ReadGuard<'_, u64, String, RandomState>) -> Option<&'a str> {
        guard.get(&1).map(String::as_str)
    }
    fn entry_of<'a>(guard: &'a ReadGuard<'_, u64, String, RandomState>) -> EntryRef<'a, u64, String> {
        guard.entry(&1).unwrap()
    }
    let cache = builder().build().unwrap();
    cache.insert(1, "one".to_owned());
    let guard = cache.read_guard();
    assert_eq!(value_of(&guard), Some("one"));
    let entry = entry_of(&guard);
    cache.invalidate_all();
    assert_eq!((*entry.key(), entry.value().as_str()), (1, "one"));
}
