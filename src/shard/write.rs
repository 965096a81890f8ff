//! The operations that writers call on a shard: each takes the lock once.
//!
//! Order within each, and why: the clock is read before the lock is taken, so that nobody waits for that (but in what is called
//! seldom); the key is looked up (user's `Eq`, before any change); the old deadline is sealed; then the new state is published. A touch that
//! succeeded without the lock came before the seal, and shows in the deadline: if that is no later than the one that comes, whatever was promised
//! holds. If it is later, the clock is read again, after the seal, and so after the touch read it (`Ledger::ends_over`,
//! `Node::claim_seen`). So nothing that is decided here undoes it.

use super::change::{bury, drop_expired, exchange, hand_out, take};
use super::credit::{Around, Credit};
use super::life::Written;
use super::offer::{Offer, offered};
use super::{Chores, Expected, Lasting, Ledger, Ruling, Shard, Terms, Times};
use crate::hash::HashBits;
use crate::table::{Node, Pin, Place, Seal, Touch, Unlinked, Writing, same_as};
use crate::time::{Span, Tick};

/// What an attempt to replace a value came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Replaced {
    /// The old value is in the chores, if somebody listens.
    Done,
    /// There is no live entry.
    Gone,
    /// There is one, but not the one that was expected.
    Changed,
}

/// What an attempt to remove an entry came to.
#[derive(Debug)]
pub(crate) enum Removed {
    /// The entry's times, and when its `Expiry` ends it. The value is in the chores, if somebody listens.
    Done(Times, Tick),
    /// There is no live entry.
    Gone,
    /// There is one, but not the one that was expected.
    Changed,
}

pub(super) type Table<'a, 't, K, V> = Writing<'a, 't, K, V, Ledger<K, V>>;

/// Where an entry is, whose deadline is sealed.
type SealedAt<K, V> = (Place<K, V>, Seal);

/// An entry that is a replacement's now: its deadline before, the time that counts, and what comes.
struct Claimed {
    before: Tick,
    now: Tick,
    written: Written,
}

impl<K: Eq, V> Shard<K, V> {
    /// Stores an entry, whatever was there, with this time to live, where entries have no weights.
    pub(crate) fn insert(
        &self,
        around: &impl Around<K, V>,
        hash: HashBits,
        entry: &mut Option<(K, V)>,
        ttl: Span,
    ) -> Chores<K, V> {
        self.insert_inline(around, hash, (entry, 1), (Lasting::New(ttl), Ruling::NONE), true)
    }

    /// The same, whatever it weighs and is said of its life. On its own, so that the usual case knows what it is.
    #[inline(never)]
    pub(crate) fn insert_as(
        &self,
        around: &impl Around<K, V>,
        hash: HashBits,
        offer: Offer<'_, K, V>,
        life: (Lasting, Ruling),
    ) -> Chores<K, V> {
        self.insert_inline(around, hash, offer, life, false)
    }

    #[inline(always)]
    fn insert_inline(
        &self,
        around: &impl Around<K, V>,
        hash: HashBits,
        (entry, weight): Offer<'_, K, V>,
        life: (Lasting, Ruling),
        is_usual: bool,
    ) -> Chores<K, V> {
        let (terms, mut credit) = (around.terms(), Credit::none(around));
        loop {
            let (mut locked, now) = self.table.lock_at(hash, &terms.clock);
            let (mut table, ledger) = locked.parts();
            let is_key = same_as(offered(entry));
            let place = table.find(hash, is_key);
            ledger.overtake(&table, hash, place, is_key);
            if !is_usual {
                if let Err(short) = self.pay((&mut table, ledger), (place, weight), &mut credit) {
                    drop(locked);
                    credit.raise(self, *short);
                    continue;
                }
            }
            let seal = place.map(|place| table.node(place).seal());
            let known = (place.zip(seal), now, life);
            return self.put(terms, (&mut table, ledger), hash, (entry, weight), known);
        }
    }

