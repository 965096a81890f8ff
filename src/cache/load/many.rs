//! Get many, or load those that are missing with one call.
//!
//! Each missing key has a flight of its own, so this call and calls for single keys wait for each other. The call never
//! waits while it has a turn. First it takes the turns that are free, loads, and gives them back. Then it waits for the
//! rest, and uses each turn that it is given at once. So two calls with the same keys in different orders do not wait
//! for each other in a ring.
//!
//! While such a call runs code of the user's, its waits stand aside: it is given no turn without its knowledge. Each
//! turn that it has is marked from the start, so that user code on this thread does not wait for it.

use super::outcome::Made;
use super::outcome::{NOT_ASKED, option, optional, served, wants_option};
use crate::cache::Cache;
use crate::cache::turn::{Beginning, Turn, Wait};
use crate::inflight::{Asked, Call, Ending, Failure, Leading, Outcome, Wants, Who};
use crate::key_value::{Key, Value};
use crate::sync::{Alarm, Arc, thread};
use std::any::TypeId;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

/// Turns in hand, each with the place of its key.
pub(in crate::cache) struct Hand<'c, K, V, S> {
    pub(in crate::cache) turns: Vec<(usize, Turn<'c, K, V, S>)>,
    /// Whether the user's closure was called for them.
    pub(in crate::cache) is_loading: bool,
    /// Whether the user's future waits. If it is dropped then, the loads were given up.
    pub(in crate::cache) is_waiting: bool,
}

/// Marks of turns.
pub(in crate::cache) struct Marks(Vec<Leading>);

impl<'c, K, V, S> Hand<'c, K, V, S>
where
    K: Key + Clone,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// As long as these are there, whoever waits for one of the turns on this thread panics. As many as turns, in their order.
    pub(in crate::cache) fn mark(&self) -> Marks {
        Marks(self.turns.iter().filter_map(|(_, turn)| turn.lead()).collect())
    }

    /// Adds a turn, and marks it.
    fn add(&mut self, place: usize, turn: Turn<'c, K, V, S>, marks: &mut Marks) {
        marks.0.extend(turn.lead());
        self.turns.push((place, turn));
    }

    /// Loads with one call of the user's, and gives the turns back.
    fn load<I>(
        &mut self,
        values: &mut [Option<V>],
        brought: &mut Brought<K, V, I::IntoIter>,
        init: &mut impl FnMut(&[&K]) -> Result<I, Failure>,
    ) -> Result<(), Failure>
    where
        I: IntoIterator<Item = (K, V)>,
    {
        if self.turns.is_empty() {
            return Ok(());
        }
        self.is_loading = true;
        let marks = self.mark();
        let keys: Vec<&K> = self.turns.iter().map(|(_, turn)| turn.key()).collect();
        // The user's iterator is his code as well.
        let call = || init(&keys).map(|pairs| brought.take(pairs.into_iter()));
        let made = self.turns[0].1.loading.span.within(call);
        self.complete(values, brought, marks, made)
    }

    /// Gives the turns back, each with what was brought for it, or with the failure.
    pub(in crate::cache) fn complete<I>(
        &mut self,
        values: &mut [Option<V>],
        brought: &mut Brought<K, V, I>,
        mut marks: Marks,
        made: Result<(), Failure>,
    ) -> Result<(), Failure>
    where
        I: Iterator<Item = (K, V)>,
    {
        while let Some((place, turn)) = self.turns.pop() {
            // Declared after the turn, so that the mark is off before that is given back, if user code panics.
            let mark = marks.0.pop();
            let own = match &made {
                Ok(()) => optional(brought.get(turn.key())),
                Err(failure) => Made::plain(Outcome::Error(Arc::clone(failure))),
            };
            drop(mark);
            values[place] = option(turn.complete(own).0);
        }
        // What nobody asked for is ignored, and the next call's keys are not answered with it.
        brought.forget();
        made
    }
}

