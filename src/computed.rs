//! What an entry that was asked for comes back as, and what a computation may want done about one.
//!
//! Plain values: nothing here is lent, and nothing knows a cache.

/// A key's entry as it came of a call: clones of key and value. Made by the methods of [`EntrySelector`](crate::EntrySelector).
///
/// What happens to the cache later does not change it. (For an entry that is lent, with its times, see
/// [`ReadGuard::entry`](crate::ReadGuard::entry).)
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

    /// One whose value this call made, and that is too heavy to be kept; what it was to replace, if anything, is gone.
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

    /// Whether this call made the value, and it is what the cache stored.
    ///
    /// Not so of a value that was there before, or that another call made or wrote. Nor of one that this call made in vain, and hands
    /// out all the same: the key was removed meanwhile, so that the value may be older than the removal; or it is too heavy
    /// to be kept.
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

    /// Whether the value took the place of another one.
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

/// What a closure of [`and_compute_with`](crate::EntrySelector::and_compute_with) wants done about the entry it was shown.
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
pub enum Op<V> {
    /// Nothing.
    Nop,
    /// To store this value: in the place of the one that was shown, or as a new entry.
    Put(V),
    /// To remove the entry, if there is one.
    Remove,
}

/// What came of [`and_compute_with`](crate::EntrySelector::and_compute_with).
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
pub enum CompResult<K, V> {
    /// There was no live entry, and the closure wanted none.
    StillNone(K),
    /// There was this one, and the closure wanted nothing done.
    Unchanged(Entry<K, V>),
    /// There was none; this one was stored.
    Inserted(Entry<K, V>),
    /// There was one; this value has taken its place.
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
