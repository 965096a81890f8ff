//! How a reader finds a node: pinned, without a lock, and without a store, but for hits that a policy wants counted.
//!
//! Knows no clock: whether the entry is alive is the caller's question to the node.

use super::bucket::{Bucket, Meta, Slot};
use super::epoch::Pin;
use super::{Node, Table};
use crate::hash::HashBits;
use crate::rows::RowId;
use equivalent::Equivalent;

/// Whether a stored key is the one that is looked for. Not a closure at each call, which would be a type of its own each time: so
/// look-ups of a key's type are compiled once for all of them.
#[inline]
pub(crate) fn same_as<Q, K>(key: &Q) -> impl Fn(&K) -> bool + Copy
where
    Q: ?Sized + Equivalent<K>,
{
    move |other| key.equivalent(other)
}

impl<K, V, L> Table<K, V, L> {
    /// The node of a key, if there is one.
    ///
    /// Each look-up begins at the root; a pin remembers no array. Most end in the key's home bucket, so that
    /// much is compiled into the caller. With `COUNT`, what is found was hit once more.
    #[inline(always)]
    pub(crate) fn find<'g, const COUNT: bool>(
        &'g self,
        hash: HashBits,
        is_key: impl Fn(&K) -> bool,
        _pin: &'g Pin,
    ) -> Option<&'g Node<K, V>> {
        // SAFETY: T1: we are pinned since before we loaded the array's address.
        let bucket = unsafe { self.root().bucket(hash.home() as usize) };
        let meta = bucket.meta();
        if !meta.is_moved() {
            match bucket.matches(meta, hash.tag()).next() {
                // The first that matches is nearly always the one.
                Some(slot) => {
                    if let Some(node) = self.find_at::<COUNT>(bucket, slot, hash.tag(), &is_key) {
                        return Some(node);
                    }
                }
                None if !meta.has_overflow() => return None,
                None => {}
            }
        }
        self.find_further::<COUNT>(hash, is_key)
    }

    /// The number of a node that was found under this pin.
    pub(crate) fn number(&self, node: &Node<K, V>, _pin: &Pin) -> Option<RowId> {
        self.homes.number(node)
    }

    /// Has the bucket where a look-up begins brought near.
    #[inline]
    pub(crate) fn fetch_bucket(&self, hash: HashBits) {
        self.root().fetch(hash.home() as usize);
    }

    /// Has the node brought near that a look-up looks at first.
    #[inline]
    pub(crate) fn fetch_first(&self, hash: HashBits, _pin: &Pin) {
        // SAFETY: T1: we are pinned since before we loaded the array's address.
        let bucket = unsafe { self.root().bucket(hash.home() as usize) };
        if let Some(slot) = bucket.matches(bucket.meta(), hash.tag()).next() {
            super::memory::fetch(self.homes.node(bucket.row(slot)));
        }
    }

    /// The whole way: along the buckets that entries of this home have passed, array by array. The caller is
    /// pinned.
    #[cold]
    #[inline(never)]
    fn find_further<const COUNT: bool>(
        &self,
        hash: HashBits,
        is_key: impl Fn(&K) -> bool,
    ) -> Option<&Node<K, V>> {
        let (tag, home) = (hash.tag(), hash.home() as usize);
        let mut array = self.root();
        loop {
            let mut moved = false;
            for step in 0..array.buckets() {
                // SAFETY: T1: we are pinned since before we loaded the array's address.
                let bucket = unsafe { array.bucket(home.wrapping_add(step)) };
                let meta = bucket.meta();
                if meta.is_moved() {
                    // What its slots still name may have been unlinked in the next array (T3).
                    moved = true;
                } else if let Some(node) = self.find_here::<COUNT>(bucket, meta, tag, &is_key) {
                    return Some(node);
                }
                if !meta.has_overflow() {
                    break;
                }
            }
            if !moved {
                return None;
            }
            // SAFETY: T1: we are still pinned.
            array = unsafe { array.next() }?;
        }
    }

    /// The node of a key in a bucket that has not moved, as far as its first word said.
    fn find_here<const COUNT: bool>(
        &self,
        bucket: &Bucket,
        meta: Meta,
        tag: u8,
        is_key: impl Fn(&K) -> bool,
    ) -> Option<&Node<K, V>> {
        bucket.matches(meta, tag).find_map(|slot| self.find_at::<COUNT>(bucket, slot, tag, &is_key))
    }

    /// The node in a slot that carries the tag, if it is the key's.
    #[inline(always)]
    fn find_at<const COUNT: bool>(
        &self,
        bucket: &Bucket,
        slot: Slot,
        tag: u8,
        is_key: impl Fn(&K) -> bool,
    ) -> Option<&Node<K, V>> {
        // SAFETY: T5: the tag was there, so the row has a node. T3: the caller is pinned.
        let node = unsafe { &*self.homes.node(bucket.row(slot)) };
        node.canary.look();
        // The slot may have been cleared and filled again since we saw its tag, with a node whose own tag is
        // not there yet: whoever looks next could miss what we return. So the tag must be there still, or
        // again. (If it is not, the key was out of the table at some moment of this look-up, so not to find it
        // is right.)
        if !is_key(node.key()) || bucket.tag(slot) != tag {
            return None;
        }
        if COUNT {
            bucket.count_hit(slot);
        }
        Some(node)
    }
}