impl<K, V, S> Hand<'_, K, V, S> {
    fn empty() -> Self {
        Self { turns: Vec::new(), is_loading: false, is_waiting: false }
    }
}

impl<K, V, S> Drop for Hand<'_, K, V, S> {
    /// Gives back all turns before the first key goes: its destructor may ask for the others.
    fn drop(&mut self) {
        // The spans of all end while all turns are marked: a subscriber may ask for any of the keys.
        let marks: Vec<_> = self.turns.iter().filter_map(|(_, turn)| turn.lead_while_told()).collect();
        for (_, turn) in &mut self.turns {
            if !self.is_loading {
                turn.forgo_loading();
            } else if self.is_waiting {
                turn.loading.leave();
            }
            turn.abandon_loading();
        }
        drop(marks);
        let endings: Vec<_> = self.turns.iter_mut().filter_map(|(_, turn)| turn.give_back()).collect();
        endings.into_iter().for_each(Ending::pass_on);
    }
}

/// What the user's call brings. It is made before the hand, and so dropped after it: if user code panics, the turns are given
/// back by then, and the values' destructors may ask for the keys.
pub(in crate::cache) struct Brought<K, V, I> {
    pairs: Option<I>,
    places: HashMap<K, usize>,
    values: Vec<Option<V>>,
}

impl<K: Hash + Eq, V, I: Iterator<Item = (K, V)>> Brought<K, V, I> {
    pub(in crate::cache) fn nothing() -> Self {
        Self { pairs: None, places: HashMap::new(), values: Vec::new() }
    }

    pub(in crate::cache) fn take(&mut self, pairs: I) {
        for (key, value) in self.pairs.insert(pairs) {
            // Not in the map, where a value would be in the hands of a comparison that panics.
            self.values.push(Some(value));
            self.places.insert(key, self.values.len() - 1);
        }
        self.pairs = None;
    }

    fn get(&mut self, key: &K) -> Option<V> {
        self.places.get(key).and_then(|&place| self.values[place].take())
    }

    fn forget(&mut self) {
        self.places.clear();
        self.values.clear();
    }
}

