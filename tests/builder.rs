//! What the builder refuses, what it accepts, and what the public types can be relied on to be.

#[path = "common/hashers.rs"]
mod hashers;

use hashers::{Colliding, Identity};
use std::error::Error;
use std::fmt::Debug;
use std::hash::Hash;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tidewheel::{
    BuildError, Cache, CacheBuilder, Clock, EndCause, EntryRef, EvictionPolicy, Lifetime, LoadError,
    ManualClock, RandomState, ReadGuard, Reaper, RemovalCause, SessionError, SessionInfo, SessionManager,
    StrictClock, SystemClock, WeakCache, WithTimeout,
};

fn builder() -> CacheBuilder<u64, String> {
    Cache::builder().clock(ManualClock::new())
}

#[test]
fn what_the_system_said_is_told_once() {
    let error = BuildError::Reaper(io::Error::other("no thread is left"));
    assert_eq!(error.to_string(), "the reaper's thread could not be started");
    assert_eq!(error.source().unwrap().to_string(), "no thread is left");
}

#[test]
fn a_number_of_shards_that_is_no_power_of_two_from_1_to_65536_is_refused() {
    for given in [0, 3, 5, 6, 7, 9, 63, 65, 1000, 65_535, 65_537, 131_072, usize::MAX, usize::MAX / 2 + 1] {
        let error = builder().shards(given).build().unwrap_err();
        assert!(matches!(error, BuildError::Shards { given: named, .. } if named == given), "{error:?}");
        let said = error.to_string();
        assert!(said.contains(&given.to_string()) && said.contains("65536"), "{said}");
        assert!(error.source().is_none());
        let error = builder().shards(given).build_with_hasher(Identity).unwrap_err();
        assert!(matches!(error, BuildError::Shards { given: named, .. } if named == given), "{error:?}");
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
    /// On 32 bits, what half of the addresses have room for is less.
    const ADDRESSED: u64 = isize::MAX as u64 / 8;
    const IN_SHARD: u64 = (1 << 27) - 64;
    for (given, shards) in
        [(usize::MAX, 1_u64), (usize::MAX, 65_536), (usize::MAX / 2, 8), (IN_SHARD as usize + 1, 1)]
    {
        let error = builder().initial_capacity(given).shards(shards as usize).build().unwrap_err();
        let allowed = (shards * IN_SHARD).min(ADDRESSED);
        assert!(
            matches!(error, BuildError::InitialCapacity { given: named, most, .. } if named == given && most == allowed),
            "{error:?}"
        );
        let said = error.to_string();
        assert!(said.contains(&given.to_string()), "{said}");
        assert!(said.contains(&format!("at most {allowed} are allowed")), "{said}");
    }
    // Of shards there may be fewer than were asked for: the bound is that of those that there are.
    let weighed = builder().max_capacity(u64::MAX).weigher(|_, _| 1).shards(64);
    let error = weighed.initial_capacity(usize::MAX).build().unwrap_err();
    let allowed = (8 * IN_SHARD).min(ADDRESSED);
    assert!(error.to_string().contains(&format!("at most {allowed} are allowed")), "{error}");
}

/// What has no effect is refused, and not accepted in silence.
#[test]
fn options_that_need_another_one_are_refused_without_it() {
    let policies = [EvictionPolicy::Adaptive, EvictionPolicy::Clock, EvictionPolicy::Fifo];
    for policy in policies {
        let error = builder().eviction_policy(policy).build().unwrap_err();
        assert!(matches!(error, BuildError::PolicyWithoutCapacity), "{error:?}");
        assert!(error.to_string().contains("capacity") && error.source().is_none(), "{error}");
        let cache = builder().eviction_policy(policy).max_capacity(10).build().unwrap();
        assert_eq!(cache.policy().eviction_policy, Some(policy));
    }
    let error = builder().weigher(|_, _| 1).build().unwrap_err();
    assert!(matches!(error, BuildError::WeigherWithoutCapacity), "{error:?}");
    let reloading = || builder().refresh_with(|_, _| None, |job| job());
    let error = reloading().build().unwrap_err();
    assert!(matches!(error, BuildError::ReloadWithoutAge), "{error:?}");
    assert!(error.to_string().contains("refresh_after_write"), "{error}");
    assert!(reloading().refresh_after_write(Duration::from_secs(1)).build().is_ok());
}

#[test]
fn values_that_are_gone_before_they_are_old_are_refused() {
    const NANO: Duration = Duration::from_nanos(1);
    let (ten, never) = (Duration::from_secs(10), Duration::MAX);
    let refused = |builder: CacheBuilder<u64, String>| match builder.build().unwrap_err() {
        BuildError::RefreshAfter { given, lifetime, .. } => (given, lifetime),
        error => panic!("{error:?}"),
    };
    assert_eq!(refused(builder().refresh_after_write(Duration::ZERO)), (Duration::ZERO, never));
    assert_eq!(
        refused(builder().refresh_after_write(Duration::ZERO).time_to_live(ten)),
        (Duration::ZERO, ten)
    );
    for after in [ten, ten + NANO, 2 * ten, never] {
        assert_eq!(refused(builder().refresh_after_write(after).time_to_live(ten)), (after, ten));
        assert_eq!(refused(builder().time_to_live(ten).refresh_after_write(after)), (after, ten));
        assert_eq!(refused(builder().refresh_after_write(after).max_age(ten)), (after, ten));
        assert_eq!(
            refused(builder().refresh_after_write(after).max_age(ten).time_to_live(3 * ten)),
            (after, ten)
        );
        assert_eq!(
            refused(builder().refresh_after_write(after).max_age(3 * ten).time_to_live(ten)),
            (after, ten)
        );
    }
    let error = builder().refresh_after_write(ten).time_to_live(ten).build().unwrap_err();
    assert!(error.to_string().contains("less than 10s"), "{error}");
    let error = builder().refresh_after_write(Duration::ZERO).build().unwrap_err();
    assert!(error.to_string().contains("more than zero is"), "{error}");
    // Just shorter; never old where nothing ends; and used for longer than it may lie idle.
    assert!(builder().refresh_after_write(ten - NANO).time_to_live(ten).max_age(ten).build().is_ok());
    assert!(builder().refresh_after_write(never).build().is_ok());
    assert!(builder().refresh_after_write(ten).time_to_live(never).build().is_ok());
    assert!(builder().refresh_after_write(2 * ten).time_to_idle(ten).build().is_ok());
}

#[test]
fn a_jitter_without_a_time_to_live_is_for_those_of_entries() {
    let cache = Cache::builder().clock(ManualClock::new()).ttl_jitter(0.5).build().unwrap();
    (0..100).for_each(|key| cache.insert_with_ttl(key, key, Duration::from_secs(100)));
    let short = (0..100).filter(|key| cache.remaining_ttl(key) < Some(Duration::from_secs(99))).count();
    assert!(short > 80, "{short} of 100");
    cache.insert(100, 0);
    assert_eq!(cache.remaining_ttl(&100), Some(Duration::MAX));
}

#[test]
fn the_first_end_counts_whichever_is_longer() {
    let times = [Duration::from_secs(5), Duration::from_secs(7), Duration::from_secs(9)];
    for (ttl, tti, age) in [(0, 1, 2), (2, 1, 0), (1, 0, 2), (0, 2, 1), (1, 2, 0), (2, 0, 1)] {
        let builder = builder().time_to_live(times[ttl]).time_to_idle(times[tti]).max_age(times[age]);
        let cache = builder.build().unwrap();
        cache.insert(1, String::new());
        assert_eq!(cache.remaining_ttl(&1), Some(times[0]));
    }
}

#[test]
fn a_lead_that_is_longer_than_the_time_to_live_warns_all_the_same() {
    for lead in [Duration::from_secs(11), Duration::from_secs(50), Duration::MAX] {
        let clock = ManualClock::new();
        let warned = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&warned);
        let builder = Cache::builder().clock(clock.clone()).time_to_live(Duration::from_millis(10_500));
        let warning = move |_: &u64, _: &u64| {
            count.fetch_add(1, Ordering::Relaxed);
        };
        let cache = builder.expiration_warning_listener(lead, warning).build().unwrap();
        cache.insert(1, 1);
        clock.advance(Duration::from_secs(2));
        assert_eq!(warned.load(Ordering::Relaxed), 1, "{lead:?}");
        clock.advance(Duration::from_secs(8));
        let (seen, before) = (warned.load(Ordering::Relaxed), cache.contains_key(&1));
        clock.advance(Duration::from_secs(2));
        assert!(before && !cache.contains_key(&1));
        assert_eq!(seen, 1, "{lead:?}");
    }
}

