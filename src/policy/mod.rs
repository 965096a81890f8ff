//! The policy: which row goes when a shard is full.
//!
//! It sees the numbers and weights of rows, and through [`Entries`] the hash and the hit counter of
//! their entries. It knows no keys, no nodes, no locks and no clock. All of it runs on the writers'
//! side, when an entry comes or goes. A reader only raises the counter, to at most three.
//!
//! Adaptive, the default, is S3-FIFO (J. Yang et al., "FIFO Queues are All You Need for Cache
//! Eviction", SOSP 2023) with a target between its queues that moves, as in ARC (N. Megiddo and D.
//! Modha, FAST 2003), and with an admission that compares reuse distances, as in LIRS (S. Jiang and
//! X. Zhang, SIGMETRICS 2002).
//!
//! ```text
//!             ┌────────── hit three times ────────────┐
//!   new ──► small: a FIFO ── never hit ──► ghost      ▼
//!             ▲                              │      main: a CLOCK ── not hit since it was passed ──► ghost
//!             └── comes again, too late ─────┴─ comes again, soon enough ─►┘
//! ```
//!
//! - *Out of small*: a row that was hit three times or more moves to main. A row that was hit once
//!   or twice stays for another round. A row that was never hit is evicted.
//! - *Out of main*: a row that was hit stays for another round, with one hit less. Any other row is
//!   evicted.
//! - *Which queue gives*: small while it holds its part or more, otherwise main.
//! - *Filling*: until the shard is full, rows that exceed small's part move to main unchanged.
//!   Nothing is evicted before it must be.
//! - *Admission*: a key that comes again and was evicted from small enters main, with one hit, if
//!   it was away for a shorter time than main's next victim has been idle. Both times are measured
//!   in misses, and a margin applies. Any other key enters small. (A key that was evicted from main
//!   had been in main for a whole round before: it was away for longer than its age in the ghost
//!   says.)
//! - *The target*: suppose that a key comes again after no more evictions from its queue than a
//!   tenth of the entries. It would have been a hit if that queue had been larger. If the queue was
//!   small, small's part grows by an entry, or by less the larger it is. If it was main, small's
//!   part shrinks by one and a half entries.
//! - *Weights*: where weights differ, an entry that is lighter than half the mean begins with one
//!   hit, and the time for which a heavy one may have been away is shorter in proportion. The
//!   shards then share one [`Account`], and each takes from it what its entries need, be that more
//!   or less than its part.
//!
//! Invariants:
//!
//! 1. A row with a weight is in one queue. A pinned row has no weight and is in no queue, so it is
//!    never evicted.
//! 2. The stored weights and lengths are those of the queues. `validate` recounts them.
//! 3. With an account, the amount that was taken from it and not given back is the weight of all
//!    rows plus the credit.

mod account;
mod bid;
mod ghost;
mod paid;
mod prefetch;
#[cfg(all(test, not(tidewheel_loom)))]
mod replay;
mod target;
#[cfg(test)]
mod tests;
#[cfg(all(any(test, fuzzing), not(tidewheel_loom)))]
mod trial;

#[cfg(fuzzing)]
pub use trial::fuzz;

pub(crate) use account::Account;
pub(crate) use bid::{Bid, taken};
pub(crate) use target::Target;

use crate::column::Column;
use crate::rows::{Kept, Link, Linked, Lists, Memory, Queued, RowId};
use crate::sync::Arc;
use ghost::Ghost;
use std::ops::{Index, IndexMut, Range};

/// How a full cache chooses the entry that goes.
///
/// The policies are the crate's own: you cannot supply one, and later versions may add more. No
/// policy makes a read take a lock.
///
/// ```
/// use tidewheel::{Cache, EvictionPolicy};
/// let cache = Cache::builder().max_capacity(2).eviction_policy(EvictionPolicy::Fifo).build()?;
/// for key in 1..=3 {
///     cache.insert(key, ());
/// }
/// assert!(!cache.contains_key(&1));
/// # Ok::<(), tidewheel::BuildError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum EvictionPolicy {
    /// S3-FIFO with a moving target and an admission by reuse distance: the best hit ratio on most
    /// traces, and resistant to scans and loops.
    #[default]
    Adaptive,
    /// One queue. An entry that was hit since it was last considered stays for another round.
    /// Nearly LRU.
    Clock,
    /// One queue. The oldest entry goes, hit or not.
    Fifo,
}

/// What the policy asks about the entries. The caller that keeps them implements it.
pub(crate) trait Entries {
    /// Returns bits of the key's hash, always the same ones.
    fn hash(&self, row: RowId) -> u32;
    /// Returns how often the entry was hit, up to `MOST_HITS`, and lowers that by up to `by`.
    fn lower(&mut self, row: RowId, by: u8) -> u8;
}

