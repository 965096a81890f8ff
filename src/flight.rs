//! Flights: of one key, at most one closure runs at a time; who comes meanwhile waits, without spinning.
//!
//! A flight is a key's call whose closure runs (it *leads*), and those that wait. It lies in the books of the key's
//! shard, under the lock, so that "is it there, and if not, who is about to bring it" is one question, and a removal
//! meets either the entry or the flight that would make it. Knows keys, and what calls want to hear; knows no table,
//! no clock and no cache, and runs nobody's closure.
//!
//! ```text
//!  begin ──► leads ──────────────► end: value, error, nothing ──► told to all that asked for such
//!    │                              │
//!    └─────► waits ── told ◄────────┘  else, or if the closure panicked or was dropped:
//!              │                       the next one has the turn, and leads
//!              └── leaves (its time is up, its future is dropped)
//! ```
//!
//! # Invariants
//!
//! - **F1** A key has one flight at most, and a flight one call that leads. Which that is changes under the lock alone.
//! - **F2** What came of a flight is told to those that joined before a write to the key *overtook* it. It is not kept
//!   then, and who joined later waits for a turn of its own: it asked after that write. (A computation, which goes by
//!   what it sees, takes the mark off each time it looks at the key, and tells nobody what it came to.)
//! - **F3** A call that waits is told once, and first come first served: an outcome, or that it has the turn. One that
//!   leaves with the turn in hand passes it on.
//! - **F4** The key of a call that leads is the books' alone, or theirs and its caller's, if that has use for it: so it can be
//!   taken out. (A turn is told under the lock, so that nobody needs a handle to do it later.)
//! - **F5** The shard's lock comes before a seat's. Under either runs no user code but `Eq`; wakers are called, cloned and
//!   dropped outside.

mod call;

pub(crate) use call::{Asked, Call, Failure, Kind, Outcome, Told, Wants, Who};

use crate::hash::HashBits;
use crate::sync::{Arc, catch, thread_local};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

/// Which flight it is: the key's hash, a number, and the address of the books, for a thread that leads in several.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Ticket {
    hash: u64,
    number: u64,
    books: usize,
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
        &self.call.as_ref().expect("who asks for its key shares it with the books").key
    }
}

