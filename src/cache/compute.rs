//! Computing an entry from what is there, in turn: one call of a key after the other.
//!
//! A computation looks at its key, and runs the user's closure on clones, unpinned and outside every lock, for as long as that
//! takes. Then it does what the closure said, if the key still is as the closure was shown it; otherwise it begins anew. This
//! file has the order of these steps. What is done under the lock is in `shard/inflight.rs`, and which call waits for which in
//! `inflight/`.
//!
//! # Invariants
//!
//! - **C1** Of one key, one closure runs at a time: the turn is had from before the look until what came of it is stored. Who
//!   waits, waits for the same key alone, and holds no lock and no pin meanwhile.
//! - **C2** What a closure said is done to what it was shown, in one step, or not at all: an entry that is alive at the end
//!   of a turn that nothing has invalidated since the look, is the one that was looked at; and a key without one then had none
//!   at any time between. For whatever puts a value under a key invalidates its flight first, under the same lock. (One whose own
//!   closure does so each time would begin anew for ever: it panics.)
//! - **C3** The user's code (clones, closures, an `Expiry`, a weigher, destructors of what is not kept) runs with the turn in hand and
//!   marked as such, so that it panics where it would wait for itself, and the turn is passed on. What is in hand when it panics is
//!   dropped after that, and may ask for the key.
//!
//! # What can change a key, and why a computation sees it
//!
//! | path | how |
//! |---|---|
//! | `Shard::insert`, `insert_if`, `try_insert`, `insert_some` (`insert`, `insert_many`, `rename`'s and `rename_with`'s second half), `bring_back` (`restore`) | invalidate, before they store |
//! | `Shard::replace` (`replace`, `update`) | the same; too heavy a value, with which the old one goes, included |
//! | `Shard::complete` (loads), `Shard::act` (computations) | of this key: come in turn. (Of another with the same hash: not this key) |
//! | `Shard::remove`, `depart` (`remove`, `invalidate`, `remove_if`, `retain`, `rename`'s and `rename_with`'s first half); `is_gone` (`remove` that finds nothing) | invalidate |
//! | `clear_some` (`invalidate_all`) | invalidates, in the same step in which it removes |
//! | eviction (`shard/evict.rs`, `set_capacity`), expiry (the reaper, a read, a writer that comes across) | the entry is not there, or not alive, at the end; what is put there after it, invalidates |
//! | `touch`, `set_ttl`, `persist`, a read with a time to idle, an `Expiry`'s ruling | the value stays: a computed one goes by the times that there are at the end |

use super::expiry::created;
use super::later::Later;
use super::load::{served, value};
use super::rounds::Rounds;
use super::turn::{Beginning, Heard, Turn};
use super::{Cache, Parts};
use crate::entry::{CompResult, Entry, Op};
use crate::hash::HashBits;
use crate::inflight::{Aim, Outcome};
use crate::key_value::{Key, Value};
use crate::life::Life;
use crate::listener::RemovalCause;
use crate::shard::{Acted, Action, Lifespan, Lookup, Ruling, Shard};
use crate::stats::LoadEnd;
use crate::sync::Alarm;
use crate::table::{Node, Pin};
use std::hash::BuildHasher;

/// Why nothing is done: the key is not as it was when it was looked at.
#[derive(Clone, Copy)]
pub(super) struct Superseded {
    /// It was written or removed. Else: it expired or was evicted.
    is_invalidated: bool,
    /// By the call's own closure.
    pub(super) by_own: bool,
}

/// What a call is to do, and to tell its caller. It stays in the call's memory, and is lent to the turn that does it. So a large value is on few
/// stacks; and if user code panics then, the turn is over before what is in here is dropped, which may ask for the key (C3).
pub(super) struct Plan<K, V> {
    op: Op<V>,
    /// The key to store it under.
    key: Option<K>,
    /// The value of the entry that is told of.
    kept: Option<V>,
}

