//! Pins and grace periods: who looks, and when all who could have seen something have looked away.
//!
//! A reader *pins* its thread while it looks at arrays and nodes of a table. Whoever has unlinked something begins
//! a *grace period*, which is over once every pin that was there at its beginning is gone. This file knows
//! neither what is protected nor what happens after a grace period.
//!
//! # Two kinds
//!
//! The pin of crossbeam-epoch costs a locked instruction, which nothing else of a read needs. Where the
//! kernel offers a process-wide barrier (Linux, `membarrier`), a pin is two loads and a store to a *slot*
//! of the thread's own, and the price is paid by whoever ends grace periods, once for hundreds of values.
//! Everywhere else, and where the kernel refuses, pins and grace periods are crossbeam-epoch's, with a collector
//! of the crate's own, so that other users of that crate can neither stall it nor run on our reaper.
//!
//! # Slots
//!
//! `EPOCH` counts grace periods. A pinned thread's slot holds the epoch that it read when it pinned, else 0. A
//! grace period takes a number, and the epoch moves on. To look whether grace periods are over, [`advance`] reads the epoch,
//! has the barrier, and then reads every slot: grace periods with smaller numbers than all that it has read are
//! over. Why that is right, for a grace period with number `g` and a pin with epoch `e`:
//!
//! - **E1** If `e > g`, the reader read an epoch that `g` was taken before (Acquire against Release): it
//!   sees everything that was unlinked before `g` was taken, so it does not find it.
//! - **E2** If `e <= g` and the advance saw the slot, it does not count `g` as over.
//! - **E3** If `e <= g` and the advance saw the slot as it was before the pin, then the advance's barrier comes before
//!   the pin's (of two SeqCst fences one is first), and the reader sees everything that was unlinked before
//!   the advance, so it does not find it either.
//! - **E4** A slot is stored with Release and read with Acquire: what a reader did under an earlier pin is
//!   done before the grace period is over.
//!
//! The idea of an asymmetric barrier is that of the "memb" flavour of user-space RCU (Desnoyers et al.,
//! "User-Level Implementations of Read-Copy Update", IEEE TPDS 23(2), 2012).
//!
//! # Where the barrier is taken away
//!
//! A filter for system calls that a program puts on itself after the first cache may refuse the barrier that there was
//! until then. Readers cannot be told to pay for a fence of their own from then on: who does not look, is not told, and to
//! look would cost every pin. So time takes the barrier's place ([`instead`]): an advance goes by the epoch that an advance read
//! 100 ms before it, and by the slots as they are now.
//!
//! - **E5** What the barrier has to rule out for E3 is that a reader's look at the table comes before its slot is seen to be stored. Between
//!   the two is no more than the time for which a processor holds back a store that it has executed: microseconds. A thread that is
//!   interrupted between them passes a full barrier on the way. So if an advance does not see the slot, the reader looked
//!   less than 100 ms before the advance, which is after the unlinking, and does not find what was unlinked.
//!
//! No language's memory model has such a bound, but every processor keeps it, and the kernel's clock interrupt would see to it if none did: "Temporally
//! Bounding TSO for Fence-Free Asymmetric Synchronization" (Morrison and Afek, ASPLOS 2015) builds on it. Why no other system call
//! does it: `src/docs/decisions.md`.
//!
//! Never pin for the first time, nor start or advance a grace period, under a lock.

use crate::process::fork::undisturbed;
use crate::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use crate::sync::epoch::{Collector, Guard, LocalHandle};
use crate::sync::{Alarm, Arc, CachePadded, Mutex, barrier, lasting, lazy_static, thread_local};
use crate::time::{Span, Tick, Trust};
use std::cell::Cell;
use std::fmt;
use std::io::{Write, stderr};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::time::Duration;

/// A pinned thread: what it can reach stays in memory until this is dropped. Stays on its thread, whose `LOCAL`
/// has all there is to know of it, so that a pin is nothing to carry around.
pub(crate) struct Pin {
    pub(super) on_this_thread: PhantomData<*const ()>,
}

/// A thread's place, which others read. Never freed: a thread that ends leaves it to the next.
struct Slot {
    /// The epoch of the outermost pin; 0 for none.
    pinned: AtomicU64,
    taken: AtomicBool,
    next: Next,
}

/// The next slot in the chain of all slots; null at its end. (T7)
struct Next(AtomicPtr<CachePadded<Slot>>);

