//! A count that keeps a manager from holding more sessions than it may.
//!
//! Who wants to create a session takes a seat first; the seat is given back when the session leaves
//! the cache. Counting before the insert instead of asking the cache for its size is what makes the
//! limit hold between threads. It never knows a session, an id or the cache.

use crate::sync::atomic::{AtomicUsize, Ordering};

/// The seats of one manager.
#[derive(Debug)]
pub(super) struct Seats {
    max: usize,
    /// Seats taken; above `max` by no more than the rotations in flight.
    taken: AtomicUsize,
}

/// A seat that is given back on drop, unless it was handed to a session by [`keep`](Self::keep).
#[derive(Debug)]
pub(super) struct Seat<'a>(&'a Seats);

impl Seats {
    pub(super) fn new(max: usize) -> Self {
        Self { max, taken: AtomicUsize::new(0) }
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    pub(super) fn taken(&self) -> usize {
        // ORDERING: Relaxed; a number to look at, nothing is read on the strength of it.
        self.taken.load(Ordering::Relaxed)
    }

    /// A seat, if one is free.
    pub(super) fn take(&self) -> Option<Seat<'_>> {
        // ORDERING: Acquire; pairs with Release in `give_back`: whoever gets a seat comes after the
        // removal that freed it.
        self.taken
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |taken| {
                (taken < self.max).then_some(taken + 1)
            })
            .ok()
            .map(|_| Seat(self))
    }

    /// A seat, free or not: for a session that is about to give its own back.
    pub(super) fn take_regardless(&self) -> Seat<'_> {
        // ORDERING: Acquire; as in `take`.
        self.taken.fetch_add(1, Ordering::Acquire);
        Seat(self)
    }

    /// Gives back the seat of a session that has left the cache.
    pub(super) fn give_back(&self) {
        // ORDERING: Release; pairs with Acquire in `take`.
        let taken = self.taken.fetch_sub(1, Ordering::Release);
        debug_assert!(taken > 0, "a seat given back twice");
    }
}

impl Seat<'_> {
    /// The seat is a session's from now on; the removal of the session gives it back.
    pub(super) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_given_back_unless_it_is_kept() {
        let seats = Seats::new(2);
        seats.take().unwrap().keep();
        let second = seats.take().unwrap();
        assert!(seats.take().is_none());
        drop(second);
        assert_eq!(seats.taken(), 1);
        seats.take().unwrap().keep();
        assert!(seats.take().is_none());
        seats.give_back();
        assert!(seats.take().is_some());
    }

    #[test]
    fn a_rotation_goes_over_the_limit_and_lets_nobody_else_in() {
        let seats = Seats::new(1);
        seats.take().unwrap().keep();
        seats.take_regardless().keep();
        assert_eq!(seats.taken(), 2);
        assert!(seats.take().is_none());
        seats.give_back();
        assert!(seats.take().is_none());
    }

    #[test]
    fn threads_never_get_more_seats_than_there_are() {
        let seats = Seats::new(100);
        let taken: usize = std::thread::scope(|scope| {
            let takers = [(); 4].map(|()| {
                scope.spawn(|| (0..200).filter(|_| seats.take().map(Seat::keep).is_some()).count())
            });
            takers.into_iter().map(|taker| taker.join().unwrap()).sum()
        });
        assert_eq!((taken, seats.taken()), (100, 100));
    }
}
