//! Measures how late sessions end: `cargo run --release --example sessions` (`-- --quick` for less).
//!
//! Part 1 follows one session from its log-in to its end. Part 2 has many sessions: two threads write and
//! read them for some seconds, and then nobody does anything. The program fails if a session ended
//! outside the window of 5 to 7 seconds after its last update, or if an update was lost.
//!
//! How it is measured: a session's data is an `Arc` of a `Visit`. Each update stores another `Visit`, with
//! the next version. When a session ends, the manager calls the listener, which marks the `Visit` that the
//! session had at its end. The destructor of a marked `Visit` notes the time.
//!
//! The system may stop any thread at any point. So the time is taken before and after each call, and a call
//! is a fault only if no moment in between would make it right.

#![allow(clippy::disallowed_methods)] // the clock is read here to judge the crate by it

use std::process::ExitCode;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::time::{Duration, Instant};
use tidewheel::{BuildError, SessionError, SessionId, SessionManager};

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLI;
/// A session can be read until this long after its last update.
const IDLE: u64 = 5 * SECOND;
/// From then on it is refused, at most this much late.
const LATE: u64 = 10 * MILLI;
/// By then its data is destroyed.
const GONE: u64 = 7 * SECOND;

/// Nanoseconds since the program began.
fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_nanos() as u64
}

fn sleep(nanos: u64) {
    std::thread::sleep(Duration::from_nanos(nanos));
}

fn seconds(nanos: u64) -> String {
    format!("{:.4} s", nanos as f64 / SECOND as f64)
}

// ---- What is known of a session, outside of the manager ----

#[derive(Default)]
struct Track {
    /// Updates that succeeded, the creation included: the version that the session must have.
    updates: AtomicU32,
    /// When the last of them began, and when it had returned.
    began: AtomicU64,
    returned: AtomicU64,
    /// How often the listener was told that the session ended.
    ends: AtomicU32,
    /// The version that it had at its end, and when that was destroyed. 0 until then.
    last_version: AtomicU32,
    destroyed: AtomicU64,
}

impl Track {
    fn leaked() -> &'static Self {
        Box::leak(Box::default())
    }

    fn updated(&self, began: u64) {
        self.began.fetch_max(began, Relaxed);
        self.returned.fetch_max(now(), Relaxed);
        self.updates.fetch_add(1, Release); // last: whoever sees it, sees the times
    }

    /// The time since the last update, or more.
    fn age(&self) -> u64 {
        now() - self.began.load(Relaxed)
    }

    fn is_gone(&self) -> bool {
        self.destroyed.load(Acquire) > 0
    }
}

/// A session's data.
struct Visit {
    user: Option<&'static str>,
    page: String,
    version: u32,
    has_ended: AtomicBool,
    track: &'static Track,
}

impl Visit {
    fn first(page: &str, track: &'static Track) -> Arc<Self> {
        let has_ended = AtomicBool::new(false);
        Arc::new(Self { user: None, page: page.to_owned(), version: 1, has_ended, track })
    }

    /// What takes this one's place.
    fn next(&self, user: Option<&'static str>, page: &str) -> Arc<Self> {
        let has_ended = AtomicBool::new(false);
        Arc::new(Self {
            user,
            page: page.to_owned(),
            version: self.version + 1,
            has_ended,
            track: self.track,
        })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if self.has_ended.load(Relaxed) {
            self.track.last_version.store(self.version, Relaxed);
            self.track.destroyed.store(now(), Release);
        }
    }
}

// ---- Calls on sessions, each checked when it returns ----

/// How often something was wrong, and the first few cases in words.
#[derive(Default)]
struct Faults(Mutex<(usize, Vec<String>)>);

impl Faults {
    fn add(&self, fault: String) {
        let mut faults = self.0.lock().unwrap();
        faults.0 += 1;
        if faults.1.len() < 10 {
            faults.1.push(fault);
        }
    }
}

struct Checked<'f> {
    sessions: SessionManager<Arc<Visit>>,
    faults: &'f Faults,
}

impl<'f> Checked<'f> {
    fn new(faults: &'f Faults) -> Result<Self, BuildError> {
        let mark_end = |_: &SessionId, visit: &Arc<Visit>, _| {
            visit.has_ended.store(true, Relaxed);
            visit.track.ends.fetch_add(1, Relaxed);
        };
        Ok(Self { sessions: SessionManager::builder().end_listener(mark_end).build()?, faults })
    }

    fn create(&self, track: &'static Track) -> SessionId {
        let began = now();
        let id = self.sessions.create(Visit::first("https://example.org/", track)).expect("no limit is set");
        track.updated(began);
        id
    }

    /// Whether the session was there.
    fn update(&self, id: &SessionId, page: &str, track: &Track) -> bool {
        let began = now();
        let answer = self.sessions.modify(id, |visit| *visit = visit.next(visit.user, page));
        self.check_update(track, began, answer)
    }

