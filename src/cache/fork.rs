//! What a cache leaves to a fork's child: its shards; and with the first of them, what all caches have in common.

use super::bound::Bound;
use super::handle::Inner;
use crate::key_value::Value;
use crate::process::fork::{self, Heir, Held, Registered};
use crate::shard::Shard;
use crate::stats;
use crate::sync::{Alarm, Arc, Weak};
use crate::table;

pub(super) fn register(heir: Weak<dyn Heir>) -> Registered {
    fork::register(0, heir, errand)
}

impl<K, V, S> Heir for Inner<K, V, S>
where
    K: Send + Sync + 'static,
    V: Value,
    S: Send + Sync + 'static,
{
    fn hold(self: Arc<Self>, patience: &Alarm) -> Vec<Box<dyn Held>> {
        // In the order in which the cache takes them.
        let mut held = Bound::hold(&self, |cache: &Self| cache.parts.bound.as_ref(), patience);
        let shards = 0..self.parts.shards.len();
        held.extend(
            shards.filter_map(|index| Shard::hold(&self, |cache| &cache.parts.shards[index], patience)),
        );
        held.push(Box::new(WithoutLock(self)));
        held
    }
}

/// What a cache counts outside of its locks.
struct WithoutLock<K, V, S>(Arc<Inner<K, V, S>>);

impl<K, V, S> Held for WithoutLock<K, V, S> {
    fn inherit(&mut self) {
        self.0.parts.clearings.inherit();
    }
}

/// What is done in a fork's child, besides what its caches do.
fn errand() {
    stats::inherit();
    table::inherit();
}
