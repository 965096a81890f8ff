//! The operations that writers call on a shard. Each changes its key in one critical section; what is
//! left to do afterwards may take locks again. (One that lacks room releases the lock before any
//! change, and starts over with a credit.)
//!
//! Each operation has the same order of steps:
//!
//! 1. It reads the clock before it takes the lock, so that other writers do not wait for the
//!    reading. (Rarely called operations read it under the lock.)
//! 2. It looks the key up. This runs the user's `Eq`, before any change.
//! 3. It freezes the old deadline.
//! 4. It publishes the new state.
//!
//! A touch that succeeded without the lock came before the freeze, and its result is in the frozen
//! deadline. If the frozen deadline is no later than the new one, the operation keeps every promise
//! that the touch made. If it is later, the operation reads the clock again, after the freeze and
//! so after the touch read it (`Txn::written_over`, `Node::claim_seen`). So no decision of an
//! operation undoes a touch.

use super::Shard;
use super::credit::{Around, Credit};
use super::deadline::Times;
use super::deferred::Deferred;
use super::ledger::Ledger;
use super::lifespan::{Departed, Lasting, Lifespan, Over, Written};
use super::lookup::Lookup;
use super::new_entry::NewEntry;
use super::rule::Expected;
use super::txn::{FrozenAt, Txn};
use crate::hash::HashBits;
use crate::rows::RowId;
use crate::table::{Node, Place, Unlinked};
use crate::time::{Span, Tick};
use equivalent::Equivalent;

/// The result of an attempt to replace a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Replaced {
    /// The value was replaced. The old value is in the deferred work, if there is a listener.
    Done,
    /// There is no live entry.
    Gone,
    /// There is a live entry, but not the expected one.
    Changed,
}

/// The result of an attempt to remove an entry.
#[derive(Debug)]
pub(crate) enum Removed<D = ()> {
    /// The entry was removed. The value is in the deferred work, if there is a listener.
    Done(D),
    /// There is no live entry.
    Gone,
    /// There is a live entry, but not the expected one.
    Changed,
}

impl<K: Eq, V> Shard<K, V> {
    /// Stores an entry with this time to live, in place of any other, in a cache without weights.
    pub(crate) fn insert(&self, hash: HashBits, entry: &mut Option<(K, V)>, ttl: Span) -> Deferred<K, V> {
        let new = NewEntry { hash, entry, weight: 1, lifespan: Lifespan::of(Lasting::New(ttl)) };
        let mut lock = self.lock_at(hash);
        let mut txn = lock.txn();
        let place = txn.find(new.lookup());
        txn.invalidate(new.lookup(), place);
        let over = txn.freeze(place);
        txn.put(over, new)
    }

    /// Stores an entry like `insert`, with any weight and any lifespan. A separate function, so
    /// that `insert` is compiled for its constant arguments.
    #[inline(never)]
    pub(crate) fn insert_as(&self, around: &impl Around<K, V>, new: NewEntry<'_, K, V>) -> Deferred<K, V> {
        let mut credit = Credit::none(around);
        loop {
            let mut lock = self.lock_at(new.hash);
            let mut txn = lock.txn();
            let at = new.lookup();
            let place = txn.find(at);
            txn.invalidate(at, place);
            if let Err(short) = txn.pay_for(place, new.weight, new.lifespan, &mut credit) {
                drop(lock);
                credit.raise(self, *short);
                continue;
            }
            let over = txn.freeze(place);
            return txn.put(over, new);
        }
    }

