//! Loads that are dropped: after every number of polls, in every role, whatever else happens meanwhile, and at random.
//!
//! Whatever was dropped, nobody waits in vain afterwards, nobody hears of something older than a write that came before
//! his call, no two loaders of a key run at once, and the ledger is whole. `TIDEWHEEL_SEED` goes another way.

use crate::alone::Alone;
use crate::bare::{Running, block_on, pending};
use crate::watchdog::Watchdog;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::Duration;
use tidewheel::Cache;
use tokio::sync::oneshot;

type Numbers = Cache<u64, u64>;

fn small() -> Numbers {
    Cache::builder().shards(1).build().unwrap()
}

/// Nobody loads this key, nor waits for it: whoever asks, loads.
fn is_free(cache: &Numbers, key: u64) {
    assert!(cache.timeout(Duration::ZERO).get_with(key, || 60).is_ok());
    cache.invalidate(&key);
    assert_eq!(cache.timeout(Duration::ZERO).get_with(key, || 61), Ok(61));
    assert_eq!(block_on(cache.get_with_async(key, async { unreachable!("it is there") })), 61);
    cache.validate();
}

/// What becomes of the one that loads while the call waits.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Value,
    Error,
    Panic,
    Dropped,
}

type Answer = Result<u64, End>;

/// A call that loads, until it is told what it comes to.
struct Leader {
    call: Running<Result<u64, Arc<End>>>,
    answer: oneshot::Sender<Answer>,
}

impl Leader {
    fn new(cache: &Numbers) -> Self {
        let (cache, (answer, gate)) = (cache.clone(), oneshot::channel::<Answer>());
        let loader = async {
            match gate.await.expect("it is told") {
                Err(End::Panic) => resume_unwind(Box::new("planted")),
                answer => answer,
            }
        };
        let call = Running::begun(async move { cache.try_get_with_async(1, loader).await });
        Self { call, answer }
    }

    fn end(mut self, end: End) {
        if end == End::Dropped {
            return;
        }
        self.answer.send(if end == End::Value { Ok(7) } else { Err(end) }).unwrap();
        if end == End::Panic {
            assert!(catch_unwind(AssertUnwindSafe(|| self.call.step().is_ready())).is_err());
        } else {
            assert_eq!(self.call.finish(), if end == End::Value { Ok(7) } else { Err(Arc::new(end)) });
        }
    }
}

/// What else happens to the key.
#[derive(Clone, Copy, Debug)]
enum Write {
    Insert,
    Remove,
    Clear,
}

/// What a loader's destructor does, unless the loader came to its end.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Nothing,
    Get,
    Insert,
    Remove,
    Load,
}

/// Part of a loader, and uses the cache when it is dropped.
struct Noisy {
    cache: Numbers,
    deed: Deed,
    is_done: bool,
    has_loaded: Arc<Mutex<Option<bool>>>,
}

impl Noisy {
    /// (A method, so that a future that calls it has all of it.)
    fn be_done(&mut self) {
        self.is_done = true;
    }
}

impl Drop for Noisy {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        match self.deed {
            Deed::Nothing => {}
            Deed::Get => drop(self.cache.get(&1)),
            Deed::Insert => self.cache.insert(1, 30),
            Deed::Remove => drop(self.cache.remove(&1)),
            Deed::Load => {
                let loaded = self.cache.timeout(Duration::ZERO).get_with(1, || 31);
                *self.has_loaded.lock().unwrap() = Some(loaded.is_ok());
            }
        }
    }
}

/// One way that things can go.
#[derive(Clone, Copy, Debug)]
struct Scene {
    /// Whether the call itself may fail, so that it is told of errors.
    is_fallible: bool,
    /// How often its loader is pending.
    pending: u32,
    /// Before which of its polls another one, that leads, comes to its end; if there is one.
    leader: Option<(usize, End)>,
    write: Option<(usize, Write)>,
    deed: Deed,
    /// Whether somebody waits behind it.
    is_awaited: bool,
}

