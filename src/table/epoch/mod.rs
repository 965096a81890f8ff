//! Pins and grace periods: which threads read, and when all that may have seen something have gone.
//!
//! A reader *pins* its thread while it looks at the arrays and nodes of a table. A thread that has
//! unlinked something begins a *grace period*. It is over when every pin is gone that existed when
//! it began. This file knows neither what is protected nor what happens after a grace period.
//!
//! # Two kinds
//!
//! The pin of crossbeam-epoch costs a locked instruction, which nothing else in a read needs. Where
//! the kernel offers a process-wide barrier (Linux, `membarrier`), a pin costs two loads and a
//! store to a *slot* that belongs to the thread. The thread that ends grace periods pays the rest,
//! once for hundreds of values. Everywhere else, and where the kernel refuses the barrier, pins and
//! grace periods are those of crossbeam-epoch, with a collector of this crate's own. So other users
//! of that crate cannot hold it up, and their deferred closures do not run on our reaper.
//!
//! # Slots
//!
//! `EPOCH` counts grace periods. The slot of a pinned thread holds the epoch that the thread read
//! when it pinned; otherwise it holds 0. A grace period takes a number and advances the epoch. To
//! end grace periods, [`advance`] reads the epoch, executes the barrier, and then reads every slot.
//! Grace periods whose numbers are smaller than this epoch and than all epochs in slots are over.
//! For a grace period with number `g` and a pin with epoch `e`:
//!
//! - **E1** If `e > g`, the reader read an epoch that was stored after `g` was taken (Acquire
//!   against Release). It sees everything that was unlinked before `g` was taken, so it does not
//!   find it.
//! - **E2** If `e <= g` and the advance saw the pinned slot, it does not count `g` as over.
//! - **E3** If `e <= g` and the advance saw the slot as it was before the pin, then the advance's
//!   barrier comes before the pin's (of two SeqCst fences one is first). The reader sees everything
//!   that was unlinked before the advance, so it does not find it either.
//! - **E4** A slot is stored with Release and read with Acquire: everything that a reader did under
//!   an earlier pin is done before the grace period is over.
//!
//! The asymmetric barrier is that of the "memb" flavour of user-space RCU (Desnoyers et al.,
//! "User-Level Implementations of Read-Copy Update", IEEE TPDS 23(2), 2012).
//!
//! # When the kernel takes the barrier away
//!
//! A filter for system calls that a program installs after its first cache may refuse the barrier.
//! Readers cannot switch to a fence of their own: a check for that would cost every pin. So time
//! replaces the barrier ([`instead`]): an advance uses the epoch that an earlier advance read 100
//! ms before, and the slots as they are now.
//!
//! - **E5** For E3, the barrier has to rule out that a reader looks at the table before other
//!   threads can see the store to its slot. Between the two is at most the time for which a
//!   processor holds back a store: microseconds. An interrupted thread executes a full barrier on
//!   the way. So if an advance does not see the pinned slot, the reader looked less than 100 ms
//!   before it. That is after the unlinking, so the reader does not find what was unlinked.
//!
//! No language's memory model has such a bound, but every processor keeps it, or else the kernel's
//! clock interrupt enforces it: "Temporally Bounding TSO for Fence-Free Asymmetric Synchronization"
//! (Morrison and Afek, ASPLOS 2015) builds on it. Other system calls: `src/docs/decisions.md`.
//!
//! Never pin a thread for the first time, and never start a grace period or advance, under a lock.

use crate::process::fork::{if_undisturbed, undisturbed};
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

/// A pinned thread: what it can reach stays in memory until this is dropped. The pin stays on its
/// thread, whose `LOCAL` has its state, so a pin has no size.
pub(crate) struct Pin {
    pub(super) on_this_thread: PhantomData<*const ()>,
}

