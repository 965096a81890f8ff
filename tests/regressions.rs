//! One test for each bug that was found; its header explains the bug it pins.

use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use tidewheel::{BuildError, Cache, ManualClock, Reaper, WeakCache};

const SECOND: Duration = Duration::from_secs(1);

/// Counts its destructions.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// One at a time, of those tests that hold a guard or wait for drops: a guard holds up the drops of every cache in the process.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether `count` comes to `target` within so long. Naps are counted, and not the time: a machine that stops costs one of them.
fn comes_to(target: usize, count: &AtomicUsize, limit: Duration) -> bool {
    const NAP: Duration = Duration::from_millis(5);
    for _ in 0..limit.as_millis() / NAP.as_millis() {
        if count.load(Ordering::SeqCst) >= target {
            return true;
        }
        thread::sleep(NAP);
    }
    count.load(Ordering::SeqCst) >= target
}

/// The readers' clock may be 5 ms behind, and a zero time to live was a deadline at the writer's `now`: for
/// up to 5 ms readers saw the entry. What is over from the start now lies before every reading.
#[test]
fn a_zero_time_to_live_is_never_visible() {
    let cache = Cache::builder().build().unwrap();
    let start = Instant::now();
    cache.insert_with_ttl(0, 0, 100 * SECOND);
    // Until the readers' clock has found its pace.
    while start.elapsed() < Duration::from_millis(60) {
        assert_eq!(cache.get(&0), Some(0));
    }
    for key in 1..5000 {
        cache.insert_with_ttl(key, key, Duration::ZERO);
        assert_eq!(cache.get(&key), None, "inserted with nothing to live");
        cache.insert(key, key);
        assert!(cache.set_ttl(&key, Duration::ZERO));
        assert!(!cache.contains_key(&key), "nothing left to live");
    }
}

/// A read took the lock because a write had left its freeze, and made the entry live a nanosecond longer than its time to
/// live, although what idleness gave it ended at the same moment.
#[test]
fn a_read_that_has_nothing_to_restart_leaves_the_deadline() {
    let cache = Cache::builder().clock(ManualClock::new()).time_to_idle(65 * SECOND).build().unwrap();
    cache.insert(11, 1);
    // The deadline is what it was, so it stays sealed: a touch must not take it for the one before.
    assert!(cache.set_ttl(&11, 65 * SECOND));
    assert_eq!(cache.get(&11), Some(1));
    assert_eq!(cache.remaining_ttl(&11), Some(65 * SECOND));
}

/// A key that runs a closure when it is compared with one that is stored.
struct Probe<F>(u64, F);

impl<F> Hash for Probe<F> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<F: Fn()> equivalent::Equivalent<u64> for Probe<F> {
    fn equivalent(&self, key: &u64) -> bool {
        (self.1)();
        self.0 == *key
    }
}

type Slow<'a> = Probe<&'a dyn Fn()>;

/// A reader stood on a node; an insert replaced it in time; the node's deadline passed; the reader, reading
/// the clock only now, found it over and reported a key gone that had been there all the time. `update`
/// and `touch` did the same. Now what is found over is looked up once more.
#[test]
fn a_key_that_was_replaced_in_time_is_not_missed_by_a_slow_reader() {
    let clock = ManualClock::new();
    let cache = Cache::builder().clock(clock.clone()).time_to_live(5 * SECOND).build().unwrap();
    let with_a_slow_reader = |run: fn(&Cache<u64, u64>, &Slow<'_>)| {
        cache.insert(1, 1);
        clock.advance(Duration::from_millis(4900));
        let first = AtomicBool::new(true);
        let meanwhile = || {
            if first.swap(false, Ordering::SeqCst) {
                thread::scope(|scope| {
                    scope.spawn(|| {
                        cache.insert(1, 2);
                        clock.advance_without_sweeping(Duration::from_millis(200));
                    });
                });
            }
        };
        run(&cache, &Probe(1, &meanwhile));
        assert!(!first.load(Ordering::SeqCst), "the key was never compared");
    };
    with_a_slow_reader(|cache, key| assert_eq!(cache.get(key), Some(2)));
    with_a_slow_reader(|cache, key| assert!(cache.contains_key(key)));
    with_a_slow_reader(|cache, key| assert!(cache.remaining_ttl(key).is_some()));
    with_a_slow_reader(|cache, key| assert!(cache.update(key, |n| n + 1)));
    with_a_slow_reader(|cache, key| assert!(cache.touch(key)));
    with_a_slow_reader(|cache, key| assert_eq!(cache.replace(key, 7), Ok(())));
    with_a_slow_reader(|cache, key| assert_eq!(cache.remove(key), Some(2)));
}

