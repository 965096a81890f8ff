//! A shard: a table and its ledger under one mutex.
//!
//! The two sides of a cache meet here: the nodes, which readers see, and the rows, which writers
//! keep. A shard knows whether an entry had expired, and counts removals. It does not know
//! `RemovalCause`, which the cache adds; it knows no listener, no hasher and no other shard. The
//! only user code that runs under its lock is `Eq`, before the first change.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the shard, and what can be seen of it without its lock |
//! | `config.rs` | the configuration of the cache that operations on a shard consult |
//! | `ledger.rs` | what writers keep of the entries |
//! | `txn.rs` | the held lock: every change to a shard goes through it |
//! | `lookup.rs` | finding a key; reads and touches that restart an entry's time |
//! | `write.rs` | the operations that writers call |
//! | `write_many.rs` | several inserts under one acquisition of the lock |
//! | `new_entry.rs` | the entry that a writer passes to a shard |
//! | `change.rs` | adding, replacing and removing an entry |
//! | `settle.rs` | the end of an operation under the lock |
//! | `deferred.rs` | the deferred work of an operation |
//! | `evict.rs` | eviction in a bounded shard |
//! | `credit.rs` | room from other shards, where entries have weights |
//! | `deadline.rs` | when an entry ends, and which parts of that reads do not move |
//! | `lifespan.rs` | how long an entry lives after its value is written |
//! | `rule.rs` | what the user's `Expiry` said, and how it takes effect |
//! | `jitter.rs` | by how much a time to live is shortened |
//! | `inflight.rs` | loads and computations: who leads, who waits |
//! | `refresh.rs` | which values are old enough to be loaded anew, and which call loads them |
//! | `maintain.rs` | the work of the reaper |
//! | `late.rs` | the work of writers when readers or the reaper are late |
//! | `clear.rs` | the work of `invalidate_all` |
//! | `restore.rs` | the record of an entry, and how an entry is restored from it |
//! | `fork.rs` | the state of a shard in the child of a fork |
//! | `validate.rs` | recounts everything, for tests |
//!
//! # How an entry goes
//!
//! | verb | what it does |
//! |---|---|
//! | `expire`, `reap`, `kill` (`table/node.rs`) | the deadline becomes `DEAD`: for a reader, if it has passed; for the holder of the lock, if it has passed; for a removal, in any case. From then on no thread finds the entry alive |
//! | `unlink` (`table/write.rs`) | the node leaves its bucket |
//! | `leave`, `give_up` (`ledger.rs`) | the row leaves the policy's queues; the row leaves the wheel, and its number becomes vacant |
//! | `take`, `take_expired` (`change.rs`) | `unlink`, `leave` and `give_up`; `take_expired` also counts the expiry |
//! | `hand_out` (`change.rs`) | the unlinked node goes to the caller, who tells the listener, or becomes garbage at once |
//! | `bury`, `bury_expired` (`change.rs`) | the same for a node that had expired: the operation tells the listener of it after the unlock |
//! | `retire` (`table/write.rs`) | the node becomes garbage |
//! | `dispose` (`settle.rs`) | key and value are dropped, without a lock; then `vacate` frees the node's number |
//!
//! # Invariants
//!
//! - **S1** Each row belongs to one entry and each entry has one row, with the same home bucket. A
//!   replacement keeps the row. The node of an entry names its row.
//! - **S2** A row whose entry can expire is in the wheel, in a slot that comes due no later than
//!   the entry's deadline requires. (A touch moves the deadline later and does not move the row.)
//! - **S3** `Ledger::due` is not later than the first start of a second at or after any deadline.
//!   If garbage waits, `Ledger::due` is not later than the next second. The reaper has promised to
//!   come by then (`reaper/mod.rs`), or a thread is about to wake it: only `require_reaper_by`
//!   moves `Ledger::due` earlier, and the operation that calls it wakes the reaper after the unlock,
//!   before any user code. A sweep, on any thread, only moves `Ledger::due` later. A writer that does some
//!   of the due work leaves it unchanged. (In the child of a fork no reaper knows of the shard.
//!   There `Ledger::inherited` holds the time until something else becomes due; and again, if the
//!   reaper then cannot be started.)
//! - **S4** A removed value is handed out once, to the call that removed it, and that call tells
//!   the listener before it returns. This includes expired entries that the call removed and
//!   entries that it evicted (`Ledger::left`). So no removal waits to be told of, except those that
//!   the reaper itself has just made.

