//! Turns: what a call that loads or computes does under the shard's lock.
//!
//! One critical section looks up both the key's entry and the key's flight. One critical section
//! stores a loaded value and ends its flight. So a key never looks absent when it has just been
//! loaded, and no write comes between unnoticed (`inflight/mod.rs`, F2). This file knows no closures and
//! wakes no thread.

use super::Shard;
use super::credit::{Around, Credit};
use super::deferred::Deferred;
use super::lifespan::{Lasting, Lifespan};
use super::lookup::Lookup;
use super::new_entry::NewEntry;
use super::refresh::Claim;
use super::rule::Ruling;
use super::txn::Txn;
use super::write::{Removed, Replaced};
use crate::hash::HashBits;
use crate::inflight::{Aim, Asked, Begun, Call, Ending, Hold, Kind, Spot, Ticket, Wants, Watching};
use crate::sync::Arc;
use crate::table::{Node, Pin, Place, same_as};
use crate::time::Tick;
use equivalent::Equivalent;

/// What a call that wants a value finds.
pub(crate) enum Found<K, V> {
    /// A live entry.
    Alive(Asked<K, V>),
    /// An expired entry, which has been removed. The caller does the deferred work and then asks
    /// again: user code in that work may want the same key, and would wait for a call that cannot
    /// proceed.
    Over(Asked<K, V>, Deferred<K, V>),
    /// No entry. The call leads the key's flight, or joins it.
    Begun(Begun<K, V>),
}

/// What a call does next after it waited, got the turn, and saw no value to tell the others.
pub(crate) enum Onward {
    /// The key has a live entry by now.
    Alive,
    /// The call loads.
    Leads,
    /// The call waits once more, for the call that loads by now.
    Waits(Spot),
}

/// The result of a load: the ended flight, and the deferred work of its completion.
pub(crate) struct Completed<K, V> {
    pub(crate) ending: Option<Ending<K, V>>,
    pub(crate) deferred: Deferred<K, V>,
    /// Whether the loaded value is stored.
    pub(crate) is_stored: bool,
}

/// What a load has produced.
pub(crate) struct Loaded<'v, V> {
    /// The value. It stays in the caller's memory until it is stored.
    pub(crate) value: &'v mut Option<V>,
    pub(crate) weight: u32,
    pub(crate) lasting: Lasting,
    /// What the `Expiry` said.
    pub(crate) ruled: Option<RuledLoad>,
}

/// What the `Expiry` said about a loaded value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RuledLoad {
    pub(crate) ruling: Ruling,
    /// Whether the `Expiry` was asked about a value that replaces a live entry. If that does not
    /// hold any more, its ruling does not count.
    pub(crate) over_live: bool,
}

/// What a computation finds under the lock.
struct Standing<K, V> {
    /// The place of the key's entry, alive or not.
    place: Option<Place<K, V>>,
    /// The same place, if the entry is alive.
    alive: Option<Place<K, V>>,
}

/// How a call begins that loads a claimed value anew.
pub(crate) enum Anew<K, V> {
    Leads(Hold<K, V>),
    /// Another call has the key's turn.
    Taken(Asked<K, V>),
    /// The claimed value is gone.
    Gone(Asked<K, V>),
}

/// What a computation wants done to its key.
pub(crate) enum Action<K, V> {
    Nothing,
    Remove,
    Put { entry: Option<(K, V)>, weight: u32, lifespan: Lifespan },
}

/// The result of an action.
pub(crate) enum Acted<K, V> {
    /// The action is done, and the turn has ended.
    Done(Option<Ending<K, V>>),
    /// The key was written or removed after the computation looked it up, by the computation's own
    /// closure or by another. Nothing was done.
    Invalidated { by_own: bool },
    /// The entry that the computation saw has expired or was evicted. Nothing was done.
    Gone,
}

