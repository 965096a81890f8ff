//! Keys, values, a hasher's input and a listener whose code makes trouble on demand: it panics, it
//! panics with a payload that panics in turn, or it calls back into the cache it came from.
//!
//! Knows the public API alone; which trouble is made where is the test's choice.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::hint::black_box;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, CacheBuilder, RemovalCause, WeakCache};

/// The places where the cache runs code of its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Hash,
    Eq,
    KeyClone,
    KeyDrop,
    ValueClone,
    ValueDrop,
    Listener,
    Closure,
}

/// What that code does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Panic,
    /// Panics with a payload whose destructor panics when the cache throws the payload away.
    PanicTwice,
    CallBack,
}

/// The payload of every panic that is on purpose.
pub(crate) struct Planted;

/// A payload that panics when it is dropped, once.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic::panic_any(Planted);
        }
    }
}

/// Whether a payload comes from here. Takes the sting out of it.
pub(crate) fn is_planted(payload: Box<dyn std::any::Any + Send>) -> bool {
    match payload.downcast::<Bomb>() {
        Ok(bomb) => {
            std::mem::forget(bomb);
            true
        }
        Err(payload) => payload.is::<Planted>(),
    }
}

/// Panics on purpose print nothing; the others do as ever.
pub(crate) fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !info.payload().is::<Planted>() && !info.payload().is::<Bomb>() {
                loud(info);
            }
        }));
    });
}

pub(crate) type TroubleCache = Cache<Key, Value>;

/// The trouble in store for one cache, shared by everything that is in it.
pub(crate) struct Plot {
    armed: Mutex<Option<(Place, Deed)>>,
    /// Trouble is made at every n-th opportunity, beginning after so many of them.
    every: AtomicU64,
    after: AtomicU64,
    opportunities: AtomicU64,
    /// And only so many times more.
    budget: AtomicU64,
    made: AtomicU64,
    dropped: AtomicU64,
    fired: AtomicU64,
    /// What must not happen, and cannot be a panic where the cache would catch it.
    faults: Mutex<Vec<&'static str>>,
    reports: Mutex<Vec<(u64, u64, RemovalCause)>>,
    cache: OnceLock<WeakCache<Key, Value>>,
}

