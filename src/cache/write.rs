//! Writes: each changes its key in one critical section, and runs user code outside it. What is left
//! to do afterwards may take locks again. A touch usually takes none.

use super::expiry::created;
use super::handle::Place;
use super::life::changed;
use super::rounds::{Round, Rounds};
use super::{Cache, Parts};
use crate::key_value::{Key, Value};
use crate::life::Life;
use crate::listener::RemovalCause;
use crate::shard::{
    Cleared, Deferred, Lasting, Lifespan, Lookup, NewEntry, OFFERED, Removed, Replaced, Ruling, Shard,
};
use crate::table::{Cursor, Pin};
use crate::time::Span;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// Values of so many bytes are copied once more without a thought.
const SMALL: usize = 64;

/// Whether a type is primitive: then its values are cloned and compared by no code of the user's, so that it may be done under a lock. The compiler
/// knows the answer.
#[inline(always)]
pub(super) fn is_primitive<T: 'static>() -> bool {
    use std::any::TypeId;
    macro_rules! is_one_of {
        ($($plain:ty),*) => { false $(|| TypeId::of::<T>() == TypeId::of::<$plain>())* };
    }
    is_one_of!(u64, i64, u32, i32, usize, isize, u128, i128, u16, i16, u8, i8, char, bool)
}

/// Returns whether keys of type `K` are primitive, and `Q` is the same type. (`Q` need not be `'static`, so it is recognised by its name. If a name
/// ever deceived, an `Eq` of the user's would run under the lock without having said "equal" outside it first.)
#[inline(always)]
pub(super) fn is_plain<K: 'static, Q: ?Sized>() -> bool {
    is_primitive::<K>() && std::any::type_name::<Q>() == std::any::type_name::<K>()
}

