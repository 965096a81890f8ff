//! The window, on the real clock: a session left alone is readable until 5 s, refused from then on (10
//! ms at most late), and out of memory, its destructor run, before 7 s.
//!
//! All scenarios start at once and run side by side; each test waits for its own. The machine may stop
//! any of these threads at any point, so a scenario notes the time before and after each call and
//! judges what is certain: a session is refused too early only if the call *returned* before the idle
//! time was over, counted from *before* it was written; and so on. In the same spirit, time that other
//! processes took from a machine without an idle processor is not held against the reaper, nor time for
//! which the machine stood still. The bounds themselves are exact.

#![allow(clippy::disallowed_methods)] // the clock is read here to judge the crate by it

#[path = "window/others.rs"]
mod others;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tidewheel::{EndCause, SessionError, SessionId, SessionManager};

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLI;
const IDLE: u64 = 5 * SECOND;
/// How late a read may still find an expired session.
const LATE: u64 = 10 * MILLI;
/// From the last write until the destructor has run.
const GONE: u64 = 7 * SECOND;

/// Nanoseconds since the tests began; never 0.
fn now() -> u64 {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    ORIGIN.elapsed().as_nanos() as u64 + 1
}

/// The time from `start` to `end` that the crate answers for: less what others took of it.
fn answered_for(start: u64, end: u64) -> u64 {
    end.saturating_sub(start).saturating_sub(others::ran_between(start, end))
}

/// How late a session's data was dropped, or is if it was not, as far as the crate answers for it.
fn lateness(written: Written, dropped: u64) -> u64 {
    answered_for(written.after + IDLE, dropped)
}

/// Waits for the time when a session has to be out of memory.
fn sleep_until_gone(written: Written, is_gone: impl Fn() -> bool) {
    sleep_until(written.after + GONE);
    while !is_gone() && lateness(written, now()) < GONE - IDLE {
        std::thread::sleep(Duration::from_nanos(10 * MILLI));
    }
}

fn sleep_until(time: u64) {
    while let Some(left) = time.checked_sub(now()).filter(|left| *left > 0) {
        std::thread::sleep(Duration::from_nanos(left));
    }
}

/// When each value of a scenario was dropped; 0 while it is in memory.
type Drops = Arc<[AtomicU64]>;

/// Stands for a moment when a value was dropped again.
const TWICE: u64 = u64::MAX;

fn drops(values: usize) -> Drops {
    (0..values).map(|_| AtomicU64::new(0)).collect()
}

/// A session's data: notes the moment of its destruction. It cannot be cloned, so it is the stored one.
struct Data {
    drops: Drops,
    value: usize,
}

impl Data {
    /// For values that nobody asks about.
    const UNWATCHED: usize = usize::MAX;
}

impl Drop for Data {
    fn drop(&mut self) {
        if let Some(slot) = self.drops.get(self.value) {
            // A panic in here would be caught by the crate, so a second drop is noted instead.
            if slot.swap(now(), Ordering::SeqCst) != 0 {
                slot.store(TWICE, Ordering::SeqCst);
            }
        }
    }
}

/// When a call that wrote a session began and ended.
#[derive(Clone, Copy)]
struct Written {
    before: u64,
    after: u64,
}

fn timed<R>(call: impl FnOnce() -> R) -> (R, Written) {
    let before = now();
    let answer = call();
    (answer, Written { before, after: now() })
}

fn create(sessions: &SessionManager<Data>, drops: &Drops, value: usize) -> (SessionId, Written) {
    let data = Data { drops: Arc::clone(drops), value };
    let (id, written) = timed(|| sessions.create(data));
    (id.unwrap(), written)
}

/// What a read showed, as far as it is certain.
#[derive(PartialEq, Eq)]
enum Seen {
    /// Found, as it had to be.
    Alive,
    /// Refused, as it had to be.
    Refused,
    /// Around the edge, where either answer is right.
    Either,
}

