//! The operations that writers call on a shard: each takes the lock once.
//!
//! Order within each, and why: the key is looked up first (user's `Eq`, before any change); the old
//! deadline is sealed; then the clock is read; then the new state is published. A touch that succeeded
//! without the lock has read its clock before the seal, so nothing that is decided here undoes it. Where a reading
//! from before the seal is at hand it may do: see `Terms::not_before`.

use super::bounds::Ends;
use super::credit::{Around, Credit};
use super::offer::{Offer, offered};
use super::room::{fetch_for_insert, make_room, make_room_in_place};
use super::{Chores, Expected, Lasting, Ledger, Ruling, Shard, Terms, Times, stays};
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
            let mut locked = self.table.lock();
            let (mut table, ledger) = locked.parts();
            let is_key = same_as(offered(entry));
            let place = ledger.find(&table, hash, is_key);
            ledger.overtake(hash, place, is_key);
            if !is_usual {
                if let Err(short) = self.pay((&mut table, ledger), (place, weight), &mut credit) {
                    drop(locked);
                    credit.raise(self, *short);
                    continue;
                }
            }
            let seal = place.map(|place| table.node(place).seal());
            let known = (place.zip(seal), terms.clock.now(), life);
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
            ledger.overtake(hash, place, is_key);
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
        known: (Option<(Place, Seal)>, Tick, (Lasting, Ruling)),
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
        (sealed, now, life): (Option<(Place, Seal)>, Tick, (Lasting, Ruling)),
    ) -> Chores<K, V> {
        let alive = sealed.as_ref().filter(|(_, seal)| seal.was_alive(now));
        let over = alive.map(|(place, seal)| (table.row(*place), seal.tick()));
        let (times, ends) = ledger.ends_of_write(terms, (now, hash.home()), over, life);
        let deadline = ends.deadline.tick();
        if ledger.is_too_heavy(weight) {
            return self.refuse(terms, (table, ledger), entry, (sealed.map(|(place, _)| place), now));
        }
        let Some((place, seal)) = sealed else {
            let need = self.add(terms, (table, ledger), hash, (entry, weight), (now, ends, times, 0));
            return self.settle((table, ledger), (now, need), None);
        };
        ledger.set_born(table.row(place), times.born);
        let old =
            exchange(terms, (table, ledger), place, (entry, weight), (seal.tick(), now, ends, times.ttl));
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
            ledger.overtake(hash, place, is_key);
            if let Some(place) = place {
                drop_expired(terms, &mut table, ledger, place);
            }
            if let Err(short) = self.pay((&mut table, ledger), (None, weight), &mut credit) {
                drop(locked);
                credit.raise(self, *short);
                continue;
            }
            let now = terms.clock.now();
            let (times, ends) = ledger.ends_of_write(terms, (now, hash.home()), None, life);
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
            let mut locked = self.table.lock();
            let (mut table, ledger) = locked.parts();
            let is_key = same_as(offered(entry));
            let Some(place) = ledger.find(&table, hash, is_key) else {
                return (Replaced::Gone, Chores::none());
            };
            if expected.is_some_and(|expected| !std::ptr::eq(expected, table.node(place))) {
                return (Replaced::Changed, Chores::none());
            }
            ledger.overtake(hash, Some(place), is_key);
            if let Err(short) = self.pay((&mut table, ledger), (Some(place), weight), &mut credit) {
                drop(locked);
                credit.raise(self, *short);
                continue;
            }
            let books = (&mut table, ledger);
            return self.replace_at(around.terms(), books, ((hash, place), None), (entry, weight), life);
        }
    }

    /// Puts a new value in the place of an entry's, if that is alive. `now` is a reading from under this lock, if there is one.
    #[inline(always)]
    pub(super) fn replace_at(
        &self,
        terms: &Terms,
        (table, ledger): (&mut Table<'_, '_, K, V>, &mut Ledger<K, V>),
        ((hash, place), now): ((HashBits, Place), Option<Tick>),
        (entry, weight): Offer<'_, K, V>,
        life: (Lasting, Ruling),
    ) -> (Replaced, Chores<K, V>) {
        let node = table.node(place);
        let seal = node.seal();
        let now = now.map_or_else(|| terms.clock.now(), |now| terms.not_before(&seal, now));
        let row = table.row(place);
        // If it was not alive, the claim below fails.
        let over = Some((row, seal.tick()));
        let (times, ends) = ledger.ends_of_write(terms, (now, hash.home()), over, life);
        let deadline = ends.deadline.tick();
        if !node.claim(&seal, now, deadline) {
            drop_expired(terms, table, ledger, place);
            return (Replaced::Gone, self.settle((table, ledger), (now, Tick::NEVER), None));
        }
        if ledger.is_too_heavy(weight) {
            let chores = self.refuse(terms, (table, ledger), entry, (Some(place), now));
            return (Replaced::Done, chores);
        }
        let known = (seal.tick(), now, ends, times.ttl);
        let old = exchange(terms, (table, ledger), place, (entry, weight), known);
        if let Some(tally) = &mut ledger.tally {
            tally.replacements += 1;
        }
        let removed = hand_out(terms, table, old);
        (Replaced::Done, self.settle((table, ledger), (now, deadline), removed))
    }

    /// Takes out a live entry: any, or `expected` alone.
    pub(crate) fn remove(
        &self,
        terms: &Terms,
        hash: HashBits,
        is_key: impl Fn(&K) -> bool + Copy,
        expected: Option<&Node<K, V>>,
    ) -> (Removed, Chores<K, V>) {
        let mut locked = self.table.lock();
        let (mut table, ledger) = locked.parts();
        let place = ledger.find(&table, hash, is_key);
        ledger.overtake(hash, place, is_key);
        let Some(place) = place else {
            return (Removed::Gone, Chores::none());
        };
        if expected.is_some_and(|expected| !std::ptr::eq(expected, table.node(place))) {
            return (Removed::Changed, Chores::none());
        }
        self.remove_at(terms, (&mut table, ledger), place)
    }

    /// Takes out an entry, if it is alive.
    #[inline(always)]
    pub(super) fn remove_at(
        &self,
        terms: &Terms,
        (table, ledger): (&mut Table<'_, '_, K, V>, &mut Ledger<K, V>),
        place: Place,
    ) -> (Removed, Chores<K, V>) {
        let now = terms.clock.now();
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

    /// A row and an entry for it, hit so often at least. Returns when the reaper has to come.
    #[inline(always)]
    pub(super) fn add(
        &self,
        terms: &Terms,
        (table, ledger): (&mut Table<'_, '_, K, V>, &mut Ledger<K, V>),
        hash: HashBits,
        (entry, weight): Offer<'_, K, V>,
        (now, ends, times, hits): (Tick, Ends, Times, u8),
    ) -> Tick {
        fetch_for_insert(table, ledger, hash.home());
        make_room(terms, (table, ledger), now, weight);
        let row = ledger.book(hash.home(), times);
        if let Some(fresh) = &ledger.fresh {
            fresh.start(row, now);
        }
        let hits =
            ledger.policy.as_mut().map_or(0, |policy| policy.admit(row, hash.home(), weight).max(hits));
        if let Some(tally) = &mut ledger.tally {
            tally.inserts += 1;
        }
        table.insert(hash, (row, hits), entry, ends.deadline, |row| ledger.home(row));
        ledger.bind(terms, row, ends);
        let deadline = ends.deadline.tick();
        ledger.file(row, deadline, now);
        if table.is_moving() { deadline.min(ledger.tidy_later(now)) } else { deadline }
    }
}

