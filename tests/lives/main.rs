//! How long entries live: every path that stores a value, against a small reckoning, to the nanosecond; and the exact ends
//! that users test for.

mod model;

use model::{Answer, Answers, Key, Op, Pair, Refresh, Setup, WRITES, done};
use proptest::prelude::{Just, Strategy, any};
use proptest::test_runner::Config;
use proptest::{collection, option, prop_oneof, proptest, sample};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tidewheel::{Cache, CacheBuilder, Expiry, Life, ManualClock};

const KEYS: Key = 3;
const NANO: Duration = Duration::from_nanos(1);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Short and long, odd and even.
const LENGTHS: [Duration; 10] = [
    NANO,
    Duration::from_nanos(999_999_999),
    seconds(1),
    seconds(2),
    Duration::from_nanos(3_000_000_001),
    seconds(5),
    seconds(10),
    Duration::from_nanos(20_000_000_003),
    seconds(100),
    seconds(1_000),
];

fn length() -> impl Strategy<Value = Duration> {
    prop_oneof![8 => sample::select(LENGTHS.to_vec()), 1 => Just(Duration::ZERO)]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![Just(Answer::Same), Just(Answer::Never), length().prop_map(Answer::After)]
}

fn setup() -> impl Strategy<Value = Setup> {
    let lengths = (option::of(length()), option::of(length()), option::of(length()));
    let answers = (answer(), answer(), answer());
    let answers = answers.prop_map(|(create, read, update)| Answers { create, read, update });
    let refresh = prop_oneof![
        Just(Refresh::Not),
        (1_u64..3).prop_map(|after| Refresh::ByCaller(seconds(after))),
        (1_u64..3).prop_map(|after| Refresh::ByJob(seconds(after))),
    ];
    (lengths, option::of(answers), refresh).prop_map(|((ttl, tti, max_age), expiry, refresh)| Setup {
        ttl,
        tti,
        max_age,
        expiry,
        refresh,
    })
}

fn life() -> impl Strategy<Value = Life> {
    prop_oneof![
        1 => Just(Life::Restart),
        2 => Just(Life::Keep),
        1 => length().prop_map(Life::Ttl),
        1 => Just(Life::Endless),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0..KEYS;
    let step = || sample::select(LENGTHS[..7].to_vec());
    prop_oneof![
        2 => key().prop_map(Op::Insert),
        2 => (key(), length()).prop_map(|(key, ttl)| Op::InsertWithTtl(key, ttl)),
        1 => key().prop_map(Op::InsertMany),
        1 => key().prop_map(Op::TryInsert),
        1 => key().prop_map(Op::Replace),
        1 => key().prop_map(Op::Update),
        1 => key().prop_map(Op::Upsert),
        1 => key().prop_map(Op::Compute),
        1 => key().prop_map(Op::OrInsert),
        1 => key().prop_map(Op::OrInsertIf),
        5 => key().prop_map(Op::GetWith),
        10 => (sample::select(WRITES.to_vec()), key(), life()).prop_map(|(write, key, life)| Op::With(write, key, life)),
        2 => any::<bool>().prop_map(Op::RunJobs),
        1 => (key(), key()).prop_map(|(from, to)| Op::Rename(from, to)),
        1 => step().prop_map(Op::Restart),
        1 => key().prop_map(Op::Touch),
        1 => (key(), length()).prop_map(|(key, ttl)| Op::SetTtl(key, ttl)),
        1 => key().prop_map(Op::Persist),
        3 => key().prop_map(Op::Get),
        5 => (step(), any::<bool>()).prop_map(|(by, sweeps)| Op::Advance(by, sweeps)),
        2 => (key(), any::<bool>()).prop_map(|(key, before)| Op::AdvanceToEnd(key, before)),
    ]
}

proptest! {
    #![proptest_config(Config { cases: 1_000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn whatever_stores_a_value_gives_it_the_ends_that_are_reckoned(
        setup in setup(),
        ops in collection::vec(op(), 1..40),
    ) {
        let mut pair = Pair::new(setup);
        for op in ops {
            pair.apply(op);
            (0..KEYS).for_each(|key| pair.check(key));
            pair.validate();
        }
    }
}

