//! Sessions leaving on time, measured: `cargo run --release --example sessions` (`-- --quick` for the
//! short form).
//!
//! First the story of one session. Then many sessions under two busy threads, then silence; at the end
//! the age of every session at the moment its data was destroyed. The program fails if one left outside
//! the window of 5 to 7 seconds after its last write, or if one update was lost.
//!
//! How the measuring works: a session's data notes the moment in its own destructor. Copies destroy
//! themselves too, so a clone is marked as a copy and stays silent, until `modify` is about to store it.
//! Each write gives the data the next version, and after each write that succeeded the writer notes how
//! many there have been. The instance that left with its session is the one whose version is that
//! number. The machine may stop any thread anywhere, so each call is judged by the time before and after
//! it, and only by what is certain.

#![allow(clippy::disallowed_methods)] // the clock is read here to judge the crate by it

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};
use tidewheel::{SessionError, SessionId, SessionManager};

const USAGE: &str = "usage: sessions [--quick]";

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLI;
/// A session is readable until this long after its last write,
const IDLE: u64 = 5 * SECOND;
/// refused from then on, this much late at most,
const LATE: u64 = 10 * MILLI;
/// and out of memory before this.
const GONE: u64 = 7 * SECOND;

/// Nanoseconds since the program began.
fn now() -> u64 {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    ORIGIN.elapsed().as_nanos() as u64
}

fn sleep(nanos: u64) {
    std::thread::sleep(Duration::from_nanos(nanos));
}

// ---- what is measured ----

/// What is known of one session, outside the session manager.
#[derive(Default)]
struct Track {
    /// Writes that succeeded: the version that the session must have.
    writes: AtomicU32,
    /// When the last of them began, and when it had returned.
    began: AtomicU64,
    returned: AtomicU64,
    /// Version and moment of the last destruction, of even versions and of odd ones. Apart, because a
    /// write that fails destroys its data too: always the version after the last that succeeded.
    destroyed: [AtomicU64; 2],
}

impl Track {
    /// Bits for the moment in `destroyed`: nanoseconds of almost five hours.
    const MOMENT: u32 = 44;

    fn wrote(&self, began: u64) {
        self.began.fetch_max(began, Ordering::Relaxed);
        self.returned.fetch_max(now(), Ordering::Relaxed);
        self.writes.fetch_add(1, Ordering::Release);
    }

    fn note_destruction(&self, version: u32) {
        let note = u64::from(version) << Self::MOMENT | now();
        self.destroyed[version as usize % 2].fetch_max(note, Ordering::Relaxed);
    }

    /// When the session's data was destroyed, or the version that was destroyed instead.
    fn left(&self) -> Result<u64, u32> {
        let writes = self.writes.load(Ordering::Acquire);
        let note = self.destroyed[writes as usize % 2].load(Ordering::Relaxed);
        let version = (note >> Self::MOMENT) as u32;
        if version == writes && writes > 0 { Ok(note & ((1 << Self::MOMENT) - 1)) } else { Err(version) }
    }
}

/// A session's data.
struct Visit {
    user: Option<&'static str>,
    website: String,
    version: u32,
    /// Made by cloning, and not (yet) on its way into the session manager.
    copy: bool,
    track: &'static Track,
}

impl Visit {
    fn new(website: &str, version: u32, track: &'static Track) -> Self {
        Self { user: None, website: website.to_owned(), version, copy: false, track }
    }

    /// Turns a copy into the session's next version.
    fn become_next(&mut self) {
        self.version += 1;
        self.copy = false;
    }
}

impl Clone for Visit {
    fn clone(&self) -> Self {
        Self { website: self.website.clone(), copy: true, ..*self }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if !self.copy {
            self.track.note_destruction(self.version);
        }
    }
}

/// Everything that went wrong: how often, and the first few in words.
#[derive(Default)]
struct Faults {
    count: AtomicUsize,
    first: Mutex<Vec<String>>,
}