/// Puts a new node in the place of another, whose deadline was `before`, under another number. The row goes along.
#[inline(always)]
fn exchange<K, V>(
    terms: &Terms,
    (table, ledger): (&mut Table<'_, '_, K, V>, &mut Ledger<K, V>),
    place: Place,
    (entry, weight): Offer<'_, K, V>,
    (before, now, ends, ttl): (Tick, Tick, Ends, Span),
) -> Unlinked<K, V> {
    let row = table.row(place);
    make_room_in_place(terms, (table, ledger), now, (row, weight));
    let weighed = ledger.weight_of(row);
    let (row, is_filed) = ledger.book_again(row, ttl, weight);
    if let Some(fresh) = &ledger.fresh {
        fresh.start(row, now);
    }
    let old = table.replace(place, row, entry, ends.deadline).weighing(weighed);
    ledger.bind(terms, row, ends);
    let deadline = ends.deadline.tick();
    // Of the same deadline nobody is warned again.
    let is_renewed = before != deadline && ledger.renew(row);
    if is_renewed || !(is_filed && stays(before, deadline)) {
        ledger.file_again(row, deadline, now);
    }
    old
}

/// An unlinked node that was alive: for the caller, who tells the listener, or else debris at once.
pub(super) fn hand_out<K, V>(
    terms: &Terms,
    table: &mut Table<'_, '_, K, V>,
    old: Unlinked<K, V>,
) -> Option<Unlinked<K, V>> {
    if terms.listened {
        return Some(old);
    }
    table.retire(old);
    None
}

/// An unlinked node that had expired before a writer came across it: for the caller too, or else debris at once. He tells
/// before he returns, so that nobody hears later that a key has expired which was written meanwhile (S4).
pub(super) fn bury<K, V>(
    terms: &Terms,
    table: &mut Table<'_, '_, K, V>,
    ledger: &mut Ledger<K, V>,
    old: Unlinked<K, V>,
) {
    if terms.listened {
        ledger.left().evicted.push((old, false));
    } else {
        table.retire(old);
    }
}

/// Takes out an entry that is over, and that a writer has come across.
pub(super) fn drop_expired<K, V>(
    terms: &Terms,
    table: &mut Table<'_, '_, K, V>,
    ledger: &mut Ledger<K, V>,
    place: Place,
) {
    let old = take_expired(table, ledger, place);
    bury(terms, table, ledger, old);
}

/// Takes out an entry that is over.
pub(super) fn take_expired<K, V>(
    table: &mut Table<'_, '_, K, V>,
    ledger: &mut Ledger<K, V>,
    place: Place,
) -> Unlinked<K, V> {
    if let Some(tally) = &mut ledger.tally {
        tally.expired += 1;
    }
    take(table, ledger, place)
}

/// Takes out an entry, for whatever reason.
#[inline(always)]
pub(super) fn take<K, V>(
    table: &mut Table<'_, '_, K, V>,
    ledger: &mut Ledger<K, V>,
    place: Place,
) -> Unlinked<K, V> {
    let row = table.row(place);
    // The home of the key that is stored, whatever hash the caller came with.
    let old = table.unlink(place, ledger.home(row)).weighing(ledger.weight_of(row));
    ledger.forget(row);
    old
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