/// An entry lives two seconds from its creation, whatever comes.
struct TwoSeconds;

impl Expiry<&'static str, u32> for TwoSeconds {
    fn expire_after_create(&self, _: &&'static str, _: &u32) -> Option<Duration> {
        Some(seconds(2))
    }
}

type Adjust = fn(CacheBuilder<&'static str, u32>) -> CacheBuilder<&'static str, u32>;

fn scene(adjust: Adjust) -> (ManualClock, Cache<&'static str, u32>) {
    let clock = ManualClock::new();
    (clock.clone(), adjust(Cache::builder().clock(clock)).build().unwrap())
}

type Numbers = Cache<&'static str, u32>;
type Reload = fn(&Numbers) -> u32;
type Insert = fn(&Numbers);

/// Each way to have an old value loaded anew.
const RELOADS: [(&str, Reload); 4] = [
    ("get_with", |cache| cache.get_with("k", || 2)),
    ("try_get_with", |cache| cache.try_get_with("k", || Ok::<_, ()>(2)).unwrap()),
    ("optionally_get_with", |cache| cache.optionally_get_with("k", || Some(2)).unwrap()),
    ("by reference", |cache| cache.get_with_by_ref(&"k", || 2)),
];

/// A reload was taken for a new entry by the ledger and for a replacement by the user's `Expiry`: that said "as before", and the
/// ledger had nothing before. So the entry lived for ever, or as long as the cache's other times let it.
#[test]
fn a_reload_keeps_what_the_expiry_said() {
    let beside: [Adjust; 3] = [
        |builder| builder,
        |builder| builder.time_to_live(seconds(30)),
        |builder| builder.time_to_idle(seconds(20)),
    ];
    for adjust in beside {
        for (name, reload) in RELOADS {
            let clock = ManualClock::new();
            let builder = Cache::builder().expire_after(TwoSeconds).refresh_after_write(seconds(1));
            let cache = adjust(builder).clock(clock.clone()).build().unwrap();
            cache.insert("k", 1);
            clock.advance(Duration::from_millis(1_100));
            assert_eq!(reload(&cache), 2, "{name}");
            assert_eq!(cache.remaining_ttl("k"), Some(Duration::from_millis(900)), "{name}");
            clock.advance(Duration::from_millis(900));
            assert_eq!(cache.get("k"), None, "{name}");
        }
    }
}

/// A reload took an entry's own time to live away, and in a cache that has none it was immortal then.
#[test]
fn a_reload_restarts_the_entrys_own_time_to_live_and_keeps_its_age() {
    for (name, reload) in RELOADS {
        let (clock, cache) = scene(|builder| builder.refresh_after_write(seconds(1)).max_age(seconds(7)));
        cache.insert_with_ttl("k", 1, seconds(5));
        clock.advance(seconds(3));
        assert_eq!(reload(&cache), 2, "{name}");
        assert_eq!(cache.remaining_ttl("k"), Some(seconds(4)), "{name}: as old as before");
        cache.insert_with_ttl("k", 1, seconds(5));
        clock.advance(seconds(1));
        assert_eq!(reload(&cache), 2, "{name}");
        assert_eq!(cache.remaining_ttl("k"), Some(seconds(5)), "{name}: its own");
    }
}

/// While its `Expiry` was asked about a reload, the entry that it was asked about came to its end: "as before" means nothing
/// then, and the new value had no end at all.
#[test]
fn a_reload_whose_entry_ends_while_the_expiry_thinks_is_a_new_entry() {
    struct Slow(ManualClock);
    impl Expiry<&'static str, u32> for Slow {
        fn expire_after_create(&self, _: &&'static str, _: &u32) -> Option<Duration> {
            Some(seconds(2))
        }
        fn expire_after_update(&self, _: &&'static str, _: &u32, left: Option<Duration>) -> Option<Duration> {
            self.0.advance_without_sweeping(seconds(5));
            left
        }
    }
    let clock = ManualClock::new();
    let builder = Cache::builder().expire_after(Slow(clock.clone())).refresh_after_write(seconds(1));
    let cache = builder.clock(clock.clone()).build().unwrap();
    cache.insert("k", 1);
    clock.advance(seconds(1));
    assert_eq!(cache.get_with("k", || 2), 2);
    assert_eq!(cache.remaining_ttl("k"), Some(seconds(2)));
    cache.validate();
}

