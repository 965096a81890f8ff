//! The reaper: one thread that visits caches when something in them is due, and sleeps otherwise.
//!
//! It knows caches only as [`Sweep`]: when to come again, and whether garbage still waits. It knows
//! no shards, entries or values, and keeps no cache alive while it sleeps.
//!
//! # How a wake-up is never lost
//!
//! Each registered cache has a *promise*: the tick by which the thread will have come. If that is
//! early enough, [`Registration::wake`] does nothing. The thread revokes all promises (sets them to
//! `NEVER`) before it sweeps, and makes new ones from the answers before it sleeps. So if a writer
//! files something during a sweep, the sweep sees it, or the writer finds the promise revoked and
//! sets `State::wake_at`. The thread reads that under the lock before it sleeps. Both sides store
//! before they load: hence two fences.
//!
//! # Locks
//!
//! One mutex, held for moments, under which no code of a cache runs. It is the last in the order of
//! locks. Callers of `wake` hold no lock. A fork alone takes it after shards' locks.

mod round;

use crate::process::fork::{self, Heir, Held, Kept, undisturbed};
use crate::process::without_signals;
use crate::roster::Roster;
use crate::sync::atomic::{Ordering, fence};
use crate::sync::thread::{self, JoinHandle, ThreadId};
use crate::sync::{Alarm, Arc, Condvar, Mutex, Weak, lazy_static, wait, wait_timeout};
use crate::time::{Span, Tick, Timeline};
pub(crate) use round::Sweep;
use round::{Member, Promise, Round, Work};
use std::fmt;
use std::io;

/// Removes expired entries from caches: by a thread, or only when you call for it.
///
/// Any number of caches share one reaper. Its thread starts with the first cache, sleeps while
/// nothing can expire and nothing waits to be dropped, and ends by itself after the last cache.
/// Clones are handles to the same reaper.
///
/// Destructors of values run on it, and so do the listeners of the expired entries that it finds. One
/// that blocks delays the release of memory in every cache of the reaper; no entry stays visible longer.
///
/// The thread blocks all signals except those that it raises itself (such as SIGSEGV), so that it
/// never takes one for which the program waits elsewhere. A thread that a listener starts inherits
/// that; a process that it starts through [`Command`](std::process::Command) does not.
///
/// In the child of a fork there is no thread at first. It starts when a call there leaves the reaper
/// something to do, now or later (as a write of an entry that will expire does), or when a cache is
/// built with this reaper. Then it serves all of the reaper's caches. If the thread could not be
/// started, a later call that leaves the reaper something to do tries again.
///
/// ```
/// use std::time::Duration;
/// use tidewheel::{Cache, Reaper};
///
/// let reaper = Reaper::dedicated();
/// let cache = Cache::builder()
///     .time_to_live(Duration::from_secs(60))
///     .reaper(reaper.clone())
///     .build()?;
/// cache.insert("k", 1);
/// drop(cache);
/// reaper.join(); // its thread is gone
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[derive(Clone)]
pub struct Reaper(Kind);

#[derive(Clone)]
enum Kind {
    Shared(Arc<Core>),
    Dedicated(Arc<Core>),
    Manual,
}

lazy_static! {
    static ref SHARED: Arc<Core> = Arc::new(Core { is_shared: true, ..Core::new() });
}

impl Reaper {
    /// Returns the default reaper: one thread for all caches of the process that name no other.
    ///
    /// ```
    /// use tidewheel::{Cache, Reaper};
    /// let cache = Cache::builder()
    ///     .time_to_live(std::time::Duration::from_millis(1))
    ///     .reaper(Reaper::shared())
    ///     .build()?;
    /// cache.insert("k", 1);
    /// while cache.entry_count() > 0 {
    ///     std::thread::yield_now(); // it comes within two seconds
    /// }
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[must_use]
    pub fn shared() -> Self {
        Self(Kind::Shared(undisturbed(|| Arc::clone(&SHARED))))
    }

    /// Returns a reaper with a thread of its own, for caches whose listeners or destructors are
    /// slow, and for callers that [`join`](Self::join) it. Several caches may share it.
    ///
    /// ```
    /// use tidewheel::{Cache, Reaper};
    /// let reaper = Reaper::dedicated();
    /// let names = Cache::builder().reaper(reaper.clone()).build()?;
    /// let routes = Cache::builder().reaper(reaper).build()?;
    /// names.insert(1, "one");
    /// routes.insert("/", 1);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[must_use]
    pub fn dedicated() -> Self {
        Self(Kind::Dedicated(Arc::new(Core::new())))
    }

