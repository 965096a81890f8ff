//! Mass expiry: many entries of one deadline, and how long after it the last of them is out of the map
//! and its value dropped; in silence, or while somebody reads entries that stay. Runs in a child process
//! of its own, as what is in `growth.rs`.
//!
//! Nobody calls the candidate but the one reader, if there is one.

use crate::candidates::{Expires, Mortal};
use crate::histogram::Histogram;
use crate::keys::{Keys, Uniform};
use crate::quantiles;
use crate::samples::GIVEN_UP;
use crate::steadiness::{Measured, all_kept_waiting, kept_waiting};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Entries that stay, for the reader.
const STAYING: u64 = 100_000;

/// How long a candidate has before it is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);

/// How long the reader reads before the deadline, at most.
const BEFORE: Duration = Duration::from_secs(3);

/// What the reader's first look at everything takes, which is no figure.
const WARM_UP: Duration = Duration::from_millis(300);

/// Rarely enough that it disturbs nobody: when the last value died, it noted by itself.
const LOOK: Duration = Duration::from_millis(20);

/// Seconds from the deadline until everything was gone.
pub(crate) fn silent<C: Expires>(_: usize, entries: u64) -> Measured {
    let (candidate, deadline) = filled::<C>(entries, STAYING);
    let (lag, waited) = lag(&candidate, deadline, STAYING);
    std::mem::forget(candidate);
    Measured { figures: vec![lag], waited }
}

/// The same of a candidate that knows one time to live alone, so that nothing can stay.
pub(crate) fn silent_alone<C: Expires>(_: usize, entries: u64) -> Measured {
    let (candidate, deadline) = filled::<C>(entries, 0);
    let (lag, waited) = lag(&candidate, deadline, 0);
    std::mem::forget(candidate);
    Measured { figures: vec![lag], waited }
}

/// The same while one thread reads entries that stay; then the quantiles of its single reads, in
/// nanoseconds with two readings of the clock in each: before the deadline, and from there until
/// everything was gone.
pub(crate) fn read_meanwhile<C: Expires>(_: usize, entries: u64) -> Measured {
    let (candidate, deadline) = filled::<C>(entries, STAYING);
    let stop = AtomicBool::new(false);
    let (lag, waited, read) = thread::scope(|scope| {
        let reader = scope.spawn(|| read(&candidate, entries, deadline, &stop));
        let (lag, waited) = lag(&candidate, deadline, STAYING);
        stop.store(true, Ordering::Relaxed);
        let read = reader.join().expect("the reader panicked");
        (lag, waited, read)
    });
    std::mem::forget(candidate);
    let mut figures = vec![lag];
    figures.extend(quantiles::figures(&read.before));
    figures.extend(quantiles::figures(&read.meanwhile));
    Measured { figures, waited: waited.max(read.waited) }
}

/// A candidate with the keys `0..entries`, which will expire, and behind them those that stay; and the
/// deadline, which is far enough away that it is full before.
fn filled<C: Expires>(entries: u64, staying: u64) -> (C, Instant) {
    let began = Instant::now();
    let trial = C::until(began + Duration::from_secs(3600), entries);
    trial.insert_all(0..entries / 4, Mortal::staying);
    trial.settle();
    let mut filling = began.elapsed() * 6;
    drop(trial);
    loop {
        let deadline = Instant::now() + filling + WARM_UP + BEFORE;
        let candidate = C::until(deadline, entries + staying);
        candidate.insert_all(entries..entries + staying, Mortal::staying);
        candidate.insert_all(0..entries, Mortal::expiring);
        candidate.settle();
        if Instant::now() + WARM_UP + BEFORE / 2 < deadline {
            assert_eq!(Mortal::alive(), entries, "{} lost or duplicated something", C::NAME);
            return (candidate, deadline);
        }
        // The machine was busy, or growing costs more the larger it gets.
        eprintln!("{} was not filled in time, and gets twice of it", C::NAME);
        filling *= 2;
        drop(candidate);
        while Mortal::alive() > 0 {
            thread::sleep(LOOK);
        }
    }
}

/// Waits for the deadline and what comes after it: seconds, infinite if it did not come in time, and
/// the share of them that all threads together had to wait for a core.
fn lag(candidate: &impl Expires, deadline: Instant, staying: u64) -> (f64, f64) {
    thread::sleep(deadline.saturating_duration_since(Instant::now()));
    let waited = all_kept_waiting();
    let gone = wait(candidate, deadline, staying);
    let waited = (all_kept_waiting() - waited).as_secs_f64() / deadline.elapsed().as_secs_f64();
    (gone.map_or(GIVEN_UP, |gone| gone.saturating_duration_since(deadline).as_secs_f64()), waited)
}

/// When everything was gone.
fn wait(candidate: &impl Expires, deadline: Instant, staying: u64) -> Option<Instant> {
    let mut left_behind = false;
    while deadline.elapsed() < PATIENCE {
        if let Some(last_death) = Mortal::extinct_since() {
            if candidate.count() <= staying {
                return Some(if left_behind { Instant::now() } else { last_death });
            }
            // The values are gone and their entries are not.
            left_behind = true;
        }
        thread::sleep(LOOK);
    }
    eprintln!("given up with {} values alive, {} entries", Mortal::alive(), candidate.count());
    None
}

struct Read {
    before: Histogram,
    meanwhile: Histogram,
    /// The share of the reader's time in which it had no core.
    waited: f64,
}

fn read(candidate: &impl Expires, first: u64, deadline: Instant, stop: &AtomicBool) -> Read {
    let mut next = Uniform(STAYING).seeded(0, 0);
    let warm = Instant::now() + WARM_UP;
    while Instant::now() < warm {
        assert!(candidate.get(first + next()), "an entry that stays has gone");
    }
    thread::sleep((deadline - BEFORE).saturating_duration_since(Instant::now()));
    let (began, waited) = (Instant::now(), kept_waiting());
    let (mut before, mut meanwhile) = (Histogram::new(), Histogram::new());
    while !stop.load(Ordering::Relaxed) {
        let key = first + next();
        let start = Instant::now();
        let found = candidate.get(key);
        let end = Instant::now();
        assert!(found, "an entry that stays has gone");
        let now = if end < deadline { &mut before } else { &mut meanwhile };
        now.add((end - start).as_nanos() as u64);
    }
    let waited = (kept_waiting() - waited).as_secs_f64() / began.elapsed().as_secs_f64();
    Read { before, meanwhile, waited }
}
