//! A cache in a storm, what is done to it, and what must be true of it.

#[path = "../../../../tests/common/alone.rs"]
mod alone;

use alone::Alone;
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread::{self, JoinHandle};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tidewheel::{Cache, CacheBuilder, ManualClock};

pub(crate) const TTL: Duration = Duration::from_secs(1);

/// Not known yet.
const UNKNOWN: u64 = u64::MAX;

/// Set in values that were written, not loaded.
const WRITTEN: u64 = 1 << 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Load,
    /// With a loader that loads the next key.
    LoadTwo,
    Fail,
    Nothing,
    Panic,
    OutOfTime,
    /// As a future, to its end.
    Await,
    /// As a future that is dropped after a few polls.
    Cancel,
    /// Computes the value.
    Compute,
    /// As a future, to its end.
    AwaitCompute,
    /// As a future that is dropped after a few polls.
    CancelCompute,
    Invalidate,
    Remove,
    RemoveIf,
    InvalidateAll,
    Insert,
    TryInsert,
    Update,
    Touch,
    /// Time passes, and the reaper comes.
    Reap,
    /// Time passes.
    Pass,
}

impl Action {
    pub(crate) const ALL: &[Self] = &[
        Self::Load,
        Self::Load,
        Self::LoadTwo,
        Self::Fail,
        Self::Nothing,
        Self::Panic,
        Self::OutOfTime,
        Self::Await,
        Self::Cancel,
        Self::Compute,
        Self::AwaitCompute,
        Self::CancelCompute,
        Self::Invalidate,
        Self::Remove,
        Self::RemoveIf,
        Self::InvalidateAll,
        Self::Insert,
        Self::TryInsert,
        Self::Update,
        Self::Touch,
        Self::Reap,
        Self::Pass,
    ];
}

/// A version of its key, counted while it is there.
#[derive(Debug)]
pub(crate) struct Value {
    version: u64,
    /// As in the call that made it.
    stored: Arc<AtomicU64>,
    alive: Arc<AtomicU64>,
}

impl Clone for Value {
    fn clone(&self) -> Self {
        self.alive.fetch_add(1, Relaxed);
        let stored = Arc::clone(&self.stored);
        Self { version: self.version, stored, alive: Arc::clone(&self.alive) }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Relaxed);
    }
}

#[derive(Debug, Default)]
struct Key {
    /// What loaders read.
    source: AtomicU64,
    /// What was the source when the last removal or write returned.
    floor: AtomicU64,
    loaders: Alone,
    /// How many calls run that may give a value more time.
    extending: AtomicU64,
    /// When the last of those that did so had returned.
    extended: AtomicU64,
}

/// A call that begins.
#[derive(Clone, Debug)]
struct Asked {
    key: u64,
    /// For its loader.
    number: u64,
    /// When it began.
    at: u64,
    /// When it had returned: what it stores was stored by then. `UNKNOWN` before that.
    stored: Arc<AtomicU64>,
}

/// A clone is for another thread.
#[derive(Clone, Debug)]
pub(crate) struct World {
    cache: Cache<u64, Value>,
    /// How long a value lives after it was stored, or given more time.
    ttl: Option<u64>,
    clock: ManualClock,
    keys: Arc<[Key; 3]>,
    alive: Arc<AtomicU64>,
}

impl World {
    pub(crate) fn lasting() -> Self {
        Self::build(|builder| builder)
    }

    pub(crate) fn build(with: impl FnOnce(CacheBuilder<u64, Value>) -> CacheBuilder<u64, Value>) -> Self {
        let clock = ManualClock::new();
        let builder = with(Cache::builder().shards(1).clock(clock.clone()));
        let cache = builder.build().expect("nothing that can fail");
        let ttl = cache.policy().time_to_live.map(|ttl| ttl.as_nanos() as u64);
        Self { cache, ttl, clock, keys: Arc::default(), alive: Arc::default() }
    }

