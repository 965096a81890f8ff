//! Keys, values, and a cache whose user's code calls back, once, from the place that is armed.

use std::hash::{Hash, Hasher};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;
use tidewheel::{Cache, CacheBuilder, EndCause, Expiry, ManualClock, WeakCache};

/// The code of the user's that may call back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// A closure or a future that the cache is given, or what it has captured.
    Closure,
    KeyClone,
    KeyDrop,
    ValueClone,
    ValueDrop,
    Listener,
    Weigher,
    Pin,
    OnCreate,
    OnRead,
    OnUpdate,
    /// Of an entry that is about to expire.
    Warning,
    /// Of entries that expired, all at once.
    Batch,
    Executor,
    Reload,
    #[cfg(feature = "async")]
    Waker,
    /// Of a session: whose it is, and that it ended.
    Owner,
    Ended(EndCause),
}

/// A cache in which entries live for a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// With a weigher and a listener.
    Plain,
    /// With an `Expiry` besides.
    Ruled,
    /// Entries are loaded anew after ten seconds, by who finds them old.
    Stale,
    /// The same with an executor, which runs its jobs at once; and with warnings, and batches.
    Told,
    /// As plain, without the listener: what has expired is dropped by whoever comes across it.
    Quiet,
}

pub(crate) type TestCache = Cache<Key, Value>;

type Call = Box<dyn FnOnce() + Send>;

struct Armed {
    code: Code,
    call: Option<Call>,
    /// Once it has called: whether that panicked, and with what message.
    came_to: Option<Option<String>>,
}

static ARMED: Mutex<Option<Armed>> = Mutex::new(None);
static CACHE: Mutex<Option<WeakCache<Key, Value>>> = Mutex::new(None);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tests take turns: what is armed is there once.
pub(crate) fn serially() -> MutexGuard<'static, ()> {
    static SERIAL: Mutex<()> = Mutex::new(());
    static HUSH: Once = Once::new();
    HUSH.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !message(info.payload()).contains("would wait for itself") {
                loud(info);
            }
        }));
    });
    lock(&SERIAL)
}

fn message(payload: &dyn std::any::Any) -> String {
    let literal = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    literal.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// The next time this code runs, it calls.
pub(crate) fn arm(code: Code, call: impl FnOnce() + Send + 'static) {
    *lock(&ARMED) = Some(Armed { code, call: Some(Box::new(call)), came_to: None });
}

/// What it came to, if it was called: the message, if it panicked.
pub(crate) fn disarm() -> Option<Option<String>> {
    lock(&ARMED).take()?.came_to
}

/// Whether it has called.
pub(crate) fn has_called() -> bool {
    lock(&ARMED).as_ref().is_some_and(|armed| armed.call.is_none())
}

/// Runs in the user's code: calls, if it is armed.
pub(crate) fn at(code: Code) {
    let call = match &mut *lock(&ARMED) {
        Some(armed) if armed.code == code => armed.call.take(),
        _ => None,
    };
    let Some(call) = call else { return };
    let result = catch_unwind(AssertUnwindSafe(call));
    let panicked = result.err().map(|payload| message(&*payload));
    if let Some(armed) = &mut *lock(&ARMED) {
        armed.came_to = Some(panicked);
    }
}

/// A key to look things up by.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Id(pub(crate) u64);

impl ToOwned for Id {
    type Owned = Key;

    fn to_owned(&self) -> Key {
        key(self.0)
    }
}

#[derive(Debug)]
pub(crate) struct Key(Id);

pub(crate) fn key(number: u64) -> Key {
    Key(Id(number))
}

impl Key {
    pub(crate) fn number(&self) -> u64 {
        self.0.0
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Key {}

impl std::borrow::Borrow<Id> for Key {
    fn borrow(&self) -> &Id {
        &self.0
    }
}

/// Keys and values are written as their numbers.
#[cfg(feature = "serde")]
mod written {
    use super::{Key, Value, key, value};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    impl Serialize for Key {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            self.number().serialize(to)
        }
    }

    impl<'de> Deserialize<'de> for Key {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            u64::deserialize(from).map(key)
        }
    }

    impl Serialize for Value {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            self.number.serialize(to)
        }
    }

    impl<'de> Deserialize<'de> for Value {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            u64::deserialize(from).map(value)
        }
    }
}

