//! A cache and a plain map with deadlines, driven side by side: every answer, every time and every
//! report to the listener is compared.
//!
//! Knows the public API alone, and neither who chooses the operations (a property test, a fuzzer) nor
//! how the cache does its work. Where the design leaves open *when* something happens, the model does
//! too: an expired entry may leave when a writer comes across it or at any sweep, and must have left with
//! the sweep that follows the completed second of its deadline.

use super::counted::{Count, Counted};
use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tidewheel::{Cache, CompResult, Entry as Told, ManualClock, Op as Deed, RemovalCause};

pub(crate) type Key = u64;

/// One call, or one movement of the clock.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Insert(Key),
    InsertWithTtl(Key, Duration),
    TryInsert(Key),
    Replace(Key),
    Update(Key),
    Touch(Key),
    SetTtl(Key, Duration),
    Persist(Key),
    /// The three reads that count as use.
    Get(Key),
    Read(Key),
    GuardGet(Key),
    Invalidate(Key),
    Remove(Key),
    RemoveIf(Key, bool),
    Rename(Key, Key),
    OrInsert(Key),
    /// Whether what is there is to be replaced.
    OrInsertIf(Key, bool),
    Upsert(Key),
    /// A computation that wants nothing done, or the entry removed.
    Compute(Key, bool),
    InvalidateAll,
    RunPendingTasks,
    Advance(Duration),
    AdvanceWithoutSweeping(Duration),
}

/// How the cache is built.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Setup {
    pub(crate) shards: usize,
    pub(crate) initial_capacity: usize,
    pub(crate) time_to_live: Option<Duration>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) time_to_idle: Option<Duration>,
    /// Not beside a time to idle, which would hide what was drawn.
    pub(crate) jitter: Option<f64>,
    pub(crate) listener: bool,
}

/// A point in time, in nanoseconds since the clock was made; `NEVER` is where the timeline ends.
type Nanos = u64;

const SECOND: Nanos = 1_000_000_000;
/// The end of the timeline, 146 years after its start (which lies one second before the clock's).
const NEVER: Nanos = u64::MAX / 4 - SECOND;

