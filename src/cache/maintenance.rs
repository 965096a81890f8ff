//! What has to be done now and then: the reaper's work, by the reaper or by whoever asks for it; and that all of it is sound.

use super::handle::{Cache, Inner, Parts};
use crate::key_value::{Key, Value};
use crate::reaper::Sweep;
use crate::shard::{AtWork, Listens, Shard};
use crate::sync::thread;
use crate::table::{Pin, advance_fully};
use crate::time::{Advanced, Span, Tick};
use std::hash::BuildHasher;

/// Do the reaper's work.
impl<K, V, S> Cache<K, V, S>
where
    K: Key,
    V: Value,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Removes what is due and drops what no guard protects, now and on this thread: for
    /// [`Reaper::manual`](crate::Reaper::manual) and for tests. Waits up to some 10 ms for guards of other threads to go.
    ///
    /// # Concurrency
    ///
    /// Takes the lock of one shard after the other, for a bounded number of entries at a time. Tells the listener of
    /// expired entries on this thread. What this thread's own guards protect stays.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewheel::{Cache, Reaper};
    ///
    /// let cache = Cache::builder().reaper(Reaper::manual()).time_to_live(Duration::ZERO).build()?;
    /// cache.insert("k", 1);
    /// assert_eq!(cache.get("k"), None); // it is never visible, and leaves when its second is over
    /// cache.run_pending_tasks();
    /// # Ok::<(), tidewheel::BuildError>(())
    /// ```
    pub fn run_pending_tasks(&self) {
        self.inner.run_pending_tasks();
    }

    /// Recounts everything: rows, nodes, wheel, counts, weights; and that no key is there twice. For when no writer runs.
    ///
    /// # Panics
    ///
    /// Panics where two counts disagree.
    #[doc(hidden)]
    pub fn validate(&self) {
        let parts = self.parts().shards.iter().map(Shard::validate).sum();
        let told = |due| self.inner.registration.get().is_none_or(|registration| registration.comes_by(due));
        // The reaper may come between the two looks, and have promised something later then. It does not come ten times.
        let is_told = || self.parts().shards.iter().map(Shard::appointment).min().is_none_or(told);
        assert!((0..10).any(|_| is_told()), "the reaper has not promised to come when it is due");
        self.validate_bound(parts);
    }

    /// How many calls that load or compute wait for another one of their key. For tests: a call that is about to wait
    /// cannot say so.
    #[doc(hidden)]
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.parts().shards.iter().map(Shard::waiting).sum()
    }
}

/// What came of reclaiming.
struct Reclaimed {
    /// Garbage waits still.
    waits: bool,
    /// Some of it was dropped.
    moves: bool,
}

/// How often shards are asked for what has become reclaimable in one visit.
const ROUNDS: usize = if cfg!(tidewheel_loom) { 1 } else { 32 };
/// How often a manual sweep looks again for garbage that other threads' guards may hold up.
const RECLAIM_ATTEMPTS: u32 = if cfg!(tidewheel_loom) { 1 } else { 160 };

impl<K, V, S> Inner<K, V, S> {
    /// Who hears what sweeps do.
    fn listener(&self) -> Option<&dyn Listens<K, V>> {
        self.parts.listener.as_ref().map(|listener| listener as _)
    }

    fn sweep_all(&self, now: Tick) -> (Tick, Span) {
        let swept = self.parts.shards.iter().map(|shard| shard.sweep(now, self.listener()));
        swept.fold((Tick::NEVER, Span::NONE), |(next, late), (due, lag)| (next.min(due), late.max(lag)))
    }

    /// Whether garbage still waits, and whether any went.
    fn reclaim_all(&self) -> Reclaimed {
        let mut done = Reclaimed { waits: false, moves: false };
        if !self.parts.shards.iter().any(Shard::is_waiting) {
            return done;
        }
        // On as long as that brings something, but not for ever: others wait.
        for _ in 0..ROUNDS {
            advance_fully();
            let (mut any, mut waiting) = (false, false);
            for shard in &self.parts.shards {
                let (dropped, left) = shard.reclaim();
                any |= dropped;
                waiting |= left;
            }
            (done.waits, done.moves) = (waiting, done.moves || any);
            if !waiting || !any {
                break;
            }
        }
        done
    }

    fn run_pending_tasks(&self) {
        let Parts { shards, config, .. } = &self.parts;
        shards.iter().for_each(|shard| _ = shard.sweep_at_once(self.listener()));
        for attempt in 1..=RECLAIM_ATTEMPTS {
            if !self.reclaim_all().waits || Pin::is_held() || attempt == RECLAIM_ATTEMPTS {
                break;
            }
            if attempt <= RECLAIM_ATTEMPTS / 2 { thread::yield_now() } else { crate::sync::nap() }
        }
        if shards.iter().any(Shard::is_waiting) {
            // The reaper may have come by meanwhile, and have seen nothing to come back for.
            self.wake_reaper(Tick::start_of(config.clock.now().second() + 1));
        }
    }

    /// Has the reaper come at `at`, or before. If it cannot be started, the shards do not rely on
    /// it, and the next write that leaves the reaper work in any of them comes here again. Runs
    /// no user code. The caller holds no lock.
    pub(super) fn wake_reaper(&self, at: Tick) {
        if self.registration.get().is_some_and(|registration| !registration.wake(at)) {
            self.parts.shards.iter().for_each(Shard::rely_on_no_reaper);
        }
    }
}

impl<K, V, S> Sweep for Inner<K, V, S>
where
    K: Send + Sync + 'static,
    V: Value,
    S: Send + Sync + 'static,
{
    fn sweep(&self, now: Tick) -> (Tick, Span) {
        let _work = AtWork::begin();
        self.sweep_all(now)
    }

    fn reclaim(&self) -> bool {
        let _work = AtWork::begin();
        let done = self.reclaim_all();
        // Only here, where one look follows the other: calls by hand may be far apart.
        #[cfg(feature = "tracing")]
        {
            let now = self.parts.config.clock.now();
            self.held_up.note(done.waits && !done.moves, now, self.parts.name.as_deref());
        }
        done.waits
    }
}

impl<K, V, S> Advanced for Inner<K, V, S>
where
    K: Send + Sync + 'static,
    V: Value,
    S: Send + Sync + 'static,
{
    fn advanced(&self) {
        self.run_pending_tasks();
    }
}
