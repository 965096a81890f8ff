//! What readers need of a table, and nothing else: of all tables of a cache side by side, so that from a hash to a root
//! it is a mask and a load, and no line of it is ever a writer's.
//!
//! Knows neither locks nor how many tables there should be.

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

/// The routes of a cache's tables: as many as there are shards, a power of two.
pub(crate) struct Routes<K, V> {
    /// The first of them, with a right to all.
    first: NonNull<Route<K, V>>,
    /// Of the distance of one from the first.
    mask: usize,
    all: Arc<[Route<K, V>]>,
}

// SAFETY: T2. The address of the first is what keeps this from being derived.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Routes<K, V> {}
// SAFETY: T2, as above.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Routes<K, V> {}

impl<K, V> Routes<K, V> {
    /// The unit of distances: a byte. (Under loom, where no size is a power of two, a route.)
    const UNIT_LOG2: u32 = if cfg!(tidewheel_loom) { 0 } else { size_of::<Route<K, V>>().trailing_zeros() };

    pub(crate) fn new(count: usize) -> Self {
        const { assert!(cfg!(tidewheel_loom) || size_of::<Route<K, V>>() == 1 << Self::UNIT_LOG2) };
        assert!(count.is_power_of_two());
        let route = |_| Route { root: AtomicPtr::new(null_mut()), homes: Homes::new(), of: PhantomData };
        let all: Arc<[_]> = (0..count).map(route).collect();
        Self { first: NonNull::from(&*all).cast(), mask: (count - 1) << Self::UNIT_LOG2, all }
    }

    /// That of the shard to which a hash belongs.
    #[inline]
    pub(crate) fn of(&self, hash: HashBits) -> &Route<K, V> {
        let distance = hash.shard_times(Self::UNIT_LOG2) & self.mask;
        // SAFETY: T10: the mask leaves the distances of all routes from the first, which we own and share alone.
        unsafe {
            let at =
                if cfg!(tidewheel_loom) { self.first.add(distance) } else { self.first.byte_add(distance) };
            at.as_ref()
        }
    }

    /// For the table of a shard.
    pub(crate) fn end(&self, number: usize) -> RouteEnd<K, V> {
        RouteEnd { at: At(NonNull::from(&self.all[number])), _all: Arc::clone(&self.all) }
    }
}

impl<K, V> fmt::Debug for Routes<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").field("len", &self.all.len()).finish()
    }
}

/// Where a route is. For whoever belongs to its table.
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

/// A route as its table has it.
pub(crate) struct RouteEnd<K, V> {
    pub(super) at: At<K, V>,
    _all: Arc<[Route<K, V>]>,
}

impl<K, V> fmt::Debug for RouteEnd<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteEnd").finish_non_exhaustive()
    }
}
