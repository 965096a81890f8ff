//! The caches of the soak, and user code that panics in every place. Knows no fault and no watcher.

use std::hash::{Hash, Hasher};
use std::panic;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::thread;
use std::time::{Duration, Instant};
use tidewheel::{Cache, EndCause, EvictionPolicy, Expiry, ManualClock, SessionManager, StrictClock};

/// How much the bounded cache may hold.
pub(crate) const CAPACITY: u64 = 5_000;

/// How long a session of the brief ones may lie idle.
pub(crate) const BRIEF: Duration = Duration::from_millis(200);

pub(crate) struct Planned;

/// Panics on purpose print nothing.
pub(crate) fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !info.payload().is::<Planned>() {
                loud(info);
            }
        }));
    });
}

static CALLS: AtomicU64 = AtomicU64::new(0);
static PANICS: AtomicU64 = AtomicU64::new(0);
static ALIVE: AtomicI64 = AtomicI64::new(0);
/// How often a value was seen that is over. A panic alone would not do: the crate catches those of destructors and listeners.
static BROKEN: AtomicU64 = AtomicU64::new(0);

/// User code: one call in 211 panics.
fn user() {
    if CALLS.fetch_add(1, Ordering::Relaxed) % 211 == 0 && !thread::panicking() {
        PANICS.fetch_add(1, Ordering::Relaxed);
        panic::panic_any(Planned);
    }
}

pub(crate) fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// Nobody has looked at a value that was dropped, nor dropped one again.
pub(crate) fn check_that_none_is_broken() {
    let broken = BROKEN.load(Ordering::Relaxed);
    assert_eq!(broken, 0, "{broken} times a value was seen, or dropped, that is over");
}

/// A key whose every piece of code may panic.
#[derive(Debug)]
pub(crate) struct Key(pub(crate) u64);

impl Clone for Key {
    fn clone(&self) -> Self {
        user();
        Self(self.0)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        user();
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        user();
        self.0.hash(state);
    }
}

/// A value that is counted, and knows when it is read after its end.
#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) number: u64,
    twin: u64,
    panics: bool,
}

impl Value {
    /// One that makes no trouble.
    pub(crate) fn calm(number: u64) -> Self {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        Self { number, twin: !number, panics: false }
    }

    pub(crate) fn trouble(number: u64) -> Self {
        let mut value = Self::calm(number);
        value.panics = true;
        value
    }

    pub(crate) fn check(&self) {
        if self.number != !self.twin {
            BROKEN.fetch_add(1, Ordering::Relaxed);
            panic!("a value that is over");
        }
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        self.check();
        if self.panics {
            user();
        }
        ALIVE.fetch_add(1, Ordering::Relaxed);
        Self { number: self.number, twin: self.twin, panics: self.panics }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.check();
        self.twin = self.number;
        ALIVE.fetch_sub(1, Ordering::Relaxed);
        if self.panics {
            user();
        }
    }
}

struct Rule;

impl Expiry<Key, Value> for Rule {
    fn expire_after_create(&self, _: &Key, value: &Value) -> Option<Duration> {
        user();
        Some(Duration::from_millis(value.number % 3000))
    }

    fn expire_after_read(&self, _: &Key, _: &Value, left: Option<Duration>) -> Option<Duration> {
        user();
        left
    }

    fn expire_after_update(&self, _: &Key, value: &Value, left: Option<Duration>) -> Option<Duration> {
        user();
        if value.number % 2 == 0 { left } else { Some(Duration::from_millis(500)) }
    }
}

fn brief(ends: Arc<AtomicU64>) -> SessionManager<Value> {
    let builder = SessionManager::builder().idle(BRIEF).end_listener(move |_, value: &Value, cause| {
        value.check();
        if cause == EndCause::Expired {
            ends.fetch_add(1, Ordering::Relaxed);
        }
    });
    builder.build().expect("it can be built")
}

pub(crate) struct Stage {
    /// Unbounded, without trouble, for who knows the times.
    pub(crate) usual: Cache<u64, Value>,
    pub(crate) strict: Cache<u64, Value>,
    /// With a capacity and every callback, each of which panics.
    pub(crate) troubled: Cache<Key, Value>,
    /// On a clock that is moved by hand, far.
    pub(crate) by_hand: Cache<u64, Value>,
    pub(crate) clock: ManualClock,
    pub(crate) sessions: SessionManager<u64>,
    /// Sessions that end by themselves, and how many ends were told.
    pub(crate) brief: SessionManager<Value>,
    ends: Arc<AtomicU64>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let clock = ManualClock::new();
        let troubled = Cache::builder()
            .max_capacity(CAPACITY)
            .weigher(|_: &Key, value: &Value| {
                user();
                value.number as u32 % 7
            })
            .pin_if(|_, value| {
                user();
                value.number % 1000 == 0
            })
            .eviction_policy(EvictionPolicy::Adaptive)
            .record_stats()
            .time_to_live(Duration::from_secs(2))
            .time_to_idle(Duration::from_secs(1))
            .expire_after(Rule)
            .refresh_after_write(Duration::from_millis(300))
            .refresh_with(
                |key, _| {
                    user();
                    Some(Value::trouble(key.0))
                },
                |job| {
                    user();
                    job();
                },
            )
            .eviction_listener(|_, value, _| {
                value.check();
                user();
            })
            .expiration_listener(|entries| {
                entries.iter().for_each(|(_, value)| value.check());
                user();
            })
            .expiration_warning_listener(Duration::from_secs(2), |_, value| {
                value.check();
                user();
            });
        let ends = Arc::new(AtomicU64::new(0));
        Self {
            usual: Cache::builder().build().unwrap(),
            strict: Cache::builder().clock(StrictClock).build().unwrap(),
            troubled: troubled.build().unwrap(),
            by_hand: Cache::builder().clock(clock.clone()).max_capacity(1000).build().unwrap(),
            clock,
            sessions: SessionManager::new(),
            brief: brief(ends.clone()),
            ends,
        }
    }

    /// All is dropped within seconds, with nobody about, and of each session that ended that was told once.
    pub(crate) fn end(self, ended: u64) {
        for cache in [&self.usual, &self.strict, &self.by_hand] {
            cache.validate();
            cache.invalidate_all();
        }
        assert!(self.troubled.weighted_size() <= CAPACITY);
        let ends = self.ends.clone();
        let begun = Instant::now();
        while ends.load(Ordering::Relaxed) < ended {
            let told = ends.load(Ordering::Relaxed);
            assert!(begun.elapsed() < Duration::from_secs(30), "{told} ends of {ended} sessions were told");
            thread::sleep(Duration::from_millis(10));
        }
        drop(self);
        let begun = Instant::now();
        while ALIVE.load(Ordering::Relaxed) != 0 {
            let alive = ALIVE.load(Ordering::Relaxed);
            assert!(begun.elapsed() < Duration::from_secs(30), "{alive} values are never dropped");
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(ends.load(Ordering::Relaxed), ended, "the end of a session was told twice");
        check_that_none_is_broken();
    }
}
