//! The pace of writers while readers delay the dropping of garbage.
//!
//! Everything that is unlinked while a thread is pinned waits for that thread. The thread may be
//! asleep in the middle of a read because the system runs other threads, or it may hold a guard.
//! Writers cannot distinguish the two. So no writer waits *for* readers: each waits a *moment* now
//! and then, which gives the processor to readers. The more garbage waits, the more often writers
//! wait. A moment ends early when something is reclaimable.
//!
//! Garbage is counted in nodes, and by weight where entries have weights. Garbage that takes no
//! more than the entries themselves took before does not count: where a shard has been emptied, its
//! writers may fill it again.
//!
//! This file knows neither nodes nor shards. [`Moment::wait`] is called outside every lock.

use super::epoch::{self, GracePeriod};
use crate::sync::{Alarm, Arc, nap, thread};
use crate::time::{Span, Timeline};
use std::time::Duration;

/// This many full batches of garbage may wait before writers have to.
const FREE: u64 = 8;
/// In addition, what the entries take divided by this may wait.
const PART: u64 = 8;
/// If the excess is as much as `FREE` batches, one write in this many waits a moment. If the excess
/// is this many times as much, each write does.
const EASE: u64 = 4;
/// The longest moment. (A thread that sleeps returns some fifty microseconds later than it asked.)
const LONGEST: Duration = Duration::from_millis(1);
/// How often a writer yields the processor before it sleeps.
const YIELDS: u32 = 2;
/// How often all waiting writers together check whether the readers are gone. A check costs every
/// running thread a little.
const LOOK: Span = Span::from_nanos(100_000);

/// Amounts of nodes, or of their weight.
#[derive(Clone, Copy, Default, Debug)]
struct Gauge {
    /// The amount that is sealed and not yet handed out to be dropped.
    waiting: u64,
    /// The largest amount in the table since the last time that at most `FREE` batches waited.
    usual: u64,
}

impl Gauge {
    /// Returns how much more waits than is permitted. `free` is permitted in any case.
    fn excess(self, in_table: u64, free: u64) -> u64 {
        let left = self.usual.saturating_sub(in_table);
        self.waiting.saturating_sub(left).saturating_sub(free.saturating_add(self.usual / PART))
    }

    fn note(&mut self, in_table: u64, free: u64) {
        let is_little = self.waiting <= free;
        self.usual = if is_little { in_table } else { self.usual.max(in_table) };
    }
}

/// An amount of nodes and of weight.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Load {
    pub(super) nodes: u64,
    pub(super) weight: u64,
}

/// What waits in a shard, from which the number of writes between two moments follows.
#[derive(Default, Debug)]
pub(super) struct Pace {
    nodes: Gauge,
    weight: Gauge,
}

impl Pace {
    /// Adds a sealed batch to what waits.
    pub(super) fn sealed(&mut self, batch: Load) {
        self.nodes.waiting += batch.nodes;
        self.weight.waiting += batch.weight;
    }

    /// Subtracts a batch that does not wait any more.
    pub(super) fn taken(&mut self, batch: Load) {
        self.nodes.waiting -= batch.nodes;
        self.weight.waiting -= batch.weight;
    }

    pub(super) fn waiting(&self) -> Load {
        Load { nodes: self.nodes.waiting, weight: self.weight.waiting }
    }

    /// Returns the number of writes between two moments, or `None` while little waits. `batch` is
    /// the size of a full batch.
    pub(super) fn every(&mut self, in_table: Load, batch: Load) -> Option<usize> {
        // A moment means nothing to loom, and takes no time there.
        if cfg!(tidewheel_loom) {
            return None;
        }
        let nodes = every(&mut self.nodes, in_table.nodes, batch.nodes);
        let weight = every(&mut self.weight, in_table.weight, batch.weight);
        let writes = nodes.into_iter().chain(weight).min()?;
        Some(writes.clamp(1, batch.nodes) as usize)
    }
}

fn every(gauge: &mut Gauge, in_table: u64, batch: u64) -> Option<u64> {
    let free = FREE.saturating_mul(batch.max(1));
    gauge.note(in_table, free);
    let excess = gauge.excess(in_table, free);
    free.saturating_mul(EASE).checked_div(excess)
}

/// A moment that a writer has to wait, unless this grace period ends before.
#[derive(Debug)]
pub(crate) struct Moment(Option<Arc<GracePeriod>>);

impl Moment {
    /// Creates a moment that ends with the oldest grace period that is not over. If all are over,
    /// the writer only drops what is reclaimable.
    pub(super) fn until(oldest: Option<&Arc<GracePeriod>>) -> Self {
        Self(oldest.map(Arc::clone))
    }

