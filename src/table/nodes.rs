//! Nodes: chunks that never move, addressed by numbers of their own.
//!
//! Readers have [`Homes`], the addresses of the chunks. Writers have [`Nodes`], which owns the
//! chunks and knows which numbers are taken. A node's number is independent of the number of its
//! entry's row: the row stays when a node is replaced.

use super::memory::{Block, keep};
use super::node::{Filed, Node};
use crate::rows::{CHUNKS, Numbers, RowId, chunk_size};
use crate::sync::atomic::{AtomicPtr, Ordering};
use crate::time::Deadline;
use std::ops::Range;
use std::ptr::without_provenance_mut;

/// A node's number as a slot holds it and as `Homes` expects it: with its highest bit set. (The
/// numbers are structured like those of rows.)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Named(u32);

impl Named {
    const MARK: u32 = 1 << 31;

    #[inline]
    pub(super) fn of(number: RowId) -> Self {
        Self(number.index() | Self::MARK)
    }

    /// Returns the number that a slot holds, unless the slot is empty.
    #[inline]
    pub(super) fn from_bits(bits: u32) -> Option<Self> {
        (bits & Self::MARK != 0).then_some(Self(bits))
    }

    #[inline]
    pub(super) fn bits(self) -> u32 {
        self.0
    }

    /// Returns the number without the mark.
    #[inline]
    fn number(self) -> RowId {
        RowId::from_index(self.0 & !Self::MARK)
    }

    /// Returns the chunk, in one step, since the mark is known to be set.
    #[inline]
    pub(crate) fn chunk(self) -> usize {
        RowId::from_index(self.0).chunk() - RowId::from_index(Self::MARK).chunk()
    }

    /// Returns the place in the chunk.
    #[inline]
    pub(crate) fn offset(self) -> usize {
        self.number().offset()
    }
}

/// The chunks, for readers. For each chunk it stores the address at which the node of number 0
/// would be if it were in this chunk. So the address of a node is that address plus the node's whole
/// number, counted in nodes.
pub(super) struct Homes<K, V>([AtomicPtr<Node<K, V>>; NAMES]);

/// As many chunks as fit beside the root. There can be no more chunks.
const NAMES: usize = 31;

/// Returns the address that stands for no chunk. It is odd, so no chunk has it.
fn nowhere<T>() -> *mut T {
    without_provenance_mut(1)
}

impl<K, V> Homes<K, V> {
    pub(super) fn new() -> Self {
        const { assert!(CHUNKS <= NAMES && align_of::<Node<K, V>>() > 1) };
        Self(std::array::from_fn(|_| AtomicPtr::new(nowhere())))
    }

    /// Returns the stored address of the chunk that a node's number names.
    #[inline]
    fn zeroth(&self, named: Named) -> *mut Node<K, V> {
        debug_assert!(named.chunk() < CHUNKS);
        // SAFETY: T9: no number names another chunk.
        let zeroth = unsafe { self.0.get_unchecked(named.chunk()) };
        // ORDERING: Relaxed; a thread that has a node's number from a bucket, or that has the lock,
        // sees what was stored here before the number was stored (Release in `Bucket::set_named`,
        // Acquire in `Bucket::named`). The word changes only while no number of the chunk is taken.
        zeroth.load(Ordering::Relaxed)
    }

    /// Returns the address of a node whose chunk exists (T9).
    #[inline]
    pub(super) fn named(&self, named: Named) -> *mut Node<K, V> {
        self.zeroth(named).wrapping_add(named.bits() as usize)
    }

    /// Returns the number of a node in one of the chunks. The reader that found the node must still
    /// be pinned.
    pub(super) fn number(&self, node: &Node<K, V>) -> Option<Named> {
        let address = std::ptr::from_ref(node).addr();
        (0..CHUNKS).find_map(|chunk| {
            // ORDERING: Relaxed; as in `zeroth`.
            let zeroth = self.0[chunk].load(Ordering::Relaxed);
            let first = zeroth.wrapping_add(Named::of(RowId::at(chunk, 0)).bits() as usize);
            let offset = address.checked_sub(first.addr())? / size_of::<Node<K, V>>();
            (zeroth != nowhere() && offset < chunk_size(chunk)).then(|| Named::of(RowId::at(chunk, offset)))
        })
    }

    /// For the writer, which alone stores it: stores the address of a chunk.
    fn set(&self, chunk: usize, first: *mut Node<K, V>) {
        let zeroth = first.wrapping_sub(Named::of(RowId::at(chunk, 0)).bits() as usize);
        // ORDERING: Relaxed; see `zeroth`.
        self.0[chunk].store(zeroth, Ordering::Relaxed);
    }