mod change;
mod clear;
mod config;
mod credit;
mod deadline;
mod deferred;
mod evict;
mod fork;
mod inflight;
mod jitter;
mod late;
mod ledger;
mod lifespan;
mod lookup;
mod maintain;
mod new_entry;
mod refresh;
#[cfg(feature = "serde")]
mod restore;
mod rule;
mod settle;
mod txn;
mod validate;
mod write;
mod write_many;

pub(crate) use clear::{Cleared, Clearings};
pub(crate) use config::{Config, Lengths, OnUse};
pub(crate) use credit::{Around, Given, Held, Own};
pub(crate) use deferred::{Deferred, Departing, Elsewhere, Left};
pub(crate) use inflight::{Acted, Action, Anew, Completed, Found, Loaded, Onward, RuledLoad};
pub(crate) use late::AtWork;
pub(crate) use lifespan::{Departed, Lasting, Lifespan};
pub(crate) use lookup::{Looked, Lookup};
pub(crate) use maintain::Listens;
pub(crate) use new_entry::{NewEntry, OFFERED};
pub(crate) use refresh::{Claim, RefreshTimes};
#[cfg(feature = "serde")]
pub(crate) use restore::{PendingRestore, Record, Returned};
pub(crate) use rule::{Expected, Ruled, Ruling};
pub(crate) use write::{Removed, Replaced};
pub(crate) use write_many::PendingInsert;

use crate::policy::Policy;
use crate::stats::Stats;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Arc, CachePadded};
use crate::table::{RouteEnd, Table};
use crate::time::Tick;
use ledger::{Ledger, batch_weight};
use std::fmt;

/// One slice of the key space.
pub(crate) struct Shard<K, V> {
    /// The index of this shard among the shards of its cache.
    number: usize,
    table: Table<K, V, Ledger<K, V>>,
    config: Arc<Config>,
    gauges: CachePadded<Gauges>,
    /// When each value is due to be loaded anew, in a cache that refreshes values.
    refresh_times: Option<Arc<RefreshTimes>>,
}

/// The figures of a shard that are read without its lock. They are written under it.
struct Gauges {
    /// The same as `Ledger::due`.
    due: AtomicU64,
    /// Number of entries in the table.
    len: AtomicUsize,
    /// Total weight of the entries, if the shard is bounded.
    weight: AtomicU64,
    /// Whether sealed garbage waits to become reclaimable or to be dropped.
    waiting: AtomicBool,
}

/// The parts from which a shard is built.
pub(crate) struct ShardParts<K, V> {
    /// The index of the shard among the shards of its cache.
    pub(crate) number: usize,
    /// The number of entries for which the table has room from the start.
    pub(crate) capacity: usize,
    pub(crate) config: Arc<Config>,
    /// The eviction policy. A shard with a policy is bounded.
    pub(crate) policy: Option<Policy>,
    /// Whether the cache keeps statistics.
    pub(crate) counted: bool,
    pub(crate) route: RouteEnd<K, V>,
}