    /// Stores a new entry, if things are as expected. `None` if not.
    pub(crate) fn insert_if(
        &self,
        around: &impl Around<K, V>,
        hash: HashBits,
        (entry, weight): Offer<'_, K, V>,
        life: (Lasting, Ruling),
        expected: &Expected<'_, K, V>,
    ) -> Option<Chores<K, V>> {
        let (terms, mut credit) = (around.terms(), Credit::none(around));
        loop {
            let mut locked = self.table.lock();
            let (mut table, ledger) = locked.parts();
            let is_key = same_as(offered(entry));
            let place = table.find(hash, is_key);
            // What is over stays over.
            let is_over = |at| table.node(at).visible_until(terms.clock.now()).is_none();
            match (expected, place) {
                (Expected::Absent, at) if at.is_none_or(is_over) => {}
                (Expected::Untaken, at)
                    if at.is_none_or(is_over) && !ledger.flights.of_key(hash, offered(entry)).is_taken() => {}
                (Expected::This(node), Some(at)) if std::ptr::eq(*node, table.node(at)) => {}
                (Expected::Arrival(departure), _) if departure.is_in_order() => {}
                _ => return None,
            }
            ledger.overtake(&table, hash, place, is_key);
            if let Err(short) = self.pay((&mut table, ledger), (place, weight), &mut credit) {
                drop(locked);
                credit.raise(self, *short);
                continue;
            }
            let seal = place.map(|place| table.node(place).seal());
            let now = terms.clock.now();
            if let (Expected::This(_), Some(seal)) = (expected, &seal) {
                if !seal.was_alive(now) {
                    let chores = self.settle((&mut table, ledger), (now, Tick::NEVER), None);
                    drop(locked);
                    around.conclude(vec![(self.number, chores)]);
                    return None;
                }
            }
            let known = (place.zip(seal), now, life);
            return Some(self.put(terms, (&mut table, ledger), hash, (entry, weight), known));
        }
    }

    /// As `put`, on its own: where it is rare.
    #[inline(never)]
    pub(super) fn put_as(
        &self,
        terms: &Terms,
        books: (&mut Table<'_, '_, K, V>, &mut Ledger<K, V>),
        hash: HashBits,
        offer: Offer<'_, K, V>,
        known: (Option<SealedAt<K, V>>, Tick, (Lasting, Ruling)),
    ) -> Chores<K, V> {
        self.put(terms, books, hash, offer, known)
    }

    /// Stores an entry, in the place of a sealed one if there is one.
    #[inline(always)]
    pub(super) fn put(
        &self,
        terms: &Terms,
        (table, ledger): (&mut Table<'_, '_, K, V>, &mut Ledger<K, V>),
        hash: HashBits,
        (entry, weight): Offer<'_, K, V>,
        (sealed, now, life): (Option<SealedAt<K, V>>, Tick, (Lasting, Ruling)),
    ) -> Chores<K, V> {
        let found = sealed.as_ref().map(|(place, seal)| (table.row(*place), seal));
        let (now, written) = ledger.ends_over(terms, (now, hash.home()), found, life);
        let deadline = written.ends.deadline.tick();
        if ledger.is_too_heavy(weight) {
            return self.refuse(terms, (table, ledger), entry, (sealed.map(|(place, _)| place), now));
        }
        let Some((place, seal)) = sealed else {
            let times = written.times(now);
            let known = (now, written.ends, times, 0);
            let need = self.add(terms, (table, ledger), hash, (entry, weight), known);
            return self.settle((table, ledger), (now, need), None);
        };
        if let Some(born) = written.born {
            ledger.set_born(table.row(place), born);
        }
        let old = exchange(terms, (table, ledger), place, (entry, weight), (seal.tick(), now, written));
        let was_alive = seal.was_alive(now);
        if let Some(tally) = &mut ledger.tally {
            tally.replacements += u64::from(was_alive);
            tally.inserts += u64::from(!was_alive);
            tally.expired += u64::from(!was_alive);
        }
        let removed = if was_alive {
            hand_out(terms, table, old)
        } else {
            bury(terms, table, ledger, old);
            None
        };
        self.settle((table, ledger), (now, deadline), removed)
    }

    /// Stores an entry if there is no live one. `None` if there is.
    pub(crate) fn try_insert(
        &self,
        around: &impl Around<K, V>,
        hash: HashBits,
        (entry, weight): Offer<'_, K, V>,
        life: (Lasting, Ruling),
    ) -> Option<Chores<K, V>> {
        let (terms, mut credit) = (around.terms(), Credit::none(around));
        loop {
            let mut locked = self.table.lock();
            let (mut table, ledger) = locked.parts();
            let is_key = same_as(offered(entry));
            let place = table.find(hash, is_key);
            if place.is_some_and(|place| table.node(place).reap(terms.clock.now()).is_err()) {
                return None;
            }
            ledger.overtake(&table, hash, place, is_key);
            if let Some(place) = place {
                drop_expired(terms, &mut table, ledger, place);
            }
            if let Err(short) = self.pay((&mut table, ledger), (None, weight), &mut credit) {
                drop(locked);
                credit.raise(self, *short);
                continue;
            }
            let now = terms.clock.now();
            let written = ledger.ends_of_write(terms, (now, hash.home()), None, life);
            let (times, ends) = (written.times(now), written.ends);
            if ledger.is_too_heavy(weight) {
                return Some(self.refuse(terms, (&mut table, ledger), entry, (None, now)));
            }
            let need = self.add(terms, (&mut table, ledger), hash, (entry, weight), (now, ends, times, 0));
            return Some(self.settle((&mut table, ledger), (now, need), None));
        }
    }

