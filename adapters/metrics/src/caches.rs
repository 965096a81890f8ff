//! The caches that are watched, by their names. Knows no exporter.

use std::error::Error;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tidewheel::{Cache, Stats};

/// What a cache says of itself at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) stats: Stats,
    pub(crate) entries: u64,
    pub(crate) weight: u64,
    pub(crate) capacity: Option<u64>,
}

/// Looks at a cache, if it is still there.
type Look = Box<dyn Fn() -> Option<Seen> + Send>;

struct Watched {
    name: Arc<str>,
    look: Look,
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
pub struct Caches(Arc<Mutex<Vec<Watched>>>);

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
        let look = move || weak.upgrade().map(|cache| see(&cache));
        let mut watched = self.lock();
        watched.retain(|watched| (watched.look)().is_some());
        if watched.iter().any(|watched| watched.name == name) {
            return Err(WatchError::NameTaken { name: name.to_string() });
        }
        watched.push(Watched { name, look: Box::new(look) });
        Ok(())
    }

    /// What each of them says.
    pub(crate) fn see(&self) -> Vec<(Arc<str>, Seen)> {
        let mut all = Vec::new();
        self.lock().retain(|Watched { name, look }| {
            let seen = look();
            all.extend(seen.map(|seen| (Arc::clone(name), seen)));
            seen.is_some()
        });
        all
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Watched>> {
        // Whoever panicked under it has left the list as it was.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        f.debug_set().entries(self.lock().iter().map(|watched| &watched.name)).finish()
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
