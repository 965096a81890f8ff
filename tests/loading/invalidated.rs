//! Loaders that hang, and keys that are written or removed while they are loaded: who comes after that begins a load of its own
//! at once. Who came before still hears what he waited for.
//!
//! The bug that this pins: a loader that was polled once and then kept, blocked every later load of its key for ever, and no
//! removal freed the key.

use crate::bare::Running;
use std::future::pending;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, ManualClock, RefreshJob};
use tokio::sync::oneshot;

type Numbers = Cache<u32, u32>;

/// A load of key 1 that is told how to end, and has begun.
fn under_way(cache: &Numbers) -> (Running<u32>, oneshot::Sender<u32>) {
    let (end, ended) = oneshot::channel();
    let cache = cache.clone();
    (Running::begun(async move { cache.get_with_async(1, async { ended.await.unwrap() }).await }), end)
}

/// One of key 1 that waits for another one.
fn waiting(cache: &Numbers, value: u32, runs: &Arc<AtomicU32>) -> Running<u32> {
    let (cache, runs) = (cache.clone(), runs.clone());
    let load = async move {
        runs.fetch_add(1, Ordering::Relaxed);
        value
    };
    Running::begun(async move { cache.get_with_async(1, load).await })
}

/// The entry ends between the look of an update and its write, which comes to nothing then. So what
/// is being loaded by then is stored.
#[test]
fn an_update_of_what_has_ended_invalidates_no_load() {
    let clock = ManualClock::new();
    let second = Duration::from_secs(1);
    let cache: Numbers = Cache::builder().time_to_live(second).clock(clock.clone()).build().unwrap();
    let (compute, computed) = oneshot::channel::<()>();
    let computing = cache.clone();
    let mut computation = Running::begun(async move {
        let mut computed = Some(computed);
        let put = |_: Option<_>| {
            let computed = computed.take().expect("it runs once");
            async { (computed.await.unwrap(), 3).1 }
        };
        computing.entry(1).and_upsert_with_async(put).await.into_value()
    });
    let (mut load, end) = under_way(&cache);
    compute.send(()).unwrap();
    assert!(computation.step().is_ready());
    let updated = cache.update(&1, |&old| {
        assert_eq!(old, 3);
        clock.advance_without_sweeping(second);
        assert!(load.step().is_pending(), "it has the turn, finds that the entry is over, and loads");
        5
    });
    assert!(!updated);
    end.send(7).unwrap();
    assert_eq!((load.finish(), cache.get(&1)), (7, Some(7)));
    cache.validate();
}

/// A conditional removal looks at an entry, which another call removes, and the key is loaded again. The removal finds another
/// entry than the one that it looked at, or none: it removes nothing, and what is being loaded is stored.
#[test]
fn a_removal_that_removes_nothing_lets_a_load_store_its_value() {
    type Removal = fn(&Numbers, &mut dyn FnMut());
    let removals: [(&str, Removal); 3] = [
        ("remove_if", |cache, meanwhile| {
            let removed = cache.remove_if(&1, |_| {
                meanwhile();
                true
            });
            assert_eq!(removed, None);
        }),
        ("rename_with", |cache, meanwhile| {
            let renamed = cache.rename_with(&1, 2, |value| {
                meanwhile();
                (*value, ())
            });
            assert_eq!(renamed, None);
        }),
        ("retain", |cache, meanwhile| {
            cache.retain(|_, _| {
                meanwhile();
                false
            });
        }),
    ];
    for (name, remove) in removals {
        for ends_by_itself in [false, true] {
            let (clock, second) = (ManualClock::new(), Duration::from_secs(1));
            let cache: Numbers = Cache::builder().time_to_live(second).clock(clock.clone()).build().unwrap();
            cache.insert(1, 1);
            let mut load = None;
            remove(&cache, &mut || {
                if load.is_none() {
                    if ends_by_itself {
                        clock.advance_without_sweeping(second);
                    } else {
                        cache.invalidate(&1);
                    }
                    load = Some(under_way(&cache));
                }
            });
            let (mut load, end) = load.expect("the closure ran");
            end.send(7).unwrap();
            assert_eq!(load.step(), Poll::Ready(7));
            assert_eq!(cache.get(&1), Some(7), "{name}, and the entry ends by itself: {ends_by_itself}");
        }
    }
}