#[test]
fn more_room_than_there_can_be_entries_is_not_made() {
    let bounded = Cache::<u64, u64>::builder().max_capacity(100).initial_capacity(1 << 27).shards(1);
    let cache = bounded.build().unwrap();
    (0..1_000).for_each(|key| cache.insert(key, key));
    assert_eq!(cache.entry_count(), 100);
    cache.validate();
    let bounded = Cache::<u64, u64>::builder().max_capacity(10).initial_capacity(usize::MAX);
    assert!(bounded.build().is_ok(), "what counts is the capacity, which is less");
    // What entries weigh says nothing of their number.
    let weighed = Cache::<u64, u64>::builder().max_capacity(1_000).weigher(|_, _| 1).initial_capacity(10_000);
    assert!(weighed.build().is_ok());
    let sessions = SessionManager::<u32>::builder().max_sessions(10).initial_capacity(1 << 27).shards(1);
    assert!(sessions.build().unwrap().create(1).is_ok());
}

#[test]
fn a_cache_without_room_keeps_nothing_whatever_else_is_asked_for() {
    for shards in [1, 16] {
        let builder = builder().max_capacity(0).shards(shards).initial_capacity(100);
        let cache = builder.time_to_live(Duration::from_secs(5)).build().unwrap();
        cache.insert(1, String::new());
        assert_eq!((cache.entry_count(), cache.get(&1)), (0, None));
        cache.validate();
    }
}

