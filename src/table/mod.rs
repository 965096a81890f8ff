//! The table: nodes in buckets, which readers search without a lock. All `unsafe` code of the crate
//! is in this folder, except for calls of the C library (`process/`) and one instruction
//! (`time/system.rs`).
//!
//! A [`Table`] consists of a reader side, its [`Route`], and a writer side behind a mutex. The
//! mutex also guards a ledger that the shard chooses (`L`). The table maps a hash and a key to a
//! node. It knows a row only as a number that a node carries. It never knows why an entry goes,
//! what a wheel is, or who listens.
//!
//! | file | what |
//! |---|---|
//! | `node.rs` | a node, and the life of its deadline |
//! | `nodes.rs` | the chunks of nodes, and which numbers are taken |
//! | `words.rs` | an atomic number for each node, for a cache that wants one |
//! | `memory.rs` | memory for chunks of nodes, rows and words, and for arrays |
//! | `bucket.rs` | a cache line of tags and node numbers |
//! | `array.rs` | buckets in one allocation, named by one word |
//! | `route.rs` | what readers need of a table |
//! | `read.rs` | how a reader finds a node |
//! | `walk.rs` | how a reader visits all nodes, and a writer all rows |
//! | `place.rs` | the place of an entry, for a writer |
//! | `write.rs` | how a writer changes what readers find |
//! | `moves.rs` | how buckets move to a larger array, or a smaller one |
//! | `reclaim/mod.rs` | garbage, from unlinked to dropped |
//! | `pace.rs` | how often writers wait while readers delay reclamation |
//! | `epoch/mod.rs` | pins and grace periods |
//! | `brief.rs` | a pin for a read |
//!
//! # Invariants
//!
//! Every `unsafe` block cites one of these.
//!
//! - **T1 Arrays live.** The root names a live array. An array that a reader can reach, from the
//!   root or from the header of an array it can reach, is freed only by T4. While the lock is held,
//!   the arrays of the `Writer` are alive, because only a writer retires them.
//! - **T2 Sharing.** Readers get `&K` and `&V` of nodes on any thread, and values are dropped on
//!   any thread: a table is `Send` and `Sync` only if `K` and `V` are both.
//! - **T3 Unlinked before retired.** A node becomes garbage only when no bucket in which a newly
//!   pinned reader can look names it. Either its number is taken away or overwritten, or its bucket
//!   is marked moved and has no tags, and the bucket to which it moved no longer names it. An array
//!   becomes garbage only when the root names its successor. So a reader that is pinned when it
//!   loads a number or an address may follow it until it unpins.
//! - **T4 Freed last, and once.** Contents are dropped and memory is reused only when the batch is
//!   reclaimable, that is, when every pin is gone that existed at the moment of unlinking. The
//!   exception is `Table::drop`, whose `&mut self` proves that no reader is left. Items are taken
//!   out of the garbage by value.
//! - **T5 Slots.** A slot's number is that of a node of this table, or says that there is none.
//!   Under the lock, in a bucket that has not moved, a slot has a number if and only if it has a
//!   tag. A number is stored after its tag, and taken away before it. T3 says which readers may
//!   still look at the nodes that a moved bucket names. A `Slot` is one of the slots that every
//!   bucket has.
//! - **T6 One writer.** Tags, marks and numbers are stored only through `Writing`, which holds the
//!   table's lock. (Readers store hits, too.)
//! - **T7 Permanent slots.** Every slot in the chain of the threads' slots came from a box and is
//!   never freed. A thread keeps its slot until it ends. It has no `Brief` when it ends.
//! - **T8 Blocks.** A block of memory has one owner, which alone hands out parts of it. Blocks for
//!   rows begin as zeros, and any bytes are a valid row. The same holds for blocks for words, which
//!   are atomic numbers that all threads share.
//! - **T9 Homes.** The chunk of a taken number exists from when the node is put there until all
//!   numbers of the chunk are vacant. A number is taken from before its node is put there until the
//!   node is reclaimable and its contents are dropped. So no thread looks at the place of a vacant
//!   number. A node's number names one of `CHUNKS` chunks.
//! - **T10 Routes.** The routes of a cache are allocated together, and their count is a power of
//!   two. They stay unchanged until the cache and its tables are gone, each of which owns them. The
//!   address that leads to them is derived from the whole allocation, not from one route.
//!
//! # Why an entry that stays is never missed
//!
//! An entry never moves within an array. Its bucket may move to the next array: first its nodes are
//! stored there, then the bucket gets its `moved` mark, then it loses its tags. A reader looks at a
//! bucket's tags first, and at the mark if it has not found its entry. If the mark is there, the
//! reader continues along its way in the old array, because entries that passed this bucket may be
//! behind it, in buckets that have not moved. If it has found nothing, it looks in the next array.
//! A writer puts a new key into the next array only after the key's home bucket has moved, so every
//! reader meets the mark on its way. The overflow count of a bucket is raised before an entry
//! behind it is stored, and lowered after that entry is gone.

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
mod place;
mod read;
mod reclaim;
mod route;
mod walk;
mod words;
mod write;