impl<K, V> Plan<K, V> {
    pub(super) fn new(op: Op<V>) -> Self {
        Self { op, key: None, kept: None }
    }

    /// Drops what is in here, which is user code.
    fn clear(&mut self) {
        *self = Self::new(Op::Nop);
    }

    /// What is to be stored.
    #[inline(always)]
    fn take_entry(&mut self) -> Option<(K, V)> {
        let Op::Put(value) = std::mem::replace(&mut self.op, Op::Nop) else { return None };
        Some((self.key.take().expect("what is put was planned with its key"), value))
    }

    /// What was not done, back to where it came from.
    #[cold]
    #[inline(never)]
    fn take_back(&mut self, action: &mut Option<Action<K, V>>) {
        match action.take() {
            Some(Action::Put { entry: Some((key, value)), .. }) => {
                self.key = Some(key);
                self.op = Op::Put(value);
            }
            Some(Action::Remove) => self.op = Op::Remove,
            Some(Action::Put { entry: None, .. } | Action::Nothing) | None => {}
        }
    }
}

/// What was done.
pub(super) struct Done<K> {
    key: K,
    puts: bool,
    removes: bool,
    was_there: bool,
    is_refused: bool,
}

pub(super) const TURN_ALONE: &str = "who wants a turn is told nothing else";

impl<K, V, S> Cache<K, V, S>
where
    K: Key + Clone,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Does what a closure makes of a key's entry. `None` if the alarm goes off before it is this call's turn.
    pub(crate) fn compute<E>(
        &self,
        key: K,
        life: Life,
        alarm: &Alarm,
        mut closure: impl FnMut(Option<Entry<K, V>>) -> Result<Op<V>, E>,
    ) -> Option<Result<CompResult<K, V>, E>> {
        // Before the turn, so that they are dropped after it.
        let mut plan = Plan::new(Op::Nop);
        let later = Later::new(self);
        let mut turn = self.await_turn(key, alarm)?;
        let mut rounds = Rounds::new();
        let result = loop {
            let was_there = match turn.ask(&mut closure, &mut plan) {
                Ok(was_there) => was_there,
                Err(error) => {
                    drop(turn);
                    break Err(error);
                }
            };
            match turn.act(&later, Some(was_there), &mut plan, life) {
                Ok(done) => break Ok(done.answer(&mut plan)),
                Err((stale, again)) => {
                    again.run(|| plan.clear());
                    rounds.count(stale.by_own);
                    turn = again;
                }
            }
        };
        drop(later);
        Some(served(result, closure))
    }

    /// Returns a key's entry. If there is none, or it is out of date, the closure makes its value. `None` if the alarm goes off before this call's turn.
    pub(crate) fn load_unless(
        &self,
        key: K,
        life: Life,
        alarm: &Alarm,
        init: impl FnOnce() -> V,
        mut is_out_of_date: impl FnMut(&V) -> bool,
    ) -> Option<Entry<K, V>> {
        // Before the turn, so that it is dropped after it if user code panics.
        let found;
        let mut turn = self.await_turn(key, alarm)?;
        found = turn.view(Aim::Load);
        let is_good = turn.run(|| found.as_ref().is_some_and(|found| !is_out_of_date(found.value())));
        Some(match found {
            Some(found) if is_good => {
                drop(turn);
                served(found, (init, is_out_of_date))
            }
            old => {
                turn.run(|| drop(old));
                turn.begin_loading();
                let mut plan = Plan::new(Op::Put(turn.run(init)));
                served(turn.complete_over(&mut plan, life), is_out_of_date)
            }
        })
    }

    fn await_turn(&self, key: K, alarm: &Alarm) -> Option<Turn<'_, K, V, S>> {
        match self.begin_turn(key) {
            Beginning::Leads(turn) => Some(turn),
            Beginning::Waits(wait) => match wait.sleep(alarm)? {
                Heard::Leads(turn) => Some(turn),
                Heard::Told(..) => unreachable!("{TURN_ALONE}"),
            },
            Beginning::Hit(_) => unreachable!("{TURN_ALONE}"),
        }
    }
}