    /// Returns a reaper without a thread: expired entries are invisible on time all the same, but
    /// leave memory only in [`run_pending_tasks`](crate::Cache::run_pending_tasks), when a
    /// [`ManualClock`](crate::ManualClock) advances, or when a call writes to their key or needs their room.
    ///
    /// ```
    /// use tidewheel::{Cache, Reaper};
    /// let cache = Cache::builder().reaper(Reaper::manual()).build()?;
    /// cache.insert("k", 1);
    /// cache.run_pending_tasks();
    /// assert_eq!(cache.get("k"), Some(1));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[must_use]
    pub fn manual() -> Self {
        Self(Kind::Manual)
    }

    /// Waits until the reaper's thread has ended, that is, until its last cache is gone. Returns at
    /// once if there is no thread. (The shared reaper counts as having none once its last cache is
    /// gone and no call waits here: its thread is about to end then, and nothing of it stays.)
    ///
    /// # Concurrency
    ///
    /// A caller that still holds one of the reaper's caches waits for ever. On the reaper's own
    /// thread (in a listener or a destructor) the call returns at once, since the thread cannot
    /// wait for its own end. A cache that is built meanwhile is waited for, too, if it comes before
    /// the thread has ended.
    ///
    /// ```
    /// use tidewheel::{Cache, Reaper};
    /// let reaper = Reaper::dedicated();
    /// reaper.join(); // there is no thread yet
    /// let cache: Cache<u64, u64> = Cache::builder().reaper(reaper.clone()).build()?;
    /// drop(cache);
    /// reaper.join();
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn join(&self) {
        if let Some(core) = self.core() {
            core.join();
        }
    }

    /// Returns whether this reaper has no thread, so that its owner has to sweep.
    pub(crate) fn is_manual(&self) -> bool {
        self.core().is_none()
    }

    /// Registers a cache until the registration is dropped, and starts the thread if none runs. If
    /// the thread cannot be started, nothing is registered.
    ///
    /// The registration should be the last thing of the cache to be dropped: the thread ends, and
    /// `join` returns, as soon as the last registration is gone.
    pub(crate) fn register(&self, cache: Weak<dyn Sweep>) -> io::Result<Registration> {
        match self.core() {
            Some(core) => Core::register(core, cache).map(|place| Registration(Some(place))),
            None => Ok(Registration(None)),
        }
    }

    fn core(&self) -> Option<&Arc<Core>> {
        match &self.0 {
            Kind::Shared(core) | Kind::Dedicated(core) => Some(core),
            Kind::Manual => None,
        }
    }
}

impl Default for Reaper {
    fn default() -> Self {
        Self::shared()
    }
}

impl fmt::Debug for Reaper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Shared(_) => "Reaper::shared()",
            Kind::Dedicated(_) => "Reaper::dedicated()",
            Kind::Manual => "Reaper::manual()",
        })
    }
}

/// The registration of a cache with a reaper.
pub(crate) struct Registration(Option<Place>);

struct Place {
    core: Arc<Core>,
    promise: Arc<Promise>,
    /// The index in `State::caches`.
    number: usize,
}

impl Registration {
    /// Announces that there is something to do at `at`, or before. Costs a fence and a load if the
    /// thread comes by then anyway; otherwise wakes it.
    ///
    /// A tick at the start of a second is best: then many calls become one visit, garbage included.
    /// Must be called after the thing is where `sweep` and `reclaim` look, and before any user
    /// code, since others may rely on the call. Callers hold no lock.
    ///
    /// Returns false if the thread will not come, because there is none and none could be started.
    /// Then the next caller has to call, too, even if `at` is later for it.
    #[must_use]
    pub(crate) fn wake(&self, at: Tick) -> bool {
        if let Some(place) = &self.0 {
            // ORDERING: SeqCst fence; pairs with the fence in `Round::begin`: either the sweep that
            // follows that one sees what was filed before this one, or the load below sees the
            // promise revoked.
            fence(Ordering::SeqCst);
            if place.promise.tick() > at {
                return Core::wake(&place.core, &place.promise, at);
            }
        }
        true
    }
}

