//! Calls for a key: which outcomes a call accepts, and the inbox in which it is told.
//!
//! A leading call is told nothing and needs no inbox: its key is enough (`Asked::Given`). This file
//! knows nothing of flights.

use super::leader::Ticket;
use crate::sync::{Arc, Forks, Mutex, catch, thread};
use std::any::{Any, TypeId};
use std::task::Waker;

/// The outcome of a closure.
pub(crate) enum Outcome<V> {
    Value(V),
    Error(Failure),
    /// The closure answered that there is no value.
    Nothing,
}

/// A user's error, of any type.
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

/// The kind of an outcome, without its contents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Value,
    Error(TypeId),
    Nothing,
    /// No outcome that others could use: the closure panicked, was dropped, or concerned the leader
    /// alone.
    Own,
}

/// Which outcomes of another call's closure a call accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wants {
    /// None: the call wants to run its own closure.
    Turn,
    /// A value; also an error of this type, or the answer that there is none, if the call could
    /// itself answer so.
    Value { error: Option<TypeId>, nothing: bool, asker: Asker },
}

/// What kind of call wants a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asker {
    /// A call that returns whatever value it is told.
    Load,
    /// An entry's call: if it is told a value that was not stored, it asks again.
    Entry,
    /// An entry's call that has its value already, so that it loads nothing.
    Ready,
}

impl Wants {
    /// Returns what a call wants that returns whatever value it is told.
    pub(crate) const fn value(error: Option<TypeId>, nothing: bool) -> Self {
        Self::Value { error, nothing, asker: Asker::Load }
    }

    /// Returns the same for an entry's call.
    pub(crate) fn of_entry(self) -> Self {
        match self {
            Self::Value { error, nothing, asker: Asker::Load } => {
                Self::Value { error, nothing, asker: Asker::Entry }
            }
            _ => self,
        }
    }

    /// Returns whether it is a load if the call has its turn.
    pub(crate) fn loads(self) -> bool {
        matches!(self, Self::Value { asker: Asker::Load | Asker::Entry, .. })
    }

    /// Returns whether the call returns a value that was not stored.
    pub(crate) fn takes_unstored(self) -> bool {
        matches!(self, Self::Value { asker: Asker::Load, .. })
    }

    /// Returns the purpose of the call's own closure.
    pub(super) fn aim(self) -> Aim {
        match self {
            Self::Turn => Aim::Compute,
            Self::Value { .. } => Aim::Load,
        }
    }

    pub(super) fn accepts(self, kind: Kind) -> bool {
        match (self, kind) {
            (Self::Turn, _) | (_, Kind::Own) => false,
            (Self::Value { .. }, Kind::Value) => true,
            (Self::Value { error, .. }, Kind::Error(id)) => error == Some(id),
            (Self::Value { nothing, .. }, Kind::Nothing) => nothing,
        }
    }
}

/// One call for a key, shared by its caller and the ledger. It waits, or it leads and may need its
/// key again.
pub(crate) struct Call<K, V> {
    pub(crate) key: K,
    /// The forks that this process had come out of when the call began.
    forks: Forks,
    inbox: Mutex<Inbox<V>>,
}

/// The key of a call.
pub(crate) enum Asked<K, V> {
    /// The key was given away: its caller does not use it again if the call leads. This needs no
    /// memory and no counting of handles.
    Given(K),
    Shared(Arc<Call<K, V>>),
}

impl<K, V> Asked<K, V> {
    pub(crate) fn key(&self) -> &K {
        match self {
            Self::Given(key) => key,
            Self::Shared(call) => &call.key,
        }
    }

    pub(super) fn into_call(self) -> Arc<Call<K, V>> {
        match self {
            Self::Given(key) => Call::new(key),
            Self::Shared(call) => call,
        }
    }
}

/// The inbox of a waiting call.
enum Inbox<V> {
    Waiting(Option<Who>),
    /// The caller runs code of the user's, which may want the same turn. The call can be told an
    /// outcome, but not that it has the turn.
    Aside,
    /// The turn was offered to the call. The thread that offered it wakes the call.
    Offered,
    Told(Told<V>),
    /// The call has received what it was told, or does not wait any more.
    Left,
}

pub(crate) enum Told<V> {
    /// An outcome. `is_invalidated` says that the key was written or removed before the outcome
    /// came, so that it was not stored. `by` is the number of the call whose load came to it;
    /// `None` if no load did: a call that waited found the value, or had it from the start.
    Outcome { outcome: Arc<Outcome<V>>, is_invalidated: bool, by: Option<u64> },
    /// The call leads this flight now.
    Turn(Ticket),
    /// The turn is free, for the call to claim. If the call does not get it, the call waits on and
    /// polls again.
    Offer,
    /// The turn came while the call stood aside, and went to the next call. Or, in the child of a
    /// fork, no call passes the turn on any more. This call has to look, or to begin, anew.
    Passed,
}

/// The thread or task to wake.
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
            // The waker belongs to another runtime: its panic does not concern this call.
            Self::Task(waker) => {
                catch(|| waker.wake());
            }
        }
    }
}

impl<K, V> Call<K, V> {
    pub(crate) fn new(key: K) -> Arc<Self> {
        Self::begin(key, Inbox::Waiting(None))
    }

    /// Creates a call that stands aside from the start.
    pub(crate) fn aside(key: K) -> Arc<Self> {
        Self::begin(key, Inbox::Aside)
    }

    fn begin(key: K, inbox: Inbox<V>) -> Arc<Self> {
        Arc::new(Self { key, forks: Forks::so_far(), inbox: Mutex::new(inbox) })
    }

