//! What each call does to an entry's times, one test a row of the design's table; and the ends of the
//! scale: nothing, one nanosecond, centuries, for ever. The clock is moved by hand throughout.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tidewheel::{Cache, CacheBuilder, ManualClock, RemovalCause, WeakCache};

const NANO: Duration = Duration::from_nanos(1);
const SECOND: Duration = Duration::from_secs(1);
const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A cache of one shard on a clock of its own.
fn cache(
    adjust: impl FnOnce(CacheBuilder<&'static str, u32>) -> CacheBuilder<&'static str, u32>,
) -> (ManualClock, Cache<&'static str, u32>) {
    let clock = ManualClock::new();
    let builder = Cache::builder().clock(clock.clone()).shards(1);
    (clock, adjust(builder).build().unwrap())
}

/// A cache whose entries live five seconds.
fn five() -> (ManualClock, Cache<&'static str, u32>) {
    cache(|builder| builder.time_to_live(seconds(5)))
}

/// The time that is left of `k`.
fn left(cache: &Cache<&'static str, u32>) -> Option<Duration> {
    cache.remaining_ttl("k")
}

fn age(cache: &Cache<&'static str, u32>) -> Duration {
    cache.read_guard().entry("k").unwrap().age()
}

#[test]
fn insert_gives_the_caches_time_to_live_and_a_new_age() {
    let (clock, cache) = five();
    cache.insert_with_ttl("k", 1, seconds(60));
    clock.advance(seconds(2));
    assert_eq!(age(&cache), seconds(2));
    cache.insert("k", 2);
    assert_eq!((left(&cache), age(&cache)), (Some(seconds(5)), Duration::ZERO));
    clock.advance(seconds(3));
    cache.insert("k", 3);
    assert_eq!((left(&cache), age(&cache)), (Some(seconds(5)), Duration::ZERO));
}

#[test]
fn insert_without_a_time_to_live_is_for_ever() {
    let (clock, cache) = cache(|builder| builder);
    cache.insert("k", 1);
    clock.advance(CENTURY);
    assert_eq!((cache.get("k"), left(&cache)), (Some(1), Some(Duration::MAX)));
}

#[test]
fn insert_with_ttl_gives_that_time_to_live() {
    for ttl in [NANO, seconds(1), seconds(9), CENTURY] {
        let (clock, cache) = five();
        cache.insert("k", 1);
        clock.advance(seconds(2));
        cache.insert_with_ttl("k", 1, ttl);
        assert_eq!((left(&cache), age(&cache)), (Some(ttl), Duration::ZERO));
    }
}

#[test]
fn insert_replaces_the_stored_key_and_nothing_else_does() {
    /// Equal by name; told apart by its print.
    #[derive(Clone, Debug)]
    struct Key {
        name: &'static str,
        print: u32,
    }
    impl PartialEq for Key {
        fn eq(&self, other: &Self) -> bool {
            self.name == other.name
        }
    }
    impl Eq for Key {}
    impl Hash for Key {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.name.hash(state);
        }
    }
    let key = |print| Key { name: "k", print };
    let heard = Arc::new(Mutex::new(Vec::new()));
    let cache = Cache::builder()
        .clock(ManualClock::new())
        .eviction_listener({
            let heard = Arc::clone(&heard);
            move |key: &Key, value: &u32, _| heard.lock().unwrap().push((key.print, *value))
        })
        .build()
        .unwrap();
    let print = || cache.read_guard().entry(&key(0)).unwrap().key().print;

    cache.insert(key(1), 1);
    cache.insert(key(2), 2);
    assert_eq!(print(), 2);
    let (back, _) = cache.try_insert(key(3), 3).unwrap_err();
    assert_eq!((back.print, print()), (3, 2));
    assert!(cache.update(&key(4), |_| 4));
    assert!(cache.replace(&key(5), 5).is_ok());
    assert!(cache.touch(&key(6)));
    assert_eq!(print(), 2);
    cache.insert_with_ttl(key(7), 7, SECOND);
    assert_eq!(print(), 7);
    assert_eq!(*heard.lock().unwrap(), [(1, 1), (2, 2), (2, 4), (2, 5)]);
}