impl<K, V> Shard<K, V> {
    pub(crate) fn new(parts: ShardParts<K, V>) -> Self {
        let ShardParts { number, capacity, config, policy, counted, route } = parts;
        let batch_weight =
            policy.as_ref().filter(|_| config.weighed).map(|policy| batch_weight(policy.capacity()));
        let refresh_times =
            config.refresh.map(|after| Arc::new(RefreshTimes::new(after, config.clock.clone())));
        let ledger = Ledger::new(&config, policy, refresh_times.clone(), counted);
        let table = Table::new(capacity, ledger, route);
        {
            let mut locked = table.lock();
            let (mut writing, _) = locked.parts();
            if let Some(weight) = batch_weight {
                writing.set_batch_weight(weight);
            }
            // A manual clock stands still while large values are created: by it no batch becomes old.
            if config.clock.manual().is_none() {
                writing.be_prompt();
            }
        }
        Self { number, table, refresh_times, config, gauges: CachePadded::new(Gauges::new()) }
    }

    /// Returns the number of entries in the table, including expired entries that are not removed
    /// yet.
    pub(crate) fn len(&self) -> usize {
        // ORDERING: Relaxed; a figure, exact while no writer runs.
        self.gauges.len.load(Ordering::Relaxed)
    }

    /// Returns the total weight of the entries in a bounded shard. It never exceeds the capacity.
    pub(crate) fn weight(&self) -> u64 {
        // ORDERING: Relaxed; a figure, exact while no writer runs.
        self.gauges.weight.load(Ordering::Relaxed)
    }

    /// Adds the counts of this shard to the cache's statistics.
    pub(crate) fn add_to(&self, stats: &mut Stats) {
        let mut lock = self.lock();
        let txn = lock.txn();
        if let Some(tally) = &txn.ledger.tally {
            stats.add(tally, txn.table.garbage());
            stats.refresh_failures += self.refresh_times.as_ref().map_or(0, |times| times.failures());
        }
    }

    /// Returns the time at which the reaper has to come next.
    pub(crate) fn due(&self) -> Tick {
        // ORDERING: Relaxed; a reaper that misses a change is woken for it (`Registration::wake`,
        // after the lock is released).
        Tick::from_nanos(self.gauges.due.load(Ordering::Relaxed))
    }

    /// Returns whether sealed garbage waits to become reclaimable or to be dropped.
    pub(crate) fn is_waiting(&self) -> bool {
        // ORDERING: Relaxed; the same reason as in `due`.
        self.gauges.waiting.load(Ordering::Relaxed)
    }
}

/// A setter stores only a value that differs: other threads may hold the cache line, and an equal
/// store would take it from them.
impl Gauges {
    fn new() -> Self {
        Self {
            due: AtomicU64::new(Tick::NEVER.as_nanos()),
            len: AtomicUsize::new(0),
            weight: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
        }
    }

    fn set_due(&self, due: Tick) {
        // ORDERING: Relaxed, both; see `Shard::due`. Only the holder of the lock stores it.
        if self.due.load(Ordering::Relaxed) != due.as_nanos() {
            self.due.store(due.as_nanos(), Ordering::Relaxed);
        }
    }

    fn set_waiting(&self, waiting: bool) {
        // ORDERING: Relaxed, both; see `Shard::is_waiting`. Only the holder of the lock stores it.
        if self.waiting.load(Ordering::Relaxed) != waiting {
            self.waiting.store(waiting, Ordering::Relaxed);
        }
    }

    #[inline]
    fn set_len(&self, len: usize) {
        // ORDERING: Relaxed, both; see `Shard::len`. Only the holder of the lock stores it.
        if self.len.load(Ordering::Relaxed) != len {
            self.len.store(len, Ordering::Relaxed);
        }
    }

    #[inline]
    fn set_weight(&self, weight: u64) {
        // ORDERING: Relaxed, both; see `Shard::weight`. Only the holder of the lock stores it.
        if self.weight.load(Ordering::Relaxed) != weight {
            self.weight.store(weight, Ordering::Relaxed);
        }
    }
}

impl<K, V> fmt::Debug for Shard<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("len", &self.len()).field("due", &self.due()).finish_non_exhaustive()
    }
}
