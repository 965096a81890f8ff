//! A node: one entry as readers see it.
//!
//! Key and value never change once the node is published. The deadline alone decides whether the
//! entry is alive. It is moved by compare-and-swap. Two changes do not depend on its value: a freeze
//! sets one bit, and a removal stores `DEAD`, once, at the end. For writers, the node also stores
//! the home and the row under which its entry is filed. So a writer gets from a node to the ledger.
//! A node that replaces another has the same home and row. A node never knows its bucket.
//!
//! # The life of a deadline
//!
//! ```text
//!        touch, read (no lock): d -> later d
//!            +--------------------------------+
//!            v                                |
//!   d ---> frozen d ---> frozen later d ---> (node replaced)        a writer, under the lock
//!   |         |  \
//!   |         |   +---> other d (set_ttl, persist), or d (nothing was written)
//!   |         v
//!   +------> DEAD <--- a reader that saw the deadline pass, the reaper, a removal
//! ```
//!
//! `DEAD` is final. The expiry of an entry is decided once, for all threads: a thread that finds
//! the deadline passed makes it `DEAD` before it acts on that. So a touch or an update that read
//! the clock in time and was then delayed cannot revive an entry that another thread has already
//! seen gone.
//!
//! In caches with a time to idle, a read restarts it as a touch restarts the time to live. A read
//! takes the lock where a touch does, and where it cannot know what else ends the entry. A deadline
//! that has reached that other end says so by a flag, and reads do not move it.
//!
//! In a node that stays in the table, a freeze ends with the critical section that made it.
//!
//! A touch may have loaded the deadline, and learnt that all times to live are alike, before the entry
//! got one of its own (`set_ttl`). Its exchange must fail then, even if the new deadline, or a later
//! one, is on the same tick. So a deadline by a time to live of its own has the flag `FIXED`, which no
//! such touch expects (`Config::flagged`).

use super::epoch::Pin;
use crate::rows::RowId;
use crate::sync::Canary;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::time::{Deadline, Tick, Timeline};
use std::fmt;
use std::mem::ManuallyDrop;

/// The result of a touch that tried to do without the lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Touch {
    /// The entry lives at least its time to live from now.
    Done,
    /// The entry has expired.
    Gone,
    /// A writer has frozen the deadline, or the entry's time to live is in the ledger: the caller
    /// takes the lock and looks again.
    Locked,
}

/// Proof that a writer has frozen a node's deadline, with the deadline as it was.
#[derive(Debug)]
#[must_use]
pub(crate) struct Frozen(Deadline);

impl Frozen {
    /// Returns whether the entry was alive at `now`. That must be a clock reading from after the
    /// freeze, or one no earlier than that of any touch that moved the deadline.
    pub(crate) fn was_alive(&self, now: Tick) -> bool {
        !self.0.is_over(now)
    }

    /// Returns the deadline's tick as it was: 0 if the entry was dead.
    pub(crate) fn tick(&self) -> Tick {
        self.0.tick()
    }
}

/// A deadline that a writer has seen and has not frozen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen(Deadline);

impl Seen {
    /// Returns the deadline's tick: 0 if the entry was dead.
    pub(crate) fn tick(self) -> Tick {
        self.0.tick()
    }
}

/// The row and the home of an entry. They do not change while the entry exists, whatever node it
/// has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Filed {
    pub(super) row: RowId,
    pub(super) home: u32,
}

pub(crate) struct Node<K, V> {
    deadline: AtomicU64,
    /// The row and the home, for writers under the lock.
    pub(super) filed: Filed,
    /// Dropped by `drop_contents` alone, each by itself.
    pub(super) key: ManuallyDrop<K>,
    pub(super) value: ManuallyDrop<V>,
    pub(super) canary: Canary,
}