thread_local! {
    /// Called back from within a call-back, the code does nothing: once is enough.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

impl Plot {
    /// A cache as `adjust` wants it, full of trouble that is not armed yet.
    pub(crate) fn new(
        adjust: impl FnOnce(CacheBuilder<Key, Value>) -> CacheBuilder<Key, Value>,
    ) -> (Arc<Self>, TroubleCache) {
        hush();
        let plot = Arc::new(Self {
            armed: Mutex::new(None),
            every: AtomicU64::new(1),
            after: AtomicU64::new(0),
            opportunities: AtomicU64::new(0),
            budget: AtomicU64::new(0),
            made: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            fired: AtomicU64::new(0),
            faults: Mutex::new(Vec::new()),
            reports: Mutex::new(Vec::new()),
            cache: OnceLock::new(),
        });
        let heard = Arc::clone(&plot);
        let builder = Cache::builder().eviction_listener(move |key: &Key, value: &Value, cause| {
            heard.reports.lock().unwrap_or_else(PoisonError::into_inner).push((key.id, value.id, cause));
            value.check("shown to the listener");
            heard.at(Place::Listener);
            value.check("shown to the listener, taken away while it looked");
        });
        let cache = adjust(builder).build().unwrap();
        assert!(plot.cache.set(cache.downgrade()).is_ok());
        (plot, cache)
    }

    /// Trouble at every opportunity. (An optimistic closure that calls back without end would run without
    /// end: its own writes make it start again.)
    pub(crate) fn arm(&self, place: Place, deed: Deed) {
        let budget = if deed == Deed::CallBack { 3 } else { u64::MAX };
        self.arm_some((0, 1, budget), place, deed);
    }

    /// Trouble after so many opportunities, then at every n-th, and no more than so many times.
    pub(crate) fn arm_some(&self, (after, every, budget): (u64, u64, u64), place: Place, deed: Deed) {
        self.opportunities.store(0, Ordering::Release);
        self.after.store(after, Ordering::Release);
        self.every.store(every, Ordering::Release);
        self.budget.store(budget, Ordering::Release);
        *self.armed.lock().unwrap() = Some((place, deed));
    }

    pub(crate) fn disarm(&self) {
        *self.armed.lock().unwrap() = None;
    }

    /// How often trouble was made so far.
    pub(crate) fn fired(&self) -> u64 {
        self.fired.load(Ordering::Acquire)
    }

    /// How many values are alive.
    pub(crate) fn alive(&self) -> u64 {
        let dropped = self.dropped.load(Ordering::Acquire);
        self.made.load(Ordering::Acquire) - dropped
    }

    /// Values that were met when they were no more.
    pub(crate) fn faults(&self) -> Vec<&'static str> {
        self.faults.lock().unwrap().clone()
    }

    pub(crate) fn reports(&self) -> Vec<(u64, u64, RemovalCause)> {
        std::mem::take(&mut self.reports.lock().unwrap())
    }

    pub(crate) fn key(self: &Arc<Self>, id: u64) -> Key {
        Key { id, lent: false, plot: Arc::clone(self) }
    }

    /// A key to look things up by, whose destructor makes no trouble: it is the caller's business.
    pub(crate) fn lent(self: &Arc<Self>, id: u64) -> Key {
        Key { id, lent: true, plot: Arc::clone(self) }
    }

    pub(crate) fn value(self: &Arc<Self>, id: u64) -> Value {
        self.made.fetch_add(1, Ordering::AcqRel);
        Value { id, canary: !id, plot: Arc::clone(self) }
    }

    /// Makes the trouble that is armed for `place`.
    pub(crate) fn at(self: &Arc<Self>, place: Place) {
        let Some((armed, deed)) = *self.armed.lock().unwrap() else { return };
        if armed != place || thread::panicking() || INSIDE.get() {
            return;
        }
        let opportunity = self.opportunities.fetch_add(1, Ordering::AcqRel);
        let turn = opportunity.checked_sub(self.after.load(Ordering::Acquire));
        if turn.is_none_or(|turn| turn % self.every.load(Ordering::Acquire) != 0) {
            return;
        }
        let spend = |budget: u64| budget.checked_sub(1);
        if self.budget.fetch_update(Ordering::AcqRel, Ordering::Acquire, spend).is_err() {
            return;
        }
        self.fired.fetch_add(1, Ordering::AcqRel);
        match deed {
            Deed::Panic => panic::panic_any(Planted),
            Deed::PanicTwice => panic::panic_any(Bomb),
            Deed::CallBack => {
                INSIDE.set(true);
                if let Some(cache) = self.cache.get().and_then(WeakCache::upgrade) {
                    // The cache would catch it, and nobody would know.
                    if panic::catch_unwind(AssertUnwindSafe(|| self.call_back(&cache))).is_err() {
                        self.faults.lock().unwrap().push("called back in vain");
                    }
                }
                INSIDE.set(false);
            }
        }
    }

    /// Every kind of call, on the keys that the tests use.
    fn call_back(self: &Arc<Self>, cache: &TroubleCache) {
        let (one, two, more) = (self.lent(1), self.lent(2), self.lent(1000));
        let _ = (cache.get(&one), cache.peek(&two), cache.read(&one, |value| value.id));
        let _ = (cache.contains_key(&one), cache.remaining_ttl(&two), cache.entry_count());
        {
            let guard = cache.read_guard();
            let seen = guard.get(&one);
            cache.insert(self.key(1), self.value(100));
            if let Some(value) = seen {
                value.check("held by a guard");
            }
        }
        cache.insert_with_ttl(self.key(1000), self.value(1000), Duration::ZERO);
        let _ = cache.try_insert(self.key(2), self.value(200));
        let _ = cache.replace(&two, self.value(201));
        cache.update(&one, |old| self.value(old.id + 1));
        let _ = (cache.touch(&one), cache.set_ttl(&two, Duration::from_secs(60)), cache.persist(&one));
        cache.rename(&two, self.key(1001));
        cache.rename(&self.key(1001), self.key(2));
        let _ = (cache.invalidate(&more), cache.remove(&two), cache.remove_if(&one, |_| false));
        if self.fired() % 3 == 0 {
            cache.invalidate_all();
        }
        cache.run_pending_tasks();
        cache.validate();
    }
}

#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) id: u64,
    lent: bool,
    plot: Arc<Plot>,
}

#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) id: u64,
    /// The complement of `id` as long as the value is alive.
    pub(crate) canary: u64,
    plot: Arc<Plot>,
}

impl Value {
    /// Notes a fault if the value has been dropped before.
    pub(crate) fn check(&self, what: &'static str) {
        if self.canary != !self.id {
            self.plot.faults.lock().unwrap().push(what);
        }
    }
}

impl std::fmt::Debug for Plot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Plot")
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.plot.at(Place::Hash);
        self.id.hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.plot.at(Place::Eq);
        self.id == other.id
    }
}

impl Eq for Key {}

impl Clone for Key {
    fn clone(&self) -> Self {
        self.plot.at(Place::KeyClone);
        Self { id: self.id, lent: false, plot: Arc::clone(&self.plot) }
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        if !self.lent {
            self.plot.at(Place::KeyDrop);
        }
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        self.check("cloned");
        self.plot.at(Place::ValueClone);
        self.plot.value(self.id)
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.check("dropped");
        *black_box(&mut self.canary) = self.id;
        self.plot.dropped.fetch_add(1, Ordering::AcqRel);
        self.plot.at(Place::ValueDrop);
    }
}
