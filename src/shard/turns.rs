//! Turns: what a call that loads or computes does under the shard's lock.
//!
//! Whether a key is there, and who is about to bring it, is looked up at once; and what was loaded is stored, and its
//! flight ended, at once. So there is no moment at which a key is neither there nor loaded, and none at which a write
//! comes between and is not noticed (`flight.rs`, F2). Knows no closures, and wakes nobody.

use super::change::drop_expired;
use super::credit::{Around, Credit};
use super::write::{Removed, Replaced, Table};
use super::{Chores, Claim, Lasting, Ledger, Ruling, Shard, Terms};
use crate::flight::{Aim, Asked, Begun, Call, Ending, Hold, Kind, Spot, Ticket, Wants, Watching};
use crate::hash::HashBits;
use crate::rows::RowId;
use crate::sync::Arc;
use crate::table::{Node, Pin, Place, same_as};
use crate::time::Tick;

/// What a call that wants a value finds.
pub(crate) enum Found<K, V> {
    /// A live entry.
    Alive(Asked<K, V>),
    /// One that was over. It is not there any more. To be asked again once the chores are done: user code among them may
    /// want the same key, and would wait for a call that cannot go on.
    Over(Asked<K, V>, Chores<K, V>),
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

/// What came of a load: a flight that has ended, and what its landing leaves to do.
pub(crate) struct Landed<K, V> {
    pub(crate) ending: Option<Ending<K, V>>,
    pub(crate) chores: Chores<K, V>,
    /// What was loaded is stored.
    pub(crate) is_stored: bool,
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
pub(crate) enum Deed<K, V> {
    Nothing,
    Remove,
    Put { entry: Option<(K, V)>, weight: u32, life: (Lasting, Ruling) },
}

/// What came of it.
pub(crate) enum Acted<K, V> {
    /// It is done, and the turn is over.
    Done(Option<Ending<K, V>>),
    /// The key was written or removed since it was looked at, by the computation's own closure or not. Nothing was done.
    Overtaken { by_own: bool },
    /// What was there has expired or was evicted. Nothing was done.
    Gone,
}

impl<K, V> Ledger<K, V> {
    /// A key is being written or removed, which may have its entry at that place: what a flight brings for it is not to be
    /// kept. Nearly always there is none. Comes before any change, for it may run the user's `Eq`.
    #[inline(always)]
    pub(super) fn overtake(
        &mut self,
        table: &Table<'_, '_, K, V>,
        hash: HashBits,
        over: Option<Place<K, V>>,
        is_key: impl Fn(&K) -> bool,
    ) {
        if !self.flights.is_quiet() {
            self.overtake_those(hash, over.map(|place| table.row(place)), &is_key);
        }
    }

    #[cold]
    #[inline(never)]
    fn overtake_those(&mut self, hash: HashBits, over: Option<RowId>, is_key: &dyn Fn(&K) -> bool) {
        self.flights.overtake(hash, is_key);
        self.flights.note_write(hash, over);
    }

    /// A key is being written or removed, by a load or a computation, which come in turn.
    #[inline(always)]
    fn note_write(&mut self, table: &Table<'_, '_, K, V>, hash: HashBits, over: Option<Place<K, V>>) {
        if self.flights.is_watched() {
            self.flights.note_write(hash, over.map(|place| table.row(place)));
        }
    }
}

impl<K: Eq, V> Shard<K, V> {
    /// A call that wants a key's value leads its flight, or joins it, if there is no entry.
    pub(crate) fn begin_load(
        &self,
        terms: &Terms,
        hash: HashBits,
        (asked, wants): (Asked<K, V>, Wants),
    ) -> Found<K, V> {
        let mut locked = self.table.lock();
        let (mut table, ledger) = locked.parts();
        let Some(place) = table.find(hash, same_as(asked.key())) else {
            let known = ledger.flights.of_key(hash, asked.key());
            return Found::Begun(ledger.flights.begin((hash, known), asked, wants, true));
        };
        let now = terms.clock.now();
        // What is over stays over: what is loaded now does not find it alive again.
        if table.node(place).reap(now).is_err() {
            return Found::Alive(asked);
        }
        drop_expired(terms, &mut table, ledger, place);
        Found::Over(asked, self.settle((&mut table, ledger), (now, Tick::NEVER), None))
    }

    /// A call that wants to run its own closure leads the key's flight, or joins it, whatever is there.
    pub(crate) fn begin_turn(&self, hash: HashBits, call: Arc<Call<K, V>>) -> Begun<K, V> {
        let mut locked = self.table.lock();
        let flights = &mut locked.parts().1.flights;
        let known = flights.of_key(hash, &call.key);
        flights.begin((hash, known), Asked::Shared(call), Wants::Turn, false)
    }