impl Scene {
    /// Drops the call after so many polls. Whether it was done by then.
    fn play(self, polls: usize) -> bool {
        let (cache, has_loaded) = (small(), Arc::new(Mutex::new(None)));
        let mut leader = self.leader.map(|(at, end)| (at, end, Leader::new(&cache)));
        let mut call = Some(self.call(&cache, &has_loaded));
        let (mut behind, mut is_done) = (None, false);
        for poll in 0..polls {
            if let Some((_, end, leader)) = leader.take_if(|(at, ..)| *at == poll) {
                leader.end(end);
            }
            match self.write.filter(|(at, _)| *at == poll) {
                Some((_, Write::Insert)) => cache.insert(1, 5),
                Some((_, Write::Remove)) => drop(cache.remove(&1)),
                Some((_, Write::Clear)) => cache.invalidate_all(),
                None => {}
            }
            is_done = call.as_mut().unwrap().step().is_ready();
            if is_done {
                break;
            }
            if poll == 0 && self.is_awaited {
                let cache = cache.clone();
                let mut waits = Running::new(async move { cache.get_with_async(1, async { 40 }).await });
                behind = waits.step().is_pending().then_some(waits);
            }
            cache.validate();
        }
        // It may have come to its end since: then the call is dropped with what it was told, or the turn, in hand.
        if let Some((_, end, leader)) = leader.take_if(|(at, ..)| *at == polls) {
            leader.end(end);
        }
        drop(call.take());
        cache.validate();
        let is_alone = leader.is_none() && behind.is_none();
        if let Some((.., leader)) = leader {
            leader.end(End::Value);
        }
        if let Some(behind) = behind {
            behind.finish();
        }
        if let (true, Some(has_loaded)) = (is_alone, *has_loaded.lock().unwrap()) {
            assert!(has_loaded, "the loader is dropped while its call still has the turn");
        }
        is_free(&cache, 1);
        is_done
    }

    fn call(self, cache: &Numbers, has_loaded: &Arc<Mutex<Option<bool>>>) -> Running<Result<u64, Arc<End>>> {
        let (cache, times) = (cache.clone(), self.pending);
        let mut noisy = Noisy {
            cache: cache.clone(),
            deed: self.deed,
            is_done: false,
            has_loaded: Arc::clone(has_loaded),
        };
        let loader = async move {
            pending(times).await;
            noisy.be_done();
            20
        };
        if self.is_fallible {
            return Running::new(
                async move { cache.try_get_with_async(1, async { Ok(loader.await) }).await },
            );
        }
        Running::new(async move { Ok(cache.get_with_async(1, loader).await) })
    }
}

#[test]
fn a_call_that_is_dropped_at_any_point_leaves_nothing_behind() {
    let watchdog = Watchdog::over("a call that is dropped at some point", 300);
    let at = 0..4;
    let mut leaders = vec![None];
    for end in [End::Value, End::Error, End::Panic, End::Dropped] {
        leaders.extend(at.clone().map(|at| Some((at, end))));
    }
    let mut writes = vec![None];
    for write in [Write::Insert, Write::Remove, Write::Clear] {
        writes.extend(at.clone().map(|at| Some((at, write))));
    }
    let mut longest = 0;
    for (is_fallible, is_awaited) in [(false, false), (false, true), (true, false), (true, true)] {
        for deed in [Deed::Nothing, Deed::Get, Deed::Insert, Deed::Remove, Deed::Load] {
            for pending in 0..3 {
                for &leader in &leaders {
                    for &write in &writes {
                        let scene = Scene { is_fallible, pending, leader, write, deed, is_awaited };
                        let is_last = |polls: &usize| {
                            catch_unwind(AssertUnwindSafe(|| scene.play(*polls)))
                                .unwrap_or_else(|_| panic!("{scene:?}, dropped after {polls} polls"))
                        };
                        let polls = (0..20).find(is_last).expect("it is done some day");
                        watchdog.feed();
                        longest = longest.max(polls);
                    }
                }
            }
        }
    }
    // It waited for a leader's end, and then was pending twice.
    assert!(longest >= 6, "{longest}");
}

/// A generator of numbers.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % bound
    }
}

fn first_seed() -> u64 {
    std::env::var("TIDEWHEEL_SEED").map_or(7, |seed| seed.parse().expect("TIDEWHEEL_SEED is a number"))
}

const KEYS: u64 = 3;

/// What the tasks of a play have in common.
#[derive(Default)]
struct Stage {
    /// Time goes on by one with everything that happens; what is loaded or inserted is the time it began.
    now: AtomicU64,
    loaders: [Alone; KEYS as usize],
    loads: AtomicU64,
}