    /// Stores a new entry if the shard is in the expected state. Otherwise returns an error: the
    /// deferred work of an attempt that stored nothing.
    ///
    /// An expected entry that has expired is out of the table after the attempt, for readers too,
    /// whose clock may lag. So the caller finds another state when it looks again.
    pub(crate) fn insert_if(
        &self,
        around: &impl Around<K, V>,
        new: NewEntry<'_, K, V>,
        expected: &Expected<'_, K, V>,
    ) -> Result<Deferred<K, V>, Deferred<K, V>> {
        let mut credit = Credit::none(around);
        loop {
            let mut lock = self.lock();
            let mut txn = lock.txn();
            let at = new.lookup();
            let place = txn.find(at);
            if !txn.is_as_expected(at, place, expected) {
                return Err(credit.forgo());
            }
            txn.read_clock();
            let replaces = place.filter(|_| matches!(expected, Expected::This(_)));
            let paid = if let Some(place) = replaces {
                // If the entry is over, it is not replaced but buried, and that invalidates nothing.
                let _ = txn.invalidate_unless_over(at, place);
                txn.pay_to_replace(place, new.weight, new.lifespan, &mut credit)
            } else {
                txn.invalidate(at, place);
                txn.pay_for(place, new.weight, new.lifespan, &mut credit)
            };
            if let Err(short) = paid {
                drop(lock);
                credit.raise(self, *short);
                continue;
            }
            if let Some(place) = replaces {
                let (replaced, deferred) = txn.replace_at(place, new);
                return if replaced == Replaced::Done { Ok(deferred) } else { Err(deferred) };
            }
            let over = txn.freeze(place);
            txn.read_clock();
            return Ok(txn.put(over, new));
        }
    }

    /// Stores an entry if the key has no live one. Returns `None` otherwise.
    pub(crate) fn try_insert(
        &self,
        around: &impl Around<K, V>,
        new: NewEntry<'_, K, V>,
    ) -> Option<Deferred<K, V>> {
        let mut credit = Credit::none(around);
        loop {
            let mut lock = self.lock();
            let mut txn = lock.txn();
            let at = new.lookup();
            let place = txn.find(at);
            if place.is_some_and(|place| txn.table.node(place).reap(txn.config.clock.now()).is_err()) {
                return None;
            }
            txn.invalidate(at, place);
            if let Some(place) = place {
                txn.bury_expired(place);
            }
            if let Err(short) = txn.pay_for(None, new.weight, new.lifespan, &mut credit) {
                drop(lock);
                credit.raise(self, *short);
                continue;
            }
            txn.read_clock();
            return Some(txn.put(None, new));
        }
    }

    /// Replaces the value of a live entry: of any, or only of `expected`.
    #[inline(always)]
    pub(crate) fn replace(
        &self,
        around: &impl Around<K, V>,
        new: NewEntry<'_, K, V>,
        expected: Option<&Node<K, V>>,
    ) -> (Replaced, Deferred<K, V>) {
        match new.lifespan.lasting {
            Lasting::Restarted if !self.config.weighed => self.replace_restarted(new, expected),
            _ => self.replace_as(around, new, expected),
        }
    }