/// Reads a session; panics if the answer is certainly wrong.
#[track_caller]
fn look(sessions: &SessionManager<Data>, id: &SessionId, written: Written) -> Seen {
    let (answer, call) = timed(|| sessions.read(id, |_| ()));
    let must_be_found = call.after < written.before + IDLE;
    let must_be_refused = call.before >= written.after + IDLE + LATE;
    match answer {
        Ok(()) if must_be_refused => {
            panic!("readable {} ms after its last write", (call.before - written.after) / MILLI)
        }
        Ok(()) if must_be_found => Seen::Alive,
        Err(SessionError::NotFound) if must_be_found => {
            panic!("refused {} ms after its last write", (call.after - written.before) / MILLI)
        }
        Err(SessionError::NotFound) if must_be_refused => Seen::Refused,
        Ok(()) | Err(SessionError::NotFound) => Seen::Either,
        Err(error) => panic!("{error}"),
    }
}

/// Panics unless the value's destructor ran inside the window that opened with `written`.
#[track_caller]
fn assert_left_in_time(drops: &Drops, value: usize, written: Written) {
    let dropped = drops[value].load(Ordering::SeqCst);
    assert!(dropped != 0, "value {value} is still in memory after {} ms", (now() - written.after) / MILLI);
    assert!(dropped != TWICE, "value {value} was dropped twice");
    let oldest = dropped - written.before;
    assert!(oldest >= IDLE, "value {value} dropped {} ms after its last write", oldest / MILLI);
    let late = lateness(written, dropped);
    assert!(late < GONE - IDLE, "value {value} dropped {} ms after it expired", late / MILLI);
}

/// Sessions written one after the other by one thread and then left alone.
struct LeftAlone {
    ids: Vec<SessionId>,
    written: Vec<Written>,
}

impl LeftAlone {
    fn create(sessions: &SessionManager<Data>, drops: &Drops, count: usize) -> Self {
        let (ids, written) = (0..count).map(|value| create(sessions, drops, value)).unzip();
        Self { ids, written }
    }

