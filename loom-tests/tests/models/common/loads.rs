//! Caches for models of loading: values that are plain numbers, made from a *source* that changes, by loaders that
//! notice when another one runs for the same key that was not invalidated; and futures that are polled by hand.
//!
//! The values are not in loom's sight: calls share what one of them made in an `Arc` of std's, which loom does not
//! know. That nodes are not read after they were freed is for the other models.

use super::alone::Alone;
use super::cache::{Fixed, TTL};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tidewheel::{Cache, CacheBuilder, Entry, ManualClock, RemovalCause};

pub type Numbers = Cache<u64, u64, Fixed>;

/// A cache in a model, and what belongs to it. A clone is for another thread.
#[derive(Clone, Debug)]
pub struct Loads {
    pub cache: Numbers,
    pub clock: ManualClock,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// What loaders make. In loom's sight, and it orders nothing: what a loader sees of it, the cache's locks bring.
    source: AtomicUsize,
    /// Of keys 0, 1 and 2. Not in loom's sight.
    loaders: [Alone; 3],
    runs: AtomicU64,
    told: Mutex<Vec<(u64, u64, RemovalCause)>>,
    /// Where loom may have another thread go on.
    step: AtomicUsize,
}

impl Loads {
    /// Entries live for ever; room for a few without growth.
    pub fn lasting() -> Self {
        Self::build(|builder| builder)
    }

    /// Entries live for `TTL`.
    pub fn expiring() -> Self {
        Self::build(|builder| builder.time_to_live(TTL))
    }

    /// As the builder is told, with one shard, a listener, and a clock that stands still.
    pub fn build(with: impl FnOnce(CacheBuilder<u64, u64>) -> CacheBuilder<u64, u64>) -> Self {
        let clock = ManualClock::new();
        let shared = Arc::new(Shared {
            source: AtomicUsize::new(1),
            loaders: Default::default(),
            runs: AtomicU64::new(0),
            told: Mutex::new(Vec::new()),
            step: AtomicUsize::new(0),
        });
        let heard = Arc::clone(&shared);
        let builder = with(Cache::builder().shards(1).initial_capacity(4).clock(clock.clone()));
        let builder = builder.eviction_listener(move |&key, &value, cause| {
            heard.told.lock().unwrap().push((key, value, cause));
        });
        let cache = builder.build_with_hasher(Fixed).expect("nothing that can fail");
        // As in `Model::build`.
        drop(cache.read_guard());
        Self { cache, clock, shared }
    }

    /// From now on loaders that begin make this.
    pub fn set_source(&self, value: usize) {
        self.shared.source.store(value, Ordering::Relaxed);
    }

    /// Runs a removal or a write of a key, after which it may be loaded beside an old loader.
    pub fn invalidate<R>(&self, key: u64, write: impl FnOnce(&Numbers) -> R) -> R {
        self.shared.loaders[key as usize].invalidate(|| write(&self.cache))
    }

    /// For the loader of a call that begins.
    pub fn ask(&self, key: u64) -> u64 {
        self.shared.loaders[key as usize].ask()
    }

    /// What a loader of a key does, whose call has asked: reads the source, and takes its time.
    pub fn load(&self, key: u64, asked: u64) -> u64 {
        let loaders = &self.shared.loaders[key as usize];
        loaders.enter(asked);
        self.shared.runs.fetch_add(1, Relaxed);
        let value = self.shared.source.load(Ordering::Relaxed) as u64;
        self.shared.step.fetch_add(1, Ordering::Relaxed);
        loaders.leave(asked);
        value
    }

    pub fn get_with(&self, key: u64) -> u64 {
        let asked = self.ask(key);
        self.cache.get_with(key, || self.load(key, asked))
    }

    /// Asks for several keys. `also` runs in the closure, after those that are missing are loaded.
    pub fn get_many_with(&self, keys: &[u64], also: impl Fn(&Self)) -> Vec<Option<u64>> {
        let asked: Vec<_> = keys.iter().map(|&key| (key, self.ask(key))).collect();
        self.cache.get_many_with(keys.iter().copied(), |missing| {
            let missing = asked.iter().filter(|(key, _)| missing.contains(&key));
            let pairs: Vec<_> = missing.map(|&(key, asked)| (key, self.load(key, asked))).collect();
            also(self);
            pairs
        })
    }

    /// Waits for others no longer than an instant.
    pub fn get_at_once(&self, key: u64) -> Option<u64> {
        let asked = self.ask(key);
        self.cache.timeout(Duration::from_secs(1)).get_with(key, || self.load(key, asked)).ok()
    }

