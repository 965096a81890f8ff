//! A shard: a table, and the rows and the wheel that go with it, under one mutex.
//!
//! Here the two sides meet: what readers see (nodes) and what writers keep (rows). A shard knows times
//! and causes; it knows no listener, no hasher and no other shard, and runs no user code under its lock
//! but `Eq`, before the first change.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the shard, and what can be seen of it without its lock |
//! | `config.rs` | what every operation needs to know of the cache |
//! | `ledger.rs` | what writers keep of the entries |
//! | `txn.rs` | the lock, held: all that changes a shard is done on it |
//! | `lookup.rs` | looking a key up; reads and touches that restart an entry's time |
//! | `write.rs` | the operations that writers call |
//! | `write_many.rs` | inserts of which several are done while the lock is held |
//! | `new_entry.rs` | what a writer hands over |
//! | `change.rs` | how an entry comes, is replaced and goes |
//! | `settle.rs` | the end of an operation under the lock |
//! | `deferred.rs` | what it leaves to be done after the unlock |
//! | `evict.rs` | what a bounded shard gives up before something comes |
//! | `credit.rs` | room from other shards, where entries have weights |
//! | `deadline.rs` | when an entry ends, and what of that reads do not move |
//! | `lifespan.rs` | how long an entry lives whose value is written |
//! | `rule.rs` | what the user's `Expiry` said, and how it takes effect |
//! | `jitter.rs` | by how much a time to live is shortened |
//! | `inflight.rs` | loads and computations: who leads, who waits |
//! | `refresh.rs` | which values are old enough to be loaded anew, and who does it |
//! | `maintain.rs` | what the reaper does |
//! | `late.rs` | what writers do where readers or the reaper are late |
//! | `clear.rs` | what `invalidate_all` does |
//! | `restore.rs` | what there is to know of an entry, and how one comes back |
//! | `fork.rs` | what a shard leaves to a fork's child |
//! | `validate.rs` | recounts everything, for tests |
//!
//! # How an entry goes
//!
//! | verb | what it does |
//! |---|---|
//! | `expire`, `reap`, `kill` (`table/node.rs`) | the deadline becomes `DEAD`: for a reader, for the reaper, for a writer. From then on nobody finds it alive |
//! | `unlink` (`table/write.rs`) | the node leaves its bucket |
//! | `leave`, `give_up` (`ledger.rs`) | the row leaves the policy's queues; it leaves the wheel, and its number is free |
//! | `take`, `take_expired` (`change.rs`) | `unlink`, `leave` and `give_up`, and the figure of the expired ones |
//! | `hand_out` (`change.rs`) | the unlinked node goes to the caller, who tells the listener, or is garbage at once |
//! | `bury`, `bury_expired` (`change.rs`) | the same for what had expired: the operation tells of it after the unlock |
//! | `retire` (`table/write.rs`) | the node is garbage |
//! | `dispose` (`settle.rs`) | key and value are dropped, without a lock; then `vacate` frees the node's number |
//!
//! # Invariants
//!
//! - **S1** Each row has one entry and each entry one row, with the same home bucket, however often it is replaced: an entry's row is
//!   what its node says.
//! - **S2** A row whose entry can expire is in the wheel, in a slot that comes due no later than the entry's
//!   deadline needs. (A touch moves the deadline later and tells nobody.)
//! - **S3** `Ledger::due` is not later than the first start of a second at or after any deadline; nor than
//!   the next second, if garbage waits. When it moves earlier, the
//!   reaper is woken. (In a fork's child the reaper knows of nothing: there it is `Ledger::inherited` until something else
//!   is due. A writer that does some of what is due leaves it as it is.)
//! - **S4** A removed value is handed out once, to whoever has removed it, and he tells the listener before he returns: what
//!   had expired, too, and what made room (`Ledger::left`). So nothing waits to be told of, but what the reaper itself has just
//!   taken out.

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
    /// Which one it is.
    number: usize,
    table: Table<K, V, Ledger<K, V>>,
    config: Arc<Config>,
    gauges: CachePadded<Gauges>,
    /// When values are to be loaded anew, if they are.
    refresh_times: Option<Arc<RefreshTimes>>,
}

