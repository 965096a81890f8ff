//! The table: nodes in buckets, found by readers without a lock. All the `unsafe` there is, but for calls of the C library (`process.rs`)
//! and one instruction (`time.rs`).
//!
//! A [`Table`] is the reader side of a shard, its [`Route`], and, behind its mutex, the writer side together with
//! whatever book-keeping the shard wants under the same lock (`L`). It maps a hash and a key to a node,
//! and knows a row only as a number, which a node carries along. It never knows why an entry goes,
//! what a wheel is, or who listens.
//!
//! | file | what |
//! |---|---|
//! | `node.rs` | a node, and the life of its deadline |
//! | `nodes.rs` | where nodes are |
//! | `memory.rs` | memory for chunks of nodes and rows, and for arrays |
//! | `bucket.rs` | a cache line of tags and nodes' numbers |
//! | `array.rs` | buckets in one allocation, named by one word |
//! | `route.rs` | what readers need of a table |
//! | `read.rs` | how a reader finds a node |
//! | `walk.rs` | how a reader meets all nodes, and a writer all rows |
//! | `write.rs` | how a writer changes what readers find |
//! | `moves.rs` | how buckets move to a larger array, or a smaller one |
//! | `reclaim.rs` | from unlinked to dropped |
//! | `pace.rs` | how often writers wait while readers hold it up |
//! | `epoch.rs` | who looks, and when all who looked are gone |
//! | `brief.rs` | a pin for a read |
//!
//! # Invariants
//!
//! Every `unsafe` block cites one of these.
//!
//! - **T1 Arrays live.** The root names a live array. An array that a reader can reach, from the root or
//!   from the header of an array it can reach, is freed only by T4. While the lock is held, the arrays of
//!   the `Writer` are alive, because only a writer retires them.
//! - **T2 Sharing.** Readers get `&K` and `&V` of nodes on any thread, and values are dropped on any
//!   thread: a table is `Send` and `Sync` only if `K` and `V` are both.
//! - **T3 Unlinked before retired.** A node becomes garbage only when no bucket that a newly pinned reader
//!   can look at names it: its number is taken away or overwritten; or its bucket is marked moved and has no tags,
//!   and the bucket it moved to has let go of it. An array becomes garbage only when the root names its
//!   successor. A reader that is pinned when it loads a number or an address may therefore follow it until it unpins.
//! - **T4 Freed last, and once.** Contents are dropped and memory is reused only when the batch is reclaimable,
//!   which is when every guard is gone that was pinned at the moment of unlinking; or in `Table::drop`,
//!   whose `&mut self` proves that no reader is left. Taking an item out of the garbage is by value.
//! - **T5 Slots.** A slot's number is that of a node of this table, or says that there is none. Under
//!   the lock, in a bucket that has not moved, a slot has a number if and only if it has a tag; a number is stored after
//!   its tag, and taken away before it. Of what a moved bucket's numbers name, T3 says who may still look at it. A `Slot` is one
//!   of those that every bucket has.
//! - **T6 One writer.** Tags, marks and numbers are stored only through `Writing`, which holds the table's lock. (Hits are stored by readers, too.)
//! - **T7 Slots for ever.** What the chain of the threads' slots names came from a box and is never freed. A thread keeps its
//!   slot until it ends; no `Brief` is there then.
//! - **T8 Blocks.** A block of memory has one owner, which alone hands out what is in it. Blocks for rows begin as
//!   zeros, and a row is a row whatever its bytes are.
//! - **T9 Homes.** Where a node's number is taken, its chunk is there from when the node is put there, and stays there until all
//!   numbers of the chunk are vacant. A number is taken from before its node is put there until the node is reclaimable and its
//!   contents are dropped; so at its place there is nobody to look when it is vacant. A node's number names one of `CHUNKS`
//!   chunks.
//! - **T10 Routes.** A cache's routes are made together, of a number that is a power of two, and stay as they are until the cache
//!   and its tables are gone, each of which owns them. The address that leads to them comes from all of them, not from one.
//!
//! # Why no entry that stays is ever missed
//!
//! An entry never moves within an array. Its bucket may move to the next array: first its nodes are
//! stored there, then its `moved` mark, then its tags go. A reader looks at a bucket's tags first, and, if that is not
//! where it finds its entry, at the mark. If the mark is there it goes on along the old array
//! (entries that passed this bucket may lie behind it, in buckets that have not moved), and, if it has
//! found nothing, looks in the next array. A writer puts a new key into the next array only after the
//! key's home bucket has moved, so that the mark on the way is there for every reader. Overflow counts
//! are raised before an entry behind them is stored and lowered after it is gone.

#![allow(unsafe_code)]

mod array;
mod brief;
mod bucket;
mod epoch;
mod memory;
mod moves;
mod node;
mod nodes;
mod pace;
mod read;
mod reclaim;
mod route;
mod walk;
mod write;

pub(crate) use brief::Brief;
#[cfg(tidewheel_loom)]
pub(crate) use epoch::{GracePeriod, advance};
pub(crate) use epoch::{Pin, advance_fully, inherit};
pub(crate) use node::{Frozen, Node, Touch};
pub(crate) use nodes::Named;
pub(crate) use pace::Moment;
pub(crate) use read::{Look, same_as};
pub(crate) use reclaim::{CATCH_UP, Dropped, HELP, Reclaimable, Sealed, Unlinked};
pub(crate) use route::{Route, RouteEnd, Routes};
pub(crate) use walk::{Cursor, Met};
pub(crate) use write::{NewNode, Place, Writing};

