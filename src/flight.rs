//! Flights: of all who ask for a key, one runs its closure; who comes meanwhile waits, without spinning.
//!
//! A flight is a key's call whose closure runs (it *leads*), and those that wait. It lies in the ledger of the key's
//! shard, under the lock, so that "is it there, and if not, who is about to bring it" is one question, and a removal
//! meets either the entry or the flight that would make it. Knows keys, and what calls want to hear; knows no table,
//! no clock and no cache, and runs nobody's closure.
//!
//! ```text
//!  begin ──► leads ──────────────► end: value, error, nothing ──► told to all that asked for such
//!    │                              │
//!    └─────► waits ── told ◄────────┘  else, or if the closure panicked or was dropped:
//!              │  ▲                    the next one has the turn, and leads; or, if it
//!              │  │                    computes, it is woken and claims the turn
//!              │  └── moves on to the key's present flight, if its own one was left behind
//!              └── leaves (its time is up, its future is dropped)
//! ```
//!
//! Here is what a flight is, and how calls come aboard. How its turn goes from one call to the next: `passing.rs`.
//!
//! # Invariants
//!
//! - **F1** A key has one *present* flight at most, which is the one that others join and whose outcome is kept; and a flight has
//!   one call that leads, or, while it is *free*, an *heir*: one of those that wait, to which the turn was offered. Which that is changes under
//!   the lock alone. A flight that is free computes next, so it is present.
//! - **F2** A write to the key, or a removal, *invalidates* its flight. One that loads is left behind then: what comes of it
//!   is told to those that had joined, and is not kept, and who comes after that begins a flight of its own at once, however
//!   long the old one takes. One that computes stays present, since computations of a key take turns: it goes by what it sees,
//!   takes the mark off each time it looks at the key, and tells nobody what it came to. One that loads anew in the background, which nobody
//!   asked for, is left behind as soon as a call wants the key's turn.
//! - **F3** A call that waits is told once: an outcome, or that it has the turn; and the turn is for whoever waits longest. If that one is to
//!   compute, the turn is offered to it: it is woken, and claims the turn, unless a call that computes and happens to run has taken it. Then it waits
//!   on in its place. One that has been passed over for a millisecond is told that it has the turn. One that leaves with the turn in hand, or as an heir, passes it on.
//! - **F4** The key of a call that leads is the ledger's alone, or the ledger's and its caller's, if that has use for it: so it can be
//!   taken out. (A turn is told under the lock, so that nobody needs a handle to do it later.)
//! - **F5** The shard's lock comes before a inbox's. Under either runs no user code but `Eq`; wakers are called, cloned and
//!   dropped outside.
//! - **F6** A flight that was left behind is not passed on beside another one: those that it leaves waiting move on to the present
//!   flight, if there is one; if there is none, the next of them leads, and it is the present one again.

mod call;
mod ending;
mod passing;
mod queue;
mod watch;

pub(crate) use call::{Asked, Call, Failure, Kind, Outcome, Told, Wants, Who};
pub(crate) use ending::{Ending, Spoken};
pub(crate) use watch::Watching;

use crate::hash::HashBits;
use crate::rows::RowId;
use crate::sync::{Arc, thread_local};
use ending::Crowd;
use queue::Queue;
use std::cell::RefCell;
use std::collections::BTreeMap;
use watch::Watches;

/// Which flight it is: the key's hash, a number, and the address of the ledger, for a thread that leads in several.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Ticket {
    hash: u64,
    number: u64,
    ledger: usize,
}

/// Where a call waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    /// The flight that it joined.
    ticket: Ticket,
    /// Its number in that flight's queue, and in any other that it moves on to.
    number: u64,
}

impl Spot {
    /// Whether the closure of that flight runs on this thread.
    pub(crate) fn leads_here(self) -> bool {
        self.ticket.leads_here()
    }
}

/// What the caller of a call that leads has in hand.
pub(crate) struct Hold<K, V> {
    /// `None` once its turn is over.
    pub(crate) ticket: Option<Ticket>,
    /// `None` if the key was given away, or is stored by now.
    pub(crate) call: Option<Arc<Call<K, V>>>,
}

impl<K, V> Hold<K, V> {
    /// That of a call which waited, and was told that it has the turn.
    pub(crate) fn after(ticket: Ticket, call: Arc<Call<K, V>>) -> Self {
        Self { ticket: Some(ticket), call: Some(call) }
    }

    pub(crate) fn key(&self) -> &K {
        &self.call.as_ref().expect("who asks for its key shares it with the ledger").key
    }
}

