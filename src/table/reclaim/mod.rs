//! Reclamation: the way of garbage from unlinked to dropped.
//!
//! Readers may still use a node or an array that has left the table. The shard lists it as
//! *garbage*. A *batch* of garbage is *sealed*, which begins a grace period. When that is over, the
//! batch is *reclaimable*. The reaper, or a writer after it unlocked, drops the contents of a
//! reclaimable batch one by one. Readers never do, and no user code ever runs inside
//! crossbeam-epoch.
//!
//! A batch is full when it contains much, by number, size or weight, or when it has been open for
//! long. The memory that a value owns is unknown. But a large value takes long to create, so few
//! large values come in that time. Where readers delay reclamation, writers wait a moment now and
//! then (`pace.rs`).

use super::array::Array;
use super::epoch::{self, GracePeriod};
use super::node::Node;
use super::nodes::{Homes, Named};
use super::pace::{Load, Moment, Pace};
use crate::sync::{Arc, catch};
use crate::time::{Span, Tick};
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// A node of at most this many bytes that owns nothing else is small.
const SMALL: usize = 1024;
/// The number of nodes in a full batch. It is two under loom, so that small models reach it.
const BATCH: usize = if cfg!(tidewheel_loom) { 2 } else { 64 };
/// The bytes of nodes in a full batch. But a batch has at least eight nodes, because an advance
/// takes time.
const BATCH_BYTES: usize = 256 * 1024;
const BATCH_LEAST: usize = if cfg!(tidewheel_loom) { 2 } else { 8 };
/// The number of reclaimable batches that a writer drops when it seals one: more than it creates,
/// so that garbage cannot pile up.
pub(crate) const BATCHES_AT_A_SEAL: usize = 2;
/// The number of reclaimable batches that a writer drops after it waited a moment.
pub(crate) const BATCHES_AFTER_A_MOMENT: usize = 8;
/// The time for which a batch stays open if it is not full before, and the least time between two
/// advances, in the whole process, for batches that were open for long. An advance takes some four
/// microseconds, and interrupts every running thread.
const LONG: Span = Span::from_nanos(200_000);
/// The largest number of nodes of one batch that a writer drops at once. A batch may be larger: a
/// lower capacity, or a visit of the reaper, unlinks more than that together.
const PART: usize = 4 * BATCH;
/// Once the reaper has taken out this many nodes, it takes no further batch in that critical section.
const TAKEN_AT_ONCE: usize = if cfg!(tidewheel_loom) { 4 } else { 1024 };
/// After this many sealed batches that are not reclaimable, nobody looks at further ones.
const LOOKS: usize = 4;
/// The number of sealed batches divided by this is the number of batches that are sealed between an
/// advance in vain and the next one.
const IN_VAIN: usize = 8;
/// From this number of sealed batches on, a writer looks whether some are reclaimable.
const BACKLOG: usize = if cfg!(tidewheel_loom) { 1 } else { 4 };

/// A node that is out of the table and not garbage yet. Its holder decides who is told of it.
/// Leaking it leaks the node.
#[must_use]
pub(crate) struct Unlinked<K, V> {
    pub(super) named: Named,
    pub(super) node: NonNull<Node<K, V>>,
    /// The entry's weight, in a bounded shard.
    pub(super) weight: u32,
}

// SAFETY: T2. It represents the node, to which it gives shared access and, in the end, ownership.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Unlinked<K, V> {}

impl<K, V> Unlinked<K, V> {
    /// Sets the weight.
    #[inline]
    pub(crate) fn weighing(self, weight: u32) -> Self {
        Self { weight, ..self }
    }

    /// Returns the node. Readers may use it at the same time.
    pub(crate) fn node(&self) -> &Node<K, V> {
        // SAFETY: T4: a node is freed only after it was added to garbage, which takes `self`.
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

/// Drops key and value, each by itself, and catches their panics.
///
/// # Safety
///
/// T4: no thread can reach the node any more, and this is called once for it.
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
    grace: Arc<GracePeriod>,
    nodes: Vec<Named>,
    weight: u64,
    arrays: Vec<Array>,
}

impl Batch {
    fn load(&self) -> Load {
        Load { nodes: self.nodes.len() as u64, weight: self.weight }
    }
}

/// What a shard has unlinked and not dropped yet.
pub(super) struct Garbage<K, V> {
    open: Vec<Named>,
    open_weight: u64,
    /// If the open batch weighs more than this, it is full, however few nodes are in it.
    batch_weight: u64,
    /// The time from which on the open batch is full, however little is in it; `NEVER` while it is
    /// empty.
    full_at: Tick,
    /// The value of `full_at` for the batch that the next node opens. `NEVER` if garbage may wait
    /// without limit.
    next_full_at: Tick,
    open_arrays: Vec<Array>,
    /// With this many nodes, the open batch is full, or a writer has to wait a moment. It is 0 if
    /// the batch is full by weight.
    next_stop: usize,
    sealed: VecDeque<Batch>,
    pace: Pace,
    /// The number of batches that are sealed before the next advance.
    patience: usize,
    /// How often a batch was tested for being reclaimable.
    #[cfg(test)]
    looks: usize,
    /// An empty list with capacity, for the next batch.
    spare: Vec<Named>,
    of: PhantomData<(K, V)>,
}

impl<K, V> Garbage<K, V> {
    /// Whether nodes need no destructor. If so, their numbers are vacant as soon as they are
    /// reclaimable.
    const PLAIN: bool = !std::mem::needs_drop::<K>() && !std::mem::needs_drop::<V>();

