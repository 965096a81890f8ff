//! Turns: what a call that loads or computes does under the shard's lock.
//!
//! Whether a key is there, and who is about to bring it, is looked up at once; and what was loaded is stored, and its
//! flight ended, at once. So there is no moment at which a key is neither there nor loaded, and none at which a write
//! comes between and is not noticed (`flight.rs`, F2). Knows no closures, and wakes nobody.

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
use crate::flight::{Aim, Asked, Begun, Call, Ending, Hold, Kind, Spot, Ticket, Wants, Watching};
use crate::hash::HashBits;
use crate::sync::Arc;
use crate::table::{Node, Pin, Place, same_as};
use crate::time::Tick;
use equivalent::Equivalent;

/// What a call that wants a value finds.
pub(crate) enum Found<K, V> {
    /// A live entry.
    Alive(Asked<K, V>),
    /// One that was over. It is not there any more. To be asked again once the deferred work are done: user code among them may
    /// want the same key, and would wait for a call that cannot go on.
    Over(Asked<K, V>, Deferred<K, V>),
    /// None.
    Begun(Begun<K, V>),
}

/// What a call comes to that waited, had its turn, and saw nothing to be told.
pub(crate) enum Onward {
    /// There is a live entry by now.
    Alive,
    /// It loads.
    Leads,
    /// It waits once more, for who loads by now.
    Waits(Spot),
}

/// What came of a load: a flight that has ended, and what its completion leaves to do.
pub(crate) struct Completed<K, V> {
    pub(crate) ending: Option<Ending<K, V>>,
    pub(crate) deferred: Deferred<K, V>,
    /// What was loaded is stored.
    pub(crate) is_stored: bool,
}

/// What a load has made.
pub(crate) struct Loaded<'v, V> {
    /// Stays where the caller has it until it is stored.
    pub(crate) value: &'v mut Option<V>,
    pub(crate) weight: u32,
    pub(crate) lasting: Lasting,
    /// What an `Expiry` said.
    pub(crate) ruled: Option<RuledLoad>,
}

/// What an `Expiry` said of a loaded value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RuledLoad {
    pub(crate) ruling: Ruling,
    /// It was asked about a value in a live entry's place. If that is not so any more, what it said does not count.
    pub(crate) over_live: bool,
}

/// What a computation finds under its lock.
struct Standing<K, V> {
    /// Its key's entry, alive or not.
    place: Option<Place<K, V>>,
    /// The same, if it is alive.
    alive: Option<Place<K, V>>,
}

/// How a call begins that loads a claimed value anew.
pub(crate) enum Anew<K, V> {
    Leads(Hold<K, V>),
    /// Somebody else has the key's turn.
    Taken(Asked<K, V>),
    /// The value is not there any more.
    Gone(Asked<K, V>),
}

/// What a computation wants done about its key.
pub(crate) enum Action<K, V> {
    Nothing,
    Remove,
    Put { entry: Option<(K, V)>, weight: u32, lifespan: Lifespan },
}

/// What came of it.
pub(crate) enum Acted<K, V> {
    /// It is done, and the turn is over.
    Done(Option<Ending<K, V>>),
    /// The key was written or removed since it was looked at, by the computation's own closure or not. Nothing was done.
    Invalidated { by_own: bool },
    /// What was there has expired or was evicted. Nothing was done.
    Gone,
}

impl<K, V> Txn<'_, '_, K, V> {
    /// A key is being written or removed, which may have its entry at that place: what a flight brings for it is not to be
    /// kept. Nearly always there is none. Comes before any change, for it may run the user's `Eq`.
    #[inline(always)]
    pub(super) fn invalidate<Q>(&mut self, at: Lookup<'_, Q>, over: Option<Place<K, V>>)
    where
        Q: ?Sized + Equivalent<K>,
    {
        if !self.ledger.flights.is_quiet() {
            self.invalidate_those(at.hash, over, &same_as(at.key));
        }
    }

    #[cold]
    #[inline(never)]
    fn invalidate_those(&mut self, hash: HashBits, over: Option<Place<K, V>>, is_key: &dyn Fn(&K) -> bool) {
        let over = over.map(|place| self.table.row(place));
        self.ledger.flights.invalidate(hash, is_key);
        self.ledger.flights.note_write(hash, over);
    }

    /// A key is being written or removed, by a load or a computation, which come in turn.
    #[inline(always)]
    fn note_write(&mut self, hash: HashBits, over: Option<Place<K, V>>) {
        if self.ledger.flights.is_watched() {
            self.ledger.flights.note_write(hash, over.map(|place| self.table.row(place)));
        }
    }
}

impl<K: Eq, V> Shard<K, V> {
    /// A call that wants a key's value leads its flight, or joins it, if there is no entry.
    pub(crate) fn begin_load(&self, hash: HashBits, asked: Asked<K, V>, wants: Wants) -> Found<K, V> {
        let mut lock = self.lock();
        let mut txn = lock.txn();
        let Some(place) = txn.find(Lookup::new(hash, asked.key())) else {
            let known = txn.ledger.flights.of_key(hash, asked.key());
            return Found::Begun(txn.ledger.flights.begin((hash, known), asked, wants, true));
        };
        let now = txn.read_clock();
        // What is over stays over: what is loaded now does not find it alive again.
        if txn.table.node(place).reap(now).is_err() {
            return Found::Alive(asked);
        }
        txn.bury_expired(place);
        Found::Over(asked, txn.settle_up())
    }

