//! Writes: each takes the lock of one shard, once, and runs user code outside it.

use super::rounds::{Round, Rounds};
use super::rule::created;
use super::{Cache, Parts};
use crate::hash::HashBits;
use crate::listener::RemovalCause;
use crate::shard::{Cleared, Life, Removed, Replaced, Ruling, Shard, Times};
use crate::table::{Cursor, Node, Pin, same_as};
use crate::time::{Span, Tick};
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Stores an entry, with the cache's time to live and a new age. Over an equal key, key and value are
    /// replaced, in one step for readers.
    ///
    /// # Panics
    ///
    /// If a shard would hold more than 2^27 entries.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("k", 1);
    /// cache.insert("k", 2);
    /// assert_eq!(cache.get("k"), Some(2));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn insert(&self, key: K, value: V) {
        self.store(self.locate(&key), (key, value), self.parts().terms.ttl);
    }

    /// As [`insert`](Self::insert), with a time to live of its own, which touches and updates restart.
    /// Zero: the entry is never visible. More than 146 years: for ever.
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert_with_ttl("k", 1, Duration::from_secs(60));
    /// assert!(cache.remaining_ttl("k") <= Some(Duration::from_secs(60)));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn insert_with_ttl(&self, key: K, value: V, ttl: Duration) {
        self.store(self.locate(&key), (key, value), Span::from_duration(ttl));
    }

    fn store(&self, (hash, shard): (HashBits, &Shard<K, V>), entry: (K, V), ttl: Span) {
        let Parts { expiry, .. } = self.parts();
        let chores = if let Some(expiry) = expiry {
            self.insert_as_ruled(&**expiry, (hash, shard), entry, ttl)
        } else {
            let weight = self.weigh(&entry.0, &entry.1);
            shard.insert(self, hash, entry, weight, (Life::New(ttl), Ruling::NONE))
        };
        self.conclude(shard, chores, RemovalCause::Replaced);
    }

    /// Stores an entry if the key has no live one.
    ///
    /// # Errors
    ///
    /// Hands key and value back if there is a live entry: of several callers, one succeeds.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// assert_eq!(cache.try_insert("k", 1), Ok(()));
    /// assert_eq!(cache.try_insert("k", 2), Err(("k", 2)));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn try_insert(&self, key: K, value: V) -> Result<(), (K, V)> {
        let (hash, shard) = self.locate(&key);
        let Parts { terms, expiry, .. } = self.parts();
        let ruling = expiry.as_deref().map_or(Ruling::NONE, |expiry| created(expiry, &key, &value));
        let weight = self.weigh(&key, &value);
        let life = (Life::New(terms.ttl), ruling);
        let (result, chores) = shard.try_insert(self, hash, ((key, value), weight), life);
        self.conclude(shard, chores, RemovalCause::Replaced);
        result
    }

    /// Stores a value under a key that has a live entry; restarts its time to live and keeps its age.
    ///
    /// # Errors
    ///
    /// Hands the value back if there is no live entry: what is gone does not come back.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// assert_eq!(cache.replace("k", 1), Err(1));
    /// cache.insert("k", 2);
    /// assert_eq!(cache.replace("k", 3), Ok(()));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn replace<Q>(&self, key: &Q, value: V) -> Result<(), V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        K: Clone,
    {
        let (hash, shard) = self.locate(key);
        let Parts { terms, expiry, .. } = self.parts();
        let pin = Pin::new();
        let Some(node) = shard.visible::<false>(&terms.clock, hash, same_as(key), &pin) else {
            return Err(value);
        };
        let entry = (node.key().clone(), value);
        drop(pin);
        let (replaced, chores) = if let Some(expiry) = expiry {
            self.replace_as_ruled(&**expiry, (hash, shard), entry)
        } else {
            let weight = self.weigh(&entry.0, &entry.1);
            shard.replace(self, hash, (entry, weight), (None, Ruling::NONE))
        };
        self.conclude(shard, chores, RemovalCause::Replaced);
        match replaced {
            Replaced::Done => Ok(()),
            // `Changed` does not come: nothing in particular was expected.
            Replaced::Gone(_, value) | Replaced::Changed(_, value) => Err(value),
        }
    }

    /// Computes a new value from the old one and stores it, atomically; restarts the time to live and keeps
    /// the age. False if there is no live entry, or none is left when the new value is ready.
    ///
    /// # Panics
    ///
    /// If the closure does; nothing is changed then. And if the closure itself writes the key, each time that it runs, because that would
    /// never end: it has to run again after each write.
    ///
    /// # Concurrency
    ///
    /// The closure runs outside every lock and may use the cache, other keys above all. If another write to the key comes
    /// first, it runs again, on that write's value, so whatever else it does must be harmless when done
    /// twice. No update is lost. While it runs, nothing that is removed meanwhile is dropped; between two runs it can be.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("hits", 1);
    /// assert!(cache.update("hits", |n| n + 1));
    /// assert_eq!(cache.get("hits"), Some(2));
    /// assert!(!cache.update("misses", |n| n + 1));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn update<Q>(&self, key: &Q, mut compute: impl FnMut(&V) -> V) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
        K: Clone,
    {
        match self.update_once(key, &mut compute, Rounds::new()) {
            Ok(done) => done,
            Err(rounds) => self.update_again(key, &mut compute, rounds),
        }
    }

    #[cold]
    #[inline(never)]
    fn update_again<Q>(&self, key: &Q, compute: &mut impl FnMut(&V) -> V, mut rounds: Rounds) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
        K: Clone,
    {
        loop {
            match self.update_once(key, compute, rounds) {
                Ok(done) => return done,
                Err(lost) => rounds = lost,
            }
        }
    }

    /// One round; if it is lost, the rounds so far.
    #[inline(always)]
    fn update_once<Q>(
        &self,
        key: &Q,
        compute: &mut impl FnMut(&V) -> V,
        rounds: Rounds,
    ) -> Result<bool, Rounds>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        K: Clone,
    {
        let (hash, shard) = self.locate(key);
        let Parts { terms, expiry, .. } = self.parts();
        let pin = Pin::new();
        let Some(node) = shard.visible::<false>(&terms.clock, hash, same_as(key), &pin) else {
            return Ok(false);
        };
        let mut round = rounds.begin((hash, shard), Some(node), &pin);
        let entry = (node.key().clone(), compute(node.value()));
        let ruling = match expiry {
            None => Ruling::NONE,
            Some(expiry) => self.updated(&**expiry, (&entry.0, &entry.1), node),
        };
        let weight = self.weigh(&entry.0, &entry.1);
        Round::has_run(&mut round);
        let (replaced, chores) = shard.replace(self, hash, (entry, weight), (Some(node), ruling));
        // From here on user code runs that may take its time: nobody else's memory waits for it.
        drop(pin);
        if let Replaced::Changed(..) = replaced {
            return Err(rounds.lose(round));
        }
        drop(round);
        self.conclude(shard, chores, RemovalCause::Replaced);
        Ok(matches!(replaced, Replaced::Done))
    }

    /// Restarts a live entry's own time to live. Never shortens what it has, and leaves a persisted entry
    /// as it is. False if there is no live entry.
    ///
    /// # Concurrency
    ///
    /// Usually takes no lock. A touch that returns true is not undone by the reaper or by a replacement
    /// under way.
    ///
    /// ```
    /// use std::time::Duration;
    /// let clock = tidewheel::ManualClock::new();
    /// let cache = tidewheel::Cache::builder()
    ///     .time_to_live(Duration::from_secs(5)).clock(clock.clone()).build()?;
    /// cache.insert("k", 1);
    /// clock.advance(Duration::from_secs(4));
    /// assert!(cache.touch("k"));
    /// assert_eq!(cache.remaining_ttl("k"), Some(Duration::from_secs(5)));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn touch<Q>(&self, key: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let (hash, shard) = self.locate(key);
        let pin = Pin::new();
        shard.touch(&self.parts().terms, hash, same_as(key), &pin)
    }

    /// Gives a live entry a new time to live, from now on, shorter or longer. False if there is none.
    /// Zero ends it at once; more than 146 years means for ever.
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("k", 1);
    /// assert!(cache.set_ttl("k", Duration::from_secs(1)));
    /// assert!(cache.remaining_ttl("k") <= Some(Duration::from_secs(1)));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn set_ttl<Q>(&self, key: &Q, ttl: Duration) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let (hash, shard) = self.locate(key);
        let is_key = same_as(key);
        let (done, chores) = shard.set_ttl(&self.parts().terms, hash, is_key, Span::from_duration(ttl));
        self.conclude(shard, chores, RemovalCause::Replaced);
        done
    }

    /// Takes a live entry's time to live away, so that it lives for ever, or until the cache's maximal age.
    /// False if there is none.
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache = tidewheel::Cache::builder().time_to_live(Duration::from_secs(5)).build()?;
    /// cache.insert("k", 1);
    /// assert!(cache.persist("k"));
    /// assert_eq!(cache.remaining_ttl("k"), Some(Duration::MAX));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn persist<Q>(&self, key: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.set_ttl(key, Duration::MAX)
    }

    /// Removes an entry. Whether there was a live one.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("k", 1);
    /// assert!(cache.invalidate("k"));
    /// assert!(!cache.invalidate("k"));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn invalidate<Q>(&self, key: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let (hash, shard) = self.locate(key);
        let is_key = same_as(key);
        let (removed, chores) = shard.remove(&self.parts().terms, hash, is_key, None);
        self.conclude(shard, chores, RemovalCause::Explicit);
        matches!(removed, Removed::Done(..))
    }

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
        let (hash, shard) = self.locate(key);
        loop {
            let removed = self.remove_if(key, |_| true);
            // If there is none, one may be under way, which is not to be kept.
            if removed.is_some() || shard.is_gone(&self.parts().terms, hash, same_as(key)) {
                return removed;
            }
        }
    }

    /// Removes a live entry if its value satisfies a condition, and returns a clone of the value. The entry
    /// that is removed is the one that was looked at.
    ///
    /// # Panics
    ///
    /// If the condition or the clone does; the entry stays then. And if the condition itself writes the key, each time that it
    /// runs, as with [`update`](Self::update).
    ///
    /// # Concurrency
    ///
    /// The condition runs outside every lock and may use the cache; if a write to the key comes between,
    /// it runs again on the new value.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("k", 1);
    /// assert_eq!(cache.remove_if("k", |n| *n > 1), None);
    /// assert_eq!(cache.remove_if("k", |n| *n == 1), Some(1));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn remove_if<Q>(&self, key: &Q, mut condition: impl FnMut(&V) -> bool) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
    {
        // Cloned before anything is removed: a clone that panics loses no entry.
        let keep = |node: &Node<K, V>| condition(node.value()).then(|| node.value().clone());
        self.take(key, keep).map(|(value, ..)| value)
    }

    /// Takes a live entry out, if `keep` makes something of it. Returns that, its times, and when its `Expiry` ends it.
    pub(super) fn take<Q, R>(
        &self,
        key: &Q,
        mut keep: impl FnMut(&Node<K, V>) -> Option<R>,
    ) -> Option<(R, Times, Tick)>
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
    fn take_again<Q, R>(
        &self,
        place: (HashBits, &Shard<K, V>),
        key: &Q,
        keep: &mut impl FnMut(&Node<K, V>) -> Option<R>,
        mut rounds: Rounds,
    ) -> Option<(R, Times, Tick)>
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
    fn take_once<Q, R>(
        &self,
        (hash, shard): (HashBits, &Shard<K, V>),
        key: &Q,
        keep: &mut impl FnMut(&Node<K, V>) -> Option<R>,
        rounds: Rounds,
    ) -> Result<Option<(R, Times, Tick)>, Rounds>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let is_key = same_as(key);
        let terms = &self.parts().terms;
        let pin = Pin::new();
        let Some(node) = shard.visible::<false>(&terms.clock, hash, is_key, &pin) else { return Ok(None) };
        let mut round = rounds.begin((hash, shard), Some(node), &pin);
        let Some(kept) = keep(node) else { return Ok(None) };
        Round::has_run(&mut round);
        let (removed, chores) = shard.remove(terms, hash, is_key, Some(node));
        // As in `update_once`.
        drop(pin);
        if let Removed::Changed = removed {
            return Err(rounds.lose(round));
        }
        drop(round);
        self.conclude(shard, chores, RemovalCause::Explicit);
        match removed {
            Removed::Done(times, expires) => Ok(Some((kept, times, expires))),
            Removed::Gone | Removed::Changed => Ok(None),
        }
    }

    /// Removes every entry that is there when it is called, and every value that takes the place of one of them meanwhile:
    /// by `replace`, `update`, a computation, or a load begun before, or under another key by `rename`. What is inserted meanwhile
    /// may stay or go.
    ///
    /// # Complexity
    ///
    /// O(entries), and O(1) for each bucket of the table that is empty; holds a shard's lock for a bounded number of them at a
    /// time.
    ///
    /// # Concurrency
    ///
    /// It goes from key to key, in no order. Until it comes to a key, reads find the entry, and writes to it succeed; afterwards
    /// it is as if the key had been removed. Nobody finds any of the entries once it has returned.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert(1, 'a');
    /// cache.insert(2, 'b');
    /// cache.invalidate_all();
    /// assert_eq!(cache.entry_count(), 0);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn invalidate_all(&self) {
        let _clearing = self.parts().clearings.begin();
        for shard in &self.parts().shards {
            let mut cursor = Cursor::START;
            while !cursor.is_at_end() {
                let Cleared { removed, chores } = shard.clear_some(&self.parts().terms, &mut cursor);
                self.conclude(shard, chores, RemovalCause::Explicit);
                for node in removed {
                    self.tell(shard, node, RemovalCause::Explicit);
                }
            }
        }
    }
}
