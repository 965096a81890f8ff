//! The primitives of concurrency, from `std` and crossbeam, from loom, or from shuttle.
//!
//! This is the only file that names any of them. The rest of the crate takes its atomics, locks,
//! threads, statics and epochs from here, so that the loom models run the crate's real source. What
//! a mutex is, is in `sync/mutex.rs`.
//!
//! A private cfg chooses (it is set by the build scripts in `loom-tests/` alone): `tidewheel_loom`
//! takes loom's primitives, `tidewheel_shuttle` takes shuttle's.

/// Primitives of std that shuttle does not watch.
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

    /// A static that exists from the start. Under loom each run of a model makes it anew.
    /// (Shuttle's mutexes have no `const fn`.)
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

    /// A function that creates the initial value of such a static: `const`, except under shuttle.
    #[cfg(not(tidewheel_shuttle))]
    macro_rules! constant {
        ($(#[$attr:meta])* $vis:vis fn $($rest:tt)*) => { $(#[$attr])* $vis const fn $($rest)* };
    }
    #[cfg(tidewheel_shuttle)]
    macro_rules! constant {
        ($(#[$attr:meta])* $vis:vis fn $($rest:tt)*) => { $(#[$attr])* $vis fn $($rest)* };
    }
    pub(crate) use constant;

    /// Under loom, distinguishes a read of freed memory from a read of live memory. Here: nothing.
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

    /// Under loom, makes the end of each handle visible to the last one's. `std`'s `Arc` does that
    /// itself, unseen by loom. Here: nothing.
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

    /// A memory barrier in two halves: a light one for many threads, which costs nothing, and a
    /// heavy one for few, for which the kernel makes every thread of the process execute a full
    /// barrier. A light half in one thread and a heavy half in another act like two SeqCst fences.
    /// Two light halves order nothing.
    #[cfg(all(target_os = "linux", not(miri)))]
    pub(crate) mod barrier {
        use rustix::thread::{MembarrierCommand, membarrier, membarrier_query};
        use std::sync::atomic::{AtomicU8, Ordering, compiler_fence};

        const UNKNOWN: u8 = 0;
        const NO: u8 = 1;
        const YES: u8 = 2;

        /// Returns whether the kernel offers it. Registers the process for it.
        pub(crate) fn is_available() -> bool {
            // Not a `OnceLock`: in the child of a fork, no thread would complete it.
            static ANSWER: AtomicU8 = AtomicU8::new(UNKNOWN);
            // ORDERING: Relaxed; the number is complete by itself.
            let answer = ANSWER.load(Ordering::Relaxed);
            if answer != UNKNOWN {
                return answer == YES;
            }
            let yes = membarrier_query().contains_command(MembarrierCommand::PrivateExpedited)
                && register()
                && heavy();
            // All threads that ask at the same time use the first answer.
            let mine = if yes { YES } else { NO };
            // ORDERING: Relaxed, both; the same reason.
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
            // ORDERING: a fence for the compiler; pairs with `heavy`, which is one for the
            // processor too.
            compiler_fence(Ordering::SeqCst);
        }

        /// Returns false if the kernel refused: then there was no barrier. (Registers again, should
        /// a fork have lost the registration.)
        #[must_use]
        pub(crate) fn heavy() -> bool {
            let barrier = || membarrier(MembarrierCommand::PrivateExpedited).is_ok();
            barrier() || (register() && barrier())
        }
    }

    /// Miri does not know the system call. Both halves are fences there, to the same effect.
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

    /// The same as on Linux, but not available.
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

    /// The time at which to stop waiting.
    #[derive(Debug)]
    pub(crate) struct Alarm(Option<std::time::Instant>);

    impl Alarm {
        pub(crate) const NEVER: Self = Self(None);

        /// Returns the alarm after `timeout`. Beyond the range of the system's clock: never.
        #[allow(clippy::disallowed_methods, reason = "how long a thread sleeps, not an entry's time")]
        pub(crate) fn after(timeout: std::time::Duration) -> Self {
            Self(std::time::Instant::now().checked_add(timeout))
        }

        /// Sleeps until unparked, woken spuriously, or the alarm is over: then returns false.
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
            thread::park_timeout(super::at_once(left));
            true
        }

        /// Returns whether the time has come.
        #[allow(clippy::disallowed_methods, reason = "as in `after`")]
        pub(crate) fn is_over(&self) -> bool {
            self.0.is_some_and(|at| at <= std::time::Instant::now())
        }
    }

    /// Leaves a lock to threads that spin for it, for a few microseconds.
    pub(crate) fn pause() {
        for _ in 0..64 {
            std::hint::spin_loop();
        }
    }

    /// Sleeps a moment, on any thread. It may return early: whoever naps looks again.
    pub(crate) fn nap() {
        const MOMENT: std::time::Duration = std::time::Duration::from_micros(100);
        // As in `doze`.
        #[cfg(windows)]
        thread::sleep(MOMENT);
        // Not parked: that could use up an unpark that is meant for the user's own code. Nobody
        // notifies this condition variable.
        #[cfg(not(windows))]
        {
            let (mutex, never) = (RawMutex::new(()), Condvar::new());
            if let Ok(guard) = mutex.lock() {
                drop(never.wait_timeout(guard, MOMENT));
            }
        }
    }

    /// Sleeps this long and a little longer, on a thread of the crate's own; after an earlier
    /// unpark it may return at once.
    pub(crate) fn doze(time: std::time::Duration) {
        // On Windows, a parked thread wakes up some 16 ms late, and a sleeping one does not.
        #[cfg(windows)]
        thread::sleep(time);
        // Elsewhere, a sleeping thread panics if the system refuses to let it sleep.
        #[cfg(not(windows))]
        thread::park_timeout(time);
    }
}

/// Shuttle's threads are coroutines on one system thread, which switch at locks and sleeps. Atomics
/// are std's: loom checks orderings, and so shuttle tries many more schedules.
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

    /// The time at which to stop waiting: at any time, or never.
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

        /// Returns at random: other threads may take a moment or an hour.
        pub(crate) fn is_over(&self) -> bool {
            use shuttle::rand::Rng;
            self.0 && shuttle::rand::thread_rng().gen_bool(0.3)
        }
    }

    /// Does nothing: threads take turns at locks.
    pub(crate) fn pause() {}

    /// Lets another thread run.
    pub(crate) fn nap() {
        thread::yield_now();
    }

    /// Does the same as `nap`.
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

    /// Both halves are SeqCst fences, which together have the same effect.
    pub(crate) mod barrier {
        use loom::sync::atomic::{Ordering, fence};

        /// Returns false where crossbeam-epoch is compiled for loom itself: then its pins are used.
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

    /// Loom's own macro does not support `const` initial values.
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

    /// Dies when its node or array is freed. A look at it after that, or at the same time, fails
    /// the model. So does a look by a thread that does not see its creation, as where a node's
    /// place is reused. (The memory stays, so that the look itself is sound.)
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

    /// The ordering that `std`'s `Arc` gives between the end of a handle and that of the last.
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
            // ORDERING: Acquire; pairs with Release in `Edge::release`. A read-modify-write, as in
            // `Arc`, so that it cannot miss one of them.
            self.0.fetch_add(1, atomic::Ordering::Acquire);
        }
    }

    /// The time at which to stop waiting: at once, or never.
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

    /// Does nothing: no other thread is waited for here, so the models need not try others first.
    pub(crate) fn pause() {}

    /// Does the same as `pause`.
    pub(crate) fn nap() {}

    /// Does the same as `pause`.
    pub(crate) fn doze(_: std::time::Duration) {}
}

