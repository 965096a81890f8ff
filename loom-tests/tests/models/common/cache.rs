//! Caches for models: one shard, a clock that stands still until it is moved, the reaper's work done by
//! whoever moves it, and values that loom watches and that are counted.

use loom::cell::Cell;
use loom::thread;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidewheel::{Cache, CacheBuilder, ManualClock, RemovalCause};

/// The time to live of every entry.
pub const TTL: Duration = Duration::from_secs(1);
/// Half of it.
pub const HALF: Duration = Duration::from_millis(500);

/// A number in a cell that loom watches: a reader that meets the destructor is an error.
#[derive(Debug)]
pub struct Value {
    number: Cell<u64>,
    census: Census,
}

// SAFETY: loom's threads are coroutines of one real thread, and its cell panics where two of them meet.
unsafe impl Send for Value {}
// SAFETY: as above.
unsafe impl Sync for Value {}

impl Value {
    pub fn number(&self) -> u64 {
        self.number.get()
    }

    /// Another value, greater by one.
    pub fn next(&self) -> Self {
        self.census.value(self.number() + 1)
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        self.census.value(self.number())
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.number.set(u64::MAX);
        self.census.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts the values that are there. Not in loom's sight: it must not order anything.
#[derive(Clone, Debug, Default)]
pub struct Census(Arc<AtomicUsize>);

impl Census {
    pub fn value(&self, number: u64) -> Value {
        self.0.fetch_add(1, Ordering::Relaxed);
        Value { number: Cell::new(number), census: self.clone() }
    }

    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts what a listener was told. Not in loom's sight either.
#[derive(Clone, Debug, Default)]
pub struct Told(Arc<AtomicUsize>);

impl Told {
    pub fn note(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a listener was told: keys, numbers and causes. Not in loom's sight either.
#[derive(Clone, Debug, Default)]
pub struct Heard(Arc<Mutex<Vec<(u64, u64, RemovalCause)>>>);

impl Heard {
    pub fn listener(&self) -> impl Fn(&u64, &Value, RemovalCause) + Send + Sync + use<> {
        let heard = self.clone();
        // The number is a look that loom sees: the value must still be there.
        move |&key, value, cause| heard.0.lock().unwrap().push((key, value.number(), cause))
    }

    /// By keys and numbers.
    pub fn all(&self) -> Vec<(u64, u64, RemovalCause)> {
        let mut all = self.0.lock().unwrap().clone();
        all.sort_by_key(|&(key, number, _)| (key, number));
        all
    }
}

/// The same hash in every run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fixed;

impl BuildHasher for Fixed {
    type Hasher = Same;

    fn build_hasher(&self) -> Same {
        Same(0)
    }
}

#[derive(Debug)]
pub struct Same(u64);

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

/// A cache in a model, and what belongs to it. A clone is for another thread.
#[derive(Clone, Debug)]
pub struct Model {
    pub cache: Cache<u64, Value, Fixed>,
    pub clock: ManualClock,
    pub census: Census,
}

impl Model {
    /// Entries live for `TTL`; room for a few without growth.
    pub fn expiring() -> Self {
        Self::build(|builder| builder.time_to_live(TTL).initial_capacity(4))
    }

    /// Entries live for `TTL` after they were used.
    pub fn idling() -> Self {
        Self::build(|builder| builder.time_to_idle(TTL).initial_capacity(4))
    }

    /// The same, and for a minute at most after they were written.
    pub fn bounded() -> Self {
        Self::build(|builder| builder.time_to_idle(TTL).time_to_live(60 * TTL).initial_capacity(4))
    }

    /// Entries live for `TTL`, and a listener is there, who is counted.
    pub fn listened() -> (Self, Told) {
        let told = Told::default();
        let counted = told.clone();
        let model = Self::build(|builder| {
            builder.time_to_live(TTL).initial_capacity(4).eviction_listener(move |_, value: &Value, _| {
                // A look that loom sees: the value must still be there.
                value.number();
                counted.0.fetch_add(1, Ordering::Relaxed);
            })
        });
        (model, told)
    }

    /// Entries live for ever; room for a few without growth.
    pub fn lasting() -> Self {
        Self::build(|builder| builder.initial_capacity(4))
    }

    /// Entries live for ever; the table grows with the second one.
    pub fn growing() -> Self {
        Self::build(|builder| builder)
    }

    /// Entries live for ever, and of so many only some are left: the table is too large by far, and the reaper has
    /// noticed. Its next visit, from two seconds later on, makes it smaller.
    pub fn left_with(kept: &[u64], of: u64) -> Self {
        let model = Self::growing();
        (1..=of).for_each(|key| model.insert(key, key));
        assert!((1..=of).filter(|key| !kept.contains(key)).all(|key| model.cache.invalidate(&key)));
        model.reap_after(TTL);
        model
    }

    /// Entries live for ever, and those of keys 1 and 3 are left of seven, in the first and the second chunk; the
    /// reaper has noticed that the third is vacant. Two seconds later it gives back what chunks are vacant then.
    pub fn sparse() -> Self {
        let model = Self::build(|builder| builder.initial_capacity(8));
        (1..=7).for_each(|key| model.insert(key, key));
        assert!([4, 5, 6, 7].iter().all(|key| model.cache.invalidate(key)));
        model.reap_after(TTL);
        assert!(model.cache.invalidate(&2));
        model.reap_after(TTL);
        model
    }

    /// Room for so many entries, up to four. The table has room for four, as where nothing bounds it: so its buckets are two, and
    /// not all keys share one. (It is built for no more than there may be; so there may be less later.)
    pub fn holding(
        capacity: u64,
        with: impl FnOnce(CacheBuilder<u64, Value>) -> CacheBuilder<u64, Value>,
    ) -> Self {
        let model = Self::build(|builder| with(builder.max_capacity(4).initial_capacity(4)));
        model.cache.set_max_capacity(capacity).expect("it has a bound");
        model
    }

    /// As the builder is told, with one shard and a clock that stands still.
    pub fn build(with: impl FnOnce(CacheBuilder<u64, Value>) -> CacheBuilder<u64, Value>) -> Self {
        let clock = ManualClock::new();
        let builder = with(Cache::builder().shards(1).clock(clock.clone()));
        let cache = builder.build_with_hasher(Fixed).expect("nothing that can fail");
        // Loom's statics begin with their first use, and whoever uses one later sees what came before that.
        // Not between the threads of a model, please.
        drop(cache.read_guard());
        Self { cache, clock, census: Census::default() }
    }

    pub fn insert(&self, key: u64, number: u64) {
        self.cache.insert(key, self.census.value(number));
    }

    pub fn replace(&self, key: u64, number: u64) -> bool {
        self.cache.replace(&key, self.census.value(number)).is_ok()
    }

    pub fn update(&self, key: u64) -> bool {
        self.cache.update(&key, Value::next)
    }

    /// Moves what is under a key to another one, greater by one.
    pub fn login(&self, key: u64, new: u64) -> bool {
        self.cache.rename_with(&key, new, |value| (value.next(), ())).is_some()
    }

    /// The number under a key, read in place.
    pub fn see(&self, key: u64) -> Option<u64> {
        self.cache.read(&key, Value::number)
    }

    /// The numbers under two keys, one after the other, under one pin: where it is not about pins, each of which is a store that
    /// whoever drops nodes may see or not.
    pub fn see_both(&self, [first, second]: [u64; 2]) -> (Option<u64>, Option<u64>) {
        let guard = self.cache.read_guard();
        let see = |key: u64| guard.get(&key).map(|value| value.number());
        (see(first), see(second))
    }

    /// Moves the clock; nobody sweeps.
    pub fn pass(&self, time: Duration) {
        self.clock.advance_without_sweeping(time);
    }

    /// Moves the clock and does the reaper's work.
    pub fn reap_after(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// The end of a model: the ledger agrees, and with the cache every value goes.
    pub fn end(self) {
        self.cache.validate();
        let census = self.census.clone();
        drop(self);
        assert_eq!(census.count(), 0, "values are left, or went twice");
    }
}

/// Starts a thread on a handle of its own, which goes with the thread.
pub fn spawn<R: 'static>(model: &Model, run: impl FnOnce(&Model) -> R + 'static) -> thread::JoinHandle<R> {
    let model = model.clone();
    thread::spawn(move || run(&model))
}