#[test]
fn try_insert_is_like_insert_when_absent_or_expired_and_nothing_when_present() {
    let (clock, cache) = five();
    cache.try_insert("k", 1).unwrap();
    clock.advance(seconds(2));
    assert_eq!(cache.try_insert("k", 2), Err(("k", 2)));
    assert_eq!((left(&cache), age(&cache)), (Some(seconds(3)), seconds(2)));
    clock.advance_without_sweeping(seconds(3));
    cache.try_insert("k", 3).unwrap();
    assert_eq!((cache.get("k"), left(&cache), age(&cache)), (Some(3), Some(seconds(5)), Duration::ZERO));
}

#[test]
fn replace_update_and_touch_restart_the_entrys_own_time_to_live_and_keep_its_age() {
    type Call = fn(&Cache<&'static str, u32>) -> bool;
    let calls: [(&str, Call); 3] = [
        ("replace", |cache| cache.replace("k", 2).is_ok()),
        ("update", |cache| cache.update("k", |old| old + 1)),
        ("touch", |cache| cache.touch("k")),
    ];
    for (name, call) in calls {
        let (clock, cache) = five();
        // The cache's own, one given at insertion, and one given later.
        cache.insert("k", 1);
        clock.advance(seconds(4));
        assert!(call(&cache), "{name}");
        assert_eq!((left(&cache), age(&cache)), (Some(seconds(5)), seconds(4)), "{name}");

        cache.insert_with_ttl("k", 1, seconds(60));
        clock.advance(seconds(50));
        assert!(call(&cache), "{name}");
        assert_eq!((left(&cache), age(&cache)), (Some(seconds(60)), seconds(50)), "{name}");

        assert!(cache.set_ttl("k", seconds(3)));
        clock.advance(seconds(2));
        assert!(call(&cache), "{name}");
        assert_eq!((left(&cache), age(&cache)), (Some(seconds(3)), seconds(52)), "{name}");

        // And it does not expire at the old deadline, nor outlive the new one.
        clock.advance(seconds(3) - NANO);
        assert!(cache.contains_key("k"), "{name}");
        clock.advance(NANO);
        assert!(!cache.contains_key("k"), "{name}");
        assert!(!call(&cache), "{name}");
        assert!(!cache.contains_key("k"), "{name}");
    }
}

#[test]
fn no_update_brings_an_absent_or_expired_entry_back() {
    let (clock, cache) = five();
    let nothing_works = |cache: &Cache<&'static str, u32>| {
        assert_eq!(cache.replace("k", 7), Err(7));
        assert!(!cache.update("k", |_| panic!("there is nothing to compute from")));
        assert!(!cache.touch("k"));
        assert!(!cache.set_ttl("k", CENTURY));
        assert!(!cache.persist("k"));
        assert!(!cache.invalidate("k"));
        assert_eq!(cache.remove("k"), None);
        assert_eq!(cache.remove_if("k", |_| panic!("there is nothing to ask about")), None);
        assert!(!cache.rename("k", "other"));
        assert_eq!((cache.get("k"), cache.get("other"), left(cache)), (None, None, None));
    };
    nothing_works(&cache);
    cache.insert("k", 1);
    clock.advance_without_sweeping(seconds(5));
    nothing_works(&cache);
    clock.advance(SECOND);
    nothing_works(&cache);
    cache.insert("k", 1);
    cache.remove("k").unwrap();
    nothing_works(&cache);
    cache.insert("k", 1);
    cache.invalidate_all();
    nothing_works(&cache);
    assert_eq!(cache.entry_count(), 0);
}

