//! Room from other shards, in a cache whose entries have weights.
//!
//! Such a cache has one account (`policy/account.rs`). An operation that stores an entry takes the
//! entry's weight from the account, under its shard's lock. If the account has too little free, the
//! shard evicts entries. If the shard itself has few entries, the operation releases the lock,
//! makes other shards give up room, and starts over with that room as its *credit*. No other
//! operation can take a credit, so each round makes progress and the operation ends.
//!
//! An operation never holds the locks of two shards. Two operations with credits could wait for
//! each other's room, so only one operation at a time has a credit (`Account::lock`, the *right* to
//! keep room).
//!
//! For a large entry, no shard gives room before the bids of all shards are known
//! (`policy/bid.rs`), and none before the operation has the right. While the operation waits for the
//! right, the capacity may become less, and then the entry is refused. So no entry is evicted for a
//! large entry that is refused.
//!
//! The operation that has the right may keep it for long: what it needs may be thousands of entries.
//! An operation on an entry that is not large does not wait for that at first, if its own shard has
//! enough. If it cannot have the right at once, it goes round once more *alone*: its own shard gives,
//! however little of its part it has.
//!
//! Why nobody takes more room than there is: an operation takes room from what is free, or from
//! entries that it has unlinked itself, under its shard's lock and before it publishes the new
//! entry. For that it needs no right. Without the right it takes no room along from one round to
//! the next: what it has and cannot use goes back to the account.
//!
//! Why every operation ends:
//!
//! - One with the right keeps all that it gets. As long as any shard has an entry that may go, each
//!   round adds to its credit. Nobody takes from that. Room that others had taken before is either
//!   used for an entry or given back. They need no right for that. After that it can be given.
//! - One without the right has at most two rounds: the first, and one alone. Then it waits for the
//!   right, which comes to it, since those who have it end.
//!
//! This file knows no other shard. The implementation of [`Around`] does.

use super::Shard;
use super::deferred::{Deferred, Elsewhere};
use super::evict::EVICTIONS;
use super::lifespan::Lifespan;
use super::txn::Txn;
use crate::policy::{Account, Bid};
use crate::sync::MutexGuard;
use crate::table::Place;

/// The cache around a shard, as far as the shard may know it.
pub(crate) trait Around<K, V> {
    fn account(&self) -> Option<&Account>;
    /// Does the first step of the deferred work of evictions, on which others rely, before the
    /// operation waits. Must be called without a lock.
    fn start(&self, evicted: &mut Deferred<K, V>);
    /// Adds to a credit what is free in the account, and what shards give that have more to give
    /// than the operation's own shard. Adds nothing if the new entry is too heavy by now: the
    /// operation finds that when it starts over. Must be called without a lock.
    fn raise(&self, credit: &mut Held<'_, K, V>);
    /// Does the deferred work of evictions, or keeps it until the operation's turn is over. Must be
    /// called without a lock. May run user code, so it must not be called while pinned, unless the
    /// operation panics.
    fn conclude(&self, evicted: Vec<Elsewhere<K, V>>);
}

/// The credit of an operation, if it needs one.
pub(super) struct Credit<'c, K, V, A: Around<K, V>> {
    around: &'c A,
    held: Option<Box<Held<'c, K, V>>>,
}

/// Room that an operation has acquired and that no entry uses yet.
pub(crate) struct Held<'c, K, V> {
    /// The weight of the new entry.
    pub(crate) weight: u32,
    pub(crate) room: u64,
    /// The weight that the operation still needs.
    pub(crate) lacking: u64,
    pub(crate) own: Own,
    /// If set, the operation's own shard gives next, however little it has, until only this much is
    /// lacking.
    pub(crate) own_gives_until: Option<u64>,
    /// Whether the victims are chosen by bids.
    pub(crate) goes_by_bids: bool,
    /// The bid of each shard, if the shards were asked. Other operations may change the shards
    /// meanwhile; that is tolerated.
    pub(crate) bids: Vec<Bid>,
    pub(crate) evicted: Vec<Elsewhere<K, V>>,
    /// The right to keep room. Without it, the operation goes round alone.
    right: Option<MutexGuard<'c, ()>>,
}

/// The shard of an operation that needs a credit.
#[derive(Clone, Copy)]
pub(crate) struct Own {
    pub(crate) number: usize,
    /// The weight that the shard could give up.
    pub(crate) rest: u64,
    pub(crate) bid: Bid,
}

