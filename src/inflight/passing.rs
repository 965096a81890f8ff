//! How a key's turn passes from one call to the next.
//!
//! A call that loads gets the turn directly: it is told so, and leads from then on, asleep or
//! not. To a call that computes, the turn is *offered*: the call is woken, and the flight is free
//! until a call takes the turn. That is the woken call (the flight's *heir*) or another call that
//! is running. Waking a thread takes longer than most closures do. So where many threads compute
//! one key, the running threads go on and do not wait for the sleeping ones. No call is passed over
//! for longer than `LONGEST_PASSED_OVER` (`queue.rs`): after that it gets the turn directly.

use super::Flights;
use super::ending::{Crowd, Ending};
use super::flight::Flight;
use super::leader::{Spot, Ticket};
use super::queue::{First, Queue};
use super::waiter::{Aim, Asked, Call, Hold, Kind, Told, Wants, Who};
use crate::sync::Arc;

impl<K, V> Flights<K, V> {
    /// Ends the turn of a leader that came to an outcome of this kind. The calls that do not accept
    /// it get the turn one after the other. Returns `None` if there is no such flight.
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

    /// Ends a turn like `end`, where other calls wait or other flights exist.
    #[inline(never)]
    fn end_among_others(&mut self, ticket: Ticket, kind: Kind) -> Option<Ending<K, V>> {
        let flight = self.get_mut(ticket)?;
        let Some(waiting) = &mut flight.waiting else {
            return Some(self.remove(ticket)?.ended(None));
        };
        let told = waiting.take(kind);
        self.pass_on(ticket, told)
    }

    /// Moves the waiting calls of a flight that was left behind on to the present flight of the
    /// key, if there is one (F6). Returns the ticket of that flight.
    fn move_on(&mut self, ticket: Ticket) -> Option<Ticket> {
        let flight = self.get(ticket)?;
        let present = self.present(ticket.hash, flight.line)?;
        let waiting = self.get_mut(ticket)?.waiting.take();
        if let Some(waiting) = waiting {
            let flight = self.get_mut(present)?;
            flight.queue().append(waiting);
            flight.took_in = true;
        }
        Some(present)
    }

    /// Passes the turn of a flight on to the call that has waited longest. If the flight was left
    /// behind, its calls move on, or it is present again (F6). If no call waits, it is over.
    fn pass_on(&mut self, ticket: Ticket, told: Vec<Arc<Call<K, V>>>) -> Option<Ending<K, V>> {
        let mut crowd = Box::new(Crowd { told, next: None, left: Vec::new() });
        let flight = self.get_mut(ticket)?;
        let (is_invalidated, number) = (flight.is_invalidated, flight.number);
        // A reload goes on if no call is left that wants the turn (F2).
        if !flight.is_present() && !flight.queue().is_empty() {
            self.move_on(ticket);
        }
        let flight = self.get_mut(ticket)?;
        let Some(next) = next(flight.queue(), ticket, &mut crowd.left) else {
            return Some(self.remove(ticket)?.ended(Some(crowd)));
        };
        crowd.next = next.who;
        let leader = Some(flight.change_hands(next.call, next.number, next.aim, next.heir));
        self.bring_back(ticket);
        Some(Ending { leader, number, is_invalidated, crowd: Some(crowd) })
    }

    /// Claims the turn for a call to which it was offered. Returns the ticket, or `None` if another
    /// call has taken the turn; then the call waits on.
    pub(crate) fn claim(&mut self, spot: Spot) -> Option<Ticket> {
        let is_heir = |flight: &Flight<K, V>| flight.heir == Some(spot.number);
        let ticket = self.flight_of(spot, is_heir)?;
        // In the child of a fork, a flight may be left behind while it is free.
        if !self.get(ticket)?.is_present() && self.move_on(ticket).is_some() {
            self.remove(ticket);
            return None;
        }
        let flight = self.get_mut(ticket)?;
        let own = flight.queue().remove(spot.number)?;
        drop(flight.change_hands(own, spot.number, Aim::Compute, None));
        self.bring_back(ticket);
        Some(ticket)
    }

