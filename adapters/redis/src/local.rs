//! What is here: entries, the lease that they are served under, and the epoch that they belong to. Invalidations are handled here. This
//! file knows no connection, and not what the bytes of a key mean.

use crate::error::Error;
use crate::lease::{Lease, LinkNumber, Moment};
use redis::{PushInfo, PushKind, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tidewheel::Cache;

/// A key without the prefix.
pub(crate) type Key = Box<[u8]>;

/// The number of a time between two emptyings: what belongs to an older one is not there any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Epoch(u64);

/// What the server said of a key.
#[derive(Clone, Debug)]
pub(crate) struct Fill<V> {
    /// Errors are told to all who wait, and not kept.
    pub(crate) answer: Result<Option<V>, Box<Error>>,
    /// A moment no later than the sending of the question, if that was answered.
    pub(crate) sent: Moment,
    /// It is not served from this moment on. `Moment::NEVER`, which is before any other, if it is not to be kept.
    pub(crate) until: Moment,
    /// The earliest moment at which the key may end in Redis: for calls that ask later, the answer does not count. `None` if the key does not end.
    pub(crate) ends: Option<Moment>,
    /// The epoch that there was before the question was sent.
    pub(crate) epoch: Epoch,
}

impl<V> Fill<V> {
    pub(crate) fn failed(error: Error, sent: Moment, epoch: Epoch) -> Self {
        Self { answer: Err(Box::new(error)), sent, until: Moment::NEVER, ends: None, epoch }
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.until != Moment::NEVER
    }
}

/// Counts of what happens seldom enough to be counted in one place.
#[derive(Default)]
pub(crate) struct Counts {
    /// Answers of the server to reads: those that were kept, and those that were not.
    pub(crate) kept: AtomicU64,
    pub(crate) unkept: AtomicU64,
    pub(crate) invalidations: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) stale: AtomicU64,
    /// Entries that a read found here and did not serve. The core counts them as hits.
    unserved: AtomicU64,
    /// The most hits that anybody was told of.
    told: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) {
    // ORDERING: Relaxed; a count orders nothing.
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(crate) struct Local<V> {
    pub(crate) cache: Cache<Key, Fill<V>>,
    /// Where those meet who ask for one key while nothing can be kept.
    pub(crate) asks: Cache<Key, Fill<V>>,
    pub(crate) lease: Lease,
    pub(crate) counts: Counts,
    epoch: AtomicU64,
    /// What the keys in Redis begin with.
    prefix: Box<[u8]>,
    /// There is something to sweep out.
    is_emptied: AtomicBool,
    /// There is a [`Sweep`].
    is_to_be_swept: AtomicBool,
}

impl<V: Clone + Send + Sync + 'static> Local<V> {
    pub(crate) fn new(
        cache: Cache<Key, Fill<V>>,
        asks: Cache<Key, Fill<V>>,
        lease: Lease,
        prefix: Box<[u8]>,
    ) -> Self {
        let (counts, epoch) = (Counts::default(), AtomicU64::new(0));
        let (is_emptied, is_to_be_swept) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { cache, asks, lease, counts, epoch, prefix, is_emptied, is_to_be_swept }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        // ORDERING: Acquire; pairs with Release in `flush`: whoever has the new one finds nothing of the old.
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// What is here of a key, and not over; whether it may be served is the lease's.
    #[inline]
    pub(crate) fn find(&self, key: &[u8], now: Moment) -> Option<Option<V>> {
        let epoch = self.epoch();
        let found = self.cache.read(key, |fill| self.seen(fill, (now, epoch)));
        if matches!(found, Some(None)) {
            count(&self.counts.unserved);
        }
        found.flatten()
    }

    /// The same, and counts as no read.
    pub(crate) fn peek(&self, key: &[u8], now: Moment) -> Option<Option<V>> {
        let epoch = self.epoch();
        self.cache.peek_with(key, |fill| self.seen(fill, (now, epoch))).flatten()
    }

    /// How many reads were served from here. The core counts hits where threads do not meet; so here is counted what was none, which is seldom.
    pub(crate) fn hits(&self) -> u64 {
        let Counts { unserved, told, .. } = &self.counts;
        // ORDERING: Relaxed; a count orders nothing.
        let hits = self.cache.stats().hits.saturating_sub(unserved.load(Ordering::Relaxed));
        // Between the core's count and ours there is a moment, and whoever exports the figure must not see it fall.
        // ORDERING: Relaxed; as above.
        told.fetch_max(hits, Ordering::Relaxed).max(hits)
    }

    #[inline]
    fn seen(&self, fill: &Fill<V>, (now, epoch): (Moment, Epoch)) -> Option<Option<V>> {
        if now < fill.until && fill.epoch == epoch { fill.answer.clone().ok() } else { None }
    }

    /// Takes an entry out that is over, so that the key can be asked for.
    pub(crate) fn clear_if_over(&self, key: &[u8], now: Moment) {
        let epoch = self.epoch();
        self.cache.remove_if(key, |fill| fill.until <= now || fill.epoch != epoch);
    }

    /// Removes a key's entry. An answer for the key that is under way is not kept.
    pub(crate) fn forget(&self, key: &[u8]) {
        self.cache.invalidate(key);
    }

    /// Ends all entries at once. Answers that are under way are not kept. The entries leave memory a little later.
    pub(crate) fn flush(&self) {
        // ORDERING: Release; pairs with Acquire in `epoch`.
        self.epoch.fetch_add(1, Ordering::Release);
        count(&self.counts.flushes);
        // ORDERING: Release; pairs with Acquire in `sweep`, which then has the new epoch.
        self.is_emptied.store(true, Ordering::Release);
    }

    /// Returns whether there is something to sweep out.
    fn is_emptied(&self) -> bool {
        // ORDERING: Relaxed; `sweep` looks again.
        self.is_emptied.load(Ordering::Relaxed)
    }

    /// Takes out what belongs to an older epoch, if a new epoch has begun since the last sweep. Another may begin meanwhile: what belongs to that
    /// stays.
    pub(crate) fn sweep(&self) {
        // ORDERING: Acquire; pairs with Release in `flush`.
        if !self.is_emptied.swap(false, Ordering::Acquire) {
            return;
        }
        self.cache.retain(|_, fill| fill.epoch == self.epoch());
    }

    /// What a connection brought that nobody had asked for. Called by the task that reads it, before it reads on.
    pub(crate) fn hear(&self, link: LinkNumber, push: &PushInfo) {
        match push.kind {
            PushKind::Invalidate => self.hear_invalidation(push.data.first()),
            PushKind::Disconnection => self.lease.end(link),
            _ => {}
        }
    }

    fn hear_invalidation(&self, what: Option<&Value>) {
        let Some(Value::Array(keys)) = what else {
            // A null: everything. Whatever else it may be, that is the safe side.
            crate::events::emptied();
            return self.flush();
        };
        for key in keys {
            match key {
                Value::BulkString(key) => self.invalidate(key),
                Value::SimpleString(key) => self.invalidate(key.as_bytes()),
                _ => self.flush(),
            }
        }
    }

    fn invalidate(&self, key: &[u8]) {
        count(&self.counts.invalidations);
        if let Some(key) = key.strip_prefix(&*self.prefix) {
            self.forget(key);
        }
    }
}

/// A sweep that is to come. There is one at most, and when it has run, or is dropped without, there may be another.
pub(crate) struct Sweep<V: Clone + Send + Sync + 'static> {
    local: Arc<Local<V>>,
}

