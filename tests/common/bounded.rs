//! A bounded cache and a plain map with deadlines and weights, driven side by side.
//!
//! The map does not know which entry is evicted. It knows that every value that leaves is told of once, with the cause
//! that it left for, and so: an entry that is missing was told of; what is evicted was alive, has a weight, and went when
//! there was no room; and what is left weighs no more than the capacity. Knows the public API alone.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidewheel::{Cache, EvictionPolicy, ManualClock, RemovalCause};

pub(crate) type Key = u64;
type Nanos = u64;
type Report = (Key, Value, RemovalCause);

const SECOND: Nanos = 1_000_000_000;
const NEVER: Nanos = Nanos::MAX;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Value {
    id: u64,
    weight: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Insert(Key, u32),
    InsertWithTtl(Key, u32, Duration),
    TryInsert(Key, u32),
    Replace(Key, u32),
    Update(Key, u32),
    Rename(Key, Key),
    Touch(Key),
    SetTtl(Key, Duration),
    Get(Key),
    Remove(Key),
    InvalidateAll,
    RunPendingTasks,
    Advance(Duration),
    AdvanceWithoutSweeping(Duration),
    SetCapacity(u64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) capacity: u64,
    pub(crate) shards: usize,
    pub(crate) policy: EvictionPolicy,
    pub(crate) time_to_live: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    value: Value,
    ttl: Nanos,
    deadline: Nanos,
    /// When the deadline was set.
    filed: Nanos,
}

impl Entry {
    fn new(value: Value, ttl: Nanos, now: Nanos) -> Self {
        Self { value, ttl, deadline: now.saturating_add(ttl), filed: now }
    }

    fn restart(&mut self, now: Nanos) {
        *self = Self::new(self.value, self.ttl, now);
    }

    fn is_alive(&self, now: Nanos) -> bool {
        self.deadline > now
    }

    /// Whether a sweep must have taken it: the second in which it ended is over, and that in which this was decided.
    fn is_due(&self, now: Nanos) -> bool {
        now / SECOND >= self.deadline.div_ceil(SECOND).max(self.filed / SECOND + 1)
    }
}

/// What was counted on the map's side.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Counts {
    hits: u64,
    misses: u64,
    inserts: u64,
    replacements: u64,
    expired: u64,
    explicit: u64,
    evicted: u64,
    refused: u64,
    evicted_weight: u64,
}

/// The pair.
pub(crate) struct Pair<S> {
    cache: Cache<Key, Value, S>,
    clock: ManualClock,
    ttl: Nanos,
    capacity: u64,
    entries: HashMap<Key, Entry>,
    /// The weight of all that is in `entries`, expired or not.
    weight: u64,
    heard: Arc<Mutex<Vec<Report>>>,
    counts: Counts,
    last_id: u64,
}

