//! Flights: of all calls for a key, one runs its closure. The others wait, without spinning.
//!
//! A flight consists of the call whose closure runs (it *leads*) and the calls that wait. It is in
//! the ledger of the key's shard, under the lock. So one critical section answers both whether the
//! key has an entry and whether a call is about to store one, and a removal meets either the entry
//! or the flight that would store it. This file knows keys, and which outcomes a call accepts. It
//! knows no table, no clock and no cache, and runs no closure.
//!
//! ```text
//!  begin ──► leads ──────────────► end: value, error, nothing ──► told to all calls that accept it
//!    │                              │
//!    └─────► waits ── told ◄────────┘  otherwise, or if the closure panicked or was dropped:
//!              │  ▲                    the next call has the turn, and leads; or, if it
//!              │  │                    computes, it is woken and claims the turn
//!              │  └── moves on to the key's present flight, when its own one, left behind,
//!              │      ends in an outcome that it does not accept
//!              └── leaves (its time is up, or its future is dropped)
//! ```
//!
//! This file says how calls join flights. `flight.rs` defines a flight, and `passing.rs` passes the
//! turn from one call to the next.
//!
//! The flights that were left behind are kept apart, in `behind.rs`: there may be any number of them.
//! A call for a key and a write look at the present flights of the key's hash, of which there is one
//! for each key. So they take as long with many flights that were left behind as with one.
//!
//! # Invariants
//!
//! - **F1** A key has at most one *present* flight. Other calls join that one, and its outcome is
//!   stored. A flight has one call that leads. While the flight is *free*, it has an *heir*
//!   instead: the waiting call to which the turn was offered. Leader and heir change under the lock
//!   alone. A free flight computes next, so it is present.
//! - **F2** A write to the key, or a removal, *invalidates* its flight. A flight that loads is left
//!   behind then: its outcome is told to the calls that had joined, and is not stored. A call that
//!   comes later begins a flight of its own at once, however long the old one takes. A flight that
//!   computes stays present, since computations of a key take turns: its leader decides by what it
//!   sees, clears the mark each time it looks at the key, and tells its outcome to no other call. A
//!   flight that loads anew in the background, for which no call waits, is left behind as soon as a
//!   call wants the key's turn.
//! - **F3** A waiting call is told once: an outcome, or that it has the turn. The turn goes to the
//!   call that has waited longest. If that call is to compute, the turn is offered to it: it is
//!   woken and claims the turn, unless a computing call that is running has taken it. In that case
//!   the woken call waits on in its place. A call that has been passed over for a millisecond is
//!   told that it has the turn. A call that leaves with the turn, or as the heir, passes the turn
//!   on. A call *stands aside* while its caller runs code of the user's, which may want the same
//!   turn. Such a call is told outcomes, but the turn passes it by: it is told that, and is in no
//!   queue any more.
//! - **F4** The key of a leading call belongs to the ledger alone, or to the ledger and the caller,
//!   if the caller still needs it. So the key can be taken out at the end. (A turn is told under
//!   the lock, so that no thread needs a handle to tell it later.)
//! - **F5** The shard's lock is taken before an inbox's lock. Under either lock no user code runs
//!   except `Eq`. Wakers are called, cloned and dropped outside.
//! - **F6** The turn of a flight that was left behind is not passed on while another flight of the
//!   key is present: its waiting calls move on to the present flight. If there is none, the next of
//!   them leads, and the flight is present again.

mod behind;
mod ending;
mod flight;
mod leader;
mod passing;
mod queue;
#[cfg(all(test, not(tidewheel_loom), not(tidewheel_shuttle)))]
mod tests;
mod waiter;
mod watch;

pub(crate) use ending::{Ending, Spoken};
#[cfg(feature = "async")]
pub(crate) use leader::Group;
pub(crate) use leader::{Leading, Spot, Ticket};
pub(crate) use waiter::{Aim, Asked, Asker, Call, Failure, Hold, Kind, Outcome, Told, Wants, Who};
pub(crate) use watch::Watching;

use crate::hash::HashBits;
use crate::rows::RowId;
use crate::sync::Arc;
use behind::Behind;
use flight::Flight;
use queue::Queue;
use std::collections::BTreeMap;
use watch::Watches;