/// A sweep that was under way when the clock moved on popped rows which a writer's newer reading had made
/// due, found them alive by its own old reading, and filed them for the next second but one.
#[test]
fn a_sweep_that_is_overtaken_by_the_clock_files_nothing_too_late() {
    let clock = ManualClock::new();
    let own: Arc<Mutex<Option<WeakCache<u64, u64>>>> = Arc::default();
    let (own_too, clock_too, first) = (Arc::clone(&own), clock.clone(), AtomicBool::new(true));
    let cache = Cache::builder()
        .shards(1)
        .clock(clock.clone())
        .eviction_listener(move |_: &u64, _: &u64, _| {
            if first.swap(false, Ordering::SeqCst) {
                clock_too.advance_without_sweeping(SECOND);
                let cache = own_too.lock().unwrap().as_ref().and_then(WeakCache::upgrade).unwrap();
                cache.insert_with_ttl(9999, 0, 100 * SECOND);
            }
        })
        .build()
        .unwrap();
    *own.lock().unwrap() = Some(cache.downgrade());
    for key in 0..300 {
        cache.insert_with_ttl(key, 0, Duration::from_millis(9500));
    }
    cache.insert_with_ttl(1000, 0, Duration::from_millis(10_010));
    clock.advance(Duration::from_millis(10_001)); // in the midst of which it becomes 11.001 s
    clock.advance(Duration::from_millis(998)); // 11.999 s; the deadline was 10.01 s
    assert_eq!(cache.entry_count(), 1, "all but the one that the listener inserted");
}

/// Garbage that had piled up behind a guard was dropped at 47,000 values a second, because each visit of the
/// reaper ran two dozen of the epoch's closures and the visits became rarer.
#[test]
fn what_piled_up_behind_a_guard_is_dropped_at_once_when_it_goes() {
    let _turn = alone();
    let count = 200_000;
    let dropped = Arc::new(AtomicUsize::new(0));
    let cache = Cache::builder().initial_capacity(count).build().unwrap();
    for key in 0..count {
        cache.insert(key, Counted(Arc::clone(&dropped)));
    }
    let other: Cache<u64, u64> = Cache::builder().build().unwrap();
    let guard = other.read_guard();
    cache.invalidate_all();
    thread::sleep(Duration::from_millis(300));
    assert!(dropped.load(Ordering::SeqCst) < count / 2, "the guard protects what was there before it");
    drop(guard);
    let is_done = comes_to(count, &dropped, 2 * SECOND);
    assert!(is_done, "{} of {count} dropped after two seconds", dropped.load(Ordering::SeqCst));
}

/// A caller swept under its own guard. While its listener ran, the reaper came by, saw nothing to do, and
/// went to sleep for ever; the caller could drop nothing, since it was pinned; and the value stayed.
#[test]
fn garbage_of_a_caller_who_sweeps_under_a_guard_is_not_forgotten() {
    let _turn = alone();
    let me = thread::current().id();
    for attempt in 0..40 {
        let dropped = Arc::new(AtomicUsize::new(0));
        let on_me = Arc::new(AtomicBool::new(false));
        let swept_by_me = Arc::clone(&on_me);
        let cache = Cache::builder()
            .shards(1)
            .reaper(Reaper::dedicated())
            .eviction_listener(move |_: &u64, _: &Counted, _| {
                if thread::current().id() == me {
                    swept_by_me.store(true, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(50));
                }
            })
            .build()
            .unwrap();
        cache.insert_with_ttl(1, Counted(Arc::clone(&dropped)), Duration::from_millis(10));
        let guard = cache.read_guard();
        while cache.entry_count() == 1 {
            cache.run_pending_tasks();
        }
        drop(guard);
        assert!(comes_to(1, &dropped, 2 * SECOND), "not dropped within two seconds, in attempt {attempt}");
        if on_me.load(Ordering::SeqCst) {
            return; // this attempt met the case; in the others the reaper was first
        }
    }
    panic!("the case was never met: the reaper was always first");
}