impl Stage {
    fn next(&self) -> u64 {
        self.now.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// While it is there, a key's loader runs.
struct Loading(Arc<Stage>, u64, u64);

impl Loading {
    fn new(stage: &Arc<Stage>, key: u64, asked: u64) -> Self {
        stage.loaders[key as usize].enter(asked);
        stage.loads.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(stage), key, asked)
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.0.loaders[self.1 as usize].leave(self.2);
    }
}

#[derive(Clone, Copy)]
enum Fate {
    Value,
    Error,
    Nothing,
    Panic,
    /// It is pending for ever.
    Stuck,
}

/// A loader: when it began, if it comes to something; the same as an error.
fn loads(
    stage: Arc<Stage>,
    key: u64,
    times: u32,
    fate: Fate,
) -> impl Future<Output = Result<Option<u64>, u64>> + Send {
    let asked = stage.loaders[key as usize].ask();
    async move {
        let _loading = Loading::new(&stage, key, asked);
        let began = stage.next();
        pending(times).await;
        match fate {
            Fate::Value => Ok(Some(began)),
            Fate::Error => Err(began),
            Fate::Nothing => Ok(None),
            Fate::Panic => resume_unwind(Box::new("planted")),
            Fate::Stuck => std::future::pending().await,
        }
    }
}

struct Task {
    call: Running<Option<u64>>,
    key: u64,
    /// When the key was written last before the call began: it must hear of nothing older.
    not_before: u64,
    is_stuck: bool,
}

struct Play {
    dice: Dice,
    cache: Numbers,
    stage: Arc<Stage>,
    written: [u64; KEYS as usize],
    tasks: Vec<Task>,
    panics: u32,
}

impl Play {
    fn new(seed: u64) -> Self {
        let (dice, stage) = (Dice(seed), Arc::default());
        Self { dice, cache: small(), stage, written: [0; KEYS as usize], tasks: Vec::new(), panics: 0 }
    }

    fn step(&mut self) {
        let key = self.dice.below(KEYS);
        match self.dice.below(20) {
            0..6 if self.tasks.len() < 24 => self.start(key),
            6..12 => {
                if let Some(task) = (0..self.tasks.len()).find(|task| self.tasks[*task].call.is_woken()) {
                    self.poll(task);
                }
            }
            // Woken or not.
            12..15 if !self.tasks.is_empty() => {
                let task = self.dice.below(self.tasks.len() as u64) as usize;
                self.poll(task);
            }
            15..17 if !self.tasks.is_empty() => {
                let task = self.dice.below(self.tasks.len() as u64) as usize;
                drop(self.tasks.swap_remove(task));
            }
            17 => {
                self.written[key as usize] = self.stage.next();
                let insert = || self.cache.insert(key, self.written[key as usize]);
                self.stage.loaders[key as usize].invalidate(insert);
            }
            18 => {
                self.written[key as usize] = self.stage.next();
                self.stage.loaders[key as usize].invalidate(|| self.cache.remove(&key));
            }
            19 => {
                self.written = [self.stage.next(); KEYS as usize];
                self.stage.loaders.iter().for_each(|key| key.invalidate(|| {}));
                self.cache.invalidate_all();
            }
            _ => {
                let stage = &self.stage;
                let asked = stage.loaders[key as usize].ask();
                let loaded = self.cache.timeout(Duration::ZERO).get_with(key, || {
                    let _loading = Loading::new(stage, key, asked);
                    stage.next()
                });
                assert!(loaded.is_ok_and(|value| value >= self.written[key as usize]) || loaded.is_err());
            }
        }
        self.cache.validate();
    }

    fn start(&mut self, key: u64) {
        let fates = [Fate::Value, Fate::Value, Fate::Error, Fate::Nothing, Fate::Panic, Fate::Stuck];
        let fate = fates[self.dice.below(6) as usize];
        let (cache, loader) =
            (self.cache.clone(), loads(self.stage.clone(), key, self.dice.below(4) as u32, fate));
        let call = match (self.dice.below(2), fate) {
            (_, Fate::Error) | (0, Fate::Value | Fate::Panic | Fate::Stuck) => Running::new(async move {
                let loader = async { loader.await.map(|value| value.unwrap()) };
                Some(cache.try_get_with_async(key, loader).await.unwrap_or_else(|error| *error))
            }),
            (_, Fate::Nothing) => Running::new(async move {
                cache.optionally_get_with_by_ref_async(&key, async { loader.await.unwrap() }).await
            }),
            _ => Running::new(async move {
                Some(cache.get_with_async(key, async { loader.await.unwrap().unwrap() }).await)
            }),
        };
        let not_before = self.written[key as usize];
        self.tasks.push(Task { call, key, not_before, is_stuck: matches!(fate, Fate::Stuck) });
        self.poll(self.tasks.len() - 1);
    }

