//! A key that is written over an entry that has expired: whoever writes it tells the listener that the old value has expired,
//! and does so before he returns.
//!
//! The bug: the reaper told of it, up to a second later. A listener that keeps an index by key heard that the key has expired
//! when it had been stored anew long since, and deleted what was alive.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use tidewheel::{Cache, CacheBuilder, Expiry, Life, ManualClock, Op, RemovalCause, StrictClock, WeakCache};

const SECOND: Duration = Duration::from_secs(1);
const KEY: u64 = 1;
const OTHER: u64 = 2;

type Heard = Arc<Mutex<Vec<(u64, u64, RemovalCause)>>>;

/// A cache whose key 1 has expired and is still in memory, key 2 is alive, and what its listener has heard.
fn scene(
    with: impl FnOnce(CacheBuilder<u64, u64>) -> CacheBuilder<u64, u64>,
) -> (ManualClock, Cache<u64, u64>, Heard) {
    let (clock, heard) = (ManualClock::new(), Heard::default());
    let listener = heard.clone();
    let builder = Cache::builder().shards(1).clock(clock.clone()).eviction_listener(
        move |&key: &u64, &value: &u64, cause| {
            listener.lock().unwrap().push((key, value, cause));
        },
    );
    let cache = with(builder).build().unwrap();
    cache.insert(OTHER, 20);
    cache.insert_with_ttl(KEY, 10, SECOND);
    clock.advance_without_sweeping(SECOND);
    assert_eq!((cache.get(&KEY), cache.entry_count()), (None, 2));
    (clock, cache, heard)
}

type Call = fn(&Cache<u64, u64>);

/// Every way to put something under a key.
const STORES: &[(&str, Call)] = &[
    ("insert", |cache| cache.insert(KEY, 11)),
    ("insert_with_ttl", |cache| cache.insert_with_ttl(KEY, 11, 60 * SECOND)),
    ("insert_many", |cache| cache.insert_many([(KEY, 11)])),
    ("try_insert", |cache| assert_eq!(cache.try_insert(KEY, 11), Ok(()))),
    ("rename", |cache| assert!(cache.rename(&OTHER, KEY))),
    ("rename_with", |cache| assert_eq!(cache.rename_with(&OTHER, KEY, |_| (11, ())), Some(()))),
    ("get_with", |cache| assert_eq!(cache.get_with(KEY, || 11), 11)),
    ("try_get_with", |cache| assert_eq!(cache.try_get_with(KEY, || Ok::<_, ()>(11)), Ok(11))),
    ("optionally_get_with", |cache| assert_eq!(cache.optionally_get_with(KEY, || Some(11)), Some(11))),
    ("get_many_with", |cache| {
        cache.get_many_with([KEY], |keys| keys.iter().map(|key| (**key, 11)).collect::<Vec<_>>());
    }),
    ("entry, or_insert", |cache| assert_eq!(cache.entry(KEY).or_insert(11).into_value(), 11)),
    ("entry, or_insert_with_if", |cache| {
        cache.entry(KEY).or_insert_with_if(|| 11, |_| unreachable!("it is over"));
    }),
    ("entry, and_upsert_with", |cache| {
        cache.entry(KEY).and_upsert_with(|old| old.map_or(11, |_| unreachable!("it is over")));
    }),
    ("entry, and_compute_with", |cache| {
        cache.entry(KEY).and_compute_with(|_| Op::Put(11));
    }),
];

/// Calls that may take out what is over, or leave it to the reaper.
const OTHERS: &[(&str, Call)] = &[
    ("replace", |cache| assert_eq!(cache.replace(&KEY, 11), Err(11))),
    ("update", |cache| {
        cache.update(&KEY, |_| unreachable!("it is over"));
    }),
    ("set_ttl", |cache| assert!(!cache.set_ttl(&KEY, SECOND))),
    ("touch", |cache| assert!(!cache.touch(&KEY))),
    ("invalidate", |cache| assert!(!cache.invalidate(&KEY))),
    ("remove", |cache| assert_eq!(cache.remove(&KEY), None)),
    ("remove_if", |cache| assert_eq!(cache.remove_if(&KEY, |_| true), None)),
    ("rename from it", |cache| assert!(!cache.rename(&KEY, OTHER))),
    ("get_with, and it fails", |cache| assert!(cache.try_get_with(KEY, || Err::<u64, _>(())).is_err())),
    ("and_compute_with, and it removes", |cache| {
        cache.entry(KEY).and_compute_with(|_| Op::Remove);
    }),
    ("retain", |cache| cache.retain(|_, _| true)),
    ("drain", |cache| assert_eq!(cache.drain().count(), 1)),
    ("invalidate_all", Cache::invalidate_all),
    ("run_pending_tasks", Cache::run_pending_tasks),
];

