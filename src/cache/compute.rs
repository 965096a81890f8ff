//! Computing an entry from what is there, in turn: one call of a key after the other.
//!
//! A computation looks at its key, runs the user's closure on clones, unpinned and outside every lock, for as long as it
//! takes, and then does what the closure said, if the key is still as it was shown; else it begins anew. Here is the order
//! of these steps; what is done under the lock is in `shard/turns.rs`, and who waits for whom in `flight.rs`.
//!
//! # Invariants
//!
//! - **C1** Of one key, one closure runs at a time: the turn is had from before the look until what came of it is stored. Who
//!   waits, waits for the same key alone, and holds no lock and no pin meanwhile.
//! - **C2** What a closure said is done to what it was shown, in one step, or not at all: an entry that is alive at the end
//!   of a turn that nothing has overtaken since the look, is the one that was looked at; and a key without one then had none
//!   at any time between. For whatever puts a value under a key overtakes its flight first, under the same lock.
//! - **C3** The user's code (clones, closures, an `Expiry`, a weigher, destructors of what is not kept) runs with the turn in hand and
//!   marked as such, so that it panics where it would wait for itself, and the turn is passed on.
//!
//! # What can change a key, and why a computation sees it
//!
//! | path | how |
//! |---|---|
//! | `Shard::insert`, `insert_if`, `try_insert`, `insert_some` (`insert`, `insert_many`, `rename`'s second half) | overtake, before they store |
//! | `Shard::replace` (`replace`, `update`) | the same; too heavy a value, with which the old one goes, included |
//! | `Shard::land` (loads), `Shard::act` (computations) | of this key: come in turn. (Of another with the same hash: not this key) |
//! | `Shard::remove` (`remove`, `invalidate`, `remove_if`, `rename`'s first half) | overtakes |
//! | `clear_some` (`invalidate_all`) | has all overtaken at first; what comes after that and is removed, is not there at the end |
//! | eviction (`room.rs`, `set_capacity`), expiry (the reaper, a read, a writer that comes across) | the entry is not there, or not alive, at the end; what is put there after it, overtakes |
//! | `touch`, `set_ttl`, `persist`, a read with a time to idle, an `Expiry`'s ruling | the value stays: a computed one goes by the times that there are at the end |

use super::rule::created;
use super::turn::{Beginning, Heard, Turn};
use super::{Cache, Parts};
use crate::computed::{CompResult, Entry, Op};
use crate::hash::HashBits;
use crate::listener::RemovalCause;
use crate::shard::{Acted, Deed, Ruling, Shard};
use crate::sync::Alarm;
use crate::table::{Node, Pin, same_as};
use std::hash::{BuildHasher, Hash};

/// What is not done, because the key is not as it was when it was looked at.
pub(super) struct Stale<V> {
    op: Op<V>,
    /// It was written or removed. Else: it expired or was evicted.
    is_overtaken: bool,
}

/// What is to be done, and told of it.
struct Plan<K, V> {
    was_there: bool,
    deed: Deed<K, V>,
    /// The value of the entry that is told of.
    kept: Option<V>,
}

pub(super) const TURN_ALONE: &str = "who wants a turn is told nothing else";

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Does what a closure makes of a key's entry. `None` if the alarm goes off before it is this call's turn.
    pub(crate) fn compute<E>(
        &self,
        key: K,
        alarm: &Alarm,
        mut closure: impl FnMut(Option<Entry<K, V>>) -> Result<Op<V>, E>,
    ) -> Option<Result<CompResult<K, V>, E>> {
        let mut turn = self.await_turn(key, alarm)?;
        loop {
            let found = turn.view();
            let was_there = found.is_some();
            let op = match turn.run(|| closure(found)) {
                Ok(op) => op,
                Err(error) => return Some(Err(error)),
            };
            match turn.act(Some(was_there), op) {
                Ok(result) => return Some(Ok(result)),
                Err(stale) => turn.run(|| drop(stale)),
            }
        }
    }

    /// A key's entry, unless it is out of date; else the closure makes its value anew.
    pub(crate) fn load_unless(
        &self,
        key: K,
        init: impl FnOnce() -> V,
        mut is_out_of_date: impl FnMut(&V) -> bool,
    ) -> Entry<K, V> {
        let turn = self.await_turn(key, &Alarm::NEVER).expect("an alarm that was never set does not go off");
        match turn.run(|| turn.view().filter(|found| !is_out_of_date(found.value()))) {
            Some(found) => found,
            None => {
                let value = turn.run(init);
                turn.land_over(value)
            }
        }
    }

    fn await_turn(&self, key: K, alarm: &Alarm) -> Option<Turn<'_, K, V, S>> {
        match self.begin_turn(key) {
            Beginning::Leads(turn) => Some(turn),
            Beginning::Waits(wait) => match wait.sleep(alarm)? {
                Heard::Leads(turn) => Some(turn),
                Heard::Told(_) => unreachable!("{TURN_ALONE}"),
            },
            Beginning::Hit(_) => unreachable!("{TURN_ALONE}"),
        }
    }
}

