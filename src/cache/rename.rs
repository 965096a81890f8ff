//! Moving an entry to another key, its value as it is or changed on the way: taken out under one key first, stored
//! under the other then. So there is no moment at which both keys have it.

use super::Cache;
use super::handle::Place;
use crate::key_value::{Key, Value};
use crate::listener::RemovalCause;
use crate::shard::{Expected, Lasting, Lifespan, Lookup, NewEntry, Ruling};
use crate::table::{Node, Pin};
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};

/// Change a key.
impl<K, V, S> Cache<K, V, S>
where
    K: Key,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Moves a live entry to another key: removes it, and stores a clone of its value there. Its
    /// age goes along; so does its own time to live, which starts again. For a
    /// [`refresh_after_write`](crate::CacheBuilder::refresh_after_write) it is a write: the value
    /// counts as new. Returns false if there is no live entry; of several callers that move the same
    /// entry, one succeeds.
    ///
    /// # Concurrency
    ///
    /// In between, neither key has the entry. If an [`invalidate_all`](Self::invalidate_all) runs
    /// meanwhile, the entry is gone, and the answer is false. What was under the new key is
    /// replaced. [`iter`](Self::iter), [`retain`](Self::retain) and the like see one key that goes
    /// and one that comes: they may meet the entry under either, both, or neither. Keys are
    /// compared before the removal and again after it. So an `Eq` that panics only the second time
    /// loses the entry.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("old", 1);
    /// assert!(cache.rename("old", "new"));
    /// assert_eq!((cache.get("old"), cache.get("new")), (None, Some(1)));
    /// assert!(!cache.rename("old", "newer"));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn rename<Q>(&self, key: &Q, new_key: K) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
    {
        self.move_to(key, new_key, |_, node| Some((node.value().clone(), Ruling::Keep, ()))).is_some()
    }

    /// As [`rename`](Self::rename), with a new value that the closure computes from the old one.
    /// Returns what the closure returns besides; `None` if there is no live entry. As after an
    /// [`update`](Self::update), an [`Expiry`](crate::Expiry) is asked about the new value.
    ///
    /// Nobody ever finds the new value under the old key, and nobody who has found it under the new
    /// key finds the old key afterwards. (With an `update` and then a `rename`, the old key has the
    /// new value for a moment.)
    ///
    /// # Panics
    ///
    /// If the closure does, or if it writes the old key each time it runs, as with
    /// [`update`](Self::update).
    ///
    /// # Concurrency
    ///
    /// As `rename`. The closure runs outside every lock. If another write to the old key comes
    /// first, it runs again, on that write's value. So the value that is moved is made from the one
    /// that is removed, and no update is lost; and whatever else the closure does must be harmless
    /// when done twice. If it panics, the entry stays as it was.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("draft", 1);
    /// let version = cache.rename_with("draft", "final", |version| (version + 1, *version));
    /// assert_eq!(version, Some(1));
    /// assert_eq!((cache.get("draft"), cache.get("final")), (None, Some(2)));
    /// assert_eq!(cache.rename_with("draft", "another", |version| (version + 1, ())), None);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn rename_with<Q, R>(&self, key: &Q, new_key: K, mut change: impl FnMut(&V) -> (V, R)) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.optionally_rename_with(key, new_key, |value| Some(change(value)))
    }

    /// As [`rename_with`](Self::rename_with), with a closure that may return `None`. Then the entry
    /// stays as it is, and `None` is returned.
    ///
    /// # Panics
    ///
    /// As `rename_with`.
    ///
    /// # Concurrency
    ///
    /// As `rename_with`.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("draft", 1);
    /// let publish = |least| move |version: &i32| (*version >= least).then_some((*version, ()));
    /// assert_eq!(cache.optionally_rename_with("draft", "final", publish(2)), None);
    /// assert_eq!(cache.optionally_rename_with("draft", "final", publish(1)), Some(()));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn optionally_rename_with<Q, R>(
        &self,
        key: &Q,
        new_key: K,
        mut change: impl FnMut(&V) -> Option<(V, R)>,
    ) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.move_to(key, new_key, |new_key, node| {
            let (value, answer) = change(node.value())?;
            let ruling = match &self.parts().expiry {
                None => Ruling::Keep,
                Some(expiry) => self.updated(&**expiry, new_key, &value, node),
            };
            Some((value, ruling, answer))
        })
    }

    /// Moves a live entry, with what `make` makes of its node: the value, when it ends by its `Expiry`, and an answer; if it
    /// makes anything.
    fn move_to<Q, R>(
        &self,
        key: &Q,
        new_key: K,
        mut make: impl FnMut(&K, &Node<K, V>) -> Option<(V, Ruling, R)>,
    ) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let Place { hash: new_hash, shard: new_shard } = self.locate(&new_key);
        let mut made = None;
        let departed = self.take(key, |node| {
            let departure = self.parts().clearings.depart();
            // All of the user's code before anything is removed: a panic loses no entry.
            let _ = new_shard.find::<false, K>(Lookup::new(new_hash, &new_key), &Pin::new());
            let Some((value, ruling, answer)) = make(&new_key, node) else { return false };
            let weight = self.weigh(&new_key, &value);
            made = Some((value, weight, ruling, answer, departure));
            true
        })?;
        let (value, weight, ruling, answer, departure) = made?;
        let lifespan = Lifespan { lasting: Lasting::Moved(departed), ruling };
        let entry = &mut Some((new_key, value));
        // If everything was removed meanwhile, so was this one.
        let expected = Expected::Arrival(departure);
        let stored =
            new_shard.insert_if(self, NewEntry { hash: new_hash, entry, weight, lifespan }, &expected);
        let is_stored = stored.is_ok();
        let (Ok(deferred) | Err(deferred)) = stored;
        self.conclude(new_shard, deferred, RemovalCause::Replaced);
        is_stored.then_some(answer)
    }
}