impl Registration {
    /// Returns whether the thread comes by `at`, as promised, or sweeps just now. For tests.
    pub(crate) fn comes_by(&self, at: Tick) -> bool {
        self.0.as_ref().is_none_or(|place| {
            let state = place.core.state.lock();
            state.sweeps || place.promise.tick() <= at
        })
    }
}

#[cfg(tidewheel_loom)]
impl Registration {
    /// Makes a step that loom sees, which meets the start of a round.
    pub(crate) fn touch(&self) {
        if let Some(place) = &self.0 {
            place.promise.touch();
        }
    }
}

impl Drop for Registration {
    /// Ends the registration. Never waits, except for the mutex, which is held for moments.
    fn drop(&mut self) {
        if let Some(place) = &self.0 {
            place.core.remove(place.number);
        }
    }
}

/// The state that the thread and the handles share.
struct Core {
    state: Mutex<State>,
    /// The thread waits here, alone.
    wake: Condvar,
    /// Callers of `join` wait here.
    ended: Condvar,
    timeline: Timeline,
    /// Whether threads end without being joined, unless a call of `join` waits for that.
    is_shared: bool,
    #[cfg(test)]
    stack_size: Option<usize>,
}

struct State {
    caches: Roster<Member>,
    /// The earliest tick with which `wake` was called since the thread last began a round.
    wake_at: Tick,
    /// Whether a round is under way, so that no promises hold.
    sweeps: bool,
    thread: Option<Worker>,
    /// In the child of a fork: until then, `wake` does not try to start the thread.
    start_at: Tick,
    /// The registration for forks. `None` before the first cache.
    heir: Option<fork::Registered>,
    /// The number of calls that wait for the thread's end.
    joining: usize,
}

/// The thread, from its start until it is joined or replaced.
struct Worker {
    id: ThreadId,
    /// Whether the thread still looks at the list. It changes under the lock, together with the
    /// list, so that a cache is either seen by the thread or starts a new one.
    running: bool,
    /// The handle, which the joining call takes.
    handle: Option<JoinHandle<()>>,
}

/// The least time between two attempts of writers to start the thread.
const BETWEEN_STARTS: Span = Span::from_nanos(10_000_000);

impl Core {
    fn new() -> Self {
        Self {
            state: Mutex::new(State {
                caches: Roster::new(),
                wake_at: Tick::NEVER,
                sweeps: false,
                thread: None,
                start_at: Tick::LONG_AGO,
                heir: None,
                joining: 0,
            }),
            wake: Condvar::new(),
            ended: Condvar::new(),
            timeline: Timeline::system(),
            is_shared: false,
            #[cfg(test)]
            stack_size: None,
        }
    }

    fn register(self: &Arc<Self>, cache: Weak<dyn Sweep>) -> io::Result<Place> {
        self.leave_to_children();
        let mut state = self.state.lock();
        self.start(&mut state)?;
        let promise = Arc::new(Promise::none());
        let number = state.caches.add(Member { cache, promise: Arc::clone(&promise) });
        Ok(Place { core: Arc::clone(self), promise, number })
    }

    /// Starts the thread, if none runs. Requires the lock, so that only one is started: the thread
    /// first waits for the lock.
    fn start(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        if state.is_running() {
            return Ok(());
        }
        if !state.caches.is_empty() {
            // In the child of a fork, where no promises hold. The thread begins a round at once: it
            // has to see what is due in the inherited caches.
            state.wake_at = Tick::LONG_AGO;
        }
        let core = Arc::clone(self);
        let handle = without_signals(|| self.builder().spawn(move || core.run()))?;
        let id = handle.thread().id();
        state.thread = Some(Worker { id, running: true, handle: Some(handle) });
        Ok(())
    }

    /// Registers for forks. Must not hold the lock: a fork takes that after the list of heirs.
    fn leave_to_children(self: &Arc<Self>) {
        if self.state.lock().heir.is_some() {
            return;
        }
        let heir: Arc<dyn Heir> = self.clone();
        let registered = fork::register(1, Arc::downgrade(&heir), || {});
        // Another thread may have done the same: its registration is dropped after the unlock.
        let _another = self.state.lock().heir.replace(registered);
    }

    fn builder(&self) -> thread::Builder {
        let builder = thread::Builder::new().name("tidewheel-reaper".into());
        #[cfg(test)]
        if let Some(size) = self.stack_size {
            return builder.stack_size(size);
        }
        builder
    }