lasting! {
    /// The number of the next grace period, from 1 on.
    static EPOCH: CachePadded<AtomicU64> = CachePadded::new(AtomicU64::new(1));
}
lasting! {
    /// Graces with smaller numbers are over. Only ever grows.
    static OVER: CachePadded<AtomicU64> = CachePadded::new(AtomicU64::new(1));
}
lasting! {
    static SLOTS: Next = Next(AtomicPtr::new(std::ptr::null_mut()));
}

/// What a thread knows of its own pins.
struct Local {
    pins: Cell<usize>,
    /// The slot for the outermost pin. Without one it is rarer, and in `other` while it lasts.
    slot: Cell<Option<&'static CachePadded<Slot>>>,
    /// Without a destructor, as is all of this. A pin that is never dropped is never undone either.
    other: Cell<Option<ManuallyDrop<Other>>>,
    /// Has nothing to do with pins, and lies here because every reader is here anyway.
    trust: Trust,
}

/// An outermost pin that is not in the thread's slot.
enum Other {
    /// Of the other kind.
    Guard(Guard),
    /// In a slot that goes back with the pin, since the thread is about to end.
    Late(&'static CachePadded<Slot>),
}

/// Gives the slot back when the thread ends.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        let _ = LOCAL.try_with(|local| match local.slot.take() {
            Some(slot) if local.pins.get() == 0 => slot.leave(),
            Some(slot) => local.other.set(Some(ManuallyDrop::new(Other::Late(slot)))),
            None => {}
        });
    }
}

/// Under shuttle `LOCAL` goes before `LEAVE`, and has to see to it: slots outlive schedules, and would become ever more.
#[cfg(tidewheel_shuttle)]
impl Drop for Local {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.leave();
        }
    }
}

thread_local! {
    // Without a destructor, so that a look at it is a look and no more.
    static LOCAL: Local = const {
        Local { pins: Cell::new(0), slot: Cell::new(None), other: Cell::new(None), trust: Trust::new() }
    };
}
thread_local! {
    static LEAVE: Leave = const { Leave };
}

lazy_static! {
    static ref COLLECTOR: Collector = Collector::new();
}
thread_local! {
    static HANDLE: LocalHandle = COLLECTOR.register();
}

/// A pin of the other kind. Works in destructors of thread-locals too.
fn guard() -> Guard {
    HANDLE.try_with(LocalHandle::pin).unwrap_or_else(|_| COLLECTOR.register().pin())
}

impl Pin {
    /// Pins this thread. Works in destructors of thread-locals too.
    #[inline]
    pub(crate) fn new() -> Self {
        LOCAL.with(Local::enter);
        Self { on_this_thread: PhantomData }
    }

    /// Whether this thread holds a pin: it then cannot see garbage become reclaimable.
    pub(crate) fn is_held() -> bool {
        LOCAL.try_with(|local| local.pins.get() > 0).unwrap_or(false)
    }

    /// What this thread knows of the kept time. With the pin, since that has just been at the same place.
    #[inline]
    #[allow(clippy::unused_self, reason = "it is the proof that the place is near")]
    pub(crate) fn with_trust<R>(&self, f: impl FnOnce(&Trust) -> R) -> R {
        LOCAL.with(|local| f(&local.trust))
    }

    /// Lets go of what was reachable so far and pins anew, unless this thread holds another pin.
    pub(crate) fn renew(&mut self) {
        LOCAL.with(Local::renew);
    }
}

impl Drop for Pin {
    #[inline]
    fn drop(&mut self) {
        LOCAL.with(Local::exit);
    }
}

/// For `Brief`: whether this thread is pinned now and was not before, which took no more than a look.
#[inline(always)]
pub(super) fn enter_at_once() -> bool {
    LOCAL.with(Local::enter_at_once)
}

/// The end of a pin that was made so.
#[inline(always)]
pub(super) fn exit_at_once() {
    LOCAL.with(Local::exit_at_once);
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin")
    }
}

impl Local {
    #[inline]
    fn enter(&self) {
        let pins = self.pins.get();
        if pins != 0 {
            // Of one more than can be counted, the end would unpin those that are still there.
            let Some(more) = pins.checked_add(1) else { too_many() };
            return self.pins.set(more);
        }
        self.pins.set(1);
        match self.slot.get() {
            Some(slot) => slot.pin(),
            None => self.enter_otherwise(),
        }
    }

