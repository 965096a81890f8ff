//! Turns as their callers hold them: a call that waits, and one that leads.
//!
//! Both give back what they hold when they are dropped, so that a panic, or a future that is dropped, leaves nobody waiting. The
//! user's closures run here, and outcomes are told here, outside every lock. What is done under the lock: `shard/inflight.rs`.

use super::expiry::created;
use super::handle::Place;
use super::later::Later;
use super::load::{Made, Origin};
use super::loading::Loading;
use super::{Cache, Parts};
use crate::expiry::Expiry;
use crate::hash::HashBits;
use crate::inflight::{
    Aim, Asked, Begun, Call, Ending, Hold, Kind, Leading, Outcome, Spoken, Spot, Told, Wants, Who,
};
use crate::key_value::{Key, Value};
use crate::life::Life;
use crate::listener::RemovalCause;
use crate::shard::{self, Claim, Completed, Found, Loaded, Lookup, Onward, RuledLoad, Shard};
use crate::stats::LoadEnd;
use crate::sync::{Alarm, Arc, catch, thread};
use crate::table::Pin;
use std::hash::BuildHasher;

/// What a call that waited was told.
pub(super) enum Heard<'c, K, V, S> {
    /// What another call's closure came to.
    Told(Outcome<V>, Origin),
    /// It is this call's turn.
    Leads(Turn<'c, K, V, S>),
}

/// The turn of a key. While a call has it, no other closure for the key runs, except those of loads
/// that were left behind.
pub(super) struct Turn<'c, K, V, S> {
    pub(super) cache: &'c Cache<K, V, S>,
    pub(super) hash: HashBits,
    pub(super) hold: Hold<K, V>,
    /// What it is to bring, if it is to bring something.
    pub(super) loading: Loading,
}

/// A call that waits for another one of its key.
pub(super) struct Wait<'c, K, V, S> {
    pub(super) cache: &'c Cache<K, V, S>,
    hash: HashBits,
    spot: Spot,
    /// Whether its caller returns a value that was not stored.
    takes_unstored: bool,
    /// `None` once it was told.
    pub(super) call: Option<Arc<Call<K, V>>>,
}

/// How a call begins that is to load a claimed value anew.
pub(super) enum Anew<'c, K, V, S> {
    Leads(Turn<'c, K, V, S>),
    /// Somebody else has the key's turn.
    Taken,
    /// The value is not there any more.
    Gone,
}