/// There is too little room, and the operation has to release the lock to raise it.
#[must_use]
pub(super) struct Short<K, V> {
    weight: u32,
    lacking: u64,
    goes_by_bids: bool,
    /// Whether the operation may go round without the right to keep room.
    may_go_alone: bool,
    own: Own,
    deferred: Deferred<K, V>,
}

impl<'c, K, V, A: Around<K, V>> Credit<'c, K, V, A> {
    #[inline]
    pub(super) fn none(around: &'c A) -> Self {
        Self { around, held: None }
    }

    /// Raises the room of which an operation was short.
    #[cold]
    pub(super) fn raise(&mut self, shard: &Shard<K, V>, short: Short<K, V>) {
        let Short { weight, lacking, goes_by_bids, may_go_alone, own, mut deferred } = short;
        let Some(account) = self.around.account() else { return };
        self.around.start(&mut deferred);
        let is_first = self.held.is_none();
        let held = self.held.get_or_insert_with(|| {
            let (bids, evicted, own_gives_until) = (Vec::new(), Vec::new(), None);
            let (room, right) = (0, None);
            Box::new(Held { weight, room, lacking, own, own_gives_until, goes_by_bids, bids, evicted, right })
        });
        // In a restore, this may be another entry than before: the one that was short may not be stored.
        (held.weight, held.goes_by_bids) = (weight, goes_by_bids);
        (held.lacking, held.own, held.own_gives_until) = (lacking, own, None);
        held.evicted.push(shard.elsewhere(deferred));
        if held.right.is_none() {
            let goes_alone = is_first && may_go_alone;
            held.right = if goes_alone { account.try_lock() } else { Some(account.lock()) };
        }
        if held.right.is_some() {
            self.around.raise(held);
        } else {
            held.own_gives_until = Some(0);
        }
    }

    /// Ends the credit of an operation that stores nothing. Returns the deferred work of the
    /// evictions. Runs no user code, so it may be called under the lock and while pinned.
    #[inline]
    pub(super) fn forgo(&mut self) -> Deferred<K, V> {
        match self.held.take() {
            None => Deferred::none(),
            Some(held) => Deferred::of_elsewhere(self.end(*held)),
        }
    }

    /// Gives the room back. Returns the deferred work of the evictions.
    #[cold]
    fn end(&self, held: Held<'_, K, V>) -> Vec<Elsewhere<K, V>> {
        if let Some(account) = self.around.account() {
            account.give_back(held.room);
        }
        held.evicted
    }
}

impl<K, V, A: Around<K, V>> Drop for Credit<'_, K, V, A> {
    /// Ends the credit of an operation that panicked, or that stored nothing and returns no deferred
    /// work. In the second case, the caller is not pinned. May run user code: see [`Around::conclude`].
    #[inline]
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            let evicted = self.end(*held);
            self.around.conclude(evicted);
        }
    }
}

impl<K, V> Txn<'_, '_, K, V> {
    /// Acquires room for an entry of this weight and with this lifespan, in place of the entry at
    /// `place`. Does nothing in a cache without weights. On an error, the caller releases the lock,
    /// raises the room that it is short of, and starts over.
    ///
    /// Must be called when it is certain that the entry will be stored, unless it is over from the
    /// start, and before any change for it. For one that is over from the start there need be no room:
    /// it is not stored, and only the credit ends.
    #[inline(always)]
    pub(super) fn pay_for<A: Around<K, V>>(
        &mut self,
        place: Option<Place<K, V>>,
        weight: u32,
        lifespan: Lifespan,
        credit: &mut Credit<'_, K, V, A>,
    ) -> Result<(), Box<Short<K, V>>> {
        if !self.config.weighed {
            return Ok(());
        }
        let is_alive = |place: Place<K, V>| self.table.node(place).visible_until(self.now()).is_some();
        let is_kept = !lifespan.ends_at_once(self.config, || place.is_some_and(is_alive));
        self.pay_for_weight(place, weight, is_kept, &mut credit.held)
    }

    /// Acquires room like `pay_for`, for an entry that is not over from the start.
    #[cfg(feature = "serde")]
    #[inline(always)]
    pub(super) fn pay<A: Around<K, V>>(
        &mut self,
        place: Option<Place<K, V>>,
        weight: u32,
        credit: &mut Credit<'_, K, V, A>,
    ) -> Result<(), Box<Short<K, V>>> {
        if self.config.weighed { self.pay_for_weight(place, weight, true, &mut credit.held) } else { Ok(()) }
    }

