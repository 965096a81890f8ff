//! Threads that use the stage all along, each watching what is promised to it. Knows no fault: a promise holds whatever happens.

use crate::stage::{BRIEF, CAPACITY, Key, Planned, Stage, Value, panics};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tidewheel::{Cache, SessionError, SessionManager};

/// How much longer than promised anything may be seen: the kept time is so much behind.
const LATE: Duration = Duration::from_millis(10);
/// The kept time may be older where nobody was let run: each thread finds out by its 64th read.
const READS: usize = 64;

/// What was done.
#[derive(Default)]
pub(crate) struct Tally {
    entries: u64,
    reads: u64,
    troubles: u64,
    looks: u64,
    sessions: u64,
    ended: u64,
    jumps: u64,
    capacities: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.entries += other.entries;
        self.reads += other.reads;
        self.troubles += other.troubles;
        self.looks += other.looks;
        self.sessions += other.sessions;
        self.ended += other.ended;
        self.jumps += other.jumps;
        self.capacities += other.capacities;
    }

    /// All was done at least once.
    pub(crate) fn check(&self) {
        for watcher in Watcher::ALL {
            assert!(watcher.has_seen(self), "a watcher has watched nothing: {self}");
        }
    }

    /// Sessions that were seen to end by themselves.
    pub(crate) fn ended(&self) -> u64 {
        self.ended
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entries, reads, troubles, looks, sessions, ended, jumps, capacities } = self;
        write!(
            f,
            "{entries} lives watched by {reads} reads, {sessions} of sessions that moved, {ended} of sessions that ended, "
        )?;
        write!(f, "{jumps} jumps of a clock, ")?;
        write!(f, "{troubles} calls under panics ({} of them), ", panics())?;
        write!(f, "{looks} looks at the bound, which was set {capacities} times")
    }
}

/// Numbers that look random (xorshift).
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Watcher {
    /// Lives of entries, on the usual clock.
    Usual,
    /// The same on the strict one, which is never behind.
    Strict,
    /// The cache whose user code panics.
    Trouble,
    /// What that holds at any instant.
    Bound,
    /// Entries on a clock that jumps.
    ByHand,
    /// Sessions that are used and moved.
    Sessions,
    /// Those that are left alone, and end.
    Ends,
}

impl Watcher {
    pub(crate) const ALL: [Self; 8] = [
        Self::Usual,
        Self::Strict,
        Self::Trouble,
        Self::Trouble,
        Self::Bound,
        Self::ByHand,
        Self::Sessions,
        Self::Ends,
    ];

    pub(crate) fn watch(self, seed: u64, stage: &Stage, over: &AtomicBool) -> Tally {
        let mut tally = Tally::default();
        let mut numbers = Numbers::new(seed);
        for round in 0.. {
            // A slow machine may not have come to it yet.
            if over.load(Ordering::Acquire) && self.has_seen(&tally) {
                break;
            }
            match self {
                Self::Usual => life(&stage.usual, round, READS, &mut numbers, &mut tally),
                Self::Strict => life(&stage.strict, round, 1, &mut numbers, &mut tally),
                Self::Trouble => trouble(&stage.troubled, &mut numbers, &mut tally),
                Self::Bound => {
                    let weight = stage.troubled.weighted_size();
                    assert!(weight <= CAPACITY, "{weight} of {CAPACITY}");
                    tally.looks += 1;
                    thread::yield_now();
                }
                Self::ByHand => jump(stage, round, &mut numbers, &mut tally),
                Self::Sessions => session(stage, &mut tally),
                Self::Ends => brief_session(&stage.brief, &mut numbers, &mut tally),
            }
        }
        tally
    }

    /// Whether what it is for was done by it, once at least.
    fn has_seen(self, tally: &Tally) -> bool {
        match self {
            Self::Usual | Self::Strict => tally.entries > 0 && tally.reads > 0,
            Self::Trouble => tally.troubles > 0 && tally.capacities > 0 && panics() > 0,
            Self::Bound => tally.looks > 0,
            Self::ByHand => tally.jumps > 0,
            Self::Sessions => tally.sessions > 0,
            Self::Ends => tally.ended > 0,
        }
    }
}