    /// A call that is to load a claimed value anew leads the key's flight, if that value is still there, and nobody has the turn.
    pub(crate) fn begin_anew(
        &self,
        terms: &Terms,
        hash: HashBits,
        (asked, aim): (Asked<K, V>, Aim),
        claim: &Claim,
    ) -> Anew<K, V> {
        let mut locked = self.table.lock();
        let (table, ledger) = locked.parts();
        let known = ledger.flights.of_key(hash, asked.key());
        let is_it = |place: &Place<K, V>| {
            claim.is_of(place.named()) && table.node(*place).visible_until(terms.clock.now()).is_some()
        };
        if !table.find(hash, same_as(asked.key())).as_ref().is_some_and(is_it) {
            return Anew::Gone(asked);
        }
        if known.is_taken() {
            return Anew::Taken(asked);
        }
        Anew::Leads(ledger.flights.lead((hash, known), asked, aim, false))
    }

    /// A call that waited, and has its turn, tells a value to all who wait, if the node that it saw it in is still there: then it was there
    /// when each of them asked. Else the next one has the turn.
    pub(crate) fn end_look(
        &self,
        terms: &Terms,
        (hash, hold): (HashBits, &mut Hold<K, V>),
        seen: &Node<K, V>,
    ) -> Option<Ending<K, V>> {
        let mut locked = self.table.lock();
        let (table, ledger) = locked.parts();
        let place = table.find(hash, same_as(hold.key()));
        let node = place.map(|place| table.node(place)).filter(|node| std::ptr::eq(*node, seen));
        let is_alive = node.is_some_and(|node| node.visible_until(terms.clock.now()).is_some());
        ledger.flights.end(hold, if is_alive { Kind::Value } else { Kind::Own })
    }

    /// A call that waited, and has its turn, has seen no entry, and is about to load.
    pub(crate) fn go_on(
        &self,
        terms: &Terms,
        (hash, hold): (HashBits, &mut Hold<K, V>),
        wants: Wants,
    ) -> Onward {
        let mut locked = self.table.lock();
        let (table, ledger) = locked.parts();
        let place = table.find(hash, same_as(hold.key()));
        // As in `begin_load`. What is over is left in its place, and goes when something is stored there.
        if place.is_some_and(|place| table.node(place).reap(terms.clock.now()).is_err()) {
            return Onward::Alive;
        }
        match ledger.flights.go_on(hold, wants, place.is_none()) {
            None => Onward::Leads,
            Some(spot) => Onward::Waits(spot),
        }
    }

    /// Stores what was loaded, unless the key was written or removed meanwhile, and ends the flight, once no user code can panic
    /// any more. What is not stored is left where it was, for the caller to drop, outside the lock and the turn.
    ///
    /// Over a live entry it is a replacement: no reload gives an entry a longer life than `replace` would, unless the loader said so.
    /// The ruling: what an `Expiry` said, and whether of a value in a live entry's place. `None`, and nothing done, if that is not so any more.
    #[inline(never)]
    pub(crate) fn land_as(
        &self,
        around: &impl Around<K, V>,
        turn: (HashBits, &mut Hold<K, V>),
        loaded: (&mut Option<V>, u32),
        life: (Lasting, Option<(Ruling, bool)>),
    ) -> Option<Landed<K, V>> {
        self.land_inline(around, turn, loaded, life, false)
    }

    /// The same, where entries have no weights, and nobody says anything of the value's life. This is the usual case, and knows what
    /// it is.
    pub(crate) fn land(
        &self,
        around: &impl Around<K, V>,
        turn: (HashBits, &mut Hold<K, V>),
        loaded: &mut Option<V>,
    ) -> Landed<K, V> {
        let landed = self.land_inline(around, turn, (loaded, 1), (Lasting::Restarted, None), true);
        landed.expect("there is no ruling that may not hold any more")
    }

