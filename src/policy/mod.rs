//! The policy: which row goes when a shard is full.
//!
//! It sees numbers of rows, their weights, and of their entries a hash and a counter of hits, through [`Entries`]; no
//! keys, no nodes, no locks, no clock. All of it runs on the writers' side, when an entry comes or goes: a reader does
//! nothing for it but raise the counter, up to three.
//!
//! Adaptive, the default, is S3-FIFO (J. Yang et al., "FIFO Queues are All You Need for Cache Eviction", SOSP 2023) with
//! a target between its queues that moves, as in ARC (N. Megiddo and D. Modha, FAST 2003), and with an admission
//! that compares reuse distances, as in LIRS (S. Jiang and X. Zhang, SIGMETRICS 2002).
//!
//! ```text
//!             ┌────────── hit three times ────────────┐
//!   new ──► small: a FIFO ── never hit ──► ghost      ▼
//!             ▲                              │      main: a CLOCK ── not hit since it was passed ──► ghost
//!             └── comes again, too late ─────┴─ comes again, soon enough ─►┘
//! ```
//!
//! - *Out of small*: hit three times or more, into main; hit less, another round; never hit, out.
//! - *Out of main*: hit, another round, and one hit less; else out.
//! - *Which one gives*: small while it is larger than its part, else main.
//! - *Filling*: until the shard is full, what small has too much goes to main as it is: nothing is given up before it must.
//! - *Admission*: what comes again and went from small goes into main, as if hit once, if it was away for a shorter time than
//!   main's next victim has lain idle; measured in misses, with a margin. Else into small like anything new. (What went
//!   from main had lain there for a whole round before: it was away for longer than its age in the ghost says.)
//! - *The target*: what comes again after no more evictions from the queue that it left than a tenth of the entries, would
//!   have been a hit had that queue been larger. So small's part grows by an entry, less as it is larger, or
//!   shrinks by one and a half.
//! - *Weights*: where entries differ, one that is lighter than half the mean begins as hit once, and a
//!   heavy one must have been away for a time shorter in proportion. The shards have one [`Account`] then, and each
//!   takes from it what its entries need, be that more or less than its part.
//!
//! Invariants:
//!
//! 1. A row of weight is in one queue; a pinned row, which has none, is in none, and so never goes.
//! 2. The weights and lengths kept are those of the queues. `validate` recounts them.
//! 3. With an account, what was taken from it and not given back is the weight of all rows and the credit.

mod account;
mod bid;
mod ghost;
mod paid;
mod prefetch;
mod target;
#[cfg(all(test, not(tidewheel_loom)))]
mod tests;

pub(crate) use account::Account;
pub(crate) use bid::{Bid, taken};
pub(crate) use target::Target;

use crate::column::Column;
use crate::rows::{Kept, Link, Linked, Lists, Memory, Queued, RowId};
use crate::sync::Arc;
use ghost::Ghost;
use std::ops::{Index, IndexMut, Range};

/// Which entry goes when a cache is full.
///
/// A closed set. Whatever is chosen, reads stay lock-free.
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
    /// One queue; what was hit since it was last looked at stays for another round. Nearly LRU.
    Clock,
    /// One queue; the oldest goes, hit or not.
    Fifo,
}

/// What the policy asks of whoever keeps the entries.
pub(crate) trait Entries {
    /// Bits of the key's hash, always the same ones.
    fn hash(&self, row: RowId) -> u32;
    /// How often the entry was hit, up to `MOST_HITS`, and lowers that by up to `by`.
    fn lower(&mut self, row: RowId, by: u8) -> u8;
}

/// Where the readers' counter ends.
pub(crate) const MOST_HITS: u8 = 3;

const SMALL: usize = 0;
const MAIN: usize = 1;

/// Rows that are passed over for one victim, at most: then the next one goes, hit or not. (A bound of 8 costs a quarter
/// of a point of hit ratio, one of 128 nothing.)
const MOST_PASSED_OVER: u32 = 64;

/// By how much a key must have been away for a shorter time than main's next victim has lain idle, in tenths.
const MARGIN_TENTHS: u128 = 13;
/// A key that comes again is young while its age is less than the number of entries divided by this.
const YOUNG: u64 = 10;
/// A weight counts as this many times the mean at most, and as one part in so many at least.
const EXTREME: u64 = 16;

/// Where rows are in the queues. `Queued::since` says when a row came into its queue, or the hand passed it, in misses; and in the lowest
/// bit which queue it is.
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

/// The chain of the queues.
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
    /// What the shard may hold; with an account, its part of that: it may hold more while others hold less.
    capacity: u64,
    account: Option<Arc<Account>>,
    /// With an account: taken from it by the operation under way, for what is about to come, or had by what has just gone.
    credit: u64,
    /// With an account: whether what is about to come is heavier than all there may be.
    refuses: bool,
    /// How many shards the cache has.
    shards: u64,
    /// With an account: how often another shard gave something for a large entry since this one gave anything.
    passed_over: u32,
    queues: Lists<InQueue>,
    rows: Places,
    weights: Column<u32>,
    len: [u64; 2],
    weight: [u64; 2],
    /// Nothing has had to go since there was much room.
    filling: bool,
    /// Misses: entries that came. Counted round and round, in 31 bits.
    now: u32,
    /// The part of evictions that were from main, of late: of 2^32.
    from_main: u32,
    ghost: Ghost,
    target: Arc<Target>,
}