    /// A call that wants to run its own closure leads the key's flight, or joins it, whatever is there.
    pub(crate) fn begin_turn(&self, hash: HashBits, call: Arc<Call<K, V>>) -> Begun<K, V> {
        let mut lock = self.lock();
        let flights = &mut lock.txn().ledger.flights;
        let known = flights.of_key(hash, &call.key);
        flights.begin((hash, known), Asked::Shared(call), Wants::Turn, false)
    }

    /// A call that is to load a claimed value anew leads the key's flight, if that value is still there, and nobody has the turn.
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
        if txn.is_over(place.filter(|place| claim.is_of(place.named()))) {
            return Anew::Gone(asked);
        }
        if known.is_taken() {
            return Anew::Taken(asked);
        }
        Anew::Leads(txn.ledger.flights.lead((hash, known), asked, aim, false))
    }

    /// A call that waited, and has its turn, tells a value to all who wait, if the node that it saw it in is still there: then it was there
    /// when each of them asked. Else the next one has the turn.
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

    /// A call that waited, and has its turn, has seen no entry, and is about to load.
    pub(crate) fn go_on(&self, hash: HashBits, hold: &mut Hold<K, V>, wants: Wants) -> Onward {
        let mut lock = self.lock();
        let txn = lock.txn();
        let place = txn.find(Lookup::new(hash, hold.key()));
        // As in `begin_load`. What is over is left in its place, and goes when something is stored there.
        if place.is_some_and(|place| txn.table.node(place).reap(self.config.clock.now()).is_err()) {
            return Onward::Alive;
        }
        match txn.ledger.flights.go_on(hold, wants, place.is_none()) {
            None => Onward::Leads,
            Some(spot) => Onward::Waits(spot),
        }
    }

    /// Stores what was loaded, unless the key was written or removed meanwhile, and ends the flight, once no user code can panic
    /// any more. What is not stored is left where it was, for the caller to drop, outside the lock and the turn.
    ///
    /// Over a live entry it is a replacement: no reload gives an entry a longer life than `replace` would, unless the loader said so.
    /// `None`, and nothing done, if what an `Expiry` said does not count any more.
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

    /// The same, where entries have no weights, and nobody says anything of the value's life. This is the usual case, and knows what
    /// it is.
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
        let mut credit = Credit::none(around);
        loop {
            let mut lock = self.lock();
            let mut txn = lock.txn();
            let to_find = txn.ledger.flights.key_to_find(hold);
            let place = to_find.and_then(|asked| txn.find(Lookup::new(hash, asked)));
            let over = txn.freeze(place);
            let now = txn.read_clock();
            let is_over_live = over.as_ref().is_some_and(|over| over.frozen.was_alive(now));
            if ruled.is_some_and(|ruled| ruled.over_live != is_over_live)
                && !txn.ledger.flights.is_invalidated(hold)
            {
                // What is over stays over.
                let _ = place.map(|place| txn.table.node(place).reap(now));
                return None;
            }
            if !is_usual && self.config.weighed && !txn.ledger.flights.is_invalidated(hold) {
                if let Err(short) = txn.pay(place, weight, &mut credit) {
                    drop(lock);
                    credit.raise(self, *short);
                    continue;
                }
            }
            let mut ending = txn.ledger.flights.end(hold, Kind::Value);
            let kept = ending.as_mut().filter(|ending| !ending.is_invalidated);
            let key = kept.and_then(|ending| ending.take_key(hold));
            let mut entry = key.and_then(|key| Some((key, value.take()?)));
            if entry.is_none() {
                return Some(Completed { ending, deferred: Deferred::none(), is_stored: false });
            }
            txn.note_write(hash, place);
            let ruling = ruled.map_or(Ruling::NONE, |ruled| ruled.ruling);
            let lifespan = Lifespan { lasting, ruling };
            let new = NewEntry { hash, entry: &mut entry, weight, lifespan };
            let deferred = if is_usual { txn.put(over, new) } else { txn.put_as(over, new) };
            let is_stored = !deferred.has_refused();
            return Some(Completed { ending, deferred, is_stored });
        }
    }
}