impl<V: Clone + Send + Sync + 'static> Sweep<V> {
    /// If there is something to sweep out, and no other that is to do it.
    pub(crate) fn if_due(local: &Arc<Local<V>>) -> Option<Self> {
        // ORDERING: Relaxed; the flag says nothing of anything else.
        let is_due = local.is_emptied() && !local.is_to_be_swept.swap(true, Ordering::Relaxed);
        is_due.then(|| Self { local: Arc::clone(local) })
    }

    pub(crate) fn run(self) {
        self.local.sweep();
    }
}

impl<V: Clone + Send + Sync + 'static> Drop for Sweep<V> {
    fn drop(&mut self) {
        // ORDERING: Relaxed; as in `if_due`.
        self.local.is_to_be_swept.store(false, Ordering::Relaxed);
    }
}

/// Makes a key's entry go when it is dropped, whatever becomes of the call.
pub(crate) struct Forgets<V: Clone + Send + Sync + 'static> {
    local: Arc<Local<V>>,
    key: Key,
}

impl<V: Clone + Send + Sync + 'static> Forgets<V> {
    /// And now.
    pub(crate) fn now_and_then(local: &Arc<Local<V>>, key: &[u8]) -> Self {
        local.forget(key);
        Self { local: Arc::clone(local), key: key.into() }
    }
}

impl<V: Clone + Send + Sync + 'static> Drop for Forgets<V> {
    fn drop(&mut self) {
        self.local.forget(&self.key);
        self.local.asks.invalidate(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_over_is_no_hit() {
        let cache = || Cache::builder().record_stats().build().unwrap();
        let local: Local<u32> =
            Local::new(cache(), cache(), Lease::new(Duration::from_secs(60)), Box::default());
        let now = local.lease.now();
        let (end, epoch) = (now.after(Duration::from_secs(60)), local.epoch());
        let fill = Fill { answer: Ok(Some(1)), sent: now, until: end, ends: None, epoch };
        local.cache.insert((*b"k").into(), fill);
        assert_eq!(local.find(b"k", now), Some(Some(1)));
        assert_eq!(local.find(b"k", end), None);
        assert_eq!(local.hits(), 1);
        local.flush();
        assert_eq!(local.find(b"k", now), None);
        assert_eq!(local.find(b"other", now), None);
        assert_eq!(local.hits(), 1);
    }
}
