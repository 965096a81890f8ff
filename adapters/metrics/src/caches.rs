//! The caches that are watched, by their names. Knows no exporter.
//!
//! To look at a cache takes a handle to it, which is the last one if the user drops the others meanwhile. Then the cache's values are dropped with
//! it, and their destructors may do anything. So handles are dropped when nothing is locked any more. Until then the cache seems to be there. So a
//! call waits for these handles before it answers that a name is taken.
//!
//! A name is never forgotten, nor what caches of that name have counted. The next cache that has it counts on from there. So exporters see
//! counters that never fall, as they expect.

use super::families::{Seen, Totals};
use std::any::Any;
use std::error::Error;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tidewheel::Cache;

/// How long a call waits for the handles of others. They are dropped at once, unless a destructor takes long, or waits for the call that waits here.
const PATIENCE: Duration = Duration::from_secs(1);

/// A handle of a cache: not to be dropped under a lock.
type Handle = Box<dyn Any>;

/// Looks at a cache, if it is still there.
type Look = Box<dyn Fn() -> Option<(Seen, Handle)> + Send>;

/// A name, of a cache that is watched or of one that was.
struct Named {
    name: Arc<str>,
    /// Of the cache that has it, if there is one.
    look: Option<Look>,
    /// What that one said last.
    seen: Seen,
    /// What those before it had counted.
    before: Totals,
    /// What a recorder was told last that keeps gauges as they are.
    #[cfg(feature = "metrics")]
    recorded: Option<Seen>,
}

/// What there is to be told of a name.
#[cfg(any(feature = "metrics", feature = "opentelemetry", feature = "prometheus-client"))]
pub(crate) struct Told {
    pub(crate) name: Arc<str>,
    /// Of all caches that have had it.
    pub(crate) totals: Totals,
    /// What the one says that has it, if there is one.
    pub(crate) now: Option<Seen>,
}

impl Named {
    fn new(name: Arc<str>, look: Look) -> Self {
        let (seen, before) = (Seen::default(), Totals::default());
        Self {
            name,
            look: Some(look),
            seen,
            before,
            #[cfg(feature = "metrics")]
            recorded: None,
        }
    }

    /// Looks at the cache that has the name; a handle of it.
    fn look(&mut self) -> Option<Handle> {
        let look = self.look.as_ref()?;
        if let Some((seen, handle)) = look() {
            self.seen = seen;
            return Some(handle);
        }
        self.before.add(&Totals::of(&self.seen));
        (self.look, self.seen) = (None, Seen::default());
        None
    }

    #[cfg(any(feature = "metrics", feature = "opentelemetry", feature = "prometheus-client"))]
    fn told(&self) -> Told {
        let mut totals = Totals::of(&self.seen);
        totals.add(&self.before);
        Told { name: Arc::clone(&self.name), totals, now: self.look.as_ref().map(|_| self.seen.clone()) }
    }
}

#[derive(Default)]
struct State {
    names: Vec<Named>,
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

    /// If others have handles, waits until one of them has dropped its own, or the time is over. Returns whether it is worth looking again.
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
/// What caches of one name have counted is kept, and the next one of that name counts on from there, as of the last time that somebody looked.
/// So a name costs about a kilobyte for as long as this is there: names are for caches that a program has, not for ones that it makes for each request.
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
            let hand = self.look(&mut state);
            let named = state.names.iter_mut().find(|named| named.name == name);
            if named.as_ref().is_none_or(|named| named.look.is_none()) {
                let look: Look = Box::new(look);
                match named {
                    Some(named) => named.look = Some(look),
                    None => state.names.push(Named::new(name, look)),
                }
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

    /// What there is to be told of each name.
    #[cfg(any(feature = "opentelemetry", feature = "prometheus-client"))]
    pub(crate) fn see(&self) -> Vec<Told> {
        self.see_each(|named| named.told())
    }

    /// The same for a recorder, of which gauges stand until it is told otherwise; and what it was told last.
    #[cfg(feature = "metrics")]
    pub(crate) fn see_to_record(&self) -> Vec<(Told, Option<Seen>)> {
        self.see_each(|named| {
            let told = named.told();
            let last = std::mem::replace(&mut named.recorded, told.now.clone());
            (told, last)
        })
    }

    #[cfg(any(feature = "metrics", feature = "opentelemetry", feature = "prometheus-client"))]
    fn see_each<T>(&self, see: impl FnMut(&mut Named) -> T) -> Vec<T> {
        let mut state = self.0.lock();
        let hand = self.look(&mut state);
        let all = state.names.iter_mut().map(see).collect();
        drop(state);
        drop(hand);
        all
    }

    /// Looks at each cache that is still there. The others are watched no more.
    fn look(&self, state: &mut State) -> Hand<'_> {
        let mut handles = Vec::new();
        for named in &mut state.names {
            if let Some(handle) = named.look() {
                handles.push(handle);
            }
        }
        state.hands += 1;
        (handles, Counted(&self.0))
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
        let state = self.0.lock();
        let watched = state.names.iter().filter(|named| named.look.is_some());
        f.debug_set().entries(watched.map(|named| &named.name)).finish()
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
    #[non_exhaustive]
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