thread_local! {
    /// The flights whose leaders' closures run on this thread.
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

fn leads_here(ticket: Ticket) -> bool {
    LEADING.try_with(|leading| leading.borrow().contains(&ticket)).unwrap_or(false)
}

/// How a call came aboard.
pub(crate) enum Begun<K, V> {
    Leads(Hold<K, V>),
    Waits(Ticket, Arc<Call<K, V>>),
    /// It would wait for a closure that it is called from.
    Nested(Asked<K, V>),
}

struct Flight<K, V> {
    /// The key of the call that leads.
    leader: Asked<K, V>,
    /// There was no entry when the leader began.
    was_absent: bool,
    /// The key was written or removed since the leader began (F2).
    is_overtaken: bool,
    /// `None` as long as nobody waits, which is most of the time.
    waiting: Option<VecDeque<Waiting<K, V>>>,
}

impl<K, V> Flight<K, V> {
    fn ended(self, crowd: Option<Box<Crowd<K, V>>>) -> Ending<K, V> {
        Ending { leader: Some(self.leader), is_overtaken: self.is_overtaken, crowd }
    }
}

struct Waiting<K, V> {
    call: Arc<Call<K, V>>,
    wants: Wants,
    /// It joined when the flight was overtaken already.
    is_late: bool,
}

/// The flights of a shard.
pub(crate) struct Flights<K, V> {
    /// One of them. Most of the time there is no other: so a load that nobody else asks for needs no memory for its flight.
    one: Option<(Ticket, Flight<K, V>)>,
    /// All the others; none where there is no `one`.
    others: BTreeMap<Ticket, Flight<K, V>>,
    begun: u64,
}

/// What is left to do when a call does not lead any more: all of it outside the lock.
#[must_use]
pub(crate) struct Ending<K, V> {
    /// The key of the call that led (F4).
    leader: Option<Asked<K, V>>,
    /// The key was written or removed since the call that led began (F2).
    pub(crate) is_overtaken: bool,
    /// `None` if nobody waited.
    crowd: Option<Box<Crowd<K, V>>>,
}

/// Those who waited.
struct Crowd<K, V> {
    /// Those to be told the outcome.
    told: Vec<Arc<Call<K, V>>>,
    /// Who has the turn now.
    next: Option<Who>,
    /// Those that had left.
    left: Vec<Arc<Call<K, V>>>,
}

impl<K, V> Flights<K, V> {
    pub(crate) const fn new() -> Self {
        Self { one: None, others: BTreeMap::new(), begun: 0 }
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
        match self.one.take_if(|(number, _)| *number == ticket) {
            Some((_, flight)) => {
                self.one = self.others.pop_first();
                Some(flight)
            }
            None => self.others.remove(&ticket),
        }
    }

    /// The flights of all keys with a hash.
    fn of_hash(&mut self, hash: u64) -> impl Iterator<Item = (Ticket, &mut Flight<K, V>)> {
        let one = self.one.iter_mut().map(|(ticket, flight)| (*ticket, flight));
        let [first, last] = [0, u64::MAX].map(|number| Ticket { hash, number, books: 0 });
        let others = self.others.range_mut(first..last);
        one.filter(move |(ticket, _)| ticket.hash == hash)
            .chain(others.map(|(ticket, flight)| (*ticket, flight)))
    }

    /// The key is being written or removed: what its flight brings is not to be kept. (By hash alone: if it is
    /// another key's flight, that one is loaded once more.)
    #[inline]
    pub(crate) fn overtake(&mut self, hash: HashBits) {
        if !self.is_empty() {
            self.overtake_those(hash);
        }
    }

    #[cold]
    fn overtake_those(&mut self, hash: HashBits) {
        self.of_hash(hash.whole()).for_each(|(_, flight)| flight.is_overtaken = true);
    }

    /// The same of every key.
    pub(crate) fn overtake_all(&mut self) {
        let one = self.one.iter_mut().map(|(_, flight)| flight);
        one.chain(self.others.values_mut()).for_each(|flight| flight.is_overtaken = true);
    }

    /// The flight of a key, if there is one. Asks the user's `Eq`, and so before the books have the key that is asked for: if
    /// that panics, its caller drops it, outside the lock.
    pub(crate) fn of_key(&mut self, hash: HashBits, asked: &K) -> Option<Ticket>
    where
        K: Eq,
    {
        if self.is_empty() {
            return None;
        }
        let mut of_hash = self.of_hash(hash.whole());
        of_hash.find(|(_, flight)| flight.leader.key() == asked).map(|(ticket, _)| ticket)
    }

    /// A call joins its key's flight, or leads one where there is none. `was_absent`: it is known that there is no entry.
    pub(crate) fn begin(
        &mut self,
        (hash, flight): (HashBits, Option<Ticket>),
        asked: Asked<K, V>,
        wants: Wants,
        was_absent: bool,
    ) -> Begun<K, V> {
        if let Some(ticket) = flight {
            if leads_here(ticket) {
                return Begun::Nested(asked);
            }
            let flight = self.get_mut(ticket).expect("it was just found");
            let call = asked.into_call();
            let is_late = flight.is_overtaken;
            let waiting = flight.waiting.get_or_insert_default();
            waiting.push_back(Waiting { call: call.clone(), wants, is_late });
            return Begun::Waits(ticket, call);
        }
        self.begun += 1;
        let books = std::ptr::from_ref(self).addr();
        let ticket = Ticket { hash: hash.whole(), number: self.begun, books };
        let call = match &asked {
            Asked::Given(_) => None,
            Asked::Shared(call) => Some(call.clone()),
        };
        let flight = Flight { leader: asked, was_absent, is_overtaken: false, waiting: None };
        if self.is_empty() {
            self.one = Some((ticket, flight));
        } else {
            self.others.insert(ticket, flight);
        }
        Begun::Leads(Hold { ticket: Some(ticket), call })
    }

    /// The leader looks at the key, and goes by what it sees: what overtook it before is no news any more.
    pub(crate) fn catch_up(&mut self, hold: &Hold<K, V>) {
        let flight = hold.ticket.and_then(|ticket| self.get_mut(ticket));
        if let Some(flight) = flight.filter(|flight| flight.is_overtaken) {
            (flight.was_absent, flight.is_overtaken) = (false, false);
            flight.waiting.iter_mut().flatten().for_each(|waiting| waiting.is_late = false);
        }
    }

    pub(crate) fn is_overtaken(&self, hold: &Hold<K, V>) -> bool {
        hold.ticket.and_then(|ticket| self.get(ticket)).is_none_or(|flight| flight.is_overtaken)
    }

    /// The key of a leader whose value is to be kept, if there may be an entry: there is none if there was none when it began,
    /// for whatever writes one overtakes the flight (F2).
    pub(crate) fn key_to_find(&self, hold: &Hold<K, V>) -> Option<&K> {
        let flight = self.get(hold.ticket?)?;
        (!flight.was_absent && !flight.is_overtaken).then(|| flight.leader.key())
    }

    /// The leader is done, and came to an outcome of this kind. Whom that leaves waiting has the turn next, one after
    /// the other. `None` if there is no such flight.
    #[inline]
    pub(crate) fn end(&mut self, hold: &mut Hold<K, V>, kind: Kind) -> Option<Ending<K, V>> {
        let ticket = hold.ticket.take()?;
        let alone = self.one.take_if(|(number, flight)| *number == ticket && flight.waiting.is_none());
        let Some((_, flight)) = alone else {
            return self.end_among_others(ticket, kind);
        };
        if !self.others.is_empty() {
            self.one = self.others.pop_first();
        }
        Some(flight.ended(None))
    }

    /// The same, where others wait, or are under way.
    #[inline(never)]
    fn end_among_others(&mut self, ticket: Ticket, kind: Kind) -> Option<Ending<K, V>> {
        let flight = self.get_mut(ticket)?;
        let Some(waiting) = flight.waiting.take() else {
            return Some(self.remove(ticket)?.ended(None));
        };
        let (mut told, mut left) = (Vec::new(), Vec::new());
        let mut rest = VecDeque::new();
        for waiting in waiting {
            if !waiting.is_late && waiting.wants.accepts(kind) {
                told.push(waiting.call);
            } else {
                rest.push_back(waiting);
            }
        }
        let is_overtaken = flight.is_overtaken;
        while let Some(Waiting { call, .. }) = rest.pop_front() {
            match call.told(Told::Turn) {
                Ok(next) => {
                    rest.iter_mut().for_each(|waiting| waiting.is_late = false);
                    let leader = std::mem::replace(&mut flight.leader, Asked::Shared(call));
                    flight.was_absent = false;
                    (flight.is_overtaken, flight.waiting) = (false, Some(rest));
                    let crowd = Some(Box::new(Crowd { told, next, left }));
                    return Some(Ending { leader: Some(leader), is_overtaken, crowd });
                }
                Err(_) => left.push(call),
            }
        }
        let crowd = Box::new(Crowd { told, next: None, left });
        Some(self.remove(ticket)?.ended(Some(crowd)))
    }

    /// A call waits no more. Its handle is for the caller to drop.
    pub(crate) fn forget(&mut self, ticket: Ticket, call: &Arc<Call<K, V>>) -> Option<Arc<Call<K, V>>> {
        let waiting = self.get_mut(ticket)?.waiting.as_mut()?;
        let place = waiting.iter().position(|waiting| Arc::ptr_eq(&waiting.call, call))?;
        waiting.remove(place).map(|waiting| waiting.call)
    }

    /// Recounts: panics where two flights are of one key, or somebody waits for nobody.
    pub(crate) fn check(&self)
    where
        K: Eq,
    {
        assert!(self.one.is_some() || self.others.is_empty(), "others where there is not one");
        let all = || self.one.iter().map(|(ticket, flight)| (ticket, flight)).chain(&self.others);
        for (ticket, flight) in all() {
            assert!(ticket.number <= self.begun, "a flight that nobody began");
            let same = all().filter(|(other, _)| other.hash == ticket.hash);
            let same = same.filter(|(_, other)| other.leader.key() == flight.leader.key()).count();
            assert_eq!(same, 1, "two flights of one key");
            assert!(flight.is_overtaken || flight.waiting.iter().flatten().all(|waiting| !waiting.is_late));
        }
    }
}

impl<K, V> Ending<K, V> {
    /// The key of the call that led. Its caller gives up its handle, if it has one: nobody else does (F4).
    pub(crate) fn take_key(&mut self, hold: &mut Hold<K, V>) -> Option<K> {
        match self.leader.take()? {
            Asked::Given(key) => Some(key),
            Asked::Shared(call) => {
                hold.call = None;
                Arc::into_inner(call).map(|call| call.key)
            }
        }
    }

    /// Tells everybody. What is handed back is for the caller, who makes it his own once he has nothing else to do.
    #[inline]
    pub(crate) fn tell(self, outcome: Outcome<V>) -> Spoken<V> {
        match self.crowd {
            None => let_go(self.leader),
            Some(crowd) => return crowd.tell(outcome, self.leader),
        }
        Spoken::Alone(outcome)
    }

    /// Wakes who has the turn, where nobody is to be told anything.
    pub(crate) fn pass_on(self) {
        if let Some(crowd) = self.crowd {
            if let Some(next) = crowd.next {
                next.wake();
            }
            dismiss(crowd.left);
        }
        let_go(self.leader);
    }
}

impl<K, V> Crowd<K, V> {
    fn tell(self, outcome: Outcome<V>, leader: Option<Asked<K, V>>) -> Spoken<V> {
        let Self { told, next, mut left } = self;
        // Who leads next need not wait for the others to be told.
        if let Some(next) = next {
            next.wake();
        }
        if told.is_empty() {
            dismiss(left);
            let_go(leader);
            return Spoken::Alone(outcome);
        }
        let outcome = Arc::new(outcome);
        for call in &told {
            if let Ok(Some(who)) = call.told(Told::Outcome(outcome.clone())) {
                who.wake();
            }
        }
        // Not before all are told: by now a handle may be the last one, and a key's destructor is user code.
        left.extend(told);
        dismiss(left);
        let_go(leader);
        Spoken::Shared(outcome)
    }
}

/// An outcome after it was told.
#[must_use]
pub(crate) enum Spoken<V> {
    /// To nobody.
    Alone(Outcome<V>),
    Shared(Arc<Outcome<V>>),
}

impl<V: Clone> Spoken<V> {
    /// The outcome for a call of its own. A clone that panics, or a destructor, is that call's trouble: so it comes after
    /// all that concerns others.
    #[inline]
    pub(crate) fn into_own(self) -> Outcome<V> {
        match self {
            Self::Alone(outcome) => outcome,
            Self::Shared(outcome) => {
                let own = Outcome::clone(&outcome);
                // Whoever comes last drops it. It is no more his than anybody else's.
                catch(|| drop(outcome));
                own
            }
        }
    }
}

/// Drops the key of the call that led, which is user code. It has its outcome, which a panic would take from it.
#[inline]
fn let_go<K, V>(leader: Option<Asked<K, V>>) {
    if let Some(leader) = leader {
        catch(|| drop(leader));
    }
}

/// Drops the keys of calls, which is user code: that of others panics for nobody.
fn dismiss<K, V>(calls: Vec<Arc<Call<K, V>>>) {
    for call in calls {
        catch(|| drop(call));
    }
}
