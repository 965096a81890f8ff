//! A count that keeps a store from holding more sessions than it may.
//!
//! A seat is taken before a session is stored, and given back when it has left the cache. Counted before the store instead of asking
//! the cache for its size: that is what makes the limit hold between threads. It never knows a session or an id.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The seats of one store.
#[derive(Debug)]
pub(crate) struct Seats {
    max: usize,
    taken: AtomicUsize,
}

impl Seats {
    pub(crate) const fn new(max: usize) -> Self {
        Self { max, taken: AtomicUsize::new(0) }
    }

    pub(crate) const fn max(&self) -> usize {
        self.max
    }

    /// Takes a seat, if one is free.
    pub(crate) fn take(&self) -> bool {
        // ORDERING: Acquire; pairs with Release in `give_back`: who gets a seat comes after the removal that freed it.
        let taken = self.taken.fetch_update(Ordering::Acquire, Ordering::Relaxed, |taken| {
            (taken < self.max).then_some(taken + 1)
        });
        taken.is_ok()
    }

    /// Gives back the seat of a session that has left the cache.
    pub(crate) fn give_back(&self) {
        // ORDERING: Release; pairs with Acquire in `take`.
        let taken = self.taken.fetch_sub(1, Ordering::Release);
        debug_assert!(taken > 0, "a seat given back twice");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_never_get_more_seats_than_there_are() {
        let seats = Seats::new(100);
        let taken: usize = std::thread::scope(|scope| {
            let takers = [(); 4].map(|()| scope.spawn(|| (0..200).filter(|_| seats.take()).count()));
            takers.into_iter().map(|taker| taker.join().unwrap()).sum()
        });
        assert_eq!(taken, 100);
        assert!(!seats.take());
        seats.give_back();
        assert!(seats.take());
    }
}
