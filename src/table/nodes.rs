//! Where nodes are: in chunks that never move, addressed by numbers of their own.
//!
//! Readers have [`Homes`]: where each chunk is. Writers have [`Nodes`], which owns the chunks, and knows which numbers are
//! taken. A node's number has nothing to do with that of its entry's row: the row stays when a node takes another's place.

use super::memory::{Block, keep};
use super::node::{Filed, Node};
use crate::rows::{CHUNKS, Numbers, RowId, chunk_size};
use crate::sync::atomic::{AtomicPtr, Ordering};
use crate::time::Deadline;
use std::ops::Range;
use std::ptr::without_provenance_mut;

/// A node's number as a slot holds it, and as whoever looks for a node takes it: with its highest bit set. (Numbers are made as those
/// of rows are.)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Named(u32);

impl Named {
    const MARK: u32 = 1 << 31;

    #[inline]
    pub(super) fn of(number: RowId) -> Self {
        Self(number.index() | Self::MARK)
    }

    /// What a slot holds, unless that is nothing.
    #[inline]
    pub(super) fn from_bits(bits: u32) -> Option<Self> {
        (bits & Self::MARK != 0).then_some(Self(bits))
    }

    #[inline]
    pub(super) fn bits(self) -> u32 {
        self.0
    }

    /// The same from what `bits` gave.
    #[inline]
    pub(super) const fn again(bits: u32) -> Self {
        debug_assert!(bits & Self::MARK != 0);
        Self(bits)
    }

    /// Without the mark.
    #[inline]
    fn number(self) -> RowId {
        RowId::from_index(self.0 & !Self::MARK)
    }

    /// In one step, where the mark is known to be there.
    #[inline]
    pub(crate) fn chunk(self) -> usize {
        RowId::from_index(self.0).chunk() - RowId::from_index(Self::MARK).chunk()
    }

    /// The place in the chunk.
    #[inline]
    pub(crate) fn offset(self) -> usize {
        self.number().offset()
    }
}

/// The chunks for readers: for each the address where the node of number 0 would be, if it was of this chunk. So a
/// number is all that it takes to get from there to a node of the chunk, without taking it apart.
pub(super) struct Homes<K, V>([AtomicPtr<Node<K, V>>; NAMES]);

/// As many as fit beside the root, and as many chunks as there can be.
const NAMES: usize = 31;

/// No chunk. No chunk has this address, which is odd.
fn nowhere<T>() -> *mut T {
    without_provenance_mut(1)
}

impl<K, V> Homes<K, V> {
    pub(super) fn new() -> Self {
        const { assert!(CHUNKS <= NAMES && align_of::<Node<K, V>>() > 1) };
        Self(std::array::from_fn(|_| AtomicPtr::new(nowhere())))
    }

    /// What there is of a chunk that a node's number names.
    #[inline]
    fn zeroth(&self, named: Named) -> *mut Node<K, V> {
        debug_assert!(named.chunk() < CHUNKS);
        // SAFETY: T9: no number names another chunk.
        let zeroth = unsafe { self.0.get_unchecked(named.chunk()) };
        // ORDERING: Relaxed; whoever has a node's number from a bucket, or has the lock, sees what was stored here
        // before it got there (Release in `Bucket::set_named`, Acquire in `Bucket::named`). It changes only while no
        // number of the chunk is taken.
        zeroth.load(Ordering::Relaxed)
    }

    /// The address of a node whose chunk is there (T9).
    #[inline]
    pub(super) fn named(&self, named: Named) -> *mut Node<K, V> {
        self.zeroth(named).wrapping_add(named.bits() as usize)
    }

    /// The number of a node that is in one of the chunks: of one that a reader who is still pinned has found.
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

    /// For the writer, who alone stores it.
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

/// The chunks themselves, for writers, and which numbers are taken.
pub(super) struct Nodes<K, V> {
    numbers: Numbers,
    /// Of as many chunks as there have been.
    chunks: Vec<Option<Block>>,
    of: std::marker::PhantomData<Node<K, V>>,
}

impl<K, V> Nodes<K, V> {
    pub(super) fn new() -> Self {
        Self { numbers: Numbers::new(), chunks: Vec::new(), of: std::marker::PhantomData }
    }

    /// A number that nothing is under. `None` if there is none left (2^27 are in use).
    #[inline]
    pub(super) fn take(&mut self) -> Option<Named> {
        self.numbers.take().or_else(|| self.gather()).map(Named::of)
    }

    #[cold]
    fn gather(&mut self) -> Option<RowId> {
        self.numbers.gather();
        self.numbers.take()
    }

    /// The number that the next node will probably have.
    #[inline]
    pub(super) fn next(&self) -> Option<Named> {
        self.numbers.next().map(Named::of)
    }

    /// There is no node under this number any more (T9).
    #[inline]
    pub(super) fn vacate(&mut self, named: Named) {
        self.numbers.give(named.number());
    }

    /// Whether `trim` would give much back.
    pub(super) fn is_sparse(&self) -> bool {
        self.numbers.is_sparse()
    }

    /// Gives memory back, of so many numbers at a time, as far as they are vacant. False when there is no more to give.
    pub(super) fn trim(&mut self, homes: &Homes<K, V>, most: usize) -> bool {
        let Self { numbers, chunks, .. } = self;
        numbers.trim(most, |chunk, stretch| {
            // SAFETY: T9: of these numbers none is taken.
            unsafe { discard::<K, V>(chunks, homes, chunk, stretch) };
        })
    }

    /// Puts a node where its number says.
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
        // SAFETY: T9: within a chunk that is there, and nobody looks at it.
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

/// Gives memory back of nodes whose numbers are vacant: the chunk itself if that is all of it.
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
            // For models: a late look finds a dead canary, and not just any memory.
            std::mem::forget(block);
        }
    } else if let Some(Some(block)) = chunks.get_mut(chunk) {
        let size = size_of::<Node<K, V>>();
        // SAFETY: T8, T9: nobody looks there.
        unsafe { block.discard(numbers.start * size..numbers.end * size) };
    }
}