fn span(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

impl<S: BuildHasher + Send + Sync + 'static> Pair<S> {
    pub(crate) fn new(setup: Setup, hasher: S) -> Self {
        let clock = ManualClock::new();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&heard);
        let mut builder = Cache::<Key, Value>::builder()
            .max_capacity(setup.capacity)
            .shards(setup.shards)
            .weigher(|_, value| value.weight)
            .pin_if(|_, value| value.weight == 0)
            .eviction_policy(setup.policy)
            .record_stats()
            .clock(clock.clone())
            .eviction_listener(move |key, value, cause| told.lock().unwrap().push((*key, *value, cause)));
        if let Some(ttl) = setup.time_to_live {
            builder = builder.time_to_live(ttl);
        }
        Self {
            cache: builder.build_with_hasher(hasher).unwrap(),
            clock,
            ttl: setup.time_to_live.map_or(NEVER, span),
            capacity: setup.capacity,
            entries: HashMap::new(),
            weight: 0,
            heard,
            counts: Counts::default(),
            last_id: 0,
        }
    }

    pub(crate) fn shards(&self) -> u64 {
        self.cache.policy().shards as u64
    }

    #[allow(dead_code, reason = "the fuzzer does not ask")]
    pub(crate) fn evicted(&self) -> u64 {
        self.counts.evicted
    }

    fn now(&self) -> Nanos {
        span(self.clock.elapsed())
    }

    fn fresh(&mut self, weight: u32) -> Value {
        self.last_id += 1;
        Value { id: self.last_id, weight }
    }

    fn alive(&self, key: Key) -> Option<Entry> {
        let now = self.now();
        self.entries.get(&key).copied().filter(|entry| entry.is_alive(now))
    }

    fn take(&mut self, key: Key) -> Option<Entry> {
        let entry = self.entries.remove(&key)?;
        self.weight -= u64::from(entry.value.weight);
        Some(entry)
    }

    /// Does `op` on both sides, and compares the answers and what the listener heard.
    pub(crate) fn apply(&mut self, op: Op) {
        match op {
            Op::Insert(key, weight) => {
                let value = self.fresh(weight);
                self.cache.insert(key, value);
                self.stored(op, (key, value), self.ttl);
            }
            Op::InsertWithTtl(key, weight, ttl) => {
                let value = self.fresh(weight);
                self.cache.insert_with_ttl(key, value, ttl);
                self.stored(op, (key, value), span(ttl));
            }
            Op::TryInsert(key, weight) => {
                let value = self.fresh(weight);
                let result = self.cache.try_insert(key, value);
                assert_eq!(result.is_err(), self.alive(key).is_some(), "{op:?}");
                match result {
                    Ok(()) => self.stored(op, (key, value), self.ttl),
                    Err(back) => assert_eq!(back, (key, value), "{op:?}"),
                }
            }
            Op::Replace(key, weight) => {
                let (value, old) = (self.fresh(weight), self.alive(key));
                let result = self.cache.replace(&key, value);
                assert_eq!(result, if old.is_some() { Ok(()) } else { Err(value) }, "{op:?}");
                if let Some(old) = old {
                    self.stored(op, (key, value), old.ttl);
                }
            }
            Op::Update(key, weight) => {
                let (value, old) = (self.fresh(weight), self.alive(key));
                let mut seen = None;
                let done = self.cache.update(&key, |old| {
                    seen = Some(*old);
                    value
                });
                assert_eq!((done, seen), (old.is_some(), old.map(|old| old.value)), "{op:?}");
                if let Some(old) = old {
                    self.stored(op, (key, value), old.ttl);
                }
            }
            Op::Rename(from, to) => {
                let old = self.alive(from);
                assert_eq!(self.cache.rename(&from, to), old.is_some(), "{op:?}");
                if let Some(old) = old {
                    self.hear(op, from, old.value, RemovalCause::Explicit);
                    self.take(from);
                    self.stored(op, (to, old.value), old.ttl);
                }
            }
            Op::Touch(key) => {
                let now = self.now();
                assert_eq!(self.cache.touch(&key), self.alive(key).is_some(), "{op:?}");
                if let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.is_alive(now)) {
                    // It never shortens.
                    let before = entry.deadline;
                    entry.restart(now);
                    entry.deadline = entry.deadline.max(before);
                }
            }
            Op::SetTtl(key, ttl) => {
                let now = self.now();
                assert_eq!(self.cache.set_ttl(&key, ttl), self.alive(key).is_some(), "{op:?}");
                if let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.is_alive(now)) {
                    entry.ttl = span(ttl);
                    entry.restart(now);
                }
            }
            Op::Get(key) => {
                let found = self.cache.get(&key);
                assert_eq!(found, self.alive(key).map(|entry| entry.value), "{op:?}");
                *(if found.is_some() { &mut self.counts.hits } else { &mut self.counts.misses }) += 1;
            }
            Op::Remove(key) => {
                let old = self.alive(key).map(|entry| entry.value);
                assert_eq!(self.cache.remove(&key), old, "{op:?}");
                if let Some(old) = old {
                    self.hear(op, key, old, RemovalCause::Explicit);
                    self.take(key);
                }
            }
            Op::InvalidateAll => {
                self.cache.invalidate_all();
                for key in self.entries.keys().copied().collect::<Vec<_>>() {
                    match self.alive(key) {
                        Some(entry) => self.hear(op, key, entry.value, RemovalCause::Explicit),
                        None => self.hear(op, key, self.entries[&key].value, RemovalCause::Expired),
                    }
                    self.take(key);
                }
            }
            Op::RunPendingTasks => {
                self.cache.run_pending_tasks();
                self.swept(op);
            }
            Op::Advance(by) => {
                self.clock.advance(by);
                self.swept(op);
            }
            Op::AdvanceWithoutSweeping(by) => self.clock.advance_without_sweeping(by),
            Op::SetCapacity(capacity) => self.set_capacity(op, capacity),
        }
        self.came_across(op);
        let heard = self.heard.lock().unwrap();
        assert!(heard.is_empty(), "{op:?}: {heard:?} was not expected");
    }

    /// Who comes for a key and finds that it is over may take it out, and tells of it then.
    fn came_across(&mut self, op: Op) {
        let (Op::Replace(key, _)
        | Op::Update(key, _)
        | Op::Rename(key, _)
        | Op::SetTtl(key, _)
        | Op::Touch(key)
        | Op::Remove(key)) = op
        else {
            return;
        };
        let Some(entry) = self.entries.get(&key).copied() else { return };
        let report = (key, entry.value, RemovalCause::Expired);
        if !entry.is_alive(self.now()) && self.heard.lock().unwrap().contains(&report) {
            self.hear(op, key, entry.value, RemovalCause::Expired);
            self.take(key);
        }
    }

    /// Takes one report off what was heard.
    fn hear(&mut self, op: Op, key: Key, value: Value, cause: RemovalCause) {
        let mut heard = self.heard.lock().unwrap();
        let place = heard.iter().position(|report| *report == (key, value, cause));
        let place = place.unwrap_or_else(|| panic!("{op:?}: no {cause:?} of {key}, {value:?} in {heard:?}"));
        heard.swap_remove(place);
        drop(heard);
        match cause {
            RemovalCause::Expired => self.counts.expired += 1,
            RemovalCause::Explicit => self.counts.explicit += 1,
            RemovalCause::Replaced => self.counts.replacements += 1,
            _ => {}
        }
    }

    /// What the cache says that it evicted to have room for `more` under a capacity. It must have been there, alive unless
    /// it says that it had expired, and have had weight, and there must have been too little room without it.
    fn evictions(&mut self, op: Op, more: impl Fn(&Self) -> u64, except: Option<Value>) {
        let now = self.now();
        let mut heard = std::mem::take(&mut *self.heard.lock().unwrap());
        heard.retain(|&(key, value, cause)| {
            let entry = self.entries.get(&key).copied();
            if cause == RemovalCause::Expired {
                // Told by whoever wanted its room, before the reaper came.
                let went = entry.is_some_and(|entry| entry.value == value && !entry.is_alive(now));
                if went {
                    self.take(key);
                    self.counts.expired += 1;
                }
                return !went;
            }
            if cause != RemovalCause::Size || except == Some(value) {
                return true;
            }
            let entry = entry.unwrap_or_else(|| panic!("{op:?}: {key} is evicted and not there"));
            assert_eq!(entry.value, value, "{op:?}: evicted under {key}");
            assert!(entry.is_alive(now), "{op:?}: {key} is evicted and had expired");
            assert_ne!(value.weight, 0, "{op:?}: {key} is evicted and pinned");
            assert!(
                self.weight + more(self) > self.capacity,
                "{op:?}: {key} is evicted for nothing: {} and {} of {}",
                self.weight,
                more(self),
                self.capacity
            );
            self.take(key);
            self.counts.evicted += 1;
            self.counts.evicted_weight += u64::from(value.weight);
            false
        });
        self.heard.lock().unwrap().append(&mut heard);
    }

    /// A value was stored, or refused.
    fn stored(&mut self, op: Op, (key, value): (Key, Value), ttl: Nanos) {
        let now = self.now();
        let refused = u64::from(value.weight) > self.capacity;
        let except = refused.then_some(value);
        // Nothing makes room for what is over from the start.
        let is_past = !refused && ttl == 0;
        if except.is_none() && !is_past {
            let weight = |pair: &Self| {
                let old = pair.entries.get(&key).map_or(0, |old| u64::from(old.value.weight));
                u64::from(value.weight).saturating_sub(old)
            };
            self.evictions(op, weight, except);
        }
        let old = self.take(key);
        match old {
            Some(old) if old.is_alive(now) => self.hear(op, key, old.value, RemovalCause::Replaced),
            Some(old) => self.hear(op, key, old.value, RemovalCause::Expired),
            None => {}
        }
        if refused {
            self.hear(op, key, value, RemovalCause::Size);
            self.counts.refused += 1;
            return;
        }
        self.counts.inserts += u64::from(!old.is_some_and(|old| old.is_alive(now)));
        if is_past {
            self.hear(op, key, value, RemovalCause::Expired);
            return;
        }
        self.weight += u64::from(value.weight);
        self.entries.insert(key, Entry::new(value, ttl, now));
    }

    fn set_capacity(&mut self, op: Op, capacity: u64) {
        assert_eq!(self.cache.set_max_capacity(capacity), Ok(()), "{op:?}");
        assert_eq!(self.cache.policy().max_capacity, Some(capacity), "{op:?}");
        self.capacity = capacity;
        self.evictions(op, |_| 0, None);
    }

    /// After a sweep: whatever was due is gone.
    fn swept(&mut self, op: Op) {
        let now = self.now();
        // Of those that have expired, those that the cache says, and all that are due.
        let heard = std::mem::take(&mut *self.heard.lock().unwrap());
        for (key, value, cause) in heard {
            assert_eq!(cause, RemovalCause::Expired, "{op:?}: {key}");
            let entry = self.entries.get(&key);
            let fits = entry.is_some_and(|entry| entry.value == value && !entry.is_alive(now));
            assert!(fits, "{op:?}: {key}, {value:?} is said to have expired, and it is {entry:?}");
            self.counts.expired += 1;
            self.take(key);
        }
        if self.entries.len() <= 1000 {
            let late = self.entries.iter().find(|(_, entry)| entry.is_due(now));
            assert!(late.is_none(), "{op:?}: {late:?} at {now}");
        }
    }

    pub(crate) fn check_key(&self, key: Key) {
        let value = self.alive(key).map(|entry| entry.value);
        assert_eq!(self.cache.peek(&key), value, "{key}, {:?}", self.entries.get(&key));
    }

    /// What takes no recount: the bound.
    pub(crate) fn check_bound(&self) {
        let weight = self.cache.weighted_size();
        assert!(
            weight <= self.capacity && weight <= self.weight,
            "{weight} of {}, {}",
            self.capacity,
            self.weight
        );
    }

    pub(crate) fn validate(&self) {
        self.cache.validate();
    }

    /// Every key, the sums, and the statistics.
    pub(crate) fn check_whole(&mut self, keys: Key) {
        (0..keys).for_each(|key| self.check_key(key));
        let now = self.now();
        let alive = || self.entries.values().filter(|entry| entry.is_alive(now));
        let least: u64 = alive().map(|entry| u64::from(entry.value.weight)).sum();
        let weight = self.cache.weighted_size();
        assert!((least..=self.weight).contains(&weight), "{weight}, not {least} to {}", self.weight);
        let (least, most, count) = (alive().count(), self.entries.len(), self.cache.entry_count());
        assert!((least..=most).contains(&count), "{count} entries, not {least} to {most}");
        // When nothing is left to be told of, both sides have counted the same.
        self.apply(Op::RunPendingTasks);
        let stats = self.cache.stats();
        let counted = Counts {
            hits: stats.hits,
            misses: stats.misses,
            inserts: stats.inserts,
            replacements: stats.replacements,
            expired: stats.expired,
            explicit: stats.explicit,
            evicted: stats.evicted,
            refused: stats.refused,
            evicted_weight: stats.evicted_weight,
        };
        assert_eq!(counted, self.counts);
        self.cache.validate();
    }
}
