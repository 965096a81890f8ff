//! Reads: no reference count, and no lock but in the cases that the documentation of [`Cache`] lists.
//! A read moves no deadline, except that it restarts a time to idle, and that an `Expiry` may give
//! another end.

use super::Cache;
use super::guard::remaining;
use super::handle::Place;
use crate::hash::HashBits;
use crate::key_value::{Key, Value};
use crate::shard::{Looked, Lookup, OnUse};
use crate::table::{Brief, Look, Node, Pin, Route, same_as};
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// Read.
impl<K, V, S> Cache<K, V, S>
where
    K: Key,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
    /// A clone of a key's value. Counts as use.
    ///
    /// Where values are dear to clone, see [`read`](Self::read) and [`read_guard`](Self::read_guard); an
    /// `Arc` is not cheap to clone either when many threads do it to the same one.
    ///
    /// # Concurrency
    ///
    /// Takes no lock, with [few exceptions](Self#reads-and-locks). The key's `Hash` and `Eq`, and `V::clone`, run while this
    /// thread's epoch is pinned.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("k".to_string(), 7);
    /// assert_eq!(cache.get("k"), Some(7));
    /// assert_eq!(cache.get("other"), None);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
    {
        self.read(key, V::clone)
    }

    /// Runs a closure on a key's value, without a clone. Counts as use.
    ///
    /// # Concurrency
    ///
    /// Takes no lock, with [few exceptions](Self#reads-and-locks). The closure may use the cache. While it runs, nothing that is removed meanwhile is
    /// dropped.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("k", "long text".to_string());
    /// assert_eq!(cache.read("k", |text| text.len()), Some(9));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[inline]
    pub fn read<Q, R>(&self, key: &Q, run: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        match self.parts().on_use {
            OnUse::Nothing => self.read_at_once(key, false, run),
            OnUse::CountHit => self.read_at_once(key, true, run),
            OnUse::More => self.read_and_note(key, run),
        }
    }

    /// A pin and a first look, straight on. Whatever takes more than these is done elsewhere, so that nothing is kept for it.
    #[inline(always)]
    fn read_at_once<Q, R>(&self, key: &Q, counts: bool, run: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let Some(pin) = Brief::new() else { return self.read_pinned(key, counts, run) };
        let (hash, route) = self.seek(key);
        match route.look(hash, same_as(key), counts, &pin) {
            Look::Here(node) if node.is_plainly_visible(&self.parts().clock, &pin) => Some(run(node.value())),
            Look::Here(node) => self.read_after_all(node, key, run, &pin),
            Look::Nowhere => None,
            Look::Unclear => {
                drop(pin);
                self.read_further(key, counts, run)
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn read_after_all<Q, R>(
        &self,
        node: &Node<K, V>,
        key: &Q,
        run: impl FnOnce(&V) -> R,
        pin: &Pin,
    ) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.visible_after_all(node, key, pin).map(Node::value).map(run)
    }

    /// The same where a `Brief` is not to be had: under another pin, and where threads have no slots.
    #[inline(never)]
    fn read_pinned<Q, R>(&self, key: &Q, counts: bool, run: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let pin = Pin::new();
        self.visible(key, counts, &pin).map(Node::value).map(run)
    }

    #[cold]
    #[inline(never)]
    fn read_further<Q, R>(&self, key: &Q, counts: bool, run: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let pin = Pin::new();
        self.visible_further(key, counts, &pin).map(Node::value).map(run)
    }

    /// As [`get`](Self::get), but does not count as use, and does not restart a time to idle.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("k", 7);
    /// assert_eq!(cache.peek("k"), Some(7));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[inline]
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
    {
        let pin = Pin::new();
        self.visible(key, false, &pin).map(|node| node.value().clone())
    }

    /// As [`read`](Self::read), but does not count as use, and does not restart a time to idle.
    ///
    /// # Concurrency
    ///
    /// As `read`.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("k", "long text".to_string());
    /// assert_eq!(cache.peek_with("k", |text| text.len()), Some(9));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[inline]
    pub fn peek_with<Q, R>(&self, key: &Q, run: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let pin = Pin::new();
        self.visible(key, false, &pin).map(Node::value).map(run)
    }

    /// Whether a key has a live entry. Counts as no use.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("k", 7);
    /// assert!(cache.contains_key("k"));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[inline]
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let pin = Pin::new();
        self.visible(key, false, &pin).is_some()
    }

    /// How long a key's entry would live on if nobody wrote or touched it: `Some(Duration::MAX)` for ever,
    /// `None` if there is no live entry. Counts as no use.
    ///
    /// ```
    /// use std::time::Duration;
    /// let clock = tidewheel::ManualClock::new();
    /// let cache = tidewheel::Cache::builder()
    ///     .time_to_live(Duration::from_secs(5)).clock(clock.clone()).build()?;
    /// cache.insert("k", 7);
    /// clock.advance(Duration::from_secs(2));
    /// assert_eq!(cache.remaining_ttl("k"), Some(Duration::from_secs(3)));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[must_use]
    pub fn remaining_ttl<Q>(&self, key: &Q) -> Option<Duration>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let Place { hash, shard } = self.locate(key);
        let pin = Pin::new();
        let clock = &self.parts().clock;
        let (_, left) = shard.alive::<false, Q, _>(Lookup::new(hash, key), &pin, |node| {
            let now = clock.now();
            Some(remaining(node.visible_until(now)?, now))
        })?;
        Some(left)
    }
}