/// The largest value of the readers' hit counter.
pub(crate) const MOST_HITS: u8 = 3;

const SMALL: usize = 0;
const MAIN: usize = 1;

/// The largest number of rows that are passed over for one victim. After that the next one goes,
/// hit or not. (A bound of 8 costs a quarter of a point of hit ratio, one of 128 nothing.)
const MOST_PASSED_OVER: u32 = 64;

/// The largest number of rows that move from small to main with one new row, while the shard fills.
/// One would keep pace with new rows. More are needed after the capacity was lowered, and after a
/// heavy entry came.
const MOST_MOVED: u32 = 8;

/// The factor by which the time that a key was away must be shorter than the time that main's next
/// victim has been idle, in tenths.
const MARGIN_TENTHS: u128 = 13;
/// A key that comes again is young if its age is less than the number of entries divided by this.
const YOUNG: u64 = 10;
/// For the admission, a weight counts as at most this many times the mean, and at least as this
/// fraction of it.
const EXTREME: u64 = 16;

/// The places of rows in the queues. `Queued::since` is the time, in misses, at which a row entered
/// its queue or the hand passed it. Its lowest bit says which queue that is.
struct Places(Box<<Queued as Kept>::Memory>);

impl Index<RowId> for Places {
    type Output = Queued;

    #[inline]
    fn index(&self, row: RowId) -> &Queued {
        self.0.get(row)
    }
}

impl IndexMut<RowId> for Places {
    #[inline]
    fn index_mut(&mut self, row: RowId) -> &mut Queued {
        self.0.get_mut(row)
    }
}

/// The chain through rows that links the queues.
struct InQueue;

impl Linked<InQueue> for Places {
    #[inline]
    fn link(&self, row: RowId) -> &Link {
        &self[row].link
    }

    #[inline]
    fn link_mut(&mut self, row: RowId) -> &mut Link {
        &mut self[row].link
    }

    fn live_link(&self, row: RowId) -> Option<&Link> {
        Some(self.link(row))
    }
}

/// The queues of one shard.
pub(crate) struct Policy {
    kind: EvictionPolicy,
    /// The capacity of the shard. With an account, it is the shard's part: the shard may hold more
    /// while others hold less.
    capacity: u64,
    account: Option<Arc<Account>>,
    /// With an account: room that the current operation has taken for a new entry, or that a
    /// removed entry has freed.
    credit: u64,
    /// With an account: whether the new entry is heavier than the whole capacity.
    refuses: bool,
    /// The number of shards in the cache.
    shards: u64,
    /// With an account: how often another shard gave room for a large entry since this one last
    /// gave any.
    passed_over: u32,
    queues: Lists<InQueue>,
    rows: Places,
    weights: Column<u32>,
    len: [u64; 2],
    weight: [u64; 2],
    /// Whether nothing has had to be evicted since there was much room.
    filling: bool,
    /// The number of misses, that is, of entries that came. It wraps around at 31 bits.
    now: u32,
    /// The recent part of evictions that were from main, in units of 2^-32.
    from_main: u32,
    ghost: Ghost,
    target: Arc<Target>,
}

impl Policy {
    /// Creates the policy of a shard with this capacity, in a cache with `shards` shards.
    pub(crate) fn new(
        kind: EvictionPolicy,
        capacity: u64,
        shards: usize,
        target: Arc<Target>,
        account: Option<Arc<Account>>,
    ) -> Self {
        Self {
            kind,
            capacity,
            account,
            credit: 0,
            refuses: false,
            shards: shards as u64,
            passed_over: 0,
            queues: Lists::new(2),
            rows: Places(Box::new(Memory::new())),
            weights: Column::new(1),
            len: [0; 2],
            weight: [0; 2],
            filling: true,
            now: 0,
            from_main: 1 << 31,
            ghost: Ghost::new(),
            target,
        }
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Sets the capacity. The caller evicts what exceeds it.
    pub(crate) fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
        self.filling |= self.has_much_room();
    }

    /// Returns whether a good part of the room is free.
    fn has_much_room(&self) -> bool {
        match &self.account {
            None => self.weight() < self.capacity - self.capacity / 16,
            Some(account) => account.is_roomy(),
        }
    }

    /// Returns the weight of all rows.
    #[inline]
    pub(crate) fn weight(&self) -> u64 {
        self.weight[SMALL] + self.weight[MAIN]
    }

    pub(crate) fn weight_of(&self, row: RowId) -> u32 {
        self.weights.get(row)
    }

    /// Returns whether the shard cannot hold `more`. With an account it always can: the weight was
    /// taken from the account before.
    #[inline]
    pub(crate) fn is_too_much(&self, more: u32) -> bool {
        self.weight() + u64::from(more) > self.capacity && self.account.is_none()
    }

