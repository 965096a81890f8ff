//! Readers that hold up what writers unlink: how much waits in memory for them, and what that costs.
//!
//! It was everything: a thread that the system does not let run in the middle of a read keeps whatever is unlinked meanwhile, and
//! nobody waited for it. With the load below a cache of a thousand entries had 50,000 values in memory, and a million where
//! readers came last.

#[path = "common/watchdog.rs"]
mod watchdog;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tidewheel::Cache;
use watchdog::Watchdog;

/// One measurement at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// How many values are in memory, and were at most.
struct Census {
    living: AtomicUsize,
    most: AtomicUsize,
}

impl Census {
    const fn new() -> Self {
        Self { living: AtomicUsize::new(0), most: AtomicUsize::new(0) }
    }

    fn value<const SIZE: usize>(&'static self) -> Value<SIZE> {
        let living = self.living.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(living, Ordering::Relaxed);
        Value { census: self, body: [1; SIZE] }
    }
}

struct Value<const SIZE: usize> {
    census: &'static Census,
    body: [u8; SIZE],
}

impl<const SIZE: usize> Drop for Value<SIZE> {
    fn drop(&mut self) {
        self.census.living.fetch_sub(1, Ordering::Relaxed);
    }
}

/// This thread is the last to be let run.
fn come_last() {
    #[cfg(target_os = "linux")]
    // SAFETY: a system call about this thread.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
    }
}

fn keys(seed: u64, range: u64) -> impl Iterator<Item = u64> {
    let step =
        |key: &u64| Some(key.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
    std::iter::successors(Some(seed), step).map(move |key| (key >> 33) % range)
}

const WRITERS: usize = 2;

/// What goes on beside two writers and four readers, some of whom come last.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    /// So many others want a processor.
    others: usize,
    /// One more reader falls asleep in the middle of a read, for the whole time.
    asleep: bool,
}

/// For how long it went on.
fn stress<const SIZE: usize>(
    cache: &Cache<u64, Value<SIZE>>,
    census: &'static Census,
    trouble: Trouble,
    time: Duration,
) -> Duration {
    let (stop, range) = (AtomicBool::new(false), 2 * cache.policy().max_capacity.unwrap());
    let stop = &stop;
    let goes_on = || !stop.load(Ordering::Relaxed);
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..trouble.others {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        if trouble.asleep {
            scope.spawn(|| {
                let guard = cache.read_guard();
                thread::sleep(time);
                drop(guard);
            });
        }
        for reader in 0..4 {
            scope.spawn(move || {
                if reader < 2 {
                    come_last();
                }
                for key in keys(reader, range).take_while(|_| goes_on()) {
                    assert_ne!(cache.read(&key, |value| value.body[0]), Some(0));
                }
            });
        }
        for writer in 0..WRITERS {
            scope.spawn(move || {
                let keys = keys(100 + writer as u64, range).take_while(|_| goes_on());
                keys.for_each(|key| cache.insert(key, census.value()));
            });
        }
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
    });
    begun.elapsed()
}

/// What the docs of `Cache` say: full batches, of so many values, in each shard; five times as many, and a value for each
/// moment of each writer. And what is in hands.
fn may_live(capacity: usize, (shards, batch): (usize, usize), took: Duration) -> usize {
    let waits = shards * (8 * batch + capacity.div_ceil(shards) / 8);
    let more = shards * 4 * 8 * batch;
    capacity + waits + more + shards * 6 * batch + WRITERS * (took.as_millis() as usize + 1)
}

fn no_more_lives_than_may<const SIZE: usize>(
    census: &'static Census,
    capacity: usize,
    (shards, batch): (usize, usize),
    time: Duration,
) {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let troubles =
        [0, 8].into_iter().flat_map(|others| [false, true].map(|asleep| Trouble { others, asleep }));
    for trouble in troubles {
        census.most.store(0, Ordering::Relaxed);
        let cache = Cache::builder().max_capacity(capacity as u64).shards(shards).build().unwrap();
        let took = stress::<SIZE>(&cache, census, trouble, time);
        let (most, bound) = (census.most.load(Ordering::Relaxed), may_live(capacity, (shards, batch), took));
        println!("{most} values of {SIZE} bytes in memory, at most; {bound} may be, after {took:?}");
        assert!(most <= bound, "{most} values, {bound} may be, {trouble:?}");
        cache.validate();
    }
}