    /// Returns whether the call was told something. If not, the call does not stand aside any more,
    /// and `who` is woken once it is told. In the child of a fork, the call that it waits for may be
    /// one that nobody goes on with there. So a call that was told nothing before the fork is told
    /// that the turn has passed it by.
    pub(crate) fn listen(&self, who: Who) -> bool {
        let mut inbox = self.inbox.lock();
        let is_inherited = self.forks != Forks::so_far();
        let (is_told, who) = match &mut *inbox {
            Inbox::Waiting(_) | Inbox::Aside if is_inherited => {
                let before = std::mem::replace(&mut *inbox, Inbox::Told(Told::Passed));
                drop(inbox);
                catch(|| drop((before, who)));
                return true;
            }
            Inbox::Waiting(before) => (false, before.replace(who)),
            Inbox::Aside => {
                *inbox = Inbox::Waiting(Some(who));
                (false, None)
            }
            Inbox::Offered | Inbox::Told(_) | Inbox::Left => (true, Some(who)),
        };
        drop(inbox);
        catch(|| drop(who));
        is_told
    }

    /// Makes the call stand aside until it listens again. If it was told something before, does
    /// nothing and returns true.
    pub(crate) fn step_aside(&self) -> bool {
        let mut inbox = self.inbox.lock();
        let who = match &mut *inbox {
            Inbox::Waiting(who) => who.take(),
            Inbox::Aside => None,
            Inbox::Offered | Inbox::Told(_) | Inbox::Left => return true,
        };
        *inbox = Inbox::Aside;
        drop(inbox);
        catch(|| drop(who));
        false
    }

    /// Returns the flight that the call leads, if it was told that it has the turn.
    pub(crate) fn turn(&self) -> Option<Ticket> {
        match &*self.inbox.lock() {
            Inbox::Told(Told::Turn(ticket)) => Some(*ticket),
            _ => None,
        }
    }

    /// Returns what the call was told, or registers `who` to be woken once it is told. The
    /// destructor of a waker is user code. Its panic must not lose what the call was told.
    pub(crate) fn poll(&self, who: Who) -> Option<Told<V>> {
        let mut inbox = self.inbox.lock();
        let (told, who) = match std::mem::replace(&mut *inbox, Inbox::Left) {
            Inbox::Told(told) => (Some(told), Some(who)),
            Inbox::Waiting(before) => {
                *inbox = Inbox::Waiting(Some(who));
                (None, before)
            }
            Inbox::Offered => {
                *inbox = Inbox::Waiting(None);
                (Some(Told::Offer), Some(who))
            }
            Inbox::Aside => {
                *inbox = Inbox::Waiting(Some(who));
                (None, None)
            }
            Inbox::Left => unreachable!("a call asks no more once it was told"),
        };
        drop(inbox);
        catch(|| drop(who));
        told
    }

    /// Stops waiting. Returns what the call was told meanwhile.
    pub(crate) fn leave(&self) -> Option<Told<V>> {
        let mut inbox = self.inbox.lock();
        let before = std::mem::replace(&mut *inbox, Inbox::Left);
        drop(inbox);
        match before {
            Inbox::Told(told) => Some(told),
            Inbox::Waiting(who) => {
                catch(|| drop(who));
                None
            }
            Inbox::Aside | Inbox::Offered | Inbox::Left => None,
        }
    }

    /// Makes a call wait once more that was told that it has the turn.
    pub(super) fn wait_again(&self) {
        *self.inbox.lock() = Inbox::Waiting(None);
    }

    /// Tells the call. Returns whom to wake, or gives `told` back if the call has left, or cannot
    /// take the turn.
    pub(super) fn told(&self, told: Told<V>) -> Result<Option<Who>, Told<V>> {
        let mut inbox = self.inbox.lock();
        let who = match &mut *inbox {
            Inbox::Waiting(who) => who.take(),
            Inbox::Aside if matches!(told, Told::Turn(_)) => {
                *inbox = Inbox::Told(Told::Passed);
                return Err(told);
            }
            // The thread that offered the turn wakes the call. One that stands aside looks itself.
            Inbox::Aside | Inbox::Offered => None,
            Inbox::Told(_) | Inbox::Left => return Err(told),
        };
        *inbox = Inbox::Told(told);
        Ok(who)
    }

    /// Offers the call the turn. Returns whom to wake for that, or `None` if the call has left.
    pub(super) fn offer(&self) -> Option<Option<Who>> {
        let mut inbox = self.inbox.lock();
        let who = match &mut *inbox {
            Inbox::Waiting(who) => who.take(),
            Inbox::Offered => None,
            Inbox::Aside => unreachable!("a call that computes does not stand aside"),
            Inbox::Told(_) | Inbox::Left => return None,
        };
        *inbox = Inbox::Offered;
        Some(who)
    }
}

/// The purpose of a leading call's closure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Aim {
    /// To produce a value.
    Load,
    /// To compute something from the current entry.
    Compute,
    /// To produce a value for which no call waits. Other calls do not join it.
    Reload,
}

/// What the caller of a leading call holds.
pub(crate) struct Hold<K, V> {
    /// The flight; `None` once the turn is over.
    pub(crate) ticket: Option<Ticket>,
    /// The call; `None` if its key was given away, or is stored by now.
    pub(crate) call: Option<Arc<Call<K, V>>>,
}

impl<K, V> Hold<K, V> {
    /// Creates the hold of a call that waited and was told that it has the turn.
    pub(crate) fn after(ticket: Ticket, call: Arc<Call<K, V>>) -> Self {
        Self { ticket: Some(ticket), call: Some(call) }
    }

    pub(crate) fn key(&self) -> &K {
        &self.call.as_ref().expect("who asks for its key shares it with the ledger").key
    }
}