    fn forget(&self, chunk: usize) {
        // ORDERING: Relaxed; see `zeroth`.
        self.0[chunk].store(nowhere(), Ordering::Relaxed);
    }
}

/// The chunks themselves, for writers, with the numbers that are taken.
pub(super) struct Nodes<K, V> {
    numbers: Numbers,
    /// The chunks. The list is as long as the highest chunk so far.
    chunks: Vec<Option<Block>>,
    of: std::marker::PhantomData<Node<K, V>>,
}

impl<K, V> Nodes<K, V> {
    pub(super) fn new() -> Self {
        Self { numbers: Numbers::new(), chunks: Vec::new(), of: std::marker::PhantomData }
    }

    /// Takes a vacant number. Returns `None` if there is none left (2^27 - 64 are in use).
    #[inline]
    pub(super) fn take(&mut self) -> Option<Named> {
        self.numbers.take().or_else(|| self.gather()).map(Named::of)
    }

    #[cold]
    fn gather(&mut self) -> Option<RowId> {
        self.numbers.gather();
        self.numbers.take()
    }

    /// Returns whether `take` finds a number.
    #[inline]
    pub(super) fn has_vacant(&mut self) -> bool {
        self.numbers.next().is_some() || self.gather_ahead()
    }

    #[cold]
    fn gather_ahead(&mut self) -> bool {
        !self.numbers.gather().is_empty()
    }

    #[cfg(all(test, not(tidewheel_loom)))]
    pub(super) fn exhaust(&mut self) {
        self.numbers.exhaust();
    }

    /// Returns the number that the next node will probably have.
    #[inline]
    pub(super) fn next(&self) -> Option<Named> {
        self.numbers.next().map(Named::of)
    }

    /// Vacates a number under which there is no node any more (T9).
    #[inline]
    pub(super) fn vacate(&mut self, named: Named) {
        self.numbers.give(named.number());
    }

    /// Returns whether `trim` would give much memory back.
    pub(super) fn is_sparse(&self) -> bool {
        self.numbers.is_sparse()
    }

    /// Gives back the memory of vacant numbers, `most` numbers at a time, and tells of them. Returns
    /// false if there is no more to give back.
    pub(super) fn trim(
        &mut self,
        homes: &Homes<K, V>,
        most: usize,
        mut vacant: impl FnMut(usize, Range<usize>),
    ) -> bool {
        let Self { numbers, chunks, .. } = self;
        numbers.trim(most, |chunk, stretch| {
            vacant(chunk, stretch.clone());
            // SAFETY: T9: none of these numbers is taken.
            unsafe { discard::<K, V>(chunks, homes, chunk, stretch) };
        })
    }

    /// Puts a node in the place of its number.
    ///
    /// # Safety
    ///
    /// T9: the number was taken and no node is there.
    #[inline]
    pub(super) unsafe fn put(
        &mut self,
        homes: &Homes<K, V>,
        named: Named,
        entry: &mut Option<(K, V)>,
        deadline: Deadline,
        filed: Filed,
    ) {
        let mut zeroth = homes.zeroth(named);
        if zeroth == nowhere() {
            self.add_chunk(homes, named.chunk());
            zeroth = homes.zeroth(named);
        }
        let place = zeroth.wrapping_add(named.bits() as usize);
        // SAFETY: T9: within an existing chunk, and no thread looks at it.
        unsafe {
            Node::make(place, entry, deadline, filed);
        }
    }

    #[cold]
    fn add_chunk(&mut self, homes: &Homes<K, V>, chunk: usize) {
        let block = Block::new::<Node<K, V>>(chunk_size(chunk));
        homes.set(chunk, block.start().cast().as_ptr());
        keep(&mut self.chunks, chunk, block);
    }
}

/// Gives back the memory of nodes whose numbers are vacant: the whole chunk if these are all of it.
///
/// # Safety
///
/// T9: the numbers are vacant.
unsafe fn discard<K, V>(
    chunks: &mut [Option<Block>],
    homes: &Homes<K, V>,
    chunk: usize,
    numbers: Range<usize>,
) {
    if numbers.len() == chunk_size(chunk) {
        homes.forget(chunk);
        let block = chunks.get_mut(chunk).and_then(Option::take);
        if cfg!(tidewheel_loom) {
            // For models: a late look finds a dead canary, and not arbitrary memory.
            std::mem::forget(block);
        }
    } else if let Some(Some(block)) = chunks.get_mut(chunk) {
        let size = size_of::<Node<K, V>>();
        // SAFETY: T8, T9: no thread looks there.
        unsafe { block.discard(numbers.start * size..numbers.end * size) };
    }
}