/// Loads at once, or says that it would have to wait.
fn at_once(cache: &Numbers, value: u32) -> u32 {
    cache.timeout(Duration::ZERO).get_with(1, || value).expect("it waits for a loader that hangs")
}

/// A write or a removal, after which there is no entry.
type Overtake = fn(&Numbers);

const OVERTAKES: &[(&str, Overtake)] = &[
    ("invalidate", |cache| assert!(!cache.invalidate(&1))),
    ("remove", |cache| assert_eq!(cache.remove(&1), None)),
    ("invalidate_all", Cache::invalidate_all),
    ("insert", |cache| {
        cache.insert(1, 5);
        assert_eq!(cache.remove_if(&1, |_| true), Some(5));
    }),
    ("try_insert", |cache| {
        cache.try_insert(1, 5).unwrap();
        cache.retain(|_, _| false);
    }),
    ("insert_many", |cache| {
        cache.insert_many([(1, 5)]);
        assert_eq!(cache.drain().count(), 1);
    }),
];

#[test]
fn a_loader_that_hangs_does_not_take_its_key_along() {
    let loads: [fn(Numbers) -> Running<u32>; 4] = [
        |cache| Running::begun(async move { cache.get_with_async(1, pending()).await }),
        |cache| Running::begun(async move { cache.optionally_get_with_async(1, pending()).await.unwrap() }),
        |cache| {
            Running::begun(async move { cache.entry(1).or_insert_with_async(pending()).await.into_value() })
        },
        |cache| {
            Running::begun(async move {
                cache.entry(1).or_insert_with_if_async(pending(), |_| true).await.into_value()
            })
        },
    ];
    for load in loads {
        for (name, invalidate) in OVERTAKES {
            let cache = Numbers::new(10);
            let hung = load(cache.clone());
            assert!(cache.timeout(Duration::ZERO).get_with(1, || 2).is_err(), "it is being loaded");
            invalidate(&cache);
            assert_eq!((at_once(&cache, 2), cache.get(&1)), (2, Some(2)), "{name}");
            assert_eq!(cache.entry(1).and_upsert_with(|old| old.unwrap().into_value() + 1).into_value(), 3);
            cache.invalidate(&1);
            assert_eq!(at_once(&cache, 4), 4, "{name}, once more");
            drop(hung);
            assert_eq!(cache.get(&1), Some(4));
            cache.validate();
        }
    }
}

/// Of those who come after the removal, one loads, and its value is kept; what the old loader brings goes to those who
/// waited for it, and to nobody else.
#[test]
fn who_comes_after_it_shares_a_load() {
    let cache = Numbers::new(10);
    let runs = Arc::default();
    let (old, end_old) = under_way(&cache);
    let before = waiting(&cache, 8, &runs);
    cache.invalidate(&1);
    let (new, end_new) = under_way(&cache);
    let after = waiting(&cache, 9, &runs);
    end_old.send(1).unwrap();
    assert_eq!((old.finish(), before.finish()), (1, 1));
    assert_eq!(cache.get(&1), None, "it is older than the removal");
    cache.validate();
    end_new.send(2).unwrap();
    assert_eq!((new.finish(), after.finish()), (2, 2));
    assert_eq!((cache.get(&1), runs.load(Ordering::Relaxed)), (Some(2), 0));
    cache.validate();
}

/// Those who waited for a loader that comes to nothing wait for the one that runs by now, and start none beside it.
#[test]
fn the_turn_is_not_passed_on_beside_a_load() {
    let cache = Numbers::new(10);
    let runs = Arc::default();
    let (old, _end) = under_way(&cache);
    let mut before: Vec<_> = (0..3).map(|_| waiting(&cache, 8, &runs)).collect();
    cache.invalidate(&1);
    let (new, end_new) = under_way(&cache);
    let after = waiting(&cache, 9, &runs);
    drop(old);
    cache.validate();
    // One of them leaves, wherever it waits by now.
    drop(before.pop());
    cache.validate();
    assert!(before.iter().all(|waiting| !waiting.is_woken()));
    end_new.send(2).unwrap();
    assert_eq!(new.finish(), 2);
    for waiting in before.into_iter().chain([after]) {
        assert_eq!(waiting.finish(), 2);
    }
    assert_eq!((cache.get(&1), runs.load(Ordering::Relaxed)), (Some(2), 0));
    cache.validate();
}