use crate::hash::HashBits;
use crate::process::fork::Kept;
use crate::sync::{Alarm, Arc, CachePadded, Mutex, MutexGuard};
use crate::time::{Tick, Timeline};
use std::fmt;
use std::marker::PhantomData;
use write::Writer;

/// Has a value prefetched, for whoever comes for it soon.
#[inline]
pub(crate) fn prefetch<T>(at: &T) {
    memory::prefetch(at);
}

/// Nodes for readers, and behind a mutex the means to change them.
pub(crate) struct Table<K, V, L> {
    route: RouteEnd<K, V>,
    side: CachePadded<Mutex<Side<K, V, L>>>,
}

struct Side<K, V, L> {
    writer: Writer<K, V>,
    ledger: L,
}

// SAFETY: T2. Raw pointers are what keeps this from being derived.
unsafe impl<K: Send + Sync, V: Send + Sync, L: Send> Send for Table<K, V, L> {}
// SAFETY: T2. `L` is reached only through the mutex.
unsafe impl<K: Send + Sync, V: Send + Sync, L: Send> Sync for Table<K, V, L> {}

impl<K, V, L> Table<K, V, L> {
    /// An empty table with room for `capacity` entries.
    pub(crate) fn new(capacity: usize, ledger: L, route: RouteEnd<K, V>) -> Self {
        epoch::settle();
        let writer = Writer::new(capacity, route.at);
        route.at.set_root(writer.root());
        Self { route, side: CachePadded::new(Mutex::new(Side { writer, ledger })) }
    }

    /// The readers' side.
    #[inline]
    pub(crate) fn route(&self) -> &Route<K, V> {
        &self.route.at
    }

    /// Has the table stand still while the process forks. `find` is where it lies in its owner.
    pub(crate) fn hold<A: ?Sized>(
        owner: &Arc<A>,
        find: impl FnOnce(&A) -> &Self,
        patience: &Alarm,
    ) -> Option<HeldTable<A, K, V, L>> {
        Kept::new(owner, |owner| &find(owner).side, patience).map(HeldTable)
    }

    /// Whether anybody sleeps until he has the lock.
    pub(crate) fn is_wanted(&self) -> bool {
        self.side.has_sleepers()
    }

    /// Takes the lock. Pin before, never under it.
    #[inline]
    pub(crate) fn lock(&self) -> Locked<'_, K, V, L> {
        Locked { side: self.side.lock() }
    }

    /// Takes the lock, with a reading of the clock from within this call: from before the lock is taken, so that nobody waits for it, and
    /// what is at `hash` comes near meanwhile. From under the lock, if somebody had that, who may have had it for long.
    #[inline(always)]
    pub(crate) fn lock_at(&self, hash: HashBits, clock: &Timeline) -> (Locked<'_, K, V, L>, Tick) {
        self.route().prefetch_bucket(hash);
        let before = clock.now();
        // The models are to see the earlier reading, which is the one that has less to rely on.
        if cfg!(tidewheel_loom) {
            return (self.lock(), before);
        }
        match self.side.try_lock() {
            Some(side) => (Locked { side }, before),
            None => self.lock_late(clock),
        }
    }

    #[cold]
    #[inline(never)]
    fn lock_late(&self, clock: &Timeline) -> (Locked<'_, K, V, L>, Tick) {
        let locked = self.lock();
        (locked, clock.now())
    }
}

impl<K, V, L> Drop for Table<K, V, L> {
    fn drop(&mut self) {
        // Locked, though nobody else can be there, so that whatever the last holder of the lock did is
        // seen here.
        let mut side = self.side.lock();
        // SAFETY: T4: `&mut self` proves that no reader is left: they borrow the table.
        unsafe { side.writer.dispose_all(&self.route.at.homes) };
    }
}

impl<K, V, L> fmt::Debug for Table<K, V, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}

/// The lock of a table, held while the process forks.
pub(crate) struct HeldTable<A: ?Sized, K: 'static, V: 'static, L: 'static>(Kept<A, Side<K, V, L>>);

impl<A: ?Sized, K, V, L> HeldTable<A, K, V, L> {
    pub(crate) fn ledger(&mut self) -> &mut L {
        &mut self.0.content().ledger
    }
}

/// The lock of a table, held.
pub(crate) struct Locked<'t, K, V, L> {
    side: MutexGuard<'t, Side<K, V, L>>,
}

impl<'t, K, V, L> Locked<'t, K, V, L> {
    /// The two things that the lock guards.
    #[inline]
    pub(crate) fn parts(&mut self) -> (Writing<'_, 't, K, V, L>, &mut L) {
        let Side { writer, ledger } = &mut *self.side;
        (Writing { route: writer.route, writer, of: PhantomData }, ledger)
    }
}

impl<K, V, L> Table<K, V, L> {
    /// Drops reclaimable garbage, whose numbers are to be vacated then. Runs destructors: never under a lock.
    pub(crate) fn dispose(&self, reclaimable: Reclaimable<K, V>) -> Dropped {
        reclaimable.dispose(&self.route.at.homes)
    }
}

impl<K, V, L> fmt::Debug for Locked<'_, K, V, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locked").finish_non_exhaustive()
    }
}