impl<K, V> Txn<'_, '_, K, V> {
    /// Invalidates the flight of a key that is being written or removed, so that its outcome is not
    /// stored. `over` is the place of the key's entry, if there is one. Nearly always there is no
    /// flight. Must be called before any change, because it may run the user's `Eq`.
    #[inline(always)]
    pub(super) fn invalidate<Q>(&mut self, at: Lookup<'_, Q>, over: Option<Place<K, V>>)
    where
        Q: ?Sized + Equivalent<K>,
    {
        if !self.ledger.flights.is_quiet() {
            self.invalidate_those(at.hash, over, &same_as(at.key));
        }
    }

    /// Invalidates like `invalidate` before a replacement or a removal of this entry, unless the entry
    /// has expired: then it is neither replaced nor removed. Returns false if it has.
    #[inline(always)]
    pub(super) fn invalidate_unless_over<Q>(&mut self, at: Lookup<'_, Q>, place: Place<K, V>) -> bool
    where
        Q: ?Sized + Equivalent<K>,
    {
        self.ledger.flights.is_quiet() || self.invalidate_alive(at.hash, place, &same_as(at.key))
    }

    #[cold]
    #[inline(never)]
    fn invalidate_alive(&mut self, hash: HashBits, place: Place<K, V>, is_key: &dyn Fn(&K) -> bool) -> bool {
        let is_alive = !self.is_over(Some(place));
        if is_alive {
            self.invalidate_those(hash, Some(place), is_key);
        }
        is_alive
    }

    #[cold]
    #[inline(never)]
    fn invalidate_those(&mut self, hash: HashBits, over: Option<Place<K, V>>, is_key: &dyn Fn(&K) -> bool) {
        let over = over.map(|place| self.table.row(place));
        self.ledger.flights.invalidate(hash, is_key);
        self.ledger.flights.note_write(hash, over);
    }

    /// Notes that a load or a computation, which has the turn, writes or removes its key.
    #[inline(always)]
    fn note_write(&mut self, hash: HashBits, over: Option<Place<K, V>>) {
        if self.ledger.flights.is_watched() {
            self.ledger.flights.note_write(hash, over.map(|place| self.table.row(place)));
        }
    }
}

impl<K: Eq, V> Shard<K, V> {
    /// Begins a load: if the key has no entry, the call leads its flight or joins it.
    pub(crate) fn begin_load(&self, hash: HashBits, asked: Asked<K, V>, wants: Wants) -> Found<K, V> {
        let mut lock = self.lock();
        let mut txn = lock.txn();
        let Some(place) = txn.find(Lookup::new(hash, asked.key())) else {
            let known = txn.ledger.flights.of_key(hash, asked.key());
            return Found::Begun(txn.ledger.flights.begin(hash, known, asked, wants, true));
        };
        let now = txn.read_clock();
        // An expired entry stays expired: what is loaded now does not find it alive again.
        if txn.table.node(place).reap(now).is_err() {
            return Found::Alive(asked);
        }
        txn.bury_expired(place);
        Found::Over(asked, txn.settle_up())
    }

    /// Begins a turn: a call that wants to run its own closure leads the key's flight or joins it,
    /// whether or not the key has an entry.
    pub(crate) fn begin_turn(&self, hash: HashBits, call: Arc<Call<K, V>>) -> Begun<K, V> {
        let mut lock = self.lock();
        let flights = &mut lock.txn().ledger.flights;
        let known = flights.of_key(hash, &call.key);
        flights.begin(hash, known, Asked::Shared(call), Wants::Turn, false)
    }

    /// Returns whether a call has the key's turn.
    pub(crate) fn is_taken(&self, hash: HashBits, key: &K) -> bool {
        self.lock().txn().ledger.flights.of_key(hash, key).is_taken()
    }

    /// Begins to load a claimed value anew: the call leads the key's flight, if that value is still
    /// there and no call has the turn.
    pub(crate) fn begin_anew(
        &self,
        hash: HashBits,
        asked: Asked<K, V>,
        aim: Aim,
        claim: &Claim,
    ) -> Anew<K, V> {
        let mut lock = self.lock();
        let txn = lock.txn();
        let known = txn.ledger.flights.of_key(hash, asked.key());
        let place = txn.find(Lookup::new(hash, asked.key()));
        if txn.is_over(place.filter(|place| claim.is_of(txn.table.named(*place)))) {
            return Anew::Gone(asked);
        }
        if known.is_taken() {
            return Anew::Taken(asked);
        }
        Anew::Leads(txn.ledger.flights.lead(hash, known, asked, aim, false))
    }

    /// Ends the turn of a call that waited and then found a value. If the node in which it saw the
    /// value is still there, it tells the value to all waiters: then the value is there after each
    /// of them asked. Otherwise the next waiter gets the turn.
    pub(crate) fn end_look(
        &self,
        hash: HashBits,
        hold: &mut Hold<K, V>,
        seen: &Node<K, V>,
    ) -> Option<Ending<K, V>> {
        let mut lock = self.lock();
        let txn = lock.txn();
        let place = txn.find(Lookup::new(hash, hold.key()));
        let is_over = txn.is_over(place.filter(|&place| std::ptr::eq(txn.table.node(place), seen)));
        txn.ledger.flights.end(hold, if is_over { Kind::Own } else { Kind::Value })
    }

    /// Goes on with a load: the call waited, has the turn, and has seen no entry.
    pub(crate) fn go_on(&self, hash: HashBits, hold: &mut Hold<K, V>, wants: Wants) -> Onward {
        let mut lock = self.lock();
        let txn = lock.txn();
        let place = txn.find(Lookup::new(hash, hold.key()));
        // The same as in `begin_load`, except that an expired entry stays in its place until
        // something is stored there.
        if place.is_some_and(|place| txn.table.node(place).reap(self.config.clock.now()).is_err()) {
            return Onward::Alive;
        }
        match txn.ledger.flights.go_on(hold, wants, place.is_none()) {
            None => Onward::Leads,
            Some(spot) => Onward::Waits(spot),
        }
    }

    /// Stores what was loaded, unless the key was written or removed meanwhile, and ends the
    /// flight. It ends the flight only when user code can no longer panic. A value that is not
    /// stored stays where it was, and the caller drops it outside the lock and the turn.
    ///
    /// Over a live entry it is a replacement: a reload gives an entry no longer life than `replace`
    /// would, unless the loader said so. Returns `None`, and does nothing, if what an `Expiry` said
    /// no longer counts.
    #[inline(never)]
    pub(crate) fn complete_as(
        &self,
        around: &impl Around<K, V>,
        hash: HashBits,
        hold: &mut Hold<K, V>,
        loaded: Loaded<'_, V>,
    ) -> Option<Completed<K, V>> {
        self.complete_inline(around, hash, hold, loaded, false)
    }

    /// Completes a load like `complete_as`, where entries have no weights and nobody rules on the
    /// value's life. This is the usual case, and is compiled for its constant arguments.
    pub(crate) fn complete(
        &self,
        around: &impl Around<K, V>,
        hash: HashBits,
        hold: &mut Hold<K, V>,
        value: &mut Option<V>,
    ) -> Completed<K, V> {
        let loaded = Loaded { value, weight: 1, lasting: Lasting::Restarted, ruled: None };
        let completed = self.complete_inline(around, hash, hold, loaded, true);
        completed.expect("there is no ruling that may not hold any more")
    }

    #[inline(always)]
    fn complete_inline(
        &self,
        around: &impl Around<K, V>,
        hash: HashBits,
        hold: &mut Hold<K, V>,
        loaded: Loaded<'_, V>,
        is_usual: bool,
    ) -> Option<Completed<K, V>> {
        let Loaded { value, weight, lasting, ruled } = loaded;
        let lifespan = Lifespan { lasting, ruling: ruled.map_or(Ruling::NONE, |ruled| ruled.ruling) };
        let mut credit = Credit::none(around);
        loop {
            let mut lock = self.lock();
            let mut txn = lock.txn();
            let to_find = txn.ledger.flights.key_to_find(hold);
            let place = to_find.and_then(|asked| txn.find(Lookup::new(hash, asked)));
            let over = txn.freeze(place);
            let now = txn.read_clock();
            let is_over_live = over.as_ref().is_some_and(|over| over.frozen.was_alive(now));
            // Nobody waits for a reload, so it replaces what is there, and brings nothing back. (Its
            // key is shared.)
            if hold.call.is_some() && !is_over_live && txn.ledger.flights.is_reload(hold) {
                return Some(txn.end_in_vain(hold, place, now, credit.forgo()));
            }
            if ruled.is_some_and(|ruled| ruled.over_live != is_over_live)
                && !txn.ledger.flights.is_invalidated(hold)
            {
                // An expired entry stays expired.
                let _ = place.map(|place| txn.table.node(place).reap(now));
                return None;
            }
            if !is_usual && self.config.weighed && !txn.ledger.flights.is_invalidated(hold) {
                if let Err(short) = txn.pay_for(place, weight, lifespan, &mut credit) {
                    // The next round may panic, or find that nothing is to be stored.
                    txn.thaw(over);
                    drop(lock);
                    credit.raise(self, *short);
                    continue;
                }
            }
            // Without a number the store would panic. While the call has its turn, a panic gives the turn
            // to the next one; the calls that are told the outcome would wait for ever after that.
            txn.table.expect_new_node();
            let mut ending = txn.ledger.flights.end(hold, Kind::Value);
            let kept = ending.as_mut().filter(|ending| !ending.is_invalidated);
            let key = kept.and_then(|ending| ending.take_key(hold));
            let mut entry = key.and_then(|key| Some((key, value.take()?)));
            if entry.is_none() {
                return Some(Completed { ending, deferred: credit.forgo(), is_stored: false });
            }
            txn.note_write(hash, place);
            let new = NewEntry { hash, entry: &mut entry, weight, lifespan };
            let deferred = if is_usual { txn.put(over, new) } else { txn.put_as(over, new) };
            let is_stored = !deferred.has_refused();
            return Some(Completed { ending, deferred, is_stored });
        }
    }
}

impl<K: Eq, V> Shard<K, V> {
    /// Returns what a computation finds under its key, if that is alive. From now on the flight
    /// notes writes that come between. `aim` is what the computation does next.
    pub(crate) fn look_in_turn<'g>(
        &'g self,
        hash: HashBits,
        hold: &Hold<K, V>,
        aim: Aim,
        pin: &'g Pin,
    ) -> Option<&'g Node<K, V>> {
        let mut lock = self.lock();
        let txn = lock.txn();
        let place = txn.find(Lookup::new(hash, hold.key()));
        txn.ledger.flights.note_look(hold, aim);
        let node = txn.table.lend(place?, pin);
        // An expired entry is made dead for all threads: none finds it alive after the closure was
        // shown that there is none.
        node.visible_until(self.config.clock.now()).map(|_| node)
    }