    /// Returns whether a single entry of this weight exceeds the capacity.
    #[inline]
    pub(crate) fn is_too_heavy(&self, weight: u32) -> bool {
        if self.account.is_some() { self.refuses } else { u64::from(weight) > self.capacity }
    }

    /// Returns the number of rows that have a weight.
    pub(crate) fn len(&self) -> u64 {
        self.len[SMALL] + self.len[MAIN]
    }

    /// Adds a new row. Returns how many hits its entry begins with.
    pub(crate) fn admit(&mut self, row: RowId, hash: u32, weight: u32) -> u8 {
        self.weights.set(row, weight);
        if self.account.is_some() {
            self.spend(0, weight);
        }
        if !self.rows.0.has_chunk(row.chunk()) {
            self.rows.0.add_chunk(row.chunk());
        }
        self.rows[row].link = Link::LOOSE;
        if weight == 0 {
            return 0;
        }
        self.now = self.now.wrapping_add(1);
        if self.kind != EvictionPolicy::Adaptive {
            self.push(MAIN, row);
            return 0;
        }
        // This is asked before the row comes, so that the row is not part of the mean.
        let light = self.is_light(weight);
        let proven = self.is_proven(hash, weight);
        self.push(if proven { MAIN } else { SMALL }, row);
        if self.filling {
            for _ in 0..MOST_MOVED {
                let oldest = self.queues.front(SMALL);
                let is_too_much = self.weight[SMALL] > self.target.part_of(self.room());
                let Some(oldest) = oldest.filter(|_| is_too_much) else { break };
                self.pull(oldest);
                self.push(MAIN, oldest);
            }
        }
        u8::from(proven || light)
    }

    /// Returns whether this weight is less than half the mean weight.
    fn is_light(&self, weight: u32) -> bool {
        2 * u128::from(weight) * u128::from(self.len()) < u128::from(self.weight())
    }

    /// Returns whether a new key may enter main, by what the ghost remembers. Moves the target.
    fn is_proven(&mut self, hash: u32, weight: u32) -> bool {
        let Some(ghost) = self.ghost.recall(hash, self.now) else { return false };
        let age = u64::from(ghost.age);
        let part = u64::from(if ghost.from_main { self.from_main } else { u32::MAX - self.from_main });
        if YOUNG * ((age * part) >> 32) < self.len() {
            self.target.step(ghost.from_main, self.len() * self.shards);
        }
        if ghost.from_main {
            return false;
        }
        let Some(next) = self.queues.front(MAIN) else { return true };
        let idle = self.now.wrapping_sub(self.rows[next].since >> 1) & (u32::MAX >> 1);
        let mean = (self.weight() / self.len().max(1)).max(1);
        let weight = u64::from(weight).clamp(mean / EXTREME, mean * EXTREME);
        MARGIN_TENTHS * u128::from(age) * u128::from(weight) < 10 * u128::from(idle) * u128::from(mean)
    }

    /// Removes a row whose entry was unlinked.
    #[inline]
    pub(crate) fn leave(&mut self, row: RowId) {
        if self.account.is_some() {
            self.spend(self.weights.get(row), 0);
        }
        let is_victim = !self.rows[row].link.is_linked();
        if !is_victim {
            self.leave_queue(row);
        }
    }

    #[inline(never)]
    fn leave_queue(&mut self, row: RowId) {
        self.pull(row);
        self.filling |= self.has_much_room();
    }

    /// Sets the weight of a row, for which there is room. The row keeps its place, unless it was
    /// pinned or is pinned now.
    #[inline]
    pub(crate) fn reweigh(&mut self, row: RowId, weight: u32) {
        let before = self.weights.get(row);
        if before != weight {
            self.reweigh_from(row, before, weight);
        }
    }

    #[inline(never)]
    fn reweigh_from(&mut self, row: RowId, before: u32, weight: u32) {
        if self.account.is_some() {
            self.spend(before, weight);
        }
        self.weights.set(row, weight);
        self.filling |= weight < before && self.has_much_room();
        let Queued { link, since } = self.rows[row];
        // A row that was pinned was in no queue, so its `since` is outdated.
        let queue = if self.kind == EvictionPolicy::Adaptive { queue_of(since) } else { MAIN };
        if link.is_linked() {
            self.weight[queue] = self.weight[queue] - u64::from(before) + u64::from(weight);
            if weight == 0 {
                self.pull(row);
            }
        } else {
            self.push(queue, row);
        }
    }