    /// Whether it matters how long a node waits. It does not for a small node that owns nothing
    /// else.
    const MATTERS: bool = !Self::PLAIN || size_of::<Node<K, V>>() > SMALL;

    /// The number of nodes in a full batch.
    const BATCH: usize = {
        let fit = BATCH_BYTES / size_of::<Node<K, V>>();
        if fit >= BATCH {
            BATCH
        } else if fit > BATCH_LEAST {
            fit
        } else {
            BATCH_LEAST
        }
    };

    pub(super) fn new() -> Self {
        Self {
            open: Vec::new(),
            open_weight: 0,
            batch_weight: u64::MAX,
            full_at: Tick::NEVER,
            next_full_at: Tick::NEVER,
            open_arrays: Vec::new(),
            next_stop: Self::BATCH,
            sealed: VecDeque::new(),
            pace: Pace::default(),
            patience: 0,
            #[cfg(test)]
            looks: 0,
            spare: Vec::new(),
            of: PhantomData,
        }
    }

    #[inline]
    pub(super) fn add(&mut self, node: Unlinked<K, V>) {
        self.open.push(node.named);
        self.open_weight += u64::from(node.weight);
        if self.is_heavy() {
            self.next_stop = 0;
        }
        if Self::MATTERS {
            self.full_at = self.next_full_at;
        }
    }

    fn is_heavy(&self) -> bool {
        self.open_weight > self.batch_weight
    }

    /// From now on, a batch is also full when it has been open for long; writers check that when they
    /// come by. Its age counts from when the batch before it was sealed, so that a rare write does
    /// not wait for the next one. The time does not depend on the number of nodes in the batch:
    /// values of 64 KiB are created in 5 us each, and many of them are much memory.
    pub(super) fn be_prompt(&mut self) {
        if Self::MATTERS {
            self.next_full_at = Tick::LONG_AGO;
        }
    }

    /// # Safety
    ///
    /// T3: no reader can reach the array, except those that are already pinned.
    pub(super) unsafe fn add_array(&mut self, array: Array) {
        self.open_arrays.push(array);
    }

    /// Returns whether a writer has something to do: the open batch is full, or the writer has to
    /// wait.
    #[inline]
    pub(super) fn is_at_stop(&self, now: Tick) -> bool {
        self.open.len() >= self.next_stop || self.is_old(now)
    }

    #[inline]
    fn is_old(&self, now: Tick) -> bool {
        Self::MATTERS && self.full_at <= now
    }

    /// Returns whether there is enough in the open batch, whatever its age.
    fn is_large(&self) -> bool {
        self.open.len() >= Self::BATCH || self.is_heavy()
    }

    pub(super) fn set_batch_weight(&mut self, weight: u64) {
        self.batch_weight = weight;
        if self.is_heavy() {
            self.next_stop = 0;
        }
    }

    /// Returns how many nodes are unlinked and not yet handed out to be dropped.
    pub(super) fn len(&self) -> usize {
        self.open.len() + self.pace.waiting().nodes as usize
    }

    pub(super) fn has_open(&self) -> bool {
        !self.open.is_empty() || !self.open_arrays.is_empty()
    }

    pub(super) fn has_sealed(&self) -> bool {
        !self.sealed.is_empty()
    }

    /// Gives back the memory of lists that were longer before.
    pub(super) fn shrink(&mut self) {
        if self.sealed.capacity() > 4 * (self.sealed.len() + BACKLOG) {
            self.sealed.shrink_to_fit();
        }
    }

    /// Seals the open batch like `seal`, if it is full.
    pub(super) fn seal_full(&mut self, now: Tick) -> Option<Sealed> {
        let is_old = !self.is_large();
        if is_old && !self.is_old(now) {
            return None;
        }
        if self.next_full_at < Tick::NEVER {
            self.next_full_at = now.after(LONG);
        }
        self.seal().map(|sealed| Sealed { old_at: is_old.then_some(now), ..sealed })
    }

