//! Get, or load once, with a load that goes on without the call that began it: on an executor of the user's.
//!
//! The turn is the job's, and the call waits in its own flight like any other that asks for the key. So whoever gives up leaves a load
//! that others wait for, and that is stored in the end. Knows no runtime.

use super::outcome::Made;
use super::outcome::{
    fallible, option, optional, result, served, value, wants_option, wants_result, wants_value,
};
use super::refresh::{Renewal, Stale};
use crate::cache::Cache;
use crate::cache::loading::Loading;
use crate::cache::turn::{Beginning, Turn, Wait};
use crate::cache::turn_aside::lost_load;
use crate::error::{LoadError, TimedOut};
use crate::hash::HashBits;
use crate::inflight::{Asked, Call, Hold, Outcome, Wants};
use crate::key_value::{Key, Value};
use crate::sync::{Alarm, catch};
use std::hash::BuildHasher;
use std::time::Duration;

/// A job for an executor: it loads one key.
///
/// ```
/// use std::sync::mpsc::channel;
/// use std::time::Duration;
/// use tidewheel::LoadJob;
///
/// let cache = tidewheel::Cache::new(100);
/// // A pool of one thread:
/// let (jobs, queue) = channel::<LoadJob>();
/// let worker = std::thread::spawn(move || queue.into_iter().for_each(|job| job()));
/// let loaded = cache.get_with_detached("k", Duration::MAX, || 7, |job| jobs.send(job).unwrap());
/// assert_eq!(loaded, Ok(7));
/// # drop(jobs);
/// # worker.join().unwrap();
/// ```
pub type LoadJob = Box<dyn FnOnce() + Send>;

/// A task for an executor of futures: it loads one key.
///
/// ```
/// # futures_lite::future::block_on(async {
/// use std::sync::mpsc::channel;
/// use tidewheel::LoadTask;
///
/// let cache = tidewheel::Cache::new(100);
/// let (tasks, queue) = channel::<LoadTask>();
/// let worker = std::thread::spawn(move || queue.into_iter().for_each(futures_lite::future::block_on));
/// let send = |task| tasks.send(task).unwrap();
/// assert_eq!(cache.get_with_detached_async("k", async { 7 }, send).await, 7);
/// # drop(tasks);
/// # worker.join().unwrap();
/// # });
/// ```
#[cfg(feature = "async")]
pub type LoadTask = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// A load on its way to the executor, or there.
struct Job<K, V, S, I>
where
    K: Key,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    cache: Cache<K, V, S>,
    hash: HashBits,
    /// `None` once it has begun.
    hold: Option<Hold<K, V>>,
    loading: Loading,
    /// What is loaded anew, if something is.
    stale: Option<Stale<V>>,
    /// Dropped after the turn was given back, as its destructor may ask for the key.
    init: Option<I>,
}

impl<K, V, S, I> Drop for Job<K, V, S, I>
where
    K: Key,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take() {
            drop(Turn { cache: &self.cache, hash: self.hash, hold, loading: self.loading.take() });
        }
    }
}

impl<K, V, S, I> Job<K, V, S, I>
where
    K: Key,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    fn new(turn: &mut Turn<'_, K, V, S>, stale: Option<Stale<V>>, init: I) -> Self {
        let hold = std::mem::replace(&mut turn.hold, Hold { ticket: None, call: None });
        let (cache, hash, loading) = (turn.cache.clone(), turn.hash, turn.loading.take());
        Self { cache, hash, hold: Some(hold), loading, stale, init: Some(init) }
    }

    /// What it works with: what is dropped first comes last.
    fn begin(&mut self) -> (Option<I>, Lead<'_, K, V, S>) {
        let hold = self.hold.take().expect("a job begins once");
        let turn = Turn { cache: &self.cache, hash: self.hash, hold, loading: self.loading.take() };
        (self.init.take(), Lead { turn, stale: self.stale.take() })
    }

    fn run(mut self)
    where
        I: FnOnce() -> Made<V>,
    {
        let (init, Lead { turn, stale }) = self.begin();
        // After what else there is, so that it is dropped first.
        let mut turn = turn;
        let made = turn.call(init.expect("it has not run"));
        complete(Lead { turn, stale }, made);
    }

    #[cfg(feature = "async")]
    async fn run_async(mut self)
    where
        I: Future<Output = Made<V>>,
    {
        let (init, Lead { turn, stale }) = self.begin();
        let mut init = std::pin::pin!(init);
        // As in `run`.
        let mut turn = turn;
        let made = turn.drive(init.as_mut().as_pin_mut().expect("it has not run")).await;
        complete(Lead { turn, stale }, made);
        init.set(None);
    }
}