    /// Returns the next victim, which leaves its queue here. Returns `None` if no row has a weight.
    #[inline]
    pub(crate) fn victim(&mut self, entries: &mut impl Entries) -> Option<RowId> {
        self.filling = false;
        for passed in 0.. {
            let too_much = self.weight[SMALL] >= self.target.part_of(self.room());
            let queue = if self.len[MAIN] == 0 || (too_much && self.len[SMALL] != 0) { SMALL } else { MAIN };
            let row = self.queues.front(queue)?;
            let lower_by = match (self.kind, queue) {
                (EvictionPolicy::Fifo, _) => 0,
                (EvictionPolicy::Clock, _) | (_, SMALL) => MOST_HITS,
                _ => 1,
            };
            let hits = if lower_by == 0 { 0 } else { entries.lower(row, lower_by) };
            self.pull_front(queue, row);
            if hits == 0 || passed == MOST_PASSED_OVER {
                self.remember(entries.hash(row), queue);
                return Some(row);
            }
            self.push(if hits < MOST_HITS { queue } else { MAIN }, row);
        }
        None
    }

    fn remember(&mut self, hash: u32, queue: usize) {
        if self.kind != EvictionPolicy::Adaptive {
            return;
        }
        // The row has left the queues, but still counts.
        let entries = self.len() as usize + 1;
        if entries > self.ghost.entries() {
            // With an account, the number of entries may still grow, and each resize forgets
            // everything. (Otherwise the shard is full now, and all entries weigh the same.)
            let more = if self.account.is_some() { entries / 4 } else { 0 };
            self.ghost.resize(entries + more);
        }
        self.ghost.remember(hash, queue == MAIN, self.now);
        // The average covers the last hundred evictions or so, or an eighth of the entries.
        let slowly = (self.len() / 8).max(1).ilog2().max(7);
        if queue == MAIN {
            self.from_main += (u32::MAX - self.from_main) >> slowly;
        } else {
            self.from_main -= self.from_main >> slowly;
        }
    }

    fn push(&mut self, queue: usize, row: RowId) {
        self.rows[row].since = self.now << 1 | queue as u32;
        self.queues.push_back(&mut self.rows, queue, row);
        self.len[queue] += 1;
        self.weight[queue] += u64::from(self.weights.get(row));
    }

    /// As `pull`, of the first row of a queue.
    #[inline]
    fn pull_front(&mut self, queue: usize, row: RowId) {
        self.queues.pop_front(&mut self.rows, queue);
        self.len[queue] -= 1;
        self.weight[queue] -= u64::from(self.weights.get(row));
    }

    fn pull(&mut self, row: RowId) {
        let queue = queue_of(self.rows[row].since);
        self.queues.unlink(&mut self.rows, row);
        self.len[queue] -= 1;
        self.weight[queue] -= u64::from(self.weights.get(row));
    }

    /// Gives back the memory of vacant rows: some places of a chunk, or all of it.
    pub(crate) fn forget(&mut self, chunk: usize, places: Range<usize>) {
        self.weights.forget(RowId::at(chunk, places.start), places.len());
        if self.rows.0.has_chunk(chunk) {
            self.rows.0.discard(chunk, places);
        }
    }

    /// Gives back the ghost's memory, if it is for many more entries than there are.
    pub(crate) fn trim(&mut self) {
        if self.ghost.entries() as u64 > 4 * self.len() + 64 {
            self.ghost.resize(0);
        }
    }

    /// Recounts the queues, given all live rows.
    ///
    /// # Panics
    ///
    /// Panics where an invariant of this module is broken, or where the weight exceeds the
    /// capacity.
    pub(crate) fn check(&self, live: impl Iterator<Item = RowId>) {
        let mut queued = 0;
        for queue in [SMALL, MAIN] {
            let mut weight = 0;
            let len = self.queues.check(&self.rows, queue, |row| {
                assert_eq!(queue_of(self.rows[row].since), queue, "row {} and its queue", row.index());
                assert_ne!(self.weights.get(row), 0, "row {} is in a queue and pinned", row.index());
                weight += u64::from(self.weights.get(row));
            });
            assert_eq!(len as u64, self.len[queue], "rows in queue {queue}, rows counted");
            assert_eq!(weight, self.weight[queue], "weights in queue {queue}, weights summed");
            queued += len;
        }
        let mut pinned = 0;
        for row in live {
            let linked = self.rows[row].link.is_linked();
            assert_eq!(linked, self.weights.get(row) != 0, "row {}, its queue and its weight", row.index());
            if linked {
                queued -= 1;
            } else {
                pinned += 1;
            }
        }
        assert_eq!(queued, 0, "rows in queues that are not live ({pinned} are pinned)");
        self.ghost.check();
        assert_eq!(self.credit, 0, "nobody is about to bring anything");
        let most = if self.account.is_some() { u64::MAX } else { self.capacity };
        assert!(self.weight() <= most, "{} is in a shard of {most}", self.weight());
    }
}

const fn queue_of(since: u32) -> usize {
    (since & 1) as usize
}