#[test]
fn touch_does_nothing_to_a_persisted_entry() {
    let (clock, cache) = five();
    cache.insert("k", 1);
    assert!(cache.persist("k"));
    clock.advance(seconds(2));
    assert!(cache.touch("k"));
    assert_eq!((left(&cache), age(&cache)), (Some(Duration::MAX), seconds(2)));
    clock.advance(CENTURY);
    assert_eq!(cache.get("k"), Some(1));
}

#[test]
fn replace_and_update_leave_a_persisted_entry_persisted() {
    let (clock, cache) = five();
    cache.insert("k", 1);
    assert!(cache.persist("k"));
    cache.replace("k", 2).unwrap();
    assert!(cache.update("k", |old| old + 1));
    clock.advance(CENTURY);
    assert_eq!((cache.get("k"), left(&cache)), (Some(3), Some(Duration::MAX)));
}

#[test]
fn reads_move_nothing() {
    let (clock, cache) = five();
    cache.insert("k", 1);
    clock.advance(seconds(4));
    assert_eq!(cache.get("k"), Some(1));
    assert_eq!(cache.read("k", |value| *value), Some(1));
    assert_eq!(cache.peek("k"), Some(1));
    assert!(cache.contains_key("k"));
    assert_eq!(cache.read_guard().get("k"), Some(&1));
    assert_eq!(left(&cache), Some(SECOND));
    clock.advance(SECOND);
    assert_eq!(cache.get("k"), None);
}

#[test]
fn set_ttl_counts_from_now_and_may_shorten_or_lengthen() {
    let (clock, cache) = five();
    cache.insert("k", 1);
    clock.advance(seconds(2));
    assert!(cache.set_ttl("k", seconds(1)));
    assert_eq!((left(&cache), age(&cache)), (Some(seconds(1)), seconds(2)));
    assert!(cache.set_ttl("k", seconds(1000)));
    assert_eq!(left(&cache), Some(seconds(1000)));
    assert!(cache.set_ttl("k", Duration::MAX));
    assert_eq!(left(&cache), Some(Duration::MAX));
    // From for ever back to something, filed again: it leaves memory on time, not a year later.
    assert!(cache.set_ttl("k", Duration::from_millis(3400)));
    clock.advance(Duration::from_millis(3400));
    assert_eq!((cache.get("k"), cache.entry_count()), (None, 1));
    clock.advance(Duration::from_millis(600));
    assert_eq!(cache.entry_count(), 0);
}

#[test]
fn set_ttl_shortened_far_below_leaves_memory_on_time() {
    let (clock, cache) = cache(|builder| builder.time_to_live(CENTURY));
    for ttl in [0, 1, 62, 63, 64, 65, 4095, 4096, 4097, 300_000] {
        let (ttl, rest) = (Duration::from_millis(ttl * 1000 + 300), Duration::from_millis(700));
        cache.insert("k", 1);
        assert!(cache.set_ttl("k", ttl));
        clock.advance(ttl - NANO);
        assert_eq!((cache.get("k"), cache.entry_count()), (Some(1), 1), "{ttl:?}");
        clock.advance(NANO);
        assert_eq!(cache.get("k"), None, "{ttl:?}");
        clock.advance(rest);
        assert_eq!(cache.entry_count(), 0, "{ttl:?}");
        cache.validate();
    }
}

#[test]
fn persist_takes_the_time_to_live_away() {
    let (clock, cache) = five();
    cache.insert("k", 1);
    assert!(cache.persist("k"));
    assert_eq!(left(&cache), Some(Duration::MAX));
    clock.advance(CENTURY);
    assert_eq!(cache.get("k"), Some(1));
    assert!(cache.set_ttl("k", seconds(1)));
    clock.advance(seconds(1));
    assert_eq!(cache.get("k"), None);
}

