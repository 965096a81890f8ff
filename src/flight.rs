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
//! - **F4** The books and its own caller share a call, and nobody else while it leads: so its key can be taken out. (A turn is
//!   told under the lock, so that nobody needs a handle to do it later.)
//! - **F5** The shard's lock comes before a seat's. Under either runs no user code but `Eq`; wakers are called, cloned and
//!   dropped outside.

use crate::hash::HashBits;
use crate::sync::{Alarm, Arc, Mutex, catch, thread, thread_local};
use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;

/// What a closure came to.
pub(crate) enum Outcome<V> {
    Value(V),
    Error(Failure),
    /// It answered that there is no value.
    Nothing,
}

/// A user's error, whatever its type.
pub(crate) type Failure = Arc<dyn Any + Send + Sync>;

impl<V> Outcome<V> {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Value(_) => Kind::Value,
            Self::Error(error) => Kind::Error((**error).type_id()),
            Self::Nothing => Kind::Nothing,
        }
    }
}

impl<V: Clone> Clone for Outcome<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Value(value) => Self::Value(value.clone()),
            Self::Error(error) => Self::Error(error.clone()),
            Self::Nothing => Self::Nothing,
        }
    }
}

/// An outcome without what is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Value,
    Error(TypeId),
    Nothing,
    /// None that others could use: the closure panicked, was dropped, or was about the leader alone.
    Own,
}

/// What a call would make use of, if another one's closure came to it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wants {
    /// Nothing: it wants to run its own closure.
    Turn,
    /// A value; and an error of that type, or that there is none, if it could itself answer so.
    Value { error: Option<TypeId>, nothing: bool },
}

impl Wants {
    fn accepts(self, kind: Kind) -> bool {
        match (self, kind) {
            (Self::Turn, _) | (_, Kind::Own) => false,
            (Self::Value { .. }, Kind::Value) => true,
            (Self::Value { error, .. }, Kind::Error(id)) => error == Some(id),
            (Self::Value { nothing, .. }, Kind::Nothing) => nothing,
        }
    }
}

/// One call for a key: it leads, or waits.
pub(crate) struct Call<K, V> {
    pub(crate) key: K,
    wants: Wants,
    seat: Mutex<Seat<V>>,
}

/// Where a call that waits is told.
enum Seat<V> {
    Waiting(Option<Who>),
    Told(Told<V>),
    /// It was told and has heard it, or does not wait any more.
    Left,
}

pub(crate) enum Told<V> {
    Outcome(Arc<Outcome<V>>),
    /// It leads now.
    Turn,
}

/// Who is to be woken.
pub(crate) enum Who {
    Thread(thread::Thread),
    #[cfg_attr(
        not(feature = "async"),
        expect(dead_code, reason = "calls that are not threads are async ones")
    )]
    Task(Waker),
}

impl Who {
    pub(crate) fn wake(self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            // The waker of somebody else's runtime: its panic is not this call's.
            Self::Task(waker) => {
                catch(|| waker.wake());
            }
        }
    }
}

impl<K, V> Call<K, V> {
    pub(crate) fn new(key: K, wants: Wants) -> Self {
        Self { key, wants, seat: Mutex::new(Seat::Waiting(None)) }
    }

    /// What it was told, or else `who` is woken once it is.
    pub(crate) fn poll(&self, who: Who) -> Option<Told<V>> {
        let before;
        let mut seat = self.seat.lock();
        match std::mem::replace(&mut *seat, Seat::Left) {
            Seat::Told(told) => return Some(told),
            Seat::Waiting(who) => before = who,
            Seat::Left => unreachable!("a call asks no more once it was told"),
        }
        *seat = Seat::Waiting(Some(who));
        drop(seat);
        drop(before);
        None
    }

    /// Sleeps until it is told. `None` when the alarm went off first.
    pub(crate) fn sleep(&self, alarm: &Alarm) -> Option<Told<V>> {
        loop {
            if let Some(told) = self.poll(Who::Thread(thread::current())) {
                return Some(told);
            }
            if !alarm.park() {
                return None;
            }
        }
    }

