//! A node: one entry as readers see it.
//!
//! Key and value never change once the node is published; the deadline is the one truth
//! about whether the entry is alive, and every change of it is a compare-and-swap or happens once, at
//! the end. Beside that it says, for writers alone, under which home and row its entry is filed: so they come from what is found to
//! the ledger, and a node that takes another's place leaves these as they are. A node never knows its bucket.
//!
//! # The life of a deadline
//!
//! ```text
//!        touch, read (no lock): d -> later d
//!            +--------------------------------+
//!            v                                |
//!   d ---> frozen d ---> frozen later d ---> (node replaced)        a writer, under the lock
//!   |         |  \
//!   |         |   +---> other d (set_ttl, persist)
//!   |         v
//!   +------> DEAD <--- a reader that saw the deadline pass, the reaper, a removal
//! ```
//!
//! `DEAD` is final. That an entry expired is decided once, for everybody: whoever finds the deadline
//! passed makes it `DEAD` before acting on it, so that a touch or an update which read the clock
//! in time and was then held up cannot bring back what somebody has already seen gone.
//!
//! A read restarts the time to idle as a touch restarts the time to live, in caches that have one; it takes the
//! lock where a touch does, and where it cannot know what else ends the entry. A deadline that has come to
//! that end says so by a flag, and reads leave it alone.
//!
//! A freeze goes with the critical section that set it, except where a new time to live comes to the very
//! deadline that was there: then it stays, and touches take the lock, until the deadline moves.

use super::epoch::Pin;
use crate::rows::RowId;
use crate::sync::Canary;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::time::{Deadline, Tick, Timeline};
use std::fmt;
use std::mem::ManuallyDrop;

/// What became of a touch that tried to do without the lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Touch {
    /// The entry lives at least its time to live from now.
    Done,
    /// It is over.
    Gone,
    /// A writer is about to replace or move the deadline, or the entry's time to live is in the ledger:
    /// take the lock and look again.
    Locked,
}

/// Proof that a writer has frozen a node's deadline, and what it was.
#[derive(Debug)]
#[must_use]
pub(crate) struct Frozen(Deadline);

impl Frozen {
    /// Whether the entry was alive at `now`, a clock reading that follows the freeze, or is not before that of any touch that it shows.
    pub(crate) fn was_alive(&self, now: Tick) -> bool {
        !self.0.is_over(now)
    }

    /// The deadline's tick as it was: 0 if it was dead.
    pub(crate) fn tick(&self) -> Tick {
        self.0.tick()
    }
}

/// A deadline that a writer has seen, and not frozen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen(Deadline);

impl Seen {
    /// Its tick: 0 if the entry was dead.
    pub(crate) fn tick(self) -> Tick {
        self.0.tick()
    }
}

/// Where an entry is filed: for as long as it is there, whatever node it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Filed {
    pub(super) row: RowId,
    pub(super) home: u32,
}

pub(crate) struct Node<K, V> {
    deadline: AtomicU64,
    /// For writers, under the lock.
    pub(super) filed: Filed,
    /// Dropped by `Retired::drop_contents` alone, one by one.
    pub(super) key: ManuallyDrop<K>,
    pub(super) value: ManuallyDrop<V>,
    pub(super) canary: Canary,
}

impl<K, V> Node<K, V> {
    /// Makes a node in its place out of an entry, which is taken from where it lies: a large value is copied once, from there
    /// to here, and stands on no stack in between.
    ///
    /// # Safety
    ///
    /// T9: the place is a node's, and nobody looks at it.
    #[inline]
    pub(super) unsafe fn make(
        place: *mut Self,
        entry: &mut Option<(K, V)>,
        deadline: Deadline,
        filed: Filed,
    ) {
        let (key, value) = entry.as_ref().expect("what is stored is there");
        // SAFETY: T9. `ManuallyDrop` has its content's layout. Nothing can panic before the entry's old place is
        // marked as empty, without its destructors: so it is in one place at any time.
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
        // ORDERING: Acquire; pairs with AcqRel in `Node::exchange`: whoever sees a deadline that `reset`
        // set sees that times to live are not all alike (`Config::is_uniform`).
        Deadline::from_bits(self.deadline.load(Ordering::Acquire))
    }

