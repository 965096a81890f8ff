//! A clock that is moved by hand, and the caches that watch it.
//!
//! This file knows watchers, and not what they do when the clock is moved.

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
/// How long a call waits for another one ([`Cache::timeout`](crate::Cache::timeout),
/// [`get_with_detached`](crate::Cache::get_with_detached)) is not measured by it: threads wait in real time.
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

/// A cache's registration with a manual clock. Dropping it ends the registration.
#[derive(Debug)]
pub(crate) struct Watch {
    clock: ManualClock,
    number: usize,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let watcher = self.clock.watchers(|watchers| watchers.remove(self.number));
        // This may free the cache's memory (never its values), so it happens outside the lock.
        drop(watcher);
    }
}

/// A watcher of a manual clock.
pub(crate) trait Advanced: Send + Sync {
    /// Tells that the clock was moved. Called on the thread that moved it, with no lock held.
    fn advanced(&self);
}

impl ManualClock {
    /// Creates a clock at zero.
    ///
    /// ```
    /// let clock = tidewheel::ManualClock::new();
    /// assert!(clock.elapsed().is_zero());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Manual { nanos: AtomicU64::new(SECOND), watchers: Mutex::new(Roster::new()) }))
    }

    /// Moves the clock forward, then removes what is due from every cache built on it and drops
    /// what no guard protects, on this thread. The clock cannot be moved back. 146 years after its
    /// start it stands still.
    ///
    /// # Panics
    ///
    /// Never. Panics of listeners and destructors are caught.
    ///
    /// # Concurrency
    ///
    /// Takes the lock of one shard after the other, for a bounded number of entries at a time. May be called
    /// from several threads, and from within a listener.
    ///
    /// A removed value is dropped only when every thread that was pinned at its removal has unpinned. A
    /// guard pins its thread, and a call does for a moment, on any cache of the process. This call waits
    /// some 10 ms for pins of other threads, and leaves what they still hold to a later `advance` or
    /// [`run_pending_tasks`](crate::Cache::run_pending_tasks). Under a guard of its own thread it
    /// does not wait. So a test that counts values while other tests run on other threads should repeat
    /// `run_pending_tasks` until the values are gone or its patience ends.
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

    /// Moves the clock forward without sweeping. Shows what an entry looks like when the reaper is
    /// late.
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

    /// Returns by how much the clock was moved since it was created.
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

    /// Accesses the watchers, but not while the process forks. So the child finds the list intact,
    /// and its lock open.
    fn watchers<R>(&self, look: impl FnOnce(&mut Roster<Weak<dyn Advanced>>) -> R) -> R {
        undisturbed(|| look(&mut self.0.watchers.lock()))
    }

    fn move_by(&self, by: Duration) {
        let span = Span::from_duration(by);
        // ORDERING: Release; pairs with Acquire in `ManualClock::now`: a thread that reads the new
        // time sees what its mover did before, and what earlier movers did. `u64` cannot wrap: the
        // sum saturates below `NEVER`.
        let _ = self.0.nanos.fetch_update(Ordering::Release, Ordering::Relaxed, |nanos| {
            Some(nanos.saturating_add(span.as_nanos()).min(Tick::NEVER.as_nanos() - 1))
        });
    }

    #[inline]
    pub(super) fn now(&self) -> Tick {
        // ORDERING: Acquire; pairs with Release in `ManualClock::move_by`.
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
