//! A count that keeps a manager from holding more sessions than it may.
//!
//! A call that creates a session takes a permit first. The permit is given back when the session
//! leaves the cache. The limit holds between threads because the count comes before the insert; the
//! cache is not asked for its size. This file never knows a session, an id or the cache.

use crate::process::hand::InHand;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// The permits of one manager.
#[derive(Debug)]
pub(super) struct Permits {
    max: usize,
    /// Permits taken; above `max` by no more than the rotations in flight.
    taken: AtomicUsize,
    /// For each thread: the permits that it took, less those that it gave back; plus the sessions that it
    /// took out of the cache, less those that it stored there. So the sum is the number of its permits
    /// for which there is no session in the cache.
    in_hand: InHand,
}

/// A permit that is given back on drop, unless it was handed to a session by [`keep`](Self::keep).
#[derive(Debug)]
pub(super) struct Permit<'a>(&'a Permits);

impl Permits {
    pub(super) fn new(max: usize) -> Self {
        Self { max, taken: AtomicUsize::new(0), in_hand: InHand::new() }
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// What the cache notes sessions in that come and go.
    pub(super) fn in_hand(&self) -> InHand {
        self.in_hand
    }

    /// In the child of a fork: the permits are those of the sessions in the cache, and those that
    /// the forking thread has in hand.
    pub(super) fn inherit(&self, sessions: usize) {
        let taken = sessions.saturating_add_signed(self.in_hand.own());
        // ORDERING: Relaxed; this process has one thread.
        self.taken.store(taken, Ordering::Relaxed);
    }

    pub(super) fn taken(&self) -> usize {
        // ORDERING: Relaxed; a number to look at, nothing is read on the strength of it.
        self.taken.load(Ordering::Relaxed)
    }

    /// A permit, if one is free.
    pub(super) fn take(&self) -> Option<Permit<'_>> {
        // ORDERING: Acquire; pairs with Release in `give_back`: whoever gets a permit comes after the
        // removal that freed it.
        self.taken
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |taken| {
                (taken < self.max).then_some(taken + 1)
            })
            .ok()
            .map(|_| self.permit())
    }

    /// A permit, free or not: for a session that is about to give its own back.
    pub(super) fn take_regardless(&self) -> Permit<'_> {
        // ORDERING: Acquire; as in `take`.
        self.taken.fetch_add(1, Ordering::Acquire);
        self.permit()
    }

    /// One that was just taken.
    fn permit(&self) -> Permit<'_> {
        self.in_hand.note(1);
        Permit(self)
    }

    /// Gives back the permit of a session that has left the cache.
    pub(super) fn give_back(&self) {
        // ORDERING: Release; pairs with Acquire in `take`.
        let taken = self.taken.fetch_sub(1, Ordering::Release);
        debug_assert!(taken > 0, "a permit given back twice");
        self.in_hand.note(-1);
    }
}

impl Permit<'_> {
    /// The permit is a session's from now on; the removal of the session gives it back.
    pub(super) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_permit_is_given_back_unless_it_is_kept() {
        let permits = Permits::new(2);
        permits.take().unwrap().keep();
        let second = permits.take().unwrap();
        assert!(permits.take().is_none());
        drop(second);
        assert_eq!(permits.taken(), 1);
        permits.take().unwrap().keep();
        assert!(permits.take().is_none());
        permits.give_back();
        assert!(permits.take().is_some());
    }

    #[test]
    fn a_rotation_goes_over_the_limit_and_lets_nobody_else_in() {
        let permits = Permits::new(1);
        permits.take().unwrap().keep();
        permits.take_regardless().keep();
        assert_eq!(permits.taken(), 2);
        assert!(permits.take().is_none());
        permits.give_back();
        assert!(permits.take().is_none());
    }

    #[test]
    fn threads_never_get_more_seats_than_there_are() {
        let permits = Permits::new(100);
        let taken: usize = std::thread::scope(|scope| {
            let takers = [(); 4].map(|()| {
                scope.spawn(|| (0..200).filter(|_| permits.take().map(Permit::keep).is_some()).count())
            });
            takers.into_iter().map(|taker| taker.join().unwrap()).sum()
        });
        assert_eq!((taken, permits.taken()), (100, 100));
    }
}
