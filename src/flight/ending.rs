//! The end of a call's turn: whom it leaves to be told, and who has the turn next.
//!
//! What is decided under the shard's lock (`flight.rs`) is carried out here, outside it: outcomes are told, wakers called, and the
//! keys of calls dropped, which is user code.

use super::{Asked, Call, Hold, Outcome, Told, Who};
use crate::sync::{Arc, catch};

/// What is left to do when a call does not lead any more: all of it outside the lock.
#[must_use]
pub(crate) struct Ending<K, V> {
    /// The key of the call that led (F4).
    pub(super) leader: Option<Asked<K, V>>,
    /// The key was written or removed since the call that led began (F2).
    pub(crate) is_invalidated: bool,
    /// `None` if nobody waited.
    pub(super) crowd: Option<Box<Crowd<K, V>>>,
}

/// Those who waited.
pub(super) struct Crowd<K, V> {
    /// Those to be told the outcome.
    pub(super) told: Vec<Arc<Call<K, V>>>,
    /// Who has the turn now.
    pub(super) next: Option<Who>,
    /// Those that had left.
    pub(super) left: Vec<Arc<Call<K, V>>>,
}

impl<K, V> Ending<K, V> {
    /// The key of the call that led. Its caller gives up its handle, if it has one: nobody else does (F4).
    #[inline(always)]
    pub(crate) fn take_key(&mut self, hold: &mut Hold<K, V>) -> Option<K> {
        match self.leader.take()? {
            Asked::Given(key) => Some(key),
            Asked::Shared(call) => take_shared_key(call, hold),
        }
    }

    /// Tells everybody. What is handed back is for the caller, who makes it his own once he has nothing else to do.
    #[inline(never)]
    pub(crate) fn tell(self, outcome: Outcome<V>) -> Spoken<V> {
        match self.crowd {
            None => let_go(self.leader),
            Some(crowd) => return crowd.tell((outcome, self.is_invalidated), self.leader),
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
    #[inline(never)]
    fn tell(self, (outcome, is_invalidated): (Outcome<V>, bool), leader: Option<Asked<K, V>>) -> Spoken<V> {
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
            if let Ok(Some(who)) = call.told(Told::Outcome { outcome: outcome.clone(), is_invalidated }) {
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
    // Whoever comes last drops it. It is no more his than anybody else's.
    catch(|| drop(outcome));
    own
}

#[inline(never)]
fn take_shared_key<K, V>(call: Arc<Call<K, V>>, hold: &mut Hold<K, V>) -> Option<K> {
    hold.call = None;
    Arc::into_inner(call).map(|call| call.key)
}

/// Drops the key of the call that led, which is user code. It has its outcome, which a panic would take from it.
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

/// Drops the keys of calls, which is user code: that of others panics for nobody.
fn dismiss<K, V>(calls: Vec<Arc<Call<K, V>>>) {
    for call in calls {
        catch(|| drop(call));
    }
}