/// Look a key up, for whatever is to be done with its entry.
impl<K, V, S> Cache<K, V, S>
where
    K: Key,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
    /// The node of a live entry. If it `counts`, it was hit once more.
    #[inline(always)]
    pub(crate) fn visible<'g, Q>(&'g self, key: &Q, counts: bool, pin: &'g Pin) -> Option<&'g Node<K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let (hash, route) = self.seek(key);
        self.visible_at(hash, route, key, counts, pin)
    }

    /// As `visible`, where it takes more than a look at the node that a first look has found. Hashes anew if it has to, so
    /// that a look keeps nothing for it.
    #[cold]
    #[inline(never)]
    fn visible_after_all<'g, Q>(
        &'g self,
        node: &'g Node<K, V>,
        key: &Q,
        pin: &'g Pin,
    ) -> Option<&'g Node<K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let clock = &self.parts().clock;
        if node.is_visible(|| pin.with_trust(|trust| clock.after_all(trust))) {
            return Some(node);
        }
        let Place { hash, shard } = self.locate(key);
        shard.visible::<false, Q>(Lookup::new(hash, key), pin)
    }

    /// As `visible`, where a first look has found nothing out. Begins anew.
    #[cold]
    #[inline(never)]
    fn visible_further<'g, Q>(&'g self, key: &Q, counts: bool, pin: &'g Pin) -> Option<&'g Node<K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let (hash, route) = self.seek(key);
        let node = route.find_after_all(hash, same_as(key), counts, pin)?;
        if node.is_plainly_visible(&self.parts().clock, pin) {
            return Some(node);
        }
        self.visible_after_all(node, key, pin)
    }

    /// The node of a live entry, for a read that counts as use.
    #[inline]
    pub(crate) fn used<'g, Q>(&'g self, key: &Q, pin: &'g Pin) -> Option<&'g Node<K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        match self.parts().on_use {
            OnUse::Nothing => self.visible(key, false, pin),
            OnUse::CountHit => self.visible(key, true, pin),
            OnUse::More => self.used_and_noted(key, pin),
        }
    }

    /// The node of a live entry, the time, when the entry ends, and its times. Takes the lock.
    pub(crate) fn look<'g, Q>(&'g self, key: &Q, pin: &'g Pin) -> Option<Looked<'g, K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let Place { hash, shard } = self.locate(key);
        shard.look(Lookup::new(hash, key), pin)
    }

    /// As `visible`, where it is known already where the key belongs.
    #[inline(always)]
    pub(super) fn visible_at<'g, Q>(
        &'g self,
        hash: HashBits,
        route: &'g Route<K, V>,
        key: &Q,
        counts: bool,
        pin: &'g Pin,
    ) -> Option<&'g Node<K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        match route.look(hash, same_as(key), counts, pin) {
            Look::Here(node) if node.is_plainly_visible(&self.parts().clock, pin) => Some(node),
            Look::Here(node) => self.visible_after_all(node, key, pin),
            Look::Nowhere => None,
            Look::Unclear => self.visible_further(key, counts, pin),
        }
    }
}