impl<K: Eq, V> Shard<K, V> {
    /// What a computation finds under its key, if that is alive. From now on it is told of writes that come between. `aim` is
    /// what it does next.
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
        txn.ledger.flights.catch_up(hold, aim);
        let node = txn.table.lend(place?, pin);
        // What is over is over for everybody: nobody finds it alive after the closure was shown that it is not.
        node.visible_until(self.config.clock.now()).map(|_| node)
    }

    /// Does what a computation wants, if the key still is as it was when it looked, and ends the flight.
    ///
    /// That there was an entry, that there is one, alive, and that nothing has invalidated the flight: so it is the same one.
    /// All that puts a value under a key invalidates its flight, under this lock (`flight.rs`, F2).
    ///
    /// What is not done is left where it was: also if user code panics.
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
                return (Acted::Invalidated { by_own }, Deferred::none());
            }
            let now = txn.read_clock();
            let alive = place.filter(|&place| txn.table.node(place).visible_until(now).is_some());
            if alive.is_some() != was_there {
                return (Acted::Gone, Deferred::none());
            }
            if let Some(Action::Put { weight, .. }) = action {
                if let Err(short) = txn.pay(place, *weight, &mut credit) {
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
    /// Does it, where nothing has come between.
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
                // What is left of an entry that is over.
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
                let (removed, deferred) = self.remove_at(place);
                (matches!(removed, Removed::Done(..)), deferred)
            }
            (Some(Action::Remove | Action::Nothing) | None, _) => (true, Deferred::none()),
        };
        if !is_done {
            return (Acted::Gone, deferred);
        }
        *action = None;
        // Only now, so that a panic before leaves the turn with its caller.
        (Acted::Done(self.ledger.flights.end(hold, Kind::Own)), deferred)
    }
}

impl<K, V> Shard<K, V> {
    /// Ends a flight that stores nothing, or has stored it already.
    pub(crate) fn end_turn(&self, hold: &mut Hold<K, V>, kind: Kind) -> Option<Ending<K, V>> {
        self.lock().txn().ledger.flights.end(hold, kind)
    }

    /// A call waits for one that leads on behalf of the same caller.
    pub(crate) fn accompany(&self, ticket: Ticket, call: Arc<Call<K, V>>, wants: Wants) -> Spot {
        self.lock().txn().ledger.flights.accompany(ticket, call, wants)
    }

    /// A call that waits comes for the turn that it was offered: the ticket, unless another one has it by now.
    pub(crate) fn claim_turn(&self, spot: Spot) -> Option<Ticket> {
        self.lock().txn().ledger.flights.claim(spot)
    }

    /// A call waits no more. What is left to do then.
    pub(crate) fn leave(&self, spot: Spot) -> Option<Ending<K, V>> {
        self.lock().txn().ledger.flights.forget(spot)
    }

    /// Whether a key has no live entry. If so, what is being loaded for it is not kept.
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

    /// A closure is about to run once more, on this thread, and is shown this node, or that there is none.
    pub(crate) fn watch(&self, hash: HashBits, shown: Option<&Node<K, V>>) -> Watching {
        let mut lock = self.lock();
        let txn = lock.txn();
        // What has been replaced already, is as good as gone: it was not the closure that did that.
        txn.ledger.flights.watch(hash, shown.and_then(|node| txn.table.row_of(node)))
    }

    /// It has run: whether what it was shown was written over by itself.
    pub(crate) fn end_watch(&self, ticket: Ticket) -> bool {
        self.lock().txn().ledger.flights.end_watch(ticket)
    }

    /// Claims a node's value, if it is old enough to be loaded anew and nobody is at it.
    pub(crate) fn claim(&self, node: &Node<K, V>, now: Tick, pin: &Pin) -> Option<Claim> {
        self.refresh_times.as_ref()?.claim(self.table.route().number(node, pin)?, now)
    }

    /// The same, old enough or not.
    pub(crate) fn claim_at_once(&self, node: &Node<K, V>, now: Tick, pin: &Pin) -> Option<Claim> {
        self.refresh_times.as_ref()?.claim_at_once(self.table.route().number(node, pin)?, now)
    }

    /// A value was loaded anew, or could not be.
    pub(crate) fn note_refresh(&self, is_done: bool) {
        if let Some(tally) = &mut self.lock().txn().ledger.tally {
            tally.refreshes += u64::from(is_done);
            tally.refresh_failures += u64::from(!is_done);
        }
    }
}
