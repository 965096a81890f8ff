//! Get many, or load those that are missing with one call.
//!
//! Each key that is missing has a flight of its own, so this call and those for single keys wait for each other. It never
//! waits for others with a turn in hand: first it has the turns that are free, loads, and gives them back; then it waits for
//! the rest, and whatever turn it is given meanwhile it uses at once. So two calls with the same keys in different
//! orders do not wait for each other in a ring.

use super::Cache;
use super::load::{option, optional, served, wants_option};
use super::turn::{Beginning, Turn, Wait};
use crate::flight::{Asked, Call, Ending, Leading};
use crate::sync::Alarm;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

/// Turns in hand, each with the place of its key. While they are, whoever waits for one of them on this thread panics.
struct Hand<'c, K, V, S> {
    /// As many as turns, in their order. Dropped before them.
    leading: Vec<Leading>,
    turns: Vec<(usize, Turn<'c, K, V, S>)>,
}

impl<'c, K, V, S> Hand<'c, K, V, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    fn new() -> Self {
        Self { leading: Vec::new(), turns: Vec::new() }
    }

    fn take(&mut self, place: usize, turn: Turn<'c, K, V, S>) {
        self.leading.extend(turn.lead());
        self.turns.push((place, turn));
    }

    /// Loads with one call of the user's, and gives the turns back.
    fn load<I>(
        &mut self,
        values: &mut [Option<V>],
        brought: &mut Brought<K, V, I::IntoIter>,
        init: &mut impl FnMut(&[&K]) -> I,
    ) where
        I: IntoIterator<Item = (K, V)>,
    {
        if self.turns.is_empty() {
            return;
        }
        let keys: Vec<&K> = self.turns.iter().map(|(_, turn)| turn.key()).collect();
        brought.take(init(&keys).into_iter());
        // Last come, first served, as the marks of who leads are taken off.
        while let Some((place, turn)) = self.turns.pop() {
            // Declared after the turn, so that the mark is off before that is given back, if user code panics.
            let leading = self.leading.pop();
            let value = brought.get(turn.key());
            drop(leading);
            values[place] = option(turn.land(optional(value)).0);
        }
        // What nobody asked for is ignored, and the next call's keys are not answered with it.
        brought.forget();
    }
}

impl<K, V, S> Drop for Hand<'_, K, V, S> {
    /// Gives back all turns before the first key goes: its destructor may ask for the others.
    fn drop(&mut self) {
        self.leading.clear();
        let endings: Vec<_> = self.turns.iter_mut().filter_map(|(_, turn)| turn.give_back()).collect();
        endings.into_iter().for_each(Ending::pass_on);
    }
}

/// What the user's call brings. It is made before the hand, and so dropped after it: if user code panics, the turns are given
/// back by then, and the values' destructors may ask for the keys.
struct Brought<K, V, I> {
    pairs: Option<I>,
    places: HashMap<K, usize>,
    values: Vec<Option<V>>,
}

impl<K: Hash + Eq, V, I: Iterator<Item = (K, V)>> Brought<K, V, I> {
    fn nothing() -> Self {
        Self { pairs: None, places: HashMap::new(), values: Vec::new() }
    }

    fn take(&mut self, pairs: I) {
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

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Clones of the values of many keys, in the keys' order. Those that are missing are loaded, with one call of the
    /// closure for all of them: it is told which keys it has to bring, each once, and answers with pairs, in any order. A key that it leaves out
    /// has no value; one that it was not asked for is ignored.
    ///
    /// As [`optionally_get_with`](Self::optionally_get_with) for each key: of all who ask for a key at the same time, one loads it. What others
    /// are loading when this call begins is waited for; where that comes to nothing, this call's closure runs once more,
    /// for what is left.
    ///
    /// # Panics
    ///
    /// If the closure does; others who wait for its keys load them then. And if the closure asks the cache to load or compute one of these
    /// keys, on the same thread, because it would wait for itself.
    ///
    /// # Complexity
    ///
    /// O(keys), with a clone of each missing key.
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
        let keys: Vec<K> = keys.into_iter().collect();
        let mut values = self.get_many(&keys);
        let mut first: HashMap<&K, usize> = HashMap::new();
        let missing = (0..keys.len()).filter(|&place| values[place].is_none());
        let (new, again): (Vec<usize>, Vec<usize>) =
            missing.partition(|&place| *first.entry(&keys[place]).or_insert(place) == place);
        self.load_many(&keys, &new, &mut values, &mut init);
        for place in again {
            values[place] = values[first[&keys[place]]].clone();
        }
        served(values, (keys, init))
    }

    fn load_many<I>(
        &self,
        keys: &[K],
        missing: &[usize],
        values: &mut [Option<V>],
        init: &mut impl FnMut(&[&K]) -> I,
    ) where
        I: IntoIterator<Item = (K, V)>,
    {
        let mut brought = Brought::nothing();
        let mut waits: Vec<(usize, Wait<'_, K, V, S>)> = Vec::new();
        let mut hand = Hand::new();
        for &place in missing {
            match self.begin_load(Asked::Shared(Call::new(keys[place].clone())), wants_option()) {
                Beginning::Hit(value) => values[place] = Some(value),
                Beginning::Leads(turn) => hand.take(place, turn),
                Beginning::Waits(wait) => waits.push((place, wait)),
            }
        }
        hand.load(values, &mut brought, init);
        while !waits.is_empty() {
            let before = waits.len();
            let mut rest = Vec::new();
            for (place, mut wait) in waits {
                match wait.ask().map(|heard| heard.settle(wants_option())) {
                    None => rest.push((place, wait)),
                    Some(Ok(Ok((outcome, _)))) => values[place] = option(outcome),
                    Some(Ok(Err(turn))) => hand.take(place, turn),
                    Some(Err(again)) => rest.push((place, again)),
                }
            }
            waits = rest;
            hand.load(values, &mut brought, init);
            if waits.len() == before {
                Alarm::NEVER.park();
            }
        }
    }
}
