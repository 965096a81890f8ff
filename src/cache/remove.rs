//! Removals that look at what they take, and hand it out.

use super::Cache;
use super::handle::Place;
use super::rounds::{Round, Rounds};
use super::write::{is_plain, is_primitive};
use crate::key_value::{Key, Value};
use crate::listener::RemovalCause;
use crate::shard::{Departed, Lookup, Removed};
use crate::table::{Node, Pin};
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};

/// Whether a value is so large that what is kept for its caller waits for him in memory of its own, and not on the stack.
const fn is_large<V>() -> bool {
    size_of::<V>() > 4096
}

/// Remove one entry.
impl<K, V, S> Cache<K, V, S>
where
    K: Key,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Removes an entry and returns a clone of its value, if it was live. (A clone: readers may still be
    /// looking at the value itself.)
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("k", 1);
    /// assert_eq!(cache.remove("k"), Some(1));
    /// assert_eq!(cache.remove("k"), None);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
    {
        if is_plain::<K, Q>() && is_primitive::<V>() {
            return self.remove_plain(key);
        }
        if is_large::<V>() {
            return self.remove_keeping(key, |value| Box::new(value.clone())).map(|value| *value);
        }
        self.remove_keeping(key, V::clone)
    }

    /// The same, where a clone runs no code of the user's, so that it need not be made before the lock is taken.
    #[inline(always)]
    fn remove_plain<Q>(&self, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
    {
        let Place { hash, shard } = self.locate(key);
        let mut kept = None;
        let look = |node: &Node<K, V>| kept = Some(node.value().clone());
        let (removed, deferred) = shard.remove(Lookup::new(hash, key), look);
        self.conclude(shard, deferred, RemovalCause::Explicit);
        kept.filter(|_| matches!(removed, Removed::Done(..)))
    }

    /// The same, and returns what `keep` makes of the value.
    #[inline(always)]
    fn remove_keeping<Q, R>(&self, key: &Q, keep: impl Fn(&V) -> R) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let Place { hash, shard } = self.locate(key);
        let mut kept = None;
        loop {
            let keep = |node: &Node<K, V>| {
                kept = Some(keep(node.value()));
                true
            };
            if self.take(key, keep).is_some() {
                return kept;
            }
            // If there is none, `is_gone` sees to it that a load under way does not bring one.
            if shard.is_gone(Lookup::new(hash, key)) {
                return None;
            }
        }
    }

    /// Removes a live entry if its value satisfies a condition, and returns a clone of the value. The entry
    /// that is removed is the one that the condition was shown.
    ///
    /// # Panics
    ///
    /// If the condition or the clone does; the entry stays then. Also if the condition itself writes the key
    /// each time it runs, as with [`update`](Self::update).
    ///
    /// # Concurrency
    ///
    /// The condition runs outside every lock and may use the cache. If another write to the key comes first,
    /// it runs again, on the new value.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("k", 1);
    /// assert_eq!(cache.remove_if("k", |n| *n > 1), None);
    /// assert_eq!(cache.remove_if("k", |n| *n == 1), Some(1));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn remove_if<Q>(&self, key: &Q, condition: impl FnMut(&V) -> bool) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
    {
        if is_large::<V>() {
            return self
                .remove_if_keeping(key, condition, |value| Box::new(value.clone()))
                .map(|value| *value);
        }
        self.remove_if_keeping(key, condition, V::clone)
    }

    /// The same, and returns what `keep` makes of the value.
    #[inline(always)]
    fn remove_if_keeping<Q, R>(
        &self,
        key: &Q,
        mut condition: impl FnMut(&V) -> bool,
        keep: impl Fn(&V) -> R,
    ) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        // Before anything is removed: a clone that panics loses no entry.
        let mut kept = None;
        let keep = |node: &Node<K, V>| {
            let is_met = condition(node.value());
            if is_met {
                kept = Some(keep(node.value()));
            }
            is_met
        };
        if self.take(key, keep).is_some() { kept } else { None }
    }

    /// Takes a live entry out, if `keep` says so. `keep` puts what it wants of the entry where its caller finds it:
    /// that may be large. Returns the entry's times, and when its `Expiry` ends it.
    pub(super) fn take<Q>(&self, key: &Q, mut keep: impl FnMut(&Node<K, V>) -> bool) -> Option<Departed>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let place = self.locate(key);
        match self.take_once(place, key, &mut keep, Rounds::new()) {
            Ok(taken) => taken,
            Err(rounds) => self.take_again(place, key, &mut keep, rounds),
        }
    }

    #[cold]
    #[inline(never)]
    fn take_again<Q>(
        &self,
        place: Place<'_, K, V>,
        key: &Q,
        keep: &mut impl FnMut(&Node<K, V>) -> bool,
        mut rounds: Rounds,
    ) -> Option<Departed>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        loop {
            match self.take_once(place, key, keep, rounds) {
                Ok(taken) => return taken,
                Err(lost) => rounds = lost,
            }
        }
    }

    /// One round; if it is lost, the rounds so far.
    #[inline(always)]
    fn take_once<Q>(
        &self,
        Place { hash, shard }: Place<'_, K, V>,
        key: &Q,
        keep: &mut impl FnMut(&Node<K, V>) -> bool,
        rounds: Rounds,
    ) -> Result<Option<Departed>, Rounds>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let at = Lookup::new(hash, key);
        let pin = Pin::new();
        let Some(node) = shard.visible::<false, Q>(at, &pin) else { return Ok(None) };
        let mut round = rounds.begin(Place { hash, shard }, Some(node));
        if !keep(node) {
            return Ok(None);
        }
        Round::has_run(&mut round);
        let (removed, deferred) = shard.depart(at, node);
        // As in `update_once`.
        drop(pin);
        if let Removed::Changed = removed {
            return Err(rounds.lose(round));
        }
        drop(round);
        self.conclude(shard, deferred, RemovalCause::Explicit);
        match removed {
            Removed::Done(departed) => Ok(Some(departed)),
            Removed::Gone | Removed::Changed => Ok(None),
        }
    }
}
