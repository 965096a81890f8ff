//! Get, or load once: one loader for a key at a time, however many ask for it.
//!
//! A hit is a `get`. Only a miss comes to know that there are flights; see `inflight/` for what they promise.

mod background;
mod detached;
#[cfg(feature = "async")]
mod future;
mod many;
#[cfg(feature = "async")]
mod many_future;
mod outcome;
mod ready;
mod refresh;
mod timeout;
mod ttl;

pub(crate) use background::Background;
pub use background::RefreshJob;
#[cfg(feature = "async")]
pub use background::RefreshTask;
#[cfg(feature = "async")]
pub(crate) use background::Reloading;
pub use detached::LoadJob;
#[cfg(feature = "async")]
pub use detached::LoadTask;
#[cfg(feature = "async")]
pub(super) use future::STILL_THERE;
pub(crate) use outcome::{
    Made, Origin, fallible, option, optional, result, served, value, wants_option, wants_place, wants_result,
    wants_value,
};
pub use timeout::WithTimeout;

use crate::cache::Cache;
use crate::cache::turn::Beginning;
use crate::inflight::{Outcome, Wants};
use crate::key_value::{Key, Value};
use crate::sync::{Alarm, Arc};
use crate::table::Pin;
use equivalent::Equivalent;
use outcome::NO_ALARM;
use refresh::Stale;
use std::hash::{BuildHasher, Hash};