/// What can be seen of a shard without its lock. Written under it.
struct Gauges {
    /// As `Ledger::due`.
    due: AtomicU64,
    /// Entries in the table.
    len: AtomicUsize,
    /// What they weigh, if the shard is bounded.
    weight: AtomicU64,
    /// Whether sealed garbage waits to become reclaimable or to be dropped.
    waiting: AtomicBool,
}

/// What a shard is made of.
pub(crate) struct ShardParts<K, V> {
    /// Which one it is.
    pub(crate) number: usize,
    /// Of so many.
    pub(crate) shards: usize,
    /// Entries for which there is room at once.
    pub(crate) capacity: usize,
    pub(crate) config: Arc<Config>,
    /// With one, the shard is bounded.
    pub(crate) policy: Option<Policy>,
    /// There are statistics.
    pub(crate) counted: bool,
    pub(crate) route: RouteEnd<K, V>,
}

impl<K, V> Shard<K, V> {
    pub(crate) fn new(parts: ShardParts<K, V>) -> Self {
        let ShardParts { number, shards, capacity, config, policy, counted, route } = parts;
        let batch_weight =
            policy.as_ref().filter(|_| config.weighed).map(|policy| batch_weight(policy.capacity()));
        let refresh_times = config.refresh.map(|after| Arc::new(RefreshTimes::new(after)));
        let ledger = Ledger::new(&config, policy, refresh_times.clone(), counted);
        let table = Table::new(capacity, ledger, route);
        {
            let mut locked = table.lock();
            let (mut writing, _) = locked.parts();
            if let Some(weight) = batch_weight {
                writing.set_batch_weight(weight);
            }
            // A clock that is moved by hand stands still while large values are made.
            if config.clock.manual().is_none() {
                writing.be_prompt(shards);
            }
        }
        Self { number, table, refresh_times, config, gauges: CachePadded::new(Gauges::new()) }
    }

    /// Entries in the table, expired and not yet removed ones included.
    pub(crate) fn len(&self) -> usize {
        // ORDERING: Relaxed; a figure, exact while no writer runs.
        self.gauges.len.load(Ordering::Relaxed)
    }

    /// What the entries weigh, in a bounded shard: never more than it may hold.
    pub(crate) fn weight(&self) -> u64 {
        // ORDERING: Relaxed; a figure, exact while no writer runs.
        self.gauges.weight.load(Ordering::Relaxed)
    }

    /// Adds what was counted to the cache's statistics.
    pub(crate) fn add_to(&self, stats: &mut Stats) {
        let mut lock = self.lock();
        let txn = lock.txn();
        if let Some(tally) = &txn.ledger.tally {
            stats.add(tally, txn.table.garbage());
        }
    }

    /// When the reaper is to come next.
    pub(crate) fn due(&self) -> Tick {
        // ORDERING: Relaxed; a reaper that misses a change is woken for it (`Registration::wake`, after
        // the lock is released).
        Tick::from_nanos(self.gauges.due.load(Ordering::Relaxed))
    }

    /// Whether sealed garbage waits to become reclaimable or to be dropped.
    pub(crate) fn is_waiting(&self) -> bool {
        // ORDERING: Relaxed; as `due`.
        self.gauges.waiting.load(Ordering::Relaxed)
    }
}

/// Not stored where it is the same: other threads may have the cache line, and need not lose it.
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
        // ORDERING: Relaxed, both; see `Shard::due`. Who has the lock alone stores it.
        if self.due.load(Ordering::Relaxed) != due.as_nanos() {
            self.due.store(due.as_nanos(), Ordering::Relaxed);
        }
    }

    fn set_waiting(&self, waiting: bool) {
        // ORDERING: Relaxed, both; see `Shard::is_waiting`. Who has the lock alone stores it.
        if self.waiting.load(Ordering::Relaxed) != waiting {
            self.waiting.store(waiting, Ordering::Relaxed);
        }
    }

    #[inline]
    fn set_len(&self, len: usize) {
        // ORDERING: Relaxed, both; see `Shard::len`. Who has the lock alone stores it.
        if self.len.load(Ordering::Relaxed) != len {
            self.len.store(len, Ordering::Relaxed);
        }
    }

    #[inline]
    fn set_weight(&self, weight: u64) {
        // ORDERING: Relaxed, both; see `Shard::weight`. Who has the lock alone stores it.
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
