//! The operations that writers call on a shard: each takes the lock once.
//!
//! Order within each, and why: the clock is read before the lock is taken, so that nobody waits for that (but in what is called
//! seldom); the key is looked up (user's `Eq`, before any change); the old deadline is frozen; then the new state is published. A touch that
//! succeeded without the lock came before the freeze, and shows in the deadline: if that is no later than the one that comes, whatever was promised
//! holds. If it is later, the clock is read again, after the freeze, and so after the touch read it (`Txn::written_over`,
//! `Node::claim_seen`). So nothing that is decided here undoes it.

use super::Shard;
use super::credit::{Around, Credit};
use super::deadline::Times;
use super::deferred::Deferred;
use super::lifespan::{Departed, Lasting, Lifespan, Over, Written};
use super::lookup::Lookup;
use super::new_entry::NewEntry;
use super::rule::Expected;
use super::txn::{FrozenAt, Txn};
use crate::hash::HashBits;
use crate::table::{Node, Place, Unlinked};
use crate::time::{Span, Tick};
use equivalent::Equivalent;

/// What an attempt to replace a value came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Replaced {
    /// The old value is in the deferred work, if somebody listens.
    Done,
    /// There is no live entry.
    Gone,
    /// There is one, but not the one that was expected.
    Changed,
}

/// What an attempt to remove an entry came to.
#[derive(Debug)]
pub(crate) enum Removed {
    /// The value is in the deferred work, if somebody listens.
    Done(Departed),
    /// There is no live entry.
    Gone,
    /// There is one, but not the one that was expected.
    Changed,
}

impl<K: Eq, V> Shard<K, V> {
    /// Stores an entry, whatever was there, with this time to live, where entries have no weights.
    pub(crate) fn insert(
        &self,
        around: &impl Around<K, V>,
        hash: HashBits,
        entry: &mut Option<(K, V)>,
        ttl: Span,
    ) -> Deferred<K, V> {
        let new = NewEntry { hash, entry, weight: 1, lifespan: Lifespan::of(Lasting::New(ttl)) };
        self.insert_inline(around, new, true)
    }

    /// The same, whatever it weighs and is said of its life. On its own, so that the usual case knows what it is.
    #[inline(never)]
    pub(crate) fn insert_as(&self, around: &impl Around<K, V>, new: NewEntry<'_, K, V>) -> Deferred<K, V> {
        self.insert_inline(around, new, false)
    }

    #[inline(always)]
    fn insert_inline(
        &self,
        around: &impl Around<K, V>,
        new: NewEntry<'_, K, V>,
        is_usual: bool,
    ) -> Deferred<K, V> {
        let mut credit = Credit::none(around);
        loop {
            let mut lock = self.lock_at(new.hash);
            let mut txn = lock.txn();
            let at = new.lookup();
            let place = txn.find(at);
            txn.invalidate(at, place);
            if !is_usual {
                if let Err(short) = txn.pay(place, new.weight, &mut credit) {
                    drop(lock);
                    credit.raise(self, *short);
                    continue;
                }
            }
            let over = txn.freeze(place);
            return txn.put(over, new);
        }
    }

    /// Stores a new entry, if things are as expected. `None` if not.
    pub(crate) fn insert_if(
        &self,
        around: &impl Around<K, V>,
        new: NewEntry<'_, K, V>,
        expected: &Expected<'_, K, V>,
    ) -> Option<Deferred<K, V>> {
        let mut credit = Credit::none(around);
        loop {
            let mut lock = self.lock();
            let mut txn = lock.txn();
            let at = new.lookup();
            let place = txn.find(at);
            if !txn.is_as_expected(at, place, expected) {
                return None;
            }
            txn.invalidate(at, place);
            if let Err(short) = txn.pay(place, new.weight, &mut credit) {
                drop(lock);
                credit.raise(self, *short);
                continue;
            }
            let over = txn.freeze(place);
            let now = txn.read_clock();
            if let (Expected::This(_), Some(FrozenAt { frozen, .. })) = (expected, &over) {
                if !frozen.was_alive(now) {
                    let deferred = txn.settle_up();
                    drop(lock);
                    around.conclude(vec![self.elsewhere(deferred)]);
                    return None;
                }
            }
            return Some(txn.put(over, new));
        }
    }

