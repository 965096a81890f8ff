//! The primitives of concurrency, from `std` and crossbeam, from loom, or from shuttle.
//!
//! The only file that names any of them: the rest of the crate takes its atomics, locks, threads, statics
//! and epochs from here, so that the loom models run the crate's real source. It never knows what is
//! built out of them.
//!
//! A private cfg chooses (it is set by the build scripts in `loom-tests/` alone): `tidewheel_loom` takes loom's primitives,
//! `tidewheel_shuttle` takes shuttle's.

/// What std has and shuttle does not watch.
#[cfg(not(tidewheel_loom))]
mod unwatched {
    pub(crate) use crossbeam_epoch as epoch;
    pub(crate) use std::sync::atomic;

    /// `lazy_static! { static ref NAME: T = init; }` in both worlds.
    macro_rules! lazy_static {
        ($(#[$attr:meta])* static ref $name:ident: $ty:ty = $init:expr;) => {
            $(#[$attr])*
            static $name: std::sync::LazyLock<$ty> = std::sync::LazyLock::new(|| $init);
        };
    }
    pub(crate) use lazy_static;

    /// A static that is there from the start; made anew for each run of a model under loom. (Shuttle's mutexes are made by no
    /// `const fn`.)
    #[cfg(not(tidewheel_shuttle))]
    macro_rules! lasting {
        ($(#[$attr:meta])* static $name:ident: $ty:ty = $init:expr;) => {
            $(#[$attr])*
            static $name: $ty = $init;
        };
    }
    #[cfg(tidewheel_shuttle)]
    macro_rules! lasting {
        ($(#[$attr:meta])* static $name:ident: $ty:ty = $init:expr;) => {
            $(#[$attr])*
            static $name: std::sync::LazyLock<$ty> = std::sync::LazyLock::new(|| $init);
        };
    }
    pub(crate) use lasting;

    /// A function that makes what a static begins with: `const`, where there are such statics.
    #[cfg(not(tidewheel_shuttle))]
    macro_rules! constant {
        ($(#[$attr:meta])* $vis:vis fn $($rest:tt)*) => { $(#[$attr])* $vis const fn $($rest)* };
    }
    #[cfg(tidewheel_shuttle)]
    macro_rules! constant {
        ($(#[$attr:meta])* $vis:vis fn $($rest:tt)*) => { $(#[$attr])* $vis fn $($rest)* };
    }
    pub(crate) use constant;

    /// What under loom tells a read of something freed from a read of something live. Here: nothing.
    #[derive(Debug)]
    pub(crate) struct Canary;

    impl Canary {
        #[inline]
        pub(crate) fn new() -> Self {
            Self
        }

        #[inline]
        pub(crate) fn look(&self) {}

        #[inline]
        pub(crate) fn kill(&self) {}
    }

    /// What under loom makes the end of each handle visible to the last one's. `std`'s `Arc` does that
    /// by itself, unseen by loom. Here: nothing.
    #[derive(Debug)]
    pub(crate) struct Edge;

    impl Edge {
        pub(crate) fn new() -> Self {
            Self
        }

        #[inline]
        pub(crate) fn release(&self) {}

        #[inline]
        pub(crate) fn last(&self) {}
    }
}

#[cfg(not(any(tidewheel_loom, tidewheel_shuttle)))]
mod imp {
    pub(crate) use super::unwatched::*;
    pub(crate) use std::sync::Condvar;
    pub(crate) use std::thread;
    pub(crate) use std::thread_local;

    pub(crate) type RawMutex<T> = std::sync::Mutex<T>;
    pub(crate) type MutexGuard<'a, T> = std::sync::MutexGuard<'a, T>;

    /// A memory barrier in two halves: a light one for the many, which costs nothing, and a heavy one for
    /// the few, with which the kernel has every thread of the process pass a full barrier. Where one
    /// thread has the light half and another the heavy one, it is as if both had a SeqCst fence; between
    /// two light halves there is nothing.
    #[cfg(all(target_os = "linux", not(miri)))]
    pub(crate) mod barrier {
        use rustix::thread::{MembarrierCommand, membarrier, membarrier_query};
        use std::sync::atomic::{AtomicU8, Ordering, compiler_fence};

        const UNKNOWN: u8 = 0;
        const NO: u8 = 1;
        const YES: u8 = 2;

        /// Whether the kernel offers it. Registers the process for it.
        pub(crate) fn is_available() -> bool {
            // Not a `OnceLock`: in a fork's child nobody would ever come back to one that was being made.
            static ANSWER: AtomicU8 = AtomicU8::new(UNKNOWN);
            // ORDERING: Relaxed; a number that says it all.
            let answer = ANSWER.load(Ordering::Relaxed);
            if answer != UNKNOWN {
                return answer == YES;
            }
            let yes = membarrier_query().contains_command(MembarrierCommand::PrivateExpedited)
                && register()
                && heavy();
            // All that ask at the same time go by the first answer.
            let mine = if yes { YES } else { NO };
            // ORDERING: Relaxed, both; as above.
            match ANSWER.compare_exchange(UNKNOWN, mine, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => yes,
                Err(first) => first == YES,
            }
        }

        fn register() -> bool {
            membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
        }

        #[inline]
        pub(crate) fn light() {
            // ORDERING: a fence for the compiler; pairs with `heavy`, which is one for the processor too.
            compiler_fence(Ordering::SeqCst);
        }

        /// False if the kernel refused: then it was no barrier. (It registers again, should the process
        /// have lost its registration in a fork.)
        #[must_use]
        pub(crate) fn heavy() -> bool {
            let barrier = || membarrier(MembarrierCommand::PrivateExpedited).is_ok();
            barrier() || (register() && barrier())
        }
    }

    /// Miri does not know the system call: both halves are fences there, which is what the two amount to together.
    #[cfg(miri)]
    pub(crate) mod barrier {
        use std::sync::atomic::{Ordering, fence};

        pub(crate) fn is_available() -> bool {
            true
        }

        pub(crate) fn light() {
            // ORDERING: SeqCst fence; pairs with that of `heavy`.
            fence(Ordering::SeqCst);
        }

        #[must_use]
        pub(crate) fn heavy() -> bool {
            // ORDERING: SeqCst fence; pairs with that of `light`.
            fence(Ordering::SeqCst);
            true
        }
    }

    /// As on Linux, but not available.
    #[cfg(not(any(target_os = "linux", miri)))]
    pub(crate) mod barrier {
        pub(crate) fn is_available() -> bool {
            false
        }

        pub(crate) fn light() {}

        #[must_use]
        pub(crate) fn heavy() -> bool {
            false
        }
    }

    /// When to stop waiting.
    #[derive(Debug)]
    pub(crate) struct Alarm(Option<std::time::Instant>);

    impl Alarm {
        pub(crate) const NEVER: Self = Self(None);

        /// So much later than now. Beyond what the system can tell: never.
        #[allow(clippy::disallowed_methods, reason = "how long a thread sleeps, not an entry's time")]
        pub(crate) fn after(timeout: std::time::Duration) -> Self {
            Self(std::time::Instant::now().checked_add(timeout))
        }

        /// Sleeps until somebody unparks this thread, for no reason, or until the alarm goes off. False if it has.
        #[allow(clippy::disallowed_methods, reason = "as in `after`")]
        pub(crate) fn park(&self) -> bool {
            let Some(at) = self.0 else {
                thread::park();
                return true;
            };
            let left = at.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return false;
            }
            thread::park_timeout(left);
            true
        }

        /// Whether it has gone off.
        #[allow(clippy::disallowed_methods, reason = "as in `after`")]
        pub(crate) fn is_over(&self) -> bool {
            self.0.is_some_and(|at| at <= std::time::Instant::now())
        }
    }

    /// Leaves a lock to those who spin for it, for a few microseconds.
    pub(crate) fn pause() {
        for _ in 0..64 {
            std::hint::spin_loop();
        }
    }

    /// Sleeps a moment.
    pub(crate) fn nap() {
        thread::sleep(std::time::Duration::from_micros(100));
    }

    /// Sleeps so long and a little longer, or not: who was unparked before may be back at once.
    pub(crate) fn doze(time: std::time::Duration) {
        // There a thread that is parked wakes up some 16 ms later, and one that sleeps does not.
        #[cfg(windows)]
        thread::sleep(time);
        // Elsewhere a thread that sleeps panics if the system refuses that.
        #[cfg(not(windows))]
        thread::park_timeout(time);
    }
}

/// Shuttle's threads are coroutines on one thread of the system, which go on at locks and where they sleep. What is atomic
/// is std's: orderings are loom's business, and so many more schedules are tried.
#[cfg(tidewheel_shuttle)]
mod imp {
    pub(crate) use super::unwatched::*;
    pub(crate) use shuttle::sync::Condvar;
    pub(crate) use shuttle::thread;
    pub(crate) use shuttle::thread_local;

    pub(crate) type RawMutex<T> = shuttle::sync::Mutex<T>;
    pub(crate) type MutexGuard<'a, T> = shuttle::sync::MutexGuard<'a, T>;

    /// There is one thread.
    pub(crate) mod barrier {
        pub(crate) fn is_available() -> bool {
            true
        }

        pub(crate) fn light() {}

        #[must_use]
        pub(crate) fn heavy() -> bool {
            true
        }
    }

    /// When to stop waiting: at any time, or never.
    #[derive(Debug)]
    pub(crate) struct Alarm(bool);

    impl Alarm {
        pub(crate) const NEVER: Self = Self(false);

        pub(crate) fn after(_: std::time::Duration) -> Self {
            Self(true)
        }

        pub(crate) fn park(&self) -> bool {
            use shuttle::rand::Rng;
            if !self.0 {
                thread::park();
                return true;
            }
            thread::yield_now();
            shuttle::rand::thread_rng().gen_bool(0.7)
        }

        /// At random: other threads may take a moment or an hour.
        pub(crate) fn is_over(&self) -> bool {
            use shuttle::rand::Rng;
            self.0 && shuttle::rand::thread_rng().gen_bool(0.3)
        }
    }

    /// Nothing is spun for: threads take turns at locks.
    pub(crate) fn pause() {}

    /// Somebody else's turn.
    pub(crate) fn nap() {
        thread::yield_now();
    }

    /// As `nap`.
    pub(crate) fn doze(_: std::time::Duration) {
        nap();
    }
}

#[cfg(tidewheel_loom)]
mod imp {
    pub(crate) use loom::lazy_static;
    pub(crate) use loom::sync::Condvar;
    pub(crate) use loom::sync::atomic;
    pub(crate) use loom::thread;

    pub(crate) use crossbeam_epoch as epoch;

    macro_rules! lasting {
        ($(#[$attr:meta])* static $name:ident: $ty:ty = $init:expr;) => {
            loom::lazy_static! { $(#[$attr])* static ref $name: $ty = $init; }
        };
    }
    pub(crate) use lasting;

    macro_rules! constant {
        ($(#[$attr:meta])* $vis:vis fn $($rest:tt)*) => { $(#[$attr])* $vis fn $($rest)* };
    }
    pub(crate) use constant;

    /// Both halves are SeqCst fences, which is what the two amount to together.
    pub(crate) mod barrier {
        use loom::sync::atomic::{Ordering, fence};

        /// Crossbeam's kind is taken where that crate is itself compiled for loom.
        pub(crate) fn is_available() -> bool {
            !cfg!(crossbeam_loom)
        }

        pub(crate) fn light() {
            // ORDERING: SeqCst fence; pairs with that of `heavy`.
            fence(Ordering::SeqCst);
        }

        pub(crate) fn heavy() -> bool {
            // ORDERING: SeqCst fence; pairs with that of `light`.
            fence(Ordering::SeqCst);
            true
        }
    }

    /// Loom's own does not know `const` initial values.
    macro_rules! model_local {
        ($(#[$attr:meta])* static $name:ident: $ty:ty = const { $init:expr };) => {
            loom::thread_local! { $(#[$attr])* static $name: $ty = $init; }
        };
        ($($other:tt)*) => {
            loom::thread_local! { $($other)* }
        };
    }
    pub(crate) use model_local as thread_local;

    pub(crate) type RawMutex<T> = loom::sync::Mutex<T>;
    pub(crate) type MutexGuard<'a, T> = loom::sync::MutexGuard<'a, T>;

    /// Dies when its node or array is freed; a look at it after that, or at the same time, fails the model. So
    /// does a look at a canary whose making the looker does not see, as where a node's place is used again.
    /// (The memory stays, so that the look itself is sound.)
    #[derive(Debug)]
    pub(crate) struct Canary(loom::cell::Cell<bool>);

    impl Canary {
        pub(crate) fn new() -> Self {
            Self(loom::cell::Cell::new(true))
        }

        pub(crate) fn look(&self) {
            assert!(self.0.get(), "it is read after it was freed");
        }

        pub(crate) fn kill(&self) {
            assert!(self.0.replace(false), "it is freed twice");
        }
    }

    /// The ordering that `std`'s `Arc` gives between the end of a handle and the end of the last one.
    #[derive(Debug)]
    pub(crate) struct Edge(atomic::AtomicUsize);

    impl Edge {
        pub(crate) fn new() -> Self {
            Self(atomic::AtomicUsize::new(0))
        }

        pub(crate) fn release(&self) {
            // ORDERING: Release; pairs with Acquire in `Edge::last`; as in the drop of `Arc`.
            self.0.fetch_add(1, atomic::Ordering::Release);
        }

        pub(crate) fn last(&self) {
            // ORDERING: Acquire; pairs with Release in `Edge::release`. A read-modify-write, as in `Arc`,
            // so that it cannot miss one of them.
            self.0.fetch_add(1, atomic::Ordering::Acquire);
        }
    }

    /// When to stop waiting: at once, or never.
    #[derive(Debug)]
    pub(crate) struct Alarm(bool);

    impl Alarm {
        pub(crate) const NEVER: Self = Self(false);

        pub(crate) fn after(_: std::time::Duration) -> Self {
            Self(true)
        }

        pub(crate) fn park(&self) -> bool {
            if !self.0 {
                thread::park();
            }
            !self.0
        }

        pub(crate) fn is_over(&self) -> bool {
            self.0
        }
    }

    /// Nothing waits for another thread here, so the models need not try the others first.
    pub(crate) fn pause() {}

    /// As `pause`.
    pub(crate) fn nap() {}

    /// As `pause`.
    pub(crate) fn doze(_: std::time::Duration) {}
}

pub(crate) use crossbeam_utils::CachePadded;
pub(crate) use imp::*;
pub(crate) use std::sync::{Arc, OnceLock, Weak};

use std::sync::{PoisonError, TryLockError};
use std::time::Duration;

/// How often a mutex that somebody has is looked at before whoever waits for it goes to sleep: for some twenty
/// microseconds in all.
const LOOKS: u32 = 40;
/// How often a lock is looked at in a fork's child before it is taken for lost: for a second at least.
const NAPS: u32 = 10_000;
/// Between two looks there are so many pauses at most, as a power of two.
const LONGEST: u32 = 5;

/// A mutex without poisoning.
///
/// What it guards is whole at every point where user code (`Hash`, `Eq`) can unwind through the
/// critical section, because such code runs before the first mutation; a poison flag would only turn
/// one caller's panic into everybody's.
#[derive(Debug)]
pub(crate) struct Mutex<T> {
    raw: RawMutex<T>,
    /// How many sleep until it is theirs. Not in loom's sight: nothing is ordered by it.
    sleepers: std::sync::atomic::AtomicUsize,
}

impl<T> Mutex<T> {
    #[cfg(not(any(tidewheel_loom, tidewheel_shuttle)))]
    pub(crate) const fn new(value: T) -> Self {
        Self { raw: RawMutex::new(value), sleepers: std::sync::atomic::AtomicUsize::new(0) }
    }

    #[cfg(any(tidewheel_loom, tidewheel_shuttle))]
    pub(crate) fn new(value: T) -> Self {
        Self { raw: RawMutex::new(value), sleepers: std::sync::atomic::AtomicUsize::new(0) }
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        // Loom's threads are not in a hurry.
        if cfg!(tidewheel_loom) {
            return self.lock_in_turn();
        }
        self.try_lock().unwrap_or_else(|| self.lock_soon())
    }

    /// If nobody has it.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.raw.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Somebody has it, for a microsecond nearly always, and for some ten where pages of memory have to come first. To
    /// sleep and to be woken takes longer, and whoever lets go pays for the waking; so it is looked at again for a while.
    #[cold]
    fn lock_soon(&self) -> MutexGuard<'_, T> {
        for look in 0..LOOKS {
            (0..1 << look.min(LONGEST)).for_each(|_| std::hint::spin_loop());
            if let Some(guard) = self.try_lock() {
                return guard;
            }
        }
        self.lock_in_turn()
    }

    /// As [`lock`](Self::lock), until the alarm goes off.
    pub(crate) fn lock_within(&self, patience: &Alarm) -> Option<MutexGuard<'_, T>> {
        loop {
            if let Some(guard) = self.try_lock() {
                return Some(guard);
            }
            if patience.is_over() {
                return None;
            }
            thread::yield_now();
        }
    }

    /// As [`lock`](Self::lock), in a fork's child: the thread that has it may be one that is not there. Then there is nothing but to say so.
    #[cold]
    fn lock_in_a_child(&self) -> MutexGuard<'_, T> {
        // In naps and not by the clock, so that a process that is stopped for a while loses nothing of it.
        for _ in 0..NAPS {
            if let Some(guard) = self.try_lock() {
                return guard;
            }
            nap();
        }
        panic!(
            "tidewheel: a thread held a lock of a cache while this process was forked from its own, and does not exist here: \
             nobody is going to open that lock"
        )
    }

    fn lock_in_turn(&self) -> MutexGuard<'_, T> {
        if crate::process::fork::is_child() {
            return self.lock_in_a_child();
        }
        // ORDERING: Relaxed, both; a figure. (What a fork's child inherits of it is of threads that are not there.)
        self.sleepers.fetch_add(1, atomic::Ordering::Relaxed);
        let guard = self.raw.lock().unwrap_or_else(PoisonError::into_inner);
        // ORDERING: as above.
        self.sleepers.fetch_sub(1, atomic::Ordering::Relaxed);
        guard
    }

    /// Whether anybody sleeps until it is his.
    pub(crate) fn has_sleepers(&self) -> bool {
        // ORDERING: Relaxed; a figure.
        self.sleepers.load(atomic::Ordering::Relaxed) > 0
    }
}

/// Runs `f`, which may call user code, and lets no panic out: `None` if there was one.
///
/// Not so under loom, where a panic is how a model fails and must not be swallowed.
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Option<R> {
    #[cfg(tidewheel_loom)]
    return Some(f());
    #[cfg(not(tidewheel_loom))]
    {
        use std::panic::{AssertUnwindSafe, catch_unwind};
        let payload = match catch_unwind(AssertUnwindSafe(f)) {
            Ok(result) => return Some(result),
            Err(payload) => payload,
        };
        // The payload is user code too. What its own destructor throws is leaked: it could go on
        // like this for ever.
        if let Err(endless) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(endless);
        }
        None
    }
}

/// Waits for a notification.
pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a notification, at most `timeout` long. (Under loom the timeout never comes.)
pub(crate) fn wait_timeout<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    timeout: Duration,
) -> MutexGuard<'a, T> {
    match condvar.wait_timeout(guard, timeout) {
        Ok((guard, _)) => guard,
        Err(poisoned) => poisoned.into_inner().0,
    }
}
