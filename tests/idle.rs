//! Time to idle: what counts as use, how it combines with the other times, and that it is never early, also
//! by the system's clock. Jitter beside it.

use std::thread;
use std::time::{Duration, Instant};
use tidewheel::{BuildError, Cache, CacheBuilder, Expiry, ManualClock, SystemClock};

const NANO: Duration = Duration::from_nanos(1);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn cache(
    adjust: impl FnOnce(CacheBuilder<&'static str, u32>) -> CacheBuilder<&'static str, u32>,
) -> (ManualClock, Cache<&'static str, u32>) {
    let clock = ManualClock::new();
    let builder = Cache::builder().clock(clock.clone()).shards(1).time_to_idle(seconds(5));
    (clock, adjust(builder).build().unwrap())
}

fn left(cache: &Cache<&'static str, u32>) -> Option<Duration> {
    cache.validate();
    cache.remaining_ttl("k")
}

#[test]
fn reads_that_count_as_use_restart_it_and_looks_do_not() {
    type Call = fn(&Cache<&'static str, u32>);
    let uses: [(&str, Call); 8] = [
        ("get", |cache| assert!(cache.get("k").is_some())),
        ("read", |cache| assert!(cache.read("k", |_| ()).is_some())),
        ("guard.get", |cache| assert!(cache.read_guard().get("k").is_some())),
        ("touch", |cache| assert!(cache.touch("k"))),
        ("insert", |cache| cache.insert("k", 2)),
        ("replace", |cache| assert!(cache.replace("k", 2).is_ok())),
        ("update", |cache| assert!(cache.update("k", |value| value + 1))),
        ("set_ttl", |cache| assert!(cache.set_ttl("k", seconds(1000)))),
    ];
    let looks: [(&str, Call); 5] = [
        ("peek", |cache| assert!(cache.peek("k").is_some())),
        ("peek_with", |cache| {
            assert_eq!(cache.peek_with("k", |value| value + 1), Some(2));
            assert_eq!(cache.peek_with("other", |value| value + 1), None);
        }),
        ("contains_key", |cache| assert!(cache.contains_key("k"))),
        ("remaining_ttl", |cache| assert!(cache.remaining_ttl("k").is_some())),
        ("guard.entry", |cache| assert!(cache.read_guard().entry("k").is_some())),
    ];
    // Alone, and where something else could end the entry too.
    type Adjust = fn(CacheBuilder<&'static str, u32>) -> CacheBuilder<&'static str, u32>;
    let beside: [Adjust; 3] = [
        |builder| builder,
        |builder| builder.time_to_live(seconds(500)),
        |builder| builder.max_age(seconds(500)),
    ];
    for adjust in beside {
        for (calls, after) in [(&uses[..], seconds(5)), (&looks[..], seconds(2))] {
            for (name, call) in calls {
                let (clock, cache) = cache(adjust);
                cache.insert("k", 1);
                clock.advance(seconds(3));
                call(&cache);
                assert_eq!(left(&cache), Some(after), "{name}");
                clock.advance(after - NANO);
                assert!(cache.contains_key("k"), "{name}: early");
                clock.advance(NANO);
                assert!(!cache.contains_key("k"), "{name}: late");
            }
        }
    }
}

#[test]
fn reads_keep_an_entry_no_longer_than_its_time_to_live() {
    let (clock, cache) = cache(|builder| builder.time_to_live(seconds(12)));
    cache.insert("k", 1);
    for _ in 0..11 {
        clock.advance(seconds(1));
        assert_eq!(cache.get("k"), Some(1));
    }
    assert_eq!(left(&cache), Some(seconds(1)));
    clock.advance(seconds(1));
    assert_eq!((cache.get("k"), cache.contains_key("k")), (None, false));
}

/// A touch moves the other end on after a read came to it: reads go on too.
#[test]
fn a_touch_after_a_read_came_to_the_end_lets_reads_go_on() {
    let (clock, cache) = cache(|builder| builder.time_to_live(seconds(10)));
    cache.insert("k", 1);
    clock.advance(seconds(4));
    assert_eq!(cache.get("k"), Some(1));
    clock.advance(seconds(1));
    assert_eq!(cache.get("k"), Some(1)); // as good as its time to live, at 10
    assert!(cache.touch("k")); // which is at 15 now
    for _ in 0..9 {
        clock.advance(seconds(1));
        assert_eq!(cache.get("k"), Some(1));
    }
    clock.advance(seconds(1));
    assert_eq!(cache.get("k"), None);
}

#[test]
fn entries_with_a_time_to_live_of_their_own() {
    let (clock, cache) = cache(|builder| builder);
    cache.insert("other", 0);
    cache.insert_with_ttl("k", 1, seconds(7));
    assert_eq!(left(&cache), Some(seconds(5)));
    clock.advance(seconds(4));
    assert_eq!((cache.get("k"), cache.get("other")), (Some(1), Some(0)));
    assert_eq!(left(&cache), Some(seconds(3)));
    assert_eq!(cache.remaining_ttl("other"), Some(seconds(5)));
    assert!(cache.persist("k"));
    clock.advance(seconds(4));
    assert_eq!(cache.get("k"), Some(1));
    assert_eq!(left(&cache), Some(seconds(5)));
}

#[test]
fn memory_goes_when_nobody_reads_any_more() {
    let (clock, cache) = cache(|builder| builder);
    cache.insert("k", 1);
    for _ in 0..100 {
        clock.advance(seconds(4));
        assert_eq!(cache.get("k"), Some(1));
    }
    clock.advance(seconds(6));
    assert_eq!(cache.entry_count(), 0);
}

#[test]
fn zero_is_never_visible_and_the_longest_is_for_ever() {
    let clock = ManualClock::new();
    let build = |tti| Cache::builder().clock(clock.clone()).time_to_idle(tti).build().unwrap();
    let (never, always) = (build(Duration::ZERO), build(Duration::MAX));
    never.insert("k", 1);
    always.insert("k", 1);
    assert_eq!((never.get("k"), always.get("k")), (None, Some(1)));
    assert_eq!(left(&always), Some(Duration::MAX));
}

/// By the system's clock, whose reading readers take from a cache of it: an entry is there until its idle
/// time after the last read is over, to the moment, and gone 10 ms later.
#[test]
fn never_early_by_the_systems_clock() {
    const IDLE: Duration = Duration::from_millis(120);
    for ttl in [None, Some(seconds(60))] {
        let mut builder = Cache::builder().time_to_idle(IDLE);
        if let Some(ttl) = ttl {
            builder = builder.time_to_live(ttl);
        }
        let cache = builder.build().unwrap();
        cache.insert("k", 1);
        let mut judged = 0;
        for pause in [0, 30, 50, 70, 3, 1, 90, 5, 61] {
            thread::sleep(Duration::from_millis(pause));
            let before = Instant::now();
            let (found, until) = (cache.get("k"), cache.remaining_ttl("k"));
            let after = Instant::now();
            if let (Some(_), Some(until)) = (found, until) {
                assert!(until + (after - before) >= IDLE, "{until:?} left just after a read");
                assert!(until <= IDLE + Duration::from_millis(5), "{until:?}");
                judged += 1;
            } else {
                // A busy machine let us sleep for longer than we wanted, or stopped us between the two looks.
                assert!(found.is_none() || after - before >= IDLE, "it was just read");
                cache.insert("k", 1);
            }
        }
        assert!(judged > 0);
        let read = Instant::now();
        let found = cache.get("k").is_some();
        while cache.contains_key("k") {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(!found || read.elapsed() >= IDLE);
    }
}

/// The kept time may be ten milliseconds behind, and a read sets the deadline up to five late. So a look at
/// a cache in which reads set deadlines does not trust the kept time. Here that has stood still for long.
#[test]
fn a_look_checks_the_clock_where_reads_move_deadlines() {
    struct Nothing;
    impl Expiry<&'static str, u32> for Nothing {}
    const SHORT: Duration = Duration::from_millis(50);
    let caches: [Cache<&'static str, u32>; 2] = [
        Cache::builder().time_to_idle(SHORT).clock(SystemClock).build().unwrap(),
        Cache::builder().time_to_live(SHORT).expire_after(Nothing).clock(SystemClock).build().unwrap(),
    ];
    type Look = fn(&Cache<&'static str, u32>) -> bool;
    let looks: [Look; 2] = [|cache| cache.contains_key("k"), |cache| cache.peek("k").is_some()];
    for cache in caches {
        for look in looks {
            let is_shown = || {
                // Somebody keeps the time, and this thread has just checked it.
                SystemClock::keep_once();
                assert!(!look(&cache));
                cache.insert("k", 1);
                look(&cache);
                SystemClock::keep_once();
                thread::sleep(SHORT + Duration::from_millis(10));
                let is_shown = look(&cache);
                cache.invalidate("k");
                is_shown
            };
            // Right after the machine stood still, the kernel's coarse clock is late, too. A fault of ours is there each time.
            assert!((0..3).any(|_| !is_shown()), "shown 10 ms after its end in each of three runs");
        }
    }
}

#[test]
fn what_is_no_fraction_is_no_jitter() {
    for given in [f64::NAN, -0.1, 1.000_001, f64::INFINITY, f64::NEG_INFINITY] {
        let error = Cache::<u64, u64>::builder().ttl_jitter(given).build().unwrap_err();
        assert!(matches!(error, BuildError::Jitter { .. }));
        let text = error.to_string();
        assert_eq!(text, format!("a jitter of {given} asked for; a fraction from 0.0 to 1.0 is allowed"));
    }
    for given in [0.0, -0.0, f64::MIN_POSITIVE, 0.5, 1.0] {
        assert!(Cache::<u64, u64>::builder().ttl_jitter(given).build().is_ok(), "{given}");
    }
}

#[test]
fn jitter_spreads_what_was_filled_in_together() {
    let clock = ManualClock::new();
    let cache =
        Cache::builder().clock(clock.clone()).time_to_live(seconds(100)).ttl_jitter(0.5).build().unwrap();
    (0..10_000u32).for_each(|key| cache.insert(key, key));
    assert_eq!(cache.expiring_within(seconds(49)), 0);
    // Ten seconds are a fifth of what is spread, and the wheel's slots are of 64 seconds out there.
    for tenth in 5..10 {
        clock.advance(seconds(10) * if tenth == 5 { 6 } else { 1 });
        let left = cache.entry_count();
        let expected = 10_000 - 2_000 * (tenth - 4);
        // Six times the deviation, where it is largest.
        assert!(left.abs_diff(expected) < 300, "{left} left, {expected} expected");
        cache.validate();
    }
    assert_eq!(cache.entry_count(), 0);
}

#[test]
fn touch_and_set_ttl_are_not_shortened() {
    let clock = ManualClock::new();
    let cache =
        Cache::builder().clock(clock.clone()).time_to_live(seconds(100)).ttl_jitter(1.0).build().unwrap();
    for key in 0..100 {
        cache.insert(key, key);
        assert!(cache.touch(&key));
        assert_eq!(cache.remaining_ttl(&key), Some(seconds(100)));
        assert!(cache.set_ttl(&key, seconds(30)));
        assert_eq!(cache.remaining_ttl(&key), Some(seconds(30)));
    }
}

/// Reads may move the deadline to the shortened time to live and not beyond.
#[test]
fn jitter_beside_a_time_to_idle() {
    let (clock, cache) = cache(|builder| builder.time_to_live(seconds(10)).ttl_jitter(0.5));
    for _ in 0..20 {
        cache.insert("k", 1);
        let mut lived = 0;
        while cache.get("k").is_some() {
            clock.advance(Duration::from_millis(100));
            lived += 100;
        }
        assert!((5000..=10_000).contains(&lived), "{lived} ms");
    }
}

#[test]
fn expiring_within_counts_by_the_second_and_is_never_too_low() {
    let clock = ManualClock::new();
    let cache = Cache::builder().clock(clock.clone()).time_to_idle(seconds(30)).build().unwrap();
    for key in 1..=20u64 {
        cache.insert_with_ttl(key, key, seconds(key));
    }
    cache.insert(100, 100);
    for within in 1..=20 {
        assert_eq!(cache.expiring_within(seconds(within)), within as usize);
    }
    assert_eq!(cache.expiring_within(Duration::MAX), 21);
    assert!(cache.persist(&7));
    assert_eq!(cache.expiring_within(seconds(7)), 7, "it is filed again when its old place comes up");
    assert!(cache.invalidate(&3));
    assert!(cache.set_ttl(&20, seconds(1)));
    assert_eq!(cache.expiring_within(seconds(7)), 7);
    clock.advance(seconds(8));
    assert_eq!(cache.entry_count() + 8, 21);
    // The running second counts in any case.
    assert_eq!((cache.expiring_within(Duration::ZERO), cache.expiring_within(seconds(12))), (1, 11));
    cache.validate();
}
