//! One flight: who leads it, who waits for it, and whether calls may join it.
//!
//! `mod.rs` says what holds of flights (F1 to F6). This file knows no other flight.

use super::ending::{Crowd, Ending};
use super::leader::Ticket;
use super::queue::Queue;
use super::waiter::{Aim, Asked, Call};
use crate::sync::Arc;

pub(super) struct Flight<K, V> {
    /// The key of the leading call; while the flight is free, of its heir.
    pub(super) leader: Asked<K, V>,
    /// While the flight is free: the number of the call to which the turn was offered. That call is
    /// in the queue.
    pub(super) heir: Option<u64>,
    pub(super) aim: Aim,
    /// A number that all flights of one key have in common that exist at the same time. So they are
    /// recognised without `Eq`.
    pub(super) line: u64,
    /// Whether there was no entry when the leader began.
    pub(super) was_absent: bool,
    /// Whether the key was written or removed after the leader began, or another call wants the
    /// turn of a load in the background (F2).
    pub(super) is_invalidated: bool,
    /// Whether the leader's own closure was the first to do so.
    pub(super) by_own: bool,
    /// Whether calls moved on to the flight that had joined another one (F6).
    pub(super) took_in: bool,
    /// The number of the leading call, or of the heir. A call that began the flight has the number
    /// of the ticket. A call that waited before keeps its number. The number is in the queue only if
    /// it is the heir's, or if the leader's closure runs elsewhere (`accompany`).
    pub(super) number: u64,
    /// The waiting calls; `None` as long as no call waits, which is most of the time.
    pub(super) waiting: Option<Queue<K, V>>,
}

impl<K, V> Flight<K, V> {
    /// Returns whether calls may join the flight and its outcome is stored (F1).
    pub(super) fn is_present(&self) -> bool {
        !self.is_invalidated || self.aim == Aim::Compute
    }

    /// Invalidates the flight. Only the first write counts: a later one, by another thread or by
    /// the closure itself, changes nothing.
    pub(super) fn invalidate(&mut self, ticket: Ticket) {
        if !self.is_invalidated {
            (self.is_invalidated, self.by_own) = (true, ticket.leads_here());
        }
    }

    pub(super) fn queue(&mut self) -> &mut Queue<K, V> {
        self.waiting.get_or_insert_with(Queue::new)
    }

    /// Makes another call the leader, or the heir, of the flight. Writes that invalidated the
    /// flight before do not concern the new call. Returns the key of the previous one.
    pub(super) fn change_hands(
        &mut self,
        call: Arc<Call<K, V>>,
        number: u64,
        aim: Aim,
        heir: Option<u64>,
    ) -> Asked<K, V> {
        (self.number, self.aim, self.heir) = (number, aim, heir);
        (self.was_absent, self.is_invalidated) = (false, false);
        std::mem::replace(&mut self.leader, Asked::Shared(call))
    }

    pub(super) fn ended(self, crowd: Option<Box<Crowd<K, V>>>) -> Ending<K, V> {
        let Self { leader, number, is_invalidated, .. } = self;
        Ending { leader: Some(leader), number, is_invalidated, crowd }
    }
}
