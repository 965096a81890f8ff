//! What all handles of a manager share beside the cache, and what it does when the cache says that
//! a value has gone.
//!
//! Never knows how a session is made or looked up.

use super::cause::{EndCause, Leaving, leaving};
use super::id::SessionId;
use super::lifetime::Lives;
use super::owners::Owners;
use super::permits::Permits;
use super::stats::Tally;
use super::stored::{SessionOwner, Stored};
use crate::cache::WeakCache;
use crate::key_value::Value;
use crate::listener::RemovalCause;
use crate::process::fork::Registered;
use crate::sync::OnceLock;

/// The user's function that hears of sessions that ended.
pub(super) type OnEnd<D> = dyn Fn(&SessionId, &D, EndCause) + Send + Sync;

pub(super) struct Shared<D, O> {
    pub(super) lives: Lives,
    /// Only with a limit: without one, nobody pays for counting.
    pub(super) permits: Option<Permits>,
    pub(super) owners: Option<Owners<D, O>>,
    pub(super) end_listener: Option<Box<OnEnd<D>>>,
    pub(super) tally: Option<Tally>,
    /// Set before there is a session.
    pub(super) cache: OnceLock<WeakCache<SessionId, Stored<D, O>>>,
    /// Set then, if there are permits.
    pub(super) heir: OnceLock<Registered>,
}

impl<D: Value, O: SessionOwner> Shared<D, O> {
    /// Whether anybody wants to hear of values that have gone.
    pub(super) fn listens(&self) -> bool {
        self.permits.is_some() || self.owners.is_some() || self.end_listener.is_some() || self.tally.is_some()
    }

    /// A value has gone. Outside every lock.
    pub(super) fn hear(&self, id: &SessionId, stored: &Stored<D, O>, cause: RemovalCause) {
        let leaving = match cause {
            RemovalCause::Expired => Some(Leaving::End(EndCause::Expired)),
            RemovalCause::Explicit => Some(leaving()),
            // Its session, and its permit, stay where they are.
            RemovalCause::Replaced => None,
            // The cache has no capacity: a live session is never evicted.
            RemovalCause::Size => None,
        };
        if let (Some(permits), Some(_)) = (&self.permits, leaving) {
            permits.give_back();
        }
        if let (Some(owners), Some(place)) = (&self.owners, stored.place()) {
            // If the cache is not there any more, nobody will ask.
            if let Some(cache) = self.cache.get().and_then(WeakCache::upgrade) {
                owners.hear(&cache, place, id);
            }
        }
        if let Some(tally) = &self.tally {
            tally.left(leaving);
        }
        if let (Some(end_listener), Some(Leaving::End(cause))) = (&self.end_listener, leaving) {
            end_listener(id, &stored.data, cause);
        }
    }
}
