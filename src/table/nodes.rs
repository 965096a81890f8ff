//! Where nodes are: in chunks that never move, addressed by the numbers of their rows.
//!
//! Readers have [`Homes`]: the first node of each chunk. Writers have [`Nodes`], which owns the chunks. Neither
//! knows which numbers are taken.

use super::memory::{Block, keep};
use super::node::Node;
use crate::rows::{CHUNKS, RowId, chunk_size};
use crate::sync::atomic::{AtomicPtr, Ordering};
use crate::time::Deadline;
use std::ops::Range;
use std::ptr::null_mut;

/// As many as a number can name, so that no look-up needs a check.
const NAMES: usize = 32;

/// The first node of each chunk, for readers.
pub(super) struct Homes<K, V>([AtomicPtr<Node<K, V>>; NAMES]);

impl<K, V> Homes<K, V> {
    pub(super) fn new() -> Self {
        const { assert!(CHUNKS <= NAMES) };
        Self(std::array::from_fn(|_| AtomicPtr::new(null_mut())))
    }

    /// The address of a node whose chunk is there (T9).
    #[inline]
    pub(super) fn node(&self, row: RowId) -> *mut Node<K, V> {
        // ORDERING: Relaxed; whoever has a row's number from a bucket, or has the lock, sees what was stored here
        // before it got there (Release in `Bucket::set_row`, Acquire in `Bucket::row`). It changes only while no
        // number of the chunk is taken.
        let first = self.0[row.chunk() % NAMES].load(Ordering::Relaxed);
        first.wrapping_add(row.offset())
    }

    /// The number of a node that is in one of the chunks: of one that a reader who is still pinned has found.
    pub(super) fn number(&self, node: &Node<K, V>) -> Option<RowId> {
        let address = std::ptr::from_ref(node).addr();
        (0..CHUNKS).find_map(|chunk| {
            // ORDERING: Relaxed; as in `node`.
            let first = self.0[chunk].load(Ordering::Relaxed);
            let offset = address.checked_sub(first.addr())? / size_of::<Node<K, V>>();
            (!first.is_null() && offset < chunk_size(chunk)).then(|| RowId::at(chunk, offset))
        })
    }

    /// For the writer, who alone stores it.
    #[inline]
    fn has(&self, chunk: usize) -> bool {
        // ORDERING: Relaxed; the lock orders writers among themselves.
        !self.0[chunk % NAMES].load(Ordering::Relaxed).is_null()
    }

    fn set(&self, chunk: usize, first: *mut Node<K, V>) {
        // ORDERING: Relaxed; see `node`.
        self.0[chunk].store(first, Ordering::Relaxed);
    }
}

/// The chunks themselves, for writers.
pub(super) struct Nodes<K, V> {
    /// Of as many chunks as there have been.
    chunks: Vec<Option<Block>>,
    of: std::marker::PhantomData<Node<K, V>>,
}

impl<K, V> Nodes<K, V> {
    pub(super) fn new() -> Self {
        Self { chunks: Vec::new(), of: std::marker::PhantomData }
    }

    /// Puts a node where a row's number says, in a place that is vacant.
    ///
    /// # Safety
    ///
    /// T9: the number was taken and no node is there.
    #[inline]
    pub(super) unsafe fn put(
        &mut self,
        homes: &Homes<K, V>,
        row: RowId,
        entry: &mut Option<(K, V)>,
        deadline: Deadline,
    ) {
        if !homes.has(row.chunk()) {
            self.add_chunk(homes, row.chunk());
        }
        let place = homes.node(row);
        // SAFETY: T9: within a chunk that is there, and nobody looks at it.
        unsafe {
            Node::make(place, entry, deadline);
        }
    }

    #[cold]
    fn add_chunk(&mut self, homes: &Homes<K, V>, chunk: usize) {
        let block = Block::new::<Node<K, V>>(chunk_size(chunk));
        homes.set(chunk, block.start().cast().as_ptr());
        keep(&mut self.chunks, chunk, block);
    }

    /// Gives memory back of nodes whose numbers are vacant: the chunk itself if that is all of it.
    ///
    /// # Safety
    ///
    /// T9: the numbers are vacant.
    pub(super) unsafe fn discard(&mut self, homes: &Homes<K, V>, chunk: usize, rows: Range<usize>) {
        if rows.len() == chunk_size(chunk) {
            homes.set(chunk, null_mut());
            let block = self.chunks.get_mut(chunk).and_then(Option::take);
            if cfg!(tidewheel_loom) {
                // For models: a late look finds a dead canary, and not just any memory.
                std::mem::forget(block);
            }
        } else if let Some(Some(block)) = self.chunks.get_mut(chunk) {
            let size = size_of::<Node<K, V>>();
            // SAFETY: T8, T9: nobody looks there.
            unsafe { block.discard(rows.start * size..rows.end * size) };
        }
    }
}
