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
use crate::steadiness::{Measured, kept_waiting};
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
    let (candidate, deadline) = filled::<C>(entries, true);
    let lag = lag(&candidate, deadline, STAYING);
    std::mem::forget(candidate);
    Measured { figures: vec![lag], waited: 0.0 }
}

/// The same of a candidate that knows one time to live alone, so that nothing can stay.
pub(crate) fn silent_alone<C: Expires>(_: usize, entries: u64) -> Measured {
    let (candidate, deadline) = filled::<C>(entries, false);
    let lag = lag(&candidate, deadline, 0);
    std::mem::forget(candidate);
    Measured { figures: vec![lag], waited: 0.0 }
}

/// The same while one thread reads entries that stay; then the quantiles of its single reads, in
/// nanoseconds with two readings of the clock in each: before the deadline, and from there until
/// everything was gone.
pub(crate) fn read_meanwhile<C: Expires>(_: usize, entries: u64) -> Measured {
    let (candidate, deadline) = filled::<C>(entries, true);
    let stop = AtomicBool::new(false);
    let (lag, read) = thread::scope(|scope| {
        let reader = scope.spawn(|| read(&candidate, entries, deadline, &stop));
        let lag = lag(&candidate, deadline, STAYING);
        stop.store(true, Ordering::Relaxed);
        (lag, reader.join().expect("the reader panicked"))
    });
    std::mem::forget(candidate);
    let mut figures = vec![lag];
    figures.extend(quantiles::figures(&read.before));
    figures.extend(quantiles::figures(&read.meanwhile));
    Measured { figures, waited: read.waited }
}

/// A candidate with the keys `0..entries`, which will expire, and behind them those that stay; and the
/// deadline, which is far enough away.
fn filled<C: Expires>(entries: u64, staying: bool) -> (C, Instant) {
    let began = Instant::now();
    let trial = C::until(began + Duration::from_secs(3600), STAYING);
    trial.insert_all(0..STAYING, Mortal::staying);
    trial.settle();
    // Growing costs more the larger it gets; that much more is on the safe side.
    let filling = began.elapsed() * (entries / STAYING) as u32 * 2;
    drop(trial);

    let deadline = Instant::now() + filling + WARM_UP + BEFORE;
    let candidate = C::until(deadline, entries + STAYING);
    if staying {
        candidate.insert_all(entries..entries + STAYING, Mortal::staying);
    }
    candidate.insert_all(0..entries, Mortal::expiring);
    candidate.settle();
    let left = deadline.saturating_duration_since(Instant::now());
    assert!(left > WARM_UP, "{} was not filled in time", C::NAME);
    assert_eq!(Mortal::alive(), entries, "{} lost or duplicated something", C::NAME);
    (candidate, deadline)
}

/// Waits for the deadline and what comes after it; infinite if it did not come in time.
fn lag(candidate: &impl Expires, deadline: Instant, staying: u64) -> f64 {
    thread::sleep(deadline.saturating_duration_since(Instant::now()));
    let mut left_behind = false;
    loop {
        let now = Instant::now();
        if let Some(last_death) = Mortal::extinct_since() {
            if candidate.count() <= staying {
                let gone = if left_behind { now } else { last_death };
                return gone.saturating_duration_since(deadline).as_secs_f64();
            }
            // The values are gone and their entries are not.
            left_behind = true;
        }
        if now > deadline + PATIENCE {
            return GIVEN_UP;
        }
        thread::sleep(LOOK);
    }
}

struct Read {
    before: Histogram,
    meanwhile: Histogram,
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