/// The slot of a thread, which other threads read. Never freed: the next thread takes it over.
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
    /// Grace periods with smaller numbers are over. It never decreases.
    static OVER: CachePadded<AtomicU64> = CachePadded::new(AtomicU64::new(1));
}
lasting! {
    static SLOTS: Next = Next(AtomicPtr::new(std::ptr::null_mut()));
}

/// What a thread knows of its own pins.
struct Local {
    pins: Cell<usize>,
    /// The slot for the outermost pin. If there is none, that pin is in `other` while it lasts.
    slot: Cell<Option<&'static CachePadded<Slot>>>,
    /// It has no destructor, like all of `Local`. A pin that is never dropped is never undone
    /// either.
    other: Cell<Option<ManuallyDrop<Other>>>,
    /// Unrelated to pins. It is here because every reader accesses this place anyway.
    trust: Trust,
}

/// An outermost pin that is not in the thread's slot.
enum Other {
    /// A pin of crossbeam-epoch.
    Guard(Guard),
    /// A pin in a slot that is returned with the pin: the thread is about to end.
    Late(&'static CachePadded<Slot>),
}

/// Returns the thread's slot when the thread ends. It knows the slot itself: where thread-locals are not
/// native (Android, shuttle), `LOCAL` may have gone before it, and an access makes another one.
struct Leave(Cell<Option<&'static CachePadded<Slot>>>);

impl Drop for Leave {
    fn drop(&mut self) {
        let Some(slot) = self.0.take() else { return };
        let is_pinned = slot.is_pinned();
        let _ = LOCAL.try_with(|local| {
            local.slot.set(None);
            if is_pinned {
                local.other.set(Some(ManuallyDrop::new(Other::Late(slot))));
            }
        });
        if !is_pinned {
            slot.leave();
        }
    }
}

thread_local! {
    // It has no destructor, so that an access needs no registration.
    static LOCAL: Local = const {
        Local { pins: Cell::new(0), slot: Cell::new(None), other: Cell::new(None), trust: Trust::new() }
    };
}
thread_local! {
    static LEAVE: Leave = const { Leave(Cell::new(None)) };
}

lazy_static! {
    static ref COLLECTOR: Collector = Collector::new();
}
thread_local! {
    static HANDLE: LocalHandle = COLLECTOR.register();
}

/// Pins by crossbeam-epoch. Works in destructors of thread-locals too.
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

    /// Returns whether this thread holds a pin. If so, it sees no garbage become reclaimable.
    pub(crate) fn is_held() -> bool {
        LOCAL.try_with(|local| local.pins.get() > 0).unwrap_or(false)
    }

    /// Calls `f` with this thread's trust in the kept time. The pin has just accessed that place.
    #[inline]
    #[allow(clippy::unused_self, reason = "it is the proof that the place is near")]
    pub(crate) fn with_trust<R>(&self, f: impl FnOnce(&Trust) -> R) -> R {
        LOCAL.with(|local| f(&local.trust))
    }

    /// Unpins and pins anew, unless this thread holds another pin.
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

/// For `Brief`: pins this thread, if it has a slot and no pin. Returns whether it did.
#[inline(always)]
pub(super) fn enter_at_once() -> bool {
    LOCAL.with(Local::enter_at_once)
}

/// Ends a pin that `enter_at_once` made.
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
            // If the count overflowed, the end of this pin would unpin the others.
            let Some(more) = pins.checked_add(1) else { too_many() };
            return self.pins.set(more);
        }
        match self.slot.get() {
            Some(slot) => {
                self.pins.set(1);
                slot.pin();
            }
            None => self.enter_otherwise(),
        }
    }

    /// Pins the slot, if the outermost pin needs nothing else. Returns whether it did.
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
        // If there are others, they were made meanwhile, and the last of them unpins the slot.
        if others == 0 {
            // SAFETY: T7: a thread has its slot from its first pin until it ends.
            unsafe { self.slot.get().unwrap_unchecked() }.unpin();
        }
    }

    /// Makes a thread's first pin, a late one, and every pin of crossbeam-epoch. This may allocate, and
    /// an allocator may read a cache. That read makes a pin of its own, since this one counts last.
    #[cold]
    fn enter_otherwise(&self) {
        self.pin_otherwise();
        self.pins.set(1);
    }

    fn pin_otherwise(&self) {
        if !barrier::is_available() {
            let guard = guard();
            self.other.set(Some(ManuallyDrop::new(Other::Guard(guard))));
            return;
        }
        // The first access registers its destructor.
        let _ = LEAVE.try_with(|_| {});
        let claimed = Slot::claim();
        // From here on, nothing allocates.
        if let Some(slot) = self.slot.get() {
            // Such a read has claimed one, and the thread keeps it.
            claimed.leave();
            return slot.pin();
        }
        let keep = |leave: &Leave| leave.0.get().is_none().then(|| leave.0.set(Some(claimed)));
        if LEAVE.try_with(keep).ok().flatten().is_some() {
            self.slot.set(Some(claimed));
        } else {
            self.other.set(Some(ManuallyDrop::new(Other::Late(claimed))));
        }
        claimed.pin();
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
                // Not `Guard::repin`, which executes no fence: what follows could read a node from
                // before it, whose grace period this pin no longer holds up.
                Other::Guard(_) => {
                    drop(ManuallyDrop::into_inner(other));
                    other = ManuallyDrop::new(Other::Guard(guard()));
                }
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

    /// Returns whether the thread that has the slot is pinned by it. For that thread.
    fn is_pinned(&self) -> bool {
        // ORDERING: Relaxed; this thread alone stores it.
        self.pinned.load(Ordering::Relaxed) != 0
    }

    /// Returns the slot. The caller must have claimed it.
    fn leave(&self) {
        // ORDERING: Release; pairs with Acquire in `Slot::claim`: this thread's last store to the
        // slot.
        self.taken.store(false, Ordering::Release);
    }

    /// Claims a slot that no other thread has.
    fn claim() -> &'static CachePadded<Self> {
        let mut place: &Next = &SLOTS;
        loop {
            let slot = place.get().unwrap_or_else(|| place.extend());
            // ORDERING: Relaxed; a look, so that taken slots keep their cache lines. The exchange
            // decides.
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

    /// Appends a slot here, unless another thread has just done so.
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
                // SAFETY: T7: it did not get into the chain; no other thread knows it.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: T7.
                unsafe { &*other }
            }
        }
    }
}