/// What a call finds that waited, and has its turn.
pub(super) enum Looked<'c, K, V, S> {
    /// A value, that came meanwhile.
    Found(V),
    /// Nothing.
    Leads(Turn<'c, K, V, S>),
    /// Nothing, and another call loads the key by now.
    Waits(Wait<'c, K, V, S>),
}

/// What a call comes to: an outcome, or its turn to load.
pub(super) type Settled<'c, K, V, S> = Result<(Outcome<V>, Origin), Turn<'c, K, V, S>>;

/// How a call begins: with a hit, with its turn, or by waiting.
pub(super) enum Beginning<'c, K, V, S> {
    /// Seldom, and so apart: a load takes no room for it on its stack.
    Hit(Box<V>),
    Leads(Turn<'c, K, V, S>),
    Waits(Wait<'c, K, V, S>),
}

impl<K, V, S> Cache<K, V, S>
where
    K: Key,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// A key that is to be loaded. It is given away where no user code wants to see it once it is.
    pub(super) fn asked(&self, key: K) -> Asked<K, V> {
        let Parts { weigher, expiry, .. } = self.parts();
        if weigher.is_some() || expiry.is_some() { Asked::Shared(Call::new(key)) } else { Asked::Given(key) }
    }

    /// Begins a call that wants a value.
    pub(super) fn begin_load(&self, mut asked: Asked<K, V>, wants: Wants) -> Beginning<'_, K, V, S> {
        let Place { hash, shard } = self.locate(asked.key());
        loop {
            match shard.begin_load(hash, asked, wants) {
                Found::Begun(begun) => return self.begun(hash, begun, wants).unwrap_or_else(|| nested()),
                Found::Over(back, deferred) => {
                    asked = back;
                    self.conclude(shard, deferred, RemovalCause::Expired);
                }
                Found::Alive(back) => {
                    asked = back;
                    // This call is counted already, as one that found nothing.
                    let pin = Pin::new();
                    let found = self.used_uncounted(asked.key(), &pin).map(|node| node.value().clone());
                    drop(pin);
                    if let Some(value) = found {
                        catch(|| drop(asked));
                        return Beginning::Hit(Box::new(value));
                    }
                }
            }
        }
    }

    /// Begins a call that is to load a claimed value anew.
    pub(super) fn begin_anew(&self, asked: Asked<K, V>, aim: Aim, claim: &Claim) -> Anew<'_, K, V, S> {
        let Place { hash, shard } = self.locate(asked.key());
        match shard.begin_anew(hash, asked, aim, claim) {
            shard::Anew::Leads(hold) => Anew::Leads(Turn::new(self, hash, hold)),
            // The key's destructor is user code, and what the call is served must not be lost by its panic.
            shard::Anew::Taken(asked) => {
                catch(|| drop(asked));
                Anew::Taken
            }
            shard::Anew::Gone(asked) => {
                catch(|| drop(asked));
                Anew::Gone
            }
        }
    }

    /// Begins a call that wants its turn.
    pub(super) fn begin_turn(&self, key: K) -> Beginning<'_, K, V, S> {
        self.try_begin_turn(key).unwrap_or_else(|| nested())
    }

    /// The same, but `None` if it is called from a closure that it would wait for.
    pub(super) fn try_begin_turn(&self, key: K) -> Option<Beginning<'_, K, V, S>> {
        let Place { hash, shard } = self.locate(&key);
        self.begun(hash, shard.begin_turn(hash, Call::new(key)), Wants::Turn)
    }

    #[inline(always)]
    fn begun(&self, hash: HashBits, begun: Begun<K, V>, wants: Wants) -> Option<Beginning<'_, K, V, S>> {
        match begun {
            Begun::Leads(hold) => {
                let mut turn = Turn::new(self, hash, hold);
                if wants.loads() {
                    turn.begin_loading();
                }
                Some(Beginning::Leads(turn))
            }
            Begun::Waits(spot, call) => {
                Some(Beginning::Waits(Wait::new(self, hash, spot, wants, Some(call))))
            }
            Begun::Nested(asked) => {
                catch(|| drop(asked));
                None
            }
        }
    }
}

#[cold]
fn nested() -> ! {
    panic!(
        "a closure that loads or computes a key has asked the cache to load or compute that same key, \
         on the same thread: it would wait for itself"
    )
}

impl<'c, K, V, S> Wait<'c, K, V, S> {
    fn new(
        cache: &'c Cache<K, V, S>,
        hash: HashBits,
        spot: Spot,
        wants: Wants,
        call: Option<Arc<Call<K, V>>>,
    ) -> Self {
        Self { cache, hash, spot, takes_unstored: wants.takes_unstored(), call }
    }
}

impl<'c, K, V, S> Wait<'c, K, V, S>
where
    K: Key,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// What it was told so far, if anything. If not, this thread is unparked once it is.
    pub(super) fn ask(&mut self) -> Option<Heard<'c, K, V, S>> {
        self.hear(|| Who::Thread(thread::current()))
    }

    /// Sleeps until it is told; at most until the alarm goes off: `None` then.
    pub(super) fn sleep(mut self, alarm: &Alarm) -> Option<Heard<'c, K, V, S>> {
        loop {
            if let Some(heard) = self.ask() {
                return Some(heard);
            }
            if !alarm.park() {
                return None;
            }
        }
    }

    /// Returns what the call was told so far. If nothing, or if an offered turn has gone to another call, `who` is woken once there is more.
    pub(super) fn hear(&mut self, who: impl Fn() -> Who) -> Option<Heard<'c, K, V, S>> {
        loop {
            let told = self.call.as_ref()?.poll(who())?;
            if let Some(heard) = self.told(told) {
                return Some(heard);
            }
        }
    }

    /// What it makes of what it was told.
    pub(super) fn told(&mut self, told: Told<V>) -> Option<Heard<'c, K, V, S>> {
        let Self { cache, hash, spot, .. } = *self;
        let ticket = match told {
            Told::Outcome { outcome, is_invalidated, by } => {
                // First, and caught: a destructor that panics here would leak what is about to be returned.
                let call = self.call.take()?;
                catch(|| drop(call));
                // Told a value that it does not take, an entry's call asks again.
                let is_taken =
                    self.takes_unstored || !is_invalidated || !matches!(*outcome, Outcome::Value(_));
                // What its own load came to, which ran elsewhere, is told to it as well.
                if is_taken && by.is_some_and(|by| !spot.is_of(by)) {
                    cache.note_joined();
                }
                let origin = if is_invalidated { Origin::Invalidated } else { Origin::There };
                return Some(Heard::Told(Spoken::Shared(outcome).into_own(), origin));
            }
            Told::Turn(ticket) => ticket,
            Told::Offer => {
                let ticket = cache.shard_of(hash).claim_turn(spot)?;
                // Nobody tells it anything any more.
                let _ = self.call.as_ref()?.leave();
                ticket
            }
            Told::Passed => return Some(self.find_instead()),
        };
        let call = self.call.take()?;
        Some(Heard::Leads(Turn::new(cache, hash, Hold::after(ticket, call))))
    }
}

