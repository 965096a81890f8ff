//! A mutex without poisoning, and what becomes of it in the child of a fork.
//!
//! A lock that another thread held at the fork is never opened in the child. One that a thread of
//! the child holds is, however long that takes. They are told apart by a *stamp*: a thread that takes
//! a lock leaves there how many forks its process has come out of. So a held lock with the present
//! stamp was open at some time since the fork, and its holder is here. A lock with an older stamp may
//! have been lost, and a thread does not wait for it for ever.

use super::atomic::Ordering;
use super::unseen::{AtomicU32, AtomicUsize};
use super::{Alarm, CachePadded, MutexGuard, OnceLock, PoisonError, RawMutex, TryLockError, nap, thread};

/// How often a thread tries a held mutex before it sleeps: for some twenty microseconds in all.
const LOOKS: u32 = 40;
/// How often a lock that may be lost is tried before it counts as lost: a second at least.
const NAPS: u32 = 10_000;
/// The largest number of pauses between two tries, as a power of two.
const LONGEST: u32 = 5;

/// How many forks this process has come out of, and was told of: those of the processes that it
/// comes from count as well. (Each lock looks at it, so nothing that changes lies beside it.)
static FORKS: CachePadded<AtomicU32> = CachePadded::new(AtomicU32::new(0));
/// Says whether this process has come out of a fork of which it was not told. Set once there is
/// somebody who knows (`process/fork.rs`).
static ASK_IF_UNTOLD: OnceLock<fn() -> bool> = OnceLock::new();

/// A number of forks. Two are the same in one process, until it is the child of another fork.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Forks(u32);

impl Forks {
    /// Returns how many this process has come out of.
    #[inline]
    pub(crate) fn so_far() -> Self {
        // ORDERING: Relaxed; it changes in a process that has one thread.
        Self(FORKS.load(Ordering::Relaxed))
    }

    /// Counts one, in its child, before that has another thread.
    #[cfg_attr(
        any(not(unix), miri, tidewheel_loom, tidewheel_shuttle),
        allow(dead_code, reason = "nothing forks")
    )]
    pub(crate) fn count() {
        // ORDERING: Relaxed; this process has one thread.
        FORKS.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets who knows whether a fork was not counted.
    #[cfg_attr(
        any(not(unix), miri, tidewheel_loom, tidewheel_shuttle),
        allow(dead_code, reason = "nothing forks")
    )]
    pub(crate) fn ask(untold: fn() -> bool) {
        let _ = ASK_IF_UNTOLD.set(untold);
    }
}

/// A mutex without poisoning.
///
/// Its contents are consistent at every point where user code (`Hash`, `Eq`) can unwind through the
/// critical section, because such code runs before the first change. A poison flag would only turn
/// one caller's panic into everybody's.
#[derive(Debug)]
pub(crate) struct Mutex<T> {
    raw: RawMutex<T>,
    /// The number of threads that sleep for the lock. Not visible to loom: it orders nothing.
    sleepers: AtomicUsize,
    /// The number of forks when it was taken last, at least. Not visible to loom either.
    stamp: AtomicU32,
}

impl<T> Mutex<T> {
    #[cfg(not(any(tidewheel_loom, tidewheel_shuttle)))]
    pub(crate) const fn new(value: T) -> Self {
        Self { raw: RawMutex::new(value), sleepers: AtomicUsize::new(0), stamp: AtomicU32::new(0) }
    }

    #[cfg(any(tidewheel_loom, tidewheel_shuttle))]
    pub(crate) fn new(value: T) -> Self {
        Self { raw: RawMutex::new(value), sleepers: AtomicUsize::new(0), stamp: AtomicU32::new(0) }
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        // Loom's threads are not in a hurry.
        if cfg!(tidewheel_loom) {
            return self.sleep_for_lock();
        }
        self.try_lock().unwrap_or_else(|| self.lock_soon())
    }

    /// Takes the lock, if no thread holds it.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let guard = match self.raw.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        self.leave_stamp();
        Some(guard)
    }

    /// Notes that the lock was open in this process. Requires it.
    #[inline]
    fn leave_stamp(&self) {
        if !self.has_stamp() {
            // ORDERING: Relaxed; whoever sees it too late takes one more nap.
            self.stamp.store(Forks::so_far().0, Ordering::Relaxed);
        }
    }

    /// Returns whether the lock was open in this process. If so, whoever holds it is here.
    #[inline]
    fn has_stamp(&self) -> bool {
        // ORDERING: Relaxed; stored by threads of this process, or by those that it was copied from.
        self.stamp.load(Ordering::Relaxed) == Forks::so_far().0
    }

    /// Takes a lock that another thread holds: nearly always for a microsecond, and for some ten if
    /// pages of memory have to be allocated. Sleeping takes longer, and costs the other thread,
    /// too. So it tries for a while first.
    #[cold]
    fn lock_soon(&self) -> MutexGuard<'_, T> {
        for look in 0..LOOKS {
            (0..1 << look.min(LONGEST)).for_each(|_| std::hint::spin_loop());
            if let Some(guard) = self.try_lock() {
                return guard;
            }
        }
        self.sleep_for_lock()
    }

    /// Takes the lock like [`lock`](Self::lock), until the alarm is over.
    pub(crate) fn lock_within(&self, patience: &Alarm) -> Option<MutexGuard<'_, T>> {
        loop {
            match self.try_lock() {
                None if !patience.is_over() => thread::yield_now(),
                taken => return taken,
            }
        }
    }

    fn sleep_for_lock(&self) -> MutexGuard<'_, T> {
        let is_untold = ASK_IF_UNTOLD.get().is_some_and(|ask| ask());
        if is_untold || !self.has_stamp() {
            if let Some(guard) = self.nap_for_lock(is_untold) {
                return guard;
            }
        }
        // ORDERING: Relaxed, both; a figure. (A fork's child inherits a stale one.)
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        let guard = self.raw.lock().unwrap_or_else(PoisonError::into_inner);
        // ORDERING: Relaxed; the same reason.
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
        self.leave_stamp();
        guard
    }

    /// Takes a lock that may have been lost in a fork. Returns `None` as soon as it turns out that
    /// its holder is here. Panics if that does not turn out. If this process was not told of the
    /// fork, stamps say nothing.
    #[cold]
    fn nap_for_lock(&self, is_untold: bool) -> Option<MutexGuard<'_, T>> {
        // It counts naps and not time, so that a process that is stopped loses none of it.
        for _ in 0..NAPS {
            if let Some(guard) = self.try_lock() {
                return Some(guard);
            }
            if !is_untold && self.has_stamp() {
                return None;
            }
            nap();
        }
        panic!(
            "tidewheel: a thread held a lock of a cache while this process was forked from its own, and does not exist here: \
             nobody is going to open that lock"
        )
    }

    /// Returns whether any thread sleeps for the lock.
    pub(crate) fn has_sleepers(&self) -> bool {
        // ORDERING: Relaxed; a figure.
        self.sleepers.load(Ordering::Relaxed) > 0
    }
}