/// A wait for all pins that existed when it began.
#[derive(Debug)]
pub(crate) enum GracePeriod {
    /// Its number, with slots.
    Numbered(u64),
    /// A flag that a deferred closure sets, with crossbeam-epoch.
    Flagged(Arc<AtomicBool>),
}

impl GracePeriod {
    /// Begins a grace period for what this thread has unlinked, or knows to be unlinked.
    pub(crate) fn begin() -> Self {
        if !barrier::is_available() {
            return Self::Flagged(Arc::new(AtomicBool::new(false)));
        }
        // ORDERING: Release; pairs with Acquire in `Slot::pin` (E1) and in `advance`: what was
        // unlinked.
        Self::Numbered(EPOCH.fetch_add(1, Ordering::Release))
    }

    /// Starts the grace period, so that it can end. Must be called outside the lock, at least once.
    pub(crate) fn start(&self) {
        let Self::Flagged(over) = self else { return };
        let over = Arc::clone(over);
        let guard = guard();
        // ORDERING: Release; pairs with Acquire in `is_over`. The epoch makes the flag late enough:
        // the closure runs after every guard is gone that was pinned at the unlinking.
        guard.defer(move || over.store(true, Ordering::Release));
        guard.flush();
    }

    pub(crate) fn is_over(&self) -> bool {
        match self {
            // ORDERING: Acquire; pairs with Release in `advance`: reads before the unpin.
            Self::Numbered(number) => *number < OVER.load(Ordering::Acquire),
            // ORDERING: Acquire; pairs with Release in `start`: reads before the unpin.
            Self::Flagged(over) => over.load(Ordering::Acquire),
        }
    }
}