impl<'c, K, V, S> Turn<'c, K, V, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    fn place(&self) -> (HashBits, &'c Shard<K, V>) {
        (self.hash, self.cache.shard_of(self.hash))
    }

    /// Clones of what is there. From now on `act` knows whether it was written or removed.
    pub(super) fn view(&self) -> Option<Entry<K, V>> {
        let (hash, shard) = self.place();
        self.run(|| {
            let pin = Pin::new();
            let found = shard.look_in_turn(&self.cache.parts().terms, (hash, &self.hold), &pin)?;
            Some(Entry::found(found.key().clone(), found.value().clone()))
        })
    }

    /// Does what a closure said, if there is still what it was shown (an entry, or none; `None`: either will do), and
    /// ends the turn.
    pub(super) fn act(&mut self, was_there: Option<bool>, op: Op<V>) -> Result<CompResult<K, V>, Stale<V>> {
        let Plan { was_there, deed, kept } = match self.run(|| self.plan(was_there, op)) {
            Ok(plan) => plan,
            Err(op) => return Err(Stale { op, is_overtaken: false }),
        };
        let cache = self.cache;
        let (hash, shard) = self.place();
        let (puts, removes) = (matches!(deed, Deed::Put { .. }), matches!(deed, Deed::Remove));
        let (acted, chores) = shard.act(&cache.parts().terms, (hash, &mut self.hold), (was_there, deed));
        let (deed, is_overtaken) = match acted {
            Acted::Done(ending) => {
                let mut ending = ending.expect("a flight is in the books until it ends");
                let key = ending.take_key(&mut self.hold).expect("nobody else has the call that leads");
                ending.pass_on();
                cache.conclude(
                    shard,
                    chores,
                    if removes { RemovalCause::Explicit } else { RemovalCause::Replaced },
                );
                return Ok(answer(key, kept, (puts, removes, was_there)));
            }
            Acted::Overtaken(deed) => (deed, true),
            Acted::Gone(deed) => (deed, false),
        };
        let op = self.run(|| {
            // Destructors of others may be among them.
            cache.conclude(shard, chores, RemovalCause::Expired);
            drop(kept);
            match deed {
                Deed::Nothing => Op::Nop,
                Deed::Remove => Op::Remove,
                Deed::Put { entry: (_, value), .. } => Op::Put(value),
            }
        });
        Err(Stale { op, is_overtaken })
    }

    /// All of the user's code that it takes, before anything is changed. Hands the closure's answer back if it can be seen that it is
    /// stale.
    fn plan(&self, was_there: Option<bool>, op: Op<V>) -> Result<Plan<K, V>, Op<V>> {
        let (hash, shard) = self.place();
        let pin = Pin::new();
        // Another one than was looked at, perhaps: but then the flight is overtaken (C2).
        let clock = &self.cache.parts().terms.clock;
        let found = shard.visible::<false>(clock, hash, same_as(self.key()), &pin);
        if was_there.is_some_and(|was_there| was_there != found.is_some()) {
            return Err(op);
        }
        let (deed, kept) = match op {
            Op::Nop => (Deed::Nothing, found.map(|node| node.value().clone())),
            Op::Remove => (Deed::Remove, found.map(|node| node.value().clone())),
            Op::Put(value) => {
                let kept = value.clone();
                (self.deed(found, value), Some(kept))
            }
        };
        Ok(Plan { was_there: found.is_some(), deed, kept })
    }

    /// Storing a value: under the key that is stored already, if there is one.
    fn deed(&self, found: Option<&Node<K, V>>, value: V) -> Deed<K, V> {
        let Parts { expiry, .. } = self.cache.parts();
        let entry = (found.map_or(self.key(), Node::key).clone(), value);
        let ruling = match (expiry, found) {
            (None, _) => Ruling::NONE,
            (Some(expiry), None) => created(&**expiry, &entry.0, &entry.1),
            (Some(expiry), Some(node)) => self.cache.updated(&**expiry, (&entry.0, &entry.1), node),
        };
        Deed::Put { weight: self.cache.weigh(&entry.0, &entry.1), entry, ruling }
    }

    /// Stores a value that was not computed from what is there: over it, too, unless that was written or removed meanwhile.
    /// Then it is told, and not stored, as what a load makes is not.
    pub(super) fn land_over(mut self, value: V) -> Entry<K, V> {
        let mut op = Op::Put(value);
        loop {
            let stale = match self.act(None, op) {
                Ok(result) => return result.unwrap(),
                Err(stale) => stale,
            };
            op = match stale {
                Stale { op: Op::Put(value), is_overtaken: true } => {
                    return Entry::made(self.key().clone(), value, false);
                }
                Stale { op, .. } => op,
            };
        }
    }
}

fn answer<K, V>(key: K, kept: Option<V>, (puts, removes, was_there): (bool, bool, bool)) -> CompResult<K, V> {
    match kept {
        None => CompResult::StillNone(key),
        Some(value) if puts && was_there => CompResult::ReplacedWith(Entry::made(key, value, true)),
        Some(value) if puts => CompResult::Inserted(Entry::made(key, value, false)),
        Some(value) if removes => CompResult::Removed(Entry::found(key, value)),
        Some(value) => CompResult::Unchanged(Entry::found(key, value)),
    }
}
