//! Calls for a key: what one wants to hear, and the inbox on which it waits to be told.
//!
//! A call that leads hears nothing and needs no inbox: its key alone is enough (`Asked::Given`). Knows nothing of flights.

use super::{Aim, Ticket};
use crate::sync::{Arc, Mutex, catch, thread};
use std::any::{Any, TypeId};
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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wants {
    /// Nothing: it wants to run its own closure.
    Turn,
    /// A value; and an error of that type, or that there is none, if it could itself answer so.
    Value { error: Option<TypeId>, nothing: bool },
}

impl Wants {
    /// What the call's own closure is for.
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

/// One call for a key, as its caller and the ledger share it: it waits, or leads and may ask for its key again.
pub(crate) struct Call<K, V> {
    pub(crate) key: K,
    inbox: Mutex<Inbox<V>>,
}

/// A key that is asked for.
pub(crate) enum Asked<K, V> {
    /// Given away: its caller does not look at it again if it leads. That takes no memory, and no counting of handles.
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

/// Where a call that waits is told.
enum Inbox<V> {
    Waiting(Option<Who>),
    /// The turn was offered to it, and whoever did so wakes it.
    Offered,
    Told(Told<V>),
    /// It was told and has heard it, or does not wait any more.
    Left,
}

pub(crate) enum Told<V> {
    /// Whether the key was written or removed before it was there, so that it was not kept.
    Outcome { outcome: Arc<Outcome<V>>, is_invalidated: bool },
    /// It leads that flight now.
    Turn(Ticket),
    /// The turn is free, for it to claim. Unless it gets it, it waits on, and is to ask again.
    Offer,
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
    pub(crate) fn new(key: K) -> Arc<Self> {
        Arc::new(Self { key, inbox: Mutex::new(Inbox::Waiting(None)) })
    }

    /// What it was told, or else `who` is woken once it is. A waker's destructor is user code, and what it was told must not be
    /// lost by its panic.
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
            Inbox::Left => unreachable!("a call asks no more once it was told"),
        };
        drop(inbox);
        catch(|| drop(who));
        told
    }

    /// Waits no more. What it was told meanwhile.
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
            Inbox::Offered | Inbox::Left => None,
        }
    }

    /// It was told that it has the turn, and waits once more.
    pub(super) fn wait_again(&self) {
        *self.inbox.lock() = Inbox::Waiting(None);
    }

    /// Whoever is to be woken for it; nothing to be told if it has left.
    pub(super) fn told(&self, told: Told<V>) -> Result<Option<Who>, Told<V>> {
        let mut inbox = self.inbox.lock();
        let who = match &mut *inbox {
            Inbox::Waiting(who) => who.take(),
            // Whoever offered it the turn wakes it.
            Inbox::Offered => None,
            Inbox::Told(_) | Inbox::Left => return Err(told),
        };
        *inbox = Inbox::Told(told);
        Ok(who)
    }

    /// Offers it the turn. Whoever is to be woken for that; `None` if it has left.
    pub(super) fn offer(&self) -> Option<Option<Who>> {
        let mut inbox = self.inbox.lock();
        let who = match &mut *inbox {
            Inbox::Waiting(who) => who.take(),
            Inbox::Offered => None,
            Inbox::Told(_) | Inbox::Left => return None,
        };
        *inbox = Inbox::Offered;
        Some(who)
    }
}