/// A time to idle beside another end: reads came to that end a nanosecond late, because an odd deadline was
/// how they knew that they had come to it.
#[test]
fn reads_keep_an_entry_to_its_other_end_and_not_a_nanosecond_longer() {
    struct Ten;
    impl Expiry<&'static str, u32> for Ten {
        fn expire_after_create(&self, _: &&'static str, _: &u32) -> Option<Duration> {
            Some(seconds(10))
        }
    }
    const ODD: Duration = Duration::from_nanos(10_000_000_001);
    let limits: [(&str, Duration, Adjust, Insert); 8] = [
        ("time to live", seconds(10), |b| b.time_to_live(seconds(10)), |cache| cache.insert("k", 1)),
        ("odd time to live", ODD, |b| b.time_to_live(ODD), |cache| cache.insert("k", 1)),
        ("age", seconds(10), |b| b.max_age(seconds(10)), |cache| cache.insert("k", 1)),
        ("odd age", ODD, |b| b.max_age(ODD), |cache| cache.insert("k", 1)),
        ("own time", seconds(10), |b| b, |cache| cache.insert_with_ttl("k", 1, seconds(10))),
        ("odd own time", ODD, |b| b, |cache| cache.insert_with_ttl("k", 1, ODD)),
        ("Expiry", seconds(10), |b| b.expire_after(Ten), |cache| cache.insert("k", 1)),
        (
            "all at once",
            seconds(10),
            |b| b.time_to_live(seconds(10)).max_age(seconds(10)).expire_after(Ten),
            |cache| cache.insert("k", 1),
        ),
    ];
    for (name, end, adjust, insert) in limits {
        // Idle for so long that reads come to the other end at once; and idle times that end just beside it.
        for idle in [seconds(100), seconds(5), seconds(5) + NANO, seconds(5) - NANO] {
            for start in [Duration::ZERO, NANO] {
                let clock = ManualClock::new();
                let cache = adjust(Cache::builder().time_to_idle(idle)).clock(clock.clone()).build().unwrap();
                clock.advance(start);
                insert(&cache);
                for _ in 0..3 {
                    clock.advance(seconds(5) - NANO * 2);
                    if clock.elapsed() - start < end {
                        assert_eq!(cache.get("k"), Some(1), "{name}, {idle:?}");
                        let left = end - (clock.elapsed() - start);
                        assert_eq!(cache.remaining_ttl("k"), Some(left.min(idle)), "{name}, {idle:?}");
                    }
                }
                assert_eq!(cache.get("k"), None, "{name}, {idle:?}");
                insert(&cache);
                clock.advance(seconds(5) - NANO * 2);
                assert_eq!(cache.get("k"), Some(1));
                let left = cache.remaining_ttl("k").unwrap();
                clock.advance(left - NANO);
                assert!(cache.contains_key("k"), "{name}, {idle:?}: early");
                clock.advance(NANO);
                assert_eq!(
                    (cache.get("k"), cache.contains_key("k")),
                    (None, false),
                    "{name}, {idle:?}: late"
                );
                cache.validate();
            }
        }
    }
}