    /// Puts a new value in the place of a live entry's: of any, or of `expected` alone.
    #[inline(always)]
    pub(crate) fn replace_for(
        &self,
        around: &impl Around<K, V>,
        hash: HashBits,
        offer: Offer<'_, K, V>,
        expected: Option<&Node<K, V>>,
        (lasting, ruling): (Lasting, Ruling),
    ) -> (Replaced, Chores<K, V>) {
        match lasting {
            Lasting::Restarted => self.replace(around, hash, offer, (expected, ruling)),
            _ => self.replace_as(around, hash, offer, (expected, (lasting, ruling))),
        }
    }

    /// As `replace_for`, where a clone of the key runs no code of the user's, so that it need not be looked up for that before the lock is
    /// taken; and where entries have neither weights nor an `Expiry`, and the time to live begins anew. Hands the value back if there is no live entry.
    pub(crate) fn replace_plain(
        &self,
        around: &impl Around<K, V>,
        hash: HashBits,
        is_key: impl Fn(&K) -> bool + Copy,
        value: V,
    ) -> (Result<(), V>, Chores<K, V>)
    where
        K: Clone,
    {
        let (mut locked, now) = self.table.lock_at(hash, &around.terms().clock);
        let (mut table, ledger) = locked.parts();
        let Some(place) = table.find(hash, is_key) else {
            return (Err(value), Chores::none());
        };
        // What is over is not replaced: then nothing is written that a flight would have to give way to.
        let is_over = || table.node(place).visible_until(around.terms().clock.now()).is_none();
        if !ledger.flights.is_quiet() && is_over() {
            return (Err(value), Chores::none());
        }
        ledger.overtake(&table, hash, Some(place), is_key);
        let mut offered = Some((table.node(place).key().clone(), value));
        let (books, life) = ((&mut table, ledger), (Lasting::Restarted, Ruling::NONE));
        let (_, chores) =
            self.replace_at(around.terms(), books, ((hash, place), now), (&mut offered, 1), life);
        // What was not taken is there.
        (offered.map_or(Ok(()), |(_, value)| Err(value)), chores)
    }

    /// The same; its own time to live begins anew.
    fn replace(
        &self,
        around: &impl Around<K, V>,
        hash: HashBits,
        offer: Offer<'_, K, V>,
        (expected, ruling): (Option<&Node<K, V>>, Ruling),
    ) -> (Replaced, Chores<K, V>) {
        self.replace_inline(around, hash, offer, (expected, (Lasting::Restarted, ruling)))
    }

    /// The same, whatever becomes of the time to live. On its own, so that the usual case knows what it is.
    #[inline(never)]
    pub(crate) fn replace_as(
        &self,
        around: &impl Around<K, V>,
        hash: HashBits,
        offer: Offer<'_, K, V>,
        how: (Option<&Node<K, V>>, (Lasting, Ruling)),
    ) -> (Replaced, Chores<K, V>) {
        self.replace_inline(around, hash, offer, how)
    }

    #[inline(always)]
    fn replace_inline(
        &self,
        around: &impl Around<K, V>,
        hash: HashBits,
        (entry, weight): Offer<'_, K, V>,
        (expected, life): (Option<&Node<K, V>>, (Lasting, Ruling)),
    ) -> (Replaced, Chores<K, V>) {
        let mut credit = Credit::none(around);
        loop {
            let (mut locked, now) = self.table.lock_at(hash, &around.terms().clock);
            let (mut table, ledger) = locked.parts();
            let is_key = same_as(offered(entry));
            let Some(place) = table.find(hash, is_key) else {
                return (Replaced::Gone, Chores::none());
            };
            if expected.is_some_and(|expected| !std::ptr::eq(expected, table.node(place))) {
                return (Replaced::Changed, Chores::none());
            }
            ledger.overtake(&table, hash, Some(place), is_key);
            if let Err(short) = self.pay((&mut table, ledger), (Some(place), weight), &mut credit) {
                drop(locked);
                credit.raise(self, *short);
                continue;
            }
            let books = (&mut table, ledger);
            return self.replace_at(around.terms(), books, ((hash, place), now), (entry, weight), life);
        }
    }