impl<K, V> Node<K, V> {
    /// Makes a node in its place from an entry, which is moved out of `entry`. A large value is
    /// copied once, and is never on the stack.
    ///
    /// # Safety
    ///
    /// T9: the place is a node's, and no other thread looks at it.
    #[inline]
    pub(super) unsafe fn make(
        place: *mut Self,
        entry: &mut Option<(K, V)>,
        deadline: Deadline,
        filed: Filed,
    ) {
        let (key, value) = entry.as_ref().expect("what is stored is there");
        // SAFETY: T9. `ManuallyDrop` has its content's layout. Nothing can panic before `entry` is
        // set to `None`, which runs no destructors. So the entry is in one place at any time.
        unsafe {
            (&raw mut (*place).key).cast::<K>().copy_from_nonoverlapping(key, 1);
            (&raw mut (*place).value).cast::<V>().copy_from_nonoverlapping(value, 1);
            std::ptr::write(entry, None);
            (&raw mut (*place).deadline).write(AtomicU64::new(deadline.to_bits()));
            (&raw mut (*place).filed).write(filed);
            (&raw mut (*place).canary).write(Canary::new());
        }
    }

    #[inline]
    pub(crate) fn key(&self) -> &K {
        &self.key
    }

    #[inline]
    pub(crate) fn value(&self) -> &V {
        &self.value
    }

    #[inline]
    fn load(&self) -> Deadline {
        // ORDERING: Acquire; pairs with AcqRel in `Node::exchange`: a thread that sees a deadline
        // that `reset` set sees that times to live are not all alike (`Config::is_uniform`). Pairs with
        // AcqRel in `Node::kill`: what was done before the entry ended.
        Deadline::from_bits(self.deadline.load(Ordering::Acquire))
    }

    /// Replaces `seen` by `new`. Returns the actual deadline if another thread was faster.
    #[inline]
    fn exchange(&self, seen: Deadline, new: Deadline) -> Result<(), Deadline> {
        // ORDERING: AcqRel; pairs with Acquire in `Node::load` and with itself: orders a touch's
        // clock reading before that which follows a freeze. Acquire on failure; as `load`.
        match self.deadline.compare_exchange(
            seen.to_bits(),
            new.to_bits(),
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => Ok(()),
            Err(bits) => Err(Deadline::from_bits(bits)),
        }
    }

    /// Returns whether one look shows that a reader sees this entry. If not, the entry may still be
    /// visible. A deadline of `NEVER` reads no clock.
    #[inline]
    pub(crate) fn is_plainly_visible(&self, clock: &Timeline, pin: &Pin) -> bool {
        let deadline = self.load();
        deadline.is_never() || pin.with_trust(|trust| clock.shows(deadline, trust))
    }

    /// Returns whether a reader sees this entry. A deadline of `NEVER` reads no clock.
    #[inline]
    pub(crate) fn is_visible(&self, now: impl FnOnce() -> Tick) -> bool {
        let deadline = self.load();
        if deadline.is_never() {
            return true;
        }
        let now = now();
        !deadline.is_over(now) || !self.expire(deadline, now)
    }

    /// Returns whether a reader sees this entry, in this node. If not, the entry may still be
    /// visible: a writer may have frozen the deadline, to put another node in this one's place.
    pub(crate) fn is_visible_here(&self, now: impl FnOnce() -> Tick) -> bool {
        // A node that was replaced was frozen before. So one that is not frozen was in its place at
        // this look, and the second look tells whether its entry had ended by then.
        !self.load().is_frozen() && self.is_visible(now)
    }

    /// Makes an entry whose deadline has passed `DEAD`. Returns false if the deadline was moved on
    /// in the meantime.
    #[cold]
    fn expire(&self, mut seen: Deadline, now: Tick) -> bool {
        loop {
            if seen.is_dead() {
                return true;
            }
            if !seen.is_over(now) {
                return false;
            }
            match self.exchange(seen, Deadline::DEAD) {
                Ok(()) => return true,
                Err(actual) => seen = actual,
            }
        }
    }

    /// Returns the tick from which the entry is invisible (`NEVER` for never), or `None` if it has
    /// expired at `now`.
    pub(crate) fn visible_until(&self, now: Tick) -> Option<Tick> {
        loop {
            let deadline = self.load();
            if !deadline.is_over(now) {
                return Some(deadline.tick());
            }
            if self.expire(deadline, now) {
                return None;
            }
        }
    }