/// Load many keys with one call.
impl<K, V, S> Cache<K, V, S>
where
    K: Key + Clone,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Clones of the values of many keys, in the keys' order. One call of the closure loads all
    /// that are missing. It is given the keys that it has to bring, each once, and returns pairs,
    /// in any order. A key that it leaves out has no value; one that it was not asked for is
    /// ignored.
    ///
    /// It works like [`optionally_get_with`](Self::optionally_get_with) for each key: of all calls
    /// for a key at the same time, one loads it. If another call is loading a key when this call
    /// begins, this call waits for it. If that call's closure answers that there is no value, so
    /// does this call. If that closure fails, this call's closure runs again, for the keys whose
    /// turn the call then has; that may be several times.
    ///
    /// # Panics
    ///
    /// If the closure does; then other calls that wait for its keys load them. Also if the closure
    /// asks the cache to load or compute one of these keys on the same thread, because it would
    /// wait for itself.
    ///
    /// # Complexity
    ///
    /// O(n log n) for n keys, with a clone of each missing key; and O(n) more each time that
    /// another call tells it of one, where it waits for others.
    ///
    /// # Concurrency
    ///
    /// As [`get_with`](Self::get_with); not atomic for several keys.
    ///
    /// ```
    /// let cache = tidewheel::Cache::new(100);
    /// cache.insert(1, "one".to_string());
    /// let values = cache.get_many_with([1, 2, 3], |missing| {
    ///     assert_eq!(missing, [&2, &3]); // one query for both
    ///     [(2, "two".to_string())]
    /// });
    /// assert_eq!(values, [Some("one".to_string()), Some("two".to_string()), None]);
    /// ```
    pub fn get_many_with<I>(
        &self,
        keys: impl IntoIterator<Item = K>,
        mut init: impl FnMut(&[&K]) -> I,
    ) -> Vec<Option<V>>
    where
        I: IntoIterator<Item = (K, V)>,
    {
        let mut asked = self.ask_many(keys);
        let loaded = self.load_many(&mut asked, wants_option(), &mut |keys| Ok(init(keys)));
        loaded.unwrap_or_else(|_| unreachable!("{NOT_ASKED}"));
        served(asked.answer(), init)
    }

    /// As [`get_many_with`](Self::get_many_with), with a closure that may fail.
    ///
    /// # Errors
    ///
    /// The closure's error, if it fails. It goes to all calls that wait for one of its keys and can
    /// return an error of the same type. Also such an error of another call that loads one of the
    /// keys. What was loaded before is stored.
    ///
    /// # Panics
    ///
    /// As [`get_many_with`](Self::get_many_with).
    ///
    /// # Complexity
    ///
    /// As [`get_many_with`](Self::get_many_with).
    ///
    /// # Concurrency
    ///
    /// As [`get_many_with`](Self::get_many_with).
    ///
    /// ```
    /// let cache = tidewheel::Cache::new(100);
    /// cache.insert(1, "one");
    /// let failed = cache.try_get_many_with([1, 2], |_| Err::<Vec<_>, _>("no connection"));
    /// assert_eq!(*failed.unwrap_err(), "no connection");
    /// let values = cache.try_get_many_with([1, 2], |_| Ok::<_, ()>([(2, "two")]));
    /// assert_eq!(values, Ok(vec![Some("one"), Some("two")]));
    /// ```
    pub fn try_get_many_with<I, E>(
        &self,
        keys: impl IntoIterator<Item = K>,
        mut init: impl FnMut(&[&K]) -> Result<I, E>,
    ) -> Result<Vec<Option<V>>, Arc<E>>
    where
        I: IntoIterator<Item = (K, V)>,
        E: Send + Sync + 'static,
    {
        let mut asked = self.ask_many(keys);
        let mut fallible = |keys: &[&K]| init(keys).map_err(|error| Arc::new(error) as Failure);
        let loaded = self.load_many(&mut asked, wants_many::<E>(), &mut fallible);
        served(loaded.map_err(the_error).map(|()| asked.answer()), init)
    }

    /// What of many keys is there.
    pub(in crate::cache) fn ask_many(&self, keys: impl IntoIterator<Item = K>) -> Many<K, V> {
        let keys: Vec<K> = keys.into_iter().collect();
        let values = self.get_many(&keys);
        let mut first: HashMap<&K, usize> = HashMap::new();
        let missing = (0..keys.len()).filter(|&place| values[place].is_none());
        let (mut new, mut again) = (Vec::new(), Vec::new());
        for place in missing {
            match *first.entry(&keys[place]).or_insert(place) {
                same if same == place => new.push(place),
                same => again.push((place, same)),
            }
        }
        Many { keys, values, new, again }
    }

    /// Turns for those that are missing, as far as they are to be had; and what there is to wait for.
    pub(in crate::cache) fn begin_many<'c>(
        &'c self,
        asked: &mut Many<K, V>,
        wants: Wants,
    ) -> BegunMany<'c, K, V, S> {
        let mut begun = BegunMany { hand: Hand::empty(), waits: Vec::new() };
        // After the turns: if user code panics, the marks are off when those are given back.
        let mut marks = Marks(Vec::new());
        for &place in &asked.new {
            match self.begin_load(Asked::Shared(Call::aside(asked.keys[place].clone())), wants) {
                Beginning::Hit(value) => asked.values[place] = Some(*value),
                Beginning::Leads(turn) => begun.hand.add(place, turn, &mut marks),
                Beginning::Waits(wait) => begun.waits.push((place, wait)),
            }
        }
        drop(marks);
        begun
    }

    /// Takes what the waits were told: values, and turns, which it returns. The other waits stand
    /// aside from now on.
    pub(in crate::cache) fn hear<'c>(
        &'c self,
        values: &mut [Option<V>],
        wants: Wants,
        waits: &mut Waits<'c, K, V, S>,
    ) -> Result<Hand<'c, K, V, S>, Failure> {
        // Before user code runs.
        let all = std::mem::take(waits).into_iter();
        let (told, quiet): (Waits<'c, K, V, S>, _) = all.partition(|(_, wait)| wait.step_aside());
        *waits = quiet;
        // Each with the mark of its turn, if that is what it was told.
        let marked = told.into_iter().rev().map(|(place, wait)| (place, wait.lead(), wait));
        let mut told: Vec<_> = marked.collect();
        // In this order: if user code panics, the marks are taken off first, and the turns are
        // given back before keys of other waits are dropped, which may ask for those turns.
        let mut hand = Hand::empty();
        let mut marks = Marks(Vec::new());
        while let Some((place, mark, wait)) = told.pop() {
            drop(mark);
            match wait.settle_told(wants) {
                Ok(Ok((Outcome::Error(failure), _))) => return Err(failure),
                Ok(Ok((outcome, _))) => values[place] = option(outcome),
                Ok(Err(turn)) => hand.add(place, turn, &mut marks),
                Err(again) if again.step_aside() => told.push((place, again.lead(), again)),
                Err(again) => waits.push((place, again)),
            }
        }
        drop(marks);
        Ok(hand)
    }

    fn load_many<I>(
        &self,
        asked: &mut Many<K, V>,
        wants: Wants,
        init: &mut impl FnMut(&[&K]) -> Result<I, Failure>,
    ) -> Result<(), Failure>
    where
        I: IntoIterator<Item = (K, V)>,
    {
        let mut brought = Brought::nothing();
        let BegunMany { hand, mut waits } = self.begin_many(asked, wants);
        // After the others, so that the turns are given back before keys of those go, which may ask for them.
        let mut hand = hand;
        let values = &mut asked.values;
        hand.load(values, &mut brought, init)?;
        while !waits.is_empty() {
            while !listen(&waits, || Who::Thread(thread::current())) {
                Alarm::NEVER.park();
            }
            hand = self.hear(values, wants, &mut waits)?;
            hand.load(values, &mut brought, init)?;
        }
        Ok(())
    }
}