    /// Reads sessions just before and just after their edge, until the last has passed it. Returns how
    /// many were certainly alive and how many certainly refused.
    fn watch_the_edge(&self, sessions: &SessionManager<Data>) -> (usize, usize) {
        let (mut alive, mut refused) = (0, 0);
        // A few in turn, so that not one session alone is looked at; or the only one, each time.
        let spread = self.ids.len().min(7);
        let end = self.written.last().unwrap().after + IDLE + 2 * LATE;
        let mut step = 0;
        while now() < end {
            step += 1;
            let time = now();
            // The first that is still well before its edge, and the last that is past it; or one a
            // little further away.
            let young = self.written.partition_point(|w| w.before + IDLE < time + MILLI) + step % spread;
            let old = self.written.partition_point(|w| w.after + IDLE + LATE < time);
            for index in [Some(young), old.checked_sub(1 + step % spread)].into_iter().flatten() {
                if let Some(id) = self.ids.get(index) {
                    match look(sessions, id, self.written[index]) {
                        Seen::Alive => alive += 1,
                        Seen::Refused => refused += 1,
                        Seen::Either => {}
                    }
                }
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        (alive, refused)
    }

    /// Waits for the time when all have to be out of memory.
    fn sleep_until_gone(&self, drops: &Drops) {
        let is_gone = || drops[..self.ids.len()].iter().all(|drop| drop.load(Ordering::SeqCst) != 0);
        sleep_until_gone(*self.written.last().unwrap(), is_gone);
    }

    fn assert_left_in_time(&self, drops: &Drops) {
        let mut latest = 0;
        for (value, written) in self.written.iter().enumerate() {
            assert_left_in_time(drops, value, *written);
            latest = latest.max(drops[value].load(Ordering::SeqCst) - written.after);
        }
        // For `--nocapture`: on the clock, whoever is to blame.
        println!("{} sessions, the last out of memory after {} ms", self.ids.len(), latest / MILLI);
    }
}

fn one_session() {
    let told = drops(1);
    let heard = Arc::clone(&told);
    let sessions = SessionManager::builder()
        .end_listener(move |_, data: &Data, cause| {
            // A panic in here would be caught, so what should not be is noted as a second time.
            let is_again = heard[data.value].swap(now(), Ordering::SeqCst) != 0;
            if is_again || cause != EndCause::Expired {
                heard[data.value].store(TWICE, Ordering::SeqCst);
            }
        })
        .build()
        .unwrap();
    let drops = drops(1);
    let alone = LeftAlone::create(&sessions, &drops, 1);
    let written = alone.written[0];
    let mut alive = 0;
    for tenth in 1..49 {
        sleep_until(written.before + tenth * 100 * MILLI);
        alive += usize::from(look(&sessions, &alone.ids[0], written) == Seen::Alive);
    }
    let (alive_at_the_edge, refused_at_the_edge) = alone.watch_the_edge(&sessions);
    assert!(alive + alive_at_the_edge > 0, "it was never looked at in time");
    // The edge may have passed between two looks of a slow machine. By now it certainly has.
    assert!(look(&sessions, &alone.ids[0], written) == Seen::Refused);
    println!("at the edge: {alive_at_the_edge} times alive, {refused_at_the_edge} times refused");
    alone.sleep_until_gone(&drops);
    alone.assert_left_in_time(&drops);
    // Its end was told, before it left and as punctually.
    assert!(told[0].load(Ordering::SeqCst) != 0, "its end was never told");
    alone.assert_left_in_time(&told);
    let [told, dropped] = [&told, &drops].map(|times| times[0].load(Ordering::SeqCst));
    assert!(told <= dropped, "told {} ms after it was dropped", (told - dropped) / MILLI);
    assert_eq!(sessions.len(), 0);
}

fn a_million_sessions() {
    const COUNT: usize = 1_000_000;
    let sessions = SessionManager::new();
    let drops = drops(COUNT);
    let alone = LeftAlone::create(&sessions, &drops, COUNT);
    let (alive, refused) = alone.watch_the_edge(&sessions);
    println!("at the edge: {alive} times alive, {refused} times refused");
    // The edge may have passed between two looks of a slow machine. By now it certainly has.
    assert!(look(&sessions, &alone.ids[0], alone.written[0]) == Seen::Refused);
    alone.sleep_until_gone(&drops);
    alone.assert_left_in_time(&drops);
    assert_eq!(sessions.len(), 0);
}

/// One of two threads that write without a pause: it keeps its share of sessions alive by updates, and
/// now and then creates one that is left alone.
fn write_without_a_pause(
    sessions: &SessionManager<Data>,
    stop: &AtomicBool,
    writes: &AtomicUsize,
) -> (LeftAlone, Drops) {
    const BUSY: usize = 10_000;
    const ALONE: usize = 200_000;
    let drops = drops(ALONE);
    let unwatched = || Data { drops: Arc::clone(&drops), value: Data::UNWATCHED };
    let mut busy: Vec<_> = (0..BUSY).map(|_| create(sessions, &drops, Data::UNWATCHED)).collect();
    let mut alone = LeftAlone { ids: Vec::new(), written: Vec::new() };
    while !stop.load(Ordering::Relaxed) {
        for (step, (id, last)) in busy.iter_mut().enumerate() {
            let (answer, written) = timed(|| sessions.replace(id, unwatched()));
            match answer {
                Ok(()) => *last = written,
                // Only if this thread was stopped for seconds; that session is replaced by another.
                Err(SessionError::NotFound) => {
                    assert!(written.after >= last.before + IDLE, "an update lost to the reaper");
                    (*id, *last) = create(sessions, &drops, Data::UNWATCHED);
                }
                Err(error) => panic!("{error}"),
            }
            if step % 64 == 0 && alone.ids.len() < ALONE {
                let (id, written) = create(sessions, &drops, alone.ids.len());
                alone.ids.push(id);
                alone.written.push(written);
            }
        }
        writes.fetch_add(BUSY, Ordering::Relaxed);
    }
    (alone, drops)
}

fn two_threads_writing() {
    let sessions = SessionManager::new();
    let (stop, writes) = (AtomicBool::new(false), AtomicUsize::new(0));
    let done = std::thread::scope(|scope| {
        let write = || write_without_a_pause(&sessions, &stop, &writes);
        let writers = [scope.spawn(write), scope.spawn(write)];
        // A thousand more are left alone and watched while the two write.
        let drops = drops(1_000);
        let alone = LeftAlone::create(&sessions, &drops, 1_000);
        alone.watch_the_edge(&sessions);
        alone.sleep_until_gone(&drops);
        alone.assert_left_in_time(&drops);
        sleep_until(now() + 2 * SECOND);
        stop.store(true, Ordering::Relaxed);
        writers.map(|writer| writer.join().unwrap())
    });
    // What the writers themselves left alone: most of it left while they were at full speed.
    let full_speed_ended = now();
    for (alone, drops) in &done {
        let mut gone = 0;
        for (value, written) in alone.written.iter().enumerate() {
            let dropped = drops[value].load(Ordering::SeqCst);
            if dropped != 0 || lateness(*written, full_speed_ended) >= GONE - IDLE {
                assert_left_in_time(drops, value, *written);
                gone += 1;
            }
        }
        assert!(gone > 0);
    }
    assert!(writes.into_inner() > 0);
}

/// Once more where this machine stood still for seconds: then nothing can be said.
fn updated_at_three_seconds() {
    assert!((0..20).any(|_| is_updated_in_time()), "this machine stands still time and again");
}

/// Returns false if this thread was stopped for two seconds.
fn is_updated_in_time() -> bool {
    let sessions = SessionManager::new();
    let drops = drops(2);
    let (id, created) = create(&sessions, &drops, 0);
    sleep_until(created.before + 3 * SECOND);
    let second = Data { drops: Arc::clone(&drops), value: 1 };
    let (answer, updated) = timed(|| sessions.replace(&id, second));
    if answer.is_err() {
        // Nothing but this thread being stopped for two seconds excuses a refusal.
        assert!(updated.after >= created.before + IDLE, "refused at 3 s");
        return false;
    }

    sleep_until(created.before + 6 * SECOND);
    if look(&sessions, &id, updated) != Seen::Alive {
        // It was not certain any more that it had to be found.
        return false;
    }
    let is_gone = |value: usize| drops[value].load(Ordering::SeqCst) != 0;
    while !is_gone(0) && answered_for(updated.after, now()) < GONE - IDLE {
        std::thread::sleep(Duration::from_nanos(10 * MILLI));
    }
    let first = drops[0].load(Ordering::SeqCst);
    assert!(
        first != 0 && answered_for(updated.after, first) < GONE - IDLE,
        "the replaced data is still in memory"
    );

    // 10 s after the session was created, and 7 s after it was updated.
    sleep_until_gone(updated, || is_gone(1));
    assert_left_in_time(&drops, 1, updated);
    assert!(look(&sessions, &id, updated) == Seen::Refused);
    assert_eq!(sessions.len(), 0);
    true
}

/// In a process of its own, since the other scenarios would keep the crate's threads and epochs moving.
/// One thread that used the sessions has ended, one sleeps, and this one has never touched them.
fn every_thread_asleep() {
    const COUNT: usize = 10_000;
    others::watch();
    let drops = drops(COUNT);
    let (manager, made) = mpsc::channel::<(SessionManager<Data>, LeftAlone)>();
    let creator = {
        let drops = Arc::clone(&drops);
        std::thread::spawn(move || {
            let sessions = SessionManager::new();
            let alone = LeftAlone::create(&sessions, &drops, COUNT);
            manager.send((sessions, alone)).unwrap();
        })
    };
    let (wake, sleeping) = mpsc::channel::<()>();
    let (pass_on, passed_on) = mpsc::channel();
    let sleeper = std::thread::spawn(move || {
        let (sessions, alone) = made.recv().unwrap();
        for (id, written) in alone.ids.iter().zip(&alone.written) {
            look(&sessions, id, *written);
        }
        pass_on.send((sessions, alone)).unwrap();
        sleeping.recv().unwrap();
    });
    creator.join().unwrap();
    let (sessions, alone) = passed_on.recv().unwrap();
    alone.sleep_until_gone(&drops);
    alone.assert_left_in_time(&drops);
    assert_eq!(sessions.len(), 0);
    wake.send(()).unwrap();
    sleeper.join().unwrap();
}

/// In a process of its own, since it holds up every cache there is: a reader that does not return while
/// many sessions expire. It delays the destructors, and only until it returns.
fn a_slow_reader() {
    const COUNT: usize = 300_000;
    others::watch();
    let sessions = SessionManager::new();
    let drops = drops(COUNT);
    let alone = LeftAlone::create(&sessions, &drops, COUNT);
    let last = alone.written[COUNT - 1];
    let read = sessions.read(&alone.ids[COUNT - 1], |data| {
        sleep_until(last.after + IDLE + 2 * SECOND);
        drops[data.value].load(Ordering::SeqCst) == 0
    });
    let returned = now();
    assert!(read.expect("it began in time"), "dropped under its reader");
    let all_gone = || drops.iter().all(|drop| drop.load(Ordering::SeqCst) != 0);
    while !all_gone() && answered_for(returned, now()) < 2 * SECOND {
        std::thread::sleep(Duration::from_nanos(10 * MILLI));
    }
    for (value, written) in alone.written.iter().enumerate() {
        let dropped = drops[value].load(Ordering::SeqCst);
        assert!(dropped != 0, "value {value} is still in memory 2 s after the reader returned");
        assert!(dropped >= written.before + IDLE);
    }
    println!("{} ms after the reader, {COUNT} sessions", (now() - returned) / MILLI);
    assert!(sessions.is_empty());
}

const ALONE: &str = "TIDEWHEEL_TEST_ALONE";

fn in_its_own_process(test: &str) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "the test did not run: {said}");
}