impl Faults {
    fn add(&self, fault: String) {
        if self.count.fetch_add(1, Ordering::Relaxed) < 10 {
            self.first.lock().unwrap().push(fault);
        }
    }
}

type Sessions = SessionManager<Visit>;

/// Calls on the sessions, each judged when it returns.
struct Judge<'a> {
    sessions: &'a Sessions,
    faults: &'a Faults,
}

impl Judge<'_> {
    fn create(&self, track: &'static Track) -> SessionId {
        let visit = Visit::new("https://example.org/", 1, track);
        let began = now();
        let id = self.sessions.create(visit).expect("no limit is set, and the machine has randomness");
        track.wrote(began);
        id
    }

    /// Overwrites. For a session that only this thread writes: its next version is known.
    fn update(&self, id: &SessionId, track: &'static Track) -> bool {
        let version = track.writes.load(Ordering::Relaxed) + 1;
        let visit = Visit::new("https://example.org/basket", version, track);
        let began = now();
        self.wrote(track, began, self.sessions.replace(id, visit))
    }

    /// Changes, whoever else does.
    fn modify(&self, id: &SessionId, website: &str, track: &Track) -> bool {
        let mut began = 0;
        let answer = self.sessions.modify(id, |visit| {
            began = now();
            website.clone_into(&mut visit.website);
            visit.become_next();
        });
        self.wrote(track, began, answer)
    }

    /// Logs somebody in: the user and a new id, in one step. The old id is worthless from then on, and never had the user.
    fn log_in(&self, id: &SessionId, user: &'static str, track: &Track) -> Option<SessionId> {
        let mut began = 0;
        let answer = self.sessions.rotate_with(id, |visit| {
            began = now();
            visit.user = Some(user);
            visit.become_next();
        });
        let new = answer.as_ref().map(|&(new, ())| new).ok();
        self.wrote(track, began, answer.map(|_| ()));
        new
    }

    fn wrote(&self, track: &Track, began: u64, answer: Result<(), SessionError>) -> bool {
        match answer {
            Ok(()) => track.wrote(began),
            Err(_) => self.refused(track, "a write"),
        }
        answer.is_ok()
    }

    /// Reads, not before `time`. Every other read clones.
    fn read(&self, id: &SessionId, track: &Track, time: u64, clone: bool) -> bool {
        let writes = track.writes.load(Ordering::Acquire);
        let returned = track.returned.load(Ordering::Relaxed);
        let answer = match clone {
            true => self.sessions.get(id).map(|visit| visit.version),
            false => self.sessions.read(id, |visit| visit.version),
        };
        match answer {
            Ok(version) if version < writes => {
                self.faults.add(format!("lost update: version {version} after {writes} writes"));
            }
            Ok(version) if version == writes && time >= returned + IDLE + LATE => {
                self.faults.add(format!("readable {} after its last write", seconds(time - returned)));
            }
            Ok(_) => {}
            Err(_) => self.refused(track, "a read"),
        }
        answer.is_ok()
    }

    /// Right only if the idle time was over when the call returned. (It is over for good: no later
    /// write can have succeeded.)
    fn refused(&self, track: &Track, call: &str) {
        let (time, began) = (now(), track.began.load(Ordering::Relaxed));
        if time < began + IDLE {
            self.faults.add(format!("{call} refused {} after the last write", seconds(time - began)));
        }
    }
}

// ---- the story of one session ----

const SILENCE: &str = "silence ...";

