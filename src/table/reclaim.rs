//! Reclamation: from unlinked to dropped.
//!
//! A node or array that has left the table may still be in the hands of readers. It is listed as
//! *debris* by its shard; a *batch* of debris is *sealed*, which begins a grace; when that is over, the
//! batch is *ripe*; the contents of a ripe batch are dropped one by one by the reaper or by a writer
//! after it unlocked. Never by a reader, and no user code ever runs inside the epoch's machinery.

use super::array::Array;
use super::epoch::{self, Grace};
use super::node::Node;
use super::nodes::Homes;
use crate::rows::RowId;
use crate::sync::{Arc, catch};
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// Debris that makes a batch. Two under loom, so that small models get there.
const BATCH: usize = if cfg!(tidewheel_loom) { 2 } else { 64 };
/// Ripe batches that a writer drops when it seals one: more than it makes, so that debris cannot pile up.
const HELP: usize = 2;
/// Sealed batches from which on a writer looks whether some are ripe.
const BACKLOG: usize = if cfg!(tidewheel_loom) { 1 } else { 4 };

/// A node that is out of the table and not yet debris. Whoever holds it decides who is told; leaking it
/// leaks the node.
#[must_use]
pub(crate) struct Unlinked<K, V> {
    pub(super) row: RowId,
    pub(super) node: NonNull<Node<K, V>>,
    /// In a bounded shard.
    pub(super) weight: u32,
}

// SAFETY: T2. It stands for the node, to which it gives shared access and, in the end, ownership.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Unlinked<K, V> {}

impl<K, V> Unlinked<K, V> {
    /// It weighs so much.
    #[inline]
    pub(crate) fn weighing(self, weight: u32) -> Self {
        Self { weight, ..self }
    }

    /// The node's contents. They may be in the hands of readers at the same time.
    pub(crate) fn node(&self) -> &Node<K, V> {
        // SAFETY: T4: a node is freed only after it was added to debris, which takes `self`.
        let node = unsafe { self.node.as_ref() };
        node.canary.look();
        node
    }
}

impl<K, V> fmt::Debug for Unlinked<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unlinked")
    }
}

/// Drops key and value, each by itself, their panics caught.
///
/// # Safety
///
/// T4: nobody can reach the node any more, and this is called once for it.
pub(super) unsafe fn drop_contents<K, V>(mut node: NonNull<Node<K, V>>) {
    // SAFETY: T4.
    let node = unsafe { node.as_mut() };
    node.canary.kill();
    if std::mem::needs_drop::<K>() {
        // SAFETY: T4, once.
        catch(|| unsafe { ManuallyDrop::drop(&mut node.key) });
    }
    if std::mem::needs_drop::<V>() {
        // SAFETY: T4, once.
        catch(|| unsafe { ManuallyDrop::drop(&mut node.value) });
    }
}

struct Batch {
    grace: Arc<Grace>,
    rows: Vec<RowId>,
    arrays: Vec<Array>,
}

/// What a shard has unlinked and not yet dropped.
pub(super) struct Debris<K, V> {
    open: Vec<RowId>,
    open_weight: u64,
    /// From so much on, the open batch is full, however few are in it.
    batch_weight: u64,
    open_arrays: Vec<Array>,
    sealed: VecDeque<Batch>,
    /// An empty list with room, for the next batch.
    spare: Vec<RowId>,
    of: PhantomData<(K, V)>,
}

impl<K, V> Debris<K, V> {
    /// Whether nodes need nothing done to them: then their numbers are vacant as soon as they are ripe.
    const PLAIN: bool = !std::mem::needs_drop::<K>() && !std::mem::needs_drop::<V>();

    pub(super) fn new() -> Self {
        Self {
            open: Vec::new(),
            open_weight: 0,
            batch_weight: u64::MAX,
            open_arrays: Vec::new(),
            sealed: VecDeque::new(),
            spare: Vec::new(),
            of: PhantomData,
        }
    }

    #[inline]
    pub(super) fn add(&mut self, node: Unlinked<K, V>) {
        self.open.push(node.row);
        self.open_weight += u64::from(node.weight);
    }

    /// # Safety
    ///
    /// T3: the array is out of every reader's way, pinned ones aside.
    pub(super) unsafe fn add_array(&mut self, array: Array) {
        self.open_arrays.push(array);
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.open.len() >= BATCH || self.open_weight > self.batch_weight
    }

    pub(super) fn set_batch_weight(&mut self, weight: u64) {
        self.batch_weight = weight;
    }

    /// How many nodes are unlinked and not yet handed out to be dropped.
    pub(super) fn len(&self) -> usize {
        self.open.len() + self.sealed.iter().map(|batch| batch.rows.len()).sum::<usize>()
    }

    pub(super) fn has_open(&self) -> bool {
        !self.open.is_empty() || !self.open_arrays.is_empty()
    }

    pub(super) fn has_sealed(&self) -> bool {
        !self.sealed.is_empty()
    }

    /// Gives back the memory of lists that were longer.
    pub(super) fn shrink(&mut self) {
        if self.sealed.capacity() > 4 * (self.sealed.len() + BACKLOG) {
            self.sealed.shrink_to_fit();
        }
    }