    /// Does what a computation wants, if the key is still in the state that the computation saw,
    /// and ends the flight.
    ///
    /// It is the same entry if there was an entry, there is a live one now, and nothing has
    /// invalidated the flight. Every operation that stores a value under a key invalidates its
    /// flight under this lock (`inflight/mod.rs`, F2).
    ///
    /// What is not stored stays where it was, even if user code panics.
    pub(crate) fn act(
        &self,
        around: &impl Around<K, V>,
        hash: HashBits,
        hold: &mut Hold<K, V>,
        was_there: bool,
        action: &mut Option<Action<K, V>>,
    ) -> (Acted<K, V>, Deferred<K, V>) {
        let mut credit = Credit::none(around);
        loop {
            let mut lock = self.lock();
            let mut txn = lock.txn();
            let place = txn.find(Lookup::new(hash, hold.key()));
            if txn.ledger.flights.is_invalidated(hold) {
                let by_own = txn.ledger.flights.is_invalidated_by_own(hold);
                return (Acted::Invalidated { by_own }, credit.forgo());
            }
            let now = txn.read_clock();
            let alive = place.filter(|&place| txn.table.node(place).visible_until(now).is_some());
            if alive.is_some() != was_there {
                return (Acted::Gone, credit.forgo());
            }
            if let Some(Action::Put { weight, lifespan, .. }) = action {
                if let Err(short) = txn.pay_for(place, *weight, *lifespan, &mut credit) {
                    drop(lock);
                    credit.raise(self, *short);
                    continue;
                }
            }
            return txn.act_at(hash, hold, Standing { place, alive }, action);
        }
    }
}