    /// Whether nothing else had to be done for the outermost pin than to pin the slot.
    #[inline(always)]
    fn enter_at_once(&self) -> bool {
        match self.slot.get() {
            Some(slot) if self.pins.get() == 0 => {
                self.pins.set(1);
                slot.pin();
                true
            }
            _ => false,
        }
    }

    #[inline(always)]
    fn exit_at_once(&self) {
        let others = self.pins.get() - 1;
        self.pins.set(others);
        // Else there are pins that were made meanwhile, the last of which unpins it.
        if others == 0 {
            // SAFETY: T7: a thread has its slot from its first pin until it ends.
            unsafe { self.slot.get().unwrap_unchecked() }.unpin();
        }
    }

    /// A thread's first pin, a late one, and every pin of the other kind.
    #[cold]
    fn enter_otherwise(&self) {
        if !barrier::is_available() {
            self.other.set(Some(ManuallyDrop::new(Other::Guard(guard()))));
            return;
        }
        let slot = Slot::claim();
        if LEAVE.try_with(|_| {}).is_ok() {
            self.slot.set(Some(slot));
        } else {
            self.other.set(Some(ManuallyDrop::new(Other::Late(slot))));
        }
        slot.pin();
    }

    #[inline]
    fn exit(&self) {
        let pins = self.pins.get() - 1;
        self.pins.set(pins);
        if pins == 0 {
            match self.slot.get() {
                Some(slot) => slot.unpin(),
                None => self.exit_otherwise(),
            }
        }
    }

    #[cold]
    fn exit_otherwise(&self) {
        match self.other.take().map(ManuallyDrop::into_inner) {
            Some(Other::Guard(guard)) => drop(guard),
            Some(Other::Late(slot)) => {
                slot.unpin();
                slot.leave();
            }
            None => {}
        }
    }

    fn renew(&self) {
        if self.pins.get() != 1 {
            return;
        }
        if let Some(slot) = self.slot.get() {
            slot.pin();
        } else if let Some(mut other) = self.other.take() {
            match &mut *other {
                Other::Guard(guard) => guard.repin(),
                Other::Late(slot) => slot.pin(),
            }
            self.other.set(Some(other));
        }
    }
}

#[cold]
fn too_many() -> ! {
    panic!("a thread has forgotten more read guards than can be counted");
}

impl Slot {
    #[inline]
    fn pin(&self) {
        // ORDERING: Acquire; pairs with Release in `GracePeriod::begin` (E1).
        let epoch = EPOCH.load(Ordering::Acquire);
        // ORDERING: Release; pairs with Acquire in `advance` (E4).
        self.pinned.store(epoch, Ordering::Release);
        // Pairs with the heavy half in `advance` (E3).
        barrier::light();
    }

    #[inline]
    fn unpin(&self) {
        // ORDERING: Release; pairs with Acquire in `advance` (E4).
        self.pinned.store(0, Ordering::Release);
    }

    /// For whoever has claimed it.
    fn leave(&self) {
        // ORDERING: Release; pairs with Acquire in `Slot::claim`: this thread's last store to the slot.
        self.taken.store(false, Ordering::Release);
    }

    /// A slot that no other thread has.
    fn claim() -> &'static CachePadded<Self> {
        let mut place: &Next = &SLOTS;
        loop {
            let slot = place.get().unwrap_or_else(|| place.extend());
            // ORDERING: Relaxed; a look, so that those which are taken keep their lines. The exchange decides.
            let is_free = !slot.taken.load(Ordering::Relaxed);
            // ORDERING: Acquire; pairs with Release in `Slot::leave`. On failure nothing is learnt.
            let claim = || slot.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
            if is_free && claim().is_ok() {
                return slot;
            }
            place = &slot.next;
        }
    }
}