    /// Puts a new value in the place of an entry's, if that is alive. `now` is a reading from within the call.
    #[inline(always)]
    pub(super) fn replace_at(
        &self,
        terms: &Terms,
        (table, ledger): (&mut Table<'_, '_, K, V>, &mut Ledger<K, V>),
        ((hash, place), now): ((HashBits, Place<K, V>), Tick),
        (entry, weight): Offer<'_, K, V>,
        life: (Lasting, Ruling),
    ) -> (Replaced, Chores<K, V>) {
        let (node, row) = (table.node(place), table.row(place));
        let seen = node.seen();
        // If it was not alive, the claim below fails.
        let over = Some((row, seen.tick()));
        let written = ledger.ends_of_write(terms, (now, hash.home()), over, life);
        if node.claim_seen(seen, now, written.ends.deadline.tick()) {
            let claimed = Claimed { before: seen.tick(), now, written };
            self.replace_claimed(terms, (table, ledger), place, (entry, weight), claimed)
        } else {
            self.replace_after_all(terms, (table, ledger), (hash, place), (entry, weight), life)
        }
    }

    /// The same where a look was not enough: the deadline has moved since, or would become earlier, or is over. The entry is sealed, then the clock
    /// is read, then it is claimed.
    #[cold]
    #[inline(never)]
    fn replace_after_all(
        &self,
        terms: &Terms,
        (table, ledger): (&mut Table<'_, '_, K, V>, &mut Ledger<K, V>),
        (hash, place): (HashBits, Place<K, V>),
        offer: Offer<'_, K, V>,
        life: (Lasting, Ruling),
    ) -> (Replaced, Chores<K, V>) {
        let (node, row) = (table.node(place), table.row(place));
        let seal = node.seal();
        let now = terms.clock.now();
        let over = Some((row, seal.tick()));
        let written = ledger.ends_of_write(terms, (now, hash.home()), over, life);
        if !node.claim(&seal, now, written.ends.deadline.tick()) {
            drop_expired(terms, table, ledger, place);
            return (Replaced::Gone, self.settle((table, ledger), (now, Tick::NEVER), None));
        }
        let claimed = Claimed { before: seal.tick(), now, written };
        self.replace_claimed(terms, (table, ledger), place, offer, claimed)
    }

    /// Puts a new value in the place of an entry's that is claimed.
    #[inline(always)]
    fn replace_claimed(
        &self,
        terms: &Terms,
        (table, ledger): (&mut Table<'_, '_, K, V>, &mut Ledger<K, V>),
        place: Place<K, V>,
        (entry, weight): Offer<'_, K, V>,
        Claimed { before, now, written }: Claimed,
    ) -> (Replaced, Chores<K, V>) {
        let deadline = written.ends.deadline.tick();
        if ledger.is_too_heavy(weight) {
            let chores = self.refuse(terms, (table, ledger), entry, (Some(place), now));
            return (Replaced::Done, chores);
        }
        let old = exchange(terms, (table, ledger), place, (entry, weight), (before, now, written));
        if let Some(tally) = &mut ledger.tally {
            tally.replacements += 1;
        }
        let removed = hand_out(terms, table, old);
        (Replaced::Done, self.settle((table, ledger), (now, deadline), removed))
    }

    /// Takes out a live entry, if its node is the one that was expected.
    pub(crate) fn remove(
        &self,
        terms: &Terms,
        hash: HashBits,
        is_key: impl Fn(&K) -> bool + Copy,
        is_expected: impl FnOnce(&Node<K, V>) -> bool,
    ) -> (Removed, Chores<K, V>) {
        let (mut locked, now) = self.table.lock_at(hash, &terms.clock);
        let (mut table, ledger) = locked.parts();
        let place = table.find(hash, is_key);
        ledger.overtake(&table, hash, place, is_key);
        let Some(place) = place else {
            return (Removed::Gone, Chores::none());
        };
        ledger.fetch_neighbours(table.row(place));
        if !is_expected(table.node(place)) {
            return (Removed::Changed, Chores::none());
        }
        self.remove_at(terms, (&mut table, ledger), (place, now))
    }

