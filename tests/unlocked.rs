//! A read takes no lock: it ends while another thread holds the only shard's lock, and does not let it go.

#[path = "common/watchdog.rs"]
mod watchdog;

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, CacheBuilder, Life, ManualClock};
use watchdog::Watchdog;

/// A key whose comparison with its like blocks, if it is told to.
#[derive(Clone)]
struct Slow(u32);

/// Whose comparison blocks, by whom it is stored.
const HELD: Slow = Slow(0);
/// One that is there, and one that is not.
const THERE: Slow = Slow(1);
const ABSENT: Slow = Slow(2);
/// By whose write it is shown that the lock is held.
const LATER: Slow = Slow(3);

static BLOCKS: AtomicBool = AtomicBool::new(false);
static IS_BLOCKED: AtomicBool = AtomicBool::new(false);
/// Whether the write of `LATER` has begun: it has hashed its key, and takes the lock next.
static HAS_BEGUN: AtomicBool = AtomicBool::new(false);
static GATE: Mutex<()> = Mutex::new(());

impl PartialEq for Slow {
    fn eq(&self, other: &Self) -> bool {
        if self.0 == HELD.0 && other.0 == HELD.0 && BLOCKS.load(Ordering::SeqCst) {
            IS_BLOCKED.store(true, Ordering::SeqCst);
            drop(lock(&GATE));
        }
        self.0 == other.0
    }
}

impl Eq for Slow {}

impl Hash for Slow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if self.0 == LATER.0 {
            HAS_BEGUN.store(true, Ordering::SeqCst);
        }
        self.0.hash(state);
    }
}

type Slowly = Cache<Slow, u32>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// `calls`, while a writer is in the middle of a write, in the cache's only shard, and stays there.
fn while_the_lock_is_held(cache: &Slowly, calls: impl FnOnce()) {
    // The gate is there once, and tests run side by side.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = lock(&TURN);
    cache.insert(HELD, 0);
    let gate = lock(&GATE);
    IS_BLOCKED.store(false, Ordering::SeqCst);
    HAS_BEGUN.store(false, Ordering::SeqCst);
    BLOCKS.store(true, Ordering::SeqCst);
    thread::scope(|scope| {
        // Compares under the lock, and holds it until the gate is open.
        scope.spawn(|| cache.insert(HELD, 2));
        while !IS_BLOCKED.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        calls();
        // It was held all along: who needs it waits.
        let (sender, done) = mpsc::channel();
        scope.spawn(move || {
            cache.insert(LATER, 3);
            let _ = sender.send(());
        });
        while !HAS_BEGUN.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        // It would be done in a moment.
        let is_done = (0..20).any(|_| done.recv_timeout(Duration::from_millis(1)).is_ok());
        drop(gate);
        BLOCKS.store(false, Ordering::SeqCst);
        assert!(!is_done, "the lock was not held");
    });
}

type Call = fn(&Slowly) -> Option<u32>;

/// Ways to read what is there, and then what is not.
const READS: [(&str, Call); 12] = [
    ("get", |cache| cache.get(&THERE)),
    ("read", |cache| cache.read(&THERE, |value| *value)),
    ("peek", |cache| cache.peek(&THERE)),
    ("peek_with", |cache| cache.peek_with(&THERE, |value| *value)),
    ("contains_key", |cache| cache.contains_key(&THERE).then_some(1)),
    ("remaining_ttl", |cache| cache.remaining_ttl(&THERE).map(|_| 1)),
    ("read_guard, get", |cache| cache.read_guard().get(&THERE).copied()),
    ("get_many", |cache| cache.get_many(&[THERE]).pop().flatten()),
    ("get_with", |cache| Some(cache.get_with(THERE, || unreachable!("it is there")))),
    ("get, in vain", |cache| cache.get(&ABSENT).xor(Some(1))),
    ("peek, in vain", |cache| cache.peek(&ABSENT).xor(Some(1))),
    ("contains_key, in vain", |cache| (!cache.contains_key(&ABSENT)).then_some(1)),
];