fn story(faults: &Faults, lines: mpsc::Sender<String>) {
    let say = |age: u64, text: String| lines.send(format!("  {}  {text}", seconds(age))).unwrap();
    let sessions = Sessions::new();
    let judge = Judge { sessions: &sessions, faults };
    let track: &Track = Box::leak(Box::default());
    lines.send("One session (its age counts from its last write):".into()).unwrap();

    let id = judge.create(track);
    let age = || now() - track.began.load(Ordering::Relaxed);
    say(age(), "created".into());
    sleep(200 * MILLI);
    say(age(), "still there".into());
    assert!(judge.modify(&id, "https://www.rust-lang.org/", track), "{:?}", faults.first);
    say(age(), "updated: `website` set".into());
    let website = sessions.get(&id).map(|visit| visit.website.clone()).unwrap_or_default();
    say(age(), format!("read back: website = {website}"));
    if website != "https://www.rust-lang.org/" {
        faults.add("the update cannot be read back".into());
    }
    let planted = id;
    let id = judge.log_in(&planted, "Ada", track).expect("it was written a moment ago");
    let user = sessions.get(&id).ok().and_then(|visit| visit.user).unwrap_or("nobody");
    say(age(), format!("logged in: user = {user}, under a new id"));
    match sessions.get(&planted) {
        Err(error) => say(age(), format!("the old id: {error}")),
        Ok(visit) => faults.add(format!("the old id has {:?}", visit.user)),
    }
    say(age(), SILENCE.into());
    sleep((IDLE - 20 * MILLI).saturating_sub(age()));
    let mut readable = age();
    while judge.read(&id, track, now(), false) && age() < GONE {
        readable = age();
        sleep(MILLI / 4);
    }
    say(readable, "still readable".into());
    say(age(), format!("refused: {}", sessions.read(&id, |_| ()).unwrap_err()));
    while track.left().is_err() && age() < GONE {
        sleep(MILLI);
    }
    if let Some(age) = leaving_age(track, faults, "the story's session") {
        say(age, "gone from memory: its destructor has run".into());
    }
}

/// The age at which a session's data was destroyed; a fault if that is outside the window.
fn leaving_age(track: &Track, faults: &Faults, who: &str) -> Option<u64> {
    let (began, returned) = (track.began.load(Ordering::Relaxed), track.returned.load(Ordering::Relaxed));
    match track.left() {
        Err(version) => {
            let writes = track.writes.load(Ordering::Relaxed);
            faults.add(format!("{who}: {writes} writes succeeded, version {version} left memory"));
            None
        }
        Ok(left) => {
            let age = left.saturating_sub(began);
            if age < IDLE || left.saturating_sub(returned) >= GONE {
                faults.add(format!("{who} left memory {} after its last write", seconds(age)));
            }
            Some(age)
        }
    }
}

// ---- many sessions ----

struct Plan {
    sessions: usize,
    storm: u64,
}

/// Sessions that both threads write; each of the others has one writer.
const HOT: usize = 64;

/// Calls made: creates, reads, writes, and those of them that were refused.
#[derive(Default, Clone, Copy)]
struct Calls {
    creates: u64,
    reads: u64,
    writes: u64,
    refused: u64,
}

struct Crowd {
    plan: Plan,
    ids: Vec<OnceLock<SessionId>>,
    tracks: &'static [Track],
}

impl Crowd {
    fn new(plan: Plan) -> Self {
        let tracks: Vec<Track> = (0..plan.sessions).map(|_| Track::default()).collect();
        let ids = (0..plan.sessions).map(|_| OnceLock::new()).collect();
        Self { ids, tracks: tracks.leak(), plan }
    }

