//! `or_insert`: a value that is ready takes no turn, but where somebody has the key's: then it waits for what comes of that.

use crate::waiting::until_waiting;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, Entry, Expiry, Life, ManualClock};

type Numbers = Cache<u32, u32>;

/// Each way to insert 9 under key 1 if there is nothing.
type Ready = fn(&Numbers) -> Entry<u32, u32>;

const READY: &[(&str, Ready)] = &[
    ("or_insert", |cache| cache.entry(1).or_insert(9)),
    ("or_insert, by reference", |cache| cache.entry_by_ref(&1).or_insert(9)),
    #[cfg(feature = "async")]
    ("or_insert_async", |cache| crate::bare::block_on(cache.entry(1).or_insert_async(9))),
];

/// Each way to have key 1's turn, and to bring 7 once the closure has run.
type Bring = fn(&Numbers, &mut dyn FnMut()) -> u32;

const BRINGS: &[(&str, Bring)] = &[
    ("a load", |cache, run| {
        cache.get_with(1, || {
            run();
            7
        })
    }),
    ("a computation", |cache, run| {
        let made = cache.entry(1).and_upsert_with(|_| {
            run();
            7
        });
        made.into_value()
    }),
];

fn told(entry: &Entry<u32, u32>) -> (u32, bool) {
    (*entry.value(), entry.is_fresh())
}

/// What comes of a call that brings something, and of one with a value that is ready, which waits for it.
fn beside(ready: Ready, bring: impl FnOnce(&Numbers, &mut dyn FnMut()) -> u32 + Send) -> Beside {
    let cache = Numbers::new(10);
    let (brought, inserted) = thread::scope(|scope| {
        let cache = &cache;
        let (begun, is_begun) = channel();
        let (go, goes) = channel::<()>();
        let leader = scope.spawn(move || {
            bring(cache, &mut || {
                begun.send(()).unwrap();
                goes.recv().unwrap();
            })
        });
        is_begun.recv().unwrap();
        let waiter = scope.spawn(|| ready(cache));
        until_waiting(cache, 1);
        go.send(()).unwrap();
        (leader.join().ok(), told(&waiter.join().unwrap()))
    });
    cache.validate();
    Beside { brought, inserted, stored: cache.get(&1) }
}

struct Beside {
    /// `None` if it panicked.
    brought: Option<u32>,
    inserted: (u32, bool),
    stored: Option<u32>,
}

/// It must not come between: both would be said to be stored, and one of them would not be.
#[test]
fn it_waits_for_who_has_the_turn() {
    for (name, ready) in READY {
        for (whose, bring) in BRINGS {
            let Beside { brought, inserted, stored } = beside(*ready, bring);
            assert_eq!((brought, inserted), (Some(7), (7, false)), "{name} beside {whose}");
            assert_eq!(stored, Some(7));
        }
    }
}

/// If who had the turn gives up, it is stored.
#[test]
fn it_is_stored_after_a_panic() {
    for (name, ready) in READY {
        let panics = |cache: &Numbers, run: &mut dyn FnMut()| {
            cache.get_with(1, || {
                run();
                panic!("as it is to");
            })
        };
        let Beside { brought, inserted, stored } = beside(*ready, panics);
        assert_eq!((brought, inserted, stored), (None, (9, true), Some(9)), "{name}");
    }
}

/// A load that a removal has left behind holds nobody up, and does not come over what is stored then.
#[test]
fn it_does_not_wait_for_what_was_left_behind() {
    for (name, ready) in READY {
        let cache = Numbers::new(10);
        let loaded = cache.get_with(1, || {
            assert!(!cache.invalidate(&1));
            assert_eq!(told(&ready(&cache)), (9, true), "{name}");
            7
        });
        assert_eq!((loaded, cache.get(&1)), (7, Some(9)), "{name}");
        cache.validate();
    }
}

#[test]
fn too_heavy_it_is_handed_out_and_not_fresh() {
    for (name, ready) in READY {
        let cache = Cache::builder().max_capacity(5).shards(1).weigher(|_: &u32, value: &u32| *value);
        let cache = cache.build().unwrap();
        assert_eq!(told(&ready(&cache)), (9, false), "{name}");
        assert_eq!((cache.get(&1), cache.entry_count()), (None, 0), "{name}");
        cache.validate();
    }
}

/// It lives as the cache's terms, its `Expiry`, and its own `Life` say.
#[test]
fn it_lives_as_it_should() {
    struct FiveSeconds;
    impl Expiry<u32, u32> for FiveSeconds {
        fn expire_after_create(&self, _: &u32, _: &u32) -> Option<Duration> {
            Some(Duration::from_secs(5))
        }
    }
    let second = Duration::from_secs;
    for (name, ready) in READY {
        let cache = Cache::builder().time_to_live(second(60)).clock(ManualClock::new()).build().unwrap();
        ready(&cache);
        assert_eq!(cache.remaining_ttl(&1), Some(second(60)), "{name}");
        let ruled = Cache::builder().time_to_live(second(60)).expire_after(FiveSeconds);
        let ruled = ruled.clock(ManualClock::new()).build().unwrap();
        ready(&ruled);
        assert_eq!(ruled.remaining_ttl(&1), Some(second(5)), "{name}");
    }
    let cache = Cache::builder().time_to_live(second(60)).clock(ManualClock::new()).build().unwrap();
    for (life, left) in
        [(Life::Ttl(second(3)), second(3)), (Life::Keep, second(60)), (Life::Endless, Duration::MAX)]
    {
        cache.invalidate(&1);
        assert!(cache.entry(1).with_life(life).or_insert(9).is_fresh());
        assert_eq!(cache.remaining_ttl(&1), Some(left), "{life:?}");
    }
}