impl Next {
    fn get(&self) -> Option<&'static CachePadded<Slot>> {
        // ORDERING: Acquire; pairs with Release in `extend`: the slot itself.
        let slot = self.0.load(Ordering::Acquire);
        // SAFETY: T7.
        unsafe { slot.as_ref() }
    }

    /// Puts a slot here, unless another thread just has.
    fn extend(&self) -> &'static CachePadded<Slot> {
        let new = Box::into_raw(Box::new(CachePadded::new(Slot {
            pinned: AtomicU64::new(0),
            taken: AtomicBool::new(false),
            next: Self(AtomicPtr::new(std::ptr::null_mut())),
        })));
        // ORDERING: Release; pairs with Acquire in `get`. On failure Acquire, as in `get`.
        let put = self.0.compare_exchange(std::ptr::null_mut(), new, Ordering::Release, Ordering::Acquire);
        match put {
            // SAFETY: T7: from here on it is never freed.
            Ok(_) => unsafe { &*new },
            Err(other) => {
                // SAFETY: T7: it did not get into the chain; nobody else knows it.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: T7.
                unsafe { &*other }
            }
        }
    }
}

/// A wait for all pins that were there when it began.
#[derive(Debug)]
pub(crate) enum GracePeriod {
    /// Its number.
    Numbered(u64),
    /// Set by a deferred closure.
    Flagged(Arc<AtomicBool>),
}

impl GracePeriod {
    /// Begins a grace period for what this thread has unlinked, or knows to be unlinked.
    pub(crate) fn begin() -> Self {
        if !barrier::is_available() {
            return Self::Flagged(Arc::new(AtomicBool::new(false)));
        }
        // ORDERING: Release; pairs with Acquire in `Slot::pin` (E1) and in `advance`: what was unlinked.
        Self::Numbered(EPOCH.fetch_add(1, Ordering::Release))
    }

    /// Lets it come to an end. To be called once, outside the lock.
    pub(crate) fn start(&self) {
        let Self::Flagged(over) = self else { return };
        let over = Arc::clone(over);
        let guard = guard();
        // ORDERING: Release; pairs with Acquire in `is_over`. What makes the flag's moment late enough is
        // the epoch: it runs after every guard that was pinned at the unlinking is gone.
        guard.defer(move || over.store(true, Ordering::Release));
        guard.flush();
    }

    pub(crate) fn is_over(&self) -> bool {
        match self {
            // ORDERING: Acquire; pairs with Release in `advance`: what readers did before they let go.
            Self::Numbered(number) => *number < OVER.load(Ordering::Acquire),
            // ORDERING: Acquire; pairs with Release in `start`: as above.
            Self::Flagged(over) => over.load(Ordering::Acquire),
        }
    }
}

/// Pushes of crossbeam's epochs that end a grace period, if no pin is in the way, with some to spare: it takes two, and
/// each runs eight closures at most.
const ADVANCES: usize = if cfg!(tidewheel_loom) { 1 } else { 16 };

/// In a fork's child: the pins of threads that are not there are over, and their slots are for others. (Those of crossbeam's kind
/// cannot be told: they last for ever.)
pub(crate) fn inherit() {
    // Both kinds of places that this thread has: it goes on here.
    let own = LOCAL.try_with(|local| {
        let other = local.other.take();
        let late = match other.as_deref() {
            Some(Other::Late(slot)) => Some(*slot),
            Some(Other::Guard(_)) | None => None,
        };
        local.other.set(other);
        [local.slot.get(), late]
    });
    let own = own.unwrap_or([None; 2]);
    let mut place: &Next = &SLOTS;
    while let Some(slot) = place.get() {
        if !own.iter().flatten().any(|own| std::ptr::eq(*own, slot)) {
            slot.unpin();
            slot.leave();
        }
        place = &slot.next;
    }
}

/// Settles which kind of pins there are, if nobody has yet. Where threads run already, the kernel takes some 15 ms to let a process have
/// its barrier, once: that is for whoever builds a table, and not for the first to read it.
pub(crate) fn settle() {
    if !barrier::is_available() {
        // Not while the process forks: in the child nobody would come back to what was half made.
        undisturbed(|| drop(Collector::clone(&COLLECTOR)));
    }
}

/// As [`advance`], as often as it takes for what was begun long enough ago.
pub(crate) fn advance_fully() {
    let advances = if barrier::is_available() { 1 } else { ADVANCES };
    (0..advances).for_each(|_| advance());
}

lasting! {
    /// When there was an advance for what was there for long.
    static LAST: AtomicU64 = AtomicU64::new(0);
}

/// Whether there was none within this time, and it is the caller's turn.
pub(super) fn is_time_to_advance(now: Tick, every: Span) -> bool {
    // ORDERING: Relaxed; whoever is first. One advance more or less does not matter.
    let last = LAST.load(Ordering::Relaxed);
    // ORDERING: Relaxed, both; as above.
    let begin = || LAST.compare_exchange(last, now.as_nanos(), Ordering::Relaxed, Ordering::Relaxed);
    now >= Tick::from_nanos(last).after(every) && begin().is_ok()
}