impl<K, V, S> Drop for Wait<'_, K, V, S> {
    /// Leaves, and passes the turn on if it has just been told that it has it (F3).
    fn drop(&mut self) {
        let Some(call) = self.call.take() else { return };
        let Self { cache, hash, spot, .. } = *self;
        match call.leave() {
            Some(Told::Turn(ticket)) => {
                drop(Turn::new(cache, hash, Hold::after(ticket, call)));
            }
            Some(Told::Outcome { outcome, .. }) => {
                catch(|| drop(outcome));
                catch(|| drop(call));
            }
            Some(Told::Passed) => drop(catch(|| drop(call))),
            Some(Told::Offer) | None => {
                if let Some(ending) = cache.shard_of(hash).leave(spot) {
                    ending.pass_on();
                }
                catch(|| drop(call));
            }
        }
    }
}

impl<'c, K, V, S> Turn<'c, K, V, S> {
    #[inline(always)]
    pub(super) fn new(cache: &'c Cache<K, V, S>, hash: HashBits, hold: Hold<K, V>) -> Self {
        Self { cache, hash, hold, loading: Loading::default() }
    }

    /// The key's shard.
    pub(super) fn shard(&self) -> &'c Shard<K, V> {
        self.cache.shard_of(self.hash)
    }

    /// Its key, where that was not given away.
    pub(super) fn key(&self) -> &K {
        self.hold.key()
    }

    /// As long as the result exists, a call that would wait for this one on this thread panics.
    pub(super) fn lead(&self) -> Option<Leading> {
        self.hold.ticket.map(Leading::enter)
    }

    /// Ends the turn with nothing to tell. What is left to do then, unless it was over already.
    pub(super) fn give_back(&mut self) -> Option<Ending<K, V>> {
        self.abandon_loading();
        self.hold.ticket.is_some().then(|| self.shard().end_turn(&mut self.hold, Kind::Own))?
    }
}