    fn wake(self: &Arc<Self>, promise: &Promise, at: Tick) -> bool {
        let mut state = self.state.lock();
        if promise.tick() <= at {
            return true;
        }
        if !state.is_running() && !self.start_anew(&mut state) {
            return false;
        }
        promise.make(at);
        if at < state.wake_at {
            state.wake_at = at;
            self.wake.notify_one();
        }
        true
    }

    /// Starts the thread in the child of a fork. Does not try again soon after it failed, so that
    /// writers are not slow where no thread can be started.
    #[cold]
    fn start_anew(self: &Arc<Self>, state: &mut State) -> bool {
        let now = self.timeline.now();
        if now < state.start_at {
            return false;
        }
        state.start_at = now.after(BETWEEN_STARTS);
        self.start(state).is_ok()
    }

    fn remove(&self, number: usize) {
        let mut state = self.state.lock();
        let member = state.caches.remove(number);
        if state.caches.is_empty() {
            self.wake.notify_one();
        }
        drop(state);
        // This may free the cache's memory (never its values), so it happens outside the lock.
        drop(member);
    }

    fn join(&self) {
        let me = thread::current().id();
        let mut state = self.state.lock();
        let handle = loop {
            match &mut state.thread {
                None => return,
                Some(worker) if worker.id == me => return,
                Some(Worker { running: false, handle, .. }) if handle.is_some() => break handle.take(),
                // The thread runs, or another call is joining it.
                Some(_) => {
                    state.joining += 1;
                    state = wait(&self.ended, state);
                    state.joining -= 1;
                }
            }
        };
        drop(state);
        let Some(handle) = handle else { return };
        let id = handle.thread().id();
        // The thread catches panics, so the result tells nothing.
        let _ = handle.join();
        let mut state = self.state.lock();
        if state.thread.as_ref().is_some_and(|worker| worker.id == id) {
            state.thread = None;
        }
        self.ended.notify_all();
    }

    /// Runs the thread.
    fn run(&self) {
        let mut round = Round::new();
        while let Some(work) = self.sleep(&mut round) {
            match work {
                Work::Sweep(now, due) => round.sweep(now, due),
                Work::Reclaim(now) => round.reclaim(now),
            }
        }
    }

    /// Sleeps until there is something to do, and begins a round. Returns `None` if the last cache
    /// is gone and the thread has to end.
    fn sleep(&self, round: &mut Round) -> Option<Work> {
        let mut state = self.state.lock();
        round.end();
        state.sweeps = false;
        let reclaim_at = if round.visits.is_empty() {
            Tick::NEVER
        } else {
            self.timeline.now().after(Span::from_duration(round.pause))
        };
        loop {
            if state.caches.is_empty() {
                if let Some(worker) = &mut state.thread {
                    worker.running = false;
                }
                if self.is_shared && state.joining == 0 {
                    // Without a handle to it, the system keeps nothing of a thread that has ended.
                    state.thread = None;
                }
                self.ended.notify_all();
                return None;
            }
            let now = self.timeline.now();
            let sweep_at = round.next.min(state.wake_at);
            if sweep_at <= now {
                (state.wake_at, state.sweeps) = (Tick::NEVER, true);
                round.begin(&state.caches);
                return Some(Work::Sweep(now, sweep_at));
            }
            if reclaim_at <= now {
                return Some(Work::Reclaim(now));
            }
            let until = sweep_at.min(reclaim_at);
            state = if until == Tick::NEVER {
                wait(&self.wake, state)
            } else {
                wait_timeout(&self.wake, state, until.since(now).as_duration())
            };
        }
    }
}

impl State {
    fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|worker| worker.running)
    }
}

impl Heir for Core {
    fn hold(self: Arc<Self>, patience: &Alarm) -> Vec<Box<dyn Held>> {
        let held = Kept::new(&self, |core| &core.state, patience);
        held.map(|held| Box::new(held) as _).into_iter().collect()
    }
}

impl Held for Kept<Core, State> {
    /// Revokes the promises of the thread, unless the thread itself has forked (in a listener).
    fn inherit(&mut self) {
        let state = self.content();
        if state.thread.as_ref().is_some_and(|worker| worker.id == thread::current().id()) {
            return;
        }
        // No thread is behind the handle. The C library may have reused what a drop would free.
        std::mem::forget(state.thread.take());
        (state.wake_at, state.sweeps, state.joining) = (Tick::NEVER, false, 0);
        state.caches.iter().for_each(|member| member.promise.make(Tick::NEVER));
    }
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests;