/// Starts all scenarios with the first test, and waits for the one called `name`.
fn outcome(name: &'static str) {
    type Scenario = (&'static str, fn());
    const SCENARIOS: [Scenario; 6] = [
        ("one session", one_session),
        ("a million", a_million_sessions),
        ("two writers", two_threads_writing),
        ("updated", updated_at_three_seconds),
        ("asleep", || in_its_own_process("with_every_thread_asleep_that_ever_touched_the_cache")),
        ("slow reader", || in_its_own_process("a_slow_reader_delays_memory_only_until_it_returns")),
    ];
    static RUNNING: LazyLock<Mutex<HashMap<&str, JoinHandle<()>>>> = LazyLock::new(|| {
        let start = |(name, scenario): Scenario| {
            (name, std::thread::Builder::new().name(name.into()).spawn(scenario).unwrap())
        };
        Mutex::new(SCENARIOS.into_iter().map(start).collect())
    });
    others::watch();
    let scenario = RUNNING.lock().unwrap().remove(name).unwrap();
    if let Err(panic) = scenario.join() {
        // Its own words went to the output of the test that has started all.
        let text = panic.downcast_ref::<String>().map(String::as_str);
        panic!("{name}: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked"));
    }
}

#[test]
fn one_session_leaves_in_its_window() {
    outcome("one session");
}

#[test]
fn a_million_sessions_leave_in_their_window() {
    outcome("a million");
}

#[test]
fn with_two_threads_writing_as_fast_as_they_can() {
    outcome("two writers");
}

#[test]
fn updated_at_3_s_alive_at_6_s_gone_by_10_s() {
    outcome("updated");
}

#[test]
fn with_every_thread_asleep_that_ever_touched_the_cache() {
    match std::env::var_os(ALONE) {
        Some(_) => every_thread_asleep(),
        None => outcome("asleep"),
    }
}

#[test]
fn a_slow_reader_delays_memory_only_until_it_returns() {
    match std::env::var_os(ALONE) {
        Some(_) => a_slow_reader(),
        None => outcome("slow reader"),
    }
}