    /// A call that is polled by hand, with a loader as above.
    pub fn call(&self, key: u64) -> Task<u64> {
        let (model, asked) = (self.clone(), self.ask(key));
        Task::new(async move { model.cache.get_with_async(key, async { model.load(key, asked) }).await })
    }

    /// The same with a loader that comes to no end.
    pub fn endless_call(&self, key: u64) -> Task<u64> {
        let model = self.clone();
        Task::new(async move { model.cache.get_with_async(key, std::future::pending()).await })
    }

    /// Makes a key's value one more than there is, or ten.
    pub fn count(&self, key: u64) -> u64 {
        let asked = self.ask(key);
        let more = |old: Option<Entry<u64, u64>>| {
            self.load(key, asked);
            old.map_or(10, |old| old.into_value() + 1)
        };
        self.cache.entry(key).and_upsert_with(more).into_value()
    }

    /// The same as a call that is polled by hand.
    pub fn count_call(&self, key: u64) -> Task<u64> {
        let (model, asked) = (self.clone(), self.ask(key));
        Task::new(async move {
            let more = async |old: Option<Entry<u64, u64>>| {
                model.load(key, asked);
                old.map_or(10, |old| old.into_value() + 1)
            };
            model.cache.entry(key).and_upsert_with_async(more).await.into_value()
        })
    }

    /// The same with a closure that comes to no end.
    pub fn endless_count(&self, key: u64) -> Task<()> {
        let model = self.clone();
        Task::new(async move {
            model.cache.entry(key).and_upsert_with_async(|_| std::future::pending()).await;
        })
    }

    /// How many loaders were run.
    pub fn runs(&self) -> u64 {
        self.shared.runs.load(Relaxed)
    }

    pub fn see(&self, key: u64) -> Option<u64> {
        self.cache.peek(&key)
    }

    /// What the listener was told, by keys and numbers.
    pub fn told(&self) -> Vec<(u64, u64, RemovalCause)> {
        let mut told = self.shared.told.lock().unwrap().clone();
        told.sort_by_key(|&(key, value, _)| (key, value));
        told
    }

    /// The end of a model: the ledger agrees, and nobody leads or waits any more.
    pub fn end(self) {
        for key in 1..=2 {
            assert!(self.get_at_once(key).is_some(), "a flight that nobody ends");
        }
        self.cache.validate();
    }
}

/// Starts a thread on a handle of its own, which goes with the thread.
pub fn spawn<R: 'static>(model: &Loads, run: impl FnOnce(&Loads) -> R + 'static) -> thread::JoinHandle<R> {
    let model = model.clone();
    thread::spawn(move || run(&model))
}

/// A future that is polled by hand. Dropped before it is done, it is cancelled.
pub struct Task<R> {
    future: Pin<Box<dyn Future<Output = R>>>,
    woken: Arc<Flag>,
}

/// Whether a task was woken, and the thread that waits for that, if one does.
#[derive(Debug, Default)]
struct Flag {
    is_up: Mutex<bool>,
    thread: Mutex<Option<thread::Thread>>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        *self.is_up.lock().unwrap() = true;
        if let Some(thread) = self.thread.lock().unwrap().take() {
            thread.unpark();
        }
    }
}

impl<R> Task<R> {
    pub fn new(future: impl Future<Output = R> + 'static) -> Self {
        Self { future: Box::pin(future), woken: Arc::default() }
    }

    pub fn poll(&mut self) -> Option<R> {
        *self.woken.is_up.lock().unwrap() = false;
        let waker = Waker::from(Arc::clone(&self.woken));
        match self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    /// Polled, it has to wait.
    pub fn must_wait(mut self) -> Self {
        assert!(self.poll().is_none(), "there is nothing to wait for");
        self
    }

    /// Goes on with it on this thread, which sleeps while it is not woken.
    pub fn finish(mut self) -> R {
        loop {
            if let Some(output) = self.poll() {
                return output;
            }
            loop {
                *self.woken.thread.lock().unwrap() = Some(thread::current());
                if *self.woken.is_up.lock().unwrap() {
                    break;
                }
                thread::park();
            }
        }
    }

    /// Goes on with it, which must have been woken.
    pub fn finish_at_once(mut self) -> R {
        assert!(*self.woken.is_up.lock().unwrap(), "nobody woke it");
        self.poll().expect("it was woken for nothing")
    }
}
