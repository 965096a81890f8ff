//! A handle that does not keep its cache alive.

use super::handle::{Cache, Inner};
use crate::hash::RandomState;
use crate::sync::{Arc, Weak};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// A handle that does not keep its cache alive; made by [`Cache::downgrade`].
///
/// ```
/// let cache: tidewheel::Cache<u64, u64> = tidewheel::Cache::builder().build()?;
/// let weak = cache.downgrade();
/// weak.upgrade().expect("the cache is still there").insert(1, 1);
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
pub struct WeakCache<K, V, S = RandomState> {
    pub(super) inner: Weak<Inner<K, V, S>>,
}

// As those of `Cache`.
impl<K: RefUnwindSafe, V: RefUnwindSafe, S> UnwindSafe for WeakCache<K, V, S> {}
impl<K: RefUnwindSafe, V: RefUnwindSafe, S> RefUnwindSafe for WeakCache<K, V, S> {}

/// Refer to a cache without keeping it alive.
impl<K, V, S> Cache<K, V, S> {
    /// A handle that does not keep the cache alive: for listeners and values that refer to their cache.
    ///
    /// ```
    /// let cache: tidewheel::Cache<u64, u64> = tidewheel::Cache::builder().build()?;
    /// let weak = cache.downgrade();
    /// assert!(weak.upgrade().is_some());
    /// drop(cache);
    /// assert!(weak.upgrade().is_none());
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[must_use]
    pub fn downgrade(&self) -> WeakCache<K, V, S> {
        WeakCache { inner: Arc::downgrade(&self.inner) }
    }
}

impl<K, V, S> WeakCache<K, V, S> {
    /// The cache, if it is still there.
    ///
    /// ```
    /// let cache: tidewheel::Cache<u64, u64> = tidewheel::Cache::builder().build()?;
    /// let weak = cache.downgrade();
    /// drop(cache);
    /// assert!(weak.upgrade().is_none());
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[must_use]
    pub fn upgrade(&self) -> Option<Cache<K, V, S>> {
        Some(Cache { inner: self.inner.upgrade()? })
    }
}

impl<K, V, S> Clone for WeakCache<K, V, S> {
    fn clone(&self) -> Self {
        Self { inner: Weak::clone(&self.inner) }
    }
}

impl<K, V, S> fmt::Debug for WeakCache<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakCache")
    }
}