/// How a call joined or began a flight.
pub(crate) enum Begun<K, V> {
    Leads(Hold<K, V>),
    Waits(Spot, Arc<Call<K, V>>),
    /// The call would wait for a closure from which it is called.
    Nested(Asked<K, V>),
}

/// What is known of a key's flights.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    /// The flight that can be joined.
    present: Option<Ticket>,
    /// The line (see `Flight::line`), if the key has any flight.
    line: Option<u64>,
}

impl Known {
    /// Returns whether a call has the key's turn.
    pub(crate) fn is_taken(self) -> bool {
        self.present.is_some()
    }
}

/// The flights of a shard.
pub(crate) struct Flights<K, V> {
    /// One of the present flights. Mostly there is no other, so a load for which no other call asks
    /// needs no memory for its flight.
    one: Option<(Ticket, Flight<K, V>)>,
    /// All other present flights. Empty if there is no `one`.
    others: BTreeMap<Ticket, Flight<K, V>>,
    /// The flights that were left behind; `None` if there is none.
    behind: Option<Box<Behind<K, V>>>,
    watches: Watches,
    /// The number of flights and watches. A write, which nearly always finds none, checks this
    /// number only.
    count: usize,
    begun: u64,
}

impl<K, V> Flights<K, V> {
    pub(crate) const fn new() -> Self {
        Self { one: None, others: BTreeMap::new(), behind: None, watches: Watches::new(), count: 0, begun: 0 }
    }

    fn get(&self, ticket: Ticket) -> Option<&Flight<K, V>> {
        match &self.one {
            Some((number, flight)) if *number == ticket => Some(flight),
            _ => self.others.get(&ticket).or_else(|| self.behind.as_ref()?.get(ticket)),
        }
    }

    fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Flight<K, V>> {
        match &mut self.one {
            Some((number, flight)) if *number == ticket => Some(flight),
            _ => self.others.get_mut(&ticket).or_else(|| self.behind.as_mut()?.get_mut(ticket)),
        }
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Flight<K, V>> {
        let flight = match self.take_one(ticket) {
            Some(flight) => flight,
            None => self.take_other(ticket)?,
        };
        self.count -= 1;
        Some(flight)
    }

    #[cold]
    #[inline(never)]
    fn take_other(&mut self, ticket: Ticket) -> Option<Flight<K, V>> {
        self.others.remove(&ticket).or_else(|| self.take_behind(ticket))
    }

    /// Adds a present flight.
    #[inline(always)]
    fn put(&mut self, ticket: Ticket, flight: Flight<K, V>) {
        if self.one.is_none() {
            self.one = Some((ticket, flight));
        } else {
            self.add_to_others(ticket, flight);
        }
    }

    #[cold]
    #[inline(never)]
    fn add_to_others(&mut self, ticket: Ticket, flight: Flight<K, V>) {
        self.others.insert(ticket, flight);
    }

    /// Takes a flight out, if it is `one`.
    #[inline(always)]
    fn take_one(&mut self, ticket: Ticket) -> Option<Flight<K, V>> {
        let (_, flight) = self.one.take_if(|(number, _)| *number == ticket)?;
        self.one = self.others.pop_first();
        Some(flight)
    }

    /// Takes a flight out of the present ones.
    fn take_present(&mut self, ticket: Ticket) -> Option<Flight<K, V>> {
        self.take_one(ticket).or_else(|| self.others.remove(&ticket))
    }

    /// Puts a flight with those that were left behind, if it is present no more. Its leader or a
    /// call that waits may bring it back (F6).
    #[cold]
    #[inline(never)]
    fn put_behind(&mut self, ticket: Ticket) {
        let is_behind = self.get(ticket).is_some_and(|flight| !flight.is_present());
        let flight = if is_behind { self.take_present(ticket) } else { None };
        if let Some(flight) = flight {
            self.behind.get_or_insert_with(|| Box::new(Behind::new())).add(ticket, flight);
        }
    }

    /// Puts a flight that was left behind back among the present ones (F6). The key has no other
    /// present flight.
    #[inline]
    fn bring_back(&mut self, ticket: Ticket) {
        if self.behind.is_some() {
            if let Some(flight) = self.take_behind(ticket) {
                self.put(ticket, flight);
            }
        }
    }

    /// Takes a flight out that was left behind. No memory is left when there are none.
    #[inline(never)]
    fn take_behind(&mut self, ticket: Ticket) -> Option<Flight<K, V>> {
        let behind = self.behind.as_mut()?;
        let flight = behind.remove(ticket);
        if behind.is_empty() {
            self.behind = None;
        }
        flight
    }

    /// Returns the present flights of all keys with this hash, one for each key (F1).
    fn of_hash(&mut self, hash: u64) -> impl Iterator<Item = (Ticket, &mut Flight<K, V>)> {
        let one = self.one.iter_mut().map(|(ticket, flight)| (*ticket, flight));
        let others = self.others.range_mut(Ticket::all_of(hash));
        one.filter(move |(ticket, _)| ticket.hash == hash)
            .chain(others.map(|(ticket, flight)| (*ticket, flight)))
    }

    /// Changes each present flight. Leaves those behind that are present no more.
    fn change_all(&mut self, change: impl Fn(Ticket, &mut Flight<K, V>)) {
        let mut behind = Vec::new();
        let one = self.one.iter_mut().map(|(ticket, flight)| (&*ticket, flight));
        for (ticket, flight) in one.chain(&mut self.others) {
            change(*ticket, flight);
            if !flight.is_present() {
                behind.push(*ticket);
            }
        }
        behind.into_iter().for_each(|ticket| self.put_behind(ticket));
    }

    /// Returns whether there are neither flights nor watches that a write concerns.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        self.count == 0
    }

