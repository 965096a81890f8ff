//! Closures that write the very key that they are about.
//!
//! What such a closure returns is about a value that is not there any more, so it runs again, on what it wrote itself. Once
//! is nobody's harm; each time, it would never end. So that is a panic which says why. What other threads write between is
//! no reason for one, however often they do it. And between two runs nothing is pinned.

#[path = "common/watchdog.rs"]
mod watchdog;

#[cfg(feature = "async")]
use std::cell::Cell;
use std::cell::RefCell;
use std::hash::{BuildHasherDefault, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use tidewheel::{Cache, CacheBuilder, Expiry, Life, ManualClock, Op, Reaper, SessionManager};
use watchdog::Watchdog;

/// In seconds: a closure that never ends is seen by then.
const PATIENCE: u64 = 20;

/// Far more than it takes to see that a closure does not end.
const MANY: u32 = 50;

const LONG: Duration = Duration::from_secs(60);

type Numbers = Cache<u64, u64>;

/// The panic's words, if there is one.
fn words(run: impl FnOnce()) -> Option<String> {
    let payload = catch_unwind(AssertUnwindSafe(run)).err()?;
    let literal = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    Some(literal.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default())
}

type Run = fn(&Numbers);

/// A call with a closure; it calls `write` each time when the closure runs.
type Call = fn(&Numbers, &mut dyn FnMut());

/// All that take a closure which runs again if its key is written meanwhile. They leave the key with a value, or without one.
const CALLS: &[(&str, Call)] = &[
    ("update", |cache, write| {
        cache.update(&1, |old| {
            write();
            old + 1
        });
    }),
    ("update_with", |cache, write| {
        cache.update_with(&1, |old| {
            write();
            (old + 1, ())
        });
    }),
    ("modify", |cache, write| {
        cache.modify(&1, |value| {
            write();
            *value += 1;
        });
    }),
    ("with_life, update", |cache, write| {
        cache.with_life(Life::Keep).update(&1, |old| {
            write();
            old + 1
        });
    }),
    ("remove_if", |cache, write| {
        cache.remove_if(&1, |_| {
            write();
            true
        });
    }),
    ("rename_with", |cache, write| {
        cache.rename_with(&1, 3, |old| {
            write();
            (*old, ())
        });
    }),
    ("retain", |cache, write| {
        cache.retain(|_, _| {
            write();
            false
        });
    }),
    ("and_upsert_with", |cache, write| {
        cache.entry(1).and_upsert_with(|_| {
            write();
            7
        });
    }),
    ("timeout, and_upsert_with", |cache, write| {
        let entry = cache.entry(1).timeout(LONG).and_upsert_with(|_| {
            write();
            7
        });
        assert!(entry.is_ok());
    }),
    ("and_compute_with, put", |cache, write| {
        cache.entry(1).and_compute_with(|_| {
            write();
            Op::Put(7)
        });
    }),
    ("and_compute_with, remove", |cache, write| {
        cache.entry(1).and_compute_with(|_| {
            write();
            Op::Remove
        });
    }),
    ("and_compute_with, nothing", |cache, write| {
        cache.entry(1).and_compute_with(|_| {
            write();
            Op::Nop
        });
    }),
    ("timeout, and_compute_with", |cache, write| {
        let result = cache.entry(1).timeout(LONG).and_compute_with(|_| {
            write();
            Op::Put(7)
        });
        assert!(result.is_ok());
    }),
    ("and_try_compute_with", |cache, write| {
        let result = cache.entry(1).and_try_compute_with(|_| {
            write();
            Ok::<_, ()>(Op::Put(7))
        });
        assert!(result.is_ok());
    }),
    ("timeout, and_try_compute_with", |cache, write| {
        let result = cache.entry(1).timeout(LONG).and_try_compute_with(|_| {
            write();
            Ok::<_, ()>(Op::Put(7))
        });
        assert!(result.is_ok());
    }),
    #[cfg(feature = "async")]
    ("and_upsert_with_async", |cache, write| {
        on(cache.entry(1).and_upsert_with_async(|_| {
            write();
            async { 7 }
        }));
    }),
    #[cfg(feature = "async")]
    ("and_compute_with_async", |cache, write| {
        // Written by the future, and not by the closure that makes it.
        let write = Cell::new(Some(write));
        on(cache.entry(1).and_compute_with_async(|_| async {
            let run = write.take().expect("one future runs at a time");
            run();
            write.set(Some(run));
            Op::Put(7)
        }));
    }),
    #[cfg(feature = "async")]
    ("and_try_compute_with_async", |cache, write| {
        let result = on(cache.entry(1).and_try_compute_with_async(|_| {
            write();
            async { Ok::<_, ()>(Op::Put(7)) }
        }));
        assert!(result.is_ok());
    }),
];

/// The ways of writing a key; each leaves it with a value.
const WRITES: &[(&str, Run)] = &[
    ("insert", |cache| cache.insert(1, 9)),
    ("insert_many", |cache| cache.insert_many([(1, 9)])),
    ("replace", |cache| cache.replace(&1, 9).unwrap_or_else(|value| cache.insert(1, value))),
    ("update", |cache| {
        if !cache.update(&1, |_| 9) {
            cache.insert(1, 9);
        }
    }),
    ("remove and try_insert", |cache| {
        cache.remove(&1);
        cache.try_insert(1, 9).unwrap();
    }),
    ("invalidate_all and insert", |cache| {
        cache.invalidate_all();
        cache.insert(1, 9);
    }),
    ("rename", |cache| {
        cache.insert(2, 9);
        cache.rename(&2, 1);
    }),
];

#[cfg(feature = "async")]
fn on<R>(future: impl Future<Output = R>) -> R {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}

fn numbers(with: impl FnOnce(CacheBuilder<u64, u64>) -> CacheBuilder<u64, u64>) -> Numbers {
    let builder = Cache::builder().shards(1).clock(ManualClock::new());
    let cache = with(builder).build().unwrap();
    cache.insert(1, 0);
    cache
}

/// Nobody leads, waits or watches any more, and the key can be written as ever.
fn assert_whole(cache: &Numbers, what: &str) {
    cache.validate();
    cache.insert(1, 1);
    assert!(cache.update(&1, |old| old + 1), "{what}");
    let put = cache.entry(1).timeout(Duration::ZERO).and_upsert_with(|old| old.unwrap().into_value() + 1);
    assert_eq!(put.map(|entry| *entry.value()), Ok(3), "{what}: the turn was not given back");
    assert_eq!(cache.remove(&1), Some(3), "{what}");
    assert_eq!(cache.timeout(Duration::ZERO).get_with(1, || 4), Ok(4), "{what}");
    cache.validate();
}

/// It ran for ever, and took memory along.
#[test]
fn a_closure_that_always_writes_its_own_key_panics_and_says_why() {
    for (name, call) in CALLS {
        for (way, write) in WRITES {
            let what = format!("{name}, {way} by its closure");
            let _watchdog = Watchdog::over(what.clone(), PATIENCE);
            let cache = numbers(|builder| builder);
            let mut runs = 0;
            let words = words(|| {
                call(&cache, &mut || {
                    runs += 1;
                    write(&cache);
                });
            });
            let words = words.unwrap_or_else(|| panic!("{what}: it came to an end"));
            assert!(words.contains("has written that same key itself"), "{what}: {words}");
            assert!((2..10).contains(&runs), "{what}: it ran {runs} times");
            assert_eq!(cache.get(&1), Some(9), "{what}: what the closure wrote is gone");
            assert_whole(&cache, &what);
        }
    }
}

/// It runs once more, on what it wrote, and that is all.
#[test]
fn a_closure_that_writes_its_own_key_once_comes_to_an_end() {
    for (name, call) in CALLS {
        for (way, write) in WRITES {
            let what = format!("{name}, {way} by its closure, once");
            let _watchdog = Watchdog::over(what.clone(), PATIENCE);
            let cache = numbers(|builder| builder);
            let mut runs = 0;
            call(&cache, &mut || {
                runs += 1;
                if runs == 1 {
                    write(&cache);
                }
            });
            assert_eq!(runs, 2, "{what}");
            assert_whole(&cache, &what);
        }
    }
}

/// It is no fault of the closure's, even if other threads do so as often as it runs.
#[test]
fn what_other_threads_write_is_never_taken_for_the_closures_own() {
    for (name, call) in CALLS {
        let what = format!("{name}, while another thread writes");
        let _watchdog = Watchdog::over(what.clone(), PATIENCE);
        let cache = numbers(|builder| builder);
        let mut runs = 0;
        call(&cache, &mut || {
            runs += 1;
            if runs <= MANY {
                thread::scope(|scope| scope.spawn(|| cache.insert(1, 9)).join()).unwrap();
                // After the other one, and so not what made this run be in vain.
                cache.insert(1, 10);
            }
        });
        assert_eq!(runs, MANY + 1, "{what}");
        assert_whole(&cache, &what);
    }
}

/// Every key has the same hash.
#[derive(Default)]
struct Constant;

impl Hasher for Constant {
    fn write(&mut self, _: &[u8]) {}

    fn finish(&self) -> u64 {
        7
    }
}

/// Its own key is what the closure must leave alone, and not every other of the same hash.
#[test]
fn a_closure_may_write_other_keys_each_time() {
    let cache = Cache::builder().shards(1).clock(ManualClock::new());
    let cache = cache.build_with_hasher(BuildHasherDefault::<Constant>::default()).unwrap();
    let _watchdog = Watchdog::over("a closure that writes other keys", PATIENCE);
    cache.insert(1, 0);
    let mut runs = 0;
    assert!(cache.update(&1, |old| {
        runs += 1;
        cache.insert(2, runs);
        if runs <= MANY {
            thread::scope(|scope| scope.spawn(|| cache.insert(1, runs)).join()).unwrap();
        }
        old + 1
    }));
    assert_eq!((cache.get(&1), cache.get(&2)), (Some(MANY + 1), Some(MANY + 1)));
    let entry = cache.entry(1).and_upsert_with(|old| {
        cache.insert(2, 0);
        old.unwrap().into_value() + 1
    });
    assert_eq!(entry.into_value(), MANY + 2);
    cache.validate();
}

#[test]
fn modify_panics_too_and_the_session_stays() {
    let _watchdog = Watchdog::over("modify", PATIENCE);
    let sessions = SessionManager::builder().clock(ManualClock::new()).build().unwrap();
    let id = sessions.create(0).unwrap();
    let words = words(|| {
        let _ = sessions.modify(&id, |data| {
            sessions.replace(&id, 9).unwrap();
            *data += 1;
        });
    });
    assert!(words.is_some_and(|words| words.contains("has written that same key itself")));
    assert_eq!(sessions.get(&id).unwrap(), 9);
    sessions.modify(&id, |data| *data += 1).unwrap();
    assert_eq!(sessions.get(&id).unwrap(), 10);
    let words = self::words(|| {
        let _ = sessions.rotate_with(&id, |data| {
            sessions.replace(&id, 9).unwrap();
            *data += 1;
        });
    });
    assert!(words.is_some_and(|words| words.contains("has written that same key itself")));
    assert_eq!(sessions.get(&id).unwrap(), 9);
    sessions.validate();
}

/// Calls back from what else of the user's runs with each round: it is not to write the key either.
#[derive(Clone, Default)]
struct Back(Arc<BackInner>);

#[derive(Default)]
struct BackInner {
    cache: std::sync::OnceLock<tidewheel::WeakCache<u64, u64>>,
    is_armed: AtomicBool,
    /// It calls itself, too.
    is_within: AtomicBool,
    calls: AtomicUsize,
}

impl Back {
    fn call(&self) {
        let Self(back) = self;
        if !back.is_armed.load(Ordering::Relaxed) || back.is_within.swap(true, Ordering::Relaxed) {
            return;
        }
        back.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(cache) = back.cache.get().and_then(tidewheel::WeakCache::upgrade) {
            cache.insert(1, 9);
        }
        back.is_within.store(false, Ordering::Relaxed);
    }
}

impl Expiry<u64, u64> for Back {
    fn expire_after_create(&self, _: &u64, _: &u64) -> Option<Duration> {
        self.call();
        Some(LONG)
    }

    fn expire_after_read(&self, _: &u64, _: &u64, _: Option<Duration>) -> Option<Duration> {
        self.call();
        Some(2 * LONG)
    }

    fn expire_after_update(&self, _: &u64, _: &u64, _: Option<Duration>) -> Option<Duration> {
        self.call();
        Some(3 * LONG)
    }
}

/// The calls in which they run once a round; whether it is an `Expiry` or a weigher that does.
const ROUNDS: &[(&str, bool, Run)] = &[
    ("insert", true, |cache| cache.insert(1, 1)),
    ("replace", true, |cache| assert!(cache.replace(&1, 1).is_ok())),
    ("update", true, |cache| assert!(cache.update(&1, |old| old + 1))),
    ("update", false, |cache| assert!(cache.update(&1, |old| old + 1))),
    ("and_upsert_with", true, |cache| assert_eq!(cache.entry(1).and_upsert_with(|_| 1).into_value(), 1)),
    ("and_upsert_with", false, |cache| assert_eq!(cache.entry(1).and_upsert_with(|_| 1).into_value(), 1)),
];

#[test]
fn an_expiry_or_a_weigher_that_always_writes_the_key_panics_too() {
    for (name, by_expiry, call) in ROUNDS {
        let what = format!("{name}, by {}", if *by_expiry { "an Expiry" } else { "a weigher" });
        let _watchdog = Watchdog::over(what.clone(), PATIENCE);
        let back = Back::default();
        let cache = numbers(|builder| {
            let back = back.clone();
            if *by_expiry {
                return builder.expire_after(back);
            }
            builder.max_capacity(100).weigher(move |_, _| {
                back.call();
                1
            })
        });
        back.0.cache.set(cache.downgrade()).unwrap();
        back.0.is_armed.store(true, Ordering::Relaxed);
        let words = words(|| call(&cache));
        back.0.is_armed.store(false, Ordering::Relaxed);
        assert!(words.is_some_and(|words| words.contains("has written that same key itself")), "{what}");
        back.0.is_within.store(false, Ordering::Relaxed);
        assert_whole(&cache, &what);
    }
}

/// A read need not have its say: it may count as one from before the write.
#[test]
fn a_read_whose_expiry_always_writes_the_key_comes_to_an_end() {
    let _watchdog = Watchdog::over("a read", PATIENCE);
    let back = Back::default();
    let cache = numbers(|builder| builder.expire_after(back.clone()));
    back.0.cache.set(cache.downgrade()).unwrap();
    back.0.is_armed.store(true, Ordering::Relaxed);
    assert!(cache.get(&1).is_some());
    assert!((1..10).contains(&back.0.calls.load(Ordering::Relaxed)));
    back.0.is_armed.store(false, Ordering::Relaxed);
    assert_eq!(cache.get(&1), Some(9));
    cache.validate();
}

/// Counts its destructions.
#[derive(Clone)]
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What one round holds on to, the next one has let go of: in all caches.
#[test]
fn no_pin_is_held_from_one_round_to_the_next() {
    for (name, call) in CALLS {
        let what = format!("{name}, and another cache's values");
        let _watchdog = Watchdog::over(what.clone(), PATIENCE);
        let cache = numbers(|builder| builder);
        let other = Cache::builder().shards(1).reaper(Reaper::manual()).build().unwrap();
        let dropped = Arc::new(AtomicUsize::new(0));
        let mut runs = 0;
        call(&cache, &mut || {
            runs += 1;
            if runs <= MANY {
                other.insert(0, Counted(dropped.clone()));
                other.invalidate(&0);
                // Once so that it is sealed, and in the next round so that it is dropped: as soon as what other threads look at
                // at this moment is not in its way.
                let start = Instant::now();
                loop {
                    other.run_pending_tasks();
                    let behind = runs as usize - dropped.load(Ordering::Relaxed);
                    if behind <= 2 || start.elapsed() > Duration::from_millis(200) {
                        break;
                    }
                    thread::yield_now();
                }
                thread::scope(|scope| scope.spawn(|| cache.insert(1, 9)).join()).unwrap();
            }
        });
        let dropped = dropped.load(Ordering::Relaxed);
        assert!(dropped > MANY as usize / 2, "{what}: of {MANY} values {dropped} were dropped");
    }
}

/// What is over is not replaced: a closure that tries that has written nothing, and runs once. By a key that is cloned under the lock,
/// and by one that is not.
#[test]
fn a_replacement_of_what_is_over_is_no_write() {
    fn runs<K: Clone + std::hash::Hash + Eq + Send + Sync + 'static>(key: K) -> u32 {
        let clock = ManualClock::new();
        let cache: Cache<K, u64> = Cache::builder().time_to_live(LONG).clock(clock.clone()).build().unwrap();
        cache.insert(key.clone(), 1);
        clock.advance_without_sweeping(LONG);
        let mut runs = 0;
        cache.entry(key.clone()).and_upsert_with(|_| {
            runs += 1;
            assert_eq!(cache.replace(&key, 5), Err(5));
            7
        });
        assert_eq!(cache.get(&key), Some(7));
        runs
    }
    assert_eq!([runs(1u64), runs("1".to_owned())], [1, 1]);
}