    /// Restarts the time to live without the lock. Never shortens it, and does not change an entry
    /// that never expires. `deadline_at` returns the deadline for a clock reading, if it is known
    /// without the lock.
    pub(crate) fn touch(&self, clock: &Timeline, deadline_at: impl Fn(Tick) -> Option<Tick>) -> Touch {
        let mut seen = self.load();
        loop {
            if seen.is_dead() {
                return Touch::Gone;
            }
            if seen.is_frozen() {
                return Touch::Locked;
            }
            if seen.is_never() {
                return Touch::Done;
            }
            let now = clock.now();
            if seen.is_over(now) {
                if self.expire(seen, now) {
                    return Touch::Gone;
                }
                seen = self.load();
                continue;
            }
            // This must follow the load of `seen`; see `load`.
            let Some(later) = deadline_at(now) else {
                return Touch::Locked;
            };
            if later <= seen.tick() {
                return Touch::Done;
            }
            match self.exchange(seen, Deadline::at(later)) {
                Ok(()) => return Touch::Done,
                Err(actual) => seen = actual,
            }
        }
    }

    /// Performs a read that counts as use, in a cache with a time to idle. If the reader sees the
    /// entry, restarts the time to idle without the lock, by the readers' clock. Never shortens it.
    /// `idle_at` returns the deadline for a clock reading if nothing but idleness ends the entry.
    /// `is_free` returns whether that holds for all entries.
    #[inline]
    pub(crate) fn restart(
        &self,
        clock: &Timeline,
        idle_at: impl Fn(Tick) -> Tick,
        is_free: impl Fn() -> bool,
    ) -> Touch {
        let mut seen = self.load();
        loop {
            let now = clock.recent();
            if seen.is_over(now) {
                if self.expire(seen, now) {
                    return Touch::Gone;
                }
                seen = self.load();
                continue;
            }
            if seen.is_frozen() {
                // The lock is needed even if the deadline is late enough: the node that replaces
                // this one may have an earlier deadline, from a clock reading before this one.
                return Touch::Locked;
            }
            let later = idle_at(now);
            if seen.is_fixed() || later <= seen.tick() {
                return Touch::Done;
            }
            if !is_free() {
                return Touch::Locked;
            }
            match self.exchange(seen, Deadline::at(later)) {
                Ok(()) => return Touch::Done,
                Err(actual) => seen = actual,
            }
        }
    }

    /// Freezes the deadline. Requires the lock. From here on no touch succeeds without the lock, so
    /// a clock reading that follows is not before that of any touch that succeeded.
    pub(crate) fn freeze(&self) -> Frozen {
        // ORDERING: AcqRel; pairs with AcqRel in `Node::exchange`: a touch that succeeded read its
        // clock before; one that fails from now on sees the freeze.
        Frozen(Deadline::from_bits(
            self.deadline.fetch_or(Deadline::DEAD.frozen().to_bits(), Ordering::AcqRel),
        ))
    }

    /// Returns the current deadline, for `claim_seen`. Requires the lock.
    #[inline]
    pub(crate) fn seen(&self) -> Seen {
        #[cfg(tidewheel_loom)]
        self.step();
        Seen(self.load())
    }

    /// Makes a step that loom sees, and nothing else. Loom remembers the latest access to a word.
    /// If another thread loads the deadline after this thread and then moves it, loom has forgotten
    /// this thread's load by then, and never tries the order in which the other thread comes first.
    #[cfg(tidewheel_loom)]
    fn step(&self) {
        // ORDERING: Relaxed; only the scheduler of the models has to see it, and it publishes
        // nothing.
        self.deadline.fetch_or(0, Ordering::Relaxed);
    }

