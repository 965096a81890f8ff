//! An entry, as calls return it. How it is asked for, and what a computation may do with it, is in
//! the files beside this one.
//!
//! An [`Entry`] is a plain value: nothing is lent, and nothing knows a cache.

#[cfg(feature = "async")]
mod future;
mod key;
mod ops;
mod selector;
mod timed;

pub use key::{EntryKey, LentKey, OwnedKey};
pub use ops::{CompResult, Op};
pub use selector::EntrySelector;
pub use timed::TimedEntrySelector;

/// A key's entry, as a call returned it: clones of key and value. Made by the methods of
/// [`EntrySelector`].
///
/// What happens to the cache later does not change it. (For an entry that is lent, with its times,
/// see [`ReadGuard::entry`](crate::ReadGuard::entry).)
///
/// ```
/// let cache = tidewheel::Cache::new(100);
/// let entry = cache.entry("k").or_insert(7);
/// assert_eq!((entry.key(), entry.value(), entry.is_fresh()), (&"k", &7, true));
/// assert!(!cache.entry("k").or_insert(8).is_fresh());
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry<K, V> {
    key: K,
    value: V,
    is_fresh: bool,
    is_old_value_replaced: bool,
}

impl<K, V> Entry<K, V> {
    /// One that was there, that another call made, or that is not stored.
    pub(crate) fn found(key: K, value: V) -> Self {
        Self { key, value, is_fresh: false, is_old_value_replaced: false }
    }

    /// One whose value this call made, and stored.
    pub(crate) fn made(key: K, value: V, is_old_value_replaced: bool) -> Self {
        Self { key, value, is_fresh: true, is_old_value_replaced }
    }

    /// One whose value this call made, and that is too heavy to be kept; what it was to replace, if
    /// anything, is gone.
    pub(crate) fn refused(key: K, value: V, is_old_value_replaced: bool) -> Self {
        Self { key, value, is_fresh: false, is_old_value_replaced }
    }

    /// The key.
    ///
    /// ```
    /// let cache = tidewheel::Cache::new(100);
    /// assert_eq!(cache.entry("k").or_insert(7).key(), &"k");
    /// ```
    #[must_use]
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The value.
    ///
    /// ```
    /// let cache = tidewheel::Cache::new(100);
    /// assert_eq!(cache.entry("k").or_insert(7).value(), &7);
    /// ```
    #[must_use]
    pub fn value(&self) -> &V {
        &self.value
    }

    /// The value, without the rest.
    ///
    /// ```
    /// let cache = tidewheel::Cache::new(100);
    /// assert_eq!(cache.entry("k").or_insert(7).into_value(), 7);
    /// ```
    #[must_use]
    pub fn into_value(self) -> V {
        let Self { key, value, .. } = self;
        // First: a destructor that panicked later would leak the value.
        drop(key);
        value
    }

    /// Whether this call made the value and the cache stored it.
    ///
    /// It is not fresh if it was there before, or if another call made or wrote it. Nor is it fresh if
    /// this call made the value and it was not stored: because the key was removed meanwhile (then the
    /// value may be older than the removal), or because the value is too heavy.
    ///
    /// ```
    /// let cache = tidewheel::Cache::new(100);
    /// assert!(cache.entry("k").or_insert(7).is_fresh());
    /// assert!(!cache.entry("k").or_insert(8).is_fresh());
    /// ```
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// Whether the value took the place of another one. (If it was too heavy to be kept, the other
    /// one is gone.)
    ///
    /// ```
    /// let cache = tidewheel::Cache::new(100);
    /// assert!(!cache.entry("k").and_upsert_with(|_| 7).is_old_value_replaced());
    /// assert!(cache.entry("k").and_upsert_with(|_| 8).is_old_value_replaced());
    /// ```
    #[must_use]
    pub fn is_old_value_replaced(&self) -> bool {
        self.is_old_value_replaced
    }
}