/// Each way to write, with each `Life`, beside each end that there can be; to just before the end, and to the end.
#[test]
fn each_write_with_each_life_beside_each_end() {
    let none = Setup { ttl: None, tti: None, max_age: None, expiry: None, refresh: Refresh::Not };
    let ten = Some(seconds(10));
    let expiry = |update| Some(Answers { create: Answer::After(seconds(10)), read: Answer::Same, update });
    let setups = [
        none,
        Setup { ttl: ten, ..none },
        Setup { max_age: ten, ..none },
        Setup { ttl: ten, max_age: Some(seconds(14)), ..none },
        Setup { ttl: ten, tti: Some(seconds(4)), ..none },
        Setup { tti: Some(seconds(4)), ..none },
        Setup { expiry: expiry(Answer::Same), ..none },
        Setup { expiry: expiry(Answer::After(seconds(7))), ..none },
        Setup { ttl: Some(seconds(12)), tti: Some(seconds(6)), expiry: expiry(Answer::Same), ..none },
    ];
    let lives = [Life::Restart, Life::Keep, Life::Ttl(seconds(5)), Life::Ttl(Duration::ZERO), Life::Endless];
    let firsts = [Op::Insert(0), Op::InsertWithTtl(0, seconds(8)), Op::Get(0)];
    for setup in setups {
        for write in WRITES {
            for life in lives {
                for first in firsts {
                    let mut pair = Pair::new(setup);
                    let write = Op::With(write, 0, life);
                    let ops = [
                        first,
                        Op::Advance(seconds(3), true),
                        write,
                        Op::Advance(seconds(1), true),
                        Op::Touch(0),
                    ];
                    let ends = [Op::AdvanceToEnd(0, true), Op::AdvanceToEnd(0, false), write];
                    for op in ops.into_iter().chain(ends) {
                        pair.apply(op);
                        pair.check(0);
                        pair.validate();
                    }
                }
            }
        }
    }
}