/// A listener that blocked on a caller's thread did so with the thread's epoch pinned, and so held up the
/// memory of every cache of the process.
#[test]
fn a_listener_that_blocks_on_a_caller_holds_up_nobody_elses_memory() {
    let _turn = alone();
    let (release, blocked) = mpsc::channel::<()>();
    let (entered, inside) = mpsc::channel();
    let blocked = Mutex::new(blocked);
    let listening = Cache::builder()
        .eviction_listener(move |_: &u64, _: &u64, _| {
            entered.send(()).unwrap();
            let _ = blocked.lock().unwrap().recv_timeout(100 * SECOND);
        })
        .build()
        .unwrap();
    listening.insert(1, 1);
    let dropped = Arc::new(AtomicUsize::new(0));
    let other = Cache::builder().build().unwrap();
    other.insert(1, Counted(Arc::clone(&dropped)));
    let writer = thread::spawn(move || listening.insert(1, 2));
    inside.recv().unwrap();
    other.invalidate(&1);
    let is_dropped = comes_to(1, &dropped, 3 * SECOND);
    release.send(()).unwrap();
    writer.join().unwrap();
    assert!(is_dropped, "another cache's value waited for the listener");
}

/// Keys whose hash is what the test says, whatever `Eq` says.
#[derive(Clone, Debug)]
struct Inconsistent {
    id: u64,
    hash: u64,
}

impl PartialEq for Inconsistent {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Inconsistent {}

impl Hash for Inconsistent {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys write one u64");
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A key that was equal to a stored one but had another hash made its removal lower the overflow count of a
/// bucket that the stored key had never passed: then other keys could not be found any more, and the sweep
/// that came for them panicked. A wrong `Hash` may lose its own keys, never those of others.
#[test]
fn a_key_with_a_wrong_hash_harms_no_other_key() {
    let clock = ManualClock::new();
    for seed in 0..200 {
        let cache = Cache::builder()
            .shards(1)
            .clock(clock.clone())
            .time_to_live(5 * SECOND)
            .build_with_hasher(BuildHasherDefault::<Identity>::default())
            .unwrap();
        for id in 0..40 {
            cache.insert(Inconsistent { id, hash: id * 7919 + seed }, id);
        }
        for hash in 0..300 {
            cache.invalidate(&Inconsistent { id: 39, hash });
        }
        cache.validate();
        for id in 0..39 {
            assert_eq!(cache.get(&Inconsistent { id, hash: id * 7919 + seed }), Some(id));
        }
        clock.advance(6 * SECOND);
        assert_eq!(cache.entry_count(), 0);
    }
}

/// The number of buckets for `usize::MAX` entries was sought in a loop that did not end.
#[test]
fn a_capacity_without_measure_is_refused() {
    let built = Cache::<u64, u64>::builder().shards(1).initial_capacity(usize::MAX).build();
    assert!(matches!(built, Err(BuildError::InitialCapacity { given: usize::MAX, .. })));
}

/// `validate` took the deadline of an entry that a reader had found over for one that needs an earlier slot.
#[test]
fn validate_knows_that_a_reader_may_have_found_an_entry_over() {
    let clock = ManualClock::new();
    let cache = Cache::builder().shards(1).clock(clock.clone()).build().unwrap();
    cache.insert_with_ttl(1, 1, 5 * SECOND);
    clock.advance_without_sweeping(9 * SECOND);
    assert_eq!(cache.get(&1), None);
    cache.validate();
}

/// Hashes a number to itself.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u64");
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// A look for a tag also stops at a slot behind one that carries it, if the two tags differ in the lowest bit
/// alone. Behind one with tag 1 that was an empty slot, and what it named last: a node that was dropped, whose key
/// was compared, and which was replaced in a slot that no reader looks at.
#[test]
fn an_empty_slot_behind_one_with_the_same_tag_is_not_looked_at() {
    // Tags as low as can be, which many of these pairs share.
    let low = |key: &u64| {
        let product = u128::from(*key) * 0x9E37_79B9_7F4A_7C15;
        (((product as u64) ^ (product >> 64) as u64) >> 32) as u8 <= 2
    };
    let keys: Vec<u64> = (1..).filter(low).take(12).collect();
    for &first in &keys {
        for &second in keys.iter().filter(|&&key| key != first) {
            let builder = Cache::builder().shards(1).reaper(Reaper::manual());
            let cache = builder.build_with_hasher(BuildHasherDefault::<Same>::default()).unwrap();
            // Slots are filled in both words of a bucket by turns.
            for key in [first, 3, second] {
                cache.insert(key, 1);
            }
            assert!(cache.invalidate(&second));
            cache.insert(second, 2);
            assert_eq!(cache.get(&second), Some(2));
            assert_eq!(cache.entry_count(), 3);
        }
    }
}
