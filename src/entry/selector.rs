//! A key of a cache, selected, and what its caller wants done with the key's entry.
//!
//! This file says what each call means, and in which form the selector has the key. A hit is a `get`.
//! The cache does everything else: `cache/load/` makes what is missing, and `cache/compute.rs` changes
//! what is there.

use super::key::{EntryKey, LentKey, OwnedKey};
use super::{CompResult, Entry, Op};
use crate::cache::{
    Cache, Made, Origin, fallible, option, optional, result, served, value, wants_option, wants_place,
    wants_result, wants_value,
};
use crate::error::TimedOut;
use crate::hash::RandomState;
use crate::inflight::{Outcome, Wants};
use crate::key_value::{Key, Value};
use crate::life::Life;
use crate::sync::{Alarm, Arc};
use equivalent::Equivalent;
use std::convert::Infallible;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

impl<K, V, S> Cache<K, V, S>
where
    K: Key + Clone,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Selects a key. The selector's methods then make, change or remove its entry, depending on
    /// what is there. See [`EntrySelector`].
    ///
    /// This call itself does nothing yet. Keys are cloned, since an [`Entry`] has one of its own.
    ///
    /// ```
    /// let cache = tidewheel::Cache::new(100);
    /// let count = |word| cache.entry(word).and_upsert_with(|old| old.map_or(0, |old| old.into_value()) + 1);
    /// count("a");
    /// assert_eq!(count("a").into_value(), 2);
    /// ```
    pub fn entry(&self, key: K) -> EntrySelector<'_, K, V, S> {
        EntrySelector { cache: self, key: OwnedKey(key), life: Life::Restart, limit: None }
    }

    /// As [`entry`](Self::entry), with a borrowed key, which is made into an owned one only where
    /// it has to be.
    ///
    /// ```
    /// let cache: tidewheel::Cache<String, usize> = tidewheel::Cache::new(100);
    /// assert_eq!(cache.entry_by_ref("seven").or_insert_with(|| 5).into_value(), 5);
    /// ```
    pub fn entry_by_ref<'k, Q>(&self, key: &'k Q) -> EntrySelector<'_, K, V, S, LentKey<'k, Q>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K> + Sync,
    {
        EntrySelector { cache: self, key: LentKey(key), life: Life::Restart, limit: None }
    }
}

/// A key of a cache, selected by [`Cache::entry`] or [`Cache::entry_by_ref`]. Its methods say what
/// becomes of the entry.
///
/// - `or_...` leave an entry that is there as it is, and make one where there is none, as
///   [`Cache::get_with`] does. The closure that makes the value runs once at most.
/// - `and_...` show a closure what is there, and store, change or remove the entry as the closure says.
///   The closure may run more than once, so whatever else it does must be harmless when repeated.
///
/// # Concurrency
///
/// Loads and computations of one key run one after the other; calls that wait sleep. The call that
/// has waited longest is next. But while its thread or task wakes up, computations that come by may
/// run first, for a millisecond at most. (No later call waits for a load that was invalidated by a
/// write or a removal.) Calls for other keys, reads, and plain writes to the same key wait for none
/// of them. A computation that never ends blocks later computations and loads of its key. Closures
/// run outside every lock and may use the cache. But two computations that wait for each other's
/// keys wait for ever; [`timeout`](Self::timeout) is the way out.
///
/// While a closure of `and_...` runs, the entry may change: by a plain write to its key
/// ([`insert`](Cache::insert), [`update`](Cache::update), [`remove`](Cache::remove) or another), by an
/// eviction, or because it expires. Then the closure's result is not used, and the closure runs again
/// on what is there by then. So no change is lost. But where such writes never cease, a closure that
/// takes long may run often. A call whose closure writes its own key each time it runs would never
/// end: it panics.
///
/// ```
/// use tidewheel::{Cache, CompResult, Op};
///
/// let cache = Cache::new(100);
/// cache.entry("hits").or_insert(0);
/// for _ in 0..3 {
///     cache.entry("hits").and_upsert_with(|old| old.map_or(0, |old| old.into_value()) + 1);
/// }
/// let result = cache.entry("hits").and_compute_with(|old| match old {
///     Some(old) if *old.value() >= 3 => Op::Remove,
///     _ => Op::Nop,
/// });
/// assert!(matches!(result, CompResult::Removed(old) if *old.value() == 3));
/// ```
#[must_use = "to select a key does nothing yet"]
pub struct EntrySelector<'c, K, V, S = RandomState, G = OwnedKey<K>> {
    pub(super) cache: &'c Cache<K, V, S>,
    pub(super) key: G,
    pub(super) life: Life,
    /// How long it waits for others, if not until they are done.
    pub(super) limit: Option<Duration>,
}