    /// One of the two busy threads; sessions with an index of its parity are its own.
    fn storm(&self, judge: &Judge<'_>, parity: usize, end: u64) -> Calls {
        let mut calls = Calls::default();
        let mut random = 0x9E37_79B9_7F4A_7C15 ^ parity as u64;
        let mut pick = |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 32) as usize % below
        };
        let start = now();
        let mut own = 0; // sessions of this thread, so far
        let mut step = 0;
        loop {
            let time = now();
            if time >= end {
                return calls;
            }
            step += 1;
            // All sessions are made in the first two fifths of the time.
            let progress = (time - start) as f64 / (end - start) as f64;
            let due = self.plan.sessions as f64 / 2.0 * (progress * 2.5).min(1.0);
            while own < due as usize {
                let index = 2 * own + parity;
                let id = judge.create(&self.tracks[index]);
                self.ids[index].set(id).expect("each index has one creator");
                own += 1;
                calls.creates += 1;
            }
            for write in 0..2 {
                let hot = own == 0 || pick(8) == 0;
                let index = if hot { pick(HOT) } else { 2 * pick(own) + parity };
                if let Some(id) = self.ids[index].get() {
                    let track = &self.tracks[index];
                    let alive = match index < HOT || write == 1 {
                        true => judge.modify(id, "https://example.org/till", track),
                        false => judge.update(id, track),
                    };
                    calls.writes += 1;
                    calls.refused += u64::from(!alive);
                }
            }
            for read in 0..6 {
                let index = pick(2 * own.max(HOT));
                if let Some(id) = self.ids[index].get() {
                    let alive = judge.read(id, &self.tracks[index], time, (read + step) % 2 == 0);
                    calls.reads += 1;
                    calls.refused += u64::from(!alive);
                }
            }
        }
    }

    fn left(&self) -> usize {
        self.tracks.iter().filter(|track| track.left().is_ok()).count()
    }
}

// ---- the terminal ----

/// Prints lines, and below them a bar where there is a terminal.
struct Screen {
    terminal: bool,
    lines: mpsc::Receiver<String>,
    next_plain: u64,
    /// The most memory seen, in kB.
    peak: u64,
}

impl Screen {
    fn line(&self, text: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        println!("{clear}{text}");
    }

    /// Shows progress until `end`, and what the story has to say.
    fn wait(&mut self, what: &str, end: u64, status: impl Fn() -> String) {
        let start = now();
        loop {
            while let Ok(line) = self.lines.try_recv() {
                self.line(&line);
            }
            self.peak = self.peak.max(memory().unwrap_or(0));
            let time = now().min(end);
            let done = (time - start) as f64 / (end - start).max(1) as f64;
            if self.terminal {
                let filled = (done * 30.0) as usize;
                let bar = format!("{}{}", "#".repeat(filled), ".".repeat(30 - filled));
                print!("\r\x1b[K{what} [{bar}] {}", status());
                let _ = std::io::stdout().flush();
            } else if time >= self.next_plain || time == end {
                self.line(&format!("{what} {:3.0} %  {}", done * 100.0, status()));
                self.next_plain = time + 2 * SECOND;
            }
            if time == end {
                break;
            }
            sleep((end - time).min(100 * MILLI));
        }
        if self.terminal {
            self.line(&format!("{what} done: {}", status()));
        }
    }
}

/// Resident memory in kB, where the system tells.
fn memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?.parse().ok()
}

fn mebibytes(kilobytes: Option<u64>) -> String {
    kilobytes.map_or("unknown".into(), |kilobytes| format!("{} MiB", kilobytes / 1024))
}

fn seconds(nanos: u64) -> String {
    format!("{:.4} s", nanos as f64 / SECOND as f64)
}

fn millions(count: u64, nanos: u64) -> String {
    format!("{:.2} million/s", count as f64 * 1e3 / nanos as f64)
}

/// The ages of all sessions when they left, drawn against the window.
fn histogram(ages: &mut [u64]) {
    const TENTH: u64 = SECOND / 10;
    ages.sort_unstable();
    let (Some(min), Some(max)) = (ages.first(), ages.last()) else { return };
    let count =
        |from: u64, to: u64| ages.partition_point(|age| *age < to) - ages.partition_point(|age| *age < from);
    let rows: Vec<_> = (50..70).map(|row| (row, count(row * TENTH, (row + 1) * TENTH))).collect();
    let widest = rows.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    println!("\nAge of the data when its destructor ran, since the session's last write:");
    println!("  before 5.0 s {:>9}", count(0, IDLE));
    for (row, count) in rows {
        println!("  from {:3.1} s   {count:>9} {}", row as f64 / 10.0, "#".repeat(count * 50 / widest));
    }
    println!("  from 7.0 s   {:>9}", count(GONE, u64::MAX));
    let at = |part: usize| seconds(ages[(ages.len() - 1) * part / 100]);
    let (min, max) = (seconds(*min), seconds(*max));
    println!("  min {min}, median {}, p99 {}, max {max}; the window is 5 to 7 s", at(50), at(99));
}

