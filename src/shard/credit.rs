//! Room from other shards, for a cache whose entries have weights.
//!
//! Such a cache has one account (`policy/account.rs`). An operation that brings an entry takes its weight from there
//! under its shard's lock. If that is not to be had, entries of the shard go. If the shard has little itself, the
//! operation lets go of the lock, has other shards give something up, and starts over with that *credit*. Nobody else
//! gets what it has by then, so it comes to an end. No two shards' locks are held at once; and as two who keep a credit could
//! wait for each other's, there is one at a time (`Account::turn`).
//!
//! For something large no shard gives before it is known what each of them would give (`policy/bid.rs`).
//!
//! Knows no other shard: whoever is [`Around`] does.

use super::Shard;
use super::deferred::{Deferred, Elsewhere};
use super::evict::EVICTIONS;
use super::txn::Txn;
use crate::policy::{Account, Bid};
use crate::sync::MutexGuard;
use crate::table::Place;

/// The cache around a shard, as far as that may know it.
pub(crate) trait Around<K, V> {
    fn account(&self) -> Option<&Account>;
    /// Adds to a credit what is free and what shards give that have more than the operation's own. Without a lock.
    fn raise(&self, credit: &mut Held<'_, K, V>);
    /// Does what evictions have left to do. Without a lock.
    fn conclude(&self, evicted: Vec<Elsewhere<K, V>>);
}

/// The credit of an operation, if it needs one.
pub(super) struct Credit<'c, K, V, A: Around<K, V>> {
    around: &'c A,
    held: Option<Box<Held<'c, K, V>>>,
}

/// Room that an operation has, and no entry yet.
pub(crate) struct Held<'c, K, V> {
    pub(crate) room: u64,
    /// How much more it needs.
    pub(crate) lacking: u64,
    pub(crate) own: Own,
    /// Its shard gives next, however little it has: until so much is left that is lacking.
    pub(crate) own_turn: Option<u64>,
    /// What comes is large: so it matters what goes for it.
    pub(crate) is_large: bool,
    /// What each shard would give next, if that is so and they were asked. Others may change it meanwhile, and are not waited for.
    pub(crate) bids: Vec<Bid>,
    pub(crate) evicted: Vec<Elsewhere<K, V>>,
    _turn: MutexGuard<'c, ()>,
}

/// The shard of an operation that needs a credit.
#[derive(Clone, Copy)]
pub(crate) struct Own {
    pub(crate) number: usize,
    /// What it could give.
    pub(crate) rest: u64,
    pub(crate) bid: Bid,
}

/// There is not room enough, and the lock has to be let go of to raise it.
#[must_use]
pub(super) struct Short<K, V> {
    lacking: u64,
    is_large: bool,
    own: Own,
    deferred: Deferred<K, V>,
}

impl<'c, K, V, A: Around<K, V>> Credit<'c, K, V, A> {
    #[inline]
    pub(super) fn none(around: &'c A) -> Self {
        Self { around, held: None }
    }

    /// Raises what an operation was short of.
    #[cold]
    pub(super) fn raise(&mut self, shard: &Shard<K, V>, short: Short<K, V>) {
        let Short { lacking, is_large, own, deferred } = short;
        let Some(account) = self.around.account() else { return };
        let held = self.held.get_or_insert_with(|| {
            let _turn = account.turn();
            let (bids, evicted) = (Vec::new(), Vec::new());
            Box::new(Held { room: 0, lacking, own, own_turn: None, is_large, bids, evicted, _turn })
        });
        (held.lacking, held.own, held.own_turn) = (lacking, own, None);
        held.evicted.push(shard.elsewhere(deferred));
        self.around.raise(held);
    }

    /// The operation came to nothing.
    #[cold]
    fn end(&self, held: Held<'_, K, V>) {
        let Held { room, evicted, _turn: turn, .. } = held;
        if let Some(account) = self.around.account() {
            account.give_back(room);
        }
        // Users' code runs next.
        drop(turn);
        self.around.conclude(evicted);
    }
}

impl<K, V, A: Around<K, V>> Drop for Credit<'_, K, V, A> {
    #[inline]
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.end(*held);
        }
    }
}