/// What it removes in one run it puts back in the next. So what it was shown is never there any more.
#[test]
fn a_closure_that_removes_its_key_and_puts_it_back_by_turns_panics_too() {
    for (name, call) in CALLS.iter().filter(|(name, _)| name.contains("and_")) {
        let cache = numbers(|builder| builder);
        let mut runs = 0;
        let words = words(|| {
            call(&cache, &mut || {
                runs += 1;
                assert!(runs < MANY, "it runs for ever");
                if !cache.invalidate(&1) {
                    cache.insert(1, 9);
                }
            });
        });
        let words = words.unwrap_or_else(|| panic!("{name}: it came to an end"));
        assert!(words.contains("has written that same key itself"), "{name}: {words}");
        assert!((2..10).contains(&runs), "{name}: it ran {runs} times");
    }
}

/// Runs the last thing that a thread does.
struct AtTheEnd(Option<Box<dyn FnOnce()>>);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        if let Some(last) = self.0.take() {
            last();
        }
    }
}

thread_local! {
    static LAST: RefCell<AtTheEnd> = const { RefCell::new(AtTheEnd(None)) };
}

/// Runs `last` on a thread that is about to end, after the destructors of all that the thread has of the crate.
fn after_the_rest<R: Send + 'static>(last: impl FnOnce(&Numbers) -> R + Send + 'static) -> R {
    let (said, hears) = mpsc::channel();
    let cache = numbers(|builder| builder);
    let thread = thread::spawn(move || {
        let asks = cache.clone();
        // Destructors run in the opposite order in which they were registered, so this one comes last.
        LAST.with_borrow_mut(|at| at.0 = Some(Box::new(move || _ = said.send(last(&asks)))));
        cache.get_with(0, || 0);
    });
    let result = hears.recv_timeout(Duration::from_secs(PATIENCE)).expect("it waits for itself");
    thread.join().unwrap();
    result
}