    /// Waits no more. What it was told meanwhile.
    pub(crate) fn leave(&self) -> Option<Told<V>> {
        let mut seat = self.seat.lock();
        let before = std::mem::replace(&mut *seat, Seat::Left);
        drop(seat);
        match before {
            Seat::Told(told) => Some(told),
            Seat::Waiting(_) | Seat::Left => None,
        }
    }

    /// Whoever is to be woken for it; nothing to be told if it has left.
    fn told(&self, told: Told<V>) -> Result<Option<Who>, Told<V>> {
        let mut seat = self.seat.lock();
        match &mut *seat {
            Seat::Waiting(who) => {
                let who = who.take();
                *seat = Seat::Told(told);
                Ok(who)
            }
            Seat::Told(_) | Seat::Left => Err(told),
        }
    }
}

thread_local! {
    /// The calls whose closures run on this thread, by their addresses.
    static LEADING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

fn address<K, V>(call: &Arc<Call<K, V>>) -> usize {
    Arc::as_ptr(call).addr()
}

/// While it is there, a call's closure runs on this thread: to wait for that call would be to wait for oneself.
#[derive(Debug)]
pub(crate) struct Leading;

impl Leading {
    pub(crate) fn enter<K, V>(call: &Arc<Call<K, V>>) -> Self {
        // On a thread that is about to end nobody can tell.
        let _ = LEADING.try_with(|leading| leading.borrow_mut().push(address(call)));
        Self
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        let _ = LEADING.try_with(|leading| leading.borrow_mut().pop());
    }
}

fn leads_here<K, V>(call: &Arc<Call<K, V>>) -> bool {
    LEADING.try_with(|leading| leading.borrow().contains(&address(call))).unwrap_or(false)
}

/// Which flight of a shard: the key's hash, and a number.
pub(crate) type Ticket = (u64, u64);

/// How a call came aboard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Begun {
    Leads(Ticket),
    Waits(Ticket),
    /// It would wait for a closure that it is called from.
    Nested,
}

struct Flight<K, V> {
    leader: Arc<Call<K, V>>,
    /// The key was written or removed since the leader began (F2).
    is_overtaken: bool,
    waiting: VecDeque<Waiting<K, V>>,
}

struct Waiting<K, V> {
    call: Arc<Call<K, V>>,
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
    /// The call that led. Nobody else has it, but its caller (F4).
    leader: Option<Arc<Call<K, V>>>,
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
        let others = self.others.range_mut((hash, 0)..=(hash, u64::MAX));
        one.filter(move |(ticket, _)| ticket.0 == hash)
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

    /// A call leads its key's flight, or joins the one that there is.
    pub(crate) fn begin(&mut self, hash: HashBits, call: &Arc<Call<K, V>>) -> Begun
    where
        K: Eq,
    {
        if !self.is_empty() {
            let mut of_hash = self.of_hash(hash.whole());
            if let Some((ticket, flight)) = of_hash.find(|(_, flight)| flight.leader.key == call.key) {
                if leads_here(&flight.leader) {
                    return Begun::Nested;
                }
                flight.waiting.push_back(Waiting { call: call.clone(), is_late: flight.is_overtaken });
                return Begun::Waits(ticket);
            }
        }
        self.begun += 1;
        let ticket = (hash.whole(), self.begun);
        let flight = Flight { leader: call.clone(), is_overtaken: false, waiting: VecDeque::new() };
        if self.is_empty() {
            self.one = Some((ticket, flight));
        } else {
            self.others.insert(ticket, flight);
        }
        Begun::Leads(ticket)
    }

    /// The leader looks at the key, and goes by what it sees: what overtook it before is no news any more.
    pub(crate) fn catch_up(&mut self, ticket: Ticket) {
        if let Some(flight) = self.get_mut(ticket).filter(|flight| flight.is_overtaken) {
            flight.is_overtaken = false;
            flight.waiting.iter_mut().for_each(|waiting| waiting.is_late = false);
        }
    }

