//! Reclamation: from unlinked to dropped.
//!
//! A node or array that has left the table may still be in the hands of readers. It is listed as
//! *debris* by its shard; a *batch* of debris is *sealed*, which begins a grace; when that is over, the
//! batch is *ripe*; the contents of a ripe batch are dropped one by one by the reaper or by a writer
//! after it unlocked. Never by a reader, and no user code ever runs inside the epoch's machinery.

use super::array::Array;
use super::epoch::{self, Grace};
use super::node::Node;
use crate::sync::{Arc, catch};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::NonNull;

/// Debris that makes a batch. Two under loom, so that small models get there.
const BATCH: usize = if cfg!(tidewheel_loom) { 2 } else { 64 };
/// Ripe batches that a writer drops when it seals one: more than it makes, so that debris cannot pile up.
const HELP: usize = 2;
/// Sealed batches from which on a writer looks whether some are ripe.
const BACKLOG: usize = if cfg!(tidewheel_loom) { 1 } else { 4 };
/// Blank nodes a shard keeps for its next inserts.
const BLANKS: usize = 4 * BATCH;

/// A node that is out of the table and not yet debris. Whoever holds it decides who is told; leaking it
/// leaks the node.
#[must_use]
pub(crate) struct Unlinked<K, V>(pub(super) NonNull<Node<K, V>>);

// SAFETY: T2. It stands for the node, to which it gives shared access and, in the end, ownership.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Unlinked<K, V> {}

impl<K, V> Unlinked<K, V> {
    /// The node's contents. They may be in the hands of readers at the same time.
    pub(crate) fn node(&self) -> &Node<K, V> {
        // SAFETY: T4: a node is freed only after it was added to debris, which takes `self`.
        let node = unsafe { self.0.as_ref() };
        node.canary.look();
        node
    }
}

impl<K, V> fmt::Debug for Unlinked<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unlinked")
    }
}

/// Memory for a node, without a node in it.
pub(super) struct Blank<K, V>(NonNull<MaybeUninit<Node<K, V>>>);

impl<K, V> Blank<K, V> {
    fn allocate() -> Self {
        let layout = Layout::new::<Node<K, V>>();
        // SAFETY: a node has a deadline, so its size is not zero (T4 begins here: nobody else has it).
        let block = unsafe { alloc(layout) };
        match NonNull::new(block.cast()) {
            Some(block) => Self(block),
            None => handle_alloc_error(layout),
        }
    }

    /// The memory of a node whose contents were dropped.
    ///
    /// # Safety
    ///
    /// T4: nobody can reach the node any more, and this is called once for it.
    pub(super) unsafe fn of(node: NonNull<Node<K, V>>) -> Self {
        Self(node.cast())
    }

    /// Puts a node there.
    pub(super) fn fill(self, node: Node<K, V>) -> NonNull<Node<K, V>> {
        let place = ManuallyDrop::new(self).0.cast::<Node<K, V>>();
        // SAFETY: T4: a blank is memory of a node's layout that nobody else uses.
        unsafe { place.write(node) };
        place
    }
}

impl<K, V> Drop for Blank<K, V> {
    fn drop(&mut self) {
        // SAFETY: T4: allocated with this layout, used by nobody.
        unsafe { dealloc(self.0.as_ptr().cast(), Layout::new::<Node<K, V>>()) };
    }
}

/// What to do with ripe debris: owned, and in nobody's hands.
enum Item<K, V> {
    Node(NonNull<Node<K, V>>),
    Array(Array<K, V>),
}