/// Load what is missing.
impl<K, V, S> Cache<K, V, S>
where
    K: Key,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// A clone of a key's value. If there is none, the closure makes it, and it is stored as
    /// [`insert`](Self::insert) would.
    ///
    /// Of all calls for the same key at the same time, one runs its closure, and the others sleep
    /// until its value is there.
    ///
    /// # Panics
    ///
    /// If the closure does; then the next call that waits runs its own. Also if the closure asks
    /// the cache to load or compute the same key on the same thread, because it would wait for
    /// itself.
    ///
    /// # Concurrency
    ///
    /// A hit is a [`get`](Self::get). A hit that is due for a refresh takes the lock, unless
    /// another call has claimed the refresh. The closure runs outside every lock and may use the
    /// cache, also to load other keys. But two closures that wait for each other's keys wait for
    /// ever; [`timeout`](Self::timeout) is the way out.
    ///
    /// The key may be written or removed while the closure runs ([`insert`](Self::insert),
    /// [`remove`](Self::remove), [`invalidate`](Self::invalidate),
    /// [`invalidate_all`](Self::invalidate_all)). Then the closure's value is returned to those who
    /// waited for it by that time, and is not stored. A later call gets what was written, or loads
    /// the key again, at once, beside the old closure. So a closure that never returns blocks later
    /// calls only until the key is written or removed. Calls that already wait for it go on
    /// waiting; [`timeout`](Self::timeout) is their way out.
    ///
    /// ```
    /// let cache = tidewheel::Cache::new(100);
    /// assert_eq!(cache.get_with("k", || 7), 7);
    /// assert_eq!(cache.get_with("k", || unreachable!("it is there")), 7);
    /// ```
    #[inline]
    pub fn get_with(&self, key: K, init: impl FnOnce() -> V) -> V {
        match self.hit(&key) {
            Ok(value) => served(value, (key, init)),
            Err(stale) => self.load_value(key, stale, init),
        }
    }

    /// As [`get_with`](Self::get_with), with a key that is made into an owned one only if it has to be.
    ///
    /// # Panics
    ///
    /// As [`get_with`](Self::get_with).
    ///
    /// ```
    /// let cache: tidewheel::Cache<String, usize> = tidewheel::Cache::new(100);
    /// assert_eq!(cache.get_with_by_ref("seven", || "seven".len()), 5);
    /// ```
    #[inline]
    pub fn get_with_by_ref<Q>(&self, key: &Q, init: impl FnOnce() -> V) -> V
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        match self.hit(key) {
            Ok(value) => served(value, init),
            Err(stale) => self.load_value(key.to_owned(), stale, init),
        }
    }

    /// A clone of a key's value. If there is none, the closure makes it, and may fail.
    ///
    /// As [`get_with`](Self::get_with) otherwise. An error is not stored: later calls run their own
    /// closures.
    ///
    /// # Errors
    ///
    /// The closure's error. It goes to all calls that waited for it and can return an error of the
    /// same type. (Other calls that waited run their own closures, one after the other.)
    ///
    /// # Panics
    ///
    /// As [`get_with`](Self::get_with).
    ///
    /// ```
    /// let cache = tidewheel::Cache::new(100);
    /// let error = cache.try_get_with("k", || "seven".parse::<u32>()).unwrap_err();
    /// assert_eq!(error.to_string(), "invalid digit found in string");
    /// assert_eq!(cache.try_get_with("k", || "7".parse::<u32>()), Ok(7));
    /// ```
    #[inline]
    pub fn try_get_with<E>(&self, key: K, init: impl FnOnce() -> Result<V, E>) -> Result<V, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        match self.hit(&key) {
            Ok(value) => Ok(served(value, (key, init))),
            Err(stale) => self.load_result(key, stale, init),
        }
    }

    /// As [`try_get_with`](Self::try_get_with), with a key that is made into an owned one only if it has to be.
    ///
    /// # Errors
    ///
    /// As [`try_get_with`](Self::try_get_with).
    ///
    /// # Panics
    ///
    /// As [`get_with`](Self::get_with).
    ///
    /// ```
    /// let cache: tidewheel::Cache<String, u32> = tidewheel::Cache::new(100);
    /// assert_eq!(cache.try_get_with_by_ref("7", || "7".parse::<u32>()), Ok(7));
    /// ```
    #[inline]
    pub fn try_get_with_by_ref<Q, E>(&self, key: &Q, init: impl FnOnce() -> Result<V, E>) -> Result<V, Arc<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
        E: Send + Sync + 'static,
    {
        match self.hit(key) {
            Ok(value) => Ok(served(value, init)),
            Err(stale) => self.load_result(key.to_owned(), stale, init),
        }
    }

    /// A clone of a key's value. If there is none, the closure makes it, or says that there is
    /// none.
    ///
    /// As [`get_with`](Self::get_with) otherwise. The answer that there is none is not stored. It
    /// goes to all waiting calls that can return it; the others, as of
    /// [`get_with`](Self::get_with), and later calls run their own closures.
    ///
    /// # Panics
    ///
    /// As [`get_with`](Self::get_with).
    ///
    /// ```
    /// let cache = tidewheel::Cache::new(100);
    /// assert_eq!(cache.optionally_get_with("k", || None), None);
    /// assert_eq!(cache.optionally_get_with("k", || Some(7)), Some(7));
    /// ```
    #[inline]
    pub fn optionally_get_with(&self, key: K, init: impl FnOnce() -> Option<V>) -> Option<V> {
        match self.hit(&key) {
            Ok(value) => Some(served(value, (key, init))),
            Err(stale) => self.load_option(key, stale, init),
        }
    }

    /// As [`optionally_get_with`](Self::optionally_get_with), with a key that is made into an owned one only if it has
    /// to be.
    ///
    /// # Panics
    ///
    /// As [`get_with`](Self::get_with).
    ///
    /// ```
    /// let cache: tidewheel::Cache<String, char> = tidewheel::Cache::new(100);
    /// assert_eq!(cache.optionally_get_with_by_ref("seven", || "seven".chars().next()), Some('s'));
    /// ```
    #[inline]
    pub fn optionally_get_with_by_ref<Q>(&self, key: &Q, init: impl FnOnce() -> Option<V>) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        match self.hit(key) {
            Ok(value) => Some(served(value, init)),
            Err(stale) => self.load_option(key.to_owned(), stale, init),
        }
    }

    #[cold]
    pub(crate) fn load_value(&self, key: K, stale: Option<Stale<V>>, init: impl FnOnce() -> V) -> V {
        let outcome = self.load(key, stale, wants_value(), &Alarm::NEVER, || Made::value(init()));
        value(outcome.expect(NO_ALARM).0)
    }

    #[cold]
    pub(crate) fn load_result<E>(
        &self,
        key: K,
        stale: Option<Stale<V>>,
        init: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        let outcome = self.load(key, stale, wants_result::<E>(), &Alarm::NEVER, || fallible(init()));
        result(outcome.expect(NO_ALARM).0)
    }

    #[cold]
    pub(crate) fn load_option(
        &self,
        key: K,
        stale: Option<Stale<V>>,
        init: impl FnOnce() -> Option<V>,
    ) -> Option<V> {
        let outcome = self.load(key, stale, wants_option(), &Alarm::NEVER, || optional(init()));
        option(outcome.expect(NO_ALARM).0)
    }

    /// Loads for an entry's call. If another value was written while the call's own was made, that one is returned in its place.
    /// So all who ask in this way share what is stored. `None` if the alarm goes off first.
    pub(crate) fn load_entry<Q>(
        &self,
        lent: &Q,
        owned: impl Fn() -> K,
        wants: Wants,
        alarm: &Alarm,
        init: impl FnOnce() -> Made<V>,
    ) -> Option<(Outcome<V>, Origin)>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let (mut init, wants) = (Some(init), wants.of_entry());
        loop {
            let run = || init.take().expect("who has run it does not ask again")();
            let mut loaded = self.load(owned(), None, wants, alarm, run);
            if loaded.as_mut().is_none_or(|(outcome, origin)| self.share(lent, outcome, *origin)) {
                return served(loaded, init);
            }
        }
    }

    /// Replaces an outcome that was not stored by what is stored. Returns whether the call is done. It is not, and asks again,
    /// if it was told another call's value that was not stored.
    fn share<Q>(&self, key: &Q, outcome: &mut Outcome<V>, origin: Origin) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        match (origin, &*outcome) {
            (Origin::Invalidated, Outcome::Value(_)) => return false,
            (Origin::Unstored, Outcome::Value(_)) => self.take_stored(key, outcome),
            _ => {}
        }
        true
    }

    /// What is stored by now, in place of what is not. On its own: a load takes no room for that value on its stack.
    #[cold]
    #[inline(never)]
    pub(in crate::cache) fn take_stored<Q>(&self, key: &Q, outcome: &mut Outcome<V>)
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let pin = Pin::new();
        let stored = self.used_uncounted(key, &pin).map(|node| node.value().clone());
        drop(pin);
        if let Some(stored) = stored {
            *outcome = Outcome::Value(stored);
        }
    }

    /// What a loader comes to: this call's, or another one's. `None` if the alarm goes off first.
    pub(in crate::cache) fn load(
        &self,
        key: K,
        stale: Option<Stale<V>>,
        wants: Wants,
        alarm: &Alarm,
        init: impl FnOnce() -> Made<V>,
    ) -> Option<(Outcome<V>, Origin)> {
        if let Some(stale) = stale {
            return Some((self.renew(key, stale, init), Origin::There));
        }
        match self.begin_load(self.asked(key), wants) {
            Beginning::Leads(turn) => Some(turn.load(init)),
            other => self.load_after(other, wants, alarm, init),
        }
    }

    /// The same, where another call has the turn. On its own, as `renew`.
    #[inline(never)]
    fn load_after(
        &self,
        beginning: Beginning<'_, K, V, S>,
        wants: Wants,
        alarm: &Alarm,
        init: impl FnOnce() -> Made<V>,
    ) -> Option<(Outcome<V>, Origin)> {
        Some(match beginning.settle(wants, alarm)? {
            Ok(settled) => served(settled, init),
            Err(turn) => turn.load(init),
        })
    }
}