#[test]
fn in_a_destructor_of_a_thread_local_a_load_does_not_wait_for_itself() {
    let words = after_the_rest(|cache| {
        cache.get_with(2, || 2);
        words(|| _ = cache.get_with(3, || cache.get_with(3, || 4)))
    });
    let words = words.expect("it waited for itself and came back");
    assert!(words.contains("itself"), "{words}");
}

/// With more keys than are looked through, too.
#[test]
fn in_a_destructor_of_a_thread_local_a_load_for_many_keys_does_not_wait_for_itself() {
    let words = after_the_rest(|cache| {
        words(|| {
            let _ = cache.get_many_with(100..200, |_| (100..200).map(|key| (key, cache.get_with(key, || 4))));
        })
    });
    assert!(words.is_some(), "it waited for itself and came back");
}

#[test]
fn in_a_destructor_of_a_thread_local_a_closure_that_writes_its_own_key_does_not_run_for_ever() {
    for (name, call) in CALLS {
        let (runs, words) = after_the_rest(move |cache| {
            cache.insert(1, 1);
            let mut runs = 0;
            let words = words(|| {
                call(cache, &mut || {
                    runs += 1;
                    assert!(runs < MANY, "it runs for ever");
                    cache.insert(1, 9);
                });
            });
            (runs, words)
        });
        let words = words.unwrap_or_else(|| panic!("{name}: it came to an end"));
        assert!(words.contains("has written that same key itself"), "{name}: {words}");
        assert!((2..10).contains(&runs), "{name}: it ran {runs} times");
    }
}