/// Told once, by the call itself if it has taken the old value out.
#[test]
fn whoever_takes_out_what_is_over_tells_of_it_before_he_returns() {
    let mut missed = Vec::new();
    for &(name, call) in STORES.iter().chain(OTHERS) {
        let (clock, cache, heard) = scene(|builder| builder);
        call(&cache);
        let told = |heard: &Heard| {
            heard.lock().unwrap().iter().filter(|report| **report == (KEY, 10, RemovalCause::Expired)).count()
        };
        // Whether the old entry is out of the table.
        let living = usize::from(cache.contains_key(&KEY)) + usize::from(cache.contains_key(&OTHER));
        let is_out = cache.entry_count() == living;
        if told(&heard) != usize::from(is_out) {
            missed.push(name);
        }
        clock.advance(5 * SECOND);
        assert_eq!(told(&heard), 1, "{name}");
        assert!(!heard.lock().unwrap().iter().any(|(key, value, _)| (*key, *value) == (KEY, 11)), "{name}");
        cache.validate();
    }
    assert_eq!(missed, Vec::<&str>::new(), "told later, or not at all");
    for &(name, call) in STORES {
        let (_clock, cache, heard) = scene(|builder| builder);
        call(&cache);
        assert!(cache.contains_key(&KEY), "{name} is listed as one that stores");
        assert!(heard.lock().unwrap().contains(&(KEY, 10, RemovalCause::Expired)), "{name}");
    }
}

/// The same of what is refused: the old value has expired, and the new one is too heavy.
#[test]
fn what_is_too_heavy_for_the_place_of_what_is_over() {
    let (clock, cache, heard) = scene(|builder| builder.max_capacity(100).weigher(|_, value| *value as u32));
    cache.insert(KEY, 101);
    let heard = std::mem::take(&mut *heard.lock().unwrap());
    assert_eq!(heard, [(KEY, 10, RemovalCause::Expired), (KEY, 101, RemovalCause::Size)]);
    assert_eq!(cache.entry_count(), 1);
    clock.advance(SECOND);
    cache.validate();
}

/// The index of the issue, as simple as one would write it: by one thread it is right now.
#[test]
fn a_simple_index_keeps_a_key_that_was_stored_again() {
    for &(name, call) in STORES {
        let clock = ManualClock::new();
        let index = Arc::<Mutex<HashSet<u64>>>::default();
        let (heard, batches) = (index.clone(), index.clone());
        let cache = Cache::builder()
            .clock(clock.clone())
            .time_to_live(5 * SECOND)
            .eviction_listener(move |key: &u64, _: &u64, cause| {
                if cause == RemovalCause::Expired {
                    heard.lock().unwrap().remove(key);
                }
            })
            .expiration_listener(move |entries: &[(&u64, &u64)]| {
                entries.iter().for_each(|(key, _)| {
                    batches.lock().unwrap().remove(key);
                });
            })
            .build()
            .unwrap();
        cache.insert(KEY, 10);
        clock.advance_without_sweeping(5 * SECOND);
        cache.insert(OTHER, 20);
        call(&cache);
        index.lock().unwrap().insert(KEY);
        clock.advance(2 * SECOND);
        assert!(cache.contains_key(&KEY), "{name}");
        assert!(index.lock().unwrap().contains(&KEY), "{name}: the key lives, and is not in the index");
        clock.advance(100 * SECOND);
        assert!(cache.get(&KEY).is_none() && !index.lock().unwrap().contains(&KEY), "{name}");
    }
}

