//! How a reader finds a node: pinned, without a lock, and without a store except for hits that a
//! policy counts.
//!
//! This file knows no clock: the caller asks the node whether the entry is alive.

use super::bucket::Bucket;
use super::epoch::Pin;
use super::nodes::Named;
use super::{Node, Route};
use crate::hash::HashBits;
use equivalent::Equivalent;
use std::num::NonZeroU8;

/// Returns a closure that compares a stored key with `key`. Each closure at a call site would be a
/// type of its own. With this function, lookups by one type of key are compiled once.
#[inline]
pub(crate) fn same_as<Q, K>(key: &Q) -> impl Fn(&K) -> bool + Copy
where
    Q: ?Sized + Equivalent<K>,
{
    move |other| key.equivalent(other)
}

/// The result of a first look.
pub(crate) enum Look<'g, K, V> {
    Here(&'g Node<K, V>),
    /// The key is not in the table.
    Nowhere,
    /// The key may or may not be in the table.
    Unclear,
}

impl<K, V> Route<K, V> {
    /// Makes a first look, which suffices for nearly every lookup: at the first slot in the key's
    /// home bucket that carries its tag. It is compiled into the caller, and keeps no state: a
    /// caller that has to look further begins anew. With `counts`, counts a hit of what it finds.
    #[inline(always)]
    pub(crate) fn look<'g>(
        &'g self,
        hash: HashBits,
        is_key: impl Fn(&K) -> bool,
        counts: bool,
        _pin: &'g Pin,
    ) -> Look<'g, K, V> {
        // SAFETY: T1: this thread was pinned before it loaded the array's address.
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

    /// Returns the node of a key, if there is one. Each lookup begins at the root; a pin remembers
    /// no array. With `counts`, counts a hit of what it finds.
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

    /// Does the same as `find`, after a first look that was unclear.
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

    /// Returns the number of a node that was found under this pin.
    pub(crate) fn number(&self, node: &Node<K, V>, _pin: &Pin) -> Option<Named> {
        self.homes.number(node)
    }

    /// Prefetches the bucket where a lookup begins.
    #[inline]
    pub(crate) fn prefetch_bucket(&self, hash: HashBits) {
        self.root().prefetch(hash.home());
    }

    /// Prefetches the node at which a lookup looks first.
    #[inline]
    pub(crate) fn prefetch_first(&self, hash: HashBits, _pin: &Pin) {
        // SAFETY: T1: this thread was pinned before it loaded the array's address.
        let bucket = unsafe { self.root().first_of(hash.home()) };
        if let Some(named) = bucket.matches(hash.tag()).next().and_then(|slot| bucket.named(slot)) {
            super::memory::prefetch(self.homes.named(named));
        }
    }

    /// Searches the whole way: along the buckets that entries of this home have passed, array by
    /// array. The caller must be pinned.
    #[cold]
    #[inline(never)]
    fn find_further(&self, hash: HashBits, is_key: impl Fn(&K) -> bool, counts: bool) -> Option<&Node<K, V>> {
        let tag = hash.tag();
        let mut array = self.root();
        loop {
            let mut moved = false;
            for step in 0..array.buckets() {
                // SAFETY: T1: this thread was pinned before it loaded the array's address.
                let bucket = unsafe { array.bucket(array.way(hash.home(), step)) };
                if let Some(node) = self.find_here(bucket, tag, &is_key, counts) {
                    return Some(node);
                }
                // The mark is loaded only after the tags: if the entries had moved when the tags
                // were loaded, the mark is visible now.
                let meta = bucket.meta();
                moved |= meta.is_moved();
                if !meta.has_overflow() {
                    break;
                }
            }
            if !moved {
                return None;
            }
            // SAFETY: T1: this thread is still pinned.
            array = unsafe { array.next() }?;
        }
    }

    /// Returns the node of a key in a bucket, if it is there. A bucket that has moved has none.
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

    /// Returns the node of a number, from a slot that carried the searched tag.
    ///
    /// The slot may have been emptied and filled again since the tag was seen. A lookup that
    /// follows finds the node that is there now: its tag was stored before it. (If there is none,
    /// the key was out of the table at some moment of this lookup, so it is right not to find it.)
    #[inline(always)]
    fn node_of(&self, named: Named) -> &Node<K, V> {
        // SAFETY: T5: a number in a slot is that of a node. T3: the caller is pinned.
        let node = unsafe { &*self.homes.named(named) };
        node.canary.look();
        node
    }
}