    /// Sets the user, and gives the session a new id in the same step.
    fn log_in(&self, id: &SessionId, user: &'static str, track: &Track) -> Option<SessionId> {
        let began = now();
        let answer = self.sessions.rotate_with(id, |visit| *visit = visit.next(Some(user), &visit.page));
        let new_id = answer.as_ref().ok().map(|(new_id, ())| *new_id);
        self.check_update(track, began, answer.map(|_| ()));
        new_id
    }

    /// Whether the session was there.
    fn read(&self, id: &SessionId, track: &Track) -> bool {
        let updates = track.updates.load(Acquire);
        let returned = track.returned.load(Relaxed);
        let began = now();
        match self.sessions.read(id, |visit| visit.version) {
            Ok(version) if version < updates => {
                self.faults.add(format!("an update was lost: version {version} after {updates} updates"));
            }
            Ok(version) if version == updates && began >= returned + IDLE + LATE => {
                self.faults.add(format!("readable {} after the last update", seconds(began - returned)));
            }
            Ok(_) => {}
            Err(_) => {
                self.check_refusal(track, "read");
                return false;
            }
        }
        true
    }

    fn check_update(&self, track: &Track, began: u64, answer: Result<(), SessionError>) -> bool {
        match answer {
            Ok(()) => track.updated(began),
            Err(_) => self.check_refusal(track, "update"),
        }
        answer.is_ok()
    }

    /// A session may be refused only when its idle time is over.
    fn check_refusal(&self, track: &Track, call: &str) {
        let age = track.age();
        if age < IDLE {
            self.faults.add(format!("{call} refused {} after the last update", seconds(age)));
        }
    }

    /// The age at which the session's data was destroyed, if it was.
    fn check_end(&self, track: &Track) -> Option<u64> {
        let destroyed = track.destroyed.load(Acquire);
        let [began, returned] = [&track.began, &track.returned].map(|time| time.load(Relaxed));
        let [updates, version, ends] =
            [&track.updates, &track.last_version, &track.ends].map(|figure| figure.load(Relaxed));
        if ends != 1 || version != updates {
            self.faults
                .add(format!("ended {ends} times; at its end version {version} after {updates} updates"));
        }
        if destroyed == 0 {
            return None;
        }
        let age = destroyed.saturating_sub(began);
        if age < IDLE || destroyed.saturating_sub(returned) >= GONE {
            self.faults.add(format!("data destroyed {} after the last update", seconds(age)));
        }
        Some(age)
    }
}

// ---- Part 1: one session ----

fn one_session(faults: &Faults) -> Result<(), BuildError> {
    println!("Part 1: one session. Times count from its last update.");
    let checked = Checked::new(faults)?;
    let (sessions, track) = (&checked.sessions, Track::leaked());
    let say = |text: String| println!("  {}  {text}", seconds(track.age()));

    let anonymous = checked.create(track);
    say("created".into());
    sleep(200 * MILLI);
    say("still there".into());
    checked.update(&anonymous, "https://www.rust-lang.org/", track);
    say("updated: this restarts the time".into());
    let page = sessions.get(&anonymous).map(|visit| visit.page.clone());
    say(format!("read back: page = {}", page.unwrap_or_default()));
    let id = checked.log_in(&anonymous, "Ada", track).expect("it was updated a moment ago");
    let user = sessions.get(&id).ok().and_then(|visit| visit.user);
    say(format!("logged in: user = {}, under a new id", user.unwrap_or("nobody")));
    if sessions.get(&anonymous).is_ok() {
        faults.add("the id from before the log-in still leads to the session".into());
    }
    say("the old id leads to nothing; now nobody touches the session ...".into());

    sleep((IDLE - 20 * MILLI).saturating_sub(track.age()));
    let mut last_read = 0;
    while track.age() < GONE {
        let age = track.age();
        if !checked.read(&id, track) {
            println!("  {}  read for the last time", seconds(last_read));
            say("refused: the session has ended".into());
            break;
        }
        last_read = age;
        sleep(MILLI / 4);
    }
    while !track.is_gone() && track.age() < GONE {
        sleep(MILLI);
    }
    if let Some(age) = checked.check_end(track) {
        println!("  {}  its data is destroyed, without a call from anyone", seconds(age));
    }
    Ok(())
}

// ---- Part 2: many sessions ----

/// The first sessions are written by both threads; each of the others by one.
const SHARED: usize = 64;

#[derive(Default)]
struct Calls {
    creates: u64,
    updates: u64,
    reads: u64,
    /// Those of them that came too late for their session.
    refused: u64,
}

struct Crowd {
    tracks: Vec<&'static Track>,
    ids: Vec<OnceLock<SessionId>>,
}