/// A warning is about a value, too: one that was written anew has another deadline.
#[test]
fn nobody_is_warned_of_a_value_that_was_replaced_before_the_reaper_came() {
    let (clock, warned) = (ManualClock::new(), Arc::<Mutex<Vec<u64>>>::default());
    let heard = warned.clone();
    let cache = Cache::builder()
        .clock(clock.clone())
        .time_to_live(60 * SECOND)
        .expiration_warning_listener(10 * SECOND, move |_: &u64, value: &u64| {
            heard.lock().unwrap().push(*value);
        })
        .build()
        .unwrap();
    cache.insert(KEY, 10);
    clock.advance_without_sweeping(55 * SECOND);
    cache.insert(KEY, 11);
    clock.advance(2 * SECOND);
    assert_eq!(*warned.lock().unwrap(), []);
    clock.advance_without_sweeping(58 * SECOND);
    cache.insert(KEY, 12);
    clock.advance(49 * SECOND);
    assert_eq!(*warned.lock().unwrap(), []);
    clock.advance(2 * SECOND);
    assert_eq!(*warned.lock().unwrap(), [12]);
}

/// What the docs say of an index that several threads share: whoever looks last, under the index's lock, has seen the last
/// change, in whatever order listeners are called.
#[derive(Default)]
struct Index {
    keys: Mutex<HashSet<u64>>,
    cache: OnceLock<WeakCache<u64, u64>>,
}

impl Index {
    fn look(&self, key: u64) {
        let cache = self.cache.get().and_then(WeakCache::upgrade);
        let mut keys = self.keys.lock().unwrap();
        if cache.as_ref().is_some_and(|cache| cache.contains_key(&key)) {
            keys.insert(key);
        } else {
            keys.remove(&key);
        }
    }
}