    /// Returns whether a watched closure is running.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        !self.watches.is_empty()
    }

    /// Invalidates the flight of a key that is being written or removed, so that its outcome is not
    /// stored. A flight that was left behind is invalidated already.
    pub(crate) fn invalidate(&mut self, hash: HashBits, is_key: &dyn Fn(&K) -> bool) {
        let mut of_hash = self.of_hash(hash.whole());
        if let Some((ticket, flight)) = of_hash.find(|(_, flight)| is_key(flight.leader.key())) {
            flight.invalidate(ticket);
            drop(of_hash);
            self.put_behind(ticket);
        }
    }

    /// Invalidates the flights of all keys whose home `is_one` accepts.
    #[inline]
    pub(crate) fn invalidate_all_of(&mut self, is_one: impl Fn(u32) -> bool) {
        if self.is_quiet() {
            return;
        }
        self.change_all(|ticket, flight| {
            if is_one(HashBits::again(ticket.hash).home()) {
                flight.invalidate(ticket);
            }
        });
        self.watches.note_all(is_one);
    }

    /// Notes that a key is being written or removed, by any thread. `over` is the row of its entry,
    /// if it has one.
    pub(crate) fn note_write(&mut self, hash: HashBits, over: Option<RowId>) {
        self.watches.note(hash.whole(), over);
    }

    /// Notes that the entry of a row is gone, for any cause.
    pub(crate) fn note_end(&mut self, row: RowId) {
        self.watches.forget(row);
    }

    /// Watches a closure that is about to run again, on this thread. `shown` is the row of the
    /// entry that it is shown, if any.
    pub(crate) fn watch(&mut self, hash: HashBits, shown: Option<RowId>) -> Watching {
        let ticket = self.ticket(hash);
        self.count += 1;
        self.watches.set(ticket, shown)
    }

    /// Ends a watch. Returns whether the closure itself wrote over what it was shown.
    pub(crate) fn end_watch(&mut self, ticket: Ticket) -> bool {
        let ended = self.watches.end(ticket);
        self.count -= usize::from(ended.is_some());
        ended.unwrap_or(false)
    }

    /// Creates a new ticket.
    fn ticket(&mut self, hash: HashBits) -> Ticket {
        self.begun += 1;
        Ticket { hash: hash.whole(), number: self.begun, ledger: std::ptr::from_ref(self).addr() }
    }

    /// Returns what is known of a key's flights. Runs the user's `Eq`, and so is called before the
    /// ledger owns the new key: if `Eq` panics, the caller drops the key, outside the lock.
    #[inline]
    pub(crate) fn of_key(&mut self, hash: HashBits, asked: &K) -> Known
    where
        K: Eq,
    {
        if self.is_quiet() {
            return Known { present: None, line: None };
        }
        for (ticket, flight) in self.of_hash(hash.whole()) {
            if flight.leader.key() == asked {
                return Known { present: Some(ticket), line: Some(flight.line) };
            }
        }
        let line = self.behind.as_ref().and_then(|behind| behind.line_of(hash.whole(), asked));
        Known { present: None, line }
    }

    /// Leaves the flights of other threads behind, in the child of a fork (F2): no call may wait
    /// for threads that do not exist there. The flights that this thread leads go on. So does a
    /// future that leads, should it be polled again. A call that waits while its caller runs user
    /// code learns of this when it listens again (`Call::listen`). The watches of other threads end.
    pub(crate) fn disown(&mut self) {
        self.change_all(|ticket, flight| {
            if !ticket.leads_here() {
                (flight.aim, flight.is_invalidated) = (Aim::Load, true);
            }
        });
        self.count -= self.watches.disown();
    }

    /// Makes a call join its key's flight, or lead a new one if there is none. `was_absent` says
    /// that there is known to be no entry.
    pub(crate) fn begin(
        &mut self,
        hash: HashBits,
        known: Known,
        asked: Asked<K, V>,
        wants: Wants,
        was_absent: bool,
    ) -> Begun<K, V> {
        if let Some(ticket) = known.present {
            if ticket.leads_here() {
                return Begun::Nested(asked);
            }
            let newest = self.begun + 1;
            let flight = self.get_mut(ticket).expect("it was just found");
            if flight.aim != Aim::Reload {
                let call = asked.into_call();
                if flight.heir.is_some() && matches!(wants, Wants::Turn) {
                    // The handle that is dropped here is not the last one: the heir waits on and
                    // has another.
                    drop(flight.change_hands(call.clone(), newest, Aim::Compute, None));
                    self.begun = newest;
                    return Begun::Leads(Hold::after(ticket, call));
                }
                return Begun::Waits(self.join(ticket, wants, call.clone()), call);
            }
            flight.is_invalidated = true;
            self.put_behind(ticket);
        }
        Begun::Leads(self.lead(hash, known, asked, wants.aim(), was_absent))
    }

    /// Makes a call lead a new flight of a key that has no present one.
    #[inline(always)]
    pub(crate) fn lead(
        &mut self,
        hash: HashBits,
        known: Known,
        asked: Asked<K, V>,
        aim: Aim,
        was_absent: bool,
    ) -> Hold<K, V> {
        let ticket = self.ticket(hash);
        self.count += 1;
        let call = match &asked {
            Asked::Given(_) => None,
            Asked::Shared(call) => Some(call.clone()),
        };
        let line = known.line.unwrap_or(ticket.number);
        let flight = Flight {
            leader: asked,
            aim,
            line,
            heir: None,
            was_absent,
            is_invalidated: false,
            by_own: false,
            took_in: false,
            number: ticket.number,
            waiting: None,
        };
        self.put(ticket, flight);
        Hold { ticket: Some(ticket), call }
    }

    /// Makes another call wait for a leading call, ahead of all others. The caller of both is the
    /// same, and does not run the closure itself.
    pub(crate) fn accompany(&mut self, ticket: Ticket, call: Arc<Call<K, V>>, wants: Wants) -> Spot {
        let Some(flight) = self.get_mut(ticket) else {
            return Spot { ticket, number: ticket.number };
        };
        // The leading call is in no queue, so its number is free, and its place is the right one.
        let number = flight.number;
        flight.queue().push(number, wants, call);
        Spot { ticket, number }
    }

    /// Makes a call wait for a flight, behind the others.
    fn join(&mut self, ticket: Ticket, wants: Wants, call: Arc<Call<K, V>>) -> Spot {
        self.begun += 1;
        let spot = Spot { ticket, number: self.begun };
        self.get_mut(ticket).expect("it was just found").queue().push(spot.number, wants, call);
        spot
    }

    /// Clears the mark of a computing leader that looks at the key: it decides by what it sees, so
    /// earlier writes do not matter any more. `aim` is what it does next.
    pub(crate) fn note_look(&mut self, hold: &Hold<K, V>, aim: Aim) {
        let flight = hold.ticket.and_then(|ticket| self.get_mut(ticket));
        if let Some(flight) = flight.filter(|flight| flight.is_present()) {
            flight.aim = aim;
            if flight.is_invalidated {
                (flight.was_absent, flight.is_invalidated) = (false, false);
            }
        }
    }

    pub(crate) fn is_invalidated(&self, hold: &Hold<K, V>) -> bool {
        hold.ticket.and_then(|ticket| self.get(ticket)).is_none_or(|flight| flight.is_invalidated)
    }

    /// Returns whether the leader's own closure invalidated the flight.
    pub(crate) fn is_invalidated_by_own(&self, hold: &Hold<K, V>) -> bool {
        hold.ticket.and_then(|ticket| self.get(ticket)).is_some_and(|flight| flight.by_own)
    }

    /// Returns the key of a leader whose value is to be stored, if the key may have an entry. It
    /// has none if it had none when the leader began, because every write of an entry invalidates
    /// the flight (F2).
    pub(crate) fn key_to_find(&self, hold: &Hold<K, V>) -> Option<&K> {
        let flight = self.get(hold.ticket?)?;
        (!flight.was_absent && !flight.is_invalidated).then(|| flight.leader.key())
    }

    /// Returns whether the leader loads a value anew for which no call waits.
    pub(crate) fn is_reload(&self, hold: &Hold<K, V>) -> bool {
        hold.ticket.and_then(|ticket| self.get(ticket)).is_some_and(|flight| flight.aim == Aim::Reload)
    }

    /// Leaves a leader's flight behind: its outcome is not stored.
    pub(crate) fn leave_behind(&mut self, hold: &Hold<K, V>) {
        let Some(ticket) = hold.ticket else { return };
        if let Some(flight) = self.get_mut(ticket) {
            flight.is_invalidated = true;
            self.put_behind(ticket);
        }
    }

    /// Returns all flights, present or not.
    fn all(&self) -> impl Iterator<Item = (&Ticket, &Flight<K, V>)> {
        let one = self.one.iter().map(|(ticket, flight)| (ticket, flight));
        one.chain(&self.others).chain(self.behind.iter().flat_map(|behind| behind.all()))
    }

    /// Returns how many calls wait.
    pub(crate) fn waiting(&self) -> usize {
        self.all().map(|(_, flight)| flight.waiting.as_ref().map_or(0, Queue::len)).sum()
    }

    /// Recounts. Panics where two flights of one key are present, where a call waits for a reload,
    /// or where an heir does not wait.
    pub(crate) fn check(&self)
    where
        K: Eq,
    {
        assert!(self.one.is_some() || self.others.is_empty(), "others where there is not one");
        assert_eq!(self.count, self.all().count() + self.watches.len(), "flights and watches");
        let present = self.one.iter().map(|(_, flight)| flight).chain(self.others.values());
        assert!(present.into_iter().all(Flight::is_present), "a flight that was not left behind");
        self.behind.iter().for_each(|behind| behind.check());
        for (ticket, flight) in self.all() {
            assert!(ticket.number <= self.begun, "a flight that nobody began");
            let same = || self.all().filter(|(_, other)| other.leader.key() == flight.leader.key());
            assert!(same().filter(|(_, other)| other.is_present()).count() <= 1, "two flights of one key");
            assert!(same().all(|(_, other)| other.line == flight.line), "two lines of one key");
            let is_alone = flight.waiting.as_ref().is_none_or(Queue::is_empty);
            assert!(flight.aim != Aim::Reload || is_alone, "somebody waits for a reload");
            let has_heir = |number| flight.waiting.as_ref().is_some_and(|queue| queue.contains(number));
            assert!(flight.heir.is_none_or(has_heir), "an heir that does not wait");
        }
    }
}