    /// Waits a moment, unpinned and outside every lock.
    #[cold]
    pub(crate) fn wait(&self) {
        let Some(oldest) = &self.0 else { return };
        let (alarm, clock) = (Alarm::after(LONGEST), Timeline::system());
        for look in 0.. {
            if oldest.is_over() {
                return;
            }
            if epoch::is_time_to_advance(clock.now(), LOOK) {
                epoch::advance_fully();
                if oldest.is_over() {
                    return;
                }
            }
            if alarm.is_over() {
                return;
            }
            if look < YIELDS { thread::yield_now() } else { nap() }
        }
    }
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BATCH: Load = Load { nodes: 64, weight: 1000 };
    const MAY_WAIT: u64 = FREE * BATCH.nodes;

    fn nodes(nodes: u64) -> Load {
        Load { nodes, weight: 0 }
    }

    /// Returns the pace of a shard with `entries` entries in which `waiting` nodes wait that came
    /// since.
    fn pace(entries: u64, waiting: u64) -> Pace {
        let mut pace = Pace::default();
        let _ = pace.every(nodes(entries), BATCH);
        pace.sealed(nodes(waiting));
        pace
    }

    #[test]
    fn nobody_waits_while_little_does() {
        for entries in [0, 1, 64, 1_000_000] {
            let may_wait = MAY_WAIT + entries / PART;
            assert_eq!(pace(entries, may_wait).every(nodes(entries), BATCH), None);
            assert!(pace(entries, may_wait + 1).every(nodes(entries), BATCH).is_some());
        }
    }

    #[test]
    fn the_more_waits_the_more_often_a_writer_does() {
        let of = |times| pace(0, MAY_WAIT * times).every(nodes(0), BATCH);
        assert_eq!([of(2), of(3), of(5), of(100)], [Some(4), Some(2), Some(1), Some(1)]);
        assert_eq!(pace(0, MAY_WAIT + 8).every(nodes(0), BATCH), Some(64));
    }

    #[test]
    fn weight_counts_too() {
        let of = |weight| {
            let mut pace = Pace::default();
            pace.sealed(Load { nodes: 1, weight });
            pace.every(nodes(10), BATCH)
        };
        assert_eq!([of(8000), of(16_000), of(80_000)], [None, Some(4), Some(1)]);
    }

    /// Where entries have no weights, the weight that makes a batch is infinite.
    #[test]
    fn no_weight_is_no_reason_to_wait() {
        let batch = Load { nodes: 64, weight: u64::MAX };
        assert_eq!(pace(0, MAY_WAIT).every(nodes(0), batch), None);
    }

    /// Garbage of expired and removed entries takes the place of the entries that there were.
    #[test]
    fn a_shard_that_was_emptied_may_be_filled_again() {
        let mut pace = pace(100_000, 100_000);
        assert_eq!(pace.every(nodes(0), BATCH), None);
        assert_eq!(pace.every(nodes(12_500), BATCH), None);
        assert!(pace.every(nodes(100_000), BATCH).is_some());
        // All of the garbage is gone, and few entries have come: from now on they are the usual
        // amount.
        pace.taken(nodes(100_000));
        assert_eq!(pace.every(nodes(100), BATCH), None);
        pace.sealed(nodes(2000));
        assert!(pace.every(nodes(100), BATCH).is_some());
    }

    /// Simulates writers that replace for as long as a reader is stuck, each with a moment when it
    /// is told to. The excess grows with the square root of the time. Once it is four times what
    /// may wait, it grows by a value for each moment.
    fn what_waits_after(moments: u64, writers: u64, entries: u64) -> u64 {
        let mut pace = pace(entries, 0);
        let mut waited = 0;
        while waited < moments * writers {
            match pace.every(nodes(entries), BATCH) {
                None => pace.sealed(nodes(BATCH.nodes)),
                Some(writes) => {
                    pace.sealed(nodes(writes as u64));
                    waited += 1;
                }
            }
        }
        pace.waiting().nodes
    }

    proptest! {
        #[test]
        fn what_waits_is_bounded_by_the_time_that_readers_are_stuck(
            moments in 1..3000_u64, writers in 1..8_u64, entries in 0..100_000_u64,
        ) {
            let waits = what_waits_after(moments, writers, entries);
            let root = (2 * EASE * MAY_WAIT * writers * moments).isqrt();
            let excess = if root < EASE * MAY_WAIT { root } else { EASE * MAY_WAIT + writers * moments };
            prop_assert!(waits <= MAY_WAIT + entries / PART + excess + 2 * BATCH.nodes, "{waits}, {excess}");
        }

        /// No writer waits if no more garbage waits than may. Some writer waits if five times as
        /// much does. More garbage never makes moments less frequent.
        #[test]
        fn more_never_means_more_seldom(entries in 0..10_000_u64, waiting in 0..100_000_u64, more in 0..10_000_u64) {
            let of = |waiting| pace(entries, waiting).every(nodes(entries), BATCH).unwrap_or(usize::MAX);
            prop_assert!(of(waiting + more) <= of(waiting));
            let may_wait = MAY_WAIT + entries / PART;
            prop_assert_eq!(of(waiting) == usize::MAX, waiting <= may_wait);
            if waiting >= may_wait + EASE * MAY_WAIT {
                prop_assert_eq!(of(waiting), 1);
            }
        }
    }
}