impl<'c, K, V, S> Turn<'c, K, V, S>
where
    K: Key,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Runs a closure of the call, polls its future, or runs other user code while the call has its turn. If that code would
    /// wait for this call on this thread, it panics.
    pub(super) fn run<R>(&self, closure: impl FnOnce() -> R) -> R {
        let _leading = self.lead();
        self.loading.span.within(closure)
    }

    /// As `run`, with the closure that is to bring the value.
    #[inline]
    pub(super) fn call<R>(&mut self, closure: impl FnOnce() -> R) -> R {
        self.loading.enter();
        self.run(closure)
    }

    /// A call that waits for this one, whose closure is about to run elsewhere. It stands aside.
    pub(super) fn accompany(&self, wants: Wants) -> Wait<'c, K, V, S>
    where
        K: Clone,
    {
        let Self { cache, hash, .. } = *self;
        let ticket = self.hold.ticket.expect("it has just begun");
        let call = self.run(|| Call::aside(self.key().clone()));
        let spot = self.shard().accompany(ticket, Arc::clone(&call), wants);
        Wait::new(cache, hash, spot, wants, Some(call))
    }

    /// Looks for a value that came while this call waited for its turn. If the entry is still there in the end, all other calls that
    /// wait for a value are told it.
    pub(super) fn look(self, wants: Wants) -> Looked<'c, K, V, S> {
        // Before the turn: if user code panics below, that is given back before the value is dropped, which may ask for the key.
        let mut seen = None;
        let mut turn = self;
        let (cache, hash, shard) = (turn.cache, turn.hash, turn.shard());
        loop {
            let pin = Pin::new();
            let node = turn.run(|| {
                let node = cache.used_uncounted(turn.key(), &pin)?;
                seen = Some(node.value().clone());
                Some(node)
            });
            if let Some(node) = node {
                let ending = shard.end_look(hash, &mut turn.hold, node);
                drop(pin);
                let call = turn.hold.call.take();
                let mut outcome = Spoken::Alone(Outcome::Value(seen.expect("it was just seen")));
                tell(ending, &mut outcome, false);
                catch(|| drop(call));
                return match outcome.into_own() {
                    Outcome::Value(value) => Looked::Found(value),
                    Outcome::Error(_) | Outcome::Nothing => unreachable!("told as it is"),
                };
            }
            drop(pin);
            match shard.go_on(hash, &mut turn.hold, wants) {
                Onward::Alive => {}
                Onward::Leads => {
                    if wants.loads() {
                        turn.begin_loading();
                    }
                    return Looked::Leads(turn);
                }
                Onward::Waits(spot) => {
                    let wait = Wait::new(cache, hash, spot, wants, turn.hold.call.take());
                    if spot.leads_here() {
                        drop(wait);
                        nested();
                    }
                    return Looked::Waits(wait);
                }
            }
        }
    }

    /// Runs a closure that loads, and completes with what it came to.
    pub(super) fn load(self, init: impl FnOnce() -> Made<V>) -> (Outcome<V>, Origin) {
        let leading = self.lead();
        let Made { outcome, life } = self.loading.span.within(init);
        let mut outcome = Spoken::Alone(outcome);
        let origin = self.complete_leading(&mut outcome, life, leading);
        (outcome.into_own(), origin)
    }

    /// Ends the turn with what the closure came to. A value is stored, unless the key was written or removed meanwhile. All calls
    /// that asked for such an outcome are told it, and so is this one.
    pub(super) fn complete(self, made: Made<V>) -> (Outcome<V>, Origin) {
        let (outcome, origin) = self.complete_and_tell(made);
        (outcome.into_own(), origin)
    }

    /// As `complete`, but this call itself is not told yet: that runs user code, which may panic.
    pub(super) fn complete_and_tell(self, Made { outcome, life }: Made<V>) -> (Spoken<V>, Origin) {
        let leading = self.lead();
        let mut outcome = Spoken::Alone(outcome);
        let origin = self.complete_leading(&mut outcome, life, leading);
        (outcome, origin)
    }

    /// The outcome stays where it is: a value may be large, and each copy of it is on the stack.
    fn complete_leading(self, outcome: &mut Spoken<V>, life: Life, leading: Option<Leading>) -> Origin {
        let Outcome::Value(value) = outcome.outcome() else {
            drop(leading);
            let is_loaded = self.loading.is_counted();
            self.end(outcome, is_loaded);
            return Origin::Unstored;
        };
        // In this order: if user code panics below, the turn is given back before the destructors of values run, and
        // before evictions are told of. Those may ask for the key.
        let mut kept;
        let cache = self.cache;
        let later = Later::new(cache);
        let (mut turn, leading) = (self, leading);
        let Parts { expiry, weigher, .. } = cache.parts();
        let shard = turn.shard();
        kept = Some(value.clone());
        let is_usual = matches!(life, Life::Restart) && expiry.is_none() && weigher.is_none();
        let Completed { ending, mut deferred, is_stored } = if is_usual {
            drop(leading);
            shard.complete(cache, turn.hash, &mut turn.hold, &mut kept)
        } else {
            turn.complete_as(&later, &mut kept, life, leading)
        };
        // First, since what follows runs user code: a subscriber to spans, wakers, and keys' destructors.
        cache.start(&mut deferred);
        // A value that was ready is no load.
        let is_loaded = turn.loading.is_counted();
        let is_kept = is_stored || ending.as_ref().is_some_and(|ending| !ending.is_invalidated);
        turn.end_loading(if is_kept { LoadEnd::Success } else { LoadEnd::Invalidated });
        // The call's handle, unless its key was taken out of it. The turn is over.
        let call = turn.hold.call.take();
        tell(ending, outcome, is_loaded);
        // The listener is told of the evictions first, because they went first.
        drop(later);
        cache.conclude(shard, deferred, RemovalCause::Replaced);
        // Each by itself, and their panics are not this call's: it has what it asked for.
        if kept.is_some() || call.is_some() {
            catch(|| kept = None);
            catch(|| drop(call));
        }
        if is_stored { Origin::Stored } else { Origin::Unstored }
    }

    /// Completes a load whose value has a weight, or whose life the loader or an `Expiry` has set.
    #[inline(never)]
    fn complete_as(
        &mut self,
        later: &Later<'_, K, V, S>,
        value: &mut Option<V>,
        life: Life,
        mut leading: Option<Leading>,
    ) -> Completed<K, V> {
        let (cache, shard) = (self.cache, self.shard());
        let Parts { expiry, weigher, .. } = cache.parts();
        let weighed = weigher.as_ref().zip(value.as_ref());
        let weight = weighed.map_or(1, |(weigher, value)| weigher(self.key(), value));
        loop {
            let ruled = expiry.as_deref().zip(value.as_ref());
            let ruled = ruled.map(|(expiry, value)| self.ruled(expiry, self.key(), value));
            drop(leading);
            let loaded = Loaded { value: &mut *value, weight, lasting: life.of_update(), ruled };
            match shard.complete_as(later, self.hash, &mut self.hold, loaded) {
                Some(completed) => return completed,
                // The entry that the `Expiry` was asked about has come to its end.
                None => leading = self.lead(),
            }
        }
    }

    /// Asks the `Expiry` about a loaded value. Also returns whether it takes the place of a live entry, as where an old value is loaded anew.
    fn ruled(&self, expiry: &dyn Expiry<K, V>, key: &K, value: &V) -> RuledLoad {
        let pin = Pin::new();
        let old = self.shard().visible::<false, K>(Lookup::new(self.hash, key), &pin);
        match old.filter(|_| self.cache.parts().refreshes) {
            None => RuledLoad { ruling: created(expiry, key, value), over_live: false },
            Some(old) => RuledLoad { ruling: self.cache.updated(expiry, key, value, old), over_live: true },
        }
    }

    /// Ends the turn with an outcome that is not stored. `is_loaded` says whether a load came to it: one that is counted here, or was before.
    pub(super) fn end(mut self, outcome: &mut Spoken<V>, is_loaded: bool) {
        self.end_loading_without(outcome.outcome());
        let kind = outcome.outcome().kind();
        let ending = self.cache.shard_of(self.hash).end_turn(&mut self.hold, kind);
        let call = self.hold.call.take();
        tell(ending, outcome, is_loaded);
        catch(|| drop(call));
    }
}