fn complete<K, V, S>(Lead { turn, stale }: Lead<'_, K, V, S>, made: Made<V>)
where
    K: Key,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    match stale {
        Some(stale) => drop(turn.cache.end_renewal(Renewal { stale, turn }, made)),
        None => drop(turn.complete(made)),
    }
}

/// A turn, and what is to be loaded anew in it, if something is.
struct Lead<'c, K, V, S> {
    turn: Turn<'c, K, V, S>,
    stale: Option<Stale<V>>,
}

/// How a call begins.
enum Start<'c, K, V, S> {
    /// With a value that is there: nothing is allocated for it.
    Hit(V),
    /// As a load does.
    Asks(Beginning<'c, K, V, S>),
    /// With its turn to load anew what is old.
    Anew(Lead<'c, K, V, S>),
}

/// What there is to do for a call.
enum Begun<'c, K, V, S> {
    /// Nothing more.
    Done(Outcome<V>),
    /// To wait for its own load.
    Waits(Wait<'c, K, V, S>),
}

/// The turn has come to this call, which was only to be told an outcome. It loads nothing: the job was the load, and is counted.
#[cold]
fn lost<K, V, S>(mut turn: Turn<'_, K, V, S>) -> ! {
    turn.forgo_loading();
    drop(turn);
    lost_load()
}

/// Load on, whatever becomes of the call.
impl<K, V, S> Cache<K, V, S>
where
    K: Key + Clone,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// As [`get_with`](Self::get_with), but the closure runs as a job on an executor, and goes on
    /// if this call gives up. Each call waits for the given time at most. Thus a slow source is
    /// asked only once, however many impatient calls there are, and its answer is cached.
    ///
    /// If this call is the one that loads, `executor` is given the job, to run wherever it likes:
    /// on a thread of its own, or of a pool. An old value
    /// ([`refresh_after_write`](crate::CacheBuilder::refresh_after_write)) is returned at once, and
    /// the job loads it again.
    ///
    /// # Errors
    ///
    /// [`TimedOut`] if neither this load nor another one of the key was done by then.
    ///
    /// # Panics
    ///
    /// If the closure panics, or the executor drops the job, before this call gave up; then another
    /// call that waits for the key loads it. Also if the closure asks for the same key, as with
    /// [`get_with`](Self::get_with). A panic of the executor itself is caught: if it had not handed the job
    /// on, the job is dropped, and else it changes nothing.
    ///
    /// # Concurrency
    ///
    /// As [`get_with`](Self::get_with). The executor is called on this thread, under no lock. A job keeps the cache alive until it ends, or is dropped.
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache = tidewheel::Cache::new(100);
    /// let run = |job| drop(std::thread::spawn(job));
    /// let (answer, source) = std::sync::mpsc::channel();
    /// let slow = move || source.recv().unwrap();
    /// assert!(cache.get_with_detached("k", Duration::from_millis(1), slow, run).is_err()); // in a hurry
    /// answer.send(7).unwrap();
    /// while cache.get("k").is_none() {
    ///     std::thread::yield_now(); // and it is loaded all the same
    /// }
    /// assert_eq!(cache.get("k"), Some(7));
    /// ```
    pub fn get_with_detached(
        &self,
        key: K,
        timeout: Duration,
        init: impl FnOnce() -> V + Send + 'static,
        executor: impl FnOnce(LoadJob),
    ) -> Result<V, TimedOut> {
        let init = || Made::value(init());
        let loaded = self.load_detached(key, wants_value(), timeout, init, executor);
        loaded.map(value).ok_or(TimedOut { timeout })
    }

    /// As [`get_with_detached`](Self::get_with_detached), with a closure that may fail.
    ///
    /// # Errors
    ///
    /// [`LoadError::Failed`] with the closure's error, as that of [`try_get_with`](Self::try_get_with); [`LoadError::TimedOut`] if neither this load nor
    /// another one of the key was done by then.
    ///
    /// # Panics
    ///
    /// As [`get_with_detached`](Self::get_with_detached).
    ///
    /// # Concurrency
    ///
    /// As [`get_with_detached`](Self::get_with_detached).
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache = tidewheel::Cache::new(100);
    /// let (minute, run) = (Duration::from_secs(60), |job| drop(std::thread::spawn(job)));
    /// assert!(cache.try_get_with_detached("k", minute, || "seven".parse::<u32>(), run).is_err());
    /// assert_eq!(cache.try_get_with_detached("k", minute, || "7".parse::<u32>(), run).unwrap(), 7);
    /// ```
    pub fn try_get_with_detached<E>(
        &self,
        key: K,
        timeout: Duration,
        init: impl FnOnce() -> Result<V, E> + Send + 'static,
        executor: impl FnOnce(LoadJob),
    ) -> Result<V, LoadError<E>>
    where
        E: Send + Sync + 'static,
    {
        let init = || fallible(init());
        match self.load_detached(key, wants_result::<E>(), timeout, init, executor) {
            Some(outcome) => result(outcome).map_err(LoadError::Failed),
            None => Err(LoadError::TimedOut(TimedOut { timeout })),
        }
    }

    /// As [`get_with_detached`](Self::get_with_detached), with a closure that may say that there is no value.
    ///
    /// # Errors
    ///
    /// As [`get_with_detached`](Self::get_with_detached).
    ///
    /// # Panics
    ///
    /// As [`get_with_detached`](Self::get_with_detached).
    ///
    /// # Concurrency
    ///
    /// As [`get_with_detached`](Self::get_with_detached).
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache: tidewheel::Cache<_, u32> = tidewheel::Cache::new(100);
    /// let (minute, run) = (Duration::from_secs(60), |job| drop(std::thread::spawn(job)));
    /// assert_eq!(cache.optionally_get_with_detached("k", minute, || None, run), Ok(None));
    /// ```
    pub fn optionally_get_with_detached(
        &self,
        key: K,
        timeout: Duration,
        init: impl FnOnce() -> Option<V> + Send + 'static,
        executor: impl FnOnce(LoadJob),
    ) -> Result<Option<V>, TimedOut> {
        let init = || optional(init());
        let loaded = self.load_detached(key, wants_option(), timeout, init, executor);
        loaded.map(option).ok_or(TimedOut { timeout })
    }

    fn load_detached(
        &self,
        key: K,
        wants: Wants,
        timeout: Duration,
        init: impl FnOnce() -> Made<V> + Send + 'static,
        executor: impl FnOnce(LoadJob),
    ) -> Option<Outcome<V>> {
        let alarm = Alarm::after(timeout);
        let lead = match self.begin_detached(key, wants) {
            Start::Hit(value) => return Some(served(Outcome::Value(value), (init, executor))),
            Start::Anew(lead) => lead,
            Start::Asks(beginning) => match beginning.settle(wants, &alarm)? {
                Ok((outcome, _)) => return Some(served(outcome, (init, executor))),
                Err(turn) => Lead { turn, stale: None },
            },
        };
        match self.launch(lead, wants, init, |job| executor(Box::new(move || job.run()))) {
            Begun::Done(outcome) => Some(outcome),
            Begun::Waits(wait) => match Beginning::Waits(wait).settle(wants, &alarm)? {
                Ok((outcome, _)) => Some(outcome),
                Err(turn) => lost(turn),
            },
        }
    }

    /// How such a call begins.
    fn begin_detached(&self, key: K, wants: Wants) -> Start<'_, K, V, S> {
        match self.hit(&key) {
            Ok(value) => {
                drop(key);
                Start::Hit(value)
            }
            Err(None) => Start::Asks(self.begin_load(Asked::Shared(Call::new(key)), wants)),
            Err(Some(stale)) => match self.begin_renewal(key, stale) {
                Err(value) => Start::Hit(value),
                Ok(Renewal { stale, turn }) => Start::Anew(Lead { turn, stale: Some(stale) }),
            },
        }
    }

    /// Hands a job to the executor.
    fn launch<'c, I>(
        &'c self,
        Lead { turn, stale }: Lead<'c, K, V, S>,
        wants: Wants,
        init: I,
        execute: impl FnOnce(Job<K, V, S, I>),
    ) -> Begun<'c, K, V, S> {
        // After what else there is, so that it is dropped first.
        let mut turn = turn;
        // An old value is served, and nobody waits. Else this call waits in its own flight; it
        // stands aside while the executor runs, and until it listens.
        let begun = match &stale {
            Some(stale) => Begun::Done(Outcome::Value(turn.run(|| stale.value().clone()))),
            None => Begun::Waits(turn.accompany(wants)),
        };
        turn.loading.leave();
        let job = Job::new(&mut turn, stale, init);
        // The executor is user code. What it drops, or what dies with it, gives its turn back.
        catch(|| execute(job));
        begun
    }
}