    /// Does `freeze` and `claim` in one step. Succeeds if the entry was alive at `now`, its
    /// deadline is still the one that was seen, and the new deadline is no earlier. Otherwise
    /// returns false and does nothing. Requires the lock.
    ///
    /// `now` may be a reading from before `seen`, and a touch that succeeded may have used a later
    /// one. The deadline that such a touch promised is not later than the one that was seen, and so
    /// not later than the new one.
    #[inline]
    pub(crate) fn claim_seen(&self, Seen(seen): Seen, now: Tick, deadline: Tick) -> bool {
        let is_later = deadline >= seen.tick();
        is_later && !seen.is_over(now) && self.exchange(seen, Deadline::at(deadline).frozen()).is_ok()
    }

    /// Claims a frozen entry: it lives until `deadline` at least, and stays frozen, because a
    /// replacement follows. Returns false, and the entry is dead, if it had expired by `now` or a
    /// reader has found it expired since. Requires the lock.
    pub(crate) fn claim(&self, frozen: &Frozen, now: Tick, deadline: Tick) -> bool {
        let Frozen(before) = *frozen;
        if before.is_over(now) {
            self.expire(before.frozen(), now);
            return false;
        }
        let until = Deadline::at(deadline.max(before.tick()));
        self.exchange(before.frozen(), until.frozen()).is_ok()
    }

    /// Ends the freeze of an entry that stays as it was. (A deadline that was frozen before stays
    /// frozen, and an entry that a reader has found expired since stays dead.) Requires the lock.
    pub(crate) fn thaw(&self, Frozen(before): Frozen) {
        let _ = self.exchange(before.frozen(), before);
    }

    /// Sets another deadline on a frozen entry, earlier or later, and ends the freeze. Returns false in
    /// the same cases as `claim`. Requires the lock.
    pub(crate) fn reset(&self, frozen: &Frozen, now: Tick, deadline: Deadline) -> bool {
        let Frozen(before) = *frozen;
        if before.is_over(now) {
            self.expire(before.frozen(), now);
            return false;
        }
        self.exchange(before.frozen(), deadline).is_ok()
    }

    /// Performs a touch that needs the lock. `deadline_at` returns the deadline for a clock reading
    /// and the previous deadline, and never an earlier one. Requires the lock.
    pub(crate) fn touch_locked(
        &self,
        clock: &Timeline,
        deadline_at: impl FnOnce(Tick, Deadline) -> Deadline,
    ) -> bool {
        let frozen = self.freeze();
        let now = clock.now();
        let before = frozen.0.unfrozen();
        let later = deadline_at(now, before);
        debug_assert!(later.tick() >= before.tick(), "a touch does not shorten");
        self.reset(&frozen, now, later)
    }

    /// Ends the entry. Returns whether it was still alive at `now`, a reading from before this call.
    /// Requires the lock.
    pub(crate) fn kill(&self, now: Tick) -> bool {
        // ORDERING: AcqRel; pairs with `Node::exchange`: a touch that comes later fails, and one
        // that came before is seen; and with Acquire in `Node::load`: a reader that finds the entry
        // gone sees what its writer did before.
        let before = Deadline::from_bits(self.deadline.swap(Deadline::DEAD.to_bits(), Ordering::AcqRel));
        !before.is_over(now)
    }

    /// Ends the entry if it has expired by `now`, and returns the deadline that had passed: 0 if
    /// another thread had found it passed before. Otherwise returns, as the error, when it will
    /// expire. Requires the lock.
    pub(crate) fn reap(&self, now: Tick) -> Result<Tick, Tick> {
        let mut seen = self.load();
        loop {
            if seen.is_dead() {
                return Ok(seen.tick());
            }
            if !seen.is_over(now) {
                return Err(seen.tick());
            }
            match self.exchange(seen, Deadline::DEAD) {
                Ok(()) => return Ok(seen.tick()),
                Err(actual) => seen = actual,
            }
        }
    }

    /// Returns the deadline's current tick; 0 if dead. For the wheel and for `validate`.
    pub(crate) fn deadline(&self) -> Tick {
        self.load().tick()
    }

    /// Returns whether the deadline is this one, frozen or not.
    pub(crate) fn ends_at(&self, deadline: Deadline) -> bool {
        self.load().unfrozen() == deadline
    }
}

impl<K, V> fmt::Debug for Node<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("deadline", &self.load()).finish_non_exhaustive()
    }
}
