//! Loading anew what is old: while the old value is served.
//!
//! A hit that is old enough is claimed by one reader (`shard/fresh.rs`), who takes the key's turn, so that loads and
//! computations of the key do not run beside it, and loads: itself, or a job that it hands to the user's executor. Nobody waits for that as long
//! as the old value lives; what is written or removed meanwhile wins, as it does over any load. Knows no wheel.

use super::Cache;
use super::load::served;
use super::turn::{Anew, Origin, Turn};
use crate::flight::{Aim, Asked, Call, Outcome};
use crate::shard::Claim;
use crate::sync::{Arc, catch};
use crate::table::Pin;
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};

/// A job for an executor: it loads one key anew.
pub type RefreshJob = Box<dyn FnOnce() + Send>;

pub(crate) type Reload<K, V> = dyn Fn(&K, &V) -> Option<V> + Send + Sync;
pub(crate) type Executor = dyn Fn(RefreshJob) + Send + Sync;

/// How values are loaded anew, where it is not by the caller that finds them old.
pub(crate) struct Background<K, V> {
    pub(crate) reload: Arc<Reload<K, V>>,
    pub(crate) executor: Box<Executor>,
}

/// A hit that is to be loaded anew.
pub(crate) struct Stale<V> {
    value: V,
    claim: Claim,
}

/// Loading one anew, under way. In this order: where both are dropped, it is the turn first, as the value's destructor may ask
/// for the key.
type Renewal<'c, K, V, S> = (Stale<V>, Turn<'c, K, V, S>);

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// A clone of a key's value; or why it has to be loaded: there is none, or it is old and nobody else is at it.
    #[inline]
    pub(super) fn hit<Q>(&self, key: &Q) -> Result<V, Option<Stale<V>>>
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
        let (_, shard) = self.locate(key);
        let pin = Pin::new();
        let node = self.visible::<Q, false>(key, &pin);
        match node.and_then(|node| shard.claim(node, self.parts().terms.clock.recent(), &pin)) {
            None => Ok(value),
            Some(claim) => Err(Some(Stale { value, claim })),
        }
    }

    /// Loads an old value anew, or has it loaded. What the caller is served.
    pub(super) fn renew(&self, key: K, stale: Stale<V>, init: impl FnOnce() -> Outcome<V>) -> V {
        match self.begin_renewal(key, stale) {
            Err(value) => served(value, init),
            Ok((stale, turn)) => {
                let outcome = turn.run(init);
                self.end_renewal((stale, turn), outcome)
            }
        }
    }

    /// The turn, if this caller is to load; else what it is served.
    pub(super) fn begin_renewal(&self, key: K, stale: Stale<V>) -> Result<Renewal<'_, K, V, S>, V> {
        let Some(background) = &self.parts().background else {
            return match self.begin_anew(self.asked(key), Aim::Load, &stale.claim) {
                Anew::Leads(turn) => Ok((stale, turn)),
                Anew::Taken => {
                    stale.claim.leave();
                    Err(stale.value)
                }
                Anew::Gone => {
                    stale.claim.done();
                    Err(stale.value)
                }
            };
        };
        let (cache, reload) = (self.downgrade(), Arc::clone(&background.reload));
        let Stale { value, claim } = stale;
        let job = Box::new(move || {
            // A cache that nobody has any more needs no new values.
            if let Some(cache) = cache.upgrade() {
                cache.renew_by_itself(key, claim, &*reload);
            }
        });
        // The executor is user code; the claim is in the job, and is given back if that is dropped.
        catch(|| (background.executor)(job));
        Err(value)
    }

    /// A failed one keeps what is there.
    pub(super) fn end_renewal(&self, (stale, turn): Renewal<'_, K, V, S>, outcome: Outcome<V>) -> V {
        let is_value = matches!(outcome, Outcome::Value(_));
        let (shard, Stale { value, claim }) = (turn.shard(), stale);
        let (landed, origin) = if is_value {
            turn.land(outcome)
        } else {
            // An error's destructor may ask for the key.
            drop(turn);
            (outcome, Origin::Unstored)
        };
        shard.note_refresh(is_value);
        // What was not stored may have left the old one where it was, which is to be loaded anew some time, then.
        if origin == Origin::Stored {
            claim.done();
        }
        match landed {
            Outcome::Value(new) => served(new, value),
            failed => served(value, failed),
        }
    }

    fn renew_by_itself(&self, key: K, claim: Claim, reload: &Reload<K, V>) {
        // Before the turn, so that it is dropped after it.
        let stale;
        // One that was queued for long: what it was to load anew may not be there any more, and what came since is newer.
        let turn = match self.begin_anew(Asked::Shared(Call::new(key)), Aim::Reload, &claim) {
            Anew::Leads(turn) => turn,
            Anew::Taken => return claim.leave(),
            Anew::Gone => return claim.done(),
        };
        stale = match turn.run(|| self.peek(turn.key())) {
            Some(value) => Stale { value, claim },
            None => {
                claim.done();
                return;
            }
        };
        let outcome = turn.run(|| reload(turn.key(), &stale.value)).map_or(Outcome::Nothing, Outcome::Value);
        self.end_renewal((stale, turn), outcome);
    }
}