pub(crate) use brief::Brief;
#[cfg(tidewheel_loom)]
pub(crate) use epoch::{GracePeriod, advance};
pub(crate) use epoch::{Pin, advance_fully, inherit};
pub(crate) use node::{Frozen, Node, Touch};
pub(crate) use nodes::Named;
pub(crate) use pace::Moment;
pub(crate) use place::Place;
pub(crate) use read::{Look, same_as};
pub(crate) use reclaim::{BATCHES_AFTER_A_MOMENT, BATCHES_AT_A_SEAL, Dropped, Reclaimable, Sealed, Unlinked};
pub(crate) use route::{Route, RouteEnd, Routes};
pub(crate) use walk::{Cursor, Met};
pub(crate) use words::Words;
pub(crate) use write::{NewNode, Writing};

use crate::hash::HashBits;
use crate::process::fork::Kept;
use crate::sync::{Alarm, Arc, CachePadded, Mutex, MutexGuard};
use crate::time::{Tick, Timeline};
use std::fmt;
use std::marker::PhantomData;
use write::Writer;

/// Prefetches a value that will be used soon.
#[inline]
pub(crate) fn prefetch<T>(at: &T) {
    memory::prefetch(at);
}

/// Nodes for readers, and the means to change them behind a mutex.
pub(crate) struct Table<K, V, L> {
    route: RouteEnd<K, V>,
    side: CachePadded<Mutex<Side<K, V, L>>>,
}

struct Side<K, V, L> {
    writer: Writer<K, V>,
    ledger: L,
}

// SAFETY: T2. Raw pointers prevent the derivation of this.
unsafe impl<K: Send + Sync, V: Send + Sync, L: Send> Send for Table<K, V, L> {}
// SAFETY: T2. `L` is reached only through the mutex.
unsafe impl<K: Send + Sync, V: Send + Sync, L: Send> Sync for Table<K, V, L> {}

impl<K, V, L> Table<K, V, L> {
    /// Creates an empty table with room for `capacity` entries.
    pub(crate) fn new(capacity: usize, ledger: L, route: RouteEnd<K, V>) -> Self {
        epoch::settle();
        let writer = Writer::new(capacity, route.at);
        route.at.set_root(writer.root());
        Self { route, side: CachePadded::new(Mutex::new(Side { writer, ledger })) }
    }

    /// Returns the readers' side.
    #[inline]
    pub(crate) fn route(&self) -> &Route<K, V> {
        &self.route.at
    }

    /// Keeps the table unchanged while the process forks. `find` returns the table within its
    /// owner.
    pub(crate) fn hold<A: ?Sized>(
        owner: &Arc<A>,
        find: impl FnOnce(&A) -> &Self,
        patience: &Alarm,
    ) -> Option<HeldTable<A, K, V, L>> {
        Kept::new(owner, |owner| &find(owner).side, patience).map(HeldTable)
    }

    /// Returns whether any thread is asleep, waiting for the lock.
    pub(crate) fn is_wanted(&self) -> bool {
        self.side.has_sleepers()
    }

    /// Takes the lock. Pin before taking it, never under it.
    #[inline]
    pub(crate) fn lock(&self) -> Locked<'_, K, V, L> {
        Locked { side: self.side.lock() }
    }

    /// Takes the lock, with a clock reading from within this call. The clock is read before the
    /// lock is taken, so that no thread waits for the reading, and the bucket of `hash` is
    /// prefetched meanwhile. If another thread had the lock, the clock is read again under it,
    /// because the wait may have been long.
    #[inline(always)]
    pub(crate) fn lock_at(&self, hash: HashBits, clock: &Timeline) -> (Locked<'_, K, V, L>, Tick) {
        self.route().prefetch_bucket(hash);
        let before = clock.now();
        // The models use the earlier reading, which guarantees less.
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
        // The lock is taken, although no other thread can hold it, so that everything its last
        // holder did is visible here.
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

    /// In the child of a fork: sees to what other threads of the parent were about to do with the garbage.
    pub(crate) fn inherit(&mut self) {
        self.0.content().writer.garbage.start_anew();
    }
}

/// The held lock of a table.
pub(crate) struct Locked<'t, K, V, L> {
    side: MutexGuard<'t, Side<K, V, L>>,
}

impl<'t, K, V, L> Locked<'t, K, V, L> {
    /// Returns the two parts that the lock guards.
    #[inline]
    pub(crate) fn parts(&mut self) -> (Writing<'_, 't, K, V, L>, &mut L) {
        let Side { writer, ledger } = &mut *self.side;
        (Writing { route: writer.route, writer, of: PhantomData }, ledger)
    }
}

impl<K, V, L> Table<K, V, L> {
    /// Drops reclaimable garbage. Its numbers have to be vacated afterwards. Runs destructors, so
    /// it must not be called under a lock.
    pub(crate) fn dispose(&self, reclaimable: Reclaimable<K, V>) -> Dropped {
        reclaimable.dispose(&self.route.at.homes)
    }
}

impl<K, V, L> fmt::Debug for Locked<'_, K, V, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locked").finish_non_exhaustive()
    }
}