/// Keys that are asked for together.
pub(in crate::cache) struct Many<K, V> {
    keys: Vec<K>,
    pub(in crate::cache) values: Vec<Option<V>>,
    /// Places of those that are missing, each key once.
    new: Vec<usize>,
    /// Places of those that are missing, too, and where the same key is.
    again: Vec<(usize, usize)>,
}

impl<K, V: Clone> Many<K, V> {
    pub(in crate::cache) fn answer(self) -> Vec<Option<V>> {
        let Self { keys, mut values, again, .. } = self;
        for (place, same) in again {
            values[place] = values[same].clone();
        }
        served(values, keys)
    }
}

/// Calls that wait, each with the place of its key.
pub(in crate::cache) type Waits<'c, K, V, S> = Vec<(usize, Wait<'c, K, V, S>)>;

/// Whether one of them was told something. If not, `who` is woken once one is. All of them listen.
pub(in crate::cache) fn listen<K, V, S>(waits: &Waits<'_, K, V, S>, who: impl Fn() -> Who) -> bool
where
    K: Key + Clone,
    V: Value + Clone,
    S: BuildHasher + Send + Sync + 'static,
{
    waits.iter().fold(false, |is_told, (_, wait)| wait.listen(who()) || is_told)
}

/// How a call for many keys begins. In this order: what is waited for is left after the turns were given back.
pub(in crate::cache) struct BegunMany<'c, K, V, S> {
    pub(in crate::cache) hand: Hand<'c, K, V, S>,
    pub(in crate::cache) waits: Waits<'c, K, V, S>,
}

pub(in crate::cache) fn wants_many<E: 'static>() -> Wants {
    Wants::value(Some(TypeId::of::<E>()), true)
}

pub(in crate::cache) fn the_error<E: Send + Sync + 'static>(failure: Failure) -> Arc<E> {
    failure.downcast().expect(NOT_ASKED)
}