    /// Stores an entry if there is no live one. `None` if there is.
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
            if let Err(short) = txn.pay(None, new.weight, &mut credit) {
                drop(lock);
                credit.raise(self, *short);
                continue;
            }
            txn.read_clock();
            return Some(txn.put(None, new));
        }
    }

    /// Puts a new value in the place of a live entry's: of any, or of `expected` alone.
    #[inline(always)]
    pub(crate) fn replace(
        &self,
        around: &impl Around<K, V>,
        new: NewEntry<'_, K, V>,
        expected: Option<&Node<K, V>>,
    ) -> (Replaced, Deferred<K, V>) {
        match new.lifespan.lasting {
            Lasting::Restarted => self.replace_restarted(around, new, expected),
            _ => self.replace_as(around, new, expected),
        }
    }

    /// As `replace`, where a clone of the key runs no code of the user's, so that it need not be looked up for that before the lock is
    /// taken; and where entries have neither weights nor an `Expiry`, and the time to live begins anew. Hands the value back if there is no live entry.
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
        // What is over is not replaced: then nothing is written that a flight would have to give way to.
        if !txn.ledger.flights.is_quiet() && txn.is_over(Some(place)) {
            return (Err(value), Deferred::none());
        }
        txn.invalidate(at, Some(place));
        let mut entry = Some((txn.table.node(place).key().clone(), value));
        let lifespan = Lifespan::of(Lasting::Restarted);
        let new = NewEntry { hash: at.hash, entry: &mut entry, weight: 1, lifespan };
        let (_, deferred) = txn.replace_at(place, new);
        // What was not taken is there.
        (entry.map_or(Ok(()), |(_, value)| Err(value)), deferred)
    }

    /// As `replace`; its own time to live begins anew.
    fn replace_restarted(
        &self,
        around: &impl Around<K, V>,
        new: NewEntry<'_, K, V>,
        expected: Option<&Node<K, V>>,
    ) -> (Replaced, Deferred<K, V>) {
        let lifespan = Lifespan { lasting: Lasting::Restarted, ..new.lifespan };
        self.replace_inline(around, NewEntry { lifespan, ..new }, expected)
    }

    /// The same, whatever becomes of the time to live. On its own, so that the usual case knows what it is.
    #[inline(never)]
    pub(crate) fn replace_as(
        &self,
        around: &impl Around<K, V>,
        new: NewEntry<'_, K, V>,
        expected: Option<&Node<K, V>>,
    ) -> (Replaced, Deferred<K, V>) {
        self.replace_inline(around, new, expected)
    }

    #[inline(always)]
    fn replace_inline(
        &self,
        around: &impl Around<K, V>,
        new: NewEntry<'_, K, V>,
        expected: Option<&Node<K, V>>,
    ) -> (Replaced, Deferred<K, V>) {
        let mut credit = Credit::none(around);
        loop {
            let mut lock = self.lock_at(new.hash);
            let mut txn = lock.txn();
            let at = new.lookup();
            let Some(place) = txn.find(at) else {
                return (Replaced::Gone, Deferred::none());
            };
            if expected.is_some_and(|expected| !std::ptr::eq(expected, txn.table.node(place))) {
                return (Replaced::Changed, Deferred::none());
            }
            txn.invalidate(at, Some(place));
            if let Err(short) = txn.pay(Some(place), new.weight, &mut credit) {
                drop(lock);
                credit.raise(self, *short);
                continue;
            }
            return txn.replace_at(place, new);
        }
    }

    /// Takes out a live entry, if its node is the one that was expected.
    pub(crate) fn remove<Q>(
        &self,
        at: Lookup<'_, Q>,
        is_expected: impl FnOnce(&Node<K, V>) -> bool,
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
        if !is_expected(txn.table.node(place)) {
            return (Removed::Changed, Deferred::none());
        }
        txn.remove_at(place)
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
        config.note(ttl);
        if !table.node(place).reset(&frozen, now, ends.deadline) {
            txn.bury_expired(place);
            return (false, txn.settle_up());
        }
        ledger.set_ttl(row, ttl);
        ledger.bind(config, row, ends);
        // One of whom nobody need be warned any more stays nowhere.
        let before = if ledger.renew(row) { Tick::NEVER } else { frozen.tick() };
        ledger.refile(row, before, deadline, now);
        (true, txn.settle(deadline, None))
    }
}

