//! What a manager leaves to a fork's child: as many permits as there are sessions.
//!
//! A permit is taken before its session is stored, and given back after the session was taken out. So at
//! a fork other threads may have permits in hand. Nobody would give those back in the child.

use super::shared::Shared;
use super::stored::SessionOwner;
use crate::cache::WeakCache;
use crate::key_value::Value;
use crate::process::fork::{Heir, Held};
use crate::sync::{Alarm, Arc};

impl<D: Value, O: SessionOwner> Heir for Shared<D, O> {
    /// It needs no lock but those of the cache, which is an heir, too.
    fn hold(self: Arc<Self>, _patience: &Alarm) -> Vec<Box<dyn Held>> {
        vec![Box::new(Permitted(self))]
    }
}

struct Permitted<D, O>(Arc<Shared<D, O>>);

impl<D: Value, O: SessionOwner> Held for Permitted<D, O> {
    fn inherit(&mut self) {
        // A cache that was there before the fork has another handle, which goes later than this one.
        let cache = self.0.cache.get().and_then(WeakCache::upgrade);
        if let (Some(permits), Some(cache)) = (&self.0.permits, cache) {
            permits.inherit(cache.entry_count());
        }
    }
}