/// Flushes of crossbeam-epoch that end a grace period if no pin prevents it, with some to spare: it
/// takes two, and each runs at most eight closures.
const ADVANCES: usize = if cfg!(tidewheel_loom) { 1 } else { 16 };

/// Ends the pins of threads that do not exist in the child of a fork, and frees their slots. (Pins
/// of crossbeam-epoch that such threads hold never end.)
pub(crate) fn inherit() {
    // The slots of this thread, of both kinds, stay: the thread goes on here.
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

/// Decides which kind of pins the process uses, once. With threads running, the kernel takes some
/// 15 ms to register a process for the barrier. The thread that builds a table waits for that, not
/// the first reader.
pub(crate) fn settle() {
    if !barrier::is_available() {
        // This must not be interrupted by a fork: no thread of the child would complete it.
        undisturbed(|| drop(Collector::clone(&COLLECTOR)));
    }
}

/// Calls [`advance`] as often as it takes to end what was begun long enough ago.
pub(crate) fn advance_fully() {
    let advances = if barrier::is_available() { 1 } else { ADVANCES };
    (0..advances).for_each(|_| advance());
}

lasting! {
    /// When `is_time_to_advance` last returned true. Advances that do not ask it do not count.
    static LAST: AtomicU64 = AtomicU64::new(0);
}

/// Returns whether the caller is to advance: no other caller was told so within this time.
pub(super) fn is_time_to_advance(now: Tick, every: Span) -> bool {
    // ORDERING: Relaxed; the exchange decides which thread is first. One advance more or less does
    // not matter.
    let last = LAST.load(Ordering::Relaxed);
    // ORDERING: Relaxed, both; the same reason.
    let begin = || LAST.compare_exchange(last, now.as_nanos(), Ordering::Relaxed, Ordering::Relaxed);
    now >= Tick::from_nanos(last).after(every) && begin().is_ok()
}

/// Ends the grace periods that can end, of all tables.
///
/// With slots, one call suffices. With crossbeam-epoch it takes several calls to end a grace
/// period; each runs a few of this crate's own closures.
pub(crate) fn advance() {
    if !barrier::is_available() {
        guard().flush();
        return;
    }
    // ORDERING: Acquire; pairs with Release in `GracePeriod::begin`: what was unlinked before any
    // grace period that may be counted as over here comes before the barrier (E3).
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
    // ORDERING: Release; pairs with Acquire in `GracePeriod::is_over`. A read-modify-write, so that
    // it keeps what other advances published.
    OVER.fetch_max(over, Ordering::Release);
}

/// Longer than any processor holds back a store, many thousand times.
const SETTLED: Duration = Duration::from_millis(100);

/// Replaces a refused barrier: returns an epoch that was read so long ago that all earlier stores
/// are visible (E5); `None` if there is none yet, or another thread is about to ask, or to fork.
#[cold]
fn instead(epoch: u64) -> Option<u64> {
    lasting! {
        static READ: Mutex<Option<(u64, Alarm)>> = Mutex::new(None);
    }
    say_so();
    if_undisturbed(|| {
        let mut read = READ.try_lock()?;
        let may_ask = read.as_ref().is_none_or(|(_, settled)| settled.is_over());
        let (earlier, _) = may_ask.then(|| read.replace((epoch, Alarm::after(SETTLED))))??;
        Some(earlier)
    })?
}

/// Writes a message to the standard error, once in a process.
fn say_so() {
    lasting! {
        static SAID: AtomicBool = AtomicBool::new(false);
    }
    // ORDERING: Relaxed; only which thread is first matters.
    if !SAID.swap(true, Ordering::Relaxed) {
        // A failed write is ignored.
        let _ = writeln!(
            stderr(),
            "tidewheel: the kernel has begun to refuse `membarrier` to this process (a filter for system calls?). \
             All goes on, but what is removed is dropped a fifth of a second later than before."
        );
    }
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests;