    /// Closes the open batch. The batch ripens after the result was started, outside the lock.
    pub(super) fn seal(&mut self) -> Option<Sealed> {
        if !self.has_open() {
            return None;
        }
        let grace = Arc::new(Grace::begin());
        let heavy = self.open_weight > self.batch_weight;
        let rows = std::mem::replace(&mut self.open, std::mem::take(&mut self.spare));
        self.open.reserve_exact(BATCH);
        self.open_weight = 0;
        let arrays = std::mem::take(&mut self.open_arrays);
        self.sealed.push_back(Batch { grace: Arc::clone(&grace), rows, arrays });
        // As many wait as that, and the first of them has not ripened yet: then none has.
        let backlog = self.sealed.len().checked_sub(BACKLOG);
        let push = backlog.is_some_and(|first| !self.sealed[first].grace.is_over());
        Some(Sealed { grace, push: push || heavy, heavy })
    }

    /// Takes out ripe batches: for a writer the oldest few, if they are no larger than what writers make;
    /// for the reaper all there are. Nodes that need nothing done to them are told to `vacate` at once.
    #[inline(never)]
    pub(super) fn take_ripe(&mut self, all: bool, mut vacate: impl FnMut(RowId)) -> Ripe<K, V> {
        let mut ripe = Ripe { batches: Vec::new(), arrays: Vec::new(), of: PhantomData };
        let (mut index, mut taken) = (0, 0);
        while index < self.sealed.len() && (all || taken < HELP) {
            let batch = &self.sealed[index];
            // What a smaller capacity evicts at once is more than a batch, and no more than four.
            let is_small = batch.rows.len() <= 4 * BATCH && batch.arrays.is_empty();
            if !(batch.grace.is_over() && (all || is_small)) {
                index += 1;
                continue;
            }
            let Some(Batch { mut rows, arrays, .. }) = self.sealed.remove(index) else { break };
            taken += 1;
            ripe.arrays.extend(arrays);
            if Self::PLAIN {
                rows.drain(..).for_each(&mut vacate);
                if rows.capacity() <= 2 * BATCH {
                    self.spare = rows;
                }
            } else if !rows.is_empty() {
                ripe.batches.push(rows);
            }
        }
        ripe
    }

    /// Everything, ripe or not.
    ///
    /// # Safety
    ///
    /// T4: no reader of this table is left, nor will there be one.
    pub(super) unsafe fn dispose_all(&mut self, homes: &Homes<K, V>) {
        let sealed = std::mem::take(&mut self.sealed);
        let open = Batch {
            grace: Arc::new(Grace::begin()),
            rows: std::mem::take(&mut self.open),
            arrays: std::mem::take(&mut self.open_arrays),
        };
        for batch in sealed.into_iter().chain([open]) {
            for row in batch.rows {
                // SAFETY: T4, T9: debris has its nodes, by contract in nobody's hands.
                unsafe { drop_contents(NonNull::new_unchecked(homes.node(row))) };
            }
            for array in batch.arrays {
                // SAFETY: T4, by contract.
                unsafe { array.free() };
            }
        }
    }
}

/// A sealed batch whose grace has not been started yet.
#[must_use]
#[derive(Debug)]
pub(crate) struct Sealed {
    grace: Arc<Grace>,
    /// So much waits that it is time to look what is ripe.
    push: bool,
    /// It was closed for its weight.
    heavy: bool,
}

impl Sealed {
    /// Lets the batch ripen. Outside the lock: this may run other threads' closures (of this crate alone). Whether what is in it is so heavy that it should be dropped as soon as it is ripe, which is now unless somebody is
    /// pinned.
    pub(crate) fn start(self) -> bool {
        self.grace.start();
        if self.push {
            epoch::push();
        }
        self.heavy
    }
}

/// Ripe batches, out of the lock.
#[must_use]
pub(crate) struct Ripe<K, V> {
    batches: Vec<Vec<RowId>>,
    arrays: Vec<Array>,
    of: PhantomData<(K, V)>,
}

// SAFETY: T2, T4. It owns what is in it.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Ripe<K, V> {}

impl<K, V> Ripe<K, V> {
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.arrays.is_empty()
    }

    /// Drops what is in it, and returns the numbers that are vacant now. Runs destructors: never under a lock.
    pub(super) fn dispose(self, homes: &Homes<K, V>) -> Vec<RowId> {
        for array in self.arrays {
            // SAFETY: T4: ripe, and taken out of the debris, so this happens once.
            unsafe {
                #[cfg(tidewheel_loom)]
                array.spoil();
                #[cfg(not(tidewheel_loom))]
                array.free();
            }
        }
        let mut batches = self.batches.into_iter();
        let Some(mut rows) = batches.next() else { return Vec::new() };
        rows.extend(batches.flatten());
        for &row in &rows {
            // SAFETY: T4: ripe, and taken out of the debris, so this happens once. T9: debris has its nodes.
            unsafe { drop_contents(NonNull::new_unchecked(homes.node(row))) };
        }
        rows
    }
}

impl<K, V> fmt::Debug for Ripe<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ripe").field("batches", &self.batches.len()).finish()
    }
}