    /// Does what a writer does at a stop: seals the open batch, if it is full. Also returns the
    /// moment that the writer has to wait outside the lock, if any. `entries` are the number and
    /// weight of the entries.
    pub(super) fn stop(&mut self, now: Tick, entries: Load) -> (Option<Sealed>, Option<Moment>) {
        let is_at_next_stop = self.open.len() >= self.next_stop;
        let before = self.open.len();
        let sealed = self.seal_full(now);
        let batch = Load { nodes: Self::BATCH as u64, weight: self.batch_weight };
        let every = self.pace.every(entries, batch);
        if !is_at_next_stop {
            // The batch was sealed for its age. Its nodes count towards the next stop all the same.
            self.next_stop -= before - self.open.len();
            return (sealed, None);
        }
        self.next_stop = Self::BATCH.min(self.open.len() + every.unwrap_or(Self::BATCH));
        // Grace periods end in order.
        let oldest = self.sealed.partition_point(|batch| batch.grace.is_over());
        (sealed, every.map(|_| Moment::until(self.sealed.get(oldest).map(|batch| &batch.grace))))
    }

    /// Seals the open batch. It becomes reclaimable after the result was started, outside the lock.
    pub(super) fn seal(&mut self) -> Option<Sealed> {
        if !self.has_open() {
            return None;
        }
        let grace = Arc::new(GracePeriod::begin());
        let heavy = self.is_heavy();
        self.full_at = Tick::NEVER;
        let nodes = std::mem::replace(&mut self.open, std::mem::take(&mut self.spare));
        self.open.reserve_exact(Self::BATCH);
        let weight = std::mem::take(&mut self.open_weight);
        let arrays = std::mem::take(&mut self.open_arrays);
        let batch = Batch { grace: Arc::clone(&grace), nodes, weight, arrays };
        self.pace.sealed(batch.load());
        self.sealed.push_back(batch);
        // An advance is due if at least `BACKLOG` batches wait and the first of the last `BACKLOG`
        // is not reclaimable: then none of those is.
        let backlog = self.sealed.len().checked_sub(BACKLOG);
        let is_due = backlog.is_some_and(|first| !self.sealed[first].grace.is_over());
        let advance = is_due && self.patience == 0;
        // A thread is pinned, probably for the longer the more batches wait. An advance costs all
        // threads. So an eighth more batches may come before the next advance. The reaper advances
        // anyway.
        self.patience = if advance { self.sealed.len() / IN_VAIN } else { self.patience.saturating_sub(1) };
        Some(Sealed { grace, advance: advance || heavy, heavy, old_at: None })
    }

    /// In the child of a fork: starts the grace periods that other threads of the parent had yet to start. That one
    /// is started twice does no harm.
    pub(super) fn start_anew(&self) {
        self.sealed.iter().for_each(|batch| batch.grace.start());
    }

    /// Takes reclaimable batches out: for a writer the oldest `most`, or parts of them, and no
    /// arrays; for the reaper (`None`) as many as one critical section is to handle. Passes nodes
    /// that need no destructor to `vacate` at once.
    #[inline(never)]
    pub(super) fn take_reclaimable(
        &mut self,
        most: Option<usize>,
        mut vacate: impl FnMut(Named),
    ) -> Reclaimable<K, V> {
        let mut reclaimable =
            Reclaimable { batches: Vec::new(), arrays: Vec::new(), has_more: false, of: PhantomData };
        let (mut index, mut taken, mut nodes_taken, mut not_over) = (0, 0, 0, 0);
        while index < self.sealed.len() && most.is_none_or(|most| taken < most) && not_over < LOOKS {
            if nodes_taken >= TAKEN_AT_ONCE && most.is_none() {
                reclaimable.has_more = true;
                break;
            }
            #[cfg(test)]
            {
                self.looks += 1;
            }
            if !self.sealed[index].grace.is_over() {
                (index, not_over) = (index + 1, not_over + 1);
                continue;
            }
            let Some(Batch { mut nodes, arrays, .. }) = self.take_at(index, most.is_some()) else {
                index += 1;
                continue;
            };
            (taken, nodes_taken) = (taken + 1, nodes_taken + nodes.len());
            reclaimable.arrays.extend(arrays);
            if Self::PLAIN {
                nodes.drain(..).for_each(&mut vacate);
                if nodes.capacity() <= 2 * BATCH {
                    self.spare = nodes;
                }
            } else if !nodes.is_empty() {
                reclaimable.batches.push(nodes);
            }
        }
        reclaimable
    }