/// Many count one key up in a fixed window: no count is lost, each is told another number, and the window ends when it was to.
#[test]
fn counts_that_are_told_are_all_different_and_the_window_stays() {
    const EACH: u32 = 2_000;
    let clock = ManualClock::new();
    let cache = Cache::builder().time_to_live(seconds(60)).clock(clock.clone()).build().unwrap();
    cache.insert("k", 0_u32);
    clock.advance(seconds(10));
    let mut told: Vec<u32> = std::thread::scope(|scope| {
        let count = |way: u32| {
            let cache = cache.with_life(Life::Keep);
            let next = move |n: u32| match (way, n % 2) {
                (0, _) => cache.update_with("k", |n| (n + 1, n + 1)),
                (1, _) => cache.modify("k", |n| {
                    *n += 1;
                    *n
                }),
                (_, 0) => cache.update_with("k", |n| (n + 1, n + 1)),
                _ => None,
            };
            scope.spawn(move || (0..EACH).filter_map(next).collect::<Vec<u32>>())
        };
        let threads: Vec<_> = (0..3).map(count).collect();
        // Meanwhile the value is seen to grow, and no reader finds a gap.
        let mut last = 0;
        while !threads.iter().all(|thread| thread.is_finished()) {
            let seen = cache.peek("k").unwrap();
            assert!(seen >= last);
            last = seen;
        }
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    told.sort_unstable();
    assert_eq!(told, (1..=EACH * 5 / 2).collect::<Vec<_>>());
    assert_eq!(cache.remaining_ttl("k"), Some(seconds(50)));
    cache.validate();
}

/// Of those who swap a key, each value that was there is given to exactly one.
#[test]
fn what_is_swapped_out_is_told_once() {
    const EACH: u64 = 2_000;
    let cache: Cache<u8, u64> = Cache::builder().clock(ManualClock::new()).build().unwrap();
    let mut told: Vec<u64> = std::thread::scope(|scope| {
        let swap = |thread: u64| {
            let cache = &cache;
            scope
                .spawn(move || (0..EACH).filter_map(|n| cache.swap(1, thread * EACH + n)).collect::<Vec<_>>())
        };
        let threads: Vec<_> = (0..3).map(swap).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    told.push(cache.get(&1).unwrap());
    told.sort_unstable();
    assert_eq!(told, (0..3 * EACH).collect::<Vec<_>>());
    cache.validate();
}

/// A clone that panics on its way out of a swap or into a change leaves the cache as it was.
#[test]
fn a_clone_that_panics_changes_nothing() {
    #[derive(Debug, PartialEq)]
    struct Touchy(u32, bool);
    impl Clone for Touchy {
        fn clone(&self) -> Self {
            assert!(!self.1, "as it is meant to");
            Self(self.0, false)
        }
    }
    let clock = ManualClock::new();
    let cache = Cache::builder().time_to_live(seconds(60)).clock(clock.clone()).build().unwrap();
    cache.insert("k", Touchy(1, true));
    clock.advance(seconds(10));
    type Call = fn(&Cache<&'static str, Touchy>);
    let calls: [Call; 4] = [
        |cache| done(cache.swap("k", Touchy(2, false))),
        |cache| done(cache.with_life(Life::Keep).swap("k", Touchy(2, false))),
        |cache| assert!(cache.modify("k", |there| there.0 += 1).is_some()),
        |cache| assert!(cache.with_life(Life::Endless).modify("k", |there| there.0 += 1).is_some()),
    ];
    for call in calls {
        assert!(catch_unwind(AssertUnwindSafe(|| call(&cache))).is_err());
        assert_eq!(cache.read("k", |there| there.0), Some(1));
        assert_eq!(cache.remaining_ttl("k"), Some(seconds(50)));
        cache.validate();
    }
    cache.insert("k", Touchy(3, false));
    assert_eq!(cache.swap("k", Touchy(4, false)), Some(Touchy(3, false)));
}

/// With `Keep` the deadline is the same: nobody is warned of it twice.
#[test]
fn a_kept_end_is_warned_of_once() {
    for (life, warnings) in [(Life::Keep, 1), (Life::Restart, 2)] {
        let (clock, warned) = (ManualClock::new(), Arc::new(AtomicU32::new(0)));
        let count = Arc::clone(&warned);
        let builder = Cache::builder().time_to_live(seconds(60)).clock(clock.clone());
        let builder = builder.expiration_warning_listener(seconds(10), move |_: &&str, _: &u32| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let cache = builder.build().unwrap();
        cache.insert("k", 1);
        clock.advance(seconds(52));
        assert_eq!(warned.load(Ordering::Relaxed), 1);
        assert!(cache.with_life(life).update("k", |n| n + 1));
        clock.advance(seconds(5));
        assert_eq!(warned.load(Ordering::Relaxed), 1);
        (0..60).for_each(|_| clock.advance(seconds(1)));
        assert_eq!((warned.load(Ordering::Relaxed), cache.entry_count()), (warnings, 0), "{life:?}");
    }
}

/// A key whose next clone, by a thread that asks for it, runs something.
#[derive(PartialEq, Eq, Hash, Debug)]
struct Cloned(u8);

std::thread_local! {
    static AT_CLONE: std::cell::RefCell<Option<Box<dyn Fn()>>> = const { std::cell::RefCell::new(None) };
}

impl Clone for Cloned {
    fn clone(&self) -> Self {
        if let Some(run) = AT_CLONE.take() {
            run();
        }
        Self(self.0)
    }
}

/// A value that keeps its window is computed, and meanwhile a reader finds that the window is over. The write then stores
/// nothing. (A debug build panicked, under the lock.)
#[test]
fn a_window_that_ends_while_its_next_value_is_computed() {
    type Call = fn(&Cache<Cloned, u32>, &dyn Fn()) -> bool;
    let calls: [(&str, Call); 3] = [
        ("update", |cache, end| {
            cache.with_life(Life::Keep).update(&Cloned(1), |n| {
                end();
                n + 1
            })
        }),
        ("modify", |cache, end| cache.with_life(Life::Keep).modify(&Cloned(1), |_| end()).is_some()),
        ("replace", |cache, _| cache.with_life(Life::Keep).replace(&Cloned(1), 2).is_ok()),
    ];
    for (name, call) in calls {
        let clock = ManualClock::new();
        let cache = Cache::builder().time_to_live(seconds(5)).clock(clock.clone()).build().unwrap();
        cache.insert(Cloned(1), 1);
        let (other, time) = (cache.clone(), clock.clone());
        let end = move || {
            time.advance_without_sweeping(seconds(5));
            assert_eq!(other.get(&Cloned(1)), None);
        };
        if name == "replace" {
            AT_CLONE.set(Some(Box::new(end.clone())));
        }
        assert!(!call(&cache, &end), "{name}");
        assert_eq!(cache.get(&Cloned(1)), None, "{name}");
        cache.validate();
        clock.advance(seconds(1));
        assert_eq!(cache.entry_count(), 0, "{name}");
    }
}
