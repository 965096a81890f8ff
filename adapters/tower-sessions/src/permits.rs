//! A count that keeps a store from holding more sessions than it may.
//!
//! A permit is taken before a session is stored, and given back when the session has left the cache. The limit holds between threads because
//! the count comes before the store; the cache is not asked for its size. This file never knows a session or an id.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The permits of one store.
#[derive(Debug)]
pub(crate) struct Permits {
    max: usize,
    taken: AtomicUsize,
}

impl Permits {
    pub(crate) const fn new(max: usize) -> Self {
        Self { max, taken: AtomicUsize::new(0) }
    }

    pub(crate) const fn max(&self) -> usize {
        self.max
    }

    /// Takes a permit, if one is free.
    pub(crate) fn take(&self) -> bool {
        // ORDERING: Acquire; pairs with Release in `give_back`: who gets a permit comes after the removal that freed it.
        let taken = self.taken.fetch_update(Ordering::Acquire, Ordering::Relaxed, |taken| {
            (taken < self.max).then_some(taken + 1)
        });
        taken.is_ok()
    }

    /// Gives back the permit of a session that has left the cache.
    pub(crate) fn give_back(&self) {
        // ORDERING: Release; pairs with Acquire in `take`.
        let taken = self.taken.fetch_sub(1, Ordering::Release);
        debug_assert!(taken > 0, "a permit given back twice");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_never_get_more_permits_than_there_are() {
        let permits = Permits::new(100);
        let taken: usize = std::thread::scope(|scope| {
            let takers = [(); 4].map(|()| scope.spawn(|| (0..200).filter(|_| permits.take()).count()));
            takers.into_iter().map(|taker| taker.join().unwrap()).sum()
        });
        assert_eq!(taken, 100);
        assert!(!permits.take());
        permits.give_back();
        assert!(permits.take());
    }
}
