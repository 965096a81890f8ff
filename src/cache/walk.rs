//! Operations on all entries: what iterators go by, and `retain`.
//!
//! Knows in which order shards are walked; that each entry is met exactly once is up to `table/walk.rs`.

use super::Cache;
use super::handle::Place;
use super::rounds::{Round, Rounds};
use crate::hash::HashBits;
use crate::key_value::{Key, Value};
use crate::listener::RemovalCause;
use crate::shard::{Deferred, Lookup, Removed, Shard};
use crate::table::{Cursor, Met, Node, Pin};
use std::hash::BuildHasher;

/// How far a walk through all shards has come. Holds nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Progress {
    shard: usize,
    cursor: Cursor,
}

impl Progress {
    pub(crate) const START: Self = Self { shard: 0, cursor: Cursor::START };
}

/// Keep some.
impl<K, V, S> Cache<K, V, S>
where
    K: Key,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Removes every entry for which the closure returns false.
    ///
    /// The closure is asked about every key that is there all the time, as with
    /// [`iter`](Self::iter), and perhaps about keys that come meanwhile. What is removed is the
    /// value that the closure was shown. If a write comes in between, the closure is asked again,
    /// about the new value. So its effects must be harmless when it is asked twice about a key.
    ///
    /// # Complexity
    ///
    /// O(entries).
    ///
    /// # Concurrency
    ///
    /// The closure runs outside every lock and may use the cache. While it runs, nothing that is
    /// removed meanwhile is dropped, and the entries of some buckets are looked at under one pin. A
    /// lock is taken for each removal. The listener is told of each, with the cause
    /// [`Explicit`](crate::RemovalCause::Explicit), by this thread.
    ///
    /// # Panics
    ///
    /// If the closure does. Entries that it had rejected before stay removed, and the rest stay in
    /// the cache. Also if the closure itself writes the key that it is asked about, each time it is
    /// asked, because that would never end.
    ///
    /// ```
    /// let cache = tidewheel::Cache::builder().build()?;
    /// (0..10).for_each(|n| cache.insert(n, n * n));
    /// cache.retain(|_, square| square % 2 == 0);
    /// assert_eq!(cache.entry_count(), 5);
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) {
        let mut progress = Progress::START;
        loop {
            let (from, mut lost) = (progress, Vec::new());
            if !self.retain_some(&mut progress, &mut keep, &mut lost) {
                return;
            }
            while !lost.is_empty() {
                lost = self.retain_lost(from, progress, &mut keep, &lost);
            }
        }
    }

    /// Decides about the entries of a few buckets; false at the end.
    fn retain_some(
        &self,
        progress: &mut Progress,
        keep: &mut impl FnMut(&K, &V) -> bool,
        lost: &mut Vec<Lost>,
    ) -> bool {
        // Dropped after the pin, and if the closure panics too.
        let mut gone = Gone { cache: self, rest: Vec::new() };
        let pin = Pin::new();
        let mut met = Vec::new();
        if !self.walk(progress, &mut met, &pin) {
            return false;
        }
        for (hash, node) in met {
            lost.extend(self.retain_one(hash, node, keep, &mut gone, &pin, Rounds::new()));
        }
        true
    }

    /// Decides once more about entries of some buckets that were written meanwhile. They are found by a walk: there is no key
    /// to look them up by, once the pin under which they were met is gone. Returns those that were written again meanwhile.
    #[cold]
    fn retain_lost(
        &self,
        mut from: Progress,
        to: Progress,
        keep: &mut impl FnMut(&K, &V) -> bool,
        again: &[Lost],
    ) -> Vec<Lost> {
        let mut lost = Vec::new();
        // More steps than at first, or fewer, if the table is larger by now, or smaller.
        while from < to {
            let mut gone = Gone { cache: self, rest: Vec::new() };
            let pin = Pin::new();
            let mut met = Vec::new();
            self.walk(&mut from, &mut met, &pin);
            for (hash, node) in met {
                if let Some((_, rounds)) = again.iter().find(|(other, _)| *other == hash) {
                    lost.extend(self.retain_one(hash, node, keep, &mut gone, &pin, *rounds));
                }
            }
        }
        lost
    }

    /// Decides about one entry. If that is written meanwhile, it was in vain.
    fn retain_one<'c: 'g, 'g>(
        &'c self,
        hash: HashBits,
        node: &'g Node<K, V>,
        keep: &mut impl FnMut(&K, &V) -> bool,
        gone: &mut Gone<'c, K, V, S>,
        pin: &'g Pin,
        rounds: Rounds,
    ) -> Option<Lost> {
        let shard = self.shard(hash);
        let alive = self.visible_from(hash, node, pin)?;
        let mut round = rounds.begin(Place { hash, shard }, Some(alive));
        if keep(alive.key(), alive.value()) {
            return None;
        }
        Round::has_run(&mut round);
        let at = Lookup::new(hash, alive.key());
        let (removed, deferred) = shard.remove_expected(at, alive);
        gone.add(shard, deferred);
        if !matches!(removed, Removed::Changed) {
            return None;
        }
        Some((hash, rounds.lose(round)))
    }

    /// The nodes of the next few buckets; false at the end.
    pub(crate) fn walk<'g>(
        &'g self,
        progress: &mut Progress,
        met: &mut Vec<Met<'g, K, V>>,
        pin: &'g Pin,
    ) -> bool {
        let shards = &self.parts().shards;
        let Some(shard) = shards.get(progress.shard) else { return false };
        let hash_of = |key: &K| HashBits::of(&self.parts().hasher, key);
        shard.walk(&mut progress.cursor, &hash_of, met, pin);
        if progress.cursor.is_at_end() {
            *progress = Progress { shard: progress.shard + 1, cursor: Cursor::START };
        }
        true
    }

    fn shard(&self, hash: HashBits) -> &Shard<K, V> {
        let shards = &self.parts().shards;
        &shards[hash.shard(shards.len() - 1)]
    }

    /// A node that was met, or what stands in its place by now, if it is alive.
    pub(crate) fn visible_from<'g>(
        &'g self,
        hash: HashBits,
        node: &'g Node<K, V>,
        pin: &'g Pin,
    ) -> Option<&'g Node<K, V>> {
        if node.is_visible_here(|| self.parts().config.clock.recent()) {
            return Some(node);
        }
        // It is over, or it is being replaced; or it was replaced since it was met, and perhaps removed after that.
        self.visible_now(hash, node.key(), pin)
    }

    /// The node of a live entry whose hash is known. Counts as no use.
    pub(crate) fn visible_now<'g>(&'g self, hash: HashBits, key: &K, pin: &'g Pin) -> Option<&'g Node<K, V>> {
        self.shard(hash).visible::<false, _>(Lookup::new(hash, key), pin)
    }
}

/// The hash of an entry that was written while it was decided about it, and the rounds so far.
type Lost = (HashBits, Rounds);

/// What was removed under a pin: the listener is told when that is gone.
struct Gone<'c, K, V, S> {
    cache: &'c Cache<K, V, S>,
    rest: Vec<Rest<'c, K, V>>,
}

/// What is left to do, and is started.
type Rest<'c, K, V> = (&'c Shard<K, V>, Deferred<K, V>);

impl<'c, K, V, S> Gone<'c, K, V, S> {
    fn add(&mut self, shard: &'c Shard<K, V>, mut deferred: Deferred<K, V>) {
        self.cache.start(&mut deferred);
        self.rest.push((shard, deferred));
    }
}

impl<K, V, S> Drop for Gone<'_, K, V, S> {
    fn drop(&mut self) {
        for (shard, deferred) in self.rest.drain(..) {
            self.cache.conclude(shard, deferred, RemovalCause::Explicit);
        }
    }
}