/// Looks whether grace periods are over, of all tables.
///
/// With slots one look suffices. Of crossbeam's epochs it takes several to end a grace period; each runs a few of the
/// crate's own closures.
pub(crate) fn advance() {
    if !barrier::is_available() {
        guard().flush();
        return;
    }
    // ORDERING: Acquire; pairs with Release in `GracePeriod::begin`: what was unlinked before any grace period that may be
    // counted as over here comes before the barrier (E3).
    let mut over = EPOCH.load(Ordering::Acquire);
    if !barrier::heavy() {
        let Some(earlier) = instead(over) else { return };
        over = earlier;
    }
    let mut place: &Next = &SLOTS;
    while let Some(slot) = place.get() {
        // ORDERING: Acquire; pairs with Release in `Slot::pin` and `Slot::unpin` (E4).
        let pinned = slot.pinned.load(Ordering::Acquire);
        if pinned != 0 {
            over = over.min(pinned);
        }
        place = &slot.next;
    }
    // ORDERING: Release; pairs with Acquire in `GracePeriod::is_over`. A read-modify-write, so that what other
    // advances published stays published.
    OVER.fetch_max(over, Ordering::Release);
}

/// For so long nobody holds back a store: many thousand times as long as any processor does.
const SETTLED: Duration = Duration::from_millis(100);

/// In place of a barrier that the kernel refused: an epoch that was read so long ago that all stores that were made before are there
/// to be seen (E5). `None`: not yet, or another thread is about to ask.
#[cold]
fn instead(epoch: u64) -> Option<u64> {
    lasting! {
        static READ: Mutex<Option<(u64, Alarm)>> = Mutex::new(None);
    }
    say_so();
    let mut read = READ.try_lock()?;
    if read.as_ref().is_some_and(|(_, settled)| !settled.is_over()) {
        return None;
    }
    let earlier = read.replace((epoch, Alarm::after(SETTLED)));
    earlier.map(|(epoch, _)| epoch)
}

/// Once in a process, on its standard error.
fn say_so() {
    lasting! {
        static SAID: AtomicBool = AtomicBool::new(false);
    }
    // ORDERING: Relaxed; who is first is all there is to know.
    if !SAID.swap(true, Ordering::Relaxed) {
        // Who does not listen need not hear it.
        let _ = writeln!(
            stderr(),
            "tidewheel: the kernel has begun to refuse `membarrier` to this process (a filter for system calls?). \
             All goes on, but what is removed is dropped a fifth of a second later than before."
        );
    }
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// What a 32-bit program comes to that forgets guards for long enough.
    #[test]
    fn pins_that_cannot_be_counted_are_refused_and_the_others_stay() {
        let run = || {
            let first = Pin::new();
            LOCAL.with(|local| local.pins.set(usize::MAX));
            assert!(std::panic::catch_unwind(Pin::new).is_err());
            LOCAL.with(|local| assert_eq!(local.pins.replace(1), usize::MAX));
            assert!(Pin::is_held());
            drop(first);
            assert!(!Pin::is_held());
        };
        std::thread::spawn(run).join().unwrap();
    }

    fn slots() -> usize {
        std::iter::successors(SLOTS.get(), |slot| slot.next.get()).count()
    }

    /// Threads that come one after the other take the same slot, also where one ends with a pin that its thread-local
    /// destructors drop after the slot's own.
    #[test]
    fn a_thread_that_ends_leaves_its_slot_to_the_next() {
        const THREADS: usize = 400;
        thread_local! {
            static LAST: RefCell<Option<Pin>> = const { RefCell::new(None) };
        }
        for is_last in [false, true] {
            let before = slots();
            for _ in 0..THREADS {
                let run = move || {
                    // Its destructor is registered before the thread's first pin.
                    LAST.with_borrow_mut(|last| *last = None);
                    let pin = Pin::new();
                    if is_last {
                        LAST.set(Some(pin));
                    }
                };
                std::thread::spawn(run).join().unwrap();
            }
            // Other tests have threads too.
            assert!(slots() - before < THREADS / 2, "{} slots more", slots() - before);
        }
    }
}