mod mutex;

pub(crate) use crossbeam_utils::CachePadded;
pub(crate) use imp::*;
pub(crate) use mutex::{Forks, Mutex};
pub(crate) use std::sync::{Arc, OnceLock, Weak};

/// Those of std in any case: what loom and shuttle need not see.
use std::sync::atomic as unseen;
use std::sync::{PoisonError, TryLockError};
use std::time::Duration;

/// Runs `f`, which may call user code, and catches panics: returns `None` if there was one.
///
/// Under loom it catches none: a panic is how a model fails, and must not be swallowed.
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
        // The payload is user code, too. A panic of its destructor has a payload that is leaked:
        // this could recurse without end.
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

/// The longest time that a thread sleeps in one go: twelve days. Windows counts milliseconds in 32 bits, and
/// takes anything longer than 49 days to mean for ever.
const LONGEST_SLEEP: Duration = Duration::from_secs(1 << 20);

/// Returns how long a thread that has to sleep for `time` sleeps in one go, before it looks again.
pub(crate) fn at_once(time: Duration) -> Duration {
    time.min(LONGEST_SLEEP)
}

/// Waits for a notification, at most `timeout` long, and no longer than every system can count.
/// (Under loom the timeout never comes.)
pub(crate) fn wait_timeout<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    timeout: Duration,
) -> MutexGuard<'a, T> {
    match condvar.wait_timeout(guard, at_once(timeout)) {
        Ok((guard, _)) => guard,
        Err(poisoned) => poisoned.into_inner().0,
    }
}

#[cfg(all(test, not(tidewheel_loom), not(tidewheel_shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn no_sleep_is_longer_than_every_system_can_count() {
        assert!(at_once(Duration::MAX).as_millis() < u128::from(u32::MAX));
        assert_eq!(at_once(Duration::from_secs(5)), Duration::from_secs(5));
    }
}