impl<K, V> Txn<'_, '_, K, V> {
    /// Sees to it that there is room for an entry of this weight, in the place of what is there. Where entries have
    /// weights: if not, the operation raises what it is short of, without the lock, and begins anew.
    ///
    /// To be asked when it is clear that the entry will be stored, and before anything is changed for it.
    #[inline(always)]
    pub(super) fn pay<A: Around<K, V>>(
        &mut self,
        place: Option<Place<K, V>>,
        weight: u32,
        credit: &mut Credit<'_, K, V, A>,
    ) -> Result<(), Box<Short<K, V>>> {
        if self.config.weighed { self.pay_for_weight(place, weight, &mut credit.held) } else { Ok(()) }
    }

    #[inline(never)]
    fn pay_for_weight(
        &mut self,
        replaced: Option<Place<K, V>>,
        weight: u32,
        held: &mut Option<Box<Held<'_, K, V>>>,
    ) -> Result<(), Box<Short<K, V>>> {
        let replaced = replaced.map(|place| self.table.row(place));
        let Some(policy) = &mut self.ledger.policy else { return Ok(()) };
        if policy.refuses(weight) {
            return Ok(());
        }
        let before = replaced.map_or(0, |row| policy.weight_of(row));
        let needed = u64::from(weight.saturating_sub(before));
        let mut own_turn = None;
        if let Some(held) = held {
            policy.add_credit(std::mem::take(&mut held.room));
            own_turn = held.own_turn;
        }
        if !policy.affords(needed)
            && (own_turn.is_some() || policy.is_due(before) && policy.gives_unasked(needed, before))
        {
            policy.has_given();
            // So that it does not go itself. It comes back as a new one in its queue.
            let aside = replaced.filter(|&row| policy.set_aside(row));
            let went_by = self.go_by(self.config.clock.now());
            self.evict_some(EVICTIONS, &mut |policy| {
                !policy.affords(needed)
                    && own_turn.map_or_else(|| policy.is_due(0), |rest| policy.lacking(needed) > rest)
            });
            self.go_by(went_by);
            if let (Some(policy), Some(row)) = (&mut self.ledger.policy, aside) {
                policy.put_back(row);
            }
        }
        let Some(policy) = &mut self.ledger.policy else { return Ok(()) };
        let lacking = policy.lacking(needed);
        if lacking == 0 {
            if let Some(Held { evicted, .. }) = held.take().map(|held| *held) {
                self.ledger.left().elsewhere.extend(evicted);
            }
            return Ok(());
        }
        let (rest, is_large) = (policy.weight() - u64::from(before), policy.is_large(needed));
        if let Some(held) = held {
            held.room = policy.take_credit();
        }
        let bid = if is_large { self.bid(replaced) } else { Bid::default() };
        self.read_clock();
        let own = Own { number: self.shard.number, rest, bid };
        Err(Box::new(Short { lacking, is_large, own, deferred: self.settle_up() }))
    }
}

/// What a shard gave for an operation on another one.
pub(crate) struct Given<K, V> {
    /// The caller's now.
    pub(crate) room: u64,
    /// What the shard would give next.
    pub(crate) bid: Bid,
    pub(crate) deferred: Deferred<K, V>,
}

impl<K, V> Shard<K, V> {
    /// What it would give next.
    pub(crate) fn bid(&self) -> Bid {
        self.lock().txn().bid(None)
    }

    /// Evicts until so much room is had, or what may be evicted while the lock is held.
    pub(crate) fn give(&self, lacking: u64) -> Given<K, V> {
        let mut lock = self.lock_and_read();
        let mut txn = lock.txn();
        txn.evict_some(EVICTIONS, &mut |policy| policy.lacking(lacking) != 0);
        let room = txn.ledger.policy.as_mut().map_or(0, |policy| {
            policy.has_given();
            policy.take_credit()
        });
        Given { room, bid: txn.bid(None), deferred: txn.settle_up() }
    }

    /// What it has left to do, for an operation that is not on its own lock any more.
    pub(super) fn elsewhere(&self, deferred: Deferred<K, V>) -> Elsewhere<K, V> {
        Elsewhere { shard: self.number, deferred }
    }
}