    /// Replaces a value like `replace`, with a lookup of the key under the lock only. Requires that
    /// cloning the key runs no user code, and that entries have neither weights nor an `Expiry`.
    /// The time to live begins anew. Returns the value if there is no live entry.
    pub(crate) fn replace_plain<Q>(&self, at: Lookup<'_, Q>, value: V) -> (Result<(), V>, Deferred<K, V>)
    where
        Q: ?Sized + Equivalent<K>,
        K: Clone,
    {
        let mut lock = self.lock_at(at.hash);
        let mut txn = lock.txn();
        let Some(place) = txn.find(at) else {
            return (Err(value), Deferred::none());
        };
        if !txn.invalidate_unless_over(at, place) {
            return (Err(value), Deferred::none());
        }
        let mut entry = Some((txn.table.node(place).key().clone(), value));
        let lifespan = Lifespan::of(Lasting::Restarted);
        let new = NewEntry { hash: at.hash, entry: &mut entry, weight: 1, lifespan };
        let (_, deferred) = txn.replace_at(place, new);
        // The value is still there if it was not stored.
        (entry.map_or(Ok(()), |(_, value)| Err(value)), deferred)
    }

    /// Replaces a value like `replace`, in a cache without weights. The entry's own time to live
    /// begins anew. This is the usual case, and is compiled for its constant arguments.
    #[inline(always)]
    fn replace_restarted(
        &self,
        new: NewEntry<'_, K, V>,
        expected: Option<&Node<K, V>>,
    ) -> (Replaced, Deferred<K, V>) {
        let lifespan = Lifespan { lasting: Lasting::Restarted, ..new.lifespan };
        let mut lock = self.lock_at(new.hash);
        let mut txn = lock.txn();
        match txn.find_expected(new.lookup(), expected) {
            Ok(place) => txn.replace_at(place, NewEntry { lifespan, ..new }),
            Err(instead) => (instead, Deferred::none()),
        }
    }

    /// Replaces a value like `replace`, with any weight and any lifespan.
    #[inline(never)]
    pub(crate) fn replace_as(
        &self,
        around: &impl Around<K, V>,
        new: NewEntry<'_, K, V>,
        expected: Option<&Node<K, V>>,
    ) -> (Replaced, Deferred<K, V>) {
        let mut credit = Credit::none(around);
        loop {
            let mut lock = self.lock_at(new.hash);
            let mut txn = lock.txn();
            let place = match txn.find_expected(new.lookup(), expected) {
                Ok(place) => place,
                Err(instead) => return (instead, credit.forgo()),
            };
            if let Err(short) = txn.pay_to_replace(place, new.weight, new.lifespan, &mut credit) {
                drop(lock);
                credit.raise(self, *short);
                continue;
            }
            return txn.replace_at(place, new);
        }
    }

    /// Removes a live entry, whatever it is. Shows its node to `look` before, alive or not. Also
    /// invalidates what is being loaded for a key that has no entry.
    #[inline(always)]
    pub(crate) fn remove<Q>(
        &self,
        at: Lookup<'_, Q>,
        look: impl FnOnce(&Node<K, V>),
    ) -> (Removed, Deferred<K, V>)
    where
        Q: ?Sized + Equivalent<K>,
    {
        let mut lock = self.lock_at(at.hash);
        let mut txn = lock.txn();
        let place = txn.find(at);
        txn.invalidate(at, place);
        let Some(place) = place else {
            return (Removed::Gone, Deferred::none());
        };
        txn.ledger.prefetch_neighbours(txn.table.row(place));
        look(txn.table.node(place));
        txn.remove_at(place, |_, _| ())
    }

    /// Removes a live entry, if its node is the expected one. Does nothing else if it is not, and
    /// invalidates no load then.
    pub(crate) fn remove_expected<Q>(
        &self,
        at: Lookup<'_, Q>,
        expected: &Node<K, V>,
    ) -> (Removed, Deferred<K, V>)
    where
        Q: ?Sized + Equivalent<K>,
    {
        self.remove_noting(at, expected, |_, _| ())
    }

    /// Removes like `remove_expected`, and returns what is known of the entry beside its key and
    /// value.
    pub(crate) fn depart<Q>(
        &self,
        at: Lookup<'_, Q>,
        expected: &Node<K, V>,
    ) -> (Removed<Departed>, Deferred<K, V>)
    where
        Q: ?Sized + Equivalent<K>,
    {
        self.remove_noting(at, expected, |ledger, row| {
            let Times { ttl, born } = ledger.times(row);
            Departed { ttl, born, expires: ledger.expiry(row) }
        })
    }

    #[inline(always)]
    fn remove_noting<Q, D>(
        &self,
        at: Lookup<'_, Q>,
        expected: &Node<K, V>,
        note: impl FnOnce(&Ledger<K, V>, RowId) -> D,
    ) -> (Removed<D>, Deferred<K, V>)
    where
        Q: ?Sized + Equivalent<K>,
    {
        let mut lock = self.lock_at(at.hash);
        let mut txn = lock.txn();
        let Some(place) = txn.find(at) else {
            return (Removed::Gone, Deferred::none());
        };
        txn.ledger.prefetch_neighbours(txn.table.row(place));
        if !std::ptr::eq(expected, txn.table.node(place)) {
            return (Removed::Changed, Deferred::none());
        }
        // If the entry is over, it is not removed but buried, and that invalidates nothing.
        let _ = txn.invalidate_unless_over(at, place);
        txn.remove_at(place, note)
    }

    /// Gives a live entry another time to live, from now on.
    pub(crate) fn set_ttl<Q>(&self, at: Lookup<'_, Q>, ttl: Span) -> (bool, Deferred<K, V>)
    where
        Q: ?Sized + Equivalent<K>,
    {
        let mut lock = self.lock();
        let mut txn = lock.txn();
        let Some(FrozenAt { place, frozen }) = txn.freeze(txn.find(at)) else {
            return (false, Deferred::none());
        };
        let now = txn.read_clock();
        let Txn { config, table, ledger, .. } = &mut txn;
        let row = table.row(place);
        let times = Times { ttl, ..ledger.times(row) };
        let ends = config.ends(now, times.limit(now, config), ledger.expiry(row));
        let deadline = ends.deadline.tick();
        if frozen.was_alive(now) {
            config.note(ttl);
        }
        if !table.node(place).reset(&frozen, now, config.flagged(ends.deadline, ttl)) {
            txn.bury_expired(place);
            return (false, txn.settle_up());
        }
        ledger.set_ttl(row, ttl);
        ledger.bind(config, row, ends);
        ledger.refile(row, frozen.tick(), deadline, now);
        (true, txn.settle(deadline, None))
    }
}

impl<K, V> Shard<K, V> {
    /// Retires an unlinked node of which the listener has been told.
    pub(crate) fn retire(&self, removed: Unlinked<K, V>) -> Deferred<K, V> {
        let mut lock = self.lock();
        let mut txn = lock.txn();
        txn.table.retire(removed);
        txn.read_clock();
        // The node may come from a writer that did work of the reaper. Such a call does not do more
        // of that work.
        txn.settle_alone()
    }
}

impl<K: Eq, V> Txn<'_, '_, K, V> {
    /// Finds the entry that is to be replaced, alive or not, and invalidates the flight of its key.
    /// If there is none, or not the expected one, returns what to say of that.
    #[inline(always)]
    fn find_expected(
        &mut self,
        at: Lookup<'_, K>,
        expected: Option<&Node<K, V>>,
    ) -> Result<Place<K, V>, Replaced> {
        let Some(place) = self.find(at) else {
            return Err(Replaced::Gone);
        };
        if expected.is_some_and(|expected| !std::ptr::eq(expected, self.table.node(place))) {
            return Err(Replaced::Changed);
        }
        if !self.invalidate_unless_over(at, place) {
            return Err(Replaced::Gone);
        }
        Ok(place)
    }

    /// Returns whether the shard is in the state that `expected` demands.
    fn is_as_expected(
        &mut self,
        at: Lookup<'_, K>,
        place: Option<Place<K, V>>,
        expected: &Expected<'_, K, V>,
    ) -> bool {
        // An expired entry stays expired.
        match (expected, place) {
            (Expected::Absent, place) => self.is_over(place),
            (Expected::Untaken, place) => {
                self.is_over(place) && !self.ledger.flights.of_key(at.hash, at.key).is_taken()
            }
            (Expected::This(node), Some(place)) => std::ptr::eq(*node, self.table.node(place)),
            (Expected::This(_), None) => false,
            (Expected::Arrival(departure), _) => departure.is_in_order(),
        }
    }
}

impl<K, V> Txn<'_, '_, K, V> {
    /// Stores an entry like `put`. A separate function for rare callers.
    #[inline(never)]
    pub(super) fn put_as(&mut self, over: Option<FrozenAt<K, V>>, new: NewEntry<'_, K, V>) -> Deferred<K, V> {
        self.put(over, new)
    }

    /// Stores an entry under a key that has no entry.
    #[inline(always)]
    fn put_new(&mut self, new: NewEntry<'_, K, V>) -> Deferred<K, V> {
        let written = self.written(new.hash.home(), None, new.lifespan);
        if self.ledger.declines(new.weight, &written.ends) {
            return self.decline(new.entry, new.weight, None);
        }
        written.note_ttl(self.config);
        let times = written.times(self.now());
        let need = self.add(new, written.ends, times, 0);
        self.settle(need, None)
    }

    /// Stores an entry, in place of the frozen one if there is one.
    #[inline(always)]
    pub(super) fn put(&mut self, over: Option<FrozenAt<K, V>>, new: NewEntry<'_, K, V>) -> Deferred<K, V> {
        let Some(frozen) = over else { return self.put_new(new) };
        let written = self.written_over(new.hash.home(), &frozen, new.lifespan);
        let FrozenAt { place, frozen } = frozen;
        if self.ledger.declines(new.weight, &written.ends) {
            return self.decline(new.entry, new.weight, Some(place));
        }
        written.note_ttl(self.config);
        if let Some(born) = written.born {
            self.ledger.set_born(self.table.row(place), born);
        }
        let old = self.exchange(place, new.entry, new.weight, frozen.tick(), written);
        let was_alive = frozen.was_alive(self.now());
        if let Some(tally) = &mut self.ledger.tally {
            tally.replacements += u64::from(was_alive);
            tally.inserts += u64::from(!was_alive);
            tally.expired += u64::from(!was_alive);
        }
        let removed = if was_alive {
            self.hand_out(old)
        } else {
            self.bury(old);
            None
        };
        self.settle(written.ends.deadline.tick(), removed)
    }

    /// Replaces the value of an entry, if the entry is alive.
    #[inline(always)]
    pub(super) fn replace_at(
        &mut self,
        place: Place<K, V>,
        new: NewEntry<'_, K, V>,
    ) -> (Replaced, Deferred<K, V>) {
        let NewEntry { hash, entry, weight, lifespan } = new;
        let (node, row) = (self.table.node(place), self.table.row(place));
        let seen = node.seen();
        // If the entry was not alive, the claim below fails.
        let over = Some(Over { row, deadline: seen.tick() });
        let written = self.written(hash.home(), over, lifespan);
        if node.claim_seen(seen, self.now(), written.ends.deadline.tick()) {
            self.replace_claimed(place, entry, weight, seen.tick(), written)
        } else {
            self.replace_after_all(place, NewEntry { hash, entry, weight, lifespan })
        }
    }

    /// Replaces a value like `replace_at` when one look was not enough: the deadline has moved
    /// since, or would become earlier, or has passed. Freezes the deadline, then reads the clock,
    /// then claims the entry.
    #[cold]
    #[inline(never)]
    fn replace_after_all(
        &mut self,
        place: Place<K, V>,
        new: NewEntry<'_, K, V>,
    ) -> (Replaced, Deferred<K, V>) {
        let frozen = self.table.node(place).freeze();
        let now = self.read_clock();
        let over = Some(Over { row: self.table.row(place), deadline: frozen.tick() });
        let written = self.written(new.hash.home(), over, new.lifespan);
        if !self.table.node(place).claim(&frozen, now, written.ends.deadline.tick()) {
            self.bury_expired(place);
            return (Replaced::Gone, self.settle_up());
        }
        self.replace_claimed(place, new.entry, new.weight, frozen.tick(), written)
    }

    /// Replaces the value of a claimed entry, whose deadline was `before`.
    #[inline(always)]
    fn replace_claimed(
        &mut self,
        place: Place<K, V>,
        entry: &mut Option<(K, V)>,
        weight: u32,
        before: Tick,
        written: Written,
    ) -> (Replaced, Deferred<K, V>) {
        if self.ledger.declines(weight, &written.ends) {
            return (Replaced::Done, self.decline(entry, weight, Some(place)));
        }
        written.note_ttl(self.config);
        if let Some(born) = written.born {
            self.ledger.set_born(self.table.row(place), born);
        }
        let old = self.exchange(place, entry, weight, before, written);
        if let Some(tally) = &mut self.ledger.tally {
            tally.replacements += 1;
        }
        let removed = self.hand_out(old);
        (Replaced::Done, self.settle(written.ends.deadline.tick(), removed))
    }

    /// Removes an entry, if it is alive.
    #[inline(always)]
    pub(super) fn remove_at<D>(
        &mut self,
        place: Place<K, V>,
        note: impl FnOnce(&Ledger<K, V>, RowId) -> D,
    ) -> (Removed<D>, Deferred<K, V>) {
        if !self.table.node(place).kill(self.now()) {
            self.bury_expired(place);
            return (Removed::Gone, self.settle_up());
        }
        let departed = note(self.ledger, self.table.row(place));
        let old = self.take(place);
        if let Some(tally) = &mut self.ledger.tally {
            tally.explicit += 1;
        }
        let removed = self.hand_out(old);
        (Removed::Done(departed), self.settle(Tick::NEVER, removed))
    }
}