    /// Takes out a batch; for a writer a part of it, if it is large. Returns `None` if there is
    /// nothing for a writer.
    fn take_at(&mut self, index: usize, for_writer: bool) -> Option<Batch> {
        let batch = &mut self.sealed[index];
        let taken = if for_writer && batch.nodes.len() > PART {
            let nodes = batch.nodes.split_off(batch.nodes.len() - PART);
            // What is left has all of the weight.
            Batch { grace: Arc::clone(&batch.grace), nodes, weight: 0, arrays: Vec::new() }
        } else if for_writer && !batch.arrays.is_empty() {
            return None;
        } else {
            self.sealed.remove(index)?
        };
        self.pace.taken(taken.load());
        Some(taken)
    }

    /// Drops everything, reclaimable or not.
    ///
    /// # Safety
    ///
    /// T4: no reader of this table is left, nor will there be one.
    pub(super) unsafe fn dispose_all(&mut self, homes: &Homes<K, V>) {
        let sealed = std::mem::take(&mut self.sealed);
        let open = Batch {
            grace: Arc::new(GracePeriod::begin()),
            nodes: std::mem::take(&mut self.open),
            weight: 0,
            arrays: std::mem::take(&mut self.open_arrays),
        };
        for batch in sealed.into_iter().chain([open]) {
            for named in batch.nodes {
                // SAFETY: T4, T9: garbage has its nodes, which by contract no thread uses.
                unsafe { drop_contents(NonNull::new_unchecked(homes.named(named))) };
            }
            for array in batch.arrays {
                // SAFETY: T4, by contract.
                unsafe { array.free() };
            }
        }
    }
}

/// A sealed batch whose grace period has not been started yet.
#[must_use]
#[derive(Debug)]
pub(crate) struct Sealed {
    grace: Arc<GracePeriod>,
    /// Whether it is time for an advance: many batches wait, or this one was sealed for its weight.
    advance: bool,
    /// Whether the batch was sealed for its weight.
    heavy: bool,
    /// The time at which the batch was sealed for its age.
    old_at: Option<Tick>,
}

impl Sealed {
    /// Starts the grace period of the batch. Must be called outside the lock: it may run closures
    /// of other threads (of this crate alone). Returns whether the caller should drop some of
    /// what is reclaimable in several shards: the batch was sealed for its weight, or for its age and this call
    /// has advanced. It is reclaimable now, unless a thread is pinned.
    pub(crate) fn start(self) -> bool {
        self.grace.start();
        let is_advanced = self.old_at.is_some_and(|now| epoch::is_time_to_advance(now, LONG));
        if is_advanced {
            epoch::advance_fully();
        } else if self.advance {
            epoch::advance();
        }
        self.heavy || is_advanced
    }
}

/// Reclaimable batches, taken out of the lock.
#[must_use]
pub(crate) struct Reclaimable<K, V> {
    batches: Vec<Vec<Named>>,
    arrays: Vec<Array>,
    /// There is more, for another critical section.
    has_more: bool,
    of: PhantomData<(K, V)>,
}

// SAFETY: T2, T4. It owns its contents.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Reclaimable<K, V> {}

/// Nodes that were dropped and whose numbers are still taken.
#[must_use]
pub(crate) struct Dropped(pub(super) Vec<Named>);

impl Dropped {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K, V> Reclaimable<K, V> {
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.arrays.is_empty()
    }

    /// Returns whether more was reclaimable than one critical section is to handle.
    pub(crate) fn has_more(&self) -> bool {
        self.has_more
    }

    /// Drops the contents. Runs destructors, so it must not be called under a lock.
    pub(super) fn dispose(self, homes: &Homes<K, V>) -> Dropped {
        for array in self.arrays {
            // SAFETY: T4: reclaimable, and taken out of the garbage, so this happens once.
            unsafe {
                #[cfg(tidewheel_loom)]
                array.spoil();
                #[cfg(not(tidewheel_loom))]
                array.free();
            }
        }
        let mut batches = self.batches.into_iter();
        let Some(mut nodes) = batches.next() else { return Dropped(Vec::new()) };
        nodes.extend(batches.flatten());
        for &named in &nodes {
            // SAFETY: T4: reclaimable, and taken out of the garbage, so this happens once. T9:
            // garbage has its nodes.
            unsafe { drop_contents(NonNull::new_unchecked(homes.named(named))) };
        }
        Dropped(nodes)
    }
}

impl<K, V> fmt::Debug for Reclaimable<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reclaimable").field("batches", &self.batches.len()).finish()
    }
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests;