#[test]
fn max_age_is_moved_by_no_call() {
    let (clock, cache) = cache(|builder| builder.time_to_live(seconds(5)).max_age(seconds(8)));
    cache.insert("k", 1);
    clock.advance(seconds(4));
    assert_eq!(left(&cache), Some(seconds(1)));
    assert!(cache.touch("k"));
    assert_eq!(left(&cache), Some(seconds(4)));
    assert!(cache.update("k", |old| old + 1));
    cache.replace("k", 9).unwrap();
    assert_eq!(left(&cache), Some(seconds(4)));
    assert!(cache.set_ttl("k", seconds(100)));
    assert_eq!(left(&cache), Some(seconds(4)));
    assert!(cache.persist("k"));
    assert_eq!(left(&cache), Some(seconds(4)));
    assert!(cache.rename("k", "moved"));
    assert_eq!(cache.remaining_ttl("moved"), Some(seconds(4)));
    assert!(cache.rename("moved", "k"));
    assert!(cache.set_ttl("k", seconds(2)));
    assert_eq!(left(&cache), Some(seconds(2)));
    assert!(cache.persist("k"));
    clock.advance(seconds(4) - NANO);
    assert_eq!(cache.get("k"), Some(9));
    clock.advance(NANO);
    assert_eq!(cache.get("k"), None);
    clock.advance(SECOND);
    assert_eq!(cache.entry_count(), 0);
}

#[test]
fn max_age_alone_ends_an_entry_and_a_new_insert_starts_a_new_age() {
    let (clock, cache) = cache(|builder| builder.max_age(seconds(8)));
    cache.insert("k", 1);
    cache.insert_with_ttl("short", 1, seconds(2));
    cache.insert_with_ttl("long", 1, seconds(20));
    assert_eq!(cache.remaining_ttl("short"), Some(seconds(2)));
    assert_eq!(cache.remaining_ttl("long"), Some(seconds(8)));
    clock.advance(seconds(7));
    assert_eq!(left(&cache), Some(seconds(1)));
    cache.insert("k", 2);
    assert_eq!(left(&cache), Some(seconds(8)));
    clock.advance(seconds(7));
    assert_eq!((cache.get("k"), cache.get("long")), (Some(2), None));
}

#[test]
fn rename_restarts_the_time_to_live_and_keeps_the_age() {
    let (clock, cache) = five();
    cache.insert("k", 1);
    clock.advance(seconds(4));
    assert!(cache.rename("k", "moved"));
    assert_eq!((cache.get("k"), cache.get("moved")), (None, Some(1)));
    assert_eq!(cache.remaining_ttl("moved"), Some(seconds(5)));
    assert_eq!(cache.read_guard().entry("moved").unwrap().age(), seconds(4));
    assert_eq!(cache.entry_count(), 1);
    clock.advance(seconds(5));
    assert_eq!(cache.get("moved"), None);
    clock.advance(SECOND);
    assert_eq!(cache.entry_count(), 0);
    cache.validate();
}

#[test]
fn rename_with_moves_what_was_made_of_what_it_removed() {
    let (clock, cache) = five();
    cache.insert("k", 1);
    clock.advance(seconds(4));
    let mut runs = 0;
    let answer = cache.rename_with("k", "moved", |value| {
        runs += 1;
        if runs == 1 {
            cache.insert("k", 10);
        }
        (value + 1, *value)
    });
    assert_eq!((runs, answer), (2, Some(10)), "on what came between, again");
    assert_eq!((cache.get("k"), cache.get("moved")), (None, Some(11)));
    assert_eq!(cache.remaining_ttl("moved"), Some(seconds(5)));
    assert_eq!(cache.read_guard().entry("moved").unwrap().age(), seconds(0), "of what came between");
    assert_eq!(cache.rename_with("k", "again", |_| unreachable!("nothing to make it from")), None::<()>);
    clock.advance(seconds(1));
    assert_eq!(cache.rename_with("moved", "moved", |value| (value + 1, ())), Some(()), "to itself");
    assert_eq!(cache.get("moved"), Some(12));
    assert_eq!(cache.read_guard().entry("moved").unwrap().age(), seconds(1));
    clock.advance(seconds(5));
    assert_eq!(cache.get("moved"), None);
    cache.validate();
}