impl Clone for Key {
    fn clone(&self) -> Self {
        at(Code::KeyClone);
        key(self.number())
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        at(Code::KeyDrop);
    }
}

#[derive(Debug, Default)]
pub(crate) struct Value {
    pub(crate) number: u64,
}

pub(crate) fn value(number: u64) -> Value {
    Value { number }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        at(Code::ValueClone);
        value(self.number)
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        at(Code::ValueDrop);
    }
}

/// What a closure has captured.
pub(crate) struct Captured;

impl Drop for Captured {
    fn drop(&mut self) {
        at(Code::Closure);
    }
}

struct Rules;

impl Expiry<Key, Value> for Rules {
    fn expire_after_create(&self, _: &Key, _: &Value) -> Option<Duration> {
        at(Code::OnCreate);
        Some(Duration::from_secs(40))
    }

    fn expire_after_read(&self, _: &Key, _: &Value, left: Option<Duration>) -> Option<Duration> {
        at(Code::OnRead);
        left
    }

    fn expire_after_update(&self, _: &Key, _: &Value, _: Option<Duration>) -> Option<Duration> {
        at(Code::OnUpdate);
        Some(Duration::from_secs(41))
    }
}

pub(crate) struct World {
    pub(crate) cache: TestCache,
    pub(crate) clock: ManualClock,
}

impl World {
    /// Key 2 is there, 4 has expired and is still in memory; the key at hand, 1, is for the place to say.
    pub(crate) fn new(kind: Kind) -> Self {
        Self::build(kind, |builder, clock| {
            let builder = builder.clock(clock);
            if kind == Kind::Quiet {
                builder
            } else {
                builder.eviction_listener(|_, _, _| at(Code::Listener))
            }
        })
    }

    pub(crate) fn build(
        kind: Kind,
        with: impl FnOnce(CacheBuilder<Key, Value>, ManualClock) -> CacheBuilder<Key, Value>,
    ) -> Self {
        let clock = ManualClock::new();
        let builder = Cache::builder().name("world").shards(1).max_capacity(1_000).record_stats();
        let builder = builder.time_to_live(Duration::from_secs(60)).weigher(|_, _| {
            at(Code::Weigher);
            1
        });
        let builder = builder.pin_if(|_, _| {
            at(Code::Pin);
            false
        });
        let old = Duration::from_secs(10);
        let builder = match kind {
            Kind::Plain | Kind::Quiet => builder,
            Kind::Ruled => builder.expire_after(Rules),
            Kind::Stale => builder.refresh_after_write(old),
            Kind::Told => builder
                .refresh_after_write(old)
                .refresh_with(
                    |_, _| {
                        at(Code::Reload);
                        Some(value(7))
                    },
                    |job| {
                        at(Code::Executor);
                        job();
                    },
                )
                .expiration_warning_listener(Duration::from_secs(5), |_, _| at(Code::Warning))
                .expiration_listener(|_| at(Code::Batch)),
        };
        let cache = with(builder, clock.clone()).build().unwrap();
        *lock(&CACHE) = Some(cache.downgrade());
        cache.insert(key(2), value(2));
        cache.insert_with_ttl(key(4), value(4), Duration::from_millis(1));
        clock.advance_without_sweeping(Duration::from_millis(2));
        Self { cache, clock }
    }

    /// Nobody leads or waits any more, and the ledger agrees.
    pub(crate) fn end(self, what: &str) {
        for number in 1..=5 {
            let loaded = self.cache.timeout(Duration::from_millis(1)).get_with(key(number), || value(number));
            assert!(loaded.is_ok(), "{what}: a flight of key {number} is left");
        }
        self.cache.validate();
    }
}

/// The cache of the world that was built last.
pub(crate) fn last_cache() -> Option<WeakCache<Key, Value>> {
    lock(&CACHE).clone()
}

/// Whatever a call gives back is dropped, or of no interest.
pub(crate) fn done<R>(_: R) {}
