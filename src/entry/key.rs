//! How the key of a selector is had: owned, or lent.

use crate::key_value::Key;
use equivalent::Equivalent;
use sealed::Given;
use std::hash::Hash;

/// Whether an [`EntrySelector`](crate::EntrySelector) owns its key ([`OwnedKey`]) or borrows it
/// ([`LentKey`]). For code that takes selectors of both kinds. Only these two implement it.
///
/// Either may go to other threads, and so may what it lends. So the futures of a selector are
/// `Send` wherever what they are given is.
///
/// ```
/// use tidewheel::{Cache, EntryKey, EntrySelector};
///
/// fn count<'c, G: EntryKey<String>>(word: EntrySelector<'c, String, u32, tidewheel::RandomState, G>) -> u32 {
///     word.and_upsert_with(|old| old.map_or(0, |old| old.into_value()) + 1).into_value()
/// }
/// let cache = Cache::new(100);
/// assert_eq!(count(cache.entry("a".to_string())), 1);
/// assert_eq!(count(cache.entry_by_ref("a")), 2);
/// ```
pub trait EntryKey<K>: Given<K> + Send + Sync {}

impl<K, G: Given<K>> EntryKey<K> for G {}

mod sealed {
    use std::hash::Hash;

    /// What selectors do with a key.
    pub trait Given<K>: Send + Sync {
        /// What it is looked up by. A future that waits holds it.
        type Lent: ?Sized + Hash + equivalent::Equivalent<K> + Sync;

        /// The same, as it is looked up by.
        fn lent(&self) -> &Self::Lent;

        /// An owned one, and this one stays.
        fn owned(&self) -> K;

        /// An owned one.
        fn into_owned(self) -> K;
    }
}

/// A key that its selector owns: of [`Cache::entry`](crate::Cache::entry).
#[derive(Debug)]
pub struct OwnedKey<K>(pub(super) K);

/// A key that its selector borrows, and makes into an owned one where it has to: of
/// [`Cache::entry_by_ref`](crate::Cache::entry_by_ref).
#[derive(Debug)]
pub struct LentKey<'k, Q: ?Sized>(pub(super) &'k Q);

impl<K: Key + Clone> Given<K> for OwnedKey<K> {
    type Lent = K;

    fn lent(&self) -> &K {
        &self.0
    }

    fn owned(&self) -> K {
        self.0.clone()
    }

    fn into_owned(self) -> K {
        self.0
    }
}

impl<K, Q> Given<K> for LentKey<'_, Q>
where
    Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K> + Sync,
{
    type Lent = Q;

    fn lent(&self) -> &Q {
        self.0
    }

    fn owned(&self) -> K {
        self.0.to_owned()
    }

    fn into_owned(self) -> K {
        self.0.to_owned()
    }
}