#[test]
fn zero_is_never_visible_and_leaves_at_the_next_tick() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (clock, cache) = cache(|builder| {
        let heard = Arc::clone(&heard);
        builder
            .time_to_live(Duration::ZERO)
            .eviction_listener(move |key, value, cause| heard.lock().unwrap().push((*key, *value, cause)))
    });
    clock.advance(Duration::from_millis(300));
    cache.insert("k", 1);
    assert_eq!((cache.get("k"), left(&cache)), (None, None));
    assert!(!cache.touch("k"));
    clock.advance(Duration::from_millis(699));
    assert_eq!((cache.get("k"), heard.lock().unwrap().len()), (None, 0));
    clock.advance(Duration::from_millis(1));
    assert_eq!(cache.entry_count(), 0);
    assert_eq!(*heard.lock().unwrap(), [("k", 1, RemovalCause::Expired)]);

    // The same for one entry, and for one that is given nothing more to live.
    cache.insert_with_ttl("given", 2, SECOND);
    cache.insert_with_ttl("k", 3, Duration::ZERO);
    assert!(cache.set_ttl("given", Duration::ZERO));
    assert_eq!((cache.get("given"), cache.get("k")), (None, None));
    clock.advance(SECOND);
    assert_eq!(cache.entry_count(), 0);
    let mut reports = heard.lock().unwrap().split_off(1);
    reports.sort_by_key(|report| report.1);
    assert_eq!(reports, [("given", 2, RemovalCause::Expired), ("k", 3, RemovalCause::Expired)]);
    cache.validate();
}

#[test]
fn a_zero_over_a_living_entry_hides_it() {
    let (_, cache) = five();
    cache.insert("k", 1);
    cache.insert_with_ttl("k", 2, Duration::ZERO);
    assert_eq!(cache.get("k"), None);
    cache.validate();
}

/// The slot of the one that expired is still to come, and is soon enough for the one with nothing to live.
#[test]
fn a_zero_over_an_expired_entry_leaves_with_the_second() {
    let (clock, cache) = five();
    clock.advance(Duration::from_millis(100));
    cache.insert_with_ttl("k", 1, Duration::from_millis(1200));
    clock.advance_without_sweeping(Duration::from_millis(1500));
    assert_eq!(cache.get("k"), None);
    cache.insert_with_ttl("k", 2, Duration::ZERO);
    cache.validate();
    clock.advance(Duration::from_millis(400));
    assert_eq!(cache.entry_count(), 0);
}

/// A writer moves the hand to where a coarse slot begins, and leaves its rows for the next sweep: that one is
/// for the end of the second, as one that is written now and over at once needs it.
#[test]
fn a_zero_beside_a_coarse_slot_that_comes_due() {
    for key in ["k", "other"] {
        let (clock, cache) = five();
        clock.advance(Duration::from_millis(1));
        cache.insert_with_ttl("other", 1, seconds(65));
        clock.advance_without_sweeping(seconds(63));
        cache.insert_with_ttl(key, 2, Duration::ZERO);
        cache.validate();
        clock.advance(seconds(1));
        assert_eq!((cache.get(key), cache.entry_count()), (None, usize::from(key == "k")));
        clock.advance(seconds(2));
        assert_eq!(cache.entry_count(), 0);
    }
}

#[test]
fn a_zero_max_age_hides_everything() {
    let (clock, cache) = cache(|builder| builder.time_to_live(seconds(5)).max_age(Duration::ZERO));
    cache.insert("k", 1);
    assert_eq!(cache.get("k"), None);
    clock.advance(SECOND);
    assert_eq!(cache.entry_count(), 0);
}