impl<K, V> Txn<'_, '_, K, V> {
    /// Ends a flight whose value is not stored, since there is no live entry in its key's place. One
    /// that was frozen there stays expired.
    #[cold]
    fn end_in_vain(
        &mut self,
        hold: &mut Hold<K, V>,
        place: Option<Place<K, V>>,
        now: Tick,
        deferred: Deferred<K, V>,
    ) -> Completed<K, V> {
        let _ = place.map(|place| self.table.node(place).reap(now));
        self.ledger.flights.leave_behind(hold);
        let ending = self.ledger.flights.end(hold, Kind::Value);
        Completed { ending, deferred, is_stored: false }
    }

    /// Performs the action, where nothing has come between.
    #[inline(always)]
    fn act_at(
        &mut self,
        hash: HashBits,
        hold: &mut Hold<K, V>,
        standing: Standing<K, V>,
        action: &mut Option<Action<K, V>>,
    ) -> (Acted<K, V>, Deferred<K, V>) {
        let Standing { place, alive } = standing;
        if !matches!(action, Some(Action::Nothing) | None) {
            self.note_write(hash, place);
        }
        let (is_done, deferred) = match (&mut *action, alive) {
            (Some(Action::Put { entry, weight, lifespan }), None) => {
                // The place holds the remains of an expired entry.
                let over = self.freeze(place);
                let new = NewEntry { hash, entry, weight: *weight, lifespan: *lifespan };
                (true, self.put_as(over, new))
            }
            (Some(Action::Put { entry, weight, lifespan }), Some(place)) => {
                let new = NewEntry { hash, entry, weight: *weight, lifespan: *lifespan };
                let (replaced, deferred) = self.replace_at(place, new);
                (replaced == Replaced::Done, deferred)
            }
            (Some(Action::Remove), Some(place)) => {
                let (removed, deferred) = self.remove_at(place, |_, _| ());
                (matches!(removed, Removed::Done(..)), deferred)
            }
            (Some(Action::Remove | Action::Nothing) | None, _) => (true, Deferred::none()),
        };
        if !is_done {
            return (Acted::Gone, deferred);
        }
        *action = None;
        // The turn ends only now, so that a panic before leaves the turn with its caller.
        (Acted::Done(self.ledger.flights.end(hold, Kind::Own)), deferred)
    }
}

