//! The timekeeper: the thread that keeps the readers' time, and when it runs.
//!
//! There is at most one for the process. It starts when so many reads come without a kept time that
//! keeping it pays, and parks when reads have become few. It is not the reaper, which runs user
//! code: it runs none, holds no lock, and blocks the signals that are meant for the host. Nothing
//! relies on it (`kept.rs`, K3): if it cannot be started, or the system does not let it run,
//! readers use the clock that they have without it.
//!
//! # Which reader starts and wakes it
//!
//! A reader whose count of reads reaches the limit starts or wakes the timekeeper. It never waits
//! for that: if another reader is doing so, or the process is about to fork, it leaves it to a
//! later one. `rests` says that the thread is parked, or about to be. A reader that resets `rests`
//! has to unpark the thread. The thread parks until `rests` is reset, so no call is lost.

use super::kept::{BUSY, Found, Kept, Trust};
use super::{Deadline, Span, Tick, system};
use crate::process::{fork, without_signals};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::thread::{self, Thread};
use crate::sync::{Mutex, constant, doze, lasting};
use std::fmt;
use std::io;
use std::time::Duration;

/// The time between two writes. The system adds some tenths of a millisecond.
const PERIOD: Duration = Duration::from_micros(1500);
/// The thread parks when the quiet rounds exceed twice the busy ones by this number: after 50 ms
/// without a busy round.
const QUIET: u32 = 32;
/// A round that took longer than this (8 ms) is late. The promise is 10 ms.
const LATE: Span = Span::from_nanos(8_000_000);
/// The thread gives up when four times the late rounds exceed the others by this number: after 16 late
/// rounds in a row, or later if more than every fifth round is late. Such a kept time serves no reader.
const TOO_LATE: u32 = 64;
/// How long no reader tries again to start the thread if it could not be started (a second), or to
/// wake it if it came too late repeatedly (ten seconds).
const UNSTARTED: Span = Span::from_nanos(1_000_000_000);
const STARVED: Span = Span::from_nanos(10_000_000_000);

lasting! {
    static KEEPER: Keeper = Keeper::new();
}

/// Returns whether one look shows that the deadline is ahead.
#[inline]
pub(super) fn shows(deadline: Deadline, trust: &Trust) -> bool {
    KEEPER.kept.shows(deadline, trust)
}

/// Returns the time for a reader whose first look did not show the deadline to be ahead.
#[cold]
#[inline(never)]
pub(super) fn check(trust: &Trust) -> Tick {
    let now = system::recent();
    match KEEPER.kept.check(trust, now) {
        Found::Kept(time) => time,
        Found::Unkept => now,
        Found::Wanted => {
            KEEPER.call(now);
            now
        }
    }
}

/// Makes one round, without a thread.
pub(super) fn keep_once() {
    KEEPER.kept.write(system::now());
}

/// Resets the timekeeper in the child of a fork, which has no such thread.
fn inherit() {
    KEEPER.inherit();
}

pub(crate) struct Keeper {
    kept: Kept,
    /// The thread, once it was started.
    thread: Mutex<Option<Thread>>,
    rests: AtomicBool,
    /// The tick until which no reader starts or wakes the thread.
    shunned_until: AtomicU64,
}

impl Keeper {
    constant! {
        pub(crate) fn new() -> Self {
            Self {
                kept: Kept::new(),
                thread: Mutex::new(None),
                rests: AtomicBool::new(false),
                shunned_until: AtomicU64::new(0),
            }
        }
    }

    fn call(&'static self, now: Tick) {
        if !self.is_shunned(now) {
            // The call is left out while the process forks, so that no lock of this file is held
            // then.
            fork::if_undisturbed(|| {
                fork::come_first(inherit);
                self.call_by(now, || self.start());
            });
        }
    }

    /// Wakes the thread, or starts it.
    pub(crate) fn call_by(&self, now: Tick, start: impl FnOnce() -> io::Result<Thread>) {
        let Some(mut thread) = self.thread.try_lock() else { return };
        match &*thread {
            Some(thread) => self.wake(thread),
            None => match start() {
                Ok(started) => *thread = Some(started),
                Err(_) => self.shun_until(now.after(UNSTARTED)),
            },
        }
    }

