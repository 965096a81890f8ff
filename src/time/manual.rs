//! A clock that is moved by hand, and who wants to know of it.
//!
//! Knows watchers, and nothing of what they do when it was moved.

use super::{Clock, SECOND, Span, Tick, Timeline, sealed};
use crate::process::fork::undisturbed;
use crate::roster::Roster;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, Weak};
use std::fmt;
use std::time::Duration;

/// A clock that stands still until it is moved: for tests.
///
/// A cache built on it has no reaper thread ([`Reaper::manual`](crate::Reaper::manual) is implied):
/// [`advance`](Self::advance) does the reaper's work for every such cache, on the calling thread.
/// Clones are handles to the same clock.
///
/// ```
/// use std::time::Duration;
/// let clock = tidewheel::ManualClock::new();
/// clock.advance(Duration::from_millis(1500));
/// assert_eq!(clock.elapsed(), Duration::from_millis(1500));
/// ```
#[derive(Clone)]
pub struct ManualClock(Arc<Manual>);

struct Manual {
    nanos: AtomicU64,
    watchers: Mutex<Roster<Weak<dyn Advanced>>>,
}

/// A cache's place among those that watch a manual clock: the clock lets go of it with this.
#[derive(Debug)]
pub(crate) struct Watch {
    clock: ManualClock,
    number: usize,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let watcher = self.clock.watchers(|watchers| watchers.remove(self.number));
        // May free the cache's memory (never its values): not under the lock.
        drop(watcher);
    }
}

/// Who wants to know that a manual clock was moved.
pub(crate) trait Advanced: Send + Sync {
    /// The clock was moved; called on the thread that moved it, with no lock held.
    fn advanced(&self);
}

impl ManualClock {
    /// A clock at zero.
    ///
    /// ```
    /// let clock = tidewheel::ManualClock::new();
    /// assert!(clock.elapsed().is_zero());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Manual { nanos: AtomicU64::new(SECOND), watchers: Mutex::new(Roster::new()) }))
    }

    /// Moves the clock forward, then removes what is due from every cache built on it and drops what
    /// no guard protects, on this thread. There is no way back: 146 years after its start the clock
    /// stands still.
    ///
    /// # Panics
    ///
    /// Never. Panics of listeners and destructors are caught.
    ///
    /// # Concurrency
    ///
    /// Takes each shard's lock in turn, for a bounded number of entries at a time. May be called from
    /// several threads, and from within a listener.
    ///
    /// What is removed is dropped only while no thread of the process is pinned that was when it was removed: by a guard, or
    /// for a moment by a call, on any cache. This waits for others' pins for some 10 ms, and leaves what they hold to
    /// a later `advance` or [`run_pending_tasks`](crate::Cache::run_pending_tasks); under a guard of its own thread it waits
    /// for nothing. So a test that counts values, beside tests that run on other threads, repeats the latter until
    /// they are gone, for as long as it has patience.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let clock = tidewheel::ManualClock::new();
    /// clock.advance(Duration::from_secs(3600));
    /// assert_eq!(clock.elapsed().as_secs(), 3600);
    /// ```
    pub fn advance(&self, by: Duration) {
        self.move_by(by);
        let watchers: Vec<_> = self.watchers(|watchers| watchers.iter().cloned().collect());
        for watcher in watchers {
            if let Some(watcher) = watcher.upgrade() {
                watcher.advanced();
            }
        }
    }

    /// Moves the clock forward and leaves it at that: nothing is swept. Shows what an entry looks like
    /// when the reaper is late.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let clock = tidewheel::ManualClock::new();
    /// let cache = tidewheel::Cache::builder().clock(clock.clone()).time_to_live(Duration::from_secs(1)).build()?;
    /// cache.insert("k", 1);
    /// clock.advance_without_sweeping(Duration::from_secs(9));
    /// assert_eq!(cache.get("k"), None);       // invisible on time all the same
    /// assert_eq!(cache.entry_count(), 1);     // but still in memory
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn advance_without_sweeping(&self, by: Duration) {
        self.move_by(by);
    }

    /// The time since the clock was made, as moved so far.
    ///
    /// ```
    /// assert_eq!(tidewheel::ManualClock::new().elapsed().as_nanos(), 0);
    /// ```
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.now().as_nanos() - SECOND)
    }

    #[must_use]
    pub(crate) fn watch(&self, watcher: Weak<dyn Advanced>) -> Watch {
        Watch { clock: self.clone(), number: self.watchers(|watchers| watchers.add(watcher)) }
    }

    /// Not while the process forks: so the child finds them whole, and their lock open.
    fn watchers<R>(&self, look: impl FnOnce(&mut Roster<Weak<dyn Advanced>>) -> R) -> R {
        undisturbed(|| look(&mut self.0.watchers.lock()))
    }

    fn move_by(&self, by: Duration) {
        let span = Span::from_duration(by);
        // ORDERING: AcqRel; pairs with Acquire in `ManualClock::now`; whoever reads the new time sees
        // what its mover did before. `u64` cannot wrap: the sum saturates below `NEVER`.
        let _ = self.0.nanos.fetch_update(Ordering::AcqRel, Ordering::Acquire, |nanos| {
            Some(nanos.saturating_add(span.as_nanos()).min(Tick::NEVER.as_nanos() - 1))
        });
    }

    #[inline]
    pub(super) fn now(&self) -> Tick {
        // ORDERING: Acquire; pairs with AcqRel in `ManualClock::move_by`.
        Tick::reading(self.0.nanos.load(Ordering::Acquire))
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualClock").field("elapsed", &self.elapsed()).finish()
    }
}

impl Clock for ManualClock {}
impl sealed::Sealed for ManualClock {
    fn timeline(self) -> Timeline {
        Timeline { manual: Some(self), ..Timeline::system() }
    }
}
