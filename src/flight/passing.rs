//! How a key's turn goes from one call to the next.
//!
//! A call that loads gets the turn in its hand: it is told so, and leads from then on, asleep or not. To a call that computes the
//! turn is *offered*: it is woken, and the flight is free until somebody takes it, that call (the flight's *heir*) or another
//! one that happens to run. For to wait until a thread is awake takes longer than most closures do; so where many threads
//! compute one key, those that run go on, and those that sleep are not waited for. Nobody is passed over for longer than
//! `LONGEST_PASSED_OVER` (`queue.rs`): then it gets the turn in its hand.

use super::ending::{Crowd, Ending};
use super::queue::{First, Queue};
use super::{Aim, Asked, Call, Flight, Flights, Hold, Kind, Spot, Ticket, Told, Wants, Who};
use crate::sync::Arc;

impl<K, V> Flights<K, V> {
    /// The leader is done, and came to an outcome of this kind. Whom that leaves waiting has the turn next, one after
    /// the other. `None` if there is no such flight.
    #[inline]
    pub(crate) fn end(&mut self, hold: &mut Hold<K, V>, kind: Kind) -> Option<Ending<K, V>> {
        let ticket = hold.ticket.take()?;
        let alone = self.one.take_if(|(number, flight)| *number == ticket && flight.waiting.is_none());
        let Some((_, flight)) = alone else {
            return self.end_among_others(ticket, kind);
        };
        self.count -= 1;
        if !self.others.is_empty() {
            self.one = self.others.pop_first();
        }
        Some(flight.ended(None))
    }

    /// The same, where others wait, or are under way.
    #[inline(never)]
    fn end_among_others(&mut self, ticket: Ticket, kind: Kind) -> Option<Ending<K, V>> {
        let flight = self.get_mut(ticket)?;
        let Some(waiting) = &mut flight.waiting else {
            return Some(self.remove(ticket)?.ended(None));
        };
        let told = waiting.take(kind);
        if !flight.is_present() {
            self.move_on(ticket);
        }
        self.pass_on(ticket, told)
    }

    /// Those who wait for a flight that was left behind wait for who loads by now, if there is one (F6): the ticket of that one.
    fn move_on(&mut self, ticket: Ticket) -> Option<Ticket> {
        let flight = self.get(ticket)?;
        let present = self.present(ticket.hash, flight.line)?;
        let waiting = self.get_mut(ticket)?.waiting.take();
        if let Some(waiting) = waiting {
            self.get_mut(present)?.queue().append(waiting);
        }
        Some(present)
    }

    /// Nobody has a flight's turn: it is for whoever waits longest. Without such a one the flight is over.
    fn pass_on(&mut self, ticket: Ticket, told: Vec<Arc<Call<K, V>>>) -> Option<Ending<K, V>> {
        let mut crowd = Box::new(Crowd { told, next: None, left: Vec::new() });
        let flight = self.get_mut(ticket)?;
        let is_invalidated = flight.is_invalidated;
        let Some(next) = next(flight.queue(), ticket, &mut crowd.left) else {
            return Some(self.remove(ticket)?.ended(Some(crowd)));
        };
        crowd.next = next.who;
        let leader = Some(flight.change_hands(next.call, next.aim, next.heir));
        Some(Ending { leader, is_invalidated, crowd: Some(crowd) })
    }

    /// A call that was offered the turn comes for it. If it has it now: the ticket. Else it waits on: another call came before.
    pub(crate) fn claim(&mut self, spot: Spot) -> Option<Ticket> {
        let is_heir = |flight: &Flight<K, V>| flight.heir == Some(spot.number);
        let ticket = self.of_hash(spot.ticket.hash).find(|(_, flight)| is_heir(flight))?.0;
        // In a fork's child a flight may be left behind while it is free.
        if !self.get(ticket)?.is_present() && self.move_on(ticket).is_some() {
            self.remove(ticket);
            return None;
        }
        let flight = self.get_mut(ticket)?;
        let own = flight.queue().remove(spot.number)?;
        drop(flight.change_hands(own, Aim::Compute, None));
        Some(ticket)
    }

    /// A call waits no more. What that leaves to do: if the turn was offered to it, it is for the next one.
    pub(crate) fn forget(&mut self, spot: Spot) -> Option<Ending<K, V>> {
        // It may have moved on to another flight than it joined.
        let mut of_hash = self.of_hash(spot.ticket.hash);
        let (ticket, flight) = of_hash
            .find(|(_, flight)| flight.waiting.as_ref().is_some_and(|queue| queue.contains(spot.number)))?;
        let own = flight.queue().remove(spot.number)?;
        if flight.heir != Some(spot.number) {
            return Some(Ending { leader: Some(Asked::Shared(own)), is_invalidated: false, crowd: None });
        }
        drop(of_hash);
        let ending = self.pass_on(ticket, vec![])?;
        // The handle that is dropped here is not the last one: the flight had another one.
        drop(own);
        Some(ending)
    }

    /// A leader that has waited, and found nothing, is about to load. If its flight was left behind meanwhile and another one is present, it
    /// waits for that, with those who wait for it: its place there.
    pub(crate) fn go_on(&mut self, hold: &mut Hold<K, V>, wants: Wants, is_absent: bool) -> Option<Spot> {
        let ticket = hold.ticket?;
        let flight = self.get(ticket)?;
        let present = if flight.is_present() { None } else { self.move_on(ticket) };
        let Some(present) = present else {
            let flight = self.get_mut(ticket)?;
            (flight.was_absent, flight.is_invalidated) = (is_absent, false);
            return None;
        };
        let call = self.remove(ticket)?.leader.into_call();
        hold.ticket = None;
        call.wait_again();
        // It came before those who waited for it, and so did its flight.
        let spot = Spot { ticket: present, number: ticket.number };
        self.get_mut(present)?.queue().push(spot.number, wants, call);
        Some(spot)
    }

    /// The flight of a line that is present, and can be waited for.
    fn present(&mut self, hash: u64, line: u64) -> Option<Ticket> {
        let mut of_hash = self.of_hash(hash);
        let (ticket, flight) = of_hash.find(|(_, flight)| flight.line == line && flight.is_present())?;
        if flight.aim == Aim::Reload {
            flight.is_invalidated = true;
            return None;
        }
        Some(ticket)
    }
}

/// Whom the turn is for.
struct Next<K, V> {
    call: Arc<Call<K, V>>,
    aim: Aim,
    /// Its number, if it was offered the turn; otherwise it leads.
    heir: Option<u64>,
    who: Option<Who>,
}

/// Tells the first of those that wait. Those that have left are taken out.
fn next<K, V>(
    queue: &mut Queue<K, V>,
    ticket: Ticket,
    left: &mut Vec<Arc<Call<K, V>>>,
) -> Option<Next<K, V>> {
    while let Some(First { number, wants, waiting }) = queue.first() {
        let aim = wants.aim();
        if aim == Aim::Compute && !waiting.is_out_of_patience() {
            if let Some(who) = waiting.call.offer() {
                return Some(Next { call: waiting.call.clone(), aim, heir: Some(number), who });
            }
        } else if let Ok(who) = waiting.call.told(Told::Turn(ticket)) {
            return Some(Next { call: queue.remove(number)?, aim, heir: None, who });
        }
        left.extend(queue.remove(number));
    }
    None
}
