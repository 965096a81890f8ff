//! When an entry ends: a cache, and a few lines of arithmetic that say it too, driven side by side.
//!
//! The arithmetic knows no deadline and no flag of a node: it keeps each end by itself, as the documents tell it, and an entry
//! is over at the earliest of them, to the nanosecond. Knows the public API alone.

use futures_lite::future::block_on;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidewheel::{Cache, Expiry, Life, ManualClock, Op as Deed, RefreshJob};

pub(crate) type Key = u8;
type Nanos = u64;

const SOON: Duration = Duration::from_secs(1);

/// Later than any end that comes.
const NEVER: Nanos = u64::MAX;

/// What an `Expiry` answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// What was left.
    Same,
    Never,
    After(Duration),
}

impl Answer {
    fn say(self, left: Option<Duration>) -> Option<Duration> {
        match self {
            Self::Same => left,
            Self::Never => None,
            Self::After(time) => Some(time),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Answers {
    pub(crate) create: Answer,
    pub(crate) read: Answer,
    pub(crate) update: Answer,
}

impl Expiry<Key, u64> for Answers {
    fn expire_after_create(&self, _: &Key, _: &u64) -> Option<Duration> {
        self.create.say(None)
    }

    fn expire_after_read(&self, _: &Key, _: &u64, left: Option<Duration>) -> Option<Duration> {
        self.read.say(left)
    }

    fn expire_after_update(&self, _: &Key, _: &u64, left: Option<Duration>) -> Option<Duration> {
        self.update.say(left)
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Refresh {
    Not,
    ByCaller(Duration),
    ByJob(Duration),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) ttl: Option<Duration>,
    pub(crate) tti: Option<Duration>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) expiry: Option<Answers>,
    pub(crate) refresh: Refresh,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Write {
    Insert,
    InsertMany,
    TryInsert,
    Swap,
    Replace,
    Update,
    UpdateWith,
    Modify,
    Upsert,
    UpsertTimeout,
    UpsertAsync,
    Compute,
    ComputeTimeout,
    ComputeAsync,
    TryCompute,
    OrInsert,
    OrTryInsert,
    OrOptionallyInsert,
    OrInsertAsync,
    OrInsertIf,
    OrInsertIfAsync,
}

pub(crate) const WRITES: [Write; 21] = [
    Write::Insert,
    Write::InsertMany,
    Write::TryInsert,
    Write::Swap,
    Write::Replace,
    Write::Update,
    Write::UpdateWith,
    Write::Modify,
    Write::Upsert,
    Write::UpsertTimeout,
    Write::UpsertAsync,
    Write::Compute,
    Write::ComputeTimeout,
    Write::ComputeAsync,
    Write::TryCompute,
    Write::OrInsert,
    Write::OrTryInsert,
    Write::OrOptionallyInsert,
    Write::OrInsertAsync,
    Write::OrInsertIf,
    Write::OrInsertIfAsync,
];

#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Insert(Key),
    InsertWithTtl(Key, Duration),
    InsertMany(Key),
    TryInsert(Key),
    Replace(Key),
    Update(Key),
    Upsert(Key),
    Compute(Key),
    OrInsert(Key),
    OrInsertIf(Key),
    GetWith(Key),
    /// The same writes, that say what becomes of the time to live.
    With(Write, Key, Life),
    /// Reloads that wait are run; whether they come to a value.
    RunJobs(bool),
    Rename(Key, Key),
    /// A snapshot, so much time in which nothing is there, and a restore.
    Restart(Duration),
    Touch(Key),
    SetTtl(Key, Duration),
    Persist(Key),
    Get(Key),
    Advance(Duration, bool),
    /// To where a key's entry ends, or a nanosecond before.
    AdvanceToEnd(Key, bool),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    value: u64,
    born: Nanos,
    own: Nanos,
    /// Where its time to live or its age ends it.
    limit: Nanos,
    expiry: Nanos,
    idle: Nanos,
}

impl Entry {
    fn end(&self) -> Nanos {
        self.limit.min(self.expiry).min(self.idle)
    }
}

/// What a call gives back is of no interest.
pub(crate) fn done<R>(_: R) {}

fn nanos(duration: Duration) -> Nanos {
    if duration == Duration::MAX { NEVER } else { u64::try_from(duration.as_nanos()).unwrap() }
}

/// A cache, and what is reckoned of it.
pub(crate) struct Pair {
    cache: Cache<Key, u64>,
    clock: ManualClock,
    setup: Setup,
    jobs: Arc<Mutex<Vec<RefreshJob>>>,
    /// What a reload makes; 0: nothing.
    reload: Arc<AtomicU64>,
    /// For which key.
    asked: Arc<Mutex<Option<Key>>>,
    entries: HashMap<Key, Entry>,
    last: u64,
}

impl Pair {
    pub(crate) fn new(mut setup: Setup) -> Self {
        let lifetime = setup.ttl.unwrap_or(Duration::MAX).min(setup.max_age.unwrap_or(Duration::MAX));
        if let Refresh::ByCaller(after) | Refresh::ByJob(after) = setup.refresh {
            if after >= lifetime {
                setup.refresh = Refresh::Not;
            }
        }
        let clock = ManualClock::new();
        let (jobs, reload) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(0)));
        let asked = Arc::new(Mutex::new(None));
        let mut builder = Cache::builder().clock(clock.clone()).shards(1);
        if let Some(ttl) = setup.ttl {
            builder = builder.time_to_live(ttl);
        }
        if let Some(tti) = setup.tti {
            builder = builder.time_to_idle(tti);
        }
        if let Some(age) = setup.max_age {
            builder = builder.max_age(age);
        }
        if let Some(answers) = setup.expiry {
            builder = builder.expire_after(answers);
        }
        if let Refresh::ByCaller(after) | Refresh::ByJob(after) = setup.refresh {
            builder = builder.refresh_after_write(after);
        }
        if let Refresh::ByJob(_) = setup.refresh {
            let (jobs, reload, asked) = (Arc::clone(&jobs), Arc::clone(&reload), Arc::clone(&asked));
            builder = builder.refresh_with(
                move |key: &Key, _: &u64| {
                    *asked.lock().unwrap() = Some(*key);
                    Some(reload.load(Ordering::Relaxed)).filter(|value| *value != 0)
                },
                move |job| jobs.lock().unwrap().push(job),
            );
        }
        let cache = builder.build().unwrap();
        Self { cache, clock, setup, jobs, reload, asked, entries: HashMap::new(), last: 0 }
    }

    pub(crate) fn apply(&mut self, op: Op) {
        match op {
            Op::Insert(key) => {
                let value = self.fresh();
                self.cache.insert(key, value);
                self.create(key, value, Life::Restart);
            }
            Op::InsertWithTtl(key, ttl) => {
                let value = self.fresh();
                self.cache.insert_with_ttl(key, value, ttl);
                self.create(key, value, Life::Ttl(ttl));
            }
            Op::InsertMany(key) => {
                let value = self.fresh();
                self.cache.insert_many([(key, value)]);
                self.create(key, value, Life::Restart);
            }
            Op::TryInsert(key) => {
                let value = self.fresh();
                assert_eq!(self.cache.try_insert(key, value).is_ok(), self.alive(key).is_none());
                if self.alive(key).is_none() {
                    self.create(key, value, Life::Restart);
                }
            }
            Op::Replace(key) => {
                let value = self.fresh();
                assert_eq!(self.cache.replace(&key, value).is_ok(), self.alive(key).is_some());
                self.write_over(key, value);
            }
            Op::Update(key) => {
                let value = self.fresh();
                assert_eq!(self.cache.update(&key, |_| value), self.alive(key).is_some());
                self.write_over(key, value);
            }
            Op::Upsert(key) => {
                let value = self.fresh();
                self.cache.entry(key).and_upsert_with(|_| value);
                self.write(key, value);
            }
            Op::Compute(key) => {
                let value = self.fresh();
                self.cache.entry(key).and_compute_with(|_| Deed::Put(value));
                self.write(key, value);
            }
            Op::OrInsert(key) => {
                let value = self.fresh();
                self.cache.entry(key).or_insert(value);
                self.load(key, (value, false));
            }
            Op::OrInsertIf(key) => {
                let value = self.fresh();
                self.cache.entry(key).or_insert_with_if(|| value, |_| true);
                self.use_it(key);
                self.write(key, value);
            }
            Op::GetWith(key) => {
                let value = self.fresh();
                let told = self.cache.get_with(key, || value);
                self.load(key, (value, told == value));
            }
            Op::With(write, key, life) => self.write_with(write, key, life),
            Op::RunJobs(succeeds) => self.run_jobs(succeeds),
            Op::Rename(from, to) => {
                assert_eq!(self.cache.rename(&from, to), self.alive(from).is_some());
                if let Some(entry) = self.alive(from) {
                    self.entries.remove(&from);
                    self.entries.insert(to, self.restarted(entry));
                }
            }
            Op::Restart(pause) => self.restart(pause),
            Op::Touch(key) => {
                assert_eq!(self.cache.touch(&key), self.alive(key).is_some());
                if let Some(entry) = self.alive(key) {
                    let limit = self.restarted(entry).limit.max(entry.limit);
                    self.entries.insert(key, Entry { limit, ..self.restarted(entry) });
                }
            }
            Op::SetTtl(key, ttl) => {
                assert_eq!(self.cache.set_ttl(&key, ttl), self.alive(key).is_some());
                self.set_ttl(key, nanos(ttl));
            }
            Op::Persist(key) => {
                assert_eq!(self.cache.persist(&key), self.alive(key).is_some());
                self.set_ttl(key, NEVER);
            }
            Op::Get(key) => {
                assert_eq!(self.cache.get(&key), self.alive(key).map(|entry| entry.value));
                self.use_it(key);
            }
            Op::Advance(by, sweeps) => self.advance(by, sweeps),
            Op::AdvanceToEnd(key, before) => {
                if let Some(end) = self.alive(key).map(|entry| entry.end()).filter(|end| *end != NEVER) {
                    self.advance(Duration::from_nanos(end - self.now() - u64::from(before)), false);
                }
            }
        }
    }

    /// What the cache says of a key, against what is reckoned.
    pub(crate) fn check(&self, key: Key) {
        let entry = self.alive(key);
        let left = entry.map(|entry| match entry.end() {
            NEVER => Duration::MAX,
            end => Duration::from_nanos(end - self.now()),
        });
        let state = || format!("{key} at {} of {:?}", self.now(), self.entries.get(&key));
        assert_eq!(self.cache.remaining_ttl(&key), left, "what is left of {}", state());
        assert_eq!(self.cache.peek(&key), entry.map(|entry| entry.value), "{}", state());
    }

    pub(crate) fn validate(&self) {
        self.cache.validate();
    }

    fn now(&self) -> Nanos {
        nanos(self.clock.elapsed())
    }

    fn after(&self, span: Nanos) -> Nanos {
        self.now().saturating_add(span)
    }

    fn fresh(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn alive(&self, key: Key) -> Option<Entry> {
        self.entries.get(&key).copied().filter(|entry| entry.end() > self.now())
    }

    fn advance(&self, by: Duration, sweeps: bool) {
        if sweeps {
            self.clock.advance(by);
        } else {
            self.clock.advance_without_sweeping(by);
        }
    }

    /// Its own time to live and its time to idle count from now.
    fn restarted(&self, entry: Entry) -> Entry {
        let last = entry.born.saturating_add(self.setup.max_age.map_or(NEVER, nanos));
        let idle = self.after(self.setup.tti.map_or(NEVER, nanos));
        Entry { limit: self.after(entry.own).min(last), idle, ..entry }
    }

    /// Where the `Expiry` ends an entry that gets another value.
    fn ruled(&self, old: Option<Entry>) -> Nanos {
        let Some(answers) = self.setup.expiry else { return NEVER };
        let left = old.map(|old| self.left(old));
        let answer = left.map_or(answers.create.say(None), |left| answers.update.say(left));
        match old {
            Some(old) if Some(answer) == left => old.expiry,
            _ => answer.map_or(NEVER, |time| self.after(nanos(time))),
        }
    }

    fn left(&self, entry: Entry) -> Option<Duration> {
        (entry.end() != NEVER).then(|| Duration::from_nanos(entry.end() - self.now()))
    }

    /// A new age, and the cache's time to live, or that one.
    fn create(&mut self, key: Key, value: u64, life: Life) {
        let own = match life {
            Life::Ttl(ttl) => nanos(ttl),
            Life::Endless => NEVER,
            _ => self.setup.ttl.map_or(NEVER, nanos),
        };
        let expiry = self.ruled(self.alive(key));
        let entry = Entry { value, born: self.now(), own, limit: NEVER, expiry, idle: NEVER };
        self.entries.insert(key, self.restarted(entry));
    }

    /// A new value in a live entry's place, if there is one.
    fn write_over(&mut self, key: Key, value: u64) {
        self.write_over_with(key, value, Life::Restart);
    }

    fn write_over_with(&mut self, key: Key, value: u64, life: Life) {
        let Some(entry) = self.alive(key) else { return };
        let own = match life {
            Life::Ttl(ttl) => nanos(ttl),
            Life::Endless => NEVER,
            _ => entry.own,
        };
        let idle = self.restarted(entry).idle;
        let new = match life {
            // It ends when it would have ended, but for its idleness.
            Life::Keep => Entry { value, idle, ..entry },
            _ => Entry { value, expiry: self.ruled(Some(entry)), ..self.restarted(Entry { own, ..entry }) },
        };
        self.entries.insert(key, new);
    }

    fn write(&mut self, key: Key, value: u64) {
        self.write_with_life(key, value, Life::Restart);
    }

    fn write_with_life(&mut self, key: Key, value: u64, life: Life) {
        match self.alive(key) {
            Some(_) => self.write_over_with(key, value, life),
            None => self.create(key, value, life),
        }
    }

    fn write_with(&mut self, write: Write, key: Key, life: Life) {
        let value = self.fresh();
        let old = self.alive(key).map(|entry| entry.value);
        let (cache, entry) = (self.cache.with_life(life), self.cache.entry(key).with_life(life));
        let by_ref = || self.cache.entry_by_ref(&key).with_life(life);
        match write {
            Write::Insert => cache.insert(key, value),
            Write::InsertMany => cache.insert_many([(key, value)]),
            Write::TryInsert => assert_eq!(cache.try_insert(key, value).is_ok(), old.is_none()),
            Write::Swap => assert_eq!(cache.swap(key, value), old),
            Write::Replace => assert_eq!(cache.replace(&key, value).is_ok(), old.is_some()),
            Write::Update => assert_eq!(cache.update(&key, |_| value), old.is_some()),
            Write::UpdateWith => assert_eq!(cache.update_with(&key, |old| (value, *old)), old),
            Write::Modify => {
                assert_eq!(cache.modify(&key, |there| std::mem::replace(there, value)), old);
            }
            Write::Upsert => done(entry.and_upsert_with(|_| value)),
            Write::UpsertTimeout => done(entry.timeout(SOON).and_upsert_with(|_| value).unwrap()),
            Write::UpsertAsync => done(block_on(entry.and_upsert_with_async(async |_| value))),
            Write::Compute => done(by_ref().and_compute_with(|_| Deed::Put(value))),
            Write::ComputeTimeout => {
                done(entry.timeout(SOON).and_compute_with(|_| Deed::Put(value)).unwrap());
            }
            Write::ComputeAsync => done(block_on(entry.and_compute_with_async(async |_| Deed::Put(value)))),
            Write::TryCompute => done(entry.and_try_compute_with(|_| Ok::<_, ()>(Deed::Put(value)))),
            Write::OrInsert => done(entry.or_insert(value)),
            Write::OrTryInsert => done(by_ref().or_try_insert_with(|| Ok::<_, ()>(value)).unwrap()),
            Write::OrOptionallyInsert => done(entry.or_optionally_insert_with(|| Some(value))),
            Write::OrInsertAsync => done(block_on(entry.or_insert_with_async(async { value }))),
            Write::OrInsertIf => done(entry.or_insert_with_if(|| value, |_| true)),
            Write::OrInsertIfAsync => {
                done(block_on(entry.or_insert_with_if_async(async { value }, |_| true)));
            }
        }
        match write {
            // With `Keep` a new value in a live entry's place; else another entry.
            Write::Insert | Write::InsertMany | Write::Swap if life != Life::Keep => {
                self.create(key, value, life);
            }
            Write::Insert | Write::InsertMany | Write::Swap => self.write_with_life(key, value, life),
            Write::TryInsert if old.is_none() => self.create(key, value, life),
            Write::TryInsert => {}
            Write::Replace | Write::Update | Write::UpdateWith | Write::Modify => {
                self.write_over_with(key, value, life);
            }
            Write::OrInsert | Write::OrTryInsert | Write::OrOptionallyInsert | Write::OrInsertAsync => {
                match old {
                    None => self.create(key, value, life),
                    Some(_) => self.use_it(key),
                }
            }
            Write::OrInsertIf | Write::OrInsertIfAsync => {
                self.use_it(key);
                self.write_with_life(key, value, life);
            }
            _ => self.write_with_life(key, value, life),
        }
    }

    /// A read that counts as use.
    fn use_it(&mut self, key: Key) {
        let Some(mut entry) = self.alive(key) else { return };
        entry.idle = self.after(self.setup.tti.map_or(NEVER, nanos));
        if let Some(answers) = self.setup.expiry {
            let left = self.left(entry);
            let answer = answers.read.say(left);
            if answer != left {
                entry.expiry = answer.map_or(NEVER, |time| self.after(nanos(time)));
            }
        }
        self.entries.insert(key, entry);
    }

    /// A call that brings a value where there is none, or where one is old, if it did so.
    fn load(&mut self, key: Key, (value, did): (u64, bool)) {
        if self.alive(key).is_none() {
            return self.create(key, value, Life::Restart);
        }
        self.use_it(key);
        if did {
            assert!(matches!(self.setup.refresh, Refresh::ByCaller(_)), "{key} is there, and was loaded");
            self.write(key, value);
        }
    }

    fn run_jobs(&mut self, succeeds: bool) {
        let jobs = std::mem::take(&mut *self.jobs.lock().unwrap());
        for job in jobs {
            let value = self.fresh();
            self.reload.store(if succeeds { value } else { 0 }, Ordering::Relaxed);
            job();
            let asked = self.asked.lock().unwrap().take();
            if let Some(key) = asked.filter(|_| succeeds) {
                self.write_over(key, value);
            }
        }
    }

    fn set_ttl(&mut self, key: Key, own: Nanos) {
        if let Some(entry) = self.alive(key) {
            self.entries.insert(key, self.restarted(Entry { own, ..entry }));
        }
    }

    fn restart(&mut self, pause: Duration) {
        let mut bytes = Vec::new();
        self.cache.snapshot(&mut bytes).unwrap();
        self.cache.invalidate_all();
        let (now, tti) = (self.now(), self.setup.tti.map_or(NEVER, nanos));
        self.entries.retain(|_, entry| entry.end() > now);
        self.clock.advance(pause);
        self.cache.restore(&bytes[..], Duration::ZERO).unwrap();
        for entry in self.entries.values_mut() {
            let shift = |end: Nanos| end.saturating_add(if end == NEVER { 0 } else { nanos(pause) });
            let idle = entry.end().min(now.saturating_add(tti));
            entry.born += nanos(pause);
            (entry.limit, entry.expiry, entry.idle) = (shift(entry.limit), shift(entry.expiry), shift(idle));
        }
    }
}