impl<K, V, S, G> EntrySelector<'_, K, V, S, G> {
    /// What happens to the entry's time to live where this call stores a value. Without it,
    /// [`Life::Restart`].
    ///
    /// Where an `or_...` takes the value of another call's closure, the `Life` of that call counts.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{Cache, Life, ManualClock};
    ///
    /// let cache = Cache::builder().time_to_live(Duration::from_secs(60)).clock(ManualClock::new()).build()?;
    /// cache.entry("short").with_life(Life::Ttl(Duration::from_secs(5))).or_insert(1);
    /// assert_eq!(cache.remaining_ttl("short"), Some(Duration::from_secs(5)));
    /// cache.entry("short").with_life(Life::Endless).and_upsert_with(|_| 2);
    /// assert_eq!(cache.remaining_ttl("short"), Some(Duration::MAX));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn with_life(self, life: Life) -> Self {
        Self { life, ..self }
    }
}

impl<K, V, S, G> EntrySelector<'_, K, V, S, G>
where
    G: EntryKey<K>,
    K: Key + Clone,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// The key's entry. If there is none, it is made with this value.
    ///
    /// # Panics
    ///
    /// If it is called from a closure that loads or computes the same key, because it would wait
    /// for itself.
    ///
    /// ```
    /// let cache = tidewheel::Cache::new(100);
    /// assert_eq!(cache.entry("k").or_insert(7).into_value(), 7);
    /// assert_eq!(cache.entry("k").or_insert(8).into_value(), 7);
    /// ```
    pub fn or_insert(self, value: V) -> Entry<K, V> {
        self.or_insert_in_time(value).expect(NO_LIMIT)
    }

    /// The key's entry. If there is none, it is made with the default value.
    ///
    /// # Panics
    ///
    /// As [`or_insert_with`](Self::or_insert_with).
    ///
    /// ```
    /// let cache: tidewheel::Cache<_, u32> = tidewheel::Cache::new(100);
    /// assert_eq!(cache.entry("k").or_default().into_value(), 0);
    /// ```
    pub fn or_default(self) -> Entry<K, V>
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }

    /// The key's entry; if there is none, the closure makes its value.
    ///
    /// As [`Cache::get_with`] in everything else, [`timeout`](Self::timeout) included.
    ///
    /// # Panics
    ///
    /// If the closure does. And if the closure asks the cache to load or compute the same key
    /// again, on the same thread, because it would wait for itself.
    ///
    /// # Concurrency
    ///
    /// Of all calls for the same key at the same time, one runs its closure. The others get its
    /// value, as an entry that is not [fresh](Entry::is_fresh). What is written while it runs wins:
    /// all of them get that value. So callers that get an `Arc<Mutex<_>>` in this way get the same one. If
    /// the key is removed meanwhile, only the call whose closure ran gets its value, which may be older than
    /// the removal: it is not stored, and not fresh.
    ///
    /// ```
    /// let cache = tidewheel::Cache::new(100);
    /// let entry = cache.entry("k").or_insert_with(|| 7);
    /// assert!(entry.is_fresh());
    /// let entry = cache.entry("k").or_insert_with(|| unreachable!("it is there"));
    /// assert!(!entry.is_fresh());
    /// ```
    pub fn or_insert_with(self, init: impl FnOnce() -> V) -> Entry<K, V> {
        self.or_insert_with_in_time(init).expect(NO_LIMIT)
    }

    /// The key's entry, unless `replace_if` says that it is out of date. If it does, or if there is
    /// none, `init` makes its value.
    ///
    /// # Panics
    ///
    /// As [`or_insert_with`](Self::or_insert_with), of both closures.
    ///
    /// # Concurrency
    ///
    /// As [`or_insert_with`](Self::or_insert_with). But `replace_if` may run more than once: it is
    /// asked about what is there, again when this call's turn has come, and again after each wait.
    /// Readers see the old value until the new one takes its place.
    ///
    /// The first look counts as a use of the entry, as [`Cache::get`] does, whatever `replace_if` says of it.
    /// So an [`Expiry`](crate::Expiry) that ends an entry when it is read ends it here, too: then there is no
    /// old value to replace.
    ///
    /// ```
    /// let cache = tidewheel::Cache::new(100);
    /// cache.insert("page", (1, "old"));
    /// let load = || (2, "new");
    /// let page = cache.entry("page").or_insert_with_if(load, |(version, _)| *version < 2);
    /// assert!(page.is_fresh() && page.is_old_value_replaced());
    /// let page = cache.entry("page").or_insert_with_if(load, |(version, _)| *version < 2);
    /// assert!(!page.is_fresh());
    /// ```
    pub fn or_insert_with_if(
        self,
        init: impl FnOnce() -> V,
        replace_if: impl FnMut(&V) -> bool,
    ) -> Entry<K, V> {
        self.or_insert_with_if_in_time(init, replace_if).expect(NO_LIMIT)
    }

    /// The key's entry; if there is none, the closure makes its value, or says that there is none.
    ///
    /// As [`Cache::optionally_get_with`] in everything else.
    ///
    /// # Panics
    ///
    /// As [`or_insert_with`](Self::or_insert_with).
    ///
    /// ```
    /// let cache = tidewheel::Cache::new(100);
    /// assert_eq!(cache.entry("k").or_optionally_insert_with(|| None), None);
    /// assert!(cache.entry("k").or_optionally_insert_with(|| Some(7)).is_some());
    /// ```
    pub fn or_optionally_insert_with(self, init: impl FnOnce() -> Option<V>) -> Option<Entry<K, V>> {
        self.or_optionally_insert_with_in_time(init).expect(NO_LIMIT)
    }

    /// The key's entry; if there is none, the closure makes its value, and may fail.
    ///
    /// As [`Cache::try_get_with`] in everything else.
    ///
    /// # Errors
    ///
    /// The closure's error. It goes to all calls that waited for it and can return an error of the
    /// same type.
    ///
    /// # Panics
    ///
    /// As [`or_insert_with`](Self::or_insert_with).
    ///
    /// ```
    /// let cache: tidewheel::Cache<_, u32> = tidewheel::Cache::new(100);
    /// assert!(cache.entry("k").or_try_insert_with(|| "seven".parse()).is_err());
    /// assert_eq!(cache.entry("k").or_try_insert_with(|| "7".parse())?.into_value(), 7);
    /// # Ok::<(), std::sync::Arc<std::num::ParseIntError>>(())
    /// ```
    pub fn or_try_insert_with<E>(self, init: impl FnOnce() -> Result<V, E>) -> Result<Entry<K, V>, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        self.or_try_insert_with_in_time(init).expect(NO_LIMIT)
    }

    /// Stores what the closure makes of the key's entry, or of `None` if there is none. (Upsert:
    /// update, or insert.)
    ///
    /// Over a live entry it restarts the time to live and keeps the age, as [`Cache::update`] does
    /// (or does what [`with_life`](Self::with_life) says). Else it is an [`insert`](Cache::insert).
    /// The look at the old value does not count as use. A value that is too heavy for the cache is
    /// returned, and not kept.
    ///
    /// # Panics
    ///
    /// If the closure does. Nothing is changed then, and the next call has its turn.
    ///
    /// Also if the closure asks the cache to load or compute the same key on the same thread,
    /// because it would wait for itself; or if it writes that key each time it runs, because it
    /// would run again for ever.
    ///
    /// # Complexity
    ///
    /// O(1), without the closure. The lock of the key's shard is taken three times.
    ///
    /// # Concurrency
    ///
    /// See [`EntrySelector`]: in turn, and again if a plain write comes between. No change is lost.
    ///
    /// ```
    /// let cache = tidewheel::Cache::new(100);
    /// let mut count = || cache.entry("k").and_upsert_with(|old| old.map_or(0, |old| old.into_value()) + 1);
    /// assert_eq!(count().into_value(), 1);
    /// assert_eq!(count().into_value(), 2);
    /// ```
    pub fn and_upsert_with(self, compute: impl FnMut(Option<Entry<K, V>>) -> V) -> Entry<K, V> {
        self.and_upsert_with_in_time(compute).expect(NO_LIMIT)
    }

    /// Shows the closure the key's entry, or `None`, and does what it returns: stores a value,
    /// removes the entry, or does nothing.
    ///
    /// Stores as [`and_upsert_with`](Self::and_upsert_with) does. Whatever is done, it is done at
    /// an instant at which what the closure was shown is there.
    ///
    /// # Panics
    ///
    /// As [`and_upsert_with`](Self::and_upsert_with).
    ///
    /// # Complexity
    ///
    /// As [`and_upsert_with`](Self::and_upsert_with).
    ///
    /// # Concurrency
    ///
    /// See [`EntrySelector`]: in turn, and again if a plain write comes between. No change is lost.
    ///
    /// ```
    /// use tidewheel::{Cache, CompResult, Op};
    /// let lives = Cache::new(100);
    /// lives.insert("cat", 2);
    /// let lose = || lives.entry("cat").and_compute_with(|left| match left.map(|left| left.into_value()) {
    ///     Some(left @ 2..) => Op::Put(left - 1),
    ///     Some(_) => Op::Remove,
    ///     None => Op::Nop,
    /// });
    /// assert!(matches!(lose(), CompResult::ReplacedWith(left) if *left.value() == 1));
    /// assert!(matches!(lose(), CompResult::Removed(_)));
    /// assert!(matches!(lose(), CompResult::StillNone("cat")));
    /// ```
    pub fn and_compute_with(self, compute: impl FnMut(Option<Entry<K, V>>) -> Op<V>) -> CompResult<K, V> {
        self.and_compute_with_in_time(compute).expect(NO_LIMIT)
    }

    /// As [`and_compute_with`](Self::and_compute_with), with a closure that may fail.
    ///
    /// # Errors
    ///
    /// The closure's error, as it is. Nothing is changed then. No other call gets the error; the
    /// next one that waits has its turn.
    ///
    /// # Panics
    ///
    /// As [`and_upsert_with`](Self::and_upsert_with).
    ///
    /// # Complexity
    ///
    /// As [`and_upsert_with`](Self::and_upsert_with).
    ///
    /// # Concurrency
    ///
    /// As [`and_compute_with`](Self::and_compute_with).
    ///
    /// ```
    /// use tidewheel::{Cache, Op};
    /// let cache = Cache::<_, u8>::new(100);
    /// cache.insert("k", 255);
    /// let count = || cache.entry("k").and_try_compute_with(|old| match old {
    ///     Some(old) => old.into_value().checked_add(1).map(Op::Put).ok_or("full"),
    ///     None => Ok(Op::Put(1)),
    /// });
    /// assert_eq!(count(), Err("full"));
    /// assert_eq!(cache.get("k"), Some(255));
    /// ```
    pub fn and_try_compute_with<E>(
        self,
        compute: impl FnMut(Option<Entry<K, V>>) -> Result<Op<V>, E>,
    ) -> Result<CompResult<K, V>, E> {
        self.and_try_compute_with_in_time(compute).expect(NO_LIMIT)
    }
}