    #[inline(always)]
    fn land_inline(
        &self,
        around: &impl Around<K, V>,
        (hash, hold): (HashBits, &mut Hold<K, V>),
        (loaded, weight): (&mut Option<V>, u32),
        (lasting, ruling): (Lasting, Option<(Ruling, bool)>),
        is_usual: bool,
    ) -> Option<Landed<K, V>> {
        let (terms, mut credit) = (around.terms(), Credit::none(around));
        loop {
            let mut locked = self.table.lock();
            let (mut table, ledger) = locked.parts();
            let to_find = ledger.flights.key_to_find(hold);
            let place = to_find.and_then(|asked| table.find(hash, same_as(asked)));
            let sealed = place.map(|place| (place, table.node(place).seal()));
            let now = terms.clock.now();
            let is_over_live = sealed.as_ref().is_some_and(|(_, seal)| seal.was_alive(now));
            if ruling.is_some_and(|(_, over_live)| over_live != is_over_live)
                && !ledger.flights.is_overtaken(hold)
            {
                // What is over stays over.
                let _ = place.map(|place| table.node(place).reap(now));
                return None;
            }
            if !is_usual && terms.weighed && !ledger.flights.is_overtaken(hold) {
                if let Err(short) = self.pay((&mut table, ledger), (place, weight), &mut credit) {
                    drop(locked);
                    credit.raise(self, *short);
                    continue;
                }
            }
            let mut ending = ledger.flights.end(hold, Kind::Value);
            let kept = ending.as_mut().filter(|ending| !ending.is_overtaken);
            let key = kept.and_then(|ending| ending.take_key(hold));
            let mut entry = key.and_then(|key| Some((key, loaded.take()?)));
            if entry.is_none() {
                return Some(Landed { ending, chores: Chores::none(), is_stored: false });
            }
            ledger.note_write(&table, hash, place);
            let ruling = ruling.map_or(Ruling::NONE, |(ruling, _)| ruling);
            let (books, offer) = ((&mut table, ledger), (&mut entry, weight));
            let known = (sealed, now, (lasting, ruling));
            let chores = if is_usual {
                self.put(terms, books, hash, offer, known)
            } else {
                self.put_as(terms, books, hash, offer, known)
            };
            let is_stored = !chores.has_refused();
            return Some(Landed { ending, chores, is_stored });
        }
    }
}

impl<K: Eq, V> Shard<K, V> {
    /// What a computation finds under its key, if that is alive. From now on it is told of writes that come between. `aim` is
    /// what it does next.
    pub(crate) fn look_in_turn<'g>(
        &'g self,
        terms: &Terms,
        (hash, hold, aim): (HashBits, &Hold<K, V>, Aim),
        pin: &'g Pin,
    ) -> Option<&'g Node<K, V>> {
        let mut locked = self.table.lock();
        let (table, ledger) = locked.parts();
        let place = table.find(hash, same_as(hold.key()));
        ledger.flights.catch_up(hold, aim);
        let node = table.lend(place?, pin);
        // What is over is over for everybody: nobody finds it alive after the closure was shown that it is not.
        node.visible_until(terms.clock.now()).map(|_| node)
    }

    /// Does what a computation wants, if the key still is as it was when it looked, and ends the flight.
    ///
    /// That there was an entry, that there is one, alive, and that nothing has overtaken the flight: so it is the same one.
    /// All that puts a value under a key overtakes its flight, under this lock (`flight.rs`, F2).
    ///
    /// What is not done is left where it was: also if user code panics.
    pub(crate) fn act(
        &self,
        around: &impl Around<K, V>,
        (hash, hold): (HashBits, &mut Hold<K, V>),
        (was_there, deed): (bool, &mut Option<Deed<K, V>>),
    ) -> (Acted<K, V>, Chores<K, V>) {
        let (terms, mut credit) = (around.terms(), Credit::none(around));
        loop {
            let mut locked = self.table.lock();
            let (mut table, ledger) = locked.parts();
            let place = table.find(hash, same_as(hold.key()));
            if ledger.flights.is_overtaken(hold) {
                let by_own = ledger.flights.is_overtaken_by_own(hold);
                return (Acted::Overtaken { by_own }, Chores::none());
            }
            let now = terms.clock.now();
            let alive = place.filter(|&place| table.node(place).visible_until(now).is_some());
            if alive.is_some() != was_there {
                return (Acted::Gone, Chores::none());
            }
            if let Some(Deed::Put { weight, .. }) = deed {
                if let Err(short) = self.pay((&mut table, ledger), (place, *weight), &mut credit) {
                    drop(locked);
                    credit.raise(self, *short);
                    continue;
                }
            }
            return self.act_at(terms, (&mut table, ledger), ((hash, hold), now), [place, alive], deed);
        }
    }

