//! The place of an entry, for a writer. This file does not know how a place is found.

use super::bucket::{Bucket, Slot};
use super::node::Node;
use std::ptr::NonNull;

/// The place of an entry, valid until the next change. It has two words, so that it is passed in
/// registers.
pub(crate) struct Place<K, V> {
    /// The node that the slot names.
    pub(super) node: NonNull<Node<K, V>>,
    /// The bucket. The bits that its alignment leaves free are the slot and `NEXT`.
    at: NonNull<Bucket>,
}

impl<K, V> Clone for Place<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Place<K, V> {}

impl<K, V> Place<K, V> {
    /// Bits of a slot.
    const SLOT: usize = 0xF;
    /// The bucket belongs to the next array.
    const NEXT: usize = 1 << 4;
    const TAG: usize = Self::SLOT | Self::NEXT;

    #[inline]
    pub(super) fn new(in_next: bool, bucket: &Bucket, slot: Slot, node: NonNull<Node<K, V>>) -> Self {
        const { assert!(Self::TAG < align_of::<Bucket>()) };
        let tag = slot.bits() as usize | if in_next { Self::NEXT } else { 0 };
        Self { node, at: NonNull::from(bucket).map_addr(|addr| addr | tag) }
    }

    #[inline]
    pub(super) fn slot(self) -> Slot {
        Slot::again((self.at.addr().get() & Self::SLOT) as u32)
    }

    #[inline]
    pub(super) fn in_next(self) -> bool {
        self.at.addr().get() & Self::NEXT != 0
    }

    /// The bucket.
    ///
    /// # Safety
    ///
    /// T1: its array outlives `'a`.
    #[inline]
    pub(super) unsafe fn bucket<'a>(self) -> &'a Bucket {
        let at = self.at.as_ptr().map_addr(|addr| addr & !Self::TAG);
        // SAFETY: T1. Buckets are only ever changed through atomics.
        unsafe { &*at }
    }
}