/// What the calls with a limit and those without have in common.
impl<K, V, S, G> EntrySelector<'_, K, V, S, G>
where
    G: EntryKey<K>,
    K: Key + Clone,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    pub(super) fn or_insert_in_time(self, value: V) -> Result<Entry<K, V>, TimedOut> {
        if let Some(found) = self.there() {
            return Ok(served(Entry::found(self.key.into_owned(), found), value));
        }
        // Nobody has to wait for what is ready.
        match self.cache.store_ready(self.key.owned(), &value, self.life) {
            Some(is_fresh) => Ok(self.told(value, is_fresh)),
            None => self.or_insert_in_turn(value),
        }
    }

    /// The same, where another call makes the value, or has made it by now.
    #[cold]
    #[inline(never)]
    fn or_insert_in_turn(self, made: V) -> Result<Entry<K, V>, TimedOut> {
        let (outcome, origin) = self.load(wants_place(), || Made::value(made))?;
        Ok(self.told(value(outcome), origin.is_own()))
    }

    #[inline]
    pub(super) fn or_insert_with_in_time(self, init: impl FnOnce() -> V) -> Result<Entry<K, V>, TimedOut> {
        if let Some(value) = self.there() {
            return Ok(served(Entry::found(self.key.into_owned(), value), init));
        }
        let (outcome, origin) = self.load(wants_value(), || Made::value(init()))?;
        Ok(self.told(value(outcome), origin.is_own()))
    }

    #[inline]
    pub(super) fn or_insert_with_if_in_time(
        self,
        init: impl FnOnce() -> V,
        mut replace_if: impl FnMut(&V) -> bool,
    ) -> Result<Entry<K, V>, TimedOut> {
        if let Some(value) = self.there() {
            if !replace_if(&value) {
                return Ok(served(Entry::found(self.key.into_owned(), value), (init, replace_if)));
            }
        }
        let (alarm, limit) = (self.alarm(), self.limit);
        let loaded = self.cache.load_unless(self.key.into_owned(), self.life, &alarm, init, replace_if);
        loaded.ok_or_else(|| timed_out(limit))
    }

    #[inline]
    pub(super) fn or_optionally_insert_with_in_time(
        self,
        init: impl FnOnce() -> Option<V>,
    ) -> Result<Option<Entry<K, V>>, TimedOut> {
        if let Some(value) = self.there() {
            return Ok(Some(served(Entry::found(self.key.into_owned(), value), init)));
        }
        let (outcome, origin) = self.load(wants_option(), || optional(init()))?;
        Ok(option(outcome).map(|value| self.told(value, origin.is_own())))
    }

    #[inline]
    pub(super) fn or_try_insert_with_in_time<E>(
        self,
        init: impl FnOnce() -> Result<V, E>,
    ) -> Result<Result<Entry<K, V>, Arc<E>>, TimedOut>
    where
        E: Send + Sync + 'static,
    {
        if let Some(value) = self.there() {
            return Ok(Ok(served(Entry::found(self.key.into_owned(), value), init)));
        }
        let (outcome, origin) = self.load(wants_result::<E>(), || fallible(init()))?;
        Ok(match result(outcome) {
            Ok(value) => Ok(self.told(value, origin.is_own())),
            Err(error) => Err(served(error, self)),
        })
    }

    #[inline]
    pub(super) fn and_upsert_with_in_time(
        self,
        mut compute: impl FnMut(Option<Entry<K, V>>) -> V,
    ) -> Result<Entry<K, V>, TimedOut> {
        let result = self.and_try_compute_with_in_time(move |found| Ok(Op::Put(compute(found))))?;
        Ok(sure(result).unwrap())
    }

    #[inline]
    pub(super) fn and_compute_with_in_time(
        self,
        mut compute: impl FnMut(Option<Entry<K, V>>) -> Op<V>,
    ) -> Result<CompResult<K, V>, TimedOut> {
        self.and_try_compute_with_in_time(move |found| Ok(compute(found))).map(sure)
    }

    #[inline]
    pub(super) fn and_try_compute_with_in_time<E>(
        self,
        compute: impl FnMut(Option<Entry<K, V>>) -> Result<Op<V>, E>,
    ) -> Result<Result<CompResult<K, V>, E>, TimedOut> {
        let (alarm, limit) = (self.alarm(), self.limit);
        let computed = self.cache.compute(self.key.into_owned(), self.life, &alarm, compute);
        computed.ok_or_else(|| timed_out(limit))
    }

    #[inline]
    fn there(&self) -> Option<V> {
        self.cache.get(self.key.lent())
    }

    /// What a load came to, by this call's closure or another one's.
    #[inline]
    fn load(&self, wants: Wants, init: impl FnOnce() -> Made<V>) -> Result<(Outcome<V>, Origin), TimedOut> {
        let init = || {
            let mut made = init();
            made.set_life(self.life);
            made
        };
        let (lent, owned) = (self.key.lent(), || self.key.owned());
        self.cache.load_entry(lent, owned, wants, &self.alarm(), init).ok_or_else(|| timed_out(self.limit))
    }

    /// When it has waited for long enough.
    #[inline]
    fn alarm(&self) -> Alarm {
        self.limit.map_or(Alarm::NEVER, Alarm::after)
    }

    pub(super) fn told(self, value: V, is_fresh: bool) -> Entry<K, V> {
        let key = self.key.into_owned();
        if is_fresh { Entry::made(key, value, false) } else { Entry::found(key, value) }
    }
}

const NO_LIMIT: &str = "who waits without a limit is not told that it is over";

/// The alarm has gone off.
#[cold]
fn timed_out(limit: Option<Duration>) -> TimedOut {
    TimedOut { timeout: limit.expect("an alarm that was never set does not go off") }
}

/// What cannot fail.
pub(super) fn sure<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(done) => done,
        Err(never) => match never {},
    }
}

impl<K, V, S, G> fmt::Debug for EntrySelector<'_, K, V, S, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntrySelector").finish_non_exhaustive()
    }
}