impl Crowd {
    /// Works until `end`. The thread creates the sessions whose index has its parity, all of them in
    /// the first two fifths of the time.
    fn work(&self, checked: &Checked<'_>, parity: usize, end: u64) -> Calls {
        let (start, own) = (now(), self.tracks.len() / 2);
        let mut calls = Calls::default();
        let mut created = 0;
        let mut state = 0x9E37_79B9_7F4A_7C15 ^ parity as u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as usize % below
        };
        loop {
            let time = now();
            if time >= end {
                return calls;
            }
            let due = own as u64 * (time - start) * 5 / (end - start) / 2;
            while created < own.min(due as usize) {
                let index = 2 * created + parity;
                let id = checked.create(self.tracks[index]);
                self.ids[index].set(id).expect("one thread creates it");
                created += 1;
                calls.creates += 1;
            }
            for _ in 0..2 {
                let shared = created == 0 || random(8) == 0;
                let index = if shared { random(SHARED) } else { 2 * random(created) + parity };
                let Some(id) = self.ids[index].get() else { continue };
                calls.updates += 1;
                calls.refused +=
                    u64::from(!checked.update(id, "https://example.org/till", self.tracks[index]));
            }
            for _ in 0..6 {
                let index = random(2 * created.max(SHARED / 2));
                let Some(id) = self.ids[index].get() else { continue };
                calls.reads += 1;
                calls.refused += u64::from(!checked.read(id, self.tracks[index]));
            }
        }
    }
}

fn many_sessions(faults: &Faults, count: usize, busy: u64) -> Result<(), BuildError> {
    println!("\nPart 2: {count} sessions.");
    let checked = Checked::new(faults)?;
    let tracks = (0..count).map(|_| Track::leaked()).collect();
    let crowd = Crowd { tracks, ids: (0..count).map(|_| OnceLock::new()).collect() };

    println!("  Two threads create, update and read them for {} s ...", busy / SECOND);
    let start = now();
    let calls = std::thread::scope(|scope| {
        let work = |parity| {
            scope.spawn({
                let (crowd, checked) = (&crowd, &checked);
                move || crowd.work(checked, parity, start + busy)
            })
        };
        [0, 1].map(work).map(|thread| thread.join().expect("a thread panicked"))
    });
    let took = now() - start;
    println!("  Now nobody calls the manager for 7 s ...");
    for passed in 1..=GONE / SECOND {
        sleep(SECOND);
        let gone = crowd.tracks.iter().filter(|track| track.is_gone()).count();
        println!("    after {passed} s the data of {gone} sessions is destroyed");
    }
    if !checked.sessions.is_empty() {
        faults.add(format!("the manager still counts {} sessions", checked.sessions.len()));
    }
    let ages = crowd.tracks.iter().filter_map(|track| checked.check_end(track)).collect();
    print_ages(ages);

    let sum = |figure: fn(&Calls) -> u64| calls.iter().map(figure).sum::<u64>();
    let (creates, updates, reads) = (sum(|c| c.creates), sum(|c| c.updates), sum(|c| c.reads));
    let rate = (creates + updates + reads) as f64 * 1e3 / took as f64;
    println!("\nCalls in the busy time: {rate:.2} million a second, of both threads together");
    println!(
        "  {creates} creates, {updates} updates, {reads} reads; {} found their session ended",
        sum(|c| c.refused)
    );
    Ok(())
}

/// A histogram of the ages, and what they were at least, at most and in between.
fn print_ages(mut ages: Vec<u64>) {
    const STEP: u64 = SECOND / 10;
    ages.sort_unstable();
    let (Some(least), Some(most)) = (ages.first(), ages.last()) else { return };
    let count =
        |from: u64, to: u64| ages.partition_point(|age| *age < to) - ages.partition_point(|age| *age < from);
    let rows: Vec<_> =
        (IDLE / STEP..GONE / STEP).map(|row| (row, count(row * STEP, (row + 1) * STEP))).collect();
    let longest = rows.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    println!("\nHow many sessions' data was destroyed how long after their last update:");
    println!("  before 5.0 s {:>9}", count(0, IDLE));
    for (row, count) in rows {
        println!("  from {:.1} s   {count:>9} {}", row as f64 / 10.0, "#".repeat(count * 50 / longest));
    }
    println!("  from 7.0 s   {:>9}", count(GONE, u64::MAX));
    let at = |percent: usize| seconds(ages[(ages.len() - 1) * percent / 100]);
    println!(
        "  earliest {}, median {}, 99 % by {}, latest {}",
        seconds(*least),
        at(50),
        at(99),
        seconds(*most)
    );
}

fn main() -> ExitCode {
    const USAGE: &str = "usage: sessions [--quick]   (--quick: fewer sessions, and 16 s instead of 23)";
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (count, busy) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => (1_000_000, 10 * SECOND),
        ["--quick"] => (250_000, 3 * SECOND),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    let faults = Faults::default();
    if let Err(error) = one_session(&faults).and_then(|()| many_sessions(&faults, count, busy)) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let (count, first) = faults.0.into_inner().unwrap();
    if count == 0 {
        println!("\nEach session ended in its window of 5 to 7 s, and no update was lost.");
        return ExitCode::SUCCESS;
    }
    println!("\n{count} faults. The first of them:");
    first.iter().for_each(|fault| println!("  {fault}"));
    ExitCode::FAILURE
}