impl<'c, K, V, S> Turn<'c, K, V, S>
where
    K: Key + Clone,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    fn place(&self) -> (HashBits, &'c Shard<K, V>) {
        (self.hash, self.cache.shard_of(self.hash))
    }

    /// Returns clones of what is there. From now on `act` notices a write or a removal of the key. `aim` is what the turn is for. A
    /// turn that is to load is left behind by a write, whatever it has seen, and holds no call up.
    pub(super) fn view(&self, aim: Aim) -> Option<Entry<K, V>> {
        let (hash, shard) = self.place();
        self.run(|| {
            let pin = Pin::new();
            let found = shard.look_in_turn(hash, &self.hold, aim, &pin)?;
            Some(Entry::found(found.key().clone(), found.value().clone()))
        })
    }

    /// Shows a computation's closure what is there, and returns whether there was something. A function of its own, so that what the
    /// closure was shown has left the stack when its answer is stored.
    #[inline(never)]
    fn ask<E>(
        &self,
        closure: &mut impl FnMut(Option<Entry<K, V>>) -> Result<Op<V>, E>,
        plan: &mut Plan<K, V>,
    ) -> Result<bool, E> {
        let found = self.view(Aim::Compute);
        let was_there = found.is_some();
        plan.op = self.run(|| closure(found))?;
        Ok(was_there)
    }

    /// Does what a closure said, and ends the turn, if the key still has what the closure was shown: an entry, or none
    /// (`None`: either will do). If it does not, the call keeps the turn, and the deferred work is kept for later.
    pub(super) fn act(
        self,
        later: &Later<'_, K, V, S>,
        was_there: Option<bool>,
        plan: &mut Plan<K, V>,
        life: Life,
    ) -> Result<Done<K>, (Superseded, Self)> {
        // Before the turn, as the plan.
        let mut action;
        let cache = self.cache;
        let mut turn = self;
        let (hash, shard) = turn.place();
        let Some((was_there, weight, ruling)) = turn.run(|| turn.plan(was_there, plan, life)) else {
            // Whoever else has changed the key does not go on for ever.
            let by_own = shard.is_invalidated_by_own(&turn.hold);
            return Err((Superseded { is_invalidated: by_own, by_own }, turn));
        };
        let (puts, removes) = (matches!(plan.op, Op::Put(_)), matches!(plan.op, Op::Remove));
        action = Some(match plan.op {
            Op::Put(_) => Action::Put {
                entry: plan.take_entry(),
                weight,
                lifespan: Lifespan { lasting: life.of_update(), ruling },
            },
            Op::Remove => Action::Remove,
            Op::Nop => Action::Nothing,
        });
        let (acted, mut deferred) = shard.act(later, hash, &mut turn.hold, was_there, &mut action);
        // Whoever is next may be woken by code of the user's.
        cache.start(&mut deferred);
        let (is_invalidated, by_own) = match acted {
            Acted::Done(ending) => {
                turn.end_loading(LoadEnd::Success);
                let mut ending = ending.expect("a flight is in the ledger until it ends");
                let key = ending.take_key(&mut turn.hold).expect("nobody else has the call that leads");
                ending.pass_on();
                let cause = if removes { RemovalCause::Explicit } else { RemovalCause::Replaced };
                let is_refused = deferred.has_refused();
                // The listener is told of the evictions first, because they went first.
                later.conclude_now();
                cache.conclude(shard, deferred, cause);
                return Ok(Done { key, puts, removes, was_there, is_refused });
            }
            Acted::Invalidated { by_own } => (true, by_own),
            Acted::Gone => (false, false),
        };
        // So that it is dropped after the turn if a destructor panics.
        plan.take_back(&mut action);
        later.keep(shard, deferred);
        turn.run(|| {
            drop(plan.kept.take());
            drop(plan.key.take());
        });
        Err((Superseded { is_invalidated, by_own }, turn))
    }

    /// All of the user's code that it takes, before anything is changed: whether there is an entry, and how to store what is put.
    /// `None`, and nothing planned, if it can be seen that the closure's answer is stale.
    fn plan(
        &self,
        was_there: Option<bool>,
        plan: &mut Plan<K, V>,
        life: Life,
    ) -> Option<(bool, u32, Ruling)> {
        let (hash, shard) = self.place();
        let pin = Pin::new();
        // Another one than was looked at, perhaps: but then the flight is invalidated (C2).
        let Parts { expiry, .. } = self.cache.parts();
        let found = shard.visible::<false, K>(Lookup::new(hash, self.key()), &pin);
        let is_there = found.is_some();
        if was_there.is_some_and(|was_there| was_there != is_there) {
            return None;
        }
        let Op::Put(value) = &plan.op else {
            plan.kept = found.map(|node| node.value().clone());
            return Some((is_there, 1, Ruling::NONE));
        };
        plan.kept = Some(value.clone());
        // Under the key that is stored already, if there is one.
        let key = plan.key.insert(found.map_or(self.key(), Node::key).clone());
        let ruling = match (expiry, found) {
            (None, _) => Ruling::NONE,
            (Some(expiry), None) => created(&**expiry, key, value),
            (Some(_), Some(_)) if life == Life::Keep => Ruling::Keep,
            (Some(expiry), Some(node)) => self.cache.updated(&**expiry, key, value, node),
        };
        Some((is_there, self.cache.weigh(key, value), ruling))
    }

    /// Stores a value that was not computed from what is there, also over an entry. If the key was written or removed meanwhile,
    /// the value is not stored, just as with a load. Then what was written is returned, or the value itself if there is nothing.
    pub(super) fn complete_over(self, plan: &mut Plan<K, V>, life: Life) -> Entry<K, V> {
        // Before the turn, so that it is dropped after it.
        let later = Later::new(self.cache);
        let mut turn = self;
        loop {
            match turn.act(&later, None, plan, life) {
                Ok(done) => return done.entry(plan.kept.take().expect("what was put is told of")),
                Err((stale, again)) if stale.is_invalidated => return again.give_way(plan),
                Err((_, again)) => turn = again,
            }
        }
    }

    /// Returns what was written while a value was made, or that value if the key was removed. The value is not stored.
    #[cold]
    #[inline(never)]
    fn give_way(mut self, plan: &mut Plan<K, V>) -> Entry<K, V> {
        self.end_loading(LoadEnd::Invalidated);
        let key = self.run(|| self.key().clone());
        let cache = self.cache;
        drop(self);
        let Op::Put(made) = std::mem::replace(&mut plan.op, Op::Nop) else {
            unreachable!("what was not stored is still to be put");
        };
        let mut outcome = Outcome::Value(made);
        cache.take_stored(&key, &mut outcome);
        Entry::found(key, value(outcome))
    }
}

impl<K> Done<K> {
    /// What the caller is told of it.
    pub(super) fn answer<V>(self, plan: &mut Plan<K, V>) -> CompResult<K, V> {
        let Self { puts, removes, was_there, .. } = self;
        match plan.kept.take() {
            None => CompResult::StillNone(self.key),
            Some(value) if puts && was_there => CompResult::ReplacedWith(self.entry(value)),
            Some(value) if puts => CompResult::Inserted(self.entry(value)),
            Some(value) if removes => CompResult::Removed(self.entry(value)),
            Some(value) => CompResult::Unchanged(self.entry(value)),
        }
    }

    /// The entry that it is told of.
    fn entry<V>(self, value: V) -> Entry<K, V> {
        let Self { key, puts, was_there, is_refused, .. } = self;
        match (puts, is_refused) {
            (true, false) => Entry::made(key, value, was_there),
            (true, true) => Entry::refused(key, value, was_there),
            (false, _) => Entry::found(key, value),
        }
    }
}