/// A moment that is known to lie between two looks at the clock.
#[derive(Clone, Copy)]
struct Between {
    before: Instant,
    after: Instant,
}

fn between<R>(call: impl FnOnce() -> R) -> (Between, R) {
    let before = Instant::now();
    let result = call();
    (Between { before, after: Instant::now() }, result)
}

/// An entry from its insert to its end: found while it lives, with the value that was stored last, and not found after that.
fn life(cache: &Cache<u64, Value>, key: u64, patience: usize, numbers: &mut Numbers, tally: &mut Tally) {
    let ttl = Duration::from_millis(5 + numbers.below(300));
    let (mut write, ()) = between(|| cache.insert_with_ttl(key, Value::calm(0), ttl));
    let mut version = 0;
    tally.entries += 1;
    loop {
        thread::sleep(Duration::from_micros(numbers.below(4000)));
        if version < 10 && numbers.below(8) == 0 {
            let (update, is_done) = between(|| cache.update(&key, |old| Value::calm(old.number + 1)));
            if is_done {
                assert!(update.before <= write.after + ttl + LATE, "an update was told that it came in time");
                (write, version) = (update, version + 1);
            } else {
                assert!(
                    update.after >= write.before + ttl,
                    "an update was told too early that it came too late"
                );
            }
        }
        let (read, mut found) = between(|| cache.read(&key, |value| value.number));
        tally.reads += 1;
        if let Some(number) = found {
            assert_eq!(number, version, "an update is lost, or came back");
        } else {
            assert!(
                read.after >= write.before + ttl,
                "gone after {:?} of {ttl:?}",
                read.after - write.before
            );
            // Nothing comes back.
            assert!(!cache.touch(&key) && cache.peek(&key).is_none());
            return;
        }
        if read.before > write.after + ttl + LATE {
            for _ in 1..patience {
                found = cache.read(&key, |value| value.number);
            }
            assert!(found.is_none(), "still here {:?} after its end", read.before - write.after - ttl);
        }
    }
}

/// Anything, in a cache whose user code panics; each panic is the caller's own.
fn trouble(cache: &Cache<Key, Value>, numbers: &mut Numbers, tally: &mut Tally) {
    let (id, number) = (numbers.below(3000), numbers.below(50_000));
    let value = || Value::trouble(number);
    let called = catch_unwind(AssertUnwindSafe(|| match numbers.below(16) {
        0..4 => cache.insert(Key(id), value()),
        4 => drop(cache.try_insert(Key(id), value())),
        5 => drop(cache.remove(&Key(id))),
        6 => {
            cache.update(&Key(id), |_| value());
        }
        7 => drop(cache.entry(Key(id)).or_insert_with(value)),
        8 => drop(cache.get_with(Key(id), value)),
        9 => {
            cache.rename(&Key(id), Key(id + 1));
        }
        10 => cache.read_guard().iter().take(5).for_each(|(_, value)| value.check()),
        11 => drop(cache.touch(&Key(id))),
        12 if number % 500 == 0 => cache.retain(|_, value| value.number % 2 == 0),
        12 if number % 500 == 1 => cache.invalidate_all(),
        // Each other time all of it, which whoever watches the bound knows.
        12 if number % 500 == 2 => {
            let less = numbers.below(2) * numbers.below(CAPACITY / 2);
            cache.set_max_capacity(CAPACITY - less).unwrap();
            tally.capacities += 1;
        }
        _ => {
            if let Some(value) = cache.get(&Key(id)) {
                value.check();
            }
        }
    }));
    if let Err(payload) = called {
        assert!(payload.is::<Planned>(), "somebody panicked who was not told to");
    }
    tally.troubles += 1;
}