#[test]
fn what_waits_for_readers_that_are_not_let_run_is_bounded() {
    static CENSUS: Census = Census::new();
    no_more_lives_than_may::<8>(&CENSUS, 1000, (4, 64), Duration::from_millis(1000));
}

/// A batch is fewer of them: a quarter of a megabyte.
#[test]
fn fewer_large_ones_wait() {
    static CENSUS: Census = Census::new();
    no_more_lives_than_may::<16_000>(&CENSUS, 16, (1, 16), Duration::from_millis(300));
}

/// Far more than writers may make without a moment for each; which would be a minute and a half.
const MANY: u64 = 100_000;

/// How often this thread went to sleep. Nothing where the system does not tell.
fn sleeps() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    count.trim().parse().ok()
}

/// Runs a call that writes `MANY` times, and must not wait a moment for each. In a moment a writer goes to sleep, and a busy machine
/// does not make it do so. Where nobody counts that, the time has to do.
fn is_not_slowed(write: impl FnOnce()) {
    let (begun, before) = (Instant::now(), sleeps());
    write();
    match before.zip(sleeps()) {
        Some((before, after)) => assert!(after - before < MANY / 10, "it slept {} times", after - before),
        None => assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed()),
    }
}

/// Writes a key `MANY` times, and feeds the watchdog.
fn write_many(cache: &Cache<u64, String>, watchdog: &Watchdog) {
    for n in 0..MANY {
        if n % 1000 == 0 {
            watchdog.feed();
        }
        cache.insert(1, n.to_string());
    }
}

/// It would wait for itself.
#[test]
fn who_holds_a_guard_and_writes_is_not_slowed() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let watchdog = Watchdog::over("writes under a guard of one's own", 60);
    let cache = Cache::builder().shards(1).build().unwrap();
    let guard = cache.read_guard();
    is_not_slowed(|| write_many(&cache, &watchdog));
    drop(guard);
}

#[test]
fn who_writes_within_a_closure_that_looks_is_not_slowed() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let watchdog = Watchdog::over("writes within a closure", 60);
    let cache = Cache::builder().shards(1).build().unwrap();
    cache.insert(0, "0".to_string());
    cache.read(&0, |_| is_not_slowed(|| write_many(&cache, &watchdog)));
    cache.update(&0, |old| {
        is_not_slowed(|| write_many(&cache, &watchdog));
        old.clone()
    });
}

/// A guard that is held until writers are done is no deadlock: each write waits for a moment, and goes on.
#[test]
fn who_holds_a_guard_and_waits_for_writers_sees_them_end() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let watchdog = Watchdog::over("writers under a guard", 120);
    static CENSUS: Census = Census::new();
    let cache = Cache::builder().shards(1).build().unwrap();
    let guard = cache.read_guard();
    thread::scope(|scope| {
        for writer in 0..2 {
            let (cache, watchdog) = (&cache, &watchdog);
            scope.spawn(move || {
                for _ in 0..2000 {
                    cache.insert(writer, CENSUS.value::<8>());
                    watchdog.feed();
                }
            });
        }
    });
    assert!(CENSUS.living.load(Ordering::Relaxed) >= 4000 - 64);
    drop(guard);
    // When it is gone, so is what waited, by the next writes.
    for _ in 0..MANY {
        cache.insert(1, CENSUS.value::<8>());
        if CENSUS.living.load(Ordering::Relaxed) < 600 {
            return;
        }
    }
    panic!("{} values are there", CENSUS.living.load(Ordering::Relaxed));
}
