//! The flights of a shard that were left behind (F2), apart from the present ones.
//!
//! A flight that was left behind is here until its loader ends, or until it is present again (F6).
//! If loaders hang, there may be any number of such flights of one key. So no call looks through
//! them: the call that leads such a flight, or joined it, finds it by its ticket. A call that begins
//! compares its key with one flight of each line. A call that moved on from another flight looks at
//! the flights to which calls moved on, and at no other.
//!
//! # Invariants
//!
//! - **L1** A flight is here if and only if it is not present.
//! - **L2** `lines` has each flight once, with its line.
//! - **L3** `strays` has the flights in which a call may wait that joined another one, or which are
//!   free.

use super::flight::Flight;
use super::leader::Ticket;
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct Behind<K, V> {
    flights: BTreeMap<Ticket, Flight<K, V>>,
    lines: BTreeSet<Lined>,
    strays: BTreeSet<Ticket>,
}

/// A flight, ordered so that the flights of one line are next to each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Lined {
    hash: u64,
    line: u64,
    ticket: Ticket,
}

impl Lined {
    fn new<K, V>(ticket: Ticket, flight: &Flight<K, V>) -> Self {
        Self { hash: ticket.hash, line: flight.line, ticket }
    }
}

impl<K, V> Flight<K, V> {
    /// Returns whether a call may look for the flight that did not join it. Only in the child of a
    /// fork is a free flight left behind.
    fn is_stray(&self) -> bool {
        self.took_in || self.heir.is_some()
    }
}

impl<K, V> Behind<K, V> {
    pub(super) fn new() -> Self {
        Self { flights: BTreeMap::new(), lines: BTreeSet::new(), strays: BTreeSet::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&Flight<K, V>> {
        self.flights.get(&ticket)
    }

    pub(super) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Flight<K, V>> {
        self.flights.get_mut(&ticket)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&Ticket, &Flight<K, V>)> {
        self.flights.iter()
    }

    pub(super) fn add(&mut self, ticket: Ticket, flight: Flight<K, V>) {
        self.lines.insert(Lined::new(ticket, &flight));
        if flight.is_stray() {
            self.strays.insert(ticket);
        }
        self.flights.insert(ticket, flight);
    }

    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Flight<K, V>> {
        let flight = self.flights.remove(&ticket)?;
        self.lines.remove(&Lined::new(ticket, &flight));
        self.strays.remove(&ticket);
        Some(flight)
    }

    /// Returns the line of a key. All flights of a line have the same key, so one of each is
    /// compared.
    #[cold]
    #[inline(never)]
    pub(super) fn line_of(&self, hash: u64, key: &K) -> Option<u64>
    where
        K: Eq,
    {
        let at = |line| Lined { hash, line, ticket: Ticket { hash, number: 0, ledger: 0 } };
        let mut from = 0;
        while let Some(Lined { line, ticket, .. }) = self.lines.range(at(from)..at(u64::MAX)).next() {
            if self.get(*ticket)?.leader.key() == key {
                return Some(*line);
            }
            from = line + 1;
        }
        None
    }

    /// Returns the stray flight of this hash that `is_it` accepts.
    pub(super) fn stray(&self, hash: u64, is_it: impl Fn(&Flight<K, V>) -> bool) -> Option<Ticket> {
        let mut strays = self.strays.range(Ticket::all_of(hash));
        strays.find(|ticket| self.get(**ticket).is_some_and(&is_it)).copied()
    }

    /// Panics where an invariant does not hold.
    pub(super) fn check(&self) {
        assert!(!self.flights.is_empty(), "memory for none that was left behind");
        assert_eq!(self.lines.len(), self.flights.len(), "lines and flights");
        for (ticket, flight) in &self.flights {
            assert!(!flight.is_present(), "a present flight among those left behind");
            assert!(self.lines.contains(&Lined::new(*ticket, flight)), "a flight in no line");
            assert_eq!(self.strays.contains(ticket), flight.is_stray(), "a stray flight");
        }
        assert!(self.strays.len() <= self.flights.len(), "strays that are gone");
    }
}