/// Entries with times of all lengths, and a clock that jumps: at once each is there or not as its time says.
fn jump(stage: &Stage, round: u64, numbers: &mut Numbers, tally: &mut Tally) {
    let cache = &stage.by_hand;
    let ttls: Vec<_> = (0..20).map(|_| Duration::from_nanos(1 << numbers.below(52))).collect();
    for (place, ttl) in (0..).zip(&ttls) {
        cache.insert_with_ttl(place, Value::calm(round), *ttl);
    }
    // Up to a month at a time, until a hundred years are over: a clock by hand ends after 146, and stands then.
    let longest = if round < 40_000 { 52 } else { 40 };
    let by = Duration::from_nanos(1 << numbers.below(longest));
    if round % 2 == 0 {
        stage.clock.advance(by);
    } else {
        stage.clock.advance_without_sweeping(by);
    }
    for (place, ttl) in (0..).zip(&ttls) {
        let found = cache.get(&place).map(|value| value.number);
        assert_eq!(found, (*ttl > by).then_some(round), "{ttl:?} after {by:?}");
    }
    tally.jumps += 1;
    thread::sleep(Duration::from_millis(1));
}

/// A session that is used and moved; who knows an old id has nothing.
fn session(stage: &Stage, tally: &mut Tally) {
    let id = stage.sessions.create(0).expect("there is randomness");
    let begun = Instant::now();
    for step in 1..20 {
        thread::sleep(Duration::from_millis(1));
        if unless_stopped(begun, stage.sessions.modify(&id, |data| *data = step)).is_none() {
            return;
        }
    }
    let Some(new) = unless_stopped(begun, stage.sessions.rotate(&id)) else { return };
    assert!(stage.sessions.get(&id).is_err(), "an old id works");
    let Some(data) = unless_stopped(begun, stage.sessions.remove(&new)) else { return };
    assert_eq!(data, 19, "a session that moved has other data");
    tally.sessions += 1;
}

/// What a call of a session that is used came to. It may have ended only where all threads were stopped for longer than it may lie idle.
fn unless_stopped<R>(begun: Instant, answer: Result<R, SessionError>) -> Option<R> {
    match answer {
        Ok(answer) => Some(answer),
        Err(SessionError::NotFound) if begun.elapsed() > Duration::from_secs(4) => None,
        Err(error) => panic!("a session that is used ended: {error}"),
    }
}

/// A session that is changed a few times and then left alone: found until its idle time after the last change is over, and not after that.
fn brief_session(sessions: &SessionManager<Value>, numbers: &mut Numbers, tally: &mut Tally) {
    let (mut write, made) = between(|| sessions.create(Value::calm(0)));
    let id = made.expect("there is randomness");
    let changes = numbers.below(4);
    for version in 1..=changes {
        thread::sleep(Duration::from_micros(numbers.below(40_000)));
        let (change, answer) = between(|| sessions.modify(&id, |value| *value = Value::calm(version)));
        match answer {
            Ok(()) => {
                assert!(
                    change.before <= write.after + BRIEF + LATE,
                    "a change was told that it came in time"
                );
                write = change;
            }
            Err(error) => return assert_ended(error, change, write, tally),
        }
    }
    loop {
        thread::sleep(Duration::from_micros(numbers.below(4000)));
        let (read, answer) = between(|| {
            sessions.read(&id, |value| {
                value.check();
                value.number
            })
        });
        match answer {
            Ok(number) => {
                assert_eq!(number, changes, "a change is lost, or came back");
                let late = read.before.saturating_duration_since(write.after + BRIEF);
                assert!(late <= LATE, "a session is still here {late:?} after its end");
            }
            Err(error) => {
                assert!(sessions.touch(&id).is_err(), "a session came back");
                return assert_ended(error, read, write, tally);
            }
        }
    }
}

fn assert_ended(error: SessionError, call: Between, write: Between, tally: &mut Tally) {
    assert!(matches!(error, SessionError::NotFound), "{error}");
    let lived = call.after - write.before;
    assert!(lived >= BRIEF, "a session ended after {lived:?} of {BRIEF:?}");
    tally.ended += 1;
}