#[test]
fn for_ever_lasts_to_the_end_of_time() {
    let (clock, cache) = cache(|builder| builder.time_to_live(Duration::MAX).max_age(Duration::MAX));
    cache.insert("k", 1);
    cache.insert_with_ttl("other", 1, Duration::MAX);
    for _ in 0..4 {
        clock.advance(CENTURY);
        assert_eq!((cache.get("k"), cache.get("other")), (Some(1), Some(1)));
        assert_eq!(left(&cache), Some(Duration::MAX));
    }
    clock.advance(Duration::MAX);
    // The clock stands still now; there is still life at its end.
    assert!(cache.touch("k"));
    assert!(cache.update("k", |old| old + 1));
    assert!(cache.set_ttl("k", seconds(1)));
    cache.insert_with_ttl("late", 1, seconds(5));
    cache.insert_with_ttl("never", 1, Duration::ZERO);
    clock.advance(Duration::MAX);
    assert_eq!((cache.get("k"), cache.get("late"), cache.get("never")), (Some(2), Some(1), None));
    cache.validate();
}

#[test]
fn a_century_is_kept_to_the_nanosecond() {
    for ttl in [CENTURY, CENTURY + CENTURY / 4, CENTURY + NANO] {
        let (clock, cache) = cache(|builder| builder.time_to_live(ttl));
        clock.advance(Duration::from_nanos(123_456_789));
        cache.insert("k", 1);
        assert_eq!(left(&cache), Some(ttl));
        clock.advance(ttl - NANO);
        assert_eq!((cache.get("k"), left(&cache)), (Some(1), Some(NANO)));
        clock.advance(NANO);
        assert_eq!((cache.get("k"), left(&cache)), (None, None));
        clock.advance(SECOND);
        assert_eq!(cache.entry_count(), 0);
        cache.validate();
    }
}

#[test]
fn readable_one_nanosecond_before_its_deadline_and_not_at_it() {
    for ttl in
        [NANO, Duration::from_millis(1), SECOND - NANO, SECOND, SECOND + NANO, seconds(5), seconds(86_400)]
    {
        let (clock, cache) = five();
        clock.advance(Duration::from_nanos(777_777_777));
        cache.insert_with_ttl("k", 1, ttl);
        clock.advance(ttl - NANO);
        assert_eq!((cache.get("k"), cache.peek("k"), left(&cache)), (Some(1), Some(1), Some(NANO)));
        assert!(cache.contains_key("k"));
        assert_eq!(cache.read_guard().get("k"), Some(&1));
        clock.advance_without_sweeping(NANO);
        assert_eq!((cache.get("k"), cache.peek("k"), left(&cache)), (None, None, None));
        assert!(!cache.contains_key("k"));
        assert_eq!(cache.read("k", |value| *value), None);
        assert_eq!(cache.read_guard().get("k"), None);
        assert!(cache.read_guard().entry("k").is_none());
    }
}

/// An entry is out of memory when the second in which its deadline lies, or which ends at it, is over: not
/// before and not later.
#[test]
fn out_of_memory_after_the_next_completed_second() {
    let millis = Duration::from_millis;
    for (start, ttl) in
        [(0, 5000), (300, 4700), (999, 4002), (0, 5999), (300, 5000), (999, 5000), (1, 65_000)]
    {
        let (clock, cache) = five();
        clock.advance(millis(start));
        cache.insert_with_ttl("k", 1, millis(ttl));
        let last = (start + ttl).next_multiple_of(1000) - 1;
        for now in (start + 100..last).step_by(100) {
            clock.advance(millis(now) - clock.elapsed());
            assert_eq!(cache.entry_count(), 1, "{start} + {ttl} at {now}");
        }
        clock.advance(millis(last) - clock.elapsed());
        assert_eq!(cache.entry_count(), 1, "{start} + {ttl}");
        clock.advance(millis(1));
        assert_eq!(cache.entry_count(), 0, "{start} + {ttl}");
    }
}