    /// Acquires room like `pay_for`, for an entry that replaces the one at `place` if that is alive by
    /// the operation's time. If it is over, it is made dead, and nothing is stored either.
    #[inline(always)]
    pub(super) fn pay_to_replace<A: Around<K, V>>(
        &mut self,
        place: Place<K, V>,
        weight: u32,
        lifespan: Lifespan,
        credit: &mut Credit<'_, K, V, A>,
    ) -> Result<(), Box<Short<K, V>>> {
        if !self.config.weighed {
            return Ok(());
        }
        let is_alive = self.table.node(place).visible_until(self.now()).is_some();
        let is_kept = is_alive && !lifespan.ends_at_once(self.config, || true);
        self.pay_for_weight(Some(place), weight, is_kept, &mut credit.held)
    }

    #[inline(never)]
    fn pay_for_weight(
        &mut self,
        replaced: Option<Place<K, V>>,
        weight: u32,
        is_kept: bool,
        held: &mut Option<Box<Held<'_, K, V>>>,
    ) -> Result<(), Box<Short<K, V>>> {
        let replaced = replaced.map(|place| self.table.row(place));
        let Some(policy) = &mut self.ledger.policy else { return Ok(()) };
        if policy.refuses(weight) {
            self.use_up(held);
            return Ok(());
        }
        let before = replaced.map_or(0, |row| policy.weight_of(row));
        let needed = if is_kept { u64::from(weight.saturating_sub(before)) } else { 0 };
        let (mut own_gives_until, mut has_right) = (None, false);
        if let Some(held) = held {
            policy.add_credit(std::mem::take(&mut held.room));
            (own_gives_until, has_right) = (held.own_gives_until, held.right.is_some());
        }
        if !policy.affords(needed)
            && (has_right || !policy.is_large(u64::from(weight)))
            && (own_gives_until.is_some() || policy.is_due(before) && policy.gives_unasked(needed, before))
        {
            policy.has_given();
            // The replaced entry is set aside, so that it is not a victim itself. It returns to its
            // queue as a new entry.
            let aside = replaced.filter(|&row| policy.set_aside(row));
            let went_by = self.go_by(self.config.clock.now());
            self.evict_some(EVICTIONS, &mut |policy| {
                !policy.affords(needed)
                    && own_gives_until.map_or_else(|| policy.is_due(0), |rest| policy.lacking(needed) > rest)
            });
            self.go_by(went_by);
            if let (Some(policy), Some(row)) = (&mut self.ledger.policy, aside) {
                policy.put_back(row);
            }
        }
        let Some(policy) = &mut self.ledger.policy else { return Ok(()) };
        let lacking = policy.lacking(needed);
        if lacking == 0 {
            self.use_up(held);
            return Ok(());
        }
        let (rest, goes_by_bids) = (policy.weight() - u64::from(before), policy.goes_by_bids(needed));
        let may_go_alone = rest >= lacking && !policy.is_large(u64::from(weight));
        if let Some(held) = held.as_mut().filter(|held| held.right.is_some()) {
            held.room = policy.take_credit();
        }
        let bid = if goes_by_bids { self.bid(replaced) } else { Bid::default() };
        self.read_clock();
        let own = Own { number: self.shard.number, rest, bid };
        // Without the reaper's work, which could take out the entry that the caller goes on with.
        let deferred = self.settle_alone();
        Err(Box::new(Short { weight, lacking, goes_by_bids, may_go_alone, own, deferred }))
    }

    /// Ends the credit of an operation that goes on under this lock. The room that it does not need
    /// is given back at the end, and the evictions are part of the operation's deferred work.
    fn use_up(&mut self, held: &mut Option<Box<Held<'_, K, V>>>) {
        let Some(Held { room, evicted, .. }) = held.take().map(|held| *held) else { return };
        if let Some(policy) = &mut self.ledger.policy {
            policy.add_credit(room);
        }
        self.ledger.left().elsewhere.extend(evicted);
    }
}

/// The room that a shard gave for an operation on another shard.
pub(crate) struct Given<K, V> {
    /// The room, which now belongs to the caller.
    pub(crate) room: u64,
    /// The shard's next bid.
    pub(crate) bid: Bid,
    pub(crate) deferred: Deferred<K, V>,
}

impl<K, V> Shard<K, V> {
    /// Returns the shard's bid.
    pub(crate) fn bid(&self) -> Bid {
        self.lock().txn().bid(None)
    }

    /// Evicts until `lacking` is available, or until the limit of evictions in one critical section
    /// is reached.
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

    /// Returns deferred work of this shard, for an operation that has released this shard's lock.
    pub(crate) fn elsewhere(&self, deferred: Deferred<K, V>) -> Elsewhere<K, V> {
        Elsewhere { shard: self.number, deferred }
    }
}