impl<K, V> Shard<K, V> {
    /// Takes back what the listener was told of.
    pub(crate) fn retire(&self, removed: Unlinked<K, V>) -> Deferred<K, V> {
        let mut lock = self.lock();
        let mut txn = lock.txn();
        txn.table.retire(removed);
        txn.read_clock();
        // What was told of may be what was taken out instead of the reaper: each does not lead to more of it.
        txn.settle_alone()
    }
}

impl<K: Eq, V> Txn<'_, '_, K, V> {
    /// Whether an entry that is expected under certain conditions may come.
    fn is_as_expected(
        &mut self,
        at: Lookup<'_, K>,
        place: Option<Place<K, V>>,
        expected: &Expected<'_, K, V>,
    ) -> bool {
        // What is over stays over.
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
    /// As `put`, on its own: where it is rare.
    #[inline(never)]
    pub(super) fn put_as(&mut self, over: Option<FrozenAt<K, V>>, new: NewEntry<'_, K, V>) -> Deferred<K, V> {
        self.put(over, new)
    }

    /// Stores an entry, in the place of a frozen one if there is one.
    #[inline(always)]
    pub(super) fn put(&mut self, over: Option<FrozenAt<K, V>>, new: NewEntry<'_, K, V>) -> Deferred<K, V> {
        let written = self.written_over(new.hash.home(), over.as_ref(), new.lifespan);
        if self.ledger.is_too_heavy(new.weight) {
            return self.refuse(new.entry, over.map(|over| over.place));
        }
        let Some(FrozenAt { place, frozen }) = over else {
            let times = written.times(self.now());
            let need = self.add(new, written.ends, times, 0);
            return self.settle(need, None);
        };
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

    /// Puts a new value in the place of an entry's, if that is alive.
    #[inline(always)]
    pub(super) fn replace_at(
        &mut self,
        place: Place<K, V>,
        new: NewEntry<'_, K, V>,
    ) -> (Replaced, Deferred<K, V>) {
        let NewEntry { hash, entry, weight, lifespan } = new;
        let (node, row) = (self.table.node(place), self.table.row(place));
        let seen = node.seen();
        // If it was not alive, the claim below fails.
        let over = Some(Over { row, deadline: seen.tick() });
        let written = self.written(hash.home(), over, lifespan);
        if node.claim_seen(seen, self.now(), written.ends.deadline.tick()) {
            self.replace_claimed(place, entry, weight, seen.tick(), written)
        } else {
            self.replace_after_all(place, NewEntry { hash, entry, weight, lifespan })
        }
    }

    /// The same where a look was not enough: the deadline has moved since, or would become earlier, or is over. The entry is frozen, then the clock
    /// is read, then it is claimed.
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

    /// Puts a new value in the place of an entry's that is claimed, and whose deadline was `before`.
    #[inline(always)]
    fn replace_claimed(
        &mut self,
        place: Place<K, V>,
        entry: &mut Option<(K, V)>,
        weight: u32,
        before: Tick,
        written: Written,
    ) -> (Replaced, Deferred<K, V>) {
        if self.ledger.is_too_heavy(weight) {
            return (Replaced::Done, self.refuse(entry, Some(place)));
        }
        let old = self.exchange(place, entry, weight, before, written);
        if let Some(tally) = &mut self.ledger.tally {
            tally.replacements += 1;
        }
        let removed = self.hand_out(old);
        (Replaced::Done, self.settle(written.ends.deadline.tick(), removed))
    }

    /// Takes out an entry, if it is alive.
    #[inline(always)]
    pub(super) fn remove_at(&mut self, place: Place<K, V>) -> (Removed, Deferred<K, V>) {
        if !self.table.node(place).kill(self.now()) {
            self.bury_expired(place);
            return (Removed::Gone, self.settle_up());
        }
        let row = self.table.row(place);
        let Times { ttl, born } = self.ledger.times(row);
        let departed = Departed { ttl, born, expires: self.ledger.expiry(row) };
        let old = self.take(place);
        if let Some(tally) = &mut self.ledger.tally {
            tally.explicit += 1;
        }
        let removed = self.hand_out(old);
        (Removed::Done(departed), self.settle(Tick::NEVER, removed))
    }
}