impl<K, V> Item<K, V> {
    /// Drops key and value and gives back the memory of the node, or all of the array.
    ///
    /// # Safety
    ///
    /// T4: nobody can reach the item any more, and this is called once.
    unsafe fn dispose(self) -> Option<Blank<K, V>> {
        match self {
            Self::Node(node) => {
                // SAFETY: T4.
                unsafe { drop_contents(node) };
                // SAFETY: T4.
                let blank = unsafe { Blank::of(node) };
                if cfg!(tidewheel_loom) {
                    // Kept until the model ends, so that a late look finds the dead canary.
                    let _ = ManuallyDrop::new(blank);
                    return None;
                }
                Some(blank)
            }
            Self::Array(array) => {
                if !cfg!(tidewheel_loom) {
                    // SAFETY: T4.
                    unsafe { array.free() };
                }
                None
            }
        }
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

struct Batch<K, V> {
    grace: Arc<Grace>,
    items: Vec<Item<K, V>>,
}

/// What a shard has unlinked and not yet dropped; and blank nodes for its next inserts.
pub(super) struct Debris<K, V> {
    open: Vec<Item<K, V>>,
    sealed: VecDeque<Batch<K, V>>,
    blanks: Vec<Blank<K, V>>,
}

// SAFETY: T2, T4. It owns what is in it.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Debris<K, V> {}

impl<K, V> Debris<K, V> {
    pub(super) fn new() -> Self {
        Self { open: Vec::new(), sealed: VecDeque::new(), blanks: Vec::new() }
    }

    pub(super) fn add(&mut self, node: Unlinked<K, V>) {
        self.open.push(Item::Node(node.0));
    }

    /// # Safety
    ///
    /// T3: the array is out of every reader's way, pinned ones aside.
    pub(super) unsafe fn add_array(&mut self, array: Array<K, V>) {
        self.open.push(Item::Array(array));
    }

    pub(super) fn blank(&mut self) -> Blank<K, V> {
        self.blanks.pop().unwrap_or_else(Blank::allocate)
    }

    /// Takes blanks back; those over the limit stay behind, for the caller to free outside the lock.
    pub(super) fn recycle(&mut self, blanks: &mut Vec<Blank<K, V>>) {
        let room = BLANKS.saturating_sub(self.blanks.len());
        self.blanks.extend(blanks.drain(..room.min(blanks.len())));
    }

    pub(super) fn is_full(&self) -> bool {
        self.open.len() >= BATCH
    }

    pub(super) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    pub(super) fn has_sealed(&self) -> bool {
        !self.sealed.is_empty()
    }

    /// Closes the open batch. The batch ripens after the result was started, outside the lock.
    pub(super) fn seal(&mut self) -> Option<Sealed> {
        if self.open.is_empty() {
            return None;
        }
        let grace = Arc::new(Grace::begin());
        let items = std::mem::replace(&mut self.open, Vec::with_capacity(BATCH));
        self.sealed.push_back(Batch { grace: Arc::clone(&grace), items });
        Some(Sealed { grace, push: self.sealed.len() >= BACKLOG })
    }

    /// Takes out ripe batches: for a writer the oldest few, if they are no larger than what writers make;
    /// for the reaper all there are.
    pub(super) fn take_ripe(&mut self, all: bool) -> Ripe<K, V> {
        let mut ripe = Ripe { items: Vec::new(), shard: PhantomData };
        let is_ripe = |batch: &Batch<K, V>| batch.grace.is_over();
        if all {
            for index in (0..self.sealed.len()).rev() {
                if is_ripe(&self.sealed[index]) {
                    ripe.items.extend(self.sealed.swap_remove_back(index).map(|batch| batch.items));
                }
            }
        } else {
            let is_small = |batch: &Batch<K, V>| batch.items.len() <= 2 * BATCH;
            while ripe.items.len() < HELP && self.sealed.front().is_some_and(|it| is_small(it) && is_ripe(it))
            {
                ripe.items.extend(self.sealed.pop_front().map(|batch| batch.items));
            }
        }
        ripe
    }

    /// Everything, ripe or not.
    ///
    /// # Safety
    ///
    /// T4: no reader of this table is left, nor will there be one.
    pub(super) unsafe fn dispose_all(&mut self) {
        let sealed = self.sealed.drain(..).flat_map(|batch| batch.items);
        for item in self.open.drain(..).chain(sealed) {
            // SAFETY: T4, by contract.
            drop(unsafe { item.dispose() });
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
}

impl Sealed {
    /// Lets the batch ripen. Outside the lock: this may run other threads' closures (of this crate alone).
    pub(crate) fn start(self) {
        self.grace.start();
        if self.push {
            epoch::push();
        }
    }
}

/// Ripe batches, out of the lock.
#[must_use]
pub(crate) struct Ripe<K, V> {
    items: Vec<Vec<Item<K, V>>>,
    shard: PhantomData<(K, V)>,
}

// SAFETY: T2, T4. It owns what is in it.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Ripe<K, V> {}

impl<K, V> Ripe<K, V> {
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Drops what is in it. Runs destructors: never under a lock.
    pub(crate) fn dispose(self) -> Blanks<K, V> {
        let mut blanks = Vec::with_capacity(self.items.iter().map(Vec::len).sum());
        for item in self.items.into_iter().flatten() {
            // SAFETY: T4: ripe, and taken out of the debris, so this happens once.
            blanks.extend(unsafe { item.dispose() });
        }
        Blanks(blanks)
    }
}

impl<K, V> fmt::Debug for Ripe<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ripe").field("batches", &self.items.len()).finish()
    }
}

/// Blank nodes on their way back to the shard.
#[must_use]
pub(crate) struct Blanks<K, V>(pub(super) Vec<Blank<K, V>>);

impl<K, V> Blanks<K, V> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K, V> fmt::Debug for Blanks<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blanks").field("count", &self.0.len()).finish()
    }
}
