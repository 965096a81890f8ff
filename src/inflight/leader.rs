//! Who leads which flight, and on which thread.

use crate::sync::thread_local;
use std::cell::RefCell;

/// Identifies a flight: by the key's hash, a number, and the address of the ledger, because a
/// thread may lead flights in several ledgers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Ticket {
    pub(super) hash: u64,
    pub(super) number: u64,
    pub(super) ledger: usize,
}

/// The place of a waiting call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    /// The flight that the call joined.
    pub(super) ticket: Ticket,
    /// The number of the call, in that flight's queue and in any other to which it moves on.
    pub(super) number: u64,
}

impl Spot {
    /// Returns whether the closure of that flight runs on this thread.
    pub(crate) fn leads_here(self) -> bool {
        self.ticket.leads_here()
    }

    /// Returns whether the call has this number. One that waits has the number of the call that
    /// leads, if both are the same caller's (`Flights::accompany`).
    pub(crate) fn is_of(self, number: u64) -> bool {
        self.number == number
    }
}

thread_local! {
    /// The flights whose leaders' closures run on this thread, and the watches that are set for
    /// other closures.
    static LEADING: RefCell<Vec<Ticket>> = const { RefCell::new(Vec::new()) };
}

/// Marks, until it is dropped, that a flight's closure runs on this thread. The thread would wait
/// for itself if it waited for that flight. Marks may be dropped in any order. The last one is
/// found at once.
#[derive(Debug)]
pub(crate) struct Leading(Ticket);

impl Leading {
    pub(crate) fn enter(ticket: Ticket) -> Self {
        // A thread that is about to end has no thread-local state any more.
        let _ = LEADING.try_with(|leading| leading.borrow_mut().push(ticket));
        Self(ticket)
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        let _ = LEADING.try_with(|leading| {
            let mut leading = leading.borrow_mut();
            let place = leading.iter().rposition(|ticket| *ticket == self.0);
            place.map(|place| leading.swap_remove(place))
        });
    }
}

impl Ticket {
    /// Returns whether the flight's closure runs on this thread.
    pub(crate) fn leads_here(self) -> bool {
        LEADING.try_with(|leading| leading.borrow().contains(&self)).unwrap_or(false)
    }
}