    /// Removes a waiting call. Returns what is left to do then: if the turn was offered to that
    /// call, it goes to the next one.
    pub(crate) fn forget(&mut self, spot: Spot) -> Option<Ending<K, V>> {
        let is_there = |queue: &Queue<K, V>| queue.contains(spot.number);
        let ticket = self.flight_of(spot, |flight| flight.waiting.as_ref().is_some_and(is_there))?;
        let flight = self.get_mut(ticket)?;
        let own = flight.queue().remove(spot.number)?;
        if flight.heir != Some(spot.number) {
            let leader = Some(Asked::Shared(own));
            return Some(Ending { leader, number: spot.number, is_invalidated: false, crowd: None });
        }
        let ending = self.pass_on(ticket, vec![])?;
        // The handle that is dropped here is not the last one: the flight had another one.
        drop(own);
        Some(ending)
    }

    /// Lets a leader that has waited and found nothing go on to load. If its flight was left behind
    /// meanwhile and another one is present, the call waits for that one, together with the calls
    /// that waited for it. Returns its place there.
    pub(crate) fn go_on(&mut self, hold: &mut Hold<K, V>, wants: Wants, is_absent: bool) -> Option<Spot> {
        let ticket = hold.ticket?;
        let flight = self.get(ticket)?;
        let present = if flight.is_present() { None } else { self.move_on(ticket) };
        let Some(present) = present else {
            let flight = self.get_mut(ticket)?;
            (flight.was_absent, flight.is_invalidated) = (is_absent, false);
            self.bring_back(ticket);
            return None;
        };
        let flight = self.remove(ticket)?;
        let (number, call) = (flight.number, flight.leader.into_call());
        hold.ticket = None;
        call.wait_again();
        // It keeps its number, with which it comes before the calls that waited for it.
        let spot = Spot { ticket: present, number };
        self.get_mut(present)?.queue().push(spot.number, wants, call);
        Some(spot)
    }

    /// Returns the flight that `is_it` accepts of those in which a call may wait: the one that it
    /// joined, the present ones, and those to which calls had moved on before they were left behind.
    fn flight_of(&mut self, spot: Spot, is_it: impl Fn(&Flight<K, V>) -> bool) -> Option<Ticket> {
        if self.get(spot.ticket).is_some_and(&is_it) {
            return Some(spot.ticket);
        }
        let hash = spot.ticket.hash;
        let present = self.of_hash(hash).find(|(_, flight)| is_it(flight)).map(|(ticket, _)| ticket);
        present.or_else(|| self.behind.as_ref()?.stray(hash, is_it))
    }

    /// Returns the present flight of a line, if it can be joined.
    fn present(&mut self, hash: u64, line: u64) -> Option<Ticket> {
        let mut of_hash = self.of_hash(hash);
        let (ticket, flight) = of_hash.find(|(_, flight)| flight.line == line)?;
        if flight.aim == Aim::Reload {
            flight.is_invalidated = true;
            drop(of_hash);
            self.put_behind(ticket);
            return None;
        }
        Some(ticket)
    }
}

/// The call that has the turn next.
struct Next<K, V> {
    call: Arc<Call<K, V>>,
    number: u64,
    aim: Aim,
    /// The number of the call, if it was offered the turn. Otherwise the call leads.
    heir: Option<u64>,
    who: Option<Who>,
}

/// Gives or offers the turn to the first waiting call. Removes calls that have left or stand aside.
fn next<K, V>(
    queue: &mut Queue<K, V>,
    ticket: Ticket,
    left: &mut Vec<Arc<Call<K, V>>>,
) -> Option<Next<K, V>> {
    while let Some(First { number, wants, waiting }) = queue.first() {
        let aim = wants.aim();
        if aim == Aim::Compute && !waiting.is_out_of_patience() {
            if let Some(who) = waiting.call.offer() {
                return Some(Next { call: waiting.call.clone(), number, aim, heir: Some(number), who });
            }
        } else if let Ok(who) = waiting.call.told(Told::Turn(ticket)) {
            return Some(Next { call: queue.remove(number)?, number, aim, heir: None, who });
        }
        left.extend(queue.remove(number));
    }
    None
}
