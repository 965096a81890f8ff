//! Loads again what is old, while the old value is served.
//!
//! One reader claims a hit that is old enough (`shard/refresh.rs`). It takes the key's turn, so that loads and computations of the key do
//! not run beside it. Then it loads: itself, or by a job or task that it hands to the user's executor. No call waits for the executor. If
//! the key is written or removed meanwhile, the loaded value is not stored, as with any load. Knows no wheel.

#[cfg(feature = "async")]
use super::background::Reloading;
use super::background::{Background, Reload};
use super::outcome::{Made, Origin};
use super::outcome::{optional, served};
use crate::cache::Cache;
use crate::cache::handle::Place;
use crate::cache::turn::{Anew, Turn};
use crate::inflight::{Aim, Asked, Call, Outcome, Spoken};
use crate::key_value::{Key, Value};
use crate::shard::Claim;
use crate::sync::{Arc, catch};
use crate::table::Pin;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};

/// A hit that is to be loaded anew.
pub(crate) struct Stale<V> {
    /// Apart, so that hits that are not old, and loads of what is not there, have no room for it on their stacks.
    value: Box<V>,
    claim: Claim,
}

impl<V> Stale<V> {
    pub(in crate::cache) fn value(&self) -> &V {
        &self.value
    }
}

/// Loading one anew, under way. In this order: where both are dropped, it is the turn first, as the value's destructor may ask
/// for the key.
pub(in crate::cache) struct Renewal<'c, K, V, S> {
    pub(super) turn: Turn<'c, K, V, S>,
    pub(super) stale: Stale<V>,
}

impl<K, V, S> Cache<K, V, S>
where
    K: Key,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// A clone of a key's value; or why it has to be loaded: there is none, or it is old and nobody else is at it.
    #[inline]
    pub(in crate::cache) fn hit<Q>(&self, key: &Q) -> Result<V, Option<Stale<V>>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        match self.get(key) {
            Some(value) if !self.parts().refreshes => Ok(value),
            Some(value) => self.judge(key, value),
            None => Err(None),
        }
    }

    #[inline(never)]
    fn judge<Q>(&self, key: &Q, value: V) -> Result<V, Option<Stale<V>>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let shard = self.locate(key).shard;
        let pin = Pin::new();
        let node = self.visible(key, false, &pin);
        match node.and_then(|node| shard.claim(node, self.parts().config.clock.recent(), &pin)) {
            None => Ok(value),
            Some(claim) => Err(Some(Stale { value: Box::new(value), claim })),
        }
    }

    /// Loads an old value anew, or has it loaded. What the caller is served. On its own, since large values take room on its stack.
    #[inline(never)]
    pub(in crate::cache) fn renew(
        &self,
        key: K,
        stale: Stale<V>,
        init: impl FnOnce() -> Made<V>,
    ) -> Outcome<V> {
        match self.begin_renewal(key, stale) {
            Err(value) => served(Outcome::Value(value), init),
            Ok(Renewal { stale, turn }) => {
                let made = turn.run(init);
                self.end_renewal(Renewal { stale, turn }, made)
            }
        }
    }

    /// The turn, if this caller is to load; else what it is served.
    pub(in crate::cache) fn begin_renewal(
        &self,
        key: K,
        mut stale: Stale<V>,
    ) -> Result<Renewal<'_, K, V, S>, V> {
        let Some(background) = &self.parts().background else {
            return match self.begin_anew(Asked::Shared(Call::new(key)), Aim::Load, &stale.claim) {
                Anew::Leads(mut turn) => {
                    turn.begin_loading();
                    stale.claim.begin();
                    Ok(Renewal { stale, turn })
                }
                Anew::Taken => Err(*stale.value),
                Anew::Gone => {
                    stale.claim.done();
                    Err(*stale.value)
                }
            };
        };
        let Stale { value, claim } = stale;
        self.renew_behind(background, key, claim);
        Err(*value)
    }

    /// Has a value loaded anew by the user's executor.
    fn renew_behind(&self, background: &Background<K, V>, key: K, claim: Claim) {
        // A cache that nobody has any more needs no new values. And the executor is user code; the claim is in the job, and is given
        // back if that is dropped.
        let cache = self.downgrade();
        match background {
            Background::Jobs { reload, executor } => {
                let reload = Arc::clone(reload);
                let job = Box::new(move || {
                    if let Some(cache) = cache.upgrade() {
                        cache.renew_by_itself(key, claim, &*reload);
                    }
                });
                catch(|| executor(job));
            }
            #[cfg(feature = "async")]
            Background::Tasks { reload, executor } => {
                let reload = Arc::clone(reload);
                let task = Box::pin(async move {
                    if let Some(cache) = cache.upgrade() {
                        cache.renew_by_itself_async(key, claim, &*reload).await;
                    }
                });
                catch(|| executor(task));
            }
        }
    }

    /// Returns what the caller is served. If the load failed, that is the value that is still there. If there is none any more, it is the
    /// failure, which also goes to the calls that have missed the value and wait for this load.
    pub(in crate::cache) fn end_renewal(
        &self,
        Renewal { stale, turn }: Renewal<'_, K, V, S>,
        made: Made<V>,
    ) -> Outcome<V> {
        let Stale { value, claim } = stale;
        // After what else there is, so that it is dropped first: to look at what is there is user code, too.
        let mut turn = turn;
        let shard = turn.shard();
        if matches!(made.outcome, Outcome::Value(_)) {
            let (completed, origin) = turn.complete_and_tell(made);
            // Before this caller's own clone is made: if that panics, the value was loaded all the same.
            shard.note_refresh();
            // What was not stored may have left the old one where it was, which is to be loaded anew some time, then.
            match origin {
                Origin::Stored => claim.done(),
                _ => claim.loaded_in_vain(),
            }
            return served(completed.into_own(), value);
        }
        let is_loaded = turn.loading.is_counted();
        turn.end_loading_without(&made.outcome);
        if let Some(kept) = turn.run(|| self.peek(turn.key())) {
            // An error's destructor may ask for the key.
            drop(turn);
            drop(claim);
            return served(Outcome::Value(kept), (made, value));
        }
        let mut outcome = Spoken::Alone(made.outcome);
        turn.end(&mut outcome, is_loaded);
        drop(claim);
        served(outcome.into_own(), value)
    }

    fn renew_by_itself(&self, key: K, claim: Claim, reload: &Reload<K, V, Option<V>>) {
        if let Some(Renewal { stale, turn }) = self.begin_by_itself(key, claim) {
            let new = turn.run(|| reload(turn.key(), &stale.value));
            self.end_renewal(Renewal { stale, turn }, optional(new));
        }
    }

    #[cfg(feature = "async")]
    async fn renew_by_itself_async(&self, key: K, claim: Claim, reload: &Reload<K, V, Reloading<V>>) {
        // Before the turn, so that it is dropped after it.
        let mut reloading;
        if let Some(Renewal { stale, mut turn }) = self.begin_by_itself(key, claim) {
            reloading = turn.run(|| reload(turn.key(), &stale.value));
            let new = turn.drive(reloading.as_mut()).await;
            self.end_renewal(Renewal { stale, turn }, optional(new));
        }
    }

    /// Returns the turn, and the value that is to be loaded anew, if it is still there. If another value has come while the job was in a
    /// queue, that one is newer, and the job loads nothing.
    fn begin_by_itself(&self, key: K, mut claim: Claim) -> Option<Renewal<'_, K, V, S>> {
        let mut turn = match self.begin_anew(Asked::Shared(Call::new(key)), Aim::Reload, &claim) {
            Anew::Leads(turn) => turn,
            Anew::Taken => return None,
            Anew::Gone => {
                claim.done();
                return None;
            }
        };
        match turn.run(|| self.peek(turn.key())) {
            Some(value) => {
                turn.begin_loading();
                claim.begin();
                Some(Renewal { stale: Stale { value: Box::new(value), claim }, turn })
            }
            None => {
                claim.done();
                None
            }
        }
    }
}

