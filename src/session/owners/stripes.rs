//! A structure in parts, each under a lock of its own, chosen by a hash.
//!
//! Never knows what lies in them.

use crate::sync::{CachePadded, Mutex, MutexGuard};

/// So many that threads seldom meet at one.
const STRIPES: usize = if cfg!(tidewheel_loom) { 1 } else { 64 };

pub(super) struct Stripes<T>(Box<[CachePadded<Mutex<T>>]>);

impl<T> Stripes<T> {
    pub(super) fn new(make: impl Fn() -> T) -> Self {
        Self((0..STRIPES).map(|_| CachePadded::new(Mutex::new(make()))).collect())
    }

    pub(super) fn lock(&self, hash: u64) -> MutexGuard<'_, T> {
        // Not the lowest bits, and not the highest: the maps in the parts use those.
        self.number((hash >> 32) as usize % self.0.len()).lock()
    }

    pub(super) fn number(&self, number: usize) -> &Mutex<T> {
        &self.0[number]
    }

    pub(super) fn numbers() -> std::ops::Range<usize> {
        0..STRIPES
    }

    /// The sum of a figure over all parts, one after the other.
    pub(super) fn sum(&self, figure: impl Fn(&T) -> usize) -> usize {
        self.0.iter().map(|stripe| figure(&stripe.lock())).sum()
    }
}