    /// Does it, where nothing has come between.
    #[inline(always)]
    fn act_at(
        &self,
        terms: &Terms,
        (table, ledger): (&mut Table<'_, '_, K, V>, &mut Ledger<K, V>),
        ((hash, hold), now): ((HashBits, &mut Hold<K, V>), Tick),
        [place, alive]: [Option<Place<K, V>>; 2],
        deed: &mut Option<Deed<K, V>>,
    ) -> (Acted<K, V>, Chores<K, V>) {
        if !matches!(deed, Some(Deed::Nothing) | None) {
            ledger.note_write(table, hash, place);
        }
        let books = (&mut *table, &mut *ledger);
        let (is_done, chores) = match (&mut *deed, alive) {
            (Some(Deed::Put { entry, weight, life }), None) => {
                // What is left of an entry that is over.
                let sealed = place.map(|place| (place, books.0.node(place).seal()));
                (true, self.put_as(terms, books, hash, (entry, *weight), (sealed, now, *life)))
            }
            (Some(Deed::Put { entry, weight, life }), Some(place)) => {
                let (replaced, chores) =
                    self.replace_at(terms, books, ((hash, place), now), (entry, *weight), *life);
                (replaced == Replaced::Done, chores)
            }
            (Some(Deed::Remove), Some(place)) => {
                let (removed, chores) = self.remove_at(terms, books, (place, now));
                (matches!(removed, Removed::Done(..)), chores)
            }
            (Some(Deed::Remove | Deed::Nothing) | None, _) => (true, Chores::none()),
        };
        if !is_done {
            return (Acted::Gone, chores);
        }
        *deed = None;
        // Only now, so that a panic before leaves the turn with its caller.
        (Acted::Done(ledger.flights.end(hold, Kind::Own)), chores)
    }
}

impl<K, V> Shard<K, V> {
    /// Ends a flight that stores nothing, or has stored it already.
    pub(crate) fn end_turn(&self, hold: &mut Hold<K, V>, kind: Kind) -> Option<Ending<K, V>> {
        self.table.lock().parts().1.flights.end(hold, kind)
    }

    /// A call waits for one that leads on behalf of the same caller.
    pub(crate) fn accompany(&self, ticket: Ticket, call: Arc<Call<K, V>>, wants: Wants) -> Spot {
        self.table.lock().parts().1.flights.accompany(ticket, call, wants)
    }

    /// A call that waits comes for the turn that it was offered: the ticket, unless another one has it by now.
    pub(crate) fn claim_turn(&self, spot: Spot) -> Option<Ticket> {
        self.table.lock().parts().1.flights.claim(spot)
    }

    /// A call waits no more. What is left to do then.
    pub(crate) fn leave(&self, spot: Spot) -> Option<Ending<K, V>> {
        self.table.lock().parts().1.flights.forget(spot)
    }

    /// Whether a key has no live entry. If so, what is being loaded for it is not kept.
    pub(crate) fn is_gone(&self, terms: &Terms, hash: HashBits, is_key: impl Fn(&K) -> bool + Copy) -> bool {
        let mut locked = self.table.lock();
        let (table, ledger) = locked.parts();
        let place = table.find(hash, is_key);
        let is_gone = place.is_none_or(|place| table.node(place).reap(terms.clock.now()).is_ok());
        if is_gone {
            ledger.overtake(&table, hash, place, is_key);
        }
        is_gone
    }

    /// A closure is about to run once more, on this thread, and is shown this node, or that there is none.
    pub(crate) fn watch(&self, hash: HashBits, shown: Option<&Node<K, V>>) -> Watching {
        let mut locked = self.table.lock();
        let (table, ledger) = locked.parts();
        // What has been replaced already, is as good as gone: it was not the closure that did that.
        ledger.flights.watch(hash, shown.and_then(|node| table.row_of(node)))
    }

    /// It has run: whether what it was shown was written over by itself.
    pub(crate) fn end_watch(&self, ticket: Ticket) -> bool {
        self.table.lock().parts().1.flights.end_watch(ticket)
    }

    /// Claims a node's value, if it is old enough to be loaded anew and nobody is at it.
    pub(crate) fn claim(&self, node: &Node<K, V>, now: Tick, pin: &Pin) -> Option<Claim> {
        self.fresh.as_ref()?.claim(self.table.route().number(node, pin)?, now)
    }

    /// The same, old enough or not.
    pub(crate) fn claim_at_once(&self, node: &Node<K, V>, now: Tick, pin: &Pin) -> Option<Claim> {
        self.fresh.as_ref()?.claim_at_once(self.table.route().number(node, pin)?, now)
    }

    /// A value was loaded anew, or could not be.
    pub(crate) fn note_refresh(&self, is_done: bool) {
        if let Some(tally) = &mut self.table.lock().parts().1.tally {
            tally.refreshes += u64::from(is_done);
            tally.refresh_failures += u64::from(!is_done);
        }
    }
}