    pub(crate) fn spawn<R: Send + 'static>(
        &self,
        run: impl FnOnce(&Self) -> R + Send + 'static,
    ) -> JoinHandle<R> {
        let world = self.clone();
        thread::spawn(move || run(&world))
    }

    /// So many keys, threads, and actions of each thread, drawn from these.
    pub(crate) fn storm(self, keys: u64, threads: usize, each: usize, actions: &'static [Action]) {
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                self.spawn(move |world| {
                    for _ in 0..each {
                        let action = actions[thread_rng().gen_range(0..actions.len())];
                        world.act(thread_rng().gen_range(0..keys), action, keys);
                        let most = world.cache.policy().max_capacity;
                        assert!(most.is_none_or(|most| world.cache.weighted_size() <= most));
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        self.end();
    }

    fn value(&self, version: u64, asked: &Asked) -> Value {
        self.alive.fetch_add(1, Relaxed);
        Value { version, stored: Arc::clone(&asked.stored), alive: Arc::clone(&self.alive) }
    }

    fn key(&self, key: u64) -> &Key {
        &self.keys[key as usize]
    }

    /// The time, where it matters.
    fn now(&self) -> u64 {
        if self.ttl.is_some() { self.clock.elapsed().as_nanos() as u64 } else { 0 }
    }

    /// What a loader does, and others meanwhile.
    fn load(&self, asked: &Asked, meanwhile: impl FnOnce(&Self)) -> Value {
        let here = self.begin(asked);
        thread::yield_now();
        meanwhile(self);
        drop(here.1);
        self.value(here.0, asked)
    }

    fn begin(&self, asked: &Asked) -> (u64, Running<'_>) {
        let key = self.key(asked.key);
        key.loaders.enter(asked.number);
        (key.source.load(Relaxed), Running(&key.loaders, asked.number))
    }

    /// A call of a key begins.
    fn asked(&self, key: u64) -> Asked {
        let stored = Arc::new(AtomicU64::new(UNKNOWN));
        Asked { key, number: self.key(key).loaders.ask(), at: self.now(), stored }
    }

    /// And has returned.
    fn returned(&self, asked: &Asked) {
        asked.stored.store(self.now(), Relaxed);
    }

    /// Asks for a key, and looks whether the answer is older than what had been done to the key before, or was over.
    fn ask<R>(&self, asked: &Asked, ask: impl FnOnce() -> R, value: impl FnOnce(&R) -> Option<&Value>) -> R {
        let floor = self.key(asked.key).floor.load(Relaxed);
        let answer = ask();
        self.returned(asked);
        if let Some(value) = value(&answer) {
            let version = value.version;
            assert!(version & WRITTEN != 0 || version >= floor, "loaded before {floor}: {version}");
            self.check_end(asked, value);
        }
        answer
    }

    /// A value is no answer to a call that began after its end.
    ///
    /// Its end is a time to live after it was stored, or given more time. When that was, is known of calls that have returned: it was no later. The call
    /// that stored it may run still. So may one that gave it more time; of those it is known only how many there are.
    fn check_end(&self, asked: &Asked, value: &Value) {
        let (Some(ttl), key) = (self.ttl, self.key(asked.key)) else { return };
        // First: one that begins after that, comes too late for what was seen.
        if key.extending.load(Relaxed) != 0 {
            return;
        }
        let latest = value.stored.load(Relaxed).max(key.extended.load(Relaxed));
        // Who asked before it was stored, may be told of it whenever it ends.
        let is_in_time = asked.at <= latest || asked.at < latest + ttl;
        assert!(is_in_time, "stored at {latest}, and seen by who asked at {}", asked.at);
    }

    fn get_with(&self, key: u64, meanwhile: impl FnOnce(&Self)) {
        let asked = &self.asked(key);
        let ask = || self.cache.get_with(key, || self.load(asked, meanwhile));
        self.ask(asked, ask, |value| Some(value));
    }

    pub(crate) fn get_out_of_time(&self, key: u64, meanwhile: impl FnOnce(&Self)) -> Option<u64> {
        let asked = &self.asked(key);
        let ask = || self.cache.timeout(TTL).get_with(key, || self.load(asked, meanwhile)).ok();
        self.ask(asked, ask, Option::as_ref).map(|value| value.version)
    }

    fn invalidate<R>(&self, key: u64, write: impl FnOnce() -> R) -> R {
        self.key(key).loaders.invalidate(write)
    }

    /// Something that loads of the key which began before are not to outlive.
    fn change(&self, key: u64, change: impl FnOnce(u64)) {
        let version = self.key(key).source.fetch_add(1, Relaxed) + 1;
        self.invalidate(key, || change(version));
        self.key(key).floor.fetch_max(version, Relaxed);
    }

    /// Something that gives a value of the key more time, if it says so.
    fn extend(&self, key: u64, extend: impl FnOnce() -> bool) {
        let key = self.key(key);
        key.extending.fetch_add(1, Relaxed);
        if extend() {
            key.extended.fetch_max(self.now(), Relaxed);
        }
        key.extending.fetch_sub(1, Relaxed);
    }

    fn act(&self, key: u64, action: Action, keys: u64) {
        let asked = &self.asked(key);
        match action {
            Action::Load => self.get_with(key, |_| {}),
            Action::LoadTwo => self.get_with(key, |world| {
                if key + 1 < keys {
                    world.get_with(key + 1, |_| {});
                }
            }),
            Action::Fail => {
                let fail = || {
                    drop(self.load(asked, |_| {}));
                    Err("no")
                };
                let ask = || self.cache.try_get_with(key, fail);
                self.ask(asked, ask, |value| value.as_ref().ok()).ok();
            }
            Action::Nothing => {
                let ask = || {
                    self.cache.optionally_get_with(key, || {
                        drop(self.load(asked, |_| {}));
                        None
                    })
                };
                self.ask(asked, ask, Option::as_ref);
            }
            Action::Panic => {
                let ask = || {
                    self.cache.get_with(key, || {
                        drop(self.load(asked, |_| {}));
                        resume_unwind(Box::new("on purpose"))
                    })
                };
                let asked = catch_unwind(AssertUnwindSafe(|| self.ask(asked, ask, |value| Some(value))));
                // What else panics is a promise that was found broken.
                if let Err(payload) = asked
                    && payload.downcast_ref::<&str>() != Some(&"on purpose")
                {
                    resume_unwind(payload);
                }
            }
            Action::OutOfTime => drop(self.get_out_of_time(key, |_| {})),
            Action::Compute => {
                let compute = || self.cache.entry(key).and_upsert_with(|_| self.load(asked, |_| {}));
                self.ask(asked, compute, |entry| Some(entry.value()));
            }
            Action::Await | Action::AwaitCompute => {
                let mut call = self.call(key, action);
                let asked = &call.asked.clone();
                self.ask(asked, || call.finish(), |value| Some(value));
            }
            Action::Cancel | Action::CancelCompute => {
                let mut call = self.call(key, action);
                for _ in 0..thread_rng().gen_range(1..4) {
                    if call.poll().is_some() {
                        break;
                    }
                    thread::yield_now();
                }
                // The turn is passed on first, and what the future holds is dropped after that.
                if call.is_loading.swap(false, Relaxed) {
                    self.key(key).loaders.leave(call.asked.number);
                }
            }
            Action::Invalidate => self.change(key, |_| {
                let _ = self.cache.invalidate(&key);
            }),
            Action::Remove => self.change(key, |_| drop(self.cache.remove(&key))),
            Action::RemoveIf => drop(self.invalidate(key, || self.cache.remove_if(&key, |_| true))),
            Action::InvalidateAll => {
                let versions = self.keys.each_ref().map(|key| key.source.fetch_add(1, Relaxed) + 1);
                self.keys.iter().for_each(|key| key.loaders.begin());
                self.cache.invalidate_all();
                self.keys.iter().for_each(|key| key.loaders.end());
                for (key, version) in self.keys.iter().zip(versions) {
                    key.floor.fetch_max(version, Relaxed);
                }
            }
            Action::Insert => {
                self.change(key, |version| self.cache.insert(key, self.value(version | WRITTEN, asked)));
                self.returned(asked);
            }
            Action::TryInsert => {
                drop(self.invalidate(key, || self.cache.try_insert(key, self.value(WRITTEN, asked))));
                self.returned(asked);
            }
            Action::Update => {
                self.extend(key, || self.invalidate(key, || self.cache.update(&key, Value::clone)));
            }
            Action::Touch => self.extend(key, || self.cache.touch(&key)),
            Action::Reap => self.clock.advance(TTL / 2),
            Action::Pass => self.clock.advance_without_sweeping(TTL / 2),
        }
    }

    /// A load or a computation as a future, whose own one takes two polls.
    fn call(&self, key: u64, action: Action) -> Call {
        let world = self.clone();
        let call = self.asked(key);
        let asked = call.clone();
        let is_loading = Arc::new(AtomicBool::new(false));
        let loading = Arc::clone(&is_loading);
        let future = async move {
            let load = async || {
                let (version, running) = world.begin(&asked);
                std::mem::forget(running);
                loading.store(true, Relaxed);
                let mut polls = 0;
                std::future::poll_fn(|context| {
                    polls += 1;
                    context.waker().wake_by_ref();
                    if polls < 2 { Poll::Pending } else { Poll::Ready(()) }
                })
                .await;
                loading.store(false, Relaxed);
                world.key(key).loaders.leave(asked.number);
                world.value(version, &asked)
            };
            if matches!(action, Action::Await | Action::Cancel) {
                return world.cache.get_with_async(key, load()).await;
            }
            world.cache.entry(key).and_upsert_with_async(async |_| load().await).await.into_value()
        };
        Call { future: Box::pin(future), is_loading, asked: call, woken: Arc::default() }
    }

    /// Nobody leads or waits, the ledger agrees, what is stored is not older than it may be, and no value is left.
    pub(crate) fn end(self) {
        for key in 0..self.keys.len() as u64 {
            self.ask(&self.asked(key), || self.cache.peek(&key), Option::as_ref);
            self.get_with(key, |_| {});
        }
        self.cache.validate();
        let alive = Arc::clone(&self.alive);
        drop(self);
        assert_eq!(alive.load(Relaxed), 0, "values are left, or went twice");
    }
}

/// While a loader runs; also if it panics.
struct Running<'w>(&'w Alone, u64);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

struct Call {
    future: Pin<Box<dyn Future<Output = Value>>>,
    /// Its own loader has begun, and has not ended.
    is_loading: Arc<AtomicBool>,
    asked: Asked,
    woken: Arc<Flag>,
}

#[derive(Debug, Default)]
struct Flag {
    is_up: AtomicBool,
    thread: Mutex<Option<thread::Thread>>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.is_up.store(true, Relaxed);
        let thread = self.thread.lock().unwrap().take();
        if let Some(thread) = thread {
            thread.unpark();
        }
    }
}

impl Call {
    fn poll(&mut self) -> Option<Value> {
        self.woken.is_up.store(false, Relaxed);
        let waker = Waker::from(Arc::clone(&self.woken));
        match self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    fn finish(&mut self) -> Value {
        loop {
            if let Some(value) = self.poll() {
                return value;
            }
            loop {
                *self.woken.thread.lock().unwrap() = Some(thread::current());
                if self.woken.is_up.load(Relaxed) {
                    break;
                }
                thread::park();
            }
        }
    }
}
