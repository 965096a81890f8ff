//! What a computation may want done about an entry, and what came of it.
//!
//! Plain values, which know no cache.

use super::Entry;

/// What a closure of [`and_compute_with`](crate::EntrySelector::and_compute_with) wants done with
/// the entry that it was shown.
///
/// ```
/// use tidewheel::{Cache, Op};
///
/// let tickets = Cache::new(100);
/// tickets.insert("concert", 2);
/// for _ in 0..4 {
///     let _ = tickets.entry("concert").and_compute_with(|left| match left.map(|entry| entry.into_value()) {
///         None => Op::Nop,
///         Some(1) => Op::Remove,
///         Some(left) => Op::Put(left - 1),
///     });
/// }
/// assert!(!tickets.contains_key("concert"));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Op<V> {
    /// Nothing.
    Nop,
    /// To store this value: in place of the one that was shown, or as a new entry.
    Put(V),
    /// To remove the entry, if there is one.
    Remove,
}

/// The result of [`and_compute_with`](crate::EntrySelector::and_compute_with).
///
/// ```
/// use tidewheel::{Cache, CompResult, Op};
///
/// let cache = Cache::<_, u32>::new(100);
/// assert_eq!(cache.entry("k").and_compute_with(|_| Op::Remove), CompResult::StillNone("k"));
/// let result = cache.entry("k").and_compute_with(|_| Op::Put(7));
/// assert!(matches!(result, CompResult::Inserted(entry) if *entry.value() == 7));
/// let result = cache.entry("k").and_compute_with(|_| Op::Put(8));
/// assert!(matches!(result, CompResult::ReplacedWith(entry) if *entry.value() == 8));
/// let result = cache.entry("k").and_compute_with(|_| Op::Nop);
/// assert!(matches!(result, CompResult::Unchanged(entry) if *entry.value() == 8));
/// let result = cache.entry("k").and_compute_with(|_| Op::Remove);
/// assert!(matches!(result, CompResult::Removed(entry) if *entry.value() == 8));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CompResult<K, V> {
    /// There was no live entry, and the closure stored none.
    StillNone(K),
    /// There was this one, and it is unchanged.
    Unchanged(Entry<K, V>),
    /// There was none; this one was stored, unless it was too heavy ([`Entry::is_fresh`] tells).
    Inserted(Entry<K, V>),
    /// There was one. This value has taken its place; or it was too heavy, and there is no entry now.
    ReplacedWith(Entry<K, V>),
    /// This one was removed.
    Removed(Entry<K, V>),
}

impl<K, V> CompResult<K, V> {
    /// The entry, unless there is none.
    ///
    /// ```
    /// use tidewheel::{Cache, Op};
    /// let cache = Cache::new(100);
    /// assert_eq!(cache.entry("k").and_compute_with(|_| Op::<u32>::Nop).into_entry(), None);
    /// let entry = cache.entry("k").and_compute_with(|_| Op::Put(7)).into_entry();
    /// assert_eq!(entry.map(|entry| entry.into_value()), Some(7));
    /// ```
    #[must_use]
    pub fn into_entry(self) -> Option<Entry<K, V>> {
        match self {
            Self::StillNone(_) => None,
            Self::Unchanged(entry)
            | Self::Inserted(entry)
            | Self::ReplacedWith(entry)
            | Self::Removed(entry) => Some(entry),
        }
    }

    /// The entry.
    ///
    /// # Panics
    ///
    /// If there is none.
    ///
    /// ```
    /// use tidewheel::{Cache, Op};
    /// let cache = Cache::new(100);
    /// assert_eq!(cache.entry("k").and_compute_with(|_| Op::Put(7)).unwrap().into_value(), 7);
    /// ```
    #[must_use]
    pub fn unwrap(self) -> Entry<K, V> {
        self.into_entry().expect("a computation that came to no entry was asked for one")
    }
}