#[cfg(feature = "async")]
mod tasks {
    //! The same for async code.

    use super::super::outcome::{fallible, option, optional, result, value};
    use super::super::outcome::{wants_option, wants_result, wants_value};
    use super::{Beginning, Begun, Cache, Lead, LoadTask, Made, Outcome, Start, Wants, lost, served};
    use crate::key_value::{Key, Value};
    use crate::sync::Arc;
    use std::hash::BuildHasher;

    impl<K, V, S> Cache<K, V, S>
    where
        K: Key + Clone,
        V: Value + Clone,
        S: BuildHasher + Send + Sync + 'static,
    {
        /// As [`get_with_async`](Self::get_with_async), but the future runs as a task on an executor, and
        /// goes on if this call is dropped: in a `timeout`, or a `select`. Thus a slow source is asked only
        /// once, however many impatient calls there are, and its answer is cached.
        ///
        /// If this call is the one that loads, `executor` is given the task. An old value
        /// ([`refresh_after_write`](crate::CacheBuilder::refresh_after_write)) is returned at once,
        /// and the task loads it again.
        ///
        /// # Panics
        ///
        /// If the future panics, or the executor drops the task, while this call waits; then
        /// another call that waits for the key loads it. Also if the future asks for the same key,
        /// as with [`get_with_async`](Self::get_with_async).
        ///
        /// # Concurrency
        ///
        /// As [`get_with_async`](Self::get_with_async). Cancel safe: a call that is dropped leaves,
        /// and its load goes on. A task keeps the cache alive until it ends or is dropped.
        ///
        /// ```
        /// # use futures_lite::future::block_on;
        /// let cache = tidewheel::Cache::new(100);
        /// // With tokio: `|task| drop(tokio::spawn(task))`
        /// let spawn = |task| drop(std::thread::spawn(|| block_on(task)));
        /// assert_eq!(block_on(cache.get_with_detached_async("k", async { 7 }, spawn)), 7);
        /// ```
        pub async fn get_with_detached_async(
            &self,
            key: K,
            init: impl Future<Output = V> + Send + 'static,
            executor: impl FnOnce(LoadTask),
        ) -> V {
            let init = async { Made::value(init.await) };
            value(self.load_detached_async(key, wants_value(), init, executor).await)
        }

        /// As [`get_with_detached_async`](Self::get_with_detached_async), with a future that may fail.
        ///
        /// # Errors
        ///
        /// As [`try_get_with`](Self::try_get_with).
        ///
        /// # Panics
        ///
        /// As [`get_with_detached_async`](Self::get_with_detached_async).
        ///
        /// # Concurrency
        ///
        /// As [`get_with_detached_async`](Self::get_with_detached_async).
        ///
        /// ```
        /// # use futures_lite::future::block_on;
        /// let cache: tidewheel::Cache<_, u32> = tidewheel::Cache::new(100);
        /// let spawn = |task| drop(std::thread::spawn(|| block_on(task)));
        /// let load = async { "7".parse::<u32>() };
        /// assert_eq!(block_on(cache.try_get_with_detached_async("k", load, spawn)), Ok(7));
        /// ```
        pub async fn try_get_with_detached_async<E>(
            &self,
            key: K,
            init: impl Future<Output = Result<V, E>> + Send + 'static,
            executor: impl FnOnce(LoadTask),
        ) -> Result<V, Arc<E>>
        where
            E: Send + Sync + 'static,
        {
            let init = async { fallible(init.await) };
            result(self.load_detached_async(key, wants_result::<E>(), init, executor).await)
        }

        /// As [`get_with_detached_async`](Self::get_with_detached_async), with a future that may say that there is no value.
        ///
        /// # Panics
        ///
        /// As [`get_with_detached_async`](Self::get_with_detached_async).
        ///
        /// # Concurrency
        ///
        /// As [`get_with_detached_async`](Self::get_with_detached_async).
        ///
        /// ```
        /// # use futures_lite::future::block_on;
        /// let cache: tidewheel::Cache<_, u32> = tidewheel::Cache::new(100);
        /// let spawn = |task| drop(std::thread::spawn(|| block_on(task)));
        /// assert_eq!(block_on(cache.optionally_get_with_detached_async("k", async { None }, spawn)), None);
        /// ```
        pub async fn optionally_get_with_detached_async(
            &self,
            key: K,
            init: impl Future<Output = Option<V>> + Send + 'static,
            executor: impl FnOnce(LoadTask),
        ) -> Option<V> {
            let init = async { optional(init.await) };
            option(self.load_detached_async(key, wants_option(), init, executor).await)
        }

        async fn load_detached_async(
            &self,
            key: K,
            wants: Wants,
            init: impl Future<Output = Made<V>> + Send + 'static,
            executor: impl FnOnce(LoadTask),
        ) -> Outcome<V> {
            let lead = match self.begin_detached(key, wants) {
                Start::Hit(value) => return served(Outcome::Value(value), (init, executor)),
                Start::Anew(lead) => lead,
                Start::Asks(beginning) => match beginning.settle_async(wants).await {
                    Ok((outcome, _)) => return served(outcome, (init, executor)),
                    Err(turn) => Lead { turn, stale: None },
                },
            };
            let begun = self.launch(lead, wants, init, |job| executor(Box::pin(job.run_async())));
            match begun {
                Begun::Done(outcome) => outcome,
                Begun::Waits(wait) => match Beginning::Waits(wait).settle_async(wants).await {
                    Ok((outcome, _)) => outcome,
                    Err(turn) => lost(turn),
                },
            }
        }
    }
}