#[test]
fn an_index_that_looks_is_right_however_notifications_are_ordered() {
    const KEYS: u64 = 4;
    let index = Arc::new(Index::default());
    let clock = ManualClock::new();
    let heard = index.clone();
    let cache = Cache::builder()
        .clock(clock.clone())
        .time_to_live(SECOND)
        .eviction_listener(move |&key: &u64, _: &u64, _| heard.look(key))
        .build()
        .unwrap();
    assert!(index.cache.set(cache.downgrade()).is_ok());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3u64)
            .map(|thread| {
                let (cache, index) = (&cache, &index);
                scope.spawn(move || {
                    let mut random = 0x9E37_79B9_7F4A_7C15 ^ thread;
                    for value in 0..20_000 {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        let key = random % KEYS;
                        match random >> 8 & 3 {
                            0 => {
                                cache.remove(&key);
                            }
                            1 => {
                                cache.update(&key, |old| old + 1);
                            }
                            _ => {
                                cache.insert(key, value);
                                index.look(key);
                            }
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                clock.advance(SECOND / 2);
                std::thread::yield_now();
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        stop.store(true, Ordering::Relaxed);
    });
    // What has expired since is told of, too.
    cache.run_pending_tasks();
    let living: HashSet<u64> = (0..KEYS).filter(|key| cache.contains_key(key)).collect();
    let known = index.keys.lock().unwrap().clone();
    assert!(living.is_subset(&known), "{living:?} live, and {known:?} are known");
    clock.advance(3 * SECOND);
    assert_eq!(*index.keys.lock().unwrap(), HashSet::new());
    cache.validate();
}

/// A value that counts how often it was cloned.
struct Tallied(Arc<AtomicU64>);

impl Clone for Tallied {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

/// An `Expiry` that ends nothing, and counts how often it is asked.
struct Asked(Arc<AtomicU64>);

impl Expiry<u64, Tallied> for Asked {
    fn expire_after_update(&self, _: &u64, _: &Tallied, left: Option<Duration>) -> Option<Duration> {
        self.0.fetch_add(1, Ordering::Relaxed);
        left
    }
}

/// Readers look at the time less often than writers, so an entry that has just expired by the
/// writers' time may still be alive by the readers'. A call that runs user code on the old value
/// first finds it as a reader does. When it then finds, as a writer, that the value has expired, it
/// says so to the readers, itself included. (It looked again and again, for some milliseconds, until
/// the readers' time had come.)
#[test]
fn a_write_over_what_has_just_expired_looks_twice() {
    type Store = fn(&Cache<u64, Tallied>, Tallied);
    let stores: [(&str, bool, Store); 4] = [
        ("swap", false, |cache, value| drop(cache.swap(KEY, value))),
        ("swap with a life", false, |cache, value| drop(cache.with_life(Life::Keep).swap(KEY, value))),
        ("insert", true, |cache, value| cache.insert(KEY, value)),
        ("swap with an Expiry", true, |cache, value| drop(cache.swap(KEY, value))),
    ];
    let ttl = Duration::from_millis(12);
    for (name, is_ruled, store) in stores {
        let looks = Arc::new(AtomicU64::new(0));
        let mut builder = Cache::builder().clock(StrictClock);
        if is_ruled {
            builder = builder.expire_after(Asked(looks.clone()));
        }
        let cache = builder.build().unwrap();
        cache.insert_with_ttl(OTHER, Tallied(looks.clone()), 60 * SECOND);
        for _ in 0..20 {
            cache.remove(&KEY);
            cache.insert_with_ttl(KEY, Tallied(looks.clone()), ttl);
            let stored = Instant::now();
            while stored.elapsed() < ttl + Duration::from_micros(20) {
                // Readers have a reading of the clock from shortly before.
                if stored.elapsed() < ttl - Duration::from_millis(1) {
                    assert!(cache.contains_key(&OTHER));
                }
            }
            looks.store(0, Ordering::Relaxed);
            store(&cache, Tallied(looks.clone()));
            let looks = looks.load(Ordering::Relaxed);
            assert!(looks <= 3, "{name}: it looked at the old value {looks} times");
            assert!(cache.contains_key(&KEY));
        }
        cache.validate();
    }
}

/// A value whose clone takes so long, once, that the entry is over by then, and panics when it is dropped.
struct Lengthy {
    clock: ManualClock,
    is_long: Arc<AtomicBool>,
    living: Arc<AtomicIsize>,
    is_a_clone: bool,
}

impl Lengthy {
    fn another(&self, is_a_clone: bool) -> Self {
        self.living.fetch_add(1, Ordering::Relaxed);
        let (clock, is_long, living) = (self.clock.clone(), self.is_long.clone(), self.living.clone());
        Self { clock, is_long, living, is_a_clone }
    }
}

impl Clone for Lengthy {
    fn clone(&self) -> Self {
        if self.is_long.load(Ordering::Relaxed) {
            self.clock.advance_without_sweeping(Duration::from_secs(5));
        }
        self.another(true)
    }
}

impl Drop for Lengthy {
    fn drop(&mut self) {
        self.living.fetch_sub(1, Ordering::Relaxed);
        assert!(!(self.is_a_clone && self.is_long.swap(false, Ordering::Relaxed)), "a destructor");
    }
}

/// The clone that `swap` made is of no use when the entry has expired meanwhile. Its destructor panicked, and what else was left
/// to do was forgotten: nobody was told of the expired entry, and its value was never dropped.
#[test]
fn a_clone_that_panics_when_it_is_dropped_takes_no_notification_along() {
    let (clock, told) = (ManualClock::new(), Arc::new(AtomicUsize::new(0)));
    let (is_long, living) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicIsize::new(1)));
    let first =
        Lengthy { clock: clock.clone(), is_long: is_long.clone(), living: living.clone(), is_a_clone: false };
    let cache: Cache<u64, Lengthy> = Cache::builder()
        .shards(1)
        .clock(clock.clone())
        .time_to_live(Duration::from_secs(5))
        .eviction_listener({
            let told = told.clone();
            move |_, _, cause| {
                assert_eq!(cause, RemovalCause::Expired);
                told.fetch_add(1, Ordering::Relaxed);
            }
        })
        .build()
        .unwrap();
    let second = first.another(false);
    cache.insert(1, first);
    is_long.store(true, Ordering::Relaxed);
    // The panic is the caller's own value's, and may reach him.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(cache.swap(1, second))));
    assert!(!is_long.load(Ordering::Relaxed), "no clone was dropped");
    assert_eq!(told.load(Ordering::Relaxed), 1);
    clock.advance(Duration::from_secs(60));
    cache.validate();
    // Another test's thread may be stopped under a pin: each sweep waits for that, ten milliseconds at most.
    let sweeps = (0..1000).take_while(|_| living.load(Ordering::Relaxed) != 0);
    sweeps.for_each(|_| cache.run_pending_tasks());
    assert_eq!((cache.entry_count(), living.load(Ordering::Relaxed)), (0, 0));
    assert_eq!(told.load(Ordering::Relaxed), 2);
}