/// The same, where that one comes to nothing, too: of them all, the one that came first loads.
#[test]
fn who_was_moved_has_the_turn_in_the_end() {
    let cache = Numbers::new(10);
    let runs = Arc::default();
    let (old, _end_old) = under_way(&cache);
    let before = waiting(&cache, 8, &runs);
    cache.invalidate(&1);
    let (new, _end_new) = under_way(&cache);
    let after = waiting(&cache, 9, &runs);
    drop(old);
    drop(new);
    assert_eq!((before.finish(), after.finish()), (8, 8));
    assert_eq!((cache.get(&1), runs.load(Ordering::Relaxed)), (Some(8), 1));
    cache.validate();
}

/// Where nobody loads by then, the next who waits does, and what it makes is kept.
#[test]
fn the_next_in_turn_is_no_more_overtaken() {
    let cache = Numbers::new(10);
    let runs = Arc::default();
    let (old, _end) = under_way(&cache);
    let (first, second) = (waiting(&cache, 8, &runs), waiting(&cache, 9, &runs));
    cache.invalidate(&1);
    drop(old);
    assert_eq!((first.finish(), second.finish()), (8, 8));
    assert_eq!((cache.get(&1), runs.load(Ordering::Relaxed)), (Some(8), 1));
    cache.validate();
}

/// One who was told that it has the turn, and sleeps on while the key is removed and another one begins to load it, waits for
/// that one.
#[test]
fn a_turn_that_is_overtaken_before_it_begins_waits_for_who_loads() {
    let cache = Numbers::new(10);
    let runs = Arc::default();
    let (old, _end) = under_way(&cache);
    let mut next = waiting(&cache, 8, &runs);
    drop(old);
    assert!(next.is_woken());
    cache.invalidate(&1);
    let (new, end_new) = under_way(&cache);
    assert!(next.step().is_pending(), "two loaders at once");
    end_new.send(2).unwrap();
    assert_eq!((new.finish(), next.finish(), runs.load(Ordering::Relaxed)), (2, 2, 0));
    cache.validate();
}

/// The same where nobody else loads: what it makes is no older than the removal, and is kept.
#[test]
fn a_turn_that_is_overtaken_before_it_begins_loads_if_nobody_does() {
    let cache = Numbers::new(10);
    let runs = Arc::default();
    let (old, _end) = under_way(&cache);
    let next = waiting(&cache, 8, &runs);
    drop(old);
    cache.invalidate(&1);
    assert_eq!((next.finish(), cache.get(&1), runs.load(Ordering::Relaxed)), (8, Some(8), 1));
    cache.validate();
}

/// Computations of a key run one after the other, whatever is removed meanwhile, and none is lost.
#[test]
fn computations_still_take_turns() {
    let cache = Numbers::new(10);
    let (end, ended) = oneshot::channel::<()>();
    let mut ended = Some(ended);
    let counting = cache.clone();
    let running = Arc::new(AtomicU32::new(0));
    let marked = running.clone();
    let mut count = Running::begun(async move {
        let count = counting.entry(1).and_upsert_with_async(|old| {
            assert_eq!(marked.fetch_add(1, Ordering::Relaxed), 0, "two at once");
            let (ended, marked) = (ended.take(), marked.clone());
            async move {
                if let Some(ended) = ended {
                    ended.await.unwrap();
                }
                marked.fetch_sub(1, Ordering::Relaxed);
                old.map_or(10, |old| old.into_value() + 1)
            }
        });
        count.await.into_value()
    });
    cache.invalidate(&1);
    let other =
        cache.entry(1).timeout(Duration::ZERO).and_upsert_with(|_| unreachable!("it is not its turn"));
    assert!(other.is_err());
    cache.insert(1, 20);
    end.send(()).unwrap();
    assert_eq!(count.step(), Poll::Ready(21), "it looks again");
    assert_eq!(cache.entry(1).and_upsert_with(|old| old.unwrap().into_value() + 1).into_value(), 22);
    cache.validate();
}