fn tell<K, V>(ending: Option<Ending<K, V>>, outcome: &mut Spoken<V>, is_loaded: bool) {
    if let Some(ending) = ending {
        ending.tell(outcome, is_loaded);
    }
}

impl<K, V, S> Drop for Turn<'_, K, V, S> {
    /// The closure panicked, or its future was dropped, or there is nothing to tell: the next one has the turn.
    fn drop(&mut self) {
        if let Some(ending) = self.give_back() {
            ending.pass_on();
        }
        // The key's destructor is user code, and what comes of the call must not be lost by its panic.
        let call = self.hold.call.take();
        catch(|| drop(call));
    }
}

impl<'c, K, V, S> Beginning<'c, K, V, S>
where
    K: Key,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Waits, if it has to, and looks again if it comes to have the turn after that. `None` if the alarm goes off first.
    pub(super) fn settle(self, wants: Wants, alarm: &Alarm) -> Option<Settled<'c, K, V, S>> {
        let mut wait = match self {
            Self::Hit(value) => return Some(Ok((Outcome::Value(*value), Origin::There))),
            Self::Leads(turn) => return Some(Err(turn)),
            Self::Waits(wait) => wait,
        };
        loop {
            match wait.sleep(alarm)?.settle(wants) {
                Ok(settled) => return Some(settled),
                Err(again) => wait = again,
            }
        }
    }
}

impl<'c, K, V, S> Heard<'c, K, V, S>
where
    K: Key,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Looks again, if it is this call's turn. It may have to wait once more.
    pub(super) fn settle(self, wants: Wants) -> Result<Settled<'c, K, V, S>, Wait<'c, K, V, S>> {
        match self {
            Self::Told(outcome, origin) => Ok(Ok((outcome, origin))),
            Self::Leads(turn) => match turn.look(wants) {
                Looked::Found(value) => Ok(Ok((Outcome::Value(value), Origin::There))),
                Looked::Leads(turn) => Ok(Err(turn)),
                Looked::Waits(wait) => Err(wait),
            },
        }
    }
}
