//! The account of a cache whose entries have weights: the total room, and how much of it is free.
//!
//! All shards share one account. An operation takes an entry's weight from the account before the
//! entry is published, and gives it back after the entry was unlinked. So what is visible in all
//! shards together never weighs more than the limit, whichever shard it is in and whichever thread
//! looks. The account knows neither shards nor entries.

use crate::process::fork::{Held, Kept};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Alarm, Arc, Mutex, MutexGuard};

pub(crate) struct Account {
    /// The total room.
    limit: AtomicU64,
    /// The room that no entry uses and that no operation has taken for a new entry.
    free: AtomicU64,
    /// Guards the right to keep room without holding a shard's lock. One operation at a time has it:
    /// two could wait for each other's room.
    mutex: Mutex<()>,
}

impl Account {
    pub(crate) fn new(limit: u64) -> Self {
        let [limit, free] = [limit; 2].map(AtomicU64::new);
        Self { limit, free, mutex: Mutex::new(()) }
    }

    /// Returns the total room.
    #[inline]
    pub(crate) fn limit(&self) -> u64 {
        // ORDERING: Relaxed; a figure. An operation that needs room takes it from `free`.
        self.limit.load(Ordering::Relaxed)
    }

    /// Returns how much room is taken. It never exceeds the total. Requires that nobody changes the
    /// limit meanwhile: the limit and the free room change one after the other.
    pub(crate) fn taken(&self) -> u64 {
        let limit = self.limit();
        // ORDERING: Relaxed; a figure, exact while no writer runs. The lock that keeps the limit
        // orders it after the latest change of the limit.
        limit.saturating_sub(self.free.load(Ordering::Relaxed))
    }

    /// Returns whether a good part of the room is free.
    pub(super) fn is_roomy(&self) -> bool {
        // ORDERING: Relaxed; a figure.
        self.free.load(Ordering::Relaxed) > self.limit() / 16
    }

    /// Takes this much room, or nothing if less is free.
    pub(super) fn take(&self, room: u64) -> bool {
        self.take_between(room, room) == room
    }

    /// Takes as much of this room as is free. Returns how much it took.
    pub(crate) fn take_up_to(&self, room: u64) -> u64 {
        self.take_between(0, room)
    }

    fn take_between(&self, least: u64, most: u64) -> u64 {
        // ORDERING: Relaxed; the compare-exchange verifies the value.
        let mut free = self.free.load(Ordering::Relaxed);
        loop {
            let taken = free.min(most);
            if taken < least || taken == 0 {
                return 0;
            }
            // ORDERING: Acquire; pairs with Release in `Account::give_back`: a thread that sees the
            // entry that takes this room also sees that the entry which had it before is unlinked.
            // Relaxed on failure, after which it is tried again.
            match self.free.compare_exchange_weak(free, free - taken, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return taken,
                Err(now) => free = now,
            }
        }
    }

    /// Gives back room whose entry is unlinked.
    pub(crate) fn give_back(&self, room: u64) {
        if room != 0 {
            // ORDERING: Release; pairs with Acquire in `Account::take_between`.
            self.free.fetch_add(room, Ordering::Release);
        }
    }

    /// Waits until no other operation keeps room. Then the caller may keep some. Must be called
    /// without a shard's lock.
    pub(crate) fn lock(&self) -> MutexGuard<'_, ()> {
        self.mutex.lock()
    }

    /// Returns whether a thread sleeps until it has the right to keep room.
    #[cfg(test)]
    pub(crate) fn is_waited_for(&self) -> bool {
        self.mutex.has_sleepers()
    }

    /// Gets the right to keep room, if no other operation has it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, ()>> {
        self.mutex.try_lock()
    }

    /// Keeps the right to keep room while the process forks, so that no other thread has any in hand
    /// then. Must be called before the shards' locks are taken.
    pub(crate) fn hold(this: &Arc<Self>, patience: &Alarm) -> Option<Box<dyn Held>> {
        let kept = Kept::new(this, |account: &Self| &account.mutex, patience)?;
        Some(Box::new(kept))
    }

    /// Sets the total room, or as near to it as possible: the excess is covered by `given`, which
    /// the caller has, and by what is free. Returns the excess that remains. Requires that one
    /// thread at a time calls it.
    pub(crate) fn set_limit(&self, wanted: u64, given: u64) -> u64 {
        let limit = self.limit();
        let excess = limit.saturating_sub(wanted);
        let used = given.min(excess);
        let gone = used + self.take_up_to(excess - used);
        // ORDERING: Relaxed; a figure. It is raised before there is more room and lowered after
        // there is less, so that the room that is taken is within the larger of both limits.
        self.limit.store(limit.max(wanted) - gone, Ordering::Relaxed);
        self.give_back(given - used + wanted.saturating_sub(limit));
        excess - gone
    }
}

impl Held for Kept<Account, ()> {
    /// What is free is right: nobody kept room, and what entries take they took under shards' locks.
    fn inherit(&mut self) {}
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_no_more_than_there_is() {
        let account = Account::new(10);
        assert!(account.take(7) && !account.take(4));
        assert_eq!((account.taken(), account.take_up_to(9)), (7, 3));
        assert_eq!((account.taken(), account.take_up_to(1)), (10, 0));
        assert!(account.take(0));
        account.give_back(10);
        assert_eq!(account.taken(), 0);
    }

    #[test]
    fn a_limit_is_lowered_by_what_is_free_and_what_is_given() {
        let account = Account::new(10);
        assert!(account.take(8));
        assert_eq!(account.set_limit(4, 0), 4, "two were free");
        assert_eq!((account.limit(), account.taken()), (8, 8));
        assert_eq!(account.set_limit(4, 3), 1);
        assert_eq!(account.set_limit(4, 3), 0, "two of the three are given back");
        assert_eq!((account.limit(), account.taken()), (4, 2));
        assert_eq!(account.set_limit(6, 1), 0);
        assert_eq!((account.limit(), account.taken()), (6, 1));
    }
}