    fn poll(&mut self, number: usize) {
        let task = &mut self.tasks[number];
        match catch_unwind(AssertUnwindSafe(|| task.call.step())) {
            Ok(Poll::Pending) => return,
            Ok(Poll::Ready(began)) => {
                let is_fresh = began.is_none_or(|began| began >= task.not_before);
                assert!(is_fresh, "key {}: {began:?} is older than {}", task.key, task.not_before);
            }
            Err(panic) => {
                assert_eq!(panic.downcast_ref::<&str>(), Some(&"planted"));
                self.panics += 1;
            }
        }
        drop(self.tasks.swap_remove(number));
    }

    /// Without those that are stuck, all others come to their ends, and need not be polled unless they are woken.
    fn end(mut self) -> (u64, u32) {
        self.tasks.retain(|task| !task.is_stuck);
        while !self.tasks.is_empty() {
            let woken = (0..self.tasks.len()).find(|task| self.tasks[*task].call.is_woken());
            self.poll(woken.expect("somebody waits, and nobody was woken"));
            self.cache.validate();
        }
        (0..KEYS).for_each(|key| is_free(&self.cache, key));
        (self.stage.loads.load(Ordering::Relaxed), self.panics)
    }
}

#[test]
fn calls_that_are_dropped_at_random_leave_nothing_behind() {
    let watchdog = Watchdog::over("calls that are dropped at random", 300);
    let (mut loads, mut panics) = (0, 0);
    for seed in first_seed()..first_seed() + 200 {
        let went = catch_unwind(|| {
            let mut play = Play::new(seed);
            (0..500).for_each(|_| play.step());
            play.end()
        });
        let (more, some) = went.unwrap_or_else(|_| panic!("TIDEWHEEL_SEED={seed}"));
        (loads, panics) = (loads + more, panics + some);
        watchdog.feed();
    }
    assert!(loads > 1_000 && panics > 100, "little happened: {loads} loads, {panics} panics");
}

#[test]
fn tasks_that_are_aborted_on_other_threads_leave_nothing_behind() {
    let watchdog = Watchdog::over("tasks that are aborted", 300);
    let (cache, stage) = (small(), Arc::<Stage>::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    let players = (0..8).map(|player| {
        let (cache, stage, mut dice) = (cache.clone(), Arc::clone(&stage), Dice(first_seed() + player));
        runtime.spawn(async move {
            for _ in 0..500 {
                let (key, times) = (dice.below(KEYS), dice.below(4) as u32);
                let loader = loads(Arc::clone(&stage), key, times, Fate::Value);
                let task = cache.clone();
                let task = tokio::spawn(async move {
                    task.get_with_async(key, async { loader.await.unwrap().unwrap() }).await
                });
                for _ in 0..dice.below(3) {
                    tokio::task::yield_now().await;
                }
                if dice.below(2) == 0 {
                    // Its turn is passed on before its locals are dropped, on purpose: they may be there beside the next one.
                    stage.loaders[key as usize].invalidate(|| task.abort());
                }
                let ended = task.await;
                assert!(ended.is_ok() || ended.is_err_and(|error| error.is_cancelled()));
                if dice.below(3) == 0 {
                    stage.loaders[key as usize].invalidate(|| cache.invalidate(&key));
                }
            }
        })
    });
    let players: Vec<_> = players.collect();
    thread::scope(|scope| {
        for number in 0..2 {
            let (cache, stage, mut dice) = (&cache, &stage, Dice(first_seed() + 100 + number));
            let watchdog = &watchdog;
            scope.spawn(move || {
                for _ in 0..500 {
                    watchdog.feed();
                    let key = dice.below(KEYS);
                    let asked = stage.loaders[key as usize].ask();
                    cache.get_with(key, || {
                        let _loading = Loading::new(stage, key, asked);
                        thread::yield_now();
                        stage.next()
                    });
                    stage.loaders[key as usize].invalidate(|| cache.remove(&key));
                }
            });
        }
    });
    for player in players {
        runtime.block_on(player).unwrap();
        watchdog.feed();
    }
    (0..KEYS).for_each(|key| is_free(&cache, key));
}
