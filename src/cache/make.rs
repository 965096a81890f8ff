//! A cache is made: with a capacity and nothing else, or by a builder. Knows what the builder is called, and nothing of what it
//! puts together.

use super::Cache;
use crate::builder::CacheBuilder;
use crate::key_value::{Key, Value};

/// Make a cache.
impl<K, V> Cache<K, V> {
    /// A cache that holds this many entries at most, which do not expire. Everything else is as a
    /// [builder](Self::builder) has it by default.
    ///
    /// # Panics
    ///
    /// If the reaper's thread cannot be started, or the operating system gives no random keys for
    /// the hasher. [`CacheBuilder::build`] returns these as errors.
    ///
    /// ```
    /// let cache = tidewheel::Cache::new(2);
    /// for key in 1..=3 {
    ///     cache.insert(key, ());
    /// }
    /// assert_eq!(cache.entry_count(), 2);
    /// ```
    #[must_use]
    pub fn new(max_capacity: u64) -> Self
    where
        K: Key,
        V: Value,
    {
        match Self::builder().max_capacity(max_capacity).build() {
            Ok(cache) => cache,
            Err(error) => panic!("a cache could not be built: {error:?}"),
        }
    }

    /// A builder of caches.
    ///
    /// ```
    /// let cache: tidewheel::Cache<u64, String> = tidewheel::Cache::builder().build()?;
    /// assert_eq!(cache.entry_count(), 0);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn builder() -> CacheBuilder<K, V> {
        CacheBuilder::new()
    }
}