#[cfg(all(test, not(tidewheel_loom)))]
impl<K, V> Shard<K, V> {
    /// Takes all numbers of nodes that are left.
    pub(crate) fn exhaust(&self) {
        self.lock().txn().table.exhaust();
    }
}

impl<K, V> Shard<K, V> {
    /// Ends a flight that stores nothing, or that has stored its value already.
    pub(crate) fn end_turn(&self, hold: &mut Hold<K, V>, kind: Kind) -> Option<Ending<K, V>> {
        self.lock().txn().ledger.flights.end(hold, kind)
    }

    /// Makes a call wait for a call that leads on behalf of the same caller.
    pub(crate) fn accompany(&self, ticket: Ticket, call: Arc<Call<K, V>>, wants: Wants) -> Spot {
        self.lock().txn().ledger.flights.accompany(ticket, call, wants)
    }

    /// Claims the turn that was offered to a waiting call. Returns the ticket, unless another call
    /// has the turn by now.
    pub(crate) fn claim_turn(&self, spot: Spot) -> Option<Ticket> {
        self.lock().txn().ledger.flights.claim(spot)
    }

    /// Removes a waiting call. Returns what is left to do then.
    pub(crate) fn leave(&self, spot: Spot) -> Option<Ending<K, V>> {
        self.lock().txn().ledger.flights.forget(spot)
    }

    /// Returns whether a key has no live entry. If so, invalidates its flight: what is being loaded
    /// is not stored.
    pub(crate) fn is_gone<Q>(&self, at: Lookup<'_, Q>) -> bool
    where
        Q: ?Sized + Equivalent<K>,
    {
        let mut lock = self.lock();
        let mut txn = lock.txn();
        let place = txn.find(at);
        let is_gone = place.is_none_or(|place| txn.table.node(place).reap(self.config.clock.now()).is_ok());
        if is_gone {
            txn.invalidate(at, place);
        }
        is_gone
    }

    /// Begins to watch a closure that is about to run on this thread. The closure is shown this
    /// node, or that there is none.
    pub(crate) fn watch(&self, hash: HashBits, shown: Option<&Node<K, V>>) -> Watching {
        let mut lock = self.lock();
        let txn = lock.txn();
        // A node that has already been replaced counts as gone: the closure did not replace it.
        txn.ledger.flights.watch(hash, shown.and_then(|node| txn.table.row_of(node)))
    }

    /// Ends a watch. Returns whether the closure itself wrote over what it was shown.
    pub(crate) fn end_watch(&self, ticket: Ticket) -> bool {
        self.lock().txn().ledger.flights.end_watch(ticket)
    }

    /// Claims a node's value, if it is old enough to be loaded anew and nobody has claimed it.
    pub(crate) fn claim(&self, node: &Node<K, V>, now: Tick, pin: &Pin) -> Option<Claim> {
        self.refresh_times.as_ref()?.claim(self.table.route().number(node, pin)?, now)
    }

    /// Claims a node's value at any age, if nobody has claimed it.
    pub(crate) fn claim_at_once(&self, node: &Node<K, V>, pin: &Pin) -> Option<Claim> {
        self.refresh_times.as_ref()?.claim_at_once(self.table.route().number(node, pin)?)
    }

    /// Returns whether the closure of a leading call has written or removed the key itself, since the
    /// call looked at the key last.
    pub(crate) fn is_invalidated_by_own(&self, hold: &Hold<K, V>) -> bool {
        let mut lock = self.lock();
        let flights = &lock.txn().ledger.flights;
        flights.is_invalidated(hold) && flights.is_invalidated_by_own(hold)
    }

    /// Counts a value that was loaded anew.
    pub(crate) fn note_refresh(&self) {
        if let Some(tally) = &mut self.lock().txn().ledger.tally {
            tally.refreshes += 1;
        }
    }
}