#[test]
fn a_sweep_that_is_a_year_late_clears_everything() {
    let heard = Arc::new(Mutex::new(0));
    let (clock, cache) = {
        let heard = Arc::clone(&heard);
        let clock = ManualClock::new();
        let cache = Cache::<u64, u64>::builder()
            .clock(clock.clone())
            .eviction_listener(move |_, _, cause| {
                assert_eq!(cause, RemovalCause::Expired);
                *heard.lock().unwrap() += 1;
            })
            .build()
            .unwrap();
        (clock, cache)
    };
    // Lifetimes on every scale, from a millisecond to just under the year.
    const MANY: u64 = 20_000;
    let year = 365 * 86_400_000u64;
    for key in 0..MANY {
        let scale = [1, 1000, 60_000, 3_600_000, 86_400_000, year / 2][usize::try_from(key % 6).unwrap()];
        cache.insert_with_ttl(key, key, Duration::from_millis(1 + key * 7919 % scale));
    }
    cache.insert_with_ttl(MANY, 0, CENTURY + CENTURY / 4);
    clock.advance_without_sweeping(Duration::from_millis(year));
    assert_eq!(cache.entry_count() as u64, MANY + 1);
    assert!((0..MANY).all(|key| !cache.contains_key(&key)));
    cache.run_pending_tasks();
    assert_eq!((cache.entry_count(), *heard.lock().unwrap()), (1, MANY));
    assert!(cache.contains_key(&MANY));
    cache.validate();

    // And the wheel goes on from there.
    cache.insert_with_ttl(0, 0, seconds(5));
    clock.advance(seconds(6));
    assert_eq!(cache.entry_count(), 1);
}

#[test]
fn what_was_filed_during_a_late_second_is_not_a_lap_behind() {
    let (clock, cache) = five();
    cache.insert("old", 1);
    clock.advance_without_sweeping(seconds(86_400));
    cache.insert_with_ttl("k", 1, Duration::ZERO);
    cache.insert_with_ttl("later", 1, seconds(2));
    clock.advance(SECOND);
    assert_eq!(cache.entry_count(), 1);
    clock.advance(seconds(2));
    assert_eq!(cache.entry_count(), 0);
    cache.validate();
}

/// The clock moves on in the middle of a sweep, and writers see it: what became due meanwhile is neither
/// forgotten nor put off.
#[test]
fn a_sweep_may_be_overtaken_by_the_clock() {
    // Whichever shard it happens in, others come before it and after it.
    (0..16).for_each(invalidate);
}

fn invalidate(first: u64) {
    let clock = ManualClock::new();
    let own = Arc::new(OnceLock::<WeakCache<u64, u64>>::new());
    let cache = Cache::<u64, u64>::builder()
        .clock(clock.clone())
        .shards(8)
        .eviction_listener({
            let (clock, own) = (clock.clone(), Arc::clone(&own));
            move |key, _, _| {
                if *key == first {
                    clock.advance_without_sweeping(seconds(3));
                    let cache = own.get().unwrap().upgrade().unwrap();
                    (1000..1064).for_each(|key| cache.insert_with_ttl(key, key, CENTURY));
                }
            }
        })
        .build()
        .unwrap();
    own.set(cache.downgrade()).unwrap();
    for key in 0..64 {
        let ttl = if key == first { 1000 } else { 2500 };
        cache.insert_with_ttl(key, key, Duration::from_millis(ttl));
    }
    clock.advance(seconds(1));
    assert_eq!(clock.elapsed(), seconds(4));
    cache.validate();
    cache.run_pending_tasks();
    assert_eq!(cache.entry_count(), 64);
    cache.validate();
}

