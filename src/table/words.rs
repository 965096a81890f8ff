//! Words: for each node an atomic number, which readers reach without a lock.
//!
//! A word is found by its node's number, in chunks of the same sizes as those of the nodes. All
//! words begin as zeros. A chunk stays where it is until the words are dropped, because a thread may
//! look at the word of a node that is gone. (It means nothing then.) But the pages of the words of
//! vacant numbers are given back. Such a word then reads as before, or as zero. This file does not
//! know what a word means.

use super::memory::{Block, discard_shared, layout_of};
use super::nodes::Named;
use crate::rows::{CHUNKS, chunk_size};
use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::ops::Range;
use std::ptr::NonNull;

/// The words, by chunk. The address of a chunk is null until it is needed.
pub(crate) struct Words([AtomicPtr<AtomicU64>; CHUNKS]);

impl Words {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicPtr::new(std::ptr::null_mut())))
    }

    /// Returns the words of a chunk, if they exist.
    #[inline]
    fn chunk(&self, chunk: usize) -> Option<&[AtomicU64]> {
        // ORDERING: Relaxed; a thread that has a node's number from a bucket, or that has the lock,
        // sees what was stored here before (Release in `Bucket::set_named`, Acquire in
        // `Bucket::named`).
        let first = NonNull::new(self.0[chunk].load(Ordering::Relaxed))?;
        // SAFETY: T8: a block of this many words, which belongs to `self`.
        Some(unsafe { std::slice::from_raw_parts(first.as_ptr(), chunk_size(chunk)) })
    }

    /// Returns a node's word, if words of its chunk exist.
    #[inline]
    pub(crate) fn get(&self, named: Named) -> Option<&AtomicU64> {
        self.chunk(named.chunk())?.get(named.offset())
    }

    /// For the writer, which alone has chunks made: returns a node's word. It comes before the node
    /// can be found.
    #[inline]
    pub(crate) fn get_or_make(&self, named: Named) -> &AtomicU64 {
        let chunk = named.chunk();
        &self.chunk(chunk).unwrap_or_else(|| self.make(chunk))[named.offset()]
    }

    #[cold]
    fn make(&self, chunk: usize) -> &[AtomicU64] {
        let (start, _) = Block::zeroed::<AtomicU64>(chunk_size(chunk)).leave();
        let first = start.cast::<AtomicU64>();
        #[cfg(tidewheel_loom)]
        for index in 0..chunk_size(chunk) {
            // SAFETY: T8: within the block, which no other thread knows yet.
            unsafe { first.add(index).write(AtomicU64::new(0)) };
        }
        // ORDERING: Relaxed; see `chunk`.
        self.0[chunk].store(first.as_ptr(), Ordering::Relaxed);
        self.chunk(chunk).expect("it was just stored")
    }

    /// Returns all words that exist.
    pub(crate) fn all(&self) -> impl Iterator<Item = &AtomicU64> {
        (0..CHUNKS).filter_map(|chunk| self.chunk(chunk)).flatten()
    }

    /// For the writer: gives back the pages of the words of vacant numbers.
    pub(crate) fn discard(&self, chunk: usize, numbers: Range<usize>) {
        if let Some(words) = self.chunk(chunk) {
            // SAFETY: T8: these words mean nothing, and have any value afterwards.
            unsafe { discard_shared(&words[numbers], words.len()) };
        }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        for (chunk, first) in self.0.iter_mut().enumerate() {
            // ORDERING: Relaxed; nobody else has the words any more.
            if let Some(first) = NonNull::new(first.load(Ordering::Relaxed)) {
                let layout = layout_of::<AtomicU64>(chunk_size(chunk)).expect("there is such a block");
                // SAFETY: T8: left by `make`, with this layout. Atomics need no drop.
                drop(unsafe { Block::reclaim(first.cast(), layout) });
            }
        }
    }
}