fn span(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn after(now: Nanos, span: Nanos) -> Nanos {
    now.saturating_add(span).min(NEVER)
}

#[derive(Clone, Debug)]
struct Entry {
    value: u64,
    created: Nanos,
    /// The entry's own time to live.
    ttl: Nanos,
    /// When its age ends it.
    last: Nanos,
    /// When its age or its time to live ends it, however often it is read.
    limit: Nanos,
    tti: Nanos,
    deadline: Nanos,
    /// When the deadline was set.
    filed: Nanos,
    /// Something that may remove an expired entry came across it, and the model cannot know whether it did.
    stirred: bool,
}

impl Entry {
    fn restarted(&mut self, now: Nanos) {
        self.limit = after(now, self.ttl).min(self.last);
        self.deadline = self.limit.min(after(now, self.tti));
        self.filed = now;
    }

    fn touched(&mut self, now: Nanos) {
        let (deadline, limit) = (self.deadline, self.limit);
        self.restarted(now);
        self.limit = self.limit.max(limit);
        self.deadline = self.limit.min(after(now, self.tti)).max(deadline);
    }

    /// A read that counts as use.
    fn used(&mut self, now: Nanos) {
        if self.tti != u64::MAX {
            self.deadline = self.deadline.max(after(now, self.tti).min(self.limit));
        }
    }

    fn is_alive(&self, now: Nanos) -> bool {
        self.deadline > now
    }

    /// Whether a sweep at `now` must take it: the second that its deadline lies in or ends is completed,
    /// and so is the one in which the deadline was set.
    fn is_due(&self, now: Nanos) -> bool {
        now / SECOND >= self.deadline.div_ceil(SECOND).max(self.filed / SECOND + 1)
    }
}

type Report = (Key, u64, RemovalCause);

/// The pair.
pub(crate) struct Twin<S> {
    cache: Cache<Key, Counted, S>,
    clock: ManualClock,
    setup: Setup,
    entries: HashMap<Key, Entry>,
    /// What the listener must have heard in this step.
    expected: Vec<Report>,
    heard: Arc<Mutex<Vec<Report>>>,
    count: Count,
    last_value: u64,
}

impl<S> fmt::Debug for Twin<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Twin")
            .field("elapsed", &self.clock.elapsed())
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

impl<S: BuildHasher + Send + Sync + 'static> Twin<S> {
    pub(crate) fn new(setup: Setup, hasher: S) -> Self {
        let clock = ManualClock::new();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let mut builder = Cache::<Key, Counted>::builder()
            .clock(clock.clone())
            .shards(setup.shards)
            .initial_capacity(setup.initial_capacity);
        if let Some(ttl) = setup.time_to_live {
            builder = builder.time_to_live(ttl);
        }
        if let Some(age) = setup.max_age {
            builder = builder.max_age(age);
        }
        if let Some(tti) = setup.time_to_idle {
            builder = builder.time_to_idle(tti);
        }
        if let Some(jitter) = setup.jitter {
            builder = builder.ttl_jitter(jitter);
        }
        if setup.listener {
            let heard = Arc::clone(&heard);
            builder = builder.eviction_listener(move |key, value: &Counted, cause| {
                heard.lock().unwrap().push((*key, value.id, cause));
            });
        }
        Self {
            cache: builder.build_with_hasher(hasher).unwrap(),
            clock,
            setup,
            entries: HashMap::new(),
            expected: Vec::new(),
            heard,
            count: Count::default(),
            last_value: 0,
        }
    }

    /// Does `op` on both sides and compares the answers and the reports.
    pub(crate) fn apply(&mut self, op: Op) {
        match op {
            Op::Insert(key) => {
                let value = self.fresh();
                self.cache.insert(key, self.count.value(value));
                self.put(key, value, self.setup.time_to_live.map_or(u64::MAX, span));
            }
            Op::InsertWithTtl(key, ttl) => {
                let value = self.fresh();
                self.cache.insert_with_ttl(key, self.count.value(value), ttl);
                self.put(key, value, span(ttl));
            }
            Op::TryInsert(key) => self.try_insert(key),
            Op::Replace(key) => self.replace(key),
            Op::Update(key) => self.update(key),
            Op::Touch(key) => self.touch(key),
            Op::SetTtl(key, ttl) => {
                let present = self.stir(key).is_some();
                assert_eq!(self.cache.set_ttl(&key, ttl), present, "set_ttl {key}");
                self.with_alive(key, |entry, now| {
                    entry.ttl = span(ttl);
                    entry.restarted(now);
                });
            }
            Op::Persist(key) => {
                let present = self.stir(key).is_some();
                assert_eq!(self.cache.persist(&key), present, "persist {key}");
                self.with_alive(key, |entry, now| {
                    entry.ttl = u64::MAX;
                    entry.restarted(now);
                });
            }
            Op::Get(key) => {
                let found = self.cache.get(&key).map(|value| value.id);
                self.compare_use(key, found);
            }
            Op::Read(key) => {
                let found = self.cache.read(&key, |value| value.id);
                self.compare_use(key, found);
            }
            Op::GuardGet(key) => {
                let found = self.cache.read_guard().get(&key).map(|value| value.id);
                self.compare_use(key, found);
            }
            Op::Invalidate(key) => {
                let present = self.stir(key).is_some();
                assert_eq!(self.cache.invalidate(&key), present, "invalidate {key}");
                self.take(key);
            }
            Op::Remove(key) => {
                let value = self.stir(key);
                assert_eq!(self.cache.remove(&key).map(|value| value.id), value, "remove {key}");
                self.take(key);
            }
            Op::RemoveIf(key, answer) => self.remove_if(key, answer),
            Op::Rename(from, to) => self.rename(from, to),
            Op::OrInsert(key) => self.or_insert(key, None),
            Op::OrInsertIf(key, answer) => self.or_insert(key, Some(answer)),
            Op::Upsert(key) => self.upsert(key),
            Op::Compute(key, removes) => self.compute(key, removes),
            Op::InvalidateAll => {
                self.cache.invalidate_all();
                for key in self.entries.keys().copied().collect::<Vec<_>>() {
                    self.unlink(key, RemovalCause::Explicit);
                }
            }
            Op::RunPendingTasks => {
                self.cache.run_pending_tasks();
                self.swept();
            }
            Op::Advance(by) => {
                self.clock.advance(by);
                self.swept();
            }
            Op::AdvanceWithoutSweeping(by) => self.clock.advance_without_sweeping(by),
        }
        self.compare_reports(op);
    }

    /// Compares what every read says of `key`, but for those that would restart its time to idle.
    pub(crate) fn check_key(&self, key: Key) {
        let now = self.now();
        let alive = self.entries.get(&key).filter(|entry| entry.is_alive(now));
        let value = alive.map(|entry| entry.value);
        let left = alive.map(|entry| match entry.deadline {
            NEVER => Duration::MAX,
            deadline => Duration::from_nanos(deadline - now),
        });
        let cache = &self.cache;
        if self.setup.time_to_idle.is_none() {
            assert_eq!(cache.get(&key).map(|value| value.id), value, "get {key} in {self:?}");
            assert_eq!(cache.read(&key, |value| value.id), value, "read {key}");
            assert_eq!(cache.read_guard().get(&key).map(|value| value.id), value, "guard.get {key}");
        }
        assert_eq!(cache.peek(&key).map(|value| value.id), value, "peek {key} in {self:?}");
        assert_eq!(cache.contains_key(&key), value.is_some(), "contains_key {key}");
        assert_eq!(cache.remaining_ttl(&key), left, "remaining_ttl {key} in {self:?}");
        let guard = cache.read_guard();
        let entry = guard.entry(&key);
        assert_eq!(entry.is_some(), value.is_some(), "guard.entry {key}");
        if let (Some(entry), Some(model)) = (entry, alive) {
            assert_eq!((*entry.key(), entry.value().id), (key, model.value), "entry {key}");
            assert_eq!(Some(entry.remaining_ttl()), left, "entry's remaining_ttl {key}");
            assert_eq!(entry.age(), Duration::from_nanos(now - model.created), "age {key}");
        }
    }

    /// Compares the number of entries and lets the cache recount itself.
    pub(crate) fn check_whole(&self) {
        let most = self.entries.len();
        let least = most - self.entries.values().filter(|entry| entry.stirred).count();
        let count = self.cache.entry_count();
        assert!((least..=most).contains(&count), "{count} entries, not {least} to {most}: {self:?}");
        self.cache.validate();
    }

    /// Sweeps until nothing is left in memory but the entries of the map, and returns how many these are.
    /// With other threads about, their guards may ask for more than one sweep; `patience` is the number of
    /// them.
    pub(crate) fn settle(&mut self, patience: u32) -> usize {
        for sweep in 0.. {
            self.apply(Op::RunPendingTasks);
            let count = self.cache.entry_count();
            if self.count.alive() == count as u64 {
                return count;
            }
            assert!(sweep < patience, "{} values alive in {count} entries", self.count.alive());
            thread::yield_now();
        }
        unreachable!("the loop ends by itself")
    }

    fn now(&self) -> Nanos {
        span(self.clock.elapsed())
    }

    fn fresh(&mut self) -> u64 {
        self.last_value += 1;
        self.last_value
    }

    /// The value under `key` if it is alive; marks it if it has expired and a writer is on its way.
    fn stir(&mut self, key: Key) -> Option<u64> {
        let now = self.now();
        let entry = self.entries.get_mut(&key)?;
        entry.stirred |= !entry.is_alive(now);
        entry.is_alive(now).then_some(entry.value)
    }

    fn with_alive(&mut self, key: Key, change: impl FnOnce(&mut Entry, Nanos)) {
        let now = self.now();
        if let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.is_alive(now)) {
            change(entry, now);
        }
    }

    /// An entry leaves for `cause`, or as expired if that is what it is.
    fn unlink(&mut self, key: Key, cause: RemovalCause) {
        if let Some(entry) = self.entries.remove(&key) {
            let cause = if entry.is_alive(self.now()) { cause } else { RemovalCause::Expired };
            self.expected.push((key, entry.value, cause));
        }
    }

    /// An explicit removal, of which an expired entry takes no notice.
    fn take(&mut self, key: Key) {
        if self.entries.get(&key).is_some_and(|entry| entry.is_alive(self.now())) {
            self.unlink(key, RemovalCause::Explicit);
        }
    }

    fn put(&mut self, key: Key, value: u64, ttl: Nanos) {
        self.unlink(key, RemovalCause::Replaced);
        let now = self.now();
        let last = self.setup.max_age.map_or(NEVER, |age| after(now, span(age)));
        let tti = self.setup.time_to_idle.map_or(u64::MAX, span);
        let mut entry =
            Entry { value, created: now, ttl, last, limit: 0, tti, deadline: 0, filed: 0, stirred: false };
        entry.restarted(now);
        self.entries.insert(key, entry);
        self.draw(key);
    }

    /// What was just written may live shorter than its time to live, by what the cache drew: within bounds.
    fn draw(&mut self, key: Key) {
        let (Some(jitter), now) = (self.setup.jitter, self.now()) else { return };
        let left = self.cache.remaining_ttl(&key);
        let entry = self.entries.get_mut(&key).unwrap();
        if entry.ttl >= NEVER || entry.deadline <= now {
            return;
        }
        let deadline = after(now, span(left.expect("a draw leaves something")));
        let cut = (entry.ttl as f64 * jitter).ceil() as u64 + 1;
        let least = after(now, entry.ttl.saturating_sub(cut).max(1)).min(entry.last);
        assert!((least..=entry.deadline).contains(&deadline), "{left:?} left of {entry:?} at {now}");
        (entry.limit, entry.deadline) = (deadline, deadline);
    }

    fn compare_use(&mut self, key: Key, found: Option<u64>) {
        assert_eq!(found, self.stir(key), "{key} is read in {self:?}");
        self.with_alive(key, Entry::used);
    }

    /// A new value for a living entry, which goes on with its own times.
    fn succeed(&mut self, key: Key, value: u64) {
        let now = self.now();
        let entry = self.entries.get_mut(&key).unwrap();
        self.expected.push((key, entry.value, RemovalCause::Replaced));
        entry.value = value;
        entry.restarted(now);
        self.draw(key);
    }

    fn try_insert(&mut self, key: Key) {
        let value = self.fresh();
        let present = self.stir(key).is_some();
        let result = self.cache.try_insert(key, self.count.value(value));
        if present {
            let (key_back, value_back) = result.unwrap_err();
            assert_eq!((key_back, value_back.id), (key, value), "try_insert gives back");
        } else {
            assert!(result.is_ok(), "try_insert {key}");
            self.put(key, value, self.setup.time_to_live.map_or(u64::MAX, span));
        }
    }

    fn replace(&mut self, key: Key) {
        let value = self.fresh();
        let present = self.stir(key).is_some();
        let result = self.cache.replace(&key, self.count.value(value));
        if present {
            assert!(result.is_ok(), "replace {key}");
            self.succeed(key, value);
        } else {
            assert_eq!(result.unwrap_err().id, value, "replace gives back");
        }
    }

    fn update(&mut self, key: Key) {
        let value = self.fresh();
        let old = self.stir(key);
        let mut seen = None;
        let count = &self.count;
        let success = self.cache.update(&key, |old| {
            seen = Some(old.id);
            count.value(value)
        });
        assert_eq!((success, seen), (old.is_some(), old), "update {key}");
        if success {
            self.succeed(key, value);
        }
    }

    fn touch(&mut self, key: Key) {
        let present = self.stir(key).is_some();
        assert_eq!(self.cache.touch(&key), present, "touch {key}");
        self.with_alive(key, Entry::touched);
    }

    fn remove_if(&mut self, key: Key, answer: bool) {
        let value = self.stir(key);
        let mut seen = None;
        let removed = self.cache.remove_if(&key, |value| {
            seen = Some(value.id);
            answer
        });
        assert_eq!(seen, value, "remove_if {key} asks about");
        assert_eq!(removed.map(|value| value.id), value.filter(|_| answer), "remove_if {key}");
        if answer {
            self.take(key);
        }
    }

    fn rename(&mut self, from: Key, to: Key) {
        let value = self.stir(from);
        assert_eq!(self.cache.rename(&from, to), value.is_some(), "rename {from} to {to}");
        if value.is_none() {
            return;
        }
        let now = self.now();
        let mut entry = self.entries.remove(&from).unwrap();
        self.expected.push((from, entry.value, RemovalCause::Explicit));
        entry.restarted(now);
        self.unlink(to, RemovalCause::Replaced);
        self.entries.insert(to, entry);
        self.draw(to);
    }

    /// A new value for a living entry, or a new entry.
    fn put_or_succeed(&mut self, key: Key, value: u64, is_there: bool) {
        if is_there {
            self.succeed(key, value);
        } else {
            self.put(key, value, self.setup.time_to_live.map_or(u64::MAX, span));
        }
    }

    fn or_insert(&mut self, key: Key, replaces: Option<bool>) {
        let value = self.fresh();
        let old = self.stir(key);
        // It is read first, which counts as use.
        self.with_alive(key, Entry::used);
        let count = &self.count;
        let selector = self.cache.entry(key);
        let entry = match replaces {
            None => selector.or_insert_with(|| count.value(value)),
            Some(answer) => selector.or_insert_with_if(
                || count.value(value),
                |seen| {
                    assert_eq!(Some(seen.id), old, "or_insert_with_if {key} asks about");
                    answer
                },
            ),
        };
        let makes = old.is_none() || replaces == Some(true);
        let expected = (key, if makes { value } else { old.unwrap_or(value) }, makes, makes && old.is_some());
        assert_eq!(told(&entry), expected, "or_insert {key}");
        if makes {
            self.put_or_succeed(key, value, old.is_some());
        }
    }

    fn upsert(&mut self, key: Key) {
        let value = self.fresh();
        let old = self.stir(key);
        let mut seen = None;
        let count = &self.count;
        let entry = self.cache.entry_by_ref(&key).and_upsert_with(|found| {
            seen = found.map(|found| found.value().id);
            count.value(value)
        });
        assert_eq!((seen, told(&entry)), (old, (key, value, true, old.is_some())), "and_upsert_with {key}");
        self.put_or_succeed(key, value, old.is_some());
    }

    fn compute(&mut self, key: Key, removes: bool) {
        let old = self.stir(key);
        let mut seen = None;
        let result = self.cache.entry(key).and_compute_with(|found| {
            seen = found.map(|found| found.value().id);
            if removes { Deed::Remove } else { Deed::Nop }
        });
        assert_eq!(seen, old, "and_compute_with {key} shows");
        match (&result, old) {
            (CompResult::StillNone(none), None) => assert_eq!(*none, key),
            (CompResult::Removed(entry), Some(old)) if removes => {
                assert_eq!(told(entry), (key, old, false, false));
            }
            (CompResult::Unchanged(entry), Some(old)) if !removes => {
                assert_eq!(told(entry), (key, old, false, false));
            }
            _ => panic!("and_compute_with {key}: {old:?}, and not {result:?}"),
        }
        if removes {
            self.take(key);
        }
    }

    /// After a sweep: whatever was due is gone.
    fn swept(&mut self) {
        let now = self.now();
        let expected = &mut self.expected;
        self.entries.retain(|key, entry| {
            let due = entry.is_due(now);
            if due {
                expected.push((*key, entry.value, RemovalCause::Expired));
            }
            entry.stirred |= !entry.is_alive(now);
            !due
        });
    }

    /// The listener heard what it had to hear; and of what it may hear, each thing once.
    fn compare_reports(&mut self, op: Op) {
        let mut heard = std::mem::take(&mut *self.heard.lock().unwrap());
        let expected = std::mem::take(&mut self.expected);
        if !self.setup.listener {
            return;
        }
        heard.sort_by_key(|(key, value, _)| (*key, *value));
        let mut met = vec![false; heard.len()];
        for report in &expected {
            let (key, value, _) = *report;
            let first = heard.partition_point(|(k, v, _)| (*k, *v) < (key, value));
            assert!(heard.get(first) == Some(report), "{op:?}: {report:?} is not in {heard:?}");
            met[first] = true;
        }
        let sweeps = matches!(op, Op::RunPendingTasks | Op::Advance(_));
        for ((key, value, cause), _) in heard.into_iter().zip(met).filter(|(_, met)| !met) {
            let report = (key, value, cause);
            assert_eq!(cause, RemovalCause::Expired, "{op:?}: {report:?} was not expected");
            let entry =
                self.entries.get(&key).filter(|entry| entry.value == value && (sweeps || entry.stirred));
            assert!(entry.is_some_and(|entry| !entry.is_alive(self.now())), "{op:?}: {report:?} is early");
            self.entries.remove(&key);
        }
    }
}

/// What the cache told of an entry: key, value, whether that is fresh, and whether it took another one's place.
fn told(entry: &Told<Key, Counted>) -> (Key, u64, bool, bool) {
    (*entry.key(), entry.value().id, entry.is_fresh(), entry.is_old_value_replaced())
}