#[test]
fn one_clock_drives_every_cache_built_on_it() {
    let clock = ManualClock::new();
    let ttl = |n: u64| Duration::from_millis(n * 1000 + 500);
    let caches: Vec<Cache<u64, u64>> = (0..20)
        .map(|n| Cache::builder().clock(clock.clone()).time_to_live(ttl(n)).build().unwrap())
        .collect();
    for cache in &caches {
        cache.insert(1, 1);
    }
    for second in 0..20 {
        let alive = caches.iter().filter(|cache| cache.contains_key(&1)).count();
        assert_eq!(alive, 20 - second);
        clock.advance(SECOND);
        let counted: usize = caches.iter().map(Cache::entry_count).sum();
        assert_eq!(counted, 19 - second);
    }
}

/// The time that is left is given anew, by another time to live or by the same one: the deadline does not
/// move by as much as a nanosecond, and the new time to live is the one that counts from then on.
#[test]
fn set_ttl_to_what_is_left_moves_nothing() {
    let (clock, cache) = five();
    for ttl in [5, 3, 5] {
        cache.insert("k", 1);
        clock.advance(seconds(5 - ttl));
        assert!(cache.set_ttl("k", seconds(ttl)));
        assert_eq!(left(&cache), Some(seconds(ttl)));
        assert!(cache.touch("k"));
        assert_eq!(left(&cache), Some(seconds(ttl)));
        clock.advance(seconds(1));
        assert!(cache.touch("k"));
        assert_eq!(left(&cache), Some(seconds(ttl)));
        assert!(cache.set_ttl("k", seconds(4)));
        clock.advance(seconds(1));
        assert!(cache.set_ttl("k", seconds(3)));
        cache.validate();
        assert!(cache.update("k", |old| old + 1));
        assert_eq!(left(&cache), Some(seconds(3)));
        clock.advance(seconds(3));
        assert!(!cache.touch("k"));
        clock.advance(SECOND);
        assert_eq!(cache.entry_count(), 0);
    }
}

/// A deadline that a touch moves beyond the end of the timeline is no reason not to move it.
#[test]
fn a_touch_near_the_end_of_time_counts() {
    let (clock, cache) = cache(|builder| builder.time_to_live(CENTURY));
    cache.insert("k", 1);
    clock.advance(CENTURY - SECOND);
    assert!(cache.touch("k"));
    clock.advance(seconds(2));
    assert_eq!((cache.get("k"), left(&cache)), (Some(1), Some(Duration::MAX)));
    cache.validate();
    assert!(cache.set_ttl("k", SECOND));
    clock.advance(seconds(2));
    assert_eq!(cache.entry_count(), 0);
}

/// The age of the last entry that was written over another's value is kept apart from the others' until the next one comes.
#[test]
fn an_age_that_began_anew_is_the_entrys_own_wherever_it_is_kept() {
    let clock = ManualClock::new();
    let cache: Cache<u32, u32> = Cache::builder().shards(1).clock(clock.clone()).build().unwrap();
    let age = |key: u32| cache.read_guard().entry(&key).map(|entry| entry.age().as_secs());
    let ages = || [1, 2, 3].map(age);
    cache.insert(1, 0);
    cache.insert(2, 0);
    clock.advance(Duration::from_secs(10));
    cache.insert(1, 1);
    assert_eq!(ages(), [Some(0), Some(10), None]);
    clock.advance(Duration::from_secs(10));
    assert_eq!(ages(), [Some(10), Some(20), None]);
    cache.insert(2, 1);
    cache.insert(2, 2);
    clock.advance(Duration::from_secs(1));
    assert_eq!(ages(), [Some(11), Some(1), None]);
    // One that goes has no say in what becomes of its place.
    assert!(cache.invalidate(&2));
    cache.insert(3, 0);
    clock.advance(Duration::from_secs(5));
    cache.insert(1, 2);
    clock.advance(Duration::from_secs(1));
    assert_eq!(ages(), [Some(1), None, Some(6)]);
    cache.validate();
    assert!(cache.replace(&1, 3).is_ok());
    assert_eq!(ages(), [Some(1), None, Some(6)]);
}