    /// Takes out an entry, if it is alive. `now` is a reading from within the call.
    #[inline(always)]
    pub(super) fn remove_at(
        &self,
        terms: &Terms,
        (table, ledger): (&mut Table<'_, '_, K, V>, &mut Ledger<K, V>),
        (place, now): (Place<K, V>, Tick),
    ) -> (Removed, Chores<K, V>) {
        if !table.node(place).kill(now) {
            drop_expired(terms, table, ledger, place);
            return (Removed::Gone, self.settle((table, ledger), (now, Tick::NEVER), None));
        }
        let row = table.row(place);
        let (times, expiry) = (ledger.times(row), ledger.expiry(row));
        let old = take(table, ledger, place);
        if let Some(tally) = &mut ledger.tally {
            tally.explicit += 1;
        }
        let removed = hand_out(terms, table, old);
        (Removed::Done(times, expiry), self.settle((table, ledger), (now, Tick::NEVER), removed))
    }

    /// Restarts the time to live of a live entry, without the lock where that is possible.
    pub(crate) fn touch(
        &self,
        terms: &Terms,
        hash: HashBits,
        is_key: impl Fn(&K) -> bool,
        pin: &Pin,
    ) -> bool {
        let touch = |node: &Node<K, V>| match node.touch(&terms.clock, |now| terms.uniform_deadline(now)) {
            Touch::Gone => None,
            touched => Some(touched),
        };
        match self.alive::<false, _>(hash, &is_key, pin, touch) {
            None => return false,
            Some((_, Touch::Done)) => return true,
            Some(_) => {}
        }
        let mut locked = self.table.lock();
        let (table, ledger) = locked.parts();
        let Some(place) = table.find(hash, is_key) else {
            return false;
        };
        let row = table.row(place);
        let (times, bound) = (ledger.times(row), ledger.limit(terms, row));
        let mut ends = None;
        let alive = table.node(place).touch_in_turn(&terms.clock, |now, before| {
            let limit = times.limit(now, terms).max(bound);
            ends.insert(terms.ends(now, limit, ledger.expiry(row))).not_before(before.tick(), terms)
        });
        if let Some(ends) = ends.filter(|_| alive) {
            ledger.bind(terms, row, ends);
        }
        alive
    }

    /// A live entry with what the books say of it: the time, when it ends, and its times.
    pub(crate) fn look<'g>(
        &'g self,
        terms: &Terms,
        hash: HashBits,
        is_key: impl Fn(&K) -> bool,
        pin: &'g Pin,
    ) -> Option<(&'g Node<K, V>, Tick, Tick, Times)> {
        let mut locked = self.table.lock();
        let (table, ledger) = locked.parts();
        let place = table.find(hash, is_key)?;
        let now = terms.clock.now();
        let node = table.lend(place, pin);
        Some((node, now, node.visible_until(now)?, ledger.times(table.row(place))))
    }

    /// Gives a live entry another time to live, from now on.
    pub(crate) fn set_ttl(
        &self,
        terms: &Terms,
        hash: HashBits,
        is_key: impl Fn(&K) -> bool,
        ttl: Span,
    ) -> (bool, Chores<K, V>) {
        let mut locked = self.table.lock();
        let (mut table, ledger) = locked.parts();
        let Some(place) = table.find(hash, is_key) else {
            return (false, Chores::none());
        };
        let node = table.node(place);
        let seal = node.seal();
        let now = terms.clock.now();
        let row = table.row(place);
        let times = Times { ttl, ..ledger.times(row) };
        let ends = terms.ends(now, times.limit(now, terms), ledger.expiry(row));
        let deadline = ends.deadline.tick();
        terms.note(ttl);
        if !node.reset(&seal, now, ends.deadline) {
            drop_expired(terms, &mut table, ledger, place);
            return (false, self.settle((&mut table, ledger), (now, Tick::NEVER), None));
        }
        ledger.set_ttl(row, ttl);
        ledger.bind(terms, row, ends);
        // One of whom nobody need be warned any more stays nowhere.
        let before = if ledger.renew(row) { Tick::NEVER } else { seal.tick() };
        ledger.refile(row, before, deadline, now);
        (true, self.settle((&mut table, ledger), (now, deadline), None))
    }
}

impl<K, V> Shard<K, V> {
    /// Takes back what the listener was told of.
    pub(crate) fn retire(&self, terms: &Terms, removed: Unlinked<K, V>) -> Chores<K, V> {
        let mut locked = self.table.lock();
        let (mut table, ledger) = locked.parts();
        table.retire(removed);
        // What was told of may be what was taken out instead of the reaper: each does not lead to more of it.
        self.settle_alone((&mut table, ledger), (terms.clock.now(), Tick::NEVER), None)
    }
}
