//! The caches that are watched, by their names. Knows no exporter.
//!
//! To look at a cache takes a handle of it, which is the last one if the user drops his meanwhile. With it the cache's values are dropped, and
//! their destructors may do anything: so handles are dropped when nothing is locked any more. Until then the cache seems to be there. Who is
//! about to say that a name is taken waits for these handles first.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tidewheel::{Cache, Stats};

/// How long the handles of others are waited for. They go at once, but for destructors that take long, or wait for whoever waits here.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a cache says of itself at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) stats: Stats,
    pub(crate) entries: u64,
    pub(crate) weight: u64,
    pub(crate) capacity: Option<u64>,
}

/// A handle of a cache: not to be dropped under a lock.
type Handle = Box<dyn Any>;

/// Looks at a cache, if it is still there.
type Look = Box<dyn Fn() -> Option<(Seen, Handle)> + Send>;

struct Watched {
    name: Arc<str>,
    look: Look,
}

#[derive(Default)]
struct State {
    watched: Vec<Watched>,
    /// How many looks have handles that they have not dropped yet.
    hands: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// A look has dropped its handles.
    dropped: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked under it has left the list as it was.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is worth looking again: if others have handles, once one of them has dropped his.
    fn waits(&self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        let state = self.lock();
        if state.hands > 0 && !left.is_zero() {
            drop(self.dropped.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner));
        }
        !left.is_zero()
    }
}

/// The handles of one look, to be dropped when nothing is locked. They go first, and are counted until then.
type Hand<'s> = (Vec<Handle>, Counted<'s>);

struct Counted<'s>(&'s Shared);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.lock().hands -= 1;
        self.0.dropped.notify_all();
    }
}

/// Caches whose figures are exported: each with its name as the label `cache`.
///
/// A handle: clones are about the same caches. It keeps no cache alive; one that is dropped is exported no more, and its name is free.
///
/// ```
/// use tidewheel::Cache;
/// use tidewheel_metrics::Caches;
///
/// let caches = Caches::new();
/// let pages: Cache<u64, String> = Cache::builder().name("pages").max_capacity(1_000).record_stats().build()?;
/// caches.watch(&pages)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Caches(Arc<Shared>);

impl Caches {
    /// None so far.
    ///
    /// ```
    /// let caches = tidewheel_metrics::Caches::new();
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Exports a cache's figures from now on. What it counts it counts since it was built, and only if it was built with
    /// [`record_stats`](tidewheel::CacheBuilder::record_stats): otherwise its counters stay at zero.
    ///
    /// # Errors
    ///
    /// [`WatchError`], if the cache has no name, or another one that is watched has the same.
    ///
    /// ```
    /// use tidewheel::Cache;
    /// use tidewheel_metrics::{Caches, WatchError};
    ///
    /// let caches = Caches::new();
    /// let nameless: Cache<u64, u64> = Cache::new(100);
    /// assert_eq!(caches.watch(&nameless), Err(WatchError::NoName));
    /// ```
    pub fn watch<K, V, S>(&self, cache: &Cache<K, V, S>) -> Result<(), WatchError>
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
        S: BuildHasher + Send + Sync + 'static,
    {
        let name: Arc<str> = cache.name().ok_or(WatchError::NoName)?.into();
        let weak = cache.downgrade();
        let look = move || {
            let cache = weak.upgrade()?;
            Some((see(&cache), Box::new(cache) as Handle))
        };
        let until = Instant::now() + PATIENCE;
        loop {
            let mut state = self.0.lock();
            let is_held = state.hands > 0;
            let (all, hand) = self.look(&mut state);
            if all.iter().all(|(other, _)| *other != name) {
                state.watched.push(Watched { name, look: Box::new(look) });
                drop(state);
                drop(hand);
                return Ok(());
            }
            drop(state);
            drop(hand);
            if !is_held || !self.0.waits(until) {
                return Err(WatchError::NameTaken { name: name.to_string() });
            }
        }
    }

    /// What each of them says.
    pub(crate) fn see(&self) -> Vec<(Arc<str>, Seen)> {
        let mut state = self.0.lock();
        let (all, hand) = self.look(&mut state);
        drop(state);
        drop(hand);
        all
    }

    /// What each of them says that is still there. The others are watched no more.
    fn look(&self, state: &mut State) -> (Vec<(Arc<str>, Seen)>, Hand<'_>) {
        let (mut all, mut handles) = (Vec::new(), Vec::new());
        state.watched.retain(|Watched { name, look }| {
            let Some((seen, handle)) = look() else { return false };
            all.push((Arc::clone(name), seen));
            handles.push(handle);
            true
        });
        state.hands += 1;
        (all, (handles, Counted(&self.0)))
    }
}

fn see<K, V, S>(cache: &Cache<K, V, S>) -> Seen
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    Seen {
        stats: cache.stats(),
        entries: cache.entry_count() as u64,
        weight: cache.weighted_size(),
        capacity: cache.policy().max_capacity,
    }
}

impl fmt::Debug for Caches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.lock().watched.iter().map(|watched| &watched.name)).finish()
    }
}

/// Why a cache is not watched.
///
/// ```
/// use tidewheel_metrics::WatchError;
/// assert!(WatchError::NoName.to_string().contains("CacheBuilder::name"));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum WatchError {
    /// The cache has no name, which would be its label.
    NoName,
    /// Another cache that is watched has the name.
    NameTaken {
        /// The name.
        name: String,
    },
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoName => {
                f.write_str("the cache has no name to be told by: give it one with CacheBuilder::name")
            }
            Self::NameTaken { name } => {
                write!(f, "another cache that is watched is called '{name}': names must differ")
            }
        }
    }
}

impl Error for WatchError {}