    fn wake(&self, thread: &Thread) {
        // ORDERING: Relaxed; the unpark that follows brings it to `rest`, which loads it after
        // being unparked.
        if self.rests.swap(false, Ordering::Relaxed) {
            thread.unpark();
        }
    }

    fn is_shunned(&self, now: Tick) -> bool {
        // ORDERING: Relaxed; a thread that misses a new value calls in vain.
        now.as_nanos() < self.shunned_until.load(Ordering::Relaxed)
    }

    fn shun_until(&self, tick: Tick) {
        // ORDERING: Relaxed; the same reason as in `is_shunned`.
        self.shunned_until.store(tick.as_nanos(), Ordering::Relaxed);
    }

    fn start(&'static self) -> io::Result<Thread> {
        let builder = thread::Builder::new().name("tidewheel-timekeeper".into());
        let handle = without_signals(|| builder.spawn(move || self.run()))?;
        Ok(handle.thread().clone())
    }

    /// Runs the thread. It does not end: parking costs nothing, and no thread waits for it.
    fn run(&self) {
        loop {
            self.keep(system::now, || doze(PERIOD));
            self.rest();
        }
    }

    /// Keeps the time as long as that pays.
    fn keep(&self, clock: impl Fn() -> Tick, sleep: impl Fn()) {
        let (mut pace, mut last) = (Pace::default(), clock());
        self.kept.write(last);
        loop {
            sleep();
            let now = clock();
            self.kept.write(now);
            match pace.round(self.kept.take_checks(), now.since(last)) {
                Next::Round => last = now,
                Next::Rest => break,
                Next::GiveUp => {
                    self.shun_until(now.after(STARVED));
                    break;
                }
            }
        }
        self.kept.leave();
    }

    /// Parks until the thread is called.
    pub(crate) fn rest(&self) {
        // ORDERING: Relaxed; a reader that misses it now calls the next time. The unpark publishes
        // what has to be visible after it.
        self.rests.store(true, Ordering::Relaxed);
        loop {
            thread::park();
            // ORDERING: Relaxed; the same reason.
            if !self.rests.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    fn inherit(&self) {
        self.kept.leave();
        // ORDERING: Relaxed, both; this process has one thread.
        self.rests.store(false, Ordering::Relaxed);
        self.shunned_until.store(0, Ordering::Relaxed);

        // If another thread held this lock, the fork waited for it in vain, and this process does
        // without a timekeeper.
        if let Some(mut thread) = self.thread.try_lock() {
            *thread = None;
        }
    }
}

#[cfg(tidewheel_loom)]
impl Keeper {
    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }

    pub(crate) fn rests(&self) -> bool {
        // ORDERING: Relaxed; the caller loads it until it is true.
        self.rests.load(Ordering::Relaxed)
    }

    /// Checks like `check` at `now`, and calls no thread.
    pub(crate) fn check_by(&self, trust: &Trust, now: Tick) -> Tick {
        match self.kept.check(trust, now) {
            Found::Kept(time) => time,
            Found::Unkept | Found::Wanted => now,
        }
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keeper")
    }
}

/// Counts of recent rounds.
#[derive(Default)]
struct Pace {
    quiet: u32,
    late: u32,
}

/// What follows a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Round,
    /// Keeping the time does not pay any more.
    Rest,
    /// The thread comes too late, repeatedly.
    GiveUp,
}

impl Pace {
    /// Notes a round with this many checks that took this long.
    fn round(&mut self, checks: u32, took: Span) -> Next {
        self.quiet = if checks < BUSY { self.quiet + 1 } else { self.quiet.saturating_sub(2) };
        self.late = if took > LATE { self.late + 4 } else { self.late.saturating_sub(1) };
        match self {
            Self { late: TOO_LATE.., .. } => Next::GiveUp,
            Self { quiet: QUIET.., .. } => Next::Rest,
            _ => Next::Round,
        }
    }
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests;