#[test]
fn a_read_takes_no_lock_in_a_cache_of_any_kind() {
    let _watchdog = Watchdog::over("reads beside a lock that is held", 120);
    type Adjust = fn(CacheBuilder<Slow, u32>) -> CacheBuilder<Slow, u32>;
    let kinds: [(&str, Adjust); 6] = [
        ("plain", |builder| builder),
        ("time_to_live", |builder| builder.time_to_live(seconds(3600))),
        ("max_capacity", |builder| builder.max_capacity(100)),
        ("record_stats", |builder| builder.record_stats()),
        ("max_age", |builder| builder.max_age(seconds(3600))),
        ("all of them", |builder| {
            builder.time_to_live(seconds(3600)).max_age(seconds(7200)).max_capacity(100).record_stats()
        }),
    ];
    for (kind, adjust) in kinds {
        let cache = adjust(Cache::builder().shards(1)).build().unwrap();
        cache.insert_with_ttl(THERE, 1, seconds(3600));
        while_the_lock_is_held(&cache, || {
            let (sender, answers) = mpsc::channel();
            let cache = cache.clone();
            let reader = thread::spawn(move || {
                for (name, call) in READS {
                    // More often than a thread may read without a look at the clock.
                    let answers: Vec<_> = (0..100).map(|_| call(&cache)).collect();
                    sender.send((name, answers)).unwrap();
                }
            });
            for (name, _) in READS {
                let answer = answers.recv_timeout(seconds(20));
                let (of, answers) = answer.unwrap_or_else(|_| panic!("{kind}: {name} waits for the lock"));
                assert_eq!(of, name);
                assert!(answers.iter().all(|answer| *answer == Some(1)), "{kind}: {name}: {answers:?}");
            }
            reader.join().unwrap();
        });
    }
}

/// A time to live that does not move the end of an entry, because its age ends it before, left the deadline frozen: each read of it took
/// the lock from then on.
#[test]
fn a_read_takes_no_lock_after_a_time_to_live_that_changes_nothing() {
    let builder = Cache::builder().clock(ManualClock::new()).shards(1);
    let cache: Slowly = builder.time_to_idle(seconds(60)).max_age(seconds(10)).build().unwrap();
    cache.insert(THERE, 1);
    assert!(cache.set_ttl(&THERE, seconds(1_000)));
    assert_eq!(cache.remaining_ttl(&THERE), Some(seconds(10)));
    while_the_lock_is_held(&cache, || {
        let (sender, answers) = mpsc::channel();
        let cache = cache.clone();
        let reader = thread::spawn(move || sender.send(cache.get(&THERE)).unwrap());
        let answer = answers.recv_timeout(seconds(20));
        assert_eq!(answer, Ok(Some(1)), "the read waited for the lock");
        reader.join().unwrap();
    });
}

/// A time to live that no entry got, because the entry was over or too heavy, made each touch take the lock from then on.
#[test]
fn a_touch_takes_no_lock_after_a_time_to_live_that_was_not_given() {
    type Attempt = fn(&Slowly) -> bool;
    let attempts: [(&str, Attempt); 6] = [
        ("set_ttl", |cache| cache.set_ttl(&ABSENT, seconds(1_000))),
        ("persist", |cache| cache.persist(&ABSENT)),
        ("replace", |cache| cache.with_life(Life::Ttl(seconds(1_000))).replace(&ABSENT, 2).is_ok()),
        ("update", |cache| cache.with_life(Life::Endless).update(&ABSENT, |_| 2)),
        ("insert of what is too heavy", |cache| {
            cache.insert_with_ttl(Slow(4), u32::MAX, seconds(1_000));
            cache.contains_key(&Slow(4))
        }),
        ("insert of what is too heavy, over another", |cache| {
            cache.insert(Slow(4), 1);
            cache.insert_with_ttl(Slow(4), u32::MAX, seconds(1_000));
            cache.contains_key(&Slow(4))
        }),
    ];
    for is_weighed in [false, true] {
        for (name, attempt) in attempts {
            let clock = ManualClock::new();
            let builder = Cache::builder().clock(clock.clone()).shards(1).time_to_live(seconds(60));
            let builder = match (is_weighed, name.starts_with("insert")) {
                (false, true) => continue,
                (false, false) => builder,
                (true, _) => builder.max_capacity(100).weigher(|_, weight| *weight),
            };
            let cache: Slowly = builder.build().unwrap();
            cache.insert(ABSENT, 1);
            clock.advance_without_sweeping(seconds(60));
            assert!(!attempt(&cache), "{name}");
            cache.insert(THERE, 1);
            let (sender, done) = mpsc::channel();
            let mut is_done = false;
            while_the_lock_is_held(&cache, || {
                let cache = cache.clone();
                thread::spawn(move || sender.send(cache.touch(&THERE)));
                is_done = done.recv_timeout(seconds(20)) == Ok(true);
            });
            assert!(is_done, "{name}: the touch waited for the lock");
        }
    }
}