/// Load anew.
impl<K, V, S> Cache<K, V, S>
where
    K: Key + Clone,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Has a key's value loaded again, as if it were old, in the way that the builder's
    /// [`refresh_with`](crate::CacheBuilder::refresh_with) says. The old value is served until the
    /// new one is there. Returns whether this was begun: whether the executor was called with a job.
    ///
    /// It is not begun if there is no live entry, if the value is already being loaded or computed,
    /// or if the builder was given no `refresh_with`, so that there is nothing to load with. Does
    /// not count as use.
    ///
    /// What the job comes to is not reported. A job loads nothing if the executor drops it, or panics
    /// before it has handed it on. Nor does it if, when it runs, the value is gone, or another call loads
    /// or computes the key.
    ///
    /// # Concurrency
    ///
    /// As with a value that has become old: see
    /// [`refresh_with`](crate::CacheBuilder::refresh_with). The executor is called on this thread.
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache = tidewheel::Cache::builder()
    ///     .refresh_after_write(Duration::from_secs(600))
    ///     .refresh_with(|_: &&str, old: &i32| Some(old + 1), |job| job())
    ///     .build()?;
    /// cache.insert("k", 1);
    /// assert!(cache.refresh("k"));
    /// assert_eq!(cache.get("k"), Some(2));
    /// assert!(!cache.refresh("other"));
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn refresh<Q>(&self, key: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let Some(background) = &self.parts().background else {
            return false;
        };
        let Place { hash, shard } = self.locate(key);
        let pin = Pin::new();
        let Some(node) = self.visible(key, false, &pin) else {
            return false;
        };
        let key = node.key().clone();
        // Whoever has the turn stores a newer value. So the old one is not claimed.
        let is_free = !shard.is_taken(hash, &key);
        let claim = is_free.then(|| shard.claim_at_once(node, &pin));
        let Some(claim) = claim.flatten() else {
            // No user code while it is pinned.
            drop(pin);
            return false;
        };
        drop(pin);
        self.renew_behind(background, key, claim);
        true
    }
}