thread_local! {
    /// The flights whose leaders' closures run on this thread, and the watches that are set for others.
    static LEADING: RefCell<Vec<Ticket>> = const { RefCell::new(Vec::new()) };
}

/// While it is there, a flight's closure runs on this thread: to wait for that flight would be to wait for oneself.
#[derive(Debug)]
pub(crate) struct Leading;

impl Leading {
    pub(crate) fn enter(ticket: Ticket) -> Self {
        // On a thread that is about to end nobody can tell.
        let _ = LEADING.try_with(|leading| leading.borrow_mut().push(ticket));
        Self
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        let _ = LEADING.try_with(|leading| leading.borrow_mut().pop());
    }
}

impl Ticket {
    /// Whether the flight's closure runs on this thread.
    pub(crate) fn leads_here(self) -> bool {
        LEADING.try_with(|leading| leading.borrow().contains(&self)).unwrap_or(false)
    }
}

/// How a call came aboard.
pub(crate) enum Begun<K, V> {
    Leads(Hold<K, V>),
    Waits(Spot, Arc<Call<K, V>>),
    /// It would wait for a closure that it is called from.
    Nested(Asked<K, V>),
}

/// What the closure of a call that leads is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Aim {
    /// To bring a value.
    Load,
    /// To make something of what is there.
    Compute,
    /// To bring a value that nobody waits for: not to be joined.
    Reload,
}

/// What is known of a key's flights.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    /// The one that can be joined.
    present: Option<Ticket>,
    /// As `Flight::line`, if there is any.
    line: Option<u64>,
}

impl Known {
    /// Whether somebody has the key's turn.
    pub(crate) fn is_taken(self) -> bool {
        self.present.is_some()
    }
}

struct Flight<K, V> {
    /// The key of the call that leads; while the flight is free, of its heir.
    leader: Asked<K, V>,
    /// While the flight is free: the number of the call that the turn was offered to, which is in the queue.
    heir: Option<u64>,
    aim: Aim,
    /// Flights of one key that there are at the same time have it in common: so no `Eq` is needed to know them.
    line: u64,
    /// There was no entry when the leader began.
    was_absent: bool,
    /// The key was written or removed since the leader began (F2).
    is_invalidated: bool,
    /// The leader's closure did that itself.
    by_own: bool,
    /// `None` as long as nobody waits, which is most of the time.
    waiting: Option<Queue<K, V>>,
}

impl<K, V> Flight<K, V> {
    /// Whether calls may join it, and what comes of it is kept (F1).
    fn is_present(&self) -> bool {
        !self.is_invalidated || self.aim == Aim::Compute
    }

    /// Who comes first counts: what others write after that, or the closure itself after others, does no more harm.
    fn invalidate(&mut self, ticket: Ticket) {
        if !self.is_invalidated {
            (self.is_invalidated, self.by_own) = (true, ticket.leads_here());
        }
    }

    fn queue(&mut self) -> &mut Queue<K, V> {
        self.waiting.get_or_insert_with(Queue::new)
    }

    /// Another call leads, and what overtook the one before is no concern of it; or it is the heir from now on. The key of the one
    /// before.
    fn change_hands(&mut self, call: Arc<Call<K, V>>, aim: Aim, heir: Option<u64>) -> Asked<K, V> {
        (self.aim, self.was_absent, self.is_invalidated, self.heir) = (aim, false, false, heir);
        std::mem::replace(&mut self.leader, Asked::Shared(call))
    }

    fn ended(self, crowd: Option<Box<Crowd<K, V>>>) -> Ending<K, V> {
        Ending { leader: Some(self.leader), is_invalidated: self.is_invalidated, crowd }
    }
}

/// The flights of a shard.
pub(crate) struct Flights<K, V> {
    /// One of them. Most of the time there is no other: so a load that nobody else asks for needs no memory for its flight.
    one: Option<(Ticket, Flight<K, V>)>,
    /// All the others; none where there is no `one`.
    others: BTreeMap<Ticket, Flight<K, V>>,
    watches: Watches,
    /// How many flights and watches there are: so that a write, which nearly always finds none, looks at one number.
    count: usize,
    begun: u64,
}

impl<K, V> Flights<K, V> {
    pub(crate) const fn new() -> Self {
        Self { one: None, others: BTreeMap::new(), watches: Watches::new(), count: 0, begun: 0 }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.one.is_none()
    }

    fn get(&self, ticket: Ticket) -> Option<&Flight<K, V>> {
        match &self.one {
            Some((number, flight)) if *number == ticket => Some(flight),
            _ => self.others.get(&ticket),
        }
    }

    fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Flight<K, V>> {
        match &mut self.one {
            Some((number, flight)) if *number == ticket => Some(flight),
            _ => self.others.get_mut(&ticket),
        }
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Flight<K, V>> {
        let flight = match self.one.take_if(|(number, _)| *number == ticket) {
            Some((_, flight)) => {
                self.one = self.others.pop_first();
                flight
            }
            None => self.others.remove(&ticket)?,
        };
        self.count -= 1;
        Some(flight)
    }

    /// The flights of all keys with a hash.
    fn of_hash(&mut self, hash: u64) -> impl Iterator<Item = (Ticket, &mut Flight<K, V>)> {
        let one = self.one.iter_mut().map(|(ticket, flight)| (*ticket, flight));
        let [first, last] = [0, u64::MAX].map(|number| Ticket { hash, number, ledger: 0 });
        let others = self.others.range_mut(first..last);
        one.filter(move |(ticket, _)| ticket.hash == hash)
            .chain(others.map(|(ticket, flight)| (*ticket, flight)))
    }

    /// Whether nobody minds what is written.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        self.count == 0
    }

    /// Whether a closure runs that is not to write its key.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        !self.watches.is_empty()
    }

    /// A key is being written or removed: what its flight brings is not to be kept.
    pub(crate) fn invalidate(&mut self, hash: HashBits, is_key: &dyn Fn(&K) -> bool) {
        let those = self.of_hash(hash.whole()).filter(|(_, flight)| is_key(flight.leader.key()));
        those.for_each(|(ticket, flight)| flight.invalidate(ticket));
    }

    /// The same of all keys whose home is one of those.
    #[inline]
    pub(crate) fn invalidate_all_of(&mut self, is_one: impl Fn(u32) -> bool) {
        if self.is_quiet() {
            return;
        }
        let one = self.one.iter_mut().map(|(ticket, flight)| (&*ticket, flight));
        for (ticket, flight) in one.chain(&mut self.others) {
            if is_one(HashBits::again(ticket.hash).home()) {
                flight.invalidate(*ticket);
            }
        }
        self.watches.note_all(is_one);
    }

    /// A key is being written or removed, by whomever; `over` is the row of its entry, if it has one.
    pub(crate) fn note_write(&mut self, hash: HashBits, over: Option<RowId>) {
        self.watches.note(hash.whole(), over);
    }

    /// The entry of a row is gone, for whatever reason.
    pub(crate) fn note_end(&mut self, row: RowId) {
        self.watches.forget(row);
    }

    /// A closure is about to run once more, on this thread, and is shown the entry of that row, or none.
    pub(crate) fn watch(&mut self, hash: HashBits, shown: Option<RowId>) -> Watching {
        let ticket = self.ticket(hash);
        self.count += 1;
        self.watches.set(ticket, shown)
    }

    /// It has run: whether what it was shown was written over by itself.
    pub(crate) fn end_watch(&mut self, ticket: Ticket) -> bool {
        let ended = self.watches.end(ticket);
        self.count -= usize::from(ended.is_some());
        ended.unwrap_or(false)
    }

    /// A new one.
    fn ticket(&mut self, hash: HashBits) -> Ticket {
        self.begun += 1;
        Ticket { hash: hash.whole(), number: self.begun, ledger: std::ptr::from_ref(self).addr() }
    }

    /// What there is of a key's flights. Asks the user's `Eq`, and so before the ledger have the key that is asked for: if
    /// that panics, its caller drops it, outside the lock.
    #[inline]
    pub(crate) fn of_key(&mut self, hash: HashBits, asked: &K) -> Known
    where
        K: Eq,
    {
        let mut known = Known { present: None, line: None };
        if self.is_empty() {
            return known;
        }
        for (ticket, flight) in self.of_hash(hash.whole()) {
            if flight.leader.key() == asked {
                known.line = Some(flight.line);
                if flight.is_present() {
                    known.present = Some(ticket);
                }
            }
        }
        known
    }

    /// In a fork's child: nobody is to wait for threads that are not here, so their flights are left behind (F2). What this thread
    /// leads itself goes on; so does a future that led, should it be polled again.
    pub(crate) fn disown(&mut self) {
        let one = self.one.iter_mut().map(|(ticket, flight)| (&*ticket, flight));
        for (ticket, flight) in one.chain(&mut self.others) {
            if !ticket.leads_here() {
                (flight.aim, flight.is_invalidated) = (Aim::Load, true);
            }
        }
    }

    /// A call joins its key's flight, or leads one where there is none. `was_absent`: it is known that there is no entry.
    pub(crate) fn begin(
        &mut self,
        (hash, known): (HashBits, Known),
        asked: Asked<K, V>,
        wants: Wants,
        was_absent: bool,
    ) -> Begun<K, V> {
        if let Some(ticket) = known.present {
            if ticket.leads_here() {
                return Begun::Nested(asked);
            }
            let flight = self.get_mut(ticket).expect("it was just found");
            if flight.aim != Aim::Reload {
                let call = asked.into_call();
                if flight.heir.is_some() && matches!(wants, Wants::Turn) {
                    // The handle that is dropped here is not the last one: the heir waits on.
                    drop(flight.change_hands(call.clone(), Aim::Compute, None));
                    return Begun::Leads(Hold::after(ticket, call));
                }
                return Begun::Waits(self.join(ticket, wants, call.clone()), call);
            }
            flight.is_invalidated = true;
        }
        Begun::Leads(self.lead((hash, known), asked, wants.aim(), was_absent))
    }

    /// A call leads a key's flight, where there is none that is present.
    #[inline(always)]
    pub(crate) fn lead(
        &mut self,
        (hash, known): (HashBits, Known),
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
            waiting: None,
        };
        if self.is_empty() {
            self.one = Some((ticket, flight));
        } else {
            self.add_to_others(ticket, flight);
        }
        Hold { ticket: Some(ticket), call }
    }

    #[cold]
    #[inline(never)]
    fn add_to_others(&mut self, ticket: Ticket, flight: Flight<K, V>) {
        self.others.insert(ticket, flight);
    }

    /// Another call waits for one that leads, and comes first: on behalf of the same caller, who does not run the closure himself.
    pub(crate) fn accompany(&mut self, ticket: Ticket, call: Arc<Call<K, V>>, wants: Wants) -> Spot {
        // It came when the flight did.
        let spot = Spot { ticket, number: ticket.number };
        if let Some(flight) = self.get_mut(ticket) {
            flight.queue().push(spot.number, wants, call);
        }
        spot
    }

    /// A call waits for a flight, behind the others.
    fn join(&mut self, ticket: Ticket, wants: Wants, call: Arc<Call<K, V>>) -> Spot {
        self.begun += 1;
        let spot = Spot { ticket, number: self.begun };
        self.get_mut(ticket).expect("it was just found").queue().push(spot.number, wants, call);
        spot
    }

    /// A leader that computes looks at the key, and goes by what it sees: what overtook it before is no news any more.
    /// `aim` is what it does next.
    pub(crate) fn catch_up(&mut self, hold: &Hold<K, V>, aim: Aim) {
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

    /// Whether it was the leader's own closure that overtook it.
    pub(crate) fn is_invalidated_by_own(&self, hold: &Hold<K, V>) -> bool {
        hold.ticket.and_then(|ticket| self.get(ticket)).is_some_and(|flight| flight.by_own)
    }

    /// The key of a leader whose value is to be kept, if there may be an entry: there is none if there was none when it began,
    /// for whatever writes one invalidates the flight (F2).
    pub(crate) fn key_to_find(&self, hold: &Hold<K, V>) -> Option<&K> {
        let flight = self.get(hold.ticket?)?;
        (!flight.was_absent && !flight.is_invalidated).then(|| flight.leader.key())
    }

    /// How many calls wait.
    pub(crate) fn waiting(&self) -> usize {
        let all = self.one.iter().map(|(_, flight)| flight).chain(self.others.values());
        all.map(|flight| flight.waiting.as_ref().map_or(0, Queue::len)).sum()
    }

    /// Recounts: panics where two flights of one key are present, or somebody waits for what nobody asked for.
    pub(crate) fn check(&self)
    where
        K: Eq,
    {
        assert!(self.one.is_some() || self.others.is_empty(), "others where there is not one");
        let flights = usize::from(self.one.is_some()) + self.others.len();
        assert_eq!(self.count, flights + self.watches.len(), "flights and watches");
        let all = || self.one.iter().map(|(ticket, flight)| (ticket, flight)).chain(&self.others);
        for (ticket, flight) in all() {
            assert!(ticket.number <= self.begun, "a flight that nobody began");
            let same = || all().filter(|(_, other)| other.leader.key() == flight.leader.key());
            assert!(same().filter(|(_, other)| other.is_present()).count() <= 1, "two flights of one key");
            assert!(same().all(|(_, other)| other.line == flight.line), "two lines of one key");
            let is_alone = flight.waiting.as_ref().is_none_or(Queue::is_empty);
            assert!(flight.aim != Aim::Reload || is_alone, "somebody waits for a reload");
            let has_heir = |number| flight.waiting.as_ref().is_some_and(|queue| queue.contains(number));
            assert!(flight.heir.is_none_or(has_heir), "an heir that does not wait");
        }
    }
}