/// Write.
impl<K, V, S> Cache<K, V, S>
where
    K: Key,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Stores an entry, with the cache's time to live and a new age. Over an equal key, key and value are
    /// replaced, in one step for readers.
    ///
    /// # Panics
    ///
    /// If a shard would hold more than 2^27 - 64 entries, with the values that wait to be dropped.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("k", 1);
    /// cache.insert("k", 2);
    /// assert_eq!(cache.get("k"), Some(2));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn insert(&self, key: K, value: V) {
        self.store(self.locate(&key), &mut Some((key, value)), Lasting::New(self.parts().config.ttl));
    }

    /// As [`insert`](Self::insert), with a time to live of its own, which touches and updates restart.
    /// Zero: the entry is never visible, and a bounded cache evicts nothing for it. More than 146 years:
    /// for ever.
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert_with_ttl("k", 1, Duration::from_secs(60));
    /// assert!(cache.remaining_ttl("k") <= Some(Duration::from_secs(60)));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn insert_with_ttl(&self, key: K, value: V, ttl: Duration) {
        self.store(self.locate(&key), &mut Some((key, value)), Lasting::New(Span::from_duration(ttl)));
    }

    /// Stores what is offered, and has taken it when it returns.
    #[inline(always)]
    pub(super) fn store(
        &self,
        Place { hash, shard }: Place<'_, K, V>,
        offered: &mut Option<(K, V)>,
        lasting: Lasting,
    ) {
        match lasting {
            Lasting::New(ttl) if self.parts().expiry.is_none() && self.parts().weigher.is_none() => {
                let deferred = shard.insert(hash, offered, ttl);
                self.conclude(shard, deferred, RemovalCause::Replaced);
            }
            _ => self.store_as(Place { hash, shard }, offered, lasting),
        }
    }

    /// Stores like `store`, with any weight and any lifespan. A separate function, so that the
    /// usual case is short.
    #[inline(never)]
    fn store_as(
        &self,
        Place { hash, shard }: Place<'_, K, V>,
        offered: &mut Option<(K, V)>,
        lasting: Lasting,
    ) {
        let deferred = if self.parts().expiry.is_some() {
            self.insert_as_ruled(Place { hash, shard }, offered, lasting)
        } else {
            let (weight, lifespan) = (self.weigh_offer(offered), Lifespan::of(lasting));
            shard.insert_as(self, NewEntry { hash, entry: offered, weight, lifespan })
        };
        self.conclude(shard, deferred, RemovalCause::Replaced);
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
    #[inline]
    pub fn try_insert(&self, key: K, value: V) -> Result<(), (K, V)> {
        self.try_store(key, value, Lasting::New(self.parts().config.ttl))
    }

    #[inline]
    pub(super) fn try_store(&self, key: K, value: V, lasting: Lasting) -> Result<(), (K, V)> {
        let Place { hash, shard } = self.locate(&key);
        let Parts { expiry, .. } = self.parts();
        let ruling = expiry.as_deref().map_or(Ruling::NONE, |expiry| created(expiry, &key, &value));
        let weight = self.weigh(&key, &value);
        let mut offered = Some((key, value));
        let lifespan = Lifespan { lasting, ruling };
        let new = NewEntry { hash, entry: &mut offered, weight, lifespan };
        if let Some(deferred) = shard.try_insert(self, new) {
            self.conclude(shard, deferred, RemovalCause::Replaced);
        }
        match offered {
            Some(refused) => Err(refused),
            None => Ok(()),
        }
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
        self.replace_lasting(key, value, Life::Restart)
    }

    #[inline]
    pub(super) fn replace_lasting<Q>(&self, key: &Q, value: V, life: Life) -> Result<(), V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        K: Clone,
    {
        let Place { hash, shard } = self.locate(key);
        let Parts { expiry, weigher, .. } = self.parts();
        let at = Lookup::new(hash, key);
        let is_usual = life == Life::Restart && expiry.is_none() && weigher.is_none();
        if is_usual && is_plain::<K, Q>() && size_of::<V>() <= SMALL {
            let (done, deferred) = shard.replace_plain(at, value);
            self.conclude(shard, deferred, RemovalCause::Replaced);
            return done;
        }
        let pin = Pin::new();
        let Some(node) = shard.visible::<false, Q>(at, &pin) else {
            return Err(value);
        };
        let mut offered = Some((node.key().clone(), value));
        drop(pin);
        let (_, deferred) = if let Some(expiry) = expiry {
            self.replace_as_ruled(&**expiry, Place { hash, shard }, &mut offered, life)
        } else {
            let (weight, lifespan) = (self.weigh_offer(&offered), Lifespan::of(life.of_update()));
            shard.replace(self, NewEntry { hash, entry: &mut offered, weight, lifespan }, None)
        };
        self.conclude(shard, deferred, RemovalCause::Replaced);
        // What was not taken is there.
        offered.map_or(Ok(()), |(_, value)| Err(value))
    }

    /// Computes a new value from the old one and stores it, atomically. Restarts the time to live
    /// and keeps the age. Returns false if there is no live entry, or if none is left when the new
    /// value is ready.
    ///
    /// The time to live starts again, so an entry that is updated often enough never ends by it.
    /// For a fixed window, such as a rate limit's, use [`with_life`](Self::with_life) and
    /// [`Life::Keep`], or a [`max_age`](crate::CacheBuilder::max_age). To return something from the
    /// closure, use [`update_with`](Self::update_with).
    ///
    /// # Panics
    ///
    /// If the closure does; nothing is changed then. Also if the closure itself writes the key each
    /// time it runs: it has to run again after each such write, and would never end.
    ///
    /// # Concurrency
    ///
    /// The closure runs outside every lock and may use the cache, preferably other keys. If another
    /// write to the key comes first, the closure runs again, on that write's value. So no update is
    /// lost, and whatever else the closure does must be harmless when done twice. While it runs,
    /// nothing that is removed meanwhile is dropped; between two runs it can be.
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
        self.update_lasting(key, |old| Some((compute(old), ())), Life::Restart).is_some()
    }

    /// As [`update`](Self::update), and returns what the closure returns besides the new value,
    /// such as a count or the old value. `None` if nothing was stored, because there is no live
    /// entry.
    ///
    /// What is returned comes from the run whose value was stored. So of several calls that count a
    /// key up, each gets another number.
    ///
    /// # Panics
    ///
    /// As `update`.
    ///
    /// # Concurrency
    ///
    /// As `update`.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("ticket", 0);
    /// let next = || cache.update_with("ticket", |n| (n + 1, n + 1));
    /// assert_eq!((next(), next()), (Some(1), Some(2)));
    /// assert_eq!(cache.update_with("none", |n| (n + 1, *n)), None);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn update_with<Q, R>(&self, key: &Q, mut compute: impl FnMut(&V) -> (V, R)) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        K: Clone,
    {
        self.update_lasting(key, |old| Some(compute(old)), Life::Restart)
    }

    /// As [`update_with`](Self::update_with), with a closure that may return `None`. Then the entry
    /// and its time to live stay as they are, and `None` is returned. The closure decides about the
    /// value that it was shown: if another write comes first, it is asked again.
    ///
    /// # Panics
    ///
    /// As [`update`](Self::update).
    ///
    /// # Concurrency
    ///
    /// As [`update`](Self::update).
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("stock", 1);
    /// let sell = || cache.optionally_update_with("stock", |n| (*n > 0).then(|| (n - 1, n - 1)));
    /// assert_eq!((sell(), sell()), (Some(0), None));
    /// assert_eq!(cache.get("stock"), Some(0));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn optionally_update_with<Q, R>(
        &self,
        key: &Q,
        compute: impl FnMut(&V) -> Option<(V, R)>,
    ) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        K: Clone,
    {
        self.update_lasting(key, compute, Life::Restart)
    }

    /// As [`update_with`](Self::update_with), but the closure changes a clone of the value in place. Returns what the closure returns.
    ///
    /// # Panics
    ///
    /// As [`update`](Self::update), and if the clone does; nothing is changed then.
    ///
    /// # Concurrency
    ///
    /// As [`update`](Self::update). If a run is lost to another write, its clone is dropped.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert("stack", vec![1, 2]);
    /// assert_eq!(cache.modify("stack", |stack| stack.pop()), Some(Some(2)));
    /// assert_eq!(cache.get("stack"), Some(vec![1]));
    /// assert_eq!(cache.modify("none", |stack| stack.pop()), None);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn modify<Q, R>(&self, key: &Q, mut change: impl FnMut(&mut V) -> R) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        K: Clone,
        V: Clone,
    {
        self.update_lasting(key, |old| Some(changed(old, &mut change)), Life::Restart)
    }

    #[inline]
    pub(super) fn update_lasting<Q, R>(
        &self,
        key: &Q,
        mut compute: impl FnMut(&V) -> Option<(V, R)>,
        life: Life,
    ) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        K: Clone,
    {
        match self.update_once(key, &mut compute, life, Rounds::new()) {
            Ok(done) => done,
            Err(rounds) => self.update_again(key, &mut compute, life, rounds),
        }
    }

    #[cold]
    #[inline(never)]
    fn update_again<Q, R>(
        &self,
        key: &Q,
        compute: &mut impl FnMut(&V) -> Option<(V, R)>,
        life: Life,
        mut rounds: Rounds,
    ) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        K: Clone,
    {
        loop {
            match self.update_once(key, compute, life, rounds) {
                Ok(done) => return done,
                Err(lost) => rounds = lost,
            }
        }
    }

    /// Ends a round that is lost, with what its attempt to store left to do. Returns the rounds so
    /// far.
    #[cold]
    #[inline(never)]
    pub(super) fn lose(
        &self,
        shard: &Shard<K, V>,
        deferred: Deferred<K, V>,
        rounds: Rounds,
        round: Option<Round<'_, K, V>>,
    ) -> Rounds {
        self.conclude(shard, deferred, RemovalCause::Size);
        rounds.lose(round)
    }

    /// One round; if it is lost, the rounds so far.
    #[inline(always)]
    fn update_once<Q, R>(
        &self,
        key: &Q,
        compute: &mut impl FnMut(&V) -> Option<(V, R)>,
        life: Life,
        rounds: Rounds,
    ) -> Result<Option<R>, Rounds>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        K: Clone,
    {
        let Place { hash, shard } = self.locate(key);
        let Parts { expiry, .. } = self.parts();
        let pin = Pin::new();
        let Some(node) = shard.visible::<false, Q>(Lookup::new(hash, key), &pin) else {
            return Ok(None);
        };
        let mut round = rounds.begin(Place { hash, shard }, Some(node));
        let new_key = node.key().clone();
        let Some((value, answer)) = compute(node.value()) else { return Ok(None) };
        let mut offered = Some((new_key, value));
        let (new_key, value) = offered.as_ref().expect(OFFERED);
        let ruling = match expiry {
            None => Ruling::NONE,
            Some(_) if life == Life::Keep => Ruling::Keep,
            Some(expiry) => self.updated(&**expiry, new_key, value, node),
        };
        let weight = self.weigh(new_key, value);
        Round::has_run(&mut round);
        let lifespan = Lifespan { lasting: life.of_update(), ruling };
        let new = NewEntry { hash, entry: &mut offered, weight, lifespan };
        let (replaced, deferred) = shard.replace(self, new, Some(node));
        // From here on, user code may run for long: what others removed must not wait for it.
        drop(pin);
        if replaced == Replaced::Changed {
            return Err(self.lose(shard, deferred, rounds, round));
        }
        drop(round);
        self.conclude(shard, deferred, RemovalCause::Replaced);
        Ok(Some(answer).filter(|_| replaced == Replaced::Done))
    }

    /// Restarts a live entry's time to live, and its time to idle. It never shortens what the entry has
    /// left: a persisted entry stays persisted. Returns false if there is no live entry.
    ///
    /// # Concurrency
    ///
    /// Takes no lock, with two exceptions. It takes the lock of the key's shard if it meets a writer at
    /// that very entry. It also does so in a cache with a [`max_age`](crate::CacheBuilder::max_age),
    /// with an [`Expiry`](crate::Expiry), or with both a
    /// [`time_to_idle`](crate::CacheBuilder::time_to_idle) and a time to live, and in one where any
    /// entry has ever had a time to live of its own.
    ///
    /// A touch that returns true is not undone by the reaper or by a replacement under way.
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
        let Place { hash, shard } = self.locate(key);
        let pin = Pin::new();
        shard.touch(Lookup::new(hash, key), &pin)
    }

    /// Gives a live entry a new time to live, from now on, which may be shorter or longer. Zero ends it at
    /// once; more than 146 years means for ever. Returns false if there is no live entry.
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
        let Place { hash, shard } = self.locate(key);
        let (done, deferred) = shard.set_ttl(Lookup::new(hash, key), Span::from_duration(ttl));
        self.conclude(shard, deferred, RemovalCause::Replaced);
        done
    }

    /// Takes a live entry's time to live away. Then it lives for ever, or until the cache's maximal age or
    /// time to idle, or an [`Expiry`](crate::Expiry), ends it. Returns false if there is no live entry.
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

    /// Removes an entry. Returns whether there was a live one.
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
        let Place { hash, shard } = self.locate(key);
        let (removed, deferred) = shard.remove(Lookup::new(hash, key), |_| ());
        self.conclude(shard, deferred, RemovalCause::Explicit);
        matches!(removed, Removed::Done(..))
    }

    /// Removes every entry that is there when it is called, and every value that takes the place of
    /// one of them meanwhile: by `replace`, `update`, a computation, a load begun before, or under
    /// another key by `rename`. What is inserted meanwhile may stay or go.
    ///
    /// # Complexity
    ///
    /// O(entries), and O(1) for each empty bucket of the table. It holds a shard's lock for a
    /// bounded number of them at a time. While calls of the shard load or compute, each four buckets
    /// take O(such calls) more.
    ///
    /// # Concurrency
    ///
    /// It goes from key to key, in no particular order. Until it comes to a key, reads find the
    /// entry, and writes to it succeed. From then on it is as if the key had been removed. Once the
    /// call has returned, nobody finds any of the entries. The listener is told of each, by this
    /// thread, before the call returns.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// cache.insert(1, 'a');
    /// cache.insert(2, 'b');
    /// cache.invalidate_all();
    /// assert_eq!(cache.entry_count(), 0);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    #[doc(alias = "clear")]
    pub fn invalidate_all(&self) {
        let _clearing = self.parts().clearings.begin();
        for shard in &self.parts().shards {
            let mut cursor = Cursor::START;
            while !cursor.is_at_end() {
                let Cleared { removed, deferred } = shard.clear_some(&mut cursor);
                self.conclude(shard, deferred, RemovalCause::Explicit);
                for node in removed {
                    self.notify(shard, node, RemovalCause::Explicit);
                }
            }
        }
    }
}