    /// Moves the deadline from what was seen; the actual one if somebody was faster.
    #[inline]
    fn exchange(&self, seen: Deadline, new: Deadline) -> Result<(), Deadline> {
        // ORDERING: AcqRel; pairs with Acquire in `Node::load` and with itself: orders a touch's clock
        // reading before that which follows a freeze. Acquire on failure; as `load`.
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

    /// Whether a reader sees this entry as a look shows: if not, it may still do so. `NEVER` reads no clock.
    #[inline]
    pub(crate) fn is_plainly_visible(&self, clock: &Timeline, pin: &Pin) -> bool {
        let deadline = self.load();
        deadline.is_never() || pin.with_trust(|trust| clock.shows(deadline, trust))
    }

    /// Whether a reader sees this entry. `NEVER` reads no clock.
    #[inline]
    pub(crate) fn is_visible(&self, now: impl FnOnce() -> Tick) -> bool {
        let deadline = self.load();
        if deadline.is_never() {
            return true;
        }
        let now = now();
        !deadline.is_over(now) || !self.expire(deadline, now)
    }

    /// Makes an entry whose deadline has passed `DEAD`; false if it was moved on in the meantime.
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

    /// The tick from which the entry is invisible (`NEVER` for never); `None` if it is over at `now`.
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

    /// Restarts the time to live without the lock: never shortens, and leaves an entry alone that
    /// never expires. `deadline_at` gives the deadline for a clock
    /// reading, if it is known without the lock.
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
            // After `seen` was loaded; see `load`.
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

    /// A read that counts as use, in a cache with a time to idle: whether the reader sees the entry, and if so,
    /// restarts the time to idle without the lock, by the readers' clock. Never shortens. `idle_at` gives the
    /// deadline for a clock reading, where nothing but idleness ends the entry; `is_free` says whether that
    /// is so for all entries.
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
                // Even where the deadline will do: the node that replaces this one may have an earlier one,
                // from a clock reading before ours.
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

    /// Under the lock: from here on no touch succeeds without the lock, so a clock reading that follows
    /// is not before that of any touch that did.
    pub(crate) fn freeze(&self) -> Frozen {
        // ORDERING: AcqRel; pairs with AcqRel in `Node::exchange`: a touch that succeeded read its clock
        // before; one that fails from now on sees the freeze.
        Frozen(Deadline::from_bits(
            self.deadline.fetch_or(Deadline::DEAD.frozen().to_bits(), Ordering::AcqRel),
        ))
    }

    /// Under the lock: the deadline as it is now, for `claim_seen`.
    #[inline]
    pub(crate) fn seen(&self) -> Seen {
        #[cfg(tidewheel_loom)]
        self.step();
        Seen(self.load())
    }

    /// Nothing but a step that loom sees. Of the accesses to a word it remembers the latest: if another thread looks at the deadline after us, and then
    /// moves it, our look is forgotten by then, and the way in which that thread comes first is never tried.
    #[cfg(tidewheel_loom)]
    fn step(&self) {
        // ORDERING: Relaxed; it is to be seen by the scheduler of the models, and publishes nothing.
        self.deadline.fetch_or(0, Ordering::Relaxed);
    }

    /// Under the lock: `freeze` and `claim` in one step, where the entry was alive at `now`, its deadline is still what was seen, and the one that
    /// comes is no earlier. False if not: then nothing is done.
    ///
    /// `now` may be a reading from before the look, and a touch that succeeded may have gone by a later one: what it was promised is not
    /// later than the deadline that was seen, however it was come by, and so not later than the one that comes.
    #[inline]
    pub(crate) fn claim_seen(&self, Seen(seen): Seen, now: Tick, deadline: Tick) -> bool {
        let is_later = deadline >= seen.tick();
        is_later && !seen.is_over(now) && self.exchange(seen, Deadline::at(deadline).frozen()).is_ok()
    }

    /// Under the lock, after a freeze: the entry lives until `deadline` at least, and stays frozen, because
    /// a replacement is about to take over. False, and the entry is over, if its time had come by `now`
    /// or a reader saw it come since.
    pub(crate) fn claim(&self, frozen: &Frozen, now: Tick, deadline: Tick) -> bool {
        let Frozen(before) = *frozen;
        if before.is_over(now) {
            self.expire(before.frozen(), now);
            return false;
        }
        let until = Deadline::at(deadline.max(before.tick()));
        self.exchange(before.frozen(), until.frozen()).is_ok()
    }

    /// Under the lock, after a freeze: another deadline, shorter or longer; takes the freeze off, unless only
    /// the freeze can tell the two apart. False as in `claim`.
    pub(crate) fn reset(&self, frozen: &Frozen, now: Tick, deadline: Deadline) -> bool {
        // A touch that loaded the old deadline, and reckons with the old time to live, must not find its
        // comparison true. Where the deadline is the same, the freeze stays until it moves.
        let looks_the_same = deadline == frozen.0.unfrozen() && !deadline.is_never();
        self.conclude(frozen, now, deadline, looks_the_same)
    }

    /// Under the lock: the touch that could not be done without. `deadline_at` gives the deadline for a clock
    /// reading and the deadline that was there, and never an earlier one.
    pub(crate) fn touch_in_turn(
        &self,
        clock: &Timeline,
        deadline_at: impl FnOnce(Tick, Deadline) -> Deadline,
    ) -> bool {
        let frozen = self.freeze();
        let now = clock.now();
        let before = frozen.0.unfrozen();
        let later = deadline_at(now, before);
        debug_assert!(later.tick() >= before.tick(), "a touch does not shorten");
        let stays = frozen.0.is_frozen() && later == before;
        self.conclude(&frozen, now, later, stays)
    }

    fn conclude(&self, frozen: &Frozen, now: Tick, deadline: Deadline, stays: bool) -> bool {
        let Frozen(before) = *frozen;
        if before.is_over(now) {
            self.expire(before.frozen(), now);
            return false;
        }
        let after = if stays { deadline.frozen() } else { deadline };
        self.exchange(before.frozen(), after).is_ok()
    }

    /// Under the lock: ends the entry. Whether it was still alive at `now`, which the caller reads before.
    pub(crate) fn kill(&self, now: Tick) -> bool {
        // ORDERING: AcqRel; pairs with `Node::exchange`: a touch that comes later fails, one that came
        // before is seen.
        let before = Deadline::from_bits(self.deadline.swap(Deadline::DEAD.to_bits(), Ordering::AcqRel));
        !before.is_over(now)
    }

    /// Under the lock, for the reaper: ends the entry if its time has come by `now`; else says when it will. Returns
    /// the deadline that had passed: 0 if somebody came across it before.
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

    /// The deadline's tick as it is now; 0 when dead. For the wheel and for `validate`.
    pub(crate) fn deadline(&self) -> Tick {
        self.load().tick()
    }

    /// Whether the deadline is this one, frozen or not.
    pub(crate) fn ends_at(&self, deadline: Deadline) -> bool {
        self.load().unfrozen() == deadline
    }
}

impl<K, V> fmt::Debug for Node<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("deadline", &self.load()).finish_non_exhaustive()
    }
}