    pub(crate) fn is_overtaken(&self, ticket: Ticket) -> bool {
        self.get(ticket).is_none_or(|flight| flight.is_overtaken)
    }

    /// The leader is done, and came to an outcome of this kind. Whom that leaves waiting has the turn next, one after
    /// the other. `None` if there is no such flight.
    #[inline]
    pub(crate) fn end(&mut self, ticket: Ticket, kind: Kind) -> Option<Ending<K, V>> {
        if !self.get(ticket)?.waiting.is_empty() {
            return self.end_before_a_crowd(ticket, kind);
        }
        let Flight { leader, is_overtaken, .. } = self.remove(ticket)?;
        Some(Ending { leader: Some(leader), is_overtaken, crowd: None })
    }

    #[inline(never)]
    fn end_before_a_crowd(&mut self, ticket: Ticket, kind: Kind) -> Option<Ending<K, V>> {
        let flight = self.get_mut(ticket)?;
        let (mut told, mut left) = (Vec::new(), Vec::new());
        let mut rest = VecDeque::new();
        for waiting in flight.waiting.drain(..) {
            if !waiting.is_late && waiting.call.wants.accepts(kind) {
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
                    let leader = std::mem::replace(&mut flight.leader, call);
                    (flight.is_overtaken, flight.waiting) = (false, rest);
                    let crowd = Some(Box::new(Crowd { told, next, left }));
                    return Some(Ending { leader: Some(leader), is_overtaken, crowd });
                }
                Err(_) => left.push(call),
            }
        }
        let leader = Some(self.remove(ticket)?.leader);
        Some(Ending { leader, is_overtaken, crowd: Some(Box::new(Crowd { told, next: None, left })) })
    }

    /// A call waits no more. Its handle is for the caller to drop.
    pub(crate) fn forget(&mut self, ticket: Ticket, call: &Arc<Call<K, V>>) -> Option<Arc<Call<K, V>>> {
        let waiting = &mut self.get_mut(ticket)?.waiting;
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
            assert!(ticket.1 <= self.begun, "a flight that nobody began");
            let same = all().filter(|(other, _)| other.0 == ticket.0);
            let same = same.filter(|(_, other)| other.leader.key == flight.leader.key).count();
            assert_eq!(same, 1, "two flights of one key");
            assert!(flight.is_overtaken || flight.waiting.iter().all(|waiting| !waiting.is_late));
        }
    }
}

impl<K, V> Ending<K, V> {
    /// The key of the call that led, for which its caller gives up its handle: nobody else has one (F4).
    pub(crate) fn take_key(&mut self, handle: &mut Option<Arc<Call<K, V>>>) -> Option<K> {
        *handle = None;
        self.leader.take().and_then(Arc::into_inner).map(|call| call.key)
    }

    /// Tells everybody. What is handed back is for the caller, who makes it his own once he has nothing else to do.
    #[inline]
    pub(crate) fn tell(self, outcome: Outcome<V>) -> Spoken<V> {
        match self.crowd {
            // Its key's destructor is user code, of the call's own.
            None => drop(self.leader),
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
        drop(self.leader);
    }
}

impl<K, V> Crowd<K, V> {
    fn tell(self, outcome: Outcome<V>, leader: Option<Arc<Call<K, V>>>) -> Spoken<V> {
        let Self { told, next, mut left } = self;
        // Who leads next need not wait for the others to be told.
        if let Some(next) = next {
            next.wake();
        }
        if told.is_empty() {
            dismiss(left);
            drop(leader);
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
        drop(leader);
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

/// Drops the keys of calls, which is user code: that of others panics for nobody.
fn dismiss<K, V>(calls: Vec<Arc<Call<K, V>>>) {
    for call in calls {
        catch(|| drop(call));
    }
}
