//! The end of a call's turn: which calls are told the outcome, and which call has the turn next.
//!
//! `passing.rs` decides this under the shard's lock. This file carries it out outside the lock: it
//! tells outcomes, calls wakers, and drops the keys of calls. All of that may run user code.

use super::waiter::{Asked, Call, Hold, Outcome, Told, Who};
use crate::sync::{Arc, catch};
use std::mem;

/// What is left to do when a call stops leading. All of it is done outside the lock.
#[must_use]
pub(crate) struct Ending<K, V> {
    /// The key of the call that led (F4).
    pub(super) leader: Option<Asked<K, V>>,
    /// The number of the call that led.
    pub(super) number: u64,
    /// Whether the key was written or removed after the call that led began (F2).
    pub(crate) is_invalidated: bool,
    /// The calls that waited; `None` if none did.
    pub(super) crowd: Option<Box<Crowd<K, V>>>,
}

/// The calls that waited.
pub(super) struct Crowd<K, V> {
    /// The calls to tell the outcome.
    pub(super) told: Vec<Arc<Call<K, V>>>,
    /// The waker of the call that has the turn now.
    pub(super) next: Option<Who>,
    /// The calls that had left, or stood aside.
    pub(super) left: Vec<Arc<Call<K, V>>>,
}

impl<K, V> Ending<K, V> {
    /// Takes the key of the call that led. Gives up the caller's handle, if there is one: there is
    /// no other handle (F4).
    #[inline(always)]
    pub(crate) fn take_key(&mut self, hold: &mut Hold<K, V>) -> Option<K> {
        match self.leader.take()? {
            Asked::Given(key) => Some(key),
            Asked::Shared(call) => take_shared_key(call, hold),
        }
    }

    /// Tells the outcome to all calls that accept it, and whether a load came to it. The caller
    /// turns it into its own outcome once it has nothing else to do. An outcome may be large, so it
    /// stays where it is.
    #[inline(never)]
    pub(crate) fn tell(self, outcome: &mut Spoken<V>, is_loaded: bool) {
        let by = is_loaded.then_some(self.number);
        match self.crowd {
            None => let_go(self.leader),
            Some(crowd) => crowd.tell(outcome, self.is_invalidated, by, self.leader),
        }
    }

    /// Wakes the call that has the turn, where no call is told an outcome.
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
    #[inline(never)]
    fn tell(
        self,
        outcome: &mut Spoken<V>,
        is_invalidated: bool,
        by: Option<u64>,
        leader: Option<Asked<K, V>>,
    ) {
        let Self { told, next, mut left } = self;
        // The next leader need not wait until the others are told.
        if let Some(next) = next {
            next.wake();
        }
        if told.is_empty() {
            dismiss(left);
            let_go(leader);
            return;
        }
        let outcome = outcome.share();
        for call in &told {
            if let Ok(Some(who)) = call.told(Told::Outcome { outcome: outcome.clone(), is_invalidated, by }) {
                who.wake();
            }
        }
        // This comes after all calls are told: by now a handle may be the last one, and the
        // destructor of a key is user code.
        left.extend(told);
        dismiss(left);
        let_go(leader);
    }
}

/// An outcome after it was told.
#[must_use]
pub(crate) enum Spoken<V> {
    /// The outcome was told to no other call.
    Alone(Outcome<V>),
    Shared(Arc<Outcome<V>>),
}

impl<V> Spoken<V> {
    pub(crate) fn outcome(&self) -> &Outcome<V> {
        match self {
            Self::Alone(outcome) => outcome,
            Self::Shared(outcome) => outcome,
        }
    }

    /// Makes it one that several calls hold, and returns a handle to it.
    fn share(&mut self) -> Arc<Outcome<V>> {
        let shared = match mem::replace(self, Self::Alone(Outcome::Nothing)) {
            Self::Alone(outcome) => Arc::new(outcome),
            Self::Shared(outcome) => outcome,
        };
        *self = Self::Shared(shared.clone());
        shared
    }
}

impl<V: Clone> Spoken<V> {
    /// Returns the outcome for the call itself. A clone or a destructor that panics concerns that
    /// call alone, so this comes after everything that concerns others.
    #[inline(never)]
    pub(crate) fn into_own(self) -> Outcome<V> {
        match self {
            Self::Alone(outcome) => outcome,
            Self::Shared(outcome) => own(outcome),
        }
    }
}

#[inline(never)]
fn own<V: Clone>(outcome: Arc<Outcome<V>>) -> Outcome<V> {
    let own = Outcome::clone(&outcome);
    // The last holder drops the outcome. A panic of its destructor does not concern that holder
    // more than any other.
    catch(|| drop(outcome));
    own
}

#[inline(never)]
fn take_shared_key<K, V>(call: Arc<Call<K, V>>, hold: &mut Hold<K, V>) -> Option<K> {
    hold.call = None;
    Arc::into_inner(call).map(|call| call.key)
}

/// Drops the key of the call that led, which is user code. The call already has its outcome, and a
/// panic would take it away.
#[inline]
fn let_go<K, V>(leader: Option<Asked<K, V>>) {
    if let Some(leader) = leader {
        let_go_of(leader);
    }
}

#[inline(never)]
fn let_go_of<K, V>(leader: Asked<K, V>) {
    catch(|| drop(leader));
}

/// Drops the keys of calls, which is user code. A panic of another call's key concerns no call.
fn dismiss<K, V>(calls: Vec<Arc<Call<K, V>>>) {
    for call in calls {
        catch(|| drop(call));
    }
}