// ---- all of it ----

fn run(quick: bool) -> ExitCode {
    let plan = match quick {
        true => Plan { sessions: 250_000, storm: 3 * SECOND },
        false => Plan { sessions: 1_000_000, storm: 10 * SECOND },
    };
    let faults = Faults::default();
    let (say, lines) = mpsc::channel();
    let terminal = std::io::stdout().is_terminal();
    let mut screen = Screen { terminal, lines, next_plain: 0, peak: 0 };
    let crowd = Crowd::new(plan);

    let (calls, stormed, before) = std::thread::scope(|scope| {
        scope.spawn(|| story(&faults, say));
        for line in &screen.lines {
            println!("{line}");
            // In the short form the rest of the story goes on beside the crowd.
            if quick && line.ends_with(SILENCE) {
                break;
            }
        }
        let before = memory();
        screen.line(&format!("\n{} sessions, two threads:", crowd.plan.sessions));
        let sessions = Sessions::new();
        let start = now();
        let end = start + crowd.plan.storm;
        let busy = [0, 1].map(|parity| {
            let (crowd, faults, sessions) = (&crowd, &faults, sessions.clone());
            scope.spawn(move || crowd.storm(&Judge { sessions: &sessions, faults }, parity, end))
        });
        screen.wait("busy   ", end, || format!("{:.1} s", (now().min(end) - start) as f64 / 1e9));
        let calls = busy.map(|thread| thread.join().expect("the busy threads do not panic"));
        let stormed = now() - start;
        // From here on nobody calls the manager: the count comes from the destructors.
        screen.wait("silence", now() + GONE, || format!("{} sessions have left memory", crowd.left()));
        if !sessions.is_empty() {
            faults.add(format!("{} sessions still counted in memory", sessions.len()));
        }
        (calls, stormed, before)
    });

    let after = memory();
    let mut ages: Vec<u64> = (0..)
        .zip(crowd.tracks)
        .filter_map(|(index, track)| leaving_age(track, &faults, &format!("session {index}")))
        .collect();
    histogram(&mut ages);
    report(&calls, stormed);
    let peak = Some(screen.peak).filter(|peak| *peak > 0);
    let (before, peak, after) = (mebibytes(before), mebibytes(peak), mebibytes(after));
    println!("Memory: {before} before (the notes of this program), {peak} at the peak, {after} after");
    verdict(&faults, ages.len())
}

fn report(calls: &[Calls; 2], nanos: u64) {
    let sum = |count: fn(&Calls) -> u64| calls.iter().map(count).sum::<u64>();
    let (creates, reads, writes) = (sum(|c| c.creates), sum(|c| c.reads), sum(|c| c.writes));
    println!(
        "\nCalls: {} ({creates} creates, {reads} reads, {writes} updates; {} came after the session's end)",
        millions(creates + reads + writes, nanos),
        sum(|c| c.refused),
    );
}

fn verdict(faults: &Faults, left: usize) -> ExitCode {
    let count = faults.count.load(Ordering::Relaxed);
    if count == 0 {
        println!("All {left} sessions left in their window, and no update was lost.");
        return ExitCode::SUCCESS;
    }
    println!("{count} faults. The first of them:");
    for fault in faults.first.lock().unwrap().iter() {
        println!("  {fault}");
    }
    ExitCode::FAILURE
}

fn main() -> ExitCode {
    let mut quick = false;
    for argument in std::env::args_os().skip(1) {
        match argument.to_str() {
            Some("--quick") => quick = true,
            Some("--help" | "-h") => {
                println!(
                    "{USAGE}\n\n  --quick   fewer sessions and a shorter run (under 12 s instead of 30)"
                );
                return ExitCode::SUCCESS;
            }
            _ => {
                eprintln!("unknown argument {argument:?}; only --quick is allowed\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    run(quick)
}