#[test]
fn an_option_that_is_given_twice_counts_as_given_last() {
    let (five, nine) = (Duration::from_secs(5), Duration::from_secs(9));
    let builder = builder().time_to_live(nine).time_to_live(five).refresh_after_write(nine);
    assert!(builder.refresh_after_write(Duration::from_secs(1)).build().is_ok());
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
fn causes_have_a_word_for_a_label() {
    use {EndCause as End, RemovalCause as Removal};
    let removals = [Removal::Expired, Removal::Explicit, Removal::Replaced, Removal::Size];
    assert_eq!(removals.map(|cause| cause.to_string()), ["expired", "explicit", "replaced", "size"]);
    let ends = [End::Expired, End::Ended, End::AllEnded, End::Displaced];
    assert_eq!(ends.map(|cause| cause.to_string()), ["expired", "ended", "all_ended", "displaced"]);
    assert_eq!(format!("{:>8}", End::Ended), "   ended");
}

#[test]
fn the_public_types_can_be_sent_shared_and_cloned() {
    fn shared<T: Send + Sync>() {}
    fn handle<T: Clone + Send + Sync + 'static>() {}
    fn plain<T: Copy + Eq + Debug + Send + Sync + 'static>() {}
    fn error<T: Error + Send + Sync + 'static>() {}
    fn copied<T: Copy>() {}
    fn compared<T: Eq>() {}
    fn hashed<T: Hash>() {}
    fn clock<T: Clock + Debug + Send + Sync + 'static>() {}

    handle::<Cache<String, Vec<u8>>>();
    handle::<Cache<String, Vec<u8>, Identity>>();
    handle::<WeakCache<String, Vec<u8>>>();
    handle::<Reaper>();
    handle::<ManualClock>();
    handle::<RandomState>();
    plain::<RemovalCause>();
    plain::<EndCause>();
    copied::<WithTimeout<'static, String, Vec<u8>>>();
    copied::<EntryRef<'static, String, Vec<u8>>>();
    compared::<LoadError<String>>();
    compared::<SessionError>();
    compared::<SessionInfo>();
    hashed::<Lifetime>();
    error::<BuildError>();
    clock::<ManualClock>();
    clock::<SystemClock>();
    clock::<StrictClock>();
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
