//! Routes: what readers need of a table, and nothing else. The routes of all tables of a cache are
//! side by side, so that it takes a mask and a load to get from a hash to a root. No cache line of
//! them holds data of writers.
//!
//! This file knows neither locks nor how many tables there should be.

use super::array::Array;
use super::bucket::Bucket;
use super::nodes::Homes;
use crate::hash::HashBits;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicPtr, Ordering};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::{NonNull, null_mut};

/// The readers' side of a table.
#[repr(C, align(256))]
pub(crate) struct Route<K, V> {
    /// The array where readers begin. A tagged address; null until there is a table.
    root: AtomicPtr<Bucket>,
    pub(super) homes: Homes<K, V>,
    of: PhantomData<(K, V)>,
}

impl<K, V> Route<K, V> {
    #[inline]
    pub(super) fn root(&self) -> Array {
        // ORDERING: Acquire; pairs with Release in `Route::set_root`: the array's contents.
        let tagged = self.root.load(Ordering::Acquire);
        // SAFETY: T1.
        let root = unsafe { Array::from_tagged(tagged) };
        // SAFETY: T1: the root always names an array.
        unsafe { root.unwrap_unchecked() }
    }

    pub(super) fn set_root(&self, array: Array) {
        // ORDERING: Release; pairs with Acquire in `Route::root`.
        self.root.store(array.tagged(), Ordering::Release);
    }
}

impl<K, V> fmt::Debug for Route<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").finish_non_exhaustive()
    }
}

/// The routes of a cache's tables: one for each shard, a power of two.
pub(crate) struct Routes<K, V> {
    /// The first route, with the right to access all of them.
    first: NonNull<Route<K, V>>,
    /// The mask for the distance of a route from the first.
    mask: usize,
    all: Arc<[Route<K, V>]>,
}

// SAFETY: T2. The address of the first route prevents the derivation of this.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Routes<K, V> {}
// SAFETY: T2. The same reason.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Routes<K, V> {}

impl<K, V> Routes<K, V> {
    /// The binary logarithm of a route's size in units of distance. The unit is a byte. (Under
    /// loom, where no size is a power of two, it is a route.)
    const UNIT_LOG2: u32 = if cfg!(tidewheel_loom) { 0 } else { size_of::<Route<K, V>>().trailing_zeros() };

    pub(crate) fn new(count: usize) -> Self {
        const { assert!(cfg!(tidewheel_loom) || size_of::<Route<K, V>>() == 1 << Self::UNIT_LOG2) };
        assert!(count.is_power_of_two());
        let route = |_| Route { root: AtomicPtr::new(null_mut()), homes: Homes::new(), of: PhantomData };
        let all: Arc<[_]> = (0..count).map(route).collect();
        Self { first: NonNull::from(&*all).cast(), mask: (count - 1) << Self::UNIT_LOG2, all }
    }

    /// Returns the route of the shard to which a hash belongs.
    #[inline]
    pub(crate) fn of(&self, hash: HashBits) -> &Route<K, V> {
        let distance = hash.shard_times(Self::UNIT_LOG2) & self.mask;
        // SAFETY: T10: the mask leaves the distances of all routes from the first, which this owns
        // and only shares.
        unsafe {
            let at =
                if cfg!(tidewheel_loom) { self.first.add(distance) } else { self.first.byte_add(distance) };
            at.as_ref()
        }
    }

    /// Returns the route for the table of a shard.
    pub(crate) fn end(&self, number: usize) -> RouteEnd<K, V> {
        RouteEnd { at: At(NonNull::from(&self.all[number])), _all: Arc::clone(&self.all) }
    }
}

impl<K, V> fmt::Debug for Routes<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").field("len", &self.all.len()).finish()
    }
}

/// The address of a route, for the parts of its table.
pub(super) struct At<K, V>(NonNull<Route<K, V>>);

impl<K, V> Clone for At<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for At<K, V> {}

impl<K, V> Deref for At<K, V> {
    type Target = Route<K, V>;

    #[inline]
    fn deref(&self) -> &Route<K, V> {
        // SAFETY: T10: the table owns it.
        unsafe { self.0.as_ref() }
    }
}

/// A table's hold on its route, which keeps the routes of the whole cache alive.
pub(crate) struct RouteEnd<K, V> {
    pub(super) at: At<K, V>,
    _all: Arc<[Route<K, V>]>,
}

impl<K, V> fmt::Debug for RouteEnd<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteEnd").finish_non_exhaustive()
    }
}