impl Policy {
    /// For a shard that may hold `capacity` of weight, of a cache with so many of them.
    pub(crate) fn new(
        kind: EvictionPolicy,
        capacity: u64,
        shards: usize,
        (target, account): (Arc<Target>, Option<Arc<Account>>),
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

    /// Another capacity. What is too much then is for the caller to evict.
    pub(crate) fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
    }

    /// The weight of all rows.
    #[inline]
    pub(crate) fn weight(&self) -> u64 {
        self.weight[SMALL] + self.weight[MAIN]
    }

    pub(crate) fn weight_of(&self, row: RowId) -> u32 {
        self.weights.get(row)
    }

    /// Whether so much more is too much. With an account nothing is: it was taken from there before.
    #[inline]
    pub(crate) fn is_too_much(&self, more: u32) -> bool {
        self.weight() + u64::from(more) > self.capacity && self.account.is_none()
    }

    /// Whether an entry of this weight is more than there may be, by itself.
    #[inline]
    pub(crate) fn is_too_heavy(&self, weight: u32) -> bool {
        if self.account.is_some() { self.refuses } else { u64::from(weight) > self.capacity }
    }

    fn len(&self) -> u64 {
        self.len[SMALL] + self.len[MAIN]
    }

    /// A new row. Returns how often its entry counts as hit.
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
        // Before it comes, so that it is not part of the mean.
        let light = self.is_light(weight);
        let proven = self.is_proven(hash, weight);
        self.push(if proven { MAIN } else { SMALL }, row);
        if self.filling {
            while self.weight[SMALL] > self.target.part_of(self.room()) {
                let Some(oldest) = self.queues.front(SMALL) else { break };
                self.pull(oldest);
                self.push(MAIN, oldest);
            }
        }
        u8::from(proven || light)
    }

    /// Whether this is less than half of what entries weigh in the mean.
    fn is_light(&self, weight: u32) -> bool {
        2 * u128::from(weight) * u128::from(self.len()) < u128::from(self.weight())
    }

    /// Whether the ghost speaks for a key that comes. Moves the target.
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

    /// A row is gone, and its entry unlinked.
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
        self.filling |= match &self.account {
            None => self.weight() < self.capacity - self.capacity / 16,
            Some(account) => account.is_roomy(),
        };
    }

    /// The entry of a row weighs so much from now on, for which there is room. The row keeps its place, unless it was pinned or is now.
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
        let Queued { link, since } = self.rows[row];
        // A row that was pinned was in no queue: what it says is from another time.
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

    /// The row that goes next, which leaves the queues here. None if there is no row of any weight.
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
            self.pull(row);
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
        // The row has left the queues, but was there.
        let entries = self.len() as usize + 1;
        if entries > self.ghost.entries() {
            // Where weights differ their number may yet grow, and each time all is forgotten.
            let more = if self.weight() > self.len() { entries / 4 } else { 0 };
            self.ghost.resize(entries + more);
        }
        self.ghost.remember(hash, queue == MAIN, self.now);
        // Over the last hundred evictions or so, or an eighth of the entries.
        let slowly = (self.len() / 8).max(1).ilog2().max(7);
        if queue == MAIN {
            self.from_main += (u32::MAX - self.from_main) >> slowly;
        } else {
            self.from_main -= self.from_main >> slowly;
        }
    }

    fn push(&mut self, queue: usize, row: RowId) {
        self.queues.push_back(&mut self.rows, queue, row);
        self.rows[row].since = self.now << 1 | queue as u32;
        self.len[queue] += 1;
        self.weight[queue] += u64::from(self.weights.get(row));
    }

    fn pull(&mut self, row: RowId) {
        let queue = queue_of(self.rows[row].since);
        self.queues.unlink(&mut self.rows, row);
        self.len[queue] -= 1;
        self.weight[queue] -= u64::from(self.weights.get(row));
    }

    /// Gives back the memory of rows that are vacant: some places of a chunk, or all of it.
    pub(crate) fn forget(&mut self, chunk: usize, places: Range<usize>) {
        self.weights.forget(RowId::at(chunk, places.start), places.len());
        if self.rows.0.has_chunk(chunk) {
            self.rows.0.discard(chunk, places);
        }
    }

    /// Gives back the ghost's memory, if it is for much more entries than there are.
    pub(crate) fn trim(&mut self) {
        if self.ghost.entries() as u64 > 4 * self.len() + 64 {
            self.ghost.resize(0);
        }
    }

    /// Recounts the queues, given all live rows.
    ///
    /// # Panics
    ///
    /// Panics where an invariant of this module is broken, or where there is more than there is room for.
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
        assert_eq!(self.credit, 0, "nobody is about to bring anything");
        let most = if self.account.is_some() { u64::MAX } else { self.capacity };
        assert!(self.weight() <= most, "{} is in a shard of {most}", self.weight());
    }
}

const fn queue_of(since: u32) -> usize {
    (since & 1) as usize
}