/// Computations that waited behind a loader take turns with those that came after a removal.
#[test]
fn computations_behind_an_old_loader_take_turns_with_those_after_it() {
    let cache = Numbers::new(10);
    let count = |cache: &Numbers, gate: Option<oneshot::Receiver<()>>| {
        let (cache, mut gate) = (cache.clone(), gate);
        Running::begun(async move {
            let count = cache.entry(1).and_upsert_with_async(|old| {
                let gate = gate.take();
                async move {
                    if let Some(gate) = gate {
                        gate.await.unwrap();
                    }
                    old.map_or(10, |old| old.into_value() + 1)
                }
            });
            count.await.into_value()
        })
    };
    let (old, _end) = under_way(&cache);
    let before = count(&cache, None);
    cache.invalidate(&1);
    let (go_on, gate) = oneshot::channel();
    let mut after = count(&cache, Some(gate));
    drop(old);
    cache.validate();
    assert!(!before.is_woken(), "two at once");
    go_on.send(()).unwrap();
    assert_eq!((after.step(), before.finish()), (Poll::Ready(10), 11));
    cache.validate();
}

/// Nobody asked for a reload in the background: once the old value is over, nobody waits for it.
#[test]
fn a_reload_in_the_background_is_never_waited_for() {
    let clock = ManualClock::new();
    let second = Duration::from_secs(1);
    let (end, ended) = channel::<u32>();
    let (begun, has_begun) = channel();
    let ended = Mutex::new(ended);
    let threads = Arc::<Mutex<Vec<thread::JoinHandle<()>>>>::default();
    let started = threads.clone();
    let cache: Numbers = Cache::builder()
        .time_to_live(60 * second)
        .refresh_after_write(10 * second)
        .refresh_with(
            move |_: &u32, _: &u32| {
                begun.send(()).unwrap();
                ended.lock().unwrap().recv().ok()
            },
            move |job: RefreshJob| started.lock().unwrap().push(thread::spawn(job)),
        )
        .clock(clock.clone())
        .build()
        .unwrap();
    for round in 0..2 {
        cache.insert(1, 1);
        clock.advance(11 * second);
        assert_eq!(cache.get_with(1, || unreachable!("it is there")), 1);
        has_begun.recv().unwrap();
        if round == 0 {
            clock.advance(60 * second);
            assert_eq!(at_once(&cache, 2), 2);
        } else {
            let count = |old: Option<tidewheel::Entry<u32, u32>>| old.unwrap().into_value() + 1;
            let counted = cache.entry(1).timeout(Duration::ZERO).and_upsert_with(count);
            assert_eq!(counted.expect("it waits for a job").into_value(), 2);
        }
        end.send(3).unwrap();
        threads.lock().unwrap().pop().unwrap().join().unwrap();
        assert_eq!(cache.get(&1), Some(2), "it was invalidated");
        cache.validate();
    }
}

/// A key that counts how often keys are compared.
#[derive(Clone, Debug)]
struct Compared {
    number: u32,
    comparisons: Arc<AtomicU32>,
}

impl Compared {
    fn take(&self) -> u32 {
        self.comparisons.swap(0, Ordering::Relaxed)
    }
}

impl PartialEq for Compared {
    fn eq(&self, other: &Self) -> bool {
        self.comparisons.fetch_add(1, Ordering::Relaxed);
        self.number == other.number
    }
}

impl Eq for Compared {}

impl Hash for Compared {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

/// However many loaders of a key hang, a call for the key and a write look at none that was left behind.
#[test]
fn loads_that_were_left_behind_cost_later_calls_nothing() {
    let comparisons = |hung: u32| {
        let cache: Cache<Compared, u32> = Cache::new(10);
        let key = Compared { number: 1, comparisons: Arc::default() };
        let begin = || {
            let (cache, key) = (cache.clone(), key.clone());
            Running::begun(async move { cache.get_with_async(key, pending()).await })
        };
        let mut loads = Vec::new();
        for _ in 0..hung {
            loads.push(begin());
            assert!(!cache.invalidate(&key));
        }
        let all = key.take();
        loads.push(begin());
        assert!(!cache.invalidate(&key));
        cache.insert(key.clone(), 1);
        let of_one_more = key.take();
        // Each of them ends without a look at the others, too.
        drop(loads);
        assert_eq!((key.take(), cache.get(&key)), (0, Some(1)));
        cache.validate();
        (of_one_more, all)
    };
    let (of_one_more, all) = comparisons(100);
    assert!(of_one_more <= 5 && all <= 3 * 100, "{of_one_more} comparisons, after {all}");
    assert_eq!(comparisons(1000).0, of_one_more);
}
