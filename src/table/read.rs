//! How a reader finds a node: pinned, without a lock, and without a store, but for hits that a policy wants counted.
//!
//! Knows no clock: whether the entry is alive is the caller's question to the node.

use super::bucket::Bucket;
use super::epoch::Pin;
use super::nodes::Named;
use super::{Node, Route};
use crate::hash::HashBits;
use equivalent::Equivalent;
use std::num::NonZeroU8;

/// Whether a stored key is the one that is looked for. Not a closure at each call, which would be a type of its own each time: so
/// look-ups of a key's type are compiled once for all of them.
#[inline]
pub(crate) fn same_as<Q, K>(key: &Q) -> impl Fn(&K) -> bool + Copy
where
    Q: ?Sized + Equivalent<K>,
{
    move |other| key.equivalent(other)
}

/// What a first look finds.
pub(crate) enum Look<'g, K, V> {
    Here(&'g Node<K, V>),
    /// The key is not in the table.
    Nowhere,
    /// It may be anywhere.
    Unclear,
}

impl<K, V> Route<K, V> {
    /// A first look, which is all that nearly every look-up takes: at the key's home bucket, and there at the first slot
    /// that carries its tag. It is compiled into the caller, and keeps nothing for one that goes on: who has to, begins anew.
    /// If it `counts`, what is found was hit once more.
    #[inline(always)]
    pub(crate) fn look<'g>(
        &'g self,
        hash: HashBits,
        is_key: impl Fn(&K) -> bool,
        counts: bool,
        _pin: &'g Pin,
    ) -> Look<'g, K, V> {
        // SAFETY: T1: we are pinned since before we loaded the array's address.
        let bucket = unsafe { self.root().first_of(hash.home()) };
        match bucket.matches(hash.tag()).next() {
            Some(slot) => {
                let Some(named) = bucket.named(slot) else { return Look::Unclear };
                let node = self.node_of(named);
                if !is_key(node.key()) {
                    return Look::Unclear;
                }
                if counts {
                    bucket.count_hit(slot);
                }
                Look::Here(node)
            }
            None if bucket.meta().is_the_end() => Look::Nowhere,
            None => Look::Unclear,
        }
    }

    /// The node of a key, if there is one. Each look-up begins at the root; a pin remembers no array. If it `counts`,
    /// what is found was hit once more.
    #[inline]
    pub(crate) fn find<'g>(
        &'g self,
        hash: HashBits,
        is_key: impl Fn(&K) -> bool,
        counts: bool,
        pin: &'g Pin,
    ) -> Option<&'g Node<K, V>> {
        match self.look(hash, &is_key, counts, pin) {
            Look::Here(node) => Some(node),
            Look::Nowhere => None,
            Look::Unclear => self.find_further(hash, is_key, counts),
        }
    }

    /// As `find`, after a first look that has found nothing out.
    #[inline]
    pub(crate) fn find_after_all<'g>(
        &'g self,
        hash: HashBits,
        is_key: impl Fn(&K) -> bool,
        counts: bool,
        _pin: &'g Pin,
    ) -> Option<&'g Node<K, V>> {
        self.find_further(hash, is_key, counts)
    }

    /// The number of a node that was found under this pin.
    pub(crate) fn number(&self, node: &Node<K, V>, _pin: &Pin) -> Option<Named> {
        self.homes.number(node)
    }

    /// Has the bucket where a look-up begins prefetched.
    #[inline]
    pub(crate) fn prefetch_bucket(&self, hash: HashBits) {
        self.root().prefetch(self.root().start(hash.home()));
    }

    /// Has the node prefetched that a look-up looks at first.
    #[inline]
    pub(crate) fn prefetch_first(&self, hash: HashBits, _pin: &Pin) {
        // SAFETY: T1: we are pinned since before we loaded the array's address.
        let bucket = unsafe { self.root().first_of(hash.home()) };
        if let Some(named) = bucket.matches(hash.tag()).next().and_then(|slot| bucket.named(slot)) {
            super::memory::prefetch(self.homes.named(named));
        }
    }

    /// The whole way: along the buckets that entries of this home have passed, array by array. The caller is
    /// pinned.
    #[cold]
    #[inline(never)]
    fn find_further(&self, hash: HashBits, is_key: impl Fn(&K) -> bool, counts: bool) -> Option<&Node<K, V>> {
        let tag = hash.tag();
        let mut array = self.root();
        loop {
            let mut moved = false;
            for step in 0..array.buckets() {
                // SAFETY: T1: we are pinned since before we loaded the array's address.
                let bucket = unsafe { array.bucket(array.way(hash.home(), step)) };
                if let Some(node) = self.find_here(bucket, tag, &is_key, counts) {
                    return Some(node);
                }
                // Only now: had its entries moved when we looked at its tags, then its mark is there.
                let meta = bucket.meta();
                moved |= meta.is_moved();
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

    /// The node of a key in a bucket, if it was there; none is in one that has moved.
    fn find_here(
        &self,
        bucket: &Bucket,
        tag: NonZeroU8,
        is_key: impl Fn(&K) -> bool,
        counts: bool,
    ) -> Option<&Node<K, V>> {
        bucket.matches(tag).find_map(|slot| {
            let node = self.node_of(bucket.named(slot)?);
            if !is_key(node.key()) {
                return None;
            }
            if counts {
                bucket.count_hit(slot);
            }
            Some(node)
        })
    }

    /// The node of a number, from a slot whose tag was the right one.
    ///
    /// That slot may have been emptied and filled again since we saw its tag. Whatever node is there now, whoever looks
    /// next finds it: its tag was there before it. (If none is, the key was out of the table at some moment of this
    /// look-up, so not to find it is right.)
    #[inline(always)]
    fn node_of(&self, named: Named) -> &Node<K, V> {
        // SAFETY: T5: a number in a slot is that of a node. T3: the caller is pinned.
        let node = unsafe { &*self.homes.named(named) };
        node.canary.look();
        node
    }
}
