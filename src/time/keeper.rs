//! The timekeeper: the thread that keeps the readers' time, and when it does.
//!
//! There is one for the process, and none in most: it starts when so many reads come without a kept time that it would pay, and parks
//! when they have become few. It is not the reaper, which runs user code; it runs none, holds no lock, and blocks the
//! signals that are the host's. Whether it runs, nobody relies on (`kept.rs`, K3): if it cannot be started, or the system does not let it
//! run, readers take the clock that they have without it.
//!
//! # Who starts and wakes it
//!
//! A reader that counts one read too many, and that never waits for it: where another is about to, or the process is about to fork, it
//! leaves it to the next. `rests` says that the thread is parked, or about to be; whoever takes it back owes the thread a
//! call. The thread parks until it is taken back, so that no call is lost.

use super::kept::{BUSY, Found, Kept, Trust};
use super::{Deadline, Span, Tick, system};
use crate::process::{fork, without_signals};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::thread::{self, Thread};
use crate::sync::{Mutex, constant, doze, lasting};
use std::fmt;
use std::io;
use std::time::Duration;

/// Between two writes. The system adds some tenths of a millisecond.
const PERIOD: Duration = Duration::from_micros(1500);
/// How many quiet rounds more than twice the busy ones there are before it parks: 50 ms without a busy one.
const QUIET: u32 = 32;
/// A round that took longer than this (8 ms) is late: the promise is 10.
const LATE: Span = Span::from_nanos(8_000_000);
/// Where every fifth round is late, and so many have been, nobody is served.
const TOO_LATE: u32 = 64;
/// How long nobody tries again to start it where it could not be started (a second), or to wake it where it came too late time and again (ten).
const UNSTARTED: Span = Span::from_nanos(1_000_000_000);
const STARVED: Span = Span::from_nanos(10_000_000_000);

lasting! {
    static KEEPER: Keeper = Keeper::new();
}

/// Whether a look tells that the deadline is ahead.
#[inline]
pub(super) fn shows(deadline: Deadline, trust: &Trust) -> bool {
    KEEPER.kept.shows(deadline, trust)
}

/// The time for a reader to whom a look has shown nothing.
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

/// One round, without a thread.
pub(super) fn keep_once() {
    KEEPER.kept.write(system::now());
}

/// In a fork's child, which has no timekeeper.
pub(crate) fn inherit() {
    KEEPER.inherit();
}

pub(crate) struct Keeper {
    kept: Kept,
    /// The thread, once it was started.
    thread: Mutex<Option<Thread>>,
    rests: AtomicBool,
    /// Until then nobody calls it.
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
            // Not while the process forks: so no lock of this file is held then.
            fork::if_undisturbed(|| self.call_by(now, || self.start()));
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
        // ORDERING: Relaxed; the call that follows brings it to `rest`, which looks after it was called.
        if self.rests.swap(false, Ordering::Relaxed) {
            thread.unpark();
        }
    }

    fn is_shunned(&self, now: Tick) -> bool {
        // ORDERING: Relaxed; who misses a new one calls in vain.
        now.as_nanos() < self.shunned_until.load(Ordering::Relaxed)
    }

    fn shun_until(&self, tick: Tick) {
        // ORDERING: Relaxed; as in `is_shunned`.
        self.shunned_until.store(tick.as_nanos(), Ordering::Relaxed);
    }

    fn start(&'static self) -> io::Result<Thread> {
        let builder = thread::Builder::new().name("tidewheel-timekeeper".into());
        let handle = without_signals(|| builder.spawn(move || self.run()))?;
        Ok(handle.thread().clone())
    }

    /// The thread. It does not end: to park costs nothing, and who wakes it waits for nothing.
    fn run(&self) {
        loop {
            self.keep(system::now, || doze(PERIOD));
            self.rest();
        }
    }

    /// Keeps the time, as long as that pays.
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

    /// Parks until it is called.
    pub(crate) fn rest(&self) {
        // ORDERING: Relaxed; who misses it for now calls the next time. What is to be seen after a call, the call brings.
        self.rests.store(true, Ordering::Relaxed);
        loop {
            thread::park();
            // ORDERING: Relaxed; as above.
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

        // Where somebody had it, since the fork waited in vain for him, this process does without a timekeeper.
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
        // ORDERING: Relaxed; it is looked at until it is there.
        self.rests.load(Ordering::Relaxed)
    }

    /// As `check`, where it is `now`, and nobody is to be called.
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

/// How the rounds go.
#[derive(Default)]
struct Pace {
    quiet: u32,
    late: u32,
}

/// What follows a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Round,
    /// It does not pay any more.
    Rest,
    /// It comes too late, time and again.
    GiveUp,
}

impl Pace {
    /// After a round with so many checks, which took so long.
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
